"""
Datastores are names for containers of the storage account; a job's inputs are read through them when it starts.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from localcloud.azureml import paging
from localcloud.azureml import site as sites
from localcloud.azureml.routes import WORKSPACE, Call, Route
from localcloud.azureml.shapes import queries, small
from localcloud.azureml.storage_door import StorageDoor
from localcloud.azureml.wire import Json, Refused, Response, answer

if TYPE_CHECKING:
    from localcloud.azureml.site import Site

_SHORT = re.compile(r"azureml://datastores/(?P<store>[^/]+)/paths/(?P<path>.+)")
_LONG = re.compile(
    r"azureml://subscriptions/(?P<subscription>[^/]+)/resourcegroups/(?P<group>[^/]+)(?:/providers/[^/]+)?"
    r"/workspaces/(?P<workspace>[^/]+)/datastores/(?P<store>[^/]+)/paths/(?P<path>.+)",
    re.IGNORECASE,
)
SAS_HOURS = 1  # of a signature, where a client names no time; a guess, and what azure-ai-ml asks for
SAS_HOURS_MAX = 366 * 24  # a guess; azure-ai-ml asks for 1
_PERMISSIONS = "racwdl"  # read, add, create, write, delete, list: what an upload and a download need
DEFAULT = "workspaceblobstore"  # where the SDK puts a job's local files


class MissingInput(Exception):
    """An input cannot be read; the text says which and what to do."""


class Storage(Protocol):
    """Containers of blobs."""

    def fetch(self, container: str, blob: str, target: Path) -> bool:
        """Read one blob into a file; say False when there is none."""

    def names(self, container: str, prefix: str) -> list[str]:
        """Return the names of the blobs that begin so; none where there is no such container."""

    def put(self, container: str, blob: str, source: Path) -> None:
        """Write a file over the blob; make the container if it is not there."""


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

    def names(self, container: str, prefix: str) -> list[str]:
        from azure.core.exceptions import ResourceNotFoundError
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(self.connection_string, retry_total=2) as service:
            try:
                return list(service.get_container_client(container).list_blob_names(name_starts_with=prefix))
            except ResourceNotFoundError:
                return []

    def put(self, container: str, blob: str, source: Path) -> None:
        from azure.core.exceptions import ResourceNotFoundError
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(self.connection_string, retry_total=2) as service, source.open("rb") as file:
            target = service.get_blob_client(container, blob)
            try:
                target.upload_blob(file, overwrite=True)
            except ResourceNotFoundError:
                self.ensure(container)
                file.seek(0)
                target.upload_blob(file, overwrite=True)

    def ensure(self, container: str) -> None:
        """Make the container if it is not there: in Azure the workspace's own container always is."""
        from azure.core.exceptions import ResourceExistsError, ServiceRequestError
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(self.connection_string, retry_total=0) as service:
            try:
                service.create_container(container)
            except ResourceExistsError:
                return
            except ServiceRequestError:
                message = f"The storage account at {self.endpoint} does not answer; start it: python -m localcloud azurite."
                raise Refused(400, "UserError", message, detail="StorageNotReachable") from None

    def sas(self, container: str, hours: int) -> str:
        """Return a signature that opens one container for so long, by the storage account's clock and not by this cloud's."""
        from azure.storage.blob import ContainerSasPermissions, generate_container_sas

        return generate_container_sas(
            self.account,
            container,
            account_key=self.account_key,
            permission=ContainerSasPermissions.from_string(_PERMISSIONS),
            expiry=datetime.now(UTC) + timedelta(hours=hours),
        )

    @property
    def account_key(self) -> str:
        return self._part("AccountKey")

    @property
    def account(self) -> str:
        return self._part("AccountName")

    @property
    def endpoint(self) -> str:
        """The address of its blobs; "" when the account's name tells it."""
        return self._part("BlobEndpoint")

    def door(self) -> StorageDoor | None:
        """Return the way in for clients that speak HTTPS only; None: this storage speaks it itself."""
        return StorageDoor(self.endpoint) if self.endpoint.startswith("http://") else None

    def _part(self, name: str) -> str:
        parts = dict(part.split("=", 1) for part in self.connection_string.split(";") if "=" in part)
        return parts.get(name, "")


