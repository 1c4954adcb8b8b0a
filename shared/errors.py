"""
An error here is an order: its class says what happens next, its text says what a person can do.

Adapters translate what Azure says into these; the loop never looks at an HTTP status. Nothing here is logged with a
secret or with dataset text: the texts are written by us or taken from control-plane answers, and each is made plain here, once.
"""

from __future__ import annotations

from datetime import timedelta

from shared.plain import plain, plain_lines


class TuneloopError(Exception):
    """Everything that Tuneloop raises on purpose. Its text is one line, can be written anywhere and shows no secret."""

    def __init__(self, sentence: str) -> None:
        super().__init__(plain(sentence))


class WrongSettings(TuneloopError):
    """The app cannot start with these settings; the text names every fault at once, a line for each."""

    def __init__(self, text: str) -> None:
        Exception.__init__(self, plain_lines(text))


class TryLater(TuneloopError):
    """It may work later: the turn ends, the record is looked at again. Counts as one attempt of the step."""

    def __init__(self, sentence: str, *, after: timedelta | None = None) -> None:
        super().__init__(sentence)
        self.after = after  # None: the loop's own back-off decides


class BadAnswer(TryLater):
    """A model was reached and failed to answer. What could not be reached, was throttled or refused us says nothing about the model."""


class Stop(TuneloopError):
    """It will not work without a person: the record ends with this sentence and the next action."""

    def __init__(self, sentence: str, *, next_action: str) -> None:
        super().__init__(sentence)
        self.next_action = plain(next_action)


class NoQuota(Stop):
    """Azure has no quota or no machine for it now, known by its words: whoever can wait waits; for the others it will not work."""


class Exhausted(Stop):
    """Every try of a step failed. What it asked for may have been done all the same."""


class Rejected(TuneloopError):
    """What the owner uploaded cannot be used; the sentence says what to fix."""


class UploadChanged(TuneloopError):
    """The blob is no longer the version that the tuning stands for (or it is gone)."""


class LostRace(TuneloopError):
    """Somebody else wrote the record since we read it. Nothing is wrong: look again."""


class UnreadableRecord(TuneloopError):
    """A record that this version of the app cannot read: damaged, or of a newer one. It is left alone, and people are told."""
