"""
Faults are counted, not collected: a file of nothing but faults needs no more memory than a clean one.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from shared.domain import conversation
from shared.domain.conversation import Code, Complaint, Consequence
from shared.prepare.options import Options

LINES_SHOWN_MAX: Final = 20  # a guess: enough to see a pattern, short enough to read


class Faults:
    """What was found so far, by kind."""

    def __init__(self, *, unit: str, options: Options) -> None:
        self._unit = unit  # "line" or "row"
        self._options = options
        self._counts: Counter[Code] = Counter()
        self._first_lines: dict[Code, list[int]] = {}
        self._whole_file: Complaint | None = None

    def add(self, code: Code, number: int) -> None:
        self._counts[code] += 1
        shown = self._first_lines.setdefault(code, [])
        if len(shown) < LINES_SHOWN_MAX:
            shown.append(number)

    def add_whole_file(self, complaint: Complaint) -> None:
        self._whole_file = complaint

    def consist_of(self, *codes: Code) -> bool:
        """True when something was found and all of it is of these kinds."""
        return self._counts.keys() <= set(codes) and self._counts.total() > 0

    @property
    def rows_refused(self) -> int:
        return sum(count for code, count in self._counts.items() if _refuses(code))

    def main(self) -> Complaint:
        """The one fault that its owner should read about first: of the whole file, else the most frequent, else the earliest."""
        if self._whole_file:
            return self._whole_file
        refusing = [code for code in self._counts if _refuses(code)]
        return self._about(min(refusing, key=lambda code: (-self._counts[code], self._first_lines[code][0])))

    def sentence(self) -> str:
        main = self.main()
        others = sum(_refuses(code) and code is not main.code for code in self._counts)
        if self._whole_file or not others:
            return main.sentence
        kinds = "1 more kind of fault is" if others == 1 else f"{others} more kinds of fault are"
        return f"{main.sentence.removesuffix('.')} ({kinds} in the report)."

    def as_dict(self) -> dict[str, Any]:
        complaints = [self._whole_file] if self._whole_file else []
        complaints += [self._about(code) for code in sorted(self._counts, key=lambda code: self._first_lines[code])]
        return {
            str(complaint.code): {
                "count": complaint.count,
                "first_lines": list(complaint.first_lines),
                "sentence": complaint.sentence,
                "remedy": complaint.remedy,
                "consequence": conversation.consequence(complaint.code).value,
            }
            for complaint in complaints
        }

    def _about(self, code: Code) -> Complaint:
        return conversation.about_rows(
            code, count=self._counts[code], first_lines=self._first_lines[code], unit=self._unit, limits=self._options.limits
        )


def _refuses(code: Code) -> bool:
    return conversation.consequence(code) is Consequence.REFUSED
