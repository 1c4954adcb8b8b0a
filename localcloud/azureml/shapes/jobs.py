"""A job. Of Azure's kinds the local cloud plays two, the pipeline and the command; the others are known by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from localcloud.azureml.shapes import common, nodes, words
from localcloud.azureml.shapes.shape import Elsewhere, Fields, Kinds, Shape
from localcloud.azureml.shapes.versions import Limit


class AmlToken(Fields, frozen=True, kw_only=True, tag_field="identityType", tag="AMLToken"):
    """Acts for who submitted it."""


class ManagedIdentity(Fields, frozen=True, kw_only=True, tag_field="identityType", tag="Managed"):
    client_id: common.Guid | None = None
    object_id: common.Guid | None = None
    resource_id: str | None = None


class UserIdentity(Fields, frozen=True, kw_only=True, tag_field="identityType", tag="UserIdentity"):
    """Acts as the user."""


class Webhook(Fields, frozen=True, kw_only=True):
    webhook_type: Literal["AzureDevOps"]
    event_type: str | None = None


class Notification(Fields, frozen=True, kw_only=True):
    email_on: list[words.EmailOn] | None = None
    emails: list[str] | None = None
    webhooks: dict[str, Webhook | None] | None = None


class Secret(Fields, frozen=True, kw_only=True):
    uri: str | None = None
    workspace_secret_name: str | None = None


class AllNodes(Fields, frozen=True, kw_only=True):
    """A service that runs on every node."""

    nodes_value_type: Literal["All"]


class Service(Fields, frozen=True, kw_only=True):
    endpoint: str | None = None
    job_service_type: str | None = None
    nodes: AllNodes | None = None
    port: int | None = None
    properties: common.Texts | None = None
    error_message: str | None = None
    status: str | None = None


class Cron(Fields, frozen=True, kw_only=True, tag_field="scheduleType", tag="Cron"):
    expression: common.Word
    end_time: str | None = None
    schedule_status: words.Access | None = None
    start_time: str | None = None
    time_zone: str | None = None


class Pattern(Fields, frozen=True, kw_only=True):
    hours: list[int]
    minutes: list[int]
    weekdays: list[words.Weekday] | None = None


class Recurrence(Fields, frozen=True, kw_only=True, tag_field="scheduleType", tag="Recurrence"):
    frequency: words.Frequency
    interval: int
    pattern: Pattern | None = None
    end_time: str | None = None
    schedule_status: words.Access | None = None
    start_time: str | None = None
    time_zone: str | None = None


class Input(Fields, frozen=True, kw_only=True):
    """A literal has a value; everything else has a uri."""

    job_input_type: words.Kind
    value: common.Word | None = None
    uri: common.Word | None = None
    mode: words.InputMode | None = None
    path_on_compute: str | None = None
    description: str | None = None

    @property
    def kind(self) -> words.Kind:
        return self.job_input_type.today

    def __post_init__(self) -> None:
        literal = self.kind is words.Kind.LITERAL
        if literal and (self.value is None or self.uri is not None or self.mode is not None or self.path_on_compute is not None):
            raise ValueError("is a literal and needs a value, and neither uri nor mode nor pathOnCompute")
        if not literal and (self.uri is None or self.value is not None):
            raise ValueError(f"is a {self.job_input_type} and needs a uri, and no value")


class Output(Fields, frozen=True, kw_only=True):
    job_output_type: words.Kind
    uri: str | None = None
    mode: words.OutputMode | None = None
    asset_name: str | None = None
    asset_version: str | None = None
    auto_delete_setting: common.AutoDelete | None = None
    path_on_compute: str | None = None
    description: str | None = None

    def __post_init__(self) -> None:
        if self.job_output_type.today is words.Kind.LITERAL:
            raise ValueError("is an output, which cannot be a literal; set another jobOutputType")


class _Job(Fields, frozen=True, kw_only=True):
    """What every kind of job has."""

    display_name: str | None = None
    description: str | None = None
    experiment_name: str | None = None
    tags: common.Texts | None = None
    properties: common.Texts | None = None
    is_archived: bool | None = None
    inputs: dict[str, Input | None] | None = None
    outputs: dict[str, Output | None] | None = None
    component_id: str | None = None
    compute_id: str | None = None
    identity: AmlToken | ManagedIdentity | UserIdentity | None = None
    notification_setting: Notification | None = None
    secrets_configuration: dict[str, Secret | None] | None = None
    services: dict[str, Service | None] | None = None
    parent_job_name: str | None = None
    schedule: Cron | Recurrence | None = None
    status: str | None = None


class Pipeline(_Job, frozen=True, kw_only=True, tag_field="jobType", tag="Pipeline"):
    jobs: dict[str, nodes.Node] | None = None
    settings: nodes.Settings | None = None
    source_job_id: str | None = None


class Mpi(Fields, frozen=True, kw_only=True, tag_field="distributionType", tag="Mpi"):
    process_count_per_instance: int | None = None


class PyTorch(Fields, frozen=True, kw_only=True, tag_field="distributionType", tag="PyTorch"):
    process_count_per_instance: int | None = None


class TensorFlow(Fields, frozen=True, kw_only=True, tag_field="distributionType", tag="TensorFlow"):
    parameter_server_count: int | None = None
    worker_count: int | None = None


class Ray(Fields, frozen=True, kw_only=True, tag_field="distributionType", tag="Ray"):
    address: str | None = None
    dashboard_port: int | None = None
    head_node_additional_args: str | None = None
    include_dashboard: bool | None = None
    port: int | None = None
    worker_node_additional_args: str | None = None


class Limits(Fields, frozen=True, kw_only=True):
    job_limits_type: words.LimitsType
    timeout: str | None = None  # ISO 8601


class Resources(Fields, frozen=True, kw_only=True):
    instance_count: int | None = None
    instance_type: str | None = None
    docker_args: str | None = None
    docker_args_list: list[str] | None = None
    shm_size: Annotated[str, Meta(pattern=r"\d+[bBkKmMgG]")] | None = None
    locations: list[str] | None = None
    max_instance_count: int | None = None
    properties: dict[str, Any] | None = None


class Queue(Fields, frozen=True, kw_only=True):
    job_tier: words.JobTier | None = None
    priority: int | None = None


class Autologger(Fields, frozen=True, kw_only=True):
    mlflow_autologger: words.Access


class Command(_Job, frozen=True, kw_only=True, tag_field="jobType", tag="Command"):
    command: common.Word
    environment_id: common.Word
    code_id: str | None = None
    environment_variables: common.Texts | None = None
    distribution: Mpi | PyTorch | TensorFlow | Ray | None = None
    limits: Limits | None = None
    resources: Resources | None = None
    queue_settings: Queue | None = None
    autologger_settings: Autologger | None = None
    parameters: Any = None


class AutoML(Elsewhere, frozen=True, tag_field="jobType", tag="AutoML"): ...


class Distillation(Elsewhere, frozen=True, tag_field="jobType", tag="Distillation"): ...


class FineTuning(Elsewhere, frozen=True, tag_field="jobType", tag="FineTuning"): ...


class Labeling(Elsewhere, frozen=True, tag_field="jobType", tag="Labeling"): ...


class Spark(Elsewhere, frozen=True, tag_field="jobType", tag="Spark"): ...


class Sweep(Elsewhere, frozen=True, tag_field="jobType", tag="Sweep"): ...


class Body(common.Envelope, frozen=True, kw_only=True):
    properties: Pipeline | AutoML | Command | Distillation | FineTuning | Labeling | Spark | Sweep
    type: Literal["Microsoft.MachineLearningServices/workspaces/jobs"] | None = None


def _of_2022() -> tuple[Limit, ...]:
    """The kinds of inputs and outputs are spelled in another way since the middle of 2022."""
    found = []
    for path in ("properties.inputs.*.jobInputType", "properties.outputs.*.jobOutputType"):
        found += [Limit(path=path, until="2022-02-01", words=words.KINDS_2022), Limit(path=path, since="2023-04-01", words=words.KINDS)]
    return tuple(found)


def _kinds(body: Body) -> Kinds:
    job = body.properties
    yield "properties.jobType", "Pipeline and Command", job
    if isinstance(job, Pipeline):
        for name, node in (job.jobs or {}).items():
            yield f"properties.jobs.{name}.type", "pipeline", node


JOB = Shape(
    of=Body,
    what="A job",
    kinds=_kinds,
    limits=(
        Limit(path="properties.componentId", since="2023-04-01"),
        Limit(path="properties.notificationSetting", since="2023-04-01"),
        Limit(path="properties.secretsConfiguration", since="2023-04-01", until="2024-01-01"),
        Limit(path="properties.sourceJobId", since="2023-04-01"),
        Limit(path="properties.parentJobName", since="2024-10-01", until="2024-10-01"),
        Limit(path="properties.schedule", until="2022-02-01"),
        Limit(path="properties.services.*.nodes", since="2023-04-01"),
        Limit(path="properties.inputs.*.pathOnCompute", since="2024-01-01", until="2024-01-01"),
        Limit(path="properties.outputs.*.pathOnCompute", since="2024-01-01", until="2024-10-01"),
        Limit(path="properties.outputs.*.assetName", since="2023-04-01"),
        Limit(path="properties.outputs.*.assetVersion", since="2023-04-01", until="2024-10-01"),
        Limit(path="properties.outputs.*.autoDeleteSetting", since="2023-04-01", until="2024-01-01"),
        Limit(path="properties.queueSettings", since="2023-04-01"),
        Limit(path="properties.queueSettings.priority", since="2023-04-01", until="2024-01-01"),
        Limit(path="properties.autologgerSettings", since="2023-04-01", until="2024-01-01"),
        Limit(path="properties.distribution.distributionType", since="2023-04-01", until="2024-01-01", words=frozenset({"Ray"})),
        Limit(path="properties.resources.dockerArgs", since="2023-04-01"),
        Limit(path="properties.resources.dockerArgsList", since="2024-10-01"),
        Limit(path="properties.resources.shmSize", since="2023-04-01"),
        Limit(path="properties.resources.locations", since="2023-04-01", until="2024-01-01"),
        Limit(path="properties.resources.maxInstanceCount", since="2023-04-01", until="2024-01-01"),
        *_of_2022(),
    ),
)
