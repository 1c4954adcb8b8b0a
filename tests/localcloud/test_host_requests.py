"""What the host answers over HTTP: webhooks, admin, routes and keys. The worker here is a table of what its functions do."""

from __future__ import annotations

import http.client
import itertools
import json
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from localcloud import web
from localcloud.functions import keys, server, settings, worker
from localcloud.functions.host import Host
from localcloud.functions.worker import Attempt, Function, Outcome, Value

pytestmark = pytest.mark.light
EVENT_GRID = "/runtime/webhooks/EventGrid?functionName=told"
EVENT = {"id": "1", "data": {}}
HTTP_OUT = {"type": "http", "direction": "OUT", "name": "$return"}


def function(name: str, kind: str, **trigger: Any) -> Function:
    return Function(name=name, trigger={"type": kind, "name": "it", **trigger}, outputs=[HTTP_OUT] if kind == "httpTrigger" else [])


FUNCTIONS = [
    function("told", "eventGridTrigger"),
    function("muted", "eventGridTrigger"),
    function("open", "httpTrigger", authLevel="ANONYMOUS"),
    function("guarded", "httpTrigger", authLevel="FUNCTION"),
    function("unsaid", "httpTrigger"),
    function("locked", "httpTrigger", authLevel="ADMIN"),
    function("muted_too", "httpTrigger", authLevel="ANONYMOUS"),
    function("post_only", "httpTrigger", authLevel="ANONYMOUS", methods=["POST"], route="post/{id:int}"),
    function("b_recent", "httpTrigger", authLevel="ANONYMOUS", route="items/recent"),
    function("a_one", "httpTrigger", authLevel="ANONYMOUS", route="items/{id}"),
    function("tick", "timerTrigger", schedule="0 0 0 1 1 *"),
]
ENVIRONMENT = {"AzureWebJobs.muted.Disabled": "true", "AzureWebJobs.muted_too.Disabled": "1"}


