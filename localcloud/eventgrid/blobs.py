"""
Azurite raises no events, so a container is listed and what Azure Storage would have told is published.

A blob is known by name and ETag and remembered after it was published: a restart publishes nothing twice but what a crash interrupted.
A blob that is overwritten twice between two looks gives one event. What one upload raises depends on the kind of account.

Source: event-schema-blob-storage (Microsoft Learn, 2024-01).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from localcloud.chance import Chance
from localcloud.clocks import Clock, system
from localcloud.eventgrid import store
from localcloud.eventgrid.schemas import Event, stamp
from localcloud.eventgrid.subscriptions import BLOB_CREATED, BLOB_DELETED, STORAGE, STORAGE_ACCOUNT_ID

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

SEQUENCER_DIGITS = 48  # 32 is seen as well; only the order of the texts means something
LOG = logging.getLogger("eventgrid")


class Uploads(StrEnum):
    """What one upload raises, by how the account is made and written to."""

    FLAT = "flat"  # PutBlob, PutBlockList or CopyBlob, as the blob was made
    TWICE = "twice"  # PutBlob of nothing, then PutBlockList: an SDK's stream that was opened and then written
    HIERARCHICAL = "hierarchical"  # CreateFile without content, then FlushWithClose, on the dfs address
    SFTP = "sftp"  # SftpCreate, then SftpCommit, both with content length 0


@dataclass(frozen=True, kw_only=True)
class Options:
    """How blobs are told."""

    uploads: Uploads = Uploads.FLAT
    etag: Literal["quoted", "bare"] = "quoted"  # both stand in Microsoft's samples
    deletions: bool = False  # also BlobDeleted


class Seen:
    """The blobs that were published, by container, and the last sequencer."""

    def __init__(self, file: Path | None = None) -> None:
        self._connection = store.opened(file)

    def of(self, container: str) -> dict[str, str]:
        """Return name -> ETag."""
        return dict(self._connection.execute("SELECT name, etag FROM blobs WHERE container=?", (container,)).fetchall())

    def remember(self, container: str, found: Mapping[str, str], gone: set[str]) -> None:
        with self._connection:
            rows = [(container, name, etag) for name, etag in found.items()]
            self._connection.executemany("INSERT OR REPLACE INTO blobs VALUES (?,?,?)", rows)
            self._connection.executemany("DELETE FROM blobs WHERE container=? AND name=?", [(container, name) for name in gone])

    def sequencer(self) -> str:
        """Return a text that sorts after every one before it, also after a restart."""
        with self._connection:
            (value,) = self._connection.execute(
                "INSERT INTO counters VALUES ('sequencer', 1) ON CONFLICT (name) DO UPDATE SET value=value+1 RETURNING value"
            ).fetchone()
        return f"{value:0{SEQUENCER_DIGITS}x}"

    def close(self) -> None:
        self._connection.close()


class BlobWatcher:
    """Publishes BlobCreated (and, on request, BlobDeleted) of one container as `publish("storage", event)`."""

    def __init__(
        self,
        connection_string: str,
        container: str,
        publish: Callable[[str, Event], object],
        *,
        options: Options = Options(),
        seen: Path | None = None,
        every_s: float = 0.5,
        clock: Clock = system,
        chance: Chance | None = None,
        log: logging.Logger = LOG,
    ) -> None:
        self._connection_string, self._container, self._publish = connection_string, container, publish
        self._options, self._every_s = options, every_s
        self._clock, self._chance, self._log = clock, chance or Chance(), log
        self._seen = Seen(seen)
        self._known = self._seen.of(container)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {container}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        if "_client" in self.__dict__:
            self._client.close()
        self._seen.close()

    @cached_property
    def _client(self) -> ContainerClient:
        """Built at the first look: loading the SDK takes longer than all the rest of a start."""
        from azure.storage.blob import ContainerClient

        return ContainerClient.from_connection_string(self._connection_string, self._container, retry_total=1)

    def look(self) -> int:
        """Publish what is new; return how many blobs that were. Blobs that are gone are forgotten."""
        found = {blob.name: blob for blob in self._client.list_blobs()}
        new = [blob for name, blob in found.items() if self._known.get(name) != blob.etag]
        gone = self._known.keys() - found.keys()
        for blob in new:
            for event in self._created(blob):
                self._publish(STORAGE, event)
        if self._options.deletions:
            for name in sorted(gone):
                self._publish(STORAGE, self._deleted(name, self._known[name]))
        if new or gone:
            self._seen.remember(self._container, {blob.name: blob.etag for blob in new}, gone)
            self._known = {name: blob.etag for name, blob in found.items()}
        return len(new)

    def _run(self) -> None:
        from azure.core.exceptions import AzureError

        quiet = False
        while not self._stopping.is_set():
            try:
                self.look()
                quiet = False
            except AzureError as error:
                if not quiet:
                    self._log.warning("Container %s cannot be listed (%s); looking again.", self._container, type(error).__name__)
                quiet = True
            except Exception:  # noqa: BLE001 - a full disk, say: what was not remembered is told again
                if not quiet and not self._stopping.is_set():
                    self._log.exception("What is new in container %s cannot be told; looking again.", self._container)
                quiet = True
            self._stopping.wait(self._every_s)

    def _created(self, blob: Any) -> list[Event]:
        """Return what one upload raises, in the order in which it happens."""
        client = self._client.get_blob_client(blob.name)
        at, url = stamp(blob.last_modified), _on_dfs(client.url)

        def told(api: str, **data: Any) -> Event:
            return self._event(blob.name, BLOB_CREATED, at, self._data(blob, client, api) | data)

        match self._options.uploads:
            case Uploads.TWICE:
                return [told("PutBlob", contentLength=0), told("PutBlockList")]
            case Uploads.HIERARCHICAL:
                begun = told("CreateFile", contentLength=0, contentOffset=0, url=url)
                return [begun, told("FlushWithClose", contentLength=0, contentOffset=blob.size, url=url)]
            case Uploads.SFTP:
                events = [told(api, contentLength=0, contentOffset=0, identity="local.user") for api in ("SftpCreate", "SftpCommit")]
                for event in events:
                    del event["data"]["clientRequestId"]
                    event["dataVersion"] = "3"
                return events
            case _:
                return [told(_api(blob, client))]

    def _data(self, blob: Any, client: Any, api: str) -> dict[str, Any]:
        return {
            "api": api,
            "clientRequestId": self._chance.guid(),
            "requestId": self._chance.guid(),
            "eTag": self._etag(blob.etag),
            "contentType": blob.content_settings.content_type,
            "contentLength": blob.size,
            "blobType": "BlockBlob",
            "url": client.url,
            "sequencer": self._seen.sequencer(),
            "storageDiagnostics": {"batchId": self._chance.guid()},
        }

    def _deleted(self, name: str, etag: str) -> Event:
        """A blob that is gone shows no content type any more."""
        data = {
            "api": "DeleteBlob",
            "clientRequestId": self._chance.guid(),
            "requestId": self._chance.guid(),
            "eTag": self._etag(etag),
            "contentType": "application/octet-stream",
            "blobType": "BlockBlob",
            "url": self._client.get_blob_client(name).url,
            "sequencer": self._seen.sequencer(),
            "storageDiagnostics": {"batchId": self._chance.guid()},
        }
        return self._event(name, BLOB_DELETED, stamp(self._clock()), data)

    def _event(self, name: str, kind: str, at: str, data: dict[str, Any]) -> Event:
        return {
            "topic": STORAGE_ACCOUNT_ID,
            "subject": f"/blobServices/default/containers/{self._container}/blobs/{name}",
            "eventType": kind,
            "eventTime": at,
            "id": self._chance.guid(),
            "data": data,
            "dataVersion": "",
            "metadataVersion": "1",
        }

    def _etag(self, etag: str) -> str:
        bare = etag.strip('"')
        return f'"{bare}"' if self._options.etag == "quoted" else bare


def _api(blob: Any, client: Any) -> str:
    """A copied blob says so; one that was put in one piece has no committed blocks."""
    from azure.core.exceptions import AzureError

    if blob.copy is not None and blob.copy.status:
        return "CopyBlob"
    try:
        committed, _ = client.get_block_list("committed")
    except AzureError:  # gone already, or not a block blob
        return "PutBlob"
    return "PutBlockList" if committed else "PutBlob"


def _on_dfs(url: str) -> str:
    """Where a data lake would have it; Azurite has no such address, so only a name in the cloud's style changes."""
    return url.replace(".blob.", ".dfs.", 1)
