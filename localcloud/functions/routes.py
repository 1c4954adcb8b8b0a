"""
A route is an ASP.NET template: `records/{id:int}`, `files/{*path}`, `list/{kind?}`, `{a}-{b}`, `{page=1}`.

Constraints decide whether a path matches; what a name caught goes to the function as text. Which of two matching routes wins is not
decided here: the real host takes functions in the alphabetical order of their names and knows no precedence
(Azure/azure-functions-host #9876).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache


class WrongRoute(ValueError):
    """The template cannot be read; the text says where."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """A template, ready to match."""

    pattern: re.Pattern[str]
    constraints: tuple[tuple[str, Callable[[str], bool]], ...]  # name -> what its text must satisfy
    defaults: Mapping[str, str]

    def match(self, path: str) -> dict[str, str] | None:
        """What the names caught in a path without its outer slashes; None: it does not match."""
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        caught = {name: text for name, text in found.groupdict().items() if text is not None}
        if not all(fits(caught[name]) for name, fits in self.constraints if name in caught):
            return None
        return {**self.defaults, **caught}


@lru_cache(maxsize=1024)
def parse(template: str) -> Route:
    """Read a template; raises WrongRoute."""
    expression, constraints, defaults = "", [], {}
    for literal, parameter in _parts(template.strip("/")):
        if parameter is None:
            expression += re.escape(literal)
            continue
        name, catches_all, optional, default, rules = _parameter(template, parameter)
        constraints += [(name, _constraint(template, rule)) for rule in rules]
        if default is not None:
            defaults[name] = default
        group = f"(?P<{name}>{'.*' if catches_all else '[^/]+'})"
        if not (optional or catches_all or default is not None):
            expression += group
        elif expression.endswith("/"):
            expression = f"{expression[:-1]}(?:/{group})?"
        else:
            expression += f"(?:{group})?"
    try:
        pattern = re.compile(expression, re.IGNORECASE)
    except re.error as error:
        raise WrongRoute(f"The route {template!r} cannot be read: {error}.") from error
    return Route(pattern=pattern, constraints=tuple(constraints), defaults=defaults)


def _parts(template: str) -> list[tuple[str, str | None]]:
    """Literal texts and the insides of braces, in order; doubled braces are text."""
    parts: list[tuple[str, str | None]] = []
    at, literal = 0, ""
    while at < len(template):
        if template[at : at + 2] in ("{{", "}}"):
            literal, at = literal + template[at], at + 2
        elif template[at] == "{":
            end = at + 1
            while template[end : end + 1] != "}" or template[end : end + 2] == "}}":
                if end >= len(template):
                    raise WrongRoute(f"The route {template!r} opens a brace that it does not close.")
                end += 2 if template[end : end + 2] in ("{{", "}}") else 1
            parts += [(literal, None), ("", template[at + 1 : end].replace("{{", "{").replace("}}", "}"))]
            literal, at = "", end + 1
        else:
            literal, at = literal + template[at], at + 1
    return [*parts, (literal, None)]


def _parameter(template: str, text: str) -> tuple[str, bool, bool, str | None, list[str]]:
    """Name, catches all, optional, default, constraints."""
    match = re.fullmatch(r"(\*{0,2})(\w+)((?::\w+(?:\((?:[^()]|\([^()]*\))*\))?)*)(?:=([^?]*))?(\??)", text)
    if match is None:
        raise WrongRoute(f"The route {template!r} has a parameter {{{text}}} that cannot be read.")
    stars, name, rules, default, optional = match.groups()
    return name, bool(stars), bool(optional), default, re.findall(r":(\w+(?:\((?:[^()]|\([^()]*\))*\))?)", rules)


def _constraint(template: str, rule: str) -> Callable[[str], bool]:
    name, _, inside = rule.partition("(")
    make = _CONSTRAINTS.get(name.lower())
    if make is None:
        raise WrongRoute(f"The route {template!r}: the constraint reference '{name}' could not be resolved to a type.")
    try:
        return make(inside.removesuffix(")"))
    except (ValueError, TypeError, re.error) as error:
        raise WrongRoute(f"The route {template!r} has a constraint {rule!r} that cannot be read: {error}.") from error


def _reads(read: Callable[[str], object]) -> Callable[[str], Callable[[str], bool]]:
    """A constraint without arguments: the text can be read as this."""

    def fits(text: str) -> bool:
        try:
            read(text)
        except ValueError:
            return False
        return True

    return lambda _: fits


def _number(text: str) -> int:
    if re.fullmatch(r"[+-]?[0-9]+", text) is None:  # int() also takes spaces and underscores
        raise ValueError(text)
    return int(text)


def _whole(bits: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = _number(text)
        if not -(1 << bits - 1) <= number < 1 << bits - 1:
            raise ValueError(text)
        return number

    return read


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _alpha(text: str) -> bool:
    return re.fullmatch("[a-z]*", text, re.IGNORECASE) is not None


def _between(low: str, high: str, measure: Callable[[str], int]) -> Callable[[str], bool]:
    least, most = int(low) if low else None, int(high) if high else None

    def fits(text: str) -> bool:
        try:
            value = measure(text)
        except ValueError:
            return False
        return (least is None or value >= least) and (most is None or value <= most)

    return fits


def _length(inside: str) -> Callable[[str], bool]:
    low, comma, high = inside.partition(",")
    return _between(low, high if comma else low, len)


def _range(inside: str) -> Callable[[str], bool]:
    low, _, high = inside.partition(",")
    return _between(low, high, _number)


def _regex(inside: str) -> Callable[[str], bool]:
    pattern = re.compile(inside, re.IGNORECASE)
    return lambda text: pattern.search(text) is not None


_CONSTRAINTS: Mapping[str, Callable[[str], Callable[[str], bool]]] = {  # ASP.NET Core, "Route constraints"
    "int": _reads(_whole(32)),
    "long": _reads(_whole(64)),
    "bool": _reads(_truth),
    "datetime": _reads(datetime.fromisoformat),
    "decimal": _reads(float),
    "double": _reads(float),
    "float": _reads(float),
    "guid": _reads(uuid.UUID),
    "alpha": lambda _: _alpha,
    "minlength": lambda inside: _between(inside, "", len),
    "maxlength": lambda inside: _between("", inside, len),
    "length": _length,
    "min": lambda inside: _between(inside, "", _number),
    "max": lambda inside: _between("", inside, _number),
    "range": _range,
    "regex": _regex,
    "required": lambda _: bool,
}
