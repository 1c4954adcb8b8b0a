"""The unmodified azure-ai-ml speaks to the emulator in this process, as the app would: every verb that the flow needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::PendingDeprecationWarning")


@pytest.fixture
def clients(world: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Clients of the workspace and of the registry; the cloud's own thread moves it."""
    from azure.ai.ml import MLClient

    from localcloud.azureml.transport import Credential, transport

    for name in ("AZUREML_CURRENT_CLOUD", "ARM_CLOUD_METADATA_URL", "AZUREML_DEV_URL_MFE"):
        monkeypatch.setenv(name, "set so that the client's own change of it is undone")
        monkeypatch.delenv(name)
    world.cloud.start()
    common = {"credential": Credential(world.cloud), "transport": transport(world.cloud), "show_progress": False}
    site = world.cloud.site
    of_workspace = MLClient(subscription_id=site.subscription, resource_group_name=site.group, workspace_name=site.workspace, **common)
    return of_workspace, MLClient(registry_name="azureml", **common)


@pytest.fixture
def pipeline_job(world: Any, clients: tuple[Any, Any]) -> Callable[..., Any]:
    """Builds the job as the app would: the component by its name, files by address, a name of our own."""

    def build(name: str = "ft-sdk-a1", wish: str = "train", **inputs: Any) -> Any:
        from azure.ai.ml import Input
        from azure.ai.ml.dsl import pipeline

        component = clients[1].components.get("chat_completion_pipeline", label="latest")
        world.upload(wish, path=name)
        files = "azureml://datastores/tuneloop_prepared/paths/" + name
        base = "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/15"

        @pipeline(display_name="a tuning")
        def fine_tuning() -> dict[str, Any]:
            node = component(
                mlflow_model_path=Input(type="mlflow_model", path=base),
                train_file_path=Input(type="uri_file", path=f"{files}/train.jsonl"),
                validation_file_path=Input(type="uri_file", path=f"{files}/validation.jsonl"),
                **({"compute_finetune": "gpu-cluster", "num_train_epochs": 1} | inputs),
            )
            return {"trained_model": node.outputs.mlflow_model_folder}

        job = fine_tuning()
        job.name, job.experiment_name, job.tags = name, "chat", {"tuneloop-owner": "o"}
        job.settings.force_rerun = True
        return job

    return build


def test_the_base_model_is_archived_and_names_keys_that_the_component_lacks(clients: tuple[Any, Any]) -> None:
    model = clients[1].models.get("Phi-3-mini-4k-instruct", label="latest")
    component = clients[1].components.get("chat_completion_pipeline", version="0.0.82")

    assert model.version == "15"
    assert "'learning_rate_min': '5e-7'" in model.tags["model_specific_defaults"]
    assert len(component.inputs) == 69
    assert "learning_rate_min" not in component.inputs


def test_compute_and_workspace_are_what_the_app_asks_for(clients: tuple[Any, Any]) -> None:
    sizes = {size.name: size.gpus for size in clients[0].compute.list_sizes()}

    assert clients[0].compute.get("gpu-cluster").size == "Standard_NC24ads_A100_v4"
    assert sizes["Standard_NC24ads_A100_v4"] == 1
    assert clients[0].workspaces.get("local-workspace").location == "eastus2"


def test_what_is_not_there_is_a_resource_not_found(clients: tuple[Any, Any]) -> None:
    client = clients[0]
    asks: list[Callable[[], object]] = [
        lambda: client.jobs.get("ft-none"),
        lambda: client.models.get("bot", version="v1"),
        lambda: client.online_endpoints.get("bot-1"),
        lambda: client.online_deployments.get("d1-a", "bot-1"),
    ]
    for ask in asks:
        with pytest.raises(ResourceNotFoundError):
            ask()


def test_a_job_is_submitted_looked_at_and_refused_a_second_time(
    world: Any, clients: tuple[Any, Any], pipeline_job: Callable[..., Any]
) -> None:
    client = clients[0]
    assert client.jobs.create_or_update(pipeline_job()).status == "NotStarted"
    world.until(lambda: client.jobs.get("ft-sdk-a1").status == "Completed")

    assert [job.name for job in client.jobs.list()] == ["ft-sdk-a1"]
    assert len(list(client.jobs.list(parent_job_name="ft-sdk-a1"))) == 5
    with pytest.raises(HttpResponseError, match="A job with this name already exists"):
        client.jobs.create_or_update(pipeline_job(num_train_epochs=2))


def test_an_input_out_of_range_is_an_http_error_with_its_name(clients: tuple[Any, Any], pipeline_job: Callable[..., Any]) -> None:
    with pytest.raises(HttpResponseError, match="num_train_epochs"):
        clients[0].jobs.create_or_update(pipeline_job(num_train_epochs=0))


def test_a_running_job_is_canceled(world: Any, clients: tuple[Any, Any], pipeline_job: Callable[..., Any]) -> None:
    client = clients[0]
    client.jobs.create_or_update(pipeline_job(wish="wait"))
    world.until(lambda: client.jobs.get("ft-sdk-a1").status == "Running")
    client.jobs.begin_cancel("ft-sdk-a1").result()

    assert client.jobs.get("ft-sdk-a1").status == "Canceled"


def test_a_model_goes_live_and_everything_is_deleted_again(world: Any, clients: tuple[Any, Any]) -> None:
    from azure.ai.ml.entities import ManagedOnlineDeployment, ManagedOnlineEndpoint, Model

    client = clients[0]
    job = world.trained()
    path = f"azureml://jobs/{job}/outputs/trained_model"
    model = client.models.create_or_update(Model(name="bot", version="v1", type="mlflow_model", path=path))
    endpoint = ManagedOnlineEndpoint(name="bot-1", auth_mode="aad_token", tags={"tuneloop-owner": "o"})
    client.online_endpoints.begin_create_or_update(endpoint).result()
    deployment = ManagedOnlineDeployment(
        name="d1-a", endpoint_name="bot-1", model=model.id, instance_type="Standard_NC24ads_A100_v4", instance_count=1
    )
    assert client.online_deployments.begin_create_or_update(deployment).result().provisioning_state == "Succeeded"
    endpoint.traffic = {"d1-a": 100}
    live = client.online_endpoints.begin_create_or_update(endpoint).result()

    assert live.traffic == {"d1-a": 100}
    assert world.score().status == 200
    assert "ready" in client.online_deployments.get_logs("d1-a", "bot-1", lines=10)
    with pytest.raises(HttpResponseError, match="it has 100 % of the traffic"):
        client.online_deployments.begin_delete("d1-a", "bot-1")
    endpoint.traffic = {}
    client.online_endpoints.begin_create_or_update(endpoint).result()
    client.online_deployments.begin_delete("d1-a", "bot-1").result()
    client.online_endpoints.begin_delete("bot-1").result()
    assert list(client.online_endpoints.list()) == []
    assert [one.version for one in client.models.list(name="bot")] == ["v1"]


def test_a_deployment_that_fails_raises_its_reason_from_the_operation(world: Any, clients: tuple[Any, Any]) -> None:
    from azure.ai.ml.entities import ManagedOnlineDeployment

    client = clients[0]
    model = world.registered(world.trained("ft-bad", wish="break"))
    world.endpoint()
    deployment = ManagedOnlineDeployment(
        name="d1-a", endpoint_name="bot-1", model=model, instance_type="Standard_NC24ads_A100_v4", instance_count=1
    )
    with pytest.raises(HttpResponseError, match="weights do not load"):
        client.online_deployments.begin_create_or_update(deployment).result()
    assert client.online_deployments.get("d1-a", "bot-1").provisioning_state == "Failed"
