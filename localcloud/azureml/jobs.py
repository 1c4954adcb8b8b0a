"""
Jobs: asked for by a PUT, carried through Azure's statuses by what really happens, ended by their child or by a cancel.

A name is a lock: a second PUT with other content is refused for ever. One child a running job, a trainer of a pipeline or the line of a
command; the cluster's nodes bound how many run. Every change of a status is an event. The order of the statuses is lifecycle.JOB and
nothing else. A job that ran when this cloud was killed is still Running after the restart, and its child begins again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud.azureml import command_jobs, component, job_inputs, lifecycle, operations, paging, splits, views
from localcloud.azureml import site as sites
from localcloud.azureml.datastores import MissingInput
from localcloud.azureml.dials import LONG_AGO
from localcloud.azureml.fetching import Fetchers
from localcloud.azureml.processes import Child
from localcloud.azureml.records import JOB_ENDS, Job, Order, Step
from localcloud.azureml.routes import WORKSPACE, Call, Route
from localcloud.azureml.shapes import jobs as shapes
from localcloud.azureml.shapes import queries, small
from localcloud.azureml.store import Shelf
from localcloud.azureml.wire import Json, Refused, Response, answer, text_map

if TYPE_CHECKING:
    from localcloud.azureml.command_jobs import CommandJobs
    from localcloud.azureml.computes import Computes
    from localcloud.azureml.datastores import Datastores
    from localcloud.azureml.events import Announcer
    from localcloud.azureml.ground import Ground
    from localcloud.azureml.operations import Operations
    from localcloud.azureml.registry import Registry
    from localcloud.azureml.sizes import Size

OF_COMMANDS = ("command", "codeId", "environmentId", "environmentVariables", "resources", "limits", "queueSettings")
IMMUTABLE = ("jobType", "inputs", "outputs", "jobs", "settings", *OF_COMMANDS)
IMMUTABLE_IF_NAMED = ("experimentName", "computeId", "identity")  # may be left out of another PUT; the rest may be changed by it
FILES = {"train_file_path": "train", "validation_file_path": "validation", "test_file_path": "test"}
_UNNAMED = {"description": None, "computeId": None, "identity": None}  # what Azure answers of them then [recorded]
_COMPONENT_ID_SINCE = "2023-04-01"  # the first of the six versions that were read whose answers have the field
MODEL_OUTPUT = "mlflow_model_folder"  # the component's output that the trainer's folder is
FETCHERS = 2  # jobs whose files are read or written at the same time
FETCH_SECONDS_MAX = 10.0  # a guess: a reset does not wait longer for storage that hangs
FAULTS = ("job_failed", "job_canceled", "job_not_responding", "job_stuck", "job_nan_losses")
_EXISTS = (
    "A job with this name already exists. If you are trying to create a new job, use a different name. If you are trying to update an "
    "existing job, the existing job's Settings, Inputs, Outputs, Jobs, InputBindings, OutputBindings cannot be changed. "
    "Only description, tags, displayName, properties, and isArchived can be updated."
)


class Jobs:
    """All jobs of the workspace."""

    def __init__(
        self,
        ground: Ground,
        *,
        registry: Registry,
        clusters: Computes,
        datastores: Datastores,
        commands: CommandJobs,
        operations: Operations,
        announcer: Announcer,
        trainer: Sequence[str],
    ) -> None:
        self.ground = ground
        self.site = ground.site
        self.all = Shelf(ground.store, "job", Job)
        self._registry = registry
        self._clusters = clusters
        clusters.busy = self._on_nodes_of
        self._datastores = datastores
        self._commands = commands
        self._operations = operations
        self._announcer = announcer
        self._trainer = tuple(trainer)
        self._children: dict[str, Child] = {}
        self._files: dict[str, Future[dict[str, Path]]] = {}  # inputs on their way into the job's folder
        self._sent: dict[str, Future[None]] = {}  # outputs on their way to storage
        self._fetchers = Fetchers(FETCHERS)

    # ---------------------------------------------------------------------------------------------------------- requests

    def routes(self) -> list[Route]:
        return [
            Route(method="GET", path=WORKSPACE + "/jobs", handler=self._list, query=queries.JOBS, does="list jobs, by tag and view"),
            Route(method="GET", path=WORKSPACE + "/jobs/{name}", handler=self._get, does="one job"),
            Route(
                method="PUT",
                path=WORKSPACE + "/jobs/{name}",
                handler=self._put,
                does="submit a pipeline or command job, or change its tags",
                differs="pipelines of one fine-tuning node, all inputs checked here, in Azure partly in the paid job; "
                "commands run on this machine, in no image",
            ),
            Route(method="POST", path=WORKSPACE + "/jobs/{name}/cancel", handler=self._cancel, does="cancel a job"),
        ]

    def find(self, name: str) -> Job:
        """Return the job; refuse as Azure does when there is none."""
        job = self.all.get(name)
        if job is None:
            message = f"Not found: run {name} does not exist in workspace {self.site.workspace}."
            raise Refused(404, "UserError", message, detail="RunNotFound")
        return job

    def folder(self, job: Job) -> Path:
        return self.site.folder / "jobs" / job.name

    def out(self, job: Job) -> Path:
        """Return the folder of the model that the job leaves; it appears whole."""
        return self.folder(job) / "out"

    def metrics(self, job: Job) -> Path:
        return self.folder(job) / "metrics.jsonl"

    def started(self, job: Job) -> bool:
        """Say whether the job ever had a child, and so has logs."""
        return (self.folder(job) / "job.json").exists()

    def child(self, name: str) -> Child | None:
        """Return the child of a job; None: it has none now."""
        return self._children.get(name)

    def experiment_id(self, job: Job) -> str:
        return sites.stable_guid("experiment", job.experiment)

    def root_run(self, job: Job) -> Json:
        """Return what an event and run history say of the job's own run."""
        kind, properties = "azureml.PipelineRun", {"azureml.runsource": "azureml.PipelineRun", "azureml.pipelineComponent": "pipelinerun"}
        if job.order.command:
            kind, properties = "azureml.scriptrun", command_jobs.root_properties(job.order.command)
        properties |= job.properties.get("properties") or {}
        run = {"runId": job.name, "runType": kind, "status": job.status}
        return run | {"tags": job.properties.get("tags") or {}, "properties": properties}

    def step_run(self, step: Step) -> Json:
        """Return the same of one step."""
        run = {"runId": step.run_id, "runType": "azureml.StepRun", "status": step.status}
        return run | {"tags": {}, "properties": {"azureml.runsource": "azureml.StepRun"}}

    def amend(self, job: Job, changes: Json) -> None:
        """Take over words and marks, as run history does: tags and properties are merged, nothing is submitted."""
        kept = dict(job.properties)
        for name in ("tags", "properties"):
            kept[name] = {**(kept.get(name) or {}), **changes[name]}
        kept |= {name: changes[name] for name in ("displayName", "description") if name in changes}
        if "hidden" in changes:
            kept["isArchived"] = bool(changes["hidden"])
        job.properties = kept
        self.all.save(job.name, job)

    def _list(self, call: Call) -> Response:
        queries.only(call.request.query, queries.PLAYED_OF_JOBS, call.request.path)
        wanted, kind = call.request.query.get("tag"), call.request.query.get("jobType", "").lower()
        shown = views.shown(call.request.query)
        found = [job for job in reversed(self.all.values()) if _listed(job.properties, wanted, shown)]
        found = [job for job in found if not kind or str(job.properties["jobType"]).lower() == kind]
        return paging.page(call, self.site, found, key=lambda job: job.name, shown=lambda job: self._body(job, call))

    def _get(self, call: Call) -> Response:
        job = self.all.get(call["name"])
        step = None if job else self._step(call["name"])
        return answer(self._step_body(*step) if step else self._body(self.find(call["name"]), call))

    def _step(self, run_id: str) -> tuple[Job, Step] | None:
        return next(((job, step) for job in self.all.values() for step in job.steps if step.run_id == run_id), None)

    def _step_body(self, job: Job, step: Step) -> Json:
        """A step is a job without properties here; the SDK then asks run history [read azure-ai-ml, entities/_job/job.py]."""
        return self.site.resource(f"jobs/{step.run_id}", "jobs", {}, job.created) | {"properties": None}

    def _put(self, call: Call) -> Response:
        name, body = call["name"], call.request.json()
        order = self._order(name, job_inputs.read(name, body, call.request.query["api-version"]))
        old = self.all.get(name)
        if old is not None:
            return self._put_again(old, _kept(body["properties"]), call)
        refusal = self.ground.plan(("job_refused",), name=name)
        if refusal is not None:
            raise Refused(400, "UserError", refusal.given["message"])
        now = self.ground.now()
        job = Job(
            name=name,
            properties=_kept(body["properties"]),
            order=order,
            created=now,
            steps=[] if order.command else [Step(name=step, run_id=sites.stable_guid("step", name, step)) for step in component.STEPS],
            due=self.ground.dials.due("jobs", now),
            planned=self.ground.plan(FAULTS, name=name),
        )
        self._tell_root(job)
        return answer(self._body(job, call), 201, {"Location": self.site.address(f"jobs/{name}", call.request.query["api-version"])})

    def _order(self, name: str, asked: shapes.Pipeline | shapes.Command) -> Order:
        if isinstance(asked, shapes.Command):
            return self._commands.check(name, asked)
        return job_inputs.check(asked, self._registry, self._clusters)

    def _put_again(self, job: Job, fresh: Json, call: Call) -> Response:
        """A name is used once: other content is refused, other tags are taken, and the same again is a matter of the switch."""
        changed = [key for key in IMMUTABLE if fresh.get(key) != job.properties.get(key)]
        changed += [key for key in IMMUTABLE_IF_NAMED if fresh.get(key) and fresh[key] != job.properties.get(key)]
        identical = not changed and {k: v for k, v in fresh.items() if v} == {k: v for k, v in job.properties.items() if v}
        switches = self.ground.switches
        if changed or (identical and switches.identical_job_put == "refused"):
            status = int(switches.immutable_status)
            raise Refused(status, "UserError", _EXISTS, detail="JobPropertyImmutable", inner=("Immutable", "JobPropertyImmutable"))
        tags = {**(job.properties.get("tags") or {}), **(fresh.get("tags") or {})}  # Azure never drops a job's tag
        unnamed = {key: job.properties[key] for key in IMMUTABLE_IF_NAMED if key in job.properties}
        job.properties = {
            **unnamed,
            **{key: value for key, value in fresh.items() if value is not None or key not in unnamed},
            "tags": tags,
        }
        self.all.save(job.name, job)
        return answer(self._body(job, call))

    def _cancel(self, call: Call) -> Response:
        small.NOTHING.read(call.request.json())
        job = self.find(call["name"])
        if job.over:
            return Response(status=200)
        if not job.cancels:
            version = call.request.query["api-version"]
            job.cancels.append(self._operations.begin(operations.CANCEL, "Canceling", version, name=job.name))
        self._request_cancel(job)
        headers = dict(self._operations.headers(job.cancels[0]))
        del headers["Azure-AsyncOperation"]  # this operation is followed by its Location alone
        return Response(status=202, headers=headers)

    def _request_cancel(self, job: Job) -> None:
        if job.name in self._children:
            self._children[job.name].kill()
        if job.status == "CancelRequested":
            self.all.save(job.name, job)
        else:
            self._move(job, "CancelRequested")

    def _body(self, job: Job, call: Call) -> Json:
        tracking = f"azureml://{self.site.host}/mlflow/v1.0{self.site.workspace_id}?"
        services = {
            "Tracking": {"jobServiceType": "Tracking", "endpoint": tracking},
            "Studio": {"jobServiceType": "Studio", "endpoint": f"{self.site.base}/_localcloud/state#{job.name}"},
        }
        unnamed = _UNNAMED | ({"componentId": None} if call.request.query["api-version"] >= _COMPONENT_ID_SINCE else {})
        properties = {**unnamed, **job.properties, "status": job.status, "services": services}
        if job.status != "NotStarted":
            properties["properties"] = self.root_run(job)["properties"]
        return self.site.resource(f"jobs/{job.name}", "jobs", properties, job.created)

    # -------------------------------------------------------------------------------------------------------------- life

    def advance(self) -> None:
        """Carry every job that may move one status further, where what it waits for has happened."""
        now = self.ground.now()
        for job in self.all.values():
            if not job.over and not (job.has("job_stuck") and job.planned and job.planned.given["status"] == job.status):
                self._advance(job, may_move=job.due is not None and job.due <= now)

    def permit(self, name: str) -> None:
        """Let the job make its next move now: the hand of the dial `by-hand`."""
        job = self.find(name)
        job.due = LONG_AGO
        self.all.save(name, job)

    def check_moves(self, name: str) -> None:
        """Refuse a move by hand of a job that has ended."""
        job = self.find(name)
        if job.over:
            raise Refused(409, "Conflict", f"The job {name} is {job.status} and moves no more.")

    def dues(self) -> list[datetime]:
        """Return from when on jobs may move, as far as a clock decides it."""
        alive = [job for job in self.all.values() if not job.over]
        return [job.due for job in alive if job.due is not None] + [end for job in alive if (end := _limit(job)) is not None]

    def turned(self) -> None:
        """The dial has another position: what is under way moves by it."""
        for job in self.all.values():
            if not job.over:
                job.due = self.ground.dials.due("jobs", self.ground.now())
                self.all.save(job.name, job)

    def clear(self) -> None:
        """Forget every job, with its child, its fetch and its folder."""
        self._end_children()
        self._end_fetches()
        for job in self.all.values():
            shutil.rmtree(self.folder(job), ignore_errors=True)
        self.all.clear()

    def close(self) -> None:
        """Kill every child, and neither read inputs nor write outputs any more."""
        self._end_fetches()
        self._end_children()

    def outside(self) -> list[tuple[str, bool]]:
        """Return the children and fetches, and whether each is still at work: what no clock moves."""
        outside = [(f"{name} child", child.running) for name, child in self._children.items()]
        outside += [(f"{name} inputs", not fetch.done()) for name, fetch in self._files.items()]
        return outside + [(f"{name} outputs", not sending.done()) for name, sending in self._sent.items()]

    def _end_fetches(self) -> None:
        """Wait for what is on its way: it would be written into the folder of the next job of that name, or of the next start."""
        on_their_way: list[Future[Any]] = [*self._files.values(), *self._sent.values()]
        wait([one for one in on_their_way if not one.cancel()], timeout=FETCH_SECONDS_MAX)
        self._files.clear()
        self._sent.clear()

    def _end_children(self) -> None:
        for child in self._children.values():
            child.kill()
            child.wait()
        self._children.clear()

    def _advance(self, job: Job, *, may_move: bool) -> None:
        if job.status == "Running":
            self._run(job, may_move=may_move)
        elif may_move:
            self._next(job)

    def _next(self, job: Job) -> None:
        match job.status:
            case "NotStarted":
                self._move(job, "Starting")
            case "Starting":
                self._move(job, "Preparing")
            case "Preparing":
                self._when_files_are_there(job)
            case "Queued":
                self._when_a_node_is_free(job)
            case "Finalizing":
                self._complete(job) if job.order.command else self._finish_steps(job)
            case "CancelRequested":
                child = self._children.get(job.name)
                if child is None or (not child.running and self._is_sent(job)):
                    self._end_steps(job, "Canceled")
                    self._move(job, "Canceled")

    def _fetch(self, job: Job) -> dict[str, Path]:
        """Read the inputs into the job's folder; runs in a thread of its own, outside the lock."""
        folder = self.folder(job)
        shutil.rmtree(folder, ignore_errors=True)  # left over from before a restart of this cloud
        folder.mkdir(parents=True)
        if job.order.command:
            self._commands.fetch(job.order.command, folder)
            return {}
        for uri in job.order.places.values():
            self._datastores.place(uri, what="output")
        files = {}
        for name, key in FILES.items():
            if name in job.order.assets:
                files[key] = self._datastores.fetch(job.order.assets[name], folder / "inputs" / key)
        return splits.cut(files, folder / "splits") if "train" in files else {}

    def _when_files_are_there(self, job: Job) -> None:
        if job.name not in self._files:
            self._files[job.name] = self._fetchers.submit(partial(self._fetch, job))
            return
        if not self._files[job.name].done():
            return
        try:
            files = self._files.pop(job.name).result()
        except MissingInput as error:
            self._fail(job, "UserError", str(error))
            return
        except Exception as error:  # noqa: BLE001 - whatever storage says is this job's reason to fail
            self._fail(job, "SystemError", f"The inputs could not be read from storage: {type(error).__name__}: {error}")
            return
        if job.order.command:
            self._move(job, "Queued")
            return
        if not files:
            self._fail(job, "UserError", "The job has no train file; set train_file_path.")
            return
        self._write_order(job, files)
        self._move(job, "Queued")

    def _when_a_node_is_free(self, job: Job) -> None:
        refusal = self._unplaceable(job)
        if refusal is not None:
            self._fail(job, "UserError", refusal)
            return
        cluster = job.order.cluster
        if cluster is None or len(self._on_nodes_of(cluster)) + job.order.nodes <= self._nodes_max(cluster):
            self._move(job, "Running")

    def _running_on(self, cluster: str) -> Iterator[Job]:
        return (job for job in self.all.values() if job.status == "Running" and job.order.cluster == cluster)

    def _on_nodes_of(self, cluster: str) -> list[str]:
        """Return the job on each busy node; a job of several nodes is there as often."""
        return [job.name for job in self._running_on(cluster) for _ in range(job.order.nodes)]

    def _unplaceable(self, job: Job) -> str | None:
        """Return why no machine can ever take the job; None: one can."""
        if job.order.command:
            return self._commands.unplaceable(job.order.command)
        literals, name = job.order.literals, job.order.cluster
        if name is None:
            size = self.site.world.size(literals["instance_type_finetune"])
            if size is None or size.gpus == 0:
                return f"SKUNotSupported: {literals['instance_type_finetune']} has no GPU or is retired; set instance_type_finetune."
            return _too_many_gpus(job, size)
        cluster, nodes = self._clusters.all.get(name), int(literals["num_nodes_finetune"])
        if cluster is None:
            return f"The compute {name} is no longer there."
        if nodes > cluster.nodes_max:
            return f"The job wants {nodes} nodes and {name} has at most {cluster.nodes_max}."
        if cluster.size.gpus == 0:
            return f"SKUNotSupported: {name} is of {cluster.size.name}, which has no GPU; fine-tuning needs one."
        return _too_many_gpus(job, cluster.size)

    def _nodes_max(self, cluster: str) -> int:
        """Return how many nodes the cluster may have; 0: it is gone."""
        found = self._clusters.all.get(cluster)
        return found.nodes_max if found else 0

    def _write_order(self, job: Job, files: Mapping[str, Path]) -> None:
        base = job.order.assets["mlflow_model_path"]
        order = {
            "inputs": dict(job.order.literals),
            "train": str(files["train"]),
            "validation": str(files["validation"]),
            "test": str(files["test"]) if "test" in files else None,
            "out": str(self.out(job)),
            "metrics": str(self.metrics(job)),
            "model_name": base.split("/models/")[1].split("/")[0],
            "base_asset_id": base,
        }
        (self.folder(job) / "job.json").write_text(json.dumps(order, indent=1))

    def _run(self, job: Job, *, may_move: bool) -> None:
        """Start the child, or see how it goes."""
        child, limit = self._children.get(job.name), _limit(job)
        if child is None:
            self._start(job)
        elif limit is not None and limit <= self.ground.now() and child.running:
            self._request_cancel(job)  # "after which the job will be cancelled" (swagger of CommandJobLimits)
        elif child.running:
            self._advance_steps(job)
            self._play(job)
        elif may_move:
            self._when_the_child_ends(job, child)

    def _start(self, job: Job) -> None:
        """Begin, or begin again after this cloud was killed: what the last try logged is forgotten, its whole model is kept."""
        if job.order.command:
            self._children[job.name] = self._commands.start(job, job.order.command, self.folder(job))
            return
        self.metrics(job).unlink(missing_ok=True)
        self._children[job.name] = Child([*self._trainer, "train", str(self.folder(job) / "job.json")], self.folder(job))

    def _play(self, job: Job) -> None:
        """Carry out what was planned for a job that runs."""
        if job.has("job_canceled"):
            self._request_cancel(job)
        elif job.has("job_not_responding"):
            self._children[job.name].kill()
            job.error = ("SystemError", "The job does not respond: its node sent no heartbeat.")
            self._end_steps(job, "Failed")
            self._move(job, "NotResponding")

    def _when_the_child_ends(self, job: Job, child: Child) -> None:
        good = child.exit_code == 0 and not job.has("job_failed")
        if job.order.command and not good and not self._is_sent(job):
            return
        if job.planned is not None and job.has("job_failed"):
            self._fail(job, job.planned.given["code"], job.planned.given["message"])
        elif job.has("job_canceled") or job.has("job_not_responding"):
            self._play(job)
        elif self.out(job).is_dir() or (job.order.command and good):
            self._move(job, "Finalizing")
        elif child.exit_code != 0:
            self._fail(job, *child.reason())
        else:
            self._fail(job, "SystemError", f"The trainer ended well and left no output. Last lines of its log:\n{child.log_tail()}")

    def _is_sent(self, job: Job, *, good: bool = False) -> bool:
        """Let the outputs go to storage, and say whether they are there; raise what went wrong if the job ended well."""
        order, model = job.order.command, job.order.places.get(MODEL_OUTPUT)
        if order is None and (model is None or not good):
            return True
        if job.name not in self._sent:
            send = partial(self._commands.send, order, self.folder(job), good=good) if order else None
            self._sent[job.name] = self._fetchers.submit(send or partial(self._datastores.send, self.out(job), str(model)))
        if not self._sent[job.name].done():
            return False
        if good:
            self._sent[job.name].result()
        return True

    def _complete(self, job: Job) -> None:
        """The job is complete when its outputs are in storage."""
        try:
            if self._is_sent(job, good=True):
                self._move(job, "Completed")
        except MissingInput as error:
            self._fail(job, "UserError", str(error))
        except Exception as error:  # noqa: BLE001 - whatever storage says is this job's reason to fail
            self._fail(job, "SystemError", f"The outputs could not be written to storage: {type(error).__name__}: {error}")

    def _advance_steps(self, job: Job) -> None:
        """The first two steps only prepare; the third ends when training logs its first number; the fourth is the training."""
        metrics = self.metrics(job)
        training = metrics.exists() and metrics.stat().st_size > 0
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
        self._complete(job)

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
        lifecycle.check(lifecycle.JOB, job.name, job.status, status)
        now = self.ground.now()
        job.status = status
        job.due = self.ground.dials.due("jobs", now)
        if status == "Running":
            job.started = now
        if job.over:
            job.ended = now
            self._files.pop(job.name, None)  # canceled while they were read
            self._sent.pop(job.name, None)
            for operation in job.cancels:
                self._operations.succeed(operation)
        self._tell_root(job)

    def _move_step(self, job: Job, step: Step, status: str) -> None:
        now = self.ground.now()
        step.status = status
        step.started = step.started or now
        step.ended = now if status in JOB_ENDS else None
        self.all.save(job.name, job)
        self._announcer.run_changed(self.step_run(step), (self.experiment_id(job), job.experiment), now)

    def _tell_root(self, job: Job) -> None:
        self.all.save(job.name, job)
        self._announcer.run_changed(self.root_run(job), (self.experiment_id(job), job.experiment), self.ground.now())


