"""
The scheduler of the simulation, put where a request leaves: each exchange is a call on which others go on and a fault may fall.

A fault is what a network, a service or a host does, and the SDK's own retries meet it: a fault that lasts falls on the next tries of the
same request too. What an SDK sleeps passes as time of the machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from greenlet import GreenletExit

from tests.simulation import machine
from tests.simulation.adapters.line import Lost, TooSlow, Unreachable
from tests.simulation.adapters.storage import Answer
from tests.simulation.machine import STALL_LEAST_MS, Handler, Line

LATENCY_MS = 700  # of an exchange that nothing happens to, at most; a turn makes several
SLEEP_SECONDS_MAX = 10.0  # that a client of the app may sleep at once (docs/failure-points.md, 39)
SLEEP_OF_THE_SDK_SECONDS_MAX = 45.0  # that azure-ai-ml's own storage client sleeps when it uploads the code of a job (39)
SLEEPS_AND_NOTHING_ELSE_MAX = 20  # of a client that asks nothing in between: it waits for what will never come
CODE_CONTAINER = ".windows.net/code-"  # into which only that one writes
FAULTS = (
    "refused",  # no connection
    "reset",  # the connection breaks before anything is done
    "lost",  # it is done, and the connection breaks
    "timeout",  # it is done, and no answer comes
    "throttled",  # 429 or 503 with Retry-After, at times of an hour
    "busy",  # 503 without
    "failed",  # it is done, then 500
    "forbidden",  # 403: a role that has not arrived yet
    "cut",  # it is done, and the answer ends in the middle
    "kill_before",
    "kill_after",
    "stall",  # the process stands still before it sends
)
NOT_DONE = frozenset({"refused", "reset", "throttled", "busy", "forbidden", "kill_before"})
READ_SECONDS = 60  # of patience, as the app's clients have it
LASTS_MAX = 6  # tries of one request that a fault may fall on


@dataclass(frozen=True, kw_only=True)
class Mix(machine.Mix):
    """How much goes wrong, by FAULTS of this module."""

    rates: tuple[float, ...] = (0.0,) * len(FAULTS)
    lasting: float = 0.0  # chance that a fault stays for more tries


class Asked(NamedTuple):
    """One request as it leaves."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        parts = urlsplit(self.url)
        return f"{(parts.hostname or '').partition('.')[0]}{parts.path}"


Serve = Callable[[Asked], tuple[Answer, Callable[[], None]]]  # what came of it, and what its sender knows once the answer is there


