"""The queue of turns. A message carries a key, who rang and the promise that it keeps; nothing that could be believed."""

from __future__ import annotations

import base64
import json
import math
from datetime import datetime, timedelta

from azure.storage.queue import QueueClient

from shared.cloud.answers import translated
from shared.domain.record import Key

VISIBILITY_MAX = timedelta(days=7)  # Azure Queue storage; longer waits come back earlier and look again


class QueueTurns:
    """The `Turns` port over one storage queue. Messages are base64, as the Functions host reads them by default."""

    def __init__(self, queue: QueueClient) -> None:
        self._queue = queue

    def ring(self, key: Key, *, who: str, promised: datetime | None = None, delay: timedelta = timedelta(0)) -> None:
        body = {"kind": key.kind.value, "id": key.id, "who": who, "promised": promised.isoformat() if promised else None}
        text = base64.b64encode(json.dumps(body, separators=(",", ":")).encode()).decode()
        hidden = math.ceil(min(delay, VISIBILITY_MAX - timedelta(hours=1)).total_seconds())
        with translated(f"Ringing {key}"):
            self._queue.send_message(text, visibility_timeout=hidden, time_to_live=-1)
