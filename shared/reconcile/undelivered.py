"""Looks at each tick whether messages were given up before a door took them. What that means stands in `shared.domain.undelivered`."""

from __future__ import annotations

import logging

import msgspec

from shared import errors
from shared.domain.undelivered import KEY, NEXT_ACTION, Undelivered, seen
from shared.plain import plain
from shared.ports import Change
from shared.reconcile.turn import Loop, decoded

log = logging.getLogger("tuneloop.undelivered")


def look(loop: Loop) -> None:
    """Count, tell of what is new, and remember it; who dies in between tells it again at the next tick."""
    if loop.ports.undelivered is None:
        return
    stored, counts = loop.ports.ledger.read(KEY), loop.ports.undelivered.counts()
    if unknown := sorted(place for place, count in counts.items() if count is None):
        log.warning("%s could not be looked at. action=undelivered_unknown", plain(", ".join(unknown)))
    remembered, news = seen(decoded(KEY, stored, Undelivered) if stored else Undelivered(), counts)
    for one in news:
        if one.is_more:
            log.error("%s action=undelivered", plain(one.why))
            told = Change(key=KEY, at=loop.clock(), stage="", what="undelivered", why=plain(one.why), next_action=NEXT_ACTION)
            loop.ports.announcer.announce(told)
        else:
            log.info("%s action=undelivered", plain(one.why))
    if not news:
        return
    body = msgspec.to_builtins(remembered)
    if stored is None:
        loop.ports.ledger.create(KEY, body)
        loop.ports.ledger.deactivate(KEY)  # nobody has to look at it
        return
    try:
        loop.ports.ledger.replace(KEY, {**stored.body, **body}, stored.version)
    except errors.LostRace:
        log.info("Another tick counted at the same time. action=lost_race")
