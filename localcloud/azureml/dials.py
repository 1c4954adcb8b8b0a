"""
How fast this cloud is, a dial for each kind of resource: at once, by hand, or so many seconds of its clock for each move.

A record carries `due`: the moment from which its next move may happen, None while a hand has to move it. What a move also waits for
(a child process, a free node) is not the dial's business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

KINDS = ("jobs", "endpoints", "deployments", "computes")
AT_ONCE, BY_HAND = "at-once", "by-hand"
Dial = str | float  # AT_ONCE, BY_HAND or seconds
SECONDS_MAX = 366 * 86_400.0  # a year: more is a typing error, and far more is no date
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)  # at once is now by any clock, also by one that was set back


class WrongDial(ValueError):
    """There is no such dial or position; the text names those that there are."""


SECONDS_MAX = 366 * 86_400.0  # a year: more is a typing error


class Dials:
    """The positions now; `at-once` where nothing was said."""

    def __init__(self, positions: Mapping[str, Dial] | None = None) -> None:
        self.positions: dict[str, Dial] = dict.fromkeys(KINDS, AT_ONCE)
        self.turn(positions or {})

    def turn(self, positions: Mapping[str, object]) -> None:
        """Set some dials, or none: raise WrongDial for the first that cannot be."""
        checked = {kind: _position(kind, given) for kind, given in positions.items()}
        self.positions |= checked

    def due(self, kind: str, now: datetime) -> datetime | None:
        """Return when the next move of something may happen; None: when a hand moves it."""
        position = self.positions[kind]
        if position == BY_HAND:
            return None
        return LONG_AGO if position == AT_ONCE else now + timedelta(seconds=float(position))


def read(given: Iterable[str]) -> dict[str, Dial]:
    """Return the positions in KIND=POSITION texts."""
    pairs = [text.partition("=") for text in given]
    return {kind: _position(kind, position) for kind, _, position in pairs}


def _position(kind: str, given: object) -> Dial:
    if kind not in KINDS:
        raise WrongDial(f"There is no dial {kind}; there are {', '.join(KINDS)}.")
    if given in (AT_ONCE, BY_HAND):
        return str(given)
    try:
        seconds = float(given) if isinstance(given, str | int | float) and not isinstance(given, bool) else -1.0
    except (ValueError, OverflowError):
        seconds = -1.0
    if not 0 <= seconds <= SECONDS_MAX:
        raise WrongDial(f"The dial {kind} is {given!r}; write {AT_ONCE}, {BY_HAND} or seconds, for example {kind}=60.")
    return seconds
