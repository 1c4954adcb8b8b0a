"""
What a file is, by the endings of its name and by its first bytes; and what it may become when it is unpacked.

Only plain JSON lines are read where we stand. Everything that can be small on disk and huge in memory is read by a child process
(`unpacking` on our side, `unpack` on its side) that gives JSON lines back.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Final, Literal, Protocol

import msgspec

from shared.domain.conversation import Complaint
from shared.domain.formats import about_tight_packing, about_too_large
from shared.domain.structs import learn

HEAD_BYTES: Final = 1 << 16  # what is looked at to tell an array from lines: more blanks than that stand before no array
GZIP_WITH_HEADER: Final = 31  # zlib's way to ask for gzip: 16 + 15 bits of window
TOKEN_BYTES: Final = 16  # what a quote or a comma counts beside itself: a text of one character takes as long to judge as one of a thousand
ROW_BYTES: Final = 384  # what a line or row counts beside its bytes, since judging it takes time: packed 29 times, rows of 100 bytes pass
GRACE_WEIGHT: Final = 48 << 20  # and with what rows, quotes and commas count besides
GRACE_BYTES: Final = 16 << 20  # decoded before the ratio counts: a small file of much-repeated chats is no bomb

Positive = Annotated[int, msgspec.Meta(ge=1)]
Unit = Literal["line", "row", "item"]


class Layout(StrEnum):
    """How the rows lie in the file, once it is out of its archive."""

    LINES = "jsonl"
    ARRAY = "json"
    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"


class Format(msgspec.Struct, frozen=True):
    layout: Layout
    gzipped: bool = False

    @property
    def name(self) -> str:
        """For the report: "jsonl", "json.gz", "parquet"."""
        return f"{self.layout}.gz" if self.gzipped else str(self.layout)

    @property
    def unit(self) -> Unit:
        """What a number counts in this file: lines of a text, rows of a table, items of an array; each from 1."""
        if self.layout in {Layout.PARQUET, Layout.ARROW}:
            return "row"
        return "item" if self.layout is Layout.ARRAY else "line"

    @property
    def needs_child(self) -> bool:
        return self.gzipped or self.layout is not Layout.LINES

    @property
    def has_blank_lines(self) -> bool:
        """Whether a blank line stands in the file. Those of an unpacked CSV only keep the numbers right: a cell ran over several lines."""
        return self.layout is Layout.LINES


class UnpackLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file may become when it is unpacked or decoded; beyond it the file is rejected."""

    bytes_max: Positive = 20 << 30  # decoded
    ratio_max: Positive = 200  # decoded bytes for one read; chats compress 3 to 20 times, a bomb 1,000 times
    memory_bytes_max: Positive = 1 << 30  # address space of the child that reads a table; other children need a quarter at most
    seconds_max: Positive = 540  # that the child computes, and that we wait for it; host.json ends the function after 10 minutes
    rows_max: Positive = 50_000_000  # of a table, by its footer
    columns_max: Positive = 1_000  # leaf columns
    row_groups_max: Positive = 100_000
    row_group_bytes_max: Positive = 512 << 20  # uncompressed and in memory at once; one group of 200 MB is common


learn(Format, UnpackLimits)


class Unreadable(Exception):
    """The file cannot be used as a whole; carries what its owner should read."""

    def __init__(self, complaint: Complaint) -> None:
        super().__init__(complaint.sentence)
        self.complaint = complaint


class Packed(Protocol):
    """What is unpacked: `source.Source` is one."""

    @property
    def size(self) -> int: ...

    def chunks(self) -> Iterator[bytes]: ...


class Budget:
    """Counts what comes out against what went in; raises Unreadable when it is too much."""

    def __init__(self, limits: UnpackLimits, *, bytes_read: int = 0) -> None:
        self._limits = limits
        self.bytes_read = bytes_read
        self.decoded = 0
        self._weight = 0

    def spend_text(self, text: bytes) -> None:
        """Text of lines, items or records."""
        tokens = text.count(b'"') + text.count(b",")
        self.spend(len(text), besides=text.count(b"\n") * ROW_BYTES + tokens * TOKEN_BYTES)

    def spend(self, decoded: int, *, besides: int = 0) -> None:
        """`besides`: what these bytes count for the time that they take."""
        self.decoded += decoded
        self._weight += decoded + besides
        if self.decoded > self._limits.bytes_max:
            raise Unreadable(about_too_large(what="bytes or more when unpacked", seen=self.decoded, limit=self._limits.bytes_max))
        allowed = self.bytes_read * self._limits.ratio_max
        if self.decoded > max(GRACE_BYTES, allowed) or self._weight > max(GRACE_WEIGHT, allowed):
            raise Unreadable(about_tight_packing(self._limits.ratio_max))


SHORTEST_ROW_BYTES: Final = 24  # {"question":"a","answer":"b"} has more
SHORTEST_RECORD_BYTES: Final = 4  # a,b and the end of the line


def rows_possible(form: Format, size: int, limits: UnpackLimits) -> int:
    """Return how many good rows a file of so many bytes can have at most."""
    is_packed = form.gzipped or form.layout in {Layout.PARQUET, Layout.ARROW}
    content = min(limits.bytes_max, max(GRACE_BYTES, size * limits.ratio_max)) if is_packed else size
    return content // (SHORTEST_RECORD_BYTES if form.layout is Layout.CSV else SHORTEST_ROW_BYTES)


_ENDINGS: Final = {
    ".jsonl": Layout.LINES,
    ".ndjson": Layout.LINES,
    ".json": Layout.LINES,  # or an array: the first bytes say so
    ".csv": Layout.CSV,
    ".tsv": Layout.CSV,
    ".parquet": Layout.PARQUET,
    ".arrow": Layout.ARROW,
}


def format_of(name: str, head: bytes) -> Format | None:
    """
    `name` is a path or its last part, in any case; `head` at least HEAD_BYTES from the start of the file, or all of it. None: we do not
    read such a file. Tables pack their own pages, so .parquet.gz and .arrow.gz are not taken.
    """
    rest = name.lower()
    gzipped = rest.endswith(".gz")
    rest = rest.removesuffix(".gz")
    dot = rest.rfind(".")
    layout = _ENDINGS.get(rest[dot:]) if dot >= 0 else None
    if layout is None or (gzipped and layout in {Layout.PARQUET, Layout.ARROW}):
        return None
    if rest.endswith(".json") and _begins_an_array(_peeked(head) if gzipped else head):
        layout = Layout.ARRAY
    return Format(layout, gzipped)


def _begins_an_array(head: bytes) -> bool:
    return head.removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n").startswith(b"[")


def _peeked(head: bytes) -> bytes:
    """The first bytes inside a gzip archive; nothing if it is none, which whoever unpacks it will say."""
    content = b""
    try:
        while head and len(content) < HEAD_BYTES:  # the first members may hold nothing, or blanks
            member = zlib.decompressobj(wbits=GZIP_WITH_HEADER)
            content += member.decompress(head, HEAD_BYTES)
            head = member.unused_data
    except zlib.error:
        pass
    return content
