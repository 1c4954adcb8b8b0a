"""
The host's HTTP face: webhooks, admin, and the app's own routes. On 127.0.0.1, without keys.

Answers follow the extensions: a handshake 200, a notification 202 when every item succeeded and 500 for the whole array when one
did not, an unknown function 404.
"""

from __future__ import annotations

import json
import logging
import re
import socketserver
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from localcloud.functions import blobs
from localcloud.functions.host import Host
from localcloud.functions.worker import Function, Value

BLOB_FUNCTION_PREFIX = "Host.Functions."
BODY_BYTES_MAX = 1024 * 1024 * 100  # the real host's limit for a request (100 MB)
PARALLEL_ITEMS_MAX = 16  # a guess; the real host has no bound
log = logging.getLogger("host")


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def json_answer(status: int, document: object) -> Answer:
    return Answer(status=status, body=json.dumps(document).encode(), headers={"Content-Type": "application/json"})


@dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    path: str  # decoded, without slashes at its ends
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case
    url: str
    body: bytes


def answer(host: Host, request: Request) -> Answer:
    """Find who is meant."""
    path = request.path.lower()
    if path == "runtime/webhooks/eventgrid":
        return _event_grid(host, request)
    if path == "runtime/webhooks/blobs":
        return _blob_events(host, request)
    if path == "admin/host/status":
        return json_answer(200, host.status())
    if path == "admin/functions" and request.method == "GET":
        return json_answer(200, [{"name": one.name, "config": {"bindings": one.bindings}} for one in host.functions.values()])
    if path.startswith("admin/functions/") and request.method == "POST":
        return _by_hand(host, request)
    return _route(host, request)


def _event_grid(host: Host, request: Request) -> Answer:
    function = host.of_type(request.query.get("functionName", ""), "eventGridTrigger")
    if function is None:
        return _unknown(request)
    if request.method == "OPTIONS":
        origin = request.headers.get("webhook-request-origin", "")
        return Answer(status=200, headers={"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": "*"})

    def run(event: Mapping[str, Any]) -> bool:
        return host.deliver(function, event).succeeded

    return _receive(request, run)


def _blob_events(host: Host, request: Request) -> Answer:
    function = host.of_type(request.query.get("functionName", "").removeprefix(BLOB_FUNCTION_PREFIX), "blobTrigger")
    if function is None:
        return _unknown(request)

    def enqueue(event: Mapping[str, Any]) -> bool:
        blobs.enqueue(function, event)
        return True

    return _receive(request, enqueue)


def _unknown(request: Request) -> Answer:
    log.warning("A webhook asked for the function %r, which this app does not have.", request.query.get("functionName", ""))
    return Answer(status=404, body=b"cannot find function")


def _receive(request: Request, run: Any) -> Answer:
    """Both webhooks speak the same protocol of Event Grid."""
    kind = request.headers.get("aeg-event-type", "").lower()
    if kind in ("unsubscribe", "subscriptiondeletion"):
        return Answer(status=202)
    if kind not in ("subscriptionvalidation", "notification"):
        return Answer(status=400, body=b"aeg-event-type is neither SubscriptionValidation nor Notification")
    payload = json.loads(request.body)
    if kind == "subscriptionvalidation":
        return json_answer(200, {"validationResponse": payload[0]["data"]["validationCode"]})
    items = payload if isinstance(payload, list) else [payload]  # an object is one CloudEvent
    with ThreadPoolExecutor(max(1, min(len(items), PARALLEL_ITEMS_MAX))) as pool:
        succeeded = list(pool.map(run, items))
    return Answer(status=202 if all(succeeded) else 500)


def _by_hand(host: Host, request: Request) -> Answer:
    name = request.path.split("/", 2)[2]
    function = next((one for key, one in host.functions.items() if key.lower() == name.lower()), None)
    if function is None:
        return Answer(status=404, body=b"cannot find function")
    given = json.loads(request.body or b"{}").get("input", "")
    host.run_by_hand(function, given if isinstance(given, str) else json.dumps(given))
    return Answer(status=202)


