"""
What this cloud holds outlives its process: one SQLite file, written before an answer leaves.

A shelf is a dict of records of one kind. Who changes a record calls `save`; `commit` makes all that was saved since the last one
durable at once, so that a kill between two writes of one request leaves neither. What cannot be written now, because the disk is
full, say, waits for the next commit: no record is missing in the file for longer than the fault lasts. Records are msgspec structs:
fields are only ever added, with a default, so an older file can be read. Without a file the same shelves live in memory. A file that
is no store, or that a newer version wrote, is refused and left as it is.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec

T = TypeVar("T")
FILE = "cloud.sqlite"
VERSION = 1  # of the table; 0 is a file that is being made
_COLUMNS = ["place", "kind", "key", "body"]
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
  place INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, UNIQUE (kind, key)
)
"""


class WrongStore(Exception):
    """The file cannot be this cloud's store; the text says which, why, and what to do."""


class NotWritten(Exception):
    """What was saved is not durable yet; the text says why. The next commit tries again."""


class Store(Protocol):
    """Bytes by kind and key, in the order in which keys were first saved."""

    def load(self, kind: str) -> Iterator[tuple[str, bytes]]: ...
    def save(self, kind: str, key: str, body: bytes) -> None: ...
    def remove(self, kind: str, key: str) -> None: ...
    def commit(self) -> None: ...
    def clear(self) -> None: ...
    def close(self) -> None: ...


class Memory:
    """Keeps nothing: the shelves themselves are the memory."""

    def load(self, kind: str) -> Iterator[tuple[str, bytes]]:  # noqa: ARG002 - the port's shape
        return iter(())

    def save(self, kind: str, key: str, body: bytes) -> None: ...
    def remove(self, kind: str, key: str) -> None: ...
    def commit(self) -> None: ...
    def clear(self) -> None: ...
    def close(self) -> None: ...


class SqliteStore:
    """One file. Survives a killed process; a machine that loses power may lose the last moments (synchronous=NORMAL)."""

    def __init__(self, path: Path) -> None:
        """Open or make the file; raise WrongStore for one that is something else."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, tuple[Any, ...]]] = []  # writes that the next commit makes durable, in their order
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level="IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise self._away(error) from None
        try:
            self._check()
            path.chmod(0o600)  # keys of endpoints are in it
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(_SCHEMA)
            self._connection.execute(f"PRAGMA user_version={VERSION}")
            self._connection.commit()
        except sqlite3.OperationalError as error:
            self._connection.close()
            raise self._away(error) from None
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise self._wrong(f"cannot be read as SQLite ({error})") from None
        except WrongStore:
            self._connection.close()
            raise

    def _check(self) -> None:
        """Raise WrongStore for a database that somebody else, or a newer version of us, made."""
        version = int(self._connection.execute("PRAGMA user_version").fetchone()[0])
        if version > VERSION:
            raise self._wrong(f"was written by a newer version of the local cloud (format {version}, known up to {VERSION})")
        tables = [
            row[0] for row in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        ]
        columns = [row[1] for row in self._connection.execute("PRAGMA table_info(records)")]
        if tables and (tables != ["records"] or columns != _COLUMNS):
            raise self._wrong(f"is a database of somebody else (tables: {', '.join(tables)})")

    def _wrong(self, why: str) -> WrongStore:
        return WrongStore(f"The file {self._path} {why}; move it away to begin anew, or choose another folder with --data.")

    def _away(self, error: sqlite3.Error) -> WrongStore:
        return WrongStore(f"The file {self._path} cannot be opened now ({error}); free its disk, or choose another folder with --data.")

    def load(self, kind: str) -> Iterator[tuple[str, bytes]]:
        """Return the records of a kind, as the last commit left them."""
        with self._lock:
            rows = self._connection.execute("SELECT key, body FROM records WHERE kind = ? ORDER BY place", (kind,)).fetchall()
        return ((str(key), body if isinstance(body, bytes) else str(body).encode()) for key, body in rows)

    def save(self, kind: str, key: str, body: bytes) -> None:
        statement = "INSERT INTO records (kind, key, body) VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body"
        self._write(statement, (kind, key, body))

    def remove(self, kind: str, key: str) -> None:
        self._write("DELETE FROM records WHERE kind = ? AND key = ?", (kind, key))

    def commit(self) -> None:
        """Write all or nothing; raise NotWritten."""
        with self._lock:
            if not self._waiting:
                return
            try:
                for statement, values in self._waiting:
                    self._connection.execute(statement, values)
                self._connection.commit()
            except sqlite3.Error as error:
                self._connection.rollback()
                raise NotWritten(f"The file {self._path} cannot be written ({error}); it is tried again with every change.") from None
            self._waiting.clear()

    def clear(self) -> None:
        self._write("DELETE FROM records", ())
        self.commit()

    def close(self) -> None:
        """Commit and close; raise NotWritten, and be closed all the same."""
        try:
            self.commit()
        finally:
            self._connection.close()

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        with self._lock:
            self._waiting.append((statement, values))


class Shelf(Generic[T]):
    """Records of one kind by key, in the order of their first saving."""

    def __init__(self, store: Store, kind: str, of: type[T]) -> None:
        self._store, self._kind = store, kind
        self.all: dict[str, T] = {key: self._decoded(key, body, of) for key, body in store.load(kind)}

    def _decoded(self, key: str, body: bytes, of: type[T]) -> T:
        try:
            return msgspec.json.decode(body, type=of)
        except msgspec.MsgspecError as error:
            message = f"The store's {self._kind} {key!r} cannot be read ({error}); move the file {FILE} away to begin anew."
            raise WrongStore(message) from None

    def __getitem__(self, key: str) -> T:
        return self.all[key]

    def __contains__(self, key: str) -> bool:
        return key in self.all

    def __len__(self) -> int:
        return len(self.all)

    def get(self, key: str) -> T | None:
        return self.all.get(key)

    def values(self) -> list[T]:
        """Return the records as they are now; the list may be kept while the shelf changes."""
        return list(self.all.values())

    def save(self, key: str, record: T) -> None:
        """Take the record over, new or changed; durable with the next commit."""
        self._store.save(self._kind, key, msgspec.json.encode(record))
        self.all[key] = record

    def remove(self, key: str) -> None:
        del self.all[key]
        self._store.remove(self._kind, key)

    def clear(self) -> None:
        """Forget all; the store is cleared by whoever owns it."""
        self.all.clear()
