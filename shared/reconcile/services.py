"""A service's hands: how its world is read and its steps are done. What to do stands in `shared.domain.service`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from shared import errors
from shared.domain import gate, names, service, smoke
from shared.domain.policy import Policy
from shared.domain.record import REASON_LENGTH_MAX
from shared.reconcile.turn import Desk, Loop, Outcome

WENT_BACK = "The traffic went back to the model before it. Mend the cause, then upload the file again."
UPLOAD_BETTER = "The traffic was left where it was. Mend the cause, then upload the file again."
QUOTA_HELPS = "Ask for quota of that VM family, or free some; the candidate is deployed as soon as Azure takes it."
NEVER_GIVEN_UP = (service.DeleteEndpoint, service.DeleteDeployment, service.EndpointGone, service.ForgetDeployment)


class ServiceLife:
    """Reads and acts for services."""

    record_type = service.Service

    def observe(self, record: service.Service, loop: Loop) -> service.World:
        endpoint = loop.ports.endpoints.endpoint(record.endpoint)
        live = record.live
        usage = None
        now = loop.clock()
        if live and endpoint and (record.candidate is None or record.waits_for_quota(now)):
            start, end = idle_window(loop.policy, now)
            usage = loop.ports.metrics.usage(record.endpoint, live.name, start=start, end=end)
        return service.World(endpoint=endpoint, usage=usage)

    def decide(self, record: service.Service, world: service.World, policy: Policy, now: datetime) -> service.Step:
        return service.decide(record, world, policy, now)

    def act(self, step: service.Step, desk: Desk[service.Service]) -> Outcome[service.Service]:
        return _HANDS[type(step)](desk, step)

    def stop(self, desk: Desk[service.Service], step: service.Step, error: errors.Stop) -> Outcome[service.Service]:
        """A candidate that cannot be deployed waits for quota or is given up; without one a person has to act, and the looking goes on."""
        candidate = desk.record.candidate
        if candidate and isinstance(error, errors.NoQuota):
            return _refused_for_quota(desk, candidate, error)
        if candidate and not service.is_for(step, desk.record, candidate):
            return _refused(desk, step, error)
        if candidate:
            return _give_up(desk, service.GiveUp(tuning=candidate.tuning, reason=str(error)), next_action=error.next_action)
        blocked = _block(desk, service.Block(reason=str(error), next_action=error.next_action))
        return Outcome(record=blocked.record, what=blocked.what, why=blocked.why, look_at=desk.now + desk.loop.policy.tick)

    def attempts_max(self, step: service.Step, policy: Policy) -> int | None:
        if isinstance(step, NEVER_GIVEN_UP) or only_writes(step):
            return None
        return policy.step_attempts_max


def only_writes(step: service.Step) -> bool:
    """Tell whether the step only writes the record."""
    return not isinstance(step, service.CreateEndpoint | service.CreateDeployment | service.SmokeTest | service.SetTraffic)


def idle_window(policy: Policy, now: datetime) -> tuple[datetime, datetime]:
    """Return start and end of the newest window whose points must have appeared, on whole grains of the metrics."""
    grain = policy.metric_grain
    end = now - policy.metric_lag
    end -= timedelta(seconds=end.timestamp() % grain.total_seconds())
    return end - policy.idle_after, end


def _create_endpoint(desk: Desk[service.Service], _: service.CreateEndpoint) -> Outcome[service.Service]:
    # Another endpoint takes the name: what was waited for belongs to the one before it.
    fresh = {"endpoint_asked_at": desk.now, "waited_for": "", "waited_since": None}
    desk.save(desk.change(stage=service.Stage.DEPLOYING, reason="", next_action="", **fresh))
    desk.loop.ports.endpoints.create_endpoint(desk.record.endpoint, tags=desk.record.tags)
    return _soon(desk, _accepted(desk), "endpoint_asked", desk.record.endpoint)


def _refused_for_quota(desk: Desk[service.Service], candidate: service.Candidate, error: errors.NoQuota) -> Outcome[service.Service]:
    """Let the candidate wait, and tell people once; after the deadline give it up. Nothing that costs money is left for it."""
    policy, now, said = desk.loop.policy, desk.now, str(error)
    wait = service.refused_for_quota(desk.record, candidate, said, policy, now)
    if wait is None:
        reason = f"There was no quota for it within {policy.quota_deadline}. {said}"
        given_up = service.GiveUp(tuning=candidate.tuning, reason=reason, all_of_them=True)
        return _give_up(desk, given_up, next_action=error.next_action)
    deployments = tuple(  # Azure did not accept it: it is not on its way, and not late
        msgspec.structs.replace(d, submitted_at=None) if d.tuning == candidate.tuning else d for d in desk.record.deployments
    )
    waiting = desk.change(
        deployments=deployments, quota=wait, stage=service.Stage.WAITING_FOR_QUOTA, reason=said[:REASON_LENGTH_MAX], next_action=QUOTA_HELPS
    )
    why = f"{said} It is asked for again until {wait.since + policy.quota_deadline:%Y-%m-%d %H:%M} UTC; nothing else is deleted for it."
    look_at = now + policy.look_every if waiting.live else wait.next_try_at
    return Outcome(record=waiting, what="waits_for_quota", why=why, look_at=look_at, quiet=wait.refusals > 1)


def _delete_endpoint(desk: Desk[service.Service], step: service.DeleteEndpoint) -> Outcome[service.Service]:
    """Write the rest of the name first: from here on nobody creates it before a stalled delete could have landed."""
    first_asked = not desk.record.deleting_endpoint  # one endpoint is one failure, however often Azure is asked to delete it
    failures = desk.record.endpoint_failures + (first_asked and desk.record.candidate is not None)
    rest_until = desk.now + desk.loop.policy.endpoint_rest
    desk.save(desk.change(deleting_endpoint=True, rest_until=rest_until, endpoint_failures=failures, delete_asked_at=desk.now))
    desk.loop.ports.endpoints.delete_endpoint(desk.record.endpoint)
    return _soon(desk, desk.record, "endpoint_delete_asked", step.reason)


def _endpoint_gone(desk: Desk[service.Service], _: service.EndpointGone) -> Outcome[service.Service]:
    gone = desk.change(
        deleting_endpoint=False,
        rest_until=desk.now + desk.loop.policy.endpoint_rest,
        endpoint_asked_at=None,
        scoring_uri="",
        deployments=(),
        gap=desk.record.gap and msgspec.structs.replace(desk.record.gap, end=desk.record.gap.end or desk.now),
        asleep_since=desk.record.asleep_since or (None if desk.record.candidate else desk.now),
        stage=service.Stage.DEPLOYING if desk.record.candidate else service.Stage.TORN_DOWN,
    )
    return Outcome(record=gone, what="endpoint_gone", why=f"{desk.record.endpoint} costs nothing more.")


def _reserve(desk: Desk[service.Service], step: service.ReserveDeployment) -> Outcome[service.Service]:
    number, candidate = desk.record.deployments_made + 1, step.candidate
    deployment = service.Deployment(
        name=names.deployment(number, candidate.training),
        tuning=candidate.tuning,
        training=candidate.training,
        model=candidate.model,
        model_version=candidate.model_version,
        sample=candidate.sample,
        asked_at=desk.now,
    )
    reserved = desk.change(
        deployments_made=number,
        deployments=(*desk.record.deployments, deployment),
        stage=service.Stage.DEPLOYING,
        asleep_since=None,
        reason="",
    )
    return Outcome(record=reserved, what="deployment_named", why=deployment.name)


def _create_deployment(desk: Desk[service.Service], step: service.CreateDeployment) -> Outcome[service.Service]:
    was_refused = (
        desk.record.attempts > 1
    )  # as far as anybody knows, and hours may have passed since: the deadline is of the request that lands
    submitted_at = desk.now if was_refused else step.deployment.submitted_at or desk.now
    deployments = _with(desk.record, step.deployment.name, lambda d: msgspec.structs.replace(d, submitted_at=submitted_at))
    desk.save(desk.change(deployments=deployments))
    tags = {**desk.record.tags, names.TRAINING_TAG: step.deployment.training, names.TUNING_TAG: step.deployment.tuning}
    desk.loop.ports.endpoints.create_deployment(desk.record.endpoint, step.deployment, tags=tags)
    return _soon(desk, _accepted(desk), "deployment_asked", step.deployment.name)


def _accepted(desk: Desk[service.Service]) -> service.Service:
    """Return the record after Azure has taken what it was asked for: nothing waits for quota."""
    if desk.record.quota is None:
        return desk.record
    return desk.change(quota=None, stage=service.Stage.DEPLOYING, reason="", next_action="")


def _smoke_test(desk: Desk[service.Service], step: service.SmokeTest) -> Outcome[service.Service]:
    """Ask one held-out question; question and answer stay in the container. As for a probe, it is our own request once it was answered."""
    record, ports, name, asked_at = desk.record, desk.loop.ports, step.deployment.name, desk.now
    desk.save(desk.change(stage=service.Stage.TESTING, scoring_uri=step.scoring_uri))
    sample = _sample(ports.datasets.read(step.deployment.sample))
    try:
        reply = ports.endpoints.ask(record.endpoint, step.scoring_uri, deployment=name, body=smoke.request(sample["messages"]))
    except errors.BadAnswer as bad:
        return _smoke_failed(desk, name, str(bad), own_requests=_own(desk.record, asked_at))
    except errors.TuneloopError as error:
        return _smoke_failed(desk, name, str(error), own_requests=desk.record.own_requests)
    answer, own = smoke.answer_in(reply), _own(desk.record, asked_at)
    if not answer:
        return _smoke_failed(desk, name, "it answered without a text.", own_requests=own)
    path = names.smoke_path(record.owner, record.text, name)
    ports.datasets.write(path, {"question": sample["messages"][-1]["content"], "answer": answer, "reference": sample["reference"]})
    tested = _with(desk.record, name, lambda d: msgspec.structs.replace(d, smoke_passed=True))
    passed = desk.change(deployments=tested, own_requests=own, reason="")
    return Outcome(record=passed, what="smoke_passed", why=f"{name} answered with {len(answer)} characters.")


def _own(record: service.Service, asked_at: datetime) -> tuple[datetime, ...]:
    return (*record.own_requests, asked_at)[-service.OWN_REQUESTS_KEPT_MAX :]


def _probe(desk: Desk[service.Service], step: service.Probe) -> Outcome[service.Service]:
    """
    Ask once more. Only a bad answer counts against the model, only an answer for it; and only a question that was answered is our own
    request, so that one which never arrived hides nobody's.
    """
    ports, name, asked_at = desk.loop.ports, step.deployment.name, desk.now
    desk.save(desk.change(deployments=_with(desk.record, name, lambda d: msgspec.structs.replace(d, probed_at=asked_at))))
    record = desk.record
    try:
        sample = _sample(ports.datasets.read(step.deployment.sample))
        reply = ports.endpoints.ask(record.endpoint, step.scoring_uri, deployment=name, body=smoke.request(sample["messages"]))
        said = "" if smoke.answer_in(reply) else "it answered without a text."
    except errors.BadAnswer as bad:
        said = str(bad)
    except errors.TuneloopError as unknown:
        look_at = desk.now + desk.loop.policy.look_every
        return Outcome(record=record, what="probe_unknown", why=str(unknown), look_at=look_at, quiet=True)
    own = _own(record, asked_at)
    if said:
        failed = _with(record, name, lambda d: msgspec.structs.replace(d, probes_failed=d.probes_failed + 1))
        return Outcome(record=desk.change(deployments=failed, own_requests=own), what="probe_failed", why=f"{name}: {said}")
    good = _with(record, name, lambda d: msgspec.structs.replace(d, answered_at=asked_at, probes_failed=0))
    return Outcome(record=desk.change(deployments=good, own_requests=own), what="probe_passed", why=name, quiet=True)


def _go_back(desk: Desk[service.Service], step: service.GoBack) -> Outcome[service.Service]:
    """One write: the failed one retires and its candidate is given up, the kept one is live again. The traffic follows the record."""
    record = desk.record
    failed = next(d for d in record.deployments if d.name == step.failed)
    kept = next(d for d in record.deployments if d.name == step.kept)
    given_up = _give_up(desk, service.GiveUp(tuning=failed.tuning, reason=step.reason), next_action=WENT_BACK).record
    deployments = _with(given_up, kept.name, lambda d: msgspec.structs.replace(d, live_at=desk.now, kept_until=None, probes_failed=0))
    back = msgspec.structs.replace(
        given_up, deployments=deployments, served=kept.tuning, stage=service.Stage.LIVE, idle=service.IdleClock()
    )
    return Outcome(record=back, what="went_back", why=f"The traffic goes back to {kept.name}. {given_up.reason}")


def _smoke_failed(desk: Desk[service.Service], name: str, sentence: str, *, own_requests: tuple[datetime, ...]) -> Outcome[service.Service]:
    if desk.record.attempts < desk.loop.policy.smoke_attempts_max:
        if own_requests != desk.record.own_requests:
            desk.save(desk.change(own_requests=own_requests))
        raise errors.TryLater(f"{name} gave no answer: {sentence}")
    deployments = _with(desk.record, name, lambda d: msgspec.structs.replace(d, smoke_passed=False))
    failed = desk.change(deployments=deployments, own_requests=own_requests, reason=sentence)
    return Outcome(record=failed, what="smoke_failed", why=f"{name}: {sentence}")


def _sample(document: Any) -> dict[str, Any]:
    samples = document.get("samples") if isinstance(document, dict) else None
    if not samples:
        raise errors.Stop("The held-out questions of this dataset are gone.", next_action="Upload the file again under another name.")
    first: dict[str, Any] = samples[0]
    return first


def _set_traffic(desk: Desk[service.Service], step: service.SetTraffic) -> Outcome[service.Service]:
    desk.loop.ports.endpoints.set_traffic(desk.record.endpoint, step.traffic)
    shares = ", ".join(f"{name} {share} %" for name, share in step.traffic.items()) or "none"
    return _soon(desk, desk.record, "traffic_asked", f"Traffic: {shares}. {step.why}")


def _promote(desk: Desk[service.Service], step: service.Promote) -> Outcome[service.Service]:
    record, before, probation = desk.record, desk.record.live, desk.loop.policy.probation

    def after(d: service.Deployment) -> service.Deployment:
        if d.name == step.deployment:
            return msgspec.structs.replace(d, live_at=desk.now)
        if probation and d == before and gate.may_take_traffic(d.proof):
            return msgspec.structs.replace(d, live_at=None, kept_until=desk.now + probation)
        return msgspec.structs.replace(d, retiring=True)

    deployments = tuple(after(d) for d in record.deployments)
    live = next(d for d in deployments if d.name == step.deployment)
    promoted = desk.change(
        deployments=deployments,
        served=live.tuning,
        stage=service.Stage.LIVE,
        idle=service.IdleClock(),
        asleep_since=None,
        endpoint_failures=0,
        quota=None,
        reason="",
        next_action="",
    )
    return Outcome(record=promoted, what="live", why=f"{step.deployment} has the traffic of {record.endpoint}.")


def _give_up(desk: Desk[service.Service], step: service.GiveUp, next_action: str = UPLOAD_BETTER) -> Outcome[service.Service]:
    record = desk.record
    deployment = record.deployment_for(step.tuning)
    tail = ""
    if deployment:
        try:
            tail = desk.loop.ports.endpoints.log_tail(record.endpoint, deployment.name)
        except errors.TuneloopError:
            tail = ""  # the reason stands without it
    reason = f"{step.reason} {tail}".strip()[-2000:] if not tail else f"{step.reason} Its log ends: {tail[-1000:]}"
    waited = {step.tuning} | ({c.tuning for c in record.candidates if not c.failure} - {record.served} if step.all_of_them else set())
    candidates = tuple(msgspec.structs.replace(c, failure=reason) if c.tuning in waited else c for c in record.candidates)
    deployments = tuple(msgspec.structs.replace(d, retiring=True) if d.tuning == step.tuning else d for d in record.deployments)
    given_up = desk.change(candidates=candidates, deployments=deployments, quota=None, reason=reason, next_action=next_action)
    idle = service.Stage.LIVE if given_up.live else service.Stage.FALLING_ASLEEP
    given_up = msgspec.structs.replace(given_up, stage=service.Stage.DEPLOYING if given_up.candidate else idle)
    return Outcome(record=given_up, what="candidate_given_up", why=reason)


def _delete_deployment(desk: Desk[service.Service], step: service.DeleteDeployment) -> Outcome[service.Service]:
    desk.loop.ports.endpoints.delete_deployment(desk.record.endpoint, step.name)
    record = desk.change(delete_asked_at=desk.now) if step.reason else desk.record
    return _soon(desk, record, "deployment_delete_asked", f"{step.name}: {step.reason}" if step.reason else step.name)


def _refused(desk: Desk[service.Service], step: service.Step, error: errors.Stop) -> Outcome[service.Service]:
    """What Azure refuses of others is no fault of the candidate, which waits: it is asked for again at each tick, and told once."""
    reason = f"{_REFUSED.get(type(step), 'Azure refused to set the traffic')}: {error}"
    known = desk.record.reason == reason
    refused = desk.change(reason=reason, next_action=error.next_action)
    what = "delete_refused" if type(step) in _REFUSED else "traffic_refused"
    return Outcome(record=refused, what=what, why=reason, look_at=desk.now + desk.loop.policy.tick, quiet=known)


def _forget_deployment(desk: Desk[service.Service], step: service.ForgetDeployment) -> Outcome[service.Service]:
    left = tuple(d for d in desk.record.deployments if d.name != step.name)
    gap = desk.record.gap
    if gap and gap.deployment == step.name:
        gap = msgspec.structs.replace(gap, end=desk.now)
    quota = desk.record.quota and msgspec.structs.replace(desk.record.quota, next_try_at=desk.now)  # some of ours is free now
    return Outcome(
        record=desk.change(deployments=left, quota=quota, gap=gap), what="deployment_gone", why=f"{step.name} costs nothing more."
    )


def _write_idle_clock(desk: Desk[service.Service], step: service.WriteIdleClock) -> Outcome[service.Service]:
    quiet = step.stage == desk.record.stage and (step.clock.unknown_since is None) == (desk.record.idle.unknown_since is None)
    record = desk.change(idle=step.clock, stage=step.stage)
    return Outcome(record=record, what=f"seen_{step.stage.value}", why=step.why, look_at=step.until, quiet=quiet)


def _retire(desk: Desk[service.Service], step: service.Retire) -> Outcome[service.Service]:
    deployments = tuple(msgspec.structs.replace(d, retiring=True) if d.name in step.names else d for d in desk.record.deployments)
    live, old = desk.record.live, desk.record.idle
    idle = service.IdleClock(used_at=old.used_at) if live and live.name in step.names else old
    gap = desk.record.gap
    if live and live.name in step.names:
        gap = service.Gap(deployment=live.name, start=idle_window(desk.loop.policy, desk.now)[1])
    retired = desk.change(deployments=deployments, idle=idle, gap=gap)
    if retired.live is None and retired.candidate is None:
        retired = msgspec.structs.replace(retired, stage=service.Stage.FALLING_ASLEEP)
    return Outcome(record=retired, what="retiring", why=f"{', '.join(step.names)}: {step.why}")


def _count_gap(desk: Desk[service.Service], step: service.CountGap) -> Outcome[service.Service]:
    """Nobody can close the time between the last look and the end; what came in it is told, and unknown when the metrics do not say."""
    record, gap, end = desk.record, step.gap, step.gap.end or desk.now
    end += desk.loop.policy.metric_grain  # the point that holds the end
    usage = desk.loop.ports.metrics.usage(record.endpoint, gap.deployment, start=gap.start, end=end)
    own = sum(gap.start <= at < end for at in record.own_requests)
    if usage is None or not usage.heartbeats:
        why = f"The metrics do not say whether requests met the deletion of {gap.deployment}."
    else:
        requests = max(0, usage.requests - own)
        why = f"{requests:g} requests came after the last look at {gap.deployment} and before it was gone; they may have had an error."
    return Outcome(record=desk.change(gap=None), what="requests_counted", why=why)


def _adopt(desk: Desk[service.Service], step: service.Adopt) -> Outcome[service.Service]:
    late = service.Deployment(
        name=step.name, tuning="", training="", model="", model_version="", sample="", asked_at=desk.now, retiring=True
    )
    adopted = desk.change(deployments=(*desk.record.deployments, late))
    return Outcome(record=adopted, what="late_deployment_found", why=f"{step.name} will be deleted.")


def _fall_asleep(desk: Desk[service.Service], step: service.FallAsleep) -> Outcome[service.Service]:
    asleep = desk.change(asleep_since=desk.now, stage=service.Stage.ASLEEP, idle=service.IdleClock(used_at=desk.record.idle.used_at))
    kept = (
        f"the endpoint and its address are kept for {desk.loop.policy.endpoint_kept_for}" if step.has_endpoint else "there is no endpoint"
    )
    return Outcome(record=asleep, what="asleep", why=f"No deployment is left, nothing is billed; {kept}.")


def _block(desk: Desk[service.Service], step: service.Block) -> Outcome[service.Service]:
    blocked = desk.change(stage=service.Stage.BLOCKED, reason=step.reason, next_action=step.next_action)
    return Outcome(record=blocked, what="blocked", why=step.reason)


def _soon(desk: Desk[service.Service], record: service.Service, what: str, why: str) -> Outcome[service.Service]:
    """What was asked for takes a while: look again after the usual time."""
    return Outcome(record=record, what=what, why=why, look_at=desk.now + desk.loop.policy.look_every)


def _with(record: service.Service, name: str, change: Callable[[service.Deployment], service.Deployment]) -> tuple[service.Deployment, ...]:
    return tuple(change(d) if d.name == name else d for d in record.deployments)


_REFUSED: dict[type, str] = {
    service.DeleteDeployment: "Azure refused to delete a deployment",
    service.DeleteEndpoint: "Azure refused to delete the endpoint",
}
_HANDS: dict[type, Callable[[Desk[service.Service], Any], Outcome[service.Service]]] = {
    service.CreateEndpoint: _create_endpoint,
    service.DeleteEndpoint: _delete_endpoint,
    service.EndpointGone: _endpoint_gone,
    service.ReserveDeployment: _reserve,
    service.CreateDeployment: _create_deployment,
    service.SmokeTest: _smoke_test,
    service.Probe: _probe,
    service.GoBack: _go_back,
    service.SetTraffic: _set_traffic,
    service.Promote: _promote,
    service.GiveUp: _give_up,
    service.DeleteDeployment: _delete_deployment,
    service.ForgetDeployment: _forget_deployment,
    service.WriteIdleClock: _write_idle_clock,
    service.Retire: _retire,
    service.Adopt: _adopt,
    service.CountGap: _count_gap,
    service.FallAsleep: _fall_asleep,
    service.Block: _block,
}
