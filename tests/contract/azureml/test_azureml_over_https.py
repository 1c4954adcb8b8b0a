"""
The emulator as a process of its own: an unmodified client in another process, steered by environment variables alone.

One server and one client for the whole file; the tests look at what they left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from localcloud import certificates
from tests import recordings

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
DEADLINE_SECONDS = 40.0
ROW = json.dumps({"messages": [{"role": "user", "content": "train"}, {"role": "assistant", "content": "yes"}]}) + "\n"


class OneBlob(BaseHTTPRequestHandler):
    """A storage account in which every blob below `prepared/x/` is one row."""

    def do_GET(self) -> None:
        content = ROW.encode()
        found = self.path.split("?")[0].startswith("/devstoreaccount1/prepared/x/")
        self.send_response(206 if found else 404)
        if found:
            self.send_header("Content-Range", f"bytes 0-{len(content) - 1}/{len(content)}")
            self.send_header("ETag", '"0x1"')
            self.send_header("x-ms-blob-type", "BlockBlob")
            self.send_header("Last-Modified", "Tue, 24 Nov 2026 04:00:00 GMT")
        self.send_header("Content-Length", str(len(content) if found else 0))
        self.end_headers()
        self.wfile.write(content if found else b"")

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Left:
    """What one server and one client left behind."""

    data: Path
    traffic: Path
    printed: dict[str, Any]
    state: dict[str, Any]
    serving_pid: int
    exit_code: int


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory, recording: Callable[[str], Path]) -> Left:
    """Start a server, let a client do everything, end the server with SIGTERM."""
    folder = tmp_path_factory.mktemp("https")
    storage = ThreadingHTTPServer(("127.0.0.1", 0), OneBlob)
    threading.Thread(target=storage.serve_forever, daemon=True).start()
    traffic = recording("https")
    server = start_server(folder, storage.server_address[1], traffic)
    try:
        environment = client_environment(folder, server)
        state_address = environment["IDENTITY_ENDPOINT"].replace("/msi/token", "/_localcloud/state")
        trusted = ssl.create_default_context(cafile=environment["REQUESTS_CA_BUNDLE"])
        wait_until(lambda: fetch(state_address, trusted) is not None)
        client = subprocess.run(
            [sys.executable, str(HERE / "https_client.py")],
            env=environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert client.returncode == 0, client.stderr[-2000:]
        state = json.loads(fetch(state_address, trusted) or b"{}")
        ready = next((folder / "data" / "azureml" / "deployments").glob("*/ready.json"))
        pid = json.loads(ready.read_text())["pid"]
        server.send_signal(signal.SIGTERM)
        code = server.wait(timeout=15)
    finally:
        server.kill()
        server.wait()
        storage.shutdown()
        storage.server_close()
    printed = json.loads(client.stdout.strip().splitlines()[-1])
    return Left(
        data=folder / "data",
        traffic=traffic,
        printed=printed,
        state=state,
        serving_pid=pid,
        exit_code=code,
    )


def start_server(folder: Path, storage_port: int, traffic: Path) -> subprocess.Popen[bytes]:
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    account = f"AccountName=devstoreaccount1;AccountKey={key};BlobEndpoint=http://127.0.0.1:{storage_port}/devstoreaccount1;"
    trainer = shlex.join([sys.executable, str(HERE / "fake_trainer.py")])
    command = [sys.executable, "-m", "localcloud.azureml", "--port", "0", "--data", str(folder / "data")]
    command += ["--env", str(folder / "env.sh"), "--traffic", str(traffic)]
    command += ["--storage", f"DefaultEndpointsProtocol=http;{account}", "--trainer", trainer]
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)


def client_environment(folder: Path, server: subprocess.Popen[bytes]) -> dict[str, str]:
    """Return our environment as a shell has it after reading the file that the server writes."""
    file = folder / "env.sh"
    wait_until(lambda: file.exists() or server.poll() is not None)
    assert server.poll() is None, (folder / "server.log").read_text()
    environment = dict(os.environ)
    for line in file.read_text().splitlines():
        word, _, rest = line.partition(" ")
        name, _, value = rest.partition("=")
        if word == "export":
            environment[name] = shlex.split(value)[0]
        else:
            environment.pop(name, None)
    return environment


def fetch(address: str, trusted: ssl.SSLContext) -> bytes | None:
    try:
        with urllib.request.urlopen(address, context=trusted, timeout=5) as answered:
            return bytes(answered.read())
    except urllib.error.URLError:
        return None


def wait_until(happened: Callable[[], bool]) -> None:
    last = time.monotonic() + DEADLINE_SECONDS
    while not happened():
        assert time.monotonic() < last, "it did not happen in time"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Say whether the process runs; one that nobody has buried yet is dead."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    if Path("/proc/self").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_unmodified_client_trains_deploys_and_asks_over_https(left: Left) -> None:
    assert left.printed["status"] == "Completed"
    assert left.printed["base"].startswith("https://localhost:")
    assert left.printed["scored"] == 200
    assert left.printed["reply"][0]["0"].startswith("hello from bot-1-d1-a")
    assert left.printed["requests"] == 1


def test_the_state_shows_what_the_client_made(left: Left) -> None:
    assert left.state["jobs"] == {"ft-https-a1": "Completed"}
    assert left.state["models"] == ["bot:v1"]
    assert left.state["endpoints"]["bot-1"]["traffic"] == {"d1-a": 100}
    assert left.state["scoring_requests"] == {"bot-1": 1}


def test_a_server_that_is_told_to_stop_leaves_no_child_behind(left: Left) -> None:
    assert left.exit_code == 0
    assert not alive(left.serving_pid)


def test_keys_are_for_their_owner_only(left: Left) -> None:
    for name in ("server.key", "token.key"):
        assert (left.data / name).stat().st_mode & 0o777 == 0o600


def test_the_record_holds_no_token_and_no_conversation(left: Left) -> None:
    written = left.traffic.read_text()

    assert "access_token" not in written
    assert "hello from" not in written


def test_the_record_holds_every_call_of_the_sdk_at_its_api_version_and_loses_none(left: Left) -> None:
    """What Microsoft's types say of it, the last test of a session tells: tests/test_recorded_traffic.py."""
    said = recordings.exchanges(left.traffic)

    assert recordings.calls_missing(said) == []
    assert recordings.by_method(said) == left.state["requests_by_method"]


