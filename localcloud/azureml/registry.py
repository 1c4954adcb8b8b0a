"""
The public registry `azureml` as far as this flow needs it: the base models of a world and one component, with their tags and oddities.

Which models there are and where their allow-lists stand is the world's business (worlds.py); this is how the registry shows them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from localcloud.azureml import component, paging, registry_errors, views
from localcloud.azureml import site as sites
from localcloud.azureml.routes import REGISTRY, Call, Handler, Route
from localcloud.azureml.shapes import queries
from localcloud.azureml.wire import Json, Response, answer
from localcloud.azureml.worlds import PLACES, BaseModel, Place

if TYPE_CHECKING:
    from localcloud.azureml.ground import Ground

_REGISTRY = (
    "/mferp/managementfrontend/subscriptions/{subscription}/resourceGroups/{group}"
    "/providers/Microsoft.MachineLearningServices/registries/{registry}"
)
_PUBLISHED = datetime(2026, 6, 2, tzinfo=UTC)  # the day on which Phi-3 was archived; one date is enough here
_VERSION_DIGITS = 12  # versions are numbers in text; filled up with zeros they sort as numbers do
_LISTS = {"finetune": "finetune_compute_allow_list", "inference": "inference_compute_allow_list"}  # tags


class _Shown(NamedTuple):
    model: BaseModel
    listed: bool  # a list shows it when no view is asked for


class Registry:
    """Models and components that are there for everybody."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.site = ground.site

    def routes(self) -> list[Route]:
        discovery = Route(
            method="GET",
            path="/registrymanagement/v1.0/registries/{registry}/discovery",
            handler=self._discovery,
            versions=None,
            does="where a registry is",
        )
        return [discovery, *(replace(route, handler=self._if_ours(route.handler)) for route in self._of_the_registry())]

    def _if_ours(self, handler: Handler) -> Handler:
        def answer_if_ours(call: Call) -> Response:
            return handler(call) if call["registry"].lower() == self.site.registry else self._no_registry(call)

        return answer_if_ours

    def _no_registry(self, call: Call) -> Response:
        ours = f"{self.site.registry} and {self.site.own_registry}"
        return self._not_found(f"Registry {call['registry']} not found; the local cloud has {ours}.")

    def _of_the_registry(self) -> list[Route]:
        version = "/versions/{version}"
        return [
            Route(
                method="GET",
                path=_REGISTRY + "/models",
                handler=self._model_names,
                versions=REGISTRY,
                query=queries.MODELS,
                does="the base models' names",
            ),
            Route(
                method="GET",
                path=_REGISTRY + "/components",
                handler=self._component_names,
                versions=REGISTRY,
                query=queries.COMPONENTS,
                does="the components' names",
            ),
            Route(
                method="GET",
                path=_REGISTRY + "/models/{name}/versions",
                handler=self._models,
                versions=REGISTRY,
                query=queries.MODEL_VERSIONS,
                does="versions of a base model",
            ),
            Route(method="GET", path=_REGISTRY + "/models/{name}" + version, handler=self._model, versions=REGISTRY, does="one base model"),
            Route(
                method="GET",
                path=_REGISTRY + "/components/{name}/versions",
                handler=self._components,
                versions=REGISTRY,
                query=queries.COMPONENT_VERSIONS,
                does="versions of the component",
            ),
            Route(
                method="GET",
                path=_REGISTRY + "/components/{name}" + version,
                handler=self._component,
                versions=REGISTRY,
                does="one component",
            ),
            Route(method="GET", path=_REGISTRY + "/models/{name}", handler=self._model_name, versions=REGISTRY, does="a base model's name"),
            *(
                Route(method=method, path=_REGISTRY + path, handler=self._read_only, versions=REGISTRY, does="refused: it is public")
                for method, path in (("PUT", "/models/{name}"), ("PUT", "/models/{name}" + version), ("POST", "/import"))
            ),
        ]

    def refusal(self, asset_id: str) -> str | None:
        """Return why no job may start from `azureml://registries/…/models/…/versions/…`; None: one may."""
        for key in self.site.world.models:
            if asset_id != self._asset("models", *key):
                continue
            shown = self._shown(*key)
            if shown is None or shown.model.retired:
                return f"The base model {asset_id} is retired; choose another one."
            return None
        return f"The base model {asset_id} was not found in the registry."

    def has_component(self, asset_id: str) -> bool:
        """Say whether the id names the component, by version or by its label."""
        ours = self._asset("components", component.NAME, self.site.world.component_version)
        return asset_id in {ours, ours.rsplit("/versions/", 1)[0] + "/labels/latest"}

    def _asset(self, kind: str, name: str, version: str) -> str:
        return f"azureml://registries/{self.site.registry}/{kind}/{name}/versions/{version}"

    def _discovery(self, call: Call) -> Response:
        if call["registry"] not in (self.site.registry, self.site.own_registry):
            return self._no_registry(call)
        body = {
            "registryName": call["registry"],
            "tenantId": sites.TENANT,
            "primaryRegion": self.site.location,
            "regions": [self.site.location],
            "subscriptionId": sites.REGISTRY_SUBSCRIPTION,
            "resourceGroup": "registry-rg",
            "workspaceName": None,
            "primaryRegionResourceProviderUri": self.site.base + "/",  # clients join strings, so it ends in a slash
        }
        return answer(body)

    def _model_names(self, call: Call) -> Response:
        latest = dict(reversed(list(self._listed(call))))
        return paging.page(call, self.site, list(latest.items()), key=lambda one: one[0], shown=lambda one: self._container("models", *one))

    def _model_name(self, call: Call) -> Response:
        latest = next(iter(self._listed(call, call["name"])), None)
        if latest is None:
            return self._not_found(f"Model {call['name']} is not in registry {self.site.registry}.")
        return answer(self._container("models", *latest))

    def _models(self, call: Call) -> Response:
        found = list(self._listed(call, call["name"]).items())
        return paging.page(call, self.site, found, key=lambda one: one[0][1], shown=lambda one: self._model_body(*one[0], one[1]))

    def _listed(self, call: Call, wanted: str | None = None) -> dict[tuple[str, str], BaseModel]:
        """Return what a list shows by name and version, the newest first; `wanted` None: of every name."""
        query = call.request.query
        view = views.shown(query, of_registry=True) if "listViewType" in query else None
        found = {}
        for key in sorted(self.site.world.models, key=lambda key: (key[1].zfill(_VERSION_DIGITS), key[0]), reverse=True):
            shown = self._shown(*key) if wanted in {None, key[0]} else None
            if shown is not None and (shown.listed if view is None else shown.model.archived in view):
                found[key] = shown.model
        return found

    def _model(self, call: Call) -> Response:
        key = (call["name"], call["version"])
        shown = self._shown(*key)
        if shown is None:
            return self._not_found(f"Model {key[0]} version {key[1]} is not in registry {self.site.registry}.")
        return answer(self._model_body(*key, shown.model))

    def _shown(self, name: str, version: str) -> _Shown | None:
        """Return the model as the world, the plan of faults and the switches have it now; None: it cannot be had."""
        model, faults = self.site.world.models.get((name, version)), self.ground.faults
        if model is None or faults.take("base_model_retired", name=name) is not None:
            return None
        hidden = faults.take("base_model_archived", name=name) is not None
        undeclared = faults.take("base_model_undeclared_defaults", name=name)
        placed = faults.take("base_model_allow_lists", name=name)
        model = replace(
            model,
            archived=model.archived or hidden,
            defaults={**model.defaults, **(undeclared["defaults"] if undeclared else {})},
            allow_lists=_places(placed["place"]) if placed else model.allow_lists,
        )
        if model.archived and self.ground.switches.archived_model == "refused":
            return None
        return _Shown(model, listed=not hidden and (self.site.world.archived_is_listed or not model.archived))

    def _component_names(self, call: Call) -> Response:
        found = [self._container("components", component.NAME, self.site.world.component_version)]
        return paging.page(call, self.site, found, key=lambda one: str(one["name"]), shown=dict)

    def _components(self, call: Call) -> Response:
        found = [self._component_body()] if call["name"] == component.NAME else []
        return paging.page(call, self.site, found, key=lambda one: str(one["name"]), shown=dict)

    def _component(self, call: Call) -> Response:
        if (call["name"], call["version"]) != (component.NAME, self.site.world.component_version):
            message = f"Component {call['name']} version {call['version']} is not in registry {self.site.registry}."
            return self._not_found(message)
        return answer(self._component_body())

    def _model_body(self, name: str, version: str, model: BaseModel) -> Json:
        properties = {
            "description": f"{name}, as the local cloud stands in for it.",
            "tags": _tags(model),
            "properties": {"finetuning-tasks": "chat-completion", **_sku_properties(model)},
            "isArchived": model.archived,
            "isAnonymous": False,
            "flavors": {"hftransformersv2": {"data": {"task_type": "chat-completion"}}, "python_function": {"data": {}}},
            "modelType": "mlflow_model",
            "modelUri": f"{self._asset('models', name, version)}/mlflow_model_folder",
            "jobName": None,
            "system_metadata": _system_metadata(model),
        }
        return self._body("models", name, version, properties)

    def _component_body(self) -> Json:
        properties = {
            "description": "",
            "tags": {},
            "properties": {},
            "isArchived": False,
            "isAnonymous": False,
            "componentSpec": component.spec(self.site.world.component_version),
        }
        return self._body("components", component.NAME, self.site.world.component_version, properties)

    def _body(self, kind: str, name: str, version: str, properties: Json) -> Json:
        return {
            "id": self._asset(kind, name, version),
            "name": version,
            "type": kind,
            "properties": properties,
            "systemData": sites.system_data(_PUBLISHED, _PUBLISHED),
        }

    def _container(self, kind: str, name: str, latest: str) -> Json:
        """Return a name with its newest version, as lists of names show it."""
        properties = {"description": "", "tags": {}, "properties": {}, "isArchived": False, "latestVersion": latest}
        body = self._body(kind, name, latest, properties)
        return body | {"id": body["id"].rsplit("/versions/", 1)[0], "name": name}

    def _read_only(self, call: Call) -> Response:
        message = f"The registry {self.site.registry} is public and takes no {call.request.method}; use {self.site.own_registry}."
        return registry_errors.refusal(self.ground, 403, message, inner="Forbidden", code="AuthorizationFailed")

    def _not_found(self, message: str) -> Response:
        return registry_errors.refusal(self.ground, 404, message, inner="NotFoundError")


