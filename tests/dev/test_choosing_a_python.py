"""A name on the PATH is not yet a Python: each is asked before it may carry the environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import dev

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the shims are shell scripts")


def shim(folder: Path, script: str, name: str = f"python{HERE}") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def says(version: str, *missing: str) -> str:
    """A Python that answers our question so."""
    quoted = ", ".join(f'"{name}"' for name in missing)
    return f"""echo '["{version}", [{quoted}]]'"""


def test_an_empty_shim_that_ends_with_127_is_no_python(tmp_path: Path) -> None:
    empty = shim(tmp_path, f"echo 'pyenv: python{HERE}: command not found' >&2; exit 127")

    assert dev.probe((str(empty),), HERE).fault == f"ends with code 127 (pyenv: python{HERE}: command not found)"


def test_a_python_without_ssl_is_refused_by_the_name_of_what_it_lacks(tmp_path: Path) -> None:
    bare = shim(tmp_path, says(f"{HERE}.1", "ssl"))

    assert dev.probe((str(bare),), HERE).fault == "lacks the module ssl"


def test_two_missing_modules_are_both_named(tmp_path: Path) -> None:
    bare = shim(tmp_path, says(f"{HERE}.1", "venv", "ensurepip"))

    assert dev.probe((str(bare),), HERE).fault == "lacks the modules venv, ensurepip"


def test_a_python_of_another_version_than_its_name_is_refused(tmp_path: Path) -> None:
    liar = shim(tmp_path, says("3.9.18"))

    assert dev.probe((str(liar),), HERE).fault == "is 3.9.18"


def test_a_python_that_says_nothing_in_time_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "PROBE_WITHIN_S", 0.2)
    silent = shim(tmp_path, "exec sleep 60")

    assert dev.probe((str(silent),), HERE).fault == "did not answer within 0.2 s"


def test_a_file_that_cannot_start_is_refused(tmp_path: Path) -> None:
    assert "does not start" in str(dev.probe((str(tmp_path / "nothing"),), HERE).fault)


def test_this_python_can_carry_the_environment() -> None:
    assert dev.probe((sys.executable,), HERE).fault is None


def test_a_real_python_behind_a_shim_on_the_path_is_found(tmp_path: Path) -> None:
    """Goal: pyenv's folder of shims comes first on the PATH and must not hide the real one. Method: two folders."""
    shim(tmp_path / "a shim", "exit 127")
    real = shim(tmp_path / "real one", f'exec "{sys.executable}" "$@"')
    path = os.pathsep.join([str(tmp_path / "a shim"), "", str(tmp_path / "missing"), str(tmp_path / "real one")])

    found, tried = dev.choose([HERE], lambda version: dev.candidates(version, path=path, homes=[], running=None))

    assert found is not None
    assert found.command == (str(real),)
    assert [one.command for one in tried] == [(str(tmp_path / "a shim" / real.name),)]


def test_pyenv_is_asked_for_its_newest_patch_first(tmp_path: Path) -> None:
    for patch in ("9", "10", "2"):
        shim(tmp_path / f"versions/{HERE}.{patch}/bin", "exit 0", name="python")

    names = [Path(command).parts[-3] for (command,) in dev.candidates(HERE, path="", homes=[tmp_path], running=None)]

    assert names == [f"{HERE}.10", f"{HERE}.9", f"{HERE}.2"]


def test_the_python_that_runs_comes_first(tmp_path: Path) -> None:
    shim(tmp_path, "exit 0")

    assert list(dev.candidates(HERE, path=str(tmp_path), homes=[], running="/this")) == [("/this",), (str(tmp_path / f"python{HERE}"),)]


def test_the_newest_version_that_runs_wins(tmp_path: Path) -> None:
    shim(tmp_path, "exit 127", name="python3.13")
    shim(tmp_path, says("3.12.1"), name="python3.12")
    shim(tmp_path, says("3.11.7"), name="python3.11")

    found, _ = dev.choose(dev.PYTHONS, lambda version: dev.candidates(version, path=str(tmp_path), homes=[], running=None))

    assert found is not None
    assert found.version == "3.12.1"


def test_none_at_all_is_told_with_what_was_tried_and_how_to_get_one() -> None:
    tried = [dev.Interpreter(command=("/shims/python3.12",), fault="ends with code 127 (no word of why)")]

    sentence = str(dev.no_python(("3.12",), tried))

    assert "No Python 3.12 runs here." in sentence
    assert "tried: /shims/python3.12 ends with code 127" in sentence
    assert "pyenv install 3.12" in sentence
