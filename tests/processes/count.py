"""
What came of one loop, counted as Jepsen counts: a pure function from what was uploaded, asked, answered and written down.

Of uploads: ok; recovered, which is ok though something went wrong during its life; told, which ended without being served, with a reason;
lost, of which nobody learns what became of it. Of effects: unexpected, which nobody wanted or which is paid twice; duplicated, which is
asked twice and done once; left, which is still there, or at work, at the end.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.processes.proxy import Exchange

ENDS = frozenset({"offered", "rejected", "stopped", "superseded"})
JOB_ENDED_BADLY = frozenset({"Failed", "Canceled", "NotResponding"})
JOB_ENDED = JOB_ENDED_BADLY | {"Completed"}
JOB = re.compile(r"/jobs/([^/]+)$")
MODEL = re.compile(r"/models/([^/]+)/versions/([^/]+)$")
DEPLOYMENT = re.compile(r"/onlineEndpoints/([^/]+)/deployments/([^/]+)$")
ENDPOINT = re.compile(r"/onlineEndpoints/([^/]+)$")
SCORE = re.compile(r"/endpoints/([^/]+)/score$")
TRAIN = "train_file_path"
TUNING_TAG = "tuneloop-tuning"
TRAINING_TAG = "tuneloop-training"
BEGINNING = 60  # characters by which a reason is known again: lines of the log are shortened


@dataclass(frozen=True, kw_only=True)
class Known:
    """One upload as its owner knows it."""

    tuning: str
    endpoint: str  # of its service
    path: str
    word: str  # what its content is about: equal words are equal bytes
    at: float


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What the ledger says of an upload at the end."""

    stage: str
    reason: str = ""
    next_action: str = ""
    order: Any = ()  # within its service
    failure: str = ""  # why its service gave it up; '': it did not


@dataclass(frozen=True, kw_only=True)
class Told:
    """A change that the app announced, which it does after it has written it down."""

    key: str
    what: str
    text: str  # why, and what follows it in the line


@dataclass(frozen=True, kw_only=True)
class History:
    uploads: Sequence[Known]
    ends: Mapping[str, Ended | None]  # tuning -> its end; None: there is no record
    exchanges: Sequence[Exchange]  # in the order of their answers
    contents: Mapping[str, str] = field(default_factory=dict)  # URI of a training file -> word
    jobs: Mapping[str, str] = field(default_factory=dict)  # name -> status at the end
    endpoints: Mapping[str, Sequence[str]] = field(default_factory=dict)  # still there -> deployments
    active: Sequence[str] = ()  # records that are still at work
    told: Sequence[Told] = ()
    unforeseen: Sequence[str] = ()  # exceptions that the app has logged as such
    written: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)  # record -> (what, why) of its history
    faults: Sequence[tuple[float, str]] = ()  # that did not happen to an exchange


@dataclass(frozen=True, kw_only=True)
class Counts:
    uploads: int
    ok: int
    recovered: int
    told: tuple[str, ...]  # of `ok` and `recovered`: who ended unserved, and why
    faults: int
    duplicated: int
    lost: tuple[str, ...]
    unexpected: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def broken(self) -> tuple[str, ...]:
        """Return a sentence for each thing that must not be, none if all is well."""
        kinds = {"unexpected": self.unexpected, "lost": self.lost, "left": self.left}
        return tuple(f"{kind}: {one}" for kind, found in kinds.items() for one in found)


def counted(history: History) -> Counts:
    """Return what came of it."""
    lost = {known.tuning: why for known in history.uploads if (why := _why_lost(known, history))}
    fine = [known for known in history.uploads if known.tuning not in lost]
    recovered = [known for known in fine if _was_hit(known, history)]
    return Counts(
        uploads=len(history.uploads),
        ok=len(fine) - len(recovered),
        recovered=len(recovered),
        told=tuple(sentence for known in fine if (sentence := _told(known, history.ends[known.tuning]))),
        faults=len(history.faults) + sum(bool(one.fault) for one in history.exchanges),
        duplicated=_asked_again(history),
        lost=tuple(f"upload {tuning}: {why}" for tuning, why in lost.items()),
        unexpected=tuple(
            sentence
            for found in (_unwanted_jobs, _unwanted_models, _unwanted_endpoints, _unwanted_deployments, _ungated, _backwards, _written_over)
            for sentence in found(history)
        )
        + tuple(f"the app did not foresee {error}" for error in dict.fromkeys(history.unforeseen)),
        left=tuple(_left(history)),
    )


# ------------------------------------------------------------------------------------------------------------- uploads


def has_ended(known: Known, uploads: Sequence[Known], end: Ended | None) -> bool:
    """Tell whether nothing more is to come of an upload: it is at an end, or its owner wrote over it before anybody had seen it."""
    return end.stage in ENDS if end else _was_written_over(known, uploads)


