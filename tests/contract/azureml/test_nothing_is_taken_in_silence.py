"""What changes nothing, cannot be, or is not played is refused by name; before, each of these was answered 200 or 500."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from localcloud.azureml.traffic import Traffic

EARLIEST = "2022-02-01-preview"
UNRECORDED = Traffic()  # null where the swagger is nullable is taken, and Microsoft's published types of requests do not have it


def node_of(body: Any) -> Any:
    return body["properties"]["jobs"]["chat_completion_pipeline"]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "1_000", "٣", " 3 ", "0x1", ""])
@pytest.mark.parametrize("name", ["learning_rate", "seed"])
def test_what_only_python_reads_as_a_number_is_none(world: Any, kit: Any, name: str, value: str) -> None:
    answered = world.ask("PUT", "jobs/ft-a1", kit.job(**{name: value}))

    assert answered.status == 400
    assert f"{name} of chat_completion_pipeline must be of type" in kit.error(answered)["message"]


@pytest.mark.parametrize(
    ("name", "value"), [("learning_rate", "5e-6"), ("learning_rate", "5E-06"), ("lora_dropout", ".1"), ("max_steps", "-1")]
)
def test_numbers_as_clients_write_them_are_taken(world: Any, kit: Any, name: str, value: str) -> None:
    assert world.ask("PUT", "jobs/ft-a1", kit.job(**{name: value})).status == 201


def test_an_integer_has_64_bits(world: Any, kit: Any) -> None:
    assert world.ask("PUT", "jobs/ft-a1", kit.job(seed=2**63)).status == 400


@pytest.mark.parametrize("value", ["${{parent.outputs.nowhere}}", "trained_model"])
def test_an_output_is_bound_to_one_of_the_pipelines(world: Any, kit: Any, value: str) -> None:
    body = kit.job()
    node_of(body)["outputs"]["mlflow_model_folder"]["value"] = value

    answered = world.ask("PUT", "jobs/ft-a1", body)
    assert (answered.status, value in kit.error(answered)["message"]) == (400, True)


def test_two_outputs_are_not_one(world: Any, kit: Any) -> None:
    body = kit.job()
    node_of(body)["outputs"]["pytorch_model_folder"] = {"value": "${{parent.outputs.trained_model}}", "type": "literal"}

    answered = world.ask("PUT", "jobs/ft-a1", body)
    assert (answered.status, "both bound to trained_model" in kit.error(answered)["message"]) == (400, True)


@pytest.mark.parametrize("place", ["pipeline", "settings", "node"])
@pytest.mark.parametrize(("named", "status"), [("nowhere", 400), ("gpu-cluster", 201), ("azureml:gpu-cluster", 201)])
def test_a_compute_that_is_not_there_is_refused_wherever_it_is_named(world: Any, kit: Any, place: str, named: str, status: int) -> None:
    body = kit.job()
    where = {"pipeline": body["properties"], "settings": body["properties"]["settings"], "node": node_of(body)}[place]
    where["default_compute" if place == "settings" else "computeId"] = named

    assert world.ask("PUT", "jobs/ft-a1", body).status == status


@pytest.mark.parametrize(
    ("field", "value"), [("experimentName", "another"), ("computeId", "gpu-cluster"), ("identity", {"identityType": "AMLToken"})]
)
def test_a_job_does_not_move_by_another_put(world: Any, kit: Any, field: str, value: Any) -> None:
    body = kit.job()
    world.ask("PUT", "jobs/ft-a1", body)
    moved = copy.deepcopy(body)
    moved["properties"] |= {field: value, "displayName": "other"}

    assert world.ask("PUT", "jobs/ft-a1", moved).status == 400
    assert world.get("jobs/ft-a1")["properties"]["experimentName"] == "chat"


def test_a_put_that_leaves_the_experiment_out_changes_the_rest_and_keeps_it(world: Any, kit: Any) -> None:
    body = kit.job()
    world.ask("PUT", "jobs/ft-a1", body)
    del body["properties"]["experimentName"]
    body["properties"]["displayName"] = "other"

    assert world.ask("PUT", "jobs/ft-a1", body).status == 200
    kept = world.get("jobs/ft-a1")["properties"]
    assert (kept["displayName"], kept["experimentName"]) == ("other", "chat")


def test_jobs_of_two_nodes_do_not_share_a_cluster_of_two(make_world: Any, kit: Any) -> None:
    world = make_world(nodes_max=2)
    for name in ("ft-a1", "ft-b1"):
        world.upload("wait")
        world.ask("PUT", f"jobs/{name}", kit.job(num_nodes_finetune=2))
    world.until(lambda: sorted(map(world.status, ("ft-a1", "ft-b1"))) == ["Queued", "Running"])
    for _ in range(5):
        world.cloud.advance()

    assert sorted(map(world.status, ("ft-a1", "ft-b1"))) == ["Queued", "Running"]
    assert len(json.loads(world.ask("POST", "computes/gpu-cluster/listNodes").body)["nodes"]) == 2


def test_tags_without_a_value_are_no_tags(world: Any, kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Microsoft's types have no null there, so no answer may."""
    monkeypatch.setattr(world.cloud, "traffic", UNRECORDED)
    body = kit.job()
    body["properties"]["tags"] = {"a": None, "b": "c"}
    world.ask("PUT", "jobs/ft-a1", body)
    world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint() | {"tags": {"a": None, "b": "c"}})

    assert world.get("jobs/ft-a1")["properties"]["tags"] == {"b": "c"}
    assert world.get("onlineEndpoints/bot-1")["tags"] == {"b": "c"}


