"""
Live loops of the app as processes, and count what came of them.

    python -m tests.processes --loops 30 --seed 0 --append loops.jsonl
    python -m tests.processes --loops 1 --seed 7 --trace
    python -m tests.processes --loops 5 --seed 0 --bug no_timer

Loop n has the seed SEED + n. The exit code is 1 if anything was lost, unexpected or left in any of them; its trace is shown then.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Any

from cli.cloud import ROOT, clean_environment
from tests.processes import cloud, loop
from tests.processes.bugs import BUGS
from tests.simulation.__main__ import code_hash

SUMMED = ("uploads", "ok", "recovered", "faults", "duplicated")  # counted as numbers; the others are sentences
LISTED = ("told", "lost", "unexpected", "left")


def whole_hash() -> str:
    """Return what a figure is about: shipped code, local cloud, this harness, requirements."""
    hashed = sha256(code_hash().encode())
    files = [ROOT / "function_app.py", ROOT / "host.json", ROOT / "tests" / "loop" / "conftest.py"]
    files += [ROOT / "tests" / "contract" / "azureml" / "fake_trainer.py"]
    for file in [*files, *sorted(ROOT.glob("localcloud/**/*.py")), *sorted(ROOT.glob("tests/processes/*.py"))]:
        hashed.update(f"{file.relative_to(ROOT)}\0".encode() + sha256(file.read_bytes()).digest())
    return hashed.hexdigest()[:16]


def added(lived: Iterable[loop.Lived]) -> dict[str, Any]:
    """Return the sum of what loops came to."""
    total: dict[str, Any] = {"loops": 0, "seconds": 0.0, **dict.fromkeys(SUMMED, 0), **dict.fromkeys(LISTED, 0), "broken": []}
    for one in lived:
        counts = asdict(one.counts)
        total["loops"], total["seconds"] = total["loops"] + 1, total["seconds"] + one.seconds
        for name in SUMMED:
            total[name] += counts[name]
        for name in LISTED:
            total[name] += len(counts[name])
        total["broken"] += [[one.plan.seed, one.counts.broken[0]]] if one.counts.broken else []
    return total


def line_of(one: loop.Lived) -> str:
    counts = one.counts
    shown = ", ".join(f"{name} {value}" for name, value in asdict(counts).items() if name in SUMMED)
    return f"seed {one.plan.seed}: {one.seconds:.0f} s, {shown}, " + ", ".join(f"{name} {len(getattr(counts, name))}" for name in LISTED)


def table_of(total: dict[str, Any]) -> str:
    names = ("loops", *SUMMED, *LISTED, "seconds")
    width = max(map(len, names))
    rows = [f"{name:{width}} {total[name]:8.0f}" for name in names]
    return "\n".join([*rows, *(f"seed {seed}: {sentence}" for seed, sentence in total["broken"])])


def say(*lines: str) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.processes", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--loops", type=int, default=3, help="how many loops")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first loop")
    parser.add_argument("--append", type=Path, metavar="FILE", help="add a line with what they came to")
    parser.add_argument("--bug", choices=sorted(BUGS), help="plant this bug in the copy of the app")
    parser.add_argument("--trace", action="store_true", help="show the trace of every loop, not only of a broken one")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="work in this folder, and leave it there with all logs")
    asked = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    clean_environment()
    code, began, lived = whole_hash(), time.monotonic(), list[loop.Lived]()
    try:
        with cloud.temporary_folder(asked.keep) as folder, cloud.staged(folder, bug=asked.bug or "") as stage:
            for number in range(asked.loops):
                one = loop.live(stage, asked.seed + number, number)
                lived.append(one)
                say(
                    line_of(one),
                    *(f"    {sentence}" for sentence in one.counts.told),
                    *(one.trace if asked.trace or one.counts.broken else ()),
                )
                if one.counts.broken:  # what is left of it would be counted again in the next
                    break
    except KeyboardInterrupt:
        say("Stopped.")
        return 130
    total = added(lived)
    say(table_of(total), f"{time.monotonic() - began:.0f} s in all, code {code}")
    if asked.append:
        line = {"hash": code, "python": sys.version.split()[0], "seeds": [asked.seed, asked.seed + len(lived)], "bug": asked.bug, **total}
        with asked.append.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    return 1 if total["broken"] else 0


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
