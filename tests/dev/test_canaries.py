"""A secret that any test of the run tells, in a log, a record, its output or a child's, fails that run and is named by its test."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFTEST = """
from tests.canaries import Listener

def pytest_configure(config):
    config.pluginmanager.register(Listener(), "canaries")
"""
TESTS = """
import logging, os, subprocess, sys
from datetime import UTC, datetime
from shared.domain import service
from shared.domain.record import Kind
from shared.reconcile import turn
from tests.canaries import CANARY, STORAGE_KEY

def record(reason):
    from tests.domain.test_training import OPEN
    import msgspec
    return msgspec.structs.replace(OPEN, reason=reason)

def test_log(): logging.getLogger("tuneloop.x").warning("key %s", CANARY)
def test_traceback():
    try: raise ValueError(STORAGE_KEY)
    except ValueError: logging.getLogger("any").exception("it failed")
def test_output(): print(os.environ["CANARY_SIGNED"])
def test_child(): subprocess.run([sys.executable, "-c", "import os; print(os.environ['HF_TOKEN'])"], check=True)
def test_record(): turn._body(record(f"sig={CANARY}"))
def test_info(): logging.getLogger("tuneloop.announce").info("key %s", CANARY)
def test_announcement():
    from shared.cloud.announcer import LogAnnouncer
    from shared.domain.record import Key
    from shared.ports import Change
    key = Key(kind=Kind.TUNING, id="0123456789ab")
    LogAnnouncer().announce(Change(key=key, at=datetime.now(UTC), stage="seen", what="opened", why=CANARY, next_action=""))
def test_document():
    from shared.domain.slots import OF_TRAININGS
    from tests.journeys import fakes
    fakes.FakeLedger(fakes.World()).create(OF_TRAININGS, {"at_work": {CANARY: "x"}})
def test_hidden():
    logging.getLogger("tuneloop.x").warning("key %s", "(hidden)")
    turn._body(record("sig=(hidden)"))
"""
FILE = """
from tests.canaries import CANARY

def test_file(tmp_path): (tmp_path / "{name}").write_text("x" * 99 + CANARY)
"""


def outcome(folder: Path, tests: str) -> tuple[int, str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(tests)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "--capture=fd", f"--basetemp={folder / 'temp'}", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_whoever_tells_a_secret_fails_and_is_named(tmp_path: Path) -> None:
    code, said = outcome(tmp_path, TESTS)

    assert code == 1, said
    for name in (
        "test_log",
        "test_traceback",
        "test_output",
        "test_child",
        "test_record",
        "test_info",
        "test_announcement",
        "test_document",
    ):
        assert f"{name}, call: a secret stands in" in said, said
    assert "1 passed" in said, said


@pytest.mark.parametrize("name", ["log", "report.html", "report.json"])
def test_a_secret_in_a_log_or_report_that_a_child_wrote_fails_the_session(tmp_path: Path, name: str) -> None:
    code, said = outcome(tmp_path, FILE.replace("{name}", name))

    assert code == 1, said
    assert "A secret stands in" in said, said
    assert "test_file" in said, said
    shutil.rmtree(tmp_path)  # or this session would find it as well
