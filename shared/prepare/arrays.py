"""
A JSON array becomes lines, one item a line, with every byte of an item as it stands in the file.

Nothing is parsed: brackets are counted, texts are skipped, and a comma between two items becomes the end of a line. Memory holds one
chunk, however long an item is. A line end inside the array becomes a tab: between tokens both are blank, and inside a text both are
refused by a strict parser, so whoever reads the lines finds exactly the faults that the file has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from shared.domain import formats as faults
from shared.prepare.formats import Unreadable
from shared.prepare.lines import without_byte_order_mark

BLANKS: Final = b" \t\r\n"
BACKSLASH: Final = ord("\\")
NOTHING: Final = b","  # stands for an item of nothing, as in [1,,2]: it is no JSON, so the reader names its number
BLANKS_HELD_BYTES_MAX: Final = 1 << 16  # behind what may be the end of an item; more of them are passed on
GAP_REMEMBERED_BYTES: Final = 32  # what stands between two texts, such as `: ` or `},{`: almost all are among a few
GAPS_REMEMBERED_MAX: Final = 1_024

_STRUCTURE: Final = re.compile(rb"[\[\]{},]")


def lines_of_items(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines, in pieces of any length. Raises Unreadable with the item and its line when the array itself is broken."""
    array = _Array()
    for chunk in without_byte_order_mark(chunks):
        yield array.lines(chunk)
    array.end()


class _Array:
    """How far the array was read. Each method takes the next bytes of the file."""

    def __init__(self) -> None:
        self._depth = 0  # of brackets that are open; 1: between two items
        self._in_text = False
        self._is_escaped = False  # the next byte of the text stands behind a backslash
        self._has_begun = False
        self._ended_by_brace = False
        self._line = 1
        self._item = 1
        self._item_line = 1  # where the item begins
        self._item_is_blank = True
        self._held = b""  # blanks at the end of the last chunk: part of the item if it goes on, so that it is the same in any chunks
        self._gaps: dict[bytes, tuple[int, int]] = {}

    def lines(self, chunk: bytes) -> bytes:
        start = 0 if self._has_begun else self._begin(chunk)
        lines = []
        for cut in self._cuts(chunk, start):
            lines.append((self._held + self._part(chunk[start:cut])).rstrip(BLANKS))
            self._held = b""
            if self._ended_by_brace:
                raise self._broken("a } stands there that nothing opens")
            if not self._item_is_blank:
                lines.append(b"\n")
            elif self._depth or self._item > 1:  # [1,] has an item that is missing, [] has none at all
                lines.append(NOTHING + b"\n")
            self._item += 1
            self._item_is_blank = True
            start = cut + 1
        if self._has_begun and not self._depth:
            self._refuse_more(chunk[start:])
        elif self._has_begun:
            lines.append(self._without_last_blanks(self._held + self._part(chunk[start:])))
        return b"".join(lines)

    def end(self) -> None:
        if not self._has_begun:
            raise Unreadable(faults.about_array("the file does not begin with [", line=1, item=1))
        if self._in_text:
            raise self._broken("a text that begins in it is not closed")
        if self._depth:
            raise self._broken("it is not closed" if self._depth > 1 else "the ] at the end is missing")

    def _begin(self, chunk: bytes) -> int:
        """The position behind the first bracket."""
        rest = chunk.lstrip(BLANKS)
        at = len(chunk) - len(rest)
        self._line += chunk.count(b"\n", 0, at)
        if not rest:
            return at
        if not rest.startswith(b"["):
            raise self._broken("the file does not begin with [")
        if rest[1:2] == b"\0":
            raise self._broken("its characters have two bytes, as in UTF-16: save the file as UTF-8")
        self._has_begun, self._depth = True, 1
        return at + 1

    def _part(self, part: bytes) -> bytes:
        """A part of one item, as it is written."""
        if self._item_is_blank:
            rest = part.lstrip(BLANKS)
            self._line += part.count(b"\n", 0, len(part) - len(rest))
            self._item_line = self._line
            self._item_is_blank = not rest
            part = rest
        self._line += part.count(b"\n")
        return part.replace(b"\n", b"\t")

    def _without_last_blanks(self, part: bytes) -> bytes:
        """They are held until it is known what stands behind them."""
        passed = part.rstrip(BLANKS)
        self._held = part[len(passed) :]
        if len(self._held) > BLANKS_HELD_BYTES_MAX:
            passed, self._held = part, b""
        return passed

    def _refuse_more(self, rest: bytes) -> None:
        if rest.strip(BLANKS):
            self._item = max(self._item - 1, 1)
            self._item_line = self._line + rest.count(b"\n", 0, len(rest) - len(rest.lstrip(BLANKS)))
            raise self._broken("behind it the array ends, but the file goes on")
        self._line += rest.count(b"\n")

    def _broken(self, what: str) -> Unreadable:
        return Unreadable(faults.about_array(what, line=self._item_line, item=self._item))

    # ---------------------------------------------------------------------------------------------------- structure

    def _cuts(self, chunk: bytes, at: int) -> Iterator[int]:
        """Positions at which an item ends: of the commas between items, and of the last bracket."""
        if self._in_text:
            at = self._behind_text(chunk, at)
        while at < len(chunk) and self._depth:
            quote = chunk.find(b'"', at)
            end = quote if quote >= 0 else len(chunk)
            gap = chunk[at:end]
            opening, closing = self._gaps.get(gap) or self._brackets(gap)
            if self._depth - closing > 1:  # whatever their order, we stay inside the item
                self._depth += opening - closing
            else:
                yield from self._cuts_of_gap(chunk, at, end)
            at = end
            if quote >= 0 and self._depth:
                at = chunk.find(b'"', quote + 1) + 1
                if at <= quote + 2 or chunk[at - 2] == BACKSLASH:  # not the plain case of a text that ends without an escape
                    at = self._behind_text(chunk, quote + 1)

    def _cuts_of_gap(self, chunk: bytes, at: int, end: int) -> Iterator[int]:
        for mark in _STRUCTURE.finditer(chunk, at, end):
            match mark.group():
                case b"[" | b"{":
                    self._depth += 1
                case b"," if self._depth == 1:
                    yield mark.start()
                case b"]" | b"}" as bracket:
                    self._depth -= 1
                    if not self._depth:
                        self._ended_by_brace = bracket == b"}"
                        yield mark.start()
                        return

    def _brackets(self, gap: bytes) -> tuple[int, int]:
        """(opening, closing)"""
        counted = gap.count(b"[") + gap.count(b"{"), gap.count(b"]") + gap.count(b"}")
        if len(gap) <= GAP_REMEMBERED_BYTES and len(self._gaps) < GAPS_REMEMBERED_MAX:
            self._gaps[gap] = counted
        return counted

    def _behind_text(self, chunk: bytes, at: int) -> int:
        """The position behind the quote that ends the text, or the end of the chunk when the text goes on."""
        at += self._is_escaped
        while (quote := chunk.find(b'"', at)) >= 0:
            if not _is_escaped(chunk, quote, at):
                self._in_text = self._is_escaped = False
                return quote + 1
            at = quote + 1
        self._in_text = True
        self._is_escaped = _is_escaped(chunk, len(chunk), at)
        return len(chunk)


def _is_escaped(chunk: bytes, at: int, start: int) -> bool:
    """An odd number of backslashes stands before `at`; the text, or its part that counts, begins at `start`."""
    first = at
    while first > start and chunk[first - 1] == BACKSLASH:
        first -= 1
    return bool((at - first) % 2)
