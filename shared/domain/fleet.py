"""What needs a view of all services at once: how many idle ones may be let go in one tick."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime

import msgspec

from shared.domain.policy import Policy
from shared.domain.service import Service, may_be_let_go

DELETIONS_SHARE_MAX = 0.25  # of the live services in one tick: more at once looks like lost metrics, not like idleness


class Permit(msgspec.Struct, frozen=True, kw_only=True):
    """Lets one turn of one service delete these deployments, after one more look."""

    service: str
    deployments: tuple[str, ...]


def choose_deletions(fleet: Iterable[Service], policy: Policy, now: datetime) -> tuple[Permit, ...]:
    """Return the permits of this tick, longest idle first, within both limits; none in a dry run or while the app is paused."""
    services = list(fleet)
    awake = sum(s.live is not None for s in services)
    limit = min(policy.deletions_per_tick_max, math.ceil(awake * DELETIONS_SHARE_MAX))
    ready = sorted((s for s in services if may_be_let_go(s, policy, now)), key=lambda s: (str(s.idle.marked_at), s.id))
    if policy.deletions_dry_run or policy.paused:
        return ()
    return tuple(Permit(service=s.id, deployments=tuple(d.name for d in s.deployments if d.live_at)) for s in ready[:limit])
