"""
Which numbers a fine-tune may change: all of them, or low-rank adapters beside frozen matrices (LoRA).

Both answer the same three questions: what the model computes with now, what a gradient changes, what is trained.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

LORA_TARGETS = ("self_attn.qkv_proj.weight", "self_attn.o_proj.weight", "mlp.gate_up_proj.weight", "mlp.down_proj.weight")


class FullTuning:
    """Every weight is trained."""

    def __init__(self, base: Mapping[str, Array]) -> None:
        self.trained = {name: values.copy() for name, values in base.items()}
        self.gradients: dict[str, Array] = {}

    def weights(self) -> dict[str, Array]:
        """What the model computes with now."""
        return self.trained

    def linear(self, name: str, d_outputs: Array, inputs: Array) -> None:
        """Gradient of a linear layer (out, in)."""
        self.gradients[name] = d_outputs.T @ inputs

    def other(self, name: str, gradient: Array) -> None:
        """Gradient of anything else."""
        self.gradients[name] = gradient


class LoraTuning:
    """
    W = W0 + (alpha / r) * B @ A for the linear layers, A (r, in), B (out, r), B zero at first; `also` is trained as it is.

    The adapters' gradients come from the layer's inputs and output gradients directly, which costs r * (in + out) a token
    instead of in * out.
    """

    def __init__(self, base: Mapping[str, Array], *, rank: int, alpha: float, also: Collection[str], rng: np.random.Generator) -> None:
        self._base = dict(base)
        self._scale: Array = np.array([alpha / rank], np.float32)  # (1,)
        self.trained: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}
        self._targets = [name for name in base if name.endswith(LORA_TARGETS)]
        for name in self._targets:
            out_size, in_size = base[name].shape
            bound = 1 / math.sqrt(in_size)
            self.trained[name + ".lora_A"] = rng.uniform(-bound, bound, (rank, in_size)).astype(np.float32)
            self.trained[name + ".lora_B"] = np.zeros((out_size, rank), np.float32)
        for name in also:
            self.trained[name] = base[name].copy()
        self._also = set(also)

    def weights(self) -> dict[str, Array]:
        """What the model computes with now: the adapters merged into the matrices."""
        weights = dict(self._base)
        for name in self._targets:
            update = self._scale * (self.trained[name + ".lora_B"] @ self.trained[name + ".lora_A"])
            weights[name] = self._base[name] + update
        for name in self._also:
            weights[name] = self.trained[name]
        return weights

    def linear(self, name: str, d_outputs: Array, inputs: Array) -> None:
        """Gradients of a layer's two adapters."""
        down, up = self.trained[name + ".lora_A"], self.trained[name + ".lora_B"]
        scaled: Array = np.multiply(d_outputs, self._scale, dtype=np.float32)
        narrow = (scaled @ up).astype(np.float32, copy=False)  # (N, r)
        self.gradients[name + ".lora_A"] = narrow.T @ inputs
        self.gradients[name + ".lora_B"] = scaled.T @ (inputs @ down.T)

    def other(self, name: str, gradient: Array) -> None:
        """Gradient of what is trained as it is; the rest is frozen."""
        if name in self._also:
            self.gradients[name] = gradient


Tuning = FullTuning | LoraTuning
