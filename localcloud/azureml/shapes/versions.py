"""
Which api-version knows which field: the resource types of Microsoft differ from one version to the next, and so does what they refuse.

Six versions were read, field by field (public data: Azure/bicep-types-az, generated/machinelearningservices). A version between two of
them takes what either neighbour takes: that is a guess, on the side of the client.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

# The date of 2022-02-01-preview, 2023-04-01-preview, 2023-08-01-preview, 2024-01-01-preview, 2024-10-01-preview and 2026-05-01.
READ = ("2022-02-01", "2023-04-01", "2023-08-01", "2024-01-01", "2024-10-01", "2026-05-01")


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A field that only some versions have; `*` in the path stands for any name or index."""

    path: str
    since: str = READ[0]
    until: str = READ[-1]
    words: frozenset[str] | None = None  # None: the field itself; otherwise only these values of it

    def holds(self, version: str) -> bool:
        """Say whether `version` (a date, perhaps with -preview) knows the field."""
        return any(self.since <= neighbour <= self.until for neighbour in _neighbours(version[:10]))

    def breaches(self, body: Any) -> Iterator[str]:
        """Yield the full path of each place in `body` where the field has a value."""
        return _breaches(body, _parts(self.path), "", self.words)


@cache
def barred(limits: tuple[Limit, ...], version: str) -> tuple[Limit, ...]:
    """Return the limits that forbid their field at this version."""
    return tuple(limit for limit in limits if not limit.holds(version))


@cache
def _parts(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def _neighbours(date: str) -> tuple[str, str]:
    earlier = [one for one in READ if one <= date]
    later = [one for one in READ if one >= date]
    return (earlier[-1] if earlier else READ[0]), (later[0] if later else READ[-1])


def _breaches(value: Any, parts: tuple[str, ...], path: str, words: frozenset[str] | None) -> Iterator[str]:
    if not parts:
        if value is not None and (words is None or value in words):
            yield path
        return
    first, rest = parts[0], parts[1:]
    for name in list(value) if first == "*" and isinstance(value, dict) else [first]:
        if isinstance(value, dict) and name in value:
            yield from _breaches(value[name], rest, f"{path}.{name}" if path else name, words)
