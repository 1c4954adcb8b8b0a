"""
The untouched base that every fine-tune starts from: committed beside this file, checked by sha256 before it is used.

`base_build.py` made it; loading it costs milliseconds and no network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from localcloud.trainer import errors, shape, tensors, tokenizer

FOLDER = Path(__file__).parent / "base"
WEIGHTS, CONFIG, TOKENIZER, TOKENIZER_CONFIG = "model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"
SUMS = "SHA256SUMS"


@dataclass(frozen=True, kw_only=True)
class Model:
    """Everything that is needed to compute with a model."""

    weights: Mapping[str, npt.NDArray[np.float32]]
    shape: shape.Shape
    tokenizer: tokenizer.Tokenizer


def load(folder: Path = FOLDER) -> Model:
    """The base; refused when a file is not the one that was committed."""
    for line in (folder / SUMS).read_text(encoding="utf-8").splitlines():
        wanted, name = line.split()
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != wanted:
            raise errors.TrainerError(
                f"The base's {name} is not the committed one (sha256 differs from {SUMS}); check it out again.",
                code="SystemError",
            )
    return read(folder, folder)


def read(folder: Path, tokenizer_folder: Path) -> Model:
    """A model in a folder of Hugging Face's layout; refused when tensors are missing, misshapen or not numbers."""
    size = shape.read(folder / CONFIG)
    weights = tensors.read(folder / WEIGHTS)
    for name, wanted in size.tensor_shapes().items():
        if name not in weights:
            raise errors.BrokenModel(f"The weights have no tensor {name!r}.")
        if weights[name].shape != wanted:
            raise errors.BrokenModel(f"The tensor {name!r} has shape {weights[name].shape}; the config says {wanted}.")
        if not np.isfinite(weights[name]).all():
            raise errors.BrokenModel(f"The tensor {name!r} holds values that are not numbers.")
    tok = tokenizer.read(tokenizer_folder / TOKENIZER)
    if len(tok.vocabulary) != size.vocab_size:
        raise errors.BrokenModel(f"The tokenizer has {len(tok.vocabulary)} pieces; the model's config says {size.vocab_size}.")
    return Model(weights=weights, shape=size, tokenizer=tok)
