"""
What a pipeline job may ask for: one node of the fine-tuning component, its inputs checked one by one before anything starts.

The SDK checks none of this; Azure does, part of it only after the machine is paid for. Here all of it is refused at the PUT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localcloud.azureml import component, computes
from localcloud.azureml.wire import Json, Refused, known_only, mapping, text_map

if TYPE_CHECKING:
    from localcloud.azureml.computes import Computes
    from localcloud.azureml.registry import Registry

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9\-_]{0,254}")
FIELDS = frozenset({
    "jobType", "displayName", "experimentName", "tags", "properties", "isArchived", "inputs", "outputs", "jobs", "settings",
    "description", "computeId", "componentId", "services", "identity", "notificationSetting", "sourceJobId", "status",
})  # fmt: skip
NODE_FIELDS = frozenset({
    "name", "type", "_source", "componentId", "inputs", "outputs", "computeId", "display_name", "description", "tags", "properties",
    "comment", "$schema", "experiment_name", "resources", "environment_variables", "identity", "is_control_flow",
})  # fmt: skip
_PARENT_INPUT = re.compile(r"\$\{\{\s*parent\.inputs\.([A-Za-z0-9_]+)\s*\}\}")
_PARENT_OUTPUT = re.compile(r"\$\{\{\s*parent\.outputs\.([A-Za-z0-9_]+)\s*\}\}")
_COMPUTE_INPUTS = ("compute_model_import", "compute_preprocess", "compute_finetune", "compute_model_evaluation")


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the trainer shall do, checked."""

    literals: Mapping[str, str]  # every literal input, defaults filled in
    assets: Mapping[str, str]  # input name -> uri
    outputs: Mapping[str, str]  # output of the pipeline -> output of the component

    @property
    def cluster(self) -> str | None:
        """The cluster that trains; None: serverless."""
        name = self.literals["compute_finetune"]
        return None if name == computes.SERVERLESS else name


def check(name: str, body: Json, registry: Registry, clusters: Computes) -> Order:
    """Return the order in the body of a PUT; what Azure or its component refuses is refused with a sentence."""
    if not NAME.fullmatch(name):
        raise Refused(400, "UserError", f"The job name '{name}' is invalid; use letters, digits, - and _, at most 255.")
    known_only(body, frozenset({"properties", "id", "name", "type", "systemData"}), "A job")
    properties = mapping(body, "properties", "A job")
    known_only(properties, FIELDS, "A job's properties")
    if properties.get("jobType") != "Pipeline":
        message = f"The local cloud runs jobs of jobType Pipeline only, and this is {properties.get('jobType')!r}."
        raise Refused(501, "NotImplementedByLocalCloud", message)
    for key in ("tags", "properties"):
        text_map(properties, key, "A job")
    nodes = mapping(properties, "jobs", "A job")
    if len(nodes) != 1:
        message = f"The local cloud runs a pipeline of one node, {component.NAME}; this one has {len(nodes)}."
        raise Refused(501, "NotImplementedByLocalCloud", message)
    node_name, node = next(iter(nodes.items()))
    known_only(node, NODE_FIELDS, f"The node {node_name}")
    if not registry.has_component(str(node.get("componentId"))):
        known = f"{component.NAME} {registry.site.world.component_version}"
        message = f"The component {node.get('componentId')} of node {node_name} was not found; use {known}."
        raise Refused(400, "UserError", message, detail="ComponentNotFound")
    literals, assets = _inputs(node, mapping(properties, "inputs", "A job"))
    order = Order(literals=literals, assets=assets, outputs=_outputs(node, mapping(properties, "outputs", "A job")))
    _check_base_model(order, registry)
    _check_computes(order, clusters)
    return order


def _inputs(node: Json, of_pipeline: Json) -> tuple[dict[str, str], dict[str, str]]:
    literals, assets = component.defaults(), {}
    for name, given in mapping(node, "inputs", "A node").items():
        component.check_name(name)
        kind, value = _value(name, given, of_pipeline)
        if value is None:
            raise Refused(400, "UserError", f"The input {name} has no value; give it one or leave it out.")
        if kind == "literal":
            literals[name] = component.check_literal(name, value)
        else:
            component.check_asset(name, kind)
            assets[name] = str(value)
    return literals, assets


def _value(name: str, given: Any, of_pipeline: Json) -> tuple[str, Any]:
    """Return kind and value; node inputs are spelled in snake_case, the pipeline's in camelCase."""
    if not isinstance(given, dict):
        return "literal", given
    kind = str(given.get("job_input_type") or given.get("type") or given.get("jobInputType") or "literal").lower()
    if kind != "literal":
        return kind, given.get("uri")
    value = given.get("value")
    bound = _PARENT_INPUT.fullmatch(str(value).strip())
    if bound is None:
        return "literal", value
    if bound[1] not in of_pipeline:
        raise Refused(400, "UserError", f"The input {name} is bound to {bound[1]}, which the pipeline does not have.")
    return _value(name, of_pipeline[bound[1]], {})


def _outputs(node: Json, of_pipeline: Json) -> dict[str, str]:
    bound: dict[str, str] = {}
    for name, given in mapping(node, "outputs", "A node").items():
        if name not in component.OUTPUTS:
            known = ", ".join(component.OUTPUTS)
            raise Refused(400, "UserError", f"The component {component.NAME} has no output {name}; it has {known}.")
        value = given.get("value") if isinstance(given, dict) else given
        match = _PARENT_OUTPUT.fullmatch(str(value).strip())
        if match and match[1] in of_pipeline:
            bound[match[1]] = name
    return bound


def _check_base_model(order: Order, registry: Registry) -> None:
    uri = order.assets.get("mlflow_model_path")
    if uri is None:
        message = "The job names no base model; set mlflow_model_path to azureml://registries/azureml/models/<name>/versions/<version>."
        raise Refused(400, "UserError", message, detail="ModelNotFound")
    refusal = registry.refusal(uri)
    if refusal is not None:
        raise Refused(400, "UserError", refusal, detail="ModelNotFound")


def _check_computes(order: Order, clusters: Computes) -> None:
    for name in _COMPUTE_INPUTS:
        compute = order.literals[name]
        if compute not in {computes.SERVERLESS, *clusters.names}:
            message = f"The compute '{compute}' of input {name} was not found; use {', '.join(clusters.names)} or serverless."
            raise Refused(400, "UserError", message, detail="ComputeNotFound")
