"""Whatever the format, the same rows become the same lines with their numbers; and a child that reads them never stays behind."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.formats import FormatFault
from shared.prepare import arrays, gunzip, unpack, unpacking
from shared.prepare.child import started
from shared.prepare.formats import Budget, Format, Layout, UnpackLimits, Unreadable, format_of
from tests.prepare.packed import WAYS, Upload, as_lines, blocks, chats, lines

ROWS = chats(20)
MARKED = "tuneloop-secret-of-this-test"


def complaint(name: str, content: bytes, workdir: Path, **how: int) -> tuple[str, str]:
    with pytest.raises(Unreadable) as caught:
        list(blocks(name, content, workdir, **how))
    return caught.value.complaint.code, caught.value.complaint.sentence


def told_by_gunzip(content: bytes) -> tuple[str, str]:
    """In this process, which takes a hundredth of the time."""
    with pytest.raises(Unreadable) as caught:
        list(gunzip.gunzipped([content], Budget(UnpackLimits())))
    return caught.value.complaint.code, caught.value.complaint.sentence


def no_child_of_ours() -> bool:
    """Neither running nor waiting to be buried."""
    shown = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False).stdout
    return "prepare.unpack" not in shown and "defunct" not in shown


# ------------------------------------------------------------------------------------------------------- the same rows


@pytest.mark.parametrize("name", WAYS)
def test_the_same_rows_come_out_of_every_format(name: str, tmp_path: Path) -> None:
    content = WAYS[name](ROWS, tmp_path)
    found = lines(name, Upload(content, step=1_000), tmp_path)

    assert [json.loads(line) for line in found.values()] == ROWS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "head", "form", "unit"),
    [
        ("a/b.jsonl", b"", Format(Layout.LINES), "line"),
        ("B.NDJSON.gz", b"", Format(Layout.LINES, gzipped=True), "line"),
        ("b.json", b"\xef\xbb\xbf\n [", Format(Layout.ARRAY), "item"),
        ("b.json", b'{"messages":[', Format(Layout.LINES), "line"),
        ("b.json.gz", gzip.compress(b" [1]"), Format(Layout.ARRAY, gzipped=True), "item"),
        ("b.json.gz", b"no gzip", Format(Layout.LINES, gzipped=True), "line"),
        ("b.tsv", b"[", Format(Layout.CSV), "line"),
        ("b.parquet", b"PAR1", Format(Layout.PARQUET), "row"),
        ("b.arrow", b"", Format(Layout.ARROW), "row"),
    ],
)
def test_a_format_is_known_by_name_and_first_bytes(name: str, head: bytes, form: Format, unit: str) -> None:
    assert format_of(name, head) == form
    assert form.unit == unit


@pytest.mark.parametrize("name", ["a.txt", "jsonl", "a.parquet.gz", "a.jsonl.zip", "a.gz", "", "a.jsonl.gz.gz"])
def test_another_ending_is_no_format(name: str) -> None:
    assert format_of(name, b"{}") is None


# ------------------------------------------------------------------------------------------------------- gzip


def test_members_that_are_cut_anywhere_and_padded_make_one_stream(tmp_path: Path) -> None:
    whole = as_lines(ROWS)
    packed = gzip.compress(whole[:777]) + gzip.compress(b"") + gzip.compress(whole[777:]) + b"\x00" * 512

    assert b"".join(blocks("a.jsonl.gz", Upload(packed, step=1), tmp_path)) == whole


@given(members=st.lists(st.binary(max_size=300), min_size=1, max_size=4), step=st.integers(1, 400))
def test_what_was_packed_is_what_comes_out(members: list[bytes], step: int) -> None:
    members.insert(0, b"{")  # what begins as an archive is refused
    packed = b"".join(gzip.compress(member) for member in members)

    assert b"".join(gunzip.gunzipped(Upload(packed, step).chunks(), Budget(UnpackLimits()))) == b"".join(members)


def test_a_stream_that_is_cut_anywhere_says_so() -> None:
    packed = gzip.compress(as_lines(ROWS[:2]))
    for end in range(len(packed)):
        with pytest.raises(Unreadable, match="ends in the middle") as caught:
            list(gunzip.gunzipped([packed[:end]], Budget(UnpackLimits())))
        assert caught.value.complaint.code is FormatFault.BAD_GZIP


def test_a_stream_that_is_cut_in_a_later_member_says_so() -> None:
    first, second = gzip.compress(b"{}\n"), gzip.compress(b"[]\n")
    for end in range(1, len(second)):
        with pytest.raises(Unreadable, match="ends in the middle"):
            list(gunzip.gunzipped([first + second[:end]], Budget(UnpackLimits())))


def test_a_cut_stream_gives_what_is_whole_and_then_its_fault(tmp_path: Path) -> None:
    noise = [{"x": random.Random(number).randbytes(400).hex()} for number in range(2_000)]
    packed = gzip.compress(as_lines(noise))
    reading = blocks("a.jsonl.gz", packed[:-100], tmp_path)

    read = [next(reading)]
    with pytest.raises(Unreadable, match="ends in the middle"):
        read.extend(reading)

    assert b"".join(read)[:1_000_000] == as_lines(noise)[:1_000_000]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"messages":[]}', "no gzip archive"),
        (gzip.compress(b"{}")[:-8] + struct.pack("<II", 1, 2), "checksum"),
        (gzip.compress(as_lines(ROWS))[:100] + random.Random(5).randbytes(400), "damaged"),
        (gzip.compress(b"{}") + b"more", "something else"),
        (b"", "ends in the middle"),
    ],
)
def test_a_damaged_archive_says_what_is_wrong_with_it(content: bytes, says: str) -> None:
    code, sentence = told_by_gunzip(content)

    assert code is FormatFault.BAD_GZIP
    assert says in sentence


@pytest.mark.parametrize(
    ("inside", "says"),
    [
        (gzip.compress(gzip.compress(bytes(10_000_000))), "another gzip archive"),
        (b"PK\x03\x04 and so on", "a zip archive"),
        (b"chats.jsonl".ljust(257, b"\0") + b"ustar\x0000", "a tar archive"),
    ],
)
def test_an_archive_in_an_archive_is_refused(inside: bytes, says: str) -> None:
    code, sentence = told_by_gunzip(gzip.compress(inside))

    assert code is FormatFault.NESTED_ARCHIVE
    assert says in sentence


@pytest.mark.parametrize("unit", [b'"",', b"1,", b'"k":0,', b'"\\\\","",'])
def test_texts_of_no_length_count_for_the_time_that_they_take(unit: bytes) -> None:
    """Each costs the reader about a microsecond, as a text of a kilobyte does."""
    code, _ = told_by_gunzip(gzip.compress(unit * (14_000_000 // len(unit))))

    assert code is FormatFault.PACKED_TOO_TIGHT


def test_prose_of_the_same_size_is_no_bomb() -> None:
    prose = gzip.compress(b'{"messages": [{"role": "user", "content": "Where, please, is hall 3?"}]} ' * 40 * 4_000)
    content = b"".join(gunzip.gunzipped([prose], Budget(UnpackLimits())))

    assert len(content) > 11_000_000


def test_a_bomb_of_a_thousand_to_one_stops_after_the_first_megabytes(tmp_path: Path) -> None:
    packing = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packing.compress(b'{"a":"' + b"a" * (1 << 20)) for _ in range(150)) + packing.flush()
    given_out: list[int] = []
    begun = time.monotonic()
    with pytest.raises(Unreadable) as caught:
        given_out.extend(map(len, blocks("a.jsonl.gz", bomb, tmp_path)))

    assert 900 * len(bomb) < 150 << 20
    assert caught.value.complaint.code is FormatFault.PACKED_TOO_TIGHT
    assert sum(given_out) <= 64 << 20
    assert time.monotonic() - begun < 5


def test_repetitive_chats_within_the_grace_are_no_bomb(tmp_path: Path) -> None:
    same = as_lines(ROWS[:1]) * 40_000
    packed = gzip.compress(same)

    assert len(same) > 210 * len(packed)
    assert sum(map(len, blocks("a.jsonl.gz", packed, tmp_path))) == len(same)


def test_an_archive_beyond_the_bytes_allowed_is_refused(tmp_path: Path) -> None:
    code, sentence = complaint("a.jsonl.gz", gzip.compress(as_lines(chats(1_000))), tmp_path, bytes_max=100_000)

    assert code is FormatFault.TOO_LARGE
    assert "100,000 allowed" in sentence


# ------------------------------------------------------------------------------------------------------- arrays

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='"\\[]{},: \n\té\u2028a'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='"\\[]{},a', max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(items=st.lists(values, max_size=6), indent=st.none() | st.integers(0, 3), ascii_only=st.booleans(), step=st.integers(1, 60))
def test_each_item_of_an_array_is_one_line_as_it_stands(items: list[object], indent: int | None, ascii_only: bool, step: int) -> None:
    content = json.dumps(items, indent=indent, ensure_ascii=ascii_only).encode()
    found = b"".join(arrays.lines_of_items(Upload(content, step).chunks())).split(b"\n")

    assert [json.loads(line) for line in found if line] == items
    if indent is None:
        assert b", ".join(found).removesuffix(b", ") == content[1:-1]


def items(content: bytes, step: int = 7) -> list[bytes]:
    return b"".join(arrays.lines_of_items(Upload(content, step).chunks())).split(b"\n")[:-1]


@pytest.mark.parametrize("step", [1, 2, 3, 5, 1_000])
def test_blanks_behind_an_item_do_not_depend_on_the_chunks(step: int) -> None:
    """A pipe cuts anywhere, and what is quarantined has to be the same each time."""
    array = b'[ {"a" \t: 1 }\r\n ,\n"x  y \\n" \t ]\n'
    chunks = [array[at : at + step] for at in range(0, len(array), step)]

    assert b"".join(arrays.lines_of_items(chunks)) == b'{"a" \t: 1 }\n"x  y \\n"\n'


def test_a_fault_inside_an_item_stays_for_the_reader_of_lines() -> None:
    """A line feed in a text, bytes that are no UTF-8, keys that stand twice, an item of nothing: the numbers stay right."""
    assert items(b'[{"a":1,"a":2},\n"b\nc",\xff,,{"a" 1},]') == [b'{"a":1,"a":2}', b'"b\tc"', b"\xff", b",", b'{"a" 1}', b","]
    with pytest.raises(ValueError, match="control character"):
        json.loads(items(b'["b\nc"]')[0])


@pytest.mark.parametrize("content", [b"[]", b" [ \n ] \n", b"\xef\xbb\xbf[]"])
def test_an_empty_array_has_no_lines(content: bytes) -> None:
    assert items(content) == []


@pytest.mark.parametrize(
    ("content", "item", "line", "says"),
    [
        (b'[1,\n2,\n\n{"a": [1, 2}', 3, 4, "it is not closed"),
        (b"[1,\n2", 2, 2, "the ] at the end is missing"),
        (b'[1,\n"abc]', 2, 2, "a text that begins in it is not closed"),
        (b"[1,\n2}\n]", 2, 2, "a } stands there that nothing opens"),
        (b"[1,\n2]\n\n[3]", 2, 4, "the file goes on"),
        (b"[1]]", 1, 1, "the file goes on"),
        (b"\n{}", 1, 1, "does not begin with ["),
    ],
)
def test_an_array_that_is_broken_names_item_and_line(content: bytes, item: int, line: int, says: str) -> None:
    for step in (1, 3, 100):
        with pytest.raises(Unreadable) as caught:
            list(arrays.lines_of_items(Upload(content, step).chunks()))
        assert caught.value.complaint.code is FormatFault.BAD_ARRAY
        assert f"at item {item} (line {line}): " in caught.value.complaint.what
        assert says in caught.value.complaint.what


def test_an_item_of_any_length_passes_through_without_being_held(tmp_path: Path) -> None:
    """300 MB in one item, more than the child may have: the lines around it keep their numbers."""

    class Long(Upload):
        def chunks(self) -> Iterator[bytes]:
            yield b'[1,\n"'
            for _ in range(300):
                yield b"a" * (1 << 20)
            yield b'",2]'

    ends = [len(block) for block in blocks("a.json", Long(b"[1"), tmp_path)]

    assert sum(ends) == len("1\n") + (300 << 20) + len('""\n2\n')


# ------------------------------------------------------------------------------------------------------- child and parent


def test_a_child_that_is_killed_is_a_fault_of_the_file_with_a_sentence(tmp_path: Path) -> None:
    reading = blocks("a.jsonl.gz", gzip.compress(b"%x\n" % random.Random(7).getrandbits(1 << 16) * 1_000, 1), tmp_path)
    next(reading)
    os.kill(child_of_this_process(), signal.SIGKILL)
    with pytest.raises(Unreadable, match=r"ended by the system \(signal 9\)") as caught:
        list(reading)

    assert caught.value.complaint.code is FormatFault.UNPACK_LIMIT
    assert no_child_of_ours()
    assert list(tmp_path.iterdir()) == []


def child_of_this_process() -> int:
    shown = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=True).stdout
    (pid,) = [int(line.split()[0]) for line in shown.splitlines() if "prepare.unpack" in line]
    return pid


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv"])
def test_a_reader_that_stops_early_leaves_neither_process_nor_file(name: str, tmp_path: Path) -> None:
    rows = as_lines(chats(20_000)) if name.endswith(".gz") else b"messages\n" + b'"[1,\n2]"\n' * 500_000
    reading = blocks(name, gzip.compress(rows, 1) if name.endswith(".gz") else rows, tmp_path)
    next(reading)
    assert not no_child_of_ours()
    reading.close()  # type: ignore[attr-defined]  # a generator

    assert no_child_of_ours()
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_does_not_notice_that_nobody_reads_is_ended_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = tmp_path / "deaf"
    deaf.write_text("#!/bin/sh\necho '{}'\nexec sleep 60\n")
    deaf.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(deaf))
    reading = blocks("a.jsonl.gz", gzip.compress(b"{}"), tmp_path)
    begun = time.monotonic()

    assert next(reading) == b"{}\n"
    reading.close()  # type: ignore[attr-defined]  # a generator
    assert time.monotonic() - begun < 5
    assert no_child_of_ours()


def test_what_the_source_raises_is_passed_on_and_the_child_is_gone(tmp_path: Path) -> None:
    class Broken(Upload):
        def chunks(self) -> Iterator[bytes]:
            yield self.content[:100]
            raise ConnectionError("the cable was cut")

    with pytest.raises(ConnectionError, match="cable"):
        list(blocks("a.jsonl.gz", Broken(gzip.compress(as_lines(ROWS))), tmp_path))

    assert no_child_of_ours()
    assert list(tmp_path.iterdir()) == []


def test_a_source_slower_than_its_reader_and_a_reader_slower_than_its_source_both_end(tmp_path: Path) -> None:
    """Ten times what the pipes hold in each direction, in pieces of odd sizes."""
    whole = random.Random(3).randbytes(10 << 20)
    packed = gzip.compress(whole, 1)
    for pause_at in range(2):
        upload = Upload(packed, step=len(packed) // 5 + 1)
        read = []
        for at, block in enumerate(blocks("a.jsonl.gz", upload, tmp_path)):
            read.append(block)
            if at == pause_at:
                time.sleep(0.1)
        assert b"".join(read) == whole


def test_many_children_at_once_do_not_hear_each_other(tmp_path: Path) -> None:
    results: dict[int, int] = {}

    def one(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        results[number] = sum(map(len, blocks("a.jsonl.gz", gzip.compress(b"a" * (1_000_000 + number)), folder)))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == {number: 1_000_000 + number for number in range(4)}


def test_a_child_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that does nothing stands for a library that hangs."""
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    begun = time.monotonic()
    code, sentence = complaint("a.jsonl.gz", gzip.compress(b"{}"), tmp_path, seconds_max=1)

    assert code is FormatFault.UNPACK_LIMIT
    assert "longer than 1 seconds" in sentence
    assert time.monotonic() - begun < 5
    assert no_child_of_ours()


