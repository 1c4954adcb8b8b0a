"""Which blobs an upload stands for: itself, or the files that its `_dataset.json` names, each pinned to one version."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial

from shared import errors, prepare
from shared.domain import members
from shared.domain.upload import Upload, folder_of, is_set
from shared.ports import Datasets

TOKENIZER_FILE = "_tokenizer.json"
ANOTHER_VERSION = f"{members.WRITE_AGAIN[:1].upper()}{members.WRITE_AGAIN[1:]}; a file alone starts nothing."


class NotAllThere(Exception):
    """Files of the set may still be on their way; the text names them."""


def sources(datasets: Datasets, upload: Upload, *, now: datetime) -> list[prepare.Source]:
    """
    Return what has to be read, by full path. Raise UploadChanged when a version is gone, WrongSet when the set cannot be used, NotAllThere
    while there is hope. Costs one request for a plain upload's first byte and none before; for a set one read, and one look at each file.
    """
    if not is_set(upload.path):
        return [prepare.Source(name=upload.path, size=upload.size, etag=upload.etag, open=partial(datasets.open, upload))]
    folder = members.in_a_folder(folder_of(upload.path))
    if upload.size > members.SET_BYTES_MAX:
        raise members.too_long(upload.size)
    named = members.parsed(b"".join(datasets.open(upload)))
    found = [(member, datasets.head(f"{folder}/{member.path}")) for member in named]
    if absent := [f"{folder}/{member.path}" for member, there in found if there is None]:
        wrong = members.missing(absent)
        if now < upload.last_modified + members.AWAITED_FOR:
            until = upload.last_modified + members.AWAITED_FOR
            raise NotAllThere(f"Waits until {until:%H:%M} UTC: {wrong.what}.")
        raise wrong
    pinned = [(member, there) for member, there in found if there is not None]
    for member, there in pinned:
        members.check_version(member, there, named_at=upload.last_modified)
    return [
        prepare.Source(name=there.path, size=there.size, etag=there.etag, side=member.side, open=partial(_read, datasets, there))
        for member, there in pinned
    ]


def tokenizer(datasets: Datasets, upload: Upload) -> prepare.Source | None:
    """Return the tokenizer file that lies beside the upload, pinned to the version that is there now; None without one."""
    folder = folder_of(upload.path)
    there = datasets.head(f"{folder}/{TOKENIZER_FILE}" if folder else TOKENIZER_FILE)
    return prepare.Source(name=there.path, size=there.size, etag=there.etag, open=partial(_beside, datasets, there)) if there else None


def _beside(datasets: Datasets, there: Upload) -> Iterator[bytes]:
    try:
        yield from datasets.open(there)
    except errors.UploadChanged:  # the upload itself is what it was
        raise errors.TryLater(f"{there.path} was replaced or deleted while it was read.") from None


def _read(datasets: Datasets, member: Upload) -> Iterator[bytes]:
    try:
        yield from datasets.open(member)
    except errors.UploadChanged:
        raise errors.UploadChanged(f"{member.path} was replaced or deleted while the set was read.") from None
