"""
Accepted rows wait in one file until all are known, because only then it is known where each belongs; then they are dealt out.

Twelve bytes a row stay in memory. The order of the rows stays the order of the upload.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from array import array
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from shared.prepare.options import Options
from shared.prepare.result import PreparedFile
from shared.prepare.split import SIDES, Side

WAITING: Final = "rows.part"
BUFFER_BYTES: Final = 1 << 20  # a guess


class Waiting:
    """The accepted rows, in one file of the working folder that is gone at the end of the `with` block."""

    def __init__(self, workdir: Path) -> None:
        self.path = workdir / WAITING
        self.keys = array("Q")  # of each row's prompt
        self.lengths = array("I")  # bytes of each row, without its end

    def __enter__(self) -> Self:
        self._file = self.path.open("wb", buffering=BUFFER_BYTES)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, row: bytes, key: int) -> None:
        self._file.write(row)
        self._file.write(b"\n")
        self.keys.append(key)
        self.lengths.append(len(row))

    def deal_out(self, side_of: Callable[[int], Side], options: Options) -> tuple[dict[Side, PreparedFile], tuple[dict[str, Any], ...]]:
        """Three files beside the waiting one, and a few held-out rows."""
        self._file.flush()
        chosen = self._chosen_samples(side_of, options)
        samples = []
        with ExitStack() as open_files:
            outputs = {side: open_files.enter_context(_Output(self.path.with_name(f"{side}.jsonl"))) for side in SIDES}
            rows = open_files.enter_context(self.path.open("rb", buffering=BUFFER_BYTES))
            for at, (row, key) in enumerate(zip(rows, self.keys, strict=True)):
                outputs[side_of(key)].write(row)
                if at in chosen:
                    samples.append(sample(row))
        return {side: output.finished() for side, output in outputs.items()}, tuple(samples)

    def _chosen_samples(self, side_of: Callable[[int], Side], options: Options) -> frozenset[int]:
        """Positions of the test rows with the smallest hashes: as good as drawn by lot, and the same each time."""
        held_out = [at for at, key in enumerate(self.keys) if side_of(key) == "test"]
        short = [at for at in held_out if self.lengths[at] <= options.sample_bytes_max]
        if not short:  # one long sample is better than no smoke test
            return frozenset({min(held_out, key=self.lengths.__getitem__)})
        return frozenset(heapq.nsmallest(options.samples_max, short, key=lambda at: (self.keys[at], at)))


def sample(row: bytes) -> dict[str, Any]:
    """A question as a scoring request asks it (it has to end with the user), and the answer to compare with."""
    messages = json.loads(row)["messages"]
    return {"messages": messages[:-1], "reference": messages[-1]["content"]}


def content_sha256(files: Mapping[Side, PreparedFile]) -> str:
    """SHA-256 of three lines "<side> <sha256 of that file>" in the order train, validation, test."""
    return hashlib.sha256("".join(f"{side} {files[side].sha256}\n" for side in SIDES).encode()).hexdigest()


class _Output:
    """A file that knows its hash, rows and bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hash = hashlib.sha256()
        self._rows = 0
        self._bytes = 0

    def __enter__(self) -> Self:
        self._file: BinaryIO = self._path.open("wb", buffering=BUFFER_BYTES)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def write(self, row: bytes) -> None:
        self._file.write(row)
        self._hash.update(row)
        self._rows += 1
        self._bytes += len(row)

    def finished(self) -> PreparedFile:
        return PreparedFile(path=self._path, sha256=self._hash.hexdigest(), rows=self._rows, bytes=self._bytes)