def _was_written_over(known: Known, uploads: Sequence[Known]) -> bool:
    return any(one.path == known.path and one.at > known.at for one in uploads)


def _why_lost(known: Known, history: History) -> str:
    end = history.ends.get(known.tuning)
    if end is None:
        return "" if has_ended(known, history.uploads, None) else "nobody took it up."
    if end.stage not in ENDS:
        return f"it is still {end.stage}."
    if end.stage in ("rejected", "stopped"):
        return "" if end.reason and end.next_action else f"it is {end.stage}, and its owner is not told why or what to do."
    beside = [one for one in history.uploads if one.endpoint == known.endpoint and one.tuning != known.tuning]
    if end.stage == "superseded":
        orders = [other.order for one in beside if (other := history.ends.get(one.tuning))]
        is_later = any(order > end.order for order in orders) or _was_written_over(known, history.uploads)
        return "" if is_later else "it is superseded, and nothing later was uploaded."
    offered = {one.tuning: other.order for one in (known, *beside) if (other := history.ends.get(one.tuning)) and other.stage == "offered"}
    if known.tuning != max(offered, key=lambda tuning: offered[tuning]) or end.failure or known.tuning in _served(history):
        return ""
    return "it was offered as the newest of its service, never had the traffic, and nobody says why."


def _told(known: Known, end: Ended | None) -> str:
    if end is None:
        return f"upload {known.tuning} was written over by its owner before it was seen"
    if not (end.stage in ("rejected", "stopped") or end.failure):
        return ""
    return f"upload {known.tuning} is {end.stage}: {end.failure or end.reason}"


def _was_hit(known: Known, history: History) -> bool:
    """Tell whether something went wrong between its upload and the last that its endpoint was asked."""
    last = max((one.at for one in history.exchanges if f"/{known.endpoint}" in one.path), default=float("inf"))
    times = [at for at, _ in history.faults] + [one.at for one in history.exchanges if one.fault]
    return any(known.at <= at <= last for at in times)


def _served(history: History) -> set[str]:
    """Return the tunings whose deployment once had traffic."""
    tunings = {name: tuning for name, tuning, _ in _deployments(history)}
    return {tunings[name] for name, _ in _moves(history) if name in tunings}


# ------------------------------------------------------------------------------------------------------------- effects


def _done(history: History, method: str, path: re.Pattern[str]) -> Iterator[tuple[Exchange, tuple[str, ...]]]:
    """Yield what Azure ML has done of this kind, with the names in its path."""
    for one in history.exchanges:
        match = path.search(one.path) if one.via == "azureml" and one.method == method and 200 <= one.status < 300 else None
        if match:
            yield one, match.groups()


def _deployments(history: History) -> Iterator[tuple[tuple[str, str], str, Exchange]]:
    """Yield (endpoint, deployment), tuning and exchange of each deployment, where it was accepted first."""
    seen = set()
    for one, (endpoint, deployment) in _done(history, "PUT", DEPLOYMENT):
        if (endpoint, deployment) not in seen:
            seen.add((endpoint, deployment))
            yield (endpoint, deployment), str((_object(one.body).get("tags") or {}).get(TUNING_TAG, "")), one


def _moves(history: History) -> Iterator[tuple[tuple[str, str], Exchange]]:
    """Yield (endpoint, deployment) and exchange wherever a deployment is given traffic."""
    for one, (endpoint,) in _done(history, "PUT", ENDPOINT):
        for deployment, share in (_object(_object(one.body).get("properties")).get("traffic") or {}).items():
            if share:
                yield (endpoint, deployment), one


def _unwanted_jobs(history: History) -> Iterator[str]:
    wanted = {known.word for known in history.uploads} | {known.tuning for known in history.uploads}
    paid = defaultdict[tuple[str, str], dict[str, None]](dict)
    for one, (name,) in _done(history, "PUT", JOB):
        content, recipe = _bought(one.body, history.contents)
        if content not in wanted:
            yield f"job {name} is paid for what nobody uploaded ({content or 'unknown'})."
        elif history.jobs.get(name) not in JOB_ENDED_BADLY:
            paid[content, recipe][name] = None
    for (content, _), names in paid.items():
        if len(names) > 1:
            yield f"{len(names)} jobs are paid for the same content {content} and recipe: {', '.join(names)}."


def _bought(body: Any, contents: Mapping[str, str]) -> tuple[str, str]:
    """Return the content that a job trains on and all its parameters as one text; of a job that prepares, whose upload."""
    properties, inputs = _object(_object(body).get("properties")), dict[str, Any]()
    for node in (properties.get("jobs") or {}).values():
        inputs |= _object(node).get("inputs") or {}
    if not properties.get("jobs"):
        return str((properties.get("tags") or {}).get(TUNING_TAG, "")), "preparation"
    uri = str(_object(inputs.get(TRAIN)).get("uri", ""))
    recipe = {name: value for name, value in inputs.items() if not name.endswith("_file_path")}
    return contents.get(uri, ""), json.dumps(recipe, sort_keys=True)


