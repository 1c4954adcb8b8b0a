"""
Online endpoints: a name, who may ask, and how the questions are shared among its deployments.

A change is accepted at once and done a moment later; until then the endpoint is Creating, Updating or Deleting and takes no other.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from localcloud.azureml import site as sites
from localcloud.azureml.jobs import has_tags
from localcloud.azureml.operations import Operation
from localcloud.azureml.routes import WORKSPACE, Call, Route
from localcloud.azureml.wire import Json, Refused, Response, answer, known_only, mapping, text_map

if TYPE_CHECKING:
    from localcloud.azureml.deployments import Deployment
    from localcloud.azureml.operations import Operations
    from localcloud.azureml.site import Site

NAME = re.compile(r"[a-zA-Z](?=.{2,31}$)([-a-zA-Z0-9]*[a-zA-Z0-9])?")  # 3 to 32 characters (Azure ML, how-to-manage-quotas)
ENDPOINTS_MAX = 100  # per subscription and region (the same page)
RESOURCE = frozenset({"location", "tags", "properties", "identity", "kind", "sku", "id", "name", "type", "systemData"})
FIELDS = frozenset({
    "authMode", "compute", "description", "keys", "mirrorTraffic", "properties", "provisioningState", "publicNetworkAccess",
    "scoringUri", "swaggerUri", "traffic",
})  # fmt: skip
AUTH_MODES = {"key": "Key", "aadtoken": "AADToken"}
CHANGING = frozenset({"Creating", "Updating", "Deleting"})
PATH = WORKSPACE + "/onlineEndpoints/{endpoint}"


@dataclass(kw_only=True)
class Endpoint:
    """One endpoint and its deployments."""

    name: str
    auth_mode: str
    description: str
    tags: dict[str, str]
    properties: dict[str, str]
    traffic: dict[str, int]
    created: datetime
    modified: datetime
    operation: Operation
    state: str = "Creating"
    keys: tuple[str, str] = field(default_factory=lambda: (secrets.token_urlsafe(24), secrets.token_urlsafe(24)))
    deployments: dict[str, Deployment] = field(default_factory=dict)
    asked: int = 0  # requests that were shared by traffic so far


class Endpoints:
    """All endpoints of the workspace."""

    def __init__(self, site: Site, operations: Operations) -> None:
        self.site = site
        self.all: dict[str, Endpoint] = {}
        self._operations = operations

    def routes(self) -> list[Route]:
        return [
            Route(method="GET", path=WORKSPACE + "/onlineEndpoints", handler=self._list),
            Route(method="GET", path=PATH, handler=self._get),
            Route(method="PUT", path=PATH, handler=self._put),
            Route(method="DELETE", path=PATH, handler=self._delete),
            Route(method="POST", path=PATH + "/listKeys", handler=self._keys),
        ]

    def find(self, name: str) -> Endpoint:
        """Return the endpoint; refuse as Azure does when there is none."""
        if name not in self.all:
            path = f"{sites.PROVIDER}/workspaces/{self.site.workspace}/onlineEndpoints/{name}"
            raise Refused(404, "ResourceNotFound", f"The Resource '{path}' under resource group '{self.site.group}' was not found.")
        return self.all[name]

    def arm_id(self, endpoint: Endpoint) -> str:
        return f"{self.site.workspace_id}/onlineEndpoints/{endpoint.name}"

    def advance(self) -> None:
        """Finish what was accepted; a deleted endpoint is gone when its last deployment is."""
        now = self.site.clock()
        for endpoint in list(self.all.values()):
            if endpoint.state in {"Creating", "Updating"}:
                endpoint.state = "Succeeded"
                endpoint.modified = now
                self._operations.succeed(endpoint.operation)
            elif endpoint.state == "Deleting" and not endpoint.deployments:
                del self.all[endpoint.name]
                self._operations.succeed(endpoint.operation)

    def _list(self, call: Call) -> Response:
        query = call.request.query
        known_only(query, frozenset({"api-version", "name", "count", "computeType", "$skip", "tags", "properties", "orderBy"}), "The list")
        if query.get("computeType", "Managed").lower() != "managed" or query.get("properties"):
            raise Refused(501, "NotImplementedByLocalCloud", "The local cloud lists endpoints by name and tags only.")
        found = [one for one in self.all.values() if query.get("name") in {None, one.name} and has_tags(one.tags, query.get("tags"))]
        return answer({"value": [self.body(endpoint) for endpoint in found]})

    def _get(self, call: Call) -> Response:
        return answer(self.body(self.find(call["endpoint"])))

    def _put(self, call: Call) -> Response:
        name, body = call["endpoint"], call.request.json()
        asked = _check(name, body)
        old = self.all.get(name)
        deployed = old.deployments if old else {}
        traffic = _traffic(asked, set(deployed))
        if old is not None and old.state in CHANGING:
            raise Refused(409, "Conflict", f"Cannot update endpoint {name} because it is in {old.state} provisioning state.")
        if old is None and len(self.all) >= ENDPOINTS_MAX:
            message = (
                f"Endpoint Quota reached for subscription {self.site.subscription}. Current usage/limit: {len(self.all)}/{ENDPOINTS_MAX}."
            )
            raise Refused(400, "BadRequest", message)
        now = self.site.clock()
        fresh = Endpoint(
            name=name,
            auth_mode=AUTH_MODES[str(asked["authMode"]).lower()],
            description=asked.get("description") or "",
            tags=text_map(body, "tags", "An endpoint"),
            properties=text_map(asked, "properties", "An endpoint"),
            traffic=traffic,
            created=old.created if old else now,
            modified=now,
            operation=self._operations.begin("oeidp", "Updating", call.request.query["api-version"]),
            state="Updating" if old else "Creating",
        )
        if old:
            fresh.keys, fresh.deployments, fresh.asked = old.keys, old.deployments, old.asked
        self.all[name] = fresh
        return answer(self.body(fresh), 200 if old else 201, self._operations.headers(fresh.operation, self.arm_id(fresh)))

    def _delete(self, call: Call) -> Response:
        endpoint = self.all.get(call["endpoint"])
        if endpoint is None:
            return Response(status=204)
        if endpoint.state != "Deleting":
            endpoint.state = "Deleting"
            endpoint.operation = self._operations.begin("oeidp", "Deleting", call.request.query["api-version"])
            for deployment in endpoint.deployments.values():
                deployment.delete(self._operations.begin("odidp", "Deleting", call.request.query["api-version"]), self._operations)
        return Response(status=202, body=b"null", headers=self._operations.headers(endpoint.operation))

    def _keys(self, call: Call) -> Response:
        endpoint = self.find(call["endpoint"])
        if endpoint.auth_mode != "Key":
            message = f"The endpoint {endpoint.name} has authMode {endpoint.auth_mode} and no keys; ask Entra ID for a token."
            raise Refused(400, "BadRequest", message)
        return answer({"primaryKey": endpoint.keys[0], "secondaryKey": endpoint.keys[1]})

    def body(self, endpoint: Endpoint) -> Json:
        """Return the endpoint as Azure answers it; there is no address to ask before it is created."""
        address = f"{self.site.base}/endpoints/{endpoint.name}"
        ready = endpoint.state != "Creating"
        own = {
            "azureml.onlineendpointid": self.arm_id(endpoint),
            "AzureAsyncOperationUri": self._operations.status_address(endpoint.operation),
        }
        properties = {
            "authMode": endpoint.auth_mode,
            "description": endpoint.description,
            "properties": {**endpoint.properties, **own},
            "scoringUri": f"{address}/score" if ready else None,
            "swaggerUri": f"{address}/swagger.json" if ready else None,
            "provisioningState": endpoint.state,
            "publicNetworkAccess": "Enabled",
            "traffic": endpoint.traffic,
            "mirrorTraffic": {},
        }
        body = self.site.resource(f"onlineEndpoints/{endpoint.name}", "onlineEndpoints", properties, endpoint.created, endpoint.modified)
        identity = {"type": "SystemAssigned", "principalId": sites.PRINCIPAL, "tenantId": sites.TENANT}
        return body | {"location": self.site.location, "kind": "Managed", "tags": endpoint.tags, "identity": identity}


def _check(name: str, body: Json) -> Json:
    known_only(body, RESOURCE, "An endpoint")
    asked = mapping(body, "properties", "An endpoint")
    known_only(asked, FIELDS, "An endpoint's properties")
    if not NAME.fullmatch(name):
        message = f"The endpoint name '{name}' is invalid; use 3 to 32 letters, digits and -, a letter first, no - last."
        raise Refused(400, "BadRequest", message)
    if not body.get("location"):
        raise Refused(400, "LocationRequired", "The location property is required for this definition.")
    if str(asked.get("authMode")).lower() not in AUTH_MODES:
        message = f"The local cloud knows the authMode Key and AADToken, and this is {asked.get('authMode')}."
        raise Refused(501, "NotImplementedByLocalCloud", message)
    if mapping(asked, "mirrorTraffic", "An endpoint"):
        raise Refused(501, "NotImplementedByLocalCloud", "The local cloud mirrors no traffic; leave mirrorTraffic empty.")
    return asked


def _traffic(asked: Json, deployed: set[str]) -> dict[str, int]:
    traffic = mapping(asked, "traffic", "An endpoint")
    for name, share in traffic.items():
        if name not in deployed:
            message = f"The traffic names the deployment {name}, which the endpoint does not have."
            raise Refused(400, "BadRequest", message)
        if isinstance(share, bool) or not isinstance(share, int) or not 0 <= share <= 100:
            raise Refused(400, "BadRequest", f"The traffic of {name} must be a whole number from 0 to 100, and is {share}.")
    total = sum(traffic.values())
    if total not in {0, 100}:
        raise Refused(400, "BadRequest", f"The traffic must add up to 0 or 100, and adds up to {total}.")
    return {str(name): int(share) for name, share in traffic.items()}
