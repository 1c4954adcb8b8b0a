"""What host and worker say to each other arrives whole, whatever it holds, or not at all."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from localcloud.functions import wire, worker
from localcloud.functions.worker import Value

pytestmark = pytest.mark.light
MEBIBYTE = 1024 * 1024


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize(
    "message",
    [
        wire.Load("/app", "function_app.py"),
        wire.Loaded([worker.Function(name="f", trigger={"type": "x", "deep": {"a": [1, None, True]}}, outputs=[])]),
        wire.NotLoaded("no"),
        wire.Invoke("1", "f", Value("bytes", b"\xff\x00"), {"Uri": Value("string", "ü")}, worker.Attempt(retry_count=1)),
        wire.Invoke("1", "f", Value("http", {"method": "GET", "headers": {}, "body": b""}), {}, worker.FIRST),
        wire.Done("1", worker.Outcome(error="no", traceback="…", outputs={"$return": Value("string", "")})),
    ],
)
def test_a_message_arrives_as_it_was_sent(ends: tuple[socket.socket, socket.socket], message: wire.Message) -> None:
    ours, theirs = ends
    wire.Channel(ours).send(message)

    assert next(iter(wire.Channel(theirs))) == message


def test_a_large_value_arrives_while_others_are_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    """Goal: frames of different threads do not mix. Method: four senders of more than the socket holds."""
    ours, theirs = ends
    sending = wire.Channel(ours)
    values = [wire.Invoke(str(n), "f", Value("bytes", bytes([n]) * 4 * MEBIBYTE), {}, worker.FIRST) for n in range(4)]
    threads = [threading.Thread(target=sending.send, args=[value]) for value in values]
    for thread in threads:
        thread.start()

    arriving = iter(wire.Channel(theirs))
    received = [next(arriving) for _ in values]
    for thread in threads:
        thread.join()

    assert sorted(received, key=lambda one: getattr(one, "id", "")) == values


@pytest.mark.parametrize("torn", [b"", b"\x00\x00", struct.pack(">I", 10), struct.pack(">I", 10) + b"half"])
def test_a_frame_that_is_torn_by_a_death_is_the_end(ends: tuple[socket.socket, socket.socket], torn: bytes) -> None:
    ours, theirs = ends
    ours.sendall(torn)
    ours.close()

    assert list(wire.Channel(theirs)) == []


def test_hanging_up_ends_the_reading_though_the_other_end_is_open(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = ends
    channel = wire.Channel(ours)
    threading.Timer(0.05, channel.hang_up).start()

    assert list(channel) == []
