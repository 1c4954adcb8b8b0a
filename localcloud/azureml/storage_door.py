"""
The storage account under this cloud's own address: what comes below `/<account>/` goes on to Azurite, byte for byte.

The SDK uploads a job's local files over HTTPS only, to a host whose certificate it trusts. Azurite speaks plain HTTP, so its blobs are
reached through this door. Path and headers are what a shared key signs, and both are passed on as they came.
"""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from localcloud.azureml.routes import Call, Route
from localcloud.azureml.wire import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

METHODS = ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS")
WITHIN_SECONDS = 60  # for one block of at most 64 MB on the loopback
DOES = "the storage account, as Azurite plays it"
_OF_ONE_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "host", "expect", "upgrade", "te", "trailer"})


class StorageDoor:
    """Passes requests on to one storage account."""

    def __init__(self, blob_endpoint: str) -> None:
        """`blob_endpoint`: for example `http://127.0.0.1:10000/devstoreaccount1`."""
        parts = urlsplit(blob_endpoint)
        self.path = parts.path.rstrip("/")
        self._address = parts.netloc

    def routes(self) -> list[Route]:
        addresses = (self.path, self.path + "/", self.path + "/{rest...}")
        return [
            Route(method=method, path=path, handler=self._pass_on, versions=None, signed=False, locked=False, does=DOES)
            for method in METHODS
            for path in addresses
        ]

    def _pass_on(self, call: Call) -> Response:
        request = call.request
        connection = http.client.HTTPConnection(self._address, timeout=WITHIN_SECONDS)
        try:
            connection.request(request.method, request.target, request.body, _passed(request.headers))
            reply = connection.getresponse()
            body = reply.read()
        except (OSError, http.client.HTTPException) as error:
            message = (
                f"The storage account at {self._address} does not answer ({type(error).__name__}); start it: python -m localcloud azurite."
            )
            return Response(status=503, body=message.encode(), headers={"content-type": "text/plain"})
        finally:
            connection.close()
        headers = _passed({name.lower(): value for name, value in reply.getheaders()})
        if request.method == "HEAD" and (length := reply.getheader("content-length")) is not None:
            headers["content-length"] = length  # of the blob that a GET would bring
        return Response(status=reply.status, body=body, headers=headers)


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that mean something beyond one connection; a length is counted anew on each."""
    return {name: value for name, value in headers.items() if name not in _OF_ONE_CONNECTION and name != "content-length"}
