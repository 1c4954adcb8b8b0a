"""The app lives in a process of its own: whatever kills it, the host lives on, and what ran in it is tried again."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from azure.storage.queue import QueueClient

from localcloud import processes
from localcloud.azurite import Azurite
from localcloud.functions import supervisor
from tests.localcloud.hosts import RunningHost, until

Start = Callable[..., RunningHost]

HEAD = """
import ctypes, json, os, subprocess, sys, threading, time
from pathlib import Path
import azure.functions as func

app = func.FunctionApp()

def note(*what):
    with open(Path(os.environ["OUT"]) / "notes.txt", "a") as file:
        file.write(json.dumps(what) + "\\n")

@app.route("pid")
def pid(req: func.HttpRequest) -> str:
    return str(os.getpid())
"""
TURNS = """
@app.queue_trigger(arg_name="message", queue_name="%%TURNS%%", connection="AzureWebJobsStorage")
def turn(message: func.QueueMessage) -> None:
    note(message.dequeue_count, os.getpid())
    %s
"""
FIRST_ONLY = "time.sleep(60 if message.dequeue_count == 1 else 0)"
NO_EVENTS = """
@app.event_grid_trigger(arg_name="event")
def told(event: func.EventGridEvent) -> None:
    note("told", event.id)
    time.sleep(60 if event.get_json().get("slow") else 0)
"""
EVENT = {"id": "1", "subject": "s", "eventType": "t", "topic": "x", "dataVersion": "", "eventTime": "2026-01-01T00:00:00Z", "data": {}}
TOLD = "/runtime/webhooks/EventGrid?functionName=told"


def notes(folder: Path) -> list[list[object]]:
    file = folder / "notes.txt"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def worker_of(host: RunningHost) -> int:
    """The pid of a worker that is ready."""
    seen: list[int] = []

    def ready() -> bool:
        pid = host.ask("/admin/host/status")[1]["workerPid"]
        seen[:] = [pid] if pid else []
        return bool(seen)

    until(ready, "a worker")
    return seen[0]


def unanswered(host: RunningHost, path: str) -> None:
    """Ask, and lose the connection."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        host.ask(path)


@pytest.fixture
def turns(azurite: Azurite) -> QueueClient:
    queue = QueueClient.from_connection_string(azurite.connection_string, f"turns-{uuid.uuid4().hex[:8]}")
    queue.create_queue()
    return queue


def send(queue: QueueClient, text: str) -> None:
    queue.send_message(base64.b64encode(text.encode()).decode())


def empty(queue: QueueClient) -> bool:
    return queue.get_queue_properties().approximate_message_count == 0


CALM = """
import logging

@app.route("loaded")
def loaded(req: func.HttpRequest) -> func.HttpResponse:
    hosts = ("azure.storage", "azure.core", "localcloud.functions.queues", "localcloud.functions.host")
    return func.HttpResponse(json.dumps([name for name in sys.modules if name.startswith(hosts)]))

@app.route("hungry")
def hungry(req: func.HttpRequest) -> str:
    return "x" * (1 << 62)

@app.route("talk")
def talk(req: func.HttpRequest) -> str:
    print("printed by the app")
    logging.getLogger("mine").info("logged by the app")
    return "ok"

@app.route("size")
def size(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(json.dumps([len(req.get_body()), req.headers["x-mine"], req.method]), status_code=201)

@app.route("put/{size:int}")
@app.queue_output(arg_name="out", queue_name="%TURNS%", connection="AzureWebJobsStorage")
def put(req: func.HttpRequest, out: func.Out[str]) -> str:
    out.set("x" * int(req.route_params["size"]))
    return "put"

@app.route("block")
async def block(req: func.HttpRequest) -> str:
    began = time.monotonic()
    time.sleep(0.4)
    return f"[{began}, {time.monotonic()}]"

@app.route("rest")
def rest(req: func.HttpRequest) -> str:
    began = time.monotonic()
    time.sleep(0.4)
    return f"[{began}, {time.monotonic()}]"
"""
PUT_QUEUE = f"put-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def calm(start_shared_host: Start) -> RunningHost:
    """A host whose worker no test ends. Two plain functions may run at a time."""
    return start_shared_host(HEAD + CALM, TURNS=PUT_QUEUE, PYTHON_THREADPOOL_THREAD_COUNT="2")


