"""
Azure Monitor's numbers for endpoints and deployments: what was asked of them, and the heartbeat of what stands ready.

Nothing asked in the whole time span: there is no series. A deployment that lives has one point a grain; one that does not, none.
A grain with no value in a series carries its time and no number, as in Azure: absent is not zero.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from localcloud.azureml import site as sites
from localcloud.azureml.endpoints import PATH
from localcloud.azureml.records import Life
from localcloud.azureml.routes import MONITOR, Call, Route
from localcloud.azureml.shapes import queries
from localcloud.azureml.store import Shelf
from localcloud.azureml.wire import Json, Refused, Response, answer

if TYPE_CHECKING:
    from localcloud.azureml.ground import Ground

METRICS = "/providers/microsoft.insights/metrics"
REQUESTS = "RequestsPerMinute"
HEARTBEATS = ("DeploymentCapacity", "CpuUtilizationPercentage")
INTERVALS = {
    "PT1M": 60, "PT5M": 300, "PT15M": 900, "PT30M": 1800, "PT1H": 3600, "PT6H": 21_600, "PT12H": 43_200, "P1D": 86_400,
}  # fmt: skip
CPU_AT_REST = 1.0  # percent; invented: the emulator measures no processor
POINTS_MAX = 100_000  # a guess; a longer question is refused rather than answered slowly
STAMP = "%Y-%m-%dT%H:%M:%SZ"  # of a point
_FILTER = re.compile(r"deployment\s+eq\s+'([^']*)'", re.IGNORECASE)


class Meter:
    """Counts requests and lives; kept after the deployment is gone, as Azure does for 90 days."""

    def __init__(self, ground: Ground, grain_seconds: int) -> None:
        self.grain = grain_seconds
        self.ground = ground
        self._lock = threading.Lock()
        self._counts = Shelf(ground.store, f"requests-{grain_seconds}", int)  # endpoint/deployment/grain number -> requests
        self._lives = Shelf(ground.store, "lives", list[Life])  # deployment's ARM id in lower case -> its lives
        self._requests: dict[tuple[str, str], Counter[int]] = {}  # (endpoint, deployment) -> grain number -> requests
        for key, count in self._counts.all.items():
            endpoint, deployment, number = key.split("/")
            self._requests.setdefault((endpoint, deployment), Counter())[int(number)] = count

    def count(self, endpoint: str, deployment: str) -> None:
        """Count one request that arrived at a scoring server."""
        number = int(self.ground.now().timestamp() // self.grain)
        with self._lock:
            counted = self._requests.setdefault((endpoint, deployment), Counter())
            counted[number] += 1
            self._counts.save(f"{endpoint}/{deployment}/{number}", counted[number])

    def clear(self) -> None:
        with self._lock:
            self._requests.clear()
            self._counts.clear()
            self._lives.clear()

    def began(self, deployment_id: str, capacity: int, now: datetime) -> None:
        key = deployment_id.lower()
        lives = self._lives.get(key) or []
        if lives and lives[-1].ended is None:  # an update: the same life goes on
            lives[-1].capacity = capacity
        else:
            lives.append(Life(began=now.timestamp(), capacity=capacity))
        self._lives.save(key, lives)

    def ended(self, deployment_id: str, now: datetime) -> None:
        lives = self._lives.get(deployment_id.lower())
        if lives and lives[-1].ended is None:
            lives[-1].ended = now.timestamp()
            self._lives.save(deployment_id.lower(), lives)

    def requests(self, endpoint: str, deployment: str | None = None) -> Counter[int]:
        """Return requests by grain; None: of all deployments."""
        total: Counter[int] = Counter()
        with self._lock:
            for (of, name), counted in self._requests.items():
                if of == endpoint and deployment in {None, name}:
                    total.update(counted)
        return total

    def totals(self) -> dict[str, int]:
        """Return all requests since the start by endpoint, also of endpoints that are gone."""
        with self._lock:
            endpoints = dict.fromkeys(of for of, _ in self._requests)
        return {endpoint: self.requests(endpoint).total() for endpoint in endpoints}

    def capacity(self, deployment_id: str, first: float, last: float) -> int | None:
        """Return the most instances that stood ready between two moments; None: none did."""
        alive = [
            life.capacity
            for life in self._lives.get(deployment_id.lower()) or []
            if life.began < last and (life.ended is None or life.ended > first)
        ]
        return max(alive, default=None)


@dataclass(frozen=True, kw_only=True)
class Question:
    """Which numbers, of which time, in which steps."""

    span: str
    first: float  # seconds since 1970, on a step
    last: float
    step: int  # seconds
    interval: str
    names: tuple[str, ...]
    aggregations: tuple[str, ...]  # in lower case
    deployment: str | None  # None: all

    def steps(self) -> list[float]:
        return [self.first + index * self.step for index in range(math.ceil((self.last - self.first) / self.step))]


class Monitor:
    """Answers microsoft.insights/metrics below an endpoint or a deployment."""

    def __init__(self, ground: Ground, meter: Meter) -> None:
        self.ground = ground
        self.site = ground.site
        self.meter = meter

    def routes(self) -> list[Route]:
        of_deployment = PATH + "/deployments/{deployment}" + METRICS
        return [
            Route(
                method="GET",
                path=PATH + METRICS,
                handler=self._endpoint,
                versions=MONITOR,
                query=queries.METRICS,
                does="requests of an endpoint, by Azure Monitor",
                differs="at once, in a grain of your choice; one filter: deployment eq '<name>'",
            ),
            Route(
                method="GET",
                path=of_deployment,
                handler=self._deployment,
                versions=MONITOR,
                query=queries.METRICS,
                does="heartbeat of a deployment, by Azure Monitor",
                differs="capacity and an invented processor load",
            ),
        ]

    def _endpoint(self, call: Call) -> Response:
        question = self._question(call, (REQUESTS,))
        counted = self.meter.requests(call["endpoint"], question.deployment)
        values = [_sum(counted, start, question.step, self.meter.grain) for start in question.steps()]
        points = [self._counted(_point(start, value, question)) for start, value in zip(question.steps(), values, strict=True)]
        points = self._shown(call, points)
        series = [{"metadatavalues": [], "data": points}] if any(value is not None for value in values) else []
        return self._answer(call, question, {REQUESTS: ("Count", series)}, "onlineEndpoints")

    def _deployment(self, call: Call) -> Response:
        question = self._question(call, HEARTBEATS)
        identity = call.request.path[: -len(METRICS)]
        found: dict[str, tuple[str, list[Json]]] = {}
        now = self.ground.now().timestamp()
        for name in question.names:
            points = []
            for start in question.steps():
                capacity = self.meter.capacity(identity, start, start + question.step) if start <= now else None
                if capacity is not None:
                    value = float(capacity) if name == HEARTBEATS[0] else CPU_AT_REST
                    points.append(_point(start, value, question))
            unit = "Count" if name == HEARTBEATS[0] else "Percent"
            found[name] = (unit, [{"metadatavalues": [], "data": self._shown(call, points)}] if points else [])
        return self._answer(call, question, found, "onlineEndpoints/deployments")

    def _counted(self, point: Json) -> Json:
        """Return a point of requests as the switch has it: with the count in each aggregation, or with nothing in one of the two."""
        without = {"total": "average", "average": "total"}.get(self.ground.switches.count_in)
        return {name: 0.0 if name == without else value for name, value in point.items()}

    def _shown(self, call: Call, points: list[Json]) -> list[Json]:
        """Return the points that can be seen now, after what was planned to go wrong."""
        resource = call.request.path[: -len(METRICS)]
        if self.ground.faults.take("metrics_without_points", resource=resource):
            return []
        late = self.ground.faults.take("metrics_late", resource=resource)
        if late is None:
            return points
        newest = (self.ground.now() - timedelta(seconds=float(late["seconds"]))).strftime(STAMP)
        return [point for point in points if point["timeStamp"] <= newest]

    def _question(self, call: Call, known: tuple[str, ...]) -> Question:
        query = call.request.query
        queries.only(query, queries.PLAYED_OF_METRICS, call.request.path)
        interval = query.get("interval", "PT1M")
        step = self._step(interval)
        first, last = _span(query.get("timespan", ""))
        first = first // step * step
        if (last - first) / step > POINTS_MAX:
            raise Refused(400, "BadRequest", f"The time span has more than {POINTS_MAX} points; ask for a longer interval.")
        return Question(
            span=query["timespan"],
            first=first,
            last=last,
            step=step,
            interval=interval,
            names=_names(query.get("metricnames", ""), known),
            aggregations=tuple(filter(None, query.get("aggregation", "Average").lower().split(","))),
            deployment=_dimension(query.get("$filter")),
        )

    def _step(self, interval: str) -> int:
        """Azure's intervals as far as they are whole grains, and the grain itself."""
        steps = {name: seconds for name, seconds in INTERVALS.items() if seconds % self.meter.grain == 0}
        steps[f"PT{self.meter.grain}S"] = self.meter.grain
        if interval not in steps:
            message = f"Invalid time grain interval {interval}. Use one of {', '.join(sorted(steps))}."
            raise Refused(400, "BadRequest", message)
        return steps[interval]

    def _answer(self, call: Call, question: Question, found: dict[str, tuple[str, list[Json]]], kind: str) -> Response:
        values = [
            {
                "id": f"{call.request.path[: -len(METRICS)]}/providers/Microsoft.Insights/metrics/{name}",
                "type": "Microsoft.Insights/metrics",
                "name": {"value": name, "localizedValue": name},
                "unit": unit,
                "timeseries": series,
                "errorCode": "Success",
            }
            for name, (unit, series) in found.items()
        ]
        body = {
            "cost": 0,
            "timespan": question.span,
            "interval": question.interval,
            "namespace": f"{sites.PROVIDER}/workspaces/{kind}",
            "resourceregion": self.site.location,
            "value": values,
        }
        return answer(body)


