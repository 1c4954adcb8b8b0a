"""The numbers that fix a model's tensors; config.json is their file form, in the words of transformers' Phi3Config."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localcloud.trainer import errors


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Phi-3 with multi-head attention and a head that is the embedding, read the other way (tied)."""

    vocab_size: int = 1024  # tokens
    hidden_size: int = 128  # numbers a position
    intermediate_size: int = 256  # numbers inside the feed-forward part
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    max_position_embeddings: int = 512  # tokens a conversation can have
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0

    @property
    def head_size(self) -> int:
        """Numbers of one attention head."""
        return self.hidden_size // self.num_attention_heads

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor, as Phi3ForCausalLM names them; a linear layer is (out, in)."""
        hidden, inner = self.hidden_size, self.intermediate_size
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab_size, hidden)}
        for layer in range(self.num_hidden_layers):
            prefix = f"model.layers.{layer}."
            shapes[prefix + "input_layernorm.weight"] = (hidden,)
            shapes[prefix + "self_attn.qkv_proj.weight"] = (3 * hidden, hidden)
            shapes[prefix + "self_attn.o_proj.weight"] = (hidden, hidden)
            shapes[prefix + "post_attention_layernorm.weight"] = (hidden,)
            shapes[prefix + "mlp.gate_up_proj.weight"] = (2 * inner, hidden)
            shapes[prefix + "mlp.down_proj.weight"] = (hidden, inner)
        shapes["model.norm.weight"] = (hidden,)
        return shapes

    def to_config(self) -> dict[str, Any]:
        """The content of config.json."""
        return {
            "_name_or_path": "tuneloop-standin (not Phi-3: a tiny model with its layout)",
            "architectures": ["Phi3ForCausalLM"],
            "model_type": "phi3",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_attention_heads,
            "max_position_embeddings": self.max_position_embeddings,
            "original_max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "tie_word_embeddings": True,
            "hidden_act": "silu",
            "attention_dropout": 0.0,
            "embd_pdrop": 0.0,
            "resid_pdrop": 0.0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": None,
            "sliding_window": None,
            "torch_dtype": "float32",
            "use_cache": True,
        }


def read(path: Path) -> Shape:
    """The shape in a config.json; refuses what this code cannot compute."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        shape = Shape(
            vocab_size=int(config["vocab_size"]),
            hidden_size=int(config["hidden_size"]),
            intermediate_size=int(config["intermediate_size"]),
            num_hidden_layers=int(config["num_hidden_layers"]),
            num_attention_heads=int(config["num_attention_heads"]),
            max_position_embeddings=int(config["max_position_embeddings"]),
            rms_norm_eps=float(config["rms_norm_eps"]),
            rope_theta=float(config["rope_theta"]),
        )
        grouped = int(config.get("num_key_value_heads", shape.num_attention_heads)) != shape.num_attention_heads
        tied = bool(config.get("tie_word_embeddings", False))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.BrokenModel(f"{path.name} cannot be read as a model's config ({type(error).__name__}).") from error
    if grouped or not tied:
        raise errors.BrokenModel(
            f"{path.name} describes a model with grouped-query attention or an untied head; "
            "the laptop's scorer computes only its own small stand-in. Deploy a real model to Azure."
        )
    return shape
