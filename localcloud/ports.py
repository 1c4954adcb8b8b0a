"""
The ports of a local cloud are fixed, free ones, or chosen by name; a taken one is refused before anything is started.

All taken ones are named together, each with who listens there where the system tells. Another program may still take a port between
the check and the start; then the start fails with the same sentence.
"""

from __future__ import annotations

import argparse
import errno
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from localcloud import azurite, listeners, processes, web
from localcloud.processes import StartFailed

PORT_MAX = 65_535
NAMES = ("blob", "queue", "table", "azureml", "functions")  # how a person names them
TITLES = dict(zip(NAMES, ("Azurite blobs", "Azurite queues", "Azurite tables", "Azure ML", "functions host"), strict=True))
OTHERS_OF_UP = "`up --ports auto` takes free ones, `up --port NAME=PORT` one of your choice"


@dataclass(frozen=True, kw_only=True)
class Ports:
    azurite: azurite.Ports = field(default_factory=azurite.Ports)
    azureml: int = 8443
    functions: int = 7071

    @classmethod
    def chosen(cls, mode: str, chosen: Mapping[str, int]) -> Ports:
        """The fixed ports or free ones ("auto"), but for those chosen by name; 0 is a free one. Raise StartFailed for one port twice."""
        usual = dict.fromkeys(NAMES, 0) if mode == "auto" else cls().by_name()
        wanted = usual | dict(chosen)
        free = (port for port in processes.free_ports(2 * len(NAMES)) if port not in wanted.values())
        made = {name: port or next(free) for name, port in wanted.items()}
        for name, port in made.items():
            twin = next((other for other in NAMES[: NAMES.index(name)] if made[other] == port), None)
            if twin:
                raise StartFailed(f"{twin} and {name} cannot both have port {port}. Write --port {name}=PORT with another.", 2)
        three = azurite.Ports(blob=made["blob"], queue=made["queue"], table=made["table"])
        return replace(cls(), azurite=three, azureml=made["azureml"], functions=made["functions"])

    def by_name(self) -> dict[str, int]:
        three = self.azurite
        return dict(zip(NAMES, (three.blob, three.queue, three.table, self.azureml, self.functions), strict=True))

    def titled(self) -> dict[str, int]:
        return {TITLES[name]: port for name, port in self.by_name().items()}


def choice(text: str) -> tuple[str, int]:
    """Read NAME=PORT from the command line."""
    name, _, digits = text.partition("=")
    if name not in NAMES:
        raise argparse.ArgumentTypeError(f"{text!r} names no port; the names are {', '.join(NAMES)}, for example azureml=9443")
    if not digits.isascii() or not digits.isdigit() or int(digits) > PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} has no number from 0 to {PORT_MAX}; write, for example, {name}=9443")
    return name, int(digits)


def number(text: str) -> int:
    """Read a port from the command line."""
    if not text.isascii() or not text.isdigit() or int(text) > PORT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to {PORT_MAX}")
    return int(text)


def refuse_taken(ports: Mapping[str, int], *, others: str) -> None:
    """Raise StartFailed with every port that cannot be had. `ports`: title -> port; 0 is never taken. `others`: how to choose."""
    faults = {port: (title, fault) for title, port in ports.items() if port and (fault := _fault(port))}
    if faults:
        said = [f"port {port} ({title}) {fault}" for port, (title, fault) in faults.items()]
        text = "; ".join(said)
        text = f"{text[0].upper()}{text[1:]}. Stop what listens there, or choose: {others}."
        raise StartFailed(text, web.PORT_BUSY_EXIT)


def _fault(port: int) -> str | None:
    """Why the port cannot be had; None: it can. Ours are on 127.0.0.1, but whoever has ::1 gets the calls to localhost."""
    for family, address in ((socket.AF_INET, web.HOST), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                one.bind((address, port))
        except OSError as error:
            if family == socket.AF_INET or error.errno == errno.EADDRINUSE:  # a machine may have no IPv6
                return listeners.why(port, error)
    return None
