"""
A tuning is one upload on its way to its service: prepare, freeze the recipe, join its training, offer what came out.

`decide` reads top to bottom as that life. It never learns which event woke it. A tuning spends nothing itself but for the job
that prepares an upload which is too large for a function: that job's number is raised in the ledger before it is asked for, its
name follows from it, and a number is raised again only after the last job was seen Failed. The other paid thing is
its training, which it shares with every tuning of the same bytes and recipe.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from shared.domain import names
from shared.domain.jobs import JOB_CANCEL_REQUESTED, JOB_CANCELED, JOB_COMPLETED, JOB_ENDED_BADLY, Cancel, Settle, looked_after
from shared.domain.policy import Policy, Rest, Wait, pause
from shared.domain.recipe import Recipe
from shared.domain.record import Header, Kind
from shared.domain.slots import OF_PREPARATIONS, Slots, why_none_is_free
from shared.domain.structs import learn
from shared.domain.training import Stage as TrainingStage
from shared.domain.training import Training
from shared.domain.upload import Upload, service_of


class Stage(StrEnum):
    SEEN = "seen"
    PREPARING = "preparing"
    PREPARED = "prepared"
    PLANNED = "planned"
    TRAINING = "training"
    OFFERED = "offered"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    STOPPED = "stopped"


ENDED = frozenset({Stage.OFFERED, Stage.REJECTED, Stage.SUPERSEDED, Stage.STOPPED})

PLAIN = (".jsonl", ".ndjson")
PACKED_TIMES = 8  # chats compress 3 to 20 times, and a table needs as much of the disk as it has bytes


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A published, split dataset; the manifest was written last, so it is whole."""

    folder: str  # in the prepared container
    dataset_sha256: str  # over the three files
    uris: dict[str, str]  # split -> azureml:// URI that the job reads
    rows: dict[str, int]  # split -> rows


class Preparation(msgspec.Struct, frozen=True, kw_only=True):
    """The newest job that prepares an upload."""

    number: int  # from 1
    folder: str  # in the prepared container, where this job alone writes
    submitted_at: datetime | None = None  # None: not accepted yet
    cancelled_because: str = ""  # '': we did not ask for its end
    cancelled_at: datetime | None = None  # for the first time; None: not yet, or by a version that did not write it
    left_at: datetime | None = None  # since the tuning ended and left this job at work, perhaps billed; None: no job is left


class Tuning(Header, frozen=True, kw_only=True):
    """The record of one upload."""

    stage: Stage  # narrower than the header's: a stage that only a newer version knows is left alone, since acting on it may pay twice
    upload: Upload
    preparation: Preparation | None = None  # None: no job was asked for
    prepared: Prepared | None = None
    recipe: Recipe | None = None
    training: str | None = None  # id; None: not joined yet
    report: str | None = None  # path of report.json in the prepared container; None: nobody has read the upload yet

    @property
    def service(self) -> str:
        return service_of(self.upload.path)

    @property
    def job(self) -> str:
        """Name of the newest job that prepares the upload, '' while there is none."""
        return names.preparation(self.id, self.preparation.number) if self.preparation else ""

    @property
    def tags(self) -> dict[str, str]:
        """Tags of that job: evidence of ownership, never a lock."""
        return {
            names.OWNER_TAG: self.owner,
            names.TUNING_TAG: self.id,
            names.SERVICE_TAG: names.service_id(self.owner, self.service),
        }


learn(Tuning)


class PreparationJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that prepares an upload, as Azure ML shows it."""

    name: str
    status: str
    owner: str | None  # our tag on it; None: not ours
    tuning: str | None
    failure: str = ""  # what the service says about a bad end

    @property
    def ended_badly(self) -> bool:
        return self.status.lower() in JOB_ENDED_BADLY

    @property
    def was_canceled(self) -> bool:
        """By us, or by a person who will not want to pay for another."""
        return self.status.lower() == JOB_CANCELED

    @property
    def completed(self) -> bool:
        return self.status.lower() == JOB_COMPLETED


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What storage and the ledger show, read at one moment."""

    upload_is_current: bool  # the blob still is the version that this tuning stands for
    later_offered: str | None = None  # tuning of a later upload of the same service that was offered; None: none
    training: Training | None = None
    job: PreparationJob | None = None  # the newest that prepares the upload
    slots: Slots = Slots()  # of such jobs, read only while one has yet to be asked for


