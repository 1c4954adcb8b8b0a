"""
Where outputs come to be: a folder on this machine, or one in the prepared container.

A file is staged block by block and nobody sees it; `commit` makes it visible, whole or not at all. The manifest comes last and only
once, and only it makes a prepared dataset exist. So a crash anywhere leaves nothing half published, and two workers that prepare the
same upload publish it once. One suite (tests/contract/test_places.py) holds every place to this.

It lies beside the ports and not in a room, since the loop's ports name it and preparation writes into it, and neither may know the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

MANIFEST = "manifest.json"
CONTENT_KEY = "content_sha256"  # of a manifest: what it is about
FOLDER_KEY = "folder"  # of a manifest: where its files lie, as the place that published it names it
CONTENT_LENGTH = 16  # hex digits of the content that name a manifest's folder: 64 bits, and the whole is compared when it is read


class StagedFile(Protocol):
    """A file that is being written and that nobody sees yet."""

    def write(self, block: bytes) -> None:
        """Append. May return before the block has arrived; its failure is raised later, by commit at the latest."""
        ...

    def commit(self, sha256: str) -> None:
        """Make the file visible; `sha256` (hex) is over all blocks. That the same file is there already is no error."""
        ...

    def abandon(self) -> None:
        """Forget it. Never raises; after `commit` it does nothing."""
        ...


class Place(Protocol):
    """A folder of outputs."""

    def stage(self, name: str) -> StagedFile:
        """Begin a file. Beginning the same name again after `abandon` is allowed; what was staged before is never mixed in."""
        ...

    def put(self, name: str, body: bytes, content_type: str) -> None:
        """Write a small file at once, over an older one."""
        ...

    def published(self, content_sha256: str) -> dict[str, Any] | None:
        """Return the manifest of this content, None if nobody has published it. If it is there, nothing need be committed."""
        ...

    def publish(self, content_sha256: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """
        Write the manifest if there is none for this content (if-none-match); return the one that is there then.

        `content_sha256` and `folder` are added to what is written: the folder where the files of this very manifest lie.
        """
        ...


def manifest_of(content_sha256: str, folder: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest as every place writes it."""
    return {**manifest, CONTENT_KEY: content_sha256, FOLDER_KEY: folder}


def manifest_path(manifests: str, content_sha256: str) -> str:
    """Return the path of a manifest in a container: content-addressed, so that the same content is published once a service."""
    return f"{manifests}/{content_sha256[:CONTENT_LENGTH]}/{MANIFEST}"
