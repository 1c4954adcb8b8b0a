"""What an owner can rely on from the upload to the last deleted thing, whatever happens in between."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from shared import doors, errors, wiring
from shared.domain import names, orphans, service, training, tuning
from shared.domain.record import Key, Kind
from shared.reconcile import arrivals, timers
from tests.journeys import fakes
from tests.journeys.stories import Story, only

HOUR = timedelta(hours=1)
pytestmark = pytest.mark.light


@pytest.fixture
def story(tmp_path):
    return Story(tmp_path)


def test_an_upload_becomes_a_served_model(story):
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(HOUR)

    assert only(story, Kind.TUNING).stage == tuning.Stage.OFFERED
    assert only(story, Kind.TRAINING).stage == training.Stage.GOOD
    live = only(story, Kind.SERVICE)
    assert live.stage == service.Stage.LIVE
    assert story.world.endpoints[live.endpoint]["traffic"] == {live.live.name: 100}


def test_what_the_smoke_test_asked_and_was_answered_can_be_read_beside_the_answer_of_the_dataset(story):
    story.uploaded("support-bot/a.jsonl")
    story.run(HOUR)

    (kept,) = [body for path, body in story.world.prepared.items() if "/smoke/" in path]
    assert set(kept) == {"question", "answer", "reference"}
    assert all(kept.values())


def test_every_line_of_every_history_is_announced_once_and_in_order(story):
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(8 * HOUR)

    for kind in fakes.LIVES.by_kind:
        record = only(story, kind)
        told = [(change.at, change.what, change.why) for change in story.world.changes if change.key == record.key]
        assert told == [(line.at, line.what, line.why) for line in record.history], kind


def test_an_unused_service_falls_asleep_and_is_torn_down_and_bills_nothing_more(story):
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(8 * HOUR)

    assert only(story, Kind.SERVICE).stage == service.Stage.TORN_DOWN
    assert story.world.endpoints == {}
    assert story.world.active == set()
    assert story.world.queue == []


def test_no_promise_is_more_than_an_hour_ahead_however_long_the_wait_is(story):
    """A message may be lost, and a clock may be wrong: what sleeps for a week is looked at each hour all the same."""
    story.loop = replace(story.loop, policy=msgspec.structs.replace(story.loop.policy, endpoint_kept_for=timedelta(days=7)))
    story.uploaded("support-bot/a.jsonl")
    for _ in range(40):
        story.run(HOUR / 4)
        ahead = [at - story.world.now for kind in fakes.LIVES.by_kind for r in fakes.all_of(story.world, kind) if (at := r.next_look_at)]
        assert max(ahead, default=HOUR) <= HOUR

    assert only(story, Kind.SERVICE).stage == service.Stage.ASLEEP


def test_a_service_that_is_asked_something_every_half_hour_stays(story):
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(HOUR)
    name = only(story, Kind.SERVICE).endpoint
    for _ in range(12):
        story.world.requests.append((name, story.world.now))
        story.run(HOUR / 2)

    assert only(story, Kind.SERVICE).stage == service.Stage.LIVE
    assert story.world.effects["deployment_deleted"] == 0


def test_a_record_that_is_written_while_a_turn_is_at_work_on_it_is_looked_at_again_at_once(story, monkeypatch):
    """A permit, or another candidate, may be written between a turn's claim and its last word, which then loses the race."""
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(timedelta(minutes=22))  # the job is done by now, its service is being made
    key = only(story, Kind.SERVICE).key
    create = fakes.FakeEndpoints.create_deployment

    def meanwhile(self, *given, **named):
        create(self, *given, **named)
        stored = self.world.records[key]
        body = json.loads(stored[0]) | {"field_of_another": "written meanwhile"}
        self.world.records[key] = (json.dumps(body).encode(), stored[1] + 1)

    monkeypatch.setattr(fakes.FakeEndpoints, "create_deployment", meanwhile)
    story.timers_on = False
    story.run(timedelta(minutes=12))

    assert json.loads(story.world.records[key][0])["field_of_another"] == "written meanwhile"
    assert only(story, Kind.SERVICE).stage == service.Stage.LIVE
    assert story.world.effects["deployment"] == 1


