"""
What is wrong with a body, in words: msgspec says it in the words of Python, a person needs the path, what was seen and what is wanted.

Nothing here runs for a body that fits.
"""

from __future__ import annotations

import functools
import json
import operator
import re
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import inspect

_PLACE = re.compile(r"(?s)(?P<why>.*?)(?: - at `(?P<path>\$.*)`)?")
_STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>\d+|\.\.\.)\]")
_NAMED = re.compile(r"Object (?P<kind>contains unknown|missing required) field `(?P<name>.+)`")
_OWN_WORDS = ("Expected ", "Invalid ", "Object ")  # how msgspec begins; anything else is a sentence of a shape's own
_SECRET = ("secrets", "keys", "userAccountCredentials", "keyValue")
REQUIRED = "is missing and required"
SHOWN_MAX = 80  # characters of a value that is repeated in an error: enough to recognise it (a guess)

_PLAIN = {
    inspect.IntType: (int, "a whole number"),
    inspect.FloatType: (float, "a number"),
    inspect.BoolType: (bool, "true or false"),
    inspect.NoneType: (None, "null"),
    inspect.AnyType: (Any, "anything"),
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that does not fit."""

    path: str  # of the field, from the top of the body; empty: the body itself
    sentence: str


def shown(value: Any) -> str:
    """Return a value as an error repeats it."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


def explain(of: Any, body: Any, message: str) -> Fault:
    """Return what msgspec's `message` about `body` means; `of` is the type that it was held against."""
    match = _PLACE.fullmatch(message)
    assert match is not None
    steps = [step["name"] or step["index"] for step in _STEP.finditer(match["path"] or "")]
    return _walk(_info(of), body, steps, "", match["why"])


@functools.lru_cache(maxsize=256)  # more than there are types of maps; describing a large one takes a millisecond
def _info(of: Any) -> inspect.Type:
    return inspect.type_info(of)


def _walk(info: inspect.Type, value: Any, steps: list[str], path: str, why: str) -> Fault:
    info = _meant(info, value)
    if not steps:
        return _fault(info, value, path, why)
    step, rest = steps[0], steps[1:]
    if isinstance(info, inspect.StructType):
        if step == info.tag_field:
            return _fault(inspect.LiteralType((info.tag,)), value[step], _below(path, step), why)
        field = next(one for one in info.fields if one.encode_name == step)
        return _walk(field.type, value[step], rest, _below(path, step), why)
    if isinstance(info, inspect.DictType):
        return _first_bad(info.value_type, value.items(), path)
    if isinstance(info, inspect.ListType):
        return _walk(info.item_type, value[int(step)], rest, f"{path}[{step}]", why)
    # Only a union of several objects is left: the value chose none of them.
    assert isinstance(info, inspect.UnionType)
    tags = tuple(one.tag for one in info.types if isinstance(one, inspect.StructType))
    return _fault(inspect.LiteralType(tags), value[step], _below(path, step), why)


def _first_bad(info: inspect.Type, items: Any, path: str) -> Fault:
    """msgspec does not say under which name of a map; the first that does not fit by itself is it."""
    expected = _python(info)
    for name, value in items:
        try:
            msgspec.convert(value, expected)
        except msgspec.ValidationError as error:
            found = explain(expected, value, str(error))
            return _moved(found, _below(path, name))
    raise AssertionError(f"nothing below {path} is wrong")


def _moved(fault: Fault, above: str) -> Fault:
    """Return the fault of a value as one of the whole body; `_HERE` is where its sentence names the value itself."""
    path = above + ("" if fault.path.startswith("[") or not fault.path else ".") + fault.path
    old = fault.path or _HERE
    return Fault(path=path, sentence=fault.sentence.replace(old, path, 1))


_HERE = "the body"


def _fault(info: inspect.Type, value: Any, path: str, why: str) -> Fault:
    here = path or _HERE
    named = _NAMED.fullmatch(why)
    if named and named["kind"] == "missing required":
        wanted = _below(path, named["name"])
        return Fault(path=wanted, sentence=f"{wanted} {REQUIRED}")
    if named and isinstance(info, inspect.StructType):
        known = {field.encode_name for field in info.fields} | ({info.tag_field} if info.tag_field else set())
        unknown = _below(path, named["name"])
        there = f"known there are {', '.join(sorted(known))}" if known else "none is known there"
        return Fault(path=unknown, sentence=f"there is no field {unknown}; {there}")
    if not why.startswith(_OWN_WORDS):
        return Fault(path=path, sentence=f"{here} {why}")
    seen = f"of type {type(value).__name__}" if any(part in _SECRET for part in path.split(".")) else shown(value)
    return Fault(path=path, sentence=f"{here} must be {_wanted(info)}, and is {seen}")


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _meant(info: inspect.Type, value: Any) -> inspect.Type:
    """Of a union, return the part that the value chose: not null, and of several objects the one that its discriminator names."""
    if not isinstance(info, inspect.UnionType):
        return info
    parts = [one for one in info.types if not isinstance(one, inspect.NoneType)]
    objects = [one for one in parts if isinstance(one, inspect.StructType)]
    if isinstance(value, dict) and objects:
        chosen = [one for one in objects if one.tag is None or value.get(str(one.tag_field)) == one.tag]
        return chosen[0] if chosen else inspect.UnionType(tuple(objects))
    return parts[0] if len(parts) == 1 else inspect.UnionType(tuple(parts))


def _wanted(info: inspect.Type) -> str:
    """Return in words what a value must be."""
    if type(info) in _PLAIN:
        return _PLAIN[type(info)][1]
    if isinstance(info, inspect.StrType):
        length = f" of {info.min_length or 0} to {info.max_length} characters" if info.max_length else ""
        return f"text{length or (' that is not empty' if info.min_length else '')}{f' that matches {info.pattern}' if info.pattern else ''}"
    if isinstance(info, inspect.EnumType):
        return f"one of {', '.join(str(member.value) for member in info.cls)}"
    if isinstance(info, inspect.LiteralType):
        return f"one of {', '.join(map(str, info.values))}" if len(info.values) > 1 else str(info.values[0])
    if isinstance(info, inspect.ListType):
        return "a list"
    if isinstance(info, inspect.UnionType):
        return " or ".join(dict.fromkeys(_wanted(one) for one in info.types))
    return "an object"


def _python(info: inspect.Type) -> Any:
    """Return the type that msgspec was asked to describe."""
    if type(info) in _PLAIN:
        return _PLAIN[type(info)][0]
    if isinstance(info, inspect.StrType):
        return Annotated[str, msgspec.Meta(min_length=info.min_length, max_length=info.max_length, pattern=info.pattern)]
    if isinstance(info, inspect.StructType | inspect.EnumType):
        return info.cls
    if isinstance(info, inspect.DictType):
        return dict[str, _python(info.value_type)]  # type: ignore[misc]  # a type that is built here
    if isinstance(info, inspect.ListType):
        return list[_python(info.item_type)]  # type: ignore[misc]  # a type that is built here
    assert isinstance(info, inspect.UnionType), info
    return functools.reduce(operator.or_, [_python(one) for one in info.types])
