"""
Indexes apps through Microsoft's own `azure-functions-runtime` and prints why it refuses each.

    python runtime_indexing.py FOLDER

FOLDER holds one Python file an app. Prints one JSON object: file name -> the text of the error, null where there is none.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any


class Message(SimpleNamespace):
    """Any message that the runtime builds: its fields are what it was given."""


class BindingInfo(Message):
    undefined = 0  # FunctionRpc.proto, DataType
    out, inout = 1, 2  # FunctionRpc.proto, Direction


PROTOS = SimpleNamespace(BindingInfo=BindingInfo, RpcFunctionMetadata=Message, RpcRetryOptions=Message)


def refusal(file: Path) -> str | None:
    from azure_functions_runtime import functions, loader

    try:
        built = loader.index_function_app(str(file))
        loader.process_indexed_function(PROTOS, functions.Registry(), built, str(file.parent))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it leaves the app without functions
        return str(error)
    return None


def main(folder: Path) -> None:
    from azure_functions_runtime.bindings import meta

    sys.path.append(str(folder))
    meta.load_binding_registry()
    meta._DEFERRED_BINDING_REGISTRY_LOADED = False
    import azurefunctions.extensions.bindings.blob  # noqa: F401 - before the first look at the registry of SDK types

    found: dict[str, Any] = {file.name: refusal(file) for file in sorted(folder.glob("*.py"))}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
