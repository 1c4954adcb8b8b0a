"""
The host's HTTP face on 127.0.0.1: webhooks, admin, and the app's own routes.

`answer` finds who is meant and asks for the key that it needs. A request that is refused leaves its reason in the answer, never its
body in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from localcloud import web
from localcloud.functions import admin, keys, requests, routes, webhooks
from localcloud.functions.host import Host
from localcloud.functions.keys import Level
from localcloud.functions.requests import Refused, Request
from localcloud.functions.worker import Function, Value

BODY_BYTES_MAX = 100 * 1024 * 1024  # the real host's limit for a request (Learn, functions-bindings-http-webhook)
WEBHOOKS = {  # path in lower case -> who answers, and the system key that opens it
    "runtime/webhooks/eventgrid": (webhooks.event_grid, "eventgrid_extension"),
    "runtime/webhooks/blobs": (webhooks.blob_events, "blobs_extension"),
}
log = logging.getLogger("host")


def serve(host: Host, port: int) -> web.Server:
    """Take the port; raises web.PortTaken. The caller starts and stops it."""
    return web.Server(port, lambda asked: _safely(host, asked), name="functions host")


def _safely(host: Host, asked: web.Asked) -> web.Answered:
    try:
        if len(asked.body) > BODY_BYTES_MAX:
            raise Refused(413, f"A request may have {BODY_BYTES_MAX} bytes.")
        return answer(host, requests.of(asked))
    except Refused as refused:
        return requests.text(refused.status, str(refused))


def answer(host: Host, request: Request) -> web.Answered:
    """Find who is meant; raises Refused."""
    path = request.path.lower()
    if path in WEBHOOKS:
        receive, key = WEBHOOKS[path]
        _ask_for_key(host, request, Level.SYSTEM, key)
        return receive(host, request)
    if path.startswith("admin/"):
        _ask_for_key(host, request, Level.ANONYMOUS if path == "admin/host/ping" else Level.ADMIN)
        return admin.answer(host, request)
    return _route(host, request)


def _ask_for_key(host: Host, request: Request, level: Level, name: str = "") -> None:
    if host.keys is not None and not host.keys.open(request.key, level, name):
        raise Refused(401, "")


def _route(host: Host, request: Request) -> web.Answered:
    """The app's own HTTP functions below the route prefix: the first by name whose route and methods match."""
    prefix = f"{host.options.route_prefix}/" if host.options.route_prefix else ""
    if request.path.lower().startswith(prefix.lower()):
        for name in sorted(host.functions, key=str.lower):
            function = host.functions[name]
            caught = _matches(function, request, request.path[len(prefix) :]) if name not in host.disabled else None
            if caught is not None:
                _ask_for_key(host, request, keys.level_of(function.trigger), name)
                return _call(host, function, request, caught)
    return web.Answered(status=404)


def _matches(function: Function, request: Request, path: str) -> dict[str, str] | None:
    if function.trigger["type"] != "httpTrigger":
        return None
    methods = {str(method).upper() for method in function.trigger.get("methods") or ()}
    if methods and request.method not in methods:
        return None
    return routes.parse(str(function.trigger.get("route") or function.name)).match(path)


def _call(host: Host, function: Function, request: Request, params: Mapping[str, str]) -> web.Answered:
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
        return web.Answered(status=500)
    http = next((one["name"] for one in function.outputs if one["type"] == "http"), None)
    given = outcome.outputs.get(http) if http is not None else None
    if given is None:
        return web.Answered(status=204)
    if given.kind == "http":
        return web.Answered(status=given.value["status"], body=given.value["body"], headers=given.value["headers"])
    return requests.text(200, given.value if isinstance(given.value, str) else str(given.value))
