"""
A request, a response and a refusal as this emulator sees them: plain values, whatever carried them.

The HTTPS server and the in-process transport both end here, so what a test proves in process holds over the socket.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from localcloud.web import Ending

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request; the path is decoded and carries no query. Header names may come in any case and are kept in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    target: str = ""  # path and query as they came, still encoded; for whoever passes the request on

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", {name.lower(): value for name, value in self.headers.items()})

    def json(self) -> Json:
        """Return the body, which must be a JSON object; an empty body is an empty object."""
        if not self.body.strip():
            return {}
        try:
            value = json.loads(self.body, parse_constant=_no_number)
        except (ValueError, RecursionError):
            raise Refused(400, "InvalidRequestContent", "The body is not JSON; send one JSON object.") from None
        if not isinstance(value, dict):
            raise Refused(400, "InvalidRequestContent", "The body is not a JSON object; send one JSON object.")
        return value


def request_of(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Request:
    """
    Return the request with this target: path and query as they stand in the request line. Every skin reads them here.

    A name that the query has twice has both values, joined by a comma, as ASP.NET reads them: no single value is believed.
    """
    if target.startswith(("http://", "https://")):  # as proxies are asked
        target = "/" + target.partition("://")[2].partition("/")[2]
    path, _, query = target.partition("?")
    values: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        values[name] = f"{values[name]},{value}" if name in values else value
    return Request(method=method, path=unquote(path), query=values, headers=headers, body=body, target=target)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")  # Python would read NaN and Infinity, and write them into answers


@dataclass(frozen=True, kw_only=True)
class Response:
    """One answer; `body` is already encoded."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: Ending = Ending.ANSWERED  # what the client gets to see of it
    after_seconds: float = 0.0  # so long a skin keeps it back


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return `value` as a JSON answer."""
    content = {"content-type": "application/json; charset=utf-8", **(headers or {})}
    return Response(status=status, body=json.dumps(value).encode(), headers=content)


class Refused(Exception):
    """The request is answered with an error of the shape that Azure Resource Manager gives."""

    def __init__(
        self, status: int, code: str, message: str, *, detail: str | None = None, inner: tuple[str, ...] = (), target: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail  # a second, finer code; None: there is none
        self.inner = inner  # codes from outside in, as in InnerError
        self.target = target  # path of the field that is wrong; None: no field is

    def response(self, *, location: str, at: str) -> Response:
        """Return the error body as the management front end writes it; `at` is the time in text."""
        details = [] if self.detail is None else [{"code": self.detail, "message": self.message, "details": [], "additionalInfo": []}]
        info: list[Json] = [_info("ComponentName", "managementfrontend"), _info("Environment", location)]
        info += [_info("Location", location), _info("Time", at)]
        if self.inner:
            info.append(_info("InnerError", _nested(self.inner)))
        error: Json = {"code": self.code, "message": self.message, "details": details, "additionalInfo": info}
        if self.target:
            error["target"] = self.target
        return answer({"error": error}, self.status, {"x-ms-error-code": self.code})


def _info(kind: str, value: Any) -> Json:
    return {"type": kind, "info": {"value": value}}


def _nested(codes: tuple[str, ...]) -> Json | None:
    return {"code": codes[0], "innerError": _nested(codes[1:])} if codes else None


def known_only(body: Mapping[str, Any], known: frozenset[str], what: str) -> None:
    """Refuse a field that Azure's resource type does not have: a typing error must not pass silently."""
    unknown = sorted(set(body) - known)
    if unknown:
        names = ", ".join(unknown)
        raise Refused(400, "UserError", f"{what} has no field {names}; allowed are {', '.join(sorted(known))}.")


def mapping(body: Mapping[str, Any], key: str, what: str) -> Json:
    """Return `body[key]` as an object; absent and null are an empty one."""
    value = body.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(400, "UserError", f"{what}: {key} must be an object, and is {type(value).__name__}.")
    return value


def text_map(body: Mapping[str, Any], key: str, what: str) -> dict[str, str]:
    """Return `body[key]` as names and texts (tags, properties); any other value is refused, as Azure does."""
    value = mapping(body, key, what)
    for name, content in value.items():
        if content is not None and not isinstance(content, str):
            raise Refused(400, "UserError", f"{what}: {key}.{name} must be text, and is {type(content).__name__}.")
    return value
