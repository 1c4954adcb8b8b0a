"""
What is looked at whenever a record is written, somebody is told, or a handler is done.

Each rule compares what the app wrote with what it had written before and with what Azure really shows at that moment. Nothing here asks
the app's own decisions: that would share their faults. The sentences begin with the number of the promise in docs/simulation.md.
"""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from shared.domain import names
from shared.domain.record import Key, Kind
from shared.domain.service import Service
from shared.domain.slots import OF_TRAININGS, Slots
from shared.domain.training import Training
from shared.domain.tuning import Tuning
from shared.domain.upload import bare_etag
from tests.canaries import CANARY

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.domain.policy import Policy
    from shared.ports import Change
    from tests.simulation.azure import Azure
    from tests.simulation.machine import Handler

RECORD_TYPES: dict[Kind, Any] = {Kind.TUNING: Tuning, Kind.TRAINING: Training, Kind.SERVICE: Service}
SECRETS = (CANARY, " is in hall", " is in yard", "Where is order", "Where is parcel")  # and what stands in the datasets
CANARY_BYTES, SENTENCE_BYTES = (
    CANARY.encode(),
    b" is in ",
)  # of every answer, in the datasets and of the models; no sentence of the app has it
ACTION = re.compile(r" action=([a-z_]+)$")
ALIVE = ("Queued", "Running", "Finalizing", "CancelRequested")  # Azure's words for a job that is at work
HOUR = timedelta(hours=1)
UNUSED_MINUTES_MAX = 150  # five questions to a mute model, each twice as long after the last, and ten minutes that hold up some of them
WRITES_AN_HOUR_MAX = 150  # of one record; the busiest of 1,000 histories had 61
REASONS_TO_FAIL = re.compile(r"planted|gave no answer|is being written by others all the time")
UPDATING, UPDATING_MS = "is in Updating provisioning state", 60_000  # of another handler that set the traffic at the same moment
CREATING = " is Creating"
LOST = {"it went bad", "deleted by hand"}  # what may happen to a model that has the traffic
PICKLE_NAME = "training_args.bin"
JOB_IS = re.compile(r"Job \S+ is (\w+)\.$")
REFUSED = re.compile(r"^Delete.*provisioning state$")  # of what hangs
EXHAUSTED = re.compile(r"(?P<step>\w+) failed (?P<times>\d+) times: (?P<why>.*)")  # the one good reason to stop by itself
ARROWS: dict[Kind, dict[str, str]] = {  # docs/architecture.md, "Three lives"; any end may come by a later upload or after too many tries
    Kind.TUNING: {
        "seen": "prepared preparing rejected superseded stopped",
        "preparing": "prepared rejected superseded stopped",
        "prepared": "planned rejected superseded stopped",
        "planned": "training superseded stopped",
        "training": "offered superseded stopped",
    },
    Kind.TRAINING: {
        "open": "submitted trained good stopped superseded",  # a job may complete unseen, and whoever registered its model may die
        "submitted": "trained good stopped superseded",  # the model was registered, and whoever did so died
        "trained": "good stopped",
        "stopped": "open",
        "superseded": "open",  # wanted again
    },
    Kind.SERVICE: {
        "new": "deploying blocked",
        "deploying": "testing live blocked|waiting for quota|falling asleep",
        "waiting for quota": "deploying testing live idle blocked|falling asleep",
        "testing": "live deploying blocked|falling asleep",
        "live": "idle deploying testing blocked|falling asleep",
        "idle": "live deploying testing blocked|waiting for quota|falling asleep",
        "falling asleep": "asleep deploying testing blocked|torn down",
        "asleep": "deploying blocked|torn down",
        "torn down": "deploying asleep blocked",
        "blocked": "deploying testing live idle asleep|falling asleep|torn down",
    },
}
ARROWS_OF = {
    kind: {start: {*ends.split("|")[0].split(), *ends.split("|")[1:]} for start, ends in arrows.items()} for kind, arrows in ARROWS.items()
}
ENDS = {Kind.TUNING: {"offered", "rejected", "superseded", "stopped"}, Kind.TRAINING: {"good", "stopped", "superseded"}}
BAD_ENDS = {Kind.TUNING: {"rejected", "stopped"}, Kind.TRAINING: {"stopped"}, Kind.SERVICE: {"blocked"}}


@dataclass
class Notes:
    """What one handler still owes."""

    promises: dict[Key, datetime] = field(default_factory=dict)  # written and not sent
    claims: dict[Key, datetime] = field(default_factory=dict)
    untold: dict[tuple[Key, datetime, str], tuple[str, str]] = field(default_factory=dict)  # lines of a history -> stage, next action
    owed: set[Key] = field(default_factory=set)  # to be rung
    rung: set[Key] = field(default_factory=set)
    slept_idle: set[str] = field(default_factory=set)
    permits: int = 0
    lost_a_race: bool = False  # then what a step came to was not written
    answered_of: str | None = None  # the service of which a model answered our question
    wants: str | None = None  # of an event: the path or the job that it is about


def _left_job_since(record: Any) -> datetime | None:
    """Return since when an ended record has left a job at work, None if it has not."""
    asked = record.preparation if isinstance(record, Tuning) else record
    left_at: datetime | None = getattr(asked, "left_at", None)
    return left_at


def notes_of(handler: Handler) -> Notes:
    if handler.notes is None:
        handler.notes = Notes()
    notes: Notes = handler.notes
    return notes


