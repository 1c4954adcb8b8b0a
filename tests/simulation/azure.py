"""
Storage, Azure ML and Azure Monitor as the simulation plays them, with the promises that are checked at each effect.

What Azure does with a thing (how long a job takes and how it ends, whether an endpoint fails, who had a name before us) follows from the
seed and the thing's name. The sentences given to `broken` begin with the number of the promise in docs/simulation.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from shared import errors
from shared.domain import names
from shared.domain.policy import Policy
from shared.domain.record import Key, Kind
from shared.domain.service import Deployment, DeploymentView, EndpointView, Service, Usage
from shared.domain.training import Job, Training
from shared.domain.tuning import PreparationJob, Tuning
from shared.plain import plain
from tests.journeys.fakes import MODEL_FILES
from tests.simulation import standin
from tests.simulation.machine import NOON, QUOTES, Machine
from tests.simulation.watch import Watch, notes_of

OWNER = "00000000-0000-0000-0000-00000000000a"
STRANGER = "somebody-else"
MINUTE = 60_000
METRIC_LAG_MS = 3 * MINUTE  # the policy reckons with more
PICKLE = "data/model/training_args.bin"
SEEN_WITHIN_MINUTES = 20  # who looked before may act so much later: a handler lives for 10 minutes, and what it sent for one more
ALIVE = ("Queued", "Running", "Finalizing", "CancelRequested")


@dataclass
class BlobHere:
    content: bytes
    etag: str  # as HEAD shows it, with quotes
    ms: int


@dataclass
class JobHere:
    name: str
    owner: str | None
    training: str | None
    content: str  # sha256 of the dataset
    shows_at: int
    status: str = "Queued"
    tuning: str | None = None  # of a job that prepares
    paths: tuple[str, str, str] = ("", "", "")  # of its upload, its order and its folder
    out: str = ""  # of a training: the folder of its model
    statuses: set[str] = field(default_factory=set)  # that it ever had
    ended_ms: int | None = None


@dataclass
class DeploymentHere:
    name: str
    owner: str
    tuning: str
    incarnation: int
    state: str = "Creating"
    ready_ms: int | None = None
    served_ms: int | None = None  # since it first had traffic
    is_good: bool = True
    answered: bool = False
    idle_seen: list[int] = field(default_factory=list)  # when a handler was told, truthfully, that nobody had used it for the window
    used_ms: int = 0  # newest request of a client


@dataclass
class EndpointHere:
    name: str
    owner: str | None
    service: str | None
    incarnation: int
    state: str = "Creating"
    traffic: dict[str, int] = field(default_factory=dict)
    deployments: dict[str, DeploymentHere] = field(default_factory=dict)


class Azure:
    """All that is outside of the app."""

    def __init__(self, machine: Machine, policy: Policy) -> None:
        self.machine, self.policy = machine, policy
        self.blobs: dict[str, BlobHere] = {}
        self.prepared: dict[str, Any] = {}
        self.records: dict[Key, tuple[bytes, int]] = {}
        self.active: set[Key] = set()
        self.jobs: dict[str, JobHere] = {}
        self.never_canceled: dict[str, bool] = {}  # jobs whose cancellation is accepted and not carried out -> a person ends it
        self.models: dict[tuple[str, str], str] = {}
        self.endpoints: dict[str, EndpointHere] = {}
        self.requests: defaultdict[str, list[int]] = defaultdict(list)  # of clients, by endpoint
        self.own_requests: defaultdict[str, list[int]] = defaultdict(list)
        self.names_gone: set[tuple[str, str]] = set()  # endpoint, deployment
        self.deleted_ms: dict[str, int] = {}  # newest delete that landed, by endpoint
        self.hanging: dict[str, int] = {}  # what never leaves Creating, and until when Azure refuses to delete it
        self.quota_refused: defaultdict[str, list[int]] = defaultdict(list)  # when, by the tuning whose deployment was asked for
        self.order: dict[str, tuple[int, str]] = {}  # of an upload within its service, by tuning
        self.on_job_end: Callable[[str, str], None] = lambda _name, _status: None
        self.on_traffic: Callable[[str], None] = lambda _endpoint: None
        self.healed_ms: int | None = None
        self.excuses: defaultdict[str, set[str]] = defaultdict(set)  # what went wrong in Azure with a candidate, by tuning
        self._number = 0
        self._known: dict[Key, tuple[int, Any]] = {}  # records as they were last decoded, with their number
        self._bodies: dict[Key, tuple[int, dict[str, Any]]] = {}
        self.watch = Watch(self)

    def number(self) -> int:
        self._number += 1
        return self._number

    def check(self, holds: bool, sentence: str) -> None:
        if not holds:
            self.machine.broken(sentence)

    def put_blob(self, path: str, content: bytes) -> BlobHere:
        blob = BlobHere(content, f'"0x{self.number():06X}"', self.machine.ms)
        self.blobs[path] = blob
        return blob

    def read_record(self, key: Key, record_type: Any) -> Any:
        """What is written in the ledger now; for checks, so no call."""
        if key not in self.records:
            return None
        body, number = self.records[key]
        known = self._known.get(key)
        if known is None or known[0] != number:
            known = self._known[key] = (number, msgspec.json.decode(body, type=record_type))
        return known[1]

    def body(self, key: Key) -> dict[str, Any]:
        """What is written in the ledger now, each version decoded once; whoever reads it gets a copy."""
        body, number = self.records[key]
        known = self._bodies.get(key)
        if known is None or known[0] != number:
            known = self._bodies[key] = (number, msgspec.json.decode(body))
        return known[1]

    def remember(self, key: Key, record: Any) -> None:
        """Take this for what is about to be written, so that it is decoded once."""
        self._known[key] = (self.records[key][1] + 1, record)

    def services(self) -> list[Service]:
        return [self.read_record(key, Service) for key in self.records if key.kind is Kind.SERVICE]

    def is_paused(self) -> bool:
        return False

    # ------------------------------------------------------------------------------------------------------ jobs

    def submit(self, name: str, tags: Mapping[str, str], out: str, *, asked_as: str = "") -> None:
        """`asked_as`: the name that the ledger knows, where a deliberate bug asks for another."""
        if name not in self.jobs and self.machine.chance("squatted job", name) < 0.02:
            self.jobs[name] = JobHere(name, STRANGER, None, "", 0, "Running", statuses={"Running"})
        if name in self.jobs:
            return
        training, content = tags[names.TRAINING_TAG], tags[names.DATASET_TAG]
        record = self.read_record(Key(kind=Kind.TRAINING, id=training), Training)
        self.check(
            record is not None and record.job == (asked_as or name), f"S10: job {name} was asked for and the ledger does not name it"
        )
        others = [j for j in self.jobs.values() if j.content == content and j.owner == OWNER]
        paid = [j.name for j in others if j.status in ALIVE or j.status == "Completed"]
        self.check(not paid, f"S1: job {name} is paid for beside {paid}, of the same content")
        at_work = [j.name for j in self.jobs.values() if j.owner == OWNER and j.training and j.status in ALIVE]
        few = len(at_work) < self.policy.jobs_at_once_max
        self.check(few, f"S11: job {name} is paid for beside {at_work}, and no more than {self.policy.jobs_at_once_max} may be at work")
        people = sum(1 for k in self.records if k.kind is Kind.TUNING)
        self.check(len(others) < self.policy.job_attempts_max + people, f"S1: {len(others) + 1} jobs were paid for one content")
        chance = self.machine.chance
        late = 90_000 * chance("shows", name) if chance("shows late", name) < 0.2 else 0
        shows_at = self.machine.ms + int(late)
        self.jobs[name] = JobHere(name, tags.get(names.OWNER_TAG), training, content, shows_at, out=out, statuses={"Queued"})
        self.machine.counts["jobs"] += 1
        fate = chance("job ends", name)
        end = "Completed" if fate < 0.8 else "Failed" if fate < 0.88 else "Canceled" if fate < 0.97 else "Running"
        lasts = (8 + 25 * chance("job lasts", name)) * MINUTE
        self.machine.at(lasts * 0.2, self._job_is, name, "Running")
        if end == "Completed":
            self.machine.at(lasts * 0.95, self._job_is, name, "Finalizing")
        self.machine.at(lasts, self._job_is, name, end)

    def prepare(self, name: str, upload: str, order: str, out: str, tags: Mapping[str, str]) -> None:
        if name in self.jobs:
            return
        tuning = tags[names.TUNING_TAG]
        record = self.read_record(Key(kind=Kind.TUNING, id=tuning), Tuning)
        self.check(record is not None and record.job == name, f"S10: job {name} was asked for and the ledger does not name it")
        alive = [j.name for j in self.jobs.values() if j.tuning == tuning and j.status in ALIVE]
        self.check(not alive, f"S1: job {name} is paid for beside {alive}, of the same upload")
        chance = self.machine.chance
        late = 90_000 * chance("shows", name) if chance("shows late", name) < 0.2 else 0
        self.jobs[name] = JobHere(
            name, tags[names.OWNER_TAG], None, "", self.machine.ms + int(late), "Running", tuning, (upload, order, out)
        )
        self.machine.counts["preparation_jobs"] += 1
        end = "Completed" if chance("preparation ends", name) < 0.85 else "Failed"
        self.machine.at((4 + 12 * chance("preparation lasts", name)) * MINUTE, self._job_is, name, end)

    def _has_prepared(self, job: JobHere) -> bool:
        upload, order, out = job.paths
        blob = self.blobs.get(upload)
        written = standin.carried_out(self.prepared[order], blob.content) if blob else None
        self.prepared |= {f"{out}/{file}": body for file, body in (written or {}).items()}
        return written is not None

    def preparation_view(self, name: str) -> PreparationJob | None:
        job = self.job(name)
        if job is None:
            return None
        failure = plain(f"The machine was taken away. {QUOTES}") if job.status == "Failed" else ""
        return PreparationJob(name=name, status=job.status, owner=job.owner, tuning=job.tuning, failure=failure)

    def _job_is(self, name: str, status: str) -> None:
        job = self.jobs[name]
        if status == "Completed" and job.tuning and job.status in ALIVE and not self._has_prepared(job):
            status = "Failed"
        if job.status in ("Completed", "Failed", "Canceled") or (job.status == "CancelRequested" and status != "Canceled"):
            return
        job.status = status
        job.statuses.add(status)
        job.ended_ms = None if status in ALIVE else self.machine.ms
        if status == "Completed" and job.out:
            files = (*MODEL_FILES, PICKLE) if self.machine.chance("model is pickled", name) < 0.06 else MODEL_FILES
            self.prepared |= {f"{job.out}/{file}": b"" for file in files}
        if status in ("Finalizing", "Completed", "Failed"):  # no event tells of a canceled one
            self.on_job_end(name, status)

    def cancel(self, name: str) -> None:
        job = self.jobs[name]
        self.check(job.owner == OWNER, f"S3: job {name} of somebody else was canceled")
        if job.ended_ms is not None:
            ago = (self.machine.ms - job.ended_ms) // MINUTE
            self.check(ago <= SEEN_WITHIN_MINUTES, f"L1: job {name} is asked to end, and has ended {ago} minutes ago")
            return
        luck, chance = self.machine.chance("cancel", name), self.machine.chance
        if luck >= 0.1:
            job.status = "CancelRequested"
            job.statuses.add(job.status)
        if luck >= 0.2:
            self.machine.at(MINUTE, self._job_is, name, "Canceled")
        elif name not in self.never_canceled:  # accepted, and never carried out; but for one, a person ends it
            self.never_canceled[name] = not all(self.never_canceled.values()) or chance("a person ends it", name) < 0.5
            if self.never_canceled[name]:
                self.machine.at((100 + 300 * chance("ended by hand", name)) * MINUTE, self._job_is, name, "Canceled")

    def job(self, name: str) -> JobHere | None:
        job = self.jobs.get(name)
        return job if job and self.machine.ms >= job.shows_at else None

    def never_ends(self, job: str) -> bool:
        """Tell whether a job was asked to end, is at work, and nobody will end it."""
        return job in self.jobs and self.jobs[job].status in ALIVE and not self.never_canceled.get(job, True)

    def is_pickled(self, job: str) -> bool:
        found = self.jobs.get(job)
        return found is not None and f"{found.out}/{PICKLE}" in self.prepared

    def register(self, model: str, version: str, job: str) -> None:
        found = self.jobs.get(job)
        self.check(found is not None and found.owner == OWNER, f"S3: the output of a job of somebody else, {job}, was registered")
        self.check(found is not None and found.status == "Completed", f"S2: {job} was registered and has not completed")
        self.check(not self.is_pickled(job), f"S12: the model of {job} was registered, and its folder holds {PICKLE}")
        known = [one for one, made_by in self.models.items() if made_by == job and one != (model, version)]
        self.check(not known, f"S6: {job} was registered as version {version} beside {known}")
        self.models[model, version] = job

    # ------------------------------------------------------------------------------------------------- endpoints

    def look_at_endpoint(self, name: str) -> EndpointHere | None:
        if name not in self.endpoints and name not in self.deleted_ms and self.machine.chance("squatted endpoint", name) < 0.04:
            self.endpoints[name] = EndpointHere(name, STRANGER, None, self.number(), "Succeeded", {"theirs": 100})
        found = self.endpoints.get(name)
        if found and self.machine.running:
            self.machine.running.read.add(found.incarnation)
        return found

    def create_endpoint(self, name: str, tags: Mapping[str, str]) -> None:
        found = self.endpoints.get(name)
        if found:
            self.check(found.owner == OWNER, f"S3: endpoint {name} of somebody else was written over")
            if found.state in ("Creating", "Deleting"):
                raise errors.TryLater(f"{name} is {found.state}")
            return
        record = self.read_record(Key(kind=Kind.SERVICE, id=tags[names.SERVICE_TAG]), Service)
        self.check(record is not None and record.endpoint_asked_at is not None, f"S10: {name} is created and the ledger does not say so")
        rested = self.machine.ms - self.deleted_ms.get(name, -(10**9))
        rest = self.policy_rest_ms
        self.check(rested >= rest, f"S8: {name} is created {rested / 1000:.0f} s after it was deleted, and rests {rest / 1000:.0f} s")
        number = self.number()
        self.endpoints[name] = EndpointHere(name, tags.get(names.OWNER_TAG), tags.get(names.SERVICE_TAG), number)
        self.machine.counts["endpoints"] += 1
        if self._hangs(f"{name} {number}", 0.03):
            return
        fails = self.machine.chance("endpoint fails", name, number) < 0.08
        self.machine.at(
            MINUTE * (1 + 4 * self.machine.chance(name, number)), self._endpoint_is, name, number, "Failed" if fails else "Succeeded"
        )

    owner = OWNER

    def _hangs(self, what: str, chance: float) -> bool:
        """Tell whether this never leaves Creating; Azure refuses to delete it until a while has passed, up to five hours."""
        hangs = self.machine.chance("hangs", what) < chance
        if hangs:
            self.hanging[what] = self.machine.ms + int(300 * MINUTE * max(0, 1.5 * self.machine.chance("refuses", what) - 0.5))
            self.machine.counts["hang"] += 1
        return hangs

    def _may_be_deleted(self, what: str) -> None:
        """Raise as Azure does when it is busy with something that is being made."""
        if self.machine.ms < self.hanging.get(what, 10**12):
            raise errors.TryLater(f"{what} is in Creating provisioning state")

    policy_rest_ms = 12 * MINUTE  # longer than a function may run; kept here, so that a policy without a rest is seen
    rest = timedelta(minutes=12)

    def _endpoint_is(self, name: str, incarnation: int, state: str) -> None:
        found = self.endpoints.get(name)
        if found and found.incarnation == incarnation and found.state != "Deleting":
            found.state = state

    def _endpoint_gone(self, name: str, incarnation: int) -> None:
        found = self.endpoints.get(name)
        if found and found.incarnation == incarnation:
            del self.endpoints[name]
            self.machine.counts["endpoints_deleted"] += 1

    def _own_endpoint(self, name: str, what: str) -> EndpointHere:
        found = self.endpoints.get(name)
        if found is None:
            raise errors.TryLater(f"no endpoint {name}")
        self.check(found.owner == OWNER, f"S3: {what} on endpoint {name} of somebody else")
        if found.state in ("Creating", "Updating", "Deleting"):
            raise errors.TryLater(f"{name} is in {found.state} provisioning state")
        return found

    def delete_endpoint(self, name: str) -> None:
        found = self.endpoints.get(name)
        if found is None or found.state == "Deleting":
            return
        self.check(found.owner == OWNER, f"S3: endpoint {name} of somebody else was deleted")
        if found.state == "Creating":
            self._may_be_deleted(f"{name} {found.incarnation}")
        handler = self.machine.running
        seen = handler is None or found.incarnation in handler.read
        self.check(seen, f"S8: {name} was deleted by a handler that never saw this endpoint of that name")
        record = self.read_record(Key(kind=Kind.SERVICE, id=str(found.service)), Service)
        resting = record is not None and record.deleting_endpoint and record.rest_until and record.rest_until > self.machine.now()
        self.check(bool(resting), f"S10: {name} was deleted and the ledger does not say until when its name rests")
        for deployment in found.deployments.values():
            self._may_go(found, deployment)
            self.names_gone.add((name, deployment.name))
        self.deleted_ms[name] = self.machine.ms
        found.state = "Deleting"
        self.machine.at(
            MINUTE * (0.3 + 2 * self.machine.chance("gone", name, found.incarnation)), self._endpoint_gone, name, found.incarnation
        )

    def create_deployment(self, endpoint: str, wanted: Deployment, tags: Mapping[str, str]) -> None:
        found = self._own_endpoint(endpoint, "a deployment was created")
        if (wanted.model, wanted.model_version) not in self.models:
            raise errors.Stop("no such model", next_action="")
        self.check((endpoint, wanted.name) not in self.names_gone, f"S8: the name {wanted.name} on {endpoint} was used before")
        if wanted.name in found.deployments:
            if found.deployments[wanted.name].state == "Deleting":
                raise errors.TryLater(f"{wanted.name} is Deleting")
            return
        record = self.read_record(Key(kind=Kind.SERVICE, id=str(found.service)), Service)
        self.check(wanted.name in {d.name for d in record.deployments}, f"S10: {wanted.name} is created and the ledger does not name it")
        chance, number = self.machine.chance, self.number()
        self._wants_quota(wanted.tuning, f"{endpoint}/{wanted.name}")
        is_good = chance("model", self.models[wanted.model, wanted.model_version]) > 0.12
        found.deployments[wanted.name] = DeploymentHere(wanted.name, tags[names.OWNER_TAG], wanted.tuning, number, is_good=is_good)
        self.machine.counts["deployments"] += 1
        if self._hangs(f"{endpoint} {wanted.name}", 0.04):
            self.excuses[wanted.tuning].add("it hangs")
            return
        state = "Failed" if chance("deployment fails", wanted.name, endpoint) < 0.1 else "Succeeded"
        self.machine.at(
            MINUTE * (4 + 14 * chance("deploys", wanted.name, endpoint)), self._deployment_is, endpoint, wanted.name, number, state
        )

    def _wants_quota(self, tuning: str, name: str) -> None:
        """Quota is missing for ever, or for a while after the first who asks: everything that was refused is noted for the end."""
        chance, refused = self.machine.chance, self.quota_refused[tuning]
        lasts = 10**9 if chance("quota never comes", name) < 0.02 else 240 * MINUTE * chance("quota comes", name) ** 2
        if chance("quota", name) < 0.12 and (not refused or self.machine.ms < refused[0] + lasts):
            refused.append(self.machine.ms)
            self.excuses[tuning].add("no quota")
            self.machine.counts["quota_refused"] += 1
            raise errors.NoQuota("no quota", next_action="Ask for quota.")

    def _deployment_is(self, endpoint: str, name: str, incarnation: int, state: str) -> None:
        found = self.endpoints.get(endpoint)
        deployment = found.deployments.get(name) if found else None
        if found is None or deployment is None or deployment.incarnation != incarnation:
            return
        if state == "gone":
            del found.deployments[name]
            self.machine.counts["deployments_deleted"] += 1
        elif deployment.state == "Creating":
            deployment.state = state
            deployment.ready_ms = self.machine.ms
            if state == "Failed":
                self.excuses[deployment.tuning].add("deployment failed")

    def delete_deployment(self, endpoint: str, name: str) -> None:
        found = self.endpoints.get(endpoint)
        deployment = found.deployments.get(name) if found else None
        if found is None or deployment is None or deployment.state == "Deleting":
            return
        self._own_endpoint(endpoint, f"{name} was deleted")
        self.check(deployment.owner == OWNER, f"S3: deployment {name} of somebody else was deleted")
        if found.traffic.get(name):
            raise errors.Stop(f"{name} still has traffic", next_action="")
        if deployment.state == "Creating":
            self._may_be_deleted(f"{endpoint} {name}")
        self._may_go(found, deployment)
        deployment.state = "Deleting"
        self.names_gone.add((endpoint, name))
        self.machine.at(
            MINUTE * (0.5 + 2 * self.machine.chance("goes", endpoint, name)),
            self._deployment_is,
            endpoint,
            name,
            deployment.incarnation,
            "gone",
        )

    def _may_go(self, endpoint: EndpointHere, deployment: DeploymentHere) -> None:
        """Look whether a deployment that served is replaced, or was seen idle, and idle again after the grace."""
        if deployment.served_ms is None or any(share for name, share in endpoint.traffic.items() if name != deployment.name):
            return
        grace, seen = self.policy.idle_grace.total_seconds() * 1000, deployment.idle_seen
        idle = bool(seen) and seen[-1] - seen[0] >= grace
        self.check(idle, f"S4: {deployment.name} on {endpoint.name} goes, was not replaced and not seen idle before and after its grace")
        if self.healed_ms is not None:
            policy = self.policy
            waits = policy.idle_after + policy.idle_grace + policy.metric_lag + 6 * policy.tick + 6 * policy.look_every
            since = max(deployment.used_ms, deployment.served_ms, self.healed_ms)
            billed = self.machine.ms - since
            self.check(billed <= waits.total_seconds() * 1000, f"L2: {deployment.name} was billed for {billed / MINUTE:.0f} minutes unused")

    def set_traffic(self, endpoint: str, traffic: Mapping[str, int]) -> None:
        found = self._own_endpoint(endpoint, "traffic was set")
        for name, share in traffic.items():
            deployment = found.deployments.get(name)
            if deployment is None or deployment.state != "Succeeded":
                raise errors.TryLater(f"{name} cannot take traffic")
            if not share:
                continue
            self.check(deployment.answered and deployment.is_good, f"S2: {name} gets traffic and never answered its smoke test")
            for other in found.deployments.values():
                later = (
                    other.served_ms is not None and other.state == "Succeeded" and self.order[other.tuning] > self.order[deployment.tuning]
                )
                self.check(not later, f"S7: the traffic goes back from {other.name} to {name}, of an earlier upload")
            if deployment.served_ms is None:
                deployment.served_ms = self.machine.ms
                self.machine.counts["served"] += 1
                self.on_traffic(endpoint)
        found.traffic = {name: share for name, share in traffic.items() if share}
        found.state = "Updating"
        self.machine.at(20_000, self._endpoint_is, endpoint, found.incarnation, "Succeeded")

    def ask(self, endpoint: str, name: str) -> object:
        found = self.endpoints.get(endpoint)
        deployment = found.deployments.get(name) if found else None
        if deployment is None or deployment.state != "Succeeded":
            raise errors.TryLater(f"{name} does not answer")
        self.own_requests[endpoint].append(self.machine.ms)
        if not deployment.is_good:
            return {}
        if self.machine.chance("cold", endpoint, name) < 0.1 and not self.machine.healed:
            raise errors.TryLater("it answered with status 503")
        deployment.answered = True
        return {"output": "It is in hall 3."}

    def request(self, endpoint: str) -> None:
        """A client asks, wherever the traffic goes."""
        found = self.endpoints.get(endpoint)
        for name in found.traffic if found else ():
            self.requests[endpoint].append(self.machine.ms)
            if found and name in found.deployments:
                found.deployments[name].used_ms = self.machine.ms

    def usage(self, endpoint: str, name: str, start: datetime, end: datetime) -> tuple[Usage, DeploymentHere | None]:
        """Return what the metrics say, and the deployment that they call idle (None: they do not)."""
        found = self.endpoints.get(endpoint)
        deployment = found.deployments.get(name) if found else None
        begin, stop, seen = _ms(start), _ms(end), self.machine.ms - METRIC_LAG_MS
        wanted = int((end - start) / self.policy.metric_grain)
        out = (
            not self.machine.healed
            and self.machine.chance("metrics", endpoint, self.machine.ms // (20 * MINUTE)) < self.machine.mix.metrics_out
        )
        ready = deployment.ready_ms if deployment else None
        beats = 0 if out or ready is None else max(0, min(wanted, (stop - max(begin, ready)) // MINUTE))
        clients = [ms for ms in self.requests[endpoint] if begin <= ms < stop]
        both = [ms for ms in (*clients, *self.own_requests[endpoint]) if begin <= ms < stop and ms <= seen and not out]
        last = self.machine_time(max(both)) if both else None
        usage = Usage(start=start, end=end, heartbeats=beats, heartbeats_wanted=wanted, requests=len(both), last_request_at=last)
        served = deployment.served_ms if deployment else None
        is_idle = beats == wanted and not clients and served is not None and served <= begin
        return usage, deployment if is_idle else None

    def seen_idle(self, deployment: DeploymentHere) -> None:
        deployment.idle_seen.append(self.machine.ms)
        if self.machine.running:
            notes_of(self.machine.running).slept_idle.add(deployment.name)

    @staticmethod
    def machine_time(ms: int) -> datetime:
        return NOON + timedelta(milliseconds=ms)

    def view(self, name: str) -> EndpointView | None:
        found = self.look_at_endpoint(name)
        if found is None:
            return None
        return EndpointView(
            state=found.state,
            owner=found.owner,
            service=found.service,
            scoring_uri=f"https://localhost/{name}/score",
            traffic=dict(found.traffic),
            deployments=tuple(DeploymentView(name=d.name, state=d.state, owner=d.owner) for d in found.deployments.values()),
        )

    def job_view(self, name: str) -> Job | None:
        job = self.job(name)
        if job is None:
            return None
        failure = plain(f"The training process was killed. {QUOTES}") if job.status == "Failed" else ""
        return Job(name=name, status=job.status, owner=job.owner, training=job.training, failure=failure)


def _ms(at: datetime) -> int:
    return int((at - NOON).total_seconds() * 1000)
