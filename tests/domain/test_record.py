"""What every record promises: its header's shape, its attempts, its history, and when it may be looked at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import record as records
from shared.domain.policy import Policy
from shared.domain.record import Header, Key, Kind

pytestmark = pytest.mark.light

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TICK, LEASE = 5 * MINUTE, 11 * MINUTE
RECORD = Header(kind=Kind.TRAINING, id="0123456789ab", owner="o", stage="open", created_at=NOON)


def but(**fields: object) -> Header:
    return msgspec.structs.replace(RECORD, **fields)


# ---------------------------------------------------------------------------------------------------------------- shape


def test_the_header_has_the_shape_that_every_version_of_the_app_can_tear_down() -> None:
    """Fields may be added at the end, never renamed, removed or retyped: an older app must still read a newer record."""
    assert list(msgspec.to_builtins(RECORD)) == [
        "schema", "kind", "id", "owner", "stage", "created_at", "next_look_at", "waits_for", "attempt_of", "attempts", "attempt_began_at",
        "reason", "next_action", "history", "waited_for", "waited_since",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("record", "waited"),
    [(RECORD, 0), (but(waited_for="Endpoint e is Creating.", waited_since=NOON), 9), (but(waited_for="another", waited_since=NOON), 0)],
    ids=["an older record", "for just that", "for something else"],
)
def test_how_long_a_record_has_waited_for_one_thing(record: Header, waited: int) -> None:
    assert record.has_waited("Endpoint e is Creating.", NOON + 9 * MINUTE) == waited * MINUTE


def test_a_record_of_a_newer_version_is_read_with_its_unknown_fields_left_alone() -> None:
    newer = {**msgspec.to_builtins(RECORD), "schema": 2, "invented_later": {"x": 1}}

    assert msgspec.convert(newer, Header).id == RECORD.id


def test_a_record_of_the_first_version_is_read_without_the_fields_that_came_later() -> None:
    first = {"kind": "training", "id": "0123456789ab", "owner": "o", "stage": "open", "created_at": "2026-11-24T12:00:00Z"}

    assert msgspec.convert(first, Header) == RECORD


def test_a_record_cannot_be_changed_in_place() -> None:
    with pytest.raises(AttributeError):
        RECORD.stage = "good"  # type: ignore[misc]


@pytest.mark.parametrize("kind", list(Kind))
def test_a_key_is_the_path_of_its_record(kind: Kind) -> None:
    assert str(Key(kind=kind, id="0123456789ab")) == f"{kind.value}/0123456789ab"


# ------------------------------------------------------------------------------------------------- history and attempts


def test_the_newest_lines_of_a_long_history_are_kept() -> None:
    record = RECORD
    for number in range(records.HISTORY_LENGTH_MAX + 3):
        record = records.noted(record, at=NOON, who="timer", what=str(number))

    assert len(record.history) == records.HISTORY_LENGTH_MAX
    assert (record.history[0].what, record.history[-1].what) == ("3", str(records.HISTORY_LENGTH_MAX + 2))


def test_a_reason_from_azure_is_cut_before_it_is_kept() -> None:
    record = records.noted(RECORD, at=NOON, who="turn", what="failed", why="x" * 10_000)

    assert len(record.history[0].why) == records.REASON_LENGTH_MAX


def test_attempts_are_counted_for_one_step_and_begin_anew_with_the_next() -> None:
    once = records.attempted(RECORD, "Submit", now=NOON)
    twice = records.attempted(once, "Submit", now=NOON + MINUTE)
    other = records.attempted(twice, "Register", now=NOON + 2 * MINUTE)

    assert [r.attempts for r in (once, twice, other)] == [1, 2, 1]
    assert twice.attempt_began_at == NOON + MINUTE
    assert records.settled(other) == RECORD


@pytest.mark.parametrize(("attempts", "minutes"), [(0, 1), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (50, 60), (10**6, 60)])
def test_the_wait_after_a_failure_doubles_up_to_an_hour(attempts: int, minutes: int) -> None:
    assert Policy(look_every=MINUTE).back_off(attempts) == minutes * MINUTE


def test_an_installation_that_looks_rarer_than_hourly_never_looks_more_often_after_a_failure() -> None:
    assert Policy(look_every=2 * timedelta(hours=1)).back_off(1) == timedelta(hours=2)


# ------------------------------------------------------------------------------------------------------------- promises


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    look_in: timedelta | None = None  # from now; None: nothing is promised
    began: timedelta | None = None  # how long ago an attempt began; None: nobody is at work
    at_work: bool = False
    forward: bool = False
    overdue: bool = False

    @property
    def record(self) -> Header:
        return but(
            next_look_at=None if self.look_in is None else NOON + self.look_in,
            attempt_began_at=None if self.began is None else NOON - self.began,
        )


CASES = [
    Case(name="nothing promised, a marker was left behind", forward=True, overdue=True),
    Case(name="promised for later", look_in=MINUTE, forward=True),
    Case(name="promised far ahead", look_in=timedelta(hours=1), forward=True),
    Case(name="due now, its message is on the way", look_in=timedelta(0)),
    Case(name="due a tick ago, not yet late", look_in=-TICK),
    Case(name="due more than a tick ago, so its message is lost", look_in=-TICK - timedelta(seconds=1), overdue=True),
    Case(name="somebody is at work", look_in=-MINUTE, began=MINUTE, at_work=True),
    Case(name="somebody works long, which is allowed", look_in=-10 * MINUTE, began=LEASE - timedelta(seconds=1), at_work=True),
    Case(name="the worker died", look_in=-12 * MINUTE, began=LEASE, overdue=True),
    Case(name="the worker died, the promise is for later", look_in=MINUTE, began=LEASE, forward=True),
    Case(name="promised by a clock that was a day ahead", look_in=timedelta(days=1), forward=True, overdue=True),
    Case(name="at work by a clock that was a day ahead", look_in=-12 * MINUTE, began=-timedelta(days=1), overdue=True),
    Case(name="at work by a clock that is a little ahead", look_in=-12 * MINUTE, began=-MINUTE, at_work=True),
    Case(name="at work on a record without a promise", began=MINUTE, at_work=True),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_who_may_look_at_a_record_follows_from_its_promise_and_its_worker(case: Case) -> None:
    found = (
        records.at_work(case.record, lease=LEASE, now=NOON),
        records.may_be_brought_forward(case.record, lease=LEASE, now=NOON),
        records.is_overdue(case.record, tick=TICK, lease=LEASE, now=NOON),
    )

    assert found == (case.at_work, case.forward, case.overdue)


SECONDS = st.none() | st.integers(-3600, 3600).map(lambda seconds: timedelta(seconds=seconds))


@given(SECONDS, SECONDS)
def test_a_record_is_never_taken_up_while_somebody_may_be_at_work_on_it(look_in: timedelta | None, began: timedelta | None) -> None:
    case = Case(name="", look_in=look_in, began=began)
    busy = records.at_work(case.record, lease=LEASE, now=NOON)

    assert not (busy and records.may_be_brought_forward(case.record, lease=LEASE, now=NOON))
    assert not (busy and records.is_overdue(case.record, tick=TICK, lease=LEASE, now=NOON))


@given(SECONDS, SECONDS)
def test_no_record_is_forgotten_longer_than_a_lease_and_a_tick(look_in: timedelta | None, began: timedelta | None) -> None:
    """Whatever was promised and whoever died: long after both, the timer takes the record up."""
    record = Case(name="", look_in=look_in, began=began).record
    long_after = NOON + timedelta(hours=1) + max(LEASE, TICK) + timedelta(hours=1)

    assert records.is_overdue(record, tick=TICK, lease=LEASE, now=long_after)
