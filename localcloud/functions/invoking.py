"""
Every invocation leaves one line in the log: name, outcome, milliseconds. Never what the trigger brought.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping

from localcloud.functions import worker

log = logging.getLogger("host")


class Invoker:
    """The one place where the host calls the worker."""

    def __init__(self, its_worker: worker.Worker) -> None:
        self._worker = its_worker
        self._running = 0
        self._idle = threading.Condition()

    def __call__(
        self,
        name: str,
        data: worker.Value,
        metadata: Mapping[str, worker.Value] | None = None,
        attempt: worker.Attempt = worker.FIRST,
    ) -> worker.Outcome:
        started = time.perf_counter()
        with self._idle:
            self._running += 1
        try:
            outcome = self._worker.invoke(name, data, metadata or {}, attempt)
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()
        took_ms = 1000 * (time.perf_counter() - started)
        if outcome.succeeded:
            log.info("%s succeeded in %.0f ms", name, took_ms)
        else:
            log.error("%s failed in %.0f ms: %s\n%s", name, took_ms, outcome.error, outcome.traceback.rstrip())
        return outcome

    def wait_until_idle(self, seconds: float) -> bool:
        """True: nothing runs any more."""
        with self._idle:
            return self._idle.wait_for(lambda: self._running == 0, timeout=seconds)
