"""
One turn for one record, by whoever holds its promise.

A record promises one next look (`next_look_at`), written by compare-and-set; one message carries that promise. Only its
holder acts, so a record has at most one chain of turns and nobody works on a step twice at once, unless a worker died or
the queue holds a message twice: then fixed names and compare-and-set keep the two from doing anything twice. A
doorbell only moves the promise to now. A message whose promise was replaced is dropped. A lost message leaves an overdue
promise, which the timer renews.

Attempts are written before the work of a step; at the limit the record stops with a reason, except that deleting what
costs money is never given up. What fails on the way is written down as well: no exception of a step leaves this module,
only a ledger or queue that cannot be reached does, and then the host tries again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import msgspec

from shared import errors
from shared.domain import record as records
from shared.domain.policy import Policy, Rest, Wait
from shared.domain.record import Header, Key
from shared.plain import traceback_of
from shared.ports import Change, Ports, Stored

if TYPE_CHECKING:
    from shared.prepare import Options

log = logging.getLogger("tuneloop.turn")

LET_GO_ATTEMPTS_MAX = 5  # compare-and-set rounds against others; after that the lease ends the claim

R = TypeVar("R", bound=Header)
T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What every turn needs: the outside, the limits, the time, a place for temporary files."""

    ports: Ports
    policy: Policy
    clock: Callable[[], datetime]  # timezone-aware, UTC
    workdir: Path
    options: Options  # of preparing a dataset; the salt is the owner's
    serving_instance_type: str = ""
    experiment_name: str = "tuneloop"
    paused: Callable[[], bool] = lambda: False  # the kill switch, read again at each turn and tick

    def policy_now(self) -> Policy:
        """Return the limits with the kill switch as it stands at this moment."""
        return msgspec.structs.replace(self.policy, paused=self.paused())


@dataclass(kw_only=True)
class Desk(Generic[R]):
    """One record while a turn is at it: what was read, and the only way to write it."""

    loop: Loop
    who: str
    record: R
    stored: Stored

    @property
    def now(self) -> datetime:
        return self.loop.clock()

    def save(self, record: R) -> None:
        """Write the record over the version that was read; fields that this version of the app does not know are kept."""
        body = {**self.stored.body, **_body(record)}
        version = self.loop.ports.ledger.replace(record.key, body, self.stored.version)
        self.record, self.stored = record, Stored(body=body, version=version)

    def change(self, **fields: Any) -> R:
        """Return the record with other fields; nothing is written."""
        return msgspec.structs.replace(self.record, **fields)


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[R]):
    """What a step came to: the record to write, a line for its history, and whom to ring."""

    record: R
    what: str
    why: str = ""
    ring: tuple[Key, ...] = ()
    look_at: datetime | None = None  # None: at once
    quiet: bool = False  # True: nothing for the history, and nobody is told
    waits_for: str = ""  # a sentence, when it waits for somebody outside


class Life(Protocol[R]):
    """How one kind of record is observed, decided and acted for."""

    def observe(self, record: R, loop: Loop) -> Any: ...

    def decide(self, record: R, world: Any, policy: Policy, now: datetime) -> Any: ...

    def act(self, step: Any, desk: Desk[R]) -> Outcome[R]: ...

    def stop(self, desk: Desk[R], step: Any, error: errors.Stop) -> Outcome[R]:
        """Return how the record ends, or goes on without the step that cannot be done."""
        ...

    def attempts_max(self, step: Any, policy: Policy) -> int | None:
        """Return how often a step may be tried, None for one that is never given up."""
        ...

    record_type: type[R]


@dataclass(frozen=True, kw_only=True)
class Lives:
    by_kind: Mapping[records.Kind, Life[Any]] = field(default_factory=dict)


def opened(loop: Loop, record: Header, *, who: str, why: str) -> bool:
    """Create a record with its first promise and ring; False if it was there already (then it is only rung)."""
    now = loop.clock()
    record = msgspec.structs.replace(record, next_look_at=now)
    record = records.noted(record, at=now, who=who, what="opened", why=why)
    if not loop.ports.ledger.create(record.key, _body(record)):
        return False
    loop.ports.turns.ring(record.key, who=who, promised=now)
    return True


def bring_forward(loop: Loop, key: Key, record_type: type[Header], *, who: str) -> None:
    """Answer a doorbell: move the record's promised look to now, unless it is due or somebody is at work."""
    stored = loop.ports.ledger.read(key)
    if stored is None:
        log.info("%s is not known here. action=unknown_record", key)
        return
    record = decoded(key, stored, record_type)
    now = loop.clock()
    if not records.may_be_brought_forward(record, lease=loop.policy.lease, now=now):
        return
    _promise_now(loop, record, stored, who=who, now=now)