def test_the_type_of_a_model_does_not_change(world: Any, kit: Any) -> None:
    world.registered(version="v1")
    model = world.cloud.models.all.values()[0]
    body = kit.model(model.job)
    body["properties"]["modelType"] = "custom_model"

    answered = world.ask("PUT", f"models/{model.name}/versions/v1", body)
    assert (answered.status, kit.error(answered)["target"]) == (400, "properties.modelType")


def test_an_upload_does_not_leave_its_datastore(world: Any) -> None:
    asked = {"modelType": "custom_model", "modelUri": "azureml://datastores/workspaceblobstore/paths/a/../../b"}

    assert world.ask("PUT", "models/m/versions/1", {"properties": asked}).status == 400


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("livenessProbe.initialDelay", "10 min"),
        ("livenessProbe.initialDelay", "P"),
        ("readinessProbe.failureThreshold", -1),
        ("requestSettings.requestTimeout", "PT3M1S"),
        ("requestSettings.requestTimeout", "PT0S"),
        ("requestSettings.maxConcurrentRequestsPerInstance", 0),
        ("instanceType", None),
        ("model", None),
    ],
)
def test_a_deployment_is_refused_by_the_full_path_of_what_cannot_be(world: Any, kit: Any, field: str, value: Any) -> None:
    model = world.registered()
    world.endpoint()
    group, _, name = field.rpartition(".")
    body = kit.deployment(model, **({group: {name: value}} if group else {name: value}))

    answered = world.ask("PUT", "onlineEndpoints/bot-1/deployments/blue", body)
    assert (answered.status, kit.error(answered)["target"]) == (400, f"properties.{field}")


def test_null_in_a_probe_is_azures_default(world: Any, kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = world.registered()
    world.endpoint()
    monkeypatch.setattr(world.cloud, "traffic", UNRECORDED)
    body = kit.deployment(model, livenessProbe={"initialDelay": None}, requestSettings={"requestTimeout": None})
    world.ask("PUT", "onlineEndpoints/bot-1/deployments/blue", body)

    kept = world.get("onlineEndpoints/bot-1/deployments/blue")["properties"]
    assert (kept["livenessProbe"]["initialDelay"], kept["requestSettings"]["requestTimeout"]) == ("PT10S", "PT5S")


def test_a_deployment_gets_live_or_mirrored_requests(world: Any, kit: Any) -> None:
    world.endpoint()
    world.deployed("blue", world.registered())
    body = kit.endpoint(traffic={"blue": 100}, mirrorTraffic={"blue": 10})

    answered = world.ask("PUT", "onlineEndpoints/bot-1", body)
    assert (answered.status, kit.error(answered)["target"]) == (400, "properties.mirrorTraffic")


@pytest.mark.parametrize("change", [{"properties": {"traffic": {"blue": 0}}}, {"kind": "K8S"}, {"identity": {"type": "UserAssigned"}}])
def test_a_patch_that_would_do_nothing_is_refused(world: Any, change: Any) -> None:
    world.endpoint()

    assert world.ask("PATCH", "onlineEndpoints/bot-1", change, version=EARLIEST).status == 501


def test_an_endpoint_has_the_identity_that_was_asked_for(world: Any, kit: Any) -> None:
    user = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/me"
    world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint() | {"identity": {"type": "UserAssigned", "userAssignedIdentities": {user: {}}}})

    shown = world.get("onlineEndpoints/bot-1")["identity"]
    assert (shown["type"], list(shown["userAssignedIdentities"]), "principalId" in shown) == ("UserAssigned", [user], False)


@pytest.mark.parametrize("tail", [-5, 0, 10**30])
def test_so_many_lines_of_a_log_there_are_never(world: Any, kit: Any, tail: int) -> None:
    world.endpoint()
    world.deployed("blue", world.registered())

    answered = world.ask("POST", "onlineEndpoints/bot-1/deployments/blue/getLogs", {"tail": tail})
    assert (answered.status, kit.error(answered)["target"]) == (400, "tail")


