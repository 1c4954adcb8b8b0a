"""
The arithmetic of a Phi-3 shaped model, forward and backward, written out by hand.

Letters in shapes: B rows, T positions, N = B*T, H hidden, A heads, D numbers of a head, I inner, V vocabulary, M learned tokens.
A gradient check against numerical differences (tests) holds the two passes together. No clock, no chance, no files here.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from localcloud.trainer import chat
from localcloud.trainer.shape import Shape

Array = npt.NDArray[np.float32]
Weights = Mapping[str, Array]
Ids = npt.NDArray[np.int64]

EMBEDDING = "model.embed_tokens.weight"
FINAL_NORM = "model.norm.weight"
FAR_BELOW = np.float32(-1e9)  # added to a score that must not count
ROWS_OF_HEAD_MAX = 2048  # learned tokens scored at once in evaluation: 8 MB of logits


@dataclass(frozen=True)
class Layer:
    """What one layer's backward pass needs of its forward pass."""

    normed: Array  # (N, H) inputs of qkv
    norm: tuple[Array, Array]
    query: Array  # (B, A, T, D) after rotation
    key: Array  # (B, A, T, D) after rotation
    value: Array  # (B, A, T, D)
    attention: Array  # (B, A, T, T), rows sum to 1
    mixed: Array  # (N, H) inputs of o_proj
    normed_2: Array  # (N, H) inputs of gate_up
    norm_2: tuple[Array, Array]
    gate: Array  # (N, I)
    up: Array  # (N, I)
    sigmoid: Array  # (N, I) of the gate
    inner: Array  # (N, I) inputs of down


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a batch showed."""

    loss: float  # mean over learned tokens, nats
    tokens: int  # learned tokens
    correct: int  # of which the likeliest token was right


class Gradients(Protocol):
    """Who takes the gradients of a batch."""

    def linear(self, name: str, d_outputs: Array, inputs: Array) -> None:
        """A linear layer turned inputs (N, in) into outputs whose gradient is (N, out)."""

    def other(self, name: str, gradient: Array) -> None:
        """The gradient of a norm's gain or of the embedding."""


def initial(shape: Shape, rng: np.random.Generator) -> dict[str, Array]:
    """Fresh weights: norms 1, everything else normal with standard deviation 0.02."""
    weights: dict[str, Array] = {}
    for name, size in shape.tensor_shapes().items():
        weights[name] = np.ones(size, np.float32) if len(size) == 1 else (rng.standard_normal(size) * 0.02).astype(np.float32)
    return weights


def evaluate(weights: Weights, shape: Shape, inputs: Ids, targets: Ids) -> Outcome:
    """Loss of a batch without gradients; inputs and targets are (B, T)."""
    hidden, _, _ = _forward(weights, shape, inputs, keep=False)
    flat = targets.reshape(-1)
    learned = np.flatnonzero(flat != chat.NOT_LEARNED)
    loss = 0.0
    correct = 0
    for begin in range(0, len(learned), ROWS_OF_HEAD_MAX):
        part = learned[begin : begin + ROWS_OF_HEAD_MAX]
        probabilities, hits = _head(weights, hidden[part], flat[part])
        loss -= float(np.log(probabilities[np.arange(len(part)), flat[part]] + 1e-30).sum())
        correct += hits
    return Outcome(loss=loss / max(1, len(learned)), tokens=len(learned), correct=correct)


def learn(weights: Weights, shape: Shape, batch: tuple[Ids, Ids], gradients: Gradients) -> Outcome:
    """Loss of a batch, and every gradient handed over; the batch is inputs and targets, each (B, T)."""
    inputs, targets = batch
    hidden, layers, final_norm = _forward(weights, shape, inputs, keep=True)
    flat = targets.reshape(-1)
    learned = np.flatnonzero(flat != chat.NOT_LEARNED)
    count = len(learned)
    probabilities, correct = _head(weights, hidden[learned], flat[learned])
    own = np.arange(count)
    loss = -float(np.log(probabilities[own, flat[learned]] + 1e-30).mean())
    d_logits = probabilities  # softmax and cross-entropy together: p - 1 at the right token, p elsewhere; (M, V)
    d_logits[own, flat[learned]] -= 1
    d_logits /= np.float32(count)
    d_embedding = d_logits.T @ hidden[learned]
    d_hidden = np.zeros_like(hidden)
    d_hidden[learned] = d_logits @ weights[EMBEDDING]
    d_stream, d_gain = _norm_backward(d_hidden, weights[FINAL_NORM], final_norm)
    gradients.other(FINAL_NORM, d_gain)
    for number in reversed(range(shape.num_hidden_layers)):
        d_stream = _layer_backward(weights, shape, number, (layers[number], d_stream), gradients)
    _add_rows(d_embedding, inputs.reshape(-1), d_stream)
    gradients.other(EMBEDDING, d_embedding)
    return Outcome(loss=loss, tokens=count, correct=correct)


