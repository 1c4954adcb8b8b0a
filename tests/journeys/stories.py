"""Runs the loop around a `World`: messages, timers and the death of workers, on a clock that only the story moves."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from shared import errors
from shared.domain.record import Kind
from shared.reconcile import arrivals, timers, turn
from tests.journeys import fakes

TICK = timedelta(minutes=5)
STEPS_MAX = 20_000  # of one story; a loop that never rests fails here instead of hanging


class Story:
    """One installation of the app and its world."""

    def __init__(self, workdir: Path) -> None:
        self.world = fakes.World()
        self.loop = fakes.loop_over(self.world, workdir)
        self.timers_on = True
        self.killed = 0
        self._tick_at = self.world.now + TICK

    def uploaded(self, path: str, content: bytes = fakes.ROWS, *, doors_ring: int = 2) -> str:
        """Upload, let the doors ring, and return the tuning's id."""
        upload = self.world.upload(path, content)
        for number in range(doors_ring):
            self._safely(partial(arrivals.dataset_written, self.loop, "datasets", path, who=f"door {number}"))
        return upload.id

    def run(self, duration: timedelta) -> None:
        """Let time pass: every message is handed out when it is due, the timers tick, Azure does its part."""
        end = self.world.now + duration
        for _ in range(STEPS_MAX):
            due = self.world.queue[0][0] if self.world.queue else end
            at = min(due, self._tick_at, end)
            self.world.now = max(self.world.now, at)
            self.world.advance_services()
            if at == end and due >= end:
                return
            if at == self._tick_at:
                self._tick()
            else:
                self._hand_out()
        raise AssertionError("The story does not come to rest.")

    def _hand_out(self) -> None:
        _, _, message = heapq.heappop(self.world.queue)
        key, who, promised = message
        try:
            turn.take(self.loop, fakes.LIVES, key, who=who, promised=promised)
        except (errors.TuneloopError, fakes.Killed) as error:
            lease = fakes.MESSAGE_LEASE if isinstance(error, fakes.Killed) else timedelta(minutes=1)
            self.killed += isinstance(error, fakes.Killed)
            self.world.push(self.world.now + lease, message)

    def _tick(self) -> None:
        self._tick_at += TICK
        if self.timers_on:
            self._safely(lambda: timers.look_again(self.loop, fakes.LIVES, who="look_again"))
            self._safely(lambda: timers.tear_down_idle_endpoints(self.loop, who="tear_down"))

    def _safely(self, call: Callable[[], object]) -> None:
        try:
            call()
        except (errors.TuneloopError, fakes.Killed) as error:
            self.killed += isinstance(error, fakes.Killed)


def only(story: Story, kind: Kind) -> Any:
    """The one record of a kind that there is."""
    (found,) = fakes.all_of(story.world, kind)
    return found
