"""
MLflow's REST interface over the metrics file that a trainer appends to: live while it runs, read again for every question.

A half-written last line is not yet a metric. The job's own run shows what the fine-tuning step logs, as in Azure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from localcloud.azureml import site as sites
from localcloud.azureml.routes import WORKSPACE, Call, Route
from localcloud.azureml.shapes import queries, small
from localcloud.azureml.shapes.shape import unplayed
from localcloud.azureml.wire import Json, Refused, Response, answer

if TYPE_CHECKING:
    from localcloud.azureml.jobs import Jobs
    from localcloud.azureml.records import Job, Step
    from localcloud.azureml.site import Site

STATUS = {
    "Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED", "Running": "RUNNING", "Finalizing": "RUNNING",
    "CancelRequested": "RUNNING", "NotResponding": "FAILED",
}  # fmt: skip
INVALID = "INVALID_PARAMETER_VALUE"  # MLflow's code for it
_DIGITS = re.compile(r"[0-9]{1,18}")
MAX_RESULTS = 25_000  # the most that MLflow gives at once
RUNS_ON_A_PAGE = 1000  # where a search names no number (MLflow, REST API)
_ROOT_FILTER = re.compile(r"""\s*tags\.[`"]?mlflow\.(rootRunId|parentRunId)[`"]?\s*=\s*['"]([^'"]+)['"]\s*""")
_BY_START = re.compile(r"(?:attributes?\.)?`?start_time`?(?:\s+(ASC|DESC))?", re.IGNORECASE)
FINETUNE = "chat_completion_finetune"


class Mlflow:
    """Reads jobs and their metrics files; keeps nothing."""

    def __init__(self, site: Site, jobs: Jobs) -> None:
        self.site = site
        self.jobs = jobs

    def routes(self) -> list[Route]:
        found = []
        for version in ("v1.0", "v2.0"):
            api = f"/mlflow/{version}{WORKSPACE}/api/2.0/mlflow/"
            found += [
                Route(
                    method="GET",
                    path=api + "runs/get",
                    handler=self._run,
                    versions=None,
                    query=queries.MLFLOW_RUN,
                    does="metrics, parameters and tags of a run",
                ),
                Route(
                    method="POST",
                    path=api + "runs/search",
                    handler=self._search,
                    versions=None,
                    query=queries.NONE,
                    does="runs of an experiment or a job",
                    differs="one filter only: tags.mlflow.rootRunId or parentRunId",
                ),
                Route(
                    method="GET",
                    path=api + "metrics/get-history",
                    handler=self._history,
                    versions=None,
                    query=queries.MLFLOW_HISTORY,
                    does="every value of a metric",
                ),
                Route(
                    method="GET",
                    path=api + "experiments/get-by-name",
                    handler=self._experiment,
                    versions=None,
                    query=queries.MLFLOW_EXPERIMENT,
                    does="an experiment's id",
                ),
                Route(
                    method="GET",
                    path=api + "experiments/get",
                    handler=self._experiment_by_id,
                    versions=None,
                    query=queries.MLFLOW_EXPERIMENT_ID,
                    does="an experiment's name",
                ),
                Route(
                    method="POST",
                    path=api + "experiments/search",
                    handler=self._experiments,
                    versions=None,
                    query=queries.NONE,
                    does="every experiment that has a job",
                    differs="without filter and order",
                ),
            ]
        return found

    def _run(self, call: Call) -> Response:
        run_id = _run_id(call)
        found = self._find(run_id)
        return answer({"run": self._body(*found)}) if found else _missing(f"Run with id={run_id} not found")

    def _history(self, call: Call) -> Response:
        query = call.request.query
        found = self._find(_run_id(call))
        if found is None:
            return _missing(f"Run with id={_run_id(call)} not found")
        key = _required(query, "metric_key")
        first = _number(query.get("page_token"), 0)
        limit = min(_most(_number(query.get("max_results"), MAX_RESULTS), MAX_RESULTS), MAX_RESULTS)
        points = [point for point in self._points(*found) if point["key"] == key]
        body: Json = {"metrics": points[first : first + limit]}
        if first + limit < len(points):
            body["next_page_token"] = str(first + limit)
        return answer(body)

    def _search(self, call: Call) -> Response:
        body = call.request.json()
        asked = small.RUN_SEARCH.read(body)
        unplayed({"run_view_type DELETED_ONLY": asked.only_deleted})
        newest_first = _newest_first(asked.order_by or [])
        text = str(body.get("filter") or "")
        match = _ROOT_FILTER.fullmatch(text) if text else None
        if text and match is None:
            message = f"The local cloud knows the filter tags.mlflow.rootRunId='<job>' only, and this is: {text}"
            raise Refused(501, "NotImplementedByLocalCloud", message)
        experiments = set(body.get("experiment_ids") or [])
        runs = []
        for job in self.jobs.all.values():
            if experiments and self.jobs.experiment_id(job) not in experiments:
                continue
            if match is None or (match[1] == "rootRunId" and match[2] == job.name):
                runs.append(self._body(job, None))
            if match is None or match[2] == job.name:
                runs += [self._body(job, step) for step in job.steps]
        if newest_first is not None:
            runs.sort(key=lambda run: int(run["info"]["start_time"]), reverse=newest_first)
        first, limit = _number(asked.page_token, 0), _most(asked.max_results, RUNS_ON_A_PAGE)
        found: Json = {"runs": runs[first : first + limit]}
        if first + limit < len(runs):
            found["next_page_token"] = str(first + limit)
        return answer(found)

    def _experiment(self, call: Call) -> Response:
        name = _required(call.request.query, "experiment_name")
        found = next((one for one in self._known() if one["name"] == name), None)
        return answer({"experiment": found}) if found else _missing(f"Could not find experiment with name '{name}'")

    def _experiment_by_id(self, call: Call) -> Response:
        wanted = _required(call.request.query, "experiment_id")
        found = next((one for one in self._known() if one["experiment_id"] == wanted), None)
        return answer({"experiment": found}) if found else _missing(f"Could not find experiment with ID {wanted}")

    def _experiments(self, call: Call) -> Response:
        asked = small.EXPERIMENT_SEARCH.read(call.request.json())
        unplayed({"filter": asked.filter, "order_by": asked.order_by, "view_type DELETED_ONLY": asked.only_deleted})
        known = self._known()
        first, limit = _number(asked.page_token, 0), _most(asked.max_results, RUNS_ON_A_PAGE)
        found: Json = {"experiments": known[first : first + limit]}
        if first + limit < len(known):
            found["next_page_token"] = str(first + limit)
        return answer(found)

    def _known(self) -> list[Json]:
        """Return the experiments: a name that some job has is one."""
        ids = {job.experiment: self.jobs.experiment_id(job) for job in self.jobs.all.values()}
        rest = {"lifecycle_stage": "active", "artifact_location": "", "tags": []}
        return [{"experiment_id": number, "name": name, **rest} for name, number in ids.items()]

    def _find(self, run_id: str) -> tuple[Job, Step | None] | None:
        for job in self.jobs.all.values():
            if job.name == run_id:
                return job, None
            for step in job.steps:
                if step.run_id == run_id:
                    return job, step
        return None

    def _body(self, job: Job, step: Step | None) -> Json:
        status = step.status if step else job.status
        run_id = step.run_id if step else job.name
        started, ended = (step.started, step.ended) if step else (job.started, job.ended)
        tags = {"mlflow.rootRunId": job.name, "mlflow.runName": step.name if step else job.name}
        if step:
            tags["mlflow.parentRunId"] = job.name
        latest: dict[str, Json] = {point["key"]: point for point in self._points(job, step)}
        logged = list(self._lines(job)) if step is None or step.name == FINETUNE else []
        params = {line["param"]: str(line["value"]) for line in logged if "param" in line}
        tags |= {line["tag"]: str(line["value"]) for line in logged if "tag" in line}
        info = {
            "run_id": run_id,
            "run_uuid": run_id,
            "run_name": tags["mlflow.runName"],
            "experiment_id": self.jobs.experiment_id(job),
            "status": STATUS.get(status, "SCHEDULED"),
            "start_time": _milliseconds(started or job.created),
            "artifact_uri": f"azureml://{self.site.host}/artifacts/ExperimentRun/dcid.{run_id}",
            "lifecycle_stage": "active",
            "user_id": sites.PRINCIPAL,
        }
        if ended:
            info["end_time"] = _milliseconds(ended)
        data = {
            "metrics": list(latest.values()),
            "params": [{"key": key, "value": value} for key, value in params.items()],
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        return {"info": info, "data": data, "inputs": {}}

    def _points(self, job: Job, step: Step | None) -> list[Json]:
        """Return every metric in the order it was logged; only the fine-tuning step and the job's run have any."""
        if step is not None and step.name != FINETUNE:
            return []
        return [
            {"key": line["name"], "value": line["value"], "timestamp": line["timestamp_ms"], "step": line["step"]}
            for line in self._lines(job)
            if "name" in line and not (job.has("job_nan_losses") and "loss" in line["name"])
        ]

    def _lines(self, job: Job) -> Iterator[Json]:
        try:
            content = self.jobs.metrics(job).read_bytes()
        except FileNotFoundError:
            return
        for line in content.split(b"\n")[:-1]:  # what follows the last line feed is still being written
            if line.strip():
                yield json.loads(line)


def _newest_first(order: list[str]) -> bool | None:
    """Return how runs are sorted by their start; None: not at all. Another order is refused."""
    if not order:
        return None
    match = _BY_START.fullmatch(order[0]) if len(order) == 1 else None
    if match is None:
        message = f"The local cloud sorts runs by attributes.start_time only, and this is: {', '.join(order)}"
        raise Refused(501, "NotImplementedByLocalCloud", message, target="order_by")
    return (match[1] or "").upper() == "DESC"


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _number(text: str | None, otherwise: int) -> int:
    """Return a number of the query or the body."""
    if not text:
        return otherwise
    if not _DIGITS.fullmatch(text):
        raise Refused(
            400, INVALID, f"'{text}' is no whole number from 0 on; write one as max_results, or the next_page_token of an answer."
        )
    return int(text)


def _most(asked: int | None, otherwise: int) -> int:
    """Return how many a page may hold."""
    if asked is not None and asked < 1:
        raise Refused(400, INVALID, f"max_results is {asked}; it is a whole number from 1.", target="max_results")
    return otherwise if asked is None else asked


def _run_id(call: Call) -> str:
    return call.request.query.get("run_uuid") or _required(call.request.query, "run_id")


def _required(query: Mapping[str, str], name: str) -> str:
    if not query.get(name):
        raise Refused(400, INVALID, f"Missing value for required parameter '{name}'.", target=name)
    return query[name]


def _missing(message: str) -> Response:
    """Return MLflow's own shape of an error, which its client reads."""
    return answer({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": message}, 404)
