"""
A preparation that is asked for by a file and answered by a file, so that another machine can do it.

The order names the uploads and their versions, which the machine that reads copies of them cannot know, and carries the options. The
outcome stands beside the files and says what the process would have returned; a rejected dataset is an outcome like any other. The
manifest is in it and not in the folder: only whoever gave the order publishes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from shared import errors
from shared.domain import conversation
from shared.domain.structs import learn
from shared.place import CONTENT_KEY, FOLDER_KEY, MANIFEST
from shared.prepare import outputs
from shared.prepare.folder import FolderPlace
from shared.prepare.options import Options
from shared.prepare.preparation import PAGE, REPORT, SAMPLES, prepare, refused
from shared.prepare.result import Prepared, PreparedFile, Progress, Refused
from shared.prepare.source import SIDES, Side, Source, StreamEndedEarly, source_of_file
from shared.prepare.tokenizer import BadTokenizer, read_tokenizer

ORDER: Final = "order.json"
OUTCOME: Final = "outcome.json"
T = TypeVar("T")
CHECKED_BYTES_MAX: Final = 32 << 20  # larger files are held to their size alone: reading them again is what the order was to avoid


class OrderedFile(msgspec.Struct, frozen=True, kw_only=True):
    name: str  # as the report shall call it; its endings say what it is
    bytes: int
    etag: str
    side: Side | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True):
    schema: int = 1
    files: tuple[OrderedFile, ...]
    options: Options
    tokenizer: OrderedFile | None = None

    @property
    def read(self) -> tuple[OrderedFile, ...]:
        """Everything that is read for it, in the order of the command's arguments."""
        return (*self.files, self.tokenizer) if self.tokenizer else self.files


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    schema: int = 1
    read: tuple[OrderedFile, ...]  # the uploads of the order; a tokenizer is named by its hash, in the manifest
    sentence: str
    files: dict[str, int]  # bytes of everything that was written beside it
    manifest: dict[str, Any] | None = None  # of an accepted dataset, without a folder; None: rejected
    code: str = ""  # of the main fault of a rejected one

    @property
    def prepared_files(self) -> dict[Side, PreparedFile]:
        """Raise ValueError when the manifest does not name the three files, and these by their own names."""
        files = _converted((self.manifest or {}).get("files"), dict[Side, PreparedFile])
        if {side: file.name for side, file in files.items()} != {side: f"{side}.jsonl" for side in SIDES}:
            raise ValueError("it does not name the three files")
        return files

    @property
    def content_sha256(self) -> str:
        return str((self.manifest or {}).get(CONTENT_KEY))


learn(Order, Outcome, PreparedFile)


def order(sources: Sequence[Source], options: Options, tokenizer: Source | None = None) -> Order:
    """Return the order that makes another machine do what `prepare` would do here."""
    return Order(files=tuple(map(_ordered, sources)), options=options, tokenizer=_ordered(tokenizer) if tokenizer else None)


def _ordered(source: Source) -> OrderedFile:
    return OrderedFile(name=source.name, bytes=source.size, etag=source.etag, side=source.side)


def read_order(document: Any) -> Order:
    """Raise ValueError when it is no order, or has options that this version does not know."""
    return _converted(document, Order)


def read_outcome(document: Any) -> Outcome:
    """Raise ValueError when it is no outcome."""
    return _converted(document, Outcome)


def _converted(document: Any, kind: type[T]) -> T:
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as wrong:
        raise ValueError(str(wrong)) from None


def carry_out(asked: Order, files: Sequence[Path], out: Path, *, workdir: Path, progress: Callable[[Progress], None]) -> Prepared | Refused:
    """
    Prepare copies of the ordered files into `out` and write the outcome there, last. Raise StreamEndedEarly when a copy has another size
    than its upload, and what `prepare` raises.
    """
    sources = []
    for ordered, file in zip(asked.read, files, strict=True):
        copy = source_of_file(file)
        if copy.size != ordered.bytes:
            raise StreamEndedEarly(f"{file.name} has {copy.size:,} bytes, the upload has {ordered.bytes:,}: it is another version.")
        sources.append(Source(name=ordered.name, size=copy.size, open=copy.open, etag=ordered.etag, side=ordered.side))
    place, counts = FolderPlace(out), sources.pop() if asked.tokenizer else None
    result: Prepared | Refused
    try:
        with read_tokenizer(counts, workdir, asked.options.unpack) as tokenizer:
            result = prepare(sources, place, options=asked.options, workdir=workdir, tokenizer=tokenizer, progress=progress)
    except BadTokenizer as wrong:
        result = refused(conversation.about_tokenizer(str(wrong)), place, options=asked.options)
    (out / MANIFEST).unlink(missing_ok=True)
    written = {path.name: path.stat().st_size for path in sorted(out.iterdir()) if path.name != OUTCOME}
    if isinstance(result, Refused):
        outcome = Outcome(read=asked.files, sentence=result.sentence, files=written, code=result.code)
    else:
        manifest = {key: value for key, value in result.manifest.items() if key != FOLDER_KEY}
        outcome = Outcome(read=asked.files, sentence=result.report["sentence"], files=written, manifest=manifest)
    (out / OUTCOME).write_bytes(msgspec.json.format(msgspec.json.encode(outcome), indent=1) + b"\n")
    return result


def check(outcome: Outcome, there: Mapping[str, tuple[int, str | None]]) -> None:
    """
    Hold what lies in the folder (name -> bytes, and sha256 where it was cheap) to what the outcome says. Raise TryLater, and ValueError
    when the outcome contradicts itself.
    """
    files = outcome.prepared_files if outcome.manifest is not None else {}
    needed = {outputs.QUARANTINE, REPORT, PAGE, *([SAMPLES] if files else []), *(file.name for file in files.values())}
    if absent := sorted(needed - outcome.files.keys()):
        raise ValueError(f"it says nothing of {absent[0]}")
    if files and outcome.content_sha256 != outputs.content_sha256(files):  # which is part of the manifest's address
        raise ValueError("its content_sha256 is not that of its files")
    for name, size in outcome.files.items():
        if name not in there or there[name][0] != size:
            seen = f"{there[name][0]:,}" if name in there else "no"
            raise errors.TryLater(f"{name} has {seen} bytes, the job wrote {size:,}.")
    for file in files.values():
        size, sha256 = there[file.name]
        if size != file.bytes or sha256 not in (None, file.sha256):
            raise errors.TryLater(f"{file.name} is not what the job wrote.")
