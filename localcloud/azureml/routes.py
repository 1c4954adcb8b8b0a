"""
The table of what this emulator answers: method, path, api-versions. What is not in it is refused by name.

Paths are compared without regard to case, as Azure Resource Manager does; names inside them keep theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from localcloud.azureml.shapes import queries
from localcloud.azureml.wire import Refused, Request, Response

# Every version of machinelearningservices in bicep-types-az since managed online endpoints have today's shape (2022-02-01-preview).
MANAGEMENT = frozenset({
    "2022-02-01-preview", "2022-05-01", "2022-06-01-preview", "2022-10-01", "2022-10-01-preview", "2022-12-01-preview",
    "2023-02-01-preview", "2023-04-01", "2023-04-01-preview", "2023-06-01-preview", "2023-08-01-preview", "2023-10-01",
    "2024-01-01-preview", "2024-04-01", "2024-04-01-preview", "2024-07-01-preview", "2024-10-01", "2024-10-01-preview",
    "2025-01-01-preview", "2025-04-01", "2025-04-01-preview", "2025-06-01", "2025-07-01-preview", "2025-09-01", "2025-10-01-preview",
    "2025-12-01", "2026-01-15-preview", "2026-03-01", "2026-03-15-preview", "2026-05-01", "2026-05-15-preview", "2026-07-01",
    "2026-07-15-preview",
})  # fmt: skip
# What workspaces, clusters, sizes and quotas had before (public data: Azure/azure-rest-api-specs, stable). Jobs, models and endpoints are
# younger. azure-mgmt-machinelearningservices 1.0.1 asks for the first of them.
EARLY = frozenset({"2020-08-01", "2021-01-01", "2021-04-01", "2021-07-01"})
SINCE_EARLY = MANAGEMENT | EARLY
REGISTRY = frozenset({"2021-10-01-dataplanepreview"})
MONITOR = frozenset({"2018-01-01", "2021-05-01", "2023-10-01", "2024-02-01"})  # microsoft.insights/metrics

WORKSPACE = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices/workspaces/{workspace}"


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request that found its route, with the names from its path."""

    request: Request
    names: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        return self.names[name]


Handler = Callable[[Call], Response]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One line of the table."""

    method: str
    path: str  # with {names}
    handler: Handler
    versions: frozenset[str] | None = MANAGEMENT  # None: this address has no api-version
    signed: bool = True  # a bearer token for Azure Resource Manager or Azure ML is needed
    locked: bool = True  # False: the handler waits for others, and locks what it needs itself
    does: str = ""  # what a person uses it for; "": the path says it
    differs: str = ""  # what Azure does otherwise, as far as is known
    query: frozenset[str] | None = None  # names that may stand in the query beside api-version; None: none where there is a version
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pattern", _compile(self.path))


def early(routes: Iterable[Route]) -> list[Route]:
    """Return the routes, served at the early versions too."""
    return [replace(route, versions=SINCE_EARLY) for route in routes]


def _compile(path: str) -> re.Pattern[str]:
    """`{name}` is one segment of a path, `{name...}` is all the rest."""
    pieces = re.split(r"(\{[a-z_]+(?:\.\.\.)?\})", path)
    out = []
    for piece in pieces:
        if piece.endswith("...}"):
            out.append(f"(?P<{piece[1:-4]}>.+)")
        elif piece.startswith("{"):
            out.append(f"(?P<{piece[1:-1]}>[^/]+)")
        else:
            out.append(re.escape(piece))
    return re.compile("".join(out), re.IGNORECASE | re.ASCII)  # ASCII: a long s or a Kelvin sign is no other case of s and k


class Table:
    """All routes; finds the one that a request means, or refuses by name."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._by_method: dict[str, list[Route]] = {}
        for route in self.routes:
            self._by_method.setdefault(route.method, []).append(route)

    def find(self, request: Request) -> tuple[Route, Call]:
        """Return the route and the names in the path; an unknown path or api-version is refused."""
        for route in self._by_method.get(request.method, ()):
            match = route.pattern.fullmatch(request.path)
            if match:
                _check_version(route, request)
                _check_query(route, request)
                return route, Call(request=request, names=match.groupdict())
        raise Refused(
            501,
            "NotImplementedByLocalCloud",
            f"The local cloud does not know {request.method} {request.path}. "
            "Use an operation that it has, or add this one to localcloud/azureml.",
        )


def _check_query(route: Route, request: Request) -> None:
    """An address without an api-version is not Azure Resource Manager's: there the handler decides, unless the route says more."""
    if route.query is not None or route.versions is not None:
        queries.check(request.query, route.query or queries.NONE, request.path)


def _check_version(route: Route, request: Request) -> None:
    if route.versions is None:
        return
    version = request.query.get("api-version")
    if not version:
        message = f"{request.method} {request.path} carries no api-version; add ?api-version=."
        raise Refused(400, "MissingApiVersionParameter", message)
    if version not in route.versions:
        supported = ", ".join(sorted(route.versions))
        message = f"The api-version '{version}' is invalid for {request.path}. The supported versions are: {supported}."
        raise Refused(400, "InvalidApiVersionParameter", message)
