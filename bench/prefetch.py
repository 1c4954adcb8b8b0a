"""
How fast 200 MB of a blob arrive in ranges that are fetched ahead, beside the SDK's chunks() and readall().

The first byte of an answer takes 15 ms and a connection gives 60 MB/s: an assumption about a data centre, the same for all contenders.
The service is a stand-in in a process of its own (see _blob_stand_in.py), and each contender is a fresh process, so that the peak of its
memory is its own. The best of a few rounds counts. `prefetch_figures()` returns the figures, `python -m bench.prefetch` prints them.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from bench._blob_stand_in import BYTES_PER_SECOND, CONTAINER, FIRST_BYTE_SECONDS, BlobStandIn

ROOT = Path(__file__).resolve().parent.parent
BLOB = "rows.jsonl"
SIZE = 200_000_000  # bytes
ROUNDS = 3
CONTENDERS = ("chunks", "readall", "prefetch")


def prefetch_figures(
    *,
    size: int = SIZE,
    rounds: int = ROUNDS,
    first_byte_seconds: float = FIRST_BYTE_SECONDS,
    bytes_per_second: float = BYTES_PER_SECOND,
) -> dict[str, float]:
    """
    Return one flat row of figures.

    "bytes", "first_byte_ms" and "connection_mb_per_second" say what was asked of whom. For each of chunks, readall and prefetch:
    "..._seconds" (wall), "..._cpu_seconds" and "..._memory_mb", the growth of the process's peak while it reads. "ratio" says how many
    times as fast as `chunks()` the prefetch is, "ratio_readall" the same of `readall()`.
    """
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / BLOB
        with file.open("wb") as made:
            made.truncate(size)  # what is in it does not matter here
        pace = {"first_byte_seconds": first_byte_seconds, "bytes_per_second": bytes_per_second}
        with BlobStandIn({BLOB: file}, **pace) as service:
            for _ in range(rounds):
                for name in CONTENDERS:
                    figures = _measured(name, service.connection_string)
                    best[name] = min(best.get(name, figures), figures, key=lambda one: one["seconds"])
    row: dict[str, float] = {
        "bytes": size,
        "first_byte_ms": first_byte_seconds * 1e3,
        "connection_mb_per_second": bytes_per_second / 1e6,
    }
    for name, one in best.items():
        row |= {f"{name}_{key}": value for key, value in one.items()}
    row["ratio"] = round(best["chunks"]["seconds"] / best["prefetch"]["seconds"], 2)
    row["ratio_readall"] = round(best["readall"]["seconds"] / best["prefetch"]["seconds"], 2)
    return row


def _measured(name: str, connection_string: str) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-m", "bench.prefetch", name, connection_string]
    out = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(out.stdout)
    return figures


def _read(name: str, connection_string: str) -> dict[str, float]:
    """Read the blob once, in this process."""
    from azure.storage.blob import ContainerClient

    from shared.cloud import prefetch, storage

    ours = storage.READING if name == "prefetch" else {}
    blob = ContainerClient.from_connection_string(connection_string, CONTAINER, **ours).get_blob_client(BLOB)
    looked = blob.get_blob_properties()
    memory, cpu, begun = _peak_mb(), time.process_time(), time.perf_counter()
    pieces: Iterable[bytes]
    if name == "chunks":
        pieces = blob.download_blob().chunks()
    elif name == "readall":
        pieces = [blob.download_blob().readall()]
    else:
        pieces = prefetch.prefetched(blob, etag=looked.etag.strip('"'), size=looked.size)
    arrived = sum(len(piece) for piece in pieces)
    seconds = time.perf_counter() - begun
    if arrived != looked.size:
        raise AssertionError(f"{arrived} bytes arrived of {looked.size}")
    return {
        "seconds": round(seconds, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
        "memory_mb": round(_peak_mb() - memory, 1),
    }


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    if len(sys.argv) > 1:  # one contender, as `_measured` asks for it
        print(json.dumps(_read(*sys.argv[1:])))
        return
    figures = prefetch_figures()
    for name in CONTENDERS:
        seconds, cpu, memory = (figures[f"{name}_{key}"] for key in ("seconds", "cpu_seconds", "memory_mb"))
        print(f"{name:<10} {seconds:6.2f} s {figures['bytes'] / seconds / 1e6:6.0f} MB/s {cpu:6.2f} s CPU {memory:6.0f} MB")
    print(f"prefetch: {figures['ratio']} times as fast as chunks(), {figures['ratio_readall']} times as fast as readall()")


if __name__ == "__main__":
    main()
