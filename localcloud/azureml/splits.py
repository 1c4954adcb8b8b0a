"""
Which rows train, validate and test, when a job does not name all three files: cut by position, unshuffled, as the component does.

Rules and rounding are those of chat_completion_pipeline (azureml-assets, preprocess.py): train alone is cut 80/10/10, train with test 80/20
into train and validation, train with validation 80/20 into train and a test that nobody uses. Three files stay whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def cut(files: Mapping[str, Path], folder: Path) -> dict[str, Path]:
    """
    Return the files `train`, `validation` and, if there is one, `test`; `files` must hold `train`. What is cut off is written to `folder`.

    11 rows without a validation file train on 9 and validate on 2; 12 on 10 and 2.
    """
    if "validation" in files and "test" in files:
        return dict(files)
    lines = [line for line in files["train"].read_bytes().splitlines(keepends=True) if line.strip()]
    at = _share(lines, 80)
    parts = {"train": lines[:at]}
    if "validation" not in files:
        end = len(lines) if "test" in files else _share(lines, 90)
        parts["validation"] = lines[at:end]
    folder.mkdir(parents=True, exist_ok=True)
    suffix = files["train"].suffix
    written = {}
    for name, rows in parts.items():
        written[name] = folder / f"{name}{suffix}"
        written[name].write_bytes(b"".join(rows))
    return {**files, **written}


def _share(lines: list[bytes], percent: int) -> int:
    """Return how many of the lines that many percent are, to the closest whole number (datasets' slicing)."""
    return round(len(lines) * percent / 100)
