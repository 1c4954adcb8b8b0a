"""Where a body of Azure ML holds secrets, so that a record of traffic can leave them out."""

from __future__ import annotations

from typing import Any

HOLDERS = frozenset({"secrets", "keys", "userAccountCredentials"})  # objects of endpoints, datastores and clusters
PLAIN = frozenset({"secretsType", "adminUserName"})  # what in them is no secret
MASK = "***"


def masked(body: Any) -> Any:
    """Return the body with every secret text in it replaced; everything else is as it was."""
    if isinstance(body, dict):
        return {name: _hidden(value) if name in HOLDERS else masked(value) for name, value in body.items()}
    if isinstance(body, list):
        return [masked(item) for item in body]
    return body


def _hidden(value: Any) -> Any:
    if not isinstance(value, dict):
        return MASK if isinstance(value, str) else value
    return {name: MASK if isinstance(one, str) and name not in PLAIN else one for name, one in value.items()}
