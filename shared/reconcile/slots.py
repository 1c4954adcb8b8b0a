"""Slots are taken, given back and healed by compare-and-set on one document. What they mean stands in `shared.domain.slots`."""

from __future__ import annotations

import logging

import msgspec

from shared import errors
from shared.domain import training
from shared.domain.record import Key, Kind
from shared.domain.slots import KEY, Slots, freed, taken, why_none_is_free
from shared.ports import Stored
from shared.reconcile.turn import Loop, decoded

log = logging.getLogger("tuneloop.slots")

ROUNDS_MAX = 5  # of compare-and-set against others; more is a later turn's


def read(loop: Loop) -> Slots:
    stored = loop.ports.ledger.read(KEY)
    return decoded(KEY, stored, Slots) if stored else Slots()


def take(loop: Loop, *, job: str, training_id: str) -> str:
    """Take a slot, one for a job however often it is called; return '', or why it has to wait; raise TryLater when others keep winning."""
    for _ in range(ROUNDS_MAX):
        stored = loop.ports.ledger.read(KEY)
        if stored is None:
            loop.ports.ledger.create(KEY, msgspec.to_builtins(Slots()))
            loop.ports.ledger.deactivate(KEY)  # nobody has to look at it
            continue
        slots, now = decoded(KEY, stored, Slots), loop.clock()
        if job in slots.at_work:
            return ""
        if full := why_none_is_free(slots, loop.policy, now):
            return full
        if _written(loop, taken(slots, job=job, training=training_id, now=now), stored):
            return ""
    raise errors.TryLater("The slots of training jobs are being written by others all the time.")


def give_back(loop: Loop, job: str) -> None:
    """Free the slot of a job that was seen to end. Never raises: what stays behind is freed by the timer."""
    try:
        for _ in range(ROUNDS_MAX):
            stored = loop.ports.ledger.read(KEY)
            slots = decoded(KEY, stored, Slots) if stored else Slots()
            if stored is None or job not in slots.at_work or _written(loop, freed(slots, job), stored):
                return
    except errors.TuneloopError as error:
        log.info("The slot of %s is freed by the timer (%s). action=slot_kept", job, type(error).__name__)


def free_what_is_nobodys(loop: Loop) -> None:
    """Free the slots of trainings that have ended or gone on to another job: their worker died before it gave the slot back."""
    try:
        _free(loop)
    except errors.UnreadableRecord as unreadable:  # what cannot be read is kept; other work goes on
        log.error("%s No slot is freed. action=record_unreadable", unreadable)


def _free(loop: Loop) -> None:
    stored = loop.ports.ledger.read(KEY)
    slots = decoded(KEY, stored, Slots) if stored else Slots()
    left = [job for job, training_id in slots.at_work.items() if _is_nobodys(loop, job, training_id)]
    if stored and left and _written(loop, freed(slots, *left), stored):
        log.warning("The slots of %s were left behind and are free again. action=slots_freed", ", ".join(left))


def _is_nobodys(loop: Loop, job: str, training_id: str) -> bool:
    key = Key(kind=Kind.TRAINING, id=training_id)
    stored = loop.ports.ledger.read(key)
    if stored is None:
        return False  # it cannot be, and what is not known is kept
    return not training.may_be_at_work(decoded(key, stored, training.Training), job)


def _written(loop: Loop, slots: Slots, stored: Stored) -> bool:
    try:
        loop.ports.ledger.replace(KEY, {**stored.body, **msgspec.to_builtins(slots)}, stored.version)
    except errors.LostRace:
        return False
    return True
