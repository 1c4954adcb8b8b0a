"""
Replay one history, or live a range of them. The deliberate bugs are looked for by `python3 dev.py mutants`.

    python -m tests.simulation --seed 484 --trace
    python -m tests.simulation --seeds 0:20000 --jobs 2 --append histories.jsonl
    python -m tests.simulation --sum histories.jsonl
    python -m tests.simulation --seeds 0:120 --same          one hash over all that happened: equal before and after what changes no history
    python -m tests.simulation --plans --jobs 2
    python -m tests.simulation --singles --jobs 2            each fault at each effect of each script, and no pairs
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.simulation.history import lived
from tests.simulation.ranges import live_plans_of, live_range
from tests.simulation.scripts import SCRIPTS

ROOT = Path(__file__).parents[2]
PLAN_PARTS = 8  # of the plans of a script
CHUNK = 200  # histories that one process lives before it reports
PART = 2_000  # histories of a range after which it says how far it is, and from which on it can be resumed


def code_hash() -> str:
    """Return what a figure is about: only ranges with the same hash over shipped code, simulation and dependencies add up."""
    files = [*ROOT.glob("shared/**/*.py"), *ROOT.glob("tests/simulation/*.py"), *ROOT.glob("requirements*.txt")]
    files += [ROOT / "tests" / "journeys" / "fakes.py", ROOT / "tests" / "places.py"]
    hashed = sha256()
    for file in sorted(files):
        hashed.update(f"{file.relative_to(ROOT)}\0".encode() + sha256(file.read_bytes()).digest())
    return hashed.hexdigest()[:16]


def added(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the sum of what ranges came to."""
    total: dict[str, Any] = {"histories": 0, "seconds": 0.0, "calls": 0, "counts": Counter(), "ends": Counter(), "broken": []}
    for part in parts:
        for name in ("histories", "seconds", "calls", "broken"):
            total[name] += part[name]
        for name in ("counts", "ends"):
            total[name].update(part[name])
    total["counts"], total["ends"] = dict(sorted(total["counts"].items())), dict(sorted(total["ends"].items()))
    return total


def shown(total: dict[str, Any]) -> str:
    faults = sum(total["counts"].get(name, 0) for name in ("before", "after", "kill_before", "kill_after", "stall", "function_limit"))
    per_minute = total["histories"] / max(total["seconds"], 1e-9) * 60
    lines = [
        f"{total['histories']:,} histories, {len(total['broken'])} broken, {per_minute:,.0f} a minute and core",
        f"{total['calls'] / total['histories']:,.0f} calls and {faults / total['histories']:.1f} faults in each",
        "counts: " + ", ".join(f"{name} {count:,}" for name, count in total["counts"].items()),
        "ends: " + ", ".join(f"{name} {count:,}" for name, count in total["ends"].items()),
    ]
    return "\n".join([*lines, *(f"seed {seed}: {sentence}" for seed, sentence in total["broken"])])


def replay(seed: int, *, trace: bool) -> int:
    verdict = lived(seed)
    out = sys.stdout
    if trace:
        out.writelines(f"{line}\n" for line in verdict.trace)
    out.write(f"seed {seed}: {verdict.calls} calls, trace {verdict.digest[:16]}, {dict(sorted(verdict.counts.items()))}\n")
    out.writelines(f"{sentence}\n" for sentence in verdict.violations or ["Every promise was kept."])
    return 1 if verdict.violations else 0


def all_that_happened(first: int, end: int) -> str:
    """Return a hash over every call, count, end and broken promise of these histories."""
    hashed = sha256()
    for seed in range(first, end):
        verdict = lived(seed)
        found = [verdict.digest, verdict.violations, sorted(verdict.counts.items()), sorted(verdict.ends.items())]
        hashed.update(json.dumps([*found, sorted(verdict.numbers.items()), sorted(verdict.situations.items())]).encode())
    return hashed.hexdigest()


