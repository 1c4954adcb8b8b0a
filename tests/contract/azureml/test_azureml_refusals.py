"""The emulator is strict: what it does not know it refuses, and says by name what it was."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from localcloud.azureml.traffic import Traffic
from localcloud.clocks import ManualClock


def test_an_unknown_path_is_a_501_that_names_it(world: Any, kit: Any) -> None:
    answered = world.ask("PATCH", "batchEndpoints/b1")

    assert answered.status == 501
    assert "PATCH" in kit.error(answered)["message"]
    assert "batchEndpoints/b1" in kit.error(answered)["message"]


@pytest.mark.parametrize(("version", "code"), [(None, "MissingApiVersionParameter"), ("2020-01-01", "InvalidApiVersionParameter")])
def test_an_api_version_that_azure_does_not_have_is_refused(world: Any, kit: Any, version: Any, code: Any) -> None:
    answered = world.ask("GET", "jobs", version=version)

    assert (answered.status, kit.error(answered)["code"]) == (400, code)


def test_another_workspace_is_not_found(world: Any, kit: Any) -> None:
    path = world.cloud.site.workspace_id.replace("local-workspace", "prod-workspace")

    answered = world.ask("GET", f"{path}/jobs")
    assert (answered.status, kit.error(answered)["code"]) == (404, "ResourceNotFound")


def test_a_path_is_read_without_regard_to_case(world: Any) -> None:
    path = world.cloud.site.workspace_id.replace("resourceGroups", "resourcegroups").replace("local-rg", "LOCAL-RG")

    assert world.ask("GET", f"{path}/onlineendpoints").status == 200


@pytest.mark.parametrize("token", ["none", "Bearer x", "Basic abc"])
def test_a_request_without_a_token_of_this_cloud_is_refused(world: Any, token: Any) -> None:
    assert world.ask("GET", "jobs", authorization=token).status == 401


def test_the_identity_endpoint_gives_tokens_to_those_who_know_its_header(world: Any) -> None:
    path = "/msi/token?resource=https://ml.azure.com"
    refused = world.ask("GET", path, version="2019-08-01")
    given = json.loads(world.ask("GET", path, version="2019-08-01", x_identity_header="local").body)

    assert refused.status == 401
    assert given["token_type"] == "Bearer"
    assert world.ask("GET", "jobs", authorization=f"Bearer {given['access_token']}").status == 200


@pytest.mark.parametrize("body", [b"not json", b"[]"])
def test_a_body_that_is_no_object_is_refused(world: Any, body: Any) -> None:
    from dataclasses import replace

    from localcloud.azureml.wire import Request

    token = world.cloud.tokens.issue("https://management.azure.com")[0]
    path = f"{world.cloud.site.workspace_id}/jobs/ft-a1"
    asked = Request(
        method="PUT", path=path, query={"api-version": "2024-01-01-preview"}, headers={"authorization": f"Bearer {token}"}, body=b"{}"
    )

    assert world.cloud.handle(replace(asked, body=body)).status == 400


def test_a_registry_error_has_the_registrys_own_shape(world: Any) -> None:
    registry = "/mferp/managementfrontend/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/registries/azureml"
    answered = world.ask("GET", f"{registry}/models/gpt-9/versions/1", version="2021-10-01-dataplanepreview")

    assert answered.status == 404
    assert json.loads(answered.body)["statusCode"] == 404


def test_an_unknown_fault_is_refused(world: Any, kit: Any) -> None:
    refused = world.ask("POST", "/_localcloud/faults", {"faults": [{"fault": "explosion"}]}, version=None)

    assert (refused.status, "explosion" in kit.error(refused)["message"]) == (400, True)


def test_the_state_shows_what_there_is(world: Any) -> None:
    two = world.registered()
    world.endpoint()
    world.deployed("d1-a", two)
    state = json.loads(world.ask("GET", "/_localcloud/state", version=None, authorization="none").body)

    assert state["jobs"] == {"ft-a1": "Completed"}
    assert state["models"] == ["bot:v1"]
    assert state["endpoints"]["bot-1"]["deployments"] == ["d1-a"]
    assert state["events"]["by_type"]["Microsoft.MachineLearningServices.RunCompleted"] == 6


def test_a_question_that_breaks_the_emulator_is_a_500_that_names_it(world: Any, kit: Any) -> None:
    """Method: the shelf of models is taken away."""
    del world.cloud.models.all
    answered = world.ask("GET", "models/bot/versions")

    assert answered.status == 500
    assert "models/bot/versions" in kit.error(answered)["message"]


@pytest.mark.parametrize(
    ("path", "status", "target"),
    [
        ("jobs?listviewtype=All", 400, "listviewtype"),
        ("jobs?jobType=Sweep", 501, "jobType"),
        ("models/bot/versions?$orderBy=name", 501, "$orderBy"),
        ("models/bot?$top=1", 400, "$top"),
        ("onlineEndpoints?computeType=Kubernetes", 501, "computeType"),
        ("datastores?count=many", 400, "count"),
        ("computes?name=gpu-cluster", 400, "name"),
    ],
)
def test_a_query_that_azure_does_not_have_or_only_azure_answers_is_refused_by_name(
    world: Any, kit: Any, path: str, status: int, target: str
) -> None:
    answered = world.ask("GET", path)

    assert answered.status == status
    assert kit.error(answered)["target"] == target
    assert target in kit.error(answered)["message"]


def test_the_default_datastore_is_found_as_the_sdk_looks_for_it(world: Any) -> None:
    found = world.get("datastores?isDefault=true")["value"]

    assert [one["name"] for one in found] == ["workspaceblobstore"]


@pytest.mark.parametrize(
    ("path", "field", "change"),
    [
        ("jobs/ft-a1", "properties.schedule", {"scheduleType": "Cron", "expression": "0 0 * * *"}),
        ("jobs/ft-a1", "properties.notificationSetting.emails", None),
        ("jobs/ft-a1", "properties.settings.on_init", None),
        ("models/bot/versions/1", "properties.autoDeleteSetting", {"condition": "CreatedGreaterThan", "value": "1"}),
        ("onlineEndpoints/bot-1", "properties.keys", {"primaryKey": "k"}),
    ],
)
def test_a_field_that_only_azure_plays_is_a_501_that_names_it(world: Any, kit: Any, path: str, field: str, change: Any) -> None:
    body = {"jobs": kit.job(), "models": kit.model("ft-a1"), "onlineEndpoints": kit.endpoint()}[path.split("/", maxsplit=1)[0]]
    _, name, *inner = field.split(".")
    body["properties"][name] = change if not inner else {inner[0]: ["a@b"] if inner[0] == "emails" else "init"}
    version = "2022-02-01-preview" if name == "schedule" else "2024-01-01-preview"
    if name == "schedule":
        body["properties"]["outputs"]["trained_model"]["jobOutputType"] = "MLFlowModel"
    answered = world.ask("PUT", path, body, version=version)

    assert answered.status == 501
    assert kit.error(answered)["target"] == field
    assert field in kit.error(answered)["message"]


@pytest.mark.parametrize("action", ["jobs/ft-a1/cancel", "onlineEndpoints/bot-1/listKeys", "datastores/workspaceblobstore/listSecrets"])
def test_a_post_with_a_field_that_it_does_not_have_is_refused(world: Any, kit: Any, action: str) -> None:
    world.submit()
    world.endpoint()
    answered = world.ask("POST", action, {"because": "x"})

    assert (answered.status, kit.error(answered)["target"]) == (400, "because")


def test_a_pipeline_of_the_first_preview_spells_its_outputs_in_its_own_way(make_world: Any, kit: Any) -> None:
    """Not recorded: the checker holds every exchange against the newest types too, which have another word for it."""
    world = make_world(traffic=Traffic())
    world.upload(path="ft-old")
    body = kit.job(path="ft-old")
    body["properties"]["outputs"]["trained_model"]["jobOutputType"] = "MLFlowModel"

    first = world.ask("PUT", "jobs/ft-old", body, version="2022-02-01-preview")

    assert first.status == 201
    assert "componentId" not in json.loads(first.body)["properties"]  # answers have it since a later preview
    assert world.ask("PUT", "jobs/ft-new", body, version="2024-01-01-preview").status == 400


def test_the_signature_in_the_address_of_an_operation_is_no_unknown_query(world: Any) -> None:
    """Azure's own addresses carry one, and a client that was recorded against Azure sends it back."""
    signed = "/subscriptions/s/providers/Microsoft.MachineLearningServices/locations/eastus2/mfeOperationsStatus/oeidp:1:2?t=1&c=x&s=y&h=z"

    assert world.ask("GET", signed).status == 404


