"""The shipped app lives through two bad days as processes, and a deliberate bug does not."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.processes import loop
from tests.processes.bugs import BUGS
from tests.processes.cloud import staged

pytestmark = pytest.mark.slow

SEEDS = (134, 920)  # both doors, jobs, smoke tests and deployments are hit, the host is killed, bytes come again and for another service
BUG = "no_smoke_gate"


def lived(folder: Path, seeds: Sequence[int], bug: str = "") -> list[loop.Lived]:
    with staged(folder, bug=bug) as stage:
        return [loop.live(stage, seed, number) for number, seed in enumerate(seeds)]


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[loop.Lived]]:
    """Live them side by side: two clouds wait for processes most of their time."""
    folder = tmp_path_factory.mktemp("processes")
    with ThreadPoolExecutor(2) as pool:
        sound = pool.submit(lived, folder / "sound", SEEDS)
        faulty = pool.submit(lived, folder / "faulty", [BUGS[BUG].seed], BUG)
        return {"": sound.result(), BUG: faulty.result()}


def test_killed_cut_off_and_rung_twice_the_app_loses_nothing_pays_nothing_twice_and_leaves_nothing(days):
    for one in days[""]:
        assert one.counts.broken == (), "\n".join(one.trace)
        assert one.counts.ok + one.counts.recovered == one.counts.uploads
        assert one.counts.faults > 0


def test_a_deliberate_bug_is_noticed_with_a_trace_that_shows_it(days):
    (one,) = days[BUG]

    assert "had not answered its smoke test" in " ".join(one.counts.unexpected)
    assert any("traffic {'d1-" in line for line in one.trace)
