"""A job that does not end when it is asked to keeps nobody waiting, is told to people while it may be billed, and is never forgotten."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from shared import errors
from shared.domain import slots, training, tuning
from shared.domain.record import Kind
from tests.journeys import fakes
from tests.journeys.stories import Story, only

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
pytestmark = pytest.mark.light


def story_of(tmp_path, **policy):
    story = Story(tmp_path)
    story.loop = replace(story.loop, policy=msgspec.structs.replace(fakes.POLICY, **policy))
    return story


@pytest.fixture
def hung(tmp_path):
    """One training whose job hangs, with the only slot; Azure accepts every cancellation and carries none out."""
    story = story_of(tmp_path, jobs_at_once_max=1, job_deadline=2 * HOUR, cancel_deadline=HOUR)
    story.world.job_end, story.world.cancels_are_carried_out = "Running", False
    story.uploaded("support-bot/a.jsonl")
    return story


def held(world):
    return list(msgspec.json.decode(world.records[slots.OF_TRAININGS][0])["at_work"])


def told(story, word):
    return [change for change in story.world.changes if word in change.why]


def test_a_cancellation_that_azure_never_carries_out_ends_the_upload_with_a_reason_and_says_that_it_may_be_billed(hung):
    hung.run(4 * HOUR)

    (name,) = hung.world.jobs
    for found in (only(hung, Kind.TUNING), only(hung, Kind.TRAINING)):
        assert found.stage == "stopped"
        assert found.reason == f"Job {name} is Running, 1:00:00 after it was asked to end: it may be billed, and keeps its slot."
        assert found.next_action == f"End job {name} in Azure ML studio, then upload the file again."
    assert told(hung, "it may be billed, and keeps its slot")


def test_a_job_that_was_left_at_work_is_told_once_a_day_and_asked_to_end_every_hour(hung):
    hung.run(4 * HOUR)
    first, asked = len(hung.world.changes), hung.world.effects["cancel"]
    hung.run(3 * DAY)

    news = hung.world.changes[first:]
    assert 3 <= len(news) <= 4
    assert all("it may be billed. End it in Azure ML studio." in change.why for change in news)
    assert hung.world.effects["cancel"] - asked < 3 * 24 + 70
    assert only(hung, Kind.TRAINING).reason.endswith("it may be billed, and keeps its slot.")


def test_a_job_that_was_left_at_work_keeps_its_slot_until_it_has_ended(hung):
    hung.run(4 * HOUR)
    hung.uploaded("other-bot/b.jsonl", fakes.ROWS.replace(b"hall", b"yard"))
    hung.run(6 * HOUR)
    assert held(hung.world) == list(hung.world.jobs)
    assert hung.world.effects["job"] == 1

    (name,) = hung.world.jobs
    hung.world.jobs[name]["status"] = "Canceled"  # by a person, in studio
    hung.world.job_end = "Completed"
    hung.run(12 * HOUR)

    assert hung.world.effects["job"] == 2
    assert sorted(t.stage for t in fakes.all_of(hung.world, Kind.TUNING)) == ["offered", "stopped"]
    assert held(hung.world) == []
    assert told(hung, f"Job {name}, which was left at work, is Canceled.")
    assert not [key for key in hung.world.active if key.kind is Kind.TRAINING]


def test_uploading_again_while_the_job_was_left_at_work_trains_once_it_has_ended(hung):
    hung.run(4 * HOUR)
    hung.world.cancels_are_carried_out = True
    hung.uploaded("support-bot/a.jsonl")
    hung.run(timedelta(minutes=10))
    hung.world.job_end = "Completed"
    hung.run(6 * HOUR)

    assert {job["status"] for job in hung.world.jobs.values()} == {"Canceled", "Completed"}
    assert only(hung, Kind.TRAINING).stage == training.Stage.GOOD
    assert hung.world.effects["job"] == 2


def test_a_job_that_completes_after_all_is_not_paid_for_again(hung):
    hung.run(4 * HOUR)
    hung.world.job_end = "Completed"
    hung.run(2 * HOUR)
    assert told(hung, "which was left at work, is Completed.")

    hung.uploaded("support-bot/a.jsonl")
    hung.run(2 * HOUR)

    assert hung.world.effects["job"] == 1
    assert sorted(t.stage for t in fakes.all_of(hung.world, Kind.TUNING)) == ["offered", "stopped"]


def test_a_job_that_shows_only_after_its_training_was_given_up_is_ended(tmp_path):
    story = story_of(tmp_path, job_deadline=2 * HOUR)
    story.world.looks_until_jobs_show = 150  # the deadline is 120 looks away
    story.world.job_end = "Running"
    story.uploaded("support-bot/a.jsonl")
    story.run(12 * HOUR)

    assert "never showed" in only(story, Kind.TRAINING).reason
    assert [job["status"] for job in story.world.jobs.values()] == ["Canceled"]
    assert held(story.world) == []


def test_a_preparing_job_of_a_superseded_upload_that_shows_late_is_ended(tmp_path):
    story = story_of(tmp_path, prepare_here_bytes_max=100)
    old = story.uploaded("support-bot/a.jsonl")
    story.run(timedelta(seconds=30))
    story.world.looks_until_jobs_show = 2
    story.uploaded("support-bot/a.jsonl", fakes.ROWS.replace(b"hall", b"yard"))
    story.run(6 * HOUR)

    stages = {found.id: found.stage for found in fakes.all_of(story.world, Kind.TUNING)}
    assert stages.pop(old) == tuning.Stage.SUPERSEDED
    assert list(stages.values()) == [tuning.Stage.OFFERED]
    assert [job["status"] for name, job in story.world.jobs.items() if old in name] == ["Canceled"]
    assert not [key for key in story.world.active if key.kind is Kind.TUNING]


def test_a_job_whose_every_reply_was_lost_is_not_forgotten_when_its_training_stops(tmp_path):
    story = story_of(tmp_path)
    submit, story.world.looks_until_jobs_show = fakes.FakeTrainings.submit, 9

    def lost(self, name, **given):
        submit(self, name, **given)
        raise errors.TryLater("The reply was lost.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fakes.FakeTrainings, "submit", lost)
        story.world.job_end = "Running"
        story.uploaded("support-bot/a.jsonl")
        story.run(DAY)

    assert "Submit failed 5 times" in only(story, Kind.TRAINING).reason
    assert [job["status"] for job in story.world.jobs.values()] == ["Canceled"]
    assert held(story.world) == []
