"""The search for rows that the reader judges wrongly: a short run here, five million with `python -m tests.prepare.mutants`."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.prepare import mutants
from tests.prepare.mutants import Verdict

pytestmark = pytest.mark.light


def test_no_mutant_is_judged_otherwise_than_by_the_strict_reference() -> None:
    found = mutants.compared(seed=1, count=20_000)

    assert not found.mistakes, found.shown
    assert found.accepted > 1_000  # otherwise the mutants say nothing
    assert {"bad_json", "duplicate_key", "bad_utf8", "bad_surrogate", "too_deep", "bad_role", "empty_content"} <= found.verdicts.keys()


def keeps_the_last_key(line: bytes) -> Verdict:
    """A reader that does not look for repeated keys at all."""
    verdict = mutants.judged(line)
    if verdict[0] != "duplicate_key":
        return verdict
    return mutants.judged(json.dumps(json.loads(line)).encode())


def trusts_the_length(line: bytes) -> Verdict:
    """A reader that takes a line without a look for repeated keys when it is as long as its meaning."""
    verdict = mutants.judged(line)
    if verdict[0] == "duplicate_key" and len(line) in {len(plain) for plain in written_plainly(line)}:
        return keeps_the_last_key(line)
    return verdict


def trusts_the_length_and_the_quotes(line: bytes) -> Verdict:
    verdict = mutants.judged(line)
    sums = {(len(plain), plain.count(b'"')) for plain in written_plainly(line)} if verdict[0] == "duplicate_key" else set()
    return keeps_the_last_key(line) if (len(line), line.count(b'"')) in sums else verdict


def written_plainly(line: bytes) -> list[bytes]:
    value = json.loads(line)
    written = [json.dumps(value, ensure_ascii=False, separators=style) for style in mutants.SEPARATORS]
    return [text.encode("utf-8", "surrogatepass") for text in written]


@pytest.mark.parametrize("careless", [keeps_the_last_key, trusts_the_length, trusts_the_length_and_the_quotes])
def test_the_search_finds_a_reader_that_overlooks_a_repeated_key(careless: Callable[[bytes], Verdict]) -> None:
    found = mutants.compared(seed=2, count=2_000, new_reader=lambda: careless)

    assert found.mistakes["false accept"] > 0


def test_the_search_finds_a_reader_that_refuses_what_is_right() -> None:
    def narrow(line: bytes) -> Verdict:
        return ("bad_json", b"", mutants.NOTHING) if b"\\/" in line else mutants.judged(line)

    found = mutants.compared(seed=3, count=3_000, new_reader=lambda: narrow)

    assert found.mistakes["false refusal"] > 0


@pytest.mark.parametrize(
    ("line", "level"),
    [("1", 0), ("[]", 1), ('{"a":[[],[[]]]}', 4), ('["[[[[", "\\"[["]', 1), ("[[[[", 0), ("[[]", 1), ("[]][[]]", 2), ('"[[]]', 0)],
)
def test_the_reference_counts_brackets_that_are_closed_again(line: str, level: int) -> None:
    assert mutants.deepest(line) == level
