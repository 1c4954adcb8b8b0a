"""
Rows of a parquet or Arrow table become lines, one JSON object a row, of the columns that hold conversations and of no others.

A file of a few kilobytes can decode to gigabytes. What the footer of a parquet file admits is checked before a value is decoded; what it
does not admit (one text that is stored once and used by a million rows) shows while a few rows at a time are decoded and none is kept.
Values are passed on as they are, so the rules that judge lines judge tables too. Loads pyarrow, and datasets for what it saved to disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from shared.domain import formats as faults
from shared.domain.conversation import Complaint
from shared.prepare.formats import Budget, UnpackLimits, Unreadable
from shared.prepare.records import is_one_value

BATCH_ROWS_MAX: Final = 32  # decoded at once, as fast as 500 would be
BATCH_BYTES: Final = 8 << 20  # of rows as long as they are on average; in memory they stand three times: table, objects, lines
BUFFER_BYTES: Final = 1 << 20  # of a column that is read piece by piece; without it the column of a whole row group is read at once
ARROW_FILE_MAGIC: Final = b"ARROW1"  # the format with an index, of pyarrow and polars; what datasets saves is a stream
BAD_UTF8_LINE: Final = b'"\xff"\n'  # the reader names its number and says what is wrong with it
NO_VALUE: Final = b"!"  # before a text: a line with it is no JSON, and still shows the text
KEPT_NULLS: Final = {"messages": frozenset({"role", "content"}), "conversations": frozenset({"from", "value"})}

_encoded: Final = msgspec.json.Encoder().encode
_encoded_lines: Final = msgspec.json.Encoder().encode_lines


def lines_of_parquet(path: Path, limits: UnpackLimits, *, line_bytes_max: int) -> Iterator[bytes]:
    """Whole lines, some at a time. Raises Unreadable."""
    from pyarrow.parquet import ParquetFile

    with _reading(faults.about_parquet) as done, ParquetFile(path, pre_buffer=False, buffer_size=BUFFER_BYTES) as file:
        _refuse_by_footer(file.metadata, path.stat().st_size, limits, line_bytes_max)
        columns = _checked_columns(file.schema_arrow)
        rows = _batch_rows(sum(_group_bytes(file.metadata, limits)), file.metadata.num_rows)
        batches = file.iter_batches(batch_size=rows, columns=list(columns.all), use_threads=False)
        yield from _lines_of_batches(batches, columns, Budget(limits, bytes_read=path.stat().st_size), done)


def lines_of_arrow(path: Path, limits: UnpackLimits) -> Iterator[bytes]:
    """Whole lines, some at a time. Raises Unreadable."""
    with path.open("rb") as file:
        has_index = file.read(len(ARROW_FILE_MAGIC)) == ARROW_FILE_MAGIC
    schema_and_batches = _arrow_file if has_index else _arrow_stream
    with _reading(faults.about_arrow) as done:
        schema, batches_of = schema_and_batches(path)
        columns = _checked_columns(schema)
        yield from _lines_of_batches(batches_of(list(columns.all)), columns, Budget(limits, bytes_read=path.stat().st_size), done)


def _batch_rows(total_bytes: int, rows: int) -> int:
    return max(1, min(BATCH_ROWS_MAX, BATCH_BYTES * rows // max(total_bytes, 1)))


class _Done:
    rows = 0


@contextmanager
def _reading(about: Callable[[str], Complaint]) -> Iterator[_Done]:
    done = _Done()
    try:
        yield done
    except (Unreadable, MemoryError, GeneratorExit):
        raise
    except Exception as error:
        where = f"cannot be decoded after row {done.rows:,}" if done.rows else "cannot be read: it is no such table, or it is damaged"
        raise Unreadable(about(f"the table {where} ({type(error).__name__})")) from error


# ------------------------------------------------------------------------------------------------------- before decoding


def _refuse_by_footer(footer: Any, file_bytes: int, limits: UnpackLimits, line_bytes_max: int) -> None:
    group_bytes = _group_bytes(footer, limits)
    for what, seen, limit in (
        ("rows", footer.num_rows, limits.rows_max),
        ("columns", footer.num_columns, limits.columns_max),
        ("row groups", footer.num_row_groups, limits.row_groups_max),
        ("uncompressed bytes in one row group", max(group_bytes, default=0), limits.row_group_bytes_max),
        ("uncompressed bytes a row", sum(group_bytes) // max(footer.num_rows, 1), line_bytes_max),
    ):
        if seen > limit:
            raise Unreadable(faults.about_too_large(what=what, seen=seen, limit=limit))
    Budget(limits, bytes_read=file_bytes).spend(sum(group_bytes))


def _group_bytes(footer: Any, limits: UnpackLimits) -> list[int]:
    """Uncompressed, of each row group."""
    return [footer.row_group(at).total_byte_size for at in range(min(footer.num_row_groups, limits.row_groups_max))]


def _checked_columns(schema: Any) -> faults.Columns:
    names: list[str] = schema.names
    columns = faults.chosen_columns(names)
    if columns is None:
        raise Unreadable(faults.about_missing_column(names))
    for name in columns.needed:
        if names.count(name) > 1:
            raise Unreadable(faults.about_two_columns(name))
        if not _is_json(schema.field(name).type):
            raise Unreadable(faults.about_column_type(name, str(schema.field(name).type)))
    extra = (name for name in columns.extra if names.count(name) == 1 and _is_json(schema.field(name).type))
    return faults.Columns(columns.needed, tuple(extra))


def _is_json(kind: Any) -> bool:
    """Whether values of this type stay what they are when they are written as JSON. A date would become a text that nobody wrote."""
    from pyarrow import types

    if types.is_struct(kind):
        return all(_is_json(kind.field(at).type) for at in range(kind.num_fields))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_json(kind.value_type)
    if types.is_dictionary(kind):
        return _is_json(kind.value_type)
    is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return bool(is_text or types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_null(kind))


# ------------------------------------------------------------------------------------------------------- Arrow

_Batches = Callable[[list[str]], Iterator[Any]]  # of these columns


def _arrow_stream(path: Path) -> tuple[Any, _Batches]:
    """A shard as `Dataset.save_to_disk` writes it. Nothing but the file is opened: no script, no cache, no network."""
    import pyarrow

    with pyarrow.memory_map(str(path)) as file, pyarrow.ipc.open_stream(file) as stream:
        _checked_columns(stream.schema)  # what is no stream of ours ends before `datasets` is loaded, which takes a second or two
    from datasets import Dataset

    dataset = Dataset.from_file(str(path)).with_format("arrow")
    rows = _batch_rows(path.stat().st_size, len(dataset))
    return dataset.data.schema, lambda columns: map(_validated, dataset.select_columns(columns).iter(batch_size=rows))


def _arrow_file(path: Path) -> tuple[Any, _Batches]:
    import pyarrow

    reader = pyarrow.ipc.open_file(pyarrow.memory_map(str(path)))

    def batches(columns: list[str]) -> Iterator[Any]:
        for at in range(reader.num_record_batches):
            batch = _validated(reader.get_batch(at).select(columns))
            rows = _batch_rows(batch.nbytes, batch.num_rows)
            for first in range(0, batch.num_rows, rows):
                yield batch.slice(first, rows)

    return reader.schema, batches


def _validated(batch: Any) -> Any:
    """
    Offsets in an Arrow file are taken on trust, and a wrong one reads memory that is not its own. What is still not noticed here ends
    this process, which is a child for that reason.
    """
    from pyarrow import ArrowInvalid

    try:
        batch.validate(full=True)
    except ArrowInvalid as error:
        if "UTF8" not in str(error):  # that is a fault of single rows
            raise
    return batch


# ------------------------------------------------------------------------------------------------------- decoding


def _lines_of_batches(batches: Iterator[Any], columns: faults.Columns, budget: Budget, done: _Done) -> Iterator[bytes]:
    for batch in batches:
        lines = _lines(batch, columns)
        budget.spend_text(lines)  # and not the bytes of the table: each batch counts a whole dictionary again
        done.rows += batch.num_rows
        yield lines


def _lines(batch: Any, columns: faults.Columns) -> bytes:
    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return BAD_UTF8_LINE
        return b"".join(_lines(batch.slice(at, 1), columns) for at in range(batch.num_rows))
    for row in rows:
        for name in columns.extra:
            if row[name] is None:
                del row[name]
    _drop_nulls(rows, columns.needed[0])
    _unfold_texts(rows, columns.needed[0])
    lines: bytes = _encoded_lines(rows)
    return lines


def _drop_nulls(rows: list[dict[str, Any]], name: str) -> None:
    """A table gives each message all the keys that any has, and null where the row had none: such a key is no key."""
    kept = KEPT_NULLS.get(name)
    if kept is None:
        return
    for row in rows:
        turns = row[name]
        if isinstance(turns, list) and turns and isinstance(turns[0], dict) and turns[0].keys() != kept:
            row[name] = [_without_nulls(turn, kept) if isinstance(turn, dict) else turn for turn in turns]


def _unfold_texts(rows: list[dict[str, Any]], name: str) -> None:
    """Turns that stand as JSON in a text, as in a CSV, are passed on as they stand; what is no JSON there is none in the line either."""
    if name not in KEPT_NULLS:
        return
    for row in rows:
        if isinstance(text := row[name], str):
            raw = text.encode().replace(b"\n", b"\t")  # both are blank between tokens, and both are refused inside a text
            row[name] = msgspec.Raw(raw if is_one_value(raw) else NO_VALUE + _encoded(text))


def _without_nulls(turn: dict[str, Any], kept: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in turn.items() if value is not None or key in kept}
