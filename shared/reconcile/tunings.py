"""A tuning's hands: how its world is read and its steps are done. What to do stands in `shared.domain.tuning`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import msgspec

from shared import errors
from shared.domain import jobs, names, preflight, recipe, service, training, tuning
from shared.domain.policy import Policy
from shared.domain.record import Header, Key, Kind
from shared.domain.slots import OF_PREPARATIONS, Slots
from shared.domain.upload import folder_of
from shared.reconcile import preparing, slots
from shared.reconcile.turn import Desk, Loop, Outcome, decoded, opened

SAMPLES_FILE = "samples.json"  # of prepare.SAMPLES, which is imported where it is needed
UPDATE_ATTEMPTS_MAX = 5  # compare-and-set rounds against other tunings of the same service; more is a later turn's

T = TypeVar("T", bound=Header)


class TuningLife:
    """Reads and acts for tunings."""

    record_type = tuning.Tuning

    def observe(self, record: tuning.Tuning, loop: Loop) -> tuning.World:
        current, job, taken = True, None, Slots()
        if record.prepared is None:
            # The job first: an ETag never comes back, so a blob that is current after the job has ended was so while it read.
            job = loop.ports.preparations.job(record.job) if record.job else None
            now_there = loop.ports.datasets.head(record.upload.path)
            current = now_there is not None and now_there.etag == record.upload.etag
            if record.preparation and record.preparation.submitted_at is None and job is None:
                taken = slots.read(loop, OF_PREPARATIONS)
        key = Key(kind=Kind.SERVICE, id=names.service_id(record.owner, record.service))
        offered = read(loop, key, service.Service)
        joined = read(loop, Key(kind=Kind.TRAINING, id=record.training), training.Training) if record.training else None
        later = service.later_offered(offered, record.upload.order)
        return tuning.World(upload_is_current=current, later_offered=later, training=joined, job=job, slots=taken)

    def decide(self, record: tuning.Tuning, world: tuning.World, policy: Policy, now: datetime) -> tuning.Step:
        return tuning.decide(record, world, policy, now)

    def act(self, step: tuning.Step, desk: Desk[tuning.Tuning]) -> Outcome[tuning.Tuning]:
        match step:
            case tuning.Prepare():
                return preparing.prepared_here(desk)
            case tuning.RaiseNumber():
                return preparing.number_raised(desk)
            case tuning.TakeSlot(job=job):
                return slots.taken_by(desk, OF_PREPARATIONS, job)
            case tuning.Submit(job=job):
                return preparing.submitted(desk, job)
            case jobs.Cancel():
                return preparing.cancelled(desk, step)
            case jobs.Settle(job=job, status=status):
                return preparing.settled(desk, job, status)
            case tuning.NoteSubmitted(job=job):
                return preparing.seen_submitted(desk, job)
            case tuning.Collect(job=job):
                return preparing.collected(desk, job)
            case tuning.Plan():
                return _plan(desk)
            case tuning.Join():
                return _join(desk, step.training)
            case tuning.Offer():
                return _offer(desk)
            case tuning.Finish():
                return preparing.ended(desk, step.stage, step.reason, step.next_action, leaves_job=step.leaves_job)
            case _:
                raise AssertionError(f"{step} is no effect")

    def stop(self, desk: Desk[tuning.Tuning], step: tuning.Step, error: errors.Stop) -> Outcome[tuning.Tuning]:
        asked, record = desk.record.preparation, desk.record
        tries = isinstance(error, errors.Exhausted) or record.attempts > 1
        leaves_job = isinstance(step, tuning.Submit) and asked is not None and (tries or asked.submitted_at is not None)
        return preparing.ended(desk, tuning.Stage.STOPPED, str(error), error.next_action, leaves_job=leaves_job)

    def attempts_max(self, step: tuning.Step, policy: Policy) -> int | None:
        if isinstance(step, tuning.Finish | jobs.Cancel | jobs.Settle | tuning.TakeSlot):
            return None
        return policy.step_attempts_max


def read(loop: Loop, key: Key, record_type: type[T]) -> T | None:
    stored = loop.ports.ledger.read(key)
    return decoded(key, stored, record_type) if stored else None


def _plan(desk: Desk[tuning.Tuning]) -> Outcome[tuning.Tuning]:
    record, loop = desk.record, desk.loop
    catalogue = loop.ports.trainings.catalogue()
    faults = preflight.faults(catalogue, serving_instance_type=loop.serving_instance_type)
    if faults:
        raise errors.Stop(" ".join(faults), next_action="Correct the app's settings, then upload the file again.")
    try:
        wishes = loop.ports.datasets.wishes(folder_of(record.upload.path))
        plan = recipe.resolve(catalogue, wishes=wishes, service=names.slug(record.service), experiment_name=loop.experiment_name)
    except errors.Rejected as refused:
        return preparing.ended(desk, tuning.Stage.REJECTED, str(refused), preparing.FIX_AND_UPLOAD)
    why = " ".join((f"{plan.display_name}.", *plan.notes))
    return Outcome(record=desk.change(stage=tuning.Stage.PLANNED, recipe=plan, reason=""), what="planned", why=why)


def _join(desk: Desk[tuning.Tuning], training_id: str) -> Outcome[tuning.Tuning]:
    record, loop = desk.record, desk.loop
    assert record.prepared is not None
    assert record.recipe is not None
    key = Key(kind=Kind.TRAINING, id=training_id)
    fresh = training.opened(
        training_id,
        owner=record.owner,
        tuning=record.id,
        service=record.service,
        dataset_sha256=record.prepared.dataset_sha256,
        uris=record.prepared.uris,
        recipe=record.recipe,
        now=desk.now,
    )
    who = f"tuning {record.id}"
    created = opened(loop, fresh, who=who, why="The first upload of these bytes with this recipe.")
    if not created:
        update(loop, key, training.Training, lambda found: training.joined(found, record.id))
    joined = desk.change(stage=tuning.Stage.TRAINING, training=training_id, reason="")
    return Outcome(record=joined, what="joined_training", why=f"Training {training_id}, {'new' if created else 'found'}.", ring=(key,))


def _offer(desk: Desk[tuning.Tuning]) -> Outcome[tuning.Tuning]:
    """Write the candidate into the service's record first, then end as offered; a crash in between offers it once."""
    record, loop = desk.record, desk.loop
    assert record.training is not None
    assert record.prepared is not None
    good = read(loop, Key(kind=Kind.TRAINING, id=record.training), training.Training)
    assert good is not None
    candidate = service.Candidate(
        tuning=record.id,
        uploaded_at=record.upload.last_modified,
        training=good.id,
        model=good.model,
        model_version=good.id,
        sample=f"{record.prepared.folder}/{SAMPLES_FILE}",
    )
    fresh = service.offered(service.opened(record.service, owner=record.owner, now=desk.now), candidate)
    if not opened(loop, fresh, who=f"tuning {record.id}", why=f"The first upload to {record.service}."):
        loop.ports.ledger.activate(fresh.key)
        update(loop, fresh.key, service.Service, lambda found: service.offered(service.named(found, record.service), candidate))
    offered = desk.change(stage=tuning.Stage.OFFERED, reason="")
    return Outcome(record=offered, what="offered", why=f"Training {good.id} is a candidate of {record.service}.", ring=(fresh.key,))


def update(loop: Loop, key: Key, record_type: type[T], change: Callable[[T], T]) -> None:
    """Change another record by compare-and-set; raise TryLater when others keep winning."""
    for _ in range(UPDATE_ATTEMPTS_MAX):
        stored = loop.ports.ledger.read(key)
        if stored is None:
            raise errors.TryLater(f"{key} was there and is gone.")
        found = decoded(key, stored, record_type)
        changed = change(found)
        if changed == found:
            return
        try:
            loop.ports.ledger.replace(key, {**stored.body, **msgspec.to_builtins(changed)}, stored.version)
        except errors.LostRace:
            continue
        loop.ports.ledger.activate(key)
        return
    raise errors.TryLater(f"{key} is being written by others all the time.")
