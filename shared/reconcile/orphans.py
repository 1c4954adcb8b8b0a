"""
How endpoints of ours that no record names are marked and taken over. When that may be stands in `shared.domain.orphans`.

Taking over is one write: the service's record is created where none is. If an upload has opened it meanwhile, the upload was first and the
endpoint is its own. Nothing is deleted here.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from shared import errors
from shared.domain import orphans, service
from shared.domain.record import Key, Kind
from shared.plain import plain
from shared.ports import Owned
from shared.reconcile.services import idle_window
from shared.reconcile.turn import Loop, decoded, opened

log = logging.getLogger("tuneloop.orphans")


def take_over(loop: Loop, found: Sequence[Owned], *, who: str) -> None:
    """Mark which of these are unused, and take over those that have been for long enough. Raises LostRace when another tick does so too."""
    policy, now = loop.policy_now(), loop.clock()
    if not found or not policy.orphans_deleted_after:
        return
    services = {one.name: str(one.service) for one in found}
    marks = _marked(loop, [name for name in services if _is_unused(loop, name)])
    names = orphans.ripe(marks, policy, now)
    if not names or _named_by_any_record(loop, names):
        return
    for name in names:
        since = marks.unused_since[name]
        record = service.orphaned(services[name], name, owner=loop.ports.ledger.owner(), now=loop.clock())
        why = f"No record named {plain(name)}; it was unused at every look since {since:%Y-%m-%d %H:%M} UTC and is deleted."
        if opened(loop, record, who=who, why=why):
            log.warning("%s action=orphan_taken", why)


def _marked(loop: Loop, unused: Sequence[str]) -> orphans.Marks:
    stored = loop.ports.ledger.read(orphans.KEY)
    if stored is None:
        loop.ports.ledger.create(orphans.KEY, msgspec.to_builtins(orphans.Marks()))
        loop.ports.ledger.deactivate(orphans.KEY)  # nobody has to look at it
        stored = loop.ports.ledger.read(orphans.KEY)
        assert stored is not None
    marks = orphans.marked(decoded(orphans.KEY, stored, orphans.Marks), unused, loop.policy, loop.clock())
    loop.ports.ledger.replace(orphans.KEY, {**stored.body, **msgspec.to_builtins(marks)}, stored.version)
    return marks


def _is_unused(loop: Loop, name: str) -> bool:
    view = loop.ports.endpoints.endpoint(name)
    if view is None or view.owner != loop.ports.ledger.owner():
        return False
    start, end = idle_window(loop.policy, loop.clock())
    usages = {d.name: loop.ports.metrics.usage(name, d.name, start=start, end=end) for d in view.deployments}
    return orphans.is_unused(view, usages)


def _named_by_any_record(loop: Loop, names: Sequence[str]) -> bool:
    """Tell whether any service's record names one of these, whatever their tags say; one that cannot be read may name all of them."""
    for one in loop.ports.ledger.ids(Kind.SERVICE):
        key = Key(kind=Kind.SERVICE, id=one)
        stored = loop.ports.ledger.read(key)
        try:
            if stored is not None and decoded(key, stored, service.Service).endpoint in names:
                return True
        except errors.UnreadableRecord:
            return True
    return False
