"""
What the registry wants of an MLflow folder before it takes it: everything that the folder says is there, is there.

Real Azure checks less at registration and fails at deployment; which is worse for whoever pays. The weights are not loaded here.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import yaml

HEADER_BYTES_MAX = 100_000_000  # the limit of the safetensors format itself
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


class BadModel(Exception):
    """The folder is not a model; the text says what is wrong."""


def check(folder: Path) -> dict[str, dict[str, str]]:
    """Return the flavors of the model in `folder`, values as text; refuse a folder that cannot be one."""
    described = _mlmodel(folder)
    flavors = described["flavors"]
    python = flavors.get("python_function")
    if not isinstance(python, dict) or not python.get("loader_module"):
        raise BadModel("MLmodel has no flavors.python_function.loader_module")
    named = [python.get("data"), python.get("env")]
    transformers = flavors.get("hftransformersv2")
    if isinstance(transformers, dict):
        if not transformers.get("task_type"):
            raise BadModel("MLmodel has no flavors.hftransformersv2.task_type")
        named.append(transformers.get("model_data"))
    for path in filter(None, named):
        for one in path.values() if isinstance(path, dict) else [path]:
            _must_exist(folder, str(one))
    if isinstance(transformers, dict):
        _check_weights(folder / str(transformers.get("model_data", "data")) / "model")
    return {name: {key: str(value) for key, value in content.items()} for name, content in flavors.items()}


def _mlmodel(folder: Path) -> dict[str, Any]:
    try:
        described = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadModel("it has no file MLmodel") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadModel(f"MLmodel is not YAML: {error}") from None
    flavors = described.get("flavors") if isinstance(described, dict) else None
    if not isinstance(flavors, dict) or not flavors or not all(isinstance(one, dict) for one in flavors.values()):
        raise BadModel("MLmodel names no flavors")
    return {"flavors": flavors}


def _must_exist(folder: Path, relative: str) -> None:
    if not (folder / relative).exists():
        raise BadModel(f"MLmodel names {relative}, which does not exist")


def _check_weights(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise BadModel(f"{folder.name}/config.json does not exist")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise BadModel(f"{folder.name}/ has no *.safetensors file")
    for file in weights:
        _check_safetensors(file)
    places = (folder, folder.parent / "tokenizer")
    if not any((place / name).is_file() for place in places for name in TOKENIZER_FILES):
        raise BadModel(f"it has no tokenizer ({', '.join(TOKENIZER_FILES)})")


def _check_safetensors(file: Path) -> None:
    """Eight bytes of length, a JSON header with offsets, then exactly the bytes that the offsets name."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 0 < length <= min(size - 8, HEADER_BYTES_MAX):
            raise BadModel(f"{file.name} has no safetensors header")
        try:
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            raise BadModel(f"{file.name} has a safetensors header that cannot be read") from None
    if not ends or 8 + length + max(ends) != size:
        raise BadModel(f"{file.name} has {size} bytes and its header names {8 + length + max(ends, default=0)}")
