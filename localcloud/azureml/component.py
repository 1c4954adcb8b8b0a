"""
The registry component chat_completion_pipeline in our own words: its 69 inputs, and what Azure says of each.

Names, types, limits and defaults are facts of the public registry (version 0.0.82, 2026-06-30); the texts are ours. The version is the
world's. A job's inputs are checked
against this table, because the SDK checks none of them.
"""

from __future__ import annotations

import math
import re
from typing import Any

from localcloud.azureml.wire import Json, Refused

NAME = "chat_completion_pipeline"
WHOLE_MAX = 2**63  # an integer input has 64 bits (a guess)
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
ASSET_TYPES = frozenset({"uri_file", "uri_folder", "mltable", "mlflow_model", "custom_model"})
STEPS = (  # display names of the runs below the pipeline, in order
    "ft_nlp_common_validation",
    "chat_completion_model_import",
    "chat_completion_datapreprocess",
    "chat_completion_finetune",
    "ft_nlp_model_converter",
)


def _text(default: str | None = None, *allowed: str) -> Json:
    spec: Json = {"type": "string", "optional": True}
    if default is not None:
        spec["default"] = default
    if allowed:
        spec["enum"] = list(allowed)
    return spec


def _flag(default: str) -> Json:
    """Booleans of this component are the texts "true" and "false"."""
    return _text(default, "true", "false")


def _whole(default: int, low: int | None = None) -> Json:
    spec: Json = {"type": "integer", "optional": True, "default": default}
    return spec if low is None else spec | {"min": low}


def _number(default: float) -> Json:
    return {"type": "number", "optional": True, "default": default}


def _asset(kind: str) -> Json:
    return {"type": kind, "optional": True, "mode": "ro_mount"}


INPUTS: dict[str, Json] = {
    # where it runs
    "compute_model_import": _text("serverless"),
    "compute_preprocess": _text("serverless"),
    "compute_finetune": _text("serverless"),
    "compute_model_evaluation": _text("serverless"),
    "instance_type_model_import": _text("Standard_d12_v2"),
    "instance_type_preprocess": _text("Standard_d12_v2"),
    "instance_type_finetune": _text("Standard_nc24rs_v3"),
    "instance_type_model_evaluation": _text("Standard_nc24rs_v3"),
    "shm_size_finetune": _text("5g"),
    "num_nodes_finetune": _whole(1, 1),
    "number_of_gpu_to_use_finetuning": _whole(1, 1),
    # what is done
    "task_name": {"type": "string", "default": "ChatCompletion", "enum": ["ChatCompletion"]},
    # what is tuned
    "huggingface_id": _text(),
    "pytorch_model_path": _asset("custom_model"),
    "mlflow_model_path": _asset("mlflow_model"),
    "finetune_config_path": _asset("uri_file"),
    "trust_remote_code": _flag("false"),
    # with which data
    "train_file_path": _asset("uri_file"),
    "validation_file_path": _asset("uri_file"),
    "test_file_path": _asset("uri_file"),
    "train_mltable_path": _asset("mltable"),
    "validation_mltable_path": _asset("mltable"),
    "test_mltable_path": _asset("mltable"),
    "batch_size": _whole(1000, 1),
    "pad_to_max_length": _flag("false"),
    "max_seq_length": _whole(-1),
    # low-rank adaptation
    "apply_lora": _flag("false"),
    "merge_lora_weights": _flag("true"),
    "lora_alpha": _whole(128),
    "lora_r": _whole(8),
    "lora_dropout": _number(0.0),
    # training
    "num_train_epochs": _whole(1, 1),
    "max_steps": _whole(-1),
    "per_device_train_batch_size": _whole(1, 1),
    "per_device_eval_batch_size": _whole(1, 1),
    "auto_find_batch_size": _flag("false"),
    "optim": _text("adamw_torch", "adamw_torch", "adafactor"),
    "learning_rate": _number(2e-5),
    "warmup_steps": _whole(0),
    "weight_decay": _number(0.0),
    "adam_beta1": _number(0.9),
    "adam_beta2": _number(0.999),
    "adam_epsilon": _number(1e-8),
    "gradient_accumulation_steps": _whole(1),
    "eval_accumulation_steps": _whole(-1),
    "lr_scheduler_type": _text("linear", "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup"),
    "precision": _text("32", "32", "16"),
    "seed": _whole(42),
    "enable_full_determinism": _flag("false"),
    "dataloader_num_workers": _whole(0),
    "ignore_mismatched_sizes": _flag("false"),
    "max_grad_norm": _number(1.0),
    # evaluation while it trains, and what is kept
    "evaluation_strategy": _text("epoch", "epoch", "steps", "disable"),
    "evaluation_steps_interval": _number(0.0),
    "eval_steps": _whole(500),
    "logging_strategy": _text("steps", "epoch", "steps"),
    "logging_steps": _whole(10),
    "metric_for_best_model": _text("loss", "loss", "f1", "exact"),
    "resume_from_checkpoint": _flag("false"),
    "save_total_limit": _whole(-1),
    "apply_early_stopping": _flag("false"),
    "early_stopping_patience": _whole(1),
    "early_stopping_threshold": _number(0.0),
    # DeepSpeed and ONNX Runtime
    "apply_deepspeed": _flag("false"),
    "deepspeed": _asset("uri_file"),
    "deepspeed_stage": _text("2", "2", "3"),
    "apply_ort": _flag("false"),
    # declared, and without effect since the pipeline no longer evaluates
    "evaluation_config": _asset("uri_file"),
    "evaluation_config_params": _text(),
}
OUTPUTS: dict[str, Json] = {
    "pytorch_model_folder": {"type": "uri_folder", "description": "Weights as PyTorch writes them."},
    "mlflow_model_folder": {"type": "mlflow_model", "description": "The fine-tuned model as an MLflow folder."},
}