def live_ranges(first: int, end: int, *, jobs: int, append: Path | None) -> int:
    """Live what of the range is not in the file yet, and add each part to it once it is lived: whoever is interrupted goes on there."""
    code = code_hash()  # of what is about to be lived
    before = [one for one in _ranges_of(append, code) if first <= one["seeds"][0] and one["seeds"][1] <= end]
    edges = [first, *(edge for one in before for edge in one["seeds"]), end]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    parts = [(at, min(at + PART, upto)) for since, upto in gaps for at in range(since, upto, PART)]
    lived_now: list[dict[str, Any]] = []
    with multiprocessing.get_context("spawn").Pool(jobs) if jobs > 1 else contextlib.nullcontext() as pool:
        for a, b in parts:
            bounds = [(at, min(at + CHUNK, b)) for at in range(a, b, CHUNK)]
            total = added(pool.imap(live_range, bounds) if pool else map(live_range, bounds))
            lived_now.append(total)
            if append:
                with append.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"hash": code, "python": sys.version.split()[0], "seeds": [a, b], **total}) + "\n")
            if len(parts) > 1:
                sys.stderr.write(f"seeds {a} to {b - 1}: {len(total['broken'])} broken\n")
    total = added([*before, *lived_now])
    sys.stdout.write(shown(total) + "\n")
    return 1 if total["broken"] else 0


def live_plans(*, jobs: int, stride: int, with_doubles: bool) -> int:
    tasks = [(name, part, PLAN_PARTS * stride, with_doubles) for name in SCRIPTS for part in range(0, PLAN_PARTS * stride, stride)]
    context = multiprocessing.get_context("spawn")
    with context.Pool(jobs) if jobs > 1 else contextlib.nullcontext() as pool:
        lived_so_far, failed = 0, 0
        for count, found in pool.imap(live_plans_of, tasks) if pool else map(live_plans_of, tasks):
            lived_so_far, failed = lived_so_far + count, failed + len(found)
            sys.stdout.writelines(f"{name}, {plan}: {sentence}\n" for name, plan, sentence in found)
            sys.stdout.flush()
    sys.stdout.write(f"{lived_so_far:,} plans, {failed} broken\n")
    return 1 if failed else 0


def summed(file: Path) -> int:
    """Add up the ranges of a file that were lived with this very code; a seed counts once."""
    count = len(file.read_text(encoding="utf-8").splitlines())
    ours = _ranges_of(file, code_hash())
    left = f"{count - len(ours)} of {count} ranges left out: another code, or seeds that were counted already.\n"
    sys.stdout.write((shown(added(ours)) if ours else "No range of this code.") + "\n" + left)
    return 0


def _ranges_of(file: Path | None, code: str) -> list[dict[str, Any]]:
    """Return the ranges of a file that were lived with this code, none of which holds a seed of another."""
    lines = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
    ours = sorted((one for one in map(json.loads, lines) if one["hash"] == code), key=lambda one: (one["seeds"][0], -one["seeds"][1]))
    apart, reached = list[dict[str, Any]](), -1
    for one in ours:
        if one["seeds"][0] >= reached:
            apart.append(one)
            reached = one["seeds"][1]
    return apart


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seed", type=int, help="replay this history")
    parser.add_argument("--trace", action="store_true", help="and show every call of it")
    parser.add_argument("--seeds", metavar="A:B", help="live the histories A to B - 1")
    parser.add_argument("--jobs", type=int, default=1, help="in so many processes")
    parser.add_argument("--append", type=Path, metavar="FILE", help="add a line with what the range came to")
    parser.add_argument("--plans", action="store_true", help="each fault at each effect of each script, and pairs around what is paid")
    parser.add_argument("--singles", action="store_true", help="the same, and no pairs")
    parser.add_argument("--stride", type=int, default=1, help="of the plans only every so many")
    parser.add_argument("--same", action="store_true", help="one hash over all that happened in --seeds")
    parser.add_argument("--sum", type=Path, metavar="FILE", help="add up the ranges of a file")
    asked = parser.parse_args(arguments)
    if asked.sum:
        return summed(asked.sum)
    if asked.plans or asked.singles:
        return live_plans(jobs=asked.jobs, stride=asked.stride, with_doubles=not asked.singles)
    if asked.seed is not None:
        return replay(asked.seed, trace=asked.trace)
    first, end = map(int, (asked.seeds or "0:1000").split(":"))
    if asked.same:
        sys.stdout.write(f"{all_that_happened(first, end)}\n")
        return 0
    return live_ranges(first, end, jobs=asked.jobs, append=asked.append)


if __name__ == "__main__":
    sys.exit(main())
