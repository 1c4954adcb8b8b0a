"""
How fast the Azure ML emulator answers and starts, beside servers that do nothing: GET of one model version over one kept TLS connection.

Each server is a process of its own, the client too. What "nothing" costs is measured with the same certificate: the standard library's
http.server, Werkzeug (what moto's server runs on) and Starlette on uvicorn, each with the emulator's own answer as a constant. "core
alone" is the emulator without socket and TLS. Median of ROUNDS; the machine is shared, so the server's processor time for a request
stands beside the rate. Prints a table, or JSON with --json.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5
SECONDS = 2.0  # of asking in each round
WARM_UP = 50  # requests
READY_WITHIN = 60.0  # seconds
STARTS = 5  # of the emulator, for the time to its first answer
VERSION = "2024-04-01"
BASE_MODEL = "azureml://registries/azureml/models/Phi-4/versions/8"
# The two targets of the project, for 2 cores.
RATE_WANTED = 300  # answers a second
START_WANTED = 1.0  # seconds from the end of the imports to the first 200

# What a server process runs; each prints one line, its port, when it listens.
CONSTANT_HTTP_SERVER = """
import ssl, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
body = open(sys.argv[1], "rb").read()
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
CONSTANT_WERKZEUG = """
import logging, ssl, sys
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response
logging.getLogger("werkzeug").setLevel(logging.ERROR)
WSGIRequestHandler.protocol_version = "HTTP/1.1"
body = open(sys.argv[1], "rb").read()
def app(environ, start):
    return Response(body, content_type="application/json")(environ, start)
server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=(sys.argv[2], sys.argv[3]))
print(server.port, flush=True)
server.serve_forever()
"""
CONSTANT_UVICORN = """
import socket, sys, threading
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
body = open(sys.argv[1], "rb").read()
async def answer(request):
    return Response(body, media_type="application/json")
app = Starlette(routes=[Route("/{rest:path}", answer)])
held = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # with 0 asyncio leaves Nagle's algorithm on
held.bind(("127.0.0.1", 0))
held.listen(128)
print(held.getsockname()[1], flush=True)
config = uvicorn.Config(app, log_level="critical", access_log=False, ssl_certfile=sys.argv[2], ssl_keyfile=sys.argv[3])
uvicorn.Server(config).run(sockets=[held])
"""
# The emulator, told when its imports were done.
EMULATOR = """
import argparse, sys, time
from localcloud import certificates, web
from localcloud.azureml import cloud, command, datastores, dials, environment, server, site, store, tokens, traffic, worlds
from localcloud.eventgrid import blobs, service
import jwt
parser = argparse.ArgumentParser()
command.add_arguments(parser)
print(time.monotonic(), flush=True)
sys.exit(command.run(parser.parse_args()))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--client", nargs=5, metavar=("PORT", "CA", "TARGET", "TOKEN", "SECONDS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.client:
        client(*args.client)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = measured(Path(folder))
    print(json.dumps(found, indent=1) if args.json else table(found))


def measured(folder: Path) -> dict[str, Any]:
    """Return start, rates, processor time for a request and memory by contender."""
    data = folder / "data"
    token = prepared(data)
    starts = [started(data) for _ in range(STARTS)]
    target, ca = address(), data / "ca.pem"
    with emulator(data) as (port, _process, _imported):
        answer = first_answer(port, ca, target, token)
    (folder / "answer.json").write_bytes(answer)
    rates = {"emulator over HTTPS": rate(lambda: emulator(data), ca, target, token), "core alone": core_alone(data, token)}
    for name, code in {"http.server": CONSTANT_HTTP_SERVER, "Werkzeug": CONSTANT_WERKZEUG, "uvicorn": CONSTANT_UVICORN}.items():
        command = [sys.executable, "-c", code, str(folder / "answer.json"), str(data / "server.pem"), str(data / "server.key")]
        rates[f"a constant from {name}"] = rate(lambda command=command: constant(command), ca, target, token)  # type: ignore[misc]
    return {
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "answer_bytes": len(answer),
        "start_seconds": {"median": statistics.median(starts), "first": starts[0], "all": starts, "wanted_below": START_WANTED},
        "rate_wanted_above": RATE_WANTED,
        "contenders": rates,
    }


def prepared(data: Path) -> str:
    """Write a store that holds one registered model, as an earlier run would have left it; return a token."""
    from localcloud.azureml import site, tokens
    from localcloud.azureml.records import Job, Model, Order
    from localcloud.azureml.store import FILE, Shelf, SqliteStore

    at = site.CREATED
    store = SqliteStore(data / "azureml" / FILE)
    order = Order(literals={"compute_finetune": "gpu-cluster"}, assets={"mlflow_model_path": BASE_MODEL}, outputs={})
    job = Job(name="ft-1", properties={"jobType": "Pipeline"}, order=order, created=at, steps=[], due=at, status="Completed")
    Shelf(store, "job", Job).save(job.name, job)
    flavors = {"hftransformersv2": {"data": {"task_type": "chat-completion", "model_data": "data"}}, "python_function": {"data": {}}}
    properties = {"tags": {"tuneloop-owner": "o"}, "properties": {}, "isArchived": False, "description": "", "flavors": flavors}
    properties |= {"modelType": "mlflow_model", "modelUri": "azureml://jobs/ft-1/outputs/trained_model", "provisioningState": "Succeeded"}
    model = Model(name="bot", version="1", properties=properties, job="ft-1", created=at, modified=at)
    Shelf(store, "model", Model).save(model.key, model)
    store.commit()
    store.close()
    return tokens.Tokens(site.Site(folder=data), tokens.signing_key(data)).issue("https://management.azure.com")[0]


def address() -> str:
    from localcloud.azureml.site import Site

    return f"{Site(folder=ROOT).workspace_id}/models/bot/versions/1?api-version={VERSION}"


def core_alone(data: Path, token: str) -> dict[str, float]:
    """Ask the same of the core in this process."""
    from localcloud.azureml.cloud import Cloud, Options
    from localcloud.azureml.datastores import BlobStorage
    from localcloud.azureml.site import Site
    from localcloud.azureml.store import FILE, SqliteStore
    from localcloud.azureml.tokens import signing_key
    from localcloud.azureml.wire import request_of

    copy = data.parent / "copy.sqlite"
    shutil.copy(data / "azureml" / FILE, copy)
    cloud = Cloud(Site(folder=data / "core"), BlobStorage(""), signing_key(data), Options(store=SqliteStore(copy)))
    rounds, costs = [], []
    for _ in range(ROUNDS):
        count, began, worked = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - began < SECONDS:
            assert cloud.handle(request_of("GET", address(), {"Authorization": f"Bearer {token}"}, b"")).status == 200
            count += 1
        rounds.append(count / (time.perf_counter() - began))
        costs.append((time.process_time() - worked) / count * 1000)
    cloud.close()
    return {"rate": statistics.median(rounds), "cpu_ms": statistics.median(costs), "memory_mb": 0.0}


# ---------------------------------------------------------------------------------------------------------------- servers

Running = tuple[int, subprocess.Popen[str], float]  # port, process, when it was ready to begin


@contextmanager
def emulator(data: Path) -> Iterator[Running]:
    """Run the emulator as people do, on a free port; the float is when its imports were done."""
    env_file = data / "env"
    command = [sys.executable, "-c", EMULATOR, "--data", str(data), "--port", "0", "--env", str(env_file)]
    with running(command) as process:
        assert process.stdout is not None
        imported = float(process.stdout.readline())
        last = time.monotonic() + READY_WITHIN
        while not env_file.exists():
            assert process.poll() is None, "the emulator ended"
            assert time.monotonic() < last, "the emulator does not begin"
            time.sleep(0.002)
        port = int(env_file.read_text().split("https://localhost:")[1].split("/")[0])
        yield port, process, imported
    env_file.unlink(missing_ok=True)


@contextmanager
def constant(command: list[str]) -> Iterator[Running]:
    with running(command) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process, time.monotonic()


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def started(data: Path) -> float:
    """Return the seconds from the end of the emulator's imports to its first 200."""
    with emulator(data) as (port, _, imported):
        first_answer(port, data / "ca.pem", "/discovery", "")
        return time.monotonic() - imported


