"""
The child: `python -m shared.prepare.unpack TASK` turns a packed file into JSON lines on its standard output, and itself into somebody
who cannot take more memory or time than the task allows.

It does not judge a row. When the file cannot be used, the last line on standard error is the complaint as a JSON object, and the exit
code is REFUSED.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from shared.domain.conversation import Complaint
from shared.domain.formats import FormatFault
from shared.prepare import arrays, gunzip, records, tables
from shared.prepare.formats import Budget, Layout, Unreadable
from shared.prepare.unpacking import REFUSED, STDERR_BYTES_MAX, Task, Verdict, about_memory

if os.name == "posix":
    import resource

READ_BYTES: Final = 1 << 20
WRITE_BYTES: Final = 1 << 18


def main(argument: str) -> int:
    task = msgspec.json.decode(argument, type=Task)
    _limit_this_process(task)
    try:
        with open(sys.stdout.fileno(), "wb", buffering=WRITE_BYTES, closefd=False) as out:
            out.writelines(_lines(task))
    except Unreadable as unreadable:
        return _refused(unreadable.complaint)
    except MemoryError:
        return _refused(about_memory(task))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody listens any more, and Python would complain of it
    return 0


def _lines(task: Task) -> Iterator[bytes]:
    match task.format.layout:
        case Layout.PARQUET:
            return tables.lines_of_parquet(Path(task.path), task.limits, line_bytes_max=task.line_bytes_max)
        case Layout.ARROW:
            return tables.lines_of_arrow(Path(task.path), task.limits)
        case Layout.ARRAY:
            return arrays.lines_of_items(_content(task))
        case Layout.CSV:
            return records.lines_of_records(_content(task), line_bytes_max=task.line_bytes_max)
        case Layout.LINES:
            return _content(task)


def _content(task: Task) -> Iterator[bytes]:
    chunks = _read()
    return gunzip.gunzipped(chunks, Budget(task.limits)) if task.format.gzipped else chunks


def _read() -> Iterator[bytes]:
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as packed:
        while chunk := packed.read(READ_BYTES):
            yield chunk


def _refused(complaint: Complaint) -> int:
    verdict = Verdict(code=FormatFault(complaint.code), what=complaint.what, remedy=complaint.remedy)
    sys.stderr.buffer.write(b"\n" + msgspec.json.encode(verdict) + b"\n")
    return REFUSED


# ------------------------------------------------------------------------------------------------------- limits


def _limit_this_process(task: Task) -> None:
    """Nothing that this process reads can lift these again. Systems without such limits have the clock of whoever started it."""
    if os.name != "posix":
        return
    seconds = task.limits.seconds_max
    for what, soft, hard in (
        (resource.RLIMIT_AS, task.memory_bytes, task.memory_bytes),
        (resource.RLIMIT_DATA, task.held_bytes, task.held_bytes),
        (resource.RLIMIT_CPU, seconds, seconds + 1),  # at the first a signal that has a name of its own, at the second the end
        (resource.RLIMIT_FSIZE, STDERR_BYTES_MAX, STDERR_BYTES_MAX),  # the output is a pipe and has no size; nothing else is written
        (resource.RLIMIT_CORE, 0, 0),
    ):
        _, allowed = resource.getrlimit(what)
        if allowed != resource.RLIM_INFINITY:
            soft, hard = min(soft, allowed), min(hard, allowed)  # noqa: PLW2901
        with contextlib.suppress(ValueError, OSError):  # macOS refuses to limit an address space
            resource.setrlimit(what, (soft, hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
