"""
What shall go wrong, planned: a list of faults, each with what it hits, how often, and what it does there.

A plan is JSON, from a file, over `POST /_localcloud/faults`, or from a test:

    {"faults": [{"fault": "throttled", "match": {"method": "PUT", "path": "*/jobs/*"}, "skip": 1, "times": 2, "retry_after": 3}]}

`match` compares without regard to case, `*` and `?` stand for any text and any sign; what it leaves out matches all. `skip`: so
many hits pass first. `times`: so many are spoiled, 0 for all. `chance`: the part of the hits that is spoiled. A fault that nobody
knows, or a parameter that it does not have, is refused by name. Who is hit asks `take`; KINDS is the whole list.
"""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from localcloud.chance import Chance

QUOTA = (  # Azure ML, how-to-troubleshoot-online-endpoints and how-to-manage-quotas
    "Not enough quota available for {instance_type} in SubscriptionId {subscription}. Current usage/limit: 0/6. Additional needed: 8"
)
CAPACITY = "The specified VM Size failed to provision due to a lack of Azure Machine Learning capacity. Retry later or another region."
NAME_TAKEN = (
    "Endpoint with name {name} already exists in this region. Choose a different name and retry."  # our words: Azure's are not known
)

NUMBER_MAX = 366 * 86_400  # a year in seconds: more is a typing error
COPIES_MAX = 1_000  # of one event; a guess: more only makes a test slow


class WrongFault(ValueError):
    """The plan cannot be read; the text says which entry, what is wrong and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One thing that can go wrong."""

    where: str  # what is hit: exchange, job, deployment, endpoint, operation, model, scoring, metrics, event
    match: tuple[str, ...]  # what `match` may name
    parameters: Mapping[str, Any] = field(default_factory=dict)  # name -> what it is when the plan does not say
    times: int = 1  # when the plan does not say; 0: always
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # parameter -> what it may be, where not everything makes sense
    does: str = ""


