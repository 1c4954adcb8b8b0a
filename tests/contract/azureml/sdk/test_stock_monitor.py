"""Microsoft's own client of Azure Monitor reads the metrics of an endpoint, over both skins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest


@pytest.fixture
def asked(sdk: Any) -> Any:
    """An endpoint that was asked twice."""
    sdk.world.endpoint()
    sdk.world.deployed("d1-a", sdk.world.registered())
    for _ in range(2):
        assert sdk.world.score(azureml_model_deployment="d1-a").status == 200
    return sdk


def test_microsofts_own_client_reads_the_metrics_of_an_endpoint(asked: Any) -> None:
    from azure.mgmt.monitor import MonitorManagementClient

    here = asked.cloud.site
    monitor = MonitorManagementClient(
        asked.credential, here.subscription, here.base, credential_scopes=[f"{here.base}/.default"], transport=asked.transport
    )
    now = datetime.now(UTC)
    span = f"{now - timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}/{now + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    endpoint = f"{here.workspace_id}/onlineEndpoints/bot-1"
    requests: Any = monitor.metrics.list(endpoint, timespan=span, interval="PT1M", metricnames="RequestsPerMinute", aggregation="Total")
    capacity: Any = monitor.metrics.list(
        f"{endpoint}/deployments/d1-a", timespan=span, interval="PT1M", metricnames="DeploymentCapacity", aggregation="Average"
    )

    assert sum(point.total or 0 for point in requests.value[0].timeseries[0].data) == 2
    assert [point.average for point in capacity.value[0].timeseries[0].data if point.average is not None][-1] == 1
    assert requests.namespace == "Microsoft.MachineLearningServices/workspaces/onlineEndpoints"
