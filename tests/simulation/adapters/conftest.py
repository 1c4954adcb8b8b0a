"""The storage of the contract suites, once more: an account in this process, behind the SDK's own transport."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from azure.storage.blob import BlobServiceClient

from tests.contract.conftest import by_wire, new_container, new_queue
from tests.simulation.adapters.line import Line, carried_by
from tests.simulation.adapters.storage import Storage

__all__ = ["by_wire", "new_container", "new_queue"]
CONNECTION = "DefaultEndpointsProtocol=https;AccountName=acc;AccountKey=a2V5;EndpointSuffix=core.windows.net"
OF_STORAGE = {"new_container", "new_queue", "by_wire", "blobs", "storage"}
BY_PARAMETER = ("[blobs", "[queue", "[container")  # where a suite's fixture takes the storage for itself


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep of the contract suites what asks storage; the rest runs where it belongs."""
    items[:] = [one for one in items if one.path.stem != "test_storage_keeps_the_contract" or _asks_storage(one)]


def _asks_storage(item: pytest.Item) -> bool:
    return bool(OF_STORAGE & set(getattr(item, "fixturenames", ()))) or any(word in item.name for word in BY_PARAMETER)


@pytest.fixture(scope="module")
def storage() -> Iterator[str]:
    """Connection string of an account whose requests never leave this process; sleeping is real here, as over a socket."""
    with carried_by(Line(Storage(lambda: datetime.now(UTC), page_size=3).handle, time.sleep)):
        yield CONNECTION


@pytest.fixture(scope="module")
def blobs(storage: str) -> Iterator[BlobServiceClient]:
    with BlobServiceClient.from_connection_string(storage) as service:
        yield service
