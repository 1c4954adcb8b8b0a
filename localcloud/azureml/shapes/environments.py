"""An environment version: an image, and what conda puts on top of it."""

from __future__ import annotations

from typing import Literal

from localcloud.azureml.shapes import common, words
from localcloud.azureml.shapes.shape import Fields, Shape
from localcloud.azureml.shapes.versions import Limit


class Build(Fields, frozen=True, kw_only=True):
    """A folder with a Dockerfile."""

    context_uri: common.Word
    dockerfile_path: str | None = None


class Route(Fields, frozen=True, kw_only=True):
    path: common.Word
    port: int


class Inference(Fields, frozen=True, kw_only=True):
    liveness_route: Route | None = None
    readiness_route: Route | None = None
    scoring_route: Route | None = None
    startup_route: Route | None = None


class Image(Fields, frozen=True, kw_only=True):
    digest: str | None = None
    hostname: str | None = None
    repository: str | None = None
    tag: str | None = None


class Package(Fields, frozen=True, kw_only=True):
    name: str | None = None
    install_path: str | None = None
    installed_version: str | None = None
    patched_version: str | None = None


class Finding(Fields, frozen=True, kw_only=True):
    id: str | None = None
    cve: str | None = None
    cve_url: str | None = None
    due_date: str | None = None
    package_details: list[Package] | None = None
    patchable: bool | None = None
    provider_id: str | None = None
    publish_date: str | None = None
    risk: str | None = None
    solution: str | None = None
    title: str | None = None
    vendor_id: str | None = None
    vendor_url: str | None = None


class Findings(Fields, frozen=True, kw_only=True):
    asset_id: str | None = None
    critical_findings_count: int | None = None
    data: list[Finding] | None = None
    generated_time: str | None = None
    high_findings_count: int | None = None
    last_scan_date: str | None = None
    scanner: str | None = None
    source: str | None = None
    total_findings_count: int | None = None


class ImageDetails(Fields, frozen=True, kw_only=True):
    exists: bool | None = None
    image: Image | None = None
    vulnerability_findings: Findings | None = None


class Properties(Fields, frozen=True, kw_only=True):
    description: str | None = None
    tags: common.Texts | None = None
    properties: common.Texts | None = None
    is_anonymous: bool | None = None
    is_archived: bool | None = None
    image: str | None = None
    conda_file: str | None = None  # its text
    build: Build | None = None
    os_type: words.OsType | None = None
    auto_rebuild: words.AutoRebuild | None = None
    inference_config: Inference | None = None
    image_details: ImageDetails | None = None
    stage: str | None = None
    auto_delete_setting: common.AutoDelete | None = None
    intellectual_property: common.IntellectualProperty | None = None
    environment_type: str | None = None
    provisioning_state: str | None = None


class Body(common.Envelope, frozen=True, kw_only=True):
    properties: Properties
    type: Literal["Microsoft.MachineLearningServices/workspaces/environments/versions"] | None = None


VERSION = Shape(
    of=Body,
    what="An environment version",
    limits=(
        Limit(path="properties.autoRebuild", since="2023-04-01"),
        Limit(path="properties.stage", since="2023-04-01"),
        Limit(path="properties.provisioningState", since="2023-04-01"),
        Limit(path="properties.autoDeleteSetting", since="2023-04-01", until="2024-01-01"),
        Limit(path="properties.intellectualProperty", since="2023-04-01", until="2024-01-01"),
        Limit(path="properties.imageDetails", since="2024-10-01", until="2024-10-01"),
        Limit(path="properties.inferenceConfig.startupRoute", since="2024-10-01"),
    ),
)
