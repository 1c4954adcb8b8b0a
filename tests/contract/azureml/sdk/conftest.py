"""
One suite, two skins: the unmodified azure-ai-ml over HTTPS, steered by environment variables alone, and the same in process.

One emulator and one pair of clients for each file and skin; every test begins with an empty cloud. Only waiting is changed: where
an answer says Retry-After, both transports nap instead of sleeping, and note how long they were asked to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.core.pipeline.transport import RequestsTransport

from localcloud import certificates, web
from localcloud.azureml import environment, server, site
from localcloud.azureml.cloud import Cloud
from localcloud.azureml.transport import Adapter, Credential

NAP_SECONDS = 0.02
FILES = "azureml://datastores/tuneloop_prepared/paths/"
BASE_MODEL = "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/15"
SIZE = "Standard_NC24ads_A100_v4"


class Napping(RequestsTransport):
    """The stock transport, impatient."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.asked_to_wait: list[float] = []  # seconds

    def sleep(self, duration: float) -> None:
        """Note how long it should have been."""
        self.asked_to_wait.append(duration)
        time.sleep(min(duration, NAP_SECONDS))


@dataclass
class Sdk:
    """Both clients of a person, the cloud behind them, and what a test needs often."""

    skin: str
    world: Any
    transport: Napping
    credential: Any
    ml: Any  # MLClient of the workspace
    registry: Any  # MLClient of the registry azureml

    @property
    def cloud(self) -> Cloud:
        return self.world.cloud  # type: ignore[no-any-return]

    def client(self, **place: Any) -> Any:
        """Return another client of the same person."""
        from azure.ai.ml import MLClient

        return MLClient(self.credential, show_progress=False, transport=self.transport, **place)

    def pipeline(self, name: str = "ft-sdk-a1", wish: str = "train", **inputs: Any) -> Any:
        """Return the job as the app would build it: the component by its label, files by address, a name of our own."""
        from azure.ai.ml import Input
        from azure.ai.ml.dsl import pipeline

        component = self.registry.components.get("chat_completion_pipeline", label="latest")
        self.world.upload(wish, path=name)
        given = {
            "mlflow_model_path": Input(type="mlflow_model", path=BASE_MODEL),
            "train_file_path": Input(type="uri_file", path=f"{FILES}{name}/train.jsonl"),
            "validation_file_path": Input(type="uri_file", path=f"{FILES}{name}/validation.jsonl"),
            "compute_finetune": "gpu-cluster",
            "num_train_epochs": 1,
        }

        @pipeline(display_name="a tuning")
        def fine_tuning() -> dict[str, Any]:
            node = component(**(given | inputs))
            return {"trained_model": node.outputs.mlflow_model_folder}

        job = fine_tuning()
        job.name, job.experiment_name, job.tags = name, "chat", {"tuneloop-owner": "o"}
        job.settings.force_rerun = True
        return job

    def model(self, name: str = "bot", version: str = "v1", job: str | None = None) -> Any:
        """Register the output of a completed job."""
        from azure.ai.ml.entities import Model

        path = f"azureml://jobs/{job or self.world.trained()}/outputs/trained_model"
        return self.ml.models.create_or_update(Model(name=name, version=version, type="mlflow_model", path=path))

    def shared(self, name: str) -> None:
        """Bring a model into the registry local-registry as `models.share` does."""
        self.world.registered()
        here = self.cloud.site
        source = f"azureml://locations/{here.location}/workspaces/{site.WORKSPACE_GUID}/models/bot/versions/v1"
        asked = {"referenceType": "Id", "destinationName": name, "destinationVersion": "1", "sourceAssetId": source}
        path = f"/subscriptions/{site.REGISTRY_SUBSCRIPTION}/resourceGroups/registry-rg/providers/Microsoft.MachineLearningServices"
        path = f"/mferp/managementfrontend{path}/registries/{here.own_registry}/import"
        assert self.world.ask("POST", path, {"properties": asked}, version="2021-10-01-dataplanepreview").status == 200

    def endpoint(self, name: str = "bot-1", **given: Any) -> Any:
        from azure.ai.ml.entities import ManagedOnlineEndpoint

        endpoint = ManagedOnlineEndpoint(name=name, **({"auth_mode": "key"} | given))
        return self.ml.online_endpoints.begin_create_or_update(endpoint).result()

    def deployment(self, model: Any, name: str = "d1-a", endpoint: str = "bot-1", **given: Any) -> Any:
        """Return a deployment that was not asked for yet."""
        from azure.ai.ml.entities import ManagedOnlineDeployment

        named = {"name": name, "endpoint_name": endpoint, "model": getattr(model, "id", model)}
        return ManagedOnlineDeployment(**(named | {"instance_type": SIZE, "instance_count": 1} | given))

    def deployed(self, model: Any, name: str = "d1-a", endpoint: str = "bot-1", **given: Any) -> Any:
        return self.ml.online_deployments.begin_create_or_update(self.deployment(model, name, endpoint, **given)).result()


