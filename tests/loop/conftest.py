"""
The whole thing as it is shipped: Azurite, the Azure ML emulator, Event Grid and the functions host as processes of their
own, the app behind its doors, the unmodified SDKs in between.

One local cloud (`app`) trains for real. Another (`quick`) has a trainer that only pretends, so that many loops fit into a minute: what
Azure may be like, and what may go wrong there, is played in it. What they say is recorded.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.cloud import ROOT, Running, Started, fetched
from tests.canaries import ENVIRONMENT as SECRETS

SETTINGS = {
    "LOOK_EVERY": "00:00:01",
    "TICK": "00:00:10",
    "IDLE_AFTER": "00:00:06",
    "IDLE_GRACE": "00:00:03",
    "ENDPOINT_KEPT_FOR": "00:00:00",
    "METRIC_GRAIN": "00:00:01",
    "METRIC_LAG": "00:00:02",
    "LOOK_AGAIN_SCHEDULE": "*/5 * * * * *",
    "TEAR_DOWN_SCHEDULE": "*/2 * * * * *",
    "DELETIONS_PER_TICK_MAX": "10",
    "PROBATION": "00:00:20",
    "JOBS_AT_ONCE_MAX": "20",
    "JOBS_PER_DAY_MAX": "1000",  # all tests of a folder are one day
}
WITHIN_S = 240  # of any one thing on a loaded machine; typical are 5 to 20
FAKE_TRAINER = shlex.join([sys.executable, str(ROOT / "tests" / "contract" / "azureml" / "fake_trainer.py")])
DEADLINE = "00:01:00"  # of a job and of a deployment in the quick cloud
QUICK = {"max_steps": 5}  # a folder's wishes: a job that only goes through its states


LOOK = """
import os, sys
from azure.ai.ml import MLClient
from azure.identity import DefaultAzureCredential
me = DefaultAzureCredential()
client = MLClient(me, *(os.environ[name] for name in ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZUREML_WORKSPACE")))
endpoint, deployment, model, version = sys.argv[1:]
print("deployment", client.online_deployments.get(deployment, endpoint_name=endpoint).model.split("/")[-1])
print("model", client.models.get(model, version=version).tags["tuneloop-training"], [one.version for one in client.models.list(model)])
"""


class App:
    """One running local cloud with the app in it, as a test speaks to it."""

    def __init__(self, running: Running, traffic: Path) -> None:
        from cli.ledger import Records

        self.running = running
        self.records = Records(running)
        self.traffic = traffic  # where all that the emulator is asked is written down

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self.running.state['functions']['port']}"

    @property
    def uploads(self) -> Any:
        return self.records.datasets._uploads

    def written(self) -> list[bytes]:
        """Return all that the app wrote into its two containers."""
        containers = (self.records.ledger._container, self.records._prepared)
        return [one.download_blob(blob.name).readall() for one in containers for blob in one.list_blobs() if blob.size]

    def upload(self, path: str, content: bytes, *, wishes: dict[str, Any] | None = None) -> str:
        """Upload as an owner would, with a quick recipe beside it; return the tuning's id."""
        folder = path.rpartition("/")[0]
        self.uploads.upload_blob(f"{folder}/_recipe.json", json.dumps(QUICK if wishes is None else wishes), overwrite=True)
        self.uploads.upload_blob(path, content, overwrite=True)
        upload = self.records.datasets.head(path)
        assert upload is not None
        return upload.id

    def record(self, tuning: str, kind: str) -> Any:
        return next((r for r in self.records.of(tuning) if r.kind == kind), None)

    def until(self, tuning: str, kind: str, *stages: str) -> Any:
        """Wait until that record is in one of these stages, and return it."""

        def there() -> Any:
            found = self.record(tuning, kind)
            return found if found is not None and found.stage in stages else None

        return waited(there, lambda: f"{kind} of {tuning} is not in {stages}: {self.record(tuning, kind)}")

    def post(self, function: str, events: Any) -> int:
        """Deliver events as Event Grid does, and return the status."""
        request_headers = {"aeg-event-type": "Notification", "Content-Type": "application/json"}
        url = f"{self.host}/runtime/webhooks/EventGrid?functionName={function}"
        try:
            fetched(url, headers=request_headers, body=json.dumps(events).encode())
        except OSError as error:
            return int(getattr(error, "code", 0))
        return 202

    def fault(self, kind: str, **given: Any) -> None:
        """Let this go wrong next."""
        self.command("faults", {"faults": [{"fault": kind, **given}]})

    def command(self, what: str, body: dict[str, Any]) -> Any:
        """Steer the emulator: POST /_localcloud/<what>."""
        return json.loads(
            fetched(f"{self.running.azureml}/_localcloud/{what}", context=self.running.context, body=json.dumps(body).encode())
        )

    def ask(self, scoring_uri: str, question: str = "Where is it?") -> Any:
        """Ask a model over HTTP as its user would, and return its reply as it came."""
        body = {"input_data": {"input_string": [{"role": "user", "content": question}]}}
        headers = {"Authorization": f"Bearer {self.running.token()}", "Content-Type": "application/json"}
        return json.loads(fetched(scoring_uri, context=self.running.context, headers=headers, body=json.dumps(body).encode()))

    def publish(self, topic: str, event: dict[str, Any]) -> int:
        """Let Event Grid deliver this event, whatever it says; return to how many subscriptions it goes."""
        body = json.dumps({"topic": topic, "event": event}).encode()
        answer = fetched(f"{self.running.azureml}/_localcloud/events", context=self.running.context, body=body)
        return int(json.loads(answer)["subscriptions"])

    def shown(self) -> dict[str, Any]:
        return self.running.shown()

    def job_of(self, path: str, content: bytes, recipe: Any) -> str:
        """Return what the first job for this upload will be called: names follow from what they are for."""
        from shared import prepare
        from shared.domain import names
        from shared.prepare.folder import FolderPlace

        owner, folder = self.records.ledger.owner(), Path(tempfile.mkdtemp(dir=self.running.data))
        file = folder / Path(path).name
        file.write_bytes(content)
        options = prepare.Options(salt=owner)
        ready = prepare.prepare([prepare.source_of_file(file)], FolderPlace(folder / "out"), options=options, workdir=folder)
        assert isinstance(ready, prepare.Prepared)
        return names.job(names.training_id(owner, ready.content_sha256, recipe.frozen), 1)

    def look_with_the_sdk(self, live: Any, model: str, version: str) -> str:
        """Look at what serves, as a person would: the unmodified SDK in a shell that has read the env file. It is used meanwhile."""
        words = [live.endpoint, live.live.name, model, version]
        command = f". {shlex.quote(str(self.running.data / 'env'))}; exec {shlex.join([sys.executable, '-c', LOOK, *words])}"
        with subprocess.Popen(["sh", "-ec", command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as shell:
            while shell.poll() is None:
                self.ask(live.scoring_uri)
                time.sleep(0.5)
            assert shell.stdout is not None
            return shell.stdout.read()

    def restart_functions(self) -> None:
        command = [sys.executable, "-m", "localcloud", "restart", "functions", "--data", str(self.running.data)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=WITHIN_S)
        self.running = Running(data=self.running.data, state=json.loads((self.running.data / "state.json").read_text("utf-8")))

    def log(self) -> str:
        return self.running.functions_log.read_text("utf-8", "replace")


def waited(there: Callable[[], Any], otherwise: Callable[[], str], *, within_s: float = WITHIN_S) -> Any:
    """Return the first true value of `there`, asked again and again; fail with `otherwise` after a deadline."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = there()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(otherwise())


@contextmanager
def started(data: Path, traffic: Path, *arguments: str, **settings: str) -> Iterator[App]:
    """Start a local cloud with short waits, the app in it, and its traffic recorded."""
    words = ["--ports", "auto", "--metric-grain", "1", "--message-lease", "5", "--traffic", str(traffic), *arguments]
    words += ["--settings", str(ROOT / "local.settings.json.example")]
    for name, value in {**SETTINGS, **SECRETS, **settings}.items():
        words += ["--set", f"{name}={value}"]
    with Started(data, words) as running:
        yield App(running, traffic)


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory, recording: Callable[[str], Path]) -> Iterator[App]:
    with started(tmp_path_factory.mktemp("a cloud"), recording("loop")) as running:
        yield running


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory, recording: Callable[[str], Path]) -> Iterator[App]:
    """A cloud for many loops at once, on Phi-4; its deadlines are short, and beyond what a loaded machine needs."""
    arguments = ["--trainer", FAKE_TRAINER, "--nodes", "8", "--world", "today"]
    waits = {
        "JOB_DEADLINE": DEADLINE,
        "DEPLOYMENT_DEADLINE": DEADLINE,
        "QUOTA_DEADLINE": "00:00:20",
        "IDLE_AFTER": "00:00:15",
        "BASE_MODEL": "Phi-4",
    }
    with started(tmp_path_factory.mktemp("quick"), recording("quick"), *arguments, **waits) as running:
        yield running


@pytest.fixture(scope="session")
def seed_world(tmp_path_factory: pytest.TempPathFactory, recording: Callable[[str], Path]) -> Iterator[App]:
    """A cloud of the time of Microsoft's tutorial, in which few bytes are too many for a function."""
    arguments = ["--trainer", FAKE_TRAINER, "--world", "seed"]
    with started(tmp_path_factory.mktemp("seed"), recording("seed"), *arguments, PREPARE_HERE_BYTES_MAX="1000") as running:
        yield running
