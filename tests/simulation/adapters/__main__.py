"""
Replay one history of the shipped adapters, live a range of them, or look for the deliberate bugs of the adapters afresh.

    python -m tests.simulation.adapters --seed 5 --trace
    python -m tests.simulation.adapters --seeds 0:1000 --jobs 2 --append adapters.jsonl
    python -m tests.simulation.adapters --bugs --seeds 0:300
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.simulation.__main__ import ROOT, added, code_hash
from tests.simulation.adapters.bugs import BUGS
from tests.simulation.adapters.history import lived
from tests.simulation.adapters.ranges import live_range, settled
from tests.simulation.adapters.wire import FAULTS

CHUNK = 50  # histories that one process lives before it reports


def whole_hash() -> str:
    """Return what a figure is about: besides what the simulation over ports is made of, the adapters' side of it and the local Azure ML."""
    hashed = sha256(code_hash().encode())
    for file in sorted([*ROOT.glob("tests/simulation/adapters/*.py"), *ROOT.glob("localcloud/azureml/**/*.py")]):
        hashed.update(f"{file.relative_to(ROOT)}\0".encode() + sha256(file.read_bytes()).digest())
    return hashed.hexdigest()[:16]


def shown(total: dict[str, Any]) -> str:
    faults = sum(total["counts"].get(name, 0) for name in (*FAULTS, "function_limit"))
    per_minute = total["histories"] / max(total["seconds"], 1e-9) * 60
    lines = [
        f"{total['histories']:,} histories, {len(total['broken'])} broken, {per_minute:,.0f} a minute and core",
        f"{total['calls'] / total['histories']:,.0f} exchanges and {faults / total['histories']:.1f} faults in each",
        "counts: " + ", ".join(f"{name} {count:,}" for name, count in total["counts"].items()),
        "ends: " + ", ".join(f"{name} {count:,}" for name, count in total["ends"].items()),
    ]
    return "\n".join([*lines, *(f"seed {seed}: {sentence}" for seed, sentence in total["broken"])])


def replay(seed: int, *, trace: bool) -> int:
    settled()
    verdict = lived(seed)
    out = sys.stdout
    if trace:
        out.writelines(f"{line}\n" for line in verdict.trace)
    out.write(f"seed {seed}: {verdict.calls} exchanges, trace {verdict.digest[:16]}, {dict(sorted(verdict.counts.items()))}\n")
    out.writelines(f"{sentence}\n" for sentence in verdict.violations or ["Every promise was kept."])
    return 1 if verdict.violations else 0


def look_for_bugs(first: int, end: int) -> int:
    settled()
    missed = 0
    for name, bug in BUGS.items():
        with bug.patch():
            found = next((v for seed in range(first, end) if (v := lived(seed)).violations), None)
        missed += found is None
        said = found.violations[0] if found else "not noticed"
        sys.stdout.write(f"| `{name}` | {bug.what} | {found.seed if found else '-'} | {said} |\n")
        sys.stdout.flush()
    return 1 if missed else 0


def live_ranges(first: int, end: int, *, jobs: int, append: Path | None) -> int:
    code, bounds = whole_hash(), [(at, min(at + CHUNK, end)) for at in range(first, end, CHUNK)]
    if jobs > 1:
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            total = added(pool.imap(live_range, bounds))
    else:
        total = added(map(live_range, bounds))
    sys.stdout.write(shown(total) + "\n")
    if append:
        line = {"hash": code, "python": sys.version.split()[0], "seeds": [first, end], **total}
        with append.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    return 1 if total["broken"] else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation.adapters", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seed", type=int, help="replay this history")
    parser.add_argument("--trace", action="store_true", help="and show every exchange of it")
    parser.add_argument("--seeds", metavar="A:B", default="0:100", help="live the histories A to B - 1")
    parser.add_argument("--jobs", type=int, default=1, help="in so many processes")
    parser.add_argument("--append", type=Path, metavar="FILE", help="add a line with what the range came to")
    parser.add_argument("--bugs", action="store_true", help="look for each deliberate bug in the range")
    asked = parser.parse_args(arguments)
    if asked.seed is not None:
        return replay(asked.seed, trace=asked.trace)
    first, end = map(int, asked.seeds.split(":"))
    return look_for_bugs(first, end) if asked.bugs else live_ranges(first, end, jobs=asked.jobs, append=asked.append)


if __name__ == "__main__":
    sys.exit(main())
