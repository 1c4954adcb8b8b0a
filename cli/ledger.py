"""The app's records and files, read with the app's own adapters and its storage connection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from shared import settings
from shared.cloud import clients, datasets, ledger, storage
from shared.domain import names, service, training, tuning
from shared.domain.record import Key, Kind

if TYPE_CHECKING:
    from cli.cloud import Running

ROW_BYTES_MAX = 4 << 20  # of one prepared row


class Records:
    """What a person may want to see of one installation."""

    def __init__(self, running: Running) -> None:
        environment = running.settings
        account = storage.Account(settings.connection(environment, "DATASETS"), clients.credential(), local=True)
        self._uploads = account.container(environment.get("DATASETS_CONTAINER", "datasets"))
        self._prepared = account.container(environment.get("PREPARED_CONTAINER", "prepared"))
        self.datasets = datasets.BlobDatasets(self._uploads, self._prepared, datastore="tuneloop_prepared")
        self.ledger = ledger.BlobLedger(account.container(environment.get("LEDGER_CONTAINER", "ledger")))

    def upload(self, path: str, file: Path) -> str:
        """Upload a file as its owner would, and return the id of its tuning."""
        with file.open("rb") as body:
            self._uploads.upload_blob(path, body, overwrite=True)
        upload = self.datasets.head(path)
        if upload is None:
            raise ValueError(f"{file} is empty; there is nothing to train on")
        return upload.id

    def of(self, tuning_id: str) -> Iterator[Any]:
        """Yield the tuning, its training and its service, as far as they exist."""
        found = self._read(Kind.TUNING, tuning_id, tuning.Tuning)
        if found is None:
            return
        yield found
        for kind, record_id, record_type in (
            (Kind.TRAINING, found.training, training.Training),
            (Kind.SERVICE, names.service_id(found.owner, found.service), service.Service),
        ):
            other = self._read(kind, record_id, record_type) if record_id else None
            if other is not None:
                yield other

    def service_of(self, tuning_id: str) -> service.Service:
        return next(record for record in self.of(tuning_id) if isinstance(record, service.Service))

    def loss(self, tuning_id: str) -> str:
        """Return the newest losses that the job has logged, '' before there are any."""
        for record in self.of(tuning_id):
            if isinstance(record, training.Training):
                parts = [f"{name} {record.metrics[name]:.3f}" for name in ("loss", "eval_loss") if name in record.metrics]
                return ", ".join(parts)
        return ""

    def smoke(self, found: service.Service) -> dict[str, str]:
        assert found.live is not None
        smoke: dict[str, str] = self.datasets.read(names.smoke_path(found.owner, found.text, found.live.name))
        return smoke

    def trained_on(self, found: service.Service) -> dict[str, Any]:
        """Return the first training row up to its first user turn, and what it was answered with."""
        assert found.live is not None
        path = f"{found.live.sample.rpartition('/')[0]}/train.jsonl"
        beginning = self._prepared.download_blob(path, offset=0, length=ROW_BYTES_MAX).readall()
        messages = json.loads(beginning.split(b"\n", 1)[0])["messages"]
        last = next(n for n, message in enumerate(messages) if message["role"] == "user")
        return {"messages": messages[: last + 1], "reference": messages[last + 1]["content"]}

    def _read(self, kind: Kind, record_id: str, record_type: type[Any]) -> Any:
        stored = self.ledger.read(Key(kind=kind, id=record_id))
        return msgspec.convert(stored.body, record_type) if stored else None