@pytest.mark.parametrize(
    ("signal_name", "name", "code", "says"),
    [
        ("XCPU", "a.parquet", FormatFault.UNPACK_LIMIT, "seconds of computing"),
        ("SEGV", "a.parquet", FormatFault.BAD_PARQUET, "is damaged"),
        ("BUS", "a.arrow", FormatFault.BAD_ARROW, "is damaged"),
        ("ABRT", "a.arrow", FormatFault.UNPACK_LIMIT, "memory runs out"),
    ],
)
def test_a_child_that_dies_says_by_its_signal_what_was_wrong(
    *, signal_name: str, name: str, code: FormatFault, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "dying"
    dying.write_text(f"#!/bin/sh\nulimit -c 0\nkill -{signal_name} $$\n")
    dying.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dying))
    found, sentence = complaint(name, b"PAR1", tmp_path)

    assert found is code
    assert says in sentence


def test_a_child_that_computes_for_too_long_is_ended(tmp_path: Path) -> None:
    """An array of nothing but commas is the most work for a byte."""
    code, sentence = complaint("a.json", b"[" + b"1," * 20_000_000, tmp_path, seconds_max=1)

    assert code is FormatFault.UNPACK_LIMIT
    assert "than 1 seconds" in sentence


def test_the_time_that_the_reader_takes_does_not_count(tmp_path: Path) -> None:
    reading = blocks("a.jsonl.gz", gzip.compress(random.Random(1).randbytes(4 << 20), 1), tmp_path, seconds_max=1)
    next(reading)
    time.sleep(1.1)

    assert sum(map(len, reading)) > 3 << 20


