"""Every file becomes JSON lines: where they stand in it, they are read as they are; a child process unpacks all else."""

from __future__ import annotations

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
    form = format_of(source.name, _head(source) if _is_told_by_its_head(source.name) else b"")
    if form is None:
        raise Unreadable(conversation.about_suffix(Path(source.name).suffix))
    watched = _Watched(source=source, read=read)
    if not form.needs_child:
        return Reading(format=form, chunks=watched.chunks())
    lines = unpacking.unpacked(watched, form, workdir=workdir, limits=options.unpack, line_bytes_max=options.line_bytes_max)
    return Reading(format=form, chunks=lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Watched:
    """A source that tells how far it was read."""

    source: Source
    read: Callable[[int], None]

    @property
    def size(self) -> int:
        return self.source.size

    def chunks(self) -> Iterator[bytes]:
        for chunk in self.source.chunks():
            yield chunk
            self.read(len(chunk))


def _is_told_by_its_head(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith(".json")


def _head(source: Source) -> bytes:
    head = b""
    chunks = source.chunks()
    for chunk in chunks:
        head += chunk[:HEAD_BYTES]
        if len(head) >= HEAD_BYTES:
            break
    return head
