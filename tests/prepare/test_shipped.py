"""What a job on another machine gets: all that a preparation imports, and nothing that the app keeps to itself."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from shared.cloud import preparations
from shared.errors import Stop
from shared.prepare import TOOL_VERSION
from tests.journeys import fakes

pytestmark = pytest.mark.light


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shipped")
    preparations.ship(preparations.APP, folder)
    return folder


def imported(folder: Path) -> set[str]:
    """First words of everything that a module below the folder imports, also inside of functions."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module or "")
    return {name.partition(".")[0] for name in found}


def test_every_package_that_a_shipped_module_imports_is_installed_in_the_version_of_the_app(shipped: Path) -> None:
    (pip,) = (one["pip"] for one in preparations.conda(preparations.APP)["dependencies"] if isinstance(one, dict))
    requirements = (preparations.APP / "requirements.txt").read_text("utf-8").splitlines()
    foreign = imported(shipped) - sys.stdlib_module_names - {"shared", "markupsafe"}  # the latter comes with jinja2

    assert foreign == set(preparations.PACKAGES)
    assert all(any(line.startswith(f"{pin}  #") for line in requirements) for pin in pip)
    assert len(pip) == len(foreign)


def test_nothing_but_the_modules_and_their_page_is_shipped(shipped: Path) -> None:
    files = {path.relative_to(shipped).as_posix() for path in shipped.rglob("*") if path.is_file()}

    assert {"shared/prepare/__main__.py", "shared/prepare/page.html", "shared/domain/conversation.py"} <= files
    assert not [file for file in files if not file.startswith(("shared/domain/", "shared/prepare/")) and file not in preparations.SHIPPED]
    assert {Path(file).suffix for file in files} == preparations.SUFFIXES


def test_what_is_shipped_prepares_by_itself(shipped: Path, tmp_path: Path) -> None:
    """Without the app around it, and with an order whose name no shell has seen."""
    copy, order, out = tmp_path / "copy", tmp_path / "order.json", tmp_path / "out"
    copy.write_bytes(fakes.ROWS)
    name = "shop/$(touch x).jsonl"
    order.write_text(json.dumps({"files": [{"name": name, "bytes": len(fakes.ROWS), "etag": "0x1"}], "options": {"salt": "s"}}))
    words = [sys.executable, "-P", "-m", "shared.prepare", str(copy), "--order", str(order), "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(shipped), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(words, cwd=tmp_path, env=environment, check=True, capture_output=True)

    outcome = json.loads((out / "outcome.json").read_bytes())
    assert outcome["manifest"]["sources"] == [{"name": name, "bytes": len(fakes.ROWS), "etag": "0x1", "side": None}]
    assert outcome["files"].keys() == {path.name for path in out.iterdir()} - {"outcome.json"}
    assert not (out / "manifest.json").exists()


def test_an_app_without_its_versions_says_so_before_a_job_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="no versions to install"):
        preparations.conda(tmp_path)


def test_the_version_in_reports_and_manifests_is_the_projects() -> None:
    """pyproject.toml is not deployed, so the number stands in the code a second time."""
    project = tomllib.loads((preparations.APP / "pyproject.toml").read_text("utf-8"))["project"]

    assert project["version"] == TOOL_VERSION
