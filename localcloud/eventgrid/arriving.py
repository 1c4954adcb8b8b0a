"""
What somebody posts to a topic is taken whole or refused whole, with the name of what does not conform.

Sources: EventGrid.json 2018-01-01 (azure-rest-api-specs), post-to-custom-topic, cloud-event-schema (Microsoft Learn); CloudEvents 1.0,
attribute names and types. Azure's own sentences where they are public (azure-sdk-for-python issue 16055), else ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from localcloud.eventgrid.schemas import SPEC_VERSION, Event, Schema

BYTES_MAX = 1_048_576  # of one event, and of one request
REQUIRED_CLOUD = ("id", "source", "specversion", "type")
KNOWN_CLOUD = {*REQUIRED_CLOUD, "datacontenttype", "dataschema", "subject", "time", "data", "data_base64"}
REQUIRED_GRID = ("id", "subject", "eventType", "eventTime", "data", "dataVersion")
KNOWN_GRID = {*REQUIRED_GRID, "topic", "metadataVersion"}
EXTENSION = re.compile(r"[a-z0-9]{1,20}")
CONTENT_TYPES: Mapping[str, frozenset[Schema]] = {
    "application/cloudevents-batch+json": frozenset({Schema.CLOUD_EVENTS}),
    "application/cloudevents+json": frozenset({Schema.CLOUD_EVENTS}),
    "application/json": frozenset(Schema),
}


class Unfit(Exception):
    """The request is refused; `status` says how."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def read(body: bytes, content_type: str, schema: Schema, topic_id: str) -> list[Event]:
    """Return the events of one request in the topic's schema; raise Unfit for the first thing that is wrong."""
    media = content_type.partition(";")[0].strip().lower()
    if schema not in CONTENT_TYPES.get(media, frozenset()):
        takes = " or ".join(sorted(name for name, schemas in CONTENT_TYPES.items() if schema in schemas))
        raise Unfit(415, f"The Content-Type is {media or 'missing'}; this topic takes {takes}.")
    if len(body) > BYTES_MAX:
        raise Unfit(413, f"The request has {len(body)} bytes; the maximum size is {BYTES_MAX}.")
    try:
        document = json.loads(body)
    except ValueError:
        raise Unfit(400, "The request content was invalid and could not be deserialized as JSON.") from None
    if media == "application/cloudevents+json":
        document = [document]
    if not isinstance(document, list):
        raise Unfit(400, f"Unexpected token when reading JSON. Expected: StartArray, actual: {type(document).__name__}.")
    if not document:
        raise Unfit(400, "The array holds no event.")
    return [_event(one, schema, topic_id) for one in document]


def _event(document: Any, schema: Schema, topic_id: str) -> Event:
    if not isinstance(document, dict):
        raise Unfit(400, f"Unexpected token when reading JSON. Expected: StartObject, actual: {type(document).__name__}.")
    return _cloud(document) if schema is Schema.CLOUD_EVENTS else _grid(document, topic_id)


def _cloud(event: Event) -> Event:
    configured = "This resource is configured to receive event in 'CloudEventV10' schema."
    _required(event, REQUIRED_CLOUD, configured)
    if event["specversion"] != SPEC_VERSION:
        raise Unfit(400, f"{configured} The value of 'specversion' is {event['specversion']!r}, and '1.0' is supported.")
    for name in event.keys() - KNOWN_CLOUD:
        if not EXTENSION.fullmatch(name):
            raise Unfit(400, f"{configured} The extension attribute name '{name}' must be 1 to 20 lower case letters or digits.")
        if not isinstance(event[name], str | int | bool):
            raise Unfit(400, f"{configured} The extension attribute '{name}' must be a text, a whole number, true or false.")
    for name in {"subject", "datacontenttype", "dataschema", "time"} & event.keys():
        if not isinstance(event[name], str):
            raise Unfit(400, f"{configured} The value of '{name}' must be a text.")
    if "data" in event and "data_base64" in event:
        raise Unfit(400, f"{configured} An event has 'data' or 'data_base64', not both.")
    if "time" in event:
        _time(event["time"], "time", configured)
    return event


def _grid(event: Event, topic_id: str) -> Event:
    configured = "This resource is configured for 'EventGridEvent' schema."
    unknown = sorted(event.keys() - KNOWN_GRID)
    if unknown:
        message = f"{configured} Received unexpected property '{unknown[0]}' in JSON which does not conform to the expected schema."
        raise Unfit(400, message)
    _required(event, REQUIRED_GRID, configured, texts=("id", "subject", "eventType", "eventTime"))
    _time(event["eventTime"], "eventTime", configured)
    if event.get("topic") not in (None, "", topic_id):
        raise Unfit(400, f"{configured} The value of 'topic' must be empty or {topic_id}.")
    return {**event, "topic": topic_id, "metadataVersion": "1"}


def _required(event: Event, names: tuple[str, ...], configured: str, texts: tuple[str, ...] | None = None) -> None:
    for name in names:
        if name not in event:
            raise Unfit(400, f"{configured} The required property '{name}' is missing.")
        if name in (texts or names) and (not isinstance(event[name], str) or not event[name]):
            raise Unfit(400, f"{configured} The value of '{name}' must be a text that is not empty.")


def _time(value: Any, name: str, configured: str) -> None:
    try:
        zone = datetime.fromisoformat(value).tzinfo
    except (TypeError, ValueError):
        zone = None
    if zone is None:
        raise Unfit(400, f"{configured} The value of '{name}' is {value!r}; write it by RFC 3339, with a zone.")
