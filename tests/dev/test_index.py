"""
The app indexes with exactly the functions and bindings that stand here, imports nothing heavy, and can be invoked.

One wrong parameter, one heavy or failing import leaves a Functions app without any function, and Azure's log without a word.
Each test asks a fresh process: what this process has imported already would hide the fault.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import dev

APP = Path(dev.__file__).resolve().parent
DRIVER = Path(__file__).with_name("runtime_driver.py")
IMPORT_SECONDS_MAX = 10.0  # 0.5 s measured; Flex Consumption gives an app 30 s on a slower processor
DRIVER_SECONDS_MAX = 60  # 1 s measured; a door that asks the storage that is not there waits longer
FORBIDDEN = ["azure.ai.ml", "datasets", "pandas", "pyarrow", "torch", "pydantic"]
EVENT_GRID = [{"type": "eventGridTrigger", "name": "event", "direction": "IN"}]
STORAGE = "AzureWebJobsStorage"
FUNCTIONS: dict[str, list[dict[str, Any]]] = {
    "dataset_blob_uploaded": [
        {"type": "blobTrigger", "name": "upload", "direction": "IN", "path": "%DATASETS_CONTAINER%/{name}", "connection": "DATASETS",
         "source": "EventGrid"},
    ],
    "dataset_event_received": EVENT_GRID,
    "job_event_received": EVENT_GRID,
    "take_turn": [{"type": "queueTrigger", "name": "message", "direction": "IN", "queueName": "%TURNS_QUEUE%", "connection": STORAGE}],
    "turn_poisoned": [
        {"type": "queueTrigger", "name": "message", "direction": "IN", "queueName": "%TURNS_QUEUE%-poison", "connection": STORAGE}
    ],
    "look_again": [
        {"type": "timerTrigger", "name": "timer", "direction": "IN", "schedule": "%LOOK_AGAIN_SCHEDULE%", "runOnStartup": False,
         "useMonitor": True},
    ],
    "tear_down_idle_endpoints": [
        {"type": "timerTrigger", "name": "timer", "direction": "IN", "schedule": "%TEAR_DOWN_SCHEDULE%", "runOnStartup": False,
         "useMonitor": True},
    ],
}  # fmt: skip
ASKED = f"""
import inspect, json, sys, time
began = time.perf_counter()
import function_app
seconds = time.perf_counter() - began
loaded = [name for name in {FORBIDDEN} if name in sys.modules]
functions = {{}}
for function in function_app.app.get_functions():
    functions[function.get_function_name()] = {{
        "bindings": [binding.get_dict_repr() for binding in function.get_bindings()],
        "parameters": list(inspect.signature(function.get_user_function()).parameters),
        "coroutine": inspect.iscoroutinefunction(function.get_user_function()),
    }}
print(json.dumps({{"seconds": seconds, "loaded": loaded, "functions": functions, "shared": function_app.doors.__file__}}, default=str))
"""
# Complete and valid, and every address is a port of this machine where nobody listens: no test here may need an answer.
SETTINGS = {
    "DATASETS": "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:9/devstoreaccount1;",
    STORAGE: "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:9/devstoreaccount1;"
    "QueueEndpoint=http://127.0.0.1:9/devstoreaccount1;",
    "AZURE_SUBSCRIPTION_ID": "11111111-1111-1111-1111-111111111111",
    "AZURE_RESOURCE_GROUP": "local-rg",
    "AZUREML_WORKSPACE": "local-workspace",
    "TUNELOOP_LOCAL": "1",
}
NOT_OURS = ("AZURE", "DATASETS", "AzureWebJobs", "TUNELOOP", "IDENTITY", "MSI", "PREPARED", "LEDGER", "TURNS")


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without any setting of the app, and then these."""
    return {name: value for name, value in os.environ.items() if not name.startswith(NOT_OURS)} | dict(settings)


@pytest.fixture(scope="module")
def indexed() -> dict[str, Any]:
    """What a fresh process, without a single setting, says about the app."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ASKED], cwd=APP, env=environment({}), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def plain(bindings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Bindings as they stand in FUNCTIONS: without what is unset, enums by their last word."""
    shown = []
    for binding in bindings:
        found = {key: value for key, value in binding.items() if value is not None and key not in ("properties", "dataType")}
        shown.append(found | {"direction": "IN" if str(found["direction"]) in ("0", "IN", "BindingDirection.IN") else "not in"})
        if str(found.get("source")).endswith("EVENT_GRID"):
            shown[-1]["source"] = "EventGrid"
    return shown


# ------------------------------------------------------------------------------------------------------- with the library


@pytest.mark.light
def test_the_app_has_exactly_these_functions_with_exactly_these_bindings(indexed: dict[str, Any]) -> None:
    assert {name: plain(function["bindings"]) for name, function in indexed["functions"].items()} == FUNCTIONS


