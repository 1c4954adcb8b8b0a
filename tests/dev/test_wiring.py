"""
What the app is put together of: each port over its service, each limit from its setting, the kill switch read anew.

Method: an app in Azure with identity, where every setting is another than its default, so that what was left out or taken from elsewhere
shows. Building asks nobody: no client sends anything before its first call.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

import dev
from shared import prepare, telemetry, wiring
from shared import settings as app_settings
from shared.cloud.announcer import EventGridAnnouncer, LogAnnouncer
from shared.cloud.datasets import BlobDatasets
from shared.cloud.endpoints import AzureMlEndpoints
from shared.cloud.ledger import BlobLedger
from shared.cloud.metrics import MonitorMetrics
from shared.cloud.preparations import AzureMlPreparations
from shared.cloud.trainings import AzureMlTrainings
from shared.cloud.turns import QueueTurns
from shared.cloud.undelivered import StorageUndelivered
from shared.domain.policy import Policy
from shared.domain.record import Kind
from shared.ports import Ports
from shared.reconcile.services import ServiceLife
from shared.reconcile.trainings import TrainingLife
from shared.reconcile.tunings import TuningLife
from shared.reconcile.turn import Loop

APP = Path(dev.__file__).resolve().parent
HOST_JSON = json.loads((APP / "host.json").read_text(encoding="utf-8"))
TOPIC = "https://news.westeurope-1.eventgrid.azure.net/api/events"
ENVIRONMENT = {
    "DATASETS__accountName": "uploads",
    "AzureWebJobsStorage__accountName": "host",
    "AZURE_SUBSCRIPTION_ID": "s",
    "AZURE_RESOURCE_GROUP": "r",
    "AZUREML_WORKSPACE": "w",
    "DATASETS_CONTAINER": "our-datasets",
    "PREPARED_CONTAINER": "our-prepared",
    "LEDGER_CONTAINER": "our-ledger",
    "PREPARED_DATASTORE": "our_prepared",
    "DATASETS_DATASTORE": "our_datasets",
    "TURNS_QUEUE": "our-turns",
    "DEAD_LETTER_CONTAINER": "our-letters",
    "SERVING_INSTANCE_TYPE": "Standard_NC6s_v3",
    "EXPERIMENT_NAME": "our-experiment",
    "ANNOUNCE_TOPIC_ENDPOINT": TOPIC,
    "IDLE_AFTER": "03:00:00",
    "TEAR_DOWN_DRY_RUN": "true",
    "TEST_SHARE": "0.2",
    "TRAIN_ROWS_MIN": "50",
}
POISON = "webjobs-blobtrigger-poison"
BLOBS_ONLY = {"DATASETS__accountName": "", "DATASETS__blobServiceUri": "https://uploads.blob.core.windows.net"}


@pytest.fixture(autouse=True)
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An environment with nothing else of the app in it, and a process that has built nothing yet."""
    for name in [*app_settings.Settings.model_fields, "DATASETS", "AzureWebJobsStorage"]:
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    levels = {name: logging.getLogger(name).level for name in ("tuneloop", *telemetry.QUIET, *telemetry.VERY_QUIET)}
    built = (wiring.settings, wiring.loop, wiring.lives)
    for one in built:
        one.cache_clear()
    yield
    for one in built:
        one.cache_clear()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def left_at_default(made: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(made) if getattr(made, field.name) == field.default}


def places(ports: Ports) -> set[str]:
    """Return what is looked at for undelivered events."""
    assert isinstance(ports.undelivered, StorageUndelivered)
    return set(ports.undelivered._places)


def test_every_port_of_the_app_is_the_one_over_azure() -> None:
    ports = wiring.loop().ports

    assert {field.name: type(getattr(ports, field.name)) for field in dataclasses.fields(ports)} == {
        "ledger": BlobLedger,
        "datasets": BlobDatasets,
        "preparations": AzureMlPreparations,
        "trainings": AzureMlTrainings,
        "endpoints": AzureMlEndpoints,
        "inventory": AzureMlEndpoints,
        "metrics": MonitorMetrics,
        "turns": QueueTurns,
        "announcer": EventGridAnnouncer,
        "undelivered": StorageUndelivered,
    }


def test_the_app_is_built_once_and_nothing_of_it_is_left_to_a_default() -> None:
    loop = wiring.loop()

    assert wiring.loop() is loop
    assert left_at_default(loop) | left_at_default(loop.ports) == set()


