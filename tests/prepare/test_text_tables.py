"""A table of text gives its rows under the numbers of the lines on which they begin, and says which columns it lacks."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.formats import FormatFault
from shared.prepare import records
from shared.prepare.formats import Unreadable
from tests.prepare.packed import Upload, blocks

CHAT = '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]'


def found(table: str | bytes, *, step: int = 13, line_bytes_max: int = 1_000) -> dict[int, Any]:
    """1-based line → what a reader of JSON finds there, or the bytes that are no JSON."""
    content = table if isinstance(table, bytes) else table.encode()
    whole = b"".join(records.lines_of_records(Upload(content, step).chunks(), line_bytes_max=line_bytes_max))
    assert whole.endswith(b"\n") or not whole
    return {number: read(line) for number, line in enumerate(whole.split(b"\n"), start=1) if line}


def read(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return line


def refused(table: str | bytes, **how: Any) -> tuple[str, str]:
    with pytest.raises(Unreadable) as caught:
        found(table, **how)
    return caught.value.complaint.code, caught.value.complaint.sentence


@given(
    rows=st.lists(st.tuples(st.text(alphabet='ab,;"\n\r\té\u2028 '), st.text(alphabet='ab,;"\n\r')), max_size=8),
    delimiter=st.sampled_from(",;\t"),
    mark=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    step=st.integers(1, 50),
)
def test_each_record_stands_on_the_line_on_which_it_begins(
    rows: list[tuple[str, str]], delimiter: str, mark: bool, end: str, step: int
) -> None:
    sink = io.StringIO(newline="")
    # Before Python 3.13 a writer leaves a lone carriage return bare, which ends a record for every reader.
    bare = any("\r" in cell for row in rows for cell in row)
    writer = csv.writer(sink, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL)
    writer.writerow(["prompt", "completion"])
    wanted = {}
    for prompt, completion in rows:
        if prompt or completion:  # a row of empty cells is what a spreadsheet leaves at the end
            wanted[sink.getvalue().count("\n") + 1] = {"prompt": prompt, "completion": completion}
        writer.writerow([prompt, completion])

    assert found(b"\xef\xbb\xbf" * mark + sink.getvalue().encode(), step=step) == wanted


@pytest.mark.parametrize(
    ("header", "cells", "row"),
    [
        ("messages", f'"{CHAT.replace(chr(34), chr(34) * 2)}"', {"messages": json.loads(CHAT)}),
        ("id,Messages,note,prompt_id", f'7,"{CHAT.replace(chr(34), chr(34) * 2)}",n,', {"messages": json.loads(CHAT), "id": "7"}),
        ("Prompt , COMPLETION,x", "a,b,c", {"prompt": "a", "completion": "b"}),
        ("answer;question", "b;a", {"question": "a", "answer": "b"}),
        ("instruction\tinput\toutput", "a\t\tb", {"instruction": "a", "output": "b"}),
        ("instruction,input,output", "a,c,b", {"instruction": "a", "input": "c", "output": "b"}),
        ("conversations", '"[{""from"": ""human""}]"', {"conversations": [{"from": "human"}]}),
        ("prompt,completion", "a,", {"prompt": "a", "completion": ""}),
        ("prompt,completion", "a", {"prompt": "a"}),
        ("prompt,completion", "a,b,,", {"prompt": "a", "completion": "b"}),
        ("messages,prompt", ",a", {"prompt": "a"}),
    ],
)
def test_columns_are_known_by_their_names_in_any_case_and_order(header: str, cells: str, row: dict[str, Any]) -> None:
    assert found(f"\n{header}\n{cells}\n") == {3: row}


def test_a_cell_too_many_is_no_row() -> None:
    """A comma in a text without quotes: its words would be taken for other columns."""
    assert found("prompt,completion\na,b\nHello, you,b\na,b") == {
        2: {"prompt": "a", "completion": "b"},
        3: ["Hello", " you", "b"],
        4: {"prompt": "a", "completion": "b"},
    }


@pytest.mark.parametrize(
    "cell", ["[{'role': 'user'}]", '[1],"x":1', '{"a":1}}', "[1]}", "[1] [2]", 'nothing"', "", '["a\nb"]', '{"a":1},"messages":[]']
)
def test_a_cell_that_is_no_json_never_makes_a_row(cell: str) -> None:
    """Also not together with the brackets that are put around it."""
    quoted = cell.replace('"', '""')
    (line,) = found(f'id,messages\n7,"{quoted}"\n').values()

    assert isinstance(line, bytes) or line == {"id": "7"}


def test_bytes_that_are_no_utf8_stay_what_they_are() -> None:
    assert found(b"prompt,completion\n\xff,b\n" + "é,b".encode()) == {2: b'["\xff","b"]', 3: {"prompt": "é", "completion": "b"}}
    assert found(b'messages\n"[""\xe9""]"\n') == {2: b'{"messages":["\xe9"]}'}


def test_a_row_beyond_the_limit_of_a_line_goes_on_to_the_reader_of_lines() -> None:
    assert len(found(f"prompt,completion\n{'a' * 3_000},b\na,b")[2]["prompt"]) == 3_000


@pytest.mark.parametrize(
    ("table", "line", "says"),
    [
        ('prompt,completion\na,b\na,"b\nc,d\n', 3, "a quote is opened and never closed"),
        ('prompt,completion\na,"b\n"\na,"b" c\n', 4, "goes on behind its closing quote"),
        ("prompt,completion\na,b\rc,d\n", 2, "a carriage return stands alone"),
        (f"prompt,completion\na,b\na,{'b' * 5_000}\n", 3, "more than 4,000 bytes"),
        ('prompt,completion\na,b\na,"' + "b\n" * 4_000, 3, "a cell is too long"),
        ("\nprompt,completion,Prompt\n", 2, "names prompt twice"),
    ],
)
def test_a_table_that_is_broken_names_the_line_of_its_record(table: str, line: int, says: str) -> None:
    code, sentence = refused(table)

    assert code is FormatFault.BAD_CSV
    assert f"begins on line {line}: " in sentence
    assert says in sentence


def test_a_table_without_the_columns_names_those_that_it_has() -> None:
    code, sentence = refused("id,text,label\n1,a,b\n")

    assert code is FormatFault.MISSING_COLUMN
    assert "has the columns id, text and label" in sentence
    assert "name them messages, or conversations, or instruction and output, or prompt and completion" in sentence


def test_a_table_without_a_header_does_not_have_its_first_row_quoted() -> None:
    _, sentence = refused("What is your name?,I am called Ada.\nHow are you?,Fine.\n")

    assert "Ada" not in sentence
    assert "2 columns without names" in sentence


@pytest.mark.parametrize("table", ["", "\n\n", "messages", "prompt,completion\n"])
def test_a_table_without_rows_has_no_lines(table: str) -> None:
    """What has none is told by whoever reads the lines: the file has no rows."""
    assert found(table) == {}


@pytest.mark.parametrize("content", [b"PK\x03\x04xlsx", "prompt,completion\na,b\n".encode("utf-16"), b"PAR1"])
def test_what_is_no_table_of_text_is_named(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="looks like") as caught:
        list(blocks("a.csv", content, tmp_path))

    assert caught.value.complaint.code is FormatFault.NOT_A_TABLE
