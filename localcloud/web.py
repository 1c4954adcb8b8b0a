"""
A small HTTP/1.1 server on 127.0.0.1, with or without TLS, that every server of the local cloud is built on.

One thread a connection, connections are kept alive, an answer is one write. It can also do what bad networks do: end a connection
without an answer, or reset it. What an address means is the business of the one function that it is given.
"""

from __future__ import annotations

import logging
import re
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from localcloud import listeners

HOST = "127.0.0.1"  # never another: there is no real secret in the local cloud, and much is allowed
PORT_BUSY_EXIT = 4  # exit code of every command of the local cloud whose port is taken
BODY_BYTES_MAX = 256 * 1024 * 1024  # azure-storage-blob puts at most 64 MB at once
SILENT_SECONDS_MAX = 300  # a kept connection on which nothing comes is closed then; clients keep theirs for less
HANDSHAKE_SECONDS_MAX = 10
LINE_BYTES_MAX = 65_536  # of a chunk's header
DIGITS_MAX = 18  # of a Content-Length; a longer one is no length
QUEUE = 128  # connections that wait to be accepted
LOG = logging.getLogger(__name__)
_HEX = re.compile(rb"[0-9A-Fa-f]{1,16}")  # Python's int() would also take a sign, 0x and underscores


class Ending(Enum):
    """What the client gets to see of an answer."""

    ANSWERED = "answered"
    LOST = "lost"  # the connection ends without an answer
    RESET = "reset"  # the connection is reset


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as it came; header names are in lower case, `target` is path and query, still encoded."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One answer; Content-Length and Date are added."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    ending: Ending = Ending.ANSWERED


Handler = Callable[[Asked], Answered]


class PortTaken(Exception):
    """The port cannot be had; the text says why and what to do."""


class BadBody(Exception):
    """The body cannot be read; the status says why."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the server's side of TLS with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def hold(port: int, name: str) -> socket.socket:
    """Return a socket that listens and whose clients wait, for whoever has to know its port first; raise PortTaken."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
        made.listen(QUEUE)
    except OSError as error:
        made.close()
        message = f"Port {port} ({name}) {listeners.why(port, error)}; stop what listens there or choose another port."
        raise PortTaken(message) from None
    return made


class Server(socketserver.ThreadingTCPServer):
    """Listens at once; answers from `start` until `stop`."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = QUEUE

    def __init__(self, port: int | socket.socket, handler: Handler, *, name: str, context: ssl.SSLContext | None = None) -> None:
        """Take a port (0: any that is free; raises PortTaken) or a socket from `hold`. `name` says in threads and errors who it is."""
        self.handler = handler
        self.context = context
        self._name = name
        self._busy = 0
        self._idle = threading.Condition()
        self._to_reset: set[int] = set()
        self._thread: threading.Thread | None = None
        held = hold(port, name) if isinstance(port, int) else port
        super().__init__(held.getsockname(), _Connection, bind_and_activate=False)
        self.socket.close()
        self.socket = held
        self.server_activate()

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def start(self) -> None:
        """Answer from now on, on threads of its own."""
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name=self._name, daemon=True)
        self._thread.start()

    def stop(self, within_s: float = 3.0) -> None:
        """Accept no more and give requests under way so many seconds to end."""
        if self._thread:
            self.shutdown()
            self._thread.join(timeout=within_s)
        with self._idle:
            self._idle.wait_for(lambda: self._busy == 0, timeout=within_s)
        self.server_close()

    def answer(self, asked: Asked) -> Answered:
        with self._idle:
            self._busy += 1
        try:
            return self.handler(asked)
        except Exception:
            LOG.exception("%s failed on %s %s", self._name, asked.method, asked.target.partition("?")[0])
            return Answered(status=500, body=b"The local server failed; its log says where.", headers={"Content-Type": "text/plain"})
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def reset_at_end(self, connection: socket.socket) -> None:
        """Let the end of this connection be a reset (SO_LINGER with time 0 makes the kernel send RST)."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._to_reset.add(id(connection))

    def shutdown_request(self, request: Any) -> None:
        if id(request) in self._to_reset:
            self._to_reset.discard(id(request))
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread, so that a client that says nothing holds up nobody else."""
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.context is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(HANDSHAKE_SECONDS_MAX)
        try:
            secure = self.context.wrap_socket(request, server_side=True)
        except (OSError, ValueError):  # not TLS, a foreign authority, or gone: nothing can be answered
            return
        try:
            super().finish_request(secure, client_address)
        finally:
            self.shutdown_request(secure)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the shape is socketserver's
        """A client that went away is no news."""
        LOG.debug("A connection of %s ended early.", self._name)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = SILENT_SECONDS_MAX
    wbufsize = -1  # head and body leave together: two writes would meet Nagle's algorithm and a delayed acknowledgement
    server: Server

    def _serve(self) -> None:
        try:
            body = self._body()
        except BadBody as error:
            self.close_connection = True
            self._send(Answered(status=error.status))
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        answered = self.server.answer(Asked(method=self.command, target=self.path, headers=headers, body=body))
        if answered.ending is Ending.ANSWERED:
            self._send(answered)
            return
        self.close_connection = True
        if answered.ending is Ending.RESET:
            self.server.reset_at_end(self.connection)

    def __getattr__(self, name: str) -> Any:
        """The standard library looks for a method do_<METHOD>; here whoever answers decides which methods there are."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def parse_request(self) -> bool:
        """Keep the target as it came: the standard library takes a second slash at its beginning away."""
        understood = super().parse_request()
        if understood:
            self.path = self.requestline.split()[1]
        return understood

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunks()
        digits = self.headers.get("Content-Length") or "0"
        if not (digits.isascii() and digits.isdigit() and len(digits) <= DIGITS_MAX):
            raise BadBody(400)
        length = int(digits)
        if length > BODY_BYTES_MAX:
            raise BadBody(413)
        body = self.rfile.read(length)
        if len(body) < length:
            raise BadBody(400)
        return body

    def _chunks(self) -> bytes:
        """Read a body in chunks (RFC 9112, section 7.1); extensions and trailers are dropped."""
        body = bytearray()
        while True:
            digits = self.rfile.readline(LINE_BYTES_MAX).partition(b";")[0].strip()
            if not _HEX.fullmatch(digits):
                raise BadBody(400)
            size = int(digits, 16)
            if len(body) + size > BODY_BYTES_MAX:
                raise BadBody(413)
            if size == 0:
                break
            body += self.rfile.read(size)
            self.rfile.readline(LINE_BYTES_MAX)
        while self.rfile.readline(LINE_BYTES_MAX) not in (b"\r\n", b"\n", b""):
            continue
        return bytes(body)

    def _send(self, answered: Answered) -> None:
        has_body = answered.status >= 200 and answered.status not in (204, 304)
        self.send_response(answered.status)
        for name, value in answered.headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        if has_body:
            own = next((value for name, value in answered.headers.items() if name.lower() == "content-length"), None)
            self.send_header("Content-Length", own if own is not None and self.command == "HEAD" else str(len(answered.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if has_body and self.command != "HEAD":
            self.wfile.write(answered.body)

    def handle_expect_100(self) -> bool:
        """Say `continue` now: the client waits for it before it sends the body."""
        done = super().handle_expect_100()
        self.wfile.flush()
        return done

    def version_string(self) -> str:
        return "localcloud"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        """Whoever answers logs; the server does not."""
