"""
A set is several files that make one dataset: `_dataset.json` in a folder says which, and which rows are to be held out.

The files lie in `_members/` beside it and nowhere else. A file elsewhere would open a tuning of its own, be trained on and served
without the others, and hold out rows that the set trains on; below `_members/` nothing ever does. `_dataset.json` is what opens the
set, so it is written last, and written again when a file was replaced.

A file that is named with its ETag is that version and no other. Without one it is whatever version lies there when the preparation
begins; from then on it is pinned to that.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from shared.domain.upload import MEMBERS_FOLDER, SET_FILE, Upload, bare_etag, checked_path
from shared.errors import Rejected, UploadChanged

Side = Literal["train", "validation", "test"]
SIDES: Final[tuple[Side, ...]] = ("train", "validation", "test")

SET_BYTES_MAX: Final = 64 * 1024
MEMBERS_MAX: Final = 256  # a guess: each is looked at before the first is read, and 256 looks take about 5 s
AWAITED_FOR: Final = timedelta(hours=1)  # a guess: a folder that is uploaded in parallel may show its smallest file long before its largest
FAULTS_NAMED_MAX: Final = 5  # in one sentence
SHOWN_CHARACTERS: Final = 100  # of a path or value that is wrong
WRITE_AGAIN: Final = f"write {SET_FILE} again once its files lie there"
_KINDS: Final = {dict: "another object", list: "a list in the list", bool: "true or false", int: "a number", float: "a number"}
EXAMPLE: Final = '{"train": "_members/train.jsonl", "test": "_members/test.jsonl"}'


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a set."""

    path: str  # from the folder of `_dataset.json` on
    side: Side
    etag: str = ""  # without quotes; "": the version that lies there when the preparation begins


class WrongSet(Rejected):
    """`_dataset.json` or what it names cannot be used."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what[:1].upper()}{what[1:]}; {remedy}.")
        self.what = what  # a clause
        self.remedy = remedy  # an order


def parsed(body: bytes) -> tuple[Member, ...]:
    """
    Return the files that the text of a `_dataset.json` names, in the order of sides and paths; raise WrongSet that names each fault.

    `{"train": …, "validation": …, "test": …}`; a value is a path, `{"path": …, "etag": …}`, or a list of these. Only `train` must be there:
    a side without files is cut from the rows of `train`.
    """
    if len(body) > SET_BYTES_MAX:
        raise too_long(len(body))
    document = _decoded(body)
    faults = [f"{_shown(key)} is no side, there are {', '.join(SIDES)}" for key in document if key not in SIDES]
    if "train" not in document:
        faults.append("train is missing")
    members: list[Member] = []
    for side in SIDES:
        if side in document:
            for found in _members(side, document[side]):
                if isinstance(found, Member):
                    members.append(found)
                else:
                    faults.append(found)
    faults += _among(members)
    if faults:
        more = [f"{len(faults) - FAULTS_NAMED_MAX} more"] if len(faults) > FAULTS_NAMED_MAX else []
        raise WrongSet(f"in {SET_FILE} {'; '.join([*faults[:FAULTS_NAMED_MAX], *more])}", f"correct it and write it again, like {EXAMPLE}")
    return tuple(sorted(members, key=lambda member: (SIDES.index(member.side), member.path)))


def too_long(size: int) -> WrongSet:
    return WrongSet(f"{SET_FILE} has {size:,} bytes, more than the {SET_BYTES_MAX:,} allowed", "name fewer and larger files")


def in_a_folder(folder: str) -> str:
    """Return the folder of a set; raise WrongSet at the root of the container, where no folder gives the service its name."""
    if not folder:
        raise WrongSet(
            f"{SET_FILE} lies at the root of the container", f"put it and {MEMBERS_FOLDER}/ into a folder, which names the service"
        )
    return folder


def check_version(member: Member, found: Upload, *, named_at: datetime) -> None:
    """
    Raise UploadChanged when a file was replaced after the set had named its version, WrongSet when it never was that version.

    `named_at` is the time of `_dataset.json`. A file that has not changed since then had another ETag when it was named: nobody replaced
    it, the ETag is wrong, and its owner would look in vain for what superseded the set. Both times are storage's own, in seconds.
    """
    if not member.etag or member.etag == found.etag:
        return
    if found.last_modified > named_at:
        raise UploadChanged(f"{found.path} was replaced after {SET_FILE} had named its version.")
    raise WrongSet(
        f"the file {found.path} has the ETag {_shown(found.etag)} and had it when {SET_FILE} named {_shown(member.etag)}",
        f"correct the ETag in {SET_FILE} or leave it out",
    )


def missing(paths: list[str]) -> WrongSet:
    """`paths` of files that are named and are not there, or are empty."""
    named = [_shown(path) for path in paths[:FAULTS_NAMED_MAX]]
    more = f" and {len(paths) - len(named)} more" if len(paths) > len(named) else ""
    verb = "is" if len(paths) == 1 else "are"
    return WrongSet(f"{', '.join(named)}{more} {verb} not there or empty", f"upload what is missing, then {WRITE_AGAIN}")


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body.decode("utf-8-sig"), object_pairs_hook=_without_repeats)
    except _Twice as twice:
        raise WrongSet(f"{SET_FILE} has the key {twice} twice in one object", "put several files of one side into a list") from None
    except (ValueError, RecursionError) as error:
        raise WrongSet(f"{SET_FILE} is no JSON in UTF-8 ({_reason(error)})", f"write it like {EXAMPLE}") from None
    if not isinstance(document, dict):
        raise WrongSet(f"{SET_FILE} is no JSON object", f"write it like {EXAMPLE}")
    return document


class _Twice(ValueError):
    """A key stands twice in one object."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Twice(_shown(Counter(key for key, _ in pairs).most_common(1)[0][0]))
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, line {error.lineno}, column {error.colno}"
    if isinstance(error, UnicodeDecodeError):
        return "these bytes are no UTF-8"
    return "it nests too deep" if isinstance(error, RecursionError) else "a number in it is too long"


