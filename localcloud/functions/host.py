"""
One app, its listeners, and what the outside may ask of them.

A fault in the app leaves the host running with zero functions: every webhook then answers 404 and the status says Error,
because that is what an operator meets in Azure.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from localcloud.functions import blobs, outputs, queues, schedule, settings, timers, worker
from localcloud.functions.invoking import Invoker
from localcloud.functions.worker import Function, Outcome, Value

DRAIN_S = 3.0  # shorter than the 5 s after which a supervisor kills
HANDLED = frozenset({"blobTrigger", "eventGridTrigger", "queueTrigger", "timerTrigger", "httpTrigger"})
log = logging.getLogger("host")


class Listener(Protocol):
    def start(self) -> None: ...
    def stop(self) -> None: ...


class Host:
    """Runs one worker's functions."""

    def __init__(self, its_worker: worker.Worker, options: settings.HostOptions, *, data: Path, lease_s: int) -> None:
        self.options = options
        self.functions: dict[str, Function] = {}
        self.error: str | None = None  # None: the app was indexed
        self._worker, self._data, self._lease_s = its_worker, data, lease_s
        self._invoker = Invoker(its_worker)
        self._listeners: list[Listener] = []
        self._timers: dict[str, timers.Timer] = {}
        self._blobs = blobs.BlobTrigger(self.functions, self._invoker)
        self._started = time.monotonic()

    def start(self, environment: Mapping[str, str]) -> None:
        """Index, resolve, listen. Any fault of the app means zero functions."""
        try:
            functions = [_resolved(function, environment) for function in self._worker.index()]
            self._prepare_listeners(functions, environment)
        except (worker.IndexingFailed, settings.WrongSettings, schedule.WrongSchedule) as error:
            self.error = str(error)
            self._listeners.clear()
            log.error("The app has no functions: %s", error)
            return
        self.functions.update({function.name: function for function in functions})
        for function in functions:
            log.info("Function %s: %s", function.name, function.trigger["type"])
        if not functions:
            log.warning("The app was indexed and has 0 functions.")
        for listener in self._listeners:
            listener.start()

    def stop(self) -> None:
        """Take nothing new, give what runs a moment to end."""
        for listener in self._listeners:
            listener.stop()
        if not self._invoker.wait_until_idle(DRAIN_S):
            log.warning("Functions still run after %.0f s and are cut off; their messages come back.", DRAIN_S)
        self._worker.stop()

    def status(self) -> dict[str, Any]:
        return {
            "id": "localcloud",
            "state": "Error" if self.error else "Running",
            "version": "localcloud",
            "processUptime": int(1000 * (time.monotonic() - self._started)),
            **self._worker.about(),
            **({"errors": [self.error]} if self.error else {}),
        }

    def of_type(self, name: str, trigger: str) -> Function | None:
        """Find a function by name, without regard to case, if it has this trigger."""
        found = next((function for key, function in self.functions.items() if key.lower() == name.lower()), None)
        return found if found and found.trigger["type"] == trigger else None

    def invoke(self, function: Function, data: Value, metadata: Mapping[str, Value] | None = None) -> Outcome:
        """Run a function and write its outputs; a failed output is a failed invocation."""
        outcome = self._invoker(function.name, data, metadata)
        if not outcome.succeeded:
            return outcome
        try:
            for binding in function.outputs:
                if binding["name"] in outcome.outputs:
                    outputs.write(binding, outcome.outputs[binding["name"]])
        except Exception as error:
            log.exception("%s: an output binding failed.", function.name)
            return Outcome(error=f"{type(error).__name__}: {error}")
        return outcome

    def deliver(self, function: Function, event: Mapping[str, Any]) -> Outcome:
        return self.invoke(function, Value("json", json.dumps(event)), {"data": Value("json", json.dumps(event.get("data")))})

    def run_by_hand(self, function: Function, given: str) -> None:
        """POST /admin/functions/NAME: run it once, in the background."""
        threading.Thread(target=self._by_hand, args=(function, given), name=f"{function.name} by hand", daemon=True).start()

    def _by_hand(self, function: Function, given: str) -> None:
        kind = function.trigger["type"]
        if kind == "timerTrigger":
            timer = self._timers[function.name]
            timer.fire(timer.status(), past_due=False)
        elif kind == "blobTrigger":
            container, _, name = given.partition("/")
            self._blobs.run(function, container, name)
        elif kind == "eventGridTrigger":
            self.deliver(function, json.loads(given))
        elif kind == "queueTrigger":
            self.invoke(function, Value("string", given), _invented_metadata(given))
        else:
            log.warning("%s: call its route instead; this host runs HTTP functions by HTTP only.", function.name)

    def _prepare_listeners(self, functions: list[Function], environment: Mapping[str, str]) -> None:
        enabled = [one for one in functions if environment.get(f"AzureWebJobs.{one.name}.Disabled", "").lower() not in ("1", "true")]
        for function in enabled:
            kind = function.trigger["type"]
            if kind == "timerTrigger":
                timer = timers.Timer(function, self._invoker, self._data / "timers")
                self._timers[function.name] = timer
                self._listeners.append(timer)
            elif kind == "queueTrigger":
                self._listeners.append(self._queue_listener(function))
        if any(function.trigger["type"] == "blobTrigger" for function in enabled):
            storage = settings.connection_string(blobs.HOST_STORAGE)
            options = replace(self.options.blobs, base64=False)
            listener = queues.QueueListener(
                storage, blobs.QUEUE, options, lease_s=self._lease_s, handle=self._blobs.handle, poison=blobs.POISON_QUEUE
            )
            self._listeners.append(listener)

    def _queue_listener(self, function: Function) -> queues.QueueListener:
        name = str(function.trigger["queueName"])
        connection = settings.connection_string(function.trigger["connection"])
        poison = None if name.endswith("-poison") else f"{name}-poison"

        def handle(received: queues.Received) -> bool:
            return self.invoke(function, Value("string", received.body), _metadata(received)).succeeded

        return queues.QueueListener(connection, name, self.options.queues, lease_s=self._lease_s, handle=handle, poison=poison)


