"""
The events that Azure ML and Resource Manager tell Event Grid, in Event Grid's own schema. A hint for whoever listens, never a promise.

Each is written into an outbox with the change that it tells, and published after both are durable: a kill in between publishes it
again at the next start, and never loses it. Shapes: event-schema-machine-learning, event-schema-resource-groups (Microsoft Learn).
Where Azure's sources disagree, `switches` choose.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from localcloud.azureml import site as sites
from localcloud.azureml.store import Shelf
from localcloud.azureml.wire import Json

if TYPE_CHECKING:
    from localcloud.azureml.ground import Ground
    from localcloud.azureml.records import Deployment

Publish = Callable[[str, Json], None]
TOPIC, RESOURCES = "azureml", "resources"  # the names under which subscriptions ask for them
PREFIX = "Microsoft.MachineLearningServices."
BAD = frozenset({"Failed", "Canceled"})
LOG = logging.getLogger(__name__)


class Told(msgspec.Struct, frozen=True):
    """An event that is not published yet."""

    topic: str
    event: dict[str, Any]


def silence(topic: str, event: Json) -> None:
    """Publish to nobody."""


class Announcer:
    """Shapes events, keeps them until they are published, and counts them. Whoever calls holds the cloud's lock."""

    def __init__(self, ground: Ground, publish: Publish) -> None:
        self.ground = ground
        self._publish = publish
        self._outbox = Shelf(ground.store, "outbox", Told)
        self._counts = Shelf(ground.store, "published", int)  # type of an event -> how many
        self._failing = False

    @property
    def by_type(self) -> dict[str, int]:
        return dict(self._counts.all)

    def flush(self) -> None:
        """
        Publish what is in the outbox, oldest first. To be called when the changes that it tells are durable.

        What cannot be published now stays, and what was asked is answered all the same: an event is no part of it.
        """
        for key, told in list(self._outbox.all.items()):
            try:
                self._publish(told.topic, told.event)
            except Exception:
                if not self._failing:
                    LOG.exception("Events cannot be published; they are kept, and tried again with every change.")
                self._failing = True
                return
            self._failing = False
            kind = str(told.event["eventType"])
            self._counts.save(kind, self._counts.all.get(kind, 0) + 1)
            self._outbox.remove(key)

    def clear(self) -> None:
        self._outbox.clear()
        self._counts.clear()

    def run_changed(self, run: Json, experiment: tuple[str, str], at: datetime) -> None:
        """Tell that a run has a new status; a completed one is told a second time, as RunCompleted."""
        statuses = self.ground.switches.event_statuses
        data = self._run_data(run, experiment)
        subject = f"experiments/{experiment[0]}/runs/{run['runId']}"
        if statuses == "all" or (statuses == "good" and run["status"] not in BAD):
            self._tell("RunStatusChanged", subject, {**data, "runStatus": run["status"]}, at)
        if run["status"] == "Completed":
            self._tell("RunCompleted", subject, data, at)

    def model_registered(self, name: str, version: str, *, tags: Mapping[str, str], properties: Mapping[str, str]) -> None:
        data = {"modelName": name, "modelVersion": version, "modelTags": dict(tags), "modelProperties": dict(properties)}
        self._tell("ModelRegistered", f"models/{name}:{version}", data, self.ground.now())

    def model_deployed(self, deployment: Deployment) -> None:
        """Tell that a deployment is ready. Azure's pages name this event for other compute: it may never come for managed endpoints."""
        data = {
            "serviceName": deployment.endpoint,
            "serviceComputeType": "Managed",
            "modelIds": deployment.model,
            "serviceTags": dict(deployment.tags),
            "serviceProperties": {},
        }
        self._tell("ModelDeployed", f"endpoints/{deployment.endpoint}", data, self.ground.now())

    def resource_accepted(self, resource_id: str) -> None:
        """A long PUT was accepted; whether Resource Manager says so now or at its end is a switch."""
        if self.ground.switches.write_events == "accepted":
            self.resource_changed("Write", resource_id, good=True)

    def resource_written(self, resource_id: str, *, good: bool) -> None:
        """A long PUT has ended; a failure is always told now."""
        if not good or self.ground.switches.write_events == "ended":
            self.resource_changed("Write", resource_id, good=good)

    def resource_changed(self, verb: str, resource_id: str, *, good: bool) -> None:
        """Tell as Resource Manager does; `verb` is Write or Delete."""
        site = self.ground.site
        parts = resource_id.split("/providers/", 1)[1].split("/")
        kind = "/".join([parts[0], *parts[1::2]])
        verbs = {"Write": ("write", "PUT"), "Delete": ("delete", "DELETE")}
        action, method = verbs[verb]
        data = {
            "authorization": {"scope": resource_id, "action": f"{kind}/{action}", "evidence": {"role": "Contributor"}},
            "claims": {"appid": sites.PRINCIPAL, "oid": sites.PRINCIPAL},
            "correlationId": self.ground.chance.guid(),
            "httpRequest": {"clientRequestId": self.ground.chance.guid(), "clientIpAddress": "127.0.0.1", "method": method},
            "resourceProvider": sites.PROVIDER,
            "resourceUri": resource_id,
            "operationName": f"{kind}/{action}",
            "status": "Succeeded" if good else "Failed",
            "subscriptionId": site.subscription,
            "tenantId": sites.TENANT,
        }
        group = f"/subscriptions/{site.subscription}/resourceGroups/{site.group}"
        subject = resource_id.replace("/resourceGroups/", "/resourcegroups/", 1)  # as Azure writes it there [recorded]
        event_type = f"Microsoft.Resources.Resource{verb}{'Success' if good else 'Failure'}"
        self._keep(
            RESOURCES, {"topic": group, "subject": subject, "eventType": event_type, "data": data, "dataVersion": "2"}, self.ground.now()
        )

    def _run_data(self, run: Json, experiment: tuple[str, str]) -> Json:
        return {
            "experimentId": experiment[0],
            "experimentName": experiment[1],
            "runId": run["runId"],
            "runType": run["runType"],
            "createdBy": "local-identity",
            "runTags": run["tags"],
            "runProperties": run["properties"],
        }

    def _tell(self, kind: str, subject: str, data: Json, at: datetime) -> None:
        if self.ground.switches.event_casing == "pascal":
            data = {key[0].upper() + key[1:]: value for key, value in data.items()}
        source = self.ground.site.workspace_id
        self._keep(TOPIC, {"topic": source, "subject": subject, "eventType": PREFIX + kind, "data": data, "dataVersion": ""}, at)

    def _keep(self, topic: str, event: Json, at: datetime) -> None:
        key = self.ground.chance.guid()
        whole = {**event, "id": key, "eventTime": sites.stamp(at), "metadataVersion": "1"}
        self._outbox.save(key, Told(topic=topic, event=whole))
