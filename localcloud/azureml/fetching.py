"""
Slow reads run beside the cloud, a few at a time, and hold up nobody: not the lock, and not the end of the process.

The pool of the standard library waits at the end of the process for what runs, and storage that hangs answers after minutes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Fetchers:
    """So many daemon threads, started when the first of them is needed."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._threads: list[threading.Thread] = []

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Let it run when its turn comes; what it returns or raises is the future's."""
        future: Future[T] = Future()
        self._waiting.put((future, work))
        if len(self._threads) < self._count:
            self._threads.append(threading.Thread(target=self._run, name="job-inputs", daemon=True))
            self._threads[-1].start()
        return future

    def _run(self) -> None:
        while True:
            future, work = self._waiting.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
                future.set_exception(error)