def test_a_child_that_needs_more_memory_than_allowed_says_so(tmp_path: Path) -> None:
    cell = '"' + ("a" * 999_999 + "\n") * 4 + '"'
    table = f"messages{',c' * 20}\n[]{f',{cell}' * 20}\n".encode()
    code, sentence = complaint("a.csv", table, tmp_path, line_bytes_max=1 << 20, memory_bytes_max=64 << 20)

    assert code is FormatFault.UNPACK_LIMIT
    assert "bytes of memory" in sentence


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells the limits of another process")
def test_the_child_is_held_to_the_memory_and_time_of_its_task_writes_no_large_file_and_leaves_no_core(tmp_path: Path) -> None:
    """The system is asked, once the first lines have come: from then on the child reads what a stranger wrote."""
    import resource

    limits = UnpackLimits(seconds_max=77)
    task = unpacking.Task(
        format=Format(Layout.LINES), path="", limits=limits, memory_bytes=1 << 30, held_bytes=512 << 20, line_bytes_max=1 << 20
    )
    with (
        (tmp_path / "errors").open("w+b") as errors,
        started(unpacking.CHILD, msgspec.json.encode(task).decode(), stdin=subprocess.PIPE, errors=errors, folder=tmp_path) as child,
    ):
        assert child.stdin
        assert child.stdout
        child.stdin.write(b"\n" * (unpack.WRITE_BYTES + 1))
        assert child.stdout.read(1)
        held = {name: resource.prlimit(child.pid, getattr(resource, f"RLIMIT_{name}")) for name in ("AS", "DATA", "CPU", "FSIZE", "CORE")}

    assert held == {
        "AS": (1 << 30, 1 << 30), "DATA": (512 << 20, 512 << 20), "CPU": (77, 78), "FSIZE": (1 << 20, 1 << 20), "CORE": (0, 0),
    }  # fmt: skip


