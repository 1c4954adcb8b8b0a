"""
The outside, in memory: one `World` holds what Azure and storage would show, and each fake is one port over it.

The fakes refuse as the real services do (create twice, write over another version, a deployment without its endpoint)
and keep state by the name that Azure would see. Every call passes `World.called`, where a test may plant a fault: an
error before the effect, an error after it, or the death of the process (`Killed`, which no handler can catch).
"""

from __future__ import annotations

import contextlib
import hashlib
import heapq
import io
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from shared import errors
from shared.domain import names
from shared.domain.policy import Policy
from shared.domain.recipe import Catalogue, Declared, Recipe
from shared.domain.record import Key, Kind
from shared.domain.service import Deployment, DeploymentView, EndpointView, Usage
from shared.domain.training import Job
from shared.domain.tuning import PreparationJob
from shared.domain.upload import Upload
from shared.ports import Change, Owned, Ports, Stored
from shared.prepare import Options
from shared.prepare import __main__ as command
from shared.reconcile import turn
from shared.reconcile.services import ServiceLife
from shared.reconcile.trainings import TrainingLife
from shared.reconcile.tunings import TuningLife
from tests.places import MemoryPlace

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
OWNER = "00000000-0000-0000-0000-00000000000a"
POLICY = Policy(
    look_every=timedelta(minutes=1),
    idle_after=timedelta(hours=1),
    idle_grace=timedelta(minutes=10),
    endpoint_kept_for=timedelta(hours=2),
    probation=timedelta(minutes=40),
)
MODEL_FILES = ("MLmodel", "conda.yaml", "data/model/config.json", "data/model/model.safetensors", "data/tokenizer/tokenizer.json")
MESSAGE_LEASE = timedelta(minutes=10)  # how long the Functions host hides a received message
ROWS = "".join(
    f'{{"messages":[{{"role":"user","content":"Where is order {n}?"}},{{"role":"assistant","content":"Order {n} is in hall {n * 7}."}}]}}\n'
    for n in range(40)
).encode()


class Killed(BaseException):
    """The process is gone: no handler of ours sees it."""


