"""A local Azure ML in this process: real child processes of a fake trainer, storage in a dict, a clock that a test may set."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from localcloud.azureml import worlds
from localcloud.azureml.cloud import Cloud, Options
from localcloud.azureml.site import Site
from localcloud.azureml.traffic import Traffic
from localcloud.azureml.transport import PUBLIC_BASE
from localcloud.azureml.wire import Request, Response
from tests import recordings

FAKE_TRAINER = (sys.executable, str(Path(__file__).with_name("fake_trainer.py")))
DEADLINE_SECONDS = 20.0  # far beyond what any step needs; a step that needs longer hangs
BASE_MODEL = "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/15"
COMPONENT = "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82"
PREPARED = "azureml://datastores/tuneloop_prepared/paths"


class Recorder(Traffic):
    """Keeps what was said in two files besides: what a client wrote by itself, and what a test wrote by hand."""

    def __init__(self, client: Path, by_hand: Path) -> None:
        super().__init__()
        self._client, self._by_hand = Traffic(client), Traffic(by_hand)

    def exchange(self, request: Request, response: Response, faults: Sequence[str]) -> None:
        super().exchange(request, response, faults)
        (self._client if "user-agent" in request.headers else self._by_hand).exchange(request, response, faults)

    def close(self) -> None:
        self._client.close()
        self._by_hand.close()


class FakeStorage:
    """Blobs by container and name."""

    def __init__(self) -> None:
        self.blobs: dict[tuple[str, str], bytes] = {}

    def fetch(self, container: str, blob: str, target: Path) -> bool:
        content = self.blobs.get((container, blob))
        if content is not None:
            target.write_bytes(content)
        return content is not None

    def names(self, container: str, prefix: str) -> list[str]:
        return sorted(blob for place, blob in self.blobs if place == container and blob.startswith(prefix))

    def put(self, container: str, blob: str, source: Path) -> None:
        self.blobs[container, blob] = source.read_bytes()


@dataclass
class World:
    """The emulator, what it published, and hands to move it."""

    cloud: Cloud
    storage: FakeStorage
    events: list[dict[str, Any]]
    offset: timedelta = timedelta(0)  # how far the cloud's clock is ahead of ours

    def ask(self, method: str, path: str, body: Any = None, *, version: str | None = "2024-04-01", **headers: str) -> Response:
        """Ask as a client with a good token would; a path without a leading slash is below the workspace."""
        token = headers.pop("authorization", None) or "Bearer " + self.cloud.tokens.issue("https://management.azure.com")[0]
        path, _, query = path.partition("?")
        pairs = [part.partition("=") for part in query.split("&") if part]
        asked = {unquote(name): unquote(value) for name, _, value in pairs}
        return self.cloud.handle(
            Request(
                method=method,
                path=path if path.startswith("/") else f"{self.cloud.site.workspace_id}/{path}",
                query=({"api-version": version} if version else {}) | asked,
                headers={"authorization": token, **{name.replace("_", "-"): value for name, value in headers.items()}},
                body=body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode(),
            )
        )

    def get(self, path: str) -> Any:
        """Return the JSON of a GET, which must succeed."""
        answered = self.ask("GET", path)
        assert answered.status == 200, answered.body
        return json.loads(answered.body)

    def plan(self, *faults: dict[str, Any]) -> None:
        """Let these things go wrong next."""
        assert self.ask("POST", "/_localcloud/faults", {"faults": list(faults)}, version=None).status == 200

    def until(self, happened: Callable[[], object]) -> None:
        """Move the cloud until it has happened."""
        last = time.monotonic() + DEADLINE_SECONDS
        while not happened():
            assert time.monotonic() < last, "it did not happen in time"
            self.cloud.advance()
            time.sleep(0.01)

    def upload(self, wish: str = "train", path: str = "x") -> None:
        """Put training and validation rows into the prepared container; the fake trainer obeys the first message."""
        row = json.dumps({"messages": [{"role": "user", "content": wish}, {"role": "assistant", "content": "yes"}]})
        for name in ("train", "validation"):
            self.storage.blobs["prepared", f"{path}/{name}.jsonl"] = (row + "\n").encode()

    def submit(self, name: str = "ft-a1", wish: str = "train", **inputs: Any) -> str:
        """Submit a job that must be taken; return its name."""
        self.upload(wish, path=name)
        body = job_body(path=name, **inputs)
        node = body["properties"]["jobs"]["chat_completion_pipeline"]
        node["componentId"] = f"{COMPONENT.rpartition('/')[0]}/{self.cloud.site.world.component_version}"
        answered = self.ask("PUT", f"jobs/{name}", body)
        assert answered.status == 201, answered.body
        return name

    def status(self, job: str) -> str:
        return str(self.get(f"jobs/{job}")["properties"]["status"])

    def trained(self, name: str = "ft-a1", wish: str = "train") -> str:
        """Return the name of a completed job."""
        self.submit(name, wish)
        self.until(lambda: self.status(name) in {"Completed", "Failed"})
        assert self.status(name) == "Completed"
        return name

    def registered(self, job: str | None = None, version: str = "v1") -> str:
        """Return the id of a registered model."""
        answered = self.ask("PUT", f"models/bot/versions/{version}", model_body(job or self.trained()))
        assert answered.status == 201, answered.body
        return str(json.loads(answered.body)["id"])

    def endpoint(self, name: str = "bot-1", **properties: Any) -> str:
        """Return the name of an endpoint that is ready."""
        assert self.ask("PUT", f"onlineEndpoints/{name}", endpoint_body(**properties)).status in {200, 201}
        self.until(lambda: self.get(f"onlineEndpoints/{name}")["properties"]["provisioningState"] == "Succeeded")
        return name

    def deployed(self, name: str, model: str, endpoint: str = "bot-1") -> str:
        """Return the path of a deployment that is Succeeded or Failed."""
        path = f"onlineEndpoints/{endpoint}/deployments/{name}"
        answered = self.ask("PUT", path, deployment_body(model))
        assert answered.status == 201, answered.body
        self.until(lambda: self.get(path)["properties"]["provisioningState"] in {"Succeeded", "Failed"})
        return path

    def score(self, endpoint: str = "bot-1", body: Any = None, **headers: str) -> Response:
        """Ask a model, by default with a good token."""
        headers.setdefault("authorization", "Bearer " + self.cloud.tokens.issue("https://ml.azure.com")[0])
        return self.ask("POST", f"/endpoints/{endpoint}/score", body or {"input_data": {}}, version=None, **headers)


def job_body(path: str = "x", **inputs: Any) -> dict[str, Any]:
    """The body that the SDK sends for one node of the component; `inputs` are literals, None removes one."""
    files = {f"{name}_file_path": f"{PREPARED}/{path}/{name}.jsonl" for name in ("train", "validation")}
    given: dict[str, Any] = {name: {"uri": uri, "job_input_type": "uri_file"} for name, uri in files.items()}
    given["mlflow_model_path"] = {"uri": BASE_MODEL, "job_input_type": "mlflow_model"}
    given["compute_finetune"] = {"value": "gpu-cluster", "job_input_type": "literal"}
    for name, value in inputs.items():
        given[name] = value if isinstance(value, dict) else {"value": str(value), "job_input_type": "literal"}
    node = {
        "name": "chat_completion_pipeline",
        "type": "pipeline",
        "_source": "REMOTE.REGISTRY",
        "componentId": COMPONENT,
        "inputs": {name: value for name, value in given.items() if value != {"value": "None", "job_input_type": "literal"}},
        "outputs": {"mlflow_model_folder": {"value": "${{parent.outputs.trained_model}}", "type": "literal"}},
    }
    properties = {
        "jobType": "Pipeline",
        "displayName": "a tuning",
        "experimentName": "chat",
        "tags": {"tuneloop-owner": "o"},
        "properties": {},
        "isArchived": False,
        "inputs": {},
        "jobs": {"chat_completion_pipeline": node},
        "outputs": {"trained_model": {"mode": "ReadWriteMount", "jobOutputType": "mlflow_model"}},
        "settings": {"force_rerun": True, "_source": "DSL"},
    }
    return {"properties": properties}


def command_body(line: str, **properties: Any) -> dict[str, Any]:
    """The body that the SDK sends for a command without code, in the registry's environment."""
    asked = {
        "jobType": "Command",
        "command": line,
        "environmentId": "azureml://registries/azureml/environments/sklearn-1.5/versions/1",
        "computeId": "gpu-cluster",
        "experimentName": "data",
        "tags": {"tuneloop-owner": "o"},
        "properties": {},
        "isArchived": False,
        "inputs": {},
        "outputs": {},
    }
    return {"properties": {name: value for name, value in (asked | properties).items() if value is not None}}


