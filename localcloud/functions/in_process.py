"""
A worker inside the host's own process: quick to start, and it dies with the host.

`def` functions run on a thread pool as large as the worker's; `async def` functions share one event loop, where blocking code
holds up all of them, as it would in Azure.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import sys
import threading
import traceback
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from localcloud.functions import indexing, worker


def pool_size(environment: Mapping[str, str]) -> int:
    """PYTHON_THREADPOOL_THREAD_COUNT, else cores + 4 (the worker's default)."""
    return int(environment.get("PYTHON_THREADPOOL_THREAD_COUNT") or (os.cpu_count() or 1) + 4)


class InProcessWorker:
    """Runs the functions of one app folder."""

    def __init__(self, app: Path, *, timeout: timedelta | None) -> None:
        self._app = app
        self._timeout_s = timeout.total_seconds() if timeout else None
        self._indexed: dict[str, indexing.Indexed] = {}
        self._pool = concurrent.futures.ThreadPoolExecutor(pool_size(os.environ), thread_name_prefix="function")
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="async-functions", daemon=True).start()

    def index(self) -> Sequence[worker.Function]:
        indexed = indexing.index(self._app, os.environ.get("PYTHON_SCRIPT_FILE_NAME") or indexing.APP_FILE)
        self._indexed = {one.function.name: one for one in indexed}
        return [one.function for one in indexed]

    def invoke(self, name: str, data: worker.Value, metadata: Mapping[str, worker.Value]) -> worker.Outcome:
        one = self._indexed[name]
        future: concurrent.futures.Future[worker.Outcome]
        if one.is_async:
            future = asyncio.run_coroutine_threadsafe(self._run_async(one, data, metadata), self._loop)
        else:
            future = self._pool.submit(self._run, one, data, metadata)
        done, _ = concurrent.futures.wait([future], timeout=self._timeout_s)
        if not done:
            raise worker.TimedOut(f"{name} ran longer than functionTimeout ({self._timeout_s:.0f} s).")
        return future.result()

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self, one: indexing.Indexed, data: worker.Value, metadata: Mapping[str, worker.Value]) -> worker.Outcome:
        try:
            arguments = self._arguments(one, data, metadata)
            return _outcome(one, arguments, one.call(**arguments))
        except Exception as error:  # noqa: BLE001 - whatever the user's code raises is the outcome
            return _failed(error)

    async def _run_async(self, one: indexing.Indexed, data: worker.Value, metadata: Mapping[str, worker.Value]) -> worker.Outcome:
        try:
            arguments = self._arguments(one, data, metadata)
            return _outcome(one, arguments, await one.call(**arguments))
        except Exception as error:  # noqa: BLE001 - as above
            return _failed(error)

    def _arguments(self, one: indexing.Indexed, data: worker.Value, metadata: Mapping[str, worker.Value]) -> dict[str, Any]:
        arguments: dict[str, Any] = {one.function.trigger["name"]: _decode(one, data, metadata)}
        for binding in one.function.outputs:
            if binding["name"] != "$return":
                arguments[binding["name"]] = _Out()
        if one.wants_context:
            arguments["context"] = _context(one.function.name, self._app)
        return arguments


class _Out:
    """func.Out, which is abstract in the library."""

    def __init__(self) -> None:
        self._value: Any = None

    def set(self, val: Any) -> None:
        self._value = val

    def get(self) -> Any:
        return self._value


def _context(name: str, app: Path) -> SimpleNamespace:
    return SimpleNamespace(
        invocation_id=str(uuid.uuid4()),
        function_name=name,
        function_directory=str(app),
        thread_local_storage=threading.local(),
        trace_context=SimpleNamespace(trace_parent="", trace_state="", attributes={}),
        retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
    )


def _decode(one: indexing.Indexed, data: worker.Value, metadata: Mapping[str, worker.Value]) -> Any:
    """Let the library (or the binding extension) build the trigger's object, as the worker does."""
    from azure.functions.meta import Datum

    if one.function.deferred:
        reference = SimpleNamespace(**data.value)
        converter = indexing.deferred_registry().get(one.function.trigger["type"])
        base = sys.modules["azurefunctions.extensions.base"]
        return converter.decode(base.Datum(reference, data.kind), trigger_metadata={}, pytype=one.trigger_type)
    if one.trigger_type in (str, bytes) and data.kind in ("string", "bytes", "json"):
        return data.value
    converter = indexing.registry().get(one.function.trigger["type"])
    if converter is None:
        return data.value
    wire = {key: Datum(value.value, value.kind) for key, value in metadata.items()}
    return converter.decode(_datum(data), trigger_metadata=wire)


def _datum(value: worker.Value) -> Any:
    from azure.functions.meta import Datum

    if value.kind != "http":
        return Datum(value.value, value.kind)
    request: dict[str, Any] = {key: Datum(value.value[key], "string") for key in ("method", "url")}
    for key in ("headers", "query", "params"):
        request[key] = {name: Datum(text, "string") for name, text in value.value[key].items()}
    request["body"] = Datum(value.value["body"], "bytes")
    return Datum(request, "http")


def _outcome(one: indexing.Indexed, arguments: Mapping[str, Any], returned: Any) -> worker.Outcome:
    """Encode what the function put out; a returned value without a $return binding is a failure."""
    if returned is not None and one.returns is None:
        raise RuntimeError(f"function {one.function.name!r} without a $return binding returned a non-None value")
    outputs: dict[str, worker.Value] = {}
    for binding in one.function.outputs:
        given = returned if binding["name"] == "$return" else arguments[binding["name"]].get()
        if given is not None:
            outputs[binding["name"]] = _encode(str(binding["type"]), given)
    return worker.Outcome(outputs=outputs)


def _encode(binding_type: str, given: Any) -> worker.Value:
    converter = indexing.registry().get(binding_type)
    if converter is None:
        return worker.Value("string", given if isinstance(given, str) else json.dumps(given))
    datum = converter.encode(given, expected_type=None)
    if datum.type != "http":
        return worker.Value(datum.type, datum.value)
    answer = datum.value
    return worker.Value(
        "http",
        {
            "status": int(answer["status_code"].value),
            "headers": {name: header.value for name, header in answer["headers"].items()},
            "body": answer["body"].value,
        },
    )


def _failed(error: Exception) -> worker.Outcome:
    return worker.Outcome(error=f"{type(error).__name__}: {error}", traceback="".join(traceback.format_exception(error)))
