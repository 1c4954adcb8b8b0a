"""The chats that the measurements and the planted faults are made of: the same everywhere, and shaped like the data set they stand for."""

from __future__ import annotations

import hashlib
import json
import statistics

import pytest

from bench import chats

pytestmark = pytest.mark.light


def test_a_seed_gives_the_same_bytes_on_every_python_and_machine() -> None:
    written = b"".join(chats.rows(300, seed=7))

    assert hashlib.sha256(written).hexdigest() == "65bac4068e862fc8a3d57992dd7a5c30e3e7af490bf24fb68d8ba7df4845c233"


def test_the_styles_hold_the_same_rows_in_other_bytes() -> None:
    compact, spaced, escaped = ([json.loads(line) for line in chats.rows(50, style=style)] for style in chats.STYLES)

    assert compact == spaced == escaped
    assert len({b"".join(chats.rows(50, style=style)) for style in chats.STYLES}) == 3
    assert b"".join(chats.rows(50, style="escaped")).isascii()
    assert chats.rows(50, style="spaced") == [json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in spaced]


def test_rows_are_as_long_and_as_mixed_as_those_of_ultrachat() -> None:
    written = chats.rows(3_000, seed=3)
    sizes = statistics.quantiles(map(len, written), n=20)
    messages = [json.loads(line)["messages"] for line in written]

    assert sizes[9] == pytest.approx(6_200, rel=0.05)
    assert sizes[18] == pytest.approx(12_300, rel=0.05)
    assert max(map(len, written)) < 35_000
    assert sum(not line.isascii() for line in written) / 3_000 == pytest.approx(0.37, abs=0.03)
    assert statistics.mean(map(len, messages)) == pytest.approx(5.8, abs=0.15)
    assert {len(conversation) for conversation in messages} == {2, 4, 6, 8, 10, 12, 14}


def test_no_two_rows_begin_alike() -> None:
    assert len({json.loads(line)["prompt"] for line in chats.rows(3_000)}) == 3_000


def test_as_many_bytes_are_given_as_were_wanted_and_no_line_is_cut() -> None:
    given = b"".join(chats.blocks(3_000_000, seed=5))

    assert 3_000_000 <= len(given) < 3_000_000 + 35_000
    assert given.splitlines(keepends=True) == chats.rows(given.count(b"\n"), seed=5)
