"""What Microsoft's published types do not tell is held by shapes of our own: every answer of a life has them, and nothing more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from localcloud.trainer import base, scoring

REGISTRY = (
    "/mferp/managementfrontend/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/registry-rg"
    "/providers/Microsoft.MachineLearningServices/registries/"
)
OF_REGISTRY = {"version": "2021-10-01-dataplanepreview"}


@pytest.fixture
def plain(world: Any) -> Any:
    """Asks an address without api-version below the workspace's path of a service."""

    def ask(method: str, service: str, rest: str, body: Any = None) -> Any:
        return world.ask(method, f"/{service}{world.cloud.site.workspace_id}/{rest}", body, version=None)

    return ask


def step(world: Any, name: str) -> str:
    """Return the id of a step of the job."""
    return str(next(one.run_id for one in world.cloud.jobs.all["ft-a1"].steps if one.name == name))


def test_run_history_of_a_job_that_runs_and_has_completed(world: Any, plain: Any, holds: Any) -> None:
    world.submit()
    before = holds("run_history.root", plain("GET", "history/v1.0", "runs/ft-a1"))
    assert "startTimeUtc" not in before
    world.until(lambda: world.status("ft-a1") == "Completed")

    after = holds("run_history.root", plain("GET", "history/v1.0", "runs/ft-a1"))
    assert {"startTimeUtc", "endTimeUtc"} <= set(after)
    assert len(holds("run_history.details", plain("GET", "history/v1.0", "runs/ft-a1/details"))["logFiles"]) == 2
    children = holds("run_history.children", plain("GET", "history/v1.0", "runs/ft-a1/children"))["value"]
    assert len(children) == 5
    holds("run_history.step", plain("GET", "history/v1.0", f"runs/{children[0]['runId']}"))
    holds("run_history.details", plain("GET", "history/v1.0", f"runs/{children[0]['runId']}/details"))
    changed = plain("PATCH", "history/v1.0", "experiments/chat/runs/ft-a1", {"description": "words", "tags": {"kind": "trial"}})
    assert holds("run_history.root", changed)["tags"]["kind"] == "trial"
    holds("run_history.services", plain("GET", "history/v1.0", "runs/ft-a1/serviceinstances/0"))


def test_run_history_of_a_command(world: Any, kit: Any, plain: Any, holds: Any) -> None:
    world.ask("PUT", "jobs/prep-1", kit.command("echo a line"))
    world.until(lambda: world.status("prep-1") == "Completed")

    assert holds("run_history.command", plain("GET", "history/v1.0", "runs/prep-1"))["properties"]["_azureml.ClusterName"] == "gpu-cluster"
    assert list(holds("run_history.details", plain("GET", "history/v1.0", "runs/prep-1/details"))["logFiles"]) == ["user_logs/std_log.txt"]
    assert holds("run_history.children", plain("GET", "history/v1.0", "runs/prep-1/children"))["value"] == []


def test_a_place_to_upload_a_code_to(world: Any, holds: Any) -> None:
    asked = world.ask("POST", "codes/c/versions/1/startPendingUpload", {"pendingUploadType": "TemporaryBlobReference"})

    place = holds("codes.pending_upload", asked)["blobReferenceForConsumption"]
    assert place["credential"]["sasUri"].startswith(place["blobUri"] + "?")


def test_run_history_of_a_job_that_failed(world: Any, plain: Any, holds: Any) -> None:
    world.submit(wish="fail")
    world.until(lambda: world.status("ft-a1") == "Failed")

    assert holds("run_history.root", plain("GET", "history/v1.0", "runs/ft-a1"))["error"]["error"]["code"] == "UserError"
    assert "error" in holds("run_history.details", plain("GET", "history/v1.0", "runs/ft-a1/details"))
    holds("errors.arm", plain("GET", "history/v1.0", "runs/ft-none"), 404)
    holds("errors.arm", plain("PATCH", "history/v1.0", "experiments/other/runs/ft-a1", {}), 404)
    holds("errors.arm", plain("PATCH", "history/v1.0", "experiments/chat/runs/ft-a1", {"status": "Completed"}), 400)


