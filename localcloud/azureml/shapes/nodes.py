"""
A node of a pipeline job. Microsoft's types say nothing of it (any value); this is what azure-ai-ml writes for a node that is a component.

Read in the source of azure-ai-ml 1.35.2: entities/_builders/base_node.py and pipeline.py, entities/_job/pipeline/_io. Node inputs and
outputs are spelled in snake_case; older clients spelled the discriminator `type` or `jobInputType`, and a bare text is a literal.
"""

from __future__ import annotations

from typing import Any

from msgspec import field

from localcloud.azureml.shapes import common, words
from localcloud.azureml.shapes.shape import Elsewhere, Fields

Literal = str | int | float | bool


class Input(Fields, frozen=True, kw_only=True, rename=None):
    """A value, or where files are; `${{parent.inputs.x}}` as a value binds it to an input of the pipeline."""

    job_input_type: words.Kind | None = None
    type: words.Kind | None = None
    job_input_type_2022: words.Kind | None = field(default=None, name="jobInputType")
    value: Literal | None = None
    uri: common.Word | None = None
    mode: words.NodeMode | None = None
    description: str | None = None
    path_on_compute: str | None = None

    def __post_init__(self) -> None:
        kind = self.kind
        if kind is words.Kind.LITERAL:
            if self.uri is not None:
                raise ValueError("is a literal and has a uri; set value, or another job_input_type")
        elif self.uri is None or self.value is not None:
            raise ValueError(f"is a {kind} and needs a uri, and no value")

    @property
    def kind(self) -> words.Kind:
        return (self.job_input_type or self.type or self.job_input_type_2022 or words.Kind.LITERAL).today


class Output(Fields, frozen=True, kw_only=True, rename=None):
    """What becomes of an output; `${{parent.outputs.x}}` as a value makes it the pipeline's."""

    job_output_type: words.Kind | None = None
    type: words.Kind | None = None
    job_output_type_2022: words.Kind | None = field(default=None, name="jobOutputType")
    value: str | None = None
    uri: str | None = None
    mode: words.NodeMode | None = None
    name: str | None = None  # under which it is registered
    version: str | None = None
    description: str | None = None
    path_on_compute: str | None = None


class Component(Fields, frozen=True, kw_only=True, rename=None, tag_field="type", tag="pipeline"):
    """A node that is a pipeline component."""

    component_id: str = field(name="componentId")
    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    comment: str | None = None
    tags: common.Texts | None = None
    properties: dict[str, Any] | None = None
    inputs: dict[str, Input | Literal | None] | None = None
    outputs: dict[str, Output | str | None] | None = None
    compute_id: str | None = field(default=None, name="computeId")
    source: str | None = field(default=None, name="_source")
    schema: str | None = field(default=None, name="$schema")
    experiment_name: str | None = None
    resources: dict[str, Any] | None = None
    environment_variables: common.Texts | None = None
    identity: dict[str, Any] | None = None
    services: dict[str, Any] | None = None
    is_control_flow: bool | None = None


class Command(Elsewhere, frozen=True, tag_field="type", tag="command"): ...


class Sweep(Elsewhere, frozen=True, tag_field="type", tag="sweep"): ...


class Parallel(Elsewhere, frozen=True, tag_field="type", tag="parallel"): ...


class AutoML(Elsewhere, frozen=True, tag_field="type", tag="automl"): ...


class Import(Elsewhere, frozen=True, tag_field="type", tag="import"): ...


class Spark(Elsewhere, frozen=True, tag_field="type", tag="spark"): ...


class DataTransfer(Elsewhere, frozen=True, tag_field="type", tag="data_transfer"): ...


class FineTuning(Elsewhere, frozen=True, tag_field="type", tag="finetuning"): ...


class DoWhile(Elsewhere, frozen=True, tag_field="type", tag="do_while"): ...


class IfElse(Elsewhere, frozen=True, tag_field="type", tag="if_else"): ...


class ParallelFor(Elsewhere, frozen=True, tag_field="type", tag="parallel_for"): ...


Node = Component | Command | Sweep | Parallel | AutoML | Import | Spark | DataTransfer | FineTuning | DoWhile | IfElse | ParallelFor


class Settings(Fields, frozen=True, kw_only=True, rename=None):
    """Settings of a pipeline (entities/_job/pipeline/pipeline_job_settings.py); Microsoft's types say nothing of them either."""

    default_compute: str | None = None
    default_datastore: str | None = None
    default_code: str | None = None
    default_environment: str | None = None
    continue_on_step_failure: bool | None = None
    continue_run_on_failed_optional_input: bool | None = None
    force_rerun: bool | None = None
    on_init: str | None = None
    on_finalize: str | None = None
    source: str | None = field(default=None, name="_source")
