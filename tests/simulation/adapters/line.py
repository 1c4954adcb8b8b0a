"""
What stands where the sockets were: the SDKs' own transport, its errors and its retries, over a function in this process.

`RequestsTransport` stays as it is; only the session that it opens is ours, so a lost connection is the same exception that `requests`
raises, and azure-core makes of it what it makes of it. An address that nobody here answers is refused loudly: no request leaves.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Mapping
from http.client import IncompleteRead, RemoteDisconnected
from types import SimpleNamespace
from typing import Any
from unittest import mock

import requests
from azure.core.pipeline.transport import HttpTransport, RequestsTransport
from requests.exceptions import ChunkedEncodingError
from urllib3.exceptions import NewConnectionError, ProtocolError
from urllib3.response import HTTPResponse

from tests.simulation.adapters.storage import Answer

Handle = Callable[[str, str, Mapping[str, str], bytes], Answer]  # method, address, headers in lower case, body


class Lost(Exception):
    """The connection breaks before an answer is there."""


class TooSlow(Exception):
    """No answer comes for as long as the client waits."""


class Unreachable(Exception):
    """No connection comes to be."""


class Line:
    """Where requests go now, and how somebody sleeps meanwhile."""

    def __init__(self, handle: Handle, sleep: Callable[[float], None]) -> None:
        self.handle, self.sleep = handle, sleep


class Session:
    """The part of `requests.Session` that azure-core uses; asks whatever line is there now."""

    def request(self, method: str, url: str, *, headers: Any, data: Any = None, stream: bool = False, **_: Any) -> requests.Response:
        sent = {name.lower(): value for name, value in headers.items()}
        try:
            answer = _now().handle(method, url, sent, _bytes(data))
        except Lost:
            lost = RemoteDisconnected("Remote end closed connection without response")
            raise requests.ConnectionError(ProtocolError("Connection aborted.", lost)) from None
        except TooSlow:
            raise requests.ReadTimeout("Read timed out.") from None
        except Unreachable:
            raise requests.ConnectionError(NewConnectionError(None, "Connection refused")) from None  # type: ignore[arg-type]
        return _response(method, url, answer, stream=stream)

    def close(self) -> None:
        """Nothing is open."""


_lines: list[Line] = []


def _now() -> Line:
    if not _lines:
        raise AssertionError("A request leaves after its simulation is over.")
    return _lines[-1]


@contextlib.contextmanager
def carried_by(line: Line) -> Iterator[None]:
    """Let every transport of azure-core ask this line, and sleep by it."""

    def open_here(self: RequestsTransport) -> None:
        self.session, self._has_been_opened = Session(), True

    def sleep_here(_: object, duration: float) -> None:
        _now().sleep(duration)

    _lines.append(line)
    try:
        with mock.patch.object(RequestsTransport, "open", open_here), mock.patch.object(HttpTransport, "sleep", sleep_here):
            yield
    finally:
        _lines.pop()


def _bytes(data: Any) -> bytes:
    if data is None:
        return b""
    if hasattr(data, "read"):
        data = data.read()
    return data.encode() if isinstance(data, str) else bytes(data)


def _response(method: str, url: str, answer: Answer, *, stream: bool) -> requests.Response:
    made = requests.Response()
    made.status_code, made.url, made.encoding = answer.status, url, "utf-8"
    made.headers.update(answer.headers)
    made.reason = answer.headers.get("x-ms-error-code", "OK")
    short = int(answer.headers.get("content-length", "0")) - len(answer.body) if method != "HEAD" else 0
    if stream:
        body = io.BytesIO(answer.body)
        made.raw = HTTPResponse(
            body=body,
            headers=answer.headers,
            status=answer.status,
            preload_content=False,
            request_method=method,
            enforce_content_length=True,
        )
        return made
    if short > 0:
        broken = IncompleteRead(answer.body, short)
        raise ChunkedEncodingError(ProtocolError(f"Connection broken: {broken!r}", broken))
    made._content, made._content_consumed = answer.body, True  # as after reading it to its end
    made.raw = SimpleNamespace(close=lambda: None)
    return made
