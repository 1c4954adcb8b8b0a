"""
Components of the workspace itself: there are none, and none can be made here. The one that this cloud has is in the registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from localcloud.azureml import paging
from localcloud.azureml.routes import WORKSPACE, Call, Route
from localcloud.azureml.shapes import queries
from localcloud.azureml.wire import Refused, Response

if TYPE_CHECKING:
    from localcloud.azureml.site import Site

NOTHING: tuple[str, ...] = ()


class Components:
    """An empty list, told as Azure tells it."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def routes(self) -> list[Route]:
        every, one = WORKSPACE + "/components", WORKSPACE + "/components/{name}"
        differs = "always empty: the local cloud has components in the registry only"
        return [
            Route(method="GET", path=every, handler=self._none, query=queries.COMPONENTS, does="its components", differs=differs),
            Route(method="GET", path=one, handler=self._missing, does="one component", differs=differs),
            Route(
                method="GET",
                path=one + "/versions",
                handler=self._none,
                query=queries.COMPONENT_VERSIONS,
                does="versions of a component",
                differs=differs,
            ),
            Route(
                method="GET", path=one + "/versions/{version}", handler=self._missing, does="one version of a component", differs=differs
            ),
        ]

    def _none(self, call: Call) -> Response:
        return paging.page(call, self.site, NOTHING, key=str, shown=lambda _: {})

    def _missing(self, call: Call) -> Response:
        asset = ":".join(filter(None, (call["name"], call.names.get("version"))))
        message = f"Could not find asset with ID: {asset}. The local cloud has components in registry {self.site.registry} only."
        raise Refused(404, "UserError", message, detail="ComponentNotFound", inner=("NotFound", "ComponentNotFound"))
