"""
Every draw of the local cloud comes from one source, so that a seed repeats a whole run: ids, keys, jitter.

Without a seed the draws come from the operating system and cannot be foretold. Locks make the source safe to share; which thread
draws first is then up to the threads, so a run repeats exactly only where one request follows another.
"""

from __future__ import annotations

import base64
import random
import threading
import uuid


class Chance:
    """Ids, secrets and fractions. `seed` None: unforeseeable. `part` keeps those who draw from one seed apart from each other."""

    def __init__(self, seed: int | None = None, part: str = "") -> None:
        self.seed, self.part = seed, part
        self._source = random.SystemRandom() if seed is None else random.Random(f"{seed} {part}" if part else seed)
        self._lock = threading.Lock()

    def begin(self, start: int) -> None:
        """Draw from here on what belongs to the start of that number, from 1 on: the second must not draw the ids of the first again."""
        if self.seed is not None and start > 1:
            with self._lock:
                self._source = random.Random(f"{self.seed} {self.part} {start}")

    def guid(self) -> str:
        """Return a version 4 GUID."""
        with self._lock:
            return str(uuid.UUID(int=self._source.getrandbits(128), version=4))

    def token(self, size: int) -> str:
        """Return `size` random bytes as text that may stand in a header or an address."""
        with self._lock:
            drawn = self._source.getrandbits(8 * size).to_bytes(size, "big")
        return base64.urlsafe_b64encode(drawn).rstrip(b"=").decode()

    def random(self) -> float:
        """Return a number from 0 (included) to 1 (excluded)."""
        with self._lock:
            return self._source.random()
