"""
A packed file is unpacked by a child process that cannot take more memory or time than it may, and comes back as JSON lines.

What can be small on disk and huge in memory is never decoded in this process. The child has no secrets in its environment, and is gone
when the lines end, when nobody wants more of them, and when anything is raised. Rows are not judged here: the lines go to the same
reader as any others.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, Final

import msgspec

from shared.domain import formats as faults
from shared.domain.conversation import Complaint
from shared.domain.formats import FormatFault
from shared.domain.structs import learn
from shared.prepare.child import ChildFailed, last_words, started
from shared.prepare.formats import Format, Layout, Packed, UnpackLimits, Unreadable

CHILD: Final = "shared.prepare.unpack"
REFUSED: Final = 3  # the exit code of a child that says what is wrong with the file
COMPLAINT_CHARACTERS_MAX: Final = 1_000  # a guess; ours have some 200
PIPE_BYTES: Final = 1 << 20  # Linux lets anybody have so much; the default of 64 KiB makes two processes wait for each other
READ_BYTES: Final = 1 << 18

# What a child that reads text needs, measured with lines of 4 MiB: 30 MB of programs and some copies of the longest line.
TEXT_MEMORY_BYTES: Final = 128 << 20
TEXT_MEMORY_LINES: Final = 32
# What a child that reads a table needs: 75 MB of programs (measured), a batch of 8 MB three times, and for a record batch that is decoded
# at once the bytes of the file as often as chats may be packed.
TABLE_MEMORY_BYTES: Final = 160 << 20
TABLE_MEMORY_FACTOR: Final = 64
TABLES: Final = frozenset({Layout.PARQUET, Layout.ARROW})  # their index stands at the end: they have to be on disk


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is told, as its one argument."""

    format: Format
    path: str  # "": the file comes on standard input
    limits: UnpackLimits
    memory_bytes: int  # of address space
    held_bytes: int  # of memory that is the child's own: what a small file may take of a machine
    line_bytes_max: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Why the file cannot be used: the last line that the child writes to its standard error."""

    code: FormatFault
    what: str
    remedy: str


learn(Task, Verdict)


def unpacked(source: Packed, form: Format, *, workdir: Path, limits: UnpackLimits, line_bytes_max: int) -> Iterator[bytes]:
    """
    JSON lines, in blocks that are cut anywhere; the n-th line is the n-th line, row or item of the file. Raises Unreadable, at the end of
    what could be read, and passes on what the source raises. `workdir` holds a table while it is read, and nothing afterwards.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="unpack-", dir=workdir)))
        errors = stack.enter_context((folder / "errors").open("w+b"))
        on_disk = form.layout in TABLES or os.name != "posix"  # elsewhere nobody can wait for two pipes at once
        path = _spooled(source, folder / "packed") if on_disk else None
        memory_bytes = _memory_bytes(form, source.size, limits, line_bytes_max)
        task = Task(
            format=form,
            path=str(path) if path and form.layout in TABLES else "",
            limits=limits,
            memory_bytes=memory_bytes,
            held_bytes=_held_bytes(source.size, limits) if form.layout in TABLES else memory_bytes,
            line_bytes_max=line_bytes_max,
        )
        stdin: IO[bytes] | int = stack.enter_context(path.open("rb")) if path else subprocess.PIPE
        child = stack.enter_context(started(CHILD, msgspec.json.encode(task).decode(), stdin=stdin, errors=errors, folder=folder))
        if os.name == "posix":
            timed_out = yield from _exchanged(child, iter(()) if path else source.chunks(), limits)
        else:
            timed_out = yield from _read_until(child, limits)
        code = child.wait()
        if timed_out:
            raise Unreadable(faults.about_unpack_limit(f"reading it takes longer than {limits.seconds_max:,} seconds"))
        if code:
            raise _failure(code, task, errors)


def _memory_bytes(form: Format, size: int, limits: UnpackLimits, line_bytes_max: int) -> int:
    if form.layout is Layout.ARROW:
        return limits.memory_bytes_max + size  # the file is mapped, not read: it takes addresses, and memory that can be taken back
    if form.layout is Layout.PARQUET:
        return limits.memory_bytes_max
    return min(TEXT_MEMORY_BYTES + TEXT_MEMORY_LINES * line_bytes_max, limits.memory_bytes_max)


def _held_bytes(size: int, limits: UnpackLimits) -> int:
    return min(TABLE_MEMORY_BYTES + TABLE_MEMORY_FACTOR * size, limits.memory_bytes_max)


