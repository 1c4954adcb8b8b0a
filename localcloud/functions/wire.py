"""
What host and worker say to each other: frames of MessagePack over one socket pair.

A frame is its length (4 bytes, big-endian) and one message, an array whose first item is the message's name. The worker says
nothing unasked. End of file means that the other side is gone.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import msgspec

from localcloud.functions import worker

_LENGTH = struct.Struct(">I")  # a frame has less than 4 GiB; the real host's gRPC ends at 2 GiB


class Load(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Host to worker, first of all: import this app. Answered by Loaded or NotLoaded."""

    app: str  # its folder
    file: str


class Invoke(msgspec.Struct, tag=True, array_like=True, frozen=True):
    """Host to worker: run a function. Many may run at a time; each is answered by Done."""

    id: str
    name: str
    data: worker.Value
    metadata: dict[str, worker.Value]
    attempt: worker.Attempt


class Loaded(msgspec.Struct, tag=True, array_like=True, frozen=True):
    functions: list[worker.Function]


class NotLoaded(msgspec.Struct, tag=True, array_like=True, frozen=True):
    error: str


class Done(msgspec.Struct, tag=True, array_like=True, frozen=True):
    id: str
    outcome: worker.Outcome


Message = Load | Invoke | Loaded | NotLoaded | Done


class Channel:
    """One end of the pair. Any thread may send; one thread reads."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._sending = threading.Lock()
        self._decoder = msgspec.msgpack.Decoder(Message)

    def send(self, message: Message) -> None:
        """Raises OSError when the other side is gone, TypeError when a value cannot travel."""
        frame = msgspec.msgpack.encode(message)
        with self._sending:
            self._end.sendall(_LENGTH.pack(len(frame)))
            self._end.sendall(frame)

    def __iter__(self) -> Iterator[Message]:
        """Every message until the other side is gone."""
        while (head := self._exactly(_LENGTH.size)) is not None:
            frame = self._exactly(_LENGTH.unpack(head)[0])
            if frame is None:
                return
            yield self._decoder.decode(frame)

    def hang_up(self) -> None:
        """End the reading, even where a grandchild still holds the other end."""
        try:
            self._end.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other side was quicker
            return

    def close(self) -> None:
        self._end.close()

    def _exactly(self, size: int) -> bytearray | None:
        """So many bytes; None: the other side is gone, perhaps in mid-frame."""
        buffer = bytearray(size)
        view, have = memoryview(buffer), 0
        while have < size:
            try:
                count = self._end.recv_into(view[have:])
            except ConnectionError:
                return None
            if count == 0:
                return None
            have += count
        return buffer
