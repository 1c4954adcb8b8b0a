"""
What somebody can try who may upload, or whose words Azure repeats: forged lines, documents that are none, our own outputs. And a clock that
jumps. Whatever it is, the upload ends, each line of the log is one line, and no more is deleted than may be.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared import errors
from shared.cloud.announcer import LogAnnouncer
from shared.domain.doorbell import Event
from shared.domain.record import Key, Kind
from shared.domain.service import Usage
from shared.domain.tuning import Stage
from shared.ports import Change
from shared.reconcile import arrivals
from tests.journeys import fakes
from tests.journeys.stories import TICK, Story

HOUR = timedelta(hours=1)
ENDS = {Stage.OFFERED, Stage.REJECTED, Stage.STOPPED, Stage.SUPERSEDED}


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


class TellsTheLog(fakes.FakeAnnouncer):
    """The announcer of the stories, and the app's own that writes into the log."""

    def announce(self, change: Change) -> None:
        super().announce(change)
        LogAnnouncer().announce(change)


def listening(story: Story) -> Story:
    story.loop = replace(story.loop, ports=replace(story.loop.ports, announcer=TellsTheLog(story.world)))
    return story


# ----------------------------------------------------------------------------------------------------------------- lines

FAKE = "2026-11-24T12:00:00Z INFO service/0123456789ab is live (promoted). action=announced"
BREAKS = ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x1e", "\x85", "\u2028", "\u2029", "\x1b[2J\x1b[1;1H", "\x00", "\u202e", "\ud800"]


@pytest.mark.parametrize("between", BREAKS, ids=ascii)
@pytest.mark.parametrize("where", ["shop/a{}.jsonl", "shop{}/a.jsonl", "shop/_{}"])
def test_a_name_that_holds_a_line_of_a_log_is_one_line_of_the_log(
    story: Story, caplog: pytest.LogCaptureFixture, between: str, where: str
) -> None:
    caplog.set_level(logging.DEBUG)
    name = where.format(f"{between}{FAKE}{between}")
    listening(story).uploaded(name)
    story.run(TICK)
    arrivals.dataset_written(story.loop, name, name, who="door")

    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) >= 2
    for line in lines:
        assert line.isprintable(), ascii(line)
        assert not line.startswith(FAKE[:30])
        line.encode()


def test_what_azure_says_in_many_lines_is_one_line_in_record_log_and_announcement(
    story: Story, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)

    def refuses(*_: object, **__: object) -> None:
        raise errors.Stop(f"Submitting:\n{FAKE}\u2028\x1b[31m\ud800", next_action=f"Mend it.\r\n{FAKE}")

    monkeypatch.setattr(story.loop.ports.trainings, "submit", refuses)
    listening(story).uploaded("shop/a.jsonl")
    story.run(2 * HOUR)

    (training,) = fakes.all_of(story.world, Kind.TRAINING)
    assert training.stage == "stopped"
    said = [training.reason, training.next_action, *(line.why for line in training.history)]
    said += [text for change in story.world.changes for text in (change.why, change.next_action)]
    said += [record.getMessage() for record in caplog.records]
    assert [text for text in said if not text.isprintable()] == []
    assert sum("Submitting:" in text for text in said) >= 3


def test_the_log_stays_one_line_whatever_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told = Change(
        key=Key(kind=Kind.TUNING, id="0123456789ab"),
        at=fakes.NOON,
        stage="seen",
        what="x",
        why=f"a\n{FAKE}",
        next_action="\x1b\u2028\ud800",
    )
    LogAnnouncer().announce(told)

    (line,) = [record.getMessage() for record in caplog.records]
    assert line.isprintable()


# ------------------------------------------------------------------------------------------------------------- documents

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet=st.characters(), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet=st.characters(), max_size=9), inner, max_size=3),
    max_leaves=6,
)
PARAMETERS = st.sampled_from(["num_train_epochs", "learning_rate", "apply_lora", "train_file_path", "trust_remote_code"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=40) | JSON | st.dictionaries(PARAMETERS, JSON, max_size=3))
@example(body={"\ud800": 1})
@example(body={"num_train_epochs": "\ud800"})
@example(body={"apply_lora": "true\n"})
@example(body={"learning_rate": float("nan")})
@example(body=b'{"num_train_epochs": 1e999}')
@example(body=b'{"num_train_epochs": ' + b"9" * 5_000 + b"}")
@example(body=b'{"a":' * 2_000)
@example(body={"x" * 30_000: "y" * 30_000})
def test_any_wishes_beside_an_upload_end_it_with_a_sentence_or_are_met(tmp_path: Path, body: Any) -> None:
    story = Story(tmp_path)
    story.world.upload("shop/_recipe.json", body if isinstance(body, bytes) else json.dumps(body).encode())
    story.uploaded("shop/a.jsonl")
    story.run(2 * HOUR)

    (tuning,) = fakes.all_of(story.world, Kind.TUNING)
    assert tuning.stage in {Stage.OFFERED, Stage.REJECTED}, tuning.reason
    assert tuning.stage == Stage.OFFERED or (tuning.reason and len(tuning.reason) <= 2_000)
    assert tuning.stage == Stage.OFFERED or story.world.effects["job"] == 0
    assert "unexpected" not in str(tuning.history)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=60) | st.dictionaries(st.sampled_from(["train", "validation", "test", "x"]), JSON, max_size=3))
