"""
How fast the emulator is, is somebody's choice: at once, by hand, by its own clock. And the addresses by which one chooses.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from localcloud.clocks import MANUAL_START, ManualClock
from localcloud.eventgrid import Driver, EventGrid, parse_all
from localcloud.eventgrid.schedule import Answer

JOB = ["NotStarted", "Starting", "Preparing", "Queued", "Running", "Finalizing", "Completed"]
KINDS = ["jobs", "endpoints", "deployments", "computes"]
WAIT_SECONDS = 20  # for children; far beyond what they need


def control(world: Any, path: str, body: Any) -> dict[str, Any]:
    answered = world.ask("POST", f"/_localcloud/{path}", body, version=None, authorization="none")
    assert answered.status == 200, answered.body
    return dict(json.loads(answered.body))


def clock(world: Any, by: float) -> dict[str, Any]:
    return control(world, "clock", {"advance_seconds": by, "wait_seconds": WAIT_SECONDS})


class Thing:
    """Something on its way: one of each kind that has a dial."""

    def __init__(self, world: Any, kit: Any, kind: str) -> None:
        self.world, model = world, ""
        if kind == "deployments":
            control(world, "state", {"dials": {"jobs": "at-once", "endpoints": "at-once"}})
            world.submit()
            world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint())
            world.cloud.settle(WAIT_SECONDS)
            model = world.registered("ft-a1")
        name, path, body = {
            "jobs": ("ft-a1", "jobs/ft-a1", None),
            "endpoints": ("bot-1", "onlineEndpoints/bot-1", kit.endpoint()),
            "deployments": ("bot-1/d1-a", "onlineEndpoints/bot-1/deployments/d1-a", None),
            "computes": ("cpu-cluster", "computes/cpu-cluster", CLUSTER),
        }[kind]
        self.name, self._path, self._word = name, path, "status" if kind == "jobs" else "provisioningState"
        if kind == "jobs":
            world.submit()
        else:
            body = body or kit.deployment(model)
            answered = world.ask("PUT", path, body)
            assert answered.status == 201, answered.body
        self.first = self.state
        self.next = "Starting" if kind == "jobs" else "Succeeded"

    @property
    def state(self) -> str:
        return str(self.world.get(self._path)["properties"][self._word])


CLUSTER = {
    "location": "eastus2",
    "properties": {
        "computeType": "AmlCompute",
        "properties": {"vmSize": "STANDARD_DS3_V2", "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 1}},
    },
}


@pytest.fixture
def slow(make_world: Callable[..., Any]) -> Callable[[Any], Any]:
    """Builds a world on a manual clock with all dials at one position."""
    return lambda position: make_world(site={"clock": ManualClock()}, dials=dict.fromkeys(KINDS, position))


@pytest.mark.parametrize("kind", KINDS)
def test_by_hand_nothing_moves_before_its_permit_and_one_permit_is_one_move(slow: Any, kit: Any, kind: str) -> None:
    world = slow("by-hand")
    thing = Thing(world, kit, kind)
    assert clock(world, 86_400)["quiet"] is True
    assert thing.state == thing.first

    control(world, "state", {"move": {kind: [thing.name]}})
    clock(world, 86_400)
    assert thing.state == thing.next


@pytest.mark.parametrize("kind", KINDS)
def test_by_time_nothing_moves_before_its_time_and_then_it_does(slow: Any, kit: Any, kind: str) -> None:
    world = slow(60.0)
    thing = Thing(world, kit, kind)
    clock(world, 59)
    assert thing.state == thing.first

    clock(world, 1)
    assert thing.state == thing.next


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("turn", [("by-hand", "at-once", 0), ("by-hand", 10, 10), (3600.0, 10, 10), (60.0, "by-hand", None)])
def test_a_dial_that_is_turned_on_the_way_decides_from_then_on(slow: Any, kit: Any, kind: str, turn: tuple[Any, Any, int | None]) -> None:
    before, after, seconds = turn
    world = slow(before)
    thing = Thing(world, kit, kind)
    control(world, "state", {"dials": {kind: after}})
    clock(world, 3600 if seconds is None else max(0, seconds - 1))
    if seconds != 0:
        assert thing.state == thing.first

    clock(world, 1)
    assert (thing.state == thing.first) is (seconds is None)


def test_a_job_by_hand_shows_every_status_once(slow: Any) -> None:
    world = slow("by-hand")
    world.submit()
    seen = [world.status("ft-a1")]
    for _ in JOB[1:]:
        control(world, "state", {"move": {"jobs": ["ft-a1"]}})
        clock(world, 0)
        seen.append(world.status("ft-a1"))

    assert seen == JOB


def test_what_is_due_on_the_way_of_the_clock_happens_at_its_time(slow: Any) -> None:
    """A job needs four moves to run and two more to end: after one step of an hour it has ended, 60 s after its sixth move began."""
    world = slow(10.0)
    world.submit()
    moved = clock(world, 3600)
    run = json.loads(world.ask("GET", f"/history/v1.0{world.cloud.site.workspace_id}/runs/ft-a1", version=None).body)
    times = [datetime.fromisoformat(run[key][:26] + "+00:00") for key in ("createdUtc", "startTimeUtc", "endTimeUtc")]

    assert [moment - MANUAL_START for moment in times] == [timedelta(0), timedelta(seconds=40), timedelta(seconds=60)]
    assert (moved["quiet"], moved["now"]) == (True, "2026-01-01T01:00:00.0000000Z")


def test_the_clock_waits_for_children_as_long_as_it_is_told(slow: Any) -> None:
    world = slow("at-once")
    world.submit(wish="wait")
    began = time.monotonic()
    moved = control(world, "clock", {"wait_seconds": 1.5})

    assert (moved["quiet"], world.status("ft-a1")) == (False, "Running")
    assert 1.4 <= time.monotonic() - began < WAIT_SECONDS


@pytest.mark.skipif(sys.platform != "linux", reason="only the kernel of Linux ends children with the thread that started them")
def test_a_child_outlives_the_request_that_started_it(slow: Any) -> None:
    world = slow("at-once")
    world.submit(wish="wait")
    request = threading.Thread(target=control, args=(world, "clock", {"wait_seconds": 1}))
    request.start()
    request.join()
    time.sleep(0.3)

    assert world.cloud.jobs.child("ft-a1").running


# ------------------------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize("path", ["state", "clock", "faults", "reset", "traffic"])
def test_every_address_of_its_own_is_read_without_a_token(world: Any, path: str) -> None:
    assert world.ask("GET", f"/_localcloud/{path}", version=None, authorization="none").status == 200


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("state", {"speed": 1}, "no field speed"),
        ("state", {"dials": {"moons": 1}}, "no dial moons; there are jobs"),
        ("state", {"dials": {"jobs": "soon"}}, "dial jobs is 'soon'"),
        ("state", {"dials": {"jobs": True}}, "dial jobs is True"),
        ("state", {"dials": {"jobs": 1e300}}, "dial jobs is 1e+300"),
        ("state", {"dials": []}, "dials must be an object"),
        ("state", {"switches": {"weather": "rain"}}, "no switch weather"),
        ("state", {"switches": {"reply_shape": "xml"}}, "no side 'xml'"),
        ("state", {"switches": {"reply_shape": ["xml"]}}, "no side ['xml']"),
        ("state", {"move": {"moons": ["x"]}}, "no field moons"),
        ("state", {"move": {"jobs": "ft-1"}}, "jobs must be a list of names"),
        ("state", {"move": {"jobs": [1]}}, "jobs must be a list of names"),
        ("clock", {"hours": 1}, "no field hours"),
        ("clock", {"advance_seconds": "1"}, "advance_seconds is '1'"),
        ("clock", {"advance_seconds": -1}, "advance_seconds is -1"),
        ("clock", {"advance_seconds": True}, "advance_seconds is True"),
        ("clock", {"wait_seconds": 1e9}, "from 0 to 600"),
        ("faults", {}, 'A plan is {"faults": [...]}'),
        ("faults", {"faults": [{"fault": "job_stuck", "status": "Bored"}]}, "status of the fault job_stuck is 'Bored'; it is one of"),
        ("faults", {"faults": [{"fault": "throttled", "match": {"verb": "PUT"}}]}, "verb"),
        ("faults", {"clear": False}, 'A plan is {"faults": [...]}'),
        ("faults", {"clear": 1}, 'A plan is {"faults": [...]}'),
        ("reset", {"all": True}, "no field all"),
        ("traffic", {"note": "x"}, "no field note"),
        ("traffic", {"mark": 1}, 'A mark is {"mark": "text"}'),
        ("traffic", {}, 'A mark is {"mark": "text"}'),
    ],
)
def test_a_wrong_body_is_refused_by_name_and_changes_nothing(make_world: Any, kit: Any, path: str, body: Any, named: str) -> None:
    world = make_world(site={"clock": ManualClock()})
    before = [world.ask("GET", f"/_localcloud/{one}", version=None).body for one in ("state", "clock", "faults", "reset", "traffic")]
    refused = world.ask("POST", f"/_localcloud/{path}", body, version=None)

    assert (refused.status, named in kit.error(refused)["message"]) == (400, True), refused.body
    assert before == [
        world.ask("GET", f"/_localcloud/{one}", version=None).body for one in ("state", "clock", "faults", "reset", "traffic")
    ]


def test_the_laptops_clock_cannot_be_moved(world: Any, kit: Any) -> None:
    refused = world.ask("POST", "/_localcloud/clock", {"advance_seconds": 1}, version=None)

    assert (refused.status, "--clock manual" in kit.error(refused)["message"]) == (409, True)


def test_a_move_of_what_cannot_move_is_refused_and_moves_nothing_else(slow: Any, kit: Any) -> None:
    world = slow("by-hand")
    world.submit()
    world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint())
    asks = (
        {"jobs": ["ft-a1", "ft-none"]},
        {"computes": ["gpu-cluster"]},
        {"deployments": ["bot-1/none"]},
        {"endpoints": ["bot-1"], "jobs": ["x"]},
    )
    refused = [world.ask("POST", "/_localcloud/state", {"move": ask}, version=None) for ask in asks]
    clock(world, 0)

    assert [answered.status for answered in refused] == [404, 409, 404, 404]
    assert "gpu-cluster is Succeeded and waits for no move" in kit.error(refused[1])["message"]
    assert (world.status("ft-a1"), world.get("onlineEndpoints/bot-1")["properties"]["provisioningState"]) == ("NotStarted", "Creating")


def test_the_traffic_is_read_on_from_where_one_stopped(world: Any, kit: Any) -> None:
    world.ask("GET", "jobs")
    first = json.loads(world.ask("GET", "/_localcloud/traffic", version=None).body)
    control(world, "traffic", {"mark": "the second part"})
    world.ask("GET", "models")
    rest = json.loads(world.ask("GET", f"/_localcloud/traffic?since={first['next']}", version=None).body)

    assert [line["method"] for line in rest["lines"]] == ["MARK", "GET"]
    assert rest["lines"][0]["request"] == {"mark": "the second part"}
    assert rest["lines"][1]["path"].endswith("/models")
    assert (rest["exchanges"], rest["by_method"], rest["next"]) == (2, {"GET": 2}, 3)
    state = json.loads(world.ask("GET", "/_localcloud/state", version=None).body)
    assert (state["requests"], state["requests_by_method"]) == (2, {"GET": 2})
    assert world.ask("GET", "/_localcloud/traffic?since=now", version=None).status == 400


def test_a_reset_counts_itself_and_forgets_the_rest(world: Any) -> None:
    world.registered()
    world.endpoint()

    assert control(world, "reset", {}) == {"resets": 1}
    assert [world.get(path)["value"] for path in ("jobs", "models", "onlineEndpoints")] == [[], [], []]
    assert json.loads(world.ask("GET", "/_localcloud/reset", version=None).body) == {"resets": 1}
    assert world.trained() == "ft-a1"  # the same name again, in a folder that is new


def test_a_reset_in_the_middle_of_a_job_ends_its_trainer(world: Any) -> None:
    world.submit(wish="wait")
    world.until(lambda: world.status("ft-a1") == "Running")
    world.until(lambda: world.cloud.jobs.child("ft-a1") is not None)
    child = world.cloud.jobs.child("ft-a1")
    control(world, "reset", {})

    assert not child.running


# ----------------------------------------------------------------------------------------------------------------- many at once


def test_twenty_clients_at_once_are_all_answered(world: Any, kit: Any) -> None:
    """They put, get, score, change dials and read the state while the clock runs; nobody starves and nothing breaks."""
    world.cloud.start()
    model, _ = world.registered(), world.endpoint()
    world.deployed("d1-a", model)
    world.ask("PUT", "onlineEndpoints/bot-1", kit.endpoint(traffic={"d1-a": 100}))
    world.until(lambda: world.get("onlineEndpoints/bot-1")["properties"]["provisioningState"] == "Succeeded")
    statuses: Counter[tuple[str, int]] = Counter()
    slowest: list[float] = []

    def one(number: int) -> None:
        for turn in range(12):
            began = time.monotonic()
            match (number + turn) % 5:
                case 0:
                    statuses["score", world.score().status] += 1
                case 1:
                    statuses["put", world.ask("PUT", f"onlineEndpoints/own-{number}", kit.endpoint()).status] += 1
                case 2:
                    statuses["get", world.ask("GET", "models/bot/versions/v1").status] += 1
                case 3:
                    statuses["state", world.ask("GET", "/_localcloud/state", version=None).status] += 1
                case _:
                    dials = {"dials": {"endpoints": "at-once"}}
                    statuses["dial", world.ask("POST", "/_localcloud/state", dials, version=None).status] += 1
            slowest.append(time.monotonic() - began)

    clients = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(20)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(timeout=60)

    assert not any(client.is_alive() for client in clients)
    assert {status for (what, status) in statuses if what != "put"} == {200}
    assert {status for (what, status) in statuses if what == "put"} <= {200, 201, 409}  # 409: it is being made
    assert max(slowest) < 20
    scored = sum(count for (what, _), count in statuses.items() if what == "score")
    assert json.loads(world.ask("GET", "/_localcloud/state", version=None).body)["scoring_requests"] == {"bot-1": scored}


def test_a_day_in_one_move_has_every_delivery_at_its_time(make_world: Any) -> None:
    """Goal: a retry schedule can be watched from outside. Method: real delivery threads, a receiver that always answers 500."""
    own_clock, asked = ManualClock(), list[float]()

    def post(method: str, url: str, headers: Mapping[str, str], body: bytes | None, *, within_s: float) -> Answer:
        if headers["aeg-event-type"] == "SubscriptionValidation":
            return Answer(
                status=200, body=json.dumps({"validationResponse": json.loads(body or b"")[0]["data"]["validationCode"]}).encode()
            )
        asked.append((own_clock() - MANUAL_START).total_seconds())
        return Answer(status=500)

    grid = EventGrid(parse_all([{"name": "one", "topic": "azureml", "endpoint": "http://127.0.0.1:1/"}]), clock=own_clock, post=post)
    driver = Driver(grid, own_clock)
    driver.start()
    world = make_world(site={"clock": own_clock}, neighbours=(grid,))
    last = time.monotonic() + WAIT_SECONDS
    while not grid.subscriptions()[0]["proved"]:
        assert time.monotonic() < last
        time.sleep(0.01)
    grid.publish("azureml", {"id": "1", "topic": "", "subject": "", "eventType": "x", "eventTime": "", "data": {}})

    moved = clock(world, 86_400)
    driver.stop()

    assert moved["quiet"] is True
    assert asked == [0, 10, 40, 100, 400, 1000, 2800, 6400, 17200, 38800, 82000]
