"""Two places where a preparation can be asked for: the fake of the stories, and the adapters over a running emulator."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

import msgspec
from azure.storage.blob import ContainerClient

from shared.cloud.datasets import BlobDatasets
from shared.domain import names
from shared.domain.tuning import PreparationJob
from shared.ports import Datasets, Preparations
from shared.prepare import ordered
from tests.journeys import fakes

DEADLINE_SECONDS = 60.0
TAGS = {names.OWNER_TAG: "o", names.TUNING_TAG: "0123456789ab"}


class Preparing(Protocol):
    """Whoever uploads, asks and waits."""

    preparations: Preparations
    datasets: Datasets

    def upload(self, path: str, content: bytes) -> str:
        """Return the ETag."""
        ...

    def ended(self, name: str) -> PreparationJob: ...

    def written(self, folder: str) -> dict[str, bytes]: ...


def ask(at: Preparing, name: str, paths: Sequence[str], order: ordered.Order, *, tags: Mapping[str, str] = TAGS) -> str:
    """Ask for a job that prepares these uploads; return its folder."""
    folder = f"contract/{name}"
    at.datasets.write(f"{folder}/{ordered.ORDER}", msgspec.to_builtins(order))
    at.preparations.submit(
        name,
        files=[at.datasets.upload_uri(path) for path in paths],
        order=at.datasets.uri(folder, ordered.ORDER),
        out=at.datasets.uri(folder, ""),
        deadline=timedelta(hours=1),
        display_name="Prepare",
        tags=tags,
    )
    return folder


class FakePreparing:
    def __init__(self) -> None:
        self.world = fakes.World()
        self.preparations: Preparations = fakes.FakePreparations(self.world)
        self.datasets: Datasets = fakes.FakeDatasets(self.world)

    def upload(self, path: str, content: bytes) -> str:
        return self.world.upload(path, content).etag

    def ended(self, name: str) -> PreparationJob:
        self.world.now += timedelta(minutes=5)
        self.world.advance_services()
        job = self.preparations.job(name)
        assert job is not None
        return job

    def written(self, folder: str) -> dict[str, bytes]:
        return {path.removeprefix(f"{folder}/"): body for path, body in self.world.prepared.items() if path.startswith(f"{folder}/")}


class AzurePreparing:
    def __init__(self, preparations: Preparations, uploads: ContainerClient, prepared: ContainerClient) -> None:
        self.preparations = preparations
        self._uploads, self._prepared = uploads, prepared
        self.datasets: Datasets = BlobDatasets(uploads, prepared, datastore="tuneloop_prepared", uploads_datastore="tuneloop_datasets")

    def upload(self, path: str, content: bytes) -> str:
        self._uploads.upload_blob(path, content, overwrite=True)
        found = self.datasets.head(path)
        assert found is not None
        return found.etag

    def ended(self, name: str) -> PreparationJob:
        last = time.monotonic() + DEADLINE_SECONDS
        while True:
            job = self.preparations.job(name)
            if job is not None and (job.completed or job.ended_badly):
                return job
            assert time.monotonic() < last, job
            time.sleep(0.1)

    def written(self, folder: str) -> dict[str, bytes]:
        found = self._prepared.list_blob_names(name_starts_with=f"{folder}/")
        return {name.removeprefix(f"{folder}/"): self._prepared.download_blob(name).readall() for name in found}