@example(body={"train": "_members/\ud800"})
@example(body={"train": {"path": "_members/a", "etag": "\ud800\n"}})
@example(body={"\ud800": "_members/a"})
@example(body=b'{"train":' * 2_000)
@example(body={"train": "../ledger/owner.json"})
def test_any_set_file_ends_with_a_sentence(tmp_path: Path, body: Any) -> None:
    story = Story(tmp_path)
    story.uploaded("shop/_dataset.json", (body if isinstance(body, bytes) else json.dumps(body).encode()) or b" ")
    story.run(3 * HOUR)

    (tuning,) = fakes.all_of(story.world, Kind.TUNING)
    assert tuning.stage == Stage.REJECTED, tuning.reason
    assert story.world.effects["job"] == 0
    assert "unexpected" not in str(tuning.history)


# ----------------------------------------------------------------------------------------------------------- our outputs


def test_what_the_app_writes_itself_opens_nothing_through_any_door(story: Story) -> None:
    story.uploaded("shop/a.jsonl")
    story.uploaded("shop/b.jsonl", b"Dear diary,\n" * 40)
    story.run(HOUR)
    tunings = len(fakes.all_of(story.world, Kind.TUNING))
    calls = story.world.calls
    assert len(story.world.prepared) > 8

    for container in ("prepared", "ledger", "azure-webjobs-hosts", "$web", "Datasets", "datasets2", ""):
        for path in [*story.world.prepared, *(f"{key}.json" for key in story.world.records)]:
            arrivals.dataset_written(story.loop, container, path, who="door")

    assert story.world.calls == calls
    assert len(fakes.all_of(story.world, Kind.TUNING)) == tunings == 2


# ---------------------------------------------------------------------------------------------------------------- replay

WORKSPACE = "/subscriptions/s/resourceGroups/r/providers/Microsoft.MachineLearningServices/workspaces/w"


