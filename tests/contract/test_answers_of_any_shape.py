"""Whatever Azure ML, MLflow, Azure Monitor or a model answers, a look at it ends: what cannot be read is nothing, or unknown."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import requests
from azure.core import PipelineClient
from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.core.pipeline.transport import HttpTransport
from azure.core.rest._requests_basic import RestRequestsTransportResponse
from hypothesis import example, given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from shared import settings as app_settings
from shared.cloud import clients, endpoints, jobs, trainings
from shared.cloud.answers import translated
from shared.cloud.metrics import MonitorMetrics
from shared.domain import smoke
from shared.errors import BadAnswer, Stop, TryLater

pytestmark = pytest.mark.light

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
ONE = st.fixed_dictionaries({}, optional={"key": JSON, "value": JSON})
RUN = st.fixed_dictionaries(
    {"run": JSON | st.fixed_dictionaries({"data": JSON | st.fixed_dictionaries({"metrics": JSON | st.lists(ONE)})})}
)


@given(JSON | RUN)
@example({"run": {"data": {"metrics": [{"key": "a", "value": None}, {"key": "b", "value": "NaN"}, {"key": "c", "value": 10**400}]}}})
def test_metrics_of_any_shape_are_finite_numbers_with_plain_names(answer: Any) -> None:
    for name, value in trainings.metrics_in(answer).items():
        assert math.isfinite(value)
        assert name.isprintable()


def test_one_metric_that_is_no_number_takes_no_other_along() -> None:
    logged = [{"key": "a", "value": None}, {"key": "eval_loss", "value": 0.5}, {"value": 1}, 7, {"key": "b\n", "value": "2"}]

    assert trainings.metrics_in({"run": {"data": {"metrics": logged}}}) == {"eval_loss": 0.5, "b": 2.0}


def test_a_job_that_logs_without_end_fills_no_record() -> None:
    logged = [{"key": f"{n}-{'x' * 9_000}", "value": n} for n in range(5_000)]
    found = trainings.metrics_in({"run": {"data": {"metrics": logged}}})

    assert len(found) == trainings.METRICS_MAX
    assert max(map(len, found)) == trainings.METRIC_NAME_LENGTH_MAX


@given(JSON | st.fixed_dictionaries({"error": JSON | st.fixed_dictionaries({"error": JSON})}))
@example({"error": "it failed"})
def test_a_failure_of_any_shape_is_one_plain_line(details: Any) -> None:
    assert jobs.failure_in(details).isprintable()


@pytest.mark.parametrize("error", [ServiceRequestError, ServiceResponseError, HttpResponseError])
def test_run_history_that_does_not_answer_hides_neither_the_end_of_a_job_nor_the_way_on(error: type[AzureError]) -> None:
    """Both only explain; with an exception that nobody expects the look would be repeated for ever, with a traceback in the log."""

    def lost(*_: Any, **__: Any) -> Any:
        raise error("planted")

    workspace = jobs.Jobs(SETTINGS, SimpleNamespace())
    workspace.__dict__ |= {"mlflow_address": ("https://arm.test", "/w"), "runs": SimpleNamespace(send_request=lost)}

    assert workspace._failure("ft-0123456789ab-a1") == ""
    assert trainings.AzureMlTrainings(SETTINGS, SimpleNamespace(), workspace).metrics("ft-0123456789ab-a1") == {}


SETTINGS = app_settings.read({"AZURE_SUBSCRIPTION_ID": "s", "AZURE_RESOURCE_GROUP": "g", "AZUREML_WORKSPACE": "w"})
POINT = st.fixed_dictionaries({}, optional={"timeStamp": JSON, "average": JSON, "total": JSON})
SERIES = st.fixed_dictionaries(
    {"value": st.lists(st.fixed_dictionaries({"timeseries": st.lists(st.fixed_dictionaries({"data": st.lists(POINT)}))}))}
)


@given(JSON | SERIES)
@example({"value": [{"timeseries": [{"data": [{"timeStamp": "2026-11-24T12:00:00", "average": 1}]}]}]})
@example({"value": [{"timeseries": [{"data": [{"timeStamp": "soon", "average": 1}]}]}]})
@example({"value": [{"timeseries": [{"data": [{"timeStamp": "2026-11-24T12:00:00Z", "average": "many"}]}]}]})
@example({"value": [{"timeseries": [{"data": [{"timeStamp": "2026-11-24T12:00:00Z", "average": 10**400}]}]}]})
def test_usage_of_any_shape_is_read_or_unknown(answer: Any) -> None:
    metrics = MonitorMetrics(SETTINGS, None)  # type: ignore[arg-type]
    metrics.__dict__ |= {"_arm": None, "_address": "https://management.azure.com"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clients, "get_json", lambda *_, **__: answer)
        found = metrics.usage("e", "d", start=NOON, end=NOON + timedelta(hours=1))

    assert found is None or found.heartbeats >= 0


# ------------------------------------------------------------------------------------------------------------ of a header


class Answering(HttpTransport[Any, Any]):
    """Gives one answer to every request, and notes how long it was asked to sleep."""

    def __init__(self, status: int, headers: dict[str, str], body: object = "") -> None:
        self.status, self.headers, self.body = status, headers, body
        self.requests: list[Any] = []
        self.slept: list[float] = []

    def send(self, request: Any, **_: Any) -> Any:
        self.requests.append(request)
        answer = requests.Response()
        answer.status_code, answer.headers = self.status, CaseInsensitiveDict(self.headers)
        answer._content = str(self.body).encode()
        return RestRequestsTransportResponse(request=request, internal_response=answer)

    def sleep(self, duration: float) -> None:
        self.slept.append(duration)

    def open(self) -> None: ...

    def close(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@pytest.mark.parametrize("status", [400, 429, 503])
@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7),
        ("0017", 17),
        ("600", 600),
        ("601", 600),
        ("3600", 600),
        ("1000000", 600),
        ("99999999999999999999", 600),
        ("9" * 5_000, 600),
        ("0", None),
        ("-7", None),
        ("", None),
        ("²", None),
        ("٣", None),
        ("1.5", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("Wed, 99 Foo 2026 99:99:99 GMT", None),
        ("Tue, 24 Nov 99999 12:00:00 GMT", None),
    ],
    ids=lambda value: str(value)[:24],
)
def test_whatever_retry_after_says_the_call_ends_with_an_order_and_a_wait_within_the_cap(
    said: str, seconds: int | None, status: int
) -> None:
    """Who looks at a record catches only what the app raises on purpose: any other exception ends the tick for every record behind it."""
    transport = Answering(status, {"Retry-After": said})
    client: PipelineClient[Any, Any] = PipelineClient("https://a.test", policies=[clients.CappedRetry()], transport=transport)

    with pytest.raises((TryLater, Stop)) as raised, translated("Looking"):
        clients.get_json(client, "https://a.test/x")

    assert getattr(raised.value, "after", None) == (None if status == 400 or seconds is None else timedelta(seconds=seconds))
    assert all(0 <= duration <= clients.RETRY_SECONDS_MAX for duration in transport.slept)
    assert len(transport.requests) <= 1 + clients.RETRIES


# ------------------------------------------------------------------------------------------------------------- of a model


class Scoring(BaseHTTPRequestHandler):
    """Answers as the path says."""

    bodies: ClassVar[dict[str, bytes]] = {}
    errors: ClassVar[dict[str, tuple[int, bytes, bool]]] = {}  # path -> status, what is said, and whether the request follows

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["content-length"]))
        status, begin, quoted = self.errors.get(self.path, (200, b"", False))
        self.send_response(status)
        self.end_headers()
        if status != 200:
            self.wfile.write(begin + (asked if quoted else b""))
            return
        with contextlib.suppress(OSError):
            if self.path == "/endless":
                while True:
                    self.wfile.write(b"x" * 65_536)
            if self.path == "/dripping":
                while True:
                    self.wfile.write(b" ")
                    time.sleep(0.01)
            self.wfile.write(self.bodies[self.path])

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def scoring() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scoring)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def ask(scoring: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Without the token, which is not sent over plain http."""
    monkeypatch.setattr(clients, "rest_client", lambda address, *_, **__: PipelineClient(address, policies=[]))
    monkeypatch.setattr(endpoints, "ANSWER_SECONDS_MAX", 1)
    asked = endpoints.AzureMlEndpoints(SETTINGS, None)  # type: ignore[arg-type]
    return lambda path: asked.ask(
        "e", f"{scoring}{path}", deployment="d", body=smoke.request([{"role": "user", "content": "Is Ms Canary ill?"}])
    )


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b"[" * 100_000, "[" * 100_000),
        (b'{"output": "\\ud800 in hall 3"}', "\\ud800 in hall 3"),
        (b'{"output": "\xff"}', "\ufffd"),
        (b"", ""),
        (b"\xef\xbb\xbf7", "\ufeff7"),
        (b'{"output": NaN}', ""),
        (b"9" * 5_000, "9" * 5_000),
    ],
    ids=["deep", "half a character", "no UTF-8", "nothing", "a byte order mark", "no text", "a long number"],
)
def test_whatever_a_model_answers_is_a_text_that_can_be_written_down_or_none(ask: Any, body: bytes, answer: str) -> None:
    Scoring.bodies["/this"] = body

    found = smoke.answer_in(ask("/this"))

    assert found == answer
    found.encode()


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        ((424, b"inference failed for "), BadAnswer, "it answered with status 424."),
        ((500, b'{"error": {"code": "ModelError", "message": "failed"}}'), BadAnswer, "it answered with status 500 (ModelError)."),
        ((400, b'{"error_code": "BAD_REQUEST", "message": "cannot read"}'), TryLater, "it answered with status 400 (BAD_REQUEST)."),
        ((404, b'{"code": "of several words"}'), TryLater, "it answered with status 404."),
        ((429, b'{"error": {"code": 7}}'), TryLater, "it answered with status 429."),
        ((503, b"[" * 100_000), BadAnswer, "it answered with status 503."),
    ],
)
@pytest.mark.parametrize("quoted", [False, True], ids=["", "with the question"])
def test_of_an_error_of_a_model_the_status_and_a_code_are_told_and_never_the_question_that_it_quotes(
    ask: Any, answer: tuple[int, bytes], kind: type[Exception], told: str, quoted: bool
) -> None:
    Scoring.errors["/error"] = (*answer, quoted)

    with pytest.raises(TryLater) as caught:
        ask("/error")

    assert type(caught.value) is kind
    assert str(caught.value) == (told.partition(" (")[0].rstrip(".") + "." if quoted else told)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 408, 409, 413, 418, 422, 423, 424, 429, 500, 501, 502, 503, 504])