def _resolved(function: Function, environment: Mapping[str, str]) -> Function:
    trigger = settings.resolve(function.trigger, environment)
    if trigger["type"] not in HANDLED:
        raise worker.IndexingFailed(f"{function.name}: this host knows no {trigger['type']}; run it with Core Tools.")
    unknown = [str(binding["type"]) for binding in function.outputs if binding["type"] not in outputs.KNOWN]
    if unknown:
        raise worker.IndexingFailed(f"{function.name}: this host knows no output {', '.join(unknown)}; run it with Core Tools.")
    return replace(function, trigger=trigger, outputs=[settings.resolve(binding, environment) for binding in function.outputs])


def _metadata(received: queues.Received) -> dict[str, Value]:
    message = received.message
    return {
        "QueueTrigger": Value("string", received.body),
        "Id": Value("string", message.id),
        "PopReceipt": Value("string", message.pop_receipt),
        "DequeueCount": Value("string", str(message.dequeue_count)),
        "InsertionTime": Value("string", _wire_time(message.inserted_on)),
        "ExpirationTime": Value("string", _wire_time(message.expires_on)),
        "NextVisibleTime": Value("string", _wire_time(message.next_visible_on)),
    }


def _invented_metadata(body: str) -> dict[str, Value]:
    """A message that never was on the queue still has an id and times."""
    now = datetime.now(UTC)
    texts = {
        "QueueTrigger": body,
        "Id": str(uuid.uuid4()),
        "PopReceipt": "",
        "DequeueCount": "1",
        "InsertionTime": _wire_time(now),
    }
    later = _wire_time(now + timedelta(days=7))
    return {key: Value("string", text) for key, text in {**texts, "ExpirationTime": later, "NextVisibleTime": later}.items()}


def _wire_time(moment: datetime | None) -> str:
    return (moment or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