class World:
    """Everything outside of the app, and the queue that wakes it."""

    def __init__(self) -> None:
        self.now = NOON
        self.blobs: dict[str, tuple[bytes, Upload]] = {}
        self.prepared: dict[str, Any] = {}
        self.records: dict[Key, tuple[bytes, int]] = {}  # JSON, as it lies in storage, and its version
        self.active: set[Key] = set()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.models: dict[tuple[str, str], str] = {}
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, datetime]] = []  # endpoint, time
        self.metrics_out = False
        self.answer: object = {"output": "It is in hall 3."}
        self.answers: dict[str, object] = {}  # of one deployment, where it is another; an error is raised
        self.job_end = "Completed"
        self.model_files: tuple[str, ...] = MODEL_FILES
        self.preparation_ends = ["Completed"]  # of one job after the other; the last one goes on
        self.cancels_are_carried_out = True
        self.looks_until_jobs_show = 0  # a job that was accepted may not be visible at once
        self.deployment_end = "Succeeded"  # "Creating": it hangs, as does an endpoint
        self.endpoint_end = "Succeeded"
        self.hanging_stays_until: datetime | None = None  # until then Azure refuses to delete what is being made
        self.deletes_refused: list[datetime] = []
        self.no_quota_for: str | None = None  # "endpoint", "deployment": what Azure has no quota for; None: for all there is
        self.quota_refusals: list[datetime] = []
        self.queue: list[tuple[datetime, int, tuple[Key, str, datetime | None]]] = []
        self.changes: list[Change] = []
        self.undelivered: dict[str, int | None] = {}  # place -> messages, None: it cannot be looked at
        self.preparations_alive_max = 0
        self.effects: Counter[str] = Counter()  # of what a service really did
        self.calls = 0
        self.faults: dict[int, str] = {}  # number of a call -> "before", "after", "kill_before", "kill_after"
        self._sequence = 0

    def called(self, effect: Callable[[], Any]) -> Any:
        """Make one call to the outside, with the fault that is planted at its number."""
        fault = self.faults.get(self.calls, "")
        self.calls += 1
        if fault == "before":
            raise errors.TryLater("planted")
        if fault == "kill_before":
            raise Killed
        result = effect()
        if fault == "after":
            raise errors.TryLater("planted, after the effect")
        if fault == "kill_after":
            raise Killed
        return result

    def may_be_deleted(self, thing: Mapping[str, Any]) -> None:
        if thing["state"] == "Creating" and self.hanging_stays_until and self.now < self.hanging_stays_until:
            self.deletes_refused.append(self.now)
            raise errors.TryLater("it is in Creating provisioning state")

    def wants_quota(self, what: str) -> None:
        """Refuse as the adapter does when Azure says that the quota is used up."""
        if self.no_quota_for == what:
            self.quota_refusals.append(self.now)
            raise errors.NoQuota(f"Creating the {what}: not enough quota, 0 of 24 cores.", next_action="Ask for quota.")

    def upload(self, path: str, content: bytes = ROWS) -> Upload:
        self._sequence += 1
        upload = Upload(
            account="acc", container="datasets", path=path, etag=f"0x{self._sequence}", size=len(content), last_modified=self.now
        )
        self.blobs[path] = (content, upload)
        return upload

    def push(self, at: datetime, message: tuple[Key, str, datetime | None]) -> None:
        self._sequence += 1
        heapq.heappush(self.queue, (at, self._sequence, message))

    def cancel(self, job: str) -> None:
        """Accept it; what becomes of it is Azure's affair."""
        self.effects["cancel"] += 1
        if self.cancels_are_carried_out:
            self.jobs[job]["status"] = "Canceled"

    def advance_services(self) -> None:
        """Let Azure do its part: jobs, endpoints and deployments reach the end of what was asked, in their time."""
        for name, job in self.jobs.items():
            if job["status"] == "Running" and "files" in job:
                if self.now >= job["asked_at"] + timedelta(minutes=5):
                    job["status"] = self._prepared(name, job)
            elif job["status"] == "Running" and self.now >= job["asked_at"] + timedelta(minutes=20):
                job["status"] = self.job_end
                if job["status"] == "Completed":
                    self.prepared |= {f"{job['model']}/{file}": b"" for file in self.model_files}
        self._advance_endpoints()

    def _prepared(self, name: str, job: Mapping[str, Any]) -> str:
        """Do what the job's command does, with the real one; its files are seen only if it ends well."""
        end = self.preparation_ends.pop(0) if len(self.preparation_ends) > 1 else self.preparation_ends[0]
        if end != "Completed":
            return end
        if not all(path in self.blobs for path in job["files"]):
            return "Failed"
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / "in" / str(number) / Path(path).name for number, path in enumerate(job["files"])]
            for path, name_there in zip(paths, job["files"], strict=True):
                path.parent.mkdir(parents=True)
                path.write_bytes(self.blobs[name_there][0])
            order, out = Path(folder) / "order.json", Path(folder) / "out"
            order.write_text(json.dumps(self.prepared[job["order"]]))
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                code = command.main([*map(str, paths), "--order", str(order), "--out", str(out)])
            if code:
                return "Failed"
            for file in out.iterdir():
                self.prepared[f"{job['out']}/{file.name}"] = file.read_bytes()
        return "Completed"

    def _advance_endpoints(self) -> None:
        for endpoint in self.endpoints.values():
            if endpoint["state"] == "Creating" and self.now >= endpoint["asked_at"] + timedelta(minutes=2):
                endpoint["state"] = self.endpoint_end
            for deployment in endpoint["deployments"].values():
                if deployment["state"] == "Creating" and self.now >= deployment["asked_at"] + timedelta(minutes=8):
                    deployment["state"] = self.deployment_end


