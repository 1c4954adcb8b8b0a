"""
The process that the user's code lives in: `python -m localcloud.functions.worker_process DESCRIPTOR`.

It is started by the host, with one end of a socket pair as its DESCRIPTOR, and ends with it: by the end of the pair, and on Linux
by the kernel, also while user code holds the interpreter. Nothing of Azure's storage is imported here, so that the app finds the
modules, and the memory, that it would find in Azure. SIGTERM ends it at once: no `finally` runs, as in the real worker.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path

from localcloud.functions import executing, wire, worker

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Process:
    """One worker: reads on a thread, runs everything on the event loop of the main thread."""

    def __init__(self, channel: wire.Channel) -> None:
        self._channel = channel
        self._loop = asyncio.new_event_loop()
        self._app = executing.App()
        self._running: set[asyncio.Task[None]] = set()  # the loop itself keeps only weak references

    def run(self) -> int:
        """Return the exit code when user code raised SystemExit; otherwise this ends with the process."""
        asyncio.set_event_loop(self._loop)
        threading.Thread(target=self._read, name="from-the-host", daemon=True).start()
        try:
            self._loop.run_forever()
        except SystemExit as asked:
            return asked.code if isinstance(asked.code, int) else int(asked.code is not None)
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
        return 0

    def _read(self) -> None:
        for message in self._channel:
            self._loop.call_soon_threadsafe(self._take, message)
        os._exit(0)  # the host is gone

    def _take(self, message: wire.Message) -> None:
        if isinstance(message, wire.Load):
            self._load(message)
        elif isinstance(message, wire.Invoke):
            task = self._loop.create_task(self._invoke(message))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    def _load(self, asked: wire.Load) -> None:
        try:
            os.chdir(asked.app)
            self._channel.send(wire.Loaded(self._app.load(Path(asked.app), asked.file)))
        except (worker.IndexingFailed, OSError) as error:
            self._channel.send(wire.NotLoaded(str(error)))

    async def _invoke(self, asked: wire.Invoke) -> None:
        outcome = await self._app.run(asked)
        try:
            self._channel.send(wire.Done(asked.id, outcome))
        except (TypeError, ValueError, OverflowError) as error:  # the function put out something that cannot travel
            failed = worker.Outcome(error=f"{type(error).__name__}: {error}")
            self._channel.send(wire.Done(asked.id, failed))


def main(descriptor: int) -> None:
    """Serve until the host is gone."""
    _die_with_the_host()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=LOG_FORMAT)
    code = Process(wire.Channel(socket.socket(fileno=descriptor))).run()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # without waiting for functions that still run on the pool


def _die_with_the_host() -> None:
    """Be killed when the thread that started us ends, whatever ends it; the host starts us from one that lives as long as it does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))


if __name__ == "__main__":
    main(int(sys.argv[1]))
