"""One Azurite for all contract tests, and containers and queues of their own for each. Without Azurite they fail and say how to get it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator

import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient
from azure.storage.queue import QueueClient, QueueServiceClient

from localcloud import azurite
from tests.contract.wire import ByWire, Wire

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Connection string of a running Azurite."""
    with azurite.Azurite(tmp_path_factory.mktemp("azurite")) as running:
        yield running.connection_string


@pytest.fixture(scope="session")
def blobs(storage: str) -> Iterator[BlobServiceClient]:
    with BlobServiceClient.from_connection_string(storage) as service:
        yield service


@pytest.fixture
def new_container(blobs: BlobServiceClient) -> Callable[[str], ContainerClient]:
    """Make an empty container that no other test has."""

    def made(name: str) -> ContainerClient:
        return blobs.create_container(f"{name}-{next(_numbers)}")

    return made


@pytest.fixture
def new_queue(storage: str) -> Iterator[QueueClient]:
    with QueueServiceClient.from_connection_string(storage) as service:
        yield service.create_queue(f"turns-{next(_numbers)}")


@pytest.fixture
def by_wire(storage: str) -> Iterator[ByWire]:
    """Give another client of a container, which asks by this wire and asks once."""
    with contextlib.ExitStack() as open_clients:

        def client(made: ContainerClient, wire: Wire) -> ContainerClient:
            found = ContainerClient.from_connection_string(storage, made.container_name, transport=wire, retry_total=0)
            return open_clients.enter_context(found)

        yield client
