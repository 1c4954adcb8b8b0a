"""NCRONTAB as tables: when a timer fires next."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from localcloud.functions import schedule

pytestmark = pytest.mark.light
TUESDAY_NOON = datetime(2026, 11, 24, 12, 0, 0, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "following"),
    [
        ("* * * * * *", "2026-11-24T12:00:01"),
        ("*/5 * * * * *", "2026-11-24T12:00:05"),
        ("0 */5 * * * *", "2026-11-24T12:05:00"),
        ("*/5 * * * *", "2026-11-24T12:05:00"),
        ("30 15 9-17/4 * * *", "2026-11-24T13:15:30"),
        ("0 0 12 * * *", "2026-11-25T12:00:00"),
        ("0 0 0 * * Mon", "2026-11-30T00:00:00"),
        ("0 0 0 * * 7", "2026-11-29T00:00:00"),
        ("0 30 6 1 jan,jul *", "2027-01-01T06:30:00"),
        ("0 0 0 29 2 *", "2028-02-29T00:00:00"),
        ("0 0 0 13 * fri", "2027-08-13T00:00:00"),
    ],
)
def test_a_timer_fires_next_at(text: str, following: str) -> None:
    assert schedule.parse(text).next_after(TUESDAY_NOON) == datetime.fromisoformat(f"{following}+00:00")


@pytest.mark.parametrize(
    "text", ["", "* * *", "60 * * * * *", "0 0 0 0 * *", "0 0 0 * * 8", "a * * * * *", "*/0 * * * * *", "5-1 * * * * *"]
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(schedule.WrongSchedule):
        schedule.parse(text)


def test_a_day_that_never_comes_is_refused() -> None:
    with pytest.raises(schedule.WrongSchedule, match="never fires"):
        schedule.parse("0 0 0 31 2 *").next_after(TUESDAY_NOON)
