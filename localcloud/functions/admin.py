"""
/admin: what runs, running it by hand, and the keys, in the shapes of the real host's API.

With keys asked for (`--auth on`) everything here but the ping needs the master key. Without, there are no keys to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from localcloud import web
from localcloud.functions import keys, requests
from localcloud.functions.host import Host
from localcloud.functions.requests import Refused, Request


def answer(host: Host, request: Request) -> web.Answered:
    """Everything below /admin."""
    match request.method, *request.path.lower().split("/")[1:]:
        case _, "host", "ping":
            return web.Answered(status=200)
        case "GET", "host", "status":
            return requests.document(200, host.status())
        case "GET", "functions":
            return requests.document(200, [_shown(host, name) for name in host.functions])
        case "GET", "functions", name:
            return requests.document(200, _shown(host, _named(host, name)))
        case "POST", "functions", name:
            return _by_hand(host, request, _named(host, name))
        case method, "host", ("keys" | "functionkeys" | "systemkeys") as scope, *name:
            return _keys(request, _host_keys(host, scope, bool(name)), method, name)
        case method, "functions", function, "keys", *name:
            return _keys(request, _kept(host).functions.get(_named(host, function), {}), method, name)
    raise Refused(404, f"This host has no {request.method} /{request.path}.")


def _shown(host: Host, name: str) -> Mapping[str, object]:
    function = host.functions[name]
    return {"name": name, "language": "python", "isDisabled": name in host.disabled, "config": {"bindings": function.bindings}}


def _named(host: Host, name: str) -> str:
    found = next((one for one in host.functions if one.lower() == name), None)
    if found is None:
        raise Refused(404, f"cannot find function: '{name}'")
    return found


def _by_hand(host: Host, request: Request, name: str) -> web.Answered:
    """Run it once: {"input": TEXT}. A disabled function runs too, as in the real host."""
    given = request.document() if request.body else {}
    if not isinstance(given, dict):
        raise Refused(400, 'The body must be {"input": TEXT}.')
    host.run_by_hand(host.functions[name], given.get("input", ""))
    return web.Answered(status=202)


def _kept(host: Host) -> keys.Keys:
    if host.keys is None:
        raise Refused(404, "This host asks for no keys (--auth off), so it has none.")
    return host.keys


def _host_keys(host: Host, scope: str, one: bool) -> Mapping[str, str]:
    """The real host shows the master key among the system keys, but only to who asks for it by name."""
    kept = _kept(host)
    if scope == "systemkeys":
        return {**kept.system, keys.MASTER: kept.master} if one else kept.system
    return kept.host


def _keys(request: Request, found: Mapping[str, str], method: str, name: list[str]) -> web.Answered:
    """All keys of a scope, or one by name."""
    if method != "GET":
        raise Refused(501, f"{method} of a key is not played here; the keys are in a file of the data folder.")
    links = [{"rel": "self", "href": urlsplit(request.url)._replace(query="").geturl()}]
    if not name:
        return requests.document(200, {"keys": [{"name": key, "value": value} for key, value in found.items()], "links": links})
    if name[0] not in found:
        raise Refused(404, f"There is no key {name[0]}.")
    return requests.document(200, {"name": name[0], "value": found[name[0]], "links": links})
