"""
What the emulator said before its end it says after its next start, and what was under way goes on.

Method of the long test: one whole life is led over a real store; after every change a second emulator opens a copy of the file, and
every address is asked on both sides. Nothing is started there, so each look costs milliseconds.
"""

from __future__ import annotations

import argparse
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from localcloud.azureml import command
from localcloud.azureml.cloud import Cloud, Options
from localcloud.azureml.store import FILE, SqliteStore, WrongStore
from localcloud.azureml.wire import Request
from localcloud.chance import Chance
from localcloud.clocks import MANUAL_START, ManualClock

ENDPOINT, DEPLOYMENT = "onlineEndpoints/bot-1", "onlineEndpoints/bot-1/deployments/d1-a"
STEPS_MAX = 20_000  # of one life; a life that needs more hangs
LOOKS_SECONDS_MAX = 5.0


# ----------------------------------------------------------------------------------------------------------------- what is said


def views(cloud: Cloud) -> dict[str, Any]:
    """Return the answer of every address of the workspace by address, bodies and statuses."""
    here = cloud.site.workspace_id
    jobs, endpoints = [*cloud.jobs.all.all], [*cloud.endpoints.all.all]
    asks = ["jobs?listViewType=All", "models", "models/bot", "models/bot/versions?listViewType=All", "onlineEndpoints", "computes"]
    asks += [*[f"jobs/{name}" for name in jobs], "models/bot/versions/v1", "datastores", ENDPOINT, f"{ENDPOINT}/deployments", DEPLOYMENT]
    span = f"timespan={MANUAL_START:%Y-%m-%dT%H:%M:%SZ}/{MANUAL_START + timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}&interval=PT1M"
    found: dict[str, Any] = {path: _said(cloud, "GET", f"{here}/{path}") for path in asks}
    for path, name in ((ENDPOINT, "RequestsPerMinute"), (DEPLOYMENT, "DeploymentCapacity")):
        address = f"{here}/{path}/providers/microsoft.insights/metrics?{span}&metricnames={name}&aggregation=Total"
        found[address] = _said(cloud, "GET", address, version="2023-10-01")
    for operation in cloud.operations.all.values():
        address = cloud.operations.status_address(operation.id).removeprefix(cloud.site.base)
        found[address] = _said(cloud, "GET", address, version=None)
    for name in jobs:
        for path in (f"/history/v1.0{here}/runs/{name}", f"/history/v1.0{here}/runs/{name}/children"):
            found[path] = _said(cloud, "GET", path, version=None)
        path = f"/mlflow/v2.0{here}/api/2.0/mlflow/runs/get?run_id={name}"
        found[path] = _said(cloud, "GET", path, version=None)
    for name in endpoints:
        found[f"keys of {name}"] = _said(cloud, "POST", f"{here}/onlineEndpoints/{name}/listKeys")
    state = json.loads(_said(cloud, "GET", "/_localcloud/state", version=None)[1])
    found["state"] = {name: value for name, value in state.items() if not name.startswith("requests")}
    return found


def _said(cloud: Cloud, method: str, address: str, *, version: str | None = "2024-04-01") -> tuple[int, bytes]:
    path, _, query = address.partition("?")
    asked = dict(part.split("=", 1) for part in query.split("&") if part)
    token = cloud.tokens.issue("https://management.azure.com")[0]
    request = Request(
        method=method,
        path=path,
        query=asked | ({"api-version": version} if version else {}),
        headers={"authorization": f"Bearer {token}"},
    )
    answered = cloud.handle(request)
    assert answered.status < 500, answered.body
    return answered.status, answered.body


# ------------------------------------------------------------------------------------------------------------------ a whole life