def model_body(job: str, output: str = "trained_model") -> dict[str, Any]:
    uri = f"azureml://jobs/{job}/outputs/{output}"
    return {"properties": {"modelType": "mlflow_model", "modelUri": uri, "tags": {"tuneloop-owner": "o"}, "properties": {}}}


def endpoint_body(**properties: Any) -> dict[str, Any]:
    asked = {"authMode": "AADToken", "properties": {}, "traffic": {}, "mirrorTraffic": {}, **properties}
    return {"location": "eastus2", "identity": {"type": "SystemAssigned"}, "tags": {"tuneloop-owner": "o"}, "properties": asked}


def deployment_body(model: str, /, **properties: Any) -> dict[str, Any]:
    asked = {"model": model, "endpointComputeType": "Managed", "instanceType": "Standard_NC24ads_A100_v4"} | properties
    return {"location": "eastus2", "tags": {}, "sku": {"name": "Default", "capacity": 1}, "properties": asked}


def error_of(answered: Response) -> dict[str, Any]:
    return dict(json.loads(answered.body)["error"])


def build(folder: Path, place: worlds.World = worlds.TODAY, *, site: Any = None, storage: Any = None, **options: Any) -> World:
    """
    Return a world with the given options of the emulator; `place` is what Azure offers there, `site` more of where it is.

    `storage` and `folder` of an earlier world, with its store among the options, make it that world after a restart.
    """
    storage, events = storage or FakeStorage(), []
    world: World | None = None

    def clock() -> datetime:
        return datetime.now(UTC) + (world.offset if world else timedelta(0))

    here = Site(**{"folder": folder, "base": PUBLIC_BASE, "clock": clock, "world": place, **(site or {})})
    chosen = Options(**{"trainer": FAKE_TRAINER, "publish": lambda topic, event: events.append(event), **options})
    world = World(cloud=Cloud(here, storage, "k" * 32, chosen), storage=storage, events=events)
    return world


