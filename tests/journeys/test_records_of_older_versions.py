"""What was written before an update of the app goes on after it: records as version 0.1.0 wrote them, word for word."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.domain import tuning
from shared.domain.record import Key, Kind
from tests.journeys import fakes
from tests.journeys.stories import Story

pytestmark = pytest.mark.light

KEY = Key(kind=Kind.TUNING, id="a68140a9dfe0")
FOLDER = "support-bot-7b85474c/4c5845db963330b4"
SHA256 = "4c5845db963330b4cd5686b70d647e39fa12bfe291618c0b60996c1c7d7647ea"
URI = f"azureml://datastores/tuneloop_prepared/paths/{FOLDER}"
SEEN: dict[str, Any] = {
    "schema": 1,
    "kind": "tuning",
    "id": KEY.id,
    "owner": fakes.OWNER,
    "stage": "seen",
    "created_at": "2026-11-24T12:00:00Z",
    "next_look_at": "2026-11-24T12:00:00Z",
    "waits_for": "",
    "attempt_of": "Prepare",
    "attempts": 1,
    "attempt_began_at": "2026-11-24T12:00:00Z",
    "reason": "",
    "next_action": "",
    "history": [{"at": "2026-11-24T12:00:00Z", "who": "door 0", "what": "opened", "why": "support-bot/a.jsonl, 4763 bytes"}],
    "upload": {
        "account": "acc",
        "container": "datasets",
        "path": "support-bot/a.jsonl",
        "etag": "0x1",
        "size": 4763,
        "last_modified": "2026-11-24T12:00:00Z",
    },
    "prepared": None,
    "recipe": None,
    "training": None,
    "report": None,
}
PREPARED = SEEN | {
    "stage": "prepared",
    "attempt_of": None,
    "attempts": 0,
    "attempt_began_at": None,
    "prepared": {
        "folder": FOLDER,
        "dataset_sha256": SHA256,
        "uris": {side: f"{URI}/{side}.jsonl" for side in ("train", "validation", "test")},
        "rows": {"train": 32, "validation": 4, "test": 4},
    },
}


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def gone_on(story: Story, body: dict[str, Any]) -> Any:
    """Let the updated app find the record, its blob and no message; return the record at its end."""
    assert story.world.upload("support-bot/a.jsonl").id == KEY.id
    assert fakes.FakeLedger(story.world).create(KEY, body)
    story.run(timedelta(hours=1))
    return fakes.record(story.world, KEY)


def test_an_upload_whose_worker_the_update_ended_is_prepared_by_the_new_version(story: Story) -> None:
    found = gone_on(story, SEEN)

    assert found.stage == tuning.Stage.OFFERED
    assert found.prepared.dataset_sha256 == SHA256  # the same rows still are the same training


def test_what_was_prepared_before_the_update_is_trained_from_where_it_lies(story: Story) -> None:
    story.world.prepared[f"{FOLDER}/samples.json"] = (
        b'{"samples": [{"messages": [{"role": "user", "content": "Where?"}], "reference": "Here."}]}'
    )
    found = gone_on(story, PREPARED)

    assert found.stage == tuning.Stage.OFFERED
    assert found.prepared.folder == FOLDER
    (training,) = fakes.all_of(story.world, Kind.TRAINING)
    assert training.uris == PREPARED["prepared"]["uris"]
    (service,) = fakes.all_of(story.world, Kind.SERVICE)
    assert service.live
    assert not any(path.endswith("/manifest.json") for path in story.world.prepared)  # nothing was read again
