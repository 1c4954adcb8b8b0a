"""
Who listens on which port of this machine, as far as the kernel tells it.

Read from /proc (proc(5), Linux): the table of sockets gives address and inode, the open files of a process give its inodes. Elsewhere,
and for processes of other users, nobody is named; callers then say only that somebody listens.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
LISTEN = "0A"  # TCP_LISTEN in the kernel's tcp_states.h


@dataclass(frozen=True, kw_only=True)
class Listener:
    """One listening TCP socket."""

    address: str  # "127.0.0.1", "0.0.0.0", "::"
    port: int
    inode: int

    @property
    def answers_localhost(self) -> bool:
        """True if a connection to localhost can end here; many clients try ::1 first."""
        return self.address in ("127.0.0.1", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1")


def everyone() -> list[Listener]:
    """Every listening TCP socket; empty where there is no /proc."""
    found = []
    for table in map(Path, TABLES):
        with contextlib.suppress(OSError):
            rows = [line.split() for line in table.read_text(encoding="ascii").splitlines()[1:]]
            found += [_listener(row[1], int(row[9])) for row in rows if row[3] == LISTEN]
    return found


def of(pids: Iterable[int]) -> list[Listener]:
    """The listening sockets of these processes."""
    inodes = {inode for pid in pids for inode in _sockets(pid)}
    return [one for one in everyone() if one.inode in inodes]


def at(port: int) -> list[int]:
    """The processes that answer on localhost at this port; empty: nobody listens, or it cannot be seen who."""
    inodes = {one.inode for one in everyone() if one.port == port and one.answers_localhost}
    return [pid for pid in _processes() if inodes & _sockets(pid)] if inodes else []


def ours(ports: Iterable[int], session: int) -> bool:
    """False if a process of another session answers at one of these ports. Each part is started in a session of its own."""
    return not any(pids and session not in {_session(pid) for pid in pids} for pids in map(at, ports))


def why(port: int, error: OSError) -> str:
    """Why a port could not be bound, to stand after its number."""
    if error.errno != errno.EADDRINUSE:
        return f"cannot be used ({error.strerror})"
    pids = at(port)
    return f"is taken by {name(pids[0])}" if pids else f"is taken (`sudo lsof -i :{port}` says by whom)"


def name(pid: int) -> str:
    """What a person calls the process: the part of a local cloud and its folder, else the program. Arguments may hold keys: not shown."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        program = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return f"pid {pid}"
    folder = next((after for word, after in itertools.pairwise(words) if word in ("--data", "--location")), None)
    part = next((after for word, after in itertools.pairwise(words) if word == "localcloud"), None)
    if part and folder:
        return f"{part} of the local cloud on {folder} (pid {pid})"
    if folder and any(word.endswith("azurite.js") for word in words):
        return f"Azurite on {folder} (pid {pid})"
    return f"{program} (pid {pid})"


def _listener(address: str, inode: int) -> Listener:
    """Addresses are hexadecimal, each four bytes in the order of this machine; so are those of every Linux that Python runs on: little."""
    digits, _, port = address.partition(":")
    raw = bytes.fromhex(digits)
    packed = b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))
    read = ipaddress.ip_address(packed)
    mapped = read.ipv4_mapped if isinstance(read, ipaddress.IPv6Address) else None
    return Listener(address=f"::ffff:{mapped}" if mapped else str(read), port=int(port, 16), inode=inode)


def _processes() -> list[int]:
    return sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _sockets(pid: int) -> set[int]:
    """The inodes of a process's sockets; empty if it has ended or belongs to somebody else."""
    found: set[int] = set()
    try:
        files = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return found
    for file in files:
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{file}")
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    return found


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None
