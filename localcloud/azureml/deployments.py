"""
Deployments: one registered model behind one endpoint, served by one child process. It succeeds when the child says it is ready.

A child that ends early is a failed deployment with the reason from its log; one that dies later is started again, as a container is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud import faults
from localcloud.azureml import durations, lifecycle, paging
from localcloud.azureml import site as sites
from localcloud.azureml.dials import LONG_AGO
from localcloud.azureml.endpoints import CHANGING, NAME, PATH
from localcloud.azureml.processes import Child
from localcloud.azureml.records import Deployment, Endpoint, Model
from localcloud.azureml.routes import Call, Route
from localcloud.azureml.shapes import deployments as shapes
from localcloud.azureml.shapes import queries, small, words
from localcloud.azureml.shapes.shape import unplayed
from localcloud.azureml.store import Shelf
from localcloud.azureml.wire import Json, Refused, Response, answer, mapping, text_map

if TYPE_CHECKING:
    from localcloud.azureml.endpoints import Endpoints
    from localcloud.azureml.events import Announcer
    from localcloud.azureml.ground import Ground
    from localcloud.azureml.models import Models
    from localcloud.azureml.monitor import Meter
    from localcloud.azureml.operations import Operations
    from localcloud.azureml.site import Site

DEPLOYMENTS_MAX = 20  # per endpoint (Azure ML, how-to-manage-quotas)
INSTANCES_MAX = 50  # per deployment (the same page)
MODEL_MOUNT = "/var/azureml-app/azureml-models/"  # where Azure mounts a model (how-to-deploy-online-endpoints)
RESTARTS_MAX = 5  # a guess: after that the container is left down
_PROBE = {"failureThreshold": 30, "successThreshold": 1, "timeout": "PT2S", "period": "PT10S", "initialDelay": "PT10S"}
_REQUESTS = {"maxQueueWait": "PT0S", "requestTimeout": "PT5S", "maxConcurrentRequestsPerInstance": 1}
READY = "ready.json"  # appears in the folder when the child listens
LOG_LINES = 500  # when the question names no number
LOG_LINES_MAX = 1_000_000  # a guess; Azure names none
TIMEOUT_MAX_S = 180.0  # of one request (Azure ML, how-to-manage-quotas)
COUNTS = ("failureThreshold", "successThreshold", "maxConcurrentRequestsPerInstance")
DURATIONS = ("initialDelay", "period", "timeout", "maxQueueWait", "requestTimeout")
FAULTS = ("deployment_failed", "deployment_failed_silently")
_ONE = PATH + "/deployments/{deployment}"


class Deployments:
    """The deployments of all endpoints."""

    def __init__(
        self,
        ground: Ground,
        *,
        shelf: Shelf[Deployment],
        endpoints: Endpoints,
        models: Models,
        operations: Operations,
        announcer: Announcer,
        meter: Meter,
        trainer: Sequence[str],
    ) -> None:
        self.ground = ground
        self.site = ground.site
        self.all = shelf
        self._endpoints = endpoints
        self._models = models
        self._operations = operations
        self._announcer = announcer
        self._meter = meter
        self._trainer = tuple(trainer)
        self._children: dict[str, Child] = {}  # by key of the deployment
        self._ports: dict[str, int] = {}  # by key; none: nothing listens
        self._replaced: list[Child] = []  # killed by an update, until they are gone
        endpoints.delete_deployment = self._begin_delete

    # ---------------------------------------------------------------------------------------------------------- requests

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET",
                path=PATH + "/deployments",
                handler=self._list,
                query=queries.DEPLOYMENTS,
                does="list the deployments of an endpoint",
            ),
            Route(method="GET", path=_ONE, handler=self._get, does="one deployment"),
            Route(
                method="PUT",
                path=_ONE,
                handler=self._put,
                does="create or update a deployment of a registered model",
                differs="MLflow models without code or environment; ready in seconds, in Azure in 7 to 18 minutes",
            ),
            Route(method="PATCH", path=_ONE, handler=self._patch, does="change tags or instance count of a deployment"),
            Route(method="DELETE", path=_ONE, handler=self._delete, does="delete a deployment without traffic"),
            Route(method="POST", path=_ONE + "/getLogs", handler=self._logs, does="the last lines of a deployment's log"),
            Route(
                method="GET",
                path=_ONE + "/skus",
                handler=self._skus,
                query=queries.DEPLOYMENT_SKUS,
                does="how far a deployment can be scaled",
            ),
        ]

    def arm_id(self, deployment: Deployment) -> str:
        return f"{self._endpoints.arm_id(deployment.endpoint)}/deployments/{deployment.name}"

    def child(self, deployment: Deployment) -> Child | None:
        """Return the process that serves a deployment; None: it has none now."""
        return self._children.get(deployment.key)

    def port(self, deployment: Deployment) -> int | None:
        """Return where the deployment's child listens; None: it does not."""
        return self._ports.get(deployment.key)

    def _list(self, call: Call) -> Response:
        endpoint = self._endpoints.find(call["endpoint"])
        queries.only(call.request.query, queries.PLAYED_OF_DEPLOYMENTS, call.request.path)
        found = list(self._endpoints.deployments_of(endpoint.name).values())
        return paging.page(call, self.site, found, key=lambda one: one.name, shown=self._body)

    def _get(self, call: Call) -> Response:
        return answer(self._body(self._find(call)))

    def _find(self, call: Call) -> Deployment:
        endpoint = self._endpoints.find(call["endpoint"])
        deployment = self.all.get(f"{endpoint.name}/{call['deployment']}")
        if deployment is None:
            message = f"The deployment {call['deployment']} of endpoint {endpoint.name} was not found."
            raise Refused(404, "ResourceNotFound", message)
        return deployment

    def _put(self, call: Call) -> Response:
        endpoint, name, body = self._endpoints.find(call["endpoint"]), call["deployment"], call.request.json()
        asked = _check(name, body, call.request.query["api-version"], self.site)
        old = self.all.get(f"{endpoint.name}/{name}")
        self._check_moment(endpoint, name, old)
        model = self._model(asked)
        self._check_room(endpoint, name, asked)
        now = self.ground.now()
        fresh = Deployment(
            endpoint=endpoint.name,
            name=name,
            model=model.key,
            properties=_with_defaults(asked),
            tags=text_map(body, "tags", "A deployment"),
            capacity=int(mapping(body, "sku", "A deployment")["capacity"]),
            created=old.created if old else now,
            modified=now,
            operation=self._operations.begin("odidp", "Updating", call.request.query["api-version"], name=name),
            folder=f"{endpoint.name}-{name}-{self.ground.chance.token(6)}",
            due=self.ground.dials.due("deployments", now),
            state="Updating" if old else "Creating",
            planned=self.ground.plan(FAULTS, endpoint=endpoint.name, deployment=name),
        )
        if old is not None:
            self._take_over(old, fresh)
        self.all.save(fresh.key, fresh)
        self._announcer.resource_accepted(self.arm_id(fresh))
        return answer(self._body(fresh), 200 if old else 201, self._operations.headers(fresh.operation, self.arm_id(fresh)))

    def _take_over(self, old: Deployment, fresh: Deployment) -> None:
        """The same model keeps its container; another one gets a new one (Azure serves the old model until then)."""
        if old.state == "Succeeded" and old.model == fresh.model and old.key in self._children:
            fresh.folder, fresh.starts = old.folder, old.starts
        else:
            self._drop_child(old)

    def _drop_child(self, deployment: Deployment) -> None:
        self._ports.pop(deployment.key, None)
        child = self._children.pop(deployment.key, None)
        if child is not None:
            child.kill()
            self._replaced.append(child)

    def _check_room(self, endpoint: Endpoint, name: str, asked: Json) -> None:
        refusal = self.ground.plan(("deployment_refused",), endpoint=endpoint.name, deployment=name)
        if refusal is None:
            return
        about = {"instance_type": str(asked.get("instanceType")), "subscription": self.site.subscription}
        message = faults.worded(refusal.given["message"], **about)
        raise Refused(400, "BadRequest", f"(InferencingClientCreateDeploymentFailed) {message}")

    def _check_moment(self, endpoint: Endpoint, name: str, old: Deployment | None) -> None:
        status = int(self.ground.switches.conflict_status)
        if endpoint.state in CHANGING:
            message = f"Cannot create a deployment in endpoint {endpoint.name} because it is in {endpoint.state} provisioning state."
            raise Refused(status, "Conflict", message)
        if old is not None and old.state in CHANGING:
            raise Refused(status, "Conflict", f"Cannot update deployment {name} because it is in {old.state} provisioning state.")
        if old is None and len(self._endpoints.deployments_of(endpoint.name)) >= DEPLOYMENTS_MAX:
            message = f"The endpoint {endpoint.name} has {DEPLOYMENTS_MAX} deployments already; delete one first."
            raise Refused(400, "BadRequest", message)

    def _model(self, asked: Json) -> Model:
        wanted = str(asked.get("model"))
        model = self._models.by_id(wanted)
        if model is None:
            raise Refused(400, "BadRequest", f"The model {wanted} was not found; register it first.", detail="ModelNotFound")
        if not model.job:
            message = f"The local cloud deploys what a job left, and {model.key} was registered from {model.properties['modelUri']}."
            raise Refused(501, "NotImplementedByLocalCloud", message, target="properties.model")
        return model

    def _patch(self, call: Call) -> Response:
        deployment, body = self._find(call), call.request.json()
        asked = small.DEPLOYMENT_PATCH.read(body, version=call.request.query["api-version"])
        unplayed({"properties": asked.properties, "kind": asked.kind})
        self._check_moment(self._endpoints.find(deployment.endpoint), deployment.name, deployment)
        deployment.tags = {**deployment.tags, **text_map(body, "tags", "A deployment")}
        if "sku" in body:
            deployment.capacity = _capacity(body)
        deployment.operation = self._operations.begin("odidp", "Updating", call.request.query["api-version"], name=deployment.name)
        if deployment.state == "Failed":
            self._drop_child(deployment)  # its container has ended; the change gets a new one
        deployment.state, deployment.due = "Updating", self.ground.dials.due("deployments", self.ground.now())
        deployment.planned = self.ground.plan(FAULTS, endpoint=deployment.endpoint, deployment=deployment.name)
        self.all.save(deployment.key, deployment)
        self._announcer.resource_accepted(self.arm_id(deployment))
        return answer(self._body(deployment), 202, self._operations.headers(deployment.operation, self.arm_id(deployment)))

    def _delete(self, call: Call) -> Response:
        deployment = self.all.get(f"{call['endpoint']}/{call['deployment']}")
        if deployment is None:
            return Response(status=204)
        share = self._endpoints.find(deployment.endpoint).traffic.get(deployment.name, 0)
        if share:
            message = f"Cannot delete deployment {deployment.name} because it has {share} % of the traffic; set it to 0 first."
            raise Refused(400, "BadRequest", message)
        self._begin_delete(deployment, call.request.query["api-version"])
        return Response(status=202, body=b"null", headers=self._operations.headers(deployment.operation))

    def _begin_delete(self, deployment: Deployment, version: str) -> None:
        """The child dies now, the name is free when it is gone."""
        if deployment.state == "Deleting":
            return
        self._operations.cancel(deployment.operation, f"The deployment {deployment.name} was deleted.")
        deployment.operation = self._operations.begin("odidp", "Deleting", version, name=deployment.name)
        deployment.due = self.ground.dials.due("deployments", self.ground.now())
        self._ports.pop(deployment.key, None)
        if deployment.key in self._children:
            self._children[deployment.key].kill()
        self._move(deployment, "Deleting")

    def _logs(self, call: Call) -> Response:
        deployment = self._find(call)
        asked = small.LOGS.read(call.request.json())
        lines = LOG_LINES if asked.tail is None else asked.tail
        if not 1 <= lines <= LOG_LINES_MAX:
            raise Refused(400, "BadRequest", f"tail must be from 1 to {LOG_LINES_MAX} lines, and is {lines}.", target="tail")
        if asked.container_type is words.Container.STORAGE_INITIALIZER:
            at = sites.stamp(deployment.created)
            return answer({"content": f"{at} The model {deployment.model} lies at {MODEL_MOUNT}{deployment.model.replace(':', '/')}."})
        child = self._children.get(deployment.key)
        return answer({"content": child.log_tail(lines) if child else ""})

    def _skus(self, call: Call) -> Response:
        self._find(call)
        capacity = {"minimum": 1, "maximum": INSTANCES_MAX, "default": 1, "scaleType": "Manual"}
        kind = "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments"
        return answer({"value": [{"resourceType": kind, "sku": {"name": "Default", "tier": "Standard"}, "capacity": capacity}]})

    def _body(self, deployment: Deployment) -> Json:
        own = {
            "azureml.onlineendpointid": self._endpoints.arm_id(deployment.endpoint),
            "AzureAsyncOperationUri": self._operations.status_address(deployment.operation),
        }
        given = deployment.properties
        properties = {**given, "properties": {**given["properties"], **own}, "provisioningState": deployment.state}
        body = self.site.resource(
            f"onlineEndpoints/{deployment.endpoint}/deployments/{deployment.name}",
            "onlineEndpoints/deployments",
            properties,
            deployment.created,
            deployment.modified,
        )
        sku = {"name": "Default", "tier": "Standard", "capacity": deployment.capacity}
        return body | {"location": self.site.location, "kind": "Managed", "tags": deployment.tags, "sku": sku}

    # -------------------------------------------------------------------------------------------------------------- life

    def advance(self) -> None:
        """Carry every deployment one state further, where it may move and what it waits for has happened."""
        now = self.ground.now()
        self._replaced = [child for child in self._replaced if child.running]
        for deployment in self.all.values():
            self._advance(deployment, may_move=deployment.due is not None and deployment.due <= now)

    def permit(self, key: str) -> None:
        """Let the deployment make its next move now: the hand of the dial `by-hand`. `key` is <endpoint>/<deployment>."""
        deployment = self.all[key]
        deployment.due = LONG_AGO
        self.all.save(key, deployment)

    def check_moves(self, key: str) -> None:
        """Refuse a move by hand of a deployment that is not there or not being changed."""
        deployment = self.all.get(key)
        if deployment is None:
            raise Refused(404, "ResourceNotFound", f"There is no deployment {key}; write <endpoint>/<deployment>.")
        if deployment.state not in CHANGING:
            raise Refused(409, "Conflict", f"The deployment {key} is {deployment.state} and waits for no move.")

    def dues(self) -> list[datetime]:
        """Return from when on deployments may move, as far as a clock decides it."""
        return [one.due for one in self.all.values() if one.due is not None and one.state in CHANGING]

    def turned(self) -> None:
        """The dial has another position: what is under way moves by it."""
        for deployment in self.all.values():
            if deployment.state in CHANGING:
                deployment.due = self.ground.dials.due("deployments", self.ground.now())
                self.all.save(deployment.key, deployment)

    def clear(self) -> None:
        """Forget every deployment, with its child and its folder."""
        self.close()
        for deployment in self.all.values():
            shutil.rmtree(self._folder(deployment), ignore_errors=True)
        self.all.clear()

    def close(self) -> None:
        """Kill every serving child."""
        for child in [*self._replaced, *self._children.values()]:
            child.kill()
            child.wait()
        self._replaced.clear()
        self._children.clear()
        self._ports.clear()

    def outside(self) -> list[tuple[str, bool]]:
        """Return the children, and whether each is on its way to be ready or to be gone: what no clock moves."""
        return [(f"{key} container", self._on_its_way(self.all.get(key), child)) for key, child in self._children.items()]

    def _on_its_way(self, deployment: Deployment | None, child: Child) -> bool:
        if deployment is None or not child.running:
            return False
        return deployment.state == "Deleting" or not (self._folder(deployment) / READY).exists()

    def _folder(self, deployment: Deployment) -> Path:
        return self.site.folder / "deployments" / deployment.folder

    def _advance(self, deployment: Deployment, *, may_move: bool) -> None:
        match deployment.state:
            case "Deleting":
                child = self._children.get(deployment.key)
                if may_move and (child is None or not child.running):
                    self._forget(deployment)
            case "Creating" | "Updating":
                self._towards_ready(deployment, may_move=may_move)
            case "Succeeded":
                self._keep_alive(deployment)

    def _forget(self, deployment: Deployment) -> None:
        self._children.pop(deployment.key, None)
        self.all.remove(deployment.key)
        endpoint = self._endpoints.all.get(deployment.endpoint)
        if endpoint is not None:
            endpoint.traffic.pop(deployment.name, None)
            endpoint.mirror.pop(deployment.name, None)
            self._endpoints.all.save(endpoint.name, endpoint)
        self._meter.ended(self.arm_id(deployment), self.ground.now())
        self._operations.succeed(deployment.operation)
        self._announcer.resource_changed("Delete", self.arm_id(deployment), good=True)

    def _towards_ready(self, deployment: Deployment, *, may_move: bool) -> None:
        child = self._children.get(deployment.key)
        if child is None:
            self._start(deployment)
        elif not may_move:
            return
        elif deployment.planned is not None:
            self._fail(deployment, deployment.planned.given["code"], deployment.planned.given["message"])
        elif not child.running:
            code, message = child.reason()
            self._fail(deployment, "ResourceNotReady" if code == "SystemError" else code, f"User container has crashed: {message}")
        elif self._read_port(deployment):
            self._move(deployment, "Succeeded")
            self._operations.succeed(deployment.operation)
            self._meter.began(self.arm_id(deployment), deployment.capacity, self.ground.now())
            self._announcer.resource_written(self.arm_id(deployment), good=True)
            self._announcer.model_deployed(deployment)

    def _start(self, deployment: Deployment) -> None:
        deployment.starts += 1
        self.all.save(deployment.key, deployment)
        folder = self._folder(deployment)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        model = self._models.folder(self._models.all[deployment.model])
        shape = self.ground.switches.reply_shape
        serve = ["serve", "--model", str(model), "--port", "0", "--ready", str(folder / READY), "--reply", shape]
        if self.site.world.any_last_role:
            serve += ["--last-role", "any"]
        self._children[deployment.key] = Child([*self._trainer, *serve], folder)

    def _read_port(self, deployment: Deployment) -> bool:
        """Say whether the child listens."""
        ready = self._folder(deployment) / READY
        if deployment.key not in self._ports and ready.exists():
            self._ports[deployment.key] = int(json.loads(ready.read_text())["port"])
        return deployment.key in self._ports

    def _keep_alive(self, deployment: Deployment) -> None:
        """Start the child again when it died or when this cloud was killed; nothing answers until it is ready."""
        child = self._children.get(deployment.key)
        if child is None:
            deployment.starts = 0
            self._start(deployment)
        elif not child.running:
            self._ports.pop(deployment.key, None)
            if deployment.starts <= RESTARTS_MAX:
                self._start(deployment)
        else:
            self._read_port(deployment)

    def _fail(self, deployment: Deployment, code: str, message: str) -> None:
        self._children[deployment.key].kill()
        self._ports.pop(deployment.key, None)
        self._move(deployment, "Failed")
        self._operations.fail(deployment.operation, code, message)
        if self.ground.switches.failed_deployment == "counted":
            self._meter.began(self.arm_id(deployment), deployment.capacity, self.ground.now())
        else:
            self._meter.ended(self.arm_id(deployment), self.ground.now())
        if deployment.planned is None or deployment.planned.kind != "deployment_failed_silently":
            self._announcer.resource_written(self.arm_id(deployment), good=False)

    def _move(self, deployment: Deployment, state: str) -> None:
        lifecycle.check(lifecycle.DEPLOYMENT, deployment.key, deployment.state, state)
        deployment.state = state
        deployment.modified = self.ground.now()
        self.all.save(deployment.key, deployment)


