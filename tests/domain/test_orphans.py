"""Endpoints that no record names: when one is known to be unused, and when it may be taken over to be deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import names, orphans, service
from shared.domain.orphans import Marks
from shared.domain.policy import Policy
from shared.domain.service import DeploymentView, EndpointView, Usage

pytestmark = pytest.mark.light

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DAY, TICK = timedelta(days=1), Policy().tick
POLICY = Policy(orphans_deleted_after=DAY)
QUIET = Usage(start=NOON - timedelta(hours=2), end=NOON, heartbeats=119, heartbeats_wanted=119, requests=0)
BLUE = DeploymentView(name="d1-a", state="Succeeded", owner="o")


def view(*deployments: DeploymentView, state: str = "Succeeded", traffic: dict[str, int] | None = None) -> EndpointView:
    return EndpointView(state=state, owner="o", service="s", scoring_uri="u", traffic=traffic or {}, deployments=deployments)


def blue(**fields: object) -> DeploymentView:
    return msgspec.structs.replace(BLUE, **fields)


@pytest.mark.parametrize(
    ("found", "usage", "unused"),
    [
        (view(), None, True),
        (view(state="Failed"), None, True),
        (view(BLUE), QUIET, True),
        (view(BLUE, traffic={"d1-a": 100}), QUIET, True),
        (view(blue(state="Failed")), None, True),
        (view(BLUE), None, False),
        (view(BLUE), msgspec.structs.replace(QUIET, heartbeats=118), False),
        (view(BLUE), msgspec.structs.replace(QUIET, requests=1), False),
        (view(blue(state="Failed"), traffic={"d1-a": 100}), None, False),
        (view(blue(state="Updating")), QUIET, False),
        (view(blue(state="Invented")), QUIET, False),
        (view(BLUE, state="Updating"), QUIET, False),
        (view(blue(owner=None)), QUIET, False),
        (view(blue(state="Failed", owner="another")), QUIET, False),
    ],
    ids=["empty", "failed", "nobody called", "nobody called, with traffic", "its deployment failed", "no metrics", "a heartbeat is missing",
         "somebody called", "failed with traffic", "is being changed", "unknown state", "the endpoint is being changed",
         "a deployment of somebody else", "a failed one of somebody else"],
)  # fmt: skip
def test_only_what_is_known_to_be_unused_is_unused(found: EndpointView, usage: Usage | None, unused: bool) -> None:
    assert orphans.is_unused(found, {"d1-a": usage}) is unused


def test_an_orphan_is_marked_first_and_taken_over_after_the_age_and_never_before() -> None:
    marks, now = Marks(), NOON
    while not orphans.ripe(marks, POLICY, now):
        marks, now = orphans.marked(marks, ["a"], POLICY, now), now + TICK

    assert now - NOON == DAY


def test_a_tick_that_did_not_see_it_unused_takes_the_mark_away() -> None:
    marks = Marks(unused_since={"a": NOON - 9 * DAY, "b": NOON - 9 * DAY}, looked_at=NOON - TICK)

    assert orphans.marked(marks, ["b", "c"], POLICY, NOON).unused_since == {"b": NOON - 9 * DAY, "c": NOON}


@pytest.mark.parametrize(("ticks", "kept"), [(1, True), (12, True), (13, False)])
def test_a_mark_that_was_not_looked_at_for_long_begins_anew(ticks: int, kept: bool) -> None:
    """The setting may have been off for a month, or the app."""
    marks = Marks(unused_since={"a": NOON - 40 * DAY}, looked_at=NOON - ticks * TICK)

    assert bool(orphans.ripe(orphans.marked(marks, ["a"], POLICY, NOON), POLICY, NOON)) is kept


@pytest.mark.parametrize(
    "policy",
    [Policy(), Policy(orphans_deleted_after=DAY, deletions_dry_run=True), Policy(orphans_deleted_after=DAY, paused=True),
     Policy(orphans_deleted_after=DAY, deletions_per_tick_max=0)],
    ids=["by default", "in a dry run", "while paused", "with no deletion in a tick"],
)  # fmt: skip
def test_nothing_is_taken_over(policy: Policy) -> None:
    assert orphans.ripe(Marks(unused_since={"a": NOON - 40 * DAY}), policy, NOON) == ()


@pytest.mark.parametrize("setting", [timedelta(seconds=1), timedelta(minutes=1)])
def test_an_age_below_a_tick_is_a_tick_so_that_none_goes_in_the_one_that_marked_it(setting: timedelta) -> None:
    policy = Policy(orphans_deleted_after=setting)
    marks = orphans.marked(Marks(), ["a"], policy, NOON)

    assert orphans.ripe(marks, policy, NOON + policy.tick - timedelta(seconds=1)) == ()
    assert orphans.ripe(marks, policy, NOON + policy.tick) == ("a",)


@given(st.dictionaries(st.text("abcd", min_size=1, max_size=2), st.integers(-99, 4000)), st.integers(1, 3000), st.integers(0, 3))
def test_few_are_taken_over_in_a_tick_the_oldest_first_and_none_that_is_younger_than_the_age(
    ages: dict[str, int], age: int, limit: int
) -> None:
    policy = Policy(orphans_deleted_after=timedelta(minutes=age), deletions_per_tick_max=limit)
    chosen = orphans.ripe(Marks(unused_since={name: NOON - timedelta(minutes=old) for name, old in ages.items()}), policy, NOON)

    assert len(chosen) <= limit
    assert all(ages[name] >= max(age, 5) for name in chosen)
    assert not chosen or min(ages[name] for name in chosen) >= max((old for name, old in ages.items() if name not in chosen), default=-99)


# ------------------------------------------------------------------------------------------- the record that it becomes

ORPHAN = service.orphaned("0123456789ab", names.endpoint("o", "support-bot"), owner="o", now=NOON)


def test_the_upload_that_comes_back_gives_the_record_its_text() -> None:
    named = service.named(ORPHAN, "support-bot")

    assert (named.text, named.endpoint) == ("support-bot", ORPHAN.endpoint)
    assert service.named(named, "another") is named


def test_an_endpoint_whose_tags_were_changed_is_let_go_of_when_its_service_is_known() -> None:
    named = service.named(msgspec.structs.replace(ORPHAN, deleting_endpoint=True, rest_until=NOON), "sales-bot")

    assert named.endpoint == names.endpoint("o", "sales-bot")
    assert not named.deleting_endpoint


def test_a_marks_document_of_an_older_version_reads_well() -> None:
    assert msgspec.convert({}, Marks) == Marks()
