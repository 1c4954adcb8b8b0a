"""
A running local cloud whose app reaches it through our proxies, and whose processes can be killed.

The app is a copy of the shipped one, in a temporary folder. Three of its texts are others there, so that a loop ends within seconds and
not within minutes: `functionTimeout`, the rest of a failed message, and the margin from which leases and the rest of a name follow. A
deliberate bug is one text more.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli.cloud import ROOT
from localcloud import azurite, certificates, processes, web
from localcloud import up as local_cloud
from tests.localcloud.hosts import family
from tests.loop.conftest import FAKE_TRAINER, App, started
from tests.processes import bugs, plan
from tests.processes.proxy import Proxy, Storm

SHIPPED = ("function_app.py", "host.json", "requirements.txt", "shared")
SHORTER = (
    ("host.json", '"functionTimeout": "00:10:00"', '"functionTimeout": "00:00:20"'),
    ("host.json", '"visibilityTimeout": "00:01:00"', '"visibilityTimeout": "00:00:01"'),
    ("shared/settings.py", "FUNCTION_TIMEOUT_MARGIN = timedelta(minutes=2)", "FUNCTION_TIMEOUT_MARGIN = timedelta(seconds=5)"),
)
SETTINGS = {
    "BASE_MODEL": "Phi-4",
    "TICK": "00:00:02",
    "LOOK_AGAIN_SCHEDULE": "*/2 * * * * *",
    "TEAR_DOWN_SCHEDULE": "*/1 * * * * *",
    "IDLE_AFTER": "00:00:02",
    "IDLE_GRACE": "00:00:00",
    "METRIC_LAG": "00:00:01",
    "PROBATION": "00:00:02",
    "JOBS_AT_ONCE_MAX": "20",
    "JOBS_PER_DAY_MAX": "100000",  # all loops are one day
}
WORKER = "localcloud.functions.worker_process"


DEAD_S = (0.1, 1.5)  # that the host stays dead


class Stage:
    """One local cloud, its app, and the storm between them."""

    def __init__(self, app: App, storm: Storm) -> None:
        self.app, self.storm = app, storm
        self._restarts = threading.Lock()
        self._reviving: list[threading.Thread] = []

    def host(self) -> int:
        return int(local_cloud.Record.read(self.app.running.data).parts["functions"].pid)

    def kill(self, who: str) -> None:
        """kill -9 the host or its worker, in the middle of whatever it is doing. The host starts its worker again, and we the host."""
        host = self.host()
        for pid in [host] if who == "host" else [pid for pid in family(host) if _is_worker(pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if who == "host":
            thread = threading.Thread(target=self.revive, args=(random.uniform(*DEAD_S),), name="revive")
            self._reviving.append(thread)
            thread.start()

    def revive(self, after_s: float = 0.0) -> None:
        """Start the host again if it is dead."""
        time.sleep(after_s)
        with self._restarts:
            if not self.lives():
                with contextlib.suppress(subprocess.SubprocessError):  # `up` was quicker; whoever waits looks again
                    self.app.restart_functions()

    def lives(self) -> bool:
        part = local_cloud.Record.read(self.app.running.data).parts["functions"]
        return processes.alive(part.pid, part.began)

    def settle(self) -> None:
        """Wait until nobody starts the host any more."""
        for thread in self._reviving:
            thread.join()
        self._reviving.clear()


@contextmanager
def staged(folder: Path, *, bug: str = "") -> Iterator[Stage]:
    """Start a cloud below `folder` with the app in it, this bug planted in the app; stop everything at the end."""
    app_folder, data = copied(folder / "app", bug), folder / "cloud"
    ports = dict(zip(("blob", "queue", "table", "azureml", "functions"), processes.free_ports(5), strict=True))
    files = certificates.ensure(data)
    stage: list[Stage] = []
    storm = Storm(lambda who: stage[0].kill(who) if stage else None)
    with contextlib.ExitStack() as opened:
        blob, queue = (Proxy(via, ports[via], storm) for via in (plan.BLOB, plan.QUEUE))
        azureml = Proxy(
            plan.AZUREML,
            ports["azureml"],
            storm,
            served=web.tls(files.certificate, files.key),
            trusted=lambda: ssl.create_default_context(cafile=str(files.ca)),
        )
        for proxy in (blob, queue, azureml):
            opened.callback(proxy.stop)
        through = azurite.connection_string(azurite.Ports(blob=blob.port, queue=queue.port, table=ports["table"]))
        direct = azurite.connection_string(azurite.Ports(**{name: ports[name] for name in ("blob", "queue", "table")}))
        words = [word for name, port in ports.items() for word in ("--port", f"{name}={port}")]
        words += ["--app", str(app_folder), "--trainer", FAKE_TRAINER, "--nodes", "8", "--pace", "0.05"]
        settings = {**SETTINGS, **_addresses(azureml.port), "AzureWebJobsStorage": through, "DATASETS": through}
        app = opened.enter_context(started(data, folder / "traffic.jsonl", *words, **settings))
        state = {**app.running.state, "settings": {**app.running.settings, "AzureWebJobsStorage": direct, "DATASETS": direct}}
        stage.append(Stage(App(replace(app.running, state=state), app.traffic), storm))
        try:
            yield stage[0]
        finally:
            storm.end()
            stage[0].settle()


def copied(folder: Path, bug: str = "") -> Path:
    """Return a copy of the app with the shorter times and, if one is named, the bug."""
    folder.mkdir(parents=True)
    for name in SHIPPED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    for file, old, new in SHORTER:
        bugs.replace_once(folder / file, old, new)
    if bug:
        bugs.planted(bug, folder)
    return folder


@contextmanager
def temporary_folder(kept: Path | None = None) -> Iterator[Path]:
    """Give a folder that is gone afterwards; or `kept`, which is not."""
    if kept:
        kept.mkdir(parents=True)
        yield kept.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="tuneloop-processes-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _addresses(port: int) -> dict[str, Any]:
    base = f"https://localhost:{port}"
    return {
        "ARM_CLOUD_METADATA_URL": f"{base}/metadata/endpoints?api-version=2019-05-01",
        "REGISTRY_DISCOVERY_ENDPOINT_URL": f"{base}/",
        "IDENTITY_ENDPOINT": f"{base}/msi/token",
        "ANNOUNCE_TOPIC_ENDPOINT": f"{base}/topics/tuneloop/api/events",
    }


def _is_worker(pid: int) -> bool:
    try:
        return WORKER.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
