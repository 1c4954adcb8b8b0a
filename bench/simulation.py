"""
How many histories a minute one core lives: of the simulation over ports, and of the one over the unmodified SDKs.

Processor time, the best of the rounds, in this one process; SDKs are loaded before the clock starts. Beside it, how long this interpreter
takes to count to three million, since that differs twofold between builds of Python, and where the time went: each thousandth of a second
belongs to the innermost function that is ours, the local cloud's or a package's; what Python's own library does belongs to its caller.

    python -m bench.simulation                           both: three minutes
    python -m bench.simulation --only ports --histories 400
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from tests.simulation import machine, ranges

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = ROOT / "bench" / "results" / "simulation.json"
HISTORIES: Final = {"ports": 120, "adapters": 20}
WANTED: Final = {"ports": 3_000, "adapters": 300}  # a minute and core
SAMPLE_S: Final = 0.001
COUNTED: Final = 3_000_000
OURS: Final = {"shared": "the shipped app", "tests": "the simulation and its promises", "localcloud": "the local cloud"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.simulation")
    parser.add_argument("--only", choices=[*HISTORIES], help="one of the two")
    parser.add_argument("--histories", type=int, help="the seeds from 0 on")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    built = "optimised" if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "") else "not built with profiles"
    python = {"version": sys.version.split()[0], "built": built, "counts_ms": round(min(counted() for _ in range(5)) * 1000)}
    print(f"Python {python['version']}, {built}, counts to {COUNTED:,} in {python['counts_ms']} ms")
    found: dict[str, Any] = {"python": python}
    for name in [asked.only] if asked.only else HISTORIES:
        found[name] = measured(name, asked.histories or HISTORIES[name], asked.rounds)
        print(shown(name, found[name]), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def counted() -> float:
    began, total = time.process_time(), 0
    for number in range(COUNTED):
        total += number % 7
    return time.process_time() - began


def measured(name: str, histories: int, rounds: int) -> dict[str, Any]:
    live_range, faults = ranges.live_range, tuple(machine.FAULTS)
    if name == "adapters":
        from tests.simulation.adapters import ranges as of_adapters
        from tests.simulation.adapters import wire

        live_range, faults = of_adapters.live_range, tuple(wire.FAULTS)
    live_range((0, 2))  # what only the first history pays
    parts = [live_range((0, histories)) for _ in range(rounds)]
    best = min(parts, key=lambda part: part["seconds"])
    with sampled() as where:
        live_range((0, histories))
    counts = best["counts"]
    return {
        "histories": histories,
        "broken": len(best["broken"]),
        "a_minute": round(histories / best["seconds"] * 60),
        "calls": round(best["calls"] / histories),
        "faults": round(sum(counts.get(one, 0) for one in (*faults, "function_limit")) / histories, 1),
        "minutes": round(counts["minutes"] / histories),
        "us_a_call": round(best["seconds"] / best["calls"] * 1e6),
        "share": {room: round(samples / where.total(), 3) for room, samples in where.most_common()},
    }


@contextmanager
def sampled() -> Iterator[Counter[str]]:
    """Count whose each thousandth of a second is."""
    where = Counter[str]()

    def sample(_signal: int, frame: FrameType | None) -> None:
        where[owner(frame)] += 1

    before = signal.signal(signal.SIGPROF, sample)
    signal.setitimer(signal.ITIMER_PROF, SAMPLE_S, SAMPLE_S)
    try:
        yield where
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def owner(frame: FrameType | None) -> str:
    while frame:
        file = Path(frame.f_code.co_filename)
        if "site-packages" in file.parts:
            return "packages"
        if file.is_relative_to(ROOT) and (room := OURS.get(file.relative_to(ROOT).parts[0])):
            return room
        frame = frame.f_back
    return "Python"


def shown(name: str, found: dict[str, Any]) -> str:
    reached = "reached" if found["a_minute"] >= WANTED[name] else f"{WANTED[name]:,} are wanted"
    return "\n".join(
        [
            f"{name}: {found['a_minute']:,} histories a minute and core ({reached}), of {found['histories']}, {found['broken']} broken;",
            f"  in each {found['calls']:,} calls of {found['us_a_call']} us, {found['faults']} faults, {found['minutes']} minutes of a day",
            "  " + ", ".join(f"{room} {share:.0%}" for room, share in found["share"].items()),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
