"""
The tutorial's flow, block by block, in a process that only the env file steers: it ends well in its own time, and not today.

The emulator runs over Azurite; the client reads `config.json`, local files and environment of a folder of its own. Its uploads go through
the emulator's HTTPS address into Azurite. One server and one client for each world; the tests look at what they left behind.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobServiceClient

from localcloud import azurite, processes

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
UPLOADED = "azureml-blobstore"
ROW = {"prompt": "train", "messages": [{"role": "user", "content": "train"}, {"role": "assistant", "content": "yes"}], "prompt_id": "1"}


@dataclass(frozen=True, kw_only=True)
class Server:
    """One emulator of one world."""

    folder: Path
    port: int
    recorded: Path

    @property
    def traffic(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.recorded.read_text().splitlines()]

    def told(self, **chosen: str) -> dict[str, Any]:
        """Return what the flow says at its end; `chosen` are its own variables."""
        data = self.folder / "work" / "ultrachat_200k_dataset"
        data.mkdir(parents=True)
        for name, count in (("train_sft", 20), ("test_sft", 4), ("test_gen", 2)):
            (data / f"{name}.jsonl").write_text((json.dumps(ROW) + "\n") * count)
        script = f'. "$1" && exec {shlex.join([sys.executable, "-W", "ignore", str(HERE / "seed_flow.py")])}'
        ran = subprocess.run(
            ["sh", "-c", script, "sh", str(self.folder / "env")],
            cwd=data.parent,
            env={**os.environ, **chosen, "AZUREML_RUN_POLLING_INTERVAL_MAX": "2"},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert ran.returncode == 0, ran.stderr
        return dict(json.loads(ran.stdout.strip().splitlines()[-1]))


@pytest.fixture(scope="module")
def serve(storage: str, tmp_path_factory: pytest.TempPathFactory, recording: Callable[[str], Path]) -> Iterator[Callable[[str], Server]]:
    """Starts an emulator of a world over the tests' Azurite."""
    started: list[subprocess.Popen[bytes]] = []

    def start(world: str) -> Server:
        folder = tmp_path_factory.mktemp(world)
        (port,) = processes.free_ports(1)
        traffic = recording("seed-flow")
        command = [sys.executable, "-m", "localcloud", "azureml", "--world", world, "--port", str(port), "--storage", storage]
        command += ["--data", str(folder / "data"), "--env", str(folder / "env"), "--traffic", str(traffic)]
        command += ["--trainer", shlex.join([sys.executable, str(HERE / "fake_trainer.py")])]
        process = processes.start(command, log=folder / "log", environment=os.environ, cwd=ROOT)
        started.append(process)
        processes.wait_ready("Azure ML", process, (folder / "env").exists, within_s=40, log=folder / "log")
        return Server(folder=folder, port=port, recorded=traffic)

    yield start
    for process in started:
        processes.stop(process.pid)
        process.wait()


@pytest.fixture(scope="module")
def server(serve: Callable[[str], Server]) -> Server:
    return serve("seed")


@pytest.fixture(scope="module")
def told(server: Server) -> dict[str, Any]:
    return server.told(SEED_REFUSED_SIZE="Standard_NC6")


def test_every_block_of_the_tutorial_ends_well_in_its_own_time(told: dict[str, Any]) -> None:
    assert "stopped" not in told, told
    assert told["base"][:2] == ["Phi-3-mini-4k-instruct", "15"]
    assert told["job"][1:3] == ["JobStatus.COMPLETED", ["trained_model"]]
    assert told["model"] == ["Phi-3-mini-4k-instruct-ultrachat-200k", True]
    assert told["traffic"] == {"demo": 100}
    assert json.loads(told["reply"])[0]["0"].startswith("hello from")
    assert told["left"] == []


def test_without_a_config_file_the_client_is_made_from_its_ids(told: dict[str, Any], server: Server) -> None:
    assert told["config"] == "missing"
    assert told["base_url"] == f"https://localhost:{server.port}"


