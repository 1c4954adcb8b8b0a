"""A place of outputs in memory: refuses as the container does, and keeps what it shows by the path that Azure would see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shared import errors
from shared.place import CONTENT_KEY, manifest_of, manifest_path


class MemoryPlace:
    """The `Place` port over a dict of path -> bytes, and path -> document for manifests."""

    def __init__(
        self,
        store: dict[str, Any] | None = None,
        folder: str = "out",
        manifests: str = "manifests",
        *,
        called: Callable[[Callable[[], Any]], Any] = lambda effect: effect(),
    ) -> None:
        self.store: dict[str, Any] = {} if store is None else store
        self.folder = folder
        self.manifests = manifests
        self.called = called  # every call to the outside goes through it: a test may plant a fault there

    def stage(self, name: str) -> MemoryFile:
        return MemoryFile(self, f"{self.folder}/{name}")

    def put(self, name: str, body: bytes, content_type: str) -> None:
        self.called(lambda: self.store.__setitem__(f"{self.folder}/{name}", body))

    def published(self, content_sha256: str) -> dict[str, Any] | None:
        found = self.called(lambda: self.store.get(manifest_path(self.manifests, content_sha256)))
        if found is not None and found[CONTENT_KEY] != content_sha256:
            raise errors.Stop("Another content is published at this address.", next_action="")
        return None if found is None else dict(found)

    def publish(self, content_sha256: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        written = manifest_of(content_sha256, self.folder, manifest)
        self.called(lambda: self.store.setdefault(manifest_path(self.manifests, content_sha256), written))
        return self.published(content_sha256) or written


class MemoryFile:
    def __init__(self, place: MemoryPlace, path: str) -> None:
        self._place = place
        self._path = path
        self._blocks: list[bytes] = []

    def write(self, block: bytes) -> None:
        self._place.called(lambda: self._blocks.append(block))

    def commit(self, sha256: str) -> None:
        def effect() -> None:
            body = b"".join(self._blocks)
            if self._path in self._place.store and self._place.store[self._path] != body:
                raise errors.Stop(f"{self._path} is there with other content.", next_action="")
            self._place.store[self._path] = body

        self._place.called(effect)

    def abandon(self) -> None:
        self._blocks.clear()
