"""
One loop: a handful of uploads through a storm, then the storm ends, everything is drained, and what came of it is counted.

Its services and its contents are its own, so loops share a cloud and each is judged alone.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from azure.core.exceptions import ResourceNotFoundError

from shared.domain import names
from tests.loop.test_loop import chats
from tests.processes import count, plan
from tests.processes.cloud import Stage

DRAIN_WITHIN_S = 100.0  # the longest lease and rest of a name in the copied app are 25 s
LOOK_EVERY_S = 0.3
WORD = re.compile(r"Where is (\S+) number")
TOLD = re.compile(r"tuneloop\.announce: (\w+/\w+) is [^(]* \((\w+)\)\. (.*) action=announced$")
UNREMARKABLE = re.compile("/topics/|/devstoreaccount1/|/codes/|/environments/")
UNFORESEEN = re.compile(r"^(.+) action=(?:step|observe)_failed$")  # the last line of a traceback
PREPARED = re.compile(r"azureml://datastores/\w+/paths/(.+)")


class WentPast(Exception):
    """The emulator was asked something that no proxy saw: nothing that is counted can be believed."""


@dataclass(frozen=True, kw_only=True)
class Lived:
    """One loop that was lived."""

    plan: plan.Plan
    counts: count.Counts
    trace: list[str]
    seconds: float


class _Loop:
    def __init__(self, stage: Stage, plan_: plan.Plan, number: int) -> None:
        self.stage, self.app, self.plan = stage, stage.app, plan_
        self.mark = f"{plan_.seed}x{number}"  # of its services and contents: the same seed may be lived again in the same cloud
        self.owner = self.app.records.ledger.owner()
        self.known: list[count.Known] = []
        self.faults: list[tuple[float, str]] = []
        self.jobs_before = set(self.app.shown()["jobs"])
        self.traffic_before = self.app.traffic.stat().st_size
        self.log_before = self.app.running.functions_log.stat().st_size

    def service(self, number: int) -> str:
        return f"p{self.mark}{'ab'[number]}"

    def live(self) -> None:
        """Carry the plan out."""
        storm = self.stage.storm
        storm.begin(self.plan)
        for fault in self.plan.events:
            subject = fault["match"]["subject"].replace("{service}", self.service(0)[:-1])
            self.app.command("faults", {"faults": [{**fault, "match": {"subject": subject}}]})
        things: list[tuple[float, Callable[[], None]]] = [(one.at, self._upload_of(one)) for one in self.plan.uploads]
        things += [(one.at, self._blow_of(one)) for one in self.plan.blows]
        for at, do in sorted(things, key=lambda thing: thing[0]):
            time.sleep(max(0.0, at - storm.now()))
            do()
        while storm.now() < max(plan.STORM_S, self.plan.uploads[-1].at + plan.STORM_AFTER_S):
            time.sleep(LOOK_EVERY_S)
        storm.calm()
        self.app.command("faults", {"clear": True})

    def drain(self) -> count.Counts:
        """
        Wait until everything has come to its end, or for as long as a loop may take, and return what came of it. What nobody wanted cannot
        become better, so it ends the loop.
        """
        deadline = time.monotonic() + DRAIN_WITHIN_S
        while not self.has_ended() and time.monotonic() < deadline:
            early = count.counted(self.history())
            if early.unexpected:
                return replace(early, lost=(), left=())  # nobody has waited for these
            time.sleep(LOOK_EVERY_S)
            self.stage.settle()
            if not self.stage.lives():  # its workers died too often; `up` starts it again, and should it not, we do
                self.stage.revive(after_s=2.0)
        return count.counted(self.history())

    def has_ended(self) -> bool:
        if len(self.known) < len(self.plan.uploads) or next(iter(self.app.records.ledger.active()), None) is not None:
            return False
        if not all(count.has_ended(known, self.known, self._end(known)) for known in self.known):
            return False
        return not self.app.shown()["endpoints"]

    def history(self) -> count.History:
        exchanges = list(self.stage.storm.exchanges)
        logged = list(self._logged())  # before the records are read: what is told is written already
        shown = self.app.shown()
        return count.History(
            uploads=self.known,
            ends={known.tuning: self._end(known) for known in self.known},
            exchanges=exchanges,
            contents=dict(self._contents(exchanges)),
            jobs={name: status for name, status in shown["jobs"].items() if name not in self.jobs_before},
            endpoints={name: one["deployments"] for name, one in shown["endpoints"].items()},
            active=[str(key) for key in self.app.records.ledger.active()],
            faults=self.faults,
            told=[count.Told(key=match[1], what=match[2], text=match[3]) for line in logged if (match := TOLD.search(line))],
            unforeseen=[match[1] for line in logged if (match := UNFORESEEN.search(line))],
            written=dict(self._written()),
        )

    def check_nothing_went_past(self) -> None:
        """Hold the proxies' history against the emulator's own; what is on its way may take a moment."""
        deadline = time.monotonic() + 5.0
        while (seen := self._changes_seen()) != (made := self._changes_made()):
            if time.monotonic() > deadline:
                raise WentPast(f"The emulator wrote down {dict(made)} and the proxies {dict(seen)}.")
            time.sleep(LOOK_EVERY_S)

    def trace(self, counts: count.Counts) -> Iterator[str]:
        """Yield a line for whatever changed something or went wrong, in the order of time, then what the ledger says."""
        yield f"{self.plan}"
        lines = [(at, what) for at, what in self.faults]
        for known in self.known:
            lines.append((known.at, f"UPLOAD  {known.tuning} for {known.endpoint}, content {known.word}"))
        for one in self.stage.storm.exchanges:
            changes = one.via == plan.AZUREML and one.method in ("PUT", "DELETE", "POST") and not UNREMARKABLE.search(one.path)
            if one.fault or changes:
                path = one.path.partition("/workspaces/local-workspace")[2] or one.path
                said = f" traffic {(one.body['properties'] or {}).get('traffic')}" if count.ENDPOINT.search(path) and one.body else ""
                asked = f" of {one.deployment}" if one.deployment else ""
                lines.append((one.at, f"{one.via:7} {one.method} {path}{asked}{said} -> {one.status or 'nothing'}  {one.fault.upper()}"))
        for at, line in sorted(lines):
            yield f"{at:6.2f}  {line}"
        for known in self.known:
            for record in self.app.records.of(known.tuning):
                yield f"{record.kind.value} {record.id}: {record.stage}. {record.reason}"
                for line in record.history:
                    yield f"    {line.at:%H:%M:%S.%f} {line.who}: {line.what}. {line.why}"
        yield from counts.broken

    def _upload_of(self, one: plan.Upload) -> Callable[[], None]:
        def upload() -> None:
            service, word, at = self.service(one.service), f"{one.word}of{self.mark}", self.stage.storm.now()
            path = f"{service}/{one.path}"
            tuning = self.app.upload(path, chats(word))
            self.known.append(count.Known(tuning=tuning, endpoint=names.endpoint(self.owner, service), path=path, word=word, at=at))

        return upload

    def _blow_of(self, one: plan.Blow) -> Callable[[], None]:
        def blow() -> None:
            self.faults.append(
                (self.stage.storm.now(), f"{one.kind.upper()} {one.via} {one.seconds:.1f} s" if one.via else one.kind.upper())
            )
            if one.via:
                self.stage.storm.close(one.via, one.kind, one.seconds)
            else:
                self.stage.kill(one.kind.removeprefix("kill "))

        return blow

    def _end(self, known: count.Known) -> count.Ended | None:
        found = {record.kind.value: record for record in self.app.records.of(known.tuning)}
        tuning, service = found.get("tuning"), found.get("service")
        if tuning is None:
            return None
        failure = next((one.failure for one in service.candidates if one.tuning == tuning.id), "") if service else ""
        order = tuning.upload.order
        return count.Ended(stage=tuning.stage, reason=tuning.reason, next_action=tuning.next_action, order=order, failure=failure)

    def _logged(self) -> Iterator[str]:
        with self.app.running.functions_log.open("rb") as file:
            file.seek(self.log_before)
            for line in file:
                yield line.decode("utf-8", "replace").rstrip()

    def _written(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        for known in self.known:
            for record in self.app.records.of(known.tuning):
                yield str(record.key), [(line.what, line.why) for line in record.history]

    def _contents(self, exchanges: list[Any]) -> Iterator[tuple[str, str]]:
        """Yield the URI of each file that a job trained on, with the word that it is about."""
        for uri in dict.fromkeys(uri for one in exchanges if one.body for uri in _uris(one.body) if uri.endswith("/train.jsonl")):
            match = PREPARED.fullmatch(uri)
            try:
                text = self.app.records._prepared.download_blob(match[1]).readall().decode() if match else ""
            except ResourceNotFoundError:
                continue
            found = WORD.search(text)
            if found:
                yield uri, found[1]

    def _changes_seen(self) -> Counter[str]:
        return Counter(
            one.method
            for one in list(self.stage.storm.exchanges)
            if one.via == plan.AZUREML and one.method in ("PUT", "DELETE") and one.status
        )

    def _changes_made(self) -> Counter[str]:
        with self.app.traffic.open("rb") as file:
            file.seek(self.traffic_before)
            methods = [json.loads(line)["method"] for line in file]
        return Counter(method for method in methods if method in ("PUT", "DELETE"))


def live(stage: Stage, seed: int, number: int) -> Lived:
    """Live the loop of this seed."""
    began = time.monotonic()
    loop = _Loop(stage, plan.drawn(seed), number)
    loop.live()
    counts = loop.drain()
    stage.storm.end()
    stage.settle()
    loop.check_nothing_went_past()
    return Lived(plan=loop.plan, counts=counts, trace=list(loop.trace(counts)), seconds=time.monotonic() - began)


def _uris(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, below in value.items():
            if name == "uri" and isinstance(below, str):
                yield below
            else:
                yield from _uris(below)
