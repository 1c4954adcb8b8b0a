"""
What goes wrong with jobs, endpoints, deployments, scoring, metrics and events, seen from outside and in the traffic. Kind by kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from localcloud.clocks import ManualClock
from localcloud.eventgrid.grid import EventGrid
from localcloud.eventgrid.schedule import Answer
from localcloud.eventgrid.subscriptions import parse_all
from localcloud.faults import KINDS, Faults
from localcloud.switches import Switches

MONITOR = "2023-10-01"
ENDED = {"Completed", "Failed", "Canceled", "NotResponding"}


def lines(world: Any) -> list[dict[str, Any]]:
    return list(json.loads(world.ask("GET", "/_localcloud/traffic", version=None).body)["lines"])


def faults_seen(world: Any) -> list[str]:
    """Return every fault that the traffic shows, in its order."""
    return [fault for line in lines(world) for fault in line.get("faults", [])]


def ended(world: Any, name: str = "ft-a1") -> str:
    world.until(lambda: world.status(name) in ENDED)
    return str(world.status(name))


def state_of(world: Any, path: str) -> str:
    return str(world.get(path)["properties"]["provisioningState"])


def operation(answered: Any) -> str:
    """Return the path and query of the operation that an answer names."""
    return str(answered.headers["Azure-AsyncOperation"]).removeprefix("https://management.azure.com")


def test_every_kind_of_fault_is_seen_by_a_test_of_this_folder() -> None:
    here = Path(__file__).parent
    written = "".join(file.read_text() for file in (*here.glob("test_*.py"), here.parents[1] / "localcloud/test_event_delivery.py"))

    assert [kind for kind in KINDS if f'"{kind}"' not in written] == []


# ------------------------------------------------------------------------------------------------------------------------- jobs


def test_a_refused_job_is_a_400_with_the_planned_words_and_the_next_one_is_taken(world: Any, kit: Any) -> None:
    world.plan({"fault": "job_refused", "match": {"name": "ft-*"}, "message": "The vault is closed."})
    refused = world.ask("PUT", "jobs/ft-a1", kit.job())

    assert (refused.status, kit.error(refused)["message"]) == (400, "The vault is closed.")
    assert lines(world)[-1]["faults"] == ["job_refused"]
    assert world.ask("PUT", "jobs/ft-a1", kit.job()).status == 201


def test_a_failed_job_has_the_planned_code_and_words(world: Any) -> None:
    world.plan({"fault": "job_failed", "code": "SystemError", "message": "The node caught fire."})
    world.submit()

    assert ended(world) == "Failed"
    run = json.loads(world.ask("GET", f"/history/v1.0{world.cloud.site.workspace_id}/runs/ft-a1", version=None).body)
    assert run["error"]["error"] == {"code": "SystemError", "message": "The node caught fire."}
    assert faults_seen(world) == ["job_failed"]


@pytest.mark.parametrize(("fault", "status"), [("job_canceled", "Canceled"), ("job_not_responding", "NotResponding")])
def test_a_job_ends_while_it_runs_and_its_trainer_with_it(world: Any, fault: str, status: str) -> None:
    world.plan({"fault": fault})
    world.submit(wish="wait")

    assert ended(world) == status
    world.until(lambda: not world.cloud.jobs.child("ft-a1").running)
    assert faults_seen(world) == [fault]


@pytest.mark.parametrize("status", ["Starting", "Queued", "Running"])
def test_a_stuck_job_stays_where_it_is_until_somebody_cancels_it(world: Any, status: str) -> None:
    world.plan({"fault": "job_stuck", "status": status})
    world.submit()
    world.until(lambda: world.status("ft-a1") == status)
    world.cloud.settle(5)

    assert world.status("ft-a1") == status
    assert world.ask("POST", "jobs/ft-a1/cancel").status == 202
    assert ended(world) == "Canceled"
    assert faults_seen(world) == ["job_stuck"]


def test_nan_losses_are_metrics_without_any_loss(world: Any) -> None:
    world.plan({"fault": "job_nan_losses"})
    world.trained()
    api = f"/mlflow/v2.0{world.cloud.site.workspace_id}/api/2.0/mlflow/runs/get?run_id=ft-a1"
    data = json.loads(world.ask("GET", api, version=None).body)["run"]["data"]

    assert [metric["key"] for metric in data["metrics"] if "loss" in metric["key"]] == []
    assert data["params"]
    assert faults_seen(world) == ["job_nan_losses"]


# -------------------------------------------------------------------------------------------------------- endpoints, deployments


def test_a_name_that_is_taken_elsewhere_is_a_400_for_a_new_endpoint_only(world: Any, kit: Any) -> None:
    world.endpoint("bot-0")
    world.plan({"fault": "endpoint_name_taken", "times": 0})
    refused = world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint())

    assert (refused.status, "bot-1 already exists in this region" in kit.error(refused)["message"]) == (400, True)
    assert world.ask("PUT", "onlineEndpoints/bot-0", kit.endpoint()).status == 200


def test_a_full_quota_of_endpoints_is_a_400_with_azures_words(world: Any, kit: Any) -> None:
    world.plan({"fault": "endpoint_quota"})
    refused = world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint())

    assert (refused.status, kit.error(refused)["message"][:68]) == (
        400,
        "Endpoint Quota reached for subscription 11111111-1111-1111-1111-1111",
    )
    assert world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint()).status == 201


def test_braces_in_a_planned_message_break_nothing(world: Any, kit: Any) -> None:
    world.plan({"fault": "endpoint_quota", "message": "{json: {name}} {0}"})

    assert kit.error(world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint()))["message"] == "{json: bot-1} {0}"


def test_an_endpoint_that_fails_says_so_in_its_state_and_its_operation(world: Any, kit: Any) -> None:
    world.plan({"fault": "endpoint_failed", "message": "No gateway."})
    begun = world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint())
    world.until(lambda: state_of(world, "onlineEndpoints/bot-1") != "Creating")

    assert state_of(world, "onlineEndpoints/bot-1") == "Failed"
    assert world.get(operation(begun))["error"]["message"] == "No gateway."
    assert world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint()).status == 200


@pytest.mark.parametrize("side", ["409", "400"])
def test_a_locked_endpoint_is_updating_for_its_time_and_refuses_every_change(make_world: Callable[..., Any], kit: Any, side: str) -> None:
    world = make_world(switches=Switches(conflict_status=side))  # type: ignore[arg-type]
    model = world.registered()
    world.endpoint()
    world.plan({"fault": "endpoint_locked", "seconds": 30})
    world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint())
    world.offset = timedelta(seconds=29)
    world.cloud.advance()

    assert state_of(world, "onlineEndpoints/bot-1") == "Updating"
    asks = {"onlineEndpoints/bot-1": kit.endpoint(), "onlineEndpoints/bot-1/deployments/d1-a": kit.deployment(model)}
    assert {world.ask("PUT", path, body).status for path, body in asks.items()} == {int(side)}
    world.offset = timedelta(seconds=31)
    world.cloud.advance()
    assert state_of(world, "onlineEndpoints/bot-1") == "Succeeded"


@pytest.mark.parametrize("resource", ["endpoint", "deployment", "compute", "job"])
def test_a_stuck_operation_never_ends_whatever_becomes_of_its_resource(world: Any, kit: Any, resource: str) -> None:
    world.plan({"fault": "operation_stuck", "match": {"resource": resource}})
    if resource == "endpoint":
        begun = world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint())
        world.until(lambda: state_of(world, "onlineEndpoints/bot-1") == "Succeeded")
    elif resource == "deployment":
        model, _ = world.registered(), world.endpoint()
        begun = world.ask("PUT", "onlineEndpoints/bot-1/deployments/d1-a", kit.deployment(model))
        world.until(lambda: state_of(world, "onlineEndpoints/bot-1/deployments/d1-a") == "Succeeded")
    elif resource == "compute":
        begun = world.ask("DELETE", "computes/gpu-cluster?underlyingResourceAction=Delete")
        world.until(lambda: world.ask("GET", "computes/gpu-cluster").status == 404)
    else:
        world.submit(wish="wait")
        begun = world.ask("POST", "jobs/ft-a1/cancel")
        assert ended(world) == "Canceled"
    address = str(begun.headers.get("Azure-AsyncOperation") or begun.headers["Location"]).removeprefix("https://management.azure.com")
    looked = world.ask("GET", address)

    if resource == "job":
        assert looked.status == 202
    else:
        assert json.loads(looked.body)["status"] in {"Updating", "InProgress"}
    assert faults_seen(world) == ["operation_stuck"]


def test_a_deployment_refused_for_quota_carries_azures_words_and_the_size(world: Any, kit: Any) -> None:
    model, _ = world.registered(), world.endpoint()
    world.plan({"fault": "deployment_refused"})
    refused = world.ask("PUT", "onlineEndpoints/bot-1/deployments/d1-a", kit.deployment(model))

    assert refused.status == 400
    assert "Not enough quota available for Standard_NC24ads_A100_v4 in SubscriptionId 1111" in kit.error(refused)["message"]


@pytest.mark.parametrize(("fault", "told"), [("deployment_failed", True), ("deployment_failed_silently", False)])
def test_a_deployment_fails_with_or_without_an_event_and_leaves_no_process(world: Any, kit: Any, fault: str, told: bool) -> None:
    model, _ = world.registered(), world.endpoint()
    world.plan({"fault": fault, "message": "No capacity."})
    before = len(world.events)
    begun = world.ask("PUT", "onlineEndpoints/bot-1/deployments/d1-a", kit.deployment(model))
    world.until(lambda: state_of(world, "onlineEndpoints/bot-1/deployments/d1-a") == "Failed")

    assert world.get(operation(begun))["error"]["message"] == "No capacity."
    assert [event["eventType"] for event in world.events[before:]] == (["Microsoft.Resources.ResourceWriteFailure"] if told else [])
    deployment = world.cloud.deployments.all["bot-1/d1-a"]
    world.until(lambda: not world.cloud.deployments.child(deployment).running)


def test_a_failed_deployment_gets_a_new_container_with_the_next_change(world: Any, kit: Any) -> None:
    model, _ = world.registered(), world.endpoint()
    world.plan({"fault": "deployment_failed"})
    world.deployed("d1-a", model)
    path = "onlineEndpoints/bot-1/deployments/d1-a"
    assert state_of(world, path) == "Failed"

    assert world.ask("PATCH", path, {"tags": {"again": "yes"}}).status == 202
    world.until(lambda: state_of(world, path) in {"Succeeded", "Failed"})
    assert state_of(world, path) == "Succeeded"


# ------------------------------------------------------------------------------------------------------------- scoring, metrics


@pytest.fixture
def live(world: Any, kit: Any) -> Any:
    """A world with one deployment that has all the traffic."""
    model, _ = world.registered(), world.endpoint()
    world.deployed("d1-a", model)
    world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint(traffic={"d1-a": 100}))
    world.until(lambda: state_of(world, "onlineEndpoints/bot-1") == "Succeeded")
    return world


def test_scoring_says_nothing_with_200_then_fails_then_throttles_and_then_answers(live: Any) -> None:
    live.plan({"fault": "scoring_empty"}, {"fault": "scoring_failed"}, {"fault": "scoring_throttled", "retry_after": 4})
    answers = [live.score() for _ in range(4)]

    assert [answered.status for answered in answers] == [200, 424, 429, 200]
    assert json.loads(answers[0].body) == {}
    assert answers[1].headers["ms-azureml-model-error-statuscode"] == "500"
    assert answers[2].headers["Retry-After"] == "4"
    assert {answered.headers["azureml-model-deployment"] for answered in answers} == {"d1-a"}
    assert faults_seen(live) == ["scoring_empty", "scoring_failed", "scoring_throttled"]


def test_slow_scoring_is_answered_later_by_so_much(live: Any) -> None:
    live.plan({"fault": "scoring_slow", "match": {"deployment": "d1-*"}, "seconds": 6})

    assert [live.score().after_seconds for _ in range(2)] == [6, 0]
    assert faults_seen(live) == ["scoring_slow"]


def asked_metrics(world: Any, resource: str, name: str, aggregation: str) -> list[dict[str, Any]]:
    """Return the series of the last hour."""
    now = datetime.now(UTC) + world.offset
    span = f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}/{now + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    query = f"timespan={span}&interval=PT1M&metricnames={name}&aggregation={aggregation}"
    answered = world.ask("GET", f"{resource}/providers/microsoft.insights/metrics?{query}", version=MONITOR)
    assert answered.status == 200, answered.body
    return list(json.loads(answered.body)["value"][0]["timeseries"])


def counted(series: list[dict[str, Any]]) -> float:
    return float(sum(point.get("total", 0) for one in series for point in one["data"]))


def test_late_metrics_appear_after_their_time(live: Any) -> None:
    live.score()
    live.plan({"fault": "metrics_late", "match": {"resource": "*/onlineEndpoints/bot-1"}, "seconds": 300})

    assert counted(asked_metrics(live, "onlineEndpoints/bot-1", "RequestsPerMinute", "Total")) == 0
    live.offset = timedelta(seconds=301)
    assert counted(asked_metrics(live, "onlineEndpoints/bot-1", "RequestsPerMinute", "Total")) == 1
    assert faults_seen(live) == ["metrics_late"] * 2


@pytest.mark.parametrize(
    ("resource", "name"), [("onlineEndpoints/bot-1", "RequestsPerMinute"), ("onlineEndpoints/bot-1/deployments/d1-a", "DeploymentCapacity")]
)
def test_a_series_without_points_is_there_and_empty(live: Any, resource: str, name: str) -> None:
    live.score()
    live.plan({"fault": "metrics_without_points"})

    assert [one["data"] for one in asked_metrics(live, resource, name, "Total")] == [[]]


# ----------------------------------------------------------------------------------------------------------------------- events


@pytest.mark.parametrize("fault", ["event_twice", "event_late", "event_reordered", "event_never"])
def test_what_becomes_of_an_event_is_a_line_of_its_own_in_the_traffic(make_world: Callable[..., Any], kit: Any, fault: str) -> None:
    faults = Faults()
    (subscription,) = parse_all([{"name": "runs", "topic": "azureml", "endpoint": "http://127.0.0.1:1/x"}])
    grid = EventGrid([subscription], clock=ManualClock(), faults=faults, post=lambda *_args, **_kw: Answer(status=200))
    world = make_world(faults=faults, publish=grid.publish)
    world.plan({"fault": fault, "match": {"type": "*RunStatusChanged"}})
    world.ask("PUT", "jobs/ft-a1", kit.job())
    grid.close()

    (line,) = [line for line in lines(world) if line["method"] == "FAULT"]
    assert line["request"]["fault"] == fault
    assert line["request"]["about"]["subject"].endswith("/runs/ft-a1")
    assert "faults" not in lines(world)[-1]


def test_base_models_that_a_plan_changed_are_marked_in_the_traffic(world: Any) -> None:
    world.plan({"fault": "base_model_archived", "match": {"name": "Phi-4"}})
    registry = "/mferp/managementfrontend/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/registries/azureml"
    world.ask("GET", f"{registry}/models/Phi-4/versions/8", version="2021-10-01-dataplanepreview")

    assert lines(world)[-1]["faults"] == ["base_model_archived"]
