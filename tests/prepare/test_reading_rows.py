"""What becomes a row is strict JSON and a conversation; everything else gets a code at its exact line."""

from __future__ import annotations

import json
import random
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import conversation
from shared.domain.conversation import Code
from shared.prepare import Prepared, Refused, Repairs, lines, rows

LINE = '{"prompt":"p","prompt_id":"1","messages":[{"role":"user","content":"hé \\ud83d\\ude00"},{"role":"assistant","content":"b"}]}'


def good(number: int) -> bytes:
    turns = [{"content": f"question {number}", "role": "user"}, {"content": f"answer {number}", "role": "assistant"}]
    return json.dumps({"prompt": f"question {number}", "prompt_id": f"id{number}", "messages": turns}).encode()


def thirty_and(bad: bytes, *, at: int) -> bytes:
    """Good rows around one planted line that has the 1-based number `at`."""
    planted = [good(number) for number in range(30)]
    planted.insert(at - 1, bad)
    return b"\n".join(planted) + b"\n"


def chat(user: str = '"hi"', assistant: str = '"ho"', more: str = "") -> bytes:
    return f'{{"messages":[{{"role":"user","content":{user}}},{{"role":"assistant","content":{assistant}}}]{more}}}'.encode()


def read_line(line: bytes) -> rows.Row | Code:
    return rows.Reader(Repairs()).read(line)


PLANTED: list[tuple[Code, bytes]] = [
    (Code.BAD_JSON, b'{"messages":[{"role":"user"'),
    (Code.BAD_JSON, chat() + b"}"),
    (Code.BAD_JSON, chat() + chat()),
    (Code.BAD_JSON, chat().replace(b'"', b"'")),
    (Code.BAD_JSON, chat(more=',"x":NaN')),
    (Code.BAD_JSON, chat(more=',"x":-Infinity')),
    (Code.BAD_JSON, chat(user='"a\tb"')),
    (Code.BAD_JSON, b'{"messages" []}'),
    (Code.BAD_JSON, b"hello"),
    (Code.BAD_JSON, b"[" * 200_000),
    (Code.BAD_JSON, b"\xef\xbb\xbf" + chat()),  # a byte order mark belongs to the start of the file
    (Code.BAD_JSON, "\u00a0".encode()),
    (Code.BAD_UTF8, chat().replace(b"hi", b"\xff\xfe")),
    (Code.BAD_UTF8, chat().replace(b"hi", b"\xc3\x28")),
    (Code.BAD_UTF8, chat().replace(b"hi", b"\xed\xa0\x80")),
    (Code.BAD_UTF8, "naïve".encode("latin-1").join([b'{"x":"', b'"}'])),
    (Code.BAD_UTF8, chat(more=',"x":"?"').replace(b"?", b"\xe9")),
    (Code.BAD_SURROGATE, chat(user=r'"\ud800"')),
    (Code.BAD_SURROGATE, chat(assistant=r'"\udc00x"')),
    (Code.BAD_SURROGATE, chat(more=r',"x":["\ud83d"]')),
    (Code.TOO_LONG, chat(user=f'"{"a" * 300_000}"')),
    (Code.TOO_DEEP, chat(more=f',"x":{"[" * 8}{"]" * 8}')),
    (Code.TOO_DEEP, chat(more=f',"x":{"[" * 900}{"]" * 900}')),
    (Code.TOO_DEEP, b"[" * 100_000 + b"]" * 100_000),
    (Code.DUPLICATE_KEY, chat(more=',"messages":[]')),
    (Code.DUPLICATE_KEY, chat(more=',"prompt":"a","prompt":"a"')),
    (Code.DUPLICATE_KEY, chat(user='"x","role":"assistant"')),
    (Code.DUPLICATE_KEY, chat(user=r'"x","r\u006fle":"user"')),
    (Code.DUPLICATE_KEY, chat(more=',"x":{"y":1,"y":2}')),
    (Code.BAD_TYPE, b"[1]"),
    (Code.BAD_TYPE, b"null"),
    (Code.BAD_TYPE, chat(user="5")),
    (Code.BAD_TYPE, chat(assistant="null")),
    (Code.BAD_TYPE, chat(more=',"prompt_id":5')),
    (Code.MISSING_FIELD, b"{}"),
    (Code.MISSING_FIELD, b'{"messages":[{"role":"user"}]}'),
    (Code.EMPTY_MESSAGES, b'{"messages":[]}'),
    (Code.BAD_ROLE, chat().replace(b"user", b"User")),
    (Code.BAD_ROLE, chat().replace(b"assistant", b"tool")),
    (Code.EMPTY_CONTENT, chat(user='""')),
    (Code.EMPTY_CONTENT, chat(assistant=r'" \u00a0\u3000"')),
    (Code.BAD_ALTERNATION, chat().replace(b"assistant", b"user")),
    (Code.BAD_ALTERNATION, chat().replace(b"assistant", b"system")),
    (Code.TEMPLATE_MARKERS, chat(user='"<|assistant|>"')),
    (Code.TEMPLATE_MARKERS, chat(user=r'"\u003c|end|>"')),
]


