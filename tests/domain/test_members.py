"""What a `_dataset.json` says, and what its owner reads when it says something else."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import members
from shared.domain.members import Member, WrongSet
from shared.domain.upload import MEMBERS_FOLDER, Upload, checked_path
from shared.errors import Rejected, UploadChanged

pytestmark = pytest.mark.light

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
THERE = Upload(account="acc", container="datasets", path="shop/_members/a.jsonl", etag="0x2", size=9, last_modified=NOON)


def parsed(document: Any) -> tuple[Member, ...]:
    return members.parsed(json.dumps(document).encode())


def sentence(body: bytes) -> str:
    with pytest.raises(WrongSet) as wrong:
        members.parsed(body)
    assert str(wrong.value).endswith(".")
    return str(wrong.value)


# ---------------------------------------------------------------------------------------------------------- what may stand there


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"train": "_members/a.jsonl"}, [("train", "_members/a.jsonl", "")]),
        ({"train": ["_members/b.jsonl", "_members/a.jsonl"]}, [("train", "_members/a.jsonl", ""), ("train", "_members/b.jsonl", "")]),
        ({"test": {"path": "_members/t.csv", "etag": "0x8D"}, "train": ["_members/2026/11.parquet", {"path": "_members/ä b.jsonl.gz"}]},
         [("train", "_members/2026/11.parquet", ""), ("train", "_members/ä b.jsonl.gz", ""), ("test", "_members/t.csv", "0x8D")]),
        ({"validation": {"path": "_members/v.jsonl", "etag": '"0x8D"'}, "train": "_members/a.jsonl"},
         [("train", "_members/a.jsonl", ""), ("validation", "_members/v.jsonl", "0x8D")]),
    ],
    ids=["one file", "shards", "an etag", "an etag in quotes"],
)  # fmt: skip
def test_a_side_is_a_file_or_several_with_or_without_an_etag(document: Any, expected: list[tuple[str, str, str]]) -> None:
    assert [(member.side, member.path, member.etag) for member in parsed(document)] == expected


def test_the_file_may_be_written_on_any_machine() -> None:
    body = json.dumps({"train": "_members/ä.jsonl"}, indent=2, ensure_ascii=False).replace("\n", "\r\n").encode("utf-8-sig")

    assert members.parsed(body) == (Member(path="_members/ä.jsonl", side="train"),)


# ---------------------------------------------------------------------------------------------------------- what may not


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, "train is missing"),
        ({"test": "_members/t.jsonl"}, "train is missing"),
        ({"train": []}, "train names no file"),
        ({"train": "_members/a.jsonl", "dev": "_members/d.jsonl"}, "'dev' is no side, there are train, validation, test"),
        ({"train": "_members/a.jsonl", "test": None}, "test: null is neither a path nor {"),
        ({"train": [["_members/a.jsonl"]]}, "is neither a path nor"),
        ({"train": {"path": "_members/a.jsonl", "sha256": "ab"}}, "is neither a path nor"),
        ({"train": {"etag": "0x1"}}, "is neither a path nor"),
        ({"train": {"path": "_members/a.jsonl", "etag": ""}}, "the etag of '_members/a.jsonl' is empty"),
        ({"train": "a.jsonl"}, "'a.jsonl' does not begin with _members/"),
        ({"train": "_Members/a.jsonl"}, "does not begin with _members/"),
        ({"train": "2026/_members/a.jsonl"}, "does not begin with _members/"),
        ({"train": "_members\\a.jsonl"}, "does not begin with _members/"),
        ({"train": "../other/_members/a.jsonl"}, "would leave its folder"),
        ({"train": "_members/../a.jsonl"}, "would leave its folder"),
        ({"train": "/shop/_members/a.jsonl"}, "would leave its folder"),
        ({"train": "_members/"}, "would leave its folder"),
        ({"train": ""}, "1 to 1024 characters"),
        ({"train": "_members/a\n.jsonl"}, "control character"),
        ({"train": "_members/\ud800.jsonl"}, "no valid Unicode"),
        ({"train": ["_members/a.jsonl", "_members/a.jsonl"]}, "'_members/a.jsonl' stands twice"),
        ({"train": "_members/a.jsonl", "test": {"path": "_members/a.jsonl", "etag": "0x1"}}, "'_members/a.jsonl' stands twice"),
        ({"train": [f"_members/{n}.jsonl" for n in range(257)]}, "257 files are named, more than the 256 allowed"),
        ([], "is no JSON object"),
        ("_members/a.jsonl", "is no JSON object"),
    ],
    ids=lambda value: json.dumps(value)[:60] if not isinstance(value, str) else "",
)
def test_what_is_wrong_is_named(document: Any, says: str) -> None:
    assert says in sentence(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no JSON in UTF-8 (Expecting value, line 1, column 1)"),
        (b"{'train': 1}", "line 1, column 2"),
        ('{"train": "_members/a.jsonl"}'.encode("utf-16"), "these bytes are no UTF-8"),
        (b"[" * 60_000, "it nests too deep"),
        (b'{"train": "_members/a.jsonl", "train": "_members/b.jsonl"}', "has the key 'train' twice"),
        (b'{"train": "_members/a.jsonl"' + b" " * 65_536 + b"}", "has 65,565 bytes, more than the 65,536 allowed"),
    ],
    ids=["empty", "Python", "UTF-16", "deep", "twice", "long"],
)
def test_a_text_that_is_no_table_of_files_is_refused(body: bytes, says: str) -> None:
    assert says in sentence(body)


@pytest.mark.parametrize("value", [[{"messages": [{"content": "CANARY"}]}], {"CANARY": 1}, [["CANARY"]], {"path": ["CANARY"]}])
def test_rows_that_stand_where_files_should_be_named_are_not_quoted(value: Any) -> None:
    assert "CANARY" not in sentence(json.dumps({"train": value}).encode())


def test_every_fault_is_named_at_once_and_there_is_a_remedy() -> None:
    said = sentence(json.dumps({"tset": "_members/t.jsonl", "train": ["a.jsonl", 3]}).encode())

    assert said == (
        "In _dataset.json 'tset' is no side, there are train, validation, test; train: 'a.jsonl' does not begin with _members/, where the "
        'files of a set lie; train: a number is neither a path nor {"path": …, "etag": …}; correct it and write it again, '
        'like {"train": "_members/train.jsonl", "test": "_members/test.jsonl"}.'
    )


def test_a_sentence_stays_short_whatever_stands_in_the_file() -> None:
    assert len(sentence(json.dumps({"train": [{"x" * 1_000: n} for n in range(60)]}).encode())) < 1_200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from(["_members/a", "_members/../b", "_members/c/d"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["path", "etag", "train", "test", "x"]), inner, max_size=3),
    max_leaves=12,
)


@given(st.binary(max_size=60) | st.dictionaries(st.sampled_from(["train", "validation", "test", "x"]), JSON, max_size=4))
def test_any_text_is_refused_or_names_files_that_stay_below_the_folder(document: Any) -> None:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    try:
        found = members.parsed(body)
    except WrongSet:
        return

    assert any(member.side == "train" for member in found)
    assert len({member.path for member in found}) == len(found)
    for member in found:
        assert member.path == checked_path(member.path)
        assert member.path.split("/")[0] == MEMBERS_FOLDER


def test_a_set_needs_a_folder() -> None:
    with pytest.raises(Rejected, match="put it and _members/ into a folder, which names the service"):
        members.in_a_folder("")
    assert members.in_a_folder("shop") == "shop"


# ---------------------------------------------------------------------------------------------------------- versions


def test_the_version_that_was_named_or_any_version_if_none_was_is_taken() -> None:
    for etag in ("", "0x2"):
        members.check_version(Member(path="_members/a.jsonl", side="train", etag=etag), THERE, named_at=NOON - SECOND)


def test_a_file_that_was_replaced_after_it_was_named_supersedes_the_set() -> None:
    with pytest.raises(UploadChanged, match=r"shop/_members/a\.jsonl was replaced after _dataset\.json had named its version"):
        members.check_version(Member(path="_members/a.jsonl", side="train", etag="0x1"), THERE, named_at=NOON - SECOND)


@pytest.mark.parametrize("later", [timedelta(0), SECOND, timedelta(days=9)])
def test_an_etag_that_was_wrong_when_it_was_written_is_a_fault_of_the_set(later: timedelta) -> None:
    with pytest.raises(WrongSet, match=r"has the ETag '0x2' and had it when _dataset\.json named '0x1'; correct the ETag"):
        members.check_version(Member(path="_members/a.jsonl", side="train", etag="0x1"), THERE, named_at=NOON + later)


def test_files_that_are_missing_are_named_and_the_rest_counted() -> None:
    one, many = members.missing(["shop/_members/a.jsonl"]), members.missing([f"{n}.jsonl" for n in range(7)])

    assert str(one).startswith("'shop/_members/a.jsonl' is not there or empty; upload what is missing, then write _dataset.json again")
    assert "'4.jsonl' and 2 more are not there" in str(many)


def test_a_number_that_is_too_long_is_called_so() -> None:
    with pytest.raises(members.WrongSet, match="a number in it is too long"):
        members.parsed(b'{"train": ' + b"9" * 5_000 + b"}")


def test_the_key_that_stands_twice_is_found_at_once_among_thousands() -> None:
    """Goal: no time that grows with the square of the keys. Method: counted comparisons would be 40 million, seconds on any machine."""
    body = "{" + ",".join(f'"{number:x}":0' for number in range(6_500)) + ',"1963":1}'
    begun = time.process_time()
    with pytest.raises(members.WrongSet, match="the key '1963' twice"):
        members.parsed(body.encode())

    assert time.process_time() - begun < 0.2
