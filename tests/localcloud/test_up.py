"""The whole local cloud as one command: it starts, tells where it is, restarts a part, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localcloud import azurite, processes, up
from tests.localcloud.hosts import ROOT, WITHIN_S, until

APP = """
import os
from pathlib import Path
import azure.functions as func

app = func.FunctionApp()

@app.event_grid_trigger(arg_name="event")
def dataset_event_received(event: func.EventGridEvent) -> None:
    with open(os.environ["OUT"], "a") as file:
        file.write(event.subject + " " + os.environ["DATASETS"][:8] + "\\n")
"""


@pytest.fixture
def start_up(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `up` on a sample app; whatever it started is gone after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(source: str = APP) -> subprocess.Popen[bytes]:
        app = tmp_path / "app"
        app.mkdir(exist_ok=True)
        (app / "function_app.py").write_text(source)
        values = {"DATASETS": "UseDevelopmentStorage=true", "OUT": "overwritten by --set"}
        (app / "local.settings.json.example").write_text(json.dumps({"Values": values}))
        command = [sys.executable, "-m", "localcloud", "up", "--data", str(tmp_path / "data"), "--app", str(app), "--ports", "auto"]
        command += ["--set", f"OUT={tmp_path / 'out.txt'}"]
        started.append(processes.start(command, log=tmp_path / "up.log", environment=os.environ, cwd=ROOT))
        return started[-1]

    try:
        azurite.find()
    except azurite.AzuriteMissing as error:
        pytest.skip(str(error))
    yield start
    for one in started:
        one.terminate()
        one.wait(timeout=30)


def state(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "data/state.json").read_text())
    return found


def ready(tmp_path: Path, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    log = tmp_path / "up.log"
    processes.wait_ready("up", process, (tmp_path / "data/state.json").exists, within_s=3 * WITHIN_S, log=log)
    return state(tmp_path)


@pytest.mark.slow
def test_up_starts_everything_and_stops_everything(start_up: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    process = start_up()
    first = ready(tmp_path, process)
    assert set(first) == {"azurite", "azureml", "functions", "settings"}
    exported, _ = up.read_env(tmp_path / "data/env")
    assert f"https://localhost:{first['azureml']['port']}/" in exported["ARM_CLOUD_METADATA_URL"]

    # An upload is told to the app.
    from azure.storage.blob import BlobServiceClient

    with BlobServiceClient.from_connection_string(exported["DATASETS"]) as service:
        service.get_blob_client("datasets", "a.jsonl").upload_blob(b"{}")
    out = tmp_path / "out.txt"
    until(out.exists, "the event of the upload")
    assert out.read_text() == "/blobServices/default/containers/datasets/blobs/a.jsonl DefaultE\n"

    # A killed host is started again by hand, on the same port.
    os.kill(first["functions"]["pid"], signal.SIGKILL)
    command = [sys.executable, "-m", "localcloud", "restart", "functions", "--data", str(tmp_path / "data")]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 0
    second = state(tmp_path)
    assert second["functions"]["pid"] != first["functions"]["pid"]
    assert second["functions"]["port"] == first["functions"]["port"]

    process.terminate()

    assert process.wait(timeout=30) == 0
    assert not [name for name in up.NAMES if processes.alive(second[name]["pid"])]
    assert not (tmp_path / "data/state.json").exists()


@pytest.mark.slow
def test_a_killed_up_leaves_nothing_behind(start_up: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    process = start_up()
    running = ready(tmp_path, process)

    process.kill()
    process.wait()

    until(lambda: not [name for name in up.NAMES if processes.alive(running[name]["pid"])], "the guard to clear away")


@pytest.mark.slow
def test_an_app_without_functions_ends_up_with_its_reason(start_up: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    process = start_up(APP + "\nimport a_module_that_is_missing\n")

    assert process.wait(timeout=3 * WITHIN_S) == 1
    assert "No module named 'a_module_that_is_missing'" in (tmp_path / "up.log").read_text()
    assert not (tmp_path / "data/state.json").exists()


@pytest.mark.light
def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "localcloud", "azurite", "--data", str(tmp_path), "--blob-port", str(port)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)

    assert ended.returncode == 4
    assert f"Port {port} (Azurite blob) is taken" in ended.stdout


@pytest.mark.light
@pytest.mark.parametrize(
    ("value", "moved"),
    [
        ("https://localhost:8443/msi/token", "https://localhost:4/msi/token"),
        ("http://127.0.0.1:7071/x", "http://127.0.0.1:5/x"),
        ("http://127.0.0.1:10000/a http://127.0.0.1:100001", "http://127.0.0.1:1/a http://127.0.0.1:100001"),
        ("https://example.com:8443/", "https://example.com:8443/"),
    ],
)
def test_settings_are_aimed_at_the_ports_in_use(value: str, moved: str) -> None:
    ports = up.Ports(azurite=azurite.Ports(blob=1, queue=2, table=3), azureml=4, functions=5)

    assert up.relocate(value, ports) == moved


@pytest.mark.light
def test_the_env_file_keeps_what_is_written(tmp_path: Path) -> None:
    file = tmp_path / "env"
    up.write_env(file, {"A": "it's; $HOME", "B": ""}, ["C"])

    assert up.read_env(file) == ({"A": "it's; $HOME", "B": ""}, ["C"])
    assert file.stat().st_mode & 0o077 == 0
