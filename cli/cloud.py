"""
A running local cloud as the command line sees it: its state file, its addresses, its ledger.

Only what a user of real Azure could see as well is read here (blobs, endpoints over HTTP), except for the emulator's own
counters under `/_localcloud`, which stand in for a bill.
"""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".localcloud"
START_WITHIN_S = 120
STOP_WITHIN_S = 20
TOPIC = "tuneloop"  # where the local cloud lets the app announce
ML_RESOURCE = "https://ml.azure.com"


class CloudFailed(Exception):
    """The local cloud did not start or went away; the text says why and where the log is."""

    def __init__(self, text: str, exit_code: int = 1) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@dataclass(frozen=True, kw_only=True)
class Running:
    """The state file of `python -m localcloud up`, and the folder that it works in."""

    data: Path
    state: dict[str, Any]

    @property
    def settings(self) -> dict[str, str]:
        return {str(name): str(value) for name, value in self.state.get("settings", {}).items()}

    @property
    def azureml(self) -> str:
        return f"https://localhost:{self.state['azureml']['port']}"

    @property
    def functions_log(self) -> Path:
        return Path(self.state["functions"]["log"])

    @property
    def ca(self) -> Path:
        return self.data / "ca.pem"

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    def shown(self) -> dict[str, Any]:
        """Return the emulator's own counters: jobs, endpoints, events."""
        state: dict[str, Any] = json.loads(fetched(f"{self.azureml}/_localcloud/state", context=self.context))
        return state

    def announced(self) -> list[dict[str, Any]]:
        """Return what the app announced, as CloudEvents, read back from the topic."""
        answer = fetched(f"{self.azureml}/_localcloud/topics/{TOPIC}", context=self.context)
        return [dict(one["event"]) for one in json.loads(answer)["events"]]

    def token(self) -> str:
        """Return a token with which an endpoint can be called, as a managed identity would get it."""
        url = f"{self.azureml}/msi/token?api-version=2019-08-01&resource={ML_RESOURCE}"
        header = {"X-IDENTITY-HEADER": self.settings.get("IDENTITY_HEADER", "local")}
        return str(json.loads(fetched(url, context=self.context, headers=header))["access_token"])


def running() -> Running | None:
    """Return the newest local cloud of this project that is alive, None if there is none."""
    states = sorted(HOME.glob("**/state.json"), key=lambda path: path.stat().st_mtime, reverse=True) if HOME.exists() else []
    return next((found for path in states if (found := running_in(path.parent))), None)


def running_in(folder: Path) -> Running | None:
    """Return the local cloud that works in `folder`, None if none answers."""
    with suppress(OSError, ValueError, KeyError):
        found = Running(data=folder, state=json.loads((folder / "state.json").read_text("utf-8")))
        found.shown()
        return found
    return None


def fetched(
    url: str,
    *,
    context: ssl.SSLContext | None = None,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    seconds: float = 60,
) -> bytes:
    """GET, or POST when there is a body, past any proxy: everything is on this machine."""
    request = urllib.request.Request(url, data=body, headers=headers or {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(request, timeout=seconds) as response:
        answer: bytes = response.read()
    return answer


class Started:
    """A local cloud that this command started and will stop; usable in `with`."""

    def __init__(self, data: Path, arguments: Sequence[str]) -> None:
        self.data = data
        self.log = data / "logs" / "up.log"
        self._state = data / "state.json"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Running:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "localcloud", "up", "--data", str(self.data), "--state", str(self._state), *self._arguments]
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
        try:
            self._wait()
            return Running(data=self.data, state=json.loads(self._state.read_text("utf-8")))
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_WITHIN_S
        while not self._state.exists():
            code = self._process.poll()
            if code is not None:
                raise CloudFailed(f"The local cloud did not start:\n{self._tail()}\nIts log: {self.log}", 4 if code == 4 else 1)
            if time.monotonic() > deadline:
                raise CloudFailed(f"The local cloud was not ready within {START_WITHIN_S} s. Its log: {self.log}")
            time.sleep(0.1)

    def _tail(self) -> str:
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-15:])

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Ask it to stop everything that it started; it does so in order."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()


def clean_environment() -> None:
    """Take away what would steer the SDKs of this process elsewhere."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        os.environ.pop(name, None)


def counted(log: Path, actions: Iterable[str]) -> dict[str, int]:
    """Return how often each action word stands in the app's log (the host writes them as `action=word`)."""
    text = log.read_text("utf-8", "replace") if log.exists() else ""
    return {action: len(re.findall(rf"\baction={re.escape(action)}\b", text)) for action in actions}
