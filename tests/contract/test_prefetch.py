"""Reading a blob ahead of whoever takes the bytes, on Azurite."""

from __future__ import annotations

import gzip
import random
import threading
import time
from collections.abc import Callable, Generator

import pytest
from azure.storage.blob import BlobClient, ContainerClient, ContentSettings

from shared.cloud.prefetch import prefetched
from shared.errors import TryLater, UploadChanged
from tests.contract.wire import ByWire, Wire, lost

PIECE = 1000  # bytes of a range
AHEAD = 3
BYTES = random.Random(1).randbytes(20 * PIECE + 1)


class Shelf:
    """A container with one blob, and the line by which it is read."""

    def __init__(self, owner: ContainerClient, by_wire: ByWire) -> None:
        self.wire = Wire()
        self.owned: BlobClient = owner.get_blob_client("rows.jsonl")
        self.read: BlobClient = by_wire(owner, self.wire).get_blob_client("rows.jsonl")

    def reader(self, body: bytes = BYTES, *, ahead: int = AHEAD, encoding: str | None = None) -> Generator[bytes, None, None]:
        self.owned.upload_blob(body, overwrite=True, content_settings=ContentSettings(content_encoding=encoding))
        etag = self.owned.get_blob_properties().etag.strip('"')
        return prefetched(self.read, etag=etag, size=len(body), ahead=ahead, range_bytes=PIECE)


@pytest.fixture
def shelf(new_container: Callable[[str], ContainerClient], by_wire: ByWire) -> Shelf:
    return Shelf(new_container("datasets"), by_wire)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize("size", [1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 20 * PIECE + 1])
@pytest.mark.parametrize("ahead", [1, 3, 50])
def test_every_byte_comes_once_and_in_order(shelf: Shelf, size: int, ahead: int) -> None:
    pieces = list(shelf.reader(BYTES[:size], ahead=ahead))

    assert b"".join(pieces) == BYTES[:size]
    assert {len(piece) for piece in pieces[:-1]} <= {PIECE}
    assert threads() == []


def test_the_order_holds_when_answers_overtake_each_other(shelf: Shelf) -> None:
    chance = random.Random(2)
    reader = shelf.reader(ahead=8)
    shelf.wire.before = lambda _: time.sleep(chance.random() / 50)

    assert b"".join(reader) == BYTES
    assert shelf.wire.under_way_max > 1


def test_no_more_is_read_ahead_than_was_agreed(shelf: Shelf) -> None:
    reader = shelf.reader()
    assert shelf.wire.requests == 0
    for taken in range(1, 6):
        next(reader)
        time.sleep(0.02)  # enough for all that was asked for to be answered
        assert shelf.wire.requests == taken + AHEAD
    assert shelf.wire.under_way_max <= AHEAD
    reader.close()


def test_whoever_stops_early_leaves_no_thread_and_asks_for_nothing_more(shelf: Shelf) -> None:
    reader = shelf.reader()
    next(reader)
    reader.close()
    assert threads() == []
    asked = shelf.wire.requests

    assert asked <= 1 + AHEAD
    assert list(reader) == []
    assert shelf.wire.requests == asked


def test_a_reader_that_is_only_forgotten_ends_as_well(shelf: Shelf) -> None:
    reader = shelf.reader()
    next(reader)
    assert threads()
    del reader

    assert threads() == []


@pytest.mark.parametrize("how", ["overwritten", "overwritten by a shorter one", "deleted"])
@pytest.mark.parametrize("taken", [0, 1, 10])
def test_a_blob_that_changes_while_it_is_read_is_not_read_on(shelf: Shelf, how: str, taken: int) -> None:
    reader = shelf.reader()
    got = [next(reader) for _ in range(taken)]
    if how == "deleted":
        shelf.owned.delete_blob()
    else:
        shelf.owned.upload_blob(b"x" * (PIECE // 2 if "shorter" in how else len(BYTES)), overwrite=True)

    with pytest.raises(UploadChanged):
        got.extend(reader)
    assert BYTES.startswith(b"".join(got))
    assert threads() == []


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_range_that_does_not_come_may_come_later(shelf: Shelf, how: str) -> None:
    reader = shelf.reader()
    got = [next(reader)]
    shelf.wire.fail_at(5, how)

    with pytest.raises(TryLater):
        got.extend(reader)
    assert BYTES.startswith(b"".join(got))
    assert threads() == []


def test_a_gzip_file_comes_as_it_lies_even_where_the_blob_says_that_it_is_encoded(shelf: Shelf) -> None:
    """Tools that upload `.gz` files set Content-Encoding; the SDK would unpack each range by itself, and fail at the second."""
    body = gzip.compress(BYTES)

    assert b"".join(shelf.reader(body, encoding="gzip")) == body


def test_the_error_is_not_hidden_by_what_is_still_under_way(shelf: Shelf) -> None:
    """The first range is lost while all others hang: the reader ends when they do, with the error of the first."""
    hang = threading.Event()
    numbers = iter(range(100))

    def before(_: object) -> None:
        if next(numbers) == 0:
            raise lost("before")
        hang.wait(10)

    reader = shelf.reader()
    shelf.wire.before = before
    threading.Timer(0.05, hang.set).start()

    with pytest.raises(TryLater):
        next(reader)
    assert threads() == []
