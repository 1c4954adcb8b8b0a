"""
The workspace, the cloud's metadata and the discovery address: where an unmodified client learns every other address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from localcloud.azureml import paging
from localcloud.azureml import site as sites
from localcloud.azureml.environment import CLOUD
from localcloud.azureml.routes import WORKSPACE, Call, Route, early
from localcloud.azureml.wire import Json, Response, answer

if TYPE_CHECKING:
    from localcloud.azureml.site import Site

METADATA_VERSIONS = frozenset({"2019-05-01", "2020-09-01", "2022-09-01"})
SERVICES = ("api", "history", "modelmanagement", "experimentation", "catalog", "hyperdrive", "pipelines", "notebooks", "studio")

KIND = "Default"
LIST = frozenset({"$skip", "kind"})
_SUBSCRIPTION = "/subscriptions/{subscription}/providers/Microsoft.MachineLearningServices"
_GROUP = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices"


class Workspace:
    """One workspace, fixed."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.created = sites.CREATED

    def routes(self) -> list[Route]:
        return [
            Route(
                method="GET",
                path="/metadata/endpoints",
                handler=self._metadata,
                versions=METADATA_VERSIONS,
                signed=False,
                does="which cloud this is, for azure-ai-ml and azure-identity",
                differs="one cloud, LocalCloud, where Azure names its own",
            ),
            Route(
                method="GET",
                path="/discovery",
                handler=self._discovery,
                versions=None,
                signed=False,
                does="where the workspace keeps run history and MLflow",
                differs="one host for all of it",
            ),
            *early(self._resource()),
        ]

    def _resource(self) -> list[Route]:
        every = _SUBSCRIPTION + "/workspaces"
        return [
            Route(method="GET", path=every, handler=self._list, query=LIST, does="the workspaces of a subscription"),
            Route(method="GET", path=_GROUP + "/workspaces", handler=self._list, query=LIST, does="the workspaces of a resource group"),
            Route(method="GET", path=WORKSPACE, handler=self._get, does="the workspace", differs="one workspace, there from the start"),
        ]

    def _metadata(self, call: Call) -> Response:  # noqa: ARG002
        """Return one cloud; a key missing here makes the SDK skip it silently and use the public cloud."""
        cloud = {
            "name": CLOUD,
            "portal": "https://portal.azure.com/",
            "resourceManager": self.site.base,
            "authentication": {
                "loginEndpoint": "https://login.microsoftonline.com/",
                "audiences": [self.site.base],
                "tenant": sites.TENANT,
                "identityProvider": "AAD",
            },
            "suffixes": {"storage": "core.windows.net"},
        }
        return answer([cloud])

    def _discovery(self, call: Call) -> Response:  # noqa: ARG002
        return answer(dict.fromkeys(SERVICES, self.site.base))

    def _get(self, call: Call) -> Response:  # noqa: ARG002
        return answer(self._body())

    def _list(self, call: Call) -> Response:
        """Return the one workspace, where it is in the subscription and group that are asked for and of their kinds."""
        site, kinds = self.site, call.request.query.get("kind", "").lower()
        asked = (call["subscription"], call.names.get("group", site.group))
        here = tuple(map(str.lower, asked)) == (site.subscription.lower(), site.group.lower())
        found = [self._body()] if here and (not kinds or KIND.lower() in kinds.split(",")) else []
        return paging.page(call, site, found, key=lambda one: str(one["name"]), shown=dict)

    def _body(self) -> Json:
        site = self.site
        group = f"/subscriptions/{site.subscription}/resourceGroups/{site.group}/providers"
        properties = {
            "friendlyName": site.workspace,
            "description": "The workspace of the local cloud.",
            "workspaceId": sites.WORKSPACE_GUID,
            "storageAccount": site.storage_id,
            "keyVault": f"{group}/Microsoft.KeyVault/vaults/local-vault",
            "applicationInsights": f"{group}/Microsoft.Insights/components/local-insights",
            "provisioningState": "Succeeded",
            "discoveryUrl": f"{site.base}/discovery",
            "mlFlowTrackingUri": f"azureml://{site.host}/mlflow/v1.0{site.workspace_id}",
            "publicNetworkAccess": "Enabled",
            "hbiWorkspace": False,
            "tenantId": sites.TENANT,
            "imageBuildCompute": None,
            "v1LegacyMode": False,
            "storageHnsEnabled": False,
            "privateLinkCount": 0,
        }
        body: Json = {
            "id": site.workspace_id,
            "name": site.workspace,
            "type": f"{sites.PROVIDER}/workspaces",
            "location": site.location,
            "tags": {},
            "kind": KIND,
            "sku": {"name": "Basic", "tier": "Basic"},
            "identity": {"type": "SystemAssigned", "principalId": sites.PRINCIPAL, "tenantId": sites.TENANT},
            "properties": properties,
            "systemData": sites.system_data(self.created, self.created),
        }
        return body
