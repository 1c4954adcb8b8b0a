"""
Packages that only a measurement needs, in a folder of their own and never in the project's environment.

orjson is why: azure-functions reads events with it wherever it is installed, and then refuses what the standard parser takes. The tests
must see the app as it is deployed.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

FOLDER: Final = Path(__file__).resolve().parent.parent / ".localcloud" / "bench-packages"
PINS: Final = {"orjson": "orjson==3.13.0"}


def imported(name: str) -> ModuleType:
    """Return the module, installed first if need be. Raise CalledProcessError when pip cannot."""
    folder = FOLDER / f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not (folder / name).is_dir():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), PINS[name]]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    sys.path.append(str(folder))
    return importlib.import_module(name)


def version(name: str) -> str:
    return PINS[name].partition("==")[2]