def test_mlflow_reads_runs_histories_and_experiments(world: Any, plain: Any, holds: Any) -> None:
    world.trained()
    api = "api/2.0/mlflow/"
    for version in ("v1.0", "v2.0"):
        assert holds("mlflow.run", plain("GET", f"mlflow/{version}", f"{api}runs/get?run_id=ft-a1"))["run"]["data"]["metrics"]
    holds("mlflow.run", plain("GET", "mlflow/v2.0", f"{api}runs/get?run_id={step(world, 'chat_completion_finetune')}"))
    history = f"{api}metrics/get-history?run_id=ft-a1&metric_key=eval_loss&max_results=1"
    assert holds("mlflow.history", plain("GET", "mlflow/v2.0", history))["next_page_token"] == "1"
    assert "next_page_token" not in holds("mlflow.history", plain("GET", "mlflow/v2.0", f"{history}&page_token=1"))
    found = holds("mlflow.search", plain("POST", "mlflow/v2.0", f"{api}runs/search", {"experiment_ids": [], "max_results": 2}))
    assert found["next_page_token"] == "2"
    holds("mlflow.experiment", plain("GET", "mlflow/v2.0", f"{api}experiments/get-by-name?experiment_name=chat"))
    for rest in ("runs/get?run_id=none", "metrics/get-history?run_id=none&metric_key=x", "experiments/get-by-name?experiment_name=none"):
        holds("errors.mlflow", plain("GET", "mlflow/v2.0", api + rest), 404)


def test_the_registries_in_their_own_words(world: Any, holds: Any) -> None:
    for name in ("azureml", "local-registry"):
        holds("registry.discovery", world.ask("GET", f"/registrymanagement/v1.0/registries/{name}/discovery", version=None))
    public, own = REGISTRY + "azureml", REGISTRY + "local-registry"
    assert holds("registry.containers", world.ask("GET", f"{public}/models", **OF_REGISTRY))["value"]
    holds("registry.container", world.ask("GET", f"{public}/models/Phi-4", **OF_REGISTRY))
    holds("registry.models", world.ask("GET", f"{public}/models/Phi-4/versions", **OF_REGISTRY))
    holds("registry.model", world.ask("GET", f"{public}/models/Phi-3-mini-4k-instruct/versions/15", **OF_REGISTRY))
    holds("registry.containers", world.ask("GET", f"{public}/components", **OF_REGISTRY))
    component = world.ask("GET", f"{public}/components/chat_completion_pipeline/versions/0.0.82", **OF_REGISTRY)
    assert len(holds("registry.component", component)["properties"]["componentSpec"]["inputs"]) == 69
    world.registered()
    source = "azureml://locations/eastus2/workspaces/55555555-5555-5555-5555-555555555555/models/bot/versions/v1"
    asked = {"properties": {"referenceType": "Id", "destinationName": "bot", "destinationVersion": "1", "sourceAssetId": source}}
    assert world.ask("POST", f"{own}/import", asked, **OF_REGISTRY).status == 200
    holds("registry.model", world.ask("GET", f"{own}/models/bot/versions/1", **OF_REGISTRY))
    holds("registry.container", world.ask("GET", f"{own}/models/bot", **OF_REGISTRY))


def test_the_registries_refuse_in_their_own_words(world: Any, holds: Any) -> None:
    public, own = REGISTRY + "azureml", REGISTRY + "local-registry"
    holds("errors.registry", world.ask("GET", "/registrymanagement/v1.0/registries/none/discovery", version=None), 404)
    for path in (f"{public}/models/none/versions/1", f"{public}/components/none/versions/1", f"{own}/models/none", f"{public}/models/none"):
        holds("errors.registry", world.ask("GET", path, **OF_REGISTRY), 404)
    holds("errors.registry", world.ask("PUT", f"{public}/models/Phi-4/versions/8", {}, **OF_REGISTRY), 403)


