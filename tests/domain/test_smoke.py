"""What is asked of a new deployment, what counts as an answer, and that nothing but an answer opens the gate."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.domain import gate, smoke

pytestmark = pytest.mark.light

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.sampled_from(["output", "0"]), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "reply",
    [{"output": "In hall 3."}, [{"0": "In hall 3."}], ["In hall 3."], "In hall 3.", {"output": "  In hall 3.\n"}, [["In hall 3."]]],
    ids=["foundation model server", "records of MLflow", "list of MLflow", "bare text", "with blanks", "nested list"],
)
def test_every_known_shape_of_a_reply_is_read(reply: object) -> None:
    assert smoke.answer_in(reply) == "In hall 3."


@pytest.mark.parametrize(
    "reply",
    [
        {},
        [],
        "",
        "  \n",
        None,
        0,
        7,
        True,
        {"output": ""},
        {"output": None},
        {"output": ["x"]},
        [{}],
        [[]],
        [None, "late"],
        {"error": "no"},
    ],
    ids=json.dumps,
)
def test_a_reply_without_words_is_no_answer_whatever_its_status_was(reply: object) -> None:
    assert smoke.answer_in(reply) == ""


@given(JSON)
@example("\ud800")
@example([{"0": "a\udfff"}])
def test_any_reply_is_read_as_a_text_that_can_be_written_down(reply: object) -> None:
    text = smoke.answer_in(reply)

    assert text.encode().decode() == text == text.strip()


def test_half_a_character_in_an_answer_is_spelt_out_and_the_words_around_it_stay() -> None:
    assert smoke.answer_in({"output": " In hall \ud83d. "}) == "In hall \\ud83d."


def test_a_reply_nested_without_end_is_no_answer_and_no_crash() -> None:
    reply: list[object] = []
    for _ in range(5000):
        reply = [reply]

    assert smoke.answer_in(reply) == ""


def test_the_request_is_a_flat_list_of_turns_with_a_bound_on_the_answer() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is order 3?"}]

    body = smoke.request(messages)

    assert body == {"input_data": {"input_string": messages, "parameters": dict(smoke.REQUEST_PARAMETERS)}}
    assert json.loads(json.dumps(body)) == body
    assert smoke.REQUEST_PARAMETERS["do_sample"] is False


@pytest.mark.parametrize(("smoke_passed", "open_gate"), [(True, True), (False, False), (None, False)])
def test_missing_proof_means_no(smoke_passed: bool | None, open_gate: bool) -> None:
    assert gate.may_take_traffic(gate.Proof(smoke_passed=smoke_passed)) is open_gate


@pytest.mark.parametrize("sign", ["\0", "\u200b", "\ufeff\u2060", "\x1b", "\u202e \u202c", "\ud800", "\x07\n"], ids=ascii)
@pytest.mark.parametrize("shape", [lambda text: {"output": text}, lambda text: [{"0": text}], lambda text: [text], lambda text: text])
def test_an_answer_in_which_there_is_nothing_to_see_is_none(shape: Callable[[str], object], sign: str) -> None:
    assert smoke.answer_in(shape(sign)) == ""
    assert smoke.answer_in(shape(f"{sign}no"))
