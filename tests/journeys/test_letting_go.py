"""A service is let go on what its record says at that moment, not on what it said when the timer read the fleet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from shared import errors
from shared.domain import service
from shared.domain.fleet import Permit
from shared.domain.record import Kind
from shared.reconcile import timers
from tests.journeys import fakes
from tests.journeys.stories import Story, only

pytestmark = pytest.mark.light

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SHOP = service.opened("shop", owner="somebody", now=NOON)
HOUR = timedelta(hours=1)
PERMIT = Permit(service=SHOP.id, deployments=("d1-84905ec0",))


def test_a_service_that_was_used_since_the_fleet_was_read_is_not_let_go() -> None:
    used = msgspec.structs.replace(SHOP, idle=service.IdleClock(used_at=NOON))

    assert timers._permitted(used, PERMIT) == used


def test_a_service_that_is_still_idle_is_let_go_and_its_clock_goes_on() -> None:
    idle = msgspec.structs.replace(SHOP, idle=service.IdleClock(marked_at=NOON, seen_idle_at=NOON))

    assert timers._permitted(idle, PERMIT).idle == service.IdleClock(marked_at=NOON, seen_idle_at=NOON, permit=PERMIT.deployments)


def with_a_way_back(tmp_path) -> Story:
    """Two uploads were served one after the other; the deployment of the first is kept."""
    story = Story(tmp_path)
    story.uploaded("support-bot/a.jsonl")
    story.run(HOUR)
    story.uploaded("support-bot/b.jsonl", fakes.ROWS.replace(b"hall", b"dock"))
    story.run(HOUR)
    return story


def test_a_deletion_that_azure_refuses_costs_no_new_model_its_turn(tmp_path, monkeypatch) -> None:
    story = with_a_way_back(tmp_path)
    assert len(only(story, Kind.SERVICE).deployments) == 2

    def refuse(endpoint: str, name: str) -> None:
        raise errors.Stop(f"{name} has traffic.", next_action="Look at it in Azure ML studio.")

    with monkeypatch.context() as patch:
        patch.setattr(story.loop.ports.endpoints, "delete_deployment", refuse)
        newest = story.uploaded("support-bot/c.jsonl", fakes.ROWS.replace(b"hall", b"yard"))
        story.run(HOUR)
    told = [change for change in story.world.changes if change.what == "delete_refused"]
    assert len(told) == 1
    assert told[0].next_action == "Look at it in Azure ML studio."

    story.run(HOUR)

    assert only(story, Kind.SERVICE).served == newest
    assert [c.failure for c in only(story, Kind.SERVICE).candidates] == ["", "", ""]


def test_traffic_that_azure_refuses_to_move_costs_no_new_model_its_turn(tmp_path, monkeypatch) -> None:
    """Somebody gave the deployment that is to go its traffic back, and locked the endpoint."""
    story = with_a_way_back(tmp_path)
    before, live = only(story, Kind.SERVICE).deployments
    endpoint = story.world.endpoints[only(story, Kind.SERVICE).endpoint]
    endpoint["traffic"] = {before.name: 10, live.name: 90}

    def refuse(*_: object, **__: object) -> None:
        raise errors.Stop("The endpoint is locked.", next_action="Take the lock away.")

    with monkeypatch.context() as patch:
        patch.setattr(story.loop.ports.endpoints, "set_traffic", refuse)
        newest = story.uploaded("support-bot/c.jsonl", fakes.ROWS.replace(b"hall", b"yard"))
        story.run(HOUR)
    told = [change for change in story.world.changes if change.what == "traffic_refused"]
    assert [(one.why, one.next_action) for one in told] == [
        ("Azure refused to set the traffic: The endpoint is locked.", "Take the lock away.")
    ]

    story.run(HOUR)

    assert only(story, Kind.SERVICE).served == newest
    assert [c.failure for c in only(story, Kind.SERVICE).candidates] == ["", "", ""]


def test_an_endpoint_that_failed_and_may_not_be_deleted_costs_the_new_model_only_time(tmp_path, monkeypatch) -> None:
    story = Story(tmp_path)

    def refuse(_: str) -> None:
        raise errors.Stop("The resource is locked.", next_action="Take the lock away.")

    with monkeypatch.context() as patch:
        patch.setattr(story.loop.ports.endpoints, "delete_endpoint", refuse)
        story.world.endpoint_end = "Failed"
        newest = story.uploaded("support-bot/a.jsonl")
        story.run(HOUR)
    told = [change for change in story.world.changes if change.what == "delete_refused"]
    assert [(one.why, one.next_action) for one in told] == [
        ("Azure refused to delete the endpoint: The resource is locked.", "Take the lock away.")
    ]

    story.world.endpoint_end = "Succeeded"
    story.run(HOUR)

    assert only(story, Kind.SERVICE).served == newest
