"""
What follows an answer is one pure function: delivered, again after so long, or given up for a stated reason.

Numbers and words: delivery-and-retry (Microsoft Learn, 2026-02). Azure's schedule is best effort, randomised, and may skip steps; here
it is exact unless a spread is asked for. Waiting times are as in Azure; whoever wants them shorter multiplies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, StrEnum

RETRY_AFTER = tuple(timedelta(seconds=seconds) for seconds in (10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200))  # then every 12 h
ATTEMPTS_MAX = 30
TIME_TO_LIVE = timedelta(minutes=1440)
AGAIN_AT_LEAST = timedelta(seconds=10)
DEAD_LETTER_AFTER = timedelta(minutes=5)  # from the last attempt to the blob
DEAD_LETTER_WITHIN = timedelta(hours=4)  # then an event whose container is away is dropped
ANSWER_WITHIN = timedelta(seconds=30)  # then the attempt counts as failed, although the receiver goes on
LATE_ANSWER_WITHIN = timedelta(minutes=3)  # an answer until then may still spare the retry


class Outcome(StrEnum):
    """How an attempt ended, in the words of a dead-letter record."""

    DELIVERED = "Delivered"  # never written down in Azure
    BAD_REQUEST = "BadRequest"
    UNAUTHORIZED = "Unauthorized"
    FORBIDDEN = "Forbidden"
    NOT_FOUND = "NotFound"
    TIMED_OUT = "TimedOut"
    TOO_LARGE = "PayloadTooLarge"  # a guess: no page names the word for 413
    BUSY = "Busy"
    SOCKET_ERROR = "SocketError"
    RESOLUTION_ERROR = "ResolutionError"
    OTHER = "GenericError"  # a guess: no page names the word for 500


OF_STATUS: Mapping[int, Outcome] = {
    400: Outcome.BAD_REQUEST,
    401: Outcome.UNAUTHORIZED,
    403: Outcome.FORBIDDEN,
    404: Outcome.NOT_FOUND,
    408: Outcome.TIMED_OUT,
    413: Outcome.TOO_LARGE,
    429: Outcome.BUSY,
    503: Outcome.BUSY,
    504: Outcome.TIMED_OUT,
}
NEVER_RETRIED = frozenset({400, 401, 403, 413})  # for webhooks
AT_LEAST: Mapping[int, timedelta] = {  # 404: sources disagree about webhooks, an app must not count on it
    404: timedelta(minutes=5),
    408: timedelta(minutes=2),
    503: timedelta(seconds=30),
}
PROBATION: Mapping[Outcome, timedelta] = {  # so long nothing at all is sent to that endpoint
    Outcome.BUSY: timedelta(seconds=10),
    Outcome.TIMED_OUT: timedelta(seconds=10),
    Outcome.SOCKET_ERROR: timedelta(seconds=30),
    Outcome.NOT_FOUND: timedelta(minutes=5),
    Outcome.UNAUTHORIZED: timedelta(minutes=5),
    Outcome.FORBIDDEN: timedelta(minutes=5),
    Outcome.RESOLUTION_ERROR: timedelta(minutes=5),
}


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How long a subscription tries; what is reached first ends it."""

    attempts_max: int = ATTEMPTS_MAX
    time_to_live: timedelta = TIME_TO_LIVE


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an attempt came to: a status, or why there was none."""

    status: int | None = None  # None: no answer
    silence: Outcome = Outcome.TIMED_OUT  # why, where there was no answer
    body: bytes = b""
    allowed_origin: str = ""  # WebHook-Allowed-Origin

    @property
    def outcome(self) -> Outcome:
        if self.status is None:
            return self.silence
        if 200 <= self.status <= 204:
            return Outcome.DELIVERED
        return OF_STATUS.get(self.status, Outcome.OTHER)


class Verdict(Enum):
    DELIVERED = "delivered"
    RETRY = "retry"
    GIVE_UP = "give up"


@dataclass(frozen=True)
class Next:
    """What follows an attempt."""

    verdict: Verdict
    after: timedelta = timedelta(0)  # for RETRY: until the next attempt
    reason: str = ""  # for GIVE_UP: as in a dead-letter record


def after_attempt(answer: Answer, *, attempts: int, policy: RetryPolicy = RetryPolicy(), spread: float = 1.0) -> Next:
    """Decide what follows the `attempts`-th attempt. `spread` multiplies the scheduled wait, never the least one."""
    outcome = answer.outcome
    if outcome is Outcome.DELIVERED:
        return Next(Verdict.DELIVERED)
    if answer.status in NEVER_RETRIED:
        return Next(Verdict.GIVE_UP, reason=f"UndeliverableDueToHttp{outcome}")
    if attempts >= policy.attempts_max:
        return Next(Verdict.GIVE_UP, reason="MaxDeliveryAttemptsExceeded")
    scheduled = RETRY_AFTER[min(attempts, len(RETRY_AFTER)) - 1] * spread
    return Next(Verdict.RETRY, after=max(scheduled, AT_LEAST.get(answer.status or 0, AGAIN_AT_LEAST)))


def expired(age: timedelta, *, attempts: int, policy: RetryPolicy) -> str:
    """Return why an event whose next attempt is due is not tried again; '': it is. Nothing looks at the age in between."""
    return "TimeToLiveExceeded" if attempts and age >= policy.time_to_live else ""
