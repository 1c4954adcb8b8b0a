"""
A service is one endpoint with a stable URL and the newest good training behind it.

`decide` reads top to bottom as its life: a candidate is deployed at 0 %, asked a question directly, given the traffic
on proof, and only then is the deployment before it deleted. Unused, it is marked, then put to sleep (deployments
deleted, URL kept), then the endpoint is torn down too. Any failure of a candidate leaves the traffic where it is.

Only what this record names and what carries its owner's tag is ever changed. A deployment's name is never used twice;
an endpoint's name rests after each delete for longer than a function may run, so that a stalled delete cannot hit a
newer endpoint of the same name.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from shared.domain import gate, names
from shared.domain.policy import Policy, Rest, Wait, pause
from shared.domain.record import Header, Kind
from shared.domain.structs import learn

OWN_REQUESTS_KEPT_MAX = 100  # times of our own scoring requests; only those inside one idle window matter


class Stage(StrEnum):
    NEW = "new"
    DEPLOYING = "deploying"
    WAITING_FOR_QUOTA = "waiting for quota"  # Azure has no quota or machine for the candidate; what is live goes on
    TESTING = "testing"
    LIVE = "live"
    IDLE = "idle"  # marked: people were told, the grace is running
    FALLING_ASLEEP = "falling asleep"
    ASLEEP = "asleep"  # deployments deleted, endpoint kept
    TORN_DOWN = "torn down"  # endpoint deleted too; the record knows how to come back
    BLOCKED = "blocked"  # a person has to act


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A good training that was offered to this service."""

    tuning: str
    uploaded_at: datetime  # with the tuning's id the order of uploads within a service
    training: str
    model: str  # name in the workspace's registry
    model_version: str
    sample: str  # path of the held-out questions in the prepared container
    failure: str = ""  # why it was given up; '': it was not

    @property
    def order(self) -> tuple[datetime, str]:
        return (self.uploaded_at, self.tuning)


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment that this service asked for and has not yet seen gone."""

    name: str
    tuning: str  # whose candidate it serves
    training: str
    model: str
    model_version: str
    sample: str
    asked_at: datetime  # since it has its name
    submitted_at: datetime | None = None  # since Azure was first asked for it; None: it was not
    smoke_passed: bool | None = None
    live_at: datetime | None = None  # since it has the traffic; None: it has none
    retiring: bool = False  # to be deleted
    kept_until: datetime | None = None  # it served before the live one and is its way back until then; None: it is not
    probed_at: datetime | None = None  # newest question during probation; None: none yet
    answered_at: datetime | None = None  # newest answer to one
    probes_failed: int = 0  # in a row, by bad answers; what says nothing about the model does not count

    @property
    def proof(self) -> gate.Proof:
        return gate.Proof(smoke_passed=self.smoke_passed)

    def is_late(self, policy: Policy, now: datetime) -> bool:
        return now >= (self.submitted_at or self.asked_at) + policy.deployment_deadline


class IdleClock(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about the use of the live deployment; shown to people from the first minute."""

    used_at: datetime | None = None  # newest moment at which it was seen in use; None: not since it went live
    marked_at: datetime | None = None  # first seen idle; None: not marked
    seen_idle_at: datetime | None = None  # last seen idle
    unknown_since: datetime | None = None  # metrics say nothing since; None: they do
    permit: tuple[str, ...] = ()  # deployments that the fleet's timer lets go


class QuotaWait(msgspec.Struct, frozen=True, kw_only=True):
    """Azure has no quota or no machine for what a candidate needs; it is asked again, ever more seldom, until a deadline."""

    tuning: str  # whose candidate waits
    since: datetime  # of the first refusal
    refusals: int
    next_try_at: datetime
    said: str  # Azure's newest words


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """The time between the last window that showed a deployment idle and its end, of which nothing was known when it was let go."""

    deployment: str
    start: datetime
    end: datetime | None = None  # when it was seen gone; None: it was not yet


