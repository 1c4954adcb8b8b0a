"""
Millions of rows that are almost right, read by the shipped reader and by a strict reference that knows nothing of it.

    python -m tests.prepare.mutants --count 5000000 --jobs 2 --seed 1

A false accept is a row that the reader takes and the reference refuses: it would end a paid job or spoil what a model learns. A false
refusal is the reverse. A differing code is a row that both refuse with another reason, a differing text one that both take and write
differently. All four have to be 0; the exit code is 1 otherwise, and the first of each kind are printed.

Half of the mutants are rows built from pairs of keys and values, because the reader must notice a key that stands twice although
parsers do not tell: keys are repeated, blanks put in and left out, letters escaped; then the line is brought to just the length and
the number of quotes that its meaning has when it is written plainly, so that no sum over the line can give the repetition away. The
others are damaged byte by byte.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from json.encoder import encode_basestring, encode_basestring_ascii
from random import Random
from typing import Any, Final, NamedTuple, NoReturn

Verdict = tuple[str | None, bytes, frozenset[str]]  # code of the fault; or None, the canonical line, and what else was said of it
Pairs = list[tuple[str, Any]]  # an object whose keys may stand twice

SHOWN_MAX: Final = 3  # lines of each kind of mistake
BATCH: Final = 5_000
LINES_A_READER: Final = 60  # a reader learns from the lines before; so do its mistakes end
NOTHING: Final[frozenset[str]] = frozenset()
ROWS_A_HABIT: Final = 3
DAMAGES: Final = 4  # of each row that was built
SEPARATORS: Final = ((", ", ": "), (",", ":"))

# ----------------------------------------------------------------------------------------------------------- the reference

ROLES: Final = {"system", "user", "assistant"}
DEPTH_MAX: Final = 8
BLANKS: Final = frozenset(  # White_Space of Unicode's PropList, and the four separators of information that Python counts too
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
MARKERS: Final = (
    *("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>", "<|im_start|>", "<|im_sep|>", "<|im_end|>"),
    *("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"),
)


class _Seen:
    repeated_key = False  # since it was last reset; an error would end the parse, and what is no JSON behind it is the graver fault


def _pairs(found: Pairs) -> dict[str, Any]:
    made = dict(found)
    if len(made) != len(found):
        _Seen.repeated_key = True
    return made


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _nothing(_digits: str) -> int:
    return 0


_decoder: Final = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_no_constant, parse_int=_nothing, parse_float=_nothing)


def judged(line: bytes) -> Verdict:
    """Say what the rules say, as plainly as can be: the standard library with its gaps closed, then one rule after the other."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return "bad_utf8", b"", NOTHING
    if line.count(b"[") + line.count(b"{") > DEPTH_MAX and deepest(text) > DEPTH_MAX:
        return "too_deep", b"", NOTHING
    _Seen.repeated_key = False
    try:
        row = _decoder.decode(text)
    except (ValueError, RecursionError):
        return "bad_json", b"", NOTHING
    if _Seen.repeated_key:
        return "duplicate_key", b"", NOTHING
    if "\\u" in text and any("\ud800" <= letter <= "\udfff" for letter in json.dumps(row, ensure_ascii=False)):
        return "bad_surrogate", b"", NOTHING
    return _judged_value(row)


def deepest(text: str) -> int:
    """Levels of brackets that are closed again, outside of texts."""
    open_brackets: list[int] = []  # of each: the deepest level inside
    found = at = 0
    while at < len(text):
        letter = text[at]
        if letter == '"':
            end = at + 1
            while end < len(text) and text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            at = end  # a text without an end goes on to the end of the line
        elif letter in "[{":
            open_brackets.append(0)
        elif letter in "]}" and open_brackets:
            level = open_brackets.pop() + 1
            found = max(found, level)
            if open_brackets:
                open_brackets[-1] = max(open_brackets[-1], level)
        at += 1
    return found


