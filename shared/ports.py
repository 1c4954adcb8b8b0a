"""
What the loop needs of the outside, and nothing of how Azure is asked for it.

Every method is one bounded call: it begins a long-running operation and returns, it never waits for one. All may raise
`errors.TryLater` (throttled, unreachable, a 5xx) and `errors.Stop` (refused for good); what else one raises stands with
it. The adapters over azure-ai-ml and azure-storage-blob are in `shared/cloud/`; the tests' fakes pass the same suite.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from shared.domain.recipe import Catalogue, Recipe
from shared.domain.record import Key, Kind
from shared.domain.service import Deployment, EndpointView, Usage
from shared.domain.training import Job
from shared.domain.tuning import PreparationJob
from shared.domain.upload import Upload
from shared.place import Place


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it lies in the ledger."""

    body: dict[str, Any]
    version: str  # changes with every write


class Ledger(Protocol):
    """Where the records are kept: atomic create, compare-and-set, markers of what is alive."""

    def owner(self) -> str:
        """Return the GUID of this installation, made once."""
        ...

    def create(self, key: Key, body: Mapping[str, Any]) -> bool:
        """Write a record that must not exist; True if it was this call that created it. Marks it active first."""
        ...

    def read(self, key: Key) -> Stored | None: ...

    def replace(self, key: Key, body: Mapping[str, Any], version: str) -> str:
        """Write over exactly `version` and return the new one; raise LostRace if somebody else wrote since."""
        ...

    def activate(self, key: Key) -> None: ...

    def deactivate(self, key: Key) -> None:
        """Remove the marker; the record stays for ever."""
        ...

    def active(self) -> Iterator[Key]: ...

    def ids(self, kind: Kind) -> Iterator[str]:
        """Yield the id of every record of a kind, by listing names only."""
        ...


class Datasets(Protocol):
    """The container that owners upload to, and the container of prepared data."""

    account: str
    container: str

    def head(self, path: str) -> Upload | None:
        """Return the blob's current version, None if there is none or it is not whole yet (empty, still copying)."""
        ...

    def uploads(self) -> Iterator[Upload]: ...

    def open(self, upload: Upload) -> Generator[bytes, None, None]:
        """
        Yield the bytes of exactly this version, some of them fetched ahead; raise UploadChanged when the blob is another one or gone.

        Whoever does not read to the end closes it.
        """
        ...

    def place(self, folder: str, manifests: str) -> Place:
        """Return a folder of the prepared container to write into; manifests lie under `manifests`, by their content."""
        ...

    def wishes(self, folder: str) -> dict[str, object]:
        """Return the folder's `_recipe.json`, {} without one; raise Rejected when it is no JSON object."""
        ...

    def uri(self, folder: str, file: str) -> str:
        """Return the azureml:// URI by which a job reads a published file."""
        ...

    def upload_uri(self, path: str) -> str:
        """Return the azureml:// URI by which a job reads an upload: of a path, whatever version lies there when it reads."""
        ...

    def files(self, folder: str, *, hashed_bytes_max: int) -> dict[str, tuple[int, str | None]]:
        """Return the files of a prepared folder by name: bytes, and sha256 (hex) of those that have no more than so many."""
        ...

    def write(self, path: str, body: Mapping[str, Any]) -> None:
        """Write a JSON document into the prepared container."""
        ...

    def read(self, path: str) -> Any:
        """Return a JSON document of the prepared container, None if there is none."""
        ...


class Preparations(Protocol):
    """Jobs that prepare what is too large for a function."""

    def job(self, name: str) -> PreparationJob | None: ...

    def submit(
        self, name: str, *, files: Sequence[str], order: str, out: str, deadline: timedelta, display_name: str, tags: Mapping[str, str]
    ) -> None:
        """
        Ask for a job that runs `python -m shared.prepare` of this app over URIs of uploads, as the order (a URI) says, and writes into the
        folder `out` (a URI) when it has ended well. That it exists already is no error: the next look tells whose it is.
        """
        ...

    def cancel(self, name: str) -> None: ...


