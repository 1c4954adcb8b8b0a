"""A table whose schema carries a pickle, or names types for a library to build, gives its rows and runs nothing."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.prepare.formats import Unreadable
from tests.prepare.packed import lines

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("datasets")

COLUMNS = {"prompt": ["where?"] * 3, "completion": ["there."] * 3}


class Bomb:
    """Unpickling it makes a file: what the old `arrow.py_extension_type` did with a column's metadata (CVE-2023-47248)."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.mark,)


def with_bomb(mark: Path) -> Any:
    hidden = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(Bomb(mark))}
    fields = [pyarrow.field(name, pyarrow.string(), metadata=hidden) for name in COLUMNS]
    features = {"info": {"features": {"prompt": {"_type": "os.system", "dtype": f"touch {mark}"}, "completion": {"_type": "Value"}}}}
    schema = pyarrow.schema(fields, metadata={"huggingface": json.dumps(features), "pandas": "{"})
    return pyarrow.table(COLUMNS).cast(pyarrow.schema([pyarrow.field(name, pyarrow.string()) for name in COLUMNS])).cast(schema)


def as_parquet(table: Any) -> bytes:
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


def as_file(table: Any) -> bytes:
    file = io.BytesIO()
    with pyarrow.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def as_stream(table: Any) -> bytes:
    file = io.BytesIO()
    with pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


@pytest.mark.parametrize(("name", "way"), [("a.parquet", as_parquet), ("a.arrow", as_file), ("b.arrow", as_stream)])
def test_what_a_schema_carries_is_never_run(name: str, way: Callable[[Any], bytes], tmp_path: Path) -> None:
    mark, workdir = tmp_path / "ran", tmp_path / "work"
    workdir.mkdir()
    content = way(with_bomb(mark))
    assert b"py_extension_type" in content or name == "a.parquet"
    try:
        rows = len(lines(name, content, workdir))
    except Unreadable:  # refused with a sentence is as safe as read
        rows = len(COLUMNS["prompt"])

    assert rows == len(COLUMNS["prompt"])
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))  # noqa: S301 - the test of the test: it would have run
    assert mark.exists()
