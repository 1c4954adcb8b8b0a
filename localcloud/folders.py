"""
A data folder belongs to one process at a time: two that write the same jobs and models would ruin both.

The lock is the kernel's, on an open file: it ends with its process, whatever killed it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO

FOLDER_BUSY_EXIT = 4  # as for a port that is taken: something of ours is running already
_FILE = "in-use"


class FolderTaken(Exception):
    """Another process uses the folder; the text says which and what to do."""


def hold(folder: Path, name: str) -> TextIO:
    """Take the folder until the returned file is closed; raise FolderTaken. `name` says in the error who wants it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / _FILE).open("a+", encoding="utf-8")
    try:
        _lock(file)
    except OSError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        message = f"The data folder {folder} ({name}) is in use by process {holder}; stop that one or choose another folder with --data."
        raise FolderTaken(message) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


if sys.platform == "win32":
    import msvcrt

    def _lock(file: TextIO) -> None:
        file.seek(1 << 20)  # beyond the text, which others must be able to read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(0)

else:
    import fcntl

    def _lock(file: TextIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
