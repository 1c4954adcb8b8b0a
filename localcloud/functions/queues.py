"""
A queue message is deleted after its function succeeded, and never before: what a dead host held comes back.

Written after QueueListener and QueueProcessor of the .NET extension. A received message is hidden for the lease and the lease is
renewed at half-time while the function runs. A failed one rests for visibilityTimeout; after maxDequeueCount attempts it is
copied to `<queue>-poison` and then deleted (a crash between the two leaves both). A queue named *-poison has no poison queue.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue import LinearRetry, QueueClient, QueueMessage

from localcloud.functions.settings import QueueOptions

POLL_FIRST_S = 0.1
POLL_LAST_S = 1.0  # the real host waits up to maxPollingInterval (60 s); a laptop is watched by somebody
OUTAGE_PAUSE_S = 1.0
# The real host's clients (.NET) try again after 0.8 s, then after twice as long (Azure.Core, RetryOptions); Python's after 12 to 18 s.
RETRIES: dict[str, Any] = {"backoff": 1, "retry_total": 3, "random_jitter_range": 0}
log = logging.getLogger("host")


@dataclass(frozen=True, kw_only=True)
class Received:
    """A message, decoded."""

    message: QueueMessage
    body: str


Handle = Callable[[Received], bool]  # True: it succeeded
Poison = Callable[[str], tuple[str, str]]  # a message's content -> connection string and name of the queue where it goes


class Lease:
    """The right to delete one received message: valid while renewed, lost when somebody else receives it."""

    def __init__(self, queue: QueueClient, message: QueueMessage, seconds: int) -> None:
        self._queue = queue
        self._id, self._receipt = message.id, message.pop_receipt
        self._seconds = seconds
        self._lock = threading.Lock()
        self._renew_at = time.monotonic() + seconds / 2

    def renew_if_due(self) -> None:
        """Called by the listener all the time; a failed renewal is tried again."""
        with self._lock:
            if time.monotonic() >= self._renew_at:
                self._receipt = self._queue.update_message(self._id, self._receipt, visibility_timeout=self._seconds).pop_receipt
                self._renew_at = time.monotonic() + self._seconds / 2

    def delete(self) -> None:
        with self._lock:
            self._queue.delete_message(self._id, self._receipt)
            self._renew_at = float("inf")

    def give_back(self, after_s: int) -> None:
        """Make the message visible again after so many seconds."""
        with self._lock:
            self._queue.update_message(self._id, self._receipt, visibility_timeout=after_s)
            self._renew_at = float("inf")

    def let_run_out(self) -> None:
        with self._lock:
            self._renew_at = float("inf")


class QueueListener:
    """Listens to one queue on threads of its own."""

    def __init__(self, connection: str, name: str, options: QueueOptions, *, lease_s: int, handle: Handle, poison: Poison | None) -> None:
        self.name = name
        self._poison = poison  # None: this queue has no poison queue
        self._queue = _client(connection, name)
        self._options, self._lease_s, self._handle = options, lease_s, handle
        self._stopping = threading.Event()
        self._leases: set[Lease] = set()
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(options.batch_size + options.new_batch_threshold, thread_name_prefix=name)
        self._threads = [threading.Thread(target=work, name=name, daemon=True) for work in (self._listen, self._renew)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Receive no more; running messages end or come back."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()

    def _listen(self) -> None:
        pause, in_outage = POLL_FIRST_S, False
        while not self._stopping.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._has_room() or self._stopping.is_set())
            try:
                received = [] if self._stopping.is_set() else self._receive()
                in_outage = False
            except AzureError as error:
                if not in_outage:
                    log.warning("Queue %s cannot be read (%s); trying again every second.", self.name, type(error).__name__)
                in_outage = True
                self._stopping.wait(OUTAGE_PAUSE_S)
                continue
            pause = POLL_FIRST_S if received else min(2 * pause, POLL_LAST_S)
            if not received:
                self._stopping.wait(pause)

    def _has_room(self) -> bool:
        return len(self._leases) <= self._options.new_batch_threshold

    def _receive(self) -> list[QueueMessage]:
        """Take one batch; an absent queue has no messages (the real host does not create it either)."""
        batch = min(32, self._options.batch_size)
        try:
            pages = self._queue.receive_messages(messages_per_page=batch, max_messages=batch, visibility_timeout=self._lease_s)
            messages = list(pages)
        except ResourceNotFoundError:
            return []
        for message in messages:
            lease = Lease(self._queue, message, self._lease_s)
            with self._changed:
                self._leases.add(lease)
            self._pool.submit(self._process, message, lease)
        return messages

    def _process(self, message: QueueMessage, lease: Lease) -> None:
        try:
            self._settle(message, lease)
        except AzureError as error:  # storage was away or the lease was lost: the message comes back, which is safe
            log.warning("Queue %s: message %s was not settled (%s); it comes back.", self.name, message.id, type(error).__name__)
        except Exception:
            log.exception("Queue %s: the host failed on message %s; it comes back.", self.name, message.id)
        finally:
            with self._changed:
                self._leases.discard(lease)
                self._changed.notify_all()

    def _settle(self, message: QueueMessage, lease: Lease) -> None:
        attempts = int(message.dequeue_count or 1)
        if attempts > self._options.max_dequeue_count and self._poison:
            return self._move_to_poison(message, lease, "was received too often by hosts that died")
        body = self._decode(message)
        if body is None and self._poison:
            return self._move_to_poison(message, lease, "is not base64")
        if self._succeeds(Received(message=message, body=body if body is not None else str(message.content))):
            return lease.delete()
        if not self._poison:
            return lease.let_run_out()
        if attempts >= self._options.max_dequeue_count:
            return self._move_to_poison(message, lease, f"failed {attempts} times")
        return lease.give_back(int(self._options.visibility_timeout.total_seconds()))

    def _succeeds(self, received: Received) -> bool:
        """A handler that raises (storage was away, a message nobody can read) failed like a function that did."""
        try:
            return self._handle(received)
        except Exception:
            log.exception("Queue %s: message %s could not be handled.", self.name, received.message.id)
            return False

    def _decode(self, message: QueueMessage) -> str | None:
        if not self._options.base64:
            return str(message.content)
        try:
            return base64.b64decode(message.content, validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return None

    def _move_to_poison(self, message: QueueMessage, lease: Lease, why: str) -> None:
        assert self._poison is not None
        connection, poison = self._poison(str(message.content))
        send(connection, poison, message.content)
        lease.delete()
        log.error("Queue %s: message %s %s and was moved to %s.", self.name, message.id, why, poison)

    def _renew(self) -> None:
        while not self._stopping.wait(min(1.0, self._lease_s / 8)):
            with self._changed:
                leases = list(self._leases)
            for lease in leases:
                try:
                    lease.renew_if_due()
                except AzureError as error:
                    log.warning("Queue %s: a lease was not renewed (%s).", self.name, type(error).__name__)


def send(connection: str, name: str, content: Any) -> None:
    """Send one message as it is; create the queue where it is missing."""
    queue = _client(connection, name)
    try:
        queue.send_message(content)
    except ResourceNotFoundError:
        with contextlib.suppress(ResourceExistsError):  # somebody else was quicker
            queue.create_queue()
        queue.send_message(content)


def _client(connection: str, name: str) -> QueueClient:
    return QueueClient.from_connection_string(connection, name, retry_policy=LinearRetry(**RETRIES))
