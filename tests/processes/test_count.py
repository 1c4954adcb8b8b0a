"""What is counted, and as what: histories of a few exchanges, each with its verdict. And the plans and bugs that need no process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.processes import bugs, cloud, count, plan
from tests.processes.proxy import Exchange

pytestmark = pytest.mark.light

WORKSPACE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/local-workspace"
ENDPOINT = "shop-1"
TRAIN = "azureml://datastores/prepared/paths/shop-1/train.jsonl"
UPLOAD = count.Known(tuning="t1", endpoint=ENDPOINT, path="shop/a.jsonl", word="parcel", at=0.0)
OFFERED = count.Ended(stage="offered", order=(1, "t1"))


def put(at: float, path: str, body: Any = None, status: int = 201, fault: str = "") -> Exchange:
    return Exchange(at=at, via="azureml", method="PUT", path=WORKSPACE + path, status=status, body=body, fault=fault)


def job(at: float, name: str = "ft-1-a1", *, rate: str = "1", status: int = 201, uri: str = TRAIN) -> Exchange:
    inputs = {"train_file_path": {"uri": uri}, "learning_rate": {"value": rate}}
    return put(at, f"/jobs/{name}", {"properties": {"jobs": {"node": {"inputs": inputs}}}}, status)


def deployment(at: float, name: str = "d1", *, tuning: str = "t1", endpoint: str = ENDPOINT, status: int = 201) -> Exchange:
    return put(at, f"/onlineEndpoints/{endpoint}/deployments/{name}", {"tags": {"tuneloop-tuning": tuning}}, status)


def traffic(at: float, endpoint: str = ENDPOINT, **shares: int) -> Exchange:
    return put(at, f"/onlineEndpoints/{endpoint}", {"properties": {"traffic": shares}})


def answer(at: float, name: str = "d1", status: int = 200, fault: str = "") -> Exchange:
    path = f"/endpoints/{ENDPOINT}/score"
    return Exchange(at=at, via="azureml", method="POST", path=path, status=status, deployment=name, fault=fault)


def deletion(at: float, name: str = "d1") -> Exchange:
    return Exchange(at=at, via="azureml", method="DELETE", path=f"{WORKSPACE}/onlineEndpoints/{ENDPOINT}/deployments/{name}", status=202)


LIFE = (job(1), traffic(2), deployment(3), answer(4), traffic(5, d1=100), deletion(8))
GOOD = count.History(uploads=[UPLOAD], ends={"t1": OFFERED}, exchanges=LIFE, contents={TRAIN: "parcel"}, jobs={"ft-1-a1": "Completed"})


def test_a_life_without_a_fault_is_ok():
    counts = count.counted(GOOD)

    assert (counts.ok, counts.recovered, counts.faults, counts.duplicated, counts.broken) == (1, 0, 0, 0, ())


@pytest.mark.parametrize("at", [0.0, 8.0])
def test_a_life_that_a_fault_hit_is_recovered(at: float):
    counts = count.counted(replace(GOOD, faults=[(at, "KILL HOST")]))

    assert (counts.ok, counts.recovered, counts.broken) == (0, 1, ())


def test_a_fault_of_an_exchange_hits_too_and_one_after_the_end_does_not():
    hit = replace(GOOD, exchanges=[*LIFE, put(2, "/codes/c/versions/1", fault="reply lost")])

    assert count.counted(hit).recovered == 1
    assert count.counted(replace(GOOD, faults=[(9.0, "KILL HOST")])).ok == 1


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (None, "nobody took it up"),
        (count.Ended(stage="training"), "still training"),
        (count.Ended(stage="stopped", reason="It broke."), "not told"),
        (count.Ended(stage="rejected", next_action="Mend it."), "not told"),
        (count.Ended(stage="superseded", order=(1, "t1")), "nothing later"),
    ],
)
def test_an_upload_of_which_nobody_learns_what_became_of_it_is_lost(end: count.Ended | None, said: str):
    counts = count.counted(replace(GOOD, ends={"t1": end}))

    assert said in " ".join(counts.lost)
    assert counts.ok + counts.recovered == 0


def test_an_upload_that_its_owner_wrote_over_before_it_was_seen_is_not_lost():
    unseen = replace(UPLOAD, tuning="t0", at=-1.0)
    both = replace(GOOD, uploads=[unseen, UPLOAD], ends={"t0": None, "t1": OFFERED})

    assert count.counted(both).broken == ()
    assert "written over by its owner" in " ".join(count.counted(both).told)
    elsewhere = replace(both, uploads=[replace(unseen, path="shop/b.jsonl"), UPLOAD])
    assert "nobody took it up" in " ".join(count.counted(elsewhere).lost)


def test_an_upload_is_superseded_by_a_later_one_or_by_one_in_its_place():
    """Two of the same second are ordered by their ids, so the one in its place may count as the earlier one."""
    superseded = count.Ended(stage="superseded", order=(1, "t1"))
    for other, order, lost in (("shop/a.jsonl", 0, 0), ("shop/b.jsonl", 0, 1), ("shop/b.jsonl", 2, 0)):
        later = replace(UPLOAD, tuning="t2", path=other, at=1.0)
        ends = {"t1": superseded, "t2": replace(OFFERED, order=(order, "t2"), failure="Another fault.")}

        assert len(count.counted(replace(GOOD, uploads=[UPLOAD, later], ends=ends)).lost) == lost


def test_the_newest_offered_upload_of_a_service_is_lost_if_it_never_had_the_traffic():
    later = replace(UPLOAD, tuning="t2", at=1.0)
    both = replace(GOOD, uploads=[UPLOAD, later], ends={"t1": OFFERED, "t2": replace(OFFERED, order=(2, "t2"))})

    assert [one.partition(":")[0] for one in count.counted(both).lost] == ["upload t2"]
    told = {"t1": OFFERED, "t2": replace(OFFERED, order=(2, "t2"), failure="It did not answer.")}
    assert count.counted(replace(both, ends=told)).lost == ()


def test_an_upload_that_ends_with_a_reason_is_told():
    counts = count.counted(replace(GOOD, ends={"t1": count.Ended(stage="stopped", reason="It broke.", next_action="Mend it.")}))

    assert (counts.told, counts.ok, counts.broken) == (("upload t1 is stopped: It broke.",), 1, ())


def test_two_jobs_for_one_content_and_recipe_are_paid_twice_unless_the_first_failed():
    twice = replace(GOOD, exchanges=[*LIFE, job(6, "ft-1-a2")], jobs={"ft-1-a1": "Completed", "ft-1-a2": "Completed"})

    assert "2 jobs are paid" in " ".join(count.counted(twice).unexpected)
    assert count.counted(replace(twice, jobs={"ft-1-a1": "Failed", "ft-1-a2": "Completed"})).unexpected == ()


def test_the_same_bytes_from_another_file_are_the_same_content_and_another_recipe_is_another_job():
    elsewhere = replace(GOOD, exchanges=[*LIFE, job(6, "ft-2-a1", uri="other")], contents={TRAIN: "parcel", "other": "parcel"})

    assert len(count.counted(elsewhere).unexpected) == 1
    assert count.counted(replace(GOOD, exchanges=[*LIFE, job(6, "ft-2-a1", rate="2")])).unexpected == ()


def test_a_job_for_what_nobody_uploaded_is_unexpected():
    assert "nobody uploaded" in " ".join(count.counted(replace(GOOD, contents={TRAIN: "letter"})).unexpected)


def test_two_jobs_that_prepare_one_upload_are_paid_twice_and_one_is_no_training():
    prepares = [put(at, f"/jobs/prep-t1-a{at}", {"properties": {"tags": {"tuneloop-tuning": "t1"}}}) for at in (0, 1)]

    assert count.counted(replace(GOOD, exchanges=[prepares[0], *LIFE])).broken == ()
    assert "2 jobs are paid" in " ".join(count.counted(replace(GOOD, exchanges=[*prepares, *LIFE])).unexpected)


def test_asked_twice_and_done_once_is_duplicated_and_harmless():
    again = replace(GOOD, exchanges=[*LIFE, job(6, status=400), deployment(7, status=200)])
    counts = count.counted(again)

    assert (counts.duplicated, counts.broken) == (2, ())


@pytest.mark.parametrize("asked", [(), (answer(4, status=424),), (answer(4, "d0"),), (answer(4, fault=plan.AFTER),), (answer(6),)])
def test_traffic_before_an_answer_to_the_smoke_test_is_ungated(asked: tuple[Exchange, ...]):
    ungated = replace(GOOD, exchanges=sorted([job(1), deployment(3), traffic(5, d1=100), *asked], key=lambda one: one.at))

    assert "smoke test" in " ".join(count.counted(ungated).unexpected)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (traffic(6, endpoint="other-1"), "no upload's service"),
        (deployment(6, "d9", tuning="t9"), "no upload of its service"),
        (deployment(6, "d2"), "2 deployments"),
        (deployment(9), "made again"),
    ],
)
def test_an_effect_that_nobody_wanted_is_unexpected(more: Exchange, said: str):
    assert said in " ".join(count.counted(replace(GOOD, exchanges=[*LIFE, more])).unexpected)


def test_a_model_is_registered_once_for_a_training():
    models = [put(2, f"/models/m/versions/{n}", {"properties": {"tags": {"tuneloop-training": "a"}}}) for n in (1, 1, 2)]

    assert count.counted(replace(GOOD, exchanges=[*LIFE, *models[:2]])).unexpected == ()
    assert "2 models" in " ".join(count.counted(replace(GOOD, exchanges=[*LIFE, *models])).unexpected)


def test_traffic_that_goes_back_to_an_earlier_upload_is_unexpected_unless_the_later_one_was_given_up():
    later, offered = replace(UPLOAD, tuning="t2", at=1.0), replace(OFFERED, order=(2, "t2"))
    moves = (deployment(6, "d2", tuning="t2"), answer(6, "d2"), traffic(6, d2=100), traffic(7, d1=100))
    back = replace(GOOD, uploads=[UPLOAD, later], ends={"t1": OFFERED, "t2": offered}, exchanges=[*LIFE, *moves])

    assert "which is older" in " ".join(count.counted(back).unexpected)
    assert count.counted(replace(back, exchanges=back.exchanges[:-1])).broken == ()
    assert count.counted(replace(back, ends={"t1": OFFERED, "t2": replace(offered, failure="It is bad.")})).broken == ()


def test_what_was_refused_has_no_effect():
    refused = [traffic(6, endpoint="other-1"), deployment(6, "d2"), deployment(9), job(6, "ft-9-a1", uri="unknown")]

    assert count.counted(replace(GOOD, exchanges=[*LIFE, *(replace(one, status=409) for one in refused)])).broken == ()


@pytest.mark.parametrize(
    "left",
    [{"endpoints": {ENDPOINT: ["d1"]}}, {"jobs": {"ft-1-a1": "Running"}}, {"active": ["service/1"]}],
    ids=lambda left: next(iter(left)),
)
def test_what_is_still_there_or_at_work_at_the_end_is_left(left: dict[str, Any]):
    assert len(count.counted(replace(GOOD, **left)).left) == 1


def test_an_exception_that_nobody_foresaw_is_unexpected():
    line = "ImportError: cannot import name 'Code'"

    assert count.counted(replace(GOOD, unforeseen=[line, line])).broken == (f"unexpected: the app did not foresee {line}",)


def test_what_people_were_told_and_no_record_says_was_written_over():
    told = count.Told(key="tuning/t1", what="offered", text="It is a candidate.  ")
    opened, offered = ("opened", "One upload."), ("offered", "It is a candidate.")

    assert count.counted(replace(GOOD, told=[told], written={"tuning/t1": [opened, offered]})).broken == ()
    assert "written over" in " ".join(count.counted(replace(GOOD, told=[told], written={"tuning/t1": [opened]})).unexpected)
    assert count.counted(replace(GOOD, told=[told], written={"tuning/t9": []})).broken == ()  # of another loop


def test_the_same_seed_is_the_same_plan_and_no_plan_outlasts_its_storm():
    plans = [plan.drawn(seed) for seed in range(200)]

    assert plans[7] == plan.drawn(7)
    assert all(1 <= len(one.uploads) <= plan.UPLOADS_MAX and all(blow.at < plan.STORM_S for blow in one.blows) for one in plans)
    assert {blow.kind for one in plans for blow in one.blows} == {"kill host", "kill worker", "cut", "stall"}
    assert any(len({upload.service for upload in one.uploads}) == 2 for one in plans)


@pytest.mark.parametrize("bug", ["", *bugs.BUGS])
def test_every_bug_can_be_planted_in_a_copy_of_the_app_of_today(tmp_path: Path, bug: str):
    app = cloud.copied(tmp_path / "app", bug)

    assert (app / "function_app.py").exists()
    for file in app.rglob("*.py"):
        compile(file.read_text(encoding="utf-8"), file.name, "exec")


def test_a_bug_whose_text_is_gone_is_refused(tmp_path: Path):
    (tmp_path / "a.py").write_text("x = 1\n")

    with pytest.raises(LookupError, match="Write it for the code of today"):
        bugs.replace_once(tmp_path / "a.py", "y = 1\n", "y = 2\n")
