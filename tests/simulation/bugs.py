"""
Deliberate bugs: what the simulation must notice, or its silence means nothing.

Each is a patch outside of the shipped code, made while a history is lived. `seed` is the first that notices it, by breaking `promise`;
`python -m tests.simulation --bugs` searches them afresh.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock
from weakref import WeakKeyDictionary

import msgspec

from shared import errors
from shared.domain import doorbell, fleet, gate, jobs, names, orphans, record, service, training
from shared.domain.policy import Wait
from shared.domain.record import Key, Kind
from shared.domain.upload import Upload, short_hash
from shared.reconcile import arrivals, services, slots, timers, tunings, turn
from tests.simulation import history, machine, ports
from tests.simulation.azure import OWNER

Patch = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True, kw_only=True)
class Bug:
    what: str
    patch: Patch
    seed: int  # a history that notices it
    promise: str  # whose words begin the sentence


def put(owner: Any, name: str, instead: Any) -> Patch:
    return lambda: mock.patch.object(owner, name, instead)


# ------------------------------------------------------------------------------------------------------------- identity


def _random_job_name() -> contextlib.AbstractContextManager[Any]:
    """As an SDK that invents a name: the newest job of a name is what is found by it."""
    job, newest = ports.Trainings.job, WeakKeyDictionary[Any, dict[str, str]]()

    def submitted(self: ports.Trainings, name: str, *, recipe: Any, uris: Any, out: str, tags: Any) -> None:
        chosen = f"{name}-{self.azure.number()}"

        def effect() -> None:
            self.azure.submit(chosen, tags, out.partition("/paths/")[2].rstrip("/"), recipe=recipe, uris=uris, asked_as=name)
            newest.setdefault(self, {})[name] = chosen

        self.call("trainings.submit", chosen, effect)

    def found(self: ports.Trainings, name: str) -> Any:
        return job(self, newest.get(self, {}).get(name, name))

    return mock.patch.multiple(ports.Trainings, submit=submitted, job=found)


# --------------------------------------------------------------------------------------------------------------- ledger


def _blind_writes() -> contextlib.AbstractContextManager[Any]:
    replace = ports.Ledger.replace

    def blind(self: ports.Ledger, key: Key, body: Any, version: str) -> str:
        try:
            return replace(self, key, body, version)
        except errors.LostRace:
            newest = self.azure.records[key][1] + 1
            self.azure.records[key] = (msgspec.json.encode(body), newest)
            return str(newest)

    return mock.patch.object(ports.Ledger, "replace", blind)


def _result_without_attempt() -> contextlib.AbstractContextManager[Any]:
    return mock.patch.object(record, "attempted", lambda found, step, *, now: found)


# --------------------------------------------------------------------------------------------------------------- events


def _trust_the_event() -> contextlib.AbstractContextManager[Any]:
    ring = arrivals.job_event

    def trusted(loop: turn.Loop, event: doorbell.Event, *, workspace_id: str, who: str) -> None:
        key = doorbell.job_key(event, workspace_id=workspace_id)
        if isinstance(key, Key) and key.kind is Kind.TRAINING and event.type.endswith("RunCompleted"):
            found = tunings.read(loop, key, training.Training)
            if found:
                loop.ports.trainings.register(found.model, found.id, job=str(event.data["runId"]), tags=found.tags)
        ring(loop, event, workspace_id=workspace_id, who=who)

    return mock.patch.object(arrivals, "job_event", trusted)


# --------------------------------------------------------------------------------------------------------------- safety


def _no_owner_check() -> contextlib.AbstractContextManager[Any]:
    view = ports.Endpoints.endpoint

    def ours(self: ports.Endpoints, name: str) -> Any:
        found = view(self, name)
        key = next((k for k, v in self.azure.records.items() if k.kind is Kind.SERVICE and f'"{name}"'.encode() in v[0]), None)
        return msgspec.structs.replace(found, owner=OWNER, service=key.id if key else None) if found else None

    return mock.patch.object(ports.Endpoints, "endpoint", ours)


def _adopt_foreign_job() -> contextlib.AbstractContextManager[Any]:
    job = ports.Trainings.job

    def ours(self: ports.Trainings, name: str) -> Any:
        found = job(self, name)
        return msgspec.structs.replace(found, owner=OWNER, training=names.training_of_job(name)) if found else None

    return mock.patch.object(ports.Trainings, "job", ours)


def _empty_is_idle() -> contextlib.AbstractContextManager[Any]:
    usage = ports.Metrics.usage

    def full(self: ports.Metrics, *about: Any, **window: Any) -> Any:
        found = usage(self, *about, **window)
        return msgspec.structs.replace(found, heartbeats=found.heartbeats_wanted) if found else None

    return mock.patch.object(ports.Metrics, "usage", full)


def _policy(**fields: Any) -> Patch:
    return lambda: mock.patch.object(history, "POLICY", msgspec.structs.replace(history.POLICY, **fields))


def _delete_without_a_rest() -> contextlib.AbstractContextManager[Any]:
    def delete(desk: Any, step: service.DeleteEndpoint) -> Any:
        desk.save(desk.change(deleting_endpoint=True))
        desk.loop.ports.endpoints.delete_endpoint(desk.record.endpoint)
        return services._soon(desk, desk.record, "endpoint_delete_asked", step.reason)

    return mock.patch.dict(services._HANDS, {service.DeleteEndpoint: delete})


def _effect_before_its_intent() -> contextlib.AbstractContextManager[Any]:
    def delete(desk: Any, step: service.DeleteEndpoint) -> Any:
        desk.loop.ports.endpoints.delete_endpoint(desk.record.endpoint)
        return services._soon(desk, desk.change(deleting_endpoint=True), "endpoint_delete_asked", step.reason)

    return mock.patch.dict(services._HANDS, {service.DeleteEndpoint: delete})


@contextlib.contextmanager
def _traffic_before_the_smoke_test() -> Iterator[None]:
    advance = service._advance

    def eager(found: service.Service, candidate: Any, endpoint: Any, policy: Any, now: Any) -> Any:
        step = advance(found, candidate, endpoint, policy, now)
        if isinstance(step, service.SmokeTest) and endpoint.traffic != {step.deployment.name: 100}:
            return service.SetTraffic(traffic={step.deployment.name: 100}, why="It is there.")
        return step

    with mock.patch.object(service, "_advance", eager):
        yield


def _never(*_: Any, **__: Any) -> None:
    return None


def _id_without_the_version(self: Upload) -> str:
    return short_hash(self.account, self.container, self.path)


def _permit_at_sight(services: Any, policy: Any, now: Any) -> Any:
    return tuple(
        fleet.Permit(service=s.id, deployments=tuple(d.name for d in s.deployments if d.live_at))
        for s in services
        if s.live and not s.candidate and s.idle.marked_at
    )


def _oldest_candidate(self: service.Service) -> Any:
    left = [c for c in self.candidates if not c.failure and c.tuning != self.served]
    return min(left, key=lambda c: c.order, default=None)


def _old_cancel(found: training.Training, world: training.World, policy: Any, now: Any) -> Any:
    step = _decide_training(found, world, policy, now)
    return (
        Wait(until=now + policy.look_every, why="It was asked to end.")
        if isinstance(step, jobs.Cancel) and found.cancel_requested
        else step
    )


@contextlib.contextmanager
def _no_slots() -> Iterator[None]:
    with put(slots, "why_none_is_free", lambda *_: "")(), put(training, "why_none_is_free", lambda *_: "")():
        yield


def _unseen_is_lost(found: training.Training, world: training.World, policy: Any, now: Any) -> Any:
    step = _decide_training(found, world, policy, now)
    return training.RaiseNumber() if isinstance(step, training.Submit) and found.submitted_at else step


def _fail_on_transient() -> contextlib.AbstractContextManager[Any]:
    """As an adapter that takes a 503 for a last word."""

    def last_word(sentence: str) -> errors.Stop:
        return errors.Stop(sentence, next_action="Mend it, then upload the file again.")

    return mock.patch.object(machine, "errors", SimpleNamespace(TryLater=last_word, TuneloopError=errors.TuneloopError))


_decide_training = training.decide


def _first_that_failed_was_the_last(self: service.Service) -> Any:
    newest = max(self.candidates, key=lambda c: c.order, default=None)
    return None if newest is None or newest.failure or newest.tuning == self.served else newest


def _nothing_hangs(what: str, _record: Any, policy: Any, now: Any) -> tuple[Wait, bool]:
    return Wait(until=now + policy.look_every, why=what), False


def _without(*steps: type) -> Any:
    """As the real one, but for steps that are never taken."""
    real = service._way_back

    def decided(*given: Any) -> Any:
        step = real(*given)
        return None if isinstance(step, steps) else step

    return decided


BUGS: dict[str, Bug] = {
    "etag_with_quotes": Bug(what="quotes of an ETag are kept", patch=put(ports, "bare_etag", str), seed=0, promise="S5"),
    "key_by_name": Bug(
        what="an upload is its path, whatever its version",
        patch=put(Upload, "id", property(_id_without_the_version)),
        seed=1,
        promise="S7",
    ),
    "random_job_name": Bug(what="whoever submits invents the job's name", patch=_random_job_name, seed=184, promise="S1"),
    "blind_writes": Bug(what="a record is written over whatever is there", patch=_blind_writes, seed=0, promise="A1"),
    "trust_the_event": Bug(what="an event's word registers the model", patch=_trust_the_event, seed=5, promise="S2"),
    "no_timer": Bug(what="nobody looks for what was lost", patch=put(timers, "look_again", _never), seed=1, promise="L5"),
    "ignore_canceled": Bug(
        what="a canceled job is waited for", patch=put(training, "JOB_ENDED_BADLY", frozenset({"failed"})), seed=6, promise="L1"
    ),
    "cancel_once": Bug(
        what="a cancellation that got lost is not repeated", patch=put(training, "decide", _old_cancel), seed=393, promise="L1"
    ),
    "unseen_is_lost": Bug(
        what="a job that does not show yet is asked for under the next number",
        patch=put(training, "decide", _unseen_is_lost),
        seed=51,
        promise="S11",
    ),
    "no_slots": Bug(
        what="a slot is always free",
        patch=_no_slots,
        seed=6,
        promise="S11",
    ),
    "adopt_foreign_job": Bug(what="a job of our name is ours", patch=_adopt_foreign_job, seed=1, promise="S3"),
    "no_owner_check": Bug(what="an endpoint of our name is ours", patch=_no_owner_check, seed=0, promise="S3"),
    "no_gate": Bug(what="no proof is needed", patch=put(gate, "may_take_traffic", lambda _proof: True), seed=13, promise="S2"),
    "traffic_before_the_smoke_test": Bug(
        what="traffic first, then the question", patch=_traffic_before_the_smoke_test, seed=1, promise="L2"
    ),
    "oldest_first": Bug(
        what="candidates are taken in the order of their uploads",
        patch=put(service.Service, "candidate", property(_oldest_candidate)),
        seed=1,
        promise="S7",
    ),
    "outdated_though_serving": Bug(
        what="a later upload takes down what just got the traffic", patch=put(service, "_serves_unwritten", _never), seed=31, promise="S4"
    ),
    "empty_is_idle": Bug(what="no metric is no use", patch=_empty_is_idle, seed=47, promise="S4"),
    "no_grace": Bug(
        what="marked is as good as idle after the grace",
        patch=put(fleet, "choose_deletions", _permit_at_sight),
        seed=1,
        promise="S4",
    ),
    "no_permits": Bug(what="nobody lets an idle service go", patch=put(timers, "tear_down_idle_endpoints", _never), seed=1, promise="L5"),
    "no_rest": Bug(what="a deleted endpoint's name is used at once", patch=_policy(endpoint_rest=timedelta(0)), seed=1, promise="S10"),
    "delete_without_a_rest": Bug(
        what="a delete does not write how long the name rests", patch=_delete_without_a_rest, seed=1, promise="S10"
    ),
    "effect_before_its_intent": Bug(what="deleted first, written down after", patch=_effect_before_its_intent, seed=1, promise="S10"),
    "reuse_deployment_name": Bug(
        what="every deployment is number one",
        patch=put(names, "deployment", lambda _number, training: f"d1-{training[:8]}"),
        seed=15,
        promise="S8",
    ),
    "nothing_is_overdue": Bug(
        what="a missed promise is not renewed", patch=put(record, "is_overdue", lambda *_, **__: False), seed=1, promise="L5"
    ),
    "fail_on_transient": Bug(what="the first error that would pass is the end", patch=_fail_on_transient, seed=3, promise="L1"),
    "no_attempts": Bug(what="attempts are not written before the work", patch=_result_without_attempt, seed=3, promise="S13"),
    "quota_is_the_end": Bug(
        what="who has no quota is given up at once", patch=put(service, "refused_for_quota", _never), seed=12, promise="L1"
    ),
    "older_good_is_lost": Bug(
        what="behind a bad model no earlier one is tried",
        patch=put(service.Service, "candidate", property(_first_that_failed_was_the_last)),
        seed=4,
        promise="S7",
    ),
    "nothing_hangs": Bug(what="what hangs is waited for", patch=put(service, "_busy", _nothing_hangs), seed=4, promise="L3"),
    "no_way_back": Bug(
        what="nobody goes back on probation",
        patch=put(service, "_way_back", _without(service.Probe, service.GoBack)),
        seed=69,
        promise="L7",
    ),
    "back_at_sight": Bug(what="the way back needs no bad answer", patch=put(service, "PROBES_FAILED_MAX", 0), seed=6, promise="L1"),
    "used_orphan_goes": Bug(what="what no record names is unused", patch=put(orphans, "is_unused", lambda *_: True), seed=15, promise="S4"),
    "orphans_stay": Bug(what="no orphan is ever taken over", patch=put(orphans, "ripe", lambda *_: ()), seed=15, promise="L2"),
}
