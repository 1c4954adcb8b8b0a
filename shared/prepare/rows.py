"""
A line of bytes becomes a row or the code of its fault, and what becomes a row is strict JSON without exception.

Two readers, one truth: the quick one decodes straight into the shape of a chat and takes only what is beyond doubt; whatever
it does not take goes to the strict one, which alone decides. So the quick one may be as narrow as speed wants, never wider.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, Literal, NoReturn

import msgspec

from shared.domain import conversation
from shared.domain.conversation import Code


class Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Field order is the order in the files that we write."""

    role: Literal["system", "user", "assistant"]
    content: str


class _QuickRow(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    messages: list[Message]
    prompt: str | msgspec.UnsetType = msgspec.UNSET
    prompt_id: str | msgspec.UnsetType = msgspec.UNSET


class _Written(msgspec.Struct, gc=False):
    messages: list[Message]


class Row(msgspec.Struct, gc=False):
    """A conversation that obeys every rule which one row alone can break."""

    messages: list[Message]
    prompt_id: str | None  # None: the file gives none
    has_unknown_keys: bool

    @property
    def first_user_message(self) -> str:
        return next(message.content for message in self.messages if message.role == "user")


_decode_quickly: Final = msgspec.json.Decoder(_QuickRow).decode
_encode: Final = msgspec.json.Encoder().encode


def encoded(row: Row) -> bytes:
    """The canonical line, without its end: {"messages":[{"role":…,"content":…},…]} in UTF-8, nothing else."""
    return _encode(_Written(row.messages))


def read_line(line: bytes) -> Row | Code:
    row = _read_quickly(line)
    return _read_strictly(line) if row is None else row


# ------------------------------------------------------------------------------------------------------- the quick reader

_KEY: Final = re.compile(rb'"(?:role|content|messages|prompt|prompt_id)"')  # a quote inside a JSON string is always escaped
_ESCAPED_LETTER: Final = re.compile(rb"\\u00[567]")  # of a-z and _: only so can a key be spelt differently


def _read_quickly(line: bytes) -> Row | None:
    try:
        read = _decode_quickly(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    messages = read.messages
    if not conversation.take_turns([message.role for message in messages]):
        return None
    for message in messages:
        if conversation.is_empty(message.content) or conversation.has_marker(message.content):
            return None
    if not _names_each_key_once(line, read):
        return None
    return Row(messages, None if read.prompt_id is msgspec.UNSET else read.prompt_id, has_unknown_keys=False)


def _names_each_key_once(line: bytes, read: _QuickRow) -> bool:
    """
    A parser keeps the last of two equal keys and does not tell. Every key that was read stands at least once in the line, so
    an equal number of names means that none stands twice. A text that is itself a name makes more: the strict reader decides.
    """
    keys = 1 + 2 * len(read.messages) + (read.prompt is not msgspec.UNSET) + (read.prompt_id is not msgspec.UNSET)
    return len(_KEY.findall(line)) == keys and not (b"\\u00" in line and _ESCAPED_LETTER.search(line))


# ------------------------------------------------------------------------------------------------------- the strict reader


def _read_strictly(line: bytes) -> Row | Code:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return Code.BAD_UTF8
    if nests_deeper_than(conversation.DEPTH_MAX, line):
        return Code.TOO_DEEP
    parsed = _parse(text)
    if isinstance(parsed, Code):
        return parsed
    return row_of_value(parsed.value)


class _Parsed(msgspec.Struct):
    value: object


def _parse(text: str) -> _Parsed | Code:
    """
    The standard parser with its gaps closed: it would take NaN, keep the last of equal keys and let half a surrogate pair
    through. Numbers are never used, so they are not converted: 1e999 and 5,000 digits cannot do harm.
    """
    repeated = False

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeated
        made = dict(found)
        repeated = repeated or len(made) != len(found)
        return made

    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=_refuse, parse_int=_number, parse_float=_number)
    except (ValueError, RecursionError):
        return Code.BAD_JSON
    if repeated:
        return Code.DUPLICATE_KEY
    if "\\u" in text and not _is_encodable(value):
        return Code.BAD_SURROGATE
    return _Parsed(value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _number(_digits: str) -> int:
    return 0


def _is_encodable(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def row_of_value(value: object) -> Row | Code:
    """For what a strict parser or a table's reader returned."""
    if fault := conversation.fault_in(value):
        return fault
    assert isinstance(value, dict)
    messages: list[dict[str, Any]] = value["messages"]
    unknown = not value.keys() <= {"messages", "prompt", "prompt_id"}
    unknown = unknown or any(message.keys() != {"role", "content"} for message in messages)
    return Row([Message(message["role"], message["content"]) for message in messages], value.get("prompt_id"), unknown)


_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"')
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NOT_A_BRACKET: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")


def nests_deeper_than(levels: int, line: bytes) -> bool:
    """
    Without recursion, because a parser's own limit differs between versions of Python: each round takes away the innermost
    brackets, so [[][[]]] is gone after 3. Brackets that do not pair stay for the parser to refuse.
    """
    brackets = _STRING.sub(b"", line).translate(_SQUARE, delete=_NOT_A_BRACKET)
    for _ in range(levels):
        brackets = brackets.replace(b"[]", b"")
    return b"[]" in brackets
