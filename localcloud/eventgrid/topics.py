"""
Topics of one's own: an app posts events, they are kept to be read back, and go to whoever subscribed.

In Azure a topic answers at `https://<name>.<region>-1.eventgrid.azure.net/api/events`; here at `/topics/<name>/api/events`. It takes a
token for https://eventgrid.azure.net or its key, in the one schema that it was made for. Azure keeps nothing to be read back: that is
this cloud's own, under `/_localcloud/topics/<name>`.
"""

from __future__ import annotations

import hmac
import json
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud import processes
from localcloud.azureml.routes import Call, Route
from localcloud.azureml.wire import Refused, Request, Response, answer
from localcloud.chance import Chance
from localcloud.clocks import Clock, system
from localcloud.eventgrid import arriving, store
from localcloud.eventgrid.schemas import Event, Schema, stamp
from localcloud.eventgrid.subscriptions import AZUREML, STORAGE, Subscription, WrongSubscription

if TYPE_CHECKING:
    from collections.abc import Callable

    from localcloud.azureml.tokens import Tokens

AUDIENCE = "https://eventgrid.azure.net"
VERSIONS = frozenset({"2018-01-01"})  # azure-eventgrid 4.22.1 sends this one
KEPT_MAX = 10_000  # events of one topic; a guess: weeks of a busy laptop, a few MB
KEY_BYTES = 32
NAME = re.compile(r"[A-Za-z0-9-]{3,50}")  # name rules of topics (Azure resource name rules)
TOPIC_ID = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/local-rg/providers/Microsoft.EventGrid/topics/"
DEFAULT_TOPICS: Mapping[str, Schema] = {"tuneloop": Schema.CLOUD_EVENTS}


class WrongTopic(Exception):
    """A topic cannot be made; the text says why."""


def named(given: Iterable[str]) -> dict[str, Schema]:
    """Return the topics that are always there and each NAME=SCHEMA of `given`; raise WrongTopic for one that cannot be."""
    found = dict(DEFAULT_TOPICS)
    for text in given:
        name, _, schema = text.partition("=")
        if not NAME.fullmatch(name) or name.lower() in (STORAGE, AZUREML):
            raise WrongTopic(f"The topic {name!r} needs a name of 3 to 50 letters, digits and hyphens that is not a system topic's.")
        if schema not in [one.value for one in Schema]:
            raise WrongTopic(f"The topic {text!r} names no schema; write {name}={Schema.EVENT_GRID} or {name}={Schema.CLOUD_EVENTS}.")
        found[name] = Schema(schema)
    return found


def check(topics: Mapping[str, Schema], subscriptions: Iterable[Subscription]) -> None:
    """Refuse a subscription that Azure would refuse: a topic of CloudEvents delivers nothing else."""
    for one in subscriptions:
        if topics.get(one.topic) is Schema.CLOUD_EVENTS and one.schema is Schema.EVENT_GRID:
            text = f"Subscription {one.name}: topic {one.topic} takes CloudEvents; set eventDeliverySchema to CloudEventSchemaV1_0."
            raise WrongSubscription(text)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """An event that a topic accepted."""

    number: int  # rises with each event of the process's store
    at: str  # when it was accepted
    event: Event


