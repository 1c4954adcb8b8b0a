"""Which rows train and validate follows the component's rules, by position and with its rounding."""

from __future__ import annotations

from pathlib import Path

import pytest

from localcloud.azureml import splits


def files(folder: Path, **rows: int) -> dict[str, Path]:
    made = {}
    for name, count in rows.items():
        made[name] = folder / f"{name}.jsonl"
        made[name].write_text("".join(f"{name} {number}\n" for number in range(count)))
    return made


def shape(cut: dict[str, Path]) -> dict[str, list[str]]:
    return {name: [lines[0], lines[-1], str(len(lines))] for name, path in cut.items() if (lines := path.read_text().splitlines())}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"train": 10, "validation": 3, "test": 2}, {"train": 10, "validation": 3, "test": 2}),
        ({"train": 10}, {"train": 8, "validation": 1}),
        ({"train": 11, "test": 4}, {"train": 9, "validation": 2, "test": 4}),
        ({"train": 12, "test": 4}, {"train": 10, "validation": 2, "test": 4}),
        ({"train": 10, "validation": 3}, {"train": 8, "validation": 3}),
        ({"train": 1, "validation": 1}, {"train": 1, "validation": 1}),
    ],
)
def test_rows_are_shared_out_as_the_component_does(tmp_path: Path, given: dict[str, int], expected: dict[str, int]) -> None:
    cut = splits.cut(files(tmp_path, **given), tmp_path / "cut")

    assert {name: len(path.read_text().splitlines()) for name, path in cut.items()} == expected


def test_the_cut_is_by_position_and_keeps_the_suffix(tmp_path: Path) -> None:
    cut = splits.cut(files(tmp_path, train=20, test=3), tmp_path / "cut")

    assert shape(cut) == {
        "train": ["train 0", "train 15", "16"],
        "validation": ["train 16", "train 19", "4"],
        "test": ["test 0", "test 2", "3"],
    }
    assert cut["train"].suffix == ".jsonl"


def test_empty_lines_are_no_rows(tmp_path: Path) -> None:
    given = tmp_path / "train.jsonl"
    given.write_text("\n" * 5 + "a\nb\nc\nd\ne")
    cut = splits.cut({"train": given, "test": given}, tmp_path / "cut")

    assert cut["validation"].read_text() == "e"