def test_while_the_metrics_are_out_nothing_is_deleted(story):
    story.uploaded("support-bot/2026-11.jsonl")
    story.world.metrics_out = True
    story.run(8 * HOUR)

    found = only(story, Kind.SERVICE)
    assert found.stage == service.Stage.LIVE
    assert found.idle.unknown_since is not None
    assert story.world.effects["deployment_deleted"] == 0


def test_both_doors_and_five_repeats_pay_for_one_job(story):
    story.uploaded("support-bot/2026-11.jsonl", doors_ring=7)
    story.run(HOUR)

    assert story.world.effects == {"job": 1, "endpoint": 1, "deployment": 1}


def test_an_upload_of_which_no_event_tells_is_found_by_the_timer(story):
    story.uploaded("support-bot/2026-11.jsonl", doors_ring=0)
    story.run(HOUR)

    assert only(story, Kind.SERVICE).stage == service.Stage.LIVE


@pytest.mark.parametrize("path", ["support-bot/../other/a.jsonl", "/a.jsonl", "support-bot//a.jsonl", "a" * 1100 + "/a.jsonl"])
def test_what_the_doors_refuse_the_timer_opens_no_record_for(story, path):
    story.world.upload(path, fakes.ROWS)
    story.run(HOUR)

    assert fakes.all_of(story.world, Kind.TUNING) == []


@pytest.mark.parametrize(
    "bad",
    ["../other/a.jsonl", "/a.jsonl", "a" * 1100 + "/a.jsonl", "a\n.jsonl", "a/_notes.txt", "a/_members/a.jsonl"],
    ids=lambda name: ascii(name)[:20],
)
def test_a_name_that_is_refused_hides_no_upload_that_lists_behind_it(story, bad):
    story.world.upload(bad, fakes.ROWS)
    good = story.world.upload("support-bot/2026-11.jsonl", fakes.ROWS)
    story.run(HOUR)

    assert only(story, Kind.TUNING).id == good.id
    assert only(story, Kind.SERVICE).stage == service.Stage.LIVE


def test_an_upload_that_is_known_hides_none_that_lists_behind_it_and_of_which_no_event_tells(story):
    known = story.uploaded("a/2026-11.jsonl")
    lost = story.uploaded("support-bot/2026-11.jsonl", doors_ring=0)
    story.run(HOUR)

    assert {record.id for record in fakes.all_of(story.world, Kind.TUNING)} == {known, lost}


def test_with_every_message_lost_once_the_timer_still_brings_it_to_its_end(story):
    story.uploaded("support-bot/2026-11.jsonl")
    story.world.queue.clear()
    story.run(timedelta(minutes=30))
    story.world.queue.clear()
    story.run(2 * HOUR)

    assert story.world.effects["job"] == 1
    assert story.world.effects["deployment"] == 1


def test_a_marker_that_a_dead_worker_left_goes_and_the_records_behind_it_are_looked_at_in_the_same_tick(story):
    tuning_id = story.uploaded("support-bot/2026-11.jsonl")
    story.world.queue.clear()
    story.world.active.add(orphans.KEY)  # of what takes no turns, and lists before all that does
    story.world.now += HOUR
    timers.look_again(story.loop, fakes.LIVES, who="timer")

    assert orphans.KEY not in story.world.active
    assert [key for _, _, (key, _, _) in story.world.queue] == [Key(kind=Kind.TUNING, id=tuning_id)]


def test_the_same_bytes_in_another_folder_are_served_without_a_second_job(story):
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(HOUR)
    content = story.world.blobs["support-bot/2026-11.jsonl"][0]
    story.uploaded("support-bot/copy.jsonl", content)
    story.run(HOUR)

    assert story.world.effects["job"] == 1
    assert {t.stage for t in fakes.all_of(story.world, Kind.TUNING)} == {tuning.Stage.OFFERED}


def test_the_same_bytes_in_another_service_share_the_training(story):
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(HOUR)
    story.uploaded("sales-bot/2026-11.jsonl")
    story.run(HOUR / 2)

    assert story.world.effects["job"] == 1
    assert [s.live is not None for s in fakes.all_of(story.world, Kind.SERVICE)] == [True, True]


def test_a_job_that_shows_late_is_asked_for_again_under_the_same_name(story):
    story.world.looks_until_jobs_show = 3
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(HOUR)

    assert len(story.world.jobs) == 1
    assert only(story, Kind.SERVICE).live