class Service(Header, frozen=True, kw_only=True):
    """The record of one service."""

    text: str  # first folder of the uploads' paths, exact; '': not known yet, of an endpoint that was taken over
    endpoint: str
    deployments: tuple[Deployment, ...] = ()
    deployments_made: int = 0  # counter behind the names; only ever raised
    candidates: tuple[Candidate, ...] = ()  # newest last
    idle: IdleClock = IdleClock()
    served: str | None = None  # newest tuning that has been live; None: none was yet
    asleep_since: datetime | None = None  # None: not asleep
    rest_until: datetime | None = None  # the endpoint's name is not created before
    deleting_endpoint: bool = False  # a delete was intended and its end not yet seen
    delete_asked_at: datetime | None = None  # newest time that Azure was asked to delete something that hangs; None: it never was
    endpoint_asked_at: datetime | None = None  # of the newest endpoint; None: none was asked for since the last delete
    endpoint_failures: int = 0  # endpoints that came out Failed since something was last live
    scoring_uri: str = ""
    own_requests: tuple[datetime, ...] = ()  # of our own probes, so that they do not count as use
    gap: Gap | None = None  # whose requests are still to be counted; None: none are
    quota: QuotaWait | None = None  # None: nothing was refused for want of quota since something was last accepted

    @property
    def live(self) -> Deployment | None:
        return next((d for d in self.deployments if d.live_at and not d.retiring), None)

    @property
    def kept(self) -> Deployment | None:
        """The deployment that served before the live one, while that is on probation."""
        return next((d for d in self.deployments if d.kept_until and not d.retiring), None)

    @property
    def candidate(self) -> Candidate | None:
        """The newest offered training that was not given up, unless it, or a later one, has been live already."""
        newest = max((c for c in self.candidates if not c.failure), key=lambda c: c.order, default=None)
        served = next((c for c in self.candidates if c.tuning == self.served), None)
        return None if newest is None or (served and newest.order <= served.order) else newest

    @property
    def tags(self) -> dict[str, str]:
        return {names.OWNER_TAG: self.owner, names.SERVICE_TAG: self.id}

    def waits_for_quota(self, now: datetime) -> bool:
        """Tell whether the candidate was refused for want of quota and is not asked for again yet."""
        quota, candidate = self.quota, self.candidate
        return quota is not None and candidate is not None and quota.tuning == candidate.tuning and now < quota.next_try_at

    def deployment_for(self, tuning: str) -> Deployment | None:
        return next((d for d in self.deployments if d.tuning == tuning and not d.retiring), None)


learn(Service)


