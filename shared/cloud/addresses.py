"""
Every client's address is checked when the client is built.

azure-ai-ml falls back to real Azure silently when a cloud's metadata cannot be fetched (azure-ai-ml 1.35,
_azure_environments). So in local mode an address that is not on this machine is refused, and in Azure one that is.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from shared.errors import WrongSettings

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def checked(address: str, *, local: bool, what: str) -> str:
    """Return `address` if it is where this mode allows; raise WrongSettings that names it otherwise."""
    parts = urlsplit(address)
    if parts.username or parts.password:
        raise WrongSettings(f"{what}: the address holds a user name or password; remove it.")
    here = (parts.hostname or "").lower() in LOOPBACK
    if local and not here:
        raise WrongSettings(f"{what}: {parts.hostname} is not on this machine, and TUNELOOP_LOCAL is on. Nothing was sent to it.")
    if not local and here:
        raise WrongSettings(f"{what}: {parts.hostname} is this machine; set TUNELOOP_LOCAL to 1 to work against the local cloud.")
    if not local and parts.scheme != "https":
        raise WrongSettings(f"{what}: {parts.scheme}://{parts.hostname} is not encrypted; give an https address.")
    return address
