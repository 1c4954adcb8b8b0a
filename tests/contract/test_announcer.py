"""
One suite for the `Announcer` port: over the fake of the stories, over the log, and over the unmodified azure-eventgrid with
azure-identity, against the topic of an emulator that is a process of its own.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import socket
import ssl
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import pytest
from azure.core.credentials import AccessToken, AzureKeyCredential
from azure.core.messaging import CloudEvent
from azure.eventgrid import EventGridEvent, EventGridPublisherClient

import dev
from localcloud import certificates, processes
from shared import telemetry
from shared.cloud import clients
from shared.cloud.announcer import EventGridAnnouncer, LogAnnouncer, announcer
from shared.domain.record import Key, Kind
from shared.errors import WrongSettings
from shared.ports import Announcer, Change
from tests.journeys import fakes

APP = Path(dev.__file__).resolve().parent
READY_WITHIN_S = 40.0
SOURCE = "/subscriptions/s/resourceGroups/r/providers/Microsoft.MachineLearningServices/workspaces/w"
NOON = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
STOPPED = Change(
    key=Key(kind=Kind.TRAINING, id="0123456789ab"),
    at=NOON,
    stage="stopped",
    what="stopped",
    why="The job ended Failed.",
    next_action="Read its log in studio.",
)
LIVE = Change(
    key=Key(kind=Kind.SERVICE, id="5e5e5e5e5e5e"), at=NOON, stage="live", what="live", why="100 % of the traffic.", next_action=""
)


@dataclass(frozen=True, kw_only=True)
class Emulator:
    """Where the topics are, and what they accepted."""

    base: str
    folder: Path

    def endpoint(self, topic: str = "tuneloop") -> str:
        return f"{self.base}/topics/{topic}/api/events"

    def kept(self, topic: str = "tuneloop") -> list[dict[str, Any]]:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        with opener.open(f"{self.base}/_localcloud/topics/{topic}", timeout=10) as answer:
            return [one["event"] for one in json.load(answer)["events"]]

    def key(self, topic: str) -> AzureKeyCredential:
        return AzureKeyCredential(json.loads((self.folder / "events/topic-keys.json").read_text())[topic])


@pytest.fixture(scope="module")
def emulator(storage: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    folder = tmp_path_factory.mktemp("topics")
    environment, log = folder / "env", folder / "log"
    command = [sys.executable, "-m", "localcloud", "azureml", "--data", str(folder), "--port", "0", "--env", str(environment)]
    command += ["--storage", storage, "--topic", "alerts=EventGridSchema"]
    process = processes.start(command, log=log, environment=os.environ, cwd=APP)
    try:
        processes.wait_ready("the emulator", process, environment.exists, within_s=READY_WITHIN_S, log=log)
        with pytest.MonkeyPatch.context() as patch:
            for line in environment.read_text(encoding="utf-8").splitlines():
                verb, _, rest = line.partition(" ")
                name, _, value = rest.partition("=")
                if verb == "export":
                    patch.setenv(name, shlex.split(value)[0])
                else:
                    patch.delenv(name, raising=False)
            yield Emulator(base=os.environ["IDENTITY_ENDPOINT"].removesuffix("/msi/token"), folder=folder)
    finally:
        processes.stop(process.pid)
        process.wait()


class Audience(Protocol):
    """Whoever hears it."""

    announcer: Announcer

    def heard(self) -> list[str]:
        """Return a text for each announcement."""
        ...


class FakeAudience:
    def __init__(self) -> None:
        self.world = fakes.World()
        self.announcer: Announcer = fakes.FakeAnnouncer(self.world)

    def heard(self) -> list[str]:
        return [f"{one.key} {one.stage} {one.why} {one.next_action}" for one in self.world.changes]


class LogAudience:
    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "tuneloop.announce")
        self.caplog = caplog
        self.announcer: Announcer = LogAnnouncer()

    def heard(self) -> list[str]:
        return [record.getMessage() for record in self.caplog.records if record.name == "tuneloop.announce"]


class TopicAudience:
    def __init__(self, emulator: Emulator) -> None:
        self.emulator, self.before = emulator, len(emulator.kept())
        self.announcer: Announcer = announcer(emulator.endpoint(), clients.credential(), source=SOURCE, local=True)

    def heard(self) -> list[str]:
        return [json.dumps(event, ensure_ascii=False).replace('"', " ") for event in self.emulator.kept()[self.before :]]


@pytest.fixture(params=[pytest.param("fake", marks=pytest.mark.light), pytest.param("log", marks=pytest.mark.light), "topic"])
def audience(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Audience]:
    if request.param == "fake":
        yield FakeAudience()
    elif request.param == "log":
        yield LogAudience(caplog)
    else:
        made = TopicAudience(request.getfixturevalue("emulator"))
        yield made
        made.announcer.close()  # type: ignore[attr-defined]


def test_each_change_is_heard_once_with_its_record_its_stage_and_its_sentences(audience: Audience) -> None:
    audience.announcer.announce(STOPPED)
    audience.announcer.announce(LIVE)

    stopped, live = audience.heard()
    for word in ("training/0123456789ab", "stopped", "The job ended Failed.", "Read its log in studio."):
        assert word in stopped
    for word in ("service/5e5e5e5e5e5e", "live", "100 % of the traffic."):
        assert word in live


def test_many_turns_may_tell_at_once(audience: Audience) -> None:
    threads = [threading.Thread(target=audience.announcer.announce, args=(STOPPED,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(audience.heard()) == 6


# ------------------------------------------------------------------------------------------------------------- the topic


def test_what_reaches_the_topic_is_a_cloud_event_whose_id_follows_from_what_it_tells(emulator: Emulator) -> None:
    teller = announcer(emulator.endpoint(), clients.credential(), source=SOURCE, local=True)
    for change in (STOPPED, STOPPED, LIVE):
        teller.announce(change)
    teller.close()  # type: ignore[attr-defined]

    first, again, other = emulator.kept()[-3:]
    assert first.pop("id") == again["id"] != other["id"]
    assert first.pop("time").startswith("2026-11-24T12:00:00.123456")
    assert first == {
        "specversion": "1.0",
        "type": "Tuneloop.Training.Changed",
        "source": SOURCE,
        "subject": "training/0123456789ab",
        "data": {
            "kind": "training",
            "id": "0123456789ab",
            "stage": "stopped",
            "what": "stopped",
            "why": "The job ended Failed.",
            "next_action": "Read its log in studio.",
        },
    }


def test_the_stock_client_publishes_both_schemas_with_a_key(emulator: Emulator) -> None:
    with EventGridPublisherClient(emulator.endpoint("alerts"), emulator.key("alerts")) as client:
        client.send([EventGridEvent(subject="s", event_type="T", data={"a": 1}, data_version="1") for _ in range(2)])
    with EventGridPublisherClient(emulator.endpoint(), emulator.key("tuneloop")) as client:
        client.send(CloudEvent(source="/s", type="T", data=b"bytes"))

    assert [(one["eventType"], one["data"]) for one in emulator.kept("alerts")] == [("T", {"a": 1})] * 2
    assert emulator.kept()[-1]["data_base64"] == "Ynl0ZXM="


# ---------------------------------------------------------------------------------------------------- a topic that fails


class Key1:
    """A credential that needs nobody."""

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken("token", int(time.time()) + 3600)


@dataclass
class Bad:
    """A topic that answers with one status, or never."""

    port: int
    status: int | None
    asked: int = 0

    @property
    def endpoint(self) -> str:
        return f"https://localhost:{self.port}/api/events"


@pytest.fixture(params=[503, 429, 401, 400, 307, None], ids=str)
def bad(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bad]:
    files = certificates.ensure(tmp_path_factory.mktemp("bad"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(files.bundle))
    monkeypatch.setenv("NO_PROXY", "localhost")
    done = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            state.asked += 1
            self.rfile.read(int(self.headers["Content-Length"]))
            if state.status is None:
                done.wait(READY_WITHIN_S)
                return
            self.send_response(state.status)
            for name, value in {"Retry-After": "3600", "Location": "https://localhost:9/", "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    state = Bad(port=server.server_port, status=request.param)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield state
    done.set()
    server.shutdown()
    server.server_close()


def test_a_topic_that_fails_costs_a_bounded_time_once_a_minute_and_never_raises(bad: Bad, caplog: pytest.LogCaptureFixture) -> None:
    """Method: a clock of its own, so that the minute passes at once; the log has to hold every change all the same, and nothing else."""
    telemetry.set_up()
    caplog.set_level(logging.INFO, "tuneloop.announce")
    now = [NOON]
    teller = EventGridAnnouncer(bad.endpoint, Key1(), source=SOURCE, local=True, clock=lambda: now[0], within_seconds=1.0)

    began = time.monotonic()
    teller.announce(STOPPED)
    teller.announce(STOPPED)
    took = time.monotonic() - began
    asked_within_the_minute = bad.asked
    now[0] += timedelta(minutes=1)
    teller.announce(LIVE)
    teller.close()

    texts = [record.getMessage() for record in caplog.records]
    assert took < 3.0
    assert (asked_within_the_minute, bad.asked) == (1, 2)
    assert [text.rpartition("action=")[2] for text in texts] == [
        "announced",
        "announce_failed",
        "announced",
        "announced",
        "announce_failed",
    ]
    assert ("TimeoutError" if bad.status is None else f", {bad.status})") in texts[1]  # no retry was waited for, no redirect followed
    assert "token" not in " ".join(texts)


def test_a_topic_that_is_not_there_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        teller = EventGridAnnouncer(f"https://localhost:{free.getsockname()[1]}/", Key1(), source=SOURCE, local=True)
        teller.announce(STOPPED)
        teller.close()

    assert "action=announce_failed" in caplog.text


@pytest.mark.light
@pytest.mark.parametrize(
    ("endpoint", "local", "words"),
    [
        ("https://tuneloop.westeurope-1.eventgrid.azure.net/api/events", True, "is not on this machine"),
        ("https://localhost:8443/topics/tuneloop/api/events", False, "is this machine"),
        ("http://localhost:8443/topics/tuneloop/api/events", True, "over https only"),
        ("https://localhost/api/events?code=secret", True, "may hold a key"),
        ("https://me:secret@localhost/api/events", True, "holds a user name or password"),
    ],
)
def test_an_address_that_cannot_be_is_refused_when_the_client_is_built(endpoint: str, local: bool, words: str) -> None:
    with pytest.raises(WrongSettings, match=words) as wrong:
        announcer(endpoint, Key1(), source=SOURCE, local=local)

    assert "secret" not in str(wrong.value)


@pytest.mark.light
def test_without_an_address_only_the_log_is_told() -> None:
    assert isinstance(announcer("", Key1(), source=SOURCE, local=False), LogAnnouncer)
