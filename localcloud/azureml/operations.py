"""
Long-running operations: begun by a PUT, POST or DELETE, looked at by their address, ended by what they were about.

Deliberate difference from Azure: `Retry-After: 1` is sent, so that the SDK's poller is quick on a laptop.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from localcloud.azureml import site as sites
from localcloud.azureml.routes import Call, Route
from localcloud.azureml.wire import Json, Refused, Response, answer

if TYPE_CHECKING:
    from localcloud.azureml.site import Site

RETRY_AFTER = "1"  # seconds, whole (the SDK reads an int); Azure sends none, the SDK then waits 5 to 30 s
TIMEOUT = "PT30M"  # what Azure's header says [recorded]
NOT_ENDED = "0001-01-01T00:00:00+00:00"  # Azure's end time of what runs [recorded]
_RESULTS = {"mfe": "mfeOperationResults", "compute": "computeOperationsResults"}  # Azure spells them differently
_LOCATION = "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{location}/"


@dataclass(kw_only=True)
class Operation:
    """One operation; `status` is Updating or Deleting until it is Succeeded, Failed or Canceled."""

    id: str
    status: str
    started: datetime
    api_version: str
    family: str = "mfe"  # begins the words of its addresses: mfe, or compute
    ended: datetime | None = None  # None: still going
    error: Json | None = None  # None: no failure


class Operations:
    """All operations since the start."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._all: dict[str, Operation] = {}

    def routes(self) -> list[Route]:
        return [
            Route(method="GET", path=_LOCATION + "mfeOperationsStatus/{operation}", handler=self._status),
            Route(method="GET", path=_LOCATION + "mfeOperationResults/{operation}", handler=self._result),
            Route(method="GET", path=_LOCATION + "computeOperationsStatus/{operation}", handler=self._status),
            Route(method="GET", path=_LOCATION + "computeOperationsResults/{operation}", handler=self._result),
        ]

    def begin(self, prefix: str, status: str, api_version: str, *, family: str = "mfe") -> Operation:
        """Begin one; `prefix` is Azure's word for the kind of resource (oeidp, odidp), "" where the id is a GUID alone."""
        name = f"{prefix}:{uuid.uuid4()}:{uuid.uuid4()}" if prefix else str(uuid.uuid4())
        operation = Operation(id=name, status=status, started=self.site.clock(), api_version=api_version, family=family)
        self._all[name] = operation
        return operation

    def succeed(self, operation: Operation) -> None:
        operation.status, operation.ended = "Succeeded", self.site.clock()

    def fail(self, operation: Operation, code: str, message: str) -> None:
        operation.status, operation.ended = "Failed", self.site.clock()
        operation.error = {"code": code, "message": message}

    def cancel(self, operation: Operation, message: str) -> None:
        operation.status, operation.ended = "Canceled", self.site.clock()
        operation.error = {"code": "OperationCanceled", "message": message}

    def status_address(self, operation: Operation) -> str:
        return self._address(f"{operation.family}OperationsStatus", operation)

    def headers(self, operation: Operation, resource_path: str | None = None) -> Mapping[str, str]:
        """Return the headers of a 201 or 202. A PUT's Location is the resource itself, a DELETE's the result."""
        location = self._address(_RESULTS[operation.family], operation)
        if resource_path is not None:
            location = f"{self.site.base}{resource_path}?api-version={operation.api_version}"
        return {
            "Azure-AsyncOperation": self.status_address(operation),
            "Location": location,
            "x-ms-async-operation-timeout": TIMEOUT,
            "Retry-After": RETRY_AFTER,
        }

    def _address(self, kind: str, operation: Operation) -> str:
        path = _LOCATION.format(subscription=self.site.subscription, location=self.site.location)
        return f"{self.site.base}{path}{kind}/{operation.id}?api-version={operation.api_version}"

    def _find(self, call: Call) -> Operation:
        found = self._all.get(call["operation"])
        if found is None:
            raise Refused(404, "NotFound", f"There is no operation {call['operation']}; this cloud forgets them when it stops.")
        return found

    def _status(self, call: Call) -> Response:
        operation = self._find(call)
        body: Json = {
            "id": call.request.path,
            "name": operation.id,
            "startTime": sites.stamp(operation.started),
            "endTime": sites.stamp(operation.ended) if operation.ended else NOT_ENDED,
            "percentComplete": 100.0 if operation.ended else 0.0,
            "status": operation.status,
        }
        if operation.error:
            body["error"] = operation.error
        return answer(body, headers={} if operation.ended else {"Retry-After": RETRY_AFTER})

    def _result(self, call: Call) -> Response:
        operation = self._find(call)
        if operation.ended is None:
            headers = {"Location": self._address(_RESULTS[operation.family], operation), "Retry-After": RETRY_AFTER}
            return Response(status=202, headers=headers)
        if operation.error:
            raise Refused(400, operation.error["code"], operation.error["message"])
        return Response(status=204)