def test_the_app_runs_in_the_process_that_the_status_names(calm: RunningHost) -> None:
    assert calm.ask("/api/pid") == (200, worker_of(calm))
    assert worker_of(calm) != calm.process.pid
    assert b"localcloud.functions.worker_process" in Path(f"/proc/{worker_of(calm)}/cmdline").read_bytes()


def test_the_app_shares_no_modules_with_the_host(calm: RunningHost) -> None:
    assert calm.ask("/api/loaded") == (200, [])


def test_out_of_memory_in_a_function_is_a_failure_like_any_other(calm: RunningHost) -> None:
    before = worker_of(calm)

    assert calm.ask("/api/hungry")[0] == 500
    assert worker_of(calm) == before


def test_what_the_app_prints_and_logs_stands_in_the_log_of_the_host(calm: RunningHost) -> None:
    assert calm.ask("/api/talk")[0] == 200
    assert "\nprinted by the app\n" in calm.log.read_text()
    assert "INFO    mine: logged by the app" in calm.log.read_text()


def test_a_large_body_travels_to_the_function_and_back(calm: RunningHost) -> None:
    assert calm.ask("/api/size", "x" * 8_000_000, x_mine="mine") == (201, [8_000_002, "mine", "POST"])


def test_a_function_that_puts_out_more_than_a_message_holds_fails(calm: RunningHost, azurite: Azurite) -> None:
    """Goal: 64 KB, as in Azure. Method: one message below and one above, as they are in base64."""
    assert calm.ask("/api/put/49000") == (200, "put")
    assert calm.ask("/api/put/50000")[0] == 500
    assert len(QueueClient.from_connection_string(azurite.connection_string, PUT_QUEUE).peek_messages(max_messages=32)) == 1


def test_blocking_code_in_an_async_function_holds_up_every_function(calm: RunningHost) -> None:
    """Goal: one event loop for all. Method: two blocking functions, and a plain one that is asked during the first."""
    with ThreadPoolExecutor() as pool:
        blocked = [pool.submit(calm.ask, "/api/block") for _ in range(2)]
        time.sleep(0.1)
        plain = pool.submit(calm.ask, "/api/rest")
        first, second = sorted(one.result()[1] for one in blocked)

    assert second[0] >= first[1]
    assert not first[0] < plain.result()[1][0] < first[1]


def test_plain_functions_run_side_by_side_up_to_the_size_of_the_pool(calm: RunningHost) -> None:
    """Goal: PYTHON_THREADPOOL_THREAD_COUNT is the bound. Method: three calls, a pool of two; the third begins after one ended."""
    with ThreadPoolExecutor() as pool:
        spans = sorted(one[1] for one in pool.map(calm.ask, ["/api/rest"] * 3))

    assert spans[1][0] < spans[0][1]
    assert spans[2][0] >= min(spans[0][1], spans[1][1])


def test_a_message_of_a_killed_worker_runs_again(start_host: Start, turns: QueueClient, tmp_path: Path) -> None:
    """Goal: kill -9 of the worker redelivers at once, counted. Method: the lease is 10 minutes, so only the host can give it back."""
    host = start_host(HEAD + TURNS % FIRST_ONLY, TURNS=turns.queue_name)
    send(turns, "precious")
    until(lambda: notes(tmp_path), "the first run to begin")
    first = worker_of(host)

    os.kill(first, signal.SIGKILL)

    until(lambda: len(notes(tmp_path)) == 2, "the message to come back")
    assert notes(tmp_path) == [[1, first], [2, worker_of(host)]]
    until(lambda: empty(turns), "the message to be deleted")
    assert "turn failed" in host.log.read_text()
    assert f"Worker process {first} was killed by signal 9" in host.log.read_text()


def test_a_message_of_a_killed_worker_rests_for_the_visibility_timeout(start_host: Start, turns: QueueClient, tmp_path: Path) -> None:
    resting = {"version": "2.0", "extensions": {"queues": {"visibilityTimeout": "00:00:02"}}}
    host = start_host(HEAD + TURNS % FIRST_ONLY, host_json=resting, TURNS=turns.queue_name)
    send(turns, "precious")
    until(lambda: notes(tmp_path), "the first run to begin")

    killed = time.monotonic()
    os.kill(worker_of(host), signal.SIGKILL)

    until(lambda: len(notes(tmp_path)) == 2, "the message to come back")
    assert time.monotonic() - killed >= 1.9


