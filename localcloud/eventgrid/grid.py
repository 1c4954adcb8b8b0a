"""
Events are delivered at least once, in no order, and again until somebody says 2xx: Event Grid as far as an app can feel it.

A state machine on an injected clock. `publish` takes an event over: when it returns, the event is in the store. `advance` lets happen
what is due now and never sleeps; `next_due` says when that is again. Requests leave through `run`, at once or on a pool's threads, and
never under the lock. What happens after an answer is decided in `schedule`.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from localcloud.chance import Chance
from localcloud.clocks import Clock, system
from localcloud.eventgrid import deadletters, schedule, schemas, webhooks
from localcloud.eventgrid.deadletters import Box, ContainerMissing
from localcloud.eventgrid.delivery import Delivery
from localcloud.eventgrid.schedule import Answer, Outcome, Verdict
from localcloud.eventgrid.schemas import Event
from localcloud.eventgrid.store import Store
from localcloud.eventgrid.subscriptions import TOPIC_IDS, Subscription
from localcloud.faults import Faults

ATTEMPTS_AT_ONCE = 8  # a guess: one slow receiver must not hold up the others
HANDSHAKE_AGAIN = timedelta(seconds=0.5)  # Azure refuses the subscription; here the host may still be starting
HANDSHAKE_AGAIN_MAX = timedelta(seconds=1)  # so that an app that has just started misses nothing for long
OVERTAKEN_WITHIN = timedelta(seconds=30)  # a reordered event waits so long for a later one, which may never come
LETTER_AGAIN = timedelta(minutes=1)  # a guess: until a dead letter whose storage is away is tried again
EVENT_KEYS = frozenset({"id", "topic", "subject", "eventType", "eventTime", "data"})
CLOUD_EVENT_KEYS = frozenset({"id", "source", "type", "specversion"})
LOG = logging.getLogger("eventgrid")

Work = Callable[[], None]


class WrongEvent(ValueError):
    """An event lacks what every event has; the text names it."""


@dataclass
class _Line:
    """One subscription and how its endpoint fares."""

    subscription: Subscription
    proved: bool = False  # it answered the handshake
    shaking: bool = False
    again_at: datetime | None = None  # of the next handshake; None: now
    pause: timedelta = timedelta(0)
    probation_until: datetime | None = None  # nothing is sent before that
    parked: list[Delivery] = field(default_factory=list)  # due, but the handshake is still to come
    held: list[Delivery] = field(default_factory=list)  # to be overtaken


@dataclass(eq=False)
class _Attempt:
    """A request under way."""

    delivery: Delivery
    began_at: datetime
    late: bool = False  # it took too long and counts as failed; its answer may still spare the retry


def at_once(work: Work) -> None:
    work()


class EventGrid:
    """
    Delivers events to webhooks.

    `pace` multiplies every waiting time of the schedule (0.01: a minute becomes 0.6 s). `spread` randomises it: 0.2 makes a wait up to
    20 % shorter or longer. `box` takes dead letters; without one, events of a subscription with a dead-letter container are dropped.
    """

    def __init__(
        self,
        subscriptions: Iterable[Subscription],
        *,
        clock: Clock = system,
        chance: Chance | None = None,
        faults: Faults | None = None,
        pace: float = 1.0,
        spread: float = 0.0,
        store: Path | None = None,
        box: Box | None = None,
        post: webhooks.Post = webhooks.over_http,
        log: logging.Logger = LOG,
    ) -> None:
        if not pace > 0:
            raise ValueError(f"The pace is {pace}; it is a factor above 0, such as 0.1.")
        if not 0 <= spread < 1:
            raise ValueError(f"The spread is {spread}; it is a part of each wait, from 0 to below 1.")
        self._clock, self._chance, self._faults = clock, chance or Chance(), faults or Faults()
        self._pace, self._spread, self._box, self._post, self._log = pace, spread, box, post, log
        self.run: Callable[[Work], object] = at_once
        self.changed = threading.Condition(threading.RLock())
        self._lines = {one.name: _Line(one) for one in subscriptions}
        self._store = Store(store)
        self._pending: dict[str, Delivery] = {}
        self._queue: list[tuple[datetime, int, str]] = []  # a heap; an entry whose delivery has another due time by now is stale
        self._under_way: dict[str, _Attempt] = {}  # delivery id -> its attempt that is not late
        self._counts: Counter[str] = Counter()
        self._by_type: Counter[str] = Counter()
        self._number = 0
        self._load()

    # ------------------------------------------------------------------------------------------------------------ asked

    def publish(self, topic: str, event: Event) -> int:
        """Take an event over and return to how many subscriptions it goes; raise WrongEvent when it is none."""
        _check(event)
        kind, subject = schemas.type_of(event), schemas.subject_of(event)
        with self.changed:
            lines = [line for line in self._lines.values() if line.subscription.wants(topic, event)]
            if lines and self._faults.take("event_never", type=kind, subject=subject):
                self._counts["lost"] += 1
            elif lines:
                self._take_over(event, lines, kind, subject)
            self._counts["published"] += 1  # now that nothing can keep it from being taken over
            self._by_type[kind] += 1
            return len(lines)

    def advance(self) -> None:
        """Let happen what is due now."""
        while work := self._due():
            for one in work:
                self.run(one)

    def next_due(self) -> datetime | None:
        """Return when `advance` has something to do again; None: not before something changes."""
        with self.changed:
            moments = [line.again_at or self._clock() for line in self._lines.values() if not line.proved and not line.shaking]
            moments += [one.began_at + schedule.ANSWER_WITHIN for one in self._under_way.values() if not one.late]
            self._drop_stale()
            if self._queue and len(self._under_way) < ATTEMPTS_AT_ONCE:
                moments.append(self._queue[0][0])
            return min(moments, default=None)

    def due(self) -> datetime | None:
        """
        Return when a delivery is due next, or has waited long enough for its answer; None: none is on its way.

        Events for an endpoint that did not answer its handshake wait for that, and no moment is theirs.
        """
        with self.changed:
            moments = [one.began_at + schedule.ANSWER_WITHIN for one in self._under_way.values() if not one.late]
            self._drop_stale()
            return min(moments + [due_at for due_at, _, _ in self._queue[:1]], default=None)

    def busy(self) -> bool:
        """Say whether an answer is awaited, or storage that takes a dead letter."""
        with self.changed:
            return bool(self._under_way)

    def stats(self) -> dict[str, Any]:
        """
        Count since the start. `published` and `lost` count events; the others count deliveries, an event times a subscription:
        `delivered`, `failed` (given up, of which `dead_lettered` are written and `dropped` are gone) and `pending`.
        """
        with self.changed:
            names = ("published", "lost", "delivered", "failed", "dead_lettered", "dropped")
            pending = sum(one.given_up_at is None for one in self._pending.values())
            return {**{name: self._counts[name] for name in names}, "pending": pending, "by_type": dict(self._by_type)}

    def subscriptions(self) -> list[dict[str, Any]]:
        """Return each subscription with the state of its endpoint; no endpoint's query is shown, since it may hold a key."""
        with self.changed:
            return [_shown(line) for line in self._lines.values()]

    def forget(self) -> None:
        """Drop every event that is not delivered yet, the counts, and what is held against endpoints that failed."""
        with self.changed:
            self._store.remove(list(self._pending))
            self._pending.clear()
            self._counts.clear()
            self._by_type.clear()
            for line in self._lines.values():
                line.parked.clear()
                line.held.clear()
                line.probation_until = None

    def close(self) -> None:
        """End; what is undelivered stays in the store."""
        with self.changed:
            self._store.close()

    # --------------------------------------------------------------------------------------------------------- taking over

    def _take_over(self, event: Event, lines: list[_Line], kind: str, subject: str) -> None:
        now = self._clock()
        twice = self._faults.take("event_twice", type=kind, subject=subject)
        late = self._faults.take("event_late", type=kind, subject=subject)
        held = self._faults.take("event_reordered", type=kind, subject=subject) is not None
        wait = timedelta(seconds=float(late["seconds"]) if late else 0.0) + (OVERTAKEN_WITHIN if held else timedelta(0))
        made: list[Delivery] = []
        for line in lines:
            for _ in range(1 + (int(twice["copies"]) if twice else 0)):
                self._number += 1
                made.append(
                    Delivery(
                        id=str(self._number),
                        number=self._number,
                        subscription=line.subscription.name,
                        event=event,
                        published_at=now,
                        due_at=now + wait,
                        held=held,
                    )
                )
        self._store.add(made)
        self._queue_up(made)
        self.changed.notify_all()

    def _load(self) -> None:
        """Take up what an earlier process could not deliver; its subscription may have another endpoint by now."""
        found = self._store.all()
        self._number = max((one.number for one in found), default=0)
        orphans = [one.id for one in found if one.subscription not in self._lines]
        if orphans:
            self._log.warning("%d undelivered events belong to subscriptions that are gone; they are dropped.", len(orphans))
            self._store.remove(orphans)
        self._queue_up([one for one in found if one.subscription in self._lines])

    def _queue_up(self, deliveries: Iterable[Delivery]) -> None:
        for one in deliveries:
            self._pending[one.id] = one
            heapq.heappush(self._queue, (one.due_at, one.number, one.id))
            if one.held:
                self._lines[one.subscription].held.append(one)

    # ------------------------------------------------------------------------------------------------------------- what is due

    def _due(self) -> list[Work]:
        """Return the work that begins now; it is under way from here on."""
        with self.changed:
            now = self._clock()
            for attempt in list(self._under_way.values()):
                if not attempt.late and now - attempt.began_at >= schedule.ANSWER_WITHIN:
                    self._give_up_waiting(attempt, now)
            work = [self._handshake(line, now) for line in self._lines.values() if _may_shake(line, now)]
            while self._queue and len(self._under_way) < ATTEMPTS_AT_ONCE:
                due_at, _, delivery_id = self._queue[0]
                if due_at > now:
                    break
                heapq.heappop(self._queue)
                delivery = self._pending.get(delivery_id)
                if delivery is not None and delivery.due_at == due_at and delivery_id not in self._under_way:
                    begun = self._begin(delivery, now)
                    work += [begun] if begun else []
            return work

    def _drop_stale(self) -> None:
        while self._queue:
            due_at, _, delivery_id = self._queue[0]
            known = self._pending.get(delivery_id)
            if known is not None and known.due_at == due_at and delivery_id not in self._under_way:
                return
            heapq.heappop(self._queue)

    def _begin(self, delivery: Delivery, now: datetime) -> Work | None:
        """Return the attempt or the dead letter that is due; None: it has to wait, or its time is over."""
        line = self._lines[delivery.subscription]
        if delivery.given_up_at is not None:
            self._under_way[delivery.id] = _Attempt(delivery, now, late=True)  # no answer is awaited
            return lambda: self._write_letter(delivery, line.subscription)
        if not line.proved:
            line.parked.append(delivery)
            return None
        over = schedule.expired((now - delivery.published_at) / self._pace, attempts=delivery.attempts, policy=line.subscription.policy)
        if over:
            self._give_up(delivery, over, now)
            return None
        if line.probation_until is not None and now < line.probation_until:
            self._wait(delivery, line.probation_until)
            return None
        attempt = self._under_way[delivery.id] = _Attempt(delivery, now)
        return lambda: self._attempt(attempt, line.subscription)

    def _wait(self, delivery: Delivery, until: datetime) -> None:
        delivery.due_at = until
        heapq.heappush(self._queue, (until, delivery.number, delivery.id))

    # ----------------------------------------------------------------------------------------------------------- handshakes

    def _handshake(self, line: _Line, now: datetime) -> Work:
        line.shaking = True
        subscription, code, event_id = line.subscription, self._chance.guid(), self._chance.guid()
        topic = TOPIC_IDS.get(subscription.topic, subscription.topic)
        validation = schemas.validation_event(topic=topic, code=code, event_id=event_id, at=now)

        def shake() -> None:
            proved = webhooks.handshake(self._post, subscription, validation)
            with self.changed:
                self._shaken(line, proved)
                self.changed.notify_all()

        return shake

    def _shaken(self, line: _Line, proved: bool) -> None:
        line.shaking, line.proved = False, proved
        if proved:
            self._log.info("Subscription %s: the endpoint answered the handshake.", line.subscription.name)
            waiting, line.parked = line.parked, []
            self._queue_again(waiting)
            return
        if not line.pause:
            self._log.info("Subscription %s: no handshake yet; trying until the endpoint answers.", line.subscription.name)
        line.pause = min(max(2 * line.pause, HANDSHAKE_AGAIN), HANDSHAKE_AGAIN_MAX)
        line.again_at = self._clock() + line.pause

    def _queue_again(self, deliveries: Iterable[Delivery]) -> None:
        for one in deliveries:
            if one.id in self._pending:
                heapq.heappush(self._queue, (one.due_at, one.number, one.id))

    # ------------------------------------------------------------------------------------------------------------- attempts

    def _attempt(self, attempt: _Attempt, subscription: Subscription) -> None:
        delivery = attempt.delivery
        answer = webhooks.deliver(self._post, subscription, delivery.event, earlier=delivery.attempts, output_id=self._chance.guid())
        with self.changed:
            if attempt.late:
                self._answered_late(delivery, answer)
            else:
                del self._under_way[delivery.id]
                if delivery.id in self._pending:
                    self._settle(delivery, answer, self._clock())
            self.changed.notify_all()

    def _give_up_waiting(self, attempt: _Attempt, now: datetime) -> None:
        """The receiver may go on; for us the attempt has failed."""
        attempt.late = True
        del self._under_way[attempt.delivery.id]
        if attempt.delivery.id in self._pending:
            self._settle(attempt.delivery, Answer(silence=Outcome.TIMED_OUT), now)

    def _answered_late(self, delivery: Delivery, answer: Answer) -> None:
        """An answer after the 30 s spares the retry if that has not begun."""
        waiting = delivery.id in self._pending and delivery.id not in self._under_way and delivery.given_up_at is None
        if waiting and answer.outcome is Outcome.DELIVERED:
            self._remove(delivery, "delivered")

    def _settle(self, delivery: Delivery, answer: Answer, now: datetime) -> None:
        line = self._lines[delivery.subscription]
        policy = line.subscription.policy
        delivery.attempts, delivery.last_attempt_at, delivery.last_outcome = delivery.attempts + 1, now, answer.outcome
        self._let_through(line, delivery, now)
        following = schedule.after_attempt(answer, attempts=delivery.attempts, policy=policy, spread=self._drawn_spread())
        probation = schedule.PROBATION.get(answer.outcome)
        line.probation_until = now + probation * self._pace if probation else None
        if following.verdict is Verdict.DELIVERED:
            self._remove(delivery, "delivered")
        elif following.verdict is Verdict.GIVE_UP:
            self._give_up(delivery, following.reason, now)
        else:
            wait = following.after * self._pace
            self._wait(delivery, now + wait)
            self._store.change(delivery)
            what = (schemas.type_of(delivery.event), delivery.subscription, delivery.attempts, answer.status or answer.outcome)
            self._log.info("%s to %s: attempt %d got %s; again in %.1f s.", *what, wait.total_seconds())

    def _let_through(self, line: _Line, delivery: Delivery, now: datetime) -> None:
        """An attempt for a later event lets those go that it had to overtake."""
        overtaken = [one for one in line.held if one.number < delivery.number and one.event["id"] != delivery.event["id"]]
        line.held = [one for one in line.held if one not in overtaken and one is not delivery]
        delivery.held = False
        for one in overtaken:
            if one.id in self._pending and one.id not in self._under_way:
                one.held = False
                self._wait(one, now)
                self._store.change(one)

    def _drawn_spread(self) -> float:
        return 1.0 + self._spread * (2 * self._chance.random() - 1) if self._spread else 1.0

    def _remove(self, delivery: Delivery, counted: str) -> None:
        del self._pending[delivery.id]
        self._store.remove([delivery.id])
        self._counts[counted] += 1

    # --------------------------------------------------------------------------------------------------------- dead letters

    def _give_up(self, delivery: Delivery, reason: str, now: datetime) -> None:
        name, kind = delivery.subscription, schemas.type_of(delivery.event)
        self._counts["failed"] += 1
        self._log.warning("%s to %s: given up after %d attempts (%s).", kind, name, delivery.attempts, reason)
        if not self._box or not self._lines[name].subscription.dead_letter_container:
            self._remove(delivery, "dropped")
            return
        delivery.given_up_at, delivery.reason = now, reason
        last = delivery.last_attempt_at or now
        self._wait(delivery, max(now, last + schedule.DEAD_LETTER_AFTER * self._pace))
        self._store.change(delivery)

    def _write_letter(self, delivery: Delivery, subscription: Subscription) -> None:
        assert self._box is not None
        container, now = subscription.dead_letter_container, self._clock()
        name = deadletters.blob_name(delivery, now)
        failure = ""
        try:
            self._box.put(container, name, deadletters.body(delivery, subscription.schema))
        except ContainerMissing:
            failure = "missing"
        except OSError as error:
            failure = str(error)
        with self.changed:
            del self._under_way[delivery.id]
            if delivery.id in self._pending:
                self._letter_written(delivery, container, failure, now)
            self.changed.notify_all()

    def _letter_written(self, delivery: Delivery, container: str, failure: str, now: datetime) -> None:
        assert delivery.given_up_at is not None
        if not failure:
            self._remove(delivery, "dead_lettered")
            return
        patience = (schedule.DEAD_LETTER_AFTER + schedule.DEAD_LETTER_WITHIN) * self._pace
        if failure == "missing" or now - delivery.given_up_at >= patience:
            self._log.warning("The dead letter of %s is dropped: container %s is %s.", delivery.subscription, container, failure)
            self._remove(delivery, "dropped")
            return
        self._wait(delivery, now + LETTER_AGAIN * self._pace)
        self._store.change(delivery)


def _may_shake(line: _Line, now: datetime) -> bool:
    return not line.proved and not line.shaking and (line.again_at is None or line.again_at <= now)


def _shown(line: _Line) -> dict[str, Any]:
    one = line.subscription
    return {
        "name": one.name,
        "topic": one.topic,
        "endpoint": one.endpoint.partition("?")[0],
        "schema": one.schema.value,
        "proved": line.proved,
        "probation_until": schemas.stamp(line.probation_until) if line.probation_until else None,
    }


def _check(event: Mapping[str, Any]) -> None:
    wanted = CLOUD_EVENT_KEYS if "specversion" in event else EVENT_KEYS
    missing = sorted(wanted - event.keys())
    if missing:
        raise WrongEvent(f"The event has no {', '.join(missing)}; an event of this schema has {', '.join(sorted(wanted))}.")
