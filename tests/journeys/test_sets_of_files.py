"""What an owner of several files can rely on: they are one dataset, of one version each, whatever comes in which order."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared import prepare
from shared.domain import tuning
from shared.domain.record import Kind
from tests import places
from tests.journeys import fakes
from tests.journeys.stories import Story

pytestmark = pytest.mark.light

HOUR = timedelta(hours=1)
HELD_OUT = fakes.ROWS.replace(b"Where is order", b"When comes order")
SET = {"train": "_members/train.jsonl", "test": "_members/test.jsonl"}
MEMBERS = {"shop/_members/train.jsonl": fakes.ROWS, "shop/_members/test.jsonl": HELD_OUT}


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def upload_set(story: Story, document: Any = SET, members: dict[str, bytes] = MEMBERS, *, doors_ring: int = 2) -> str:
    """Upload the files, then what names them; the doors ring for each. Return the tuning's id."""
    for path, content in members.items():
        story.uploaded(path, content, doors_ring=doors_ring)
    return story.uploaded("shop/_dataset.json", json.dumps(document).encode(), doors_ring=doors_ring)


def only(story: Story) -> Any:
    (found,) = fakes.all_of(story.world, Kind.TUNING)
    return found


def words(found: Any) -> list[str]:
    return [line.what for line in found.history]


def prepared(story: Story, found: Any, name: str) -> bytes:
    content: bytes = story.world.prepared[f"{found.prepared.folder}/{name}"]
    return content


@pytest.mark.parametrize("doors_ring", [2, 0], ids=["by its events", "by the timer"])
def test_a_set_becomes_one_served_model_that_is_tested_on_the_rows_that_its_owner_held_out(story: Story, doors_ring: int) -> None:
    upload_set(story, doors_ring=doors_ring)
    story.run(HOUR)
    found = only(story)

    assert (found.stage, found.service) == (tuning.Stage.OFFERED, "shop")
    assert story.world.effects == {"job": 1, "endpoint": 1, "deployment": 1}
    assert prepared(story, found, "test.jsonl").count(b"When comes") == 40
    assert b"When comes" not in prepared(story, found, "train.jsonl") + prepared(story, found, "validation.jsonl")
    report = json.loads(story.world.prepared[found.report])
    assert [(file["name"], file["etag"]) for file in report["files"]] == [
        (path, story.world.blobs[path][1].etag) for path in ("shop/_members/train.jsonl", "shop/_members/test.jsonl")
    ]


@pytest.mark.parametrize(
    ("path", "document", "says"),
    [
        ("_dataset.json", SET, "_dataset.json lies at the root of the container; put it and _members/ into a folder"),
        ("shop/_dataset.json", {"train": "train.jsonl"}, "does not begin with _members/"),
        ("shop/_dataset.json", ["x" * 70_000], "_dataset.json has 70,004 bytes, more than the 65,536 allowed"),
        ("shop/_dataset.json", SET | {"test": {"path": "_members/test.jsonl", "etag": "0x77"}}, "correct the ETag in _dataset.json"),
    ],
    ids=["at the root", "outside", "too long", "a wrong ETag"],
)
def test_a_set_that_cannot_be_used_is_rejected_with_a_sentence_and_a_report(story: Story, path: str, document: Any, says: str) -> None:
    for name, content in MEMBERS.items():
        story.uploaded(name, content)
    story.uploaded(path, json.dumps(document).encode())
    story.run(HOUR)
    found = only(story)

    assert found.stage == tuning.Stage.REJECTED
    assert says in found.reason
    assert found.next_action
    assert json.loads(story.world.prepared[found.report])["codes"]["bad_set"]["severity"] == "fatal"
    assert story.world.effects == {}


def test_a_file_that_comes_after_the_set_is_waited_for(story: Story) -> None:
    upload_set(story, members={"shop/_members/train.jsonl": fakes.ROWS})
    story.run(timedelta(minutes=30))
    waiting = only(story)
    story.uploaded("shop/_members/test.jsonl", HELD_OUT)
    story.run(HOUR)

    assert waiting.stage == tuning.Stage.SEEN
    assert waiting.waits_for == "Waits until 13:00 UTC: 'shop/_members/test.jsonl' is not there or empty."
    assert words(only(story))[:4] == ["opened", "waits", "prepared", "planned"]  # told once, however often it was looked at
    assert only(story).stage == tuning.Stage.OFFERED
    assert only(story).reason == ""


