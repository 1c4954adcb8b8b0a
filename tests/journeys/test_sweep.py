"""What carries our tag and is looked at by nobody is found: torn down where a record names it, told of and kept where none does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from shared import errors
from shared.domain import names, service
from shared.domain.record import Key, Kind
from shared.domain.service import Deployment
from shared.reconcile import timers
from tests.journeys import fakes
from tests.journeys.stories import Story

HOUR = timedelta(hours=1)
LIFE = 9 * HOUR
pytestmark = pytest.mark.light


def torn_down(tmp_path) -> tuple[Story, Any]:
    story = Story(tmp_path)
    story.uploaded("support-bot/a.jsonl")
    story.run(LIFE)
    (record,) = fakes.all_of(story.world, Kind.SERVICE)
    assert record.stage == service.Stage.TORN_DOWN
    assert story.world.active == set()
    return story, record


def land_late(story, name, tags, *, deployment=""):
    """Let a request for an endpoint arrive that was held up somewhere until now, and perhaps one for a deployment on it."""
    port = fakes.FakeEndpoints(story.world)
    port.create_endpoint(name, tags=tags)
    if deployment:
        (model, version) = next(iter(story.world.models))
        late = Deployment(name=deployment, tuning="", training="", model=model, model_version=version, sample="", asked_at=story.world.now)
        port.create_deployment(name, late, tags=tags)
        story.world.endpoints[name]["deployments"][deployment]["state"] = "Succeeded"
    story.world.endpoints[name]["state"] = "Succeeded"


@pytest.mark.parametrize("deployment", ["", "d1-01234567"])
def test_what_lands_after_a_tear_down_is_torn_down_too_and_its_name_rests(tmp_path, deployment):
    story, record = torn_down(tmp_path)
    land_late(story, record.endpoint, record.tags, deployment=deployment)
    story.run(HOUR / 2)

    assert story.world.endpoints == {}
    (again,) = fakes.all_of(story.world, Kind.SERVICE)
    assert again.stage == service.Stage.TORN_DOWN
    assert again.rest_until > record.rest_until
    assert story.world.active == set()


def of_no_record(story, record):
    return f"{record.endpoint}-x", {names.OWNER_TAG: fakes.OWNER, names.SERVICE_TAG: "ffffffffffff"}


def of_another_name(story, record):
    return f"{record.endpoint}-x", record.tags


def without_a_service(story, record):
    return "bot", {names.OWNER_TAG: fakes.OWNER}


def of_a_service_that_is_no_id(story, record):
    return "bot", {names.OWNER_TAG: fakes.OWNER, names.SERVICE_TAG: "../owner"}


def of_a_record_that_cannot_be_read(story, record):
    body, version = story.world.records[record.key]
    story.world.records[record.key] = (msgspec.json.encode({**msgspec.json.decode(body), "history": 7}), version)
    return record.endpoint, record.tags


@pytest.mark.parametrize(
    "orphan", [of_no_record, of_another_name, without_a_service, of_a_service_that_is_no_id, of_a_record_that_cannot_be_read]
)
def test_what_no_record_names_is_told_of_at_each_tick_and_never_touched(tmp_path, caplog, orphan):
    story, record = torn_down(tmp_path)
    name, tags = orphan(story, record)
    land_late(story, name, tags, deployment="d1-01234567")
    before = msgspec.json.encode(story.world.endpoints)
    caplog.clear()
    story.run(LIFE)

    assert msgspec.json.encode(story.world.endpoints) == before
    assert sum("action=orphan_found" in line.getMessage() and name in line.getMessage() for line in caplog.records) > 50


def test_an_endpoint_of_somebody_else_is_not_even_told_of(tmp_path, caplog):
    story, record = torn_down(tmp_path)
    land_late(story, record.endpoint, {**record.tags, names.OWNER_TAG: "another"})
    caplog.clear()
    story.run(HOUR)

    assert list(story.world.endpoints) == [record.endpoint]
    assert not any("action=orphan_found" in line.getMessage() or "left_behind" in line.getMessage() for line in caplog.records)


def test_a_workspace_that_cannot_be_looked_through_holds_up_no_record(tmp_path, monkeypatch):
    def refused(*_):
        raise errors.TryLater("Listing the endpoints: 403")

    monkeypatch.setattr(fakes.FakeEndpoints, "owned", refused)
    story = Story(tmp_path)
    story.uploaded("support-bot/a.jsonl", doors_ring=0)
    timers.look_again(story.loop, fakes.LIVES, who="look_again")

    assert [key.kind for key in story.world.records] == [Kind.TUNING]
    assert Key(kind=Kind.TUNING, id=fakes.all_of(story.world, Kind.TUNING)[0].id) in story.world.active
