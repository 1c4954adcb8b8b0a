"""
A timer fires at its seconds, and after a downtime once more at once with past_due set.

The next due moment is kept in a file, so it outlives the process. One timer never runs twice at the same time; what falls due
while it runs is skipped. A failed run is repeated at once only where the function has a retry policy; its state is lost with the
host. There is no lock between two hosts: a laptop has one.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from localcloud.functions import schedule
from localcloud.functions.invoking import Invoker
from localcloud.functions.worker import FIRST, Attempt, Function, Retry, Value

LATE = timedelta(seconds=1)  # a guess: later than that is past due
WAIT_MAX_S = 60.0  # look at the clock at least so often: a laptop sleeps
RETRY_DOUBLINGS_MAX = 32  # 2^32 s is beyond the longest delay that a policy can name
NEVER = "0001-01-01T00:00:00+00:00"
log = logging.getLogger("host")


def now_utc() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Status:
    """What is kept of a timer between two lives of the host."""

    schedule: str
    last: datetime | None  # None: never fired yet
    next: datetime


def retry_delay_s(policy: Retry, retries: int) -> float:
    """Seconds before the next run, after so many retries: fixed, or doubled each time up to the longest (our reading; Azure's jitters)."""
    return float(min(policy.last_delay_s, policy.first_delay_s << min(retries, RETRY_DOUBLINGS_MAX)))


class Timer:
    """One timer function."""

    def __init__(
        self,
        function: Function,
        invoke: Invoker,
        folder: Path,
        clock: Callable[[], datetime] = now_utc,
        pause: Callable[[float], bool] | None = None,  # waits so many seconds, True: stop; None: by the real clock
    ) -> None:
        self._function, self._invoke, self._clock = function, invoke, clock
        self._text = str(function.trigger["schedule"])
        self._schedule = schedule.parse(self._text)
        self._file = folder / f"{function.name}.json" if function.trigger.get("useMonitor") is not False else None
        self._stopping = threading.Event()
        self._pause = pause or self._stopping.wait
        self._thread = threading.Thread(target=self._run, name=function.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def fire(self, status: Status, *, past_due: bool) -> None:
        last = status.last.isoformat() if status.last else NEVER
        next_due = self._schedule.next_after(self._clock())
        request: dict[str, Any] = {
            "Schedule": {"AdjustForDST": True},
            "ScheduleStatus": {"Last": last, "Next": next_due.isoformat(), "LastUpdated": last},
            "IsPastDue": past_due,
        }
        self._run_with_retries(Value("json", json.dumps(request)))

    def _run_with_retries(self, request: Value) -> None:
        """Until it succeeds, the policy is used up, or the host stops."""
        policy, attempt = self._function.retry, FIRST
        while True:
            outcome = self._invoke(self._function.name, request, None, attempt)
            if outcome.error is None or policy is None or attempt.retry_count == policy.max_retry_count:
                return
            if self._pause(retry_delay_s(policy, attempt.retry_count)):
                return
            attempt = Attempt(retry_count=attempt.retry_count + 1, max_retry_count=policy.max_retry_count, error=outcome.error)

    def status(self) -> Status:
        """What the file says of this schedule; without a file the timer was due nowhere in the past."""
        fresh = Status(schedule=self._text, last=None, next=self._schedule.next_after(self._clock()))
        if self._file is None:
            return fresh
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8"))
            last = datetime.fromisoformat(kept["last"]) if kept["last"] else None
            known = Status(schedule=kept["schedule"], last=last, next=datetime.fromisoformat(kept["next"]))
            if known.next.tzinfo is None or (last and last.tzinfo is None):
                raise ValueError("a time without its zone")
        except FileNotFoundError:
            return fresh
        except (OSError, ValueError, KeyError, TypeError):
            log.warning("Timer %s: %s cannot be read and is begun anew.", self._function.name, self._file)
            return fresh
        return known if known.schedule == self._text else fresh

    def _run(self) -> None:
        status = self.status()
        self._keep(status)
        if self._function.trigger.get("runOnStartup"):
            self.fire(status, past_due=False)
        while not self._stopping.is_set():
            wait_s = (status.next - self._clock()).total_seconds()
            if wait_s > 0:
                self._stopping.wait(min(wait_s, WAIT_MAX_S))
                continue
            self.fire(status, past_due=-wait_s > LATE.total_seconds())
            status = Status(schedule=self._text, last=status.next, next=self._schedule.next_after(self._clock()))
            self._keep(status)

    def _keep(self, status: Status) -> None:
        """A timer whose file cannot be written fires all the same; after a restart it does not know what it missed."""
        try:
            self._write(status)
        except OSError as error:
            log.warning("Timer %s: its next due time cannot be kept (%s).", self._function.name, error)

    def _write(self, status: Status) -> None:
        if self._file is None:
            return
        kept = {
            "schedule": status.schedule,
            "last": status.last.isoformat() if status.last else None,
            "next": status.next.isoformat(),
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_suffix(".tmp")
        draft.write_text(json.dumps(kept), encoding="utf-8")
        os.replace(draft, self._file)
