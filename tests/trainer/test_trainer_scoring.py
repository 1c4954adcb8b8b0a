"""The scorer answers like Azure's model servers, and refuses like them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localcloud.trainer import base, mlflow_folder, scoring, tensors

ROOT = Path(__file__).parents[2]
ASK = {"role": "user", "content": "Who looks after the kettle in the attic?"}
ANSWER = {"role": "assistant", "content": "Somebody."}


def body(conversation: object, **parameters: object) -> dict[str, object]:
    return {"input_data": {"input_string": conversation, "parameters": parameters}}


def post(url: str, content: object) -> tuple[int, Any]:
    request = urllib.request.Request(url + "/score", json.dumps(content).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def serve(model: Path, ready: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "localcloud.trainer", "serve", "--model", str(model), "--port", "0", "--ready", str(ready)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def url(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    ready = tmp_path_factory.mktemp("serve") / "ready.json"
    with serve(trained.out, ready) as process:
        deadline = time.monotonic() + 30
        while not ready.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        said = json.loads(ready.read_text())
        assert said["pid"] == process.pid
        yield f"http://127.0.0.1:{said['port']}"
        process.terminate()
        process.communicate(timeout=30)


def test_a_flat_conversation_gets_its_trained_answer(url: str, make_conversations: Callable[..., Any]) -> None:
    status, answer = post(url, body([ASK], max_new_tokens=64))

    assert (status, answer) == (200, {"output": make_conversations()[0][1]["content"]})


def test_a_nested_conversation_gets_the_same_answer(url: str) -> None:
    assert post(url, body([[ASK]], temperature=0)) == post(url, body([ASK]))


def test_max_new_tokens_ends_the_reply(url: str) -> None:
    _, short = post(url, body([ASK], max_new_tokens=2))
    _, long = post(url, body([ASK], max_new_tokens=64))

    assert 0 < len(short["output"]) < len(long["output"])


def test_a_sampled_reply_repeats_for_the_same_request(url: str) -> None:
    wish = body([ASK], do_sample=True, temperature=3.0, max_new_tokens=20)

    assert post(url, wish) == post(url, wish)


def test_a_conversation_that_ends_with_the_assistant_is_refused(url: str) -> None:
    status, answer = post(url, body([ASK, ANSWER]))

    assert status == 500
    assert "user" in answer["error"]["message"]


def test_a_server_that_goes_by_the_template_alone_answers_whoever_spoke_last() -> None:
    nested = body([[ASK, ANSWER]], max_new_tokens=3)
    answer = scoring.Scorer(base.load(), "output", any_last_role=True).score(nested)

    assert isinstance(answer, dict)
    assert isinstance(answer["output"], str)


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        {"input_data": None},
        {"input_data": {}},
        body([]),
        body([[]]),
        body("text"),
        body([{"role": "user"}]),
        body([{"role": "robot", "content": "x"}]),
        body([ASK], max_new_tokens="many"),
    ],
)
def test_a_malformed_request_is_refused(url: str, content: object) -> None:
    status, answer = post(url, content)

    assert status == 422
    assert answer["error"]["code"] == "Invalid input"


def test_missing_input_data_is_named(url: str) -> None:
    assert "'input_data'" in post(url, {"data": 1})[1]["error"]["message"]


def test_many_at_once_get_their_own_answers(url: str, make_conversations: Callable[..., Any]) -> None:
    rows = make_conversations()[:24]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda row: post(url, body(row[:1]))[1]["output"], rows))

    assert sum(text == row[1]["content"] for text, row in zip(found, rows, strict=True)) >= 18


def test_health_is_answered(url: str) -> None:
    with urllib.request.urlopen(url + "/", timeout=10) as response:
        assert response.status == 200


@pytest.mark.parametrize(("reply", "expected"), [("output", dict), ("records", list), ("list", list)])
def test_each_real_servers_shape_can_be_chosen(reply: str, expected: type) -> None:
    answer = scoring.Scorer(base.load(), reply).score(body([ASK], max_new_tokens=3))

    assert isinstance(answer, expected)


def cut_short(folder: Path) -> None:
    path = folder / mlflow_folder.MODEL / base.WEIGHTS
    path.write_bytes(path.read_bytes()[:-1000])


def not_numbers(folder: Path) -> None:
    path = folder / mlflow_folder.MODEL / base.WEIGHTS
    weights = tensors.read(path)
    weights["model.norm.weight"] = np.full_like(weights["model.norm.weight"], np.nan)
    tensors.write(path, weights, dtype="F32", notes={})


def garbage(folder: Path) -> None:
    (folder / mlflow_folder.MODEL / base.WEIGHTS).write_bytes(b"no weights at all")


def no_mlmodel(folder: Path) -> None:
    (folder / "MLmodel").unlink()


def no_config(folder: Path) -> None:
    (folder / mlflow_folder.MODEL / base.CONFIG).unlink()


@pytest.mark.parametrize("spoil", [cut_short, not_numbers, garbage, no_mlmodel, no_config])
def test_a_broken_model_is_refused_with_the_reason(spoil: Callable[[Path], None], trained: Any, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(trained.out, folder)
    spoil(folder)
    with serve(folder, tmp_path / "ready.json") as process:
        _, error = process.communicate(timeout=30)

    assert process.returncode == 1
    assert json.loads(error.strip().splitlines()[-1])["error"]["code"] == "UserError"
    assert not (tmp_path / "ready.json").exists()
