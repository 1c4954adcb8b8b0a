"""
The app's adapters, a set for each worker process; the SDK clients below them are built once in this Python process.

A client holds no state that a request changes, and building one costs as much as ten exchanges. What an adapter remembers (the owner, the
workspace's addresses) dies with its instance.
"""

from __future__ import annotations

import contextlib
import logging
import random
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any
from unittest import mock

from azure.ai.ml import MLClient
from azure.ai.ml._utils import _asset_utils
from azure.ai.ml.entities import PipelineJob
from azure.ai.ml.operations import _job_operations
from azure.core.pipeline.policies import _retry
from azure.storage.blob import BlobClient, ContainerClient
from azure.storage.blob._shared import policies as blob_policies
from azure.storage.queue._shared import policies as queue_policies

from localcloud.azureml.cloud import Cloud
from localcloud.azureml.site import Site
from localcloud.azureml.transport import PUBLIC_BASE, Credential
from localcloud.azureml.wire import request_of
from localcloud.clocks import ManualClock
from shared import settings as app_settings
from shared.cloud import clients, ledger, prefetch, preparations, publishing, storage
from shared.cloud.announcer import announcer
from shared.cloud.datasets import BlobDatasets
from shared.cloud.endpoints import AzureMlEndpoints
from shared.cloud.jobs import Jobs
from shared.cloud.metrics import MonitorMetrics
from shared.cloud.preparations import AzureMlPreparations
from shared.cloud.trainings import AzureMlTrainings
from shared.cloud.turns import QueueTurns
from shared.ports import Ports
from tests.simulation.adapters import azure as here
from tests.simulation.adapters.azureml import AtOnce, Files
from tests.simulation.adapters.line import Line, carried_by
from tests.simulation.adapters.storage import Answer, Storage
from tests.simulation.adapters.wire import Asked, WireMachine
from tests.simulation.azure import OWNER

OWNERS = (OWNER, "00000000-0000-0000-0000-00000000000b", "00000000-0000-0000-0000-00000000000c")  # that an instance would make
POLLER = "LROPoller"  # how azure-core names its threads
_ml_client = clients.ml_client


def place() -> dict[str, str]:
    """Return the settings that name the workspace of the local Azure ML."""
    site = Site(folder=Path())
    return {"AZURE_SUBSCRIPTION_ID": site.subscription, "AZURE_RESOURCE_GROUP": site.group, "AZUREML_WORKSPACE": site.workspace}


class Clients:
    """Containers and the queue, built once; an MLClient of the workspace and one of the registry, anew for each history."""

    def __init__(self) -> None:
        from azure.ai.ml import entities  # noqa: F401 - its first import is no part of a history

        self._spare = Cloud(
            Site(folder=Path(mkdtemp()), base=PUBLIC_BASE, clock=ManualClock()), Files(Storage(ManualClock())), here.TOKEN_KEY
        )
        self.credential: Any = Credential(self._spare)
        account = f"https://{here.ACCOUNT}"
        where = app_settings.Connection(
            blob_service_uri=f"{account}.blob.core.windows.net", queue_service_uri=f"{account}.queue.core.windows.net"
        )
        connection = storage.Account(where, self.credential, local=False)
        self.container = {name: connection.container(name) for name in (here.LEDGER, here.DATASETS, here.PREPARED)}
        self.queue = connection.queue(here.QUEUE)
        self.renew()

    def renew(self) -> None:
        """Build the two MLClients: they remember what a workspace and a datastore are, and would tell one history what another asked."""
        settings = app_settings.read(place())
        with carried_by(Line(self._answer, lambda _: None)):
            self.workspace = _ml_client(settings, self.credential)
            self.registry = _ml_client(settings, self.credential, registry=settings.AZUREML_REGISTRY)

    def ml_client(self, _settings: object, _credential: object, *, registry: str | None = None) -> MLClient:
        return self.registry if registry else self.workspace

    def _answer(self, method: str, url: str, headers: Any, body: bytes) -> Answer:
        path = "/" + url.partition("://")[2].partition("/")[2]
        response = self._spare.handle(request_of(method, path, headers, body))
        return Answer(response.status, {"content-length": str(len(response.body)), **response.headers}, response.body)


_validate = PipelineJob._validate
_valid: set[tuple[Any, ...]] = set()


def _validated(job: PipelineJob, raise_error: bool = False) -> Any:
    """
    Return what azure-ai-ml says of a job before it sends it: of each shape once in this Python process.

    It costs as much as 200 exchanges and looks at no value, only at names and types.
    """
    (node,) = job.jobs.values()
    inputs = tuple(sorted((name, type(value).__name__) for name, value in node.inputs.items()))
    shape = (str(getattr(node.component, "id", node.component)), inputs, tuple(node.outputs), tuple(job.outputs), str(job.compute))
    if shape in _valid:
        return PipelineJob._create_empty_validation_result()
    result = _validate(job, raise_error=raise_error)
    if result.passed:
        _valid.add(shape)
    return result


@cache
def built() -> Clients:
    return Clients()


