"""
One pass from bytes to files: lines, rows, what is new among them, where each belongs, three files, one report, the manifest last.

Memory does not grow with the upload but for hashes: about 70 bytes a row. The same bytes with the same options give the same files on
every machine and on every version of Python.
"""

from __future__ import annotations

import codecs
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import msgspec
import xxhash

from shared.domain import conversation
from shared.domain.conversation import RULES_VERSION, Code, Complaint
from shared.place import Place
from shared.prepare import lines, looks, outputs, readers, result, rows, split, tokens
from shared.prepare.formats import Layout, format_of, rows_possible
from shared.prepare.keys import KeySet
from shared.prepare.options import Options
from shared.prepare.outputs import NoCut, Quarantine, Sides
from shared.prepare.readers import Reading, Unreadable
from shared.prepare.report import Faults, Measures, cost_basis, token_facts
from shared.prepare.result import Prepared, PreparedFile, Progress, Refused
from shared.prepare.shapes import MESSAGES
from shared.prepare.source import SIDES, Side, Source
from shared.prepare.tokenizer import Sample, Tokenizer

REPORT: Final = "report.json"
PAGE: Final = "report.html"
SAMPLES: Final = "samples.json"
JSON: Final = "application/json"
HTML: Final = "text/html; charset=utf-8"
REPORT_SCHEMA: Final = 1
BAD_ROWS_READ_MAX: Final = 100_000  # once nothing can save the upload; up to here a report counts them all
BAD_ROWS_BETWEEN: Final = 4_096  # two looks at that


def _silent(_progress: Progress) -> None:
    pass


def prepare(
    sources: Sequence[Source],
    place: Place,
    *,
    options: Options,
    workdir: Path,
    tokenizer: Tokenizer | None = None,
    progress: Callable[[Progress], None] = _silent,
) -> Prepared | Refused:
    """
    Judge every row of the sources and publish what training can use, or nothing of it; the report is written either way. `workdir` is
    needed for tables alone; with a `tokenizer` tokens are counted where their number decides, and estimated better elsewhere. Raise
    StreamEndedEarly when a stream was not what it was announced to be, and pass on what a stream or the place itself raises: then
    nothing is known yet, and nothing is published.
    """
    in_order = sorted(sources, key=lambda source: (SIDES.index(source.side or "train"), source.name))  # not as they happened to be named
    asked = _Asked(sources=in_order, place=place, options=options, workdir=workdir, tokenizer=tokenizer)
    return _Preparation(asked, progress).outcome()


def refused(complaint: Complaint, place: Place, *, options: Options) -> Refused:
    """Refuse an upload of which nothing can be read, with a report as of any other refusal."""
    asked = _Asked(sources=(), place=place, options=options, workdir=Path(), tokenizer=None)
    return _Preparation(asked, _silent).refused(complaint)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    sources: Sequence[Source]
    place: Place
    options: Options
    workdir: Path
    tokenizer: Tokenizer | None

    @property
    def given(self) -> frozenset[Side]:
        """Sides that have files of their own; the others are cut from the rest."""
        return frozenset(source.side for source in self.sources if source.side is not None and source.side != "train")


class _Rejected(Exception):
    """The rows are known and are not good enough. `complaint`: about the whole file; None: the faults of its rows say it."""

    def __init__(self, complaint: Complaint | None) -> None:
        super().__init__()
        self.complaint = complaint


class _Hopeless(Exception):
    """Whatever stands in the rest, the upload is rejected: the rest is not read."""


