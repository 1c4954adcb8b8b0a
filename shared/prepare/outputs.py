"""
The files that come out: rows are dealt out to three sides as they are read, and nobody sees a file before all of them are whole.

While an upload is small, its rows wait in memory, because only at its end is it known where each belongs. From then on they go where a
fixed hash sends them, and eight bytes a row stay in memory. Turns the cut out to be lopsided, the upload is read once more with a better.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from array import array
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from shared.place import Place, StagedFile
from shared.prepare import split
from shared.prepare.options import Options
from shared.prepare.result import PreparedFile
from shared.prepare.source import SIDES, Side

PIECE_BYTES: Final = 256 << 10  # handed over at once; a place gathers what it wants to send together
END_OF_LINE: Final = ord("\n")
WAITING_BYTES_MAX: Final = 8 << 20
LATER_BYTES_MAX: Final = 4 << 20  # rows that must not be the first of a file
QUARANTINE: Final = "quarantine.jsonl"


class Output:
    """A staged file that knows its hash, rows and bytes."""

    def __init__(self, place: Place, name: str) -> None:
        self.name = name
        self.rows = 0
        self.bytes = 0
        self._hash = hashlib.sha256()
        self._piece = bytearray(PIECE_BYTES)  # one for all: pages of a fresh one would cost more than the copying
        self._filled = 0
        self._file: StagedFile = place.stage(name)

    def write(self, row: bytes | bytearray) -> None:
        """Append a row without its end."""
        start = self._filled
        end = start + len(row)
        if end >= PIECE_BYTES:
            self._flush()
            if len(row) >= PIECE_BYTES:
                self._hand_over(bytes(row) + b"\n")
                self.rows += 1
                return
            start, end = 0, len(row)
        self._piece[start:end] = row
        self._piece[end] = END_OF_LINE
        self._filled = end + 1
        self.rows += 1

    def _flush(self) -> None:
        if self._filled:
            self._hand_over(bytes(memoryview(self._piece)[: self._filled]))
            self._filled = 0

    def _hand_over(self, block: bytes) -> None:
        self._hash.update(block)
        self.bytes += len(block)
        self._file.write(block)

    def finished(self) -> PreparedFile:
        """Hand the last block over; the file is not visible yet."""
        self._flush()
        return PreparedFile(name=self.name, sha256=self._hash.hexdigest(), rows=self.rows, bytes=self.bytes)

    def commit(self) -> None:
        self._file.commit(self._hash.hexdigest())

    def abandon(self) -> None:
        self._piece = bytearray()
        self._file.abandon()


class _SideFile(Output):
    """
    One side. A row whose answer may lie beyond the context is never the first: a pipeline that drops the first row of a file fails
    (data set `map` of datasets 4.7.0 returning None).
    """

    def __init__(self, place: Place, side: Side) -> None:
        super().__init__(place, f"{side}.jsonl")
        self._later: list[bytes] = []
        self._later_bytes = 0

    def begin(self, row: bytes | bytearray, *, may_be_first: bool) -> None:
        """Append a row to a file that has none yet."""
        if not may_be_first and self._later_bytes + len(row) <= LATER_BYTES_MAX:
            self._later.append(bytes(row))
            self._later_bytes += len(row)
            return
        self.write(row)
        self._write_later()

    @property
    def waiting(self) -> int:
        """Rows that are held back until there is a first one."""
        return len(self._later)

    def _write_later(self) -> None:
        for row in self._later:
            self.write(row)
        self._later.clear()

    def finished(self) -> PreparedFile:
        self._write_later()
        return super().finished()


class Sides:
    """Deals rows out to train, validation and test."""

    def __init__(self, place: Place, options: Options, *, given: Collection[Side], side_of: split.SideOf | None) -> None:
        self._files = {side: _SideFile(place, side) for side in SIDES}
        self._options = options
        self._given = given
        self._side_of = side_of
        self._waiting: list[tuple[int, bytes, bool]] = []
        self._waiting_bytes = 0
        self._samples = _Samples(options)
        self._counted_off = side_of is not None
        self.keys = array("Q")  # of the rows that are cut here, in their order; kept while it is not known whether the cut will do

    @property
    def counts(self) -> dict[Side, int]:
        """Rows of each side; rows that wait are of none yet."""
        return {side: file.rows + file.waiting for side, file in self._files.items()}

    def __len__(self) -> int:
        """Rows that were taken."""
        return sum(self.counts.values()) + len(self._waiting)

    @property
    def method(self) -> str:
        """How the rows were divided."""
        if len(self._given) == len(SIDES) - 1:
            return "given"
        return "counted_off" if self._counted_off else "fixed_cut"

    def add(self, row: bytearray, key: int, side: Side | None, *, may_be_first: bool) -> None:
        """`side`: where the row's owner wants it; None: the cut decides."""
        if side is None:
            self.keys.append(key)
            if self._side_of is None:
                self._wait(row, key, may_be_first=may_be_first)
                return
            side = self._side_of(key)
        self._write(row, key, side, may_be_first=may_be_first)

    def _wait(self, row: bytearray, key: int, *, may_be_first: bool) -> None:
        self._waiting.append((key, bytes(row), may_be_first))
        self._waiting_bytes += len(row)
        if self._waiting_bytes > WAITING_BYTES_MAX or len(self._waiting) > split.ROWS_COUNTED_OFF_MAX:
            self._let_in(split.at_fixed_hash(self._options, self._given))

    def _let_in(self, side_of: split.SideOf) -> None:
        self._side_of = side_of
        for key, row, may_be_first in self._waiting:
            self._write(row, key, side_of(key), may_be_first=may_be_first)
        self._waiting.clear()

    def _write(self, row: bytes | bytearray, key: int, side: Side, *, may_be_first: bool) -> None:
        file = self._files[side]
        if file.rows:
            file.write(row)
        else:
            file.begin(row, may_be_first=may_be_first)
        if side == "test":
            self._samples.offer(key, row)

    def better_cut(self) -> split.SideOf | None:
        """After the last row: None when every row lies right; otherwise the cut with which to read the upload again. Raise NoCut."""
        if self._side_of is None:
            side_of = split.sides(self.keys, self._options, self._given)
            if side_of is None:
                raise NoCut
            self._let_in(side_of)
            self._counted_off = True
            return None
        if self._counted_off or split.fixed_cut_will_do(self.keys, self.counts, self._options, self._given):
            return None
        side_of = split.sides(self.keys, self._options, self._given)
        if side_of is None:
            raise NoCut
        return side_of

    def finished(self) -> tuple[dict[Side, PreparedFile], list[dict[str, Any]]]:
        return {side: file.finished() for side, file in self._files.items()}, self._samples.chosen()

    def commit(self) -> None:
        for file in self._files.values():
            file.commit()

    def abandon(self) -> None:
        for file in self._files.values():
            file.abandon()


