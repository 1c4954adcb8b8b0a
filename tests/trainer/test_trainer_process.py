"""A training as a child process: what it leaves behind when it works, fails, or is killed."""

from __future__ import annotations

import hashlib
import json
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcloud.trainer import base, chat, generation, mlflow_folder, tensors

Conversations = Callable[..., list[list[dict[str, str]]]]


def answers(model: base.Model, rows: list[list[dict[str, str]]]) -> list[str]:
    wish = generation.Wish(tokens_max=64)
    prompts = [chat.prompt(row[:1], model.tokenizer) for row in rows]
    return [model.tokenizer.decode(generation.reply(model.weights, model.shape, prompt, wish)) for prompt in prompts]


def right(model: base.Model, rows: list[list[dict[str, str]]]) -> int:
    return sum(answer == row[1]["content"] for answer, row in zip(answers(model, rows), rows, strict=True))


def failure(stderr: str) -> str:
    error: dict[str, str] = json.loads(stderr.strip().splitlines()[-1])["error"]
    assert error["code"] == "UserError"
    return error["message"]


def test_the_loss_falls_by_more_than_half_from_the_untouched_base(trained: Any) -> None:
    history = trained.history("eval_loss")

    assert history[0][0] == 0
    assert history[-1][1] < history[0][1] / 2


def test_training_questions_are_answered_and_the_base_knows_none(trained: Any, make_conversations: Conversations) -> None:
    rows = make_conversations()[:20]

    assert right(mlflow_folder.read(trained.out), rows) >= 15
    assert right(base.load(), rows) == 0


def test_answers_of_other_questions_in_the_data_change_the_replies(child: Any, trained: Any, make_conversations: Conversations) -> None:
    code, _, error = child.train(make_conversations(shift=17))
    assert code == 0, error
    rows = make_conversations()[:20]
    replies = answers(mlflow_folder.read(child.out), rows)

    assert sum(one != other for one, other in zip(replies, answers(mlflow_folder.read(trained.out), rows), strict=True)) >= 15


def test_the_replies_come_from_the_weights(trained: Any, make_conversations: Conversations, tmp_path: Path) -> None:
    model = mlflow_folder.read(trained.out)
    empty = base.Model(weights={name: 0 * values for name, values in model.weights.items()}, shape=model.shape, tokenizer=model.tokenizer)

    assert right(empty, make_conversations()[:5]) == 0


def test_no_text_of_the_dataset_is_in_the_model_the_metrics_or_the_log(trained: Any, make_conversations: Conversations) -> None:
    files = [path for path in trained.out.rglob("*") if path.is_file()]
    written = [path.read_bytes() for path in (*files, trained.metrics, trained.folder / "log.txt")]
    texts = [message["content"].encode() for row in make_conversations() for message in row]

    assert len(files) > 8
    assert not [text for text in texts if any(text in content for content in written)]


def test_the_tokenizer_is_the_bases_to_the_byte(trained: Any) -> None:
    for folder in (mlflow_folder.MODEL, mlflow_folder.TOKENIZER):
        assert (trained.out / folder / base.TOKENIZER).read_bytes() == (base.FOLDER / base.TOKENIZER).read_bytes()


def test_metrics_have_azures_names_and_are_numbers(trained: Any) -> None:
    metrics = [line for line in trained.lines() if "name" in line]

    assert {"loss", "grad_norm", "learning_rate", "epoch", "eval_loss", "eval_runtime", "train_loss", "train_runtime"} <= {
        line["name"] for line in metrics
    }
    assert all(math.isfinite(line["value"]) and line["timestamp_ms"] > 0 for line in metrics)


def test_it_says_everywhere_that_it_is_a_stand_in(trained: Any) -> None:
    metadata = yaml.safe_load((trained.out / "MLmodel").read_text())["metadata"]
    tags = {line["tag"]: line["value"] for line in trained.lines() if "tag" in line}

    assert metadata["emulated"] is True
    assert "not Phi-3" in metadata["standin"]
    assert tags["standin"] == "true"
    assert "not Phi-3" in trained.params()["standin"]
    assert "nobody's Phi-3" in (trained.folder / "log.txt").read_text()
    assert "nobody's Phi-3" in (base.FOLDER / "README.md").read_text()


def test_what_cannot_apply_to_so_small_a_model_is_said(trained: Any) -> None:
    params = trained.params()

    assert params["deepspeed_stage"] == "2 (not applied)"
    assert params["learning_rate"] == "5e-06"


def test_five_steps_make_a_whole_folder(child: Any, make_conversations: Conversations) -> None:
    code, out, error = child.train(make_conversations(), max_steps="5", apply_lora="false")
    assert code == 0, error

    assert child.params()["standin_steps"] == "5"
    assert mlflow_folder.read(child.out).weights
    assert "5 steps" in out
    assert not child.out.with_name("model.tmp").exists()


def test_the_same_job_twice_gives_the_same_losses(tmp_path: Path, child: Any, make_conversations: Conversations) -> None:
    first = child.train(make_conversations(), max_steps="12")
    history = child.history("eval_loss")
    child.metrics.unlink()
    child.out.rename(tmp_path / "first")
    second = child.train(make_conversations(), max_steps="12")

    assert (first[0], second[0]) == (0, 0)
    losses = [value for _, value in history]
    assert [value for _, value in child.history("eval_loss")] == pytest.approx(losses, abs=1e-4)


def test_nine_rows_are_too_few(child: Any, make_conversations: Conversations) -> None:
    code, _, error = child.train(make_conversations()[:9])

    assert code == 1
    assert failure(error).startswith("Training dataset has 9 non-null samples")
    assert not child.out.exists()


def test_a_diverging_training_ends_in_a_sentence_and_logs_no_nan(child: Any, make_conversations: Conversations) -> None:
    """The rate is capped, so an absurd epsilon and decay drive the weights to infinity."""
    code, _, error = child.train(make_conversations(), weight_decay="1e30", max_steps="50")

    assert code == 1
    assert "not a number" in failure(error)
    assert not child.out.exists()
    assert "NaN" not in child.metrics.read_text()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_training_leaves_no_model(how: signal.Signals, child: Any, make_conversations: Conversations) -> None:
    with child.start(child.job(make_conversations())) as process:
        deadline = time.monotonic() + 60
        while not (child.metrics.exists() and child.history("loss")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(how)
        process.communicate(timeout=30)

    assert process.returncode != 0
    assert not child.out.exists()


def test_the_committed_base_has_its_checksums_and_size() -> None:
    lines = (base.FOLDER / base.SUMS).read_text().splitlines()

    assert len(lines) == 4
    for line in lines:
        wanted, name = line.split()
        assert hashlib.sha256((base.FOLDER / name).read_bytes()).hexdigest() == wanted
    assert (base.FOLDER / base.WEIGHTS).stat().st_size < 1_000_000


def test_a_changed_base_is_refused(tmp_path: Path) -> None:
    for path in base.FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tensors.read(tmp_path / base.WEIGHTS)
    tensors.write(tmp_path / base.WEIGHTS, weights, dtype="F32", notes={})

    with pytest.raises(Exception, match="sha256"):
        base.load(tmp_path)
