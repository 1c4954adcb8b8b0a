"""
No refusal is taken for a yes: every call of the adapters over azure-ai-ml ends in the one order that Azure's answer means.

Method: the client's operations are stand-ins of which one is refused, with the exception that the SDK raises for such an answer. That the
SDK raises it, the tests over the local cloud show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core import exceptions as azure
from azure.core.credentials import TokenCredential

from shared import settings as app_settings
from shared.cloud.endpoints import AzureMlEndpoints
from shared.cloud.jobs import Jobs
from shared.cloud.preparations import AzureMlPreparations
from shared.cloud.trainings import AzureMlTrainings
from shared.domain.service import Deployment
from shared.errors import NoQuota, Stop, TryLater, TuneloopError

pytestmark = pytest.mark.filterwarnings(  # azure-ai-ml 1.35.2 uses what marshmallow 4 and Python 3.12 will drop
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::PendingDeprecationWarning"
)
SETTINGS = app_settings.read(
    {"AZURE_SUBSCRIPTION_ID": "s", "AZURE_RESOURCE_GROUP": "g", "AZUREML_WORKSPACE": "w", "ENDPOINT_AUTH": "key", "COMPUTE": "gpus"}
)
NOBODY: TokenCredential = SimpleNamespace()
DEPLOYMENT = Deployment(
    name="d1", tuning="t", training="t", model="m", model_version="1", sample="s", asked_at=datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
)
PREPARATION: dict[str, Any] = {
    "files": ["azureml://datastores/d/paths/a.jsonl"],
    "order": "azureml://datastores/p/paths/order.json",
    "out": "azureml://datastores/p/paths/out/",
    "deadline": timedelta(minutes=90),
    "display_name": "Prepare",
    "tags": {},
}


class Workspace:
    """Every operation of an MLClient; the one that is named is refused."""

    def __init__(self, refused: str = "", error: Exception | None = None) -> None:
        self.asked: list[str] = []
        self.given: list[Any] = []
        self._refused, self._error = refused, error

    def __getattr__(self, group: str) -> Any:
        return _Group(self, group)

    def ask(self, operation: str, given: tuple[Any, ...]) -> Any:
        self.asked.append(operation)
        self.given.append(given)
        if self._error is not None and operation == self._refused:
            raise self._error
        if ".list" in operation:
            return []
        return SimpleNamespace(
            status="Running", tags={}, provisioning_state="Succeeded", scoring_uri="", traffic={}, inputs={}, size="s", primary_key="k",
            id="azureml://registries/azureml/components/c/versions/1", name="m", version="1", properties=None, mlflow_tracking_uri="",
        )  # fmt: skip


class _Group:
    def __init__(self, workspace: Workspace, name: str) -> None:
        self._workspace, self._name = workspace, name

    def __getattr__(self, operation: str) -> Any:
        return lambda *given, **_: self._workspace.ask(f"{self._name}.{operation}", given)


@dataclass(frozen=True, kw_only=True)
class Adapters:
    jobs: Jobs
    trainings: AzureMlTrainings
    preparations: AzureMlPreparations
    endpoints: AzureMlEndpoints


def over(workspace: Workspace) -> Adapters:
    jobs, endpoints = Jobs(SETTINGS, NOBODY), AzureMlEndpoints(SETTINGS, NOBODY)
    trainings = AzureMlTrainings(SETTINGS, NOBODY, jobs)
    jobs.__dict__["workspace"] = endpoints.__dict__["_workspace"] = trainings.__dict__["_registry"] = workspace
    return Adapters(jobs=jobs, trainings=trainings, preparations=AzureMlPreparations(SETTINGS, jobs), endpoints=endpoints)


def refusal(status: int, text: str = "planted") -> azure.HttpResponseError:
    """Return what the SDK raises for that status (its `map_error`)."""
    kinds = {401: azure.ClientAuthenticationError, 404: azure.ResourceNotFoundError, 409: azure.ResourceExistsError}
    response: Any = SimpleNamespace(status_code=status, reason=text, headers={})
    return kinds.get(status, azure.HttpResponseError)(text, response=response)


EXISTS = "A job with this name already exists. Please use a different name."
REFUSALS: dict[str, tuple[azure.HttpResponseError, type[Exception]]] = {
    "400": (refusal(400), Stop),
    "400, exists": (refusal(400, EXISTS), Stop),
    "400, no quota": (refusal(400, "Not enough quota available for Standard_NC24ads_A100_v4"), NoQuota),
    "400, busy": (refusal(400, "The endpoint is in Updating provisioning state"), TryLater),
    "401": (refusal(401), TryLater),
    "403": (refusal(403), TryLater),
    "404": (refusal(404), Stop),
    "405": (refusal(405), Stop),
    "408": (refusal(408), TryLater),
    "409": (refusal(409), TryLater),
    "409, exists": (refusal(409, EXISTS), TryLater),
    "412": (refusal(412), Stop),
    "422": (refusal(422), Stop),
    "423": (refusal(423), TryLater),
    "429": (refusal(429), TryLater),
    "500": (refusal(500), TryLater),
    "502": (refusal(502), TryLater),
    "503": (refusal(503), TryLater),
    "504": (refusal(504), TryLater),
    "no token": (azure.ClientAuthenticationError("planted"), TryLater),
    "no JSON": (azure.DecodeError("planted"), TryLater),
}
LOSSES: dict[str, tuple[azure.AzureError, type[Exception]]] = {
    "not sent": (azure.ServiceRequestError("planted"), TryLater),
    "not answered": (azure.ServiceResponseError("planted"), TryLater),
    "anything else": (azure.AzureError("planted"), TryLater),
}
SAME_JOB: dict[str, object] = {"400, exists": None, "409, exists": None}  # the next look tells whose it is
GONE: dict[str, object] = {"404": None}  # what shall not be there is not, and what is looked for is told as missing
CALLS: list[tuple[str, Callable[[Adapters], object], dict[str, object]]] = [  # what is refused, by which call, and what is no error there
    ("jobs.get", lambda a: a.jobs.seen("j"), GONE),
    ("jobs.create_or_update", lambda a: a.jobs.submit("j", SimpleNamespace()), SAME_JOB),
    ("jobs.create_or_update", lambda a: a.preparations.submit("j", **PREPARATION), SAME_JOB),
    ("jobs.begin_cancel", lambda a: a.jobs.cancel("j"), {}),
    ("jobs.begin_cancel", lambda a: a.trainings.cancel("j"), {}),
    ("jobs.begin_cancel", lambda a: a.preparations.cancel("j"), {}),
    ("workspaces.get", lambda a: a.trainings.metrics("j"), {}),
    ("models.get", lambda a: a.trainings.registered("m", "1"), {"404": False}),
    ("models.create_or_update", lambda a: a.trainings.register("m", "1", job="j", tags={}), {}),
    ("components.get", lambda a: a.trainings.catalogue(), {}),
    ("models.get", lambda a: a.trainings.catalogue(), {}),
    ("models._get", lambda a: a.trainings.catalogue(), {}),
    ("compute.get", lambda a: a.trainings.catalogue(), {}),
    ("compute.list_sizes", lambda a: a.trainings.catalogue(), {}),
    ("online_endpoints.get", lambda a: a.endpoints.endpoint("e"), GONE),
    ("online_deployments.list", lambda a: a.endpoints.endpoint("e"), GONE),
    ("online_endpoints.list", lambda a: list(a.endpoints.owned("o")), {}),
    ("online_endpoints.begin_create_or_update", lambda a: a.endpoints.create_endpoint("e", tags={}), {}),
    ("online_endpoints.begin_delete", lambda a: a.endpoints.delete_endpoint("e"), GONE),
    ("online_deployments.begin_create_or_update", lambda a: a.endpoints.create_deployment("e", DEPLOYMENT, tags={}), {}),
    ("online_deployments.begin_delete", lambda a: a.endpoints.delete_deployment("e", "d1"), GONE),
    ("online_endpoints.get", lambda a: a.endpoints.set_traffic("e", {"d1": 100}), {}),
    ("online_endpoints.begin_create_or_update", lambda a: a.endpoints.set_traffic("e", {"d1": 100}), {}),
    ("online_endpoints.get_keys", lambda a: a.endpoints.ask("e", "https://e.test", deployment="d1", body={}), {}),
    ("online_deployments.get_logs", lambda a: a.endpoints.log_tail("e", "d1"), dict.fromkeys(REFUSALS, "")),
]


@pytest.fixture(autouse=True)
def public_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one cloud that azure-ai-ml knows without asking."""
    for name in ("ARM_CLOUD_METADATA_URL", "AZUREML_CURRENT_CLOUD"):
        monkeypatch.delenv(name, raising=False)