class _Preparation:
    def __init__(self, asked: _Asked, progress: Callable[[Progress], None]) -> None:
        self._asked = asked
        self._place = asked.place
        self._progress = progress
        self._passes = 1

    def outcome(self) -> Prepared | Refused:
        judged = self._pass(None)
        try:
            judged.read()
            if better := judged.better_cut():
                judged.abandon()
                self._passes = 2
                judged = self._pass(better)
                judged.read()
            return self._published(judged)
        except (Unreadable, _Rejected) as rejected:
            return self._refused(judged, rejected.complaint)
        finally:
            judged.abandon()

    def refused(self, complaint: Complaint) -> Refused:
        """Without reading anything."""
        unread = self._pass(None)
        try:
            return self._refused(unread, complaint)
        finally:
            unread.abandon()

    def _pass(self, side_of: split.SideOf | None) -> _Pass:
        return _Pass(self._asked, self._tell, side_of)

    def _tell(self, bytes_read: int, rows_taken: int) -> None:
        total = sum(source.size for source in self._asked.sources)
        self._progress(Progress(bytes_read=(self._passes - 1) * total + bytes_read, bytes_total=self._passes * total, rows=rows_taken))

    def _published(self, judged: _Pass) -> Prepared:
        files, samples = judged.sides.finished()
        content = outputs.content_sha256(files)
        manifest = result.manifest(
            files=files,
            content_sha256=content,
            sources=self._asked.sources,
            options=self._asked.options,
            method=judged.sides.method,
            tokenizer=self._asked.tokenizer.sha256 if self._asked.tokenizer else "",
        )
        report = judged.report("accepted", _accepted(files, judged.faults), files)
        there = self._place.published(content)
        if there is None:
            judged.sides.commit()
        self._put_report(judged, report)
        self._place.put(SAMPLES, _json({"samples": samples}), JSON)
        return Prepared(files=files, content_sha256=content, manifest=there or self._place.publish(content, manifest), report=report)

    def _refused(self, judged: _Pass, complaint: Complaint | None) -> Refused:
        if complaint:
            judged.faults.add_whole_file(complaint)
        sentence = judged.faults.sentence()
        report = judged.report("rejected", sentence, {})
        self._put_report(judged, report)
        return Refused(sentence=sentence, code=str(judged.faults.main().code), report=report)

    def _put_report(self, judged: _Pass, report: dict[str, Any]) -> None:
        from shared.prepare import page

        judged.quarantine.output.finished()
        judged.quarantine.output.commit()
        self._place.put(REPORT, _json(report), JSON)
        self._place.put(PAGE, page.html(report), HTML)