@pytest.mark.parametrize(("code", "bad"), PLANTED, ids=[f"{code}-{at}" for at, (code, _) in enumerate(PLANTED)])
def test_a_planted_fault_is_found_at_its_line(prepared: Callable[..., Any], code: Code, bad: bytes) -> None:
    outcome = prepared(thirty_and(bad, at=7), line_bytes_max=250_000)

    assert isinstance(outcome, Refused)
    assert outcome.code == code
    assert {name: fault["first_lines"] for name, fault in outcome.report["codes"].items()} == {code: [7]}
    assert outcome.sentence.startswith("Line 7 ")


DROPPED_OR_NOTED: list[tuple[Code, bytes, int]] = [
    (Code.DUP_CONTENT, good(2), 30),
    (Code.DUP_CONTENT, good(2).replace(b'"id2"', b'"other"').replace(b"question", rb"quest\u0069on").replace(b": ", b":  "), 30),
    (Code.BEYOND_CONTEXT, chat(user=f'"{"a" * 30_000}"'), 30),
    (Code.NEAR_CONTEXT, chat(user=f'"{"a" * 20_000}"'), 31),
    (Code.NUL, chat(user=r'"a\u0000b"'), 31),
    (Code.TOOLS, chat(more=',"tools":[{"type":"function"}]'), 31),
    (Code.DUP_PROMPT, chat(user='"Question, 3?"'), 31),
    (Code.DUP_ID, good(2).replace(b"answer", b"other answer"), 31),
    (Code.UNKNOWN_KEY, chat(more=',"score":1e999,"digits":' + "9" * 5_000), 31),
]


@pytest.mark.parametrize(("code", "odd", "accepted"), DROPPED_OR_NOTED)
def test_what_harms_nobody_is_reported_and_refuses_nothing(prepared: Callable[..., Any], code: Code, odd: bytes, accepted: int) -> None:
    outcome = prepared(thirty_and(odd, at=9))

    assert isinstance(outcome, Prepared)
    assert outcome.report["accepted"] == accepted
    assert outcome.report["codes"][code]["first_lines"] == [9]


def test_a_repair_that_is_switched_off_makes_the_row_a_bad_one(prepared: Callable[..., Any]) -> None:
    content = thirty_and(chat(user=r'"a\u0000b"'), at=9)
    mended, dropped = prepared(content), prepared(content, repairs=Repairs(nul=False))

    assert {code: found["severity"] for code, found in mended.report["codes"].items()} == {"nul": "repaired"}
    assert isinstance(dropped, Refused)
    assert dropped.report["codes"]["bad_nul"]["first_lines"] == [9]


def test_a_text_of_nothing_but_nul_is_empty(prepared: Callable[..., Any]) -> None:
    assert prepared(thirty_and(chat(user=r'"\u0000"'), at=9)).code == Code.EMPTY_CONTENT


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + thirty_and(b"", at=1),
        thirty_and(b"", at=5).replace(b"\n", b"\r\n"),
        thirty_and(b" \t ", at=5) + b"\n\n",
        thirty_and(b"", at=5).rstrip(b"\n"),
        thirty_and(b"  " + chat() + b" \t", at=5),
        thirty_and(chat(user='"a\u2028b\u2029c\u0085d"'), at=5),
        thirty_and(chat(user=r'"\ud83d\ude00 \u007f"'), at=5),
        thirty_and(chat(user='"\x7f"'), at=5),
        thirty_and(chat(user='"role"', assistant='"content"'), at=5),
        thirty_and(chat(user=r'"\"role\" \\u0065"'), at=5),
        thirty_and(chat(user='"' + "[{" * 50 + '"'), at=5),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_an_odd_file_that_is_right_is_accepted(prepared: Callable[..., Any], content: bytes, step: int) -> None:
    outcome = prepared(content, step=step)

    assert isinstance(outcome, Prepared), outcome.sentence
    assert {found["severity"] for found in outcome.report["codes"].values()} <= {"repaired"}
    assert outcome.report["accepted"] == outcome.report["rows"]


@given(st.binary(max_size=200), st.lists(st.integers(1, 20), min_size=1, max_size=5))
def test_lines_do_not_depend_on_the_chunks(content: bytes, sizes: list[int]) -> None:
    def chunked() -> list[bytes]:
        pieces: list[bytes] = []
        at = 0
        while at < len(content):
            size = sizes[len(pieces) % len(sizes)]
            pieces.append(content[at : at + size])
            at += size
        return pieces

    in_one = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    expected = [(number, line if len(line) <= 8 else None) for number, line in enumerate(in_one, start=1)]
    if expected[-1][1] == b"":
        expected.pop()  # nothing stands behind the last end of line

    assert list(lines.numbered_lines(chunked(), bytes_max=8)) == expected


