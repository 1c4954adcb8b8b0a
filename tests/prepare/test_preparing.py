"""A whole upload: which files come out, who is held out, what the owner of a refused one reads."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared import prepare
from shared.domain import conversation
from shared.domain.conversation import Code
from shared.prepare import Prepared, Refused
from shared.prepare.folder import FolderPlace
from tests.prepare.conftest import make_preparing, source_of

ROOT = Path(__file__).parents[2]
FRESH_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


def line(prompt: str, answer: str = "answer") -> bytes:
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": turns}).encode() + b"\n"


def rows_of(count: int) -> bytes:
    return b"".join(line(f"question number {number}", f"answer {number}") for number in range(count))


def written(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {side: [json.loads(row) for row in (folder / f"{side}.jsonl").read_bytes().splitlines()] for side in prepare.SIDES}


def prompts(folder: Path) -> dict[str, set[bytes]]:
    return {side: {conversation.normalised_prompt(row["messages"][0]["content"]) for row in rows} for side, rows in written(folder).items()}


def prompts_of(folder: Path, content: bytes, **options: Any) -> dict[str, set[bytes]]:
    make_preparing(folder)(content, **options)
    return prompts(folder)


# ------------------------------------------------------------------------------------------------------- the split


def test_as_many_bad_rows_as_the_share_allows_are_not_more(prepared: Callable[..., Any]) -> None:
    """0.29 × 100 is 28.999999999999996 in floating point."""
    content = b"".join(line(f"question {number}") for number in range(71)) + b"{}\n" * 29

    assert isinstance(prepared(content, bad_rows_max_share=0.29), Prepared)
    assert isinstance(prepared(content + b"{}\n", bad_rows_max_share=0.29), Refused)


def test_the_quarantine_holds_no_more_than_it_may(prepared: Callable[..., Any], tmp_path: Path) -> None:
    content = rows_of(300) + b'{"not": "a row"}\n' * 30
    whole = prepared(content, bad_rows_max_share=0.5)
    quarantined = (tmp_path / "quarantine.jsonl").read_bytes()
    assert whole.report["quarantine"] == {"rows": 30, "written": 30}

    half = prepared(content, bad_rows_max_share=0.5, quarantine_bytes_max=len(quarantined) // 2)
    assert half.report["quarantine"] == {"rows": 30, "written": 15}
    assert (tmp_path / "quarantine.jsonl").read_bytes() == b"".join(quarantined.splitlines(keepends=True)[:15])

    prepared(content, bad_rows_max_share=0.5, quarantine_bytes_max=0)
    assert (tmp_path / "quarantine.jsonl").read_bytes() == b""


@pytest.mark.parametrize(
    ("count", "expected"), [(12, (10, 1, 1)), (13, (11, 1, 1)), (20, (16, 2, 2)), (50, (40, 5, 5)), (300, (240, 30, 30))]
)
@pytest.mark.parametrize("salt", ["", "a", "b"])
def test_a_small_file_is_counted_off(prepared: Callable[..., Any], count: int, expected: tuple[int, int, int], salt: str) -> None:
    outcome = prepared(rows_of(count), salt=salt)

    assert tuple(file.rows for file in outcome.files.values()) == expected


def test_a_large_file_keeps_its_shares_about(prepared: Callable[..., Any]) -> None:
    outcome = prepared(rows_of(5_000))

    assert outcome.files["train"].rows + outcome.files["validation"].rows + outcome.files["test"].rows == 5_000
    assert 400 < outcome.files["validation"].rows < 600
    assert 400 < outcome.files["test"].rows < 600


def test_a_prompt_that_was_tested_on_is_not_trained_on_after_the_file_grew(tmp_path: Path) -> None:
    before = prompts_of(tmp_path, rows_of(2_000))
    after = prompts_of(tmp_path, rows_of(2_500))

    assert not before["test"] & after["train"]


def test_the_order_of_the_rows_does_not_decide_who_is_held_out(tmp_path: Path) -> None:
    upside_down = b"".join(reversed(rows_of(60).splitlines(keepends=True)))

    assert prompts_of(tmp_path, rows_of(60)) == prompts_of(tmp_path, upside_down)


def test_another_salt_holds_out_other_prompts(tmp_path: Path) -> None:
    assert prompts_of(tmp_path, rows_of(60), salt="a")["test"] != prompts_of(tmp_path, rows_of(60), salt="b")["test"]


@FRESH_FOLDER
@given(groups=st.lists(st.integers(1, 12), min_size=1, max_size=25), salt=st.text(max_size=3))
@example(groups=[1, 1, 4, 9], salt="")  # the share of the test side left nothing for validation
def test_no_prompt_stands_on_two_sides(tmp_path: Path, groups: list[int], salt: str) -> None:
    """Method: groups of rows that share a prompt but for case and punctuation. A refusal has to be a true one, too."""
    twins = ("Prompt {}", "prompt {}?", "PROMPT, {}!")
    content = b"".join(line(twins[at % 3].format(group), f"a{at}") for group, size in enumerate(groups) for at in range(size))
    outcome = make_preparing(tmp_path)(content, salt=salt)
    two_smallest = sum(sorted(groups)[:2])
    possible = len(groups) >= 3 and sum(groups) - two_smallest >= 10

    assert isinstance(outcome, Prepared) == possible
    if isinstance(outcome, Prepared):
        train, validation, test = prompts(tmp_path).values()
        assert len(train | validation | test) == len(train) + len(validation) + len(test)
        assert [file.rows >= least for file, least in zip(outcome.files.values(), (10, 1, 1), strict=True)] == [True] * 3


@pytest.mark.parametrize(("rows", "ruled", "held_out"), [(20, 9, 2), (100, 60, 10), (1_500, 1_400, 1), (2_000, 1_200, 40)])
def test_a_prompt_that_begins_most_rows_trains_whatever_its_hash(tmp_path: Path, rows: int, ruled: int, held_out: int) -> None:
    """In one of ten salts its hash would be held out, and little would be left to train on."""
    content = b"".join(line("the same" if number < ruled else f"question {number}", str(number)) for number in range(rows))
    for salt in range(12):
        make_preparing(tmp_path)(content, salt=str(salt))
        counts = {side: len(found) for side, found in written(tmp_path).items()}

        assert counts["train"] >= max(ruled, 0.7 * rows)
        assert min(counts["test"], counts["validation"]) >= held_out


def test_a_prompt_rules_whatever_stands_between_its_rows(tmp_path: Path) -> None:
    lines = [line("the same", str(number)) for number in range(700)] + [line(f"question {number}") for number in range(1_300)]
    random.Random(3).shuffle(lines)
    for salt in range(12):
        make_preparing(tmp_path)(b"".join(lines), salt=str(salt))

        assert len(written(tmp_path)["train"]) > 1_700


def test_too_few_rows_and_too_few_prompts_are_told_apart(prepared: Callable[..., Any]) -> None:
    few = prepared(rows_of(11))
    same = prepared(b"".join(line("hello", f"answer {number}") for number in range(40)))

    assert few.code == Code.TOO_FEW_ROWS
    assert few.sentence.startswith("The file has 11 usable rows, fewer than the 12 needed; ")
    assert same.code == Code.TOO_FEW_PROMPTS
    assert same.sentence.startswith("The 40 usable rows begin with the same user message, ")


# ------------------------------------------------------------------------------------------------------- the files


@FRESH_FOLDER
@given(step=st.integers(1, 3_000))
def test_the_files_do_not_depend_on_the_chunks(tmp_path: Path, step: int) -> None:
    content = b"\xef\xbb\xbf" + rows_of(40) + line("naïve – 東京") + b"\r\n"
    outcome = make_preparing(tmp_path)(content, step=step)

    assert isinstance(outcome, Prepared)
    assert outcome.content_sha256 == "f6172060c656253bc3ed64bc38b3e3afc293f1559688e2c94f0f98d4843f256d"  # of every Python's bytes


def test_hashes_and_sizes_are_those_of_the_files(prepared: Callable[..., Any], tmp_path: Path) -> None:
    outcome = prepared(rows_of(30))

    for side, file in outcome.files.items():
        content = (tmp_path / file.name).read_bytes()
        assert (file.name, file.bytes, file.rows) == (f"{side}.jsonl", len(content), content.count(b"\n"))
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert outcome.report["splits"][side] == {"rows": file.rows, "bytes": file.bytes, "sha256": file.sha256}


OUTPUTS = ["quarantine.jsonl", "report.html", "report.json"]
PUBLISHED = sorted([*OUTPUTS, "manifest.json", "samples.json", "test.jsonl", "train.jsonl", "validation.jsonl"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_but_the_outputs_stays_in_the_folder(prepared: Callable[..., Any], tmp_path: Path) -> None:
    prepared(rows_of(30))

    assert names(tmp_path) == PUBLISHED


def test_a_refusal_publishes_a_report_and_nothing_to_train_on(prepared: Callable[..., Any], tmp_path: Path) -> None:
    prepared(rows_of(30) + b"nonsense\n")

    assert names(tmp_path) == OUTPUTS


def samples(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "samples.json").read_bytes())["samples"]
    return found


def test_samples_are_held_out_rows_that_end_with_the_user(prepared: Callable[..., Any], tmp_path: Path) -> None:
    prepared(rows_of(300), samples_max=7)
    held_out = [row["messages"] for row in written(tmp_path)["test"]]

    assert len(samples(tmp_path)) == 7
    for sample in samples(tmp_path):
        assert sample["messages"][-1]["role"] == "user"
        assert [*sample["messages"], {"role": "assistant", "content": sample["reference"]}] in held_out


def test_there_is_a_sample_even_when_every_held_out_row_is_long(prepared: Callable[..., Any], tmp_path: Path) -> None:
    prepared(rows_of(30), sample_bytes_max=5)

    assert len(samples(tmp_path)) == 1


def test_a_few_bad_rows_may_be_allowed(prepared: Callable[..., Any]) -> None:
    content = rows_of(38) + b"nonsense\n" * 2

    assert isinstance(prepared(content, bad_rows_max_share=0.05), Prepared)
    assert isinstance(prepared(content, bad_rows_max_share=0.04), Refused)


# ------------------------------------------------------------------------------------------------------- what it is instead


@pytest.mark.parametrize(
    ("content", "like"),
    [
        (b"PK\x03\x04" + b"\x00" * 40, "a zip archive"),
        (b"%PDF-1.7\n...", "a PDF document"),
        (gzip.compress(rows_of(30)), "a gzip archive"),
        (b"PAR1....", "a parquet table"),
        (rows_of(30).decode().encode("utf-16"), "UTF-16 text"),
        (rows_of(30).decode().encode("utf-16-le"), "UTF-16 text"),
        (rows_of(30).decode().encode("utf-16-be"), "UTF-16 text"),
        (rows_of(30).decode().encode("utf-32"), "UTF-32 text"),
        (rows_of(30).decode().encode("utf-32-le"), "UTF-32 text"),
        (rows_of(30).decode().encode("utf-32-be"), "UTF-32 text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"\x00" * 5_000, "zero bytes"),
        (b"[\n" + rows_of(3).replace(b"}\n", b"},\n") + b"]", "one JSON array"),
        (json.dumps([json.loads(row) for row in rows_of(30).splitlines()]).encode(), "one JSON array"),
        (json.dumps(json.loads(line("x")), indent=2).encode(), "JSON spread over several lines"),
        (b"prompt,answer\nhi,ho\n", "CSV"),
        (b"prompt\tanswer\nhi\tho\n", "TSV"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"Dear team,\nhere are the chats.\n", "CSV"),
        (b"hello world\n", "plain text"),
    ],
)
def test_another_format_is_called_by_its_name(prepared: Callable[..., Any], content: bytes, like: str) -> None:
    outcome = prepared(content)

    assert isinstance(outcome, Refused)
    assert outcome.code == Code.NOT_JSONL
    assert like in outcome.sentence


def test_one_stray_line_above_good_rows_is_a_bad_line(prepared: Callable[..., Any]) -> None:
    outcome = prepared(b"prompt,answer\n" + rows_of(30))

    assert outcome.code == Code.BAD_JSON
    assert outcome.sentence.startswith("Line 1 is not valid JSON; ")


@pytest.mark.parametrize("content", [b"", b"\n \r\n\n", b"\xef\xbb\xbf"])
def test_a_file_without_rows_is_empty(prepared: Callable[..., Any], content: bytes) -> None:
    assert prepared(content).code == Code.EMPTY_FILE


@pytest.mark.parametrize(("suffix", "hint"), [(".txt", "upload .jsonl"), (".zip", "unpack it"), ("", "has no ending")])
def test_another_ending_is_refused_without_reading(prepared: Callable[..., Any], suffix: str, hint: str) -> None:
    outcome = prepared(rows_of(30), name=f"chats{suffix}")

    assert outcome.code == Code.WRONG_SUFFIX
    assert hint in outcome.sentence


def test_a_file_that_is_too_large_is_refused_without_reading(tmp_path: Path) -> None:
    unread = iter([b"x"])
    source = prepare.Source(name="chats.jsonl", size=1 << 50, open=lambda: unread)

    assert getattr(prepare_one(source, tmp_path), "code", None) == Code.TOO_LARGE
    assert next(unread) == b"x"


def test_the_sentence_names_the_most_frequent_fault_and_counts_the_other_kinds(prepared: Callable[..., Any]) -> None:
    outcome = prepared(rows_of(20) + b"oops\n" + b'{"messages":[]}\n' * 30)

    assert outcome.sentence == (
        "Lines 22, 23, 24 and 27 more have no messages; each row needs a user and an assistant turn "
        "(1 more kind of fault is in the report)."
    )
    assert outcome.report["codes"]["empty_messages"]["count"] == 30
    assert outcome.report["codes"]["empty_messages"]["first_lines"] == list(range(22, 42))


def prepare_one(source: prepare.Source, folder: Path, **more: Any) -> Prepared | Refused:
    return prepare.prepare([source], FolderPlace(folder), options=prepare.Options(), workdir=folder, **more)


# ------------------------------------------------------------------------------------------------------- hostile and broken


@FRESH_FOLDER
@given(content=st.binary(max_size=400) | st.lists(st.sampled_from([line("x"), b"{", b"[", b"\xff", b"\n", b'"']), max_size=9).map(b"".join))
def test_any_bytes_get_an_outcome(tmp_path: Path, content: bytes) -> None:
    outcome = make_preparing(tmp_path)(content, step=64)

    assert isinstance(outcome, Refused)
    assert outcome.sentence.endswith(".")
    json.dumps(outcome.report)


@pytest.mark.parametrize("announced", [-1, 1])
def test_a_stream_of_another_length_than_announced_is_not_judged(tmp_path: Path, announced: int) -> None:
    content = rows_of(30)
    source = prepare.Source(name="chats.jsonl", size=len(content) + announced, open=lambda: iter([content]))

    with pytest.raises(prepare.StreamEndedEarly, match="read it again"):
        prepare_one(source, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_one_endless_line_needs_no_memory(tmp_path: Path) -> None:
    """64 MiB without an end of line, in chunks that are new objects, so that keeping them would show."""
    step, count = 1 << 20, 64
    size = step * count
    source = prepare.Source(name="chats.jsonl", size=size, open=lambda: (b"{" * step for _ in range(count)))
    prepare_one(source_of(rows_of(20)), tmp_path)  # what is imported at the first report is no part of it
    tracemalloc.start()
    outcome = prepare_one(source, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert getattr(outcome, "code", None) == Code.TOO_LONG
    assert peak < 32 << 20  # two times the limit of a line, and a block for each of the four outputs


def test_no_word_of_the_data_set_is_in_a_report(prepared: Callable[..., Any]) -> None:
    canary = "ZEBRA77"
    faulty = [
        line(canary, "").replace(b"user", canary.encode()),
        b'{"' + canary.encode() + b'": 1}\n',
        line(canary) * 2,
        f"{canary}\n".encode(),
        line(canary).replace(b'{"messages"', f'{{"{canary}":1,"prompt_id":"{canary}","messages"'.encode()),
    ]
    for content in (rows_of(30) + b"".join(faulty), rows_of(30) + faulty[2] + faulty[4], faulty[3] * 3):
        outcome = prepared(content, excerpts=False)

        assert canary not in json.dumps(outcome.report)
        assert canary not in getattr(outcome, "sentence", "")


@pytest.mark.parametrize(
    ("name", "content"), [("chats.json", b"[%s]" % b",".join(rows_of(2_000).splitlines())), ("chats.json", rows_of(2_000))]
)
def test_a_file_whose_head_is_looked_at_is_opened_once(tmp_path: Path, name: str, content: bytes) -> None:
    """An upload is read ahead in many ranges: opening it for its first bytes would fetch megabytes for nothing."""
    opened: list[int] = []
    held = source_of(content, step=10_000, name=name)

    def opening() -> Iterator[bytes]:
        opened.append(1)
        return held.open()

    source = prepare.Source(name=name, size=len(content), open=opening)
    seen: list[prepare.Progress] = []
    outcome = prepare_one(source, tmp_path, progress=seen.append)

    assert isinstance(outcome, Prepared)
    assert outcome.report["rows"] == 2_000
    assert len(opened) == 1
    assert seen[-1].bytes_read == len(content)


def test_progress_ends_at_the_whole_file(tmp_path: Path) -> None:
    content = rows_of(30)
    seen: list[prepare.Progress] = []
    source = prepare.Source(name="chats.jsonl", size=len(content), open=lambda: iter([content[:100], content[100:]]))
    prepare_one(source, tmp_path, progress=seen.append)

    assert [progress.bytes_read for progress in seen] == [100, len(content)]
    assert seen[-1].rows == 30


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"test_share": 0}, "test_share"),
        ({"test_share": 0.6, "validation_share": 0.4}, "nothing is left to train on"),
        ({"bad_rows_max_share": 1}, "bad_rows_max_share"),
        ({"rows_min": {"test": 0}}, "rows_min.test"),
        ({"sald": "x"}, "sald"),
        ({"salt": "\ud800"}, "salt"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_by_name(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        prepare.options_of(wrong)


# ------------------------------------------------------------------------------------------------------- the command


def command(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "shared.prepare", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_command_accepts_the_example(tmp_path: Path) -> None:
    done = command(ROOT / "examples" / "support-bot.jsonl", "--out", tmp_path, "--json")

    assert (done.returncode, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert (facts["verdict"], facts["rows"], facts["codes"]) == ("accepted", 289, {})
    assert facts["peak_mb"] > 0
    assert names(tmp_path) == PUBLISHED
    assert json.loads((tmp_path / "manifest.json").read_text())["files"]["test"]["rows"] >= 10


def test_the_command_rejects_the_broken_example_and_takes_an_earlier_result_away(tmp_path: Path) -> None:
    command(ROOT / "examples" / "support-bot.jsonl", "--out", tmp_path)
    done = command(ROOT / "examples" / "broken.jsonl", "--out", tmp_path)

    assert done.returncode == 3
    assert done.stdout.startswith("Rejected. Line")
    assert names(tmp_path) == OUTPUTS


def test_a_rejection_removes_nothing_that_is_not_of_an_earlier_preparation(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(b"somebody's own")
    done = command(ROOT / "examples" / "broken.jsonl", "--out", tmp_path)

    assert done.returncode == 3
    assert (tmp_path / "train.jsonl").read_bytes() == b"somebody's own"


def test_the_command_refuses_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert command(tmp_path / "nothing.jsonl", "--out", tmp_path).returncode == 2


@pytest.mark.parametrize("name", ["train.jsonl", "quarantine.jsonl"])
def test_the_command_never_writes_over_a_file_that_it_was_given(tmp_path: Path, name: str) -> None:
    """A rejection takes away the files of an earlier result: they must not be the upload itself."""
    (tmp_path / name).write_bytes(rows_of(5))
    done = command(tmp_path / name, "--out", tmp_path)

    assert done.returncode == 2
    assert name in done.stderr
    assert (names(tmp_path), (tmp_path / name).read_bytes()) == ([name], rows_of(5))


def test_the_command_never_writes_over_the_members_of_a_set(tmp_path: Path) -> None:
    members = tmp_path / "_members"
    members.mkdir()
    (members / "train.jsonl").write_bytes(rows_of(5))
    (tmp_path / "_dataset.json").write_text('{"train": "_members/train.jsonl"}')

    assert command(tmp_path / "_dataset.json", "--out", members).returncode == 2
    assert names(members) == ["train.jsonl"]


def test_an_out_that_is_no_folder_is_a_wrong_call(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"mine")
    done = command(ROOT / "examples" / "support-bot.jsonl", "--out", tmp_path / "out")

    assert done.returncode == 2
    assert (tmp_path / "out").read_bytes() == b"mine"


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
def test_an_output_that_takes_nothing_is_a_failure_with_a_sentence(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        arguments = [sys.executable, "-m", "shared.prepare", str(ROOT / "examples" / "support-bot.jsonl"), "--out", str(tmp_path), "--json"]
        done = subprocess.run(arguments, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)

    assert (done.returncode, done.stderr) == (1, "[Errno 28] No space left on device\n")


@pytest.mark.skipif(sys.platform != "linux", reason="only there does a process inherit a maximum")
def test_the_peak_is_that_of_the_command_and_not_of_who_started_it(tmp_path: Path) -> None:
    start = """
