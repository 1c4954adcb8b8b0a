"""
What stands between the app and one service that it asks: passes requests on, keeps what was asked and answered, and fails as networks do.

A request may be lost before it is passed on, or its answer after; it may be held back, be sent twice, or be the moment at which a process
of the app is killed. Addresses of the service in its answers become addresses of the proxy, so that nothing goes past it. Loopback only.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from localcloud import web
from tests.processes import plan as plans

WITHIN_S = 60.0  # for one exchange on the loopback
HELD_S_MAX = 30.0  # that a request is held back by windows that follow each other
DEPLOYMENT_HEADER = "azureml-model-deployment"
_OF_ONE_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "expect", "te", "trailer", "upgrade"})


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request, what the service answered, and what became of it on the way."""

    at: float  # seconds since the beginning of the loop
    via: str
    method: str
    path: str
    status: int  # of the service; 0: it was never asked, or did not answer
    fault: str = ""
    deployment: str = ""  # that a model was asked of; "": the request is no such question
    body: Any = None  # of a PUT to Azure ML, parsed

    @property
    def arrived(self) -> bool:
        """Whether the app got the answer."""
        return self.fault in ("", plans.STALL, plans.TWICE)


class Storm:
    """What goes wrong now, for all proxies of one app; and all that went through them."""

    def __init__(self, kill: Callable[[str], None]) -> None:
        self._kill = kill
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._plan: plans.Plan | None = None  # None: nothing goes wrong
        self._calm = True  # only what is aimed at an exchange still happens
        self._chance = Random()
        self._hits: dict[int, int] = {}  # number of an aimed fault -> exchanges of its kind so far
        self._windows: dict[str, tuple[str, float]] = {}  # what cannot be reached -> how, until when
        self.exchanges: list[Exchange] = []

    def begin(self, plan: plans.Plan | None) -> None:
        """Begin a loop, with an empty history."""
        with self._lock:
            self._plan, self._calm, self._began, self._hits, self._windows = plan, plan is None, time.monotonic(), {}, {}
            self._chance = Random(f"proxy {plan.seed}" if plan else 0)
            self.exchanges = []

    def calm(self) -> None:
        """Let nothing more go wrong but what is aimed at an exchange that is still to come, which happens once."""
        with self._lock:
            self._calm, self._windows = True, {}

    def end(self) -> None:
        """Let nothing more go wrong; the history goes on."""
        with self._lock:
            self._plan, self._windows = None, {}

    def now(self) -> float:
        return time.monotonic() - self._began

    def close(self, via: str, how: str, seconds: float) -> None:
        """Cut or stall a service for so long."""
        with self._lock:
            self._windows[via] = (how, self.now() + seconds)

    def note(self, exchange: Exchange) -> None:
        with self._lock:
            self.exchanges.append(exchange)

    def draw(self, via: str, method: str, path: str) -> str:
        """Return what happens to this exchange, '' for nothing."""
        with self._lock:
            if self._plan is None:
                return ""
            how, until = self._windows.get(via, ("", 0.0))
            if how == "cut" and self.now() < until:
                return plans.BEFORE
            for number, aimed in enumerate(self._plan.aimed):
                if (aimed.via, aimed.method) == (via, method) and re.search(aimed.path, path):
                    hit = self._hits[number] = self._hits.get(number, -1) + 1
                    if hit == aimed.nth:
                        return aimed.fault
            if self._calm:
                return ""
            chances, is_message = self._plan.chances, method == "POST" and path.endswith("/messages")
            for fault in (plans.BEFORE, plans.AFTER, plans.STALL, *([plans.TWICE] if is_message else [])):
                if self._chance.random() < chances.get(fault, 0.0):
                    return fault
            return ""

    def hold_back(self, via: str, fault: str) -> None:
        """Let the calling thread wait for as long as the service is stalled."""
        if fault == plans.STALL:
            time.sleep(self._chance.uniform(*plans.STALL_S))
        deadline = self.now() + HELD_S_MAX
        while self.now() < deadline:
            how, until = self._windows.get(via, ("", 0.0))
            if how != "stall" or self.now() >= until:
                return
            time.sleep(0.05)

    def kill(self, fault: str) -> None:
        self._kill("host" if fault == plans.KILL_HOST else "worker")


