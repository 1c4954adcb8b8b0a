"""
Code of jobs: a folder in a container of its own, which the SDK uploads to before it registers the version.

The SDK asks for versions with the hash of its folder, for a place to upload to when there is none, uploads, and registers what it
uploaded. A version never changes; the same hash is found again and not uploaded twice.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from localcloud.azureml import assets, paging
from localcloud.azureml.datastores import SAS_HOURS, BlobStorage, MissingInput
from localcloud.azureml.records import Code
from localcloud.azureml.routes import MANAGEMENT, WORKSPACE, Call, Route
from localcloud.azureml.shapes import codes as shapes
from localcloud.azureml.shapes import queries
from localcloud.azureml.shapes.shape import unplayed
from localcloud.azureml.store import Shelf
from localcloud.azureml.wire import Json, Refused, Response, answer, text_map

if TYPE_CHECKING:
    from localcloud.azureml.datastores import Datastores
    from localcloud.azureml.ground import Ground

_HASH, _HASH_VERSION = "hash_sha256", "hash_version"  # properties that azure-ai-ml gives a version, and asks for by hash and hashVersion
# startPendingUpload of a workspace's codes is in the published types since then.
UPLOADS = frozenset(version for version in MANAGEMENT if version >= "2023-04-01")


class Codes:
    """All code versions of the workspace."""

    def __init__(self, ground: Ground, datastores: Datastores) -> None:
        self.ground = ground
        self.site = ground.site
        self.all = Shelf(ground.store, "code", Code)
        self._datastores = datastores

    def routes(self) -> list[Route]:
        versions = WORKSPACE + "/codes/{name}/versions"
        return [
            Route(method="GET", path=versions, handler=self._list, query=queries.CODE_VERSIONS, does="versions of a code, by hash"),
            Route(method="GET", path=versions + "/{version}", handler=self._get, does="one version of a code"),
            Route(
                method="PUT",
                path=versions + "/{version}",
                handler=self._put,
                does="register an uploaded folder",
                differs="whether anything was uploaded is seen when a job reads it",
            ),
            Route(
                method="POST",
                path=versions + "/{version}/startPendingUpload",
                handler=self._start_upload,
                versions=UPLOADS,
                locked=False,
                does="a container to upload a folder to, and a signature for it",
            ),
        ]

    def by_id(self, asset_id: str) -> Code | None:
        """Return the version that an ARM id or `azureml:name:version` names; None: there is none."""
        key = assets.key_of(self.site, "codes", asset_id)
        return self.all.get(key) if key else None

    def fetch(self, asset_id: str, target: Path) -> None:
        """Read the folder of a version into `target`; raise MissingInput where there is nothing."""
        code = self.by_id(asset_id)
        if code is None:
            raise MissingInput(f"The code {asset_id} is no longer there.")
        uri = str(code.properties["codeUri"])
        if uri.startswith("azureml:"):
            self._datastores.fetch_folder(uri, target)
            return
        container, folder = self._place(uri)
        if not self._datastores.fetch_blobs(container, folder, target):
            raise MissingInput(f"The code {code.key} was not uploaded: container {container} has no blob below {folder}/.")

    def _place(self, uri: str) -> tuple[str, str]:
        """Return container and folder in one of the addresses of the account."""
        accounts = "|".join(map(re.escape, self._datastores.account_addresses()))
        match = re.fullmatch(f"(?:{accounts})(?::443)?/([^/?#]+)/?([^?#]*)", uri)
        if match is None:
            raise MissingInput(f"The code at {uri} is elsewhere; this workspace keeps code at {self._datastores.account_address()}.")
        return match[1], unquote(match[2]).rstrip("/")

    def _list(self, call: Call) -> Response:
        query = call.request.query
        queries.only(query, queries.PLAYED_OF_CODE_VERSIONS, call.request.path)
        found = [code for code in reversed(self.all.values()) if not code.properties["isArchived"]]
        if query.get("hash"):
            # Then of any name: azure-ai-ml asks below a name that it has just drawn, and takes name and version of the first.
            wanted = {_HASH: query["hash"], _HASH_VERSION: query.get("hashVersion")}
            wanted = {name: held for name, held in wanted.items() if held is not None}
            found = [code for code in found if wanted.items() <= code.properties["properties"].items()]
        else:
            found = [code for code in found if code.name == call["name"]]
        return paging.page(call, self.site, found, key=lambda code: code.key, shown=self._body)

    def _get(self, call: Call) -> Response:
        return answer(self._body(assets.held(self.all, call, "CodeNotFound")))

    def _put(self, call: Call) -> Response:
        name, version, body = call["name"], call["version"], _as_text(call.request.json())
        assets.check_name("code", name, version)
        shape = shapes.VERSION.read(body, version=call.request.query["api-version"], name=version).properties
        unplayed({"properties.autoDeleteSetting": shape.auto_delete_setting})
        asked: Json = body["properties"]
        tags, properties = text_map(asked, "tags", "A code version"), text_map(asked, "properties", "A code version")
        old, now = self.all.get(f"{name}:{version}"), self.ground.now()
        if not shape.code_uri:
            message = "A code version: codeUri has no value; upload the folder and name it."
            raise Refused(400, "UserError", message, target="properties.codeUri")
        if old is not None and old.properties["codeUri"] != shape.code_uri:
            status = int(self.ground.switches.immutable_status)
            raise Refused(status, "UserError", "Asset paths cannot be updated.", inner=("Immutable", "AssetPathImmutable"))
        kept = {
            "description": shape.description,
            "tags": tags,
            "properties": properties,
            "isArchived": bool(shape.is_archived),
            "isAnonymous": bool(shape.is_anonymous),
            "codeUri": shape.code_uri,
            "provisioningState": "Succeeded",
        }
        code = Code(name=name, version=version, properties=kept, created=old.created if old else now, modified=now)
        self.all.save(code.key, code)
        if old is not None:
            return answer(self._body(code))
        location = self.site.address(f"codes/{name}/versions/{version}", call.request.query["api-version"])
        return answer(self._body(code), 201, {"Location": location})

    def _start_upload(self, call: Call) -> Response:
        """Make a container for this upload alone, and sign it; in Azure too each upload has its own [read in recordings of codeUri]."""
        assets.check_name("code", call["name"], call["version"])
        asked = shapes.PENDING_UPLOAD.read(call.request.json())
        upload = asked.pending_upload_id or self.ground.chance.guid()
        container, storage = f"code-{upload}".lower(), self._datastores.storage
        if not re.fullmatch("[a-z0-9-]{3,63}", container):
            message = f"A request for a place to upload to: pendingUploadId {upload} is no GUID."
            raise Refused(400, "UserError", message, target="pendingUploadId")
        address = f"{self._datastores.account_address()}/{container}"
        signature = ""
        if isinstance(storage, BlobStorage):
            storage.ensure(container)
            signature = storage.sas(container, SAS_HOURS)
        reference = {
            "blobUri": address,
            "storageAccountArmId": self.site.storage_id,
            "credential": {"credentialType": "SAS", "sasUri": f"{address}?{signature}"},
        }
        body = {"blobReferenceForConsumption": reference, "pendingUploadId": upload, "pendingUploadType": "TemporaryBlobReference"}
        return answer(body)

    def _body(self, code: Code) -> Json:
        path = f"codes/{code.name}/versions/{code.version}"
        return self.site.resource(path, "codes/versions", code.properties, code.created, code.modified)


def _as_text(body: Json) -> Json:
    """
    Return the body with the version of its hash as text.

    azure-ai-ml 1.35.2 sends the number 202208 where Microsoft's type has text and older releases sent text. Since each of its command jobs
    does so, Azure must take it [inferred]; other numbers among the properties are refused.
    """
    properties = body.get("properties")
    inner = properties.get("properties") if isinstance(properties, dict) else None
    if not isinstance(properties, dict) or not isinstance(inner, dict) or type(inner.get(_HASH_VERSION)) is not int:
        return body
    return {**body, "properties": {**properties, "properties": {**inner, _HASH_VERSION: str(inner[_HASH_VERSION])}}}
