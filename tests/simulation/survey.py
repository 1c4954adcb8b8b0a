"""
A survey of what nobody would notice: each small change of a shipped module, made one at a time, against seeds and tests.

    python -m tests.simulation.survey shared/domain/fleet.py                     every change of one file
    python -m tests.simulation.survey shared/domain/service.py --at 300:420      of these lines
    python -m tests.simulation.survey FILE --seeds 0:60 --tests tests/domain     what each has to live through

A change is a comparison turned, a number moved, a condition taken for true or false, `and` for `or`, an argument or a statement left
out, a text emptied. Nothing is written: the changed code takes the place of the function's in a forked process, so whoever imported the
function has it too. What survives is equivalent, or a promise that nothing checks. Code of modules and of classes is not changed, only that
of functions. Linux and macOS.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib
import io
import os
import signal
import sys
import time
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ENDED_AFTER_S = 240  # a change that never ends was noticed
TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
REVERSED: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult}


@dataclass(frozen=True, kw_only=True)
class Change:
    line: int
    what: str
    function: str  # its qualified name
    code: types.CodeType


def changes(source: str, file: str) -> Iterator[Change]:
    """Yield every change of every function; one whose code is as before is none."""
    tree = ast.parse(source)
    for number, _ in enumerate(ast.walk(tree)):
        for variant in range(4):
            changed = copy.deepcopy(tree)
            node = next(one for at, one in enumerate(ast.walk(changed)) if at == number)
            what = _changed(node, variant, changed)
            if what is None:
                continue
            ast.fix_missing_locations(changed)
            function = _function_around(changed, node)
            if function is None:
                continue
            code = _code_of(compile(changed, file, "exec"), function)
            if code is not None:
                yield Change(line=getattr(node, "lineno", 0), what=what, function=function, code=code)


def _changed(node: ast.AST, variant: int, tree: ast.AST) -> str | None:
    if not isinstance(node, ast.expr | ast.stmt):
        return None
    before = ast.unparse(node)
    match node, variant:
        case ast.Compare(ops=[op]), 0 if type(op) in TURNED:
            node.ops = [TURNED[type(op)]()]
        case ast.Compare(), 1 | 2:
            return _replaced(tree, node, ast.Constant(variant == 1), before)
        case ast.BoolOp(op=op), 0:
            node.op = ast.Or() if isinstance(op, ast.And) else ast.And()
        case ast.BoolOp(values=values), 1 | 2 | 3 if len(values) >= variant:
            node.values = [one for at, one in enumerate(values) if at != variant - 1] if len(values) > 2 else [values[variant % 2]] * 2
        case ast.UnaryOp(op=ast.Not(), operand=operand), 0:
            return _replaced(tree, node, operand, before)
        case ast.BinOp(op=op), 0 if type(op) in REVERSED and not isinstance(node.left, ast.Constant | ast.JoinedStr):
            node.op = REVERSED[type(op)]()
        case ast.Constant(value=bool(value)), 0:
            node.value = not value
        case ast.Constant(value=int(value)), 0 | 1 if not isinstance(value, bool):
            node.value = value + (1 if variant == 0 else -1)
        case ast.Constant(value=str(value)), 0 if value:
            if _is_docstring(tree, node):
                return None
            node.value = ""
        case ast.IfExp(test=test), 0 | 1:
            node.test = ast.Constant(variant == 0)
            before = ast.unparse(test)
        case ((ast.If() | ast.While()), 0 | 1) if not isinstance(node.test, ast.Compare | ast.BoolOp):
            before = ast.unparse(node.test)
            node.test = ast.Constant(variant == 0) if isinstance(node, ast.If) else ast.Constant(False)
        case ast.Return(value=value), 0 if value is not None and not isinstance(value, ast.Constant):
            node.value = ast.Constant(None)
        case ast.Expr(value=ast.Call()), 0:
            node.value = ast.Constant(None)
        case ast.Call(keywords=keywords), 0 | 1 | 2 | 3 if len(keywords) > variant and keywords[variant].arg:
            node.keywords = [one for at, one in enumerate(keywords) if at != variant]
        case ((ast.Continue() | ast.Break() | ast.Raise()), 0):
            return _replaced(tree, node, ast.Pass(), before)
        case ast.Name(id="min"), 0:
            node.id = "max"
        case ast.Name(id="max"), 0:
            node.id = "min"
        case ast.Name(id="all"), 0:
            node.id = "any"
        case ast.Name(id="any"), 0:
            node.id = "all"
        case _:
            return None
    return f"{_short(before)}  ->  {_short(ast.unparse(node))}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 90 else f"{line[:60]} … {line[-27:]}"


def _replaced(tree: ast.AST, old: ast.AST, new: ast.AST, before: str) -> str | None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, ast.copy_location(new, old))
                return f"{_short(before)}  ->  {ast.unparse(new)}"
            if isinstance(value, list) and any(one is old for one in value):
                value[[one is old for one in value].index(True)] = ast.copy_location(new, old)
                return f"{_short(before)}  ->  {ast.unparse(new)}"
    return None


def _is_docstring(tree: ast.AST, node: ast.Constant) -> bool:
    return any(isinstance(one, ast.Expr) and one.value is node for one in ast.walk(tree))


def _function_around(tree: ast.AST, node: ast.AST) -> str | None:
    """Return the outermost function that the line of the node stands in, qualified by its classes; None for code of a module or class."""
    line = getattr(node, "lineno", 0)

    def sought(inside: ast.AST, names: tuple[str, ...]) -> str | None:
        for child in ast.iter_child_nodes(inside):
            if not line or not getattr(child, "lineno", 0) <= line <= (getattr(child, "end_lineno", 0) or 0):
                continue
            if isinstance(child, ast.FunctionDef):
                return ".".join((*names, child.name)) if child.body[0].lineno <= line else None
            if isinstance(child, ast.ClassDef):
                return sought(child, (*names, child.name))
        return None

    return sought(tree, ())


def _code_of(code: types.CodeType, function: str) -> types.CodeType | None:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            if constant.co_qualname == function:
                return constant
            if found := _code_of(constant, function):
                return found
    return None


def _put_in_place(module: types.ModuleType, change: Change) -> bool:
    found: Any = module
    for name in change.function.split("."):
        found = vars(found).get(name) if not isinstance(found, types.FunctionType) else None
        if found is None:
            return False
    if isinstance(found, property):
        found = found.fget
    found = getattr(found, "__func__", found)
    found = getattr(found, "__wrapped__", found)
    if not isinstance(found, types.FunctionType) or found.__code__.co_freevars != change.code.co_freevars:
        return False
    if found.__code__.co_code == change.code.co_code and found.__code__.co_consts == change.code.co_consts:
        return False
    found.__code__ = change.code
    return True


def lives_on(module: types.ModuleType, change: Change, seeds: range, tests: Sequence[str]) -> str:
    """Return who noticed the change, "" if nobody did, "-" if there was nothing to change."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        signal.alarm(ENDED_AFTER_S)
        with contextlib.suppress(BaseException):
            os.write(write_end, (_noticed(module, change, seeds, tests) or "\n").encode()[:400])
        os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as said:
        text = said.read().decode()
    os.waitpid(child, 0)
    return text.strip() if text else "it ended the process"


