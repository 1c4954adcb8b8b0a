"""
Every kind of fault is found at its line under its code, and nothing else is found.

The answer sheet is made while the faults are planted (bench/faults.py), from a list that does not know the checker.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import faults
from shared import prepare
from shared.domain.conversation import Code
from shared.prepare.folder import FolderPlace

pytestmark = pytest.mark.light

FOUND_OTHERWISE = {"byte_order_mark", "prompt_leaks"}  # in the first line alone; across several files


def prepared(folder: Path, content: bytes, **repairs: bool) -> tuple[dict[str, Any], set[tuple[str, int]]]:
    """The report, and (code, line) of everything that it and the quarantine name: a report names the first lines of each code alone."""
    source = prepare.Source(name="planted.jsonl", size=len(content), open=lambda: iter([content]))
    options = prepare.Options(repairs=prepare.Repairs(**repairs))
    report = prepare.prepare([source], FolderPlace(folder), options=options, workdir=folder).report
    dropped = [json.loads(line) for line in (folder / "quarantine.jsonl").read_text(encoding="utf-8").split("\n") if line]
    named = {(code, line) for code, found in report["codes"].items() for line in found["first_lines"]}
    return report, named | {(row["code"], row["line"]) for row in dropped}


@pytest.mark.parametrize("seed", range(6))
def test_planted_faults_are_found_at_their_lines_and_nothing_else_is(tmp_path: Path, seed: int) -> None:
    content, sheet = faults.plant(faults.KINDS, copies=2, seed=seed, byte_order_mark=seed % 2 == 1, last_line_end=seed % 4 > 1)

    report, named = prepared(tmp_path, content)

    assert named == sheet.named()
    assert {code: found["count"] for code, found in report["codes"].items()} == {code: len(at) for code, at in sheet.lines().items()}
    assert (report["rows"], report["accepted"]) == (sheet.rows, sheet.accepted)


def test_a_last_question_without_an_answer_goes_where_the_settings_say_so(tmp_path: Path) -> None:
    content, sheet = faults.plant(faults.REPAIRED_ON_REQUEST, copies=3, seed=7)

    report, named = prepared(tmp_path, content, trailing_user=True)

    assert named == sheet.named()
    assert report["accepted"] == sheet.accepted == sheet.rows


def test_a_nul_is_a_fault_where_the_settings_say_so(tmp_path: Path) -> None:
    content, sheet = faults.plant(faults.DROPPED_ON_REQUEST, copies=3, seed=8)

    report, named = prepared(tmp_path, content, nul=False)

    assert named == sheet.named()
    assert report["accepted"] == sheet.accepted == sheet.rows - len(sheet.answers)


def test_every_code_that_a_row_can_have_is_planted() -> None:
    codes = list(Code)
    of_rows = {code.value for code in codes[: codes.index(Code.EMPTY_FILE)]}

    planted = {kind.code for kind in (*faults.KINDS, *faults.REPAIRED_ON_REQUEST, *faults.DROPPED_ON_REQUEST)} - {None}

    assert planted == of_rows - FOUND_OTHERWISE
