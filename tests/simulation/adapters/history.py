"""
One history of the simulation, lived by the shipped adapters: the same owners, events, timers and end, and HTTP in between.

Everything about it follows from one integer, also which of Azure's doubtful sides the local cloud plays.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import random
from collections import Counter
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
from shared import doors, prepare, wiring
from shared import settings as app_settings
from shared.domain import service, slots, training, tuning
from shared.domain.policy import Policy
from shared.domain.record import Key, Kind
from shared.domain.upload import Upload, bare_etag
from shared.prepare import Options
from shared.reconcile import arrivals, turn
from shared.reconcile.services import ServiceLife
from shared.reconcile.trainings import TrainingLife
from shared.reconcile.tunings import TuningLife
from tests.simulation import standin
from tests.simulation.adapters import azureml, processes, wire
from tests.simulation.adapters.azure import ACCOUNT, DATASETS, QUEUE, HttpAzure
from tests.simulation.adapters.storage import Message
from tests.simulation.azure import MINUTE, OWNER
from tests.simulation.events import GridEvent, uploaded
from tests.simulation.history import (
    CONTENTS,
    DEAD_NOTICED_MS,
    DEQUEUED_MAX,
    EXHAUSTED,
    INVALID,
    MESSAGE_AGAIN_MS,
    REDELIVERED_MS,
    SERVICES,
    VALID,
    Verdict,
)
from tests.simulation.machine import NOON

POLICY = Policy(
    look_every=timedelta(minutes=20),
    tick=timedelta(minutes=45),
    job_attempts_max=2,
    jobs_at_once_max=2,
    job_deadline=timedelta(hours=2),
    cancel_deadline=timedelta(minutes=30),
    deployment_deadline=timedelta(hours=1),
    quota_deadline=timedelta(minutes=40),
    idle_after=timedelta(minutes=30),
    idle_grace=timedelta(minutes=12),
    endpoint_kept_for=timedelta(minutes=10),
    refuse_pickled_models=True,
)
TICK_MS = 45 * MINUTE
FAULTY_MS = 150 * MINUTE
HEALED_MS = 900 * MINUTE  # long enough for what was given up last to be found, waited for and deleted
RECORD_TYPES: dict[Kind, Any] = {Kind.TUNING: tuning.Tuning, Kind.TRAINING: training.Training, Kind.SERVICE: service.Service}
Record = tuning.Tuning | training.Training | service.Service
FORESEEN = ("action=turn_poisoned", "action=cancel_not_seen")  # on ERROR, and no fault of the app
STEPS_TOLD, MOVES_TOLD = 0.03, 0.15  # of the events about steps and about a job on its way: each is a handler that finds nothing
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


class _Heard(logging.Handler):
    """The app says on ERROR that something unforeseen left a step; the loop goes on, and the simulation must not."""

    def __init__(self, machine: wire.WireMachine) -> None:
        super().__init__(logging.ERROR)
        self.machine = machine

    def emit(self, record: logging.LogRecord) -> None:
        if not record.getMessage().endswith(FORESEEN):
            self.machine.broken(f"The app logged: {record.getMessage()}")


class History:
    """One installation of the app with its adapters, its owners and its clients."""

    def __init__(self, seed: int, *, mix: wire.Mix | None = None, plan: Mapping[int, str] | None = None, policy: Policy = POLICY) -> None:
        processes.built().renew()
        switches, world, self.settings = drawn_side(seed)
        self.machine = wire.WireMachine(seed, mix or drawn_mix(seed), plan=plan)
        self.azure = HttpAzure(self.machine, policy, switches=switches, world=world)
        self.machine.serve = self.azure.serve
        self.azure.storage.sent, self.azure.on_traffic, self.azure.on_event = self._sent, self._clients_come, self._happened
        self.policy = policy
        ports: Any = processes.Processes(self.machine, self.settings)
        self.loop = turn.Loop(
            ports=ports,
            policy=policy,
            clock=self.machine.now,
            workdir=Path(gettempdir()),
            options=Options(),
            serving_instance_type=self.settings.SERVING_INSTANCE_TYPE,
        )
        self.lives = turn.Lives(by_kind={Kind.TUNING: TuningLife(), Kind.TRAINING: TrainingLife(), Kind.SERVICE: ServiceLife()})
        self.versions: dict[tuple[str, str], bytes] = {}  # path, bare ETag
        self.draw = random.Random(seed ^ 0x11FE).random
        self.uploads_left = 0
        self.machine.at(TICK_MS, self._tick)

    # ------------------------------------------------------------------------------------------------- what happens

    def draw_life(self) -> None:
        """One upload or two, at times three; few contents and paths, so that they meet."""
        services = SERVICES[: 1 + int(self.draw() * 2)]
        for number in range(1 + (self.draw() < 0.35) + (self.draw() < 0.06)):
            path = f"{services[int(self.draw() * len(services))]}/{int(self.draw() * 2)}.jsonl"
            content = CONTENTS[int(self.draw() * 3)] if self.draw() < 0.9 else INVALID
            self.upload_at((100 if number and self.draw() < 0.3 else 0) + 45 * self.draw() ** 2, path, content)
            if self.draw() < 0.08:  # somebody saw a mistake and uploads again while the first is being read
                self.upload_at(3 * self.draw(), path, VALID[int(self.draw() * 3)])

    def upload_at(self, minutes: float, path: str, content: bytes) -> None:
        self.uploads_left += 1
        self.machine.at(minutes * MINUTE, self._upload, path, content)

    def _upload(self, path: str, content: bytes) -> None:
        self.uploads_left -= 1
        blob = self.azure.put_blob(path, content)
        etag = bare_etag(blob.etag)
        self.versions[path, etag] = content
        modified = blob.modified.replace(microsecond=0)
        upload = Upload(account=ACCOUNT, container=DATASETS, path=path, etag=etag, size=len(content), last_modified=modified)
        self.azure.order[upload.id] = (int((modified - NOON).total_seconds()), upload.id)
        event = uploaded(path, blob.etag, self.draw)
        self._tell(f"dataset_event_received {path}", partial(doors.dataset_event, event, who="event"))
        self._tell(f"dataset_blob_uploaded {path}", partial(doors.dataset_written, DATASETS, path, who="blob"))

    def _happened(self, topic: str, event: dict[str, Any]) -> None:
        """The local cloud raises an event; what the app subscribed to goes out."""
        kind = str(event["eventType"]).rpartition(".")[2]
        if topic != "azureml" or kind not in ("RunCompleted", "RunStatusChanged"):
            return
        run = str(event["subject"]).rpartition("/")[2]
        job = self.azure.cloud.jobs.all.get(run)
        if self.draw() >= (STEPS_TOLD if job is None else 1.0 if job.over else MOVES_TOLD):
            return
        told = GridEvent(str(event["eventType"]), str(event["subject"]), str(event["topic"]), event["data"])
        self._tell(f"job_event_received {run}", partial(doors.job_event, told, who="job"))

    def _tell(self, name: str, work: partial[None]) -> None:
        """An event goes out: lost, once, twice or thrice, now or minutes later."""
        draw, machine = self.draw, self.machine
        lost = not machine.healed and draw() < machine.mix.events_lost
        copies = 0 if lost else 1 + (draw() < 0.2) + (draw() < 0.06)
        for _ in range(copies):
            machine.at(400_000 * draw() ** 3, self._event_delivered, name, work, 0)

    def _event_delivered(self, name: str, work: partial[None], tries: int) -> None:
        def again(killed: bool) -> None:
            if tries < len(REDELIVERED_MS):
                wait = REDELIVERED_MS[tries] + (DEAD_NOTICED_MS if killed else 0)
                self.machine.at(wait, self._event_delivered, name, work, tries + 1)

        self.machine.spawn(name, work, again)

    def _sent(self, queue: str, message: Message) -> None:
        """A message lies in the queue: the host hands it out when it can be seen, at times twice."""
        assert queue == QUEUE
        self.machine.at((message.visible - self.machine.now()) / timedelta(milliseconds=1), self._due, message)

    def _due(self, message: Message) -> None:
        self.azure.storage.queues[QUEUE].remove(message)
        body = base64.b64decode(message.text)
        read = arrivals.message(body.decode("utf-8", "replace"))
        if read is None:
            self.machine.broken(f"L5: the app sent a message that it cannot read: {message.text[:80]}")
            return
        name = f"take_turn {read[0]}" if read[2] else f"ring {read[0]}"
        self._message_delivered(name, body, 1)
        if self.machine.mix.messages_doubled and not self.machine.healed and self.draw() < self.machine.mix.messages_doubled:
            self.machine.at(700_000 * self.draw() ** 2, self._message_delivered, name, body, 1)

    def _message_delivered(self, name: str, body: bytes, dequeued: int) -> None:
        def again(killed: bool) -> None:
            if dequeued < DEQUEUED_MAX:
                self.machine.at(MESSAGE_AGAIN_MS[killed], self._message_delivered, name, body, dequeued + 1)
            else:
                self.machine.counts["poisoned"] += 1
                self.machine.at(1, self.machine.spawn, f"turn_poisoned {name}", partial(doors.turn_poisoned, body))

        self.machine.spawn(name, partial(doors.take_turn, body), again)

    def _tick(self) -> None:
        self.machine.at(TICK_MS, self._tick)
        if not self.machine.healed and self.draw() < self.machine.mix.ticks_missed:
            return
        late = 1 + int(20_000 * self.draw())
        self.machine.spawn("look_again", partial(doors.look_again, who="look_again"))
        self.machine.at(late, self.machine.spawn, "tear_down", partial(doors.tear_down_idle_endpoints, who="tear_down"))

    def _clients_come(self, endpoint: str) -> None:
        at, until = self.draw() * 20 * MINUTE, self.draw() ** 2 * 60 * MINUTE
        while at < until:
            self.machine.at(at, self.azure.request, endpoint)
            at += (1 + 28 * self.draw()) * MINUTE

    # ------------------------------------------------------------------------------------------------------ its end

    def run(self) -> Verdict:
        machine = self.machine
        with self._in_place():
            machine.run(FAULTY_MS)
            machine.healed = True
            self.azure.healed_ms = machine.ms
            if not machine.violations:
                machine.at(TICK_MS // 2, self._ask_whether_quiet)
                machine.run(FAULTY_MS + HEALED_MS)
            if not machine.violations:
                self._check_the_end()
            machine.end()
        return Verdict(
            seed=machine.seed,
            violations=tuple(machine.violations),
            trace=tuple(machine.trace),
            calls=machine.calls,
            counts=dict(machine.counts),
            ends=dict(Counter(f"{r.kind.value} {r.stage}" for r in self._records())),
        )

    @contextlib.contextmanager
    def _in_place(self) -> Iterator[None]:
        heard, app = _Heard(self.machine), logging.getLogger("tuneloop")
        level, propagates = app.level, app.propagate
        with contextlib.ExitStack() as stack:
            stack.enter_context(processes.in_place(self.machine))
            stack.enter_context(azureml.in_place(self.azure.servers, self.azure.folder))
            stack.enter_context(mock.patch.object(standin, "prepared", over_blobs))
            stack.enter_context(standin.in_place())
            stack.enter_context(
                mock.patch.multiple(wiring, loop=lambda: self.loop, lives=lambda: self.lives, settings=lambda: self.settings)
            )
            app.addHandler(heard)
            app.setLevel(logging.ERROR)
            app.propagate = False
            try:
                yield
            finally:
                app.removeHandler(heard)
                app.setLevel(level)
                app.propagate = propagates

    def _records(self) -> list[Record]:
        return [self.azure.read_record(key, RECORD_TYPES[key.kind]) for key in sorted(self.azure.records) if key.kind in RECORD_TYPES]

    def _ask_whether_quiet(self) -> None:
        """Between two ticks, when no handler is at work that will find nothing."""
        self.machine.is_quiet = self._is_quiet()
        self.machine.at(TICK_MS, self._ask_whether_quiet)

    def _is_quiet(self) -> bool:
        """Tell whether nothing is alive, but for services that wait for a person."""
        if self.uploads_left or self.machine.busy() or any(e.owner == OWNER for e in self.azure.endpoints.values()):
            return False
        return all(self._waits_for_a_person(key) for key in self.azure.active) and self._all_known()

    def _waits_for_a_person(self, key: Key) -> bool:
        """A marker whose creator died before the record was written stays, costs one read a tick, and stands for nothing."""
        if key not in self.azure.records:
            return True
        return key.kind is Kind.SERVICE and self.azure.read_record(key, service.Service).stage == service.Stage.BLOCKED

    def _all_known(self) -> bool:
        known = {(r.upload.path, r.upload.etag) for r in self._records() if isinstance(r, tuning.Tuning)}
        return all((path, bare_etag(blob.etag)) in known for path, blob in self.azure.blobs.items())

    def _check_the_end(self) -> None:
        check, machine = self.azure.check, self.machine
        for key in sorted(self.azure.active):
            check(self._waits_for_a_person(key), f"L3: {key} is still active {HEALED_MS // MINUTE} minutes after everything was mended")
        for name, endpoint in self.azure.endpoints.items():
            check(endpoint.owner != OWNER, f"L2: endpoint {name} is left, with {sorted(endpoint.deployments)}")
        for name, job in self.azure.jobs.items():
            check(job.owner != OWNER or job.status != "Running", f"L2: job {name} is left at work")
        for of in (slots.OF_TRAININGS, slots.OF_PREPARATIONS):
            taken = self.azure.read_record(of, slots.Slots)
            check(taken is None or not taken.at_work, f"L2: slots of {taken and sorted(taken.at_work)} are never free again")
        seen: Counter[tuple[str, str]] = Counter()
        for record in self._records():
            if isinstance(record, tuning.Tuning):
                seen[record.upload.path, record.upload.etag] += 1
                self._check_tuning(record)
            elif isinstance(record, training.Training):
                self._check_training(record)
            else:
                self._check_service(record)
        for (path, etag), times in sorted(seen.items()):
            check(times == 1, f"S5: {path}, version {etag}, has {times} records")
        check(self._all_known(), "L1: an upload was never seen")
        machine.counts["minutes"] = machine.ms // MINUTE

    def _check_tuning(self, record: tuning.Tuning) -> None:
        check, about = self.azure.check, (record.upload.path, record.upload.etag)
        check(record.stage in tuning.ENDED, f"L1: {record.key} ends {record.stage}")
        check(about in self.versions, f"S5: {record.key} is about {about}, which never was")
        valid = self.versions.get(about) in VALID
        if record.stage == tuning.Stage.REJECTED:
            check(not valid, f"L1: {record.key} is rejected, and its rows are good")
        if record.stage == tuning.Stage.OFFERED:
            check(valid, f"L1: {record.key} ends {record.stage}, and its rows cannot be used")
        if record.stage == tuning.Stage.SUPERSEDED:
            newest = self.azure.blobs[record.upload.path].etag
            later = [o for o in self.azure.order.values() if o > self.azure.order.get(record.id, (0, ""))]
            check(bare_etag(newest) != record.upload.etag or bool(later), f"L1: {record.key} is superseded by nothing")
        if record.prepared and about in self.versions:
            wanted = standin.dataset_sha256(self.versions[about], self.azure.owner)
            check(record.prepared.dataset_sha256 == wanted, f"S5: {record.key} is prepared from the bytes of another version")
        if record.stage == tuning.Stage.STOPPED and record.training is None:
            explained = self._ended_badly(record.job) or bool(EXHAUSTED.search(record.reason))
            check(explained, f"L1: {record.key} stopped without need: {record.reason}")
        if record.stage in (tuning.Stage.REJECTED, tuning.Stage.STOPPED):
            check(bool(record.reason and record.next_action), f"L1: {record.key} ends {record.stage} without a reason or a next action")

    def _check_training(self, record: training.Training) -> None:
        check = self.azure.check
        check(record.stage in training.ENDED, f"L1: {record.key} ends {record.stage}")
        explained = record.stage != training.Stage.STOPPED or self._ended_badly(record.job) or bool(EXHAUSTED.search(record.reason))
        check(explained or self.azure.is_pickled(record.job), f"L1: {record.key} stopped without need: {record.reason}")

    def _ended_badly(self, job: str) -> bool:
        found = self.azure.jobs.get(job)
        return found is not None and (found.owner != OWNER or found.status in ("Failed", "Canceled"))

    def _check_service(self, record: service.Service) -> None:
        check = self.azure.check
        ends = (service.Stage.TORN_DOWN, service.Stage.BLOCKED)
        never_was = record.stage == service.Stage.ASLEEP and record.endpoint_asked_at and record.endpoint not in self.azure.endpoints
        check(record.stage in ends or bool(never_was), f"L1: {record.key} ends {record.stage}")
        newest = max(record.candidates, key=lambda candidate: candidate.order)
        served = record.served == newest.tuning or bool(newest.failure) or record.stage == service.Stage.BLOCKED
        check(served, f"S7: {record.key} ends without having served its newest good upload {newest.tuning}")


def lived(seed: int, *, mix: wire.Mix | None = None, plan: Mapping[int, str] | None = None, policy: Policy = POLICY) -> Verdict:
    """Live the history of this seed."""
    one = History(seed, mix=mix, plan=plan, policy=policy)
    one.draw_life()
    return one.run()
