"""
What report.json and quarantine.jsonl hold, field by field: one place for the code, the page that people read, and the docs.

A report that does not have this shape is a mistake of ours, never of an upload. `read` says so with the path of the field; `check` says
so too where fields contradict each other. docs/report.md has its tables from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from shared.domain import structs

Side = Literal["train", "validation", "test"]
Severity = Literal["fatal", "dropped", "repaired", "noted"]


class ReportIsWrong(Exception):
    """The report contradicts itself or its shape; the text names the field."""


def _is(meaning: str, unit: str = "") -> msgspec.Meta:
    """For texts, words and parts that have a table of their own."""
    return msgspec.Meta(description=meaning, extra={"unit": unit})


def _count(unit: str, meaning: str) -> msgspec.Meta:
    return msgspec.Meta(description=meaning, extra={"unit": unit}, ge=0)


def _number(meaning: str) -> msgspec.Meta:
    """The number of a line, row or item, as editors and tables count."""
    return msgspec.Meta(description=meaning, extra={"unit": "number, from 1"}, ge=1)


def _share(meaning: str) -> msgspec.Meta:
    return msgspec.Meta(description=meaning, extra={"unit": "share, 0 to 1"}, ge=0, le=1)


class File(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One file of the upload."""

    name: Annotated[str, _is("as it was given: a path in the container, or a file's name at the command line")]
    format: Annotated[str, _is("how it was read, by the endings of its name")]
    bytes: Annotated[int, _count("bytes", "size as it was uploaded, packed if it is packed")]
    etag: Annotated[str, _is("version of the blob that was read; empty for a file of this machine")]
    rows: Annotated[int, _count("rows", "rows found in it")]
    side: Annotated[Side | None, _is("where its rows go when the owner split the set; null: we split")]
    shapes: Annotated[dict[str, int], _is("rows by the shape that they had before they became `messages`", "rows")]
    notes: Annotated[list[str], _is("what else was seen, one sentence each")]


