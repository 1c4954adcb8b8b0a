"""A parquet table obeys the same rules as JSON lines, and a bomb is refused before it goes off."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from shared import prepare
from shared.domain.conversation import Code
from shared.prepare import Prepared, Refused

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("datasets")


def chats(count: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"question {number}",
            "prompt_id": str(number),
            "messages": [{"content": f"question {number}", "role": "user"}, {"content": f"answer {number} é", "role": "assistant"}],
        }
        for number in range(count)
    ]


def table(rows: list[dict[str, Any]], **how: Any) -> bytes:
    from pyarrow import parquet

    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink, **how)
    return sink.getvalue()


def test_a_table_gives_the_same_files_as_the_same_json_lines(prepared: Callable[..., Any]) -> None:
    from_lines = prepared("".join(json.dumps(row) + "\n" for row in chats(250)).encode())
    from_table = prepared(table(chats(250), row_group_size=70), suffix=".parquet", step=1_000)

    assert isinstance(from_table, Prepared)
    assert from_table.content_sha256 == from_lines.content_sha256


def test_a_fault_is_named_by_its_row(prepared: Callable[..., Any]) -> None:
    rows = chats(250)
    rows[150]["messages"][1]["content"] = None
    rows[170]["messages"] = None
    rows[171]["messages"].pop()
    outcome = prepared(table(rows), suffix=".parquet")

    assert isinstance(outcome, Refused)
    assert outcome.sentence.startswith("Rows 151 and 171 have a value of the wrong type; ")
    assert outcome.report["faults"]["bad_alternation"]["first_lines"] == [172]


def test_other_columns_are_not_read(prepared: Callable[..., Any]) -> None:
    rows = [row | {"score": 0.5, "tags": ["a"]} for row in chats(30)]

    assert prepared(table(rows), suffix=".parquet").report["faults"] == {}


@pytest.mark.parametrize("content", [b"PAR1 and so on PAR1", b"nothing like it", table(chats(30))[:-200]])
def test_a_broken_table_is_refused(prepared: Callable[..., Any], content: bytes) -> None:
    assert prepared(content, suffix=".parquet").code is Code.BAD_PARQUET


def test_a_table_that_is_broken_inside_is_refused(prepared: Callable[..., Any], tmp_path: Any) -> None:
    content = bytearray(table(chats(3_000), compression="zstd"))
    content[200:2_000] = b"\x5a" * 1_800

    assert prepared(bytes(content), suffix=".parquet").code is Code.BAD_PARQUET
    assert list(tmp_path.iterdir()) == []


def test_a_table_without_messages_is_refused(prepared: Callable[..., Any]) -> None:
    assert prepared(table([{"text": "a"}]), suffix=".parquet").code is Code.MISSING_COLUMN


def test_a_table_without_rows_is_empty(prepared: Callable[..., Any]) -> None:
    empty = pyarrow.Table.from_pylist(chats(1)).slice(0, 0)
    sink = io.BytesIO()
    from pyarrow import parquet

    parquet.write_table(empty, sink)

    assert prepared(sink.getvalue(), suffix=".parquet").code is Code.EMPTY_FILE


@pytest.mark.parametrize(
    "limits", [{"rows_max": 29}, {"columns_max": 3}, {"row_groups_max": 2}, {"row_group_bytes_max": 500}, {"total_bytes_max": 900}]
)
def test_a_footer_beyond_a_limit_is_refused(prepared: Callable[..., Any], limits: dict[str, int]) -> None:
    outcome = prepared(table(chats(30), row_group_size=10), suffix=".parquet", parquet=prepare.ParquetLimits(**limits))

    assert outcome.code is Code.TOO_LARGE


def test_one_giant_value_is_refused_by_the_footer(prepared: Callable[..., Any]) -> None:
    """20 MB of one letter in a file of a few kB; at 500 MB one such value needed 1 GB to decode."""
    bomb = chats(1)
    bomb[0]["messages"][0]["content"] = "a" * 20_000_000
    content = table(bomb, compression="zstd")

    assert len(content) < 30_000
    assert prepared(content, suffix=".parquet").code is Code.TOO_LARGE


def test_a_value_that_is_stored_once_and_repeated_is_refused_after_a_few_batches(prepared: Callable[..., Any]) -> None:
    """The footer of this file speaks of some 200 kB; it decodes to 2 GB."""
    text = pyarrow.array(["a" * 200_000])
    count = 10_000
    content_column = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * count, pyarrow.int32()), text)
    role = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * count, pyarrow.int32()), pyarrow.array(["user"]))
    messages = pyarrow.ListArray.from_arrays(
        list(range(count + 1)), pyarrow.StructArray.from_arrays([role, content_column], ["role", "content"])
    )
    sink = io.BytesIO()
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"messages": messages}), sink, store_schema=False)
    begun = time.monotonic()
    outcome = prepared(sink.getvalue(), suffix=".parquet")

    assert len(sink.getvalue()) < 300_000
    assert outcome.code is Code.TOO_LARGE
    assert time.monotonic() - begun < 10