@pytest.mark.parametrize(
    "query",
    [
        "runs/get",
        "metrics/get-history?run_id=ft-a1",
        "metrics/get-history?run_id=ft-a1&metric_key=loss&max_results=²",
        "experiments/get-by-name",
    ],
)
def test_mlflow_says_which_parameter_is_missing_or_wrong(world: Any, kit: Any, query: str) -> None:
    world.submit("ft-a1")
    path = f"/mlflow/v2.0{world.cloud.site.workspace_id}/api/2.0/mlflow/{query}"

    answered = world.ask("GET", path, version=None)
    assert (answered.status, kit.error(answered)["code"]) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize("most", [0, -1])
def test_a_page_of_runs_holds_at_least_one(world: Any, most: int) -> None:
    path = f"/mlflow/v2.0{world.cloud.site.workspace_id}/api/2.0/mlflow/runs/search"

    assert world.ask("POST", path, {"max_results": most}, version=None).status == 400


@pytest.mark.parametrize("since", ["²", "٣", "-1", "9" * 5000])
def test_a_line_of_the_traffic_has_a_number(world: Any, since: str) -> None:
    assert world.ask("GET", f"/_localcloud/traffic?since={since}", version=None).status == 400


@pytest.mark.parametrize(
    "path", ["/_localcloud/state", "/_localcloud/clock", "/history/v1.0{ws}/runs/ft-a1", "/history/v1.0{ws}/runs/ft-a1/children"]
)
def test_a_query_that_means_nothing_is_refused_where_there_is_no_api_version_too(world: Any, kit: Any, path: str) -> None:
    world.submit("ft-a1")

    answered = world.ask("GET", path.format(ws=world.cloud.site.workspace_id) + "?nonsense=1", version=None)
    assert (answered.status, kit.error(answered)["target"]) == (400, "nonsense")


@pytest.mark.parametrize("hours", [0, -5, 10**12])
def test_a_signature_that_has_ended_or_never_ends_is_not_given(world: Any, kit: Any, hours: int) -> None:
    answered = world.ask("POST", "datastores/workspaceblobstore/listSecrets", {"expirableSecret": True, "expireAfterHours": hours})

    assert (answered.status, kit.error(answered)["target"]) == (400, "expireAfterHours")


@pytest.mark.parametrize("seconds", [10**400, 1e300])
def test_a_dial_and_a_fault_of_more_than_a_year_are_typing_errors(world: Any, seconds: float) -> None:
    assert world.ask("POST", "/_localcloud/state", {"dials": {"jobs": seconds}}, version=None).status == 400
    plan = {"faults": [{"fault": "endpoint_locked", "seconds": seconds}]}
    assert world.ask("POST", "/_localcloud/faults", plan, version=None).status == 400


@pytest.mark.parametrize("of", ["vmSizes", "usages", "mfeOperationsStatus/x"])
def test_another_region_or_subscription_is_not_this_one(world: Any, kit: Any, of: str) -> None:
    here = f"/subscriptions/{world.cloud.site.subscription}/providers/Microsoft.MachineLearningServices/locations/eastus2/{of}"

    region = world.ask("GET", here.replace("eastus2", "marsbase"))
    assert (region.status, kit.error(region)["code"]) == (400, "LocationNotAvailableForResourceType")
    other = world.ask("GET", here.replace("11111111", "22222222"))
    assert (other.status, kit.error(other)["code"]) == (404, "SubscriptionNotFound")


def test_another_registry_is_not_answered_with_the_models_of_this_one(world: Any) -> None:
    path = "/mferp/managementfrontend/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/registries/foo/models"

    answered = world.ask("GET", path, version="2021-10-01-dataplanepreview")
    assert (answered.status, b"Registry foo not found" in answered.body) == (404, True)


def test_the_name_of_the_api_version_is_read_without_regard_to_case(world: Any) -> None:
    from localcloud.azureml.wire import request_of

    token = world.cloud.tokens.issue("https://management.azure.com")[0]
    target = f"{world.cloud.site.workspace_id}/jobs?Api-Version=2024-04-01"

    assert world.cloud.handle(request_of("GET", target, {"authorization": f"Bearer {token}"}, b"")).status == 200


def test_a_file_of_another_workspace_is_not_read_from_this_one(world: Any, kit: Any) -> None:
    world.upload()
    body = kit.job()
    elsewhere = "azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/tuneloop_prepared/paths/x/train.jsonl"
    node_of(body)["inputs"]["train_file_path"]["uri"] = elsewhere
    world.ask("PUT", "jobs/ft-a1", body)
    world.until(lambda: world.cloud.jobs.all["ft-a1"].over)

    assert "is elsewhere" in world.cloud.jobs.all["ft-a1"].error[1]
