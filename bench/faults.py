"""
Every fault that a row can have, planted at a known line of a good file; and everything odd that has to be taken.

The answer sheet is written while planting, from this list alone: nothing here asks the checker, nor knows its code. Lines are counted
as editors count them, from 1, blank ones too. A kind is a function from a good row, a dict that it may change, to the bytes of a line.

    python -m bench.faults --rows 2000 --copies 2 planted.jsonl      writes planted.jsonl and planted.answers.json
"""

from __future__ import annotations

import argparse
import codecs
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from bench import chats

Chat = dict[str, Any]  # {"prompt": str, "prompt_id": str, "messages": [{"role": str, "content": str}, ...]}
Spoil = Callable[[Chat], bytes]

LINE_BYTES_MAX: Final = 4 << 20  # the checker's default
FAR_BEYOND_CONTEXT: Final = 100_000  # characters before the first answer: beyond 4,096 tokens by any estimate
ABOUT_THE_CONTEXT: Final = 15_000  # nobody knows without the tokenizer
MARKERS: Final = ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>")
DROPPED: Final = "dropped"
KEPT: Final = "kept"  # as it is, or repaired
NO_ROW: Final = "no row"
CODES_OF_KEPT: Final = frozenset(
    {"dup_id", "dup_prompt", "unknown_key", "tools", "near_context", "nul", "trailing_user", "byte_order_mark", "crlf", "blank_line"}
)


@dataclass(frozen=True, slots=True)
class Kind:
    """One way in which a line is odd."""

    name: str
    code: str | None  # what has to be reported; None: nothing
    spoil: Spoil
    becomes: str  # DROPPED, KEPT or NO_ROW


@dataclass(frozen=True, slots=True)
class Answer:
    line: int  # 1-based
    code: str
    kind: str


@dataclass(slots=True)
class Sheet:
    """What a checker has to find in a planted file, and nothing else."""

    answers: list[Answer] = field(default_factory=list)
    rows: int = 0  # lines that are not blank
    accepted: int = 0

    def lines(self) -> dict[str, list[int]]:
        """All lines of each code, rising."""
        by_code: dict[str, list[int]] = {}
        for answer in self.answers:
            by_code.setdefault(answer.code, []).append(answer.line)
        return by_code

    def named(self) -> set[tuple[str, int]]:
        """(code, line) of all that has to be named; of line ends only the first is."""
        return {(code, line) for code, lines in self.lines().items() for line in (lines[:1] if code == "crlf" else lines)}

    def kinds(self) -> Counter[str]:
        return Counter(answer.kind for answer in self.answers)


def plant(
    kinds: Iterable[Kind], *, rows: int = 300, copies: int = 1, seed: int = 1, byte_order_mark: bool = False, last_line_end: bool = True
) -> tuple[bytes, Sheet]:
    """A file of so many good rows with each kind planted `copies` times at random lines, and its answers."""
    chance = Random(seed)
    planted = [(kind, copy) for kind in kinds for copy in range(copies)]
    good = chats.rows(rows + len(planted), seed=seed, style=chats.STYLES[seed % len(chats.STYLES)])
    spare = good[rows:]  # what a kind spoils stands nowhere else in the file
    places = sorted(range(len(planted)), key=lambda _: chance.random())
    at_row: dict[int, list[int]] = {}
    for place in places:
        at_row.setdefault(1 + int(chance.random() * rows), []).append(place)  # after a good row: copies need an earlier one
    sheet = Sheet([Answer(1, "byte_order_mark", "byte_order_mark")] if byte_order_mark else [])
    out: list[bytes] = []
    for number in range(rows):
        out.append(good[number])
        sheet.rows += 1
        sheet.accepted += 1
        for place in at_row.get(number + 1, ()):
            kind, _ = planted[place]
            earlier = json.loads(good[int(chance.random() * (number + 1))])
            chat = json.loads(spare[place])
            line = kind.spoil(chat | {"earlier": earlier} if kind in COPIES else chat)
            out.append(line + b"\n")
            _answer(sheet, kind, line=len(out))
    content = b"".join(out)
    return codecs.BOM_UTF8 * byte_order_mark + (content if last_line_end else content.removesuffix(b"\n")), sheet


