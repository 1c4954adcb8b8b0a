"""
Slots bound what is paid: how many jobs are at work at once, and how many are started on one day (UTC). Training jobs have slots of their
own, and so have jobs that prepare uploads; the limits hold for each kind.

All slots of a kind are one document of the ledger, so one compare-and-set takes a place under both limits or none. A job keeps its slot
from before it is asked for until it was seen to end; a slot whose record has ended or gone on to another job is nobody's, and the timer
frees it.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from shared.domain.policy import Policy
from shared.domain.record import Key, Kind
from shared.domain.structs import learn

OF_TRAININGS = Key(kind=Kind.SLOTS, id="training-jobs")
OF_PREPARATIONS = Key(kind=Kind.SLOTS, id="preparation-jobs")


class Slots(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a slot now, and who took one on `day`."""

    day: str = ""  # UTC, YYYY-MM-DD; '': no slot was ever taken
    started: tuple[str, ...] = ()  # names of the jobs that took a slot on that day
    at_work: dict[str, str] = msgspec.field(default_factory=dict)  # job -> id of the record that asks for it


learn(Slots)


def why_none_is_free(of: Key, slots: Slots, policy: Policy, now: datetime) -> str:
    """Return why a job has to wait, the same at each look while that is so; '' when a slot is free."""
    today, jobs = _day(now), of.id.replace("-", " ")
    if slots.day == today and len(slots.started) >= policy.jobs_per_day_max:
        return f"JOBS_PER_DAY_MAX is {policy.jobs_per_day_max} and as many {jobs} began on {today}; it waits for the next day (UTC)."
    if len(slots.at_work) >= policy.jobs_at_once_max:
        return f"JOBS_AT_ONCE_MAX is {policy.jobs_at_once_max} and as many {jobs} are at work; it waits until one has ended."
    return ""


def taken(slots: Slots, *, job: str, record_id: str, now: datetime) -> Slots:
    today = _day(now)
    started = slots.started if slots.day == today else ()
    return Slots(day=today, started=(*started, job), at_work={**slots.at_work, job: record_id})


def freed(slots: Slots, *jobs: str) -> Slots:
    at_work: dict[str, str] = {job: record_id for job, record_id in slots.at_work.items() if job not in jobs}
    return msgspec.structs.replace(slots, at_work=at_work)


def _day(now: datetime) -> str:
    return f"{now:%Y-%m-%d}"
