"""
A folder of the prepared container as a place of outputs.

Files go up in blocks that nobody sees; the list of the blocks is one write that must not find a file there. An answer that says
"there is one" (or "there are no such blocks": they go when somebody commits) is no proof that somebody else was faster, since it may
have been ourselves and the reply was lost. So the blob is looked at, and the same content is a success whoever wrote it.

Block ids carry a hash of the block: whatever an earlier attempt or another worker staged for the same name, a list can only
name our own bytes. What is staged and never committed is removed by storage after a week.
"""

from __future__ import annotations

import io
import json
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import xxhash
from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.storage.blob import BlobBlock, BlobClient, ContainerClient, ContentSettings

from shared.cloud.answers import translated
from shared.errors import Stop, TryLater
from shared.place import CONTENT_KEY, manifest_of, manifest_path

BLOCK_BYTES: Final = 5 * 1024 * 1024  # above the 4 MiB from which storage takes its fast path; 50,000 of them are 250 GB
UPLOADS_MAX: Final = 4  # under way at once, over all files of a place
WHAT: Final = "Publishing the prepared files"
SHA256_KEY: Final = "sha256"  # of a blob's metadata
JSON_TYPE: Final = "application/json"
NO_SUCH_BLOCKS: Final = "InvalidBlockList"