class Table:
    """A worker whose functions answer with their name; an event says itself what shall come of it."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, str]] = []
        self.together = threading.Barrier(3, timeout=10)

    def index(self) -> Sequence[Function]:
        return FUNCTIONS

    def invoke(self, name: str, data: Value, metadata: Mapping[str, Value], attempt: Attempt) -> Outcome:
        self.ran.append((name, data.kind))
        event = json.loads(data.value) if data.kind == "json" else {}
        if event.get("data") == "together":
            self.together.wait()
        if event.get("data") == "fail":
            return Outcome(error="ValueError: asked to fail")
        return Outcome(outputs={"$return": Value("string", name)} if data.kind == "http" else {})

    def about(self) -> Mapping[str, Any]:
        return {"workerPid": 1}

    def stop(self) -> None: ...


class Asker:
    """A host that listens, and somebody who asks it."""

    def __init__(self, host: Host, table: Table, port: int) -> None:
        self.host, self.table, self.port = host, table, port

    def ask(self, path: str, method: str = "GET", body: object = None, **headers: str) -> tuple[int, Any]:
        status, _, text = self.whole(path, method, body, **headers)
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def whole(self, path: str, method: str = "GET", body: object = None, **headers: str) -> tuple[int, Mapping[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, content, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, dict(answer.getheaders()), text

    def notify(self, body: object, path: str = EVENT_GRID) -> tuple[int, Any]:
        return self.ask(path, "POST", body, aeg_event_type="Notification")


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Callable[..., Asker]]:
    """listen(keys=True): a host on a port of its own; its keys are key-1, key-2 and so on."""
    servers: list[web.Server] = []

    def start(*, keys: bool = False) -> Asker:
        numbers, table = itertools.count(1), Table()
        draw = (lambda _: f"key-{next(numbers)}") if keys else None
        host = Host(table, settings.HostOptions(), data=tmp_path, lease_s=1, draw_key=draw)
        host.start(ENVIRONMENT)
        servers.append(server.serve(host, 0))
        servers[-1].start()
        return Asker(host, table, servers[-1].port)

    yield start
    for one in servers:
        one.stop(within_s=0)


# ------------------------------------------------------------------------------------------------------- the Event Grid webhook


@pytest.mark.parametrize(
    ("kind", "body", "answer"),
    [
        ("SubscriptionValidation", [{"data": {"validationCode": "abc"}}], (200, {"validationResponse": "abc"})),
        ("subscriptionvalidation", [{"data": {"validationCode": "abc"}}], (200, {"validationResponse": "abc"})),
        ("SubscriptionValidation", {"data": json.dumps({"validationCode": "abc"})}, (200, {"validationResponse": "abc"})),
        ("SubscriptionValidation", [{"data": {}}], (400, "The validation event has no data.validationCode.")),
        ("SubscriptionValidation", [], (400, "The validation event has no data.validationCode.")),
        ("Notification", [EVENT, EVENT], (202, "")),
        ("Notification", {"specversion": "1.0", "id": "1"}, (202, "")),
        ("Notification", [], (202, "")),
        ("Notification", [EVENT, {**EVENT, "data": "fail"}], (500, "ValueError: asked to fail")),
        ("Notification", "text", (400, "The body is neither an event nor an array of events.")),
        ("Notification", [1], (400, "The body is neither an event nor an array of events.")),
        ("Notification", b"{", (400, "The body is not JSON.")),
        ("Notification", b"\xff", (400, "The body is not JSON.")),
        ("Unsubscribe", [], (202, "")),
    ],
)
def test_the_webhook_answers_by_header_and_body(listen: Callable[..., Asker], kind: str, body: object, answer: tuple[int, Any]) -> None:
    assert listen().ask(EVENT_GRID, "POST", body, aeg_event_type=kind) == answer


@pytest.mark.parametrize("kind", ["", "SubscriptionDeletion", "Other"])
def test_any_other_header_is_answered_400(listen: Callable[..., Asker], kind: str) -> None:
    assert listen().ask(EVENT_GRID, "POST", [], aeg_event_type=kind)[0] == 400


@pytest.mark.parametrize("name", ["nobody", "TOLD", "open", "", "muted"])
def test_a_function_that_does_not_listen_is_answered_404_with_its_name(listen: Callable[..., Asker], name: str) -> None:
    answer = listen().notify([EVENT], f"/runtime/webhooks/EventGrid?functionName={name}")

    assert answer == (404, f"cannot find function: '{name}'")


def test_the_items_of_an_array_run_side_by_side(listen: Callable[..., Asker]) -> None:
    """Goal: parallel, and all awaited. Method: three items that each wait for the other two."""
    asker = listen()

    assert asker.notify([{**EVENT, "data": "together"}] * 3)[0] == 202
    assert len(asker.table.ran) == 3


def test_cloud_events_ask_first_whether_they_may_come(listen: Callable[..., Asker]) -> None:
    asker = listen()

    status, headers, _ = asker.whole(EVENT_GRID, "OPTIONS", WebHook_Request_Origin="eventgrid.azure.net")

    assert status == 200
    assert headers["WebHook-Allowed-Origin"] == "eventgrid.azure.net"
    assert headers["WebHook-Allowed-Rate"] == "*"
    assert asker.ask(EVENT_GRID, "OPTIONS")[0] == 400


# ------------------------------------------------------------------------------------------------------------------ routes


@pytest.mark.parametrize(
    ("method", "path", "answer"),
    [
        ("GET", "/api/open", (200, "open")),
        ("GET", "/API/Open/", (200, "open")),
        ("HEAD", "/api/open", (200, "")),
        ("OPTIONS", "/api/open", (200, "open")),
        ("DELETE", "/api/open", (200, "open")),
        ("GET", "/open", (404, "")),
        ("GET", "/api/told", (404, "")),
        ("GET", "/api/muted_too", (404, "")),
        ("POST", "/api/post/7", (200, "post_only")),
        ("GET", "/api/post/7", (404, "")),
        ("POST", "/api/post/seven", (404, "")),
    ],
)
def test_a_route_is_found_by_path_and_method(listen: Callable[..., Asker], method: str, path: str, answer: tuple[int, str]) -> None:
    assert listen().ask(path, method) == answer


def test_of_two_routes_the_function_that_is_first_in_the_alphabet_wins(listen: Callable[..., Asker]) -> None:
    """A trap of Azure's (Azure/azure-functions-host #9876): `items/recent` is never reached, as `items/{id}` has the earlier name."""
    assert listen().ask("/api/items/recent") == (200, "a_one")


