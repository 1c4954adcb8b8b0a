"""
What hangs in Azure: an endpoint or a deployment that is never ready, and that Azure may refuse to delete while it is busy with it.

It is deleted after a deadline, asked again about every hour until it is gone, and nothing is made beside it under its name.
"""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from shared.domain.record import Kind
from tests.journeys import fakes
from tests.journeys.stories import Story, only

HOUR = timedelta(hours=1)
REST = fakes.POLICY.endpoint_rest
SECOND = fakes.ROWS.replace(b"hall", b"dock")
pytestmark = pytest.mark.light


@pytest.fixture
def story(tmp_path):
    return Story(tmp_path)


def only_service(story: Story) -> Any:
    return only(story, Kind.SERVICE)


def told(story: Story, word: str) -> list[Any]:
    return [change for change in story.world.changes if word in change.why]


def test_an_endpoint_that_hangs_in_creating_is_deleted_rests_and_is_made_again(story):
    story.world.endpoint_end = "Creating"
    story.uploaded("support-bot/a.jsonl")
    story.run(2.5 * HOUR)
    gone = next(line.at for line in only_service(story).history if line.what == "endpoint_gone")
    story.world.endpoint_end = "Succeeded"
    story.run(HOUR / 2)

    assert story.world.effects["endpoint"] == 2
    assert story.world.endpoints[only_service(story).endpoint]["asked_at"] >= gone + REST
    assert only_service(story).live
    assert any("Look at it in Azure ML studio" in change.why for change in story.world.changes)


def test_an_endpoint_that_is_made_again_has_the_whole_time_for_itself(story):
    """Without a rest nothing else is waited for between the two; as when every look at the resting name failed."""
    no_rest = msgspec.structs.replace(story.loop.policy, endpoint_rest=timedelta(0))
    story.loop = dataclasses.replace(story.loop, policy=no_rest)
    story.world.endpoint_end = "Creating"
    story.uploaded("support-bot/a.jsonl")
    story.run(3.5 * HOUR)

    assert story.world.effects["endpoint"] == 2
    assert [line.what for line in only_service(story).history].count("endpoint_delete_asked") == 1


def test_one_that_always_hangs_ends_with_a_sentence_and_nothing_is_left(story):
    story.world.endpoint_end = "Creating"
    story.uploaded("support-bot/a.jsonl")
    story.run(30 * HOUR)

    ended = only_service(story)
    assert "still Creating" in ended.candidates[0].failure
    assert ended.next_action
    assert story.world.effects["endpoint"] == fakes.POLICY.step_attempts_max + 1
    assert story.world.endpoints == {}
    assert story.world.active == set()


def test_while_azure_refuses_to_delete_what_hangs_it_is_asked_every_hour_and_nothing_is_made_beside_it(story):
    story.world.endpoint_end = "Creating"
    story.world.hanging_stays_until = story.world.now + 12 * HOUR
    story.uploaded("support-bot/a.jsonl")
    story.run(11 * HOUR)

    at = story.world.deletes_refused
    assert 7 <= len(at) <= 10
    assert all(later - earlier >= HOUR / 2 for earlier, later in pairwise(at[3:]))
    assert story.world.effects["endpoint"] == only_service(story).endpoint_failures == 1
    assert told(story, "provisioning state")

    story.world.endpoint_end = "Succeeded"
    story.world.endpoints[only_service(story).endpoint]["asked_at"] += 99 * HOUR  # this one never is ready
    story.run(3 * HOUR)

    assert story.world.effects["endpoint"] == 2
    assert any(line.what == "live" for line in only_service(story).history)


@pytest.mark.parametrize("refused_for", [0, 6])
def test_a_deployment_that_hangs_is_given_up_and_deleted_and_the_old_one_keeps_the_traffic(story, refused_for):
    story.uploaded("support-bot/a.jsonl")
    story.run(HOUR)
    old = only_service(story).live
    story.world.deployment_end = "Creating"
    story.world.hanging_stays_until = story.world.now + refused_for * HOUR
    story.uploaded("support-bot/b.jsonl", SECOND)
    for _ in range(26):
        story.world.requests.append((only_service(story).endpoint, story.world.now))
        story.run(HOUR / 2)

    found = only_service(story)
    assert "still Creating" in found.candidates[-1].failure
    assert list(story.world.endpoints[found.endpoint]["deployments"]) == [old.name]
    assert story.world.endpoints[found.endpoint]["traffic"] == {old.name: 100}
    assert found.deployments == (old,)
    assert len(story.world.deletes_refused) <= 6 + refused_for  # a few in the first hour, then one in each


def test_a_look_that_could_not_see_the_world_does_not_begin_the_wait_anew(story):
    """Azure may be hard to reach for as long as something hangs; every third look fails here."""
    story.world.endpoint_end = "Creating"
    story.uploaded("support-bot/a.jsonl")
    story.run(HOUR)
    story.world.faults = dict.fromkeys(range(story.world.calls, story.world.calls + 5000, 10), "before")
    story.run(2.5 * HOUR)

    assert any(line.what == "endpoint_delete_asked" for line in only_service(story).history)