def test_a_set_that_was_waited_for_and_then_kills_its_reader_goes_to_a_job(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = fakes.FakeDatasets.open

    def dies(self: fakes.FakeDatasets, upload: Any) -> Any:
        if upload.path.endswith(".jsonl"):
            raise fakes.Killed
        return plain(self, upload)

    monkeypatch.setattr(fakes.FakeDatasets, "open", dies)
    upload_set(story, members={"shop/_members/train.jsonl": fakes.ROWS})
    story.run(timedelta(minutes=10))
    story.uploaded("shop/_members/test.jsonl", HELD_OUT)
    story.run(2 * HOUR)

    assert story.killed == 2
    assert only(story).stage == tuning.Stage.OFFERED
    assert story.world.effects["preparation"] == 1


def test_a_set_whose_files_are_smaller_than_what_names_them_comes_to_an_end_under_any_limits(story: Story) -> None:
    small = msgspec.structs.replace(story.loop.policy, prepare_here_bytes_max=1)
    story.loop = replace(story.loop, policy=small, options=prepare.Options(source_bytes_max=40))
    upload_set(story, members=dict.fromkeys(MEMBERS, b"{}\n"))
    story.run(HOUR)

    assert only(story).stage == tuning.Stage.REJECTED
    assert story.world.effects == {"preparation": 1}


def test_a_file_that_never_comes_ends_the_set_with_a_sentence(story: Story) -> None:
    upload_set(story, members={"shop/_members/train.jsonl": fakes.ROWS, "shop/_members/test.jsonl": b""})
    story.run(timedelta(hours=1, minutes=2))
    found = only(story)

    assert found.stage == tuning.Stage.REJECTED
    assert found.reason.startswith("'shop/_members/test.jsonl' is not there or empty; upload what is missing, then write _dataset.json")
    assert story.world.queue == []


@pytest.mark.parametrize("how", ["replaced", "deleted"])
def test_a_file_that_changes_while_the_set_is_read_supersedes_it_and_nothing_is_mixed(
    story: Story, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: held-out files are read first; when one is opened, the training file changes."""
    plain = fakes.FakeDatasets.open

    def meanwhile(self: fakes.FakeDatasets, upload: Any) -> Any:
        if upload.path.endswith("test.jsonl"):
            if how == "replaced":
                self.world.upload("shop/_members/train.jsonl")
            else:
                del self.world.blobs["shop/_members/train.jsonl"]
        return plain(self, upload)

    monkeypatch.setattr(fakes.FakeDatasets, "open", meanwhile)
    upload_set(story)
    story.run(HOUR)
    found = only(story)

    assert found.stage == tuning.Stage.SUPERSEDED
    assert found.reason == "shop/_members/train.jsonl was replaced or deleted while the set was read."
    assert found.next_action.startswith("Write _dataset.json again")
    assert story.world.prepared == {}


def test_a_version_that_was_named_and_then_replaced_supersedes_the_set(story: Story) -> None:
    for path, content in MEMBERS.items():
        story.uploaded(path, content)
    etag = story.world.blobs["shop/_members/test.jsonl"][1].etag
    story.uploaded("shop/_dataset.json", json.dumps(SET | {"test": {"path": "_members/test.jsonl", "etag": f'"{etag}"'}}).encode())
    story.world.now += timedelta(seconds=1)
    story.uploaded("shop/_members/test.jsonl", HELD_OUT)
    story.run(HOUR)

    assert only(story).stage == tuning.Stage.SUPERSEDED
    assert "was replaced after _dataset.json had named its version" in only(story).reason


def test_a_worker_that_dies_in_between_leaves_nothing_that_another_version_of_a_file_is_mixed_into(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Method: the first worker dies after its first file became visible; before the second begins, a file of the set is replaced."""
    commit = places.MemoryFile.commit

    def dies(self: places.MemoryFile, sha256: str) -> None:
        commit(self, sha256)
        if not story.killed:
            story.world.upload("shop/_members/train.jsonl", fakes.ROWS.replace(b"hall", b"dock"))
            raise fakes.Killed

    monkeypatch.setattr(places.MemoryFile, "commit", dies)
    upload_set(story)
    story.run(2 * HOUR)
    found = only(story)

    assert story.killed == 1
    assert found.stage == tuning.Stage.OFFERED
    assert b"hall" not in prepared(story, found, "train.jsonl")
    assert len({path.rsplit("/", 1)[0] for path in story.world.prepared if path.endswith("/train.jsonl")}) == 2


def test_a_new_version_of_a_file_changes_nothing_until_the_set_is_written_again(story: Story) -> None:
    upload_set(story)
    story.run(HOUR)
    story.uploaded("shop/_members/train.jsonl", fakes.ROWS.replace(b"hall", b"dock"))
    story.run(HOUR / 2)

    assert len(fakes.all_of(story.world, Kind.TUNING)) == 1

    story.uploaded("shop/_dataset.json", json.dumps(SET).encode())
    story.run(HOUR)

    assert [found.stage for found in fakes.all_of(story.world, Kind.TUNING)] == [tuning.Stage.OFFERED] * 2
    assert story.world.effects["job"] == 2