def _spooled(source: Packed, path: Path) -> Path:
    with path.open("wb") as file:
        for chunk in source.chunks():
            file.write(chunk)
    return path


# ------------------------------------------------------------------------------------------------------- the child


def _exchanged(child: subprocess.Popen[bytes], chunks: Iterator[bytes], limits: UnpackLimits) -> Generator[bytes, None, bool]:
    """
    Gives when the child takes and takes when it gives, so that neither waits for the other for ever. Returns whether time ran out: only
    the time counts in which we wait for the child, not that of the source or of whoever wants the lines.
    """
    assert child.stdout
    waited_s = 0.0
    pending = memoryview(b"")
    with selectors.DefaultSelector() as pipes:
        pipes.register(child.stdout, selectors.EVENT_READ)
        if child.stdin:
            pipes.register(child.stdin, selectors.EVENT_WRITE)
            os.set_blocking(child.stdin.fileno(), False)
        for pipe in pipes.get_map().values():
            _widen(pipe.fd)
        while True:
            begun = time.monotonic()
            ready = pipes.select(max(limits.seconds_max - waited_s, 0))
            waited_s += time.monotonic() - begun
            if not ready:
                child.kill()
                return True
            for pipe, _ in ready:
                if pipe.fileobj is child.stdout:
                    block = os.read(pipe.fd, READ_BYTES)
                    if not block:
                        return False
                    yield block
                    continue
                pending = pending or memoryview(next((chunk for chunk in chunks if chunk), b""))
                taken = _taken(pipe.fd, pending)
                pending = pending[taken:]
                if not taken:  # the file has ended, or the child has seen enough of it
                    pipes.unregister(pipe.fileobj)
                    assert child.stdin
                    child.stdin.close()


def _taken(pipe: int, pending: memoryview) -> int:
    """How many bytes went into the pipe; 0 when nobody reads it any more."""
    try:
        return os.write(pipe, pending) if pending else 0
    except BrokenPipeError:
        return 0


def _widen(pipe: int) -> None:
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # the user has too many such pipes: then it goes slower
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _read_until(child: subprocess.Popen[bytes], limits: UnpackLimits) -> Generator[bytes, None, bool]:
    """For systems that cannot wait for a pipe with a limit. Returns whether time ran out; all of it counts."""
    assert child.stdout
    out = threading.Event()

    def end() -> None:
        out.set()
        child.kill()

    clock = threading.Timer(limits.seconds_max, end)
    clock.start()
    try:
        while block := os.read(child.stdout.fileno(), READ_BYTES):
            yield block
    finally:
        clock.cancel()
        clock.join()
    return out.is_set()


# ------------------------------------------------------------------------------------------------------- how it ended


def _failure(code: int, task: Task, errors: IO[bytes]) -> Exception:
    if code < 0:
        return Unreadable(_about_signal(-code, task))
    errors.seek(0)
    said = errors.read().strip().split(b"\n")
    if code == REFUSED:
        with contextlib.suppress(msgspec.MsgspecError, UnicodeError):
            return Unreadable(_complaint(msgspec.json.decode(said[-1], type=Verdict)))
    kind, place = last_words(errors)
    if "MemoryError" in kind:
        return Unreadable(about_memory(task))
    return ChildFailed(f"The child that unpacks a {task.format.name} file ended with code {code}: {kind} at {place}")


def _complaint(verdict: Verdict) -> Complaint:
    what, remedy = verdict.what[:COMPLAINT_CHARACTERS_MAX], verdict.remedy[:COMPLAINT_CHARACTERS_MAX]
    return Complaint(code=verdict.code, what=what, remedy=remedy)


def _about_signal(number: int, task: Task) -> Complaint:
    if number == getattr(signal, "SIGXCPU", None):
        return faults.about_unpack_limit(f"reading it takes more than {task.limits.seconds_max:,} seconds of computing")
    if number in {signal.SIGSEGV, signal.SIGFPE, signal.SIGILL, getattr(signal, "SIGBUS", None)} and task.format.layout in TABLES:
        about = faults.about_parquet if task.format.layout is Layout.PARQUET else faults.about_arrow
        return about("the table is damaged in a way that ends whoever reads it")
    return faults.about_unpack_limit(f"reading it was ended by the system (signal {number}), as happens when memory runs out")


def about_memory(task: Task) -> Complaint:
    return faults.about_unpack_limit(f"reading it takes more than {min(task.memory_bytes, task.held_bytes):,} bytes of memory")
