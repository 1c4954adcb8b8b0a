"""
Long-running operations: begun by a PUT, POST or DELETE, looked at by their address, ended by what they were about.

Deliberate difference from Azure: `Retry-After: 1` is sent, so that the SDK's poller is quick on a laptop.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from localcloud.azureml import lifecycle
from localcloud.azureml import site as sites
from localcloud.azureml.records import Operation
from localcloud.azureml.routes import SINCE_EARLY, Call, Route
from localcloud.azureml.shapes import queries
from localcloud.azureml.store import Shelf
from localcloud.azureml.wire import Json, Refused, Response, answer

if TYPE_CHECKING:
    from localcloud.azureml.ground import Ground

RETRY_AFTER = "1"  # seconds, whole (the SDK reads an int); Azure sends none, the SDK then waits 5 to 30 s
TIMEOUT, CANCEL_TIMEOUT = "PT30M", "PT1H"  # what Azure's header says [recorded]
CANCEL = "jc"  # Azure's prefix of the operation that cancels a job
NOT_ENDED = "0001-01-01T00:00:00+00:00"  # Azure's end time of what runs [recorded]
RESOURCES = {"oeidp": "endpoint", "odidp": "deployment", "jc": "job", "": "compute"}  # Azure's prefix -> what it is about
_RESULTS = {"mfe": "mfeOperationResults", "compute": "computeOperationsResults"}  # Azure spells them differently
_LOCATION = "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{location}/"


class Operations:
    """All operations of this cloud."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.site = ground.site
        self.all = Shelf(ground.store, "operation", Operation)

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET",
                path=_LOCATION + path + "/{operation}",
                handler=handler,
                versions=SINCE_EARLY,
                query=queries.OPERATIONS,
                does=does,
            )
            for path, handler, does in (
                ("mfeOperationsStatus", self._status, "state of a long operation"),
                ("computeOperationsStatus", self._status, "state of a long operation on a cluster"),
                ("mfeOperationResults", self._result, "result of a long operation"),
                ("computeOperationsResults", self._result, "result of a long operation on a cluster"),
            )
        ]

    def begin(self, prefix: str, status: str, api_version: str, *, name: str, family: str = "mfe") -> str:
        """
        Begin one for the resource `name` and return its id; `prefix` is Azure's word for the kind of resource.

        Ids [recorded]: oeidp:<guid>:<guid>, odidp:<guid>:<guid>, jc:<workspace>:<job>, of a cluster ("") a GUID alone.
        """
        guid = self.ground.chance.guid
        made = f"{prefix}:{guid()}:{guid()}" if prefix else guid()
        if prefix == CANCEL:
            made = f"{CANCEL}:{sites.WORKSPACE_GUID}:{name}"
        stuck = self.ground.faults.take("operation_stuck", resource=RESOURCES[prefix], name=name) is not None
        operation = Operation(id=made, status=status, started=self.ground.now(), api_version=api_version, family=family, stuck=stuck)
        self.all.save(made, operation)
        return made

    def succeed(self, name: str) -> None:
        self._end(name, "Succeeded", None)

    def fail(self, name: str, code: str, message: str) -> None:
        self._end(name, "Failed", {"code": code, "message": message})

    def cancel(self, name: str, message: str) -> None:
        self._end(name, "Canceled", {"code": "OperationCanceled", "message": message})

    def _end(self, name: str, status: str, error: Json | None) -> None:
        operation = self.all[name]
        if operation.stuck or operation.ended:
            return
        lifecycle.check(lifecycle.OPERATION, name, operation.status, status)
        operation.status, operation.ended, operation.error = status, self.ground.now(), error
        self.all.save(name, operation)

    def status_address(self, name: str) -> str:
        operation = self.all[name]
        return self._address(f"{operation.family}OperationsStatus", operation)

    def headers(self, name: str, resource_path: str | None = None) -> Mapping[str, str]:
        """Return the headers of a 201 or 202. A PUT's Location is the resource itself, a DELETE's the result."""
        operation = self.all[name]
        location = self._address(_RESULTS[operation.family], operation)
        if resource_path is not None:
            location = f"{self.site.base}{resource_path}?api-version={operation.api_version}"
        return {
            "Azure-AsyncOperation": self.status_address(name),
            "Location": location,
            "x-ms-async-operation-timeout": CANCEL_TIMEOUT if name.startswith(f"{CANCEL}:") else TIMEOUT,
            "Retry-After": RETRY_AFTER,
        }

    def _address(self, kind: str, operation: Operation) -> str:
        path = _LOCATION.format(subscription=self.site.subscription, location=self.site.location)
        return f"{self.site.base}{path}{kind}/{operation.id}?api-version={operation.api_version}"

    def _find(self, call: Call) -> Operation:
        found = self.all.get(call["operation"])
        if found is None:
            raise Refused(404, "NotFound", f"There is no operation {call['operation']}.")
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
