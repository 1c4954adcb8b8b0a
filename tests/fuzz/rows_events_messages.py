"""
Coverage-guided fuzzing of what reads a stranger's words in the app's own process, by hand: nothing of the project needs it.

    pip install atheris msgspec xxhash    (in an environment of its own; Linux, Python 3.11 or 3.12)
    python tests/fuzz/rows_events_messages.py -max_total_time=180 -max_len=4096 FOLDER-OF-SEEDS

A row: the quick reader takes nothing that the strict one refuses or reads otherwise, in any order of rows. An event and a message of the
queue: a key, a path or nobody, and never an exception.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import atheris  # type: ignore[import-untyped]

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
with atheris.instrument_imports(include=["shared"]):
    from shared import errors
    from shared.domain import conversation, doorbell, members, upload
    from shared.domain.conversation import Code
    from shared.prepare import rows
    from shared.prepare.options import Repairs
    from shared.reconcile import arrivals

WORKSPACE = "/subscriptions/s/resourceGroups/r/providers/Microsoft.MachineLearningServices/workspaces/w"
shared_reader = rows.Reader(Repairs())  # keeps what it learned of earlier rows


def row(line: bytes) -> None:
    truth = rows.Reader(Repairs())
    strict = truth.read_strictly(line)
    for reader in (rows.Reader(Repairs()), shared_reader):
        found = reader.read(line)
        assert (found == strict) if isinstance(strict, Code) else (not isinstance(found, Code) and found.messages == strict.messages), line
        if not isinstance(strict, Code):
            assert bytes(reader.written) == rows.encoded(strict), line
            assert conversation.fault_in(json.loads(bytes(reader.written))) is None, line


def event(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    try:
        body: Any = json.loads(text)
    except (ValueError, RecursionError):
        body = {}
    inside = body if isinstance(body, dict) else {}
    for kind in ("Microsoft.Storage.BlobCreated", "Microsoft.MachineLearningServices.RunCompleted", text[:50]):
        for source in ("/storageAccounts/acc", WORKSPACE, text[:99]):
            for subject in (text, f"/blobServices/default/containers/datasets/blobs/{text}"):
                told = doorbell.Event(type=kind, subject=subject, source=source, data=inside)
                path = doorbell.uploaded_path(told, account="acc", container="datasets")
                doorbell.job_key(told, workspace_id=WORKSPACE)
                if isinstance(path, str):
                    with contextlib.suppress(errors.Rejected):
                        assert ".." not in upload.checked_path(path).split("/")


def message(data: bytes) -> None:
    found = arrivals.message(data.decode("utf-8", "surrogateescape"))
    assert found is None or len(found[0].id) == 12


def one(data: bytes) -> None:
    match data[:1]:
        case b"e":
            event(data[1:])
        case b"m":
            message(data[1:])
        case b"s":
            with contextlib.suppress(members.WrongSet):
                members.parsed(data[1:])
        case _:
            row(data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
