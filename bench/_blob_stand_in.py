"""
A blob service as it feels from a data centre away: some milliseconds to the first byte, and so many bytes a second on each connection.

It answers what preparation asks for (ranged GETs pinned by ETag, HEAD, small PUTs, staged blocks and their lists) and forgets the bytes
of staged blocks: it is there to be waited for, not to be trusted. Latency and bandwidth are an assumption, not a measurement of Azure.
It is a process of its own, so that its work is not counted as the client's. Use it as a context:

    with BlobStandIn({"rows.jsonl": path}) as service:
        container = service.container()
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

FIRST_BYTE_SECONDS = 0.015
BYTES_PER_SECOND = 60e6  # of one connection
QUANTUM = 256 * 1024  # bytes that are sent or taken before the pace is looked at
ACCOUNT = "standin"
CONTAINER = "datasets"
KEPT_BYTES_MAX = 1 << 20  # of a blob that was written here and can be read back


class BlobStandIn:
    """The service, running until the context ends."""

    def __init__(
        self, files: Mapping[str, Path], *, first_byte_seconds: float = FIRST_BYTE_SECONDS, bytes_per_second: float = BYTES_PER_SECOND
    ) -> None:
        self._files = files
        self._pace = (first_byte_seconds, bytes_per_second)

    def __enter__(self) -> Self:
        files = [f"{name}={path}" for name, path in self._files.items()]
        command = [sys.executable, __file__, *map(str, self._pace), *files]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdout
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()

    @property
    def connection_string(self) -> str:
        key = base64.b64encode(b"nobody checks it").decode()
        return f"AccountName={ACCOUNT};AccountKey={key};BlobEndpoint=http://127.0.0.1:{self.port}/{ACCOUNT};"

    def container(self, **settings: Any) -> ContainerClient:
        """Return the SDK's client with the app's own bounds; `settings` are the SDK's."""
        from azure.storage.blob import ContainerClient

        return ContainerClient.from_connection_string(self.connection_string, CONTAINER, **settings)


# --------------------------------------------------------------------------------------------------- the process itself


class _Blob:
    def __init__(self, *, size: int, etag: str, body: bytes | None = None, path: Path | None = None) -> None:
        self.size = size
        self.etag = etag
        self.body = body
        self.file = path.open("rb") if path else None
        self.metadata: dict[str, str] = {}


class _Service(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, pace: tuple[float, float], files: Mapping[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.first_byte_seconds, self.bytes_per_second = pace
        self.blobs = {name: _Blob(size=path.stat().st_size, etag=f'"0x{n}"', path=path) for n, (name, path) in enumerate(files.items())}
        self.staged: dict[str, dict[str, int]] = {}  # blob -> block id -> bytes


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Service

    def do_HEAD(self) -> None:
        self._get(with_body=False)

    def do_GET(self) -> None:
        self._get(with_body=True)

    def do_PUT(self) -> None:
        name, query = self._asked()
        body = self._taken()
        time.sleep(self.server.first_byte_seconds)
        if query.get("comp") == ["block"]:
            self.server.staged.setdefault(name, {})[query["blockid"][0]] = len(body)
            self._answer(201)
        elif self.headers.get("If-None-Match") == "*" and name in self.server.blobs:
            self._answer(409, {"x-ms-error-code": "BlobAlreadyExists"})
        else:
            self._made(name, body, of_blocks=query.get("comp") == ["blocklist"])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # http.server's own name
        pass

    def _made(self, name: str, body: bytes, *, of_blocks: bool) -> None:
        etag = f'"0x{time.monotonic_ns():x}"'
        if of_blocks:
            blob = _Blob(size=sum(self.server.staged.pop(name, {}).values()), etag=etag)
        else:
            blob = _Blob(size=len(body), etag=etag, body=body if len(body) <= KEPT_BYTES_MAX else None)
        blob.metadata = {key: value for key, value in self.headers.items() if key.lower().startswith("x-ms-meta-")}
        self.server.blobs[name] = blob
        self._answer(201, {"ETag": etag})

    def _get(self, *, with_body: bool) -> None:
        name, _ = self._asked()
        blob = self.server.blobs.get(name)
        time.sleep(self.server.first_byte_seconds)
        if blob is None:
            self._answer(404, {"x-ms-error-code": "BlobNotFound"})
        elif self.headers.get("If-Match", blob.etag) != blob.etag:
            self._answer(412, {"x-ms-error-code": "ConditionNotMet"})
        elif not with_body:
            self._answer(200, self._facts(blob), length=blob.size)
        elif blob.file is None and blob.body is None:
            self._answer(501, {"x-ms-error-code": "NotImplemented"})
        else:
            self._send(blob)

    def _send(self, blob: _Blob) -> None:
        asked = self.headers.get("x-ms-range") or self.headers.get("Range")
        start, end = 0, blob.size
        if asked:
            first, last = asked.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last) + 1 if last else blob.size, blob.size)
        if asked and start >= blob.size:
            self._answer(416, {"x-ms-error-code": "InvalidRange"})
            return
        ranged = {"Content-Range": f"bytes {start}-{end - 1}/{blob.size}"} if asked else {}
        self._answer(206 if asked else 200, {**self._facts(blob), **ranged}, length=end - start)
        for offset in self._paced(end - start):
            at, stop = start + offset, min(start + offset + QUANTUM, end)
            if blob.body is not None:
                self.connection.sendall(blob.body[at:stop])
            elif blob.file:
                while at < stop:  # past Python's memory: the less the service works, the less it disturbs
                    at += os.sendfile(self.connection.fileno(), blob.file.fileno(), at, stop - at)

    def _taken(self) -> bytes:
        """Read the body no faster than the line is."""
        length = int(self.headers.get("Content-Length", 0))
        return b"".join(self.rfile.read(min(QUANTUM, length - at)) for at in self._paced(length))

    def _paced(self, length: int) -> Iterator[int]:
        """Yield the offset of each quantum when the line has room for it."""
        begun = time.perf_counter()
        for at in range(0, length, QUANTUM):
            yield at
            ahead = min(at + QUANTUM, length) / self.server.bytes_per_second - (time.perf_counter() - begun)
            if ahead > 0:
                time.sleep(ahead)

    def _asked(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        return unquote(parts.path).removeprefix(f"/{ACCOUNT}/{CONTAINER}/"), parse_qs(parts.query)

    def _facts(self, blob: _Blob) -> dict[str, str]:
        return {"ETag": blob.etag, "x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream", **blob.metadata}

    def _answer(self, status: int, headers: Mapping[str, str] | None = None, *, length: int = 0) -> None:
        now = formatdate(usegmt=True)
        self.send_response_only(status)
        common = {"Content-Length": str(length), "Date": now, "Last-Modified": now, "x-ms-request-id": "1", "x-ms-version": "2026-02-06"}
        for name, value in {**common, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()


def main() -> None:
    parser = argparse.ArgumentParser(description="A slow blob service; prints its port.")
    parser.add_argument("first_byte_seconds", type=float)
    parser.add_argument("bytes_per_second", type=float)
    parser.add_argument("files", nargs="*", metavar="NAME=FILE")
    asked = parser.parse_args()
    files = {name: Path(path) for name, path in (file.split("=", 1) for file in asked.files)}
    with _Service((asked.first_byte_seconds, asked.bytes_per_second), files) as service, contextlib.suppress(KeyboardInterrupt):
        print(service.server_port, flush=True)
        service.serve_forever()


if __name__ == "__main__":
    main()