class Processes:
    """The ports of whichever instance is at work; a new set after its death."""

    def __init__(self, machine: WireMachine, settings: app_settings.Settings) -> None:
        self._machine, self._settings = machine, settings
        self._ports: dict[int, Ports] = {}
        machine.ended = lambda number: self._ports.pop(number, None)  # type: ignore[assignment]

    def __getattr__(self, port: str) -> Any:
        handler = self._machine.running
        number = handler.instance.number if handler else -1
        if number not in self._ports:
            self._ports[number] = self._made()
        return getattr(self._ports[number], port)

    def _made(self) -> Ports:
        settings, made = self._settings, built()
        jobs = Jobs(settings, made.credential)
        endpoints = AzureMlEndpoints(settings, made.credential)
        return Ports(
            ledger=ledger.BlobLedger(made.container[here.LEDGER]),
            datasets=BlobDatasets(
                made.container[here.DATASETS],
                made.container[here.PREPARED],
                datastore=settings.PREPARED_DATASTORE,
                uploads_datastore=settings.DATASETS_DATASTORE,
                range_bytes=3_000,
            ),
            preparations=AzureMlPreparations(settings, jobs),
            trainings=AzureMlTrainings(settings, made.credential, jobs),
            endpoints=endpoints,
            inventory=endpoints,
            metrics=MonitorMetrics(settings, made.credential),
            turns=QueueTurns(made.queue),
            announcer=announcer("", made.credential, source=settings.workspace_id, local=False),
        )


@contextlib.contextmanager
def in_place(machine: WireMachine) -> Iterator[None]:
    """
    Let the SDKs ask the machine, by its time and its draws, and start no thread beside it.

    A poller of a long operation only reads, and nobody waits for it: it is not started. Any other thread breaks the history.
    """
    made = built()
    draws = random.Random(machine.seed ^ 0x1D5)
    now = SimpleNamespace(time=lambda: machine.now().timestamp())
    jitter = SimpleNamespace(Random=lambda: draws)

    def owner() -> uuid.UUID:
        """Return the owner that this instance would make; each would make another."""
        return uuid.UUID(OWNERS[machine.running.instance.number if machine.running else 0])

    def start(thread: threading.Thread) -> None:
        if isinstance(thread, threading.Timer):  # it watches how slowly a body comes, and here it is there at once
            return
        if not thread.name.startswith(POLLER):
            machine.broken(f"The thread {thread.name} would run beside the scheduler")
        machine.counts["pollers"] += 1

    def drawn() -> uuid.UUID:
        return uuid.UUID(int=draws.getrandbits(128), version=4)

    requests = count(1)

    def number_of_request() -> uuid.UUID:
        """Return what an SDK calls its next request; nobody reads it, and asking the operating system costs more than serving one."""
        return uuid.UUID(int=next(requests))

    blob_client, blobs = ContainerClient.get_blob_client, dict[tuple[Any, ...], BlobClient]()

    def kept(self: ContainerClient, blob: Any, snapshot: str | None = None, *, version_id: str | None = None) -> BlobClient:
        """Return the client of a blob: the SDK builds one for each request, and it holds nothing that a request changes."""
        about = (self, str(blob), snapshot, version_id)
        if about not in blobs:
            blobs[about] = blob_client(self, blob, snapshot, version_id=version_id)
        return blobs[about]

    def nonce() -> str:
        return f"{draws.getrandbits(64):016x}"

    app_init = ledger.BlobLedger.__init__

    def with_nonce(self: ledger.BlobLedger, container: Any) -> None:
        app_init(self, container, nonce=nonce)

    shipped, numbers = Path(mkdtemp(prefix="tuneloop-shipped-")), count(1)

    @contextlib.contextmanager
    def temporary(*, prefix: str) -> Iterator[str]:
        """A folder whose name stands in the addresses of what the SDK uploads from it."""
        made_here = shipped / f"{prefix}{next(numbers)}"
        made_here.mkdir()
        yield str(made_here)

    azure_log = logging.getLogger("azure")
    level = azure_log.level
    azure_log.setLevel(logging.CRITICAL + 1)
    patches: list[Any] = [
        carried_by(Line(machine.handle, machine.sleep)),
        mock.patch.object(clients, "ml_client", made.ml_client),
        mock.patch.object(threading.Thread, "start", start),
        mock.patch.object(prefetch, "ThreadPoolExecutor", AtOnce),
        mock.patch.object(publishing, "ThreadPoolExecutor", AtOnce),
        mock.patch.object(_asset_utils, "ThreadPoolExecutor", AtOnce),
        mock.patch.object(_asset_utils, "as_completed", iter),  # in the order in which they were begun
        mock.patch.object(uuid, "uuid4", drawn),
        mock.patch.object(uuid, "uuid1", number_of_request),
        mock.patch.object(ContainerClient, "get_blob_client", kept),
        mock.patch.object(preparations, "tempfile", SimpleNamespace(TemporaryDirectory=temporary)),
        mock.patch.object(ledger, "uuid", SimpleNamespace(uuid4=owner)),
        mock.patch.object(ledger.BlobLedger, "__init__", with_nonce),
        mock.patch.object(_retry, "time", now),
        mock.patch.object(time, "sleep", machine.sleep),
        mock.patch.object(PipelineJob, "_validate", _validated),
        mock.patch.object(_job_operations, "get_git_properties", dict),  # a host has no git; here it would be six processes
        mock.patch.object(blob_policies, "random", jitter),
        mock.patch.object(queue_policies, "random", jitter),
    ]
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        try:
            yield
        finally:
            azure_log.setLevel(level)
            shutil.rmtree(shipped, ignore_errors=True)


__all__ = ["Asked", "Clients", "Processes", "built", "in_place", "place"]
