"""Histories of a range of seeds, in a process that has loaded the SDKs once; a module of its own for processes that are started afresh."""

from __future__ import annotations

import gc
import time
import warnings
from collections import Counter
from typing import Any

from tests.simulation.adapters import processes
from tests.simulation.adapters.history import lived


def settled() -> None:
    """Load the SDKs and put what they are made of aside: looking through it again and again is a third of the time."""
    warnings.simplefilter("ignore")
    processes.built()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000)


def live_range(bounds: tuple[int, int]) -> dict[str, Any]:
    settled()
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
