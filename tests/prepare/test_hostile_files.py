"""
Each hostile file of 1 MB or less ends with a sentence, or is used where that is right, and what explodes does so in a child with limits.

Seconds and memory are measured by `python3 dev.py bench hostile`; here a hard end alone is set, far beyond both.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.domain.conversation import Code
from shared.prepare import __main__ as command
from shared.prepare import preparation
from tests.prepare.hostile import BYTES_MAX, FILES, GOOD

ENDED_AFTER_S = 120
IN_ONE_PROCESS_MB_MAX = 320  # 400 are allowed to all processes together
WORST = (
    "arrow file: packed buffers of 500 MB",
    "arrow stream: packed buffers of 60 MB, twenty times",
    "parquet: one value of 500 MB",
    "parquet: lists that hold 100 million nothings",
    "an array of empty items",
    "gzip of an array of 300 million commas",
)


def prepared(name: str, content: bytes, folder: Path) -> Any:
    file = folder / name
    file.write_bytes(content)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        command.main([str(file), "--out", str(folder / "out"), "--json"])
    return json.loads(said.getvalue())


def prepared_apart(name: str, content: bytes, folder: Path) -> Any:
    """As `prepared`, in a process of its own, which says what it held."""
    (folder / name).write_bytes(content)
    options = [str(folder / name), "--out", str(folder / "out"), "--json"]
    done = subprocess.run([sys.executable, "-m", "shared.prepare", *options], capture_output=True, timeout=ENDED_AFTER_S, check=False)
    assert done.returncode == command.REJECTED, done.stderr[-500:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("what", FILES)
def test_a_hostile_file_ends_with_a_sentence_or_is_used_where_it_is_right_and_no_process_holds_more_than_it_may(
    what: str, tmp_path: Path
) -> None:
    attack = FILES[what]
    content = attack.made()
    is_measured = what in WORST and sys.platform == "linux"  # elsewhere nothing limits the data of a process
    outcome = (prepared_apart if is_measured else prepared)(attack.name, content, tmp_path)

    assert len(content) <= BYTES_MAX
    assert outcome["verdict"] == ("accepted" if attack.accepted else "rejected"), outcome["sentence"]
    assert outcome["sentence"].endswith(".")
    assert outcome["sentence"].isprintable()
    assert len(outcome["sentence"]) < 600
    assert (tmp_path / "out" / "report.html").stat().st_size < 2_000_000
    assert {path.name for path in tmp_path.iterdir()} == {attack.name, "out"}
    if is_measured:
        assert outcome["peak_mb"] < IN_ONE_PROCESS_MB_MAX


# ------------------------------------------------------------------------------------------------------- when all is lost


def test_a_file_that_nothing_can_save_is_not_read_to_its_end(tmp_path: Path) -> None:
    outcome = prepared("a.jsonl", b"x\n" * 450_000, tmp_path)

    assert preparation.BAD_ROWS_READ_MAX <= outcome["rows"] < 450_000
    assert outcome["codes"][Code.BAD_JSON]["count"] == outcome["rows"]


def test_bad_rows_that_good_ones_may_still_outweigh_are_all_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many bad rows as the limit, and behind them so many good ones that the upload is used."""
    monkeypatch.setattr(preparation, "BAD_ROWS_READ_MAX", 10)
    monkeypatch.setattr(preparation, "BAD_ROWS_BETWEEN", 1)
    good = b"".join(GOOD.replace(b"question", b"question %d" % n) for n in range(50))
    outcome = prepared("a.jsonl", b"x\n" * 15 + good, tmp_path)

    assert (outcome["verdict"], outcome["rows"], outcome["bad"]) == ("accepted", 2_015, 15)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.jsonl.gz", "a.parquet"])
def test_no_good_row_is_shorter_than_what_is_reckoned_with(name: str) -> None:
    from shared.prepare.formats import UnpackLimits, format_of, rows_possible

    form = format_of(name, b"")
    assert form
    shortest = {"a.csv": b"a,b\n"}.get(name, b'{"question":"a","answer":"b"}\n')
    assert rows_possible(form, 1_000 * len(shortest), UnpackLimits()) >= 1_000


# ----------------------------------------------------------------------------------- an owner reads what the file really is


def as_table(column: str, values: list[Any], kind: Any = None) -> bytes:
    import pyarrow
    from pyarrow import parquet

    sink = io.BytesIO()
    parquet.write_table(pyarrow.table({column: pyarrow.array(values, kind)}), sink)
    return sink.getvalue()


