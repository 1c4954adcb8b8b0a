"""
What stands in for preparing a dataset: the real rules judge each content once, and every history replays what they wrote.

A preparation costs as much time as the rest of a history, and it depends on nothing that a history draws but the content. Reading the
upload, looking for a manifest, committing each file and publishing stay calls on which a fault may fall.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from types import SimpleNamespace
from typing import Any
from unittest import mock

import msgspec

from shared import prepare
from shared.place import FOLDER_KEY
from shared.prepare import ordered
from shared.prepare.preparation import prepare as really_prepare
from shared.reconcile import preparing
from tests.places import MemoryPlace

FOLDER = "once"


@cache
def _known(content: bytes, options: prepare.Options) -> tuple[prepare.Prepared | prepare.Refused, dict[str, bytes]]:
    place = MemoryPlace(folder=FOLDER)
    source = prepare.Source(name="once.jsonl", size=len(content), open=lambda: iter([content]))
    result = really_prepare([source], place, options=options, workdir=Path(gettempdir()))
    files = {path.removeprefix(f"{FOLDER}/"): body for path, body in place.store.items() if isinstance(body, bytes)}
    return result, files


def dataset_sha256(content: bytes, salt: str) -> str:
    """Return what a preparation of this content must come to, '' when its rows cannot be used."""
    result, _ = _known(content, prepare.Options(salt=salt))
    return result.content_sha256 if isinstance(result, prepare.Prepared) else ""


@cache
def files_of(content: bytes, salt: str) -> dict[str, bytes]:
    """Return the published file of each side of this content, {} when its rows cannot be used."""
    result, files = _known(content, prepare.Options(salt=salt))
    return {side: files[file.name] for side, file in result.files.items()} if isinstance(result, prepare.Prepared) else {}


def prepared(
    sources: Sequence[prepare.Source], place: Any, *, options: prepare.Options, workdir: Path, tokenizer: object = None
) -> prepare.Prepared | prepare.Refused:
    (source,) = sources
    result, files = _known(b"".join(source.chunks()), options)
    if isinstance(result, prepare.Refused):
        place.put(prepare.REPORT, files[prepare.REPORT], "application/json")
        return result
    manifest = place.published(result.content_sha256)
    if manifest is None:
        names = {file.name for file in result.files.values()} | {prepare.SAMPLES}
        for name in sorted(names):
            place.commit(name, files[name])
        about = [{"name": source.name, "bytes": source.size, "etag": source.etag, "side": None}]
        manifest = place.publish(result.content_sha256, result.manifest | {"sources": about})
    place.put(prepare.REPORT, files[prepare.REPORT], "application/json")
    return replace(result, manifest=manifest)


def carried_out(document: Any, content: bytes) -> dict[str, bytes] | None:
    """Return what a job of this order writes, None when it fails; the same as `python -m shared.prepare --order`, from what is known."""
    asked = ordered.read_order(document)
    (file,) = asked.files
    if file.bytes != len(content):
        return None
    result, files = _known(content, asked.options)
    written = {name: len(body) for name, body in files.items()}
    if isinstance(result, prepare.Refused):
        outcome = ordered.Outcome(read=asked.files, sentence=result.sentence, files=written, code=result.code)
    else:
        about = [{"name": file.name, "bytes": file.bytes, "etag": file.etag, "side": None}]
        manifest = {key: value for key, value in result.manifest.items() if key != FOLDER_KEY} | {"sources": about}
        outcome = ordered.Outcome(read=asked.files, sentence=result.report["sentence"], files=written, manifest=manifest)
    return files | {ordered.OUTCOME: msgspec.json.encode(outcome)}


@contextlib.contextmanager
def in_place() -> Iterator[None]:
    """Let the loop prepare by this stand-in, which needs no folder for temporary files."""

    def no_folder(**_: Any) -> contextlib.AbstractContextManager[str]:
        return contextlib.nullcontext(gettempdir())

    no_files = SimpleNamespace(TemporaryDirectory=no_folder)
    with mock.patch.object(prepare, "prepare", prepared), mock.patch.object(preparing, "tempfile", no_files):
        yield
