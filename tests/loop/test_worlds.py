"""
The loop in the time of Microsoft's tutorial. In today's world it runs in the other files: on archived Phi-3, and on Phi-4.

Uploads are prepared by jobs here; in the other files by the function.
"""

from __future__ import annotations

import json

import pytest

from shared.domain import smoke

pytestmark = pytest.mark.slow


def chats(word: str) -> bytes:
    turns = [(f"Where is {word} number {n}?", f"{word} {n} is in hall {n * 7 % 31}.") for n in range(40)]
    rows = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in turns]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_the_same_loop_runs_in_the_time_of_the_tutorial_on_an_upload_that_a_job_prepares(seed_world):
    notes = seed_world.upload("desk/notes.jsonl", b"these are my notes\n" * 100)
    tuning = seed_world.upload("shop/2024 May $(touch x) 'a'.jsonl", chats("parcel"))
    live = seed_world.until(tuning, "service", "live", "idle")

    said = seed_world.record(tuning, "tuning").history
    assert [line.what for line in said][:5] == ["opened", "preparation_numbered", "slot_taken", "preparation_submitted", "prepared"]
    rejected = seed_world.until(notes, "tuning", "rejected")
    assert rejected.preparation.number == 1
    assert "JSON" in rejected.reason
    assert seed_world.records.datasets.read(rejected.report)["verdict"] == "rejected"
    recipe = seed_world.record(tuning, "tuning").recipe
    assert recipe.component_id.endswith("/versions/0.0.67")
    assert recipe.model_id.endswith("/models/Phi-3-mini-4k-instruct/versions/15")
    assert smoke.answer_in(seed_world.ask(live.scoring_uri))
    seed_world.until(tuning, "service", "torn down")
    assert seed_world.shown()["endpoints"] == {}
