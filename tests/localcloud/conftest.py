"""Azurite once for the session, a Functions host as a real process, and nothing that outlives a test."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud import processes
from localcloud.azurite import Azurite, AzuriteMissing
from tests.localcloud.hosts import ROOT, WITHIN_S, RunningHost

HOST_JSON = {
    "version": "2.0",
    "extensions": {"queues": {"visibilityTimeout": "00:00:00", "maxDequeueCount": 3, "batchSize": 2, "newBatchThreshold": 1}},
}


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    try:
        with Azurite(tmp_path_factory.mktemp("azurite")) as running:
            yield running
    except AzuriteMissing as error:
        pytest.skip(str(error))


@pytest.fixture
def start_host(azurite: Azurite, tmp_path: Path) -> Iterator[Callable[..., RunningHost]]:
    """Start a host on a sample app: start_host(source, "--option", lease=600, NAME="value", ...)."""
    yield from _hosts(azurite, tmp_path)


@pytest.fixture(scope="module")
def start_shared_host(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningHost]]:
    """The same, for a host that all tests of a module ask and none harms."""
    yield from _hosts(azurite, tmp_path_factory.mktemp("shared"))


def _hosts(azurite: Azurite, tmp_path: Path) -> Iterator[Callable[..., RunningHost]]:
    started: list[RunningHost] = []

    def start(source: str, *options: str, lease: int = 600, host_json: dict[str, Any] | None = None, **values: str) -> RunningHost:
        app = tmp_path / "app"
        app.mkdir(exist_ok=True)
        (app / "function_app.py").write_text(source)
        (app / "host.json").write_text(json.dumps(host_json or HOST_JSON))
        (app / "local.settings.json").write_text(json.dumps({"IsEncrypted": False, "Values": values}))
        port = processes.free_ports(1)[0]
        log = tmp_path / f"host-{len(started)}.log"
        command = [sys.executable, "-m", "localcloud", "functions", "--app", str(app), "--port", str(port)]
        storage = dict.fromkeys(("AzureWebJobsStorage", "DATASETS"), azurite.connection_string)
        child = processes.start(
            [*command, "--data", str(tmp_path / "data"), "--message-lease", str(lease), *options],
            log=log,
            environment={**os.environ, **storage, "OUT": str(tmp_path)},
            cwd=ROOT,
        )
        host = RunningHost(child, port, log)
        started.append(host)
        processes.wait_ready("the host", child, host.answers, within_s=WITHIN_S, log=log)
        return host

    yield start
    for host in started:
        host.process.kill()
        host.process.wait()
