"""No secret is in a log, a record, a message, an announcement or a report, and none reaches the process that reads a hostile file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ServiceRequestError

from shared import settings as app_settings
from shared.cloud import clients, jobs
from shared.cloud.announcer import LogAnnouncer
from shared.cloud.answers import TEXT_LENGTH_MAX, text_of, translated
from shared.cloud.endpoints import LOG_CHARACTERS_MAX, AzureMlEndpoints
from shared.errors import TuneloopError, WrongSettings
from shared.ports import Change
from shared.prepare import child
from tests.canaries import CANARY
from tests.journeys import fakes
from tests.journeys.stories import Story
from tests.journeys.test_no_dataset_text_leaves_its_container import FILES

SECRETS = {
    "DATASETS": f"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={CANARY};EndpointSuffix=core.windows.net",
    "AzureWebJobsStorage": f"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={CANARY};EndpointSuffix=core.windows.net",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={CANARY};IngestionEndpoint=https://x/",
    "IDENTITY_HEADER": CANARY,
    "AZURE_CLIENT_SECRET": CANARY,
    "HF_TOKEN": CANARY,
    "ANYTHING": f"https://acc.blob.core.windows.net/c?sv=2024-11-04&sig={CANARY}",
}
SAID = [  # what a service's message, a job's error or a model's log may quote
    f"PUT https://acc.blob.core.windows.net/c/b?sv=2024-11-04&sig={CANARY}&sp=r failed",
    f"the header Authorization: Bearer {CANARY} was refused",
    f"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={CANARY};EndpointSuffix=core.windows.net is no address",
    f'{{"error": "x", "access_token": "{CANARY}"}}',
]


class TellsTheLog(fakes.FakeAnnouncer):
    def announce(self, change: Change) -> None:
        super().announce(change)
        LogAnnouncer().announce(change)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def quoting(text: str) -> Callable[..., Any]:
    """Return a call of a port that Azure answers with an error of these words."""

    def call(*_: object, **__: object) -> None:
        with translated("Asking Azure"):
            error = HttpResponseError(text)
            error.status_code = 400
            raise error

    return call


@pytest.mark.parametrize("said", SAID, ids=lambda said: said[:20])
@pytest.mark.parametrize(
    "port", ["trainings.catalogue", "trainings.submit", "trainings.register", "endpoints.create_endpoint", "endpoints.ask"]
)
def test_what_azure_quotes_in_an_error_is_told_without_the_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, port: str, said: str
) -> None:
    caplog.set_level(logging.DEBUG)
    story = Story(tmp_path)
    story.loop = replace(story.loop, ports=replace(story.loop.ports, announcer=TellsTheLog(story.world)))
    where, _, name = port.partition(".")
    monkeypatch.setattr(getattr(story.loop.ports, where), name, quoting(said))
    story.uploaded("shop/a.jsonl")
    story.run(timedelta(hours=6))

    told = everything_told(story, caplog)
    assert "c4n4ry" not in told
    assert "Asking Azure" in told
    assert "(hidden)" in told


@pytest.mark.parametrize("port", ["trainings.catalogue", "trainings.job"], ids=["in a step", "in a look"])
def test_an_error_that_nobody_expected_is_logged_with_its_traceback_and_without_the_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, port: str
) -> None:
    caplog.set_level(logging.DEBUG)
    story = Story(tmp_path)
    where, _, name = port.partition(".")

    def broken(*_: object, **__: object) -> None:
        try:
            raise KeyError(SAID[0])
        except KeyError as cause:
            raise RuntimeError(f"{SAID[1]}\n{SAID[2]}") from cause

    monkeypatch.setattr(getattr(story.loop.ports, where), name, broken)
    story.uploaded("shop/a.jsonl")
    story.run(timedelta(hours=1))

    assert "Traceback (most recent call last)" in caplog.text
    assert "in broken" in caplog.text
    assert "c4n4ry" not in everything_told(story, caplog)


def test_no_secret_of_the_environment_is_told_whatever_is_uploaded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    story = Story(tmp_path)
    story.loop = replace(story.loop, ports=replace(story.loop.ports, announcer=TellsTheLog(story.world)))
    for name, content in FILES.items():
        story.uploaded(f"{name.replace('.', '-')}/{name}", content)
    story.run(timedelta(hours=3))

    assert len(story.world.records) > len(FILES)
    assert "c4n4ry" not in everything_told(story, caplog)


def everything_told(story: Story, caplog: pytest.LogCaptureFixture) -> str:
    """What people and other programs see: log with its tracebacks, announcements, messages, records, and all prepared files."""
    world = story.world
    kept = [str(body) for body, _ in world.records.values()]
    return "\n".join([caplog.text, *map(str, world.changes), *map(str, world.queue), *kept, str(world.prepared)])


def test_the_process_that_reads_a_hostile_file_has_none_of_our_environment(tmp_path: Path) -> None:
    given = child._environment(tmp_path)

    assert "c4n4ry" not in str(given)
    assert not SECRETS.keys() & given.keys()


@pytest.mark.parametrize("said", SAID, ids=lambda said: said[:20])
def test_what_a_job_or_a_models_log_quotes_is_read_without_the_secret(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    asked = jobs.Jobs.__new__(jobs.Jobs)
    monkeypatch.setattr(jobs.Jobs, "mlflow_address", ("https://x", "/y"))
    monkeypatch.setattr(jobs.Jobs, "runs", None)
    monkeypatch.setattr(clients, "get_json", lambda *_, **__: {"error": {"error": {"message": f"User program failed:\n{said}"}}})
    log = SimpleNamespace(online_deployments=SimpleNamespace(get_logs=lambda **_: f"Starting\n{said}\nKilled"))
    monkeypatch.setattr(AzureMlEndpoints, "_workspace", log)
    endpoints = AzureMlEndpoints.__new__(AzureMlEndpoints)

    for text in (asked._failure("ft-0123456789ab-a1"), endpoints.log_tail("e", "d")):
        assert "c4n4ry" not in text
        assert "(hidden)" in text
        assert text.isprintable()


@pytest.mark.parametrize("cut_off", [6, len("AccountKey="), len("AccountKey=") + 4])
def test_a_secret_where_the_log_of_a_model_is_cut_is_hidden(monkeypatch: pytest.MonkeyPatch, cut_off: int) -> None:
    said = f"AccountKey={CANARY};"
    log = said + "x" * (LOG_CHARACTERS_MAX - len(said) + cut_off)
    monkeypatch.setattr(AzureMlEndpoints, "_workspace", SimpleNamespace(online_deployments=SimpleNamespace(get_logs=lambda **_: log)))

    told = AzureMlEndpoints.__new__(AzureMlEndpoints).log_tail("e", "d")

    assert CANARY[4:] not in told
    assert len(told) <= LOG_CHARACTERS_MAX


@pytest.mark.parametrize("spare", [1, 8])
def test_a_password_where_an_answer_is_cut_is_hidden(spare: int) -> None:
    address = f"https://me:{CANARY.replace('/', '-')}@acc.example/"
    begin = "x" * (TEXT_LENGTH_MAX - address.index("@") + spare - 1)

    assert "c4n4ry" not in text_of(HttpResponseError(f"{begin} {address}"))


def refusals() -> Iterator[Callable[[], object]]:
    """Yield what fails over settings that hold a secret where none belongs."""
    from shared.cloud import addresses, announcer, storage

    yield lambda: app_settings.read({"IDLE_AFTER": "x", **SECRETS})
    yield lambda: addresses.checked("https://me:c4n4ry@acc.blob.core.windows.net", local=False, what="Blob storage")
    yield lambda: announcer.announcer(f"https://t.example/api/events?aeg-sas-key={CANARY}", None, source="s", local=False)  # type: ignore[arg-type]
    for text in (SECRETS["DATASETS"], SECRETS["DATASETS"].replace("https;", "http;")):
        account = storage.Account(app_settings.Connection(connection_string=text), None, local=True)  # type: ignore[arg-type]
        yield lambda account=account: account.container("datasets")  # type: ignore[misc]


@pytest.mark.parametrize("number", range(5))
def test_a_wrong_setting_is_named_without_what_it_holds(number: int) -> None:
    with pytest.raises(WrongSettings) as refused:
        list(refusals())[number]()

    assert "c4n4ry" not in str(refused.value)


def test_a_service_that_cannot_be_reached_is_named_without_its_address() -> None:
    with pytest.raises(TuneloopError) as refused, translated("Asking Azure"):
        raise ServiceRequestError(SAID[0])

    assert "c4n4ry" not in str(refused.value)
