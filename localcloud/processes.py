"""
A process of the local cloud is started with a log, waited for by a condition, and stopped without guessing.

A process is known by its pid and the moment it began, so a reused pid is never mistaken for ours. Zombies count as dead.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

STOP_WITHIN_S = 5.0  # then it is killed
POLL_S = 0.05
TAIL_LINES = 25  # a guess: enough to see a traceback


class StartFailed(Exception):
    """A process of the local cloud did not come up. The text says which, why and what to do."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def start(command: Sequence[str], *, log: Path, environment: Mapping[str, str], cwd: Path) -> subprocess.Popen[bytes]:
    """Start in a session of its own, so that Ctrl-C reaches only the supervisor, which stops things in order."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=dict(environment),
            cwd=cwd,
            start_new_session=True,
        )


def wait_ready(name: str, process: subprocess.Popen[bytes], ready: Callable[[], bool], *, within_s: float, log: Path) -> None:
    """Return when it is ready; raise StartFailed with the tail of its log when it ends or stays silent."""
    deadline = time.monotonic() + within_s
    while not ready():
        code = process.poll()
        if code is not None:
            raise StartFailed(f"{name} ended at its start with exit code {code}. Its log, {log}, ends with:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise StartFailed(f"{name} was not ready within {within_s:.0f} s. Its log, {log}, ends with:\n{tail(log)}")
        time.sleep(POLL_S)


def stop(pid: int, began: str | None = None, *, within_s: float = STOP_WITHIN_S) -> None:
    """SIGTERM, then SIGKILL. With `began`, only if the pid still belongs to the process that began then."""
    if not alive(pid, began):
        return
    for number, patience_s in ((signal.SIGTERM, within_s), (signal.SIGKILL, within_s)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            _reap(pid)
            if not alive(pid, began):
                return
            time.sleep(POLL_S)


def alive(pid: int, began: str | None = None) -> bool:
    """True if the process runs (a zombie does not) and, where `began` is given, is the one that began then."""
    seen = _state_and_begin(pid)
    return seen is not None and not seen[0].startswith("Z") and began in (None, seen[1])


def began(pid: int) -> str | None:
    """An opaque mark of when the process began; None: there is none."""
    seen = _state_and_begin(pid)
    return seen[1] if seen else None


def tail(path: Path, lines: int = TAIL_LINES) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return "".join(deque(file, maxlen=lines)).rstrip() or "(nothing)"
    except FileNotFoundError:
        return "(no log)"


def free_ports(count: int) -> list[int]:
    """So many different free ports of 127.0.0.1. Somebody may take one before it is used; then the start says so."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


def hold(path: Path) -> IO[bytes] | None:
    """Hold a file until it is closed or the process ends, however it ends; None: another process holds it. Windows goes without."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab")
    with contextlib.suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return None
    return file


@contextlib.contextmanager
def alone(path: Path, *, within_s: float = STOP_WITHIN_S) -> Iterator[None]:
    """Let one process at a time do what takes milliseconds; raise StartFailed when the file stays held."""
    deadline = time.monotonic() + within_s
    while (held := hold(path)) is None:
        if time.monotonic() > deadline:
            raise StartFailed(f"{path} has been held by another process for {within_s:.0f} s. End that process, then try again.")
        time.sleep(POLL_S)
    with held:
        yield


def accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Readers see the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(draft, path)


def write_json(path: Path, document: Any, *, mode: int = 0o644) -> None:
    write_atomically(path, json.dumps(document, indent=2) + "\n", mode=mode)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # not our child, or already reaped
        os.waitpid(pid, os.WNOHANG)


def _state_and_begin(pid: int) -> tuple[str, str] | None:
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return fields[0], fields[19]  # state, starttime in ticks since boot (proc(5))
    shown = subprocess.run(["ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout.strip()
    state, _, begin = shown.partition(" ")
    return (state, begin.strip()) if state else None
