"""
Managed identities as an answer shows them: what was asked for, with the ids that Azure fills in. Nobody's rights depend on them here.
"""

from __future__ import annotations

from localcloud.azureml import site as sites
from localcloud.azureml.wire import Json

SYSTEM: Json = {"type": "SystemAssigned"}  # what Azure gives an endpoint that names none


def shown(asked: Json) -> Json:
    """Return the identity of a resource: `asked` is that of its PUT."""
    body: Json = {"type": asked["type"]}
    if "system" in str(asked["type"]).lower():
        body |= {"principalId": sites.PRINCIPAL, "tenantId": sites.TENANT}
    users = asked.get("userAssignedIdentities") or {}
    if users:
        body["userAssignedIdentities"] = {name: _user(name) for name in users}
    return body


def _user(name: str) -> Json:
    return {"principalId": sites.stable_guid("principal", name), "clientId": sites.stable_guid("client", name)}