def _limit(job: Job) -> datetime | None:
    """Return when a running command has run for as long as it may; None: there is no such moment."""
    if job.status != "Running" or job.started is None or job.order.command is None or job.order.command.timeout is None:
        return None
    return job.started + timedelta(seconds=job.order.command.timeout)


def _too_many_gpus(job: Job, size: Size) -> str | None:
    """Return why the training's processes, one a GPU, find no device each; None: they do. The words are ours, the failure is torch's."""
    wanted = int(job.order.literals["number_of_gpu_to_use_finetuning"])
    if wanted <= size.gpus:
        return None
    return f"The job wants {wanted} GPUs of each node and {size.name} has {size.gpus}; set number_of_gpu_to_use_finetuning."


def _kept(asked: Json) -> Json:
    """Return the properties as they are kept: a tag without a value is no tag."""
    texts: Json = {key: text_map(asked, key, "A job") for key in ("tags", "properties") if key in asked}
    return {**asked, **texts}


def _listed(properties: Json, wanted: str | None, shown: frozenset[bool]) -> bool:
    return bool(properties.get("isArchived")) in shown and has_tags(properties.get("tags") or {}, wanted)


def has_tags(tags: Mapping[str, Any], wanted: str | None) -> bool:
    """Say whether all of "name,name=value" hold; None wants nothing."""
    for part in filter(None, (wanted or "").split(",")):
        name, equals, value = part.partition("=")
        if name not in tags or (equals and tags[name] != value):
            return False
    return True