def a_life(world: Any, kit: Any) -> Iterator[str]:
    """Lead everything from the first job to the last deletion; say where we are after each request and each advance."""

    def until(happened: Callable[[], bool]) -> Iterator[str]:
        for _ in range(STEPS_MAX):
            if happened():
                return
            world.cloud.site.clock.move(timedelta(seconds=1))
            world.cloud.advance()
            yield "advance"
        raise AssertionError("it did not happen")

    def asked(method: str, path: str, body: Any = None) -> str:
        assert world.ask(method, path, body).status < 300
        return f"{method} {path}"

    def state(path: str) -> str:
        answered = world.ask("GET", path)
        return str(json.loads(answered.body)["properties"]["provisioningState"]) if answered.status == 200 else "gone"

    world.submit()
    yield "submit"
    yield from until(lambda: world.status("ft-a1") == "Completed")
    yield asked("PUT", "models/bot/versions/v1", kit.model("ft-a1"))
    yield asked("PUT", ENDPOINT, kit.endpoint(authMode="Key"))
    yield from until(lambda: state(ENDPOINT) == "Succeeded")
    yield asked("PUT", DEPLOYMENT, kit.deployment(f"{world.cloud.site.workspace_id}/models/bot/versions/v1"))
    yield from until(lambda: state(DEPLOYMENT) == "Succeeded")
    yield asked("PUT", ENDPOINT, kit.endpoint(authMode="Key", traffic={"d1-a": 100}))
    yield from until(lambda: state(ENDPOINT) == "Succeeded")
    assert world.score(authorization=f"Bearer {world.cloud.endpoints.all['bot-1'].keys[0]}").status == 200
    yield "score"
    yield asked("PATCH", DEPLOYMENT, {"tags": {"a": "b"}, "sku": {"name": "Default", "capacity": 2}})
    yield from until(lambda: state(DEPLOYMENT) == "Succeeded")
    yield asked("POST", f"{ENDPOINT}/regenerateKeys", {"keyType": "Primary"})
    world.submit("ft-a2", wish="wait")
    yield "submit"
    yield from until(lambda: world.status("ft-a2") == "Running")
    yield asked("POST", "jobs/ft-a2/cancel")
    yield from until(lambda: world.status("ft-a2") == "Canceled")
    yield asked("DELETE", "computes/gpu-cluster?underlyingResourceAction=Delete")
    yield from until(lambda: world.ask("GET", "computes/gpu-cluster").status == 404)
    yield asked("DELETE", ENDPOINT)
    yield from until(lambda: state(ENDPOINT) == "gone")


def agree(one: Cloud, other: Cloud) -> bool:
    """Say whether both show the same; a trainer that logs between two looks makes a second look necessary."""
    last = time.monotonic() + LOOKS_SECONDS_MAX
    while views(one) != views(other):
        if time.monotonic() > last:
            return False
        time.sleep(0.02)
    return True


def copied(store: Path, target: Path) -> Path:
    """Copy the store as a kill at this moment would leave it: what is committed, and nothing else."""
    target.unlink(missing_ok=True)
    with sqlite3.connect(store) as source, sqlite3.connect(target) as copy:
        source.backup(copy)
    source.close()
    copy.close()
    return target


def test_whenever_it_is_killed_the_next_start_says_the_same(make_world: Callable[..., Any], kit: Any, tmp_path: Path) -> None:
    store = tmp_path / FILE
    world = make_world(folder=tmp_path / "a", site={"clock": ManualClock()}, store=SqliteStore(store), chance=Chance(3))
    compared, before = 0, b""
    for step in a_life(world, kit):
        again = copied(store, tmp_path / "copy.sqlite")
        content = again.read_bytes()
        if content == before:
            continue
        before = content
        twin = Cloud(world.cloud.site, world.storage, "k" * 32, Options(store=SqliteStore(again)))
        assert agree(twin, world.cloud), (step, views(twin), views(world.cloud))
        twin.close()
        compared += 1

    assert compared > 30
    assert {event["eventType"].rsplit(".", 1)[-1] for event in world.events} >= {"RunCompleted", "ModelRegistered", "ResourceDeleteSuccess"}