def _check(name: str, body: Json, version: str, site: Site) -> Json:
    if not NAME.fullmatch(name):
        message = f"The deployment name '{name}' is invalid; use 3 to 32 letters, digits and -, a letter first, no - last."
        raise Refused(400, "BadRequest", message)
    shape = shapes.DEPLOYMENT.read(body, version=version, name=name).properties
    assert isinstance(shape, shapes.Managed)
    unplayed(
        {
            "properties.codeConfiguration": shape.code_configuration,  # MLflow models need neither code nor environment
            "properties.environmentId": shape.environment_id,
            "properties.dataCollector": shape.data_collector,
            "properties.modelMountPath": shape.model_mount_path,
            "properties.scaleSettings with scaleType TargetUtilization": isinstance(shape.scale_settings, shapes.TargetUtilization),
        }
    )
    asked: Json = body["properties"]
    _capacity(body)
    for group in ("requestSettings", "livenessProbe", "readinessProbe", "startupProbe"):
        _check_times(f"properties.{group}", mapping(asked, group, "A deployment"))
    for field in ("model", "instanceType"):
        if asked.get(field) is None:
            raise Refused(400, "BadRequest", f"A deployment: properties.{field} is missing and required.", target=f"properties.{field}")
    if site.world.size(asked["instanceType"]) is None:
        message = f"The instance type {asked['instanceType']} is not available in this region or is retired."
        raise Refused(400, "BadRequest", message, detail="BadArgument", target="properties.instanceType")
    return asked


