"""
Goal: one paid job, one served model and nothing left running, wherever the process dies or a call fails.

Method: the whole life from the upload to the torn-down endpoint is run once to see which call to the outside does what. Then
it is run again for each call at and around each change in Azure and each kind of fault, with that one fault planted there:
an error before the effect, an error after it (a lost reply), the death of the process before and after. The calls of a
preparation are tried in test_prepared_by_a_job.
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
CHANGES = ("submit", "register", "create_endpoint", "create_deployment", "ask", "set_traffic", "delete_deployment", "delete_endpoint")
BEFORE, AFTER = 9, 13  # calls around a change: the claim, the look before and after, what is written and rung
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
    (served,) = fakes.all_of(world, Kind.SERVICE)
    assert any(line.what == "live" for line in served.history)  # its announcement is news, which one lost answer may cost


def calls_that_matter(tmp_path):
    """Return the numbers of the calls at which Azure is changed, and of those around them."""
    story, done = Story(tmp_path), {}
    called = story.world.called

    def noted(effect):
        done[story.world.calls] = effect.__qualname__.split(".")[1]
        return called(effect)

    story.world.called = noted  # type: ignore[method-assign]
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(LIFE)
    changes = [number for number, what in done.items() if what in CHANGES]
    assert [done[number] for number in changes] == [
        *("submit", "register", "create_endpoint", "create_deployment", "ask", "set_traffic"),
        *("set_traffic", "delete_deployment", "delete_endpoint"),
    ]
    return sorted({number for change in changes for number in range(change - BEFORE, change + AFTER)})


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_at_any_call_changes_nothing_about_the_end(tmp_path, fault):
    for number in calls_that_matter(tmp_path):
        story = lived(tmp_path, {number: fault})
        try:
            assert_ended_well(story)
        except AssertionError as error:
            raise AssertionError(f"with '{fault}' at call {number}: {error}") from error


def test_ten_faults_in_a_row_change_nothing_about_the_end(tmp_path):
    for start in calls_that_matter(tmp_path)[::7]:
        faults = {start + n: FAULTS[(start + n) % 4] for n in range(0, 20, 2)}
        assert_ended_well(lived(tmp_path, faults))
