"""
Every kind of fault is found at its line under its code, and nothing else is found.

The answer sheet is made while the faults are planted (bench/faults.py), from a list that does not know the checker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench import faults
from shared.domain.conversation import Code

pytestmark = pytest.mark.light

KNOWN = {code.value for code in Code} | {None}
KINDS = [kind for kind in faults.KINDS if kind.code in KNOWN]
PARTS = 3  # so that no code has more lines than a report names


@pytest.mark.parametrize("seed", range(2 * PARTS))
def test_planted_faults_are_found_at_their_lines_and_nothing_else_is(prepared: Callable[..., Any], seed: int) -> None:
    marked = "byte_order_mark" in KNOWN and seed % 2 == 1
    content, sheet = faults.plant(KINDS[seed % PARTS :: PARTS], seed=seed, byte_order_mark=marked, last_line_end=seed % 4 > 1)

    report = prepared(content).report

    assert {code: found["first_lines"] for code, found in report["codes"].items()} == sheet.lines()
    assert {code: found["count"] for code, found in report["codes"].items()} == {code: len(n) for code, n in sheet.lines().items()}
    assert (report["rows"], report["accepted"]) == (sheet.rows, sheet.accepted)


def test_all_kinds_at_once_are_counted_right(prepared: Callable[..., Any]) -> None:
    content, sheet = faults.plant(KINDS, rows=100, copies=2, seed=99)

    report = prepared(content, step=100_000).report

    assert {code: found["count"] for code, found in report["codes"].items()} == {code: len(n) for code, n in sheet.lines().items()}
    assert (report["rows"], report["accepted"]) == (sheet.rows, sheet.accepted)


def test_every_code_that_one_row_can_have_is_planted() -> None:
    codes = list(Code)
    of_rows = codes[: codes.index(Code.EMPTY_FILE)]

    assert {code.value for code in of_rows} <= {kind.code for kind in faults.KINDS}
