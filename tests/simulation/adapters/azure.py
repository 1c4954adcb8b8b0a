"""
Storage and the local Azure ML behind one line, with the promises that are checked at each effect that a request really has.

The sentences given to `broken` begin with the number of the promise in docs/simulation.md. `History` of the simulation asks this class what
it asks the simulated Azure: what lies in the ledger, which endpoints and jobs are there.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from localcloud.azureml import records as stored
from localcloud.azureml.cloud import Cloud, Options
from localcloud.azureml.site import Site
from localcloud.azureml.transport import PUBLIC_BASE
from localcloud.azureml.wire import Response, request_of
from localcloud.azureml.worlds import World
from localcloud.chance import Chance
from localcloud.switches import Switches
from shared.domain import names
from shared.domain.policy import Policy
from shared.domain.record import Key, Kind
from shared.domain.service import Service
from shared.domain.training import Training
from shared.domain.tuning import Tuning
from tests.simulation import azure as tier_a
from tests.simulation.adapters import storage as storages
from tests.simulation.adapters.azureml import AtOnce, Clock, DrawnDials, DrawnFaults, Files, Servers
from tests.simulation.adapters.storage import Answer, Blob, Storage
from tests.simulation.adapters.wire import Asked, WireMachine
from tests.simulation.azure import MINUTE, OWNER, PICKLE
from tests.simulation.machine import NOON

LEDGER, DATASETS, PREPARED, QUEUE = "ledger", "datasets", "prepared", "turns"
ACCOUNT = "acc"
OF_A_CODE = "code-"  # begins the container that Azure ML makes for a job's code
PAGE_SIZE = 4  # names of one page of a listing: lists have more
API_VERSION = "2024-04-01"  # under which a stranger made what is theirs
PULSE_MS = 30_000  # between two looks at what Azure ML has under way
TOKEN_KEY = "k" * 64
STRANGERS_TAGS = {names.OWNER_TAG: "99999999-0000-0000-0000-000000000000"}
ENDED = {"Completed": "Completed", "Failed": "Failed", "NotResponding": "Failed", "Canceled": "Canceled"}
BELOW = re.compile(
    r"/jobs/(?P<job>[^/]+)(?P<cancel>/cancel)?$|/models/(?P<model>[^/]+)/versions/(?P<version>[^/]+)$"
    r"|/onlineEndpoints/(?P<endpoint>[^/]+)(?:/deployments/(?P<deployment>[^/]+))?(?P<metrics>/providers/microsoft\.insights/metrics)?$"
)
SCORE = re.compile(r"/endpoints/(?P<endpoint>[^/]+)/score$")
_RECORD = re.compile(r"(?P<kind>[a-z]+)/(?P<id>[^/]+)\.json")
Known = Callable[[], None]  # what its sender knows once the answer has reached it


def nothing() -> None:
    """Nobody learns anything that is checked later."""


@dataclass
class Seen:
    """What is remembered of one deployment besides what Azure ML itself knows."""

    incarnation: int
    tuning: str
    served_ms: int | None = None
    used_ms: int = 0
    answered: bool = False
    idle_seen: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Thing:
    """An endpoint or a job as `History` looks at it."""

    owner: str | None
    status: str = ""
    deployments: tuple[str, ...] = ()


class HttpAzure:
    """All that is outside of the app."""

    policy_rest_ms = tier_a.Azure.policy_rest_ms

    def __init__(self, machine: WireMachine, policy: Policy, *, switches: Switches, world: World) -> None:
        self.machine, self.policy = machine, policy
        self.storage = Storage(machine.now, page_size=PAGE_SIZE)
        self.storage.containers |= {LEDGER: {}, DATASETS: {}, PREPARED: {}}
        self.storage.queues[QUEUE] = []
        self.storage.wrote = self._wrote
        self.folder = Path(tempfile.mkdtemp(prefix="tuneloop-adapters-"))
        self.servers = Servers(machine)
        self.on_event: Callable[[str, dict[str, Any]], None] = lambda _topic, _event: None
        site = Site(folder=self.folder, base=PUBLIC_BASE, clock=Clock(machine), account=ACCOUNT, world=world)
        options = Options(
            trainer=("trainer",),
            chance=Chance(machine.seed),
            switches=switches,
            faults=DrawnFaults(machine),
            publish=lambda topic, event: self.on_event(topic, event),
        )
        self.cloud = Cloud(site, Files(self.storage), TOKEN_KEY, options)
        self.cloud.ground.dials = DrawnDials(machine)
        self.cloud.jobs._fetchers = AtOnce()  # type: ignore[assignment]
        self.seen: dict[tuple[str, str], Seen] = {}
        self.incarnations: dict[str, int] = {}
        self.names_gone: set[tuple[str, str]] = set()
        self.deleted_ms: dict[str, int] = {}
        self.requests: defaultdict[str, list[int]] = defaultdict(list)
        self.order: dict[str, tuple[int, str]] = {}
        self.on_traffic: Callable[[str], None] = lambda _endpoint: None
        self.healed_ms: int | None = None
        self._beats: dict[int, tuple[str, int]] = {}  # by handler: endpoint/deployment and points of the last heartbeat that it read
        self._squatted: set[str] = set()
        self._pulsing = False
        self._number = 0

    # ------------------------------------------------------------------------------------------- what History asks

    @property
    def owner(self) -> str:
        """The GUID of this installation, '' before it is made."""
        found = self.storage.containers[LEDGER].get("owner.json")
        return str(json.loads(found.body)["owner"]) if found else ""

    @property
    def records(self) -> dict[Key, bytes]:
        found = {}
        for name, blob in self.storage.containers[LEDGER].items():
            match = _RECORD.fullmatch(name)
            if match and match["kind"] in set(Kind):
                found[Key(kind=Kind(match["kind"]), id=match["id"])] = blob.body
        return found

    @property
    def active(self) -> set[Key]:
        found = set()
        for name in self.storage.containers[LEDGER]:
            start, _, rest = name.partition("/")
            if start == "active":
                kind, _, record = rest.partition("/")
                found.add(Key(kind=Kind(kind), id=record))
        return found

    @property
    def blobs(self) -> dict[str, Blob]:
        return self.storage.containers[DATASETS]

    @property
    def endpoints(self) -> dict[str, Thing]:
        return {
            one.name: Thing(self._normal(one.tags), one.state, tuple(self.cloud.endpoints.deployments_of(one.name)))
            for one in self.cloud.endpoints.all.values()
        }

    @property
    def jobs(self) -> dict[str, Thing]:
        return {job.name: Thing(self._normal(_tags(job)), ENDED.get(job.status, "Running")) for job in self.cloud.jobs.all.values()}

    def _normal(self, tags: dict[str, str]) -> str | None:
        owner = tags.get(names.OWNER_TAG)
        return OWNER if owner and owner == self.owner else owner

    def read_record(self, key: Key, record_type: Any) -> Any:
        found = self.storage.containers[LEDGER].get(f"{key}.json")
        return msgspec.json.decode(found.body, type=record_type) if found else None

    def put_blob(self, path: str, content: bytes) -> Blob:
        return self.storage.put(DATASETS, path, content)

    def check(self, holds: bool, sentence: str) -> None:
        if not holds:
            self.machine.broken(sentence)

    def is_pickled(self, job: str) -> bool:
        found = self.cloud.jobs.all.get(job)
        return found is not None and (self.cloud.jobs.out(found) / PICKLE).exists()

    def number(self) -> int:
        self._number += 1
        return self._number

    # ------------------------------------------------------------------------------------------------- the line

    def serve(self, asked: Asked) -> tuple[Answer, Known]:
        """Let one request have its effect."""
        host = urlsplit(asked.url).hostname or ""
        if host in (f"{ACCOUNT}.blob.core.windows.net", f"{ACCOUNT}.queue.core.windows.net"):
            container = urlsplit(asked.url).path.split("/")[1]
            if container.startswith(OF_A_CODE):
                self.storage.containers.setdefault(container, {})
            return self.storage.handle(asked.method, asked.url, asked.headers, asked.body), nothing
        if host != urlsplit(PUBLIC_BASE).hostname:
            self.machine.broken(f"W2: a request leaves for {host}")
            return Answer(404, {"content-length": "0"}), nothing
        return self._of_azure_ml(asked)

    def _of_azure_ml(self, asked: Asked) -> tuple[Answer, Known]:
        parts = urlsplit(asked.url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        named = BELOW.search(parts.path) or SCORE.search(parts.path)
        found = {name: value for name, value in named.groupdict().items() if value} if named else {}
        self._squat(found)
        checked = self._checked(asked.method, found)
        response = self.cloud.handle(request_of(asked.method, target, asked.headers, asked.body))
        known = nothing
        if response.status == 500:
            self.machine.broken(f"The local cloud broke: {response.body[:300]!r}")
        if response.status < 400:
            known = checked(response) or self._learned(asked, found, response)
        if asked.method != "GET":
            self._stir()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, {"content-length": str(len(response.body)), **headers}, response.body), known

    def _stir(self) -> None:
        if not self._pulsing:
            self._pulsing = True
            self.machine.at(PULSE_MS, self._pulse)

    def _pulse(self) -> None:
        self._pulsing = False
        self.cloud.advance()
        changing = ("Creating", "Updating", "Deleting")
        here = self.cloud
        if (
            any(not job.over and job.due is not None for job in here.jobs.all.values())
            or any(one.state in changing for one in here.endpoints.all.values())
            or any(one.state in changing for one in here.deployments.all.values())
        ):
            self._stir()

    def _squat(self, found: dict[str, str]) -> None:
        """Let somebody else have had a name before us."""
        job, endpoint, chance = found.get("job"), found.get("endpoint"), self.machine.chance
        for name in (job, endpoint):
            if name is None or name in self._squatted:
                continue
            self._squatted.add(name)
            now = self.machine.now()
            if name == job and name.startswith("ft-") and chance("squatted job", name) < 0.03:
                order = stored.Order(literals={"compute_finetune": "serverless", "num_nodes_finetune": "1"}, assets={}, outputs={})
                properties = {"jobType": "Pipeline", "tags": dict(STRANGERS_TAGS), "jobs": {}, "experimentName": "theirs"}
                theirs = stored.Job(name=name, properties=properties, order=order, created=now, steps=[], due=None, status="Queued")
                self.cloud.jobs.all.save(name, theirs)
            elif name == endpoint and chance("squatted endpoint", name) < 0.05:
                self._squat_endpoint(name, now)

    def _squat_endpoint(self, name: str, now: datetime) -> None:
        operation = self.cloud.operations.begin("oeidp", "Updating", API_VERSION, name=name)
        theirs = stored.Endpoint(
            name=name, auth_mode="AADToken", description="", tags=dict(STRANGERS_TAGS), properties={}, traffic={}, created=now,
            modified=now, operation=operation, keys=("", ""), due=None, state="Succeeded",
        )  # fmt: skip
        self.cloud.endpoints.all.save(name, theirs)
        self.incarnations[name] = self.number()

    # ----------------------------------------------------------------------------------------------- what is promised

    def _checked(self, method: str, found: dict[str, str]) -> Callable[[Response], Known | None]:
        """Return what to check once the request has had its effect; what was there before is looked at now."""
        match method, found:
            case "PUT", {"job": name}:
                old = self.cloud.jobs.all.get(name)
                foreign = old is not None and self._normal(_tags(old)) != OWNER
                return lambda _: self._job_put(name, is_new=old is None, foreign=foreign)
            case "POST", {"job": name, "cancel": _}:
                old = self.cloud.jobs.all.get(name)
                over = old is None or old.over
                return lambda _: None if over else self._is_ours(_tags(self.cloud.jobs.all[name]), f"job {name} was canceled")
            case "PUT", {"model": name, "version": version}:
                is_new = self.cloud.models.all.get(f"{name}:{version}") is None
                return lambda _: self._model_put(f"{name}:{version}") if is_new else None
            case "PUT", {"endpoint": endpoint, "deployment": name}:
                is_new = self.cloud.deployments.all.get(f"{endpoint}/{name}") is None
                return lambda _: self._deployment_put(endpoint, name, is_new=is_new)
            case "DELETE", {"endpoint": endpoint, "deployment": name}:
                old_deployment = self.cloud.deployments.all.get(f"{endpoint}/{name}")
                if old_deployment is None or old_deployment.state == "Deleting":
                    return lambda _: None
                return lambda _: self._deployment_deleted(endpoint, name)
            case "PUT" | "PATCH", {"endpoint": name}:
                before = self.cloud.endpoints.all.get(name)
                tags = dict(before.tags) if before else None
                return lambda _: self._endpoint_put(name, tags)
            case "DELETE", {"endpoint": name}:
                there = self.cloud.endpoints.all.get(name)
                if there is None or there.state == "Deleting":
                    return lambda _: None
                return lambda _: self._endpoint_deleted(name)
        return lambda _: None

    def _is_ours(self, tags: dict[str, str], sentence: str) -> None:
        self.check(bool(self.owner) and tags.get(names.OWNER_TAG) == self.owner, f"S3: {sentence}, and it is not ours")

    def _job_put(self, name: str, *, is_new: bool, foreign: bool) -> None:
        job = self.cloud.jobs.all[name]
        if not is_new:
            self.check(not foreign, f"S3: job {name} of somebody else was written over")
            return
        tags = _tags(job)
        self._is_ours(tags, f"job {name} was made")
        if names.TRAINING_TAG not in tags:
            self._preparation_put(name, tags)
            return
        training = self.read_record(Key(kind=Kind.TRAINING, id=tags[names.TRAINING_TAG]), Training)
        self.check(training is not None and training.job == name, f"S10: job {name} was asked for and the ledger does not name it")
        ours = [one for one in self.cloud.jobs.all.values() if one.name != name and self._normal(_tags(one)) == OWNER]
        others = [one for one in ours if _tags(one).get(names.DATASET_TAG) == tags.get(names.DATASET_TAG)]
        paid = [one.name for one in others if not one.over or one.status == "Completed"]
        self.check(not paid, f"S1: job {name} is paid for beside {paid}, of the same content")
        self._has_a_slot(name, [one.name for one in ours if names.TRAINING_TAG in _tags(one) and not one.over])
        people = sum(1 for key in self.records if key.kind is Kind.TUNING)
        self.check(len(others) < self.policy.job_attempts_max + people, f"S1: {len(others) + 1} jobs were paid for one content")
        self.machine.counts["jobs"] += 1

    def _has_a_slot(self, name: str, at_work: list[str]) -> None:
        most = self.policy.jobs_at_once_max
        self.check(len(at_work) < most, f"S11: job {name} is paid for beside {at_work}, and no more than {most} may be at work")

    def _preparation_put(self, name: str, tags: dict[str, str]) -> None:
        tuning = self.read_record(Key(kind=Kind.TUNING, id=tags.get(names.TUNING_TAG, "")), Tuning)
        self.check(tuning is not None and tuning.job == name, f"S10: job {name} was asked for and the ledger does not name it")
        alive = [
            one.name
            for one in self.cloud.jobs.all.values()
            if one.name != name and not one.over and _tags(one).get(names.TUNING_TAG) == tags.get(names.TUNING_TAG)
        ]
        self.check(not alive, f"S1: job {name} is paid for beside {alive}, of the same upload")
        self.machine.counts["preparation_jobs"] += 1

    def _model_put(self, key: str) -> None:
        model = self.cloud.models.all[key]
        job = self.cloud.jobs.all.get(model.job)
        tags = _tags(job) if job else {}
        self._is_ours(tags, f"the output of job {model.job} was registered")
        self.check(job is not None and job.status == "Completed", f"S2: {model.job} was registered and has not completed")
        self.check(not self.is_pickled(model.job), f"S12: the model of {model.job} was registered, and its folder holds {PICKLE}")
        self.check(model.version == tags.get(names.TRAINING_TAG), f"S6: {model.job} was registered as version {model.version}")
        known = [one.key for one in self.cloud.models.all.values() if one.job == model.job and one.key != key]
        self.check(not known, f"S6: {model.job} was registered as {key} beside {known}")
        self._is_ours(dict(model.properties["tags"]), f"model {key} was made")

    def _endpoint_put(self, name: str, before: dict[str, str] | None) -> Known | None:
        endpoint = self.cloud.endpoints.all[name]
        if before is not None:
            self._is_ours(before, f"endpoint {name} was changed")
            self._is_ours(endpoint.tags, f"endpoint {name} lost its tags")
            self._traffic_set(endpoint)
            return None
        self._is_ours(endpoint.tags, f"endpoint {name} was made")
        service = self.read_record(Key(kind=Kind.SERVICE, id=endpoint.tags.get(names.SERVICE_TAG, "")), Service)
        self.check(service is not None and service.endpoint_asked_at is not None, f"S10: {name} is created and the ledger does not say so")
        rested, rest = self.machine.ms - self.deleted_ms.get(name, -(10**9)), self.policy_rest_ms
        self.check(rested >= rest, f"S8: {name} is created {rested / 1000:.0f} s after it was deleted, and rests {rest / 1000:.0f} s")
        self.incarnations[name] = self.number()
        self.machine.counts["endpoints"] += 1
        return None

    def _traffic_set(self, endpoint: stored.Endpoint) -> None:
        for name, share in endpoint.traffic.items():
            seen = self.seen.get((endpoint.name, name))
            if not share or seen is None:
                continue
            self.check(seen.answered, f"S2: {name} gets traffic and never answered its smoke test")
            for other, deployment in self.cloud.endpoints.deployments_of(endpoint.name).items():
                there = self.seen.get((endpoint.name, other))
                later = (
                    there is not None
                    and there.served_ms is not None
                    and deployment.state == "Succeeded"
                    and self.order[there.tuning] > self.order[seen.tuning]
                )
                self.check(not later, f"S7: the traffic goes back from {other} to {name}, of an earlier upload")
            if seen.served_ms is None:
                seen.served_ms = self.machine.ms
                self.machine.counts["served"] += 1
                self.on_traffic(endpoint.name)

    def _endpoint_deleted(self, name: str) -> None:
        endpoint, handler = self.cloud.endpoints.all[name], self.machine.running
        self._is_ours(endpoint.tags, f"endpoint {name} was deleted")
        saw = handler is None or self.incarnations.get(name) in handler.read
        self.check(saw, f"S8: {name} was deleted by a handler that never saw this endpoint of that name")
        service = self.read_record(Key(kind=Kind.SERVICE, id=endpoint.tags.get(names.SERVICE_TAG, "")), Service)
        resting = service is not None and service.deleting_endpoint and service.rest_until and service.rest_until > self.machine.now()
        self.check(bool(resting), f"S10: {name} was deleted and the ledger does not say until when its name rests")
        for deployment in self.cloud.endpoints.deployments_of(name):
            self._may_go(endpoint, deployment)
            self.names_gone.add((name, deployment))
        self.deleted_ms[name] = self.machine.ms
        self.machine.counts["endpoints_deleted"] += 1

    def _deployment_put(self, endpoint: str, name: str, *, is_new: bool) -> None:
        there, made = self.cloud.endpoints.all[endpoint], self.cloud.deployments.all[f"{endpoint}/{name}"]
        self._is_ours(there.tags, f"a deployment was created on endpoint {endpoint}")
        if not is_new:
            return
        self._is_ours(made.tags, f"deployment {name} was made")
        self.check((endpoint, name) not in self.names_gone, f"S8: the name {name} on {endpoint} was used before")
        service = self.read_record(Key(kind=Kind.SERVICE, id=there.tags.get(names.SERVICE_TAG, "")), Service)
        named = next((one for one in service.deployments if one.name == name), None) if service else None
        self.check(named is not None, f"S10: {name} is created and the ledger does not name it")
        self.seen[endpoint, name] = Seen(self.number(), named.tuning if named else "")
        self.machine.counts["deployments"] += 1

    def _deployment_deleted(self, endpoint: str, name: str) -> None:
        there, gone = self.cloud.endpoints.all[endpoint], self.cloud.deployments.all[f"{endpoint}/{name}"]
        self._is_ours(there.tags, f"{name} of endpoint {endpoint} was deleted")
        self._is_ours(gone.tags, f"deployment {name} was deleted")
        self._may_go(there, name)
        self.names_gone.add((endpoint, name))
        self.machine.counts["deployments_deleted"] += 1

    def _may_go(self, endpoint: stored.Endpoint, name: str) -> None:
        """Look whether a deployment that served is replaced, or was seen idle, and idle again after the grace."""
        seen = self.seen.get((endpoint.name, name))
        if seen is None or seen.served_ms is None or any(share for other, share in endpoint.traffic.items() if other != name):
            return
        grace, idle_seen, policy = self.policy.idle_grace.total_seconds() * 1000, seen.idle_seen, self.policy
        idle = bool(idle_seen) and idle_seen[-1] - idle_seen[0] >= grace
        self.check(idle, f"S4: {name} on {endpoint.name} goes, was not replaced and not seen idle before and after its grace")
        if self.healed_ms is not None:
            waits = policy.idle_after + policy.idle_grace + policy.metric_lag + 6 * policy.tick + 6 * policy.look_every
            billed = self.machine.ms - max(seen.used_ms, seen.served_ms, self.healed_ms)
            self.check(billed <= waits.total_seconds() * 1000, f"L2: {name} was billed for {billed / MINUTE:.0f} minutes unused")

    # --------------------------------------------------------------------------------------------- what is learned

    def _learned(self, asked: Asked, found: dict[str, str], response: Response) -> Known:
        """Return what the sender knows by this answer, if it arrives."""
        handler = self.machine.running
        if handler is None:
            return nothing
        if "metrics" in found:
            return self._measured(asked, found, response)
        if asked.method == "POST" and SCORE.search(urlsplit(asked.url).path):
            return self._answered(found["endpoint"], asked.headers.get("azureml-model-deployment", ""), response)
        if asked.method == "GET" and "endpoint" in found and "deployment" not in found and found["endpoint"] in self.incarnations:
            incarnation, read = self.incarnations[found["endpoint"]], handler.read
            return lambda: read.add(incarnation)
        return nothing

    def _answered(self, endpoint: str, name: str, response: Response) -> Known:
        seen = self.seen.get((endpoint, name))

        def known() -> None:
            if seen is not None and response.body != b"{}":
                seen.answered = True

        return known

    def _measured(self, asked: Asked, found: dict[str, str], response: Response) -> Known:
        """A usage is three answers: the heartbeat of a deployment, then the requests of its endpoint in two forms."""
        handler = self.machine.running
        assert handler is not None
        query = parse_qs(urlsplit(asked.url).query)
        start, end = (int((datetime.fromisoformat(at) - NOON).total_seconds() * 1000) for at in query["timespan"][0].split("/"))
        if "deployment" in found:
            points = [point for one in json.loads(response.body)["value"] for series in one["timeseries"] for point in series["data"]]
            about = f"{found['endpoint']}/{found['deployment']}", len(points)
            return lambda: self._beats.__setitem__(handler.number, about)
        of, beats = self._beats.get(handler.number, ("", 0))
        seen = self.seen.get((found["endpoint"], of.partition("/")[2]))
        wanted = (end - start) / (self.policy.metric_grain / timedelta(milliseconds=1))
        asked_by_people = [ms for ms in self.requests[found["endpoint"]] if start <= ms < end]
        is_idle = seen is not None and seen.served_ms is not None and seen.served_ms <= start and beats >= int(wanted) - 1
        last = query["aggregation"][0].lower() == "average"

        def known() -> None:
            if is_idle and last and not asked_by_people and seen is not None:
                seen.idle_seen.append(self.machine.ms)

        return known

    def request(self, endpoint: str) -> None:
        """A client asks, wherever the traffic goes."""
        there = self.cloud.endpoints.all.get(endpoint)
        for name, share in (there.traffic if there else {}).items():
            if share:
                self.requests[endpoint].append(self.machine.ms)
                self.cloud.meter.count(endpoint, name)
                seen = self.seen.get((endpoint, name))
                if seen is not None:
                    seen.used_ms = self.machine.ms

    # --------------------------------------------------------------------------------------------------- storage

    def _wrote(self, asked: storages.Asked, before: Blob | None, after: Blob | None) -> None:
        name = asked.name
        if asked.place == DATASETS:
            self.check(False, f"S3: the app wrote {name} into the container of the uploads")
        elif asked.place == LEDGER and (_RECORD.fullmatch(name) or name == "owner.json"):
            self.check(after is not None, f"S5: the record {name} was deleted")
            conditional = asked.headers.get("if-none-match") == "*" if before is None else before.etag == asked.headers.get("if-match")
            self.check(conditional, f"W1: {name} was written without the condition that it is what was read")
        elif asked.place == PREPARED and before is not None:
            same = after is not None and after.body == before.body
            self.check(same or not _is_for_ever(name), f"S5: {name} is there with another content")


def _is_for_ever(name: str) -> bool:
    return name.endswith(("manifest.json", ".jsonl"))


def _tags(job: stored.Job) -> dict[str, str]:
    return dict(job.properties.get("tags") or {})