class _Pass:
    """One reading of all sources."""

    def __init__(self, asked: _Asked, tell: Callable[[int, int], None], side_of: split.SideOf | None) -> None:
        self._sources = asked.sources
        self._options = options = asked.options
        self._workdir = asked.workdir
        self._tokenizer = asked.tokenizer
        self._tell = tell
        self._given = asked.given
        self.sides = Sides(asked.place, options, given=self._given, side_of=side_of)
        self.quarantine = Quarantine(asked.place, options)
        self.faults = Faults(options)
        self.faults.name_files = len(asked.sources) > 1
        self._measures = Measures()
        self._sample = Sample() if asked.tokenizer else None
        self._dropped = 0
        self._rows = 0  # seen, blank lines not counted
        self._bytes_read = 0
        self._contents = KeySet()
        self._ids = KeySet()
        self._prompts = KeySet()
        self._held_out: dict[Side, KeySet] = {side: KeySet() for side in self._given}
        self._files = [_about(source) for source in asked.sources]
        self._head = b""
        self._layout = Layout.LINES

    def abandon(self) -> None:
        """Forget what is not committed."""
        self.sides.abandon()
        self.quarantine.output.abandon()

    # ---------------------------------------------------------------------------------------------------- reading

    def read(self) -> None:
        """Raise Unreadable, or _Rejected when too many rows are bad."""
        total = sum(source.size for source in self._sources)
        if total > self._options.source_bytes_max:
            raise Unreadable(
                conversation.about_size(what="bytes", seen=total, limit=self._options.source_bytes_max, files=len(self._sources))
            )
        held_out_first = sorted(range(len(self._sources)), key=lambda at: -SIDES.index(self._sources[at].side or "train"))
        for at in held_out_first:
            try:
                self._read(self._sources[at], self._files[at])
            except _Hopeless:
                break
            except Unreadable as wrong:
                name = self._sources[at].name
                raise Unreadable(conversation.of_file(wrong.complaint, name) if self.faults.name_files else wrong.complaint) from None
        if not self._rows:
            raise Unreadable(conversation.about_empty_file())
        if self.faults.bad > Fraction(str(self._options.bad_rows_max_share)) * self._rows:  # 29 rows are not more than 0.29 of 100
            raise _Rejected(self._another_format())

    def _read(self, source: Source, about: dict[str, Any]) -> None:
        reading = readers.reading(source, self._options, workdir=self._workdir, read=self._tell_read)
        about["format"] = reading.format.name
        self.faults.begin(source.name, reading.format.unit)
        self._head = b""
        self._layout = reading.format.layout
        self._judge(source, reading, about)

    def _tell_read(self, count: int) -> None:
        self._bytes_read += count
        self._tell(self._bytes_read, len(self.sides))

    def _peeked(self, chunks: Iterator[bytes], file: str) -> Iterator[bytes]:
        """The same chunks; their head is looked at and kept."""
        for chunk in chunks:
            if len(self._head) < looks.HEAD_BYTES:
                self._head = (self._head + chunk)[: looks.HEAD_BYTES]
                if seen := looks.binary(self._head):
                    raise Unreadable(conversation.about_looks(looks_like=seen.like, remedy=seen.remedy))
            yield chunk
        if self._head.startswith(codecs.BOM_UTF8):
            self.faults.add(Code.BYTE_ORDER_MARK, file, 1, None)

    # ---------------------------------------------------------------------------------------------------- judging

    def _judge(self, source: Source, reading: Reading, about: dict[str, Any]) -> None:  # noqa: PLR0915 - a call costs more than its statements
        """The hot loop: what is done here, is done for each of millions of rows. A plain one is held against it in tests/prepare."""
        options, file, faults, drop = self._options, source.name, self.faults, self._drop
        reader = rows.Reader(options.repairs)
        read, written = reader.read, reader.written
        hashed = xxhash.xxh3_64_intdigest
        is_new_content, is_new_id, is_new_prompt = self._contents.add, self._ids.add, self._prompts.add
        add, measure = self.sides.add, self._measures.add
        salt = split.salt_bytes(options.salt)
        side: Side | None = source.side if source.side in self._given else None
        held_out_here = self._held_out[side] if side else None
        held_out_elsewhere = [keys for other, keys in self._held_out.items() if other != side and len(keys)]
        surely_within = tokens.bytes_surely_within(options.context_tokens)
        sample = self._sample
        others: Counter[str] = Counter()  # rows in shapes other than messages; hashing a name costs more than comparing it
        in_messages = 0
        seen = first_carriage_return = carriage_returns = 0
        judged: bytes | None = None  # the last line that was read
        again = Code.DUP_CONTENT  # what the same line is once more: in a bomb of one row, reading it anew takes longer than all else
        try:
            for number, line in lines.numbered_lines(self._peeked(reading.chunks, file), bytes_max=options.line_bytes_max):
                if line is None:
                    seen += 1
                    drop(Code.TOO_LONG, file, number, None)
                    continue
                if line[-1:] == b"\r":
                    carriage_returns += 1
                    first_carriage_return = first_carriage_return or number
                if not line or line.isspace():
                    if reading.format.has_blank_lines:
                        faults.add(Code.BLANK_LINE, file, number, None)
                    continue
                seen += 1
                if line == judged:
                    drop(again, file, number, line)
                    continue
                row = read(line)
                judged = line
                if isinstance(row, Code):
                    again = row
                    drop(row, file, number, line)
                    continue
                late = self._answers_late(row, surely_within) if len(written) > surely_within else None
                if late is Code.BEYOND_CONTEXT:
                    again = late
                    drop(late, file, number, line)
                    continue
                key = hashed(conversation.normalised_prompt(row.first_user_message) + salt)
                if held_out_elsewhere and any(key in keys for keys in held_out_elsewhere):
                    again = Code.PROMPT_LEAKS
                    drop(again, file, number, line)
                    continue
                again = Code.DUP_CONTENT
                content = hashed(written)
                if not is_new_content(content):
                    drop(Code.DUP_CONTENT, file, number, line)
                    continue
                if late:
                    faults.add(late, file, number, line)
                if not is_new_prompt(key):
                    faults.add(Code.DUP_PROMPT, file, number, line)
                if row.prompt_id is not msgspec.UNSET and not is_new_id(hashed(row.prompt_id.encode())):
                    faults.add(Code.DUP_ID, file, number, line)
                for note in reader.notes:
                    faults.add(note, file, number, line)
                if sample is not None:
                    sample.offer(content, written)
                if held_out_here is not None:
                    held_out_here.add(key)
                if reader.shape is MESSAGES:
                    in_messages += 1
                else:
                    others[reader.shape] += 1
                measure(len(written), reader.roles)
                add(written, key, side, may_be_first=late is None)
        finally:  # also of a file that turns out to be unreadable half-way
            about["rows"] = seen
            about["shapes"] = ({str(MESSAGES): in_messages} if in_messages else {}) | {str(shape): n for shape, n in sorted(others.items())}
            self._rows += seen
            if carriage_returns:
                faults.add(Code.CRLF, file, first_carriage_return, None, count=carriage_returns)

    def _drop(self, code: Code, file: str, number: int, line: bytes | None) -> None:
        self.faults.add(code, file, number, line)
        self.quarantine.add(file=file, number=number, code=code, text=line)
        self._dropped += 1
        if self._dropped % BAD_ROWS_BETWEEN == 0 and self._is_hopeless():
            raise _Hopeless

    def _is_hopeless(self) -> bool:
        """Whether so many rows are bad that the rest cannot outweigh them, even if it were nothing but the shortest good ones."""
        bad, limits = self.faults.bad, self._options.unpack
        if bad < BAD_ROWS_READ_MAX:
            return False
        forms = ((format_of(one.name, b""), one.size) for one in self._sources)
        possible = sum(rows_possible(form, size, limits) for form, size in forms if form)
        return bad > Fraction(str(self._options.bad_rows_max_share)) * possible

    def _answers_late(self, row: rows.Row, surely_within: int) -> Code | None:
        """Too late for the model to learn from it, perhaps too late, or in time."""
        texts = list(itertools.takewhile(_is_no_answer, row.messages))
        before = sum(len(message.content.encode()) for message in texts)
        if before <= surely_within:
            return None
        if before > tokens.bytes_surely_beyond(self._options.context_tokens):
            return Code.BEYOND_CONTEXT
        if self._tokenizer is None:
            return Code.NEAR_CONTEXT
        counted = self._tokenizer.count_messages([message.content for message in texts])
        return Code.BEYOND_CONTEXT if counted >= self._options.context_tokens else None

    # ---------------------------------------------------------------------------------------------------- ending

    def _another_format(self) -> Complaint | None:
        """
        Asked only when no row at all was even an object: one stray line above good rows is a bad line. What a table or an array was turned
        into is ours and says nothing of the file.
        """
        if self._layout is not Layout.LINES:
            return None
        nothing_usable = self.faults.consist_of(Code.BAD_JSON, Code.BAD_TYPE, Code.BAD_UTF8, Code.TOO_LONG)
        seen = looks.text(self._head) if nothing_usable and self.faults.bad == self._rows else None
        return conversation.about_looks(looks_like=seen.like, remedy=seen.remedy) if seen else None

    def better_cut(self) -> split.SideOf | None:
        """None when every row lies right; otherwise the cut with which to read the sources again. Raise _Rejected."""
        try:
            better = self.sides.better_cut()
        except NoCut:
            raise _Rejected(self._too_few()) from None
        short = [side for side in self._given if self.sides.counts[side] < getattr(self._options.rows_min, side)]
        if short:
            raise _Rejected(conversation.about_short_side(short[0], self.sides.counts[short[0]], getattr(self._options.rows_min, short[0])))
        return better

    def _too_few(self) -> Complaint:
        needed = tuple(0 if side in self._given else least for side, least in zip(SIDES, self._options.rows_min.all, strict=True))
        train, validation, test = needed
        keys = self.sides.keys
        if len(keys) < sum(needed):
            return conversation.about_too_few_rows(usable=len(keys), needed=(train, validation, test), files=len(self._sources))
        return conversation.about_too_few_prompts(usable=len(keys), prompts=len(set(keys)), needed=(train, validation, test))

    def report(self, verdict: str, sentence: str, files: Mapping[Side, PreparedFile]) -> dict[str, Any]:
        faults, measures, options = self.faults, self._measures, self._options
        codes = faults.as_dict()
        token_counts = token_facts(
            measures, faults, options, self._sample.counted(self._tokenizer) if self._sample and self._tokenizer else ()
        )
        training_rows = files["train"].rows if files else 0
        return {
            "schema": REPORT_SCHEMA,
            "verdict": verdict,
            "sentence": sentence,
            "what_to_fix": faults.what_to_fix(),
            "rules_version": RULES_VERSION,
            "tool_version": result.TOOL_VERSION,
            "files": self._files,
            "rows": self._rows,
            "accepted": len(self.sides),
            "bad": faults.bad,
            "thresholds": {"bad_rows_max_share": options.bad_rows_max_share},
            "codes": codes,
            "unit": faults.unit,
            "split": {"method": self.sides.method, "validation_share": options.validation_share, "test_share": options.test_share},
            "splits": {side: result.facts(file) for side, file in files.items()},
            "duplicates": {
                "content": faults.count(Code.DUP_CONTENT),
                "id": faults.count(Code.DUP_ID),
                "prompt": faults.count(Code.DUP_PROMPT),
            },
            "lengths": measures.lengths(),
            "roles": measures.roles(),
            "tokens": token_counts,
            "cost_basis": cost_basis(estimated_tokens=token_counts["estimate"], training_rows=training_rows, accepted=len(self.sides)),
            "quarantine": {"rows": self.quarantine.rows, "written": self.quarantine.output.rows},
        }


def _is_no_answer(message: rows.Message) -> bool:
    return message.role != "assistant"


def _about(source: Source) -> dict[str, Any]:
    return {
        "name": source.name,
        "format": "unknown",
        "bytes": source.size,
        "etag": source.etag,
        "rows": 0,
        "side": source.side,
        "shapes": {},
        "notes": [],
    }


def _accepted(files: Mapping[Side, PreparedFile], faults: Faults) -> str:
    counts = ", ".join(f"{file.rows:,} {side}" for side, file in files.items())
    dropped = f" {faults.dropped:,} dropped." if faults.dropped else ""
    return f"{sum(file.rows for file in files.values()):,} rows can be used: {counts}.{dropped}"


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"
