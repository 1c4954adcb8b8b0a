"""What a function is given and what becomes of what it gives: the worker's side, without a process around it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from localcloud.functions import executing, wire
from localcloud.functions.worker import FIRST, Outcome, Value

pytestmark = pytest.mark.light
HEAD = """
import json
import azure.functions as func
app = func.FunctionApp()
"""
EVENT = {"id": "1", "subject": "s", "eventType": "t", "topic": "x", "dataVersion": "", "eventTime": "2026-01-01T00:00:00.1234567Z"}
CLOUD = {"specversion": "1.0", "id": "1", "source": "/x", "type": "t", "subject": "s", "time": "2026-01-01T00:00:00Z", "data": {}}
ON_EVENT = '@app.event_grid_trigger(arg_name="event")\n'
ON_CALL = '@app.route("call")\n'
ON_TIMER = '@app.timer_trigger(arg_name="timer", schedule="0 0 0 1 1 *")\n'
ON_MESSAGE = '@app.queue_trigger(arg_name="message", queue_name="q", connection="C")\n'
OUT = '@app.queue_output(arg_name="out", queue_name="q", connection="C")\n'
TIMER = {"Schedule": {}, "ScheduleStatus": {"Last": "", "Next": "", "LastUpdated": ""}, "IsPastDue": True}
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def run(folder: Path, source: str, value: Value, metadata: Mapping[str, Value] | None = None) -> Outcome:
    """Load an app of one function and run it once."""
    file = f"invoked_app_{next(_numbers)}.py"
    (folder / file).write_text(HEAD + source)
    app = executing.App()
    functions = app.load(folder, file)
    return asyncio.run(app.run(wire.Invoke("the-id", functions[0].name, value, dict(metadata or {}), FIRST)))


def event(**changed: Any) -> Value:
    return Value("json", json.dumps({**EVENT, "data": {}, **changed}))


def called(body: bytes = b"") -> Value:
    request = {
        "method": "POST",
        "url": "http://127.0.0.1/api/call?q=1",
        "headers": {"a": "b"},
        "query": {"q": "1"},
        "params": {},
        "body": body,
    }
    return Value("http", request)


def test_an_event_keeps_its_fields(tmp_path: Path) -> None:
    source = ON_EVENT + "def f(event: func.EventGridEvent): assert (event.id, event.subject, event.get_json()) == ('1', 's', {'a': 1})"

    assert run(tmp_path, source, event(data={"a": 1})).error is None


@pytest.mark.parametrize(
    ("source", "value", "error"),
    [
        ("def f(event: func.EventGridEvent): event.no_such_thing", event(), "AttributeError"),
        ("def f(event: func.EventGridEvent): return 'x'", event(), "without a $return binding returned a non-None value"),
        ("def f(event: func.CloudEvent): event.source", event(), "AttributeError"),
        ("def f(event: func.EventGridEvent): event.event_type", Value("json", json.dumps(CLOUD)), "AttributeError"),
        ("def f(event: func.EventGridEvent): ...", event(eventTime="2026-01-01T00:00:00+02:00"), "ValueError"),
        ("def f(event: func.EventGridEvent): ...", Value("json", "[]"), "Error"),
    ],
    ids=["any error", "a value nobody asked for", "cloud annotation", "cloud body", "a time with an offset", "an array as event"],
)
def test_what_fails_in_azure_fails_here(tmp_path: Path, source: str, value: Value, error: str) -> None:
    outcome = run(tmp_path, ON_EVENT + source, value)

    assert outcome.error is not None
    assert error in outcome.error
    assert "Traceback" in outcome.traceback


def test_a_cloud_event_is_one_by_its_body(tmp_path: Path) -> None:
    source = ON_EVENT + "def f(event): assert type(event).__name__ == 'CloudEvent' and event.source == '/x'"

    assert run(tmp_path, source, Value("json", json.dumps(CLOUD))).error is None


def test_a_message_keeps_its_count_and_times(tmp_path: Path) -> None:
    metadata = {"Id": "m", "DequeueCount": "3", "PopReceipt": "r"}
    times = dict.fromkeys(("InsertionTime", "ExpirationTime", "NextVisibleTime"), "2026-01-01T00:00:00+00:00")
    source = ON_MESSAGE + (
        "def f(message: func.QueueMessage): "
        "assert (message.id, message.dequeue_count, message.get_body(), message.insertion_time.year) == ('m', 3, b'hi', 2026)"
    )
    wired = {key: Value("string", text) for key, text in {**metadata, **times}.items()}

    assert run(tmp_path, source, Value("string", "hi"), wired).error is None


def test_a_timer_says_that_it_is_past_due(tmp_path: Path) -> None:
    source = ON_TIMER + "def f(timer: func.TimerRequest): assert timer.past_due"

    assert run(tmp_path, source, Value("json", json.dumps(TIMER))).error is None


def test_a_context_carries_the_id_of_the_invocation(tmp_path: Path) -> None:
    source = ON_EVENT + (
        "def f(event: func.EventGridEvent, context: func.Context): "
        "assert (context.invocation_id, context.function_name, context.retry_context.retry_count) == ('the-id', 'f', 0)"
    )

    assert run(tmp_path, source, event()).error is None


@pytest.mark.parametrize(
    ("source", "given"),
    [
        ("def f(req: func.HttpRequest): return 'text'", Value("string", "text")),
        (
            "def f(req: func.HttpRequest): return func.HttpResponse(req.get_body() + b'!', status_code=201, mimetype='a/b')",
            {"status": 201, "body": b"hi!"},
        ),
        ("async def f(req: func.HttpRequest): return json.dumps([req.method, req.params['q'], req.headers['A']])", '["POST", "1", "b"]'),
    ],
)
def test_an_http_function_answers(tmp_path: Path, source: str, given: Any) -> None:
    returned = run(tmp_path, ON_CALL + source, called(b"hi")).outputs["$return"]

    if isinstance(given, dict):
        assert returned.value.items() >= given.items()
    else:
        assert returned.value == (given.value if isinstance(given, Value) else given)


@pytest.mark.parametrize(
    ("annotation", "given", "kind", "value"),
    [
        ("str", "'one'", "string", "one"),
        ("bytes", "b'one'", "bytes", b"one"),
        ("typing.List[str]", "['a', 'b']", "json", ["a", "b"]),
        ("func.QueueMessage", "func.QueueMessage(body='m')", "json", None),
    ],
)
def test_what_a_function_sets_goes_out(tmp_path: Path, annotation: str, given: str, kind: str, value: Any) -> None:
    source = f"import typing\n{ON_EVENT}{OUT}def f(event: func.EventGridEvent, out: func.Out[{annotation}]): out.set({given})"

    put = run(tmp_path, source, event()).outputs["out"]

    assert put.kind == kind
    assert value in (None, json.loads(put.value) if kind == "json" else put.value)


def test_what_a_function_does_not_set_is_not_put_out(tmp_path: Path) -> None:
    source = ON_EVENT + OUT + "def f(event: func.EventGridEvent, out: func.Out[str]): ..."

    assert run(tmp_path, source, event()).outputs == {}


def test_a_function_that_the_worker_does_not_have_is_a_failure(tmp_path: Path) -> None:
    outcome = asyncio.run(executing.App().run(wire.Invoke("1", "gone", event(), {}, FIRST)))

    assert outcome.error == "Function gone is not loaded by the worker."


@pytest.mark.parametrize(("environment", "size"), [({"PYTHON_THREADPOOL_THREAD_COUNT": "3"}, 3), ({}, None)])
def test_the_pool_is_as_large_as_the_workers(environment: dict[str, str], size: int | None) -> None:
    assert executing.pool_size(environment) == (size or (os.cpu_count() or 1) + 4)
