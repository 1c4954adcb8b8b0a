"""
Goal: the shipped adapters keep the promises of the loop over HTTP as it really is, with the unmodified SDKs' retries in between.

Method: histories that one integer draws, as in the simulation over ports, but each call is an exchange of the SDK's own transport with the
local Azure ML and with storage in this process (docs/simulation.md, the shipped adapters).
"""

from __future__ import annotations

import pytest

from tests.simulation.adapters.history import History
from tests.simulation.adapters.wire import Mix
from tests.simulation.history import VALID

pytestmark = [
    pytest.mark.light,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::PendingDeprecationWarning"),
]
SCRIPT_SEED = 7  # a life in which everything ends well


def test_an_upload_is_served_falls_asleep_and_is_torn_down_by_the_shipped_adapters() -> None:
    history = History(SCRIPT_SEED, mix=Mix(), plan={})
    history.upload_at(1, "shop/a.jsonl", VALID[0])

    verdict = history.run()

    assert not verdict.violations
    assert verdict.ends == {"tuning offered": 1, "training good": 1, "service torn down": 1}
    assert verdict.counts["pollers"] > 0, "an SDK has begun to look after long operations in another way"