class DeploymentView(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment as Azure ML shows it."""

    name: str
    state: str  # provisioningState; an open list of words
    owner: str | None  # our tag on it; None: not ours


class EndpointView(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint as Azure ML shows it."""

    state: str
    owner: str | None
    service: str | None
    scoring_uri: str
    traffic: dict[str, int]
    deployments: tuple[DeploymentView, ...] = ()

    def deployment(self, name: str) -> DeploymentView | None:
        return next((d for d in self.deployments if d.name == name), None)


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What the metrics say about one deployment over one window."""

    start: datetime
    end: datetime
    heartbeats: int  # points that only a living deployment gives
    heartbeats_wanted: int  # that a full window has
    requests: float  # that arrived, our own included; 0 where there is no series
    last_request_at: datetime | None = None  # newest point that is not zero


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What Azure shows of this service, read at one moment."""

    endpoint: EndpointView | None = None
    usage: Usage | None = None  # of the live deployment; None: not asked, or the question failed


class CreateEndpoint(msgspec.Struct, frozen=True):
    pass


class DeleteEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    reason: str


class EndpointGone(msgspec.Struct, frozen=True):
    """The endpoint was seen gone: write that down; its name begins to rest again."""


class ReserveDeployment(msgspec.Struct, frozen=True, kw_only=True):
    """Raise the counter and write the name down; the deployment is asked for in a later turn."""

    candidate: Candidate


class CreateDeployment(msgspec.Struct, frozen=True, kw_only=True):
    deployment: Deployment


class SmokeTest(msgspec.Struct, frozen=True, kw_only=True):
    deployment: Deployment
    scoring_uri: str


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """Ask the live deployment again while it is on probation, or the kept one before the traffic goes back to it."""

    deployment: Deployment
    scoring_uri: str


class GoBack(msgspec.Struct, frozen=True, kw_only=True):
    """The live deployment failed on probation: the kept one is live again; the traffic follows, then the failed one is deleted."""

    kept: str
    failed: str
    reason: str


class SetTraffic(msgspec.Struct, frozen=True, kw_only=True):
    traffic: dict[str, int]
    why: str


class Promote(msgspec.Struct, frozen=True, kw_only=True):
    """The traffic was seen on this deployment: it is live, the others retire."""

    deployment: str


class GiveUp(msgspec.Struct, frozen=True, kw_only=True):
    """Give the candidate up; its deployment retires, the traffic stays where it is, and an earlier one may be tried."""

    tuning: str
    reason: str
    all_of_them: bool = False  # True: nothing of it is about the model, an earlier one would end the same way


class DeleteDeployment(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    reason: str = ""  # why it cannot wait; '': its time has come


class ForgetDeployment(msgspec.Struct, frozen=True, kw_only=True):
    """The deployment was seen gone."""

    name: str


class WriteIdleClock(msgspec.Struct, frozen=True, kw_only=True):
    clock: IdleClock
    stage: Stage
    until: datetime
    why: str


class Retire(msgspec.Struct, frozen=True, kw_only=True):
    """These deployments are to be deleted, by the turns that follow."""

    names: tuple[str, ...]
    why: str


class Adopt(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment of ours that the record does not know (a request that landed late): write it down, to be deleted."""

    name: str


class CountGap(msgspec.Struct, frozen=True, kw_only=True):
    """Ask the metrics once how many requests met a deletion, and tell."""

    gap: Gap


class FallAsleep(msgspec.Struct, frozen=True, kw_only=True):
    """No deployment is left and no candidate waits: the service costs nothing more."""

    has_endpoint: bool = True  # False: it was never made, or is gone, so there is no address to keep


class Block(msgspec.Struct, frozen=True, kw_only=True):
    reason: str
    next_action: str


Step = (
    CreateEndpoint | DeleteEndpoint | EndpointGone | ReserveDeployment | CreateDeployment | SmokeTest | SetTraffic | Promote
    | GiveUp | Probe | GoBack | DeleteDeployment | ForgetDeployment | WriteIdleClock | Retire | Adopt | FallAsleep
    | CountGap | Block | Wait | Rest
)  # fmt: skip
CHANGES_AZURE = (  # or is about to
    CreateEndpoint, DeleteEndpoint, ReserveDeployment, CreateDeployment, SmokeTest, SetTraffic, DeleteDeployment, Retire,
    Probe, GoBack,
)  # fmt: skip

BUSY_STATES = frozenset({"creating", "updating", "deleting", "scaling"})
FAILED_STATES = frozenset({"failed", "canceled"})
PROBES_FAILED_MAX = 3  # bad answers in a row that end a probation; a guess: one may be a restart, three in half an hour are none
PROBE_EVERY = timedelta(minutes=10)  # during probation, or a sixth of it where that is shorter
ASK_AGAIN = timedelta(hours=1)  # between two requests to delete what hangs; a guess, and deployment_deadline where that is shorter
KEPT_FOR_A_STRANGER = "A deployment on it does not carry this app's tag, so the endpoint is kept."
LOOK_IN_STUDIO = "Look at it in Azure ML studio; delete it there if it stays."


def opened(text: str, *, owner: str, now: datetime) -> Service:
    return Service(
        kind=Kind.SERVICE,
        id=names.service_id(owner, text),
        owner=owner,
        stage=Stage.NEW,
        created_at=now,
        text=text,
        endpoint=names.endpoint(owner, text),
    )


def orphaned(id: str, endpoint: str, *, owner: str, now: datetime) -> Service:  # noqa: A002 - the name of the field
    """Return the record of a service of which only its endpoint and the id in its tag are left; its turns tear the endpoint down."""
    return Service(kind=Kind.SERVICE, id=id, owner=owner, stage=Stage.FALLING_ASLEEP, created_at=now, text="", endpoint=endpoint)


def named(record: Service, text: str) -> Service:
    """
    Return the record with the text of its uploads, where it was taken over without one. Should its endpoint not be the one of this text
    (somebody changed its tags), it is let go of: no record names it then, and it is told of and kept.
    """
    if record.text:
        return record
    endpoint = names.endpoint(record.owner, text)
    if record.endpoint == endpoint:
        return msgspec.structs.replace(record, text=text)
    return msgspec.structs.replace(record, text=text, endpoint=endpoint, deployments=(), deleting_endpoint=False, scoring_uri="")


def offered(record: Service, candidate: Candidate) -> Service:
    """Return the record with one more candidate; offering the same tuning twice is offering it once."""
    if any(c.tuning == candidate.tuning for c in record.candidates):
        return record
    candidates = tuple(sorted((*record.candidates, candidate), key=lambda c: c.order))
    return msgspec.structs.replace(record, candidates=candidates)


def later_offered(record: Service | None, order: tuple[datetime, str]) -> str | None:
    """Return the tuning of a later upload that was already offered, None if there is none."""
    newest = max((c.order for c in record.candidates), default=None) if record else None
    return newest[1] if newest and newest > order else None


def decide(record: Service, world: World, policy: Policy, now: datetime) -> Step:
    """Return the one next step of this service. Whatever branch it comes from, no traffic goes to what has no proof."""
    step = _next(record, world, policy, now)
    unproven = _unproven(record, step)
    if unproven:
        why = f"{', '.join(unproven)} would get traffic without a proof; the traffic is left as it is."
        return Wait(until=now + max(policy.tick, policy.look_every), why=why, told=True)
    return pause(policy, now) if policy.paused and isinstance(step, CHANGES_AZURE) else step


def is_for(step: Step, record: Service, candidate: Candidate) -> bool:
    """Tell whether the step brings the candidate up, so that it is to be given up when the step cannot be done."""
    if isinstance(step, SetTraffic):
        deployment = record.deployment_for(candidate.tuning)
        return deployment is not None and deployment.name in step.traffic
    return not isinstance(step, DeleteEndpoint | DeleteDeployment)


def _unproven(record: Service, step: Step) -> tuple[str, ...]:
    """Return which deployments the step would give traffic to, or call live, without a proof."""
    if isinstance(step, SetTraffic):
        targets = tuple(name for name, share in step.traffic.items() if share)
    elif isinstance(step, Promote | GoBack):
        targets = (step.deployment if isinstance(step, Promote) else step.kept,)
    else:
        return ()
    proven = {d.name for d in record.deployments if gate.may_take_traffic(d.proof)}
    return tuple(name for name in targets if name not in proven)


def _next(record: Service, world: World, policy: Policy, now: datetime) -> Step:
    endpoint = world.endpoint
    if endpoint and (endpoint.owner != record.owner or endpoint.service != record.id):
        return _foreign_endpoint(record, policy, now)
    if record.deleting_endpoint:
        return _finish_endpoint_delete(record, endpoint, policy, now)
    if endpoint and endpoint.state.lower() in BUSY_STATES:
        return _wait_for_endpoint(record, endpoint, policy, now)
    unknown = _unknown_deployment(record, endpoint)
    if unknown:
        return Adopt(name=unknown)
    serving = _serves_unwritten(record, endpoint)
    if serving:
        return Promote(deployment=serving)
    countable_at = _countable_at(record, policy)
    if record.gap and countable_at and now >= countable_at:
        return CountGap(gap=record.gap)
    back = _way_back(record, endpoint, policy, now)
    if back:
        return back
    outdated = _outdated_deployments(record)
    if outdated:
        return Retire(names=outdated, why="A later upload takes its place.")
    retiring = next((d for d in record.deployments if d.retiring), None)
    if retiring:
        return _retire(record, retiring, endpoint, policy, now)
    if record.candidate:
        step = _advance(record, record.candidate, endpoint, policy, now)
        if not (isinstance(step, CreateEndpoint | CreateDeployment) and record.waits_for_quota(now)):
            return step
    if record.live:
        return _watch(record, record.live, world, policy, now)
    if record.candidate and record.quota:
        return _wait_for_quota(record.quota, policy)
    return _sleep(record, endpoint, policy, now)


def _foreign_endpoint(record: Service, policy: Policy, now: datetime) -> Step:
    reason = f"An endpoint called {record.endpoint} exists and does not carry this app's tags."
    if record.reason == reason:
        return Wait(until=now + max(policy.tick, policy.look_every), why=reason)
    return Block(reason=reason, next_action="Delete that endpoint, or upload under another first folder. Nothing of it was touched.")


def _finish_endpoint_delete(record: Service, endpoint: EndpointView | None, policy: Policy, now: datetime) -> Step:
    if endpoint is None:
        return EndpointGone()
    if endpoint.state.lower() not in BUSY_STATES:
        return DeleteEndpoint(reason="Its deletion was begun and the endpoint is still there.")
    wait, hangs = _busy(f"Endpoint {record.endpoint} is {endpoint.state}.", record, policy, now)
    refused_or_lost = endpoint.state.lower() != "deleting"
    if (hangs or refused_or_lost) and _may_ask_to_delete(record, policy, now):
        return DeleteEndpoint(reason=f"It is still {endpoint.state}. {LOOK_IN_STUDIO}")
    return wait


def _wait_for_endpoint(record: Service, endpoint: EndpointView, policy: Policy, now: datetime) -> Step:
    """
    Wait while Azure is busy with the endpoint. One that hangs is deleted, by the rules of every deletion, unless something on it serves or
    is somebody else's. On one that serves, what is to go is asked to go all the same.
    """
    wait, hangs = _busy(f"Endpoint {record.endpoint} is {endpoint.state}.", record, policy, now)
    if not hangs:
        return wait
    candidate = record.candidate
    if candidate and (record.live or record.endpoint_failures >= policy.step_attempts_max):
        reason = f"Endpoint {record.endpoint} was still {endpoint.state} after {policy.deployment_deadline}."
        return GiveUp(tuning=candidate.tuning, reason=reason, all_of_them=True)
    if not _may_ask_to_delete(record, policy, now):
        return wait
    if record.live is None and not endpoint.traffic and _is_all_ours(record, endpoint):
        return DeleteEndpoint(reason=wait.why)
    for deployment in record.deployments:
        if deployment.retiring and endpoint.deployment(deployment.name) and not endpoint.traffic.get(deployment.name):
            return DeleteDeployment(name=deployment.name, reason=wait.why)
    return wait


def _is_all_ours(record: Service, endpoint: EndpointView) -> bool:
    return all(d.owner == record.owner for d in endpoint.deployments)


def _busy(what: str, record: Service, policy: Policy, now: datetime) -> tuple[Wait, bool]:
    """Return how to wait for what Azure is busy with, and whether it hangs: for longer than the deadline. Of that people are told, once."""
    hanging = f"{what} It has been for more than {policy.deployment_deadline}. {LOOK_IN_STUDIO}"
    hangs = record.waited_for == hanging or record.has_waited(what, now) >= policy.deployment_deadline
    return Wait(until=now + policy.look_every, why=hanging if hangs else what, told=hangs), hangs


def _may_ask_to_delete(record: Service, policy: Policy, now: datetime) -> bool:
    asked_at = record.delete_asked_at
    return asked_at is None or now >= asked_at + min(ASK_AGAIN, policy.deployment_deadline)


def _unknown_deployment(record: Service, endpoint: EndpointView | None) -> str | None:
    known = {d.name for d in record.deployments}
    views = endpoint.deployments if endpoint else ()
    return next((v.name for v in views if v.owner == record.owner and v.name not in known), None)


def _serves_unwritten(record: Service, endpoint: EndpointView | None) -> str | None:
    """
    Return the deployment that passed the gate and has all the traffic while the record does not have it live yet. It comes before whatever
    was offered since: to that it is the one that goes on serving, and it must not go as a mere candidate that is out of date.
    """
    return next(
        (d.name for d in record.deployments if endpoint and endpoint.traffic == {d.name: 100} and _may_become_live(d)),
        None,
    )


def _countable_at(record: Service, policy: Policy) -> datetime | None:
    """Return when the points of the gap must have appeared; None: there is none, or it has not ended."""
    return record.gap.end + policy.metric_lag + policy.metric_grain if record.gap and record.gap.end else None


def _may_become_live(deployment: Deployment) -> bool:
    is_candidates = not deployment.live_at and not deployment.retiring and not deployment.kept_until
    return is_candidates and gate.may_take_traffic(deployment.proof)


def _way_back(record: Service, endpoint: EndpointView | None, policy: Policy, now: datetime) -> Step | None:
    """
    Return what the deployment that is kept through probation is good for now; None: nothing. The traffic goes back to it only when the live
    one failed, the kept one had its proof, and it has just answered again: what both cannot answer is not the new model's fault.
    Trouble in the last minutes of probation still gives time to ask twice.
    """
    kept, live = record.kept, record.live
    if kept is None or kept.kept_until is None:
        return None
    no_way_back = Retire(names=(kept.name,), why="It is no way back any more.")
    if endpoint is None or live is None or record.candidate or record.idle.permit:
        return no_way_back
    trouble, every = _trouble(live, endpoint), probe_every(policy)
    is_news = trouble and not kept.probes_failed  # else it would go in the very minute in which it is needed
    time_to_ask = 2 * every if is_news else timedelta(0)
    if now >= kept.kept_until + time_to_ask:
        return no_way_back
    view = endpoint.deployment(kept.name)
    if not trouble or view is None or view.state.lower() != "succeeded" or not gate.may_take_traffic(kept.proof):
        return None
    if kept.answered_at and now - kept.answered_at <= every:
        return GoBack(kept=kept.name, failed=live.name, reason=trouble)
    if kept.probed_at is None or now >= kept.probed_at + every:
        return Probe(deployment=kept, scoring_uri=endpoint.scoring_uri)
    return Wait(
        until=min(kept.probed_at + every, now + policy.look_every), why=f"{trouble} The one before it does not answer either.", told=True
    )


def _trouble(live: Deployment, endpoint: EndpointView) -> str:
    """Return what is wrong with the live deployment, '' if nothing is."""
    view = endpoint.deployment(live.name)
    if view is None:
        return f"Deployment {live.name} was deleted by somebody else."
    if view.state.lower() in FAILED_STATES:
        return f"Deployment {live.name} is {view.state}."
    if live.probes_failed >= PROBES_FAILED_MAX:
        return f"Deployment {live.name} gave {live.probes_failed} bad answers in a row."
    return ""


def probe_every(policy: Policy) -> timedelta:
    """Return the time between two questions during probation."""
    return min(PROBE_EVERY, policy.probation / 6)


def _outdated_deployments(record: Service) -> tuple[str, ...]:
    wanted = record.candidate.tuning if record.candidate else None
    return tuple(d.name for d in record.deployments if not d.retiring and not d.live_at and not d.kept_until and d.tuning != wanted)


def _retire(record: Service, deployment: Deployment, endpoint: EndpointView | None, policy: Policy, now: datetime) -> Step:
    view = endpoint.deployment(deployment.name) if endpoint else None
    if endpoint is None or view is None:
        return ForgetDeployment(name=deployment.name)
    reason = ""
    if view.state.lower() in BUSY_STATES:
        wait, hangs = _busy(f"Deployment {view.name} is {view.state}.", record, policy, now)
        if not hangs or not _may_ask_to_delete(record, policy, now):
            return wait
        reason = wait.why
    if endpoint.traffic.get(deployment.name):
        others = {record.live.name: 100} if record.live else {}
        return SetTraffic(traffic=others, why=f"Deployment {view.name} is about to be deleted.")
    return DeleteDeployment(name=deployment.name, reason=reason)


def _advance(record: Service, candidate: Candidate, endpoint: EndpointView | None, policy: Policy, now: datetime) -> Step:
    deployment = record.deployment_for(candidate.tuning)
    if deployment and deployment.smoke_passed is not None and (endpoint is None or endpoint.deployment(deployment.name) is None):
        # Made again under its name, it would take the traffic for what another one had answered.
        return GiveUp(tuning=candidate.tuning, reason=f"Deployment {deployment.name} was deleted by somebody else.")
    if endpoint is None:
        if record.rest_until and now < record.rest_until:
            return Wait(until=record.rest_until, why=f"The name {record.endpoint} rests after its deletion.")
        return CreateEndpoint()
    if endpoint.state.lower() == "failed" and record.live is None:  # with a live one an update failed: it still serves
        if record.endpoint_failures >= policy.step_attempts_max:
            reason = f"Endpoint {record.endpoint} failed {record.endpoint_failures} times."
            return GiveUp(tuning=candidate.tuning, reason=reason, all_of_them=True)
        if not _is_all_ours(record, endpoint):
            reason = f"Endpoint {record.endpoint} failed. {KEPT_FOR_A_STRANGER}"
            return GiveUp(tuning=candidate.tuning, reason=reason, all_of_them=True)
        return DeleteEndpoint(reason="Its creation failed.")
    if deployment is None:
        return ReserveDeployment(candidate=candidate)
    view = endpoint.deployment(deployment.name)
    was_refused = record.attempt_of == CreateDeployment.__name__  # or its worker died: it may be that nobody was asked
    if view is None and deployment.submitted_at and not was_refused and deployment.is_late(policy, now):
        reason = f"Deployment {deployment.name} was asked for and never showed, {policy.deployment_deadline} long."
        return GiveUp(tuning=candidate.tuning, reason=reason)
    if view is None:
        return CreateDeployment(deployment=deployment)
    state = view.state.lower()
    if state in FAILED_STATES:
        return GiveUp(tuning=candidate.tuning, reason=f"Deployment {view.name} ended {view.state}.")
    if state != "succeeded":
        if deployment.is_late(policy, now):
            return GiveUp(
                tuning=candidate.tuning, reason=f"Deployment {view.name} was still {view.state} after {policy.deployment_deadline}."
            )
        return Wait(until=now + policy.look_every, why=f"Deployment {view.name} is {view.state}.")
    if deployment.smoke_passed is None:
        return SmokeTest(deployment=deployment, scoring_uri=endpoint.scoring_uri)
    if not gate.may_take_traffic(deployment.proof):
        return GiveUp(tuning=candidate.tuning, reason=f"Deployment {view.name} gave no answer to its smoke test.")
    if endpoint.traffic != {deployment.name: 100}:
        return SetTraffic(traffic={deployment.name: 100}, why="Its smoke test passed.")
    return Promote(deployment=deployment.name)


def _wait_for_quota(quota: QuotaWait, policy: Policy) -> Step:
    ends_at = quota.since + policy.quota_deadline
    why = f"Azure has no quota or machine for it; asked again at {quota.next_try_at:%H:%M}, until {ends_at:%Y-%m-%d %H:%M} UTC."
    return Wait(until=quota.next_try_at, why=why)


def refused_for_quota(record: Service, candidate: Candidate, said: str, policy: Policy, now: datetime) -> QuotaWait | None:
    """
    Return how the candidate waits after one more refusal for want of quota; None: its deadline has passed.

    The wait doubles from `look_every` up to an hour, and its last try is at the deadline itself.
    """
    old = record.quota if record.quota and record.quota.tuning == candidate.tuning else None
    since, refusals = (old.since, old.refusals + 1) if old else (now, 1)
    ends_at = since + policy.quota_deadline
    if now >= ends_at:
        return None
    next_try_at = min(now + policy.back_off(refusals), ends_at)
    return QuotaWait(tuning=candidate.tuning, since=since, refusals=refusals, next_try_at=next_try_at, said=said)


def _watch(record: Service, live: Deployment, world: World, policy: Policy, now: datetime) -> Step:
    view = world.endpoint.deployment(live.name) if world.endpoint else None
    if world.endpoint is None or view is None:
        return GiveUp(tuning=live.tuning, reason=f"Deployment {live.name} was deleted by somebody else.")
    if world.endpoint.traffic != {live.name: 100} and view.state.lower() not in FAILED_STATES:
        return SetTraffic(traffic={live.name: 100}, why="The traffic was not where the record has it.")
    if record.kept and now >= (live.probed_at or live.live_at or now) + probe_every(policy):
        return Probe(deployment=live, scoring_uri=world.endpoint.scoring_uri)
    clock, why = idle_clock(record, live, world.usage, policy, now)
    if record.idle.permit and clock.seen_idle_at == now and not policy.deletions_dry_run:
        return Retire(names=tuple(n for n in record.idle.permit if n == live.name), why=why)
    awake = Stage.WAITING_FOR_QUOTA if record.candidate else Stage.LIVE  # only one that waits for quota is watched with a candidate
    stage = Stage.IDLE if clock.marked_at else awake
    until = now + policy.look_every
    if clock == record.idle and stage == record.stage:
        return Wait(until=until, why=why)
    return WriteIdleClock(clock=clock, stage=stage, until=until, why=why)


def _sleep(record: Service, endpoint: EndpointView | None, policy: Policy, now: datetime) -> Step:
    if record.asleep_since is None and (record.candidates or endpoint):  # without candidates: an endpoint that was taken over
        return FallAsleep(has_endpoint=endpoint is not None)
    countable_at = _countable_at(record, policy)
    if endpoint is None and countable_at:
        return Wait(until=countable_at, why="The requests that met the deletion are still to be counted.")
    if endpoint is None:
        return Rest()
    torn_down_at = (record.asleep_since or record.created_at) + policy.endpoint_kept_for
    if policy.deletions_dry_run:
        return Wait(until=now + policy.tick, why="A dry run: the sleeping endpoint is kept.")
    if not _is_all_ours(record, endpoint):
        return Wait(until=now + max(policy.tick, policy.look_every), why=f"{KEPT_FOR_A_STRANGER} {LOOK_IN_STUDIO}", told=True)
    if now < torn_down_at:
        until = min(torn_down_at, countable_at or torn_down_at)
        return Wait(until=until, why=f"Asleep; the endpoint's address is kept until {torn_down_at:%Y-%m-%d %H:%M} UTC.")
    return DeleteEndpoint(reason=f"Asleep for {policy.endpoint_kept_for}.")


def idle_clock(record: Service, live: Deployment, usage: Usage | None, policy: Policy, now: datetime) -> tuple[IdleClock, str]:
    """
    Return the clock after this look, and a sentence for people.

    Idle is a heartbeat over the whole window and no request but our own. No heartbeat is unknown, never idle: a metrics
    outage must not delete a service in use. A deployment younger than the window is in use by definition.
    """
    old = record.idle
    if live.live_at is None or usage is None or usage.start < live.live_at:
        since = (live.live_at or now) + policy.idle_after
        if usage is None and live.live_at and now > live.live_at + policy.idle_after + policy.metric_lag:
            return _unknown(old, now)
        return msgspec.structs.replace(old, marked_at=None, seen_idle_at=None, permit=()), f"Fresh; can be idle from {since:%H:%M:%S} UTC."
    if usage.heartbeats < usage.heartbeats_wanted:
        return _unknown(old, now)
    # Clocks differ: a question of ours near an edge of the window may be one of its points or none.
    surely_own, perhaps_own = (
        sum(usage.start + margin <= at < usage.end - margin for at in record.own_requests)
        for margin in (policy.metric_grain, -policy.metric_grain)
    )
    if usage.requests > perhaps_own:
        used = f"{usage.requests - perhaps_own:g} requests in the last {policy.idle_after}."
        return IdleClock(used_at=usage.last_request_at or usage.end), used
    if usage.requests > surely_own:
        return msgspec.structs.replace(old, unknown_since=None), "A request near the edge of the window may be our own."
    marked_at = old.marked_at or now
    clock = IdleClock(used_at=old.used_at, marked_at=marked_at, seen_idle_at=now, permit=old.permit)
    return clock, f"No request for {policy.idle_after}; put to sleep from {marked_at + policy.idle_grace:%H:%M:%S} UTC if nobody calls."


def _unknown(old: IdleClock, now: datetime) -> tuple[IdleClock, str]:
    """Metrics say nothing: keep everything, start the grace anew, and remember since when, so that people are told."""
    since = old.unknown_since or now
    return IdleClock(
        used_at=old.used_at, unknown_since=since
    ), f"The metrics say nothing since {since:%H:%M:%S} UTC: kept running, and billed."


def may_be_let_go(record: Service, policy: Policy, now: datetime) -> bool:
    """Tell whether this service was marked, had its grace, and was seen idle again after it, within two ticks."""
    clock = record.idle
    if record.candidate and not record.waits_for_quota(now):
        return False
    if record.live is None or clock.permit or clock.marked_at is None or clock.seen_idle_at is None:
        return False
    grace_over = clock.marked_at + policy.idle_grace
    return grace_over <= clock.seen_idle_at and now - clock.seen_idle_at <= max(2 * policy.tick, timedelta(seconds=1))
