"""A topic of one's own: what it takes, what it refuses by name, what it keeps, and where it goes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from localcloud.azureml.routes import Table
from localcloud.azureml.site import Site
from localcloud.azureml.tokens import Tokens
from localcloud.azureml.wire import Refused, Request
from localcloud.chance import Chance
from localcloud.eventgrid import topics as module
from localcloud.eventgrid.schemas import Schema
from localcloud.eventgrid.subscriptions import WrongSubscription, parse
from localcloud.eventgrid.topics import Topics, WrongTopic, check, named

pytestmark = pytest.mark.light

BATCH = "application/cloudevents-batch+json; charset=utf-8"
CLOUD = {
    "specversion": "1.0",
    "id": "1",
    "source": "/w",
    "type": "Tuneloop.Tuning.Changed",
    "subject": "tuning/1",
    "data": {"stage": "live"},
}
GRID = {"id": "1", "subject": "s", "eventType": "T", "eventTime": "2026-08-08T05:00:00Z", "data": {}, "dataVersion": "1"}
NOW = datetime(2026, 8, 8, 5, tzinfo=UTC)


class Place:
    """Topics behind their routes, and what they handed to delivery."""

    def __init__(self, folder: Path) -> None:
        self.published: list[tuple[str, dict[str, Any]]] = []
        self.tokens = Tokens(Site(folder=folder), "k" * 32)
        chosen = named(["alerts=EventGridSchema"])
        self.topics = Topics(
            chosen, lambda *event: self.published.append(event), folder=folder, tokens=self.tokens, clock=lambda: NOW, chance=Chance(1)
        )
        self.table = Table(self.topics.routes())

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
        path, _, query = path.partition("?")
        asked = dict(part.split("=", 1) for part in query.split("&") if part)
        named_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(method=method, path=path, query=asked, headers=named_headers, body=body)
        route, call = self.table.find(request)
        return route.handler(call)

    def post(self, document: Any, topic: str = "tuneloop", content_type: str = BATCH, **headers: str) -> int:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        proof = headers or {"aeg_sas_key": self.topics.keys[topic]}
        path = f"/topics/{topic}/api/events?api-version=2018-01-01"
        return int(self.ask("POST", path, body, content_type=content_type, **proof).status)

    def kept(self, topic: str = "tuneloop", after: int = 0) -> list[dict[str, Any]]:
        answered = json.loads(self.ask("GET", f"/_localcloud/topics/{topic}?after={after}").body)
        return list(answered["events"])


@pytest.fixture
def open_place(tmp_path: Path) -> Iterator[Callable[[], Place]]:
    opened: list[Place] = []

    def make() -> Place:
        opened.append(Place(tmp_path))
        return opened[-1]

    yield make
    for one in opened:
        one.topics.close()


@pytest.fixture
def place(open_place: Callable[[], Place]) -> Place:
    return open_place()


def test_what_a_topic_accepts_is_kept_and_handed_on(place: Place) -> None:
    assert place.post([CLOUD, {**CLOUD, "id": "2", "extension1": True}]) == 200

    assert [one["event"]["id"] for one in place.kept()] == ["1", "2"]
    assert {one["at"] for one in place.kept()} == {"2026-08-08T05:00:00.0000000Z"}
    assert [(topic, event["id"]) for topic, event in place.published] == [("tuneloop", "1"), ("tuneloop", "2")]
    assert [one["event"]["id"] for one in place.kept(after=place.kept()[0]["number"])] == ["2"]


def test_event_grid_stamps_its_own_schema_with_the_topic(place: Place) -> None:
    assert place.post([GRID], topic="alerts", content_type="application/json") == 200

    ((_, event),) = place.published
    assert event == {**GRID, "topic": module.TOPIC_ID + "alerts", "metadataVersion": "1"}


@pytest.mark.parametrize("content_type", ["application/cloudevents+json", "application/cloudevents+json; charset=utf-8"])
def test_a_single_structured_cloud_event_is_taken(place: Place, content_type: str) -> None:
    assert place.post(CLOUD, content_type=content_type) == 200


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([{key: CLOUD[key] for key in CLOUD if key != "source"}], "required property 'source' is missing"),
        ([{**CLOUD, "id": ""}], "'id' must be a text that is not empty"),
        ([{**CLOUD, "specversion": "0.3"}], "'specversion' is '0.3'"),
        ([{**CLOUD, "eventType": "T"}], "extension attribute name 'eventType'"),
        ([{**CLOUD, "ext": {"a": 1}}], "extension attribute 'ext'"),
        ([{**CLOUD, "data_base64": "YQ=="}], "not both"),
        ([{**CLOUD, "time": "yesterday"}], "'time' is 'yesterday'"),
        ([{**CLOUD, "time": "2026-08-08T05:00:00"}], "with a zone"),
        ([{**CLOUD, "subject": 3}], "'subject' must be a text"),
        (CLOUD, "Expected: StartArray"),
        ([[CLOUD]], "Expected: StartObject"),
        ([], "holds no event"),
        (b"{", "could not be deserialized"),
        ([GRID], "'source' is missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_cloud_event_is_refused_by_name_and_nothing_is_kept(place: Place, document: Any, words: str) -> None:
    with pytest.raises(Refused) as refused:
        place.post(document if isinstance(document, bytes) else [CLOUD, *document] if isinstance(document, list) and document else document)

    assert (refused.value.status, refused.value.code) == (400, "BadRequest")
    assert words in str(refused.value)
    assert (place.kept(), place.published) == ([], [])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"source": "/w"}, "Received unexpected property 'source' in JSON which does not conform to the expected schema"),
        ({"eventTime": "soon"}, "'eventTime' is 'soon'"),
        ({"topic": "/subscriptions/other"}, "The value of 'topic' must be empty"),
        ({"subject": None}, "'subject' must be a text"),
    ],
)
def test_what_is_no_event_of_event_grids_own_schema_is_refused_by_name(place: Place, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused) as refused:
        place.post([GRID | changed], topic="alerts", content_type="application/json")

    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("topic", "content_type", "status"),
    [("tuneloop", "text/plain", 415), ("tuneloop", "", 415), ("alerts", "application/cloudevents-batch+json", 415)],
)
def test_another_content_type_is_refused(place: Place, topic: str, content_type: str, status: int) -> None:
    with pytest.raises(Refused) as refused:
        place.post([CLOUD], topic=topic, content_type=content_type)

    assert refused.value.status == status


def test_more_than_a_megabyte_is_refused(place: Place) -> None:
    with pytest.raises(Refused) as refused:
        place.post([{**CLOUD, "data": "x" * 1_048_576}])

    assert refused.value.status == 413


def test_a_token_for_event_grid_or_the_key_opens_a_topic_and_nothing_else_does(place: Place) -> None:
    right, _ = place.tokens.issue("https://eventgrid.azure.net")
    other, _ = place.tokens.issue("https://management.azure.com")

    assert place.post([CLOUD], authorization=f"Bearer {right}") == 200
    for proof in ({"authorization": f"Bearer {other}"}, {"authorization": "Bearer x"}, {"aeg_sas_key": "wrong"}, {"aeg_sas_token": "r=x"}):
        with pytest.raises(Refused) as refused:
            place.post([CLOUD], **proof)
        assert refused.value.status == 401
    with pytest.raises(Refused, match="carries no bearer token"):
        place.post([CLOUD], x_nothing="1")


def test_a_topic_that_nobody_made_is_not_there(place: Place) -> None:
    with pytest.raises(Refused) as refused:
        place.ask("POST", "/topics/other/api/events?api-version=2018-01-01")

    assert (refused.value.status, "tuneloop" in str(refused.value)) == (404, True)


def test_what_was_kept_and_the_keys_outlive_a_restart(open_place: Callable[[], Place], tmp_path: Path) -> None:
    first = open_place()
    first.post([CLOUD])

    second = open_place()

    assert [one["event"] for one in second.kept()] == [CLOUD]
    assert second.topics.keys == first.topics.keys
    assert (tmp_path / "topic-keys.json").stat().st_mode & 0o077 == 0


def test_only_the_newest_events_are_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_MAX", 3)

    for number in range(5):
        place.post([{**CLOUD, "id": str(number)}])

    assert [one["event"]["id"] for one in place.kept()] == ["2", "3", "4"]


def test_a_topic_of_cloud_events_has_subscribers_of_cloud_events() -> None:
    chosen = {"name": "people", "topic": "tuneloop", "endpoint": "http://127.0.0.1:1/x"}

    with pytest.raises(WrongSubscription, match="set eventDeliverySchema to CloudEventSchemaV1_0"):
        check(named([]), [parse(chosen)])
    check(named([]), [parse({**chosen, "eventDeliverySchema": Schema.CLOUD_EVENTS.value})])


@pytest.mark.parametrize("given", ["storage=EventGridSchema", "a=EventGridSchema", "alerts", "alerts=Custom", "al erts=EventGridSchema"])
def test_a_topic_that_cannot_be_is_refused(given: str) -> None:
    with pytest.raises(WrongTopic):
        named([given])
