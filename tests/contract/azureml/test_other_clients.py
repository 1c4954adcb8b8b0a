"""
What other clients than the app's own ask for and rely on. Each test names the client whose unmodified release sends it, or the recording
of Azure that was read; the bodies are our own. The page of the emulator has the table of what was run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import ContainerClient

from localcloud.azureml.datastores import BlobStorage

UPLOAD = "azureml://{place}datastores/workspaceblobstore/paths/LocalUpload/0123/bag"
STORED = {"modelType": "custom_model", "modelUri": UPLOAD.format(place=""), "tags": {}, "properties": {}, "isArchived": False}


def put_upload(world: Any, version: str = "1", *, status: int = 201, **more: Any) -> Any:
    """Register an upload as azure-ai-ml does; return the answer."""
    answered = world.ask("PUT", f"models/bag/versions/{version}", {"properties": {**STORED, **more}}, version="2023-08-01-preview")
    assert answered.status == status, answered.body
    return answered


def test_a_secret_that_ends_is_a_signature_which_opens_its_container_and_no_other(make_world: Any, storage: str) -> None:
    """azure-ai-ml 1.28.1 asks for one that ends and then reads `sasToken`, whatever the datastore's credential is."""
    world = make_world(storage=BlobStorage(storage))
    asked = {"expirableSecret": True, "expireAfterHours": 1}
    told = json.loads(world.ask("POST", "datastores/workspaceblobstore/listSecrets", asked).body)
    address = f"{world.cloud.ground.site.datastores['workspaceblobstore']}"
    endpoint = BlobStorage(storage).endpoint

    assert told["secretsType"] == "Sas"
    with ContainerClient(endpoint, address, credential=told["sasToken"]) as container:
        container.upload_blob("a/b", b"content")
        assert [blob.name for blob in container.list_blobs("a/b")] == ["a/b"]
    with ContainerClient(endpoint, "prepared", credential=told["sasToken"], retry_total=0) as other, pytest.raises(HttpResponseError):
        other.upload_blob("a/b", b"content")


def test_a_secret_without_an_end_is_the_key(world: Any) -> None:
    """azure-ai-ml 1.8.0 sends no body at all, 1.16.1 as well."""
    told = json.loads(world.ask("POST", "datastores/workspaceblobstore/listSecrets").body)

    assert told["secretsType"] == "AccountKey"


def test_what_a_put_has_made_says_where_it_is(world: Any, kit: Any) -> None:
    """[recorded] of jobs and model versions; a cluster's PUT names its operation only."""
    world.upload(path="x")
    job = world.ask("PUT", "jobs/ft-a1", kit.job(), version="2023-08-01-preview")
    model = put_upload(world)
    scale = {"minNodeCount": 0, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "PT2M"}
    own = {"computeType": "AmlCompute", "properties": {"vmSize": "Standard_NC24ads_A100_v4", "scaleSettings": scale}}
    cluster = world.ask("PUT", "computes/other", {"location": "eastus2", "properties": own})
    here = world.cloud.site.base + world.cloud.site.workspace_id

    assert (job.status, job.headers["Location"]) == (201, f"{here}/jobs/ft-a1?api-version=2023-08-01-preview")
    assert model.headers["Location"] == f"{here}/models/bag/versions/1?api-version=2023-08-01-preview"
    assert "Location" not in cluster.headers
    assert "Azure-AsyncOperation" in cluster.headers


@pytest.mark.parametrize("place", ["", "subscriptions/{0}/resourcegroups/{1}/workspaces/{2}/"])
def test_an_upload_is_registered_and_its_path_answered_whole(world: Any, place: str) -> None:
    """azure-ai-ml (1.1.0 to 1.35) registers a local folder by the path it was uploaded to, in lower case where it is the long one."""
    site = world.cloud.site
    place = place.format(site.subscription, site.group, site.workspace)
    flavors = {"sklearn": {"data": {"sklearn_version": "1"}}}
    made = json.loads(put_upload(world, modelUri=UPLOAD.format(place=place), modelType="mlflow_model", flavors=flavors).body)["properties"]
    whole = f"subscriptions/{site.subscription}/resourceGroups/{site.group}/workspaces/{site.workspace}/"

    assert made["modelUri"] == UPLOAD.format(place=whole)
    assert (made["flavors"], made["stage"], made["jobName"], made["description"]) == (flavors, "Development", None, None)
    same = {"modelUri": UPLOAD.format(place=place), "modelType": "mlflow_model"}
    again = json.loads(put_upload(world, status=200, description="better", **same).body)["properties"]
    assert (again["description"], again["modelUri"]) == ("better", made["modelUri"])


