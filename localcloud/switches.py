"""
What nobody outside Azure knows for sure, as switches: each side can be played, and the app has to live with all of them.

A switch is a question that the public sources leave open or answer differently. The first side is the default: the one that the
sources make likelier or, where they say nothing, the harsher one. Where they are shown and tried: docs/emulator.md.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal


class WrongSwitch(ValueError):
    """There is no such switch or side; the text names those that there are."""


def _switch(default: str, question: str) -> Any:
    return field(default=default, metadata={"question": question})


@dataclass(frozen=True, kw_only=True)
class Switches:
    """One field a question."""

    identical_job_put: Literal["refused", "ok"] = _switch("refused", "Is the same job PUT again refused like another one, or answered 200?")
    conflict_status: Literal["409", "400"] = _switch(
        "409", "With which status is a change refused while an endpoint or a deployment is being changed?"
    )
    immutable_status: Literal["400", "409"] = _switch("400", "With which status is another content under a used name refused (job, model)?")
    reply_shape: Literal["records", "list", "output"] = _switch(
        "records", 'Does a tuned model answer [{"0": text}], [text] or {"output": text}?'
    )
    same_key_again: Literal["fresh", "kept"] = _switch(
        "fresh", "Does a key become another one when it is regenerated with the value that it has, as azure-ai-ml 1.35.2 asks for?"
    )
    event_casing: Literal["camel", "pascal"] = _switch("camel", "Are the keys of an Azure ML event's data runId or RunId?")
    event_statuses: Literal["all", "good", "none"] = _switch(
        "all", "Is RunStatusChanged raised for every status, for all but Failed and Canceled, or never?"
    )
    write_events: Literal["ended", "accepted"] = _switch(
        "ended", "Does ResourceWriteSuccess come when a long PUT has ended, or when it was accepted?"
    )
    archived_model: Literal["readable", "refused"] = _switch("readable", "Can an archived base model still be fetched and used?")
    count_in: Literal["both", "total", "average"] = _switch(
        "both", "Do Total and Average of RequestsPerMinute both hold the count of requests, or one of them, and the other zero?"
    )
    failed_deployment: Literal["gone", "counted"] = _switch(
        "gone", "Does a failed deployment have a heartbeat in the metrics, and a price?"
    )


def chosen(given: Iterable[str], before: Switches | None = None) -> Switches:
    """Return the switches with each NAME=SIDE of `given` set; raise WrongSwitch with the names that there are."""
    wanted: dict[str, str] = {}
    for text in given:
        name, _, side = text.partition("=")
        wanted[name] = side
    return changed(before or Switches(), wanted)


def changed(before: Switches, wanted: Any) -> Switches:
    """Return `before` with the sides of the mapping `wanted`; raise WrongSwitch for an unknown name or side."""
    if not isinstance(wanted, dict):
        raise WrongSwitch(f"Switches are an object of names and sides, and this is {wanted!r}.")
    allowed = sides()
    for name, side in wanted.items():
        if name not in allowed:
            raise WrongSwitch(f"There is no switch {name}; there are {', '.join(allowed)}.")
        if side not in allowed[name]:
            raise WrongSwitch(f"The switch {name} has no side {side!r}; it has {', '.join(allowed[name])}.")
    return replace(before, **wanted)


def sides() -> dict[str, tuple[str, ...]]:
    """Return every switch with its sides, the default first."""
    hints = typing.get_type_hints(Switches)
    return {one.name: typing.get_args(hints[one.name]) for one in fields(Switches)}


def questions() -> dict[str, str]:
    """Return every switch with the question that it leaves open."""
    return {one.name: one.metadata["question"] for one in fields(Switches)}
