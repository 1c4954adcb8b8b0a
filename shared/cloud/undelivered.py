"""Counts what the Functions host and Event Grid gave up: one request for a queue, one listing page for a container."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

from shared import errors
from shared.cloud.answers import translated
from shared.domain.undelivered import COUNTED_MAX
from shared.plain import plain

BLOB_TRIGGER_POISON = "webjobs-blobtrigger-poison"  # azure-webjobs-sdk: on the trigger's account, or the host's when that has no queues
log = logging.getLogger("tuneloop.undelivered")


class StorageUndelivered:
    """The `Undelivered` port over queues and perhaps a container of dead letters."""

    def __init__(self, queues: Sequence[QueueClient], dead_letters: ContainerClient | None) -> None:
        """Look at each queue of `queues` once, whoever names it twice."""
        self._places: dict[str, Callable[[], int]] = {}
        for queue in queues:
            self._places[f"queue {queue.account_name}/{queue.queue_name}"] = lambda queue=queue: _messages(queue)  # type: ignore[misc]
        if dead_letters:
            place = f"container {dead_letters.account_name}/{dead_letters.container_name}"
            self._places[place] = lambda: _blobs(dead_letters)

    def counts(self) -> Mapping[str, int | None]:
        return {place: _counted(place, count) for place, count in self._places.items()}


def _counted(place: str, count: Callable[[], int]) -> int | None:
    try:
        with translated(f"Looking at {place}"):
            try:
                return count()
            except ResourceNotFoundError:
                return 0
    except errors.TuneloopError as error:
        log.info("%s action=undelivered_unknown", plain(str(error)))
        return None


def _messages(queue: QueueClient) -> int:
    return int(queue.get_queue_properties().approximate_message_count or 0)


def _blobs(container: ContainerClient) -> int:
    pages = container.list_blobs(results_per_page=COUNTED_MAX).by_page()
    return sum(1 for _ in next(pages, ()))
