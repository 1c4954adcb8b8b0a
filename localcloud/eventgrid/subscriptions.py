"""
A subscription says which events go where, in which form, and for how long: a documented value that is checked by name.

In a file it is a JSON object with the property names of Azure's own resource (Microsoft.EventGrid/…/eventSubscriptions); `topic` is the
name or resource id that is given to `publish`, `endpoint` a webhook on this machine. What is not known is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from localcloud.eventgrid.schedule import ATTEMPTS_MAX, TIME_TO_LIVE, RetryPolicy
from localcloud.eventgrid.schemas import Schema, schema_of, subject_of, type_of

STORAGE, AZUREML = "storage", "azureml"  # short names of the two system topics
STORAGE_ACCOUNT_ID = (
    "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/local-rg/providers"
    "/Microsoft.Storage/storageAccounts/devstoreaccount1"
)
WORKSPACE_ID = (
    "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/local-rg/providers"
    "/Microsoft.MachineLearningServices/workspaces/local-workspace"
)
TOPIC_IDS: Mapping[str, str] = {STORAGE: STORAGE_ACCOUNT_ID, AZUREML: WORKSPACE_ID}
BLOB_CREATED = "Microsoft.Storage.BlobCreated"
BLOB_DELETED = "Microsoft.Storage.BlobDeleted"
RUN_EVENTS = ("Microsoft.MachineLearningServices.RunCompleted", "Microsoft.MachineLearningServices.RunStatusChanged")
DEAD_LETTERS = "dead-letters"  # container of the default subscriptions
TIME_TO_LIVE_MINUTES_MAX = TIME_TO_LIVE // timedelta(minutes=1)
HEADERS_MAX, HEADER_BYTES_MAX = 10, 4096  # of a subscription's own headers (delivery-properties, Microsoft Learn)
NAME = re.compile(r"[A-Za-z0-9-]{3,64}")  # name rules of event subscriptions (Azure resource name rules)
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class WrongSubscription(Exception):
    """A subscription cannot be used; the text names it and what is wrong."""


@dataclass(frozen=True, kw_only=True)
class StringIn:
    """An advanced filter: the value at `key` is one of `values`, without regard to case."""

    key: str  # such as data.api
    values: tuple[str, ...]

    def passes(self, event: Mapping[str, Any]) -> bool:
        found: Any = event
        for part in self.key.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return isinstance(found, str) and found.lower() in self.values


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """One webhook and the events that it wants."""

    name: str
    topic: str
    endpoint: str
    schema: Schema = Schema.EVENT_GRID
    included_types: tuple[str, ...] = ()  # lower case; (): every type
    subject_begins_with: str = ""
    subject_ends_with: str = ""
    subject_case_sensitive: bool = False
    advanced: tuple[StringIn, ...] = ()  # all must pass
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    dead_letter_container: str = ""  # '': what cannot be delivered is dropped, as by default in Azure
    headers: Mapping[str, str] = field(default_factory=dict)  # sent along with each delivery; may hold a key

    def wants(self, topic: str, event: Mapping[str, Any]) -> bool:
        """True if this subscription is on that topic and its filters let the event pass."""
        if topic.lower() != self.topic.lower():  # resource ids compare without case
            return False
        if self.schema is Schema.EVENT_GRID and schema_of(event) is Schema.CLOUD_EVENTS:
            return False  # Event Grid maps CloudEvents to nothing else
        if self.included_types and type_of(event).lower() not in self.included_types:
            return False
        return self._subject_passes(subject_of(event)) and all(one.passes(event) for one in self.advanced)

    def _subject_passes(self, subject: str) -> bool:
        begins, ends = self.subject_begins_with, self.subject_ends_with
        if not self.subject_case_sensitive:
            subject, begins, ends = subject.lower(), begins.lower(), ends.lower()
        return subject.startswith(begins) and subject.endswith(ends)


def read(path: Path) -> list[Subscription]:
    """Return the subscriptions of a JSON file; raise WrongSubscription that says what is wrong."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WrongSubscription(f"{path} cannot be read as JSON ({error}); write a list of subscriptions.") from None
    return parse_all(document)


