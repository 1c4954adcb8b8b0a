"""One suite for the `Turns` port, over the fake of the stories and over a queue on Azurite, read as the Functions host reads it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest
from azure.storage.queue import QueueClient

from shared.cloud.turns import VISIBILITY_MAX, QueueTurns
from shared.domain.record import Key, Kind
from shared.ports import Turns
from shared.reconcile import arrivals
from tests.journeys import fakes

KEY = Key(kind=Kind.TRAINING, id="0123456789ab")
PROMISED = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
DEADLINE_SECONDS = 20.0
Message = tuple[Key, str, datetime | None]


class Host(Protocol):
    """Whoever hands the messages out."""

    turns: Turns

    def received(self) -> list[Message]: ...

    def pass_time(self, until: Callable[[], bool]) -> None: ...


class FakeHost:
    def __init__(self) -> None:
        self.world = fakes.World()
        self.turns: Turns = fakes.FakeTurns(self.world)

    def received(self) -> list[Message]:
        return [message for at, _, message in sorted(self.world.queue) if at <= self.world.now]

    def pass_time(self, until: Callable[[], bool]) -> None:
        while not until():
            self.world.now += timedelta(milliseconds=100)


class QueueHost:
    """Peeks, so that a message may be looked at twice."""

    def __init__(self, queue: QueueClient) -> None:
        self.queue = queue
        self.turns: Turns = QueueTurns(queue)

    def received(self) -> list[Message]:
        found = [arrivals.message(base64.b64decode(message.content).decode()) for message in self.queue.peek_messages(32)]
        assert None not in found
        return [message for message in found if message]

    def pass_time(self, until: Callable[[], bool]) -> None:
        last = time.monotonic() + DEADLINE_SECONDS
        while not until():
            assert time.monotonic() < last, "it did not happen in time"
            time.sleep(0.05)


@pytest.fixture(params=[pytest.param("fake", marks=pytest.mark.light), "queue"])
def host(request: pytest.FixtureRequest) -> Host:
    return FakeHost() if request.param == "fake" else QueueHost(request.getfixturevalue("new_queue"))


def test_a_ring_is_one_message_with_the_key_and_who_rang(host: Host) -> None:
    host.turns.ring(KEY, who="dataset_blob_uploaded")

    assert host.received() == [(KEY, "dataset_blob_uploaded", None)]


def test_a_promise_is_kept_to_the_microsecond(host: Host) -> None:
    """A turn is taken only if the message's promise is exactly the record's."""
    host.turns.ring(KEY, who="turn", promised=PROMISED)

    assert host.received() == [(KEY, "turn", PROMISED)]


def test_ringing_twice_is_two_messages(host: Host) -> None:
    host.turns.ring(KEY, who="a")
    host.turns.ring(KEY, who="b")

    assert sorted(who for _, who, _ in host.received()) == ["a", "b"]


def test_a_delayed_message_is_hidden_until_its_time(host: Host) -> None:
    host.turns.ring(KEY, who="turn", promised=PROMISED, delay=timedelta(seconds=0.4))
    assert host.received() == []

    host.pass_time(lambda: bool(host.received()))

    assert host.received() == [(KEY, "turn", PROMISED)]


def test_a_delay_longer_than_the_queue_can_hide_is_cut_and_not_refused(new_queue: QueueClient) -> None:
    QueueTurns(new_queue).ring(KEY, who="turn", promised=PROMISED, delay=VISIBILITY_MAX * 2)

    assert new_queue.get_queue_properties().approximate_message_count == 1
    assert new_queue.peek_messages() == []


def test_a_message_never_expires(new_queue: QueueClient) -> None:
    """A queue that nobody empties for a week (an app that is stopped) must not lose a turn."""
    QueueTurns(new_queue).ring(KEY, who="turn")

    (message,) = new_queue.peek_messages()
    assert message.expires_on is not None
    assert message.expires_on.year == 9999


def test_a_message_carries_nothing_that_could_be_believed(new_queue: QueueClient) -> None:
    QueueTurns(new_queue).ring(KEY, who="Größe \n", promised=PROMISED)

    (message,) = new_queue.peek_messages()
    assert json.loads(base64.b64decode(message.content, validate=True)) == {
        "kind": "training", "id": KEY.id, "who": "Größe \n", "promised": PROMISED.isoformat(),
    }  # fmt: skip


@pytest.mark.light
@pytest.mark.parametrize(
    "text",
    ["", "x", "{}", "[]", "null", "3", '"x"',
     '{"kind": "tuning"}', '{"id": "x"}', '{"kind": "invented", "id": "x"}', '{"kind": [], "id": "x"}',
     '{"kind": "tuning", "id": "x", "promised": "soon"}', '{"kind": "tuning", "id": "x", "promised": 7}', "[" * 60_000, '{"a":' * 9_000],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_a_message_that_is_not_ours_is_none_and_no_crash(text: str) -> None:
    assert arrivals.message(text) is None
