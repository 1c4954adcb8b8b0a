"""
Blob and Queue storage in a dict: what the app's adapters ask of it, answered as Azurite answers.

Conditions, ranges, pages, blocks and XML errors are there; leases, snapshots, tiers and signatures are not: what nobody here sends is
answered 501 with its name. The contract suites of the adapters hold it against Azurite (test_storage_keeps_the_contract.py).
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

PAGE_SIZE = 5_000  # names of one page of a listing, in Azure
HIDDEN_SECONDS = 30  # a message that was taken, when the taker does not say
NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'
Headers = dict[str, str]


class Answer(NamedTuple):
    """What comes back over the wire."""

    status: int
    headers: Headers
    body: bytes = b""


class Asked(NamedTuple):
    """One request, taken apart."""

    method: str
    place: str  # container or queue
    name: str  # of a blob; of a queue: the rest of the path
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def what(self) -> str:
        return self.query.get("comp", "")


@dataclass(kw_only=True)
class Blob:
    """One version of one blob."""

    body: bytes
    etag: str  # with quotes
    modified: datetime
    content_type: str = "application/octet-stream"
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Message:
    """One message of a queue."""

    id: str
    text: str
    inserted: datetime
    visible: datetime
    expires: datetime
    dequeued: int = 0
    receipt: str = ""


class Refused(Exception):
    """An error of the service: status, code, sentence."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message or code


