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
from shared.domain.recipe import Recipe
from shared.domain.record import Key, Kind
from shared.domain.service import Deployment, DeploymentView, EndpointView, Service, Usage, probe_every
from shared.domain.training import Job, Training
from shared.domain.tuning import PreparationJob, Tuning
from shared.domain.upload import bare_etag, short_hash
from shared.plain import plain
from tests.journeys.fakes import CATALOGUE, MODEL_FILES
from tests.simulation import standin
from tests.simulation.machine import NOON, QUOTES, Machine
from tests.simulation.watch import ALIVE, Watch, notes_of

OWNER = "00000000-0000-0000-0000-00000000000a"
STRANGER = "somebody-else"
MINUTE = 60_000
HOUR_MS = 60 * MINUTE
SLACK = timedelta(seconds=2)  # of what the app and Azure call now
SLACK_MS = 2_000
RECIPE = {"num_train_epochs": "3", "learning_rate": "5e-06", "apply_lora": "true"}  # of the example, where nobody wishes anything else
CATALOGUED = (
    CATALOGUE.component_id, CATALOGUE.model_name, CATALOGUE.model_id, CATALOGUE.compute, CATALOGUE.instance_type, CATALOGUE.gpus
)  # fmt: skip
NO_ANSWERS: tuple[object, ...] = ({}, [], "", None, {"output": ""}, {"error": "CUDA out of memory"}, [{"0": "  "}], {"output": {}})
ANSWERS: tuple[object, ...] = (
    {"output": "It is in hall 3."}, [{"0": "It is in hall 3."}], ["It is in hall 3."], "It is in hall 3.", {"answer": "It is in hall 3."}
)  # fmt: skip
METRIC_LAG_MS = 3 * MINUTE  # the policy reckons with more
PICKLE = "data/model/training_args.bin"
SEEN_WITHIN_MINUTES = 20  # who looked before may act so much later: a handler lives for 10 minutes, and what it sent for one more


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
    shown: tuple[str | None, str | None] | None = None  # owner and training by the tags of somebody else's job
    asked_ms: int = 0
    end_wanted_ms: int | None = None  # since we first asked for its end
    tags: Mapping[str, str] = field(default_factory=dict)
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
    replaced_ms: int | None = None  # since another one has its traffic
    back_ms: int = 0  # since it has it again
    went_bad: bool = False  # after it got the traffic
    lost_ms: int = 0  # newest time that it lost the traffic
    by_a_ghost: bool = False  # it first had traffic by a request that landed when its worker was gone
    is_orphan: bool = False  # of an endpoint with our tag whose record was lost before this history began
    made_ms: int = 0


@dataclass
class EndpointHere:
    name: str
    owner: str | None
    service: str | None
    incarnation: int
    state: str = "Creating"
    traffic: dict[str, int] = field(default_factory=dict)
    deployments: dict[str, DeploymentHere] = field(default_factory=dict)
    made_ms: int = 0
    taken_ms: int | None = None  # since somebody took its traffic away; None: nobody did, or it was set again
    appeared_ms: int = 0  # newest deployment that no record names; to be rid of it comes between the questions to a mute one


