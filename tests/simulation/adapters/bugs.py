"""
Faults of adapters, made on purpose and outside of the shipped code. The histories must notice each; `seed` is the first that did.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import msgspec
from azure.ai.ml._artifacts import _blob_storage_helper
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import RetryPolicy

from shared.cloud import clients, datasets, jobs, ledger
from shared.cloud.endpoints import AzureMlEndpoints
from shared.cloud.jobs import Jobs
from shared.cloud.ledger import BlobLedger
from shared.cloud.metrics import MonitorMetrics
from shared.cloud.trainings import AzureMlTrainings
from shared.domain import names

_upload_directory = _blob_storage_helper.upload_directory
Patch = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True, kw_only=True)
class Bug:
    what: str
    patch: Patch
    seed: int
    promise: str  # with which the sentence begins that notices it


def _without_progress(**given: Any) -> None:
    _upload_directory(**{**given, "show_progress": False})


def put(where: Any, name: str, instead: Any) -> Patch:
    return lambda: mock.patch.object(where, name, instead)


# --------------------------------------------------------------------------------------------------------------- ledger


def _replaced_blindly(self: BlobLedger, key: Any, body: Mapping[str, Any], _version: str) -> str:
    answer = self._container.get_blob_client(f"{key}.json").upload_blob(ledger._bytes({**body, "writer_nonce": "x"}), overwrite=True)
    return str(answer["etag"])


def _created_blindly(self: BlobLedger, path: str, body: Mapping[str, Any]) -> bool:
    self._container.upload_blob(path, ledger._bytes({**body, "writer_nonce": "x"}), overwrite=True)
    return True


def _conflict_is_ours(self: BlobLedger, key: Any, _document: Mapping[str, Any]) -> str:
    stored = self.read(key)
    return stored.version if stored else ""


# ------------------------------------------------------------------------------------------------------------- Azure ML

_seen, _submit, _get = Jobs.seen, Jobs.submit, AzureMlEndpoints.endpoint


def _unreadable_is_gone(self: Jobs, name: str) -> Any:
    """403 is read as 404."""
    try:
        return _seen(self, name)
    except Exception:  # noqa: BLE001 - the bug
        return None


def _named_by_chance(self: Jobs, name: str, job: Any) -> None:
    """The service gives the job its name."""
    _submit(self, f"{name}-{len(name)}", job)


def _version_of_the_service(self: AzureMlTrainings, model: str, _version: str, *, job: str, tags: Mapping[str, str]) -> None:
    from azure.ai.ml.entities import Model

    path = f"azureml://jobs/{job}/outputs/trained_model"
    count = len(list(self._workspace.models.list(name=model))) if self.registered(model, "1") else 0
    self._workspace.models.create_or_update(Model(name=model, version=str(count + 1), path=path, type="mlflow_model", tags=dict(tags)))


def _without_the_owner(function: Any) -> Any:
    def called(self: Any, *given: Any, tags: Mapping[str, str], **named: Any) -> Any:
        return function(self, *given, tags={name: value for name, value in tags.items() if name != names.OWNER_TAG}, **named)

    return called


def _without_its_tags(self: AzureMlEndpoints, endpoint: str, traffic: Mapping[str, int]) -> None:
    """A PUT that says only what it wants to change."""
    from azure.ai.ml.entities import ManagedOnlineEndpoint

    fresh = ManagedOnlineEndpoint(name=endpoint, auth_mode=self._settings.ENDPOINT_AUTH)
    fresh.traffic = dict(traffic)
    self._workspace.online_endpoints.begin_create_or_update(fresh)


def _accepted_is_deployed(self: AzureMlEndpoints, name: str) -> Any:
    found = _get(self, name)
    ready = tuple(msgspec.structs.replace(one, state="Succeeded") for one in found.deployments) if found else ()
    return msgspec.structs.replace(found, deployments=ready) if found else None


_usage = MonitorMetrics.usage


def _empty_is_zero(self: MonitorMetrics, *about: str, **window: Any) -> Any:
    found = _usage(self, *about, **window)
    return msgspec.structs.replace(found, heartbeats=found.heartbeats_wanted) if found else None


BUGS: dict[str, Bug] = {
    "ledger_without_if_match": Bug(
        what="a record is written over whatever is there", patch=put(BlobLedger, "replace", _replaced_blindly), seed=0, promise="W1"
    ),
    "ledger_without_if_none_match": Bug(
        what="a record is created over whatever is there", patch=put(BlobLedger, "_create", _created_blindly), seed=0, promise="W1"
    ),
    "etag_with_quotes": Bug(what="quotes of an ETag are kept", patch=put(datasets, "bare_etag", str), seed=0, promise=""),
    "job_of_another_name": Bug(
        what="a job has a name that the ledger lacks", patch=put(Jobs, "submit", _named_by_chance), seed=0, promise="S10"
    ),
    "version_of_the_service": Bug(
        what="the model's version is the next number",
        patch=put(AzureMlTrainings, "register", _version_of_the_service),
        seed=0,
        promise="S6",
    ),
    "job_without_owner": Bug(
        what="a job is sent without its owner",
        patch=put(AzureMlTrainings, "submit", _without_the_owner(AzureMlTrainings.submit)),
        seed=0,
        promise="S3",
    ),
    "endpoint_without_owner": Bug(
        what="an endpoint is sent without its owner",
        patch=put(AzureMlEndpoints, "create_endpoint", _without_the_owner(AzureMlEndpoints.create_endpoint)),
        seed=0,
        promise="S3",
    ),
    "traffic_drops_the_tags": Bug(
        what="traffic is set by a PUT without the tags", patch=put(AzureMlEndpoints, "set_traffic", _without_its_tags), seed=0, promise="S3"
    ),
    "retry_after_is_obeyed": Bug(
        what="a client sleeps for as long as it is told",
        patch=put(clients.CappedRetry, "get_retry_after", RetryPolicy.get_retry_after),
        seed=72,
        promise="W3",
    ),
    "uploads_are_not_watched": Bug(
        what="azure-ai-ml shows no progress, and looks at no error of an upload",
        patch=put(_blob_storage_helper, "upload_directory", _without_progress),
        seed=22,
        promise="W3",
    ),
}

# Not noticed in the first 14 histories; docs/simulation.md says what else stands behind each.
UNNOTICED: dict[str, Bug] = {
    "conflict_is_ours": Bug(
        what="a lost race is taken for our own lost reply", patch=put(BlobLedger, "_ours_after_all", _conflict_is_ours), seed=0, promise=""
    ),
    "forbidden_is_gone": Bug(
        what="a job that may not be looked at is taken as not there", patch=put(Jobs, "seen", _unreadable_is_gone), seed=0, promise=""
    ),
    "creating_is_ready": Bug(
        what="a deployment that is being made counts as ready",
        patch=put(AzureMlEndpoints, "endpoint", _accepted_is_deployed),
        seed=0,
        promise="",
    ),
    "empty_is_zero": Bug(what="no metric is no use", patch=put(MonitorMetrics, "usage", _empty_is_zero), seed=0, promise="S4"),
    "lost_connection_is_unforeseen": Bug(
        what="only an answer with an error is one",
        patch=put(jobs, "AzureError", HttpResponseError),
        seed=0,
        promise="The app logged",
    ),
}
