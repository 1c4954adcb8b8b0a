"""
Clients of Azure ML, built once a process, with bounded retries and an address that was checked.

azure-core obeys `Retry-After: 3600` with one sleep of an hour and repeats a call for up to seven days; a handler may
not. azure-ai-ml also attaches a log handler of its own at import, which would hide its lines from the host. At import it asks for its
cloud's metadata: who imports anything of it calls `load_sdk` before. And it looks at the errors of the files that it uploads only while
it shows progress (1.35.2, _utils/_asset_utils.py); else it waits for ever for a file that failed. So progress is shown, by bars that are
off.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from azure.core import PipelineClient
from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, HeadersPolicy, RetryPolicy, UserAgentPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest

from shared.cloud.addresses import checked
from shared.errors import TryLater
from shared.settings import Settings

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

CONNECT_SECONDS = 10
READ_SECONDS = 60
RETRIES = 2
RETRY_SECONDS_MAX = 10.0  # of one sleep; longer waits belong in the record, not in a handler
CALL_SECONDS_MAX = 120.0  # after so long nothing is sent again, so that no call of ours outlives the function that made it
ARM_SCOPE = "https://management.azure.com/.default"
ML_SCOPE = "https://ml.azure.com/.default"
SDK = "azure.ai.ml"
NO_BARS = "TQDM_DISABLE"  # read by tqdm at its import
_loading = threading.Lock()
BOUNDS: dict[str, Any] = {
    "connection_timeout": CONNECT_SECONDS,
    "read_timeout": READ_SECONDS,
    "retry_total": RETRIES,
    "retry_backoff_max": RETRY_SECONDS_MAX,
}


class CappedRetry(RetryPolicy[Any, Any]):
    """azure-core's retries with a bound on what Retry-After may ask for, and on all of a call's tries together."""

    def __init__(self) -> None:
        super().__init__(**BOUNDS, timeout=CALL_SECONDS_MAX)

    def get_retry_after(self, response: PipelineResponse[Any, Any]) -> float | None:
        try:
            after = super().get_retry_after(response)
        except (ValueError, OverflowError):  # neither a number nor a date: azure-core would let it out in the place of the answer
            return None
        return min(after, RETRY_SECONDS_MAX) if after else after


class CappedTransport(RequestsTransport):
    """The SDK's own transport that never sleeps longer than the cap; for a client whose retry policy cannot be given."""

    def sleep(self, duration: float) -> None:
        super().sleep(min(duration, RETRY_SECONDS_MAX))


def credential() -> TokenCredential:
    """
    Return DefaultAzureCredential without the choices that wait for a person; steered by the environment alone.

    Each of its credentials has retries of its own, which obey Retry-After and cannot all be replaced, so the transport holds the cap.
    """
    from azure.identity import DefaultAzureCredential

    transport = CappedTransport(connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS)
    default: TokenCredential = DefaultAzureCredential(
        exclude_interactive_browser_credential=True, process_timeout=READ_SECONDS, transport=transport, timeout=CALL_SECONDS_MAX
    )
    return default


def load_sdk() -> None:
    """
    Import azure-ai-ml whole or not at all; raise TryLater when it cannot be.

    At import it asks for the cloud's metadata (1.35.2, entities/_credentials.py), unless the cloud is one that it knows. A lost answer
    leaves it half imported, and Python would show every later import in this process the half that is there.
    """
    with _loading:
        os.environ.setdefault(NO_BARS, "1")
        before = frozenset(sys.modules)
        try:
            importlib.import_module(SDK)
        except Exception as error:
            for name in frozenset(sys.modules) - before:
                if name == SDK or name.startswith(f"{SDK}."):
                    del sys.modules[name]
            reason = f"azure-ai-ml could not be loaded ({type(error).__name__}); it asks for the cloud's metadata then."
            raise TryLater(reason) from error
        importlib.import_module("tqdm").tqdm.monitor_interval = 0  # no thread beside each bar, also one that is off


def ml_client(settings: Settings, credential: TokenCredential, *, registry: str | None = None) -> MLClient:
    """Return an MLClient for the workspace, or for a registry; raise WrongSettings when it points where it must not."""
    load_sdk()
    from azure.ai.ml import MLClient

    _let_logs_through()
    _check_cloud(local=settings.TUNELOOP_LOCAL)
    where: dict[str, Any] = (
        {"registry_name": registry}
        if registry
        else {
            "subscription_id": settings.AZURE_SUBSCRIPTION_ID,
            "resource_group_name": settings.AZURE_RESOURCE_GROUP,
            "workspace_name": settings.AZUREML_WORKSPACE,
        }
    )
    client = MLClient(credential, **where, show_progress=True, enable_telemetry=False, retry_policy=CappedRetry(), **BOUNDS)
    checked(arm_address(client), local=settings.TUNELOOP_LOCAL, what="Azure Resource Manager")
    return client


def _check_cloud(*, local: bool) -> None:
    """Check what the SDK has resolved before anything is built: a registry's client sends its first request, with a token, when built."""
    from azure.ai.ml import _azure_environments as clouds

    cloud = clouds._get_default_cloud_name()
    checked(clouds._get_base_url_from_metadata(cloud), local=local, what="Azure Resource Manager")
    checked(clouds._get_registry_discovery_endpoint_from_metadata(cloud), local=local, what="The discovery of registries")


def arm_address(client: MLClient) -> str:
    """Return the address of Azure Resource Manager that the client has resolved, without a trailing slash."""
    return str(client._base_url).rstrip("/")


def rest_client(address: str, credential: TokenCredential, scope: str, *, local: bool, what: str) -> PipelineClient[Any, Any]:
    """Return a plain REST client with a bearer token, for what azure-ai-ml has no method for."""
    checked(address, local=local, what=what)
    policies = [
        HeadersPolicy(),
        UserAgentPolicy("tuneloop"),
        CappedRetry(),
        BearerTokenCredentialPolicy(credential, scope),
    ]
    return PipelineClient(address, policies=policies, **BOUNDS)


def get_json(client: PipelineClient[Any, Any], url: str, **params: str) -> Any:
    """GET a JSON document; raise HttpResponseError for any status from 400 on."""
    response = client.send_request(HttpRequest("GET", url, params=params))
    response.raise_for_status()
    return response.json()


def _let_logs_through() -> None:
    for name in ("azure.ai.ml", "azure"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)