def test_an_upload_without_a_type_is_taken_as_a_model_of_ones_own_kind(world: Any) -> None:
    """The REST samples of Microsoft's documentation send the path alone."""
    answered = world.ask("PUT", "models/bag/versions/1", {"properties": {"modelUri": STORED["modelUri"]}}, version="2022-05-01")

    assert json.loads(answered.body)["properties"]["modelType"] == "custom_model"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"modelUri": "azureml://datastores/elsewhere/paths/a"}, b"elsewhere"),
        (
            {"modelUri": "azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/workspaceblobstore/paths/a"},
            b"another workspace",
        ),
        ({"modelType": "a_model"}, b"custom_model"),
    ],
)
def test_an_upload_that_azure_would_not_find_or_know_is_refused(world: Any, wrong: dict[str, str], named: bytes) -> None:
    assert named in put_upload(world, status=400, **wrong).body


def test_an_upload_is_not_deployed_and_the_refusal_says_why(world: Any, kit: Any) -> None:
    model = json.loads(put_upload(world, modelType="mlflow_model").body)["id"]
    world.endpoint()
    refused = world.ask("PUT", "onlineEndpoints/bot-1/deployments/d1-a", kit.deployment(model))

    assert refused.status == 501
    assert kit.error(refused)["target"] == "properties.model"
    assert b"LocalUpload" in refused.body


def test_a_client_that_names_no_version_takes_the_next_one(world: Any) -> None:
    """azure-ai-ml 1.8.0 to 1.28.1 read `nextVersion` of the name."""
    for version in ("9", "10", "v2"):
        put_upload(world, version)
    told = world.get("models/bag")["properties"]

    assert (told["latestVersion"], told["nextVersion"]) == ("v2", "11")


def test_the_versions_of_a_name_that_is_not_there_are_not_an_empty_list(world: Any) -> None:
    """[recorded] azure-ai-ml 1.26 asks so for the newest version, and counts on 404."""
    refused = world.ask("GET", "models/nobody/versions?$orderBy=createdtime desc&$top=1")

    assert refused.status == 404
    assert b"Model container with name: nobody not found." in refused.body


def test_versions_are_listed_by_their_stage(world: Any) -> None:
    """[recorded] azure-ai-ml 1.32, models.list(stage=...)."""
    put_upload(world, "1")
    put_upload(world, "2", stage="Production")
    listed = json.loads(world.ask("GET", "models/bag/versions?stage=Production&listViewType=ActiveOnly").body)["value"]

    assert [one["name"] for one in listed] == ["2"]


def test_a_cluster_says_its_times_and_how_many_machines_are_busy(world: Any) -> None:
    """[recorded] azure-ai-ml reads `created_on`; there is no systemData."""
    world.submit(wish="wait")
    world.until(lambda: world.status("ft-a1") == "Running")
    cluster = world.get("computes/gpu-cluster")
    own = cluster["properties"]["properties"]
    nodes = json.loads(world.ask("POST", "computes/gpu-cluster/listNodes").body)["nodes"]

    assert "systemData" not in cluster
    assert cluster["properties"]["createdOn"] <= cluster["properties"]["modifiedOn"]
    assert (own["currentNodeCount"], own["nodeStateCounts"]["runningNodeCount"], own["nodeStateCounts"]["idleNodeCount"]) == (1, 1, 0)
    assert [(node["nodeState"], node["runId"]) for node in nodes] == [("running", "ft-a1")]


@pytest.mark.parametrize(("version", "levels"), [("2023-04-01", 2), ("2020-08-01", 1)])
def test_a_cluster_is_scaled_by_a_patch(world: Any, version: str, levels: int) -> None:
    """azure-mgmt-machinelearningservices 2.0.0b2 and 1.0.1, begin_update of a compute."""
    scale = {"minNodeCount": 2, "maxNodeCount": 3}
    body: dict[str, Any] = {"scaleSettings": scale}
    for _ in range(levels):
        body = {"properties": body}
    patched = world.ask("PATCH", "computes/gpu-cluster", body, version=version)
    world.cloud.advance()
    own = world.get("computes/gpu-cluster")["properties"]["properties"]
    nodes = json.loads(world.ask("POST", "computes/gpu-cluster/listNodes").body)["nodes"]

    assert patched.status == 200  # the only one that this client takes
    assert "Azure-AsyncOperation" in patched.headers
    assert own["scaleSettings"] == {**scale, "nodeIdleTimeBeforeScaleDown": "PT120S"}
    assert [(node["nodeState"], node["runId"]) for node in nodes] == [("idle", None), ("idle", None)]


def test_the_password_of_a_clusters_account_is_neither_kept_nor_shown(make_world: Any, tmp_path: Path) -> None:
    """azure-ai-ml, AmlComputeSshSettings; [recorded] Azure answers null."""
    world = make_world(tmp_path / "world")
    account = {"adminUserName": "somebody", "adminUserPassword": "a secret of the test", "adminUserSshPublicKey": "ssh-rsa AAAA"}
    own = {"vmSize": "Standard_NC24ads_A100_v4", "scaleSettings": {"maxNodeCount": 1}, "userAccountCredentials": account}
    own["remoteLoginPortPublicAccess"] = "Enabled"
    body = {"location": "eastus2", "properties": {"computeType": "AmlCompute", "properties": own}}
    made = json.loads(world.ask("PUT", "computes/other", body).body)["properties"]["properties"]

    assert made["userAccountCredentials"] == {**account, "adminUserPassword": None}
    assert made["remoteLoginPortPublicAccess"] == "Enabled"
    assert "a secret of the test" not in json.dumps(world.cloud.traffic.shown(0))


