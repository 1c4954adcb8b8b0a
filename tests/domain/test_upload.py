"""A blob name is refused or safe, and what an upload is called follows from where and what it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote, urljoin

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.domain import upload
from shared.errors import Rejected

pytestmark = pytest.mark.light

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
UPLOAD = upload.Upload(
    account="acc", container="datasets", path="support-bot/2026-11.jsonl", etag="0x8D4BCC2E4835CD0", size=9, last_modified=NOON
)
ANY_TEXT = st.text(alphabet=st.characters())  # lone surrogates too: JSON carries them as \ud800
NASTY_TEXT = st.text(alphabet="ab./\\%2e?#\0\r\n\x7f\ud800é ", max_size=12)
CONTAINER = "https://acc.blob.core.windows.net/datasets/"


@pytest.mark.parametrize(
    "path",
    [
        "support-bot/2026-11.jsonl",
        "rows.parquet",
        "a/b/c/d.jsonl",
        "...",
        "a/.hidden",
        "a/b..c",
        "a b/ä/文.jsonl",
        "a%2e%2e/b",
        "a\\..\\b",
        "what?#not",
        "x" * 1024,
    ],
)
def test_a_name_that_stays_in_its_container_is_kept_as_it_is(path: str) -> None:
    assert upload.checked_path(path) == path


@pytest.mark.parametrize(
    "path",
    ["", "x" * 1025, "../models/x", "a/../../x", "a/..", "..", ".", "./a", "a/./b", "/a", "a/", "a//b"]
    + [f"a{character}b" for character in "\0\t\r\n\x1b\x1f\x7f"],
)
def test_a_name_that_could_leave_its_folder_or_forge_a_log_line_is_refused(path: str) -> None:
    with pytest.raises(Rejected):
        upload.checked_path(path)


def test_a_name_that_cannot_be_written_as_utf8_is_refused_and_not_met_by_a_crash_in_a_client() -> None:
    with pytest.raises(Rejected):
        upload.checked_path("a\ud800b")


@given(ANY_TEXT | NASTY_TEXT)
@example("a/\ud800")
def test_any_text_is_refused_or_safe(text: str) -> None:
    """Safe: as a relative address it resolves to itself, below the container, and it is one line of printable text."""
    try:
        path = upload.checked_path(text)
    except Rejected:
        return
    address = urljoin(CONTAINER, quote(path.encode("utf-8"), safe="~/"))

    assert address.startswith(CONTAINER)
    assert unquote(address.removeprefix(CONTAINER)) == path
    assert not any(character in path for character in "\0\r\n\x7f")


@dataclass(frozen=True, kw_only=True)
class Place:
    path: str
    service: str
    folder: str
    dataset: bool


@pytest.mark.parametrize(
    "place",
    [
        Place(path="support-bot/2026-11.jsonl", service="support-bot", folder="support-bot", dataset=True),
        Place(path="a/b/c.jsonl", service="a", folder="a/b", dataset=True),
        Place(path="rows.jsonl", service="rows.jsonl", folder="", dataset=True),
        Place(path="support-bot/_recipe.json", service="support-bot", folder="support-bot", dataset=False),
        Place(path="_recipe.json", service="_recipe.json", folder="", dataset=False),
        Place(path="_drafts/rows.jsonl", service="_drafts", folder="_drafts", dataset=True),
        Place(path="support-bot/_dataset.json", service="support-bot", folder="support-bot", dataset=True),
        Place(path="_dataset.json", service="_dataset.json", folder="", dataset=True),  # so that its owner is told that it needs a folder
        Place(path="support-bot/_dataset.jsonl", service="support-bot", folder="support-bot", dataset=False),
        Place(path="support-bot/_members/train.jsonl", service="support-bot", folder="support-bot/_members", dataset=False),
        Place(path="a/_members/b/c.jsonl", service="a", folder="a/_members/b", dataset=False),
        Place(path="a/_members/_dataset.json", service="a", folder="a/_members", dataset=False),
        Place(path="_members/train.jsonl", service="_members", folder="_members", dataset=False),
        Place(path="a/members/train.jsonl", service="a", folder="a/members", dataset=True),
    ],
    ids=lambda place: place.path,
)
def test_a_path_says_which_service_and_folder_it_belongs_to(place: Place) -> None:
    found = (upload.service_of(place.path), upload.folder_of(place.path), upload.is_dataset(place.path))

    assert found == (place.service, place.folder, place.dataset)


@pytest.mark.parametrize("form", ['"0x8D4"', "0x8D4", ' "0x8D4" '])
def test_every_form_of_an_etag_is_the_same_etag(form: str) -> None:
    assert upload.bare_etag(form) == "0x8D4"


@pytest.mark.parametrize("field", ["account", "container", "path", "etag"])
def test_another_place_or_version_is_another_upload(field: str) -> None:
    other = msgspec.structs.replace(UPLOAD, **{field: getattr(UPLOAD, field) + "x"})

    assert other.id != UPLOAD.id


@pytest.mark.parametrize(("one", "other"), [("caf\u00e9", "cafe\u0301"), ("A", "a"), ("\u0430", "a"), ("a ", "a"), ("ﬁ", "fi")], ids=ascii)
def test_names_that_look_alike_are_two_uploads(one: str, other: str) -> None:
    first, second = (msgspec.structs.replace(UPLOAD, path=upload.checked_path(f"{name}/a.jsonl")) for name in (one, other))

    assert first.id != second.id
    assert upload.service_of(first.path) != upload.service_of(second.path)


@pytest.mark.parametrize(("field", "value"), [("size", 10), ("last_modified", NOON + timedelta(hours=1))])
def test_size_and_time_are_no_part_of_an_uploads_identity(field: str, value: object) -> None:
    assert msgspec.structs.replace(UPLOAD, **{field: value}).id == UPLOAD.id


def test_the_identity_of_an_upload_is_what_it_was_in_the_first_release() -> None:
    """Records in ledgers are found by this id: changing the formula would open every upload again."""
    assert UPLOAD.id == "dde75b7e4ae7"


def test_of_two_uploads_in_one_second_the_order_is_still_the_same_for_everybody() -> None:
    twin = msgspec.structs.replace(UPLOAD, etag="0x9")

    assert (UPLOAD.order < twin.order) != (twin.order < UPLOAD.order)
    assert UPLOAD.order < msgspec.structs.replace(twin, last_modified=NOON + timedelta(seconds=1)).order


@given(st.lists(ANY_TEXT.filter(lambda text: "\0" not in text), min_size=1, max_size=4), st.data())
def test_parts_cannot_be_shifted_into_each_other(parts: list[str], data: st.DataObject) -> None:
    """("ab", "c") and ("a", "bc") are different things: join two neighbours, and the hash is another one."""
    at = data.draw(st.integers(0, len(parts) - 1))
    joined = [*parts[:at], "".join(parts[at : at + 2]), *parts[at + 2 :]]

    assert (upload.short_hash(*joined) == upload.short_hash(*parts)) == (joined == parts)
