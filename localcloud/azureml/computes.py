"""
Clusters of this workspace: one GPU cluster is there from the start, others are made and deleted. No machine is real; the counts are.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from localcloud.azureml import identities, lifecycle, paging
from localcloud.azureml import site as sites
from localcloud.azureml.dials import LONG_AGO
from localcloud.azureml.records import Cluster
from localcloud.azureml.routes import EARLY, WORKSPACE, Call, Route, early
from localcloud.azureml.shapes import computes as compute_shapes
from localcloud.azureml.shapes import computes as shapes
from localcloud.azureml.shapes import queries, small, words
from localcloud.azureml.shapes.shape import unplayed
from localcloud.azureml.store import Shelf
from localcloud.azureml.wire import Json, Refused, Response, answer, mapping, text_map

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from localcloud.azureml.ground import Ground
    from localcloud.azureml.operations import Operations
    from localcloud.azureml.sizes import Size

SIGNS = "letters, digits and -, a letter first, no - last, and none before a number at the end"
FIRST = "gpu-cluster"  # the cluster that is there from the start
NAME = re.compile(compute_shapes.NAME)  # the published types; Azure's page speaks of 2 to 32 characters, and allows more
NODES_MAX = 100  # of one cluster (DOC how-to-manage-quotas: 100 nodes by default where nodes speak to each other)
PRIORITIES = ("Dedicated", "LowPriority")
_NODE_STATES = tuple(f"{state}NodeCount" for state in ("preparing", "running", "idle", "unusable", "leaving", "preempted"))
CHANGING = frozenset({"Creating", "Updating", "Deleting"})


class Computes:
    """All clusters, and the sizes of the region."""

    def __init__(self, ground: Ground, operations: Operations, nodes_max: int = 1, *, is_first_start: bool = True) -> None:
        self.ground = ground
        self.site = ground.site
        self.all = Shelf(ground.store, "compute", Cluster)
        self.busy: Callable[[str], list[str]] = lambda _: []  # given by the room of jobs: the job on each busy node of a cluster
        self._operations = operations
        self._nodes_max = nodes_max
        if is_first_start and not len(self.all):
            self._make_first()

    def _make_first(self) -> None:
        world, now = self.site.world, self.ground.now()
        size = world.size(world.cluster_size)
        assert size is not None, f"this world does not have its cluster's size {world.cluster_size}"
        first = Cluster(
            name=FIRST, size=size, priority="Dedicated", nodes_min=0, nodes_max=self._nodes_max, idle="PT120S",
            tags={}, description="", identity=None, created=now, modified=now,
        )  # fmt: skip
        self.all.save(FIRST, first)

    def clear(self) -> None:
        """Forget every cluster but the first one, which is as it was."""
        self.all.clear()
        self._make_first()

    def routes(self) -> list[Route]:
        locations = "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices/locations/{location}"
        found = [
            Route(method="GET", path=WORKSPACE + "/computes", handler=self._list, query=queries.COMPUTES, does="list the clusters"),
            Route(method="GET", path=WORKSPACE + "/computes/{name}", handler=self._get, does="one cluster"),
            Route(
                method="PUT",
                path=WORKSPACE + "/computes/{name}",
                handler=self._put,
                does="make or change a cluster",
                differs="AmlCompute only; no machine is real, no quota is counted",
            ),
            Route(
                method="PATCH",
                path=WORKSPACE + "/computes/{name}",
                handler=self._patch,
                does="change how far a cluster is scaled",
            ),
            Route(
                method="POST",
                path=WORKSPACE + "/computes/{name}/listNodes",
                handler=self._list_nodes,
                query=queries.COMPUTES,
                does="the machines of a cluster, and the job on each",
                differs="a machine is gone at once when its job has ended",
            ),
            Route(
                method="DELETE",
                path=WORKSPACE + "/computes/{name}",
                handler=self._delete,
                query=queries.COMPUTE_DELETE,
                does="delete a cluster",
            ),
            Route(method="GET", path=locations + "/vmSizes", handler=self._sizes, does="the sizes of a region"),
        ]
        return early(found)

    @property
    def names(self) -> tuple[str, ...]:
        """The clusters that a job may name."""
        return tuple(one.name for one in self.all.values() if one.state != "Deleting")

    def advance(self) -> None:
        """Bring what may move to its end."""
        now = self.ground.now()
        for cluster in self.all.values():
            if cluster.state not in CHANGING or cluster.due is None or cluster.due > now:
                continue
            if cluster.state == "Deleting":
                self.all.remove(cluster.name)
            else:
                lifecycle.check(lifecycle.COMPUTE, cluster.name, cluster.state, "Succeeded")
                cluster.state = "Succeeded"
                self.all.save(cluster.name, cluster)
            if cluster.operation:
                self._operations.succeed(cluster.operation)

    def permit(self, name: str) -> None:
        """Let the cluster make its next move now: the hand of the dial `by-hand`."""
        cluster = self._find(name)
        cluster.due = LONG_AGO
        self.all.save(name, cluster)

    def check_moves(self, name: str) -> None:
        """Refuse a move by hand of a cluster that is not being changed."""
        cluster = self._find(name)
        if cluster.state not in CHANGING:
            raise Refused(409, "Conflict", f"The compute {name} is {cluster.state} and waits for no move.")

    def dues(self) -> list[datetime]:
        """Return from when on clusters may move, as far as a clock decides it."""
        return [one.due for one in self.all.values() if one.due is not None and one.state in CHANGING]

    def turned(self) -> None:
        """The dial has another position: what is under way moves by it."""
        for cluster in self.all.values():
            if cluster.state in CHANGING:
                cluster.due = self.ground.dials.due("computes", self.ground.now())
                self.all.save(cluster.name, cluster)

    def _list(self, call: Call) -> Response:
        return paging.page(call, self.site, self.all.values(), key=lambda cluster: cluster.name, shown=self._body)

    def _get(self, call: Call) -> Response:
        return answer(self._body(self._find(call["name"])))

    def _find(self, name: str) -> Cluster:
        cluster = self.all.get(name)
        if cluster is None:
            message = f"The compute '{name}' was not found; the local cloud has {', '.join(self.all.all) or 'none'}."
            raise Refused(404, "ResourceNotFound", message)
        return cluster

    def _list_nodes(self, call: Call) -> Response:
        """Return a node for each running job's machine, and idle ones up to the cluster's minimum."""
        small.NOTHING.read(call.request.json())
        cluster = self._find(call["name"])
        busy = self.busy(cluster.name)
        idle = max(0, cluster.nodes_min - len(busy))
        jobs: list[str | None] = [*busy, *[None] * idle]
        return answer({"nodes": [_node(cluster.name, number, job) for number, job in enumerate(jobs)]})

    def _check_moment(self, cluster: Cluster) -> None:
        if cluster.state in CHANGING:
            message = f"The compute '{cluster.name}' is in {cluster.state} provisioning state; wait until that has ended."
            raise Refused(int(self.ground.switches.conflict_status), "Conflict", message)

    def _patch(self, call: Call) -> Response:
        """What a client leaves out stays; azure-mgmt-machinelearningservices sends this, azure-ai-ml a whole PUT."""
        cluster, body, version = self._find(call["name"]), call.request.json(), call.request.query["api-version"]
        if version in EARLY:  # one level less (azure-mgmt-machinelearningservices 1.0.1)
            body = {**body, "properties": {"properties": body.get("properties")}}
        shapes.PATCH.read(body, version=version)
        self._check_moment(cluster)
        scale = mapping(mapping(mapping(body, "properties", "A compute"), "properties", "A compute"), "scaleSettings", "A cluster")
        cluster.nodes_min, cluster.nodes_max = _span(scale, cluster.nodes_min, cluster.nodes_max)
        cluster.idle = str(scale.get("nodeIdleTimeBeforeScaleDown") or cluster.idle)
        cluster.modified = self.ground.now()
        operation = self._begin(cluster, "Updating", call)
        return answer(self._body(cluster), 200, _without_location(self._operations.headers(operation)))

    def _put(self, call: Call) -> Response:
        name, body = call["name"], call.request.json()
        old = self.all.get(name)
        if old is not None:
            self._check_moment(old)
        cluster = self._checked(name, body, call.request.query["api-version"], old)
        operation = self._begin(cluster, "Updating" if old else "Creating", call)
        return answer(self._body(cluster), 200 if old else 201, _without_location(self._operations.headers(operation)))

    def _delete(self, call: Call) -> Response:
        cluster = self.all.get(call["name"])
        if cluster is None:
            return Response(status=204)
        action = call.request.query.get("underlyingResourceAction", "")
        if action not in {"Delete", "Detach"}:
            message = f"The query underlyingResourceAction is '{action}'; write Delete or Detach."
            raise Refused(400, "UserError", message)
        if action == "Detach":
            raise Refused(400, "BadRequest", f"The compute '{cluster.name}' was made here and cannot be detached; delete it.")
        if cluster.state != "Deleting":
            self._begin(cluster, "Deleting", call)
        assert cluster.operation is not None
        return Response(status=202, headers=_without_location(self._operations.headers(cluster.operation)))

    def _begin(self, cluster: Cluster, state: str, call: Call) -> str:
        cluster.state = state
        cluster.due = self.ground.dials.due("computes", self.ground.now())
        version = call.request.query["api-version"]
        cluster.operation = self._operations.begin("", "InProgress", version, name=cluster.name, family="compute")
        self.all.save(cluster.name, cluster)
        return cluster.operation

    def _checked(self, name: str, body: Json, version: str, old: Cluster | None) -> Cluster:
        """Return the cluster that the body asks for; what Azure has not is refused with a sentence."""
        if not NAME.fullmatch(name) or name.endswith("-"):
            raise Refused(400, "BadRequest", f"The compute name '{name}' is invalid; use 3 to 24 {SIGNS}.")
        shape = shapes.COMPUTE.read(body, version=version, name=name).properties
        if shape is None:
            raise Refused(400, "BadRequest", "A compute: properties is missing and required.", target="properties")
        assert isinstance(shape, shapes.Cluster)
        _check_played(shape)
        properties: Json = body["properties"]
        asked = mapping(properties, "properties", "A compute")
        scale = mapping(asked, "scaleSettings", "A cluster")
        nodes_min, nodes_max = _span(scale, 0, 1)
        now = self.ground.now()
        return Cluster(
            name=name,
            size=self._size(asked.get("vmSize"), old),
            priority=_priority(asked.get("vmPriority"), old),
            nodes_min=nodes_min,
            nodes_max=nodes_max,
            idle=str(scale.get("nodeIdleTimeBeforeScaleDown") or "PT120S"),
            tags=text_map(body, "tags", "A compute"),
            description=str(properties.get("description") or ""),
            identity=body.get("identity"),
            created=old.created if old else now,
            modified=now,
            asked=_unplayed_but_shown(properties, asked),
        )

    def _size(self, given: object, old: Cluster | None) -> Size:
        size = self.site.world.size(str(given))
        if size is None:
            known = ", ".join(one.name for one in self.site.world.sizes)
            message = f"The VM size '{given}' is not available in {self.site.location} or is retired; choose one of {known}."
            raise Refused(400, "BadRequest", message, detail="VmSizeNotSupported")
        if old is not None and old.size != size:
            message = f"The size of compute '{old.name}' is {old.size.name} and cannot be changed to {size.name}; make another compute."
            raise Refused(400, "BadRequest", message)
        return size

    def _body(self, cluster: Cluster) -> Json:
        """Return the cluster as Azure answers it: its times are among its properties, and there is no systemData [recorded]."""
        busy = len(self.busy(cluster.name))
        nodes = max(busy, cluster.nodes_min)
        shown = {
            "vmSize": cluster.size.name,
            "vmPriority": cluster.priority,
            "osType": "Linux",
            "scaleSettings": {
                "minNodeCount": cluster.nodes_min,
                "maxNodeCount": cluster.nodes_max,
                "nodeIdleTimeBeforeScaleDown": cluster.idle,
            },
            "subnet": None,
            "remoteLoginPortPublicAccess": "NotSpecified",
            "allocationState": "Steady",
            "currentNodeCount": nodes,
            "targetNodeCount": nodes,
            "nodeStateCounts": dict.fromkeys(_NODE_STATES, 0) | {"runningNodeCount": busy, "idleNodeCount": nodes - busy},
            "errors": None,
            **cluster.asked.get("properties", {}),
        }
        properties = {
            "createdOn": sites.stamp(cluster.created),
            "modifiedOn": sites.stamp(cluster.modified),
            "disableLocalAuth": bool(cluster.asked.get("disableLocalAuth")),
            "description": cluster.description or None,
            "resourceId": None,
            "computeType": "AmlCompute",
            "computeLocation": self.site.location,
            "provisioningState": cluster.state,
            "provisioningErrors": None,
            "isAttachedCompute": False,
            "properties": shown,
        }
        body = self.site.resource(f"computes/{cluster.name}", "computes", properties, cluster.created, cluster.modified)
        del body["systemData"]
        identity = {"identity": identities.shown(cluster.identity)} if cluster.identity else {}
        return body | {"location": self.site.location, "tags": cluster.tags, **identity}

    def _sizes(self, call: Call) -> Response:
        """Early versions have another name for the list (azure-mgmt-machinelearningservices 1.0.1 reads it); which of them is not known."""
        found = [_size_body(one) for one in self.site.world.sizes]
        return answer({"value": found} | ({"amlCompute": found} if call.request.query["api-version"] in EARLY else {}))


def _check_played(shape: shapes.Cluster) -> None:
    asked = shape.properties or shapes.ClusterProperties()
    unplayed(
        {
            "properties.resourceId": shape.resource_id,
            "properties.properties.virtualMachineImage": asked.virtual_machine_image,
            "properties.properties.isolatedNetwork": asked.isolated_network,
            "properties.properties.subnet": asked.subnet,
            "properties.properties.propertyBag": asked.property_bag,
            "properties.properties.osType Windows": asked.os_type is words.OsType.WINDOWS,
        }
    )


def _priority(given: object, old: Cluster | None) -> str:
    text = str(given or (old.priority if old else "Dedicated"))
    found = next((one for one in PRIORITIES if one.lower() == text.lower()), None)
    if found is None:
        raise Refused(400, "BadRequest", f"A cluster's vmPriority is {' or '.join(PRIORITIES)}, and not '{text}'.")
    return found


def _nodes(scale: Json, key: str, default: int, *, low: int) -> int:
    value = scale.get(key)
    if value is None:
        return max(default, low)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= NODES_MAX:
        raise Refused(400, "BadRequest", f"A cluster's {key} must be a whole number from {low} to {NODES_MAX}, and is {value!r}.")
    return value


def _span(scale: Json, least: int, most: int) -> tuple[int, int]:
    """Return how few and how many nodes are asked for; `least` and `most` hold where nothing is said."""
    low = _nodes(scale, "minNodeCount", least, low=0)
    return low, _nodes(scale, "maxNodeCount", most, low=max(1, low))


def _unplayed_but_shown(outer: Json, inner: Json) -> Json:
    """Return what changes nothing where no machine is real. The password of an account is never kept, and Azure never shows it."""
    account = inner.get("userAccountCredentials")
    shown = {name: inner[name] for name in ("remoteLoginPortPublicAccess", "enableNodePublicIp") if inner.get(name) is not None}
    if account:
        shown["userAccountCredentials"] = {**account, "adminUserPassword": None}
    return {"properties": shown, "disableLocalAuth": bool(outer.get("disableLocalAuth"))}


def _without_location(headers: Mapping[str, str]) -> Json:
    """Return the headers of an operation on a cluster: it is followed by its status alone, and says no time-out [recorded]."""
    return {name: value for name, value in headers.items() if name not in {"Location", "x-ms-async-operation-timeout"}}


def _node(cluster: str, number: int, job: str | None) -> Json:
    return {
        "nodeId": sites.stable_guid("node", cluster, str(number)),
        "privateIpAddress": None,
        "publicIpAddress": None,
        "port": None,
        "nodeState": "running" if job else "idle",
        "runId": job,
    }


def _size_body(one: Size) -> Json:
    return {
        "name": one.name,
        "family": one.family,
        "vCPUs": one.cores,
        "gpus": one.gpus,
        "osVhdSizeMB": 1047552,
        "maxResourceVolumeMB": 0,
        "memoryGB": one.memory_gb,
        "lowPriorityCapable": True,
        "premiumIO": True,
        "supportedComputeTypes": ["AmlCompute"],
    }
