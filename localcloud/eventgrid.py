"""
Events are delivered at least once, in no order, and again until somebody says 2xx: Event Grid as far as an app can feel it.

A subscription is a dict {"name", "topic", "endpoint", "included_event_types", "subject_begins_with"}. Its endpoint proves itself
by the handshake first; then each event is one request. What happens after an answer is one pure function, `after_attempt`.
Azurite raises no events, so `BlobWatcher` lists a container and publishes what Azure Storage would.

    grid = EventGrid(default_subscriptions("http://127.0.0.1:7071"), pace=0.1, store=data / "eventgrid.json")
    grid.start()
    BlobWatcher(connection_string, "datasets", grid.publish, 0.5, seen=data / "seen.json").start()

Sources: delivery-and-retry (Microsoft Learn, 2026-02), webhook-event-delivery, event-schema-blob-storage.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from localcloud import processes

Event = dict[str, Any]
Log = Callable[..., object]

RETRY_AFTER_S = (10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200)  # then every 12 h
AT_LEAST_S = {408: 120, 503: 30, 404: 300, 401: 300}  # 404: sources disagree, see after_attempt
NEVER_RETRIED = frozenset({400, 401, 403, 413})  # for webhooks
ATTEMPTS_MAX = 30
TIME_TO_LIVE_S = 24 * 3600.0
ANSWER_WITHIN_S = 30.0  # then the delivery counts as failed, although the receiver goes on
HANDSHAKE_AGAIN_S = 0.5  # Azure refuses the subscription; here the host may still be starting
HANDSHAKE_AGAIN_MAX_S = 5.0
PARALLEL = 4  # a guess: one slow receiver must not hold up the others
DEAD_LETTERS_KEPT = 1000

STORAGE, AZUREML = "storage", "azureml"
STORAGE_ACCOUNT_ID = (
    "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/local-rg/providers"
    "/Microsoft.Storage/storageAccounts/devstoreaccount1"
)
BLOB_CREATED = "Microsoft.Storage.BlobCreated"
RUN_EVENTS = ("Microsoft.MachineLearningServices.RunCompleted", "Microsoft.MachineLearningServices.RunStatusChanged")


class Verdict(Enum):
    DELIVERED = "delivered"
    RETRY = "retry"
    GIVE_UP = "give up"


@dataclass(frozen=True)
class Next:
    """What follows an attempt."""

    verdict: Verdict
    after_s: float = 0.0  # for RETRY: seconds until the next attempt, before pace
    reason: str = ""  # for GIVE_UP: as in a dead-letter record


def after_attempt(status: int | None, *, attempts: int, age_s: float) -> Next:
    """
    Decide what follows the `attempts`-th attempt. `status` None: no answer in time, or no connection.

    A 404 is retried after 5 minutes here. Microsoft's pages disagree about webhooks: an app must not count on it.
    """
    if status is not None and 200 <= status <= 204:
        return Next(Verdict.DELIVERED)
    if status in NEVER_RETRIED:
        return Next(Verdict.GIVE_UP, reason={400: "BadRequest", 401: "Unauthorized", 403: "Forbidden"}.get(status, "TooLarge"))
    if attempts >= ATTEMPTS_MAX:
        return Next(Verdict.GIVE_UP, reason="MaxDeliveryAttemptsExceeded")
    if age_s >= TIME_TO_LIVE_S:
        return Next(Verdict.GIVE_UP, reason="TimeToLiveExceeded")
    scheduled = RETRY_AFTER_S[min(attempts, len(RETRY_AFTER_S)) - 1]
    return Next(Verdict.RETRY, after_s=max(scheduled, AT_LEAST_S.get(status or 0, 10)))


def wants(subscription: Mapping[str, Any], topic: str, event: Mapping[str, Any]) -> bool:
    """True if the subscription's topic and filters match. Texts compare without case, as by default in Azure."""
    types = [one.lower() for one in subscription.get("included_event_types") or ()]
    begins = str(subscription.get("subject_begins_with") or "").lower()
    return (
        subscription["topic"] == topic
        and (not types or str(event["eventType"]).lower() in types)
        and str(event["subject"]).lower().startswith(begins)
    )


