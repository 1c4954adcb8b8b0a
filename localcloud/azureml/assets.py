"""What assets with a name and a version have in common: how they are spelled, and by which texts somebody names one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from localcloud.azureml.wire import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from localcloud.azureml.routes import Call
    from localcloud.azureml.site import Site
    from localcloud.azureml.store import Shelf

T = TypeVar("T")
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9\-_.]{0,254}")  # names and versions


class _Version(Protocol):
    version: str


def check_name(what: str, name: str, version: str) -> None:
    """Refuse a name or version that Azure has not; `what` as a sentence has it: "model"."""
    if not NAME.fullmatch(name) or not NAME.fullmatch(version):
        raise Refused(400, "UserError", f"The {what} name or version '{name}:{version}' is invalid; use letters, digits, -, _ and dots.")


def key_of(site: Site, kind: str, asset_id: str) -> str | None:
    """Return `name:version` that an ARM id of this workspace or `azureml:name:version` names; None: it is another text."""
    arm = re.fullmatch(re.escape(site.workspace_id) + rf"/{kind}/([^/]+)/versions/([^/]+)", asset_id, re.IGNORECASE)
    found = arm or re.fullmatch(r"(?:azureml:)?([^:/]+):([^:/]+)", asset_id)
    return f"{found[1]}:{found[2]}" if found else None


def next_version(taken: Iterable[str]) -> str:
    """Return the version that a client takes which names none: one more than the highest number; whatever is no number does not count."""
    return str(max((int(version) for version in taken if version.isdecimal()), default=0) + 1)


def container(versions: Sequence[_Version], *, archived: bool) -> dict[str, Any]:
    """Return the properties of what holds these versions, the newest first."""
    return {
        "description": None,
        "tags": {},
        "properties": {},
        "isArchived": archived,
        "latestVersion": versions[0].version,
        "nextVersion": next_version(one.version for one in versions),
        "provisioningState": "Succeeded",
    }


def held(shelf: Shelf[T], call: Call, detail: str) -> T:
    """Return the asset that the path of a call names; refuse with `detail`, Azure's word for what is not there."""
    key = f"{call['name']}:{call['version']}"
    found = shelf.get(key)
    if found is None:
        raise not_found(key, detail)
    return found


def not_found(key: str, detail: str) -> Refused:
    return Refused(404, "UserError", f"Could not find asset with ID: {key}", detail=detail, inner=("NotFound", detail))
