"""
A blob trigger with source EventGrid believes nothing of its event but the name.

The webhook puts container and name on an internal queue; from there a HEAD decides: a blob that is gone is a success, any other
runs the function on its present content. No receipts and no ETag check, as in the real extension, so a repeated event runs again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobClient, BlobProperties, BlobServiceClient, LinearRetry

from localcloud.functions import queues, settings
from localcloud.functions.invoking import Invoker
from localcloud.functions.worker import Function, Value

QUEUE = "azure-webjobs-blobtrigger-localcloud"  # the real one ends in the host's id
POISON_QUEUE = "webjobs-blobtrigger-poison"
HOST_STORAGE = "AzureWebJobsStorage"


def enqueue(function: Function, event: Mapping[str, Any]) -> None:
    """Put what the internal queue needs of a storage event on it. Neither eventType nor the trigger's path is looked at."""
    data = event["data"]
    container, name = container_and_name(data["url"])
    message = {
        "Type": "BlobTrigger",
        "FunctionId": f"Host.Functions.{function.name}",
        "BlobType": data.get("blobType", "BlockBlob"),
        "ContainerName": container,
        "BlobName": name,
        "ETag": data.get("eTag", ""),
    }
    queues.send(settings.connection_string(HOST_STORAGE), QUEUE, json.dumps(message))


def container_and_name(url: str) -> tuple[str, str]:
    """Read an address of the service (account in the host name) or of Azurite (account first in the path)."""
    parts = urlsplit(url)
    path = unquote(parts.path).lstrip("/")
    host = parts.hostname or ""
    if host == "localhost" or re.fullmatch(r"[\d.]+|\[?[\da-f:]+\]?", host):
        path = path.partition("/")[2]
    container, _, name = path.partition("/")
    if not container or not name:
        raise ValueError("The event's url names no blob.")
    return container, name


class BlobTrigger:
    """Runs the functions whose messages are on the internal queue."""

    def __init__(self, functions: Mapping[str, Function], invoke: Invoker) -> None:
        self._functions = functions
        self._invoke = invoke

    def handle(self, received: queues.Received) -> bool:
        message = json.loads(received.body)
        function = self._meant(message)
        if function is None:  # left over from another version of the app: the real host drops it too
            return True
        return self.run(function, message["ContainerName"], message["BlobName"])

    def poison(self, content: str) -> tuple[str, str]:
        """Where a message goes that failed too often: the account of the trigger, or the host's when that has no queues."""
        try:
            function = self._meant(json.loads(content))
        except (ValueError, KeyError, TypeError, AttributeError):  # a stranger's message
            function = None
        own = settings.connection_string(function.trigger["connection"]) if function else ""
        return own if settings.has_queues(own) else settings.connection_string(HOST_STORAGE), POISON_QUEUE

    def _meant(self, message: Mapping[str, Any]) -> Function | None:
        return self._functions.get(message["FunctionId"].rpartition(".")[2])

    def run(self, function: Function, container: str, name: str) -> bool:
        """Invoke on the present content; True: succeeded, or the blob is gone."""
        connection = settings.connection_string(function.trigger["connection"])
        service = BlobServiceClient.from_connection_string(connection, retry_policy=LinearRetry(**queues.RETRIES))
        with service.get_blob_client(container, name) as blob:
            try:
                properties = blob.get_blob_properties()
                data = _reference(function, container, name) if function.deferred else _content(function, blob)
            except ResourceNotFoundError:
                return True
            return self._invoke(function.name, data, _metadata(function, blob, properties)).succeeded


def _reference(function: Function, container: str, name: str) -> Value:
    """What travels for an SDK type: where the blob is, nothing of it."""
    content = {"Connection": function.trigger["connection"], "ContainerName": container, "BlobName": name}
    reference = {
        "version": "1.0",
        "source": "AzureStorageBlobs",
        "content_type": "application/json",
        "content": json.dumps(content),
    }
    return Value("model_binding_data", reference)


def _content(function: Function, blob: BlobClient) -> Value:
    raw: bytes = blob.download_blob().readall()
    return Value("string", raw.decode("utf-8")) if function.text and function.trigger.get("dataType") == "STRING" else Value("bytes", raw)


def _metadata(function: Function, blob: BlobClient, properties: BlobProperties) -> dict[str, Value]:
    """The binding data: system properties and the `{names}` of the trigger's path."""
    path = f"{blob.container_name}/{blob.blob_name}"
    shown = {
        "ContentLength": properties.size,
        "ETag": properties.etag,
        "ContentType": properties.content_settings.content_type,
        "LastModified": properties.last_modified.isoformat(),
        "CreatedOn": properties.creation_time.isoformat(),
    }
    named = match_path(function.trigger["path"], path) or {}
    return {
        "BlobTrigger": Value("string", path),
        "Uri": Value("string", blob.url.partition("?")[0]),
        "Properties": Value("json", json.dumps(shown)),
        "Metadata": Value("json", json.dumps(properties.metadata or {})),
        **{key: Value("string", text) for key, text in named.items()},
    }


def match_path(pattern: str, path: str) -> dict[str, str] | None:
    """`datasets/{folder}/{name}` against a path; None: it does not match."""
    expression = "".join(
        f"(?P<{part[1:-1]}>.+)" if part.startswith("{") and part.endswith("}") else re.escape(part)
        for part in re.split(r"(\{\w+\})", pattern)
    )
    match = re.fullmatch(expression, path)
    return match.groupdict() if match else None
