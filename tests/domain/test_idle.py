"""When an endpoint is idle, when it is not, when nobody can tell; and how many may be put to sleep at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import fleet, service
from shared.domain.policy import Policy, Wait
from shared.domain.service import (
    Candidate,
    Deployment,
    DeploymentView,
    EndpointView,
    IdleClock,
    QuotaWait,
    Retire,
    Service,
    Stage,
    Usage,
    World,
    WriteIdleClock,
)

pytestmark = pytest.mark.light

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
POLICY = Policy(idle_after=120 * MINUTE, idle_grace=30 * MINUTE, metric_lag=5 * MINUTE, tick=5 * MINUTE)
END = NOON - POLICY.metric_lag
START = END - POLICY.idle_after
LIVE = Deployment(
    name="d1-aaaaaaaa", tuning="t1", training="a", model="m", model_version="1", sample="s", asked_at=NOON - timedelta(days=2),
    smoke_passed=True, live_at=NOON - timedelta(days=1),
)  # fmt: skip
CANDIDATE = Candidate(tuning="t2", uploaded_at=NOON, training="b", model="m", model_version="2", sample="s")
RECORD: Service = msgspec.structs.replace(
    service.opened("support-bot", owner="o", now=NOON), stage=Stage.LIVE, deployments=(LIVE,), served="t1", deployments_made=1
)
QUIET = Usage(start=START, end=END, heartbeats=119, heartbeats_wanted=119, requests=0)
UNMARKED = IdleClock()
MARKED = IdleClock(marked_at=NOON - 40 * MINUTE, seen_idle_at=NOON - MINUTE)


def usage(**fields: Any) -> Usage:
    return msgspec.structs.replace(QUIET, **fields)


def clock(
    seen: Usage | None, *, old: IdleClock = UNMARKED, live: Deployment = LIVE, own: tuple[datetime, ...] = (), now: datetime = NOON
) -> IdleClock:
    record = msgspec.structs.replace(RECORD, idle=old, own_requests=own)
    found, why = service.idle_clock(record, live, seen, POLICY, now)
    assert why
    return found


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    usage: Usage | None
    clock: IdleClock
    old: IdleClock = UNMARKED
    live: Deployment = LIVE
    own: tuple[datetime, ...] = ()
    now: datetime = NOON


def live_since(ago: timedelta) -> Deployment:
    return msgspec.structs.replace(LIVE, live_at=NOON - ago)


GOES = msgspec.structs.replace(MARKED, used_at=NOON - 180 * MINUTE, permit=(LIVE.name,))
IN_USE = IdleClock(used_at=NOON - 20 * MINUTE)
CASES = [
    Case(name="nobody called for the whole window: marked", usage=QUIET, clock=IdleClock(marked_at=NOON, seen_idle_at=NOON)),
    Case(name="seen idle again: the mark stays where it was", usage=QUIET, old=MARKED,
         clock=IdleClock(marked_at=MARKED.marked_at, seen_idle_at=NOON)),
    Case(name="seen idle again: a permit and the last use stay", usage=QUIET, old=GOES,
         clock=msgspec.structs.replace(GOES, seen_idle_at=NOON)),
    Case(name="somebody called", usage=usage(requests=1, last_request_at=NOON - 20 * MINUTE), clock=IN_USE),
    Case(name="somebody called after it was marked and permitted: all is forgotten",
         usage=usage(requests=1, last_request_at=NOON - 20 * MINUTE),
         old=msgspec.structs.replace(MARKED, permit=(LIVE.name,)), clock=IN_USE),
    Case(name="only we called", usage=usage(requests=2, last_request_at=NOON - 20 * MINUTE), own=(NOON - 20 * MINUTE, NOON - 21 * MINUTE),
         clock=IdleClock(marked_at=NOON, seen_idle_at=NOON)),
    Case(name="we called, and somebody else", usage=usage(requests=2, last_request_at=NOON - 20 * MINUTE), own=(NOON - 20 * MINUTE,),
         clock=IN_USE),
    Case(name="our call was before the window: the one inside is somebody's",
         usage=usage(requests=1, last_request_at=NOON - 20 * MINUTE), own=(START - 2 * MINUTE,), clock=IN_USE),
    Case(name="our call is after the window: the one inside is somebody's",
         usage=usage(requests=1, last_request_at=NOON - 20 * MINUTE), own=(END + 2 * MINUTE,), clock=IN_USE),
    *(Case(name=f"our call is within a minute of {edge}: nobody knows whose the one inside is, and nothing changes",
           usage=usage(requests=1, last_request_at=NOON - 20 * MINUTE), own=(at,), old=old, clock=old)
      for edge, at in (("the start", START - MINUTE), ("the start, inside", START + MINUTE / 2), ("the end", END),
                       ("the end, inside", END - MINUTE / 2))
      for old in (UNMARKED, MARKED, msgspec.structs.replace(MARKED, permit=(LIVE.name,)))),
    Case(name="our calls are near the edge, and one more is inside: somebody's",
         usage=usage(requests=3, last_request_at=NOON - 20 * MINUTE), own=(START, END), old=MARKED, clock=IN_USE),
    Case(name="our call is a minute inside", usage=usage(requests=1, last_request_at=NOON - 20 * MINUTE), own=(START + MINUTE,),
         clock=IdleClock(marked_at=NOON, seen_idle_at=NOON)),
    Case(name="a heartbeat is missing: unknown, never idle", usage=usage(heartbeats=118), clock=IdleClock(unknown_since=NOON)),
    Case(name="no heartbeat and no request: unknown", usage=usage(heartbeats=0), old=MARKED, clock=IdleClock(unknown_since=NOON)),
    Case(name="no heartbeat takes a permit back", usage=usage(heartbeats=0), old=msgspec.structs.replace(MARKED, permit=(LIVE.name,)),
         clock=IdleClock(unknown_since=NOON)),
    Case(name="metrics cannot be read: unknown", usage=None, old=MARKED, clock=IdleClock(unknown_since=NOON)),
    Case(name="still unknown: since when is kept", usage=None, old=IdleClock(unknown_since=NOON - 9 * MINUTE, used_at=NOON - 90 * MINUTE),
         clock=IdleClock(unknown_since=NOON - 9 * MINUTE, used_at=NOON - 90 * MINUTE)),
    Case(name="metrics are back: the grace begins anew", usage=QUIET, old=IdleClock(unknown_since=NOON - 9 * MINUTE),
         clock=IdleClock(marked_at=NOON, seen_idle_at=NOON)),
    Case(name="fresh: younger than the window", usage=QUIET, live=live_since(60 * MINUTE), clock=IdleClock()),
    Case(name="fresh: a mark and a permit are forgotten", usage=QUIET, live=live_since(60 * MINUTE), old=GOES,
         clock=IdleClock(used_at=GOES.used_at)),
    Case(name="fresh, and the metrics cannot be read: no alarm yet", usage=None, live=live_since(60 * MINUTE), clock=IdleClock()),
    Case(name="just as old as the window", usage=QUIET, live=live_since(125 * MINUTE), clock=IdleClock(marked_at=NOON, seen_idle_at=NOON)),
    Case(name="one minute younger than the window", usage=QUIET, live=live_since(124 * MINUTE), clock=IdleClock()),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_idle_clock(case: Case) -> None:
    assert clock(case.usage, old=case.old, live=case.live, own=case.own, now=case.now) == case.clock


@given(st.integers(0, 200), st.integers(0, 5), st.integers(0, 3), st.booleans())
def test_nothing_is_marked_idle_that_was_not_itself_observed_idle(heartbeats: int, requests: int, own: int, marked: bool) -> None:
    seen = usage(heartbeats=heartbeats, requests=requests, last_request_at=END if requests else None)
    found = clock(seen, old=MARKED if marked else IdleClock(), own=(START + MINUTE,) * own)

    if found.marked_at:
        assert heartbeats >= QUIET.heartbeats_wanted
        assert requests <= own


# --------------------------------------------------------------------------------------------------- putting it to sleep


def watched(old: IdleClock, seen: Usage | None, *, stage: Stage = Stage.IDLE, now: datetime = NOON, policy: Policy = POLICY) -> object:
    view = EndpointView(
        state="Succeeded", owner="o", service=RECORD.id, scoring_uri="u", traffic={LIVE.name: 100},
        deployments=(DeploymentView(name=LIVE.name, state="Succeeded", owner="o"),),
    )  # fmt: skip
    record = msgspec.structs.replace(RECORD, idle=old, stage=stage)
    return service.decide(record, World(endpoint=view, usage=seen), policy, now)


QUOTA = QuotaWait(tuning="t2", since=NOON - 90 * MINUTE, refusals=9, next_try_at=NOON + MINUTE, said="0/6")
PERMITTED = msgspec.structs.replace(MARKED, permit=(LIVE.name,))


def test_a_permit_and_one_more_idle_look_put_the_deployment_to_sleep() -> None:
    step = watched(PERMITTED, QUIET)

    assert isinstance(step, Retire)
    assert step.names == (LIVE.name,)


@pytest.mark.parametrize(
    "seen", [usage(requests=1, last_request_at=NOON - 9 * MINUTE), usage(heartbeats=3), None], ids=["called", "no heartbeat", "no metrics"]
)
def test_a_permit_alone_deletes_nothing(seen: Usage | None) -> None:
    step = watched(PERMITTED, seen)

    assert isinstance(step, WriteIdleClock)
    assert step.clock.permit == ()
    assert step.stage is Stage.LIVE


@pytest.mark.parametrize(
    ("setting", "step"), [({"deletions_dry_run": True}, WriteIdleClock), ({"paused": True}, Wait)], ids=["a dry run", "PAUSED"]
)
def test_a_permit_that_was_given_before_a_switch_was_turned_on_deletes_nothing(setting: dict[str, bool], step: type) -> None:
    assert isinstance(watched(PERMITTED, QUIET, policy=msgspec.structs.replace(POLICY, **setting)), step)


GONE_AT = NOON - POLICY.metric_lag - POLICY.metric_grain
EMPTY = msgspec.structs.replace(RECORD, deployments=(), served="t1", candidates=(), asleep_since=NOON - 2 * MINUTE, stage=Stage.TORN_DOWN)


@pytest.mark.parametrize(
    ("end", "now", "counted"), [(GONE_AT, NOON, True), (GONE_AT, NOON - MINUTE, False), (None, NOON, False)],
    ids=["its points are there", "they may still come", "it is not gone yet"],
)  # fmt: skip
def test_what_met_a_deletion_is_counted_when_its_points_must_be_there(end: datetime | None, now: datetime, counted: bool) -> None:
    gap = service.Gap(deployment=LIVE.name, start=NOON - 20 * MINUTE, end=end)
    step = service.decide(msgspec.structs.replace(EMPTY, gap=gap), World(), POLICY, now)

    assert isinstance(step, service.CountGap) is counted
    if end and not counted:
        assert isinstance(step, Wait)
        assert step.until == NOON


def test_without_a_permit_an_idle_service_is_marked_and_kept() -> None:
    step = watched(IdleClock(), QUIET, stage=Stage.LIVE)

    assert isinstance(step, WriteIdleClock)
    assert step.stage is Stage.IDLE
    assert "put to sleep from 12:30:00 UTC" in step.why


def test_a_permit_for_another_deployment_lets_nothing_of_this_one_go() -> None:
    step = watched(msgspec.structs.replace(MARKED, permit=("d9-ffffffff",)), QUIET)

    assert not isinstance(step, Retire) or LIVE.name not in step.names


def test_a_quiet_service_that_is_fresh_only_waits() -> None:
    fresh = msgspec.structs.replace(RECORD, deployments=(live_since(MINUTE),))
    view = EndpointView(state="Succeeded", owner="o", service=RECORD.id, scoring_uri="u", traffic={LIVE.name: 100},
                        deployments=(DeploymentView(name=LIVE.name, state="Succeeded", owner="o"),))  # fmt: skip

    assert isinstance(service.decide(fresh, World(endpoint=view, usage=QUIET), POLICY, NOON), Wait)


# ------------------------------------------------------------------------------------------------------------ the fleet


def idle(number: int, *, marked: timedelta = 40 * MINUTE, seen: timedelta = MINUTE, **fields: Any) -> Service:
    record = service.opened(f"service {number}", owner="o", now=NOON)
    marks = IdleClock(marked_at=NOON - marked, seen_idle_at=NOON - seen)
    return msgspec.structs.replace(record, **{"deployments": (LIVE,), "served": "t1", "idle": marks, **fields})


@pytest.mark.parametrize(
    ("record", "let_go"),
    [
        (idle(1), True),
        (idle(1, marked=31 * MINUTE), True),
        (idle(1, marked=30 * MINUTE, seen=timedelta(0)), True),
        (idle(1, marked=30 * MINUTE, seen=MINUTE), False),
        (idle(1, seen=10 * MINUTE), True),
        (idle(1, marked=60 * MINUTE, seen=11 * MINUTE), False),
        (idle(1, idle=IdleClock()), False),
        (idle(1, idle=IdleClock(marked_at=NOON - 40 * MINUTE)), False),
        (idle(1, idle=IdleClock(unknown_since=NOON - 40 * MINUTE)), False),
        (idle(1, idle=PERMITTED), False),
        (idle(1, candidates=(CANDIDATE,)), False),
        (idle(1, candidates=(CANDIDATE,), quota=QUOTA), True),
        (idle(1, candidates=(CANDIDATE,), quota=msgspec.structs.replace(QUOTA, next_try_at=NOON)), False),
        (idle(1, deployments=()), False),
        (idle(1, deployments=(msgspec.structs.replace(LIVE, retiring=True),)), False),
    ],
    ids=["marked long ago", "just over the grace", "grace over and looked at now", "not seen idle since the grace", "seen two ticks ago",
         "not looked at for long", "not marked", "marked, not seen", "unknown", "has its permit", "a candidate is on its way",
         "a candidate waits for quota", "and is asked for now", "asleep", "retiring already"],
)  # fmt: skip
def test_who_may_be_let_go(record: Service, let_go: bool) -> None:
    assert service.may_be_let_go(record, POLICY, NOON) is let_go


@pytest.mark.parametrize(
    ("idle_ones", "busy_ones", "limit", "permits"),
    [(0, 9, 2, 0), (1, 0, 2, 1), (4, 0, 2, 1), (5, 0, 2, 2), (9, 0, 2, 2), (9, 0, 9, 3), (1, 3, 2, 1), (3, 1, 9, 1), (4, 0, 0, 0)],
)
def test_a_tick_lets_go_few_however_many_look_idle(idle_ones: int, busy_ones: int, limit: int, permits: int) -> None:
    """At most the setting, at most a quarter of the live ones (rounded up): more at once looks like lost metrics."""
    services = [idle(n) for n in range(idle_ones)] + [idle(100 + n, idle=IdleClock()) for n in range(busy_ones)]
    policy = msgspec.structs.replace(POLICY, deletions_per_tick_max=limit)

    assert len(fleet.choose_deletions(services, policy, NOON)) == permits


def test_services_asleep_do_not_raise_the_limit() -> None:
    asleep = [idle(100 + n, deployments=()) for n in range(40)]

    assert len(fleet.choose_deletions([idle(1), idle(2), *asleep], msgspec.structs.replace(POLICY, deletions_per_tick_max=9), NOON)) == 1


def test_who_is_idle_longest_goes_first_in_whatever_order_the_ledger_lists_them() -> None:
    services = [idle(1, marked=40 * MINUTE), idle(2, marked=90 * MINUTE), idle(3, marked=50 * MINUTE)]

    for order in (services, services[::-1]):
        (permit,) = fleet.choose_deletions(order, POLICY, NOON)
        assert permit.service == services[1].id


def test_a_permit_names_what_is_live_and_nothing_else() -> None:
    retiring = msgspec.structs.replace(LIVE, name="d0-old", live_at=None, retiring=True)
    (permit,) = fleet.choose_deletions([idle(1, deployments=(retiring, LIVE))], POLICY, NOON)

    assert permit.deployments == (LIVE.name,)


def test_a_dry_run_lets_nobody_go() -> None:
    assert fleet.choose_deletions([idle(1)], msgspec.structs.replace(POLICY, deletions_dry_run=True), NOON) == ()


def test_an_empty_fleet_needs_no_permit() -> None:
    assert fleet.choose_deletions([], POLICY, NOON) == ()
