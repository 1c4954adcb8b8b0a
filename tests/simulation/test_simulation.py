"""
Goal: nothing paid twice, nothing lost, nothing left running, whatever the day is like; and a simulation whose silence means something.

Method: histories that one integer draws, lived by the shipped loop (docs/simulation.md). A fixed range of seeds; each single fault around
the effects of one whole life, and pairs of faults around what is paid; plans of faults that Hypothesis draws and shrinks; and deliberate
bugs, each of which its recorded seed must notice.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.simulation.bugs import BUGS
from tests.simulation.history import VALID, History, Verdict, lived
from tests.simulation.machine import FAULTS, Mix

pytestmark = pytest.mark.light

SEEDS = 240  # in CI; docs/simulation.md says how many were lived for a release
PAID = ("trainings.submit", "endpoints.create_endpoint", "endpoints.create_deployment")
EFFECTS = (
    *PAID,
    "ledger.create",
    "ledger.replace",
    "trainings.register",
    "endpoints.set_traffic",
    "endpoints.delete_deployment",
    "endpoints.delete_endpoint",
    "place.publish",
    "turns.ring",
)
SCRIPT_SEED = 7  # a life in which everything ends well


def scripted(plan: dict[int, str]) -> Verdict:
    """An upload that is served, falls asleep and is torn down, with these faults and no other."""
    history = History(SCRIPT_SEED, mix=Mix(), plan=plan)
    history.upload_at(1, "shop/a.jsonl", VALID[0])
    return history.run()


def calls_to(names: tuple[str, ...]) -> list[int]:
    """Numbers of the script's calls that have an effect; of writes that only put off the next look every seventh."""
    verdict = scripted({})
    assert not verdict.violations
    assert verdict.ends == {"tuning offered": 1, "training good": 1, "service torn down": 1}
    numbers = [number for number, line in enumerate(verdict.trace, 1) if line.call in names]
    puts_off = {number for number in numbers if number >= 150 and verdict.trace[number - 1].call in ("ledger.replace", "turns.ring")}
    return sorted(set(numbers) - puts_off | set(sorted(puts_off)[::7]))


def told(verdicts: list[Verdict]) -> str:
    broken = [f"seed {v.seed}: {v.violations[0]}" for v in verdicts if v.violations]
    return "\n".join([*broken, "Replay with: python -m tests.simulation --seed N --trace"]) if broken else ""


@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS // 4))
def test_no_drawn_day_breaks_a_promise(first: int) -> None:
    verdicts = [lived(seed) for seed in range(first, first + SEEDS // 4)]
    assert not told(verdicts)
    happened: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for verdict in verdicts:
        happened.update(verdict.counts)
        ends.update(verdict.ends)
    assert all(happened[what] for what in (*FAULTS, "function_limit", "jobs", "preparation_jobs", "served", "endpoints_deleted"))
    assert all(ends[f"tuning {stage}"] for stage in ("offered", "rejected", "superseded", "stopped"))
    assert ends["service torn down"] > SEEDS / 8


@pytest.mark.parametrize("fault", FAULTS)
def test_no_single_fault_at_any_effect_of_a_life_breaks_a_promise(fault: str) -> None:
    for number in calls_to(EFFECTS):
        verdict = scripted({number: fault})
        assert not verdict.violations, f"'{fault}' at call {number}: {verdict.violations}"


def test_no_two_faults_around_what_is_paid_break_a_promise() -> None:
    calls = calls_to(PAID)
    assert len(calls) >= len(PAID)
    around = sorted({number + beside for number in calls for beside in (-1, 0, 1)})
    for number, (first, second) in enumerate(combinations(around, 2)):
        faults = FAULTS[number % len(FAULTS)], FAULTS[(number // len(FAULTS)) % len(FAULTS)]
        verdict = scripted({first: faults[0], second: faults[1]})
        assert not verdict.violations, f"{faults} at calls {first} and {second}: {verdict.violations}"


@given(plan=st.dictionaries(st.integers(1, 400), st.sampled_from(FAULTS), max_size=6))
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_no_drawn_plan_of_faults_breaks_a_promise(plan: dict[int, str]) -> None:
    assert not scripted(plan).violations


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


@pytest.mark.parametrize("name", BUGS)
def test_a_deliberate_bug_is_noticed(name: str) -> None:
    """By its recorded seed; whoever changes what the loop calls moves that, and then another of 2,000 has to."""
    bug = BUGS[name]
    with bug.patch():
        noticed = any(v.startswith(bug.promise) for seed in (bug.seed, *range(2000)) for v in lived(seed).violations[:1])
    assert noticed, bug.what


def test_ranges_are_lived_by_several_processes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seeds", "0:6", "--jobs", "2", "--append", str(tmp_path / "lived.jsonl")]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "lived.jsonl").read_text(encoding="utf-8"))["histories"] == 6
