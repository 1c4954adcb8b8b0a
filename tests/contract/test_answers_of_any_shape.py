"""Whatever Azure ML, MLflow or Azure Monitor answers, a look at it ends: what cannot be read is nothing, or unknown."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared import settings as app_settings
from shared.cloud import clients, jobs, trainings
from shared.cloud.metrics import MonitorMetrics

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