def _forward(weights: Weights, shape: Shape, inputs: Ids, *, keep: bool) -> tuple[Array, list[Layer], tuple[Array, Array]]:
    """Hidden states after the last norm (N, H), and what the backward pass needs."""
    rows, length = inputs.shape
    stream = weights[EMBEDDING][inputs.reshape(-1)]
    layers: list[Layer] = []
    for number in range(shape.num_hidden_layers):
        stream, layer = _layer(weights, shape, number, stream.reshape(rows, length, -1))
        if keep:
            layers.append(layer)
    hidden, norm = normed(stream, weights[FINAL_NORM], shape.rms_norm_eps)
    return hidden, layers, norm


def _layer(weights: Weights, shape: Shape, number: int, block: Array) -> tuple[Array, Layer]:
    """(B, T, H) -> (N, H) and what the backward pass needs."""
    rows, length, _ = block.shape
    stream = block.reshape(rows * length, -1)
    prefix = f"model.layers.{number}."
    hidden, heads, size, inner_size = shape.hidden_size, shape.num_attention_heads, shape.head_size, shape.intermediate_size
    before, norm = normed(stream, weights[prefix + "input_layernorm.weight"], shape.rms_norm_eps)
    qkv = (before @ weights[prefix + "self_attn.qkv_proj.weight"].T).reshape(rows, length, 3, heads, size).transpose(2, 0, 3, 1, 4)
    cosine, sine = rotary(size, shape.rope_theta, shape.max_position_embeddings)
    query, key = rotated(qkv[:2], cosine[:length], sine[:length])
    value = np.ascontiguousarray(qkv[2])
    attention = query @ key.transpose(0, 1, 3, 2)
    attention *= np.float32(1 / math.sqrt(size))
    attention += _causal_mask(length)
    _softmax(attention)
    mixed = (attention @ value).transpose(0, 2, 1, 3).reshape(rows * length, hidden)
    middle = mixed @ weights[prefix + "self_attn.o_proj.weight"].T
    middle += stream
    before_2, norm_2 = normed(middle, weights[prefix + "post_attention_layernorm.weight"], shape.rms_norm_eps)
    both = before_2 @ weights[prefix + "mlp.gate_up_proj.weight"].T
    gate, up = both[:, :inner_size], both[:, inner_size:]
    gated = sigmoid(gate)
    inner = gate * gated
    inner *= up
    after: Any = inner @ weights[prefix + "mlp.down_proj.weight"].T
    after += middle
    return after, Layer(before, norm, query, key, value, attention, mixed, before_2, norm_2, gate, up, gated, inner)


def _layer_backward(weights: Weights, shape: Shape, number: int, kept: tuple[Layer, Array], gradients: Gradients) -> Array:
    """What the layer kept and the (N, H) gradient at its output -> the gradient at its input."""
    layer, d_after = kept
    prefix = f"model.layers.{number}."
    gradients.linear(prefix + "mlp.down_proj.weight", d_after, layer.inner)
    d_both = _swiglu_backward(d_after @ weights[prefix + "mlp.down_proj.weight"], layer)
    gradients.linear(prefix + "mlp.gate_up_proj.weight", d_both, layer.normed_2)
    d_before_2 = d_both @ weights[prefix + "mlp.gate_up_proj.weight"]
    d_middle, d_gain = _norm_backward(d_before_2, weights[prefix + "post_attention_layernorm.weight"], layer.norm_2)
    gradients.other(prefix + "post_attention_layernorm.weight", d_gain)
    d_middle += d_after
    gradients.linear(prefix + "self_attn.o_proj.weight", d_middle, layer.mixed)
    d_qkv = _attention_backward(d_middle @ weights[prefix + "self_attn.o_proj.weight"], shape, layer)
    gradients.linear(prefix + "self_attn.qkv_proj.weight", d_qkv, layer.normed)
    d_before = d_qkv @ weights[prefix + "self_attn.qkv_proj.weight"]
    d_stream, d_gain = _norm_backward(d_before, weights[prefix + "input_layernorm.weight"], layer.norm)
    gradients.other(prefix + "input_layernorm.weight", d_gain)
    d_stream += d_middle
    return d_stream