@pytest.fixture(scope="session")
def new_world(recording: Callable[[str], Path]) -> Callable[..., World]:
    """`build` with all that is said recorded, for the fixtures of folders below; whoever builds closes."""

    def recorded(folder: Path, **options: Any) -> World:
        if "traffic" not in options:
            options["traffic"] = Recorder(recording("sdk"), recording(recordings.BY_HAND))
        return build(folder, **options)

    return recorded


@pytest.fixture
def make_world(tmp_path: Path, new_world: Callable[..., World]) -> Iterator[Callable[..., World]]:
    """Builds worlds, records what is said in them and leaves no child behind."""
    made: list[World] = []

    def make(folder: Path | None = None, **options: Any) -> World:
        made.append(new_world(folder or tmp_path / str(len(made)), **options))
        return made[-1]

    yield make
    for world in made:
        world.cloud.close()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world()


@pytest.fixture
def kit() -> Any:
    """The bodies of this folder; test files cannot import each other."""

    class Kit:
        job = staticmethod(job_body)
        command = staticmethod(command_body)
        model = staticmethod(model_body)
        endpoint = staticmethod(endpoint_body)
        deployment = staticmethod(deployment_body)
        error = staticmethod(error_of)
        base_model = BASE_MODEL
        fake_trainer = FAKE_TRAINER

    return Kit