def _judged_value(row: Any) -> Verdict:
    if type(row) is not dict:
        return "bad_type", b"", NOTHING
    row = _with_messages(row)
    if "messages" not in row:
        return "missing_field", b"", NOTHING
    messages = row["messages"]
    if type(messages) is not list or any(key in row and type(row[key]) is not str for key in ("prompt", "prompt_id")):
        return "bad_type", b"", NOTHING
    if not messages:
        return "empty_messages", b"", NOTHING
    for message in messages:
        if type(message) is not dict:
            return "bad_type", b"", NOTHING
        if "role" not in message or "content" not in message:
            return "missing_field", b"", NOTHING
        if type(message["role"]) is not str or type(message["content"]) is not str:
            return "bad_type", b"", NOTHING
        if message["role"] not in ROLES:
            return "bad_role", b"", NOTHING
    if any(set(message["content"]) <= BLANKS for message in messages):
        return "empty_content", b"", NOTHING
    turns = [message["role"] for message in messages]
    if turns[0] == "system":
        del turns[0]
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        return "bad_alternation", b"", NOTHING
    if any(marker in message["content"] for message in messages for marker in MARKERS):
        return "template_markers", b"", NOTHING
    notes = {"nul"} if any("\0" in message["content"] for message in messages) else set()
    texts = [message["content"].replace("\0", "") for message in messages]
    if any(set(text) <= BLANKS for text in texts):
        return "empty_content", b"", NOTHING
    if any(marker in text for text in texts for marker in MARKERS):
        return "template_markers", b"", NOTHING
    plain = {"messages": [{"role": message["role"], "content": text} for message, text in zip(messages, texts, strict=True)]}
    if row.get("tools") is not None:
        notes.add("tools")
    if set(row) - {"messages", "prompt", "prompt_id", "tools"} or any(set(message) != {"role", "content"} for message in messages):
        notes.add("unknown_key")
    return None, json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode(), frozenset(notes)


SPEAKERS: Final = {"human": "user", "gpt": "assistant", "bot": "assistant", "chatgpt": "assistant"}


def _with_messages(row: dict[str, Any]) -> dict[str, Any]:
    """A row in another tool's shape as one with messages; what is of no known shape stays as it is."""
    if "messages" in row or row.get("history"):
        return row
    rest = dict(row)
    if "conversations" in row:
        turns = rest.pop("conversations")
        if type(turns) is list:
            turns = [_turn(turn) for turn in turns]
    elif "instruction" in row and "output" in row:
        asked, given = rest.pop("instruction"), rest.pop("input", None)
        if not _says_nothing(given) and type(asked) is str and not set(asked) <= BLANKS:
            asked = f"{asked}\n\n{given}" if type(given) is str else given
        turns = _pair(asked, rest.pop("output"))
    elif "prompt" in row and "completion" in row:
        turns = _pair(rest.pop("prompt"), rest.pop("completion"))
    elif "question" in row and "answer" in row:
        turns = _pair(rest.pop("question"), rest.pop("answer"))
    else:
        return row
    system = rest.pop("system", None)
    if not _says_nothing(system) and type(turns) is list:
        turns = [{"role": "system", "content": system}, *turns]
    if type(rest.get("id")) is str and "prompt_id" not in rest:
        rest["prompt_id"] = rest.pop("id")
    return {"messages": turns} | rest


def _turn(turn: Any) -> Any:
    if type(turn) is not dict or "role" in turn or "content" in turn:
        return turn
    made = {{"from": "role", "value": "content"}.get(key, key): value for key, value in turn.items()}
    if type(made.get("role")) is str:
        made["role"] = SPEAKERS.get(made["role"], made["role"])
    return made


