"""What the pages say is there, is there: commands, paths, links, settings, words, samples, tables."""

from __future__ import annotations

import argparse
import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dev
from cli import demo, docs
from localcloud.azureml import command, environment, worlds
from localcloud.azureml.site import Site
from localcloud.clocks import system
from localcloud.faults import Faults
from shared import prepare
from shared.domain import conversation, service, training, tuning
from shared.prepare.folder import FolderPlace
from shared.settings import Settings

ROOT = docs.ROOT
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("**/*.md"))]
README = (ROOT / "README.md").read_text("utf-8")
OPERATING = (ROOT / "docs" / "operating.md").read_text("utf-8")
EMULATOR = (ROOT / "docs" / "emulator.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
TREE = re.compile(r"^(?P<indent> *)(?P<names>\S+(?:, \S+)*)(?P<remark>  +\S.*)$")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchor(heading: str) -> str:
    """The name that GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def paths_of_the_tree() -> Iterator[tuple[str, str]]:
    """Path and remark of every entry of README's tree, two blanks a level."""
    tree = next(block for block in blocks(README, "text") if "function_app.py" in block)
    above: list[str] = []
    for line in tree.splitlines():
        match = TREE.match(line)
        assert match, f"{line!r} is not 'names  remark'"
        level = len(match["indent"]) // 2
        for name in match["names"].split(", "):
            yield "".join([*above[:level], name]), match["remark"].strip()
        above = [*above[:level], match["names"]]


@each_page
def test_every_command_of_dev_py_that_a_page_names_exists(page):
    known = set(re.findall(r"python3 dev\.py (\w+)", dev.HELP))
    named = set(re.findall(r"python3 dev\.py ([a-z]+)", page.read_text("utf-8")))

    assert named <= known


def test_every_demo_command_in_the_readme_is_understood():
    commands = re.findall(r"python3 dev\.py demo([^`\n]*)", README)
    parser = demo._parser()

    assert len(commands) >= 3
    for rest in commands:
        parser.parse_args(shlex.split(rest))


def test_every_entry_of_the_readmes_tree_exists_and_has_a_remark():
    entries = dict(paths_of_the_tree())

    assert len(entries) > 30
    assert [path for path in entries if not (ROOT / path).exists()] == []
    assert all(entries.values())


def test_every_room_of_the_house_stands_in_the_readmes_tree():
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {
        path.parent.name for path in (ROOT / "shared").glob("*/__init__.py")
    }
    files = {path.name for path in (ROOT / "shared" / "domain").glob("*.py")} - {"__init__.py"}
    named = {Path(path).name for path, _ in paths_of_the_tree()}

    assert rooms | files <= named


@each_page
def test_every_relative_link_leads_somewhere(page):
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        there = (page.parent / path) if path else page

        assert there.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", prose(there.read_text("utf-8")), re.MULTILINE)
            assert heading in map(anchor, headings), target


@each_page
def test_every_file_that_a_page_names_by_its_path_exists(page):
    """Only names with a folder in them: a bare `turn.py` belongs to the room that the sentence is about."""
    named = re.findall(r"`((?:shared|localcloud|cli|tests|docs|examples)/[\w./-]+\.(?:py|md|jsonl?))`", page.read_text("utf-8"))

    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_constant_that_carries_an_assumption_is_where_the_page_says():
    named = re.findall(r"`(\w+)`(?:, `\w+`)* in `(shared/[\w/]+\.py)`", OPERATING)

    assert len(named) >= 4
    assert [name for name, path in named if name not in (ROOT / path).read_text("utf-8")] == []


def test_the_example_sets_known_settings_only_and_every_one_that_must_be_set():
    example = docs.example_values().keys()
    must = {name for name, field in Settings.model_fields.items() if field.is_required()}

    assert example <= Settings.model_fields.keys() | docs.BESIDE_THE_CLASS.keys()
    assert must | docs.CONNECTIONS.keys() <= example


def test_a_setting_that_a_page_names_exists():
    """Words in capitals with an underscore, in code marks, beside a `=`: `TEAR_DOWN_DRY_RUN=true`."""
    known = Settings.model_fields.keys() | docs.BESIDE_THE_CLASS.keys()
    for page in PAGES:
        named = set(re.findall(r"`([A-Z]+_[A-Z_]+)=", page.read_text("utf-8")))

        assert named <= known, page


def test_every_action_word_of_the_log_stands_in_the_operating_page_and_no_other():
    words = set()
    for path in (ROOT / "shared").glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "log":
                text = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
                said = re.findall(r"\baction=(\w+)$", str(text))
                assert said, f"{path.name}, line {node.lineno}: a log line ends in no action="
                words |= set(said)

    assert set(re.findall(r"^\| `(\w+)` \| (?:info|warning|error|debug)", OPERATING, re.MULTILINE)) == words


@pytest.mark.parametrize("stages", [tuning.Stage, training.Stage, service.Stage], ids=["tuning", "training", "service"])
def test_every_stage_stands_in_the_pictures_of_the_three_lives(stages):
    pictures = "\n".join(block for block in blocks(ARCHITECTURE, "mermaid") if block.startswith("stateDiagram"))

    assert [stage.value for stage in stages if stage.value not in pictures] == []


def test_the_row_in_the_readme_is_a_conversation():
    (row,) = blocks(README, "json")

    assert conversation.fault_in(json.loads(row)) is None


def test_the_rejection_in_the_readme_is_what_the_broken_example_is_told(tmp_path):
    outcome = prepare.prepare(
        [prepare.source_of_file(ROOT / "examples" / "broken.jsonl")], FolderPlace(tmp_path), workdir=tmp_path, options=prepare.Options()
    )

    assert isinstance(outcome, prepare.Refused)
    assert f"`{outcome.sentence}`" in README


def test_every_plan_of_faults_in_the_emulators_page_can_be_planned():
    plans = [json.loads(block) for block in blocks(EMULATOR, "json") if '"faults"' in block]

    assert plans
    assert all(Faults().add(plan) for plan in plans)


def test_every_world_in_the_emulators_page_can_exist():
    given = [json.loads(block) for block in blocks(EMULATOR, "json") if '"world"' in block]

    assert given
    assert [worlds.changed(one).component_version for one in given]


def test_every_option_that_the_emulators_page_names_is_one_of_the_command():
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    known = {option for action in parser._actions for option in action.option_strings}
    named = set(re.findall(r"`(?:[^`]* )?(--[a-z-]+)", prose(EMULATOR)))

    assert len(named) > 8
    assert named <= known


def test_every_variable_that_the_emulators_page_names_is_in_its_env_file(tmp_path):
    written = environment.values(Site(folder=tmp_path, base="https://localhost:1", clock=system), tmp_path, before={})
    table = EMULATOR.split("| variable | what it does |")[1].split("\n\n")[0]

    assert set(re.findall(r"`([A-Za-z_]+)`", table)) == set(written)


def test_every_control_address_stands_in_the_emulators_page():
    table = EMULATOR.split("| address | GET | POST |")[1].split("\n\n")[0]
    paths = {route.path for route in docs._routes() if route.path.startswith("/_localcloud/")}

    assert set(re.findall(r"`(/_localcloud/[a-z]+)` \|", table)) == paths


def test_the_tables_say_what_the_code_says():
    assert docs.main(["--check"]) == docs.OK


@pytest.fixture
def copied(tmp_path):
    """The project's pages and what their tables come from, elsewhere."""
    for name in ("cli", "shared", "localcloud", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / docs.BUGS).parent.mkdir(parents=True)
    shutil.copy(ROOT / docs.BUGS, tmp_path / docs.BUGS)
    for name in ("README.md", "host.json", docs.EXAMPLE):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def checked(root):
    return subprocess.run([sys.executable, "-m", "cli.docs", "--check"], cwd=root, capture_output=True, text=True, check=False)


def test_a_table_that_drifted_fails_the_check_and_is_named(copied):
    page = copied / "docs" / "settings.md"
    page.write_text(page.read_text("utf-8").replace("| `7 days` |", "| `8 days` |"), "utf-8")
    ended = checked(copied)

    assert ended.returncode == docs.DRIFT
    assert "docs/settings.md" in ended.stderr.replace("\\", "/")


def test_an_operation_of_the_emulator_that_the_page_lacks_fails_the_check(copied):
    routes = copied / "localcloud" / "azureml" / "workspace.py"
    routes.write_text(routes.read_text("utf-8").replace('path="/discovery"', 'path="/discovery/of/another"'), "utf-8")
    ended = checked(copied)

    assert ended.returncode == docs.DRIFT
    assert "docs/emulator.md" in ended.stderr.replace("\\", "/")


def test_a_new_number_in_host_json_asks_for_its_reason(copied):
    host = json.loads((copied / "host.json").read_text("utf-8"))
    host["extensions"]["queues"]["maxPollingInterval"] = "00:00:02"
    (copied / "host.json").write_text(json.dumps(host), "utf-8")
    ended = checked(copied)

    assert ended.returncode == docs.DRIFT
    assert "maxPollingInterval" in ended.stderr
