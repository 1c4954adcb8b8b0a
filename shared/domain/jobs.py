"""
Azure ML's words about a job, and what becomes of one that its record has left at work.

A cancellation is a wish: Azure may accept it and never carry it out, and a job may show after its record has ended. Both are billed, so a
record that leaves such a job ends for its owner, and goes on looking: the job is asked to end until it was seen to have ended.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from shared.domain.policy import Policy, Wait

# Azure ML's words are an open list (azure-ai-ml 1.35, _run_history_constants): any other word means "still at work".
JOB_COMPLETED = "completed"
JOB_CANCELED = "canceled"
JOB_CANCEL_REQUESTED = "cancelrequested"
JOB_ENDED_BADLY = frozenset({"failed", JOB_CANCELED, "notresponding"})

LOOK_SLOWLY_EVERY = timedelta(hours=1)  # a guess: at a job that has not ended long after it was asked to


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """Write down that its end is wanted, then ask for it; asked for again until the job shows it, since a request may be lost."""

    job: str
    reason: str
    until: datetime  # the next look
    told: str = ""  # a sentence for people who have to end it, told once while it stays the same; '': the first request is told


class Settle(msgspec.Struct, frozen=True, kw_only=True):
    """Write down that a job which was left at work is none any more."""

    job: str
    status: str  # Azure's word; '': it does not show


def looked_after(
    job: str, status: str | None, *, left_at: datetime, was_seen: bool, deadline: timedelta, policy: Policy, now: datetime
) -> Cancel | Settle | Wait:
    """
    Return the next step for a job that its record left at `left_at`. `status`: None while it does not show; `deadline`: for so long one
    that was never seen may still come.
    """
    is_long = now >= left_at + policy.cancel_deadline
    until = now + (LOOK_SLOWLY_EVERY if is_long else policy.look_every)
    if status is None:
        gone = was_seen or now >= left_at + deadline
        return Settle(job=job, status="") if gone else Wait(until=until, why=f"Job {job} may show yet, and is to end then.")
    if status.lower() == JOB_COMPLETED or status.lower() in JOB_ENDED_BADLY:
        return Settle(job=job, status=status)
    told = ""
    if is_long:
        day = (now - left_at).days + 1
        told = (
            f"Job {job} is to end since {left_at:%Y-%m-%d %H:%M} UTC and has not, day {day}: it may be billed. End it in Azure ML studio."
        )
    if status.lower() == JOB_CANCEL_REQUESTED:
        return Wait(until=until, why=told or f"Job {job} is {status}.", told=bool(told))
    return Cancel(job=job, reason=f"Nobody waits for job {job} any more.", until=until, told=told)


def settled(job: str, status: str) -> str:
    """Return what people read when a job that was left at work is none any more."""
    return f"Job {job}, which was left at work, is {status}." if status else f"Job {job}, which was left at work, does not show."