def _members(side: Side, value: object) -> Iterator[Member | str]:
    """Each file, or a clause that says what is wrong with it."""
    files = value if isinstance(value, list) else [value]
    if not files:
        yield f"{side} names no file"
    for file in files:
        match file:
            case str():
                yield _member(side, file, "")
            case {"path": str(path), "etag": str(etag), **others} if not others:
                yield _member(side, path, bare_etag(etag)) if bare_etag(etag) else f"{side}: the etag of {_shown(path)} is empty"
            case {"path": str(path), **others} if not others:
                yield _member(side, path, "")
            case _:
                # Only its kind: who writes rows here instead of paths would find them in a log.
                yield f'{side}: {_KINDS.get(type(file), "null")} is neither a path nor {{"path": …, "etag": …}}'


def _member(side: Side, path: str, etag: str) -> Member | str:
    try:
        checked_path(path)
    except Rejected as refused:
        return f"{side}: {_shown(path)}: {str(refused).removesuffix('.')}"
    if not path.startswith(f"{MEMBERS_FOLDER}/"):
        return f"{side}: {_shown(path)} does not begin with {MEMBERS_FOLDER}/, where the files of a set lie"
    return Member(path=path, side=side, etag=etag)


def _among(members: list[Member]) -> list[str]:
    paths = [member.path for member in members]
    twice = dict.fromkeys(path for path in paths if paths.count(path) > 1) if len(paths) <= MEMBERS_MAX else {}
    faults = [f"{_shown(path)} stands twice" for path in twice]
    if len(paths) > MEMBERS_MAX:
        faults.append(f"{len(paths):,} files are named, more than the {MEMBERS_MAX} allowed")
    return faults


def _shown(value: object) -> str:
    """Return what somebody wrote as one short piece of a sentence, nothing of it unprintable."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
