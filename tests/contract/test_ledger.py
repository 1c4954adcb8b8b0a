"""
One suite for the `Ledger` port, over the fake of the stories and over blobs on Azurite: they must refuse alike.

A reply that is lost after the effect can only be played over the wire: there the SDK sends the request again by itself
and meets its own first effect as a conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from azure.core.exceptions import ServiceResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobServiceClient, ContainerClient, LinearRetry

from shared.cloud.ledger import NONCE, BlobLedger
from shared.domain.record import Key, Kind
from shared.errors import LostRace, TryLater, UnreadableRecord
from shared.ports import Ledger
from tests.journeys import fakes

KEY = Key(kind=Kind.TUNING, id="0123456789ab")
OTHER = Key(kind=Kind.SERVICE, id="0123456789ab")
WRITERS = 20


@pytest.fixture(params=[pytest.param("fake", marks=pytest.mark.light), "blobs"])
def new_ledger(request: pytest.FixtureRequest) -> Callable[[], Ledger]:
    """Another process's view of one and the same ledger, at each call."""
    if request.param == "fake":
        world = fakes.World()
        return lambda: fakes.FakeLedger(world)
    container: ContainerClient = request.getfixturevalue("new_container")("ledger")
    return lambda: BlobLedger(container)


@pytest.fixture
def ledger(new_ledger: Callable[[], Ledger]) -> Ledger:
    return new_ledger()


def shown(ledger: Ledger, key: Key = KEY) -> dict[str, Any]:
    """What lies in the ledger, without the writer's nonce, which is the adapter's own."""
    stored = ledger.read(key)
    assert stored is not None
    return {name: value for name, value in stored.body.items() if name != NONCE}


def version(ledger: Ledger, key: Key = KEY) -> str:
    stored = ledger.read(key)
    assert stored is not None
    return stored.version


# --------------------------------------------------------------------------------------------------------------- create


def test_a_record_is_read_as_it_was_created(ledger: Ledger) -> None:
    body = {"stage": "seen", "why": "Größe 文 \u2028", "n": 3, "nested": {"x": [1, None, True]}}

    assert ledger.create(KEY, body) is True
    assert shown(ledger) == body


def test_creating_a_record_twice_creates_it_once_and_keeps_the_first(ledger: Ledger) -> None:
    ledger.create(KEY, {"n": 1})

    assert ledger.create(KEY, {"n": 2}) is False
    assert shown(ledger) == {"n": 1}


