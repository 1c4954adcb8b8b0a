"""
What a test asked to go wrong next. Each fault is used up by the first job or deployment that meets it.
"""

from __future__ import annotations

from localcloud.azureml.wire import Json, Refused

KINDS = {
    "jobs": frozenset({"fail_next", "refuse_next"}),
    "deployments": frozenset({"fail_next", "refuse_next"}),
}


class Faults:
    """Faults that wait, by what they hit and how: `fail_next` ends it Failed, `refuse_next` answers its PUT with 400."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], list[str]] = {}

    def add(self, body: Json) -> None:
        """Take {"jobs": {"fail_next": "message"}, "deployments": {...}}; an unknown name is refused."""
        for what, wanted in body.items():
            if what not in KINDS or not isinstance(wanted, dict) or not set(wanted) <= KINDS[what]:
                raise Refused(400, "UserError", f"Unknown fault {what}: {wanted}; known are {sorted(KINDS)} with fail_next, refuse_next.")
        for what, wanted in body.items():
            for how, message in wanted.items():
                self._waiting.setdefault((what, how), []).append(str(message))

    def take(self, what: str, how: str) -> str | None:
        """Return the message of the oldest waiting fault and use it up; None: nothing shall go wrong."""
        waiting = self._waiting.get((what, how))
        return waiting.pop(0) if waiting else None
