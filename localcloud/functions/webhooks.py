"""
The two webhooks that Event Grid calls: of Event Grid triggers, and of blob triggers whose source is Event Grid.

Answers follow the extensions' source: a handshake 200, a notification 202 when every item succeeded and 500 for the whole array when
one did not, an unknown function 404, any other `aeg-event-type` 400. The name of a function is compared with its case.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from localcloud import web
from localcloud.functions import blobs, requests
from localcloud.functions.host import Host
from localcloud.functions.requests import Refused, Request
from localcloud.functions.worker import Outcome

BLOB_FUNCTION_PREFIX = "Host.Functions."
PARALLEL_ITEMS_MAX = 64  # a guess; the real host has no bound, and its worker's pool is the narrower one
log = logging.getLogger("host")


def event_grid(host: Host, request: Request) -> web.Answered:
    """POST /runtime/webhooks/EventGrid?functionName=NAME."""
    name = request.query.get("functionName", "")
    function = host.listening(name, "eventGridTrigger")
    if function is None:
        return _unknown(name)
    if request.method == "OPTIONS":
        return _may_i(request)
    return _receive(request, lambda event: host.deliver(function, event))


def blob_events(host: Host, request: Request) -> web.Answered:
    """POST /runtime/webhooks/blobs?functionName=Host.Functions.NAME: fill the internal queue, run nothing."""
    name = request.query.get("functionName", "")
    function = host.listening(name.removeprefix(BLOB_FUNCTION_PREFIX), "blobTrigger")
    if function is None:
        return _unknown(name)
    if request.method == "OPTIONS":
        return _may_i(request)

    def enqueue(event: Mapping[str, Any]) -> Outcome:
        blobs.enqueue(function, event)
        return Outcome()

    return _receive(request, enqueue)


def _unknown(name: str) -> web.Answered:
    log.warning("A webhook asked for the function %r, which listens to nothing here.", name)
    return requests.text(404, f"cannot find function: '{name}'")


def _may_i(request: Request) -> web.Answered:
    """The handshake of CloudEvents (HTTP 1.1 Web Hooks, section 4): whoever asks may send, at any rate."""
    origin = request.headers.get("webhook-request-origin")
    if not origin:
        raise Refused(400, "OPTIONS needs the header WebHook-Request-Origin.")
    return web.Answered(status=200, headers={"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"})


def _receive(request: Request, run: Callable[[Mapping[str, Any]], Outcome]) -> web.Answered:
    """Both webhooks speak the same protocol of Event Grid."""
    kind = request.headers.get("aeg-event-type", "").lower()
    if kind == "unsubscribe":
        return web.Answered(status=202)
    if kind not in ("subscriptionvalidation", "notification"):
        raise Refused(400, f"The header aeg-event-type is {kind!r}; it may be SubscriptionValidation, Notification or Unsubscribe.")
    payload = request.document()
    items = payload if isinstance(payload, list) else [payload]  # an object is one CloudEvent
    if not all(isinstance(item, dict) for item in items):
        raise Refused(400, "The body is neither an event nor an array of events.")
    if kind == "subscriptionvalidation":
        return requests.document(200, {"validationResponse": _validation_code(items)})
    with ThreadPoolExecutor(max(1, min(len(items), PARALLEL_ITEMS_MAX))) as pool:
        outcomes = list(pool.map(run, items))
    failed = next((outcome.error for outcome in outcomes if outcome.error is not None), None)
    return web.Answered(status=202) if failed is None else requests.text(500, failed)


def _validation_code(items: list[dict[str, Any]]) -> str:
    try:
        data = items[0]["data"]
        return str((json.loads(data) if isinstance(data, str) else data)["validationCode"])  # text: a CloudEvent's
    except (IndexError, KeyError, TypeError, ValueError):
        raise Refused(400, "The validation event has no data.validationCode.") from None
