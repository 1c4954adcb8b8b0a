"""
Drives an `EventGrid` on threads: one that waits until something is due or changes, and one for each request under way.

Only this module sleeps. A grid without a driver moves when somebody calls its `advance`. The threads are daemons: a receiver that hangs
for minutes must not hold up the end of the process.
"""

from __future__ import annotations

import logging
import threading

from localcloud.clocks import Clock, system
from localcloud.eventgrid.grid import EventGrid, Work

LOOK_EVERY_S = 1.0  # a clock that is moved by hand tells nobody
STOP_WITHIN_S = 5.0
LOG = logging.getLogger("eventgrid")


class Driver:
    """Starts and stops."""

    def __init__(self, grid: EventGrid, clock: Clock = system) -> None:
        self._grid, self._clock = grid, clock
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="eventgrid", daemon=True)

    def start(self) -> None:
        self._grid.run = self._hand_out
        self._thread.start()

    def stop(self) -> None:
        """End. A request under way is not waited for: its event stays in the store and is delivered again."""
        with self._grid.changed:
            self._stopping = True
            self._grid.changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(STOP_WITHIN_S)
        self._grid.close()

    def _run(self) -> None:
        failing = False
        while not self._stopping:
            try:
                self._grid.advance()
                failing = False
            except Exception:
                if not failing:
                    LOG.exception("Event delivery fails; it is tried again every second.")
                failing = True
            with self._grid.changed:
                if not self._stopping:
                    self._grid.changed.wait(LOOK_EVERY_S if failing else self._pause())

    def _pause(self) -> float:
        due = self._grid.next_due()
        return LOOK_EVERY_S if due is None else min(max((due - self._clock()).total_seconds(), 0.0), LOOK_EVERY_S)

    def _hand_out(self, work: Work) -> None:
        threading.Thread(target=self._carry, args=(work,), name="eventgrid-request", daemon=True).start()

    def _carry(self, work: Work) -> None:
        try:
            work()
        except Exception:
            if not self._stopping:
                LOG.exception("A delivery broke; its event stays in the store.")