def test_the_whole_history_of_events_and_rings_again_has_no_effect(story: Story) -> None:
    """As from dead letters that somebody sends again days later: of uploads, of each job, and each turn of the queue."""
    for name in ("shop/a.jsonl", "desk/b.jsonl"):
        story.uploaded(name, fakes.ROWS.replace(b"order", name[:4].encode()))
    story.run(12 * HOUR)
    effects, models, records = dict(story.world.effects), dict(story.world.models), set(story.world.records)
    assert effects["job"] == 2
    assert story.world.endpoints == {}
    storage = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Storage/storageAccounts/acc"
    for _ in range(3):
        for name in story.world.blobs:
            subject = f"/blobServices/default/containers/datasets/blobs/{name}"
            created = Event(type="Microsoft.Storage.BlobCreated", subject=subject, source=storage, data={"api": "PutBlob"})
            arrivals.dataset_event(story.loop, created, who="replay")
        for job in story.world.jobs:
            completed = Event(
                type="Microsoft.MachineLearningServices.RunCompleted", subject=f"runs/{job}", source=WORKSPACE, data={"runId": job}
            )
            arrivals.job_event(story.loop, completed, workspace_id=WORKSPACE, who="replay")
        for key in records:
            story.world.push(story.world.now, (key, "replay", None))
            story.world.push(story.world.now, (key, "replay", fakes.NOON))
        story.run(2 * HOUR)

    assert (dict(story.world.effects), story.world.models, set(story.world.records)) == (effects, models, records)
    assert story.world.endpoints == {}


# ----------------------------------------------------------------------------------------------------------------- clock


class HonestMetrics(fakes.FakeMetrics):
    """Knows no heartbeat of a time that has not come, whatever the app's clock says."""

    def usage(self, endpoint: str, deployment: str, *, start: datetime, end: datetime) -> Usage | None:
        found = super().usage(endpoint, deployment, start=start, end=end)
        assert found is not None
        known = max(0, int((min(end, self.world.now) - start) / timedelta(minutes=1)))
        return Usage(start=start, end=end, heartbeats=known, heartbeats_wanted=found.heartbeats_wanted, requests=found.requests)


def eight_live(story: Story) -> None:
    for number in range(8):
        story.uploaded(f"shop-{number}/a.jsonl")
    story.run(HOUR)
    assert sum(service.live is not None for service in fakes.all_of(story.world, Kind.SERVICE)) == 8


def test_a_clock_that_jumps_a_year_ahead_deletes_no_more_in_a_tick_than_the_limit(story: Story) -> None:
    """Azure's clock and ours jump together, so all look idle at once: 2 of 8 may go in a tick."""
    eight_live(story)
    limit = story.loop.policy.deletions_per_tick_max
    story.world.now += timedelta(days=365)
    story._tick_at = story.world.now + TICK
    gone, last = [], story.world.effects["deployment_deleted"]
    for _ in range(60):
        story.run(TICK)
        gone.append(story.world.effects["deployment_deleted"] - last)
        last += gone[-1]

    assert limit == 2
    assert max(gone) <= limit
    assert sum(gone) == 8


@pytest.mark.parametrize("jump", [timedelta(days=365), timedelta(hours=13), timedelta(days=-365)], ids=str)
def test_while_our_clock_alone_is_wrong_nothing_is_deleted_and_later_all_goes_on(story: Story, jump: timedelta) -> None:
    """Azure knows nothing of a time that has not come: what is not known to be idle is kept."""
    story.loop = replace(story.loop, ports=replace(story.loop.ports, metrics=HonestMetrics(story.world)))
    eight_live(story)
    story.loop = replace(story.loop, clock=lambda: story.world.now + jump)
    story.run(HOUR)
    assert story.world.effects["deployment_deleted"] + story.world.effects["endpoint_deleted"] == 0

    story.loop = replace(story.loop, clock=lambda: story.world.now)
    story.run(timedelta(hours=12))
    assert story.world.endpoints == {}
    assert story.world.effects["job"] == 1