def test_a_killed_worker_fails_the_whole_delivery(start_host: Start, tmp_path: Path) -> None:
    """Goal: 500, so that Event Grid sends the array again. Method: one of two items is still running when the worker is killed."""
    host = start_host(HEAD + NO_EVENTS)
    events = ({**EVENT, "id": "quick"}, {**EVENT, "id": "slow", "data": {"slow": True}})
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(host.notify, TOLD, *events)
        until(lambda: len(notes(tmp_path)) == 2, "both items to begin")
        os.kill(worker_of(host), signal.SIGKILL)

        assert answer.result() == 500
    assert host.notify(TOLD, EVENT) == 202


@pytest.mark.parametrize("end", ["os._exit(3)", "sys.exit(3)", "ctypes.string_at(0)"])
def test_user_code_that_ends_its_process_ends_only_the_worker(start_host: Start, end: str) -> None:
    ends = f"""
@app.route("end")
def end(req: func.HttpRequest) -> str:
    {end}
"""
    host = start_host(HEAD + ends)
    before = worker_of(host)

    assert host.ask("/api/end")[0] == 500
    assert host.ask("/api/pid")[0] == 200
    assert worker_of(host) != before
    assert host.process.poll() is None


def test_a_request_that_arrives_while_the_worker_restarts_waits_for_it(start_host: Start) -> None:
    host = start_host(HEAD)
    before = worker_of(host)

    os.kill(before, signal.SIGKILL)

    until(lambda: host.ask("/admin/host/status")[1]["workerPid"] != before, "the host to notice")
    assert host.ask("/api/pid")[1] not in (before, None)


def test_a_grandchild_that_outlives_the_worker_holds_up_nothing(start_host: Start, tmp_path: Path) -> None:
    """Goal: the host notices the death although a forked process still holds the worker's end. Method: fork, then kill the worker."""
    forks = """
@app.route("fork")
def fork(req: func.HttpRequest) -> str:
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    return str(child)
"""
    host = start_host(HEAD + forks)
    grandchild = host.ask("/api/fork")[1]
    try:
        before = worker_of(host)
        os.kill(before, signal.SIGKILL)

        until(lambda: host.ask("/admin/host/status")[1]["workerPid"] not in (before, None), "the next worker")
        assert host.ask("/api/pid")[0] == 200
    finally:
        os.kill(grandchild, signal.SIGKILL)


def test_a_worker_that_is_killed_again_and_again_ends_the_host(start_host: Start) -> None:
    host = start_host(HEAD)
    killed: set[int] = set()
    for _ in range(supervisor.DEATHS_MAX):
        until(lambda: worker_of(host) not in killed, "the next worker")
        its_worker = worker_of(host)
        os.kill(its_worker, signal.SIGKILL)
        killed.add(its_worker)

    assert host.process.wait(timeout=20) == 5
    assert "That was death 3 in a row: the host ends" in host.log.read_text()


def test_an_app_whose_import_kills_the_worker_ends_the_host(start_host: Start, tmp_path: Path) -> None:
    with pytest.raises(processes.StartFailed, match=r"exit code 5(.|\n)*exited with code 7"):
        start_host("import os\nos._exit(7)")


def test_an_outrun_function_timeout_costs_the_worker_its_life_and_the_host_nothing(
    start_host: Start, turns: QueueClient, tmp_path: Path
) -> None:
    """Goal: the worker is ended with all that it runs, uncounted. Method: as many timeouts as the deaths that would end the host."""
    slow = {"version": "2.0", "functionTimeout": "00:00:01", "extensions": {"queues": {"maxDequeueCount": 9}}}
    times = supervisor.DEATHS_MAX
    source = HEAD + TURNS % f"time.sleep(60 if message.dequeue_count <= {times} else 0)"
    host = start_host(source, host_json=slow, TURNS=turns.queue_name)
    send(turns, "slow")

    until(lambda: empty(turns), "the message to succeed at last")
    assert [attempt for attempt, _ in notes(tmp_path)] == list(range(1, times + 2))
    assert len({pid for _, pid in notes(tmp_path)}) == times + 1
    assert "Timeout value of 00:00:01 exceeded by function 'Functions.turn'" in host.log.read_text()
    assert host.process.poll() is None


