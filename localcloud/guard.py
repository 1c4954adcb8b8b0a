"""
Whatever ends `up`, even SIGKILL, ends what it started: this process waits for that, and then clears away.

`python -m localcloud.guard DATA` reads its standard input, which is a pipe that only `up` holds. The pipe ends when `up` is gone.
A record that is still there then was not cleared away by `up` itself.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from localcloud import up


def main(data: Path) -> None:
    """Wait for the end of the pipe, then stop what the record names, unless a new `up` wrote it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # meant for `up`, which tells us by its end
    supervisor = int(sys.stdin.readline() or 0)
    sys.stdin.read()
    up.clear_away(data, supervisor)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
