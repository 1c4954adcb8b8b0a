"""
An error here is an order: its class says what happens next, its text says what a person can do.

Adapters translate what Azure says into these; the loop never looks at an HTTP status. Nothing here is logged with a
secret or with dataset text, because the texts are written by us or taken from control-plane answers.
"""

from __future__ import annotations

from datetime import timedelta


class TuneloopError(Exception):
    """Everything that Tuneloop raises on purpose."""


class WrongSettings(TuneloopError):
    """The app cannot start with these settings; the text names every fault at once."""


class TryLater(TuneloopError):
    """It may work later: the turn ends, the record is looked at again. Counts as one attempt of the step."""

    def __init__(self, sentence: str, *, after: timedelta | None = None) -> None:
        super().__init__(sentence)
        self.after = after  # None: the loop's own back-off decides


class Stop(TuneloopError):
    """It will not work without a person: the record ends with this sentence and the next action."""

    def __init__(self, sentence: str, *, next_action: str) -> None:
        super().__init__(sentence)
        self.next_action = next_action


class Rejected(TuneloopError):
    """What the owner uploaded cannot be used; the sentence says what to fix."""


class UploadChanged(TuneloopError):
    """The blob is no longer the version that the tuning stands for (or it is gone)."""


class LostRace(TuneloopError):
    """Somebody else wrote the record since we read it. Nothing is wrong: look again."""
