"""What an Azure error means for the loop: try later, wait for quota, or stop with a sentence that a person can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError, ServiceResponseError

from shared.errors import NoQuota, Stop, TryLater
from shared.plain import plain

PASSING = frozenset({408, 409, 423, 429, 500, 502, 503, 504})  # 409, 423: somebody else is at it
RETRY_AFTER_MAX = timedelta(minutes=10)  # a service may say an hour; the record looks again earlier, which costs one GET
RETRY_AFTER_DIGITS_MAX = 6  # more of them are above that cap anyway, and no timedelta or, above 4,300, no int
TEXT_LENGTH_MAX = 600  # characters of a service's text that go into a reason
BUSY_TEXTS = ("provisioning state", "is in updating", "anotheroperationinprogress", "operation in progress")
NO_QUOTA_TEXTS = (  # issues MicrosoftDocs/azure-docs 101942 and MicrosoftLearning/mslearn-azure-ml 30, azureml-examples pull request 1635,
    "not enough quota", "quota reached", "outofquota", "outofcapacity", "lack of azure machine learning capacity",
)  # the last three: Azure docs page how-to-troubleshoot-online-endpoints  # fmt: skip
QUOTA_TEXTS = ("quota", "capacity")  # perhaps: a wrong size may say this too, so nobody waits
ASK_FOR_QUOTA = "Ask for quota of that VM family or choose another size, then upload the file again."


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn whatever the SDK raises inside into TryLater or Stop; `what` begins the sentence."""
    try:
        yield
    except HttpResponseError as error:
        raise _meaning(what, error) from error
    except (ServiceRequestError, ServiceResponseError) as error:
        raise TryLater(f"{what}: the service could not be reached ({type(error).__name__}).") from error
    except AzureError as error:
        raise TryLater(f"{what}: {type(error).__name__}.") from error


def text_of(error: HttpResponseError) -> str:
    """Return the service's own words, cut; they name resources, never keys or dataset text."""
    return plain(error.message or str(error), limit=TEXT_LENGTH_MAX)


def word(value: object) -> str:
    """Return one of Azure's state words as text; the SDK gives an enum for those that it knows and a text for the others."""
    return str(getattr(value, "value", value) or "")


def _meaning(what: str, error: HttpResponseError) -> TryLater | Stop:
    text, status = text_of(error), error.status_code
    lower = text.lower()
    if any(word in lower for word in BUSY_TEXTS) or status in PASSING or status is None:
        return TryLater(f"{what}: {text}", after=_retry_after(error))
    if status in (401, 403):  # a new role assignment takes minutes to arrive, so it is tried again before the record ends
        return TryLater(f"{what}: this app may not do that ({status}); give its identity the roles of docs/operating.md. {text}")
    if any(word in lower for word in NO_QUOTA_TEXTS):
        return NoQuota(f"{what}: {text}", next_action=ASK_FOR_QUOTA)
    if any(word in lower for word in QUOTA_TEXTS):
        return Stop(f"{what}: {text}", next_action=ASK_FOR_QUOTA)
    return Stop(f"{what}: {text} ({status})", next_action="Read the message; after mending the cause upload the file again.")


def _retry_after(error: HttpResponseError) -> timedelta | None:
    """Return what the header asks for, within the cap; None for a date or anything else that is no number of seconds."""
    value = str(getattr(error.response, "headers", {}).get("Retry-After", ""))
    if not (value.isascii() and value.isdigit()):
        return None
    seconds = int(value[:RETRY_AFTER_DIGITS_MAX])
    return min(timedelta(seconds=seconds), RETRY_AFTER_MAX) if seconds else None
