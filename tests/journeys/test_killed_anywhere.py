"""
Goal: one paid job, one served model and nothing left running, wherever the process dies or a call fails.

Method: the whole life from the upload to the torn-down endpoint is run once to count its calls to the outside. Then it
is run again for each call and each kind of fault, with that one fault planted there: an error before the effect, an
error after it (a lost reply), the death of the process before and after.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.domain import service, tuning
from shared.domain.record import Kind
from tests.journeys import fakes
from tests.journeys.stories import Story

LIFE = timedelta(hours=9)
FAULTS = ("before", "after", "kill_before", "kill_after")
CALLS_MAX = 160  # the calls that matter come first; after them the story only watches an idle service
pytestmark = pytest.mark.light


def lived(tmp_path, faults):
    story = Story(tmp_path)
    story.world.faults = faults
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(LIFE)
    return story


def assert_ended_well(story):
    world = story.world
    assert world.effects["job"] == 1
    assert [t.stage for t in fakes.all_of(world, Kind.TUNING)] == [tuning.Stage.OFFERED]
    assert [s.stage for s in fakes.all_of(world, Kind.SERVICE)] == [service.Stage.TORN_DOWN]
    assert world.effects["deployment"] == world.effects["deployment_deleted"] == 1
    assert world.endpoints == {}
    assert world.active == set()
    assert any(change.what == "live" for change in world.changes) or story.killed


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_at_any_call_changes_nothing_about_the_end(tmp_path, fault):
    calls = lived(tmp_path, {}).world.calls
    assert calls > CALLS_MAX / 2
    for number in range(min(calls, CALLS_MAX)):
        story = lived(tmp_path, {number: fault})
        try:
            assert_ended_well(story)
        except AssertionError as error:
            raise AssertionError(f"with '{fault}' at call {number}: {error}") from error


def test_ten_faults_in_a_row_change_nothing_about_the_end(tmp_path):
    for start in range(0, CALLS_MAX, 7):
        faults = {start + n: FAULTS[(start + n) % 4] for n in range(0, 20, 2)}
        assert_ended_well(lived(tmp_path, faults))
