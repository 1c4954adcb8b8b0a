"""
What the emulator learns while a training runs: JSON lines of metrics, parameters and tags, appended as they happen.

A number that is not finite is never written: Azure leaves it out too, and a missing eval_loss is how a failure shows.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

PARAM_LENGTH_MAX = 500  # characters, MLflow's limit for a parameter's value in Azure ML


class Journal:
    """An open metrics file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8", buffering=1)  # a line reaches the file when it is whole

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one moment, under Azure's names."""
        now = int(time.time() * 1000)
        for name, value in values.items():
            if math.isfinite(value):
                self._line({"name": name, "value": float(value), "step": step, "timestamp_ms": now})

    def param(self, name: str, value: object) -> None:
        """What the training was asked, or what the stand-in made of it."""
        self._line({"param": name, "value": str(value)[:PARAM_LENGTH_MAX]})

    def tag(self, name: str, value: object) -> None:
        """A property of the run."""
        self._line({"tag": name, "value": str(value)})

    def _line(self, content: Mapping[str, object]) -> None:
        self._file.write(json.dumps(content) + "\n")
