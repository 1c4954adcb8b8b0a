"""
A request that goes wrong on its way, as an unmodified azure-core client sees it: the same through a socket and in this process.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from azure.core.exceptions import ServiceRequestError, ServiceResponseError
from azure.core.pipeline import Pipeline
from azure.core.pipeline.policies import RetryPolicy
from azure.core.pipeline.transport import HttpResponse, RequestsTransport
from azure.core.rest import HttpRequest

from localcloud import certificates, web
from localcloud.azureml import server, transport
from localcloud.chance import Chance

SLOW_SECONDS = 0.4  # longer than the impatient client waits, short for a test
IMPATIENT_SECONDS = 0.1


@dataclass
class Client:
    """Azure's own pipeline towards one cloud."""

    world: Any
    base: str
    transport: RequestsTransport
    slept: list[float] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None, *, retries: int = 0, **options: Any) -> HttpResponse:
        """Ask once and, if told so, again; the pauses between are written down and not slept."""
        self.transport.sleep = self.slept.append
        token = self.world.cloud.tokens.issue("https://management.azure.com")[0]
        address = f"{self.base}{self.world.cloud.site.workspace_id}/{path}?api-version=2024-04-01"
        request = HttpRequest(method, address, headers={"Authorization": f"Bearer {token}"}, json=body)
        pipeline: Pipeline[Any, Any] = Pipeline(self.transport, [RetryPolicy(retry_total=retries)])
        answered: HttpResponse = pipeline.run(request, **options).http_response
        return answered

    def last_line(self) -> dict[str, Any]:
        lines = json.loads(self.world.ask("GET", "/_localcloud/traffic", version=None).body)["lines"]
        return dict(lines[-1])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.ensure(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=["in process", "https"])
def client(request: pytest.FixtureRequest, world: Any, files: certificates.Certificates) -> Iterator[Client]:
    """A client of a cloud in this process, without and with a socket between them."""
    if request.param == "in process":
        yield Client(world=world, base=transport.PUBLIC_BASE, transport=transport.transport(world.cloud))
        return
    running = web.Server(0, server.handler(world.cloud), name="test", context=web.tls(files.certificate, files.key))
    running.start()
    with RequestsTransport(connection_verify=str(files.ca)) as over_tls:
        yield Client(world=world, base=f"https://localhost:{running.port}", transport=over_tls)
    running.stop()


@pytest.fixture
def put(client: Client, kit: Any) -> Callable[..., HttpResponse]:
    """Puts the job that all these tests are about."""

    def ask(**options: Any) -> HttpResponse:
        return client.ask("PUT", "jobs/ft-a1", kit.job(), **options)

    return ask


def is_there(client: Client) -> bool:
    return client.ask("GET", "jobs/ft-a1").status_code == 200


def test_a_throttled_request_is_a_429_with_retry_after_and_nothing_is_done(client: Client, put: Any) -> None:
    client.world.plan({"fault": "throttled", "match": {"method": "PUT", "path": "*/jobs/*"}, "retry_after": 3})
    answered = put()

    assert (answered.status_code, answered.headers["Retry-After"]) == (429, "3")
    assert client.last_line()["faults"] == ["throttled"]
    assert not is_there(client)


def test_azures_own_client_waits_as_long_as_it_was_told_and_asks_again(client: Client, put: Any) -> None:
    client.world.plan({"fault": "throttled", "times": 2, "retry_after": 7})

    assert put(retries=3).status_code == 201
    assert client.slept == [7, 7]


@pytest.mark.parametrize(("fault", "status", "done"), [("error_before", 500, False), ("error_after", 503, True)])
def test_an_error_comes_before_the_effect_or_after_it(client: Client, put: Any, fault: str, status: int, done: bool) -> None:
    client.world.plan({"fault": fault})
    answered = put()

    assert (answered.status_code, json.loads(answered.text())["error"]["message"][:40]) == (
        status,
        f"The local cloud was told to answer {status} h",
    )
    assert client.last_line()["faults"] == [fault]
    assert is_there(client) is done


def test_a_planned_error_has_the_status_and_pause_of_the_plan(client: Client, put: Any) -> None:
    client.world.plan({"fault": "error_before", "status": 503, "retry_after": 2})
    answered = put()

    assert (answered.status_code, answered.headers["Retry-After"]) == (503, "2")


def test_a_lost_reply_is_no_answer_and_the_effect_is_there(client: Client, put: Any) -> None:
    client.world.plan({"fault": "lost_reply"})

    with pytest.raises(ServiceResponseError):
        put()
    line = client.last_line()
    assert (line["faults"], line["status"], line["seen"]) == (["lost_reply"], 201, "lost")
    assert is_there(client)


def test_after_a_reset_connection_nothing_is_done(client: Client, put: Any) -> None:
    client.world.plan({"fault": "connection_reset"})

    with pytest.raises((ServiceResponseError, ServiceRequestError), match="reset"):
        put()
    assert client.last_line()["seen"] == "reset"
    assert not is_there(client)


def test_a_slow_reply_outlasts_an_impatient_client_and_the_effect_is_there(client: Client, put: Any) -> None:
    client.world.plan({"fault": "slow_reply", "seconds": SLOW_SECONDS})

    with pytest.raises(ServiceResponseError, match="timed out"):
        put(read_timeout=IMPATIENT_SECONDS)
    assert client.last_line()["faults"] == ["slow_reply"]
    assert is_there(client)


def test_a_slow_reply_reaches_a_patient_client(client: Client, put: Any) -> None:
    client.world.plan({"fault": "slow_reply", "seconds": IMPATIENT_SECONDS})
    client.transport.sleep(0)
    began = time.monotonic()

    assert put(read_timeout=20).status_code == 201
    assert time.monotonic() - began >= IMPATIENT_SECONDS


def test_skip_and_times_choose_the_requests(client: Client) -> None:
    client.world.plan({"fault": "throttled", "skip": 1, "times": 2})

    assert [client.ask("GET", "jobs").status_code for _ in range(5)] == [200, 429, 429, 200, 200]


def test_a_seed_chooses_the_same_requests_again(make_world: Callable[..., Any]) -> None:
    from localcloud.faults import Faults

    def statuses() -> list[int]:
        world = make_world(faults=Faults(Chance(7)))
        world.plan({"fault": "error_before", "times": 0, "chance": 0.5})
        return [world.ask("GET", "jobs").status for _ in range(20)]

    first = statuses()

    assert first == statuses()
    assert {200, 500} == set(first)


def test_the_addresses_of_this_cloud_itself_are_never_spoiled(world: Any) -> None:
    world.plan({"fault": "error_before", "times": 0})

    assert world.ask("GET", "jobs").status == 500
    assert world.ask("GET", "/_localcloud/state", version=None).status == 200
    assert world.ask("POST", "/_localcloud/faults", {"clear": True}, version=None).status == 200
    assert world.ask("GET", "jobs").status == 200
