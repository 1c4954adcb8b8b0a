"""
A training is one paid job and the model that it yields, for one dataset content and one frozen recipe.

The job's number is raised in the ledger before the job is asked for, and the job's name follows from it, so a second
request for the same number is refused by the service itself. A number is raised again only after the job of the last
one was seen Failed or Canceled, and only while the policy allows another try.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from shared.domain import artefacts, names
from shared.domain.jobs import JOB_CANCEL_REQUESTED, JOB_COMPLETED, JOB_ENDED_BADLY, Cancel, Settle, looked_after
from shared.domain.policy import Policy, Rest, Wait, pause
from shared.domain.recipe import Recipe
from shared.domain.record import Header, Kind
from shared.domain.slots import OF_TRAININGS, Slots, why_none_is_free
from shared.domain.structs import learn


class Stage(StrEnum):
    OPEN = "open"
    SUBMITTED = "submitted"
    TRAINED = "trained"
    GOOD = "good"
    STOPPED = "stopped"
    SUPERSEDED = "superseded"


ENDED = frozenset({Stage.GOOD, Stage.STOPPED, Stage.SUPERSEDED})


class Training(Header, frozen=True, kw_only=True):
    """The record of one training."""

    stage: Stage  # narrower than the header's: a stage that only a newer version knows is left alone, since acting on it may pay twice
    dataset_sha256: str
    uris: dict[str, str]  # split -> URI, of the tuning that opened it
    recipe: Recipe
    service: str  # text of the service that opened it; names the model
    tunings: tuple[str, ...]  # ids that point at it
    job_number: int = 0  # of the newest job; 0: none was asked for
    jobs_allowed: int = 0  # by a person who uploaded the same again after a bad end; 0: the policy's number holds
    job_status: str = ""  # last one seen, Azure's word
    submitted_at: datetime | None = None  # since the newest job was first accepted; None: not yet
    cancel_requested: bool = False
    cancel_requested_at: datetime | None = None  # for the first time; None: not yet, or by a version that did not write it
    left_at: datetime | None = None  # since this ended and its job was left at work, perhaps billed; None: no job is left
    metrics: dict[str, float] = msgspec.field(default_factory=dict)  # last values that the job logged

    @property
    def job(self) -> str:
        return names.job(self.id, self.job_number)

    @property
    def model(self) -> str:
        return names.model(self.recipe.model_name, self.service)

    @property
    def model_folder(self) -> str:
        """Where the newest job writes its model, in the prepared container."""
        return names.model_folder(self.owner, self.service, self.job)

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the job and the model: evidence of ownership and lineage, never a lock."""
        return {
            names.OWNER_TAG: self.owner,
            names.TRAINING_TAG: self.id,
            names.SERVICE_TAG: names.service_id(self.owner, self.service),
            names.TUNING_TAG: self.tunings[0],
            names.DATASET_TAG: self.dataset_sha256,
        }


learn(Training)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as Azure ML shows it."""

    name: str
    status: str
    owner: str | None  # our tag on it; None: not ours
    training: str | None
    failure: str = ""  # what the service says about a bad end


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What Azure ML shows of this training, read at one moment."""

    job: Job | None = None
    slots: Slots = Slots()  # read only while a job has yet to be asked for
    is_wanted: bool = True  # an upload waits for it; read only then, too
    model_registered: bool = False
    model_files: tuple[str, ...] = ()  # of a completed job's model, paths from the top of its folder
    metrics: dict[str, float] = msgspec.field(default_factory=dict)


class RaiseNumber(msgspec.Struct, frozen=True):
    """Raise the job number in the ledger; the job is asked for in a later turn."""


class TakeSlot(msgspec.Struct, frozen=True, kw_only=True):
    """Take a slot for the job; it is asked for in a later turn."""

    job: str


class Submit(msgspec.Struct, frozen=True, kw_only=True):
    job: str


