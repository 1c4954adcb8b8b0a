"""
Everything that was recorded in this session, held at its end against Microsoft's published resource types.

The emulator and the checker were written by different people from different sources, so what both accept is likely Azure's. This
file runs last (tests/conftest.py); run alone it looks at one exchange of its own, so that it always looks at something.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import recordings as recorded

pytestmark = pytest.mark.light

SAID: dict[str, Any] = {
    "method": "PUT",
    "path": "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/local-workspace/models/m/versions/1",
    "api_version": "2023-08-01-preview",
    "request": {"properties": {"modelType": "mlflow_model", "modelUri": "azureml://jobs/j/outputs/o"}},
    "status": 200,
    "response": None,
}


def written(file: Path, *lines: dict[str, Any]) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return file


def test_whatever_clients_and_emulator_said_in_this_session_agrees_with_microsofts_types(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(recordings.glob("*.jsonl"))
    verdict = recorded.checked([*files, written(tmp_path / "one.jsonl", SAID)], tmp_path)
    with capsys.disabled():
        print(f"\n{recorded.ALONE}" if verdict is None else f"\n{len(files)} recordings: {verdict.said}")

    if verdict is not None:
        assert verdict.findings == 0, verdict.said
        assert verdict.checks > 0


def test_a_request_that_no_azure_would_take_is_found(tmp_path: Path) -> None:
    """The test of the test: a wrong type in a body, and a recording with a query in a path."""
    wrong = {**SAID, "request": {"properties": {**SAID["request"]["properties"], "isArchived": "yes"}}}
    verdict = recorded.checked([written(tmp_path / "wrong.jsonl", wrong, {**SAID, "path": SAID["path"] + "?a=b"})], tmp_path)

    if verdict is None:
        assert not recorded.ORACLE.exists()
    else:
        assert verdict.findings >= 2, verdict.said


def test_what_a_test_asked_wrongly_on_purpose_is_not_held_against_anybody(tmp_path: Path) -> None:
    wrong = {**SAID, "request": {"properties": {"modelUri": 5}}, "status": 400}
    by_hand = written(tmp_path / f"{recorded.BY_HAND}-1.jsonl", wrong)

    assert list(recorded._to_check(by_hand)) == []
    assert list(recorded._to_check(written(tmp_path / "sdk-1.jsonl", wrong))) == [wrong]


def test_a_call_that_a_recording_lacks_is_named(tmp_path: Path) -> None:
    missing = recorded.calls_missing([SAID])

    assert len(missing) == len(recorded.CALLS) - 1
    assert all("PUT /models/" not in call for call in missing)
