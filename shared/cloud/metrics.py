"""
What Azure Monitor says about the use of a deployment, by plain ARM calls.

Requests are a metric of the endpoint (`RequestsPerMinute`), the heartbeat one of the deployment (`DeploymentCapacity`):
it has a point for every grain while the deployment lives, so its absence is an outage of the metrics, not idleness.
Whether `Total` or `Average` holds the count is documented in two ways, so both are asked for and the larger one counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from azure.core import PipelineClient
from azure.core.exceptions import AzureError, DecodeError

from shared.cloud import clients
from shared.domain.service import Usage
from shared.settings import Settings

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

API_VERSION = "2023-10-01"  # microsoft.insights/metrics
REQUESTS = "RequestsPerMinute"
HEARTBEAT = "DeploymentCapacity"
POINTS_MISSING_MAX = 1  # of a full window; a guess: its edges may fall on either side of a grain


class MonitorMetrics:
    """The `Metrics` port over Azure Monitor."""

    def __init__(self, settings: Settings, credential: TokenCredential) -> None:
        self._settings = settings
        self._credential = credential

    @cached_property
    def _arm(self) -> PipelineClient[Any, Any]:
        address = clients.arm_address(clients.ml_client(self._settings, self._credential))
        local = self._settings.TUNELOOP_LOCAL
        return clients.rest_client(address, self._credential, clients.ARM_SCOPE, local=local, what="Azure Resource Manager")

    @cached_property
    def _address(self) -> str:
        return clients.arm_address(clients.ml_client(self._settings, self._credential))

    def usage(self, endpoint: str, deployment: str, *, start: datetime, end: datetime) -> Usage | None:
        endpoint_id = f"{self._settings.workspace_id}/onlineEndpoints/{endpoint}"
        try:
            heartbeat = self._points(f"{endpoint_id}/deployments/{deployment}", HEARTBEAT, "Average", start, end)
            totals, averages = (self._points(endpoint_id, REQUESTS, name, start, end) for name in ("Total", "Average"))
        except AzureError:
            return None
        requests = max(totals, averages, key=lambda points: sum(value for _, value in points))
        used = [(at, value) for at, value in requests if value > 0]
        return Usage(
            start=start,
            end=end,
            heartbeats=len({at for at, _ in heartbeat}),
            heartbeats_wanted=max(1, int((end - start) / self._settings.METRIC_GRAIN) - POINTS_MISSING_MAX),
            requests=sum(value for _, value in used),
            last_request_at=max((at for at, _ in used), default=None),
        )

    def _points(self, resource: str, name: str, aggregation: str, start: datetime, end: datetime) -> list[tuple[datetime, float]]:
        answer = clients.get_json(
            self._arm,
            f"{self._address}{resource}/providers/microsoft.insights/metrics",
            **{
                "api-version": API_VERSION,
                "metricnames": name,
                "aggregation": aggregation,
                "timespan": f"{_utc(start)}/{_utc(end)}",
                "interval": iso_duration(self._settings.METRIC_GRAIN),
            },
        )
        try:
            return list(_values(answer, aggregation.lower(), start, end))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise DecodeError(f"Azure Monitor's answer cannot be read ({type(error).__name__}).") from error


def iso_duration(value: timedelta) -> str:
    """Return the ISO 8601 form that Azure Monitor takes: PT1M, PT1H, PT5S.

    >>> iso_duration(timedelta(minutes=1))
    'PT1M'
    """
    seconds = int(value.total_seconds())
    if seconds % 3600 == 0:
        return f"PT{seconds // 3600}H"
    return f"PT{seconds // 60}M" if seconds % 60 == 0 else f"PT{seconds}S"


def _values(answer: Any, aggregation: str, start: datetime, end: datetime) -> Iterator[tuple[datetime, float]]:
    """Yield time and value of every point inside [start, end) that has one."""
    for metric in answer.get("value", []):
        for series in metric.get("timeseries", []):
            for point in series.get("data", []):
                at = datetime.fromisoformat(point["timeStamp"])
                if point.get(aggregation) is not None and start <= at < end:
                    value = float(point[aggregation])
                    if not 0 <= value < math.inf:  # NaN, which Python's json reads, would count as no request
                        raise ValueError("no number of anything")
                    yield at, value


def _utc(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