class NoCut(Exception):
    """There are too few rows, or too few different prompts."""


class _Samples:
    """The short test rows with the smallest hashes: as good as drawn by lot, and the same each time."""

    def __init__(self, options: Options) -> None:
        self._count = options.samples_max
        self._bytes_max = options.sample_bytes_max
        self._short: list[tuple[int, int, bytes]] = []  # a heap, largest hash first; the second number keeps rows of one prompt in order
        self._shortest: bytes | None = None  # of all that are too long: one long sample is better than no smoke test
        self._offered = 0

    def offer(self, key: int, row: bytes | bytearray) -> None:
        self._offered += 1
        if len(row) > self._bytes_max:
            if not self._short and (self._shortest is None or len(row) < len(self._shortest)):
                self._shortest = bytes(row)
            return
        rank = (-key, -self._offered)
        if len(self._short) < self._count:
            heapq.heappush(self._short, (*rank, bytes(row)))
        elif rank > self._short[0][:2]:
            heapq.heapreplace(self._short, (*rank, bytes(row)))

    def chosen(self) -> list[dict[str, Any]]:
        rows = [row for _, _, row in sorted(self._short, reverse=True)]
        return [sample(row) for row in rows or ([self._shortest] if self._shortest else [])]


def sample(row: bytes) -> dict[str, Any]:
    """A question as a scoring request asks it (it has to end with the user), and the answer to compare with."""
    messages = json.loads(row)["messages"]
    return {"messages": messages[:-1], "reference": messages[-1]["content"]}


class Quarantine:
    """The dropped rows: where each stood, why it was dropped, and its text as far as there is room for it."""

    def __init__(self, place: Place, options: Options) -> None:
        self.output = Output(place, QUARANTINE)
        self.rows = 0  # dropped, whether written or not
        self._options = options
        self._bytes = 0
        self._is_full = False

    def add(self, *, file: str, number: int, code: str, text: bytes | None) -> None:
        self.rows += 1
        if self._is_full:
            return
        row: dict[str, Any] = {"file": file, "line": number, "code": code}
        if text is not None:
            row["text"] = text[:QUARANTINED_TEXT_BYTES_MAX].decode("utf-8", "backslashreplace")
            if len(text) > QUARANTINED_TEXT_BYTES_MAX:
                row["cut"] = True
        encoded = _encode(row)
        self._bytes += len(encoded) + 1
        self._is_full = self._bytes > self._options.quarantine_bytes_max  # from then on for good: what is kept is the first rows
        if not self._is_full:
            self.output.write(encoded)


QUARANTINED_TEXT_BYTES_MAX: Final = 64 << 10
_encode: Final = msgspec.json.Encoder().encode


def content_sha256(files: Mapping[Side, PreparedFile]) -> str:
    """SHA-256 of three lines "<side> <sha256 of that file>" in the order train, validation, test."""
    return hashlib.sha256("".join(f"{side} {files[side].sha256}\n" for side in SIDES).encode()).hexdigest()
