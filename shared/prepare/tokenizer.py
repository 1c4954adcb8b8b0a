"""
Counting tokens exactly, with the tokenizer file of the model that its owner supplies (tokenizer.json of Hugging Face).

It is never needed: without one the estimate of `tokens` holds. What such a file does with a text is its writer's to say, so a child process
with limits does it (`counting`).
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Final

import msgspec

from shared.prepare import counting
from shared.prepare.child import ChildFailed, last_words, started
from shared.prepare.formats import UnpackLimits
from shared.prepare.source import Source
from shared.prepare.tokens import MESSAGE_TOKENS

FILE_BYTES_MAX: Final = 64 << 20  # the largest that models of this kind have is 20 MB
CHILD: Final = "shared.prepare.counting"
# What a child needs, measured: 30 MB of programs, and 14 (BPE of 200,000) to 80 times (Unigram of 250,000) the bytes of the file.
MEMORY_BYTES: Final = 160 << 20
MEMORY_FACTOR: Final = 96
READ_WITHIN_S: Final = 20.0  # a Unigram of 10 MB takes 2.5 s
BYTES_A_SECOND_MIN: Final = 50_000  # 4 MB/s measured with a BPE of 200,000
WRITE_BYTES: Final = 1 << 16
SAMPLE_ROWS: Final = 200  # total within 0.4 % (data of ultrachat's shape, measured)
SAMPLE_ROW_BYTES_MAX: Final = 64 << 10


class BadTokenizer(ValueError):
    """The file is none, or takes too much to count with; the text is a clause for its owner."""


class Tokenizer:
    """Counts in a child process. Raise BadTokenizer when it cannot."""

    def __init__(self, child: subprocess.Popen[bytes], errors: IO[bytes], *, name: str, sha256: str, task: counting.Task) -> None:
        self.sha256 = sha256  # hex, of the file
        self._child, self._errors, self._name, self._task = child, errors, name, task
        self._waited_s, self._bytes = 0.0, 0

    def count(self, text: str) -> int:
        """Tokens of a text, without those that a template adds."""
        return self._asked([text])

    def count_messages(self, texts: Sequence[str]) -> int:
        return self._asked(texts) + len(texts) * MESSAGE_TOKENS

    def begin(self) -> None:
        """Wait until the file is read."""
        self._answer(READ_WITHIN_S)

    def _asked(self, texts: Sequence[str]) -> int:
        question = msgspec.json.encode(texts) + b"\n"
        self._bytes += len(question)
        assert self._child.stdin
        with contextlib.suppress(BrokenPipeError):  # it has ended, and the answer says why
            for at in range(0, len(question), WRITE_BYTES):
                self._child.stdin.write(question[at : at + WRITE_BYTES])
        most_s = min(READ_WITHIN_S + self._bytes / BYTES_A_SECOND_MIN, self._task.cpu_seconds)
        return self._answer(max(most_s - self._waited_s, 0))

    def _answer(self, within_s: float) -> int:
        assert self._child.stdout
        begun = time.monotonic()
        said = b""
        with _killed_after(self._child, within_s) as late:
            while not said.endswith(b"\n") and (block := os.read(self._child.stdout.fileno(), 64)):
                said += block
        self._waited_s += time.monotonic() - begun
        if said.endswith(b"\n"):
            return int(said)
        raise self._failure(self._child.wait(), is_late=late.is_set())

    def _failure(self, code: int, *, is_late: bool) -> Exception:
        kind, place = last_words(self._errors)
        if is_late or code == -getattr(signal, "SIGXCPU", 0):
            return BadTokenizer(f"the file {self._name} takes too long to count with")
        if code < 0 or "MemoryError" in kind:
            return BadTokenizer(f"the file {self._name} needs more than {self._task.memory_bytes:,} bytes of memory to count with")
        if code == counting.REFUSED:
            what = "fails at a text of the upload" if self._bytes else "is no tokenizer that can be read"
            return BadTokenizer(f"the file {self._name} {what} ({kind})")
        return ChildFailed(f"The child that counts tokens ended with code {code}: {kind} at {place}")


@contextlib.contextmanager
def _killed_after(child: subprocess.Popen[bytes], seconds: float) -> Iterator[threading.Event]:
    """End the child when the block takes longer; the event says that it was."""
    late = threading.Event()

    def end() -> None:
        late.set()
        child.kill()

    clock = threading.Timer(seconds, end)
    clock.daemon = True
    clock.start()
    try:
        yield late
    finally:
        clock.cancel()


@contextlib.contextmanager
def read_tokenizer(source: Source | None, workdir: Path, limits: UnpackLimits) -> Iterator[Tokenizer | None]:
    """
    Yield what counts with this file until the end of the block; None without one. Raise BadTokenizer, and what the stream raises.
    `workdir` holds the file meanwhile.
    """
    if source is None:
        yield None
        return
    if source.size > FILE_BYTES_MAX:
        raise BadTokenizer(f"the file {source.name} has {source.size:,} bytes, more than the {FILE_BYTES_MAX:,} allowed for a tokenizer")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="count-", dir=workdir)))
        errors = stack.enter_context((folder / "errors").open("w+b"))
        path, digest = folder / "tokenizer.json", hashlib.sha256()
        with path.open("wb") as file:
            for chunk in source.chunks():
                digest.update(chunk)
                file.write(chunk)
        memory_bytes = min(MEMORY_BYTES + MEMORY_FACTOR * source.size, limits.memory_bytes_max)
        task = counting.Task(path=str(path), memory_bytes=memory_bytes, cpu_seconds=limits.seconds_max)
        argument = msgspec.json.encode(task).decode()
        child = stack.enter_context(started(CHILD, argument, stdin=subprocess.PIPE, errors=errors, folder=folder))
        tokenizer = Tokenizer(child, errors, name=source.name, sha256=digest.hexdigest(), task=task)
        tokenizer.begin()
        yield tokenizer


class Sample:
    """The rows with the smallest hashes: as good as drawn by lot, whatever the order of the file."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, bytes]] = []  # a heap, largest hash first

    def offer(self, content_hash: int, row: bytes | bytearray) -> None:
        if len(row) > SAMPLE_ROW_BYTES_MAX:
            return
        if len(self._rows) < SAMPLE_ROWS:
            heapq.heappush(self._rows, (-content_hash, bytes(row)))
        elif -content_hash > self._rows[0][0]:
            heapq.heapreplace(self._rows, (-content_hash, bytes(row)))

    def counted(self, tokenizer: Tokenizer) -> list[tuple[int, int]]:
        """(bytes of UTF-8, tokens) of the texts of each row."""
        counted = []
        for _, row in sorted(self._rows):
            texts = [message["content"] for message in json.loads(row)["messages"]]
            counted.append((sum(len(text.encode()) for text in texts), sum(map(tokenizer.count, texts))))
        return counted
