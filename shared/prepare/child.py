"""
Child processes that read what can explode: what they are started with, and what they may not take.

They have no secrets in their environment, and are gone at the end of the block that started them.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

if os.name == "posix":
    import resource

STDERR_BYTES_MAX: Final = 1 << 20  # a guess: warnings of libraries and one complaint

_INHERITED: Final = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT", "TZ")  # what a Python needs to start
_QUIET: Final = {
    "LC_ALL": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "MALLOC_ARENA_MAX": "1",  # address space is limited, and each arena takes 64 MB of it
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # the others reserve more than they use
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RUST_BACKTRACE": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
}


class ChildFailed(RuntimeError):
    """The child ended as none of ours should: a fault of this program or of the machine, not of the file."""


@contextlib.contextmanager
def started(module: str, argument: str, *, stdin: IO[bytes] | int, errors: IO[bytes], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `python -m module argument` in `folder`. It is dead and buried at the end of the block, whatever happens in it."""
    command = [sys.executable, "-P", "-m", module, argument]
    child = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=errors, bufsize=0, env=_environment(folder), cwd=folder)
    try:
        yield child
    finally:
        for pipe in (child.stdin, child.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        child.kill()  # does nothing to one that has ended
        child.wait()


def last_words(errors: IO[bytes]) -> tuple[str, str]:
    """Return the kind of error that ended a Python, and the place in our code; what stands behind the kind may quote the dataset."""
    errors.seek(0)
    said = errors.read().strip().split(b"\n")
    kind = said[-1].split(b":")[0].decode(errors="replace")[:100]
    place = next((line.strip().decode(errors="replace") for line in reversed(said) if line.startswith(b"  File ")), "an unknown place")
    return kind, place[:300]


def _environment(folder: Path) -> dict[str, str]:
    """Our own has connection strings in it. In Azure the packages are found through sys.path alone."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    found = os.pathsep.join(str(Path(path).absolute()) for path in sys.path)
    return {**inherited, **_QUIET, "PYTHONPATH": found, "HOME": str(folder), "TMPDIR": str(folder)}


def limit_this_process(*, address_bytes: int, held_bytes: int, cpu_seconds: int) -> None:
    """
    Nothing that this process reads can lift these again. `address_bytes`: of address space; `held_bytes`: of memory that is its own.
    Systems without such limits have the clock of whoever started it.
    """
    if os.name != "posix":
        return
    for what, soft, hard in (
        (resource.RLIMIT_AS, address_bytes, address_bytes),
        (resource.RLIMIT_DATA, held_bytes, held_bytes),
        (resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1),  # at the first a signal that has a name of its own, at the second the end
        (resource.RLIMIT_FSIZE, STDERR_BYTES_MAX, STDERR_BYTES_MAX),  # the output is a pipe and has no size; nothing else is written
        (resource.RLIMIT_CORE, 0, 0),
    ):
        _, allowed = resource.getrlimit(what)
        if allowed != resource.RLIM_INFINITY:
            soft, hard = min(soft, allowed), min(hard, allowed)  # noqa: PLW2901
        with contextlib.suppress(ValueError, OSError):  # macOS refuses to limit an address space
            resource.setrlimit(what, (soft, hard))


def allow_cpu(seconds: float) -> None:
    """
    Let this process use so many seconds of processor time from now on, but never more than it was started with. A clock would not do: a
    quarter of a core needs four times as long for the same work.
    """
    if os.name != "posix":
        return
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(time.process_time() + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
