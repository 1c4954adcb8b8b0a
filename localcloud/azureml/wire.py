"""
A request, a response and a refusal as this emulator sees them: plain values, whatever carried them.

The HTTPS server and the in-process transport both end here, so what a test proves in process holds over the socket.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from localcloud.web import Ending

Json = dict[str, Any]

DEPTH_MAX = 64  # objects and lists in one another: the default of .NET's readers, in which Azure ML is taken to be written (a guess)


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
            value = json.loads(self.body.decode("utf-8-sig"), parse_constant=_no_number, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            raise Refused(400, "InvalidRequestContent", f"The body is not JSON ({_why(error)}); send one JSON object in UTF-8.") from None
        if not isinstance(value, dict):
            raise Refused(400, "InvalidRequestContent", "The body is not a JSON object; send one JSON object.")
        if b"\\u" in self.body and _has_half_a_character(value):
            raise Refused(
                400, "InvalidRequestContent", "The body has one half of a surrogate pair (\\ud800 to \\udfff); send whole characters."
            )
        if self.body.count(b"{") + self.body.count(b"[") > DEPTH_MAX and _depth(value) > DEPTH_MAX:
            raise Refused(
                400, "InvalidRequestContent", f"The body is deeper than {DEPTH_MAX} objects and lists in one another; make it flatter."
            )
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
        name = "api-version" if name.lower() == "api-version" else name  # noqa: PLW2901 - Azure compares it without regard to case
        values[name] = f"{values[name]},{value}" if name in values else value
    return Request(method=method, path=unquote(path), query=values, headers=headers, body=body, target=target)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number there")  # Python would read NaN and Infinity, and write them into answers


def _finite(text: str) -> float:
    """Return the number; 1e999 would be Infinity in every answer that repeats it."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _why(error: Exception) -> str:
    """Say what is wrong with a body without repeating much of it."""
    if isinstance(error, RecursionError):
        return f"deeper than {DEPTH_MAX} objects and lists in one another"
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)


def _has_half_a_character(value: Json) -> bool:
    """No encoding can carry it on: neither the store nor an event."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except RecursionError:  # the depth is refused next
        return False
    return False


def _depth(value: Any) -> int:
    """Return how many objects and lists are in one another, and at most one more than are allowed."""
    level, depth = [value], 0
    while level and depth <= DEPTH_MAX:
        level = [inner for one in level if isinstance(one, dict | list) for inner in (one.values() if isinstance(one, dict) else one)]
        depth += 1
    return depth


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
        allowed = f"allowed are {', '.join(sorted(known))}" if known else "it has none"
        raise Refused(400, "UserError", f"{what} has no field {names}; {allowed}.")


def mapping(body: Mapping[str, Any], key: str, what: str) -> Json:
    """Return `body[key]` as an object; absent and null are an empty one."""
    value = body.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refused(400, "UserError", f"{what}: {key} must be an object, and is {type(value).__name__}.")
    return value


def text_map(body: Mapping[str, Any], key: str, what: str) -> dict[str, str]:
    """Return `body[key]` as names and texts (tags, properties); null is as good as absent, any other value is refused, as Azure does."""
    value = mapping(body, key, what)
    for name, content in value.items():
        if content is not None and not isinstance(content, str):
            raise Refused(400, "UserError", f"{what}: {key}.{name} must be text, and is {type(content).__name__}.")
    return {name: content for name, content in value.items() if content is not None}
