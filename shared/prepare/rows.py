"""
A line of bytes becomes a row or the code of its fault, and what becomes a row is strict JSON without exception.

Two readers, one truth: the quick one decodes straight into the shape of a chat and takes only what is beyond doubt; whatever
it does not take goes to the strict one, which alone decides. So the quick one may be as narrow as speed wants, never wider.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NoReturn

import msgspec

from shared.domain import conversation
from shared.domain.conversation import Code
from shared.domain.structs import learn
from shared.prepare import shapes, styles
from shared.prepare.options import Repairs
from shared.prepare.shapes import MESSAGES, Shape
from shared.prepare.styles import Style

STYLES_SOUGHT_MAX: Final = 50  # in one file; its lines look alike or they do not
PATTERNS_KNOWN_MAX: Final = 1_000  # of roles; a file of ever longer chats must not fill the memory
PATTERN_MESSAGES_MAX: Final = 200  # of one that is remembered: checking takes no longer than looking it up


class Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Field order is the order in the files that we write."""

    role: Literal["system", "user", "assistant"]
    content: str


class Row(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A conversation that obeys every rule which one row alone can break."""

    messages: list[Message]
    prompt: str | msgspec.UnsetType = msgspec.UNSET
    prompt_id: str | msgspec.UnsetType = msgspec.UNSET

    @property
    def first_user_message(self) -> str:
        first = self.messages[0]
        return (self.messages[1] if first.role == "system" else first).content


class _Written(msgspec.Struct, gc=False):
    messages: list[Message]


learn(Row)
_decode: Final = msgspec.json.Decoder(Row).decode
_encode: Final = msgspec.json.Encoder().encode


def encoded(row: Row) -> bytes:
    """The canonical line, without its end: {"messages":[{"role":…,"content":…},…]} in UTF-8, nothing else."""
    return _encode(_Written(row.messages))


class Reader:
    """Reads line after line. Not for two threads at once: both would write into its buffer."""

    def __init__(self, repairs: Repairs) -> None:
        self.written = bytearray()  # the canonical line of the last row, as `encoded` gives it
        self.notes: tuple[Code, ...] = ()  # what else there is to say of the last row
        self.roles: tuple[str, ...] = ()  # of the last row's messages
        self.shape: Shape = MESSAGES  # of the last row
        self._repairs = repairs
        self._taking_turns: set[tuple[str, ...]] = set()  # seen, and right
        self._encode_into = msgspec.json.Encoder().encode_into
        self._style: Style | None = None  # of the lines that are not in the shortest form
        self._styles_sought = 0

    def read(self, line: bytes) -> Row | Code:
        if self.shape is MESSAGES:
            row = self.read_quickly(line)
        else:
            row = self._read_shape_quickly(line) or self.read_quickly(line)
        return row or self.read_strictly(line)

    def row_of_value(self, value: object) -> Row | Code:
        """For what is decoded already, by a parser that is as strict."""
        row = self._judged(value)
        if isinstance(row, Row):
            self.roles = tuple([message.role for message in row.messages])
            self._encode_into(_Written(row.messages), self.written)
        return row

    # --------------------------------------------------------------------------------------------------- the quick reader

    def read_quickly(self, line: bytes) -> Row | None:
        """The row and its canonical bytes, None when anything at all is unusual."""
        try:
            row = _decode(line)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        messages = row.messages
        roles = tuple([message.role for message in messages])
        if roles not in self._taking_turns and not self._take_turns(roles):
            return None
        for message in messages:
            content = message.content
            if not content or content.isspace() or "\0" in content:
                return None
        written = self.written
        self._encode_into(_Written(messages), written)
        if b"|" in written and b"<|" in written:  # one byte is found ten times as fast as two
            return None
        if not self._names_each_key_once(line, row, roles):
            return None
        self.roles = roles
        self.notes = ()
        self.shape = MESSAGES
        return row

    def _read_shape_quickly(self, line: bytes) -> Row | None:
        """The same for rows in another shape; tried once the strict reader has seen one."""
        quick = shapes.quick_shapes(line, self.shape)
        if quick is None:
            return None
        messages = [Message(role, content) for role, content in zip(quick.roles, quick.contents, strict=True)]  # type: ignore[arg-type]  # the shape names no other role
        self._encode_into(_Written(messages), self.written)
        self.roles, self.notes, self.shape = quick.roles, (), quick.shape
        return Row(messages, msgspec.UNSET, msgspec.UNSET if quick.prompt_id is None else quick.prompt_id)

    def _take_turns(self, roles: tuple[str, ...]) -> bool:
        right = conversation.take_turns(roles)
        if right and len(self._taking_turns) < PATTERNS_KNOWN_MAX and len(roles) <= PATTERN_MESSAGES_MAX:
            self._taking_turns.add(roles)
        return right

    def _names_each_key_once(self, line: bytes, row: Row, roles: tuple[str, ...]) -> bool:
        """Whether it is proven; a parser keeps the last of two equal keys and does not tell. Three proofs, the cheapest first."""
        written = self.written
        lengths: dict[str, int] = {}  # of the JSON texts of prompt and prompt_id, without their quotes
        known = len(written)
        if row.prompt is not msgspec.UNSET:
            lengths["prompt"] = length = len(_encode(row.prompt)) - 2
            known += _PROMPT_BYTES + length
        if row.prompt_id is not msgspec.UNSET:
            lengths["prompt_id"] = length = len(_encode(row.prompt_id)) - 2
            known += _PROMPT_ID_BYTES + length
        if len(line) - known < _SECOND_KEY_BYTES:  # `written` is the shortest way to write what was read: no room for a second key
            return True
        if self._style and self._style.explains(line, roles, written, lengths):
            return True
        if self._styles_sought < STYLES_SOUGHT_MAX:
            self._styles_sought += 1
            if other := styles.found(line, roles, written, lengths):
                self._style = other
                return True
        return has_no_other_text(line, row, written)

    # --------------------------------------------------------------------------------------------------- the strict reader

    def read_strictly(self, line: bytes) -> Row | Code:
        """The truth about any line, at a tenth of the speed."""
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return Code.BAD_UTF8
        if nests_deeper_than(conversation.DEPTH_MAX, line):
            return Code.TOO_DEEP
        parsed = _parse(text)
        return parsed if isinstance(parsed, Code) else self.row_of_value(parsed.value)

    def _judged(self, value: object) -> Row | Code:
        shape, value = shapes.recognised(value)
        value, fault, notes = _repaired(value, self._repairs)
        if fault:
            return fault
        assert isinstance(value, dict)
        if value.get("tools") is not None:
            notes.append(Code.TOOLS)
        messages: list[dict[str, Any]] = value["messages"]
        if not value.keys() <= {"messages", "prompt", "prompt_id", "tools"} or any(m.keys() != {"role", "content"} for m in messages):
            notes.append(Code.UNKNOWN_KEY)
        self.notes = tuple(notes)
        self.shape = shape
        made = [Message(message["role"], message["content"]) for message in messages]
        return Row(made, value.get("prompt", msgspec.UNSET), value.get("prompt_id", msgspec.UNSET))


def _repaired(value: object, repairs: Repairs) -> tuple[object, Code | None, list[Code]]:
    """The value after what may be mended in it, the fault that is left, and what was mended; each repair is done once at most."""
    mended: list[Code] = []
    while fault := conversation.fault_in(value):
        if not isinstance(value, dict):
            return value, fault, []
        if fault is Code.BAD_NUL and repairs.nul:
            messages = [{**message, "content": message["content"].replace(conversation.NUL, "")} for message in value["messages"]]
            mended.append(Code.NUL)
        elif fault is Code.BAD_ALTERNATION and repairs.trailing_user and _ends_unanswered(value["messages"]):
            messages = value["messages"][:-1]
            mended.append(Code.TRAILING_USER)
        else:
            return value, fault, []
        value = {**value, "messages": messages}
    return value, None, mended


def _ends_unanswered(messages: Sequence[Mapping[str, str]]) -> bool:
    return messages[-1]["role"] == "user" and len(messages) > 1 and messages[-2]["role"] == "assistant"


# Bytes of the shortest texts that hide something: a second key, which the parser passes over without a word …
_SECOND_KEY_BYTES: Final = len(b'"prompt":"",')
# … and a second key together with two quotes spelt as \u0022 elsewhere, each four bytes longer than \".
_HIDDEN_KEY_BYTES: Final = len(b'"messages":[],') + 2 * 4
_PROMPT_BYTES: Final = len(b'"prompt":"",')
_PROMPT_ID_BYTES: Final = len(b'"prompt_id":"",')
_ROW_QUOTES: Final = 2  # of the canonical row, around "messages"
_MESSAGE_QUOTES: Final = 8


def has_no_other_text(line: bytes, row: Row, written: bytearray) -> bool:
    """
    Whether the line has as many quotes as what was read of it: inside a text they stand escaped, so it has no further text in it then,
    and a key is one. Only quotes spelt as number escapes could make up for those of a key; these are looked for where texts have quotes.
    """
    in_messages = written.count(b'"')
    in_texts = in_messages - _ROW_QUOTES - _MESSAGE_QUOTES * len(row.messages)
    quotes = in_messages
    for text in (row.prompt, row.prompt_id):
        if text is not msgspec.UNSET:
            in_text = text.count('"')
            in_texts += in_text
            quotes += 4 + in_text
    if line.count(b'"') != quotes:
        return False
    return in_texts < 2 or len(line) - len(written) < _HIDDEN_KEY_BYTES or b"\\u0022" not in line


# ------------------------------------------------------------------------------------------------------- strict JSON


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
    if ("\\ud" in text or "\\uD" in text) and not _is_encodable(value):  # U+D800 to U+DFFF
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


# A text that does not end goes to the end of the line: a search that began anew at each of its quotes would never be done.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NOT_A_BRACKET: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")


def nests_deeper_than(levels: int, line: bytes) -> bool:
    """
    Without recursion, because a parser's own limit differs between versions of Python: each round takes away the innermost
    brackets, so [[][[]]] is gone after 3. Brackets that do not pair stay for the parser to refuse.
    """
    if line.count(b"[") + line.count(b"{") <= levels:
        return False
    brackets = _STRING.sub(b"", line).translate(_SQUARE, delete=_NOT_A_BRACKET)
    for _ in range(levels):
        brackets = brackets.replace(b"[]", b"")
    return b"[]" in brackets
