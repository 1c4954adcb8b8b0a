"""A deployment: a model, machines, and when they count as ready."""

from __future__ import annotations

from typing import Literal

from localcloud.azureml.shapes import common, words
from localcloud.azureml.shapes.shape import Elsewhere, Fields, Kinds, Shape
from localcloud.azureml.shapes.versions import Limit


class Collection(Fields, frozen=True, kw_only=True):
    client_id: str | None = None
    data_collection_mode: words.Access | None = None
    data_id: str | None = None
    sampling_rate: int | None = None


class RequestLogging(Fields, frozen=True, kw_only=True):
    capture_headers: list[str] | None = None


class DataCollector(Fields, frozen=True, kw_only=True):
    collections: dict[str, Collection | None]
    request_logging: RequestLogging | None = None
    rolling_rate: words.RollingRate | None = None


class Code(Fields, frozen=True, kw_only=True):
    scoring_script: common.Word
    code_id: str | None = None


class Probe(Fields, frozen=True, kw_only=True):
    failure_threshold: int | None = None
    success_threshold: int | None = None
    initial_delay: str | None = None  # ISO 8601, as every duration here
    period: str | None = None
    timeout: str | None = None


class Requests(Fields, frozen=True, kw_only=True):
    max_concurrent_requests_per_instance: int | None = None
    max_queue_wait: str | None = None
    request_timeout: str | None = None


class DefaultScale(Fields, frozen=True, kw_only=True, tag_field="scaleType", tag="Default"):
    """As many instances as the sku says."""


class TargetUtilization(Fields, frozen=True, kw_only=True, tag_field="scaleType", tag="TargetUtilization"):
    """Azure scales by itself; Kubernetes only."""

    max_instances: int | None = None
    min_instances: int | None = None
    polling_interval: str | None = None
    target_utilization_percentage: int | None = None


class Managed(Fields, frozen=True, kw_only=True, tag_field="endpointComputeType", tag="Managed"):
    """A deployment on Azure's own machines."""

    description: str | None = None
    properties: common.Texts | None = None
    model: str | None = None  # an ARM id or azureml:name:version
    model_mount_path: str | None = None
    instance_type: str | None = None
    scale_settings: DefaultScale | TargetUtilization | None = None
    request_settings: Requests | None = None
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    environment_id: str | None = None
    environment_variables: common.Texts | None = None
    code_configuration: Code | None = None
    app_insights_enabled: bool | None = None
    data_collector: DataCollector | None = None
    egress_public_network_access: words.Access | None = None
    private_network_connection: bool | None = None
    provisioning_state: str | None = None


class Kubernetes(Elsewhere, frozen=True, tag_field="endpointComputeType", tag="Kubernetes"):
    """A deployment on a cluster of one's own."""


class AzureMLCompute(Elsewhere, frozen=True, tag_field="endpointComputeType", tag="AzureMLCompute"):
    """A batch deployment's word in the same enumeration."""


class Body(common.Tracked, frozen=True, kw_only=True):
    properties: Managed | Kubernetes | AzureMLCompute
    type: Literal["Microsoft.MachineLearningServices/workspaces/onlineEndpoints/deployments"] | None = None


def _kinds(body: Body) -> Kinds:
    yield "properties.endpointComputeType", "Managed", body.properties


DEPLOYMENT = Shape(
    of=Body,
    what="A deployment",
    kinds=_kinds,
    code="BadRequest",
    limits=(
        Limit(path="properties.privateNetworkConnection", until="2022-02-01"),
        Limit(path="properties.dataCollector", since="2023-04-01"),
        Limit(path="properties.startupProbe", since="2024-10-01"),
    ),
)