class Trainings(Protocol):
    """Fine-tune jobs and the models that they yield."""

    def catalogue(self) -> Catalogue:
        """Resolve component, base model and compute by the names in the settings."""
        ...

    def job(self, name: str) -> Job | None: ...

    def submit(self, name: str, *, recipe: Recipe, uris: Mapping[str, str], out: str, tags: Mapping[str, str]) -> None:
        """
        Ask for the job, which writes its model to the folder `out` (azureml:// URI).

        That it exists already is no error: the next look tells whose it is.
        """
        ...

    def cancel(self, name: str) -> None: ...

    def metrics(self, job: str) -> dict[str, float]:
        """Return the last value of each metric that the job logged, {} if none can be read."""
        ...

    def registered(self, model: str, version: str) -> bool: ...

    def register(self, model: str, version: str, *, job: str, tags: Mapping[str, str]) -> None: ...


class Endpoints(Protocol):
    """Managed online endpoints and their deployments."""

    def endpoint(self, name: str) -> EndpointView | None: ...

    def create_endpoint(self, name: str, *, tags: Mapping[str, str]) -> None: ...

    def delete_endpoint(self, name: str) -> None: ...

    def create_deployment(self, endpoint: str, deployment: Deployment, *, tags: Mapping[str, str]) -> None: ...

    def delete_deployment(self, endpoint: str, name: str) -> None: ...

    def set_traffic(self, endpoint: str, traffic: Mapping[str, int]) -> None: ...

    def ask(self, endpoint: str, scoring_uri: str, *, deployment: str, body: Mapping[str, object]) -> object:
        """POST `body` to one deployment, past the traffic split; return the parsed reply."""
        ...

    def log_tail(self, endpoint: str, deployment: str) -> str:
        """Return the last lines of a deployment's log, '' if there are none."""
        ...


class Owned(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint that carries our owner's tag."""

    name: str
    service: str | None  # id by its tag; None: it has no such tag


class Inventory(Protocol):
    """What is there in the workspace, whatever the records say."""

    def owned(self, owner: str) -> Iterator[Owned]:
        """Yield every endpoint of the workspace that carries this owner's tag."""
        ...


class Metrics(Protocol):
    def usage(self, endpoint: str, deployment: str, *, start: datetime, end: datetime) -> Usage | None:
        """Return what the metrics say of one deployment; None when they cannot be read."""
        ...


class Turns(Protocol):
    """The queue of turns."""

    def ring(self, key: Key, *, who: str, promised: datetime | None = None, delay: timedelta = timedelta(0)) -> None:
        """Put one message on the queue. `promised`: the record's next_look_at that this message keeps."""
        ...


class Undelivered(Protocol):
    """Messages that the Functions host or Event Grid gave up before a door took them. They are counted, never read, replayed or deleted."""

    def counts(self) -> Mapping[str, int | None]:
        """Return how many lie at each place: 0 where the place is not there, None where it could not be looked at. Never raises."""
        ...


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Something happened to a record that people may want to know."""

    key: Key
    at: datetime  # UTC; as in the record's history
    stage: str
    what: str  # a stable word for machines
    why: str  # a sentence for people; without dataset text or secrets
    next_action: str  # what a person can do; '': nothing is needed


class Announcer(Protocol):
    """Whoever tells people. At most once: a crash between the write of a record and its announcement loses the news, not the state."""

    def announce(self, change: Change) -> None:
        """Tell; never raises, and takes seconds at most."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Everything that the loop may touch."""

    ledger: Ledger
    datasets: Datasets
    preparations: Preparations
    trainings: Trainings
    endpoints: Endpoints
    metrics: Metrics
    turns: Turns
    announcer: Announcer
    inventory: Inventory | None = None  # None: nothing is swept
    undelivered: Undelivered | None = None  # None: nobody looks