class FakeLedger:
    def __init__(self, world: World) -> None:
        self.world = world

    def owner(self) -> str:
        return OWNER

    def create(self, key: Key, body: Mapping[str, Any]) -> bool:
        def effect() -> bool:
            self.world.active.add(key)
            if key in self.world.records:
                return False
            self.world.records[key] = (msgspec.json.encode(body), 1)
            return True

        return bool(self.world.called(effect))

    def read(self, key: Key) -> Stored | None:
        def effect() -> Stored | None:
            if key not in self.world.records:
                return None
            body, version = self.world.records[key]
            return Stored(body=msgspec.json.decode(body), version=str(version))

        result: Stored | None = self.world.called(effect)
        return result

    def replace(self, key: Key, body: Mapping[str, Any], version: str) -> str:
        def effect() -> str:
            _, newest = self.world.records.get(key, (b"", None))
            if newest is None or str(newest) != version:
                raise errors.LostRace(f"{key}")
            self.world.records[key] = (msgspec.json.encode(body), newest + 1)
            return str(newest + 1)

        return str(self.world.called(effect))

    def activate(self, key: Key) -> None:
        self.world.called(lambda: self.world.active.add(key))

    def deactivate(self, key: Key) -> None:
        self.world.called(lambda: self.world.active.discard(key))

    def active(self) -> Iterator[Key]:
        yield from self.world.called(lambda: sorted(self.world.active))

    def ids(self, kind: Kind) -> Iterator[str]:
        yield from self.world.called(lambda: [key.id for key in self.world.records if key.kind is kind])


def files_below(prepared: Mapping[str, Any], folder: str, hashed_bytes_max: int) -> dict[str, tuple[int, str | None]]:
    """What `Datasets.files` says of a container that holds bytes and documents by their paths."""
    found = {path.removeprefix(f"{folder}/"): body for path, body in prepared.items() if path.startswith(f"{folder}/")}
    bodies = {name: body if isinstance(body, bytes) else json.dumps(body).encode() for name, body in found.items()}
    hashed = {name: hashlib.sha256(body).hexdigest() for name, body in bodies.items() if len(body) <= hashed_bytes_max}
    return {name: (len(body), hashed.get(name)) for name, body in bodies.items()}


class FakeDatasets:
    account = "acc"
    container = "datasets"

    def __init__(self, world: World) -> None:
        self.world = world
        self.wished: dict[str, object] = {}  # where no `_recipe.json` was uploaded

    def head(self, path: str) -> Upload | None:
        def effect() -> Upload | None:
            content, upload = self.world.blobs.get(path, (b"", None))
            return upload if content else None

        found: Upload | None = self.world.called(effect)
        return found

    def uploads(self) -> Iterator[Upload]:
        yield from self.world.called(lambda: [upload for content, upload in self.world.blobs.values() if content])

    def open(self, upload: Upload) -> Generator[bytes, None, None]:
        def effect() -> bytes:
            content, current = self.world.blobs.get(upload.path, (b"", None))
            if current is None or current.etag != upload.etag:
                raise errors.UploadChanged("The blob was replaced or deleted while it was read.")
            return content

        yield self.world.called(effect)

    def wishes(self, folder: str) -> dict[str, object]:
        content, _ = self.world.called(lambda: self.world.blobs.get(f"{folder}/_recipe.json".lstrip("/"), (b"", None)))
        try:
            wishes = json.loads(content) if content else self.wished
        except (ValueError, RecursionError):
            raise errors.Rejected("_recipe.json is no JSON.") from None
        if not isinstance(wishes, dict):
            raise errors.Rejected("_recipe.json must be a JSON object.")
        return dict(wishes)

    def place(self, folder: str, manifests: str) -> MemoryPlace:
        return MemoryPlace(self.world.prepared, folder, manifests, called=self.world.called)

    def uri(self, folder: str, file: str) -> str:
        return f"azureml://datastores/tuneloop_prepared/paths/{folder}/{file}"

    def upload_uri(self, path: str) -> str:
        return f"azureml://datastores/tuneloop_datasets/paths/{path}"

    def files(self, folder: str, *, hashed_bytes_max: int) -> dict[str, tuple[int, str | None]]:
        return dict(self.world.called(lambda: files_below(self.world.prepared, folder, hashed_bytes_max)))

    def write(self, path: str, body: Mapping[str, Any]) -> None:
        self.world.called(lambda: self.world.prepared.__setitem__(path, dict(body)))

    def read(self, path: str) -> Any:
        found = self.world.called(lambda: self.world.prepared.get(path))
        return json.loads(found) if isinstance(found, bytes) else found


