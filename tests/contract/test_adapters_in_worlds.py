"""
The app's adapters in every world: the tutorial's time, today, and a bare one that hides what is archived and has no lists of sizes.

Method: an emulator of each world as a process; the catalogue is read, held against preflight, frozen to a recipe, and its job is run by the
stand-in of the trainer.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobServiceClient

import dev
from localcloud import processes, up
from shared import settings as app_settings
from shared.cloud import clients
from shared.cloud.trainings import AzureMlTrainings
from shared.domain import preflight, recipe
from shared.domain.recipe import Recipe
from shared.errors import Stop

pytestmark = pytest.mark.filterwarnings(  # azure-ai-ml 1.35.2 uses what marshmallow 4 and Python 3.12 will drop
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::PendingDeprecationWarning"
)
APP = Path(dev.__file__).resolve().parent
DEADLINE_SECONDS = 40.0
UNDECLARED = "suggests learning_rate_max, learning_rate_min, which the component does not declare"
ARCHIVED = "is archived in the registry"
BARE = {"archived_is_listed": False, "models": {"Phi-4:8": {"allow_lists": [], "defaults_spelling": "json"}}}
Adapters = Callable[..., AzureMlTrainings]


@pytest.fixture(scope="module")
def served(storage: str, tmp_path_factory: pytest.TempPathFactory, recording: Callable[[str], Path]) -> Iterator[Callable[[str], Path]]:
    """Starts an emulator of that world, once, and returns its env file."""
    started: list[subprocess.Popen[bytes]] = []
    files: dict[str, Path] = {}

    def serve(world: str) -> Path:
        if world in files:
            return files[world]
        folder = tmp_path_factory.mktemp("world")
        given = world
        if world == "bare":
            given = str(folder / "bare.json")
            Path(given).write_text(json.dumps(BARE))
        env, log = folder / "env", folder / "log"
        trainer = shlex.join([sys.executable, str(APP / "tests/contract/azureml/fake_trainer.py")])
        command = [sys.executable, "-m", "localcloud", "azureml", "--world", given, "--data", str(folder), "--port", "0"]
        command += ["--env", str(env), "--storage", storage, "--trainer", trainer, "--traffic", str(recording("worlds"))]
        started.append(processes.start(command, log=log, environment=os.environ, cwd=APP))
        processes.wait_ready("Azure ML", started[-1], env.exists, within_s=DEADLINE_SECONDS, log=log)
        return files.setdefault(world, env)

    yield serve
    for process in started:
        processes.stop(process.pid)
        process.wait()


@pytest.fixture
def in_world(served: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Adapters:
    """Returns the app's adapter for trainings, steered to that world."""

    def steered(world: str, **values: str) -> AzureMlTrainings:
        exported, unset = up.read_env(served(world))
        for name in unset:
            monkeypatch.delenv(name, raising=False)
        for name, value in exported.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AZUREML_CURRENT_CLOUD", "set so that the SDK's own change of it is undone")
        monkeypatch.delenv("AZUREML_CURRENT_CLOUD")
        settings = app_settings.read({**os.environ, "TUNELOOP_LOCAL": "1", "COMPUTE": "gpu-cluster", **values})
        return AzureMlTrainings(settings, clients.credential())

    return steered


def frozen(trainings: AzureMlTrainings) -> Recipe:
    catalogue = trainings.catalogue()

    assert preflight.faults(catalogue, serving_instance_type="Standard_NC24ads_A100_v4") == ()
    return recipe.resolve(catalogue, wishes={"num_train_epochs": 1}, service="shop", experiment_name="tuneloop")


def status_at_the_end(trainings: AzureMlTrainings, the_recipe: Recipe, blobs: BlobServiceClient) -> str:
    prepared = blobs.get_container_client("prepared")
    with contextlib.suppress(ResourceExistsError):  # made by another file of tests
        prepared.create_container()
    row = json.dumps({"messages": [{"role": "user", "content": "train"}, {"role": "assistant", "content": "yes"}]}) + "\n"
    uris = {split: f"azureml://datastores/tuneloop_prepared/paths/worlds/{split}.jsonl" for split in ("train", "validation", "test")}
    for split in uris:
        prepared.upload_blob(f"worlds/{split}.jsonl", row.encode(), overwrite=True)
    trainings.submit(
        "ft-worlds-a1", recipe=the_recipe, uris=uris, out="azureml://datastores/tuneloop_prepared/paths/worlds/model/", tags={}
    )
    last = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < last:
        job = trainings.job("ft-worlds-a1")
        if job is not None and job.status in {"Completed", "Failed", "Canceled"}:
            return job.status
        time.sleep(0.1)
    raise AssertionError("the job did not end in time")


def test_in_the_tutorials_time_nothing_is_left_out_and_nothing_is_archived(in_world: Adapters, blobs: BlobServiceClient) -> None:
    trainings = in_world("seed")
    made = frozen(trainings)

    assert made.notes == ()
    assert made.component_id.endswith("/versions/0.0.67")
    assert status_at_the_end(trainings, made, blobs) == "Completed"


def test_today_what_is_undeclared_is_left_out_and_what_is_archived_is_told(in_world: Adapters, blobs: BlobServiceClient) -> None:
    trainings = in_world("today")
    made = frozen(trainings)

    assert [note for note in made.notes if UNDECLARED in note]
    assert [note for note in made.notes if ARCHIVED in note]
    assert not {"learning_rate_min", "learning_rate_max"} & set(made.parameters)
    assert status_at_the_end(trainings, made, blobs) == "Completed"


def test_today_the_other_model_needs_no_note(in_world: Adapters) -> None:
    made = frozen(in_world("today", BASE_MODEL="Phi-4"))

    assert made.notes == ()
    assert made.model_id.endswith("/models/Phi-4/versions/8")


def test_defaults_in_json_without_any_list_of_sizes_make_the_same_recipe(in_world: Adapters) -> None:
    bare, today = (frozen(in_world(world, BASE_MODEL="Phi-4")) for world in ("bare", "today"))

    assert bare == today


def test_a_registry_that_hides_what_is_archived_stops_with_the_setting_to_check(in_world: Adapters) -> None:
    with pytest.raises(Stop) as stopped:
        in_world("bare").catalogue()

    assert stopped.value.next_action == "Check BASE_MODEL."
