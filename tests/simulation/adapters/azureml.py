"""
What is outside of the local Azure ML, played: its clock, its dials, its trainers and model servers, its files in storage.

The core stays as it is: state machines, checks, answers. How long things take and how they end follows from the seed.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self
from unittest import mock

from localcloud.azureml import command_jobs, deployments, jobs, scoring
from localcloud.azureml.dials import Dials
from localcloud.azureml.wire import Response, answer
from localcloud.clocks import ManualClock
from localcloud.faults import KINDS, Fault, Faults
from tests.journeys.fakes import MODEL_FILES
from tests.simulation import standin
from tests.simulation.adapters.storage import Storage
from tests.simulation.azure import METRIC_LAG_MS, MINUTE, PICKLE
from tests.simulation.machine import NOON, Machine

MLMODEL = b"flavors: {python_function: {loader_module: mlflow.transformers}}\n"
MOVE_SECONDS = {"jobs": (5, 60), "endpoints": (40, 240), "deployments": (200, 900), "computes": (1, 2)}
METRICS_AWAY_MS = 20 * MINUTE  # for so long they are there or not


class Clock(ManualClock):
    """The time of the machine; a clock by hand, so tokens do not end."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(NOON)
        self._machine = machine

    def __call__(self) -> datetime:
        return self._machine.now()


class DrawnDials(Dials):
    """Every move takes its time."""

    def __init__(self, machine: Machine) -> None:
        super().__init__({})
        self._machine, self._moves = machine, 0

    def due(self, kind: str, now: datetime) -> datetime | None:
        self._moves += 1
        least, most = MOVE_SECONDS[kind]
        return now + timedelta(seconds=int(least + (most - least) * self._machine.chance("dial", kind, self._moves)))


class DrawnFaults(Faults):
    """What goes wrong inside of Azure ML, by the name of the thing that it hits."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self._machine = machine

    def take_any(self, kinds: Iterable[str], **about: str) -> Fault | None:
        given = self._drawn(frozenset(kinds), about)
        if given is None:
            return None
        kind, values = given
        assert set(values) <= set(KINDS[kind].parameters)
        self._machine.counts[kind] += kind != "metrics_late"
        return Fault(id=0, kind=kind, match={}, skip=0, times=0, chance=1.0, given=values)

    def _drawn(self, kinds: frozenset[str], about: dict[str, str]) -> tuple[str, dict[str, Any]] | None:
        chance, what = self._machine.chance, tuple(sorted(about.items()))
        if "job_failed" in kinds:
            return _one_of(
                chance("job ends", *what), ("job_failed", 0.08), ("job_canceled", 0.07), ("job_not_responding", 0.02), ("job_stuck", 0.03)
            )
        if "deployment_refused" in kinds:
            return _one_of(chance("quota", *what), ("deployment_refused", 0.02))
        if "deployment_failed" in kinds:
            return _one_of(chance("deployment", *what), ("deployment_failed", 0.07), ("deployment_failed_silently", 0.03))
        if "endpoint_failed" in kinds:
            number = self._machine.ms // MINUTE
            return _one_of(chance("endpoint", number, *what), ("endpoint_failed", 0.05), ("endpoint_locked", 0.04))
        if "scoring_failed" in kinds and not self._machine.healed:
            return _one_of(chance("cold", self._machine.ms, *what), ("scoring_failed", 0.08), ("scoring_throttled", 0.04))
        if "metrics_late" in kinds:
            return ("metrics_late", {"seconds": METRIC_LAG_MS / 1000})
        if "metrics_without_points" in kinds and not self._machine.healed:
            away = chance("metrics", self._machine.ms // METRICS_AWAY_MS) < self._machine.mix.metrics_out
            return ("metrics_without_points", {}) if away else None
        return None


def _one_of(drawn: float, *kinds: tuple[str, float]) -> tuple[str, dict[str, Any]] | None:
    for kind, rate in kinds:
        if drawn < rate:
            where = ("NotStarted", "Queued", "Running", "Finalizing")[int(drawn / rate * 4)]
            return kind, {"status": where} if kind == "job_stuck" else {}
        drawn -= rate
    return None


class Files:
    """The port `Storage` of the local Azure ML, over the same account that the app uses."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def fetch(self, container: str, blob: str, target: Path) -> bool:
        found = self._storage.containers.get(container, {}).get(blob)
        if found is not None:
            target.write_bytes(found.body)
        return found is not None

    def names(self, container: str, prefix: str) -> list[str]:
        return sorted(name for name in self._storage.containers.get(container, {}) if name.startswith(prefix))

    def put(self, container: str, blob: str, source: Path) -> None:
        self._storage.put(container, blob, source.read_bytes())


