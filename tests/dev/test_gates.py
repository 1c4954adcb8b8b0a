"""What the shipped code never does, whoever adds a line: read by its syntax, so that a comment may name it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = [ROOT / "function_app.py", *sorted((ROOT / "shared").glob("**/*.py"))]
NEVER_CALLED = {
    "load_dataset": "runs a script or fetches files that a path names",
    "load_from_disk": "follows paths inside a folder",
    "from_blob_url": "sends our token to whoever wrote the address",
    "from_container_url": "sends our token to whoever wrote the address",
    "from_queue_url": "sends our token to whoever wrote the address",
    "eval": "runs text",
    "exec": "runs text",
    "system": "runs text in a shell",
    "popen": "runs text in a shell",
    "urlopen": "asks an address past the checks of shared/cloud/addresses.py",
    "list_keys": "the app's role cannot read keys",
    "regenerate_keys": "the app changes no key",
    "load_model": "runs what a model's pickles say",
    "unpack_archive": "no archive with members is taken apart",
    "extractall": "no archive with members is taken apart",
}
NEVER_IMPORTED = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "torch", "mlflow", "transformers", "yaml", "ruamel",
    "tarfile", "zipfile", "xml", "telnetlib", "ftplib", "requests", "httpx", "urllib3", "aiohttp",
}  # fmt: skip
NEVER_NAMED = {
    "shell",
    "trust_remote_code",
    "allow_pickle",
    "verify",
    "connection_verify",
}  # as an argument; `verify` is never switched off
EVALUATED_IN = {"shared/domain/recipe.py"}  # ast.literal_eval, of a registry's tag that is short


@cache
def nodes() -> tuple[tuple[str, ast.AST], ...]:
    """Path and node of all that is shipped."""
    read = ((path.relative_to(ROOT).as_posix(), ast.parse(path.read_text("utf-8"))) for path in SHIPPED)
    return tuple((path, node) for path, tree in read for node in ast.walk(tree))


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


@pytest.mark.parametrize("name", NEVER_CALLED)
def test_the_app_never_calls_what_would_run_or_fetch_what_somebody_else_wrote(name: str) -> None:
    found = [f"{path}:{node.lineno}" for path, node in nodes() if isinstance(node, ast.Call) and name_of(node) == name]

    assert found == [], NEVER_CALLED[name]


def test_the_app_imports_nothing_that_unpickles_unpacks_or_asks_past_the_sdks() -> None:
    found: dict[str, str] = {}
    for path, node in nodes():
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found |= {f"{path}:{node.lineno}": module for module in modules if module.split(".")[0] in NEVER_IMPORTED}

    assert found == {}


def test_no_call_switches_on_a_shell_remote_code_or_pickles_or_a_check_of_certificates_off() -> None:
    found = [
        f"{path}:{node.value.lineno} {node.arg}" for path, node in nodes() if isinstance(node, ast.keyword) and node.arg in NEVER_NAMED
    ]

    assert found == []


def test_python_literals_are_read_in_one_place_only_and_by_literal_eval() -> None:
    assert {path for path, node in nodes() if isinstance(node, ast.Call) and name_of(node) == "literal_eval"} == EVALUATED_IN


def test_of_the_package_datasets_one_class_is_used_and_it_opens_the_one_file_it_is_given() -> None:
    imports = [(path, node) for path, node in nodes() if isinstance(node, ast.ImportFrom) and node.module == "datasets"]
    imported = {(path, alias.name) for path, node in imports for alias in node.names}
    called = {name_of(node) for path, node in nodes() if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("Dataset.")}

    assert imported == {("shared/prepare/tables.py", "Dataset")}
    assert called == {"from_file", "with_format"}


def test_the_gates_look_at_the_whole_app() -> None:
    assert len(SHIPPED) > 60
    assert any(isinstance(node, ast.Call) and name_of(node) == "get_blob_client" for _, node in nodes())
