"""
Deployments: one registered model behind one endpoint, served by one child process. It succeeds when the child says it is ready.

A child that ends early is a failed deployment with the reason from its log; one that dies later is started again, as a container is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud.azureml.endpoints import CHANGING, NAME, PATH, RESOURCE, Endpoint
from localcloud.azureml.models import Model
from localcloud.azureml.operations import Operation
from localcloud.azureml.processes import Child
from localcloud.azureml.routes import Call, Route
from localcloud.azureml.wire import Json, Refused, Response, answer, known_only, mapping, text_map

if TYPE_CHECKING:
    from localcloud.azureml.endpoints import Endpoints
    from localcloud.azureml.faults import Faults
    from localcloud.azureml.models import Models
    from localcloud.azureml.monitor import Meter
    from localcloud.azureml.operations import Operations
    from localcloud.azureml.site import Site

DEPLOYMENTS_MAX = 20  # per endpoint (Azure ML, how-to-manage-quotas)
INSTANCES_MAX = 50  # per deployment (the same page)
RESTARTS_MAX = 5  # a guess: after that the container is left down
FIELDS = frozenset({
    "appInsightsEnabled", "codeConfiguration", "dataCollector", "description", "egressPublicNetworkAccess", "endpointComputeType",
    "environmentId", "environmentVariables", "instanceType", "livenessProbe", "model", "modelMountPath", "privateNetworkConnection",
    "properties", "provisioningState", "readinessProbe", "requestSettings", "scaleSettings", "startupProbe",
})  # fmt: skip
_PROBE = {"failureThreshold": 30, "successThreshold": 1, "timeout": "PT2S", "period": "PT10S", "initialDelay": "PT10S"}
_REQUESTS = {"maxQueueWait": "PT0S", "requestTimeout": "PT5S", "maxConcurrentRequestsPerInstance": 1}
_ONE = PATH + "/deployments/{deployment}"


@dataclass(kw_only=True)
class Deployment:
    """One deployment, its model and its child."""

    name: str
    model: Model
    properties: Json  # with the defaults that Azure fills in
    tags: dict[str, str]
    capacity: int
    created: datetime
    modified: datetime
    operation: Operation
    folder: Path
    state: str = "Creating"
    fault: str | None = None  # a test wants it to fail with these words
    child: Child | None = None  # None: not started yet
    port: int | None = None  # None: nothing listens
    starts: int = 0

    def delete(self, operation: Operation, operations: Operations) -> None:
        """Begin to delete it: the child dies now, the name is free when it is gone."""
        if self.operation.ended is None:
            operations.cancel(self.operation, f"The deployment {self.name} was deleted.")
        self.state, self.operation, self.port = "Deleting", operation, None
        if self.child:
            self.child.kill()


class Deployments:
    """The deployments of all endpoints; each is kept in its endpoint."""

    def __init__(
        self,
        site: Site,
        *,
        endpoints: Endpoints,
        models: Models,
        operations: Operations,
        faults: Faults,
        meter: Meter,
        trainer: Sequence[str],
    ) -> None:
        self.site = site
        self._endpoints = endpoints
        self._models = models
        self._operations = operations
        self._faults = faults
        self._meter = meter
        self._trainer = tuple(trainer)
        self._born = 0  # so that no two children ever share a folder
        self._replaced: list[Child] = []  # killed by an update, until they are gone

    # ---------------------------------------------------------------------------------------------------------- requests

    def routes(self) -> list[Route]:
        return [
            Route(method="GET", path=PATH + "/deployments", handler=self._list),
            Route(method="GET", path=_ONE, handler=self._get),
            Route(method="PUT", path=_ONE, handler=self._put),
            Route(method="DELETE", path=_ONE, handler=self._delete),
            Route(method="POST", path=_ONE + "/getLogs", handler=self._logs),
        ]

    def arm_id(self, endpoint: Endpoint, name: str) -> str:
        return f"{self._endpoints.arm_id(endpoint)}/deployments/{name}"

    def _list(self, call: Call) -> Response:
        endpoint = self._endpoints.find(call["endpoint"])
        return answer({"value": [self._body(endpoint, one) for one in endpoint.deployments.values()]})

    def _get(self, call: Call) -> Response:
        return answer(self._body(*self._find(call)))

    def _find(self, call: Call) -> tuple[Endpoint, Deployment]:
        endpoint = self._endpoints.find(call["endpoint"])
        deployment = endpoint.deployments.get(call["deployment"])
        if deployment is None:
            message = f"The deployment {call['deployment']} of endpoint {endpoint.name} was not found."
            raise Refused(404, "ResourceNotFound", message)
        return endpoint, deployment

    def _put(self, call: Call) -> Response:
        endpoint, name, body = self._endpoints.find(call["endpoint"]), call["deployment"], call.request.json()
        asked = _check(name, body, self.site)
        old = endpoint.deployments.get(name)
        self._check_moment(endpoint, name, old)
        model = self._model(asked)
        refusal = self._faults.take("deployments", "refuse_next")
        if refusal is not None:
            raise Refused(400, "BadRequest", f"(InferencingClientCreateDeploymentFailed) {refusal}")
        now = self.site.clock()
        self._born += 1
        fresh = Deployment(
            name=name,
            model=model,
            properties=_with_defaults(asked),
            tags=text_map(body, "tags", "A deployment"),
            capacity=int(mapping(body, "sku", "A deployment")["capacity"]),
            created=old.created if old else now,
            modified=now,
            operation=self._operations.begin("odidp", "Updating", call.request.query["api-version"]),
            folder=self.site.folder / "deployments" / f"{endpoint.name}-{name}-{self._born}",
            state="Updating" if old else "Creating",
            fault=self._faults.take("deployments", "fail_next"),
        )
        if old is not None and old.state == "Succeeded" and old.model is model and old.child:
            fresh.child, fresh.port, fresh.folder, fresh.starts = old.child, old.port, old.folder, old.starts
        elif old is not None and old.child:  # deliberate difference: Azure serves the old model until the new one is ready
            old.child.kill()
            self._replaced.append(old.child)
        endpoint.deployments[name] = fresh
        headers = self._operations.headers(fresh.operation, self.arm_id(endpoint, name))
        return answer(self._body(endpoint, fresh), 200 if old else 201, headers)

    def _check_moment(self, endpoint: Endpoint, name: str, old: Deployment | None) -> None:
        if endpoint.state in CHANGING:
            message = f"Cannot create a deployment in endpoint {endpoint.name} because it is in {endpoint.state} provisioning state."
            raise Refused(409, "Conflict", message)
        if old is not None and old.state in CHANGING:
            message = f"Cannot update deployment {name} because it is in {old.state} provisioning state."
            raise Refused(409, "Conflict", message)
        if old is None and len(endpoint.deployments) >= DEPLOYMENTS_MAX:
            message = f"The endpoint {endpoint.name} has {DEPLOYMENTS_MAX} deployments already; delete one first."
            raise Refused(400, "BadRequest", message)

    def _model(self, asked: Json) -> Model:
        wanted = str(asked.get("model"))
        model = self._models.by_id(wanted)
        if model is None:
            raise Refused(400, "BadRequest", f"The model {wanted} was not found; register it first.", detail="ModelNotFound")
        return model

    def _delete(self, call: Call) -> Response:
        endpoint = self._endpoints.all.get(call["endpoint"])
        deployment = endpoint.deployments.get(call["deployment"]) if endpoint else None
        if endpoint is None or deployment is None:
            return Response(status=204)
        share = endpoint.traffic.get(deployment.name, 0)
        if share:
            message = f"Cannot delete deployment {deployment.name} because it has {share} % of the traffic; set it to 0 first."
            raise Refused(400, "BadRequest", message)
        if deployment.state != "Deleting":
            operation = self._operations.begin("odidp", "Deleting", call.request.query["api-version"])
            deployment.delete(operation, self._operations)
        return Response(status=202, body=b"null", headers=self._operations.headers(deployment.operation))

    def _logs(self, call: Call) -> Response:
        _, deployment = self._find(call)
        body = call.request.json()
        known_only(body, frozenset({"containerType", "tail"}), "A question for logs")
        lines = int(body.get("tail") or 500)
        content = deployment.child.log_tail(lines) if deployment.child else ""
        return answer({"content": content})

    def _body(self, endpoint: Endpoint, deployment: Deployment) -> Json:
        own = {
            "azureml.onlineendpointid": self._endpoints.arm_id(endpoint),
            "AzureAsyncOperationUri": self._operations.status_address(deployment.operation),
        }
        given = deployment.properties
        properties = {**given, "properties": {**given["properties"], **own}, "provisioningState": deployment.state}
        body = self.site.resource(
            f"onlineEndpoints/{endpoint.name}/deployments/{deployment.name}",
            "onlineEndpoints/deployments",
            properties,
            deployment.created,
            deployment.modified,
        )
        sku = {"name": "Default", "tier": "Standard", "capacity": deployment.capacity}
        return body | {"location": self.site.location, "kind": "Managed", "tags": deployment.tags, "sku": sku}

    # -------------------------------------------------------------------------------------------------------------- life

    def advance(self) -> None:
        """Carry every deployment one state further, where what it waits for has happened."""
        self._replaced = [child for child in self._replaced if child.running]
        for endpoint in self._endpoints.all.values():
            for deployment in list(endpoint.deployments.values()):
                self._advance(endpoint, deployment)

    def close(self) -> None:
        """Kill every serving child."""
        deployments = [one for endpoint in self._endpoints.all.values() for one in endpoint.deployments.values()]
        for child in [*self._replaced, *(one.child for one in deployments if one.child)]:
            child.kill()
            child.wait()

    def _advance(self, endpoint: Endpoint, deployment: Deployment) -> None:
        match deployment.state:
            case "Deleting":
                if deployment.child is None or not deployment.child.running:
                    del endpoint.deployments[deployment.name]
                    endpoint.traffic.pop(deployment.name, None)
                    self._meter.ended(self.arm_id(endpoint, deployment.name), self.site.clock())
                    self._operations.succeed(deployment.operation)
            case "Creating" | "Updating":
                self._when_ready(endpoint, deployment)
            case "Succeeded":
                self._keep_alive(deployment)

    def _when_ready(self, endpoint: Endpoint, deployment: Deployment) -> None:
        if deployment.child is None:
            self._start(deployment)
            return
        if deployment.fault is not None:
            self._fail(deployment, "OutOfCapacity", deployment.fault)
            return
        if not deployment.child.running:
            code, message = deployment.child.reason()
            self._fail(deployment, "ResourceNotReady" if code == "SystemError" else code, f"User container has crashed: {message}")
            return
        if deployment.port is None:
            self._read_port(deployment)
        if deployment.port is not None:
            deployment.state = "Succeeded"
            deployment.modified = self.site.clock()
            self._operations.succeed(deployment.operation)
            self._meter.began(self.arm_id(endpoint, deployment.name), deployment.capacity, self.site.clock())

    def _start(self, deployment: Deployment) -> None:
        deployment.starts += 1
        shutil.rmtree(deployment.folder, ignore_errors=True)
        deployment.folder.mkdir(parents=True)
        ready = str(deployment.folder / "ready.json")
        command = [*self._trainer, "serve", "--model", str(deployment.model.folder), "--port", "0", "--ready", ready]
        if self.site.world.any_last_role:
            command += ["--last-role", "any"]
        deployment.child = Child(command, deployment.folder)

    def _read_port(self, deployment: Deployment) -> None:
        ready = deployment.folder / "ready.json"
        if ready.exists():
            deployment.port = int(json.loads(ready.read_text())["port"])

    def _keep_alive(self, deployment: Deployment) -> None:
        """Start the child again when it died; nothing answers until it is ready."""
        assert deployment.child is not None
        if not deployment.child.running:
            deployment.port = None
            if deployment.starts <= RESTARTS_MAX:
                self._start(deployment)
        elif deployment.port is None:
            self._read_port(deployment)

    def _fail(self, deployment: Deployment, code: str, message: str) -> None:
        assert deployment.child is not None
        deployment.child.kill()
        deployment.state, deployment.port = "Failed", None
        deployment.modified = self.site.clock()
        self._operations.fail(deployment.operation, code, message)


def _check(name: str, body: Json, site: Site) -> Json:
    known_only(body, RESOURCE, "A deployment")
    asked = mapping(body, "properties", "A deployment")
    known_only(asked, FIELDS, "A deployment's properties")
    if not NAME.fullmatch(name):
        message = f"The deployment name '{name}' is invalid; use 3 to 32 letters, digits and -, a letter first, no - last."
        raise Refused(400, "BadRequest", message)
    if asked.get("endpointComputeType") != "Managed":
        message = f"The local cloud has managed endpoints only, and this is {asked.get('endpointComputeType')}."
        raise Refused(501, "NotImplementedByLocalCloud", message)
    if asked.get("codeConfiguration") or asked.get("environmentId"):
        message = "The local cloud serves MLflow models without code or environment; leave codeConfiguration and environmentId out."
        raise Refused(501, "NotImplementedByLocalCloud", message)
    capacity = mapping(body, "sku", "A deployment").get("capacity")
    if isinstance(capacity, bool) or not isinstance(capacity, int) or not 1 <= capacity <= INSTANCES_MAX:
        raise Refused(400, "BadRequest", f"The instance count must be from 1 to {INSTANCES_MAX}, and is {capacity}.")
    if site.world.size(str(asked.get("instanceType"))) is None:
        message = f"The instance type {asked.get('instanceType')} is not available in this region or is retired."
        raise Refused(400, "BadRequest", message, detail="BadArgument")
    return asked


def _with_defaults(asked: Json) -> Json:
    """Return the properties with what Azure fills in [recorded]."""
    filled = {key: value for key, value in asked.items() if value is not None and key != "provisioningState"}
    filled["properties"] = text_map(asked, "properties", "A deployment")
    filled["environmentVariables"] = text_map(asked, "environmentVariables", "A deployment")
    filled.setdefault("appInsightsEnabled", False)
    filled.setdefault("egressPublicNetworkAccess", "Enabled")
    filled["scaleSettings"] = {"scaleType": "Default", **mapping(asked, "scaleSettings", "A deployment")}
    filled["requestSettings"] = _REQUESTS | mapping(asked, "requestSettings", "A deployment")
    for probe in ("livenessProbe", "readinessProbe"):
        filled[probe] = _PROBE | mapping(asked, probe, "A deployment")
    return filled
