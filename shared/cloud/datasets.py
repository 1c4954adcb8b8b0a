"""
The upload container and the prepared container.

A reader is pinned to the upload's ETag, so bytes of two versions are never mixed. Published files lie at a
content-addressed place and the manifest is written last: only it makes a prepared dataset exist.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.blob import BlobProperties, ContainerClient, ContentSettings

from shared.cloud import prefetch
from shared.cloud.answers import translated
from shared.cloud.publishing import BlobPlace
from shared.domain.upload import PATH_LENGTH_MAX, Upload, bare_etag
from shared.errors import Rejected

WISHES_FILE = "_recipe.json"
WISHES_BYTES_MAX = 64 * 1024
JSON_CONTENT = ContentSettings(content_type="application/json")


class BlobDatasets:
    """The `Datasets` port over two containers. An upload is read `ahead` ranges of `range_bytes` ahead of whoever takes them."""

    def __init__(
        self,
        uploads: ContainerClient,
        prepared: ContainerClient,
        *,
        datastore: str,
        uploads_datastore: str = "",
        ahead: int = prefetch.AHEAD,
        range_bytes: int = prefetch.RANGE_BYTES,
    ) -> None:
        self._uploads = uploads
        self._prepared = prepared
        self._datastore = datastore
        self._uploads_datastore = uploads_datastore
        self._ahead = ahead
        self._range_bytes = range_bytes
        self.account = str(uploads.account_name)
        self.container = uploads.container_name

    def head(self, path: str) -> Upload | None:
        if len(path) > PATH_LENGTH_MAX:  # beside an upload or in a set: storage would call the request a bad one
            return None
        with translated(f"Looking at {self.container}"):
            try:
                return self._upload(self._uploads.get_blob_client(path).get_blob_properties())
            except ResourceNotFoundError:
                return None

    def uploads(self) -> Iterator[Upload]:
        with translated(f"Listing {self.container}"):
            for blob in self._uploads.list_blobs(include=["copy"]):
                upload = self._upload(blob)
                if upload:
                    yield upload

    def open(self, upload: Upload) -> Generator[bytes, None, None]:
        blob = self._uploads.get_blob_client(upload.path)
        return prefetch.prefetched(blob, etag=upload.etag, size=upload.size, ahead=self._ahead, range_bytes=self._range_bytes)

    def place(self, folder: str, manifests: str) -> BlobPlace:
        return BlobPlace(self._prepared, folder, manifests)

    def wishes(self, folder: str) -> dict[str, object]:
        path = f"{folder}/{WISHES_FILE}" if folder else WISHES_FILE
        if len(path) > PATH_LENGTH_MAX:
            return {}
        with translated(f"Reading {WISHES_FILE}"):
            try:
                raw = self._uploads.download_blob(path, length=WISHES_BYTES_MAX, offset=0).readall()
            except ResourceNotFoundError:
                return {}
            except HttpResponseError as error:
                if error.status_code == 416:  # a range of an empty blob
                    return {}
                raise
        try:
            wishes = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise Rejected(f"{path} is no JSON: {error}. Correct it, then upload the dataset again.") from None
        if not isinstance(wishes, dict):
            raise Rejected(f'{path} must be a JSON object of parameter and value, for example {{"num_train_epochs": 2}}.')
        return wishes

    def uri(self, folder: str, file: str) -> str:
        return f"azureml://datastores/{self._datastore}/paths/{folder}/{file}"

    def upload_uri(self, path: str) -> str:
        return f"azureml://datastores/{self._uploads_datastore}/paths/{path}"

    def files(self, folder: str, *, hashed_bytes_max: int) -> dict[str, tuple[int, str | None]]:
        found: dict[str, tuple[int, str | None]] = {}
        with translated("Reading the prepared container"):
            for blob in self._prepared.list_blobs(name_starts_with=f"{folder}/"):
                body = self._prepared.download_blob(blob.name).readall() if blob.size <= hashed_bytes_max else None
                sha256 = hashlib.sha256(body).hexdigest() if body is not None else None
                found[blob.name.removeprefix(f"{folder}/")] = (blob.size, sha256)
        return found

    def write(self, path: str, body: Mapping[str, Any]) -> None:
        with translated("Writing into the prepared container"):
            self._prepared.upload_blob(path, _json(body), overwrite=True, content_settings=JSON_CONTENT)

    def read(self, path: str) -> Any:
        with translated("Reading the prepared container"):
            try:
                return json.loads(self._prepared.download_blob(path).readall())
            except ResourceNotFoundError:
                return None

    def _upload(self, blob: BlobProperties) -> Upload | None:
        """Return the blob as an upload; None while it is empty or a copy into it is not done."""
        if not blob.size or (blob.copy.status not in (None, "success")):
            return None
        return Upload(
            account=self.account,
            container=self.container,
            path=blob.name,
            etag=bare_etag(blob.etag),
            size=blob.size,
            last_modified=blob.last_modified,
        )


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, indent=1, default=str).encode()