def _answer(sheet: Sheet, kind: Kind, *, line: int) -> None:
    if kind.code is not None:
        sheet.answers.append(Answer(line, kind.code, kind.name))
    sheet.rows += kind.becomes != NO_ROW
    sheet.accepted += kind.becomes == KEPT


# ------------------------------------------------------------------------------------------------------------ small tools


def compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _with(**changes: Any) -> Spoil:
    return lambda chat: compact(chat | changes)


def _message(at: int, **changes: Any) -> Spoil:
    """Change keys of one message."""

    def spoil(chat: Chat) -> bytes:
        chat["messages"][at] |= changes
        return compact(chat)

    return spoil


def _without(key: str, *, of_message: int | None = None) -> Spoil:
    def spoil(chat: Chat) -> bytes:
        del (chat if of_message is None else chat["messages"][of_message])[key]
        return compact(chat)

    return spoil


def _renamed(old: str, new: str) -> Spoil:
    def spoil(chat: Chat) -> bytes:
        chat["messages"][0] = {new if key == old else key: value for key, value in chat["messages"][0].items()}
        return compact(chat)

    return spoil


def _roles(*roles: str) -> Spoil:
    """A conversation of these roles with texts of the row."""

    def spoil(chat: Chat) -> bytes:
        texts = [message["content"] for message in chat["messages"]]
        return compact(chat | {"messages": [{"role": role, "content": texts[at % len(texts)]} for at, role in enumerate(roles)]})

    return spoil


def _raw(what: bytes, *, at: int = 0) -> Spoil:
    """These bytes stand in a message's text, unescaped."""

    def spoil(chat: Chat) -> bytes:
        chat["messages"][at]["content"] += " @@@ and so on"
        return compact(chat).replace(b"@@@", what)

    return spoil


def _also(member: bytes) -> Spoil:
    """The row has one more member at its end."""
    return lambda chat: compact(chat)[:-1] + b"," + member + b"}"


def _whole(line: bytes) -> Spoil:
    return lambda _chat: line


def _edited(edit: Callable[[bytes], bytes]) -> Spoil:
    return lambda chat: edit(compact(chat))


def _twice(key: str) -> Spoil:
    """A message has this key twice."""

    def spoil(chat: Chat) -> bytes:
        message = chat["messages"][1]
        once = compact(message)
        return compact(chat).replace(once, once[:-1] + b"," + compact(key) + b":" + compact(message[key]) + b"}", 1)

    return spoil


def _as_spelt(old: bytes, new: bytes) -> Spoil:
    return _edited(lambda line: line.replace(old, new))


# -------------------------------------------------------------------------------------------------------------- the kinds


def _kinds(code: str, named: dict[str, Spoil]) -> list[Kind]:
    return [Kind(f"{code}: {name}", code, spoil, KEPT if code in CODES_OF_KEPT else DROPPED) for name, spoil in named.items()]


