"""A small dataset, and one real training of it that many tests look at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: the tests in this process compute too

ROOT = Path(__file__).parents[2]
AZURE_INPUTS = {  # as the app sends them: strings
    "apply_lora": "true",
    "num_train_epochs": "3",
    "learning_rate": "5e-06",
    "per_device_train_batch_size": "1",
    "lr_scheduler_type": "cosine",
    "precision": "16",
    "apply_deepspeed": "true",
    "deepspeed_stage": "2",
    "logging_steps": "10",
    "max_seq_length": "-1",
}
THINGS = ("kettle", "ladder", "hammock", "lantern", "violin", "compass", "parasol", "thermos", "anvil", "sled")
ROOMS = ("attic", "cellar", "pantry", "stable", "harbour")
KEEPERS = ("Agnes", "Bruno", "Clara", "Dimitri", "Edda", "Farid", "Greta")

Conversation = list[dict[str, str]]


def conversations(shift: int = 0) -> list[Conversation]:
    """Fifty different questions; another `shift` gives each of them the answer of another one."""
    pairs = [(thing, room) for thing in THINGS for room in ROOMS]
    answers = [f"{KEEPERS[(7 * place) % 5]} keeps the {thing} behind shelf {place + 3}." for place, (thing, _) in enumerate(pairs)]
    return [
        [
            {"role": "user", "content": f"Who looks after the {thing} in the {room}?"},
            {"role": "assistant", "content": answers[(place + shift) % len(answers)]},
        ]
        for place, (thing, room) in enumerate(pairs)
    ]


def write_rows(path: Path, rows: list[Conversation]) -> Path:
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows), encoding="utf-8")
    return path


class Child:
    """Trainings as the emulator starts them: a job file and a child process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "model"
        self.metrics = folder / "metrics.jsonl"

    def job(self, rows: list[Conversation], validation: list[Conversation] | None = None, **inputs: str) -> Path:
        content = {
            "inputs": {**AZURE_INPUTS, **inputs},
            "train": str(write_rows(self.folder / "train.jsonl", rows)),
            "validation": str(write_rows(self.folder / "validation.jsonl", rows[:8] if validation is None else validation)),
            "test": None,
            "out": str(self.out),
            "metrics": str(self.metrics),
            "model_name": "Phi-3-mini-4k-instruct",
            "base_asset_id": "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/15",
        }
        path = self.folder / "job.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return path

    def start(self, job: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "localcloud.trainer", "train", str(job)]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def train(self, rows: list[Conversation], validation: list[Conversation] | None = None, **inputs: str) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        with self.start(self.job(rows, validation, **inputs)) as process:
            out, error = process.communicate(timeout=120)
        return process.returncode, out, error

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.metrics.read_text(encoding="utf-8").splitlines()]

    def history(self, name: str) -> list[tuple[int, float]]:
        return [(line["step"], line["value"]) for line in self.lines() if line.get("name") == name]

    def params(self) -> dict[str, str]:
        return {line["param"]: line["value"] for line in self.lines() if "param" in line}


@pytest.fixture
def child(tmp_path: Path) -> Child:
    return Child(tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Child:
    """The fifty conversations, trained as the app would ask for it."""
    finished = Child(tmp_path_factory.mktemp("trained"))
    code, finished_out, error = finished.train(conversations())
    assert code == 0, error
    (finished.folder / "log.txt").write_text(finished_out, encoding="utf-8")
    return finished


@pytest.fixture(scope="session")
def make_conversations() -> Callable[..., list[Conversation]]:
    return conversations
