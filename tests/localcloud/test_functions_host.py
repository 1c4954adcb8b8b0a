"""The host, as a process of its own, on tiny apps: what an app can feel of the real one."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient

from localcloud.azurite import Azurite
from localcloud.functions import blobs
from tests.localcloud.hosts import RunningHost, until

Start = Callable[..., RunningHost]

HEAD = """
from __future__ import annotations
import json, os, threading, time
from pathlib import Path
import azure.functions as func
import azurefunctions.extensions.bindings.blob as blob

app = func.FunctionApp()

def note(what):
    with open(Path(os.environ["OUT"]) / "notes.txt", "a") as file:
        file.write(json.dumps(what) + "\\n")
"""
UPLOADS = """
@app.blob_trigger(arg_name="client", path="datasets/{name}", connection="DATASETS", source=func.BlobSource.EVENT_GRID)
def uploaded(client: blob.BlobClient) -> None:
    note([type(client).__module__.split(".")[0], client.container_name, client.blob_name])

@app.event_grid_trigger(arg_name="event")
def told(event: func.EventGridEvent) -> None:
    if event.get_json().get("fail"):
        raise RuntimeError("asked to fail")
    note([event.id, event.subject])
"""
TURNS = """
@app.queue_trigger(arg_name="message", queue_name="%%TURNS%%", connection="AzureWebJobsStorage")
def turn(message: func.QueueMessage) -> None:
    note([message.dequeue_count, message.get_body().decode()])
    %s
