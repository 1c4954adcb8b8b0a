"""
Indexes and invokes an app through Microsoft's own `azure-functions-runtime`, which is what Azure runs on Python 3.13.

No gRPC and no protobuf: the runtime takes its message classes from `request.properties["protos"]`, so plain classes do.
Used as a process, because the runtime keeps its registry in module globals and the app must be imported afresh:

    python runtime_driver.py APP_FOLDER < invocations.json

Reads a JSON list of {"function", "kind", "value", "metadata"}, where `kind` is how the value travels: json, string or
reference (a blob by name, for a parameter that is a client). Prints one JSON document: the functions with their raw
bindings, and a failure text ('' for success) for each invocation. The app's log goes to stderr.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import uuid
from types import SimpleNamespace
from typing import Any


class Message:
    """Any message that the runtime builds or reads: its fields are what it was given."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class TypedData(Message):
    """One value on the wire; protobuf would call its only field the one that is set."""

    def WhichOneof(self, _group: str) -> str | None:
        return next(iter(self.__dict__), None)


class ParameterBinding(Message):
    def WhichOneof(self, _group: str) -> str:
        return "data"


class StatusResult(Message):
    Failure, Success, Cancelled = 0, 1, 2  # FunctionRpc.proto


class BindingInfo(Message):
    undefined, string, binary, stream = 0, 1, 2, 3  # FunctionRpc.proto, DataType
    out, inout = 1, 2  # FunctionRpc.proto, Direction; `in` is a word of Python and set below


setattr(BindingInfo, "in", 0)
PROTOS = SimpleNamespace(
    TypedData=TypedData,
    ParameterBinding=ParameterBinding,
    StatusResult=StatusResult,
    BindingInfo=BindingInfo,
    WorkerInitResponse=Message,
    WorkerMetadata=Message,
    FunctionMetadataResponse=Message,
    RpcFunctionMetadata=Message,
    InvocationResponse=Message,
    RpcException=Message,
)


def request(**content: Any) -> Any:
    return SimpleNamespace(request=SimpleNamespace(**content), properties={"host": "127.0.0.1", "protos": PROTOS})


def checked(answer: Any) -> Any:
    if answer.result.status != StatusResult.Success:
        raise RuntimeError(f"{answer.result.exception.message}\n{answer.result.exception.stack_trace}")
    return answer


def typed(kind: str, value: Any) -> TypedData:
    if kind == "json":
        return TypedData(json=json.dumps(value))
    if kind == "string":
        return TypedData(string=value)
    reference = SimpleNamespace(
        version="1.0", source="AzureStorageBlobs", content_type="application/json", content=json.dumps(value).encode()
    )
    return TypedData(model_binding_data=reference)


async def index(runtime: Any, folder: str) -> dict[str, Any]:
    init = SimpleNamespace(function_app_directory=folder, capabilities={})
    checked(await runtime.worker_init_request(request(worker_init_request=init)))
    answer = checked(await runtime.functions_metadata_request(request()))
    return {function.name: function for function in answer.function_metadata_results}


async def invoke(runtime: Any, function: Any, call: dict[str, Any]) -> str:
    """Return '' when the function returned, what it raised otherwise."""
    trigger = next(found for found in map(json.loads, function.raw_bindings) if found["type"].endswith("Trigger"))
    invocation = SimpleNamespace(
        invocation_id=str(uuid.uuid4()),
        function_id=function.function_id,
        input_data=[ParameterBinding(name=trigger["name"], data=typed(call["kind"], call["value"]))],
        trigger_metadata={name: typed("json", value) for name, value in call.get("metadata", {}).items()},
        trace_context=SimpleNamespace(trace_parent="", trace_state="", attributes={}),
        retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
    )
    answer = await runtime.invocation_request(request(invocation_request=invocation))
    return "" if answer.result.status == StatusResult.Success else str(answer.result.exception.stack_trace)


async def run(folder: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
    sys.path.append(folder)  # last, as the worker does it: a package called `shared` anywhere else would win
    os.chdir(folder)
    import azure_functions_runtime as runtime

    runtime.start_threadpool_executor()
    try:
        functions = await index(runtime, folder)
        failures = [await invoke(runtime, functions[call["function"]], call) for call in calls]
    finally:
        runtime.stop_threadpool_executor()
    return {"functions": {name: list(map(json.loads, found.raw_bindings)) for name, found in functions.items()}, "failures": failures}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
    print(json.dumps(asyncio.run(run(os.path.abspath(sys.argv[1]), json.load(sys.stdin)))))
