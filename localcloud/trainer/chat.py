"""
A conversation as the model sees it, and a dataset file as conversations.

A turn is `<|role|>` newline, text, `<|end|>` newline. Only assistant text and its `<|end|>` are learned, as in Azure's pipeline.
A faulty row is named by file and line; its text is never quoted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from localcloud.trainer import errors, tokenizer

Ids = npt.NDArray[np.int64]
Message = Mapping[str, str]

ROLES = ("system", "user", "assistant")
MESSAGES_MIN = 2  # a row with fewer is dropped without a word, as Azure's preprocessing does
NOT_LEARNED = -100  # label of a token that the loss leaves out (the Hugging Face convention)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One conversation, ready for training: `targets[i]` is the token that follows `inputs[i]`, or NOT_LEARNED."""

    inputs: Ids  # (length,)
    targets: Ids  # (length,)
    truncated: bool  # the conversation was longer than the model's positions

    @property
    def length(self) -> int:
        """Tokens that pass through the model."""
        return len(self.inputs)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The rows of one file and what had to be done to them."""

    rows: list[Row]
    dropped: int  # rows without a conversation, or without assistant text inside the length limit
    truncated: int  # rows cut to the length limit

    @property
    def tokens(self) -> int:
        """Tokens of one pass."""
        return sum(row.length for row in self.rows)

    @property
    def assistant_tokens(self) -> int:
        """Tokens that are learned in one pass."""
        return sum(int((row.targets != NOT_LEARNED).sum()) for row in self.rows)


def read(path: Path, tok: tokenizer.Tokenizer, length_max: int) -> Dataset:
    """All conversations of a JSONL file, cut to `length_max` tokens."""
    rows: list[Row] = []
    dropped = 0
    for messages in _conversations(path):
        row = encode(messages, tok, length_max) if len(messages) >= MESSAGES_MIN else None
        if row is None:
            dropped += 1
        else:
            rows.append(row)
    return Dataset(rows=rows, dropped=dropped, truncated=sum(row.truncated for row in rows))


def encode(messages: Sequence[Message], tok: tokenizer.Tokenizer, length_max: int) -> Row | None:
    """One conversation; None when no assistant text is left. Nothing after the last learned token is kept: it teaches nothing."""
    ids: list[int] = []
    labels: list[int] = []
    for message in messages:
        head, text, tail = _turn(message, tok)
        learned = message["role"] == "assistant"
        ids += [*head, *text, *tail]
        labels += [NOT_LEARNED] * len(head)
        labels += [*text, tail[0]] if learned else [NOT_LEARNED] * (len(text) + 1)
        labels += [NOT_LEARNED] * (len(tail) - 1)
    truncated = len(ids) > length_max + 1
    ids, labels = ids[: length_max + 1], labels[: length_max + 1]
    last = max((place for place, label in enumerate(labels) if label != NOT_LEARNED), default=0)
    if last == 0:
        return None
    return Row(inputs=np.array(ids[:last], np.int64), targets=np.array(labels[1 : last + 1], np.int64), truncated=truncated)


def prompt(messages: Sequence[Message], tok: tokenizer.Tokenizer) -> list[int]:
    """Ids of a conversation up to the place where the assistant begins to speak."""
    ids: list[int] = []
    for message in messages:
        head, text, tail = _turn(message, tok)
        ids += [*head, *text, *tail]
    return ids + _head("assistant", tok)


def _turn(message: Message, tok: tokenizer.Tokenizer) -> tuple[list[int], list[int], list[int]]:
    return _head(message["role"], tok), tok.encode(message["content"]), [tokenizer.END, *tok.encode("\n")]


def _head(role: str, tok: tokenizer.Tokenizer) -> list[int]:
    return [tokenizer.SPECIALS.index(f"<|{role}|>"), *tok.encode("\n")]


def _conversations(path: Path) -> Iterator[list[Message]]:
    """Each row's messages (an empty list: the row has none); raises with file and line."""
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _messages(line, f"{path.name} line {number}")
    except UnicodeDecodeError as error:
        raise errors.UserError(f"{path.name} is not UTF-8 text; save it as UTF-8.") from error
    except OSError as error:
        raise errors.UserError(f"{path.name} cannot be read: {error.strerror}.") from error


def _messages(line: str, where: str) -> list[Message]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise errors.UserError(f"{where} is not a JSON object; write one conversation a line.") from error
    if not isinstance(row, dict) or "messages" not in row:
        raise errors.UserError(f"{where} has no 'messages'; each line needs a list of messages under that name.")
    messages = row["messages"]
    if messages is None:
        return []
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise errors.UserError(f"{where}: 'messages' is not a list of objects with 'role' and 'content'.")
    for message in messages:
        if message.get("role") not in ROLES:
            raise errors.UserError(f"{where} has a message whose role is none of {', '.join(ROLES)}.")
        if not isinstance(message.get("content"), str):
            raise errors.UserError(f"{where} has a message whose content is not text.")
    return messages
