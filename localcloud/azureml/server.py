"""
The HTTPS skin: one loopback port, our own certificate, and an orderly end that leaves no child behind.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from localcloud import web
from localcloud.azureml.wire import request_of

if TYPE_CHECKING:
    from localcloud.azureml.cloud import Cloud


def listen(held: socket.socket, cloud: Cloud, *, certificate: Path, key: Path) -> web.Server:
    """Return a server that listens on the socket and does not answer yet."""
    return web.Server(held, handler(cloud), name="Azure ML", context=web.tls(certificate, key))


def handler(cloud: Cloud) -> web.Handler:
    """Return what turns a request of HTTP into one of the cloud, and its answer back."""

    def answer(asked: web.Asked) -> web.Answered:
        answered = cloud.handle(request_of(asked.method, asked.target, asked.headers, asked.body))
        if answered.after_seconds:
            time.sleep(answered.after_seconds)
        return web.Answered(status=answered.status, body=answered.body, headers=answered.headers, ending=answered.ending)

    return answer


def serve(cloud: Cloud, server: web.Server, *, ready: Callable[[], None], stopped: Callable[[], None], ticking: bool) -> None:
    """Answer until SIGTERM or Ctrl-C; then kill the children and call `stopped`. `ready` is called once the first answer is possible."""
    ended = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the shape of a signal handler
        ended.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        if ticking:
            cloud.start()
        server.start()
        ready()
        ended.wait()
    finally:
        server.stop()
        cloud.close()
        stopped()
        for number, old in before.items():
            signal.signal(number, old)
