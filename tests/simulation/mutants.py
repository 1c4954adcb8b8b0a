"""
Look afresh for the history that notices each deliberate bug, and write down which it is.

    python3 dev.py mutants                         all of them, in two processes
    python3 dev.py mutants no_gate blind_writes    these
    python3 dev.py mutants --stale                 those whose recorded history notices nothing any more, or that have none

A bug is lived with seeds 0 to 299, then through every script without a fault, then with seeds 300 to 1,999, then through each fault in each
situation of the scripts. The first history that breaks a promise is written into bugs.json, from which the tests replay it and
docs/simulation.md has its table. The exit code is 1 if a bug escapes them all.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import re
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tests.simulation.bugs import BUGS
from tests.simulation.history import lived
from tests.simulation.scripts import SCRIPTS, Plan, each_situation_once, live

FOUND = Path(__file__).with_name("bugs.json")
SEEDS_FIRST, SEEDS = 300, 2_000
SAYS_LENGTH = 200  # characters, for one row of the table
AFRESH = "It is searched afresh by: python3 dev.py mutants --stale"


def recorded() -> dict[str, dict[str, Any]]:
    """Return what notices which bug, as it was found at last."""
    found: dict[str, dict[str, Any]] = json.loads(FOUND.read_text(encoding="utf-8")) if FOUND.exists() else {}
    return found


def replayed(name: str, one: dict[str, Any]) -> str:
    """Return what the recorded history says of its bug now, '' if it notices nothing."""
    with BUGS[name].patch():
        if "seed" in one:
            return next(iter(lived(one["seed"]).violations), "")
        return _of_script(one["script"], {int(call): fault for call, fault in one["plan"].items()})


def notices(name: str) -> tuple[str, dict[str, Any] | None, int]:
    """Return the bug, the first history that notices it (None: none does), and how many were lived."""
    gc.set_threshold(100_000)
    count = 0
    with BUGS[name].patch():
        for by, sentence in _histories():
            count += 1
            if sentence:
                return name, {**by, "says": _said(sentence)}, count
    return name, None, count


def _said(sentence: str) -> str:
    """Return the sentence without when and by whom, and no longer than a row of the table."""
    return re.split(r", at \d\d \d\d:", " ".join(sentence.split()))[0][:SAYS_LENGTH]


def _histories() -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each history with what it says is wrong, '' if nothing is."""
    for seed in range(SEEDS_FIRST):
        yield {"seed": seed}, next(iter(lived(seed).violations), "")
    for name in SCRIPTS:
        yield _by(name, {}), _of_script(name, {})
    for seed in range(SEEDS_FIRST, SEEDS):
        yield {"seed": seed}, next(iter(lived(seed).violations), "")
    for name, plans in _situations().items():
        for plan in plans:
            yield _by(name, plan), _of_script(name, plan)


def _of_script(name: str, plan: Plan) -> str:
    """Return what is wrong with a script that is lived with these faults; without any it has to end as it says."""
    script, verdict = SCRIPTS[name], live(SCRIPTS[name], plan)
    if verdict.violations or plan or verdict.ends == {end: count for end, count in script.ends.items() if count}:
        return next(iter(verdict.violations), "")
    return f"It ends with {dict(sorted(verdict.ends.items()))}"


def _by(script: str, plan: Plan) -> dict[str, Any]:
    return {"script": script, "plan": {str(call): fault for call, fault in plan.items()}}


@cache
def _situations() -> dict[str, list[Plan]]:
    return each_situation_once()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 dev.py mutants", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these bugs")
    parser.add_argument("--stale", action="store_true", help="only those whose recorded history notices nothing")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    asked = parser.parse_args()
    if unknown := [name for name in asked.names if name not in BUGS]:
        parser.error(f"there is no bug {', '.join(unknown)}")
    known = {name: one for name, one in recorded().items() if name in BUGS}
    wanted = asked.names or [name for name, bug in BUGS.items() if not bug.needless]
    if asked.stale:
        wanted = [name for name in wanted if name not in known or not replayed(name, known[name])]
    begun, escaped = time.monotonic(), list[str]()
    _situations()  # of the code without the bug, once for all processes
    with multiprocessing.get_context("fork").Pool(asked.jobs) as pool:
        for number, (name, found, count) in enumerate(pool.imap_unordered(notices, wanted), 1):
            if found is None:
                escaped.append(name)
                known.pop(name, None)
            else:
                known[name] = {"what": BUGS[name].what, **found}
            by = (
                "ESCAPES"
                if found is None
                else f"seed {found['seed']}"
                if "seed" in found
                else f"script {found['script']!r} {found['plan']}"
            )
            line = f"{number:3}/{len(wanted)} {name:32} {by}, after {count:,} histories. {found['says'] if found else ''}"
            sys.stdout.write(line[:220].rstrip() + "\n")
            sys.stdout.flush()
            _write(known)
    sys.stdout.write(f"{len(wanted) - len(escaped)} of {len(wanted)} noticed, {time.monotonic() - begun:.0f} s.\n")
    if escaped:
        sys.stdout.write(f"Nobody notices: {', '.join(escaped)}\n")
    return 1 if escaped else 0


def _write(known: dict[str, dict[str, Any]]) -> None:
    ordered = {name: known[name] for name in BUGS if name in known}
    FOUND.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