def test_a_body_above_the_limit_is_answered_413(listen: Callable[..., Asker], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_BYTES_MAX", 10)
    asker = listen()

    assert asker.ask("/api/open", "POST", b"x" * 10)[0] == 200
    assert asker.ask("/api/open", "POST", b"x" * 11)[0] == 413


# ------------------------------------------------------------------------------------------------------------------- admin


def test_admin_shows_which_functions_are_disabled(listen: Callable[..., Asker]) -> None:
    _, shown = listen().ask("/admin/functions")

    assert {one["name"] for one in shown if one["isDisabled"]} == {"muted", "muted_too"}


def test_a_disabled_function_can_be_run_by_hand(listen: Callable[..., Asker]) -> None:
    asker = listen()

    assert asker.ask("/admin/functions/muted", "POST", {"input": json.dumps(EVENT)})[0] == 202
    for _ in range(200):
        if asker.table.ran:
            break
        threading.Event().wait(0.01)
    assert asker.table.ran == [("muted", "json")]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/admin/functions/TOLD", None, 200),
        ("GET", "/admin/functions/nobody", None, 404),
        ("POST", "/admin/functions/nobody", {"input": ""}, 404),
        ("POST", "/admin/functions/told", b"{", 400),
        ("POST", "/admin/functions/told", [], 400),
        ("GET", "/admin/host/nothing", None, 404),
        ("GET", "/admin/host/keys", None, 404),
        ("GET", "/admin/host/ping", None, 200),
    ],
)
def test_admin_answers(listen: Callable[..., Asker], method: str, path: str, body: object, status: int) -> None:
    assert listen().ask(path, method, body)[0] == status


# -------------------------------------------------------------------------------------------------------------------- keys

MASTER, HOST, SYSTEM, GUARDED = "key-1", "key-2", "key-3", "key-5"  # in the order in which the host draws them


@pytest.mark.parametrize("content", ['{"master": ', "[]", '{"foo": 1}', '{"master": "m", "functions": {"f": 1}}'])
def test_a_file_of_keys_that_cannot_be_read_is_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "host-keys.json").write_text(content)

    with pytest.raises(settings.WrongSettings, match=r"host-keys.json cannot be read .*; delete the file"):
        keys.kept(tmp_path / "host-keys.json", {}, lambda _: "fresh")


def test_the_keys_are_where_these_tests_think_they_are(listen: Callable[..., Asker]) -> None:
    kept = listen(keys=True).host.keys

    assert kept is not None
    assert (kept.master, kept.host["default"], kept.system) == (MASTER, HOST, {"eventgrid_extension": SYSTEM})
    assert kept.functions["guarded"]["default"] == GUARDED


@pytest.mark.parametrize(
    ("path", "opened_by"),
    [
        ("/api/open", {None, "wrong", MASTER, HOST, SYSTEM, GUARDED}),
        ("/api/guarded", {MASTER, HOST, GUARDED}),
        ("/api/unsaid", {MASTER, HOST}),
        ("/api/locked", {MASTER}),
        ("/admin/host/status", {MASTER}),
        ("/admin/functions", {MASTER}),
        ("/admin/host/keys", {MASTER}),
        ("/admin/host/ping", {None, "wrong", MASTER, HOST, SYSTEM, GUARDED}),
    ],
)
def test_each_level_is_opened_by_its_keys_and_by_no_other(listen: Callable[..., Asker], path: str, opened_by: set[str | None]) -> None:
    asker = listen(keys=True)
    for key in (None, "wrong", MASTER, HOST, SYSTEM, GUARDED):
        status = 200 if key in opened_by else 401

        assert (key, asker.ask(path if key is None else f"{path}?code={key}")[0]) == (key, status)
        assert (key, asker.ask(path, **({} if key is None else {"x_functions_key": key}))[0]) == (key, status)


