"""A code version: where the folder of a job's code is. And the request for a place to upload one to."""

from __future__ import annotations

from typing import Literal

from localcloud.azureml.shapes import common, words
from localcloud.azureml.shapes.shape import Fields, Shape
from localcloud.azureml.shapes.versions import Limit


class Properties(Fields, frozen=True, kw_only=True):
    description: str | None = None
    tags: common.Texts | None = None
    properties: common.Texts | None = None  # of azure-ai-ml: hash_sha256 and hash_version of the folder
    is_anonymous: bool | None = None
    is_archived: bool | None = None
    code_uri: str | None = None  # https://… of a folder in a container
    auto_delete_setting: common.AutoDelete | None = None
    provisioning_state: str | None = None


class Body(common.Envelope, frozen=True, kw_only=True):
    properties: Properties
    type: Literal["Microsoft.MachineLearningServices/workspaces/codes/versions"] | None = None


class PendingUpload(Fields, frozen=True, kw_only=True):
    """The function startPendingUpload of codes/versions, in the published types since 2023-04-01-preview."""

    pending_upload_id: str | None = None  # None: Azure draws one
    pending_upload_type: words.PendingUploadType | None = None


VERSION = Shape(
    of=Body,
    what="A code version",
    limits=(
        Limit(path="properties.provisioningState", since="2023-04-01"),
        Limit(path="properties.autoDeleteSetting", since="2023-04-01", until="2024-01-01"),
    ),
)
PENDING_UPLOAD = Shape(of=PendingUpload, what="A request for a place to upload to")