def rate(server: Callable[[], Any], ca: Path, target: str, token: str) -> dict[str, float]:
    """Return answers a second, processor time for each, and the server's memory, each the median of ROUNDS in one server."""
    rounds, costs = [], []
    with server() as (port, process, _):
        first_answer(port, ca, target, token)
        for _ in range(ROUNDS):
            before = cpu_seconds(process.pid)
            command = [sys.executable, __file__, "--client", str(port), str(ca), target, token, str(SECONDS)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            count, seconds = json.loads(done.stdout)
            rounds.append(count / seconds)
            costs.append((cpu_seconds(process.pid) - before) / (count + WARM_UP) * 1000)
        memory = memory_mb(process.pid)
    return {"rate": statistics.median(rounds), "cpu_ms": statistics.median(costs), "memory_mb": memory}


def first_answer(port: int, ca: Path, target: str, token: str) -> bytes:
    last = time.monotonic() + READY_WITHIN
    while True:
        try:
            return ask(connected(port, ca), target, token)
        except OSError:
            assert time.monotonic() < last, "nobody answers"
            time.sleep(0.005)


def client(port: str, ca: str, target: str, token: str, seconds: str) -> None:
    """Ask over one connection for so many seconds; print how many answers came, and the seconds. Runs in a process of its own."""
    connection = connected(int(port), Path(ca))
    for _ in range(WARM_UP):
        ask(connection, target, token)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < float(seconds):
        ask(connection, target, token)
        count += 1
    print(json.dumps([count, time.perf_counter() - began]))


def connected(port: int, ca: Path) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection("localhost", port, timeout=10, context=ssl.create_default_context(cafile=ca))


def ask(connection: http.client.HTTPSConnection, target: str, token: str) -> bytes:
    connection.request("GET", target, headers={"Authorization": f"Bearer {token}", "Accept": "application/json"})
    answered = connection.getresponse()
    content = answered.read()
    assert answered.status == 200, content
    return content


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process (Linux; elsewhere 0)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process (Linux; elsewhere 0)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0.0
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def table(found: dict[str, Any]) -> str:
    start = found["start_seconds"]
    wanted = f"wanted: under {START_WANTED:.0f} s; with new certificates {start['first']:.2f} s"
    lines = [f"start, imports done to first 200: {start['median']:.2f} s ({wanted})"]
    lines += [
        f"{found['answer_bytes']} bytes an answer, {found['cores']} cores, load {found['load']:.1f}; wanted: over {RATE_WANTED} answers/s"
    ]
    lines += [
        f"{name:<32} {one['rate']:8.0f} answers/s  {one['cpu_ms']:6.2f} ms of processor each  {one['memory_mb']:5.0f} MB"
        for name, one in found["contenders"].items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