class Prepare(msgspec.Struct, frozen=True):
    """Read the upload, check and split it, publish the files."""


class RaiseNumber(msgspec.Struct, frozen=True):
    """Raise the number of the job that prepares the upload; the job is asked for in a later turn."""


class TakeSlot(msgspec.Struct, frozen=True, kw_only=True):
    """Take a slot for the job; it is asked for in a later turn."""

    job: str


class Submit(msgspec.Struct, frozen=True, kw_only=True):
    job: str


class NoteSubmitted(msgspec.Struct, frozen=True, kw_only=True):
    """The job shows, and whoever asked for it died before he wrote so: its deadline counts from now."""

    job: str


class Collect(msgspec.Struct, frozen=True, kw_only=True):
    """Look at what the job has written, and publish it."""

    job: str


class Plan(msgspec.Struct, frozen=True):
    """Resolve component, base model, suggestions and wishes once, and freeze them."""


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """Open the training, or find it and point at it."""

    training: str


class Offer(msgspec.Struct, frozen=True):
    """Add the good training to the service's candidates."""


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """End here, with a reason and what a person can do."""

    stage: Stage
    reason: str
    next_action: str = ""
    leaves_job: bool = False  # its job may be at work, and is looked after


Step = Prepare | RaiseNumber | TakeSlot | Submit | Cancel | Settle | NoteSubmitted | Collect | Plan | Join | Offer | Finish | Wait | Rest
CHANGES_AZURE = (RaiseNumber, TakeSlot, Submit, Cancel)  # or is about to


def opened(upload: Upload, *, owner: str, now: datetime) -> Tuning:
    return Tuning(kind=Kind.TUNING, id=upload.id, owner=owner, stage=Stage.SEEN, created_at=now, upload=upload)


def may_be_at_work(record: Tuning, job: str) -> bool:
    """Tell whether the job, which prepares this upload, may be at work and holds its slot."""
    asked = record.preparation
    if asked is None or record.job != job:
        return False
    return asked.left_at is not None or (record.prepared is None and record.stage not in ENDED)


def decide(record: Tuning, world: World, policy: Policy, now: datetime) -> Step:
    """Return the one next step of this tuning."""
    step = _next(record, world, policy, now)
    return pause(policy, now) if policy.paused and isinstance(step, CHANGES_AZURE) else step


def _next(record: Tuning, world: World, policy: Policy, now: datetime) -> Step:
    if record.stage in ENDED:
        return _looked_after(record, world.job, policy, now)
    if superseded := _why_superseded(record, world):
        return _superseded(record, world.job, superseded, policy, now)
    if record.prepared is None:
        return Prepare() if _is_prepared_here(record, policy) else _prepared_by_a_job(record, world, policy, now)
    if record.recipe is None:
        return Plan()
    if record.training is None or world.training is None or world.training.stage == TrainingStage.SUPERSEDED:
        return Join(training=names.training_id(record.owner, record.prepared.dataset_sha256, record.recipe.frozen))
    if world.training.stage == TrainingStage.GOOD:
        return Offer()
    if world.training.stage == TrainingStage.STOPPED:
        return Finish(stage=Stage.STOPPED, reason=world.training.reason, next_action=world.training.next_action)
    waits_for = world.training.waits_for if world.training.job_status == "" else ""  # not what its job is doing
    return Wait(until=now + policy.tick, why=f"Its training {record.training} is at work. {waits_for}".strip())


def weight(path: str, size: int) -> int:
    """Return what preparing a file of this name costs, in bytes of plain JSON lines: what has to be unpacked grows."""
    return size if path.lower().endswith(PLAIN) else size * PACKED_TIMES


def _is_prepared_here(record: Tuning, policy: Policy) -> bool:
    # A step that failed and did not die has left a reason.
    killed_its_readers = record.attempt_of == Prepare.__name__ and record.attempts >= policy.prepare_attempts_max and not record.reason
    if record.preparation or killed_its_readers:  # the machine of a job has more memory
        return False
    return weight(record.upload.path, record.upload.size) <= policy.prepare_here_bytes_max