def test_a_missing_cluster_is_made_after_a_refused_size_in_low_priority(told: dict[str, Any]) -> None:
    assert told["missing"] == "ResourceNotFoundError"
    assert "'Standard_NC6' is not available in eastus2 or is retired" in told["refused"]
    assert told["compute"] == ["Standard_ND40rs_v2", "low_priority", 2, 8]


def test_lists_of_sizes_are_read_from_the_tags(told: dict[str, Any]) -> None:
    assert "Standard_ND40rs_v2" in told["allowed"]
    assert told["serving_allowed"]


def test_local_files_are_uploaded_once_where_the_sdk_puts_them(told: dict[str, Any], server: Server, blobs: BlobServiceClient) -> None:
    container = blobs.get_container_client(UPLOADED)
    found = sorted(blob.name for blob in container.list_blobs(name_starts_with="LocalUpload/"))
    names = [name for name in found if name.endswith("_sft.jsonl")]  # other tests upload into the same storage
    sent = [one for one in server.traffic if one["method"] == "PUT" and one["path"].startswith(f"/{azurite.ACCOUNT}/")]

    assert "stopped" not in told
    assert [re.sub("[0-9a-f]{64}", "<hash>", name) for name in names] == [
        "LocalUpload/<hash>/test_sft.jsonl",
        "LocalUpload/<hash>/train_sft.jsonl",
    ]
    assert container.download_blob(names[0]).readall() == (json.dumps(ROW) + "\n").encode() * 4
    assert len(sent) == 4  # content and metadata of each


def test_the_record_of_an_upload_holds_no_row_and_no_key(told: dict[str, Any], server: Server) -> None:
    text = server.recorded.read_text()

    assert "stopped" not in told
    assert '"messages"' not in text
    assert azurite.KEY not in text


def test_today_the_tutorial_stops_at_a_default_that_the_component_does_not_declare(serve: Callable[[str], Server]) -> None:
    told = serve("today").told(SEED_CLUSTER="gpu-cluster")

    assert told["allowed"] is None
    assert told["stopped"] == "build_the_job"
    assert "unexpected keyword argument 'learning_rate_m" in told["why"]


@pytest.fixture
def through_the_door(server: Server) -> Iterator[BlobServiceClient]:
    """The storage account at the emulator's own address, as azure-storage-blob asks it."""
    address = f"https://localhost:{server.port}/{azurite.ACCOUNT}"
    authority = str(server.folder / "data/ca.pem")
    with BlobServiceClient(address, azurite.KEY, connection_verify=authority, max_single_put_size=1024, max_block_size=300_000) as service:
        yield service


def test_large_blobs_in_blocks_and_odd_names_pass_the_door_unharmed(through_the_door: BlobServiceClient) -> None:
    content = os.urandom(1_000_000)
    container = through_the_door.create_container("through-the-door")
    for name in ("plain.bin", "ä folder/100% + a=b&c.bin", "twice//slashed"):
        container.upload_blob(name, content, metadata={"kept": "yes"})
        blob = container.get_blob_client(name)

        assert blob.download_blob().readall() == content
        assert blob.download_blob(offset=10, length=5).readall() == content[10:15]
        assert blob.get_blob_properties().size == len(content)
        assert blob.get_blob_properties().metadata == {"kept": "yes"}
    assert len(list(container.list_blobs())) == 3
    container.delete_blob("plain.bin")
    assert not container.get_blob_client("plain.bin").exists()


def test_the_door_gives_nobody_rights_that_the_key_does_not(server: Server) -> None:
    wrong = BlobServiceClient(
        f"https://localhost:{server.port}/{azurite.ACCOUNT}",
        "d3Jvbmc=",
        connection_verify=str(server.folder / "data/ca.pem"),
        retry_total=0,
    )
    with wrong, pytest.raises(HttpResponseError, match="AuthorizationFailure"):
        list(wrong.list_containers())