def _unwanted_models(history: History) -> Iterator[str]:
    made = defaultdict[str, dict[str, None]](dict)
    for one, named in _done(history, "PUT", MODEL):
        tags = _object(_object(one.body).get("properties")).get("tags") or {}
        made[str(tags.get(TRAINING_TAG, ""))][" ".join(named)] = None
    for training, names in made.items():
        if len(names) > 1 or not training:
            yield f"{len(names)} models are registered for training {training or 'unknown'}: {', '.join(names)}."


def _unwanted_endpoints(history: History) -> Iterator[str]:
    wanted = {known.endpoint for known in history.uploads}
    for endpoint in dict.fromkeys(endpoint for _, (endpoint,) in _done(history, "PUT", ENDPOINT)):
        if endpoint not in wanted:
            yield f"endpoint {endpoint} is of no upload's service."


def _unwanted_deployments(history: History) -> Iterator[str]:
    wanted, made = {(known.endpoint, known.tuning) for known in history.uploads}, defaultdict[tuple[str, str], list[str]](list)
    for (endpoint, deployment), tuning, _ in _deployments(history):
        if (endpoint, tuning) not in wanted:
            yield f"deployment {deployment} on {endpoint} is for no upload of its service."
        else:
            made[endpoint, tuning].append(deployment)
    for (endpoint, tuning), names in made.items():
        if len(names) > 1:
            yield f"{len(names)} deployments on {endpoint} are paid for one upload, {tuning}: {', '.join(names)}."
    gone = dict[tuple[str, ...], float]()
    for one, named in _done(history, "DELETE", DEPLOYMENT):
        gone.setdefault(named, one.at)
    for one, named in _done(history, "PUT", DEPLOYMENT):
        if one.at > gone.get(named, float("inf")):
            yield f"deployment {named[1]} on {named[0]} is made again after it was deleted."


def _ungated(history: History) -> Iterator[str]:
    """Yield each deployment that got traffic before it had ever answered a question that was put to it alone."""
    answered, told = set[tuple[str, str]](), set[tuple[str, str]]()
    for one in history.exchanges:
        score = SCORE.search(one.path)
        if score and one.deployment and one.status == 200 and one.arrived:
            answered.add((score[1], one.deployment))
        for names, move in _moves(_only(history, one)):
            if names not in answered | told:
                told.add(names)
                yield f"deployment {names[1]} got traffic on {names[0]} at {move.at:.1f} s and had not answered its smoke test."


def _backwards(history: History) -> Iterator[str]:
    """Yield each time that traffic goes from one upload to an earlier one, and nobody has given the later one up."""
    tunings = {name: tuning for name, tuning, _ in _deployments(history)}
    newest = dict[str, tuple[Any, str]]()
    for name, move in _moves(history):
        end = history.ends.get(tunings.get(name, ""))
        if end is None:
            continue
        order, before = (end.order, tunings[name]), newest.get(name[0])
        if before is None or before[0] <= end.order:
            newest[name[0]] = order
        elif (later := history.ends[before[1]]) and not later.failure:
            yield f"the traffic of {name[0]} goes at {move.at:.1f} s from upload {before[1]} back to {tunings[name]}, which is older."


def _written_over(history: History) -> Iterator[str]:
    for told in dict.fromkeys(history.told):
        written = history.written.get(told.key)
        if written is not None and not any(what == told.what and told.text.startswith(why[:BEGINNING]) for what, why in written):
            yield f"people were told that {told.key} is {told.what} ({told.text[:BEGINNING]}), and its record is not: written over."


def _only(history: History, one: Exchange) -> History:
    return History(uploads=history.uploads, ends=history.ends, exchanges=(one,))


def _asked_again(history: History) -> int:
    """Return how often something that was there already was asked for again, with no second effect; and how many uploads shared a job."""
    asked = Counter[tuple[str, str]]()
    for one in history.exchanges:
        is_named = one.via == "azureml" and one.method == "PUT" and one.status and (JOB.search(one.path) or DEPLOYMENT.search(one.path))
        if is_named and (one.status < 300 or one.status in (400, 409)):
            asked[one.method, one.path] += 1
    shared = len(history.uploads) - len({known.word for known in history.uploads})
    return sum(count - 1 for count in asked.values()) + shared


def _left(history: History) -> Iterator[str]:
    for endpoint, deployments in history.endpoints.items():
        yield f"endpoint {endpoint} is still there, with {', '.join(deployments) or 'no deployment'}."
    for job, status in history.jobs.items():
        if status not in JOB_ENDED:
            yield f"job {job} is still {status}."
    for key in history.active:
        yield f"{key} is still at work."


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