def default_subscriptions(host: str = "http://127.0.0.1:7071", container: str = "datasets") -> list[dict[str, Any]]:
    """What the app subscribes to when it is deployed, aimed at a local Functions host."""
    uploads = {
        "topic": STORAGE,
        "included_event_types": [BLOB_CREATED],
        "subject_begins_with": f"/blobServices/default/containers/{container}/",
    }
    blobs, grid = f"{host}/runtime/webhooks/blobs", f"{host}/runtime/webhooks/EventGrid"
    return [
        {"name": "uploads-blob", "endpoint": f"{blobs}?functionName=Host.Functions.dataset_blob_uploaded", **uploads},
        {"name": "uploads-event", "endpoint": f"{grid}?functionName=dataset_event_received", **uploads},
        {
            "name": "runs",
            "topic": AZUREML,
            "endpoint": f"{grid}?functionName=job_event_received",
            "included_event_types": list(RUN_EVENTS),
            "subject_begins_with": "",
        },
    ]


@dataclass
class Delivery:
    """One event on its way to one subscription."""

    subscription: Mapping[str, Any]
    event: Event
    published_at: float  # seconds of the grid's clock
    due_at: float
    attempts: int = 0
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


class EventGrid:
    """
    Delivers events on threads of its own.

    `pace` multiplies every waiting time of the schedule (0.01: a minute becomes 0.6 s); a subscription's own "pace" goes first.
    `store` keeps undelivered events in a file, so they outlive the process. For tests: `duplicate` delivers each event so many
    times more, `delay_s` late, `lose` not at all.
    """

    def __init__(
        self,
        subscriptions: Iterable[Mapping[str, Any]],
        *,
        pace: float = 1.0,
        log: Log | logging.Logger | None = None,
        store: Path | None = None,
        duplicate: int = 0,
        delay_s: float = 0.0,
        lose: Callable[[Event], bool] = lambda _: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._subscriptions = [dict(one) for one in subscriptions]
        self._pace, self._store, self._clock = pace, store, clock
        self._duplicate, self._delay_s, self._lose = duplicate, delay_s, lose
        self._log: Log = _sentences(log)
        self._changed = threading.Condition()
        self._pending: dict[str, Delivery] = {}
        self._busy: set[str] = set()
        self._proved: set[str] = set()  # names of the subscriptions whose endpoint answered the handshake
        self._handshake_at: dict[str, tuple[float, float]] = {}  # name -> when again, pause
        self._counts: Counter[str] = Counter()
        self._by_type: Counter[str] = Counter()
        self._stopping = False
        self.dead_letters: deque[dict[str, Any]] = deque(maxlen=DEAD_LETTERS_KEPT)
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="eventgrid")
        self._thread = threading.Thread(target=self._run, name="eventgrid", daemon=True)

    def start(self) -> None:
        self._load()
        self._thread.start()

    def stop(self) -> None:
        """End; what is undelivered stays in the store."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def publish(self, topic: str, event: Event) -> None:
        """Take an event over. When this returns, it is in the store."""
        with self._changed:
            self._counts["published"] += 1
            self._by_type[event["eventType"]] += 1
            if self._lose(event):
                return
            now = self._clock()
            for subscription in self._subscriptions:
                for _ in range(1 + self._duplicate if wants(subscription, topic, event) else 0):
                    delivery = Delivery(subscription, event, published_at=now, due_at=now + self._delay_s)
                    self._pending[delivery.id] = delivery
            self._save()
            self._changed.notify_all()

    def stats(self) -> dict[str, Any]:
        """Counts since the start. `delivered`, `failed` (given up) and `pending` count deliveries: event times subscription."""
        with self._changed:
            counts: dict[str, Any] = {key: self._counts[key] for key in ("published", "delivered", "failed")}
            return {**counts, "pending": len(self._pending), "by_type": dict(self._by_type)}

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._stopping:
                    return
                wait_s = self._begin_what_is_due()
                self._changed.wait(timeout=wait_s)

    def _begin_what_is_due(self) -> float:
        """Hand due work to the pool; return the seconds until something else is due."""
        now, soonest = self._clock(), 1.0
        for subscription in self._subscriptions:
            name = subscription["name"]
            again_at, _ = self._handshake_at.get(name, (now, 0.0))
            if name not in self._proved and name not in self._busy:
                soonest = min(soonest, again_at - now) if again_at > now else soonest
                if again_at <= now:
                    self._busy.add(name)
                    self._pool.submit(self._shake_hands, subscription)
        for delivery in self._pending.values():
            if delivery.id in self._busy or delivery.subscription["name"] not in self._proved:
                continue
            if delivery.due_at <= now:
                self._busy.add(delivery.id)
                self._pool.submit(self._attempt, delivery)
            else:
                soonest = min(soonest, delivery.due_at - now)
        return max(soonest, 0.001)

    def _shake_hands(self, subscription: Mapping[str, Any]) -> None:
        name, code = subscription["name"], str(uuid.uuid4())
        status, body = _post(subscription, handshake(subscription, code), "SubscriptionValidation", 0)
        proved = status == 200 and _echoed(body) == code
        with self._changed:
            self._busy.discard(name)
            if proved:
                self._proved.add(name)
                self._log("Subscription %s: the endpoint answered the handshake.", name)
            else:
                _, pause = self._handshake_at.get(name, (0.0, 0.0))
                if not pause:
                    self._log("Subscription %s: no handshake yet (%s); trying until the endpoint answers.", name, status)
                pause = min(max(2 * pause, HANDSHAKE_AGAIN_S), HANDSHAKE_AGAIN_MAX_S)
                self._handshake_at[name] = (self._clock() + pause, pause)
            self._changed.notify_all()

    def _attempt(self, delivery: Delivery) -> None:
        status, _ = _post(delivery.subscription, [delivery.event], "Notification", delivery.attempts)
        with self._changed:
            delivery.attempts += 1
            now = self._clock()
            pace = self._pace_of(delivery)
            age_s = (now - delivery.published_at) / pace if pace else 0.0
            self._settle(delivery, status, after_attempt(status, attempts=delivery.attempts, age_s=age_s), now)
            self._busy.discard(delivery.id)
            self._save()
            self._changed.notify_all()

    def _settle(self, delivery: Delivery, status: int | None, following: Next, now: float) -> None:
        name, kind = delivery.subscription["name"], delivery.event["eventType"]
        if following.verdict is Verdict.RETRY:
            wait_s = following.after_s * self._pace_of(delivery)
            delivery.due_at = now + wait_s
            self._log("%s to %s: attempt %d got %s; again in %.1f s.", kind, name, delivery.attempts, status or "no answer", wait_s)
            return
        del self._pending[delivery.id]
        if following.verdict is Verdict.DELIVERED:
            self._counts["delivered"] += 1
            return
        self._counts["failed"] += 1
        self.dead_letters.append(dead_letter(delivery, status, following.reason))
        self._log("%s to %s: given up after %d attempts (%s).", kind, name, delivery.attempts, following.reason)

    def _pace_of(self, delivery: Delivery) -> float:
        return float(delivery.subscription.get("pace", self._pace))

    def _load(self) -> None:
        """Take up what an earlier process could not deliver; its subscription may have another endpoint by now."""
        try:
            kept = json.loads(self._store.read_text(encoding="utf-8")) if self._store else []
        except FileNotFoundError:
            return
        except ValueError:
            self._log("%s cannot be read and is begun anew.", self._store)
            return
        by_name = {one["name"]: one for one in self._subscriptions}
        for one in kept:
            if one["subscription"] in by_name:
                fields = {key: one[key] for key in ("event", "published_at", "due_at", "attempts", "id")}
                self._pending[one["id"]] = Delivery(subscription=by_name[one["subscription"]], **fields)

    def _save(self) -> None:
        if self._store is None:
            return
        kept = [
            {
                "subscription": one.subscription["name"],
                "event": one.event,
                "published_at": one.published_at,
                "due_at": one.due_at,
                "attempts": one.attempts,
                "id": one.id,
            }
            for one in self._pending.values()
        ]
        processes.write_json(self._store, kept)


def _sentences(log: Log | logging.Logger | None) -> Log:
    """A logger takes a text and its arguments; a plain callable gets the finished sentence."""
    if log is None or isinstance(log, logging.Logger):
        return (log or logging.getLogger("eventgrid")).info
    return lambda text, *arguments: log(text % arguments)


def handshake(subscription: Mapping[str, Any], code: str) -> list[Event]:
    """The validation event: alone in its array."""
    return [
        {
            "id": str(uuid.uuid4()),
            "topic": STORAGE_ACCOUNT_ID if subscription["topic"] == STORAGE else subscription["topic"],
            "subject": "",
            "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
            "eventTime": stamp(datetime.now(UTC)),
            "data": {"validationCode": code},
            "dataVersion": "1",
            "metadataVersion": "1",
        }
    ]


def dead_letter(delivery: Delivery, status: int | None, reason: str) -> dict[str, Any]:
    """The record that Azure would write to the dead-letter container."""
    exceeded = reason.endswith("Exceeded")
    return {
        **delivery.event,
        "deadLetterReason": reason if exceeded else "UndeliverableDueToHttpStatus",
        "deliveryAttempts": delivery.attempts,
        "lastDeliveryOutcome": "TimedOut" if status is None else str(status) if exceeded else reason,
        "publishTime": stamp(datetime.fromtimestamp(delivery.published_at, UTC)),
        "lastDeliveryAttemptTime": stamp(datetime.now(UTC)),
    }


def stamp(moment: datetime) -> str:
    """Event Grid writes seven digits after the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"