def test_a_storm_of_doorbells_leaves_one_chain_of_turns(story):
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(timedelta(minutes=3))
    key = only(story, Kind.TRAINING).key
    for _ in range(20):
        story.loop.ports.turns.ring(key, who="a job event")
        story.run(timedelta(seconds=10))
    story.run(timedelta(minutes=2))
    calls = story.world.calls
    story.run(timedelta(minutes=5))

    assert story.world.calls - calls < 5 * 12  # one look a minute costs at most a dozen calls


def test_a_dry_run_marks_an_idle_service_and_keeps_it(story):
    story.loop = replace(story.loop, policy=msgspec.structs.replace(fakes.POLICY, deletions_dry_run=True))
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(6 * HOUR)

    assert only(story, Kind.SERVICE).stage == service.Stage.IDLE
    assert story.world.effects["deployment_deleted"] == 0


def test_a_new_upload_takes_over_without_a_moment_without_traffic(story):
    story.uploaded("support-bot/1.jsonl")
    story.run(HOUR)
    first = only(story, Kind.SERVICE).live.name
    story.uploaded("support-bot/2.jsonl", fakes.ROWS.replace(b"hall", b"dock"))
    story.run(1.5 * HOUR)

    found = only(story, Kind.SERVICE)
    assert found.live.name != first
    assert list(story.world.endpoints[found.endpoint]["deployments"]) == [found.live.name]


def test_a_file_that_is_no_jsonl_is_rejected_with_a_sentence_and_costs_nothing(story):
    story.uploaded("support-bot/notes.jsonl", b"these are my notes\n" * 30)
    story.run(HOUR)

    found = only(story, Kind.TUNING)
    assert found.stage == tuning.Stage.REJECTED
    assert found.reason
    assert found.next_action
    assert json.loads(story.world.prepared[found.report])["verdict"] == "rejected"
    assert story.world.effects == {}


def test_an_upload_that_is_deleted_before_it_is_read_is_superseded(story):
    story.uploaded("support-bot/2026-11.jsonl")
    story.world.blobs.clear()
    story.run(HOUR)

    assert only(story, Kind.TUNING).stage == tuning.Stage.SUPERSEDED
    assert story.world.effects == {}


def test_an_upload_that_is_replaced_at_once_trains_only_the_second_version(story):
    story.uploaded("support-bot/data.jsonl", fakes.ROWS.replace(b"hall", b"yard"))
    story.uploaded("support-bot/data.jsonl")
    story.run(HOUR)

    assert story.world.effects["job"] == 1
    assert sorted(t.stage for t in fakes.all_of(story.world, Kind.TUNING)) == [tuning.Stage.OFFERED, tuning.Stage.SUPERSEDED]


def test_a_job_that_fails_ends_with_its_reason_and_a_next_action(story):
    story.world.job_end = "Failed"
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(2 * HOUR)

    found = only(story, Kind.TUNING)
    assert found.stage == tuning.Stage.STOPPED
    assert "The training process was killed." in found.reason
    assert found.next_action
    assert story.world.effects == {"job": 1}


def test_uploading_the_same_file_again_after_a_failed_job_pays_for_one_more_try(story):
    story.world.job_end = "Failed"
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(HOUR)
    story.world.job_end = "Completed"
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(HOUR)

    assert story.world.effects["job"] == 2
    assert only(story, Kind.SERVICE).stage == service.Stage.LIVE


def test_a_deployment_that_fails_is_deleted_and_the_old_one_keeps_the_traffic(story):
    story.uploaded("support-bot/1.jsonl")
    story.run(HOUR)
    first = only(story, Kind.SERVICE).live.name
    story.world.deployment_end = "Failed"
    story.uploaded("support-bot/2.jsonl", fakes.ROWS.replace(b"hall", b"dock"))
    story.run(HOUR * 0.7)

    found = only(story, Kind.SERVICE)
    assert found.live.name == first
    assert "weights do not load" in found.candidates[-1].failure
    assert list(story.world.endpoints[found.endpoint]["deployments"]) == [first]
    assert story.world.endpoints[found.endpoint]["traffic"] == {first: 100}


