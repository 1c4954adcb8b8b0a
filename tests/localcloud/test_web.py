"""The server under every local server: answers quickly on kept connections, bounds what it reads, and can play a bad network."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from localcloud import certificates, web

Start = Callable[..., web.Server]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers that echo unless told otherwise, and stops them."""
    made: list[web.Server] = []

    def begin(handler: web.Handler | None = None, context: ssl.SSLContext | None = None) -> web.Server:
        server = web.Server(0, handler or (lambda asked: web.Answered(status=200, body=asked.body)), name="test", context=context)
        server.start()
        made.append(server)
        return server

    yield begin
    for server in made:
        server.stop()


@pytest.fixture
def connected() -> Iterator[Callable[[web.Server], http.client.HTTPConnection]]:
    """Opens connections and closes them."""
    made: list[http.client.HTTPConnection] = []

    def connect(server: web.Server, context: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
        if context is None:
            made.append(http.client.HTTPConnection("127.0.0.1", server.port, timeout=5))
        else:
            made.append(http.client.HTTPSConnection("localhost", server.port, timeout=5, context=context))
        return made[-1]

    yield connect
    for connection in made:
        connection.close()


def test_one_connection_carries_many_requests(start, connected):
    connection = connected(start())
    for number in range(3):
        connection.request("PUT", "/x", body=f"body {number}")
        first = connection.sock
        assert connection.getresponse().read() == f"body {number}".encode()
        assert connection.sock is first


@pytest.mark.parametrize(("method", "target"), [("BREW", "/x"), ("get", "/x"), ("GET", "//x//y"), ("GET", "/a%2Fb?c=%20")])
def test_every_method_and_target_reaches_whoever_answers_as_it_came(start, connected, method, target):
    connection = connected(start(lambda asked: web.Answered(status=200, body=f"{asked.method} {asked.target}".encode())))
    connection.request(method, target)

    assert connection.getresponse().read().decode() == f"{method} {target}"


def test_a_body_in_chunks_arrives_whole(start, connected):
    connection = connected(start())
    connection.request("POST", "/x", body=iter([b"one ", b"two"]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})

    assert connection.getresponse().read() == b"one two"


def test_a_client_that_waits_for_continue_is_told_to(start):
    server = start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw:
        raw.sendall(b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 100")
        raw.sendall(b"ok")

        assert raw.recv(1000).endswith(b"ok")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"PUT /x HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", b"413"),
        (b"PUT /x HTTP/1.1\r\nContent-Length: many\r\n\r\n", b"400"),
        (b"PUT /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"PUT /x HTTP/1.1\r\nContent-Length: +2\r\n\r\nab", b"400"),
        (b"PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabcde\r\n0\r\n\r\n", b"400"),
        (b"PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n", b"400"),
        (b"GET /x of something HTTP/1.1\r\n\r\n", b"400"),
    ],
)
def test_a_request_that_cannot_be_read_is_refused_and_the_connection_closed(start, head, status):
    server = start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as raw:
        raw.sendall(head)
        answer = b""
        while piece := raw.recv(1000):
            answer += piece

    assert status in answer.split(b"\n")[0]


def test_a_lost_reply_ends_the_connection_without_an_answer(start, connected):
    done = []

    def handler(asked: web.Asked) -> web.Answered:
        done.append(asked.target)
        return web.Answered(status=200, ending=web.Ending.LOST)

    connection = connected(start(handler))
    connection.request("PUT", "/x")

    with pytest.raises(http.client.RemoteDisconnected):
        connection.getresponse()
    assert done == ["/x"]


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
def test_a_reset_is_a_reset(start, secure, tmp_path: Path):
    files = certificates.ensure(tmp_path)
    server = start(lambda _: web.Answered(status=200, ending=web.Ending.RESET), web.tls(files.certificate, files.key) if secure else None)
    raw = socket.create_connection(("localhost", server.port), timeout=5)
    with ssl.create_default_context(cafile=files.ca).wrap_socket(raw, server_hostname="localhost") if secure else raw as stream:
        stream.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")

        with pytest.raises(ConnectionResetError):
            stream.recv(100)


def test_a_client_that_never_shakes_hands_holds_up_nobody(start, connected, tmp_path: Path):
    files = certificates.ensure(tmp_path)
    server = start(context=web.tls(files.certificate, files.key))
    with socket.create_connection(("127.0.0.1", server.port), timeout=5):
        context = ssl.create_default_context(cafile=files.ca)
        connection = connected(server, context)
        connection.request("PUT", "/x", body="hello")

        assert connection.getresponse().read() == b"hello"


def test_a_handler_that_breaks_is_a_500_and_the_server_goes_on(start, connected):
    def handler(asked: web.Asked) -> web.Answered:
        if asked.target == "/broken":
            raise KeyError("secret")
        return web.Answered(status=204)

    connection = connected(start(handler))
    connection.request("GET", "/broken")
    broken = connection.getresponse()
    assert (broken.status, b"secret" in broken.read()) == (500, False)

    connection.request("GET", "/x")
    assert connection.getresponse().status == 204


def test_a_taken_port_is_said_with_what_to_do(start):
    taken = start().port

    with pytest.raises(web.PortTaken, match=f"Port {taken} .* stop what listens there or choose another"):
        web.Server(taken, lambda _: web.Answered(status=200), name="second")
