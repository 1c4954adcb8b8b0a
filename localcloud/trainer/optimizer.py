"""How a gradient becomes a step: clipping, AdamW, and the learning rate's way from start to end."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

SCHEDULES = ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup")
POLYNOMIAL_END = 1e-7 / 2e-5  # transformers ends a polynomial schedule at 1e-7; here as a part of the component's default rate


class AdamW:
    """Adam with decoupled weight decay; norms (one-dimensional tensors) do not decay."""

    def __init__(self, parameters: Mapping[str, Array], *, beta1: float, beta2: float, epsilon: float, weight_decay: float) -> None:
        self._parameters = parameters
        self._means = {name: np.zeros_like(values) for name, values in parameters.items()}
        self._squares = {name: np.zeros_like(values) for name, values in parameters.items()}
        self._beta1, self._beta2, self._epsilon, self._decay = beta1, beta2, epsilon, weight_decay
        self._steps = 0

    def step(self, gradients: Mapping[str, Array], rate: float) -> None:
        """p -= rate * m' / (sqrt(v') + epsilon), in place; m', v' are the averages without their bias towards zero."""
        self._steps += 1
        first = np.float32(rate / (1 - self._beta1**self._steps))
        second = np.float32(1 / math.sqrt(1 - self._beta2**self._steps))
        for name, gradient in gradients.items():
            values, mean, square = self._parameters[name], self._means[name], self._squares[name]
            mean *= np.float32(self._beta1)
            mean += np.float32(1 - self._beta1) * gradient
            square *= np.float32(self._beta2)
            scratch = gradient * gradient
            scratch *= np.float32(1 - self._beta2)
            square += scratch
            np.sqrt(square, out=scratch)
            scratch *= second
            scratch += np.float32(self._epsilon)
            np.divide(mean, scratch, out=scratch)
            scratch *= first
            if self._decay and values.ndim > 1:
                values *= np.float32(1 - rate * self._decay)
            values -= scratch


def clip(gradients: Mapping[str, Array], norm_max: float) -> float:
    """Shorten all gradients together to `norm_max` (0: never); the norm before that."""
    norm = math.sqrt(sum(float(np.vdot(gradient, gradient)) for gradient in gradients.values()))
    if norm_max > 0 and norm > norm_max:
        for gradient in gradients.values():
            np.multiply(gradient, np.float32(norm_max / norm), out=gradient)
    return norm


def scheduled(kind: str, step: int, steps: int, warmup: int) -> float:
    """Part of the learning rate that step 0, 1, ... gets: cosine at the middle of 100 steps without warmup is 0.5."""
    if step < warmup:
        return step / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    if kind.startswith("constant"):
        return 1.0
    if kind.startswith("cosine"):  # one cycle: transformers' default for restarts is also one
        return 0.5 * (1 + math.cos(math.pi * done))
    if kind == "polynomial":
        return (1 - done) * (1 - POLYNOMIAL_END) + POLYNOMIAL_END
    return 1 - done
