"""A gzip stream of one or several members is unpacked in small steps, and is whole to its last checksum or refused with a sentence."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from shared.domain import formats as faults
from shared.prepare.formats import GZIP_WITH_HEADER, Budget, Unreadable

FED_BYTES: Final = 1 << 16  # zlib copies what it does not use yet: of a small piece that is cheap, however many members it has
STEP_BYTES: Final = 1 << 20  # unpacked at once
HEAD_BYTES: Final = 262  # of the content: a tar archive names itself at byte 257

_ARCHIVES: Final = (
    (b"\x1f\x8b", "another gzip archive"),
    (b"PK\x03\x04", "a zip archive or an Office document"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
)


def gunzipped(chunks: Iterable[bytes], budget: Budget) -> Iterator[bytes]:
    """The bytes inside; raises Unreadable."""
    head = b""
    for piece in _members(chunks, budget):
        budget.spend_text(piece)
        if len(head) < HEAD_BYTES:
            head += piece[:HEAD_BYTES]
            if inside := _archive(head):
                raise Unreadable(faults.about_nested_archive(inside))
        yield piece


def _members(chunks: Iterable[bytes], budget: Budget) -> Iterator[bytes]:
    member = zlib.decompressobj(wbits=GZIP_WITH_HEADER)
    begun = False  # the member has got its first bytes
    members = 0  # that ended well
    for piece in _small(chunks):
        budget.bytes_read += len(piece)
        rest = piece
        while rest:
            if not begun and members:
                rest = rest.lstrip(b"\x00")  # gzip allows zeros behind a member, as tapes and disks have them
                if not rest:
                    break
            begun = True
            try:
                if unpacked := member.decompress(rest, STEP_BYTES):
                    yield unpacked
            except zlib.error as error:
                raise Unreadable(faults.about_gzip(_told(error, members, budget))) from None
            rest = member.unused_data if member.eof else member.unconsumed_tail
            if member.eof:
                members += 1
                member, begun = zlib.decompressobj(wbits=GZIP_WITH_HEADER), False
    if begun or not members:
        raise Unreadable(faults.about_gzip(f"the gzip archive ends in the middle, after {budget.decoded:,} unpacked bytes"))


def _small(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        for at in range(0, len(chunk), FED_BYTES):
            yield chunk[at : at + FED_BYTES]


def _told(error: zlib.error, members: int, budget: Budget) -> str:
    what = str(error)
    if "incorrect header check" in what:
        return "behind the end of the gzip archive stands something else" if members else "the file is no gzip archive"
    if "incorrect data check" in what or "incorrect length check" in what:
        return f"the gzip archive fails its checksum after {budget.decoded:,} unpacked bytes"
    return f"the gzip archive is damaged after {budget.decoded:,} unpacked bytes"


def _archive(head: bytes) -> str | None:
    for signature, name in _ARCHIVES:
        if head.startswith(signature):
            return name
    return "a tar archive" if head[257:262] == b"ustar" else None
