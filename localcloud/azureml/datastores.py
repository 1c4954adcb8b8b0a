"""
Datastores are names for containers of the storage account; a job's inputs are read through them when it starts.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from localcloud.azureml.routes import WORKSPACE, Call, Route
from localcloud.azureml.wire import Json, Refused, Response, answer

if TYPE_CHECKING:
    from localcloud.azureml.site import Site

_SHORT = re.compile(r"azureml://datastores/(?P<store>[^/]+)/paths/(?P<path>.+)")
_LONG = re.compile(
    r"azureml://subscriptions/[^/]+/resourcegroups/[^/]+(?:/providers/[^/]+)?/workspaces/[^/]+/datastores/(?P<store>[^/]+)/paths/(?P<path>.+)",
    re.IGNORECASE,
)
_ACCOUNT_KEY = re.compile(r"AccountKey=([^;]+)")


class MissingInput(Exception):
    """An input cannot be read; the text says which and what to do."""


class Storage(Protocol):
    """Reads one blob into a file; says False when there is none."""

    def fetch(self, container: str, blob: str, target: Path) -> bool: ...


class BlobStorage:
    """The real thing: any account that a connection string names, here Azurite."""

    def __init__(self, connection_string: str) -> None:
        self.connection_string = connection_string

    def fetch(self, container: str, blob: str, target: Path) -> bool:
        from azure.core.exceptions import ResourceNotFoundError
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(self.connection_string, retry_total=2) as service:
            try:
                stream = service.get_blob_client(container, blob).download_blob()
                with target.open("wb") as file:
                    stream.readinto(file)
            except ResourceNotFoundError:
                return False
        return True

    @property
    def account_key(self) -> str:
        found = _ACCOUNT_KEY.search(self.connection_string)
        return found[1] if found else ""


class Datastores:
    """The datastores of the workspace."""

    def __init__(self, site: Site, storage: Storage) -> None:
        self.site = site
        self.storage = storage
        self.created = site.clock()

    def routes(self) -> list[Route]:
        return [
            Route(method="GET", path=WORKSPACE + "/datastores", handler=self._list),
            Route(method="GET", path=WORKSPACE + "/datastores/{name}", handler=self._get),
            Route(method="POST", path=WORKSPACE + "/datastores/{name}/listSecrets", handler=self._secrets),
        ]

    def fetch(self, uri: str, target: Path) -> Path:
        """Read the blob that `uri` names into the folder `target`; keep its file name, the trainer goes by its suffix."""
        match = _SHORT.fullmatch(uri) or _LONG.fullmatch(uri)
        if match is None:
            raise MissingInput(f"The input {uri} is not of the form azureml://datastores/<datastore>/paths/<path>.")
        container = self.site.datastores.get(match["store"])
        if container is None:
            known = ", ".join(sorted(self.site.datastores))
            raise MissingInput(f"The datastore {match['store']} of input {uri} does not exist; this workspace has {known}.")
        path = PurePosixPath(match["path"])
        if ".." in path.parts:
            raise MissingInput(f"The input {uri} leaves its datastore; remove the '..'.")
        target.mkdir(parents=True, exist_ok=True)
        file = target / path.name
        if not self.storage.fetch(container, match["path"], file):
            raise MissingInput(f"The input {uri} does not exist: container {container} has no blob {match['path']}.")
        return file

    def _list(self, call: Call) -> Response:  # noqa: ARG002
        return answer({"value": [self._body(name) for name in self.site.datastores]})

    def _get(self, call: Call) -> Response:
        return answer(self._body(self._known(call["name"])))

    def _secrets(self, call: Call) -> Response:
        self._known(call["name"])
        key = self.storage.account_key if isinstance(self.storage, BlobStorage) else ""
        return answer({"secretsType": "AccountKey", "key": key})

    def _known(self, name: str) -> str:
        if name not in self.site.datastores:
            message = f"Could not find datastore: {name}. This workspace has {', '.join(sorted(self.site.datastores))}."
            raise Refused(404, "UserError", message, detail="DatastoreNotFound")
        return name

    def _body(self, name: str) -> Json:
        properties = {
            "datastoreType": "AzureBlob",
            "accountName": self.site.account,
            "containerName": self.site.datastores[name],
            "endpoint": "core.windows.net",
            "protocol": "https",
            "serviceDataAccessAuthIdentity": "None",
            "isDefault": name == "workspaceblobstore",
            "credentials": {"credentialsType": "AccountKey"},
            "tags": {},
            "properties": {},
        }
        return self.site.resource(f"datastores/{name}", "datastores", properties, self.created, self.created)
