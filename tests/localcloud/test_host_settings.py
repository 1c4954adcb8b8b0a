"""What the host is told: settings file, host.json, and where an event's blob is."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from localcloud.functions import blobs, settings

pytestmark = pytest.mark.light


def test_the_settings_file_never_overwrites_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "local.settings.json"
    file.write_text(json.dumps({"Values": {"A": "file", "B": "file"}}))

    assert settings.load_values(file, {"A": "environment"}) == {"B": "file"}


def test_an_app_setting_overwrites_host_json(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(json.dumps({"extensions": {"queues": {"maxDequeueCount": 5, "visibilityTimeout": "00:01:00"}}}))

    options = settings.load_host_options(tmp_path, {"AzureFunctionsJobHost__extensions__Queues__maxDequeueCount": "2"})

    assert options.queues.max_dequeue_count == 2
    assert options.queues.visibility_timeout == timedelta(minutes=1)


def test_the_blob_queue_derives_its_batches_from_the_parallelism(tmp_path: Path) -> None:
    (tmp_path / "host.json").write_text(json.dumps({"extensions": {"blobs": {"maxDegreeOfParallelism": 2}}}))

    options = settings.load_host_options(tmp_path, {})

    assert (options.blobs.batch_size, options.blobs.new_batch_threshold) == (2, 0)


@pytest.mark.parametrize(("text", "seconds"), [("00:00:00", 0), ("00:10:00", 600), ("1.00:00:00", 86400), ("00:00:01.5", 1.5)])
def test_times_are_read_as_the_host_writes_them(text: str, seconds: float) -> None:
    assert settings.duration(text).total_seconds() == seconds


def test_a_setting_that_is_missing_is_named() -> None:
    with pytest.raises(settings.WrongSettings, match="'%QUEUE%' does not resolve to a value; add the setting QUEUE"):
        settings.resolve({"queueName": "%QUEUE%"}, {})


@pytest.mark.parametrize(
    ("url", "blob"),
    [
        ("https://acc.blob.core.windows.net/uploads/team/a%20b.jsonl", ("uploads", "team/a b.jsonl")),
        ("http://127.0.0.1:10000/devstoreaccount1/uploads/%C3%BC.jsonl", ("uploads", "ü.jsonl")),
        ("http://localhost:10000/devstoreaccount1/uploads/x", ("uploads", "x")),
    ],
)
def test_an_event_names_its_blob_by_url(url: str, blob: tuple[str, str]) -> None:
    assert blobs.container_and_name(url) == blob


def test_the_path_of_a_trigger_names_parts_of_the_blob() -> None:
    assert blobs.match_path("datasets/{folder}/{name}.jsonl", "datasets/team/a.jsonl") == {"folder": "team", "name": "a"}
    assert blobs.match_path("datasets/{name}", "other/a") is None
