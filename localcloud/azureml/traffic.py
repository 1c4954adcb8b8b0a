"""
A record of what was asked and answered, one JSON line an exchange, so that others can hold it against Microsoft's own types.

Only the control plane's bodies are kept: no token, no key, no text of a conversation is written.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

from localcloud.azureml.wire import Request, Response

_SECRET = ("/listkeys", "/listsecrets", "/msi/token", "/endpoints/", "/getlogs")
_KEPT = "/providers/microsoft.machinelearningservices/"


class Recorder:
    """Appends to one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def __call__(self, request: Request, response: Response) -> None:
        """Write one exchange."""
        lower = request.path.lower()
        shown = _KEPT in lower and not any(part in lower for part in _SECRET)
        line = {
            "method": request.method,
            "path": request.path,
            "api_version": request.query.get("api-version"),
            "request": _parsed(request.body) if shown else None,
            "status": response.status,
            "response": _parsed(response.body) if shown else None,
        }
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body) if body else None
    except ValueError:
        return None