class Servers:
    """The trainers and model servers of one history, which are no processes."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.asked: list[tuple[str, str]] = []  # job of the model and shape of its replies, by port

    def child(self, command: Sequence[str], folder: Path) -> Process:
        return Process(self, command, folder)

    def command(self, line: str, code: Path, *, log: Path, environment: Mapping[str, str]) -> Command:
        return Command(self, line, code, log=log, environment=environment)

    def is_good(self, job: str) -> bool:
        return self.machine.chance("model", job) > 0.12

    def forward(self, _body: bytes, port: int, _timeout: float) -> Response:
        """Answer as the model server at this port does."""
        job, shape = self.asked[port - 1]
        if not self.is_good(job):
            return answer({})
        text = "It is in hall 3."
        shapes: dict[str, Any] = {"records": [{"0": text}], "list": [text], "output": {"output": text}}
        return answer(shapes[shape])


class Process:
    """In the place of a child process of the local Azure ML."""

    def __init__(self, servers: Servers, command: Sequence[str], folder: Path) -> None:
        self._machine, self._killed, self._is_written = servers.machine, False, False
        self._ends_ms: int | None = None  # None: it serves until it is killed
        if "train" in command:
            self._order = json.loads(Path(command[-1]).read_text("utf-8"))
            self._job = folder.name
            self._ends_ms = self._machine.ms + int((6 + 20 * self._machine.chance("job lasts", self._job)) * MINUTE)
            Path(self._order["metrics"]).write_text(
                json.dumps({"name": "eval_loss", "value": 1.25, "step": 1, "timestamp_ms": 0}) + "\n", "utf-8"
            )
        else:
            given = dict(zip(command[2::2], command[3::2], strict=False))
            servers.asked.append((Path(given["--model"]).parent.name, given["--reply"]))
            Path(given["--ready"]).write_text(json.dumps({"port": len(servers.asked)}), "utf-8")

    @property
    def exit_code(self) -> int | None:
        if self._killed:
            return -9
        if self._ends_ms is None or self._machine.ms < self._ends_ms:
            return None
        if not self._is_written:
            self._is_written = True
            self._write_model(Path(self._order["out"]))
        return 0

    @property
    def running(self) -> bool:
        return self.exit_code is None

    def kill(self) -> None:
        self._killed = True

    def wait(self) -> None:
        """It is gone."""

    def log_tail(self, lines: int = 20) -> str:
        return "weights do not load"[: lines * 80]

    def reason(self) -> tuple[str, str]:
        return "SystemError", "The process was killed by signal 9."

    def _write_model(self, out: Path) -> None:
        pickled = self._machine.chance("model is pickled", self._job) < 0.06
        for name in (*MODEL_FILES, PICKLE) if pickled else MODEL_FILES:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(MLMODEL if name == "MLmodel" else b"")


class Command(Process):
    """In the place of a command with all that it starts: a preparation, by what is known of each content."""

    def __init__(self, servers: Servers, _line: str, code: Path, *, log: Path, environment: Mapping[str, str]) -> None:
        self._machine, self._killed, self._is_written = servers.machine, False, False
        self._out = Path(environment["AZURE_ML_OUTPUT_out"])
        self._upload, self._asked = Path(environment["AZURE_ML_INPUT_file_0"]), Path(environment["AZURE_ML_INPUT_order"])
        lasts = 3 + 9 * self._machine.chance("preparation lasts", environment["AZUREML_RUN_ID"])
        self._ends_ms = self._machine.ms + int(lasts * MINUTE)

    @property
    def exit_code(self) -> int | None:
        if self._killed:
            return -9
        if self._ends_ms is None or self._machine.ms < self._ends_ms:
            return None
        written = standin.carried_out(json.loads(self._asked.read_bytes()), self._upload.read_bytes())
        for name, body in (written or {}).items():
            (self._out / name).parent.mkdir(parents=True, exist_ok=True)
            (self._out / name).write_bytes(body)
        return 1 if written is None else 0


class AtOnce:
    """In the place of a pool of threads: what is submitted is done before `submit` returns."""

    def __init__(self, *_: Any, **__: Any) -> None:
        return

    def submit(self, work: Callable[..., Any], *given: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*given, **named))
        except Exception as error:  # noqa: BLE001 - whoever asks for the result gets it
            future.set_exception(error)
        return future

    def shutdown(self, **_: Any) -> None:
        """Nothing runs."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing runs."""


@contextlib.contextmanager
def in_place(servers: Servers, folder: Path) -> Iterator[None]:
    """Let the local Azure ML start no process and no thread, and leave nothing behind in the folder."""
    with (
        mock.patch.object(jobs, "Child", servers.child),
        mock.patch.object(deployments, "Child", servers.child),
        mock.patch.object(command_jobs, "CommandChild", servers.command),
        mock.patch.object(scoring, "_forward", servers.forward),
    ):
        try:
            yield
        finally:
            shutil.rmtree(folder, ignore_errors=True)
