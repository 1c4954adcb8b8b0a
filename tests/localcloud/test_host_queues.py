"""One queue and its poison queue, against Azurite: what is retried, what is given up, and what nobody ever sees."""

from __future__ import annotations

import base64
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient, QueueMessage

from localcloud.azurite import Azurite
from localcloud.functions import blobs, queues, settings
from localcloud.functions.settings import QueueOptions
from localcloud.functions.worker import Function, Outcome, Value
from tests.localcloud.hosts import until

QUICK = QueueOptions(batch_size=2, new_batch_threshold=1, max_dequeue_count=3)


class Listening:
    """A queue that is listened to, and what its handler was given."""

    def __init__(self, azurite: Azurite, name: str) -> None:
        self.connection, self.name = azurite.connection_string, name
        self.queue = QueueClient.from_connection_string(self.connection, name)
        self.queue.create_queue()
        self.poison = QueueClient.from_connection_string(self.connection, f"{name}-poison")
        self.seen: list[tuple[str, int]] = []  # body and dequeue count, in order
        self._listener: queues.QueueListener | None = None

    def start(
        self,
        succeeds: Callable[[queues.Received], bool],
        options: QueueOptions = QUICK,
        *,
        lease_s: int = 600,
        poisons: bool = True,
    ) -> None:
        def handle(received: queues.Received) -> bool:
            self.seen.append((received.body, int(received.message.dequeue_count or 0)))
            return succeeds(received)

        poison = (lambda _: (self.connection, f"{self.name}-poison")) if poisons else None
        self._listener = queues.QueueListener(self.connection, self.name, options, lease_s=lease_s, handle=handle, poison=poison)
        self._listener.start()

    def stop(self) -> None:
        if self._listener:
            self._listener.stop()

    def send(self, text: str) -> None:
        self.queue.send_message(base64.b64encode(text.encode()).decode())

    def poisoned(self) -> list[str]:
        try:
            return [str(message.content) for message in self.poison.peek_messages(max_messages=32)]
        except ResourceNotFoundError:
            return []

    def empty(self) -> bool:
        return self.queue.get_queue_properties().approximate_message_count == 0


@pytest.fixture
def listening(azurite: Azurite) -> Iterator[Listening]:
    made = Listening(azurite, f"q-{uuid.uuid4().hex[:8]}")
    yield made
    made.stop()


def test_a_message_that_dead_hosts_received_too_often_is_poisoned_unseen(listening: Listening) -> None:
    """Goal: a handler that crashes its host ends in poison without being called. Method: receive it as dying hosts would, then listen."""
    listening.send("killer")
    for _ in range(QUICK.max_dequeue_count):
        list(listening.queue.receive_messages(visibility_timeout=1))
        until(lambda: listening.queue.peek_messages(), "the message to be visible again")

    listening.start(lambda _: True)

    until(listening.poisoned, "the poison queue")
    assert listening.seen == []
    until(listening.empty, "the message to be deleted")


def test_a_message_that_is_not_base64_is_poisoned_unseen(listening: Listening) -> None:
    listening.queue.send_message("no base64!")
    listening.start(lambda _: True)

    until(lambda: listening.poisoned() == ["no base64!"], "the poison queue")
    assert listening.seen == []


def test_with_message_encoding_none_text_is_taken_as_it_is(listening: Listening) -> None:
    listening.queue.send_message("no base64!")
    listening.start(lambda _: True, QueueOptions(base64=False))

    until(lambda: listening.seen == [("no base64!", 1)], "the message")


def test_a_failing_message_of_a_poison_queue_stays_hidden_and_comes_back_without_limit(listening: Listening) -> None:
    """Goal: no poison queue of a poison queue, no visibilityTimeout. Method: a lease of 1 s, more failures than are allowed elsewhere."""
    listening.send("stubborn")
    listening.start(lambda received: (received.message.dequeue_count or 0) > QUICK.max_dequeue_count, lease_s=1, poisons=False)

    until(listening.empty, "the message to succeed at last")
    assert listening.seen == [("stubborn", attempt) for attempt in range(1, QUICK.max_dequeue_count + 2)]
    assert listening.poisoned() == []


def test_a_failed_message_rests_for_the_visibility_timeout(listening: Listening) -> None:
    listening.send("slow")
    listening.start(lambda received: received.message.dequeue_count == 2, QueueOptions(visibility_timeout=timedelta(seconds=2)))

    until(lambda: len(listening.seen) == 1, "the first attempt")
    assert not listening.queue.peek_messages()  # hidden, and not for the lease of ten minutes
    until(lambda: len(listening.seen) == 2, "the second attempt")


def test_no_more_messages_run_at_a_time_than_batch_and_threshold_allow(listening: Listening) -> None:
    """Goal: a new batch of 2 is fetched when 1 runs, so 3 are the most. Method: of ten messages the first ends, the others wait."""
    release, most = threading.Event(), 1 + QUICK.batch_size + QUICK.new_batch_threshold
    for number in range(10):
        listening.send(str(number))
    listening.start(lambda received: received.body == listening.seen[0][0] or release.wait(10))

    until(lambda: len(listening.seen) == most, "as many as may run")
    release.wait(0.3)
    assert len(listening.seen) == most
    release.set()
    until(listening.empty, "all of them")