def _pair(asked: Any, answered: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def _says_nothing(value: Any) -> bool:
    return value is None or (type(value) is str and set(value) <= BLANKS)


# ---------------------------------------------------------------------------------------------------------- the shipped one


def shipped() -> Callable[[bytes], Verdict]:
    from shared.prepare import rows
    from shared.prepare.options import Repairs

    reader = rows.Reader(Repairs())

    def read(line: bytes) -> Verdict:
        row = reader.read(line)
        if isinstance(row, rows.Row):
            return None, bytes(reader.written), frozenset(note.value for note in reader.notes)
        return row.value, b"", NOTHING

    return read


# ------------------------------------------------------------------------------------------------------------- the mutants

TEXTS: Final = (
    *("hi", "b", "role", "content", "user", "messages", "prompt_id", '"role":"user",', 'say "yes" or "no"', '""""', "a\\b/c", "hé 🎉"),
    *("{}[]:,", "tab\there", "\u2028", "x" * 40, "\x7f", "<|end|", "one. two, three: four; five", "日本", "line\nline", " padded "),
)
ODD_TEXTS: Final = ("", " ", "\u3000\xa0", "\x00", "<|end|>", "\x1f", "\x85", "\u200b", "\x01\x02", "<|im_end|>")
MORE_KEYS: Final = ("x", "name", "tools", "Role", "", "id", "input", "system", "history", "from", "completion", "conversations", "messages")
ODD_VALUES: Final[tuple[Any, ...]] = (None, 0, 1.5, True, [], {}, ["a"], [[[[[[[[]]]]]]]], {"a": 1})
TOKENS: Final = (
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ", b"\t", b"\r", b"\x00", b"\x0b", b"\x1f", b"\x7f", b"'", b"//", b"{}", b"[]"),
    *(b"NaN", b"-Infinity", b"1e999", b"9" * 5_000, b"-0", b"01", b"1.", b"null", b"true", b"True", b"tool", b"User", b"<|end|>"),
    *(b'\\"', b"\\\\", b"\\/", b"\\x41", b"\\u12", b"\\u0000", b"\\u0022", b"\\u005c", b"\\u006f", b"\\u2028", b"\\u0020", b"\\u00A0"),
    *(
        b"\\ud800",
        b"\\udc00",
        b"\\uD83D",
        b"\\ud83d\\ude00",
        b"\\ude00\\ud83d",
        b"\xed\xa0\x80",
        b"\xed\xa0\xbd\xed\xb8\x80",
        b"\xf4\x90\x80\x80",
    ),
    *(b"\xff", b"\xc0\xaf", b"\xe9", b"\xc3", b"\x80", b"\xc2\xa0", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b'""', b'"",', b"[],", b"{},"),
    *(b'"role":"user",', b',"role":"user"', b'"content":"c",', b'"messages":[],', b'"prompt":"q",', b'"prompt_id":"i",', b'"x":[1],'),
    *(b'"from":"gpt",', b'"value":"v",', b'"output":"o",', b'"id":"i",', b'"system":"s",', b'"input":"",', b'"history":[],'),
    *(b"<|en\\u0000d|>", b"\\u0000\\u0000", b"<|e", b'"x":1,"x":1,', b"[" * 9, b"[" * 9 + b"]" * 9, b'{"role":"user","content":"u"},'),
)
SWAPS: Final = (
    *((b",", b":"), (b":", b","), (b"}", b"]"), (b"]", b"}"), (b'"', b"'"), (b'"', b"\\u0022"), (b'\\"', b'"'), (b'"', b'\\"')),
    *((b'""', b'"'), (b'","', b'" "'), (b": ", b":"), (b", ", b","), (b":", b" : "), (b"}", b"}}"), (b"\\u", b"u"), (b"role", b"Role")),
    *((b"user", b"system"), (b"user", b"assistant"), (b"assistant", b"user"), (b'"role"', b'"r\\u006fle"'), (b'"content"', b'"role"')),
    *(
        (b"messages", b"message"),
        (b"prompt_id", b"prompt"),
        (b'"prompt"', b'"prompt_id"'),
        (b'"role"', b'"content"'),
        (b'"from"', b'"role"'),
        (b"human", b"gpt"),
    ),
)


def mutants(seed: int, count: int) -> Iterator[bytes]:
    """Yield so many lines, the same for the same seed."""
    return itertools.islice(_endless(Random(seed)), count)


class _Habit(NamedTuple):
    """What the lines of one file have in common, as a rule."""

    shape: str
    keys: tuple[str, ...]  # of the row, in order
    role_first: bool
    manner: _Manner


# Shape → the keys of a row, of which the second half may be absent.
SHAPES: Final = {
    "messages": (("messages",), ("prompt", "prompt_id")),
    "sharegpt": (("conversations",), ("system", "id", "prompt_id")),
    "alpaca": (("instruction", "output"), ("input", "system", "id")),
    "completion": (("prompt", "completion"), ("system", "id")),
    "answer": (("question", "answer"), ("id",)),
}


def _habit(chance: Random) -> _Habit:
    draw = chance.random
    shape = "messages" if draw() < 0.75 else tuple(SHAPES)[int(draw() * len(SHAPES))]
    needed, more = SHAPES[shape]
    keys = [*needed, *(key for key in more if draw() < 0.6)]
    chance.shuffle(keys)
    manner = _Manner(chance) if draw() < 0.5 else _Plain(*SEPARATORS[int(draw() * len(SEPARATORS))])
    return _Habit(shape, tuple(keys), draw() < 0.6, manner)


def _endless(chance: Random) -> Iterator[bytes]:
    earlier = b"{}"
    while True:
        habit = _habit(chance)
        for _ in range(ROWS_A_HABIT):
            line = _written(_conversation(chance, habit, odd=0.2)[0], habit.manner).encode()
            yield line
            for _ in range(DAMAGES):
                yield _damaged(line, chance)
            yield line[: int(chance.random() * len(line))] + earlier[int(chance.random() * len(earlier)) :]
            for _ in range(DAMAGES // 2):
                yield _balanced(chance, habit)
            earlier = line


def _damaged(line: bytes, chance: Random) -> bytes:
    """One to three small accidents."""
    draw = chance.random
    spoilt = bytearray(line)
    for _ in range((1, 1, 2, 3)[int(draw() * 4)]):
        at = int(draw() * (len(spoilt) + 1))
        match int(draw() * 5):
            case 0:
                spoilt[at:at] = TOKENS[int(draw() * len(TOKENS))]
            case 1:
                del spoilt[at : at + 1 + int(draw() * 5)]
            case 2:
                spoilt[at : at + 1] = bytes((int(draw() * 256),))
            case 3:  # a piece stands twice, or somewhere else
                piece = spoilt[at : at + 1 + int(draw() * 30)]
                to = int(draw() * (len(spoilt) + 1))
                spoilt[to:to] = piece
            case _:
                old, new = SWAPS[int(draw() * len(SWAPS))]
                found = spoilt.find(old, at)
                if found >= 0:
                    spoilt[found : found + len(old)] = new
    return bytes(spoilt)


def _conversation(chance: Random, habit: _Habit, *, odd: float, turns_min: int = 1) -> tuple[Pairs, list[Any]]:
    """
    A row as pairs, so that any key can stand twice, and its turns, which are pairs too (the row itself where it has none); with chance
    `odd` one thing is wrong.
    """
    draw = chance.random
    roles = ["user", "assistant"] * (turns_min + int(draw() * draw() * 4))
    if draw() < 0.15:
        roles.insert(0, "system")
    role_key, content_key = ("from", "value") if habit.shape == "sharegpt" and draw() < 0.9 else ("role", "content")
    if role_key == "from" and draw() < 0.8:
        roles = [{"user": "human", "assistant": "gpt"}.get(role, role) for role in roles]
    turns: list[Any] = [[(role_key, role), (content_key, TEXTS[int(draw() * len(TEXTS))])] for role in roles]
    if not habit.role_first:
        turns = [turn[::-1] for turn in turns]
    row: Pairs = [(key, _value(key, turns, chance)) for key in habit.keys]
    turns = turns if "messages" in habit.keys or "conversations" in habit.keys else [row]
    if draw() < odd:
        _spoil(row, turns, chance)
    return row, turns


def _value(key: str, turns: list[Any], chance: Random) -> Any:
    draw = chance.random
    if key in ("messages", "conversations"):
        return turns
    if key in ("id", "prompt_id"):
        return ("id", "é", '"')[int(draw() * 3)] + f"{int(draw() * 100)}"
    if key in ("input", "system") and draw() < 0.3:
        return ("", " ", None)[int(draw() * 3)]
    return TEXTS[int(draw() * len(TEXTS))]


def _spoil(row: Pairs, messages: list[Any], chance: Random) -> None:
    draw = chance.random
    message: Pairs = messages[int(draw() * len(messages))]
    spot = int(draw() * 2)
    match int(draw() * 9):
        case 0:
            message[spot] = (message[spot][0], ODD_TEXTS[int(draw() * len(ODD_TEXTS))])
        case 1:
            message[spot] = (message[spot][0], ODD_VALUES[int(draw() * len(ODD_VALUES))])
        case 2:
            at = int(draw() * len(row))
            row[at] = (row[at][0], ODD_VALUES[int(draw() * len(ODD_VALUES))])
        case 3:
            del message[spot]
        case 4:
            del messages[int(draw() * len(messages))]
        case 5:
            messages[int(draw() * len(messages))] = ODD_VALUES[int(draw() * len(ODD_VALUES))]
        case 6:
            pairs = row if draw() < 0.5 else message
            pairs.insert(int(draw() * (len(pairs) + 1)), (MORE_KEYS[int(draw() * len(MORE_KEYS))], "y"))
        case 7:
            chance.shuffle(messages)
        case _:
            _repeat(row, messages, chance)


def _repeat(row: Pairs, messages: list[Any], chance: Random) -> None:
    """A key of the row or of a message stands twice, with the same value, a short one, or another of its kind."""
    draw = chance.random
    pairs: Pairs = row if draw() < 0.4 else messages[int(draw() * len(messages))]
    key, value = pairs[int(draw() * len(pairs))]
    value = (value, "", "", TEXTS[int(draw() * len(TEXTS))], "user", [])[int(draw() * 6)]
    pairs.insert(int(draw() * (len(pairs) + 1)), (key, value))


class _Manner:
    """How a line is spelt: where blanks stand, and which letters are escaped."""

    def __init__(self, chance: Random) -> None:
        draw = chance.random
        self.draw = draw
        self.blanks = ("", " ", None)[int(draw() * 3)]  # behind separators; None: here and there
        self.ascii = draw() < 0.3
        self.escaped = 0.1 if draw() < 0.2 else 0.0  # of all letters
        self.quotes_escaped = draw() if draw() < 0.2 else 0.0  # of the quotes in texts

    def blank(self) -> str:
        if self.blanks is not None:
            return self.blanks
        return ("", "", " ", "  ", "\t")[int(self.draw() * 5)]

    def text(self, text: str) -> str:
        quoted = encode_basestring_ascii(text) if self.ascii else encode_basestring(text)
        if self.quotes_escaped and '"' in text:
            pieces = re.split(r'(\\\\|\\")', quoted)  # a backslash that was written itself cannot escape the quote behind it
            return "".join(r"\u0022" if piece == r"\"" and self.draw() < self.quotes_escaped else piece for piece in pieces)
        if self.escaped and text.isascii():
            spelt = [f"\\u{ord(letter):04x}" if self.draw() < self.escaped else encode_basestring(letter)[1:-1] for letter in text]
            return f'"{"".join(spelt)}"'.replace("/", "\\/")
        return quoted


def _written(value: Any, manner: _Manner) -> str:
    """The line of a row; a list of pairs is an object, any other list a list."""
    if isinstance(value, str):
        return manner.text(value)
    if not isinstance(value, list):
        return json.dumps(value)
    blank = manner.blank
    if value and isinstance(value[0], tuple):
        before = blank() if manner.blanks is None else ""
        return "{" + _joined([f"{manner.text(key)}{before}:{blank()}{_written(inner, manner)}" for key, inner in value], manner) + "}"
    return "[" + _joined([_written(inner, manner) for inner in value], manner) + "]"


def _joined(members: list[str], manner: _Manner) -> str:
    if manner.blanks is not None:
        return ("," + manner.blanks).join(members)
    return manner.blank() + ("," + manner.blank()).join(members)


def _balanced(chance: Random, habit: _Habit) -> bytes:
    """
    A row with a repeated key whose line has the length, and where possible the number of quotes, of its meaning when that is written
    plainly: what the repetition adds is saved at blanks and quotes.
    """
    draw = chance.random
    row, turns = _conversation(chance, habit, odd=0.0, turns_min=2 + int(draw() * 4))  # many separators: each can save a byte
    if draw() < 0.8:
        turn = turns[int(draw() * len(turns))]
        texts = [at for at, (key, value) in enumerate(turn) if key not in ("role", "from") and isinstance(value, str)]
        turn[texts[-1]] = (turn[texts[-1]][0], '"' * (4 + int(draw() * 5)))
    _repeat(row, turns, chance)
    plainly = _written(_meaning(row), _Plain(", " if draw() < 0.9 else ",", ": " if draw() < 0.9 else ":"))
    wanted, quotes = len(plainly.encode()), plainly.count('"')
    line = _written(row, habit.manner if isinstance(habit.manner, _Plain) and draw() < 0.8 else _Plain(*SEPARATORS[int(draw() * 2)]))
    while line.count('"') > quotes and r"\"" in line and draw() < 0.95:
        line = line.replace(r"\"", r"\u0022", 1)
    excess = len(line.encode()) - wanted
    for separator in (", ", ": "):
        saved = min(max(excess, 0), line.count(separator))
        line = line.replace(separator, separator[0], saved)
        excess -= saved
    at = line.find(":") + 1
    return f"{line[:at]}{' ' * -excess}{line[at:]}".encode()


def _meaning(value: Any) -> Any:
    """What a parser makes of it: the last of equal keys, at the place of the first."""
    if not isinstance(value, list):
        return value
    if value and isinstance(value[0], tuple):
        return [(key, _meaning(inner)) for key, inner in dict(value).items()]
    return [_meaning(inner) for inner in value]


class _Plain(_Manner):
    """As json.dumps writes with two separators."""

    def __init__(self, item: str, key: str) -> None:
        self.item, self.key = item, key
        self.blanks = item[1:]
        self.ascii = False
        self.escaped = self.quotes_escaped = 0.0

    def blank(self) -> str:
        return self.key[1:]


# ------------------------------------------------------------------------------------------------------------ the comparison


class Mistakes(NamedTuple):
    lines: int
    accepted: int
    verdicts: Counter[str]
    mistakes: Counter[str]
    shown: dict[str, list[str]]


def compared(seed: int, count: int, new_reader: Callable[[], Callable[[bytes], Verdict]] = shipped) -> Mistakes:
    """Read so many mutants with both; `new_reader` makes what stands in for the shipped reader."""
    verdicts: Counter[str] = Counter()
    mistakes: Counter[str] = Counter()
    shown: dict[str, list[str]] = {}
    read = new_reader()
    for number, line in enumerate(mutants(seed, count)):
        if number % LINES_A_READER == 0:
            read = new_reader()
        wanted, seen = judged(line), read(line)
        verdicts[wanted[0] or "accepted"] += 1
        if wanted != seen:
            kind = _mistake(wanted, seen)
            mistakes[kind] += 1
            if len(examples := shown.setdefault(kind, [])) < SHOWN_MAX:
                examples.append(f"{line[:2_000]!r}: wanted {_said(wanted)}, seen {_said(seen)}")
    return Mistakes(count, verdicts["accepted"], verdicts, mistakes, shown)


def _said(verdict: Verdict) -> str:
    code, written, notes = verdict
    return code or f"{written!r} {sorted(notes)}"


def _mistake(wanted: Verdict, seen: Verdict) -> str:
    if wanted[0] and seen[0]:
        return "differing code"
    if wanted[0]:
        return "false accept"
    return "false refusal" if seen[0] else "differing text"


def searched(count: int, *, jobs: int, seed: int) -> Mistakes:
    """As `compared`, in several processes; the mutants of a seed and a count are the same for any number of jobs."""
    batches = [(seed * 1_000_003 + at, min(BATCH, count - at * BATCH)) for at in range(-(-count // BATCH))]
    total = Mistakes(count, 0, Counter(), Counter(), {})
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for found in pool.imap_unordered(_batch, batches, chunksize=8):
            total = total._replace(accepted=total.accepted + found.accepted)
            total.verdicts.update(found.verdicts)
            total.mistakes.update(found.mistakes)
            for kind, examples in found.shown.items():
                total.shown[kind] = (total.shown.get(kind, []) + examples)[:SHOWN_MAX]
    return total


def _batch(of: tuple[int, int]) -> Mistakes:
    return compared(*of)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.prepare.mutants", description="Search for rows that the reader judges wrongly.")
    parser.add_argument("--count", type=int, default=5_000_000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    began = time.perf_counter()
    found = searched(asked.count, jobs=asked.jobs, seed=asked.seed)
    seconds = time.perf_counter() - began
    said = [f"{found.lines:,} mutants in {seconds:.0f} s ({found.lines / seconds:,.0f} a second), {found.accepted:,} of them right"]
    said += [f"  {code:<18} {number:>10,}" for code, number in found.verdicts.most_common()]
    said += [f"{kind}: {found.mistakes[kind]:,}" for kind in ("false accept", "false refusal", "differing code", "differing text")]
    said += [f"  {kind}: {example}" for kind, examples in found.shown.items() for example in examples]
    sys.stdout.write("\n".join(said) + "\n")
    return 1 if found.mistakes else 0


if __name__ == "__main__":
    sys.exit(main())
