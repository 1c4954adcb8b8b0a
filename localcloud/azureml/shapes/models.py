"""A model version: where its files are and how it is packed. Also the container of all versions of a name."""

from __future__ import annotations

from typing import Literal

from localcloud.azureml.shapes import common
from localcloud.azureml.shapes.shape import Fields, Shape
from localcloud.azureml.shapes.versions import Limit


class Flavor(Fields, frozen=True, kw_only=True):
    data: common.Texts | None = None


class Dataset(Fields, frozen=True, kw_only=True):
    name: str | None = None
    id: str | None = None


class Properties(Fields, frozen=True, kw_only=True):
    description: str | None = None
    tags: common.Texts | None = None
    properties: common.Texts | None = None
    is_anonymous: bool | None = None
    is_archived: bool | None = None
    model_uri: str | None = None  # azureml://…; the server resolves it
    model_type: str | None = None
    flavors: dict[str, Flavor | None] | None = None
    job_name: str | None = None
    stage: str | None = None
    datasets: list[Dataset] | None = None
    auto_delete_setting: common.AutoDelete | None = None
    intellectual_property: common.IntellectualProperty | None = None
    provisioning_state: str | None = None


class Body(common.Envelope, frozen=True, kw_only=True):
    properties: Properties
    type: Literal["Microsoft.MachineLearningServices/workspaces/models/versions"] | None = None


class ContainerProperties(Fields, frozen=True, kw_only=True):
    description: str | None = None
    tags: common.Texts | None = None
    properties: common.Texts | None = None
    is_archived: bool | None = None
    latest_version: str | None = None
    next_version: str | None = None
    provisioning_state: str | None = None


class ContainerBody(common.Envelope, frozen=True, kw_only=True):
    properties: ContainerProperties
    type: Literal["Microsoft.MachineLearningServices/workspaces/models"] | None = None


VERSION = Shape(
    of=Body,
    what="A model version",
    limits=(
        Limit(path="properties.stage", since="2023-04-01"),
        Limit(path="properties.provisioningState", since="2023-04-01"),
        Limit(path="properties.intellectualProperty", since="2023-04-01", until="2024-01-01"),
        Limit(path="properties.autoDeleteSetting", since="2023-04-01", until="2024-01-01"),
        Limit(path="properties.datasets", since="2024-10-01"),
    ),
)
CONTAINER = Shape(of=ContainerBody, what="A model", limits=(Limit(path="properties.provisioningState", since="2023-04-01"),))