# ------------------------------------------------------------------------------------------------------------------ it goes on


@pytest.fixture
def restart(make_world: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Returns a world on one store and folder; the second one takes up where the first was ended."""
    made: list[Any] = []

    def begin(**options: Any) -> Any:
        if made:
            made[-1].cloud.close()  # kills the children, as the kernel does after kill -9
        options.setdefault("storage", made[-1].storage if made else None)
        made.append(make_world(folder=tmp_path / "data", store=SqliteStore(tmp_path / FILE), **options))
        return made[-1]

    return begin


@pytest.mark.parametrize("status", ["NotStarted", "Starting", "Preparing", "Queued", "Running", "Finalizing"])
def test_a_job_goes_on_from_wherever_it_was(restart: Callable[..., Any], status: str) -> None:
    world = restart()
    world.submit()
    world.until(lambda: world.status("ft-a1") == status)
    world = restart()

    assert world.status("ft-a1") == status
    world.until(lambda: world.status("ft-a1") in {"Completed", "Failed"})
    assert world.status("ft-a1") == "Completed"


def test_a_job_that_was_to_be_canceled_is_canceled_and_its_operation_ends(restart: Callable[..., Any]) -> None:
    world = restart()
    world.submit(wish="wait")
    world.until(lambda: world.status("ft-a1") == "Running")
    begun = world.ask("POST", "jobs/ft-a1/cancel")
    world = restart()
    world.until(lambda: world.status("ft-a1") == "Canceled")

    assert world.ask("GET", begun.headers["Location"].removeprefix("https://management.azure.com")).status == 204


@pytest.mark.parametrize("moment", ["Creating", "Updating", "Succeeded"])
def test_a_deployment_serves_again_and_keeps_its_share(restart: Callable[..., Any], kit: Any, moment: str) -> None:
    world = restart()
    model, _ = world.registered(), world.endpoint(authMode="Key")
    begun = world.ask("PUT", DEPLOYMENT, kit.deployment(model))
    if moment != "Creating":
        world.until(lambda: world.get(DEPLOYMENT)["properties"]["provisioningState"] == "Succeeded")
        world.ask("PUT", ENDPOINT, kit.endpoint(authMode="Key", traffic={"d1-a": 100}))
        world.until(lambda: world.get(ENDPOINT)["properties"]["provisioningState"] == "Succeeded")
    if moment == "Updating":
        begun = world.ask("PATCH", DEPLOYMENT, {"tags": {"a": "b"}})
    key = json.loads(world.ask("POST", f"{ENDPOINT}/listKeys").body)["primaryKey"]
    world = restart()
    named = {"azureml_model_deployment": "d1-a"} if moment == "Creating" else {}
    world.until(lambda: world.score(authorization=f"Bearer {key}", **named).status == 200)

    assert world.get(DEPLOYMENT)["properties"]["provisioningState"] == "Succeeded"
    assert world.get(begun.headers["Azure-AsyncOperation"].removeprefix("https://management.azure.com"))["status"] == "Succeeded"


def test_what_is_being_deleted_is_deleted(restart: Callable[..., Any]) -> None:
    world = restart(dials={"endpoints": "by-hand", "deployments": "by-hand"})
    world.ask("POST", "/_localcloud/state", {"dials": {"endpoints": "at-once", "deployments": "at-once"}}, version=None)
    model, _ = world.registered(), world.endpoint()
    world.deployed("d1-a", model)
    world.ask("POST", "/_localcloud/state", {"dials": {"endpoints": "by-hand", "deployments": "by-hand"}}, version=None)
    world.ask("DELETE", ENDPOINT)
    world = restart()
    assert [world.get(path)["properties"]["provisioningState"] for path in (ENDPOINT, DEPLOYMENT)] == ["Deleting", "Deleting"]
    world.ask("POST", "/_localcloud/state", {"dials": {"endpoints": "at-once", "deployments": "at-once"}}, version=None)

    world.until(lambda: world.ask("GET", ENDPOINT).status == 404)


@pytest.mark.parametrize("hand", ["dial", "move"])
def test_what_a_hand_allowed_before_the_kill_happens_after_it(restart: Callable[..., Any], kit: Any, hand: str) -> None:
    kinds = ["jobs", "endpoints", "deployments", "computes"]
    by_hand = dict.fromkeys(kinds, "by-hand")
    world = restart()
    model, _ = world.registered(), world.endpoint("bot-0")
    world.ask("POST", "/_localcloud/state", {"dials": by_hand}, version=None)
    world.submit("ft-a2", wish="wait")
    assert world.ask("PUT", ENDPOINT, kit.endpoint()).status == 201
    assert world.ask("PUT", "onlineEndpoints/bot-0/deployments/d1-a", kit.deployment(model)).status == 201
    assert world.ask("DELETE", "computes/gpu-cluster?underlyingResourceAction=Delete").status == 202
    names = dict(zip(kinds, ["ft-a2", "bot-1", "bot-0/d1-a", "gpu-cluster"], strict=True))
    turn = {"dials": dict.fromkeys(kinds, "at-once")} if hand == "dial" else {"move": {kind: [name] for kind, name in names.items()}}
    assert world.ask("POST", "/_localcloud/state", turn, version=None).status == 200
    world = restart(dials=by_hand)
    world.cloud.settle(20)

    assert world.status("ft-a2") == "Starting"
    assert world.get(ENDPOINT)["properties"]["provisioningState"] == "Succeeded"
    assert world.get("onlineEndpoints/bot-0/deployments/d1-a")["properties"]["provisioningState"] == "Succeeded"
    assert world.get("computes")["value"] == []


def test_an_event_is_never_lost_between_its_change_and_its_delivery(restart: Callable[..., Any]) -> None:
    """Method: the first start delivers every second event and then fails, as a kill right after the delivery would have it."""
    first: list[dict[str, Any]] = []

    def publish(_topic: str, event: dict[str, Any]) -> None:
        first.append(event)
        if len(first) % 2 == 0:
            raise ConnectionError("killed here")

    world = restart(publish=publish)
    world.trained()
    waiting = {event["id"] for event in first if sum(other["id"] == event["id"] for other in first) > 1}
    world = restart()
    world.cloud.advance()
    told = {event["id"]: event["data"].get("runStatus") for event in [*first, *world.events] if event["subject"].endswith("/ft-a1")}

    assert waiting  # some were delivered twice
    assert sorted(filter(None, told.values())) == ["Completed", "Finalizing", "NotStarted", "Preparing", "Queued", "Running", "Starting"]


def test_events_that_cannot_be_published_spoil_no_answer_and_come_later(make_world: Callable[..., Any], kit: Any) -> None:
    away = [True]
    got: list[str] = []

    def publish(_topic: str, event: dict[str, Any]) -> None:
        if away[0]:
            raise ConnectionError("the grid is away")
        got.append(event["eventType"])

    world = make_world(publish=publish)
    assert world.ask("PUT", "jobs/ft-a1", kit.job()).status == 201
    away[0] = False
    world.ask("GET", "jobs")

    assert got == ["Microsoft.MachineLearningServices.RunStatusChanged"]


def test_a_seed_draws_other_ids_after_a_restart(restart: Callable[..., Any], kit: Any) -> None:
    seen = []
    for _ in range(3):
        world = restart(chance=Chance(7))
        seen.append(world.ask("PUT", ENDPOINT, kit.endpoint()).headers["Azure-AsyncOperation"])
        world.cloud.advance()

    assert len(set(seen)) == 3


def test_a_manual_clock_goes_on_where_it_stood(restart: Callable[..., Any]) -> None:
    world = restart(site={"clock": ManualClock()})
    moved = json.loads(world.ask("POST", "/_localcloud/clock", {"advance_seconds": 90}, version=None).body)["now"]
    world = restart(site={"clock": ManualClock()})

    assert json.loads(world.ask("GET", "/_localcloud/clock", version=None).body)["now"] == moved


def test_a_clock_that_was_set_back_stops_nothing(restart: Callable[..., Any], kit: Any) -> None:
    world = restart()
    world.offset = timedelta(hours=3)
    world.ask("PUT", ENDPOINT, kit.endpoint())
    world = restart()

    world.until(lambda: world.get(ENDPOINT)["properties"]["provisioningState"] == "Succeeded")


def test_a_reset_is_kept_as_well_and_goes_back_to_the_dials_of_the_start(restart: Callable[..., Any], kit: Any) -> None:
    world = restart(dials={"jobs": 60.0}, plan={"faults": [{"fault": "throttled", "skip": 99}]})
    world.submit()
    world.ask("POST", "/_localcloud/state", {"dials": {"jobs": "by-hand"}, "switches": {"reply_shape": "list"}}, version=None)
    world.ask("DELETE", "computes/gpu-cluster?underlyingResourceAction=Delete")
    world.cloud.advance()
    assert world.ask("POST", "/_localcloud/reset", {}, version=None).status == 200
    state = json.loads(world.ask("GET", "/_localcloud/state", version=None).body)

    assert (state["jobs"], state["dials"]["jobs"], state["switches"]["reply_shape"]) == ({}, 60.0, "records")
    assert [one["name"] for one in world.get("computes")["value"]] == ["gpu-cluster"]
    assert [fault["fault"] for fault in json.loads(world.ask("GET", "/_localcloud/faults", version=None).body)["faults"]] == ["throttled"]
    world = restart()
    assert world.get("jobs")["value"] == []
    assert not list((world.cloud.site.folder / "jobs").glob("*"))


# --------------------------------------------------------------------------------------------------------------------- the file


def test_looking_writes_nothing(restart: Callable[..., Any], tmp_path: Path) -> None:
    world = restart()
    world.registered()
    reader = sqlite3.connect(tmp_path / FILE)
    before = reader.execute("PRAGMA data_version").fetchone()
    views(world.cloud)
    for _ in range(5):
        world.cloud.advance()

    assert reader.execute("PRAGMA data_version").fetchone() == before
    world.ask("PUT", "jobs/ft-a1", {"properties": {}})
    assert reader.execute("PRAGMA data_version").fetchone() == before  # refused
    world.endpoint()
    assert reader.execute("PRAGMA data_version").fetchone() != before
    reader.close()


def test_a_file_of_an_older_version_is_read(restart: Callable[..., Any], kit: Any, tmp_path: Path) -> None:
    """Method: every field that has a default is taken out of every record, which is how a version before that field wrote it."""
    world = restart()
    model, _ = world.registered(), world.endpoint()
    world.deployed("d1-a", model)
    world.cloud.close()
    kinds = {
        one._kind: one for one in (world.cloud.jobs.all, world.cloud.endpoints.all, world.cloud.deployments.all, world.cloud.operations.all)
    }
    with sqlite3.connect(tmp_path / FILE) as file:
        for kind, shelf in kinds.items():
            (record, *_) = shelf.values()
            optional = type(record).__struct_fields__[-len(type(record).__struct_defaults__) :]
            for key, body in file.execute("SELECT key, body FROM records WHERE kind = ?", (kind,)).fetchall():
                kept = {name: value for name, value in json.loads(body).items() if name not in optional}
                file.execute("UPDATE records SET body = ? WHERE kind = ? AND key = ?", (json.dumps(kept).encode(), kind, key))
        file.execute("PRAGMA user_version=0")
    file.close()
    world = restart()

    assert world.status("ft-a1") == "NotStarted"
    assert world.get(ENDPOINT)["properties"]["provisioningState"] == "Creating"


def no_database(path: Path) -> None:
    path.write_bytes(b"this is not a database, and long enough to look like one" * 100)


def cut_off(path: Path) -> None:
    SqliteStore(path).close()
    path.write_bytes(path.read_bytes()[:5000])


def somebody_elses(path: Path) -> None:
    with sqlite3.connect(path) as file:
        file.execute("CREATE TABLE photos (id INTEGER)")
    file.close()


def newer(path: Path) -> None:
    SqliteStore(path).close()
    with sqlite3.connect(path) as file:
        file.execute("PRAGMA user_version=99")
    file.close()


def unreadable_record(path: Path) -> None:
    store = SqliteStore(path)
    store.save("job", "ft-1", b'{"name": 7}')
    store.close()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_database, "cannot be read as SQLite"),
        (cut_off, "cannot be read as SQLite"),
        (somebody_elses, "is a database of somebody else (tables: photos)"),
        (newer, "newer version"),
        (unreadable_record, "job 'ft-1' cannot be read"),
    ],
    ids=lambda given: getattr(given, "__name__", ""),
)
def test_a_file_that_is_no_store_is_a_sentence_and_left_as_it_is(
    world: Any, tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    path = tmp_path / FILE
    spoil(path)
    before = path.read_bytes()

    with pytest.raises(WrongStore) as refused, closing(SqliteStore(path)) as store:
        Cloud(world.cloud.site, world.storage, "k" * 32, Options(store=store))
    assert said in str(refused.value)
    assert "move" in str(refused.value)
    if spoil is not unreadable_record:
        assert path.read_bytes() == before


# ------------------------------------------------------------------------------------------------------------------ a full disk


FULL = "CREATE TRIGGER full BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'disk is full'); END"


def at_the_disk(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(statement)


def test_what_a_full_disk_refused_is_durable_once_there_is_room(world: Any, tmp_path: Path) -> None:
    """Method: a trigger in the file refuses every write, as a full disk does; then it goes, and a twin reads a copy of the file."""
    path = tmp_path / FILE
    cloud = Cloud(world.cloud.site, world.storage, "k" * 32, Options(store=SqliteStore(path)))
    put = Request(
        method="PUT",
        path=f"{cloud.site.workspace_id}/{ENDPOINT}",
        query={"api-version": "2024-04-01"},
        headers={"authorization": "Bearer " + cloud.tokens.issue("https://management.azure.com")[0]},
        body=json.dumps({"location": "eastus2", "properties": {"authMode": "Key"}}).encode(),
    )
    at_the_disk(path, FULL)

    refused = cloud.handle(put)
    at_the_disk(path, "DROP TRIGGER full")
    cloud.advance()

    assert refused.status == 500
    assert "not durable yet" in json.loads(refused.body)["error"]["message"]
    assert "disk is full" in json.loads(refused.body)["error"]["message"]
    (tmp_path / "copy").mkdir()
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(tmp_path / "copy" / FILE)) as target:
        source.backup(target)
    twin = Cloud(world.cloud.site, world.storage, "k" * 32, Options(store=SqliteStore(tmp_path / "copy" / FILE)))
    assert twin.endpoints.find("bot-1").state == "Succeeded"
    cloud.close()
    twin.close()


def test_a_clock_that_cannot_write_says_so_once(
    world: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / FILE
    cloud = Cloud(world.cloud.site, world.storage, "k" * 32, Options(store=SqliteStore(path)))
    at_the_disk(path, FULL)
    cloud.ground.store.save("job", "x", b"{}")
    tried: list[bool] = []
    real = cloud.advance

    def counted() -> None:
        tried.append(True)
        real()

    monkeypatch.setattr(cloud, "advance", counted)
    cloud.start()
    while len(tried) < 4:
        time.sleep(0.01)
    cloud.close()

    said = [record.message for record in caplog.records if "cannot be written" in record.message]
    assert len([one for one in said if "next start" not in one]) == 1


# ------------------------------------------------------------------------------------------------------------------ the command


def started(*arguments: object) -> int:
    """Run the command up to where it would serve; return its exit code."""
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(["--port", "0", *map(str, arguments)]))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--faults", "{file}"], "The plan of faults in"),
        (["--faults", "nowhere.json"], "cannot be read (No such file or directory)"),
        (["--dial", "jobs=soon"], "The dial jobs is 'soon'"),
        (["--dial", "jobs"], "The dial jobs is ''"),
        (["--switch", "weather=rain"], "There is no switch weather"),
        (["--world", "mars"], "There is no world 'mars'"),
        (["--datastore", "x"], "--datastore x is not NAME=CONTAINER"),
        (["--traffic", "{folder}"], "The traffic cannot be written"),
        (["--nodes", "0"], "--nodes is 0; it is a whole number from 1 on"),
        (["--metric-grain", "0"], "--metric-grain is 0"),
        (["--page-size", "-1"], "--page-size is -1"),
        (["--pace", "nan"], "--pace is nan; it is a factor above 0"),
        (["--trainer", "'"], "no command line (No closing quotation)"),
    ],
)
def test_an_option_that_means_nothing_stops_the_start_with_one_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, arguments: list[str], said: str
) -> None:
    (tmp_path / "plan.json").write_text('{"faults": [{"fault": "gremlin"}]}')
    given = [one.format(file=tmp_path / "plan.json", folder=tmp_path) for one in arguments]

    assert started("--data", tmp_path / "data", *given) == command.WRONG_OPTION_EXIT
    (record,) = caplog.records
    assert (record.levelno, said in record.message, "\n" in record.message) == (logging.ERROR, True, False)
    assert not (tmp_path / "data" / "azureml" / FILE).exists()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("token.key", b"", "token.key is no key; delete it"),
        ("token.key", b"\xb1" * 64, "token.key is no key; delete it"),
        ("events/topic-keys.json", b"[1", "topic-keys.json holds no keys of topics; delete it"),
        ("events/topic-keys.json", b'{"tuneloop": 1}', "topic-keys.json holds no keys of topics; delete it"),
    ],
)
def test_a_file_of_keys_that_holds_none_stops_the_start_with_one_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, content: bytes, said: str
) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(content)

    assert started("--data", tmp_path, "--forget") == command.WRONG_OPTION_EXIT
    (record,) = caplog.records
    assert (said in record.message, "\n" in record.message) == (True, False)


@pytest.mark.parametrize("arguments", [["--data", "{file}/data"], ["--data", "{folder}/data", "--env", "{file}/env"]])
def test_a_place_that_cannot_be_written_stops_the_start_with_one_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, arguments: list[str]
) -> None:
    (tmp_path / "file").touch()
    given = [one.format(file=tmp_path / "file", folder=tmp_path) for one in arguments]

    assert started(*given) == command.WRONG_OPTION_EXIT
    (record,) = caplog.records
    assert "cannot be used (Not a directory); check --data, --env and --traffic." in record.message


def test_a_store_that_is_none_stops_the_start_with_one_sentence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "azureml").mkdir()
    no_database(tmp_path / "azureml" / FILE)

    assert started("--data", tmp_path) == command.WRONG_OPTION_EXIT
    (record,) = caplog.records
    assert "cannot be read as SQLite (file is not a database); move it away" in record.message


def test_two_emulators_on_one_data_folder_are_refused_and_the_env_file_of_the_first_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from localcloud import folders

    env = tmp_path / "env"
    env.write_text("of the first")
    with folders.hold(tmp_path / "data" / "azureml", "Azure ML"):
        assert started("--data", tmp_path / "data", "--env", env) == folders.FOLDER_BUSY_EXIT
    assert "is in use by process" in caplog.text
    assert env.read_text() == "of the first"
