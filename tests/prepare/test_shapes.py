"""Rows of other tools become conversations with their faults in them, and the quick reader never sees more than the strict one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import conversation
from shared.domain.conversation import Code
from shared.prepare.shapes import Shape, quick_shapes, recognised


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


SYSTEM = {"role": "system", "content": "s"}


@pytest.mark.parametrize(
    ("row", "shape", "made"),
    [
        ({"instruction": "a", "input": "", "output": "b"}, Shape.ALPACA, {"messages": turns("a", "b")}),
        ({"instruction": "a", "input": None, "output": "b"}, Shape.ALPACA, {"messages": turns("a", "b")}),
        ({"instruction": "a", "output": "b", "text": "t"}, Shape.ALPACA, {"messages": turns("a", "b"), "text": "t"}),
        ({"instruction": "a", "input": "c", "output": "b"}, Shape.ALPACA, {"messages": turns("a\n\nc", "b")}),
        ({"instruction": "a", "output": "b", "system": "s"}, Shape.ALPACA, {"messages": [SYSTEM, *turns("a", "b")]}),
        (
            {"id": "7", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
            Shape.SHAREGPT,
            {"messages": turns("a", "b"), "prompt_id": "7"},
        ),
        (
            {"conversations": [{"from": "system", "value": "s"}, {"from": "user", "value": "a"}, {"from": "bot", "value": "b"}], "id": 7},
            Shape.SHAREGPT,
            {"messages": [SYSTEM, *turns("a", "b")], "id": 7},
        ),
        ({"conversations": turns("a", "b"), "system": ""}, Shape.SHAREGPT, {"messages": turns("a", "b")}),
        ({"prompt": "a", "completion": " b"}, Shape.PROMPT_COMPLETION, {"messages": turns("a", " b")}),
        ({"question": "a", "answer": "b", "prompt_id": "7"}, Shape.QUESTION_ANSWER, {"messages": turns("a", "b"), "prompt_id": "7"}),
    ],
)
def test_a_row_of_another_tool_becomes_a_conversation(row: dict[str, Any], shape: Shape, made: dict[str, Any]) -> None:
    before = json.dumps(row)

    assert recognised(row) == (shape, made)
    assert conversation.fault_in(recognised(row)[1]) is None
    assert json.dumps(row) == before


@pytest.mark.parametrize(
    "value",
    [
        {"messages": [], "prompt": "a", "completion": "b"},
        {"messages": None, "conversations": []},
        {"prompt": "a"},
        {"instruction": "a"},
        {"instruction": "a", "output": "b", "history": [["c", "d"]]},
        {},
        [],
        "conversations",
        None,
    ],
)
def test_messages_win_and_what_is_of_no_shape_stays_as_it_is(value: object) -> None:
    assert recognised(value) == (Shape.MESSAGES, value)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"instruction": 5, "output": "b"}, Code.BAD_TYPE),
        ({"instruction": "a", "input": ["c"], "output": "b"}, Code.BAD_TYPE),
        ({"instruction": "a", "output": None}, Code.BAD_TYPE),
        ({"instruction": " ", "input": "c", "output": "b"}, Code.EMPTY_CONTENT),
        ({"instruction": "a", "output": "b", "system": {}}, Code.BAD_TYPE),
        ({"prompt": "a", "completion": ""}, Code.EMPTY_CONTENT),
        ({"prompt": "a", "completion": "b<|end|>"}, Code.TEMPLATE_MARKERS),
        ({"question": ["a"], "answer": "b"}, Code.BAD_TYPE),
        ({"conversations": "a"}, Code.BAD_TYPE),
        ({"conversations": None}, Code.BAD_TYPE),
        ({"conversations": []}, Code.EMPTY_MESSAGES),
        ({"conversations": ["a"]}, Code.BAD_TYPE),
        ({"conversations": [{"from": "human"}]}, Code.MISSING_FIELD),
        ({"conversations": [{"value": "a"}]}, Code.MISSING_FIELD),
        ({"conversations": [{"from": "Human", "value": "a"}]}, Code.BAD_ROLE),
        ({"conversations": [{"from": "tool", "value": "a"}]}, Code.BAD_ROLE),
        ({"conversations": [{"from": ["human"], "value": "a"}]}, Code.BAD_TYPE),
        ({"conversations": [{"from": "human", "value": 5}]}, Code.BAD_TYPE),
        ({"conversations": [{"from": "gpt", "value": "b"}, {"from": "human", "value": "a"}]}, Code.BAD_ALTERNATION),
        ({"conversations": [{"from": "human", "value": "a"}]}, Code.BAD_ALTERNATION),
        ({"prompt": "a", "completion": "b", "prompt_id": 7}, Code.BAD_TYPE),
    ],
)
def test_a_fault_inside_another_shape_is_the_fault_of_the_row(row: dict[str, Any], fault: Code) -> None:
    assert conversation.fault_in(recognised(row)[1]) is fault
    assert quick_shapes(json.dumps(row).encode()) is None


# ------------------------------------------------------------------------------------------------------- quick and strict

texts = st.sampled_from(["a", "é", "", " ", "from", "value", '"value"', "input", "system", "<|end|>", "b\n", "\u3000", 'x"from":"y'])
anything = st.none() | st.integers() | texts
said = st.fixed_dictionaries(
    {}, optional={"from": st.sampled_from(["human", "gpt", "system", "User", "bot"]) | anything, "value": anything, "weight": anything}
)
conversations = st.lists(said, max_size=3) | st.builds(
    lambda values: [{"from": ("human", "gpt")[at % 2], "value": value} for at, value in enumerate(values)], st.lists(texts, max_size=4)
)
rows = st.fixed_dictionaries(
    {},
    optional={
        "conversations": conversations,
        **dict.fromkeys(("instruction", "input", "output", "prompt", "completion", "question", "answer", "system"), texts),
        **dict.fromkeys(("id", "prompt_id", "messages", "other"), anything),
    },
)
pairs = st.sampled_from([("instruction", "output"), ("prompt", "completion"), ("question", "answer")]).flatmap(
    lambda keys: st.fixed_dictionaries(dict.fromkeys(keys, texts), optional=dict.fromkeys(("input", "system", "id"), texts))
)
talks = st.fixed_dictionaries({"conversations": conversations}, optional={"system": texts, "id": texts, "prompt_id": texts})


def agrees(line: bytes, row: object, first: Shape) -> bool:
    """Whether the quick reader read it; it must then have read what the strict one reads."""
    quick = quick_shapes(line, first)
    if quick is None:
        return False
    shape, made = recognised(row)
    assert isinstance(made, dict)
    assert conversation.fault_in(made) is None
    assert quick.shape is shape
    assert list(zip(quick.roles, quick.contents, strict=True)) == [(m["role"], m["content"]) for m in made["messages"]]
    assert quick.prompt_id == made.get("prompt_id")
    assert made.keys() <= {"messages", "prompt_id"}
    return True


@given(row=rows | pairs | talks, ascii_only=st.booleans(), blanks=st.booleans(), first=st.sampled_from(Shape))
def test_the_quick_reader_reads_what_the_strict_one_reads_or_nothing(
    row: dict[str, Any], ascii_only: bool, blanks: bool, first: Shape
) -> None:
    agrees(json.dumps(row, ensure_ascii=ascii_only, indent=1 if blanks else None).encode(), row, first)


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "a", "input": "c", "output": "b", "system": "s", "id": "7"},
        {"prompt": "a é", "completion": 'b "so"'},
        {"question": "a", "answer": "b", "prompt_id": "7"},
        {"id": "7", "conversations": [{"from": "human", "value": "a"}, {"value": "b", "from": "chatgpt"}]},
    ],
)
def test_the_quick_reader_reads_what_is_usual(row: dict[str, Any]) -> None:
    for first in Shape:
        assert agrees(json.dumps(row).encode(), row, first)


@pytest.mark.parametrize(
    "line",
    [
        b'{"prompt":"a","completion":"b","prompt":"c"}',
        b'{"prompt":"a","completion":"b","pr\\u006fmpt":"c"}',
        b'{"conversations":[{"from":"human","value":"a","value":"c"},{"from":"gpt","value":"b"}]}',
        b'{"prompt":"a","completion":"\xff"}',
        b'{"prompt":"a","completion":"\\ud800"}',
        b'{"prompt":"a","completion":"b"} x',
        b'{"prompt":"a","completion":"b","x":NaN}',
        b'{"prompt":"a","completion":"b\\u0000<|end|>"}',
    ],
)
def test_what_is_doubtful_is_left_to_the_strict_reader(line: bytes) -> None:
    assert quick_shapes(line) is None
    assert quick_shapes(line, Shape.PROMPT_COMPLETION) is None