def _places(given: str) -> tuple[Place, ...]:
    """Return the place that a fault names, which may be nowhere."""
    return tuple(place for place in PLACES if place == given)


def _tags(model: BaseModel) -> Json:
    """Return the tags, which hold text only: a list or an object is in them as Python spells it, or as JSON."""
    spelled = json.dumps if model.defaults_spelling == "json" else str
    tags = {"task": "chat-completion", "license": model.license, "model_specific_defaults": spelled(dict(model.defaults)), **model.dates}
    if "tags" in model.allow_lists:
        tags |= {tag: spelled(list(getattr(model, use))) for use, tag in _LISTS.items()}
    return tags


def _sku_properties(model: BaseModel) -> Json:
    if "properties" not in model.allow_lists:
        return {}
    return {
        "finetune-recommended-sku": ", ".join(model.finetune),
        "finetune-min-sku-spec": model.finetune_minimum,
        "inference-recommended-sku": ", ".join(model.inference),
        "inference-min-sku-spec": model.inference_minimum,
    }


def _system_metadata(model: BaseModel) -> Json:
    if "system_metadata" not in model.allow_lists:
        return {}
    return {
        "supportedComputes": {"finetuneComputes": list(model.finetune), "inferenceComputes": list(model.inference)},
        "SKU": {"finetuneMinSkuSpec": model.finetune_minimum, "inferenceMinSkuSpec": model.inference_minimum},
    }