def _prepared_by_a_job(record: Tuning, world: World, policy: Policy, now: datetime) -> Step:
    asked, job = record.preparation, world.job
    if asked is None:
        return RaiseNumber()
    is_late = asked.submitted_at is not None and now >= asked.submitted_at + policy.prepare_deadline
    if job is None and is_late:
        return Finish(
            stage=Stage.STOPPED,
            reason=f"Job {record.job} was asked for and never showed, {policy.prepare_deadline} long.",
            next_action="Look for it in Azure ML studio, then upload the file again.",
            leaves_job=True,
        )
    if job is None and asked.submitted_at is None and record.job not in world.slots.at_work:
        full = why_none_is_free(OF_PREPARATIONS, world.slots, policy, now)
        return Wait(until=now + max(policy.tick, policy.look_every), why=full, told=True) if full else TakeSlot(job=record.job)
    if job is None:
        return Submit(job=record.job)
    if not _is_ours(job, record):
        reason = f"A job called {job.name} exists and is not ours."
        return Finish(stage=Stage.STOPPED, reason=reason, next_action="Delete or rename that job's experiment, then upload again.")
    if job.completed:
        return Collect(job=job.name)
    if job.ended_badly:
        if asked.number < policy.prepare_attempts_max and not is_late and not job.was_canceled:
            return RaiseNumber()
        return Finish(
            stage=Stage.STOPPED,
            reason=f"Job {job.name} ended {job.status}: {asked.cancelled_because or job.failure or 'the service gives no reason.'}",
            next_action="Read the job's log in Azure ML studio and mend the cause, then upload the file again.",
        )
    if asked.submitted_at is None:
        return NoteSubmitted(job=job.name)
    if is_late and asked.cancelled_because and now >= _cancelled_at(asked, policy) + policy.cancel_deadline:
        return Finish(
            stage=Stage.STOPPED,
            reason=f"Job {job.name} is {job.status}, {policy.cancel_deadline} after it was asked to end: it may be billed.",
            next_action=f"End job {job.name} in Azure ML studio, then upload the file again.",
            leaves_job=True,
        )
    if is_late and not (asked.cancelled_because and job.status.lower() == JOB_CANCEL_REQUESTED):
        reason = f"The job was not done {policy.prepare_deadline} after its submission."
        return Cancel(job=job.name, reason=reason, until=now + policy.look_every)
    return Wait(until=now + policy.look_every, why=f"Job {job.name} prepares it and is {job.status}.")


def _superseded(record: Tuning, job: PreparationJob | None, why: str, policy: Policy, now: datetime) -> Step:
    """End it, and its job with it; one that was asked for and does not show is ended when it does."""
    asked = record.preparation if record.prepared is None else None
    if job is None:
        may_show = asked is not None and (asked.submitted_at is not None or record.attempt_of == Submit.__name__)
        return Finish(stage=Stage.SUPERSEDED, reason=why, leaves_job=may_show)
    if asked is None or not _is_ours(job, record) or job.completed or job.ended_badly:
        return Finish(stage=Stage.SUPERSEDED, reason=why)
    if not asked.cancelled_because:
        return Cancel(job=job.name, reason=why, until=now + policy.look_every)
    return Finish(stage=Stage.SUPERSEDED, reason=why, leaves_job=True)


def _looked_after(record: Tuning, job: PreparationJob | None, policy: Policy, now: datetime) -> Step:
    asked = record.preparation
    if asked is None or asked.left_at is None:
        return Rest()
    if job is not None and not _is_ours(job, record):
        return Settle(job=record.job, status=job.status)
    status, was_seen = job.status if job else None, asked.cancelled_because != ""
    return looked_after(
        record.job, status, left_at=asked.left_at, was_seen=was_seen, deadline=policy.prepare_deadline, policy=policy, now=now
    )


def _cancelled_at(asked: Preparation, policy: Policy) -> datetime:
    """Return since when the job is asked to end; a version that did not write it asked from the deadline on."""
    assert asked.submitted_at is not None
    return asked.cancelled_at or asked.submitted_at + policy.prepare_deadline


def _why_superseded(record: Tuning, world: World) -> str:
    """Return why this upload is out of date, '' while it is not."""
    if world.later_offered:
        return f"A later upload of this service was offered first (tuning {world.later_offered})."
    if record.prepared is None and not world.upload_is_current:
        return "The blob was replaced or deleted before it was read."
    return ""


def _is_ours(job: PreparationJob, record: Tuning) -> bool:
    return job.owner == record.owner and job.tuning == record.id
