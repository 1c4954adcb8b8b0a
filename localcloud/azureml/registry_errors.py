"""Errors in the registry's own shape, which is not the one of Azure Resource Manager: codes one in another, and who says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from localcloud.azureml import site as sites
from localcloud.azureml.wire import Json, Response, answer

if TYPE_CHECKING:
    from localcloud.azureml.ground import Ground


def refusal(ground: Ground, status: int, message: str, *, inner: str, code: str = "UserError") -> Response:
    """Return the refusal; `inner` is the finer code."""
    site, guid = ground.site, ground.chance.guid
    error: Json = {"code": code, "message": message, "details": [], "innerError": {"code": inner, "innerError": None}}
    body = {
        "error": error,
        "correlation": {"operation": guid().replace("-", ""), "request": guid().replace("-", "")[:16]},
        "environment": site.location,
        "location": site.location,
        "time": sites.stamp(site.clock()),
        "componentName": "assetstore",
        "statusCode": status,
    }
    return answer(body, status)
