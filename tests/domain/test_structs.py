"""Two turns that begin at once in a fresh process both read their records, and the process lives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import dev

pytestmark = pytest.mark.light
FRESH_TIMES = 20  # without `learn` a time ended in a segmentation fault in a quarter of the tries: 20 go well in 1 run of 300
CHILD = f"""
import sys, threading
from datetime import UTC, datetime
import msgspec

sys.setswitchinterval(1e-7)
for _ in range({FRESH_TIMES}):
    for name in [one for one in sys.modules if one.startswith("shared.domain")]:
        del sys.modules[name]
    from shared.domain import tuning, upload
    now = datetime.now(UTC)
    told = upload.Upload(account="a", container="c", path="bot/a.jsonl", etag="e", size=3, last_modified=now)
    body = msgspec.to_builtins(tuning.opened(told, owner="o", now=now))
    together, read = threading.Barrier(6), []

    def turn():
        together.wait()
        read.append(msgspec.convert(body, tuning.Tuning))

    threads = [threading.Thread(target=turn) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read) == 6
"""


def test_turns_that_begin_together_in_a_fresh_process_do_not_end_it():
    """Goal: no half-built type is seen by another thread. Method: modules made new time and again, read by six threads at once."""
    root = Path(dev.__file__).resolve().parent
    ended = subprocess.run([sys.executable, "-c", CHILD], cwd=root, capture_output=True, text=True, timeout=60, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")
