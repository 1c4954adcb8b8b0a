"""A training's hands: how its world is read and its steps are done. What to do stands in `shared.domain.training`."""

from __future__ import annotations

from datetime import datetime

from shared import errors
from shared.domain import jobs, training, tuning
from shared.domain.policy import Policy
from shared.domain.record import Key, Kind
from shared.domain.slots import OF_TRAININGS
from shared.reconcile import slots
from shared.reconcile.turn import Desk, Loop, Outcome, decoded


class TrainingLife:
    """Reads and acts for trainings."""

    record_type = training.Training

    def observe(self, record: training.Training, loop: Loop) -> training.World:
        if record.job_number == 0:
            return training.World()
        trainings = loop.ports.trainings
        job = trainings.job(record.job)
        if job is None:
            if record.submitted_at is not None:
                return training.World()
            return training.World(slots=slots.read(loop, OF_TRAININGS), is_wanted=_is_wanted(record, loop))
        completed = job.status.lower() == jobs.JOB_COMPLETED
        return training.World(
            job=job,
            model_registered=completed and trainings.registered(record.model, record.id),
            model_files=tuple(loop.ports.datasets.files(record.model_folder, hashed_bytes_max=-1)) if completed else (),
            metrics=trainings.metrics(record.job),
        )

    def decide(self, record: training.Training, world: training.World, policy: Policy, now: datetime) -> training.Step:
        return training.decide(record, world, policy, now)

    def act(self, step: training.Step, desk: Desk[training.Training]) -> Outcome[training.Training]:
        record, trainings = desk.record, desk.loop.ports.trainings
        match step:
            case training.RaiseNumber():
                if record.job_number:
                    slots.give_back(desk.loop, OF_TRAININGS, record.job)
                unasked = {"submitted_at": None, "job_status": "", "cancel_requested": False, "cancel_requested_at": None, "reason": ""}
                raised = desk.change(job_number=record.job_number + 1, **unasked)
                return Outcome(record=raised, what="job_numbered", why=raised.job)
            case training.TakeSlot(job=job):
                return slots.taken_by(desk, OF_TRAININGS, job)
            case training.Submit(job=job):
                out = desk.loop.ports.datasets.uri(record.model_folder, "")
                trainings.submit(job, recipe=record.recipe, uris=record.uris, out=out, tags=record.tags)
                submitted = desk.change(stage=training.Stage.SUBMITTED, submitted_at=record.submitted_at or desk.now)
                return Outcome(record=submitted, what="job_submitted", why=job, look_at=desk.now + desk.loop.policy.look_every)
            case jobs.Cancel():
                return self._cancelled(desk, step)
            case jobs.Settle(job=job, status=status):
                slots.give_back(desk.loop, OF_TRAININGS, job)
                return Outcome(record=desk.change(left_at=None), what="left_job_ended", why=jobs.settled(job, status))
            case training.Register(job=job, remark=remark):
                trainings.register(record.model, record.id, job=job, tags=record.tags)
                metrics = trainings.metrics(job)
                trained = desk.change(stage=training.Stage.TRAINED, metrics=metrics, job_status="Completed")
                return Outcome(record=trained, what="model_registered", why=f"{record.model}, version {record.id}. {remark}".strip())
            case training.Note(status=status, metrics=metrics, until=until):
                # A worker that died after its request left no time: then the deadline counts from the first look that shows the job.
                accepted = {"stage": training.Stage.SUBMITTED, "submitted_at": record.submitted_at or desk.now}
                noted = desk.change(job_status=status, metrics=metrics, **accepted)
                return Outcome(record=noted, what="job_status", why=status, look_at=until, quiet=status == record.job_status)
            case training.Finish():
                return self._ended(desk, step)
            case _:
                raise AssertionError(f"{step} is no effect")

    def stop(self, desk: Desk[training.Training], step: training.Step, error: errors.Stop) -> Outcome[training.Training]:
        record, asked = desk.record, isinstance(step, training.Submit)
        leaves_job = asked and (isinstance(error, errors.Exhausted) or record.attempts > 1 or record.submitted_at is not None)
        end = training.Finish(stage=training.Stage.STOPPED, reason=str(error), next_action=error.next_action, leaves_job=leaves_job)
        return self._ended(desk, end)

    def attempts_max(self, step: training.Step, policy: Policy) -> int | None:
        patient = training.Finish | training.Note | jobs.Cancel | jobs.Settle | training.TakeSlot
        return None if isinstance(step, patient) else policy.step_attempts_max

    def _cancelled(self, desk: Desk[training.Training], step: jobs.Cancel) -> Outcome[training.Training]:
        """Ask for the job's end, after it was written down. Told at the first request, and then while people have to end it."""
        first = desk.record
        if first.left_at is None or not first.cancel_requested:
            reason = step.reason if first.left_at is None else first.reason
            asked_at = first.cancel_requested_at or desk.now
            desk.save(desk.change(cancel_requested=True, cancel_requested_at=asked_at, reason=reason))
        try:
            desk.loop.ports.trainings.cancel(step.job)
        except errors.Stop as refused:  # it may have ended since it was looked at, and while it runs it is paid for
            if not step.told:
                raise errors.TryLater(str(refused)) from refused
        told = first.waits_for == step.told if step.told else first.cancel_requested
        why = step.told or step.reason
        return Outcome(record=desk.record, what="job_cancelled", why=why, look_at=step.until, quiet=told, waits_for=step.told)

    def _ended(self, desk: Desk[training.Training], step: training.Finish) -> Outcome[training.Training]:
        if desk.record.job_number and not step.leaves_job:
            slots.give_back(desk.loop, OF_TRAININGS, desk.record.job)
        ring = tuple(Key(kind=Kind.TUNING, id=one) for one in desk.record.tunings)
        left_at = desk.now if step.leaves_job else None
        ended = desk.change(stage=step.stage, reason=step.reason, next_action=step.next_action, left_at=left_at)
        return Outcome(record=ended, what=step.stage.value, why=step.reason, ring=ring)


def _is_wanted(record: training.Training, loop: Loop) -> bool:
    """Tell whether an upload waits for it. One whose record is not there cannot be, and what is not known is kept."""
    for one in reversed(record.tunings):  # the newest first: an older one may have been superseded by it
        key = Key(kind=Kind.TUNING, id=one)
        stored = loop.ports.ledger.read(key)
        if stored is None or decoded(key, stored, tuning.Tuning).stage not in tuning.ENDED:
            return True
    return False