def test_long_operations_from_their_beginning_to_each_end(make_world: Any, kit: Any, goldens: Any, holds: Any) -> None:
    world = make_world(dials={"endpoints": "by-hand", "computes": "by-hand"})

    def status(answered: Any) -> Any:
        return holds("operations.status", world.ask("GET", answered.headers["Azure-AsyncOperation"].partition(".com")[2].partition("?")[0]))

    begun = world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint())
    assert goldens.faults("operations.headers_of_put", dict(begun.headers)) == []
    assert status(begun)["endTime"].startswith("0001-01-01")
    world.ask("POST", "/_localcloud/state", {"move": {"endpoints": ["bot-1"]}}, version=None)
    world.cloud.advance()
    assert status(begun)["status"] == "Succeeded"
    deleted = world.ask("DELETE", "onlineEndpoints/bot-1")
    assert (deleted.status, deleted.body) == (202, b"null")
    assert goldens.faults("operations.headers_of_delete", dict(deleted.headers)) == []
    result = deleted.headers["Location"].partition(".com")[2].partition("?")[0]
    assert world.ask("GET", result).status == 202
    world.ask("POST", "/_localcloud/state", {"move": {"endpoints": ["bot-1"]}}, version=None)
    world.cloud.advance()
    assert (world.ask("GET", result).status, status(deleted)["status"]) == (204, "Succeeded")
    cluster = {"location": "eastus2", "properties": {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_DS3_v2"}}}
    made = world.ask("PUT", "computes/cpu-one", cluster)
    assert goldens.faults("operations.headers_of_clusters_put", dict(made.headers)) == []
    assert status(made)["status"] == "InProgress"


def test_a_long_operation_that_fails_says_why(world: Any, kit: Any, holds: Any) -> None:
    world.plan({"fault": "endpoint_failed"})
    begun = world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint())
    world.cloud.advance()
    path = begun.headers["Azure-AsyncOperation"].partition(".com")[2].partition("?")[0]
    ended = holds("operations.status", world.ask("GET", path))

    assert (ended["status"], ended["error"]["code"]) == ("Failed", "InternalServerError")
    holds("errors.arm", world.ask("GET", path.replace("OperationsStatus", "OperationResults")), 400)
    holds("errors.arm", world.ask("GET", path.rpartition("/")[0] + "/none"), 404)


def test_keys_tokens_and_logs_of_an_endpoint(world: Any, holds: Any) -> None:
    world.endpoint("bot-1", authMode="Key")
    before = holds("endpoints.keys", world.ask("POST", "onlineEndpoints/bot-1/listKeys"))
    again = world.ask("POST", "onlineEndpoints/bot-1/regenerateKeys", {"keyType": "Primary"})
    assert (again.status, again.body) == (200, b"")
    assert holds("endpoints.keys", world.ask("POST", "onlineEndpoints/bot-1/listKeys"))["primaryKey"] != before["primaryKey"]
    holds("errors.arm", world.ask("POST", "onlineEndpoints/bot-1/token"), 400)
    world.endpoint("bot-2")
    holds("endpoints.token", world.ask("POST", "onlineEndpoints/bot-2/token"))
    holds("errors.arm", world.ask("POST", "onlineEndpoints/bot-2/listKeys"), 400)
    path = world.deployed("d1-a", world.registered())
    for container in ("InferenceServer", "StorageInitializer"):
        holds("endpoints.logs", world.ask("POST", f"{path}/getLogs", {"containerType": container, "tail": 5}))
    holds("endpoints.skus", world.ask("GET", f"{path}/skus"))


@pytest.mark.parametrize("shape", ["records", "list", "output"])
def test_a_model_answers_in_each_of_three_shapes(goldens: Any, shape: str) -> None:
    """Method: the trainer that ships with the local cloud, its base model, one token."""
    question = {"input_data": {"input_string": [{"role": "user", "content": "Hello?"}], "parameters": {"max_new_tokens": 1}}}
    reply = scoring.Scorer(base.load(), shape).score(question)

    assert goldens.faults(f"scoring.{shape}", json.loads(json.dumps(reply))) == []


def test_scoring_refuses_with_a_status_and_a_code(world: Any, holds: Any) -> None:
    holds("errors.arm", world.score("none"), 404)
    world.endpoint("bot-1")
    holds("errors.arm", world.score(authorization="Bearer wrong"), 401)
    holds("errors.arm", world.score(), 404)
    model = world.registered()
    world.deployed("d1-a", model)
    world.plan({"fault": "scoring_throttled"}, {"fault": "scoring_empty"})
    throttled = world.score(azureml_model_deployment="d1-a")
    holds("errors.throttled", throttled, 429)
    assert throttled.headers["Retry-After"] == "1"
    holds("scoring.empty", world.score(azureml_model_deployment="d1-a"))
    failed = world.score(body={"input_data": "explode"}, azureml_model_deployment="d1-a")
    assert (failed.status, failed.headers["ms-azureml-model-error-statuscode"]) == (424, "500")
    holds("scoring.records", failed, 424)  # what the model itself said goes through


def test_a_model_that_is_too_slow_or_gone_is_a_408_or_a_424(world: Any, kit: Any, holds: Any) -> None:
    world.endpoint("bot-1")
    body = kit.deployment(world.registered(), requestSettings={"requestTimeout": "PT0.2S"})
    assert world.ask("PUT", "onlineEndpoints/bot-1/deployments/d1-a", body).status == 201
    world.until(lambda: world.get("onlineEndpoints/bot-1/deployments/d1-a")["properties"]["provisioningState"] == "Succeeded")
    holds("errors.arm", world.score(body={"input_data": "dawdle"}, azureml_model_deployment="d1-a"), 408)
    world.cloud.deployments.close()
    holds("errors.arm", world.score(azureml_model_deployment="d1-a"), 424)


def test_metrics_with_and_without_points(world: Any, holds: Any) -> None:
    world.endpoint("bot-1")
    path = world.deployed("d1-a", world.registered())
    now = world.cloud.site.clock()
    span = f"{now.strftime('%Y-%m-%dT%H:%M')}:00Z/{now.strftime('%Y-%m-%dT%H:%M')}:59Z"
    of_endpoint = f"onlineEndpoints/bot-1/providers/microsoft.insights/metrics?timespan={span}&metricnames=RequestsPerMinute"
    empty = holds("monitor.metrics", world.ask("GET", f"{of_endpoint}&aggregation=Total", version="2023-10-01"))
    assert empty["value"][0]["timeseries"] == []
    world.score(azureml_model_deployment="d1-a")
    holds("monitor.metrics", world.ask("GET", f"{of_endpoint}&aggregation=Total", version="2024-02-01"))
    beating = f"{path}/providers/microsoft.insights/metrics?timespan={span}&metricnames=DeploymentCapacity&aggregation=Average"
    holds("monitor.metrics", world.ask("GET", beating, version="2023-10-01"))
    holds("errors.arm", world.ask("GET", f"{of_endpoint}Nothing", version="2023-10-01"), 400)


def test_usages_and_quotas_by_family(world: Any, holds: Any) -> None:
    place = f"/subscriptions/{world.cloud.site.subscription}/providers/Microsoft.MachineLearningServices/locations/"
    assert holds("usages.usages", world.ask("GET", f"{place}eastus2/usages"))["value"]
    assert holds("usages.quotas", world.ask("GET", f"{place}eastus2/quotas"))["value"]
    holds("errors.arm", world.ask("GET", f"{place}mars/usages"), 400)


def test_identity_metadata_and_discovery(world: Any, holds: Any, goldens: Any) -> None:
    asked = "/msi/token?resource=https://management.azure.com"
    holds("identity.token", world.ask("GET", asked, version="2019-08-01", x_identity_header="local"))
    holds("errors.arm", world.ask("GET", asked, version="2019-08-01"), 401)
    holds("errors.arm", world.ask("GET", "/msi/token", version="2019-08-01", x_identity_header="local"), 400)
    clouds = json.loads(world.ask("GET", "/metadata/endpoints", version="2019-05-01").body)
    assert [goldens.faults("identity.cloud", one) for one in clouds] == [[]]
    holds("identity.discovery", world.ask("GET", "/discovery", version=None))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "jobs/none", 404),
        ("GET", "models/bot/versions/none", 404),
        ("GET", "onlineEndpoints/none", 404),
        ("GET", "computes/none", 404),
        ("GET", "datastores/none", 404),
        ("GET", "components/none", 404),
        ("GET", "jobs?$skip=nonsense!", 400),
        ("GET", "models?listViewType=Some", 400),
        ("GET", "environments/none", 404),
        ("GET", "codes/none/versions/1", 404),
        ("GET", "data", 501),
        ("DELETE", "jobs/none", 501),
    ],
)
def test_azure_resource_manager_refuses_in_one_shape(world: Any, holds: Any, method: str, path: str, status: int) -> None:
    error = holds("errors.arm", world.ask(method, path), status)["error"]

    if status == 501:
        assert f"{method} {world.cloud.site.workspace_id}/{path}" in error["message"]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"runId": 7}, "is 7 and should be text"),
        ({"status": "Done"}, "is 'Done' and should be"),
        ({"startTimeUtc": "yesterday"}, "should be moment"),
        ({"logFiles": {"a": "ftp://x"}}, "should be address"),
        ({"color": "red"}, "details.color is a field that no source names"),
        ({"target": None}, "is None and should be text"),
    ],
)
def test_a_shape_finds_what_is_wrong(world: Any, plain: Any, goldens: Any, change: dict[str, Any], fault: str) -> None:
    """The matcher itself: each kind of fault is found, and one that is missing too."""
    world.submit()
    details = json.loads(plain("GET", "history/v1.0", "runs/ft-a1/details").body)
    assert goldens.faults("run_history.details", details) == []

    assert fault in " ".join(goldens.faults("run_history.details", details | change))
    del details["status"]
    assert goldens.faults("run_history.details", details) == ["run_history.details.status is missing"]
