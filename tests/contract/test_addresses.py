"""In local mode no client leaves this machine, in Azure none stays on it; and no token is asked for before that is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from azure.core.credentials import AccessToken

from shared import settings as app_settings
from shared.cloud import clients
from shared.cloud.addresses import checked
from shared.cloud.storage import Account
from shared.errors import WrongSettings

LOCAL = app_settings.read({"AZURE_SUBSCRIPTION_ID": "s", "AZURE_RESOURCE_GROUP": "r", "AZUREML_WORKSPACE": "w", "TUNELOOP_LOCAL": "1"})
IN_AZURE = LOCAL.model_copy(update={"TUNELOOP_LOCAL": False})


@pytest.mark.light
@pytest.mark.parametrize(
    "address",
    ["https://localhost:8443", "http://127.0.0.1:10000/devstoreaccount1", "https://LOCALHOST/x", "http://[::1]:1/", "https://127.0.0.1"],
)
def test_an_address_of_this_machine_is_good_in_local_mode_and_refused_in_azure(address: str) -> None:
    assert checked(address, local=True, what="X") == address
    with pytest.raises(WrongSettings, match=r"^X: .* is this machine"):
        checked(address, local=False, what="X")


@pytest.mark.light
@pytest.mark.parametrize(
    "address",
    ["https://management.azure.com", "https://acc.blob.core.windows.net/", "https://eastus.api.azureml.ms/", "https://localhost.evil.example/",
     "https://evil.example/localhost", "https://127.0.0.1.evil.example", "https://evil.example:443/#localhost", "https://0x7f000001/"],
)  # fmt: skip
def test_any_other_address_is_good_in_azure_and_refused_in_local_mode(address: str) -> None:
    assert checked(address, local=False, what="X") == address
    with pytest.raises(WrongSettings, match=r"^X: .* is not on this machine"):
        checked(address, local=True, what="X")


@pytest.mark.light
@pytest.mark.parametrize("address", ["http://acc.blob.core.windows.net", "ftp://management.azure.com", "", "management.azure.com"])
def test_in_azure_only_https_is_spoken(address: str) -> None:
    with pytest.raises(WrongSettings, match="is not encrypted"):
        checked(address, local=False, what="X")


@pytest.mark.light
@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize(
    "address", ["https://user@localhost/", "https://user:secret@management.azure.com/", "https://localhost@evil.example/"]
)
def test_an_address_with_a_name_or_password_is_refused_without_repeating_it(address: str, local: bool) -> None:
    with pytest.raises(WrongSettings) as wrong:
        checked(address, local=local, what="X")

    assert "secret" not in str(wrong.value)


class NeverAsked:
    """A credential that no test may need."""

    def get_token(self, *_: str, **__: Any) -> Any:
        raise AssertionError("a token was asked for before the address was checked")


@pytest.fixture
def no_cloud_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop whose emulator is not up: the SDK falls back to public Azure. No request can leave, nobody is behind the proxy."""
    for name in ("ARM_CLOUD_METADATA_URL", "AZUREML_CURRENT_CLOUD", "REGISTRY_DISCOVERY_ENDPOINT_URL", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.mark.usefixtures("no_cloud_is_named")
@pytest.mark.parametrize("registry", [None, "azureml"])
def test_local_mode_refuses_the_real_azure_that_the_sdk_falls_back_to(registry: str | None) -> None:
    with pytest.raises(WrongSettings, match=r"is not on this machine, and TUNELOOP_LOCAL is on\. Nothing was sent to it\."):
        clients.ml_client(LOCAL, NeverAsked(), registry=registry)


@pytest.mark.usefixtures("no_cloud_is_named")
def test_azure_mode_takes_the_real_azure_and_asks_for_nothing_yet() -> None:
    assert clients.arm_address(clients.ml_client(IN_AZURE, NeverAsked())) == "https://management.azure.com"


class Giving:
    """A credential that gives a token to whoever asks, so that it is the address alone that keeps a request from leaving."""

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken("a-token-of-ours", 1 << 40)


class Named(ThreadingHTTPServer):
    """Tells a cloud's addresses as Azure Resource Manager does, and is the proxy through which any other request would leave."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Named)
        self.base = f"http://127.0.0.1:{self.server_port}/"
        self.arm = self.base
        self.leaving: list[str] = []


class _Named(BaseHTTPRequestHandler):
    server: Named

    def do_GET(self) -> None:
        if not self.path.startswith("/"):
            self.do_CONNECT()
            return
        cloud = {
            "name": "NamedCloud",
            "portal": "https://portal.named.invalid",
            "resourceManager": self.server.arm,
            "authentication": {"loginEndpoint": self.server.base},
            "suffixes": {"storage": "named.invalid"},
        }
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps([cloud]).encode())

    def do_CONNECT(self) -> None:
        self.server.leaving.append(self.path)
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def named(no_cloud_is_named: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Named]:
    """A cloud whose addresses a test chooses. The SDK is imported before, it would keep the sign-in address of the cloud at its import."""
    clients.load_sdk()
    server = Named()
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, server.base)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("ARM_CLOUD_METADATA_URL", f"{server.base}metadata")
    monkeypatch.setenv("AZUREML_CURRENT_CLOUD", "NamedCloud")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("registry", [None, "azureml"])
@pytest.mark.parametrize(
    ("at", "refused"),
    [
        (
            (LOCAL, "here", "https://eastus.api.azureml.ms/"),
            r"^The discovery of registries: eastus\.api\.azureml\.ms is not on this machine",
        ),
        ((LOCAL, "here", "https://user:secret@localhost/"), r"^The discovery of registries: the address holds a user name"),
        ((LOCAL, "https://management.azure.com/", "here"), r"^Azure Resource Manager: management\.azure\.com is not on this machine"),
        ((IN_AZURE, "https://management.azure.com/", "here"), r"^The discovery of registries: 127\.0\.0\.1 is this machine"),
        (
            (IN_AZURE, "https://management.azure.com/", "http://eastus.api.azureml.ms/"),
            r"^The discovery of registries: .* is not encrypted",
        ),
        ((IN_AZURE, "here", "https://eastus.api.azureml.ms/"), r"^Azure Resource Manager: 127\.0\.0\.1 is this machine"),
    ],
)
def test_one_wrong_address_of_a_cloud_is_refused_before_a_token_can_travel_there(
    named: Named, monkeypatch: pytest.MonkeyPatch, at: tuple[app_settings.Settings, str, str], refused: str, registry: str | None
) -> None:
    """A client of a registry sends its first request, with a token, to the discovery address while it is built."""
    settings, arm, discovery = at
    named.arm = named.base if arm == "here" else arm
    monkeypatch.setenv("REGISTRY_DISCOVERY_ENDPOINT_URL", named.base if discovery == "here" else discovery)

    with pytest.raises(WrongSettings, match=refused):
        clients.ml_client(settings, Giving(), registry=registry)

    assert named.leaving == []


def test_a_rest_client_is_refused_like_every_other() -> None:
    with pytest.raises(WrongSettings, match="the scoring address of shop"):
        clients.rest_client("https://shop.inference.ml.azure.com", NeverAsked(), "scope", local=True, what="the scoring address of shop")


@pytest.mark.parametrize(
    "connection",
    [
        app_settings.Connection(
            blob_service_uri="https://acc.blob.core.windows.net", queue_service_uri="https://acc.queue.core.windows.net"
        ),
        app_settings.Connection(
            connection_string="AccountName=acc;AccountKey=a2V5;EndpointSuffix=core.windows.net;DefaultEndpointsProtocol=https"
        ),
    ],
    ids=["identity", "connection string"],
)
def test_a_storage_account_in_azure_is_refused_in_local_mode(connection: app_settings.Connection) -> None:
    account = Account(connection, NeverAsked(), local=True)

    with pytest.raises(WrongSettings, match=r"Blob storage: acc\.blob\.core\.windows\.net is not on this machine"):
        account.container("datasets")
    with pytest.raises(WrongSettings, match=r"Queue storage: acc\.queue\.core\.windows\.net is not on this machine"):
        account.queue("turns")


def test_a_storage_account_on_this_machine_is_refused_in_azure() -> None:
    local = Account(app_settings.Connection(connection_string="UseDevelopmentStorage=true"), NeverAsked(), local=False)

    with pytest.raises(WrongSettings, match="is this machine"):
        local.container("datasets")


@pytest.mark.light
def test_a_connection_without_an_address_for_queues_says_which_setting_is_missing() -> None:
    with pytest.raises(WrongSettings, match="__queueServiceUri"):
        Account(app_settings.Connection(blob_service_uri="https://acc.blob.core.windows.net"), NeverAsked(), local=False).queue("turns")
