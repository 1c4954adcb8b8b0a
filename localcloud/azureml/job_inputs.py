"""
What a pipeline job may ask for: one node of the fine-tuning component, its inputs checked one by one before anything starts.

The SDK checks none of this; Azure does, part of it only after the machine is paid for. Here all of it is refused at the PUT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from localcloud.azureml import component
from localcloud.azureml.records import Order
from localcloud.azureml.shapes import jobs, nodes, words
from localcloud.azureml.shapes.shape import unplayed
from localcloud.azureml.sizes import SERVERLESS
from localcloud.azureml.wire import Json, Refused

if TYPE_CHECKING:
    from localcloud.azureml.computes import Computes
    from localcloud.azureml.registry import Registry

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9\-_]{0,254}")
_PARENT_INPUT = re.compile(r"\$\{\{\s*parent\.inputs\.([A-Za-z0-9_]+)\s*\}\}")
_PARENT_OUTPUT = re.compile(r"\$\{\{\s*parent\.outputs\.([A-Za-z0-9_]+)\s*\}\}")
_COMPUTE = re.compile(r"azureml:|/subscriptions/.*/computes/", re.IGNORECASE)  # before the name, in the forms that azure-ai-ml writes
_COMPUTE_INPUTS = ("compute_model_import", "compute_preprocess", "compute_finetune", "compute_model_evaluation")


def read(name: str, body: Json, version: str) -> jobs.Pipeline | jobs.Command:
    """Return the job in the body of a PUT, as far as its shape goes."""
    if not NAME.fullmatch(name):
        raise Refused(400, "UserError", f"The job name '{name}' is invalid; use letters, digits, - and _, at most 255.")
    asked = jobs.JOB.read(body, version=version, name=name).properties
    assert isinstance(asked, jobs.Pipeline | jobs.Command)
    return asked


def check(asked: jobs.Pipeline, registry: Registry, clusters: Computes) -> Order:
    """Return the order of a pipeline; what Azure or its component refuses is refused with a sentence."""
    _check_played(asked)
    node_name, node = _only_node(asked)
    if not registry.has_component(node.component_id):
        known = f"{component.NAME} {registry.site.world.component_version}"
        message = f"The component {node.component_id} of node {node_name} was not found; use {known}."
        raise Refused(400, "UserError", message, detail="ComponentNotFound")
    literals, assets = _inputs(node, asked.inputs or {})
    outputs = _outputs(node, asked.outputs or {})
    order = Order(literals=literals, assets=assets, outputs=outputs, places=_places(outputs, asked.outputs or {}))
    _check_base_model(order, registry)
    _check_computes(order, clusters)
    _check_named_computes(asked, node_name, node, clusters)
    return order


def _check_played(asked: jobs.Pipeline) -> None:
    """What would change what happens must not be taken in silence."""
    settings = asked.settings or nodes.Settings()
    unplayed(
        {
            **unplayed_of_any(asked),
            "properties.sourceJobId": asked.source_job_id,
            "properties.settings.on_init": settings.on_init,
            "properties.settings.on_finalize": settings.on_finalize,
        }
    )


def unplayed_of_any(asked: jobs.Pipeline | jobs.Command) -> dict[str, object]:
    """Return the fields of any kind of job that Azure takes and nothing here plays."""
    notices = asked.notification_setting or jobs.Notification()
    return {
        "properties.componentId": asked.component_id,
        "properties.schedule": asked.schedule,
        "properties.parentJobName": asked.parent_job_name,
        "properties.secretsConfiguration": asked.secrets_configuration,
        "properties.notificationSetting.emails": notices.emails,
        "properties.notificationSetting.webhooks": notices.webhooks,
    }


def _only_node(asked: jobs.Pipeline) -> tuple[str, nodes.Component]:
    found = list((asked.jobs or {}).items())
    if len(found) != 1:
        message = f"The local cloud runs a pipeline of one node, {component.NAME}; this one has {len(found)}."
        raise Refused(501, "NotImplementedByLocalCloud", message, target="properties.jobs")
    name, node = found[0]
    assert isinstance(node, nodes.Component)
    return name, node


def _inputs(node: nodes.Component, of_pipeline: Mapping[str, jobs.Input | None]) -> tuple[dict[str, str], dict[str, str]]:
    literals, assets = component.defaults(), {}
    for name, given in (node.inputs or {}).items():
        component.check_name(name)
        kind, value = _value(name, given, of_pipeline)
        if value is None:
            raise Refused(400, "UserError", f"The input {name} has no value; give it one or leave it out.")
        if kind is words.Kind.LITERAL:
            literals[name] = component.check_literal(name, value)
        else:
            component.check_asset(name, kind.value)
            assets[name] = str(value)
    return literals, assets


def _value(
    name: str, given: nodes.Input | jobs.Input | nodes.Literal | None, of_pipeline: Mapping[str, jobs.Input | None]
) -> tuple[words.Kind, nodes.Literal | None]:
    """Return kind and value; an input that is bound has those of the pipeline's."""
    if not isinstance(given, nodes.Input | jobs.Input):
        return words.Kind.LITERAL, given
    if given.kind is not words.Kind.LITERAL:
        return given.kind, given.uri
    bound = _PARENT_INPUT.fullmatch(str(given.value).strip())
    if bound is None:
        return words.Kind.LITERAL, given.value
    if bound[1] not in of_pipeline:
        raise Refused(400, "UserError", f"The input {name} is bound to {bound[1]}, which the pipeline does not have.")
    return _value(name, of_pipeline[bound[1]], {})


