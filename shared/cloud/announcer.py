"""
What happened to a record is told in the app's log, and to a topic where one is set: never with an exception, never for long.

An announcement is news, not state: one that is lost is in the record's history all the same, and nothing in the loop waits for it. A
topic that fails is left alone for a while, so that a dead one costs a turn nothing.
"""

from __future__ import annotations

import hashlib
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shared.cloud.addresses import checked
from shared.errors import WrongSettings
from shared.plain import plain
from shared.ports import Announcer, Change

if TYPE_CHECKING:
    from collections.abc import Callable

    from azure.core.credentials import TokenCredential

CONNECT_SECONDS = 3
READ_SECONDS = 5
TOLD_WITHIN_SECONDS = 10.0  # token, connection and answer together; then the turn goes on
TOLD_AT_ONCE = 8  # threads; host.json lets up to 6 turns run at once
LEFT_ALONE_FOR = timedelta(minutes=1)  # a guess: after a failure, the time in which only the log is told
BOUNDS: dict[str, Any] = {  # azure-eventgrid 4.22.1 drops what its constructor is given of these, so each call carries them
    "connection_timeout": CONNECT_SECONDS,
    "read_timeout": READ_SECONDS,
    "retry_total": 0,  # a retry may sleep as long as Retry-After says, an hour even
    "permit_redirects": False,  # a redirect would take the events, and perhaps the token, elsewhere
}
log = logging.getLogger("tuneloop.announce")


def announcer(endpoint: str, credential: TokenCredential, *, source: str, local: bool) -> Announcer:
    """Return the announcer that ANNOUNCE_TOPIC_ENDPOINT asks for; raise WrongSettings for an address that cannot be."""
    if not endpoint:
        return LogAnnouncer()
    return EventGridAnnouncer(endpoint, credential, source=source, local=local)


class LogAnnouncer:
    """The `Announcer` port over the log alone."""

    def announce(self, change: Change) -> None:
        log.info(
            "%s is %s (%s). %s %s action=announced",
            change.key,
            change.stage,
            change.what,
            plain(change.why),
            plain(change.next_action),
        )


class EventGridAnnouncer:
    """The `Announcer` port over a topic of Event Grid, and over the log."""

    def __init__(
        self,
        endpoint: str,
        credential: TokenCredential,
        *,
        source: str,
        local: bool,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        within_seconds: float = TOLD_WITHIN_SECONDS,
    ) -> None:
        """Build the client and send nothing yet."""
        _check(endpoint, local=local)
        from azure.eventgrid import EventGridPublisherClient

        self._client = EventGridPublisherClient(endpoint, credential)
        self._source, self._clock, self._within = source, clock, within_seconds
        self._log = LogAnnouncer()
        self._senders = ThreadPoolExecutor(max_workers=TOLD_AT_ONCE, thread_name_prefix="announce")
        self._silent_until: datetime | None = None  # None: the topic is asked

    def announce(self, change: Change) -> None:
        self._log.announce(change)
        now = self._clock()
        if self._silent_until is not None and now < self._silent_until:
            return
        try:
            sent = self._senders.submit(self._client.send, cloud_event(change, self._source), **BOUNDS)
            sent.result(timeout=self._within)
        except Exception as error:  # noqa: BLE001 - whatever it is, it may not end the turn
            self._silent_until = now + LEFT_ALONE_FOR
            told = (change.key, type(error).__name__, getattr(error, "status_code", "no answer"), LEFT_ALONE_FOR)
            log.warning("The topic was not told of %s (%s, %s); it is left alone for %s. action=announce_failed", *told)

    def close(self) -> None:
        self._senders.shutdown(wait=False)
        self._client.close()


def cloud_event(change: Change, source: str) -> dict[str, Any]:
    """
    Return the announcement as a CloudEvent 1.0 in structured form.

    Type `Tuneloop.<Kind>.Changed`, subject `<kind>/<id>`; data: kind, id, stage, what, why, next_action, all texts. The id follows from
    what is told and when, so one change told twice can be seen as one.
    """
    kind = change.key.kind.value
    told = "\n".join((source, str(change.key), change.at.isoformat(), change.what, change.stage))
    return {
        "specversion": "1.0",
        "id": hashlib.sha256(told.encode()).hexdigest()[:32],
        "source": source,
        "type": f"Tuneloop.{kind.capitalize()}.Changed",
        "subject": str(change.key),
        "time": change.at.isoformat(),
        "data": {
            "kind": kind,
            "id": change.key.id,
            "stage": change.stage,
            "what": change.what,
            "why": change.why,
            "next_action": change.next_action,
        },
    }


def _check(endpoint: str, *, local: bool) -> None:
    parts = urlsplit(checked(endpoint, local=local, what="ANNOUNCE_TOPIC_ENDPOINT"))
    if parts.query or parts.fragment:
        raise WrongSettings("ANNOUNCE_TOPIC_ENDPOINT: the address has a query, which may hold a key; give it up to /api/events.")
    if parts.scheme != "https":
        raise WrongSettings("ANNOUNCE_TOPIC_ENDPOINT: a token is sent over https only; give an https address.")
