"""
One history: owners upload, Azure works, things go wrong; then everything is mended, and what is left must come to its end.

Everything about it follows from one integer. `lived(seed)` returns what happened; `violations` is empty if every promise was kept.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir
from types import SimpleNamespace
from typing import Any
from unittest import mock

import msgspec

from shared import doors, wiring
from shared.domain import names as names_of
from shared.domain import service, slots, training, tuning
from shared.domain.policy import Policy
from shared.domain.record import Key, Kind
from shared.domain.upload import Upload, bare_etag
from shared.prepare import Options
from shared.reconcile import turn
from shared.reconcile.services import ServiceLife
from shared.reconcile.trainings import TrainingLife
from shared.reconcile.tunings import TuningLife
from tests.journeys.fakes import ROWS
from tests.simulation import events, standin
from tests.simulation.azure import MINUTE, OWNER, Azure
from tests.simulation.machine import NOON, Line, Machine, Mix
from tests.simulation.ports import ACCOUNT, CONTAINER, ports
from tests.simulation.watch import ALIVE, Watch, notes_of

POLICY = Policy(
    look_every=timedelta(minutes=4),
    tick=timedelta(minutes=10),
    job_attempts_max=2,
    jobs_at_once_max=2,
    job_deadline=timedelta(hours=2),
    cancel_deadline=timedelta(minutes=40),
    deployment_deadline=timedelta(hours=1),
    quota_deadline=timedelta(hours=3),
    probation=timedelta(minutes=80),
    orphans_deleted_after=timedelta(minutes=100),
    idle_after=timedelta(minutes=40),
    idle_grace=timedelta(minutes=12),
    endpoint_kept_for=timedelta(hours=1),
    refuse_pickled_models=True,
)
GARBAGE = 100_000  # objects that a history may make before somebody looks which are garbage; a twelfth of the time went into that
FAULTY_MS = 300 * MINUTE
HEALED_MS = 900 * MINUTE  # long enough for what was given up last to be found, waited for and deleted
TICK_MS = 10 * MINUTE
HOUR_MS = 60 * MINUTE
REDELIVERED_MS = (10_000, 30_000, 60_000, 300_000, 600_000)  # of an event, after a handler that failed
MESSAGE_AGAIN_MS = (60_000, 600_000)  # of a queue message: after an exception, after its worker died
DEQUEUED_MAX = 5
DEAD_NOTICED_MS = 30_000
FORGED = 0.2  # of the uploads, beside which strangers ring
VALID = (ROWS, ROWS.replace(b"hall", b"yard"), ROWS.replace(b"order", b"parcel"))
INVALID = b'{"messages": "none"}\n' * 40
CONTENTS = (*VALID, INVALID)
SERVICES = ("shop", "desk", "hotel")
EXHAUSTED = re.compile(r" failed \d+ times: ")  # the one good reason to stop by itself: every try of a step failed

RECORD_TYPES = {Kind.TUNING: tuning.Tuning, Kind.TRAINING: training.Training, Kind.SERVICE: service.Service}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    seed: int
    violations: tuple[str, ...]
    trace: tuple[Line, ...]
    calls: int
    counts: Mapping[str, int]  # of faults and effects
    ends: Mapping[str, int]  # of records, by kind and stage
    numbers: Mapping[int, int] = field(default_factory=dict)  # of a call, by its line of the trace
    situations: Mapping[int, str] = field(default_factory=dict)  # in which a record was written, by the number of the call

    @property
    def digest(self) -> str:
        """A hash over every line of the trace: two replays are the same if this is."""
        return sha256("\n".join(map(str, self.trace)).encode()).hexdigest()


class _Listener(logging.Handler):
    def __init__(self, watch: Watch) -> None:
        super().__init__(logging.INFO)
        self.watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        self.watch.said(record.levelno, record.getMessage())


@contextlib.contextmanager
def _heard(watch: Watch) -> Iterator[None]:
    """Let the watch hear each line that the app logs, and nobody else."""
    app, listener = logging.getLogger("tuneloop"), _Listener(watch)
    level, propagates = app.level, app.propagate
    app.addHandler(listener)
    app.setLevel(logging.INFO)
    app.propagate = False
    unasked: dict[str, Any] = {"_srcfile": None, "logThreads": False, "logProcesses": False, "logMultiprocessing": False}
    try:
        with mock.patch.multiple(logging, **unasked):  # nobody here asks where a line was logged
            yield
    finally:
        app.removeHandler(listener)
        app.setLevel(level)
        app.propagate = propagates


def drawn_mix(seed: int) -> Mix:
    """Return how much goes wrong in this history: each kind is off with 30 %, else below its most, small values as often as large."""
    draw = random.Random(seed ^ 0x5EED).random

    def rate(most: float) -> float:
        off, exponent = draw() < 0.3, 1.5 * draw()
        return 0.0 if off else float(most * 10.0**-exponent)

    def one_of(*values: float) -> float:
        return values[int(draw() * len(values))]

    return Mix(
        rates=tuple(rate(most) for most in (0.12, 0.12, 0.05, 0.06, 0.10)),
        stall_ms=int(one_of(60_000, 900_000, 1_800_000)),
        events_lost=one_of(0.0, 0.1, 0.5, 1.0),
        messages_doubled=one_of(0.0, 0.1, 0.4),
        ticks_missed=one_of(0.0, 0.1, 0.5),
        metrics_out=one_of(0.0, 0.0, 0.1, 0.4),
        twice=one_of(0.0, 0.0, 0.1, 0.4),
    )


class History:
    """One installation of the app, its owners and its clients."""

    def __init__(self, seed: int, *, mix: Mix | None = None, plan: Mapping[int, str] | None = None, policy: Policy = POLICY) -> None:
        self.machine = Machine(seed, mix or drawn_mix(seed), plan=plan)
        self.azure = Azure(self.machine, policy)
        self.machine.on_done = self.azure.watch.done
        self.azure.on_job_end, self.azure.on_traffic = self._job_ended, self._clients_come
        self.policy = policy
        self.loop = turn.Loop(
            ports=ports(self.azure, self._delivered),
            policy=policy,
            clock=self._clock,
            paused=self.azure.is_paused,
            workdir=Path(gettempdir()),
            options=Options(),
            serving_instance_type="Standard_NC24ads_A100_v4",
        )
        self.lives = turn.Lives(by_kind={Kind.TUNING: TuningLife(), Kind.TRAINING: TrainingLife(), Kind.SERVICE: ServiceLife()})
        self.versions: dict[tuple[str, str], bytes] = {}  # path, bare ETag
        self.draw = random.Random(seed ^ 0x11FE).random
        self.uploads_left = 0
        self.skews = (timedelta(0),) * len(self.machine.instances)
        self.machine.at(TICK_MS, self._tick)

    def _clock(self) -> datetime:
        """Return what the clock of the instance says that is at work."""
        handler = self.machine.running
        return self.machine.now() + self.skews[handler.instance.number] if handler else self.machine.now()

    # ------------------------------------------------------------------------------------------------- what happens

    def draw_life(self) -> None:
        """Some uploads at first, one when all may be asleep; few contents and paths, so that they meet."""
        soon = random.Random(self.machine.seed ^ 0x2E91).random
        names = SERVICES[: 1 + int(self.draw() * 3)]
        for number in range(1 + int(self.draw() * 4)):
            late = number == 3 or (number and self.draw() < 0.2)
            at = (200 + 90 * self.draw()) if late else 100 * self.draw() ** 2
            path = f"{names[int(self.draw() * len(names))]}/{int(self.draw() * 2)}.jsonl"
            content = CONTENTS[int(self.draw() * 3)] if self.draw() < 0.88 else INVALID
            self.upload_at(at, path, content)
            if soon() < 0.15:  # somebody saw a mistake and uploads again while the first is being read
                self.upload_at(at + 2 * soon(), path, VALID[int(soon() * 3)])
            if soon() < 0.06:
                self.machine.at((at + 40 * soon() ** 2) * MINUTE, self.azure.blobs.pop, path, None)
        self._draw_orphan(random.Random(self.machine.seed ^ 0x0F4A).random)
        self._draw_surroundings(random.Random(self.machine.seed ^ 0x50FA).random)

    def _draw_surroundings(self, draw: Callable[[], float]) -> None:
        """What others do beside us, what another version of the app left, and how the app is set up."""
        azure, at = self.azure, self.machine.at
        if draw() < 0.3:
            self.set_clocks(*(timedelta(seconds=40 * draw() - 20) for _ in self.machine.instances))
        for name in SERVICES:
            if (wish := draw()) < 0.16:
                azure.wishes[name] = {"num_train_epochs": 2} if wish < 0.12 else {"num_train_epochs": 0}
        if draw() < 0.12:
            since = 200 * draw()
            self.pause_at(since, since + 5 + 60 * draw())
        if draw() < 0.1:
            azure.extra = {"of_a_newer_version": 7}
            self.newer_version_writes()
        if draw() < 0.05:
            at(60 * draw() * MINUTE, azure.orphan_appears, "orphan-00000001")
        happens = (azure.deployment_is_deleted_by_hand, azure.traffic_is_taken_by_hand, azure.deployment_appears, azure.endpoint_appears)
        for happening in (*happens, azure.stranger_leaves):
            if draw() < 0.08:
                at((30 + 400 * draw()) * MINUTE, self._to_an_endpoint, happening, draw())

    def _to_an_endpoint(self, happening: Callable[[str], None], which: float) -> None:
        there = sorted({*self.azure.endpoints, *self.azure.named_for})
        if there:
            happening(there[int(which * len(there))])

    def set_clocks(self, *skews: timedelta) -> None:
        self.skews = skews
        self.azure.skew = 2 * max(abs(skew) for skew in skews)
        self.azure.watch.slack += self.azure.skew

    def pause_at(self, since: float, until: float) -> None:
        def switch(on: bool) -> None:
            self.azure.paused_since_ms = self.machine.ms if on else None

        self.machine.at(since * MINUTE, switch, True)
        self.machine.at(until * MINUTE, switch, False)

    def newer_version_writes(self) -> None:
        """A record in a stage that this version of the app does not know: acting on it might pay twice."""
        key = Key(kind=Kind.TUNING, id="00000000000f")
        upload = Upload(account=ACCOUNT, container=CONTAINER, path="later/0.jsonl", etag="0xF", size=1, last_modified=NOON)
        record = tuning.opened(upload, owner=OWNER, now=NOON)
        body = {**msgspec.to_builtins(record), "id": key.id, "stage": "pondered", "next_look_at": NOON.isoformat()}
        self.azure.records[key] = (msgspec.json.encode(body), 1)
        self.azure.active.add(key)
        self.azure.unreadable.add(key)

    def _draw_orphan(self, draw: Callable[[], float]) -> None:
        """In one of twelve histories somebody lost a record; its endpoint goes on, used for a while, and an upload may come back to it."""
        if draw() < 1 / 12:
            text = ("lost", SERVICES[0])[draw() < 0.3]
            name = names_of.endpoint(OWNER, text)
            self.azure.add_orphan(name, names_of.service_id(OWNER, text))
            for _ in range(int(draw() * 12)):
                self.machine.at(draw() * 250 * MINUTE, self.azure.request, name)

    def upload_at(self, minutes: float, path: str, content: bytes) -> None:
        self.uploads_left += 1
        self.machine.at(minutes * MINUTE, self._upload, path, content)

    def _upload(self, path: str, content: bytes) -> None:
        self.uploads_left -= 1
        blob = self.azure.put_blob(path, content)
        etag = bare_etag(blob.etag)
        self.versions[path, etag] = content
        upload = self.loop.ports.datasets.head(path)
        assert upload is not None
        self.azure.order[upload.id] = (blob.ms // 1000 * 1000, upload.id)
        self.azure.contents[upload.id], self.azure.paths[upload.id], self.azure.etags[upload.id] = content, path, etag
        event = events.uploaded(path, blob.etag, self.draw)
        self._tell(f"dataset_event_received {path}", partial(doors.dataset_event, event, who="event"), wants=path)
        self._tell(f"dataset_blob_uploaded {path}", partial(doors.dataset_written, CONTAINER, path, who="blob"), wants=path)
        if self.draw() < FORGED:
            self._strangers_ring(path, f"ft-{upload.id}-a1")

    def _job_ended(self, name: str, status: str) -> None:
        for run in (name, f"{name}-child", "somebody_elses_run"):
            event = events.job_changed(run, status, self.draw)
            wanted = name if run == name else None
            self._tell(f"job_event_received {run}" if wanted else f"forged {run}", partial(doors.job_event, event, who="job"), wants=wanted)

    def _strangers_ring(self, path: str, job: str) -> None:
        """Some of what is not about us arrives at every door."""
        for door, event in events.not_about_us(path, job):
            if self.draw() < 0.7:
                continue
            if door == "dataset":
                work: partial[None] = partial(doors.dataset_event, event, who="event")
            elif door == "job":
                work = partial(doors.job_event, event, who="job")
            elif door == "blob":
                work = partial(doors.dataset_written, *event, who="blob")
            else:
                work = partial(doors.take_turn, event)
            self.machine.at(60_000 * self.draw(), self.machine.spawn, f"forged {door}", work)

    def _tell(self, name: str, work: partial[None], *, wants: str | None) -> None:
        """An event goes out: lost, once, twice or thrice, now or minutes later. `wants`: whom it is about, a path or a job."""
        draw, machine = self.draw, self.machine
        lost = not machine.healed and draw() < machine.mix.events_lost
        copies = 0 if lost else 1 + (draw() < 0.2) + (draw() < 0.06)
        for _ in range(copies):
            machine.at(400_000 * draw() ** 3, self._event_delivered, name, work, wants, 0)

    def _event_delivered(self, name: str, work: partial[None], wants: str | None, tries: int) -> None:
        def again(killed: bool) -> None:
            if tries < len(REDELIVERED_MS):
                wait = REDELIVERED_MS[tries] + (DEAD_NOTICED_MS if killed else 0)
                self.machine.at(wait, self._event_delivered, name, work, wants, tries + 1)

        handler = self.machine.spawn(name, work, again)
        notes_of(handler).wants = wants

    def _delivered(self, key: Key, promised: datetime | None, body: bytes) -> None:
        """A message is due: the host hands it out, at times twice."""
        name = f"take_turn {key}" if promised else f"ring {key}"
        self._message_delivered(name, key, body, 1)
        if self.machine.mix.messages_doubled and not self.machine.healed and self.draw() < self.machine.mix.messages_doubled:
            self.machine.at(700_000 * self.draw() ** 2, self._message_delivered, name, key, body, 1)

    def _message_delivered(self, name: str, key: Key, body: bytes, dequeued: int) -> None:
        def again(killed: bool) -> None:
            if dequeued < DEQUEUED_MAX:
                self.machine.at(MESSAGE_AGAIN_MS[killed], self._message_delivered, name, key, body, dequeued + 1)
            else:
                self.machine.counts["poisoned"] += 1
                self.azure.watch.poisoned[key] += 1
                self.machine.at(1, self.machine.spawn, f"turn_poisoned {key}", partial(doors.turn_poisoned, body))

        self.machine.spawn(name, partial(doors.take_turn, body), again)

    def _tick(self) -> None:
        self.machine.at(TICK_MS, self._tick)
        if not self.machine.healed and self.draw() < self.machine.mix.ticks_missed:
            return
        late = 1 + int(20_000 * self.draw())
        self.machine.spawn("look_again", partial(doors.look_again, who="look_again"))
        self.machine.at(late, self.machine.spawn, "tear_down", partial(doors.tear_down_idle_endpoints, who="tear_down"))

    def _clients_come(self, endpoint: str) -> None:
        at, until = self.draw() * 20 * MINUTE, self.draw() ** 2 * 120 * MINUTE
        while at < until:
            self.machine.at(at, self.azure.request, endpoint)
            at += (1 + 28 * self.draw()) * MINUTE

    # ------------------------------------------------------------------------------------------------------ its end

    def run(self) -> Verdict:
        with contextlib.ExitStack() as stack:
            stack.callback(gc.set_threshold, *gc.get_threshold())
            gc.set_threshold(GARBAGE)
            stack.enter_context(_heard(self.azure.watch))
            stack.enter_context(standin.in_place())
            stack.enter_context(self._wired())
            self.machine.run(FAULTY_MS)
            self.machine.healed = True
            self.azure.healed_ms = self.machine.ms
            self._set_up_for_good()
            if not self.machine.violations:
                self.machine.at(TICK_MS // 2, self._ask_whether_quiet)
                days = 2 if self.policy.jobs_per_day_max < Policy().jobs_per_day_max else 0  # jobs wait for the next day
                self.machine.run(FAULTY_MS + HEALED_MS + days * 24 * HOUR_MS)
            if not self.machine.violations:
                self._check_the_end()
            self.machine.end()
        machine = self.machine
        ends = Counter(f"{r.kind.value} {r.stage}" for r in self._records())
        return Verdict(
            seed=machine.seed,
            violations=tuple(machine.violations),
            trace=tuple(machine.trace),
            calls=machine.calls,
            counts=dict(machine.counts),
            ends=dict(ends),
            numbers=machine.numbers,
            situations=self.azure.watch.situations,
        )

    def _set_up_for_good(self) -> None:
        """The dry run is over: whoever was looking decided to let the app delete."""
        self.azure.policy = msgspec.structs.replace(self.azure.policy, deletions_dry_run=False)
        self.loop = replace(self.loop, policy=self.azure.policy)

    def _wired(self) -> contextlib.AbstractContextManager[Any]:
        """Let the doors find this installation, as a process finds its own."""
        settings = SimpleNamespace(workspace_id=events.WORKSPACE)
        return mock.patch.multiple(wiring, loop=lambda: self.loop, lives=lambda: self.lives, settings=lambda: settings)

    def _records(self) -> Iterable[tuning.Tuning | training.Training | service.Service]:
        return [self.azure.read_record(key, RECORD_TYPES[key.kind]) for key in self._keys()]

    def _keys(self) -> list[Key]:
        return [key for key in sorted(self.azure.records) if key.kind in RECORD_TYPES and key not in self.azure.unreadable]

    def _ask_whether_quiet(self) -> None:
        """Between two ticks, when no handler is at work that will find nothing."""
        self.azure.watch.audit()
        self.machine.is_quiet = self._is_quiet()
        self.machine.at(TICK_MS, self._ask_whether_quiet)

    def _is_quiet(self) -> bool:
        """Tell whether nothing is alive and no slot taken, but for services that wait for a person and jobs that Azure does not cancel."""
        if (
            self.uploads_left
            or self.machine.busy()
            or self._slots_left()
            or any(e.owner == OWNER and e.name not in self.azure.orphans for e in self.azure.endpoints.values())
        ):
            return False
        return all(self._waits_for_a_person(key) for key in self.azure.active) and self._all_known()

    def _never_ending(self) -> set[str]:
        return {found for key in self.azure.active if (found := self._left_job(key)) and self.azure.never_ends(found)}

    def _slots_left(self) -> set[str]:
        read = self.azure.read_record
        taken = [found for of in (slots.OF_TRAININGS, slots.OF_PREPARATIONS) if (found := read(of, slots.Slots))]
        return {job for one in taken for job in one.at_work} - self._never_ending()

    def _waits_for_a_person(self, key: Key) -> bool:
        """A marker whose creator died before the record was written stays, costs one read a tick, and stands for nothing."""
        if key not in self.azure.records or key in self.azure.unreadable:
            return True
        if (job := self._left_job(key)) and self.azure.never_ends(job):
            return True
        return key.kind is Kind.SERVICE and self.azure.read_record(key, service.Service).stage == service.Stage.BLOCKED

    def _left_job(self, key: Key) -> str:
        """Return the job that an ended record says it left at work, '' if it left none."""
        if key not in self.azure.records or key in self.azure.unreadable:
            return ""
        if key.kind is Kind.TRAINING:
            trained = self.azure.read_record(key, training.Training)
            return str(trained.job) if trained.stage in training.ENDED and trained.left_at else ""
        if key.kind is Kind.TUNING:
            tuned = self.azure.read_record(key, tuning.Tuning)
            return str(tuned.job) if tuned.stage in tuning.ENDED and tuned.preparation and tuned.preparation.left_at else ""
        return ""

    def _all_known(self) -> bool:
        known = {(r.upload.path, r.upload.etag) for r in self._records() if isinstance(r, tuning.Tuning)}
        return all((path, bare_etag(blob.etag)) in known for path, blob in self.azure.blobs.items())

    def _check_the_end(self) -> None:
        check, machine = self.azure.check, self.machine
        for key in sorted(self.azure.active):
            check(self._waits_for_a_person(key), f"L3: {key} is still active {HEALED_MS // MINUTE} minutes after everything was mended")
        for name, endpoint in self.azure.endpoints.items():
            ours = endpoint.owner == OWNER and name not in self.azure.orphans
            check(not ours, f"L2: endpoint {name} is left, with {sorted(endpoint.deployments)}")
        for name in sorted(self.azure.orphans):
            check(name in self.azure.endpoints, f"S3: {name} is gone, and no record named it")
            check(self.azure.watch.orphans_told[name] > 0, f"L2: {name} carries our tag and no record names it, and nobody is told")
        for key in sorted(self.azure.unreadable):
            check(self.azure.watch.unreadable_told[str(key)] > 0, f"L1: {key} cannot be read, and nobody is told")
        left = self._never_ending()
        for name, job in self.azure.jobs.items():
            check(job.owner != OWNER or job.status not in ALIVE or name in left, f"L2: job {name} is left {job.status}")
        check(not self._slots_left(), f"L2: slots of {sorted(self._slots_left())} are never free again")
        seen: Counter[tuple[str, str]] = Counter()
        for record in self._records():
            if isinstance(record, tuning.Tuning):
                seen[record.upload.path, bare_etag(record.upload.etag)] += 1
                self._check_tuning(record)
            elif isinstance(record, training.Training):
                check(record.stage in training.ENDED, f"L1: {record.key} ends {record.stage}")
                explained = record.stage != training.Stage.STOPPED or self._ended_badly(record.job) or bool(EXHAUSTED.search(record.reason))
                explained = explained or self.azure.is_pickled(record.job) or record.job in left or self.azure.showed_late(record.job)
                check(explained, f"L1: {record.key} stopped without need: {record.reason}")
            else:
                self._check_service(record)
        for (path, etag), times in sorted(seen.items()):
            check(times == 1, f"S5: {path}, version {etag}, has {times} records")
        check(self._all_known(), "L1: an upload was never seen")
        for key, times in self.azure.watch.poisoned.items():
            check(
                self.azure.watch.poison_told[key] == times,
                f"L4: {times} turns of {key} were given up, {self.azure.watch.poison_told[key]} told of",
            )
        machine.counts["minutes"] = machine.ms // MINUTE

    def _check_tuning(self, record: tuning.Tuning) -> None:
        check = self.azure.check
        valid = self.versions.get((record.upload.path, bare_etag(record.upload.etag))) in VALID
        valid = valid and self.azure.wishes.get(record.service, {}).get("num_train_epochs") != 0
        check(record.stage in tuning.ENDED, f"L1: {record.key} ends {record.stage}")
        if record.stage == tuning.Stage.REJECTED:
            check(not valid, f"L1: {record.key} is rejected, and its rows are good")
        elif record.stage != tuning.Stage.SUPERSEDED and not (record.stage == tuning.Stage.STOPPED and record.attempts):
            check(valid or record.stage == tuning.Stage.STOPPED, f"L1: {record.key} ends {record.stage}, and its rows cannot be used")
        if record.stage == tuning.Stage.SUPERSEDED:
            there = self.azure.blobs.get(record.upload.path)
            newest = there.etag if there else ""
            later = [o for o in self.azure.order.values() if o > self.azure.order.get(record.id, (0, ""))]
            check(bare_etag(newest) != record.upload.etag or bool(later), f"L1: {record.key} is superseded by nothing")
        if record.prepared:
            wanted = standin.dataset_sha256(self.versions[record.upload.path, bare_etag(record.upload.etag)], OWNER)
            check(record.prepared.dataset_sha256 == wanted, f"S5: {record.key} is prepared from the bytes of another version")
        if record.stage == tuning.Stage.STOPPED and record.training is None:
            explained = self._ended_badly(record.job) or self.azure.never_ends(record.job) or bool(EXHAUSTED.search(record.reason))
            explained = explained or self.azure.showed_late(record.job)
            check(explained, f"L1: {record.key} stopped without need: {record.reason}")
        if record.stage in (tuning.Stage.REJECTED, tuning.Stage.STOPPED):
            check(bool(record.reason and record.next_action), f"L1: {record.key} ends {record.stage} without a reason or a next action")

    def _ended_badly(self, job: str) -> bool:
        found = self.azure.jobs.get(job)
        return found is not None and (found.owner != OWNER or found.status in ("Failed", "Canceled"))

    def _check_service(self, record: service.Service) -> None:
        check = self.azure.check
        for candidate in record.candidates:
            refused = self.azure.quota_refused[candidate.tuning]
            waits = (self.policy.quota_deadline - self.azure.skew) / timedelta(milliseconds=1)
            others = [self.azure.quota_refused[c.tuning] for c in record.candidates if c.failure == candidate.failure]
            waited = "no quota" not in candidate.failure or any(ms and ms[-1] - ms[0] >= waits for ms in others)
            check(waited, f"L1: {candidate.tuning} is given up for want of quota before its deadline: {candidate.failure}")
            late = max((ms - refused[0] for ms in refused), default=0)
            times = len(record.candidates)  # each later one that was accepted and failed lets it wait anew
            check(late < times * waits + 2 * HOUR_MS, f"L3: {candidate.tuning} asks for quota {late / MINUTE:.0f} minutes long")
        ends = (service.Stage.TORN_DOWN, service.Stage.BLOCKED)
        never_was = record.stage == service.Stage.ASLEEP and record.endpoint_asked_at and record.endpoint not in self.azure.named_for
        check(record.stage in ends or bool(never_was), f"L1: {record.key} ends {record.stage}")
        if not record.candidates:  # it was taken over to be torn down
            return
        newest = max((c for c in record.candidates if not c.failure), key=lambda c: c.order, default=None)
        order = next((c.order for c in record.candidates if c.tuning == record.served), None)
        served = newest is None or (order is not None and order >= newest.order) or record.stage == service.Stage.BLOCKED
        check(served, f"S7: {record.key} ends without having served its newest good upload {newest and newest.tuning}")


def lived(seed: int, *, mix: Mix | None = None, plan: Mapping[int, str] | None = None, policy: Policy | None = None) -> Verdict:
    """Live the history of this seed."""
    policy = policy or POLICY
    by_a_job = random.Random(seed ^ 0x70B).random() < 0.15  # too large for a function
    policy = msgspec.structs.replace(policy, prepare_here_bytes_max=0) if by_a_job else policy
    settings = random.Random(seed ^ 0xDA7).random
    policy = msgspec.structs.replace(policy, jobs_per_day_max=2) if settings() < 0.06 else policy
    policy = msgspec.structs.replace(policy, deletions_dry_run=True) if settings() < 0.06 else policy
    policy = msgspec.structs.replace(policy, refuse_pickled_models=False) if settings() < 0.3 else policy
    history = History(seed, mix=mix, plan=plan, policy=policy)
    history.draw_life()
    return history.run()