def _post(subscription: Mapping[str, Any], events: list[Event], kind: str, earlier: int) -> tuple[int | None, bytes]:
    """One request; None: no answer."""
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "aeg-event-type": kind,
        "aeg-subscription-name": str(subscription["name"]).upper(),
        "aeg-delivery-count": str(earlier),
        "aeg-data-version": str(events[0].get("dataVersion", "")),
        "aeg-metadata-version": "1",
        "aeg-output-event-id": str(uuid.uuid4()),
    }
    request = urllib.request.Request(subscription["endpoint"], json.dumps(events).encode(), headers, method="POST")
    try:
        with _opener.open(request, timeout=ANSWER_WITHIN_S) as response:
            return int(response.status), response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""
    except (OSError, ValueError):  # refused, reset, timed out, or not HTTP
        return None, b""


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # receivers are on this machine, never behind a proxy


def _echoed(body: bytes) -> object:
    try:
        return json.loads(body).get("validationResponse")
    except (ValueError, AttributeError):
        return None


class BlobWatcher:
    """
    Publishes BlobCreated for each new (name, ETag) of a container, as Azure Storage would.

    `publish` is called as publish("storage", event). A blob is remembered, in the file `seen`, after it was published, so a
    restart publishes nothing twice but what a crash interrupted. A blob overwritten twice between two looks gives one event.
    """

    def __init__(
        self,
        connection_string: str,
        container: str,
        publish: Callable[[str, Event], object],
        interval: float = 0.5,
        *,
        seen: Path | None = None,
        log: Log | logging.Logger | None = None,
    ) -> None:
        from azure.storage.blob import ContainerClient

        self._client = ContainerClient.from_connection_string(connection_string, container, retry_total=1)
        self._container, self._publish, self._interval_s, self._file = container, publish, interval, seen
        self._log: Log = _sentences(log)
        self._seen = self._load()
        self._sequence = itertools.count(time.time_ns())
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watch {container}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._client.close()

    def look(self) -> int:
        """Publish what is new; return how many. Blobs that are gone are forgotten."""
        found = {blob.name: blob for blob in self._client.list_blobs()}
        new = [blob for name, blob in found.items() if self._seen.get(name) != blob.etag]
        for blob in new:
            self._publish(STORAGE, self._event(blob))
        if new or self._seen.keys() - found.keys():
            self._seen = {name: blob.etag for name, blob in found.items()}
            if self._file:
                processes.write_json(self._file, self._seen)
        return len(new)

    def _run(self) -> None:
        from azure.core.exceptions import AzureError

        quiet = False
        while not self._stopping.is_set():
            try:
                self.look()
                quiet = False
            except AzureError as error:
                if not quiet:
                    self._log("Container %s cannot be listed (%s); looking again.", self._container, type(error).__name__)
                quiet = True
            self._stopping.wait(self._interval_s)

    def _load(self) -> dict[str, str]:
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8")) if self._file else {}
        except (FileNotFoundError, ValueError):
            return {}
        return kept if isinstance(kept, dict) else {}

    def _event(self, blob: Any) -> Event:
        client = self._client.get_blob_client(blob.name)
        return {
            "topic": STORAGE_ACCOUNT_ID,
            "subject": f"/blobServices/default/containers/{self._container}/blobs/{blob.name}",
            "eventType": BLOB_CREATED,
            "eventTime": stamp(blob.last_modified),
            "id": str(uuid.uuid4()),
            "data": {
                "api": self._api(client),
                "clientRequestId": str(uuid.uuid4()),
                "requestId": str(uuid.uuid4()),
                "eTag": f'"{blob.etag}"',
                "contentType": blob.content_settings.content_type,
                "contentLength": blob.size,
                "blobType": "BlockBlob",
                "url": client.url,
                "sequencer": f"{next(self._sequence):032x}",
                "storageDiagnostics": {"batchId": str(uuid.uuid4())},
            },
            "dataVersion": "",
            "metadataVersion": "1",
        }

    def _api(self, client: Any) -> str:
        """A blob that was put in one piece has no committed blocks."""
        from azure.core.exceptions import AzureError

        try:
            committed, _ = client.get_block_list("committed")
        except AzureError:  # gone already, or not a block blob
            return "PutBlob"
        return "PutBlockList" if committed else "PutBlob"
