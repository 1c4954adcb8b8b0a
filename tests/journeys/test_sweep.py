"""What carries our tag and is looked at by nobody is found: torn down where a record names it, told of and kept where none does."""

from __future__ import annotations

import json
from dataclasses import replace
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


# ------------------------------------------------------------------------------------------- with the setting: taken over

AGE = timedelta(hours=3)
TEXT = "support-bot"
NAME = names.endpoint(fakes.OWNER, TEXT)
TAGS = {names.OWNER_TAG: fakes.OWNER, names.SERVICE_TAG: names.service_id(fakes.OWNER, TEXT)}


def with_an_orphan(tmp_path, *, name=NAME, tags=None, **policy) -> Story:
    """A story whose ledger lost the record of a service that goes on serving, under the setting that deletes such endpoints."""
    story = Story(tmp_path)
    limits = msgspec.structs.replace(fakes.POLICY, **{"orphans_deleted_after": AGE, **policy})
    story.loop = replace(story.loop, policy=limits)
    story.world.models["m", "1"] = "ft-lost-a1"
    land_late(story, name, tags or TAGS, deployment="d7-01234567")
    story.world.endpoints[name]["traffic"] = {"d7-01234567": 100}
    return story


def test_by_the_setting_an_unused_orphan_is_marked_taken_over_after_its_age_and_torn_down_and_its_name_rests(tmp_path):
    story = with_an_orphan(tmp_path)
    story.run(AGE - timedelta(minutes=10))
    assert list(story.world.endpoints[NAME]["deployments"]) == ["d7-01234567"]

    story.run(timedelta(minutes=30))
    assert story.world.endpoints[NAME]["deployments"] == {}

    story.run(LIFE)
    (record,) = fakes.all_of(story.world, Kind.SERVICE)
    assert story.world.endpoints == {}
    assert record.stage == service.Stage.TORN_DOWN
    assert record.rest_until is not None
    assert any("No record named" in change.why for change in story.world.changes)
    assert story.world.active == set()


def used(story):
    story.world.requests.append((NAME, story.world.now))


def metrics_are_out(story):
    story.world.metrics_out = True


def somebody_elses_deployment(story):
    story.world.endpoints[NAME]["deployments"]["theirs"] = {"state": "Succeeded", "asked_at": story.world.now, "tags": {}}


def a_record_that_names_it(story):
    record = msgspec.structs.replace(service.opened("sales-bot", owner=fakes.OWNER, now=story.world.now), endpoint=NAME)
    story.world.records[record.key] = (msgspec.json.encode(record), 1)


def a_record_that_cannot_be_read(story):
    story.world.records[Key(kind=Kind.SERVICE, id="0" * 12)] = (b'{"history": 7}', 1)


def paused(story):
    story.loop = replace(story.loop, paused=lambda: True)


@pytest.mark.parametrize(
    "why", [used, metrics_are_out, somebody_elses_deployment, a_record_that_names_it, a_record_that_cannot_be_read, paused]
)
def test_an_orphan_is_kept_while_it_is_not_known_to_be_unused_and_nobodys(tmp_path, why):
    story = with_an_orphan(tmp_path)
    for _ in range(18):
        why(story)
        story.run(HOUR / 2)

    assert "d7-01234567" in story.world.endpoints[NAME]["deployments"]
    assert story.world.effects["deployment_deleted"] == 0


@pytest.mark.parametrize("policy", [{"deletions_dry_run": True}, {"deletions_per_tick_max": 0}, {"orphans_deleted_after": timedelta(0)}])
def test_an_orphan_is_kept_in_a_dry_run_without_deletions_and_without_the_setting(tmp_path, policy):
    story = with_an_orphan(tmp_path, **policy)
    story.run(LIFE)

    assert "d7-01234567" in story.world.endpoints[NAME]["deployments"]


