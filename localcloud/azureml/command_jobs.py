"""
Command jobs: a folder of code and a line for a shell, with files in and out. The line really runs, in a folder of this machine.

Nothing is built: the `python` of the line is the one that runs this cloud, with its packages, whatever environment the job names. The
process has an environment of its own: no token, no secret and no path of this cloud is in it.

Files come before it starts and go when it has ended. An output of mode Upload goes only if the job ended well; one that is mounted goes
however it ended, because on Azure each of its files is in storage as soon as it is closed (azureml-core, OutputFileDatasetConfig.as_upload
and as_mount; that version 2 does the same is inferred).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud.azureml import datastores as stores
from localcloud.azureml import durations, job_inputs
from localcloud.azureml import site as sites
from localcloud.azureml.datastores import MissingInput
from localcloud.azureml.processes import CommandChild
from localcloud.azureml.records import CommandInput, CommandOrder, CommandOutput, Order
from localcloud.azureml.shapes import jobs as shapes
from localcloud.azureml.shapes import words
from localcloud.azureml.shapes.shape import unplayed
from localcloud.azureml.sizes import SERVERLESS
from localcloud.azureml.wire import Json, Refused

if TYPE_CHECKING:
    from localcloud.azureml.codes import Codes
    from localcloud.azureml.computes import Computes
    from localcloud.azureml.datastores import Datastores
    from localcloud.azureml.environments import Environments
    from localcloud.azureml.records import Job
    from localcloud.azureml.site import Site

LOG = "std_out.txt"  # in the job's folder; Azure shows both outputs as user_logs/std_log.txt
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
_NAMED = re.compile(r"\s*(inputs|outputs)\.([A-Za-z_][A-Za-z0-9_]*)\s*")
_MACRO = re.compile(r"\$\{\{\s*(name|output_name|default_datastore)\s*\}\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # of an input or output: it becomes part of a variable's name
_KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "USER")
_MOUNTED, _UPLOADED, _DIRECT = "ReadWriteMount", "Upload", "Direct"
_PLAYED_INPUT_MODES = ("ReadOnlyMount", "Download", "Direct")


class CommandJobs:
    """What of a job's life is special to a command."""

    def __init__(self, site: Site, *, codes: Codes, environments: Environments, clusters: Computes, datastores: Datastores) -> None:
        self.site = site
        self._codes = codes
        self._environments = environments
        self._clusters = clusters
        self._datastores = datastores

    # ------------------------------------------------------------------------------------------------------------- what is asked

    def check(self, name: str, asked: shapes.Command) -> Order:
        """Return the order of the job `name`; what Azure refuses, and what is not played, is refused with a sentence."""
        _check_played(asked)
        refusal = self._environments.refusal(asked.environment_id)
        if refusal is not None:
            raise Refused(400, "UserError", refusal, detail="EnvironmentNotFound", target="properties.environmentId")
        if asked.code_id and self._codes.by_id(asked.code_id) is None:
            message = f"The code {asked.code_id} was not found; upload and register it."
            raise Refused(400, "UserError", message, detail="CodeNotFound", target="properties.codeId")
        resources = asked.resources or shapes.Resources()
        order = CommandOrder(
            line=asked.command,
            code=asked.code_id or "",
            inputs=_inputs(asked),
            outputs=_outputs(name, asked),
            environment={key: value or "" for key, value in (asked.environment_variables or {}).items()},
            compute=job_inputs.compute_of("properties.computeId", asked.compute_id, self._clusters),
            size=resources.instance_type or "",
            timeout=_timeout(asked),
        )
        _check_line(order)
        return Order(literals={}, assets={}, outputs={}, command=order)

    def unplaceable(self, order: CommandOrder) -> str | None:
        """Return why no machine can ever take the job; None: one can."""
        if order.compute != SERVERLESS:
            return None if order.compute in self._clusters.all else f"The compute {order.compute} is no longer there."
        if order.size and self.site.world.size(order.size) is None:
            return f"SKUNotSupported: {order.size} is not in this region or is retired; set resources.instance_type."
        return None

    # ------------------------------------------------------------------------------------------------------------------ its files

    def fetch(self, order: CommandOrder, folder: Path) -> None:
        """Read code and inputs into the job's folder; raise MissingInput, in Azure's words, where one is not there."""
        _code(folder).mkdir(parents=True)
        for name, output in order.outputs.items():
            self._datastores.place(output.uri, what=f"output {name}")
        if order.code:
            self._codes.fetch(order.code, _code(folder))
        for name, given in order.inputs.items():
            if not given.mode or given.mode == _DIRECT:
                continue
            try:
                self._fetch_input(given, _input(folder, name))
            except MissingInput as error:
                raise MissingInput(_data_access_error(name, given, str(error))) from None

    def _fetch_input(self, given: CommandInput, target: Path) -> None:
        if given.kind == words.Kind.URI_FILE:
            self._datastores.fetch(given.value, target)
        else:
            self._datastores.fetch_folder(given.value, target)
        if given.mode == "ReadOnlyMount":
            for file in target.rglob("*"):
                if file.is_file():
                    file.chmod(0o444)

    def start(self, job: Job, order: CommandOrder, folder: Path) -> CommandChild:
        """Begin, or begin again after this cloud was killed, with empty outputs."""
        shutil.rmtree(folder / "outputs", ignore_errors=True)
        values = self._values(order, folder)
        for name, output in order.outputs.items():
            if output.mode != _DIRECT:
                place = Path(values["outputs", name])
                (place.parent if output.kind == words.Kind.URI_FILE else place).mkdir(parents=True)
        environment = self._environment(job, order, values)
        line = _EXPRESSION.sub(lambda found: values[_named(found[1])], order.line)
        (folder / "job.json").write_text(json.dumps({"command": line}, indent=1))
        return CommandChild(line, _code(folder), log=folder / LOG, environment=environment)

    def send(self, order: CommandOrder, folder: Path, *, good: bool) -> None:
        """Write the outputs to storage: all of a job that ended well, the mounted ones of any other. In no promised order."""
        values = self._values(order, folder)
        for name, output in order.outputs.items():
            place = Path(values["outputs", name])
            if output.mode == _DIRECT or (output.mode == _UPLOADED and not good):
                continue
            if place.exists():
                self._datastores.send(place, output.uri)
            elif good:
                raise MissingInput(f"The output {name} was not written: there is no file {place.name}.")

    def _values(self, order: CommandOrder, folder: Path) -> dict[tuple[str, str], str]:
        """Return what stands for each expression of the line."""
        values: dict[tuple[str, str], str] = {}
        for name, given in order.inputs.items():
            in_a_folder = _input(folder, name)
            if given.kind == words.Kind.URI_FILE:
                in_a_folder /= given.value.rsplit("/", 1)[-1]
            values["inputs", name] = str(in_a_folder) if given.mode not in {"", _DIRECT} else given.value
        for name, output in order.outputs.items():
            place = folder / "outputs" / name
            if output.kind == words.Kind.URI_FILE:
                place /= output.uri.rsplit("/", 1)[-1]
            values["outputs", name] = output.uri if output.mode == _DIRECT else str(place)
        return values

    def _environment(self, job: Job, order: CommandOrder, values: dict[tuple[str, str], str]) -> dict[str, str]:
        """
        Return the variables of the process: Azure's, those of the job, and what a shell needs of this machine's.

        Azure's names as jobs read them in public repositories; AZURE_ML_INPUT_… also in the JSON of a job (microsoft/hi-ml issue 756),
        AZUREML_PARAMETER_… in azure-ai-ml, CommandJob.
        """
        site, experiment = self.site, sites.stable_guid("experiment", job.experiment)
        own = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        own["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        azure = {
            "AZUREML_RUN_ID": job.name,
            "AZUREML_ROOT_RUN_ID": job.name,
            "AZUREML_ARM_SUBSCRIPTION": site.subscription,
            "AZUREML_ARM_RESOURCEGROUP": site.group,
            "AZUREML_ARM_WORKSPACE_NAME": site.workspace,
            "AZUREML_ARM_PROJECT_NAME": job.experiment,
            "AZUREML_WORKSPACE_ID": sites.WORKSPACE_GUID,
            "AZUREML_WORKSPACE_SCOPE": site.workspace_id,
            "AZUREML_EXPERIMENT_ID": experiment,
            "AZUREML_EXPERIMENT_SCOPE": f"{site.workspace_id}/experiments/{job.experiment}",
        }
        for (side, name), value in values.items():
            literal = side == "inputs" and not order.inputs[name].mode
            azure[f"AZUREML_PARAMETER_{name}" if literal else f"AZURE_ML_{side[:-1].upper()}_{name}"] = value
        return own | azure | order.environment


