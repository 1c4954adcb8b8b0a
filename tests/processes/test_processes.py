"""The shipped app lives through two bad days as processes; with a deliberate bug it does not live through one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.processes import loop
from tests.processes.bugs import BUGS
from tests.processes.cloud import staged

pytestmark = pytest.mark.slow

SEEDS = (134, 920)  # both doors, jobs, smoke tests and deployments are hit, the host is killed, bytes come again and for another service
NOTICED = {"no_smoke_gate": "had not answered its smoke test", "random_job_name": "jobs are paid for the same content"}


Day = tuple[int, str]  # seed and bug; '': the app as it is shipped


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> dict[Day, loop.Lived]:
    """Each in a cloud of its own, two at a time: a cloud waits for processes most of its time."""
    folder = tmp_path_factory.mktemp("processes")

    def lived(day: Day) -> loop.Lived:
        seed, bug = day
        with staged(folder / f"{seed}{bug}", bug=bug) as stage:
            return loop.live(stage, seed, 0)

    wanted: list[Day] = [*((seed, "") for seed in SEEDS), *((BUGS[bug].seed, bug) for bug in NOTICED)]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(wanted, pool.map(lived, wanted), strict=True))


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_cut_off_and_rung_twice_the_app_loses_nothing_pays_nothing_twice_and_leaves_nothing(days, seed):
    one = days[seed, ""]

    assert one.counts.broken == (), "\n".join(one.trace)
    assert one.counts.ok + one.counts.recovered == one.counts.uploads
    assert one.counts.faults > 0


@pytest.mark.parametrize("bug", NOTICED)
def test_a_deliberate_bug_is_noticed_with_a_trace_that_shows_it(days, bug):
    one = days[BUGS[bug].seed, bug]

    assert NOTICED[bug] in " ".join(one.counts.unexpected)
    assert any("azureml PUT /" in line for line in one.trace)
