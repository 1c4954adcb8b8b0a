"""
What was asked, what of it applies to so small a model, and the stand-in factors that are put on top.

Azure's inputs are made for a model ten thousand times larger: a learning rate of 5e-6 for three epochs does nothing here. So the
rate is scaled and the data are repeated up to a budget of tokens. Each factor is a parameter of the run, named standin_…; budgets
are counted in tokens, never in seconds, so that the same data give the same training on every machine.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from localcloud.trainer import chat, errors, optimizer

ROWS_MIN = 10  # Azure's finetune step refuses fewer
LEARNING_RATE_SCALE = 400  # 5e-6 * 400 = 2e-3
LEARNING_RATE_MAX = 4e-3
TOKENS_BUDGET = 1_600_000  # tokens through the model in one training
PASSES_MAX = 40  # of a small dataset
TOKENS_PER_STEP = 512
LORA_RANK_SCALE = 4
BETA2_MAX = 0.98
WARMUP_STEPS = 20

TYPES: dict[str, type] = {"int": int, "float": float, "str": str, "bool": bool}


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The component's inputs that change what happens here, with the component's defaults."""

    num_train_epochs: int = 1
    max_steps: int = -1
    per_device_train_batch_size: int = 1
    gradient_accumulation_steps: int = 1
    learning_rate: float = 2e-5
    lr_scheduler_type: str = "linear"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    apply_lora: bool = False
    lora_r: int = 8
    lora_alpha: float = 128
    max_seq_length: int = -1
    seed: int = 42
    logging_steps: int = 10
    evaluation_strategy: str = "epoch"
    eval_steps: int = 500


APPLIED = {field.name: str(field.type) for field in dataclasses.fields(Inputs)}


def read(given: Mapping[str, str]) -> Inputs:
    """The inputs as values; a value that is none is refused with its name."""
    values: dict[str, object] = {}
    for name, kind in APPLIED.items():
        if given.get(name) not in (None, ""):
            values[name] = _value(name, kind, str(given[name]))
    inputs = Inputs(**values)  # type: ignore[arg-type]
    for name in ("num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "lora_r", "logging_steps"):
        if getattr(inputs, name) < 1:
            raise errors.UserError(f"{name} is {given[name]!r}; it has to be at least 1.")
    if not (math.isfinite(inputs.learning_rate) and inputs.learning_rate > 0):
        raise errors.UserError(f"learning_rate is {given['learning_rate']!r}; it has to be a number above 0.")
    if inputs.lr_scheduler_type not in optimizer.SCHEDULES:
        raise errors.UserError(f"lr_scheduler_type is {inputs.lr_scheduler_type!r}; choose one of {', '.join(optimizer.SCHEDULES)}.")
    return inputs


def _value(name: str, kind: str, text: str) -> object:
    try:
        if kind == "bool":
            return {"true": True, "false": False}[text.strip().lower()]
        if kind == "int":
            number = float(text)
            if number != int(number):
                raise ValueError
            return int(number)
        return TYPES[kind](text)
    except (ValueError, KeyError, OverflowError) as error:
        wanted = {"int": "a whole number", "float": "a number", "bool": "'true' or 'false'", "str": "a word"}[kind]
        raise errors.UserError(f"{name} is {text!r}; it has to be {wanted}.") from error


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training, resolved: what was asked times the stand-in factors."""

    inputs: Inputs
    learning_rate: float  # at the top of the schedule
    repeats: int  # times that the data are read in one epoch
    tokens_per_step: int
    tokens_max: int  # the training ends there at the latest, unless max_steps says otherwise
    lora_rank: int
    beta2: float

    def params(self) -> Iterator[tuple[str, object]]:
        """The factors, as parameters of the run."""
        yield "standin", "tuneloop numpy trainer: a tiny model with Phi-3's layout, not Phi-3"
        yield "standin_learning_rate_scale", LEARNING_RATE_SCALE
        yield "standin_learning_rate_max", LEARNING_RATE_MAX
        yield "standin_learning_rate", self.learning_rate
        yield "standin_data_repeats_per_epoch", self.repeats
        yield "standin_epochs", self.repeats * self.inputs.num_train_epochs
        yield "standin_tokens_max", self.tokens_max
        yield "standin_tokens_per_step", self.tokens_per_step
        yield "standin_adam_beta2", self.beta2
        yield "standin_warmup_steps", WARMUP_STEPS
        yield "standin_calibration", "scores divided by one temperature, fitted on the validation data; greedy replies stay the same"
        if self.inputs.apply_lora:
            yield "standin_lora_r", self.lora_rank
            yield "standin_modules_to_save", "embed_tokens (also the head), all norms"


def resolve(inputs: Inputs, train: chat.Dataset) -> Plan:
    """The plan for a dataset; the same dataset and inputs give the same plan."""
    passes = min(PASSES_MAX, TOKENS_BUDGET / max(1, train.tokens))
    return Plan(
        inputs=inputs,
        learning_rate=min(inputs.learning_rate * LEARNING_RATE_SCALE, LEARNING_RATE_MAX),
        repeats=max(1, int(passes / inputs.num_train_epochs)),
        tokens_per_step=TOKENS_PER_STEP * inputs.per_device_train_batch_size * inputs.gradient_accumulation_steps,
        tokens_max=TOKENS_BUDGET,
        lora_rank=inputs.lora_r * LORA_RANK_SCALE,
        beta2=min(inputs.adam_beta2, BETA2_MAX),
    )