def test_no_secret_of_a_body_is_in_the_record_of_the_traffic(world: Any, kit: Any) -> None:
    world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint(keys={"primaryKey": "a-secret", "secondaryKey": "a-secret"}))
    account = {"adminUserName": "me", "adminUserPassword": "a-secret"}
    cluster = {"computeType": "AmlCompute", "properties": {"vmSize": "S", "userAccountCredentials": account}}
    world.ask("PUT", "computes/other", {"location": "eastus2", "properties": cluster})
    record = json.dumps(json.loads(world.ask("GET", "/_localcloud/traffic", version=None).body))

    assert "a-secret" not in record
    assert '"adminUserName": "me"' in record


def test_a_token_is_checked_by_its_end_also_when_it_was_seen_before(world: Any, kit: Any) -> None:
    token = "Bearer " + world.cloud.tokens.issue("https://management.azure.com")[0]
    assert world.ask("GET", "jobs", authorization=token).status == 200
    world.offset = timedelta(hours=24, seconds=1)
    refused = world.ask("GET", "jobs", authorization=token)

    assert (refused.status, kit.error(refused)["code"]) == (401, "ExpiredAuthenticationToken")


def test_a_token_that_was_changed_or_is_meant_for_others_is_refused_also_when_the_right_one_was_seen(world: Any, kit: Any) -> None:
    token = world.cloud.tokens.issue("https://management.azure.com")[0]
    other = world.cloud.tokens.issue("https://storage.azure.com")[0]
    assert world.ask("GET", "jobs", authorization=f"Bearer {token}").status == 200
    codes = [kit.error(world.ask("GET", "jobs", authorization=f"Bearer {one}"))["code"] for one in (token[:-3] + "abc", other, other)]

    assert codes == ["InvalidAuthenticationToken", "InvalidAuthenticationTokenAudience", "InvalidAuthenticationTokenAudience"]


def test_on_a_manual_clock_tokens_never_end(make_world: Any) -> None:
    clock = ManualClock()
    world = make_world(site={"clock": clock})
    token = "Bearer " + world.cloud.tokens.issue("https://management.azure.com")[0]
    clock.move(timedelta(days=365))

    assert world.ask("GET", "jobs", authorization=token).status == 200
