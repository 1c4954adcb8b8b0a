"""
One child process for one job or deployment: started, watched, read, killed. Whoever starts it learns why it ended.

A child dies with us: killed on stop, and by the kernel (Linux) when the thread that started it dies, whatever killed us.
So all children are started by one thread, which lives as long as the process: the thread that a request came in on does not.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # `python -m localcloud.…` works from here
LEADER = Path(__file__).with_name("leader.py")
TRAINER = (sys.executable, "-m", "localcloud.trainer")
TAIL_LINES = 20  # a guess: enough to see a traceback, short enough for an error message
PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Runs in the child before it becomes the command: a fork with code of ours in between is unsafe in a process with threads.
# A parent that died before the kernel was asked is not told any more: then another one has the child, and it ends by itself.
_DIE_WITH_PARENT = (
    f"import ctypes,os,sys;ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG},{int(signal.SIGKILL)});"
    "os.getppid()==int(sys.argv[1]) or os._exit(1);os.execvp(sys.argv[2],sys.argv[2:])"
)


def dying_with(parent: int, command: Sequence[str]) -> list[str]:
    """Return what runs the command only while `parent` is its parent (Linux; elsewhere always)."""
    if sys.platform != "linux":
        return [*command]
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(parent), *command]


class Child:
    """A running or ended process with its two logs."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.out = folder / "std_out.txt"
        self.err = folder / "std_err.txt"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
        with self.out.open("wb") as out, self.err.open("wb") as err:
            start = partial(subprocess.Popen, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, cwd=folder)
            self._process = _starter().submit(start, dying_with(os.getpid(), command)).result()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None: it is still running."""
        return self._process.poll()

    @property
    def running(self) -> bool:
        return self.exit_code is None

    def kill(self) -> None:
        """End it at once; a second time is no fault."""
        if self.running:
            self._process.kill()

    def wait(self) -> None:
        """Wait until a killed child is gone, so that its port and files are free."""
        self._process.wait(timeout=10)

    def log_tail(self, lines: int = TAIL_LINES) -> str:
        """Return the last lines of both logs, errors last."""
        return "\n".join([*_tail(self.out, lines), *_tail(self.err, lines)])

    def reason(self) -> tuple[str, str]:
        """Return code and sentence of why it ended: its own JSON error line, else what its log says."""
        last = _tail(self.err, 1)
        try:
            error = json.loads(last[0])["error"]
            return str(error["code"]), str(error["message"])
        except (IndexError, ValueError, KeyError, TypeError):
            pass
        code = self.exit_code
        how = f"was killed by signal {-code} ({signal.strsignal(-code)})" if code is not None and code < 0 else f"ended with {code}"
        return "SystemError", f"The process {how}. Last lines of its log:\n{self.log_tail() or '(none)'}"


class CommandChild(Child):
    """A line of a shell with all that it starts, and one log of both its outputs. It ends when this process does, however that ends."""

    def __init__(self, line: str, folder: Path, *, log: Path, environment: Mapping[str, str]) -> None:
        self.out = self.err = log
        command = [sys.executable, "-I", "-S", str(LEADER), shutil.which("bash") or "/bin/sh", "-c", line]
        with log.open("wb") as out:
            start = partial(subprocess.Popen, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=folder)
            self._process = _starter().submit(start, command).result()

    def kill(self) -> None:
        """Let go of the leader, which then kills what it leads and ends; a second time is no fault."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def log_tail(self, lines: int = TAIL_LINES) -> str:
        """Return the last lines of the log."""
        return "\n".join(_tail(self.out, lines))

    def reason(self) -> tuple[str, str]:
        """Return code and sentence of why it ended, as Azure writes them on the page of a failed job (from memory)."""
        return "UserError", (
            f"Execution failed. User process exited with status code {self.exit_code}. "
            f"Please check log file 'user_logs/std_log.txt' for error details. Error: {self.log_tail() or '(none)'}"
        )


@cache
def _starter() -> ThreadPoolExecutor:
    """Return the one thread that starts children."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="localcloud-children")


def _tail(path: Path, lines: int) -> list[str]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return [line.rstrip("\n") for line in deque(filter(str.strip, file), maxlen=lines)]
    except FileNotFoundError:
        return []
