"""
The in-process skin: an unmodified `MLClient(..., transport=transport(cloud))` speaks to the emulator without socket or TLS.

The cloud must then be built with the base address that its client believes in, `https://management.azure.com`.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from http.client import RemoteDisconnected
from typing import TYPE_CHECKING, Any

import requests
from azure.core.credentials import AccessToken
from requests.adapters import BaseAdapter
from urllib3.exceptions import ProtocolError

from localcloud.azureml.wire import Request, Response, request_of
from localcloud.web import Ending

if TYPE_CHECKING:
    from azure.core.pipeline.transport import RequestsTransport

    from localcloud.azureml.cloud import Cloud

PUBLIC_BASE = "https://management.azure.com"


class Credential:
    """A credential whose tokens this cloud itself issued."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        audience = scopes[0].removesuffix("/.default").rstrip("/")
        return AccessToken(*self._cloud.tokens.issue(audience))


class Adapter(BaseAdapter):
    """Carries what `requests` would send over a socket to `Cloud.handle`."""

    def __init__(self, cloud: Cloud, sleep: Callable[[float], object] = time.sleep) -> None:
        super().__init__()
        self._cloud = cloud
        self._sleep = sleep

    def send(self, request: requests.PreparedRequest, *_: object, **given: Any) -> requests.Response:
        """Answer, or fail as a socket would: the other arguments (stream, certificates) have no meaning without one."""
        answered = self._cloud.handle(_from_requests(request))
        self._keep_back(answered, given.get("timeout"))
        if answered.ending is Ending.ANSWERED:
            return _to_requests(request, answered)
        if answered.ending is Ending.RESET:
            raise requests.ConnectionError(ProtocolError("Connection aborted.", ConnectionResetError(104, "Connection reset by peer")))
        lost = RemoteDisconnected("Remote end closed connection without response")
        raise requests.ConnectionError(ProtocolError("Connection aborted.", lost))

    def _keep_back(self, answered: Response, timeout: object) -> None:
        patience = timeout[1] if isinstance(timeout, tuple) else timeout
        if isinstance(patience, int | float) and answered.after_seconds > patience:
            self._sleep(patience)
            raise requests.ReadTimeout(f"Read timed out. (read timeout={patience})")
        if answered.after_seconds:
            self._sleep(answered.after_seconds)

    def close(self) -> None:
        """Nothing is open."""


def transport(cloud: Cloud) -> RequestsTransport:
    """Return a transport for any Azure SDK client."""
    from azure.core.pipeline.transport import RequestsTransport

    return RequestsTransport(session=session(cloud), session_owner=False)


def session(cloud: Cloud) -> requests.Session:
    """Return a session whose every https address is this cloud."""
    made = requests.Session()
    made.mount("https://", Adapter(cloud))
    return made


def _from_requests(request: requests.PreparedRequest) -> Request:
    target = "/" + str(request.url).partition("#")[0].partition("://")[2].partition("/")[2]
    body = request.body or b""
    if not isinstance(body, str | bytes):
        raise TypeError("The in-process transport sends text or bytes; read the stream first.")
    headers = {name: _text(value) for name, value in request.headers.items()}
    return request_of(str(request.method), target, headers, body.encode() if isinstance(body, str) else body)


def _to_requests(request: requests.PreparedRequest, response: Response) -> requests.Response:
    from urllib3.response import HTTPResponse

    headers: Mapping[str, str] = {"content-length": str(len(response.body)), **response.headers}
    made = requests.Response()
    made.status_code = response.status
    made.headers.update(headers)
    made.raw = HTTPResponse(body=io.BytesIO(response.body), headers=headers, status=response.status, preload_content=False)
    made.url = str(request.url)
    made.request = request
    made.encoding = "utf-8"
    return made


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
