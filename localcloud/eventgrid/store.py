"""
What Event Grid took over outlives its process: one SQLite file, a row for each delivery, one small commit for each change.

`add` returns after the commit, so an event that was accepted is on disk, in the sense of SIGKILL: with `synchronous=NORMAL` a loss of
power may take the last commits along. A file that is no database is put aside and begun anew; one that cannot be read or written now,
because the disk is full, say, is left as it is, and the sqlite3.OperationalError goes to whoever asked.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localcloud.eventgrid.delivery import Delivery
from localcloud.eventgrid.schedule import Outcome

SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, subscription TEXT NOT NULL, event TEXT NOT NULL, published_at REAL NOT NULL,
    due_at REAL NOT NULL, attempts INTEGER NOT NULL, last_attempt_at REAL, last_outcome TEXT, given_up_at REAL, reason TEXT NOT NULL,
    held INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS announced (
    number INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, at REAL NOT NULL, event TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS blobs (container TEXT, name TEXT, etag TEXT NOT NULL, PRIMARY KEY (container, name));
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
BUSY_MS = 5000  # another connection of this process writes; its commits take well under a millisecond
LOG = logging.getLogger("eventgrid")


def opened(path: Path | None) -> sqlite3.Connection:
    """Return a connection that several threads may use in turn; None: in memory only."""
    if path is None:
        return _prepared(sqlite3.connect(":memory:", check_same_thread=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, check_same_thread=False)
    try:
        return _prepared(connection)
    except sqlite3.OperationalError:
        connection.close()
        raise
    except sqlite3.DatabaseError as error:
        connection.close()
        aside = path.with_suffix(".broken")
        path.replace(aside)
        LOG.warning("%s is no database (%s); it lies in %s now, and undelivered events in it are not delivered.", path, error, aside.name)
        return _prepared(sqlite3.connect(path, check_same_thread=False))


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.executescript(SCHEMA)
    return connection


COLUMNS = "id, number, subscription, event, published_at, due_at, attempts, last_attempt_at, last_outcome, given_up_at, reason, held"


class Store:
    """The deliveries that are not settled. Whoever calls holds a lock."""

    def __init__(self, path: Path | None = None) -> None:
        self._connection = opened(path)

    def add(self, deliveries: Iterable[Delivery]) -> None:
        with self._connection:
            self._connection.executemany("INSERT INTO deliveries VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", [_row(one) for one in deliveries])

    def change(self, delivery: Delivery) -> None:
        """Write what may change of a delivery."""
        with self._connection:
            self._connection.execute(
                "UPDATE deliveries SET due_at=?, attempts=?, last_attempt_at=?, last_outcome=?, given_up_at=?, reason=?, held=? WHERE id=?",
                (*_row(delivery)[5:], delivery.id),
            )

    def remove(self, ids: Iterable[str]) -> None:
        with self._connection:
            self._connection.executemany("DELETE FROM deliveries WHERE id=?", [(one,) for one in ids])

    def all(self) -> list[Delivery]:
        rows = self._connection.execute("SELECT * FROM deliveries ORDER BY number")
        return [_delivery(row) for row in rows]

    def close(self) -> None:
        self._connection.close()


def _row(one: Delivery) -> tuple[Any, ...]:
    began = (one.id, one.number, one.subscription, json.dumps(one.event), one.published_at.timestamp())
    last, given_up = _seconds(one.last_attempt_at), _seconds(one.given_up_at)
    return (*began, one.due_at.timestamp(), one.attempts, last, one.last_outcome, given_up, one.reason, one.held)


def _delivery(row: tuple[Any, ...]) -> Delivery:
    ident, number, subscription, event, published, due, attempts, last, outcome, given_up, reason, held = row
    return Delivery(
        id=ident,
        number=number,
        subscription=subscription,
        event=json.loads(event),
        published_at=moment(published),
        due_at=moment(due),
        attempts=attempts,
        last_attempt_at=_maybe(last),
        last_outcome=None if outcome is None else Outcome(outcome),
        given_up_at=_maybe(given_up),
        reason=reason,
        held=bool(held),
    )


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


def _maybe(seconds: float | None) -> datetime | None:
    return None if seconds is None else moment(seconds)


def moment(seconds: float) -> datetime:
    """Return a stored time."""
    return datetime.fromtimestamp(seconds, UTC)
