"""The import contracts cover packages; function_app.py is one module, so its imports are read here."""

from __future__ import annotations

import ast
from pathlib import Path

import dev

DOORS = Path(dev.__file__).with_name("function_app.py")
ALLOWED = ("__future__", "azure.functions", "azurefunctions.extensions.bindings", "shared")


def test_the_doors_import_decorators_and_what_they_ring_and_nothing_heavy() -> None:
    tree = ast.parse(DOORS.read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]

    assert names
    assert [name for name in names if not name.startswith(ALLOWED)] == []
