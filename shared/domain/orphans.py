"""
Endpoints that carry our tag and that no record names: since when each was seen unused, and which may be taken over to be deleted.

Two phases: marked, and after the age of the setting still marked. Whatever is not known to be unused takes the mark away. What is taken
over becomes a service like any other, whose own turns tear it down, so that there is one place that deletes and one name that rests.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import msgspec

from shared.domain.policy import Policy
from shared.domain.record import Key, Kind
from shared.domain.service import EndpointView, Usage
from shared.domain.structs import learn

KEY = Key(kind=Kind.ORPHANS, id="endpoints")
TICKS_MISSED_MAX = 12  # in a row, an hour as a rule; a guess. After more of them nobody knows what happened meanwhile


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """One document for all orphans of an installation."""

    unused_since: dict[str, datetime] = msgspec.field(default_factory=dict)  # endpoint -> first of the ticks in a row that saw it unused
    looked_at: datetime | None = None  # newest of these ticks; None: none has been


learn(Marks)


def is_unused(view: EndpointView, usages: Mapping[str, Usage | None]) -> bool:
    """
    Tell whether nobody can have used the endpoint in the window of `usages` (of its deployments, by name). What is being changed, what is
    somebody else's and what has no heartbeat is not known to be unused. A deployment that failed answers nobody.
    """
    if view.state.lower() not in ("succeeded", "failed") or any(d.owner != view.owner for d in view.deployments):
        return False
    for deployment in view.deployments:
        state, usage = deployment.state.lower(), usages.get(deployment.name)
        if state == "failed" and not view.traffic.get(deployment.name):
            continue
        if state != "succeeded" or usage is None or usage.heartbeats < usage.heartbeats_wanted or usage.requests:
            return False
    return True


def marked(marks: Marks, unused: Collection[str], policy: Policy, now: datetime) -> Marks:
    """Return the marks after a tick that saw these unused: of all others they are gone, and of all when too many ticks are missing."""
    in_a_row = marks.looked_at is not None and now - marks.looked_at <= TICKS_MISSED_MAX * policy.tick
    since = marks.unused_since if in_a_row else {}
    return Marks(unused_since={name: since.get(name, now) for name in sorted(unused)}, looked_at=now)


def ripe(marks: Marks, policy: Policy, now: datetime) -> tuple[str, ...]:
    """Return which may be taken over in this tick, longest unused first; none by default, in a dry run or while the app is paused."""
    if not policy.orphans_deleted_after or policy.deletions_dry_run or policy.paused:
        return ()
    age = max(policy.orphans_deleted_after, policy.tick, timedelta(seconds=1))  # never in the tick that marked it
    old = sorted((since, name) for name, since in marks.unused_since.items() if now - since >= age)
    return tuple(name for _, name in old[: policy.deletions_per_tick_max])
