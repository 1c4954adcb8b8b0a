"""
A struct is learned by msgspec while one thread imports it, never by two threads at its first use.

msgspec 0.22 builds what it knows of a type at the first `convert` or decode and lets other threads see it half built: two turns that
began together in a fresh process ended it with a segmentation fault (35 of 150 tries with six threads and a switch interval of 0.1 us).
The import system lets one thread run a module and the others wait, so each module that defines what is read back calls `learn`.
"""

from __future__ import annotations

import msgspec


def learn(*types: type) -> None:
    """Let msgspec learn these types, and all that they are made of, now."""
    for one in types:
        msgspec.json.Decoder(one)
