"""
The emulator as a process that is killed, and as one that is started twice alike. Its storage is a stand-in in which every blob is there.
"""

from __future__ import annotations

import http.client
import json
import os
import shlex
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from azure.core.pipeline.policies import HeadersPolicy, RequestIdPolicy, RetryPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.polling import LROPoller
from azure.core.rest import HttpRequest
from azure.mgmt.core import ARMPipelineClient
from azure.mgmt.core.polling.arm_polling import ARMPolling

from localcloud import processes
from localcloud.azureml.processes import dying_with

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
DEADLINE_SECONDS = 40.0
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # Azurite's, which is public
WORKSPACE = (
    "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/local-rg/providers/Microsoft.MachineLearningServices"
    "/workspaces/local-workspace"
)
ENDPOINT, DEPLOYMENT = f"{WORKSPACE}/onlineEndpoints/bot-1", f"{WORKSPACE}/onlineEndpoints/bot-1/deployments/d1-a"


class EveryBlob(BaseHTTPRequestHandler):
    """A storage account in which every blob is one row; what it says is in the container's name: prepared/<wish>/…"""

    def do_GET(self) -> None:
        wish = self.path.split("/prepared/")[1].split("/")[0]
        row = {"messages": [{"role": "user", "content": wish}, {"role": "assistant", "content": "yes"}]}
        content = (json.dumps(row) + "\n").encode()
        self.send_response(206)
        self.send_header("Content-Range", f"bytes 0-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", '"0x1"')
        self.send_header("x-ms-blob-type", "BlockBlob")
        self.send_header("Last-Modified", "Tue, 24 Nov 2026 04:00:00 GMT")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Emulator:
    """One start of the emulator on a folder and a port."""

    data: Path
    port: int
    process: subprocess.Popen[bytes]
    token: str = ""

    def ask(
        self, method: str, target: str, body: Any = None, token: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        trusted = ssl.create_default_context(cafile=str(self.data / "ca.pem"))
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=30, context=trusted)
        sent = {"Authorization": f"Bearer {token or self.token}", **headers}
        connection.request(method, target, body=None if body is None else json.dumps(body), headers=sent)
        answered = connection.getresponse()
        content = answered.read()
        connection.close()
        return answered.status, dict(answered.headers), content

    def get(self, path: str) -> Any:
        status, _, content = self.ask("GET", f"{path}?api-version=2024-04-01")
        assert status == 200, content
        return json.loads(content)

    def put(self, path: str, body: Any) -> dict[str, str]:
        status, headers, content = self.ask("PUT", f"{path}?api-version=2024-04-01", body)
        assert status in {200, 201}, content
        return headers

    def until(self, happened: Callable[[], bool]) -> None:
        last = time.monotonic() + DEADLINE_SECONDS
        while not happened():
            assert time.monotonic() < last, (self.data / "log").read_text()[-2000:]
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


