"""A record that is damaged, or of a version that broke the shape of its header, is left alone and told; all others go on."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared import errors
from shared.domain.record import Key, Kind
from shared.reconcile import timers, turn
from tests.journeys import fakes
from tests.journeys.stories import TICK, Story

HOUR = timedelta(hours=1)
DAMAGE = {
    "a number that is none": {"attempts": "many"},
    "a list": {"history": 7},
    "no time": {"created_at": "soon"},
    "another kind": {"kind": "invented"},
}


def spoiled(story: Story, key: Key, damage: dict[str, Any]) -> bytes:
    body, version = story.world.records[key]
    written = msgspec.json.encode({**msgspec.json.decode(body), **damage})
    story.world.records[key] = (written, version)
    return written


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("kind", list(fakes.LIVES.by_kind))
def test_one_record_that_cannot_be_read_holds_up_no_other_and_is_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: Kind, damage: dict[str, Any]
) -> None:
    story = Story(tmp_path)
    for name in ("a", "b", "c"):
        story.uploaded(f"shop-{name}/a.jsonl", fakes.ROWS.replace(b"order", name.encode()))
    story.run(HOUR / 2)
    bad = sorted(key for key in story.world.active if key.kind is kind)[:1] or [next(k for k in story.world.records if k.kind is kind)]
    story.world.active |= set(bad)
    written = spoiled(story, bad[0], damage)
    lost = story.world.queue.copy()
    story.world.queue.clear()  # so that only the timer brings the others on
    assert lost
    story.run(12 * HOUR)

    others = [key for key in story.world.records if key not in bad]
    assert story.world.records[bad[0]][0] == written
    assert any("action=record_unreadable" in record.getMessage() and str(bad[0]) in record.getMessage() for record in caplog.records)
    services = [fakes.record(story.world, key) for key in others if key.kind is Kind.SERVICE]
    assert len([service for service in services if service.stage == "torn down"]) >= 2
    assert len(story.world.endpoints) <= 1


FIELD = st.sampled_from(
    ["stage", "history", "created_at", "next_look_at", "attempts", "upload", "prepared", "recipe", "candidates", "x", "id"]
)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), 1 << 63) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> dict[Key, tuple[bytes, int]]:
    """The records of a life, as they lie in the ledger in the middle of it."""
    story = Story(tmp_path_factory.mktemp("life"))
    story.uploaded("shop/a.jsonl")
    story.run(HOUR / 2)
    return dict(story.world.records)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(list(fakes.LIVES.by_kind)), changed=st.dictionaries(FIELD, VALUE, max_size=3), left_out=st.sets(FIELD, max_size=2)
)
@example(kind=Kind.TUNING, changed={"history": []}, left_out=set())
@example(kind=Kind.TUNING, changed={"next_look_at": None}, left_out=set())
def test_no_document_in_the_ledger_makes_a_turn_or_a_timer_fail(
    tmp_path: Path, lived: dict[Key, tuple[bytes, int]], kind: Kind, changed: dict[str, Any], left_out: set[str]
) -> None:
    story = Story(tmp_path)
    story.world.records, story.world.active = dict(lived), set(lived)
    key = next(key for key in lived if key.kind is kind)
    spoiled(story, key, changed)
    body = {name: value for name, value in msgspec.json.decode(story.world.records[key][0]).items() if name not in left_out}
    story.world.records[key] = (json.dumps(body).encode(), 1)
    story.world.now += 2 * TICK

    turn.take(story.loop, fakes.LIVES, key, who="door", promised=None)
    try:
        promised = fakes.record(story.world, key).next_look_at
    except msgspec.ValidationError:
        promised = story.world.now
    turn.take(story.loop, fakes.LIVES, key, who="turn", promised=promised)
    timers.look_again(story.loop, fakes.LIVES, who="timer")
    timers.tear_down_idle_endpoints(story.loop, who="timer")

    assert lived.keys() <= story.world.records.keys()
    others = [other for other in lived if other != key and other.kind in fakes.LIVES.by_kind]
    assert all(fakes.record(story.world, other).id == other.id for other in others)  # nothing of it spread to them


def test_a_document_that_is_no_record_is_refused_by_its_key() -> None:
    from shared.ports import Stored
    from shared.reconcile.tunings import TuningLife

    with pytest.raises(errors.UnreadableRecord, match="tuning/0123456789ab cannot be read"):
        turn.decoded(Key(kind=Kind.TUNING, id="0123456789ab"), Stored(body={"stage": 1}, version="1"), TuningLife.record_type)


@pytest.mark.parametrize("kind", [Kind.TUNING, Kind.TRAINING])
def test_a_stage_that_a_newer_version_invented_is_left_alone_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: Kind) -> None:
    """To an older version it is neither an end nor a beginning: whatever it did might be paid for twice."""
    story = Story(tmp_path)
    story.uploaded("shop/a.jsonl")
    story.run(timedelta(minutes=10))
    (key,) = [key for key in story.world.records if key.kind is kind]
    written = spoiled(story, key, {"stage": "held", "job_number": 0, "recipe": None} if kind is Kind.TUNING else {"stage": "held"})
    story.run(HOUR)

    assert story.world.records[key][0] == written
    assert any("action=record_unreadable" in record.getMessage() and str(key) in record.getMessage() for record in caplog.records)
