"""docs/threats.md names tests that exist, and every threat there has a control and a test, or says why not."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "threats.md").read_text("utf-8")
TEST = re.compile(r"`(test_\w+)`")


def rows(text: str, columns: int) -> list[list[str]]:
    """Return the cells of each row of the page's tables with so many columns, without their heads."""
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| ")]
    return [cells for cells in found if len(cells) == columns and cells[0] != "threat"]


def existing() -> set[str]:
    trees = (ast.parse(path.read_text("utf-8")) for path in (ROOT / "tests").glob("**/test_*.py"))
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_test_that_the_page_names_exists() -> None:
    assert sorted(set(TEST.findall(PAGE)) - existing()) == []


def test_every_threat_has_a_control_and_a_test_or_says_why_not() -> None:
    there, _, not_yet = PAGE.partition("## Not here yet")

    assert len(rows(there, 3)) > 30
    assert [cells[0] for cells in rows(there, 3) if not cells[1] or not TEST.search(cells[2])] == []
    assert len(rows(not_yet, 2)) >= 5
    assert all(why for _, why in rows(not_yet, 2))