@pytest.mark.light
@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_a_function_has_a_parameter_for_each_binding_and_no_other(indexed: dict[str, Any], name: str) -> None:
    function = indexed["functions"][name]

    assert set(function["parameters"]) == {binding["name"] for binding in function["bindings"]}


@pytest.mark.light
def test_no_door_is_a_coroutine_since_azure_ai_ml_blocks(indexed: dict[str, Any]) -> None:
    assert not [name for name, function in indexed["functions"].items() if function["coroutine"]]


@pytest.mark.light
def test_importing_the_app_loads_nothing_heavy_and_needs_no_setting(indexed: dict[str, Any]) -> None:
    print(f"import function_app: {indexed['seconds']:.2f} s")

    assert indexed["loaded"] == []
    assert indexed["seconds"] < IMPORT_SECONDS_MAX


@pytest.mark.light
def test_the_package_shared_is_ours(indexed: dict[str, Any]) -> None:
    assert Path(indexed["shared"]) == APP / "shared/doors.py"


@pytest.mark.light
def test_the_example_settings_hold_every_name_that_a_binding_refers_to() -> None:
    values = json.loads((APP / "local.settings.json.example").read_text(encoding="utf-8"))["Values"]
    referred = set(re.findall("%([A-Z_]+)%", json.dumps(FUNCTIONS))) | {"DATASETS", STORAGE}

    assert referred <= set(values)


# ------------------------------------------------------------------------------------------- through Microsoft's own runtime

Calls = list[dict[str, Any]]
needs_runtime = pytest.mark.skipif(sys.version_info < (3, 13), reason="azure-functions-runtime exists for Python 3.13 and later only")


def driven(calls: Calls, settings: Mapping[str, str] = SETTINGS) -> tuple[dict[str, Any], str]:
    """Return the driver's document and the app's log."""
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(APP)],
        input=json.dumps(calls),
        cwd=APP.parent,
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=DRIVER_SECONDS_MAX,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def event(kind: str, subject: str, source: str, data: object) -> dict[str, Any]:
    return {
        "id": "831e1650-001e-001b-66ab-eeb76e069631", "topic": source, "subject": subject, "eventType": kind,
        "eventTime": "2026-06-26T18:41:00.9584103Z", "data": data, "dataVersion": "", "metadataVersion": "1",
    }  # fmt: skip


ACCOUNT = "/subscriptions/S/resourceGroups/R/providers/Microsoft.Storage/storageAccounts/devstoreaccount1"
UPLOADED = "Microsoft.Storage.BlobCreated"
BLOBS = "/blobServices/default/containers/datasets/blobs/"
COMPLETED = "Microsoft.MachineLearningServices.RunCompleted"
CLOUD_EVENT = {
    "specversion": "1.0", "id": "1", "type": COMPLETED, "source": "/elsewhere", "subject": "experiments/e/runs/ft-0123456789ab-a1",
    "time": "2026-06-26T18:41:00.9584103Z", "data": {"runId": "ft-0123456789ab-a1"},
}  # fmt: skip


def received(function: str, value: object) -> dict[str, Any]:
    return {"function": function, "kind": "json", "value": value}


def written(container: str, path: str) -> dict[str, Any]:
    value = {"Connection": "DATASETS", "ContainerName": container, "BlobName": path}
    return {"function": "dataset_blob_uploaded", "kind": "reference", "value": value}


def message(function: str, text: str) -> dict[str, Any]:
    return {"function": function, "kind": "string", "value": text, "metadata": {"Id": "1", "DequeueCount": 1}}


IGNORED: list[tuple[dict[str, Any], str]] = [
    (written("datasets-backup", "a.jsonl"), "foreign_event"),
    (written("datasets", "../models/x"), "path_refused"),
    (written("datasets", "a/./b"), "path_refused"),
    (written("datasets", "a\nb"), "path_refused"),
    (written("datasets", "shop/_recipe.json"), "not_a_dataset"),
    (received("dataset_event_received", event(UPLOADED, f"{BLOBS}../x", ACCOUNT, {"api": "PutBlob"})), "path_refused"),
    (received("dataset_event_received", event(UPLOADED, f"{BLOBS}a\ud800", ACCOUNT, {"api": "PutBlob"})), "path_refused"),
    (received("dataset_event_received", event(UPLOADED, BLOBS + "a.jsonl", ACCOUNT + "2", {})), "foreign_event"),
    (received("dataset_event_received", event(UPLOADED, BLOBS.replace("datasets", "datasets-backup") + "a", ACCOUNT, {})), "foreign_event"),
    (received("dataset_event_received", event(UPLOADED, BLOBS + "a.jsonl", ACCOUNT, {"api": "CreateFile"})), "foreign_event"),
    (received("dataset_event_received", event("Microsoft.Storage.BlobDeleted", BLOBS + "a.jsonl", ACCOUNT, {})), "foreign_event"),
    (received("dataset_event_received", event("", "", "", {})), "foreign_event"),
    (received("job_event_received", event(COMPLETED, "experiments/e/runs/ft-0123456789ab-a1", "/elsewhere", {})), "foreign_event"),
    (received("job_event_received", event(COMPLETED, "", ACCOUNT, {"RunId": None, "runTags": None})), "foreign_event"),
    (received("job_event_received", CLOUD_EVENT), "foreign_event"),
    (message("take_turn", "not json"), "message_dropped"),
    (message("take_turn", '{"kind": "invented", "id": "x"}'), "message_dropped"),
    (message("turn_poisoned", "not json"), "turn_poisoned"),
    (message("turn_poisoned", '{"kind": "tuning", "id": "0123456789ab"}'), "turn_poisoned"),
    (message("turn_poisoned", "[" * 50_000), "turn_poisoned"),
]


