"""Jobs of the emulator: what is refused, what really runs, and how each of them ends."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from localcloud.switches import Switches

LIFE = ["NotStarted", "Starting", "Preparing", "Queued", "Running", "Finalizing", "Completed"]


def root_statuses(world: Any, job: Any) -> Any:
    changes = [one["data"] for one in world.events if one["eventType"].endswith("RunStatusChanged")]
    return [data["runStatus"] for data in changes if data["runId"] == job]


def alive(pid: Any) -> Any:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_job_passes_through_every_status_and_each_is_an_event(world: Any) -> None:
    job = world.trained()

    assert root_statuses(world, job) == LIFE


def test_a_completed_job_is_told_as_completed_once_for_itself_and_once_for_each_step(world: Any) -> None:
    job = world.trained()

    completed = [one for one in world.events if one["eventType"].endswith("RunCompleted")]
    assert len(completed) == 6
    assert [one["data"]["runId"] for one in completed].count(job) == 1
    assert completed[-1]["subject"] == f"experiments/{completed[-1]['data']['experimentId']}/runs/{job}"
    assert completed[-1]["topic"] == world.cloud.site.workspace_id


def test_the_steps_of_a_job_are_its_children_in_run_history(world: Any) -> None:
    job = world.trained()

    children = world.get(f"/history/v1.0{world.cloud.site.workspace_id}/runs/{job}/children")["value"]
    assert [child["displayName"] for child in children] == [
        "ft_nlp_common_validation",
        "chat_completion_model_import",
        "chat_completion_datapreprocess",
        "chat_completion_finetune",
        "ft_nlp_model_converter",
    ]
    assert {child["status"] for child in children} == {"Completed"}
    assert {child["rootRunId"] for child in children} == {job}


def test_the_trainer_gets_every_literal_input_with_the_defaults_of_the_component(world: Any) -> None:
    job = world.submit(num_train_epochs=3)
    world.until(lambda: world.cloud.jobs.child(job))

    order = json.loads((world.cloud.jobs.folder(world.cloud.jobs.all[job]) / "job.json").read_text())
    assert order["inputs"]["num_train_epochs"] == "3"
    assert order["inputs"]["seed"] == "42"
    assert order["model_name"] == "Phi-3-mini-4k-instruct"
    assert order["test"] is None


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"learning_rate_min": "5e-7"}, "has no input learning_rate_min"),
        ({"lr_scheduler_type": "bogus"}, "lr_scheduler_type"),
        ({"num_train_epochs": 0}, "at least 1"),
        ({"num_train_epochs": "1.5"}, "of type integer"),
        ({"learning_rate": "fast"}, "of type number"),
        ({"apply_lora": "yes"}, "one of true, false"),
        ({"train_file_path": "rows.jsonl"}, "must be a uri_file"),
        ({"train_file_path": {"uri": "azureml://x", "job_input_type": "mltable"}}, "of type uri_file"),
        ({"train_file_path": {"job_input_type": "uri_file"}}, "train_file_path is a uri_file and needs a uri"),
        ({"mlflow_model_path": {"uri": "azureml://nowhere", "job_input_type": "mlflow_model"}}, "azureml://nowhere"),
        ({"compute_finetune": "big-cluster"}, "big-cluster"),
    ],
)
def test_an_input_that_azure_refuses_is_refused_by_name(world: Any, kit: Any, inputs: Any, words: Any) -> None:
    answered = world.ask("PUT", "jobs/ft-a1", kit.job(**inputs))

    assert answered.status == 400
    assert kit.error(answered)["code"] == "UserError"
    assert words in kit.error(answered)["message"]
    assert world.get("jobs") == {"value": []}


def test_a_second_job_of_that_name_with_other_content_is_refused(world: Any, kit: Any) -> None:
    world.submit("ft-a1")
    answered = world.ask("PUT", "jobs/ft-a1", kit.job(path="ft-a1", num_train_epochs=2))

    assert answered.status == 400
    assert kit.error(answered)["message"].startswith("A job with this name already exists.")
    assert kit.error(answered)["details"][0]["code"] == "JobPropertyImmutable"


@pytest.mark.parametrize(("switch", "status"), [("refused", 400), ("ok", 200)])
def test_the_same_job_again_is_answered_as_the_switch_says(make_world: Any, kit: Any, switch: Any, status: Any) -> None:
    world = make_world(switches=Switches(identical_job_put=switch))
    world.submit("ft-a1")

    assert world.ask("PUT", "jobs/ft-a1", kit.job(path="ft-a1")).status == status


def test_tags_of_a_job_can_be_added_and_never_removed(world: Any, kit: Any) -> None:
    world.submit("ft-a1")
    body = kit.job(path="ft-a1")
    body["properties"]["tags"] = {"note": "n"}

    assert world.ask("PUT", "jobs/ft-a1", body).status == 200
    assert world.get("jobs/ft-a1")["properties"]["tags"] == {"tuneloop-owner": "o", "note": "n"}


def test_an_input_that_is_not_in_storage_fails_the_job_with_a_sentence(world: Any) -> None:
    world.submit("ft-a1")
    world.storage.blobs.clear()
    world.until(lambda: world.status("ft-a1") == "Failed")

    details = world.get(f"/history/v1.0{world.cloud.site.workspace_id}/runs/ft-a1/details")
    assert "container prepared has no blob ft-a1/train.jsonl" in details["error"]["error"]["message"]


def test_the_trainers_own_error_is_the_reason_of_the_job(world: Any) -> None:
    world.submit("ft-a1", wish="fail")
    world.until(lambda: world.status("ft-a1") == "Failed")

    details = world.get(f"/history/v1.0{world.cloud.site.workspace_id}/runs/ft-a1/details")
    assert details["error"]["error"] == {"code": "UserError", "message": "No assistant tokens found after preprocessing."}
    assert root_statuses(world, "ft-a1")[-1] == "Failed"


def test_a_killed_child_fails_its_job_with_the_tail_of_its_log(world: Any) -> None:
    world.submit("ft-a1", wish="wait")
    world.until(lambda: world.cloud.jobs.metrics(world.cloud.jobs.all["ft-a1"]).exists())
    world.until(lambda: "training with" in world.cloud.jobs.child("ft-a1").log_tail())
    os.kill(world.cloud.jobs.child("ft-a1").pid, signal.SIGKILL)
    world.until(lambda: world.status("ft-a1") == "Failed")

    message = world.get(f"/history/v1.0{world.cloud.site.workspace_id}/runs/ft-a1/details")["error"]["error"]["message"]
    assert "killed by signal 9" in message
    assert "training with" in message


def test_a_cancelled_job_kills_its_child(world: Any) -> None:
    world.submit("ft-a1", wish="wait")
    world.until(lambda: world.cloud.jobs.metrics(world.cloud.jobs.all["ft-a1"]).exists())
    pid = world.cloud.jobs.child("ft-a1").pid
    answered = world.ask("POST", "jobs/ft-a1/cancel")

    assert answered.status == 202
    assert world.status("ft-a1") == "CancelRequested"
    world.until(lambda: world.status("ft-a1") == "Canceled")
    assert not alive(pid)
    location = answered.headers["Location"].removeprefix(world.cloud.site.base).split("?")[0]
    assert world.ask("GET", location).status == 204


def test_a_job_that_was_only_queued_can_be_cancelled(world: Any) -> None:
    world.submit("ft-a1")
    world.ask("POST", "jobs/ft-a1/cancel")
    world.until(lambda: world.status("ft-a1") == "Canceled")

    assert world.cloud.jobs.child("ft-a1") is None


def test_a_cluster_of_one_node_runs_one_job_at_a_time(world: Any) -> None:
    world.submit("ft-a1", wish="wait")
    world.until(lambda: world.status("ft-a1") == "Running")
    world.submit("ft-b1")
    world.until(lambda: world.status("ft-b1") == "Queued")
    for _ in range(5):
        world.cloud.advance()

    assert world.status("ft-b1") == "Queued"
    world.ask("POST", "jobs/ft-a1/cancel")
    world.until(lambda: world.status("ft-b1") == "Completed")


def test_serverless_training_on_a_retired_size_fails_with_its_name(world: Any) -> None:
    world.submit("ft-a1", compute_finetune="serverless")
    world.until(lambda: world.status("ft-a1") == "Failed")

    assert "Standard_nc24rs_v3" in world.cloud.jobs.all["ft-a1"].error[1]


def test_metrics_can_be_read_while_the_job_runs(world: Any) -> None:
    world.submit("ft-a1", wish="wait")
    file = world.cloud.jobs.metrics(world.cloud.jobs.all["ft-a1"])
    world.until(lambda: file.exists() and file.stat().st_size)
    api = f"/mlflow/v2.0{world.cloud.site.workspace_id}/api/2.0/mlflow"

    run = world.get(f"{api}/runs/get?run_id=ft-a1")["run"]
    assert run["info"]["status"] == "RUNNING"
    assert run["data"]["metrics"][0]["value"] == 2.5
    assert {"key": "learning_rate", "value": "5e-06"} in run["data"]["params"]


def test_a_metric_that_is_still_being_written_is_not_shown(world: Any) -> None:
    world.trained()
    path = world.cloud.jobs.metrics(world.cloud.jobs.all["ft-a1"])
    whole = path.read_text()
    path.write_text(whole + '{"name": "eval_loss", "val')
    api = f"/mlflow/v2.0{world.cloud.site.workspace_id}/api/2.0/mlflow"

    points = world.get(f"{api}/metrics/get-history?run_id=ft-a1&metric_key=eval_loss")["metrics"]
    assert [point["step"] for point in points] == [0, 10]


def test_the_history_of_a_metric_comes_in_pages(world: Any) -> None:
    world.trained()
    api = f"/mlflow/v2.0{world.cloud.site.workspace_id}/api/2.0/mlflow"

    first = world.get(f"{api}/metrics/get-history?run_id=ft-a1&metric_key=eval_loss&max_results=1")
    second = world.get(f"{api}/metrics/get-history?run_id=ft-a1&metric_key=eval_loss&max_results=1&page_token={first['next_page_token']}")
    assert [point["value"] for page in (first, second) for point in page["metrics"]] == [2.5, 1.25]
    assert "next_page_token" not in second


def test_steps_are_found_by_the_job_they_belong_to(world: Any) -> None:
    world.trained()
    api = f"/mlflow/v2.0{world.cloud.site.workspace_id}/api/2.0/mlflow"
    experiment = world.get(f"{api}/experiments/get-by-name?experiment_name=chat")["experiment"]

    body = {"experiment_ids": [experiment["experiment_id"]], "filter": "tags.mlflow.rootRunId='ft-a1'", "max_results": 10}
    runs = json.loads(world.ask("POST", f"{api}/runs/search", body).body)["runs"]
    with_metrics = [run["info"]["run_name"] for run in runs if run["data"]["metrics"]]
    assert with_metrics == ["ft-a1", "chat_completion_finetune"]


def test_the_log_of_a_job_is_read_at_a_signed_address(world: Any) -> None:
    world.trained()
    details = world.get(f"/history/v1.0{world.cloud.site.workspace_id}/runs/ft-a1/details")
    address = details["logFiles"]["user_logs/std_log.txt"].removeprefix(world.cloud.site.base)

    assert b"training with" in world.ask("GET", address, version=None, authorization="none").body


def test_the_next_job_fails_when_a_test_asks_for_it(world: Any) -> None:
    world.plan({"fault": "job_failed", "message": "The node caught fire."})
    world.submit("ft-a1")
    world.until(lambda: world.status("ft-a1") == "Failed")
    world.submit("ft-b1")
    world.until(lambda: world.status("ft-b1") == "Completed")

    assert world.cloud.jobs.all["ft-a1"].error == ("UserError", "The node caught fire.")


def test_jobs_are_listed_by_tag_with_the_newest_first(world: Any) -> None:
    world.submit("ft-a1")
    world.submit("ft-b1")

    assert [job["name"] for job in world.get("jobs?tag=tuneloop-owner=o")["value"]] == ["ft-b1", "ft-a1"]
    assert world.get("jobs?tag=tuneloop-owner=p") == {"value": []}


def with_a_place(kit: Any, name: str, uri: str) -> dict[str, Any]:
    body: dict[str, Any] = kit.job(path=name)
    body["properties"]["outputs"]["trained_model"]["uri"] = uri
    return body


def test_a_model_lies_where_its_output_says_when_the_job_is_completed(world: Any, kit: Any) -> None:
    world.upload("train", path="ft-a1")
    world.ask("PUT", "jobs/ft-a1", with_a_place(kit, "ft-a1", "azureml://datastores/tuneloop_prepared/paths/shop/models/ft-a1/"))
    world.until(lambda: world.status("ft-a1") in {"Completed", "Failed"})

    there = {name for container, name in world.storage.blobs if container == "prepared" and "/models/" in name}
    assert world.status("ft-a1") == "Completed"
    assert {"shop/models/ft-a1/MLmodel", "shop/models/ft-a1/data/model/model.safetensors"} <= there
    assert world.registered("ft-a1").endswith("/versions/v1")


def test_a_model_cannot_go_where_no_datastore_is(world: Any, kit: Any) -> None:
    world.upload("train", path="ft-a1")
    world.ask("PUT", "jobs/ft-a1", with_a_place(kit, "ft-a1", "azureml://datastores/nowhere/paths/x/"))
    world.until(lambda: world.status("ft-a1") in {"Completed", "Failed"})

    assert world.status("ft-a1") == "Failed"
    assert ("prepared", "x/MLmodel") not in world.storage.blobs


def test_a_place_with_azures_words_in_it_is_said_to_be_unplayed(world: Any, kit: Any) -> None:
    answered = world.ask("PUT", "jobs/ft-a1", with_a_place(kit, "ft-a1", "azureml://datastores/tuneloop_prepared/paths/${{name}}/"))

    assert answered.status == 501
