"""What is paid at once and a day is bounded, what has to wait says so, and no slot is ever left behind."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

import msgspec
import pytest

from shared.domain import slots, training, tuning
from shared.domain.record import Kind
from shared.reconcile import arrivals, timers
from shared.reconcile import slots as slots_of_all
from tests.journeys import fakes
from tests.journeys.stories import Story

FAULTS = ("before", "after", "kill_before", "kill_after")
HOUR = timedelta(hours=1)
pytestmark = pytest.mark.light


def limited(tmp_path, *, at_once, a_day):
    story = Story(tmp_path)
    policy = msgspec.structs.replace(fakes.POLICY, jobs_at_once_max=at_once, jobs_per_day_max=a_day)
    story.loop = replace(story.loop, policy=policy)
    return story


def held(world, of=slots.OF_TRAININGS):
    stored = world.records.get(of)
    return msgspec.convert(msgspec.json.decode(stored[0]), slots.Slots).at_work if stored else {}


def at_work(world):
    return [name for name, job in world.jobs.items() if job["status"] == "Running"]


def upload_to_services(story, number):
    for n in range(number):
        story.uploaded(f"service-{n}/a.jsonl", fakes.ROWS.replace(b"hall", b"room %d" % n))


def test_many_uploads_at_once_are_trained_a_few_at_a_time_and_a_day_and_all_in_the_end(tmp_path, monkeypatch):
    story, most = limited(tmp_path, at_once=3, a_day=8), [0]
    days: Counter[date] = Counter()
    submit = fakes.FakeTrainings.submit

    def watched(self, name, **given):
        submit(self, name, **given)
        most[0] = max(most[0], len(at_work(self.world)))
        days[self.world.now.date()] += 1

    monkeypatch.setattr(fakes.FakeTrainings, "submit", watched)
    upload_to_services(story, 20)
    story.run(60 * HOUR)

    assert most == [3]
    assert list(days.values()) == [8, 8, 4]
    assert [t.stage for t in fakes.all_of(story.world, Kind.TUNING)] == [tuning.Stage.OFFERED] * 20
    assert held(story.world) == {}


def test_who_waits_for_a_slot_says_so_in_its_record_and_is_announced_once_for_each_reason(tmp_path):
    story = limited(tmp_path, at_once=1, a_day=1)
    upload_to_services(story, 2)
    story.run(5 * HOUR)

    waiting = next(t for t in fakes.all_of(story.world, Kind.TRAINING) if t.stage == training.Stage.OPEN)
    reasons = [change.why for change in story.world.changes if change.what == "waits" and change.key == waiting.key]
    assert [reason.partition(" ")[0] for reason in reasons] in (["JOBS_PER_DAY_MAX"], ["JOBS_AT_ONCE_MAX", "JOBS_PER_DAY_MAX"])
    assert waiting.waits_for == reasons[-1]
    (owners,) = [t for t in fakes.all_of(story.world, Kind.TUNING) if t.stage == tuning.Stage.TRAINING]
    assert reasons[-1] in owners.waits_for


@pytest.mark.parametrize("end", ["Failed", "Canceled", "Completed"])
def test_a_job_gives_its_slot_back_however_it_ends(tmp_path, end):
    story = limited(tmp_path, at_once=1, a_day=9)
    story.world.job_end = end
    upload_to_services(story, 3)
    story.run(4 * HOUR)

    assert held(story.world) == {}
    assert story.world.effects["job"] == 3


def superseded_while_it_waits(tmp_path):
    """One slot, held by a long job; behind it an upload waits, until a later one of its service, already trained, is offered."""
    story = limited(tmp_path, at_once=1, a_day=9)
    story.uploaded("desk/a.jsonl")
    story.run(2 * HOUR)  # what is uploaded again later is trained by now
    story.world.job_end = "Running"
    story.uploaded("shop/hog.jsonl", fakes.ROWS.replace(b"hall", b"yard"))
    story.run(timedelta(minutes=10))
    waiting = story.uploaded("desk/b.jsonl", OTHER)
    story.run(timedelta(minutes=30))
    story.uploaded("desk/a.jsonl")
    story.run(HOUR)
    return story, waiting


OTHER = fakes.ROWS.replace(b"order", b"parcel")


def of_tuning(story, tuning_id):
    (found,) = [t for t in fakes.all_of(story.world, Kind.TRAINING) if tuning_id in t.tunings]
    return found


def test_a_training_that_waits_for_a_slot_and_that_nobody_wants_any_more_is_not_paid_for(tmp_path):
    story, waiting = superseded_while_it_waits(tmp_path)
    assert of_tuning(story, waiting).stage == training.Stage.SUPERSEDED
    assert [change.why for change in story.world.changes if change.what == "superseded" and change.key.kind is Kind.TRAINING] == [
        training.NOBODY_WAITS
    ]

    story.world.job_end = "Completed"
    story.run(6 * HOUR)

    assert story.world.effects["job"] == 2
    assert not [key for key in story.world.active if key.kind is Kind.TRAINING]


def test_the_same_content_wanted_again_after_it_was_superseded_is_trained(tmp_path):
    story, waiting = superseded_while_it_waits(tmp_path)
    story.world.job_end = "Completed"
    again = story.uploaded("desk/b.jsonl", OTHER)
    story.run(6 * HOUR)

    assert of_tuning(story, waiting).tunings == (waiting, again)
    assert of_tuning(story, waiting).stage == training.Stage.GOOD
    assert story.world.effects["job"] == 3
    assert held(story.world) == {}


def test_a_slot_of_a_job_at_work_is_not_freed_by_the_timer(tmp_path):
    story = limited(tmp_path, at_once=1, a_day=9)
    upload_to_services(story, 1)
    story.run(timedelta(minutes=10))
    before = held(story.world)
    timers.look_again(story.loop, fakes.LIVES, who="look_again")

    assert held(story.world) == before == {name: name.split("-")[1] for name in at_work(story.world)}


def test_without_any_timer_a_job_gives_its_slot_back_when_it_has_ended(tmp_path):
    story = limited(tmp_path, at_once=1, a_day=9)
    story.timers_on = False
    upload_to_services(story, 2)
    story.run(2 * HOUR)

    assert held(story.world) == {}
    assert story.world.effects["job"] == 2


def test_taking_a_slot_twice_for_one_job_takes_one(tmp_path):
    loop = limited(tmp_path, at_once=2, a_day=2).loop

    assert [slots_of_all.take(loop, slots.OF_TRAININGS, job="ft-1", record_id="1") for _ in range(3)] == ["", "", ""]
    assert slots_of_all.read(loop, slots.OF_TRAININGS).started == ("ft-1",)
    assert slots_of_all.take(loop, slots.OF_TRAININGS, job="ft-2", record_id="2") == ""


@pytest.mark.parametrize("moment", ["before the first of all", "between the reading and the writing"])
def test_of_two_who_take_the_last_slot_at_once_one_waits(tmp_path, monkeypatch, moment):
    """Both saw it free: the ledger refuses the second, who looks again."""
    story = limited(tmp_path, at_once=1, a_day=9)
    method = "create" if moment.startswith("before") else "replace"
    real = getattr(fakes.FakeLedger, method)
    other: list[str] = []

    def late(self, key, *given):
        if not other:
            other.append("is at it")
            other[0] = slots_of_all.take(story.loop, slots.OF_TRAININGS, job="ft-2", record_id="2")
        return real(self, key, *given)

    monkeypatch.setattr(fakes.FakeLedger, method, late)

    assert "JOBS_AT_ONCE_MAX" in slots_of_all.take(story.loop, slots.OF_TRAININGS, job="ft-1", record_id="1")
    assert other == [""]
    assert held(story.world) == {"ft-2": "2"}


def calls_around_the_slots(tmp_path):
    """Return the numbers of the calls at which the slots are touched, and of those beside them."""
    story = limited(tmp_path, at_once=1, a_day=9)
    touched: set[int] = set()
    read, replace_ = fakes.FakeLedger.read, fakes.FakeLedger.replace
    with pytest.MonkeyPatch.context() as patch:
        for method in (read, replace_):

            def noted(self, key, *given, method=method):
                if key == slots.OF_TRAININGS:
                    touched.update(range(self.world.calls - 1, self.world.calls + 3))
                return method(self, key, *given)

            patch.setattr(fakes.FakeLedger, method.__name__, noted)
        upload_to_services(story, 2)
        story.run(90 * timedelta(minutes=1))
    return sorted(touched)


@pytest.mark.parametrize("fault", FAULTS)
def test_no_slot_is_left_behind_and_no_limit_is_passed_wherever_the_worker_dies(tmp_path, fault, monkeypatch):
    submit = fakes.FakeTrainings.submit

    def watched(self, name, **given):
        submit(self, name, **given)
        assert len(at_work(self.world)) <= 1

    numbers = calls_around_the_slots(tmp_path)
    assert len(numbers) > 20
    monkeypatch.setattr(fakes.FakeTrainings, "submit", watched)
    for number in numbers[FAULTS.index(fault) % 3 :: 3]:  # each in every situation: tests/simulation/test_plans.py
        story = limited(tmp_path, at_once=1, a_day=9)
        story.world.faults = {number: fault}
        upload_to_services(story, 2)
        story.run(3 * HOUR)

        assert held(story.world) == {}, f"{fault} at {number}"
        assert story.world.effects["job"] == 2, f"{fault} at {number}"
        assert slots.OF_TRAININGS not in story.world.active, f"{fault} at {number}"


def large(story):
    """Let every upload be prepared by a job."""
    story.loop = replace(story.loop, policy=msgspec.structs.replace(story.loop.policy, prepare_here_bytes_max=100))
    return story


def test_many_large_uploads_at_once_are_prepared_a_few_at_a_time_and_a_day_and_all_in_the_end(tmp_path, monkeypatch):
    story, most = large(limited(tmp_path, at_once=2, a_day=5)), [0]
    days: Counter[date] = Counter()
    submit = fakes.FakePreparations.submit

    def watched(self, name, **given):
        submit(self, name, **given)
        most[0] = max(most[0], sum("files" in job and job["status"] == "Running" for job in self.world.jobs.values()))
        days[self.world.now.date()] += 1

    monkeypatch.setattr(fakes.FakePreparations, "submit", watched)
    upload_to_services(story, 7)
    story.run(60 * HOUR)

    assert most == [2]
    assert list(days.values()) == [5, 2]
    assert [t.stage for t in fakes.all_of(story.world, Kind.TUNING)] == [tuning.Stage.OFFERED] * 7
    assert held(story.world, slots.OF_PREPARATIONS) == held(story.world) == {}


def test_a_large_upload_that_waits_for_a_slot_says_so_and_is_announced_once(tmp_path):
    story = large(limited(tmp_path, at_once=1, a_day=9))
    story.world.preparation_ends = ["Running"]
    upload_to_services(story, 2)
    story.run(HOUR)

    told = [change.why for change in story.world.changes if change.what == "waits"]
    assert told == ["JOBS_AT_ONCE_MAX is 1 and as many preparation jobs are at work; it waits until one has ended."]
    assert told[0] in {t.waits_for for t in fakes.all_of(story.world, Kind.TUNING)}


ENDS_OF_A_PREPARATION = {
    "completed": lambda story: None,
    "failed": lambda story: setattr(story.world, "preparation_ends", ["Failed"]),
    "canceled": lambda story: setattr(story.world, "preparation_ends", ["Canceled"]),
    "rejected": lambda story: story.uploaded("service-0/a.jsonl", b"no rows, and many of them " * 9),
}


@pytest.mark.parametrize("end", ENDS_OF_A_PREPARATION)
def test_a_preparation_gives_its_slot_back_however_it_ends(tmp_path, end):
    """Without the timers, which would free it ten minutes later."""
    story = large(limited(tmp_path, at_once=1, a_day=9))
    story.timers_on = False
    upload_to_services(story, 1)
    ENDS_OF_A_PREPARATION[end](story)
    story.run(HOUR)

    assert story.world.effects["preparation"] > 0
    assert held(story.world, slots.OF_PREPARATIONS) == {}


def test_the_timer_frees_the_slot_of_a_preparation_whose_worker_died(tmp_path, monkeypatch):
    story = large(limited(tmp_path, at_once=1, a_day=9))
    monkeypatch.setattr(slots_of_all, "give_back", lambda *_: None)
    upload_to_services(story, 2)
    story.run(4 * HOUR)

    assert story.world.effects["preparation"] == 2
    assert held(story.world, slots.OF_PREPARATIONS) == {}


def test_a_message_about_the_slots_themselves_is_dropped(tmp_path):
    story = limited(tmp_path, at_once=1, a_day=1)
    assert arrivals.message('{"kind":"slots","id":"training-jobs","who":"x","promised":null}') is None
    story.world.push(story.world.now, (slots.OF_TRAININGS, "x", None))
    story.run(HOUR)

    assert story.world.queue == []


def test_a_slot_whose_training_is_not_there_is_kept(tmp_path):
    """It cannot be, and its job may be paid for: what is not known is kept."""
    story = limited(tmp_path, at_once=1, a_day=1)
    story.world.records[slots.OF_TRAININGS] = (b'{"day":"","started":[],"at_work":{"ft-000000000000-a1":"000000000000"}}', 1)
    story.run(HOUR)

    assert held(story.world) == {"ft-000000000000-a1": "000000000000"}


def test_slots_that_cannot_be_read_let_no_job_begin_and_hold_up_nothing_else(tmp_path):
    story = limited(tmp_path, at_once=1, a_day=1)
    story.world.records[slots.OF_TRAININGS] = (b'{"at_work":"nobody knows"}', 1)
    upload_to_services(story, 1)
    story.run(2 * HOUR)
    story.uploaded("late/a.jsonl", doors_ring=0)  # the timer finds it
    story.run(HOUR)

    assert story.world.effects["job"] == 0
    assert {"slots/training-jobs cannot be read" in t.waits_for for t in fakes.all_of(story.world, Kind.TRAINING)} == {True}
    assert len(fakes.all_of(story.world, Kind.TUNING)) == 2
