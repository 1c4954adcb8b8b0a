"""Model versions of the emulator: taken only from a finished job, checked before they are kept, their path fixed for ever."""

from __future__ import annotations

import json
from typing import Any

import pytest


def test_a_model_is_registered_from_the_output_of_its_job(world: Any) -> None:
    world.registered()

    model = world.get("models/bot/versions/v1")["properties"]
    assert model["modelUri"] == "azureml://jobs/ft-a1/outputs/trained_model"
    assert model["jobName"] == "ft-a1"
    assert model["flavors"]["hftransformersv2"]["data"]["task_type"] == "chat-completion"


def test_the_same_model_again_is_no_conflict_and_another_path_is(world: Any, kit: Any) -> None:
    world.registered()
    world.trained("ft-b1")

    assert world.ask("PUT", "models/bot/versions/v1", kit.model("ft-a1")).status == 200
    answered = world.ask("PUT", "models/bot/versions/v1", kit.model("ft-b1"))
    assert answered.status == 400
    assert kit.error(answered)["message"] == "Asset paths cannot be updated."


@pytest.mark.parametrize("status", ["Queued", "Running", "Finalizing"])
def test_a_model_of_a_job_that_is_not_completed_is_refused(world: Any, kit: Any, status: str) -> None:
    world.submit("ft-a1")
    world.until(lambda: world.status("ft-a1") == status)
    answered = world.ask("PUT", "models/bot/versions/v1", kit.model("ft-a1"))

    assert answered.status == 400
    assert kit.error(answered)["details"][0]["code"] == "ModelAssetPathNotFoundInStorage"


@pytest.mark.parametrize(("job", "output"), [("ft-zz", "trained_model"), ("ft-a1", "other")])
def test_a_model_of_an_unknown_job_or_output_is_refused(world: Any, kit: Any, job: Any, output: Any) -> None:
    world.trained()
    answered = world.ask("PUT", "models/bot/versions/v1", kit.model(job, output))

    assert answered.status == 400
    assert kit.error(answered)["details"][0]["code"] == "NoMatchingArtifactsFoundFromJob"


def cut_weights(folder: Any) -> None:
    path = folder / "data/model/model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def remove(relative: Any) -> Any:
    return lambda folder: (folder / relative).unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut_weights, "its header names"),
        (remove("MLmodel"), "no file MLmodel"),
        (remove("conda.yaml"), "names conda.yaml"),
        (remove("data/model/config.json"), "config.json does not exist"),
        (remove("data/model/tokenizer.json"), "no tokenizer"),
        (lambda folder: (folder / "MLmodel").write_text("flavors: {}"), "names no flavors"),
    ],
)
def test_a_folder_that_is_no_whole_model_is_refused_with_what_is_wrong(world: Any, kit: Any, damage: Any, words: Any) -> None:
    job = world.trained()
    damage(world.cloud.jobs.out(world.cloud.jobs.all[job]))
    answered = world.ask("PUT", "models/bot/versions/v1", kit.model(job))

    assert answered.status == 400
    assert words in kit.error(answered)["message"]


def test_a_missing_model_is_a_404_of_azures_shape(world: Any, kit: Any) -> None:
    answered = world.ask("GET", "models/bot/versions/v1")

    error = kit.error(answered)
    assert (answered.status, error["code"], error["details"][0]["code"]) == (404, "UserError", "ModelNotFound")
    assert {"type": "ComponentName", "info": {"value": "managementfrontend"}} in error["additionalInfo"]


def test_versions_are_listed_with_the_newest_first_and_archived_ones_on_request(world: Any, kit: Any) -> None:
    job = world.trained()
    world.registered(job, "v1")
    world.registered(job, "v2")
    archived = kit.model(job)
    archived["properties"]["isArchived"] = True
    world.ask("PUT", "models/bot/versions/v1", archived)

    assert [one["name"] for one in world.get("models/bot/versions")["value"]] == ["v2"]
    assert [one["name"] for one in world.get("models/bot/versions?listViewType=All&$top=1")["value"]] == ["v2"]
    assert [one["name"] for one in world.get("models/bot/versions?listViewType=ArchivedOnly")["value"]] == ["v1"]
    assert json.loads(world.ask("GET", "models").body)["value"][0]["properties"]["latestVersion"] == "v2"