"""


def notes(folder: Path) -> list[list[object]]:
    file = folder / "notes.txt"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def drained(azurite: Azurite) -> bool:
    """True if the internal queue, which all hosts of this Azurite share, is empty."""
    internal = QueueClient.from_connection_string(azurite.connection_string, blobs.QUEUE)
    return internal.get_queue_properties().approximate_message_count == 0


@pytest.fixture
def turns(azurite: Azurite) -> QueueClient:
    queue = QueueClient.from_connection_string(azurite.connection_string, f"turns-{uuid.uuid4().hex[:8]}")
    queue.create_queue()
    return queue


def send(queue: QueueClient, text: str) -> None:
    queue.send_message(base64.b64encode(text.encode()).decode())


def test_an_upload_reaches_its_function_as_a_blob_client(start_host: Start, azurite: Azurite, tmp_path: Path) -> None:
    host = start_host(HEAD + UPLOADS)
    container = f"datasets-{uuid.uuid4().hex[:8]}"
    client = BlobServiceClient.from_connection_string(azurite.connection_string).create_container(container).get_blob_client("a b/ü.jsonl")
    client.upload_blob(b"{}")
    hook = "/runtime/webhooks/blobs?functionName=Host.Functions.uploaded"

    assert host.notify(hook, {"eventType": "x", "data": {"url": client.url, "eTag": '"0x1"', "blobType": "BlockBlob"}}) == 202

    until(lambda: notes(tmp_path), "the function to run")
    assert notes(tmp_path) == [["azure", container, "a b/ü.jsonl"]]
    until(lambda: drained(azurite), "the message to be deleted, before the host is killed")


def test_a_blob_that_is_gone_is_no_failure(start_host: Start, azurite: Azurite, tmp_path: Path) -> None:
    """Goal: 404 at the HEAD is success. Method: an event for a missing blob, then one for a blob that is there; only that one runs."""
    host = start_host(HEAD + UPLOADS)
    container = f"datasets-{uuid.uuid4().hex[:8]}"
    there = BlobServiceClient.from_connection_string(azurite.connection_string).create_container(container).get_blob_client("there")
    there.upload_blob(b"{}")
    hook = "/runtime/webhooks/blobs?functionName=Host.Functions.uploaded"
    for url in (there.url.replace("/there", "/gone"), there.url):
        host.notify(hook, {"eventType": "x", "data": {"url": url}})

    until(lambda: notes(tmp_path), "the function to run")
    until(lambda: drained(azurite), "both messages to be deleted")
    assert notes(tmp_path) == [["azure", container, "there"]]
    assert "could not be handled" not in host.log.read_text()


def test_a_blob_arrives_as_the_type_that_the_function_names(start_host: Start, azurite: Azurite, tmp_path: Path) -> None:
    """Goal: SDK types travel as a reference, others as content. Method: one blob, run by hand into a function of each type."""
    types = ("blob.BlobClient", "blob.ContainerClient", "blob.StorageStreamDownloader", "func.InputStream", "bytes", "str")
    trigger = '@app.blob_trigger(arg_name="it", path="datasets/{name}", connection="DATASETS", source=func.BlobSource.EVENT_GRID)'
    reading = {
        "blob.BlobClient": "it.download_blob().readall().decode()",
        "blob.ContainerClient": "it.download_blob('one').readall().decode()",
        "blob.StorageStreamDownloader": "it.readall().decode()",
        "func.InputStream": "it.read().decode()",
        "bytes": "it.decode()",
        "str": "it if isinstance(it, str) else it.decode()",
    }
    source = "".join(f"{trigger}\ndef f{n}(it: {kind}) -> None: note([{n}, {reading[kind]}])\n" for n, kind in enumerate(types))
    host = start_host(HEAD + source)
    container = f"datasets-{uuid.uuid4().hex[:8]}"
    BlobServiceClient.from_connection_string(azurite.connection_string).create_container(container).upload_blob("one", "zwölf".encode())

    for number in range(len(types)):
        assert host.ask(f"/admin/functions/f{number}", {"input": f"{container}/one"})[0] == 202

    until(lambda: len(notes(tmp_path)) == len(types), "every function to run")
    assert sorted(notes(tmp_path)) == [[number, "zwölf"] for number in range(len(types))]


def test_event_grid_shakes_hands_and_notifies(start_host: Start, tmp_path: Path) -> None:
    host = start_host(HEAD + UPLOADS)
    hook = "/runtime/webhooks/EventGrid?functionName=told"
    event = {"id": "1", "subject": "s", "eventType": "t", "topic": "x", "dataVersion": "", "eventTime": "2026-01-01T00:00:00.1234567Z"}

    handshake = host.ask(hook, [{"data": {"validationCode": "abc"}}], aeg_event_type="SubscriptionValidation")

    assert handshake == (200, {"validationResponse": "abc"})
    assert host.notify(hook, {**event, "data": {}}, {**event, "id": "2", "data": {}}) == 202
    assert sorted(notes(tmp_path)) == [["1", "s"], ["2", "s"]]
    assert host.notify(hook, {**event, "data": {}}, {**event, "data": {"fail": True}}) == 500
    assert host.ask(hook, [], aeg_event_type="Other")[0] == 400
    assert host.notify("/runtime/webhooks/EventGrid?functionName=nobody", event) == 404
    assert host.notify("/runtime/webhooks/EventGrid?functionName=uploaded", event) == 404


def test_a_failing_message_is_retried_and_then_poisoned(start_host: Start, azurite: Azurite, turns: QueueClient, tmp_path: Path) -> None:
    poison = QueueClient.from_connection_string(azurite.connection_string, f"{turns.queue_name}-poison")
    start_host(HEAD + TURNS % 'raise ValueError("no")', TURNS=turns.queue_name)
    send(turns, "bad")

    def poisoned() -> bool:
        try:
            return bool(poison.peek_messages())
        except ResourceNotFoundError:
            return False

    until(poisoned, "the poison queue")
    assert notes(tmp_path) == [[1, "bad"], [2, "bad"], [3, "bad"]]
    assert [base64.b64decode(one.content) for one in poison.peek_messages()] == [b"bad"]
    until(lambda: turns.get_queue_properties().approximate_message_count == 0, "the message to leave its queue")


def test_a_message_of_a_killed_host_comes_back(start_host: Start, turns: QueueClient, tmp_path: Path) -> None:
    """Goal: kill -9 in mid-function loses nothing. Method: the first run blocks until the kill; a second host on the same queue."""
    source = HEAD + TURNS % "time.sleep(60 if message.dequeue_count == 1 else 0)"
    first = start_host(source, lease=2, TURNS=turns.queue_name)
    send(turns, "precious")
    until(lambda: notes(tmp_path), "the first run to begin")
    first.process.kill()
    first.process.wait()

    start_host(source, lease=2, TURNS=turns.queue_name)

    until(lambda: len(notes(tmp_path)) == 2, "the message to come back")
    assert notes(tmp_path) == [[1, "precious"], [2, "precious"]]
    until(lambda: turns.get_queue_properties().approximate_message_count == 0, "the message to be deleted")


def test_a_long_function_keeps_its_message(start_host: Start, turns: QueueClient, tmp_path: Path) -> None:
    """Goal: the lease is renewed. Method: a function three leases long is not started twice."""
    start_host(HEAD + TURNS % 'time.sleep(3); note(["end"])', lease=1, TURNS=turns.queue_name)
    send(turns, "long")

    until(lambda: ["end"] in notes(tmp_path), "the function to end")
    until(lambda: turns.get_queue_properties().approximate_message_count == 0, "the message to be deleted")
    assert notes(tmp_path) == [[1, "long"], ["end"]]


def test_one_bad_function_leaves_the_app_without_functions(start_host: Start) -> None:
    bad = """
