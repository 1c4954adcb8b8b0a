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
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from localcloud.functions import blobs, keys, outputs, queues, routes, schedule, settings, timers, worker
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

    def __init__(
        self,
        its_worker: worker.Worker,
        options: settings.HostOptions,
        *,
        data: Path,
        lease_s: int,
        draw_key: Callable[[int], str] | None = None,  # None: keys are not asked for
    ) -> None:
        self.options = options
        self.functions: dict[str, Function] = {}
        self.disabled: set[str] = set()  # names of functions that listen to nothing
        self.error: str | None = None  # None: the app was indexed
        self.keys: keys.Keys | None = None  # None: everything is open
        self._draw_key = draw_key
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
        except (worker.IndexingFailed, settings.WrongSettings, schedule.WrongSchedule, routes.WrongRoute) as error:
            self.error = str(error)
            self._listeners.clear()
            log.error("The app has no functions: %s", error)
            self._ask_for_keys()
            return
        self.functions.update({function.name: function for function in functions})
        self._ask_for_keys()
        for function in functions:
            if function.retry is not None and function.trigger["type"] != "timerTrigger":
                log.warning("%s: its retry policy is ignored; Azure honours none for a %s.", function.name, function.trigger["type"])
            log.info("Function %s: %s%s", function.name, function.trigger["type"], " (disabled)" if function.name in self.disabled else "")
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

    def listening(self, name: str, trigger: str) -> Function | None:
        """Find a function by its exact name, if it has this trigger and is not disabled."""
        found = self.functions.get(name)
        return found if found and found.trigger["type"] == trigger and name not in self.disabled else None

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

    def run_by_hand(self, function: Function, given: object) -> None:
        """POST /admin/functions/NAME: run it once, in the background."""
        text = given if isinstance(given, str) else json.dumps(given)
        threading.Thread(target=self._by_hand, args=(function, text), name=f"{function.name} by hand", daemon=True).start()

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

    def _ask_for_keys(self) -> None:
        if self._draw_key is not None:
            file = self._data / keys.FILE
            self.keys = keys.kept(file, {name: function.trigger for name, function in self.functions.items()}, self._draw_key)
            log.info("Keys are asked for; they are in %s, which only its owner can read.", file)

    def _prepare_listeners(self, functions: list[Function], environment: Mapping[str, str]) -> None:
        self.disabled = {one.name for one in functions if settings.is_disabled(one.name, environment)}
        enabled = [one for one in functions if one.name not in self.disabled]
        for function in functions:
            if function.trigger["type"] == "timerTrigger":  # a disabled one can still be run by hand
                self._timers[function.name] = timers.Timer(function, self._invoker, self._data / "timers")
            elif function.trigger["type"] == "httpTrigger":
                routes.parse(str(function.trigger.get("route") or function.name))
        for function in enabled:
            if function.name in self._timers:
                self._listeners.append(self._timers[function.name])
            elif function.trigger["type"] == "queueTrigger":
                self._listeners.append(self._queue_listener(function))
        if any(function.trigger["type"] == "blobTrigger" for function in enabled):
            storage = settings.connection_string(blobs.HOST_STORAGE)
            options = replace(self.options.blobs, base64=False)
            listener = queues.QueueListener(
                storage, blobs.QUEUE, options, lease_s=self._lease_s, handle=self._blobs.handle, poison=self._blobs.poison
            )
            self._listeners.append(listener)

    def _queue_listener(self, function: Function) -> queues.QueueListener:
        name = str(function.trigger["queueName"])
        connection = settings.connection_string(function.trigger["connection"])
        poison = None if name.endswith("-poison") else lambda _: (connection, f"{name}-poison")

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
