"""
The events that Azure ML tells Event Grid about a run, in Event Grid's own schema. A hint for whoever listens, never a promise.

Shapes: event-schema-machine-learning (Microsoft Learn). Azure's sources disagree about which status changes are sent; here all are.
"""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime

from localcloud.azureml import site as sites
from localcloud.azureml.wire import Json

Publish = Callable[[str, Json], None]
TOPIC = "azureml"  # the name under which subscriptions ask for them
PREFIX = "Microsoft.MachineLearningServices."


def silence(topic: str, event: Json) -> None:
    """Publish to nobody."""


class Announcer:
    """Shapes events and counts them."""

    def __init__(self, workspace_id: str, publish: Publish) -> None:
        self._workspace_id = workspace_id
        self._publish = publish
        self._lock = threading.Lock()
        self._by_type: Counter[str] = Counter()

    @property
    def by_type(self) -> dict[str, int]:
        with self._lock:
            return dict(self._by_type)

    def run_changed(self, run: Json, experiment: tuple[str, str], at: datetime) -> None:
        """Tell that a run has a new status; a completed one is told a second time, as RunCompleted."""
        self._tell("RunStatusChanged", run, experiment, at, {"runStatus": run["status"]})
        if run["status"] == "Completed":
            self._tell("RunCompleted", run, experiment, at, {})

    def _tell(self, kind: str, run: Json, experiment: tuple[str, str], at: datetime, more: Mapping[str, str]) -> None:
        experiment_id, experiment_name = experiment
        event: Json = {
            "topic": self._workspace_id,
            "subject": f"experiments/{experiment_id}/runs/{run['runId']}",
            "eventType": PREFIX + kind,
            "eventTime": sites.stamp(at),
            "id": str(uuid.uuid4()),
            "data": {
                "experimentId": experiment_id,
                "experimentName": experiment_name,
                "runId": run["runId"],
                "runType": run["runType"],
                "createdBy": "local-identity",
                "runTags": run["tags"],
                "runProperties": run["properties"],
                **more,
            },
            "dataVersion": "",
            "metadataVersion": "1",
        }
        with self._lock:
            self._by_type[event["eventType"]] += 1
        self._publish(TOPIC, event)
