"""Events as Azure sends them, in every shape that it may choose, and events that are not about us: those must not make the app ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tests.simulation.ports import ACCOUNT, CONTAINER

WORKSPACE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
STORAGE = f"/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}"
BLOBS = f"/blobServices/default/containers/{CONTAINER}/blobs/"
COMMITS = ("PutBlob", "PutBlockList", "CopyBlob", "FlushWithClose", "putblob")

Draw = Callable[[], float]


class GridEvent:
    """As `azure.functions.EventGridEvent`, as far as a door looks at it."""

    def __init__(self, kind: str, subject: str, source: str, data: Mapping[str, Any]) -> None:
        self.event_type, self.subject, self.topic, self._data = kind, subject, source, data

    def get_json(self) -> Mapping[str, Any]:
        return self._data


class CloudEvent:
    """As `azure.functions.CloudEvent`."""

    def __init__(self, kind: str, subject: str, source: str, data: Mapping[str, Any]) -> None:
        self.type, self.subject, self.source, self._data = kind, subject, source, data

    def get_json(self) -> Mapping[str, Any]:
        return self._data


def uploaded(path: str, etag: str, draw: Draw) -> Any:
    """Return an event of this upload: either schema, any case of words and keys, with and without a leading slash."""
    api = COMMITS[int(draw() * len(COMMITS))]
    data = {"api" if draw() < 0.8 else "Api": api, "eTag": etag, "url": f"https://elsewhere.example/{path}"}
    if draw() < 0.1:
        data = {"url": f"https://elsewhere.example/{path}"}
    subject = f"{BLOBS}{path}"
    kind = "Microsoft.Storage.BlobCreated"
    return _shaped(kind, subject if draw() < 0.8 else subject[1:], STORAGE, data, draw)


def job_changed(name: str, status: str, draw: Draw) -> Any:
    """Return an event of this job's end: its name in the data, or only in the subject."""
    kind = "RunStatusChanged" if status == "Failed" or draw() < 0.2 else "RunCompleted"
    key = "runId" if draw() < 0.8 else "RunId"
    data = {key: name, "runStatus": "Completed"} if draw() < 0.8 else {}
    return _shaped(f"Microsoft.MachineLearningServices.{kind}", f"experiments/e/runs/{name}", WORKSPACE, data, draw)


def _shaped(kind: str, subject: str, source: str, data: Mapping[str, Any], draw: Draw) -> Any:
    schema = GridEvent if draw() < 0.6 else CloudEvent
    shape = draw()
    if shape < 0.1:
        kind = kind.upper()
    elif shape < 0.2:
        source = source.upper()
    return schema(kind, subject, source, data)


def not_about_us(path: str, job: str) -> Iterator[tuple[str, Any]]:
    """Yield (door, event) of a stranger: each is one step away from a genuine one, and is to be ignored without a question to anybody."""
    data = {"api": "PutBlob", "eTag": '"0x1"', "url": f"https://{ACCOUNT}.blob.core.windows.net/{CONTAINER}/{path}"}
    kind, subject = "Microsoft.Storage.BlobCreated", f"{BLOBS}{path}"
    yield "dataset", GridEvent("Microsoft.Storage.BlobDeleted", subject, STORAGE, data)
    yield "dataset", GridEvent(kind, subject, f"{STORAGE}x", data)
    yield "dataset", GridEvent(kind, subject, STORAGE.replace(f"/{ACCOUNT}", f"/not{ACCOUNT}"), data)
    yield "dataset", CloudEvent(kind, subject.replace(f"/{CONTAINER}/", "/prepared/"), STORAGE, data)
    yield "dataset", CloudEvent(kind, subject.replace(f"/{CONTAINER}/", f"/{CONTAINER}2/"), STORAGE, data)
    yield "dataset", GridEvent(kind, f"/containers/x{subject}", STORAGE, data)
    yield "dataset", GridEvent(kind, BLOBS, STORAGE, data)
    yield "dataset", GridEvent(kind, subject, STORAGE, {**data, "api": "CreateFile"})
    yield "dataset", GridEvent(kind, subject, STORAGE, {**data, "API": "PutBlock", "api": "PutBlock"})
    for name in (
        "../x.jsonl",
        f"shop/../../ledger/{path}",
        "shop//0.jsonl",
        "./0.jsonl",
        "shop/a\n.jsonl",
        "shop/_recipe.json",
        "_recipe.json",
    ):
        yield "dataset", GridEvent(kind, f"{BLOBS}{name}", STORAGE, data)
    yield "dataset", GridEvent(kind, f"{BLOBS}shop/_members/1.jsonl", STORAGE, data)
    ended, run = "Microsoft.MachineLearningServices.RunCompleted", f"experiments/e/runs/{job}"
    yield "job", GridEvent(ended, run, f"{WORKSPACE}2", {"runId": job, "runStatus": "Completed"})
    yield "job", GridEvent("Microsoft.MachineLearningServices.ModelRegistered", run, WORKSPACE, {"runId": job})
    yield "job", GridEvent("Microsoft.MachineLearningServices.DatasetDriftDetected", run, WORKSPACE, {})
    yield "job", CloudEvent(ended, f"{run}-child", WORKSPACE, {"runId": f"{job}-child"})
    yield "job", CloudEvent(ended, f"x{run}", WORKSPACE, {"runId": f"x{job}"})
    yield "job", CloudEvent(ended, "experiments/e/runs/somebody_elses_run", WORKSPACE, {})
    yield "blob", ("prepared", path)
    yield "blob", (CONTAINER.upper(), path)
    yield "blob", (CONTAINER, f"../{path}")
    for text in (
        b"",
        b"\xff\xfe",
        b"{}",
        b"[]",
        b'{"kind":"tuning","id":"../ledger/x","promised":null}',
        b'{"kind":"queen","id":"0123456789ab"}',
    ):
        yield "turn", text