_EXCHANGE = ("method", "path", "api_version")
_DEPLOYMENT = ("endpoint", "deployment")
KINDS: Mapping[str, Kind] = {
    "throttled": Kind(where="exchange", match=_EXCHANGE, parameters={"retry_after": 1}, does="429 with Retry-After, nothing is done"),
    "error_before": Kind(
        where="exchange", match=_EXCHANGE, parameters={"status": 500, "retry_after": None}, does="`status`, nothing is done"
    ),
    "error_after": Kind(
        where="exchange", match=_EXCHANGE, parameters={"status": 503, "retry_after": None}, does="it is done, then `status`"
    ),
    "lost_reply": Kind(where="exchange", match=_EXCHANGE, does="it is done, then the connection ends without an answer"),
    "connection_reset": Kind(where="exchange", match=_EXCHANGE, does="the connection is reset, nothing is done"),
    "slow_reply": Kind(where="exchange", match=_EXCHANGE, parameters={"seconds": 5.0}, does="it is done, the answer comes `seconds` later"),
    "operation_stuck": Kind(
        where="operation", match=("resource", "name"), does="a long-running operation never ends, whatever it is about"
    ),
    "job_refused": Kind(
        where="job", match=("name",), parameters={"message": "The job cannot be accepted."}, does="the PUT is answered 400"
    ),
    "job_failed": Kind(
        where="job",
        match=("name",),
        parameters={"code": "UserError", "message": "The job failed."},
        does="it ends Failed when its trainer or command ends",
    ),
    "job_canceled": Kind(where="job", match=("name",), does="it ends Canceled as soon as it runs, as if somebody had asked for it"),
    "job_not_responding": Kind(where="job", match=("name",), does="it ends NotResponding as soon as it runs"),
    "job_stuck": Kind(
        where="job",
        match=("name",),
        parameters={"status": "Queued"},
        choices={"status": ("NotStarted", "Starting", "Preparing", "Queued", "Running", "Finalizing")},
        does="it never leaves `status` by itself; a cancel ends it",
    ),
    "job_nan_losses": Kind(where="job", match=("name",), does="its losses are NaN, and NaN is not logged: metrics without any loss"),
    "deployment_refused": Kind(
        where="deployment", match=_DEPLOYMENT, parameters={"message": QUOTA}, does="the PUT is answered 400, for quota"
    ),
    "deployment_failed": Kind(
        where="deployment",
        match=_DEPLOYMENT,
        parameters={"code": "OutOfCapacity", "message": CAPACITY},
        does="it ends Failed with this reason",
    ),
    "deployment_failed_silently": Kind(
        where="deployment",
        match=_DEPLOYMENT,
        parameters={"code": "InternalServerError", "message": "Internal server error."},
        does="it ends Failed and no event of any kind tells it",
    ),
    "endpoint_name_taken": Kind(
        where="endpoint", match=("name",), parameters={"message": NAME_TAKEN}, does="the PUT of a new one is answered 400"
    ),
    "endpoint_quota": Kind(
        where="endpoint",
        match=("name",),
        parameters={"message": "Endpoint Quota reached for subscription {subscription}. Current usage/limit: 300/300."},
        does="the PUT of a new one is answered 400",
    ),
    "endpoint_failed": Kind(
        where="endpoint",
        match=("name",),
        parameters={"code": "InternalServerError", "message": "Internal server error."},
        does="it ends Failed",
    ),
    "endpoint_locked": Kind(
        where="endpoint", match=("name",), parameters={"seconds": 30.0}, does="a change of it takes `seconds`; until then it is Updating"
    ),
    "base_model_archived": Kind(where="model", match=("name",), times=0, does="isArchived is true, and a list does not show it"),
    "base_model_retired": Kind(
        where="model", match=("name",), times=0, does="the registry answers 404, and a job that names it is refused"
    ),
    "base_model_undeclared_defaults": Kind(
        where="model",
        match=("name",),
        times=0,
        parameters={"defaults": {"learning_rate_min": "5e-7", "learning_rate_max": "5e-5"}},
        does="its default parameters name `defaults`, which the component does not declare",
    ),
    "base_model_allow_lists": Kind(
        where="model",
        match=("name",),
        times=0,
        parameters={"place": "nowhere"},
        choices={"place": ("tags", "properties", "system_metadata", "nowhere")},
        does="the sizes that it may run on stand in `place`",
    ),
    "scoring_empty": Kind(where="scoring", match=_DEPLOYMENT, does="200 with {}: what the model server says when it failed"),
    "scoring_failed": Kind(where="scoring", match=_DEPLOYMENT, does="424 with the model's own status 500"),
    "scoring_throttled": Kind(where="scoring", match=_DEPLOYMENT, parameters={"retry_after": 1}, does="429 with Retry-After"),
    "scoring_slow": Kind(where="scoring", match=_DEPLOYMENT, parameters={"seconds": 5.0}, does="the answer comes `seconds` later"),
    "metrics_late": Kind(
        where="metrics", match=("resource",), times=0, parameters={"seconds": 300.0}, does="points appear `seconds` after their time"
    ),
    "metrics_without_points": Kind(where="metrics", match=("resource",), times=0, does="a series is there and has no data points"),
    "event_twice": Kind(
        where="event", match=("type", "subject"), parameters={"copies": 1}, does="`copies` more deliveries of the same event"
    ),
    "event_reordered": Kind(where="event", match=("type", "subject"), does="it is delivered after the next one"),
    "event_late": Kind(
        where="event", match=("type", "subject"), parameters={"seconds": 60.0}, does="it is first delivered `seconds` later"
    ),
    "event_never": Kind(where="event", match=("type", "subject"), does="it is lost"),
}
_OWN = frozenset({"fault", "match", "skip", "times", "chance"})


@dataclass(kw_only=True)
class Fault:
    """One entry of the plan and what became of it."""

    id: int
    kind: str
    match: Mapping[str, str]
    skip: int
    times: int  # 0: always
    chance: float
    given: Mapping[str, Any]
    seen: int = 0  # hits so far, spoiled or not
    spoiled: int = 0

    @property
    def used_up(self) -> bool:
        return self.times > 0 and self.spoiled >= self.times

    def __getitem__(self, name: str) -> Any:
        """Return a parameter as planned, else as KINDS says."""
        return self.given.get(name, KINDS[self.kind].parameters[name])

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "fault": self.kind,
            "match": dict(self.match),
            "skip": self.skip,
            "times": self.times,
            "chance": self.chance,
            **KINDS[self.kind].parameters,
            **self.given,
            "seen": self.seen,
            "spoiled": self.spoiled,
        }


