"""
Managed online endpoints through azure-ai-ml; questions go straight to the scoring address.

`begin_…` is called and its poller dropped: the next turn looks. The SDK's own `invoke` is not used, because it keeps the
headers of one call for the next ones and hides the status of an error.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from threading import Event, Timer
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.core.rest import HttpRequest

from shared.cloud import clients
from shared.cloud.answers import translated, word
from shared.domain import names
from shared.domain.service import Deployment, DeploymentView, EndpointView
from shared.errors import BadAnswer, TryLater
from shared.plain import plain
from shared.ports import Owned
from shared.settings import Settings

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

REQUEST_TIMEOUT_MS = 90_000  # of one scoring request; the service allows 180 s at most
INSTANCES = 1
LOG_LINES = 20
LOG_CHARACTERS_MAX = 20_000  # of these lines
ESCAPE_LENGTH_MAX = 10  # characters: \U0001f600
ANSWER_BYTES_MAX = 1 << 20  # of what was asked for 64 tokens
ANSWER_SECONDS_MAX = REQUEST_TIMEOUT_MS // 1_000
MODEL_FAILED = frozenset({424, 500, 502, 503, 504})  # 424: the model's own status was an error (how-to-troubleshoot-online-endpoints)
ERROR_CODE = re.compile(r"[A-Za-z][A-Za-z_]{0,39}", re.ASCII)  # a word of a program, never of a dataset


class AzureMlEndpoints:
    """The `Endpoints` and the `Inventory` port over one workspace."""

    def __init__(self, settings: Settings, credential: TokenCredential) -> None:
        self._settings = settings
        self._credential = credential

    @cached_property
    def _workspace(self) -> MLClient:
        return clients.ml_client(self._settings, self._credential)

    def endpoint(self, name: str) -> EndpointView | None:
        with translated(f"Looking at endpoint {name}"):
            try:
                endpoint = self._workspace.online_endpoints.get(name)
                deployments = list(self._workspace.online_deployments.list(name))
            except ResourceNotFoundError:
                return None
        tags = endpoint.tags or {}
        return EndpointView(
            state=word(endpoint.provisioning_state),
            owner=tags.get(names.OWNER_TAG),
            service=tags.get(names.SERVICE_TAG),
            scoring_uri=str(endpoint.scoring_uri or ""),
            traffic={k: int(v) for k, v in (endpoint.traffic or {}).items() if v},
            deployments=tuple(
                DeploymentView(name=d.name, state=word(d.provisioning_state), owner=(d.tags or {}).get(names.OWNER_TAG))
                for d in deployments
            ),
        )

    def owned(self, owner: str) -> Iterator[Owned]:
        with translated("Listing the endpoints"):
            for found in self._workspace.online_endpoints.list():
                tags = found.tags or {}
                if tags.get(names.OWNER_TAG) == owner:
                    yield Owned(name=str(found.name), service=tags.get(names.SERVICE_TAG))

    def create_endpoint(self, name: str, *, tags: Mapping[str, str]) -> None:
        clients.load_sdk()
        from azure.ai.ml.entities import ManagedOnlineEndpoint

        endpoint = ManagedOnlineEndpoint(name=name, auth_mode=self._settings.ENDPOINT_AUTH, tags=dict(tags))
        with translated(f"Creating endpoint {name}"):
            self._workspace.online_endpoints.begin_create_or_update(endpoint)

    def delete_endpoint(self, name: str) -> None:
        with translated(f"Deleting endpoint {name}"):
            try:
                self._workspace.online_endpoints.begin_delete(name)
            except ResourceNotFoundError:
                return

    def create_deployment(self, endpoint: str, deployment: Deployment, *, tags: Mapping[str, str]) -> None:
        clients.load_sdk()
        from azure.ai.ml.entities import ManagedOnlineDeployment, OnlineRequestSettings

        model = f"{self._settings.workspace_id}/models/{deployment.model}/versions/{deployment.model_version}"
        wanted = ManagedOnlineDeployment(
            name=deployment.name,
            endpoint_name=endpoint,
            model=model,
            instance_type=self._settings.SERVING_INSTANCE_TYPE,
            instance_count=INSTANCES,
            request_settings=OnlineRequestSettings(request_timeout_ms=REQUEST_TIMEOUT_MS),
            tags=dict(tags),
        )
        with translated(f"Creating deployment {deployment.name}"):
            self._workspace.online_deployments.begin_create_or_update(wanted)

    def delete_deployment(self, endpoint: str, name: str) -> None:
        with translated(f"Deleting deployment {name}"):
            try:
                self._workspace.online_deployments.begin_delete(name=name, endpoint_name=endpoint)
            except ResourceNotFoundError:
                return

    def set_traffic(self, endpoint: str, traffic: Mapping[str, int]) -> None:
        with translated(f"Setting the traffic of {endpoint}"):
            found = self._workspace.online_endpoints.get(endpoint)
            found.traffic = dict(traffic)
            self._workspace.online_endpoints.begin_create_or_update(found)

    def ask(self, endpoint: str, scoring_uri: str, *, deployment: str, body: Mapping[str, object]) -> object:
        client = clients.rest_client(
            scoring_uri,
            self._scoring_credential(endpoint),
            clients.ML_SCOPE,
            local=self._settings.TUNELOOP_LOCAL,
            what=f"the scoring address of {endpoint}",
        )
        request = HttpRequest("POST", scoring_uri, json=dict(body), headers={"azureml-model-deployment": deployment})
        with client, translated(f"Asking {deployment}"):
            response: Any = client.send_request(request, stream=True)
            with contextlib.closing(response):
                text = _read(response)
            if response.status_code in MODEL_FAILED:
                raise BadAnswer(f"it answered with status {response.status_code}{_reason(text)}.")
            if response.status_code >= 400:
                raise TryLater(f"it answered with status {response.status_code}{_reason(text)}.")
            try:
                return json.loads(text)
            except (ValueError, RecursionError):
                return text

    def log_tail(self, endpoint: str, deployment: str) -> str:
        with translated(f"Reading the log of {deployment}"):
            try:
                log = self._workspace.online_deployments.get_logs(name=deployment, endpoint_name=endpoint, lines=LOG_LINES)
            except (ResourceNotFoundError, HttpResponseError):
                return ""
        told = str(log or "")
        return plain(told, limit=ESCAPE_LENGTH_MAX * len(told))[-LOG_CHARACTERS_MAX:]  # cut first, a secret could lose what it is known by

    def _scoring_credential(self, endpoint: str) -> TokenCredential:
        if self._settings.ENDPOINT_AUTH == "aad_token":
            return self._credential
        with translated(f"Reading the key of {endpoint}"):
            keys = self._workspace.online_endpoints.get_keys(endpoint)
        return _Key(str(keys.primary_key))


class _Key:
    """An endpoint's key in the place of a token; it is sent in the same header and never written down."""

    def __init__(self, key: str) -> None:
        self._key = key

    def get_token(self, *_scopes: str, **_: Any) -> Any:
        import time

        from azure.core.credentials import AccessToken

        return AccessToken(self._key, int(time.time()) + 3600)


