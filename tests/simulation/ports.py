"""The ports of the loop over the simulated Azure: each method is one call, on which others go on and a fault may fall."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from shared import errors
from shared.domain.recipe import Catalogue, Recipe
from shared.domain.record import Key, Kind
from shared.domain.service import Deployment, EndpointView, Usage
from shared.domain.training import Job
from shared.domain.tuning import PreparationJob
from shared.domain.upload import Upload, bare_etag
from shared.place import CONTENT_KEY, manifest_of, manifest_path
from shared.plain import plain
from shared.ports import Change, Owned, Ports, Stored
from tests.journeys.fakes import CATALOGUE, files_below
from tests.simulation.azure import OWNER, Azure
from tests.simulation.machine import QUOTES
from tests.simulation.watch import notes_of

ACCOUNT, CONTAINER = "acc", "datasets"


class Ledger:
    """Records as bytes, as they lie in storage."""

    def __init__(self, azure: Azure) -> None:
        self.azure, self.call = azure, azure.machine.call

    def owner(self) -> str:
        return OWNER

    def create(self, key: Key, body: Mapping[str, Any]) -> bool:
        self.activate(key)

        def effect() -> bool:
            if key in self.azure.records:
                return False
            self.azure.records[key] = (msgspec.json.encode({**body, **self.azure.extra}), 1)
            self.azure.watch.created(key, dict(body))
            return True

        return bool(self.call("ledger.create", key, effect))

    def read(self, key: Key) -> Stored | None:
        def effect() -> Stored | None:
            found = self.azure.records.get(key)
            return Stored(body=dict(self.azure.body(key)), version=str(found[1])) if found else None

        stored: Stored | None = self.call("ledger.read", key, effect)
        return stored

    def replace(self, key: Key, body: Mapping[str, Any], version: str) -> str:
        encoded = msgspec.json.encode(body)

        def effect() -> str:
            newest = self.azure.records[key][1]
            if str(newest) != version:
                if self.azure.machine.running:
                    notes_of(self.azure.machine.running).lost_a_race = True
                raise errors.LostRace(f"{key}")
            self.azure.watch.written(key, self.azure.body(key), dict(body), encoded)
            self.azure.records[key] = (encoded, newest + 1)
            return str(newest + 1)

        return str(self.call("ledger.replace", key, effect))

    def activate(self, key: Key) -> None:
        self.call("ledger.activate", key, lambda: self.azure.activate(key))

    def deactivate(self, key: Key) -> None:
        def effect() -> None:
            self.azure.watch.deactivated(key)
            self.azure.active.discard(key)

        self.call("ledger.deactivate", key, effect)

    def active(self) -> Iterator[Key]:
        yield from self.call("ledger.active", "", lambda: sorted(self.azure.active))

    def ids(self, kind: Kind) -> Iterator[str]:
        yield from self.call("ledger.ids", kind.value, lambda: [key.id for key in self.azure.records if key.kind is kind])


class Datasets:
    account = ACCOUNT
    container = CONTAINER

    def __init__(self, azure: Azure) -> None:
        self.azure, self.call = azure, azure.machine.call

    def head(self, path: str) -> Upload | None:
        def effect() -> Upload | None:
            return self._upload(path, self.azure.blobs[path].etag) if path in self.azure.blobs else None

        found: Upload | None = self.call("datasets.head", path, effect)
        return found

    def uploads(self) -> Iterator[Upload]:
        def effect() -> list[Upload]:  # a listing shows ETags without quotes
            return [self._upload(path, blob.etag.strip('"')) for path, blob in self.azure.blobs.items()]

        yield from self.call("datasets.uploads", "", effect)

    def _upload(self, path: str, etag: str) -> Upload:
        blob = self.azure.blobs[path]
        at = self.azure.machine_time(blob.ms // 1000 * 1000)  # storage tells whole seconds
        return Upload(account=ACCOUNT, container=CONTAINER, path=path, etag=bare_etag(etag), size=len(blob.content), last_modified=at)

    def open(self, upload: Upload) -> Generator[bytes, None, None]:
        def effect() -> bytes:
            blob = self.azure.blobs.get(upload.path)
            if blob is None or bare_etag(blob.etag) != bare_etag(upload.etag):
                raise errors.UploadChanged("The blob was replaced or deleted while it was read.")
            return blob.content

        yield self.call("datasets.open", upload.path, effect)

    def place(self, folder: str, manifests: str) -> Place:
        return Place(self.azure, folder, manifests)

    def wishes(self, folder: str) -> dict[str, object]:
        return dict(self.call("datasets.wishes", folder, lambda: self.azure.wishes.get(folder, {})))

    def uri(self, folder: str, file: str) -> str:
        return f"azureml://datastores/tuneloop_prepared/paths/{folder}/{file}"

    def upload_uri(self, path: str) -> str:
        return f"azureml://datastores/tuneloop_datasets/paths/{path}"

    def files(self, folder: str, *, hashed_bytes_max: int) -> dict[str, tuple[int, str | None]]:
        return dict(self.call("datasets.files", folder, lambda: files_below(self.azure.prepared, folder, hashed_bytes_max)))

    def write(self, path: str, body: Mapping[str, Any]) -> None:
        self.call("datasets.write", path, lambda: self.azure.prepared.__setitem__(path, dict(body)))

    def read(self, path: str) -> Any:
        found = self.call("datasets.read", path, lambda: self.azure.prepared.get(path))
        return json.loads(found) if isinstance(found, bytes) else found


class Place:
    """A folder of outputs; a file's blocks travel with its commit."""

    def __init__(self, azure: Azure, folder: str, manifests: str) -> None:
        self.azure, self.call = azure, azure.machine.call
        self.folder, self.manifests = folder, manifests

    def stage(self, name: str) -> Any:
        raise AssertionError("The stand-in of preparation commits whole files.")

    def commit(self, name: str, body: bytes) -> None:
        path = f"{self.folder}/{name}"

        def effect() -> None:
            self.azure.check(self.azure.prepared.get(path, body) == body, f"S5: {path} is there with another content")
            self.azure.prepared[path] = body

        self.call("place.commit", path, effect)

    def put(self, name: str, body: bytes, content_type: str) -> None:
        self.call("place.put", f"{self.folder}/{name}", lambda: self.azure.prepared.__setitem__(f"{self.folder}/{name}", body))

    def published(self, content_sha256: str) -> dict[str, Any] | None:
        path = manifest_path(self.manifests, content_sha256)
        found = self.call("place.published", path, lambda: self.azure.prepared.get(path))
        return None if found is None else dict(found)

    def publish(self, content_sha256: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        path, written = manifest_path(self.manifests, content_sha256), manifest_of(content_sha256, self.folder, manifest)

        def effect() -> dict[str, Any]:
            whole = all(f"{self.folder}/{file['name']}" in self.azure.prepared for file in manifest["files"].values())
            self.azure.check(whole, f"S5: {path} is published before its files")
            found: dict[str, Any] = self.azure.prepared.setdefault(path, written)
            assert found[CONTENT_KEY] == content_sha256
            return found

        return dict(self.call("place.publish", path, effect))


class Preparations:
    def __init__(self, azure: Azure) -> None:
        self.azure, self.call = azure, azure.machine.call

    def job(self, name: str) -> PreparationJob | None:
        return self.call("preparations.job", name, lambda: self.azure.preparation_view(name))  # type: ignore[no-any-return]

    def submit(
        self, name: str, *, files: Sequence[str], order: str, out: str, deadline: timedelta, display_name: str, tags: Mapping[str, str]
    ) -> None:
        paths = [uri.partition("/paths/")[2].rstrip("/") for uri in (*files, order, out)]

        def effect() -> None:
            self.azure.prepare(name, paths[0], paths[-2], paths[-1], tags=tags, deadline=deadline, display_name=display_name)

        self.call("preparations.submit", name, effect)

    def cancel(self, name: str) -> None:
        self.call("preparations.cancel", name, lambda: self.azure.cancel(name))


class Trainings:
    def __init__(self, azure: Azure) -> None:
        self.azure, self.call = azure, azure.machine.call

    def catalogue(self) -> Catalogue:
        self.call("trainings.catalogue", "", lambda: None)
        return CATALOGUE

    def job(self, name: str) -> Job | None:
        return self.call("trainings.job", name, lambda: self.azure.job_view(name))  # type: ignore[no-any-return]

    def submit(self, name: str, *, recipe: Recipe, uris: Mapping[str, str], out: str, tags: Mapping[str, str]) -> None:
        model = out.partition("/paths/")[2].rstrip("/")
        self.call("trainings.submit", name, lambda: self.azure.submit(name, tags, model, recipe=recipe, uris=uris))

    def cancel(self, name: str) -> None:
        self.call("trainings.cancel", name, lambda: self.azure.cancel(name))

    def metrics(self, job: str) -> dict[str, float]:
        def effect() -> dict[str, float]:
            found = self.azure.job(job)
            return {"eval_loss": 0.5} if found and found.status == "Completed" else {}

        return dict(self.call("trainings.metrics", job, effect))

    def registered(self, model: str, version: str) -> bool:
        return bool(self.call("trainings.registered", version, lambda: (model, version) in self.azure.models))

    def register(self, model: str, version: str, *, job: str, tags: Mapping[str, str]) -> None:
        self.call("trainings.register", f"{model} {version} of {job}", lambda: self.azure.register(model, version, job, tags))


class Endpoints:
    def __init__(self, azure: Azure) -> None:
        self.azure, self.call = azure, azure.machine.call

    def endpoint(self, name: str) -> EndpointView | None:
        return self.call("endpoints.endpoint", name, lambda: self.azure.view(name))  # type: ignore[no-any-return]

    def create_endpoint(self, name: str, *, tags: Mapping[str, str]) -> None:
        self.call("endpoints.create_endpoint", name, lambda: self.azure.create_endpoint(name, tags))

    def delete_endpoint(self, name: str) -> None:
        self.call("endpoints.delete_endpoint", name, lambda: self.azure.delete_endpoint(name))

    def create_deployment(self, endpoint: str, deployment: Deployment, *, tags: Mapping[str, str]) -> None:
        effect: Callable[[], None] = lambda: self.azure.create_deployment(endpoint, deployment, tags)  # noqa: E731
        self.call("endpoints.create_deployment", f"{endpoint}/{deployment.name}", effect)

    def delete_deployment(self, endpoint: str, name: str) -> None:
        self.call("endpoints.delete_deployment", f"{endpoint}/{name}", lambda: self.azure.delete_deployment(endpoint, name))

    def set_traffic(self, endpoint: str, traffic: Mapping[str, int]) -> None:
        self.call("endpoints.set_traffic", f"{endpoint} {dict(traffic)}", lambda: self.azure.set_traffic(endpoint, traffic))

    def ask(self, endpoint: str, scoring_uri: str, *, deployment: str, body: Mapping[str, object]) -> object:
        return self.call("endpoints.ask", f"{endpoint}/{deployment}", lambda: self.azure.ask(endpoint, deployment, body))

    def log_tail(self, endpoint: str, deployment: str) -> str:
        self.call("endpoints.log_tail", f"{endpoint}/{deployment}", lambda: None)
        return plain(f"weights do not load {QUOTES}")  # as the adapter


class Inventory:
    def __init__(self, azure: Azure) -> None:
        self.azure, self.call = azure, azure.machine.call

    def owned(self, owner: str) -> Iterator[Owned]:
        def effect() -> list[Owned]:
            return [Owned(name=one.name, service=one.service) for one in self.azure.endpoints.values() if one.owner == owner]

        yield from self.call("inventory.owned", "", effect)


class Metrics:
    def __init__(self, azure: Azure) -> None:
        self.azure, self.call = azure, azure.machine.call

    def usage(self, endpoint: str, deployment: str, *, start: datetime, end: datetime) -> Usage | None:
        about = f"{endpoint}/{deployment}"
        try:
            usage, idle = self.call("metrics.usage", about, lambda: self.azure.usage(endpoint, deployment, start, end))
        except errors.TryLater:  # as the adapter: what cannot be read is unknown
            return None
        if idle is not None:  # only now the handler knows it
            self.azure.seen_idle(idle)
        return usage  # type: ignore[no-any-return]


class Turns:
    """The queue; `deliver` is what the host does with a message."""

    def __init__(self, azure: Azure, deliver: Callable[[Key, datetime | None, bytes], None]) -> None:
        self.azure, self.call, self.deliver = azure, azure.machine.call, deliver

    def ring(self, key: Key, *, who: str, promised: datetime | None = None, delay: timedelta = timedelta(0)) -> None:
        wait = delay / timedelta(milliseconds=1)

        def effect() -> None:
            self.azure.watch.rung(key, promised, delay)
            body = {"kind": key.kind.value, "id": key.id, "who": who, "promised": promised.isoformat() if promised else None}
            self.azure.machine.at(wait, self.deliver, key, promised, msgspec.json.encode(body))

        self.call("turns.ring", key, effect)


class Announcer:
    def __init__(self, azure: Azure) -> None:
        self.azure = azure

    def announce(self, change: Change) -> None:
        self.azure.machine.counts["announced"] += 1
        self.azure.watch.announced(change)


def ports(azure: Azure, deliver: Callable[[Key, datetime | None, bytes], None]) -> Ports:
    return Ports(
        ledger=Ledger(azure),
        datasets=Datasets(azure),
        preparations=Preparations(azure),
        trainings=Trainings(azure),
        endpoints=Endpoints(azure),
        metrics=Metrics(azure),
        turns=Turns(azure, deliver),
        announcer=Announcer(azure),
        inventory=Inventory(azure),
    )
