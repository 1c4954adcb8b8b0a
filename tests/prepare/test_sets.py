"""Several files of one dataset: who is held out stays held out, whatever file a prompt stands in, and every sentence says which file."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import prepare
from shared.domain import conversation
from shared.domain.conversation import Code
from shared.prepare import Prepared, Refused, report_shape
from shared.prepare.__main__ import main
from shared.prepare.folder import FolderPlace
from tests.prepare.conftest import source_of
from tests.prepare.test_preparing import line, prompts, rows_of, written

pytestmark = pytest.mark.light

Set = dict[str, tuple[prepare.Side | None, bytes]]  # name -> side and content
PreparingSet = Callable[..., Any]
TEST = b"".join(line(f"held out {number}", f"answer {number}") for number in range(5))
VALIDATION = b"".join(line(f"watched {number}", f"answer {number}") for number in range(5))


def preparing(folder: Path, files: Set, **options: Any) -> Any:
    sources = [source_of(content, name=name, side=side) for name, (side, content) in files.items()]
    outcome = prepare.prepare(sources, FolderPlace(folder), options=prepare.Options(**options), workdir=folder)
    report_shape.check(outcome.report)
    return outcome


def first(outcome: Any, code: Code) -> list[tuple[str, int]]:
    return [(place["file"], place["line"]) for place in outcome.report["codes"][code]["first"]]


def answers(folder: Path) -> dict[str, list[str]]:
    return {side: [row["messages"][1]["content"] for row in rows] for side, rows in written(folder).items()}


# ------------------------------------------------------------------------------------------------------- leakage


def test_a_prompt_in_two_files_stays_in_the_held_out_one_and_is_reported_where_it_leaks(tmp_path: Path) -> None:
    outcome = preparing(tmp_path, {
        "train.jsonl": ("train", rows_of(12) + line("HELD out, 3!", "another") + line("Watched 1", "another")),
        "validation.jsonl": ("validation", line("held-out 2?", "another") + VALIDATION),
        "test.jsonl": ("test", TEST),
    })  # fmt: skip

    assert first(outcome, Code.PROMPT_LEAKS) == [("validation.jsonl", 1), ("train.jsonl", 13), ("train.jsonl", 14)]
    assert {side: len(rows) for side, rows in written(tmp_path).items()} == {"train": 12, "validation": 5, "test": 5}
    assert outcome.report["bad"] == 0
    assert outcome.report["codes"][Code.PROMPT_LEAKS]["sentence"].startswith(
        "Line 1 of validation.jsonl and lines 13 and 14 of train.jsonl begin with user messages that are held out"
    )


SIDES_OF_MANY = st.lists(st.tuples(st.sampled_from(prepare.SIDES), st.integers(0, 9), st.integers(0, 2)), max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(rows=SIDES_OF_MANY, held_out=st.sets(st.sampled_from(["validation", "test"])))
def test_whatever_stands_in_the_files_no_prompt_stands_on_two_sides(
    tmp_path: Path, rows: list[tuple[str, int, int]], held_out: set[str]
) -> None:
    """Method: few prompts in few spellings, thrown at any side; a side without a file is cut from the rest."""
    spelt = ("Prompt {}", "prompt {}?", "PROMPT, {}!")
    content = {side: b"" for side in prepare.SIDES if side == "train" or side in held_out}
    for at, (side, number, spelling) in enumerate(rows):
        if side in content:
            content[side] += line(spelt[spelling].format(number), f"answer {at}")
    files: Any = {f"{side}.jsonl": (side, text + (rows_of(30) if side == "train" else b"")) for side, text in content.items()}
    outcome = preparing(tmp_path, {name: file for name, file in files.items() if file[1]})

    if isinstance(outcome, Refused):
        assert held_out  # nothing may be left of a side that has a file of its own
        assert outcome.code == Code.TOO_FEW_ROWS
        return
    train, validation, test = prompts(tmp_path).values()
    assert len(train | validation | test) == len(train) + len(validation) + len(test)
    for side in held_out & {name.removesuffix(".jsonl") for name, file in files.items() if file[1]}:
        kept = set(answers(tmp_path)[side])
        assert kept <= {f"answer {at}" for at, row in enumerate(rows) if row[0] == side}  # no row of another file came in


def test_a_prompt_of_a_row_that_is_dropped_is_not_held_out(tmp_path: Path) -> None:
    broken = line("question number 3", "")
    outcome = preparing(tmp_path, {"train.jsonl": ("train", rows_of(200)), "test.jsonl": ("test", TEST + broken)})

    assert isinstance(outcome, Prepared)
    assert Code.PROMPT_LEAKS not in outcome.report["codes"]
    assert b"question number 3".replace(b" ", b"") in prompts(tmp_path)["train"] | prompts(tmp_path)["validation"]


def test_a_conversation_in_two_files_of_one_side_is_kept_once(tmp_path: Path) -> None:
    outcome = preparing(tmp_path, {
        "1.jsonl": ("train", rows_of(12)),
        "2.jsonl": ("train", line("new") + rows_of(3)),
        "t.jsonl": ("test", TEST + TEST),
    })  # fmt: skip

    assert first(outcome, Code.DUP_CONTENT)[:5] == [("t.jsonl", number) for number in range(6, 11)]
    assert first(outcome, Code.DUP_CONTENT)[5:] == [("2.jsonl", number) for number in (2, 3, 4)]
    assert outcome.report["duplicates"]["content"] == 8


# ------------------------------------------------------------------------------------------------------- sides


@pytest.mark.parametrize("given", [[], ["validation"], ["test"], ["validation", "test"]], ids=lambda given: " and ".join(given) or "none")
@pytest.mark.parametrize("count", [40, 2_000])
def test_a_side_without_a_file_is_cut_from_the_training_rows(tmp_path: Path, given: list[str], count: int) -> None:
    contents = {"validation": VALIDATION, "test": TEST}
    files: Any = {"train.jsonl": ("train", rows_of(count)), **{f"{side}.jsonl": (side, contents[side]) for side in given}}
    outcome = preparing(tmp_path, files)
    rows = {side: file.rows for side, file in outcome.files.items()}

    for side in ("validation", "test"):
        assert rows[side] == 5 if side in given else count * 0.07 < rows[side] < count * 0.13
    assert sum(rows.values()) == count + 5 * len(given)
    assert outcome.report["split"]["method"] == ("given" if len(given) == 2 else "counted_off" if count == 40 else "fixed_cut")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"train.jsonl": ("train", rows_of(30)), "t.jsonl": ("test", b"\n")}, "The test file has 0 usable rows, fewer than the 1 needed; "),
        ({"train.jsonl": ("train", rows_of(9)), "t.jsonl": ("test", TEST), "v.jsonl": ("validation", VALIDATION)},
         "The training data has 9 usable rows, fewer than the 10 needed; add conversations (10 to train on)."),
        ({"train.jsonl": ("train", rows_of(10)), "t.jsonl": ("test", TEST)},
         "The training data has 10 usable rows, fewer than the 11 needed; add conversations (10 to train on and 1 to validate)."),
        ({"1.jsonl": ("train", rows_of(6)), "2.jsonl": ("train", rows_of(11)[-200:].split(b"\n", 1)[1])},
         "The files together have 7 usable rows, fewer than the 12 needed; "),
    ],
    ids=["a side", "train", "train and a cut", "shards"],
)  # fmt: skip
def test_a_side_with_too_few_rows_is_named(tmp_path: Path, files: Set, sentence: str) -> None:
    outcome = preparing(tmp_path, files)

    assert outcome.code == Code.TOO_FEW_ROWS
    assert outcome.sentence.startswith(sentence)


# ------------------------------------------------------------------------------------------------------- order


def test_the_order_in_which_the_files_are_named_changes_nothing(tmp_path: Path) -> None:
    leak = line("question number 1", "another")
    files: Set = {
        "a.jsonl": ("train", rows_of(30)),
        "b.jsonl": ("train", b"".join(line(f"more {number}") for number in range(20)) + rows_of(2)),
        "c.jsonl": ("validation", leak + VALIDATION),
        "d.jsonl": ("test", TEST),
        "e.jsonl": ("test", leak),
    }
    found = set()
    for seed in range(4):
        order = random.Random(seed).sample(sorted(files), len(files))
        preparing(tmp_path / str(seed), {name: files[name] for name in order})
        found.add(tuple(path.read_bytes() for path in sorted((tmp_path / str(seed)).iterdir())))

    assert len(found) == 1


# ------------------------------------------------------------------------------------------------------- what is said


def test_the_report_tells_of_each_file_and_its_side(tmp_path: Path) -> None:
    table = b"prompt,completion\n" + b"".join(f"table {number},answer\n".encode() for number in range(30))
    outcome = preparing(tmp_path, {"m/t.jsonl": ("test", TEST), "m/train.csv": ("train", table), "m/train.jsonl": ("train", rows_of(30))})

    assert [(file["name"], file["side"], file["rows"], file["format"]) for file in outcome.report["files"]] == [
        ("m/train.csv", "train", 30, "csv"),
        ("m/train.jsonl", "train", 30, "jsonl"),
        ("m/t.jsonl", "test", 5, "jsonl"),
    ]
    assert [source["side"] for source in outcome.manifest["sources"]] == ["train", "train", "test"]
    assert "m/train.csv" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"a.jsonl": ("train", rows_of(30) + b"nonsense\n"), "b.jsonl": ("test", TEST)},
         "Line 31 of a.jsonl is not valid JSON; "),
        ({"a.jsonl": ("train", rows_of(30) + b"{\n" * 3), "b.jsonl": ("test", TEST + b"{\n")},
         "Line 6 of b.jsonl, lines 31 and 32 of a.jsonl and 1 more are not valid JSON; "),
        ({"a.jsonl": ("train", rows_of(30)), "b.jsonl": ("test", b"")}, "The file b.jsonl has no rows; "),
        ({"a.jsonl": ("train", rows_of(30)), "b.txt": ("test", TEST)}, "The file b.txt's name ends in '.txt'; "),
        ({"a.jsonl": ("train", rows_of(30)), "b.jsonl": ("test", b"PK\x03\x04" + b"\0" * 40)}, "The file b.jsonl looks like a zip archive"),
        ({"a.jsonl": ("train", rows_of(30)), "b.json": ("test", b'[{"messages": []}]')}, "Item 1 of b.json has no messages; "),
        ({"a.jsonl": ("train", rows_of(30)), "b.jsonl.gz": ("test", b"\x1f\x8b" + b"\0" * 40)},
         "In b.jsonl.gz the gzip archive is damaged "),
        ({"a.jsonl": ("train", rows_of(30)), "b.csv": ("test", b"x,y\n1,2\n")}, "In b.csv the table has "),
    ],
    ids=["a row", "rows", "no rows", "another ending", "another format", "another unit", "no gzip", "no columns"],
)  # fmt: skip
def test_a_fault_of_one_of_several_files_says_which(tmp_path: Path, files: Set, sentence: str) -> None:
    outcome = preparing(tmp_path, files)

    assert isinstance(outcome, Refused)
    assert outcome.sentence.startswith(sentence)
    assert json.loads((tmp_path / "report.json").read_bytes())["verdict"] == "rejected"


def test_a_set_that_cannot_be_opened_has_a_report_as_well(tmp_path: Path) -> None:
    outcome = prepare.refused(
        conversation.about_set("train is missing", "name its files"), FolderPlace(tmp_path), options=prepare.Options()
    )

    assert (outcome.code, outcome.sentence) == (Code.BAD_SET, "Train is missing; name its files.")
    report_shape.check(json.loads((tmp_path / "report.json").read_bytes()))
    assert "Train is missing" in (tmp_path / "report.html").read_text()
    assert conversation.severity(Code.BAD_SET) is conversation.Severity.FATAL


# ------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    members = tmp_path / "shop" / "_members"
    members.mkdir(parents=True)
    (members / "train.jsonl").write_bytes(rows_of(30) + line("held out 1?"))
    (members / "test.jsonl").write_bytes(TEST)
    (members / "empty.jsonl").touch()
    return members.parent


def command(capsys: pytest.CaptureFixture[str], folder: Path, document: Any, *more: str) -> tuple[int, Any]:
    (folder / "_dataset.json").write_text(document if isinstance(document, str) else json.dumps(document))
    code = main([str(folder / "_dataset.json"), *more, "--out", str(folder / "out"), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_command_opens_a_set_from_the_disk(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = {"train": "_members/train.jsonl", "test": {"path": "_members/test.jsonl", "etag": "0x1"}}
    code, facts = command(capsys, folder, named)

    assert (code, facts["rows"], facts["splits"]["test"]["rows"]) == (0, 36, 5)
    assert facts["codes"]["prompt_leaks"]["first"] == [{"file": "_members/train.jsonl", "line": 31}]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"train": "train.jsonl"}, "does not begin with _members/"),
        ({"train": "_members/train.jsonl", "test": "_members/t.jsonl"}, "'_members/t.jsonl' is not there or empty; upload what is missing"),
        ({"train": ["_members/train.jsonl", "_members/empty.jsonl"]}, "'_members/empty.jsonl' is not there or empty; "),
        ("{", "is no JSON"),
        ({"train": "x" * 70_000}, "more than the 65,536 allowed"),
    ],
    ids=["outside", "missing", "empty", "no JSON", "long"],
)
def test_the_command_rejects_a_set_that_cannot_be_used(folder: Path, document: Any, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, facts = command(capsys, folder, document)

    assert (code, facts["verdict"], list(facts["codes"])) == (3, "rejected", ["bad_set"])
    assert says in facts["sentence"]
    assert (folder / "out" / "report.html").is_file()


def test_a_set_is_given_to_the_command_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command(capsys, folder, {"train": "_members/train.jsonl"}, str(folder / "_members" / "train.jsonl"))

    assert ended.value.code == 2


def test_two_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / name / "chats.jsonl" for name in ("a", "b")]
    for file, content in zip(files, (rows_of(30), rows_of(1) + b"{\n"), strict=True):
        file.parent.mkdir()
        file.write_bytes(content)

    assert main([*map(str, files), "--out", str(tmp_path / "out")]) == 3
    assert capsys.readouterr().out.startswith(f"Rejected. Line 2 of {files[1]} is not valid JSON;")
