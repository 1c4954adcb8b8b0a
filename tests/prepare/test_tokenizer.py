"""A tokenizer file counts what is there, or is refused before anything is read with it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from shared.prepare.tokenizer import BadTokenizer, tokenizer_of


def file_of(model: Any, **more: Any) -> bytes:
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return json.dumps(json.loads(made.to_str()) | more).encode()


WORDS = {"[UNK]": 0, "a": 1}


@pytest.mark.parametrize(
    "kept",
    [
        {},
        {"truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}},
        {"padding": {"strategy": {"Fixed": 64}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "[UNK]"}},
    ],
)
def test_every_token_counts_whatever_the_file_keeps_of_its_models_training(kept: dict[str, Any]) -> None:
    tokenizer = tokenizer_of(file_of(models.WordLevel(WORDS, unk_token="[UNK]"), **kept), "tokenizer.json")

    assert tokenizer.count("a b a a a") == 5


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 10_000, file_of(models.WordLevel({"a": 0}, unk_token="[UNK]"))])
def test_a_file_that_cannot_count_every_text_is_refused(content: bytes) -> None:
    with pytest.raises(BadTokenizer, match=r"tokenizer\.json"):
        tokenizer_of(content, "tokenizer.json")
