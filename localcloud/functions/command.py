"""`python -m localcloud functions`: one host process for one app folder."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from localcloud import ports
from localcloud.chance import Chance
from localcloud.functions import indexing, settings, worker
from localcloud.functions.supervisor import Supervisor

if TYPE_CHECKING:
    from localcloud import web
    from localcloud.functions.host import Host

WRONG_SETTINGS_EXIT = 2
WORKER_LOST_EXIT = 5  # the worker died too often; in Azure the platform would start the host again
LEASE_S = 600  # how long the real host hides a received message (fixed in its code)
log = logging.getLogger("host")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--app", type=Path, default=Path(), help="folder of function_app.py and host.json (default: here)")
    parser.add_argument("--port", type=ports.number, default=7071, help="port on 127.0.0.1 (default: 7071)")
    parser.add_argument("--settings", type=Path, help="settings file (default: local.settings.json of the app, if there is one)")
    parser.add_argument("--data", type=Path, help="folder for what outlives the process (default: .localcloud in the app)")
    parser.add_argument(
        "--auth",
        choices=("off", "on"),
        default="off",
        help="on: ask for keys, as Azure does; off: let everybody in, as `func start` does (default)",
    )
    parser.add_argument(
        "--message-lease",
        type=int,
        default=LEASE_S,
        metavar="SECONDS",
        help="how long a received message stays hidden if this host dies (default: 600, as in the real host)",
    )


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or Ctrl-C."""
    _log_to_stderr()
    app = args.app.resolve()
    file = args.settings.resolve() if args.settings else _default_settings(app)
    data = (args.data or app / ".localcloud").resolve()
    try:
        os.environ.update(settings.load_values(file, os.environ))
        options = settings.load_host_options(app, os.environ)
    except settings.WrongSettings as error:
        log.error("%s", error)
        return WRONG_SETTINGS_EXIT
    os.chdir(app)
    its_worker = Supervisor(app, os.environ.get("PYTHON_SCRIPT_FILE_NAME") or indexing.APP_FILE, timeout=options.function_timeout)
    its_worker.start()
    from localcloud import web  # HTTP and storage load while the worker starts
    from localcloud.functions import server
    from localcloud.functions.host import Host

    draw_key = Chance().token if args.auth == "on" else None
    host = Host(its_worker, options, data=data, lease_s=max(1, args.message_lease), draw_key=draw_key)
    try:
        front = server.serve(host, args.port)
    except web.PortTaken as error:
        log.error("%s (--port)", error)
        its_worker.stop()
        return web.PORT_BUSY_EXIT
    return _serve(host, front, its_worker)


def _serve(host: Host, front: web.Server, its_worker: Supervisor) -> int:
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    its_worker.when_lost = stopping.set
    try:
        host.start(os.environ)  # the port answers only after indexing, so that "Running" never comes too early
    except worker.WorkerLost:
        return WORKER_LOST_EXIT
    except (settings.WrongSettings, OSError) as error:  # of what is kept in the data folder: the app's own faults are in its status
        log.error("%s", error)
        its_worker.stop()
        return WRONG_SETTINGS_EXIT
    signal.signal(signal.SIGTERM, stop)  # before: the default, which ends the host at once
    signal.signal(signal.SIGINT, stop)
    front.start()
    log.info("The host listens on http://127.0.0.1:%d with %d functions.", front.port, len(host.functions))
    stopping.wait()
    log.info("The host stops.")
    host.stop()
    front.stop(within_s=0)
    logging.shutdown()
    os._exit(WORKER_LOST_EXIT if its_worker.lost else 0)  # a cut-off function must not hold the process


def _default_settings(app: Path) -> Path | None:
    file = app / "local.settings.json"
    return file if file.exists() else None


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    logging.getLogger("azure").setLevel(logging.WARNING)  # its requests and answers are not for a log
