"""
What the unmodified azure-ai-ml asks by connections of its own, past any transport it was given: it is held over HTTPS alone.

Files go to the storage account by azure-storage-blob; `models.share` and the deployment of a registry's model build a client of the
registry without the transport. In process, each of these would leave this machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient

from localcloud.azureml.datastores import BlobStorage

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::PendingDeprecationWarning")


@pytest.fixture(scope="module", params=["https"])
def skin(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Storage(BlobStorage):
    """Azurite, and before it the blobs that a test only says are there."""

    def __init__(self, connection_string: str) -> None:
        super().__init__(connection_string)
        self.blobs: dict[tuple[str, str], bytes] = {}

    def fetch(self, container: str, blob: str, target: Path) -> bool:
        content = self.blobs.get((container, blob))
        if content is None:
            return super().fetch(container, blob, target)
        target.write_bytes(content)
        return True


@pytest.fixture(scope="module")
def emulator_storage(storage: str) -> Storage:
    return Storage(storage)


def test_a_local_file_is_uploaded_once_into_the_default_datastore(sdk: Any, blobs: BlobServiceClient, tmp_path: Path) -> None:
    from azure.ai.ml import Input

    for name in ("train", "validation"):
        row = '{"messages": [{"role": "user", "content": "train"}, {"role": "assistant", "content": "yes"}]}\n'
        (tmp_path / f"{name}.jsonl").write_text(row * 2)
    job = sdk.pipeline(
        train_file_path=Input(type="uri_file", path=str(tmp_path / "train.jsonl")),
        validation_file_path=Input(type="uri_file", path=str(tmp_path / "validation.jsonl")),
    )
    sdk.ml.jobs.create_or_update(job)
    sdk.ml.jobs.stream("ft-sdk-a1")

    names = [blob.name for blob in blobs.get_container_client("azureml-blobstore").list_blobs("LocalUpload/")]
    assert sorted(name.rpartition("/")[2] for name in names if name.endswith(".jsonl")) == ["train.jsonl", "validation.jsonl"]
    assert sdk.ml.jobs.get("ft-sdk-a1").status == "Completed"


def test_a_model_is_shared_under_one_name_once(sdk: Any) -> None:
    from azure.ai.ml.exceptions import ValidationException

    sdk.world.registered()
    words = {"share_with_name": "bot-for-all", "share_with_version": "1", "registry_name": "local-registry"}
    shared = sdk.ml.models.share("bot", "v1", **words)
    assert (shared.name, shared.version, shared.tags) == ("bot-for-all", "1", {"tuneloop-owner": "o"})
    with pytest.raises(ValidationException, match="already exists in registry"):
        sdk.ml.models.share("bot", "v1", **words)


def test_a_deployment_of_a_shared_model_is_served(sdk: Any) -> None:
    sdk.shared("bot-for-all")
    sdk.endpoint()

    assert sdk.deployed("azureml://registries/local-registry/models/bot-for-all/versions/1").provisioning_state == "Succeeded"
