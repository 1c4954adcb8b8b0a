"""A timer by a clock that the test moves: past due after a downtime, retried by its policy, kept or not kept."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from localcloud.functions import timers
from localcloud.functions.worker import FIRST, Attempt, Function, Outcome, Retry, Value

pytestmark = pytest.mark.light
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
FIXED = Retry(strategy="fixed_delay", max_retry_count=2, first_delay_s=10, last_delay_s=10)
GROWING = Retry(strategy="exponential_backoff", max_retry_count=-1, first_delay_s=1, last_delay_s=5)


class Table:
    """What runs when a timer fires: each run takes the next outcome, the last one for ever."""

    def __init__(self, *errors: str | None) -> None:
        self.errors = list(errors)
        self.runs: list[tuple[dict[str, Any], Attempt]] = []

    def __call__(self, name: str, data: Value, metadata: Mapping[str, Value] | None = None, attempt: Attempt = FIRST) -> Outcome:
        self.runs.append((json.loads(data.value), attempt))
        return Outcome(error=self.errors.pop(0) if len(self.errors) > 1 else self.errors[0])


def timer(
    folder: Path, table: Table, pauses: list[float], retry: Retry | None = None, stop_after: int = 99, **trigger: Any
) -> timers.Timer:
    function = Function(name="tick", trigger={"type": "timerTrigger", "name": "timer", "schedule": "0 0 * * * *", **trigger}, retry=retry)

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) >= stop_after

    return timers.Timer(function, table, folder, clock=lambda: NOON, pause=pause)  # type: ignore[arg-type] # only called


def test_a_failed_timer_without_a_policy_is_not_repeated(tmp_path: Path) -> None:
    table, pauses = Table("no"), list[float]()
    made = timer(tmp_path, table, pauses)

    made.fire(made.status(), past_due=False)

    assert (len(table.runs), pauses) == (1, [])


def test_a_fixed_delay_is_kept_until_the_policy_is_used_up(tmp_path: Path) -> None:
    table, pauses = Table("first", "second", "third"), list[float]()
    made = timer(tmp_path, table, pauses, FIXED)

    made.fire(made.status(), past_due=False)

    assert pauses == [10, 10]
    assert [attempt for _, attempt in table.runs] == [
        FIRST,
        Attempt(retry_count=1, max_retry_count=2, error="first"),
        Attempt(retry_count=2, max_retry_count=2, error="second"),
    ]


def test_a_success_ends_the_retries(tmp_path: Path) -> None:
    table, pauses = Table("no", None), list[float]()
    made = timer(tmp_path, table, pauses, FIXED)

    made.fire(made.status(), past_due=False)

    assert (len(table.runs), pauses) == (2, [10])


def test_an_endless_policy_waits_longer_each_time_and_ends_with_the_host(tmp_path: Path) -> None:
    table, pauses = Table("no"), list[float]()
    made = timer(tmp_path, table, pauses, GROWING, stop_after=6)

    made.fire(made.status(), past_due=False)

    assert pauses == [1, 2, 4, 5, 5, 5]


def test_the_function_is_told_when_it_fires_next(tmp_path: Path) -> None:
    table = Table(None)
    made = timer(tmp_path, table, [])

    made.fire(made.status(), past_due=True)

    request, _ = table.runs[0]
    assert (request["IsPastDue"], request["ScheduleStatus"]["Next"]) == (True, "2026-05-01T13:00:00+00:00")


def test_a_schedule_that_changed_is_begun_anew(tmp_path: Path) -> None:
    """Goal: no false past_due after a change of the schedule. Method: a kept due time in the past, of another schedule."""
    missed = (NOON - timedelta(hours=3)).isoformat()
    (tmp_path / "tick.json").write_text(json.dumps({"schedule": "0 0 0 * * *", "last": None, "next": missed}))

    assert timer(tmp_path, Table(None), []).status().next == NOON + timedelta(hours=1)


@pytest.mark.parametrize("kept", ["", "[]", '{"schedule": "0 0 * * * *", "last": null, "next": "2026-05-01T09:00:00"}'])
def test_a_file_that_says_nothing_is_begun_anew(tmp_path: Path, kept: str) -> None:
    (tmp_path / "tick.json").write_text(kept)

    assert timer(tmp_path, Table(None), []).status().next == NOON + timedelta(hours=1)


def test_a_timer_whose_file_cannot_be_written_fires_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    table = Table(None)
    made = timer(tmp_path / "file", table, [], runOnStartup=True)

    made.start()
    last = time.monotonic() + 10
    while not table.runs and time.monotonic() < last:
        time.sleep(0.01)
    made.stop()

    assert len(table.runs) == 1


def test_without_a_monitor_nothing_is_kept(tmp_path: Path) -> None:
    missed = (NOON - timedelta(hours=3)).isoformat()
    (tmp_path / "tick.json").write_text(json.dumps({"schedule": "0 0 * * * *", "last": None, "next": missed}))

    assert timer(tmp_path, Table(None), []).status().next == NOON - timedelta(hours=3)
    assert timer(tmp_path, Table(None), [], useMonitor=False).status().next == NOON + timedelta(hours=1)
