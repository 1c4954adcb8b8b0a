"""
A clock, instances that die, and handlers that are interleaved at every call to the outside.

A handler is an ordinary synchronous function. One heap of (time, order, what) is both the clock and the scheduler; nothing sleeps, and
nothing else runs. Whoever works through the heap calls a handler as a function: only when others come before its next call is due, its
greenlet is put aside as it stands, and another one goes on with the heap. A handler that is killed is never resumed: no `except` and no
`finally` of it runs before the history is over.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, NamedTuple

from greenlet import GreenletExit, getcurrent, greenlet

from shared import errors
from tests.canaries import CANARY

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LATENCY_MS = 1_500  # of a call that nothing happens to, at most
STALL_LEAST_MS = 30_000
FUNCTION_LIMIT_MS = 600_000  # functionTimeout in host.json: the host ends the whole worker
IN_FLIGHT_MS = 60_000  # for so long a request that was sent may land after its sender's death
QUOTES = f"as https://acc.blob.core.windows.net/c?sv=2024-11-04&sig={CANARY}"  # what an error of a library may hold
SENT_AGAIN = frozenset(  # requests to Azure ML and to the queue; a write of the ledger carries a nonce, and its adapter looks who won
    {
        "trainings.submit", "trainings.cancel", "trainings.register", "preparations.submit", "preparations.cancel",
        "endpoints.create_endpoint", "endpoints.delete_endpoint", "endpoints.create_deployment", "endpoints.delete_deployment",
        "endpoints.set_traffic", "endpoints.ask", "turns.ring",
    }
)  # fmt: skip
FAULTS = ("before", "after", "kill_before", "kill_after", "stall")


@dataclass(frozen=True, kw_only=True)
class Mix:
    """How much goes wrong; every history draws its own."""

    rates: tuple[float, ...] = (0.0,) * len(FAULTS)  # chance of each fault at each call, in the order of FAULTS
    stall_ms: int = 900_000
    events_lost: float = 0.0
    messages_doubled: float = 0.0
    ticks_missed: float = 0.0
    metrics_out: float = 0.0
    twice: float = 0.0  # chance that a request to Azure ML lands twice, sent again by the SDK


class Line(NamedTuple):
    """One call to the outside, as the trace shows it."""

    ms: int
    instance: int
    process: int
    handler: str
    call: str
    about: Any
    fault: str

    def __str__(self) -> str:
        at = (NOON + timedelta(milliseconds=self.ms)).strftime("%d %H:%M:%S.%f")[:-3]
        return f"{at} instance {self.instance} #{self.process} {self.handler:34} {self.call} {self.about} {self.fault}".rstrip()


class Instance:
    """One worker process of the app."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.handlers: list[Handler] = []


class Handler:
    """One call of a function of the app, by the host."""

    __slots__ = (
        "again", "alive", "called_ms", "calls", "draw", "effects", "in_flight", "instance", "is_hurt", "machine", "name", "notes", "number",
        "number_of_call", "read", "started", "thread", "work",
    )  # fmt: skip

    def __init__(self, machine: Machine, instance: Instance, name: str, work: Callable[[], object], again: Callable[[bool], None]) -> None:
        machine.handlers_made += 1
        self.machine, self.instance, self.name, self.work, self.again = machine, instance, name, work, again
        self.number = machine.handlers_made
        self.draw = random.Random(machine.seed * 1_000_003 + self.number).random
        self.started = machine.ms
        self.alive = True
        self.calls = 0
        self.called_ms, self.number_of_call = machine.ms, 0  # when its newest call began, and which of all it is
        self.effects = 0  # calls of its that began, changed or ended something in Azure ML
        self.is_hurt = False  # a call of its failed: it may have left things undone
        self.read: set[int] = set()  # incarnations of endpoints that it has seen
        self.notes: Any = None  # of whoever watches it
        self.in_flight: Callable[[], Any] | None = None
        self.thread: greenlet | None = None  # in which it is put aside
        instance.handlers.append(self)

    def resume(self) -> None:
        if not self.alive:
            return
        machine = self.machine
        machine.running = self
        if self.thread is None:
            self._run()
        else:
            machine.idle.append(getcurrent())
            self.thread.switch()

    def _run(self) -> None:
        failed = False
        try:
            self.work()
        except errors.TuneloopError:
            failed = True
        except Exception as error:  # noqa: BLE001 - whatever leaves a handler is for the host, and a fault of the app
            self.machine.broken(f"{self.name} raised {type(error).__name__}: {error}")
        if not self.alive:
            return
        self.alive = False
        self.instance.handlers.remove(self)
        self.machine.on_done(self, failed)
        if failed:
            self.again(False)