def _attention_backward(d_mixed: Array, shape: Shape, layer: Layer) -> Array:
    """(N, H) gradient of the mixed values -> (N, 3H) gradient of qkv."""
    rows, heads, length, size = layer.query.shape
    d_heads = d_mixed.reshape(rows, length, heads, size).transpose(0, 2, 1, 3)
    d_value = layer.attention.transpose(0, 1, 3, 2) @ d_heads
    d_scores = d_heads @ layer.value.transpose(0, 1, 3, 2)
    d_scores -= np.einsum("bhij,bhij->bhi", d_scores, layer.attention)[..., None]
    d_scores *= layer.attention
    d_scores *= np.float32(1 / math.sqrt(size))
    turned: Any = np.stack([d_scores @ layer.key, d_scores.transpose(0, 1, 3, 2) @ layer.query])
    cosine, sine = rotary(size, shape.rope_theta, shape.max_position_embeddings)
    d_qkv = np.empty((rows, length, 3, heads, size), np.float32)
    d_qkv[:, :, :2] = rotated(turned, cosine[:length], -sine[:length]).transpose(1, 3, 0, 2, 4)
    d_qkv[:, :, 2] = d_value.transpose(0, 2, 1, 3)
    return d_qkv.reshape(rows * length, 3 * shape.hidden_size)


def _swiglu_backward(d_inner: Array, layer: Layer) -> Array:
    """(N, I) -> (N, 2I): d gate = d * up * s * (1 + g * (1 - s)), d up = d * g * s, with s = sigmoid(g)."""
    size = d_inner.shape[1]
    d_both = np.empty((len(d_inner), 2 * size), np.float32)
    activated = layer.gate * layer.sigmoid
    np.multiply(d_inner, activated, out=d_both[:, size:])
    slope = layer.sigmoid + activated
    slope -= activated * layer.sigmoid
    slope *= layer.up
    np.multiply(d_inner, slope, out=d_both[:, :size])
    return d_both


def normed(values: Array, gain: Array, epsilon: float) -> tuple[Array, tuple[Array, Array]]:
    """RMSNorm of (N, H): values / sqrt(mean of squares + epsilon) * gain; also the normed values and the factors (N, 1)."""
    squares = np.einsum("nh,nh->n", values, values)[:, None]
    factor = 1 / np.sqrt(squares / np.float32(values.shape[1]) + np.float32(epsilon))
    unit = values * factor
    return unit * gain, (unit, factor)


def _norm_backward(d_out: Array, gain: Array, kept: tuple[Array, Array]) -> tuple[Array, Array]:
    unit, factor = kept
    d_gain = np.einsum("nh,nh->h", d_out, unit)
    d_unit = d_out * gain
    along = np.einsum("nh,nh->n", d_unit, unit)[:, None] / np.float32(unit.shape[1])
    d_unit -= unit * along
    d_unit *= factor
    return d_unit, d_gain


@functools.cache
def rotary(size: int, theta: float, positions: int) -> tuple[Array, Array]:
    """Cosine and sine of every position's angles, each (positions, D/2)."""
    angles = np.outer(np.arange(positions), theta ** -(np.arange(0, size, 2) / size))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def rotated(heads: Array, cosine: Array, sine: Array) -> Array:
    """Turn each pair (i, i + D/2) of (..., T, D) by its position's angle; with -sine it is turned back."""
    half = heads.shape[-1] // 2
    left, right = heads[..., :half], heads[..., half:]
    out = np.empty(heads.shape, np.float32)
    out[..., :half] = left * cosine - right * sine
    out[..., half:] = right * cosine + left * sine
    return out


@functools.lru_cache(maxsize=64)
def _causal_mask(length: int) -> Array:
    """(T, T): nobody sees what comes later."""
    return np.triu(np.full((length, length), FAR_BELOW, np.float32), 1)


def _softmax(scores: Array) -> None:
    """In place over the last axis."""
    scores -= scores.max(-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(-1, keepdims=True)


def sigmoid(values: Array) -> Array:
    """1 / (1 + exp(-x)), written as (1 + tanh(x / 2)) / 2, which cannot overflow."""
    out: Array = np.tanh(values * np.float32(0.5))
    out += 1
    out *= np.float32(0.5)
    return out


def _head(weights: Weights, hidden: Array, targets: Ids) -> tuple[Array, int]:
    """Probabilities (M, V) of the next token, and how often the likeliest is right."""
    scores: Array = hidden @ weights[EMBEDDING].T
    correct = int((scores.argmax(-1) == targets).sum())
    _softmax(scores)
    return scores, correct


def _add_rows(table: Array, places: Ids, rows: Array) -> None:
    """table[places] += rows, also where a place occurs twice; sorting is much faster than np.add.at."""
    order: Any = np.argsort(places, kind="stable")
    ordered = places[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    table[ordered[starts]] += np.add.reduceat(rows[order], starts, axis=0)
