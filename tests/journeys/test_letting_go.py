"""A service is let go on what its record says at that moment, not on what it said when the timer read the fleet."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from shared.domain import service
from shared.domain.fleet import Permit
from shared.reconcile import timers

pytestmark = pytest.mark.light

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SHOP = service.opened("shop", owner="somebody", now=NOON)
PERMIT = Permit(service=SHOP.id, deployments=("d1-84905ec0",))


def test_a_service_that_was_used_since_the_fleet_was_read_is_not_let_go() -> None:
    used = msgspec.structs.replace(SHOP, idle=service.IdleClock(used_at=NOON))

    assert timers._permitted(used, PERMIT) == used


def test_a_service_that_is_still_idle_is_let_go_and_its_clock_goes_on() -> None:
    idle = msgspec.structs.replace(SHOP, idle=service.IdleClock(marked_at=NOON, seen_idle_at=NOON))

    assert timers._permitted(idle, PERMIT).idle == service.IdleClock(marked_at=NOON, seen_idle_at=NOON, permit=PERMIT.deployments)
