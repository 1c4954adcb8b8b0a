"""A reply, token by token; keys and values of what was read already are kept, so that a token costs one position's work."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from localcloud.trainer import model, tokenizer
from localcloud.trainer.shape import Shape

Array = npt.NDArray[np.float32]

STOPS = frozenset({tokenizer.END, tokenizer.END_OF_TEXT})
REPLY_ROOM_MIN = 128  # positions that a long conversation leaves free for the reply; its oldest tokens are not read


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How a reply is to be drawn."""

    tokens_max: int
    sampled: bool = False  # False: always the likeliest token
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all
    seed: int = 0  # the same wish gives the same reply


def reply(weights: Mapping[str, Array], shape: Shape, prompt: Sequence[int], wish: Wish) -> list[int]:
    """Ids of the reply without the token that ended it."""
    room = min(max(1, wish.tokens_max), shape.max_position_embeddings - 1)
    read = list(prompt)[-(shape.max_position_embeddings - min(room, REPLY_ROOM_MIN)) :]
    room = min(room, shape.max_position_embeddings - len(read))
    return [token for token, _ in zip(_tokens(weights, shape, read, wish), range(room), strict=False)]


def _tokens(weights: Mapping[str, Array], shape: Shape, prompt: Sequence[int], wish: Wish) -> Iterator[int]:
    memory = _Memory(weights, shape)
    rng = np.random.default_rng(wish.seed)
    scores = memory.read(prompt)
    while True:
        token = _drawn(scores, wish, rng)
        if token in STOPS or memory.full:
            if token not in STOPS:
                yield token
            return
        yield token
        scores = memory.read([token])


def _drawn(scores: Array, wish: Wish, rng: np.random.Generator) -> int:
    if not wish.sampled or wish.temperature <= 0:
        return int(scores.argmax())
    wide = scores.astype(np.float64) / wish.temperature
    chances = np.exp(wide - wide.max())
    chances /= chances.sum()
    order = np.argsort(-chances, kind="stable")
    kept = order[: wish.top_k] if wish.top_k > 0 else order
    kept = kept[: int(np.searchsorted(np.cumsum(chances[kept]), wish.top_p)) + 1]
    return int(rng.choice(kept, p=chances[kept] / chances[kept].sum()))


class _Memory:
    """Keys and values of every position that was read: per layer (A, positions, D)."""

    def __init__(self, weights: Mapping[str, Array], shape: Shape) -> None:
        self._weights, self._shape = weights, shape
        size = (shape.num_hidden_layers, shape.num_attention_heads, shape.max_position_embeddings, shape.head_size)
        self._keys, self._values = np.empty(size, np.float32), np.empty(size, np.float32)
        self._length = 0

    @property
    def full(self) -> bool:
        """No position is left."""
        return self._length >= self._shape.max_position_embeddings

    def read(self, ids: Sequence[int]) -> Array:
        """Read more tokens; scores (V,) of the one that follows."""
        stream = self._weights[model.EMBEDDING][np.array(ids)]
        for number in range(self._shape.num_hidden_layers):
            stream = self._layer(number, stream)
        self._length += len(ids)
        last, _ = model.normed(stream[-1:], self._weights[model.FINAL_NORM], self._shape.rms_norm_eps)
        scores: Array = self._weights[model.EMBEDDING] @ last[0]
        return scores

    def _layer(self, number: int, stream: Array) -> Array:
        weights, shape, prefix = self._weights, self._shape, f"model.layers.{number}."
        before, _ = model.normed(stream, weights[prefix + "input_layernorm.weight"], shape.rms_norm_eps)
        mixed = self._attention(number, before @ weights[prefix + "self_attn.qkv_proj.weight"].T)
        middle = stream + mixed @ weights[prefix + "self_attn.o_proj.weight"].T
        before_2, _ = model.normed(middle, weights[prefix + "post_attention_layernorm.weight"], shape.rms_norm_eps)
        both = before_2 @ weights[prefix + "mlp.gate_up_proj.weight"].T
        gate, up = both[:, : shape.intermediate_size], both[:, shape.intermediate_size :]
        after: Array = middle + (gate * model.sigmoid(gate) * up) @ weights[prefix + "mlp.down_proj.weight"].T
        return after

    def _attention(self, number: int, qkv: Array) -> Array:
        """(T, 3H) of the new positions -> their mixed values (T, H)."""
        shape, begin, length = self._shape, self._length, len(qkv)
        end = begin + length
        heads = qkv.reshape(length, 3, shape.num_attention_heads, shape.head_size).transpose(1, 2, 0, 3)
        cosine, sine = model.rotary(shape.head_size, shape.rope_theta, shape.max_position_embeddings)
        query, key = model.rotated(heads[:2], cosine[begin:end], sine[begin:end])
        self._keys[number, :, begin:end] = key
        self._values[number, :, begin:end] = heads[2]
        scores = query @ self._keys[number, :, :end].transpose(0, 2, 1) * np.float32(1 / math.sqrt(shape.head_size))
        if length > 1:
            scores += np.triu(np.full((length, end), model.FAR_BELOW, np.float32), 1 + begin)
        scores -= scores.max(-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(-1, keepdims=True)
        mixed: Array = (scores @ self._values[number, :, :end]).transpose(1, 0, 2).reshape(length, shape.hidden_size)
        return mixed
