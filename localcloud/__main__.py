"""
The one command of the local cloud: `python -m localcloud up`, and each of its parts alone.

Parts load their code only when they are asked for, so that `azurite` starts without numpy and `functions` without certificates.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from localcloud import ports, processes, web

PARTS = {
    "up": "start everything, stay in the foreground, stop everything on Ctrl-C",
    "azurite": "blobs and queues alone",
    "azureml": "the Azure ML emulator alone",
    "functions": "the Functions host alone",
    "restart": "end one process of a running `up` (if it lives) and start it again",
}


def main(arguments: Sequence[str]) -> int:
    """Parse and run; 1: a process did not start, 2: wrong arguments, 4: a port is taken."""
    asked = arguments[0] if arguments and arguments[0] in PARTS else ""
    parser = argparse.ArgumentParser(prog="python -m localcloud", description="Azure on this laptop.")
    commands = parser.add_subparsers(dest="command", required=True)
    parsers = {name: commands.add_parser(name, help=text, description=text, allow_abbrev=False) for name, text in PARTS.items()}
    part = _load(asked)
    if part is not None:
        part.add_arguments(parsers[asked])
        return _alone(asked, part, parser.parse_args(arguments))
    from localcloud import up  # loads Event Grid's delivery and storage: a part alone starts without them

    up.add_arguments(parsers["up"])
    up.add_handed_on_arguments(parsers["up"])
    up.add_azurite_arguments(parsers["azurite"])
    parsers["restart"].add_argument("name", choices=up.NAMES, help="which process")
    parsers["restart"].add_argument("--data", type=Path, default=Path(".localcloud"), help="the data folder of `up`")
    args = parser.parse_args(arguments)
    if asked == "up":
        args.handed_on = up.handed_on(arguments[1:])
    return {"up": up.run, "azurite": up.run_azurite, "restart": up.run_restart}[asked](args)


def _alone(name: str, part: ModuleType, args: argparse.Namespace) -> int:
    """Run a part by itself, if its port is free."""
    try:
        ports.refuse_taken({ports.TITLES[name]: args.port}, others="--port takes another")
        return int(part.run(args))
    except (processes.StartFailed, web.PortTaken) as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code if isinstance(error, processes.StartFailed) else web.PORT_BUSY_EXIT


def _load(name: str) -> ModuleType | None:
    """The module of a part that has a command of its own."""
    return importlib.import_module(f"localcloud.{name}.command") if name in ("azureml", "functions") else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
