"""From an upload to a torn-down endpoint, and every bad day on the way, through the app's own doors."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from localcloud import azurite, listeners
from shared.domain import smoke
from shared.domain.record import Kind
from tests import recordings as recorded
from tests.canaries import CANARY
from tests.localcloud.hosts import family
from tests.loop.conftest import waited

pytestmark = pytest.mark.slow

TOPIC = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/local-rg/providers/Microsoft.Storage/storageAccounts/"
WORKSPACE = (
    "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/local-rg/providers/Microsoft.MachineLearningServices"
    "/workspaces/local-workspace"
)


def chats(word: str, rows: int = 40) -> bytes:
    """Return an upload of `rows` chats about `word`; another word gives another training."""
    lines = [
        {
            "messages": [
                {"role": "user", "content": f"Where is {word} number {n}?"},
                {"role": "assistant", "content": f"{word} {n} is in hall {n * 7 % 31}."},
            ]
        }
        for n in range(rows)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def created(path: str, *, container: str = "datasets", account: str = "devstoreaccount1", **data: object) -> list[dict[str, object]]:
    """Return a BlobCreated event as Event Grid sends it."""
    return [
        {
            "topic": TOPIC + account,
            "subject": f"/blobServices/default/containers/{container}/blobs/{path}",
            "eventType": "Microsoft.Storage.BlobCreated",
            "eventTime": "2026-11-24T10:00:00.1234567Z",
            "id": "831e1650-001e-001b-66ab-eeb76e069631",
            "data": {"api": "PutBlob", "eTag": '"0x1"', "contentLength": 5, "url": "https://evil.example/x", **data},
            "dataVersion": "",
            "metadataVersion": "1",
        }
    ]


def test_an_upload_is_trained_served_answers_over_http_falls_asleep_and_is_torn_down(app):
    tuning = app.upload("shop/2026-11.jsonl", chats("parcel"))

    live = app.until(tuning, "service", "live")
    assert smoke.answer_in(app.ask(live.scoring_uri, "Where is parcel number 3?"))
    assert app.shown()["endpoints"][live.endpoint]["traffic"] == {live.live.name: 100}
    listening = listeners.of(family(*(app.running.state[name]["pid"] for name in ("azurite", "azureml", "functions"))))
    assert {one.address for one in listening} == {"127.0.0.1"}  # nothing can be reached from another machine,
    assert len(listening) >= 6  # the model's own process least of all: Azurite's three ports, Azure ML, the host, the model

    gone = app.until(tuning, "service", "torn down")
    assert live.endpoint not in app.shown()["endpoints"]
    assert gone.deployments == ()
    assert app.record(tuning, "tuning").stage == "offered"
    (job,) = [name for name in app.shown()["jobs"] if app.record(tuning, "training").id in name]
    assert app.shown()["jobs"][job] == "Completed"


def test_both_triggers_see_an_upload_and_the_app_acts_once(app):
    tuning = app.upload("twice/2026-11.jsonl", chats("letter"))
    app.until(tuning, "tuning", "offered")

    assert openings(app, tuning) == 1
    waited(lambda: app.log().count(f"tuning {tuning} is known already") >= 1, lambda: "the second door did not ring")
    assert sum(app.record(tuning, "training").id in name for name in app.shown()["jobs"]) == 1


def test_a_set_of_files_is_one_upload_whose_files_open_nothing(app):
    """The training file comes last of all, so the set is seen before it is whole."""
    app.uploads.upload_blob("several/_members/test.jsonl", chats("ferry", rows=7))
    named = {"train": "_members/train.jsonl", "test": "_members/test.jsonl"}
    tuning = app.upload("several/_dataset.json", json.dumps(named).encode())
    app.until(tuning, "tuning", "seen")
    waited(lambda: app.record(tuning, "tuning").waits_for.startswith("Waits until"), lambda: "the set does not wait for its file")
    app.uploads.upload_blob("several/_members/train.jsonl", chats("plane", rows=33) + chats("ferry", rows=3))
    found = app.until(tuning, "tuning", "prepared", "planned", "training", "offered")

    assert found.prepared.rows["test"] == 7
    assert found.prepared.rows["train"] + found.prepared.rows["validation"] == 33
    assert '"several/_members/' not in "".join(line for line in app.log().splitlines() if "action=tuning_" in line)


def openings(app, tuning: str) -> int:
    """Return how often a tuning was opened, by a door or by the timer."""
    log: str = app.log()
    return log.count(f"opened tuning {tuning}.") + log.count(f"Nobody reported tuning {tuning};")


def test_an_upload_whose_events_come_twice_late_never_or_out_of_order_is_taken_up_once(app):
    """Goal: no way of delivery matters. Method: files that are rejected at once, each with its own fault; `never` is left to the timer."""
    plans = {"event_twice": {"copies": 3}, "event_late": {"seconds": 2}, "event_never": {}, "event_reordered": {}}
    for kind, given in plans.items():
        app.fault(kind, match={"subject": f"*/{kind}/a.jsonl"}, **given)

    tunings = {kind: app.upload(f"{kind}/a.jsonl", f"Dear {kind},\n".encode() * 50) for kind in plans}

    for tuning in tunings.values():
        app.until(tuning, "tuning", "rejected")
    assert {kind: openings(app, tuning) for kind, tuning in tunings.items()} == dict.fromkeys(plans, 1)


def test_the_events_of_every_kind_of_account_and_of_foreign_ones_open_an_upload_once(app):
    tuning = app.upload("kinds/a.jsonl", b"Dear kinds,\n" * 50)
    app.until(tuning, "tuning", "rejected")
    known = app.log().count(f"tuning {tuning} is known already")
    told = [("CreateFile", '"0x1"'), ("FlushWithClose", "0x1"), ("SftpCreate", ""), ("SftpCommit", "0x1"), ("CopyBlob", '"0x1"')]

    whole = ("FlushWithClose", "SftpCommit", "CopyBlob")  # what the Event Grid door looks at; the blob door cannot see what was told
    url = app.uploads.get_blob_client("kinds/a.jsonl").url  # the host's blob webhook reads it, the app never
    for api, etag in told:
        (event,) = created("kinds/a.jsonl", api=api, eTag=etag, contentLength=0, url=url, blobType="BlockBlob")
        assert app.publish("storage", event) == 2
    url = "https://foreign.blob.core.windows.net/datasets/kinds/foreign.jsonl"
    (foreign,) = created("kinds/foreign.jsonl", account="foreign", url=url, blobType="BlockBlob")
    assert app.publish(TOPIC + "foreign", foreign) == 0
    assert app.publish("storage", foreign) == 2

    waited(
        lambda: app.log().count(f"tuning {tuning} is known already") >= known + len(told) + len(whole),
        lambda: "not every event of the upload came to a door",
    )
    assert openings(app, tuning) == 1
    assert "kinds/foreign.jsonl" not in "".join(line for line in app.log().splitlines() if "action=tuning_opened" in line)


def test_what_happened_is_announced_on_the_topic_as_it_stands_in_the_history(app):
    tuning = app.upload("heard/a.jsonl", b"Dear announcer,\n" * 50)
    rejected = app.until(tuning, "tuning", "rejected")

    heard = [event for event in app.running.announced() if event["subject"] == f"tuning/{tuning}"]

    told = [(happening.what, happening.why) for happening in rejected.history]
    assert [(event["data"]["what"], event["data"]["why"]) for event in heard] == told
    assert (heard[-1]["data"]["stage"], heard[-1]["data"]["next_action"]) == ("rejected", rejected.next_action)


def test_a_parquet_upload_is_prepared_like_any_other(app):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [json.loads(line) for line in chats("barrel").splitlines()]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    tuning = app.upload("parquet/data.parquet", sink.getvalue())

    prepared = app.until(tuning, "tuning", "offered").prepared
    assert sum(prepared.rows.values()) == 40


def test_a_file_that_is_no_jsonl_is_rejected_with_a_report_and_no_job(app):
    jobs = len(app.shown()["jobs"])
    tuning = app.upload("notes/notes.jsonl", b"Dear diary,\n" * 50)

    rejected = app.until(tuning, "tuning", "rejected")
    report = app.records.datasets.read(rejected.report)
    assert rejected.reason
    assert rejected.next_action
    assert report["codes"]
    assert "diary" not in rejected.reason  # the report may show excerpts, the record and the log never
    assert len(app.shown()["jobs"]) == jobs


def test_a_wish_that_the_component_does_not_know_is_rejected_by_name(app):
    tuning = app.upload("wishful/a.jsonl", chats("wish"), wishes={"learning_rat": 1})

    assert "learning_rat" in app.until(tuning, "tuning", "rejected").reason


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(created("x.jsonl", container="datasets-backup"), id="another container"),
        pytest.param(created("x.jsonl", account="somebody"), id="another account"),
        pytest.param(created("a/../../ledger/owner.json"), id="dot segments"),
        pytest.param(created("was-deleted.jsonl"), id="a blob that is gone"),
        pytest.param(created("x.jsonl", api="CreateFile"), id="a write that is not committed"),
        pytest.param([{**created("x.jsonl")[0], "data": {}}], id="no data"),
        pytest.param([{**created("x.jsonl")[0], "eventType": "Microsoft.Storage.BlobDeleted"}], id="another type"),
    ],
)
def test_an_event_that_is_not_about_an_upload_of_ours_opens_nothing_and_is_not_repeated(app, event):
    before = set(app.records.ledger.ids(Kind.TUNING))

    assert app.post("dataset_event_received", event) == 202
    assert set(app.records.ledger.ids(Kind.TUNING)) == before


@pytest.mark.parametrize(
    "data", [{}, {"runId": "somebody-elses-job"}, {"runId": None}, {"RunId": "ft-000000000000-a1", "runStatus": "failed"}]
)
def test_a_job_event_about_nothing_of_ours_is_answered_and_forgotten(app, data):
    event = {
        **created("x")[0],
        "topic": WORKSPACE,
        "subject": "experiments/e/runs/child_1",
        "eventType": "Microsoft.MachineLearningServices.RunCompleted",
        "data": data,
    }

    assert app.post("job_event_received", [event]) == 202


def test_an_upload_that_is_deleted_before_it_is_read_costs_nothing(app):
    tuning = app.upload("gone/a.jsonl", chats("ghost"))
    app.uploads.delete_blob("gone/a.jsonl")

    waited(
        lambda: (found := app.record(tuning, "tuning")) is None or found.stage in ("superseded", "offered"),
        lambda: f"still {app.record(tuning, 'tuning')}",
    )
    found = app.record(tuning, "tuning")
    if found is None or found.stage == "superseded":  # else it was read before it was deleted, and what is read is carried through
        assert not any(endpoint.startswith("gone-") for endpoint in app.shown()["endpoints"])
        assert found is None or found.training is None


def test_a_job_that_fails_ends_the_tuning_with_its_reason(app):
    app.fault("job_failed", message="The node lost its GPU.")
    tuning = app.upload("failing-job/a.jsonl", chats("crate"))

    stopped = app.until(tuning, "tuning", "stopped")
    assert "The node lost its GPU." in stopped.reason
    assert stopped.next_action


def test_a_training_process_that_is_killed_ends_its_job_failed_with_its_log_as_the_reason(app):
    tuning = app.upload("killed-job/a.jsonl", chats("basket", 400), wishes={"num_train_epochs": 40})
    training = app.until(tuning, "training", "submitted")
    job = f"ft-{training.id}-a1"
    pid = waited(lambda: _pid_of(f"{job}/job.json"), lambda: "no training process was started")
    os.kill(pid, signal.SIGKILL)

    stopped = app.until(tuning, "tuning", "stopped")
    assert app.shown()["jobs"][job] == "Failed"
    assert job in stopped.reason
    assert len(stopped.reason) > len(f"Job {job} ended Failed: ")


def test_a_deployment_that_fails_gets_no_traffic_and_is_deleted(app):
    app.fault("deployment_failed", message="The weights do not load.")
    tuning = app.upload("failing-deployment/a.jsonl", chats("anchor"))

    service = app.until(tuning, "service", "torn down", "asleep", "falling asleep")
    assert "Failed" in service.candidates[0].failure
    app.until(tuning, "service", "torn down")
    assert service.endpoint not in app.shown()["endpoints"]


def test_a_host_that_is_killed_between_a_door_and_the_turn_loses_nothing(app):
    tuning = app.upload("killed-early/a.jsonl", chats("marble"))
    app.post("dataset_event_received", created("killed-early/a.jsonl"))
    os.kill(app.running.state["functions"]["pid"], signal.SIGKILL)
    app.restart_functions()

    assert app.until(tuning, "tuning", "offered").training
    assert sum(app.record(tuning, "training").id in name for name in app.shown()["jobs"]) == 1


def test_a_host_that_is_killed_in_mid_loop_again_and_again_still_makes_one_model(app):
    tuning = app.upload("killed-often/a.jsonl", chats("violin"))
    for kind, stage in (("tuning", "prepared"), ("training", "submitted"), ("service", "deploying")):
        waited(partial(_reached, app, tuning, kind, stage), partial("never {}".format, stage))
        os.kill(app.running.state["functions"]["pid"], signal.SIGKILL)
        app.restart_functions()

    service = app.until(tuning, "service", "live", "idle", "falling asleep", "asleep", "torn down")
    assert any(line.what == "live" for line in service.history)
    assert service.deployments_made == 1
    assert sum(app.record(tuning, "training").id in name for name in app.shown()["jobs"]) == 1


def test_a_message_that_is_no_turn_is_dropped_and_not_repeated(app):
    from shared import settings
    from shared.cloud import clients, storage

    account = storage.Account(settings.connection(app.running.settings, "AzureWebJobsStorage"), clients.credential(), local=True)
    turns = account.queue("turns")
    turns.send_message("bm90IGEgdHVybg==")

    waited(lambda: "action=message_dropped" in app.log(), lambda: "nobody dropped it")
    assert "bm90IGEgdHVybg==" not in [message.content for message in turns.peek_messages(max_messages=32)]


def test_twenty_uploads_at_once_all_come_to_an_end(app):
    with ThreadPoolExecutor(5) as pool:
        tunings = list(pool.map(lambda n: app.upload(f"many-{n}/a.jsonl", b"{}\n" * 12), range(20)))

    assert {app.until(tuning, "tuning", "rejected").stage for tuning in tunings} == {"rejected"}


def test_an_archived_base_model_that_azure_gives_no_more_stops_with_a_sentence_before_anything_is_paid(app):
    """The other side of the switch, an archived model that may still be used, is what every other loop of this file runs on."""
    jobs = len(app.shown()["jobs"])
    app.command("state", {"switches": {"archived_model": "refused"}})
    stopped = app.until(app.upload("archived/a.jsonl", chats("archive")), "tuning", "stopped")
    app.command("state", {"switches": {"archived_model": "readable"}})

    assert "Phi-3-mini-4k-instruct" in stopped.reason
    assert "BASE_MODEL" in stopped.next_action
    assert len(app.shown()["jobs"]) == jobs


def test_a_person_sees_what_serves_with_the_sdk(app):
    tuning = app.upload("looked-at/a.jsonl", chats("window"))
    live = app.until(tuning, "service", "live")
    training = app.record(tuning, "training")
    said = app.look_with_the_sdk(live, training.model, training.id)

    assert f"deployment {training.id}" in said, said
    assert f"model {training.id} ['{training.id}']" in said


def test_no_record_is_left_unfinished_and_nothing_is_left_running(app):
    waited(lambda: not list(app.records.ledger.active()), lambda: f"still active: {list(app.records.ledger.active())}", within_s=180)

    assert app.shown()["endpoints"] == {}
    assert "Traceback" not in app.log()


def test_no_log_holds_a_line_of_a_dataset_a_token_or_a_key(app):
    logs = [*app.running.data.glob("logs/*.log"), *app.running.data.glob("azureml/jobs/*/std_*.txt")]
    said = "".join(path.read_text("utf-8", "replace") for path in logs)

    assert len(logs) > 4
    assert secrets_in(app, said) == []
    assert "is in hall" not in said
    assert "Dear diary" not in said


def test_no_record_report_message_or_announcement_holds_a_token_or_a_key(app):
    """Over all that this file did: every blob that the app wrote, and all that it told its topic."""
    blobs = app.written()
    announced = app.running.announced()
    said = "".join(content.decode("utf-8", "replace") for content in blobs) + json.dumps(announced)

    assert CANARY in str(app.running.settings)  # it was there to be told
    assert len(blobs) > 20
    assert len(announced) > 20
    assert secrets_in(app, said) == []


def secrets_in(app, text: str) -> list[str]:
    """Return the secrets, of whatever kind this cloud has, that stand in the text."""
    token = app.running.token()
    return [secret for secret in (CANARY[:20], azurite.KEY, "AccountKey=", "sig=", "Bearer ey", token[:40], token[-20:]) if secret in text]


def test_the_recorded_loop_holds_every_call_of_the_sdk_at_its_api_version_and_loses_none(app):
    """What Microsoft's types say of it, the last test of a session tells: tests/test_recorded_traffic.py."""
    assert recorded.calls_missing(recorded.exchanges(app.traffic)) == []

    def counted():
        return recorded.by_method(recorded.exchanges(app.traffic)), app.shown()["requests_by_method"]

    waited(
        lambda: len({json.dumps(one, sort_keys=True) for one in counted()}) == 1,
        lambda: f"file and server differ: {counted()}",
        within_s=20,
    )


def _reached(app, tuning, kind, what):
    found = app.record(tuning, kind)
    return found is not None and (found.stage == what or any(line.what == what for line in found.history) or found.stage == "offered")


def _pid_of(text: str) -> int:
    listed = subprocess.run(["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True, check=True).stdout
    return next((int(line.split()[0]) for line in listed.splitlines() if text in line and "trainer" in line), 0)
