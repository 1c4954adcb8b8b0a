"""
No client of the app sleeps for as long as a service asks it to: whatever is called, by whatever verb, and however it is refused.

The app's own clients over the local Azure ML in this process. Only two things are changed: what would go over a socket is answered here,
and sleeping is noted down instead of done.
"""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from azure.core.exceptions import AzureError
from azure.core.pipeline.policies import _retry
from requests.adapters import HTTPAdapter
from urllib3.response import HTTPResponse

from localcloud.azureml.transport import Adapter, Credential
from shared import settings as app_settings
from shared.cloud import clients, storage
from shared.cloud.announcer import EventGridAnnouncer
from shared.cloud.datasets import BlobDatasets
from shared.cloud.endpoints import AzureMlEndpoints
from shared.cloud.jobs import Jobs
from shared.cloud.ledger import BlobLedger
from shared.cloud.metrics import MonitorMetrics
from shared.cloud.trainings import AzureMlTrainings
from shared.cloud.turns import QueueTurns
from shared.domain import recipe
from shared.domain.record import Key, Kind
from shared.domain.service import Deployment
from shared.errors import TryLater
from shared.ports import Change

pytestmark = [
    pytest.mark.light,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::PendingDeprecationWarning"),
]
HOUR = "3600"
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
KEY = Key(kind=Kind.SERVICE, id="5e5e5e5e5e5e")
TAGS = {"tuneloop-owner": "o"}
DEPLOYMENT = Deployment(name="d1-01234567", tuning="t", training="0123456789ab", model="m", model_version="1", sample="s", asked_at=NOON)
SETTINGS = app_settings.read(
    {"AZURE_SUBSCRIPTION_ID": "00000000-0000-0000-0000-000000000001", "AZURE_RESOURCE_GROUP": "rg", "AZUREML_WORKSPACE": "ws"}
)


@dataclass
class Line:
    """What stands where the sockets were: refuses what it is told to, for an hour, and notes who slept how long."""

    refused: Callable[[requests.PreparedRequest], bool] = lambda _: True
    status: int = 429
    headers: dict[str, str] = field(default_factory=lambda: {"Retry-After": HOUR})
    otherwise: Any = None  # an adapter that answers the rest
    sent: Counter[str] = field(default_factory=Counter)  # of what was refused, by verb and address
    slept: list[float] = field(default_factory=list)  # seconds, by the caller's thread

    def send(self, request: requests.PreparedRequest, **given: Any) -> requests.Response:
        if not self.refused(request):
            answered: requests.Response = self.otherwise.send(request, **given)
            return answered
        self.sent[f"{request.method} {str(request.url).partition('?')[0]}"] += 1
        response = requests.Response()
        response.status_code, response.request, response.url = self.status, request, str(request.url)
        response.headers.update(self.headers)
        response.raw = HTTPResponse(body=io.BytesIO(b"{}"), headers=self.headers, status=self.status, preload_content=False)
        return response


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    line, caller, sleep = Line(), threading.get_ident(), time.sleep

    def noted(seconds: float) -> None:
        if threading.get_ident() == caller:
            line.slept.append(seconds)
        else:
            sleep(min(seconds, 0.01))

    monkeypatch.setattr(HTTPAdapter, "send", lambda _, request, **given: line.send(request, **given))
    monkeypatch.setattr(time, "sleep", noted)
    return line


def held_to_the_cap(line: Line, *, tries: int) -> None:
    assert line.sent, "nothing was refused: the call was never made"
    assert max(line.sent.values()) <= tries
    assert max(line.slept, default=0.0) <= clients.RETRY_SECONDS_MAX
    line.sent.clear()
    line.slept.clear()


# What the app asks of Azure ML, by the verb that is refused: the others are answered as the local Azure ML does.
ASKED: dict[str, tuple[str, ...]] = {
    "GET": ("catalogue", "job", "registered", "endpoint", "owned", "usage"),
    "PUT": ("submit", "register", "create_endpoint", "create_deployment"),
    "POST": ("cancel", "ask", "log_tail"),
    "DELETE": ("delete_endpoint", "delete_deployment"),
}


