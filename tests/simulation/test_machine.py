"""
Goal: the scheduler below the simulation may be believed: many handlers at once, and nothing of a dead worker runs.

Method: handlers of a line or two on a machine of their own.
"""

from __future__ import annotations

import pytest

from tests.simulation.machine import Machine, Mix

pytestmark = pytest.mark.light
CALLS, AT_ONCE = 3, 3_000
MINUTE_MS = 60_000


def test_any_number_of_handlers_can_be_at_work_at_once_each_to_its_end() -> None:
    machine, ended = Machine(1, Mix()), list[int]()

    def work(number: int) -> None:
        for _ in range(CALLS):
            machine.call("port.call", number, lambda: None)
        ended.append(number)

    for number in range(AT_ONCE):
        machine.spawn(f"handler {number}", lambda number=number: work(number))  # type: ignore[misc]
    machine.run(MINUTE_MS)

    assert not machine.violations
    assert (len(ended), machine.calls, machine.busy()) == (AT_ONCE, AT_ONCE * CALLS, False)
    assert ended != sorted(ended), "They were to be interleaved."


def test_of_a_killed_worker_nothing_runs_on_and_the_others_do() -> None:
    machine, said = Machine(1, Mix(), plan={2: "kill_after"}, instances=1), list[str]()

    def work() -> None:
        try:
            machine.call("port.first", "", lambda: said.append("first"))
            machine.call("port.second", "", lambda: said.append("second"))
            said.append("went on")
        finally:
            said.append("finally")

    machine.spawn("killed", work)
    machine.at(MINUTE_MS, machine.spawn, "later", lambda: said.append("later"))
    machine.run(2 * MINUTE_MS)

    assert said == ["first", "second", "later"]
    machine.end()
    assert "went on" not in said


def test_time_goes_on_where_a_run_was_left() -> None:
    machine, said = Machine(1, Mix()), list[int]()

    def work() -> None:
        machine.call("port.call", "", lambda: said.append(machine.ms))

    for minute in (1, 3):
        machine.at(minute * MINUTE_MS, machine.spawn, "handler", work)
    machine.run(2 * MINUTE_MS)
    so_far = len(said)
    machine.run(4 * MINUTE_MS)

    assert (so_far, len(said), machine.ms) == (1, 2, 4 * MINUTE_MS)
