"""
One scripted life for each branch of the life, with no chance in it: what owners do, what Azure does with it, and how it ends.

A fault can be planned at any call of a script. Planned at each of its effects, one by one, the five kinds of fault leave no narrow window
that chance has to find. Where nothing is said, Azure does what it usually does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any

import msgspec

from tests.simulation.azure import MINUTE
from tests.simulation.history import INVALID, POLICY, VALID, History, Verdict
from tests.simulation.machine import FAULTS, Mix

SEED = 7
USUAL = 0.5  # neither rare nor extreme, whatever it is asked for
PAID = ("trainings.submit", "preparations.submit", "endpoints.create_endpoint", "endpoints.create_deployment")
ENDED = ("endpoints.delete_deployment", "endpoints.delete_endpoint", "trainings.cancel", "preparations.cancel")
EFFECTS = frozenset(
    {
        *PAID, *ENDED, "ledger.create", "ledger.replace", "ledger.activate", "ledger.deactivate", "trainings.register", "datasets.write",
        "endpoints.set_traffic", "endpoints.ask", "place.commit", "place.put", "place.publish", "turns.ring",
    }
)  # fmt: skip

Fate = Mapping[str, Sequence[float]]
Plan = dict[int, str]


@dataclass(frozen=True, kw_only=True)
class Script:
    acts: Callable[[History], None]
    ends: Mapping[str, int]  # how many records of a kind end in a stage
    fate: Fate = field(default_factory=dict)  # what chance says of the first, second, … thing that it is asked about, by subject
    policy: Mapping[str, Any] = field(default_factory=dict)
    mix: Mix = field(default_factory=Mix)


class Fated:
    """Chance, as a script has it."""

    def __init__(self, fate: Fate) -> None:
        self.fate, self.known = fate, dict[tuple[object, ...], float]()

    def __call__(self, about: tuple[object, ...]) -> float:
        if about not in self.known:
            said = self.fate.get(str(about[0]), ())
            asked = sum(1 for one in self.known if one[0] == about[0])
            self.known[about] = said[asked] if asked < len(said) else USUAL
        return self.known[about]


def live(script: Script, plan: Plan | None = None) -> Verdict:
    """Live the script with these faults, by the numbers of its calls, and no other."""
    history = History(SEED, mix=script.mix, plan=plan or {}, policy=msgspec.structs.replace(POLICY, **script.policy))
    history.machine.fate = Fated(script.fate)
    script.acts(history)
    return history.run()


def points(script: Script) -> dict[int, str]:
    """
    Return the calls that have an effect, by number, each with its situation: which handler does what in which step to a record of which
    kind. The same situation comes back in other scripts, and in one script whenever a look is put off.
    """
    verdict = live(script)
    found, steps = dict[int, str](), dict[int, str]()
    for at, line in enumerate(verdict.trace):
        number = verdict.numbers.get(at, 0)
        steps[line.process] = verdict.situations.get(number, steps.get(line.process, ""))
        if line.call in EFFECTS:
            kind = getattr(line.about, "kind", "")
            found[number] = f"{line.handler.partition(' ')[0]} {line.call} {kind} {steps[line.process]}"
    return found


def single_faults(name: str) -> list[Plan]:
    """Each of the faults at each effect of a script."""
    return [{number: fault} for number in sorted(points(SCRIPTS[name])) for fault in FAULTS]


def each_situation_once() -> dict[str, list[Plan]]:
    """
    Plan once for each situation that any script comes into: all faults at what begins, changes or ends something in Azure ML; at what only
    writes, rings or publishes one of them, another each time, since the same write comes in many situations.
    """
    known, turn, plans = set[str](), 0, dict[str, list[Plan]]()
    for name, script in SCRIPTS.items():
        fresh = dict[str, int]()
        for number, situation in sorted(points(script).items()):
            if situation not in known:
                fresh.setdefault(situation, number)
        known |= fresh.keys()
        plans[name] = []
        for situation, number in fresh.items():
            turn += 1
            in_azure = situation.split()[1].startswith(("trainings.", "preparations.", "endpoints."))
            plans[name] += [{number: fault} for fault in (FAULTS if in_azure else (FAULTS[turn % len(FAULTS)],))]
    return plans


def double_faults(script: Script) -> list[Plan]:
    """Every pair of faults of all 25 kinds at, before and after each call that begins something paid."""
    verdict = live(script)
    calls = [verdict.numbers[at] for at, line in enumerate(verdict.trace) if line.call in PAID]
    around = sorted({number + beside for number in calls for beside in (-1, 0, 1)})
    pairs = product(combinations(around, 2), product(FAULTS, FAULTS))
    return [{first: one, second: other} for (first, second), (one, other) in pairs]


def broken(name: str, plans: Sequence[Plan]) -> list[tuple[str, Plan, str]]:
    """Return what each plan broke: the script, the plan, the sentence."""
    lived = ((plan, live(SCRIPTS[name], plan).violations) for plan in plans)
    return [(name, plan, violations[0]) for plan, violations in lived if violations]


# -------------------------------------------------------------------------------------------------------------- the lives


def _uploads(*uploads: tuple[float, str, bytes]) -> Callable[[History], None]:
    def acts(history: History) -> None:
        for minutes, path, content in uploads:
            history.upload_at(minutes, path, content)

    return acts


def _and(*all_of_them: Callable[[History], None]) -> Callable[[History], None]:
    def acts(history: History) -> None:
        for act in all_of_them:
            act(history)

    return acts


def _at(minutes: float, happens: Callable[[History], object]) -> Callable[[History], None]:
    return lambda history: history.machine.at(minutes * MINUTE, happens, history)


def _wish(epochs: int) -> Callable[[History], None]:
    return lambda history: history.azure.wishes.update(shop={"num_train_epochs": epochs})


A, B, C = VALID
SHOP = "shop-667373d3"  # its endpoint
FIRST = _uploads((1, "shop/a.jsonl", A))
SECOND = _uploads((1, "shop/a.jsonl", A), (60, "shop/b.jsonl", B))
ONE = {"tuning offered": 1, "training good": 1, "service torn down": 1}
TWO = {"tuning offered": 2, "training good": 2, "service torn down": 1}
BY_A_JOB = {"prepare_here_bytes_max": 0}
STOPPED = {"tuning stopped": 1, "training stopped": 1}

SCRIPTS: dict[str, Script] = {
    "served": Script(acts=FIRST, ends=ONE),
    "nobody tells of it": Script(acts=FIRST, ends=ONE, mix=Mix(events_lost=1.0)),
    "everything is sent twice": Script(acts=SECOND, ends=TWO, mix=Mix(twice=1.0, messages_doubled=1.0)),
    "blue and green": Script(acts=SECOND, ends=TWO),
    "back to the first bytes": Script(
        acts=_and(SECOND, _uploads((110, "shop/a.jsonl", A))),
        ends={"tuning offered": 3, "training good": 2, "service torn down": 1},
    ),
    "the same bytes elsewhere": Script(
        acts=_uploads((1, "shop/a.jsonl", A), (5, "desk/a.jsonl", A)),
        ends={"tuning offered": 2, "training good": 1, "service torn down": 2},
    ),
    "replaced at once": Script(
        acts=_uploads((1, "shop/a.jsonl", A), (1.25, "shop/a.jsonl", B)), ends={**ONE, "tuning superseded": 1}
    ),
    "deleted before it is read": Script(
        acts=_and(FIRST, _at(1.24, lambda history: history.azure.blobs.clear())), ends={"tuning superseded": 1}
    ),
    "the later one is first": Script(
        acts=_uploads((1, "shop/a.jsonl", A), (2, "shop/b.jsonl", B)),
        ends={**ONE, "tuning superseded": 1, "training good": 2},
        fate={"job lasts": (1.0, 0.0)},
    ),
    "rows that cannot be used": Script(acts=_uploads((1, "shop/a.jsonl", INVALID)), ends={"tuning rejected": 1}),
    "a wish": Script(acts=_and(FIRST, _wish(2)), ends=ONE),
    "a wish that cannot be met": Script(acts=_and(FIRST, _wish(0)), ends={"tuning rejected": 1}),
    "prepared by a job": Script(acts=FIRST, ends=ONE, policy=BY_A_JOB),
    "all slots of preparations are taken": Script(
        acts=_uploads((1, "shop/a.jsonl", A), (2, "desk/a.jsonl", B), (3, "hotel/a.jsonl", C)),
        ends={"tuning offered": 3, "training good": 3, "service torn down": 3},
        policy=BY_A_JOB,
    ),
    "its preparation fails once": Script(acts=FIRST, ends=ONE, policy=BY_A_JOB, fate={"preparation ends": (0.9,)}),
    "its preparation fails twice": Script(
        acts=FIRST, ends={"tuning stopped": 1}, policy=BY_A_JOB, fate={"preparation ends": (0.9, 0.9)}
    ),
    "replaced while a job prepares it": Script(
        acts=_uploads((1, "shop/a.jsonl", A), (5, "shop/a.jsonl", B)), ends={**ONE, "tuning superseded": 1}, policy=BY_A_JOB
    ),
    "a job finds rows that cannot be used": Script(
        acts=_uploads((1, "shop/a.jsonl", INVALID)), ends={"tuning rejected": 1}, policy=BY_A_JOB
    ),
    "its job fails once": Script(acts=FIRST, ends=ONE, fate={"job ends": (0.85,)}),
    "its job is canceled, and it is uploaded again": Script(
        acts=_and(FIRST, _uploads((80, "shop/again.jsonl", A))),
        ends={**ONE, "tuning stopped": 1},
        fate={"job ends": (0.9, 0.9)},
    ),
    "its job hangs": Script(acts=FIRST, ends=STOPPED, fate={"job ends": (0.99,)}),
    "its job hangs and does not end": Script(acts=FIRST, ends=STOPPED, fate={"job ends": (0.99,), "cancel": (0.05,)}),
    "its job shows late": Script(acts=FIRST, ends=ONE, fate={"shows late": (0.1,)}),
    "its job shows after hours": Script(acts=FIRST, ends=STOPPED, fate={"shows late": (0.0,)}),
    "its job hangs, and it is uploaded again": Script(
        acts=_and(FIRST, _uploads((160, "shop/again.jsonl", A))), ends={**ONE, "tuning stopped": 1}, fate={"job ends": (0.99,)}
    ),
    "its job hangs and does not end, and it is uploaded again": Script(
        acts=_and(FIRST, _uploads((230, "shop/again.jsonl", A))),
        ends={"tuning stopped": 2, "training stopped": 1},
        fate={"job ends": (0.99,), "cancel": (0.05,)},
    ),
    "its job's name is somebody else's": Script(acts=FIRST, ends=STOPPED, fate={"squatted job": (0.0,), "squatted how": (0.0,)}),
    "its job's name is somebody else's who has our tag": Script(
        acts=FIRST, ends=STOPPED, fate={"squatted job": (0.0,), "squatted how": (0.5,)}
    ),
    "its job's name is ours for another training": Script(
        acts=FIRST, ends=STOPPED, fate={"squatted job": (0.0,), "squatted how": (0.9,)}
    ),
    "its model is pickled": Script(acts=FIRST, ends=STOPPED, fate={"model is pickled": (0.0,)}),
    "its model is pickled, and that is allowed": Script(
        acts=FIRST, ends=ONE, fate={"model is pickled": (0.0,)}, policy={"refuse_pickled_models": False}
    ),
    "all slots are taken": Script(
        acts=_uploads((1, "shop/a.jsonl", A), (2, "desk/a.jsonl", B), (3, "hotel/a.jsonl", C)),
        ends={"tuning offered": 3, "training good": 3, "service torn down": 3},
    ),
    "the day is full": Script(acts=SECOND, ends=TWO, policy={"jobs_per_day_max": 1}),
    "its endpoint fails": Script(acts=FIRST, ends=ONE, fate={"endpoint fails": (0.0,)}),
    "its endpoint always fails": Script(acts=FIRST, ends=ONE, fate={"endpoint fails": (0.0,) * 9}),
    "its endpoint hangs": Script(acts=FIRST, ends=ONE, fate={"hangs": (0.0,)}),
    "its endpoint's name is somebody else's": Script(
        acts=_and(FIRST, _at(100, lambda history: history.azure.stranger_leaves(SHOP))), ends=ONE, fate={"squatted endpoint": (0.0,)}
    ),
    "its deployment fails": Script(acts=FIRST, ends=ONE, fate={"deployment fails": (0.0,)}),
    "the second deployment fails": Script(acts=SECOND, ends=TWO, fate={"deployment fails": (USUAL, 0.0)}),
    "its deployment hangs": Script(acts=FIRST, ends=ONE, fate={"hangs": (USUAL, 0.0)}),
    "no quota for a while": Script(acts=FIRST, ends=ONE, fate={"quota": (0.0,)}),
    "never any quota": Script(acts=FIRST, ends=ONE, fate={"quota": (0.0,), "quota never comes": (0.0,)}),
    "no quota for the second": Script(acts=SECOND, ends=TWO, fate={"quota": (USUAL, 0.0)}),
    "its model is mute": Script(acts=FIRST, ends=ONE, fate={"model": (0.0,)}),
    "the second model is mute": Script(acts=SECOND, ends=TWO, fate={"model": (USUAL, 0.0)}),
    "it never warms up": Script(acts=FIRST, ends=ONE, fate={"cold": (0.0,)}),
    "woken": Script(acts=_and(FIRST, _uploads((130, "shop/b.jsonl", B))), ends=TWO),
    "woken while the name rests": Script(acts=_and(FIRST, _uploads((175, "shop/b.jsonl", B))), ends=TWO),
    "used again when it was marked": Script(acts=_and(FIRST, _at(75, lambda history: history.azure.request(SHOP))), ends=ONE),
    "the metrics are silent": Script(acts=FIRST, ends=ONE, mix=Mix(metrics_out=1.0)),
    "a dry run": Script(acts=FIRST, ends=ONE, policy={"deletions_dry_run": True}),
    "paused": Script(acts=_and(SECOND, lambda history: history.pause_at(3, 50)), ends=TWO),
    "paused while it falls asleep": Script(acts=_and(FIRST, lambda history: history.pause_at(80, 150)), ends=ONE),
    "deleted by hand": Script(acts=_and(FIRST, _at(50, lambda history: history.azure.deployment_is_deleted_by_hand(SHOP))), ends=ONE),
    "the traffic is taken by hand": Script(
        acts=_and(FIRST, _at(50, lambda history: history.azure.traffic_is_taken_by_hand(SHOP))), ends=ONE
    ),
    "a deployment of ours appears": Script(acts=_and(FIRST, _at(50, lambda history: history.azure.deployment_appears(SHOP))), ends=ONE),
    "an endpoint of ours appears": Script(acts=_and(FIRST, _at(260, lambda history: history.azure.endpoint_appears(SHOP))), ends=ONE),
    "an orphan": Script(acts=_and(FIRST, _at(5, lambda history: history.azure.orphan_appears("orphan-00000001"))), ends=ONE),
    "another version wrote": Script(acts=_and(FIRST, lambda history: history.newer_version_writes()), ends=ONE),
}  # fmt: skip
