"""
After a switch the model before it is kept for a while. When the new one fails in that time, the traffic goes back, and people are told.

It goes back only to a model that had its proof and has just answered again, and only from one that is known to be bad.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from shared import errors
from shared.domain import service
from shared.domain.record import Kind
from tests.journeys import fakes
from tests.journeys.stories import Story, only

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
SECOND = fakes.ROWS.replace(b"hall", b"dock")
THIRD = fakes.ROWS.replace(b"hall", b"quay")
FAILED_424 = errors.BadAnswer("it answered with status 424")
pytestmark = pytest.mark.light


class Switched(Story):
    """A service whose second model has just got the traffic."""

    def __init__(self, workdir: Any, **policy: Any) -> None:
        super().__init__(workdir)
        self.loop = replace(self.loop, policy=msgspec.structs.replace(fakes.POLICY, **policy))
        self.uploaded("support-bot/a.jsonl")
        self.run(HOUR)
        self.old = self.service.live.name
        self.uploaded("support-bot/b.jsonl", SECOND)
        while self.service.live.name == self.old:
            self.run(MINUTE)
        self.new = self.service.live.name

    @property
    def service(self) -> Any:
        return only(self, Kind.SERVICE)

    @property
    def endpoint(self) -> Any:
        return self.world.endpoints[self.service.endpoint]

    def used(self, duration: timedelta) -> None:
        for _ in range(int(duration / (10 * MINUTE))):
            self.world.requests.append((self.service.endpoint, self.world.now))
            self.run(10 * MINUTE)

    def told(self, what: str) -> list[Any]:
        return [change for change in self.world.changes if change.what == what]


@pytest.fixture
def switched(tmp_path):
    return Switched(tmp_path)


def test_the_model_before_is_kept_without_traffic_through_probation_and_deleted_after_it(switched):
    switched.used(fakes.POLICY.probation - 10 * MINUTE)
    assert list(switched.endpoint["deployments"]) == [switched.old, switched.new]
    assert switched.endpoint["traffic"] == {switched.new: 100}

    switched.used(20 * MINUTE)
    assert list(switched.endpoint["deployments"]) == [switched.new]
    assert switched.service.deployments == (switched.service.live,)


def test_without_probation_the_model_before_is_deleted_at_once(tmp_path):
    switched = Switched(tmp_path, probation=timedelta(0))
    switched.used(10 * MINUTE)

    assert list(switched.endpoint["deployments"]) == [switched.new]


@pytest.mark.parametrize("bad", [{}, {"output": ""}, FAILED_424], ids=["an empty object", "an empty text", "424"])
def test_when_the_new_model_answers_badly_again_and_again_the_traffic_goes_back_and_people_are_told(switched, bad):
    switched.world.answers[switched.new] = bad
    switched.used(40 * MINUTE)

    found = switched.service
    assert found.live.name == switched.old
    assert switched.endpoint["traffic"] == {switched.old: 100}
    assert list(switched.endpoint["deployments"]) == [switched.old]
    (told,) = switched.told("went_back")
    assert "bad answers in a row" in told.why
    assert "upload the file again" in told.next_action
    assert found.candidates[-1].failure
    assert found.candidate is None


def test_when_the_new_deployment_fails_the_traffic_goes_back_within_minutes(switched):
    switched.endpoint["deployments"][switched.new]["state"] = "Failed"
    switched.used(10 * MINUTE)

    assert switched.endpoint["traffic"] == {switched.old: 100}
    assert switched.service.live.name == switched.old


def test_when_somebody_deletes_the_new_deployment_the_old_one_takes_the_traffic(switched):
    del switched.endpoint["deployments"][switched.new]
    switched.endpoint["traffic"] = {}
    switched.used(10 * MINUTE)

    assert switched.endpoint["traffic"] == {switched.old: 100}


@pytest.mark.parametrize("times", [1, 2])
def test_a_bad_answer_or_two_change_nothing(switched, times):
    switched.world.answers[switched.new] = {}
    while len(switched.told("probe_failed")) < times:
        switched.run(MINUTE)
    del switched.world.answers[switched.new]
    switched.used(30 * MINUTE)

    assert switched.service.live.name == switched.new
    assert switched.told("went_back") == []


def test_bad_answers_with_a_good_one_between_are_not_three_in_a_row(switched):
    for times in (2, 4):
        switched.world.answers[switched.new] = {}
        for _ in range(30):
            if len(switched.told("probe_failed")) < times:
                switched.run(MINUTE)
        del switched.world.answers[switched.new]
        switched.used(10 * MINUTE)

    assert len(switched.told("probe_failed")) == 4
    assert switched.service.live.name == switched.new
    assert switched.told("went_back") == []


def test_what_cannot_be_reached_says_nothing_about_the_model(switched):
    switched.world.answers[switched.new] = errors.TryLater("the service could not be reached")
    switched.used(HOUR)

    assert switched.service.live.name == switched.new
    assert switched.told("probe_failed") == switched.told("went_back") == []


def test_when_neither_answers_the_traffic_stays_and_people_are_told(switched):
    switched.world.answers = {switched.new: {}, switched.old: {}}
    switched.used(38 * MINUTE)

    assert switched.endpoint["traffic"] == {switched.new: 100}
    assert switched.told("went_back") == []
    assert any("does not answer either" in change.why for change in switched.told("waits"))


def test_the_traffic_never_goes_back_after_probation(switched):
    switched.used(HOUR)
    switched.world.answers[switched.new] = {}
    switched.used(HOUR)

    assert switched.endpoint["traffic"] == {switched.new: 100}


def test_the_same_file_uploaded_again_after_a_way_back_is_tried_again(switched):
    switched.world.answers[switched.new] = {}
    switched.used(40 * MINUTE)
    switched.uploaded("support-bot/c.jsonl", SECOND)
    switched.used(30 * MINUTE)

    assert switched.service.live.tuning == switched.service.candidates[-1].tuning
    assert switched.world.effects["job"] == 2


def test_a_later_upload_ends_probation_so_that_no_third_deployment_is_billed(switched):
    switched.uploaded("support-bot/c.jsonl", THIRD)
    most = 0
    for _ in range(40):
        switched.used(10 * MINUTE) if switched.world.now.minute % 10 == 0 else switched.run(MINUTE)
        most = max(most, len(switched.endpoint["deployments"]))

    assert most == 2


def test_our_own_questions_keep_nothing_awake_and_hide_nobody(tmp_path):
    """Those that were answered are subtracted; one that never got there is not, or it would hide a request of somebody else."""
    switched = Switched(tmp_path, probation=3 * HOUR)
    switched.run(2 * HOUR)
    assert switched.service.stage in (service.Stage.FALLING_ASLEEP, service.Stage.ASLEEP)

    asked = Switched(tmp_path, probation=3 * HOUR)
    asked.world.answers[asked.new] = errors.TryLater("the service could not be reached")
    for _ in range(8):
        asked.world.requests.append((asked.service.endpoint, asked.world.now))
        asked.run(HOUR / 2)
    assert asked.service.live


def test_one_fault_anywhere_on_the_way_back_changes_nothing_about_the_end(tmp_path):
    """Every third call from the third bad answer on, each with another fault."""

    def lived(number: int | None) -> Switched:
        switched = Switched(tmp_path)
        switched.world.answers[switched.new] = {}
        while len(switched.told("probe_failed")) < 2:
            switched.run(MINUTE)
        if number is not None:
            switched.world.faults = {switched.world.calls + number: ("before", "after", "kill_before", "kill_after")[number % 4]}
        switched.run(40 * MINUTE)
        return switched

    for number in range(10, 90, 3):
        switched = lived(number)
        assert switched.service.live.name == switched.old, number
        assert switched.endpoint["traffic"] == {switched.old: 100}, number
        assert list(switched.endpoint["deployments"]) == [switched.old], number
