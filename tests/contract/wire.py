"""The SDK's own transport, with a hand on the line: a test acts before a request leaves and after its answer came."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from azure.core.exceptions import ServiceRequestError, ServiceResponseError
from azure.core.pipeline.transport import HttpRequest, RequestsTransport
from azure.storage.blob import ContainerClient

ByWire = Callable[[ContainerClient, "Wire"], ContainerClient]


class Wire(RequestsTransport):
    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[HttpRequest], None] = lambda _: None
        self.after: Callable[[HttpRequest], None] = lambda _: None
        self.requests = 0
        self.under_way = 0
        self.under_way_max = 0
        self._lock = threading.Lock()

    def send(self, request: Any, **kwargs: Any) -> Any:
        with self._lock:
            self.requests += 1
            self.under_way += 1
            self.under_way_max = max(self.under_way_max, self.under_way)
        try:
            self.before(request)
            response = super().send(request, **kwargs)
            try:
                self.after(request)
            except BaseException:
                response.internal_response.close()  # nobody reads it any more
                raise
        finally:
            with self._lock:
                self.under_way -= 1
        return response

    def fail_at(self, number: int, how: str) -> None:
        """Let the request of this number not arrive ("before"), or its answer ("after"). It is not repeated: see `by_wire`."""
        numbers = iter(range(1 << 30))
        lock = threading.Lock()

        def planted(_: HttpRequest) -> None:
            with lock:
                now = next(numbers)
            if now == number:
                raise lost(how)

        setattr(self, how, planted)


def lost(how: str) -> Exception:
    return ServiceRequestError("it did not arrive") if how == "before" else ServiceResponseError("the answer did not arrive")