@pytest.mark.parametrize(("verb", "what"), [(verb, what) for verb, calls in ASKED.items() for what in calls])
def test_a_service_that_asks_for_an_hour_is_asked_a_few_times_within_seconds_and_then_later(
    world: Any, line: Line, monkeypatch: pytest.MonkeyPatch, verb: str, what: str
) -> None:
    for name in ("AZUREML_CURRENT_CLOUD", "ARM_CLOUD_METADATA_URL", "REGISTRY_DISCOVERY_ENDPOINT_URL"):
        monkeypatch.setenv(name, "set so that the client's own change of it is undone")
        monkeypatch.delenv(name)
    here = world.cloud.site
    place = {"AZURE_SUBSCRIPTION_ID": here.subscription, "AZURE_RESOURCE_GROUP": here.group, "AZUREML_WORKSPACE": here.workspace}
    settings = SETTINGS.model_copy(update={**place, "COMPUTE": "gpu-cluster"})
    line.otherwise = Adapter(world.cloud, sleep=lambda _: None)
    credential: Any = Credential(world.cloud)
    jobs = Jobs(settings, credential)
    trainings, endpoints = AzureMlTrainings(settings, credential, jobs), AzureMlEndpoints(settings, credential)
    metrics = MonitorMetrics(settings, credential)
    line.refused = lambda _: False
    the_recipe = recipe.resolve(trainings.catalogue(), wishes={}, service="shop", experiment_name="tuneloop")
    uris = {split: f"azureml://datastores/tuneloop_prepared/paths/x/{split}.jsonl" for split in ("train", "validation", "test")}
    calls: dict[str, Callable[[], object]] = {
        "catalogue": trainings.catalogue,
        "job": lambda: trainings.job("ft-0123456789ab-a1"),
        "registered": lambda: trainings.registered("m", "1"),
        "submit": lambda: trainings.submit("ft-0123456789ab-a1", recipe=the_recipe, uris=uris, out=uris["train"], tags=TAGS),
        "register": lambda: trainings.register("m", "1", job="ft-0123456789ab-a1", tags=TAGS),
        "cancel": lambda: trainings.cancel("ft-0123456789ab-a1"),
        "endpoint": lambda: endpoints.endpoint("bot-1"),
        "owned": lambda: list(endpoints.owned("o")),
        "create_endpoint": lambda: endpoints.create_endpoint("bot-1", tags=TAGS),
        "create_deployment": lambda: endpoints.create_deployment("bot-1", DEPLOYMENT, tags=TAGS),
        "ask": lambda: endpoints.ask("bot-1", "https://bot-1.eastus2.inference.ml.azure.com/score", deployment="d1", body={}),
        "log_tail": lambda: endpoints.log_tail("bot-1", "d1-01234567"),
        "delete_endpoint": lambda: endpoints.delete_endpoint("bot-1"),
        "delete_deployment": lambda: endpoints.delete_deployment("bot-1", "d1-01234567"),
        "usage": lambda: metrics.usage("bot-1", "d1-01234567", start=NOON - timedelta(hours=1), end=NOON),
    }
    if what in {"create_deployment", "log_tail", "delete_endpoint", "delete_deployment", "ask"}:
        world.endpoint()
    if what == "cancel":
        world.submit("ft-0123456789ab-a1", "wait")
    line.refused = lambda request: request.method == verb

    if what in {"usage", "log_tail"}:  # the two that may be without an answer
        assert not calls[what]()
    else:
        with pytest.raises(TryLater):
            calls[what]()

    held_to_the_cap(line, tries=clients.RETRIES + 1)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_storage_that_is_busy_is_asked_a_few_times_within_seconds_and_then_later(line: Line, status: int) -> None:
    line.status = status
    here = app_settings.Connection(connection_string="DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a2V5;EndpointSuffix=x.test")
    account = storage.Account(here, SimpleNamespace(), local=False)
    ledger, turns = BlobLedger(account.container("ledger")), QueueTurns(account.queue("turns"))
    datasets = BlobDatasets(account.container("datasets"), account.container("prepared"), datastore="p", uploads_datastore="d")
    calls: tuple[Callable[[], object], ...] = (
        lambda: ledger.create(KEY, {}),
        lambda: ledger.read(KEY),
        lambda: ledger.replace(KEY, {}, "v"),
        lambda: ledger.deactivate(KEY),
        lambda: list(ledger.active()),
        lambda: turns.ring(KEY, who="a test"),
        lambda: datasets.head("a/b.jsonl"),
        lambda: list(datasets.uploads()),
        lambda: datasets.read("a/b.json"),
    )
    for call in calls:
        with pytest.raises(TryLater):
            call()
        held_to_the_cap(line, tries=storage.RETRIES["retry_total"] + 1)


@pytest.mark.parametrize("where", ["app service", "virtual machine"])
def test_an_identity_that_is_throttled_does_not_hold_a_turn_for_an_hour(line: Line, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    for name in ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID", "IDENTITY_SERVER_THUMBPRINT", "MSI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    for name, value in {"IDENTITY_ENDPOINT": "https://identity.test/msi/token", "IDENTITY_HEADER": "h"}.items():
        monkeypatch.setenv(name, value) if where == "app service" else monkeypatch.delenv(name, raising=False)

    with pytest.raises(AzureError):
        clients.credential().get_token(clients.ARM_SCOPE)

    held_to_the_cap(line, tries=6)


def test_a_topic_that_asks_for_an_hour_is_not_waited_for(line: Line) -> None:
    credential: Any = SimpleNamespace(get_token=lambda *_, **__: SimpleNamespace(token="t", expires_on=2**31))
    told = EventGridAnnouncer("https://topic.test/api/events", credential, source="s", local=False)

    told.announce(Change(key=KEY, at=NOON, stage="live", what="live", why="", next_action=""))

    told.close()
    held_to_the_cap(line, tries=1)


def test_a_call_that_has_taken_its_time_is_not_sent_again(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delete that is still tried when its function is long dead could hit what was made since."""
    now = [1_000.0]
    monkeypatch.setattr(_retry, "time", SimpleNamespace(time=lambda: now[0]))
    refuse = line.send

    def slowly(request: requests.PreparedRequest, **given: Any) -> requests.Response:
        now[0] += clients.CALL_SECONDS_MAX + 1
        return refuse(request, **given)

    monkeypatch.setattr(HTTPAdapter, "send", lambda _, request, **given: slowly(request, **given))
    credential: Any = SimpleNamespace(get_token=lambda *_, **__: SimpleNamespace(token="t", expires_on=2**31))
    client = clients.rest_client("https://arm.test", credential, clients.ARM_SCOPE, local=False, what="a test")

    with pytest.raises(AzureError):
        clients.get_json(client, "https://arm.test/x")

    held_to_the_cap(line, tries=1)
