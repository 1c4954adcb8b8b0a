"""
The HTTPS skin: one loopback port, our own certificate, one thread a request, and an orderly end that leaves no child behind.
"""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response as HttpResponse
from starlette.routing import Route

from localcloud.azureml.wire import Request

if TYPE_CHECKING:
    from localcloud.azureml.cloud import Cloud

HOST = "127.0.0.1"  # never another: there is no real secret here, and everything is allowed
METHODS = ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD"]
LAST_ANSWERS_WITHIN = 3  # seconds for requests that are under way when we are told to stop
LOG = logging.getLogger(__name__)


def listen(port: int) -> socket.socket:
    """Return a listening socket; port 0 takes any that is free."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
    except OSError as error:
        made.close()
        raise SystemExit(f"Port {port} cannot be used ({error.strerror}); stop what listens there or choose another --port.") from None
    return made


def serve(
    cloud: Cloud, listener: socket.socket, *, certificate: Path, key: Path, ready: Callable[[], None], stopped: Callable[[], None]
) -> None:
    """Answer until SIGTERM or Ctrl-C, from when `ready` is called; then stop the clock, kill the children and call `stopped`."""
    app = Starlette(routes=[Route("/{path:path}", _endpoint(cloud), methods=METHODS)])
    config = uvicorn.Config(
        app,
        ssl_certfile=str(certificate),
        ssl_keyfile=str(key),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=LAST_ANSWERS_WITHIN,
    )
    server = _Server(config, ready)

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the shape of a signal handler
        server.should_exit = True

    # uvicorn raises the signal again when it has ended; without a handler of ours that would kill us before the children
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        cloud.start()
        server.run(sockets=[listener])
    finally:
        cloud.close()
        stopped()
        for number, handler in before.items():
            signal.signal(number, handler)


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def _endpoint(cloud: Cloud) -> Callable[[HttpRequest], object]:
    async def endpoint(request: HttpRequest) -> HttpResponse:
        asked = Request(
            method=request.method,
            path=request.url.path if "%" not in request.scope["path"] else request.scope["path"],
            query=dict(request.query_params),
            headers=dict(request.headers),
            body=await request.body(),
        )
        answered = await run_in_threadpool(cloud.handle, asked)
        return HttpResponse(answered.body, status_code=answered.status, headers=dict(answered.headers))

    return endpoint
