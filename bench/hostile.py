"""
What a hostile file of 1 MB or less costs whoever reads it: each is prepared by the shipped command in a process of its own.

Memory is that of the whole process tree: the sum of the most that each of its processes had resident. Time includes the start of Python.
Prints a table, and writes it as JSON.

    python -m bench.hostile                 every file: about two minutes
    python -m bench.hostile --only arrow    those whose names hold this
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from tests.prepare.hostile import BYTES_MAX, FILES, Hostile

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = ROOT / "bench" / "results" / "hostile.json"
MEMORY_MB_MAX: Final = 400
SECONDS_MAX: Final = 5
GIVEN_UP_S: Final = 120
LOOK_EVERY_S: Final = 0.002


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.hostile")
    parser.add_argument("--only", default="", help="files whose names hold this")
    asked = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for what, hostile in FILES.items():
            if asked.only in what:
                found.append(measured(what, hostile, Path(folder)))
                print(shown(found[-1]), flush=True)
    worst = {"mb": max(one["mb"] for one in found), "seconds": max(one["seconds"] for one in found)}
    missed = [one["what"] for one in found if not one["reached"]]
    print(f"{len(found)} files, at most {worst['mb']:.0f} MB and {worst['seconds']:.1f} s; not reached: {', '.join(missed) or 'none'}")
    if not asked.only:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps({"worst": worst, "files": found}, indent=1) + "\n", encoding="utf-8")
    return 1 if missed else 0


def measured(what: str, hostile: Hostile, folder: Path) -> dict[str, Any]:
    content = hostile.made()
    assert len(content) <= BYTES_MAX, (what, len(content))
    file = folder / hostile.name
    file.write_bytes(content)
    begun = time.monotonic()
    command = [sys.executable, "-m", "shared.prepare", str(file), "--out", str(folder / "out"), "--json"]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=err)
        peaks: dict[int, int] = {}
        while child.poll() is None:
            look(child.pid, peaks)
            time.sleep(LOOK_EVERY_S)
            if time.monotonic() - begun > GIVEN_UP_S:
                child.kill()
        seconds = time.monotonic() - begun
        out.seek(0)
        err.seek(0)
        said, complained = out.read(), err.read()
    file.unlink()
    outcome = (
        json.loads(said) if child.returncode in (0, 3) else {"verdict": f"exit {child.returncode}", "sentence": complained.decode()[-200:]}
    )
    right = outcome["verdict"] == ("accepted" if hostile.accepted else "rejected")
    mb = sum(peaks.values()) / 1e6
    reached = right and bool(outcome["sentence"]) and mb < MEMORY_MB_MAX and seconds < SECONDS_MAX
    return {
        "what": what, "file": hostile.name, "bytes": len(content), "mb": round(mb, 1), "seconds": round(seconds, 2),
        "verdict": outcome["verdict"], "sentence": outcome["sentence"], "reached": reached,
    }  # fmt: skip


def look(pid: int, peaks: dict[int, int]) -> None:
    """Note the most that the process and those below it have had resident, bytes; one that ends keeps what was seen last."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    held = next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)
    peaks[pid] = max(peaks.get(pid, 0), held)
    for one in below:
        look(int(one), peaks)


def shown(one: dict[str, Any]) -> str:
    mark = "" if one["reached"] else " **no**"
    cells = (one["what"], f"`{one['file']}`", f"{one['bytes']:,}", f"{one['mb']:.0f}", f"{one['seconds']:.1f}")
    return f"| {' | '.join(cells)} | {one['verdict']}: {one['sentence'][:110]} |{mark}"


if __name__ == "__main__":
    sys.exit(main())
