"""
How long an instance waits for the doors: importing function_app against importing the six packages at the top of it.

The second is what a Functions app grows into when every `import` stands at module level. Each contender is a process of
its own; the best of ROUNDS counts, in one run, as the machine is shared. Prints seconds, memory and the ratio.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5
CONTENDERS = {
    "function_app (ours)": "import function_app",
    "all six packages at the top": (
        "import azure.functions, azure.ai.ml, azure.identity, azure.storage.blob, azure.eventgrid, datasets;"
        "from azure.ai.ml import MLClient, Input, dsl"
    ),
}
MEASURE = (
    "import time,resource;t=time.perf_counter();{statement};"
    "print(time.perf_counter()-t, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1024)"
)


def measured(statement: str) -> tuple[float, float]:
    """Return seconds and peak memory in MB of one fresh process that imports."""
    command = [sys.executable, "-W", "ignore", "-c", MEASURE.format(statement=statement)]
    out = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True)
    seconds, memory = out.stdout.split()[-2:]
    return float(seconds), float(memory)


def main() -> None:
    best: dict[str, tuple[float, float]] = {}
    for _ in range(ROUNDS):
        for name, statement in CONTENDERS.items():
            best[name] = min(best.get(name, (float("inf"), 0.0)), measured(statement))
    for name, (seconds, memory) in best.items():
        print(f"{name:<30} {seconds:6.2f} s  {memory:6.0f} MB")
    (ours, our_memory), (theirs, their_memory) = best.values()
    print(f"ratio: {theirs / ours:.1f} times the time, {their_memory / our_memory:.1f} times the memory")


if __name__ == "__main__":
    main()
