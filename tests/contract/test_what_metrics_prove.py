"""
What deletions rest on: a request that either way of counting shows is a request, and a heartbeat that is missing proves nothing.

Method: Azure Monitor as a table. It answers for the metric and the aggregation that it is asked for, and for nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError

from shared import settings as app_settings
from shared.cloud.metrics import MonitorMetrics
from shared.domain.service import Usage

pytestmark = pytest.mark.light

SETTINGS = app_settings.read({"AZURE_SUBSCRIPTION_ID": "s", "AZURE_RESOURCE_GROUP": "g", "AZUREML_WORKSPACE": "w"})
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WINDOW = 60  # minutes
ENDPOINT = f"{SETTINGS.workspace_id}/onlineEndpoints/e"
HEARTBEAT = (f"{ENDPOINT}/deployments/d", "DeploymentCapacity", "average")
TOTAL = (ENDPOINT, "RequestsPerMinute", "total")
AVERAGE = (ENDPOINT, "RequestsPerMinute", "average")
METRICS = "/providers/microsoft.insights/metrics"
Question = tuple[str, str, str]  # resource, metric, aggregation
Points = Mapping[int, float | None]  # minute of the window -> value; None: a point without a number
ALIVE: Points = dict.fromkeys(range(WINDOW), 1.0)


class Monitor:
    """Answers what its table holds; a metric without a row has no series, as in Azure."""

    def __init__(self, rows: Mapping[Question, Points], failing: Mapping[Question, AzureError] | None = None) -> None:
        self.rows, self.failing = rows, failing or {}
        self.asked: list[Question] = []

    def send_request(self, request: Any) -> Any:
        address = urlsplit(request.url)
        query = {name: values[0] for name, values in parse_qs(address.query).items()}
        question = (address.path.removesuffix(METRICS), query["metricnames"], query["aggregation"].lower())
        self.asked.append(question)
        assert (query["timespan"], query["interval"]) == ("2026-11-24T12:00:00Z/2026-11-24T13:00:00Z", "PT1M")
        if question in self.failing:
            raise self.failing[question]
        data = []
        for minute, value in self.rows.get(question, {}).items():
            number = {} if value is None else {question[2]: value}
            data.append({"timeStamp": (NOON + minute * MINUTE).strftime("%Y-%m-%dT%H:%M:%SZ"), **number})
        answer = {"value": [{"timeseries": [{"data": data}] if data else []}]}
        return SimpleNamespace(raise_for_status=lambda: None, json=lambda: answer)


def usage(monitor: Monitor) -> Usage | None:
    metrics = MonitorMetrics(SETTINGS, SimpleNamespace())
    metrics.__dict__ |= {"_arm": monitor, "_address": "https://management.azure.com"}
    return metrics.usage("e", "d", start=NOON, end=NOON + WINDOW * MINUTE)


@pytest.mark.parametrize(
    ("totals", "averages", "requests", "last_minute"),
    [
        ({}, {}, 0, None),
        ({5: 0.0}, {5: 0.0}, 0, None),
        ({5: None}, {5: None}, 0, None),
        ({5: 3.0, 9: 2.0, 10: 0.0}, {}, 5, 9),
        ({}, {5: 3.0, 9: 2.0, 10: 0.0}, 5, 9),
        ({5: 3.0, 9: 2.0}, {5: 0.0, 9: 0.0}, 5, 9),
        ({5: 0.0, 9: 0.0}, {5: 3.0, 9: 2.0}, 5, 9),
        ({5: 3.0, 9: 2.0}, {5: 1.0, 9: 1.0}, 5, 9),
        ({5: 1.0, 9: 1.0}, {5: 3.0, 9: 2.0}, 5, 9),
        ({5: None}, {5: 0.25}, 0.25, 5),
        ({0: 1.0}, {}, 1, 0),
        ({WINDOW - 1: 1.0}, {}, 1, WINDOW - 1),
        ({-1: 7.0, WINDOW: 7.0}, {-1: 7.0, WINDOW: 7.0}, 0, None),
    ],
)
def test_a_request_counts_whether_azure_shows_it_as_a_total_or_as_an_average(
    totals: Points, averages: Points, requests: float, last_minute: int | None
) -> None:
    monitor = Monitor({HEARTBEAT: ALIVE, TOTAL: totals, AVERAGE: averages})
    found = usage(monitor)

    assert found is not None
    assert (found.requests, found.last_request_at) == (requests, None if last_minute is None else NOON + last_minute * MINUTE)
    assert sorted(monitor.asked) == sorted([HEARTBEAT, TOTAL, AVERAGE])


@pytest.mark.parametrize(
    ("heartbeats", "counted", "whole"),
    [
        (ALIVE, 60, True),
        (dict.fromkeys(range(1, WINDOW), 1.0), 59, True),
        (dict.fromkeys(range(WINDOW - 1), 1.0), 59, True),
        (dict.fromkeys(range(1, WINDOW - 1), 1.0), 58, False),
        ({minute: 1.0 for minute in range(WINDOW) if minute not in {20, 40}}, 58, False),
        ({**ALIVE, 20: None, 40: None}, 58, False),
        (dict.fromkeys(range(-5, WINDOW - 2), 1.0), 58, False),
        (dict.fromkeys(range(2, WINDOW + 5), 1.0), 58, False),
        (dict.fromkeys(range(0, WINDOW, 2), 1.0), 30, False),
        ({0: 1.0}, 1, False),
        ({}, 0, False),
    ],
    ids=["all", "the first missing", "the last missing", "both ends missing", "two missing", "two without a number", "older ones instead",
         "later ones instead", "half", "one", "none"],
)  # fmt: skip
def test_a_window_is_whole_with_one_heartbeat_missing_and_not_with_two(heartbeats: Points, counted: int, whole: bool) -> None:
    """The edges of a window may fall on either side of a grain, so one may be missing; of a window that is not whole nothing is known."""
    found = usage(Monitor({HEARTBEAT: heartbeats}))

    assert found is not None
    assert found.heartbeats == counted
    assert (found.heartbeats >= found.heartbeats_wanted) is whole


def test_a_heartbeat_that_is_told_in_two_series_is_one() -> None:
    class Twice(Monitor):
        def send_request(self, request: Any) -> Any:
            answer = super().send_request(request).json()
            answer["value"][0]["timeseries"] *= 2
            return SimpleNamespace(raise_for_status=lambda: None, json=lambda: answer)

    found = usage(Twice({HEARTBEAT: dict.fromkeys(range(30), 1.0)}))

    assert found is not None
    assert found.heartbeats == 30


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
@pytest.mark.parametrize("question", [HEARTBEAT, TOTAL, AVERAGE], ids=["heartbeat", "total", "average"])
def test_a_point_that_counts_nothing_makes_the_whole_window_unknown(question: Question, value: float) -> None:
    """It is not left out: a request that cannot be read would be no request."""
    rows: dict[Question, Points] = {HEARTBEAT: ALIVE, TOTAL: {5: 0.0}, AVERAGE: {5: 0.0}}

    assert usage(Monitor(rows | {question: {**rows[question], 5: value}})) is None


@pytest.mark.parametrize("error", [HttpResponseError("planted"), ServiceRequestError("planted")], ids=["refused", "lost"])
@pytest.mark.parametrize("question", [HEARTBEAT, TOTAL, AVERAGE], ids=["heartbeat", "total", "average"])
def test_with_one_answer_missing_nothing_is_known(question: Question, error: AzureError) -> None:
    """Not even with no request in the two others: the one that is missing may be the one that counts."""
    assert usage(Monitor({HEARTBEAT: ALIVE, TOTAL: {5: 0.0}, AVERAGE: {5: 0.0}}, {question: error})) is None