def _check_times(path: str, group: Json) -> None:
    """Refuse a count below 1, and a text that is no duration or longer than a request may take."""
    for field, value in group.items():
        if field in COUNTS and value is not None and not 1 <= value < 2**31:
            raise Refused(400, "BadRequest", f"{path}.{field} must be a whole number from 1, and is {value}.", target=f"{path}.{field}")
        if field not in DURATIONS or value is None:
            continue
        length = durations.seconds(value)
        if length is None:
            message = f"{path}.{field} must be a duration as in ISO 8601 (PT1M30S), and is '{value}'."
            raise Refused(400, "BadRequest", message, target=f"{path}.{field}")
        if field == "requestTimeout" and not 0 < length <= TIMEOUT_MAX_S:
            message = f"{path}.{field} must be longer than 0 and at most {TIMEOUT_MAX_S:g} s, and is '{value}'."
            raise Refused(400, "BadRequest", message, target=f"{path}.{field}")


def _capacity(body: Json) -> int:
    sku = mapping(body, "sku", "A deployment")
    if sku.get("name") not in {None, "Default"}:
        message = f"The local cloud plays Default as sku.name, and this is {sku['name']}."
        raise Refused(501, "NotImplementedByLocalCloud", message, target="sku.name")
    capacity = sku.get("capacity")
    if capacity is None:
        raise Refused(400, "BadRequest", "A deployment: sku.capacity is missing and required.", target="sku.capacity")
    if isinstance(capacity, bool) or not isinstance(capacity, int) or not 1 <= capacity <= INSTANCES_MAX:
        raise Refused(400, "BadRequest", f"The instance count must be from 1 to {INSTANCES_MAX}, and is {capacity}.")
    return capacity


def _given(asked: Json, group: str) -> Json:
    return {name: value for name, value in mapping(asked, group, "A deployment").items() if value is not None}


def _with_defaults(asked: Json) -> Json:
    """Return the properties with what Azure fills in [recorded]."""
    filled = {key: value for key, value in asked.items() if value is not None and key != "provisioningState"}
    filled["properties"] = text_map(asked, "properties", "A deployment")
    filled["environmentVariables"] = text_map(asked, "environmentVariables", "A deployment")
    filled.setdefault("appInsightsEnabled", False)
    filled.setdefault("egressPublicNetworkAccess", "Enabled")
    filled["scaleSettings"] = {"scaleType": "Default", **mapping(asked, "scaleSettings", "A deployment")}
    filled["requestSettings"] = _REQUESTS | _given(asked, "requestSettings")
    for probe in ("livenessProbe", "readinessProbe"):
        filled[probe] = _PROBE | _given(asked, probe)
    return filled