class Azure:
    """All that is outside of the app."""

    def __init__(self, machine: Machine, policy: Policy) -> None:
        self.machine, self.policy = machine, policy
        self.blobs: dict[str, BlobHere] = {}
        self.prepared: dict[str, Any] = {}
        self.records: dict[Key, tuple[bytes, int]] = {}
        self.active: set[Key] = set()
        self.activated_ms: dict[Key, int] = {}
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
        self.contents: dict[str, bytes] = {}  # of an upload, by tuning, as its path and version
        self.paths: dict[str, str] = {}
        self.etags: dict[str, str] = {}
        self.wishes: dict[str, dict[str, object]] = {}  # by folder
        self.paid_as: dict[str, str] = {}  # training, by what is paid for
        self.named_for: dict[str, str] = {}  # service, by endpoint
        self.paused_since_ms: int | None = None
        self.skew = timedelta(0)  # how far two clocks of the app may be apart
        self.intended_ms: dict[str, int] = {}  # when a delete was first written down, by endpoint: from then on it is carried out
        self.traffic_ms: dict[str, int] = {}  # when the traffic of an endpoint was last set
        self.candidate_ms: dict[str, int] = {}  # when a candidate of its service was offered or given up, by endpoint
        self.orphans: set[str] = set()  # endpoints that carry our tag and that no record names
        self.unreadable: set[Key] = set()  # records of another version of the app
        self.extra: dict[str, object] = {}  # what another version of the app writes into each record
        self.strangers_gone: set[str] = set()  # endpoints of somebody else that he has deleted
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

    def activate(self, key: Key) -> None:
        if key not in self.active:
            self.active.add(key)
            self.activated_ms[key] = self.machine.ms

    def services(self) -> list[Service]:
        return [self.read_record(key, Service) for key in self.records if key.kind is Kind.SERVICE]

    def is_paused(self) -> bool:
        return self.paused_since_ms is not None

    def _effect(self, what: str) -> None:
        """Something in Azure ML is about to begin, change or end."""
        handler = self.machine.running
        if handler is None or not handler.alive:  # nobody's, or a request that lands late
            return
        handler.effects += 1
        since = self.paused_since_ms
        on_purpose = since is None or handler.started < since
        self.check(on_purpose, f"S19: {what}, and PAUSED was on before this turn began")

    def service_of(self, tuning: str) -> str:
        """Return the id that the service of this upload has to have."""
        return short_hash(OWNER, "service", self.paths.get(tuning, "").partition("/")[0])

    # ------------------------------------------------------------------------------------------------------ jobs

    def submit(self, name: str, tags: Mapping[str, str], out: str, *, recipe: Recipe, uris: Mapping[str, str], asked_as: str = "") -> None:
        """`asked_as`: the name that the ledger knows, where a deliberate bug asks for another."""
        self._effect(f"job {name} is asked for")
        if name not in self.jobs and self.machine.chance("squatted job", name) < 0.02:
            self.jobs[name] = JobHere(name, STRANGER, None, "", 0, "Running", statuses={"Running"})
            how = int(3 * self.machine.chance("squatted how", name))
            self.jobs[name].shown = ((STRANGER, None), (STRANGER, tags.get(names.TRAINING_TAG)), (OWNER, "0123456789ab"))[how]
        if name in self.jobs:
            return
        training = tags.get(names.TRAINING_TAG, "")
        content = self._checked_job(asked_as or name, tags, out, recipe, uris)
        record = self.read_record(Key(kind=Kind.TRAINING, id=training), Training)
        self.check(
            record is not None and record.job == (asked_as or name), f"S10: job {name} was asked for and the ledger does not name it"
        )
        others = [j for j in self.jobs.values() if j.content == content and j.owner == OWNER]
        paid = [j.name for j in others if j.status in ALIVE or j.status == "Completed"]
        self.check(not paid, f"S1: job {name} is paid for beside {paid}, of the same content")
        self._has_a_slot(name, [j.name for j in self.jobs.values() if j.owner == OWNER and j.training and j.status in ALIVE])
        people = sum(1 for k in self.records if k.kind is Kind.TUNING)
        self.check(len(others) < self.policy.job_attempts_max + people, f"S1: {len(others) + 1} jobs were paid for one content")
        chance = self.machine.chance
        late = self._shows_after(name)
        shows_at = self.machine.ms + int(late)
        made = JobHere(name, tags.get(names.OWNER_TAG), training, content, shows_at, out=out, asked_ms=self.machine.ms)
        made.statuses, made.tags = {"Queued"}, dict(tags)
        self.jobs[name] = made
        self.machine.counts["jobs"] += 1
        fate = chance("job ends", name)
        end = "Completed" if fate < 0.8 else "Failed" if fate < 0.88 else "Canceled" if fate < 0.97 else "Running"
        lasts = (8 + 25 * chance("job lasts", name)) * MINUTE
        self.machine.at(lasts * 0.2, self._job_is, name, "Running")
        if end == "Completed":
            self.machine.at(lasts * 0.95, self._job_is, name, "Finalizing")
        self.machine.at(lasts, self._job_is, name, end)

    def _shows_after(self, name: str) -> float:
        """A job that was accepted shows at once, soon, or after hours."""
        luck, long = self.machine.chance("shows late", name), self.machine.chance("shows", name)
        return 90_000 * long if 0.01 <= luck < 0.2 else (60 + 180 * long) * MINUTE if luck < 0.01 else 0

    def showed_late(self, name: str) -> bool:
        """Tell whether nobody could see this job for so long that it had to be given up."""
        job = self.jobs.get(name)
        return job is not None and job.shows_at - job.asked_ms >= HOUR_MS

    def _checked_job(self, name: str, tags: Mapping[str, str], out: str, recipe: Recipe, uris: Mapping[str, str]) -> str:
        """Look at what a job that trains is asked to do; return what it is that is paid for."""
        check, tuning = self.check, tags.get(names.TUNING_TAG, "")
        bytes_of_it = self.contents.get(tuning)
        dataset = standin.dataset_sha256(bytes_of_it, OWNER) if bytes_of_it else ""
        training = tags.get(names.TRAINING_TAG, "")
        wanted = {
            names.OWNER_TAG: OWNER,
            names.TRAINING_TAG: training,
            names.SERVICE_TAG: self.service_of(tuning),
            names.TUNING_TAG: tuning,
            names.DATASET_TAG: dataset,
        }
        check(tags == wanted, f"S15: job {name} carries {dict(tags)}, not {wanted}")
        check(name.startswith(f"ft-{training}-a"), f"S15: job {name} is called after another training than {training}")
        files = standin.files_of(bytes_of_it, OWNER) if bytes_of_it else {}
        reads = {side: self.prepared.get(uri.partition("/paths/")[2]) for side, uri in uris.items()}
        check(reads == files, f"S5: job {name} reads {dict(uris)}, which are not the files of its upload")
        wish = self.wishes.get(self.paths.get(tuning, "").rpartition("/")[0], {})
        asked = {**RECIPE, **{key: str(value) for key, value in wish.items()}}
        check(recipe.parameters == asked, f"S15: job {name} is asked for with {recipe.parameters}, and {asked} was wished")
        same = (recipe.component_id, recipe.model_name, recipe.model_id, recipe.compute, recipe.instance_type, recipe.gpus)
        check(same == CATALOGUED and bool(recipe.display_name), f"S15: job {name} is asked for with {same}")
        content = f"{dataset} {sorted(asked.items())}"
        check(self.paid_as.setdefault(content, training) == training, f"S1: {name} trains what {self.paid_as[content]} stands for already")
        used = [job.name for job in self.jobs.values() if job.out == out]
        check(not used and out.endswith(f"/{name}"), f"S6: job {name} writes into {out}, as {used}")
        return content

    def prepare(
        self, name: str, upload: str, order: str, out: str, *, tags: Mapping[str, str], deadline: timedelta, display_name: str
    ) -> None:
        self._effect(f"job {name} is asked for")
        if name in self.jobs:
            return
        tuning = tags.get(names.TUNING_TAG, "")
        wanted = {names.OWNER_TAG: OWNER, names.TUNING_TAG: tuning, names.SERVICE_TAG: self.service_of(tuning)}
        self.check(tags == wanted, f"S15: job {name} carries {dict(tags)}, not {wanted}")
        self.check(name.startswith(f"prep-{tuning}-a"), f"S15: job {name} is called after another upload than {tuning}")
        self.check(upload == self.paths.get(tuning), f"S5: job {name} reads {upload}")
        self.check(deadline == self.policy.prepare_deadline and bool(display_name), f"L6: job {name} may take {deadline}")
        used = [job.name for job in self.jobs.values() if job.paths[2] == out]
        self.check(not used and order.startswith(out), f"S5: job {name} writes into {out}, as {used}")
        record = self.read_record(Key(kind=Kind.TUNING, id=tuning), Tuning)
        self.check(record is not None and record.job == name, f"S10: job {name} was asked for and the ledger does not name it")
        alive = [j.name for j in self.jobs.values() if j.tuning == tuning and j.status in ALIVE]
        self.check(not alive, f"S1: job {name} is paid for beside {alive}, of the same upload")
        self._has_a_slot(name, [j.name for j in self.jobs.values() if j.tuning and j.status in ALIVE])
        chance = self.machine.chance
        late = self._shows_after(name)
        self.jobs[name] = JobHere(
            name, tags.get(names.OWNER_TAG), None, "", self.machine.ms + int(late), "Running", tuning, (upload, order, out)
        )
        self.jobs[name].asked_ms = self.machine.ms
        self.machine.counts["preparation_jobs"] += 1
        end = "Completed" if chance("preparation ends", name) < 0.85 else "Failed"
        self.machine.at((4 + 12 * chance("preparation lasts", name)) * MINUTE, self._job_is, name, end)

    def _has_a_slot(self, name: str, at_work: list[str]) -> None:
        most = self.policy.jobs_at_once_max
        self.check(len(at_work) < most, f"S11: job {name} is paid for beside {at_work}, and no more than {most} may be at work")

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
        self._effect(f"job {name} is canceled")
        job = self.jobs[name]
        self.check(job.owner == OWNER, f"S3: job {name} of somebody else was canceled")
        if job.ended_ms is not None:
            ago = (self.machine.ms - job.ended_ms) // MINUTE
            self.check(ago <= SEEN_WITHIN_MINUTES, f"L1: job {name} is asked to end, and has ended {ago} minutes ago")
            return
        if job.status != "CancelRequested" and job.end_wanted_ms is None:
            self._may_be_canceled(job)
        job.end_wanted_ms = job.end_wanted_ms or self.machine.ms
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

    def _may_be_canceled(self, job: JobHere) -> None:
        """A job ends at its deadline, and not long after; one that prepares also when its upload is out of date."""
        deadline = _in_ms(self.policy.prepare_deadline if job.tuning else self.policy.job_deadline)
        path = self.paths.get(job.tuning or "", "")
        replaced = bool(job.tuning) and (path not in self.blobs or bare_etag(self.blobs[path].etag) != self.etags[job.tuning or ""])
        late = self.machine.ms - job.asked_ms - deadline
        early = late >= -SLACK_MS - _in_ms(self.skew) or replaced or self._is_superseded(job.tuning)
        self.check(early, f"L6: job {job.name} was canceled {-late / MINUTE:.0f} minutes before its deadline")
        if self.healed_ms is not None:
            late = self.machine.ms - max(job.asked_ms + deadline, job.shows_at, self.healed_ms)
            most = HOUR_MS + 2 * _in_ms(self.policy.tick)  # one left at work is looked at each hour; that message may be lost
            self.check(late < most, f"L6: job {job.name} was canceled {late / MINUTE:.0f} minutes after its deadline")

    def _is_superseded(self, tuning: str | None) -> bool:
        """Tell whether a later upload of the same service was offered."""
        if tuning is None:
            return False
        service = self.read_record(Key(kind=Kind.SERVICE, id=self.service_of(tuning)), Service)
        return service is not None and any(self.order[c.tuning] > self.order[tuning] for c in service.candidates)

    def job(self, name: str) -> JobHere | None:
        job = self.jobs.get(name)
        return job if job and self.machine.ms >= job.shows_at else None

    def never_ends(self, job: str) -> bool:
        """Tell whether a job was asked to end, is at work, and nobody will end it."""
        return job in self.jobs and self.jobs[job].status in ALIVE and not self.never_canceled.get(job, True)

    def is_pickled(self, job: str) -> bool:
        found = self.jobs.get(job)
        return found is not None and f"{found.out}/{PICKLE}" in self.prepared

    def register(self, model: str, version: str, job: str, tags: Mapping[str, str]) -> None:
        self._effect(f"the model of {job} is registered")
        found = self.jobs.get(job)
        self.check(found is not None and found.owner == OWNER, f"S3: the output of a job of somebody else, {job}, was registered")
        self.check(found is not None and found.status == "Completed", f"S2: {job} was registered and has not completed")
        self.check(
            not (self.policy.refuse_pickled_models and self.is_pickled(job)),
            f"S12: the model of {job} was registered, and its folder holds {PICKLE}",
        )
        known = [one for one, made_by in self.models.items() if made_by == job and one != (model, version)]
        self.check(not known, f"S6: {job} was registered as version {version} beside {known}")
        if found is not None and found.owner == OWNER:
            right = model.startswith(CATALOGUE.model_name) and version == found.training and tags == found.tags
            self.check(right, f"S15: the model of {job} is registered as {model}, version {version}, with {dict(tags)}")
        self.models[model, version] = job

    # ------------------------------------------------------------------------------------------------- endpoints

    def look_at_endpoint(self, name: str) -> EndpointHere | None:
        free = name not in self.endpoints and name not in self.deleted_ms and name not in self.strangers_gone
        if free and self.machine.chance("squatted endpoint", name) < 0.04:
            whose = next((one.id for one in self.services() if one.endpoint == name), None)
            shown = whose if self.machine.chance("squatted how", name) < 0.6 else None  # his tags name our service
            self.endpoints[name] = EndpointHere(name, STRANGER, shown, self.number(), "Succeeded", {"theirs": 100})
        found = self.endpoints.get(name)
        if found and self.machine.running:
            self.machine.running.read.add(found.incarnation)
        return found

    def create_endpoint(self, name: str, tags: Mapping[str, str]) -> None:
        self._effect(f"endpoint {name} is created")
        found = self.endpoints.get(name)
        if found:
            self.check(found.owner == OWNER, f"S3: endpoint {name} of somebody else was written over")
            if found.state in ("Creating", "Deleting"):
                raise errors.TryLater(f"{name} is {found.state}")
            return
        service = tags.get(names.SERVICE_TAG, "")
        self.check(tags == {names.OWNER_TAG: OWNER, names.SERVICE_TAG: service}, f"S15: {name} carries {dict(tags)}")
        known = {self.service_of(tuning) for tuning in self.paths}
        self.check(service in known, f"S15: {name} is made for {service}, which is no service of any upload")
        self.check(self.named_for.setdefault(name, service) == service, f"S15: {name} stands for {self.named_for[name]} and {service}")
        mine = [one for one, whose in self.named_for.items() if whose == service]
        self.check(len(mine) == 1, f"S15: {service} has the endpoints {mine}")
        record = self.read_record(Key(kind=Kind.SERVICE, id=service), Service)
        self.check(record is not None and record.endpoint_asked_at is not None, f"S10: {name} is created and the ledger does not say so")
        gone_ms, handler = self.deleted_ms.get(name, -(10**9)), self.machine.running
        rested, rest = self.machine.ms - gone_ms, self.policy_rest_ms - _in_ms(self.skew)
        late = handler is not None and handler.started < gone_ms  # a request of before, held up: it is found and deleted again
        self.check(
            late or rested >= rest, f"S8: {name} is created {rested / 1000:.0f} s after it was deleted, and rests {rest / 1000:.0f} s"
        )
        number = self.number()
        self.endpoints[name] = EndpointHere(name, tags.get(names.OWNER_TAG), tags.get(names.SERVICE_TAG), number, made_ms=self.machine.ms)
        self.machine.counts["endpoints"] += 1
        if self._hangs(f"{name} {number}", 0.03):
            return
        fails = self.machine.chance("endpoint fails", name, number) < 0.08
        self.machine.at(
            MINUTE * (1 + 4 * self.machine.chance(name, number)), self._endpoint_is, name, number, "Failed" if fails else "Succeeded"
        )

    owner = OWNER

    def hangs(self, endpoint: str) -> bool:
        """Tell whether this endpoint or a deployment of it ever hung."""
        return any(what.startswith(f"{endpoint} ") for what in self.hanging)

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

    # ----------------------------------------------------------------------------- what others do, and what was left

    def deployment_is_deleted_by_hand(self, endpoint: str) -> None:
        found = self.endpoints.get(endpoint)
        for name in [name for name, share in (found.traffic if found else {}).items() if share]:
            assert found is not None
            there = found.deployments.get(name)
            if found.owner == OWNER and found.state == "Succeeded" and there is not None and there.state == "Succeeded":
                self.excuses[found.deployments[name].tuning].add("deleted by hand")
                found.traffic = {}
                del found.deployments[name]
                self.machine.counts["by_hand"] += 1

    def traffic_is_taken_by_hand(self, endpoint: str) -> None:
        found = self.endpoints.get(endpoint)
        if found and found.owner == OWNER and found.state == "Succeeded" and found.traffic and endpoint not in self.orphans:
            found.traffic, found.taken_ms = {}, self.machine.ms
            self.machine.counts["by_hand"] += 1

    def stranger_leaves(self, endpoint: str) -> None:
        if endpoint in self.endpoints and self.endpoints[endpoint].owner == STRANGER:
            del self.endpoints[endpoint]
            self.strangers_gone.add(endpoint)

    def deployment_appears(self, endpoint: str) -> None:
        """A request of ours lands that was held up for longer than anything is made for."""
        found = self.endpoints.get(endpoint)
        if found and found.owner == OWNER and found.state == "Succeeded" and endpoint not in self.orphans:
            number = self.number()
            late = DeploymentHere(f"d9{number}-{number:08x}", OWNER, "", number, "Succeeded", ready_ms=self.machine.ms)
            found.deployments[late.name] = late
            found.appeared_ms = self.machine.ms
            self.machine.counts["appeared"] += 1

    def endpoint_appears(self, endpoint: str) -> None:
        """The same for an endpoint whose service has torn it down."""
        service = self.named_for.get(endpoint)
        record = self.read_record(Key(kind=Kind.SERVICE, id=service), Service) if service else None
        if record is None or endpoint in self.endpoints or record.stage != "torn down":
            return
        self.endpoints[endpoint] = EndpointHere(endpoint, OWNER, service, self.number(), "Succeeded", made_ms=self.machine.ms)
        self.deployment_appears(endpoint)

    def orphan_appears(self, name: str) -> None:
        """An endpoint that carries our tag and says of no service that it is its own: nobody may touch it, and people are told."""
        self.orphans.add(name)
        self.endpoints[name] = EndpointHere(name, OWNER, None, self.number(), "Succeeded", {"theirs": 100})

    def _own_endpoint(self, name: str, what: str) -> EndpointHere:
        found = self.endpoints.get(name)
        if found is None:
            raise errors.TryLater(f"no endpoint {name}")
        self.check(found.owner == OWNER, f"S3: {what} on endpoint {name} of somebody else")
        self.check(name not in self.orphans, f"S3: {what} on endpoint {name}, which no record names")
        if found.state in ("Creating", "Updating", "Deleting"):
            raise errors.TryLater(f"{name} is in {found.state} provisioning state")
        return found

    def delete_endpoint(self, name: str) -> None:
        self._effect(f"endpoint {name} is deleted")
        found = self.endpoints.get(name)
        if found is None or found.state == "Deleting":
            return
        self.check(found.owner == OWNER, f"S3: endpoint {name} of somebody else was deleted")
        self.check(name not in self.orphans, f"S3: endpoint {name} was deleted, and no record names it")
        if found.state == "Creating":
            self._may_be_deleted(f"{name} {found.incarnation}")
        handler = self.machine.running
        seen = handler is None or found.incarnation in handler.read
        self.check(seen, f"S8: {name} was deleted by a handler that never saw this endpoint of that name")
        record = self.read_record(Key(kind=Kind.SERVICE, id=str(found.service)), Service)
        resting = record is not None and record.deleting_endpoint and record.rest_until and record.rest_until > self.machine.now()
        self.check(bool(resting), f"S10: {name} was deleted and the ledger does not say until when its name rests")
        if record is not None:
            self._may_be_torn_down(found, record)
        for deployment in found.deployments.values():
            self._may_go(found, deployment)
            self.names_gone.add((name, deployment.name))
        self.deleted_ms[name] = self.machine.ms
        found.state = "Deleting"
        self.machine.at(
            MINUTE * (0.3 + 2 * self.machine.chance("gone", name, found.incarnation)), self._endpoint_gone, name, found.incarnation
        )

    def _may_be_torn_down(self, found: EndpointHere, record: Service) -> None:
        """An endpoint goes when it failed and serves nothing, or when its service has slept long enough, and then soon."""
        serving = [d.name for d in found.deployments.values() if d.served_ms is not None and d.state == "Succeeded"]
        if not serving and (found.state == "Failed" or (found.state == "Creating" and self.hangs(found.name))):
            return
        self.check(not self.policy.deletions_dry_run, f"S16: {found.name} is torn down in a dry run")
        since = record.asleep_since or record.created_at
        slept = self.machine.now() - since
        kept = self.policy.endpoint_kept_for
        self.check(slept >= kept - SLACK - self.skew, f"L6: {found.name} is torn down after {slept}, and is kept for {kept}")
        handler = self.machine.running
        knew = record.candidate is not None and handler is not None and self.candidate_ms.get(found.name, 0) < handler.started
        knew = knew and self.candidate_ms.get(found.name, 0) < self.intended_ms.get(found.name, 0)
        self.check(not knew, f"L6: {found.name} is torn down and {record.candidate} waits")
        if self.healed_ms is not None:
            late = self.machine.ms - max(_ms(since) + _in_ms(kept), self.healed_ms, found.made_ms)
            self.check(late < HOUR_MS, f"L6: {found.name} is torn down {late / MINUTE:.0f} minutes late")

    def create_deployment(self, endpoint: str, wanted: Deployment, tags: Mapping[str, str]) -> None:
        self._effect(f"deployment {wanted.name} is created")
        found = self._own_endpoint(endpoint, "a deployment was created")
        if (wanted.model, wanted.model_version) not in self.models:
            raise errors.Stop("no such model", next_action="")
        handler = self.machine.running
        late = handler is not None and not handler.alive  # a request of a worker that is gone: it was sent when the name was new
        self.check(late or (endpoint, wanted.name) not in self.names_gone, f"S8: the name {wanted.name} on {endpoint} was used before")
        if wanted.name in found.deployments:
            if found.deployments[wanted.name].state == "Deleting":
                raise errors.TryLater(f"{wanted.name} is Deleting")
            return
        record = self.read_record(Key(kind=Kind.SERVICE, id=str(found.service)), Service)
        self.check(wanted.name in {d.name for d in record.deployments}, f"S10: {wanted.name} is created and the ledger does not name it")
        chance, number = self.machine.chance, self.number()
        self._wants_quota(wanted.tuning, f"{endpoint}/{wanted.name}")
        self._checked_deployment(found, wanted, tags)
        is_good = chance("model", self.models[wanted.model, wanted.model_version]) > 0.12
        found.deployments[wanted.name] = DeploymentHere(
            wanted.name, tags[names.OWNER_TAG], wanted.tuning, number, is_good=is_good, made_ms=self.machine.ms
        )
        self.machine.counts["deployments"] += 1
        if self._hangs(f"{endpoint} {wanted.name}", 0.04):
            self.excuses[wanted.tuning].add("it hangs")
            return
        state = "Failed" if chance("deployment fails", wanted.name, endpoint) < 0.1 else "Succeeded"
        self.machine.at(
            MINUTE * (4 + 14 * chance("deploys", wanted.name, endpoint)), self._deployment_is, endpoint, wanted.name, number, state
        )

    def _checked_deployment(self, endpoint: EndpointHere, wanted: Deployment, tags: Mapping[str, str]) -> None:
        """What is deployed was trained on the bytes of the upload that it stands for, and says so."""
        job = self.jobs[self.models[wanted.model, wanted.model_version]]
        right = {
            names.OWNER_TAG: OWNER,
            names.SERVICE_TAG: str(endpoint.service),
            names.TRAINING_TAG: str(job.training),
            names.TUNING_TAG: wanted.tuning,
        }
        self.check(tags == right, f"S15: {wanted.name} carries {dict(tags)}, not {right}")
        dataset = standin.dataset_sha256(self.contents.get(wanted.tuning, b""), OWNER)
        self.check(job.tags.get(names.DATASET_TAG) == dataset, f"S15: {wanted.name} serves a model that saw other bytes than its upload's")
        self.check(self.service_of(wanted.tuning) == endpoint.service, f"S15: {wanted.name} serves an upload of another service")
        self.check(wanted.sample in self.prepared, f"S5: the questions {wanted.sample} of {wanted.name} are not there")

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
        self._effect(f"deployment {name} is deleted")
        found = self.endpoints.get(endpoint)
        deployment = found.deployments.get(name) if found else None
        if found is None or deployment is None or deployment.state == "Deleting":
            return
        self._own_endpoint(endpoint, f"{name} was deleted")
        self.check(deployment.owner == OWNER, f"S3: deployment {name} of somebody else was deleted")
        record = self.read_record(Key(kind=Kind.SERVICE, id=str(found.service)), Service)
        retires = record is not None and any(d.name == name and d.retiring for d in record.deployments)
        self.check(retires, f"S10: {name} on {endpoint} is deleted, and the ledger does not say that it retires")
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

    def add_orphan(self, name: str, service: str) -> None:
        """An endpoint that serves and whose record is lost."""
        lost = EndpointHere(name, self.owner, service, self.number(), "Succeeded", {"d4-01234567": 100})
        lost.deployments["d4-01234567"] = DeploymentHere("d4-01234567", self.owner, "", self.number(), "Succeeded", 0, is_orphan=True)
        self.endpoints[name] = lost
        self.machine.counts["orphans"] += 1

    def _retires(self, endpoint: EndpointHere, deployment: DeploymentHere) -> bool:
        """Tell whether this is to go and never was live, as far as its record knows."""
        record = self.read_record(Key(kind=Kind.SERVICE, id=str(endpoint.service)), Service)
        known = next((d for d in record.deployments if d.name == deployment.name), None) if record else None
        return known is not None and known.retiring and known.live_at is None

    def _is_no_way_back(self, record: Service, deployment: DeploymentHere) -> bool:
        """Tell whether nothing is to go back to this any more: its time is over, it could be asked twice more, or a newer one comes."""
        known = next((d for d in record.deployments if d.name == deployment.name), None)
        until = known.kept_until if known else None
        return until is not None and (bool(record.candidate) or self.machine.now() >= until + 2 * probe_every(self.policy) - self.skew)

    def _may_go(self, endpoint: EndpointHere, deployment: DeploymentHere) -> None:
        """Look whether a deployment that served is replaced, or was seen idle, and idle again after the grace."""
        if deployment.is_orphan:
            # Who decides sees no request of the last minutes, and nobody looks again while it is carried out.
            seen = [ms for ms in self.requests[endpoint.name] if ms < self.machine.ms - HOUR_MS]
            unused, age = (
                self.machine.ms - max(seen, default=0),
                _in_ms(self.policy.idle_after),
            )  # ticks may be missed, and what was used meanwhile
            record = self.read_record(Key(kind=Kind.SERVICE, id=str(endpoint.service)), Service)
            wanted = record is not None and record.candidates  # an upload came back to it: what serves without a proof has to go
            self.check(wanted or unused >= age, f"S4: {endpoint.name} has no record, was used {unused / MINUTE:.0f} minutes ago and goes")
        if deployment.served_ms is None or any(share for name, share in endpoint.traffic.items() if name != deployment.name):
            if self.healed_ms is not None and deployment.replaced_ms is not None:
                kept = self.policy.probation + 6 * self.policy.tick + 6 * self.policy.look_every
                billed = self.machine.ms - max(deployment.replaced_ms, self.healed_ms)
                short = billed <= kept.total_seconds() * 1000
                self.check(short, f"L2: {deployment.name} was billed for {billed / MINUTE:.0f} minutes after it was replaced")
            return
        before = [d for d in endpoint.deployments.values() if d is not deployment and d.served_ms is not None and d.state == "Succeeded"]
        if endpoint.taken_ms is not None and deployment.replaced_ms is not None and before:  # somebody took it from what replaced this one
            return
        unwritten = deployment.by_a_ghost or endpoint.taken_ms is not None  # it had its traffic before anybody wrote that it is live
        if unwritten and self._retires(endpoint, deployment):  # while a later upload was on its way to take its place
            return
        has_traffic = bool(endpoint.traffic.get(deployment.name))
        if deployment.went_bad and (before or not has_traffic):  # what is there gets the traffic next; or both were bad
            return
        record = self.read_record(Key(kind=Kind.SERVICE, id=str(endpoint.service)), Service)
        if not endpoint.traffic and record is not None and record.idle.permit:  # kept beside one that was idle and that somebody deleted
            return
        if (
            record is not None and not endpoint.traffic and self._is_no_way_back(record, deployment)
        ):  # and somebody deleted what replaced it
            return
        grace, seen = self.policy.idle_grace.total_seconds() * 1000, deployment.idle_seen
        idle = bool(seen) and seen[-1] - seen[0] >= grace - _in_ms(self.skew)
        self.check(not self.policy.deletions_dry_run, f"S16: {deployment.name} goes in a dry run")
        self.check(idle, f"S4: {deployment.name} on {endpoint.name} goes, was not replaced and not seen idle before and after its grace")
        if self.healed_ms is not None and not self.hangs(endpoint.name):  # what hangs is asked for before the live one is looked at
            policy = self.policy
            waits = policy.idle_after + policy.idle_grace + policy.metric_lag + 6 * policy.tick + 6 * policy.look_every
            began = max(deployment.served_ms, deployment.back_ms, self.candidate_ms.get(endpoint.name, 0))
            since = max(deployment.used_ms, began, self.healed_ms)
            billed = self.machine.ms - since
            self.check(billed <= waits.total_seconds() * 1000, f"L2: {deployment.name} was billed for {billed / MINUTE:.0f} minutes unused")

    def set_traffic(self, endpoint: str, traffic: Mapping[str, int]) -> None:
        self._effect(f"the traffic of {endpoint} is set")
        found = self._own_endpoint(endpoint, "traffic was set")
        self.check(sum(traffic.values()) == 100 or not traffic, f"S7: the shares of {endpoint} are {dict(traffic)}")
        for name in found.traffic.keys() - traffic.keys():
            if name in found.deployments:
                found.deployments[name].lost_ms = self.machine.ms
            others = [d for d in found.deployments.values() if d.name in traffic]
            if not others and name in found.deployments:
                self._may_go(found, found.deployments[name])
        for name, share in traffic.items():
            deployment = found.deployments.get(name)
            if deployment is None or deployment.state != "Succeeded":
                raise errors.TryLater(f"{name} cannot take traffic")
            if not share:
                continue
            self.check(deployment.answered and deployment.is_good, f"S2: {name} gets traffic and never answered its smoke test")
            for other in found.deployments.values():
                serves = other.served_ms is not None and other.state == "Succeeded" and not other.went_bad
                later = serves and self.order[other.tuning] > self.order[deployment.tuning]
                self.check(not later, f"S7: the traffic goes back from {other.name} to {name}, of an earlier upload")
            if deployment.served_ms is None:
                deployment.served_ms = self.machine.ms
                handler = self.machine.running
                deployment.by_a_ghost = handler is not None and not handler.alive
                self.machine.counts["served"] += 1
                self.on_traffic(endpoint)
                replaces = any(d.served_ms is not None and d.name != name for d in found.deployments.values())
                if self.machine.chance("goes bad", endpoint, name) < (0.6 if replaces else 0.1):
                    late = 2 + 58 * self.machine.chance("goes bad when", endpoint, name) ** 2
                    self.machine.at(late * MINUTE, self._goes_bad, endpoint, name, deployment.incarnation)
            elif deployment.replaced_ms is not None:
                self.machine.counts["went_back"] += 1
                deployment.back_ms = self.machine.ms
        for one in found.deployments.values():
            if one.name in found.traffic and one.name not in traffic:
                one.replaced_ms = self.machine.ms
            elif one.name in traffic:
                one.replaced_ms = None
        self.traffic_ms[endpoint] = self.machine.ms
        found.traffic, found.taken_ms = {name: share for name, share in traffic.items() if share}, None
        found.state = "Updating"
        self.machine.at(20_000, self._endpoint_is, endpoint, found.incarnation, "Succeeded")

    def _goes_bad(self, endpoint: str, name: str, incarnation: int) -> None:
        """A deployment that serves fails, or answers nothing from now on. Soon after a switch the one before it has to take over."""
        found = self.endpoints.get(endpoint)
        deployment = found.deployments.get(name) if found else None
        if found is None or deployment is None or deployment.incarnation != incarnation or deployment.state != "Succeeded":
            return
        deployment.went_bad = True
        self.excuses[deployment.tuning].add("it went bad")
        self.machine.counts["went_bad"] += 1
        if self.machine.chance("goes bad how", endpoint, name) < 0.5:
            deployment.state = "Failed"
        before = [d for d in found.deployments.values() if d.replaced_ms is not None and d.state == "Succeeded" and not d.went_bad]
        soon = deployment.served_ms is not None and self.machine.ms - deployment.served_ms < 20 * MINUTE
        if self.machine.healed and found.traffic.get(name) and before and soon:
            self.machine.counts["has_a_way_back"] += 1
            self.machine.at(55 * MINUTE, self._is_back, found, deployment)

    def _is_back(self, endpoint: EndpointHere, bad: DeploymentHere) -> None:
        record = self.read_record(Key(kind=Kind.SERVICE, id=str(endpoint.service)), Service)
        # A later upload took the way back's place, whatever became of it since.
        wanted = record.candidate is not None or any(self.order[c.tuning] > self.order[bad.tuning] for c in record.candidates)
        both = any(d.replaced_ms is not None and d.went_bad for d in endpoint.deployments.values())  # the one before it as well, since then
        back = wanted or both or not endpoint.traffic.get(bad.name)
        self.check(back, f"L7: {bad.name} on {endpoint.name} is bad for 55 minutes, and the traffic did not go back to the one before it")

    def ask(self, endpoint: str, name: str, body: Mapping[str, Any]) -> object:
        self._effect(f"{name} is asked")
        found = self.endpoints.get(endpoint)
        deployment = found.deployments.get(name) if found else None
        if deployment is None or deployment.state != "Succeeded":
            raise errors.TryLater(f"{name} does not answer")
        self._checked_question(found, deployment, body)
        self.own_requests[endpoint].append(self.machine.ms)
        is_bad = not deployment.is_good or deployment.went_bad
        if not is_bad and self.machine.chance("cold", endpoint, name) < 0.1 and not self.machine.healed:
            raise errors.TryLater("it answered with status 503")
        if self.machine.running:
            notes_of(self.machine.running).answered_of = found.service if found else None
        if is_bad:
            return NO_ANSWERS[int(self.machine.chance("no answer", endpoint, name) * len(NO_ANSWERS))]
        deployment.answered = True
        return ANSWERS[int(self.machine.chance("answer", endpoint, name) * len(ANSWERS))]

    def _checked_question(self, endpoint: EndpointHere | None, deployment: DeploymentHere, body: Mapping[str, Any]) -> None:
        """The question comes from the upload's own held-out rows, ends with the user's turn; on probation it is written down before."""
        asked = body["input_data"]["input_string"]
        content = self.contents.get(deployment.tuning, b"").decode()
        held_out = bool(asked) and asked[-1]["role"] == "user" and all(str(one["content"]) in content for one in asked)
        self.check(held_out, f"S15: {deployment.name} is asked {asked}, which is no question of its upload")
        record = self.read_record(Key(kind=Kind.SERVICE, id=str(endpoint and endpoint.service)), Service)
        handler = self.machine.running
        if handler is None or deployment.served_ms is None or deployment.served_ms > handler.started:  # its smoke test
            return
        known = next((d for d in record.deployments if d.name == deployment.name), None) if record else None
        probed_at = known.probed_at if known else None
        written = probed_at is not None and probed_at >= self.machine_time(handler.started) - SLACK - self.skew
        is_probe = known is not None and (known.live_at or known.kept_until)
        self.check(written or not is_probe, f"S10: {deployment.name} is asked, and when is not written down")

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
        owner, training = job.shown or (job.owner, job.training)
        return Job(name=name, status=job.status, owner=owner, training=training, failure=failure)


def _in_ms(duration: timedelta) -> int:
    return int(duration / timedelta(milliseconds=1))


def _ms(at: datetime) -> int:
    return int((at - NOON).total_seconds() * 1000)
