"""The loop that the bench writes out, to show what each rule costs, is the loop that is shipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import _ladder, chats, faults

pytestmark = pytest.mark.light


@pytest.mark.parametrize("style", chats.STYLES)
def test_the_loop_with_all_rules_writes_the_files_that_are_shipped(tmp_path: Path, style: chats.Style) -> None:
    file = tmp_path / "chats.jsonl"
    chats.write(file, 9_000_000, seed=4, style=style)  # more than waits in memory

    written_out = _ladder.loop(_ladder.up_to(""))(file, tmp_path / "a")

    assert written_out == _ladder.shipped(file, tmp_path / "b")
    assert written_out["rows"] > 1_000


def test_every_rung_takes_every_good_row(tmp_path: Path) -> None:
    file = tmp_path / "chats.jsonl"
    file.write_bytes(b"".join(chats.rows(30)))

    taken = {rule: _ladder.loop(_ladder.up_to(rule) - {"files", "sha256"})(file, tmp_path / rule)["rows"] for rule in _ladder.RULES}

    assert taken == dict.fromkeys(_ladder.RULES, 30)


REFUSED_FROM = {
    "json": "bad_role",
    "turns": "bad_alternation",
    "empty": "empty_content",
    "markers": "template_markers",
    "keys": "duplicate_key",
}
FOUND_ELSEWHERE = {  # by the parser, which knows the keys; because the last of two is empty; by the rung of the NUL
    "empty_content: nothing but NUL",
    "duplicate_key: messages, the second empty",
    "duplicate_key: in a value that nobody reads",
    "duplicate_key: a key that nobody reads",
}


@pytest.mark.parametrize(("rule", "code"), REFUSED_FROM.items())
def test_a_fault_is_refused_from_the_rung_of_its_rule_on(tmp_path: Path, rule: str, code: str) -> None:
    kinds = [kind for kind in faults.KINDS if kind.code == code and kind.name not in FOUND_ELSEWHERE]
    content, sheet = faults.plant(kinds, rows=50, seed=5)
    file = tmp_path / "planted.jsonl"
    file.write_bytes(content)
    names = list(_ladder.RULES)

    with_rule = _ladder.loop(_ladder.up_to(rule))(file, tmp_path / "with")["rows"]
    without = _ladder.loop(_ladder.up_to(names[names.index(rule) - 1]))(file, tmp_path / "without")["rows"]

    assert (without, with_rule) == (sheet.rows, sheet.accepted)
