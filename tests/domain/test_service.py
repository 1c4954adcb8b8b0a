"""The life of a service as a table, from the first candidate to the endpoint's end; its failures, and what it never touches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain import names, service
from shared.domain.policy import Policy, Rest, Wait
from shared.domain.service import (
    Adopt,
    Block,
    Candidate,
    CreateDeployment,
    CreateEndpoint,
    DeleteDeployment,
    DeleteEndpoint,
    Deployment,
    DeploymentView,
    EndpointGone,
    EndpointView,
    FallAsleep,
    ForgetDeployment,
    GiveUp,
    IdleClock,
    Promote,
    QuotaWait,
    ReserveDeployment,
    Retire,
    Service,
    SetTraffic,
    SmokeTest,
    Stage,
    World,
)

pytestmark = pytest.mark.light

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
POLICY = Policy()
OWNER = "o"
NEW = service.opened("support-bot", owner=OWNER, now=NOON)
URI = "https://x.eastus2.inference.ml.azure.com/score"
NEXT_LOOK = NOON + POLICY.look_every

FIRST = Candidate(tuning="t1", uploaded_at=NOON, training="aaaaaaaaaaaa", model="m", model_version="aaaaaaaaaaaa", sample="s1")
SECOND = Candidate(
    tuning="t2", uploaded_at=NOON + timedelta(days=1), training="bbbbbbbbbbbb", model="m", model_version="bbbbbbbbbbbb", sample="s2"
)


def deployed(candidate: Candidate, number: int, **fields: Any) -> Deployment:
    return Deployment(
        name=names.deployment(number, candidate.training),
        tuning=candidate.tuning,
        training=candidate.training,
        model=candidate.model,
        model_version=candidate.model_version,
        sample=candidate.sample,
        asked_at=NOON,
        **fields,
    )


def but(record: Service, **fields: Any) -> Service:
    return msgspec.structs.replace(record, **fields)


def endpoint(*deployments: tuple[Deployment, str], traffic: dict[str, int] | None = None, state: str = "Succeeded") -> World:
    """An endpoint of ours with these deployments in these states."""
    views = tuple(DeploymentView(name=d.name, state=deployment_state, owner=OWNER) for d, deployment_state in deployments)
    view = EndpointView(state=state, owner=OWNER, service=NEW.id, scoring_uri=URI, traffic=traffic or {}, deployments=views)
    return World(endpoint=view)


BLUE, GREEN = deployed(FIRST, 1), deployed(SECOND, 2)
ASKED_BLUE = deployed(FIRST, 1, submitted_at=NOON)
TESTED, MUTE = deployed(SECOND, 2, smoke_passed=True), deployed(SECOND, 2, smoke_passed=False)
TESTED_BLUE = msgspec.structs.replace(BLUE, smoke_passed=True)
LIVE_BLUE = deployed(FIRST, 1, smoke_passed=True, live_at=NOON - timedelta(days=1))
LIVE_GREEN = deployed(SECOND, 2, smoke_passed=True, live_at=NOON)
RETIRING_BLUE = deployed(FIRST, 1, retiring=True)

NOTHING = World()
OFFERED = but(NEW, candidates=(FIRST,))
RESERVED = but(OFFERED, deployments=(BLUE,), deployments_made=1, stage=Stage.DEPLOYING)
NEVER_SHOWN = but(RESERVED, deployments=(ASKED_BLUE,))
LIVE = but(OFFERED, deployments=(LIVE_BLUE,), deployments_made=1, served="t1", stage=Stage.LIVE)
UPDATING = but(LIVE, candidates=(FIRST, SECOND), deployments=(LIVE_BLUE, GREEN), deployments_made=2)
RETIRING = but(LIVE, deployments=(RETIRING_BLUE,))
EMPTY = but(LIVE, deployments=(), stage=Stage.FALLING_ASLEEP)
ASLEEP = but(EMPTY, asleep_since=NOON, stage=Stage.ASLEEP)
TORN_DOWN = but(ASLEEP, stage=Stage.TORN_DOWN)
WANTED = but(TORN_DOWN, candidates=(FIRST, SECOND))
BLUE_100 = {BLUE.name: 100}
REFUSED = QuotaWait(tuning="t2", since=NOON - timedelta(days=1), refusals=30, next_try_at=NOON + timedelta(minutes=50), said="0/6")
WITHOUT_QUOTA = but(UPDATING, quota=REFUSED, stage=Stage.WAITING_FOR_QUOTA)


DRY_RUN = msgspec.structs.replace(POLICY, deletions_dry_run=True)


@dataclass(frozen=True, kw_only=True)
class Line:
    name: str
    record: Service
    world: World
    step: object
    now: datetime = NOON
    policy: Policy = POLICY


def waits(why: str, until: datetime = NEXT_LOOK) -> Wait:
    return Wait(until=until, why=why)


FIRST_LIFE = [
    Line(name="new, nothing offered", record=NEW, world=NOTHING, step=Rest()),
    Line(name="offered", record=OFFERED, world=NOTHING, step=CreateEndpoint()),
    Line(name="endpoint is being made", record=OFFERED, world=endpoint(state="Creating"),
         step=waits(f"Endpoint {NEW.endpoint} is Creating.")),
    Line(name="endpoint ready: a name first", record=OFFERED, world=endpoint(), step=ReserveDeployment(candidate=FIRST)),
    Line(name="name reserved", record=RESERVED, world=endpoint(), step=CreateDeployment(deployment=BLUE)),
    Line(name="asked for, accepted, and it never showed", record=NEVER_SHOWN, now=NOON + POLICY.deployment_deadline, world=endpoint(),
         step=GiveUp(tuning="t1", reason=f"Deployment {BLUE.name} was asked for and never showed, 2:00:00 long.")),
    Line(name="asked for in vain, hours ago: again", record=but(NEVER_SHOWN, attempt_of="CreateDeployment", attempts=1),
         now=NOON + POLICY.deployment_deadline, world=endpoint(), step=CreateDeployment(deployment=ASKED_BLUE)),
    Line(name="deployment is being made", record=RESERVED, world=endpoint((BLUE, "Creating")),
         step=waits(f"Deployment {BLUE.name} is Creating.")),
    Line(name="a state that Azure invents tomorrow", record=RESERVED, world=endpoint((BLUE, "Warming")),
         step=waits(f"Deployment {BLUE.name} is Warming.")),
    Line(name="deployment ready", record=RESERVED, world=endpoint((BLUE, "Succeeded")),
         step=SmokeTest(deployment=BLUE, scoring_uri=URI)),
    Line(name="smoke test passed", record=but(UPDATING, deployments=(TESTED,)), world=endpoint((TESTED, "Succeeded")),
         step=SetTraffic(traffic={TESTED.name: 100}, why="Its smoke test passed.")),
    Line(name="traffic seen on it", record=but(UPDATING, deployments=(TESTED,)),
         world=endpoint((TESTED, "Succeeded"), traffic={TESTED.name: 100}), step=Promote(deployment=TESTED.name)),
]  # fmt: skip

UPDATE = [
    Line(name="a newer candidate: the old one keeps the traffic", record=but(LIVE, candidates=(FIRST, SECOND)),
         world=endpoint((LIVE_BLUE, "Succeeded"), traffic=BLUE_100), step=ReserveDeployment(candidate=SECOND)),
    Line(name="green ready beside blue", record=UPDATING, world=endpoint((LIVE_BLUE, "Succeeded"), (GREEN, "Succeeded"), traffic=BLUE_100),
         step=SmokeTest(deployment=GREEN, scoring_uri=URI)),
    Line(name="green answers", record=but(UPDATING, deployments=(LIVE_BLUE, TESTED)),
         world=endpoint((LIVE_BLUE, "Succeeded"), (TESTED, "Succeeded"), traffic=BLUE_100),
         step=SetTraffic(traffic={TESTED.name: 100}, why="Its smoke test passed.")),
    Line(name="green gives no answer", record=but(UPDATING, deployments=(LIVE_BLUE, MUTE)),
         world=endpoint((LIVE_BLUE, "Succeeded"), (MUTE, "Succeeded"), traffic=BLUE_100),
         step=GiveUp(tuning="t2", reason=f"Deployment {MUTE.name} gave no answer to its smoke test.")),
    Line(name="green failed", record=UPDATING, world=endpoint((LIVE_BLUE, "Succeeded"), (GREEN, "Failed"), traffic=BLUE_100),
         step=GiveUp(tuning="t2", reason=f"Deployment {GREEN.name} ended Failed.")),
    Line(name="green canceled", record=UPDATING, world=endpoint((LIVE_BLUE, "Succeeded"), (GREEN, "canceled"), traffic=BLUE_100),
         step=GiveUp(tuning="t2", reason=f"Deployment {GREEN.name} ended canceled.")),
    Line(name="green hangs", record=UPDATING, now=NOON + POLICY.deployment_deadline,
         world=endpoint((LIVE_BLUE, "Succeeded"), (GREEN, "Creating"), traffic=BLUE_100),
         step=GiveUp(tuning="t2", reason=f"Deployment {GREEN.name} was still Creating after 2:00:00.")),
    Line(name="a still newer candidate, but this one has the traffic and only the record lags behind",
         record=but(NEW, candidates=(FIRST, SECOND), deployments=(TESTED_BLUE,)),
         world=endpoint((TESTED_BLUE, "Succeeded"), traffic=BLUE_100), step=Promote(deployment=BLUE.name)),
    Line(name="a still newer candidate: the unfinished one goes", record=but(UPDATING, deployments=(LIVE_BLUE, BLUE)),
         world=endpoint((LIVE_BLUE, "Succeeded")), step=Retire(names=(BLUE.name,), why="A later upload takes its place.")),
    Line(name="given up: its deployment is no candidate's any more",
         record=but(UPDATING, candidates=(FIRST, msgspec.structs.replace(SECOND, failure="no answer"))),
         world=endpoint((LIVE_BLUE, "Succeeded"), (GREEN, "Succeeded"), traffic=BLUE_100),
         step=Retire(names=(GREEN.name,), why="A later upload takes its place.")),
]  # fmt: skip

END = [
    Line(name="retiring with traffic and no other: the traffic goes first", record=RETIRING,
         world=endpoint((RETIRING_BLUE, "Succeeded"), traffic=BLUE_100),
         step=SetTraffic(traffic={}, why=f"Deployment {BLUE.name} is about to be deleted.")),
    Line(name="retiring with traffic beside a live one", record=but(UPDATING, deployments=(RETIRING_BLUE, LIVE_GREEN)),
         world=endpoint((RETIRING_BLUE, "Succeeded"), (GREEN, "Succeeded"), traffic={BLUE.name: 50, GREEN.name: 50}),
         step=SetTraffic(traffic={GREEN.name: 100}, why=f"Deployment {BLUE.name} is about to be deleted.")),
    Line(name="retiring without traffic", record=RETIRING, world=endpoint((RETIRING_BLUE, "Succeeded")),
         step=DeleteDeployment(name=BLUE.name)),
    Line(name="retiring, failed", record=RETIRING, world=endpoint((RETIRING_BLUE, "Failed")), step=DeleteDeployment(name=BLUE.name)),
    Line(name="retiring, still being made", record=RETIRING, world=endpoint((RETIRING_BLUE, "Creating")),
         step=waits(f"Deployment {BLUE.name} is Creating.")),
    Line(name="being deleted", record=RETIRING, world=endpoint((RETIRING_BLUE, "Deleting")),
         step=waits(f"Deployment {BLUE.name} is Deleting.")),
    Line(name="seen gone", record=RETIRING, world=endpoint(), step=ForgetDeployment(name=BLUE.name)),
    Line(name="gone with its endpoint", record=RETIRING, world=NOTHING, step=ForgetDeployment(name=BLUE.name)),
    Line(name="what had answered was deleted by somebody: never made again under its name", world=endpoint(),
         record=but(RESERVED, deployments=(TESTED_BLUE,)),
         step=GiveUp(tuning="t1", reason=f"Deployment {BLUE.name} was deleted by somebody else.")),
    Line(name="what had answered went with its endpoint", world=NOTHING, record=but(RESERVED, deployments=(TESTED_BLUE,)),
         step=GiveUp(tuning="t1", reason=f"Deployment {BLUE.name} was deleted by somebody else.")),
    Line(name="nothing left to run", record=EMPTY, world=endpoint(), step=FallAsleep()),
    Line(name="asleep", record=ASLEEP, world=endpoint(),
         step=waits("Asleep; the endpoint's address is kept until 2026-12-01 12:00 UTC.", NOON + timedelta(days=7))),
    Line(name="asleep for long", record=ASLEEP, world=endpoint(), now=NOON + timedelta(days=7),
         step=DeleteEndpoint(reason="Asleep for 7 days, 0:00:00.")),
    Line(name="asleep, addresses are not kept", record=ASLEEP, world=endpoint(), policy=Policy(endpoint_kept_for=timedelta(0)),
         step=DeleteEndpoint(reason="Asleep for 0:00:00.")),
    Line(name="asleep for long, in a dry run", record=ASLEEP, world=endpoint(), now=NOON + timedelta(days=7), policy=DRY_RUN,
         step=waits("A dry run: the sleeping endpoint is kept.", NOON + timedelta(days=7) + DRY_RUN.tick)),
    Line(name="deletion begun and the endpoint still there", record=but(ASLEEP, deleting_endpoint=True), world=endpoint(),
         step=DeleteEndpoint(reason="Its deletion was begun and the endpoint is still there.")),
    Line(name="endpoint is being deleted", record=but(ASLEEP, deleting_endpoint=True), world=endpoint(state="Deleting"),
         step=waits(f"Endpoint {NEW.endpoint} is Deleting.")),
    Line(name="endpoint gone", record=but(ASLEEP, deleting_endpoint=True), world=NOTHING, step=EndpointGone()),
    Line(name="torn down", record=TORN_DOWN, world=NOTHING, step=Rest()),
    Line(name="wanted again while the name rests", record=but(WANTED, rest_until=NOON + POLICY.endpoint_rest),
         world=NOTHING, step=waits(f"The name {NEW.endpoint} rests after its deletion.", NOON + POLICY.endpoint_rest)),
    Line(name="wanted again after the rest", record=but(WANTED, rest_until=NOON), world=NOTHING,
         step=CreateEndpoint()),
    Line(name="wanted again while only asleep", record=but(ASLEEP, candidates=(FIRST, SECOND)), world=endpoint(),
         step=ReserveDeployment(candidate=SECOND)),
]  # fmt: skip

MISHAPS = [
    Line(name="endpoint failed", record=OFFERED, world=endpoint(state="Failed"), step=DeleteEndpoint(reason="Its creation failed.")),
    Line(name="endpoint failed too often", record=but(OFFERED, endpoint_failures=5), world=endpoint(state="Failed"),
         step=GiveUp(tuning="t1", reason=f"Endpoint {NEW.endpoint} failed 5 times.", all_of_them=True)),
    Line(name="an update of the endpoint failed while it serves: it is kept, the candidate goes on", record=UPDATING,
         world=endpoint((LIVE_BLUE, "Succeeded"), (GREEN, "Succeeded"), traffic=BLUE_100, state="Failed"),
         step=SmokeTest(deployment=GREEN, scoring_uri=URI)),
    Line(name="live, deleted by somebody", record=LIVE, world=endpoint(),
         step=GiveUp(tuning="t1", reason=f"Deployment {BLUE.name} was deleted by somebody else.")),
    Line(name="live, endpoint deleted by somebody", record=LIVE, world=NOTHING,
         step=GiveUp(tuning="t1", reason=f"Deployment {BLUE.name} was deleted by somebody else.")),
    Line(name="live, traffic moved by somebody", record=LIVE, world=endpoint((LIVE_BLUE, "Succeeded"), traffic={}),
         step=SetTraffic(traffic=BLUE_100, why="The traffic was not where the record has it.")),
    Line(name="live and failed, traffic moved by somebody: it can take none", record=LIVE,
         world=endpoint((LIVE_BLUE, "Failed"), traffic={}), step=service.WriteIdleClock(
             clock=IdleClock(unknown_since=NOON), stage=Stage.LIVE, until=NEXT_LOOK,
             why="The metrics say nothing since 12:00:00 UTC: kept running, and billed.")),
    Line(name="a deployment of ours that landed late is adopted", record=LIVE,
         world=endpoint((LIVE_BLUE, "Succeeded"), (GREEN, "Creating"), traffic=BLUE_100), step=Adopt(name=GREEN.name)),
    Line(name="live, on a busy endpoint", record=LIVE, world=endpoint((LIVE_BLUE, "Succeeded"), traffic=BLUE_100, state="Updating"),
         step=waits(f"Endpoint {NEW.endpoint} is Updating.")),
]  # fmt: skip


KEPT_BLUE = deployed(FIRST, 1, smoke_passed=True, kept_until=NOON + POLICY.probation)
ON_PROBATION = but(LIVE, candidates=(FIRST, SECOND), deployments=(KEPT_BLUE, LIVE_GREEN), deployments_made=2, served="t2")
GREEN_100 = {GREEN.name: 100}
BOTH_WELL = endpoint((KEPT_BLUE, "Succeeded"), (LIVE_GREEN, "Succeeded"), traffic=GREEN_100)
EVERY = timedelta(minutes=10)
THIRD = msgspec.structs.replace(SECOND, tuning="t3", uploaded_at=NOON + timedelta(days=2), training="cccccccccccc")


def probation(*, kept: dict[str, Any] | None = None, live: dict[str, Any] | None = None) -> Service:
    """The record on probation, with what the kept and the live deployment answered."""
    blue, green = (msgspec.structs.replace(KEPT_BLUE, **(kept or {})), msgspec.structs.replace(LIVE_GREEN, **(live or {})))
    return but(ON_PROBATION, deployments=(blue, green))


def blue_of(record: Service) -> Deployment:
    return record.deployments[0]


TWICE_BAD = probation(live={"probes_failed": 2, "probed_at": NOON})
BAD = {"probes_failed": 3, "probed_at": NOON}
BOTH_ASKED = probation(kept={"probed_at": NOON}, live=BAD)
TROUBLE = f"Deployment {GREEN.name} gave 3 bad answers in a row."
PROBATION = [
    Line(name="just switched: both are there and nothing is done", record=ON_PROBATION, world=BOTH_WELL,
         step=waits("Fresh; can be idle from 14:00:00 UTC.")),
    Line(name="somebody moved its traffic to the one before: it comes back to the live one", record=ON_PROBATION,
         world=endpoint((KEPT_BLUE, "Succeeded"), (LIVE_GREEN, "Succeeded"), traffic={KEPT_BLUE.name: 100}),
         step=service.SetTraffic(traffic=GREEN_100, why="The traffic was not where the record has it.")),
    Line(name="time for a question to the live one", record=ON_PROBATION, now=NOON + EVERY, world=BOTH_WELL,
         step=service.Probe(deployment=LIVE_GREEN, scoring_uri=URI)),
    Line(name="two bad answers: asked again", record=TWICE_BAD, now=NOON + EVERY, world=BOTH_WELL,
         step=service.Probe(deployment=TWICE_BAD.deployments[1], scoring_uri=URI)),
    Line(name="three bad answers: the kept one is asked first", record=probation(live=BAD), world=BOTH_WELL,
         step=service.Probe(deployment=KEPT_BLUE, scoring_uri=URI)),
    Line(name="it answers: the way back", record=probation(kept={"answered_at": NOON}, live=BAD), world=BOTH_WELL,
         step=service.GoBack(kept=BLUE.name, failed=GREEN.name, reason=TROUBLE)),
    Line(name="its answer is old: asked anew", record=probation(kept={"answered_at": NOON - EVERY - EVERY}, live=BAD), world=BOTH_WELL,
         step=service.Probe(deployment=probation(kept={"answered_at": NOON - EVERY - EVERY}).deployments[0], scoring_uri=URI)),
    Line(name="it does not answer either: the traffic stays", record=BOTH_ASKED, world=BOTH_WELL,
         step=Wait(until=NEXT_LOOK, why=f"{TROUBLE} The one before it does not answer either.", told=True)),
    Line(name="trouble as probation ends: there is still time for a question", record=probation(live=BAD),
         now=NOON + POLICY.probation + 2 * EVERY - timedelta(seconds=1), world=BOTH_WELL,
         step=service.Probe(deployment=KEPT_BLUE, scoring_uri=URI)),
    Line(name="and for the way back", record=probation(kept={"answered_at": NOON + POLICY.probation}, live=BAD),
         now=NOON + POLICY.probation + EVERY, world=BOTH_WELL,
         step=service.GoBack(kept=BLUE.name, failed=GREEN.name, reason=TROUBLE)),
    Line(name="later it is asked again", record=BOTH_ASKED, now=NOON + EVERY, world=BOTH_WELL,
         step=service.Probe(deployment=blue_of(BOTH_ASKED), scoring_uri=URI)),
    Line(name="the live one failed", record=probation(kept={"answered_at": NOON}),
         world=endpoint((KEPT_BLUE, "Succeeded"), (LIVE_GREEN, "Failed"), traffic=GREEN_100),
         step=service.GoBack(kept=BLUE.name, failed=GREEN.name, reason=f"Deployment {GREEN.name} is Failed.")),
    Line(name="the live one is gone", record=probation(kept={"answered_at": NOON}), world=endpoint((KEPT_BLUE, "Succeeded")),
         step=service.GoBack(kept=BLUE.name, failed=GREEN.name, reason=f"Deployment {GREEN.name} was deleted by somebody else.")),
    Line(name="the kept one failed as well: no way back", record=probation(kept={"answered_at": NOON}, live=BAD),
         world=endpoint((KEPT_BLUE, "Failed"), (LIVE_GREEN, "Succeeded"), traffic=GREEN_100),
         step=waits("Fresh; can be idle from 14:00:00 UTC.")),
    Line(name="it never had a proof: no way back", record=probation(kept={"answered_at": NOON, "smoke_passed": None}, live=BAD),
         world=BOTH_WELL, step=waits("Fresh; can be idle from 14:00:00 UTC.")),
    Line(name="after the way back the traffic follows the record", world=BOTH_WELL,
         record=but(ON_PROBATION, served="t1", deployments=(LIVE_BLUE, deployed(SECOND, 2, smoke_passed=True, live_at=NOON, retiring=True)),
                    candidates=(FIRST, msgspec.structs.replace(SECOND, failure="bad"))),
         step=SetTraffic(traffic=BLUE_100, why=f"Deployment {GREEN.name} is about to be deleted.")),
    *(Line(name=f"no way back any more: {why}", record=record, now=now, world=world,
           step=Retire(names=(BLUE.name,), why="It is no way back any more."))
      for why, record, now, world in (
          ("probation is over", ON_PROBATION, NOON + POLICY.probation, BOTH_WELL),
          ("it is over, and for twice the time of a question the live one is bad", probation(live=BAD),
           NOON + POLICY.probation + 2 * EVERY, BOTH_WELL),
          ("it is over, and both are bad", probation(kept={"probes_failed": 1}, live=BAD), NOON + POLICY.probation, BOTH_WELL),
          ("a later upload comes", but(ON_PROBATION, candidates=(FIRST, SECOND, THIRD)), NOON, BOTH_WELL),
          ("the service is about to sleep", but(ON_PROBATION, idle=IdleClock(permit=(GREEN.name,))), NOON, BOTH_WELL),
          ("nothing is live", but(ON_PROBATION, deployments=(KEPT_BLUE,)), NOON, endpoint((KEPT_BLUE, "Succeeded"))),
          ("the endpoint is gone", ON_PROBATION, NOON, NOTHING))),
]  # fmt: skip

LATE = NOON + POLICY.deployment_deadline
SLOW: dict[str, Any] = {"waited_since": NOON, "waited_for": f"Endpoint {NEW.endpoint} is Creating."}
SLOW_DEPLOYMENT: dict[str, Any] = {"waited_since": NOON, "waited_for": f"Deployment {BLUE.name} is Creating."}
ASKED: dict[str, Any] = {"delete_asked_at": LATE - timedelta(minutes=59)}
UPDATING_LONG: dict[str, Any] = {"waited_since": NOON, "waited_for": f"Endpoint {NEW.endpoint} is Updating."}
SERVES = endpoint((LIVE_BLUE, "Succeeded"), (GREEN, "Creating"), traffic=BLUE_100, state="Updating")


def hangs(what: str) -> str:
    return f"{what} It has been for more than 2:00:00. Look at it in Azure ML studio; delete it there if it stays."


def tells(what: str) -> Wait:
    return Wait(until=LATE + POLICY.look_every, why=hangs(what), told=True)


HANGING = [
    Line(name="endpoint hangs in Creating: deleted, to be made again after its rest", record=but(OFFERED, **SLOW), now=LATE,
         world=endpoint(state="Creating"), step=DeleteEndpoint(reason=hangs(SLOW["waited_for"]))),
    Line(name="a minute before its deadline it is waited for", record=but(OFFERED, **SLOW), now=LATE - timedelta(minutes=1),
         world=endpoint(state="Creating"), step=waits(SLOW["waited_for"], LATE)),
    Line(name="it hung in another state before: that does not count", record=but(OFFERED, **SLOW), now=LATE,
         world=endpoint(state="Updating"), step=waits(f"Endpoint {NEW.endpoint} is Updating.", LATE + POLICY.look_every)),
    Line(name="it hung too often: the candidate is given up", record=but(OFFERED, endpoint_failures=5, **SLOW), now=LATE,
         world=endpoint(state="Creating"),
         step=GiveUp(tuning="t1", reason=f"Endpoint {NEW.endpoint} was still Creating after 2:00:00.", all_of_them=True)),
    Line(name="nobody wants it any more: deleted all the same", record=but(EMPTY, **SLOW), now=LATE, world=endpoint(state="Creating"),
         step=DeleteEndpoint(reason=hangs(SLOW["waited_for"]))),
    Line(name="Azure refused to delete it: waited for, and told", record=but(OFFERED, deleting_endpoint=True, **SLOW, **ASKED), now=LATE,
         world=endpoint(state="Creating"), step=tells(SLOW["waited_for"])),
    Line(name="an hour later it is asked again", record=but(OFFERED, deleting_endpoint=True, delete_asked_at=LATE - timedelta(hours=1)),
         now=LATE, world=endpoint(state="Creating"),
         step=DeleteEndpoint(reason="It is still Creating. Look at it in Azure ML studio; delete it there if it stays.")),
    Line(name="it hangs in Deleting: asked again", now=LATE, world=endpoint(state="Deleting"),
         record=but(OFFERED, deleting_endpoint=True, waited_since=NOON, waited_for=f"Endpoint {NEW.endpoint} is Deleting."),
         step=DeleteEndpoint(reason="It is still Deleting. Look at it in Azure ML studio; delete it there if it stays.")),
    Line(name="a person deletes it and that hangs: asked too, so that the name rests", now=LATE, world=endpoint(state="Deleting"),
         record=but(OFFERED, waited_since=NOON, waited_for=f"Endpoint {NEW.endpoint} is Deleting."),
         step=DeleteEndpoint(reason=hangs(f"Endpoint {NEW.endpoint} is Deleting."))),
    Line(name="hangs while it serves: never deleted, the candidate is given up", record=but(UPDATING, **UPDATING_LONG), now=LATE,
         world=SERVES, step=GiveUp(tuning="t2", reason=f"Endpoint {NEW.endpoint} was still Updating after 2:00:00.", all_of_them=True)),
    Line(name="what was given up on it is asked to go all the same", now=LATE, world=SERVES,
         record=but(LIVE, deployments=(LIVE_BLUE, deployed(SECOND, 2, retiring=True)), **UPDATING_LONG),
         step=DeleteDeployment(name=GREEN.name, reason=hangs(f"Endpoint {NEW.endpoint} is Updating."))),
    Line(name="but no more than every hour", now=LATE, world=SERVES,
         record=but(LIVE, deployments=(LIVE_BLUE, deployed(SECOND, 2, retiring=True)), **UPDATING_LONG, **ASKED),
         step=tells(f"Endpoint {NEW.endpoint} is Updating.")),
    Line(name="nothing on it is to go: told and kept", record=but(LIVE, **UPDATING_LONG), now=LATE,
         world=endpoint((LIVE_BLUE, "Succeeded"), traffic=BLUE_100, state="Updating"), step=tells(f"Endpoint {NEW.endpoint} is Updating.")),
    Line(name="not live any more, and the traffic is still there: told and kept", record=but(RETIRING, **UPDATING_LONG), now=LATE,
         world=endpoint((RETIRING_BLUE, "Succeeded"), traffic=BLUE_100, state="Updating"),
         step=tells(f"Endpoint {NEW.endpoint} is Updating.")),
    Line(name="retiring and hangs in Creating: asked to go", record=but(RETIRING, **SLOW_DEPLOYMENT), now=LATE,
         world=endpoint((RETIRING_BLUE, "Creating")),
         step=DeleteDeployment(name=BLUE.name, reason=hangs(f"Deployment {BLUE.name} is Creating."))),
    Line(name="asked to go within the hour", record=but(RETIRING, **SLOW_DEPLOYMENT, **ASKED), now=LATE,
         world=endpoint((RETIRING_BLUE, "Creating")), step=tells(f"Deployment {BLUE.name} is Creating.")),
    Line(name="people were told: it goes on hanging", now=LATE + timedelta(minutes=5), world=endpoint((RETIRING_BLUE, "Creating")),
         record=but(RETIRING, waited_since=LATE, waited_for=hangs(SLOW_DEPLOYMENT["waited_for"]), delete_asked_at=LATE),
         step=Wait(until=LATE + timedelta(minutes=6), why=hangs(f"Deployment {BLUE.name} is Creating."), told=True)),
]  # fmt: skip


def test_a_hanging_endpoint_with_a_deployment_of_somebody_else_is_kept() -> None:
    foreign = DeploymentView(name="theirs", state="Succeeded", owner=None)
    view = EndpointView(state="Updating", owner=OWNER, service=NEW.id, scoring_uri=URI, traffic={}, deployments=(foreign,))

    assert service.decide(but(EMPTY, **UPDATING_LONG), World(endpoint=view), POLICY, LATE) == tells(f"Endpoint {NEW.endpoint} is Updating.")


QUOTA = [
    Line(name="refused for quota, nothing live", record=but(WITHOUT_QUOTA, deployments=(GREEN,)), world=endpoint(),
         step=waits("Azure has no quota or machine for it; asked again at 12:50, until 2026-11-26 12:00 UTC.", REFUSED.next_try_at)),
    Line(name="refused for quota, even the endpoint", record=but(WITHOUT_QUOTA, deployments=()), world=NOTHING,
         step=waits("Azure has no quota or machine for it; asked again at 12:50, until 2026-11-26 12:00 UTC.", REFUSED.next_try_at)),
    Line(name="time to ask again", record=but(WITHOUT_QUOTA, deployments=(GREEN,)), now=REFUSED.next_try_at, world=endpoint(),
         step=CreateDeployment(deployment=GREEN)),
    Line(name="refused, and yet it is there: a lost reply, so it goes on", record=WITHOUT_QUOTA,
         world=endpoint((LIVE_BLUE, "Succeeded"), (GREEN, "Succeeded"), traffic=BLUE_100),
         step=SmokeTest(deployment=GREEN, scoring_uri=URI)),
    Line(name="while it waits the live one is watched", record=WITHOUT_QUOTA, world=endpoint((LIVE_BLUE, "Succeeded"), traffic={}),
         step=SetTraffic(traffic=BLUE_100, why="The traffic was not where the record has it.")),
    Line(name="a later candidate does not wait for what an earlier one was refused",
         record=but(WITHOUT_QUOTA, quota=msgspec.structs.replace(REFUSED, tuning="t1")), world=endpoint((LIVE_BLUE, "Succeeded")),
         step=CreateDeployment(deployment=GREEN)),
]  # fmt: skip


@pytest.mark.parametrize("line", FIRST_LIFE + UPDATE + END + MISHAPS + HANGING + PROBATION + QUOTA, ids=lambda line: line.name)
def test_the_life_of_a_service(line: Line) -> None:
    assert service.decide(line.record, line.world, line.policy, line.now) == line.step


@given(st.integers(0, 5000), st.integers(1, 120))
def test_a_candidate_without_quota_is_asked_for_a_bounded_number_of_times_and_to_the_minute_of_its_deadline(
    deadline: int, look: int
) -> None:
    """Whatever the settings: each refusal puts the next try later, never beyond the deadline, and the one there is the last."""
    policy = Policy(quota_deadline=timedelta(minutes=deadline), look_every=timedelta(minutes=look))
    record, now, tries = UPDATING, NOON, 0
    while wait := service.refused_for_quota(record, SECOND, "0/6", policy, now):
        assert now < wait.next_try_at <= NOON + policy.quota_deadline
        record, now, tries = but(record, quota=wait), wait.next_try_at, tries + 1

    assert now == NOON + policy.quota_deadline
    assert tries <= 7 + deadline / 60


EVERY_RECORD = [
    ON_PROBATION,
    BOTH_ASKED,
    probation(kept={"answered_at": NOON}, live=BAD),
    WITHOUT_QUOTA,
    NEW,
    OFFERED,
    RESERVED,
    LIVE,
    UPDATING,
    RETIRING,
    EMPTY,
    ASLEEP,
    TORN_DOWN,
    but(ASLEEP, deleting_endpoint=True),
]


@pytest.mark.parametrize("record", EVERY_RECORD)
@pytest.mark.parametrize(("owner", "of"), [(None, None), ("somebody", NEW.id), (OWNER, "another service"), (None, NEW.id)])
@pytest.mark.parametrize("state", ["Succeeded", "Failed", "Creating", "Deleting"])
def test_an_endpoint_without_our_tags_is_never_touched(record: Service, owner: str | None, of: str | None, state: str) -> None:
    view = EndpointView(state=state, owner=owner, service=of, scoring_uri=URI, traffic={})

    step = service.decide(record, World(endpoint=view), POLICY, NOON + timedelta(days=99))

    assert isinstance(step, Block)
    assert "does not carry this app's tags" in step.reason
    blocked = but(record, reason=step.reason)
    assert isinstance(service.decide(blocked, World(endpoint=view), POLICY, NOON), Wait)


def test_a_deployment_of_somebody_else_on_our_endpoint_is_left_alone() -> None:
    foreign = DeploymentView(name="theirs", state="Succeeded", owner=None)
    world = endpoint((LIVE_BLUE, "Succeeded"), traffic=BLUE_100)
    assert world.endpoint
    beside = msgspec.structs.replace(world.endpoint, deployments=(*world.endpoint.deployments, foreign))

    step = service.decide(LIVE, World(endpoint=beside), POLICY, NOON)

    assert isinstance(step, Wait | service.WriteIdleClock)


STATES = st.sampled_from(["Succeeded", "Failed", "Creating", "Updating", "Deleting", "Canceled", "Invented"])
BY_NAME = {BLUE.name: BLUE, GREEN.name: GREEN}
SHOWN = st.dictionaries(st.sampled_from(list(BY_NAME)), STATES)
SHARES = st.dictionaries(st.sampled_from([BLUE.name, GREEN.name, "theirs"]), st.integers(1, 100), max_size=2)


@given(st.sampled_from(EVERY_RECORD), STATES, SHOWN, SHARES, st.integers(-60, 60 * 24 * 20))
def test_no_world_gives_traffic_to_a_deployment_without_proof_or_deletes_one_with_traffic(
    record: Service, state: str, shown: dict[str, str], traffic: dict[str, int], minutes: int
) -> None:
    """Over every record of the tables: no fact about the endpoint opens the gate, and traffic leaves before a deployment does."""
    views = [(BY_NAME[name], deployment_state) for name, deployment_state in shown.items()]
    step = service.decide(record, endpoint(*views, traffic=traffic, state=state), POLICY, NOON + timedelta(minutes=minutes))

    if isinstance(step, service.GoBack):
        live, kept = record.live, record.kept
        assert live
        assert kept
        assert (step.failed, step.kept) == (live.name, kept.name)
        assert kept.smoke_passed
        assert shown.get(kept.name) == "Succeeded"
        assert live.probes_failed >= 3 or shown.get(live.name) in (None, "Failed", "Canceled")
    if isinstance(step, SetTraffic):
        proven = {d.name for d in record.deployments if d.smoke_passed}
        assert set(step.traffic) <= proven
    if isinstance(step, DeleteDeployment):
        assert not traffic.get(step.name)
        assert step.name in {d.name for d in record.deployments if d.retiring}
    if isinstance(step, DeleteEndpoint):
        assert record.deleting_endpoint or record.live is None


NAMES = (BLUE.name, GREEN.name, "d3-cccccccc")
TIMES = st.none() | st.integers(-600, 600).map(lambda minutes: NOON + timedelta(minutes=minutes))
ANY_DEPLOYMENT = st.builds(
    lambda number, **fields: msgspec.structs.replace(BLUE, name=NAMES[number], tuning=f"t{number}", **fields),
    st.integers(0, 2), smoke_passed=st.none() | st.booleans(), live_at=TIMES, retiring=st.booleans(), kept_until=TIMES, submitted_at=TIMES,
    probed_at=TIMES, answered_at=TIMES, probes_failed=st.integers(0, 4),
)  # fmt: skip
ANY_RECORD = st.builds(
    lambda deployments, failed, **fields: but(NEW, deployments=tuple(deployments), candidates=candidates(*failed), **fields),
    st.lists(ANY_DEPLOYMENT, max_size=3, unique_by=lambda d: d.name), st.sets(st.integers(0, 2)),
    served=st.sampled_from([None, "t0", "t1", "t2", "forgotten"]), asleep_since=TIMES, rest_until=TIMES,
    deleting_endpoint=st.sampled_from([False] * 9 + [True]), endpoint_failures=st.integers(0, 6), delete_asked_at=TIMES, waited_since=TIMES,
    waited_for=st.sampled_from(["", f"Endpoint {NEW.endpoint} is Updating.", f"Deployment {BLUE.name} is Creating."]),
    idle=st.sampled_from([IdleClock(), IdleClock(marked_at=NOON, permit=(BLUE.name,))]),
    quota=st.sampled_from([None, REFUSED]),
)  # fmt: skip
MOSTLY_WELL = st.sampled_from(["Succeeded"] * 8 + ["Failed", "Creating", "Updating", "Deleting", "Canceled", "Invented"])


@st.composite
def lives(draw: st.DrawFn) -> tuple[Service, EndpointView | None]:
    """Any record, also one that no life leads to, and a world that shows most of what it names."""
    record = draw(ANY_RECORD)
    known = [d.name for d in record.deployments]
    shown = {name: draw(MOSTLY_WELL) for name in [*known, "theirs", *NAMES] if draw(st.integers(0, 9)) < (9 if name in known else 1)}
    traffic = draw(st.sampled_from([{}, *({name: 100} for name in shown), *({name: 50, "theirs": 50} for name in shown)]))
    view = EndpointView(
        state=draw(MOSTLY_WELL), owner=OWNER, service=NEW.id, scoring_uri=URI, traffic=traffic,
        deployments=tuple(DeploymentView(name=n, state=word, owner=None if n == "theirs" else OWNER) for n, word in shown.items()),
    )  # fmt: skip
    return record, draw(st.sampled_from([view] * 9 + [None]))


@settings(max_examples=200)
@given(lives(), st.integers(-60, 600), st.booleans(), st.booleans())
def test_whatever_the_record_and_the_world_the_gate_fails_closed_and_nothing_of_others_goes(
    life: tuple[Service, EndpointView | None], minutes: int, paused: bool, dry_run: bool
) -> None:
    """Also over records that no life leads to: a proof is asked for at the one way out of `decide`, whatever branch comes to it."""
    record, shown = life
    policy = msgspec.structs.replace(POLICY, paused=paused, deletions_dry_run=dry_run)
    step = service.decide(record, World(endpoint=shown), policy, NOON + timedelta(minutes=minutes))
    proven = {d.name for d in record.deployments if d.smoke_passed is True}

    if isinstance(step, SetTraffic):
        assert {name for name, share in step.traffic.items() if share} <= proven
    if isinstance(step, Promote):
        assert step.deployment in proven
    if isinstance(step, service.GoBack):
        assert step.kept in proven
    if isinstance(step, DeleteDeployment):
        assert shown
        assert not shown.traffic.get(step.name)
        assert step.name in {d.name for d in record.deployments if d.retiring}
    if isinstance(step, DeleteEndpoint) and not record.deleting_endpoint:
        assert shown
        assert record.live is None
        assert all(d.owner == OWNER for d in shown.deployments)
    if paused:
        assert not isinstance(step, service.CHANGES_AZURE)


@pytest.mark.parametrize(("record", "state"), [(ASLEEP, "Succeeded"), (OFFERED, "Failed")], ids=["asleep for long", "its creation failed"])
def test_an_endpoint_on_which_somebody_else_has_a_deployment_is_kept_and_told(record: Service, state: str) -> None:
    foreign = DeploymentView(name="theirs", state="Succeeded", owner=None)
    view = EndpointView(state=state, owner=OWNER, service=NEW.id, scoring_uri=URI, traffic={}, deployments=(foreign,))
    step = service.decide(record, World(endpoint=view), POLICY, NOON + timedelta(days=30))

    assert (isinstance(step, Wait) and step.told) or isinstance(step, GiveUp)
    assert "does not carry this app's tag" in (step.why if isinstance(step, Wait) else step.reason)


def test_the_endpoint_is_never_deleted_while_something_on_it_is_live() -> None:
    for minutes in (0, 60, 60 * 24 * 30):
        step = service.decide(LIVE, endpoint((LIVE_BLUE, "Succeeded"), traffic=BLUE_100), POLICY, NOON + timedelta(minutes=minutes))
        assert not isinstance(step, DeleteEndpoint | DeleteDeployment)


# ----------------------------------------------------------------------------------------------------------- candidates


def test_the_latest_upload_is_the_candidate_in_whatever_order_they_were_offered() -> None:
    forwards = service.offered(service.offered(NEW, FIRST), SECOND)
    backwards = service.offered(service.offered(NEW, SECOND), FIRST)

    assert forwards.candidates == backwards.candidates == (FIRST, SECOND)
    assert forwards.candidate == SECOND


def test_offering_twice_is_offering_once() -> None:
    once = service.offered(NEW, FIRST)

    assert service.offered(once, FIRST) is once


def test_what_was_given_up_or_has_been_live_is_no_candidate_any_more() -> None:
    assert but(NEW, candidates=(msgspec.structs.replace(FIRST, failure="no answer"),)).candidate is None
    assert but(NEW, candidates=(FIRST,), served="t1").candidate is None


def candidates(*failed: int, of: int = 3) -> tuple[Candidate, ...]:
    at = [NOON + timedelta(days=n) for n in range(of)]
    return tuple(msgspec.structs.replace(FIRST, tuning=f"t{n}", uploaded_at=at[n], failure="x" if n in failed else "") for n in range(of))


@pytest.mark.parametrize(
    ("failed", "served", "tried"),
    [((), None, "t2"), ((2,), None, "t1"), ((1, 2), None, "t0"), ((0, 1, 2), None, None), ((2,), "t0", "t1"), ((2,), "t1", None),
     ((1, 2), "t0", None), ((0,), "t2", None), ((), "t2", None), ((), "t1", "t2")],
    ids=["the newest", "it failed: the one before", "both failed: the oldest", "all failed", "the one between, not yet tried",
         "what serves stays", "no way behind what serves", "an old failure", "the newest serves", "a newer one than what serves"],
)  # fmt: skip
def test_the_newest_that_was_not_given_up_and_is_newer_than_what_served_is_tried(
    failed: tuple[int, ...], served: str | None, tried: str | None
) -> None:
    found = but(NEW, candidates=candidates(*failed), served=served).candidate

    assert (found and found.tuning) == tried


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_whichever_fail_and_in_whatever_order_they_are_offered_the_newest_good_one_serves(good: list[bool], random: Any) -> None:
    """Each candidate is tried at most once; what was tried and is good serves from then on."""
    all_of_them = list(candidates(of=len(good)))
    record, tried = NEW, []
    offers = random.sample(all_of_them, len(all_of_them))
    while offers or record.candidate:
        if offers and (not record.candidate or random.random() < 0.5):
            record = service.offered(record, offers.pop())
            continue
        assert record.candidate
        number = int(record.candidate.tuning[1:])
        tried.append(number)
        if good[number]:
            record = but(record, served=record.candidate.tuning)
        else:
            left = [msgspec.structs.replace(c, failure="x") if c == record.candidate else c for c in record.candidates]
            record = but(record, candidates=tuple(left))

    best = max((n for n, is_good in enumerate(good) if is_good), default=None)
    assert record.served == (None if best is None else f"t{best}")
    assert len(tried) == len(set(tried))


@pytest.mark.parametrize(
    ("record", "order", "found"),
    [(None, FIRST.order, None), (NEW, FIRST.order, None), (OFFERED, FIRST.order, None), (OFFERED, SECOND.order, None),
     (but(NEW, candidates=(FIRST, SECOND)), FIRST.order, "t2")],
    ids=["no service", "nothing offered", "itself", "an earlier one", "a later one"],
)  # fmt: skip
def test_only_a_later_offer_supersedes(record: Service | None, order: tuple[datetime, str], found: str | None) -> None:
    assert service.later_offered(record, order) == found


def test_a_record_survives_the_ledger_with_its_idle_clock() -> None:
    record = but(UPDATING, idle=IdleClock(marked_at=NOON, permit=("d1",)), own_requests=(NOON,))

    assert msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(record)), type=Service) == record