UPLOADED = Function(name="uploaded", trigger={"type": "blobTrigger", "name": "it", "path": "datasets/{name}", "connection": "DATASETS"})


class Uploads:
    """The blob trigger of one function, without a host around it."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome, self.ran = outcome, 0
        self.trigger = blobs.BlobTrigger({"uploaded": UPLOADED}, self._invoke)  # type: ignore[arg-type] # only called

    def _invoke(self, name: str, data: Value, metadata: object) -> Outcome:
        self.ran += 1
        return self.outcome


def test_a_blob_that_fails_too_often_leaves_a_message_that_names_it(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: five failures at once, then {FunctionId, BlobType, ContainerName, BlobName, ETag}. Method: the internal queue by itself."""
    for name in ("AzureWebJobsStorage", "DATASETS"):
        monkeypatch.setenv(name, azurite.connection_string)
    service = BlobServiceClient.from_connection_string(azurite.connection_string)
    client = service.create_container(f"datasets-{uuid.uuid4().hex[:8]}").get_blob_client("a/ü.jsonl")
    client.upload_blob(b"{}")
    uploads, internal = Uploads(Outcome(error="no")), f"internal-{uuid.uuid4().hex[:8]}"
    monkeypatch.setattr(blobs, "QUEUE", internal)
    poison = QueueClient.from_connection_string(azurite.connection_string, blobs.POISON_QUEUE)
    listener = queues.QueueListener(
        azurite.connection_string,
        internal,
        QueueOptions(base64=False),
        lease_s=600,
        handle=uploads.trigger.handle,
        poison=uploads.trigger.poison,
    )
    listener.start()
    try:
        blobs.enqueue(UPLOADED, {"data": {"url": client.url, "eTag": '"0x1"', "blobType": "BlockBlob"}})

        def given_up() -> list[dict[str, str]]:
            try:
                found = [json.loads(str(message.content)) for message in poison.peek_messages(max_messages=32)]
            except ResourceNotFoundError:
                return []
            return [one for one in found if one["ContainerName"] == client.container_name]

        until(given_up, "the poison queue")
    finally:
        listener.stop()

    assert uploads.ran == 5
    assert (
        given_up()[0].items()
        >= {
            "FunctionId": "Host.Functions.uploaded",
            "BlobType": "BlockBlob",
            "ContainerName": client.container_name,
            "BlobName": "a/ü.jsonl",
            "ETag": '"0x1"',
        }.items()
    )


def test_a_repeated_event_with_an_old_etag_runs_the_function_again(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: no receipts and no ETag check with source EventGrid. Method: two equal messages about a blob that changed since."""
    monkeypatch.setenv("DATASETS", azurite.connection_string)
    service = BlobServiceClient.from_connection_string(azurite.connection_string)
    client = service.create_container(f"datasets-{uuid.uuid4().hex[:8]}").get_blob_client("one")
    client.upload_blob(b"{}")
    message = {"FunctionId": "Host.Functions.uploaded", "ContainerName": client.container_name, "BlobName": "one", "ETag": '"0xOLD"'}
    received = queues.Received(message=QueueMessage(), body=json.dumps(message))
    uploads = Uploads(Outcome())

    assert [uploads.trigger.handle(received) for _ in range(2)] == [True, True]
    assert uploads.ran == 2


@pytest.mark.parametrize(
    ("triggering", "poison"),
    [
        ("AccountName=own;QueueEndpoint=http://127.0.0.1:9/own", "triggering"),
        ("AccountName=own;AccountKey=k", "triggering"),
        ("AccountName=own;BlobEndpoint=http://127.0.0.1:9/own", "host"),
    ],
)
def test_a_blob_is_given_up_in_its_own_account_if_that_has_queues(monkeypatch: pytest.MonkeyPatch, triggering: str, poison: str) -> None:
    monkeypatch.setenv("AzureWebJobsStorage", "host")
    monkeypatch.setenv("DATASETS", triggering)
    message = json.dumps({"FunctionId": "Host.Functions.uploaded"})

    assert Uploads(Outcome()).trigger.poison(message) == (triggering if poison == "triggering" else "host", blobs.POISON_QUEUE)


@pytest.mark.parametrize("content", ["no JSON", "[]", "{}", '{"FunctionId": 7}', '{"FunctionId": "Host.Functions.gone"}'])
def test_a_strange_message_is_given_up_in_the_account_of_the_host(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setenv("AzureWebJobsStorage", "host")

    assert Uploads(Outcome()).trigger.poison(content) == ("host", blobs.POISON_QUEUE)


def test_a_connection_that_is_an_identity_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPLOADS__blobServiceUri", "https://own.blob.core.windows.net")

    with pytest.raises(settings.WrongSettings, match="The connection 'UPLOADS' is not set; set UPLOADS to a connection string"):
        settings.connection_string("UPLOADS")