def _names(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(name for name in known if name.lower() in text.lower().split(","))
    if len(names) != len(list(filter(None, text.split(",")))) or not names:
        raise Refused(400, "BadRequest", f"Failed to find metric configuration for {text!r}. Valid metrics: {', '.join(known)}.")
    return names


def _dimension(text: str | None) -> str | None:
    if not text:
        return None
    match = _FILTER.fullmatch(text.strip())
    if match is None:
        raise Refused(
            501, "NotImplementedByLocalCloud", f"The local cloud knows the filter deployment eq '<name>' only, and this is: {text}"
        )
    return match[1]


def _span(text: str) -> tuple[float, float]:
    try:
        first, last = (datetime.fromisoformat(part) for part in text.split("/"))
        if first.tzinfo is None or last.tzinfo is None:
            first, last = first.replace(tzinfo=first.tzinfo or UTC), last.replace(tzinfo=last.tzinfo or UTC)
        return first.timestamp(), last.timestamp()
    except ValueError:
        message = f"The timespan {text!r} is invalid; write <start>/<end>, for example 2026-01-01T00:00:00Z/2026-01-01T01:00:00Z."
        raise Refused(400, "BadRequest", message) from None


def _sum(counted: Counter[int], start: float, step: int, grain: int) -> float | None:
    grains = range(int(start // grain), int((start + step) // grain))
    found = [counted[number] for number in grains if number in counted]
    return float(sum(found)) if found else None


def _point(start: float, value: float | None, question: Question) -> Json:
    point: Json = {"timeStamp": datetime.fromtimestamp(start, UTC).strftime(STAMP)}
    if value is not None:
        point |= dict.fromkeys(question.aggregations, value)
    return point
