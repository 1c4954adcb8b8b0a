"""
The hot loop against a plain one: the same rules written as one would read them aloud, over lists and dicts of the standard library.

Not fast, holds everything in memory, and knows nothing of the shipped reader, hash sets, staged files or counting.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import prepare
from shared.domain import conversation
from shared.domain.conversation import Code
from shared.prepare.keys import KeySet
from tests.places import MemoryPlace
from tests.prepare.conftest import source_of

pytestmark = pytest.mark.light

ROLES = ["user", "assistant"] * 3


def plainly(content: bytes, options: prepare.Options) -> dict[str, Any]:
    """What should come out: rows by code and line, and the accepted rows in their order."""
    found: dict[str, list[int]] = {}
    accepted: list[tuple[bytes, bytes]] = []  # normalised prompt, canonical row
    ids, prompts, contents = set(), set(), set()
    rows = 0
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.endswith(b"\r"):
            found.setdefault("crlf", []).append(number)
        if not line.strip(b" \t\r\n\x0b\x0c"):
            if number <= content.count(b"\n") or line:
                found.setdefault("blank_line", []).append(number)
            continue
        rows += 1
        codes, row = _judged(line, options)
        if row is None:
            found.setdefault(codes[0], []).append(number)
            continue
        key = conversation.normalised_prompt(next(m["content"] for m in row["messages"] if m["role"] == "user"))
        written = json.dumps({"messages": row["messages"]}, ensure_ascii=False, separators=(",", ":")).encode()
        if written in contents:
            found.setdefault("dup_content", []).append(number)
            continue
        contents.add(written)
        if key in prompts:
            codes.append("dup_prompt")
        prompts.add(key)
        if row["id"] is not None and row["id"] in ids:
            codes.append("dup_id")
        ids.add(row["id"])
        for code in codes:
            found.setdefault(code, []).append(number)
        accepted.append((key, written))
    return {"rows": rows, "codes": found, "accepted": accepted}


def _judged(line: bytes, options: prepare.Options) -> tuple[list[str], dict[str, Any] | None]:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(items)) != len(items):
            raise RuntimeError
        return dict(items)

    def constant(name: str) -> None:
        raise ValueError(name)

    if len(line) > options.line_bytes_max:
        return ["too_long"], None
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return ["bad_utf8"], None
    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return ["bad_surrogate"], None
    except RuntimeError:
        return ["duplicate_key"], None
    except ValueError:
        return ["bad_json"], None
    codes = []
    fault = conversation.fault_in(value)
    if fault is Code.BAD_NUL:
        for message in value["messages"]:
            message["content"] = message["content"].replace("\0", "")
        fault = conversation.fault_in(value)
        codes.append("nul")
    if fault:
        return [fault.value], None
    if value.get("tools") is not None:
        codes.append("tools")
    if set(value) - {"messages", "prompt", "prompt_id", "tools"} or any(set(m) != {"role", "content"} for m in value["messages"]):
        codes.append("unknown_key")
    messages = [{"role": m["role"], "content": m["content"]} for m in value["messages"]]
    return codes, {"messages": messages, "id": value.get("prompt_id")}


TEXTS = st.sampled_from(
    [
        "hi",
        "Hi!",
        "hi  there",
        "",
        " ",
        "a|b",
        "<|end|>",
        'say "x"',
        "é",
        "日本",
        "\u2028",
        "\0",
        "nul\0here",
        "tab\t",
        "back\\slash",
        "a/b",
        "🎉",
        "x" * 300,
    ]
)
EXTRA: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {}, {}, {"source": "x"}, {"tools": []}, {"prompt": "hi"}, {"prompt": 'a "quoted" one'}, {"prompt_id": 7}]
)
IDS = st.sampled_from([None, None, "1", "2", "3"])
STYLES = st.sampled_from([(", ", ": "), (",", ":"), (",  ", " : ")])
SABOTAGE = st.sampled_from(
    [None] * 12
    + [
        (b'"role"', b'"role":"user","role"'),
        (b"{", b" {"),
        (b"}", b"}}"),
        (b'"', b"'"),
        (b"a", b"\xff"),
        (b'"content"', rb'"c\u006fntent"'),
        (b"i", rb"\u0069"),
        (b"i", rb"\ud800"),
        (b":", b":NaN,"),
    ]
)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    count = draw(st.sampled_from([1, 2, 2, 2, 3, 4]))
    roles = [*(["system"] if draw(st.booleans()) and draw(st.booleans()) else []), *ROLES[:count]]
    flip = draw(st.booleans())
    messages = []
    for role in roles:
        text = draw(TEXTS)
        messages.append({"content": text, "role": role} if flip else {"role": role, "content": text})
    row: dict[str, Any] = {**draw(EXTRA), "messages": messages}
    if (prompt_id := draw(IDS)) is not None:
        row = {"prompt_id": prompt_id} | row
    line = json.dumps(row, ensure_ascii=draw(st.booleans()), separators=draw(STYLES)).encode()
    if sabotage := draw(SABOTAGE):
        line = line.replace(*sabotage, 1)
    return line + draw(st.sampled_from([b"", b"", b"\r", b" "]))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(lines() | st.sampled_from([b"", b"  ", b"null", b"[]"]), st.sampled_from([1, 1, 1, 2, 3])), max_size=14),
    st.sampled_from([b"\n", b""]),
    st.integers(20, 400),
)
def test_the_hot_loop_finds_what_a_plain_one_finds(repeated: list[tuple[bytes, int]], end: bytes, step: int) -> None:
    """Also that rows of a hundred good ones keep their order: these are added so that most files are accepted. A line may stand thrice."""
    drawn = [line for line, times in repeated for _ in range(times)]
    good = [
        json.dumps({"messages": [{"role": "user", "content": f"g{n}"}, {"role": "assistant", "content": "a"}]}).encode() for n in range(12)
    ]
    content = b"\n".join([*drawn, *good]) + end
    options = prepare.Options(bad_rows_max_share=0.99)
    place = MemoryPlace()

    outcome = prepare.prepare([source_of(content, step=step)], place, options=options, workdir=Path("unused"))

    expected = plainly(content, options)
    report = outcome.report
    assert {code: found["count"] for code, found in report["codes"].items()} == {code: len(n) for code, n in expected["codes"].items()}
    for code, found in report["codes"].items():
        assert found["first_lines"] == (expected["codes"][code][:1] if code == "crlf" else expected["codes"][code][:20])
    assert report["rows"] == expected["rows"]
    assert isinstance(outcome, prepare.Prepared)
    sides = {side: place.store[f"out/{side}.jsonl"].splitlines() for side in prepare.SIDES}
    side_of = {key: side for side, rows in sides.items() for row in rows for key in [_key(row)]}
    for side in prepare.SIDES:
        assert sides[side] == [written for key, written in expected["accepted"] if side_of[key] == side]
    assert Counter(row for rows in sides.values() for row in rows) == Counter(written for _, written in expected["accepted"])


def _key(row: bytes) -> bytes:
    return conversation.normalised_prompt(next(m["content"] for m in json.loads(row)["messages"] if m["role"] == "user"))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60_000), st.integers(1, 5))
def test_a_set_of_hashes_knows_what_was_added_and_nothing_else(seed: int, count: int, repeats: int) -> None:
    chance = random.Random(seed)
    known: set[int] = set()
    keys = KeySet()
    for _ in range(min(count, 20_000)):
        key = xxhash.xxh3_64_intdigest(chance.randrange(count // repeats + 1).to_bytes(8, "little"))
        assert keys.add(key) == (key not in known)
        known.add(key)
    assert len(keys) == len(known)
    assert all(key in keys for key in list(known)[:500])
    assert not any(key ^ 1 in keys for key in list(known)[:500] if key ^ 1 not in known)


def test_a_set_of_hashes_stays_right_while_it_grows_and_needs_little() -> None:
    keys = KeySet()
    hashes = [xxhash.xxh3_64_intdigest(n.to_bytes(8, "little")) for n in range(200_000)]
    assert all(keys.add(key) for key in hashes)
    assert not any(keys.add(key) for key in hashes[::7])
    assert not any(keys.add(key) for key in hashes[-1_000:])
    needed = len(keys._slots) + sum(8 * len(found) for found in keys._arrays)

    assert needed < 25 * len(hashes)
