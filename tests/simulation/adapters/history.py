"""
One history of the simulation, lived by the shipped adapters: the same owners, events, timers and end, and HTTP in between.

Everything about it follows from one integer, also which of Azure's doubtful sides the local cloud plays.
"""

from __future__ import annotations

import base64
import contextlib
import random
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from unittest import mock

from localcloud import switches as sides
from localcloud.azureml import worlds
from shared import prepare
from shared import settings as app_settings
from shared.domain import doorbell
from shared.domain.policy import Policy
from shared.domain.record import Kind
from shared.domain.upload import Upload, bare_etag
from shared.prepare import Options
from shared.reconcile import arrivals, turn
from shared.reconcile.services import ServiceLife
from shared.reconcile.trainings import TrainingLife
from shared.reconcile.tunings import TuningLife
from tests.simulation import history, standin
from tests.simulation.adapters import azureml, processes, wire
from tests.simulation.adapters.azure import ACCOUNT, DATASETS, QUEUE, HttpAzure
from tests.simulation.adapters.storage import Message
from tests.simulation.azure import MINUTE, OWNER
from tests.simulation.history import CONTENTS, INVALID, SERVICES, STORAGE, VALID, Verdict
from tests.simulation.machine import NOON

POLICY = Policy(
    look_every=timedelta(minutes=12),
    tick=timedelta(minutes=30),
    job_attempts_max=2,
    jobs_at_once_max=2,
    job_deadline=timedelta(hours=2),
    deployment_deadline=timedelta(hours=1),
    idle_after=timedelta(minutes=40),
    idle_grace=timedelta(minutes=12),
    endpoint_kept_for=timedelta(minutes=30),
    refuse_pickled_models=True,
)
TICK_MS = 30 * MINUTE
FAULTY_MS = 200 * MINUTE
STEP_EVENTS_TOLD = 0.05  # of the events about steps: each is a handler that finds nothing
_prepared = standin.prepared


class Whole:
    """A place into which a file goes in one piece, as the stand-in of preparation writes it."""

    def __init__(self, place: Any) -> None:
        self._place = place
        self.published, self.publish, self.put = place.published, place.publish, place.put

    def commit(self, name: str, body: bytes) -> None:
        staged = self._place.stage(name)
        try:
            staged.write(body)
            staged.commit(sha256(body).hexdigest())
        except Exception:
            staged.abandon()
            raise


def over_blobs(sources: Any, place: Any, **given: Any) -> prepare.Prepared | prepare.Refused:
    return _prepared(sources, Whole(place), **given)


def drawn_mix(seed: int) -> wire.Mix:
    """Return how much goes wrong in this history: each kind is off with 30 %, else below its most, small values as often as large."""
    draw = random.Random(seed ^ 0x5EED).random

    def rate(most: float) -> float:
        off, exponent = draw() < 0.3, 1.5 * draw()
        return 0.0 if off else float(most * 10.0**-exponent)

    def one_of(*values: float) -> float:
        return values[int(draw() * len(values))]

    most = {"kill_before": 0.02, "kill_after": 0.03, "stall": 0.03, "lost": 0.06}
    return wire.Mix(
        rates=tuple(rate(most.get(name, 0.03)) for name in wire.FAULTS),
        lasting=one_of(0.1, 0.5, 0.9),
        stall_ms=int(one_of(60_000, 900_000, 1_800_000)),
        events_lost=one_of(0.0, 0.1, 0.5, 1.0),
        messages_doubled=one_of(0.0, 0.1, 0.4),
        ticks_missed=one_of(0.0, 0.1, 0.5),
        metrics_out=one_of(0.0, 0.0, 0.1, 0.4),
    )


def drawn_side(seed: int) -> tuple[sides.Switches, worlds.World, app_settings.Settings]:
    """Return a side of every question that Azure leaves open, a time of Azure, and settings that go with them."""
    draw = random.Random(seed ^ 0x51DE)
    chosen = {name: draw.choice(choices) for name, choices in sides.sides().items()}
    world = draw.choice((worlds.TODAY, worlds.SEED))
    model = draw.choice([name for (name, _), one in world.models.items() if not (one.archived and chosen["archived_model"] == "refused")])
    given = {"BASE_MODEL": model, "COMPUTE": draw.choice(("", "gpu-cluster")), "ENDPOINT_AUTH": draw.choice(("aad_token", "key"))}
    settings = app_settings.read({**processes.place(), **given})
    return sides.changed(sides.Switches(), chosen), world, settings


