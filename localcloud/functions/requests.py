"""One request to the host, taken apart; answers are `web.Answered`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from localcloud import web


class Refused(Exception):
    """The request cannot be carried out; status and text are the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    path: str  # decoded, without slashes at its ends
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case
    url: str
    body: bytes

    @property
    def key(self) -> str:
        """The key that the caller shows; the header goes before the query. Empty: none."""
        return self.headers.get("x-functions-key") or self.query.get("code", "")

    def document(self) -> Any:
        """The body as JSON; raises Refused (400) where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Refused(400, "The body is not JSON.") from None


def of(asked: web.Asked) -> Request:
    parts = urlsplit(asked.target)
    return Request(
        method=asked.method,
        path=unquote(parts.path).strip("/"),
        query=dict(parse_qsl(parts.query, keep_blank_values=True)),
        headers=asked.headers,
        url=f"http://{asked.headers.get('host', web.HOST)}{asked.target}",
        body=asked.body,
    )


def text(status: int, sentence: str = "") -> web.Answered:
    return web.Answered(status=status, body=sentence.encode(), headers={"Content-Type": "text/plain; charset=utf-8"} if sentence else {})


def document(status: int, content: object) -> web.Answered:
    return web.Answered(status=status, body=json.dumps(content).encode(), headers={"Content-Type": "application/json; charset=utf-8"})
