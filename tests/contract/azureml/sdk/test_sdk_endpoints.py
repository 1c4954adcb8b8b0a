"""Endpoints and deployments as a person asks for them with the unmodified azure-ai-ml: create, look, share traffic, ask, change, delete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::PendingDeprecationWarning")


@pytest.fixture
def question(tmp_path: Path) -> str:
    """A file with a question, as the SDK's invoke wants one."""
    file = tmp_path / "question.json"
    file.write_text(json.dumps({"input_data": {"input_string": [{"role": "user", "content": "Hello?"}]}}))
    return str(file)


@pytest.fixture
def live(sdk: Any, _invoke_forgets: None) -> Any:
    """The endpoint bot-1 with one deployment that has all the traffic."""
    endpoint = sdk.endpoint()
    sdk.deployed(sdk.world.registered())
    endpoint.traffic = {"d1-a": 100}
    return sdk.ml.online_endpoints.begin_create_or_update(endpoint).result()


@pytest.fixture
def _invoke_forgets() -> Any:
    """`invoke` keeps the headers of a call for all later ones of the process (azure-sdk-for-python#40062)."""
    from azure.ai.ml.constants._endpoint import EndpointInvokeFields

    before = dict(EndpointInvokeFields.DEFAULT_HEADER)
    yield
    EndpointInvokeFields.DEFAULT_HEADER.clear()
    EndpointInvokeFields.DEFAULT_HEADER.update(before)


def test_an_endpoint_is_shown_as_it_was_asked_for(sdk: Any) -> None:
    made = sdk.endpoint(description="answers", tags={"tuneloop-owner": "o"})
    found = sdk.ml.online_endpoints.get("bot-1")

    assert made.provisioning_state == "Succeeded"
    assert (found.auth_mode, found.description, found.tags) == ("key", "answers", {"tuneloop-owner": "o"})
    assert found.scoring_uri.endswith("/score")
    assert found.openapi_uri.endswith("/swagger.json")
    assert found.traffic == {}
    assert found.properties["AzureAsyncOperationUri"].startswith("https://")


def test_endpoints_are_listed_over_pages_and_an_absent_one_is_deleted_without_a_word(sdk: Any) -> None:
    for name in ("bot-1", "bot-2", "bot-3"):
        sdk.world.endpoint(name)

    assert [one.name for one in sdk.ml.online_endpoints.list()] == ["bot-1", "bot-2", "bot-3"]
    sdk.ml.online_endpoints.begin_delete("bot-2").wait()
    assert [one.name for one in sdk.ml.online_endpoints.list()] == ["bot-1", "bot-3"]
    sdk.ml.online_endpoints.begin_delete("bot-2").wait()


def test_a_deployment_carries_what_azure_fills_in(sdk: Any) -> None:
    sdk.endpoint()
    made = sdk.deployed(sdk.world.registered(), tags={"kind": "trial"})

    assert (made.provisioning_state, made.instance_count, made.tags) == ("Succeeded", 1, {"kind": "trial"})
    assert made.scale_settings.type == "default"
    assert made.request_settings.request_timeout_ms == 5000
    assert made.liveness_probe.initial_delay == 10
    assert sdk.ml.online_endpoints.get("bot-1").traffic == {"d1-a": 0}


def test_deployments_are_listed_over_pages(sdk: Any) -> None:
    model = sdk.world.registered()
    sdk.world.endpoint()
    for name in ("d1-a", "d2-a", "d3-a"):
        sdk.world.deployed(name, model)

    assert [one.name for one in sdk.ml.online_deployments.list("bot-1")] == ["d1-a", "d2-a", "d3-a"]


def test_a_deployment_is_scaled_and_its_settings_change(sdk: Any) -> None:
    sdk.endpoint()
    deployment = sdk.deployed(sdk.world.registered())
    deployment.instance_count = 3
    deployment.request_settings.request_timeout_ms = 90_000
    changed = sdk.ml.online_deployments.begin_create_or_update(deployment).result()

    assert (changed.instance_count, changed.request_settings.request_timeout_ms) == (3, 90_000)
    assert sdk.ml.online_deployments.get("d1-a", "bot-1").instance_count == 3


def test_traffic_is_shared_and_a_copy_of_it_mirrored(sdk: Any, live: Any) -> None:
    sdk.world.deployed("d2-a", sdk.world.registered("ft-a1", version="v2"))
    live.traffic, live.mirror_traffic = {"d1-a": 100}, {"d2-a": 10}
    changed = sdk.ml.online_endpoints.begin_create_or_update(live).result()
    assert (changed.traffic, changed.mirror_traffic) == ({"d1-a": 100}, {"d2-a": 10})
    live.traffic, live.mirror_traffic = {"d1-a": 90, "d2-a": 10}, {}
    assert sdk.ml.online_endpoints.begin_create_or_update(live).result().traffic == {"d1-a": 90, "d2-a": 10}


