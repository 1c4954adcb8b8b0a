"""
What one loop does, drawn from its seed: uploads, and what goes wrong while the app is at work on them.

The seed draws the plan, not the moment at which processes are where: the same seed is the same bad day, not the same history. Times are
seconds since the beginning of the loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

STORM_S = 12.0  # later, only what is aimed at an exchange happens; without faults a model is live after 9 s
STORM_AFTER_S = 4.0  # and not sooner after the last upload
UPLOADS_MAX = 4
AZUREML, BLOB, QUEUE = "azureml", "blob", "queue"
BEFORE, AFTER, TWICE, STALL = "lost before", "reply lost", "sent twice", "stalled"
KILL_BEFORE, KILL_AFTER, KILL_HOST = "worker killed before", "worker killed after", "host killed after"
STALL_S = (0.5, 3.0)  # far below functionTimeout of the copied app, as its shortened margin asks for

PAID = (
    (AZUREML, "PUT", "/jobs/ft-"),
    (AZUREML, "PUT", "/jobs/ft-"),
    (AZUREML, "PUT", "/models/.*/versions/"),
    (AZUREML, "PUT", "/onlineEndpoints/[^/]+$"),
    (AZUREML, "PUT", "/onlineEndpoints/[^/]+$"),
    (AZUREML, "PUT", "/deployments/"),
    (AZUREML, "POST", "/score$"),
    (AZUREML, "DELETE", "/deployments/"),
    (AZUREML, "DELETE", "/onlineEndpoints/[^/]+$"),
)
WRITTEN = (
    (BLOB, "PUT", "/ledger/tuning/"),
    (BLOB, "PUT", "/ledger/training/"),
    (BLOB, "PUT", "/ledger/service/"),
    (BLOB, "PUT", "/prepared/"),
    (QUEUE, "POST", "/turns/messages"),
    (QUEUE, "DELETE", "/turns/messages"),
)

EVENT_FAULTS: dict[str, dict[str, Any]] = {"event_never": {}, "event_twice": {"copies": 2}, "event_late": {"seconds": 3.0}}


@dataclass(frozen=True, kw_only=True)
class Upload:
    """One upload by an owner. Equal words are equal bytes."""

    at: float
    service: int
    path: str  # below the folder of its service
    word: str


@dataclass(frozen=True, kw_only=True)
class Blow:
    """Something that happens at a moment, whatever the app is doing then."""

    at: float
    kind: str  # kill host, kill worker, cut, stall
    via: str = ""  # of a cut or a stall: what cannot be reached
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Aimed:
    """Something that happens at the n-th exchange of a kind, counted from 0."""

    via: str
    method: str
    path: str  # a regular expression that is searched for
    nth: int
    fault: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    seed: int
    uploads: tuple[Upload, ...]
    blows: tuple[Blow, ...]
    aimed: tuple[Aimed, ...]
    chances: dict[str, float]  # fault -> chance of each exchange; of TWICE: of each message that is put
    events: tuple[dict[str, Any], ...]  # the local cloud's own faults; "{service}" is filled in


def drawn(seed: int) -> Plan:
    """Return the plan of this seed."""
    chance = Random(f"processes {seed}")
    return Plan(
        seed=seed,
        uploads=_uploads(chance),
        blows=tuple(sorted((_blow(chance) for _ in range(chance.choice((0, 1, 1, 2, 2, 3)))), key=lambda blow: blow.at)),
        aimed=tuple(_aimed(chance) for _ in range(chance.choice((0, 1, 2, 2, 3)))),
        chances={
            BEFORE: chance.choice((0, 0.01, 0.03)),
            AFTER: chance.choice((0, 0.01, 0.03)),
            STALL: chance.choice((0, 0, 0.02)),
            TWICE: chance.choice((0, 0.2, 1.0)),
        },
        events=_events(chance),
    )


def _uploads(chance: Random) -> tuple[Upload, ...]:
    found = [Upload(at=0.0, service=0, path="0.jsonl", word="w0")]
    for n in range(1, chance.randint(1, UPLOADS_MAX)):
        soon, later = chance.uniform(0.0, 3.0), chance.uniform(8.0, 14.0)  # beside the one before; when that is live, or asleep
        earlier, at = chance.choice(found), found[-1].at + chance.choice((soon, soon, soon, later))
        kind = chance.choices(("new", "again", "elsewhere", "new elsewhere"), (4, 3, 2, 1))[0]
        service = 1 - earlier.service if "elsewhere" in kind else earlier.service
        path = earlier.path if kind == "again" else f"{n}.jsonl"
        found.append(Upload(at=at, service=service, path=path, word=f"w{n}" if "new" in kind else earlier.word))
    return tuple(found)


def _blow(chance: Random) -> Blow:
    at, kind = chance.uniform(0.3, STORM_S), chance.choices(("kill host", "kill worker", "cut", "stall"), (4, 4, 2, 2))[0]
    if kind.startswith("kill"):
        return Blow(at=at, kind=kind)
    return Blow(at=at, kind=kind, via=chance.choice((AZUREML, BLOB, QUEUE)), seconds=chance.uniform(*STALL_S))


def _aimed(chance: Random) -> Aimed:
    via, method, path = chance.choice(PAID if chance.random() < 0.7 else WRITTEN)
    fault = chance.choice((BEFORE, AFTER, AFTER, KILL_BEFORE, KILL_AFTER, KILL_AFTER, KILL_HOST, STALL))
    return Aimed(via=via, method=method, path=path, nth=chance.choice((0, 0, 0, 1, 2)), fault=fault)


def _events(chance: Random) -> tuple[dict[str, Any], ...]:
    found: list[dict[str, Any]] = []
    for _ in range(chance.choice((0, 1, 1, 2))):
        subject, skip = chance.choice(("*/blobs/{service}*", "*/runs/ft-*")), chance.choice((0, 0, 1))
        kind = chance.choice(("event_never", "event_never", "event_twice", "event_late"))
        found.append({"fault": kind, "match": {"subject": subject}, "skip": skip, **EVENT_FAULTS[kind]})
    return tuple(found)
