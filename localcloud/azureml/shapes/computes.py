"""A compute of the workspace; of ten kinds the local cloud plays one, the cluster."""

from __future__ import annotations

from typing import Any, Literal

from localcloud.azureml.shapes import common, words
from localcloud.azureml.shapes.shape import Elsewhere, Fields, Kinds, Shape

NAME = r"^[a-zA-Z](?![a-zA-Z0-9-]*-\d+$)[a-zA-Z0-9\-]{2,23}$"  # 3 to 24 characters, no number after the last -


class ById(Fields, frozen=True, kw_only=True):
    """A subnet or an image."""

    id: str


class Scale(Fields, frozen=True, kw_only=True):
    max_node_count: int
    min_node_count: int | None = None
    node_idle_time_before_scale_down: str | None = None  # ISO 8601


class Account(Fields, frozen=True, kw_only=True):
    admin_user_name: str
    admin_user_ssh_public_key: str | None = None
    admin_user_password: str | None = None


class NodeCounts(Fields, frozen=True, kw_only=True):
    idle_node_count: int | None = None
    running_node_count: int | None = None
    preparing_node_count: int | None = None
    unusable_node_count: int | None = None
    leaving_node_count: int | None = None
    preempted_node_count: int | None = None


class ClusterProperties(Fields, frozen=True, kw_only=True):
    vm_size: str | None = None
    vm_priority: words.Priority | None = None
    os_type: words.OsType | None = None
    scale_settings: Scale | None = None
    virtual_machine_image: ById | None = None
    isolated_network: bool | None = None
    subnet: ById | None = None
    user_account_credentials: Account | None = None
    remote_login_port_public_access: words.RemoteLogin | None = None
    enable_node_public_ip: bool | None = None
    property_bag: dict[str, Any] | None = None
    # what Azure says and a client may send back
    allocation_state: str | None = None
    allocation_state_transition_time: str | None = None
    current_node_count: int | None = None
    target_node_count: int | None = None
    node_state_counts: NodeCounts | None = None
    errors: list[dict[str, Any]] | None = None
    enable_batch_private_link: bool | None = None  # in recorded answers of Azure, in no published type


class Cluster(Fields, frozen=True, kw_only=True, tag_field="computeType", tag="AmlCompute"):
    properties: ClusterProperties | None = None
    compute_location: str | None = None
    description: str | None = None
    resource_id: str | None = None
    disable_local_auth: bool | None = None
    # what Azure says and a client may send back
    provisioning_state: str | None = None
    provisioning_errors: list[dict[str, Any]] | None = None
    created_on: str | None = None
    modified_on: str | None = None
    is_attached_compute: bool | None = None
    provisioning_warnings: list[dict[str, Any]] | None = None  # in recorded answers of Azure, in no published type


class AKS(Elsewhere, frozen=True, tag_field="computeType", tag="AKS"): ...


class ComputeInstance(Elsewhere, frozen=True, tag_field="computeType", tag="ComputeInstance"): ...


class DataFactory(Elsewhere, frozen=True, tag_field="computeType", tag="DataFactory"): ...


class DataLakeAnalytics(Elsewhere, frozen=True, tag_field="computeType", tag="DataLakeAnalytics"): ...


class Databricks(Elsewhere, frozen=True, tag_field="computeType", tag="Databricks"): ...


class HDInsight(Elsewhere, frozen=True, tag_field="computeType", tag="HDInsight"): ...


class Kubernetes(Elsewhere, frozen=True, tag_field="computeType", tag="Kubernetes"): ...


class SynapseSpark(Elsewhere, frozen=True, tag_field="computeType", tag="SynapseSpark"): ...


class VirtualMachine(Elsewhere, frozen=True, tag_field="computeType", tag="VirtualMachine"): ...


Compute = (
    Cluster | AKS | ComputeInstance | DataFactory | DataLakeAnalytics | Databricks | HDInsight | Kubernetes | SynapseSpark | VirtualMachine
)


class Body(common.Envelope, frozen=True, kw_only=True):
    properties: Compute | None = None
    location: str | None = None
    tags: common.Texts | None = None
    identity: common.Identity | None = None
    sku: common.Sku | None = None
    type: Literal["Microsoft.MachineLearningServices/workspaces/computes"] | None = None


class PatchProperties(Fields, frozen=True, kw_only=True):
    scale_settings: Scale | None = None


class PatchOuter(Fields, frozen=True, kw_only=True):
    properties: PatchProperties | None = None


class Patch(Fields, frozen=True, kw_only=True):
    properties: PatchOuter | None = None


def _kinds(body: Body) -> Kinds:
    yield "properties.computeType", "AmlCompute", body.properties


COMPUTE = Shape(of=Body, what="A compute", code="BadRequest", kinds=_kinds)
PATCH = Shape(of=Patch, what="An update of a compute", code="BadRequest")