class Datastores:
    """The datastores of the workspace."""

    def __init__(self, site: Site, storage: Storage) -> None:
        self.site = site
        self.storage = storage
        self.created = sites.CREATED
        self._door = storage.door() if isinstance(storage, BlobStorage) else None

    def routes(self) -> list[Route]:
        return [
            *(self._door.routes() if self._door else ()),
            Route(method="GET", path=WORKSPACE + "/datastores", handler=self._list, query=queries.DATASTORES, does="list the datastores"),
            Route(method="GET", path=WORKSPACE + "/datastores/{name}", handler=self._get, does="one datastore"),
            Route(
                method="POST",
                path=WORKSPACE + "/datastores/{name}/listSecrets",
                handler=self._secrets,
                locked=False,
                does="the key for an upload, or a signature that ends",
                differs="makes the container if it is not there",
            ),
        ]

    def fetch(self, uri: str, target: Path) -> Path:
        """Read the blob that `uri` names into the folder `target`; keep its file name, the trainer goes by its suffix."""
        container, path = self.place(uri)
        if path.endswith("/"):
            raise MissingInput(f"The input {uri} names a folder, and a file is wanted.")
        target.mkdir(parents=True, exist_ok=True)
        file = target / PurePosixPath(path).name
        if not self.storage.fetch(container, path, file):
            raise MissingInput(f"The input {uri} does not exist: container {container} has no blob {path}.")
        return file

    def fetch_folder(self, uri: str, target: Path) -> Path:
        """Read every blob below `uri` into the folder `target`, each at its path from there."""
        container, path = self.place(uri)
        if not self.fetch_blobs(container, path, target):
            raise MissingInput(f"The input {uri} does not exist: container {container} has no blob below {path.rstrip('/')}/.")
        return target

    def fetch_blobs(self, container: str, prefix: str, target: Path) -> bool:
        """Read every blob below a prefix ("": all of the container) into a folder; say False when there is none."""
        prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        names = self.storage.names(container, prefix)
        for name in names:
            below = PurePosixPath(name.removeprefix(prefix))
            if ".." in below.parts or below.is_absolute():
                raise MissingInput(f"The blob {name} of container {container} would leave its folder.")
            (target / below).parent.mkdir(parents=True, exist_ok=True)
            self.storage.fetch(container, name, target / below)
        return bool(names)

    def send(self, source: Path, uri: str) -> None:
        """Write a file to where `uri` says, or every file of a folder to below it, each over the blob that was there."""
        container, path = self.place(uri)
        if source.is_file():
            self.storage.put(container, path, source)
            return
        for file in sorted(found for found in source.rglob("*") if found.is_file()):
            self.storage.put(container, f"{path.rstrip('/')}/{file.relative_to(source).as_posix()}", file)

    def place(self, uri: str, what: str = "input") -> tuple[str, str]:
        """Return container and path that `uri` names; raise MissingInput where it names no datastore of this workspace."""
        match = _SHORT.fullmatch(uri) or _LONG.fullmatch(uri)
        if match is None:
            raise MissingInput(f"The {what} {uri} is not of the form azureml://datastores/<datastore>/paths/<path>.")
        if match.re is _LONG:
            try:
                self.site.check_place(match.groupdict())
            except Refused as refused:
                raise MissingInput(f"The {what} {uri} is elsewhere: {refused.message}") from None
        container = self.site.datastores.get(match["store"])
        if container is None:
            known = ", ".join(sorted(self.site.datastores))
            raise MissingInput(f"The datastore {match['store']} of {what} {uri} does not exist; this workspace has {known}.")
        if ".." in PurePosixPath(match["path"]).parts:
            raise MissingInput(f"The {what} {uri} leaves its datastore; remove the '..'.")
        return container, match["path"]

    def account_address(self) -> str:
        """Return the address of the storage account as this cloud names it to clients that speak HTTPS only; no slash at the end."""
        if not isinstance(self.storage, BlobStorage):
            return f"https://{self.site.account}.blob.core.windows.net"
        if self._door:
            return f"{self.site.base}{self._door.path}"
        return self.storage.endpoint.rstrip("/") or f"https://{self.storage.account}.blob.core.windows.net"

    def account_addresses(self) -> list[str]:
        """Return that address, and the one by which clients know the account that speak plain HTTP to it."""
        plain = self.storage.endpoint.rstrip("/") if isinstance(self.storage, BlobStorage) else ""
        return [self.account_address(), *([plain] if plain else [])]

    def _list(self, call: Call) -> Response:
        query = call.request.query
        queries.only(query, queries.PLAYED_OF_DATASTORES, call.request.path)
        default_only = query.get("isDefault", "").lower() == "true"
        found = [name for name in self.site.datastores if name == DEFAULT or not default_only]
        return paging.page(call, self.site, found, key=str, shown=self._body)

    def _get(self, call: Call) -> Response:
        return answer(self._body(self._known(call["name"])))

    def _secrets(self, call: Call) -> Response:
        """
        Whoever asks for the key is about to upload. One that ends is a signature, also where the datastore's credential is a key.

        azure-ai-ml from 1.18 on asks for one that ends; up to 1.31 at least it takes nothing else [read, _artifact_utilities.py].
        """
        asked = small.SECRET_EXPIRY.read(call.request.json())
        container = self.site.datastores[self._known(call["name"])]
        storage = self.storage if isinstance(self.storage, BlobStorage) else None
        if storage:
            storage.ensure(container)
        if asked.expirable_secret:
            hours = SAS_HOURS if asked.expire_after_hours is None else asked.expire_after_hours
            if not 1 <= hours <= SAS_HOURS_MAX:
                message = f"A request for secrets: expireAfterHours must be from 1 to {SAS_HOURS_MAX}, and is {hours}."
                raise Refused(400, "UserError", message, target="expireAfterHours")
            return answer({"secretsType": "Sas", "sasToken": storage.sas(container, hours) if storage else ""})
        return answer({"secretsType": "AccountKey", "key": storage.account_key if storage else ""})

    def _known(self, name: str) -> str:
        if name not in self.site.datastores:
            message = f"Could not find datastore: {name}. This workspace has {', '.join(sorted(self.site.datastores))}."
            raise Refused(404, "UserError", message, detail="DatastoreNotFound")
        return name

    def _account_name(self) -> str:
        """
        Return what makes the SDK's `https://{account}.blob.{endpoint}` an address that needs no name server.

        `localhost:8443/devstoreaccount1#` turns the rest into a fragment, which is never sent. An account without an address of its own
        is in Azure, and its name says enough.
        """
        if not isinstance(self.storage, BlobStorage):
            return self.site.account
        if self._door:
            return f"{self.site.host}{self._door.path}#"
        parts = urlsplit(self.storage.endpoint)
        return f"{parts.netloc}{parts.path.rstrip('/')}#" if parts.netloc else self.storage.account

    def _body(self, name: str) -> Json:
        properties = {
            "datastoreType": "AzureBlob",
            "accountName": self._account_name(),
            "containerName": self.site.datastores[name],
            "endpoint": "core.windows.net",
            "protocol": "https",
            "serviceDataAccessAuthIdentity": "None",
            "isDefault": name == DEFAULT,
            "credentials": {"credentialsType": "AccountKey"},
            "tags": {},
            "properties": {},
        }
        return self.site.resource(f"datastores/{name}", "datastores", properties, self.created, self.created)
