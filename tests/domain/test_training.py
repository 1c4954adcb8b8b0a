"""The life of a training as a table: one paid job at a time, a number raised only after a bad end, nobody else's job touched."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import artefacts, names, training
from shared.domain.jobs import LOOK_SLOWLY_EVERY, Cancel, Settle
from shared.domain.policy import Policy, Rest, Wait, pause
from shared.domain.recipe import Recipe
from shared.domain.slots import Slots
from shared.domain.training import Finish, Job, Note, RaiseNumber, Register, Stage, Submit, TakeSlot, Training, World

pytestmark = pytest.mark.light

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
POLICY = Policy()
DEADLINE = NOON + POLICY.job_deadline
ID = "0123456789ab"
J1, J2 = names.job(ID, 1), names.job(ID, 2)
RECIPE = Recipe(
    component_id="c", model_name="Phi-3", model_id="m", parameters={}, compute=None, instance_type="A100", gpus=1,
    display_name="d", experiment_name="e",
)  # fmt: skip
OPEN = training.opened(ID, owner="o", tuning="t1", service="support-bot", dataset_sha256="ab", uris={}, recipe=RECIPE, now=NOON)
NUMBERED: Training = msgspec.structs.replace(OPEN, job_number=1)
HELD = Slots(day="2026-11-24", started=(J1,), at_work={J1: ID})
OTHERS = Slots(day="2026-11-24", started=("ft-ffffffffffff-a1",), at_work={"ft-ffffffffffff-a1": "ffffffffffff"})
RUNNING: Training = msgspec.structs.replace(NUMBERED, stage=Stage.SUBMITTED, submitted_at=NOON, job_status="Running")
LATE = "The job was not done 1 day, 0:00:00 after its submission."
CANCELING: Training = msgspec.structs.replace(RUNNING, cancel_requested=True, cancel_requested_at=DEADLINE, reason="Cancel: 503")
GIVEN_UP = DEADLINE + POLICY.cancel_deadline
LEFT: Training = msgspec.structs.replace(CANCELING, stage=Stage.STOPPED, left_at=GIVEN_UP, reason="It is left.")
FILES = ("MLmodel", "data/model/model.safetensors")
PICKLED = (*FILES, "data/model/training_args.bin")
HOLDS = "Its folder holds what can run code when it is loaded: data/model/training_args.bin (pickle)."
REFUSING = Policy(refuse_pickled_models=True)
NEXT_LOOK = NOON + POLICY.look_every


def seen(status: str, *, name: str = J1, owner: str | None = "o", of: str | None = ID, failure: str = "", **world: object) -> World:
    return World(job=Job(name=name, status=status, owner=owner, training=of, failure=failure), **world)  # type: ignore[arg-type]


def ended(status: str, why: str) -> Finish:
    return Finish(
        stage=Stage.STOPPED,
        reason=f"Job {J1} ended {status}: {why}",
        next_action="Read the job's log in Azure ML studio and mend the cause; uploading the file again pays for one more try.",
    )


def left_as(status: str) -> Finish:
    return Finish(
        stage=Stage.STOPPED,
        reason=f"Job {J1} is {status}, 2:00:00 after it was asked to end: it may be billed, and keeps its slot.",
        next_action=f"End job {J1} in Azure ML studio, then upload the file again.",
        leaves_job=True,
    )


@dataclass(frozen=True, kw_only=True)
class Line:
    name: str
    record: Training
    world: World
    step: object
    now: datetime = NOON
    policy: Policy = POLICY


LIFE = [
    Line(name="open: the number first", record=OPEN, world=World(), step=RaiseNumber()),
    Line(name="numbered: a slot", record=NUMBERED, world=World(), step=TakeSlot(job=J1)),
    Line(name="with a slot the job is asked for", record=NUMBERED, world=World(slots=HELD), step=Submit(job=J1)),
    Line(name="with a slot it is asked for even when all are taken", record=NUMBERED, world=World(slots=HELD), step=Submit(job=J1),
         policy=Policy(jobs_at_once_max=1, jobs_per_day_max=1)),
    Line(name="as many at work as may be: it waits, and people are told", record=NUMBERED, world=World(slots=OTHERS),
         policy=Policy(jobs_at_once_max=1),
         step=Wait(until=NOON + POLICY.tick, told=True,
                   why="JOBS_AT_ONCE_MAX is 1 and as many training jobs are at work; it waits until one has ended.")),
    Line(name="as many today as may be: it waits, and people are told", record=NUMBERED, world=World(slots=OTHERS),
         policy=Policy(jobs_per_day_max=1),
         step=Wait(until=NOON + POLICY.tick, told=True, why="JOBS_PER_DAY_MAX is 1 and as many training jobs began on 2026-11-24; "
                   "it waits for the next day (UTC).")),
    Line(name="the next day counts anew", record=NUMBERED, world=World(slots=OTHERS), now=NOON + timedelta(hours=12),
         policy=Policy(jobs_per_day_max=1), step=TakeSlot(job=J1)),
    Line(name="without a slot and wanted by nobody: not paid for", record=NUMBERED, world=World(is_wanted=False),
         step=Finish(stage=Stage.SUPERSEDED, reason=training.NOBODY_WAITS)),
    Line(name="the next job after a bad end, wanted by nobody", world=World(slots=OTHERS, is_wanted=False),
         record=msgspec.structs.replace(NUMBERED, job_number=2), step=Finish(stage=Stage.SUPERSEDED, reason=training.NOBODY_WAITS)),
    Line(name="with a slot it is asked for, and may have been already", record=NUMBERED, world=World(slots=HELD, is_wanted=False),
         step=Submit(job=J1)),
    Line(name="asked for, the reply was lost, nothing there: the same name again", record=RUNNING, world=World(), step=Submit(job=J1)),
    Line(name="first look: status written down", record=NUMBERED, world=seen("Queued"),
         step=Note(status="Queued", metrics={}, until=NEXT_LOOK)),
    Line(name="running as before", record=RUNNING, world=seen("Running"), step=Wait(until=NEXT_LOOK, why=f"Job {J1} is Running.")),
    Line(name="new numbers from the job", record=RUNNING, world=seen("Running", metrics={"loss": 0.5}),
         step=Note(status="Running", metrics={"loss": 0.5}, until=NEXT_LOOK)),
    Line(name="a word that Azure invents tomorrow means at work", record=RUNNING, world=seen("Defrosting"),
         step=Note(status="Defrosting", metrics={}, until=NEXT_LOOK)),
    Line(name="finalizing is not completed", record=RUNNING, world=seen("Finalizing"),
         step=Note(status="Finalizing", metrics={}, until=NEXT_LOOK)),
    Line(name="completed", record=RUNNING, world=seen("Completed", model_files=FILES), step=Register(job=J1)),
    Line(name="completed in lower case", record=RUNNING, world=seen("completed", model_files=FILES), step=Register(job=J1)),
    Line(name="registered", record=RUNNING, world=seen("Completed", model_registered=True, model_files=FILES),
         step=Finish(stage=Stage.GOOD)),
    Line(name="a pickle in the model is told", record=RUNNING, world=seen("Completed", model_files=PICKLED),
         step=Register(job=J1, remark=HOLDS)),
    Line(name="and told again at the end", record=RUNNING, world=seen("Completed", model_registered=True, model_files=PICKLED),
         step=Finish(stage=Stage.GOOD, reason=HOLDS, next_action=training.REMARKED_ACTION)),
    Line(name="a pickle in the model is refused by setting", record=RUNNING, world=seen("Completed", model_files=PICKLED), policy=REFUSING,
         step=Finish(stage=Stage.STOPPED, reason=f"The model of job {J1} is not taken. {HOLDS}", next_action=training.REFUSED_ACTION)),
    Line(name="refused also if it was registered meanwhile", record=RUNNING, policy=REFUSING,
         world=seen("Completed", model_registered=True, model_files=PICKLED),
         step=Finish(stage=Stage.STOPPED, reason=f"The model of job {J1} is not taken. {HOLDS}", next_action=training.REFUSED_ACTION)),
    Line(name="a folder that cannot be listed is told", record=RUNNING, world=seen("Completed"),
         step=Register(job=J1, remark=artefacts.UNKNOWN)),
    Line(name="and refused by setting", record=RUNNING, world=seen("Completed"), policy=REFUSING,
         step=Finish(stage=Stage.STOPPED, reason=f"The model of job {J1} is not taken. {artefacts.UNKNOWN}",
                     next_action=training.REFUSED_ACTION)),
    Line(name="without a pickle the setting changes nothing", record=RUNNING, world=seen("Completed", model_files=FILES), policy=REFUSING,
         step=Register(job=J1)),
    Line(name="failed", record=RUNNING, world=seen("Failed", failure="Out of memory."), step=ended("Failed", "Out of memory.")),
    Line(name="failed without a word", record=RUNNING, world=seen("failed"), step=ended("failed", "the service gives no reason.")),
    Line(name="canceled by somebody", record=RUNNING, world=seen("Canceled"), step=ended("Canceled", "the service gives no reason.")),
    Line(name="lost by the service", record=RUNNING, world=seen("NotResponding"),
         step=ended("NotResponding", "the service gives no reason.")),
    Line(name="failed, another try is allowed by policy", record=RUNNING, world=seen("Failed"), step=RaiseNumber(),
         policy=Policy(job_attempts_max=2)),
    Line(name="failed, another try is allowed by a person", record=msgspec.structs.replace(RUNNING, jobs_allowed=2),
         world=seen("Failed"), step=RaiseNumber()),
    Line(name="one second before the deadline", record=RUNNING, world=seen("Running"), now=DEADLINE - timedelta(seconds=1),
         step=Wait(until=DEADLINE + POLICY.look_every - timedelta(seconds=1), why=f"Job {J1} is Running.")),
    Line(name="past the deadline", record=RUNNING, world=seen("Running"), now=DEADLINE,
         step=Cancel(job=J1, reason=LATE, until=DEADLINE + POLICY.look_every)),
    Line(name="the cancel was asked for and takes its time", record=CANCELING, world=seen("CancelRequested"), now=DEADLINE,
         step=Note(status="CancelRequested", metrics={}, until=DEADLINE + POLICY.look_every)),
    Line(name="the cancel got lost: asked for again", record=CANCELING, world=seen("Running"), now=DEADLINE,
         step=Cancel(job=J1, reason=LATE, until=DEADLINE + POLICY.look_every)),
    Line(name="somebody else canceled it, and it is late: that is asked by us as well", record=RUNNING, world=seen("CancelRequested"),
         now=DEADLINE, step=Cancel(job=J1, reason=LATE, until=DEADLINE + POLICY.look_every)),
    Line(name="the last look before the cancel is given up", record=CANCELING, world=seen("Running"), now=GIVEN_UP - timedelta(seconds=1),
         step=Cancel(job=J1, reason=LATE, until=GIVEN_UP - timedelta(seconds=1) + POLICY.look_every)),
    Line(name="a cancel that is not carried out", record=CANCELING, world=seen("CancelRequested"), now=GIVEN_UP,
         step=left_as("CancelRequested")),
    Line(name="a cancel that changes nothing", record=CANCELING, world=seen("Running"), now=GIVEN_UP, step=left_as("Running")),
    Line(name="asked to end by a version that did not write when", world=seen("Running"), now=GIVEN_UP,
         record=msgspec.structs.replace(CANCELING, cancel_requested_at=None), step=left_as("Running")),
    Line(name="far beyond the deadline and never asked to end (the app was off): asked first", record=RUNNING, world=seen("Running"),
         now=GIVEN_UP + timedelta(days=9), step=Cancel(job=J1, reason=LATE, until=GIVEN_UP + timedelta(days=9) + POLICY.look_every)),
    Line(name="canceled by us, and a person uploaded the same again meanwhile", world=seen("Canceled"), now=GIVEN_UP,
         record=msgspec.structs.replace(CANCELING, jobs_allowed=2), step=RaiseNumber()),
    Line(name="accepted and never shown: it may come yet", record=msgspec.structs.replace(RUNNING, job_status=""), world=World(),
         now=DEADLINE, step=Finish(stage=Stage.STOPPED, reason=f"Job {J1} was asked for and never showed, 1 day, 0:00:00 long.",
                                   next_action="Look for it in Azure ML studio, then upload the file again.", leaves_job=True)),
    Line(name="it runs and nobody lived to write that it was accepted: its deadline begins", world=seen("Running"),
         record=msgspec.structs.replace(NUMBERED, job_status="Running"), step=Note(status="Running", metrics={}, until=NEXT_LOOK)),
    Line(name="canceled by us: our reason, and no other try", record=CANCELING, world=seen("Canceled"), policy=Policy(job_attempts_max=5),
         step=ended("Canceled", LATE)),
    Line(name="completed after all, past the deadline", record=RUNNING, world=seen("Completed", model_files=FILES),
         now=NOON + 2 * POLICY.job_deadline,
         step=Register(job=J1)),
    Line(name="completed although canceled", record=CANCELING, world=seen("Completed", model_files=FILES), step=Register(job=J1)),
]  # fmt: skip


@pytest.mark.parametrize("line", LIFE, ids=lambda line: line.name)
def test_the_life_of_a_training(line: Line) -> None:
    assert training.decide(line.record, line.world, line.policy, line.now) == line.step


@pytest.mark.parametrize("status", ["Running", "Completed", "Failed"])
@pytest.mark.parametrize(("owner", "of"), [(None, None), ("somebody", ID), ("o", "ffffffffffff"), (None, ID)])
def test_a_job_of_our_name_that_is_not_ours_is_left_alone(status: str, owner: str | None, of: str | None) -> None:
    step = training.decide(RUNNING, seen(status, owner=owner, of=of), Policy(job_attempts_max=5), NOON + timedelta(days=9))

    assert isinstance(step, Finish)
    assert step.stage is Stage.STOPPED
    assert "is not ours" in step.reason
    assert step.next_action


@pytest.mark.parametrize("stage", sorted(training.ENDED))
@pytest.mark.parametrize("status", ["Running", "Completed", "Failed"])
def test_a_training_that_ended_rests_whatever_its_job_shows(stage: Stage, status: str) -> None:
    assert training.decide(msgspec.structs.replace(RUNNING, stage=stage), seen(status), POLICY, NOON) == Rest()


NOT_SHOWN: Training = msgspec.structs.replace(LEFT, job_status="", cancel_requested=False)
SLOWLY = GIVEN_UP + POLICY.cancel_deadline
MAY_SHOW = f"Job {J1} may show yet, and is to end then."
UNWANTED = f"Nobody waits for job {J1} any more."


def to_end_since(day: int) -> str:
    return f"Job {J1} is to end since 2026-11-25 14:00 UTC and has not, day {day}: it may be billed. End it in Azure ML studio."


LEFT_AT_WORK = [
    Line(name="asked again at each look", record=LEFT, world=seen("Running"), now=GIVEN_UP,
         step=Cancel(job=J1, reason=UNWANTED, until=GIVEN_UP + POLICY.look_every)),
    Line(name="being canceled", record=LEFT, world=seen("CancelRequested"), now=GIVEN_UP,
         step=Wait(until=GIVEN_UP + POLICY.look_every, why=f"Job {J1} is CancelRequested.")),
    Line(name="long after: hourly, and told", record=LEFT, world=seen("Running"), now=SLOWLY,
         step=Cancel(job=J1, reason=UNWANTED, until=SLOWLY + LOOK_SLOWLY_EVERY, told=to_end_since(1))),
    Line(name="the next day it is told again", record=LEFT, world=seen("CancelRequested"), now=GIVEN_UP + timedelta(days=1),
         step=Wait(until=GIVEN_UP + timedelta(days=1) + LOOK_SLOWLY_EVERY, why=to_end_since(2), told=True)),
    Line(name="it ended at last", record=LEFT, world=seen("Canceled"), now=SLOWLY, step=Settle(job=J1, status="Canceled")),
    Line(name="it completed all the same: nothing is registered for nobody", record=LEFT, world=seen("Completed"), now=SLOWLY,
         step=Settle(job=J1, status="Completed")),
    Line(name="it was deleted", record=LEFT, world=World(), now=SLOWLY, step=Settle(job=J1, status="")),
    Line(name="never shown, and may come", record=NOT_SHOWN, world=World(), now=GIVEN_UP,
         step=Wait(until=GIVEN_UP + POLICY.look_every, why=MAY_SHOW)),
    Line(name="never shown, and hours have gone", record=NOT_SHOWN, world=World(), now=SLOWLY,
         step=Wait(until=SLOWLY + LOOK_SLOWLY_EVERY, why=MAY_SHOW)),
    Line(name="never shown, and a day has gone", record=NOT_SHOWN, world=World(), now=GIVEN_UP + POLICY.job_deadline,
         step=Settle(job=J1, status="")),
    Line(name="it shows late and runs", record=NOT_SHOWN, world=seen("Running"), now=GIVEN_UP,
         step=Cancel(job=J1, reason=UNWANTED, until=GIVEN_UP + POLICY.look_every)),
    Line(name="somebody else's is none of ours", record=LEFT, world=seen("Running", owner="somebody"), now=SLOWLY,
         step=Settle(job=J1, status="Running")),
    Line(name="while the kill switch is on nothing is asked", record=LEFT, world=seen("Running"), now=SLOWLY, policy=Policy(paused=True),
         step=pause(POLICY, SLOWLY)),
]  # fmt: skip


@pytest.mark.parametrize("line", LEFT_AT_WORK, ids=lambda line: line.name)
def test_a_job_that_was_left_at_work_is_looked_after_until_it_ended(line: Line) -> None:
    assert training.decide(line.record, line.world, line.policy, line.now) == line.step


def test_uploading_again_while_the_job_was_left_at_work_pays_for_another_only_when_that_has_ended() -> None:
    again = training.joined(LEFT, "t2")

    assert isinstance(training.decide(again, seen("Running"), POLICY, SLOWLY), Cancel)
    asked = msgspec.structs.replace(again, cancel_requested=True, cancel_requested_at=SLOWLY)
    assert training.decide(asked, seen("Canceled"), POLICY, SLOWLY) == RaiseNumber()


@given(st.sampled_from(["", "NotStarted", "Queued", "Running", "Finalizing", "CancelRequested", "Unknown", "Paused"]), st.integers(0, 200))
def test_no_second_job_is_asked_for_while_the_first_may_be_alive(status: str, hours: int) -> None:
    policy = Policy(job_attempts_max=99)

    step = training.decide(RUNNING, seen(status), policy, NOON + timedelta(hours=hours))

    assert isinstance(step, Cancel | Note | Wait)


@given(st.sampled_from(["Queued", "Running", "CancelRequested", "Paused"]), st.integers(0, 9), st.booleans())
def test_a_job_that_never_ends_is_left_with_a_reason_in_the_end(status: str, hours: int, known: bool) -> None:
    record, now = msgspec.structs.replace(RUNNING, submitted_at=NOON if known else None), NOON + timedelta(hours=hours)
    step = training.decide(record, seen(status), POLICY, now)
    while isinstance(step, Cancel | Note | Wait) and now < NOON + timedelta(days=9):
        now = step.until
        if isinstance(step, Note):
            record = msgspec.structs.replace(record, job_status=status, submitted_at=record.submitted_at or now)
        if isinstance(step, Cancel):
            record = msgspec.structs.replace(record, cancel_requested=True, cancel_requested_at=record.cancel_requested_at or now)
        step = training.decide(record, seen(status), POLICY, now)

    assert isinstance(step, Finish)
    assert (step.leaves_job, bool(step.reason), bool(step.next_action)) == (True, True, True)
    assert now <= NOON + timedelta(hours=hours) + POLICY.job_deadline + POLICY.cancel_deadline + 5 * POLICY.look_every


# -------------------------------------------------------------------------------------------------------------- joining


def test_joining_twice_is_joining_once() -> None:
    assert training.joined(training.joined(OPEN, "t2"), "t2").tunings == ("t1", "t2")


@pytest.mark.parametrize("by", ["t1", "t2"])
def test_joining_a_superseded_training_lets_it_go_on_and_allows_no_more_jobs_than_before(by: str) -> None:
    superseded = msgspec.structs.replace(NUMBERED, stage=Stage.SUPERSEDED, reason=training.NOBODY_WAITS)
    again = training.joined(superseded, by)

    assert again == msgspec.structs.replace(NUMBERED, tunings=tuple(sorted({"t1", by})))
    assert training.decide(again, World(), POLICY, NOON) == TakeSlot(job=J1)


def test_joining_a_training_at_work_pays_for_nothing_more() -> None:
    joined = training.joined(RUNNING, "t2")

    assert joined == msgspec.structs.replace(RUNNING, tunings=("t1", "t2"))


def test_uploading_again_after_a_bad_end_pays_for_exactly_one_more_try() -> None:
    stopped = msgspec.structs.replace(RUNNING, stage=Stage.STOPPED, reason="Out of memory.", next_action="Mend it.")
    again = training.joined(stopped, "t2")

    assert (again.stage, again.jobs_allowed, again.reason) == (Stage.OPEN, 2, "")
    assert training.decide(again, seen("Failed"), POLICY, NOON) == RaiseNumber()
    second = msgspec.structs.replace(again, job_number=2)
    assert isinstance(training.decide(second, seen("Failed", name=J2), POLICY, NOON), Finish)


def test_the_same_tuning_coming_back_after_a_bad_end_is_no_wish_for_another_try() -> None:
    stopped = msgspec.structs.replace(RUNNING, stage=Stage.STOPPED)

    assert training.joined(stopped, "t1") == stopped


def test_joining_a_good_training_leaves_it_good() -> None:
    good = msgspec.structs.replace(RUNNING, stage=Stage.GOOD)

    assert training.joined(good, "t2").stage is Stage.GOOD


def test_what_a_training_makes_is_called_after_it_and_carries_its_owner() -> None:
    assert (RUNNING.job, RUNNING.model) == (J1, "Phi-3-support-bot")
    assert RUNNING.tags[names.OWNER_TAG] == "o"
    assert RUNNING.tags[names.TRAINING_TAG] == ID