class Faults:
    """The plan. `told` hears of each fault as it hits, so that it can be seen in the traffic."""

    def __init__(self, chance: Chance | None = None, told: Callable[[Fault, Mapping[str, str]], None] | None = None) -> None:
        self.told = told
        self._chance = chance or Chance()
        self._lock = threading.Lock()
        self._all: list[Fault] = []
        self._count = 0

    def add(self, plan: Any) -> list[int]:
        """Add every entry of `{"faults": [...]}`, or none: raise WrongFault for the first that cannot be. Return their ids."""
        if not isinstance(plan, dict) or set(plan) != {"faults"} or not isinstance(plan["faults"], list):
            raise WrongFault('A plan is {"faults": [...]}.')
        checked = [_checked(entry) for entry in plan["faults"]]
        with self._lock:
            made = []
            for entry in checked:
                self._count += 1
                made.append(Fault(id=self._count, **entry))
            self._all += made
        return [fault.id for fault in made]

    def clear(self) -> None:
        """Nothing more goes wrong."""
        with self._lock:
            self._all.clear()

    def take(self, kind: str, **about: str) -> Fault | None:
        """Return the first fault of this kind that hits now, counted as used; None: all goes well."""
        return self.take_any((kind,), **about)

    def take_any(self, kinds: Iterable[str], **about: str) -> Fault | None:
        """Return the first entry of the plan, of any of these kinds, that hits now."""
        wanted = frozenset(kinds)
        with self._lock:
            found = next((fault for fault in self._all if fault.kind in wanted and self._hits(fault, about)), None)
        if found is not None and self.told is not None:
            self.told(found, about)
        return found

    def shown(self) -> list[dict[str, Any]]:
        """Return the plan with what became of each entry."""
        with self._lock:
            return [fault.shown() for fault in self._all]

    def _hits(self, fault: Fault, about: Mapping[str, str]) -> bool:
        if fault.used_up or not all(_fits(about.get(name, ""), pattern) for name, pattern in fault.match.items()):
            return False
        fault.seen += 1
        if fault.seen <= fault.skip or (fault.chance < 1 and self._chance.random() >= fault.chance):
            return False
        fault.spoiled += 1
        return True


def worded(text: str, **about: str) -> str:
    """Return a message of a fault with each {name} of `about` filled in; other braces stay as they are."""
    for name, value in about.items():
        text = text.replace("{" + name + "}", value)
    return text


def _fits(text: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(text.lower(), pattern.lower())


def _checked(entry: Any) -> dict[str, Any]:
    """Return the fields of a Fault; raise WrongFault with the names that are allowed."""
    named = entry.get("fault") if isinstance(entry, dict) else entry
    if not isinstance(entry, dict) or not isinstance(named, str) or named not in KINDS:
        raise WrongFault(f"There is no fault {named!r}; there are {', '.join(KINDS)}.")
    name, kind = str(entry["fault"]), KINDS[str(entry["fault"])]
    unknown = sorted(set(entry) - _OWN - set(kind.parameters))
    if unknown:
        allowed = ", ".join(sorted((_OWN - {"fault"}) | set(kind.parameters)))
        raise WrongFault(f"The fault {name} has no {', '.join(unknown)}; it has {allowed}.")
    match = entry.get("match", {})
    if not isinstance(match, dict) or not set(match) <= set(kind.match) or not all(isinstance(one, str) for one in match.values()):
        raise WrongFault(
            f"The match of {name} is {match!r}; it may name {', '.join(kind.match)}, each with a text in which * stands for any."
        )
    skip, times, chance = entry.get("skip", 0), entry.get("times", kind.times), entry.get("chance", 1.0)
    if not _whole(skip) or not _whole(times):
        raise WrongFault(f"The fault {name} has skip {skip!r} and times {times!r}; both are whole numbers from 0 on.")
    if isinstance(chance, bool) or not isinstance(chance, int | float) or not 0 <= chance <= 1:
        raise WrongFault(f"The chance of {name} is {chance!r}; it is a number from 0 to 1.")
    given = {key: value for key, value in entry.items() if key in kind.parameters}
    for key, value in given.items():
        _check_parameter(name, key, value, kind.parameters[key])
        if value not in kind.choices.get(key, (value,)):
            raise WrongFault(f"{key} of the fault {name} is {value!r}; it is one of {', '.join(kind.choices[key])}.")
    return {"kind": name, "match": match, "skip": skip, "times": times, "chance": float(chance), "given": given}


def _check_parameter(fault: str, name: str, value: Any, default: Any) -> None:
    """A parameter is of the kind of its default: a whole number, a number, a text, an object; where that is None, null or a number."""
    if value is None and default is None:
        return
    if default is not None and not isinstance(default, int | float):
        fits = isinstance(value, type(default))
    else:
        fits = _whole(value) if isinstance(default, int) else isinstance(value, int | float) and not isinstance(value, bool)
        fits = fits and 0 <= value <= NUMBER_MAX
    if not fits:
        raise WrongFault(f"{name} of the fault {fault} is {value!r}; it is like {default if default is not None else 1!r}.")
    if name == "status" and isinstance(default, int) and not 400 <= value <= 599:
        raise WrongFault(f"status of the fault {fault} is {value}; it is an error, from 400 to 599.")
    if name == "copies" and value > COPIES_MAX:
        raise WrongFault(f"copies of the fault {fault} is {value}; it is at most {COPIES_MAX}.")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
