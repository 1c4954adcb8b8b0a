"""
Whatever Azure turns out to be, and whatever goes wrong there: each upload ends as it should, with a sentence, and nothing is left running.

Each row of a table is an upload in a service of its own; all are played side by side in one local cloud. The switches are turned while
it runs, a round for each set of sides; every side of every switch is in one of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from localcloud import switches
from shared.domain import smoke
from tests.loop.conftest import waited

pytestmark = pytest.mark.slow

ROUNDS: Sequence[Mapping[str, str]] = (
    {},
    {
        "identical_job_put": "ok",
        "conflict_status": "400",
        "reply_shape": "list",
        "event_casing": "pascal",
        "event_statuses": "good",
        "write_events": "accepted",
        "failed_deployment": "counted",
        "count_in": "total",
        "same_key_again": "kept",
    },
    {"immutable_status": "409", "reply_shape": "output", "event_statuses": "none", "count_in": "average"},
)
FIRST = {name: sides[0] for name, sides in switches.sides().items()}
PLAYED_ALONE = {"archived_model"}  # concerns the base model of every upload at once
SIDES = [(name, side) for name, sides in switches.sides().items() if name not in PLAYED_ALONE for side in sides]
SHAPES: Mapping[str, Callable[[Any], bool]] = {
    "records": lambda reply: isinstance(reply, list) and set(reply[0]) == {"0"},
    "list": lambda reply: isinstance(reply, list) and isinstance(reply[0], str),
    "output": lambda reply: set(reply) == {"output"},
}
GONE = "torn down"
Fault = dict[str, Any]


def chats(word: str) -> bytes:
    """Return forty chats about `word`; another word gives another training."""
    turns = [(f"Where is {word} number {n}?", f"{word} {n} is in hall {n * 7 % 31}.") for n in range(40)]
    rows = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in turns]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def puts(service: str, job: str) -> dict[str, dict[str, str]]:
    """Return what each PUT of a loop matches: job, model, endpoint and its traffic, deployment."""
    endpoint = f"*/onlineEndpoints/{service}-????????"
    paths = {
        "job": f"*/jobs/{job}",
        "model": f"*/models/*-{service}/versions/*",
        "endpoint": endpoint,
        "deployment": f"{endpoint}/deployments/*",
    }
    return {what: {"method": "PUT", "path": path} for what, path in paths.items()}


def every_put(kind: str, service: str, job: str, *, of_each: int = 1, **given: Any) -> list[Fault]:
    """Return one fault for each PUT; the endpoint has two: its creation and its traffic."""
    return [
        {"fault": kind, "match": match, "times": of_each * (2 if what == "endpoint" else 1), **given}
        for what, match in puts(service, job).items()
    ]


def every_reply_lost(service: str, job: str) -> list[Fault]:
    """Return what loses the reply to each PUT once: the SDK's second try of the endpoint's creation is answered, its traffic is not."""
    traffic = {"fault": "lost_reply", "match": puts(service, job)["endpoint"], "skip": 1}
    return [*({"fault": "lost_reply", "match": match} for match in puts(service, job).values()), traffic]


class Stage:
    """The quick cloud, and the recipe that every upload in it gets."""

    def __init__(self, quick: Any) -> None:
        self.app = quick
        scout = quick.upload("scout/a.jsonl", chats("scout"))
        self.recipe = waited(lambda: (found := quick.record(scout, "tuning")) and found.recipe, lambda: "the scout was not planned")
        self.uploads: dict[str, str] = {"scout": scout}  # service -> its newest tuning

    def upload(self, service: str, plan: Callable[[str, str], list[Fault]] | None = None) -> str:
        """Plan what goes wrong for a service and its first job, then upload to it."""
        path, content = f"{service}/a.jsonl", chats(service)
        if plan is not None:
            self.app.command("faults", {"faults": plan(service, self.app.job_of(path, content, self.recipe))})
        self.uploads[service] = self.app.upload(path, content)
        return self.uploads[service]

    def job_status(self, service: str) -> list[str]:
        training = self.app.record(self.uploads[service], "training").id
        return [status for name, status in self.app.shown()["jobs"].items() if training in name]


@dataclass
class Round:
    """What one round left behind."""

    sides: Mapping[str, str]
    good: str  # service whose every PUT went wrong once and that was uploaded twice
    bad: str  # service whose job failed
    down: str  # service whose deployment failed
    reply: Any = None  # of the model of `good`, as it came
    seen: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def stage(quick: Any) -> Stage:
    """All that does not depend on a switch is uploaded first and goes on beside the rounds."""
    made = Stage(quick)
    for row in ROWS:
        made.upload(row.service, row.plan)
    for service, kind in BLIND.items():
        made.upload(service, lambda s, _, kind=kind: [{"fault": kind, "match": {"resource": f"*/onlineEndpoints/{s}-*"}}])  # type: ignore[misc]
    return made


@pytest.fixture(scope="module")
def rounds(stage: Stage) -> list[Round]:
    return [_played(stage, number, {**FIRST, **sides}) for number, sides in enumerate(ROUNDS)]


def _played(stage: Stage, number: int, sides: Mapping[str, str]) -> Round:
    """
    Turn the switches and play three uploads.

    Every reply to a PUT of the good one is lost, so that the SDK puts the same again: the job's into the name that is taken, the endpoint's
    and the deployment's while they are being created. It is uploaded again when it is live.
    """
    app, one = stage.app, Round(sides=sides, good=f"good-{number}", bad=f"bad-{number}", down=f"down-{number}")
    app.command("state", {"switches": dict(sides)})
    stage.upload(one.good, lambda s, job: [*every_reply_lost(s, job), _locked(s, 3)])
    stage.upload(one.bad, lambda _, job: [{"fault": "job_failed", "match": {"name": job}, "message": "The node lost its GPU."}])
    stage.upload(one.down, lambda s, _: [{"fault": "deployment_failed", "match": {"endpoint": f"{s}-*"}, "message": "No room."}])
    live = app.until(stage.uploads[one.good], "service", "live", "idle")
    one.reply = app.ask(live.scoring_uri)
    again = stage.upload(one.good)
    waited(lambda: app.record(again, "service") and app.record(again, "service").served == again, lambda: f"{one.good} is not served again")
    app.until(stage.uploads[one.bad], "tuning", "stopped")
    waited(lambda: _given_up(app, stage.uploads[one.down]), lambda: f"{one.down} was not given up")
    return one


def _locked(service: str, seconds: float) -> Fault:
    return {"fault": "endpoint_locked", "match": {"name": f"{service}-*"}, "seconds": seconds}


def _given_up(app: Any, tuning: str) -> str:
    found = app.record(tuning, "service")
    return next((c.failure for c in found.candidates if c.tuning == tuning), "") if found else ""


# ------------------------------------------------------------------------------------------------------------------ switches


def test_every_side_of_every_switch_is_in_a_round() -> None:
    played = {(name, side) for sides in ROUNDS for name, side in {**FIRST, **sides}.items()}

    assert set(SIDES) <= played
    assert {("refused", "400"), ("refused", "409")} <= {(s["identical_job_put"], s["immutable_status"]) for s in _all_sides()}


def _all_sides() -> list[dict[str, str]]:
    return [{**FIRST, **sides} for sides in ROUNDS]


@pytest.mark.parametrize(("name", "side"), SIDES, ids=[f"{name}={side}" for name, side in SIDES])
def test_a_loop_passes_on_this_side_of_the_switch(name: str, side: str, rounds: list[Round], stage: Stage) -> None:
    """From an upload to a torn-down endpoint, though each reply to a PUT is lost once; and the two that fail end with their reasons."""
    for one in [one for one in rounds if one.sides[name] == side]:
        app = stage.app
        assert SHAPES[one.sides["reply_shape"]](one.reply)
        assert smoke.answer_in(one.reply)
        gone = app.until(stage.uploads[one.good], "service", GONE)
        assert (gone.deployments_made, gone.endpoint_failures) == (2, 0)
        assert stage.job_status(one.good) == ["Completed"]

        stopped = app.record(stage.uploads[one.bad], "tuning")
        assert "The node lost its GPU." in stopped.reason
        assert stopped.next_action
        assert app.record(stage.uploads[one.bad], "service") is None

        down = app.until(stage.uploads[one.down], "service", GONE)
        assert "Failed" in down.candidates[0].failure
        assert down.next_action
        assert {gone.endpoint, down.endpoint}.isdisjoint(app.shown()["endpoints"])


def test_every_lost_reply_was_lost_and_the_sdk_put_the_same_again(rounds: list[Round], stage: Stage) -> None:
    """The test of the test: without it a match that hits nothing would prove nothing."""
    lines = [json.loads(line) for line in stage.app.traffic.read_text("utf-8").splitlines()]
    lost = [line for line in lines if line.get("seen") == "lost"]
    answers = {
        (line["status"], line["response"]["error"]["code"])
        for line in lines
        if line["method"] == "PUT" and line["status"] in (400, 409) and "error" in (line["response"] or {})
    }

    assert len(lost) >= 5 * len(rounds)
    assert {(409, "Conflict"), (400, "Conflict"), (400, "UserError"), (409, "UserError")} <= answers


# -------------------------------------------------------------------------------------------------------------------- faults


@dataclass(frozen=True, kw_only=True)
class Row:
    """One thing that goes wrong, and how it ends."""

    service: str  # also what it is about, in words
    plan: Callable[[str, str], list[Fault]]  # service and first job -> faults
    ends: str = "served"  # served: live, then gone; given up: no traffic, then gone; stopped: no deployment was ever asked for
    says: str = ""  # in the reason
    jobs: tuple[str, ...] = ("Completed",)


def of_job(kind: str, **given: Any) -> Callable[[str, str], list[Fault]]:
    return lambda _, job: [{"fault": kind, "match": {"name": job}, **given}]


def of_deployment(*kinds: str, **given: Any) -> Callable[[str, str], list[Fault]]:
    return lambda service, _: [{"fault": kind, "match": {"endpoint": f"{service}-*"}, **given} for kind in kinds]


def of_endpoint(kind: str, **given: Any) -> Callable[[str, str], list[Fault]]:
    return lambda service, _: [{"fault": kind, "match": {"name": f"{service}-*"}, **given}]


ROWS: Sequence[Row] = (
    Row(service="throttled", plan=partial(every_put, "throttled", of_each=2, retry_after=1)),
    Row(service="error-after", plan=partial(every_put, "error_after", of_each=3, status=500)),  # once more than the SDK tries again
    Row(service="error-before", plan=partial(every_put, "error_before", of_each=3, status=503)),
    Row(service="reset", plan=partial(every_put, "connection_reset", of_each=3)),
    Row(service="operations-stuck", plan=of_endpoint("operation_stuck", times=0)),
    Row(service="job-stuck", plan=of_job("job_stuck"), ends="stopped", says="was not done", jobs=("Canceled",)),
    Row(service="job-silent", plan=of_job("job_not_responding"), ends="stopped", says="NotResponding", jobs=("NotResponding",)),
    Row(service="job-canceled", plan=of_job("job_canceled"), ends="stopped", says="Canceled", jobs=("Canceled",)),
    Row(service="job-refused", plan=of_job("job_refused", message="No such thing."), ends="stopped", says="No such thing.", jobs=()),
    Row(service="nan-losses", plan=of_job("job_nan_losses")),
    Row(service="fails-silently", plan=of_deployment("deployment_failed_silently"), ends="given up", says="Failed"),
    Row(service="late-gpu-quota", plan=of_deployment("deployment_refused", times=2)),
    Row(service="no-gpu-quota", plan=of_deployment("deployment_refused", times=0), ends="given up", says="Not enough quota available"),
    Row(service="name-taken", plan=of_endpoint("endpoint_name_taken"), ends="given up", says="already exists in this region"),
    Row(service="late-endpoint-quota", plan=of_endpoint("endpoint_quota", times=2)),
    Row(service="no-endpoint-quota", plan=of_endpoint("endpoint_quota", times=0), ends="given up", says="Endpoint Quota reached"),
    Row(service="answers-empty", plan=of_deployment("scoring_empty", times=0), ends="given up", says="gave no answer to its smoke test"),
    Row(service="answers-badly", plan=of_deployment("scoring_failed", "scoring_throttled", "scoring_empty", "scoring_slow")),
)


BLIND = {"metrics-late": "metrics_late", "metrics-empty": "metrics_without_points"}  # service -> fault of its metrics


@pytest.mark.parametrize("row", ROWS, ids=[row.service for row in ROWS])
def test_what_goes_wrong_ends_with_a_sentence_and_nothing_is_left_running(row: Row, rounds: list[Round], stage: Stage) -> None:
    app, tuning = stage.app, stage.uploads[row.service]
    if row.ends == "stopped":
        stopped = app.until(tuning, "tuning", "stopped")
        reason, next_action = stopped.reason, stopped.next_action
        assert app.record(tuning, "service") is None
    else:
        gone = app.until(tuning, "service", GONE, "asleep")
        gone = app.until(tuning, "service", GONE) if gone.endpoint in app.shown()["endpoints"] else gone
        reason, next_action = gone.candidates[0].failure, gone.next_action
        assert any(line.what == "live" for line in gone.history) == (row.ends == "served")
        assert gone.deployments == ()
        assert gone.endpoint not in app.shown()["endpoints"]

    assert row.says in reason
    assert bool(next_action) == (row.ends != "served")
    assert stage.job_status(row.service) == list(row.jobs)


def test_every_fault_of_the_table_was_met(rounds: list[Round], stage: Stage) -> None:
    plan = json.loads(_fetched(stage.app, "faults"))["faults"]

    assert [fault for fault in plan if not fault["spoiled"]] == []


def test_without_metrics_a_service_is_kept_until_they_are_back_and_people_are_told(rounds: list[Round], stage: Stage) -> None:
    """Runs after the others: what is planned for the metrics is taken away, and with it all other plans."""
    app, services = stage.app, {service: stage.uploads[service] for service in BLIND}
    for service, tuning in services.items():
        waited(partial(_is_blind, app, tuning), partial("{} is not blind".format, service))
        found = app.record(tuning, "service")
        assert any("The metrics say nothing" in line.why for line in found.history)
        assert found.endpoint in app.shown()["endpoints"]

    app.command("faults", {"clear": True})
    for tuning in services.values():
        app.until(tuning, "service", GONE)


def _is_blind(app: Any, tuning: str) -> bool:
    found = app.record(tuning, "service")
    return found is not None and found.idle.unknown_since is not None


def test_in_the_end_nothing_is_at_work_and_nothing_is_left(rounds: list[Round], stage: Stage) -> None:
    app = stage.app
    waited(lambda: not list(app.records.ledger.active()), lambda: f"still active: {list(app.records.ledger.active())}")

    assert app.shown()["endpoints"] == {}
    assert set(app.shown()["jobs"].values()) <= {"Completed", "Failed", "Canceled", "NotResponding"}
    assert "Traceback" not in app.log()
    assert stage.recipe.model_id.endswith("/models/Phi-4/versions/8")


def _fetched(app: Any, what: str) -> bytes:
    from cli.cloud import fetched

    return fetched(f"{app.running.azureml}/_localcloud/{what}", context=app.running.context)
