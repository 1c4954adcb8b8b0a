"""
What is to be prepared: a stream of bytes with a name's ending and a size that was known before.

The caller opens the stream and pins its version; it is read once, from front to back, and never held as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FILE_CHUNK_BYTES: Final = 1 << 20  # a guess; 1 to 4 MiB read equally fast


class StreamEndedEarly(OSError):
    """The stream gave another number of bytes than announced: what was read is not the upload. Reading again may help."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    suffix: str  # of the name, with its dot: ".jsonl", ".parquet"
    size: int  # bytes
    chunks: Iterable[bytes]  # consumed once


def source_of_file(path: Path) -> Source:
    """A file on this machine, opened when the first chunk is asked for."""
    return Source(suffix=path.suffix, size=path.stat().st_size, chunks=_chunks_of_file(path))


def _chunks_of_file(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(FILE_CHUNK_BYTES):
            yield chunk
