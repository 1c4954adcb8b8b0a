"""
Text becomes numbers and numbers become the same text again: byte-level byte-pair encoding in plain Python.

Any Unicode text survives, because the alphabet is the 256 bytes. The file form is the tokenizer.json of the `tokenizers` library.
"""

from __future__ import annotations

import collections
import heapq
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from localcloud.trainer import errors

WORD = r" ?[^\W\d_]+| ?\d| ?[^\s\w]+|_|\s+(?!\S)|\s+"  # words with their blank, single digits, punctuation, runs of blanks
SPECIALS = ("<unk>", "<s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>")  # id = place
END = SPECIALS.index("<|end|>")  # ends one turn
END_OF_TEXT = SPECIALS.index("<|endoftext|>")
CACHE_WORDS_MAX = 50_000  # words whose ids are remembered; a guess: some 10 MB
TEMPLATE = (
    "{% for message in messages %}{{'<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)

_WORDS = re.compile(WORD)


def _byte_letters() -> list[str]:
    """Byte -> printable letter: GPT-2's table, so that the file is readable and other libraries agree."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


BYTE_TO_LETTER = _byte_letters()
LETTER_TO_BYTE = {letter: byte for byte, letter in enumerate(BYTE_TO_LETTER)}


def _letters(word: str) -> list[str]:
    return [BYTE_TO_LETTER[byte] for byte in word.encode("utf-8", errors="replace")]


class Tokenizer:
    """A vocabulary and the order in which pieces are merged."""

    def __init__(self, vocabulary: dict[str, int], merges: Sequence[tuple[str, str]]) -> None:
        self.vocabulary = vocabulary
        self.merges = list(merges)
        self._rank = {pair: place for place, pair in enumerate(merges)}
        self._piece = {number: piece for piece, number in vocabulary.items()}
        self._cache: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """Ids of a text; markers like <|end|> inside it stay ordinary text, so nobody can write a turn into a turn."""
        ids: list[int] = []
        for word in _WORDS.findall(text):
            ids += self._word(word)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; special tokens give nothing, broken UTF-8 gives the replacement sign."""
        pieces = "".join(self._piece.get(number, "") for number in ids if number >= len(SPECIALS))
        return bytes(LETTER_TO_BYTE[letter] for letter in pieces).decode("utf-8", errors="replace")

    def _word(self, word: str) -> list[int]:
        known = self._cache.get(word)
        if known is None:
            known = [self.vocabulary[piece] for piece in self._merge(_letters(word))]
            if len(self._cache) < CACHE_WORDS_MAX:
                self._cache[word] = known
        return known

    def _merge(self, pieces: list[str]) -> list[str]:
        never = len(self._rank)
        while len(pieces) > 1:
            rank, at = min((self._rank.get(pair, never), at) for at, pair in enumerate(itertools.pairwise(pieces)))
            if rank == never:
                break
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
        return pieces

    def to_json(self) -> dict[str, Any]:
        """The content of tokenizer.json."""
        marks = ("single_word", "lstrip", "rstrip", "normalized")
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {"id": number, "content": text, **dict.fromkeys(marks, False), "special": True} for number, text in enumerate(SPECIALS)
            ],
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Split", "pattern": {"Regex": WORD}, "behavior": "Isolated", "invert": False},
                    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
                ],
            },
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": self.vocabulary,
                "merges": [list(pair) for pair in self.merges],
            },
        }


def config(length_max: int) -> dict[str, Any]:
    """The content of tokenizer_config.json. No `return_full_text`: Azure's predictor breaks on it."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<unk>",
        "pad_token": "<|endoftext|>",
        "model_max_length": length_max,
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }


def read(path: Path) -> Tokenizer:
    """The tokenizer in a tokenizer.json."""
    try:
        model = json.loads(path.read_text(encoding="utf-8"))["model"]
        return Tokenizer(dict(model["vocab"]), [(str(left), str(right)) for left, right in model["merges"]])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.BrokenModel(f"{path.name} cannot be read as a tokenizer ({type(error).__name__}).") from error


def learn(texts: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """Merge the most frequent neighbours until the vocabulary is full; ties go to the pair that sorts first."""
    counts = collections.Counter(word for text in texts for word in _WORDS.findall(text))
    spelling = _Spelling([(_letters(word), count) for word, count in counts.items()])
    pieces = [*SPECIALS, *BYTE_TO_LETTER]
    merges: list[tuple[str, str]] = []
    while len(pieces) < vocabulary_size and (pair := spelling.most_frequent()) is not None:
        merges.append(pair)
        pieces.append(pair[0] + pair[1])
        spelling.merge(pair)
    return Tokenizer({piece: number for number, piece in enumerate(pieces)}, merges)


class _Spelling:
    """All words as pieces, with the count of every pair of neighbours kept up to date while pairs are merged."""

    def __init__(self, words: list[tuple[list[str], int]]) -> None:
        self._words = [pieces for pieces, _ in words]
        self._counts = [count for _, count in words]
        self._pairs: collections.Counter[tuple[str, str]] = collections.Counter()
        self._where: dict[tuple[str, str], set[int]] = collections.defaultdict(set)
        for number in range(len(words)):
            self._count(number, sign=1)
        self._heap = [(-count, pair) for pair, count in self._pairs.items()]
        heapq.heapify(self._heap)

    def most_frequent(self) -> tuple[str, str] | None:
        """The pair to merge next; None when none occurs twice. Stale entries of the heap are put right on the way."""
        while self._heap:
            negative, pair = heapq.heappop(self._heap)
            count = self._pairs[pair]
            if count == -negative:
                return pair if count > 1 else None
            if count > 0:
                heapq.heappush(self._heap, (-count, pair))
        return None

    def merge(self, pair: tuple[str, str]) -> None:
        """Write the pair as one piece in every word that has it."""
        changed: set[tuple[str, str]] = set()
        for number in sorted(self._where[pair]):
            changed |= self._count(number, sign=-1)
            self._words[number] = _joined(self._words[number], pair)
            changed |= self._count(number, sign=1)
        for other in changed:
            if self._pairs[other] > 0:
                heapq.heappush(self._heap, (-self._pairs[other], other))

    def _count(self, number: int, *, sign: int) -> set[tuple[str, str]]:
        pieces = self._words[number]
        pairs = set()
        for pair in itertools.pairwise(pieces):
            self._pairs[pair] += sign * self._counts[number]
            pairs.add(pair)
            if sign > 0:
                self._where[pair].add(number)
        return pairs


def _joined(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    joined: list[str] = []
    at = 0
    while at < len(pieces):
        if tuple(pieces[at : at + 2]) == pair:
            joined.append(pair[0] + pair[1])
            at += 2
        else:
            joined.append(pieces[at])
            at += 1
    return joined
