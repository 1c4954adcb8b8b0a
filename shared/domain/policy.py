"""What a decision may depend on besides the record and the world: durations and limits, all from settings."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Durations and limits of one installation. Defaults are those of the settings."""

    look_every: timedelta = timedelta(minutes=1)  # between two looks at something that Azure is busy with
    tick: timedelta = timedelta(minutes=5)  # period of the timer that repairs lost messages
    step_attempts_max: int = 5  # tries of one step before the record stops
    prepare_attempts_max: int = 2  # times that a file may kill its reader, here and then in jobs
    prepare_here_bytes_max: int = 2 << 30  # of plain JSON lines; larger uploads are prepared by a job
    prepare_deadline: timedelta = timedelta(hours=6)  # of such a job, from submission to its end
    job_attempts_max: int = 1  # paid jobs for one training without a person's word
    jobs_at_once_max: int = 4  # training jobs at work
    jobs_per_day_max: int = 20  # training jobs that begin on one day, UTC
    job_deadline: timedelta = timedelta(hours=24)  # from submission to its end, queueing included
    cancel_deadline: timedelta = timedelta(hours=2)  # of a cancellation; a guess: a machine is given back within minutes
    deployment_deadline: timedelta = timedelta(hours=2)  # Azure takes 7 to 18 minutes; beyond this it hangs
    quota_deadline: timedelta = timedelta(days=3)  # that a candidate waits for quota; a request for quota takes days
    smoke_attempts_max: int = 5
    probation: timedelta = timedelta(hours=1)  # that the deployment before the live one is kept, and billed, as a way back; 0: not at all
    idle_after: timedelta = timedelta(hours=2)
    idle_grace: timedelta = timedelta(minutes=30)
    endpoint_kept_for: timedelta = timedelta(days=7)
    metric_grain: timedelta = timedelta(minutes=1)  # width of one metric point
    metric_lag: timedelta = timedelta(minutes=5)  # how late a point may appear; a guess, named in the docs
    lease: timedelta = timedelta(minutes=11)  # nobody works longer on one step: the function time limit and a margin
    endpoint_rest: timedelta = timedelta(minutes=12)  # longer than a function may run, with a margin
    deletions_per_tick_max: int = 2
    deletions_dry_run: bool = False
    orphans_deleted_after: timedelta = timedelta(0)  # unused, of an endpoint with our tag that no record names; 0: never
    refuse_pickled_models: bool = False  # a model whose folder can run code, or is unknown, ends its training
    paused: bool = False  # the kill switch: look and tell, but change nothing in Azure ML

    def back_off(self, attempts: int) -> timedelta:
        """Return how long to wait after the n-th failed attempt: look_every, doubled each time, an hour at most."""
        factor: int = 2 ** min(max(attempts - 1, 0), 16)
        return min(self.look_every * factor, max(timedelta(hours=1), self.look_every))


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Do nothing now; look again at `until`. `why` is shown to people."""

    until: datetime
    why: str
    told: bool = False  # people are told when it begins; then `why` says the same at every look


class Rest(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing is left to do for this record; only a new fact can change that."""

    why: str = ""


PAUSED_WHY = "PAUSED is on: nothing is created, changed or deleted in Azure ML until it is off."


def pause(policy: Policy, now: datetime) -> Wait:
    """Return what is done instead of a step that changes something in Azure ML while the kill switch is on."""
    return Wait(until=now + max(policy.tick, policy.look_every), why=PAUSED_WHY, told=True)