class WireMachine(machine.Machine):
    """Runs handlers whose calls are HTTP exchanges."""

    mix: Mix

    def __init__(self, seed: int, mix: Mix, *, plan: Mapping[int, str] | None = None, instances: int = 3) -> None:
        super().__init__(seed, mix, plan=plan, instances=instances)
        self.serve: Serve
        self.ended: Callable[[int], None] = lambda _number: None  # an instance has died
        self._newest: dict[int, str] = {}  # address that a handler asked last
        self._sleeps = Counter[int]()  # of a handler, since its last exchange
        self._spells: dict[tuple[int, str, str], tuple[str, int]] = {}

    def handle(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Carry one request; raise what its sender's socket would."""
        asked = Asked(method, url, headers, body)
        handler = self.running
        if self.over or (handler and not handler.alive):
            raise GreenletExit
        if handler is None:
            raise AssertionError(f"{method} {url} leaves outside of every handler.")
        self.calls += 1
        self._newest[handler.number], self._sleeps[handler.number] = url, 0
        delay, fault = self._drawn_for(handler, asked)
        self._pass(handler, delay, (lambda: self.serve(asked)) if fault == "stall" and delay % 2 else None)
        shown = f"{method} {asked.path[-70:]}"
        if fault in NOT_DONE:
            self._note(handler, shown, "", fault)
            if fault == "kill_before":
                self._kill(handler)
            return _not_done(fault, asked, handler.draw())
        answer, known = self.serve(asked)
        self._note(handler, shown, answer.status, fault)
        if fault == "kill_after":
            self._kill(handler)
        return self._done(handler, answer, known, fault)

    def sleep(self, seconds: float) -> None:
        """Let somebody's client sleep."""
        handler = self.running
        if self.over or handler is None or not handler.alive:
            raise GreenletExit
        self.counts["sleeps"] += 1
        self._sleeps[handler.number] += 1
        if self._sleeps[handler.number] > SLEEPS_AND_NOTHING_ELSE_MAX:
            self.broken(f"W3: a client only sleeps since it asked {self._newest.get(handler.number)}")
        of_the_sdk = CODE_CONTAINER in self._newest.get(handler.number, "")
        if seconds > (SLEEP_OF_THE_SDK_SECONDS_MAX if of_the_sdk else SLEEP_SECONDS_MAX):
            self.broken(f"W3: a client sleeps for {seconds:.0f} s after asking {self._newest.get(handler.number)}")
        self._note(handler, "sleeps", f"{seconds:.1f} s", "")
        self._pass(handler, int(seconds * 1000), None)

    def _done(self, handler: Handler, answer: Answer, known: Callable[[], None], fault: str) -> Answer:
        if fault == "lost":
            raise Lost
        if fault == "timeout":
            self._pass(handler, READ_SECONDS * 1000, None)
            raise TooSlow
        if fault == "failed":
            return _error(500, "InternalError", {})
        if fault == "cut" and answer.body:
            return Answer(answer.status, answer.headers, answer.body[: len(answer.body) // 2])
        known()
        return answer

    def _note(self, handler: Handler, call: str, about: Any, fault: str) -> None:
        self.trace.append(Line(self.ms, handler.instance.number, handler.number, handler.name, call, about, fault))

    def _drawn_for(self, handler: Handler, asked: Asked) -> tuple[int, str]:
        delay = int(handler.draw() * LATENCY_MS)
        fault = self.plan.get(self.calls, "") if self.plan is not None else self._fault(handler, asked)
        if fault:
            self.counts[fault] += 1
        if fault == "stall":
            delay += STALL_LEAST_MS + int(handler.draw() * self.mix.stall_ms)
        return delay, fault

    def _fault(self, handler: Handler, asked: Asked) -> str:
        if self.healed:
            return ""
        about = (handler.number, asked.method, asked.path)
        lasting, left = self._spells.pop(about, ("", 0))
        if left:
            self._spells[about] = (lasting, left - 1)
            return lasting
        drawn = handler.draw()
        for name, rate in zip(FAULTS, self.mix.rates, strict=True):
            if drawn < rate:
                if handler.draw() < self.mix.lasting:
                    self._spells[about] = (name, 1 + int(handler.draw() * LASTS_MAX))
                return name
            drawn -= rate
        return ""

    def _end_instance(self, instance: machine.Instance) -> None:
        super()._end_instance(instance)
        self.ended(instance.number)


def _not_done(fault: str, asked: Asked, drawn: float) -> Answer:
    if fault == "refused":
        raise Unreachable
    if fault == "reset":
        raise Lost
    if fault == "forbidden":
        return _error(403, "AuthorizationFailed", {})
    of_storage = ".core.windows.net" in asked.url
    if fault == "busy":
        return _error(503, "ServerBusy", {})
    wait = ("1", "8", "120", "3600")[int(drawn * 4)]
    return _error(503 if of_storage else 429, "ServerBusy" if of_storage else "TooManyRequests", {"retry-after": wait})


def _error(status: int, code: str, headers: dict[str, str]) -> Answer:
    """Return an error that Resource Manager and storage write alike as far as anybody here reads it."""
    body = f'{{"error": {{"code": "{code}", "message": "planted"}}}}'.encode()
    about = {"content-type": "application/json", "x-ms-error-code": code, "content-length": str(len(body))}
    return Answer(status, {**about, **headers}, body)
