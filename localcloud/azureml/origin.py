"""
What goes on from one start of this cloud to the next, besides its resources: how often it was started, and how late it is by hand.

A seed draws other ids at the second start than at the first, and a manual clock goes on where it stood; both follow from here.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from localcloud.azureml.store import Shelf, Store
from localcloud.clocks import Clock, ManualClock

_KEY = "cloud"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One record for the whole store."""

    starts: int
    clock: datetime | None = None  # where a manual clock stood; None: the laptop's was used


class Origin:
    """Counts this start, and puts a manual clock where it stood."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._shelf = Shelf(store, "origin", Record)
        self._clock = clock
        before = self._shelf.get(_KEY)
        self.starts = before.starts + 1 if before else 1
        if before is not None and before.clock is not None and isinstance(clock, ManualClock) and before.clock > clock():
            clock.move(before.clock - clock())
        self.keep()

    @property
    def is_first(self) -> bool:
        """Whether nothing was kept here before."""
        return self.starts == 1

    def keep(self) -> None:
        """Save; to be called when a manual clock was moved and when the store was emptied."""
        now = self._clock() if isinstance(self._clock, ManualClock) else None
        self._shelf.save(_KEY, Record(starts=self.starts, clock=now))
