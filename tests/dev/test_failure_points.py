"""docs/failure-points.md answers every point with files and tests that exist, or says what is open."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "failure-points.md").read_text("utf-8")
ANSWERED, _, OPEN = PAGE.partition("## Open")
TEST, FILE = re.compile(r"`(test_\w+)`"), re.compile(r"`(\w+(?:/\w+)+\.py)`")
POINTS = range(1, 41)
pytestmark = pytest.mark.light


def rows(text: str) -> list[list[str]]:
    """Return the cells of each row of the page's tables, without the heads."""
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| ")]
    return [cells for cells in found if cells[0] not in {"#", "condition", "mechanism"}]


def existing() -> set[str]:
    trees = (ast.parse(path.read_text("utf-8")) for path in (ROOT / "tests").glob("**/test_*.py"))
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_test_that_the_page_names_exists() -> None:
    assert sorted(set(TEST.findall(PAGE)) - existing()) == []


def test_every_file_that_the_page_names_exists() -> None:
    assert [file for file in sorted(set(FILE.findall(PAGE))) if not (ROOT / file).is_file()] == []


def test_each_point_is_answered_once_with_a_file_and_a_test() -> None:
    points = [cells for cells in rows(ANSWERED) if len(cells) == 5]

    assert [int(cells[0]) for cells in points] == list(POINTS)
    assert [number for number, *_, where, test in points if not FILE.search(where) or not TEST.search(test)] == []


def test_each_of_the_other_rows_has_a_file_and_a_test() -> None:
    others = [cells for cells in rows(ANSWERED) if len(cells) == 3]

    assert len(others) >= 8 + 4
    assert [what for what, where, test in others if not FILE.search(where) or not TEST.search(test)] == []


def test_what_is_open_belongs_to_a_point_and_says_why() -> None:
    left = rows(OPEN)

    assert left
    assert [cells for cells in left if len(cells) != 3 or not all(cells)] == []
    assert {int(number) for cells in left for number in cells[0].split(",")} <= set(POINTS)