import subprocess, sys
held = b"x" * (300 << 20)
sys.exit(subprocess.run([sys.executable, "-m", "shared.prepare", *sys.argv[1:]]).returncode)
"""
    arguments = [str(ROOT / "examples" / "support-bot.jsonl"), "--out", str(tmp_path), "--json"]
    done = subprocess.run([sys.executable, "-c", start, *arguments], cwd=ROOT, capture_output=True, check=True, timeout=60)

    assert 20 < json.loads(done.stdout)["peak_mb"] < 200


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes there")
def test_a_name_that_is_no_utf8_is_spelt_out_also_where_stdout_has_few_characters(tmp_path: Path) -> None:
    file = os.fsdecode(os.fsencode(tmp_path) + b"/d\xe4ten.jsonl")
    Path(file).write_bytes(rows_of(5) + b"{}\n")
    done = subprocess.run(
        [sys.executable, "-m", "shared.prepare", file, "--out", tmp_path / "out", "--json"],
        cwd=ROOT,
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (3, b"")
    assert "…" in json.loads(done.stdout)["sentence"]
    assert json.loads((tmp_path / "out" / "quarantine.jsonl").read_bytes())["file"] == "d\\xe4ten.jsonl"


def test_two_files_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    paths = [tmp_path / folder / "chats.jsonl" for folder in ("a", "b")]
    for at, path in enumerate(paths):
        path.parent.mkdir()
        path.write_bytes(b"".join(line(f"question {at} {number}") for number in range(200)) + b"{}\n")
    one, other = (json.loads(command(*files, "--out", tmp_path / "out", "--json").stdout) for files in (paths, paths[::-1]))

    assert [place["file"] for place in one["codes"]["missing_field"]["first"]] == [str(path) for path in paths]
    assert one["content_sha256"] == other["content_sha256"]


def test_nothing_heavy_loads_for_json_lines() -> None:
    check = "import sys, shared.prepare; sys.exit(bool({'datasets', 'pyarrow', 'pandas', 'numpy', 'azure'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False, timeout=60).returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="no pseudo-terminal here")
def test_a_person_at_a_terminal_sees_how_far_it_is(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    arguments = [sys.executable, "-m", "shared.prepare", str(ROOT / "examples" / "support-bot.jsonl"), "--out", str(tmp_path), "--json"]
    done = subprocess.run(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, check=True, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)

    assert "100%" in shown
    assert "289 rows" in shown
    assert json.loads(done.stdout)["verdict"] == "accepted"


def test_a_command_that_is_killed_at_any_moment_leaves_nothing_that_looks_published(tmp_path: Path) -> None:
    """Killed ever later, until it ends by itself: a manifest that is there is of whole files, and the next run makes the same ones."""
    file, out = tmp_path / "chats.jsonl", tmp_path / "out"
    file.write_bytes(b"".join(line(f"question {number} " + "x" * 3_000, "answer " * 200) for number in range(5_000)))
    arguments = [sys.executable, "-m", "shared.prepare", str(file), "--out", str(out)]
    whole = prepare_one(prepare.source_of_file(file), tmp_path / "other")
    assert isinstance(whole, Prepared)
    killed = 0
    for hundredths in range(4, 1_000, 3):
        with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(hundredths / 100)
            process.kill()
        killed += process.returncode != 0
        if (out / "manifest.json").exists():
            manifest = json.loads((out / "manifest.json").read_bytes())
            assert manifest["content_sha256"] == whole.content_sha256
            for described in manifest["files"].values():
                assert hashlib.sha256((out / described["name"]).read_bytes()).hexdigest() == described["sha256"]
        if process.returncode == 0:
            break

    assert killed > 3
    assert names(out) == PUBLISHED
