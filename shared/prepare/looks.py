"""
What a file that is not JSON lines seems to be, so that its owner reads "a zip archive" and not "line 1 is not valid JSON".

A signature of bytes is proof enough to stop at once. Text is judged only when nothing in the file could be used, because one
stray line at the top of good rows is a bad line and not another format.
"""

from __future__ import annotations

import codecs
import re
from typing import Final, NamedTuple

HEAD_BYTES: Final = 1_024  # what is looked at
TAR: Final = b"ustar"
TAR_AT: Final = 257  # POSIX.1-1988: "magic" of a header


class Looks(NamedTuple):
    like: str  # continues "looks like …"
    remedy: str


_UNPACK: Final = "unpack it and upload the .jsonl file inside"
_EXPORT: Final = 'export its rows as JSON lines, one {"messages": […]} object a line'
_UTF8: Final = "save it as UTF-8"

_SIGNATURES: Final = (
    *(
        (mark, Looks("a zip archive or an Office document", f"{_UNPACK}, or export the sheet as JSON lines"))
        for mark in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")  # with files, empty, in parts
    ),
    (b"\x1f\x8b", Looks("a gzip archive", _UNPACK)),
    (b"BZh", Looks("a bzip2 archive", _UNPACK)),
    (b"\xfd7zXZ\x00", Looks("an xz archive", _UNPACK)),
    (b"\x28\xb5\x2f\xfd", Looks("a zstd archive", _UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", Looks("a 7z archive", _UNPACK)),
    (b"Rar!\x1a\x07", Looks("a rar archive", _UNPACK)),
    (b"PAR1", Looks("a parquet table", "let its name end in .parquet")),
    (b"ARROW1", Looks("an Arrow table", "write it as .parquet or .jsonl")),
    (b"%PDF", Looks("a PDF document", _EXPORT)),
    (b"\xd0\xcf\x11\xe0", Looks("an old Office document", _EXPORT)),
    (b"SQLite format 3\x00", Looks("an SQLite database", _EXPORT)),
    (b"\x89PNG", Looks("a picture", _EXPORT)),
    (b"\xff\xd8\xff", Looks("a picture", _EXPORT)),
    (b"\x89HDF\r\n", Looks("an HDF5 file", _EXPORT)),
    *((b"\x80%c" % version, Looks("a pickle of Python", _EXPORT)) for version in range(2, 6)),  # its opcode PROTO and the protocol
    (codecs.BOM_UTF32_LE, Looks("UTF-32 text", _UTF8)),  # it begins with the mark of UTF-16
    (codecs.BOM_UTF32_BE, Looks("UTF-32 text", _UTF8)),
    (codecs.BOM_UTF16_LE, Looks("UTF-16 text", _UTF8)),
    (codecs.BOM_UTF16_BE, Looks("UTF-16 text", _UTF8)),
    (b"version https://git-lfs", Looks("a Git LFS pointer without the data behind it", "run `git lfs pull` and upload the data")),
)

_IS_BINARY: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x7f]")  # no text has these; with 0x1b a terminal's colours begin, with 0x1e rows


def binary(head: bytes) -> Looks | None:
    """Another format, by its first bytes."""
    for signature, looks in _SIGNATURES:
        if head.startswith(signature):
            return looks
    if head[TAR_AT : TAR_AT + len(TAR)] == TAR:
        return Looks("a tar archive", _UNPACK)
    if head.strip(b"\x00") == b"" and head:
        return Looks("nothing but zero bytes", "send the upload again")
    return None


def wide_text(head: bytes) -> Looks | None:
    """UTF-16 or UTF-32 without a mark, whose first character is of ASCII: one of its two bytes is zero, or three of four are."""
    if head[:4].count(0) == 3:
        return Looks("UTF-32 text", _UTF8)
    return Looks("UTF-16 text", _UTF8) if b"\0" in head[:2] else None


def text(head: bytes) -> Looks | None:
    """Another text format, by the way it begins; None when it begins like JSON lines."""
    if utf16 := wide_text(head):
        return utf16
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    first_line = start.split(b"\n", 1)[0].strip()
    if start.startswith(b"["):
        return Looks("one JSON array", "write one object a line without the brackets and the commas between (jq -c '.[]')")
    if first_line == b"{" or (first_line.startswith(b'{"') and first_line.endswith((b"[", b"{", b","))):
        return Looks("JSON spread over several lines", "write each row on one line (jq -c .)")
    if start.startswith(b"{") or not start:
        return None
    if start.lower().startswith((b"<!doctype", b"<html")):
        return Looks("a web page, perhaps of a sign-in", "download the data again and upload that")
    if start.startswith(b"<"):
        return Looks("XML", _EXPORT)
    if _IS_BINARY.search(first_line):
        return Looks("a binary file", _EXPORT)
    for mark, name in (
        (b"\t", "a table with tabs (TSV)"),
        (b",", "a table with commas (CSV)"),
        (b";", "a table with semicolons (CSV)"),
    ):
        if mark in first_line:
            return Looks(name, _EXPORT)
    if start.startswith((b"---", b"- ")):
        return Looks("YAML", _EXPORT)
    return Looks("plain text", _EXPORT)
