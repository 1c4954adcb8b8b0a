"""
Goal: no fault at any effect of any branch of the life leaves something paid twice, lost, or running.

Method: a script for each branch (tests/simulation/scripts.py). Each situation that any script comes into is planned for once: with all
five faults at what begins, changes or ends something in Azure ML, with one of them at other effects. Pairs of faults around what is paid,
and plans that Hypothesis draws and shrinks. `python -m tests.simulation --plans` plans each fault at each effect, and every pair.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.simulation.machine import FAULTS
from tests.simulation.scripts import SCRIPTS, broken, double_faults, each_situation_once, live

SITUATIONS = each_situation_once()
PAIRS_STRIDE = 19  # of all pairs of all kinds; no multiple of five, so that each kind meets each
PARTS = 4  # of the longest scripts, so that workers share them


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_branch_of_the_life_ends_as_it_should(name: str) -> None:
    verdict = live(SCRIPTS[name])

    assert not verdict.violations
    assert verdict.ends == {end: count for end, count in SCRIPTS[name].ends.items() if count}


@pytest.mark.parametrize("part", range(PARTS))
def test_no_single_fault_in_any_situation_breaks_a_promise(part: int) -> None:
    failed = [one for name, plans in SITUATIONS.items() for one in broken(name, plans[part::PARTS])]
    assert not failed


def test_every_branch_is_planned_for() -> None:
    assert sum(len(plans) for plans in SITUATIONS.values()) > 500


def test_no_two_faults_around_what_is_paid_break_a_promise() -> None:
    assert not broken("served", double_faults(SCRIPTS["served"])[::PAIRS_STRIDE])


@given(name=st.sampled_from(sorted(SCRIPTS)), plan=st.dictionaries(st.integers(1, 500), st.sampled_from(FAULTS), max_size=6))
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_no_drawn_plan_of_faults_breaks_a_promise(name: str, plan: dict[int, str]) -> None:
    assert not live(SCRIPTS[name], plan).violations
