"""
A folder on this machine as a place of outputs.

What is staged lies in hidden `.part` files; a commit renames, so a file is there whole or not at all. The manifest of an earlier
preparation goes before the first commit and the new one comes last: a folder with a manifest is whole, whenever a process was killed
(a power cut is another matter: nothing is synced to the disk).

A folder is for one preparation at a time. Two at once never mix inside a file, since each writes parts of its own; if at the end the
folder holds files of the other, the manifest is not written. Parts that a killed process left go when the folder is opened next; those
of a living one are locked by it and stay.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from shared import errors
from shared.place import CONTENT_KEY, MANIFEST, manifest_of

HERE: Final = "."  # the folder that the manifest names: its own, so that it says the same wherever it lies
PART: Final = re.compile(r"\..+\.\d+-\d+\.part")

_numbers = itertools.count(1)


class FolderPlace:
    """The `Place` port over a folder, which is made if it is not there. Raises OSError where the disk refuses."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._committed: dict[str, tuple[str, _Print]] = {}  # name -> sha256 and how the file looked then
        _sweep(folder)

    def stage(self, name: str) -> StagedPart:
        return StagedPart(self, name)

    def put(self, name: str, body: bytes, content_type: str) -> None:  # noqa: ARG002  # a file has none
        part = _Part(self._folder, name)
        part.file.write(body)
        part.becomes(self._folder / name)

    def published(self, content_sha256: str) -> dict[str, Any] | None:
        """Return the manifest if it is of this content and the files are still what it says: anybody may edit a folder."""
        try:
            found = json.loads((self._folder / MANIFEST).read_bytes())
            files = {said.get("name", key): said["sha256"] for key, said in found.get("files", {}).items()}
            whole = found[CONTENT_KEY] == content_sha256 and all(_sha256(self._folder / name) == sha256 for name, sha256 in files.items())
        except (FileNotFoundError, IsADirectoryError, ValueError, LookupError, AttributeError, TypeError, RecursionError):  # none of ours
            return None
        return dict(found) if whole else None

    def publish(self, content_sha256: str, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Raise Stop if somebody else wrote over a file that was committed here."""
        found = self.published(content_sha256)
        if found is not None:
            return found
        for name, (sha256, looked) in self._committed.items():
            path = self._folder / name
            if not path.exists() or (_print(path) != looked and _sha256(path) != sha256):
                raise errors.Stop(
                    f"{name} in {self._folder} was changed by somebody else while this dataset was prepared.",
                    next_action="Prepare it again into a folder that nothing else writes to.",
                )
        written = manifest_of(content_sha256, HERE, manifest)
        self.put(MANIFEST, (json.dumps(written, ensure_ascii=False, indent=1) + "\n").encode(), "application/json")
        return written

    def _commit(self, part: _Part, name: str, sha256: str) -> None:
        if not self._committed:
            (self._folder / MANIFEST).unlink(missing_ok=True)
        part.becomes(self._folder / name)
        self._committed[name] = (sha256, _print(self._folder / name))


class StagedPart:
    """The `StagedFile` port over a hidden file."""

    def __init__(self, place: FolderPlace, name: str) -> None:
        self._place = place
        self._name = name
        self._part = _Part(place._folder, name)

    def write(self, block: bytes) -> None:
        self._part.file.write(block)

    def commit(self, sha256: str) -> None:
        self._place._commit(self._part, self._name, sha256)

    def abandon(self) -> None:
        self._part.goes()


class _Part:
    """A file that nobody looks for, locked for as long as its process lives."""

    def __init__(self, folder: Path, name: str) -> None:
        while True:  # ends at the first number that no killed process of our pid had and no sweep got hold of
            self.path = folder / f".{name}.{os.getpid()}-{next(_numbers)}.part"
            try:
                self.file: BinaryIO = self.path.open("xb")
            except FileExistsError:
                continue
            if _locked(self.file) and self.path.exists():  # a sweep may come between opening and locking
                return
            self.file.close()

    def becomes(self, path: Path) -> None:
        self.file.flush()
        if sys.platform == "win32":  # an open file has no other name there
            self.file.close()
        self.path.replace(path)
        self.file.close()

    def goes(self) -> None:
        with contextlib.suppress(OSError):  # a buffer that the full disk does not take is not wanted any more
            self.file.close()
        with contextlib.suppress(OSError):
            self.path.unlink()


def _sweep(folder: Path) -> None:
    """Remove the parts that killed processes left."""
    for path in folder.iterdir():
        if PART.fullmatch(path.name):
            with contextlib.suppress(OSError):  # gone already
                _remove_if_left(path)


if sys.platform == "win32":

    def _locked(file: BinaryIO) -> bool:
        """An open file cannot be removed there."""
        return not file.closed

    def _remove_if_left(path: Path) -> None:
        path.unlink()

else:
    import fcntl

    def _locked(file: BinaryIO) -> bool:
        """Take the lock; False if somebody else has it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _remove_if_left(path: Path) -> None:
        with path.open("rb") as file:
            if _locked(file):
                path.unlink()


_Print = tuple[int, int, int]


def _print(path: Path) -> _Print:
    """What changes when a file is replaced or written to, without reading it."""
    seen = path.stat()
    return (seen.st_ino, seen.st_size, seen.st_mtime_ns)


def _sha256(path: Path) -> str:
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
