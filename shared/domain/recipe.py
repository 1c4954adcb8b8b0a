"""
A recipe is the exact parameters of one fine-tune, resolved once and frozen: what the component declares, what the base
model suggests, what this app prefers, what the owner wishes, in rising precedence.

An input that the component does not declare is never passed: Phi-3's own suggestions hold `learning_rate_min` and
`learning_rate_max`, which chat_completion_pipeline 0.0.82 refuses. Values travel as strings, as the service sends them.
Compute, display name and tags are not part of a training's identity; everything that alters the weights is.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping

import msgspec

from shared.domain.structs import learn
from shared.errors import Rejected, Stop
from shared.plain import is_plain

SEED_PARAMETERS: Mapping[str, str] = {  # the example that this app grew from (azureml-examples, chat-completion)
    "num_train_epochs": "3",
    "per_device_train_batch_size": "1",
    "per_device_eval_batch_size": "1",
    "learning_rate": "5e-06",
    "lr_scheduler_type": "cosine",
    "apply_lora": "true",
    "apply_deepspeed": "true",
    "deepspeed_stage": "2",
}
PYTHON_ONLY = re.compile(r"[_\s]|[^\x00-\x7f]")  # int() and float() take 1_000, blanks and foreign digits; the service does not
WHOLE_MAX = 2**31 - 1  # a guess: what every reader of a whole number takes, and no parameter of a training comes near
SUGGESTIONS_LENGTH_MAX = 10_000  # characters of a model tag that is parsed; the real one has about 500
NOT_WISHED = frozenset(  # inputs that the app itself decides; a wish for one is refused, a base model's suggestion of one is not passed
    {"train_file_path", "validation_file_path", "test_file_path", "mlflow_model_path", "pytorch_model_path", "huggingface_id",
     "train_mltable_path", "validation_mltable_path", "test_mltable_path", "task_name", "trust_remote_code",
     "compute_model_import", "compute_preprocess", "compute_finetune", "compute_model_evaluation",
     "instance_type_model_import", "instance_type_preprocess", "instance_type_finetune", "instance_type_model_evaluation",
     "number_of_gpu_to_use_finetuning", "num_nodes_finetune"}
)  # fmt: skip


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """One input as the component's spec declares it."""

    type: str
    enum: tuple[str, ...] = ()  # empty: any value of the type
    minimum: float | None = None
    default: str | None = None


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """What the registry and the workspace showed at one moment, names resolved to ids with versions."""

    component_id: str
    component_inputs: dict[str, Declared]
    model_name: str
    model_id: str
    model_archived: bool
    model_suggestions: str  # the tag `model_specific_defaults`, as it is
    compute: str | None  # cluster name; None: serverless
    instance_type: str
    gpus: int  # of one node


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """Frozen: what one paid job is asked to do."""

    component_id: str
    model_name: str
    model_id: str
    parameters: dict[str, str]  # component input -> value
    compute: str | None
    instance_type: str
    gpus: int
    display_name: str
    experiment_name: str
    notes: tuple[str, ...] = ()  # what was left out or overridden, for people

    @property
    def frozen(self) -> dict[str, str]:
        """Every value that alters what the training yields."""
        return {**self.parameters, "component": self.component_id, "model": self.model_id}


learn(Recipe)


def resolve(catalogue: Catalogue, *, wishes: Mapping[str, object], service: str, experiment_name: str) -> Recipe:
    """Return the recipe; raise Rejected for a wish that cannot be met and Stop for a component that is not usable."""
    suggestions, note = suggestions_of(catalogue.model_suggestions)
    declared = catalogue.component_inputs
    undeclared = sorted(set(suggestions) - set(declared))
    ours = sorted(NOT_WISHED & set(suggestions) & set(declared))
    notes = [note] if note else []
    if ours:
        notes.append(f"The base model suggests {', '.join(ours)}, which this app decides: not passed.")
    if undeclared:
        notes.append(f"The base model suggests {', '.join(undeclared)}, which the component does not declare: not passed.")
    if catalogue.model_archived:
        notes.append(f"The base model {catalogue.model_name} is archived in the registry; choose another one with BASE_MODEL soon.")
    parameters = {name: value for name, value in suggestions.items() if name in declared and name not in NOT_WISHED}
    parameters |= {name: value for name, value in SEED_PARAMETERS.items() if name in declared}
    parameters |= _checked_wishes(wishes, declared)
    for name, value in parameters.items():
        fault = fault_of(name, value, declared[name])
        if fault:
            raise Stop(fault, next_action="Correct the setting or the wish, then upload the file again.")
    _check_range(parameters, suggestions)
    return Recipe(
        component_id=catalogue.component_id,
        model_name=catalogue.model_name,
        model_id=catalogue.model_id,
        parameters=dict(sorted(parameters.items())),
        compute=catalogue.compute,
        instance_type=catalogue.instance_type,
        gpus=catalogue.gpus,
        display_name=display_name(catalogue.model_name, service, parameters, gpus=catalogue.gpus),
        experiment_name=experiment_name,
        notes=tuple(notes),
    )