NOT_MET = (412, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")
NOT_FOUND = (404, "BlobNotFound", "The specified blob does not exist.")


class Storage:
    """One account. `handle` answers a request; the clock and what is told of writes are the builder's."""

    def __init__(self, clock: Callable[[], datetime], *, page_size: int = PAGE_SIZE) -> None:
        self.containers: dict[str, dict[str, Blob]] = {}
        self.queues: dict[str, list[Message]] = {}
        self.wrote: Callable[[Asked, Blob | None, Blob | None], None] = lambda *_: None
        self.sent: Callable[[str, Message], None] = lambda *_: None
        self._blocks: dict[tuple[str, str], dict[str, bytes]] = {}  # not committed
        self._clock, self._page_size = clock, page_size
        self._number = 0
        self._lock = threading.RLock()

    def put(self, container: str, name: str, body: bytes) -> Blob:
        """Write a blob as somebody outside of the app would."""
        blob = Blob(body=body, etag=self._etag(), modified=self._now())
        self.containers.setdefault(container, {})[name] = blob
        return blob

    def handle(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request; header names come in lower case."""
        parts = urlsplit(url)
        place, _, name = unquote(parts.path).lstrip("/").partition("/")
        asked = Asked(method, place, name, dict(parse_qsl(parts.query, keep_blank_values=True)), headers, body)
        answers = self._of_queues if (parts.hostname or "").partition(".")[2].startswith("queue.") else self._of_blobs
        with self._lock:
            try:
                answer = answers(asked)
            except Refused as refused:
                text = f"{DECLARATION}<Error><Code>{refused.code}</Code><Message>{escape(refused.message)}</Message></Error>"
                about = {"x-ms-error-code": refused.code, "content-type": "application/xml"}
                answer = Answer(refused.status, about, text.encode())
            now = format_datetime(self._now(), usegmt=True)
        length = answer.headers.get("content-length", str(len(answer.body)))
        common = {"date": now, "x-ms-version": "2025-01-05", "server": "in process", "content-length": length}
        return Answer(answer.status, {**common, **answer.headers}, b"" if method == "HEAD" else answer.body)

    def _now(self) -> datetime:
        return self._clock()

    def _etag(self) -> str:
        self._number += 1
        return f'"0x8DE{self._number:012X}"'

    # ------------------------------------------------------------------------------------------------------------- blobs

    def _of_blobs(self, asked: Asked) -> Answer:
        if not asked.name:
            return self._of_container(asked)
        if asked.place not in self.containers:
            raise Refused(404, "ContainerNotFound", "The specified container does not exist.")
        old = self.containers[asked.place].get(asked.name)
        match asked.method, asked.what:
            case "GET" | "HEAD", "":
                return self._read(old, asked.headers, headless=asked.method == "HEAD")
            case "PUT", "" | "blocklist" | "metadata":
                return self._write(asked, old)
            case "PUT", "block":
                self._blocks.setdefault((asked.place, asked.name), {})[asked.query["blockid"]] = asked.body
                return Answer(201, {"x-ms-request-server-encrypted": "true"})
            case "GET", "blocklist":
                return self._uncommitted(asked)
            case "DELETE", "":
                return self._delete(asked, old)
        raise Refused(501, "NotImplementedHere", f"{asked.method} of a blob with comp={asked.what}")

    def _uncommitted(self, asked: Asked) -> Answer:
        staged = self._blocks.get((asked.place, asked.name), {})
        entries = "".join(f"<Block><Name>{escape(block)}</Name><Size>{len(piece)}</Size></Block>" for block, piece in staged.items())
        text = f"{DECLARATION}<BlockList><CommittedBlocks/><UncommittedBlocks>{entries}</UncommittedBlocks></BlockList>"
        return Answer(200, {"content-type": "application/xml"}, text.encode())

    def _delete(self, asked: Asked, old: Blob | None) -> Answer:
        if old is None:
            raise Refused(*NOT_FOUND)
        _check(old, asked.headers, missing=NOT_FOUND)
        del self.containers[asked.place][asked.name]
        self.wrote(asked, old, None)
        return Answer(202, {"x-ms-delete-type-permanent": "true"})

    def _write(self, asked: Asked, old: Blob | None) -> Answer:
        headers, body = asked.headers, asked.body
        _check(old, headers, missing=NOT_MET)
        staged = self._blocks.get((asked.place, asked.name), {})
        if asked.what == "blocklist":
            wanted = [str(one.text) for one in ElementTree.fromstring(body)]  # noqa: S314 - written by the SDK in this process
            if any(block not in staged for block in wanted):
                raise Refused(400, "InvalidBlockList", "The specified block list is invalid.")
            body = b"".join(staged[block] for block in wanted)
        elif asked.what == "metadata":
            if old is None:
                raise Refused(*NOT_FOUND)
            body = old.body
        elif headers.get("x-ms-blob-type") != "BlockBlob":
            raise Refused(501, "NotImplementedHere", f"a blob of type {headers.get('x-ms-blob-type')}")
        self._blocks.pop((asked.place, asked.name), None)
        blob = Blob(
            body=body,
            etag=self._etag(),
            modified=self._now(),
            content_type=headers.get("x-ms-blob-content-type", "application/octet-stream"),
            metadata={key.removeprefix("x-ms-meta-"): value for key, value in headers.items() if key.startswith("x-ms-meta-")},
        )
        self.containers[asked.place][asked.name] = blob
        self.wrote(asked, old, blob)
        about = {"etag": blob.etag, "last-modified": format_datetime(blob.modified, usegmt=True), "x-ms-request-server-encrypted": "true"}
        return Answer(200 if asked.what == "metadata" else 201, about)

    def _read(self, blob: Blob | None, headers: Mapping[str, str], *, headless: bool) -> Answer:
        if blob is None:
            raise Refused(*NOT_FOUND)
        _check(blob, headers, missing=NOT_FOUND)
        size = len(blob.body)
        about = {
            "etag": blob.etag,
            "last-modified": format_datetime(blob.modified, usegmt=True),
            "content-type": blob.content_type,
            "content-length": str(size),
            "accept-ranges": "bytes",
            "x-ms-blob-type": "BlockBlob",
            "x-ms-creation-time": format_datetime(blob.modified, usegmt=True),
            "x-ms-lease-state": "available",
            "x-ms-lease-status": "unlocked",
            "x-ms-server-encrypted": "true",
            **{f"x-ms-meta-{key}": value for key, value in blob.metadata.items()},
        }
        wanted = headers.get("x-ms-range") or headers.get("range")
        if headless or wanted is None:
            return Answer(200, about, blob.body)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last) if last else size - 1, size - 1)
        if start >= size:
            raise Refused(416, "InvalidRange", "The range specified is invalid for the current size of the resource.")
        piece = blob.body[start : end + 1]
        return Answer(206, {**about, "content-length": str(len(piece)), "content-range": f"bytes {start}-{end}/{size}"}, piece)

    def _of_container(self, asked: Asked) -> Answer:
        method, container, query = asked.method, asked.place, asked.query
        if method == "PUT":
            if container in self.containers:
                raise Refused(409, "ContainerAlreadyExists", "The specified container already exists.")
            self.containers[container] = {}
            return Answer(201, {"etag": self._etag(), "last-modified": format_datetime(self._now(), usegmt=True)})
        if container not in self.containers:
            raise Refused(404, "ContainerNotFound", "The specified container does not exist.")
        if method == "GET" and query.get("comp") == "list":
            return self._list(container, query)
        if method in ("GET", "HEAD") and not query.get("comp"):
            return Answer(200, {"etag": self._etag(), "last-modified": format_datetime(self._now(), usegmt=True)})
        raise Refused(501, "NotImplementedHere", f"{method} of a container with comp={query.get('comp')}")

    def _list(self, container: str, query: Mapping[str, str]) -> Answer:
        prefix, marker = query.get("prefix", ""), query.get("marker", "")
        blobs = self.containers[container]
        found = sorted(name for name in blobs if name.startswith(prefix) and name >= marker)
        room = min(int(query.get("maxresults") or self._page_size), self._page_size)
        page, more = found[:room], found[room : room + 1]
        entries = "".join(map(_entry, page, (blobs[name] for name in page)))
        text = (
            f'{DECLARATION}<EnumerationResults ServiceEndpoint="https://in.process/" ContainerName="{container}"><Prefix>{escape(prefix)}'
            f"</Prefix><MaxResults>{room}</MaxResults><Blobs>{entries}</Blobs><NextMarker>{escape(''.join(more))}</NextMarker>"
            "</EnumerationResults>"
        )
        return Answer(200, {"content-type": "application/xml"}, text.encode())

    # ------------------------------------------------------------------------------------------------------------ queues

    def _of_queues(self, asked: Asked) -> Answer:
        method, queue, path, query, body = asked.method, asked.place, asked.name, asked.query, asked.body
        if not path and method == "PUT":
            known = queue in self.queues
            self.queues.setdefault(queue, [])
            return Answer(204 if known else 201, {})
        if queue not in self.queues:
            raise Refused(404, "QueueNotFound", "The specified queue does not exist.")
        messages = self.queues[queue]
        now = self._now()
        messages[:] = [one for one in messages if one.expires > now]
        if not path and method == "GET":
            return Answer(200, {"x-ms-approximate-messages-count": str(len(messages))})
        if path == "messages" and method == "POST":
            message = self._message(str(ElementTree.fromstring(body).findtext("MessageText") or ""), query)  # noqa: S314 - by the SDK
            messages.append(message)
            self.sent(queue, message)
            return Answer(201, {"content-type": "application/xml"}, _messages([message], shows=("receipt",)))
        if path == "messages" and method == "GET":
            return self._take(messages, query)
        if path.startswith("messages/"):
            return self._change(method, messages, path.removeprefix("messages/"), query, body)
        raise Refused(501, "NotImplementedHere", f"{method} of a queue at {path}")

    def _message(self, text: str, query: Mapping[str, str]) -> Message:
        now, lives = self._now(), int(query.get("messagettl", 7 * 86_400))
        self._number += 1
        return Message(
            id=f"{self._number:08d}-0000-4000-8000-000000000000",
            text=text,
            inserted=now,
            visible=now + timedelta(seconds=int(query.get("visibilitytimeout", 0))),
            expires=NEVER if lives == -1 else now + timedelta(seconds=lives),
            receipt=f"r{self._number}",
        )

    def _take(self, messages: list[Message], query: Mapping[str, str]) -> Answer:
        now = self._now()
        found = [one for one in messages if one.visible <= now][: int(query.get("numofmessages", 1))]
        if query.get("peekonly") == "true":
            return Answer(200, {"content-type": "application/xml"}, _messages(found, shows=("text", "dequeued")))
        for one in found:
            self._hide(one, query)
            one.dequeued += 1
        return Answer(200, {"content-type": "application/xml"}, _messages(found, shows=("receipt", "text", "dequeued")))

    def _hide(self, message: Message, query: Mapping[str, str]) -> None:
        self._number += 1
        message.receipt = f"r{self._number}"
        message.visible = self._now() + timedelta(seconds=int(query.get("visibilitytimeout", HIDDEN_SECONDS)))

    def _change(self, method: str, messages: list[Message], name: str, query: Mapping[str, str], body: bytes) -> Answer:
        found = next((one for one in messages if one.id == name), None)
        if found is None:
            raise Refused(404, "MessageNotFound", "The specified message does not exist.")
        if found.receipt != query.get("popreceipt"):
            raise Refused(400, "PopReceiptMismatch", "The specified pop receipt did not match the pop receipt for a dequeued message.")
        if method == "DELETE":
            messages.remove(found)
            return Answer(204, {})
        if body:
            found.text = str(ElementTree.fromstring(body).findtext("MessageText") or "")  # noqa: S314 - written by the SDK
        self._hide(found, query)
        return Answer(204, {"x-ms-popreceipt": found.receipt, "x-ms-time-next-visible": format_datetime(found.visible, usegmt=True)})


def _check(blob: Blob | None, headers: Mapping[str, str], *, missing: tuple[int, str, str]) -> None:
    """Refuse what its conditions do not allow; `missing`: the answer to If-Match where nothing is."""
    wanted, unwanted = headers.get("if-match"), headers.get("if-none-match")
    if wanted is not None:
        if blob is None:
            raise Refused(*missing)
        if wanted not in ("*", blob.etag):
            raise Refused(*NOT_MET)
    if unwanted is not None and blob is not None:
        if unwanted == "*":
            raise Refused(409, "BlobAlreadyExists", "The specified blob already exists.")
        if unwanted == blob.etag:
            raise Refused(304, "ConditionNotMet")


def _entry(name: str, blob: Blob) -> str:
    modified = format_datetime(blob.modified, usegmt=True)
    digest = base64.b64encode(hashlib.md5(blob.body, usedforsecurity=False).digest()).decode()
    return (
        f"<Blob><Name>{escape(name)}</Name><Properties><Creation-Time>{modified}</Creation-Time><Last-Modified>{modified}</Last-Modified>"
        f"<Etag>{blob.etag.strip(chr(34))}</Etag><Content-Length>{len(blob.body)}</Content-Length>"
        f"<Content-Type>{escape(blob.content_type)}</Content-Type><Content-MD5>{digest}</Content-MD5><BlobType>BlockBlob</BlobType>"
        "<LeaseStatus>unlocked</LeaseStatus><LeaseState>available</LeaseState></Properties></Blob>"
    )


def _messages(found: list[Message], *, shows: tuple[str, ...]) -> bytes:
    text = f"{DECLARATION}<QueueMessagesList>"
    for one in found:
        text += f"<QueueMessage><MessageId>{one.id}</MessageId><InsertionTime>{format_datetime(one.inserted, usegmt=True)}</InsertionTime>"
        text += f"<ExpirationTime>{format_datetime(one.expires, usegmt=True)}</ExpirationTime>"
        if "receipt" in shows:
            text += f"<PopReceipt>{one.receipt}</PopReceipt><TimeNextVisible>{format_datetime(one.visible, usegmt=True)}</TimeNextVisible>"
        if "dequeued" in shows:
            text += f"<DequeueCount>{one.dequeued}</DequeueCount>"
        if "text" in shows:
            text += f"<MessageText>{escape(one.text)}</MessageText>"
        text += "</QueueMessage>"
    return (text + "</QueueMessagesList>").encode()
