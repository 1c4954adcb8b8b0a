"""
The emulator itself: every resource type, one table of routes, one lock, and a clock that somebody else moves.

`handle` answers a request and changes only what was asked; `advance` lets happen what is due. Neither sleeps. Whoever carries
requests here (a socket, a test) and whoever calls `advance` (a thread, a test) are not this module's business. What a request or
an advance changed is durable before its answer leaves; only then are its events published.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from localcloud.azureml import events, processes
from localcloud.azureml import site as sites
from localcloud.azureml.codes import Codes
from localcloud.azureml.command_jobs import CommandJobs
from localcloud.azureml.components import Components
from localcloud.azureml.computes import Computes
from localcloud.azureml.control import Control
from localcloud.azureml.datastores import Datastores
from localcloud.azureml.deployments import Deployments
from localcloud.azureml.dials import Dial, Dials
from localcloud.azureml.endpoints import Endpoints
from localcloud.azureml.environments import Environments
from localcloud.azureml.events import Announcer
from localcloud.azureml.ground import Ground
from localcloud.azureml.jobs import Jobs
from localcloud.azureml.mlflow import Mlflow
from localcloud.azureml.models import Models
from localcloud.azureml.monitor import Meter, Monitor
from localcloud.azureml.operations import Operations
from localcloud.azureml.origin import Origin
from localcloud.azureml.quota import Quota
from localcloud.azureml.records import Deployment
from localcloud.azureml.registry import Registry
from localcloud.azureml.routes import Route, Table
from localcloud.azureml.run_history import RunHistory
from localcloud.azureml.scoring import Scoring
from localcloud.azureml.shared_models import SharedModels
from localcloud.azureml.store import Memory, NotWritten, Shelf, Store
from localcloud.azureml.tokens import Tokens
from localcloud.azureml.traffic import Traffic
from localcloud.azureml.wire import Refused, Request, Response
from localcloud.azureml.workspace import Workspace
from localcloud.chance import Chance
from localcloud.clocks import ManualClock
from localcloud.faults import KINDS, Fault, Faults
from localcloud.switches import Switches
from localcloud.web import Ending

if TYPE_CHECKING:
    from localcloud.azureml.datastores import Storage
    from localcloud.azureml.site import Site

TICK_SECONDS = 0.05  # how often conditions are looked at; nothing is decided by it
ROUNDS_MAX = 10_000  # of changes that follow one another at one moment; far beyond what any plan brings about
OWN = "/_localcloud/"  # what Azure does not have: neither counted, nor recorded, nor spoiled
BEFORE = ("throttled", "error_before", "connection_reset")
AFTER = ("error_after", "lost_reply", "slow_reply")
LOG = logging.getLogger(__name__)


class Room(Protocol):
    """One resource type."""

    def routes(self) -> list[Route]: ...


class Neighbour(Protocol):
    """A core beside this one that the same hand moves: event delivery, say."""

    def advance(self) -> None: ...
    def forget(self) -> None: ...

    def due(self) -> datetime | None:
        """Return when something of it is due next; None: nothing is, as far as a clock decides it."""

    def busy(self) -> bool:
        """Say whether something is under way that no clock moves."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be chosen when the cloud is built."""

    trainer: Sequence[str] = processes.TRAINER  # command that starts a child; `train` or `serve` and their arguments follow
    nodes_max: int = 1  # jobs that the first cluster runs at once
    metric_grain_seconds: int = 60  # Azure's own grain
    switches: Switches = field(default_factory=Switches)
    dials: Mapping[str, Dial] = field(default_factory=dict)
    plan: Mapping[str, Any] | None = None  # of faults; None: nothing goes wrong until somebody asks for it
    faults: Faults = field(default_factory=Faults)  # shared with the neighbours
    chance: Chance = field(default_factory=Chance)
    store: Store = field(default_factory=Memory)
    publish: events.Publish = events.silence
    delivered: Callable[[], dict[str, Any]] = dict  # what became of the published events
    traffic: Traffic = field(default_factory=Traffic)
    neighbours: Sequence[Neighbour] = ()
    rooms: Sequence[Callable[[Tokens], Room]] = ()  # what else answers at this address