def suggestions_of(text: str) -> tuple[dict[str, str], str]:
    """
    Return the base model's suggestions as strings, and a note when they could not be read.

    The tag is JSON in some versions and a Python literal in others; it comes from a registry, so it is never evaluated.
    """
    if not text:
        return {}, ""
    if len(text) > SUGGESTIONS_LENGTH_MAX:
        return {}, "The base model's suggestions are too long to be true: ignored."
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        try:
            values = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return {}, "The base model's suggestions could not be read: ignored."
    if not isinstance(values, dict):
        return {}, "The base model's suggestions are no table of names and values: ignored."
    plain_values = ((_text(name), _text(value)) for name, value in values.items() if isinstance(value, str | int | float))
    return {name: value for name, value in plain_values if name and value is not None}, ""


def _text(value: object) -> str | None:
    """Return what a tag holds as an input's text; None for what no job can be given: control characters, a number beyond all reading."""
    try:
        text = as_input(value)
    except ValueError:  # Python writes no number of more than 4,300 digits; in hexadecimal it reads them
        return None
    return text if is_plain(text) else None


def as_input(value: object) -> str:
    """Return a value as the component takes it: booleans are 'true' and 'false', numbers are their shortest text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def fault_of(name: str, value: str, declared: Declared) -> str:
    """Return what is wrong with one value, '' if nothing is; the service would say so only inside the paid job."""
    if declared.enum:
        return "" if value in declared.enum else f"{name} is '{value}'; it must be one of {', '.join(declared.enum)}."
    if declared.type not in ("integer", "number"):
        return ""
    try:
        number = _number(value, whole=declared.type == "integer")
    except ValueError:
        return f"{name} is '{value}'; it must be {'a whole number' if declared.type == 'integer' else 'a number'}."
    if not math.isfinite(number):
        return f"{name} is '{value}'; it must be a finite number."
    if declared.type == "integer" and abs(number) > WHOLE_MAX:
        return f"{name} is {value}; it must be at most {WHOLE_MAX} in size."
    if declared.minimum is not None and number < declared.minimum:
        return f"{name} is {value}; it must be at least {declared.minimum:g}."
    return ""


def display_name(model: str, service: str, parameters: Mapping[str, str], *, gpus: int) -> str:
    """
    Return the job's display name in the form of the seed example.

    >>> display_name("Phi-3", "shop", SEED_PARAMETERS, gpus=1)
    'Phi-3-shop-bs1-cosine-ds2-lora-save_limit-1-seqlen-1'
    """
    batch = gpus * int(parameters.get("num_nodes_finetune", "1"))
    for factor in ("per_device_train_batch_size", "gradient_accumulation_steps"):
        batch *= int(parameters.get(factor, "1"))
    deepspeed = f"ds{parameters.get('deepspeed_stage', '2')}" if parameters.get("apply_deepspeed") == "true" else "nods"
    lora = "lora" if parameters.get("apply_lora") == "true" else "nolora"
    return (
        f"{model}-{service}-bs{batch}-{parameters.get('lr_scheduler_type', 'linear')}-{deepspeed}-{lora}"
        f"-save_limit{parameters.get('save_total_limit', '-1')}-seqlen{parameters.get('max_seq_length', '-1')}"
    )


def _number(text: str, *, whole: bool) -> float:
    """Return the number, infinity for one that no computer holds; raise ValueError for a text that only Python reads as one."""
    if PYTHON_ONLY.search(text):
        raise ValueError(text)
    try:
        return float(int(text)) if whole else float(text)
    except OverflowError:
        return math.inf


def _checked_wishes(wishes: Mapping[str, object], declared: Mapping[str, Declared]) -> dict[str, str]:
    faults = [f"'{name}' is decided by the app" for name in wishes if name in NOT_WISHED]
    faults += [f"'{name}' is no input of the component" for name in wishes if name not in declared and name not in NOT_WISHED]
    faults += [f"'{name}' must be a text, a number, true or false" for name, v in wishes.items() if not isinstance(v, str | int | float)]
    if faults:
        raise Rejected(f"_recipe.json: {'; '.join(sorted(faults))}. Correct it, then upload the dataset again.")
    texts = {name: as_input(value) for name, value in wishes.items()}
    if odd := sorted(name for name, text in texts.items() if not is_plain(text)):
        raise Rejected(f"_recipe.json: {', '.join(odd)} must hold printable characters only. Correct it, then upload the dataset again.")
    wrong = [fault for name, text in texts.items() if (fault := fault_of(name, text, declared[name]))]
    if wrong:
        raise Rejected(f"_recipe.json: {' '.join(sorted(wrong))} Correct it, then upload the dataset again.")
    return texts


def _check_range(parameters: Mapping[str, str], suggestions: Mapping[str, str]) -> None:
    """Hold learning_rate against the range that the base model suggests, as far as it does: a comparison with NaN is False."""
    rate = _number_or_nan(parameters.get("learning_rate", ""))
    lowest, highest = (_number_or_nan(suggestions.get(f"learning_rate_{end}", "")) for end in ("min", "max"))
    if rate < lowest:
        raise Rejected(f"learning_rate is {rate:g}; this base model is fine-tuned with at least {lowest:g}.")
    if rate > highest:
        raise Rejected(f"learning_rate is {rate:g}; this base model is fine-tuned with at most {highest:g}.")


def _number_or_nan(text: str) -> float:
    """Return the number, NaN when there is none: a registry's tag may hold anything."""
    try:
        return _number(text, whole=False)
    except ValueError:
        return math.nan
