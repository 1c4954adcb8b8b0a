"""
The ledger on blobs: one small JSON document a record, created with If-None-Match and changed with If-Match.

Layout of the container: `owner.json`, `<kind>/<id>.json`, and an empty marker `active/<kind>/<id>` for each record that
is alive. Each write carries a nonce, since a conflict may be the echo of our own write whose reply was lost: the SDK
sends a PUT again after a lost reply and then reports that the blob exists.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import ContainerClient

from shared.cloud.answers import translated
from shared.domain.record import Key, Kind
from shared.errors import LostRace, TryLater, UnreadableRecord
from shared.ports import Stored

NONCE = "writer_nonce"
CONFLICT = 409, 412
OWNER_BLOB = "owner.json"


def new_nonce() -> str:
    return uuid.uuid4().hex


class BlobLedger:
    """The `Ledger` port over one container. Documents are below 100 KB, so each is one request."""

    def __init__(self, container: ContainerClient, *, nonce: Callable[[], str] = new_nonce) -> None:
        self._container = container
        self._nonce = nonce
        self._owner: str | None = None

    def owner(self) -> str:
        if self._owner is None:
            self._create(OWNER_BLOB, {"owner": str(uuid.uuid4())})
            stored = self._read(OWNER_BLOB)
            if stored is None:
                raise TryLater("The ledger does not show its owner yet.")
            self._owner = str(stored.body["owner"])
        return self._owner

    def create(self, key: Key, body: Mapping[str, Any]) -> bool:
        self.activate(key)
        return self._create(_path(key), body)

    def read(self, key: Key) -> Stored | None:
        return self._read(_path(key))

    def replace(self, key: Key, body: Mapping[str, Any], version: str) -> str:
        document = {**body, NONCE: self._nonce()}
        with translated(f"Writing {key}"):
            try:
                blob = self._container.get_blob_client(_path(key))
                answer = blob.upload_blob(_bytes(document), overwrite=True, etag=version, match_condition=MatchConditions.IfNotModified)
                return str(answer["etag"])
            except (ResourceModifiedError, ResourceExistsError, ResourceNotFoundError):
                return self._ours_after_all(key, document)

    def activate(self, key: Key) -> None:
        with translated(f"Marking {key}"):
            self._container.upload_blob(f"active/{key}", b"", overwrite=True)

    def deactivate(self, key: Key) -> None:
        with translated(f"Unmarking {key}"):
            try:
                self._container.delete_blob(f"active/{key}")
            except ResourceNotFoundError:
                return

    def active(self) -> Iterator[Key]:
        with translated("Listing what is active"):
            for name in self._container.list_blob_names(name_starts_with="active/"):
                _, kind, record = name.split("/", 2)
                if kind in set(Kind):
                    yield Key(kind=Kind(kind), id=record)

    def ids(self, kind: Kind) -> Iterator[str]:
        with translated(f"Listing {kind.value} records"):
            for name in self._container.list_blob_names(name_starts_with=f"{kind.value}/"):
                yield name.rpartition("/")[2].removesuffix(".json")

    def _create(self, path: str, body: Mapping[str, Any]) -> bool:
        nonce = self._nonce()
        with translated(f"Creating {path}"):
            try:
                self._container.upload_blob(path, _bytes({**body, NONCE: nonce}), overwrite=False)
            except HttpResponseError as error:
                if error.status_code not in CONFLICT:
                    raise
                stored = self._read(path)
                return stored is not None and stored.body.get(NONCE) == nonce
        return True

    def _read(self, path: str) -> Stored | None:
        with translated(f"Reading {path}"):
            try:
                download = self._container.download_blob(path)
                return Stored(body=_body(path, download.readall()), version=str(download.properties.etag))
            except ResourceNotFoundError:
                return None

    def _ours_after_all(self, key: Key, document: Mapping[str, Any]) -> str:
        stored = self.read(key)
        if stored is None or stored.body.get(NONCE) != document[NONCE]:
            raise LostRace(f"{key} was written by somebody else.")
        return stored.version


def _body(path: str, content: bytes) -> dict[str, Any]:
    """Return the document; raise UnreadableRecord for anything else."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise UnreadableRecord(f"{path} of the ledger is no JSON object.")
    return body


def _path(key: Key) -> str:
    return f"{key}.json"


def _bytes(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
