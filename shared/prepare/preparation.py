"""
One pass from bytes to files: lines, rows, what is new among them, one waiting file, three files, one report.

Memory does not grow with the file but for 64-bit keys: about 190 bytes a row in sets and 12 in arrays.
The same bytes with the same options give the same files on every machine and on every version of Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import xxhash

from shared.domain import conversation
from shared.domain.conversation import RULES_VERSION, Code, Complaint
from shared.prepare import files, lines, looks, parquet, result, rows, split
from shared.prepare.options import Options
from shared.prepare.parquet import Unreadable
from shared.prepare.report import Faults
from shared.prepare.result import Prepared, Progress, Refused
from shared.prepare.source import Source, StreamEndedEarly

NumberedRows = Iterator[tuple[int, rows.Row | Code]]
SUFFIXES: Final = {".jsonl": "line", ".parquet": "row"}  # of the name, in any case → what its parts are called
TABLE: Final = "table.part"


def _silent(_progress: Progress) -> None:
    pass


def prepare(source: Source, *, workdir: Path, options: Options, progress: Callable[[Progress], None] = _silent) -> Prepared | Refused:
    """
    Writes train.jsonl, validation.jsonl and test.jsonl into `workdir`, or none of them. Raises StreamEndedEarly when the
    stream was not what it was announced to be, and passes on what the stream itself raises: then nothing is known yet.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    for side in split.SIDES:
        (workdir / f"{side}.jsonl").unlink(missing_ok=True)
    return _Preparation(source, workdir, options, progress).outcome()


