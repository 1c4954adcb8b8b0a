"""An event says only whose door to ring: every form that Azure is known to send, and everything that is nobody's."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import doorbell
from shared.domain.doorbell import Event, Nobody
from shared.domain.record import Key, Kind

pytestmark = pytest.mark.light

STORAGE = "/subscriptions/S/resourceGroups/R/providers/Microsoft.Storage/storageAccounts/acc"
UPLOADED = Event(
    type="Microsoft.Storage.BlobCreated",
    subject="/blobServices/default/containers/datasets/blobs/team/train.jsonl",
    source=STORAGE,
    data={"api": "PutBlockList", "contentLength": 0, "url": "https://evil.example/x/y", "eTag": '"0x8D4"', "sequencer": "00"},
)
WORKSPACE = "/subscriptions/S/resourceGroups/R/providers/Microsoft.MachineLearningServices/workspaces/W"
OURS = "ft-0123456789ab-a2"
EXPERIMENT = "experiments/0fa9dfaa-0000-0000-0000-000000000001/runs"
COMPLETED = Event(
    type="Microsoft.MachineLearningServices.RunCompleted",
    subject=f"{EXPERIMENT}/{OURS}",
    source=WORKSPACE,
    data={"experimentName": "chat", "runId": OURS, "runType": None, "runTags": {}, "runProperties": {}},
)
TRAINING = Key(kind=Kind.TRAINING, id="0123456789ab")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
)


def path_of(event: Event) -> str | Nobody:
    return doorbell.uploaded_path(event, account="acc", container="datasets")


def key_of(event: Event) -> Key | Nobody:
    return doorbell.job_key(event, workspace_id=WORKSPACE)


def but(event: Event, **fields: object) -> Event:
    return msgspec.structs.replace(event, **fields)


# -------------------------------------------------------------------------------------------------------------- uploads


@pytest.mark.parametrize(
    "event",
    [
        UPLOADED,
        but(UPLOADED, type="microsoft.storage.blobcreated"),
        but(UPLOADED, source=STORAGE.upper()),
        but(UPLOADED, source=STORAGE.replace("resourceGroups", "resourcegroups")),
        but(UPLOADED, subject=UPLOADED.subject.removeprefix("/")),
        but(UPLOADED, subject=UPLOADED.subject.replace("/blobServices/default/containers/", "/blobservices/Default/Containers/")),
        but(UPLOADED, data={}),
        but(UPLOADED, data={"api": None}),
        but(UPLOADED, data={"API": "PutBlob"}),
        but(UPLOADED, data={"api": "copyblob"}),
        but(UPLOADED, data={"api": "FlushWithClose", "contentLength": "0"}),
        but(UPLOADED, data={"api": "SftpCommit", "identity": "local"}),
    ],
    ids=["as documented", "type in lower case", "topic in upper case", "resourcegroups", "CloudEvents sample without slash",
         "subject cased by somebody", "no data", "api null", "API", "copy", "data lake", "sftp"],
)  # fmt: skip
def test_an_upload_rings_in_every_form_that_azure_sends(event: Event) -> None:
    assert path_of(event) == "team/train.jsonl"


@pytest.mark.parametrize(
    "event",
    [
        but(UPLOADED, type="Microsoft.Storage.BlobDeleted"),
        but(UPLOADED, type="Microsoft.Storage.BlobRenamed"),
        but(UPLOADED, type="Microsoft.Storage.BlobTierChanged"),
        but(UPLOADED, type="Microsoft.Storage.BlobCreated.v2"),
        but(UPLOADED, type=""),
        but(UPLOADED, source=STORAGE + "2"),
        but(UPLOADED, source=STORAGE[:-1]),
        *(
            but(UPLOADED, source=STORAGE.replace("/acc", f"/{twin}"))
            for twin in ("xacc", "accx", "x-acc", "acc-x", "ACCACC", "x/acc", "cc")
        ),
        but(UPLOADED, source=WORKSPACE),
        but(UPLOADED, source=""),
        but(UPLOADED, subject="/blobServices/default/containers/datasets-backup/blobs/team/train.jsonl"),
        but(UPLOADED, subject="/blobServices/default/containers/dataset/blobs/team/train.jsonl"),
        but(UPLOADED, subject="/blobServices/default/containers/other/blobs/containers/datasets/blobs/x"),
        but(UPLOADED, subject="/blobServices/default/containers/datasets/blobs/"),
        but(UPLOADED, subject="/blobServices/default/containers/datasets/blobs"),
        but(UPLOADED, subject="/blobServices/default/containers/datasets"),
        but(UPLOADED, subject=""),
        but(UPLOADED, data={"api": "CreateFile"}),
        but(UPLOADED, data={"api": "SftpCreate"}),
        but(UPLOADED, data={"Api": "PutBlock"}),
    ],
    ids=lambda event: f"{event.type.rpartition('.')[2]} {event.source[-6:]} {event.subject[-30:]} {event.data.get('api', '')}",
)
def test_what_is_no_whole_blob_in_our_container_is_nobodys(event: Event) -> None:
    answer = path_of(event)

    assert isinstance(answer, Nobody)
    assert answer.why


@pytest.mark.parametrize("path", ["x/blobs/y.jsonl", "blobs/blobs/", "a/containers/datasets/blobs/b", "Ä文/%2F b?c#d.jsonl", "A/b.JSONL"])
def test_a_path_is_passed_on_as_it_is_whatever_words_are_in_it(path: str) -> None:
    event = but(UPLOADED, subject=f"/blobServices/default/containers/datasets/blobs/{path}")

    assert path_of(event) == path


# ----------------------------------------------------------------------------------------------------------------- jobs


@pytest.mark.parametrize(
    "event",
    [
        COMPLETED,
        but(COMPLETED, type="microsoft.machinelearningservices.runcompleted"),
        but(COMPLETED, type="Microsoft.MachineLearningServices.RunStatusChanged", data={"runId": OURS, "runStatus": "failed"}),
        but(COMPLETED, type="Microsoft.MachineLearningServices.RunStatusChanged", data={"RunId": OURS, "RunStatus": "Finalizing"}),
        but(COMPLETED, source=WORKSPACE.lower() + "/"),
        but(COMPLETED, source=WORKSPACE.upper()),
        but(COMPLETED, data={"RUNID": OURS, "RunTags": {}, "runProperties": {"runType": "HTTP", "runId": "other"}}),
        but(COMPLETED, data={"runProperties": {"runId": "ft-ffffffffffff-a1"}}),
        but(COMPLETED, data={"runId": None}),
        but(COMPLETED, data={"runId": ""}),
        but(COMPLETED, data={"runId": 7}),
        but(COMPLETED, data={}),
        but(COMPLETED, data={"runId": OURS, "runType": "azureml.PipelineRun", "runTags": {"azureml.pipelineComponent": "pipelinerun"}}),
        but(COMPLETED, subject="", data={"runId": OURS}),
        but(COMPLETED, subject="anything/runs/ft-ffffffffffff-a1"),
    ],
    ids=["as documented", "lower case", "status failed", "old casing", "workspace in lower case with slash",
         "workspace in upper case", "keys in upper case, another id nested", "only a nested id", "id null", "id empty", "id a number",
         "no data", "pipeline run of 2020", "no subject", "data goes before subject"],
)  # fmt: skip
def test_an_event_of_our_job_rings_its_training_in_every_form_that_azure_sends(event: Event) -> None:
    assert key_of(event) == TRAINING


def test_an_event_of_a_job_that_prepares_rings_its_tuning() -> None:
    prepared = but(COMPLETED, data={"runId": "prep-ffffffffffff-a2"})

    assert key_of(prepared) == Key(kind=Kind.TUNING, id="ffffffffffff")
    assert isinstance(key_of(but(prepared, source=STORAGE)), Nobody)


def test_a_cloud_event_is_no_different_once_its_envelope_is_read() -> None:
    """Same data under source and type; the names of the envelope are the adapter's business (`shared.doors`)."""
    event = Event(
        type="Microsoft.MachineLearningServices.RunStatusChanged",
        source=WORKSPACE,
        subject=f"{EXPERIMENT}/{OURS}",
        data={"runId": OURS, "runStatus": "failed"},
    )

    assert key_of(event) == TRAINING