class Proxy:
    """One port in front of another. `served`: TLS towards the app, `trusted`: towards the service; both None: plain HTTP."""

    def __init__(
        self,
        via: str,
        target: int,
        storm: Storm,
        *,
        served: ssl.SSLContext | None = None,
        trusted: Callable[[], ssl.SSLContext] | None = None,
        port: int = 0,
    ) -> None:
        self.via, self.target, self._storm, self._trusted = via, target, storm, trusted
        self._server = web.Server(port, self._answer, name=f"proxy {via}", context=served)
        self.port = self._server.port
        self._server.start()

    def stop(self) -> None:
        self._server.stop(within_s=0.5)

    def _answer(self, asked: web.Asked) -> web.Answered:
        path = asked.target.partition("?")[0]
        fault = self._storm.draw(self.via, asked.method, path)
        self._storm.hold_back(self.via, fault)
        if fault == plans.KILL_BEFORE:
            self._storm.kill(fault)
        if fault in (plans.BEFORE, plans.KILL_BEFORE):
            self._note(asked, 0, fault)
            return web.Answered(status=0, ending=web.Ending.LOST)
        answered = self._passed_on(asked)
        self._note(asked, answered.status, fault)
        if fault == plans.TWICE:
            self._note(asked, self._passed_on(asked).status, fault)
        if fault in (plans.KILL_AFTER, plans.KILL_HOST):
            self._storm.kill(fault)
        lost = fault in (plans.AFTER, plans.KILL_AFTER, plans.KILL_HOST) or answered.status == 0
        return web.Answered(status=0, ending=web.Ending.LOST) if lost else answered

    def _note(self, asked: web.Asked, status: int, fault: str) -> None:
        body = None
        if self.via == plans.AZUREML and asked.method == "PUT":
            with contextlib.suppress(ValueError):
                body = json.loads(asked.body)
        path, deployment = asked.target.partition("?")[0], asked.headers.get(DEPLOYMENT_HEADER, "")
        self._storm.note(
            Exchange(
                at=self._storm.now(),
                via=self.via,
                method=asked.method,
                path=path,
                status=status,
                fault=fault,
                deployment=deployment,
                body=body,
            )
        )

    def _passed_on(self, asked: web.Asked) -> web.Answered:
        """Ask the service; status 0: it did not answer."""
        if self._trusted:
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "localhost", self.target, timeout=WITHIN_S, context=self._trusted()
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.target, timeout=WITHIN_S)
        headers = {name: value for name, value in asked.headers.items() if name not in _OF_ONE_CONNECTION}
        body, target = asked.body, asked.target
        if self._trusted:
            headers = {name: self._moved(value, self.port, self.target) for name, value in headers.items()}
            body, target = self._moved_bytes(body, self.port, self.target), self._moved(target, self.port, self.target)
        try:
            length = {"content-length": str(len(body))} if body or "content-length" in asked.headers else {}
            connection.request(asked.method, target, body or None, headers | length)
            reply = connection.getresponse()
            content, given = reply.read(), dict(reply.getheaders())
        except (OSError, http.client.HTTPException):
            return web.Answered(status=0)
        finally:
            connection.close()
        if self._trusted:
            content = self._moved_bytes(content, self.target, self.port)
            given = {name: self._moved(value, self.target, self.port) for name, value in given.items()}
        kept = {name: value for name, value in given.items() if name.lower() not in _OF_ONE_CONNECTION or asked.method == "HEAD"}
        return web.Answered(status=reply.status, body=content, headers=kept)

    def _moved(self, text: str, old: int, new: int) -> str:
        return re.sub(rf"\b(localhost)(:|%3A){old}\b", rf"\g<1>\g<2>{new}", text)

    def _moved_bytes(self, content: bytes, old: int, new: int) -> bytes:
        return content.replace(f"localhost:{old}".encode(), f"localhost:{new}".encode())