class AdapterHistory(history.History):
    """One installation of the app with its adapters."""

    machine: wire.WireMachine
    azure: HttpAzure  # type: ignore[assignment]

    def __init__(self, seed: int, *, mix: wire.Mix | None = None, plan: Mapping[int, str] | None = None, policy: Policy = POLICY) -> None:
        processes.built()
        switches, world, settings = drawn_side(seed)
        self.settings = settings
        self.machine = wire.WireMachine(seed, mix or drawn_mix(seed), plan=plan)
        self.azure = HttpAzure(self.machine, policy, switches=switches, world=world)
        self.machine.serve = self.azure.serve
        self.azure.storage.sent, self.azure.on_traffic, self.azure.on_event = self._sent, self._clients_come, self._happened
        self.policy = policy
        ports: Any = processes.Processes(self.machine, settings)
        self.loop = turn.Loop(
            ports=ports,
            policy=policy,
            clock=self.machine.now,
            workdir=Path(gettempdir()),
            options=Options(),
            serving_instance_type=settings.SERVING_INSTANCE_TYPE,
        )
        self.lives = turn.Lives(by_kind={Kind.TUNING: TuningLife(), Kind.TRAINING: TrainingLife(), Kind.SERVICE: ServiceLife()})
        self.versions: dict[tuple[str, str], bytes] = {}
        self.draw = random.Random(seed ^ 0x11FE).random
        self.uploads_left = 0
        self.machine.at(TICK_MS, self._tick)

    def draw_life(self) -> None:
        """One upload or two, at times three; few contents and paths, so that they meet."""
        services = SERVICES[: 1 + int(self.draw() * 2)]
        for number in range(1 + (self.draw() < 0.45) + (self.draw() < 0.1)):
            path = f"{services[int(self.draw() * len(services))]}/{int(self.draw() * 2)}.jsonl"
            content = CONTENTS[int(self.draw() * 3)] if self.draw() < 0.9 else INVALID
            self.upload_at((120 if number and self.draw() < 0.3 else 0) + 60 * self.draw() ** 2, path, content)
            if self.draw() < 0.08:  # somebody saw a mistake and uploads again while the first is being read
                self.upload_at(3 * self.draw(), path, VALID[int(self.draw() * 3)])

    def _upload(self, path: str, content: bytes) -> None:
        self.uploads_left -= 1
        blob = self.azure.put_blob(path, content)
        etag = bare_etag(blob.etag)
        self.versions[path, etag] = content
        upload = Upload(
            account=ACCOUNT, container=DATASETS, path=path, etag=etag, size=len(content), last_modified=blob.modified.replace(microsecond=0)
        )
        self.azure.order[upload.id] = (int((upload.last_modified - NOON).total_seconds()), upload.id)
        self._tell_upload(path, blob.etag)

    def _happened(self, topic: str, event: dict[str, Any]) -> None:
        """The local cloud raises an event; what the app subscribed to goes out."""
        kind = str(event["eventType"]).rpartition(".")[2]
        if topic != "azureml" or kind not in ("RunCompleted", "RunStatusChanged"):
            return
        run = str(event["subject"]).rpartition("/")[2]
        if run not in self.azure.cloud.jobs.all and self.draw() >= STEP_EVENTS_TOLD:
            return
        told = doorbell.Event(type=event["eventType"], subject=event["subject"], source=event["topic"], data=event["data"])
        self._tell(f"job_event_received {run}", partial(self._job_event, told))

    def _job_event(self, event: doorbell.Event) -> None:
        arrivals.job_event(self.loop, event, workspace_id=self.settings.workspace_id, who="job")

    def _tell_upload(self, path: str, etag: str) -> None:
        event = doorbell.Event(
            type="Microsoft.Storage.BlobCreated",
            subject=f"/blobServices/default/containers/{DATASETS}/blobs/{path}",
            source=STORAGE,
            data={"api": "PutBlob", "eTag": etag, "url": f"https://elsewhere.example/{path}"},
        )
        self._tell(f"dataset_event_received {path}", partial(arrivals.dataset_event, self.loop, event, who="event"))
        self._tell(f"dataset_blob_uploaded {path}", partial(arrivals.dataset_written, self.loop, DATASETS, path, who="blob"))

    def _sent(self, queue: str, message: Message) -> None:
        """A message lies in the queue: the host hands it out when it can be seen, and deletes it when its handler has ended well."""
        assert queue == QUEUE
        wait = (message.visible - self.machine.now()) / timedelta(milliseconds=1)
        self.machine.at(wait, self._seen_by_the_host, message)

    def _seen_by_the_host(self, message: Message) -> None:
        self.azure.storage.queues[QUEUE].remove(message)
        read = arrivals.message(base64.b64decode(message.text).decode("utf-8", "replace"))
        if read is None:
            self.machine.broken(f"The app sent a message that it cannot read: {message.text[:80]}")
            return
        self._delivered(*read)

    @contextlib.contextmanager
    def _in_place(self) -> Iterator[None]:
        with (
            processes.in_place(self.machine),
            azureml.in_place(self.azure.servers, self.azure.folder),
            mock.patch.object(standin, "prepared", over_blobs),
            mock.patch.multiple(history, TICK_MS=TICK_MS, FAULTY_MS=FAULTY_MS),
        ):
            yield

    def run(self) -> Verdict:
        with self._in_place():
            return super().run()

    def _check_the_end(self) -> None:
        with mock.patch.object(history, "OWNER", self.azure.owner or OWNER):
            super()._check_the_end()


def lived(seed: int, *, mix: wire.Mix | None = None, plan: Mapping[int, str] | None = None, policy: Policy = POLICY) -> Verdict:
    """Live the history of this seed."""
    one = AdapterHistory(seed, mix=mix, plan=plan, policy=policy)
    one.draw_life()
    return one.run()
