"""
Leads the processes of one command: when they have ended, or whoever started this is gone, none of them is left.

Run by its path, without the site: `python -I -S leader.py PROGRAM ARGUMENT…`, with a pipe as its input that nobody writes to. Its end is
that of the other side, however that ended.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

GONE = 128 + signal.SIGKILL


def main(command: list[str]) -> int:
    """Run the command in a session of its own; return its exit code as a shell tells it."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_end_with_the_other_side, args=(process.pid,), daemon=True).start()
    code = process.wait()
    _end(process.pid)  # what it left running
    return code if code >= 0 else 128 - code


def _end_with_the_other_side(group: int) -> None:
    os.read(0, 1)
    _end(group)
    os._exit(GONE)


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # at once: a thread is still reading