def _outputs(node: nodes.Component, of_pipeline: Mapping[str, jobs.Output | None]) -> dict[str, str]:
    bound: dict[str, str] = {}
    for name, given in (node.outputs or {}).items():
        if name not in component.OUTPUTS:
            known = ", ".join(component.OUTPUTS)
            raise Refused(400, "UserError", f"The component {component.NAME} has no output {name}; it has {known}.")
        value = given.value if isinstance(given, nodes.Output) else given
        if value is None:
            continue
        match = _PARENT_OUTPUT.fullmatch(value.strip())
        if match is None or match[1] not in of_pipeline:
            known = ", ".join(of_pipeline) or "none"
            raise Refused(400, "UserError", f"The output {name} is bound to '{value}'; the pipeline's outputs are {known}.")
        if match[1] in bound:
            message = f"The outputs {bound[match[1]]} and {name} are both bound to {match[1]}; bind each to an output of its own."
            raise Refused(400, "UserError", message)
        bound[match[1]] = name
    return bound


def _places(bound: Mapping[str, str], of_pipeline: Mapping[str, jobs.Output | None]) -> dict[str, str]:
    """Return where the outputs go that name a place. Azure fills in its words such as ${{name}}; here a place is written out."""
    given = {of_component: of_pipeline[name] for name, of_component in bound.items()}
    places = {name: output.uri for name, output in given.items() if output is not None and output.uri}
    unplayed({f"properties.outputs with {uri}": "${{" in uri for uri in places.values()})
    return places


def _check_base_model(order: Order, registry: Registry) -> None:
    uri = order.assets.get("mlflow_model_path")
    if uri is None:
        message = "The job names no base model; set mlflow_model_path to azureml://registries/azureml/models/<name>/versions/<version>."
        raise Refused(400, "UserError", message, detail="ModelNotFound")
    refusal = registry.refusal(uri)
    if refusal is not None:
        raise Refused(400, "UserError", refusal, detail="ModelNotFound")


def _check_named_computes(asked: jobs.Pipeline, node_name: str, node: nodes.Component, clusters: Computes) -> None:
    """Where the steps run is a matter of the component's inputs; a compute that is named elsewhere must exist all the same."""
    settings = asked.settings or nodes.Settings()
    places = {
        "properties.computeId": asked.compute_id,
        "properties.settings.default_compute": settings.default_compute,
        f"properties.jobs.{node_name}.computeId": node.compute_id,
    }
    for path, named in places.items():
        compute_of(path, named, clusters)


def compute_of(path: str, named: str | None, clusters: Computes) -> str:
    """Return the name of the compute in the forms that clients write; one that is not there is refused with the field's path."""
    compute = _COMPUTE.sub("", named or SERVERLESS)
    if compute not in {SERVERLESS, *clusters.names}:
        message = f"The compute '{named}' of {path} was not found; use {', '.join(clusters.names)} or serverless."
        raise Refused(400, "UserError", message, detail="ComputeNotFound", target=path)
    return compute


def _check_computes(order: Order, clusters: Computes) -> None:
    for name in _COMPUTE_INPUTS:
        compute = order.literals[name]
        if compute not in {SERVERLESS, *clusters.names}:
            message = f"The compute '{compute}' of input {name} was not found; use {', '.join(clusters.names)} or serverless."
            raise Refused(400, "UserError", message, detail="ComputeNotFound")
