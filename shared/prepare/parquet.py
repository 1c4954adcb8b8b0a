"""
A table is read in small batches through `datasets`, after its footer has shown that it is no bomb.

A file of a few kilobytes can decode to gigabytes. What the footer admits is checked before a value is decoded; what it does
not admit (one dictionary entry repeated a million times) is met by small batches and by a limit on all that was decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from shared.domain import conversation
from shared.domain.conversation import Code, Complaint
from shared.prepare import rows
from shared.prepare.options import Options

BATCH_ROWS: Final = 100  # a guess: at 6.6 kB a row less than 1 MB; a repeated value of 1 MB stays at 100 MB
DECODED_RATIO_MAX: Final = 50  # decoded : announced; a long system message that is stored once and used by every row stays below
DECODED_FLOOR: Final = 64 << 20  # characters that any table may decode to, however small it is
COLUMNS: Final = ("messages", "prompt", "prompt_id")  # nothing else is decoded
MAGIC: Final = b"PAR1"


class Unreadable(Exception):
    """The file cannot be used as a whole; carries what its owner should read."""

    def __init__(self, complaint: Complaint) -> None:
        super().__init__(complaint.sentence)
        self.complaint = complaint


def numbered_rows(path: Path, options: Options) -> Iterator[tuple[int, rows.Row | Code]]:
    """(1-based number of the row, row or its fault). Raises Unreadable; loads pyarrow and datasets."""
    import pyarrow

    columns, decoded_max = _checked_footer(path, options)
    number = 0
    decoded = 0
    try:
        for number, value in enumerate(_values(path, columns), start=1):
            decoded += _characters(value)
            if decoded > decoded_max:
                raise Unreadable(_too_large("decoded characters", decoded, decoded_max))
            yield number, _judged(value, options)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        what = f"the table cannot be decoded after row {number:,} ({type(error).__name__})"
        raise Unreadable(conversation.about_parquet(what)) from error


def _checked_footer(path: Path, options: Options) -> tuple[list[str], int]:
    """Columns to read, and the characters that they may decode to."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            announced = _announced_bytes(file.metadata, options)
            names = list(file.schema_arrow.names)
    except (ArrowException, OSError) as error:
        raise Unreadable(conversation.about_parquet("the file is no parquet table, or it is cut off")) from error
    if "messages" not in names:
        raise Unreadable(conversation.about_missing_column())
    return [name for name in COLUMNS if name in names], max(DECODED_FLOOR, DECODED_RATIO_MAX * announced)


def _announced_bytes(footer: Any, options: Options) -> int:
    """Uncompressed bytes by the footer's own account. Raises Unreadable when it admits to be a bomb."""
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
    return sum(group_bytes)


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
