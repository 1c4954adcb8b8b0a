"""
The env file against a hostile shell: the emulator as a process of its own, a real `sh` that reads the file, the unmodified SDK.

The shell has another identity, another cloud, dead proxies and somebody's trust; the client's first calls must reach this cloud.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from localcloud import certificates, processes, up
from localcloud.azureml import environment
from localcloud.azureml.site import Site

ROOT = Path(environment.__file__).resolve().parents[2]
DEADLINE_SECONDS = 40.0
DEAD = "http://127.0.0.1:9"  # discard: nothing listens there
HOSTILE = {
    "AZURE_CLIENT_ID": "66666666-6666-6666-6666-666666666666",
    "AZURE_CLIENT_SECRET": "somebody's secret",
    "AZURE_TENANT_ID": "77777777-7777-7777-7777-777777777777",
    "AZURE_CLIENT_CERTIFICATE_PATH": "/nowhere/certificate.pem",
    "AZURE_USERNAME": "somebody",
    "AZURE_FEDERATED_TOKEN_FILE": "/nowhere/token",
    "AZURE_AUTHORITY_HOST": "https://login.chinacloudapi.cn",
    "AZUREML_CURRENT_CLOUD": "AzureChinaCloud",
    "AZUREML_DEV_URL_MFE": "https://elsewhere.invalid/",
    "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
    "ARM_CLOUD_METADATA_URL": "https://elsewhere.invalid/metadata",
    "IDENTITY_SERVER_THUMBPRINT": "0123",
    "MSI_ENDPOINT": "http://127.0.0.1:9/msi",
    "MSI_SECRET": "another",
    "IMDS_ENDPOINT": "http://127.0.0.1:9",
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), DEAD),
    "NO_PROXY": "intranet.example, 10.0.0.0/8",
    "no_proxy": "other.example",
}
CLIENT = """
import json, os
from azure.ai.ml import MLClient
from azure.identity import DefaultAzureCredential
credential = DefaultAzureCredential()
token = credential.get_token("https://management.azure.com/.default")
place = [os.environ[name] for name in ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZUREML_WORKSPACE")]
client = MLClient(credential, *place)
registry = MLClient(credential, registry_name=os.environ["AZUREML_REGISTRY"])
print(json.dumps({
    "base": client._base_url,
    "compute": client.compute.get("gpu-cluster").size,
    "location": client.workspaces.get(place[2]).location,
    "model": registry.models.get("Phi-4", label="latest").version,
}))
"""


@dataclass(frozen=True, kw_only=True)
class Started:
    """One emulator in a folder with a blank and a quote in its name, started in a shell that trusts somebody."""

    folder: Path
    shell: dict[str, str]
    port: int
    first_answer: int  # status of the one request that was sent when the file appeared

    @property
    def env(self) -> Path:
        return self.folder / "env"

    def sourced(self, command: str) -> str:
        """Return what `command` prints in the hostile shell after it has read the file."""
        script = f'. "$1" && {command}'
        ran = subprocess.run(
            ["sh", "-c", script, "sh", str(self.env)],
            env=self.shell,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp("somebody") / "it's a folder"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "AUTHORITY", "Somebody's CA")
        somebodys = certificates.ensure(tmp_path_factory.mktemp("company"), before={}).ca
    (folder / "company.pem").write_text("# the company's\n" + somebodys.read_text())
    (folder / "other.pem").write_text("# the other's\n")
    trust = {"REQUESTS_CA_BUNDLE": str(folder / "company.pem"), "SSL_CERT_FILE": str(folder / "other.pem")}
    home = tmp_path_factory.mktemp("home")
    (home / ".netrc").write_text("default login somebody password secret\n")
    (home / ".netrc").chmod(0o600)
    trust["HOME"] = str(home)
    shell = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE", "IDENTITY"))} | HOSTILE | trust
    (port,) = processes.free_ports(1)
    (folder / "env").write_text("export STALE='of an earlier start'\n")
    with emulator(folder, port, shell):
        yield Started(folder=folder, shell=shell, port=port, first_answer=status_of(port, folder / "data/ca.pem"))


class emulator:  # noqa: N801 - used as a context
    """The emulator, running until the block ends; entered once its env file is fresh."""

    def __init__(self, folder: Path, port: int, shell: dict[str, str]) -> None:
        self._folder, self._port, self._shell = folder, port, shell

    def __enter__(self) -> None:
        command = [sys.executable, "-m", "localcloud", "azureml", "--port", str(self._port)]
        command += ["--data", str(self._folder / "data"), "--env", str(self._folder / "env")]
        self._log = (self._folder / "server.log").open("wb")
        self._process = subprocess.Popen(command, cwd=ROOT, env=self._shell, stdout=self._log, stderr=self._log)
        assert wait_for(self._is_ready), (self._folder / "server.log").read_text()

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, (self._folder / "server.log").read_text()
        env = self._folder / "env"
        return env.exists() and "STALE" not in env.read_text()

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)
        self._log.close()


def status_of(port: int, authority: Path) -> int:
    trusted = ssl.create_default_context(cafile=str(authority))
    connection = http.client.HTTPSConnection("localhost", port, context=trusted, timeout=2)
    try:
        connection.request("GET", "/_localcloud/state")
        return connection.getresponse().status
    finally:
        connection.close()


def wait_for(happened: Callable[[], bool]) -> bool:
    last = time.monotonic() + DEADLINE_SECONDS
    while not happened():
        if time.monotonic() > last:
            return False
        time.sleep(0.02)
    return True


def test_the_sdks_first_calls_come_here_whatever_the_shell_held(started: Started) -> None:
    printed = started.sourced(f"\"{sys.executable}\" -W ignore -c '{CLIENT}'")
    told = json.loads(printed.strip().splitlines()[-1])

    assert told == {
        "base": f"https://localhost:{started.port}",
        "compute": "Standard_NC24ads_A100_v4",
        "location": "eastus2",
        "model": "8",
    }


def test_a_client_whose_emulator_has_gone_stops_and_does_not_turn_to_azure(started: Started) -> None:
    """Without a name of the cloud azure-ai-ml 1.35 takes the public one when it is told no other, and says nothing."""
    client = """
try:
    from azure.ai.ml import MLClient
    from azure.identity import DefaultAzureCredential
    print(MLClient(DefaultAzureCredential(), "s", "g", "w")._base_url)
except Exception as error:
    print(error)
"""
    (started.folder / "gone.py").write_text(client)
    gone = "ARM_CLOUD_METADATA_URL=https://localhost:9/metadata/endpoints?api-version=2019-05-01"
    told = started.sourced(f"{gone} {shlex.quote(sys.executable)} -W ignore gone.py 2>/dev/null")

    assert told.strip() == 'Unknown cloud environment "LocalCloud".'


def test_the_file_appears_when_the_cloud_answers_and_not_before(started: Started) -> None:
    assert started.first_answer == 200


def test_no_rival_survives_the_file(started: Started) -> None:
    names = " ".join(environment.RIVALS)
    shown = started.sourced(f'for name in {names}; do eval "echo \\"$name=\\${{$name-unset}}\\""; done')

    assert all(line.endswith("=unset") for line in shown.splitlines()), shown


def test_who_was_asked_without_a_proxy_still_is(started: Started) -> None:
    upper, lower = started.sourced('echo "$NO_PROXY"; echo "$no_proxy"').splitlines()

    assert upper == lower == "localhost,127.0.0.1,intranet.example,10.0.0.0/8,other.example"


def test_whoever_was_trusted_still_is_and_each_authority_once(started: Started) -> None:
    bundle = Path(started.sourced('printf %s "$REQUESTS_CA_BUNDLE"'))
    content = bundle.read_text()

    assert "# the company's" in content
    assert "# the other's" in content
    assert (started.folder / "data/ca.pem").read_text().strip() in content
    blocks = [block.strip() for block in content.split("-----END CERTIFICATE-----")]
    assert len(blocks) == len(set(blocks))
    ssl.create_default_context(cafile=str(bundle))


def test_a_restart_in_the_steered_shell_keeps_the_trust_and_writes_the_same_file(started: Started, tmp_path: Path) -> None:
    """Method: make the certificates and the file again, as a restart does, in the environment that the file itself made."""
    shown = started.sourced(f'"{sys.executable}" -c "import json, os; print(json.dumps(dict(os.environ)))"')
    steered = json.loads(shown)
    data = started.folder / "data"
    before = (data / "ca-bundle.pem").read_bytes(), started.env.read_text()
    files = certificates.ensure(data, before=steered)
    environment.write(tmp_path / "env", Site(folder=data, base=f"https://localhost:{started.port}"), files.bundle, before=steered)

    assert (files.bundle.read_bytes(), (tmp_path / "env").read_text()) == before


def test_a_new_authority_replaces_the_old_one_in_a_bundle_that_is_trusted_already(tmp_path: Path) -> None:
    first = certificates.ensure(tmp_path, before={})
    old = first.ca.read_text().strip()
    first.ca.write_text("lost")
    again = certificates.ensure(tmp_path, before={"REQUESTS_CA_BUNDLE": str(first.bundle)})

    assert old not in again.bundle.read_text()
    assert again.ca.read_text().strip() in again.bundle.read_text()


def test_trust_may_be_a_folder_of_certificates(tmp_path: Path) -> None:
    company = certificates.ensure(tmp_path / "company", before={}).ca
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    (trusted / "0a1b2c3d.0").write_bytes(company.read_bytes())
    (trusted / "readme").write_text("not a certificate")
    ours = certificates.ensure(tmp_path / "ours", before={"CURL_CA_BUNDLE": str(trusted)})

    assert company.read_text().strip() in ours.bundle.read_text()
    assert "not a certificate" not in ours.bundle.read_text()


@pytest.mark.parametrize("value", ["plain", "with blank", "it's", '"double"', "$HOME `id` \\ !", ""])
def test_a_value_survives_the_shell_and_our_own_reader(tmp_path: Path, value: str) -> None:
    file = tmp_path / "env"
    file.write_text(environment.text({"SOME_VALUE": value}))
    read = subprocess.run(["sh", "-c", f'. "{file}"; printf %s "$SOME_VALUE"'], capture_output=True, text=True, check=True)

    assert read.stdout == value
    assert up.read_env(file) == ({"SOME_VALUE": value}, list(environment.RIVALS))


@pytest.mark.parametrize(
    ("entry", "hidden"),
    [
        ("default login a password b", True),
        ("machine localhost login a password b", True),
        ("machine pypi.example login a password b", False),
    ],
)
def test_a_password_that_would_replace_the_token_is_hidden_and_no_other(tmp_path: Path, entry: str, hidden: bool) -> None:
    (tmp_path / ".netrc").write_text(entry + "\n")
    (tmp_path / ".netrc").chmod(0o600)
    exported = environment.values(Site(folder=tmp_path), Path("bundle"), before={"HOME": str(tmp_path)})

    assert exported.get("NETRC") == (os.devnull if hidden else None)


def test_every_variable_that_the_sdks_identity_obeys_is_set_or_unset() -> None:
    """Goal: a new release of azure-identity that obeys one more variable is noticed here."""
    from azure.identity._constants import EnvironmentVariables

    obeyed = {value for name, value in vars(EnvironmentVariables).items() if name.isupper() and isinstance(value, str)}
    exported = environment.values(Site(folder=Path()), Path("bundle"), before={})

    assert obeyed <= {*environment.RIVALS, *exported}
