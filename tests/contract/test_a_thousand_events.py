"""
One event delivered again and again at once, and its messages taken at once, over real storage: one record, one job.

    TUNELOOP_SAME_EVENTS=1000 python -m pytest tests/contract/test_a_thousand_events.py
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

from shared.cloud.datasets import BlobDatasets
from shared.cloud.ledger import BlobLedger
from shared.cloud.turns import QueueTurns
from shared.domain.doorbell import Event
from shared.domain.record import Key, Kind
from shared.domain.tuning import Stage
from shared.reconcile import arrivals, turn
from tests.journeys import fakes

EVENTS = [int(os.environ.get("TUNELOOP_SAME_EVENTS", "250"))]  # 1000 of them take 13 s
AT_ONCE = 24  # threads; a host has 6 for turns and as many as Event Grid sends for events


def flood(
    events: int, new_container: Callable[[str], ContainerClient], queue: QueueClient, workdir: Path
) -> tuple[fakes.World, BlobLedger, int]:
    """
    Deliver one event so often, then take all messages until none is due; return what Azure was asked, the ledger, and the messages taken.

    Azure ML is the fake of the stories. Storage is real: what the doors race for is a blob.
    """
    uploads, world = new_container("datasets"), fakes.World()
    uploads.upload_blob("shop/a.jsonl", fakes.ROWS)
    datasets = BlobDatasets(uploads, new_container("prepared"), datastore="tuneloop_prepared", ahead=1)
    ledger = BlobLedger(new_container("ledger"))
    loop = fakes.loop_over(world, workdir)
    loop = replace(loop, ports=replace(loop.ports, datasets=datasets, ledger=ledger, turns=QueueTurns(queue)))
    subject = f"/blobServices/default/containers/{datasets.container}/blobs/shop/a.jsonl"
    event = Event(
        type="Microsoft.Storage.BlobCreated", subject=subject, source=f"/x/storageAccounts/{datasets.account}", data={"api": "PutBlob"}
    )
    taken = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda _: arrivals.dataset_event(loop, event, who="door"), range(events)))

        def take(message: Any) -> None:
            body = arrivals.message(base64.b64decode(message.content).decode())
            assert body is not None
            key, who, promised = body
            turn.take(loop, fakes.LIVES, key, who=who, promised=promised)

        while messages := list(queue.receive_messages(messages_per_page=32, max_messages=512, visibility_timeout=600)):
            taken += len(messages)
            list(pool.map(take, messages))
        world.now += timedelta(minutes=1)
    return world, ledger, taken


@pytest.mark.parametrize("events", EVENTS)
def test_the_same_event_hundreds_of_times_at_once_is_one_record_and_one_job(
    events: int, new_container: Callable[[str], ContainerClient], new_queue: QueueClient, tmp_path: Path
) -> None:
    world, ledger, taken = flood(events, new_container, new_queue, tmp_path)

    (tuning,) = ledger.ids(Kind.TUNING)
    (training,) = ledger.ids(Kind.TRAINING)
    assert taken >= events
    assert world.effects["job"] == 1
    assert list(world.jobs) == [f"ft-{training}-a1"]
    found = ledger.read(Key(kind=Kind.TUNING, id=tuning))
    assert found is not None
    assert found.body["stage"] == Stage.TRAINING
    assert [line["what"] for line in found.body["history"]].count("opened") == 1