def test_the_webhook_is_opened_by_the_key_of_its_extension(listen: Callable[..., Asker]) -> None:
    asker = listen(keys=True)

    statuses = {key: asker.notify([EVENT], f"{EVENT_GRID}&code={key}")[0] for key in ("wrong", MASTER, HOST, SYSTEM, GUARDED)}

    assert statuses == {"wrong": 401, MASTER: 202, HOST: 401, SYSTEM: 202, GUARDED: 401}
    assert asker.notify([EVENT])[0] == 401
    assert asker.notify([EVENT], f"/runtime/webhooks/EventGrid?functionName=nobody&code={SYSTEM}")[0] == 404
    assert asker.notify([EVENT], f"/runtime/webhooks/blobs?functionName=Host.Functions.x&code={SYSTEM}")[0] == 401


def test_the_header_goes_before_the_query(listen: Callable[..., Asker]) -> None:
    assert listen(keys=True).ask(f"/api/guarded?code={GUARDED}", x_functions_key="wrong")[0] == 401


def test_a_refusal_says_nothing_and_runs_nothing(listen: Callable[..., Asker]) -> None:
    asker = listen(keys=True)

    assert asker.ask("/api/guarded") == (401, "")
    assert asker.table.ran == []


def test_the_master_key_reads_the_other_keys(listen: Callable[..., Asker]) -> None:
    asker = listen(keys=True)

    def read(path: str) -> Any:
        status, shown = asker.ask(path, x_functions_key=MASTER)
        return (shown.get("keys") or shown["value"]) if status == 200 else status

    assert read("/admin/host/keys") == [{"name": "default", "value": HOST}]
    assert read("/admin/host/functionkeys/default") == HOST
    assert read("/admin/host/systemkeys") == [{"name": "eventgrid_extension", "value": SYSTEM}]
    assert read("/admin/host/systemkeys/eventgrid_extension") == SYSTEM
    assert read("/admin/host/systemkeys/_master") == MASTER
    assert read("/admin/host/systemkeys/blobs_extension") == 404
    assert read("/admin/functions/guarded/keys/default") == GUARDED
    assert asker.ask("/admin/host/keys/mine", "PUT", {}, x_functions_key=MASTER)[0] == 501


def test_the_address_of_a_key_does_not_hold_the_key_that_asked(listen: Callable[..., Asker]) -> None:
    _, shown = listen(keys=True).ask(f"/admin/host/keys?code={MASTER}")

    assert MASTER not in json.dumps(shown)


def test_keys_outlive_the_host_in_a_file_for_its_owner_only(listen: Callable[..., Asker], tmp_path: Path) -> None:
    first = listen(keys=True).host.keys
    file = tmp_path / "host-keys.json"

    assert listen(keys=True).host.keys == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_app_without_functions_keeps_its_keys(listen: Callable[..., Asker], tmp_path: Path) -> None:
    """Goal: Event Grid meets 404, not 401, when a deployment broke the app. Method: the same data folder, a worker that cannot index."""
    listen(keys=True)

    class Broken(Table):
        def index(self) -> Sequence[Function]:
            raise worker.IndexingFailed("broken")

    host = Host(Broken(), settings.HostOptions(), data=tmp_path, lease_s=1, draw_key=lambda _: "new")
    host.start({})

    assert host.keys is not None
    assert (host.error, host.keys.system) == ("broken", {"eventgrid_extension": SYSTEM})