@pytest.mark.parametrize(
    "tags", [{names.OWNER_TAG: fakes.OWNER}, {**TAGS, names.OWNER_TAG: "another"}, {**TAGS, names.SERVICE_TAG: "x/../y"}]
)
def test_without_both_of_our_tags_it_is_no_orphan_of_ours(tmp_path, tags):
    story = with_an_orphan(tmp_path, tags=tags)
    story.run(LIFE)

    assert "d7-01234567" in story.world.endpoints[NAME]["deployments"]


def served(story) -> bool:
    (record,) = fakes.all_of(story.world, Kind.SERVICE)
    endpoint = story.world.endpoints.get(record.endpoint, {"traffic": {}})
    return record.live is not None and endpoint["traffic"] == {record.live.name: 100}


def keep_in_use(story, duration):
    for _ in range(int(duration / (HOUR / 2))):
        story.world.requests.append((NAME, story.world.now))
        story.run(HOUR / 2)


def test_wherever_the_sweep_stalls_an_upload_that_comes_back_meanwhile_serves_on(tmp_path):
    """
    Goal: an old orphan that a new upload makes its own while a sweep is on its way to it is not hit by that sweep.

    Method: the tick that takes over is run once to count its calls; then again for each of them, with the whole way from a new upload to
    its service happening before just that call's effect.
    """

    def swept(stalled_at):
        story = with_an_orphan(tmp_path)
        story.run(AGE + timedelta(minutes=4))  # the first tick marked it after five
        world: Any = story.world
        called = world.called
        first = world.calls

        def slow(effect):
            if stalled_at is not None and world.calls == first + stalled_at:
                world.called = called
                story.timers_on = False
                story.uploaded(f"{TEXT}/a.jsonl")
                story.run(HOUR)
                story.timers_on = True
            return called(effect)

        world.called = slow
        world.now += timedelta(minutes=1)
        timers.sweep(story.loop, who="look_again")
        world.called = called
        return story, world.calls - first

    _, calls = swept(None)
    assert calls >= 10
    for number in range(calls):
        story, _ = swept(number)
        keep_in_use(story, 3 * HOUR)
        assert served(story), f"with the sweep stalled at its call {number}"
        assert list(story.world.endpoints[NAME]["deployments"]) == [fakes.all_of(story.world, Kind.SERVICE)[0].live.name]


@pytest.mark.parametrize("late", [timedelta(minutes=m) for m in (1, 5, 11)])
def test_a_delete_of_an_orphan_that_was_held_up_does_not_hit_the_service_that_came_back(tmp_path, monkeypatch, late):
    """The worker sends the delete and is gone; it lands as late as a function may run, while an upload wants the endpoint again."""
    story = Story(tmp_path)
    story.loop = replace(story.loop, policy=msgspec.structs.replace(fakes.POLICY, orphans_deleted_after=AGE))
    story.uploaded(f"{TEXT}/a.jsonl")  # it is trained, so that its model is there at once when it comes back
    story.run(HOUR)
    (lost,) = [key for key in story.world.records if key.kind is Kind.SERVICE]
    del story.world.records[lost]
    story.world.active.discard(lost)
    delete = fakes.FakeEndpoints.delete_endpoint
    held: list[Any] = []

    def hold(self, name):
        if held:
            return delete(self, name)
        held.append(story.world.now)
        raise fakes.Killed

    monkeypatch.setattr(fakes.FakeEndpoints, "delete_endpoint", hold)
    while not held:
        story.run(timedelta(minutes=1))
    story.uploaded(f"{TEXT}/b.jsonl")
    story.run(late)
    hit = story.world.endpoints.get(NAME)
    assert hit is None or hit["asked_at"] <= held[0], "a newer endpoint of that name is hit"
    delete(fakes.FakeEndpoints(story.world), NAME)
    story.run(HOUR)
    keep_in_use(story, HOUR)

    assert served(story)
    body = json.loads(story.world.records[Key(kind=Kind.SERVICE, id=TAGS[names.SERVICE_TAG])][0])
    assert body["text"] == TEXT
