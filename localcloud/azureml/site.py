"""
Where this cloud says it is: ids, addresses, folders and the clock. Everything else is told these, nothing reads the environment.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from localcloud.azureml import worlds
from localcloud.azureml.wire import Json, Refused

TENANT = "33333333-3333-3333-3333-333333333333"
PRINCIPAL = "44444444-4444-4444-4444-444444444444"  # the one identity that every token speaks for
WORKSPACE_GUID = "55555555-5555-5555-5555-555555555555"
REGISTRY_SUBSCRIPTION = "22222222-2222-2222-2222-222222222222"
PROVIDER = "Microsoft.MachineLearningServices"
CREATED = datetime(2026, 1, 1, tzinfo=UTC)  # of workspace and datastores: they were there before the first start of this cloud


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Site:
    """The ids of the local cloud, its address and its folder."""

    folder: Path  # jobs and deployments keep their files below it
    base: str = "https://localhost:8443"  # scheme, host and port of every address in an answer; no slash at the end
    subscription: str = "11111111-1111-1111-1111-111111111111"
    group: str = "local-rg"
    workspace: str = "local-workspace"
    location: str = "eastus2"
    registry: str = "azureml"
    own_registry: str = "local-registry"  # one that the person of this workspace may write to
    account: str = "devstoreaccount1"
    datastores: Mapping[str, str] = field(
        default_factory=lambda: {
            "workspaceblobstore": "azureml-blobstore",
            "tuneloop_datasets": "datasets",
            "tuneloop_prepared": "prepared",
        }
    )  # datastore name -> container
    world: worlds.World = worlds.TODAY
    clock: Callable[[], datetime] = _now
    page_size: int = 100  # entries of a list before it goes on elsewhere; a guess, Azure does not say

    @property
    def workspace_id(self) -> str:
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.group}/providers/{PROVIDER}/workspaces/{self.workspace}"

    @property
    def storage_id(self) -> str:
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.group}/providers/Microsoft.Storage/storageAccounts/{self.account}"

    @property
    def host(self) -> str:
        """Host and port, as MLflow's tracking address wants them."""
        return urlsplit(self.base).netloc

    def check_place(self, names: Mapping[str, str]) -> None:
        """Refuse a path that names another subscription, resource group, workspace or region."""
        if "location" in names:
            self._check_region(names["subscription"], names["location"])
        if "workspace" not in names:
            return
        asked = (names["subscription"], names["group"], names["workspace"])
        if tuple(map(str.lower, asked)) != tuple(map(str.lower, (self.subscription, self.group, self.workspace))):
            message = (
                f"The workspace '{asked[2]}' in resource group '{asked[1]}' of subscription '{asked[0]}' was not found. "
                f"The local cloud has {self.workspace} in {self.group} of {self.subscription}."
            )
            raise Refused(404, "ResourceNotFound", message)

    def _check_region(self, subscription: str, location: str) -> None:
        if subscription.lower() != self.subscription.lower():
            message = f"The subscription '{subscription}' could not be found. The local cloud has {self.subscription}."
            raise Refused(404, "SubscriptionNotFound", message)
        if location.lower().replace(" ", "") != self.location:
            message = f"The location '{location}' is not here; the local cloud is in {self.location}."
            raise Refused(400, "LocationNotAvailableForResourceType", message)

    def address(self, path: str, version: str) -> str:
        """Return where a resource below the workspace is, as the header Location names what a PUT has made [recorded]."""
        return f"{self.base}{self.workspace_id}/{path}?api-version={version}"

    def resource(self, path: str, kind: str, properties: Json, created: datetime, modified: datetime | None = None) -> Json:
        """Return the frame that every resource has. `path` is below the workspace, `kind` below its type."""
        return {
            "id": f"{self.workspace_id}/{path}",
            "name": path.rsplit("/", 1)[-1],
            "type": f"{PROVIDER}/workspaces/{kind}",
            "properties": properties,
            "systemData": system_data(created, modified),
        }


def system_data(created: datetime, modified: datetime | None = None) -> Json:
    """Return who made it and when; jobs have no last change, so `modified` may be None."""
    data = {"createdAt": stamp(created), "createdBy": "local-identity", "createdByType": "Application"}
    if modified is not None:
        data |= {"lastModifiedAt": stamp(modified), "lastModifiedBy": "local-identity", "lastModifiedByType": "Application"}
    return data


def stamp(moment: datetime) -> str:
    """Return a moment as Azure writes it: UTC, seven fraction digits, Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"


def stable_guid(*parts: str) -> str:
    """Return a GUID that follows from the parts, so that two starts of this cloud agree."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "tuneloop-local:" + "/".join(parts)))