def test_a_worker_that_is_told_to_end_runs_no_finally(start_host: Start, turns: QueueClient, tmp_path: Path) -> None:
    """Goal: no graceful shutdown, as in Azure: a step must be resumable at any line. Method: SIGTERM while a function is in its try."""
    guarded = """
    if message.dequeue_count == 1:
        try:
            time.sleep(60)
        finally:
            note("finally")
"""
    host = start_host(HEAD + TURNS % guarded, TURNS=turns.queue_name)
    send(turns, "precious")
    until(lambda: notes(tmp_path), "the first run to begin")

    os.kill(worker_of(host), signal.SIGTERM)

    until(lambda: empty(turns), "the message to succeed at last")
    assert [attempt for attempt, *_ in notes(tmp_path)] == [1, 2]


def test_a_killed_host_leaves_no_worker(start_host: Start) -> None:
    """Goal: kill -9 of the host kills the worker too, also while its user code holds the interpreter."""
    busy = """
@app.route("busy")
def busy(req: func.HttpRequest) -> str:
    ctypes.PyDLL(None).sleep(60)
"""
    host = start_host(HEAD + busy)
    its_worker = worker_of(host)
    calling = threading.Thread(target=unanswered, args=(host, "/api/busy"))
    calling.start()
    time.sleep(0.3)  # the call is under way: a function that holds the interpreter can tell nobody

    host.process.kill()
    host.process.wait()

    until(lambda: not processes.alive(its_worker), "the worker to end")
    calling.join()


def test_a_stopped_host_leaves_no_worker(start_host: Start) -> None:
    host = start_host(HEAD)
    its_worker = worker_of(host)

    host.process.send_signal(signal.SIGTERM)

    assert host.process.wait(timeout=20) == 0
    until(lambda: not processes.alive(its_worker), "the worker to end")


def test_keys_are_asked_for_and_never_logged(start_host: Start, tmp_path: Path) -> None:
    host = start_host(HEAD + NO_EVENTS, "--auth", "on")
    kept = json.loads((tmp_path / "data/host-keys.json").read_text())
    system = kept["system"]["eventgrid_extension"]

    assert host.ask("/admin/host/status")[0] == 401
    assert host.ask(f"/admin/host/status?code={kept['master']}")[1]["state"] == "Running"
    assert host.ask("/api/pid")[0] == 401
    assert host.ask("/api/pid", x_functions_key=kept["host"]["default"])[0] == 200
    assert host.notify(TOLD, EVENT) == 401
    assert host.notify(f"{TOLD}&code={system}", EVENT) == 202
    assert not any(key in host.log.read_text() for key in (kept["master"], kept["host"]["default"], system))


def test_a_policy_retries_a_timer_in_its_process(start_host: Start, tmp_path: Path) -> None:
    failing = """
@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")
@app.retry(strategy="fixed_delay", max_retry_count="2", delay_interval="00:00:00")
def tick(timer: func.TimerRequest, context: func.Context) -> None:
    before = context.retry_context
    note(before.retry_count, before.max_retry_count, before.exception.message if before.exception else None)
    raise ValueError("no")
"""
    host = start_host(HEAD + failing)

    assert host.ask("/admin/functions/tick", {"input": ""})[0] == 202

    until(lambda: len(notes(tmp_path)) == 3, "three runs")
    assert notes(tmp_path) == [[0, 0, None], [1, 2, "ValueError: no"], [2, 2, "ValueError: no"]]


@pytest.mark.light
def test_the_next_start_waits_longer_and_the_third_death_is_the_last() -> None:
    deaths = supervisor.Deaths()

    assert [deaths.next_start_after_s(at) for at in (0.0, 10.0, 20.0)] == [0.0, 1.0, None]


@pytest.mark.light
def test_half_an_hour_of_peace_starts_the_count_anew() -> None:
    deaths = supervisor.Deaths()

    assert [deaths.next_start_after_s(at) for at in (0.0, 10.0, 1811.0, 1812.0)] == [0.0, 1.0, 0.0, 1.0]
