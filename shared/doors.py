"""
What stands between a trigger's argument and the loop: read the envelope, hand it on.

Imported by function_app.py at indexing, so the loop and the SDKs load at the first call, not here. Each function returns
in well under a second, since Event Grid sends an event again after 30 s without an answer; only a turn may take longer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from shared import wiring

log = logging.getLogger("tuneloop.doors")


def dataset_written(container: str, path: str, *, who: str) -> None:
    from shared.reconcile import arrivals

    arrivals.dataset_written(wiring.loop(), container, path, who=who)


def dataset_event(event: Any, *, who: str) -> None:
    from shared.reconcile import arrivals

    arrivals.dataset_event(wiring.loop(), _envelope(event), who=who)


def job_event(event: Any, *, who: str) -> None:
    from shared.reconcile import arrivals

    arrivals.job_event(wiring.loop(), _envelope(event), workspace_id=wiring.settings().workspace_id, who=who)


def take_turn(body: bytes) -> None:
    from shared.reconcile import arrivals, turn

    message = arrivals.message(body.decode("utf-8", "replace"))
    if message is None:
        log.error("A message on the queue of turns is not ours; dropped. action=message_dropped")
        return
    key, who, promised = message
    turn.take(wiring.loop(), wiring.lives(), key, who=who, promised=promised)


def turn_poisoned(body: bytes) -> None:
    """Tell of a turn that failed too often; the timer takes its record up again. Cannot raise: nothing would catch it."""
    from shared.reconcile import arrivals

    message = arrivals.message(body.decode("utf-8", "replace"))
    log.error("A turn for %s failed too often; the timer looks again. action=turn_poisoned", message[0] if message else "?")
    try:
        if message:
            arrivals.turn_poisoned(wiring.loop(), message[0])
    except Exception as error:  # noqa: BLE001 - whatever it is, the message is told of once and gone
        log.warning("Nobody but the log was told of it (%s). action=announce_failed", type(error).__name__)


def look_again(*, who: str) -> None:
    from shared.reconcile import timers

    timers.look_again(wiring.loop(), wiring.lives(), who=who)


def tear_down_idle_endpoints(*, who: str) -> None:
    from shared.reconcile import timers

    timers.tear_down_idle_endpoints(wiring.loop(), who=who)


def _envelope(event: Any) -> Any:
    """Return the part of an EventGridEvent or CloudEvent that is looked at; what is missing is empty."""
    from shared.domain.doorbell import Event

    data = event.get_json()
    return Event(
        type=str(getattr(event, "event_type", None) or getattr(event, "type", None) or ""),
        subject=str(event.subject or ""),
        source=str(getattr(event, "topic", None) or getattr(event, "source", None) or ""),
        data=data if isinstance(data, Mapping) else {},
    )
