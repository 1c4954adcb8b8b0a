"""
Goal: nothing paid twice, nothing lost, nothing left running, whatever the day is like; and a simulation whose silence means something.

Method: histories that one integer draws, lived by the shipped loop (docs/simulation.md). A fixed range of seeds, and deliberate bugs, each
of which its recorded seed must notice. Faults by plan: test_plans.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.__main__ import main
from tests.simulation.bugs import BUGS
from tests.simulation.history import Verdict, lived
from tests.simulation.machine import FAULTS
from tests.simulation.mutants import AFRESH, recorded, replayed

SEEDS = 5_000  # in CI; docs/simulation.md says how many were lived for a release
PART = 125


def told(verdicts: list[Verdict]) -> str:
    broken = [f"seed {v.seed}: {v.violations[0]}" for v in verdicts if v.violations]
    return "\n".join([*broken, "Replay with: python -m tests.simulation --seed N --trace"]) if broken else ""


@pytest.mark.parametrize("first", range(0, SEEDS, PART))
def test_no_drawn_day_breaks_a_promise(first: int) -> None:
    verdicts = [lived(seed) for seed in range(first, first + PART)]
    assert not told(verdicts)
    happened: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for verdict in verdicts:
        happened.update(verdict.counts)
        ends.update(verdict.ends)
    assert all(happened[what] for what in (*FAULTS, "function_limit", "jobs", "preparation_jobs", "served", "endpoints_deleted"))
    assert all(ends[f"tuning {stage}"] for stage in ("offered", "rejected", "superseded", "stopped"))
    assert ends["service torn down"] > PART / 2


@pytest.mark.light
def test_a_seed_lives_the_same_history_again_whatever_hashes_are_seeded_with() -> None:
    seed = 5
    once, again = lived(seed), lived(seed)
    assert once.trace == again.trace
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed)]
    for hash_seed in ("1", "777"):
        done = subprocess.run(
            command, env={"PYTHONHASHSEED": hash_seed}, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
        )
        assert once.digest[:16] in done.stdout, done.stderr


def test_a_history_is_the_same_alone_and_among_others() -> None:
    seeds = range(40, 46)
    in_turn = [lived(seed) for seed in seeds]
    backwards = [lived(seed) for seed in reversed(seeds)]
    assert [(v.digest, v.counts, v.situations) for v in in_turn] == [(v.digest, v.counts, v.situations) for v in reversed(backwards)]


FOUND = recorded()


@pytest.mark.parametrize("name", [name for name, bug in BUGS.items() if not bug.needless])
def test_a_deliberate_bug_is_noticed(name: str) -> None:
    """By its recorded history; whoever changes what the loop calls moves that."""
    assert name in FOUND, f"Nothing is recorded for {name}. {AFRESH}"
    assert FOUND[name]["what"] == BUGS[name].what, f"bugs.json calls {name} otherwise. {AFRESH}"
    assert replayed(name, FOUND[name]), f"What is recorded for {name} notices nothing now. {AFRESH}"


def test_ranges_are_lived_by_several_processes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "0:6", "--jobs", "2", "--append", str(tmp_path / "lived.jsonl")]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stderr
    (lived_then,) = map(json.loads, (tmp_path / "lived.jsonl").read_text(encoding="utf-8").splitlines())
    assert lived_then["seeds"] == [0, 6]
    assert lived_then["histories"] == 6


def test_a_range_goes_on_where_it_was_interrupted_and_counts_each_history_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lived.jsonl"
    for seeds in ("2:4", "0:6", "0:6"):
        assert main(["--seeds", seeds, "--append", str(file)]) == 0

    assert [json.loads(line)["seeds"] for line in file.read_text(encoding="utf-8").splitlines()] == [[2, 4], [0, 2], [4, 6]]
    capsys.readouterr()
    assert main(["--sum", str(file)]) == 0
    assert capsys.readouterr().out.startswith("6 histories, 0 broken")