class FakePreparations:
    def __init__(self, world: World) -> None:
        self.world = world

    def job(self, name: str) -> PreparationJob | None:
        def effect() -> PreparationJob | None:
            job = self.world.jobs.get(name)
            if job is None:
                return None
            if self.world.looks_until_jobs_show:
                self.world.looks_until_jobs_show -= 1
                return None
            failure = "The machine was taken away." if job["status"] == "Failed" else ""
            owner, tuning = job["tags"].get(names.OWNER_TAG), job["tags"].get(names.TUNING_TAG)
            return PreparationJob(name=name, status=job["status"], owner=owner, tuning=tuning, failure=failure)

        result: PreparationJob | None = self.world.called(effect)
        return result

    def submit(
        self, name: str, *, files: Sequence[str], order: str, out: str, deadline: timedelta, display_name: str, tags: Mapping[str, str]
    ) -> None:
        def effect() -> None:
            if name in self.world.jobs:
                return
            self.world.effects["preparation"] += 1
            alive = [other for other, job in self.world.jobs.items() if job["status"] == "Running" and "files" in job]
            self.world.preparations_alive_max = max(self.world.preparations_alive_max, len(alive) + 1)
            self.world.jobs[name] = {
                "status": "Running",
                "asked_at": self.world.now,
                "tags": dict(tags),
                "files": [uri.partition("/paths/")[2] for uri in files],
                "order": order.partition("/paths/")[2],
                "out": out.partition("/paths/")[2].rstrip("/"),
            }

        self.world.called(effect)

    def cancel(self, name: str) -> None:
        self.world.called(lambda: self.world.cancel(name))


CATALOGUE = Catalogue(
    component_id="azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82",
    component_inputs={
        "train_file_path": Declared(type="uri_file"),
        "num_train_epochs": Declared(type="integer", minimum=1, default="1"),
        "learning_rate": Declared(type="number", default="2e-05"),
        "apply_lora": Declared(type="string", enum=("true", "false"), default="false"),
    },
    model_name="Phi-3-mini-4k-instruct",
    model_id="azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/15",
    model_archived=False,
    model_suggestions="{'num_train_epochs': 1, 'learning_rate_min': 5e-7, 'learning_rate_max': 5e-5}",
    compute="gpu-cluster",
    instance_type="Standard_NC24ads_A100_v4",
    gpus=1,
)


