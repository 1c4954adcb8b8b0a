"""The rules of a row, and the sentences that follow from breaking one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import conversation
from shared.domain.conversation import Code, Severity

USER = {"role": "user", "content": "Do you ship to Norway?"}
ASSISTANT = {"role": "assistant", "content": "Yes, in four days."}
SYSTEM = {"role": "system", "content": "You are kind."}
LIMITS = conversation.Limits(line_bytes_max=4_000, context_tokens=500)
ROW_CODES = [code for code in Code if code in conversation._WORDING]


def row(*messages: object, **more: object) -> dict[str, object]:
    return {"messages": list(messages), **more}


@pytest.mark.parametrize(
    "good",
    [
        row(USER, ASSISTANT),
        row(SYSTEM, USER, ASSISTANT),
        row(USER, ASSISTANT, USER, ASSISTANT),
        row(USER, ASSISTANT, prompt="x", prompt_id="y"),
        row(USER, ASSISTANT, tools=None, score=3),
        row(USER, ASSISTANT | {"name": "bot"}),
        row({"role": "user", "content": "\u200b"}, ASSISTANT),
        row({"role": "user", "content": "a <| b |> c"}, ASSISTANT),
    ],
)
def test_a_conversation_has_no_fault(good: dict[str, object]) -> None:
    assert conversation.fault_in(good) is None


@pytest.mark.parametrize(
    ("code", "bad"),
    [
        (Code.BAD_TYPE, [USER, ASSISTANT]),
        (Code.BAD_TYPE, "text"),
        (Code.BAD_TYPE, None),
        (Code.BAD_TYPE, {"messages": USER}),
        (Code.BAD_TYPE, {"messages": None}),
        (Code.BAD_TYPE, row("hi", ASSISTANT)),
        (Code.BAD_TYPE, row({"role": "user", "content": None}, ASSISTANT)),
        (Code.BAD_TYPE, row({"role": "user", "content": ["hi"]}, ASSISTANT)),
        (Code.BAD_TYPE, row({"role": 1, "content": "hi"}, ASSISTANT)),
        (Code.BAD_TYPE, row(USER, ASSISTANT, prompt_id=7)),
        (Code.BAD_TYPE, row(USER, ASSISTANT, prompt=None)),
        (Code.MISSING_FIELD, {"prompt": "x"}),
        (Code.MISSING_FIELD, row({"role": "user"}, ASSISTANT)),
        (Code.MISSING_FIELD, row({"content": "x"}, ASSISTANT)),
        (Code.EMPTY_MESSAGES, row()),
        (Code.BAD_ROLE, row(USER | {"role": "User"}, ASSISTANT)),
        (Code.BAD_ROLE, row(USER, ASSISTANT | {"role": "tool"})),
        (Code.BAD_ROLE, row(USER, ASSISTANT | {"role": "assistant "})),
        (Code.EMPTY_CONTENT, row(USER | {"content": ""}, ASSISTANT)),
        (Code.EMPTY_CONTENT, row(USER, ASSISTANT | {"content": " \u00a0\u3000\u2028\n"})),
        (Code.BAD_ALTERNATION, row(USER)),
        (Code.BAD_ALTERNATION, row(SYSTEM)),
        (Code.BAD_ALTERNATION, row(ASSISTANT, USER)),
        (Code.BAD_ALTERNATION, row(USER, USER)),
        (Code.BAD_ALTERNATION, row(USER, ASSISTANT, USER)),
        (Code.BAD_ALTERNATION, row(SYSTEM, SYSTEM, USER, ASSISTANT)),
        (Code.BAD_ALTERNATION, row(USER, SYSTEM, USER, ASSISTANT)),
        (Code.TEMPLATE_MARKERS, row(USER | {"content": "hi<|end|>"}, ASSISTANT)),
        (Code.TEMPLATE_MARKERS, row(USER, ASSISTANT | {"content": "<|im_start|>system"})),
    ],
)
def test_each_broken_rule_has_its_code(code: Code, bad: object) -> None:
    assert conversation.fault_in(bad) is code


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(conversation.ROLES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["messages", "role", "content", "x"]), inner),
    max_leaves=12,
)


@given(JSON_VALUES)
def test_any_value_gets_a_verdict(value: object) -> None:
    assert conversation.fault_in(value) is None or isinstance(conversation.fault_in(value), Code)


@given(st.lists(st.sampled_from(conversation.ROLES), max_size=7))
def test_no_role_can_be_smuggled_past_the_turns(roles: list[str]) -> None:
    """An independent reading of the rule: a regular expression over the first letters."""
    import re

    letters = "".join(role[0] for role in roles)

    assert conversation.take_turns(roles) == bool(re.fullmatch(r"s?(ua)+", letters))


@pytest.mark.parametrize(("one", "other"), [("Do you ship?", "do you  SHIP"), ("a-b", "AB")])
def test_prompts_that_differ_in_case_and_punctuation_are_twins(one: str, other: str) -> None:
    assert conversation.normalised_prompt(one) == conversation.normalised_prompt(other)


def test_a_prompt_of_punctuation_is_its_own_prompt() -> None:
    assert conversation.normalised_prompt("???") != conversation.normalised_prompt("!")


@pytest.mark.parametrize("code", ROW_CODES)
@pytest.mark.parametrize("count", [1, 2, 17])
def test_every_fault_reads_as_one_sentence_with_lines_and_a_remedy(code: Code, count: int) -> None:
    lines = list(range(3, 3 + min(count, 20)))

    sentence = conversation.about_rows(code, count=count, first_lines=lines, unit="line", limits=LIMITS).sentence

    assert sentence.startswith("Line 3 " if count == 1 else "Lines 3")
    assert sentence.endswith(".")
    assert "; " in sentence


def test_lines_are_named_until_they_are_too_many() -> None:
    def what(count: int) -> str:
        lines = [3, 8, 1200, 1300, 1400][:count]
        complaint = conversation.about_rows(Code.EMPTY_MESSAGES, count=count, first_lines=lines, unit="line", limits=LIMITS)
        return complaint.what

    assert what(1) == "line 3 has no messages"
    assert what(2) == "lines 3 and 8 have no messages"
    assert what(3) == "lines 3, 8 and 1,200 have no messages"
    assert what(5) == "lines 3, 8, 1,200 and 2 more have no messages"


def test_a_copy_is_dropped_without_blame_and_an_unknown_key_is_noted() -> None:
    assert (conversation.severity(Code.DUP_CONTENT), conversation.is_bad(Code.DUP_CONTENT)) == (Severity.DROPPED, False)
    assert (conversation.severity(Code.UNKNOWN_KEY), conversation.is_bad(Code.UNKNOWN_KEY)) == (Severity.NOTED, False)
    assert (conversation.severity(Code.BAD_JSON), conversation.is_bad(Code.BAD_JSON)) == (Severity.DROPPED, True)


def test_blanks_are_those_of_unicode_on_every_python() -> None:
    """The quick reader asks `str.isspace`; ours is the truth, so the two must be one."""
    assert {chr(code) for code in range(0x110000) if chr(code).isspace()} == set(conversation.BLANKS)


def test_a_suffix_from_outside_is_shown_escaped_and_short() -> None:
    sentence = conversation.about_suffix(".\n\u202e" + "x" * 500).sentence

    assert "\n" not in sentence
    assert "\u202e" not in sentence
    assert len(sentence) < 120
