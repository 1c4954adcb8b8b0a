"""
One fine-tune from job file to model folder.

It runs alone in its process and can be killed at any moment: the model folder appears whole, by one rename, or not at all.
Nothing that is written or printed holds text of the dataset.
"""

from __future__ import annotations

import bisect
import json
import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from localcloud.trainer import base, batches, calibration, chat, errors, journal, mlflow_folder, model, optimizer, plan, tuning
from localcloud.trainer.shape import Shape

Array = npt.NDArray[np.float32]

CALIBRATION_TOKENS = 6_000  # of the validation data, about; enough for one number
EVALUATION_TOKENS = 4096  # of a batch, padding counted: some 60 MB
FLOS_A_TOKEN = 6  # floating-point operations for each parameter and token, forward and backward


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the emulator asks for."""

    inputs: Mapping[str, str]
    train: Path
    validation: Path
    out: Path
    metrics: Path
    model_name: str
    base_asset_id: str

    @staticmethod
    def read(path: Path) -> Job:
        """A job file; `test` is read by nobody, as in Azure's pipeline."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return Job(
                inputs={str(name): str(value) for name, value in content["inputs"].items() if value is not None},
                train=Path(content["train"]),
                validation=Path(content["validation"]),
                out=Path(content["out"]),
                metrics=Path(content["metrics"]),
                model_name=str(content["model_name"]),
                base_asset_id=str(content["base_asset_id"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            sentence = f"The job file {path.name} is not complete ({type(error).__name__}: {error})."
            raise errors.TrainerError(sentence, code="SystemError") from error


def run(path: Path) -> None:
    """Train, and leave the model folder at the job's `out`."""
    job = Job.read(path)
    print("This is the local stand-in: a tiny model with Phi-3's layout, trained in numpy. It is nobody's Phi-3.", flush=True)
    with journal.Journal(job.metrics) as notes:
        notes.tag("standin", "true")
        notes.tag("trainer", mlflow_folder.TRAINER)
        notes.tag("model_name", job.model_name)
        inputs = plan.read(job.inputs)
        start = base.load()
        train, validation = _datasets(job, inputs, start)
        planned = plan.resolve(inputs, train)
        _note_plan(notes, job, planned, train)
        weights = Training(planned, start, train.rows, validation.rows, notes).run()
    _write(job, start, weights)


def _datasets(job: Job, inputs: plan.Inputs, start: base.Model) -> tuple[chat.Dataset, chat.Dataset]:
    limit = start.shape.max_position_embeddings
    if inputs.max_seq_length > 0:
        limit = min(limit, inputs.max_seq_length)
    train = chat.read(job.train, start.tokenizer, limit)
    validation = chat.read(job.validation, start.tokenizer, limit)
    for name, data in (("training", train), ("validation", validation)):
        print(f"{name}: {len(data.rows)} rows, {data.tokens} tokens, {data.assistant_tokens} of them learned", flush=True)
        if data.dropped:
            print(f"{name}: {data.dropped} rows without a usable conversation were left out", flush=True)
        if data.truncated:
            print(f"{name}: {data.truncated} rows were longer than {limit} tokens and were cut there", flush=True)
    if len(train.rows) < plan.ROWS_MIN:
        raise errors.UserError(
            f"Training dataset has {len(train.rows)} non-null samples, but fine-tuning needs at least {plan.ROWS_MIN}. "
            "Add conversations that have a user message and an assistant reply."
        )
    if not validation.rows:
        raise errors.UserError("The validation dataset has no conversation with an assistant reply; without one no loss can be told.")
    return train, validation


def _note_plan(notes: journal.Journal, job: Job, planned: plan.Plan, train: chat.Dataset) -> None:
    for name, value in job.inputs.items():
        notes.param(name, value if name in plan.APPLIED else f"{value} (not applied)")
    for factor, resolved in planned.params():
        notes.param(factor, resolved)
        print(f"{factor} = {resolved}", flush=True)
    notes.param("standin_rows_cut", train.truncated)
    notes.tag("PipelineType", "Finetune")
    notes.tag("__azureml_ft_training_tokens", train.tokens)
    notes.tag("__azureml_ft_assistant_tokens", train.assistant_tokens)


def _write(job: Job, start: base.Model, weights: Mapping[str, Array]) -> None:
    unfinished = job.out.with_name(job.out.name + ".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        mlflow_folder.write(unfinished, start.shape, weights, model_name=job.model_name, base_asset_id=job.base_asset_id)
        unfinished.rename(job.out)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    print("model folder written", flush=True)


class Schedule:
    """Which batch is learned at which step, and where the epochs end; drawn before the first step."""

    def __init__(self, planned: plan.Plan, rows: list[chat.Row], rng: np.random.Generator) -> None:
        self.batches: list[list[int]] = []
        self._ends = [0]  # steps at which an epoch is over
        wanted = planned.inputs.max_steps
        tokens = 0
        while len(self.batches) < wanted if wanted > 0 else len(self._ends) <= planned.inputs.num_train_epochs:
            for batch in (batch for _ in range(planned.repeats) for batch in batches.shuffled(rows, planned.tokens_per_step, rng)):
                tokens += sum(rows[place].length for place in batch)
                if len(self.batches) >= wanted if wanted > 0 else tokens > planned.tokens_max:
                    return
                self.batches.append(batch)
            self._ends.append(len(self.batches))

    def epoch(self, step: int) -> float:
        """Epochs done after a step: 1.5 is the middle of the second."""
        number = max(0, bisect.bisect_left(self._ends, step) - 1)
        begin = self._ends[number]
        following = self._ends[number + 1] if number + 1 < len(self._ends) else begin + max(1, self._ends[-1] - self._ends[-2:][0])
        return number + (step - begin) / max(1, following - begin)

    def evaluations(self, inputs: plan.Inputs) -> set[int]:
        """Steps after which the validation data are looked at; always after the last."""
        if inputs.evaluation_strategy == "steps":
            return {*range(inputs.eval_steps, len(self.batches), inputs.eval_steps), len(self.batches)}
        return {*self._ends[1:], len(self.batches)}


class Training:
    """The loop: batches in, weights out, metrics on the way."""

    def __init__(
        self, planned: plan.Plan, start: base.Model, train: list[chat.Row], validation: list[chat.Row], notes: journal.Journal
    ) -> None:
        inputs = planned.inputs
        rng = np.random.default_rng(inputs.seed)
        self._inputs, self._plan, self._shape, self._notes = inputs, planned, start.shape, notes
        self._train, self._validation = train, validation
        self._tuning = _tuning(planned, start, rng)
        self._adam = optimizer.AdamW(
            self._tuning.trained,
            beta1=inputs.adam_beta1,
            beta2=planned.beta2,
            epsilon=inputs.adam_epsilon,
            weight_decay=inputs.weight_decay,
        )
        self._schedule = Schedule(planned, train, rng)
        self._losses: list[float] = []  # one a step
        self._tokens = 0
        self._best = math.inf
        self._result: Mapping[str, Array] = start.weights  # what would be handed over now

    def run(self) -> Mapping[str, Array]:
        """Train to the end of the schedule."""
        began = time.monotonic()
        self._evaluate(0)
        looks = self._schedule.evaluations(self._inputs)
        for step, batch in enumerate(self._schedule.batches, start=1):
            self._learn(step, batch)
            if step in looks:
                self._evaluate(step)
        self._conclude(time.monotonic() - began)
        return self._result

    def _learn(self, step: int, batch: list[int]) -> None:
        outcome = model.learn(self._tuning.weights(), self._shape, batches.padded(self._train, batch), self._tuning)
        norm = optimizer.clip(self._tuning.gradients, self._inputs.max_grad_norm)
        if not math.isfinite(outcome.loss) or not math.isfinite(norm):
            raise errors.UserError(
                f"The loss is not a number at step {step}: the training diverged. "
                f"Lower learning_rate (here {self._plan.learning_rate:g} after scaling) and try again."
            )
        steps = len(self._schedule.batches)
        rate = self._plan.learning_rate * optimizer.scheduled(self._inputs.lr_scheduler_type, step - 1, steps, self._warmup)
        self._adam.step(self._tuning.gradients, rate)
        self._losses.append(outcome.loss)
        self._tokens += sum(self._train[place].length for place in batch)
        if step % self._inputs.logging_steps == 0:
            mean = sum(self._losses[-self._inputs.logging_steps :]) / self._inputs.logging_steps
            epoch = self._schedule.epoch(step)
            self._notes.metrics(step, {"loss": mean, "grad_norm": norm, "learning_rate": rate, "epoch": epoch})

    @property
    def _warmup(self) -> int:
        return max(self._inputs.warmup_steps, min(plan.WARMUP_STEPS, len(self._schedule.batches) // 10))

    def _evaluate(self, step: int) -> None:
        """Tell the loss of the untouched base (step 0), later of the model as it would be handed over now."""
        began = time.monotonic()
        weights = self._tuning.weights()
        temperature = self._temperature(weights) if step else 1.0
        self._result = cooled(weights, temperature)
        loss, accuracy = evaluated(self._result, self._shape, self._validation)
        if not math.isfinite(loss):
            raise errors.UserError("The evaluation loss is not a number: the training diverged. Lower learning_rate and try again.")
        seconds = max(1e-6, time.monotonic() - began)
        count = len(self._validation)
        self._best = min(self._best, loss)
        self._notes.metrics(
            step,
            {
                "eval_loss": loss,
                "eval_token_accuracy": accuracy,
                "eval_runtime": seconds,
                "eval_samples_per_second": count / seconds,
                "eval_steps_per_second": count / seconds,
                "standin_temperature": temperature,
                "epoch": self._schedule.epoch(step),
            },
        )
        print(f"step {step} of {len(self._schedule.batches)}: eval_loss {loss:.4f}", flush=True)

    def _temperature(self, weights: Mapping[str, Array]) -> float:
        rows = self._validation[: max(1, CALIBRATION_TOKENS * len(self._validation) // sum(row.length for row in self._validation))]
        return calibration.best_temperature(lambda temperature: evaluated(cooled(weights, temperature), self._shape, rows)[0])

    def _conclude(self, seconds: float) -> None:
        steps = len(self._schedule.batches)
        seconds = max(1e-6, seconds)
        parameters = sum(math.prod(size) for size in self._shape.tensor_shapes().values())
        rows = sum(len(batch) for batch in self._schedule.batches)
        self._notes.metrics(
            steps,
            {
                "train_runtime": seconds,
                "train_samples_per_second": rows / seconds,
                "train_steps_per_second": steps / seconds,
                "train_loss": sum(self._losses) / max(1, len(self._losses)),
                "total_flos": float(FLOS_A_TOKEN * parameters * self._tokens),
                "epoch": self._schedule.epoch(steps),
            },
        )
        self._notes.tag("score", self._best)
        self._notes.param("standin_steps", steps)
        self._notes.param("standin_training_tokens", self._tokens)
        print(f"{steps} steps, {self._tokens} tokens", flush=True)


def cooled(weights: Mapping[str, Array], temperature: float) -> dict[str, Array]:
    """The same model with all scores divided by a temperature."""
    return {**weights, model.FINAL_NORM: weights[model.FINAL_NORM] / np.float32(temperature)}


def _tuning(planned: plan.Plan, start: base.Model, rng: np.random.Generator) -> tuning.Tuning:
    if not planned.inputs.apply_lora:
        return tuning.FullTuning(start.weights)
    also = [name for name in start.weights if not name.endswith(tuning.LORA_TARGETS)]
    return tuning.LoraTuning(start.weights, rank=planned.lora_rank, alpha=planned.inputs.lora_alpha, also=also, rng=rng)


def evaluated(weights: Mapping[str, Array], shape: Shape, rows: list[chat.Row]) -> tuple[float, float]:
    """Mean loss of all learned tokens in nats, and the part of them that the model would say itself."""
    order = sorted(range(len(rows)), key=lambda place: rows[place].length)
    loss = 0.0
    tokens = correct = 0
    for batch in batches.in_order(rows, order, EVALUATION_TOKENS):
        outcome = model.evaluate(weights, shape, *batches.padded(rows, batch))
        loss += outcome.loss * outcome.tokens
        tokens += outcome.tokens
        correct += outcome.correct
    return loss / tokens, correct / tokens