def test_when_the_newest_model_is_bad_the_one_before_it_that_was_never_tried_is_served(story):
    story.uploaded("support-bot/1.jsonl")
    story.run(timedelta(minutes=5))
    story.uploaded("support-bot/2.jsonl", fakes.ROWS.replace(b"hall", b"dock"))  # ready before the first is deployed
    story.run(timedelta(minutes=25))
    story.world.answer = {}
    while not any(c.failure for c in only(story, Kind.SERVICE).candidates):
        story.run(timedelta(minutes=1))
    story.world.answer = {"output": "It is in hall 3."}
    story.run(HOUR / 2)

    found = only(story, Kind.SERVICE)
    assert found.live.tuning == found.candidates[0].tuning
    assert found.candidates[1].failure
    assert story.world.effects["job"] == 2


def test_a_model_that_answers_with_an_empty_object_never_gets_traffic(story):
    story.world.answer = {}
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(3 * HOUR)

    found = only(story, Kind.SERVICE)
    assert found.live is None
    assert found.candidates[0].failure
    assert all(not e["traffic"] and not e["deployments"] for e in story.world.endpoints.values())


def test_a_service_whose_new_upload_fails_while_it_sleeps_is_asleep_again_and_says_so(story):
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(3 * HOUR)
    assert only(story, Kind.SERVICE).stage == service.Stage.ASLEEP
    story.world.answer = {}
    story.uploaded("support-bot/2026-12.jsonl", fakes.ROWS.replace(b"hall", b"yard"))
    story.run(timedelta(hours=1, minutes=30))
    again = only(story, Kind.SERVICE)

    assert again.stage == service.Stage.ASLEEP
    assert again.asleep_since > again.candidates[-1].uploaded_at
    assert not story.world.endpoints[again.endpoint]["deployments"]


def test_an_endpoint_of_somebody_else_with_our_name_is_never_touched(story):
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(timedelta(minutes=1))
    name = names.endpoint(fakes.OWNER, "support-bot")
    foreign = {"state": "Succeeded", "asked_at": story.world.now, "tags": {}, "traffic": {"blue": 100}, "deployments": {}}
    story.world.endpoints[name] = foreign
    story.run(5 * HOUR)

    assert story.world.endpoints[name] is foreign
    found = only(story, Kind.SERVICE)
    assert found.stage == service.Stage.BLOCKED
    assert found.next_action


def test_a_job_whose_worker_died_while_asking_for_it_has_its_deadline_too(story):
    """What is written after the request may be missing; then the first look that shows the job counts."""
    key: list[str] = []
    submit = fakes.FakeTrainings.submit

    def submit_and_die(self, name, **given):
        submit(self, name, **given)
        if not key:
            key.append(name)
            raise fakes.Killed

    story.world.job_end = "Running"  # for ever
    story.loop.ports.trainings.submit = submit_and_die.__get__(story.loop.ports.trainings)
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(26 * HOUR)

    ended = only(story, Kind.TRAINING)
    assert story.world.jobs[ended.job]["status"] == "Canceled"
    assert ended.stage == training.Stage.STOPPED


def test_a_job_that_was_accepted_and_never_shows_ends_at_its_deadline_and_is_asked_for_under_one_name(story):
    asked: set[str] = set()
    story.loop.ports.trainings.submit = lambda name, **_: story.world.called(lambda: asked.add(name))
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(26 * HOUR)

    ended = only(story, Kind.TRAINING)
    assert ended.stage == training.Stage.STOPPED
    assert "never showed" in ended.reason
    assert asked == {ended.job}


def test_a_deployment_that_was_accepted_and_never_shows_is_given_up_at_its_deadline(story):
    story.loop.ports.endpoints.create_deployment = lambda *_, **__: story.world.called(lambda: None)
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(4 * HOUR)

    (candidate,) = only(story, Kind.SERVICE).candidates
    assert "never showed" in candidate.failure


def test_a_deployment_whose_first_request_failed_before_a_long_pause_has_its_whole_deadline_afterwards(story):
    asked, create = [], story.loop.ports.endpoints.create_deployment

    def refused_once(*about, **tags):
        asked.append(story.world.now)
        if len(asked) == 1:
            paused.add(True)
            raise errors.TryLater("503")
        create(*about, **tags)

    paused: set[bool] = set()
    story.loop = replace(story.loop, paused=lambda: bool(paused))
    story.loop.ports.endpoints.create_deployment = refused_once
    story.uploaded("support-bot/2026-11.jsonl")
    story.run(5 * HOUR)
    assert len(asked) == 1
    paused.clear()
    story.run(timedelta(minutes=40))

    assert only(story, Kind.SERVICE).stage == service.Stage.LIVE