def _route(host: Host, request: Request) -> Answer:
    """The app's own HTTP functions, below the route prefix."""
    prefix = f"{host.options.route_prefix}/" if host.options.route_prefix else ""
    if request.path.startswith(prefix):
        for function in host.functions.values():
            match = _matches(function, request, request.path.removeprefix(prefix))
            if match is not None:
                return _call_route(host, function, request, match)
    return Answer(status=404)


def _matches(function: Function, request: Request, path: str) -> dict[str, str] | None:
    if function.trigger["type"] != "httpTrigger":
        return None
    methods = {str(method).upper() for method in function.trigger.get("methods") or ()}
    match = route_pattern(str(function.trigger.get("route") or function.name)).fullmatch(path)
    if match is None or (methods and request.method not in methods):
        return None
    return {key: text for key, text in match.groupdict().items() if text is not None}


def route_pattern(route: str) -> re.Pattern[str]:
    """`records/{id}`, `files/{*path}`, `list/{kind?}`; constraints such as {id:int} are not checked."""
    expression = ""
    for part in re.split(r"(/?\{\*?\w+(?::\w+)?\??\})", route.strip("/")):
        match = re.fullmatch(r"(/?)\{(\*?)(\w+)(?::\w+)?(\??)\}", part)
        if match is None:
            expression += re.escape(part)
            continue
        slash, star, name, optional = match.groups()
        group = f"{slash}(?P<{name}>{'.*' if star else '[^/]+'})"
        expression += f"(?:{group})?" if optional else group
    return re.compile(expression, re.IGNORECASE)


def _call_route(host: Host, function: Function, request: Request, params: Mapping[str, str]) -> Answer:
    value = {
        "method": request.method,
        "url": request.url,
        "headers": dict(request.headers),
        "query": dict(request.query),
        "params": dict(params),
        "body": request.body,
    }
    outcome = host.invoke(function, Value("http", value))
    if not outcome.succeeded:
        return Answer(status=500)
    given = next((outcome.outputs[one["name"]] for one in function.outputs if one["name"] in outcome.outputs), None)
    if given is None:
        return Answer(status=204)
    if given.kind == "http":
        return Answer(status=given.value["status"], body=given.value["body"], headers=given.value["headers"])
    return Answer(status=200, body=str(given.value).encode(), headers={"Content-Type": "text/plain; charset=utf-8"})


class Server(socketserver.ThreadingTCPServer):
    """Listens on 127.0.0.1; raises OSError when the port is taken."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, host: Host, port: int) -> None:
        self.host = host
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_BYTES_MAX:
            return self._send(Answer(status=413, headers={"Connection": "close"}))
        body = self.rfile.read(length)
        parts = urlsplit(self.path)
        request = Request(
            method=self.command,
            path=unquote(parts.path).strip("/"),
            query=dict(parse_qsl(parts.query)),
            headers={name.lower(): value for name, value in self.headers.items()},
            url=f"http://{self.headers.get('Host', '127.0.0.1')}{self.path}",
            body=body,
        )
        try:
            given = answer(self.server.host, request)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            log.warning("A request to %s could not be read (%s).", parts.path, type(error).__name__)
            given = Answer(status=400)
        except Exception:
            log.exception("The host failed on a request to %s.", parts.path)
            given = Answer(status=500)
        return self._send(given)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = do_GET

    def _send(self, given: Answer) -> None:
        self.send_response(given.status)
        for name, value in given.headers.items():
            if name.lower() not in ("content-length", "transfer-encoding"):
                self.send_header(name, value)
        if given.status != 204:
            self.send_header("Content-Length", str(len(given.body)))
        self.end_headers()
        if self.command != "HEAD" and given.status != 204:
            self.wfile.write(given.body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Invocations are logged, requests are not."""