def tar() -> bytes:
    return FILES["a tar archive with a link that leads out"].made()


ARRAY = b"[" + GOOD[:-1].replace(b"\n", b",") + b"]"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"prompt,completion\n" + "fünf,à\n".encode("latin-1") * 40, "are not UTF-8 text"),
        ("a.csv", "prompt,completion\na,b\n".encode("utf-16-le") * 40, "looks like UTF-16 text"),
        ("a.csv", "prompt,completion\na,b\n".encode("utf-16-be") * 40, "looks like UTF-16 text"),
        ("a.json", ARRAY.decode().encode("utf-16-le"), "UTF-16"),
        ("a.json", b'["a","b",' + b"1," * 40 + b"1]", "have a value of the wrong type"),
        ("a.csv", b"\xef\xbb\xbf", "has no rows"),
        ("a.tsv", b"\t\n" * 9, "has no rows"),
        ("a.jsonl", tar(), "looks like a tar archive"),
        ("a.csv", tar(), "looks like a tar archive"),
        ("a.jsonl", b"PK\x05\x06" + b"\0" * 18, "looks like a zip archive"),
        ("a.csv", b"PK\x05\x06" + b"\0" * 18, "looks like a zip archive"),
        ("a.jsonl", b"Rar!\x1a\x07\x01\0" + b"x" * 99, "looks like a rar archive"),
        ("a.csv", b"\x80\x04cos\nsystem\n(S'true'\ntR.", "looks like a pickle"),
        ("a.jsonl", b"\x7fELF\x02\x01\x01" + b"\t,;\0" * 99, "looks like a binary file"),
    ],
)
def test_a_file_that_is_something_else_is_called_by_what_it_is(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    outcome = prepared(name, content, tmp_path)

    assert outcome["verdict"] == "rejected"
    assert said in outcome["sentence"], outcome["sentence"]


def test_what_stands_in_the_names_of_a_tables_fields_is_told_to_nobody(tmp_path: Path) -> None:
    import datetime

    outcome = prepared("a.parquet", as_table("messages", [{"Anna Muster, Ulm": datetime.date(2020, 1, 1)}] * 20), tmp_path)

    assert outcome["verdict"] == "rejected"
    assert "holds 'struct' where text belongs" in outcome["sentence"]
    assert "Muster" not in (tmp_path / "out" / "report.html").read_text()


def test_names_of_files_that_would_steer_a_terminal_are_written_out_in_sentences(tmp_path: Path) -> None:
    first, second = tmp_path / "a\x1b[2J\nERROR.jsonl", tmp_path / "b\u009b31m\u202e.jsonl"
    for file in (first, second):
        file.write_bytes(b"{}\n")
    for options in (["--json"], []):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            command.main([str(first), str(second), "--out", str(tmp_path / "out"), *options])
        told = json.loads(said.getvalue())["sentence"] if options else said.getvalue()
        assert told.replace("\n", "").isprintable()
        assert "\\x1b[2J" in told
        assert "\nERROR" not in told


@pytest.mark.parametrize("option", ["--settings", "--order"])
@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"\\u001b[2J\\n":1}', b"\xff\xfe", b"9" * 5_000, b"NaN"], ids=lambda raw: repr(raw[:9])
)
def test_settings_or_an_order_that_are_none_are_a_wrong_call_with_one_plain_line(
    option: str, content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    (tmp_path / "wrong.json").write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        command.main([str(tmp_path / "a.jsonl"), "--out", str(tmp_path / "out"), option, str(tmp_path / "wrong.json")])

    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "wrong.json" in last
    assert last.isprintable()


@pytest.mark.parametrize("path", ["x" * 900 + ".jsonl", "x/" * 450 + "a.jsonl", "a.jsonl/b.jsonl"], ids=len)
def test_a_set_that_names_what_no_disk_can_hold_lacks_that_file(path: str, tmp_path: Path) -> None:
    (tmp_path / "_members").mkdir()
    (tmp_path / "_members" / "a.jsonl").write_bytes(GOOD)
    outcome = prepared("_dataset.json", json.dumps({"train": f"_members/{path}"}).encode(), tmp_path)

    assert outcome["verdict"] == "rejected"
    assert "is not there or empty" in outcome["sentence"]
