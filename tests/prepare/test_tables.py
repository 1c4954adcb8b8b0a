"""A parquet or Arrow table gives its rows as lines, and a bomb is refused by a child that stays small."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from shared.domain.formats import FormatFault
from shared.prepare import tables
from shared.prepare.formats import UnpackLimits, Unreadable
from tests.prepare.packed import LINE_BYTES_MAX, TABLE_WAYS, Upload, as_arrow_file, as_parquet, blocks, chats, lines

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("datasets")

ROWS = chats(20)
CHILD_BYTES_MAX = 400 << 20  # of address space, so of memory at most, whatever a bomb wants


def refused_by_child(name: str, content: bytes, workdir: Path, **how: int) -> tuple[str, str]:
    with pytest.raises(Unreadable) as caught:
        list(blocks(name, content, workdir, **how))
    assert list(workdir.iterdir()) == []
    return caught.value.complaint.code, caught.value.complaint.sentence


def refused(name: str, content: bytes, workdir: Path, **limits: int) -> str:
    """In this process, which takes a tenth of the time."""
    path = workdir / name
    path.write_bytes(content)
    allowed = UnpackLimits(**limits)
    is_arrow = path.suffix == ".arrow"
    reading = tables.lines_of_arrow(path, allowed) if is_arrow else tables.lines_of_parquet(path, allowed, line_bytes_max=LINE_BYTES_MAX)
    with pytest.raises(Unreadable) as caught:
        list(reading)
    return caught.value.complaint.code


@pytest.mark.parametrize("name", TABLE_WAYS)
def test_the_same_rows_come_out_of_every_table(name: str, tmp_path: Path) -> None:
    content = TABLE_WAYS[name](ROWS, tmp_path)
    workdir = tmp_path / "work"
    workdir.mkdir()
    found = lines(name, Upload(content, step=1_000), workdir)

    assert [json.loads(line) for line in found.values()] == ROWS
    assert list(found) == list(range(1, 21))
    assert list(workdir.iterdir()) == []


def test_what_is_null_stays_null_where_something_has_to_be_and_is_no_key_elsewhere(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = chats(4)
    rows[1]["messages"][1]["content"] = None
    rows[2]["messages"] = None
    rows[3]["messages"][0]["name"] = "Ada"
    del rows[1]["prompt"]
    rows[1]["prompt_id"] = None
    found = [json.loads(line) for line in lines("a.parquet", as_parquet(rows), tmp_path).values()]
    del rows[1]["prompt_id"]

    assert found == rows


def test_columns_that_hold_no_conversations_are_not_read(tmp_path: Path) -> None:
    rows = [row | {"score": 0.5, "picture": b"\x00" * 100} for row in ROWS]

    assert [json.loads(line) for line in lines("a.parquet", as_parquet(rows), tmp_path).values()] == ROWS


@pytest.mark.parametrize(
    ("row", "read"),
    [
        ({"conversations": [{"from": "human", "value": "a"}], "x": 1}, {"conversations": [{"from": "human", "value": "a"}]}),
        ({"output": "b", "input": None, "instruction": "a"}, {"instruction": "a", "output": "b"}),
        ({"prompt": "a", "completion": "b", "id": "7"}, {"prompt": "a", "completion": "b", "id": "7"}),
        ({"messages": [{"role": "user", "content": 5}]}, {"messages": [{"role": "user", "content": 5}]}),
        ({"messages": [], "prompt_id": b"\x00"}, {"messages": []}),
    ],
)
def test_other_shapes_keep_their_columns(row: dict[str, Any], read: dict[str, Any], tmp_path: Path) -> None:
    assert json.loads(lines("a.parquet", as_parquet([row]), tmp_path)[1]) == read


def test_turns_that_stand_as_json_in_a_text_are_the_same_turns(tmp_path: Path) -> None:
    """As in a table that was a CSV before."""
    texts = [json.dumps(row["messages"], indent=1) for row in ROWS] + ['[{"role": "user"', '1, "messages": []', "text \n", "[]\n"]
    for kind in (pyarrow.string(), pyarrow.dictionary(pyarrow.int32(), pyarrow.large_string())):
        found = lines("a.parquet", as_parquet(pyarrow.table({"messages": pyarrow.array(texts).cast(kind)})), tmp_path)

        assert [json.loads(found[at])["messages"] for at in range(1, len(ROWS) + 1)] == [row["messages"] for row in ROWS]
        assert json.loads(found[len(ROWS) + 4]) == {"messages": []}
        for at in (1, 2, 3):
            with pytest.raises(json.JSONDecodeError):
                json.loads(found[len(ROWS) + at])


def test_texts_of_a_dictionary_count_once_and_not_again_with_every_batch(tmp_path: Path) -> None:
    """A categorical column of pandas or polars: 2,000 texts of 1 kB are 2 MB, and 60 times that in 60 batches."""
    answers = [f"{number} {number * 7919 % 1_000_003} " * 60 for number in range(2_000)]
    table = pyarrow.table({"prompt": [f"q {number}" for number in range(2_000)], "completion": pyarrow.array(answers).dictionary_encode()})
    content = as_parquet(table)

    assert len(content) < 300_000
    assert [json.loads(row)["completion"] for row in lines("a.parquet", content, tmp_path).values()] == answers


def test_a_text_that_is_no_utf8_is_a_fault_of_its_row(tmp_path: Path) -> None:
    answers = pyarrow.array([b"fine", b"\xff\xfe", b"fine"]).cast(pyarrow.binary())
    texts = pyarrow.Array.from_buffers(pyarrow.string(), 3, answers.buffers())
    table = pyarrow.table({"prompt": ["a", "b", "c"], "completion": texts})
    for name, content in (("a.parquet", as_parquet(table)), ("a.arrow", arrow_stream(table))):
        found = lines(name, content, tmp_path)

        assert json.loads(found[3]) == {"prompt": "c", "completion": "fine"}
        with pytest.raises(UnicodeDecodeError):
            found[2].decode()


def arrow_stream(table: Any) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.parquet", b"PAR1 and so on PAR1", FormatFault.BAD_PARQUET),
        ("a.parquet", b"nothing like it", FormatFault.BAD_PARQUET),
        ("a.parquet", as_parquet(ROWS)[:-200], FormatFault.BAD_PARQUET),
        ("a.parquet", b"", FormatFault.BAD_PARQUET),
        ("a.arrow", b"nothing like it", FormatFault.BAD_ARROW),
        ("a.arrow", as_arrow_file(ROWS)[:-200], FormatFault.BAD_ARROW),
        ("a.parquet", as_parquet([{"text": "a", "label": 1}]), FormatFault.MISSING_COLUMN),
        ("a.arrow", as_arrow_file([{"text": "a"}]), FormatFault.MISSING_COLUMN),
        ("a.parquet", as_parquet([{"messages": b"[]"}]), FormatFault.NOT_A_TABLE),
    ],
)
def test_a_table_that_cannot_be_used_says_why(name: str, content: bytes, code: FormatFault, tmp_path: Path) -> None:
    assert refused(name, content, tmp_path) is code


def test_a_table_that_is_broken_inside_gives_the_rows_before_and_then_its_fault(tmp_path: Path) -> None:
    content = bytearray(as_parquet(chats(3_000), compression="zstd", row_group_size=1_000))
    middle = len(content) // 2
    content[middle : middle + 2_000] = b"\x5a" * 2_000
    read: list[bytes] = []
    with pytest.raises(Unreadable, match=r"decoded after row (9\d\d|1,\d\d\d)") as caught:
        read.extend(blocks("a.parquet", bytes(content), tmp_path))

    assert caught.value.complaint.code is FormatFault.BAD_PARQUET
    assert b"".join(read).count(b"\n") > 900


def test_offsets_that_lead_out_of_an_arrow_file_are_not_followed(tmp_path: Path) -> None:
    content = arrow_stream(pyarrow.table({"prompt": ["abc", "def"], "completion": ["ghi", "jkl"]}))
    offsets = (0).to_bytes(4, "little") + (3).to_bytes(4, "little") + (6).to_bytes(4, "little")
    far = (0).to_bytes(4, "little") + (3).to_bytes(4, "little") + (0x7FFFFFFF).to_bytes(4, "little")

    assert offsets in content
    assert refused_by_child("a.arrow", content.replace(offsets, far), tmp_path)[0] is FormatFault.BAD_ARROW


@pytest.mark.parametrize(
    "limits", [{"rows_max": 29}, {"columns_max": 3}, {"row_groups_max": 2}, {"row_group_bytes_max": 500}, {"bytes_max": 900}]
)
def test_a_footer_beyond_a_limit_is_refused(limits: dict[str, int], tmp_path: Path) -> None:
    content = as_parquet(chats(30), row_group_size=10)

    assert refused("a.parquet", content, tmp_path, **limits) is FormatFault.TOO_LARGE


# ------------------------------------------------------------------------------------------------------- bombs


def test_one_giant_value_is_refused_by_the_footer(tmp_path: Path) -> None:
    """50 MB of one letter in a file of a few kB; at 500 MB one such value needed 1 GB to decode."""
    bomb = chats(1)
    bomb[0]["messages"][0]["content"] = "a" * 50_000_000
    content = as_parquet(bomb, compression="zstd")
    begun = time.monotonic()

    assert len(content) < 30_000
    assert refused_by_child("a.parquet", content, tmp_path, memory_bytes_max=CHILD_BYTES_MAX)[0] is FormatFault.TOO_LARGE
    assert time.monotonic() - begun < 5


def test_one_giant_value_among_many_rows_is_refused_by_the_memory_of_the_child(tmp_path: Path) -> None:
    """The footer shows nothing out of the ordinary when the limits of ratio and row are off."""
    rows = chats(200)
    rows[150]["messages"][0]["content"] = "a" * 80_000_000
    content = as_parquet(rows, compression="zstd")
    code, sentence = refused_by_child(
        "a.parquet", content, tmp_path, line_bytes_max=1 << 30, ratio_max=1_000_000, memory_bytes_max=300 << 20
    )

    assert code is FormatFault.UNPACK_LIMIT
    assert "memory" in sentence


def repeated_text(count: int = 10_000) -> bytes:
    """The footer of this file speaks of some 200 kB; it decodes to 2 GB."""
    text = pyarrow.array(["a" * 200_000])
    content = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * count, pyarrow.int32()), text)
    role = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * count, pyarrow.int32()), pyarrow.array(["user"]))
    messages = pyarrow.ListArray.from_arrays(list(range(count + 1)), pyarrow.StructArray.from_arrays([role, content], ["role", "content"]))
    return as_parquet(pyarrow.table({"messages": messages}), store_schema=False)


def test_a_text_that_is_stored_once_and_repeated_is_refused_after_a_few_rows(tmp_path: Path) -> None:
    """The address space of the child holds all that it can have of memory."""
    content = repeated_text()
    begun = time.monotonic()
    code, _ = refused_by_child("a.parquet", content, tmp_path, line_bytes_max=4 << 20, memory_bytes_max=CHILD_BYTES_MAX)

    assert len(content) < 300_000
    assert code is FormatFault.PACKED_TOO_TIGHT
    assert time.monotonic() - begun < 5


def test_a_dictionary_that_becomes_large_only_as_json_is_refused_too(tmp_path: Path) -> None:
    texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 1_000, pyarrow.int32()), pyarrow.array(["a" * 60_000]))
    content = as_arrow_file(pyarrow.table({"prompt": texts, "completion": texts}))

    assert len(content) < 200_000
    assert refused("a.arrow", content, tmp_path) is FormatFault.PACKED_TOO_TIGHT
