"""
An event in Event Grid's own schema and as a CloudEvent 1.0: one mapping, and what each asks of the request around it.

Sources: event-schema, cloud-event-schema, webhook-event-delivery (Microsoft Learn); CloudEvents 1.0 HTTP webhook, section 4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

Event = dict[str, Any]

ORIGIN = "eventgrid.azure.net"  # what Azure sends as WebHook-Request-Origin, as receivers in public repositories expect it
CLOUD_EVENTS_JSON = "application/cloudevents+json; charset=utf-8"
EVENT_GRID_JSON = "application/json; charset=utf-8"
SPEC_VERSION = "1.0"


class Schema(StrEnum):
    """In which form a subscription wants its events, or a topic takes them."""

    EVENT_GRID = "EventGridSchema"
    CLOUD_EVENTS = "CloudEventSchemaV1_0"


def schema_of(event: Mapping[str, Any]) -> Schema:
    return Schema.CLOUD_EVENTS if "specversion" in event else Schema.EVENT_GRID


def type_of(event: Mapping[str, Any]) -> str:
    return str(event.get("eventType") or event.get("type") or "")


def subject_of(event: Mapping[str, Any]) -> str:
    return str(event.get("subject") or "")


def cloud_event(event: Mapping[str, Any]) -> Event:
    """Return the event as a CloudEvent; the data stay as they are. One that is a CloudEvent already is itself."""
    if schema_of(event) is Schema.CLOUD_EVENTS:
        return dict(event)
    return {
        "specversion": SPEC_VERSION,
        "id": event["id"],
        "type": event["eventType"],
        "source": event["topic"],
        "subject": event["subject"],
        "time": event["eventTime"],
        "data": event["data"],
    }


def body(event: Mapping[str, Any], schema: Schema) -> bytes:
    """Return one event as it is posted: alone in an array, or as one structured CloudEvent."""
    return json.dumps(cloud_event(event) if schema is Schema.CLOUD_EVENTS else [event]).encode()


def headers(event: Mapping[str, Any], schema: Schema) -> dict[str, str]:
    """Return the headers that depend on the schema."""
    if schema is Schema.CLOUD_EVENTS:
        return {"Content-Type": CLOUD_EVENTS_JSON, "aeg-metadata-version": SPEC_VERSION}
    return {
        "Content-Type": EVENT_GRID_JSON,
        "aeg-data-version": str(event.get("dataVersion", "")),
        "aeg-metadata-version": str(event.get("metadataVersion", "1")),
    }


def validation_event(*, topic: str, code: str, event_id: str, at: datetime) -> Event:
    """Return the event by which an Event Grid webhook proves itself; it is alone in its array."""
    return {
        "id": event_id,
        "topic": topic,
        "subject": "",
        "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
        "eventTime": stamp(at),
        "data": {"validationCode": code},
        "dataVersion": "1",
        "metadataVersion": "1",
    }


def stamp(moment: datetime) -> str:
    """Event Grid writes seven digits after the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"