@pytest.mark.parametrize(
    "event",
    [
        but(COMPLETED, type="Microsoft.MachineLearningServices.ModelRegistered"),
        but(COMPLETED, type="Microsoft.Storage.BlobCreated"),
        but(COMPLETED, source=WORKSPACE + "2"),
        but(COMPLETED, source=WORKSPACE.replace("/W", "/xW")),
        but(COMPLETED, source="/x" + WORKSPACE),
        but(COMPLETED, source=STORAGE),
        but(COMPLETED, source=""),
        but(COMPLETED, data={"runId": "6d2c1f6e-1111-4222-8333-944455556666"}),
        but(COMPLETED, data={"runId": f"{OURS}-step"}),
        but(COMPLETED, data={"runId": OURS.upper()}),
        but(COMPLETED, data={"runId": "nice_bridge_x1y2", "runProperties": {"azureml.rootpipelinerunid": OURS, "runId": OURS}}),
        but(COMPLETED, data={}, subject=f"{EXPERIMENT}/{OURS}/child"),
    ],
    ids=["model registered", "an upload", "twin workspace", "twin that ends alike", "a longer id", "a storage account", "no source",
         "child run", "named like a child", "upper case", "child that names its root", "subject of a child"],
)  # fmt: skip
def test_what_is_not_our_own_job_is_nobodys(event: Event) -> None:
    answer = key_of(event)

    assert isinstance(answer, Nobody)
    assert answer.why


@given(st.text(), st.text(), st.text(), st.dictionaries(st.text(), JSON))
def test_no_event_makes_the_doorbell_fail(kind: str, subject: str, source: str, data: Mapping[str, object]) -> None:
    for event_type in (kind, UPLOADED.type, COMPLETED.type):
        for event_source in (source, STORAGE, WORKSPACE):
            event = Event(type=event_type, subject=subject, source=event_source, data=data)
            assert isinstance(path_of(event), str | Nobody)
            assert isinstance(key_of(event), Key | Nobody)
