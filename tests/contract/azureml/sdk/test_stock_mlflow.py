"""The stock MLflow client reads a job's run, over HTTPS: it takes no transport."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MLFLOW = Path(__file__).with_name("mlflow_client.py")
WITHIN_SECONDS = 60


@pytest.fixture(scope="module", params=["https"])
def skin(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def seen(sdk: Any) -> dict[str, Any]:
    """What the stock MLflow client saw of a completed job."""
    job, here = sdk.world.trained(), sdk.cloud.site
    token = sdk.credential.get_token(f"{here.base}/.default").token
    led = {"MLFLOW_TRACKING_URI": f"{here.base}/mlflow/v2.0{here.workspace_id}", "MLFLOW_TRACKING_TOKEN": token}
    done = subprocess.run(
        [sys.executable, str(MLFLOW), job, "chat"],
        env=os.environ | led,
        capture_output=True,
        text=True,
        timeout=WITHIN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def test_mlflows_own_client_reads_run_history_and_steps(seen: dict[str, Any]) -> None:
    assert seen["status"] == "FINISHED"
    assert seen["metrics"] == {"eval_loss": 1.25}
    assert seen["params"]["learning_rate"] == "5e-06"
    assert seen["root"] == "ft-a1"
    assert seen["history"] == [[0, 2.5], [10, 1.25]]
    assert seen["experiment"] == "chat"
    assert seen["runs"][0] == "ft-a1"
    assert "chat_completion_finetune" in seen["runs"]
    assert seen["pages"] == [2, 2, True]
    assert seen["missing"] == "RESOURCE_DOES_NOT_EXIST: RESOURCE_DOES_NOT_EXIST: Run with id=nothing not found"