Start = Callable[..., Emulator]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts emulators over one storage and ends them."""
    storage = ThreadingHTTPServer(("127.0.0.1", 0), EveryBlob)
    threading.Thread(target=storage.serve_forever, daemon=True).start()
    account = f"AccountName=devstoreaccount1;AccountKey={KEY};BlobEndpoint=http://127.0.0.1:{storage.server_address[1]}/devstoreaccount1;"
    made: list[Emulator] = []

    def begin(name: str, port: int, *arguments: str) -> Emulator:
        data = tmp_path / name
        env = data / "env"
        env.unlink(missing_ok=True)
        command = [sys.executable, "-m", "localcloud", "azureml", "--port", str(port), "--data", str(data), "--env", str(env)]
        command += ["--storage", f"DefaultEndpointsProtocol=http;{account}", *arguments]
        command += ["--trainer", shlex.join([sys.executable, str(HERE / "fake_trainer.py")])]
        process = processes.start(command, log=data / "log", environment=os.environ, cwd=ROOT)
        processes.wait_ready("Azure ML", process, env.exists, within_s=DEADLINE_SECONDS, log=data / "log")
        emulator = Emulator(data=data, port=port, process=process)
        made.append(emulator)
        _, _, content = emulator.ask(
            "GET", "/msi/token?api-version=2019-08-01&resource=https://management.azure.com", **{"X-IDENTITY-HEADER": "local"}
        )
        emulator.token = json.loads(content)["access_token"]
        return emulator

    yield begin
    for one in made:
        one.kill()
    storage.shutdown()
    storage.server_close()


def job(kit: Any, wish: str) -> Any:
    """The body of a job whose rows say `wish`."""
    return kit.job(path=wish)


def poller(emulator: Emulator, target: str, body: Any) -> LROPoller[Any]:
    """Begin a PUT as Azure's clients do, and return their own poller; a server that is away for a while is asked again."""
    retries = RetryPolicy(retry_total=12, retry_backoff_factor=0.2, retry_backoff_max=1)
    client: ARMPipelineClient[Any, Any] = ARMPipelineClient(
        f"https://localhost:{emulator.port}",
        policies=[RequestIdPolicy(), HeadersPolicy({"Authorization": f"Bearer {emulator.token}"}), retries],
        transport=RequestsTransport(connection_verify=str(emulator.data / "ca.pem")),
    )
    request = HttpRequest("PUT", f"{target}?api-version=2024-04-01", json=body)
    request.url = client.format_url(request.url)
    first = client._pipeline.run(request)
    return LROPoller(client, first, lambda answered: answered.http_response.json(), ARMPolling(timeout=1))


def test_after_kill_9_everything_is_valid_and_goes_on(start: Start, kit: Any, tmp_path: Path) -> None:
    """In the middle of a job, of a deployment and of a client's polling; on the same port and folder."""
    (port,) = processes.free_ports(1)
    first = start("data", port)
    first.put(f"{WORKSPACE}/jobs/ft-done", job(kit, "train"))
    first.put(ENDPOINT, kit.endpoint(authMode="Key"))
    first.until(lambda: first.get(f"{WORKSPACE}/jobs/ft-done")["properties"]["status"] == "Completed")
    first.put(f"{WORKSPACE}/models/bot/versions/v1", kit.model("ft-done"))
    first.put(f"{WORKSPACE}/jobs/ft-mid", job(kit, "wait"))
    first.until(lambda: first.get(f"{WORKSPACE}/jobs/ft-mid")["properties"]["status"] == "Running")
    keys = first.ask("POST", f"{ENDPOINT}/listKeys?api-version=2024-04-01")[2]
    env = (tmp_path / "data" / "env").read_text()
    polled = poller(first, DEPLOYMENT, kit.deployment(f"{WORKSPACE}/models/bot/versions/v1"))
    first.kill()
    second = start("data", port)

    assert polled.result(DEADLINE_SECONDS)["properties"]["provisioningState"] == "Succeeded"
    assert (tmp_path / "data" / "env").read_text() == env
    assert second.ask("POST", f"{ENDPOINT}/listKeys?api-version=2024-04-01", token=first.token)[2] == keys
    second.until(lambda: second.get(f"{WORKSPACE}/jobs/ft-mid")["properties"]["status"] == "Running")
    pid = int(json.loads(next((tmp_path / "data/azureml/deployments").glob("*/ready.json")).read_text())["pid"])
    key = json.loads(keys)["primaryKey"]
    named = {"azureml-model-deployment": "d1-a"}
    scored = second.ask("POST", "/endpoints/bot-1/score", {"input_data": {}}, token=key, **named)
    assert (scored[0], b"hello from bot-1-d1-a" in scored[2]) == (200, True)
    second.ask("POST", f"{WORKSPACE}/jobs/ft-mid/cancel?api-version=2024-04-01")
    second.until(lambda: second.get(f"{WORKSPACE}/jobs/ft-mid")["properties"]["status"] == "Canceled")
    second.process.terminate()
    assert second.process.wait(timeout=20) == 0
    assert not Path(f"/proc/{pid}").exists()


