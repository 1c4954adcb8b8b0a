"""
Goal: the shipped adapters keep the promises of the loop over HTTP as it really is, with the unmodified SDKs' retries in between.

Method: histories that one integer draws, as in the simulation over ports, but each call is an exchange of the SDK's own transport with the
local Azure ML and with storage in this process (docs/simulation.md, "The shipped adapters"); and faults of adapters, made on purpose, each
of which its recorded seed must notice.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.adapters.bugs import BUGS
from tests.simulation.adapters.history import History, lived
from tests.simulation.adapters.ranges import settled
from tests.simulation.adapters.wire import FAULTS, Mix
from tests.simulation.history import VALID

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::PendingDeprecationWarning"),
]
SCRIPT_SEED = 7  # a life in which everything ends well
SEEDS = 100  # in CI
PART = 25
SEEDS_TRIED = 60  # for a bug whose recorded seed no longer notices it


@pytest.fixture(scope="module", autouse=True)
def _settled() -> Iterator[None]:
    before = gc.get_threshold()
    settled()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_an_upload_is_served_falls_asleep_and_is_torn_down_by_the_shipped_adapters() -> None:
    history = History(SCRIPT_SEED, mix=Mix(), plan={})
    history.upload_at(1, "shop/a.jsonl", VALID[0])

    verdict = history.run()

    assert not verdict.violations
    assert verdict.ends == {"tuning offered": 1, "training good": 1, "service torn down": 1}
    assert verdict.counts["pollers"] > 0, "an SDK has begun to look after long operations in another way"


@pytest.mark.parametrize("first", range(0, SEEDS, PART))
def test_no_drawn_day_of_the_adapters_breaks_a_promise(first: int) -> None:
    verdicts = [lived(seed) for seed in range(first, first + PART)]
    broken = [f"seed {v.seed}: {v.violations[0]}" for v in verdicts if v.violations]
    assert not broken, "\n".join([*broken, "Replay with: python -m tests.simulation.adapters --seed N --trace"])
    happened: Counter[str] = Counter()
    for verdict in verdicts:
        happened.update(verdict.counts)
    assert all(happened[fault] for fault in FAULTS)
    assert all(happened[what] for what in ("jobs", "served", "deployments_deleted", "endpoints_deleted", "sleeps"))


def test_a_seed_lives_the_same_history_again_whatever_was_lived_before_and_hashes_are_seeded_with() -> None:
    seed = 5
    once = lived(seed)
    lived(seed + 1)
    assert lived(seed).trace == once.trace
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation.adapters", "--seed", str(seed)],
        env={"PYTHONHASHSEED": "777"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert once.digest[:16] in done.stdout, done.stderr


@pytest.mark.parametrize("name", BUGS)
def test_a_deliberate_bug_of_an_adapter_is_noticed(name: str) -> None:
    """By its recorded seed; whoever changes what is asked moves that, and then another has to."""
    bug = BUGS[name]
    with bug.patch():
        noticed = any(v.startswith(bug.promise) for seed in (bug.seed, *range(SEEDS_TRIED)) for v in lived(seed).violations[:1])
    assert noticed, bug.what