@pytest.fixture(scope="module", params=["https", "in process"])
def skin(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def emulator_storage() -> Any:
    """What the emulator reads blobs from; None: a dict."""
    return None


@pytest.fixture(scope="module")
def _sdk(skin: str, emulator_storage: Any, new_world: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sdk]:
    folder = tmp_path_factory.mktemp("sdk")
    build = partial(new_world, storage=emulator_storage)
    with pytest.MonkeyPatch.context() as patch:
        for name in (*environment.RIVALS, "AZUREML_CURRENT_CLOUD", "ARM_CLOUD_METADATA_URL", "REGISTRY_DISCOVERY_ENDPOINT_URL"):
            patch.setenv(name, "set so that the client's own change of it is undone")
            patch.delenv(name)
        patch.setenv("AZUREML_RUN_POLLING_INTERVAL_MIN", "0")  # seconds between two looks of jobs.stream
        patch.setenv("AZUREML_RUN_POLLING_INTERVAL_MAX", "1")
        with (over_https if skin == "https" else in_process)(folder, build, patch) as sdk:
            sdk.cloud.start()
            yield sdk
            sdk.cloud.close()


@contextmanager
def over_https(folder: Path, new_world: Callable[..., Any], patch: pytest.MonkeyPatch) -> Iterator[Sdk]:
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential

    files = certificates.ensure(folder)
    held = web.hold(0, "Azure ML")
    world = new_world(folder / "azureml", site={"base": f"https://localhost:{held.getsockname()[1]}", "page_size": 2})
    for name, value in environment.values(world.cloud.site, files.bundle).items():
        patch.setenv(name, value)
    listener = server.listen(held, world.cloud, certificate=files.certificate, key=files.key)
    listener.start()
    transport, here = Napping(), world.cloud.site
    credential = DefaultAzureCredential()
    common = {"credential": credential, "transport": transport, "show_progress": False}
    ml = MLClient(subscription_id=here.subscription, resource_group_name=here.group, workspace_name=here.workspace, **common)
    assert ml._base_url.startswith(here.base), "the SDK has fallen back to real Azure"
    yield Sdk("https", world, transport, credential, ml, MLClient(registry_name=here.registry, **common))
    listener.stop()


@contextmanager
def in_process(folder: Path, new_world: Callable[..., Any], patch: pytest.MonkeyPatch) -> Iterator[Sdk]:
    from azure.ai.ml import MLClient

    world = new_world(folder / "azureml", site={"page_size": 2})
    session = requests.Session()
    session.mount("https://", Adapter(world.cloud, sleep=lambda seconds: time.sleep(min(seconds, NAP_SECONDS))))
    transport, here = Napping(session=session, session_owner=False), world.cloud.site
    credential = Credential(world.cloud)
    common = {"credential": credential, "transport": transport, "show_progress": False}
    ml = MLClient(subscription_id=here.subscription, resource_group_name=here.group, workspace_name=here.workspace, **common)
    yield Sdk("in process", world, transport, credential, ml, MLClient(registry_name=here.registry, **common))


@pytest.fixture
def sdk(_sdk: Sdk) -> Sdk:
    """An empty cloud and both clients."""
    _sdk.cloud.reset()
    _sdk.world.storage.blobs.clear()
    _sdk.transport.asked_to_wait.clear()
    return _sdk
