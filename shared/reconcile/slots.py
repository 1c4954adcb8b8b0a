"""Slots are taken, given back and healed by compare-and-set on a document for each kind of job (`shared.domain.slots`)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from shared import errors
from shared.domain import training, tuning
from shared.domain.record import Key, Kind
from shared.domain.slots import OF_PREPARATIONS, OF_TRAININGS, Slots, freed, taken, why_none_is_free
from shared.ports import Stored
from shared.reconcile.turn import Desk, Loop, Outcome, R, decoded

log = logging.getLogger("tuneloop.slots")

# The record that asks for a job, and whether that job may be at work.
_ASKED_BY: dict[Key, tuple[Kind, type[Any], Callable[[Any, str], bool]]] = {
    OF_TRAININGS: (Kind.TRAINING, training.Training, training.may_be_at_work),
    OF_PREPARATIONS: (Kind.TUNING, tuning.Tuning, tuning.may_be_at_work),
}
ROUNDS_MAX = 5  # of compare-and-set against others; more is a later turn's


def read(loop: Loop, of: Key) -> Slots:
    stored = loop.ports.ledger.read(of)
    return decoded(of, stored, Slots) if stored else Slots()


def take(loop: Loop, of: Key, *, job: str, record_id: str) -> str:
    """Take a slot, one for a job however often it is called; return '', or why it has to wait; raise TryLater when others keep winning."""
    for _ in range(ROUNDS_MAX):
        stored = loop.ports.ledger.read(of)
        if stored is None:
            loop.ports.ledger.create(of, msgspec.to_builtins(Slots()))
            loop.ports.ledger.deactivate(of)  # nobody has to look at it
            continue
        slots, now = decoded(of, stored, Slots), loop.clock()
        if job in slots.at_work:
            return ""
        if full := why_none_is_free(of, slots, loop.policy, now):
            return full
        if _written(loop, of, taken(slots, job=job, record_id=record_id, now=now), stored):
            return ""
    raise errors.TryLater(f"The slots of {of.id.replace('-', ' ')} are being written by others all the time.")


def taken_by(desk: Desk[R], of: Key, job: str) -> Outcome[R]:
    """Take a slot for the job of the record at hand; return that it has one, or why it has to wait, which is told once."""
    record, full = desk.record, take(desk.loop, of, job=job, record_id=desk.record.id)
    if not full:
        return Outcome(record=record, what="slot_taken", why=job)
    look_at = desk.now + desk.loop.policy.tick
    return Outcome(record=record, what="waits", why=full, look_at=look_at, quiet=record.waits_for == full, waits_for=full)


def give_back(loop: Loop, of: Key, job: str) -> None:
    """Free the slot of a job that was seen to end. Never raises: what stays behind is freed by the timer."""
    try:
        for _ in range(ROUNDS_MAX):
            stored = loop.ports.ledger.read(of)
            slots = decoded(of, stored, Slots) if stored else Slots()
            if stored is None or job not in slots.at_work or _written(loop, of, freed(slots, job), stored):
                return
    except errors.TuneloopError as error:
        log.info("The slot of %s is freed by the timer (%s). action=slot_kept", job, type(error).__name__)


def free_what_is_nobodys(loop: Loop) -> None:
    """Free the slots of records that have ended or gone on to another job: their worker died before it gave the slot back."""
    for of in _ASKED_BY:
        try:
            _free(loop, of)
        except errors.UnreadableRecord as unreadable:  # what cannot be read is kept; other work goes on
            log.error("%s No slot is freed. action=record_unreadable", unreadable)


def _free(loop: Loop, of: Key) -> None:
    stored = loop.ports.ledger.read(of)
    slots = decoded(of, stored, Slots) if stored else Slots()
    left = [job for job, record_id in slots.at_work.items() if _is_nobodys(loop, of, job, record_id)]
    if stored and left and _written(loop, of, freed(slots, *left), stored):
        log.warning("The slots of %s were left behind and are free again. action=slots_freed", ", ".join(left))


def _is_nobodys(loop: Loop, of: Key, job: str, record_id: str) -> bool:
    kind, record_type, may_be_at_work = _ASKED_BY[of]
    key = Key(kind=kind, id=record_id)
    stored = loop.ports.ledger.read(key)
    if stored is None:
        return False  # it cannot be, and what is not known is kept
    return not may_be_at_work(decoded(key, stored, record_type), job)


def _written(loop: Loop, of: Key, slots: Slots, stored: Stored) -> bool:
    try:
        loop.ports.ledger.replace(of, {**stored.body, **msgspec.to_builtins(slots)}, stored.version)
    except errors.LostRace:
        return False
    return True