def renew_promise(loop: Loop, key: Key, record_type: type[Header], *, who: str) -> bool:
    """Take up a record whose promised look was missed; True if it was overdue."""
    stored = loop.ports.ledger.read(key)
    if stored is None:
        return False
    record = decoded(key, stored, record_type)
    now = loop.clock()
    if not records.is_overdue(record, tick=loop.policy.tick, lease=loop.policy.lease, now=now):
        return False
    _promise_now(loop, record, stored, who=who, now=now)
    return True


def decoded(key: Key, stored: Stored, record_type: type[T]) -> T:
    """Return what was stored as what it stands for; raise UnreadableRecord when it is none of a kind that this version knows."""
    try:
        return msgspec.convert(stored.body, record_type)
    except msgspec.ValidationError as error:
        raise errors.UnreadableRecord(f"{key} cannot be read by this version of the app: {error}.") from None


def take(loop: Loop, lives: Lives, key: Key, *, who: str, promised: datetime | None) -> None:
    """Take one turn. `promised`: the promise that the message carries; None for a doorbell. A record that cannot be read has none."""
    if key.kind not in lives.by_kind:
        log.warning("%s has no turns; dropped. action=message_dropped", key)
        return
    try:
        _take(loop, lives.by_kind[key.kind], key, who=who, promised=promised)
    except errors.UnreadableRecord as unreadable:
        log.error("%s It is left alone. action=record_unreadable", unreadable)


def _take(loop: Loop, life: Life[Any], key: Key, *, who: str, promised: datetime | None) -> None:
    if promised is None:
        bring_forward(loop, key, life.record_type, who=who)
        return
    stored = loop.ports.ledger.read(key)
    if stored is None:
        log.info("%s is not known here. action=unknown_record", key)
        return
    record = decoded(key, stored, life.record_type)
    if record.next_look_at != promised:
        return
    desk = Desk(loop=loop, who=who, record=record, stored=stored)
    _tell_opening(desk)
    try:
        _look(desk, life)
    except errors.LostRace:
        log.info("%s was written by somebody else meanwhile. action=lost_race", key)
        if desk.record is not record:  # it is our claim
            _let_go(desk, life.record_type)


def _let_go(desk: Desk[Any], record_type: type[Header]) -> None:
    """
    End our claim on a record that somebody else wrote while we were at work (a permit, another candidate), and look again at once.

    What the step came to is lost and will be seen in the world. Without this the record would count as being worked on until the lease
    is over. A claim that is not ours is left alone.
    """
    ledger, key, ours = desk.loop.ports.ledger, desk.record.key, desk.record.attempt_began_at
    for _ in range(LET_GO_ATTEMPTS_MAX if ours else 0):
        stored = ledger.read(key)
        record = decoded(key, stored, record_type) if stored else None
        if stored is None or record is None or record.attempt_began_at != ours:
            return
        now = desk.now
        body = {**stored.body, **_body(msgspec.structs.replace(record, attempt_began_at=None, next_look_at=now))}
        try:
            ledger.replace(key, body, stored.version)
        except errors.LostRace:
            continue
        desk.loop.ports.turns.ring(key, who=desk.who, promised=now)
        return


def _tell_opening(desk: Desk[Any]) -> None:
    """Announce at the first look that the record was opened: the door that opened it has no time for a slow topic."""
    record = desk.record
    if len(record.history) != 1 or record.next_look_at != record.history[0].at:
        return
    (first,) = record.history
    opening = Change(key=record.key, at=first.at, stage=record.stage, what=first.what, why=first.why, next_action=record.next_action)
    desk.loop.ports.announcer.announce(opening)


def _look(desk: Desk[Any], life: Life[Any]) -> None:
    """Observe, decide, and do the one thing; a world that cannot be observed is looked at again later."""
    loop = desk.loop
    try:
        world = life.observe(desk.record, loop)
    except errors.TuneloopError as error:
        after = getattr(error, "after", None) or loop.policy.back_off(2)
        _wait(desk, Wait(until=desk.now + after, why=f"The world could not be read: {error}"), saw_the_world=False)
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the record is looked at again
        log.error("Observing %s failed. %s action=observe_failed", desk.record.key, traceback_of(error))
        why = f"The world could not be read ({type(error).__name__})."
        _wait(desk, Wait(until=desk.now + loop.policy.back_off(4), why=why), saw_the_world=False)
        return
    step = life.decide(desk.record, world, loop.policy_now(), desk.now)
    if isinstance(step, Wait):
        _wait(desk, step)
    elif isinstance(step, Rest):
        _rest(desk)
    else:
        _finish(desk, _tried(desk, life, step))


