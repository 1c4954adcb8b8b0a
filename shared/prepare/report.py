"""
What was found, counted and not collected: a file of nothing but faults needs no more memory than a clean one.

Sentences hold counts and line numbers, never a word of the dataset; they go into records and logs. Only the report itself may show the
first characters of a faulty row, and the owner may switch that off.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from shared.domain import conversation
from shared.domain.conversation import Code, Complaint, Severity
from shared.prepare import tokens
from shared.prepare.options import Options

LINES_SHOWN_MAX: Final = 20  # a guess: enough to see a pattern, short enough to read
EXCERPTS_MAX: Final = 5  # of one kind
EXCERPT_CHARACTERS: Final = 80
PATTERNS_SHOWN_MAX: Final = 12
STEP_ROWS: Final = (1, 8, 16)  # rows of one optimizer step that the cost basis is shown for
TURNS_SHOWN_MAX: Final = 20  # pairs of one pattern that are spelt out
LENGTH_SHIFT: Final = 8  # lengths are counted in steps of 256 bytes
LENGTH_BITS_MAX: Final = 48


@dataclass(slots=True)
class _Found:
    count: int = 0
    places: list[tuple[str, int, str | None]] = field(default_factory=list)  # file, 1-based number, excerpt


class Faults:
    """What was found so far, by kind."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._found: dict[Code, _Found] = {}
        self._whole_file: Complaint | None = None
        self._units: dict[str, str] = {}  # file -> what its numbers count
        self.name_files = False  # in sentences; when there are several

    def begin(self, file: str, unit: str) -> None:
        self._units[file] = unit

    @property
    def unit(self) -> str:
        """What is numbered: a row is what all units have in common."""
        units = set(self._units.values())
        return "row" if len(units) > 1 else next(iter(units), "line")

    def add(self, code: Code, file: str, number: int, text: bytes | None, count: int = 1) -> None:
        found = self._found.setdefault(code, _Found())
        found.count += count
        if len(found.places) < LINES_SHOWN_MAX:
            shown = self._options.excerpts and text is not None and len(found.places) < EXCERPTS_MAX
            found.places.append((file, number, _excerpt(text) if shown and text is not None else None))

    def add_whole_file(self, complaint: Complaint) -> None:
        self._whole_file = complaint

    def consist_of(self, *codes: Code) -> bool:
        """True when rows were bad and all of them are so in these ways."""
        bad = {code for code in self._found if conversation.is_bad(code)}
        return bool(bad) and bad <= set(codes)

    def count(self, code: Code) -> int:
        return self._found[code].count if code in self._found else 0

    @property
    def bad(self) -> int:
        return sum(found.count for code, found in self._found.items() if conversation.is_bad(code))

    @property
    def dropped(self) -> int:
        return sum(found.count for code, found in self._found.items() if conversation.severity(code) is Severity.DROPPED)

    def main(self) -> Complaint:
        """The one fault that its owner should read about first: of the whole file, else the most frequent, else the earliest."""
        if self._whole_file:
            return self._whole_file
        bad = [code for code in self._found if conversation.is_bad(code)]
        return self._about(min(bad, key=lambda code: (-self._found[code].count, self._found[code].places[0][1])))

    def sentence(self) -> str:
        """Of a rejection."""
        main = self.main()
        others = sum(conversation.is_bad(code) and code is not main.code for code in self._found)
        if self._whole_file or not others:
            return main.sentence
        kinds = "1 more kind of fault is" if others == 1 else f"{others} more kinds of fault are"
        return f"{main.sentence.removesuffix('.')} ({kinds} in the report)."

    def as_dict(self) -> dict[str, Any]:
        complaints: list[Complaint] = [self._whole_file] if self._whole_file else []
        complaints += [self._about(code) for code in sorted(self._found, key=self._rank)]
        return {str(complaint.code): self._described(complaint) for complaint in complaints}

    def what_to_fix(self) -> list[str]:
        """Sentences, the gravest first."""
        grave = (Severity.FATAL, Severity.DROPPED)
        return [fault["sentence"] for fault in self.as_dict().values() if fault["severity"] in grave]

    def _rank(self, code: Code) -> tuple[int, int, int]:
        found = self._found[code]
        return (list(Severity).index(conversation.severity(code)), -found.count, found.places[0][1])

    def _described(self, complaint: Complaint) -> dict[str, Any]:
        code = complaint.code if isinstance(complaint.code, Code) else None
        places = self._found[code].places if code in self._found else []
        return {
            "severity": (conversation.severity(code) if code else Severity.FATAL).value,
            "count": complaint.count,
            "what": complaint.what,
            "remedy": complaint.remedy,
            "sentence": complaint.sentence,
            "first_lines": [number for _, number, _ in places],
            "first": [{"file": file, "line": number, "excerpt": excerpt} for file, number, excerpt in places],
        }

    def _about(self, code: Code) -> Complaint:
        found = self._found[code]
        lines = [number for _, number, _ in found.places]
        files = [(file, self._units[file]) for file, _, _ in found.places] if self.name_files else []
        return conversation.about_rows(code, count=found.count, first_lines=lines, unit=self.unit, limits=self._options.limits, files=files)


