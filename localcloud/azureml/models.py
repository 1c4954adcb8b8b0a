"""
Registered models: a name, a version and the output of a job. The path of a version never changes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud.azureml import model_folder
from localcloud.azureml.jobs import has_tags
from localcloud.azureml.routes import WORKSPACE, Call, Route
from localcloud.azureml.wire import Json, Refused, Response, answer, known_only, mapping, text_map

if TYPE_CHECKING:
    from localcloud.azureml.jobs import Jobs
    from localcloud.azureml.site import Site

FIELDS = frozenset({
    "description", "tags", "properties", "modelType", "modelUri", "isAnonymous", "isArchived", "flavors", "jobName", "stage",
    "autoDeleteSetting", "intellectualProperty", "datasets", "provisioningState", "systemMetadata",
})  # fmt: skip
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9\-_.]{0,254}")  # names and versions of assets
_OUTPUT = re.compile(r"azureml://jobs/(?P<job>[^/]+)/outputs/(?P<output>[^/]+?)(?:/paths/?)?/?")


@dataclass(kw_only=True)
class Model:
    """One version of a model."""

    name: str
    version: str
    properties: Json
    folder: Path
    created: datetime
    modified: datetime


class Models:
    """All model versions of the workspace."""

    def __init__(self, site: Site, jobs: Jobs) -> None:
        self.site = site
        self.jobs = jobs
        self.all: dict[tuple[str, str], Model] = {}

    def routes(self) -> list[Route]:
        versions = WORKSPACE + "/models/{name}/versions"
        return [
            Route(method="GET", path=WORKSPACE + "/models", handler=self._containers),
            Route(method="GET", path=WORKSPACE + "/models/{name}", handler=self._container),
            Route(method="GET", path=versions, handler=self._list),
            Route(method="GET", path=versions + "/{version}", handler=self._get),
            Route(method="PUT", path=versions + "/{version}", handler=self._put),
        ]

    def by_id(self, asset_id: str) -> Model | None:
        """Return the model that an ARM id or `azureml:name:version` names; None: there is none."""
        arm = re.fullmatch(re.escape(self.site.workspace_id) + r"/models/([^/]+)/versions/([^/]+)", asset_id, re.IGNORECASE)
        short = re.fullmatch(r"azureml:([^:/]+):([^:/]+)", asset_id)
        found = arm or short
        return self.all.get((found[1], found[2])) if found else None

    def _containers(self, call: Call) -> Response:  # noqa: ARG002
        names = dict.fromkeys(name for name, _ in self.all)
        return answer({"value": [self._container_body(name) for name in names]})

    def _container(self, call: Call) -> Response:
        if not self._versions(call["name"]):
            raise _not_found(f"Could not find asset with ID: {call['name']}")
        return answer(self._container_body(call["name"]))

    def _list(self, call: Call) -> Response:
        query = call.request.query
        view = query.get("listViewType", "ActiveOnly")
        found = [model for model in self._versions(call["name"]) if _visible(model, view)]
        found = [model for model in found if has_tags(model.properties["tags"], query.get("tags"))]
        return answer({"value": [self._body(model) for model in found[: int(query.get("$top", "100"))]]})

    def _get(self, call: Call) -> Response:
        model = self.all.get((call["name"], call["version"]))
        if model is None:
            raise _not_found(f"Could not find asset with ID: {call['name']}:{call['version']}")
        return answer(self._body(model))

    def _put(self, call: Call) -> Response:
        name, version, body = call["name"], call["version"], call.request.json()
        known_only(body, frozenset({"properties", "id", "name", "type", "systemData"}), "A model version")
        asked = mapping(body, "properties", "A model version")
        known_only(asked, FIELDS, "A model version's properties")
        if not NAME.fullmatch(name) or not NAME.fullmatch(version):
            raise Refused(400, "UserError", f"The model name or version '{name}:{version}' is invalid; use letters, digits, -, _ and dots.")
        tags, properties = text_map(asked, "tags", "A model version"), text_map(asked, "properties", "A model version")
        old = self.all.get((name, version))
        now = self.site.clock()
        if old is not None:
            if asked.get("modelUri") != old.properties["modelUri"]:
                raise Refused(400, "UserError", "Asset paths cannot be updated.", inner=("Immutable", "AssetPathImmutable"))
            old.properties |= {"tags": tags, "properties": properties, "isArchived": bool(asked.get("isArchived"))}
            old.properties["description"] = asked.get("description") or ""
            old.modified = now
            return answer(self._body(old))
        job_name, folder, flavors = self._resolve(str(asked.get("modelUri")), str(asked.get("modelType")))
        kept = {
            "description": asked.get("description") or "",
            "tags": tags,
            "properties": properties,
            "isArchived": bool(asked.get("isArchived")),
            "isAnonymous": False,
            "flavors": {flavor: {"data": data} for flavor, data in flavors.items()},
            "jobName": job_name,
            "modelType": "mlflow_model",
            "modelUri": asked["modelUri"],
            "provisioningState": "Succeeded",
        }
        model = Model(name=name, version=version, properties=kept, folder=folder, created=now, modified=now)
        self.all[name, version] = model
        return answer(self._body(model), 201)

    def _resolve(self, uri: str, kind: str) -> tuple[str, Path, dict[str, dict[str, str]]]:
        """Return job, folder and flavors behind the path of a model; the client sends it unresolved."""
        match = _OUTPUT.fullmatch(uri)
        if match is None or kind != "mlflow_model":
            message = f"The local cloud registers mlflow_model from azureml://jobs/<job>/outputs/<output>, and this is {kind} from {uri}."
            raise Refused(501, "NotImplementedByLocalCloud", message)
        job = self.jobs.all.get(match["job"])
        bound = job.order.outputs.get(match["output"]) if job else None
        if job is None or bound is None:
            raise _no_artifacts(f"No matching artifacts found from job {match['job']} for output {match['output']}.")
        if bound != "mlflow_model_folder" or job.status != "Completed":
            message = f"The path {uri} does not exist in storage: the job is {job.status} and its output is {bound}."
            raise _path_not_found(message)
        try:
            return job.name, job.out, model_folder.check(job.out)
        except model_folder.BadModel as error:
            raise _path_not_found(f"The path {uri} holds no MLflow model: {error}.") from None

    def _versions(self, name: str) -> list[Model]:
        """Return all versions of a name, the newest first."""
        return [model for (of, _), model in reversed(self.all.items()) if of == name]

    def _container_body(self, name: str) -> Json:
        versions = self._versions(name)
        properties = {"description": "", "tags": {}, "properties": {}, "isArchived": False, "latestVersion": versions[0].version}
        return self.site.resource(f"models/{name}", "models", properties, versions[-1].created, versions[0].created)

    def _body(self, model: Model) -> Json:
        path = f"models/{model.name}/versions/{model.version}"
        return self.site.resource(path, "models/versions", model.properties, model.created, model.modified)


def _visible(model: Model, view: str) -> bool:
    archived = bool(model.properties["isArchived"])
    return {"ActiveOnly": not archived, "ArchivedOnly": archived, "All": True}.get(view, False)


def _not_found(message: str) -> Refused:
    return Refused(404, "UserError", message, detail="ModelNotFound", inner=("NotFound", "ModelNotFound"))


def _path_not_found(message: str) -> Refused:
    inner = ("BadArgument", "ModelAssetPathNotFoundInStorage")
    return Refused(400, "UserError", message, detail="ModelAssetPathNotFoundInStorage", inner=inner)


def _no_artifacts(message: str) -> Refused:
    inner = ("BadArgument", "NoMatchingArtifactsFoundFromJob")
    return Refused(400, "UserError", message, detail="NoMatchingArtifactsFoundFromJob", inner=inner)
