"""
What was given up on its way to a door: dead letters of Event Grid, and the poison queue of the blob trigger.

It is counted and told, never read, replayed or deleted. The timer sees for itself what these messages knew; that there are any says that a
door fails, or that its events do not arrive.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from shared.domain.record import Key, Kind
from shared.domain.structs import learn

KEY = Key(kind=Kind.UNDELIVERED, id="messages")
COUNTED_MAX = 5000  # blobs of one listing page; more are "or more"


class Undelivered(msgspec.Struct, frozen=True, kw_only=True):
    """What lay where at the last look that could see it."""

    counts: dict[str, int] = msgspec.field(default_factory=dict)  # place -> messages, COUNTED_MAX and more count as that


learn(Undelivered)


class News(msgspec.Struct, frozen=True, kw_only=True):
    """What changed at one place."""

    place: str
    why: str  # a sentence for people
    is_more: bool  # people are told; fewer were taken away by somebody and are only remembered


NEXT_ACTION = (
    "Look why no door took them (the app's log, deliveries of the subscription), then delete them. What they knew the timer sees; "
    "nothing has to be sent again."
)


def seen(before: Undelivered, counts: Mapping[str, int | None]) -> tuple[Undelivered, tuple[News, ...]]:
    """Return what to remember, and what is new. A place that could not be looked at (None) stays as it was."""
    known = {place: count for place, count in counts.items() if count is not None}
    changed = {place: count for place, count in known.items() if count != before.counts.get(place, 0)}
    news = tuple(_news(place, before.counts.get(place, 0), count) for place, count in sorted(changed.items()))
    return msgspec.structs.replace(before, counts={**before.counts, **known} if changed else before.counts), news


def _news(place: str, before: int, count: int) -> News:
    lie = f"{count}{' or more' if count >= COUNTED_MAX else ''} lie in {place}"
    if count > before:
        return News(place=place, why=f"Messages of uploads were given up before any door took them: {lie}, {before} before.", is_more=True)
    return News(place=place, why=f"Fewer messages that were given up: {lie}, {before} before.", is_more=False)