def parse_all(document: Any) -> list[Subscription]:
    """Return every subscription of a list; names must differ, because what is undelivered is kept under them."""
    if not isinstance(document, list):
        raise WrongSubscription(f"Subscriptions are a JSON list, and this is {type(document).__name__}.")
    found = [parse(one) for one in document]
    names = [one.name.lower() for one in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise WrongSubscription(f"The name {twice[0]} stands for two subscriptions; give each its own.")
    return found


def parse(document: Any) -> Subscription:
    """Return one subscription; raise WrongSubscription for an unknown key, a wrong type or a value outside Azure's limits."""
    reader = _Reader(document, "A subscription", KEYS)
    name = reader.text("name")
    if not NAME.fullmatch(name):
        raise WrongSubscription(f"Subscription {name!r}: the name has 3 to 64 letters, digits and hyphens.")
    reader.what = f"Subscription {name}"
    endpoint = reader.text("endpoint")
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or (parts.hostname or "") not in LOOPBACK:
        raise WrongSubscription(f"Subscription {name}: endpoint must be an http address of this machine, and is on {parts.hostname!r}.")
    retries, filters = reader.inner("retryPolicy", RETRY_KEYS), reader.inner("filter", FILTER_KEYS)
    minutes = retries.number("eventTimeToLiveInMinutes", 1, TIME_TO_LIVE_MINUTES_MAX, TIME_TO_LIVE_MINUTES_MAX)
    return Subscription(
        name=name,
        topic=reader.text("topic"),
        endpoint=endpoint,
        schema=Schema(reader.choice("eventDeliverySchema", [one.value for one in Schema], Schema.EVENT_GRID.value)),
        included_types=tuple(one.lower() for one in filters.texts("includedEventTypes")),
        subject_begins_with=filters.text("subjectBeginsWith", ""),
        subject_ends_with=filters.text("subjectEndsWith", ""),
        subject_case_sensitive=filters.flag("isSubjectCaseSensitive"),
        advanced=tuple(_advanced(one, filters.what) for one in filters.items("advancedFilters")),
        policy=RetryPolicy(
            attempts_max=retries.number("maxDeliveryAttempts", 1, ATTEMPTS_MAX, ATTEMPTS_MAX), time_to_live=timedelta(minutes=minutes)
        ),
        dead_letter_container=reader.text("deadLetterContainer", ""),
        headers=_headers(reader),
    )


KEYS = frozenset({"name", "topic", "endpoint", "eventDeliverySchema", "filter", "retryPolicy", "deadLetterContainer", "deliveryHeaders"})
FILTER_KEYS = frozenset({"includedEventTypes", "subjectBeginsWith", "subjectEndsWith", "isSubjectCaseSensitive", "advancedFilters"})
RETRY_KEYS = frozenset({"maxDeliveryAttempts", "eventTimeToLiveInMinutes"})
ADVANCED_KEYS = frozenset({"operatorType", "key", "values"})


def _advanced(document: Any, what: str) -> StringIn:
    reader = _Reader(document, f"{what}: an advanced filter", ADVANCED_KEYS)
    reader.choice("operatorType", ["StringIn"], None)
    key = reader.text("key")
    if not key.startswith("data."):
        raise WrongSubscription(f"{reader.what}: key is {key!r}; here it is a place in the data, such as data.api.")
    return StringIn(key=key, values=tuple(one.lower() for one in reader.texts("values")))


def _headers(reader: _Reader) -> dict[str, str]:
    """Values may be keys, so no error repeats one."""
    found = reader.inner("deliveryHeaders", None).document
    if len(found) > HEADERS_MAX:
        raise WrongSubscription(f"{reader.what}: {len(found)} deliveryHeaders; Event Grid sends {HEADERS_MAX} at most.")
    for name, value in found.items():
        fits = isinstance(value, str) and len(value.encode()) <= HEADER_BYTES_MAX and value.isprintable()
        if not fits or not re.fullmatch(r"[A-Za-z0-9-]+", name) or name.lower().startswith("aeg-"):
            raise WrongSubscription(f"{reader.what}: the delivery header {name!r} needs a name of its own and a text of one line.")
    return dict(found)


class _Reader:
    """Takes values out of a JSON object by name and type."""

    def __init__(self, document: Any, what: str, known: frozenset[str] | None) -> None:
        if not isinstance(document, dict):
            raise WrongSubscription(f"{what} is a JSON object, and this is {type(document).__name__}.")
        unknown = sorted(document.keys() - known) if known is not None else []
        if unknown:
            raise WrongSubscription(f"{what} has no {', '.join(unknown)}; known are {', '.join(sorted(known or ()))}.")
        self.document: dict[str, Any] = document
        self.what = what

    def text(self, key: str, absent: str | None = None) -> str:
        value = self.document.get(key, absent)
        if not isinstance(value, str) or (absent is None and not value):
            raise self._wrong(key, "a text")
        return value

    def choice(self, key: str, allowed: list[str], absent: str | None) -> str:
        value = self.document.get(key, absent)
        if value not in allowed:
            raise self._wrong(key, " or ".join(allowed))
        return str(value)

    def flag(self, key: str) -> bool:
        value = self.document.get(key, False)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def number(self, key: str, least: int, most: int, absent: int) -> int:
        value = self.document.get(key, absent)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self._wrong(key, f"a number from {least} to {most}")
        return value

    def items(self, key: str) -> list[Any]:
        value = self.document.get(key) or []
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        return value

    def texts(self, key: str) -> list[str]:
        values = self.items(key)
        if not all(isinstance(one, str) for one in values):
            raise self._wrong(key, "a list of texts")
        return values

    def inner(self, key: str, known: frozenset[str] | None) -> _Reader:
        return _Reader(self.document.get(key) or {}, f"{self.what}: {key}", known)

    def _wrong(self, key: str, wanted: str) -> WrongSubscription:
        return WrongSubscription(f"{self.what}: {key} is {self.document.get(key)!r}; it must be {wanted}.")


def default_subscriptions(host: str = "http://127.0.0.1:7071", container: str = "datasets") -> list[dict[str, Any]]:
    """Return what the app subscribes to when it is deployed, aimed at a local Functions host, as the file holds it."""
    letters = {"deadLetterContainer": DEAD_LETTERS}
    uploads = {
        "topic": STORAGE,
        "filter": {
            "includedEventTypes": [BLOB_CREATED],
            "subjectBeginsWith": f"/blobServices/default/containers/{container}/",
        },
    }
    blobs, grid = f"{host}/runtime/webhooks/blobs", f"{host}/runtime/webhooks/EventGrid"
    return [
        {"name": "uploads-blob", "endpoint": f"{blobs}?functionName=Host.Functions.dataset_blob_uploaded", **uploads, **letters},
        {"name": "uploads-event", "endpoint": f"{grid}?functionName=dataset_event_received", **uploads, **letters},
        {
            "name": "runs",
            "topic": AZUREML,
            "endpoint": f"{grid}?functionName=job_event_received",
            "filter": {"includedEventTypes": list(RUN_EVENTS)},
            **letters,
        },
    ]