def test_two_starts_with_one_seed_and_a_manual_clock_say_the_same_to_the_byte(start: Start, kit: Any) -> None:
    (port,) = processes.free_ports(1)
    first = said(start("first", port, "--clock", "manual", "--seed", "7", "--forget"), kit)
    second = said(start("second", port, "--clock", "manual", "--seed", "7"), kit)

    assert first == second
    other = said(start("third", port, "--clock", "manual", "--seed", "8", "--forget"), kit)
    assert other != first


def said(emulator: Emulator, kit: Any) -> list[tuple[str, int, dict[str, str], bytes]]:
    """Lead one life by hand and by the clock, end the emulator, and return every answer; ids, keys, tokens and times are in them."""
    version = "?api-version=2024-04-01"
    forward = ("POST", "/_localcloud/clock", {"advance_seconds": 30, "wait_seconds": 30})
    asks: list[tuple[str, str, Any]] = [
        ("GET", "/msi/token?api-version=2019-08-01&resource=https://ml.azure.com", None),
        ("POST", "/_localcloud/state", {"dials": {"jobs": 10, "endpoints": "by-hand"}}),
        ("POST", "/_localcloud/faults", {"faults": [{"fault": "throttled", "match": {"path": "*/computes"}, "times": 0, "chance": 0.5}]}),
        ("PUT", f"{WORKSPACE}/jobs/ft-1{version}", job(kit, "train")),
        forward,
        ("GET", f"{WORKSPACE}/jobs/ft-1{version}", None),
        forward,
        forward,
        ("GET", f"/history/v1.0{WORKSPACE}/runs/ft-1/children", None),
        ("PUT", f"{WORKSPACE}/models/bot/versions/v1{version}", kit.model("ft-1")),
        ("PUT", f"{ENDPOINT}{version}", kit.endpoint(authMode="Key")),
        ("POST", "/_localcloud/state", {"move": {"endpoints": ["bot-1"]}}),
        forward,
        ("POST", f"{ENDPOINT}/listKeys{version}", None),
        ("PUT", f"{DEPLOYMENT}{version}", kit.deployment(f"{WORKSPACE}/models/bot/versions/v1")),
        forward,
        ("GET", DEPLOYMENT + version, None),
        *[("GET", f"{WORKSPACE}/computes{version}", None)] * 8,
        ("GET", f"{WORKSPACE}/models/none/versions/1{version}", None),
        ("GET", "/_localcloud/state", None),
        ("GET", "/_localcloud/traffic", None),
    ]
    answers = []
    for method, target, body in asks:
        status, headers, content = emulator.ask(method, target, body, **{"X-IDENTITY-HEADER": "local"})
        answers.append((f"{method} {target}", status, {name: value for name, value in headers.items() if name != "Date"}, content))
    emulator.process.terminate()
    assert emulator.process.wait(timeout=20) == 0
    return answers


def test_storage_that_hangs_holds_no_process_after_its_end() -> None:
    """A pool of the standard library would wait for the minutes after which a client of storage gives up."""
    program = "import time; from localcloud.azureml.fetching import Fetchers; Fetchers(1).submit(lambda: time.sleep(600)); time.sleep(0.2)"

    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=30, check=False).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_child_whose_parent_was_killed_while_it_started_does_not_run() -> None:
    """The kernel tells nobody of a parent that had died before it was asked to. Method: the parent that it is told of is another one."""
    mine, gone = (
        subprocess.run(dying_with(parent, ["echo", "trains"]), capture_output=True, timeout=30, check=False).stdout
        for parent in (os.getpid(), os.getppid())
    )

    assert (mine, gone) == (b"trains\n", b"")
