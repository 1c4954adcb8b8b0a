"""
What a host is told: the settings file, host.json, and `%NAME%` inside bindings.

Values of the settings file never overwrite the environment. App settings overwrite host.json
(`AzureFunctionsJobHost__extensions__queues__maxDequeueCount=3`). Times are read as the real host writes them: HH:MM:SS.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

HOST_JSON_OVERRIDE = "AzureFunctionsJobHost__"
_PERCENT_NAME = re.compile(r"%([^%{}]+)%")
_NEVER_RESOLVED = frozenset({"name", "type", "direction", "connection"})


class WrongSettings(ValueError):
    """The host cannot start with what it was told; the text says what to change."""


@dataclass(frozen=True, kw_only=True)
class QueueOptions:
    """How one queue is listened to. Defaults: the real host's (functions-host-json)."""

    batch_size: int = 16  # messages a request; 32 is the service's limit
    new_batch_threshold: int = 8  # fetch again when as few as these are running
    max_dequeue_count: int = 5
    visibility_timeout: timedelta = timedelta(0)  # how long a failed message rests
    base64: bool = True


@dataclass(frozen=True, kw_only=True)
class HostOptions:
    """host.json, as far as this host follows it."""

    function_timeout: timedelta | None = timedelta(minutes=30)  # Flex Consumption's default; None: unbounded ("-1")
    queues: QueueOptions = QueueOptions()
    blobs: QueueOptions = QueueOptions()
    route_prefix: str = "api"


def load_values(path: Path | None, environment: Mapping[str, str]) -> dict[str, str]:
    """The Values of a settings file that the environment does not already have. No file: no values."""
    if path is None:
        return {}
    document = _read_object(path)
    values = document.get("Values", {})
    if document.get("IsEncrypted"):
        raise WrongSettings(f"{path} is encrypted; decrypt it (func settings decrypt) or name another file with --settings.")
    wrong = [name for name, value in values.items() if not isinstance(value, str)]
    if wrong:
        raise WrongSettings(f"{path}: the values of {', '.join(wrong)} must be text; put them into quotes.")
    return {name: value for name, value in values.items() if name not in environment}


def load_host_options(app: Path, environment: Mapping[str, str]) -> HostOptions:
    """Read host.json of the app folder; a missing one means defaults, as in the real host."""
    path = app / "host.json"
    document = _read_object(path) if path.exists() else {}
    for name, value in environment.items():
        if name.startswith(HOST_JSON_OVERRIDE):
            _put(document, name.removeprefix(HOST_JSON_OVERRIDE).split("__"), value)
    extensions = document.get("extensions", {})
    try:
        timeout = str(document.get("functionTimeout", "00:30:00"))
        return HostOptions(
            function_timeout=None if timeout == "-1" else duration(timeout),
            queues=_queue_options(extensions.get("queues", {})),
            blobs=_blob_options(extensions.get("blobs", {})),
            route_prefix=extensions.get("http", {}).get("routePrefix", "api").strip("/"),
        )
    except (ValueError, AttributeError) as error:
        raise WrongSettings(f"{path}: {error}") from error


def duration(text: str) -> timedelta:
    """`00:01:30` is 90 seconds; `1.00:00:00` is a day."""
    match = re.fullmatch(r"(?:(\d+)\.)?(\d+):(\d\d):(\d\d)(\.\d+)?", text)
    if match is None:
        raise ValueError(f"{text!r} is not a time; write it as HH:MM:SS, for example 00:10:00.")
    days, hours, minutes, seconds, fraction = match.groups()
    whole = timedelta(days=int(days or 0), hours=int(hours), minutes=int(minutes), seconds=int(seconds))
    return whole + timedelta(seconds=float(fraction or 0))


def resolve(binding: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """Replace `%NAME%` in a binding by the setting of that name."""

    def value_of(match: re.Match[str]) -> str:
        if match.group(1) not in environment:
            raise WrongSettings(f"'%{match.group(1)}%' does not resolve to a value; add the setting {match.group(1)}.")
        return environment[match.group(1)]

    return {
        key: _PERCENT_NAME.sub(value_of, value) if isinstance(value, str) and key not in _NEVER_RESOLVED else value
        for key, value in binding.items()
    }


def is_disabled(function: str, environment: Mapping[str, str]) -> bool:
    """`AzureWebJobs.NAME.Disabled=true`: the function listens to nothing."""
    return environment.get(f"AzureWebJobs.{function}.Disabled", "").lower() in ("1", "true")


def connection_string(name: str) -> str:
    """The connection string that a binding's `connection` names: the setting itself, or AzureWebJobs + its name."""
    for candidate in (name, f"AzureWebJobs{name}"):
        if os.environ.get(candidate):
            return os.environ[candidate]
    raise WrongSettings(f"The connection {name!r} is not set; set {name} to a connection string. This host knows no identity connections.")


def has_queues(connection: str) -> bool:
    """True if the account of this connection string has queues: it names them, or nothing in particular."""
    parts = {part.partition("=")[0].strip().lower() for part in connection.split(";")}
    return bool(parts & {"queueendpoint", "usedevelopmentstorage"}) or ("accountname" in parts and "blobendpoint" not in parts)


def _queue_options(queues: Mapping[str, Any]) -> QueueOptions:
    batch = min(32, int(queues.get("batchSize", 16)))
    return QueueOptions(
        batch_size=batch,
        new_batch_threshold=int(queues.get("newBatchThreshold", batch // 2)),
        max_dequeue_count=int(queues.get("maxDequeueCount", 5)),
        visibility_timeout=duration(queues.get("visibilityTimeout", "00:00:00")),
        base64=str(queues.get("messageEncoding", "base64")).lower() == "base64",
    )


def _blob_options(blobs: Mapping[str, Any]) -> QueueOptions:
    """The internal blob queue derives its batches from the parallelism (SharedBlobQueueListenerFactory): 2 -> 2 and 0."""
    parallel = int(blobs.get("maxDegreeOfParallelism", 8 * (os.cpu_count() or 1)))
    batch = min(32, parallel // 2 + 1)
    return QueueOptions(
        batch_size=batch,
        new_batch_threshold=max(0, parallel - batch),
        max_dequeue_count=int(blobs.get("poisonBlobThreshold", 5)),
    )


def _read_object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise WrongSettings(f"There is no settings file {path}; name one with --settings.") from error
    except json.JSONDecodeError as error:
        raise WrongSettings(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise WrongSettings(f"{path} must hold one JSON object.")
    return document


def _put(document: dict[str, Any], keys: list[str], value: str) -> None:
    """Set a nested value; keys match without regard to case, as .NET configuration does."""
    for depth, key in enumerate(keys):
        known = next((name for name in document if name.lower() == key.lower()), key)
        if depth == len(keys) - 1:
            document[known] = value
        else:
            document = document.setdefault(known, {})