def test_of_many_who_create_one_record_at_once_exactly_one_did(new_ledger: Callable[[], Ledger]) -> None:
    ledgers = [new_ledger() for _ in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        created = list(pool.map(lambda n: ledgers[n].create(KEY, {"n": n}), range(WRITERS)))

    assert created.count(True) == 1
    assert shown(ledgers[0]) == {"n": created.index(True)}


def test_a_record_that_is_not_there_is_none(ledger: Ledger) -> None:
    assert ledger.read(KEY) is None


def test_two_kinds_with_one_id_are_two_records(ledger: Ledger) -> None:
    ledger.create(KEY, {"n": 1})

    assert ledger.create(OTHER, {"n": 2}) is True
    assert (shown(ledger), shown(ledger, OTHER)) == ({"n": 1}, {"n": 2})


# -------------------------------------------------------------------------------------------------------------- replace


def test_a_record_is_replaced_over_the_version_that_was_read(ledger: Ledger) -> None:
    ledger.create(KEY, {"n": 1})

    new = ledger.replace(KEY, {"n": 2}, version(ledger))

    assert shown(ledger) == {"n": 2}
    assert new == version(ledger)


def test_the_returned_version_is_good_for_the_next_write(ledger: Ledger) -> None:
    ledger.create(KEY, {"n": 1})
    second = ledger.replace(KEY, {"n": 2}, version(ledger))

    ledger.replace(KEY, {"n": 3}, second)

    assert shown(ledger) == {"n": 3}


def test_writing_over_an_older_version_is_a_lost_race_and_changes_nothing(ledger: Ledger) -> None:
    ledger.create(KEY, {"n": 1})
    old = version(ledger)
    ledger.replace(KEY, {"n": 2}, old)

    with pytest.raises(LostRace):
        ledger.replace(KEY, {"n": 3}, old)
    assert shown(ledger) == {"n": 2}


def test_writing_the_same_content_over_an_older_version_is_a_lost_race_too(ledger: Ledger) -> None:
    ledger.create(KEY, {"n": 1})
    old = version(ledger)
    ledger.replace(KEY, {"n": 2}, old)

    with pytest.raises(LostRace):
        ledger.replace(KEY, {"n": 2}, old)


def test_replacing_a_record_that_is_not_there_is_a_lost_race(ledger: Ledger) -> None:
    ledger.create(OTHER, {"n": 1})

    with pytest.raises(LostRace):
        ledger.replace(KEY, {"n": 2}, version(ledger, OTHER))


def test_of_many_who_replace_one_version_at_once_exactly_one_did(new_ledger: Callable[[], Ledger]) -> None:
    ledgers = [new_ledger() for _ in range(WRITERS)]
    ledgers[0].create(KEY, {"n": -1})
    read = version(ledgers[0])

    def replaced(n: int) -> bool:
        try:
            ledgers[n].replace(KEY, {"n": n}, read)
        except LostRace:
            return False
        return True

    with ThreadPoolExecutor(WRITERS) as pool:
        won = list(pool.map(replaced, range(WRITERS)))

    assert won.count(True) == 1
    assert shown(ledgers[0]) == {"n": won.index(True)}


# ---------------------------------------------------------------------------------------------------- active, ids, owner


def test_a_created_record_is_active_until_it_is_deactivated_and_stays_for_ever(ledger: Ledger) -> None:
    ledger.create(KEY, {"n": 1})
    ledger.create(OTHER, {"n": 2})
    assert set(ledger.active()) == {KEY, OTHER}

    ledger.deactivate(KEY)

    assert set(ledger.active()) == {OTHER}
    assert shown(ledger) == {"n": 1}


def test_marking_and_unmarking_twice_is_doing_it_once(ledger: Ledger) -> None:
    ledger.activate(KEY)
    ledger.activate(KEY)
    assert list(ledger.active()) == [KEY]

    ledger.deactivate(KEY)
    ledger.deactivate(KEY)
    assert list(ledger.active()) == []


def test_the_ids_of_a_kind_are_listed_and_nothing_else(ledger: Ledger) -> None:
    ledger.owner()
    for key in (KEY, OTHER, Key(kind=Kind.TUNING, id="ffffffffffff")):
        ledger.create(key, {})
    ledger.deactivate(KEY)

    assert sorted(ledger.ids(Kind.TUNING)) == ["0123456789ab", "ffffffffffff"]
    assert list(ledger.ids(Kind.TRAINING)) == []


def test_a_marker_of_a_kind_that_a_newer_version_invented_is_passed_over(new_container: Callable[[str], ContainerClient]) -> None:
    container = new_container("ledger")
    container.upload_blob("active/invented/0123456789ab", b"")
    ledger = BlobLedger(container)
    ledger.activate(KEY)

    assert list(ledger.active()) == [KEY]


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"{", b"\xff", b"[" * 60_000], ids=lambda content: repr(content[:5]))
def test_a_blob_that_is_no_document_is_refused_by_its_name(new_container: Callable[[str], ContainerClient], content: bytes) -> None:
    container = new_container("ledger")
    container.upload_blob(f"{KEY}.json", content)

    with pytest.raises(UnreadableRecord, match=f"{KEY}.json"):
        BlobLedger(container).read(KEY)


