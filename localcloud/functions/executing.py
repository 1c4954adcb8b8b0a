"""
Runs the user's functions inside the worker process, as the real worker does.

Everything passes through one event loop: `async def` functions run on it, `def` functions on a thread pool beside it. So blocking
code in an `async def` holds up every invocation of the app, also those of plain functions.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from localcloud.functions import indexing, wire, worker


def pool_size(environment: Mapping[str, str]) -> int:
    """PYTHON_THREADPOOL_THREAD_COUNT, else cores + 4 (the worker's default)."""
    return int(environment.get("PYTHON_THREADPOOL_THREAD_COUNT") or (os.cpu_count() or 1) + 4)


class App:
    """The functions of one app folder. All methods are called on the event loop's thread."""

    def __init__(self) -> None:
        self._folder = Path()
        self._indexed: dict[str, indexing.Indexed] = {}
        self._pool = concurrent.futures.ThreadPoolExecutor(pool_size(os.environ), thread_name_prefix="function")

    def load(self, folder: Path, file: str) -> list[worker.Function]:
        """Index; raises IndexingFailed."""
        self._folder = folder
        indexed = indexing.index(folder, file)
        self._indexed = {one.function.name: one for one in indexed}
        return [one.function for one in indexed]

    async def run(self, asked: wire.Invoke) -> worker.Outcome:
        """Run one function. SystemExit is let through: it ends the worker."""
        one = self._indexed.get(asked.name)
        if one is None:
            return worker.Outcome(error=f"Function {asked.name} is not loaded by the worker.")
        try:
            arguments = self._arguments(one, asked)
            if one.is_async:
                returned = await one.call(**arguments)
            else:
                returned = await asyncio.get_running_loop().run_in_executor(self._pool, lambda: one.call(**arguments))
            return _outcome(one, arguments, returned)
        except Exception as error:  # noqa: BLE001 - whatever the user's code raises is the outcome
            return worker.Outcome(error=f"{type(error).__name__}: {error}", traceback="".join(traceback.format_exception(error)))

    def _arguments(self, one: indexing.Indexed, asked: wire.Invoke) -> dict[str, Any]:
        arguments: dict[str, Any] = {one.function.trigger["name"]: _decode(one, asked.data, asked.metadata)}
        for binding in one.function.outputs:
            if binding["name"] != "$return":
                arguments[binding["name"]] = _Out()
        if one.wants_context:
            arguments["context"] = _context(asked, self._folder)
        return arguments


class _Out:
    """func.Out, which is abstract in the library."""

    def __init__(self) -> None:
        self._value: Any = None

    def set(self, val: Any) -> None:
        self._value = val

    def get(self) -> Any:
        return self._value


def _context(asked: wire.Invoke, folder: Path) -> SimpleNamespace:
    attempt = asked.attempt
    before = SimpleNamespace(message=attempt.error, source="", stack_trace="") if attempt.retry_count else None
    return SimpleNamespace(
        invocation_id=asked.id,
        function_name=asked.name,
        function_directory=str(folder),
        thread_local_storage=threading.local(),
        trace_context=SimpleNamespace(trace_parent="", trace_state="", attributes={}),
        retry_context=SimpleNamespace(retry_count=attempt.retry_count, max_retry_count=attempt.max_retry_count, exception=before),
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
    named = {key: Datum(value.value, value.kind) for key, value in metadata.items()}
    return converter.decode(_datum(data), trigger_metadata=named)


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
