"""All tests run in two lanes, one beside the other: nothing is left out, and either lane can fail the whole."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import dev

pytestmark = pytest.mark.light
ECHO = "import os, sys; print('lane', *sys.argv[1:], os.environ.get('TUNELOOP_TRAFFIC')); sys.exit(3 if {failing!r} in sys.argv else 0)"


def both(failing: str) -> int:
    return dev.run_two_lanes([sys.executable, "-c", ECHO.format(failing=failing)])


def test_every_folder_of_tests_is_in_one_lane_and_the_other_leaves_it_out(capfd: pytest.CaptureFixture[str]) -> None:
    both("nothing")
    rest, waiting = (line.split() for line in capfd.readouterr().out.splitlines() if line.startswith("lane"))

    assert {word.removeprefix("--ignore=") for word in rest if word.startswith("--ignore=")} == set(dev.WAITING)
    assert set(dev.WAITING) <= set(waiting)
    assert all((dev.ROOT / part).exists() for part in dev.WAITING)


@pytest.mark.parametrize(("failing", "code"), [("nothing", 0), ("tests/loop", 3), ("--ignore=tests/loop", 3)])
def test_a_lane_that_fails_fails_the_whole(failing: str, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert both(failing) == code
    assert capfd.readouterr().out.count("lane ") == 2


def test_each_lane_records_into_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TUNELOOP_TRAFFIC", str(tmp_path))
    both("nothing")

    folders = [line.split()[-1] for line in capfd.readouterr().out.splitlines() if line.startswith("lane")]
    assert folders == [str(tmp_path / "rest"), str(tmp_path / "waiting")]