def _noticed(module: types.ModuleType, change: Change, seeds: range, tests: Sequence[str]) -> str:
    if not _put_in_place(module, change):
        return "-"
    from tests.simulation.history import lived

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for seed in seeds:
            try:
                verdict = lived(seed)
            except Exception as error:  # noqa: BLE001 - it was noticed
                return f"seed {seed}: {type(error).__name__}"
            if verdict.violations:
                return f"seed {seed}: {verdict.violations[0]}"
        if tests:
            import pytest

            code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--no-header", *tests])
            if code:
                return "tests"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation.survey", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("file")
    parser.add_argument("--at", default="0:100000", help="lines FROM:TO")
    parser.add_argument("--seeds", default="0:40")
    parser.add_argument("--tests", nargs="*", default=[])
    parser.add_argument("--all", action="store_true", help="show also who noticed what")
    asked = parser.parse_args()
    first, last = map(int, asked.at.split(":"))
    seeds = range(*map(int, asked.seeds.split(":")))
    name = asked.file.removesuffix(".py").replace("/", ".")
    import tests.simulation.history  # noqa: F401 - before the fork, and with it all of the loop

    module = importlib.import_module(name)
    counted = survived = 0
    begun = time.monotonic()
    for change in changes((ROOT / asked.file).read_text(encoding="utf-8"), asked.file):
        if not first <= change.line < last:
            continue
        who = lives_on(module, change, seeds, asked.tests)
        if who == "-":
            continue
        counted += 1
        survived += not who
        if not who or asked.all:
            print(f"{asked.file}:{change.line} {change.function}: {change.what}{f'   [{who}]' if who else ''}", flush=True)
    print(
        f"{asked.file}: {counted} changes, {counted - survived} noticed, {survived} not, {time.monotonic() - begun:.0f} s", file=sys.stderr
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
