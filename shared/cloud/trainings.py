"""
Fine-tune jobs and models through azure-ai-ml, and what it has no method for: metrics.

The SDK validates no input, picks random job names and next model versions by itself, and makes no duplicate check: the
names and the checked parameters all come from the domain. Inputs are azureml:// URIs, so nothing is uploaded by the SDK.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError, ResourceNotFoundError

from shared.cloud import clients
from shared.cloud.answers import translated
from shared.cloud.jobs import Jobs
from shared.domain import names
from shared.domain.recipe import Catalogue, Declared, Recipe
from shared.domain.training import Job
from shared.errors import Stop
from shared.plain import plain
from shared.settings import Settings

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import Component, Model, PipelineJob
    from azure.core.credentials import TokenCredential

NODE = "chat_completion_pipeline"  # as the published example calls the one node
PIPELINE_OUTPUT = "trained_model"
METRICS_MAX = 200  # that are kept of a job: a job may log what it likes, and a record is read at each turn
METRIC_NAME_LENGTH_MAX = 100
MLFLOW_API = "api/2.0/mlflow"


class AzureMlTrainings:
    """The `Trainings` port over one workspace and one registry."""

    def __init__(self, settings: Settings, credential: TokenCredential, jobs: Jobs | None = None) -> None:
        self._settings = settings
        self._credential = credential
        self._jobs = jobs or Jobs(settings, credential)

    @property
    def _workspace(self) -> MLClient:
        return self._jobs.workspace

    @cached_property
    def _registry(self) -> MLClient:
        return clients.ml_client(self._settings, self._credential, registry=self._settings.AZUREML_REGISTRY)

    def catalogue(self) -> Catalogue:
        settings = self._settings
        component = self._component(settings.FINETUNE_COMPONENT, settings.FINETUNE_COMPONENT_VERSION)
        model = self._base_model(settings.BASE_MODEL, settings.BASE_MODEL_VERSION)
        instance_type = self._instance_type()
        return Catalogue(
            component_id=str(component.id),
            component_inputs={name: _declared(spec) for name, spec in component.inputs.items()},
            model_name=str(model.name),
            model_id=str(model.id),
            model_archived=self._archived(str(model.name), str(model.version)),
            model_suggestions=str((model.tags or {}).get("model_specific_defaults", "")),
            compute=settings.COMPUTE or None,
            instance_type=instance_type,
            gpus=self._gpus_of(instance_type),
        )

    def job(self, name: str) -> Job | None:
        seen = self._jobs.seen(name)
        if seen is None:
            return None
        owner, training = seen.tags.get(names.OWNER_TAG), seen.tags.get(names.TRAINING_TAG)
        return Job(name=name, status=seen.status, owner=owner, training=training, failure=seen.failure)

    def submit(self, name: str, *, recipe: Recipe, uris: Mapping[str, str], out: str, tags: Mapping[str, str]) -> None:
        job = self._pipeline(recipe, uris, out)
        job.display_name = recipe.display_name
        job.experiment_name = recipe.experiment_name
        job.tags = dict(tags)
        job.settings.force_rerun = True
        job.settings.continue_on_step_failure = False
        self._jobs.submit(name, job)

    def cancel(self, name: str) -> None:
        self._jobs.cancel(name)

    def metrics(self, job: str) -> dict[str, float]:
        base, path = self._jobs.mlflow_address
        try:
            run = clients.get_json(self._jobs.runs, f"{base}/mlflow/v2.0{path}/{MLFLOW_API}/runs/get", run_id=job)
        except AzureError:  # also a connection that is lost: no number is needed to go on
            return {}
        return metrics_in(run)

    def registered(self, model: str, version: str) -> bool:
        with translated(f"Looking for model {model}"):
            try:
                self._workspace.models.get(model, version=version)
            except ResourceNotFoundError:
                return False
        return True

    def register(self, model: str, version: str, *, job: str, tags: Mapping[str, str]) -> None:
        clients.load_sdk()
        from azure.ai.ml.entities import Model

        path = f"azureml://jobs/{job}/outputs/{PIPELINE_OUTPUT}"
        with translated(f"Registering model {model}"):
            self._workspace.models.create_or_update(
                Model(name=model, version=version, path=path, type="mlflow_model", tags=dict(tags), description=f"Fine-tuned by {job}")
            )

    def _pipeline(self, recipe: Recipe, uris: Mapping[str, str], out: str) -> PipelineJob:
        """
        Return the pipeline job with one node, the registry's component, and every input given by name.

        Not with `dsl.pipeline`: while its function runs, azure-ai-ml (1.35.2) puts each node that any thread of the process makes, also
        by reading another job, into that one pipeline. Two turns at once would pay for each other's data.
        """
        clients.load_sdk()
        from azure.ai.ml import Input, Output
        from azure.ai.ml.entities import PipelineJob

        with translated("Reading the component"):
            component = self._registry.components.get(*_name_and_version(recipe.component_id))
        inputs: dict[str, Any] = {**recipe.parameters, **_compute_inputs(recipe, component)}
        for split in ("train", "validation", "test"):
            inputs[f"{split}_file_path"] = Input(type="uri_file", path=uris[split])
        inputs["mlflow_model_path"] = Input(type="mlflow_model", path=recipe.model_id)
        node = component(**inputs)
        node.name = NODE
        node.outputs["mlflow_model_folder"] = f"${{{{parent.outputs.{PIPELINE_OUTPUT}}}}}"
        return PipelineJob(jobs={NODE: node}, outputs={PIPELINE_OUTPUT: Output(type="mlflow_model", path=out)})

    def _component(self, name: str, version: str) -> Component:
        clients.load_sdk()
        from azure.ai.ml.exceptions import ValidationException  # of the SDK itself, for the label of an asset that is not there

        with translated(f"Looking for component {name} in the registry"):
            try:
                return self._registry.components.get(name, version=version or None, label=None if version else "latest")
            except (ResourceNotFoundError, ValidationException) as error:
                raise Stop(f"The registry has no component {name} {version}.", next_action="Check FINETUNE_COMPONENT.") from error

    def _base_model(self, name: str, version: str) -> Model:
        clients.load_sdk()
        from azure.ai.ml.exceptions import ValidationException  # as for the component

        with translated(f"Looking for model {name} in the registry"):
            try:
                return self._registry.models.get(name, version=version or None, label=None if version else "latest")
            except (ResourceNotFoundError, ValidationException) as error:
                raise Stop(f"The registry has no model {name} {version}.", next_action="Check BASE_MODEL.") from error

    def _archived(self, name: str, version: str) -> bool:
        """Tell whether the registry has archived the model; the SDK's entity drops that, its own `_get` keeps it (1.35.2)."""
        with translated(f"Looking whether model {name} is archived"):
            raw = self._registry.models._get(name, version)
        return bool(raw.properties and raw.properties.is_archived)

    def _instance_type(self) -> str:
        if not self._settings.COMPUTE:
            return self._settings.FINETUNE_INSTANCE_TYPE
        with translated(f"Looking for compute {self._settings.COMPUTE}"):
            try:
                return str(self._workspace.compute.get(self._settings.COMPUTE).size)
            except ResourceNotFoundError as error:
                text = f"The workspace has no compute cluster {self._settings.COMPUTE}."
                raise Stop(text, next_action="Create it, or empty COMPUTE to use serverless compute.") from error

    def _gpus_of(self, instance_type: str) -> int:
        with translated("Reading the VM sizes"):
            sizes = self._workspace.compute.list_sizes()
            return next((int(s.gpus or 0) for s in sizes if s.name.lower() == instance_type.lower()), 0)


