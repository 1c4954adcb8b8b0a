"""
Long lists come in pages, as everywhere in Azure: `value`, and `nextLink` where more follows. A client goes on at that address as it is.

What goes on with a list (`$skip`) is a token: which entry was the last one, and how many were before it. So a list that loses or gains
entries between two pages shows no other entry twice and passes none over, as far as one token can tell.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlencode

from localcloud.azureml.wire import Json, Refused, Response, answer

if TYPE_CHECKING:
    from localcloud.azureml.routes import Call
    from localcloud.azureml.site import Site

T = TypeVar("T")
SIZES = ("$top", "count")  # how a client says the length of a page; Azure's lists know one or the other


def page(
    call: Call,
    site: Site,
    found: Sequence[T],
    *,
    key: Callable[[T], str],
    shown: Callable[[T], Json],
    token: str = "$skip",
    size_max: int | None = None,
) -> Response:
    """
    Answer the part of `found` that the query means.

    `key` names an entry, `shown` is its body, `token` the name in the query that goes on, `size_max` the most on one page (None: the
    site's).
    """
    query = call.request.query
    size = _size(call, size_max or site.page_size)
    first = _first([key(one) for one in found], query.get(token))
    part = found[first : first + size]
    body: Json = {"value": [shown(one) for one in part]}
    if part and first + size < len(found):
        asked = {name: value for name, value in query.items() if name != token}
        rest = urlencode(asked | {token: _token(first + size, key(part[-1]))}, quote_via=quote, safe="$")
        body["nextLink"] = f"{site.base}{quote(call.request.path)}?{rest}"
    return answer(body)


def _size(call: Call, otherwise: int) -> int:
    for name in SIZES:
        text = call.request.query.get(name)
        if text is None:
            continue
        if not text.isdecimal() or int(text) == 0:
            message = f"The query of {call.request.path} asks {name}={text}; write a whole number from 1."
            raise Refused(400, "InvalidQueryParameter", message, target=name)
        return min(int(text), otherwise)
    return otherwise


def _token(position: int, last: str) -> str:
    return base64.urlsafe_b64encode(f"{position}:{last}".encode()).decode().rstrip("=")


def _first(keys: Sequence[str], token: str | None) -> int:
    """Return where to go on: after the last entry that was shown, or where it stood if it is gone."""
    if not token:
        return 0
    try:
        position, _, last = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode().partition(":")
        before = int(position)
    except (ValueError, binascii.Error):
        raise Refused(400, "UserError", "The continuation token is invalid; use the nextLink of the page before.") from None
    return keys.index(last) + 1 if last in keys else max(before - 1, 0)
