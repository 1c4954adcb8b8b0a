"""
An upload is one version of one blob in the datasets container, and its identity follows from where and what it is.

The same version reported by two doors, or twice by one, is the same upload. A blob name is only ever used after
`checked_path`: an SDK client resolves dot segments, so `../models/x` would read another container.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

import msgspec

from shared.domain.structs import learn
from shared.errors import Rejected

ID_LENGTH = 12  # hex digits = 48 bits: odds of one clash among 240,000 uploads 1e-4 (n^2 / 2^49)
PATH_LENGTH_MAX = 1024  # characters (Azure Storage, naming and referencing containers and blobs)
NOT_A_DATASET = "_"  # a last part that begins so (`_recipe.json`) is about a dataset, never one
SET_FILE = "_dataset.json"  # the exception: it names the files of a set and stands for all of them
MEMBERS_FOLDER = "_members"  # where those lie


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one blob, as a HEAD request showed it."""

    account: str  # storage account that the container is in
    container: str
    path: str  # exact, case and Unicode form kept
    etag: str  # without quotes: HEAD gives quotes, a listing does not
    size: int  # bytes
    last_modified: datetime  # UTC, the service's clock

    @property
    def id(self) -> str:
        return short_hash(self.account, self.container, self.path, self.etag)

    @property
    def order(self) -> tuple[datetime, str]:
        """Which of two uploads of one service is the later one; fixed at birth."""
        return (self.last_modified, self.id)


learn(Upload)


def short_hash(*parts: str) -> str:
    """Return the first 12 hex digits of sha256 over the parts, NUL between them."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:ID_LENGTH]


def bare_etag(etag: str) -> str:
    """Return the ETag without quotes; Event Grid, HEAD and listings disagree about them."""
    return etag.strip().strip('"')


def checked_path(path: str) -> str:
    """Return `path` if it is safe to hand to a client and can be a dataset; raise Rejected with the reason if not."""
    if not path or len(path) > PATH_LENGTH_MAX:
        raise Rejected(f"A blob name has 1 to {PATH_LENGTH_MAX} characters; this one has {len(path)}.")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise Rejected("The blob name has an empty, '.' or '..' segment, which would leave its folder; rename the blob.")
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in path):
        raise Rejected("The blob name has a control character; rename the blob.")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in path):  # half a pair: no client can send it as UTF-8
        raise Rejected("The blob name is no valid Unicode; rename the blob.")
    return path


def is_dataset(path: str) -> bool:
    """Tell whether a blob of this name opens a tuning. Below a folder `_members` none does, not even another `_dataset.json`."""
    *folders, name = path.split("/")
    return MEMBERS_FOLDER not in folders and (is_set(path) or not name.startswith(NOT_A_DATASET))


def is_set(path: str) -> bool:
    return path.rsplit("/", 1)[-1] == SET_FILE


def service_of(path: str) -> str:
    """Return the service's text: the first folder, or the file itself at the root."""
    return path.split("/", 1)[0]


def folder_of(path: str) -> str:
    """Return the folder that may hold the upload's `_recipe.json`, '' at the root."""
    return path.rsplit("/", 1)[0] if "/" in path else ""