@pytest.mark.parametrize(
    "path",
    ["", "computes", "computes/gpu-cluster", "/subscriptions/{0}/providers/Microsoft.MachineLearningServices/locations/eastus2/vmSizes"],
)
def test_what_is_older_than_jobs_and_models_answers_at_its_early_versions(world: Any, path: str) -> None:
    """azure-mgmt-machinelearningservices 1.0.1 asks for 2020-08-01."""
    path = path.format(world.cloud.site.subscription) or world.cloud.site.workspace_id

    assert world.ask("GET", path, version="2020-08-01").status == 200
    assert world.ask("GET", "jobs", version="2020-08-01").status == 400


def mlflow(world: Any, method: str, path: str, body: Any = None) -> Any:
    """Return what MLflow's REST interface answers below the workspace, with its status."""
    below = f"/mlflow/v2.0{world.cloud.site.workspace_id}/api/2.0/mlflow/"
    answered = world.ask(method, below + path, body, version=None)
    return answered.status, json.loads(answered.body)


def test_experiments_are_found_by_id_and_listed(world: Any) -> None:
    """mlflow-skinny 3.15 with azureml-mlflow 1.62: get_experiment, search_experiments."""
    world.submit(wish="wait")
    _, named = mlflow(world, "GET", "experiments/get-by-name?experiment_name=chat")
    number = named["experiment"]["experiment_id"]

    assert mlflow(world, "GET", f"experiments/get?experiment_id={number}") == (200, named)
    assert mlflow(world, "POST", "experiments/search", {"max_results": 5, "view_type": "ACTIVE_ONLY"}) == (
        200,
        {"experiments": [named["experiment"]]},
    )
    assert mlflow(world, "GET", "experiments/get?experiment_id=none")[0] == 404
    assert mlflow(world, "POST", "experiments/search", {"filter": "name = 'chat'"})[0] == 501


@pytest.mark.parametrize(("order", "first"), [("attributes.start_time DESC", "ft-a2"), ("attribute.start_time", "ft-a1")])
def test_runs_are_sorted_by_their_start_and_by_nothing_else(world: Any, order: str, first: str) -> None:
    """mlflow-skinny 3.15, search_runs(order_by=...)."""
    world.submit("ft-a1", "wait")
    world.until(lambda: world.status("ft-a1") == "Running")
    world.submit("ft-a2", "wait")
    roots = [run["info"]["run_id"] for run in mlflow(world, "POST", "runs/search", {"order_by": [order]})[1]["runs"]]

    assert next(name for name in roots if name.startswith("ft-")) == first
    assert mlflow(world, "POST", "runs/search", {"order_by": ["metrics.loss"]})[0] == 501


def test_an_aml_token_opens_its_own_endpoint_and_no_other(world: Any, kit: Any) -> None:
    """The REST samples of Microsoft's documentation and azure-ai-ml 1.1.0 (recorded) make endpoints with authMode AMLToken."""
    model = world.registered()
    tokens = {}
    for name in ("bot-1", "bot-2"):
        world.endpoint(name, authMode="AMLToken")
        world.deployed("blue", model, name)
        world.endpoint(name, authMode="AMLToken", traffic={"blue": 100})
        tokens[name] = json.loads(world.ask("POST", f"onlineEndpoints/{name}/token").body)["accessToken"]
    ours, others, entra = tokens["bot-1"], tokens["bot-2"], world.cloud.tokens.issue("https://ml.azure.com")[0]

    assert world.score(authorization=f"Bearer {ours}").status == 200
    assert world.score(authorization=f"Bearer {others}").status == 401
    assert world.score(authorization=f"Bearer {entra}").status == 401
    assert world.ask("GET", "jobs", authorization=f"Bearer {ours}").status == 401
    assert world.ask("POST", "onlineEndpoints/bot-1/listKeys").status == 400


@pytest.mark.parametrize("version", ["2018-01-01", "2021-05-01", "2024-02-01"])
def test_each_line_of_the_monitor_client_reads_an_endpoint(world: Any, version: str) -> None:
    """azure-mgmt-monitor 5.0.1, 6.0.2 and 7.0.0, metrics.list; the options are those of 6.0.2."""
    path = f"onlineEndpoints/{world.endpoint()}/providers/Microsoft.Insights/metrics?metricnames=RequestsPerMinute"
    path += "&timespan=2026-01-01T00:00:00Z/2026-01-01T01:00:00Z&interval=PT1M&aggregation=Average"

    assert world.ask("GET", f"{path}&resultType=Data&AutoAdjustTimegrain=false", version=version).status == 200
    assert world.ask("GET", f"{path}&rollupby=deployment", version=version).status == 501
