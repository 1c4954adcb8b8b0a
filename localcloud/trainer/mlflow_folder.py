"""
The model folder that Azure's pipeline would hand over (`mlflow_model_folder`), in the layout of its hftransformersv2 flavour.

It carries its marks: metadata and notes say that this is a stand-in. The tokenizer is the base's, byte for byte; no dataset text.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from localcloud.trainer import base, errors, tensors, tokenizer
from localcloud.trainer.shape import Shape

TRAINER = "tuneloop-numpy-standin"
NOTICE = "A local stand-in with Phi-3's layout and some 460 thousand parameters. It is not Phi-3 and nobody's product."
MODEL, CONFIG, TOKENIZER = Path("data/model"), Path("data/config"), Path("data/tokenizer")


def write(out: Path, shape: Shape, weights: Mapping[str, npt.NDArray[np.float32]], *, model_name: str, base_asset_id: str) -> None:
    """Write a new folder; it must not exist yet."""
    for folder in (MODEL, CONFIG, TOKENIZER):
        (out / folder).mkdir(parents=True)
    tensors.write(out / MODEL / base.WEIGHTS, weights, dtype="F32", notes={"standin": NOTICE})
    generation = {"bos_token_id": 1, "eos_token_id": [tokenizer.END, tokenizer.END_OF_TEXT]}
    _json(out / MODEL / "generation_config.json", generation)
    for folder in (MODEL, CONFIG):
        _json(out / folder / base.CONFIG, shape.to_config())
    for folder in (MODEL, TOKENIZER):
        for name in (base.TOKENIZER, base.TOKENIZER_CONFIG):
            shutil.copyfile(base.FOLDER / name, out / folder / name)
    (out / "MLmodel").write_text(_yaml(_mlmodel(shape, model_name, base_asset_id)), encoding="utf-8")
    (out / "conda.yaml").write_text(
        "channels:\n- conda-forge\ndependencies:\n- python=3.11\n- pip\n- pip:\n  - numpy\nname: mlflow-env\n", encoding="utf-8"
    )
    (out / "requirements.txt").write_text("numpy\n", encoding="utf-8")
    (out / "python_env.yaml").write_text("python: '3.11'\nbuild_dependencies: []\ndependencies:\n- -r requirements.txt\n", encoding="utf-8")
    (out / "README.md").write_text(f"# Stand-in\n\n{NOTICE}\n", encoding="utf-8")


def read(folder: Path) -> base.Model:
    """The model in such a folder; refused with the reason when it cannot be computed with."""
    if not (folder / "MLmodel").is_file():
        raise errors.BrokenModel("The model folder has no MLmodel file; deploy an mlflow_model_folder.")
    return base.read(folder / MODEL, folder / TOKENIZER)


def _mlmodel(shape: Shape, model_name: str, base_asset_id: str) -> dict[str, Any]:
    return {
        "flavors": {
            "hftransformersv2": {
                "code": None,
                "hf_config_class": "AutoConfig",
                "hf_pretrained_class": "AutoModelForCausalLM",
                "hf_tokenizer_class": "AutoTokenizer",
                "task_type": "chat-completion",
                "model_data": "data",
                "pytorch_version": "none (numpy stand-in)",
                "transformers_version": "none (numpy stand-in)",
                "tokenizer_config": {"max_length": shape.max_position_embeddings},
                "model_hf_load_kwargs": {"trust_remote_code": False},
            },
            "python_function": {
                "code": None,
                "data": "data",
                "env": "conda.yaml",
                "loader_module": "azureml.evaluate.mlflow.hftransformers",
                "python_version": platform.python_version(),
            },
        },
        "metadata": {
            "is_finetuned_model": True,
            "is_acft_model": True,
            "finetuning_task": "chat-completion",
            "base_model_name": model_name,
            "base_model_task": "chat-completion",
            "base_model_asset_id": base_asset_id,
            "emulated": True,
            "standin": NOTICE,
            "trainer": TRAINER,
        },
        "utc_time_created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
    }


def _yaml(values: Mapping[str, Any], indent: int = 0) -> str:
    """Nested mappings as YAML; scalars in JSON form, which YAML reads the same."""
    lines = ""
    for name, value in values.items():
        lines += " " * indent + name + ":"
        lines += "\n" + _yaml(value, indent + 2) if isinstance(value, Mapping) else f" {json.dumps(value)}\n"
    return lines


def _json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