@app.event_grid_trigger(arg_name="event")
def good(event: func.EventGridEvent) -> None: ...

@app.event_grid_trigger(arg_name="event")
def bad(evnt: func.EventGridEvent) -> None: ...
"""
    host = start_host(HEAD + bad)

    assert host.ask("/admin/functions") == (200, [])
    assert host.ask("/admin/host/status")[1]["state"] == "Error"
    assert "cannot load the bad function" in host.ask("/admin/host/status")[1]["errors"][0]
    assert host.notify("/runtime/webhooks/EventGrid?functionName=good", {}) == 404


def test_a_setting_that_is_missing_leaves_the_app_without_functions(start_host: Start) -> None:
    host = start_host(HEAD + TURNS % "pass")

    assert "'%TURNS%' does not resolve" in host.ask("/admin/host/status")[1]["errors"][0]


TICK = """
@app.timer_trigger(arg_name="timer", schedule="%EVERY%")
def tick(timer: func.TimerRequest) -> None:
    note([timer.past_due])
"""


def test_a_timer_fires_and_is_past_due_after_a_downtime(start_host: Start, tmp_path: Path) -> None:
    """Goal: the due time outlives the host. Method: kill it, put the due time into the past, as a downtime would; start it again."""
    host = start_host(HEAD + TICK, EVERY="* * * * * *")
    until(lambda: notes(tmp_path), "the timer to fire")
    host.process.kill()
    host.process.wait()
    seen = len(notes(tmp_path))
    file = tmp_path / "data/timers/tick.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "next": "2026-01-01T00:00:00+00:00"}))

    start_host(HEAD + TICK, EVERY="* * * * * *")

    until(lambda: len(notes(tmp_path)) > seen + 1, "the timer to fire again")
    assert notes(tmp_path)[seen : seen + 2] == [[True], [False]]


def test_a_function_can_be_run_by_hand(start_host: Start, tmp_path: Path) -> None:
    host = start_host(HEAD + TICK, EVERY="0 0 0 1 1 *")

    assert host.ask("/admin/functions/tick", {"input": ""})[0] == 202

    until(lambda: notes(tmp_path) == [[False]], "the timer function to run")
    assert host.ask("/admin/functions/tock", {"input": ""})[0] == 404


def test_a_busy_port_is_a_sentence_and_exit_code_4(start_host: Start, tmp_path: Path) -> None:
    host = start_host(HEAD + UPLOADS)

    command = [sys.executable, "-m", "localcloud", "functions", "--app", str(tmp_path / "app"), "--port", str(host.port)]
    second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    assert second.returncode == 4
    assert f"Port {host.port} (functions host) is taken" in second.stderr


def test_no_body_stands_in_the_log(start_host: Start, turns: QueueClient, tmp_path: Path) -> None:
    host = start_host(HEAD + TURNS % "pass", TURNS=turns.queue_name)
    send(turns, "a-private-sentence")
    until(lambda: notes(tmp_path), "the function to run")
    until(lambda: "turn succeeded in" in host.log.read_text(), "the line of the invocation")

    assert "a-private-sentence" not in host.log.read_text()


def test_an_http_function_answers_below_api(start_host: Start) -> None:
    route = """
@app.route("hello/{who}", methods=["GET"])
async def hello(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(json.dumps({"who": req.route_params["who"], "q": req.params.get("q")}), status_code=201)
"""
    host = start_host(HEAD + route)
    started = time.monotonic()

    assert host.ask("/api/hello/you?q=1") == (201, {"who": "you", "q": "1"})
    assert time.monotonic() - started < 5
    assert host.ask("/api/hello/you", {})[0] == 404