class Topics:
    """Every topic; use `routes` to serve them."""

    def __init__(
        self,
        topics: Mapping[str, Schema],
        publish: Callable[[str, Event], object],
        *,
        folder: Path | None = None,
        tokens: Tokens | None = None,
        clock: Clock = system,
        chance: Chance | None = None,
    ) -> None:
        self._topics, self._publish, self._clock = dict(topics), publish, clock
        self.tokens = tokens  # None: no token is good, only the key
        self._lock = threading.Lock()
        self.keys = _keys(folder / "topic-keys.json" if folder else None, self._topics, chance or Chance())
        self._connection = store.opened(folder / "events.db" if folder else None)

    def routes(self) -> list[Route]:
        here = "/_localcloud/topics"
        own: dict[str, Any] = {"versions": None, "signed": False, "locked": False}
        return [
            Route(
                method="POST",
                path="/topics/{topic}/api/events",
                handler=self._post,
                versions=VERSIONS,
                signed=False,
                locked=False,
                does="publish events to a topic (azure-eventgrid)",
                differs="another host name; aeg-sas-token and CloudEvents in binary mode are not played",
            ),
            Route(method="GET", path=here, handler=self._list, does="which topics there are", **own),
            Route(method="GET", path=here + "/{topic}", handler=self._read_back, does="read back what a topic accepted; ?after=N", **own),
        ]

    def accept(self, topic: str, events: list[Event]) -> None:
        """Keep the events, then hand them to delivery: when this returns, both have them."""
        at = self._clock().timestamp()
        with self._lock, self._connection:
            rows = [(topic, at, json.dumps(event)) for event in events]
            self._connection.executemany("INSERT INTO announced (topic, at, event) VALUES (?,?,?)", rows)
            self._connection.execute(
                "DELETE FROM announced WHERE topic=? AND number <= (SELECT MAX(number) FROM announced WHERE topic=?) - ?",
                (topic, topic, KEPT_MAX),
            )
        for event in events:
            self._publish(topic, event)

    def kept(self, topic: str, *, after: int = 0) -> list[Kept]:
        """Return what the topic accepted after that number, oldest first."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT number, at, event FROM announced WHERE topic=? AND number>? ORDER BY number", (topic, after)
            ).fetchall()
        return [Kept(number=number, at=stamp(store.moment(at)), event=json.loads(event)) for number, at, event in rows]

    def forget(self) -> None:
        """Drop what was kept."""
        with self._lock, self._connection:
            self._connection.execute("DELETE FROM announced")

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _post(self, call: Call) -> Response:
        topic, schema = self._known(call)
        self._authorize(topic, call.request)
        if "ce-specversion" in call.request.headers:
            message = "A CloudEvent in binary mode (ce- headers) is not played here; send it structured, as azure-eventgrid does."
            raise Refused(501, "NotImplementedByLocalCloud", message)
        try:
            events = arriving.read(call.request.body, call.request.headers.get("content-type", ""), schema, TOPIC_ID + topic)
        except arriving.Unfit as unfit:
            codes = {413: "RequestEntityTooLarge", 415: "UnsupportedMediaType"}
            raise Refused(unfit.status, codes.get(unfit.status, "BadRequest"), str(unfit), detail="InputJsonInvalid") from None
        self.accept(topic, events)
        return Response(status=200)

    def _list(self, call: Call) -> Response:  # noqa: ARG002
        return answer({"topics": {name: {"schema": schema.value, "kept": len(self.kept(name))} for name, schema in self._topics.items()}})

    def _read_back(self, call: Call) -> Response:
        topic, schema = self._known(call)
        after = call.request.query.get("after", "0")
        if not after.isdecimal():
            raise Refused(400, "BadRequest", f"after is {after!r}; it is the number of the last event that you have.")
        events: list[dict[str, Any]] = [
            {"number": one.number, "at": one.at, "event": one.event} for one in self.kept(topic, after=int(after))
        ]
        return answer({"topic": topic, "schema": schema.value, "events": events})

    def _known(self, call: Call) -> tuple[str, Schema]:
        found = next((name for name in self._topics if name.lower() == call["topic"].lower()), None)
        if found is None:
            raise Refused(404, "ResourceNotFound", f"There is no topic {call['topic']}; there are {', '.join(self._topics) or 'none'}.")
        return found, self._topics[found]

    def _authorize(self, topic: str, request: Request) -> None:
        key = request.headers.get("aeg-sas-key")
        if key is not None:
            if not hmac.compare_digest(key.encode(), self.keys[topic].encode()):
                raise Refused(401, "Unauthorized", f"The request authorization key is not authorized for {topic.upper()}.")
            return
        if "aeg-sas-token" in request.headers:
            raise Refused(401, "Unauthorized", "aeg-sas-token is not played here; send a bearer token or aeg-sas-key.")
        if self.tokens is None:
            raise Refused(401, "Unauthorized", "Request must contain one of the following authorization signature: aeg-sas-key.")
        self.tokens.check(request, (AUDIENCE,))


def _keys(file: Path | None, topics: Iterable[str], chance: Chance) -> dict[str, str]:
    """
    Return the key of each topic; those of an earlier start stay, also of topics that are not there now. Readable by their owner only.

    Raise ValueError for a file that holds no keys.
    """
    known = _kept_keys(file) if file and file.exists() else {}
    keys = known | {name: known.get(name) or chance.token(KEY_BYTES) for name in topics}
    if file and keys != known:
        processes.write_json(file, keys, mode=0o600)
    return keys


def _kept_keys(file: Path) -> dict[str, str]:
    try:
        known = json.loads(file.read_bytes())
    except ValueError:
        known = None
    if not isinstance(known, dict) or not all(isinstance(key, str) for key in known.values()):
        raise ValueError(f"The file {file} holds no keys of topics; delete it, and new ones are made.")
    return known
