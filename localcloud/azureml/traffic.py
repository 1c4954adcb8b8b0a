"""
A record of what was asked and answered, so that others can hold it against Microsoft's own types, and of every fault that hit.

One JSON object an exchange: method, path without its query, api_version, request, status, response, and `faults`, the kinds that hit
it. A fault outside an exchange (an event that is lost, say) is a line of its own with the method FAULT. Only the control plane's bodies
are kept: no token, no key, no text of a conversation is written.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from localcloud.azureml.shapes.secrets import masked
from localcloud.azureml.wire import Json, Request, Response
from localcloud.faults import Fault
from localcloud.web import Ending

KEPT_MAX = 2_000  # lines that can be read back; the file has all
FAULT, MARK = "FAULT", "MARK"  # in place of a method: lines that are no exchange
_SECRET = ("/listkeys", "/regeneratekeys", "/listsecrets", "/msi/token", "/token", "/getlogs", "/startpendingupload")
_KEPT = "/providers/microsoft.machinelearningservices/"


class Traffic:
    """Keeps the newest lines, counts all, and appends them to a file if there is one."""

    def __init__(self, file: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._file: TextIO | None = None
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._file = file.open("a", encoding="utf-8", buffering=1)  # a line at a time: a killed process loses none
        self._kept: deque[Json] = deque(maxlen=KEPT_MAX)
        self._by_method: Counter[str] = Counter()
        self._count = 0

    def exchange(self, request: Request, response: Response, faults: Sequence[str]) -> None:
        """Write one exchange."""
        lower = request.path.lower()
        shown = _KEPT in lower and not lower.endswith(_SECRET)
        line = {
            "method": request.method,
            "path": request.path,
            "api_version": request.query.get("api-version"),
            "request": _parsed(request.body) if shown else None,
            "status": response.status,
            "response": _parsed(response.body) if shown else None,
        }
        if faults:
            line["faults"] = list(faults)
        if response.ending is not Ending.ANSWERED:
            line["seen"] = response.ending.value
        self._write(line)

    def fault(self, fault: Fault, about: Mapping[str, str]) -> None:
        """Write that a fault hit something that is no exchange."""
        self._write(_aside(FAULT, f"/_localcloud/faults/{fault.id}", {"fault": fault.kind, "about": dict(about)}))

    def mark(self, text: str) -> None:
        """Write a line that separates what came before from what comes after."""
        self._write(_aside(MARK, "/_localcloud/traffic", {"mark": text}))

    def shown(self, since: int) -> Json:
        """Return the counts, and the lines from number `since` on as far as they are kept; the first line is number 0."""
        with self._lock:
            first = self._count - len(self._kept)
            lines = [line for number, line in enumerate(self._kept, start=first) if number >= since]
            exchanges = {method: count for method, count in self._by_method.items() if method not in {FAULT, MARK}}
            return {
                "exchanges": sum(exchanges.values()),
                "by_method": exchanges,
                "faults": self._by_method[FAULT],
                "next": self._count,
                "lines": lines,
            }

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, line: Json) -> None:
        with self._lock:
            self._count += 1
            self._by_method[line["method"]] += 1
            self._kept.append(line)
            if self._file is not None and not self._file.closed:
                self._file.write(json.dumps(line) + "\n")


def _aside(method: str, path: str, request: Json) -> Json:
    return {"method": method, "path": path, "api_version": None, "request": request, "status": 0, "response": None}


def _parsed(body: bytes) -> Any:
    """Return the body without its secrets; None: there is none, or none that can be read (its exchange is a line all the same)."""
    try:
        return masked(json.loads(body)) if body else None
    except (ValueError, RecursionError):
        return None
