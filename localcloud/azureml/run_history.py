"""
Run history: the runs of a job, their details and their logs, and the small changes that the SDK makes here instead of at the job.

Deliberate difference from Azure: the steps hang directly below the job's run; Azure has one more pipeline run between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from localcloud.azureml import command_jobs, paging
from localcloud.azureml import site as sites
from localcloud.azureml.routes import WORKSPACE, Call, Route
from localcloud.azureml.shapes import queries
from localcloud.azureml.wire import Json, Refused, Response, answer, known_only, text_map

if TYPE_CHECKING:
    from localcloud.azureml.jobs import Jobs
    from localcloud.azureml.records import Job, Step
    from localcloud.azureml.site import Site

_RUNS = "/history/v1.0" + WORKSPACE + "/runs/{run}"
_BY_EXPERIMENT = "/history/v1.0" + WORKSPACE + "/experiments/{experiment}/runs/{run}"
_CHANGES = frozenset({"displayName", "description", "tags", "properties", "hidden"})  # what a run can change here
LOGS = {"std_log.txt": "std_out.txt", "std_error.txt": "std_err.txt"}  # name in Azure's log folder -> file of the child
COMMAND_LOGS = {"std_log.txt": command_jobs.LOG}  # Azure writes both outputs of a command into one

CHILDREN_MAX = 500  # of a run, on one page; a guess, and more than any job here has: azure-ai-ml 1.35.2 does not ask for a second one


class RunHistory:
    """Reads the jobs; keeps nothing."""

    def __init__(self, site: Site, jobs: Jobs) -> None:
        self.site = site
        self.jobs = jobs

    def routes(self) -> list[Route]:
        return [
            Route(method="GET", path=_RUNS, handler=self._run, versions=None, query=queries.NONE, does="one run"),
            Route(
                method="GET",
                path=_RUNS + "/details",
                handler=self._details,
                versions=None,
                query=queries.NONE,
                does="status and log addresses, for streaming",
            ),
            Route(
                method="GET",
                path=_RUNS + "/children",
                handler=self._children,
                versions=None,
                query=queries.RUN_CHILDREN,
                does="the steps of a job",
                differs="the steps hang below the job's run; Azure has one more pipeline run between them",
            ),
            Route(
                method="PATCH",
                path=_BY_EXPERIMENT,
                handler=self._change,
                versions=None,
                query=queries.NONE,
                does="change a job's words, tags and properties; archive or restore it",
                differs="of the job's own run only",
            ),
            Route(
                method="GET",
                path=_RUNS + "/serviceinstances/{node}",
                handler=self._services,
                versions=None,
                query=queries.NONE,
                does="interactive services",
            ),
            # in Azure a signed address of blob storage: it is fetched without a token
            Route(
                method="GET",
                path="/joblogs/{run}/{signature}/{file}",
                handler=self._log,
                versions=None,
                signed=False,
                does="a log of a job, by its signed address",
            ),
        ]

    def _find(self, run_id: str) -> tuple[Job, Step | None]:
        for job in self.jobs.all.values():
            if job.name == run_id:
                return job, None
            for step in job.steps:
                if step.run_id == run_id:
                    return job, step
        raise Refused(404, "UserError", f"Run {run_id} was not found.", detail="RunNotFound")

    def _run(self, call: Call) -> Response:
        job, step = self._find(call["run"])
        return answer(self._step(job, step) if step else self._root(job))

    def _children(self, call: Call) -> Response:
        queries.only(call.request.query, queries.PLAYED_OF_RUN_CHILDREN, call.request.path)
        job, step = self._find(call["run"])
        found = [] if step else job.steps
        return paging.page(
            call,
            self.site,
            found,
            key=lambda one: one.run_id,
            shown=lambda one: self._step(job, one),
            token="$continuationtoken",
            size_max=CHILDREN_MAX,
        )

    def _change(self, call: Call) -> Response:
        job, step = self._find(call["run"])
        if job.experiment != call["experiment"]:
            raise Refused(404, "UserError", f"Run {call['run']} is not in experiment {call['experiment']}.", detail="RunNotFound")
        if step is not None:
            raise Refused(501, "NotImplementedByLocalCloud", f"The local cloud changes the run of a job only, and {step.run_id} is a step.")
        body = {name: value for name, value in call.request.json().items() if value is not None}
        known_only(body, _CHANGES, "A change of a run")
        texts = {name: text_map(body, name, "A change of a run") for name in ("tags", "properties")}
        self.jobs.amend(job, {**body, **texts})
        return answer(self._root(job))

    def _services(self, call: Call) -> Response:
        """No job here has a service of its own, as a notebook or a terminal would be."""
        self._find(call["run"])
        return answer({"instances": {}})

    def _details(self, call: Call) -> Response:
        job, step = self._find(call["run"])
        run = self._step(job, step) if step else self._root(job)
        body: Json = {
            "runId": run["runId"],
            "target": job.order.cluster or "serverless",
            "status": run["status"],
            "properties": run["properties"],
            "inputDatasets": [],
            "outputDatasets": [],
            "logFiles": self._log_files(job),
            "submittedBy": "local-identity",
        }
        optional = {key: run[key] for key in ("startTimeUtc", "endTimeUtc", "error") if key in run}
        return answer(body | optional)

    def _log_files(self, job: Job) -> dict[str, str]:
        if not self.jobs.started(job):
            return {}
        signature = sites.stable_guid("log", job.name, job.created.isoformat())
        return {f"user_logs/{name}": f"{self.site.base}/joblogs/{job.name}/{signature}/{name}" for name in _logs(job)}

    def _log(self, call: Call) -> Response:
        job, _ = self._find(call["run"])
        signature = sites.stable_guid("log", job.name, job.created.isoformat())
        file = _logs(job).get(call["file"])
        if call["signature"] != signature or file is None:
            raise Refused(404, "BlobNotFound", "There is no such log; take its address from the details of the run.")
        path = self.jobs.folder(job) / file
        content = path.read_bytes() if path.exists() else b""
        return Response(status=200, body=content, headers={"content-type": "text/plain; charset=utf-8"})

    def _root(self, job: Job) -> Json:
        run = self.jobs.root_run(job) | {"rootRunId": job.name, "displayName": job.properties.get("displayName") or job.name}
        run |= self._frame(job) | {"hidden": bool(job.properties.get("isArchived"))}
        if job.properties.get("description"):
            run["description"] = job.properties["description"]
        if job.started:
            run["startTimeUtc"] = sites.stamp(job.started)
        if job.ended:
            run["endTimeUtc"] = sites.stamp(job.ended)
        if job.status == "Failed" and job.error:
            run["error"] = _error(job.error)
        return run

    def _step(self, job: Job, step: Step) -> Json:
        run = self.jobs.step_run(step)
        run |= {"parentRunId": job.name, "rootRunId": job.name, "displayName": step.name}
        run |= self._frame(job)
        if step.started:
            run["startTimeUtc"] = sites.stamp(step.started)
        if step.ended:
            run["endTimeUtc"] = sites.stamp(step.ended)
        if step.status == "Failed" and job.error:
            run["error"] = _error(job.error)
        return run

    def _frame(self, job: Job) -> Json:
        return {
            "experimentId": self.jobs.experiment_id(job),
            "createdUtc": sites.stamp(job.created),
            "target": job.order.cluster or "serverless",
            "warnings": [],
        }


def _logs(job: Job) -> dict[str, str]:
    return COMMAND_LOGS if job.order.command else LOGS


def _error(error: tuple[str, str]) -> Json:
    return {"error": {"code": error[0], "message": error[1]}}
