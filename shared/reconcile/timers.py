"""
What the timers do: find what was lost, and look at the whole fleet.

A tick costs what is alive plus listing pages: no call for a record that has ended. With every event and message lost,
the timers alone bring each upload to its end.
"""

from __future__ import annotations

import logging

import msgspec

from shared import errors
from shared.domain import fleet, tuning
from shared.domain.policy import PAUSED_WHY
from shared.domain.record import Key, Kind
from shared.domain.service import IdleClock, Service
from shared.domain.upload import checked_path, is_dataset
from shared.plain import plain
from shared.reconcile import orphans, slots, turn, undelivered
from shared.reconcile.arrivals import RECORD_ID
from shared.reconcile.tunings import read, update

log = logging.getLogger("tuneloop.timers")


def look_again(loop: turn.Loop, lives: turn.Lives, *, who: str) -> None:
    """Renew the promises that were missed, open the uploads that nobody reported, and find the endpoints that nobody looks at."""
    slots.free_what_is_nobodys(loop)
    for key in loop.ports.ledger.active():
        if key.kind not in lives.by_kind:
            loop.ports.ledger.deactivate(key)  # a marker of what has no life: its writer died before it took that away
            continue
        try:
            renewed = turn.renew_promise(loop, key, lives.by_kind[key.kind].record_type, who=who)
        except errors.UnreadableRecord as unreadable:  # the others are looked at all the same
            log.error("%s It is left alone. action=record_unreadable", unreadable)
            continue
        if renewed:
            log.warning("%s was overdue and is looked at again. action=promise_renewed", key)
    known = set(loop.ports.ledger.ids(Kind.TUNING))
    owner = loop.ports.ledger.owner()
    for upload in loop.ports.datasets.uploads():
        if upload.id in known or not is_dataset(upload.path):
            continue
        try:
            checked_path(upload.path)
        except errors.Rejected:
            continue
        record = tuning.opened(upload, owner=owner, now=loop.clock())
        if turn.opened(loop, record, who=who, why=f"{upload.path}, {upload.size} bytes; no event told of it"):
            log.warning("Nobody reported tuning %s; opened now. action=upload_found", record.id)
    try:
        undelivered.look(loop)
    except errors.TuneloopError as error:
        log.warning("What was not delivered could not be counted (%s). action=undelivered_unknown", plain(str(error)))
    try:
        sweep(loop, who=who)
    except errors.TuneloopError as error:  # the records were looked at all the same
        log.warning("The endpoints of the workspace could not be looked through (%s). action=sweep_failed", plain(str(error)))


def sweep(loop: turn.Loop, *, who: str) -> None:
    """
    Find endpoints of ours that nobody looks at. A service at rest is woken, and its own turns tear the endpoint down by the rules of every
    deletion. An endpoint without a record that names it is told of and kept, unless a setting lets it be taken over where its service
    has no record at all.
    """
    if loop.ports.inventory is None:
        return
    alive = set(loop.ports.ledger.active())
    unclaimed = []
    for endpoint in loop.ports.inventory.owned(loop.ports.ledger.owner()):
        tag = endpoint.service or ""
        key = Key(kind=Kind.SERVICE, id=tag)
        record = _readable(loop, key) if RECORD_ID.fullmatch(tag) else None
        if record is None or record.endpoint != endpoint.name:
            log.error(
                "Endpoint %s carries our tag and no record names it; it is kept, perhaps billed. action=orphan_found", plain(endpoint.name)
            )
            if record is None and RECORD_ID.fullmatch(tag) and loop.ports.ledger.read(key) is None:
                unclaimed.append(endpoint)
        elif record.key not in alive:
            loop.ports.ledger.activate(record.key)
            turn.bring_forward(loop, record.key, Service, who=who)
            log.warning(
                "%s rests and its endpoint %s is there; it is looked at again. action=left_behind_found", record.key, record.endpoint
            )
    orphans.take_over(loop, unclaimed, who=who)


def tear_down_idle_endpoints(loop: turn.Loop, *, who: str) -> None:
    """Give permits to the services that may be let go in this tick; the turns carry them out after one more look."""
    services = [s for key in loop.ports.ledger.active() if key.kind is Kind.SERVICE and (s := _readable(loop, key))]
    if loop.policy.deletions_dry_run:
        log.warning("TEAR_DOWN_DRY_RUN is on: idle endpoints are marked and kept, and billed. action=dry_run")
    policy = loop.policy_now()
    if policy.paused:
        log.warning("%s action=paused", PAUSED_WHY)
    for permit in fleet.choose_deletions(services, policy, loop.clock()):
        service = next(s for s in services if s.id == permit.service)
        update(loop, service.key, Service, lambda found, permit=permit: _permitted(found, permit))  # type: ignore[misc]
        loop.ports.turns.ring(service.key, who=who)
        log.info("%s may be put to sleep. action=permit_given", service.key)


def _readable(loop: turn.Loop, key: Key) -> Service | None:
    """Return the service; None for one that is gone or that this version cannot read, which `look_again` tells of."""
    try:
        return read(loop, key, Service)
    except errors.UnreadableRecord:
        return None


def _permitted(found: Service, permit: fleet.Permit) -> Service:
    """Return the record with the permit, unless it was seen in use since the fleet was read."""
    if found.idle.marked_at is None:
        return found
    clock: IdleClock = msgspec.structs.replace(found.idle, permit=permit.deployments)
    return msgspec.structs.replace(found, idle=clock)
