"""What an owner can rely on when an upload is too large for a function, whatever happens in between."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from shared import errors, prepare
from shared.domain import names, service, tuning
from shared.domain.record import Kind
from tests.journeys import fakes
from tests.journeys.stories import Story, only

HOUR = timedelta(hours=1)
LIFE = timedelta(hours=1)
LIMIT = 1000  # bytes; the rows of the stories have some thousands
PATH = "support-bot/2026 $(touch x) `y` \" ' Ä.jsonl"
ROWS = fakes.ROWS + fakes.ROWS[: fakes.ROWS.index(b"\n") + 1]  # one row twice: something for the quarantine
pytestmark = pytest.mark.light


def story_of(tmp_path, **policy):
    story = here_of(tmp_path)
    small = msgspec.structs.replace(story.loop.policy, prepare_here_bytes_max=LIMIT, **policy)
    story.loop = replace(story.loop, policy=small)
    return story


def here_of(tmp_path):
    tmp_path.mkdir(exist_ok=True)
    return Story(tmp_path)


@pytest.fixture
def story(tmp_path):
    return story_of(tmp_path)


def files_of(world, folder):
    return {path.rpartition("/")[2]: body for path, body in world.prepared.items() if path.startswith(f"{folder}/")}


def test_an_upload_above_the_limit_is_prepared_by_a_job_and_served(story):
    story.uploaded(PATH)
    story.run(HOUR)

    found = only(story, Kind.TUNING)
    assert [line.what for line in found.history][:5] == [
        "opened",
        "preparation_numbered",
        "slot_taken",
        "preparation_submitted",
        "prepared",
    ]
    assert found.stage == tuning.Stage.OFFERED
    assert only(story, Kind.SERVICE).stage == service.Stage.LIVE
    assert story.world.effects == {"preparation": 1, "job": 1, "endpoint": 1, "deployment": 1}


def test_the_files_the_report_and_the_manifest_are_those_that_a_function_would_have_made(tmp_path):
    here, there = here_of(tmp_path / "here"), story_of(tmp_path / "there")
    for story in (here, there):
        story.uploaded(PATH, ROWS)
        story.run(HOUR / 3)
    of_function, of_job = only(here, Kind.TUNING), only(there, Kind.TUNING)

    made, same = files_of(here.world, of_function.prepared.folder), files_of(there.world, of_job.prepared.folder)
    assert len(made) >= 7
    assert {name: same[name] for name in made} == made
    assert of_job.prepared.dataset_sha256 == of_function.prepared.dataset_sha256
    manifest, again = (next(body for path, body in one.world.prepared.items() if path.endswith("/manifest.json")) for one in (here, there))
    differ = {"folder", "options_sha256"}  # where they lie; the seconds that unpacking may take
    assert {key for key in manifest if manifest[key] != again[key]} == differ
    assert manifest.keys() == again.keys()
    assert of_job.training == of_function.training


def test_a_manifest_is_published_once_and_names_the_folder_where_its_files_lie(story):
    story.uploaded(PATH)
    story.run(HOUR)
    story.uploaded("support-bot/copy.jsonl", story.world.blobs[PATH][0])
    story.run(HOUR)

    manifests = [path for path in story.world.prepared if path.endswith("/manifest.json")]
    assert len(manifests) == 1
    assert {t.prepared.folder for t in fakes.all_of(story.world, Kind.TUNING)} == {story.world.prepared[manifests[0]]["folder"]}
    assert story.world.effects["job"] == 1


def test_a_file_that_the_job_rejects_is_rejected_with_the_sentence_and_the_report_of_a_function(tmp_path):
    here, there = here_of(tmp_path / "here"), story_of(tmp_path / "there")
    for story in (here, there):
        story.uploaded("support-bot/notes.jsonl", b"these are my notes\n" * 100)
        story.run(HOUR / 3)
    of_function, of_job = only(here, Kind.TUNING), only(there, Kind.TUNING)

    assert of_job.stage == tuning.Stage.REJECTED
    assert of_job.reason == of_function.reason
    assert of_job.next_action == "Correct the file and upload it again; nothing was spent but the job that read it."
    assert there.world.prepared[of_job.report] == here.world.prepared[of_function.report]
    assert there.world.effects == {"preparation": 1}


def test_a_file_that_has_to_be_unpacked_goes_to_a_job_from_an_eighth_of_the_limit_on(story):
    content = b" " * (LIMIT // 8 + 1)
    story.uploaded("support-bot/a.jsonl", content)
    story.uploaded("sales-bot/a.jsonl.gz", content)
    story.run(timedelta(minutes=2))

    assert {t.service: t.stage for t in fakes.all_of(story.world, Kind.TUNING)} == {
        "support-bot": tuning.Stage.REJECTED,
        "sales-bot": tuning.Stage.PREPARING,
    }


def test_a_file_that_kills_its_reader_here_twice_is_prepared_by_a_job(tmp_path, monkeypatch):
    story = Story(tmp_path)

    def out_of_memory(*_given, **_named):
        raise fakes.Killed

    monkeypatch.setattr(fakes.FakeDatasets, "open", out_of_memory)
    story.uploaded(PATH)
    story.run(2 * HOUR)

    assert story.killed == 2
    assert only(story, Kind.TUNING).stage == tuning.Stage.OFFERED
    assert story.world.effects["preparation"] == 1


def test_an_upload_that_is_replaced_while_its_job_reads_is_superseded_and_the_job_is_cancelled(story):
    story.uploaded(PATH, fakes.ROWS.replace(b"hall", b"yard"))
    story.run(timedelta(minutes=3))
    story.uploaded(PATH)
    story.run(HOUR)

    stages = sorted(t.stage for t in fakes.all_of(story.world, Kind.TUNING))
    assert stages == [tuning.Stage.OFFERED, tuning.Stage.SUPERSEDED]
    assert sorted(job["status"] for job in story.world.jobs.values() if "files" in job) == ["Canceled", "Completed"]
    assert story.world.effects["job"] == 1


def test_an_upload_that_is_replaced_by_one_of_the_same_size_just_before_its_job_ends_is_never_published(story):
    story.uploaded(PATH, fakes.ROWS.replace(b"hall", b"yard"))
    story.run(timedelta(minutes=3))
    story.world.upload(PATH)  # of which no event tells
    story.world.now += timedelta(minutes=3)
    story.world.advance_services()  # the job has read the second version and completed
    story.timers_on = False
    story.run(HOUR / 2)

    assert [t.stage for t in fakes.all_of(story.world, Kind.TUNING)] == [tuning.Stage.SUPERSEDED]
    assert not any(path.endswith("/manifest.json") for path in story.world.prepared)


def test_an_upload_that_is_replaced_between_two_looks_of_one_turn_is_never_published(story, monkeypatch):
    """The job ends, having read the second version, after a turn has begun to look."""
    look = fakes.FakePreparations.job

    def meanwhile(preparations, name):
        world = preparations.world
        if world.now > fakes.NOON + timedelta(minutes=3) and world.jobs[name]["status"] == "Running":
            world.upload(PATH)  # as long as the first
            world.jobs[name]["status"] = world._prepared(name, world.jobs[name])
        return look(preparations, name)

    monkeypatch.setattr(fakes.FakePreparations, "job", meanwhile)
    story.timers_on = False
    story.uploaded(PATH, fakes.ROWS.replace(b"hall", b"yard"))
    story.run(HOUR / 2)

    assert [job["status"] for job in story.world.jobs.values()] == ["Completed"]
    assert [t.stage for t in fakes.all_of(story.world, Kind.TUNING)] == [tuning.Stage.SUPERSEDED]
    assert not any(path.endswith("/manifest.json") for path in story.world.prepared)


def test_a_job_that_ends_badly_is_asked_for_once_more_under_the_next_number(story):
    story.world.preparation_ends = ["Failed", "Completed"]
    tuning_id = story.uploaded(PATH)
    story.run(HOUR)

    assert only(story, Kind.TUNING).stage == tuning.Stage.OFFERED
    assert [name for name, job in story.world.jobs.items() if "files" in job] == [names.preparation(tuning_id, n) for n in (1, 2)]
    assert story.world.preparations_alive_max == 1


def test_jobs_that_end_badly_stop_the_tuning_with_the_reason(story):
    story.world.preparation_ends = ["Failed"]
    story.uploaded(PATH)
    story.run(HOUR)

    found = only(story, Kind.TUNING)
    assert found.stage == tuning.Stage.STOPPED
    assert "The machine was taken away." in found.reason
    assert found.next_action
    assert story.world.effects == {"preparation": 2}


def test_a_job_that_does_not_end_in_time_is_cancelled_and_not_asked_for_again(tmp_path):
    story = story_of(tmp_path, prepare_deadline=timedelta(minutes=4))
    story.uploaded(PATH)
    story.run(HOUR)

    found = only(story, Kind.TUNING)
    assert found.stage == tuning.Stage.STOPPED
    assert "not done 0:04:00 after its submission" in found.reason
    assert [job["status"] for job in story.world.jobs.values()] == ["Canceled"]


def test_a_job_of_somebody_else_with_the_name_stops_the_tuning_and_is_left_alone(story):
    upload = story.world.upload(PATH)
    foreign = {"status": "Running", "asked_at": story.world.now, "tags": {}, "recipe": None}
    story.world.jobs[names.preparation(upload.id, 1)] = foreign
    story.run(timedelta(minutes=12))

    found = only(story, Kind.TUNING)
    assert found.stage == tuning.Stage.STOPPED
    assert "is not ours" in found.reason
    assert foreign["tags"] == {}
    assert story.world.effects == {}


def test_a_job_that_shows_late_is_asked_for_again_under_the_same_name(story):
    story.world.looks_until_jobs_show = 3
    story.uploaded(PATH)
    story.run(HOUR)

    assert story.world.effects["preparation"] == 1
    assert only(story, Kind.SERVICE).live


def test_a_result_that_is_not_what_the_job_wrote_is_never_published(story, monkeypatch):
    written = fakes.World._prepared

    def damaged(world, name, job):
        status = written(world, name, job)
        path = f"{job['out']}/train.jsonl"
        world.prepared[path] = world.prepared[path].replace(b"order", b"0rder")
        return status

    monkeypatch.setattr(fakes.World, "_prepared", damaged)
    story.uploaded(PATH)
    story.run(3 * HOUR)

    found = only(story, Kind.TUNING)
    assert found.stage == tuning.Stage.STOPPED
    assert "train.jsonl is not what the job wrote" in found.reason
    assert not any(path.endswith("/manifest.json") for path in story.world.prepared)


def _of_manifest(change):
    return lambda outcome: change(outcome["manifest"])


LIES = {
    "none": lambda outcome: outcome.clear(),
    "other files": lambda outcome: outcome["read"][0].update(etag="0x99"),
    "a path that leaves the folder": lambda outcome: outcome["files"].update({"../x": 3}),
    "nothing was written": lambda outcome: outcome["files"].clear(),
    "no samples": lambda outcome: outcome["files"].pop("samples.json"),
    "no files": _of_manifest(lambda manifest: manifest.pop("files")),
    "two files": _of_manifest(lambda manifest: manifest["files"].pop("test")),
    "four files": _of_manifest(lambda manifest: manifest["files"].update(more=manifest["files"]["test"])),
    "a file elsewhere": _of_manifest(lambda manifest: manifest["files"]["train"].update(name="../../train.jsonl")),
    "one file as two": _of_manifest(lambda manifest: manifest["files"]["test"].update(name="train.jsonl")),
    "another content": _of_manifest(lambda manifest: manifest.update(content_sha256="0" * 64)),
    "an address that leaves the container": _of_manifest(lambda manifest: manifest.update(content_sha256="../../../ledger/")),
    "no address": _of_manifest(lambda manifest: manifest.pop("content_sha256")),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_an_outcome_that_contradicts_itself_or_the_order_publishes_nothing(story, monkeypatch, lie):
    written = fakes.World._prepared

    def lied(world, name, job):
        status = written(world, name, job)
        outcome = json.loads(world.prepared[f"{job['out']}/outcome.json"])
        lie(outcome)
        world.prepared[f"{job['out']}/outcome.json"] = json.dumps(outcome).encode()
        return status

    monkeypatch.setattr(fakes.World, "_prepared", lied)
    story.uploaded(PATH)
    story.run(3 * HOUR)

    found = only(story, Kind.TUNING)
    assert found.stage in {tuning.Stage.STOPPED, tuning.Stage.SUPERSEDED}
    assert "unexpected" not in found.reason
    assert not any(path.endswith("/manifest.json") for path in story.world.prepared)
    assert story.world.effects == {"preparation": 1}


def test_a_job_that_ends_just_before_it_is_cancelled_does_not_stop_what_was_superseded(story, monkeypatch):
    def too_late(preparations, name):
        preparations.world.jobs[name]["status"] = "Completed"
        raise errors.Stop("The job has ended.", next_action="")

    monkeypatch.setattr(fakes.FakePreparations, "cancel", too_late)
    story.uploaded(PATH, fakes.ROWS.replace(b"hall", b"yard"))
    story.run(timedelta(minutes=3))
    story.uploaded(PATH)
    story.run(HOUR)

    assert sorted(t.stage for t in fakes.all_of(story.world, Kind.TUNING)) == [tuning.Stage.OFFERED, tuning.Stage.SUPERSEDED]


def test_a_job_that_a_person_cancels_is_not_asked_for_again(story):
    story.uploaded(PATH)
    story.run(timedelta(minutes=3))
    (job,) = story.world.jobs.values()
    job["status"] = "Canceled"
    story.run(HOUR)

    assert only(story, Kind.TUNING).stage == tuning.Stage.STOPPED
    assert "ended Canceled" in only(story, Kind.TUNING).reason
    assert story.world.effects == {"preparation": 1}


def test_a_job_whose_tokenizer_is_gone_before_it_began_is_asked_for_again_without_it(story):
    story.world.upload("support-bot/_tokenizer.json", TOKENIZER)
    story.uploaded(PATH)
    story.run(timedelta(minutes=3))
    del story.world.blobs["support-bot/_tokenizer.json"]
    story.run(HOUR)

    assert only(story, Kind.TUNING).stage == tuning.Stage.OFFERED
    assert story.world.effects["preparation"] == 2
    assert story.world.preparations_alive_max == 1


def test_a_job_that_shows_late_is_told_nothing_new_about_what_lies_beside_the_upload(story):
    story.world.looks_until_jobs_show = 2
    story.uploaded(PATH)
    story.run(timedelta(minutes=1))
    story.world.upload("support-bot/_tokenizer.json", TOKENIZER)
    story.run(HOUR)

    assert [line.what for line in only(story, Kind.TUNING).history].count("preparation_submitted") > 1
    assert only(story, Kind.TUNING).stage == tuning.Stage.OFFERED
    assert story.world.effects["preparation"] == 1


def test_a_job_that_never_ends_although_it_was_cancelled_ends_the_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(fakes.FakePreparations, "cancel", lambda preparations, name: None)
    monkeypatch.setattr(fakes.World, "_prepared", lambda world, name, job: "Running")
    story = story_of(tmp_path, prepare_deadline=timedelta(minutes=4), cancel_deadline=timedelta(minutes=8))
    story.uploaded(PATH)
    story.run(HOUR)

    found = only(story, Kind.TUNING)
    assert found.stage == tuning.Stage.STOPPED
    assert "is Running, 0:08:00 after it was asked to end: it may be billed" in found.reason
    assert [line.what for line in found.history].count("preparation_cancelled") == 2, "once when it was late, once on this day"


def test_a_job_that_never_shows_ends_the_wait(tmp_path):
    story = story_of(tmp_path, prepare_deadline=timedelta(minutes=4))
    story.world.looks_until_jobs_show = 1000
    story.uploaded(PATH)
    story.run(HOUR)

    found = only(story, Kind.TUNING)
    assert found.stage == tuning.Stage.STOPPED
    assert "never showed" in found.reason
    assert found.next_action
    assert story.world.effects == {"preparation": 1}


def test_a_file_that_no_machine_may_read_costs_no_job(story):
    story.loop = replace(story.loop, options=prepare.Options(source_bytes_max=LIMIT))
    story.uploaded(PATH)
    story.run(HOUR)

    assert only(story, Kind.TUNING).stage == tuning.Stage.REJECTED
    assert story.world.effects == {}


def test_the_order_holds_the_name_and_the_version_and_no_job_is_named_after_a_stranger(story):
    story.uploaded(PATH)
    story.run(timedelta(minutes=3))

    ((name, job),) = story.world.jobs.items()
    order = json.loads(json.dumps(story.world.prepared[job["order"]]))
    assert [(file["name"], file["etag"], file["bytes"]) for file in order["files"]] == [(PATH, "0x1", len(fakes.ROWS))]
    assert order["options"]["salt"] == fakes.OWNER
    assert names.tuning_of_preparation(name) == only(story, Kind.TUNING).id


@pytest.mark.parametrize("fault", ["before", "after", "kill_before", "kill_after"])
def test_one_fault_at_any_call_until_it_is_published_changes_nothing_about_the_end(tmp_path, fault):
    def lived(faults, duration):
        story = story_of(tmp_path, look_every=timedelta(minutes=3))
        story.world.faults = faults
        story.uploaded(PATH)
        story.run(duration)
        return story.world

    published = lived({}, timedelta(minutes=8))
    assert published.effects == {"preparation": 1, "job": 1}
    for number in range(published.calls):
        world = lived({number: fault}, LIFE)
        told = f"with '{fault}' at call {number}"

        assert [t.stage for t in fakes.all_of(world, Kind.TUNING)] == [tuning.Stage.OFFERED], told
        assert (world.effects["preparation"], world.preparations_alive_max, world.effects["job"]) == (1, 1, 1), told


# ------------------------------------------------------------------------------------------------------ several files

HELD_OUT = fakes.ROWS.replace(b"Where is order", b"When comes order")
SET = json.dumps({"train": "_members/train.jsonl", "test": "_members/test.jsonl"}).encode()


def upload_set(story):
    story.uploaded("shop/_members/train.jsonl", fakes.ROWS)
    story.uploaded("shop/_members/test.jsonl", HELD_OUT)
    story.uploaded("shop/_dataset.json", SET)


def test_files_of_a_set_that_are_too_large_together_are_prepared_by_a_job_each_on_its_side(tmp_path):
    here, there = here_of(tmp_path / "here"), story_of(tmp_path / "there")
    for story in (here, there):
        upload_set(story)
        story.run(HOUR)
    of_function, of_job = only(here, Kind.TUNING), only(there, Kind.TUNING)

    assert of_job.stage == tuning.Stage.OFFERED
    assert there.world.effects["preparation"] == 1
    made, same = files_of(here.world, of_function.prepared.folder), files_of(there.world, of_job.prepared.folder)
    assert {name: same[name] for name in made} == made


def test_a_file_of_a_set_that_is_replaced_while_the_job_reads_is_never_published(story):
    upload_set(story)
    story.run(timedelta(minutes=3))
    story.world.upload("shop/_members/test.jsonl", HELD_OUT.replace(b"hall", b"yard"))
    story.run(HOUR)

    found = only(story, Kind.TUNING)
    assert found.stage == tuning.Stage.SUPERSEDED
    assert not any(path.endswith("/manifest.json") for path in story.world.prepared)
    assert story.world.effects == {"preparation": 1}


# ---------------------------------------------------------------------------------------------------------- a tokenizer

TOKENIZER = (Path(__file__).parents[2] / "localcloud" / "trainer" / "base" / "tokenizer.json").read_bytes()


def test_a_tokenizer_beside_the_upload_counts_here_and_in_a_job_alike(tmp_path):
    here, there = here_of(tmp_path / "here"), story_of(tmp_path / "there")
    for story in (here, there):
        story.world.upload("support-bot/_tokenizer.json", TOKENIZER)
        story.uploaded(PATH)
        story.run(HOUR)
    of_function, of_job = only(here, Kind.TUNING), only(there, Kind.TUNING)

    assert of_job.stage == of_function.stage == tuning.Stage.OFFERED
    for story, found in ((here, of_function), (there, of_job)):
        assert json.loads(story.world.prepared[found.report])["tokens"]["basis"] == "sampled"
    assert len(fakes.all_of(there.world, Kind.TUNING)) == 1  # the tokenizer is no dataset


@pytest.mark.parametrize("make", [here_of, story_of])
def test_a_tokenizer_that_is_none_rejects_the_upload_before_anything_is_paid(tmp_path, make):
    story = make(tmp_path)
    story.world.upload("support-bot/_tokenizer.json", b"{}")
    story.uploaded(PATH)
    story.run(HOUR)

    found = only(story, Kind.TUNING)
    assert found.stage == tuning.Stage.REJECTED
    assert found.reason.startswith("The file support-bot/_tokenizer.json is no tokenizer that can be read")
    assert story.world.effects == {}


@pytest.mark.parametrize("how", ["replaced", "deleted", "laid beside it"])
def test_a_tokenizer_that_changes_while_the_job_reads_supersedes_nothing(story, how):
    path = "support-bot/_tokenizer.json"
    if how != "laid beside it":
        story.world.upload(path, TOKENIZER)
    story.uploaded(PATH)
    story.run(timedelta(minutes=3))
    job = next(iter(story.world.jobs.values()))
    story.world.now += timedelta(minutes=3)
    story.world.advance_services()
    assert job["status"] == "Completed"
    if how == "deleted":
        del story.world.blobs[path]
    else:
        story.world.upload(path, TOKENIZER + b" ")
    story.run(HOUR)

    assert only(story, Kind.TUNING).stage == tuning.Stage.OFFERED
    assert story.world.effects["preparation"] == 1


def test_a_tokenizer_that_is_replaced_at_the_moment_it_is_read_is_read_again_and_the_upload_goes_on(tmp_path, monkeypatch):
    story = here_of(tmp_path)
    path = "support-bot/_tokenizer.json"
    story.world.upload(path, TOKENIZER)
    look = fakes.FakeDatasets.head

    def replaced_once(datasets, asked):
        found = look(datasets, asked)
        if asked == path and found and found.etag == "0x1":
            datasets.world.upload(path, TOKENIZER)
        return found

    monkeypatch.setattr(fakes.FakeDatasets, "head", replaced_once)
    story.uploaded(PATH)
    story.run(HOUR)

    found = only(story, Kind.TUNING)
    assert found.stage == tuning.Stage.OFFERED
    assert [line.what for line in found.history][:3] == ["opened", "step_failed", "prepared"]


def test_storage_that_does_not_answer_for_some_minutes_ends_no_upload(tmp_path, monkeypatch):
    story = here_of(tmp_path)
    read = fakes.FakeDatasets.open

    def out(datasets, upload):
        if datasets.world.now < fakes.NOON + timedelta(minutes=5):
            raise errors.TryLater("Reading the upload: the service could not be reached.")
        return read(datasets, upload)

    monkeypatch.setattr(fakes.FakeDatasets, "open", out)
    story.uploaded(PATH)
    story.run(HOUR)

    assert only(story, Kind.TUNING).stage == tuning.Stage.OFFERED
    assert story.world.effects["preparation"] == 0  # and no job is paid for a storage that is away
