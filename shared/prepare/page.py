"""
report.html: what a person reads about an upload, on one page that needs nothing else and can do nothing.

The same report gives the same bytes, on every Python. No script, no address, nothing is fetched; the one style is allowed by its hash.
Texts of the report may come from strangers (names of files, excerpts), so each of them is escaped, and characters that would be invisible
or turn the reading direction are written out. The words and the order of the page are in page.html, its looks in page.css.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from shared.prepare import report_shape
from shared.prepare.report_shape import Finding, First, Report

if TYPE_CHECKING:
    import jinja2

SEVERITIES: Final = ("fatal", "dropped", "repaired", "noted")  # the worst first
SIDES: Final = ("train", "validation", "test")
ROLES: Final = ("system", "user", "assistant")  # each has a colour
BASES: Final = {  # what the reader of an estimate has to know about it
    "assumed": "The characters of a token were assumed, not measured on this text: code, or a script other than Latin, may be far outside.",
    "sampled": "The characters of a token were measured on a sample of these rows; that the others are like them is assumed.",
    "exact": "Every row was counted with the tokenizer that was given.",
}
SCALE: Final = 1000  # units of a picture's width: pictures are drawn in whole numbers
VISIBLE_MIN: Final = 4  # of SCALE: what is there is seen
MESSAGES_DRAWN_MAX: Final = 24  # of one order of roles; its words name all


def html(report: Mapping[str, Any]) -> bytes:
    """
    Return report.html in UTF-8 for a report of schema 1 (docs/report.md).

    Raises report_shape.ReportIsWrong when the report has another shape. 0.06 s at the first call, which imports jinja2, then 1 ms.
    """
    read = report_shape.read(report)
    page = _page().render(
        report=read,
        csp=content_security_policy(),
        findings=_findings(read),
        split=_parts([(side, read.splits[side].rows) for side in SIDES if side in read.splits]),
        roles=_parts([(role, read.roles.messages[role]) for role in _roles(read)]),
        lengths=_length_rows(read),
        steps=sorted(read.cost_basis.steps_per_epoch.items(), key=lambda one: (len(one[0]), one[0])),
        basis=BASES[read.tokens.basis],
    )
    return page.encode()


def content_security_policy() -> str:
    """Nothing may load, run, be sent or be the base of addresses; the page's own style alone may apply, by its hash."""
    digest = base64.b64encode(hashlib.sha256(_environment().get_template("page.css").render().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@cache
def _page() -> jinja2.Template:
    return _environment().get_template("page.html")


@cache
def _environment() -> jinja2.Environment:
    import jinja2
    from markupsafe import Markup

    def finalize(value: object) -> object:
        """Every value that a template writes passes here, then the escaping. What macros made has been through both."""
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        finalize=finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"number": number, "count": counted, "size": size, "rough": rough, "sentence": _as_sentence, "percent": _percent}
    environment.globals |= {"share": share, "places": _places, "excerpts": _excerpts, "words": _words, "drawn": _drawn, "band": _band}
    return environment


# ------------------------------------------------------------------------------------------------------- texts of strangers


def _named(*ranges: tuple[int, int]) -> dict[int, str]:
    return {code: f"⟨U+{code:04X}⟩" for first, last in ranges for code in range(first, last + 1)}


# Our own table: Python's follows the Unicode version of its release, the page must not. U+200C and U+200D are not in it: Persian and
# emoji are written with them.
_WRITTEN_OUT: Final = {
    **_named(
        *((0x00, 0x1F), (0x7F, 0x9F)),  # controls
        *((0x61C, 0x61C), (0x200E, 0x200F), (0x202A, 0x202E), (0x2066, 0x2069)),  # turn the reading direction
        *((0x2028, 0x2029), (0x206A, 0x206F)),  # break lines; deprecated controls
        *((0xAD, 0xAD), (0x34F, 0x34F), (0x180E, 0x180E), (0x200B, 0x200B), (0x2060, 0x2065), (0xFEFF, 0xFEFF)),  # invisible
        *((0x115F, 0x1160), (0x3164, 0x3164), (0xFFA0, 0xFFA0)),  # letters that are blank
        *((0xFFF9, 0xFFFB), (0xE0000, 0xE007F)),  # annotations, tags
        (0xD800, 0xDFFF),  # halves of characters: no encoding can write them
        (0xFDD0, 0xFDEF),  # no characters at all, like the two below
        *((plane * 0x10000 + 0xFFFE, plane * 0x10000 + 0xFFFF) for plane in range(17)),
    ),
    ord("\n"): "↵",
    ord("\t"): "⇥",
}


def visible(text: str) -> str:
    """Return the text with every character in it that a reader could not see, or that would move the others, written out."""
    return text.translate(_WRITTEN_OUT)


# ------------------------------------------------------------------------------------------------------- numbers for people


def number(value: int) -> str:
    return f"{value:,}"


def counted(value: int, unit: str) -> str:
    """1 row · 2,000 rows"""
    return f"{value:,} {unit}" if value == 1 else f"{value:,} {unit}s"


def size(value: int) -> str:
    """999 bytes · 1.2 kB · 1.4 GB, in powers of 1,000; whole-number arithmetic, so that every machine rounds alike."""
    if value < 1000:
        return counted(value, "byte")
    power, name = next((10 ** (3 * at), name) for at, name in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")) if value >= 10 ** (3 * at))
    tenths = (value * 20 + power) // (2 * power)
    return f"{tenths // 10:,}.{tenths % 10} {name}"


def share(part: int, whole: int) -> str:
    """33.3 %, in whole-number arithmetic; never 0 for what is there, nor 100 for what is not all."""
    if not part or part == whole:
        return "100 %" if part else "0 %"
    permille = (part * 2000 + whole) // (2 * whole)
    if not permille:
        return "< 0.1 %"
    return "> 99.9 %" if permille == 1000 else f"{permille // 10}.{permille % 10} %"


def rough(value: int) -> str:
    """Three digits of an estimate: 1,911,507 is 1,910,000. Report.json has them all."""
    unit = 10 ** max(len(str(value)) - 3, 0)
    return number((value * 2 + unit) // (2 * unit) * unit)


def _percent(value: float) -> str:
    """0.01 is 1 %; for shares that somebody chose."""
    return f"{value * 100:g} %"


def _as_sentence(clause: str) -> str:
    """Clauses of a finding begin small and have no end. ASCII only: what else has a capital differs between Pythons."""
    first = clause[:1].upper() if "a" <= clause[:1] <= "z" else clause[:1]
    return first + clause[1:] + ("" if clause.endswith((".", "!", "?")) else ".")


# ------------------------------------------------------------------------------------------------------- findings


class _Found(NamedTuple):
    code: str
    finding: Finding


def _findings(report: Report) -> list[_Found]:
    """The worst first, then the most frequent, then by name: never by the order in the dict."""
    found = [_Found(code, finding) for code, finding in report.codes.items()]
    return sorted(found, key=lambda one: (SEVERITIES.index(one.finding.severity), -one.finding.count, one.code))


class _Place(NamedTuple):
    file: str  # empty when there is only one
    lines: str
    more: int  # of the finding, not named anywhere


def _places(report: Report, finding: Finding) -> list[_Place]:
    """Where the first rows stand, a file after the other: "lines 3, 8"."""
    by_file: dict[str, list[int]] = {}
    for first in finding.first:
        by_file.setdefault(first.file, []).append(first.line)
    if len(report.files) < 2 or not by_file:
        by_file = {"": finding.first_lines or [first.line for first in finding.first]}
    named = sum(map(len, by_file.values()))
    last = next(reversed(by_file))
    return [
        _Place(file, _lines(report.unit, lines), finding.count - named if file == last else 0) for file, lines in by_file.items() if lines
    ]


def _lines(unit: str, lines: Sequence[int]) -> str:
    return f"{unit if len(lines) == 1 else f'{unit}s'} {', '.join(map(number, lines))}"


def _excerpts(finding: Finding) -> list[First]:
    return [first for first in finding.first if first.excerpt is not None]


# ------------------------------------------------------------------------------------------------------- pictures


class _Part(NamedTuple):
    name: str
    amount: int
    share: str
    colour: str  # a class of page.css: of a known set, whatever the name
    x: int  # of SCALE
    width: int


def _parts(counts: Sequence[tuple[str, int]]) -> list[_Part]:
    """A line of parts that together are SCALE wide; a part that is there has some width."""
    whole = sum(count for _, count in counts)
    parts = []
    before = 0
    for name, count in counts:
        x, end = (SCALE * edge // whole if whole else 0 for edge in (before, before + count))
        parts.append(_Part(name, count, share(count, whole), _colour(name), x, max(end - x, VISIBLE_MIN if count else 0)))
        before += count
    return parts


def _colour(name: str) -> str:
    return f"is-{name}" if name in SIDES or name in ROLES else "is-other"


def _roles(report: Report) -> list[str]:
    """The known ones in the order of a conversation, then what else there is."""
    return [role for role in ROLES if role in report.roles.messages] + sorted(report.roles.messages.keys() - set(ROLES))


class _LengthRow(NamedTuple):
    upper: int
    rows: int
    share: str
    width: int  # of SCALE; the longest bar is as wide as the picture


def _length_rows(report: Report) -> list[_LengthRow]:
    """Without the empty buckets before the first and after the last row."""
    buckets = report.lengths.buckets
    filled = [at for at, (_, count) in enumerate(buckets) if count]
    if not filled:
        return []
    shown = buckets[filled[0] : filled[-1] + 1]
    whole, most = sum(count for _, count in shown), max(count for _, count in shown)
    return [
        _LengthRow(upper, count, share(count, whole), max(SCALE * count // most, VISIBLE_MIN if count else 0)) for upper, count in shown
    ]


def _words(roles: str) -> str:
    """system, user, assistant, user, assistant → "system, then user and assistant 2 times"."""
    turns = roles.split()
    opening, pairs = (["system"], turns[1:]) if turns[:1] == ["system"] else ([], turns)
    times = len(pairs) // 2
    if times < 2 or pairs != ["user", "assistant"] * times:
        return ", ".join(turns)
    return f"{'system, then ' if opening else ''}user and assistant {times:,} times"


def _drawn(roles: str) -> list[str]:
    return [_colour(role) for role in roles.split()[:MESSAGES_DRAWN_MAX]]


def _band(report: Report) -> dict[str, int]:
    """Positions on a line from 0 to a little more than the band's upper end."""
    end = max(report.tokens.high * 11 // 10, 1)
    low, estimate, high = (SCALE * value // end for value in (report.tokens.low, report.tokens.estimate, report.tokens.high))
    return {"low": low, "width": max(high - low, VISIBLE_MIN), "estimate": estimate}
