"""
Which state may follow which, as data. Whoever moves something asks here, so that no other order can ever be seen from outside.

The words are Azure's open enumerations (bicep-types-az, machinelearningservices, 2022-02-01-preview to 2026-05-01).
"""

from __future__ import annotations

from collections.abc import Mapping

Moves = Mapping[str, frozenset[str]]

JOB: Moves = {
    "NotStarted": frozenset({"Starting", "CancelRequested"}),
    "Starting": frozenset({"Preparing", "Failed", "CancelRequested"}),
    "Preparing": frozenset({"Queued", "Failed", "CancelRequested"}),
    "Queued": frozenset({"Running", "Failed", "CancelRequested"}),
    "Running": frozenset({"Finalizing", "Failed", "NotResponding", "CancelRequested"}),
    "Finalizing": frozenset({"Completed", "Failed", "CancelRequested"}),
    "CancelRequested": frozenset({"Canceled"}),
    "Completed": frozenset(),
    "Failed": frozenset(),
    "Canceled": frozenset(),
    "NotResponding": frozenset(),
}
_CHANGING = {
    "Creating": frozenset({"Succeeded", "Failed", "Deleting"}),
    "Updating": frozenset({"Succeeded", "Failed", "Deleting"}),
    "Succeeded": frozenset({"Updating", "Deleting"}),
    "Failed": frozenset({"Updating", "Deleting"}),
    "Deleting": frozenset(),  # then it is gone
}
ENDPOINT: Moves = _CHANGING
DEPLOYMENT: Moves = _CHANGING
COMPUTE: Moves = _CHANGING
OPERATION: Moves = {
    "Updating": frozenset({"Succeeded", "Failed", "Canceled"}),
    "Deleting": frozenset({"Succeeded", "Failed", "Canceled"}),
    "Canceling": frozenset({"Succeeded"}),
    "InProgress": frozenset({"Succeeded", "Failed", "Canceled"}),
    "Succeeded": frozenset(),
    "Failed": frozenset(),
    "Canceled": frozenset(),
}


def ends(moves: Moves) -> frozenset[str]:
    """Return the states that nothing follows."""
    return frozenset(state for state, following in moves.items() if not following)


def check(moves: Moves, what: str, before: str, after: str) -> None:
    """Fail loudly at an impossible move: it would be a fault of this cloud, not of its client."""
    assert after in moves[before], f"{what}: {before} -> {after} is not a move"