@pytest.mark.parametrize("jump", [timedelta(days=365), timedelta(days=-365)], ids=str)
def test_what_was_promised_by_a_wrong_clock_is_kept_by_the_timer_even_if_every_message_is_lost(story: Story, jump: timedelta) -> None:
    """And if all workers died in the middle of a step: a year ahead, both their promises and their leases would last as long."""
    story.loop = replace(story.loop, ports=replace(story.loop.ports, metrics=HonestMetrics(story.world)))
    eight_live(story)
    story.loop = replace(story.loop, clock=lambda: story.world.now + jump)
    story.run(HOUR)
    for key in story.world.active:
        body, version = story.world.records[key]
        began = (story.world.now + jump).isoformat()
        story.world.records[key] = (json.dumps({**json.loads(body), "attempt_began_at": began}).encode(), version)
    story.world.queue.clear()

    story.loop = replace(story.loop, clock=lambda: story.world.now)
    story.run(timedelta(hours=12))
    assert story.world.endpoints == {}
    assert story.world.active == set()


# ----------------------------------------------------------------------------------------------------------------- flood


def test_a_thousand_different_uploads_at_once_pay_for_no_more_than_the_limits_and_the_rest_says_what_it_waits_for(story: Story) -> None:
    policy = story.loop.policy
    few = fakes.ROWS.splitlines(keepends=True)[:12]
    for number in range(1_000):
        story.uploaded(f"flood-{number}/a.jsonl", b"".join(few).replace(b"order", b"box %d" % number), doors_ring=1)
    story.run(timedelta(minutes=19))

    trainings = fakes.all_of(story.world, Kind.TRAINING)
    paid = {name.split("-")[1] for name in story.world.jobs}
    assert len(fakes.all_of(story.world, Kind.TUNING)) == len(trainings) == 1_000
    assert len(paid) == policy.jobs_at_once_max
    assert all("JOBS_AT_ONCE_MAX" in training.waits_for for training in trainings if training.id not in paid)


# ---------------------------------------------------------------------------------------------------------------- models


def with_a_model(story: Story, *files: str, refusing: bool = False) -> Any:
    """Let an upload be trained, with these files in the model's folder."""
    story.world.model_files = files
    story.loop = replace(story.loop, policy=msgspec.structs.replace(story.loop.policy, refuse_pickled_models=refusing))
    story.uploaded("shop/a.jsonl")
    story.run(HOUR)
    (training,) = fakes.all_of(story.world, Kind.TRAINING)
    return training


def test_a_pickle_in_a_models_folder_is_told_and_the_model_is_served(story: Story) -> None:
    training = with_a_model(story, *fakes.MODEL_FILES, "data/model/training_args.bin")

    assert training.stage == "good"
    assert "training_args.bin (pickle)" in training.reason
    assert [change.what for change in story.world.changes if "training_args.bin (pickle)" in change.why] == ["model_registered", "good"]
    assert any("REFUSE_PICKLED_MODELS" in change.next_action for change in story.world.changes)
    assert story.world.endpoints


@pytest.mark.parametrize("files", [(*fakes.MODEL_FILES, "python_model.pkl"), (*fakes.MODEL_FILES, "code/loader.py"), ()], ids=str)
def test_with_the_setting_a_pickled_or_unknown_model_is_neither_registered_nor_deployed(story: Story, files: tuple[str, ...]) -> None:
    training = with_a_model(story, *files, refusing=True)

    (tuning,) = fakes.all_of(story.world, Kind.TUNING)
    assert (training.stage, tuning.stage) == ("stopped", "stopped")
    assert "is not taken" in tuning.reason
    assert "REFUSE_PICKLED_MODELS" in tuning.next_action
    assert (story.world.models, story.world.endpoints, story.world.effects["job"]) == ({}, {}, 1)
    assert story.world.active == set()


def test_who_trusts_a_refused_model_uploads_again_without_paying_again(story: Story) -> None:
    with_a_model(story, *fakes.MODEL_FILES, "python_model.pkl", refusing=True)
    training = with_a_model(story, *fakes.MODEL_FILES, "python_model.pkl", refusing=False)

    assert training.stage == "good"
    assert story.world.effects["job"] == 1


def test_a_model_without_pickles_is_served_with_the_setting(story: Story) -> None:
    training = with_a_model(story, *fakes.MODEL_FILES, refusing=True)

    assert (training.stage, training.reason) == ("good", "")
    assert story.world.endpoints
