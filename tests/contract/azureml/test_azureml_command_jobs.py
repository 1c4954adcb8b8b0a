"""Command jobs by plain requests, with storage in a dict: what the process gets, how the job moves, what is refused, what a kill does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from localcloud import processes
from localcloud.azureml.store import FILE, SqliteStore
from localcloud.clocks import ManualClock

DATA = {"jobInputType": "uri_file", "uri": "azureml://datastores/tuneloop_datasets/paths/a/data.txt", "mode": "Download"}
OUT = {"jobOutputType": "uri_folder", "uri": "azureml://datastores/tuneloop_prepared/paths/of-a", "mode": "Upload"}
PRINT_ENVIRONMENT = "env > ${{outputs.out}}/env"


@pytest.fixture
def asked(world: Any, kit: Any) -> Callable[..., str]:
    """Submit a command that must be taken; return its name."""

    def ask(line: str, name: str = "prep-1", *, to: Any = world, **properties: Any) -> str:
        to.storage.blobs.setdefault(("datasets", "a/data.txt"), b"some words\n")
        answered = to.ask("PUT", f"jobs/{name}", kit.command(line, **properties))
        assert answered.status == 201, answered.body
        return name

    return ask


def ended(world: Any, name: str = "prep-1") -> str:
    world.until(lambda: world.status(name) in {"Completed", "Failed", "Canceled", "NotResponding"})
    return str(world.status(name))


def error(world: Any, name: str = "prep-1") -> Any:
    """Return the error that run history tells."""
    path = f"/history/v1.0{world.cloud.site.workspace_id}/runs/{name}"
    return json.loads(world.ask("GET", path, version=None).body)["error"]["error"]


def test_code_that_lies_in_a_datastore_runs_in_its_folder(world: Any, asked: Any) -> None:
    world.storage.blobs["azureml-blobstore", "code/work.py"] = b"import below.word\nprint(below.word.WORD)\n"
    world.storage.blobs["azureml-blobstore", "code/below/word.py"] = b"WORD = 'found'\n"
    code = {"properties": {"codeUri": "azureml://datastores/workspaceblobstore/paths/code"}}
    assert world.ask("PUT", "codes/c/versions/1", code).status == 201
    asked("python work.py > ${{outputs.out}}/said", codeId="azureml:c:1", outputs={"out": OUT})

    assert ended(world) == "Completed"
    assert world.storage.blobs["prepared", "of-a/said"] == b"found\n"


def test_the_process_has_azures_variables_and_its_own_and_none_of_the_emulators(
    world: Any, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "a secret of the emulator")
    monkeypatch.setenv("PYTHONPATH", "a path of the emulator")
    given = {"data": DATA, "count": {"jobInputType": "literal", "value": "3"}}
    asked(PRINT_ENVIRONMENT, inputs=given, outputs={"out": OUT}, environmentVariables={"OWN": "x y"})

    assert ended(world) == "Completed"
    lines = world.storage.blobs["prepared", "of-a/env"].decode().splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    assert (found["AZUREML_RUN_ID"], found["AZUREML_ARM_PROJECT_NAME"], found["OWN"]) == ("prep-1", "data", "x y")
    assert (found["AZUREML_PARAMETER_count"], Path(found["AZURE_ML_INPUT_data"]).name) == ("3", "data.txt")
    assert found["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert not {"IDENTITY_HEADER", "PYTHONPATH"} & set(found)


def test_every_kind_of_expression_is_put_in_as_it_is(world: Any, asked: Any) -> None:
    given = {"data": DATA, "direct": DATA | {"mode": "Direct"}, "words": {"jobInputType": "literal", "value": "a  b; echo c"}}
    asked("(cat ${{inputs.data}}; echo ${{ inputs.direct }} ${{inputs.words}}) > ${{outputs.out}}/x", inputs=given, outputs={"out": OUT})

    assert ended(world) == "Completed"
    assert world.storage.blobs["prepared", "of-a/x"].decode() == f"some words\n{DATA['uri']} a b\nc\n"


def test_an_output_without_a_place_goes_where_azure_puts_it_and_names_may_stand_in_one(world: Any, asked: Any) -> None:
    named = {"jobOutputType": "uri_folder", "uri": "azureml://datastores/${{default_datastore}}/paths/x/${{name}}/${{output_name}}"}
    asked("touch ${{outputs.a}}/1 ${{outputs.b}}/2", outputs={"a": {"jobOutputType": "uri_folder"}, "b": named})

    assert ended(world) == "Completed"
    assert {("azureml-blobstore", "azureml/prep-1/a/1"), ("azureml-blobstore", "x/prep-1/b/2")} <= set(world.storage.blobs)


def test_what_is_mounted_to_be_read_is_not_writable(world: Any, asked: Any) -> None:
    given = {"mounted": {name: value for name, value in DATA.items() if name != "mode"}, "fetched": DATA}
    asked("ls -l ${{inputs.mounted}} ${{inputs.fetched}} > ${{outputs.out}}/x", inputs=given, outputs={"out": OUT})

    assert ended(world) == "Completed"
    lines = world.storage.blobs["prepared", "of-a/x"].decode().splitlines()
    assert {line.split("/inputs/")[1].split("/")[0]: line[2] for line in lines} == {"mounted": "-", "fetched": "w"}


def test_each_status_is_an_event_and_the_end_another_one(world: Any, asked: Any) -> None:
    asked("true", properties={"mine": "x"})
    ended(world)

    runs = [event for event in world.events if event["subject"].endswith("/runs/prep-1")]
    statuses = [event["data"]["runStatus"] for event in runs if event["eventType"].endswith("RunStatusChanged")]
    assert statuses == ["NotStarted", "Starting", "Preparing", "Queued", "Running", "Finalizing", "Completed"]
    last = runs[-1]
    assert (last["eventType"].rpartition(".")[2], last["data"]["runType"]) == ("RunCompleted", "azureml.scriptrun")
    assert last["data"]["runTags"] == {"tuneloop-owner": "o"}
    assert (last["data"]["runProperties"]["mine"], last["data"]["runProperties"]["_azureml.ClusterName"]) == ("x", "gpu-cluster")


def test_a_command_and_a_pipeline_share_the_nodes_of_a_cluster(world: Any, asked: Any) -> None:
    world.submit("ft-a1", wish="wait")
    world.until(lambda: world.status("ft-a1") == "Running")
    asked("true")
    world.until(lambda: world.status("prep-1") == "Queued")
    for _ in range(20):
        world.cloud.advance()
    before = world.status("prep-1")
    world.ask("POST", "jobs/ft-a1/cancel")

    assert (before, ended(world)) == ("Queued", "Completed")


def test_jobs_are_listed_by_their_kind(world: Any, asked: Any) -> None:
    world.submit("ft-a1", wish="wait")
    asked("true")

    assert [one["name"] for one in world.get("jobs?jobType=Command")["value"]] == ["prep-1"]
    assert [one["name"] for one in world.get("jobs?jobType=Pipeline")["value"]] == ["ft-a1"]


def test_a_failed_command_says_code_and_last_lines(world: Any, asked: Any) -> None:
    asked("echo a reason; exit 3")

    assert ended(world) == "Failed"
    assert error(world)["code"] == "UserError"
    assert "exited with status code 3" in error(world)["message"]
    assert error(world)["message"].endswith("a reason")


def test_an_output_file_that_was_not_written_fails_the_job(world: Any, asked: Any) -> None:
    one = {"jobOutputType": "uri_file", "uri": "azureml://datastores/tuneloop_prepared/paths/of-a/one.txt", "mode": "Upload"}
    asked("true", outputs={"one": one})

    assert ended(world) == "Failed"
    assert "The output one was not written" in error(world)["message"]


@pytest.mark.parametrize(
    ("properties", "says"),
    [
        ({"inputs": {"data": DATA | {"uri": "azureml://datastores/none/paths/x"}}}, "The datastore none of input"),
        ({"inputs": {"data": DATA | {"uri": "https://elsewhere/x"}}}, "not of the form azureml://datastores"),
        ({"inputs": {"data": DATA | {"jobInputType": "uri_folder"}}}, "no blob below a/data.txt/"),
        ({"outputs": {"out": OUT | {"uri": "azureml://datastores/none/paths/x"}}}, "The datastore none of output out"),
        ({"outputs": {"out": OUT | {"uri": "azureml://datastores/tuneloop_prepared/paths/../x"}}}, "leaves its datastore"),
    ],
)
def test_a_place_that_is_not_there_fails_the_job_before_it_runs(world: Any, asked: Any, properties: Any, says: str) -> None:
    asked("true", **properties)

    assert ended(world) == "Failed"
    assert says in error(world)["message"]


def test_a_code_that_was_never_uploaded_fails_the_job(world: Any, asked: Any) -> None:
    uri = f"https://{world.cloud.site.account}.blob.core.windows.net/code-1/code"
    world.ask("PUT", "codes/c/versions/1", {"properties": {"codeUri": uri}})
    asked("true", codeId="azureml:c:1")

    assert ended(world) == "Failed"
    assert "container code-1 has no blob below code/" in error(world)["message"]


def test_a_planned_failure_hits_a_command_too(world: Any, asked: Any) -> None:
    world.plan({"fault": "job_failed", "match": {"name": "prep-*"}, "message": "The node is gone."})
    asked("true", outputs={"out": OUT})

    assert (ended(world), error(world)["message"]) == ("Failed", "The node is gone.")


def test_the_limit_is_counted_by_the_clock_of_the_cloud(make_world: Any, asked: Any) -> None:
    clock = ManualClock()
    world = make_world(site={"clock": clock})
    asked("sleep 60", to=world, limits={"jobLimitsType": "Command", "timeout": "PT2H"})
    world.until(lambda: world.status("prep-1") == "Running" and world.cloud.jobs.child("prep-1"))
    world.cloud.move_clock(timedelta(hours=2, seconds=-1), 0.0)
    before = world.status("prep-1")
    world.cloud.move_clock(timedelta(seconds=1), 0.0)

    assert (before, ended(world)) == ("Running", "Canceled")


@pytest.mark.parametrize(
    ("properties", "status", "target"),
    [
        ({"command": "cat ${{inputs.none}}"}, 400, "properties.command"),
        ({"command": "cat ${{search_space.x}}"}, 400, "properties.command"),
        ({"command": "cat $[[--x ${{inputs.data}}]]"}, 501, "properties.command with $[[…]]"),
        ({"command": ""}, 400, "properties.command"),
        ({"environmentId": "azureml:none:1"}, 400, "properties.environmentId"),
        ({"environmentId": "azureml://registries/other/environments/e/versions/1"}, 400, "properties.environmentId"),
        ({"codeId": "azureml:none:1"}, 400, "properties.codeId"),
        ({"computeId": "none"}, 400, "properties.computeId"),
        ({"limits": {"jobLimitsType": "Command", "timeout": "1 h"}}, 400, "properties.limits.timeout"),
        ({"inputs": {"a-b": DATA}}, 400, "properties.inputs.a-b"),
        ({"inputs": {"data": DATA | {"mode": "ReadWriteMount"}}}, 501, "properties.inputs.data.mode ReadWriteMount"),
        ({"outputs": {"out": OUT | {"assetName": "x"}}}, 501, "properties.outputs.out.assetName"),
        ({"distribution": {"distributionType": "Mpi", "processCountPerInstance": 2}}, 501, "properties.distribution"),
        ({"resources": {"instanceCount": 2}}, 501, "properties.resources.instanceCount"),
        ({"services": {"s": {"jobServiceType": "SSH"}}}, 501, "properties.services"),
    ],
)
def test_what_cannot_be_and_what_is_not_played_is_refused_by_name(world: Any, kit: Any, properties: Any, status: int, target: str) -> None:
    answered = world.ask("PUT", "jobs/prep-1", kit.command("true", **properties))

    assert (answered.status, kit.error(answered)["target"]) == (status, target)


def test_after_a_restart_a_running_command_begins_again_with_empty_outputs(make_world: Any, asked: Any, tmp_path: Path) -> None:
    """Method: the second start of the line writes what the first one left, which must be nothing."""
    folder = tmp_path / "cloud"
    first = make_world(folder, store=SqliteStore(tmp_path / FILE))
    line = (
        "ls ${{outputs.out}} > ${{inputs.mark}}.2; test -e ${{inputs.mark}} || { touch ${{inputs.mark}} ${{outputs.out}}/left; sleep 60; }"
    )
    mark = tmp_path / "mark"
    asked(line, to=first, inputs={"mark": {"jobInputType": "literal", "value": str(mark)}}, outputs={"out": OUT})
    first.until(mark.exists)
    first.cloud.close()
    second = make_world(folder, store=SqliteStore(tmp_path / FILE), storage=first.storage)

    assert second.status("prep-1") == "Running"
    assert ended(second) == "Completed"
    assert Path(f"{mark}.2").read_text() == ""


def test_a_killed_emulator_takes_the_processes_of_a_command_with_it(tmp_path: Path) -> None:
    """Method: a process that has started a line is killed with SIGKILL; the line had a process of its own."""
    pid = tmp_path / "pid"
    started = (
        "import os, pathlib, time\n"
        "from localcloud.azureml.processes import CommandChild\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        f"CommandChild('sleep 60 & echo $! > {pid}; wait', folder, log=folder / 'log', environment={{'PATH': os.environ['PATH']}})\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", started])
    try:
        processes.wait_ready("line", parent, lambda: pid.exists() and pid.read_text().strip() != "", within_s=20, log=tmp_path / "log")
        alive = processes.alive(int(pid.read_text()))
    finally:
        parent.kill()
        parent.wait()

    assert alive
    processes.wait_ready("end", parent_of_nothing(), lambda: not processes.alive(int(pid.read_text())), within_s=10, log=tmp_path / "log")


def parent_of_nothing() -> Any:
    """Return what looks as if it ran: `wait_ready` asks."""

    class Nothing:
        def poll(self) -> None: ...

    return Nothing()
