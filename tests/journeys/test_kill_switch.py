"""PAUSED stops all that the app does to Azure ML, at any moment, and nothing is lost by it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from shared import settings
from shared.domain import service, tuning
from shared.domain.policy import PAUSED_WHY
from shared.domain.record import Kind
from tests.journeys import fakes
from tests.journeys.stories import Story

HOUR = timedelta(hours=1)
LIFE = 9 * HOUR
pytestmark = pytest.mark.light


class Switched(Story):
    """A story whose kill switch a test may turn."""

    def __init__(self, workdir):
        super().__init__(workdir)
        self.paused = False
        self.loop = replace(self.loop, paused=lambda: self.paused)

    def azure(self):
        """What the app can change there: jobs, models, endpoints with their deployments and traffic, and requests to them."""
        jobs = {name: job["status"] for name, job in self.world.jobs.items() if job["status"] == "Canceled"}
        endpoints = {name: (sorted(e["deployments"]), e["traffic"]) for name, e in self.world.endpoints.items()}
        return sorted(self.world.jobs), jobs, dict(self.world.models), endpoints, len(self.world.requests)


@pytest.fixture
def story(tmp_path):
    return Switched(tmp_path)


# Minutes into the life of an upload: at once, while it trains, is deployed, is live, is idle in its grace, and sleeps.
@pytest.mark.parametrize("minutes", [0, 5, 21, 22, 24, 33, 60, 100, 108, 115, 180, 300])
def test_whenever_it_is_turned_on_nothing_changes_in_azure_until_it_is_off_and_then_all_ends_as_ever(story, minutes):
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(timedelta(minutes=minutes))
    story.paused = True
    before = story.azure()
    story.run(12 * HOUR)
    assert story.azure() == before

    story.paused = False
    story.run(LIFE)

    assert [t.stage for t in fakes.all_of(story.world, Kind.TUNING)] == [tuning.Stage.OFFERED]
    (ended,) = fakes.all_of(story.world, Kind.SERVICE)
    assert ended.stage == service.Stage.TORN_DOWN
    assert [c.failure for c in ended.candidates] == [""], "the pause cost the candidate its deployment"
    assert story.world.effects["job"] == story.world.effects["deployment"] == 1
    assert story.world.endpoints == {}


def test_between_whatever_calls_it_is_turned_on_the_life_ends_as_ever(tmp_path):
    """Also between the writing of a name and the asking for it."""
    for number in range(0, 320, 3):
        story = Switched(tmp_path)
        since: list[datetime] = []

        def paused(world=story.world, since=since, number=number):
            if world.calls >= number and not since:
                since.append(world.now)
            return bool(since) and world.now < since[0] + 5 * HOUR

        story.loop = replace(story.loop, paused=paused)
        story.uploaded("support-bot/2026-11.jsonl")
        story.run(2 * LIFE)
        (ended,) = fakes.all_of(story.world, Kind.SERVICE)
        assert ended.stage == service.Stage.TORN_DOWN, number
        assert [c.failure for c in ended.candidates] == [""], f"turned on at call {number}: the pause cost the candidate its deployment"
        assert story.world.effects["job"] == story.world.effects["deployment"] == 1, number


def test_a_live_service_is_watched_while_it_is_paused_and_people_are_told_once_that_it_waits(story):
    story.uploaded("support-bot/2026-11.jsonl")
    story.paused = True
    story.run(10 * HOUR)

    waits = [(change.key.kind, change.why) for change in story.world.changes if change.what == "waits"]
    assert waits == [(Kind.TRAINING, PAUSED_WHY)]
    (training,) = fakes.all_of(story.world, Kind.TRAINING)
    assert [line.why for line in training.history if line.what == "waits"] == [PAUSED_WHY]
    assert training.waits_for == PAUSED_WHY


@pytest.mark.parametrize(("value", "on"), [("", False), ("0", False), ("false", False), ("1", True), ("true", True), ("stop it!", True)])
def test_what_cannot_be_read_as_off_is_on(value, on):
    assert settings.paused({"PAUSED": value}) is on


def test_without_the_setting_it_is_off():
    assert settings.paused({}) is False