def _tried(desk: Desk[Any], life: Life[Any], step: Any) -> Outcome[Any]:
    """Write the attempt down, do the step, and return what it came to; failures become outcomes too."""
    name, policy = type(step).__name__, desk.loop.policy
    limit = life.attempts_max(step, policy)
    if limit is not None and desk.record.attempt_of == name and desk.record.attempts >= limit:
        reason = desk.record.reason if desk.record.reason.startswith(f"{name}: ") else "its worker died each time."  # not of another step
        exhausted = errors.Exhausted(f"{name} failed {limit} times: {reason}", next_action="Mend the cause, then upload the file again.")
        return _settled(life.stop(desk, step, exhausted))
    desk.save(records.attempted(desk.record, name, now=desk.now))
    try:
        return _settled(life.act(step, desk))
    except errors.LostRace:
        raise
    except errors.Stop as error:
        return _settled(life.stop(desk, step, error))
    except errors.TuneloopError as error:
        return _again(desk, name, str(error), after=getattr(error, "after", None))
    except Exception as error:  # noqa: BLE001 - whatever it is, it becomes a line of the history
        log.error("%s for %s failed. %s action=step_failed", name, desk.record.key, traceback_of(error))
        return _again(desk, name, f"unexpected {type(error).__name__}, see the app's log.", after=None)


def _settled(outcome: Outcome[Any]) -> Outcome[Any]:
    return replace(outcome, record=records.settled(outcome.record))


def _again(desk: Desk[Any], name: str, sentence: str, *, after: timedelta | None) -> Outcome[Any]:
    wait = after or desk.loop.policy.back_off(desk.record.attempts)
    record = desk.change(reason=f"{name}: {sentence}"[: records.REASON_LENGTH_MAX], attempt_began_at=None)
    return Outcome(record=record, what="step_failed", why=f"{name}, attempt {desk.record.attempts}: {sentence}", look_at=desk.now + wait)


def _finish(desk: Desk[Any], outcome: Outcome[Any]) -> None:
    """Write what a step came to with the next promise, then tell and ring; a crash in between is healed by the timer."""
    now = desk.now
    look_at = min(outcome.look_at or now, now + records.PROMISE_AHEAD_MAX)
    record = msgspec.structs.replace(outcome.record, next_look_at=look_at, waits_for=outcome.waits_for[: records.REASON_LENGTH_MAX])
    if not outcome.quiet:
        record = records.noted(record, at=now, who=desk.who, what=outcome.what, why=outcome.why)
    desk.save(record)
    ports = desk.loop.ports
    ports.turns.ring(record.key, who="turn", promised=look_at, delay=max(look_at - now, timedelta(0)))
    for key in outcome.ring:
        ports.turns.ring(key, who=f"{record.kind.value} {record.id}")
    if not outcome.quiet:
        ports.announcer.announce(
            Change(
                key=record.key, at=now, stage=record.stage, what=outcome.what, why=record.history[-1].why, next_action=record.next_action
            )
        )


def _wait(desk: Desk[Any], step: Wait, *, saw_the_world: bool = True) -> None:
    now = desk.now
    until, why = records.promised(step.until, now=now), step.why[: records.REASON_LENGTH_MAX]
    is_news = step.told and desk.record.waits_for != why
    record = desk.change(next_look_at=until, attempt_began_at=None, waits_for=why)
    if saw_the_world and record.waited_for != why:
        record = msgspec.structs.replace(record, waited_for=why, waited_since=now)
    desk.save(records.noted(record, at=now, who=desk.who, what="waits", why=why) if is_news else record)
    ports = desk.loop.ports
    ports.turns.ring(record.key, who="turn", promised=until, delay=max(until - now, timedelta(0)))
    if is_news:
        ports.announcer.announce(Change(key=record.key, at=now, stage=record.stage, what="waits", why=why, next_action=""))


def _rest(desk: Desk[Any]) -> None:
    """Let the record rest; if it was written while its marker was removed, it is alive again."""
    ledger, key = desk.loop.ports.ledger, desk.record.key
    desk.save(desk.change(next_look_at=None, attempt_began_at=None, waits_for=""))
    ledger.deactivate(key)
    newest = ledger.read(key)
    if newest is not None and newest.version != desk.stored.version:
        ledger.activate(key)


def _promise_now(loop: Loop, record: Header, stored: Stored, *, who: str, now: datetime) -> None:
    body = {**stored.body, **_body(msgspec.structs.replace(record, next_look_at=now))}
    try:
        loop.ports.ledger.replace(record.key, body, stored.version)
    except errors.LostRace:
        return
    loop.ports.turns.ring(record.key, who=who, promised=now)


def _body(record: Header) -> dict[str, Any]:
    body = msgspec.to_builtins(record)
    assert isinstance(body, dict)
    return body