@pytest.mark.parametrize(("value", "depth"), [(b"1", 0), (b"[]", 1), (b'{"a":[[],[[]]]}', 4), (b'["[[[[", "\\"[["]', 1)])
def test_depth_is_counted_outside_of_texts(value: bytes, depth: int) -> None:
    assert not rows.nests_deeper_than(depth, value)
    assert depth == 0 or rows.nests_deeper_than(depth - 1, value)


def test_quotes_that_never_pair_take_no_time_that_grows_with_their_square() -> None:
    started = time.process_time()
    assert rows.Reader(Repairs()).read(b"[" * 9 + b'\\"' * 50_000) is Code.BAD_JSON
    assert time.process_time() - started < 1  # 3 s when each quote begins a search to the end of the line; 1 ms otherwise


def test_chats_that_grow_longer_and_longer_do_not_fill_the_memory() -> None:
    """Orders of roles that were seen are remembered; of 100 chats with 2,000 turns each they would be 3 MB."""
    reader = rows.Reader(Repairs())
    pair = b'{"role":"user","content":"a"},{"role":"assistant","content":"b"}'
    tracemalloc.start()
    for pairs in range(2_000, 2_100):
        assert isinstance(reader.read(b'{"messages":[' + b",".join([pair] * pairs) + b"]}"), rows.Row)
    reader.read(b"")
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 500_000


# ------------------------------------------------------------------------------------------------------- against an oracle

TOKENS = [
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"NaN", b"1e999", b"null", b"\\u0000", b"\\ud800", b"\\u006f"),
    *(b"\xff", b"\xed\xa0\x80", b"\xc2\x85", b"\xef\xbb\xbf", b'"role":"user",', b'"x":[1],', b'"content":"c",', b" ", b"\t", b"\x00"),
    *(b'"messages":[],', b'"prompt":"q",', b"<|end|>", b"\\", b"tool", b"[[[[[[[[[", b"-Infinity"),
]


def mutants(count: int, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        line = bytearray(LINE.encode())
        for _ in range(chance.choice((1, 1, 2, 3))):
            at = chance.randrange(len(line) + 1)
            match chance.randrange(3):
                case 0:
                    line[at:at] = chance.choice(TOKENS)
                case 1:
                    del line[at : at + chance.randint(1, 5)]
                case _:
                    line[at : at + 1] = bytes([chance.randrange(256)])
        made.append(bytes(line))
    return made


def strictly(line: bytes) -> object:
    """An oracle of the standard library alone: raises whatever it likes for what is not strict JSON."""

    def pairs(found: list[tuple[str, object]]) -> dict[str, object]:
        if len({key for key, _ in found}) != len(found):
            raise ValueError("a key stands twice")
        return dict(found)

    def constant(name: str) -> None:
        raise ValueError(name)

    value = json.loads(line.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def test_no_mutant_is_accepted_that_the_oracle_refuses() -> None:
    """Goal: 0 false accepts, 0 false refusals, equal texts. Method: 12,000 mutants of one row against strict stdlib JSON."""
    accepted = 0
    for line in mutants(12_000, seed=20):
        row = read_line(line)
        try:
            value: Any = strictly(line)
            fault = conversation.fault_in(value)
        except (ValueError, RecursionError):
            assert isinstance(row, Code), line
            continue
        if isinstance(row, Code):
            assert row is Code.TOO_DEEP or row is fault, line
            continue
        if fault is Code.BAD_NUL:
            continue  # repaired
        assert fault is None, line
        plain = [{"role": message["role"], "content": message["content"]} for message in value["messages"]]
        assert json.loads(rows.encoded(row)) == {"messages": plain}, line
        accepted += 1

    assert accepted > 500  # otherwise the mutants say nothing


def test_the_quick_reader_says_what_the_strict_one_says() -> None:
    reader = rows.Reader(Repairs())
    taken = 0
    for line in mutants(12_000, seed=21):
        quick = reader.read_quickly(line)
        if quick is not None:
            taken += 1
            written = bytes(reader.written)
            assert quick == reader.read_strictly(line), line
            assert written == reader.written == rows.encoded(quick), line

    assert taken > 200


def test_canonical_rows_have_fixed_keys_in_fixed_order() -> None:
    row = read_line(b' {"messages": [{"content": "h\\u00e9\\/", "role": "user"}, {"content":"b","x":1,"role":"assistant"}], "y": 2}\r')

    assert isinstance(row, rows.Row)
    assert rows.encoded(row) == '{"messages":[{"role":"user","content":"hé/"},{"role":"assistant","content":"b"}]}'.encode()
