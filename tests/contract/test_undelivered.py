"""One suite for the `Undelivered` port, over the fake of the stories and over a queue and a container on Azurite."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Protocol

import pytest
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

from shared.cloud import undelivered as adapter
from shared.cloud.undelivered import StorageUndelivered
from shared.ports import Undelivered
from tests.contract.wire import ByWire, Wire
from tests.journeys import fakes

LETTER = "TOPIC/DATASETS-DOOR/2026/11/24/12/00000000-0000-0000-0000-000000000001.json"


class Post(Protocol):
    """Two places, and whoever gives messages up there."""

    undelivered: Undelivered
    queue: str
    container: str

    def poison(self) -> None: ...

    def dead_letter(self, name: str) -> None: ...

    def remove(self) -> None:
        """Take the queue and the container away."""
        ...


class FakePost:
    queue, container = "queue acc/q", "container acc/c"

    def __init__(self) -> None:
        self.world = fakes.World()
        self.undelivered: Undelivered = fakes.FakeUndelivered(self.world)
        self.remove()

    def poison(self) -> None:
        self.world.undelivered[self.queue] = (self.world.undelivered[self.queue] or 0) + 1

    def dead_letter(self, name: str) -> None:
        self.world.undelivered[self.container] = (self.world.undelivered[self.container] or 0) + 1

    def remove(self) -> None:
        self.world.undelivered = {self.queue: 0, self.container: 0}


class StoragePost:
    def __init__(self, queue: QueueClient, letters: ContainerClient) -> None:
        self._queue, self._letters = queue, letters
        self.undelivered: Undelivered = StorageUndelivered([queue, queue], letters)
        self.queue = f"queue devstoreaccount1/{queue.queue_name}"
        self.container = f"container devstoreaccount1/{letters.container_name}"

    def poison(self) -> None:
        self._queue.send_message("{}")

    def dead_letter(self, name: str) -> None:
        self._letters.upload_blob(name, b"[]")

    def remove(self) -> None:
        self._queue.delete_queue()
        self._letters.delete_container()


@pytest.fixture(params=[pytest.param("fake", marks=pytest.mark.light), "storage"])
def post(request: pytest.FixtureRequest) -> Post:
    if request.param == "fake":
        return FakePost()
    return StoragePost(request.getfixturevalue("new_queue"), request.getfixturevalue("new_container")("letters"))


def test_where_nothing_was_given_up_nothing_lies(post: Post) -> None:
    assert post.undelivered.counts() == {post.queue: 0, post.container: 0}


def test_what_was_given_up_is_counted_and_lies_there_after_it(post: Post) -> None:
    post.poison()
    post.poison()
    post.dead_letter(LETTER)

    for _ in range(2):
        assert post.undelivered.counts() == {post.queue: 2, post.container: 1}


def test_a_place_that_is_not_there_holds_nothing(post: Post) -> None:
    post.poison()
    post.remove()

    assert post.undelivered.counts() == {post.queue: 0, post.container: 0}


def test_without_a_container_of_dead_letters_only_queues_are_looked_at(new_queue: QueueClient) -> None:
    assert list(StorageUndelivered([new_queue], None).counts()) == [f"queue devstoreaccount1/{new_queue.queue_name}"]


def test_a_place_that_this_app_may_not_look_at_is_unknown_and_hides_no_other(
    new_queue: QueueClient, new_container: Callable[[str], ContainerClient], storage: str
) -> None:
    wrong = re.sub("AccountKey=[^;]*", "AccountKey=" + base64.b64encode(b"wrong").decode(), storage)
    with ContainerClient.from_connection_string(wrong, new_container("letters").container_name) as letters:
        counts = StorageUndelivered([new_queue], letters).counts()

    assert list(counts.values()) == [0, None]


def test_a_place_that_cannot_be_reached_is_unknown(new_container: Callable[[str], ContainerClient], by_wire: ByWire) -> None:
    wire = Wire()
    wire.fail_at(0, "before")

    assert list(StorageUndelivered([], by_wire(new_container("letters"), wire)).counts().values()) == [None]


def test_a_container_of_many_dead_letters_is_looked_at_with_one_request(
    new_container: Callable[[str], ContainerClient], by_wire: ByWire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "COUNTED_MAX", 2)
    made, wire = new_container("letters"), Wire()
    for number in range(3):
        made.upload_blob(f"{number}.json", b"[]")

    assert list(StorageUndelivered([], by_wire(made, wire)).counts().values()) == [2]
    assert wire.requests == 1
