"""
A body is read once against the shape of its resource; what does not fit is refused with its full path, the value seen and what is wanted.

Names of fields are compared exactly (whether Azure ML forgives another case is not known). Null is as good as absent wherever a field is
not required: Azure's swagger marks those fields nullable. Read-only fields that a client sends back are typed, and otherwise ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from localcloud.azureml.shapes import faults, versions
from localcloud.azureml.wire import Json, Refused


class Fields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """An object of which every field is known."""


class Elsewhere(msgspec.Struct, frozen=True):
    """An object that Azure takes and the local cloud does not play; nothing of it is looked at but its kind."""


T = TypeVar("T")
Kinds = Iterable[tuple[str, str, object]]  # path of a discriminator, the word that is played, the object that it chose


@dataclass(frozen=True, kw_only=True)
class Shape(Generic[T]):
    """The shape of one body."""

    of: type[T]
    what: str  # as a sentence begins with it: "A job"
    code: str = "UserError"  # the error code with which that part of Azure ML refuses a body
    limits: tuple[versions.Limit, ...] = ()
    kinds: Callable[[T], Kinds] = lambda _: ()  # the places where a kind may be one that only Azure plays

    def __post_init__(self) -> None:
        # msgspec builds what it knows of a type at its first use, and two threads that see it half built end the process: let the
        # one thread that imports this module do it
        msgspec.json.Decoder(self.of)

    def read(self, body: Json, *, version: str | None = None, name: str | None = None) -> T:
        """
        Return the body as a value; raise Refused (400, or 501 for what is Azure's and not played here) with the field as its target.

        `version` is the api-version of the request (None: the address has none), `name` the last segment of its path.
        """
        try:
            value = msgspec.convert(body, self.of)
        except msgspec.ValidationError as error:
            raise self._refused(faults.explain(self.of, body, str(error))) from None
        for limit in versions.barred(self.limits, version) if version else ():
            for path in limit.breaches(body):
                raise self._refused(_too_new(limit, path, str(version)))
        if name is not None and body.get("name") not in (None, name):
            sentence = f"name must be {name}, as in the address, and is {faults.shown(body['name'])}"
            raise self._refused(faults.Fault(path="name", sentence=sentence))
        for path, played, chosen in self.kinds(value):
            if isinstance(chosen, Elsewhere):
                raise _elsewhere(path, played, chosen)
        return value

    def _refused(self, fault: faults.Fault) -> Refused:
        if fault.path == "location" and fault.sentence.endswith(faults.REQUIRED):
            return Refused(400, "LocationRequired", "The location property is required for this definition.", target="location")
        return Refused(400, self.code, f"{self.what}: {fault.sentence}.", target=fault.path or None)


def unplayed(fields: Mapping[str, object]) -> None:
    """Refuse (501) a field that Azure takes and the local cloud does not play: path -> its value, of which null and empty ask nothing."""
    for path, value in fields.items():
        if value:
            raise Refused(501, "NotImplementedByLocalCloud", f"The local cloud does not play {path}; leave it out.", target=path)


def _elsewhere(path: str, played: str, chosen: Elsewhere) -> Refused:
    message = f"The local cloud plays {played} as {path}, and this is {chosen.__struct_config__.tag}."
    return Refused(501, "NotImplementedByLocalCloud", message, target=path)


def _too_new(limit: versions.Limit, path: str, version: str) -> faults.Fault:
    there = f"from {limit.since} to {limit.until}" if limit.until != versions.READ[-1] else f"from {limit.since} on"
    return faults.Fault(path=path, sentence=f"api-version {version} does not know {path}{_of(limit)}; Azure has it {there}")


def _of(limit: versions.Limit) -> str:
    return f" with the value {' or '.join(sorted(limit.words))}" if limit.words else ""