def spec(version: str) -> Json:
    """Return the component as the registry serves it: the YAML as an object."""
    return {
        "$schema": "https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json",
        "_source": "YAML.COMPONENT",
        "type": "pipeline",
        "name": NAME,
        "version": version,
        "display_name": "Chat Completion Pipeline",
        "description": "Fine-tunes a chat model on conversations (the local cloud's own description).",
        "is_deterministic": False,
        "inputs": INPUTS,
        "outputs": OUTPUTS,
        "jobs": {},
    }


def check_literal(name: str, value: Any) -> str:
    """Return the value as the text that the job gets; one that the component refuses is refused here, by name."""
    spec = INPUTS[name]
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if spec["type"] in ASSET_TYPES:
        raise _refused(name, f"must be a {spec['type']} with a uri, and is the literal '{text}'")
    if spec["type"] in {"integer", "number"}:
        number = _as_number(text, whole=spec["type"] == "integer")
        if number is None:
            raise _refused(name, f"must be of type {spec['type']}, and is '{text}'")
        if "min" in spec and number < spec["min"]:
            raise _refused(name, f"must be at least {spec['min']}, and is {text}")
    if "enum" in spec and text not in spec["enum"]:
        raise _refused(name, f"must be one of {', '.join(spec['enum'])}, and is '{text}'")
    return text


def _as_number(text: str, *, whole: bool) -> float | None:
    """Return the number in the text; None: it is none, as Python's own 1_000, other scripts' digits, nan and inf are none to Azure."""
    if not _NUMBER.fullmatch(text):
        return None
    if not whole:
        return float(text) if math.isfinite(float(text)) else None
    return int(text) if _WHOLE.fullmatch(text) and abs(int(text)) < WHOLE_MAX else None


def check_name(name: str) -> None:
    """Refuse an input that the component does not declare."""
    if name not in INPUTS:
        message = f"The component {NAME} has no input {name}; remove it (its 69 inputs are in the component's spec)."
        raise Refused(400, "UserError", message, detail="InvalidComponentInput")


def check_asset(name: str, kind: str) -> None:
    """Refuse an asset of another type than declared."""
    if kind != INPUTS[name]["type"]:
        raise _refused(name, f"must be of type {INPUTS[name]['type']}, and is {kind}")


def defaults() -> dict[str, str]:
    """Return the default of every literal input that has one, as text."""
    return {name: str(spec["default"]) for name, spec in INPUTS.items() if "default" in spec}


def _refused(name: str, what: str) -> Refused:
    return Refused(400, "UserError", f"The input {name} of {NAME} {what}.", detail="InvalidComponentInput")