def test_only_what_a_model_failed_at_counts_against_it(ask: Any, status: int) -> None:
    """424 is its own error, told by the front of Azure. By bad answers a probation ends, not by a role that is missing."""
    Scoring.errors["/error"] = (status, b"", False)

    with pytest.raises(TryLater) as caught:
        ask("/error")

    assert type(caught.value) is (BadAnswer if status in {424, 500, 502, 503, 504} else TryLater)


@pytest.mark.parametrize("error", [ServiceRequestError, ServiceResponseError, HttpResponseError])
def test_a_model_that_is_not_reached_has_given_no_bad_answer(error: type[AzureError], monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: Any, **__: Any) -> Any:
        raise error("planted")

    client: PipelineClient[Any, Any] = PipelineClient("https://e.test", policies=[])
    monkeypatch.setattr(client, "send_request", lost)
    monkeypatch.setattr(clients, "rest_client", lambda *_, **__: client)
    asked = endpoints.AzureMlEndpoints(SETTINGS, None)  # type: ignore[arg-type]

    with pytest.raises(TryLater) as caught:
        asked.ask("e", "https://e.test", deployment="d", body={})

    assert type(caught.value) is TryLater


@pytest.mark.parametrize(("path", "said"), [("/endless", "more than 1,048,576 bytes"), ("/dripping", "not complete after 1 seconds")])
def test_an_answer_without_end_is_none_and_is_not_waited_for(ask: Any, path: str, said: str) -> None:
    with pytest.raises(TryLater, match=said):
        ask(path)
