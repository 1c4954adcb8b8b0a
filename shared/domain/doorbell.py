"""
An event from Azure says only whose door to ring: it is a hint, and every word of it may be wrong, late or doubled.

Keys, types and resource ids are compared without regard to case, unknown keys are ignored, and an event that is not
about us is nobody's. The event's URL is never looked at: a client built from it would send our token to a stranger.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from shared.domain import names
from shared.domain.record import Key, Kind

BLOB_CREATED = "microsoft.storage.blobcreated"
RUN_EVENTS = frozenset({"microsoft.machinelearningservices.runcompleted", "microsoft.machinelearningservices.runstatuschanged"})
COMMITTED_BY = frozenset({"putblob", "putblocklist", "copyblob", "flushwithclose", "sftpcommit"})  # `data.api` of a whole blob


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an Event Grid event or CloudEvent that is looked at."""

    type: str
    subject: str
    source: str  # topic or source: an ARM id
    data: Mapping[str, Any]


class Nobody(msgspec.Struct, frozen=True, kw_only=True):
    """The event is not about anything of ours; `why` is for the log."""

    why: str


def uploaded_path(event: Event, *, account: str, container: str) -> str | Nobody:
    """Return the path of a blob that was written whole into our datasets container."""
    if event.type.lower() != BLOB_CREATED:
        return Nobody(why=f"an event of type {event.type!r} is not about an upload")
    if event.source.lower().rpartition("/storageaccounts/")[2] != account.lower():
        return Nobody(why="it comes from another storage account")
    start = f"/blobServices/default/containers/{container}/blobs/"
    subject = event.subject if event.subject.startswith("/") else f"/{event.subject}"
    if subject[: len(start)].lower() != start.lower() or len(subject) == len(start):
        return Nobody(why="it is about another container")
    api = _value(event.data, "api")
    if isinstance(api, str) and api.lower() not in COMMITTED_BY:
        return Nobody(why=f"{api!r} does not commit a blob")
    return subject[len(start) :]


def job_key(event: Event, *, workspace_id: str) -> Key | Nobody:
    """Return the key of the training, or of the tuning that is being prepared, whose job this event is about."""
    if event.type.lower() not in RUN_EVENTS:
        return Nobody(why=f"an event of type {event.type!r} is not about a job")
    if event.source.lower().strip("/") != workspace_id.lower().strip("/"):
        return Nobody(why="it comes from another workspace")
    run = _value(event.data, "runId")
    name = run if isinstance(run, str) and run else event.subject.rpartition("/")[2]
    if training := names.training_of_job(name):
        return Key(kind=Kind.TRAINING, id=training)
    if tuning := names.tuning_of_preparation(name):
        return Key(kind=Kind.TUNING, id=tuning)
    return Nobody(why="it is about a run that is not ours")


def _value(data: Mapping[str, Any], name: str) -> Any:
    """Return a value of `data` by its key in any case; only this level, since nested tables repeat the names."""
    return next((value for key, value in data.items() if key.lower() == name.lower()), None)
