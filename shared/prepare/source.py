"""
What is to be prepared: streams of bytes, each with a name and a size that was known before.

The caller pins the version: each opening gives the bytes of that one version or raises. A stream is read from front to back and never
held as a whole; a small or lopsided upload is read a second time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.domain import members
from shared.domain.members import SIDES, Side
from shared.domain.upload import SET_FILE

__all__ = ["SET_FILE", "SIDES", "Side", "Source", "StreamEndedEarly", "source_of_file", "sources_of_set"]

FILE_CHUNK_BYTES: Final = 1 << 20  # 1 to 4 MiB read equally fast


class StreamEndedEarly(OSError):
    """The stream gave another number of bytes than announced: what was read is not the upload. Reading again may help."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    name: str  # its path or the last part of it; the endings say what it is: "chats.jsonl.gz"
    size: int  # bytes
    open: Callable[[], Iterator[bytes]]  # from the start, each time
    etag: str = ""  # of the version, without quotes; "": a file on this machine
    side: Side | None = None  # where its owner wants its rows; None: the split decides row by row

    def chunks(self) -> Iterator[bytes]:
        """
        Yield the bytes, held to the announced size: a cut-off stream must not pass as a shorter dataset. Raise StreamEndedEarly, and
        what the stream itself raises.
        """
        read = 0
        for chunk in self.open():
            read += len(chunk)
            if read > self.size:
                break
            yield chunk
        if read != self.size:
            raise StreamEndedEarly(f"The stream gave {read:,} bytes, {self.size:,} were announced; read it again.")


def source_of_file(path: Path, side: Side | None = None, *, name: str = "") -> Source:
    """A file on this machine; it is called `name`, or by the last part of its path. Bytes of it that are no UTF-8 are spelt out."""
    shown = os.fsencode(name or path.name).decode("utf-8", "backslashreplace")
    return Source(name=shown, size=path.stat().st_size, open=lambda: _chunks_of_file(path), side=side)


def sources_of_set(set_file: Path) -> list[Source]:
    """
    Return the files that a `_dataset.json` on this machine names, each called by its path in that folder. A disk has no ETags: those that
    the set names are not compared. Raise WrongSet.
    """
    with set_file.open("rb") as file:
        named = members.parsed(file.read(members.SET_BYTES_MAX + 1))
    paths = [(member, set_file.parent / member.path) for member in named]
    if absent := [member.path for member, path in paths if not _is_there(path)]:
        raise members.missing(absent)
    return [source_of_file(path, member.side, name=member.path) for member, path in paths]


def _is_there(path: Path) -> bool:
    """A name that is too long for this disk is one that no file has."""
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError:
        return False


def _chunks_of_file(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(FILE_CHUNK_BYTES):
            yield chunk
