"""
What was said in this session is kept, and held against Microsoft's published resource types where their checker lies beside the project.

The checker (`../shared/oracle/check_traffic.py`) is not ours: it knows nothing of the emulator. Where it is absent, what is here without
it still holds: which calls a recording must have, and that nothing was lost between the server and the file.

    python -m tests.recordings FOLDER     check every recording in FOLDER, and print what was checked
"""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ORACLE = ROOT.parent / "shared" / "oracle" / "check_traffic.py"
FOLDER_VARIABLE = "TUNELOOP_TRAFFIC"  # where the recordings of a session go; unset: into pytest's own temporary folder
BY_HAND = "by-hand"  # recordings of requests that a test wrote itself: what is refused there was wrong on purpose
ASIDE = frozenset({"FAULT", "MARK"})  # lines that are no exchange
LINES_AT_ONCE_MAX = 4_000  # a guess: bounds what one process of the checker holds
ALONE = "The checker of recorded traffic is not beside this project (../shared/oracle): the project's own tests stand alone."
KNOWN_HASH_VERSION = 202208
_SUMMARY = re.compile(r"^(\d+) checks, (\d+) findings, ", re.MULTILINE)

WORKSPACES = "/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft.MachineLearningServices/workspaces/[^/]+"
JOB, MODEL = "/jobs/[^/]+", "/models/[^/]+/versions/[^/]+"
ENDPOINT, DEPLOYMENT = "/onlineEndpoints/[^/]+", "/onlineEndpoints/[^/]+/deployments/[^/]+"
CALLS: Sequence[tuple[str, str, str]] = (
    # method, resource, api-version that azure-ai-ml 1.35.2 sends (measured by recording it)
    ("PUT", JOB, "2024-01-01-preview"),
    ("GET", JOB, "2024-01-01-preview"),
    ("PUT", MODEL, "2023-08-01-preview"),
    ("GET", MODEL, "2023-08-01-preview"),
    ("GET", "/models/[^/]+/versions", "2023-08-01-preview"),
    ("PUT", ENDPOINT, "2022-02-01-preview"),
    ("GET", ENDPOINT, "2022-02-01-preview"),
    ("GET", ENDPOINT, "2023-04-01-preview"),
    ("PUT", DEPLOYMENT, "2023-04-01-preview"),
    ("GET", DEPLOYMENT, "2023-04-01-preview"),
    ("GET", ENDPOINT + "/deployments", "2023-04-01-preview"),
)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the checker said of some recordings."""

    checks: int
    findings: int
    said: str


def exchanges(file: Path) -> list[dict[str, Any]]:
    """Return the exchanges of a recording, without the lines beside them."""
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return [line for line in lines if line["method"] not in ASIDE]


def by_method(lines: Iterable[dict[str, Any]]) -> dict[str, int]:
    return dict(Counter(line["method"] for line in lines))


def calls_missing(lines: Sequence[dict[str, Any]]) -> list[str]:
    """Return the calls of CALLS that no line answers with success, in words."""
    good = {(line["method"], line["path"], line["api_version"]) for line in lines if 200 <= line["status"] < 300}
    return [
        f"{method} {path} at {version}"
        for method, path, version in CALLS
        if not any(m == method and v == version and re.fullmatch(WORKSPACES + path, p, re.IGNORECASE) for m, p, v in good)
    ]


def checked(files: Iterable[Path], scratch: Path) -> Verdict | None:
    """Let the checker read the recordings; None: it is not here. What was said twice in the same words is read once."""
    if not ORACLE.exists():
        return None
    lines = list(dict.fromkeys(json.dumps(line, sort_keys=True) for file in files for line in _to_check(file)))
    checks, findings, said = 0, 0, []
    for begin in range(0, len(lines), LINES_AT_ONCE_MAX):
        part = scratch / f"to-check-{begin}.jsonl"
        part.write_text("".join(line + "\n" for line in lines[begin : begin + LINES_AT_ONCE_MAX]), "utf-8")
        ended = subprocess.run([sys.executable, str(ORACLE), str(part)], capture_output=True, text=True, check=False)
        summary = _SUMMARY.search(ended.stdout)
        assert summary, f"the checker broke: {ended.stdout[-2000:]}{ended.stderr[-2000:]}"
        checks, findings = checks + int(summary[1]), findings + int(summary[2])
        said.append(ended.stdout)
    return Verdict(checks=checks, findings=findings, said="".join(said))


def _to_check(file: Path) -> Iterable[dict[str, Any]]:
    """Leave out what the checker cannot read, what a test asked wrongly on purpose, and the one known fault of the SDK."""
    for line in exchanges(file):
        if file.name.startswith(BY_HAND) and not 200 <= line["status"] < 300:
            continue
        yield _without_known_fault(line)


def _without_known_fault(line: dict[str, Any]) -> dict[str, Any]:
    """
    Return the exchange with the version of a code's hash as text.

    azure-ai-ml 1.35.2 registers the code of every command job with the number 202208 there; the published type has text.
    """
    if line["method"] != "PUT" or not re.fullmatch(WORKSPACES + "/codes/[^/]+/versions/[^/]+", line["path"], re.IGNORECASE):
        return line
    changed = copy.deepcopy(line)
    held = ((changed["request"] or {}).get("properties") or {}).get("properties") or {}
    if held.get("hash_version") == KNOWN_HASH_VERSION:
        held["hash_version"] = str(KNOWN_HASH_VERSION)
    return changed


def main(folder: Path) -> int:
    """Print what was checked in `folder`. 0: nothing was found, or there is no checker; 1: findings."""
    files = sorted(folder.rglob("*.jsonl"))
    counts = {file: len(exchanges(file)) for file in files}
    sys.stdout.write(f"{sum(counts.values())} exchanges in {len(files)} recordings.\n")
    verdict = checked(files, folder)
    if verdict is None:
        sys.stdout.write(ALONE + "\n")
        return 0
    sys.stdout.write(f"{verdict.said}Held against Microsoft's types: {verdict.checks} checks, {verdict.findings} findings.\n")
    return 1 if verdict.findings else 0


def folder_of_session(otherwise: Path) -> Path:
    """Return, and make, the folder of this session's recordings."""
    folder = Path(os.environ.get(FOLDER_VARIABLE) or otherwise)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
