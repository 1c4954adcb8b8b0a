"""
Rows that other tools write are recognised by their keys and turned into {"messages": […]}; what is wrong inside them stays wrong.

Nothing is judged here. A turn whose text is a number, a role that nobody knows, an empty answer: they are passed on as they are, and the
rules of a row find them. `messages` wins: a row that has it is never looked at. Keys that belong to no shape are kept for the rules.

    Alpaca              {"instruction", "output"}, with "input" if there is one, and LLaMA-Factory's "system"
    ShareGPT            {"conversations": [{"from", "value"}, …]}, also with the turns written as {"role", "content"}
    prompt, completion  {"prompt", "completion"}: both text
    question, answer    {"question", "answer"}, as GSM8K and its like have them
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple

import msgspec

from shared.domain import conversation
from shared.domain.structs import learn

BETWEEN: Final = "\n\n"  # an Alpaca instruction and its input


class Shape(StrEnum):
    """How a row is written; the values stand in reports."""

    MESSAGES = "messages"
    SHAREGPT = "sharegpt"
    ALPACA = "alpaca"
    PROMPT_COMPLETION = "prompt_completion"
    QUESTION_ANSWER = "question_answer"


MESSAGES: Final = Shape.MESSAGES

ESCAPED_NUL: Final = b"\\u0000"
ROLES: Final = {  # of ShareGPT and its descendants → ours; exact case, like ours
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "system": "system",
}


def recognised(value: object) -> tuple[Shape, object]:
    """
    The shape and the row as {"messages": […], other keys as they were}. What is of no shape that we know comes back as it is, as
    MESSAGES: the rules will say what it lacks.
    """
    if not isinstance(value, dict) or "messages" in value:
        return MESSAGES, value
    for shape, (keys, turns) in _SHAPES.items():
        if all(key in value for key in keys.needed) and not value.get("history"):  # LLaMA-Factory's earlier turns: not read yet
            return shape, _row(value, turns(value), keys)
    return MESSAGES, value


# ------------------------------------------------------------------------------------------------------- the turns of a shape


class _Keys(NamedTuple):
    needed: tuple[str, ...]
    extra: tuple[str, ...] = ("system",)


def _row(value: Mapping[str, Any], turns: object, keys: _Keys) -> dict[str, Any]:
    if isinstance(turns, list) and not _is_nothing(value.get("system")):
        turns = [{"role": "system", "content": value["system"]}, *turns]
    rest = {key: inner for key, inner in value.items() if key not in keys.needed and key not in keys.extra}
    if isinstance(rest.get("id"), str) and "prompt_id" not in rest:
        rest["prompt_id"] = rest.pop("id")
    return {"messages": turns, **rest}


def _alpaca(value: Mapping[str, Any]) -> object:
    """An input stands below its instruction; without an instruction there is nothing to do with it, so that one stays empty."""
    asked, given = value["instruction"], value.get("input")
    if not _is_nothing(given) and isinstance(asked, str) and not conversation.is_empty(asked):
        asked = f"{asked}{BETWEEN}{given}" if isinstance(given, str) else given
    return _turns(asked, value["output"])


def _sharegpt(value: Mapping[str, Any]) -> object:
    turns = value["conversations"]
    return [_message(turn) for turn in turns] if isinstance(turns, list) else turns


def _message(turn: object) -> object:
    """Also a role that nobody knows is a role: the rules name it. Further keys are kept for the rules too."""
    if not isinstance(turn, dict) or "role" in turn or "content" in turn:
        return turn
    made = {key: inner for key, inner in turn.items() if key not in {"from", "value"}}
    if "from" in turn:
        speaker = turn["from"]
        made["role"] = ROLES.get(speaker, speaker) if isinstance(speaker, str) else speaker
    if "value" in turn:
        made["content"] = turn["value"]
    return made


def _turns(asked: object, answered: object) -> object:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def _is_nothing(value: object) -> bool:
    """Optional texts are often written as null or as an empty text where there is none."""
    return value is None or (isinstance(value, str) and conversation.is_empty(value))


_SHAPES: Final[dict[Shape, tuple[_Keys, Callable[[Mapping[str, Any]], object]]]] = {
    Shape.SHAREGPT: (_Keys(("conversations",)), _sharegpt),
    Shape.ALPACA: (_Keys(("instruction", "output"), ("input", "system")), _alpaca),
    Shape.PROMPT_COMPLETION: (_Keys(("prompt", "completion")), lambda value: _turns(value["prompt"], value["completion"])),
    Shape.QUESTION_ANSWER: (_Keys(("question", "answer")), lambda value: _turns(value["question"], value["answer"])),
}


# ------------------------------------------------------------------------------------------------------- the quick reader


class Quick(NamedTuple):
    """A row that breaks no rule, as the strict way would have read it too."""

    shape: Shape
    roles: tuple[str, ...]
    contents: list[str]
    prompt_id: str | None


Absent = msgspec.UnsetType


class _Common(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    system: str | Absent = msgspec.UNSET
    id: str | Absent = msgspec.UNSET
    prompt_id: str | Absent = msgspec.UNSET


class _Said(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    speaker: Literal["human", "user", "gpt", "assistant", "bot", "chatgpt", "system"] = msgspec.field(name="from")
    value: str


class _ShareGpt(_Common, kw_only=True, gc=False):
    conversations: list[_Said]


class _Alpaca(_Common, kw_only=True, gc=False):
    instruction: str
    output: str
    input: str | Absent = msgspec.UNSET


class _PromptCompletion(_Common, kw_only=True, gc=False):
    prompt: str
    completion: str


class _QuestionAnswer(_Common, kw_only=True, gc=False):
    question: str
    answer: str


learn(_ShareGpt, _Alpaca, _PromptCompletion, _QuestionAnswer)

_QUICK: Final[dict[Shape, tuple[Any, re.Pattern[bytes]]]] = {
    shape: (
        msgspec.json.Decoder(struct),
        re.compile(b'"(?:%b)"' % b"|".join(name.encode() for name in (*struct.__struct_encode_fields__, *more))),
    )
    for shape, struct, more in (
        (Shape.SHAREGPT, _ShareGpt, ("from", "value")),
        (Shape.ALPACA, _Alpaca, ()),
        (Shape.PROMPT_COMPLETION, _PromptCompletion, ()),
        (Shape.QUESTION_ANSWER, _QuestionAnswer, ()),
    )
}
_ESCAPED_LETTER: Final = re.compile(rb"\\u00[567]")  # of a-z and _: only so can a key be spelt differently


def quick_shapes(line: bytes, first: Shape = Shape.SHAREGPT) -> Quick | None:
    """
    The turns of a line in one of the shapes other than messages. None says nothing: whatever is unusual, and whatever breaks a rule, is
    for the strict reader. `first` is tried first; give the shape of the line before.
    """
    if first in _QUICK and (quick := _read(line, first)):
        return quick
    if ESCAPED_NUL in line:  # none of them takes it
        return None
    for shape in _QUICK:
        if shape is not first and (quick := _read(line, shape)):
            return quick
    return None


def _read(line: bytes, shape: Shape) -> Quick | None:
    decoder, names = _QUICK[shape]
    try:
        read = decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    keys = sum(getattr(read, name) is not msgspec.UNSET for name in read.__struct_fields__)
    if isinstance(read, _ShareGpt):
        keys += 2 * len(read.conversations)
    # A parser keeps the last of two equal keys and does not tell. Each key that was read stands in the line at least once, and a quote
    # inside a text is escaped, so an equal number of names means that none stands twice.
    if len(names.findall(line)) != keys or (b"\\u00" in line and _ESCAPED_LETTER.search(line)):
        return None
    if read.id is not msgspec.UNSET and read.prompt_id is not msgspec.UNSET:
        return None  # which of them counts is for the strict reader
    roles, contents = _said(read)
    if read.system is not msgspec.UNSET and not conversation.is_empty(read.system):
        roles, contents = ["system", *roles], [read.system, *contents]
    if conversation.fault_in_turns(roles, contents):
        return None
    given = read.id if read.prompt_id is msgspec.UNSET else read.prompt_id
    return Quick(shape, tuple(roles), contents, None if given is msgspec.UNSET else given)


def _said(read: Any) -> tuple[list[str], list[str]]:
    """(roles, contents)"""
    if isinstance(read, _ShareGpt):
        return [ROLES[turn.speaker] for turn in read.conversations], [turn.value for turn in read.conversations]
    if isinstance(read, _Alpaca):
        asked = read.instruction
        if read.input is not msgspec.UNSET and not conversation.is_empty(read.input) and not conversation.is_empty(asked):
            asked = f"{asked}{BETWEEN}{read.input}"
        return ["user", "assistant"], [asked, read.output]
    asked, answered = (read.prompt, read.completion) if isinstance(read, _PromptCompletion) else (read.question, read.answer)
    return ["user", "assistant"], [asked, answered]
