"""
One event on its way to one subscription, from the moment it was taken over until it is delivered, dropped or a dead letter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from localcloud.eventgrid.schedule import Outcome
from localcloud.eventgrid.schemas import Event


@dataclass(kw_only=True)
class Delivery:
    """What the store keeps of it; every time is in UTC."""

    id: str  # no other delivery of the store has it
    number: int  # order of being taken over
    subscription: str  # name
    event: Event
    published_at: datetime
    due_at: datetime  # of the next attempt, or of the dead letter
    attempts: int = 0
    last_attempt_at: datetime | None = None  # None: never tried
    last_outcome: Outcome | None = None
    given_up_at: datetime | None = None  # then it is a dead letter that is still to be written; None: it is still being delivered
    reason: str = ""  # why it was given up
    held: bool = False  # it waits for a later event to overtake it
