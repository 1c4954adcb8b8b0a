"""A plan of faults hits what it names, as often as it says, and a plan that means nothing is refused by name."""

from __future__ import annotations

import pytest

from localcloud import switches
from localcloud.chance import Chance
from localcloud.faults import KINDS, Faults, WrongFault
from localcloud.switches import Switches, WrongSwitch

pytestmark = pytest.mark.light


def planned(*entries: object, chance: Chance | None = None) -> Faults:
    faults = Faults(chance)
    faults.add({"faults": list(entries)})
    return faults


def hits(faults: Faults, count: int, kind: str = "throttled", **about: str) -> list[bool]:
    return [faults.take(kind, **about) is not None for _ in range(count)]


def test_a_fault_hits_once_unless_told_otherwise():
    assert hits(planned({"fault": "throttled"}), 3) == [True, False, False]


def test_skip_and_times_choose_the_hits():
    assert hits(planned({"fault": "throttled", "skip": 1, "times": 2}), 5) == [False, True, True, False, False]


def test_times_zero_is_for_ever():
    assert hits(planned({"fault": "throttled", "times": 0}), 4) == [True] * 4


def test_only_what_matches_is_hit_without_regard_to_case():
    faults = planned({"fault": "throttled", "match": {"method": "PUT", "path": "*/JOBS/*"}, "times": 0})

    assert faults.take("throttled", method="PUT", path="/w/jobs/ft-1") is not None
    assert faults.take("throttled", method="GET", path="/w/jobs/ft-1") is None
    assert faults.take("throttled", method="PUT", path="/w/models/m") is None


def test_the_first_entry_of_the_plan_that_hits_goes_first():
    faults = planned({"fault": "error_after", "status": 500}, {"fault": "throttled"})

    assert [found.kind for _ in range(2) if (found := faults.take_any(("throttled", "error_after")))] == ["error_after", "throttled"]


def test_a_parameter_is_the_planned_one_else_the_usual_one():
    faults = planned({"fault": "throttled", "retry_after": 7}, {"fault": "throttled"})

    assert [found["retry_after"] for _ in range(2) if (found := faults.take("throttled"))] == [7, 1]


def test_one_seed_draws_the_same_hits_again():
    def drawn() -> list[bool]:
        return hits(planned({"fault": "throttled", "times": 0, "chance": 0.5}, chance=Chance(7)), 40)

    first = drawn()

    assert first == drawn()
    assert 5 < sum(first) < 35


def test_the_plan_shows_what_became_of_each_entry():
    faults = planned({"fault": "job_failed", "match": {"name": "ft-*"}, "message": "The disk is full."})
    faults.take("job_failed", name="other")
    faults.take("job_failed", name="ft-1")

    assert faults.shown() == [
        {
            "id": 1,
            "fault": "job_failed",
            "match": {"name": "ft-*"},
            "skip": 0,
            "times": 1,
            "chance": 1.0,
            "code": "UserError",
            "message": "The disk is full.",
            "seen": 1,
            "spoiled": 1,
        }
    ]


def test_whoever_listens_is_told_of_each_hit():
    told = []
    faults = Faults(told=lambda fault, about: told.append((fault.kind, dict(about))))
    faults.add({"faults": [{"fault": "throttled"}]})
    hits(faults, 2, path="/x")

    assert told == [("throttled", {"path": "/x"})]


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"fault": "gremlin"}, "gremlin.*throttled"),
        ({}, "None"),
        ("throttled", "throttled"),
        ({"fault": "throttled", "seconds": 3}, "seconds.*retry_after"),
        ({"fault": "throttled", "retry_after": "soon"}, "retry_after.*'soon'"),
        ({"fault": "throttled", "retry_after": -1}, "retry_after.*-1"),
        ({"fault": "error_before", "status": 200}, "status.*200"),
        ({"fault": "throttled", "match": {"verb": "PUT"}}, "verb.*method"),
        ({"fault": "throttled", "match": {"method": 1}}, "match"),
        ({"fault": "throttled", "times": -1}, "times -1"),
        ({"fault": "throttled", "times": True}, "times True"),
        ({"fault": "throttled", "chance": 2}, "chance.*2"),
        ({"fault": ["throttled"]}, r"no fault \['throttled'\]"),
        ({"fault": {"throttled": 1}}, "no fault"),
        ({"fault": "error_before", "status": 503.5}, "status.*503.5"),
        ({"fault": "throttled", "retry_after": 0.5}, "retry_after.*0.5"),
        ({"fault": "throttled", "retry_after": None}, "retry_after.*None"),
        ({"fault": "event_twice", "copies": 1.5}, "copies.*1.5"),
        ({"fault": "event_twice", "copies": 1_000_000}, "copies.*at most 1000"),
        ({"fault": "slow_reply", "seconds": float("inf")}, "seconds.*inf"),
        ({"fault": "slow_reply", "seconds": float("nan")}, "seconds.*nan"),
        ({"fault": "endpoint_locked", "seconds": 1e300}, "seconds.*1e.300"),
    ],
)
def test_an_entry_that_means_nothing_is_refused_and_nothing_of_its_plan_is_kept(entry, named):
    faults = Faults()

    with pytest.raises(WrongFault, match=named):
        faults.add({"faults": [{"fault": "throttled"}, entry]})
    assert faults.shown() == []


def test_a_parameter_that_is_nothing_unless_said_may_be_said_to_be_nothing():
    assert planned({"fault": "error_before", "retry_after": None}).shown()[0]["retry_after"] is None


def test_every_kind_says_what_it_does():
    assert [name for name, kind in KINDS.items() if not kind.does or not kind.match] == []


def test_a_switch_is_set_by_name_and_side():
    assert switches.chosen(["conflict_status=400", "reply_shape=list"]) == Switches(conflict_status="400", reply_shape="list")


@pytest.mark.parametrize(("given", "named"), [("speed=fast", "speed.*identical_job_put"), ("reply_shape=xml", "xml.*records, list")])
def test_a_switch_or_side_that_there_is_not_is_refused_with_those_that_there_are(given, named):
    with pytest.raises(WrongSwitch, match=named):
        switches.chosen([given])


def test_the_default_is_the_first_side_and_every_switch_asks_a_question():
    first = {name: side[0] for name, side in switches.sides().items()}

    assert switches.changed(Switches(), first) == Switches()
    assert all(question.endswith("?") for question in switches.questions().values())
