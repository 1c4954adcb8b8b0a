"""
A control group for one process: so much memory and so many cores, as the smallest Functions instance has them.

Needs the right to make one, which root mostly has; both versions of the kernel's interface are known. Whoever may not gets a sentence.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
PERIOD_US: Final = 100_000  # the kernel's own default


class CannotLimit(Exception):
    """The sentence says why."""


@dataclass(frozen=True, slots=True)
class Group:
    folders: tuple[Path, ...]  # of the same group, one for each hierarchy

    def command(self, command: list[str]) -> list[str]:
        """The command, run by a process that has entered the group before."""
        enter = "".join(f"echo $$ > '{folder / 'cgroup.procs'}' && " for folder in self.folders)
        return ["/bin/sh", "-c", f'{enter}exec "$@"', "sh", *command]

    def peak_mb(self) -> float:
        """The most memory that the group had, page cache included, in millions of bytes."""
        for name in ("memory.max_usage_in_bytes", "memory.peak"):
            for folder in self.folders:
                with contextlib.suppress(OSError):
                    return int((folder / name).read_text()) / 1e6
        raise CannotLimit("the kernel does not tell the peak of a group")


@contextlib.contextmanager
def limited(*, memory_mb: int, cores: float) -> Iterator[Group]:
    """`memory_mb` in MiB, as Azure counts. Raises CannotLimit."""
    name = f"tuneloop-bench-{os.getpid()}"
    made: list[Path] = []
    try:
        try:
            for folder, limits in _wanted(name, memory_mb << 20, cores):
                folder.mkdir()
                made.append(folder)
                for file, value in limits.items():
                    (folder / file).write_text(value)
        except OSError as error:
            raise CannotLimit(f"no control group may be made here ({error.strerror or error})") from error
        yield Group(tuple(made))
    finally:
        for folder in made:
            _remove(folder)


def _wanted(name: str, memory: int, cores: float) -> list[tuple[Path, dict[str, str]]]:
    quota = str(int(PERIOD_US * cores))
    if (ROOT / "cgroup.controllers").exists():
        if not {"memory", "cpu"} <= set((ROOT / "cgroup.controllers").read_text().split()):
            raise CannotLimit("the control groups here have no memory or no cpu")
        (ROOT / "cgroup.subtree_control").write_text("+memory +cpu")
        return [(ROOT / name, {"memory.max": str(memory), "memory.swap.max": "0", "cpu.max": f"{quota} {PERIOD_US}"})]
    if (ROOT / "memory").is_dir() and (ROOT / "cpu").is_dir():
        return [
            (ROOT / "memory" / name, {"memory.limit_in_bytes": str(memory)}),
            (ROOT / "cpu" / name, {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": quota}),
        ]
    raise CannotLimit("this system has no control groups for memory and cpu")


def _remove(folder: Path) -> None:
    for _ in range(50):  # the kernel lets go of an ended process a moment later
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.05)
