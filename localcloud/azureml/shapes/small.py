"""The small bodies of POST and PATCH: keys, logs, secrets, quotas, updates, the search for runs."""

from __future__ import annotations

from typing import Any, Literal

from localcloud.azureml.shapes import common, words
from localcloud.azureml.shapes.shape import Fields, Shape
from localcloud.azureml.shapes.versions import Limit

_OLD = tuple(Limit(path=path, until="2022-02-01") for path in ("kind", "location", "properties"))


class Nothing(Fields, frozen=True, kw_only=True):
    """An empty object, or no body at all: cancel, listKeys, token."""


class RegenerateKeys(Fields, frozen=True, kw_only=True):
    key_type: words.KeyType
    key_value: str | None = None  # None: Azure draws one


class Logs(Fields, frozen=True, kw_only=True):
    container_type: words.Container | None = None  # None: the inference server
    tail: int | None = None  # lines


class SecretExpiry(Fields, frozen=True, kw_only=True):
    expirable_secret: bool | None = None
    expire_after_hours: int | None = None


class Quota(Fields, frozen=True, kw_only=True):
    id: str | None = None
    type: str | None = None
    limit: int | None = None
    unit: words.QuotaUnit | None = None


class Quotas(Fields, frozen=True, kw_only=True):
    value: list[Quota] | None = None
    location: str | None = None


class IdentityPatch(Fields, frozen=True, kw_only=True):
    type: words.IdentityType | None = None
    user_assigned_identities: dict[str, common.UserIdentity | None] | None = None


class SkuPatch(Fields, frozen=True, kw_only=True):
    name: str | None = None
    tier: Literal["Free", "Basic", "Standard", "Premium"] | None = None
    size: str | None = None
    family: str | None = None
    capacity: int | None = None


class OldPatch(Fields, frozen=True, kw_only=True):
    """What an update of 2022-02-01-preview may name as well, and nothing comes of it."""

    kind: str | None = None
    location: str | None = None
    properties: dict[str, Any] | None = None


class EndpointPatch(OldPatch, frozen=True, kw_only=True):
    tags: common.Texts | None = None
    identity: IdentityPatch | None = None


class DeploymentPatch(OldPatch, frozen=True, kw_only=True):
    tags: common.Texts | None = None
    sku: SkuPatch | None = None


class RunSearch(Fields, frozen=True, kw_only=True, rename=None):
    """MLflow's runs/search (mlflow/protos/service.proto, SearchRuns)."""

    experiment_ids: list[str] | None = None
    filter: str | None = None
    run_view_type: words.RunView | None = None
    max_results: int | None = None
    order_by: list[str] | None = None
    page_token: str | None = None

    @property
    def only_deleted(self) -> bool:
        return self.run_view_type is words.RunView.DELETED


class ExperimentSearch(Fields, frozen=True, kw_only=True, rename=None):
    """MLflow's experiments/search (mlflow/protos/service.proto, SearchExperiments)."""

    filter: str | None = None
    view_type: words.RunView | None = None
    max_results: int | None = None
    order_by: list[str] | None = None
    page_token: str | None = None

    @property
    def only_deleted(self) -> bool:
        return self.view_type is words.RunView.DELETED


NOTHING = Shape(of=Nothing, what="This request")
REGENERATE_KEYS = Shape(of=RegenerateKeys, what="A request for new keys", code="BadRequest")
LOGS = Shape(of=Logs, what="A request for logs", code="BadRequest")
SECRET_EXPIRY = Shape(of=SecretExpiry, what="A request for secrets")
QUOTAS = Shape(of=Quotas, what="An update of quotas", code="BadRequest")
ENDPOINT_PATCH = Shape(of=EndpointPatch, what="An update of an endpoint", code="BadRequest", limits=_OLD)
DEPLOYMENT_PATCH = Shape(of=DeploymentPatch, what="An update of a deployment", code="BadRequest", limits=_OLD)
RUN_SEARCH = Shape(of=RunSearch, what="A search for runs", code="INVALID_PARAMETER_VALUE")
EXPERIMENT_SEARCH = Shape(of=ExperimentSearch, what="A search for experiments", code="INVALID_PARAMETER_VALUE")
