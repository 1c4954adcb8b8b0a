"""
Events by hand: any event, own or foreign, right or absurd, published as if Azure had; and a look at who subscribed.

    GET  /_localcloud/events    counts, and each subscription with the state of its endpoint
    POST /_localcloud/events    {"topic": "storage", "event": {"eventType": ..., "subject": ..., "data": {...}}}

What the event leaves out of its envelope is filled in; what it says stays, so an event of a foreign account can reach a subscriber of the
own one. The topic decides who gets it: a subscription never gets the events of a topic that it does not name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from localcloud.azureml.routes import Call, Route
from localcloud.azureml.wire import Refused, Response, answer, known_only, mapping
from localcloud.chance import Chance
from localcloud.clocks import Clock
from localcloud.eventgrid.grid import WrongEvent
from localcloud.eventgrid.schemas import Event, stamp
from localcloud.eventgrid.subscriptions import TOPIC_IDS

if TYPE_CHECKING:
    from localcloud.eventgrid.grid import EventGrid

BODY = frozenset({"topic", "event"})


class Hand:
    """Two routes over a grid that may not be there yet."""

    def __init__(self, grid: Callable[[], EventGrid | None], clock: Clock, chance: Chance) -> None:
        self._grid, self._clock, self._chance = grid, clock, chance

    def routes(self) -> list[Route]:
        path = "/_localcloud/events"
        own: dict[str, Any] = {"versions": None, "signed": False, "locked": False}
        return [
            Route(method="GET", path=path, handler=self._shown, does="who subscribed, and what became of events", **own),
            Route(method="POST", path=path, handler=self._publish, does="publish any event by hand", **own),
        ]

    def _shown(self, call: Call) -> Response:  # noqa: ARG002
        grid = self._grid()
        return answer({"subscriptions": grid.subscriptions() if grid else [], **(grid.stats() if grid else {})})

    def _publish(self, call: Call) -> Response:
        body = call.request.json()
        known_only(body, BODY, "An event by hand")
        topic, event = body.get("topic"), mapping(body, "event", "An event by hand")
        if not isinstance(topic, str) or not topic:
            raise Refused(400, "UserError", "An event by hand needs a topic: storage, azureml, a topic's name or a resource id.")
        grid = self._grid()
        if grid is None:
            raise Refused(409, "Conflict", "Nobody subscribed: start the emulator with --events.")
        try:
            reached = grid.publish(topic, self._whole(topic, event))
        except WrongEvent as error:
            raise Refused(400, "UserError", str(error)) from None
        return answer({"subscriptions": reached}, 202)

    def _whole(self, topic: str, event: dict[str, Any]) -> Event:
        at, ident = stamp(self._clock()), self._chance.guid()
        if "specversion" in event:
            return {"id": ident, "source": TOPIC_IDS.get(topic, topic), "time": at, **event}
        envelope = {"id": ident, "topic": TOPIC_IDS.get(topic, topic), "subject": "", "eventTime": at, "data": {}}
        return {**envelope, "dataVersion": "", "metadataVersion": "1", **event}
