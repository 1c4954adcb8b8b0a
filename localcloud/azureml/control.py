"""
The addresses that Azure does not have: what this cloud holds, what time it is, what shall go wrong, what was said. For tests and people.

    GET  /_localcloud/state     jobs, models, endpoints, events, counters, dials, switches
    POST /_localcloud/state     {"dials": {"jobs": 30}, "switches": {"reply_shape": "list"}, "move": {"jobs": ["ft-1"]}}
    GET  /_localcloud/clock     {"now": ..., "manual": true}
    POST /_localcloud/clock     {"advance_seconds": 60, "wait_seconds": 5}: everything that is due on the way happens at its time; children
                                are waited for, so many real seconds in all; "quiet" says whether they have ended. Manual clocks only
    GET  /_localcloud/faults    the plan and what became of it
    POST /_localcloud/faults    {"faults": [...]} adds to the plan, {"clear": true} empties it
    GET  /_localcloud/reset     how often it was reset
    POST /_localcloud/reset     {} forgets everything but certificates, the signing key, and the traffic with its counts
    GET  /_localcloud/traffic   counts and the newest exchanges; ?since=N from line N on
    POST /_localcloud/traffic   {"mark": "text"} writes a line that separates before from after

Without a token: only this machine reaches them, and nothing that they say is a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from localcloud import switches
from localcloud.azureml import site as sites
from localcloud.azureml.dials import WrongDial
from localcloud.azureml.routes import Call, Route
from localcloud.azureml.shapes import queries
from localcloud.azureml.wire import Json, Refused, Response, answer, known_only, mapping
from localcloud.clocks import ManualClock
from localcloud.faults import WrongFault
from localcloud.switches import WrongSwitch

if TYPE_CHECKING:
    from localcloud.azureml.endpoints import Endpoints
    from localcloud.azureml.events import Announcer
    from localcloud.azureml.ground import Ground
    from localcloud.azureml.jobs import Jobs
    from localcloud.azureml.models import Models
    from localcloud.azureml.monitor import Meter
    from localcloud.azureml.traffic import Traffic

Stats = Callable[[], dict[str, Any]]
ADVANCE_SECONDS_MAX = 366 * 86_400.0  # a year: more is a typing error
WAIT_SECONDS_MAX = 600.0


class Movable(Protocol):
    """A room whose dial may be `by-hand`."""

    def check_moves(self, name: str) -> None: ...
    def permit(self, name: str) -> None: ...
    def turned(self) -> None: ...


class Control:
    """Shows and disturbs."""

    def __init__(
        self,
        ground: Ground,
        *,
        jobs: Jobs,
        models: Models,
        endpoints: Endpoints,
        movable: Mapping[str, Movable],
        meter: Meter,
        announcer: Announcer,
        traffic: Traffic,
        delivered: Stats,
        requests: Callable[[], Mapping[str, int]],
        move_clock: Callable[[timedelta, float], bool],
        reset: Callable[[], None],
    ) -> None:
        self.ground = ground
        self._jobs = jobs
        self._models = models
        self._endpoints = endpoints
        self._movable = movable
        self._meter = meter
        self._announcer = announcer
        self._traffic = traffic
        self._delivered = delivered
        self._requests = requests
        self._move_clock = move_clock
        self._reset = reset
        self._resets = 0

    def routes(self) -> list[Route]:
        table: list[tuple[str, str, Callable[[Call], Response], bool, str]] = [
            ("GET", "state", self._state, True, "what this cloud holds"),
            ("POST", "state", self._change, True, "turn dials, set switches, move by hand"),
            ("GET", "clock", self._clock, True, "what time it is"),
            ("POST", "clock", self._advance, False, "move a manual clock"),
            ("GET", "faults", self._plan, True, "what shall go wrong"),
            ("POST", "faults", self._fault, True, "add to what shall go wrong"),
            ("GET", "reset", self._how_often, True, "how often it was reset"),
            ("POST", "reset", self._forget, False, "forget everything"),
            ("GET", "traffic", self._lines, True, "what was asked and answered"),
            ("POST", "traffic", self._mark, True, "mark a place in the traffic"),
        ]
        return [
            Route(
                method=method,
                path=f"/_localcloud/{name}",
                handler=handler,
                versions=None,
                signed=False,
                locked=locked,
                query=queries.TRAFFIC if (method, name) == ("GET", "traffic") else queries.NONE,
                does=does,
            )
            for method, name, handler, locked, does in table
        ]

    def _state(self, call: Call) -> Response:  # noqa: ARG002
        by_type = self._announcer.by_type
        events = {"published": sum(by_type.values()), "delivered": 0, "failed": 0, "by_type": by_type} | self._delivered()
        requests = self._requests()
        state = {
            "requests": sum(requests.values()),
            "requests_by_method": dict(requests),
            "jobs": {job.name: job.status for job in self._jobs.all.values()},
            "models": [model.key for model in self._models.all.values()],
            "endpoints": {endpoint.name: self._shown(endpoint.name) for endpoint in self._endpoints.all.values()},
            "events": events,
            "scoring_requests": self._meter.totals(),
            "dials": self.ground.dials.positions,
            "switches": {name: getattr(self.ground.switches, name) for name in switches.sides()},
        }
        return answer(state)

    def _shown(self, name: str) -> Json:
        endpoint, deployments = self._endpoints.all[name], self._endpoints.deployments_of(name)
        return {
            "state": endpoint.state,
            "deployments": list(deployments),
            "states": {deployment: one.state for deployment, one in deployments.items()},
            "traffic": endpoint.traffic,
        }

    def _change(self, call: Call) -> Response:
        body = call.request.json()
        known_only(body, frozenset({"dials", "switches", "move"}), "A change of the state")
        moving = self._checked_moves(mapping(body, "move", "A change of the state"))
        try:
            chosen = switches.changed(self.ground.switches, mapping(body, "switches", "A change of the state"))
            self.ground.dials.turn(mapping(body, "dials", "A change of the state"))
        except (WrongSwitch, WrongDial) as error:
            raise Refused(400, "UserError", str(error)) from None
        self.ground.switches = chosen
        for kind in mapping(body, "dials", "A change of the state"):
            self._movable[kind].turned()
        for kind, name in moving:
            self._movable[kind].permit(name)
        return self._state(call)

    def _checked_moves(self, moves: Json) -> list[tuple[str, str]]:
        """Return kinds and names; refuse the first that cannot move, before anything is changed."""
        known_only(moves, frozenset(self._movable), "A move by hand")
        moving = []
        for kind, names in moves.items():
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise Refused(400, "UserError", f"A move by hand: {kind} must be a list of names, and is {names!r}.")
            moving += [(kind, name) for name in names]
        for kind, name in moving:
            self._movable[kind].check_moves(name)
        return moving

    def _clock(self, call: Call) -> Response:  # noqa: ARG002
        return answer({"now": sites.stamp(self.ground.now()), "manual": isinstance(self.ground.site.clock, ManualClock)})

    def _advance(self, call: Call) -> Response:
        """Move the clock and let everything happen on the way; without the lock, because children are waited for."""
        body = call.request.json()
        known_only(body, frozenset({"advance_seconds", "wait_seconds"}), "A move of the clock")
        by, wait = _seconds(body, "advance_seconds", ADVANCE_SECONDS_MAX), _seconds(body, "wait_seconds", WAIT_SECONDS_MAX)
        if not isinstance(self.ground.site.clock, ManualClock):
            raise Refused(409, "Conflict", "The clock of this cloud is the laptop's and cannot be moved; start it with --clock manual.")
        quiet = self._move_clock(timedelta(seconds=by), wait)
        return answer({"now": sites.stamp(self.ground.now()), "manual": True, "quiet": quiet})

    def _plan(self, call: Call) -> Response:  # noqa: ARG002
        return answer({"faults": self.ground.faults.shown()})

    def _fault(self, call: Call) -> Response:
        body = call.request.json()
        if list(body) == ["clear"] and body["clear"] is True:
            self.ground.faults.clear()
            return answer({"ids": []})
        try:
            return answer({"ids": self.ground.faults.add(body)})
        except WrongFault as error:
            raise Refused(400, "UserError", str(error)) from None

    def _how_often(self, call: Call) -> Response:  # noqa: ARG002
        return answer({"resets": self._resets})

    def _forget(self, call: Call) -> Response:
        known_only(call.request.json(), frozenset(), "A reset")
        self._reset()
        self._resets += 1
        return answer({"resets": self._resets})

    def _lines(self, call: Call) -> Response:
        since = call.request.query.get("since", "0")
        if not re.fullmatch("[0-9]{1,18}", since):
            raise Refused(400, "UserError", f"since is {since!r}; it is the number of a line, from 0 on.")
        return answer(self._traffic.shown(int(since)))

    def _mark(self, call: Call) -> Response:
        body = call.request.json()
        known_only(body, frozenset({"mark"}), "A mark")
        if not isinstance(body.get("mark"), str):
            raise Refused(400, "UserError", 'A mark is {"mark": "text"}.')
        self._traffic.mark(body["mark"])
        return answer({"next": self._traffic.shown(0)["next"]})


def _seconds(body: Json, name: str, most: float) -> float:
    value = body.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise Refused(400, "UserError", f"{name} is {value!r}; it is a number of seconds from 0 to {most:g}.")
    return float(value)
