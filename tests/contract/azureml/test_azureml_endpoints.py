"""Endpoints and deployments of the emulator: real servers behind them, traffic kept to the percent, every request counted."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from localcloud.switches import Switches


def state(world: Any, path: Any) -> Any:
    return world.get(path)["properties"]["provisioningState"]


def operation(world: Any, answered: Any) -> Any:
    path = answered.headers["Azure-AsyncOperation"].removeprefix(world.cloud.site.base).split("?")[0]
    return json.loads(world.ask("GET", path).body)


def spans(start: Any, minutes: int = 10) -> Any:
    """A time span around `start` as Azure Monitor wants it."""
    first, last = start - timedelta(minutes=minutes), start + timedelta(minutes=minutes)
    return f"{first:%Y-%m-%dT%H:%M:%SZ}/{last:%Y-%m-%dT%H:%M:%SZ}"


def metrics(world: Any, path: Any, name: Any, extra: str = "", *, interval: str = "PT1M", aggregation: str = "Total") -> Any:
    asked = f"interval={interval}&metricnames={name}&aggregation={aggregation}{extra}"
    query = f"timespan={spans(datetime.now(UTC) + world.offset)}&{asked}"
    body = json.loads(world.ask("GET", f"{path}/providers/microsoft.insights/metrics?{query}", version="2023-10-01").body)
    return body["value"][0]["timeseries"]


@pytest.mark.parametrize("name", ["ab", "1bot", "bot-", "bot_1", "b" * 33])
def test_an_endpoint_name_that_azure_refuses_is_refused(world: Any, kit: Any, name: Any) -> None:
    assert world.ask("PUT", f"onlineEndpoints/{name}", kit.endpoint()).status == 400


def test_a_new_endpoint_is_creating_until_its_operation_succeeds(world: Any, kit: Any) -> None:
    answered = world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint())

    assert answered.status == 201
    assert answered.headers["Location"].split("?")[0].endswith("/onlineEndpoints/bot-1")
    assert answered.headers["x-ms-async-operation-timeout"] == "PT30M"
    assert json.loads(answered.body)["properties"]["scoringUri"] is None
    assert operation(world, answered)["status"] == "Updating"
    world.cloud.advance()
    assert operation(world, answered)["status"] == "Succeeded"
    endpoint = world.get("onlineEndpoints/bot-1")["properties"]
    assert endpoint["scoringUri"].endswith("/endpoints/bot-1/score")
    assert endpoint["properties"]["AzureAsyncOperationUri"] == answered.headers["Azure-AsyncOperation"]


def test_no_deployment_is_taken_while_its_endpoint_is_changing(world: Any, kit: Any) -> None:
    model = world.registered()
    world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint())
    answered = world.ask("PUT", "onlineEndpoints/bot-1/deployments/d1-a", kit.deployment(model))

    assert answered.status == 409
    assert "because it is in Creating provisioning state" in kit.error(answered)["message"]


def test_a_deployment_gets_the_defaults_that_azure_fills_in(world: Any) -> None:
    world.endpoint()
    path = world.deployed("d1-a", world.registered())

    deployment = world.get(path)
    assert deployment["properties"]["scaleSettings"] == {"scaleType": "Default"}
    assert deployment["properties"]["requestSettings"]["maxConcurrentRequestsPerInstance"] == 1
    assert deployment["sku"] == {"name": "Default", "tier": "Standard", "capacity": 1}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"instanceType": "Standard_NC6s_v3"}, "Standard_NC6s_v3"),
        ({"model": "azureml:bot:v9"}, "azureml:bot:v9"),
        ({"colour": "blue"}, "no field properties.colour"),
    ],
)
def test_a_deployment_that_cannot_work_is_refused_at_once(world: Any, kit: Any, change: Any, words: Any) -> None:
    model = world.registered()
    world.endpoint()
    answered = world.ask("PUT", "onlineEndpoints/bot-1/deployments/d1-a", kit.deployment(model, **change))

    assert answered.status == 400
    assert words in kit.error(answered)["message"]


def test_a_deployment_of_no_instances_is_refused(world: Any, kit: Any) -> None:
    model = world.registered()
    world.endpoint()
    body = kit.deployment(model) | {"sku": {"name": "Default", "capacity": 0}}

    assert world.ask("PUT", "onlineEndpoints/bot-1/deployments/d1-a", body).status == 400


def test_weights_that_do_not_load_fail_the_deployment_and_its_operation(world: Any, kit: Any) -> None:
    model = world.registered(world.trained("ft-bad", wish="break"))
    world.endpoint()
    answered = world.ask("PUT", "onlineEndpoints/bot-1/deployments/d1-a", kit.deployment(model))
    path = "onlineEndpoints/bot-1/deployments/d1-a"
    world.until(lambda: state(world, path) == "Failed")

    assert operation(world, answered)["error"]["message"].endswith("The weights do not load.")
    logs = json.loads(world.ask("POST", f"{path}/getLogs", {"tail": 10}).body)
    assert "The weights do not load." in logs["content"]


def test_the_next_deployment_fails_or_is_refused_when_a_test_asks_for_it(world: Any, kit: Any) -> None:
    model = world.registered()
    world.endpoint()
    world.plan({"fault": "deployment_refused"}, {"fault": "deployment_failed", "message": "No A100 is free."})

    refused = world.ask("PUT", "onlineEndpoints/bot-1/deployments/d1-a", kit.deployment(model))
    assert "Not enough quota available for Standard_NC24ads_A100_v4" in kit.error(refused)["message"]
    assert state(world, world.deployed("d1-a", model)) == "Failed"
    assert state(world, world.deployed("d2-a", model)) == "Succeeded"


def test_traffic_names_deployments_that_exist_and_adds_up_to_all_or_nothing(world: Any, kit: Any) -> None:
    world.endpoint()
    world.deployed("d1-a", world.registered())

    for traffic in ({"d9-z": 100}, {"d1-a": 50}, {"d1-a": 101}, {"d1-a": True}):
        assert world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint(traffic=traffic)).status == 400
    assert world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint(traffic={"d1-a": 100})).status == 200


def two_deployments(world: Any, **traffic: Any) -> None:
    model = world.registered()
    world.endpoint()
    world.deployed("d1-a", model)
    world.deployed("d2-b", model)
    if traffic:
        world.endpoint(traffic={name.replace("_", "-"): share for name, share in traffic.items()})


def test_of_a_hundred_requests_each_deployment_gets_exactly_its_share(world: Any) -> None:
    two_deployments(world, d1_a=90, d2_b=10)

    answered = Counter(world.score().headers["azureml-model-deployment"] for _ in range(100))
    assert answered == {"d1-a": 90, "d2-b": 10}


def test_a_header_names_a_deployment_past_the_traffic(world: Any) -> None:
    two_deployments(world, d1_a=100)

    answered = world.score(azureml_model_deployment="d2-b")
    assert answered.status == 200
    assert answered.headers["azureml-model-deployment"] == "d2-b"
    assert b"hello" in answered.body
    assert world.score(azureml_model_deployment="d9-z").status == 404


def test_an_endpoint_without_traffic_answers_404(world: Any) -> None:
    two_deployments(world)

    assert world.score().status == 404
    assert world.score(endpoint="nobody").status == 404


def test_only_a_token_for_azure_machine_learning_may_ask(world: Any) -> None:
    two_deployments(world, d1_a=100)
    management = "Bearer " + world.cloud.tokens.issue("https://management.azure.com")[0]

    for bad in ("none", "Bearer nonsense", management):
        assert world.score(authorization=bad).status == 401
    world.offset = timedelta(hours=-48)
    old = "Bearer " + world.cloud.tokens.issue("https://ml.azure.com")[0]
    world.offset = timedelta(0)
    assert world.score(authorization=old).status == 401
    assert world.score().status == 200


def test_an_endpoint_with_keys_is_asked_with_one_of_them(world: Any) -> None:
    world.registered()
    world.endpoint(authMode="Key")
    world.deployed("d1-a", "azureml:bot:v1")
    world.endpoint(authMode="Key", traffic={"d1-a": 100})
    keys = json.loads(world.ask("POST", "onlineEndpoints/bot-1/listKeys").body)

    assert world.score(authorization=f"Bearer {keys['primaryKey']}").status == 200
    assert world.score(authorization=f"Bearer {keys['secondaryKey']}").status == 200
    assert world.score().status == 401


def test_a_model_server_that_fails_is_a_424_that_names_its_status(world: Any) -> None:
    two_deployments(world, d1_a=100)
    answered = world.score(body={"input_data": "explode"})

    assert answered.status == 424
    assert answered.headers["ms-azureml-model-error-statuscode"] == "500"


def test_a_serving_child_that_dies_is_started_again(world: Any) -> None:
    two_deployments(world, d1_a=100)
    serving = world.cloud.deployments
    deployment = serving.all["bot-1/d1-a"]
    first = serving.child(deployment)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()

    assert world.score().status == 424
    world.until(lambda: serving.child(deployment).pid != first.pid and serving.port(deployment))
    assert world.score().status == 200


def test_a_deployment_with_traffic_cannot_be_deleted(world: Any, kit: Any) -> None:
    two_deployments(world, d1_a=100)
    path = "onlineEndpoints/bot-1/deployments/d1-a"

    assert world.ask("DELETE", path).status == 400
    world.endpoint(traffic={})
    answered = world.ask("DELETE", path)
    assert answered.status == 202
    assert state(world, path) == "Deleting"
    world.until(lambda: world.ask("GET", path).status == 404)
    assert operation(world, answered)["status"] == "Succeeded"
    assert world.ask("DELETE", path).status == 204


def test_a_deleted_endpoint_takes_its_deployments_and_their_processes_along(world: Any) -> None:
    two_deployments(world, d1_a=100)
    children = [world.cloud.deployments.child(one) for one in world.cloud.deployments.all.values()]

    assert world.ask("DELETE", "onlineEndpoints/bot-1").status == 202
    world.until(lambda: world.ask("GET", "onlineEndpoints/bot-1").status == 404)
    assert not any(child.running for child in children)
    assert world.ask("DELETE", "onlineEndpoints/bot-1").status == 204


def test_endpoints_are_listed_by_tag(world: Any) -> None:
    world.endpoint()

    assert [one["name"] for one in world.get("onlineEndpoints?tags=tuneloop-owner=o")["value"]] == ["bot-1"]
    assert world.get("onlineEndpoints?tags=tuneloop-owner=p") == {"value": []}


def test_requests_that_reach_a_model_are_counted_by_endpoint_and_by_deployment(world: Any) -> None:
    two_deployments(world, d1_a=100)
    world.score()
    world.score(azureml_model_deployment="d2-b")
    world.score(authorization="none")

    def total(extra: str = "") -> Any:
        series = metrics(world, "onlineEndpoints/bot-1", "RequestsPerMinute", extra)
        return sum(point.get("total", 0) for one in series for point in one["data"])

    assert total() == 2
    assert total("&$filter=deployment eq 'd2-b'") == 1


@pytest.mark.parametrize(
    ("side", "total", "average"), [("both", 2, 2), ("total", 2, 0), ("average", 0, 2)], ids=["both", "total", "average"]
)
def test_requests_are_counted_in_the_aggregation_that_the_switch_names(make_world: Any, side: Any, total: int, average: int) -> None:
    world = make_world(switches=Switches(count_in=side))
    two_deployments(world, d1_a=100)
    world.score()
    world.score()

    shown = metrics(world, "onlineEndpoints/bot-1", "RequestsPerMinute", aggregation="Total,Average")[0]["data"]
    assert {name: sum(point.get(name, 0) for point in shown) for name in ("total", "average")} == {"total": total, "average": average}
    assert metrics(world, "onlineEndpoints/bot-1/deployments/d1-a", "DeploymentCapacity")[0]["data"][0]["total"] == 1.0


def test_an_endpoint_that_nobody_asked_has_no_series_at_all(world: Any) -> None:
    two_deployments(world, d1_a=100)

    assert metrics(world, "onlineEndpoints/bot-1", "RequestsPerMinute") == []


def test_a_deployment_has_a_heartbeat_while_it_lives_and_none_after(world: Any) -> None:
    world.endpoint()
    path = world.deployed("d1-a", world.registered())
    alive = metrics(world, path, "DeploymentCapacity")
    world.ask("DELETE", path)
    world.until(lambda: world.ask("GET", path).status == 404)
    world.offset = timedelta(minutes=30)

    assert {point["total"] for point in alive[0]["data"]} == {1.0}
    assert metrics(world, path, "DeploymentCapacity") == []


def test_a_finer_grain_makes_more_points(make_world: Any) -> None:
    world = make_world(metric_grain_seconds=2)
    world.endpoint()
    path = world.deployed("d1-a", world.registered())
    world.offset = timedelta(seconds=20)

    points = metrics(world, path, "CpuUtilizationPercentage", interval="PT2S")[0]["data"]
    assert len(points) >= 10


@pytest.mark.parametrize(
    "query",
    ["timespan=yesterday&metricnames=RequestsPerMinute", "metricnames=RequestsPerMinute", "timespan=A/B", "interval=PT7S"],
)
def test_a_question_for_metrics_that_azure_refuses_is_refused(world: Any, query: Any) -> None:
    asked = world.ask("GET", f"onlineEndpoints/bot-1/providers/microsoft.insights/metrics?{query}", version="2023-10-01")

    assert asked.status == 400