class FakeTrainings:
    def __init__(self, world: World) -> None:
        self.world = world

    def catalogue(self) -> Catalogue:
        result: Catalogue = self.world.called(lambda: CATALOGUE)
        return result

    def job(self, name: str) -> Job | None:
        def effect() -> Job | None:
            job = self.world.jobs.get(name)
            if job is None:
                return None
            if self.world.looks_until_jobs_show:
                self.world.looks_until_jobs_show -= 1
                return None
            tags = job["tags"]
            failure = "The training process was killed." if job["status"] == "Failed" else ""
            return Job(
                name=name, status=job["status"], owner=tags.get(names.OWNER_TAG), training=tags.get(names.TRAINING_TAG), failure=failure
            )

        result: Job | None = self.world.called(effect)
        return result

    def submit(self, name: str, *, recipe: Recipe, uris: Mapping[str, str], out: str, tags: Mapping[str, str]) -> None:
        def effect() -> None:
            if name not in self.world.jobs:  # the service refuses the second one; the port hides that
                self.world.effects["job"] += 1
                job = {"status": "Running", "asked_at": self.world.now, "tags": dict(tags), "recipe": recipe}
                self.world.jobs[name] = job | {"model": out.partition("/paths/")[2].rstrip("/")}

        self.world.called(effect)

    def cancel(self, name: str) -> None:
        self.world.called(lambda: self.world.cancel(name))

    def metrics(self, job: str) -> dict[str, float]:
        return dict(self.world.called(lambda: {"eval_loss": 0.5} if job in self.world.jobs else {}))

    def registered(self, model: str, version: str) -> bool:
        return bool(self.world.called(lambda: (model, version) in self.world.models))

    def register(self, model: str, version: str, *, job: str, tags: Mapping[str, str]) -> None:
        self.world.called(lambda: self.world.models.__setitem__((model, version), job))


class FakeEndpoints:
    def __init__(self, world: World) -> None:
        self.world = world

    def endpoint(self, name: str) -> EndpointView | None:
        def effect() -> EndpointView | None:
            found = self.world.endpoints.get(name)
            if found is None:
                return None
            return EndpointView(
                state=found["state"],
                owner=found["tags"].get(names.OWNER_TAG),
                service=found["tags"].get(names.SERVICE_TAG),
                scoring_uri=f"https://localhost/{name}/score",
                traffic=dict(found["traffic"]),
                deployments=tuple(
                    DeploymentView(name=n, state=d["state"], owner=d["tags"].get(names.OWNER_TAG)) for n, d in found["deployments"].items()
                ),
            )

        result: EndpointView | None = self.world.called(effect)
        return result

    def owned(self, owner: str) -> Iterator[Owned]:
        def effect() -> list[Owned]:
            tags = {name: found["tags"] for name, found in self.world.endpoints.items()}
            return [Owned(name=name, service=t.get(names.SERVICE_TAG)) for name, t in tags.items() if t.get(names.OWNER_TAG) == owner]

        yield from self.world.called(effect)

    def create_endpoint(self, name: str, *, tags: Mapping[str, str]) -> None:
        def effect() -> None:
            if name not in self.world.endpoints:
                self.world.wants_quota("endpoint")
                self.world.effects["endpoint"] += 1
                self.world.endpoints[name] = {
                    "state": "Creating",
                    "asked_at": self.world.now,
                    "tags": dict(tags),
                    "traffic": {},
                    "deployments": {},
                }

        self.world.called(effect)

    def delete_endpoint(self, name: str) -> None:
        def effect() -> None:
            self.world.may_be_deleted(self.world.endpoints.get(name, {"state": "gone"}))
            if self.world.endpoints.pop(name, None):
                self.world.effects["endpoint_deleted"] += 1

        self.world.called(effect)

    def create_deployment(self, endpoint: str, deployment: Deployment, *, tags: Mapping[str, str]) -> None:
        def effect() -> None:
            if endpoint not in self.world.endpoints:
                raise errors.TryLater("no such endpoint")
            if (deployment.model, deployment.model_version) not in self.world.models:
                raise errors.Stop("no such model", next_action="")
            deployments = self.world.endpoints[endpoint]["deployments"]
            if deployment.name not in deployments:
                self.world.wants_quota("deployment")
                self.world.effects["deployment"] += 1
                deployments[deployment.name] = {"state": "Creating", "asked_at": self.world.now, "tags": dict(tags)}

        self.world.called(effect)

    def delete_deployment(self, endpoint: str, name: str) -> None:
        def effect() -> None:
            found = self.world.endpoints.get(endpoint)
            if found is None or name not in found["deployments"]:
                return
            if found["traffic"].get(name):
                raise errors.Stop(f"{name} still has traffic", next_action="")
            self.world.may_be_deleted(found["deployments"][name])
            del found["deployments"][name]
            self.world.effects["deployment_deleted"] += 1

        self.world.called(effect)

    def set_traffic(self, endpoint: str, traffic: Mapping[str, int]) -> None:
        def effect() -> None:
            found = self.world.endpoints[endpoint]
            assert set(traffic) <= set(found["deployments"])
            found["traffic"] = {k: v for k, v in traffic.items() if v}

        self.world.called(effect)

    def ask(self, endpoint: str, scoring_uri: str, *, deployment: str, body: Mapping[str, object]) -> object:
        def effect() -> object:
            answer = self.world.answers.get(deployment, self.world.answer)
            if isinstance(answer, errors.TryLater) and not isinstance(answer, errors.BadAnswer):
                raise answer  # it did not get there
            self.world.requests.append((endpoint, self.world.now))
            if isinstance(answer, errors.BadAnswer):
                raise answer
            return answer

        return self.world.called(effect)

    def log_tail(self, endpoint: str, deployment: str) -> str:
        return str(self.world.called(lambda: "weights do not load"))


