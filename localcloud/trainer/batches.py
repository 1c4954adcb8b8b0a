"""Which rows go through the model together: rows of like length, so that little is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from localcloud.trainer import chat, tokenizer

NEIGHBOURHOOD = 16  # batches whose rows are sorted by length together: enough to save padding, few enough to stay random


def shuffled(rows: Sequence[chat.Row], tokens: int, rng: np.random.Generator) -> list[list[int]]:
    """One pass in random order; each batch holds rows of at most about `tokens` tokens with their padding, at least one row."""
    order = [int(place) for place in rng.permutation(len(rows))]
    mean = max(1.0, sum(row.length for row in rows) / max(1, len(rows)))
    together = max(1, int(NEIGHBOURHOOD * tokens / mean))
    batches: list[list[int]] = []
    for begin in range(0, len(order), together):
        part = sorted(order[begin : begin + together], key=lambda place: rows[place].length)
        batches += in_order(rows, part, tokens)
    return [batches[int(place)] for place in rng.permutation(len(batches))]


def in_order(rows: Sequence[chat.Row], order: Sequence[int], tokens: int) -> list[list[int]]:
    """Cut an order of rows into batches of at most `tokens` tokens, padding counted."""
    batches: list[list[int]] = []
    current: list[int] = []
    longest = 0
    for place in order:
        longest = max(longest, rows[place].length)
        if current and longest * (len(current) + 1) > tokens:
            batches.append(current)
            current, longest = [], rows[place].length
        current.append(place)
    return [*batches, current] if current else batches


def padded(rows: Sequence[chat.Row], batch: Sequence[int]) -> tuple[chat.Ids, chat.Ids]:
    """Inputs and targets, each (B, T); padding comes after the end, where no learned token can see it."""
    length = max(rows[place].length for place in batch)
    inputs = np.full((len(batch), length), tokenizer.END_OF_TEXT, np.int64)
    targets = np.full((len(batch), length), chat.NOT_LEARNED, np.int64)
    for number, place in enumerate(batch):
        inputs[number, : rows[place].length] = rows[place].inputs
        targets[number, : rows[place].length] = rows[place].targets
    return inputs, targets