def test_the_child_gets_no_secret_and_runs_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that shows its environment instead of unpacking."""
    show = tmp_path / "show"
    show.write_text("#!/bin/sh\nenv\npwd\n")
    show.chmod(0o755)
    monkeypatch.setenv("AzureWebJobsStorage", MARKED)
    monkeypatch.chdir(tmp_path)
    workdir = tmp_path / "work"
    workdir.mkdir()
    elsewhere = b"".join(blocks("a.jsonl.gz", gzip.compress(b"{}\n"), workdir))
    monkeypatch.setattr(sys, "executable", str(show))
    shown = b"".join(blocks("a.jsonl.gz", gzip.compress(b"{}\n"), workdir)).decode()

    assert elsewhere == b"{}\n"
    assert MARKED not in shown
    assert "PYTHONPATH=" in shown


def test_a_file_that_shadows_a_module_beside_the_upload_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "msgspec.py").write_text("raise SystemExit('mine')")
    (tmp_path / "csv.py").write_text("raise SystemExit('mine')")
    monkeypatch.chdir(tmp_path)

    assert b"".join(blocks("a.jsonl.gz", gzip.compress(b"{}\n"), tmp_path)) == b"{}\n"


def test_a_child_that_fails_by_our_fault_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last words may quote the dataset, so only their kind is passed on."""
    from shared.prepare.child import ChildFailed

    broken = tmp_path / "broken"
    broken.write_text(f"#!/bin/sh\nprintf 'Traceback:\\n  File \"x.py\", line 3, in f\\nKeyError: {MARKED}\\n' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(ChildFailed, match=r'KeyError at File "x.py", line 3') as caught:
        list(blocks("a.jsonl.gz", gzip.compress(b"{}"), tmp_path))

    assert MARKED not in str(caught.value)