@pytest.mark.parametrize(
    ("traffic", "mirror", "sentence"),
    [
        ({"d1-a": 90}, {}, "must add up to 0 or 100"),
        ({"d9-a": 100}, {}, "which the endpoint does not have"),
        ({"d1-a": 100}, {"d1-a": 60}, "whole number from 0 to 50"),
    ],
)
def test_traffic_that_cannot_be_is_refused(sdk: Any, live: Any, traffic: dict[str, int], mirror: dict[str, int], sentence: str) -> None:
    live.traffic, live.mirror_traffic = traffic, mirror
    with pytest.raises(HttpResponseError, match=sentence) as refused:
        sdk.ml.online_endpoints.begin_create_or_update(live)

    assert refused.value.status_code == 400


def test_the_model_is_asked_by_traffic_and_by_the_name_of_a_deployment(sdk: Any, live: Any, question: str) -> None:
    sdk.world.deployed("d2-a", sdk.world.registered("ft-a1", version="v2"))

    assert "bot-1-d1-a" in sdk.ml.online_endpoints.invoke("bot-1", request_file=question)
    assert "bot-1-d2-a" in sdk.ml.online_endpoints.invoke("bot-1", request_file=question, deployment_name="d2-a")


@pytest.mark.usefixtures("_invoke_forgets")
def test_the_model_is_asked_with_a_token_of_entra_id(sdk: Any, question: str) -> None:
    sdk.endpoint(auth_mode="aad_token")
    sdk.deployed(sdk.world.registered())

    assert "hello from" in sdk.ml.online_endpoints.invoke("bot-1", request_file=question, deployment_name="d1-a")
    assert sdk.ml.online_endpoints.get_keys("bot-1").access_token.count(".") == 2


def test_keys_are_two_and_each_can_be_made_anew(sdk: Any) -> None:
    sdk.endpoint()
    before = sdk.ml.online_endpoints.get_keys("bot-1")
    sdk.ml.online_endpoints.begin_regenerate_keys("bot-1", key_type="secondary").result()
    after = sdk.ml.online_endpoints.get_keys("bot-1")

    assert before.primary_key == after.primary_key
    assert before.secondary_key != after.secondary_key
    sdk.ml.online_endpoints.begin_regenerate_keys("bot-1", key_type="primary").result()
    assert sdk.ml.online_endpoints.get_keys("bot-1").primary_key != before.primary_key


def test_an_endpoint_without_keys_makes_none_anew(sdk: Any) -> None:
    from azure.ai.ml.exceptions import ValidationException

    sdk.endpoint(auth_mode="aad_token")
    with pytest.raises(ValidationException, match="does not use keys"):
        sdk.ml.online_endpoints.begin_regenerate_keys("bot-1")


def test_logs_of_both_containers_are_read(sdk: Any) -> None:
    sdk.endpoint()
    sdk.deployed(sdk.world.registered())

    assert "ready" in sdk.ml.online_deployments.get_logs("d1-a", "bot-1", lines=10)
    fetched = sdk.ml.online_deployments.get_logs("d1-a", "bot-1", lines=10, container_type="storage-initializer")
    assert "The model bot:v1 lies at" in fetched
    assert "ready" not in fetched


def test_a_deployment_with_traffic_is_not_deleted_and_an_idle_one_is(sdk: Any, live: Any) -> None:
    with pytest.raises(HttpResponseError, match="it has 100 % of the traffic"):
        sdk.ml.online_deployments.begin_delete("d1-a", "bot-1")
    live.traffic = {"d1-a": 0}
    sdk.ml.online_endpoints.begin_create_or_update(live).result()
    sdk.ml.online_deployments.begin_delete("d1-a", "bot-1").wait()
    assert list(sdk.ml.online_deployments.list("bot-1")) == []


def test_an_endpoint_goes_with_all_its_deployments(sdk: Any, live: Any) -> None:
    sdk.ml.online_endpoints.begin_delete("bot-1").wait()

    with pytest.raises(ResourceNotFoundError, match="bot-1"):
        sdk.ml.online_endpoints.get("bot-1")


def test_what_is_not_there_is_a_resource_not_found(sdk: Any) -> None:
    sdk.world.endpoint()
    model = sdk.world.registered()
    asks = [
        lambda: sdk.ml.online_endpoints.get("bot-9"),
        lambda: sdk.ml.online_endpoints.get_keys("bot-9"),
        lambda: sdk.ml.online_deployments.get("d1-a", "bot-1"),
        lambda: sdk.ml.online_deployments.get_logs("d1-a", "bot-1", lines=5),
        lambda: sdk.ml.online_deployments.begin_create_or_update(sdk.deployment(model, endpoint="bot-9")),
    ]
    for ask in asks:
        with pytest.raises(ResourceNotFoundError):
            ask()
