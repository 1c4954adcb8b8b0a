"""Histories of a range of seeds. A module of its own, because a process that is started afresh cannot find what stands in `__main__`."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from tests.simulation.history import lived
from tests.simulation.scripts import SCRIPTS, Plan, broken, double_faults, single_faults


def live_range(bounds: tuple[int, int]) -> dict[str, Any]:
    began, counts, ends, calls, broken = time.process_time(), Counter[str](), Counter[str](), 0, []
    for seed in range(*bounds):
        verdict = lived(seed)
        counts.update(verdict.counts)
        ends.update(verdict.ends)
        calls += verdict.calls
        if verdict.violations:
            broken.append([seed, verdict.violations[0]])
    return {
        "histories": bounds[1] - bounds[0],
        "seconds": time.process_time() - began,
        "calls": calls,
        "counts": dict(counts),
        "ends": dict(ends),
        "broken": broken,
    }


def live_plans_of(task: tuple[str, int, int, bool]) -> tuple[int, list[tuple[str, Plan, str]]]:
    """
    Live every so many of a script's plans, from one of them on, those with two faults only if wanted; return how many these were, and what
    they broke.
    """
    name, first, stride, with_doubles = task
    plans = [*single_faults(name), *(double_faults(SCRIPTS[name]) if with_doubles else [])][first::stride]
    return len(plans), broken(name, plans)
