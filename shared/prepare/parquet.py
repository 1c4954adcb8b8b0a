"""
A table is read through `datasets`, after pyarrow has shown in small steps that it is no bomb.

A file of a few kilobytes can decode to gigabytes. What the footer admits is checked before a value is decoded. What it does
not admit (one text that is stored once and used by a million rows) is found by decoding a hundred rows at a time and keeping
none: `datasets` decodes a whole row group at once, so only a group whose decoded size is known may reach it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from shared.domain import conversation
from shared.domain.conversation import Code, Complaint
from shared.prepare import rows
from shared.prepare.options import Options

BATCH_ROWS: Final = 100  # a guess: at 6.6 kB a row less than 1 MB; a repeated text of 1 MB stays at 100 MB
COLUMNS: Final = ("messages", "prompt", "prompt_id")  # nothing else is decoded
MAGIC: Final = b"PAR1"


class Unreadable(Exception):
    """The file cannot be used as a whole; carries what its owner should read."""

    def __init__(self, complaint: Complaint) -> None:
        super().__init__(complaint.sentence)
        self.complaint = complaint


def numbered_rows(path: Path, options: Options) -> Iterator[tuple[int, rows.Row | Code]]:
    """(1-based number of the row, row or its fault). Raises Unreadable; loads pyarrow and datasets."""
    from pyarrow import ArrowException

    columns = _checked_columns(path, options)
    number = 0
    try:
        for number, value in enumerate(_values(path, columns), start=1):
            yield number, _judged(value, options)
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        what = f"the table cannot be decoded after row {number:,} ({type(error).__name__})"
        raise Unreadable(conversation.about_parquet(what)) from error


def _checked_columns(path: Path, options: Options) -> list[str]:
    """The columns to read, once the table is known to be readable within the limits."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            _refuse_by_footer(file.metadata, options)
            names = file.schema_arrow.names
            columns = [name for name in COLUMNS if name in names]
            if "messages" not in columns:
                raise Unreadable(conversation.about_missing_column())
            _refuse_by_decoded_size(file, columns, options)
    except (ArrowException, OSError) as error:
        raise Unreadable(conversation.about_parquet("the file is no parquet table, or it is damaged")) from error
    return columns


def _refuse_by_footer(footer: Any, options: Options) -> None:
    limits = options.parquet
    group_bytes = [footer.row_group(at).total_byte_size for at in range(min(footer.num_row_groups, limits.row_groups_max))]
    for what, seen, limit in (
        ("rows", footer.num_rows, limits.rows_max),
        ("columns", footer.num_columns, limits.columns_max),
        ("row groups", footer.num_row_groups, limits.row_groups_max),
        ("uncompressed bytes in one row group", max(group_bytes, default=0), limits.row_group_bytes_max),
        ("uncompressed bytes", sum(group_bytes), limits.total_bytes_max),
        ("uncompressed bytes a row", sum(group_bytes) // max(footer.num_rows, 1), options.line_bytes_max),
    ):
        if seen > limit:
            raise Unreadable(_too_large(what, seen, limit))


def _refuse_by_decoded_size(file: Any, columns: list[str], options: Options) -> None:
    limits = options.parquet
    total = 0
    for group in range(file.metadata.num_row_groups):
        in_group = 0
        for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group], columns=columns):
            in_group += batch.nbytes
            if in_group > limits.row_group_bytes_max:
                raise Unreadable(_too_large("decoded bytes in one row group", in_group, limits.row_group_bytes_max))
        total += in_group
        if total > limits.total_bytes_max:
            raise Unreadable(_too_large("decoded bytes", total, limits.total_bytes_max))


def _too_large(what: str, seen: int, limit: int) -> Complaint:
    return conversation.about_size(what=what, seen=seen, limit=limit)


def _values(path: Path, columns: list[str]) -> Iterable[object]:
    """`from_parquet` names the reader itself: no path of ours is ever taken for a repository or a loading script."""
    from datasets import IterableDataset

    table: Iterable[object] = IterableDataset.from_parquet(str(path), columns=columns, batch_size=BATCH_ROWS)
    return table


def _judged(value: object, options: Options) -> rows.Row | Code:
    """The limit of a text line holds for a table's row too, counted in characters of its texts."""
    return Code.TOO_LONG if _characters(value) > options.line_bytes_max else rows.row_of_value(value)


def _characters(value: object) -> int:
    if isinstance(value, dict):
        return sum(_characters(inner) for inner in value.values())
    if isinstance(value, list):
        return sum(_characters(inner) for inner in value)
    return len(value) if isinstance(value, str | bytes) else 0
