"""
`listViewType`: whether a list shows what is active, what is archived, or all. Another word is refused by name.

azure-ai-ml 1.35.2 writes the names of its own enumeration when it lists a registry's names (`ListViewType.ACTIVE_ONLY`). What Azure
makes of that is not known; here a registry takes it for what it means.
"""

from __future__ import annotations

from collections.abc import Mapping

from localcloud.azureml.wire import Refused

VIEWS: Mapping[str, frozenset[bool]] = {
    "ActiveOnly": frozenset({False}),
    "ArchivedOnly": frozenset({True}),
    "All": frozenset({False, True}),
}  # -> what isArchived may be
_OF_THE_SDK = {"ListViewType.ACTIVE_ONLY": "ActiveOnly", "ListViewType.ARCHIVED_ONLY": "ArchivedOnly", "ListViewType.ALL": "All"}


def shown(query: Mapping[str, str], *, otherwise: str = "ActiveOnly", of_registry: bool = False) -> frozenset[bool]:
    """Return what isArchived may be in a list; `otherwise` is the view where the query names none."""
    view = query.get("listViewType", otherwise)
    view = _OF_THE_SDK.get(view, view) if of_registry else view
    if view not in VIEWS:
        message = f"The listViewType '{view}' is invalid; use {', '.join(VIEWS)}."
        raise Refused(400, "InvalidQueryParameter", message, target="listViewType")
    return VIEWS[view]
