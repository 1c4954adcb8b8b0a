"""
One request to a webhook, and what came of it. Nothing here decides anything.
"""

from __future__ import annotations

import http.client
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Protocol

from localcloud.eventgrid.schedule import LATE_ANSWER_WITHIN, Answer, Outcome
from localcloud.eventgrid.schemas import CLOUD_EVENTS_JSON, EVENT_GRID_JSON, ORIGIN, Event, Schema, body, headers
from localcloud.eventgrid.subscriptions import Subscription

BODY_BYTES_MAX = 65536  # of an answer; only a handshake's is read
HANDSHAKE_WITHIN_S = 30.0


class Post(Protocol):
    """How a request leaves: over HTTP, or as a test plays it."""

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, within_s: float) -> Answer: ...


def deliver(post: Post, subscription: Subscription, event: Event, *, earlier: int, output_id: str) -> Answer:
    """Post one event; `earlier` attempts were made before."""
    sent = {
        **subscription.headers,
        **headers(event, subscription.schema),
        **_about(subscription, "Notification", earlier),
        "aeg-output-event-id": output_id,
    }
    within_s = LATE_ANSWER_WITHIN.total_seconds()
    return post("POST", subscription.endpoint, sent, body(event, subscription.schema), within_s=within_s)


def handshake(post: Post, subscription: Subscription, validation: Event) -> bool:
    """Return whether the endpoint proved that it wants events, in the way that its schema asks for."""
    if subscription.schema is Schema.CLOUD_EVENTS:
        asked = {**subscription.headers, "WebHook-Request-Origin": ORIGIN, "Content-Type": CLOUD_EVENTS_JSON}
        answer = post("OPTIONS", subscription.endpoint, asked, None, within_s=HANDSHAKE_WITHIN_S)
        return answer.status == 200 and answer.allowed_origin.lower() in {ORIGIN, "*"}
    asked = {**subscription.headers, "Content-Type": EVENT_GRID_JSON, **_about(subscription, "SubscriptionValidation", 0)}
    answer = post("POST", subscription.endpoint, asked, json.dumps([validation]).encode(), within_s=HANDSHAKE_WITHIN_S)
    return answer.status == 200 and _echoed(answer.body) == validation["data"]["validationCode"]


def over_http(method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, within_s: float) -> Answer:
    """Ask over HTTP; a redirect is an answer like any other, and no proxy stands between two processes of one machine."""
    request = urllib.request.Request(url, body, dict(headers), method=method)
    try:
        with _opener.open(request, timeout=within_s) as response:
            allowed = str(response.headers.get("WebHook-Allowed-Origin", ""))
            return Answer(status=int(response.status), body=response.read(BODY_BYTES_MAX), allowed_origin=allowed)
    except urllib.error.HTTPError as error:
        with error:
            return Answer(status=error.code)
    except urllib.error.URLError as error:
        return Answer(silence=_why(error.reason))
    except (OSError, ValueError, http.client.HTTPException) as error:  # reset or timed out while reading, or not HTTP
        return Answer(silence=_why(error))


def _why(reason: object) -> Outcome:
    if isinstance(reason, TimeoutError):
        return Outcome.TIMED_OUT
    return Outcome.RESOLUTION_ERROR if isinstance(reason, socket.gaierror) else Outcome.SOCKET_ERROR


def _about(subscription: Subscription, kind: str, earlier: int) -> dict[str, str]:
    named = {"aeg-event-type": kind, "aeg-subscription-name": subscription.name.upper()}
    return {**named, "aeg-delivery-count": str(earlier)}


def _echoed(answer: bytes) -> object:
    try:
        return json.loads(answer).get("validationResponse")
    except (ValueError, AttributeError):
        return None


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follow nowhere: Event Grid counts a redirect as a failed attempt."""


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay)
