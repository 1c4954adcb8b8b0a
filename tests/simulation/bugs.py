"""
Deliberate bugs: what the simulation must notice, or its silence means nothing.

Each is a patch outside of the shipped code, made while a history is lived: mostly one place of one function, written another way. Which
history notices it first, and in which words, stands in bugs.json; `python3 dev.py mutants` searches that afresh and writes the file.
"""

from __future__ import annotations
import __future__

import contextlib
import inspect
import textwrap
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock
from weakref import WeakKeyDictionary

import msgspec

from shared import errors
from shared.domain import doorbell, fleet, gate, jobs, names, orphans, record, service, training, tuning
from shared.domain import slots as slots_of
from shared.domain.policy import Policy, Wait
from shared.domain.record import Key, Kind
from shared.domain.upload import Upload, short_hash
from shared.reconcile import arrivals, services, slots, timers, trainings, tunings, turn
from tests.simulation import history, machine, ports
from tests.simulation.azure import OWNER

Patch = Callable[[], contextlib.AbstractContextManager[Any]]


@dataclass(frozen=True, kw_only=True)
class Bug:
    what: str  # is wrong
    patch: Patch
    needless: str = ""  # why nobody could notice it: it is no fault; '': it is one


def put(owner: Any, name: str, instead: Any) -> Patch:
    return lambda: mock.patch.object(owner, name, instead)


def edited(function: Callable[..., Any], *places: tuple[str, str]) -> Patch:
    """Let the function be as if its source were written another way at each of these places, whoever has imported it."""

    @contextlib.contextmanager
    def patch() -> Iterator[None]:
        source = textwrap.dedent(inspect.getsource(function))
        for old, new in places:
            if source.count(old) != 1:
                raise LookupError(f"{function.__qualname__} holds {source.count(old)} times: {old!r}. Write the bug for the code of today.")
            source = source.replace(old, new)
        module = compile(source, inspect.getfile(function), "exec", flags=__future__.annotations.compiler_flag)
        code = next(one for one in module.co_consts if isinstance(one, types.CodeType) and one.co_name == function.__name__)
        before = function.__code__
        function.__code__ = code
        try:
            yield
        finally:
            function.__code__ = before

    return patch


def both(*patches: Patch) -> Patch:
    @contextlib.contextmanager
    def patch() -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for one in patches:
                stack.enter_context(one())
            yield

    return patch