def _excerpt(text: bytes) -> str:
    """The first characters, each control character spelt out."""
    shown = text[: 4 * EXCERPT_CHARACTERS].decode("utf-8", "backslashreplace")
    return "".join(ascii(character)[1:-1] if character in _UNSEEN else character for character in shown[:EXCERPT_CHARACTERS])


# Controls, separators of lines, and what turns the direction of text: spelt out, since Python's own table follows its Unicode version.
_UNSEEN: Final = frozenset(
    chr(code)
    for span in (
        (0x00, 0x1F),
        (0x7F, 0x9F),
        (0xAD, 0xAD),
        (0x061C, 0x061C),
        (0x200B, 0x200F),
        (0x2028, 0x202E),
        (0x2060, 0x206F),
        (0xFEFF, 0xFEFF),
    )
    for code in range(span[0], span[1] + 1)
)


class Measures:
    """Lengths and roles of the rows that were taken. Memory follows the limit of a line, not the number of rows."""

    def __init__(self) -> None:
        self.row_bytes = 0
        self.longest = 0
        self._by_length: dict[int, int] = {}  # bytes >> LENGTH_SHIFT → rows
        self._by_turns: dict[tuple[bool, int], int] = {}  # begins with system, messages: as turns alternate, that says all

    def add(self, row_bytes: int, roles: tuple[str, ...]) -> None:
        self.row_bytes += row_bytes
        self.longest = max(self.longest, row_bytes)
        length = row_bytes >> LENGTH_SHIFT
        self._by_length[length] = self._by_length.get(length, 0) + 1
        turns = (roles[0] == "system", len(roles))
        self._by_turns[turns] = self._by_turns.get(turns, 0) + 1

    @property
    def messages(self) -> dict[str, int]:
        counts = Counter[str]()
        for (with_system, messages), rows in self._by_turns.items():
            counts.update({"system": rows * with_system, "user": rows * (messages // 2), "assistant": rows * (messages // 2)})
        return {role: counts[role] for role in conversation.ROLES}

    def lengths(self) -> dict[str, Any]:
        """Buckets between powers of two and one and a half times these: [upper bound inclusive, rows]."""
        bounds = [bound for bits in range(LENGTH_SHIFT, LENGTH_BITS_MAX) for bound in ((1 << bits) - 1, (3 << (bits - 1)) - 1)]
        counts = [0] * len(bounds)
        for length, rows in self._by_length.items():
            counts[bisect.bisect_left(bounds, length << LENGTH_SHIFT)] += rows
        filled = [at for at, count in enumerate(counts) if count]
        shown = range(filled[0], filled[-1] + 1) if filled else range(0)
        return {
            "unit": "bytes",
            "buckets": [[bounds[at], counts[at]] for at in shown],
            "longest": self.longest,
            "total": self.row_bytes,
        }

    def rows_longer_than(self, row_bytes: int) -> int:
        """Counted in steps of 256 bytes."""
        return sum(rows for length, rows in self._by_length.items() if length > row_bytes >> LENGTH_SHIFT)

    def roles(self) -> dict[str, Any]:
        patterns = sorted(self._by_turns.items(), key=lambda item: (-item[1], item[0]))[:PATTERNS_SHOWN_MAX]
        return {
            "messages": self.messages,
            "patterns": [
                {"roles": " ".join(["system"] * with_system + ["user", "assistant"] * min(messages // 2, TURNS_SHOWN_MAX)), "rows": rows}
                for (with_system, messages), rows in patterns
            ],
        }


def token_facts(measures: Measures, faults: Faults, options: Options, sample: Sequence[tuple[int, int]]) -> dict[str, Any]:
    messages = sum(measures.messages.values())
    estimate = tokens.estimated(row_bytes=measures.row_bytes, messages=messages, sample=sample)
    context_bytes = int(options.context_tokens * measures.row_bytes / estimate.estimate) if estimate.estimate else 0
    return {
        "context": options.context_tokens,
        "estimate": estimate.estimate,
        "low": estimate.low,
        "high": estimate.high,
        "basis": estimate.basis,
        "beyond_context": faults.count(Code.BEYOND_CONTEXT),
        "near_context": faults.count(Code.NEAR_CONTEXT),
        "cut": measures.rows_longer_than(context_bytes),
    }


def cost_basis(*, estimated_tokens: int, training_rows: int, accepted: int) -> dict[str, Any]:
    """What one epoch is: tokens of the training rows, and optimizer steps by the rows of one."""
    return {
        "tokens_per_epoch": estimated_tokens * training_rows // max(accepted, 1),
        "rows_per_epoch": training_rows,
        "steps_per_epoch": {str(rows): -(-training_rows // rows) for rows in STEP_ROWS},
    }
