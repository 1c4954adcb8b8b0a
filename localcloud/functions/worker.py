"""
The seam between host and worker: everything that crosses it can travel to another process, and does.

The host knows storage, webhooks and clocks; a worker knows the user's code. `Value` is what the real host sends over
gRPC as TypedData. No azure-functions object passes here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class IndexingFailed(Exception):
    """The app cannot be indexed: it has no functions at all, as in the real host. The text says why."""


class WorkerLost(Exception):
    """The worker died too often and is not started again; the host must end. The text says so."""


@dataclass(frozen=True)
class Value:
    """One value on the wire: kind is string, bytes, json (value is the text), http or model_binding_data."""

    kind: str
    value: Any


@dataclass(frozen=True, kw_only=True)
class Retry:
    """A retry policy, as `@app.retry` writes it down. The host honours it for timers only, as the real one does."""

    strategy: str  # fixed_delay or exponential_backoff
    max_retry_count: int  # -1: without end
    first_delay_s: int
    last_delay_s: int


@dataclass(frozen=True, kw_only=True)
class Function:
    """One indexed function, as the host sees it."""

    name: str
    trigger: Mapping[str, Any]  # the trigger's binding, %NAME% not yet resolved
    outputs: Sequence[Mapping[str, Any]] = ()
    deferred: bool = False  # the trigger's data is an SDK type: only a reference travels
    text: bool = False  # the trigger's parameter is annotated str or bytes
    retry: Retry | None = None  # None: no policy

    @property
    def bindings(self) -> list[Mapping[str, Any]]:
        return [self.trigger, *self.outputs]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """Which run of a retried invocation this is; the app finds it in `context.retry_context`."""

    retry_count: int = 0  # 0: the first run
    max_retry_count: int = 0
    error: str = ""  # why the run before failed


FIRST = Attempt()


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
        """Import the app and list its functions. Raises IndexingFailed, or WorkerLost when the import kills the worker."""

    def invoke(self, name: str, data: Value, metadata: Mapping[str, Value], attempt: Attempt) -> Outcome:
        """Run one function to its end, to functionTimeout or to the worker's death. Raises nothing that the function raises."""

    def about(self) -> Mapping[str, Any]:
        """What GET /admin/host/status shows of it."""

    def stop(self) -> None:
        """End at once, with all that runs."""