class FakeMetrics:
    def __init__(self, world: World) -> None:
        self.world = world

    def usage(self, endpoint: str, deployment: str, *, start: datetime, end: datetime) -> Usage | None:
        def effect() -> Usage:
            wanted = int((end - start) / timedelta(minutes=1))
            at = [when for name, when in self.world.requests if name == endpoint and start <= when < end]
            beats = 0 if self.world.metrics_out else wanted
            return Usage(
                start=start, end=end, heartbeats=beats, heartbeats_wanted=wanted, requests=len(at), last_request_at=max(at, default=None)
            )

        result: Usage | None = self.world.called(effect)
        return result


class FakeTurns:
    def __init__(self, world: World) -> None:
        self.world = world

    def ring(self, key: Key, *, who: str, promised: datetime | None = None, delay: timedelta = timedelta(0)) -> None:
        self.world.called(lambda: self.world.push(self.world.now + delay, (key, who, promised)))


class FakeUndelivered:
    def __init__(self, world: World) -> None:
        self.world = world

    def counts(self) -> dict[str, int | None]:
        return dict(self.world.called(lambda: self.world.undelivered))


class FakeAnnouncer:
    def __init__(self, world: World) -> None:
        self.world = world

    def announce(self, change: Change) -> None:
        self.world.changes.append(change)


LIVES = turn.Lives(by_kind={Kind.TUNING: TuningLife(), Kind.TRAINING: TrainingLife(), Kind.SERVICE: ServiceLife()})


def loop_over(world: World, workdir: Path, policy: Policy = POLICY) -> turn.Loop:
    return turn.Loop(
        ports=Ports(
            ledger=FakeLedger(world),
            datasets=FakeDatasets(world),
            preparations=FakePreparations(world),
            trainings=FakeTrainings(world),
            endpoints=FakeEndpoints(world),
            metrics=FakeMetrics(world),
            turns=FakeTurns(world),
            announcer=FakeAnnouncer(world),
            inventory=FakeEndpoints(world),
            undelivered=FakeUndelivered(world),
        ),
        policy=policy,
        clock=lambda: world.now,
        workdir=workdir,
        options=Options(),
        serving_instance_type="Standard_NC24ads_A100_v4",
    )


def record(world: World, key: Key) -> Any:
    body = msgspec.json.decode(world.records[key][0])
    life = LIVES.by_kind.get(key.kind)
    return msgspec.convert(body, life.record_type) if life else body


def all_of(world: World, kind: Kind) -> list[Any]:
    return [record(world, key) for key in sorted(world.records) if key.kind is kind]
