"""Messages that were given up before any door took them are told of once, and the uploads that they were about are found all the same."""

from __future__ import annotations

import logging
from datetime import timedelta

import msgspec
import pytest

from shared.domain import tuning, undelivered
from shared.domain.record import Kind
from shared.reconcile import undelivered as looks
from tests.journeys import fakes
from tests.journeys.stories import Story

HOUR = timedelta(hours=1)
QUEUE, CONTAINER = "queue acc/webjobs-blobtrigger-poison", "container acc/dead-letters"
pytestmark = pytest.mark.light


def told(story):
    return [change.why for change in story.world.changes if change.what == "undelivered"]


def test_dead_letters_and_poisoned_messages_are_told_once_for_each_change_and_nothing_is_replayed(tmp_path):
    story = Story(tmp_path)
    story.uploaded("support-bot/a.jsonl", doors_ring=0)
    story.world.undelivered = {QUEUE: 1, CONTAINER: 1}
    story.run(HOUR)
    assert [QUEUE in why or CONTAINER in why for why in told(story)] == [True, True]

    story.world.undelivered = {QUEUE: 3, CONTAINER: 1}
    story.run(HOUR)

    assert told(story)[2:] == [f"Messages of uploads were given up before any door took them: 3 lie in {QUEUE}, 1 before."]
    assert [t.stage for t in fakes.all_of(story.world, Kind.TUNING)] == [tuning.Stage.OFFERED], "the timer found what they knew"
    assert story.world.effects["job"] == 1
    assert undelivered.KEY not in story.world.active


def test_one_look_leaves_a_count_and_no_marker_of_a_life(tmp_path):
    story = Story(tmp_path)
    story.world.undelivered = {QUEUE: 1}
    looks.look(story.loop)

    assert undelivered.KEY in story.world.records
    assert story.world.active == set()


def test_what_somebody_took_away_is_remembered_and_not_told(tmp_path):
    story = Story(tmp_path)
    for count in (2, 0, 1):
        story.world.undelivered = {QUEUE: count}
        story.run(HOUR)

    assert [why.partition(": ")[2] for why in told(story)] == [f"2 lie in {QUEUE}, 0 before.", f"1 lie in {QUEUE}, 0 before."]


def test_a_place_that_cannot_be_looked_at_is_said_in_the_log_and_hides_no_other(tmp_path, caplog):
    story = Story(tmp_path)
    story.world.undelivered = {QUEUE: None, CONTAINER: 4}
    with caplog.at_level(logging.WARNING):
        story.run(HOUR)

    assert len(told(story)) == 1
    assert f"{QUEUE} could not be looked at. action=undelivered_unknown" in caplog.messages


def test_a_count_that_cannot_be_read_keeps_nothing_else_from_being_looked_at(tmp_path):
    story = Story(tmp_path)
    story.world.records[undelivered.KEY] = (b'{"counts":"many"}', 1)
    story.world.undelivered = {QUEUE: 1}
    story.uploaded("support-bot/a.jsonl", doors_ring=0)
    story.run(2 * HOUR)

    assert told(story) == []
    assert [t.stage for t in fakes.all_of(story.world, Kind.TUNING)] == [tuning.Stage.OFFERED]


def test_what_a_newer_version_remembered_besides_is_kept(tmp_path):
    story = Story(tmp_path)
    story.world.records[undelivered.KEY] = (b'{"counts":{},"invented_later":[1]}', 1)
    story.world.undelivered = {QUEUE: 1}
    story.run(HOUR)

    body = msgspec.json.decode(story.world.records[undelivered.KEY][0])
    assert body == {"counts": {QUEUE: 1}, "invented_later": [1]}


@pytest.mark.parametrize("fault", ["before", "after", "kill_before", "kill_after"])
def test_wherever_the_timer_dies_they_are_told_in_the_end(tmp_path, fault):
    quiet = Story(tmp_path)
    quiet.world.undelivered = {QUEUE: 1}
    quiet.run(timedelta(minutes=6))
    assert quiet.world.calls > 6
    for number in range(quiet.world.calls):
        story = Story(tmp_path)
        story.world.undelivered, story.world.faults = {QUEUE: 1}, {number: fault}
        story.run(HOUR)

        assert 1 <= len(told(story)) <= 2, f"{fault} at {number}"
        assert undelivered.KEY not in story.world.active
