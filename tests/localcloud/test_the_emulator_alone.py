"""
The emulator without the rest of this project: only `localcloud/`, in an empty folder, by the very commands of its page.

The page's shell block runs as it stands, on a free port, with a script of a stranger in the place of yours: the unmodified SDK, the
environment, and nothing else.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import recordings as recorded
from tests.localcloud.hosts import ROOT

WITHIN_S = 120.0  # azure-ai-ml takes seconds to load, on a loaded machine many
PAGE = (ROOT / "docs" / "emulator.md").read_text("utf-8")
SCRIPT = """
import os, sys
sys.path = [path for path in sys.path if path]  # what lies in this folder is not this script's business
from azure.ai.ml import MLClient
from azure.ai.ml.entities import ManagedOnlineEndpoint
from azure.identity import DefaultAzureCredential
me = DefaultAzureCredential()
client = MLClient(me, *(os.environ[name] for name in ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZUREML_WORKSPACE")))
registry = MLClient(me, registry_name=os.environ["AZUREML_REGISTRY"])
made = client.online_endpoints.begin_create_or_update(ManagedOnlineEndpoint(name="mine-1", auth_mode="key")).result()
print("asked", client._base_url)
print("component", registry.components.get("chat_completion_pipeline", label="latest").name)
print("endpoint", made.name, len(client.online_endpoints.get_keys("mine-1").primary_key) > 20)
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Copy, run the page's commands, end the emulator; return the folder and what was printed."""
    folder = tmp_path_factory.mktemp("alone")
    shutil.copytree(ROOT / "localcloud", folder / "localcloud", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "your_script.py").write_text(SCRIPT)
    block = next(block for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE) if "your_script.py" in block)
    assert "azureml --env" in block
    commands = "emulator() { kill $!; wait $!; }\ntrap emulator EXIT\n" + block.replace("azureml --env", "azureml --port 0 --env")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environ = {"PATH": path, "HOME": str(folder)}
    ended = subprocess.run(["sh", "-ec", commands], cwd=folder, env=environ, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert "component" in ended.stdout, ended.stdout + ended.stderr[-3000:]
    return folder, ended.stdout


def test_a_strangers_script_is_led_here_by_the_environment_alone(said: tuple[Path, str]) -> None:
    _, printed = said

    assert "asked https://localhost:" in printed
    assert "component chat_completion_pipeline" in printed
    assert "endpoint mine-1 True" in printed


def test_what_it_asked_is_recorded(said: tuple[Path, str], recording) -> None:
    folder, _ = said
    kept: Path = recording("alone")
    shutil.copy(folder / "said.jsonl", kept)
    lines = recorded.exchanges(kept)

    assert ("PUT", 201) in {(line["method"], line["status"]) for line in lines}
    assert "primaryKey" not in json.dumps(lines)
