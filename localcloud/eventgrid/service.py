"""
Event Grid as one part of a process: what is published is delivered from `start` on, and what is kept lies in one folder.

Before `start`, or without subscriptions, events go nowhere, as in a cloud in which nobody has subscribed. Topics take and keep events
all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud.chance import Chance
from localcloud.clocks import Clock, system
from localcloud.eventgrid.blobs import BlobWatcher, Options
from localcloud.eventgrid.deadletters import BlobBox
from localcloud.eventgrid.driver import Driver
from localcloud.eventgrid.grid import EventGrid
from localcloud.eventgrid.hand import Hand
from localcloud.eventgrid.schemas import Event, Schema
from localcloud.eventgrid.subscriptions import BLOB_DELETED, Subscription
from localcloud.eventgrid.topics import DEFAULT_TOPICS, Topics
from localcloud.faults import Faults

if TYPE_CHECKING:
    from datetime import datetime

    from localcloud.azureml.tokens import Tokens

LOG = logging.getLogger("eventgrid")


class Service:
    """One grid, the watcher of one container, and the threads that drive them."""

    def __init__(
        self,
        folder: Path,
        *,
        storage: str,
        container: str,
        clock: Clock = system,
        chance: Chance | None = None,
        faults: Faults | None = None,
        pace: float = 1.0,
        spread: float = 0.0,
        blobs: Options | None = None,
        topics: Mapping[str, Schema] = DEFAULT_TOPICS,
    ) -> None:
        self._file, self._storage, self._container = folder / "events.db", storage, container
        self._clock, self._chance, self._faults = clock, chance or Chance(), faults or Faults()
        self._pace, self._spread, self._blobs = pace, spread, blobs or Options()
        self.topics = Topics(topics, self.publish, folder=folder, clock=self._clock, chance=self._chance)
        self._grid: EventGrid | None = None
        self._driver: Driver | None = None
        self._watcher: BlobWatcher | None = None

    def start(self, subscriptions: Sequence[Subscription]) -> None:
        """Deliver from now on, also what an earlier process could not."""
        self._grid = EventGrid(
            subscriptions,
            clock=self._clock,
            chance=self._chance,
            faults=self._faults,
            pace=self._pace,
            spread=self._spread,
            store=self._file,
            box=BlobBox(self._storage),
        )
        self._driver = Driver(self._grid, self._clock)
        self._driver.start()
        deletions = any(BLOB_DELETED.lower() in one.included_types for one in subscriptions)
        self._watcher = BlobWatcher(
            self._storage,
            self._container,
            self._grid.publish,
            options=replace(self._blobs, deletions=deletions),
            seen=self._file,
            clock=self._clock,
            chance=self._chance,
        )
        self._watcher.start()

    def room(self, tokens: Tokens) -> Topics:
        """Return the topics as a room of the emulator, whose tokens they take."""
        self.topics.tokens = tokens
        return self.topics

    def hand(self, tokens: Tokens) -> Hand:  # noqa: ARG002 - a room's maker is given the tokens
        """Return the room by which a person publishes an event and sees who subscribed."""
        return Hand(lambda: self._grid, self._clock, self._chance)

    def publish(self, topic: str, event: Event) -> None:
        if self._grid:
            self._grid.publish(topic, event)

    def stats(self) -> dict[str, Any]:
        return self._grid.stats() if self._grid else {}

    def due(self) -> datetime | None:
        """Return when a delivery is due next; None: none is on its way."""
        return self._grid.due() if self._grid else None

    def busy(self) -> bool:
        """Say whether an answer is awaited."""
        return self._grid.busy() if self._grid else False

    def advance(self) -> None:
        """Let happen what is due now; for whoever moves the clock by hand."""
        if self._grid:
            self._grid.advance()

    def forget(self) -> None:
        """Drop what is undelivered and what topics kept. Blobs stay told: a reset is no upload."""
        self.topics.forget()
        if self._grid:
            self._grid.forget()

    def stop(self) -> None:
        if self._watcher:
            self._watcher.stop()
        if self._driver:
            self._driver.stop()
        self.topics.close()
