"""Event Grid: what follows an answer as a table, and delivery to a real receiver."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient

from localcloud import eventgrid
from localcloud.azurite import Azurite
from localcloud.eventgrid import BlobWatcher, EventGrid, Next, Verdict, after_attempt, wants
from tests.localcloud.hosts import until

EVENT = {"id": "1", "eventType": "Microsoft.Storage.BlobCreated", "subject": "/a/b", "dataVersion": "", "data": {}}
DAY_S = 86400.0


@pytest.mark.light
@pytest.mark.parametrize(
    ("status", "attempts", "age_s", "following"),
    [
        (200, 1, 0, Next(Verdict.DELIVERED)),
        (204, 30, DAY_S, Next(Verdict.DELIVERED)),
        (205, 1, 0, Next(Verdict.RETRY, 10)),
        (500, 1, 0, Next(Verdict.RETRY, 10)),
        (500, 2, 0, Next(Verdict.RETRY, 30)),
        (500, 5, 0, Next(Verdict.RETRY, 600)),
        (500, 29, 0, Next(Verdict.RETRY, 43200)),
        (None, 1, 0, Next(Verdict.RETRY, 10)),
        (503, 1, 0, Next(Verdict.RETRY, 30)),
        (408, 1, 0, Next(Verdict.RETRY, 120)),
        (404, 1, 0, Next(Verdict.RETRY, 300)),
        (400, 1, 0, Next(Verdict.GIVE_UP, reason="BadRequest")),
        (401, 1, 0, Next(Verdict.GIVE_UP, reason="Unauthorized")),
        (403, 1, 0, Next(Verdict.GIVE_UP, reason="Forbidden")),
        (413, 1, 0, Next(Verdict.GIVE_UP, reason="TooLarge")),
        (500, 30, 0, Next(Verdict.GIVE_UP, reason="MaxDeliveryAttemptsExceeded")),
        (500, 5, DAY_S, Next(Verdict.GIVE_UP, reason="TimeToLiveExceeded")),
    ],
)
def test_what_follows_an_attempt(status: int | None, attempts: int, age_s: float, following: Next) -> None:
    assert after_attempt(status, attempts=attempts, age_s=age_s) == following


@pytest.mark.light
@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({}, True),
        ({"topic": "azureml"}, False),
        ({"included_event_types": ["microsoft.storage.blobcreated"]}, True),
        ({"included_event_types": ["Microsoft.Storage.BlobDeleted"]}, False),
        ({"subject_begins_with": "/A/"}, True),
        ({"subject_begins_with": "/b/"}, False),
    ],
)
def test_a_subscription_wants_what_its_filters_say(changed: dict[str, Any], wanted: bool) -> None:
    assert wants({"topic": "storage", **changed}, "storage", EVENT) is wanted


class Receiver:
    """A webhook that answers with the given codes, then 200, and remembers what it got."""

    def __init__(self, codes: list[int]) -> None:
        self.codes, self.got = codes, list[tuple[str, str, str]]()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                kind = self.headers["aeg-event-type"]
                if kind == "SubscriptionValidation":
                    return self.reply(200, {"validationResponse": events[0]["data"]["validationCode"]})
                receiver.got.append((kind, self.headers["aeg-delivery-count"], events[0]["id"]))
                assert len(events) == 1
                return self.reply(receiver.codes.pop(0) if receiver.codes else 200, {})

            def reply(self, status: int, document: dict[str, Any]) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.subscription = {"name": "s", "topic": "storage", "endpoint": f"http://127.0.0.1:{self._server.server_port}/hook"}
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    started: list[Receiver] = []

    def start(*codes: int) -> Receiver:
        started.append(Receiver(list(codes)))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def grid() -> Iterator[Callable[..., EventGrid]]:
    started: list[EventGrid] = []

    def start(*subscriptions: dict[str, Any], **options: Any) -> EventGrid:
        started.append(EventGrid(subscriptions, **{"pace": 0.001, **options}))
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()


def test_an_event_is_delivered_again_until_the_receiver_says_yes(receive: Callable[..., Receiver], grid: Callable[..., EventGrid]) -> None:
    receiver = receive(500, 503)
    one = grid(receiver.subscription)

    one.publish("storage", EVENT)

    until(lambda: one.stats()["delivered"], "the delivery")
    assert receiver.got == [("Notification", "0", "1"), ("Notification", "1", "1"), ("Notification", "2", "1")]
    counts = {"published": 1, "delivered": 1, "failed": 0, "pending": 0}
    assert one.stats() == {**counts, "by_type": {"Microsoft.Storage.BlobCreated": 1}}


def test_an_event_that_is_refused_is_a_dead_letter(receive: Callable[..., Receiver], grid: Callable[..., EventGrid]) -> None:
    receiver = receive(400)
    one = grid(receiver.subscription)

    one.publish("storage", EVENT)

    until(lambda: one.stats()["failed"], "the refusal")
    assert len(receiver.got) == 1
    assert [(letter["id"], letter["lastDeliveryOutcome"]) for letter in one.dead_letters] == [("1", "BadRequest")]


def test_events_can_be_duplicated_and_lost_on_purpose(receive: Callable[..., Receiver], grid: Callable[..., EventGrid]) -> None:
    receiver = receive()
    one = grid(receiver.subscription, duplicate=2, lose=lambda event: event["id"] == "lost")

    one.publish("storage", {**EVENT, "id": "lost"})
    one.publish("storage", EVENT)

    until(lambda: one.stats()["delivered"] == 3, "three deliveries")
    assert [event for _, _, event in receiver.got] == ["1", "1", "1"]
    assert one.stats()["published"] == 2


def test_an_event_waits_for_a_receiver_that_starts_later(receive: Callable[..., Receiver], grid: Callable[..., EventGrid]) -> None:
    receiver = receive()
    late = {**receiver.subscription, "endpoint": "http://127.0.0.1:9/nobody"}
    one = grid(late, receiver.subscription | {"name": "other"})

    one.publish("storage", EVENT)

    until(lambda: one.stats()["delivered"] == 1, "the other's delivery")
    assert one.stats()["pending"] == 1


def test_undelivered_events_outlive_the_process(receive: Callable[..., Receiver], grid: Callable[..., EventGrid], tmp_path: Path) -> None:
    receiver = receive()
    first = grid({**receiver.subscription, "endpoint": "http://127.0.0.1:9/nobody"}, store=tmp_path / "store.json")
    first.publish("storage", EVENT)
    first.stop()

    grid(receiver.subscription, store=tmp_path / "store.json")

    until(lambda: receiver.got, "the delivery by the second process")
    assert receiver.got == [("Notification", "0", "1")]


@pytest.fixture
def container(azurite: Azurite) -> Iterator[ContainerClient]:
    name = f"watched-{uuid.uuid4().hex[:8]}"
    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        yield service.create_container(name)


def test_each_version_of_a_blob_is_published_once_also_after_a_restart(
    azurite: Azurite, container: ContainerClient, tmp_path: Path
) -> None:
    published: list[dict[str, Any]] = []
    blob = container.get_blob_client("team/x.jsonl")
    blob.upload_blob(b"one")

    def look() -> int:
        watcher = BlobWatcher(
            azurite.connection_string,
            container.container_name,
            lambda topic, event: published.append({"on": topic, **event}),
            seen=tmp_path / "seen.json",
        )
        found = watcher.look()
        watcher.stop()
        return found

    assert (look(), look()) == (1, 0)
    blob.upload_blob(b"two", overwrite=True)
    assert (look(), look()) == (1, 0)
    first, second = published
    assert first["on"] == "storage"
    assert first["subject"] == f"/blobServices/default/containers/{container.container_name}/blobs/team/x.jsonl"
    assert second["data"]["eTag"] == blob.get_blob_properties().etag
    assert (second["data"]["api"], second["data"]["contentLength"], second["data"]["url"]) == ("PutBlob", 3, blob.url)
    assert first["data"]["sequencer"] < second["data"]["sequencer"]


def test_a_blob_of_many_blocks_is_announced_as_such(azurite: Azurite, container: ContainerClient) -> None:
    published: list[dict[str, Any]] = []
    blob = container.get_blob_client("big")
    blob.stage_block("AAAA", b"x")
    blob.commit_block_list(["AAAA"])  # type: ignore[list-item]

    watcher = BlobWatcher(azurite.connection_string, container.container_name, lambda _, event: published.append(event))
    watcher.look()
    watcher.stop()

    assert [event["data"]["api"] for event in published] == ["PutBlockList"]


@pytest.mark.light
def test_the_default_subscriptions_ring_the_doors_of_the_app() -> None:
    found = {one["name"]: one["endpoint"] for one in eventgrid.default_subscriptions("http://host")}

    assert found == {
        "uploads-blob": "http://host/runtime/webhooks/blobs?functionName=Host.Functions.dataset_blob_uploaded",
        "uploads-event": "http://host/runtime/webhooks/EventGrid?functionName=dataset_event_received",
        "runs": "http://host/runtime/webhooks/EventGrid?functionName=job_event_received",
    }
