"""An online endpoint: who may ask, and how the questions are shared."""

from __future__ import annotations

from typing import Literal

from localcloud.azureml.shapes import common, words
from localcloud.azureml.shapes.shape import Fields, Shape


class Keys(Fields, frozen=True, kw_only=True):
    """Keys that the client chooses; only at creation, never answered."""

    primary_key: str | None = None
    secondary_key: str | None = None


class Properties(Fields, frozen=True, kw_only=True):
    auth_mode: words.AuthMode
    description: str | None = None
    properties: common.Texts | None = None
    traffic: dict[str, int] | None = None  # deployment -> percent
    mirror_traffic: dict[str, int] | None = None  # deployment -> percent that is copied to it
    compute: str | None = None  # the ARM id of a Kubernetes cluster
    public_network_access: words.Access | None = None
    keys: Keys | None = None
    provisioning_state: str | None = None
    scoring_uri: str | None = None
    swagger_uri: str | None = None


class Body(common.Tracked, frozen=True, kw_only=True):
    properties: Properties
    type: Literal["Microsoft.MachineLearningServices/workspaces/onlineEndpoints"] | None = None


ENDPOINT = Shape(of=Body, what="An endpoint", code="BadRequest")
