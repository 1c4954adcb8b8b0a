"""
What can be wrong with a whole file before one row of it is judged: a damaged archive, a table without the columns, a bomb.

Each fault is fatal for the file and has a sentence for its owner. No sentence quotes the dataset; names of columns are shown only where
they look like names.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from shared.domain.conversation import Complaint

COLUMNS_NAMED_MAX: Final = 8  # a guess: enough to recognise one's own table
LOOKS_LIKE_A_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,23}")  # of a table without a header the first row must not be quoted


class Columns(NamedTuple):
    """Which columns of a table are read."""

    needed: tuple[str, ...]
    extra: tuple[str, ...]  # read where they are there

    @property
    def all(self) -> tuple[str, ...]:
        return self.needed + self.extra


COLUMNS: Final = (  # in the order in which they are looked for: a table is read by the first whose needed columns it has
    Columns(("messages",), ("prompt", "prompt_id", "id", "tools")),
    Columns(("conversations",), ("system", "prompt_id", "id")),
    Columns(("instruction", "output"), ("input", "system", "prompt_id", "id")),
    Columns(("prompt", "completion"), ("system", "prompt_id", "id")),
    Columns(("question", "answer"), ("system", "prompt_id", "id")),
)


class FormatFault(StrEnum):
    """One kind of fault of a whole file; the values are stored in reports, so they never change their spelling."""

    BAD_GZIP = "bad_gzip"
    NESTED_ARCHIVE = "nested_archive"
    PACKED_TOO_TIGHT = "packed_too_tight"
    TOO_LARGE = "too_large"
    BAD_ARRAY = "bad_array"
    BAD_CSV = "bad_csv"
    NOT_A_TABLE = "not_a_table"
    MISSING_COLUMN = "missing_column"
    BAD_PARQUET = "bad_parquet"
    BAD_ARROW = "bad_arrow"
    UNPACK_LIMIT = "unpack_limit"


def chosen_columns(names: Collection[str]) -> Columns | None:
    """None: the table holds no conversations in a form that we know."""
    for columns in COLUMNS:
        if all(name in names for name in columns.needed):
            return Columns(columns.needed, tuple(name for name in columns.extra if name in names))
    return None


# ------------------------------------------------------------------------------------------------------- the sentences


def about_gzip(what: str) -> Complaint:
    return Complaint(code=FormatFault.BAD_GZIP, what=what, remedy="pack the file again, or upload it unpacked")


def about_nested_archive(inside: str) -> Complaint:
    return Complaint(
        code=FormatFault.NESTED_ARCHIVE,
        what=f"inside the gzip archive lies {inside}",
        remedy="pack the plain .jsonl, .json or .csv file once, or upload it unpacked",
    )


def about_tight_packing(ratio_max: int) -> Complaint:
    return Complaint(
        code=FormatFault.PACKED_TOO_TIGHT,
        what=f"the file unpacks to more than {ratio_max:,} times its size, short rows and texts counted for the time they take",
        remedy="leave out the rows that repeat, or upload it unpacked as .jsonl",
    )


def about_too_large(*, what: str, seen: int, limit: int) -> Complaint:
    return Complaint(
        code=FormatFault.TOO_LARGE, what=f"the file has {seen:,} {what}, more than the {limit:,} allowed", remedy="split it into several"
    )


def about_array(what: str, *, line: int, item: int) -> Complaint:
    """`line` and `item` are 1-based: where the trouble shows, or where the item begins that does not end."""
    return Complaint(
        code=FormatFault.BAD_ARRAY,
        what=f"the JSON array breaks at item {item:,} (line {line:,}): {what}",
        remedy="repair it there, or write one object a line as .jsonl",
    )


def about_csv(what: str, *, line: int) -> Complaint:
    """`line` is 1-based: where the record begins."""
    return Complaint(
        code=FormatFault.BAD_CSV,
        what=f"the table breaks in the record that begins on line {line:,}: {what}",
        remedy='write a cell with a comma, a quote or a line break as "…", and a quote in it as two',
    )


def about_no_table(looks_like: str, remedy: str) -> Complaint:
    return Complaint(code=FormatFault.NOT_A_TABLE, what=f"the file looks like {looks_like}, not like a table", remedy=remedy)


def about_missing_column(seen: Sequence[str]) -> Complaint:
    return Complaint(
        code=FormatFault.MISSING_COLUMN,
        what=f"the table has {_named(seen)} and none that hold conversations",
        remedy=f"name them {', or '.join(' and '.join(columns.needed) for columns in COLUMNS)} exactly so",
    )


def about_two_columns(name: str) -> Complaint:
    return Complaint(code=FormatFault.NOT_A_TABLE, what=f"the table has two columns named {name}", remedy="keep the one that is meant")


def about_column_type(column: str, kind: str) -> Complaint:
    """Of a kind with fields the fields are not told: who writes dicts makes texts into their names."""
    return Complaint(
        code=FormatFault.NOT_A_TABLE,
        what=f"the column {column} holds {kind.partition('<')[0][:40]!a} where text belongs",
        remedy="write it as text, or messages as a list of {role, content}",
    )


def about_parquet(what: str) -> Complaint:
    return Complaint(code=FormatFault.BAD_PARQUET, what=what, remedy="write the table again, or upload the rows as .jsonl")


def about_arrow(what: str) -> Complaint:
    return Complaint(code=FormatFault.BAD_ARROW, what=what, remedy="write it with Dataset.save_to_disk again, or upload the rows as .jsonl")


def about_unpack_limit(what: str) -> Complaint:
    return Complaint(code=FormatFault.UNPACK_LIMIT, what=what, remedy="split it into several files, or upload the rows as .jsonl")


def _named(columns: Sequence[str]) -> str:
    """the columns text, label and 3 more"""
    shown = [name for name in columns if LOOKS_LIKE_A_NAME.fullmatch(name)][:COLUMNS_NAMED_MAX]
    more = len(columns) - len(shown)
    if not shown:
        return f"{more:,} columns without names" if more else "no columns"
    names = [*shown, f"{more:,} more"] if more else shown
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    return f"the column{'s' if len(columns) > 1 else ''} {listed}"
