"""
An NCRONTAB schedule names the seconds at which a timer fires, in UTC.

Six fields: second minute hour day month day-of-week; with five, the second is 0. Day and day-of-week must both match,
as in NCrontab (not "either", as in Unix cron). No clock in here: `next_after` is given the moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("second", 0, 59, {}),
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day", 1, 31, {}),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("day of week", 0, 7, {name: number for number, name in enumerate(_DAYS)}),  # 7 is Sunday too
)
_STEPS_MAX = 9 * 366 + 24 + 60 + 60  # days up to the next 29 February (9 years around 2100), then hours, minutes, seconds


class WrongSchedule(ValueError):
    """The text is not a schedule that this host can follow."""


@dataclass(frozen=True)
class Schedule:
    """Which values each field may have."""

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday

    def next_after(self, moment: datetime) -> datetime:
        """The first second after `moment` that matches every field."""
        at = moment.replace(microsecond=0) + timedelta(seconds=1)
        for _ in range(_STEPS_MAX):
            if at.month not in self.months or at.day not in self.days or at.isoweekday() % 7 not in self.weekdays:
                at = at.replace(hour=0, minute=0, second=0) + timedelta(days=1)
            elif at.hour not in self.hours:
                at = at.replace(minute=0, second=0) + timedelta(hours=1)
            elif at.minute not in self.minutes:
                at = at.replace(second=0) + timedelta(minutes=1)
            elif at.second not in self.seconds:
                at += timedelta(seconds=1)
            else:
                return at
        raise WrongSchedule("This schedule never fires; check its day and month.")


def parse(text: str) -> Schedule:
    """Read `0 */5 * * * *` and the like."""
    fields = text.split()
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        raise WrongSchedule(f"The schedule {text!r} has {len(fields)} fields; write six: second minute hour day month weekday.")
    try:
        values = [_field(part.lower(), low, high, names) for part, (_, low, high, names) in zip(fields, _FIELDS, strict=True)]
    except ValueError as error:
        raise WrongSchedule(f"The schedule {text!r} cannot be read: {error}") from error
    seconds, minutes, hours, days, months, weekdays = values
    return Schedule(seconds, minutes, hours, days, months, frozenset(day % 7 for day in weekdays))


def _field(text: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    allowed: set[int] = set()
    for part in text.split(","):
        span, _, step_text = part.partition("/")
        step = int(step_text) if step_text else 1
        if span == "*":
            first, last = low, high
        elif "-" in span:
            first, last = (_number(end, names) for end in span.split("-", 1))
        else:
            first = _number(span, names)
            last = high if step_text else first
        if not (low <= first <= last <= high and step > 0):
            raise ValueError(f"{part!r} is not between {low} and {high}.")
        allowed.update(range(first, last + 1, step))
    return frozenset(allowed)


def _number(text: str, names: dict[str, int]) -> int:
    return names[text[:3]] if text[:3] in names else int(text)
