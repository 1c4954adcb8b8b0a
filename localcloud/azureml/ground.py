"""
What every room of this cloud stands on: where it is, what it keeps, how fast it is, what shall go wrong, and what is left to chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from localcloud.azureml.dials import Dials
from localcloud.azureml.records import Planned
from localcloud.azureml.store import Memory, Store
from localcloud.chance import Chance
from localcloud.faults import KINDS, Faults
from localcloud.switches import Switches

if TYPE_CHECKING:
    from collections.abc import Iterable

    from localcloud.azureml.site import Site


@dataclass(kw_only=True)
class Ground:
    """Shared by all rooms; `switches` may be changed while the cloud runs."""

    site: Site
    store: Store = field(default_factory=Memory)
    faults: Faults = field(default_factory=Faults)
    dials: Dials = field(default_factory=Dials)
    chance: Chance = field(default_factory=Chance)
    switches: Switches = field(default_factory=Switches)

    def now(self) -> datetime:
        return self.site.clock()

    def plan(self, kinds: Iterable[str], **about: str) -> Planned | None:
        """Return the fault of these kinds that is planned for the resource that is asked for now; None: all goes well."""
        fault = self.faults.take_any(kinds, **about)
        if fault is None:
            return None
        given: Mapping[str, object] = {name: fault[name] for name in KINDS[fault.kind].parameters}
        return Planned(kind=fault.kind, given=dict(given))
