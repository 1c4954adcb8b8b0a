"""Output bindings: what a function returned or set goes to a queue or a blob; other kinds are refused by name."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from localcloud.functions import queues, settings, worker

KNOWN = frozenset({"http", "queue", "blob"})


def write(binding: Mapping[str, Any], value: worker.Value) -> None:
    """Carry out one output; `http` is the answer itself and nothing to write."""
    if binding["type"] == "queue":
        connection = settings.connection_string(binding["connection"])
        for message in _messages(value):
            queues.send(connection, binding["queueName"], base64.b64encode(message).decode())
    elif binding["type"] == "blob":
        _write_blob(binding, value)


def _messages(value: worker.Value) -> list[bytes]:
    if value.kind == "bytes":
        return [value.value]
    if value.kind != "json":
        return [str(value.value).encode()]
    document = json.loads(value.value)
    items = document if isinstance(document, list) else [document]
    bodies = [item["body"] if isinstance(item, dict) and "body" in item else item for item in items]
    return [body.encode() if isinstance(body, str) else json.dumps(body).encode() for body in bodies]


def _write_blob(binding: Mapping[str, Any], value: worker.Value) -> None:
    from azure.storage.blob import BlobServiceClient

    path = binding["path"].replace("{rand-guid}", str(uuid.uuid4())).replace("{DateTime}", f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}")
    container, _, name = path.partition("/")
    with BlobServiceClient.from_connection_string(settings.connection_string(binding["connection"])) as service:
        service.get_blob_client(container, name).upload_blob(value.value, overwrite=True)
