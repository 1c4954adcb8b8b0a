"""
The emulator itself: every resource type, one table of routes, one lock, and a clock that somebody else moves.

`handle` answers a request and changes only what was asked; `advance` lets happen what is due. Neither sleeps. Whoever carries
requests here (a socket, a test) and whoever calls `advance` (a thread, a test) are not this module's business.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from localcloud.azureml import events, processes
from localcloud.azureml import site as sites
from localcloud.azureml.computes import Computes
from localcloud.azureml.control import Control
from localcloud.azureml.datastores import Datastores
from localcloud.azureml.deployments import Deployments
from localcloud.azureml.endpoints import Endpoints
from localcloud.azureml.events import Announcer
from localcloud.azureml.faults import Faults
from localcloud.azureml.jobs import Identical, Jobs
from localcloud.azureml.mlflow import Mlflow
from localcloud.azureml.models import Models
from localcloud.azureml.monitor import Meter, Monitor
from localcloud.azureml.operations import Operations
from localcloud.azureml.registry import Registry
from localcloud.azureml.routes import Route, Table
from localcloud.azureml.run_history import RunHistory
from localcloud.azureml.scoring import Scoring
from localcloud.azureml.tokens import Tokens
from localcloud.azureml.wire import Refused, Request, Response
from localcloud.azureml.workspace import Workspace

if TYPE_CHECKING:
    from localcloud.azureml.datastores import Storage
    from localcloud.azureml.site import Site

TICK_SECONDS = 0.05  # how often conditions are looked at; nothing is decided by it
LOG = logging.getLogger(__name__)


class Room(Protocol):
    """One resource type."""

    def routes(self) -> list[Route]: ...


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be chosen when the cloud is built."""

    trainer: Sequence[str] = processes.TRAINER  # command that starts a child; `train` or `serve` and their arguments follow
    nodes_max: int = 1  # jobs that the cluster runs at once
    metric_grain_seconds: int = 60  # Azure's own grain
    identical_job_put: Identical = "refused"  # the harsher of two answers; which one Azure gives is not known
    publish: events.Publish = events.silence
    delivered: Callable[[], dict[str, Any]] = dict  # what became of the published events
    record: Callable[[Request, Response], None] | None = None  # None: exchanges are not recorded


class Cloud:
    """One local Azure ML workspace, its registry and its identity."""

    def __init__(self, site: Site, storage: Storage, token_key: str, options: Options | None = None) -> None:
        options = options or Options()
        self.site = site
        self.lock = threading.RLock()
        self.requests = 0
        self._record = options.record
        self._stopping = threading.Event()
        self._ticker: threading.Thread | None = None
        announcer = Announcer(site.workspace_id, options.publish)
        faults, begun, registry = Faults(), Operations(site), Registry(site)
        clusters, datastores = Computes(site, begun, options.nodes_max), Datastores(site, storage)
        meter = Meter(options.metric_grain_seconds, site.clock)
        self.tokens = Tokens(site, token_key)
        self.computes = clusters
        self.jobs = Jobs(
            site,
            registry=registry,
            clusters=clusters,
            datastores=datastores,
            operations=begun,
            announcer=announcer,
            faults=faults,
            trainer=options.trainer,
            identical_job_put=options.identical_job_put,
        )
        models = Models(site, self.jobs)
        self.endpoints = Endpoints(site, begun)
        self.deployments = Deployments(
            site,
            endpoints=self.endpoints,
            models=models,
            operations=begun,
            faults=faults,
            meter=meter,
            trainer=options.trainer,
        )
        control = Control(
            jobs=self.jobs,
            models=models,
            endpoints=self.endpoints,
            meter=meter,
            announcer=announcer,
            faults=faults,
            delivered=options.delivered,
            requests=lambda: self.requests,
        )
        scoring = Scoring(self.endpoints, meter, self.tokens, self.lock)
        rooms: list[Room] = [control, self.tokens, Workspace(site), clusters, datastores, registry, begun, scoring]
        rooms += [self.jobs, RunHistory(site, self.jobs), Mlflow(site, self.jobs), models]
        rooms += [self.endpoints, self.deployments, Monitor(site, meter)]
        self.table = Table(route for room in rooms for route in room.routes())

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        try:
            response = self._answer(request)
        except Refused as refused:
            response = self._refusal(refused)
        except Exception as error:
            LOG.exception("%s %s broke the local cloud", request.method, request.path)
            message = f"The local cloud broke at {request.method} {request.path} ({type(error).__name__}); its log says where."
            response = self._refusal(Refused(500, "InternalServerError", message))
        if self._record:
            self._record(request, response)
        return response

    def advance(self) -> None:
        """Let everything happen that is due now."""
        with self.lock:
            self.computes.advance()
            self.jobs.advance()
            self.deployments.advance()
            self.endpoints.advance()

    def start(self) -> None:
        """Call `advance` from a thread until `close`."""
        self._ticker = threading.Thread(target=self._tick, name="localcloud-clock", daemon=True)
        self._ticker.start()

    def close(self) -> None:
        """Stop the clock and kill every child."""
        self._stopping.set()
        if self._ticker:
            self._ticker.join(timeout=10)
        with self.lock:
            self.jobs.close()
            self.deployments.close()

    def _answer(self, request: Request) -> Response:
        if not request.path.startswith("/_localcloud/"):
            with self.lock:
                self.requests += 1
        route, call = self.table.find(request)
        if route.signed:
            self.tokens.check_management(request)
        self.site.check_workspace(call.names)
        if not route.locked:
            return route.handler(call)
        with self.lock:
            return route.handler(call)

    def _refusal(self, refused: Refused) -> Response:
        return refused.response(location=self.site.location, at=sites.stamp(self.site.clock()))

    def _tick(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            try:
                self.advance()
            except Exception:
                LOG.exception("The clock of the local cloud failed once; it goes on.")
