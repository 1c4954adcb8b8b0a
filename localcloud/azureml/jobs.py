"""
Jobs: asked for by a PUT, carried through Azure's statuses by what really happens, ended by their trainer or by a cancel.

A name is a lock: a second PUT with other content is refused for ever. One trainer child a running job; the cluster's nodes
bound how many run. Every change of a status is an event. The order of the statuses is the table MOVES and nothing else.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from localcloud.azureml import component, job_inputs
from localcloud.azureml import site as sites
from localcloud.azureml.datastores import MissingInput
from localcloud.azureml.processes import Child
from localcloud.azureml.routes import WORKSPACE, Call, Route
from localcloud.azureml.wire import Json, Refused, Response, answer

if TYPE_CHECKING:
    from localcloud.azureml.computes import Computes
    from localcloud.azureml.datastores import Datastores
    from localcloud.azureml.events import Announcer
    from localcloud.azureml.faults import Faults
    from localcloud.azureml.operations import Operation, Operations
    from localcloud.azureml.registry import Registry
    from localcloud.azureml.site import Site

MOVES: Mapping[str, frozenset[str]] = {
    "NotStarted": frozenset({"Starting", "CancelRequested"}),
    "Starting": frozenset({"Preparing", "Failed", "CancelRequested"}),
    "Preparing": frozenset({"Queued", "Failed", "CancelRequested"}),
    "Queued": frozenset({"Running", "Failed", "CancelRequested"}),
    "Running": frozenset({"Finalizing", "Failed", "CancelRequested"}),
    "Finalizing": frozenset({"Completed", "Failed", "CancelRequested"}),
    "CancelRequested": frozenset({"Canceled"}),
    "Completed": frozenset(),
    "Failed": frozenset(),
    "Canceled": frozenset(),
}
TERMINAL = frozenset(status for status, following in MOVES.items() if not following)
IMMUTABLE = ("jobType", "inputs", "outputs", "jobs", "settings")  # the rest may be changed by another PUT
FILES = {"train_file_path": "train", "validation_file_path": "validation", "test_file_path": "test"}
FETCHERS = 2  # jobs whose inputs are read at the same time
Identical = Literal["ok", "refused"]  # what Azure does with an identical second PUT is not known: both can be played
_EXISTS = (
    "A job with this name already exists. If you are trying to create a new job, use a different name. If you are trying to update an "
    "existing job, the existing job's Settings, Inputs, Outputs, Jobs, InputBindings, OutputBindings cannot be changed. "
    "Only description, tags, displayName, properties, and isArchived can be updated."
)


@dataclass(kw_only=True)
class Step:
    """One run below the pipeline."""

    name: str
    run_id: str
    status: str = "NotStarted"
    started: datetime | None = None
    ended: datetime | None = None


@dataclass(kw_only=True)
class Job:
    """One pipeline job and what became of it."""

    name: str
    properties: Json  # as asked for; status and services are added in the answer
    order: job_inputs.Order
    created: datetime
    folder: Path
    steps: list[Step]
    status: str = "NotStarted"
    started: datetime | None = None
    ended: datetime | None = None
    error: tuple[str, str] | None = None  # code and sentence; None: no failure
    fault: str | None = None  # a test wants it to fail with these words
    files: Future[dict[str, Path]] | None = None  # None: not asked for yet
    child: Child | None = None
    cancels: list[Operation] = field(default_factory=list)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def experiment(self) -> str:
        return str(self.properties.get("experimentName") or "Default")


class Jobs:
    """All jobs of the workspace."""

    def __init__(
        self,
        site: Site,
        *,
        registry: Registry,
        clusters: Computes,
        datastores: Datastores,
        operations: Operations,
        announcer: Announcer,
        faults: Faults,
        trainer: Sequence[str],
        identical_job_put: Identical = "refused",
    ) -> None:
        self.site = site
        self.all: dict[str, Job] = {}
        self._registry = registry
        self._clusters = clusters
        self._datastores = datastores
        self._operations = operations
        self._announcer = announcer
        self._faults = faults
        self._trainer = tuple(trainer)
        self._identical = identical_job_put
        self._fetchers = ThreadPoolExecutor(max_workers=FETCHERS, thread_name_prefix="job-inputs")

    # ---------------------------------------------------------------------------------------------------------- requests

    def routes(self) -> list[Route]:
        return [
            Route(method="GET", path=WORKSPACE + "/jobs", handler=self._list),
            Route(method="GET", path=WORKSPACE + "/jobs/{name}", handler=self._get),
            Route(method="PUT", path=WORKSPACE + "/jobs/{name}", handler=self._put),
            Route(method="POST", path=WORKSPACE + "/jobs/{name}/cancel", handler=self._cancel),
        ]

    def find(self, name: str) -> Job:
        """Return the job; refuse as Azure does when there is none."""
        if name not in self.all:
            message = f"Not found: run {name} does not exist in workspace {self.site.workspace}."
            raise Refused(404, "UserError", message, detail="RunNotFound")
        return self.all[name]

    def experiment_id(self, job: Job) -> str:
        return sites.stable_guid("experiment", job.experiment)

    def root_run(self, job: Job) -> Json:
        """Return what an event and run history say of the pipeline's own run."""
        properties = {"azureml.runsource": "azureml.PipelineRun", "azureml.pipelineComponent": "pipelinerun"}
        properties |= job.properties.get("properties") or {}
        run = {"runId": job.name, "runType": "azureml.PipelineRun", "status": job.status}
        return run | {"tags": job.properties.get("tags") or {}, "properties": properties}

    def step_run(self, step: Step) -> Json:
        """Return the same of one step."""
        run = {"runId": step.run_id, "runType": "azureml.StepRun", "status": step.status}
        return run | {"tags": {}, "properties": {"azureml.runsource": "azureml.StepRun"}}

    def _list(self, call: Call) -> Response:
        wanted = call.request.query.get("tag")
        archived = call.request.query.get("listViewType", "ActiveOnly")
        found = [job for job in reversed(self.all.values()) if _listed(job.properties, wanted, archived)]
        return answer({"value": [self._body(job) for job in found]})

    def _get(self, call: Call) -> Response:
        return answer(self._body(self.find(call["name"])))

    def _put(self, call: Call) -> Response:
        name, body = call["name"], call.request.json()
        order = job_inputs.check(name, body, self._registry, self._clusters)
        old = self.all.get(name)
        if old is not None:
            return self._put_again(old, body["properties"])
        refusal = self._faults.take("jobs", "refuse_next")
        if refusal is not None:
            raise Refused(400, "UserError", refusal)
        steps = [Step(name=step, run_id=sites.stable_guid("step", name, step)) for step in component.STEPS]
        job = Job(
            name=name,
            properties=body["properties"],
            order=order,
            created=self.site.clock(),
            folder=self.site.folder / "jobs" / name,
            steps=steps,
            fault=self._faults.take("jobs", "fail_next"),
        )
        self.all[name] = job
        self._tell_root(job)
        return answer(self._body(job), 201)

    def _put_again(self, job: Job, fresh: Json) -> Response:
        """A name is used once: other content is refused, other tags are taken, and the same again is a matter of the switch."""
        changed = [key for key in IMMUTABLE if fresh.get(key) != job.properties.get(key)]
        identical = not changed and {k: v for k, v in fresh.items() if v} == {k: v for k, v in job.properties.items() if v}
        if changed or (identical and self._identical == "refused"):
            raise Refused(400, "UserError", _EXISTS, detail="JobPropertyImmutable", inner=("Immutable", "JobPropertyImmutable"))
        tags = {**(job.properties.get("tags") or {}), **(fresh.get("tags") or {})}  # Azure never drops a job's tag
        job.properties = {**fresh, "tags": tags}
        return answer(self._body(job))

    def _cancel(self, call: Call) -> Response:
        job = self.find(call["name"])
        if job.status in TERMINAL:
            return Response(status=200)
        if job.status != "CancelRequested":
            if job.child:
                job.child.kill()
            self._move(job, "CancelRequested")
        operation = self._operations.begin("jobidp", "Canceling", call.request.query["api-version"])
        job.cancels.append(operation)
        headers = dict(self._operations.headers(operation))
        del headers["Azure-AsyncOperation"]  # this operation is followed by its Location alone
        return Response(status=202, headers=headers)

    def _body(self, job: Job) -> Json:
        tracking = f"azureml://{self.site.host}/mlflow/v1.0{self.site.workspace_id}?"
        services = {
            "Tracking": {"jobServiceType": "Tracking", "endpoint": tracking},
            "Studio": {"jobServiceType": "Studio", "endpoint": f"{self.site.base}/_localcloud/state#{job.name}"},
        }
        properties = {**job.properties, "status": job.status, "services": services}
        if job.status != "NotStarted":
            properties["properties"] = self.root_run(job)["properties"]
        return self.site.resource(f"jobs/{job.name}", "jobs", properties, job.created)

    # -------------------------------------------------------------------------------------------------------------- life

    def advance(self) -> None:
        """Carry every job that is not over one status further, where what it waits for has happened."""
        for job in self.all.values():
            if job.status not in TERMINAL:
                self._advance(job)

    def close(self) -> None:
        """Kill every trainer."""
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        for job in self.all.values():
            if job.child:
                job.child.kill()
                job.child.wait()

    def _advance(self, job: Job) -> None:
        match job.status:
            case "NotStarted":
                self._move(job, "Starting")
            case "Starting":
                job.files = self._fetchers.submit(self._fetch, job)
                self._move(job, "Preparing")
            case "Preparing":
                self._when_files_are_there(job)
            case "Queued":
                self._when_a_node_is_free(job)
            case "Running":
                self._when_the_child_ends(job)
            case "Finalizing":
                self._finish_steps(job)
            case "CancelRequested":
                if job.child is None or not job.child.running:
                    self._end_steps(job, "Canceled")
                    self._move(job, "Canceled")

    def _fetch(self, job: Job) -> dict[str, Path]:
        """Read the inputs into the job's folder; runs in a thread of its own, outside the lock."""
        shutil.rmtree(job.folder, ignore_errors=True)  # left over from before a restart of this cloud
        job.folder.mkdir(parents=True)
        files = {}
        for name, key in FILES.items():
            if name in job.order.assets:
                files[key] = self._datastores.fetch(job.order.assets[name], job.folder / "inputs" / key)
        return files

    def _when_files_are_there(self, job: Job) -> None:
        if job.files is None or not job.files.done():
            return
        try:
            files = job.files.result()
        except MissingInput as error:
            self._fail(job, "UserError", str(error))
            return
        except Exception as error:  # noqa: BLE001 - whatever storage says is this job's reason to fail
            self._fail(job, "SystemError", f"The inputs could not be read from storage: {type(error).__name__}: {error}")
            return
        missing = [name for name in ("train", "validation") if name not in files]
        if missing:
            self._fail(job, "UserError", f"The job has no {' and no '.join(missing)} file; set train_file_path and validation_file_path.")
            return
        self._move(job, "Queued")

    def _when_a_node_is_free(self, job: Job) -> None:
        refusal = self._unplaceable(job)
        if refusal is not None:
            self._fail(job, "UserError", refusal)
            return
        if job.order.cluster is not None:
            running = sum(
                1 for other in self.all.values() if other.order.cluster == job.order.cluster and other.child and other.child.running
            )
            if running >= self._nodes_max(job.order.cluster):
                return
        job.child = Child([*self._trainer, "train", str(self._write_order(job))], job.folder)
        self._move(job, "Running")

    def _unplaceable(self, job: Job) -> str | None:
        """Return why no machine can ever take the job; None: one can."""
        literals, name = job.order.literals, job.order.cluster
        if name is None:
            size = self.site.world.size(literals["instance_type_finetune"])
            if size is None or size.gpus == 0:
                return f"SKUNotSupported: {literals['instance_type_finetune']} has no GPU or is retired; set instance_type_finetune."
            return None
        cluster, nodes = self._clusters.all.get(name), int(literals["num_nodes_finetune"])
        if cluster is None:
            return f"The compute {name} is no longer there."
        if nodes > cluster.nodes_max:
            return f"The job wants {nodes} nodes and {name} has at most {cluster.nodes_max}."
        if cluster.size.gpus == 0:
            return f"SKUNotSupported: {name} is of {cluster.size.name}, which has no GPU; fine-tuning needs one."
        return None

    def _nodes_max(self, cluster: str) -> int:
        """Return how many nodes the cluster may have; 0: it is gone."""
        found = self._clusters.all.get(cluster)
        return found.nodes_max if found else 0

    def _write_order(self, job: Job) -> Path:
        files = job.files.result() if job.files else {}
        base = job.order.assets["mlflow_model_path"]
        order = {
            "inputs": dict(job.order.literals),
            "train": str(files["train"]),
            "validation": str(files["validation"]),
            "test": str(files["test"]) if "test" in files else None,
            "out": str(job.out),
            "metrics": str(job.metrics),
            "model_name": base.split("/models/")[1].split("/")[0],
            "base_asset_id": base,
        }
        path = job.folder / "job.json"
        path.write_text(json.dumps(order, indent=1))
        return path

    def _when_the_child_ends(self, job: Job) -> None:
        assert job.child is not None
        code = job.child.exit_code
        if code is None:
            self._advance_steps(job)
        elif job.fault is not None:
            self._fail(job, "UserError", job.fault)
        elif code != 0:
            self._fail(job, *job.child.reason())
        elif not job.out.is_dir():
            self._fail(job, "SystemError", f"The trainer ended well and left no output. Last lines of its log:\n{job.child.log_tail()}")
        else:
            self._move(job, "Finalizing")

    def _advance_steps(self, job: Job) -> None:
        """The first two steps only prepare; the third ends when training logs its first number; the fourth is the training."""
        training = job.metrics.exists() and job.metrics.stat().st_size > 0
        for index, step in enumerate(job.steps[:4]):
            if step.status == "Completed":
                continue
            if step.status == "NotStarted":
                self._move_step(job, step, "Running")
            elif index < 2 or (index == 2 and training):
                self._move_step(job, step, "Completed")
            return

    def _finish_steps(self, job: Job) -> None:
        """One change at a time, so that each status can be seen; the job is complete after its last step."""
        for step in job.steps:
            if step.status == "Completed":
                continue
            self._move_step(job, step, "Running" if step.status == "NotStarted" else "Completed")
            return
        self._move(job, "Completed")

    def _fail(self, job: Job, code: str, message: str) -> None:
        job.error = (code, message)
        self._end_steps(job, "Failed")
        self._move(job, "Failed")

    def _end_steps(self, job: Job, status: str) -> None:
        """The running step ends as the job does; those after it were never begun and say Canceled."""
        for step in job.steps:
            if step.status == "Running":
                self._move_step(job, step, status)
            elif step.status == "NotStarted":
                self._move_step(job, step, "Canceled")

    def _move(self, job: Job, status: str) -> None:
        assert status in MOVES[job.status], f"{job.name}: {job.status} -> {status} is not a move"
        now = self.site.clock()
        job.status = status
        if status == "Running":
            job.started = now
        if status in TERMINAL:
            job.ended = now
            for operation in job.cancels:
                self._operations.succeed(operation)
        self._tell_root(job)

    def _move_step(self, job: Job, step: Step, status: str) -> None:
        now = self.site.clock()
        step.status = status
        step.started = step.started or now
        step.ended = now if status in TERMINAL else None
        self._announcer.run_changed(self.step_run(step), (self.experiment_id(job), job.experiment), now)

    def _tell_root(self, job: Job) -> None:
        self._announcer.run_changed(self.root_run(job), (self.experiment_id(job), job.experiment), self.site.clock())


def _listed(properties: Json, wanted: str | None, archived: str) -> bool:
    is_archived = bool(properties.get("isArchived"))
    visible = {"ActiveOnly": not is_archived, "ArchivedOnly": is_archived, "All": True}.get(archived, False)
    return visible and has_tags(properties.get("tags") or {}, wanted)


def has_tags(tags: Mapping[str, Any], wanted: str | None) -> bool:
    """Say whether all of "name,name=value" hold; None wants nothing."""
    for part in filter(None, (wanted or "").split(",")):
        name, equals, value = part.partition("=")
        if name not in tags or (equals and tags[name] != value):
            return False
    return True