def changed(what: str, function: Callable[..., Any], old: str, new: str) -> Bug:
    return Bug(what=what, patch=edited(function, (old, new)))


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
    with contextlib.ExitStack() as stack:
        for module in (slots, training, tuning):
            stack.enter_context(put(module, "why_none_is_free", lambda *_: "")())
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
    "etag_with_quotes": Bug(what="quotes of an ETag are kept", patch=put(ports, "bare_etag", str)),
    "key_by_name": Bug(what="an upload is its path, whatever its version", patch=put(Upload, "id", property(_id_without_the_version))),
    "random_job_name": Bug(what="whoever submits invents the job's name", patch=_random_job_name),
    "blind_writes": Bug(what="a record is written over whatever is there", patch=_blind_writes),
    "trust_the_event": Bug(what="an event's word registers the model", patch=_trust_the_event),
    "no_timer": Bug(what="nobody looks for what was lost", patch=put(timers, "look_again", _never)),
    "ignore_canceled": Bug(what="a canceled job is waited for", patch=put(training, "JOB_ENDED_BADLY", frozenset({"failed"}))),
    "cancel_once": Bug(what="a cancellation that got lost is not repeated", patch=put(training, "decide", _old_cancel)),
    "unseen_is_lost": Bug(
        what="a job that does not show yet is asked for under the next number", patch=put(training, "decide", _unseen_is_lost)
    ),
    "no_slots": Bug(what="a slot is always free", patch=_no_slots),
    "adopt_foreign_job": Bug(what="a job of our name is ours", patch=_adopt_foreign_job),
    "no_owner_check": Bug(what="an endpoint of our name is ours", patch=_no_owner_check),
    "no_gate": Bug(what="no proof is needed", patch=put(gate, "may_take_traffic", lambda _proof: True)),
    "traffic_before_the_smoke_test": Bug(what="traffic first, then the question", patch=_traffic_before_the_smoke_test),
    "oldest_first": Bug(
        what="candidates are taken in the order of their uploads", patch=put(service.Service, "candidate", property(_oldest_candidate))
    ),
    "outdated_though_serving": Bug(
        what="a later upload takes down what just got the traffic", patch=put(service, "_serves_unwritten", _never)
    ),
    "empty_is_idle": Bug(what="no metric is no use", patch=_empty_is_idle),
    "no_grace": Bug(what="marked is as good as idle after the grace", patch=put(fleet, "choose_deletions", _permit_at_sight)),
    "no_permits": Bug(what="nobody lets an idle service go", patch=put(timers, "tear_down_idle_endpoints", _never)),
    "no_rest": Bug(what="a deleted endpoint's name is used at once", patch=_policy(endpoint_rest=timedelta(0))),
    "delete_without_a_rest": Bug(what="a delete does not write how long the name rests", patch=_delete_without_a_rest),
    "effect_before_its_intent": Bug(what="deleted first, written down after", patch=_effect_before_its_intent),
    "reuse_deployment_name": Bug(
        what="every deployment is number one", patch=put(names, "deployment", lambda _number, training: f"d1-{training[:8]}")
    ),
    "nothing_is_overdue": Bug(what="a missed promise is not renewed", patch=put(record, "is_overdue", lambda *_, **__: False)),
    "fail_on_transient": Bug(what="the first error that would pass is the end", patch=_fail_on_transient),
    "no_attempts": Bug(what="attempts are not written before the work", patch=_result_without_attempt),
    # ------------------------------------------------------------------------------------------------------- identity
    "content_not_in_the_key": Bug(
        what="a training is called after its recipe, whatever the bytes",
        patch=put(names, "training_id", lambda owner, _bytes, frozen: short_hash(owner, *map(str, frozen.items()))),
    ),
    "upload_in_the_key": changed(
        "each upload pays for a training of its own",
        tuning._next,
        "record.prepared.dataset_sha256,",
        "record.prepared.dataset_sha256 + record.id,",
    ),
    "recipe_not_in_the_key": changed("another recipe is the same training", tuning._next, "record.recipe.frozen)", "{})"),
    "model_version_reused": changed(
        "every model is version 1",
        trainings.TrainingLife.act,
        "trainings.register(record.model, record.id,",
        'trainings.register(record.model, "1",',
    ),
    "auto_version": changed(
        "the model's version is the next one that is free",
        trainings.TrainingLife.act,
        "trainings.register(record.model, record.id,",
        "trainings.register(record.model, str(len(record.history)),",
    ),
    "service_by_file": Bug(what="each file is a service of its own", patch=put(tuning, "service_of", str)),
    "counter_of_what_is_left": changed(
        "a deployment's number counts those that are there",
        services._reserve,
        "desk.record.deployments_made + 1",
        "len(desk.record.deployments) + 1",
    ),
    # --------------------------------------------------------------------------------------------------------- ledger
    "unknown_fields_lost": changed(
        "what another version of the app wrote is dropped", turn.Desk.save, "{**self.stored.body, **_body(record)}", "_body(record)"
    ),
    "unknown_stage_overwritten": changed(
        "a record in a stage that nobody knows begins anew",
        turn.decoded,
        "msgspec.convert(stored.body, record_type)",
        'msgspec.convert(stored.body | {"stage": "seen"} if stored.body.get("stage") == "pondered" else stored.body, record_type)',
    ),
    "lost_race_is_won": changed(
        "who loses a race for another's record has written it",
        tunings.update,
        "except errors.LostRace:\n            continue",
        "except errors.LostRace:\n            return",
    ),
    "attempts_counted_after": changed(
        "an attempt is counted when its work is done",
        turn._tried,
        "desk.save(records.attempted(desk.record, name, now=desk.now))",
        "desk.record = records.attempted(desk.record, name, now=desk.now)",
    ),
    "offered_twice": changed("offering the same tuning twice is two candidates", service.offered, "c.tuning == candidate.tuning", "False"),
    "history_cut": changed(
        "a line of history takes the place of the one before", record.noted, "(*record.history, line)", "(*record.history[:-1], line)"
    ),
    # ------------------------------------------------------------------------------------------------ events, promises
    "every_message_acts": changed("a message acts whatever it promised", turn._take, "record.next_look_at != promised", "False"),
    "doorbell_puts_off": changed(
        "a doorbell moves the promised look to later", turn.bring_forward, "who=who, now=now)", "who=who, now=now + loop.policy.tick)"
    ),
    "rings_whoever_is_at_work": changed(
        "a doorbell moves the look of a record that somebody is at work on",
        record.may_be_brought_forward,
        "not due and not at_work(record, lease=lease, now=now)",
        "not due",
    ),
    "promise_without_a_message": changed(
        "the next look is promised and no message sent",
        turn._finish,
        'ports.turns.ring(record.key, who="turn", promised=look_at, delay=max(look_at - now, timedelta(0)))',
        "pass",
    ),
    "nobody_is_rung": changed("who waits for a training is not told of its end", trainings.TrainingLife._ended, "ring=ring", "ring=()"),
    "exception_for_wait": changed(
        "a wait is an exception",
        turn._look,
        "if isinstance(step, Wait):\n        _wait(desk, step)",
        "if isinstance(step, Wait):\n        raise errors.TryLater(step.why)",
    ),
    "no_back_off": changed(
        "a step that fails is tried again at the same pace", Policy.back_off, "self.look_every * factor", "self.look_every"
    ),
    "uploads_not_listed": changed(
        "the timer looks for lost messages and not for lost events", timers.look_again, "in loop.ports.datasets.uploads():", "in ():"
    ),
    "any_account": changed(
        "an event of another account is ours", doorbell.uploaded_path, 'return Nobody(why="it comes from another storage account")', "pass"
    ),
    "any_workspace": changed(
        "an event of another workspace is ours", doorbell.job_key, 'return Nobody(why="it comes from another workspace")', "pass"
    ),
    "any_container": changed("any container holds datasets", arrivals.dataset_written, "container != datasets.container", "False"),
    "poison_is_swallowed": Bug(what="a turn that failed too often is told to nobody", patch=put(arrivals, "turn_poisoned", _never)),
    "nobody_is_told": changed(
        "people are told of ends only", turn._finish, "if not outcome.quiet:\n        ports", "if outcome.ring:\n        ports"
    ),
    # ----------------------------------------------------------------------------------------------- tunings, trainings
    "outdated_is_trained": changed(
        "an upload that was overtaken is trained all the same", tuning._why_superseded, "if world.later_offered:", "if False:"
    ),
    "replaced_is_read": changed("a blob that was replaced is read", tuning._why_superseded, "not world.upload_is_current", "False"),
    "order_by_our_clock": changed(
        "the later upload is the one that was offered later", tunings._offer, "record.upload.last_modified", "desk.now"
    ),
    "order_by_first_sight": changed(
        "the later upload is the one that was seen later", tunings._offer, "record.upload.last_modified", "record.created_at"
    ),
    "wishes_ignored": changed("the wishes of a folder are not looked at", tunings._plan, "wishes=wishes", "wishes={}"),
    "pickles_taken": changed(
        "a pickled model is taken though a setting refuses it", training._after_a_good_end, "policy.refuse_pickled_models", "False"
    ),
    "finalizing_is_completed": changed(
        "a job that is finalizing has completed", training._next, "status == JOB_COMPLETED", 'status in (JOB_COMPLETED, "finalizing")'
    ),
    "retried_for_ever": changed("a failed job is paid for again and again", training._after_a_bad_end, "by_itself or", "True or"),
    "job_without_tags": changed(
        "a job does not say whose it is",
        trainings.TrainingLife.act,
        "out=out, tags=record.tags",
        "out=out, tags=record.tags | {'tuneloop-owner': ''}",
    ),
    "job_has_no_deadline": changed(
        "a training job may take for ever", training._next, "now >= record.submitted_at + policy.job_deadline", "False"
    ),
    "cancel_has_no_deadline": changed(
        "a cancellation may take for ever", training._next, "now >= _cancelled_at(record, policy) + policy.cancel_deadline", "False"
    ),
    "slot_freed_early": changed(
        "a slot is free as soon as its job runs",
        slots._is_nobodys,
        "return not",
        "return of == OF_TRAININGS and bool(decoded(key, stored, training.Training).submitted_at) or not",
    ),
    "slot_never_freed": Bug(
        what="a slot stays taken", patch=both(put(slots, "give_back", _never), put(slots, "free_what_is_nobodys", _never))
    ),
    "slot_of_a_preparation_freed_early": changed(
        "a slot is free as soon as its preparation runs",
        slots._is_nobodys,
        "return not",
        "return of == OF_PREPARATIONS and bool(decoded(key, stored, tuning.Tuning).preparation.submitted_at) or not",
    ),
    "preparations_take_no_slot": changed(
        "a preparation is asked for without a slot", tuning._prepared_by_a_job, "record.job not in world.slots.at_work", "False"
    ),
    "slot_left_behind": Bug(what="the timer frees no slot", patch=put(slots, "free_what_is_nobodys", _never)),
    "days_are_endless": changed("JOBS_PER_DAY_MAX is not looked at", slots_of.why_none_is_free, "slots.day == today and", "False and"),
    "deaf": Bug(what="a doorbell moves no look", patch=put(turn, "bring_forward", _never)),
    "rests_and_is_promised": changed("a record that rests keeps its promise", turn._rest, "next_look_at=None, ", ""),
    "told_at_each_look": changed("people are told at each look what is waited for", turn._wait, "and desk.record.waits_for != why", ""),
    # ------------------------------------------------------------------------------------------------------- services
    "smoke_error_is_an_answer": changed(
        "an error is an answer to the smoke test",
        services._smoke_test,
        "return _smoke_failed(desk, name, str(error), own_requests=desk.record.own_requests)",
        'reply = "fine"',
    ),
    "nothing_is_an_answer": changed("an empty reply is an answer", services._smoke_test, "if not answer:", "if answer is None:"),
    "traffic_to_two": changed(
        "the new model gets a tenth of the traffic",
        service._advance,
        'SetTraffic(traffic={deployment.name: 100}, why="Its smoke',
        'SetTraffic(traffic={deployment.name: 10} | ({record.live.name: 90} if record.live else {}), why="Its smoke',
    ),
    "traffic_is_not_held": changed(
        "traffic that somebody moved stays there", service._watch, "world.endpoint.traffic != {live.name: 100} and", "False and"
    ),
    "back_without_an_answer": changed(
        "the traffic goes back to a model that was not asked again",
        service._way_back,
        "kept.answered_at and now - kept.answered_at <= every",
        "True",
    ),
    "kept_for_ever": changed("the model before is kept for ever", service._way_back, "now >= kept.kept_until + time_to_ask", "False"),
    "deleted_with_its_traffic": changed(
        "a deployment is deleted while it has traffic", service._retire, "endpoint.traffic.get(deployment.name)", "False"
    ),
    "given_up_and_left": changed(
        "the deployment of a candidate that was given up goes on", services._give_up, "msgspec.structs.replace(d, retiring=True)", "d"
    ),
    "endpoint_without_tags": changed(
        "an endpoint does not say whose it is",
        services._create_endpoint,
        "tags=desk.record.tags",
        "tags={**desk.record.tags, names.OWNER_TAG: ''}",
    ),
    "deployment_without_tags": changed(
        "a deployment does not say what it serves", services._create_deployment, "tags=tags", "tags=desk.record.tags"
    ),
    "rest_not_extended": changed(
        "an endpoint that is gone does not begin to rest again",
        services._endpoint_gone,
        "rest_until=desk.now + desk.loop.policy.endpoint_rest",
        "rest_until=desk.record.rest_until",
    ),
    "rest_not_kept": changed("an endpoint's name is used while it rests", service._advance, "now < record.rest_until", "False"),
    "reuse_failed_name": changed(
        "the name of an endpoint that failed does not rest",
        service._advance,
        "now < record.rest_until",
        "now < record.rest_until and not record.endpoint_failures",
    ),
    "late_deployment_left": changed("a deployment that landed late is left alone", service._next, "if unknown:", "if False:"),
    "deployment_has_no_deadline": Bug(what="a deployment may take for ever", patch=put(service.Deployment, "is_late", lambda *_: False)),
    "quota_has_no_deadline": changed("quota is waited for, for ever", service.refused_for_quota, "if now >= ends_at:", "if False:"),
    # ----------------------------------------------------------------------------------------------------- letting go
    "own_requests_are_use": changed(
        "our own questions count as use", service.idle_clock, "usage.requests > perhaps_own", "usage.requests > 0"
    ),
    "one_request_is_none": changed("one request is no use", service.idle_clock, "sum(usage.start + margin", "1 + sum(usage.start + margin"),
    "fresh_is_idle": changed("a fresh deployment may be idle", service.idle_clock, "or usage.start < live.live_at", ""),
    "permit_for_any": changed("any live service is let go", fleet.choose_deletions, "if may_be_let_go(s, policy, now)", "if s.live"),
    "permit_is_enough": changed(
        "a permit is carried out without another look",
        service._watch,
        "record.idle.permit and clock.seen_idle_at == now and",
        "record.idle.permit and",
    ),
    "dry_run_permits": changed(
        "a dry run gives permits", fleet.choose_deletions, "policy.deletions_dry_run or policy.paused", "policy.paused"
    ),
    "dry_run_deletes": Bug(
        what="a dry run deletes",
        patch=both(
            edited(fleet.choose_deletions, ("policy.deletions_dry_run or policy.paused", "policy.paused")),
            edited(service._watch, ("and not policy.deletions_dry_run", "")),
        ),
    ),
    "torn_down_at_once": changed("an endpoint that sleeps is deleted at once", service._sleep, "now < torn_down_at", "False"),
    "paused_services_go_on": changed("PAUSED does not hold services", service.decide, "policy.paused and", "False and"),
    "paused_trainings_go_on": changed("PAUSED does not hold trainings", training.decide, "policy.paused and", "False and"),
    "paused_preparations_go_on": changed("PAUSED does not hold jobs that prepare", tuning.decide, "policy.paused and", "False and"),
    "paused_fleet_goes_on": changed(
        "PAUSED does not hold permits", fleet.choose_deletions, "policy.deletions_dry_run or policy.paused", "policy.deletions_dry_run"
    ),
    "no_sweep": Bug(what="the endpoints of the workspace are not looked through", patch=put(timers, "sweep", _never)),
    "quota_is_the_end": Bug(what="who has no quota is given up at once", patch=put(service, "refused_for_quota", _never)),
    "older_good_is_lost": Bug(
        what="behind a bad model no earlier one is tried",
        patch=put(service.Service, "candidate", property(_first_that_failed_was_the_last)),
    ),
    "nothing_hangs": Bug(what="what hangs is waited for", patch=put(service, "_busy", _nothing_hangs)),
    "no_way_back": Bug(what="nobody goes back on probation", patch=put(service, "_way_back", _without(service.Probe, service.GoBack))),
    "back_at_sight": Bug(what="the way back needs no bad answer", patch=put(service, "PROBES_FAILED_MAX", 0)),
    "orphans_stay": Bug(what="no orphan is ever taken over", patch=put(orphans, "ripe", lambda *_: ())),
    "short_lease": Bug(
        what="the next worker may begin at once",
        patch=edited(record.at_work, ("abs(now - record.attempt_began_at) < lease", "False")),
    ),
    "rest_without_a_second_look": Bug(
        what="a record rests without looking whether it was written meanwhile",
        patch=edited(turn._rest, ("newest.version != desk.stored.version", "False")),
        needless="whoever writes another's record marks it as active afterwards; a second net",
    ),
    "deleting_is_given_up": Bug(
        what="deleting is tried five times",
        patch=put(services, "NEVER_GIVEN_UP", ()),
        needless="the service is blocked then and looked at again at the next tick, with new attempts",
    ),
    "whatever_is_there": Bug(
        what="an upload is read without its version",
        patch=edited(ports.Datasets.open, ("bare_etag(blob.etag) != bare_etag(upload.etag)", "False")),
    ),
}
