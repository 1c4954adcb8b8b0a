"""
How many tokens a row has, without a tokenizer: an estimate with a band, and what is certain at either end of it.

Counting exactly costs more than a hundred times the rest of the preparation. So bytes are counted, and a row is dropped only when even
the most favourable tokenizer would leave no answer within the context. With a tokenizer file the rows within the band are counted
exactly, and the estimate of the whole is calibrated on a sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Bytes of UTF-8 for one token of a vocabulary of 32,000 (Phi-3's size): assumptions, wide enough for code and for Chinese.
BYTES_A_TOKEN: Final = 3.8
BYTES_A_TOKEN_MIN: Final = 2.0
BYTES_A_TOKEN_MAX: Final = 6.0
MESSAGE_TOKENS: Final = 4  # of a chat template around one message: <|user|> \\n … <|end|> \\n
MESSAGE_BYTES: Final = 34  # of the canonical JSON around one message; the shortest is {"role":"user","content":""},


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Tokens of many rows."""

    low: int
    estimate: int
    high: int
    basis: str  # assumed: no tokenizer was there; sampled: calibrated on rows that one counted


def bytes_surely_within(context_tokens: int) -> int:
    """UTF-8 bytes, and as many characters, that fit the context whatever the tokenizer; templates included."""
    return int((context_tokens - 8 * MESSAGE_TOKENS) * BYTES_A_TOKEN_MIN)


def bytes_surely_beyond(context_tokens: int) -> int:
    return int(context_tokens * BYTES_A_TOKEN_MAX)


def estimated(*, row_bytes: int, messages: int, sample: Sequence[tuple[int, int]] = ()) -> Estimate:
    """
    `row_bytes`: of canonical rows, with `messages` messages in them. `sample`: (bytes, tokens) of the texts of some rows. The band of a
    sample is four standard errors of its mean, at least 2 %, since the sample of a file says nothing of its rare rows.
    """
    text = max(row_bytes - MESSAGE_BYTES * messages, 0)
    template = MESSAGE_TOKENS * messages
    if not sample:
        low, middle, high = (text / ratio for ratio in (BYTES_A_TOKEN_MAX, BYTES_A_TOKEN, BYTES_A_TOKEN_MIN))
        return Estimate(low=int(low) + template, estimate=int(middle) + template, high=int(high) + template, basis="assumed")
    ratio = sum(tokens for _, tokens in sample) / max(sum(length for length, _ in sample), 1)
    spread = math.sqrt(sum((tokens - ratio * length) ** 2 for length, tokens in sample)) / max(sum(tokens for _, tokens in sample), 1)
    band = max(4 * spread, 0.02)
    middle = text * ratio
    return Estimate(
        low=int(middle * (1 - band)) + template,
        estimate=int(middle) + template,
        high=math.ceil(middle * (1 + band)) + template,
        basis="sampled",
    )
