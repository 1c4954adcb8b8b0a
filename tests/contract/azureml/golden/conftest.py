"""
Golden shapes: what an answer has and nothing else, in JSON files beside this one, each with the source that it was derived from.

A shape is written as the answer looks. Text in place of a value says what may stand there:

    text, number, whole, flag, null, any    of that kind; "text or null": one or the other
    moment, guid, hex, address, token       text of that form
    =word                                   exactly this text
    /pattern/                               text that the whole pattern fits
    @file.name                              another shape
    [shape]                                 a list of these
    {"*": shape}                            names that nobody fixes
    {"name?": shape}                        may be absent

A field that the shape does not name is a fault, and so is one that is missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
GUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)"
FORMS = {
    "moment": MOMENT,
    "guid": GUID,
    "hex": "[0-9a-f]+",
    "address": r"https://[^\s]+",
    "token": r"[\w-]+\.[\w-]+\.[\w-]+",
}
KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "number": (int, float),
    "whole": (int,),
    "flag": (bool,),
    "null": (type(None),),
    "any": (object,),
}


class Goldens:
    """All shapes by `file.name`."""

    def __init__(self) -> None:
        files = {file.stem: json.loads(file.read_text()) for file in HERE.glob("*.json")}
        assert all(set(one) == {"source", "shapes"} and one["source"] for one in files.values()), "a golden file is source and shapes"
        self.shapes = {f"{stem}.{name}": shape for stem, one in files.items() for name, shape in one["shapes"].items()}
        self.used: set[str] = set()

    def faults(self, name: str, value: Any) -> list[str]:
        """Return what is wrong with the value, a sentence each; none: it has the shape."""
        self.used.add(name)
        return list(self._faults(self.shapes[name], value, name))

    def _faults(self, shape: Any, value: Any, at: str) -> Iterator[str]:
        if isinstance(shape, str):
            if not any(self._fits(one, value) for one in shape.split(" or ")):
                yield f"{at} is {value!r} and should be {shape}"
        elif isinstance(shape, list):
            if not isinstance(value, list):
                yield f"{at} is {value!r} and should be a list"
                return
            for index, one in enumerate(value):
                yield from self._faults(shape[0], one, f"{at}[{index}]")
        elif not isinstance(value, dict):
            yield f"{at} is {value!r} and should be an object"
        else:
            yield from self._of_object(shape, value, at)

    def _of_object(self, shape: dict[str, Any], value: dict[str, Any], at: str) -> Iterator[str]:
        named = {name.removesuffix("?"): one for name, one in shape.items() if name != "*"}
        for name in shape:
            if name != "*" and not name.endswith("?") and name not in value:
                yield f"{at}.{name} is missing"
        for name, content in value.items():
            if name in named:
                yield from self._faults(named[name], content, f"{at}.{name}")
            elif "*" in shape:
                yield from self._faults(shape["*"], content, f"{at}.{name}")
            else:
                yield f"{at}.{name} is a field that no source names"

    def _fits(self, wanted: str, value: Any) -> bool:
        if wanted.startswith("@"):
            self.used.add(wanted[1:])
            return not list(self._faults(self.shapes[wanted[1:]], value, ""))
        if wanted in KINDS:
            return isinstance(value, KINDS[wanted]) and (wanted in {"flag", "any"} or not isinstance(value, bool))
        if not isinstance(value, str):
            return False
        if wanted.startswith("="):
            return value == wanted[1:]
        return re.fullmatch(wanted[1:-1] if wanted.startswith("/") else FORMS[wanted], value) is not None


@pytest.fixture(scope="session")
def goldens() -> Goldens:
    return Goldens()


@pytest.fixture
def holds(goldens: Goldens) -> Callable[..., Any]:
    """Check an answer: its status and its shape; return its JSON."""

    def check(name: str, answered: Any, status: int = 200) -> Any:
        assert answered.status == status, answered.body
        value = json.loads(answered.body)
        assert goldens.faults(name, value) == []
        return value

    return check