class BlobPlace:
    """
    The `Place` port. Files lie under `folder`; the manifest lies under `manifests`, at an address that follows from the content.

    Memory: `uploads_max` blocks under way, and one that is being filled for each open file. For one thread.
    """

    def __init__(
        self,
        prepared: ContainerClient,
        folder: str,
        manifests: str,
        *,
        uploads_max: int = UPLOADS_MAX,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self._prepared = prepared
        self._folder = folder
        self._manifests = manifests
        self._block_bytes = block_bytes
        self._uploads = _Uploads(uploads_max)

    def stage(self, name: str) -> StagedBlob:
        return StagedBlob(self._prepared.get_blob_client(f"{self._folder}/{name}"), self._uploads, self._block_bytes)

    def put(self, name: str, body: bytes, content_type: str) -> None:
        with translated(WHAT):
            self._prepared.upload_blob(
                f"{self._folder}/{name}", body, overwrite=True, content_settings=ContentSettings(content_type=content_type)
            )

    def published(self, content_sha256: str) -> dict[str, Any] | None:
        """Raise Stop if the manifest at this address is of another content, or none of ours."""
        path = manifest_path(self._manifests, content_sha256)
        with translated("Reading a manifest"):
            try:
                raw = self._prepared.download_blob(path).readall()
            except ResourceNotFoundError:
                return None
        try:
            found = dict(json.loads(raw))
            there = found[CONTENT_KEY]
        except (ValueError, TypeError, LookupError, RecursionError):
            there, found = "something else", {}
        if there != content_sha256:
            raise Stop(
                f"{path} is not the manifest of {content_sha256} but of {there}.",
                next_action="Look who writes into the prepared container; move that blob away, then upload the file again.",
            )
        return found

    def publish(self, content_sha256: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        written = manifest_of(content_sha256, self._folder, manifest)
        with translated(WHAT):
            try:
                self._prepared.upload_blob(
                    manifest_path(self._manifests, content_sha256),
                    json.dumps(written, ensure_ascii=False, indent=1).encode(),
                    overwrite=False,
                    content_settings=ContentSettings(content_type=JSON_TYPE),
                )
            except ResourceExistsError:
                there = self.published(content_sha256)
                if there is None:
                    raise TryLater(f"{WHAT}: the manifest was there and is gone.") from None
                return there
        return written


class StagedBlob:
    """The `StagedFile` port over the uncommitted blocks of one blob."""

    def __init__(self, blob: BlobClient, uploads: _Uploads, block_bytes: int) -> None:
        self._blob = blob
        self._uploads = uploads
        self._block_bytes = block_bytes
        self._filling = io.BytesIO()  # the next block
        self._size = 0  # bytes, of everything written
        self._blocks: list[str] = []  # ids, in order
        self._under_way: deque[Future[None]] = deque()
        self._failure: BaseException | None = None
        self._open = True
        uploads.begin()

    def write(self, block: bytes) -> None:
        """Raise what an earlier block has met: TryLater or Stop."""
        if not self._open:
            raise ValueError(f"{self._blob.blob_name} is committed or abandoned.")
        rest = memoryview(block)
        self._size += len(rest)
        while rest:
            room = self._block_bytes - self._filling.tell()
            self._filling.write(rest[:room])
            rest = rest[room:]
            if self._filling.tell() == self._block_bytes:
                self._send()
        self._look(wait=False)

    def commit(self, sha256: str) -> None:
        """Raise Stop if the blob is there with another content; TryLater when storage does not answer or lost the blocks."""
        if self._filling.tell():
            self._send()
        self._look(wait=True)
        with translated(WHAT):
            try:
                self._blob.commit_block_list(
                    [BlobBlock(block_id=block) for block in self._blocks],
                    match_condition=MatchConditions.IfMissing,
                    metadata={SHA256_KEY: sha256, "size": str(self._size)},
                )
            except (HttpResponseError, ServiceRequestError, ServiceResponseError) as error:
                self._settle(error, sha256)
        self._close()

    def abandon(self) -> None:
        self._close()

    def _send(self) -> None:
        block = self._filling.getvalue()
        self._filling = io.BytesIO()
        # 5 + 32 characters: all ids of a blob must have one length, and 64 bytes are the most.
        name = f"{len(self._blocks):05d}{xxhash.xxh3_128_hexdigest(block)}"
        self._blocks.append(name)
        self._under_way.append(self._uploads.send(self._blob, name, block))

    def _look(self, *, wait: bool) -> None:
        """Raise the first failure, now and whenever it is asked again."""
        while self._under_way and (wait or self._under_way[0].done()):
            failure = self._under_way.popleft().exception()
            self._failure = self._failure or failure
        if self._failure:
            raise self._failure

    def _settle(self, error: HttpResponseError | ServiceRequestError | ServiceResponseError, sha256: str) -> None:
        """Return if the blob is there as we would have it; else raise what the answer means."""
        refused = isinstance(error, HttpResponseError)
        gone = refused and getattr(error, "error_code", None) == NO_SUCH_BLOCKS
        if refused and not gone and not isinstance(error, (ResourceExistsError, ResourceModifiedError)):
            raise error
        try:
            there = self._blob.get_blob_properties()
        except ResourceNotFoundError:
            if gone:
                raise TryLater(f"{WHAT}: the blocks of {self._blob.blob_name} are gone before they were committed.") from None
            raise error from None
        if (there.metadata.get(SHA256_KEY), there.size) != (sha256, self._size):
            raise Stop(
                f"{self._blob.blob_name} is in the prepared container already, with another content than the one prepared now.",
                next_action="Look who writes into the prepared container; move that blob away, then upload the file again.",
            ) from None

    def _close(self) -> None:
        if self._open:
            self._open = False
            for upload in self._under_way:
                upload.cancel()
            self._filling, self._under_way = io.BytesIO(), deque()
            self._uploads.end()


class _Uploads:
    """A few uploads at once for all files of a place; its threads live while a file is open."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._room = threading.BoundedSemaphore(at_once)
        self._files = 0
        self._pool: ThreadPoolExecutor | None = None

    def begin(self) -> None:
        self._files += 1

    def end(self) -> None:
        self._files -= 1
        if not self._files and self._pool:
            self._pool.shutdown(wait=True)
            self._pool = None

    def send(self, blob: BlobClient, name: str, block: bytes) -> Future[None]:
        """Begin an upload, once there is room for it: so memory stays bounded however slow storage is."""
        self._pool = self._pool or ThreadPoolExecutor(self._at_once, thread_name_prefix="publish")
        self._room.acquire()
        sent = self._pool.submit(_staged, blob, name, block)
        sent.add_done_callback(lambda _: self._room.release())
        return sent


def _staged(blob: BlobClient, name: str, block: bytes) -> None:
    with translated(WHAT):
        blob.stage_block(name, block)
