"""
The seam between host and worker: what crosses it could travel to another process.

The host knows storage, webhooks and clocks; a worker knows the user's code. `Value` is what the real host sends over
gRPC as TypedData. No azure-functions object passes here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class IndexingFailed(Exception):
    """The app cannot be indexed: it has no functions at all, as in the real host. The text says why."""


class TimedOut(Exception):
    """A function ran longer than functionTimeout; the worker must die with all that it runs."""


@dataclass(frozen=True)
class Value:
    """One value on the wire: kind is string, bytes, json (value is the text), http or model_binding_data."""

    kind: str
    value: Any


@dataclass(frozen=True, kw_only=True)
class Function:
    """One indexed function, as the host sees it."""

    name: str
    trigger: Mapping[str, Any]  # the trigger's binding, %NAME% not yet resolved
    outputs: Sequence[Mapping[str, Any]] = ()
    deferred: bool = False  # the trigger's data is an SDK type: only a reference travels
    text: bool = False  # the trigger's parameter is annotated str or bytes

    @property
    def bindings(self) -> list[Mapping[str, Any]]:
        return [self.trigger, *self.outputs]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How an invocation ended."""

    error: str | None = None  # None: it succeeded. A sentence, without the trigger's data
    traceback: str = ""
    outputs: Mapping[str, Value] = field(default_factory=dict)  # by binding name; "$return" is the returned value

    @property
    def succeeded(self) -> bool:
        return self.error is None


class Worker(Protocol):
    """What runs the user's functions."""

    def index(self) -> Sequence[Function]:
        """Import the app and list its functions, or raise IndexingFailed."""

    def invoke(self, name: str, data: Value, metadata: Mapping[str, Value]) -> Outcome:
        """Run one function to its end. Raises TimedOut; never what the function raises."""

    def stop(self) -> None:
        """Take no more invocations."""