def _dropped() -> list[Kind]:
    bad_json: dict[str, Spoil] = {
        "cut off in a text": _edited(lambda line: line[: len(line) // 2]),
        "cut off before the last bracket": _edited(lambda line: line[:-1]),
        "one bracket too many": _edited(lambda line: line + b"}"),
        "two objects": _edited(lambda line: line + line),
        "single quotes": _edited(lambda line: line.replace(b'"role"', b"'role'")),
        "bare key": _edited(lambda line: line.replace(b'"role"', b"role")),
        "comma before a bracket": _edited(lambda line: line[:-1] + b",}"),
        "comma missing": _edited(lambda line: line.replace(b',"role"', b' "role"').replace(b',"content"', b' "content"')),
        "colon missing": _edited(lambda line: line.replace(b'"role":', b'"role" ', 1)),
        "bracket of the wrong kind": _edited(lambda line: line.replace(b"}]", b"]]", 1)),
        "comment": _edited(lambda line: line + b" // the end"),
        "plain words": _whole(b"and so the story goes on"),
        "NaN": _also(b'"score":NaN'),
        "Infinity": _also(b'"score":-Infinity'),
        "number with a zero before": _also(b'"score":007'),
        "number with a plus": _also(b'"score":+1'),
        "number without digits behind the point": _also(b'"score":1.'),
        "raw tab": _raw(b"a\tb"),
        "raw zero": _raw(b"a\x00b"),
        "raw carriage return": _raw(b"a\rb"),
        "escape that is none": _raw(rb"\x41"),
        "escape of three digits": _raw(rb"\u12g4"),
        "byte order mark in the middle": _edited(lambda line: b"\xef\xbb\xbf" + line),
        "no-break space between": _as_spelt(b'"role":', '"role":\u00a0'.encode()),
        "no-break space alone": _whole("\u00a0".encode()),
        "200,000 brackets": _whole(b"[" * 200_000),
        "True": _also(b'"flag":True'),
    }
    bad_utf8: dict[str, Spoil] = {
        "two bytes that never occur": _raw(b"\xff\xfe"),
        "second byte missing": _raw(b"\xc3\x28"),
        "surrogate as three bytes": _raw(b"\xed\xa0\x80"),
        "surrogate pair as six bytes": _raw(b"\xed\xa0\xbd\xed\xb8\x80"),
        "slash in two bytes": _raw(b"\xc0\xaf"),
        "beyond the last character": _raw(b"\xf4\x90\x80\x80"),
        "Latin-1": _raw("déjà vu".encode("latin-1")),
        "character cut off": _raw("€".encode()[:2], at=1),
        "in a value that nobody reads": _also(b'"source":"caf\xe9"'),
        "in a key": _also(b'"caf\xe9":1'),
        "outside of texts": _as_spelt(b'"messages":', b'"messages":\xff'),
    }
    bad_surrogate: dict[str, Spoil] = {
        "high half alone": _raw(rb"\ud83d"),
        "low half alone": _raw(rb"\uDE00"),
        "halves in the wrong order": _raw(rb"\ude00\ud83d"),
        "two high halves": _raw(rb"\ud83d\ud83d"),
        "high half before a letter": _raw(rb"\ud83dx", at=1),
        "in a value that nobody reads": _also(rb'"source":["\ud83d"]'),
        "in a key": _also(rb'"\udc00":1'),
        "in the prompt": lambda chat: compact(chat | {"prompt": "@@@"}).replace(b"@@@", rb"\ud800"),
    }
    too_deep: dict[str, Spoil] = {
        "9 levels": _also(b'"x":' + b"[" * 8 + b"]" * 8),
        "9 levels of both kinds": _also(b'"x":' + b'{"y":[' * 4 + b"]}" * 4),
        "900 levels": _also(b'"x":' + b"[" * 900 + b"]" * 900),
        "100,000 levels": _whole(b"[" * 100_000 + b"]" * 100_000),
        "in a message": _message(0, x=[[[[[[[1]]]]]]]),
    }
    duplicate_key: dict[str, Spoil] = {
        "content": _twice("content"),
        "role": _twice("role"),
        "messages": lambda chat: compact(chat)[:-1] + b',"messages":' + compact(chat["messages"]) + b"}",
        "messages, the second empty": _also(b'"messages":[]'),
        "prompt": lambda chat: compact(chat)[:-1] + b',"prompt":' + compact(chat["prompt"]) + b"}",
        "prompt_id": _also(b'"prompt_id":"x"'),
        "spelt with an escape": lambda chat: compact(chat).replace(b'"role":', rb'"r\u006fle":"user","role":', 1),
        "in a value that nobody reads": _also(b'"x":{"y":1,"y":2}'),
        "a key that nobody reads": _also(b'"x":1,"x":1'),
    }
    bad_type: dict[str, Spoil] = {
        "row is a list": lambda chat: compact([chat]),
        "row is null": _whole(b"null"),
        "row is a number": _whole(b"12"),
        "row is a text": lambda chat: compact(chat["prompt"]),
        "messages is an object": lambda chat: compact(chat | {"messages": chat["messages"][0]}),
        "messages is a text": lambda chat: compact(chat | {"messages": json.dumps(chat["messages"])}),
        "messages is null": _with(messages=None),
        "message is a text": lambda chat: compact(chat | {"messages": ["user: hello", *chat["messages"]]}),
        "message is null": lambda chat: compact(chat | {"messages": [*chat["messages"], None]}),
        "content is a number": _message(0, content=5),
        "content is null": _message(1, content=None),
        "content is a list of parts": _message(0, content=[{"type": "text", "text": "hello"}]),
        "content is an object": _message(1, content={"text": "hello"}),
        "content is true": _message(1, content=True),
        "role is a number": _message(0, role=1),
        "role is null": _message(0, role=None),
        "prompt is a list": _with(prompt=["hello"]),
        "prompt_id is a number": _with(prompt_id=17),
        "prompt_id is null": _with(prompt_id=None),
    }
    missing_field: dict[str, Spoil] = {
        "nothing at all": _whole(b"{}"),
        "messages": _without("messages"),
        "messages, with another name": lambda chat: compact({"message": chat["messages"], "prompt_id": chat["prompt_id"]}),
        "messages, in capitals": lambda chat: compact({"Messages": chat["messages"], "prompt_id": chat["prompt_id"]}),
        "role": _without("role", of_message=0),
        "content": _without("content", of_message=1),
        "role, in capitals": _renamed("role", "Role"),
        "content, with another name": _renamed("content", "text"),
        "message is empty": lambda chat: compact(chat | {"messages": [{}, *chat["messages"]]}),
    }
    bad_role = {f"{role!r}": _message(0, role=role) for role in ("User", "USER", "user ", "human", "tool", "developer", "function", "")}
    bad_role |= {f"{role!r} answers": _message(1, role=role) for role in ("gpt", "bot", "Assistant", "assistant\n", "аssistant")}
    empty_content: dict[str, Spoil] = {
        "nothing": _message(1, content=""),
        "blanks": _message(0, content="   "),
        "line ends and tabs": _message(1, content="\r\n\t"),
        "no-break and ideographic spaces": _message(0, content="\u00a0\u3000"),
        "separators of Unicode": _message(1, content="\u2028\u2029\u0085\u1680\u2000\u200a\u202f\u205f"),
        "separators of information": _message(1, content="\x1c\x1d\x1e\x1f\x0b\x0c"),
        "nothing but NUL": _message(1, content="\0 \0"),
        "escaped spaces": lambda chat: compact(chat | {"messages": [{"role": "system", "content": "@@@"}, *chat["messages"]]}).replace(
            b"@@@", rb"\u0020\u00A0"
        ),
    }
    bad_alternation: dict[str, Spoil] = {
        "late system": _roles("user", "assistant", "system", "user", "assistant"),
        "system twice": _roles("system", "system", "user", "assistant"),
        "begins with assistant": _roles("assistant", "user", "assistant"),
        "only a user": _roles("user"),
        "only an assistant": _roles("assistant"),
        "only a system": _roles("system"),
        "system and assistant": _roles("system", "assistant"),
        "user twice": _roles("user", "user", "assistant"),
        "assistant twice": _roles("user", "assistant", "assistant"),
        "ends with a user": _roles("user", "assistant", "user"),
        "ends with a user after a system message": _roles("system", "user", "assistant", "user"),
        "answers missing in the middle": _roles("user", "assistant", "user", "user", "assistant"),
    }
    template_markers = {f"{marker} in a text": _raw(marker.encode()) for marker in MARKERS}
    template_markers |= {"escaped": _raw(rb"\u003c|end|\u003e", at=1), "in a system message": lambda chat: _marked_system(chat)}
    too_long: dict[str, Spoil] = {
        "one long answer": _message(1, content="a " * (LINE_BYTES_MAX // 2)),
        "a value that nobody reads": _with(notes="n" * LINE_BYTES_MAX),
        "not even JSON": _whole(b"x" * (LINE_BYTES_MAX + 1)),
    }
    beyond: dict[str, Spoil] = {
        "long question": _message(0, content="why " * (FAR_BEYOND_CONTEXT // 4)),
        "long system message": lambda chat: compact(
            chat | {"messages": [{"role": "system", "content": "note " * (FAR_BEYOND_CONTEXT // 5)}, *chat["messages"]]}
        ),
    }
    found: dict[str, dict[str, Spoil]] = {
        "bad_json": bad_json,
        "bad_utf8": bad_utf8,
        "bad_surrogate": bad_surrogate,
        "too_long": too_long,
        "too_deep": too_deep,
        "duplicate_key": duplicate_key,
        "bad_type": bad_type,
        "missing_field": missing_field,
        "empty_messages": {"empty list": _with(messages=[])},
        "bad_role": bad_role,
        "empty_content": empty_content,
        "bad_alternation": bad_alternation,
        "template_markers": template_markers,
        "beyond_context": beyond,
    }
    return [kind for code, named in found.items() for kind in _kinds(code, named)]


def _marked_system(chat: Chat) -> bytes:
    return compact(chat | {"messages": [{"role": "system", "content": "Be kind.<|end|>"}, *chat["messages"]]})


def _noted() -> list[Kind]:
    found: dict[str, dict[str, Spoil]] = {
        "unknown_key": {
            "of the row": _with(source="forum"),
            "of a message": _message(1, name="Ada"),
            "number beyond all bounds": _also(b'"score":1e999'),
            "number of 5,000 digits": _also(b'"score":' + b"9" * 5_000),
            "nested": _with(meta={"tags": [["a"], []]}),
        },
        "tools": {"an empty list": _with(tools=[]), "with one": _with(tools=[{"type": "function", "function": {"name": "f"}}])},
        "nul": {"in a question": _raw(rb"\u0000"), "in an answer": _raw(rb"\u0000\u0000", at=1)},
        "near_context": {"long question": lambda chat: compact(_asks(chat, chat["prompt"] + " why" * (ABOUT_THE_CONTEXT // 4)))},
        "crlf": {"carriage return at the end": _edited(lambda line: line + b"\r")},
        "blank_line": {"empty": _whole(b""), "blanks": _whole(b" \t ")},
    }
    kinds = [kind for code, named in found.items() for kind in _kinds(code, named)]
    return [Kind(kind.name, kind.code, kind.spoil, NO_ROW) if kind.code == "blank_line" else kind for kind in kinds]


def _right() -> list[Kind]:
    """What looks odd and is right."""
    found: dict[str, Spoil] = {
        "blanks around the object": _edited(lambda line: b" \t" + line + b"  "),
        "blanks between all parts": lambda chat: json.dumps(chat, separators=(" , ", " : ")).encode(),
        "raw separators of Unicode": _raw("a\u2028b\u2029c\u0085d".encode()),
        "escaped emoji": _raw(rb"\ud83d\ude00 \uD83D\uDE00"),
        "raw emoji of several characters": _raw("👩‍🚒👍🏽".encode()),
        "all escapes": _raw(rb"\" \\ \/ \b \f \n \r \t \u007f"),
        "raw delete character": _raw(b"\x7f"),
        "zero-width characters alone": _message(1, content="\u200b\ufeff"),
        "keys as texts": _message(1, content='"role":"content","messages"'),
        "key alone as a text": _message(1, content="role"),
        "brackets as text": _raw(b"[{" * 50),
        "almost a marker": _raw(b"<|user| > <| end |> |>"),
        "key spelt with an escape": _as_spelt(b'"role"', rb'"r\u006fle"'),
        "role spelt with an escape": _as_spelt(b'"user"', rb'"us\u0065r"'),
        "NUL only said": _raw(rb"\\u0000"),
        "half a character only said": _raw(rb"\\ud83d"),
        "system first": lambda chat: compact(chat | {"messages": [{"role": "system", "content": "Be kind."}, *chat["messages"]]}),
        "no prompt": _without("prompt"),
        "no prompt_id": _without("prompt_id"),
        "messages alone": lambda chat: compact({"messages": chat["messages"]}),
        "prompt beside another question": _with(prompt="something else"),
        "empty prompt": _with(prompt=""),
        "other order of keys": lambda chat: compact(dict(reversed(chat.items()))),
        "40 messages": _roles(*("user", "assistant") * 20),
        "tools that are null": _with(tools=None),
        "one letter each": _message(1, content="y"),
    }
    return [Kind(f"right: {name}", None, spoil, KEPT) for name, spoil in found.items()]


def _copied(change: Callable[[Chat, Chat], bytes]) -> Spoil:
    def spoil(chat: Chat) -> bytes:
        return change(chat.pop("earlier"), chat)

    return spoil


def _copies() -> list[Kind]:
    """Rows that are odd only because of an earlier one: (earlier, fresh) → line."""
    found: dict[str, dict[str, Callable[[Chat, Chat], bytes]]] = {
        "dup_content": {
            "the same bytes": lambda earlier, _fresh: compact(earlier),
            "another id": lambda earlier, fresh: compact(earlier | {"prompt_id": fresh["prompt_id"]}),
            "other escapes": lambda earlier, _fresh: compact({"messages": earlier["messages"]}).replace(b"e", rb"\u0065"),
            "other blanks": lambda earlier, _fresh: json.dumps(earlier, separators=(" ,\t", " : ")).encode(),
            "other order of keys": lambda earlier, _fresh: compact(
                {"messages": [dict(reversed(message.items())) for message in earlier["messages"]]}
            ),
        },
        "dup_id": {"another conversation": lambda earlier, fresh: compact(fresh | {"prompt_id": earlier["prompt_id"]})},
        "dup_prompt": {
            "the same question": lambda earlier, fresh: compact(_asks(fresh, earlier["messages"][0]["content"])),
            "shouted": lambda earlier, fresh: compact(_asks(fresh, _shouted(earlier["messages"][0]["content"]))),
            "other punctuation": lambda earlier, fresh: compact(
                _asks(fresh, earlier["messages"][0]["content"].replace(" ", "  ").replace(",", ";").replace(".", "!"))
            ),
        },
    }
    return [
        Kind(f"{code}: {name}", code, _copied(change), KEPT if code in CODES_OF_KEPT else DROPPED)
        for code, named in found.items()
        for name, change in named.items()
    ]


def _asks(chat: Chat, question: str) -> Chat:
    messages: Sequence[Chat] = chat["messages"]
    return {"prompt_id": chat["prompt_id"], "messages": [messages[0] | {"content": question}, *messages[1:]]}


def _shouted(text: str) -> str:
    """ASCII letters only: other alphabets are not folded."""
    return "".join(letter.upper() if letter.isascii() else letter for letter in text)


def _repaired_on_request() -> list[Kind]:
    """What is dropped as bad_alternation unless the settings say that a last question without an answer may go."""
    return _kinds(
        "trailing_user",
        {"after an answer": _roles("user", "assistant", "user"), "after all": _roles("system", *("user", "assistant") * 3, "user")},
    )


def _dropped_on_request() -> list[Kind]:
    """What is repaired unless the settings say that it may not."""
    return _kinds(
        "bad_nul", {"in a question": _raw(rb"\u0000"), "in an answer": _raw(rb"\u0000", at=1), "alone": _message(1, content="\0")}
    )


COPIES: Final = tuple(_copies())
DROPPED_ON_REQUEST: Final = tuple(_dropped_on_request())
REPAIRED_ON_REQUEST: Final = tuple(_repaired_on_request())
KINDS: Final = (*_dropped(), *_noted(), *_right(), *COPIES)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description="Write a file with planted faults, and its answers.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=2_000, help="good rows")
    parser.add_argument("--copies", type=int, default=1, help="of each kind")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    content, sheet = plant(KINDS, rows=asked.rows, copies=asked.copies, seed=asked.seed)
    asked.out.write_bytes(content)
    answers = {"rows": sheet.rows, "accepted": sheet.accepted, "answers": [asdict(answer) for answer in sheet.answers]}
    asked.out.with_suffix(".answers.json").write_text(json.dumps(answers, indent=1) + "\n")
    sys.stderr.write(f"{len(KINDS)} kinds, {len(sheet.answers)} answers\n")


if __name__ == "__main__":
    main()