class Cloud:
    """One local Azure ML workspace, its registry and its identity."""

    def __init__(self, site: Site, storage: Storage, token_key: str, options: Options | None = None) -> None:
        self._options = options = options or Options()
        self.site = site
        self.lock = threading.RLock()
        self.requests: Counter[str] = Counter()  # by method
        self.traffic = options.traffic
        self.faults = options.faults
        self.faults.told = self._hit
        self._hits = threading.local()
        self._stopping = threading.Event()
        self._ticker: threading.Thread | None = None
        self._travelling = threading.Lock()
        self._plan_faults()
        self.origin = Origin(options.store, site.clock)
        options.chance.begin(self.origin.starts)
        self.ground = Ground(
            site=site,
            store=options.store,
            faults=self.faults,
            dials=Dials(options.dials),
            chance=options.chance,
            switches=options.switches,
        )
        self.tokens = Tokens(site, token_key)
        self.table = Table(route for room in self._rooms(storage) for route in room.routes())
        options.store.commit()

    def _rooms(self, storage: Storage) -> list[Room]:
        ground, site, options = self.ground, self.site, self._options
        self.announcer = Announcer(ground, options.publish)
        self.operations, self.meter = Operations(ground), Meter(ground, options.metric_grain_seconds)
        registry, datastores = Registry(ground), Datastores(site, storage)
        self.computes = Computes(ground, self.operations, options.nodes_max, is_first_start=self.origin.is_first)
        self.codes, self.environments = Codes(ground, datastores), Environments(ground)
        self.jobs = Jobs(
            ground,
            registry=registry,
            clusters=self.computes,
            datastores=datastores,
            commands=CommandJobs(site, codes=self.codes, environments=self.environments, clusters=self.computes, datastores=datastores),
            operations=self.operations,
            announcer=self.announcer,
            trainer=options.trainer,
        )
        self.models = Models(ground, self.jobs, self.announcer)
        self.shared_models = SharedModels(ground, self.models)
        shelf = Shelf(ground.store, "deployment", Deployment)
        self.endpoints = Endpoints(ground, operations=self.operations, deployments=shelf, announcer=self.announcer, tokens=self.tokens)
        self.deployments = Deployments(
            ground,
            shelf=shelf,
            endpoints=self.endpoints,
            models=self.models,
            operations=self.operations,
            announcer=self.announcer,
            meter=self.meter,
            trainer=options.trainer,
        )
        scoring = Scoring(
            ground, endpoints=self.endpoints, deployments=self.deployments, meter=self.meter, tokens=self.tokens, lock=self.lock
        )
        rooms: list[Room] = [self._control(), self.tokens, Workspace(site), self.computes, datastores, self.shared_models, registry]
        rooms += [self.operations, scoring, Components(site), self.codes, self.environments]
        rooms += [self.jobs, RunHistory(site, self.jobs), Mlflow(site, self.jobs), self.models]
        rooms += [made(self.tokens) for made in options.rooms]
        rooms.append(Quota(site, computes=self.computes, jobs=self.jobs, deployments=self.deployments))
        return [*rooms, self.endpoints, self.deployments, Monitor(ground, self.meter)]

    def _control(self) -> Control:
        return Control(
            self.ground,
            jobs=self.jobs,
            models=self.models,
            endpoints=self.endpoints,
            movable={"jobs": self.jobs, "endpoints": self.endpoints, "deployments": self.deployments, "computes": self.computes},
            meter=self.meter,
            announcer=self.announcer,
            traffic=self.traffic,
            delivered=self._options.delivered,
            requests=lambda: self.requests,
            move_clock=self.move_clock,
            reset=self.reset,
        )

    # ---------------------------------------------------------------------------------------------------------- requests

    def handle(self, request: Request) -> Response:
        """Answer one request."""
        if request.path.lower().startswith(OWN):
            return _without_body(request, self._tried(request))
        kinds: list[str] = []
        self._hits.kinds = kinds
        try:
            response = _without_body(request, self._spoiled(request))
        finally:
            self._hits.kinds = None
        self.traffic.exchange(request, response, kinds)
        return response

    def _spoiled(self, request: Request) -> Response:
        """Answer as the plan of faults says: not at all, not done, or done and not told."""
        with self.lock:
            self.requests[request.method] += 1
        about = {"method": request.method, "path": request.path, "api_version": request.query.get("api-version", "")}
        before = self.faults.take_any(BEFORE, **about)
        if before is not None:
            return self._in_place_of(before)
        response = self._tried(request)
        after = self.faults.take_any(AFTER, **about)
        if after is None:
            return response
        if after.kind == "lost_reply":
            return replace(response, ending=Ending.LOST)
        if after.kind == "slow_reply":
            return replace(response, after_seconds=response.after_seconds + float(after["seconds"]))
        return self._in_place_of(after)

    def _in_place_of(self, fault: Fault) -> Response:
        if fault.kind == "connection_reset":
            return Response(status=0, ending=Ending.RESET)
        status = 429 if fault.kind == "throttled" else int(fault["status"])
        code = {429: "TooManyRequests", 503: "ServiceUnavailable", 403: "AuthorizationFailed"}.get(status, "InternalServerError")
        refused = self._refusal(Refused(status, code, f"The local cloud was told to answer {status} here (fault {fault.id})."))
        pause = fault["retry_after"]
        return refused if pause is None else replace(refused, headers={**refused.headers, "Retry-After": f"{pause:g}"})

    def _tried(self, request: Request) -> Response:
        try:
            return self._answer(request)
        except Refused as refused:
            return self._refusal(refused)
        except NotWritten as error:
            return self._refusal(Refused(500, "InternalServerError", f"What was asked is done and not durable yet. {error}"))
        except Exception as error:
            LOG.exception("%s %s broke the local cloud", request.method, request.path)
            message = f"The local cloud broke at {request.method} {request.path} ({type(error).__name__}); its log says where."
            return self._refusal(Refused(500, "InternalServerError", message))

    def _answer(self, request: Request) -> Response:
        route, call = self.table.find(request)
        if route.signed:
            self.tokens.check_management(request)
        self.site.check_place(call.names)
        if not route.locked:
            return route.handler(call)
        with self.lock:
            try:
                return route.handler(call)
            finally:
                self._commit()

    def _refusal(self, refused: Refused) -> Response:
        return refused.response(location=self.site.location, at=sites.stamp(self.site.clock()))

    def _hit(self, fault: Fault, about: Mapping[str, str]) -> None:
        """A fault hit: it is shown with the exchange that it hit or that planned it, else on a line of its own."""
        kinds = getattr(self._hits, "kinds", None)
        if kinds is not None and KINDS[fault.kind].where != "event":
            kinds.append(fault.kind)
        else:
            self.traffic.fault(fault, about)

    # -------------------------------------------------------------------------------------------------------------- life

    def advance(self) -> None:
        """Let everything happen that is due now."""
        with self.lock:
            self.computes.advance()
            self.jobs.advance()
            self.deployments.advance()
            self.endpoints.advance()
            self._commit()
        for neighbour in self._options.neighbours:
            neighbour.advance()

    def settle(self, wait_seconds: float) -> bool:
        """Advance until nothing changes any more; wait so many real seconds for children. Say whether all is quiet."""
        last = time.monotonic() + wait_seconds
        for _ in range(ROUNDS_MAX):
            before, _busy = self._seen()
            self.advance()
            after, busy = self._seen()
            while after == before and busy and time.monotonic() < last:
                time.sleep(TICK_SECONDS / 5)
                after, busy = self._seen()
            if after == before:
                return not busy
        return False

    def move_clock(self, by: timedelta, wait_seconds: float) -> bool:
        """
        Move the clock, which must be a manual one, and let everything that is due on the way happen at its time.

        Children are waited for wherever they are met, so many real seconds in all. Say whether all is quiet in the end.
        """
        clock = self.site.clock
        assert isinstance(clock, ManualClock), "only a manual clock can be moved"
        last = time.monotonic() + wait_seconds
        with self._travelling:
            end = clock() + by
            for _ in range(ROUNDS_MAX):
                quiet = self.settle(max(0.0, last - time.monotonic()))
                now = clock()
                if now >= end:
                    return quiet
                clock.move(min((due for due in self._dues() if now < due < end), default=end) - now)
                with self.lock:
                    self.origin.keep()
            clock.move(end - clock())
            return self.settle(0.0)

    def reset(self) -> None:
        """Forget every resource, event and number; dials, switches and faults are again those of the start."""
        with self.lock:
            self._options.store.clear()  # first: after a kill in here, folders without a record do no harm
            self.jobs.clear()
            self.deployments.clear()
            for room in (
                self.models.all,
                self.codes.all,
                self.environments.all,
                self.shared_models.all,
                self.endpoints.all,
                self.operations.all,
                self.meter,
                self.announcer,
                self.computes,
            ):
                room.clear()
            self.origin.keep()
            self._options.store.commit()
            self.ground.dials, self.ground.switches = Dials(self._options.dials), self._options.switches
            self.faults.clear()
            self._plan_faults()
        for neighbour in self._options.neighbours:
            neighbour.forget()

    def start(self) -> None:
        """Call `advance` from a thread until `close`."""
        self._ticker = threading.Thread(target=self._tick, name="localcloud-clock", daemon=True)
        self._ticker.start()

    def close(self) -> None:
        """Stop the clock, kill every child, and leave the store as it is."""
        self._stopping.set()
        if self._ticker:
            self._ticker.join(timeout=10)
        with self.lock:
            self.jobs.close()
            self.deployments.close()
            try:
                self._options.store.close()
            except NotWritten as error:
                LOG.error("%s The next start knows nothing of it.", error)
        self.traffic.close()

    def _plan_faults(self) -> None:
        if self._options.plan is not None:
            self.faults.add(self._options.plan)

    def _commit(self) -> None:
        """Make durable, then tell; a kill in between tells again at the next start."""
        self._options.store.commit()
        self.announcer.flush()
        self._options.store.commit()

    def _seen(self) -> tuple[object, bool]:
        """Return all that `advance` goes by, to be compared, and whether something is still at work that no clock moves."""
        with self.lock:
            outside = [*self.jobs.outside(), *self.deployments.outside()]
            jobs = [(job.name, job.status, [step.status for step in job.steps]) for job in self.jobs.all.values()]
            endpoints = [(one.name, one.state) for one in self.endpoints.all.values()]
            computes = [(one.name, one.state) for one in self.computes.all.values()]
            deployments = [(one.key, one.state, one.starts) for one in self.deployments.all.values()]
        outside += [(f"neighbour {number}", neighbour.busy()) for number, neighbour in enumerate(self._options.neighbours)]
        return (jobs, endpoints, computes, deployments, outside), any(busy for _, busy in outside)

    def _dues(self) -> list[datetime]:
        with self.lock:
            dues = [due for room in (self.jobs, self.endpoints, self.deployments, self.computes) for due in room.dues()]
        return dues + [due for neighbour in self._options.neighbours if (due := neighbour.due()) is not None]

    def _tick(self) -> None:
        said = ""
        while not self._stopping.wait(TICK_SECONDS):
            try:
                self.advance()
                said = ""
            except NotWritten as error:
                said = _once(str(error), said, LOG.error)
            except Exception as error:  # noqa: BLE001 - it is logged with its traceback
                said = _once(f"The clock of the local cloud failed and goes on ({error!r}).", said, LOG.exception)


def _once(text: str, said: str, log: Callable[..., None]) -> str:
    """Log what was not said just before, and return it: the clock ticks twenty times a second."""
    if text != said:
        log("%s", text)
    return text


def _without_body(request: Request, response: Response) -> Response:
    """Return the answer as HTTP carries it: to HEAD, and with 204 and 304, without a body."""
    return replace(response, body=b"") if response.body and (request.method == "HEAD" or response.status in {204, 304}) else response
