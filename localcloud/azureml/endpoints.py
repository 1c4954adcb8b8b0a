"""
Online endpoints: a name, who may ask, and how the questions are shared among its deployments.

A change is accepted at once and done a moment later; until then the endpoint is Creating, Updating or Deleting and takes no other.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from localcloud import faults
from localcloud.azureml import identities, lifecycle, paging
from localcloud.azureml import site as sites
from localcloud.azureml.dials import LONG_AGO
from localcloud.azureml.jobs import has_tags
from localcloud.azureml.records import Deployment, Endpoint
from localcloud.azureml.routes import WORKSPACE, Call, Route
from localcloud.azureml.shapes import endpoints as shapes
from localcloud.azureml.shapes import queries, small, words
from localcloud.azureml.shapes.shape import unplayed
from localcloud.azureml.store import Shelf
from localcloud.azureml.tokens import MACHINE_LEARNING
from localcloud.azureml.wire import Json, Refused, Response, answer, text_map

if TYPE_CHECKING:
    from collections.abc import Callable

    from localcloud.azureml.events import Announcer
    from localcloud.azureml.ground import Ground
    from localcloud.azureml.operations import Operations
    from localcloud.azureml.tokens import Tokens

NAME = re.compile(r"[a-zA-Z](?=.{2,31}$)([-a-zA-Z0-9]*[a-zA-Z0-9])?")  # 3 to 32 characters (Azure ML, how-to-manage-quotas)
ENDPOINTS_MAX = 100  # per subscription and region (the same page)
MIRROR_MAX = 50  # percent, to one deployment (Azure ML, how-to-safely-rollout-online-endpoints)
KEY_BYTES = 24
REFRESHED_BEFORE_SECONDS = 3600  # a guess: Azure names a time some while before the end
CHANGING = frozenset({"Creating", "Updating", "Deleting"})
PATH = WORKSPACE + "/onlineEndpoints/{endpoint}"
FAULTS = ("endpoint_failed", "endpoint_locked")
REFUSALS = ("endpoint_name_taken", "endpoint_quota")


class Endpoints:
    """All endpoints of the workspace. Their deployments lie on `deployments`, which another room changes."""

    def __init__(
        self, ground: Ground, *, operations: Operations, deployments: Shelf[Deployment], announcer: Announcer, tokens: Tokens
    ) -> None:
        self.ground = ground
        self.site = ground.site
        self.all = Shelf(ground.store, "endpoint", Endpoint)
        self.delete_deployment: Callable[[Deployment, str], None]  # given by the room of deployments; takes the api-version
        self._deployments = deployments
        self._operations = operations
        self._announcer = announcer
        self._tokens = tokens

    def routes(self) -> list[Route]:
        return [
            Route(method="GET", path=WORKSPACE + "/onlineEndpoints", handler=self._list, query=queries.ENDPOINTS, does="list endpoints"),
            Route(method="GET", path=PATH, handler=self._get, does="one endpoint"),
            Route(
                method="PUT",
                path=PATH,
                handler=self._put,
                does="create or update an endpoint: traffic, mirror traffic, tags",
                differs="done in a moment, in Azure in about a minute; no Kubernetes",
            ),
            Route(method="PATCH", path=PATH, handler=self._patch, does="change the tags of an endpoint"),
            Route(method="DELETE", path=PATH, handler=self._delete, does="delete an endpoint and its deployments"),
            Route(method="POST", path=PATH + "/listKeys", handler=self._keys, does="the keys of an endpoint"),
            Route(method="POST", path=PATH + "/regenerateKeys", handler=self._regenerate, does="a new key for an endpoint"),
            Route(method="POST", path=PATH + "/token", handler=self._token, does="a token for an endpoint that wants Entra ID"),
        ]

    def find(self, name: str) -> Endpoint:
        """Return the endpoint; refuse as Azure does when there is none."""
        endpoint = self.all.get(name)
        if endpoint is None:
            path = f"{sites.PROVIDER}/workspaces/{self.site.workspace}/onlineEndpoints/{name}"
            raise Refused(404, "ResourceNotFound", f"The Resource '{path}' under resource group '{self.site.group}' was not found.")
        return endpoint

    def deployments_of(self, name: str) -> dict[str, Deployment]:
        """Return the deployments of an endpoint by name."""
        return {one.name: one for one in self._deployments.values() if one.endpoint == name}

    def arm_id(self, name: str) -> str:
        return f"{self.site.workspace_id}/onlineEndpoints/{name}"

    # -------------------------------------------------------------------------------------------------------------- life

    def advance(self) -> None:
        """Finish what may be finished; a deleted endpoint is gone when its last deployment is."""
        now = self.ground.now()
        for endpoint in self.all.values():
            if endpoint.due is not None and endpoint.due <= now:
                self._advance(endpoint)

    def _advance(self, endpoint: Endpoint) -> None:
        if endpoint.state == "Deleting":
            if not self.deployments_of(endpoint.name):
                self.all.remove(endpoint.name)
                self._operations.succeed(endpoint.operation)
                self._announcer.resource_changed("Delete", self.arm_id(endpoint.name), good=True)
            return
        if endpoint.state not in CHANGING:
            return
        failed = endpoint.planned if endpoint.planned and endpoint.planned.kind == "endpoint_failed" else None
        self._move(endpoint, "Failed" if failed else "Succeeded")
        if failed:
            self._operations.fail(endpoint.operation, failed.given["code"], failed.given["message"])
        else:
            self._operations.succeed(endpoint.operation)
        self._announcer.resource_written(self.arm_id(endpoint.name), good=failed is None)

    def permit(self, name: str) -> None:
        """Let the endpoint make its next move now: the hand of the dial `by-hand`."""
        endpoint = self.find(name)
        endpoint.due = LONG_AGO
        self.all.save(name, endpoint)

    def check_moves(self, name: str) -> None:
        """Refuse a move by hand of an endpoint that is not being changed."""
        endpoint = self.find(name)
        if endpoint.state not in CHANGING:
            raise Refused(409, "Conflict", f"The endpoint {name} is {endpoint.state} and waits for no move.")

    def dues(self) -> list[datetime]:
        """Return from when on endpoints may move, as far as a clock decides it."""
        return [one.due for one in self.all.values() if one.due is not None and one.state in CHANGING]

    def turned(self) -> None:
        """The dial has another position: what is under way moves by it."""
        for endpoint in self.all.values():
            locked = endpoint.planned is not None and endpoint.planned.kind == "endpoint_locked"
            if endpoint.state in CHANGING and not locked:
                endpoint.due = self.ground.dials.due("endpoints", self.ground.now())
                self.all.save(endpoint.name, endpoint)

    def _move(self, endpoint: Endpoint, state: str) -> None:
        lifecycle.check(lifecycle.ENDPOINT, endpoint.name, endpoint.state, state)
        endpoint.state = state
        endpoint.modified = self.ground.now()
        self.all.save(endpoint.name, endpoint)

    # ---------------------------------------------------------------------------------------------------------- requests

    def _list(self, call: Call) -> Response:
        query = call.request.query
        queries.only(query, queries.PLAYED_OF_ENDPOINTS, call.request.path)
        found = [one for one in self.all.values() if query.get("name") in {None, one.name} and has_tags(one.tags, query.get("tags"))]
        return paging.page(call, self.site, found, key=lambda endpoint: endpoint.name, shown=self.body)

    def _get(self, call: Call) -> Response:
        return answer(self.body(self.find(call["endpoint"])))

    def _put(self, call: Call) -> Response:
        name, body = call["endpoint"], call.request.json()
        asked = _check(name, body, call.request.query["api-version"])
        old = self.all.get(name)
        deployed = set(self.deployments_of(name))
        traffic, mirror = _traffic(asked, deployed), _mirror(asked, deployed)
        _check_split(traffic, mirror)
        if old is None:
            self._check_room(name)
        else:
            self._check_moment(old, "update")
        now = self.ground.now()
        fresh = Endpoint(
            name=name,
            auth_mode=asked.auth_mode.value,
            description=asked.description or "",
            tags=text_map(body, "tags", "An endpoint"),
            properties=text_map(body["properties"], "properties", "An endpoint"),
            traffic=traffic,
            mirror=mirror,
            public=(asked.public_network_access or words.Access.ENABLED).value,
            created=old.created if old else now,
            modified=now,
            operation=self._operations.begin("oeidp", "Updating", call.request.query["api-version"], name=name),
            keys=old.keys if old else (self._fresh_key(), self._fresh_key()),
            asked=old.asked if old else 0,
            identity=body.get("identity") or (old.identity if old else None),
            due=None,
            state="Updating" if old else "Creating",
        )
        self._begin_change(fresh)
        return answer(self.body(fresh), 200 if old else 201, self._operations.headers(fresh.operation, self.arm_id(name)))

    def _begin_change(self, endpoint: Endpoint) -> None:
        now = self.ground.now()
        endpoint.planned = self.ground.plan(FAULTS, name=endpoint.name)
        endpoint.due = self.ground.dials.due("endpoints", now)
        if endpoint.planned and endpoint.planned.kind == "endpoint_locked":
            endpoint.due = now + timedelta(seconds=endpoint.planned.given["seconds"])
        self.all.save(endpoint.name, endpoint)
        self._announcer.resource_accepted(self.arm_id(endpoint.name))

    def _check_room(self, name: str) -> None:
        refusal = self.ground.plan(REFUSALS, name=name)
        if refusal is not None:
            raise Refused(400, "BadRequest", faults.worded(refusal.given["message"], name=name, subscription=self.site.subscription))
        if len(self.all) >= ENDPOINTS_MAX:
            used = f"Current usage/limit: {len(self.all)}/{ENDPOINTS_MAX}."
            raise Refused(400, "BadRequest", f"Endpoint Quota reached for subscription {self.site.subscription}. {used}")

    def _check_moment(self, endpoint: Endpoint, verb: str) -> None:
        if endpoint.state in CHANGING:
            message = f"Cannot {verb} endpoint {endpoint.name} because it is in {endpoint.state} provisioning state."
            raise Refused(int(self.ground.switches.conflict_status), "Conflict", message)

    def _patch(self, call: Call) -> Response:
        endpoint, body = self.find(call["endpoint"]), call.request.json()
        asked = small.ENDPOINT_PATCH.read(body, version=call.request.query["api-version"])
        unplayed({"properties": asked.properties, "kind": asked.kind, "identity": asked.identity})
        self._check_moment(endpoint, "update")
        endpoint.tags = {**endpoint.tags, **text_map(body, "tags", "An endpoint")}
        endpoint.operation = self._operations.begin("oeidp", "Updating", call.request.query["api-version"], name=endpoint.name)
        endpoint.state = "Updating"
        self._begin_change(endpoint)
        return answer(self.body(endpoint), 202, self._operations.headers(endpoint.operation, self.arm_id(endpoint.name)))

    def _delete(self, call: Call) -> Response:
        endpoint = self.all.get(call["endpoint"])
        if endpoint is None:
            return Response(status=204)
        if endpoint.state != "Deleting":
            version = call.request.query["api-version"]
            endpoint.operation = self._operations.begin("oeidp", "Deleting", version, name=endpoint.name)
            endpoint.due = self.ground.dials.due("endpoints", self.ground.now())
            endpoint.planned = None  # what was planned for an earlier change ends with it
            self._move(endpoint, "Deleting")
            for deployment in self.deployments_of(endpoint.name).values():
                self.delete_deployment(deployment, version)
        return Response(status=202, body=b"null", headers=self._operations.headers(endpoint.operation))

    def _keys(self, call: Call) -> Response:
        small.NOTHING.read(call.request.json())
        endpoint = self._with_keys(call)
        return answer({"primaryKey": endpoint.keys[0], "secondaryKey": endpoint.keys[1]})

    def _regenerate(self, call: Call) -> Response:
        endpoint, body = self._with_keys(call), call.request.json()
        asked = small.REGENERATE_KEYS.read(body)
        place = 0 if asked.key_type is words.KeyType.PRIMARY else 1
        keys = list(endpoint.keys)
        unchosen = not asked.key_value or (asked.key_value == keys[place] and self.ground.switches.same_key_again == "fresh")
        keys[place] = self._fresh_key() if unchosen else str(asked.key_value)
        endpoint.keys = (keys[0], keys[1])
        self.all.save(endpoint.name, endpoint)
        return Response(status=200)

    def _token(self, call: Call) -> Response:
        small.NOTHING.read(call.request.json())
        endpoint = self.find(call["endpoint"])
        if endpoint.auth_mode == "Key":
            message = f"The endpoint {endpoint.name} has authMode {endpoint.auth_mode}; its keys are at listKeys."
            raise Refused(400, "BadRequest", message)
        token, ends = self._tokens.issue(self.audience(endpoint))
        times = {"expiryTimeUtc": ends, "refreshAfterTimeUtc": ends - REFRESHED_BEFORE_SECONDS}
        return answer({"accessToken": token, "tokenType": "Bearer", **times})

    def audience(self, endpoint: Endpoint) -> str:
        """Return for whom a token must be that may ask: an AMLToken is good for one endpoint and comes from its own address."""
        return MACHINE_LEARNING if endpoint.auth_mode == "AADToken" else f"{self.site.base}/endpoints/{endpoint.name}"

    def _with_keys(self, call: Call) -> Endpoint:
        endpoint = self.find(call["endpoint"])
        if endpoint.auth_mode != "Key":
            message = (
                f"The endpoint {endpoint.name} has authMode {endpoint.auth_mode} and no keys; its address /token has one that opens it."
            )
            raise Refused(400, "BadRequest", message)
        return endpoint

    def _fresh_key(self) -> str:
        return self.ground.chance.token(KEY_BYTES)

    def body(self, endpoint: Endpoint) -> Json:
        """Return the endpoint as Azure answers it; there is no address to ask before it is created."""
        address = f"{self.site.base}/endpoints/{endpoint.name}"
        ready = endpoint.state != "Creating"
        own = {
            "azureml.onlineendpointid": self.arm_id(endpoint.name),
            "AzureAsyncOperationUri": self._operations.status_address(endpoint.operation),
        }
        properties = {
            "authMode": endpoint.auth_mode,
            "description": endpoint.description,
            "properties": {**endpoint.properties, **own},
            "scoringUri": f"{address}/score" if ready else None,
            "swaggerUri": f"{address}/swagger.json" if ready else None,
            "provisioningState": endpoint.state,
            "publicNetworkAccess": endpoint.public,
            "traffic": endpoint.traffic,
            "mirrorTraffic": endpoint.mirror,
        }
        body = self.site.resource(f"onlineEndpoints/{endpoint.name}", "onlineEndpoints", properties, endpoint.created, endpoint.modified)
        identity = identities.shown(endpoint.identity or identities.SYSTEM)
        return body | {"location": self.site.location, "kind": "Managed", "tags": endpoint.tags, "identity": identity}


def _check(name: str, body: Json, version: str) -> shapes.Properties:
    if not NAME.fullmatch(name):
        message = f"The endpoint name '{name}' is invalid; use 3 to 32 letters, digits and -, a letter first, no - last."
        raise Refused(400, "BadRequest", message)
    asked = shapes.ENDPOINT.read(body, version=version, name=name).properties
    unplayed({"properties.keys": asked.keys, "properties.compute": asked.compute})
    return asked


def _traffic(asked: shapes.Properties, deployed: set[str]) -> dict[str, int]:
    traffic = _shares("traffic", asked.traffic, deployed, 100)
    total = sum(traffic.values())
    if total not in {0, 100}:
        raise Refused(400, "BadRequest", f"The traffic must add up to 0 or 100, and adds up to {total}.")
    return traffic


def _mirror(asked: shapes.Properties, deployed: set[str]) -> dict[str, int]:
    mirror = _shares("mirrorTraffic", asked.mirror_traffic, deployed, MIRROR_MAX)
    if len([share for share in mirror.values() if share]) > 1:
        raise Refused(400, "BadRequest", f"mirrorTraffic must name one deployment, and names {', '.join(mirror)}.")
    return mirror


def _check_split(traffic: dict[str, int], mirror: dict[str, int]) -> None:
    """A deployment gets live or mirrored requests, not both (Azure ML, how-to-safely-rollout-online-endpoints; the words are ours)."""
    both = [name for name, share in mirror.items() if share and traffic.get(name)]
    if both:
        message = (
            f"The deployment {both[0]} has {traffic[both[0]]} % of the traffic and cannot be mirrored to; mirror to one without traffic."
        )
        raise Refused(400, "BadRequest", message, target="properties.mirrorTraffic")


def _shares(field: str, asked: dict[str, int] | None, deployed: set[str], most: int) -> dict[str, int]:
    shares = asked or {}
    for name, share in shares.items():
        if name not in deployed:
            raise Refused(400, "BadRequest", f"The {field} names the deployment {name}, which the endpoint does not have.")
        if not 0 <= share <= most:
            raise Refused(400, "BadRequest", f"The {field} of {name} must be a whole number from 0 to {most}, and is {share}.")
    return shares
