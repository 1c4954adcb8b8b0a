"""
The child: `python -m shared.prepare.unpack TASK` turns a packed file into JSON lines on its standard output, and itself into somebody
who cannot take more memory or time than the task allows.

It does not judge a row. When the file cannot be used, the last line on standard error is the complaint as a JSON object, and the exit
code is REFUSED.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from shared.domain.conversation import Complaint
from shared.domain.formats import FormatFault
from shared.prepare import arrays, gunzip, records, tables
from shared.prepare.child import limit_this_process
from shared.prepare.formats import Budget, Layout, Unreadable
from shared.prepare.unpacking import REFUSED, Task, Verdict, about_memory

READ_BYTES: Final = 1 << 20
WRITE_BYTES: Final = 1 << 18


def main(argument: str) -> int:
    task = msgspec.json.decode(argument, type=Task)
    limit_this_process(address_bytes=task.memory_bytes, held_bytes=task.held_bytes, cpu_seconds=task.limits.seconds_max)
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