class _Preparation:
    def __init__(self, source: Source, workdir: Path, options: Options, progress: Callable[[Progress], None]) -> None:
        self._source = source
        self._workdir = workdir
        self._options = options
        self._progress = progress
        self._format = source.suffix.lower()
        self._faults = Faults(unit=SUFFIXES.get(self._format, "line"), options=options)
        self._conversations: set[int] = set()  # hashes of canonical lines
        self._ids: set[int] = set()  # hashes of prompt ids
        self._rows = 0  # seen, blank lines not counted
        self._head = b""

    def outcome(self) -> Prepared | Refused:
        try:
            self._refuse_by_name_and_size()
            with files.Waiting(self._workdir) as waiting:
                for number, row in self._numbered_rows(waiting):
                    self._rows += 1
                    self._judge(number, row, waiting)
                return self._finished(waiting)
        except Unreadable as unreadable:
            return self._refused(unreadable.complaint)

    def _refuse_by_name_and_size(self) -> None:
        if self._format not in SUFFIXES:
            raise Unreadable(conversation.about_suffix(self._source.suffix))
        if self._source.size == 0:
            raise Unreadable(conversation.about_empty_file())
        if self._source.size > self._options.source_bytes_max:
            raise Unreadable(conversation.about_size(what="bytes", seen=self._source.size, limit=self._options.source_bytes_max))

    # ---------------------------------------------------------------------------------------------------- reading

    def _numbered_rows(self, waiting: files.Waiting) -> NumberedRows:
        chunks = self._counted(waiting)
        return self._rows_of_table(chunks) if self._format == ".parquet" else self._rows_of_lines(chunks)

    def _counted(self, waiting: files.Waiting) -> Iterator[bytes]:
        """The stream's chunks, held to the announced size: a cut-off stream must not pass as a shorter data set."""
        read = 0
        for chunk in self._source.chunks:
            read += len(chunk)
            if read > self._source.size:
                break
            yield chunk
            self._progress(Progress(bytes_read=read, bytes_total=self._source.size, rows=len(waiting)))
        if read != self._source.size:
            raise StreamEndedEarly(f"The stream gave {read:,} bytes, {self._source.size:,} were announced; read it again.")

    def _rows_of_lines(self, chunks: Iterator[bytes]) -> NumberedRows:
        self._head, chunks = _peeked(chunks, looks.HEAD_BYTES)
        if seen := looks.binary(self._head):
            raise Unreadable(conversation.about_looks(looks_like=seen.like, remedy=seen.remedy))
        for number, line in lines.numbered_lines(chunks, bytes_max=self._options.line_bytes_max):
            if line is None:
                yield number, Code.TOO_LONG
            elif line and not line.isspace():
                yield number, rows.read_line(line)

    def _rows_of_table(self, chunks: Iterator[bytes]) -> NumberedRows:
        """A table's index stands at its end, so it has to be on disk before it can be read."""
        path = self._workdir / TABLE
        try:
            with path.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            yield from parquet.numbered_rows(path, self._options)
        finally:
            path.unlink(missing_ok=True)

    # ---------------------------------------------------------------------------------------------------- judging

    def _judge(self, number: int, row: rows.Row | Code, waiting: files.Waiting) -> None:
        if isinstance(row, Code):
            self._faults.add(row, number)
            return
        if self._answers_too_late(row):
            self._faults.add(Code.BEYOND_CONTEXT, number)
            return
        written = rows.encoded(row)
        content = xxhash.xxh3_64_intdigest(written)
        if content in self._conversations:
            self._faults.add(Code.DUP_CONTENT, number)
            return
        self._conversations.add(content)
        self._note(number, row)
        waiting.add(written, split.prompt_key(row.first_user_message, self._options.salt))

    def _answers_too_late(self, row: rows.Row) -> bool:
        roles = [message.role for message in row.messages]
        contents = [message.content for message in row.messages]
        return conversation.characters_before_answer(roles, contents) > self._options.context_characters_max

    def _note(self, number: int, row: rows.Row) -> None:
        if row.has_unknown_keys:
            self._faults.add(Code.UNKNOWN_KEY, number)
        if row.prompt_id is None:
            return
        hashed = xxhash.xxh3_64_intdigest(row.prompt_id.encode())
        if hashed in self._ids:
            self._faults.add(Code.DUP_ID, number)
        self._ids.add(hashed)

    # ---------------------------------------------------------------------------------------------------- ending

    def _finished(self, waiting: files.Waiting) -> Prepared | Refused:
        accepted = len(waiting)
        if not self._rows:
            return self._refused(conversation.about_empty_file())
        if seen := self._another_format():
            return self._refused(conversation.about_looks(looks_like=seen.like, remedy=seen.remedy))
        if self._faults.rows_refused > self._options.bad_rows_max_share * self._rows:
            return self._refused(None, accepted)
        side_of = split.sides(waiting.keys, self._options)
        if side_of is None:
            return self._refused(_about_too_few(waiting, self._options), accepted)
        made, samples = waiting.deal_out(side_of, self._options)
        report = self._report("accepted", accepted, result.splits(made))
        return Prepared(files=made, content_sha256=files.content_sha256(made), report=report, samples=samples)

    def _another_format(self) -> looks.Looks | None:
        """Asked only when no row at all was even an object: one stray line above good rows is a bad line."""
        nothing_usable = self._faults.consist_of(Code.BAD_JSON, Code.BAD_TYPE, Code.BAD_UTF8, Code.TOO_LONG)
        return looks.text(self._head) if nothing_usable and self._faults.rows_refused == self._rows else None

    def _refused(self, whole_file: Complaint | None, accepted: int = 0) -> Refused:
        if whole_file:
            self._faults.add_whole_file(whole_file)
        report = self._report("rejected", accepted, {})
        return Refused(sentence=self._faults.sentence(), code=self._faults.main().code, report=report)

    def _report(self, verdict: str, accepted: int, splits: dict[str, Any]) -> dict[str, Any]:
        return {
            "verdict": verdict,
            "source": {
                "format": self._format.removeprefix(".") if self._format in SUFFIXES else None,
                "bytes": self._source.size,
            },
            "rows": self._rows,
            "accepted": accepted,
            "faults": self._faults.as_dict(),
            "splits": splits,
            "rules_version": RULES_VERSION,
        }


def _about_too_few(waiting: files.Waiting, options: Options) -> Complaint:
    needed = options.rows_min.all
    if len(waiting) < sum(needed):
        return conversation.about_too_few_rows(usable=len(waiting), needed=needed)
    return conversation.about_too_few_prompts(usable=len(waiting), prompts=len(set(waiting.keys)), needed=needed)


def _peeked(chunks: Iterator[bytes], wanted: int) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, and the same chunks again from the start."""
    first: list[bytes] = []
    for chunk in chunks:
        first.append(chunk)
        if sum(map(len, first)) >= wanted:
            break
    return b"".join(first)[:wanted], _one_after_the_other(first, chunks)


def _one_after_the_other(first: Iterable[bytes], rest: Iterable[bytes]) -> Iterator[bytes]:
    yield from first
    yield from rest
