"""
What time it is in the local cloud: the laptop's time, or a time that moves only when somebody moves it.

A clock is called to be read. Nothing in the local cloud's cores reads another one; tokens are the exception, because the client
holds their end against its own clock.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Protocol

MANUAL_START = datetime(2026, 1, 1, tzinfo=UTC)  # any fixed moment would do: two runs with one seed then agree


class Clock(Protocol):
    """Returns the present moment, with its zone."""

    def __call__(self) -> datetime: ...


def system() -> datetime:
    """Return the laptop's time in UTC."""
    return datetime.now(UTC)


class ManualClock:
    """Stands still until it is moved; never goes back."""

    def __init__(self, start: datetime = MANUAL_START) -> None:
        self._now = start
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        with self._lock:
            return self._now

    def move(self, by: timedelta) -> datetime:
        """Go forward and return the new time; raise ValueError for a step back."""
        if by < timedelta(0):
            raise ValueError(f"The clock cannot go back, and {by} is negative.")
        with self._lock:
            self._now += by
            return self._now