def test_the_owner_is_made_once_and_the_same_for_every_process(new_ledger: Callable[[], Ledger]) -> None:
    ledgers = [new_ledger() for _ in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        owners = set(pool.map(lambda ledger: ledger.owner(), ledgers))

    assert len(owners) == 1
    assert len(owners.pop()) == 36


# ---------------------------------------------------------------------------------------------------------- lost replies


class LosesReplies(RequestsTransport):
    """A connection that breaks after the service has answered, so many times, for writes of paths that end so."""

    def __init__(self) -> None:
        super().__init__()
        self.losses = 0
        self.ending = ""
        self.sent = 0

    def lose(self, times: int, *, ending: str) -> None:
        self.losses, self.ending, self.sent = times, ending, 0

    def send(self, request: Any, **kwargs: Any) -> Any:
        answer = super().send(request, **kwargs)
        if request.method == "PUT" and request.url.split("?")[0].endswith(self.ending):
            self.sent += 1
            if self.losses:
                self.losses -= 1
                raise ServiceResponseError("planted: the reply is lost")
        return answer


@pytest.fixture
def network() -> LosesReplies:
    return LosesReplies()


@pytest.fixture
def fragile(storage: str, new_container: Callable[[str], ContainerClient], network: LosesReplies) -> Iterator[BlobLedger]:
    """A ledger whose client repeats lost requests as the app's does, without its pauses."""
    name = new_container("ledger").container_name
    at_once = LinearRetry(backoff=0, retry_total=3, random_jitter_range=0)
    with BlobServiceClient.from_connection_string(storage, transport=network, retry_policy=at_once) as service:
        yield BlobLedger(service.get_container_client(name))


def test_a_creation_whose_reply_was_lost_was_ours(fragile: BlobLedger, network: LosesReplies) -> None:
    network.lose(1, ending=f"{KEY}.json")

    assert fragile.create(KEY, {"n": 1}) is True
    assert network.sent == 2
    assert fragile.create(KEY, {"n": 2}) is False


def test_a_creation_that_came_too_late_is_not_ours_even_when_its_reply_is_lost(fragile: BlobLedger, network: LosesReplies) -> None:
    fragile.create(KEY, {"n": 1})
    network.lose(1, ending=f"{KEY}.json")

    assert fragile.create(KEY, {"n": 1}) is False
    assert network.sent == 2


def test_a_replacement_whose_reply_was_lost_was_ours_and_tells_its_version(fragile: BlobLedger, network: LosesReplies) -> None:
    fragile.create(KEY, {"n": 1})
    network.lose(1, ending=f"{KEY}.json")

    new = fragile.replace(KEY, {"n": 2}, version(fragile))

    assert network.sent == 2
    assert (new, shown(fragile)) == (version(fragile), {"n": 2})
    fragile.replace(KEY, {"n": 3}, new)
    assert shown(fragile) == {"n": 3}


def test_a_replacement_over_an_older_version_is_a_lost_race_even_when_its_reply_is_lost(fragile: BlobLedger, network: LosesReplies) -> None:
    fragile.create(KEY, {"n": 1})
    old = version(fragile)
    fragile.replace(KEY, {"n": 2}, old)
    network.lose(1, ending=f"{KEY}.json")

    with pytest.raises(LostRace):
        fragile.replace(KEY, {"n": 2}, old)


def test_when_every_reply_is_lost_the_caller_is_told_to_try_later(fragile: BlobLedger, network: LosesReplies) -> None:
    network.lose(99, ending=f"{KEY}.json")

    with pytest.raises(TryLater):
        fragile.create(KEY, {"n": 1})


def test_an_owner_whose_reply_was_lost_is_still_one_owner(fragile: BlobLedger, network: LosesReplies) -> None:
    network.lose(1, ending="owner.json")

    assert len(fragile.owner()) == 36


def test_the_record_is_marked_active_before_it_exists(fragile: BlobLedger, network: LosesReplies) -> None:
    """A process that dies in between leaves a stray marker, which the timer heals, never a record that nobody looks at."""
    network.lose(99, ending=f"{KEY}.json")
    with pytest.raises(TryLater):
        fragile.create(KEY, {"n": 1})

    assert list(fragile.active()) == [KEY]
