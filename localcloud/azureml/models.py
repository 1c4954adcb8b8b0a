"""
Registered models: a name, a version and where its files are: the output of a job, or a path in a datastore that a client uploaded to.
The path of a version never changes. Only what a job left can be deployed here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud.azureml import assets, model_folder, paging, views
from localcloud.azureml.jobs import MODEL_OUTPUT, has_tags
from localcloud.azureml.records import Model
from localcloud.azureml.routes import WORKSPACE, Call, Route
from localcloud.azureml.shapes import models as shapes
from localcloud.azureml.shapes import queries
from localcloud.azureml.shapes.shape import unplayed
from localcloud.azureml.store import Shelf
from localcloud.azureml.wire import Json, Refused, Response, answer, mapping, text_map

if TYPE_CHECKING:
    from collections.abc import Callable

    from localcloud.azureml.events import Announcer
    from localcloud.azureml.ground import Ground
    from localcloud.azureml.jobs import Jobs

KINDS = ("mlflow_model", "custom_model", "triton_model")
UNTYPED = "custom_model"  # what a version without a type is; a guess. The REST samples of Microsoft's documentation leave the type out
STAGE = "Development"  # of a version whose client names none [recorded: azure-ai-ml 1.26 and 1.32, 2023-08-01-preview]
_STORED = re.compile(
    r"azureml://(?:subscriptions/(?P<subscription>[^/]+)/resourcegroups/(?P<group>[^/]+)/workspaces/(?P<workspace>[^/]+)/)?"
    r"datastores/(?P<store>[^/]+)/paths/(?P<path>.+)",
    re.IGNORECASE,
)
_OUTPUT = re.compile(r"azureml://jobs/(?P<job>[^/]+)/outputs/(?P<output>[^/]+?)(?:/paths/?)?/?")


class Models:
    """All model versions of the workspace."""

    def __init__(self, ground: Ground, jobs: Jobs, announcer: Announcer) -> None:
        self.ground = ground
        self.site = ground.site
        self.jobs = jobs
        self.all = Shelf(ground.store, "model", Model)
        self._announcer = announcer
        self.shared: Callable[[str], Model | None] = lambda _: None  # given by the room of shared models; takes the id of one

    def routes(self) -> list[Route]:
        versions = WORKSPACE + "/models/{name}/versions"
        return [
            Route(
                method="GET", path=WORKSPACE + "/models", handler=self._containers, query=queries.MODELS, does="list the names of models"
            ),
            Route(method="GET", path=WORKSPACE + "/models/{name}", handler=self._container, does="one name with its latest version"),
            Route(
                method="PUT",
                path=WORKSPACE + "/models/{name}",
                handler=self._put_container,
                does="archive or restore all versions of a name",
            ),
            Route(method="GET", path=versions, handler=self._list, query=queries.MODEL_VERSIONS, does="list the versions of a model"),
            Route(method="GET", path=versions + "/{version}", handler=self._get, does="one version of a model"),
            Route(
                method="PUT",
                path=versions + "/{version}",
                handler=self._put,
                does="register the output of a job, or an upload in a datastore; change tags; archive or restore",
                differs="a job's MLflow folder is checked file by file, in Azure less, it seems; an upload is not checked, nor deployed",
            ),
        ]

    def by_id(self, asset_id: str) -> Model | None:
        """Return the model that an ARM id, `azureml:name:version` or the id of a shared one names; None: there is none."""
        arm = re.fullmatch(re.escape(self.site.workspace_id) + r"/models/([^/]+)/versions/([^/]+)", asset_id, re.IGNORECASE)
        short = re.fullmatch(r"azureml:([^:/]+):([^:/]+)", asset_id)
        found = arm or short
        return self.all.get(f"{found[1]}:{found[2]}") if found else self.shared(asset_id)

    def folder(self, model: Model) -> Path:
        """Return where the MLflow folder of the model lies: the output of its job."""
        return self.jobs.out(self.jobs.all[model.job])

    def _containers(self, call: Call) -> Response:
        shown = views.shown(call.request.query)
        names = [name for name in dict.fromkeys(model.name for model in self.all.values()) if self._archived(name) in shown]
        return paging.page(call, self.site, names, key=str, shown=self._container_body)

    def _archived(self, name: str) -> bool:
        """A name is archived when all its versions are."""
        return all(model.properties["isArchived"] for model in self._versions(name))

    def _container(self, call: Call) -> Response:
        if not self._versions(call["name"]):
            raise _not_found(f"Could not find asset with ID: {call['name']}")
        return answer(self._container_body(call["name"]))

    def _put_container(self, call: Call) -> Response:
        """Archive or restore every version: what the SDK asks for when it archives a model without naming one."""
        versions, body = self._versions(call["name"]), call.request.json()
        if not versions:
            raise _not_found(f"Could not find asset with ID: {call['name']}")
        asked = shapes.CONTAINER.read(body, version=call.request.query["api-version"], name=call["name"]).properties
        for model in versions:
            model.properties["isArchived"] = bool(asked.is_archived)
            model.modified = self.ground.now()
            self.all.save(model.key, model)
        return answer(self._container_body(call["name"]))

    def _list(self, call: Call) -> Response:
        query = call.request.query
        queries.only(query, queries.PLAYED_OF_MODEL_VERSIONS, call.request.path)
        shown, stage = views.shown(query), query.get("stage")
        every = self._versions(call["name"])
        if not every:  # not an empty list [recorded: azure-ai-ml 1.26]
            raise _not_found(f"Model container with name: {call['name']} not found.")
        found = [model for model in every if model.properties["isArchived"] in shown]
        found = [model for model in found if not stage or model.properties.get("stage") == stage]
        found = [model for model in found if has_tags(model.properties["tags"], query.get("tags"))]
        return paging.page(call, self.site, found, key=lambda model: model.version, shown=self._body)

    def _get(self, call: Call) -> Response:
        return answer(self._body(assets.held(self.all, call, "ModelNotFound")))

    def _put(self, call: Call) -> Response:
        name, version, body = call["name"], call["version"], call.request.json()
        assets.check_name("model", name, version)
        shape = shapes.VERSION.read(body, version=call.request.query["api-version"], name=version).properties
        unplayed(
            {
                "properties.isAnonymous": shape.is_anonymous,
                "properties.autoDeleteSetting": shape.auto_delete_setting,
                "properties.intellectualProperty": shape.intellectual_property,
                "properties.datasets": shape.datasets,
            }
        )
        asked: Json = body["properties"]
        tags, properties = text_map(asked, "tags", "A model version"), text_map(asked, "properties", "A model version")
        old = self.all.get(f"{name}:{version}")
        now = self.ground.now()
        if old is not None:
            if self._long(str(asked.get("modelUri"))) != old.properties["modelUri"]:
                status = int(self.ground.switches.immutable_status)
                raise Refused(status, "UserError", "Asset paths cannot be updated.", inner=("Immutable", "AssetPathImmutable"))
            kind = asked.get("modelType") or old.properties["modelType"]
            if kind != old.properties["modelType"]:
                message = (
                    f"The model {old.key} has modelType {old.properties['modelType']}, which cannot become {kind}; register a new version."
                )
                raise Refused(int(self.ground.switches.immutable_status), "UserError", message, target="properties.modelType")
            old.properties |= {"tags": tags, "properties": properties, "isArchived": bool(asked.get("isArchived"))}
            old.properties["description"] = asked.get("description")
            old.properties["stage"] = shape.stage or old.properties.get("stage", STAGE)
            old.modified = now
            self.all.save(old.key, old)
            return answer(self._body(old))
        uri, kind = self._long(str(asked.get("modelUri"))), asked.get("modelType") or UNTYPED
        job_name, flavors = ("", mapping(asked, "flavors", "A model version")) if self._is_stored(uri, kind) else self._resolve(uri, kind)
        kept = {
            "description": asked.get("description"),
            "tags": tags,
            "properties": properties,
            "isArchived": bool(asked.get("isArchived")),
            "isAnonymous": False,
            "flavors": flavors,
            "jobName": job_name or None,
            "modelType": kind,
            "modelUri": uri,
            "stage": shape.stage or STAGE,
            "provisioningState": "Succeeded",
        }
        model = Model(name=name, version=version, properties=kept, job=job_name, created=now, modified=now)
        self.all.save(model.key, model)
        self._announcer.model_registered(name, version, tags=tags, properties=properties)
        location = self.site.address(f"models/{name}/versions/{version}", call.request.query["api-version"])
        return answer(self._body(model), 201, {"Location": location})  # [recorded]

    def _long(self, uri: str) -> str:
        """Return the path of an upload as Azure answers it: with subscription, group and workspace [recorded]. Others are as they came."""
        stored = _STORED.fullmatch(uri)
        if stored is None:
            return uri
        site = self.site
        ours = (site.subscription, site.group, site.workspace)
        named = stored.group("subscription", "group", "workspace")
        if stored["workspace"] and tuple(map(str.lower, named)) != tuple(map(str.lower, ours)):
            raise _path_not_found(f"The path {uri} is in another workspace than {site.workspace}.")
        if stored["store"] not in site.datastores:
            raise _path_not_found(f"The datastore {stored['store']} of path {uri} was not found; there are {', '.join(site.datastores)}.")
        if ".." in stored["path"].split("/"):
            raise _path_not_found(f"The path {uri} leaves its datastore; remove the '..'.")
        place = "subscriptions/{}/resourceGroups/{}/workspaces/{}".format(*ours)
        return f"azureml://{place}/datastores/{stored['store']}/paths/{stored['path']}"

    def _is_stored(self, uri: str, kind: str) -> bool:
        """Say whether the model is an upload."""
        if not _STORED.fullmatch(uri):
            return False
        if kind not in KINDS:
            raise Refused(400, "UserError", f"A model version: modelType must be one of {', '.join(KINDS)}, and is {kind}.")
        return True

    def _resolve(self, uri: str, kind: str) -> tuple[str, Json]:
        """Return job and flavors behind the path of a model; the client sends it unresolved."""
        match = _OUTPUT.fullmatch(uri)
        if match is None or kind != "mlflow_model":
            message = (
                "The local cloud registers mlflow_model from azureml://jobs/<job>/outputs/<output>, and any model from "
                f"azureml://datastores/<datastore>/paths/<path>; this is {kind} from {uri}."
            )
            raise Refused(501, "NotImplementedByLocalCloud", message)
        job = self.jobs.all.get(match["job"])
        bound = job.order.outputs.get(match["output"]) if job else None
        if job is None or bound is None:
            raise _no_artifacts(f"No matching artifacts found from job {match['job']} for output {match['output']}.")
        if bound != MODEL_OUTPUT or job.status != "Completed":
            message = f"The path {uri} does not exist in storage: the job is {job.status} and its output is {bound}."
            raise _path_not_found(message)
        try:
            flavors = model_folder.check(self.jobs.out(job))
            return job.name, {flavor: {"data": data} for flavor, data in flavors.items()}
        except model_folder.BadModel as error:
            raise _path_not_found(f"The path {uri} holds no MLflow model: {error}.") from None

    def _versions(self, name: str) -> list[Model]:
        """Return all versions of a name, the newest first."""
        return [model for model in reversed(self.all.values()) if model.name == name]

    def _container_body(self, name: str) -> Json:
        versions = self._versions(name)
        properties = assets.container(versions, archived=self._archived(name))
        return self.site.resource(f"models/{name}", "models", properties, versions[-1].created, versions[0].created)

    def _body(self, model: Model) -> Json:
        path = f"models/{model.name}/versions/{model.version}"
        return self.site.resource(path, "models/versions", model.properties, model.created, model.modified)


def _not_found(message: str) -> Refused:
    return Refused(404, "UserError", message, detail="ModelNotFound", inner=("NotFound", "ModelNotFound"))


def _path_not_found(message: str) -> Refused:
    inner = ("BadArgument", "ModelAssetPathNotFoundInStorage")
    return Refused(400, "UserError", message, detail="ModelAssetPathNotFoundInStorage", inner=inner)


def _no_artifacts(message: str) -> Refused:
    inner = ("BadArgument", "NoMatchingArtifactsFoundFromJob")
    return Refused(400, "UserError", message, detail="NoMatchingArtifactsFoundFromJob", inner=inner)
