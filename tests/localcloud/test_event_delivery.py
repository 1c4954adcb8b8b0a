"""Delivery on a clock that a test moves: the whole schedule of a day, probation, dead letters and chaos, in milliseconds."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from localcloud.azureml.routes import Table
from localcloud.azureml.wire import Refused, Request
from localcloud.chance import Chance
from localcloud.clocks import ManualClock
from localcloud.eventgrid import EventGrid, default_subscriptions, parse_all, store
from localcloud.eventgrid.deadletters import ContainerMissing
from localcloud.eventgrid.grid import WrongEvent
from localcloud.eventgrid.hand import Hand
from localcloud.eventgrid.schedule import Answer, Next, Outcome, RetryPolicy, Verdict, after_attempt
from localcloud.eventgrid.subscriptions import WrongSubscription, parse, read
from localcloud.faults import Faults

pytestmark = pytest.mark.light

START = datetime(2026, 8, 8, 5, tzinfo=UTC)
HOOK = "http://127.0.0.1:1/hook"
PLAIN = {"name": "plain", "topic": "storage", "endpoint": HOOK}
EVENT = {
    "id": "1",
    "topic": "/subscriptions/s/storageAccounts/a",
    "subject": "/a/b.jsonl",
    "eventType": "Microsoft.Storage.BlobCreated",
    "eventTime": "2026-08-08T05:00:00.0000000Z",
    "data": {"api": "PutBlob"},
    "dataVersion": "",
    "metadataVersion": "1",
}


_open: list[EventGrid] = []


@pytest.fixture(autouse=True)
def closed_after() -> Iterator[None]:
    yield
    while _open:
        _open.pop().close()


class World:
    """A grid, its clock, and a receiver that answers as it is told and notes when it was asked for what."""

    def __init__(
        self,
        *subscriptions: dict[str, Any],
        plan: list[dict[str, Any]] | None = None,
        shakes: Answer | None = None,
        **options: Any,
    ) -> None:
        self.shakes = shakes  # how the endpoint answers a handshake; None: as it should
        self.clock = ManualClock(START)
        self.says: Callable[[], Answer] = lambda: Answer(status=200)
        self.got: list[tuple[float, str, Mapping[str, str]]] = []  # seconds since the start, event id, headers
        self.letters: list[tuple[float, str, str, Any]] = []
        self.box_says: Exception | None = None
        self.faults = Faults()
        self.faults.add({"faults": plan or []})
        chosen = subscriptions or (PLAIN,)
        self.grid = EventGrid(
            parse_all(list(chosen)), clock=self.clock, chance=Chance(1), faults=self.faults, box=self, post=self.answer, **options
        )
        _open.append(self.grid)
        self.grid.advance()

    @property
    def seconds(self) -> float:
        return (self.clock() - START).total_seconds()

    def answer(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, within_s: float) -> Answer:
        handshake = method == "OPTIONS" or headers["aeg-event-type"] == "SubscriptionValidation"
        if handshake and self.shakes:
            return self.shakes
        if method == "OPTIONS":
            return Answer(status=200, allowed_origin=headers["WebHook-Request-Origin"])
        document = json.loads(body or b"")
        if handshake:
            return Answer(status=200, body=json.dumps({"validationResponse": document[0]["data"]["validationCode"]}).encode())
        (event,) = document if isinstance(document, list) else [document]
        self.got.append((self.seconds, event["id"], headers))
        return self.says()

    def put(self, container: str, name: str, body: bytes) -> None:
        if self.box_says:
            raise self.box_says
        (letter,) = json.loads(body)
        self.letters.append((self.seconds, container, name, letter))

    def publish(self, **changed: Any) -> None:
        self.grid.publish("storage", {**EVENT, **changed})
        self.grid.advance()

    def pass_time(self, until: timedelta) -> None:
        """Move from one due moment to the next, as a clock that ticks would; `until` counts from the start."""
        end = START + until
        while (due := self.grid.next_due()) is not None and due <= end:
            self.clock.move(max(due - self.clock(), timedelta(0)))
            self.grid.advance()
        self.clock.move(end - self.clock())

    @property
    def when(self) -> list[float]:
        return [at for at, _, _ in self.got]

    @property
    def ids(self) -> list[str]:
        return [event for _, event, _ in self.got]


# -------------------------------------------------------------------------------------------------------------- schedule


@pytest.mark.parametrize(
    ("status", "attempts", "following"),
    [
        (200, 1, Next(Verdict.DELIVERED)),
        (204, 30, Next(Verdict.DELIVERED)),
        (205, 1, Next(Verdict.RETRY, timedelta(seconds=10))),
        (302, 1, Next(Verdict.RETRY, timedelta(seconds=10))),
        (500, 1, Next(Verdict.RETRY, timedelta(seconds=10))),
        (500, 2, Next(Verdict.RETRY, timedelta(seconds=30))),
        (500, 5, Next(Verdict.RETRY, timedelta(minutes=10))),
        (500, 29, Next(Verdict.RETRY, timedelta(hours=12))),
        (None, 1, Next(Verdict.RETRY, timedelta(seconds=10))),
        (503, 1, Next(Verdict.RETRY, timedelta(seconds=30))),
        (408, 1, Next(Verdict.RETRY, timedelta(minutes=2))),
        (404, 1, Next(Verdict.RETRY, timedelta(minutes=5))),
        (400, 1, Next(Verdict.GIVE_UP, reason="UndeliverableDueToHttpBadRequest")),
        (401, 1, Next(Verdict.GIVE_UP, reason="UndeliverableDueToHttpUnauthorized")),
        (403, 1, Next(Verdict.GIVE_UP, reason="UndeliverableDueToHttpForbidden")),
        (413, 1, Next(Verdict.GIVE_UP, reason="UndeliverableDueToHttpPayloadTooLarge")),
        (500, 30, Next(Verdict.GIVE_UP, reason="MaxDeliveryAttemptsExceeded")),
    ],
)
def test_what_follows_an_attempt(status: int | None, attempts: int, following: Next) -> None:
    assert after_attempt(Answer(status=status), attempts=attempts) == following


def test_a_day_of_refusals_follows_the_schedule_and_ends_at_the_first_attempt_after_the_day() -> None:
    world = World({**PLAIN, "deadLetterContainer": "dead"})
    world.says = lambda: Answer(status=500)

    world.publish()
    world.pass_time(timedelta(days=3))

    waits = [10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200]
    attempts = [sum(waits[:n]) for n in range(len(waits) + 1)]
    assert world.when == attempts
    assert [headers["aeg-delivery-count"] for _, _, headers in world.got] == [str(n) for n in range(11)]
    # The day ends after 86,400 s; nobody looks before the next attempt is due, 12 h after the last one.
    ((written, container, name, letter),) = world.letters
    assert (written, container) == (attempts[-1] + 43200, "dead")
    assert name.startswith("PLAIN/2026/8/9/15/")
    assert letter == {
        **EVENT,
        "deadLetterReason": "TimeToLiveExceeded",
        "deliveryAttempts": 11,
        "lastDeliveryOutcome": "GenericError",
        "publishTime": "2026-08-08T05:00:00.0000000Z",
        "lastDeliveryAttemptTime": "2026-08-09T03:46:40.0000000Z",
    }


@pytest.mark.parametrize(
    ("policy", "attempts", "reason"),
    [
        ({"maxDeliveryAttempts": 3}, [0, 10, 40], "MaxDeliveryAttemptsExceeded"),
        ({"eventTimeToLiveInMinutes": 1}, [0, 10, 40], "TimeToLiveExceeded"),
        ({"maxDeliveryAttempts": 10, "eventTimeToLiveInMinutes": 30}, [0, 10, 40, 100, 400, 1000], "TimeToLiveExceeded"),
        ({"maxDeliveryAttempts": 1}, [0], "MaxDeliveryAttemptsExceeded"),
    ],
)
def test_the_limit_that_is_reached_first_ends_it(policy: dict[str, int], attempts: list[float], reason: str) -> None:
    world = World({**PLAIN, "retryPolicy": policy, "deadLetterContainer": "dead"})
    world.says = lambda: Answer(status=500)

    world.publish()
    world.pass_time(timedelta(days=2))

    assert world.when == attempts
    assert [letter["deadLetterReason"] for *_, letter in world.letters] == [reason]


def test_a_pace_shortens_every_wait_and_the_lifetime_alike() -> None:
    world = World(pace=0.1)
    world.says = lambda: Answer(status=500)

    world.publish()
    world.pass_time(timedelta(days=1))

    assert world.when[:4] == [0, 1, 4, 10]
    assert len(world.when) == 11


def test_the_schedule_can_be_randomised_and_a_seed_repeats_it() -> None:
    def attempts() -> list[float]:
        world = World(spread=0.2)
        world.says = lambda: Answer(status=500)
        world.publish()
        world.pass_time(timedelta(days=2))
        return world.when

    waits = [after - before for before, after in zip(attempts(), attempts()[1:], strict=False)]
    assert attempts() == attempts()
    assert all(0.8 * exact <= wait <= 1.2 * exact for wait, exact in zip(waits[1:], [30, 60, 300, 600], strict=False))
    assert waits[1] != 30


# ------------------------------------------------------------------------------------------------------------- probation


@pytest.mark.parametrize(
    ("answer", "silent_s"),
    [
        (Answer(status=503), 10),
        (Answer(silence=Outcome.TIMED_OUT), 10),
        (Answer(silence=Outcome.SOCKET_ERROR), 30),
        (Answer(status=404), 300),
        (Answer(status=401), 300),
        (Answer(status=500), 0),
    ],
)
def test_nothing_is_sent_to_an_endpoint_on_probation(answer: Answer, silent_s: float) -> None:
    world = World()
    world.says = lambda: answer
    world.publish(id="first")
    world.says = lambda: Answer(status=200)

    world.publish(id="second")
    world.pass_time(timedelta(hours=1))

    assert [at for at, event, _ in world.got if event == "second"] == [silent_s]


def test_an_answer_after_thirty_seconds_comes_too_late_and_still_spares_the_retry() -> None:
    """Method: requests are carried by hand, so that one can be under way while the clock goes on."""
    world, carried = World(), list[Callable[[], None]]()
    world.grid.run = carried.append
    world.publish()

    world.clock.move(timedelta(seconds=31))
    world.grid.advance()
    assert world.grid.stats()["pending"] == 1
    due = world.grid.next_due()
    carried.pop(0)()

    assert due == START + timedelta(seconds=41)
    assert world.grid.stats()["pending"] == 0
    world.pass_time(timedelta(hours=1))
    assert carried == []


def test_a_retry_that_has_begun_is_not_taken_back_by_a_late_answer() -> None:
    world, carried = World(), list[Callable[[], None]]()
    world.grid.run = carried.append
    world.publish()
    for seconds in (31, 11):
        world.clock.move(timedelta(seconds=seconds))
        world.grid.advance()

    assert len(carried) == 2
    for carry in carried:
        carry()
    assert world.ids == ["1", "1"]
    assert world.grid.stats()["delivered"] == 1


# ----------------------------------------------------------------------------------------------------------- dead letters


def test_a_refused_event_is_a_dead_letter_five_minutes_after_its_last_attempt() -> None:
    world = World({**PLAIN, "deadLetterContainer": "dead"})
    world.says = lambda: Answer(status=400)

    world.publish()
    world.pass_time(timedelta(minutes=4, seconds=59))
    assert world.letters == []
    world.pass_time(timedelta(minutes=5))

    ((written, _, _, letter),) = world.letters
    assert (written, letter["deadLetterReason"], letter["lastDeliveryOutcome"]) == (300, "UndeliverableDueToHttpBadRequest", "BadRequest")
    assert world.grid.stats()["dead_lettered"] == 1


def test_a_cloud_event_is_a_dead_letter_in_lower_case() -> None:
    world = World({**PLAIN, "deadLetterContainer": "dead", "eventDeliverySchema": "CloudEventSchemaV1_0"})
    world.says = lambda: Answer(status=400)

    world.publish()
    world.pass_time(timedelta(minutes=5))

    ((_, _, _, letter),) = world.letters
    assert letter["specversion"] == "1.0"
    assert letter["deadletterreason"] == "UndeliverableDueToHttpBadRequest"
    assert {"deliveryattempts", "lastdeliveryoutcome", "publishtime", "lastdeliveryattempttime"} <= letter.keys()
    assert [key for key in letter if key != key.lower()] == []


def test_without_a_container_what_is_refused_is_dropped() -> None:
    world = World()
    world.says = lambda: Answer(status=400)

    world.publish()
    world.pass_time(timedelta(days=1))

    assert (world.letters, world.grid.stats()["dropped"], world.grid.stats()["pending"]) == ([], 1, 0)


@pytest.mark.parametrize(
    ("failure", "dropped_after_s"), [(ContainerMissing("dead"), 300), (OSError("away"), 4 * 3600 + 300)], ids=["missing", "away"]
)
def test_a_dead_letter_whose_container_is_missing_or_long_away_is_dropped(failure: Exception, dropped_after_s: float) -> None:
    world = World({**PLAIN, "deadLetterContainer": "dead"})
    world.says, world.box_says = lambda: Answer(status=400), failure

    world.publish()
    world.pass_time(timedelta(seconds=dropped_after_s - 1))
    assert world.grid.stats()["dropped"] == 0
    world.pass_time(timedelta(seconds=dropped_after_s))

    assert world.grid.stats()["dropped"] == 1


def test_a_storage_that_comes_back_gets_its_dead_letter() -> None:
    world = World({**PLAIN, "deadLetterContainer": "dead"})
    world.says, world.box_says = lambda: Answer(status=400), OSError("away")
    world.publish()
    world.pass_time(timedelta(hours=1))
    world.box_says = None

    world.pass_time(timedelta(hours=2))

    assert len(world.letters) == 1


# ------------------------------------------------------------------------------------------------------------------ chaos


def test_an_event_comes_twice_late_never_or_after_the_next_on_request() -> None:
    plan: list[dict[str, Any]] = [
        {"fault": "event_twice", "match": {"subject": "*twice*"}, "copies": 2},
        {"fault": "event_late", "match": {"subject": "*late*"}, "seconds": 90},
        {"fault": "event_never", "match": {"subject": "*never*", "type": "*.blobcreated"}},
        {"fault": "event_reordered", "match": {"subject": "*behind*"}},
    ]
    world = World(plan=plan)

    for name in ("twice", "late", "never", "behind", "next"):
        world.publish(id=name, subject=f"/{name}")
    world.pass_time(timedelta(minutes=5))

    assert world.ids == ["twice", "twice", "twice", "next", "behind", "late"]
    assert world.when == [0, 0, 0, 0, 0, 90]
    assert world.grid.stats() | {"by_type": None} == {
        "published": 5, "lost": 1, "delivered": 6, "failed": 0, "dead_lettered": 0, "dropped": 0, "pending": 0, "by_type": None,
    }  # fmt: skip


def test_an_event_that_was_overtaken_and_refused_is_tried_again_once() -> None:
    """Goal: the retry of a 503 falls on the moment at which the event would have come by itself; that is still one attempt."""
    world = World(plan=[{"fault": "event_reordered", "match": {"subject": "/behind"}}])
    world.publish(id="behind", subject="/behind")
    world.says = lambda: Answer(status=503 if world.ids.count("behind") == 1 else 200)

    world.publish(id="next")
    world.pass_time(timedelta(minutes=1))

    assert [at for at, event, _ in world.got if event == "behind"] == [0, 30]


def test_an_event_that_nothing_overtakes_comes_after_half_a_minute() -> None:
    world = World(plan=[{"fault": "event_reordered"}])

    world.publish()
    world.pass_time(timedelta(minutes=1))

    assert world.when == [30]


def test_a_fault_waits_for_an_event_that_somebody_wants() -> None:
    world = World(plan=[{"fault": "event_never"}])

    world.grid.publish("/subscriptions/s/storageAccounts/foreign", EVENT)
    world.publish()

    assert world.faults.shown()[0]["spoiled"] == 1
    assert world.got == []


# --------------------------------------------------------------------------------------------------------------- by hand


def by_hand(world: World, body: Any, method: str = "POST") -> Any:
    table = Table(Hand(lambda: world.grid, world.clock, Chance(2)).routes())
    route, call = table.find(Request(method=method, path="/_localcloud/events", body=json.dumps(body).encode()))
    answered = json.loads(route.handler(call).body)
    world.grid.advance()
    return answered


def test_an_event_by_hand_is_filled_in_and_goes_to_whoever_named_its_topic() -> None:
    world = World()
    foreign = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Storage/storageAccounts/foreign"
    event = {"eventType": "Microsoft.Storage.BlobCreated", "subject": "/a"}

    assert by_hand(world, {"topic": "storage", "event": {**event, "id": "own"}}) == {"subscriptions": 1}
    assert by_hand(world, {"topic": "storage", "event": {**event, "id": "claims", "topic": foreign}}) == {"subscriptions": 1}
    assert by_hand(world, {"topic": foreign, "event": event}) == {"subscriptions": 0}
    assert world.ids == ["own", "claims"]
    shown = by_hand(world, {}, "GET")
    assert (shown["published"], shown["subscriptions"][0]["endpoint"], shown["subscriptions"][0]["proved"]) == (3, HOOK, True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"topic": "storage", "event": {}, "copies": 2}, "has no field copies"),
        ({"event": {}}, "needs a topic"),
        ({"topic": "storage", "event": {"subject": "/a"}}, "The event has no eventType"),
    ],
)
def test_an_event_by_hand_that_cannot_be_is_refused(body: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        by_hand(World(), body)


# ------------------------------------------------------------------------------------------------------------- handshake


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ("EventGridSchema", Answer(status=200, body=b'{"validationResponse": "another"}')),
        ("EventGridSchema", Answer(status=200, body=b"[]")),
        ("EventGridSchema", Answer(status=202)),
        ("CloudEventSchemaV1_0", Answer(status=200)),
        ("CloudEventSchemaV1_0", Answer(status=200, allowed_origin="example.com")),
        ("CloudEventSchemaV1_0", Answer(status=405, allowed_origin="eventgrid.azure.net")),
    ],
)
def test_an_endpoint_that_does_not_prove_itself_gets_no_event_until_it_does(schema: str, answer: Answer) -> None:
    world = World({**PLAIN, "eventDeliverySchema": schema}, shakes=answer)
    world.publish()
    world.pass_time(timedelta(minutes=1))
    assert world.got == []

    world.shakes = None
    world.pass_time(timedelta(minutes=2))

    assert world.ids == ["1"]


def test_an_endpoint_may_allow_every_origin() -> None:
    world = World({**PLAIN, "eventDeliverySchema": "CloudEventSchemaV1_0"}, shakes=Answer(status=200, allowed_origin="*"))

    world.publish()

    assert world.ids == ["1"]


# ---------------------------------------------------------------------------------------------------------------- filters


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, True),
        ({"includedEventTypes": ["microsoft.storage.blobcreated"]}, True),
        ({"includedEventTypes": ["Microsoft.Storage.BlobDeleted"]}, False),
        ({"subjectBeginsWith": "/A/"}, True),
        ({"subjectBeginsWith": "/A/", "isSubjectCaseSensitive": True}, False),
        ({"subjectBeginsWith": "/b/"}, False),
        ({"subjectEndsWith": ".JSONL"}, True),
        ({"subjectEndsWith": ".csv"}, False),
        ({"advancedFilters": [{"operatorType": "StringIn", "key": "data.api", "values": ["CopyBlob", "putblob"]}]}, True),
        ({"advancedFilters": [{"operatorType": "StringIn", "key": "data.api", "values": ["FlushWithClose"]}]}, False),
        ({"advancedFilters": [{"operatorType": "StringIn", "key": "data.absent", "values": ["PutBlob"]}]}, False),
    ],
    ids=str,
)
def test_a_subscription_wants_what_its_filters_say(filters: dict[str, Any], wanted: bool) -> None:
    assert parse({**PLAIN, "filter": filters}).wants("storage", EVENT) is wanted


def test_a_foreign_topic_is_delivered_to_nobody_and_the_own_one_in_any_case() -> None:
    account = "/subscriptions/S/resourceGroups/R/providers/Microsoft.Storage/storageAccounts/own"
    world = World({**PLAIN, "topic": account})

    assert world.grid.publish("storage", EVENT) == 0
    assert world.grid.publish(account.replace("own", "other"), EVENT) == 0
    assert world.grid.publish(account.lower(), EVENT) == 1


def test_the_doors_of_the_app_are_rung_by_default() -> None:
    found = {one.name: (one.topic, one.endpoint, one.subject_begins_with) for one in parse_all(default_subscriptions("http://localhost"))}

    uploads = "/blobServices/default/containers/datasets/"
    assert found == {
        "uploads-blob": ("storage", "http://localhost/runtime/webhooks/blobs?functionName=Host.Functions.dataset_blob_uploaded", uploads),
        "uploads-event": ("storage", "http://localhost/runtime/webhooks/EventGrid?functionName=dataset_event_received", uploads),
        "runs": ("azureml", "http://localhost/runtime/webhooks/EventGrid?functionName=job_event_received", ""),
    }


# ------------------------------------------------------------------------------------------------------------------- file


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"pace": 1}, "has no pace; known are"),
        ({"filter": {"subjectStartsWith": "/"}}, "filter has no subjectStartsWith"),
        ({"retryPolicy": {"maxDeliveryAttempts": 31}}, "maxDeliveryAttempts is 31; it must be a number from 1 to 30"),
        ({"retryPolicy": {"eventTimeToLiveInMinutes": 0}}, "a number from 1 to 1440"),
        ({"retryPolicy": {"maxDeliveryAttempts": True}}, "a number from 1 to 30"),
        ({"eventDeliverySchema": "CustomInputSchema"}, "EventGridSchema or CloudEventSchemaV1_0"),
        ({"endpoint": "https://example.com/hook"}, "must be an http address of this machine, and is on 'example.com'"),
        ({"endpoint": "file:///x"}, "must be an http address of this machine"),
        ({"name": "a_b"}, "letters, digits and hyphens"),
        ({"topic": ""}, "topic is ''"),
        ({"filter": {"advancedFilters": [{"operatorType": "NumberIn", "key": "data.x", "values": []}]}}, "must be StringIn"),
        ({"filter": {"advancedFilters": [{"operatorType": "StringIn", "key": "subject", "values": []}]}}, "such as data.api"),
        ({"filter": {"includedEventTypes": "x"}}, "must be a list"),
        ({"deliveryHeaders": {"x-key": "se\ncret"}}, "the delivery header 'x-key'"),
        ({"deliveryHeaders": {"aeg-event-type": "x"}}, "the delivery header 'aeg-event-type'"),
    ],
    ids=str,
)
def test_a_subscription_that_cannot_be_is_refused_by_name(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(WrongSubscription) as wrong:
        parse({**PLAIN, **changed})

    assert words in str(wrong.value)
    assert "cret" not in str(wrong.value)


def test_a_file_of_subscriptions_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "subscriptions.json"
    file.write_text(json.dumps([PLAIN, {**PLAIN, "name": "Plain"}]))
    with pytest.raises(WrongSubscription, match="two subscriptions"):
        read(file)
    file.write_text("{")
    with pytest.raises(WrongSubscription, match="cannot be read as JSON"):
        read(file)
    file.write_text(json.dumps([{**PLAIN, "retryPolicy": {"maxDeliveryAttempts": 2, "eventTimeToLiveInMinutes": 5}}]))
    assert read(file)[0].policy == RetryPolicy(attempts_max=2, time_to_live=timedelta(minutes=5))


@pytest.mark.parametrize("missing", ["id", "topic", "subject", "eventType", "data"])
def test_what_is_no_event_is_refused_by_what_it_lacks(missing: str) -> None:
    with pytest.raises(WrongEvent, match=f"The event has no {missing};"):
        World().grid.publish("storage", {key: value for key, value in EVENT.items() if key != missing})


# ------------------------------------------------------------------------------------------------------------------ store


def test_what_was_taken_over_is_in_the_store_before_publish_returns(tmp_path: Path) -> None:
    """Method: the first grid is abandoned without a word, as SIGKILL would; its file is all that is left."""
    first = World(store=tmp_path / "events.db")
    first.says = lambda: Answer(status=500)
    first.publish(id="tried")
    first.grid.publish("storage", {**EVENT, "id": "untried"})

    second = World(store=tmp_path / "events.db")
    second.pass_time(timedelta(minutes=1))

    assert sorted(second.ids) == ["tried", "untried"]
    assert dict(zip(second.ids, (headers["aeg-delivery-count"] for *_, headers in second.got), strict=True)) == {
        "tried": "1",
        "untried": "0",
    }


def test_what_was_delivered_is_not_delivered_again_after_a_restart(tmp_path: Path) -> None:
    World(store=tmp_path / "events.db").publish()

    second = World(store=tmp_path / "events.db")
    second.pass_time(timedelta(days=1))

    assert second.got == []


def test_a_seed_that_is_used_again_after_a_restart_disturbs_no_event_of_before(tmp_path: Path) -> None:
    first = World(store=tmp_path / "events.db")
    first.says = lambda: Answer(status=500)
    first.publish(id="before")

    second = World(store=tmp_path / "events.db")
    second.publish(id="after")
    second.pass_time(timedelta(minutes=1))

    assert sorted(second.ids) == ["after", "before"]


def test_forgotten_events_come_no_more(tmp_path: Path) -> None:
    world = World(store=tmp_path / "events.db")
    world.says = lambda: Answer(status=500)
    world.publish()

    world.grid.forget()
    world.pass_time(timedelta(days=1))

    assert len(world.got) == 1
    assert World(store=tmp_path / "events.db").grid.stats()["pending"] == 0


def test_a_reset_begins_the_counts_anew_and_forgives_an_endpoint_that_failed() -> None:
    world = World()
    world.says = lambda: Answer(status=404)
    world.publish()
    assert world.grid.stats()["published"] == 1

    world.grid.forget()

    assert not any(value for name, value in world.grid.stats().items())
    world.publish(id="2")
    assert world.ids == ["1", "2"]


def test_a_dead_letter_survives_a_restart(tmp_path: Path) -> None:
    chosen = {**PLAIN, "deadLetterContainer": "dead"}
    first = World(chosen, store=tmp_path / "events.db")
    first.says = lambda: Answer(status=400)
    first.publish()

    second = World(chosen, store=tmp_path / "events.db")
    second.pass_time(timedelta(minutes=5))

    assert [letter["deliveryAttempts"] for *_, letter in second.letters] == [1]
    assert second.got == []


def test_events_of_a_subscription_that_is_gone_are_gone_too(tmp_path: Path) -> None:
    World(store=tmp_path / "events.db").grid.publish("storage", EVENT)

    assert World({**PLAIN, "name": "other"}, store=tmp_path / "events.db").grid.stats()["pending"] == 0


def test_a_store_that_is_no_database_is_put_aside(tmp_path: Path) -> None:
    file = tmp_path / "events.db"
    file.write_bytes(b"not a database, whatever it was" * 100)

    World(store=file).publish()

    assert (tmp_path / "events.broken").exists()


def test_a_store_that_cannot_be_opened_now_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a full or locked disk costs no undelivered event. Method: another connection holds the file while it is opened."""
    file = tmp_path / "events.db"
    monkeypatch.setattr(store, "BUSY_MS", 0)
    first = World(store=file)
    first.grid.publish("storage", EVENT)
    first.grid.close()
    _open.remove(first.grid)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN EXCLUSIVE")

        with pytest.raises(sqlite3.OperationalError):
            World(store=file)

        other.execute("ROLLBACK")
    second = World(store=file)
    second.pass_time(timedelta(0))

    assert second.ids == ["1"]


def test_an_event_that_could_not_be_taken_over_is_counted_once_it_is(tmp_path: Path) -> None:
    world = World(store=tmp_path / "events.db")
    with closing(sqlite3.connect(tmp_path / "events.db")) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON deliveries BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
        with pytest.raises(sqlite3.Error):
            world.grid.publish("storage", EVENT)
        other.execute("DROP TRIGGER full")

    world.grid.publish("storage", EVENT)

    assert world.grid.stats()["published"] == 1


def test_a_thousand_waiting_events_cost_no_more_each_than_a_hundred(tmp_path: Path) -> None:
    """Goal: nothing is rewritten per event. Method: the last hundred of 1,000 against the first hundred, with much room for noise."""
    world = World(store=tmp_path / "events.db")
    world.grid.run = lambda work: None  # every receiver hangs

    def seconds_for_a_hundred() -> float:
        began = time.perf_counter()
        for _ in range(100):
            world.publish()
        return time.perf_counter() - began

    seconds = [seconds_for_a_hundred() for _ in range(10)]

    assert world.grid.stats()["pending"] == 1000
    assert seconds[-1] < 10 * seconds[0] + 0.5