def root_properties(order: CommandOrder) -> dict[str, str]:
    """Return the properties that Azure gives the run of a command (azure-docs and recordings of version 1 and 2 show these)."""
    properties = {"_azureml.ComputeTargetType": "amlctrain"}
    if order.compute != SERVERLESS:
        properties["_azureml.ClusterName"] = order.compute
    if order.code:
        properties["ContentSnapshotId"] = sites.stable_guid("snapshot", order.code)
    return properties | {"ProcessInfoFile": "azureml-logs/process_info.json", "ProcessStatusFile": "azureml-logs/process_status.json"}


def _check_played(asked: shapes.Command) -> None:
    """What would change what happens must not be taken in silence."""
    resources, queue = asked.resources or shapes.Resources(), asked.queue_settings or shapes.Queue()
    unplayed(
        {
            **job_inputs.unplayed_of_any(asked),
            "properties.distribution": asked.distribution,
            "properties.services": asked.services,
            "properties.autologgerSettings": asked.autologger_settings,
            "properties.resources.instanceCount": (resources.instance_count or 1) != 1,
            "properties.resources.maxInstanceCount": (resources.max_instance_count or 1) != 1,
            "properties.resources.dockerArgs": resources.docker_args,
            "properties.resources.dockerArgsList": resources.docker_args_list,
            "properties.resources.locations": resources.locations,
            "properties.queueSettings.jobTier": queue.job_tier == "Spot",
            "properties.command with $[[…]]": "$[[" in asked.command,
        }
    )


