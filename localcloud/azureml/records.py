"""
What this cloud remembers of each resource: plain values, as they lie in the store. What lives only while we do is not here.

Fields are only ever added, with a default, so that an older store can be read. Moments are UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from localcloud.azureml import lifecycle
from localcloud.azureml.sizes import SERVERLESS, Size
from localcloud.azureml.wire import Json

JOB_ENDS = lifecycle.ends(lifecycle.JOB)


class CommandInput(msgspec.Struct, frozen=True, kw_only=True):
    """What stands for `${{inputs.<name>}}`."""

    kind: str  # literal, uri_file, uri_folder …
    value: str  # of a literal; otherwise the uri
    mode: str  # of InputMode; "": a literal has none


class CommandOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What stands for `${{outputs.<name>}}`."""

    kind: str  # uri_file: one file; every other is a folder
    uri: str  # where it goes
    mode: str  # of OutputMode


class CommandOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a command job shall do, checked."""

    line: str  # for a shell, with its expressions
    code: str  # id of a code version; "": none
    inputs: dict[str, CommandInput]
    outputs: dict[str, CommandOutput]
    environment: dict[str, str]
    compute: str  # name of a cluster, or serverless
    size: str = ""  # of a serverless machine; "": Azure's choice
    timeout: float | None = None  # seconds that it may run; None: as long as it likes


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the trainer shall do, checked; or, with `command`, what a shell shall do, and the rest is empty."""

    literals: Mapping[str, str]  # every literal input, defaults filled in
    assets: Mapping[str, str]  # input name -> uri
    outputs: Mapping[str, str]  # output of the pipeline -> output of the component
    places: Mapping[str, str] = field(default_factory=dict)  # output of the component -> uri where it goes, of those that name one
    command: CommandOrder | None = None

    @property
    def cluster(self) -> str | None:
        """The cluster that works; None: serverless."""
        name = self.command.compute if self.command else self.literals["compute_finetune"]
        return None if name == SERVERLESS else name

    @property
    def nodes(self) -> int:
        return 1 if self.command else int(self.literals["num_nodes_finetune"])


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that was planned for one resource when it was asked for."""

    kind: str
    given: dict[str, Any] = {}  # its parameters


class Operation(msgspec.Struct, kw_only=True):
    """One long-running operation; Updating, Deleting or Canceling until it is Succeeded, Failed or Canceled."""

    id: str
    status: str
    started: datetime
    api_version: str
    family: str = "mfe"  # begins the words of its addresses: mfe, or compute
    ended: datetime | None = None  # None: still going
    error: Json | None = None  # None: no failure
    stuck: bool = False  # True: it never ends, whatever becomes of what it is about


class Step(msgspec.Struct, kw_only=True):
    """One run below a pipeline."""

    name: str
    run_id: str
    status: str = "NotStarted"
    started: datetime | None = None
    ended: datetime | None = None


class Job(msgspec.Struct, kw_only=True):
    """One job and what became of it."""

    name: str
    properties: Json  # as asked for; status and services are added in the answer
    order: Order
    created: datetime
    steps: list[Step]
    due: datetime | None  # from when on it may move; None: when a hand moves it
    status: str = "NotStarted"
    started: datetime | None = None
    ended: datetime | None = None
    error: tuple[str, str] | None = None  # code and sentence; None: no failure
    planned: Planned | None = None  # None: nothing is planned to go wrong
    cancels: list[str] = []  # operations that end when it has been canceled

    @property
    def over(self) -> bool:
        return self.status in JOB_ENDS

    @property
    def experiment(self) -> str:
        return str(self.properties.get("experimentName") or "Default")

    def has(self, fault: str) -> bool:
        return self.planned is not None and self.planned.kind == fault


class Model(msgspec.Struct, kw_only=True):
    """One version of a registered model."""

    name: str
    version: str
    properties: Json
    job: str  # the job whose output it is; "": none, it is an upload
    created: datetime
    modified: datetime

    @property
    def key(self) -> str:
        return f"{self.name}:{self.version}"


class Code(msgspec.Struct, kw_only=True):
    """One version of a code."""

    name: str
    version: str
    properties: Json
    created: datetime
    modified: datetime

    @property
    def key(self) -> str:
        return f"{self.name}:{self.version}"


class Environment(Code, kw_only=True):
    """One version of an environment."""


class Endpoint(msgspec.Struct, kw_only=True):
    """One online endpoint, without its deployments."""

    name: str
    auth_mode: str
    description: str
    tags: dict[str, str]
    properties: dict[str, str]
    traffic: dict[str, int]
    created: datetime
    modified: datetime
    operation: str  # the newest one
    keys: tuple[str, str]
    due: datetime | None  # from when on it may move; None: when a hand moves it
    state: str = "Creating"
    mirror: dict[str, int] = {}  # deployment -> percent of the requests that are copied to it
    public: str = "Enabled"
    asked: int = 0  # requests that were shared by traffic so far
    identity: Json | None = None  # as asked for; None: what Azure gives by itself
    planned: Planned | None = None  # None: nothing is planned to go wrong


class Deployment(msgspec.Struct, kw_only=True):
    """One deployment of one endpoint."""

    endpoint: str
    name: str
    model: str  # key of the model
    properties: Json  # with the defaults that Azure fills in
    tags: dict[str, str]
    capacity: int
    created: datetime
    modified: datetime
    operation: str  # the newest one
    folder: str  # below the folder of deployments; no two children ever share one
    due: datetime | None  # from when on it may move; None: when a hand moves it
    state: str = "Creating"
    starts: int = 0
    planned: Planned | None = None  # None: nothing is planned to go wrong

    @property
    def key(self) -> str:
        return f"{self.endpoint}/{self.name}"


class Life(msgspec.Struct, kw_only=True):
    """One time during which a deployment stood ready."""

    began: float  # seconds since 1970
    capacity: int
    ended: float | None = None  # None: it still does


class Cluster(msgspec.Struct, kw_only=True):
    """One cluster of virtual machines."""

    name: str
    size: Size
    priority: str
    nodes_min: int
    nodes_max: int
    idle: str  # ISO duration before a node is given back
    tags: dict[str, str]
    description: str
    identity: Json | None
    created: datetime
    modified: datetime
    due: datetime | None = None  # from when on it may move; None: when a hand moves it, or it needs not
    state: str = "Succeeded"
    operation: str | None = None  # None: nothing was asked since the start
    asked: Json = msgspec.field(default_factory=dict)  # what means nothing here and is shown as it was asked: accounts, addresses
