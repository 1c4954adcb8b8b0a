"""
What the three kinds of record have in common: a header, a clock to be looked at again, a count of attempts, a history.

A record holds only what the world cannot show. The fields of `Header` never change shape, because both an older and a
newer version of the app must be able to tear down what a record stands for. Fields are only ever added.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

import msgspec

from shared.domain.structs import learn
from shared.plain import plain

HISTORY_LENGTH_MAX = 200  # entries; a guess: months of a calm service, and far below a blob's size that would hurt
PROMISE_AHEAD_MAX = timedelta(hours=1)  # a message may hide for 7 days; looking hourly costs little and heals drift
REASON_LENGTH_MAX = 2000  # characters of a reason that comes from Azure


class Kind(StrEnum):
    TUNING = "tuning"
    TRAINING = "training"
    SERVICE = "service"
    SLOTS = "slots"  # no record with a life: see shared.domain.slots
    UNDELIVERED = "undelivered"  # neither: see shared.domain.undelivered
    ORPHANS = "orphans"  # nor this: see shared.domain.orphans


class Key(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Which record; the only thing that a doorbell and a queue message carry."""

    kind: Kind
    id: str

    def __str__(self) -> str:
        return f"{self.kind.value}/{self.id}"


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a record's history."""

    at: datetime
    who: str  # door, timer or person that rang
    what: str  # a stable word for machines
    why: str = ""  # a sentence for people


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What every record begins with."""

    schema: int = 1
    kind: Kind
    id: str
    owner: str  # GUID made once in the ledger container
    stage: str
    created_at: datetime
    next_look_at: datetime | None = None  # UTC; None: nobody has been promised another look
    waits_for: str = ""  # a sentence for people; '': it is at work or has ended
    attempt_of: str | None = None  # the step that is being attempted
    attempts: int = 0  # of that step, raised before its work
    attempt_began_at: datetime | None = None  # None: nobody is at work on it
    reason: str = ""  # why it stopped, was refused, or waits
    next_action: str = ""  # what a person can do about it
    history: tuple[Happening, ...] = ()
    waited_for: str = ""  # what the newest look that saw the world and had to wait waited for; '': none has yet
    waited_since: datetime | None = None  # UTC; since when each such look has waited for just that

    @property
    def key(self) -> Key:
        return Key(kind=self.kind, id=self.id)

    def has_waited(self, why: str, now: datetime) -> timedelta:
        """Return for how long nothing but this was waited for; looks that could not see the world do not count against it."""
        return now - self.waited_since if self.waited_since and self.waited_for == why else timedelta(0)


learn(Happening, Header)


R = TypeVar("R", bound=Header)


def noted(record: R, *, at: datetime, who: str, what: str, why: str = "") -> R:
    """Return the record with one more line of history; the oldest lines go when there are too many."""
    line = Happening(at=at, who=who, what=what, why=plain(why, limit=REASON_LENGTH_MAX))
    return msgspec.structs.replace(record, history=(*record.history, line)[-HISTORY_LENGTH_MAX:])


def attempted(record: R, step: str, *, now: datetime) -> R:
    """Return the record with one attempt more of `step`; another step starts at one."""
    attempts = record.attempts + 1 if record.attempt_of == step else 1
    return msgspec.structs.replace(record, attempt_of=step, attempts=attempts, attempt_began_at=now)


def settled(record: R) -> R:
    """Return the record with no attempt pending: its last step did what it should."""
    return msgspec.structs.replace(record, attempt_of=None, attempts=0, attempt_began_at=None)


def promised(until: datetime, *, now: datetime) -> datetime:
    """
    Return the promise of a wait: up to 10 ms after `until`, and no more than PROMISE_AHEAD_MAX ahead.

    Who was rung in the middle of a wait for a fixed time waits for the same time again. With the same promise both messages would hold
    it and work side by side, so each is made to differ by when it was given.
    """
    return min(until + timedelta(microseconds=now.microsecond // 100), now + PROMISE_AHEAD_MAX)


def at_work(record: Header, *, lease: timedelta, now: datetime) -> bool:
    """
    Tell whether a worker may be in the middle of a step: one began, and not longer ago than a function may run. One that began farther
    ahead than that was written by a clock that was wrong, and nobody knows when.
    """
    return record.attempt_began_at is not None and abs(now - record.attempt_began_at) < lease


def may_be_brought_forward(record: Header, *, lease: timedelta, now: datetime) -> bool:
    """Tell whether a doorbell should move the promised look to now: not when it is due already or somebody is at work."""
    due = record.next_look_at is not None and record.next_look_at <= now
    return not due and not at_work(record, lease=lease, now=now)


def is_overdue(record: Header, *, tick: timedelta, lease: timedelta, now: datetime) -> bool:
    """
    Tell whether the promised look was missed by more than a tick, so its message must be lost. No promise is more than an hour ahead: one
    that is was made by a clock that was wrong, and nothing would come before it.
    """
    promised = record.next_look_at
    missed = promised is None or not now - tick <= promised <= now + PROMISE_AHEAD_MAX + tick
    return missed and not at_work(record, lease=lease, now=now)
