"""Every file becomes JSON lines: where they stand in it, they are read as they are; a child process unpacks all else."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.domain import conversation
from shared.prepare import unpacking
from shared.prepare.formats import HEAD_BYTES, Format, Unreadable, format_of
from shared.prepare.options import Options
from shared.prepare.source import Source

__all__ = ["Reading", "Unreadable", "reading"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    format: Format
    chunks: Iterator[bytes]  # of JSON lines


def reading(source: Source, options: Options, *, workdir: Path, read: Callable[[int], None]) -> Reading:
    """`read` is told of bytes as they are taken from the source. Raise Unreadable for a file of a kind that we do not read."""
    if source.size == 0:
        raise Unreadable(conversation.about_empty_file())
    watched = _Watched(source, read)
    form = format_of(source.name, watched.head() if _is_told_by_its_head(source.name) else b"")
    if form is None:
        raise Unreadable(conversation.about_suffix(Path(source.name).suffix))
    if not form.needs_child:
        return Reading(format=form, chunks=watched.chunks())
    lines = unpacking.unpacked(watched, form, workdir=workdir, limits=options.unpack, line_bytes_max=options.line_bytes_max)
    return Reading(format=form, chunks=lines)


class _Watched:
    """A source that is opened once, also when its head is looked at first, and tells how far it was read."""

    def __init__(self, source: Source, read: Callable[[int], None]) -> None:
        self.size = source.size
        self._rest = source.chunks()
        self._read = read
        self._looked_at: list[bytes] = []

    def head(self) -> bytes:
        while sum(map(len, self._looked_at)) < HEAD_BYTES and (chunk := next(self._rest, b"")):
            self._looked_at.append(chunk)
        return b"".join(self._looked_at)

    def chunks(self) -> Iterator[bytes]:
        for chunk in itertools.chain(self._looked_at, self._rest):
            yield chunk
            self._read(len(chunk))


def _is_told_by_its_head(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith(".json")
