"""What the unmodified azure-ai-ml raises, waits and tries again when Azure says no: each cause as the service would have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceExistsError, ServiceResponseError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::PendingDeprecationWarning")


class Foreign:
    """A credential of somebody else."""

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken("eyJhbGciOiJIUzI1NiJ9.eyJhdWQiOiJ4IiwiZXhwIjo5OTk5OTk5OTk5fQ.c2lnbmF0dXJl", 9_999_999_999)


def test_a_foreign_token_is_an_authentication_error(sdk: Any) -> None:
    from azure.ai.ml import MLClient

    here = sdk.cloud.site
    stranger = MLClient(Foreign(), here.subscription, here.group, here.workspace, transport=sdk.transport)
    with pytest.raises(ClientAuthenticationError, match="was not issued by this local cloud") as refused:
        stranger.jobs.get("ft-a1")

    assert refused.value.status_code == 401


def test_an_endpoint_that_is_being_changed_takes_no_other_change(sdk: Any) -> None:
    """The SDK maps 409 to ResourceExistsError, whatever the reason."""
    endpoint = sdk.endpoint()
    sdk.world.plan({"fault": "endpoint_locked", "match": {"name": "bot-1"}, "seconds": 3600})
    sdk.ml.online_endpoints.begin_create_or_update(endpoint)

    with pytest.raises(ResourceExistsError, match="because it is in Updating provisioning state") as refused:
        sdk.ml.online_endpoints.begin_create_or_update(endpoint)
    assert refused.value.status_code == 409
    with pytest.raises(ResourceExistsError, match="Cannot create a deployment in endpoint bot-1"):
        sdk.ml.online_deployments.begin_create_or_update(sdk.deployment(sdk.world.registered()))


def test_a_throttled_client_waits_as_long_as_it_is_told_and_tries_again(sdk: Any) -> None:
    sdk.world.submit("ft-w1", wish="wait")
    sdk.transport.asked_to_wait.clear()
    sdk.world.plan({"fault": "throttled", "match": {"path": "*/jobs/ft-w1"}, "times": 2, "retry_after": 7})

    assert sdk.ml.jobs.get("ft-w1").name == "ft-w1"
    assert sdk.transport.asked_to_wait == [7, 7]


def test_a_client_that_is_throttled_for_ever_gives_up_with_429(sdk: Any) -> None:
    sdk.world.plan({"fault": "throttled", "match": {"path": "*/jobs/*"}, "times": 0, "retry_after": 1})
    with pytest.raises(HttpResponseError) as refused:
        sdk.ml.jobs.get("ft-w1")

    assert refused.value.status_code == 429


@pytest.mark.parametrize("status", [500, 503])
def test_a_passing_fault_of_the_server_is_not_seen(sdk: Any, status: int) -> None:
    sdk.world.submit("ft-w1", wish="wait")
    sdk.world.plan({"fault": "error_before", "match": {"path": "*/jobs/ft-w1"}, "status": status, "times": 2})

    assert sdk.ml.jobs.get("ft-w1").name == "ft-w1"


def test_a_put_that_was_done_and_answered_503_is_sent_again_and_refused(sdk: Any) -> None:
    """So a caller has to read back before it believes the refusal."""
    sdk.world.plan({"fault": "error_after", "match": {"method": "PUT", "path": "*/jobs/ft-sdk-a1"}, "status": 503})
    with pytest.raises(HttpResponseError, match="A job with this name already exists"):
        sdk.ml.jobs.create_or_update(sdk.pipeline())

    assert sdk.ml.jobs.get("ft-sdk-a1").name == "ft-sdk-a1"


def test_a_reset_connection_is_tried_again(sdk: Any) -> None:
    sdk.world.submit("ft-w1", wish="wait")
    sdk.world.plan({"fault": "connection_reset", "match": {"path": "*/jobs/ft-w1"}})

    assert sdk.ml.jobs.get("ft-w1").name == "ft-w1"


def test_connections_that_are_always_reset_are_an_error_without_a_status(sdk: Any) -> None:
    sdk.world.plan({"fault": "connection_reset", "match": {"path": "*/jobs/ft-w1"}, "times": 0})
    with pytest.raises(ServiceResponseError):
        sdk.ml.jobs.get("ft-w1")


def test_a_deployment_that_fails_raises_its_code_and_reason(sdk: Any) -> None:
    model = sdk.world.registered(sdk.world.trained("ft-bad", wish="break"))
    sdk.endpoint()
    with pytest.raises(HttpResponseError, match="The weights do not load") as failed:
        sdk.deployed(model)

    assert failed.value.error is not None
    assert failed.value.error.code == "BadArgument"
    assert sdk.ml.online_deployments.get("d1-a", "bot-1").provisioning_state == "Failed"


def test_a_deployment_without_quota_is_refused_with_azures_sentence(sdk: Any) -> None:
    sdk.endpoint()
    sdk.world.plan({"fault": "deployment_refused"})
    with pytest.raises(HttpResponseError, match="Not enough quota available for Standard_NC24ads_A100_v4") as refused:
        sdk.deployed(sdk.world.registered())

    assert refused.value.status_code == 400


@pytest.mark.parametrize("name", ["no", "Phi-3-mini-4k-instruct-ultrachat-200k", "9lives"])
def test_a_bad_name_is_refused_by_the_client_before_anything_is_asked(sdk: Any, name: str) -> None:
    from azure.ai.ml.exceptions import MlException

    with pytest.raises(MlException, match="The name for an endpoint must"):
        sdk.endpoint(name)
    assert list(sdk.ml.online_endpoints.list()) == []


def test_a_wrong_model_or_size_is_refused_with_its_name(sdk: Any) -> None:
    sdk.endpoint()
    with pytest.raises(HttpResponseError, match="Standard_NC6s_v3"):
        sdk.deployed(sdk.world.registered(), instance_type="Standard_NC6s_v3")
    with pytest.raises(HttpResponseError, match="bot/versions/v9"):
        sdk.deployed(f"{sdk.cloud.site.workspace_id}/models/bot/versions/v9")


def test_invoke_hides_the_status_of_a_model_that_fails(sdk: Any, tmp_path: Path) -> None:
    """Why the app asks the scoring address itself: the SDK stumbles over a body that is no object."""
    question = tmp_path / "question.json"
    question.write_text(json.dumps({"input_data": "explode"}))
    sdk.endpoint(auth_mode="aad_token")
    sdk.deployed(sdk.world.registered())
    sdk.world.plan({"fault": "scoring_failed"})

    with pytest.raises(AttributeError):
        sdk.ml.online_endpoints.invoke("bot-1", request_file=str(question), deployment_name="d1-a")
