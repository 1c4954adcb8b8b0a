"""A Functions host as a test sees it from outside, and waiting for a condition with a deadline."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 20.0  # a loaded machine; what is waited for takes far less


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {WITHIN_S:.0f} s in vain: {what}"
        time.sleep(0.05)


def family(*pids: int) -> list[int]:
    """These processes and all that descend from them, however they were started (proc(5), Linux)."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
    found = list(pids)
    for pid in found:  # grows while it is read
        found += [child for child, parent in parents.items() if parent == pid]
    return found


@dataclass
class RunningHost:
    """A Functions host in a process of its own."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """GET, or POST a JSON body; header names are written with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, named)
        try:
            with urllib.request.urlopen(request, timeout=WITHIN_S) as response:
                status, text = response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                status, text = error.code, error.read()
        try:
            return status, json.loads(text) if text else None
        except ValueError:
            return status, text.decode()

    def answers(self) -> bool:
        try:
            return self.ask("/admin/host/ping")[0] == 200
        except OSError:
            return False

    def notify(self, path: str, *events: dict[str, Any]) -> int:
        return self.ask(path, list(events), aeg_event_type="Notification")[0]
