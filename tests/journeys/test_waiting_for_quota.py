"""
A model that Azure has no quota or no machine for: it waits and says so, takes what comes free, and is given up after a deadline.

While it waits nothing is billed for it, nothing else is deleted for it, and what is live goes on serving and being watched.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from azure.core.exceptions import HttpResponseError

from localcloud import faults
from shared import errors
from shared.cloud.answers import translated
from shared.domain import service
from shared.domain.record import Kind
from tests.journeys import fakes
from tests.journeys.stories import Story, only

HOUR = timedelta(hours=1)
DEADLINE = fakes.POLICY.quota_deadline
SECOND = fakes.ROWS.replace(b"hall", b"dock")
pytestmark = pytest.mark.light


@pytest.fixture
def story(tmp_path):
    return Story(tmp_path)


def only_service(story: Story) -> Any:
    return only(story, Kind.SERVICE)


def said(story: Story, what: str) -> list[Any]:
    return [change for change in story.world.changes if change.what == what]


def keeps_in_use(story: Story, duration: timedelta) -> None:
    """Let time pass in which somebody asks every half hour."""
    name = only_service(story).endpoint
    for _ in range(int(duration / (HOUR / 2))):
        story.world.requests.append((name, story.world.now))
        story.run(HOUR / 2)


@pytest.mark.parametrize("what", ["endpoint", "deployment"])
def test_a_first_model_without_quota_waits_bills_nothing_and_is_served_when_quota_comes(story, what):
    story.world.no_quota_for = what
    story.uploaded("support-bot/a.jsonl")
    story.run(20 * HOUR)

    waiting = only_service(story)
    assert waiting.stage == service.Stage.WAITING_FOR_QUOTA
    assert waiting.next_action
    assert story.world.effects["deployment"] == 0
    assert all(not endpoint["deployments"] for endpoint in story.world.endpoints.values())

    story.world.no_quota_for = None
    story.run(1.4 * HOUR)

    assert only_service(story).stage == service.Stage.LIVE
    assert only_service(story).quota is None
    assert story.world.effects["job"] == 1


def test_people_are_told_once_that_quota_is_missing_and_what_they_can_do(story):
    story.world.no_quota_for = "deployment"
    story.uploaded("support-bot/a.jsonl")
    story.run(20 * HOUR)

    (told,) = said(story, "waits_for_quota")
    assert "not enough quota, 0 of 24 cores" in told.why
    assert "Ask for quota" in told.next_action
    assert len(story.world.quota_refusals) > 10
    assert len(only_service(story).history) < 10


def test_it_is_asked_for_ever_more_seldom_but_every_hour(story):
    story.world.no_quota_for = "deployment"
    story.uploaded("support-bot/a.jsonl")
    story.run(20 * HOUR)

    at = story.world.quota_refusals
    waits = [later - earlier for earlier, later in pairwise(at)]
    assert waits[0] == fakes.POLICY.look_every
    assert waits == sorted(waits)
    assert max(waits) <= HOUR + timedelta(seconds=1)


def test_after_the_deadline_it_ends_with_azures_words_and_a_next_action_and_nothing_is_left(story):
    story.world.no_quota_for = "deployment"
    story.uploaded("support-bot/a.jsonl")
    story.run(DEADLINE + 4 * HOUR)

    ended = only_service(story)
    assert "not enough quota" in ended.candidates[0].failure
    assert "within 3 days" in ended.candidates[0].failure
    assert said(story, "candidate_given_up")[0].next_action == "Ask for quota."
    assert story.world.quota_refusals[-1] - story.world.quota_refusals[0] == DEADLINE
    assert ended.stage == service.Stage.TORN_DOWN
    assert story.world.endpoints == {}
    assert story.world.active == set()


def test_uploaded_again_after_the_deadline_the_same_file_is_served_without_a_second_job(story):
    story.world.no_quota_for = "deployment"
    story.uploaded("support-bot/a.jsonl")
    story.run(DEADLINE + 4 * HOUR)
    story.world.no_quota_for = None
    story.uploaded("support-bot/a.jsonl")
    story.run(HOUR)

    assert only_service(story).live
    assert story.world.effects["job"] == 1


def test_with_no_deadline_at_all_it_is_given_up_at_once(story):
    story.loop = replace(story.loop, policy=msgspec.structs.replace(fakes.POLICY, quota_deadline=timedelta(0)))
    story.world.no_quota_for = "deployment"
    story.uploaded("support-bot/a.jsonl")
    story.run(HOUR)

    assert len(story.world.quota_refusals) == 1
    assert "not enough quota" in only_service(story).candidates[0].failure


def test_while_the_new_model_waits_the_old_one_serves(story):
    story.uploaded("support-bot/a.jsonl")
    story.run(HOUR)
    old = only_service(story).live
    story.world.no_quota_for = "deployment"
    story.uploaded("support-bot/b.jsonl", SECOND)
    keeps_in_use(story, 20 * HOUR)

    waiting = only_service(story)
    assert waiting.stage == service.Stage.WAITING_FOR_QUOTA
    assert story.world.endpoints[waiting.endpoint]["traffic"] == {old.name: 100}
    assert story.world.effects["deployment_deleted"] == 0

    story.world.no_quota_for = None
    keeps_in_use(story, 2 * HOUR)

    served = only_service(story)
    assert served.live.tuning == served.candidates[-1].tuning
    assert list(story.world.endpoints[served.endpoint]["deployments"]) == [served.live.name]


def test_while_the_new_model_waits_an_unused_old_one_is_put_to_sleep_and_its_quota_is_tried_at_once(story):
    """Otherwise an old deployment that nobody asks would be billed until the deadline, in the way of the new one."""
    story.uploaded("support-bot/a.jsonl")
    story.run(HOUR)
    story.world.no_quota_for = "deployment"
    story.uploaded("support-bot/b.jsonl", SECOND)
    story.run(2.5 * HOUR)

    asleep = only_service(story)
    assert asleep.deployments == tuple(d for d in asleep.deployments if d.tuning == asleep.candidates[-1].tuning)
    assert asleep.stage == service.Stage.WAITING_FOR_QUOTA
    (gone,) = [line.at for line in asleep.history if line.what == "deployment_gone"]
    assert any(gone <= at <= gone + timedelta(minutes=1) for at in story.world.quota_refusals)


def test_a_later_upload_takes_the_place_of_one_that_waits(story):
    story.world.no_quota_for = "deployment"
    story.uploaded("support-bot/a.jsonl")
    story.run(5 * HOUR)
    story.world.no_quota_for = None
    story.uploaded("support-bot/b.jsonl", SECOND)
    story.run(1.5 * HOUR)

    served = only_service(story)
    assert served.live
    assert story.world.effects["deployment"] == 1 or served.live.tuning == served.candidates[-1].tuning


def test_one_fault_anywhere_while_it_waits_changes_nothing_about_the_end(tmp_path):
    """Every seventh call, each with another fault; the simulation draws the others."""

    def lived(faults):
        story = Story(tmp_path)
        story.world.faults = faults
        story.world.no_quota_for = "deployment"
        story.uploaded("support-bot/a.jsonl")
        story.run(HOUR)
        story.world.no_quota_for = None
        story.run(9 * HOUR)
        return story

    told = lived({}).world.calls
    first, last = int(told * 0.25), int(told * 0.5)  # around the refusals and what is accepted after them
    for number in range(first, last, 7):
        story = lived({number: ("before", "after", "kill_before", "kill_after")[number % 4]})
        assert only_service(story).stage == service.Stage.TORN_DOWN, number
        assert any(line.what == "live" for line in only_service(story).history), number
        assert story.world.effects["deployment"] == story.world.effects["deployment_deleted"] == 1, number


# ------------------------------------------------------------------------------------------------------ what Azure says

A_BODY = "(BadRequest) The request is invalid. (InferencingClientCreateDeploymentFailed) error detail: {}"
NO_QUOTA = [
    A_BODY.format('{"errors":{"VmSize":["' + faults.QUOTA + '"]}}'),
    str(faults.KINDS["endpoint_quota"].parameters["message"]),
    faults.CAPACITY,
    "(OutOfQuota) Not enough memory quota",
    "OutOfCapacity",
]
SOMETHING_ELSE = [
    "A deployment: sku.capacity is missing and required.",
    "The instance count must be from 1 to 50.",
    "Quota name is unknown.",
    "No such size: Standard_NC999.",
]


def meaning(text: str, status: int) -> errors.TuneloopError:
    refused = HttpResponseError(message=text)
    refused.status_code = status
    with pytest.raises(errors.TuneloopError) as caught, translated("Creating deployment d1"):
        raise refused
    return caught.value


@pytest.mark.parametrize("text", NO_QUOTA)
def test_the_words_that_azure_is_known_to_use_for_quota_are_waited_for(text):
    assert isinstance(meaning(text, 400), errors.NoQuota)


@pytest.mark.parametrize("text", SOMETHING_ELSE)
def test_what_only_sounds_like_quota_or_is_something_else_is_not_waited_for(text):
    found = meaning(text, 400)

    assert isinstance(found, errors.Stop)
    assert not isinstance(found, errors.NoQuota)
    assert found.next_action


def test_a_throttled_request_about_quota_is_only_throttled():
    assert isinstance(meaning("Quota reached, slow down.", 429), errors.TryLater)
