"""
The whole thing as it is shipped: Azurite, the Azure ML emulator, Event Grid and the functions host as processes of their
own, the app behind its doors, the unmodified SDKs in between. One local cloud serves all tests of this folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.cloud import ROOT, Running, Started, fetched

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
}
WITHIN_S = 120  # of any one thing on a loaded machine; typical are 5 to 20
QUICK = {"max_steps": 5}  # a folder's wishes: a job that only goes through its states


class App:
    """One running local cloud with the app in it, as a test speaks to it."""

    def __init__(self, running: Running) -> None:
        from cli.ledger import Records

        self.running = running
        self.records = Records(running)

    @property
    def host(self) -> str:
        return f"http://127.0.0.1:{self.running.state['functions']['port']}"

    @property
    def uploads(self) -> Any:
        return self.records.datasets._uploads

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
        plan = {"faults": [{"fault": kind, **given}]}
        fetched(f"{self.running.azureml}/_localcloud/faults", context=self.running.context, body=json.dumps(plan).encode())

    def publish(self, topic: str, event: dict[str, Any]) -> int:
        """Let Event Grid deliver this event, whatever it says; return to how many subscriptions it goes."""
        body = json.dumps({"topic": topic, "event": event}).encode()
        answer = fetched(f"{self.running.azureml}/_localcloud/events", context=self.running.context, body=body)
        return int(json.loads(answer)["subscriptions"])

    def shown(self) -> dict[str, Any]:
        return self.running.shown()

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


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    data: Path = tmp_path_factory.mktemp("a cloud")
    arguments = ["--ports", "auto", "--metric-grain", "1", "--message-lease", "5", "--settings", str(ROOT / "local.settings.json.example")]
    for name, value in SETTINGS.items():
        arguments += ["--set", f"{name}={value}"]
    with Started(data, arguments) as running:
        yield App(running)