class Watch:
    """Holds each write, each announcement and each handler's end against what has to be so."""

    def __init__(self, azure: Azure) -> None:
        self.azure, self.machine = azure, azure.machine
        self.told: Counter[tuple[Key, datetime, str]] = Counter()
        self.writes: Counter[tuple[Key, int]] = Counter()
        self.poisoned: Counter[Key] = Counter()  # turns that the host has given up
        self.poison_told: Counter[Key] = Counter()
        self.claimed_by: dict[Key, Handler] = {}
        self.numbers_used: defaultdict[Key, set[str]] = defaultdict(set)  # names of deployments that a service ever wrote down
        self.rules: dict[Kind, Callable[[Any, Any], None]] = {
            Kind.TUNING: self._tuning,
            Kind.TRAINING: self._training,
            Kind.SERVICE: self._service,
        }
        self.slack = timedelta(seconds=2)  # of clocks, and of the time between reading one and the write
        self.situations: dict[int, str] = {}  # in which a record was written, by the number of the call
        self.written_ms: dict[Key, float] = {}
        self.writer: dict[Key, Handler] = {}
        self.orphans_told: Counter[str] = Counter()
        self.unreadable_told: Counter[str] = Counter()

    @property
    def policy(self) -> Policy:
        return self.azure.policy

    def broken(self, sentence: str) -> bool:
        """Note it. `holds or broken("…")` reads as a promise, and its sentence is made only when that is needed."""
        self.machine.broken(sentence)
        return False

    # ---------------------------------------------------------------------------------------------------- records

    def created(self, key: Key, body: dict[str, Any]) -> None:
        self.written_ms[key] = self.machine.ms
        handler = self.machine.running
        if key.kind not in RECORD_TYPES or handler is None:
            return
        new = msgspec.convert(body, RECORD_TYPES[key.kind])
        (new.kind, new.id) == (key.kind, key.id) or self.broken(f"S13: {key} is created as {new.key}")
        new.owner == self.azure.owner or self.broken(f"S15: {key} is opened for the owner {new.owner}")
        opened = len(new.history) == 1 and new.history[0].what == "opened" and new.history[0].who and new.history[0].why
        opened or self.broken(f"S13: {key} begins with the history {new.history}")
        new.next_look_at == new.created_at == new.history[0].at or self.broken(f"L5: {key} is opened and nobody has to look at it now")
        self._is_now(new.created_at, handler) or self.broken(f"S13: {key} is created at {new.created_at}")
        notes_of(handler).promises[key] = new.next_look_at

    def deactivated(self, key: Key) -> None:
        """A record that is looked at no more says so, unless somebody wrote it after whoever puts it to rest."""
        handler = self.machine.running
        if key.kind not in RECORD_TYPES or handler is None:
            return
        if self.written_ms.get(key, 0) >= handler.started and self.writer.get(key) is not handler:
            return
        record = self.azure.read_record(key, RECORD_TYPES[key.kind])
        rests = record is not None and record.next_look_at is None
        rests or self.broken(f"L3: {key} is put to rest, and its record still says when it is looked at")

    def written(self, key: Key, old_body: dict[str, Any], body: dict[str, Any], encoded: bytes) -> None:
        self.written_ms[key] = self.machine.ms
        handler = self.machine.running
        if handler is None:
            return
        self.writer[key] = handler
        if CANARY_BYTES in encoded or SENTENCE_BYTES in encoded:
            self._keeps_secrets(encoded.decode(), f"the record {key}")
        lost = old_body.keys() - body.keys()
        not lost or self.broken(f"S13: {key} lost what another version of the app wrote: {sorted(lost)}")
        key not in self.azure.unreadable or self.broken(f"S13: {key} is of another version of the app, and was written over")
        if key.kind is Kind.SLOTS:
            self._slots(key, msgspec.convert(old_body, Slots), msgspec.convert(body, Slots))
            return
        if key.kind is Kind.ORPHANS:
            return
        old: Any = self.azure.read_record(key, RECORD_TYPES[key.kind])
        new = msgspec.convert(body, RECORD_TYPES[key.kind])
        self.azure.remember(key, new)
        self.situations[handler.number_of_call] = f"{old.attempt_of} {new.attempt_of} {old.stage} {new.stage}"
        self._header(key, old, new, handler)
        if old.stage != new.stage:
            self._stage(key, old, new)
        if _left_job_since(old) and not _left_job_since(new) and new.stage in ENDS[key.kind]:
            job = self.azure.job(new.job)
            job is None or job.ended_ms is not None or self.broken(f"L2: {key} looks no more after {new.job}, and it is {job.status}")
        self.rules[key.kind](old, new)

    def _keeps_secrets(self, text: str, where: str) -> None:
        for secret in SECRETS:
            secret not in text or self.broken(f"S9: {where} holds {secret[:16]}…")

    def said(self, level: int, line: str) -> None:
        """The app logged a line. On ERROR it says what nobody foresaw, or what people must know of; then that must be so."""
        self._keeps_secrets(line, "a line of the log")
        found = ACTION.search(line)
        found or self.broken(f"A1: a line of the log ends in no action: {line}")
        handler, word = self.machine.running, found[1] if found else ""
        if level < logging.ERROR:
            return
        name = handler.name if handler else ""
        foreseen = (word == "turn_poisoned" and name.startswith("turn_poisoned")) or (word == "message_dropped" and name == "forged turn")
        if word == "orphan_found":
            named = [name for name in self.azure.orphans if f" {name} " in line]
            self.orphans_told.update(named)
            foreseen = bool(named) or (name == "look_again" and bool(self.machine.counts["orphans"]))
        elif word == "record_unreadable":
            keys = [str(key) for key in self.azure.unreadable if line.startswith(str(key))]
            self.unreadable_told.update(keys)
            foreseen = bool(keys)
        foreseen or self.broken(f"The app logged: {line}")

    def _is_now(self, at: datetime, handler: Handler) -> bool:
        began = self.azure.machine_time(handler.started)
        return bool(began - self.slack <= at <= self.machine.now() + self.slack)

    def _header(self, key: Key, old: Any, new: Any, handler: Handler) -> None:
        broken, notes = self.broken, notes_of(handler)
        same = (old.kind, old.id, old.owner, old.created_at, old.schema) == (new.kind, new.id, new.owner, new.created_at, new.schema)
        same or broken(f"S13: {key} became another record")
        self.writes[key, self.machine.ms // 3_600_000] += 1
        busy = self.writes[key, self.machine.ms // 3_600_000]
        busy <= WRITES_AN_HOUR_MAX or broken(f"L5: {key} was written {busy} times within one hour")
        more = new.history[len(old.history) :] if len(old.history) < 200 else new.history[-1:]
        if new.history is not old.history and new.history != old.history:
            (len(more) == 1 and new.history[:-1] in (old.history, old.history[1:])) or broken(f"S13: the history of {key} was written anew")
            line = more[-1] if more else new.history[-1]
            self._is_now(line.at, handler) or broken(f"S13: {key} has a line of {line.at} in its history")
            (line.who and line.what) or broken(f"S13: {key} has a line in its history that says nothing: {line}")
            notes.untold[key, line.at, line.what] = (new.stage, new.next_action)
            (line.what == "waits" and line.why == old.waits_for) and broken(f"A1: people are told again what {key} waits for: {line.why}")
            if line.what == "step_failed":
                self._failed(key, old, new, line)
        if new.attempt_began_at is not None and new.attempt_began_at != old.attempt_began_at:
            self._claimed(key, old, new, handler)
        elif old.attempts != new.attempts:
            (new.attempts == 0 and new.attempt_of is None) or broken(f"S13: {key} has attempt {new.attempts} after {old.attempts}")
        if new.next_look_at != old.next_look_at:
            self._promised(key, old, new, handler)

    def _claimed(self, key: Key, old: Any, new: Any, handler: Handler) -> None:
        wanted = old.attempts + 1 if old.attempt_of == new.attempt_of else 1
        new.attempts == wanted or self.broken(f"S13: {key} begins {new.attempt_of} as attempt {new.attempts}, and it is number {wanted}")
        self._is_now(new.attempt_began_at, handler) or self.broken(f"S13: an attempt of {key} began at {new.attempt_began_at}")
        limit = {"Prepare": self.policy.prepare_attempts_max}.get(str(new.attempt_of), self.policy.step_attempts_max)
        endless = self._may_be_tried_for_ever(key, str(new.attempt_of))
        endless or new.attempts <= max(limit, 5) or self.broken(f"S13: {key} tries {new.attempt_of} for the {new.attempts}th time")
        before = self.claimed_by.get(key)
        alone = before is None or before is handler or not before.alive or old.attempt_began_at is None
        once = not self.machine.mix.messages_doubled and not self.machine.mix.twice
        alone or not once or self.broken(f"S13: {key} is worked on by two handlers at once")
        self.claimed_by[key] = handler
        notes_of(handler).claims[key] = new.attempt_began_at

    @staticmethod
    def _may_be_tried_for_ever(key: Key, step: str) -> bool:
        """Deleting what costs money, ending a job, waiting for a slot, and what only writes the record."""
        if key.kind is Kind.SERVICE:
            return step not in ("CreateEndpoint", "CreateDeployment", "SmokeTest", "SetTraffic")
        return step in ("Finish", "Cancel", "Settle", "Note", "TakeSlot")

    def _failed(self, key: Key, old: Any, new: Any, line: Any) -> None:
        reason = REASONS_TO_FAIL.search(line.why) or (REFUSED.search(line.why) and self.azure.hangs(old.endpoint))
        reason = reason or (UPDATING in line.why and self.machine.ms - self.azure.traffic_ms.get(old.endpoint, -UPDATING_MS) < UPDATING_MS)
        handler, endpoint = self.machine.running, self.azure.endpoints.get(getattr(old, "endpoint", ""))
        if CREATING in line.why and handler and endpoint:  # another worker asked for it since this one saw that it was not there
            reason = reason or endpoint.made_ms >= handler.started
        reason or (handler and handler.is_hurt) or self.broken(f"S13: a step of {key} failed for no good reason: {line.why}")
        (old.attempt_of and line.why.startswith(f"{old.attempt_of}, attempt {old.attempts}: ")) or self.broken(
            f"S13: {key} says {line.why}"
        )
        kept = (new.attempt_of, new.attempts, new.attempt_began_at) == (old.attempt_of, old.attempts, None)
        kept or self.broken(f"S13: {key} failed and does not know how often")
        new.reason or self.broken(f"S13: {key} failed and does not know why")
        wait = min(self.policy.look_every * 2 ** (new.attempts - 1), HOUR)
        new.next_look_at == line.at + wait or self.broken(
            f"L5: {key} failed for the {new.attempts}th time and waits {new.next_look_at - line.at}"
        )

    def _promised(self, key: Key, old: Any, new: Any, handler: Handler) -> None:
        if new.next_look_at is None:
            ended = new.stage in ENDS.get(key.kind, ("torn down", "asleep"))
            ended or self.broken(f"L5: {key} is {new.stage} and nobody looks at it any more")
            (not new.waits_for and new.attempt_began_at is None) or self.broken(f"L5: {key} rests and {new.waits_for or 'is worked on'}")
            return
        notes_of(handler).promises[key] = new.next_look_at
        soonest, now = self.azure.machine_time(handler.started), self.machine.now()
        far = new.next_look_at - now
        new.next_look_at >= soonest - self.slack or self.broken(f"L5: {key} is to be looked at at {new.next_look_at}, which is over")
        policy = self.policy
        usual = max(policy.tick, policy.look_every, self.azure.rest)
        seldom = (
            new.stage in ("asleep", "waiting for quota")
            or _left_job_since(new) is not None
            or "could not be read" in new.waits_for
            or (new.history and new.history[-1].what == "step_failed")
        )
        most = HOUR if seldom else usual
        far <= most + self.slack or self.broken(f"L5: {key} is {new.stage} and looked at again only after {far}")

    def _stage(self, key: Key, old: Any, new: Any) -> None:
        arrows = ARROWS_OF[key.kind].get(str(old.stage), set())
        str(new.stage) in arrows or self.broken(f"S14: {key} goes from {old.stage} to {new.stage}")
        if new.stage in BAD_ENDS[key.kind]:
            (new.reason and new.next_action) or self.broken(f"L1: {key} ends {new.stage} without a reason or a next action")
        if new.stage in ENDS.get(key.kind, ()):
            not new.waits_for or self.broken(f"L1: {key} is {new.stage} and waits: {new.waits_for}")
            handler = self.machine.running
            if handler and key.kind is Kind.TRAINING:
                notes_of(handler).owed |= {Key(kind=Kind.TUNING, id=one) for one in new.tunings}
            elif handler and new.stage == "offered":
                notes_of(handler).owed.add(Key(kind=Kind.SERVICE, id=names.service_id(new.owner, new.service)))
        exhausted = EXHAUSTED.match(new.reason) if new.stage in BAD_ENDS[key.kind] else None
        if exhausted:
            self.exhausted(key, exhausted)

    def exhausted(self, key: Key, exhausted: re.Match[str]) -> None:
        """Hold what gave up after so many tries against how often it may try, and why it failed."""
        limit = self.policy.step_attempts_max
        int(exhausted["times"]) == limit or self.broken(f"S13: {key} gave up: {exhausted[0]}, and may try {limit} times")
        died = "its worker died" in exhausted["why"]
        died or REASONS_TO_FAIL.search(exhausted["why"]) or self.broken(f"L1: {key} gave up for no good reason: {exhausted[0]}")

    # ----------------------------------------------------------------------------------------------------- tuning

    def _tuning(self, old: Tuning, new: Tuning) -> None:
        broken, key = self.broken, new.key
        old.upload == new.upload or broken(f"S13: {key} became another upload")
        for name in ("prepared", "recipe", "training"):
            before, after = getattr(old, name), getattr(new, name)
            before is None or before == after or broken(f"S13: {key} changed its {name}, which is decided once")
        if old.preparation != new.preparation:
            self._numbered(old, new)
        if new.prepared and not old.prepared:
            folder = new.prepared.folder
            for side, uri in new.prepared.uris.items():
                lies = uri.partition("/paths/")[2]
                (lies.startswith(folder) and lies in self.azure.prepared) or broken(
                    f"S5: {key} names {uri} as its {side}, and nothing is there"
                )
            new.report in self.azure.prepared or broken(f"S5: {key} names a report {new.report}, and nothing is there")
        if new.stage == "rejected":
            old.recipe is None or broken(f"L1: {key} is rejected after its recipe was frozen")
            new.prepared or new.report in self.azure.prepared or broken(f"L1: {key} is rejected and its report {new.report} is not there")
        if new.stage == "offered" and old.stage != "offered":
            self._offered(new)
        if new.stage == "stopped" and old.stage != "stopped" and new.training and not EXHAUSTED.match(new.reason):
            joined = self.azure.read_record(Key(kind=Kind.TRAINING, id=new.training), Training)
            (joined and any(line.what == "stopped" for line in joined.history)) or broken(f"L1: {key} stopped and its training did not")

    def _numbered(self, old: Tuning, new: Tuning) -> None:
        broken, key, was, now = self.broken, new.key, old.preparation, new.preparation
        number = was.number if was else 0
        (now is not None and now.number in (number, number + 1)) or broken(f"S13: the number of {key} goes from {was} to {now}")
        if now is None or now.number == number:
            return
        job = self.azure.jobs.get(old.job)
        was is None or (job and job.status == "Failed") or broken(f"S1: {key} asks for another job, and {old.job} did not fail")
        few = now.number <= self.policy.prepare_attempts_max
        few or broken(f"S1: {key} asks for job number {now.number}, and {self.policy.prepare_attempts_max} are allowed")

    def _offered(self, new: Tuning) -> None:
        broken, key = self.broken, new.key
        found = self.azure.read_record(Key(kind=Kind.SERVICE, id=names.service_id(new.owner, new.service)), Service)
        candidate = next((c for c in found.candidates if c.tuning == new.id), None) if found else None
        candidate is not None or broken(f"S10: {key} is offered, and its service does not know it")
        good = self.azure.read_record(Key(kind=Kind.TRAINING, id=new.training or ""), Training)
        (good is not None and good.stage == "good") or broken(f"S2: {key} is offered, and its training is not good")
        if good and new.recipe:
            good.recipe.frozen == new.recipe.frozen or broken(f"S15: {key} is offered with a model of another recipe than its own")
        if candidate and good:
            upload = self.azure.order.get(new.id)
            upload is None or candidate.order == (self.azure.machine_time(upload[0]), new.id) or broken(
                f"S7: {key} is offered as of another moment than its upload's, {candidate.order}"
            )
            candidate.sample in self.azure.prepared or broken(f"S5: {key} is offered with questions {candidate.sample} that are not there")
            (candidate.model, candidate.model_version) == (good.model, good.id) or broken(f"S6: {key} is offered with {candidate.model}")

    # --------------------------------------------------------------------------------------------------- training

    def _training(self, old: Training, new: Training) -> None:
        broken, key = self.broken, new.key
        fixed = (old.dataset_sha256, old.uris, old.recipe, old.service) == (new.dataset_sha256, new.uris, new.recipe, new.service)
        fixed or broken(f"S13: {key} became another training")
        len(set(new.tunings)) == len(new.tunings) or broken(f"S1: {key} counts a tuning twice, {new.tunings}")
        seen = JOB_IS.match(new.waits_for)
        (not seen or new.waits_for == old.waits_for or new.left_at or new.job_status == seen[1]) or broken(
            f"S13: {key} waits because {new.waits_for} and has it {new.job_status}"
        )
        new.tunings[: len(old.tunings)] == old.tunings or broken(f"S13: {key} forgot a tuning")
        job = self.azure.jobs.get(old.job)
        if new.job_number != old.job_number:
            new.job_number == old.job_number + 1 or broken(f"S13: the number of {key} goes from {old.job_number} to {new.job_number}")
            ended = old.job_number == 0 or (job and job.status in ("Failed", "Canceled"))
            ended or broken(f"S1: {key} asks for another job, and {old.job} did not end badly")
            allowed = max(self.policy.job_attempts_max, old.jobs_allowed)
            new.job_number <= allowed or broken(f"S1: {key} asks for job number {new.job_number}, and {allowed} are allowed")
            wanted = not old.cancel_requested or new.job_number <= old.jobs_allowed
            wanted or broken(f"S1: {key} asks for another job after it was asked to end")
            (new.submitted_at is None and not new.job_status) or broken(f"S13: {key} has a new job that was seen already")
        if new.jobs_allowed != old.jobs_allowed:
            asked = old.stage == "stopped" and new.stage == "open" and len(new.tunings) == len(old.tunings) + 1
            (asked and new.jobs_allowed == old.job_number + 1) or broken(
                f"S1: {key} may have {new.jobs_allowed} jobs, and nobody asked for that"
            )
        if new.stage == "superseded" and old.stage != "superseded":
            job is None or broken(f"L1: {key} is superseded, and its job {new.job} is paid for")
            waits = [k for k in self._tunings_of(new) if k.stage not in ENDS[Kind.TUNING]]
            not waits or broken(f"L1: {key} is superseded, and {waits[0].key} waits for it")
        if old.stage == "stopped" and new.stage == "open":
            (not new.reason and not new.next_action and not new.cancel_requested) or broken(
                f"L1: {key} is open again, and says {new.reason}"
            )
        if new.submitted_at != old.submitted_at and new.submitted_at is not None:
            old.submitted_at is None or broken(f"L6: the deadline of {key} was put off")
            job is not None or broken(f"S10: {key} says that {new.job} was accepted, and it was not")
        if new.job_status != old.job_status and new.job_status:
            (job is not None and new.job_status in job.statuses) or broken(f"S13: {key} says that its job is {new.job_status}")
        if new.stage in ("trained", "good") and old.stage != new.stage:
            (new.model, new.id) in self.azure.models or broken(f"S6: {key} is {new.stage} and its model is not registered")
        if new.stage == "good" and old.stage != "good" and self.azure.is_pickled(new.job):
            (PICKLE_NAME in new.reason and new.next_action) or broken(f"S12: {key} is good, and nobody is told what its model holds")
        if new.stage == "stopped" and old.stage != "stopped":
            self._gave_up(new, job)

    def _tunings_of(self, new: Training) -> list[Tuning]:
        found = (self.azure.read_record(Key(kind=Kind.TUNING, id=one), Tuning) for one in new.tunings)
        return [one for one in found if one is not None]

    def _gave_up(self, new: Training, job: Any) -> None:
        late = new.submitted_at is not None and self.machine.now() >= new.submitted_at + self.policy.job_deadline - self.slack
        ended = job is not None and (job.status in ("Failed", "Canceled") or job.owner != self.azure.owner)
        deaf = job is not None and (new.job in self.azure.never_canceled or job.end_wanted_ms is None)  # or no request of ours landed
        ended = ended or (late and new.left_at is not None and deaf)
        unseen = job is None or job.shows_at > self.machine.ms - 600_000  # when it was looked at
        explained = ended or (unseen and late) or self.azure.is_pickled(new.job) or EXHAUSTED.match(new.reason)
        explained or self.broken(f"L1: {new.key} stopped without need: {new.reason}")
        if job is None or EXHAUSTED.match(new.reason):
            return
        if new.left_at is not None and job.end_wanted_ms is not None:
            asked_at = new.cancel_requested_at or self.azure.machine_time(job.end_wanted_ms)  # written before the request, which may fail
            early = self.machine.now() < asked_at + self.policy.cancel_deadline - self.slack
            not early or self.broken(f"L6: {new.key} gave {new.job} up, which was asked to end at {asked_at}")
        if job.status == "Failed" and not new.cancel_requested and not unseen:
            "was killed" in new.reason or self.broken(f"L1: {new.key} does not say why {new.job} failed: {new.reason}")
        elif job.status == "Canceled" and job.end_wanted_ms is not None and new.cancel_requested:
            "was not done" in new.reason or self.broken(f"L1: {new.key} does not say why {new.job} was canceled: {new.reason}")

    # ---------------------------------------------------------------------------------------------------- service

    def _service(self, old: Service, new: Service) -> None:
        broken, key = self.broken, new.key
        (old.text, old.endpoint) == (new.text, new.endpoint) or not old.text or broken(f"S13: {key} became another service")
        endpoint = self.azure.endpoints.get(new.endpoint)
        if new.candidates != old.candidates:
            self.azure.candidate_ms[new.endpoint] = self.machine.ms
            self._candidates(old, new)
        if new.deployments != old.deployments or new.deployments_made != old.deployments_made:
            self._deployments(old, new, endpoint)
        if new.served != old.served:
            order = self.azure.order
            forward = old.served is None or old.served not in order or new.served not in order or order[new.served] > order[old.served]
            forward = forward or bool(LOST & self.azure.excuses[old.served or ""])
            forward or broken(f"S7: {key} served {old.served} and now an earlier upload, {new.served}")
        if new.deleting_endpoint and not old.deleting_endpoint:
            self.azure.intended_ms[new.endpoint] = self.machine.ms
        if new.deleting_endpoint and (not old.deleting_endpoint or new.rest_until != old.rest_until):
            held_up = timedelta(minutes=11)  # this write, by a worker that was ended after ten minutes with its request under way
            rests = new.rest_until is not None and new.rest_until >= self.machine.now() + self.azure.rest - self.slack - held_up
            rests or broken(f"S10: {key} is about to delete {new.endpoint}, and its name does not rest")
        not old.rest_until or (new.rest_until and new.rest_until >= old.rest_until - self.azure.skew) or broken(
            f"S8: the rest of {new.endpoint} was shortened"
        )
        if old.deleting_endpoint and not new.deleting_endpoint:
            endpoint is None or broken(f"L2: {key} says that {new.endpoint} is gone, and it is there")
            rests = (
                new.rest_until is not None
                and new.rest_until >= self.azure.machine_time(self.azure.deleted_ms.get(new.endpoint, 0)) + self.azure.rest
            )
            rests or broken(f"S8: {new.endpoint} is gone, and its name does not rest")
        if new.idle != old.idle:
            self._idle(old, new)
        if new.stage != old.stage:
            self._service_stage(new, endpoint)
        few = new.endpoint_failures <= self.policy.step_attempts_max
        few or broken(f"S13: {key} has made its endpoint {new.endpoint_failures} times in vain")
        not new.own_requests or new.own_requests[-1] <= self.machine.now() + self.slack or broken(f"S13: {key} counts a request to come")

    def _service_stage(self, new: Service, endpoint: Any) -> None:
        broken, key = self.broken, new.key
        ours = [d for d in endpoint.deployments.values() if d.name in {one.name for one in new.deployments}] if endpoint else []
        if new.stage == "torn down":
            endpoint is None or broken(f"L2: {key} is torn down and its endpoint is there")
        elif new.stage == "asleep":
            (not ours and not new.deployments and new.asleep_since) or broken(f"L2: {key} is asleep and has {[d.name for d in ours]}")
        elif new.stage == "live":
            new.live is not None or broken(f"S14: {key} is live and nothing serves")
        elif new.stage == "idle":
            new.idle.marked_at is not None or broken(f"S14: {key} is idle and its clock does not run")
        elif new.stage == "testing":
            any(d.state == "Succeeded" for d in ours) or broken(f"S14: {key} asks a deployment that is not there")
        elif new.stage == "blocked":
            stranger = endpoint is not None and endpoint.owner != self.azure.owner
            hangs = endpoint is not None and endpoint.state == "Creating"
            stranger or hangs or EXHAUSTED.match(new.reason) or broken(f"L1: {key} is blocked without need: {new.reason}")

    def _candidates(self, old: Service, new: Service) -> None:
        broken, key = self.broken, new.key
        before = {c.tuning: c for c in old.candidates}
        before.keys() <= {c.tuning for c in new.candidates} or broken(f"S13: {key} forgot a candidate")
        len({c.tuning for c in new.candidates}) == len(new.candidates) or broken(f"S13: {key} has a candidate twice")
        for candidate in new.candidates:
            was = before.get(candidate.tuning)
            if was is not None and was != candidate:
                msgspec.structs.replace(candidate, failure="") == was or broken(f"S13: {key} changed a candidate")
                (new.next_action and new.reason) or broken(f"L1: {key} gave {candidate.tuning} up and says nothing about it")
                self._given_up(old, candidate.tuning, candidate.failure)

    def _given_up(self, old: Service, tuning: str, failure: str) -> None:
        exhausted = EXHAUSTED.match(failure)
        if exhausted:
            self.exhausted(old.key, exhausted)
            return
        deployment = next((d for d in old.deployments if d.tuning == tuning), None)
        mute = deployment is not None and deployment.smoke_passed is False
        asked_at = deployment.submitted_at if deployment else None
        late = (
            asked_at is not None and self.machine.now() >= asked_at + self.policy.deployment_deadline - self.slack
        )  # every request was lost
        full = "no quota" in failure and any("no quota" in self.azure.excuses[c.tuning] for c in old.candidates)
        explained = mute or late or full or tuning in self.azure.excuses or old.endpoint_failures >= self.policy.step_attempts_max
        explained or self.broken(f"L1: {old.key} gave {tuning} up without need: {failure}")
        handler = self.machine.running
        if deployment and handler and not handler.is_hurt:
            "Its log ends: " in failure or self.broken(f"L1: {old.key} gave {deployment.name} up and does not show how its log ends")

    def _deployments(self, old: Service, new: Service, endpoint: Any) -> None:
        broken, key = self.broken, new.key
        before, after = {d.name: d for d in old.deployments}, {d.name: d for d in new.deployments}
        len(after) == len(new.deployments) or broken(f"S8: {key} has a deployment twice")
        made = new.deployments_made - old.deployments_made
        made in (0, 1) or broken(f"S13: the number of {key} goes from {old.deployments_made} to {new.deployments_made}")
        there = endpoint.deployments if endpoint else {}
        handler = self.machine.running
        for name in after.keys() - before.keys():
            fresh = after[name]
            late = fresh.retiring and not fresh.tuning and name in there
            named = made == 1 and name.startswith(f"d{new.deployments_made}-") and name not in self.numbers_used[key]
            late or named or broken(f"S8: {key} names a deployment {name} as number {new.deployments_made}")
            self.numbers_used[key].add(name)
            late or any(c.tuning == fresh.tuning and c.training == fresh.training for c in new.candidates) or broken(
                f"S13: {name} serves nobody"
            )
        for name in before.keys() - after.keys():
            seen = name in there and (handler is None or there[name].made_ms < handler.started)  # else the next look finds it
            seen and broken(f"L2: {key} forgets {name}, and it is there and billed")
        for name in before.keys() & after.keys():
            if before[name] != after[name]:
                self._deployment(new, before[name], after[name], there.get(name))
        serving = [d.name for d in new.deployments if d.live_at and not d.retiring]
        len(serving) <= 1 or broken(f"S7: {key} has {serving} live at once")

    def _deployment(self, new: Service, was: Any, now: Any, there: Any) -> None:
        broken = self.broken
        what = (was.tuning, was.training, was.model, was.model_version, was.sample, was.asked_at)
        what == (now.tuning, now.training, now.model, now.model_version, now.sample, now.asked_at) or broken(
            f"S13: {now.name} became another"
        )
        now.retiring or not was.retiring or broken(f"S13: {now.name} retires no longer")
        no_quota = now.submitted_at is None and "no quota" in self.azure.excuses[now.tuning] and there is None
        refused = no_quota or new.attempts > 1  # asked again after it failed
        was.submitted_at in (None, now.submitted_at) or refused or broken(f"L6: the deadline of {now.name} was put off")
        if now.smoke_passed != was.smoke_passed:
            proven = now.smoke_passed is False or (there is not None and there.answered and there.is_good)
            kept = self.azure.prepared.get(names.smoke_path(new.owner, new.text, now.name))
            shown = now.smoke_passed is False or (kept is not None and kept["question"] and kept["answer"] and "reference" in kept)
            shown or broken(f"S2: {now.name} passed its smoke test, and people cannot read what it was asked and answered")
            (was.smoke_passed is None and proven) or broken(f"S2: {now.name} passed a smoke test that it never answered")
            tries = new.attempts or self.policy.smoke_attempts_max
            now.smoke_passed or tries == self.policy.smoke_attempts_max or broken(
                f"L1: {now.name} failed its smoke test after {tries} tries"
            )
        if now.live_at != was.live_at:
            served = was.live_at is None and there is not None and there.served_ms is not None
            replaced = now.live_at is None and now.kept_until is not None and new.live is not None
            gone = there is None and "deleted by hand" in self.azure.excuses[now.tuning]  # since it was seen with its traffic
            (served or replaced or gone) or broken(f"S2: {now.name} is live and has no traffic")
            if now.live_at and was.kept_until:
                bad = [d.name for d in new.deployments if d.retiring and LOST & self.azure.excuses[d.tuning]]
                (bad and now.probed_at) or broken(f"S7: the way back to {now.name} was taken, and nothing went bad")
        if now.retiring and not was.retiring and was.live_at and not any(d.live_at and not d.retiring for d in new.deployments):
            handler = self.machine.running
            gone = there is None or there.name not in (d.name for d in new.deployments)
            seen = handler is not None and there is not None and there.name in notes_of(handler).slept_idle
            gone or seen or broken(f"S4: {now.name} is to go, and this look did not show it idle")

    def _idle(self, old: Service, new: Service) -> None:
        broken, key, was, now = self.broken, new.key, old.idle, new.idle
        handler = self.machine.running
        live = new.live
        seen = handler is not None and live is not None and live.name in notes_of(handler).slept_idle
        if now != was and live and old.live and live.name == old.live.name and handler and handler.name.startswith("take_turn"):
            self._nothing_strange(new, live, handler)
        if now.seen_idle_at is not None and now.seen_idle_at != was.seen_idle_at:
            seen or broken(f"S4: {key} says that it was seen idle, and it was not")
        if now.marked_at is not None and now.marked_at != was.marked_at:
            (was.marked_at is None and seen and now.marked_at == now.seen_idle_at) or broken(f"S4: {key} was marked at {now.marked_at}")
        if now.permit and now.permit != was.permit:
            self._permitted(key, old, now)
        if now.used_at is not None and now.used_at != was.used_at:
            now.used_at <= self.machine.now() + self.slack or broken(f"S13: {key} was used at {now.used_at}, which is to come")
            (now.marked_at is None and not now.permit) or broken(f"S4: {key} was used and goes on falling asleep")

    def _nothing_strange(self, new: Service, live: Any, handler: Handler) -> None:
        """Whoever looks at the use of a service has set right before what was wrong when he began."""
        there = self.azure.endpoints.get(new.endpoint)
        found = there.deployments.get(live.name) if there else None
        if there is None or found is None or found.state != "Succeeded":
            return
        taken = there.taken_ms is not None and there.taken_ms < handler.started
        not taken or self.broken(f"S7: {new.key} was looked at, and {live.name} has had no traffic since before")
        known = {one.name for one in new.deployments}
        late = [one.name for one in there.deployments.values() if one.ready_ms and not one.tuning and one.ready_ms < handler.started]
        strange = sorted(set(late) - known)
        not strange or self.broken(f"S7: {new.key} was looked at, and of {strange}, which landed late, it knows nothing")

    def _permitted(self, key: Key, old: Service, now: Any) -> None:
        handler, live, policy = self.machine.running, old.live, self.policy
        broken = self.broken
        (handler is not None and handler.name == "tear_down") or broken(f"S4: {key} was let go by somebody else than the fleet's timer")
        (live is not None and now.permit == (live.name,)) or broken(f"S4: the permit of {key} names {now.permit}")
        if old.idle.marked_at and old.idle.seen_idle_at:
            had_grace = old.idle.seen_idle_at >= old.idle.marked_at + policy.idle_grace
            had_grace or broken(f"S4: {key} was let go before its grace was over")
        if handler:
            notes_of(handler).permits += 1
            given = notes_of(handler).permits
            given <= policy.deletions_per_tick_max or broken(f"S16: {given} services were let go in one tick")
            awake = sum(1 for one in self.azure.services() if one.served)
            given <= -(-awake // 4) or broken(f"S16: {given} services were let go in one tick, and {awake} were awake")
        paused = self.azure.paused_since_ms is not None and handler is not None and handler.started >= self.azure.paused_since_ms
        (not policy.deletions_dry_run and not paused) or broken(f"S16: {key} was let go in a dry run or while PAUSED")

    # ------------------------------------------------------------------------------------------------------ slots

    def _slots(self, of: Key, old: Slots, new: Slots) -> None:
        broken, policy = self.broken, self.policy
        len(new.at_work) <= policy.jobs_at_once_max or broken(f"S11: slots are held by {sorted(new.at_work)}")
        if new.day == old.day:
            new.started[: len(old.started)] == old.started or broken(f"S11: the slots of {new.day} were forgotten")
        fresh = new.at_work.keys() - old.at_work.keys()
        if fresh:
            wrong = self.slack + self.azure.skew  # of an instance's clock
            days = {f"{self.machine.now() + by:%Y-%m-%d}" for by in (-wrong, timedelta(0), wrong)}
            new.day in days or broken(f"S11: a slot was taken on {new.day}")
            (fresh <= set(new.started) and len(fresh) == 1) or broken(f"S11: {sorted(fresh)} took a slot that is not counted")
            len(new.started) <= policy.jobs_per_day_max or broken(f"S11: {len(new.started)} jobs began on {new.day}")
        for name in old.at_work.keys() - new.at_work.keys():
            job, kind = self.azure.jobs.get(name), Kind.TRAINING if of == OF_TRAININGS else Kind.TUNING
            record: Any = self.azure.read_record(Key(kind=kind, id=old.at_work[name]), RECORD_TYPES[kind])
            over = record is None or (record.stage in ENDS[kind] and _left_job_since(record) is None) or record.job != name
            ended = job is not None and (job.status in ("Completed", "Failed", "Canceled") or job.owner != self.azure.owner)
            # Every request for it failed, or it was never asked for since its upload is out of date.
            never = job is None and record is not None and (record.stage in ENDS[kind] or kind is Kind.TUNING)
            over or ended or never or self.azure.showed_late(name) or broken(f"S11: {name} is at work and its slot was freed")

    # ---------------------------------------------------------------------------------- messages and announcements

    def rung(self, key: Key, promised: datetime | None, delay: timedelta) -> None:
        handler = self.machine.running
        if handler is None:
            return
        notes = notes_of(handler)
        notes.rung.add(key)
        notes.owed.discard(key)
        if promised is None:
            not delay or self.broken(f"L5: the doorbell of {key} rings after {delay}")
            return
        if notes.promises.get(key) == promised:
            del notes.promises[key]
        due = self.azure.machine_time(handler.called_ms) + delay
        held_up = timedelta(milliseconds=handler.called_ms - handler.started)
        on_time = promised - self.slack <= due <= promised + held_up + self.slack
        on_time or self.broken(f"L5: a message for {key} comes at {due} and keeps the promise of {promised}")

    def announced(self, change: Change) -> None:
        line = (change.key, change.at, change.what)
        self.told[line] += 1
        handler = self.machine.running
        self._keeps_secrets(f"{change.why} {change.next_action}", f"what people are told of {change.key}")
        if change.what == "turn_poisoned":
            self.poison_told[change.key] += 1
            return
        record = self.azure.read_record(change.key, RECORD_TYPES[change.key.kind])
        known = record and any((one.at, one.what, one.why) == (change.at, change.what, change.why) for one in record.history)
        known or self.broken(f"A1: people are told what {change.key} does not know: {change.what}, {change.why}")
        change.what == "opened" or self.told[line] == 1 or self.broken(f"A1: people are told twice that {change.key} is {change.what}")
        if handler:
            stage, action = notes_of(handler).untold.pop(line, (change.stage, change.next_action))
            same = change.what in ("waits", "opened") or (stage, action) == (change.stage, change.next_action)
            same or self.broken(f"A1: people are told that {change.key} is {change.stage}, {change.next_action}; it is {stage}, {action}")

    # --------------------------------------------------------------------------------------------------- handlers

    def done(self, handler: Handler, failed: bool) -> None:
        """A handler came to its end: see whether it owes anything. One of whose calls failed may."""
        notes: Notes | None = handler.notes
        broken = self.broken
        if handler.name.startswith(("forged", "turn_poisoned")):
            handler.calls == 0 or self.broken(f"S18: {handler.name} made the app ask {handler.calls} times")
            return
        handler.effects <= 1 or broken(f"S17: {handler.name} did {handler.effects} things at once")
        if failed:
            handler.is_hurt or broken(f"S13: {handler.name} failed, and nothing was planted")
        if handler.is_hurt or failed:
            return
        notes = notes or Notes()
        if handler.name == "look_again":
            self._has_looked(handler)
        elif handler.name == "tear_down":
            self._has_let_go(handler, notes)
        elif handler.name.startswith("ring "):
            self._is_due(handler)
        if notes.wants:
            self._was_heard(notes.wants, notes.rung, handler)
        if notes.answered_of and not notes.lost_a_race:
            self._has_counted_it(notes.answered_of, handler)
        if handler.name.startswith("take_turn training/") and handler.calls > 2 and not notes.lost_a_race:
            self._has_asked_it_to_end(handler)
        for key, promised in notes.promises.items():
            broken(f"L5: {key} is promised a look at {promised}, and no message was sent")
        for key, at, what in notes.untold:
            what == "opened" or broken(f"A1: nobody is told that {key} is {what} since {at}")
        for key, began in notes.claims.items():
            record = self.azure.read_record(key, RECORD_TYPES[key.kind])
            record.attempt_began_at != began or broken(f"L5: {key} is still being worked on, and {handler.name} is done")
        for key in notes.owed:
            broken(f"L5: {key} waits for this and was not rung")

    def _has_counted_it(self, service: str, handler: Handler) -> None:
        """A question of ours that was answered is no use by a client: the record counts it."""
        record = self.azure.read_record(Key(kind=Kind.SERVICE, id=service), Service)
        began = self.azure.machine_time(handler.started) - self.slack
        counted = record is not None and bool(record.own_requests) and record.own_requests[-1] >= began
        counted or self.broken(f"S10: service/{service} was asked by {handler.name}, and our own request is not counted")

    def _is_due(self, handler: Handler) -> None:
        """A doorbell has moved the promised look to now, unless it was due, somebody is at work, or somebody wrote meanwhile."""
        kind, _, name = handler.name.removeprefix("ring ").partition("/")
        key = Key(kind=Kind(kind), id=name)
        record = None if key in self.azure.unreadable else self.azure.read_record(key, RECORD_TYPES[key.kind])
        if record is None or self.written_ms.get(key, 0) >= handler.started:
            return
        soon = record.next_look_at is not None and record.next_look_at <= self.machine.now() + self.slack
        soon or record.attempt_began_at is not None or self.broken(f"L5: {key} was rung and is looked at only at {record.next_look_at}")

    def _has_asked_it_to_end(self, handler: Handler) -> None:
        """A turn of a training whose job is to end asks for that, as long as no request landed."""
        record = self.azure.read_record(Key(kind=Kind.TRAINING, id=handler.name.rpartition("/")[2]), Training)
        job = self.azure.jobs.get(record.job) if record else None
        if record is None or job is None or self.azure.paused_since_ms is not None:
            return
        if record.left_at and record.left_at >= self.azure.machine_time(handler.started) - self.slack:  # the next turn asks again
            return
        waits = job.status in ALIVE and job.end_wanted_ms is None and job.shows_at < handler.started
        (waits and record.cancel_requested) and self.broken(f"L6: {record.job} is to end, {handler.name} was done, and it was not asked to")

    def _has_looked(self, handler: Handler) -> None:
        """Whatever was overdue before a tick began is promised anew, and whatever lay there has a record: a tick repairs what was lost."""
        azure, began = self.azure, self.azure.machine_time(handler.started)
        for key in azure.active:
            if key.kind not in RECORD_TYPES or key not in azure.records or key in azure.unreadable:
                continue
            record = azure.read_record(key, RECORD_TYPES[key.kind])
            promised, worked_on = record.next_look_at, record.attempt_began_at
            missed = promised is not None and promised < began - self.policy.tick - self.slack
            alone = worked_on is None or worked_on < began - self.policy.lease - self.slack
            # Else a request landed that the tick could not see.
            met = max(self.written_ms.get(key, 0), azure.activated_ms.get(key, 0)) < handler.started
            (met and missed and alone) and self.broken(
                f"L5: {key} was to be looked at at {promised}, and a tick since {began} changed nothing"
            )
        known = {key.id for key in azure.records if key.kind is Kind.TUNING}
        for tuning, path in azure.paths.items():
            there = azure.blobs.get(path)
            lay = there is not None and bare_etag(there.etag) == azure.etags[tuning] and there.ms < handler.started
            (lay and tuning not in known) and self.broken(f"L5: a tick since {began} found no upload at {path}")

    def _has_let_go(self, handler: Handler, notes: Notes) -> None:
        """The longest idle of the services that could go is let go, if the limits allow."""
        if self.policy.deletions_dry_run or self.azure.paused_since_ms is not None or notes.permits:
            return
        began, policy = self.azure.machine_time(handler.started), self.policy
        for one in self.azure.services():
            clock = one.idle
            if one.candidate or one.live is None or clock.permit or clock.marked_at is None or clock.seen_idle_at is None:
                continue
            met = self.written_ms.get(one.key, 0) < handler.started
            ready = met and clock.marked_at + policy.idle_grace <= clock.seen_idle_at <= began < clock.seen_idle_at + policy.tick
            not ready or self.broken(f"L5: {one.key} could be let go since {clock.seen_idle_at}, and a tick since {began} did not")

    def audit(self) -> None:
        """Between ticks, some time after everything was mended: nothing is overdue, lost or billed for nothing."""
        azure, now = self.azure, self.machine.now()
        if azure.healed_ms is None or self.machine.ms < azure.healed_ms + 45 * 60_000:
            return
        late = now - 2 * self.policy.tick - self.policy.lease - self.slack
        for key in azure.active:
            if key.kind in RECORD_TYPES and key in azure.records and key not in azure.unreadable:
                record = azure.read_record(key, RECORD_TYPES[key.kind])
                on_time = record.next_look_at is None or record.next_look_at >= late
                on_time or self.broken(f"L5: {key} was to be looked at at {record.next_look_at}, more than two ticks ago")
        for path, blob in azure.blobs.items():
            known = any(azure.paths[key.id] == path for key in azure.records if key.kind is Kind.TUNING and key.id in azure.paths)
            known or azure.machine_time(blob.ms) >= late or self.broken(f"L5: {path} lies there for more than two ticks, and has no record")
        for endpoint in azure.endpoints.values():
            if endpoint.owner == azure.owner and not azure.hangs(endpoint.name) and endpoint.name not in azure.orphans:
                self._audit_endpoint(endpoint)

    def _audit_endpoint(self, endpoint: Any) -> None:
        """What serves has the traffic, and what does not is not kept for long."""
        record = self.azure.read_record(Key(kind=Kind.SERVICE, id=str(endpoint.service)), Service)
        if record is None or not record.text:  # it was nobody's, and has just been taken over
            return
        for deployment in endpoint.deployments.values():
            wanted_ms = max(self.azure.healed_ms or 0, self.azure.candidate_ms.get(endpoint.name, 0), endpoint.appeared_ms)
            since = max(deployment.ready_ms or 0, deployment.lost_ms, wanted_ms)
            unused = (self.machine.ms - since) // 60_000
            waits = deployment.ready_ms is None or deployment.is_orphan or endpoint.traffic.get(deployment.name)
            kept = self.policy.probation // timedelta(minutes=1) if deployment.lost_ms else 0
            waits or unused <= UNUSED_MINUTES_MAX + kept or self.broken(
                f"L2: {deployment.name} has no traffic and is billed for {unused} minutes"
            )

    def _was_heard(self, about: str, rung: set[Key], handler: Handler) -> None:
        """An event that was about an upload or a job has rung it, if there is a record to ring and the blob is still there."""
        job = self.azure.jobs.get(about)
        if job is not None:
            key = Key(kind=Kind.TRAINING, id=job.training) if job.training else Key(kind=Kind.TUNING, id=job.tuning or "")
            key in rung or self.broken(f"L5: {handler.name} was told of {about}, and {key} was not rung")
        elif about in self.azure.blobs:
            paths = {self.azure.read_record(key, Tuning).upload.path for key in rung if key.kind is Kind.TUNING}
            about in paths or self.broken(f"L5: {handler.name} was told of {about}, and nobody was rung")