def metrics_in(answer: Any) -> dict[str, float]:
    """Return the finite numbers that a job logged, METRICS_MAX at most, of an answer of MLflow's REST API (runs/get)."""
    found: dict[str, float] = {}
    with contextlib.suppress(AttributeError, KeyError, TypeError):
        for one in answer["run"]["data"].get("metrics", []):
            with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError, OverflowError):
                value = float(one["value"])
                if math.isfinite(value) and len(found) < METRICS_MAX:
                    found[plain(str(one["key"]), limit=METRIC_NAME_LENGTH_MAX)] = value
    return found


def _name_and_version(asset_id: str) -> tuple[str, str]:
    """Read azureml://registries/R/components/N/versions/V."""
    parts = asset_id.split("/")
    return parts[parts.index("components") + 1], parts[parts.index("versions") + 1]


def _compute_inputs(recipe: Recipe, component: Component) -> dict[str, Any]:
    """Return the inputs that say where each step runs; with a cluster the instance types are left to their defaults."""
    steps = ("model_import", "preprocess", "finetune")
    if recipe.compute:
        inputs: dict[str, Any] = {f"compute_{step}": recipe.compute for step in steps}
    else:
        inputs = {f"instance_type_{step}": recipe.instance_type for step in steps}
    inputs["number_of_gpu_to_use_finetuning"] = recipe.gpus
    return {name: value for name, value in inputs.items() if name in component.inputs}


def _declared(spec: Any) -> Declared:
    return Declared(
        type=str(spec.type),
        enum=tuple(str(value) for value in (spec.enum or ())),
        minimum=float(spec.min) if spec.min is not None else None,
        default=None if spec.default is None else str(spec.default),
    )