class Thresholds(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The limits that the verdict followed."""

    bad_rows_max_share: Annotated[float, _share("more bad rows than this share of all rows reject the upload")]


class First(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Where one of the first rows of a kind stands."""

    file: Annotated[str, _is("name of its file")]
    line: Annotated[int, _number("where it stands in that file, counted in `unit`")]
    excerpt: Annotated[str | None, _is("the beginning of its text, short; null: excerpts are switched off, or there is no text")]


class Finding(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What was found of one kind."""

    severity: Annotated[
        Severity, _is("`fatal`: the file is rejected; `dropped`: the row is left out; `repaired`: the row is kept, mended; `noted`: kept")
    ]
    count: Annotated[int, _count("rows", "rows of this kind; 1 for what is wrong with a whole file")]
    what: Annotated[str, _is("a clause that names what was seen")]
    remedy: Annotated[str, _is("what its owner can do, or what was done")]
    sentence: Annotated[str, _is("both, as one sentence for people")]
    first_lines: Annotated[
        list[Annotated[int, msgspec.Meta(ge=1)]],
        _is("where the first of them stand; empty for what is wrong with a whole file", "number, from 1"),
    ]
    first: Annotated[list[First], _is("the first of them, with file and text")]


class Split(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How the rows were divided."""

    method: Annotated[
        Literal["fixed_cut", "counted_off", "given"],
        _is(
            "`fixed_cut`: a hash of the prompt decides each row; `counted_off`: the rows with the smallest hashes are held out, because "
            "there are few, or few prompts that begin most of them; `given`: the owner split the set"
        ),
    ]
    validation_share: Annotated[float, _share("wished for validation; unused when the split is given")]
    test_share: Annotated[float, _share("wished for test; unused when the split is given")]


class Written(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One of the three files that training reads."""

    rows: Annotated[int, _count("rows", "rows in it")]
    bytes: Annotated[int, _count("bytes", "its size")]
    sha256: Annotated[str, _is("over its bytes", "hex")]


class Duplicates(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What came more than once; the first one is not counted."""

    content: Annotated[int, _count("rows", "the same messages again")]
    id: Annotated[int, _count("rows", "the same id again, with other messages")]
    prompt: Annotated[int, _count("rows", "the same prompt again but for ASCII case, spacing and punctuation; kept, on one side")]


class Lengths(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How long the accepted rows are, as they are written."""

    unit: Annotated[Literal["bytes"], _is("what lengths are counted in")]
    buckets: Annotated[
        list[tuple[int, int]], _is("pairs of a length and the rows up to it, itself included, that are in no pair before", "bytes, rows")
    ]
    longest: Annotated[int, _count("bytes", "the longest row")]
    total: Annotated[int, _count("bytes", "all rows")]


class Pattern(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One order of roles."""

    roles: Annotated[str, _is("the roles of a row in their order, a blank between two")]
    rows: Annotated[int, _count("rows", "rows that have it")]


class Roles(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Who speaks in the accepted rows."""

    messages: Annotated[dict[str, int], _is("messages by role", "messages")]
    patterns: Annotated[list[Pattern], _is("the most frequent orders of roles, the most frequent first")]


class Tokens(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How much a model has to read, and what does not fit."""

    context: Annotated[int, _count("tokens", "what the model reads of one row; the rest is cut")]
    estimate: Annotated[int, _count("tokens", "all accepted rows together")]
    low: Annotated[int, _count("tokens", "lower end of the band around the estimate")]
    high: Annotated[int, _count("tokens", "upper end of the band")]
    basis: Annotated[
        Literal["assumed", "sampled", "exact"],
        _is(
            "`assumed`: characters times a ratio that nobody measured on this text; `sampled`: the ratio was measured on a sample of the "
            "rows with a tokenizer; `exact`: every row was counted with it"
        ),
    ]
    beyond_context: Annotated[int, _count("rows", "no answer begins within the context: training would learn nothing from them")]
    near_context: Annotated[int, _count("rows", "too near to the limit for the estimate to say")]
    cut: Annotated[int, _count("rows", "longer than the context: kept, their end is not read")]


class CostBasis(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What the price of a training follows from, before recipe and compute are known."""

    tokens_per_epoch: Annotated[int, _count("tokens", "one pass over the training rows")]
    rows_per_epoch: Annotated[int, _count("rows", "training rows")]
    steps_per_epoch: Annotated[dict[str, int], _is("steps of the optimiser by rows in a batch over all devices", "steps")]


class Quarantine(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The rows that were left out."""

    rows: Annotated[int, _count("rows", "rows left out")]
    written: Annotated[int, _count("rows", "of these in quarantine.jsonl, which has an upper limit")]


class Report(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """
    report.json, schema 1. A field that changes its meaning or goes raises the number; a new field keeps it and comes with its line here.
    """

    schema: Annotated[Literal[1], _is("version of this shape")]
    verdict: Annotated[Literal["accepted", "rejected"], _is("whether training may use the upload")]
    sentence: Annotated[str, _is("the verdict for its owner, with the main reason")]
    what_to_fix: Annotated[list[str], _is("what its owner should do, the most important first; one sentence each")]
    rules_version: Annotated[int, _count("", "rises when a rule changes what is accepted or written")]
    tool_version: Annotated[str, _is("version of Tuneloop")]
    files: Annotated[list[File], _is("the files of the upload")]
    rows: Annotated[int, _count("rows", "rows found in all files")]
    accepted: Annotated[int, _count("rows", "rows kept, repaired ones among them")]
    bad: Annotated[int, _count("rows", "rows that no training can use; only they count against the threshold")]
    thresholds: Annotated[Thresholds, _is("the limits that the verdict followed")]
    codes: Annotated[dict[str, Finding], _is("what was found, by its code; codes never change their spelling")]
    unit: Annotated[Literal["line", "row", "item"], _is("what is numbered: lines of a text, rows of a table, items of a JSON array")]
    split: Annotated[Split, _is("how the rows were divided")]
    splits: Annotated[dict[Side, Written], _is("the files that training reads; empty when rejected")]
    duplicates: Annotated[Duplicates, _is("what came more than once")]
    lengths: Annotated[Lengths, _is("how long the accepted rows are")]
    roles: Annotated[Roles, _is("who speaks in the accepted rows")]
    tokens: Annotated[Tokens, _is("how much a model has to read")]
    cost_basis: Annotated[CostBasis, _is("what the price of a training follows from")]
    quarantine: Annotated[Quarantine, _is("the rows that were left out")]


class QuarantineRow(Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One line of quarantine.jsonl."""

    file: Annotated[str, _is("name of the file that the row is from")]
    line: Annotated[int, _number("where it stands in that file, counted in the report's `unit`")]
    code: Annotated[str, _is("why it was left out; its sentence is in the report under `codes`")]
    text: Annotated[str | UnsetType, _is("the row as it was found, at most 64 KiB of it; absent when its line was too long")] = UNSET
    cut: Annotated[bool, _is("true when `text` is only the beginning of the row")] = False


PARTS: Final = {  # the table in docs/report.md -> what it describes
    "report": Report,
    "report-files": File,
    "report-codes": Finding,
    "report-first": First,
    "report-thresholds": Thresholds,
    "report-split": Split,
    "report-splits": Written,
    "report-duplicates": Duplicates,
    "report-lengths": Lengths,
    "report-roles": Roles,
    "report-patterns": Pattern,
    "report-tokens": Tokens,
    "report-cost-basis": CostBasis,
    "report-quarantine": Quarantine,
    "quarantine-row": QuarantineRow,
}

structs.learn(Report, QuarantineRow)


def read(report: Mapping[str, Any]) -> Report:
    """Return the report with its types. Raises ReportIsWrong with the path of the field that is missing, unknown or of another type."""
    try:
        return msgspec.convert(report, Report)
    except msgspec.ValidationError as error:
        raise ReportIsWrong(str(error)) from error


def check(report: Mapping[str, Any]) -> Report:
    """Return what `read` does, and raise ReportIsWrong as well where fields contradict each other."""
    found = read(report)
    if wrong := contradictions(found):
        raise ReportIsWrong(" ".join(wrong))
    return found


def contradictions(report: Report) -> list[str]:
    """Return a sentence for each; no type can say these."""
    rejected = report.verdict == "rejected"
    uppers = [upper for upper, _ in report.lengths.buckets]
    fatal = sorted(code for code, finding in report.codes.items() if finding.severity == "fatal")
    cases = (
        (rejected == bool(report.splits), f"verdict is {report.verdict}, but splits holds {len(report.splits)} files."),
        (rejected and not report.what_to_fix, "verdict is rejected, but what_to_fix is empty."),
        (not rejected and fatal, f"verdict is accepted, but codes holds a fatal {', '.join(fatal)}."),
        (report.accepted + report.bad > report.rows, "accepted and bad together are more than rows."),
        (sum(file.rows for file in report.files) != report.rows, "rows is not what the files have together."),
        (
            not rejected and sum(side.rows for side in report.splits.values()) != report.accepted,
            "accepted is not what the splits have together.",
        ),
        (uppers != sorted(set(uppers)), "lengths.buckets do not rise."),
        (not report.tokens.low <= report.tokens.estimate <= report.tokens.high, "tokens.estimate is outside of its band."),
        (report.quarantine.written > report.quarantine.rows, "quarantine.written is more than quarantine.rows."),
    )
    return [sentence for wrong, sentence in cases if wrong]