@pytest.fixture(scope="module")
def ignored() -> tuple[dict[str, Any], str]:
    return driven([call for call, _ in IGNORED])


@pytest.mark.light
@needs_runtime
def test_microsofts_runtime_indexes_the_same_functions(ignored: tuple[dict[str, Any], str]) -> None:
    assert {name: plain(bindings) for name, bindings in ignored[0]["functions"].items()} == FUNCTIONS


@pytest.mark.light
@needs_runtime
@pytest.mark.parametrize("number", range(len(IGNORED)), ids=lambda n: f"{IGNORED[n][0]['function']} {n} {IGNORED[n][1]}")
def test_what_is_not_ours_is_answered_with_success(ignored: tuple[dict[str, Any], str], number: int) -> None:
    """No storage answers in this test: the doors must have refused before they asked it."""
    assert ignored[0]["failures"][number] == ""


@pytest.mark.light
@needs_runtime
def test_each_refusal_is_one_line_in_the_log_with_a_word_for_machines(ignored: tuple[dict[str, Any], str]) -> None:
    actions = [line.rpartition("action=")[2].split()[0] for line in ignored[1].splitlines() if "action=" in line]
    poisoned = [line for line in ignored[1].splitlines() if "failed too often" in line]

    others = [action for _, action in IGNORED if action != "turn_poisoned"]
    assert sorted(actions) == sorted([*others, *["turn_poisoned"] * len(poisoned), "announced"])  # the one that is a turn of ours
    assert len(poisoned) == 3


@pytest.mark.light
@needs_runtime
def test_wrong_settings_fail_at_the_first_call_and_leave_every_function_in_the_index() -> None:
    document, _ = driven([written("datasets", "a.jsonl")], {"DATASETS": SETTINGS["DATASETS"]})

    assert set(document["functions"]) == set(FUNCTIONS)
    assert "AZURE_SUBSCRIPTION_ID is not set." in document["failures"][0]
    assert "AZUREML_WORKSPACE is not set." in document["failures"][0]


@needs_runtime
def test_every_function_does_its_work_against_storage(settings_with_storage: dict[str, str]) -> None:
    """Upload, both doors, a job's event, a turn, both timers: one record and its messages are there afterwards."""
    from azure.storage.blob import BlobServiceClient
    from azure.storage.queue import QueueServiceClient

    workspace = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/local-rg/providers/Microsoft.MachineLearningServices"
    job = event(COMPLETED, "experiments/e/runs/ft-0123456789ab-a1", f"{workspace}/workspaces/local-workspace", {})
    unknown_turn = '{"kind": "training", "id": "0123456789ab", "who": "job_event_received", "promised": null}'
    document, log = driven(
        [
            written("datasets", "shop/a.jsonl"),
            received("dataset_event_received", event(UPLOADED, BLOBS + "shop/a.jsonl", ACCOUNT, {"api": "PutBlob"})),
            received("job_event_received", job),
            message("take_turn", unknown_turn),
            received("look_again", {"IsPastDue": False}),
            received("tear_down_idle_endpoints", {"IsPastDue": False}),
            message("turn_poisoned", unknown_turn),
        ],
        settings_with_storage,
    )

    assert document["failures"] == [""] * 7
    with BlobServiceClient.from_connection_string(settings_with_storage["DATASETS"]) as blobs:
        names = [name for name in blobs.get_container_client("ledger").list_blob_names() if name.startswith("tuning/")]
    with QueueServiceClient.from_connection_string(settings_with_storage["DATASETS"]) as queues:
        messages = queues.get_queue_client("turns").peek_messages(32)
    assert len(names) == 1
    assert len(messages) == 3  # the opening, the ring of the second door, the ring of the job
    assert "action=unknown_record" in log
