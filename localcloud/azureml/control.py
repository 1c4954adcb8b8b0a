"""
The two addresses that Azure does not have: what this cloud holds now, and what shall go wrong next. For tests and people.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from localcloud.azureml.routes import Call, Route
from localcloud.azureml.wire import Json, Response, answer

if TYPE_CHECKING:
    from localcloud.azureml.endpoints import Endpoint, Endpoints
    from localcloud.azureml.events import Announcer
    from localcloud.azureml.faults import Faults
    from localcloud.azureml.jobs import Jobs
    from localcloud.azureml.models import Models
    from localcloud.azureml.monitor import Meter

Stats = Callable[[], dict[str, Any]]


class Control:
    """Shows and disturbs; without a token, because only this machine can reach it."""

    def __init__(
        self,
        *,
        jobs: Jobs,
        models: Models,
        endpoints: Endpoints,
        meter: Meter,
        announcer: Announcer,
        faults: Faults,
        delivered: Stats,
        requests: Callable[[], int],
    ) -> None:
        self._jobs = jobs
        self._models = models
        self._endpoints = endpoints
        self._meter = meter
        self._announcer = announcer
        self._faults = faults
        self._delivered = delivered
        self._requests = requests

    def routes(self) -> list[Route]:
        return [
            Route(method="GET", path="/_localcloud/state", handler=self._state, versions=None, signed=False),
            Route(method="POST", path="/_localcloud/faults", handler=self._fault, versions=None, signed=False),
        ]

    def _state(self, call: Call) -> Response:  # noqa: ARG002
        by_type = self._announcer.by_type
        events = {"published": sum(by_type.values()), "delivered": 0, "failed": 0, "by_type": by_type} | self._delivered()
        state = {
            "requests": self._requests(),
            "jobs": {job.name: job.status for job in self._jobs.all.values()},
            "models": [f"{name}:{version}" for name, version in self._models.all],
            "endpoints": {endpoint.name: _shown(endpoint) for endpoint in self._endpoints.all.values()},
            "events": events,
            "scoring_requests": self._meter.totals(),
        }
        return answer(state)

    def _fault(self, call: Call) -> Response:
        self._faults.add(call.request.json())
        return Response(status=204)


def _shown(endpoint: Endpoint) -> Json:
    return {
        "state": endpoint.state,
        "deployments": list(endpoint.deployments),
        "states": {name: one.state for name, one in endpoint.deployments.items()},
        "traffic": endpoint.traffic,
    }
