"""
The public registry `azureml` as far as this flow needs it: two base models and one component, with today's tags and oddities.

Phi-3-mini-4k-instruct 15 is archived and its defaults name two keys that the component does not declare, as in the real one.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from localcloud.azureml import component
from localcloud.azureml import site as sites
from localcloud.azureml.routes import REGISTRY, Call, Route
from localcloud.azureml.wire import Json, Response, answer

if TYPE_CHECKING:
    from localcloud.azureml.site import Site

_REGISTRY = (
    "/mferp/managementfrontend/subscriptions/{subscription}/resourceGroups/{group}"
    "/providers/Microsoft.MachineLearningServices/registries/{registry}"
)
_A100 = [f"Standard_{size}" for size in ("NC24ads_A100_v4", "NC48ads_A100_v4", "NC96ads_A100_v4", "ND96asr_v4", "ND96amsr_A100_v4")]
_H100 = [f"Standard_{size}" for size in ("NC40ads_H100_v5", "NC80adis_H100_v5", "ND96isr_H100_v5")]
_V100 = [f"Standard_{size}" for size in ("NC6s_v3", "NC12s_v3", "NC24s_v3", "ND40rs_v2")]
_PUBLISHED = datetime(2026, 6, 2, tzinfo=UTC)  # the day on which Phi-3 was archived; one date is enough here

# The defaults are text in a tag; numbers such as 5e-6 are text inside it, because YAML 1.1 reads them so.
_COMMON_DEFAULTS = {
    "apply_deepspeed": "true",
    "apply_lora": "true",
    "apply_ort": "false",
    "precision": 16,
    "ignore_mismatched_sizes": "false",
    "num_train_epochs": 1,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "learning_rate": "5e-6",
    "lr_scheduler_type": "cosine",
    "logging_strategy": "steps",
    "logging_steps": 10,
    "save_total_limit": 1,
}
_MODELS: dict[tuple[str, str], Json] = {
    ("Phi-3-mini-4k-instruct", "15"): {
        "archived": True,
        "license": "mit",
        "defaults": _COMMON_DEFAULTS | {"deepspeed_stage": 2, "learning_rate_min": "5e-7", "learning_rate_max": "5e-5"},
        "finetune": _A100,
        "inference": _A100 + _V100,
        "inference_minimum": "6|1|112|64",
    },
    ("Phi-4", "8"): {
        "archived": False,
        "license": "mit",
        "defaults": _COMMON_DEFAULTS | {"deepspeed_stage": 3},
        "finetune": _A100 + _H100,
        "inference": _A100 + _H100,
        "inference_minimum": "24|1|220|64",
    },
}


class Registry:
    """Models and components that are there for everybody."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def routes(self) -> list[Route]:
        version = "/versions/{version}"
        return [
            Route(
                method="GET",
                path="/registrymanagement/v1.0/registries/{registry}/discovery",
                handler=self._discovery,
                versions=None,
            ),
            Route(method="GET", path=_REGISTRY + "/models/{name}/versions", handler=self._models, versions=REGISTRY),
            Route(method="GET", path=_REGISTRY + "/models/{name}" + version, handler=self._model, versions=REGISTRY),
            Route(method="GET", path=_REGISTRY + "/components/{name}/versions", handler=self._components, versions=REGISTRY),
            Route(method="GET", path=_REGISTRY + "/components/{name}" + version, handler=self._component, versions=REGISTRY),
        ]

    def has_model(self, asset_id: str) -> bool:
        """Say whether `azureml://registries/…/models/…/versions/…` names one of these models."""
        return any(asset_id == self._asset("models", *key) for key in _MODELS)

    def has_component(self, asset_id: str) -> bool:
        """Say whether the id names the component, by version or by its label."""
        ours = self._asset("components", component.NAME, component.VERSION)
        return asset_id in {ours, ours.rsplit("/versions/", 1)[0] + "/labels/latest"}

    def _asset(self, kind: str, name: str, version: str) -> str:
        return f"azureml://registries/{self.site.registry}/{kind}/{name}/versions/{version}"

    def _discovery(self, call: Call) -> Response:
        if call["registry"] != self.site.registry:
            return self._not_found(f"Registry {call['registry']} not found; the local cloud has {self.site.registry}.")
        body = {
            "registryName": self.site.registry,
            "tenantId": sites.TENANT,
            "primaryRegion": self.site.location,
            "regions": [self.site.location],
            "subscriptionId": sites.REGISTRY_SUBSCRIPTION,
            "resourceGroup": "registry-rg",
            "workspaceName": None,
            "primaryRegionResourceProviderUri": self.site.base + "/",  # clients join strings, so it ends in a slash
        }
        return answer(body)

    def _models(self, call: Call) -> Response:
        found = [self._model_body(*key) for key in _MODELS if key[0] == call["name"]]
        return answer({"value": found[: _top(call)]})

    def _model(self, call: Call) -> Response:
        key = (call["name"], call["version"])
        if key not in _MODELS:
            return self._not_found(f"Model {key[0]} version {key[1]} is not in registry {self.site.registry}.")
        return answer(self._model_body(*key))

    def _components(self, call: Call) -> Response:
        found = [self._component_body()] if call["name"] == component.NAME else []
        return answer({"value": found[: _top(call)]})

    def _component(self, call: Call) -> Response:
        if (call["name"], call["version"]) != (component.NAME, component.VERSION):
            message = f"Component {call['name']} version {call['version']} is not in registry {self.site.registry}."
            return self._not_found(message)
        return answer(self._component_body())

    def _model_body(self, name: str, version: str) -> Json:
        facts = _MODELS[name, version]
        tags = {
            "task": "chat-completion",
            "license": facts["license"],
            "model_specific_defaults": str(facts["defaults"]),  # Python's spelling, not JSON
        }
        minimums = {"finetuneMinSkuSpec": "24|1|220|64", "inferenceMinSkuSpec": facts["inference_minimum"]}
        computes = {"finetuneComputes": facts["finetune"], "inferenceComputes": facts["inference"]}
        properties = {
            "description": f"{name}, as the local cloud stands in for it.",
            "tags": tags,
            "properties": {"finetuning-tasks": "chat-completion"},
            "isArchived": facts["archived"],
            "isAnonymous": False,
            "flavors": {"hftransformersv2": {"data": {"task_type": "chat-completion"}}, "python_function": {"data": {}}},
            "modelType": "mlflow_model",
            "modelUri": f"{self._asset('models', name, version)}/mlflow_model_folder",
            "jobName": None,
            "system_metadata": {"supportedComputes": computes, "SKU": minimums},
        }
        return self._body("models", name, version, properties)

    def _component_body(self) -> Json:
        properties = {
            "description": "",
            "tags": {},
            "properties": {},
            "isArchived": False,
            "isAnonymous": False,
            "componentSpec": component.spec(),
        }
        return self._body("components", component.NAME, component.VERSION, properties)

    def _body(self, kind: str, name: str, version: str, properties: Json) -> Json:
        return {
            "id": self._asset(kind, name, version),
            "name": version,
            "type": kind,
            "properties": properties,
            "systemData": sites.system_data(_PUBLISHED, _PUBLISHED),
        }

    def _not_found(self, message: str) -> Response:
        """Return the registry's own shape of an error, which is not the one of Azure Resource Manager."""
        inner = {"code": "NotFoundError", "innerError": None}
        error = {"code": "UserError", "message": message, "details": [], "innerError": inner}
        body = {
            "error": error,
            "correlation": {"operation": uuid.uuid4().hex, "request": uuid.uuid4().hex[:16]},
            "environment": self.site.location,
            "location": self.site.location,
            "time": sites.stamp(self.site.clock()),
            "componentName": "assetstore",
            "statusCode": 404,
        }
        return answer(body, 404)


def _top(call: Call) -> int:
    return int(call.request.query.get("$top", "100"))
