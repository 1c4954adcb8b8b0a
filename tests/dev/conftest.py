"""Storage for the tests that invoke the app: one Azurite with the containers and the queue that the app expects."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from localcloud import azurite


@pytest.fixture
def settings_with_storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Settings of an app whose storage is an Azurite of its own, with one upload in it."""
    from azure.storage.blob import BlobServiceClient
    from azure.storage.queue import QueueServiceClient

    with azurite.Azurite(tmp_path_factory.mktemp("azurite")) as running:
        text = running.connection_string
        with BlobServiceClient.from_connection_string(text) as blobs, QueueServiceClient.from_connection_string(text) as queues:
            for container in ("datasets", "prepared", "ledger"):
                blobs.create_container(container)
            blobs.get_blob_client("datasets", "shop/a.jsonl").upload_blob(b'{"messages": []}\n')
            queues.create_queue("turns")
        yield {
            "DATASETS": text,
            "AzureWebJobsStorage": text,
            "AZURE_SUBSCRIPTION_ID": "11111111-1111-1111-1111-111111111111",
            "AZURE_RESOURCE_GROUP": "local-rg",
            "AZUREML_WORKSPACE": "local-workspace",
            "TUNELOOP_LOCAL": "1",
        }
