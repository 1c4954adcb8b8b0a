"""
Whatever is asked in whatever order: the core and the HTTPS skin answer alike, a restart remembers all, and a refusal changes nothing.

Method: hypothesis draws a life of requests (right, wrong and odd ones), clock moves, dials and faults. One emulator is asked directly, its
twin through TLS; both stand on manual clocks and one seed. The trainer is a shell script that leaves a model at once and serves nothing,
and every clock move waits for it, so no answer depends on real time.
"""

from __future__ import annotations

import http.client
import json
import shutil
import sqlite3
import ssl
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localcloud import certificates, web
from localcloud.azureml import server
from localcloud.azureml.cloud import Cloud, Options
from localcloud.azureml.site import Site
from localcloud.azureml.store import SqliteStore
from localcloud.azureml.wire import Request, Response, request_of
from localcloud.chance import Chance
from localcloud.clocks import ManualClock
from localcloud.faults import Faults

BASE = "https://localhost:8443"  # that both believe in
NEVER_ALIKE = {"date", "server", "content-length", "connection"}  # a socket's own
WAIT_SECONDS = 30  # for the trainer; far beyond what it needs
WORKSPACE = Site(folder=Path()).workspace_id
ROWS = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
MODEL = "azureml://registries/azureml/models/Phi-4/versions/8"
TRAINER = """\
#!/bin/sh
[ "$1" = train ] || exit 1
out=$(sed -n 's/^ "out": "\\(.*\\)",$/\\1/p' "$2")
cp -r "$(dirname "$0")/model" "$out"
"""


class Rows:
    """Storage in which every blob is there."""

    def fetch(self, container: str, blob: str, target: Path) -> bool:
        target.write_bytes(ROWS)
        return True

    def names(self, container: str, prefix: str) -> list[str]:
        return [f"{prefix}a.jsonl"]

    def put(self, container: str, blob: str, source: Path) -> None:
        """Keep nothing."""


# --------------------------------------------------------------------------------------------------------------- what is asked