class Machine:
    """Runs handlers over one clock; where a fault falls is drawn, or planned by the number of the call."""

    def __init__(self, seed: int, mix: Mix, *, plan: Mapping[int, str] | None = None, instances: int = 3) -> None:
        self.seed, self.mix, self.plan = seed, mix, plan
        self.faults, self.any_fault = tuple(zip(FAULTS, mix.rates, strict=False)), sum(mix.rates) + 1e-9
        self.ms = 0
        self.healed = False
        self.is_quiet = False
        self.over = False
        self.until_ms = 0  # no further goes this run
        self.instances = [Instance(number) for number in range(instances)]
        self.running: Handler | None = None
        self.handlers_made = 0
        self.calls = 0
        self.trace: list[Line] = []
        self.numbers: dict[int, int] = {}  # of a call, by which line of the trace it is: a call is numbered when it begins
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()
        self.draw = random.Random(seed).random
        self.fate: Callable[[tuple[object, ...]], float] | None = None  # says what chance would, in a script
        self.on_done: Callable[[Handler, bool], None] = lambda _handler, _failed: None
        self._hub, self._has_ended = getcurrent(), False
        self.idle: list[greenlet] = []  # that wait to go on with the heap
        self._heap: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []
        self._order = 0
        self._dead: list[Handler] = []
        self._now = (-1, NOON)

    def now(self) -> datetime:
        if self._now[0] != self.ms:
            self._now = (self.ms, NOON + timedelta(milliseconds=self.ms))
        return self._now[1]

    def chance(self, *about: object) -> float:
        """Return a number in [0, 1) that follows from the seed and what it is about: what Azure does with a thing depends on no order."""
        if self.fate is not None:
            return self.fate(about)
        text = "\0".join(map(str, (self.seed, *about))).encode()
        return int.from_bytes(blake2b(text, digest_size=6).digest(), "big") / (1 << 48)

    def at(self, delay_ms: float, what: Callable[..., object], *args: Any) -> None:
        self._order += 1
        heapq.heappush(self._heap, (self.ms + int(delay_ms), self._order, what, args))

    def spawn(self, name: str, work: Callable[[], object], again: Callable[[bool], None] = lambda _killed: None) -> Handler:
        """Let an instance handle something. `again`: what the host does when it raised (False) or its worker died (True)."""
        instance = self.instances[int(self.draw() * len(self.instances))]
        handler = Handler(self, instance, name, work, again)
        self.at(0, handler.resume)
        return handler

    def run(self, until_ms: int) -> None:
        """Let time pass, until something is wrong or somebody says that nothing is left to happen."""
        self.until_ms, self._hub, self._has_ended = until_ms, getcurrent(), False
        while not self._has_ended:  # here, and not where one is wanted: each begins as deep in the stack as it is made
            (self.idle.pop() if self.idle else greenlet(self._work)).switch()
        if not self.is_quiet and not self.violations:
            self.ms = max(self.ms, until_ms)

    def _work(self) -> None:
        """Work through the heap, in one greenlet of several: those of handlers that were put aside wait in the middle of this."""
        heap, pop = self._heap, heapq.heappop
        while not self.over:
            while heap and heap[0][0] <= self.until_ms and not self.violations and not self.is_quiet:
                self.ms, _, what, args = pop(heap)
                self.running = None
                what(*args)
            if not self.over:
                self.running, self._has_ended = None, True
                self.idle.append(getcurrent())
                self._hub.switch()

    def _others_go_on(self) -> None:
        self.running = None
        (self.idle.pop() if self.idle else self._hub).switch()

    def busy(self) -> bool:
        return any(instance.handlers for instance in self.instances)

    def broken(self, sentence: str) -> None:
        """Note that something happened which must never happen."""
        by = f" (by {self.running.name}, instance {self.running.instance.number}, #{self.running.number})" if self.running else ""
        self.violations.append(f"{sentence}, at {self.now():%d %H:%M:%S}{by}")

    def call(self, call: str, about: Any, effect: Callable[[], Any]) -> Any:
        """Make one call to the outside: others go on meanwhile, and a fault may fall on it."""
        handler = self.running
        if self.over or (handler and not handler.alive):
            raise GreenletExit
        if handler is None:
            return effect()
        self.calls += 1
        handler.calls += 1
        handler.called_ms = self.ms
        handler.number_of_call = number = self.calls
        delay, fault = self._drawn(handler)
        self._pass(handler, delay, effect if fault == "stall" and delay % 2 else None)
        self.numbers[len(self.trace)] = number
        line = (self.ms, handler.instance.number, handler.number, handler.name, call, about, fault)
        self.trace.append(tuple.__new__(Line, line))  # as `Line(…)`, and a fifth of its time
        if not fault or fault == "stall":
            return self._sent_again(handler, effect) if self.mix.twice and call in SENT_AGAIN else effect()
        handler.is_hurt = True
        if fault == "before":
            raise errors.TryLater(f"planted, {QUOTES}")
        if fault == "kill_before":
            self._kill(handler)
        effect()
        if fault == "kill_after":
            self._kill(handler)
        raise errors.TryLater(f"planted, after the effect, {QUOTES}")

    def _sent_again(self, handler: Handler, effect: Callable[[], Any]) -> Any:
        """The first answer was lost, and the SDK sends the request again by itself: it lands twice, and the second answer counts."""
        if not self.healed and handler.draw() < self.mix.twice:
            self.counts["twice"] += 1
            handler.is_hurt = True
            effect()
            handler.effects -= 1
        return effect()

    def _pass(self, handler: Handler, delay: int, effect: Callable[[], Any] | None) -> None:
        """Let others go on until the call is due. When nothing else is before that, time passes and nobody has to be put aside."""
        due = self.ms + delay
        heap = self._heap
        if due < handler.started + FUNCTION_LIMIT_MS:
            if due <= self.until_ms and not (heap and heap[0][0] <= due) and not self.violations and not self.is_quiet:
                self.ms = due
                return
            self.at(delay, handler.resume)
        else:
            self.at(handler.started + FUNCTION_LIMIT_MS - self.ms, self._limit, handler)
        handler.in_flight, handler.thread = effect, getcurrent()
        self._others_go_on()
        handler.in_flight = None

    def end(self) -> None:
        """Give up what was killed or is still at work; what it does on its way out reaches nobody."""
        self.over, self.until_ms = True, -1
        for instance in self.instances:
            self._dead += instance.handlers
            for handler in instance.handlers:
                handler.alive = False
        for thread in [*(handler.thread for handler in self._dead), *self.idle]:
            if thread:
                thread.throw(GreenletExit)
        self._dead.clear()
        self.idle.clear()
        self._heap.clear()

    def _drawn(self, handler: Handler) -> tuple[int, str]:
        delay = int(handler.draw() * LATENCY_MS)
        fault = ""
        if self.plan is not None:
            fault = self.plan.get(self.calls, "")
        elif not self.healed:
            drawn = handler.draw()
            for name, rate in self.faults if drawn < self.any_fault else ():
                if drawn < rate:
                    fault = name
                    break
                drawn -= rate
        if fault:
            self.counts[fault] += 1
        if fault == "stall":
            delay += STALL_LEAST_MS + int(handler.draw() * self.mix.stall_ms)
        return delay, fault

    def _limit(self, handler: Handler) -> None:
        if handler.alive:
            self.counts["function_limit"] += 1
            self._end_instance(handler.instance)

    def _kill(self, handler: Handler) -> None:
        handler.thread = getcurrent()
        self._end_instance(handler.instance)
        self._others_go_on()
        raise GreenletExit

    def _end_instance(self, instance: Instance) -> None:
        """The worker is gone with all that it was at; a request that had left it may still land."""
        for handler in instance.handlers:
            handler.alive = False
            self._dead.append(handler)
            if handler.in_flight:
                self.at(handler.draw() * IN_FLIGHT_MS, self._land, handler, handler.in_flight)
            handler.again(True)
        instance.handlers = []

    def _land(self, handler: Handler, effect: Callable[[], Any]) -> None:
        self.running = handler
        self.trace.append(Line(self.ms, handler.instance.number, handler.number, handler.name, "lands late", "", ""))
        try:
            effect()
        except errors.TuneloopError:
            return
