"""
What arrives at the doors: read who rang, open one record if there is none, put one message on the queue, return.

No door believes an event: it takes a blob's path or a job's name from it, checks it, and reads the level itself. What is
not about us is answered with success and one line in the log, since Event Grid would repeat or drop anything else.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import datetime

import msgspec

from shared import errors
from shared.domain import doorbell, tuning
from shared.domain.record import Key, Kind
from shared.domain.structs import learn
from shared.domain.upload import ID_LENGTH, checked_path, is_dataset
from shared.plain import plain
from shared.ports import Change
from shared.reconcile import turn

log = logging.getLogger("tuneloop.arrivals")

RECORD_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}")  # an id is a part of a blob's name: any other text could lead out of the ledger
WHO_CHARACTERS_MAX = 100


def dataset_written(loop: turn.Loop, container: str, path: str, *, who: str) -> None:
    """Open the tuning of the blob's current version, or ring the one that is there."""
    datasets = loop.ports.datasets
    if container != datasets.container:
        log.warning("%s: container %s is not the datasets container; ignored. action=foreign_event", who, _shown(container))
        return
    try:
        path = checked_path(path)
    except errors.Rejected as refused:
        log.warning("%s: %s is refused: %s action=path_refused", who, _shown(path), refused)
        return
    if not is_dataset(path):
        log.info("%s: %s is no dataset by its name. action=not_a_dataset", who, _shown(path))
        return
    upload = datasets.head(path)
    if upload is None:
        log.info("%s: %s is gone or not whole yet; ignored. action=upload_gone", who, _shown(path))
        return
    record = tuning.opened(upload, owner=loop.ports.ledger.owner(), now=loop.clock())
    if turn.opened(loop, record, who=who, why=f"{path}, {upload.size} bytes"):
        log.info("%s: %s opened tuning %s. action=tuning_opened", who, _shown(path), record.id)
    else:
        loop.ports.turns.ring(record.key, who=who)
        log.info("%s: tuning %s is known already. action=tuning_known", who, record.id)


def dataset_event(loop: turn.Loop, event: doorbell.Event, *, who: str) -> None:
    path = doorbell.uploaded_path(event, account=loop.ports.datasets.account, container=loop.ports.datasets.container)
    if isinstance(path, doorbell.Nobody):
        log.info("%s: event ignored, %s. action=foreign_event", who, _shown(path.why))
        return
    dataset_written(loop, loop.ports.datasets.container, path, who=who)


def job_event(loop: turn.Loop, event: doorbell.Event, *, workspace_id: str, who: str) -> None:
    key = doorbell.job_key(event, workspace_id=workspace_id)
    if isinstance(key, doorbell.Nobody):
        log.info("%s: event ignored, %s. action=foreign_event", who, _shown(key.why))
        return
    loop.ports.turns.ring(key, who=who)


def turn_poisoned(loop: turn.Loop, key: Key) -> None:
    """Announce a turn that failed too often. Nothing is replayed: what its message knew, the timer sees in the record."""
    why = "A turn did not end, however often it was tried, and its message was put aside; the timer looks at the record again."
    told = Change(key=key, at=loop.clock(), stage="", what="turn_poisoned", why=why, next_action="Look into the app's log for what fails.")
    loop.ports.announcer.announce(told)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What a message on the queue of turns says."""

    kind: Kind
    id: str
    who: str = ""
    promised: datetime | None = None


learn(Message)


def message(text: str) -> tuple[Key, str, datetime | None] | None:
    """Return key, ringer and promise of a queue message; None for one that is not ours."""
    try:
        said = msgspec.json.decode(text, type=Message)
    except (ValueError, RecursionError):
        return None
    ours = RECORD_ID.fullmatch(said.id)
    return (Key(kind=said.kind, id=said.id), plain(said.who, limit=WHO_CHARACTERS_MAX), said.promised) if ours else None


def _shown(text: str) -> str:
    """Return a name from outside as one harmless piece of a log line."""
    return json.dumps(text[:200])
