"""
Azurite keeps blobs and queues on this laptop: found, started on ports of its own, waited for, stopped.

Node.js runs its script directly, so the pid is the server's. It listens on 127.0.0.1 only and sends no telemetry.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from localcloud import listeners, node, processes

ROOT = Path(__file__).resolve().parents[1]
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # public, the same everywhere
READY_WITHIN_S = 30.0  # 0.7 to 1.3 s measured; a busy laptop takes longer


class AzuriteMissing(Exception):
    """Azurite or a Node.js that can run it is not installed; the text says how to get it."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    blob: int = 10000
    queue: int = 10001
    table: int = 10002

    def all(self) -> list[int]:
        return [self.blob, self.queue, self.table]


def find(given: str | Path | None = None) -> Path:
    """Azurite's script: the one given, the project's own, $TUNELOOP_AZURITE or $AZURITE, then the PATH."""
    candidates = [
        given,
        ROOT / "node_modules/.bin/azurite",
        os.environ.get("TUNELOOP_AZURITE"),
        os.environ.get("AZURITE"),
        shutil.which("azurite"),
    ]
    for candidate in candidates:
        if candidate and Path(candidate).exists():
            return Path(candidate).resolve()
    raise AzuriteMissing(
        "Azurite is not installed. Run `npm ci` in the project's folder (`python3 dev.py` does), or name its script in TUNELOOP_AZURITE."
        + (f" ({given} does not exist.)" if given else "")
    )


def connection_string(ports: Ports = Ports()) -> str:
    """The explicit form: no SDK has to know what UseDevelopmentStorage means, and ports can be chosen."""
    hosts = (("Blob", ports.blob), ("Queue", ports.queue), ("Table", ports.table))
    endpoints = "".join(f"{name}Endpoint=http://127.0.0.1:{port}/{ACCOUNT};" for name, port in hosts)
    return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};{endpoints}"


def command(data: Path, ports: Ports, script: str | Path | None = None) -> list[str]:
    """What starts it; its files go below `data`."""
    found = find(script)
    try:
        runner = node.find()
    except node.NodeMissing as error:
        raise AzuriteMissing(str(error)) from None
    listening = [
        *("--blobHost", "127.0.0.1", "--blobPort", str(ports.blob)),
        *("--queueHost", "127.0.0.1", "--queuePort", str(ports.queue)),
        *("--tableHost", "127.0.0.1", "--tablePort", str(ports.table)),
    ]
    location = data / "azurite"
    return [str(runner), str(found), "--silent", "--disableTelemetry", "--skipApiVersionCheck", "--location", str(location), *listening]


class Azurite:
    """One running Azurite. Use it as a context, or call start and stop."""

    def __init__(self, data: Path, ports: Ports | None = None, script: str | Path | None = None) -> None:
        self.data, self.log = data, data / "logs/azurite.log"
        self.ports = ports or Ports(**dict(zip(("blob", "queue", "table"), processes.free_ports(3), strict=True)))
        self._script = script
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def connection_string(self) -> str:
        return connection_string(self.ports)

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> Self:
        self.data.mkdir(parents=True, exist_ok=True)
        self._process = processes.start(command(self.data, self.ports, self._script), log=self.log, environment=os.environ, cwd=self.data)
        try:
            processes.wait_ready("Azurite", self._process, self.answers, within_s=READY_WITHIN_S, log=self.log)
        except BaseException:
            self.stop()
            raise
        return self

    def answers(self) -> bool:
        """True if it, and nobody else, answers at its ports."""
        return all(map(processes.accepts, self.ports.all())) and listeners.ours(self.ports.all(), self.pid)

    def stop(self) -> None:
        if self._process is not None:
            processes.stop(self._process.pid)
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
