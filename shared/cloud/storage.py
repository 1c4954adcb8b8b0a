"""A storage account by its connection: a connection string, or service addresses with identity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azure.storage.blob import BlobServiceClient, ContainerClient
from azure.storage.blob import ExponentialRetry as BlobRetry
from azure.storage.queue import ExponentialRetry as QueueRetry
from azure.storage.queue import QueueClient, QueueServiceClient

from shared.cloud.addresses import checked
from shared.errors import WrongSettings
from shared.settings import Connection

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

BOUNDS: dict[str, Any] = {"connection_timeout": 10, "read_timeout": 60}  # seconds
# 3, 5 and 9 seconds, one more or less. Left alone the SDK sleeps for 18 to 42, with a message's lease and a function's time running.
RETRIES: dict[str, Any] = {"initial_backoff": 1, "increment_base": 2, "retry_total": 3, "random_jitter_range": 1}
# A body is taken from the socket in pieces of at most so many bytes. The SDK's 256 KiB are put together again, at twice the CPU and memory.
READING: dict[str, Any] = {"connection_data_block_size": 4 * 1024 * 1024}


class Account:
    """Clients of one account, each address checked."""

    def __init__(self, connection: Connection, credential: TokenCredential, *, local: bool) -> None:
        self._connection = connection
        self._credential = credential
        self._local = local

    def container(self, name: str) -> ContainerClient:
        text = self._connection.connection_string
        how = {**BOUNDS, **READING, "retry_policy": BlobRetry(**RETRIES)}
        service = (
            BlobServiceClient.from_connection_string(text, **how)
            if text
            else BlobServiceClient(self._needed(self._connection.blob_service_uri, "blob"), self._credential, **how)
        )
        checked(service.url, local=self._local, what="Blob storage")
        return service.get_container_client(name)

    def queue(self, name: str) -> QueueClient:
        text = self._connection.connection_string
        how = {**BOUNDS, "retry_policy": QueueRetry(**RETRIES)}
        service = (
            QueueServiceClient.from_connection_string(text, **how)
            if text
            else QueueServiceClient(self._needed(self._connection.queue_service_uri, "queue"), self._credential, **how)
        )
        checked(service.url, local=self._local, what="Queue storage")
        return service.get_queue_client(name)

    def _needed(self, address: str | None, kind: str) -> str:
        if not address:
            raise WrongSettings(f"A storage connection has no {kind} address: add the setting that ends in __{kind}ServiceUri.")
        return address
