"""
A registry of one's own, beside the public one: models of the workspace are shared into it, and archived there.

A shared model is a copy of a model's name, words and path; its files stay where the training left them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from localcloud.azureml import paging, registry_errors, views
from localcloud.azureml import site as sites
from localcloud.azureml.assets import NAME
from localcloud.azureml.records import Model
from localcloud.azureml.routes import REGISTRY, Call, Route
from localcloud.azureml.shapes import queries
from localcloud.azureml.store import Shelf
from localcloud.azureml.wire import Json, Refused, Response, answer, known_only, mapping, text_map

if TYPE_CHECKING:
    from localcloud.azureml.ground import Ground
    from localcloud.azureml.models import Models

PATH = (
    "/mferp/managementfrontend/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices/registries/"
)
_ENVELOPE = frozenset({"properties", "id", "name", "type", "systemData"})
_CONTAINER = frozenset({"description", "tags", "properties", "isArchived", "latestVersion", "nextVersion", "provisioningState"})
_IMPORT = frozenset({"referenceType", "destinationName", "destinationVersion", "sourceAssetId"})


class SharedModels:
    """All models of the registry `local-registry`."""

    def __init__(self, ground: Ground, models: Models) -> None:
        self.ground = ground
        self.site = ground.site
        self.all = Shelf(ground.store, "shared-model", Model)
        self._models = models
        models.shared = self.source
        site = self.site
        source = f"azureml://locations/{site.location}/workspaces/{sites.WORKSPACE_GUID}/models/"
        self._source = re.compile(re.escape(source) + "([^/]+)/versions/([^/]+)", re.IGNORECASE)

    def routes(self) -> list[Route]:
        place = PATH + self.site.own_registry
        one = place + "/models/{name}"
        table = [
            ("POST", place + "/import", self._import, None, "share a model of the workspace into a registry"),
            ("GET", place + "/models", self._names, queries.MODELS, "names of the shared models"),
            ("GET", one, self._container, None, "one name with its newest shared version"),
            ("PUT", one, self._put_container, None, "archive or restore all versions of a shared model"),
            ("GET", one + "/versions", self._list, queries.MODEL_VERSIONS, "versions of a shared model"),
            ("GET", one + "/versions/{version}", self._get, None, "one version of a shared model"),
            ("PUT", one + "/versions/{version}", self._put, None, "change, archive or restore a shared model"),
        ]
        return [
            Route(method=method, path=path, handler=handler, versions=REGISTRY, query=query, does=does)
            for method, path, handler, query, does in table
        ]

    def source(self, asset_id: str) -> Model | None:
        """Return the workspace's model behind the id of a shared one; None: it is not shared here."""
        found = re.fullmatch(f"azureml://registries/{re.escape(self.site.own_registry)}/models/([^/]+)/versions/([^/]+)", asset_id)
        shared = self.all.get(f"{found[1]}:{found[2]}") if found else None
        return self._models.all.get(str(shared.properties["properties"]["azureml.sharedFrom"])) if shared else None

    def _import(self, call: Call) -> Response:
        body = call.request.json()
        known_only(body, _ENVELOPE, "A shared model")
        asked = mapping(body, "properties", "A shared model")
        known_only(asked, _IMPORT, "A shared model's properties")
        name, version = str(asked.get("destinationName")), str(asked.get("destinationVersion"))
        if asked.get("referenceType") != "Id" or not NAME.fullmatch(name) or not NAME.fullmatch(version):
            kind = asked.get("referenceType")
            message = f"A model is shared by referenceType Id under a name and a version; this is {kind} and {name}:{version}."
            raise Refused(400, "UserError", message)
        if f"{name}:{version}" in self.all:
            return self._refused(409, f"Model {name} version {version} is in registry {self.site.own_registry} already.", "Conflict")
        match = self._source.fullmatch(str(asked.get("sourceAssetId")))
        model = self._models.all.get(f"{match[1]}:{match[2]}") if match else None
        if model is None:
            return self._refused(404, f"The model {asked.get('sourceAssetId')} was not found.", "NotFoundError")
        now = self.ground.now()
        marks = {**(model.properties.get("properties") or {}), "azureml.sharedFrom": model.key}
        kept = {**model.properties, "properties": marks, "isArchived": False, "jobName": None}
        kept["modelUri"] = f"{self._id(name, version)}/mlflow_model_folder"
        shared = Model(name=name, version=version, properties=kept, job=model.job, created=now, modified=now)
        self.all.save(shared.key, shared)
        return Response(status=200)

    def _put(self, call: Call) -> Response:
        """What the SDK sends is what it got, with another isArchived."""
        shared = self.all.get(f"{call['name']}:{call['version']}")
        if shared is None:
            message = "The local cloud takes models into its registry by sharing them from the workspace (models.share), not by upload."
            raise Refused(501, "NotImplementedByLocalCloud", f"PUT {call.request.path}: {message}")
        body = call.request.json()
        known_only(body, _ENVELOPE, "A shared model")
        asked = mapping(body, "properties", "A shared model")
        known_only(asked, frozenset(shared.properties), "A shared model's properties")
        if asked.get("modelUri", shared.properties["modelUri"]) != shared.properties["modelUri"]:
            return self._refused(400, "Asset paths cannot be updated.", "AssetPathImmutable")
        texts = {name: text_map(asked, name, "A shared model") for name in ("tags", "properties")}
        self._change(shared, {**texts, "description": asked.get("description") or "", "isArchived": bool(asked.get("isArchived"))})
        return answer(self._body(shared))

    def _put_container(self, call: Call) -> Response:
        versions, body = self._versions(call["name"]), call.request.json()
        if not versions:
            return self._missing(call)
        known_only(body, _ENVELOPE, "A shared model")
        asked = mapping(body, "properties", "A shared model")
        known_only(asked, _CONTAINER, "A shared model's properties")
        for shared in versions:
            self._change(shared, {"isArchived": bool(asked.get("isArchived"))})
        return answer(self._container_body(call["name"]))

    def _change(self, shared: Model, changes: Json) -> None:
        shared.properties = {**shared.properties, **changes}
        shared.modified = self.ground.now()
        self.all.save(shared.key, shared)

    def _names(self, call: Call) -> Response:
        shown = views.shown(call.request.query, of_registry=True)
        names = [name for name in dict.fromkeys(one.name for one in self.all.values()) if self._archived(name) in shown]
        return paging.page(call, self.site, names, key=str, shown=self._container_body)

    def _container(self, call: Call) -> Response:
        return answer(self._container_body(call["name"])) if self._versions(call["name"]) else self._missing(call)

    def _list(self, call: Call) -> Response:
        queries.only(call.request.query, queries.PLAYED_OF_MODEL_VERSIONS, call.request.path)
        shown = views.shown(call.request.query, of_registry=True)
        stage = call.request.query.get("stage")
        found = [one for one in self._versions(call["name"]) if one.properties["isArchived"] in shown]
        found = [one for one in found if not stage or one.properties.get("stage") == stage]
        return paging.page(call, self.site, found, key=lambda one: one.version, shown=self._body)

    def _get(self, call: Call) -> Response:
        shared = self.all.get(f"{call['name']}:{call['version']}")
        return answer(self._body(shared)) if shared else self._missing(call)

    def _missing(self, call: Call) -> Response:
        version = f" version {call.names['version']}" if "version" in call.names else ""
        return self._refused(404, f"Model {call['name']}{version} is not in registry {self.site.own_registry}.", "NotFoundError")

    def _refused(self, status: int, message: str, inner: str) -> Response:
        return registry_errors.refusal(self.ground, status, message, inner=inner)

    def _versions(self, name: str) -> list[Model]:
        """Return all versions of a name, the newest first."""
        return [one for one in reversed(self.all.values()) if one.name == name]

    def _archived(self, name: str) -> bool:
        return all(one.properties["isArchived"] for one in self._versions(name))

    def _id(self, name: str, version: str) -> str:
        return f"azureml://registries/{self.site.own_registry}/models/{name}/versions/{version}"

    def _body(self, shared: Model) -> Json:
        data = sites.system_data(shared.created, shared.modified)
        identity = self._id(shared.name, shared.version)
        return {"id": identity, "name": shared.version, "type": "models", "properties": shared.properties, "systemData": data}

    def _container_body(self, name: str) -> Json:
        versions, archived = self._versions(name), self._archived(name)
        properties: Json = {"description": None, "tags": {}, "properties": {}, "isArchived": archived, "latestVersion": versions[0].version}
        data = sites.system_data(versions[-1].created, versions[0].modified)
        return {
            "id": self._id(name, "").removesuffix("/versions/"),
            "name": name,
            "type": "models",
            "properties": properties,
            "systemData": data,
        }