def _read(response: Any) -> str:
    """Return the body. Raise TryLater for one that is too large, or that comes too slowly: each byte would be in time for the client."""
    late, body = Event(), bytearray()

    def end() -> None:
        late.set()
        with contextlib.suppress(AttributeError, ValueError, OSError):  # it may have ended meanwhile
            response._internal_response.raw.shutdown()  # closing would wait for the reader; azure-core has no other way to the socket

    clock = Timer(ANSWER_SECONDS_MAX, end)
    clock.daemon = True
    clock.start()
    try:
        for block in response.iter_bytes():
            body += block
            if len(body) > ANSWER_BYTES_MAX:
                raise TryLater(f"it answered with more than {ANSWER_BYTES_MAX:,} bytes.")
    except Exception:
        if not late.is_set():  # else it is what the client makes of a connection that was ended under it
            raise
    finally:
        clock.cancel()
    if late.is_set():
        raise TryLater(f"its answer was not complete after {ANSWER_SECONDS_MAX} seconds.")
    return body.decode(errors="replace")


def _reason(text: str) -> str:
    """
    Return the code of a scoring server's error in brackets, '' where it has none: {"error": {"code": …}}, {"error_code": …} or {"code": …}.

    Its message is left out. It may quote what was asked, which is a row of the dataset; the deployment's log has it.
    """
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    about = [said, said.get("error")] if isinstance(said, dict) else []
    codes = [str(one.get(name, "")) for one in about if isinstance(one, dict) for name in ("code", "error_code")]
    return next((f" ({code})" for code in codes if ERROR_CODE.fullmatch(code)), "")