NAMES = st.sampled_from(["bot-1", "bot-2", "d1-a", "ft-1", "ft-2", "v1", "1", "gpu-cluster", "bot"])
ODD = st.text(st.sampled_from("aZ09-_. %/+?#&=;:@$,~'\"<>\\é\u017f\u212a\u2028😀"), min_size=1, max_size=6)
NAME = st.one_of(NAMES, NAMES, NAMES, ODD)
BELOW = st.one_of(
    st.builds("jobs/{}".format, NAME),
    st.builds("jobs/{}/cancel".format, NAME),
    st.builds("models/bot/versions/{}".format, NAME),
    st.builds("models/{}".format, NAME),
    st.builds("onlineEndpoints/{}".format, NAME),
    st.builds("onlineEndpoints/{}/{}".format, NAME, st.sampled_from(["listKeys", "regenerateKeys", "token", "deployments"])),
    st.builds("onlineEndpoints/{}/deployments/{}".format, NAME, NAME),
    st.builds("computes/{}".format, NAME),
    st.builds("{}/{}/versions/{}".format, st.sampled_from(["codes", "environments"]), NAME, NAME),
    st.sampled_from(["jobs", "models", "onlineEndpoints", "computes", "datastores", "JOBS", "jobs/", "//jobs", "jobs/../models"]),
)
PATHS = st.one_of(
    st.builds((WORKSPACE + "/{}").format, BELOW),
    st.builds((WORKSPACE + "/{}").format, BELOW),
    st.sampled_from(["/", "//", "/discovery", "/DISCOVERY", "/metadata/endpoints", "/_localcloud/state", "//_localcloud/state", "*"]),
    st.sampled_from(["/endpoints/bot-1/score", f"/history/v1.0{WORKSPACE}/runs/ft-1", f"/history/v1.0{WORKSPACE}/runs/ft-1/details"]),
    st.sampled_from([f"/mlflow/v2.0{WORKSPACE}/api/2.0/mlflow/runs/search", "/_localcloud/traffic", "/_localcloud/clock", "/msi/token"]),
    st.builds("/{}".format, ODD),
)
METHODS = st.sampled_from(["GET", "GET", "PUT", "PUT", "POST", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW", "get", "PROPFIND"])
VERSIONS = st.sampled_from([{"api-version": "2024-04-01"}] * 6 + [{}, {"api-version": "1999-01-01"}, {"API-Version": "2024-04-01"}])
QUERIES: st.SearchStrategy[dict[str, str]] = st.one_of(
    st.just({}),
    st.just({}),
    st.sampled_from([{"listViewType": "All"}, {"underlyingResourceAction": "Delete"}, {"resource": "https://ml.azure.com"}]),
    st.dictionaries(ODD, ODD, max_size=2),
)
HEADERS = st.sampled_from([{}] * 6 + [{"Authorization": ""}, {"Authorization": "Basic x"}, {"X-IDENTITY-HEADER": "local"}, {"X-Odd": "é"}])
BODIES = st.one_of(
    st.just(b""),
    st.sampled_from([b"{}", b"[]", b"nil", b'{"properties": 1}', b'{"a": NaN}', b"\xff\xfe", b'"\\ud800"', b"[" * 2000]),
    st.builds(lambda name: json.dumps({"tags": {name: name}}).encode(), ODD),
)


def put(path: str, body: Any) -> dict[str, Any]:
    return {"method": "PUT", "path": f"{WORKSPACE}/{path}", "query": {"api-version": "2024-04-01"}, "body": json.dumps(body).encode()}


def control(path: str, body: Any) -> dict[str, Any]:
    return {"method": "POST", "path": f"/_localcloud/{path}", "query": {}, "body": json.dumps(body).encode()}


def a_job(name: str) -> dict[str, Any]:
    files = {f"{one}_file_path": f"azureml://datastores/tuneloop_prepared/paths/{one}.jsonl" for one in ("train", "validation")}
    inputs: dict[str, Any] = {one: {"uri": uri, "job_input_type": "uri_file"} for one, uri in files.items()}
    inputs["mlflow_model_path"] = {"uri": MODEL, "job_input_type": "mlflow_model"}
    inputs["compute_finetune"] = {"value": "gpu-cluster", "job_input_type": "literal"}
    node = {
        "name": "node",
        "type": "pipeline",
        "_source": "REMOTE.REGISTRY",
        "componentId": "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82",
        "inputs": inputs,
        "outputs": {"mlflow_model_folder": {"value": "${{parent.outputs.trained_model}}", "type": "literal"}},
    }
    outputs = {"trained_model": {"mode": "ReadWriteMount", "jobOutputType": "mlflow_model"}}
    return put(f"jobs/{name}", {"properties": {"jobType": "Pipeline", "inputs": {}, "jobs": {"node": node}, "outputs": outputs}})


def a_command(name: str, line: str) -> dict[str, Any]:
    environment = "azureml://registries/azureml/environments/sklearn-1.5/versions/1"
    output = {"jobOutputType": "uri_folder", "mode": "ReadWriteMount"}
    asked = {"jobType": "Command", "command": line, "environmentId": environment, "computeId": "gpu-cluster", "outputs": {"out": output}}
    return put(f"jobs/{name}", {"properties": asked})


def an_endpoint(name: str, mode: str) -> dict[str, Any]:
    return put(f"onlineEndpoints/{name}", {"location": "eastus2", "properties": {"authMode": mode}})


def a_deployment(endpoint: str) -> dict[str, Any]:
    model = f"{WORKSPACE}/models/bot/versions/v1"
    properties = {"model": model, "endpointComputeType": "Managed", "instanceType": "Standard_NC24ads_A100_v4"}
    body = {"location": "eastus2", "sku": {"name": "Default", "capacity": 1}, "properties": properties}
    return put(f"onlineEndpoints/{endpoint}/deployments/d1-a", body)


def a_model(job: str) -> dict[str, Any]:
    uri = f"azureml://jobs/{job}/outputs/trained_model"
    return put("models/bot/versions/v1", {"properties": {"modelType": "mlflow_model", "modelUri": uri}})


JOBS, ENDPOINTS = st.sampled_from(["ft-1", "ft-2"]), st.sampled_from(["bot-1", "bot-2"])
RIGHT = st.one_of(
    st.builds(a_job, JOBS),
    st.builds(a_command, JOBS, st.sampled_from(["touch ${{outputs.out}}/x", "exit 3", "cat ${{inputs.none}}"])),
    st.builds(an_endpoint, ENDPOINTS, st.sampled_from(["Key", "AADToken"])),
    st.builds(a_deployment, ENDPOINTS),
    st.builds(a_model, JOBS),
)
MOVES = st.builds(lambda by: control("clock", {"advance_seconds": by, "wait_seconds": WAIT_SECONDS}), st.sampled_from([0, 1, 30, 7200]))
HANDS = st.one_of(
    st.builds(
        lambda kind, position: control("state", {"dials": {kind: position}}),
        st.sampled_from(["jobs", "endpoints", "deployments", "computes"]),
        st.sampled_from(["at-once", "by-hand", 20]),
    ),
    st.builds(lambda kind, name: control("state", {"move": {kind: [name]}}), st.sampled_from(["jobs", "endpoints"]), NAMES),
    st.just(control("state", {"move": {"deployments": ["bot-1/d1-a"]}})),
    st.builds(
        lambda kind, skip: control("faults", {"faults": [{"fault": kind, "skip": skip, "times": 1}]}),
        st.sampled_from(["throttled", "error_before", "error_after", "lost_reply", "connection_reset", "job_failed", "endpoint_failed"]),
        st.integers(0, 2),
    ),
    st.sampled_from([control("reset", {}), control("state", {"dials": {"moon": 1}}), control("clock", {"advance_seconds": -1})]),
)
WRONG = st.builds(
    lambda method, path, version, query, headers, body: {
        "method": method, "path": path, "query": {**version, **query}, "headers": headers, "body": body,
    },
    METHODS, PATHS, VERSIONS, QUERIES, HEADERS, BODIES,
)  # fmt: skip
FORWARD = control("clock", {"advance_seconds": 60, "wait_seconds": WAIT_SECONDS})
BY_HAND = control("state", {"dials": dict.fromkeys(("jobs", "endpoints", "deployments", "computes"), "by-hand")})
AN_ENDPOINT = [an_endpoint("bot-1", "Key"), FORWARD]
A_DEPLOYMENT = [a_job("ft-1"), FORWARD, a_model("ft-1"), *AN_ENDPOINT, BY_HAND, a_deployment("bot-1")]
BEGINNINGS = st.sampled_from([[], [], AN_ENDPOINT, A_DEPLOYMENT])  # a draw alone seldom gets so far
LIVES = st.builds(
    lambda beginning, rest: [*beginning, *rest],
    BEGINNINGS,
    st.lists(st.one_of(WRONG, WRONG, WRONG, RIGHT, RIGHT, MOVES, HANDS, HANDS), min_size=1, max_size=12),
)


# ------------------------------------------------------------------------------------------------------------------- both sides


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("trainer")
    model = folder / "model" / "data" / "model"
    model.mkdir(parents=True)
    flavors = "hftransformersv2: {task_type: chat-completion, model_data: data}\n  python_function: {loader_module: x, data: data}\n"
    (folder / "model" / "MLmodel").write_text(f"flavors:\n  {flavors}")
    (model / "config.json").write_text("{}")
    (model / "tokenizer.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0\0\0")
    (folder / "trainer.sh").write_text(TRAINER)
    return "sh", str(folder / "trainer.sh")


class Twins:
    """Two emulators that were born alike, and a socket to the second."""

    def __init__(self, folder: Path, trainer: tuple[str, ...]) -> None:
        self.folder, self.trainer = folder, trainer
        files = certificates.ensure(folder)
        self.trust = ssl.create_default_context(cafile=str(files.ca))
        self.direct, self.behind = self._made("direct"), self._made("behind")
        handler = lambda asked: server.handler(self.behind)(asked)  # noqa: E731 - the twin changes with each life
        self.server = web.Server(0, handler, name="twin", context=web.tls(files.certificate, files.key))
        self.server.start()

    def reborn(self) -> None:
        self.close_clouds()
        self.direct, self.behind = self._made("direct"), self._made("behind")

    def close_clouds(self) -> None:
        for cloud in (self.direct, self.behind):
            cloud.close()
            shutil.rmtree(cloud.site.folder, ignore_errors=True)

    def _made(self, name: str) -> Cloud:
        site = Site(folder=self.folder / name, base=BASE, clock=ManualClock())
        faults = Faults(Chance(5, part="faults"))
        return Cloud(site, Rows(), "k" * 32, Options(trainer=self.trainer, chance=Chance(5), faults=faults))

    def ask_directly(self, asked: Mapping[str, Any]) -> Response:
        headers = self._headers(asked)
        return self.direct.handle(
            Request(method=asked["method"], path=asked["path"], query=asked["query"], headers=headers, body=asked["body"])
        )

    def ask_through_tls(self, asked: Mapping[str, Any]) -> tuple[int, dict[str, str], bytes] | str:
        """Return what came, or how nothing came."""
        query = urlencode(asked["query"])
        target = quote(asked["path"], safe="/*") + (f"?{query}" if query else "")
        connection = http.client.HTTPSConnection("localhost", self.server.port, timeout=60, context=self.trust)
        try:
            connection.request(asked["method"], target, body=asked["body"] or None, headers=self._headers(asked))
            answered = connection.getresponse()
            return answered.status, {name.lower(): value for name, value in answered.headers.items()}, answered.read()
        except http.client.RemoteDisconnected:
            return "lost"
        except ConnectionResetError:
            return "reset"
        finally:
            connection.close()

    def _headers(self, asked: Mapping[str, Any]) -> dict[str, str]:
        token = self.direct.tokens.issue("https://management.azure.com")[0]
        return {"Authorization": f"Bearer {token}", "Content-Type": "application/json", **asked.get("headers", {})}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory, trainer: tuple[str, ...]) -> Iterator[Twins]:
    made = Twins(tmp_path_factory.mktemp("twins"), trainer)
    yield made
    made.server.stop()
    made.close_clouds()


def alike(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items() if name.lower() not in NEVER_ALIKE}


@settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(life=LIVES)
def test_the_core_and_the_https_skin_give_the_same_answers(twins: Twins, life: list[dict[str, Any]]) -> None:
    twins.reborn()
    for asked in life:
        direct, through = twins.ask_directly(asked), twins.ask_through_tls(asked)
        if isinstance(through, str):
            assert direct.ending.value == through, asked
            continue
        status, headers, body = through
        assert (direct.status, alike(direct.headers), direct.body) == (status, alike(headers), body), asked
        assert direct.status != 500 or b"told to answer" in direct.body, asked  # nothing breaks it
    assert [not busy for _, busy in twins.direct.jobs.outside()] == [True] * len(twins.direct.jobs.outside())


def plain(method: str, path: str, query: Mapping[str, str] | None = None, **more: Any) -> dict[str, Any]:
    return {"method": method, "path": path, "query": query or {}, "body": b"", **more}


@pytest.mark.parametrize(
    "asked",
    [
        plain("HEAD", "/discovery"),
        plain("HEAD", "/_localcloud/state"),
        plain("HEAD", "/nowhere"),
        plain("BREW", "/discovery"),
        plain("get", "/discovery"),
        plain("OPTIONS", "*"),
        plain("GET", "//_localcloud/state"),
        plain("GET", "///"),
        plain("GET", f"/{WORKSPACE}/jobs"),
        plain("GET", "/localhost/../discovery"),
        plain("GET", "/job\u017f"),
        plain("GET", f"{WORKSPACE}/jobs/a/b c?d#e%2F%"),
        plain("GET", f"{WORKSPACE}/jobs/\U0001f600"),
        plain("GET", f"{WORKSPACE}/jobs", {"api-version": "2024-04-01,2024-04-01"}),
        plain("GET", f"{WORKSPACE}/jobs", {"api-version": "2024-04-01", "tag": "a=b&c=d+e f"}),
        plain("GET", f"{WORKSPACE}/jobs", headers={"AUTHORIZATION": "bearer nobody"}),
        plain("PUT", f"{WORKSPACE}/jobs/ft-1", {"api-version": "2024-04-01"}, body=b"\xff"),
    ],
    ids=lambda asked: f"{asked['method']} {asked['path'][-20:]}",
)
def test_odd_requests_are_answered_alike(twins: Twins, asked: dict[str, Any]) -> None:
    twins.reborn()
    direct, through = twins.ask_directly(asked), twins.ask_through_tls(asked)

    assert not isinstance(through, str)
    assert (direct.status, alike(direct.headers), direct.body) == (through[0], alike(through[1]), through[2])
    assert direct.status != 500


@pytest.mark.parametrize(
    ("target", "query"),
    [
        ("/x?a=1&a=2", {"a": "1,2"}),
        ("/x?a=1+2%2B3&b", {"a": "1 2+3", "b": ""}),
        ("/x%2Fy%20z/?", {}),
        ("https://localhost:8443/x?a=1", {"a": "1"}),
    ],
)
def test_a_target_is_read_once_for_all_skins(target: str, query: dict[str, str]) -> None:
    read = request_of("GET", target, {"X-A": "b"}, b"")

    assert (read.query, dict(read.headers)) == (query, {"x-a": "b"})
    assert read.path == ("/x/y z/" if "%2F" in target.partition("?")[0] else "/x")


def test_the_whole_life_of_a_model_is_the_same_on_both_sides(twins: Twins) -> None:
    """The draw above may miss it: one life that certainly gets as far as a deployment."""
    twins.reborn()
    life = [a_job("ft-1"), FORWARD, a_model("ft-1"), *AN_ENDPOINT, a_deployment("bot-1"), FORWARD]
    state: dict[str, Any] = {"method": "GET", "path": "/_localcloud/state", "query": {}, "body": b""}
    answers = []
    for asked in [*life, state]:
        direct, through = twins.ask_directly(asked), twins.ask_through_tls(asked)
        assert not isinstance(through, str)
        assert (direct.status, alike(direct.headers), direct.body) == (through[0], alike(through[1]), through[2])
        assert direct.status in {200, 201}, direct.body
        answers.append(json.loads(direct.body))
    ended = answers[-1]

    assert (ended["jobs"], ended["models"]) == ({"ft-1": "Completed"}, ["bot:v1"])
    assert ended["events"]["by_type"]["Microsoft.Resources.ResourceWriteFailure"] == 1


# ------------------------------------------------------------------------------------------------------------- what is remembered


def remembered(cloud: Cloud) -> dict[str, Any]:
    """Return every record of a cloud by kind: all that an answer about a resource is made of."""
    meter, announcer = cloud.meter, cloud.announcer
    shelves: list[Any] = [
        cloud.jobs.all,
        cloud.models.all,
        cloud.endpoints.all,
        cloud.deployments.all,
        cloud.operations.all,
        cloud.computes.all,
    ]
    return {one._kind: dict(one.all) for one in (*shelves, meter._counts, meter._lives, announcer._counts)}


def copied(store: Path, target: Path) -> Path:
    """Copy the store as a kill at this moment would leave it: what is committed, and nothing else."""
    target.unlink(missing_ok=True)
    with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
    return target


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(life=LIVES)
def test_a_kill_after_any_request_loses_nothing_and_a_refused_one_wrote_nothing(
    tmp_path_factory: pytest.TempPathFactory, trainer: tuple[str, ...], life: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("life")
    site = Site(folder=folder / "cloud", base=BASE, clock=ManualClock())
    cloud = Cloud(site, Rows(), "k" * 32, Options(trainer=trainer, chance=Chance(5), store=SqliteStore(folder / "cloud.sqlite")))
    token = cloud.tokens.issue("https://management.azure.com")[0]
    with closing(sqlite3.connect(folder / "cloud.sqlite")) as reader:
        for asked in life:
            before = reader.execute("PRAGMA data_version").fetchone()
            headers = {"Authorization": f"Bearer {token}", **asked.get("headers", {})}
            answered = cloud.handle(
                Request(method=asked["method"], path=asked["path"], query=asked["query"], headers=headers, body=asked["body"])
            )
            wrote = reader.execute("PRAGMA data_version").fetchone() != before
            refused = answered.status >= 400 and b"told to answer" not in answered.body
            assert not (wrote and (refused or asked["method"] in {"GET", "HEAD"})), asked
            twin = Cloud(site, Rows(), "k" * 32, Options(store=SqliteStore(copied(folder / "cloud.sqlite", folder / "copy.sqlite"))))
            assert remembered(twin) == remembered(cloud), asked
            twin.close()
    cloud.close()
    shutil.rmtree(folder)