def test_a_step_whose_worker_died_each_time_does_not_give_the_reason_of_an_earlier_step(story):
    story.uploaded("support-bot/2026-11.jsonl")
    while not (found := fakes.all_of(story.world, Kind.SERVICE)) or not story.world.endpoints.get(found[0].endpoint, {}).get("deployments"):
        story.run(timedelta(minutes=1))
    (waiting,) = found
    died = msgspec.structs.replace(waiting, attempt_of="SmokeTest", attempts=5, reason="Azure had no quota.")
    story.world.records[died.key] = (msgspec.json.encode(died), *story.world.records[died.key][1:])
    story.run(HOUR)

    (candidate,) = only(story, Kind.SERVICE).candidates
    assert candidate.failure.startswith("SmokeTest failed 5 times: its worker died each time.")


def test_a_turn_that_failed_too_often_is_announced_and_replays_nothing(story):
    tuning = story.uploaded("support-bot/2026-11.jsonl")
    story.run(timedelta(minutes=2))
    key = Key(kind=Kind.TUNING, id=tuning)
    before = dict(story.world.records), list(story.world.queue)
    arrivals.turn_poisoned(story.loop, key)

    assert (story.world.changes[-1].key, story.world.changes[-1].what) == (key, "turn_poisoned")
    assert (dict(story.world.records), list(story.world.queue)) == before


@pytest.mark.parametrize(
    "error",
    [errors.TryLater("The topic is busy."), errors.Stop("Refused.", next_action=""), KeyError("sig"), OSError("gone"), RecursionError()],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("where", ["announcer", "wiring"])
def test_a_turn_that_failed_too_often_ends_at_its_door_whoever_cannot_be_told_of_it(story, monkeypatch, caplog, where, error):
    """Nobody stands behind the queue of poisoned messages: what its door raised would be tried in vain and then lie in a queue unseen."""

    def fails(*_):
        raise error

    announcer = fakes.FakeAnnouncer(story.world)
    monkeypatch.setattr(announcer, "announce", fails)
    loop = replace(story.loop, ports=replace(story.loop.ports, announcer=announcer))
    monkeypatch.setattr(wiring, "loop", fails if where == "wiring" else lambda: loop)
    doors.turn_poisoned(b'{"kind": "tuning", "id": "0123456789ab"}')

    assert [line.getMessage().rpartition("action=")[2] for line in caplog.records] == ["turn_poisoned", "announce_failed"]
    assert f"({type(error).__name__})" in caplog.messages[-1]


def put_to_sleep(story: Story, *, called: int) -> service.Service:
    """Let a service fall asleep while somebody calls so many times after the last look at it; return its record at the end."""
    story.uploaded("support-bot/2026-11.jsonl")
    while not any(line.what == "retiring" for record in fakes.all_of(story.world, Kind.SERVICE) for line in record.history):
        story.run(timedelta(minutes=1))
    name = only(story, Kind.SERVICE).endpoint
    story.world.requests += [(name, story.world.now)] * called
    story.run(timedelta(minutes=12))
    found: service.Service = only(story, Kind.SERVICE)
    return found


@pytest.mark.parametrize("called", [0, 3])
def test_requests_that_met_a_deletion_are_counted_once_and_told(story, called):
    asleep = put_to_sleep(story, called=called)

    assert asleep.live is None
    (told,) = [change for change in story.world.changes if change.what == "requests_counted"]
    assert told.why.startswith(f"{called} requests came after the last look")


def test_when_the_metrics_are_out_what_met_a_deletion_is_unknown(story, monkeypatch):
    counted = fakes.FakeMetrics.usage

    def out(self, endpoint, deployment, *, start, end):
        found = counted(self, endpoint, deployment, start=start, end=end)
        return None if end - start < HOUR else found

    monkeypatch.setattr(fakes.FakeMetrics, "usage", out)
    put_to_sleep(story, called=3)

    (told,) = [change for change in story.world.changes if change.what == "requests_counted"]
    assert "do not say" in told.why
