"""
What could not be delivered is a blob: the event, and why it was given up, where a person or a program can find it.

Shape and names: delivery-and-retry and manage-event-delivery (Microsoft Learn). The blob lies at
`<SUBSCRIPTION>/<year>/<month>/<day>/<hour>/<guid>.json`, name in capitals, numbers without leading zeros, an array inside.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from localcloud.eventgrid.delivery import Delivery
from localcloud.eventgrid.schemas import Schema, cloud_event, stamp


class ContainerMissing(Exception):
    """The dead-letter container is not there: Event Grid drops the event."""


class Box(Protocol):
    """Where dead letters go."""

    def put(self, container: str, name: str, body: bytes) -> None:
        """Write one blob; raise ContainerMissing, or OSError when the storage cannot be reached."""
        ...


class BlobBox:
    """A storage account; its client is built when the first letter comes."""

    def __init__(self, connection_string: str) -> None:
        self._connection_string = connection_string

    def put(self, container: str, name: str, body: bytes) -> None:
        from azure.core.exceptions import AzureError, ResourceNotFoundError
        from azure.storage.blob import BlobClient, ContentSettings

        settings = ContentSettings(content_type="application/json")
        try:
            with BlobClient.from_connection_string(self._connection_string, container, name, retry_total=1) as blob:
                blob.upload_blob(body, overwrite=True, content_settings=settings)
        except ResourceNotFoundError:
            raise ContainerMissing(container) from None
        except AzureError as error:
            raise OSError(f"The container {container} cannot be written ({type(error).__name__}).") from None


def record(delivery: Delivery, schema: Schema) -> dict[str, Any]:
    """Return the event with what is known of its attempts; a CloudEvent's extensions are lower case by its own rules."""
    last = delivery.last_attempt_at or delivery.published_at
    known: Mapping[str, Any] = {
        "deadLetterReason": delivery.reason,
        "deliveryAttempts": delivery.attempts,
        "lastDeliveryOutcome": str(delivery.last_outcome or ""),
        "publishTime": stamp(delivery.published_at),
        "lastDeliveryAttemptTime": stamp(last),
    }
    if schema is Schema.CLOUD_EVENTS:
        return {**cloud_event(delivery.event), **{name.lower(): value for name, value in known.items()}}
    return {**delivery.event, **known}


def blob_name(delivery: Delivery, at: datetime) -> str:
    """Return the place of a dead letter; its GUID follows from the delivery, so writing it again writes over it."""
    guid = uuid.uuid5(uuid.NAMESPACE_URL, f"{delivery.id} {delivery.event['id']} {delivery.published_at.isoformat()}")
    return f"{delivery.subscription.upper()}/{at.year}/{at.month}/{at.day}/{at.hour}/{guid}.json"


def body(delivery: Delivery, schema: Schema) -> bytes:
    return json.dumps([record(delivery, schema)], indent=1).encode()
