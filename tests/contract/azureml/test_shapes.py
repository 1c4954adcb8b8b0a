"""What Azure ML takes in a body is taken, everything else is refused with its path. These tables need nothing but this repository."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from localcloud.azureml.shapes import computes, datastores, deployments, endpoints, jobs, models, queries, small
from localcloud.azureml.shapes.versions import Limit
from localcloud.azureml.wire import Refused

pytestmark = pytest.mark.light
GUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
CLUSTER = {"location": "eastus2", "properties": {"computeType": "AmlCompute", "properties": {"vmSize": "S", "vmPriority": "lowpriority"}}}
STORE = {
    "properties": {
        "datastoreType": "AzureBlob",
        "accountName": "a",
        "containerName": "c",
        "credentials": {"credentialsType": "AccountKey", "secrets": {"secretsType": "AccountKey", "key": "not for an error"}},
    }
}
NODE = "properties.jobs.chat_completion_pipeline"


@pytest.fixture
def bodies(kit: Any) -> dict[str, tuple[Any, Any]]:
    """A shape and the body that the SDK sends, by name."""
    return {
        "job": (jobs.JOB, kit.job()),
        "model": (models.VERSION, kit.model("ft-a1")),
        "endpoint": (endpoints.ENDPOINT, kit.endpoint()),
        "deployment": (deployments.DEPLOYMENT, kit.deployment("azureml:bot:1")),
        "compute": (computes.COMPUTE, CLUSTER),
        "datastore": (datastores.DATASTORE, STORE),
    }


def put(body: Any, path: str, value: Any) -> Any:
    """Return the body with `value` at the path; `...` takes the field out."""
    fresh = copy.deepcopy(body)
    *above, last = path.split(".")
    place = fresh
    for name in above:
        place = place.setdefault(name, {})
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return fresh


def refusal(shape: Any, body: Any, **at: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        shape.read(body, **at)
    return caught.value


@pytest.mark.parametrize("name", ["job", "model", "endpoint", "deployment", "compute", "datastore"])
@pytest.mark.parametrize("version", ["2023-04-01-preview", "2023-10-01", "2024-01-01-preview", "2024-10-01-preview", "2026-05-01"])
def test_what_the_sdk_sends_is_taken_at_every_api_version(bodies: Any, name: str, version: str) -> None:
    shape, body = bodies[name]

    assert shape.read(body, version=version).properties is not None


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        # of other versions of the SDK, of the CLI, of REST samples, of Terraform
        ("job", "properties.identity", {"identityType": "Managed", "clientId": GUID}),
        ("job", "properties.services", {"Tracking": {"endpoint": "azureml://x", "status": None, "errorMessage": None}}),
        ("job", "properties.notificationSetting", {"emailOn": ["JobCompleted"], "emails": ["a@b"]}),
        ("job", "properties.status", "NotStarted"),
        ("job", "properties.inputs", {"epochs": {"jobInputType": "literal", "value": "3"}}),
        ("job", f"{NODE}.inputs.num_train_epochs", 3),
        ("job", f"{NODE}.inputs.num_train_epochs", {"job_input_type": "literal", "value": 3}),
        ("job", f"{NODE}.inputs.num_train_epochs", {"value": "${{parent.inputs.epochs}}", "type": "Literal", "mode": "RoMount"}),
        ("job", f"{NODE}.comment", "by hand"),
        ("job", f"{NODE}.outputs.mlflow_model_folder", "${{parent.outputs.trained_model}}"),
        ("job", f"{NODE}.outputs.mlflow_model_folder", {"type": "mlflow_model", "mode": "Upload", "name": "bot", "version": "1"}),
        ("job", "systemData", {"createdBy": "me", "createdByType": "User", "createdAt": "2026-01-01T00:00:00Z"}),
        ("model", "properties.flavors", {"python_function": {"data": {"loader_module": "m"}}}),
        ("model", "properties.provisioningState", "Succeeded"),
        ("model", "properties.description", None),
        ("endpoint", "identity", {"type": "systemAssigned"}),
        ("endpoint", "identity", {"type": "UserAssigned", "userAssignedIdentities": {"/subscriptions/s": None}}),
        ("endpoint", "kind", "Managed"),
        ("endpoint", "properties.scoringUri", None),
        ("endpoint", "properties.authMode", "aadToken"),
        ("endpoint", "properties.publicNetworkAccess", "disabled"),
        ("endpoint", "properties.keys", {"primaryKey": "k"}),
        ("deployment", "properties.codeConfiguration", {"codeId": "c", "scoringScript": "score.py"}),
        ("deployment", "properties.dataCollector", {"collections": {"inputs": {"dataCollectionMode": "Enabled"}}}),
        ("deployment", "properties.scaleSettings", {"scaleType": "TargetUtilization", "maxInstances": 2}),
        ("deployment", "properties.modelMountPath", "/var/model"),
        ("compute", "properties.properties.scaleSettings", {"maxNodeCount": 1, "minNodeCount": 0, "nodeIdleTimeBeforeScaleDown": "PT120S"}),
        ("compute", "properties.properties.subnet", None),
        ("compute", "properties.provisioningState", "Succeeded"),
        ("datastore", "properties.credentials", {"credentialsType": "None"}),
        ("datastore", "properties.isDefault", True),
    ],
)
def test_what_other_clients_send_is_taken(bodies: Any, name: str, path: str, value: Any) -> None:
    shape, body = bodies[name]

    assert shape.read(put(body, path, value), version="2024-01-01-preview")


@pytest.mark.parametrize(
    ("name", "path", "value", "says"),
    [
        ("job", "propertys", {}, "there is no field propertys; known there are id, name, properties, systemData, type"),
        ("job", "properties.display_name", "x", "there is no field properties.display_name; known there are componentId"),
        ("job", "properties.jobType", ..., "properties.jobType is missing and required"),
        (
            "job",
            "properties.jobType",
            "pipeline",
            'must be one of Pipeline, AutoML, Command, Distillation, FineTuning, Labeling, Spark, Sweep, and is "pipe',
        ),
        ("job", "properties", ..., "properties is missing and required"),
        ("job", "properties", [], "properties must be an object, and is a list"),
        ("job", "properties.tags", {"a": 1}, "properties.tags.a must be text, and is 1"),
        ("job", "properties.isArchived", "false", 'properties.isArchived must be true or false, and is "false"'),
        ("job", "properties.identity", {"identityType": "Managed", "clientId": "me"}, "properties.identity.clientId must be text of"),
        ("job", "properties.identity", {"identityType": "mine"}, "must be one of AMLToken, Managed, UserIdentity"),
        ("job", "properties.inputs", {"a": {"jobInputType": "literal"}}, "properties.inputs.a is a literal and needs a value"),
        (
            "job",
            "properties.inputs",
            {"a": {"jobInputType": "uri_file", "value": "x"}},
            "properties.inputs.a is a uri_file and needs a uri",
        ),
        ("job", "properties.outputs.trained_model.mode", "ReadOnlyMount", "must be one of ReadWriteMount, Upload, Direct"),
        ("job", "properties.outputs.trained_model.jobOutputType", "literal", "properties.outputs.trained_model is an output"),
        (
            "job",
            "properties.notificationSetting",
            {"emailOn": ["JobCompleted", "never"]},
            "properties.notificationSetting.emailOn[1] must be",
        ),
        ("job", "properties.settings.force_rerun", 1, "properties.settings.force_rerun must be true or false, and is 1"),
        ("job", "properties.settings.forceRerun", True, "there is no field properties.settings.forceRerun"),
        ("job", f"{NODE}.componentId", ..., f"{NODE}.componentId is missing and required"),
        ("job", f"{NODE}.component_id", "x", f"there is no field {NODE}.component_id"),
        ("job", f"{NODE}.type", "pipelines", f"{NODE}.type must be one of pipeline, command"),
        (
            "job",
            f"{NODE}.inputs.train_file_path.jobInputType",
            "file",
            f"{NODE}.inputs.train_file_path.jobInputType must be one of literal",
        ),
        ("job", f"{NODE}.inputs.train_file_path.url", "x", f"there is no field {NODE}.inputs.train_file_path.url"),
        ("job", f"{NODE}.inputs.train_file_path.uri", ..., f"{NODE}.inputs.train_file_path is a uri_file and needs a uri"),
        ("job", f"{NODE}.inputs.x", [1], f"{NODE}.inputs.x must be an object or text or a whole number"),
        ("job", f"{NODE}.outputs.mlflow_model_folder.asset", "x", f"there is no field {NODE}.outputs.mlflow_model_folder.asset"),
        ("model", "properties.modelUri", 1, "properties.modelUri must be text, and is 1"),
        ("model", "properties.flavors", {"a": {"data": {"b": {}}}}, "properties.flavors.a.data.b must be text, and is an object"),
        ("model", "tags", {}, "there is no field tags"),
        ("endpoint", "properties.authMode", "Password", 'must be one of AMLToken, Key, AADToken, and is "Password"'),
        ("endpoint", "properties.authMode", None, "properties.authMode must be one of AMLToken, Key, AADToken, and is null"),
        ("endpoint", "properties.traffic", {"a": 50, "b": "50"}, 'properties.traffic.b must be a whole number, and is "50"'),
        ("endpoint", "properties.traffic", {"a": True}, "properties.traffic.a must be a whole number, and is true"),
        ("endpoint", "identity", {"type": "Everybody"}, "identity.type must be one of None, SystemAssigned"),
        ("endpoint", "location", 3, "location must be text, and is 3"),
        ("deployment", "sku", {"name": "Default", "capacity": "1"}, 'sku.capacity must be a whole number, and is "1"'),
        ("deployment", "sku", {"capacity": 1}, "sku.name is missing and required"),
        ("deployment", "sku", {"name": "Default", "tier": "standard"}, "sku.tier must be one of Basic, Free, Premium, Standard"),
        ("deployment", "properties.scaleSettings", {"scaleType": "default"}, "must be one of Default, TargetUtilization"),
        (
            "deployment",
            "properties.requestSettings",
            {"requestTimeOut": "PT5S"},
            "there is no field properties.requestSettings.requestTimeOut",
        ),
        ("deployment", "properties.livenessProbe", {"period": 10}, "properties.livenessProbe.period must be text, and is 10"),
        (
            "deployment",
            "properties.codeConfiguration",
            {"codeId": "c"},
            "properties.codeConfiguration.scoringScript is missing and required",
        ),
        ("compute", "properties.properties.scaleSettings", {"minNodeCount": 0}, "scaleSettings.maxNodeCount is missing and required"),
        ("compute", "properties.properties.vmPriority", "Spot", "must be one of Dedicated, LowPriority"),
        (
            "datastore",
            "properties.credentials",
            {"credentialsType": "AccountKey"},
            "properties.credentials.secrets is missing and required",
        ),
    ],
)
def test_what_azure_does_not_have_is_refused_with_its_path(bodies: Any, name: str, path: str, value: Any, says: str) -> None:
    shape, body = bodies[name]
    refused = refusal(shape, put(body, path, value), version="2024-01-01-preview")

    assert refused.status == 400
    assert says in refused.message
    assert refused.target
    assert refused.target in refused.message


@pytest.mark.parametrize(
    ("name", "path", "word"),
    [
        ("job", "properties", {"jobType": "Spark", "codeId": "c", "entry": {"sparkJobEntryType": "SparkJobPythonEntry", "file": "f"}}),
        ("job", NODE, {"type": "command", "componentId": "c", "whatever": 1}),
        ("deployment", "properties", {"endpointComputeType": "Kubernetes", "containerResourceRequirements": {}}),
        ("compute", "properties", {"computeType": "ComputeInstance", "properties": {"vmSize": "S"}}),
        ("datastore", "properties", {"datastoreType": "AzureFile", "fileShareName": "f"}),
    ],
)
def test_what_only_azure_plays_is_a_501_that_names_it(bodies: Any, name: str, path: str, word: Any) -> None:
    shape, body = bodies[name]
    refused = refusal(shape, put(body, path, word))

    assert (refused.status, refused.code) == (501, "NotImplementedByLocalCloud")
    assert next(iter(word.values())) in refused.message


@pytest.mark.parametrize(
    ("name", "path", "value", "versions"),
    [
        ("deployment", "properties.startupProbe", {"period": "PT1S"}, ("2024-10-01-preview", "2023-04-01-preview")),
        ("deployment", "properties.privateNetworkConnection", True, ("2022-02-01-preview", "2023-04-01-preview")),
        ("model", "properties.stage", "Production", ("2023-08-01-preview", "2022-02-01-preview")),
        ("model", "properties.datasets", [{"name": "d", "id": "i"}], ("2026-05-01", "2023-08-01-preview")),
        ("job", "properties.inputs", {"a": {"jobInputType": "UriFile", "uri": "azureml://a"}}, ("2022-05-01", "2024-01-01-preview")),
        ("job", "properties.outputs.trained_model.assetVersion", "1", ("2024-01-01-preview", "2026-05-01")),
    ],
)
def test_a_field_is_refused_at_an_api_version_that_does_not_have_it(
    bodies: Any, name: str, path: str, value: Any, versions: tuple[str, str]
) -> None:
    shape, body = bodies[name]
    takes, refuses = versions
    if refuses.startswith("2022") or takes.startswith("2022"):
        body = put(body, "properties.outputs", {}) if name == "job" else body
    changed = put(body, path, value)

    assert shape.read(changed, version=takes)
    refused = refusal(shape, changed, version=refuses)
    assert f"api-version {refuses} does not know {path}" in refused.message


def test_a_version_that_was_not_read_takes_what_either_neighbour_takes() -> None:
    late, early = Limit(path="p", since="2024-10-01"), Limit(path="p", until="2024-01-01")

    assert late.holds("2024-04-01")
    assert early.holds("2024-04-01")
    assert not late.holds("2023-10-01")
    assert not early.holds("2025-01-01-preview")


def test_a_body_names_the_resource_of_its_address(bodies: Any) -> None:
    shape, body = bodies["job"]

    assert shape.read(body | {"name": "ft-a1"}, name="ft-a1")
    assert refusal(shape, body | {"name": "ft-b2"}, name="ft-a1").target == "name"


def test_a_missing_location_is_refused_as_azure_resource_manager_does(bodies: Any) -> None:
    shape, body = bodies["endpoint"]

    assert refusal(shape, put(body, "location", ...)).code == "LocationRequired"


def test_no_error_repeats_a_secret(bodies: Any) -> None:
    shape, body = bodies["datastore"]
    refused = refusal(shape, put(body, "properties.credentials.secrets.key", ["not for an error"]))

    assert "not for an error" not in refused.message
    assert "properties.credentials.secrets.key must be text" in refused.message


def test_a_long_value_is_not_repeated_whole(bodies: Any) -> None:
    shape, body = bodies["endpoint"]

    assert len(refusal(shape, put(body, "properties.authMode", "x" * 5000)).message) < 300


@pytest.mark.parametrize(
    ("shape", "body", "target"),
    [
        (small.REGENERATE_KEYS, {"keyType": "Third"}, "keyType"),
        (small.REGENERATE_KEYS, {}, "keyType"),
        (small.LOGS, {"containerType": "Sidecar"}, "containerType"),
        (small.LOGS, {"tail": "10"}, "tail"),
        (small.NOTHING, {"reason": "x"}, "reason"),
        (small.SECRET_EXPIRY, {"expireAfterHours": 1.5}, "expireAfterHours"),
        (small.ENDPOINT_PATCH, {"properties": {}}, "properties"),
        (small.DEPLOYMENT_PATCH, {"sku": {"capacity": "2"}}, "sku.capacity"),
        (computes.PATCH, {"properties": {"properties": {"scaleSettings": {}}}}, "properties.properties.scaleSettings.maxNodeCount"),
        (small.RUN_SEARCH, {"experiment_ids": [1]}, "experiment_ids[0]"),
        (small.QUOTAS, {"value": [{"limit": "6"}]}, "value[0].limit"),
    ],
)
def test_small_bodies_are_strict_too(shape: Any, body: Any, target: str) -> None:
    assert refusal(shape, body, version="2024-01-01-preview").target == target


def test_small_bodies_of_the_sdk_are_taken() -> None:
    assert small.REGENERATE_KEYS.read({"keyType": "primary", "keyValue": "k"}).key_value == "k"
    assert small.LOGS.read({"containerType": "StorageInitializer", "tail": 50}).tail == 50
    assert small.NOTHING.read({}) == small.Nothing()
    asked = {"experiment_ids": ["1"], "filter": "", "max_results": 10, "run_view_type": "ACTIVE_ONLY", "order_by": []}
    assert small.RUN_SEARCH.read(asked).max_results == 10


def test_an_unknown_query_parameter_is_refused_by_name() -> None:
    queries.check({"api-version": "2024-04-01", "$skip": "x", "listViewType": "All"}, queries.JOBS, "/jobs")
    with pytest.raises(Refused, match=r"no parameter listviewtype; known there are") as caught:
        queries.check({"listviewtype": "All"}, queries.JOBS, "/jobs")

    assert (caught.value.status, caught.value.target) == (400, "listviewtype")


def test_a_query_that_would_change_the_answer_is_a_501_by_name() -> None:
    played = {"computeType": frozenset({"managed"}), "properties": frozenset[str]()}
    queries.only({"computeType": "Managed"}, played, "/onlineEndpoints")
    with pytest.raises(Refused, match="asks computeType=Kubernetes; the local cloud plays managed for it"):
        queries.only({"computeType": "Kubernetes"}, played, "/onlineEndpoints")
    with pytest.raises(Refused, match="asks properties=a=b; the local cloud does not play it"):
        queries.only({"properties": "a=b"}, played, "/onlineEndpoints")