def end(operation: str, call: Callable[[Adapters], object], error: Exception) -> object:
    """Return what the call gave, or the kind of what it raised."""
    workspace = Workspace(operation, error)
    try:
        given = call(over(workspace))
    except (azure.AzureError, TuneloopError) as raised:
        return type(raised)
    finally:
        assert operation in workspace.asked
    return given


@pytest.mark.parametrize(("operation", "call", "no_error"), CALLS, ids=[operation for operation, *_ in CALLS])
def test_whatever_azure_refuses_is_waited_for_or_stops_and_is_never_taken_for_done(
    operation: str, call: Callable[[Adapters], object], no_error: dict[str, object]
) -> None:
    answers = REFUSALS | LOSSES
    wanted = {said: kind for said, (_, kind) in answers.items()} | no_error

    assert {said: end(operation, call, error) for said, (error, _) in answers.items()} == wanted


@pytest.mark.parametrize(
    ("deadline", "limit"), [(timedelta(minutes=1), "PT1M"), (timedelta(minutes=90), "PT1H30M"), (timedelta(days=1), "P1D")]
)
def test_azure_ends_a_preparation_by_itself_when_its_time_is_over(deadline: timedelta, limit: str) -> None:
    """The app cancels such a job too; an app that is down or gone cannot, and the machine costs on."""
    workspace = Workspace()
    over(workspace).preparations.submit("j", **PREPARATION | {"deadline": deadline})
    asked = workspace.given[0][0]._to_job()

    assert workspace.asked == ["jobs.create_or_update"]
    assert asked.limits is not None
    assert asked.limits._to_rest_object().as_dict()["timeout"] == limit