def test_records_uploads_and_turns_lie_where_the_settings_say() -> None:
    ports: Any = wiring.loop().ports  # where an adapter looks is its own business, so no port tells it

    assert {
        "ledger": ports.ledger._container.url,
        "uploads": ports.datasets._uploads.url,
        "prepared": ports.datasets._prepared.url,
        "turns": ports.turns._queue.url,
    } == {
        "ledger": "https://uploads.blob.core.windows.net/our-ledger",
        "uploads": "https://uploads.blob.core.windows.net/our-datasets",
        "prepared": "https://uploads.blob.core.windows.net/our-prepared",
        "turns": "https://host.queue.core.windows.net/our-turns",
    }
    assert ports.datasets.uri("f", "x") == "azureml://datastores/our_prepared/paths/f/x"
    assert ports.datasets.upload_uri("x") == "azureml://datastores/our_datasets/paths/x"


def test_all_adapters_of_the_workspace_share_its_settings_and_one_client_of_jobs() -> None:
    ports: Any = wiring.loop().ports

    assert ports.trainings._jobs is ports.preparations._jobs
    assert ports.inventory is ports.endpoints
    for adapter in (ports.trainings, ports.preparations, ports.endpoints, ports.metrics, ports.trainings._jobs):
        assert adapter._settings is wiring.settings()


@pytest.mark.parametrize(
    ("changed", "looked_at"),
    [
        ({}, {f"queue uploads/{POISON}", f"queue host/{POISON}", "container uploads/our-letters"}),
        ({"DEAD_LETTER_CONTAINER": ""}, {f"queue uploads/{POISON}", f"queue host/{POISON}"}),
        (BLOBS_ONLY, {f"queue host/{POISON}", "container uploads/our-letters"}),
        ({"AzureWebJobsStorage__accountName": "uploads"}, {f"queue uploads/{POISON}", "container uploads/our-letters"}),
    ],
    ids=["two accounts", "no dead letters", "an account that names no queues", "one account for both"],
)
def test_what_was_not_delivered_is_looked_for_where_the_host_and_event_grid_put_it(
    monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], looked_at: set[str]
) -> None:
    for name, value in changed.items():
        monkeypatch.setenv(name, value)

    assert places(wiring.loop().ports) == looked_at


def test_changes_are_told_to_the_topic_in_the_name_of_the_workspace_or_to_the_log_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    announcer: Any = wiring.loop().ports.announcer
    assert announcer._source == wiring.settings().workspace_id

    monkeypatch.setenv("ANNOUNCE_TOPIC_ENDPOINT", "")
    wiring.settings.cache_clear()
    wiring.loop.cache_clear()
    assert isinstance(wiring.loop().ports.announcer, LogAnnouncer)


def test_the_limits_are_those_of_the_settings_and_of_the_time_that_the_host_gives_a_function() -> None:
    timeout = TypeAdapter(timedelta).validate_python(HOST_JSON["functionTimeout"])
    policy = wiring.loop().policy

    assert policy == app_settings.read(ENVIRONMENT).policy(function_timeout=timeout)
    assert (policy.idle_after, policy.deletions_dry_run) == (timedelta(hours=3), True)
    assert min(policy.lease, policy.endpoint_rest) > timeout
    assert policy != Policy()


def test_a_dataset_is_prepared_and_a_model_served_as_the_settings_say() -> None:
    loop = wiring.loop()

    assert loop.options == prepare.options_of({"test_share": 0.2, "rows_min": {"train": 50}})
    assert (loop.serving_instance_type, loop.experiment_name) == ("Standard_NC6s_v3", "our-experiment")
    assert loop.workdir.is_dir()


def test_the_kill_switch_is_read_anew_at_every_look_and_not_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = wiring.loop()
    seen = [loop.policy_now().paused]
    for word in ("true", "0", "1", "", "perhaps"):
        monkeypatch.setitem(os.environ, "PAUSED", word)
        seen.append(loop.policy_now().paused)

    assert seen == [False, True, False, True, False, True]


def test_the_clock_goes_on_and_tells_utc() -> None:
    loop: Loop = wiring.loop()
    first, now, second = loop.clock(), datetime.now(UTC), loop.clock()

    assert first <= now <= second
    assert first.tzinfo is UTC


def test_every_record_that_takes_turns_has_the_life_of_its_kind() -> None:
    lives = {kind: type(life) for kind, life in wiring.lives().by_kind.items()}

    assert lives == {Kind.TUNING: TuningLife, Kind.TRAINING: TrainingLife, Kind.SERVICE: ServiceLife}