@pytest.mark.skipif(sys.platform != "linux", reason="only the kernel of Linux ends children with their parent")
def test_children_die_with_a_server_that_is_killed(tmp_path: Path) -> None:
    """Method: a process starts a sleeping child as the emulator does, and is killed so that it cannot clean up."""
    script = (
        "import pathlib, sys, time; from localcloud.azureml.processes import Child;"
        "child = Child([sys.executable, '-c', 'import time; time.sleep(600)'], pathlib.Path(sys.argv[1]));"
        "print(child.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_until(lambda: Path(f"/proc/{pid}/cmdline").read_bytes().endswith(b"time.sleep(600)\0"))
        wait_until(lambda: b"prctl" not in Path(f"/proc/{pid}/cmdline").read_bytes())
        parent.kill()
    wait_until(lambda: not alive(pid))


def test_certificates_are_used_again_and_pass_the_strict_check(tmp_path: Path) -> None:
    first = certificates.ensure(tmp_path)
    before = first.certificate.read_bytes()
    again = certificates.ensure(tmp_path)

    strict = ssl.create_default_context(cafile=str(again.bundle))
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    assert again.certificate.read_bytes() == before
    assert handshake(again, strict) == "TLSv1.3"


def handshake(files: certificates.Certificates, trusted: ssl.SSLContext) -> str | None:
    """Let a client and a server with these files meet in memory; return the version they agreed on."""
    offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    offered.load_cert_chain(files.certificate, files.key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = offered.wrap_bio(to_server, to_client, server_side=True)
    client = trusted.wrap_bio(to_client, to_server, server_hostname="localhost")
    for _ in range(3):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return client.version()


@pytest.mark.parametrize("name", ["server.pem", "server.key", "ca.pem"])
def test_certificates_that_are_broken_are_made_anew(tmp_path: Path, name: str) -> None:
    files = certificates.ensure(tmp_path)
    (tmp_path / name).write_text("not a certificate")
    certificates.ensure(tmp_path)

    assert handshake(files, ssl.create_default_context(cafile=str(files.bundle))) == "TLSv1.3"


def test_the_bundle_keeps_what_was_trusted_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = tmp_path / "company.pem"
    theirs.write_text("# the company's proxy\n")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(theirs))
    files = certificates.ensure(tmp_path / "data")

    assert "# the company's proxy" in files.bundle.read_text()
    assert files.bundle.read_text().endswith(files.ca.read_text())
