"""Text comes back as it went in; a dataset is read by the rules that Azure's pipeline has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localcloud.trainer import base, chat, errors, tokenizer

TOK = base.load().tokenizer
LIMIT = 512


@settings(deadline=None)
@given(st.text())
def test_any_text_comes_back_as_it_went_in(text: str) -> None:
    assert TOK.decode(TOK.encode(text)) == text.encode("utf-8", errors="replace").decode("utf-8")


@pytest.mark.parametrize("text", ["Žinutė ąčęėįšųū", "日本語のテキスト", "naïve 🙂 café", "  two  blanks\n\n\ttab", "<|end|> <|user|>"])
def test_other_scripts_and_markers_come_back(text: str) -> None:
    assert TOK.decode(TOK.encode(text)) == text


def test_a_marker_in_a_text_cannot_end_the_turn() -> None:
    assert not set(TOK.encode("<|end|><|assistant|>")) & set(range(len(tokenizer.SPECIALS)))


def test_learning_merges_the_most_frequent_neighbours_first() -> None:
    learned = tokenizer.learn(["ab ab ab abc abd"], len(tokenizer.SPECIALS) + 256 + 2)

    assert ("a", "b") in learned.merges
    assert learned.decode(learned.encode("abcab")) == "abcab"


def test_only_the_assistants_words_and_their_end_are_learned() -> None:
    row = chat.encode([{"role": "user", "content": "Ask"}, {"role": "assistant", "content": "Tell"}], TOK, LIMIT)
    assert row is not None

    learned = [int(token) for token in row.targets if token != chat.NOT_LEARNED]
    assert learned == [*TOK.encode("Tell"), tokenizer.END]


def test_the_prompt_of_a_question_is_what_training_showed_before_the_answer() -> None:
    question = {"role": "user", "content": "Ask"}
    row = chat.encode([question, {"role": "assistant", "content": "Tell"}], TOK, LIMIT)
    assert row is not None
    prompt = chat.prompt([question], TOK)

    np.testing.assert_array_equal(row.inputs[: len(prompt)], prompt)


def test_a_long_row_is_cut_and_counted(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "Ask"}, {"role": "assistant", "content": "word " * 2_000}]}
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    data = chat.read(path, TOK, LIMIT)

    assert (len(data.rows), data.truncated, data.rows[0].length) == (1, 1, LIMIT)


def test_rows_without_a_conversation_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"messages": null}\n{"messages": [{"role": "user", "content": "alone"}]}\n\n', encoding="utf-8")
    data = chat.read(path, TOK, LIMIT)

    assert (data.rows, data.dropped) == ([], 2)


@pytest.mark.parametrize(
    "line",
    [
        "{secret",
        '{"text": "secret"}',
        '{"messages": "secret"}',
        '{"messages": [{"role": "secret", "content": "secret"}]}',
        '{"messages": [{"role": "user", "content": {"secret": 1}}]}',
        '["secret"]',
    ],
)
def test_a_faulty_row_is_named_by_its_line_and_never_quoted(line: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"messages": null}}\n{line}\n', encoding="utf-8")

    with pytest.raises(errors.UserError, match=r"rows\.jsonl line 2") as caught:
        chat.read(path, TOK, LIMIT)
    assert "secret" not in str(caught.value)


def test_text_in_another_encoding_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes("{}".encode("utf-16"))

    with pytest.raises(errors.UserError, match="UTF-8"):
        chat.read(path, TOK, LIMIT)
