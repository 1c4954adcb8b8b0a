"""
A stream of chunks is cut into numbered lines, whatever the chunk boundaries; one line never needs more than its limit.

Only `\n` ends a line: str.splitlines() would also cut at U+2028 and U+0085 inside a text, bytes.splitlines() at a lone `\r`.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator


def numbered_lines(chunks: Iterable[bytes], *, bytes_max: int) -> Iterator[tuple[int, bytes | None]]:
    """
    (1-based number, line without its end). None stands for a line that is longer than `bytes_max`: its bytes were dropped
    while they were read. A byte order mark at the start is no part of the first line.
    """
    number = 0
    tail: list[bytes] = []  # pieces of the line that is not finished; joined once, because += would be quadratic
    tail_bytes = 0
    for chunk in without_byte_order_mark(chunks):
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            number += 1
            length = tail_bytes + end - start
            if length > bytes_max:
                yield number, None
            elif tail:
                yield number, b"".join([*tail, chunk[start:end]])
            else:
                yield number, chunk[start:end]
            tail, tail_bytes, start = [], 0, end + 1
        tail_bytes += len(chunk) - start
        if tail_bytes > bytes_max:
            tail = []  # the length alone is remembered
        elif start < len(chunk):
            tail.append(chunk[start:])
    if tail_bytes:
        yield number + 1, None if tail_bytes > bytes_max else b"".join(tail)


def without_byte_order_mark(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = iter(chunks)
    head = b""
    for chunk in rest:
        head += chunk
        if len(head) >= len(codecs.BOM_UTF8):
            break
    yield head.removeprefix(codecs.BOM_UTF8)
    yield from rest
