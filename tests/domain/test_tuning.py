"""The life of a tuning as a table: what is written down, what the world shows, what is done next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from shared.domain import names, training, tuning
from shared.domain.jobs import Cancel, Settle
from shared.domain.policy import Policy, Rest, Wait
from shared.domain.recipe import Recipe
from shared.domain.slots import Slots
from shared.domain.tuning import Finish, Join, Offer, Plan, Preparation, PreparationJob, Prepare, Prepared, Stage, Tuning, World
from shared.domain.upload import Upload

pytestmark = pytest.mark.light

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
POLICY = Policy()
OWNER = "o"
UPLOAD = Upload(account="acc", container="datasets", path="support-bot/a.jsonl", etag="0x1", size=9, last_modified=NOON)
RECIPE = Recipe(
    component_id="c", model_name="Phi-3", model_id="m", parameters={"num_train_epochs": "3"}, compute=None, instance_type="A100", gpus=1,
    display_name="d", experiment_name="e",
)  # fmt: skip
PREPARED = Prepared(folder="f", dataset_sha256="ab" * 32, uris={"train": "azureml://x"}, rows={"train": 36})
TRAINING_ID = names.training_id(OWNER, PREPARED.dataset_sha256, RECIPE.frozen)

SEEN = tuning.opened(UPLOAD, owner=OWNER, now=NOON)
READ: Tuning = msgspec.structs.replace(SEEN, stage=Stage.PREPARED, prepared=PREPARED)
PLANNED: Tuning = msgspec.structs.replace(READ, stage=Stage.PLANNED, recipe=RECIPE)
JOINED: Tuning = msgspec.structs.replace(PLANNED, stage=Stage.TRAINING, training=TRAINING_ID)

AT_WORK = training.opened(
    TRAINING_ID, owner=OWNER, tuning=SEEN.id, service="support-bot", dataset_sha256="ab", uris={}, recipe=RECIPE, now=NOON
)
GOOD = msgspec.structs.replace(AT_WORK, stage=training.Stage.GOOD)
FAILED = msgspec.structs.replace(AT_WORK, stage=training.Stage.STOPPED, reason="It ran out of memory.", next_action="Use a larger size.")

CURRENT = World(upload_is_current=True)
REPLACED = World(upload_is_current=False)
LATER = "ffffffffffff"


@dataclass(frozen=True, kw_only=True)
class Line:
    name: str
    record: Tuning
    world: World
    step: object


LIFE = [
    Line(name="seen", record=SEEN, world=CURRENT, step=Prepare()),
    Line(name="replaced before it was read", record=SEEN, world=REPLACED,
         step=Finish(stage=Stage.SUPERSEDED, reason="The blob was replaced or deleted before it was read.")),
    Line(name="prepared", record=READ, world=CURRENT, step=Plan()),
    Line(name="deleted after it was read changes nothing", record=READ, world=REPLACED, step=Plan()),
    Line(name="planned", record=PLANNED, world=CURRENT, step=Join(training=TRAINING_ID)),
    Line(name="joined a training that is not there (killed in between)", record=JOINED, world=CURRENT, step=Join(training=TRAINING_ID)),
    Line(name="its training was given up for lack of anybody who wants it: joined anew", record=JOINED, step=Join(training=TRAINING_ID),
         world=World(upload_is_current=True, training=msgspec.structs.replace(AT_WORK, stage=training.Stage.SUPERSEDED))),
    Line(name="training at work", record=JOINED, world=World(upload_is_current=True, training=AT_WORK),
         step=Wait(until=NOON + POLICY.tick, why=f"Its training {TRAINING_ID} is at work.")),
    Line(name="training good", record=JOINED, world=World(upload_is_current=True, training=GOOD), step=Offer()),
    Line(name="training good, blob long gone", record=JOINED, world=World(upload_is_current=False, training=GOOD), step=Offer()),
    Line(name="training stopped", record=JOINED, world=World(upload_is_current=True, training=FAILED),
         step=Finish(stage=Stage.STOPPED, reason="It ran out of memory.", next_action="Use a larger size.")),
]  # fmt: skip


@pytest.mark.parametrize("line", LIFE, ids=lambda line: line.name)
def test_the_life_of_a_tuning(line: Line) -> None:
    assert tuning.decide(line.record, line.world, POLICY, NOON) == line.step


LARGE: Tuning = msgspec.structs.replace(SEEN, upload=msgspec.structs.replace(UPLOAD, size=POLICY.prepare_here_bytes_max + 1))
NUMBERED: Tuning = msgspec.structs.replace(LARGE, stage=Stage.PREPARING, preparation=Preparation(number=1, folder="f"))
NAME = names.preparation(LARGE.id, 1)
HELD = Slots(day="2026-11-24", started=(NAME,), at_work={NAME: LARGE.id})
FULL = Slots(day="2026-11-24", at_work={f"prep-{n:012x}-a1": f"{n:012x}" for n in range(4)})
SUBMITTED: Tuning = msgspec.structs.replace(NUMBERED, preparation=Preparation(number=1, folder="f", submitted_at=NOON))
SECOND: Tuning = msgspec.structs.replace(NUMBERED, preparation=Preparation(number=2, folder="f", submitted_at=NOON))
LATE: Tuning = msgspec.structs.replace(NUMBERED, preparation=Preparation(number=1, folder="f", submitted_at=NOON - POLICY.prepare_deadline))
CANCELLED: Tuning = msgspec.structs.replace(
    LATE, preparation=Preparation(number=1, folder="f", submitted_at=NOON - POLICY.prepare_deadline, cancelled_because="It is late.")
)
NOT_CANCELED: Tuning = msgspec.structs.replace(
    LATE,
    preparation=Preparation(
        number=1,
        folder="f",
        submitted_at=NOON - 2 * POLICY.prepare_deadline,
        cancelled_because="It is late.",
        cancelled_at=NOON - POLICY.cancel_deadline,
    ),
)
NEXT_LOOK = NOON + POLICY.look_every
BLOB_GONE = "The blob was replaced or deleted before it was read."


def left(record: Tuning) -> Tuning:
    assert record.preparation is not None
    asked = msgspec.structs.replace(record.preparation, left_at=NOON)
    return msgspec.structs.replace(record, stage=Stage.SUPERSEDED, preparation=asked)


def shows(status: str, *, current: bool = True, owner: str = OWNER, failure: str = "") -> World:
    job = PreparationJob(name=NAME, status=status, owner=owner, tuning=LARGE.id, failure=failure)
    return World(upload_is_current=current, job=job)


PREPARED_BY_A_JOB = [
    Line(name="too large for a function", record=LARGE, world=CURRENT, step=tuning.RaiseNumber()),
    Line(name="as large as a function may read", world=CURRENT, step=Prepare(),
         record=msgspec.structs.replace(SEEN, upload=msgspec.structs.replace(UPLOAD, size=POLICY.prepare_here_bytes_max))),
    Line(name="numbered", record=NUMBERED, world=CURRENT, step=tuning.TakeSlot(job=NAME)),
    Line(name="with a slot the job is asked for", record=NUMBERED, world=World(upload_is_current=True, slots=HELD),
         step=tuning.Submit(job=NAME)),
    Line(name="as many at work as may be: it waits, and people are told", record=NUMBERED, world=World(upload_is_current=True, slots=FULL),
         step=Wait(until=NOON + POLICY.tick, told=True,
                   why="JOBS_AT_ONCE_MAX is 4 and as many preparation jobs are at work; it waits until one has ended.")),
    Line(name="submitted and not to be seen", record=SUBMITTED, world=CURRENT, step=tuning.Submit(job=NAME)),
    Line(name="it runs and nobody lived to write that it was accepted", record=NUMBERED, world=shows("Running"),
         step=tuning.NoteSubmitted(job=NAME)),
    Line(name="at work", record=SUBMITTED, world=shows("Running"),
         step=Wait(until=NOON + POLICY.look_every, why=f"Job {NAME} prepares it and is Running.")),
    Line(name="a word that nobody knows", record=SUBMITTED, world=shows("Pondering"),
         step=Wait(until=NOON + POLICY.look_every, why=f"Job {NAME} prepares it and is Pondering.")),
    Line(name="completed", record=SUBMITTED, world=shows("Completed"), step=tuning.Collect(job=NAME)),
    Line(name="completed, and the blob is another", record=SUBMITTED, world=shows("Completed", current=False),
         step=Finish(stage=Stage.SUPERSEDED, reason=BLOB_GONE)),
    Line(name="the blob is another while it reads", record=SUBMITTED, world=shows("Running", current=False),
         step=Cancel(job=NAME, reason=BLOB_GONE, until=NEXT_LOOK)),
    Line(name="the blob is another before it was asked for", record=NUMBERED, world=REPLACED,
         step=Finish(stage=Stage.SUPERSEDED, reason=BLOB_GONE)),
    Line(name="cancelled, and the blob is another: the job is looked after", record=CANCELLED,
         world=shows("CancelRequested", current=False), step=Finish(stage=Stage.SUPERSEDED, reason=BLOB_GONE, leaves_job=True)),
    Line(name="the blob is another before its job shows", record=SUBMITTED, world=REPLACED,
         step=Finish(stage=Stage.SUPERSEDED, reason=BLOB_GONE, leaves_job=True)),
    Line(name="the blob is another, and the worker died while asking for the job", world=REPLACED,
         record=msgspec.structs.replace(NUMBERED, attempt_of="Submit", attempts=1),
         step=Finish(stage=Stage.SUPERSEDED, reason=BLOB_GONE, leaves_job=True)),
    Line(name="the cancel got lost: asked for again", record=CANCELLED, world=shows("Running"),
         step=Cancel(job=NAME, reason=f"The job was not done {POLICY.prepare_deadline} after its submission.", until=NEXT_LOOK)),
    Line(name="a cancel that is not carried out", record=NOT_CANCELED, world=shows("Running"),
         step=Finish(stage=Stage.STOPPED, reason=f"Job {NAME} is Running, 2:00:00 after it was asked to end: it may be billed.",
                     next_action=f"End job {NAME} in Azure ML studio, then upload the file again.", leaves_job=True)),
    Line(name="accepted and never shown: it may come yet", record=LATE, world=CURRENT,
         step=Finish(stage=Stage.STOPPED, reason=f"Job {NAME} was asked for and never showed, 6:00:00 long.",
                     next_action="Look for it in Azure ML studio, then upload the file again.", leaves_job=True)),
    Line(name="left and runs", record=left(SUBMITTED), world=shows("Running", current=False),
         step=Cancel(job=NAME, reason=f"Nobody waits for job {NAME} any more.", until=NEXT_LOOK)),
    Line(name="left and not shown yet", record=left(SUBMITTED), world=REPLACED,
         step=Wait(until=NEXT_LOOK, why=f"Job {NAME} may show yet, and is to end then.")),
    Line(name="left and ended", record=left(CANCELLED), world=shows("Canceled", current=False), step=Settle(job=NAME, status="Canceled")),
    Line(name="left and deleted", record=left(CANCELLED), world=REPLACED, step=Settle(job=NAME, status="")),
    Line(name="left, and the name is somebody else's", record=left(SUBMITTED), world=shows("Running", owner="another", current=False),
         step=Settle(job=NAME, status="Running")),
    Line(name="somebody else's", record=SUBMITTED, world=shows("Running", owner="another"),
         step=Finish(stage=Stage.STOPPED, reason=f"A job called {NAME} exists and is not ours.",
                     next_action="Delete or rename that job's experiment, then upload again.")),
    Line(name="somebody else's is not cancelled", record=SUBMITTED, world=shows("Running", owner="another", current=False),
         step=Finish(stage=Stage.SUPERSEDED, reason=BLOB_GONE)),
    Line(name="ended badly once", record=SUBMITTED, world=shows("NotResponding"), step=tuning.RaiseNumber()),
    Line(name="ended badly twice", record=SECOND, world=shows("Failed", failure="No space left."),
         step=Finish(stage=Stage.STOPPED, reason=f"Job {NAME} ended Failed: No space left.",
                     next_action="Read the job's log in Azure ML studio and mend the cause, then upload the file again.")),
    Line(name="a person ended it: no second job is paid for", record=SUBMITTED, world=shows("Canceled"),
         step=Finish(stage=Stage.STOPPED, reason=f"Job {NAME} ended Canceled: the service gives no reason.",
                     next_action="Read the job's log in Azure ML studio and mend the cause, then upload the file again.")),
    Line(name="it failed after its deadline: no second job is paid for", record=LATE, world=shows("Failed"),
         step=Finish(stage=Stage.STOPPED, reason=f"Job {NAME} ended Failed: the service gives no reason.",
                     next_action="Read the job's log in Azure ML studio and mend the cause, then upload the file again.")),
    Line(name="a second before it is late", world=shows("Running"),
         record=msgspec.structs.replace(NUMBERED, preparation=Preparation(
             number=1, folder="f", submitted_at=NOON - POLICY.prepare_deadline + timedelta(seconds=1))),
         step=Wait(until=NOON + POLICY.look_every, why=f"Job {NAME} prepares it and is Running.")),
    Line(name="it killed as many readers here as it may: a job reads it", world=CURRENT,
         record=msgspec.structs.replace(SEEN, attempt_of="Prepare", attempts=POLICY.prepare_attempts_max), step=tuning.RaiseNumber()),
    Line(name="late", record=LATE, world=shows("Queued"),
         step=Cancel(job=NAME, reason=f"The job was not done {POLICY.prepare_deadline} after its submission.", until=NEXT_LOOK)),
    Line(name="late and cancelled, not ended yet", record=CANCELLED, world=shows("CancelRequested"),
         step=Wait(until=NOON + POLICY.look_every, why=f"Job {NAME} prepares it and is CancelRequested.")),
    Line(name="late and ended", record=CANCELLED, world=shows("Canceled"),
         step=Finish(stage=Stage.STOPPED, reason=f"Job {NAME} ended Canceled: It is late.",
                     next_action="Read the job's log in Azure ML studio and mend the cause, then upload the file again.")),
]  # fmt: skip


@pytest.mark.parametrize("line", PREPARED_BY_A_JOB, ids=lambda line: line.name)
def test_the_life_of_an_upload_that_is_too_large_for_a_function(line: Line) -> None:
    assert tuning.decide(line.record, line.world, POLICY, NOON) == line.step


@pytest.mark.parametrize("record", [SEEN, READ, PLANNED, JOINED], ids=lambda record: record.stage.value)
@pytest.mark.parametrize("seen", [None, AT_WORK, GOOD, FAILED], ids=["no training", "at work", "good", "stopped"])
def test_once_a_later_upload_was_offered_an_earlier_one_is_never_offered_after_it(record: Tuning, seen: training.Training | None) -> None:
    world = World(upload_is_current=True, later_offered=LATER, training=seen)

    step = tuning.decide(record, world, POLICY, NOON)

    assert isinstance(step, Finish)
    assert step.stage is Stage.SUPERSEDED
    assert LATER in step.reason


@pytest.mark.parametrize("stage", sorted(tuning.ENDED))
@pytest.mark.parametrize("world", [CURRENT, REPLACED, World(upload_is_current=True, training=GOOD, later_offered=LATER)])
def test_a_tuning_that_ended_rests_whatever_the_world_shows(stage: Stage, world: World) -> None:
    assert tuning.decide(msgspec.structs.replace(JOINED, stage=stage), world, POLICY, NOON) == Rest()


def test_the_same_bytes_with_the_same_recipe_in_another_service_join_the_same_training() -> None:
    elsewhere = msgspec.structs.replace(PLANNED, upload=msgspec.structs.replace(UPLOAD, path="shop/b.jsonl"))

    assert tuning.decide(elsewhere, CURRENT, POLICY, NOON) == Join(training=TRAINING_ID)


def test_another_value_of_the_recipe_is_another_training() -> None:
    recipe = msgspec.structs.replace(RECIPE, parameters={"num_train_epochs": "2"})
    step = tuning.decide(msgspec.structs.replace(PLANNED, recipe=recipe), CURRENT, POLICY, NOON)

    assert step != Join(training=TRAINING_ID)


def test_a_wait_has_an_end_within_two_ticks() -> None:
    step = tuning.decide(JOINED, World(upload_is_current=True, training=AT_WORK), POLICY, NOON)

    assert isinstance(step, Wait)
    assert NOON < step.until <= NOON + 2 * POLICY.tick + timedelta(0)


def test_a_tuning_is_called_after_its_upload_and_belongs_to_the_first_folder() -> None:
    assert (SEEN.id, SEEN.service, SEEN.owner, SEEN.stage) == (UPLOAD.id, "support-bot", OWNER, Stage.SEEN)