class Register(msgspec.Struct, frozen=True, kw_only=True):
    """Register the job's output as a model version called after the training."""

    job: str
    remark: str = ""  # on what its folder holds, for people


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Write down what the job shows now (and that it was accepted, if whoever asked died before he wrote so), then wait."""

    status: str
    metrics: dict[str, float]
    until: datetime


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    stage: Stage
    reason: str = ""
    next_action: str = ""
    leaves_job: bool = False  # its job may be at work: it is looked after, and keeps its slot


NOBODY_WAITS = "No upload waits for it any more, so its job was not asked for."
REFUSED_ACTION = (
    "Look at these files. If you trust them, turn REFUSE_PICKLED_MODELS off and upload the file again: its job is not paid for twice. "
    "Else choose another BASE_MODEL or FINETUNE_COMPONENT."
)
REMARKED_ACTION = "Give the endpoint an identity that may only read; REFUSE_PICKLED_MODELS=true refuses such a model."

Step = RaiseNumber | TakeSlot | Submit | Cancel | Settle | Register | Note | Finish | Wait | Rest
CHANGES_AZURE = (RaiseNumber, TakeSlot, Submit, Cancel, Register)  # or is about to


def opened(
    training: str,
    *,
    owner: str,
    tuning: str,
    service: str,
    dataset_sha256: str,
    uris: dict[str, str],
    recipe: Recipe,
    now: datetime,
) -> Training:
    return Training(
        kind=Kind.TRAINING,
        id=training,
        owner=owner,
        stage=Stage.OPEN,
        created_at=now,
        dataset_sha256=dataset_sha256,
        uris=uris,
        recipe=recipe,
        service=service,
        tunings=(tuning,),
    )


def joined(record: Training, tuning: str) -> Training:
    """
    Return the record with one more tuning. One that comes after a bad end is a person asking for another try; after a training was
    superseded it is wanted again, and no more is allowed than was.
    """
    if record.stage == Stage.SUPERSEDED:
        record = msgspec.structs.replace(record, stage=Stage.OPEN, reason="", next_action="")
    if tuning in record.tunings:
        return record
    record = msgspec.structs.replace(record, tunings=(*record.tunings, tuning))
    if record.stage != Stage.STOPPED:
        return record
    return msgspec.structs.replace(
        record,
        stage=Stage.OPEN,
        jobs_allowed=record.job_number + 1,
        cancel_requested=False,
        cancel_requested_at=None,
        left_at=None,
        reason="",
        next_action="",
    )


def may_be_at_work(record: Training, job: str) -> bool:
    """Tell whether the job, of this training, may be at work and holds its slot."""
    return record.job == job and (record.stage not in ENDED or record.left_at is not None)


def decide(record: Training, world: World, policy: Policy, now: datetime) -> Step:
    """Return the one next step of this training."""
    step = _next(record, world, policy, now)
    return pause(policy, now) if policy.paused and isinstance(step, CHANGES_AZURE) else step


def _next(record: Training, world: World, policy: Policy, now: datetime) -> Step:
    if record.stage in ENDED:
        return Rest() if record.left_at is None else _looked_after(record, world.job, record.left_at, policy, now)
    if record.job_number == 0:
        return RaiseNumber()
    job = world.job
    is_late = record.submitted_at is not None and now >= record.submitted_at + policy.job_deadline
    if job is None and is_late:
        reason = f"Job {record.job} was asked for and never showed, {policy.job_deadline} long."
        next_action = "Look for it in Azure ML studio, then upload the file again."
        return Finish(stage=Stage.STOPPED, reason=reason, next_action=next_action, leaves_job=True)
    if job is None and record.submitted_at is None and record.job not in world.slots.at_work:
        if not world.is_wanted:
            return Finish(stage=Stage.SUPERSEDED, reason=NOBODY_WAITS)
        full = why_none_is_free(OF_TRAININGS, world.slots, policy, now)
        return Wait(until=now + max(policy.tick, policy.look_every), why=full, told=True) if full else TakeSlot(job=record.job)
    if job is None:
        return Submit(job=record.job)
    if job.owner != record.owner or job.training != record.id:
        reason = f"A job called {job.name} exists and is not ours."
        return Finish(stage=Stage.STOPPED, reason=reason, next_action="Delete or rename that job's experiment, then upload again.")
    status = job.status.lower()
    if status in JOB_ENDED_BADLY:
        return _after_a_bad_end(record, job, policy)
    if status == JOB_COMPLETED:
        return _after_a_good_end(job, world, policy)
    if is_late and record.cancel_requested and now >= _cancelled_at(record, policy) + policy.cancel_deadline:
        return _left(job, policy)
    if is_late and not (status == JOB_CANCEL_REQUESTED and record.cancel_requested):
        return Cancel(job=job.name, reason=_not_done(policy), until=now + policy.look_every)
    if record.submitted_at is None or job.status != record.job_status or world.metrics != record.metrics:
        return Note(status=job.status, metrics=world.metrics, until=now + policy.look_every)
    return Wait(until=now + policy.look_every, why=f"Job {job.name} is {job.status}.")


def _after_a_good_end(job: Job, world: World, policy: Policy) -> Step:
    remark = artefacts.remark(world.model_files)
    if remark and policy.refuse_pickled_models:
        reason = f"The model of job {job.name} is not taken. {remark}"
        return Finish(stage=Stage.STOPPED, reason=reason, next_action=REFUSED_ACTION)
    if not world.model_registered:
        return Register(job=job.name, remark=remark)
    return Finish(stage=Stage.GOOD, reason=remark, next_action=REMARKED_ACTION if remark else "")


def _after_a_bad_end(record: Training, job: Job, policy: Policy) -> Step:
    by_itself = record.job_number < policy.job_attempts_max and not record.cancel_requested
    if by_itself or record.job_number < record.jobs_allowed:
        return RaiseNumber()
    what = _not_done(policy) if record.cancel_requested else job.failure  # a request to cancel that failed has another reason in the record
    return Finish(
        stage=Stage.STOPPED,
        reason=f"Job {job.name} ended {job.status}: {what or 'the service gives no reason.'}",
        next_action="Read the job's log in Azure ML studio and mend the cause; uploading the file again pays for one more try.",
    )


def _not_done(policy: Policy) -> str:
    return f"The job was not done {policy.job_deadline} after its submission."


def _cancelled_at(record: Training, policy: Policy) -> datetime:
    """Return since when the job is asked to end; a version that did not write it asked from the deadline on."""
    assert record.submitted_at is not None
    return record.cancel_requested_at or record.submitted_at + policy.job_deadline


def _left(job: Job, policy: Policy) -> Finish:
    reason = f"Job {job.name} is {job.status}, {policy.cancel_deadline} after it was asked to end: it may be billed, and keeps its slot."
    next_action = f"End job {job.name} in Azure ML studio, then upload the file again."
    return Finish(stage=Stage.STOPPED, reason=reason, next_action=next_action, leaves_job=True)


def _looked_after(record: Training, job: Job | None, left_at: datetime, policy: Policy, now: datetime) -> Step:
    if job is not None and (job.owner != record.owner or job.training != record.id):
        return Settle(job=record.job, status=job.status)
    status, was_seen = job.status if job else None, record.job_status != ""
    return looked_after(record.job, status, left_at=left_at, was_seen=was_seen, deadline=policy.job_deadline, policy=policy, now=now)
