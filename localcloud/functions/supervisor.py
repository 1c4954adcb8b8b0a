"""
Keeps one worker process alive: started again when it dies, until it has died too often.

What ran in a dead worker failed, and its listener treats it as any failed function: a queue message rests for visibilityTimeout
and comes back with its dequeue count raised, a webhook answers 500. What is asked while no worker is ready waits for the next one.
A function that outruns functionTimeout costs the worker its life too; that death is not counted.

Written after RpcFunctionInvocationDispatcher of the real host: three deaths, each within 30 minutes of the one before, end the host.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from dataclasses import field as made
from datetime import timedelta
from pathlib import Path
from typing import Any

from localcloud.functions import wire, worker

ROOT = Path(__file__).resolve().parents[2]  # `python -m localcloud.…` works from here
COMMAND = (sys.executable, "-u", "-m", "localcloud.functions.worker_process")  # -u: what a killed worker printed is not lost
READY_WITHIN_S = 180.0  # 60 s for a process to start and 2 min for it to initialize (host; Python's worker.config.json)
DEATHS_MAX = 3  # with this one the host ends (RpcFunctionInvocationDispatcher: 3 for each worker process)
FORGOTTEN_AFTER_S = 1800.0  # a longer peace between two deaths starts the count anew (WorkerConstants)
PAUSE_S = 1.0  # before every start but the first and second; the real host keeps 10 s between two starts
log = logging.getLogger("host")


@dataclass
class Deaths:
    """Counts deaths in a row and says how long to wait before the next start."""

    count: int = 0
    last_at: float | None = None  # None: nobody died yet

    def next_start_after_s(self, now: float) -> float | None:
        """Count a death; None: that was one too many."""
        if self.last_at is not None and now - self.last_at > FORGOTTEN_AFTER_S:
            self.count = 0
        self.count, self.last_at = self.count + 1, now
        if self.count >= DEATHS_MAX:
            return None
        return PAUSE_S * (self.count - 1)


@dataclass
class Life:
    """One worker process from its start to its end."""

    process: subprocess.Popen[bytes]
    channel: wire.Channel
    ready: bool = False  # it answered Load
    not_loaded: str = ""  # why the app could not be imported; empty: it could, or did not try yet
    over: bool = False
    asked_to_end: str = ""  # why we killed it ourselves; empty: we did not
    pending: dict[str, Future[worker.Outcome]] = made(default_factory=dict)

    def kill(self, because: str) -> None:
        self.asked_to_end = self.asked_to_end or because
        self.process.kill()


class Supervisor:
    """A Worker whose functions run in a process of their own."""

    def __init__(self, app: Path, file: str, *, timeout: timedelta | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._file, self._clock = app, file, clock
        self._timeout_s = timeout.total_seconds() if timeout else None
        self._changed = threading.Condition()
        self._life: Life | None = None  # None: not started yet
        self._functions: list[worker.Function] | None = None  # None: no worker indexed the app yet
        self._starts = 0
        self._lost = ""  # why no worker is started any more; empty: one is
        self._stopping = threading.Event()
        self.when_lost: Callable[[], None] = lambda: None
        # One thread starts all of them: the kernel kills a worker when the thread that started it ends.
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Start the first worker; index() waits for it."""
        self._thread.start()

    def index(self) -> Sequence[worker.Function]:
        with self._changed:
            self._changed.wait_for(lambda: self._ready_life() or self._lost)
            if self._lost:
                raise worker.WorkerLost(self._lost)
            life = self._ready_life()
            if life is not None and life.not_loaded:
                raise worker.IndexingFailed(life.not_loaded)
            return self._functions or []

    def invoke(
        self, name: str, data: worker.Value, metadata: Mapping[str, worker.Value], attempt: worker.Attempt = worker.FIRST
    ) -> worker.Outcome:
        invocation = wire.Invoke(str(uuid.uuid4()), name, data, dict(metadata), attempt)
        future: Future[worker.Outcome] = Future()
        with self._changed:
            self._changed.wait_for(lambda: self._ready_life() or self._lost)
            life = self._ready_life()
            if life is None:
                return worker.Outcome(error=self._lost)
            if life.not_loaded:
                return worker.Outcome(error=life.not_loaded)
            life.pending[invocation.id] = future
        with contextlib.suppress(OSError):  # it just died; the end of its life fails this invocation
            life.channel.send(invocation)
        return self._await(life, invocation, future)

    def about(self) -> Mapping[str, Any]:
        with self._changed:
            life = self._ready_life()
            return {"workerPid": life.process.pid if life else None, "workerStarts": self._starts}

    @property
    def lost(self) -> bool:
        """True: no worker is started any more."""
        return bool(self._lost)

    def stop(self) -> None:
        """Kill the worker. What it ran stays unanswered: its messages come back when their lease runs out."""
        self._stopping.set()
        with self._changed:
            life = self._life
        if life is not None:
            life.kill("the host stops")

    def _await(self, life: Life, invocation: wire.Invoke, future: Future[worker.Outcome]) -> worker.Outcome:
        try:
            return future.result(self._timeout_s)
        except TimeoutError:
            told = f"Timeout value of {_time_span(self._timeout_s or 0)} exceeded by function 'Functions.{invocation.name}'"
            life.kill(f"{invocation.name} outran functionTimeout")
            return worker.Outcome(error=f"FunctionTimeoutException: {told} (Id: '{invocation.id}').")

    def _ready_life(self) -> Life | None:
        return self._life if self._life and self._life.ready and not self._life.over else None

    def _run(self) -> None:
        deaths = Deaths()
        while not self._stopping.is_set():
            how, counts = self._live()
            if self._stopping.is_set():
                return
            pause_s = deaths.next_start_after_s(self._clock()) if counts else 0.0
            if pause_s is None:
                self._lose(f"{how} That was death {DEATHS_MAX} in a row: the host ends, as the real host does. Its log says what happened.")
                return
            log.warning("%s It is started again%s.", how, f" in {pause_s:.0f} s" if pause_s else "")
            self._stopping.wait(pause_s)

    def _live(self) -> tuple[str, bool]:
        """One life; how it ended, and whether that counts as a death."""
        life = self._born()
        too_slow = threading.Timer(READY_WITHIN_S, life.kill, [f"it was not ready within {READY_WITHIN_S:.0f} s"])
        too_slow.daemon = True
        too_slow.start()
        threading.Thread(target=_hang_up_at_the_end, args=(life,), name="worker-end", daemon=True).start()
        with contextlib.suppress(OSError):  # dead already
            life.channel.send(wire.Load(str(self._app), self._file))
        for message in life.channel:
            if isinstance(message, wire.Done):
                with self._changed:
                    future = life.pending.pop(message.id, None)
                if future is not None:
                    future.set_result(message.outcome)
            else:
                too_slow.cancel()
                self._loaded(life, message)
        too_slow.cancel()
        return self._buried(life)

    def _born(self) -> Life:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [*COMMAND, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,  # the host's log
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                start_new_session=True,  # Ctrl-C is for the host, which ends its worker itself
            )
        life = Life(process, wire.Channel(ours))
        with self._changed:
            self._life = life
            self._starts += 1
        if self._stopping.is_set():
            life.kill("the host stops")
        return life

    def _loaded(self, life: Life, message: wire.Message) -> None:
        with self._changed:
            if isinstance(message, wire.NotLoaded):
                life.not_loaded = message.error
            elif isinstance(message, wire.Loaded):
                if self._functions not in (None, message.functions):
                    log.warning("The app's functions changed since the host started; start the host again to listen to the new ones.")
                self._functions = self._functions or message.functions
            life.ready = True
            self._changed.notify_all()
        log.info("Worker process %d is ready.", life.process.pid)
        if life.not_loaded and self._functions is not None:
            log.error("The app cannot be indexed any more: %s", life.not_loaded)

    def _buried(self, life: Life) -> tuple[str, bool]:
        """Wait for the end of the process and fail what it ran."""
        life.process.kill()  # where only its end of the pair is gone
        code = life.process.wait()
        with self._changed:
            life.over = True
            pending = list(life.pending.values())
            life.pending.clear()
        life.channel.close()
        how = _how(life, code)
        if not self._stopping.is_set():
            for future in pending:
                future.set_result(worker.Outcome(error=f"WorkerProcessExitException: {how}"))
        return how, not life.asked_to_end or not life.ready

    def _lose(self, why: str) -> None:
        log.critical("%s", why)
        with self._changed:
            self._lost = why
            self._changed.notify_all()
        self.when_lost()


def _time_span(seconds: float) -> str:
    """HH:MM:SS, as the real host writes times."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest:02}"


def _hang_up_at_the_end(life: Life) -> None:
    """A process that the dead worker started may still hold its end of the pair; the reader must not wait for that."""
    life.process.wait()
    life.channel.hang_up()


def _how(life: Life, code: int) -> str:
    pid = life.process.pid
    if life.asked_to_end:
        return f"Worker process {pid} was ended: {life.asked_to_end}."
    if code < 0:
        return f"Worker process {pid} was killed by signal {-code} ({signal.strsignal(-code)})."
    return f"Worker process {pid} exited with code {code}."