def _inputs(asked: shapes.Command) -> dict[str, CommandInput]:
    inputs = {}
    for name, given in (asked.inputs or {}).items():
        path = f"properties.inputs.{name}"
        _check_name(path, name)
        if given is None:
            raise Refused(400, "UserError", f"The input {name} has no value; give it one or leave it out.", target=path)
        if given.kind is words.Kind.LITERAL:
            inputs[name] = CommandInput(kind=given.kind, value=str(given.value), mode="")
            continue
        mode = str(given.mode or "ReadOnlyMount")
        unplayed({f"{path}.mode {mode}": mode not in _PLAYED_INPUT_MODES, f"{path}.pathOnCompute": given.path_on_compute})
        inputs[name] = CommandInput(kind=given.kind, value=str(given.uri), mode=mode)
    return inputs


def _outputs(job: str, asked: shapes.Command) -> dict[str, CommandOutput]:
    outputs = {}
    for name, given in (asked.outputs or {}).items():
        path = f"properties.outputs.{name}"
        _check_name(path, name)
        if given is None:
            raise Refused(400, "UserError", f"The output {name} has no value; give it one or leave it out.", target=path)
        unplayed(
            {
                f"{path}.assetName": given.asset_name,
                f"{path}.assetVersion": given.asset_version,
                f"{path}.autoDeleteSetting": given.auto_delete_setting,
                f"{path}.pathOnCompute": given.path_on_compute,
            }
        )
        macros = {"name": job, "output_name": name, "default_datastore": stores.DEFAULT}
        uri = given.uri or f"azureml://datastores/{stores.DEFAULT}/paths/azureml/{job}/{name}/"  # Azure's default place
        uri = _MACRO.sub(lambda found, known=macros: known[found[1]], uri)  # type: ignore[misc]
        kind = given.job_output_type.today
        uri = uri.rstrip("/") if kind is words.Kind.URI_FILE else uri
        outputs[name] = CommandOutput(kind=kind, uri=uri, mode=str(given.mode or _MOUNTED))
    return outputs


def _check_name(path: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Refused(400, "UserError", f"The name {name} in {path} is invalid; use letters, digits and _, no digit first.", target=path)


def _timeout(asked: shapes.Command) -> float | None:
    text = asked.limits.timeout if asked.limits else None
    if text is None:
        return None
    seconds = durations.seconds(text)
    if seconds is None or seconds <= 0:
        message = f"The job: properties.limits.timeout must be an ISO 8601 duration above 0 such as PT1H, and is {text}."
        raise Refused(400, "UserError", message, target="properties.limits.timeout")
    return seconds


def _check_line(order: CommandOrder) -> None:
    """Refuse an expression that names no input or output of the job."""
    for found in _EXPRESSION.finditer(order.line):
        side, name = _named(found[1])
        known = order.inputs if side == "inputs" else order.outputs if side == "outputs" else {}
        if name not in known:
            names = [f"inputs.{one}" for one in order.inputs] + [f"outputs.{one}" for one in order.outputs]
            message = f"The command names {found[0]}, which the job does not have; it has {', '.join(names) or 'none'}."
            raise Refused(400, "UserError", message, detail="InvalidBindingExpression", target="properties.command")


def _named(expression: str) -> tuple[str, str]:
    """Return side and name in an expression; empty texts where it is another one."""
    match = _NAMED.fullmatch(expression)
    return (match[1], match[2]) if match else ("", "")


def _data_access_error(name: str, given: CommandInput, sentence: str) -> str:
    """Return the text in the form that Azure gives it (public data: Azure/azure-sdk-for-python issue 27318), with our sentence."""
    reason = "DataAccessError(NotFound)"
    details: Json = {
        "code": "data-capability.UriMountSession.PyFuseError",
        "target": name,
        "category": "UserError",
        "error_details": [{"key": "NonCompliantReason", "value": reason}, {"key": "Uri", "value": given.value}],
    }
    return f"{json.dumps({'NonCompliant': reason})}\n{json.dumps(details)}\n{sentence}"


def _code(folder: Path) -> Path:
    return folder / "code"


def _input(folder: Path, name: str) -> Path:
    return folder / "inputs" / name
