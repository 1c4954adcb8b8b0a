"""
Environments of jobs: an image and a conda file under a name and a version. None is built: a job runs with this machine's own packages.

The public registry's curated environments are taken by their address and not looked up: what it has is not known here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from localcloud.azureml import assets, paging, views
from localcloud.azureml.records import Environment
from localcloud.azureml.routes import WORKSPACE, Call, Route
from localcloud.azureml.shapes import environments as shapes
from localcloud.azureml.shapes import queries
from localcloud.azureml.shapes.shape import unplayed
from localcloud.azureml.store import Shelf
from localcloud.azureml.wire import Json, Refused, Response, answer, text_map

if TYPE_CHECKING:
    from localcloud.azureml.ground import Ground

FIXED = ("image", "condaFile", "osType")  # what makes an environment another one
_CURATED = r"azureml://registries/{registry}/environments/[^/]+/(?:versions|labels)/[^/]+"


class Environments:
    """All environment versions of the workspace."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.site = ground.site
        self.all = Shelf(ground.store, "environment", Environment)

    def routes(self) -> list[Route]:
        every, one = WORKSPACE + "/environments", WORKSPACE + "/environments/{name}"
        return [
            Route(
                method="GET",
                path=every,
                handler=self._containers,
                query=queries.ENVIRONMENTS,
                does="names of the environments",
                differs="without Azure's curated ones",
            ),
            Route(method="GET", path=one, handler=self._container, does="one name with its latest version"),
            Route(
                method="GET",
                path=one + "/versions",
                handler=self._list,
                query=queries.ENVIRONMENT_VERSIONS,
                does="versions of an environment",
            ),
            Route(method="GET", path=one + "/versions/{version}", handler=self._get, does="one version of an environment"),
            Route(
                method="PUT",
                path=one + "/versions/{version}",
                handler=self._put,
                does="an image with a conda file; change tags; archive or restore",
                differs="nothing is built, and no conda file is read",
            ),
        ]

    def refusal(self, asset_id: str) -> str | None:
        """Return why a job cannot have this environment; None: it can."""
        if re.fullmatch(_CURATED.format(registry=re.escape(self.site.registry)), asset_id):
            return None
        key = assets.key_of(self.site, "environments", asset_id)
        if key is not None and key in self.all:
            return None
        return f"The environment {asset_id} was not found; register it, or name one of registry {self.site.registry}."

    def _named(self, name: str) -> list[Environment]:
        """Return all versions of a name, the newest first; refuse a name that nothing has."""
        found = [one for one in reversed(self.all.values()) if one.name == name]
        if not found:
            raise assets.not_found(name, "EnvironmentNotFound")
        return found

    def _containers(self, call: Call) -> Response:
        shown = views.shown(call.request.query)
        names = [name for name in dict.fromkeys(one.name for one in self.all.values()) if self._archived(name) in shown]
        return paging.page(call, self.site, names, key=str, shown=self._container_body)

    def _archived(self, name: str) -> bool:
        return all(one.properties["isArchived"] for one in self._named(name))

    def _container(self, call: Call) -> Response:
        return answer(self._container_body(call["name"]))

    def _list(self, call: Call) -> Response:
        query = call.request.query
        queries.only(query, queries.PLAYED_OF_ENVIRONMENT_VERSIONS, call.request.path)
        shown = views.shown(query)
        found = [one for one in self._named(call["name"]) if one.properties["isArchived"] in shown]
        return paging.page(call, self.site, found, key=lambda one: one.version, shown=self._body)

    def _get(self, call: Call) -> Response:
        return answer(self._body(assets.held(self.all, call, "EnvironmentNotFound")))

    def _put(self, call: Call) -> Response:
        name, version, body = call["name"], call["version"], call.request.json()
        assets.check_name("environment", name, version)
        shape = shapes.VERSION.read(body, version=call.request.query["api-version"], name=version).properties
        unplayed(
            {
                "properties.build": shape.build,
                "properties.autoRebuild": shape.auto_rebuild == "OnBaseImageUpdate",
                "properties.inferenceConfig": shape.inference_config,
                "properties.autoDeleteSetting": shape.auto_delete_setting,
                "properties.intellectualProperty": shape.intellectual_property,
            }
        )
        if not shape.image:
            raise Refused(400, "UserError", "An environment version: image has no value; name the base image.", target="properties.image")
        asked: Json = body["properties"]
        tags, properties = (text_map(asked, key, "An environment version") for key in ("tags", "properties"))
        kept = {
            "description": shape.description,
            "tags": tags,
            "properties": properties,
            "isArchived": bool(shape.is_archived),
            "isAnonymous": bool(shape.is_anonymous),
            "environmentType": "UserCreated",
            "image": shape.image,
            "condaFile": shape.conda_file,
            "osType": str(shape.os_type or "Linux"),
            "autoRebuild": "Disabled",
            "stage": shape.stage,
            "provisioningState": "Succeeded",
        }
        old, now = self.all.get(f"{name}:{version}"), self.ground.now()
        if old is not None:
            _check_same(old, kept)
        made = Environment(name=name, version=version, properties=kept, created=old.created if old else now, modified=now)
        self.all.save(made.key, made)
        if old is not None:
            return answer(self._body(made))
        location = self.site.address(f"environments/{name}/versions/{version}", call.request.query["api-version"])
        return answer(self._body(made), 201, {"Location": location})

    def _container_body(self, name: str) -> Json:
        versions = self._named(name)
        properties = assets.container(versions, archived=self._archived(name))
        return self.site.resource(f"environments/{name}", "environments", properties, versions[-1].created, versions[0].created)

    def _body(self, one: Environment) -> Json:
        path = f"environments/{one.name}/versions/{one.version}"
        return self.site.resource(path, "environments/versions", one.properties, one.created, one.modified)


def _check_same(old: Environment, kept: Json) -> None:
    """Refuse another content under a used version with the status that azure-ai-ml takes for "it exists" [read]."""
    changed = [key for key in FIXED if old.properties[key] != kept[key]]
    if changed:
        message = f"The environment {old.key} exists with another {', '.join(changed)}; register a new version."
        raise Refused(409, "UserError", message, target=f"properties.{changed[0]}")
