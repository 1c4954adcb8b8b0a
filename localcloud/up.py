"""
`up` starts Azurite, the Azure ML emulator and the Functions host, in this order, each when the one before answers.

When all are ready it writes the env file and then the state file; whoever waits for the state file finds everything running. It
stays in the foreground and stops everything in reverse order. What it started is recorded in DATA/processes.json, so `restart`
can do it again and the next `up` can clear away what a killed one left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn

from localcloud import azurite, listeners, ports, processes
from localcloud.azureml import command as azureml_command
from localcloud.eventgrid import subscriptions
from localcloud.functions import settings
from localcloud.functions.command import WORKER_LOST_EXIT
from localcloud.processes import StartFailed
from localcloud.web import PORT_BUSY_EXIT

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("azurite", "azureml", "functions")  # in the order of starting
CONTAINERS = ("datasets", "prepared", "ledger", "azureml-blobstore", subscriptions.DEAD_LETTERS)
QUEUES = ("turns",)
STORAGE_SETTINGS = ("AzureWebJobsStorage", "DATASETS")  # always aimed at Azurite
ANNOUNCE_SETTING = "ANNOUNCE_TOPIC_ENDPOINT"  # set where the settings file does not say otherwise
ANNOUNCE_PATH = "/topics/tuneloop/api/events"
READY_WITHIN_S = {"azurite": 30.0, "azureml": 60.0, "functions": 60.0}  # a loaded laptop; typical are 1, 2 and 1
LEASE_S = 15  # the real 600 would make a killed host look stuck
PACE = 0.1  # Event Grid's first retry after 1 s instead of 10
LOOK_EVERY_S = 0.2
LOCK = "up.lock"  # in the data folder: who holds it has the folder to itself
FORGETFUL = "What was written in its last 5 s may be lost."  # Azurite 3.35 saves its index so often (its autosaveInterval)


@dataclass(kw_only=True)
class Part:
    """One process, with all that is needed to start it again."""

    name: str
    command: list[str]
    ports: list[int]
    cwd: str
    environment: dict[str, str] = field(default_factory=dict)  # what is set over the supervisor's own environment
    unset: list[str] = field(default_factory=list)  # what is taken away from it
    pid: int = 0  # 0: not started
    began: str | None = None
    restarted_by: int = 0  # the pid of the `restart` that is at work on it; 0: none was


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=Path(".localcloud"), help="folder of everything local (default: .localcloud)")
    parser.add_argument("--env", type=Path, help="file of `export` lines for other shells (default: DATA/env)")
    parser.add_argument("--state", type=Path, help="file that appears when all is ready (default: DATA/state.json)")
    parser.add_argument("--ports", choices=("fixed", "auto"), default="fixed", help="fixed: 10000-10002, 8443, 7071; auto: free ones")
    parser.add_argument(
        "--port", type=ports.choice, action="append", default=[], metavar="NAME=PORT",
        help=f"a port of your choice, 0 for a free one; repeatable; names: {', '.join(ports.NAMES)}",
    )  # fmt: skip
    parser.add_argument("--app", type=Path, default=ROOT, help="folder of function_app.py (default: this project)")
    parser.add_argument("--settings", type=Path, help="settings file (default: local.settings.json of the app, else its example)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the functions host; repeatable")
    parser.add_argument("--subscriptions", type=Path, metavar="FILE", help="JSON list of event subscriptions (default: the app's own)")
    parser.add_argument("--pace", type=float, default=PACE, help="factor on Event Grid's waiting times (default: 0.1)")
    parser.add_argument("--message-lease", type=int, default=LEASE_S, metavar="SECONDS", help="see `functions --help` (default: 15)")
    parser.add_argument("--func", action="store_true", help="run the app with Core Tools (`func start`) instead of our host")


def add_handed_on_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what goes to the Azure ML emulator as it is: every option of its world, without a word about it here."""
    azureml_command.add_world_arguments(parser)


def handed_on(words: Sequence[str]) -> list[str]:
    """What of a command line of `up`, which was already found right, is the emulator's."""
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_arguments(own)
    return own.parse_known_args(words)[1]


def add_azurite_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=Path(".localcloud"), help="folder of everything local (default: .localcloud)")
    parser.add_argument("--azurite", type=Path, help="Azurite's script (default: the project's own)")
    for name, port in asdict(azurite.Ports()).items():
        parser.add_argument(
            f"--{name}-port", type=ports.number, default=port, help=f"port on 127.0.0.1; 0 takes any that is free (default: {port})"
        )


def run(args: argparse.Namespace) -> int:
    """Start, stay, stop. 0: stopped on request, 1: something did not start, 2: one port twice, 4: a port is taken."""
    try:
        cloud = Cloud(args)
    except StartFailed as error:
        _say(str(error))
        return error.exit_code
    _interrupt_on_signals()
    try:
        cloud.check()
        cloud.start()
        _say(f"The local cloud runs. State: {cloud.state_file}. Stop it with Ctrl-C.")
        cloud.stay()
    except StartFailed as error:
        _say(str(error))
        return error.exit_code
    except (settings.WrongSettings, azurite.AzuriteMissing) as error:
        _say(str(error))
        return 1
    except OSError as error:
        _say(_unusable(error))
        return 1
    except KeyboardInterrupt:
        _say("Stopping.")
        return 0
    finally:
        cloud.stop()


def run_azurite(args: argparse.Namespace) -> int:
    """Azurite alone, in the foreground."""
    free = processes.free_ports(3)
    blob, queue, table = (asked or one for asked, one in zip((args.blob_port, args.queue_port, args.table_port), free, strict=True))
    three = azurite.Ports(blob=blob, queue=queue, table=table)
    _interrupt_on_signals()
    data = args.data.resolve()
    one = azurite.Azurite(data, three, args.azurite)
    try:
        held = processes.hold(data / LOCK)  # two on one folder would write over each other's index
        if held is None:
            raise StartFailed(
                f"The data folder {data} is used by `up` or by another Azurite. Stop it, or use another --data.", PORT_BUSY_EXIT
            )
        ports.refuse_taken(_titled("azurite", three.all()), others="--blob-port, --queue-port and --table-port take others")
        with one:
            _say(one.connection_string)
            while processes.alive(one.pid):
                time.sleep(LOOK_EVERY_S)
    except KeyboardInterrupt:
        return 0
    except (StartFailed, azurite.AzuriteMissing) as error:
        _say(str(error))
        return error.exit_code if isinstance(error, StartFailed) else 1
    except OSError as error:
        _say(_unusable(error))
        return 1
    _say(f"Azurite ended. Its log, {one.log}, ends with:\n{processes.tail(one.log)}")
    return 1


def run_restart(args: argparse.Namespace) -> int:
    """End one process of a running cloud, if it lives, and start it again as it was."""
    data = args.data.resolve()
    try:
        record = Record.read(data)
        part = record.parts[args.name]
        part.restarted_by = os.getpid()
        record.replace(part)
        processes.stop(part.pid, part.began)
        start_part(part, data, record.replace)
        part.restarted_by = 0
        record.replace(part)
        if part.name == "azurite":
            _make_storage(azurite.connection_string(azurite.Ports(**dict(zip(("blob", "queue", "table"), part.ports, strict=True)))))
    except StartFailed as error:
        _say(str(error))
        return error.exit_code
    except (OSError, ValueError, KeyError):
        _say(f"No record of {args.name} in {data}. Start the local cloud first: python -m localcloud up --data {args.data}")
        return 1
    _say(f"{args.name} runs again, pid {part.pid}.")
    return 0


@dataclass
class Record:
    """DATA/processes.json: what runs, how it was started, and where the state file is."""

    data: Path
    state_file: Path
    supervisor: int
    supervisor_began: str | None
    parts: dict[str, Part]
    settings: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, data: Path) -> Record:
        kept = json.loads((data / "processes.json").read_text(encoding="utf-8"))
        parts = {name: Part(**part) for name, part in kept["parts"].items()}
        return cls(data, Path(kept["state_file"]), kept["supervisor"], kept["supervisor_began"], parts, kept["settings"])

    def write(self) -> None:
        """For the owner's eyes: the environment of a process may hold what a person set."""
        document = {**asdict(self), "data": str(self.data), "state_file": str(self.state_file)}
        processes.write_json(self.data / "processes.json", document, mode=0o600)

    def replace(self, part: Part) -> None:
        """Put a restarted process in, also into the state file if that was written already. Others may do so at the same time."""
        with processes.alone(self.data / "processes.lock"):
            self._replace(part)

    def _replace(self, part: Part) -> None:
        current = Record.read(self.data)
        current.parts[part.name] = part
        current.write()
        if current.state_file.exists():
            current.write_state()

    def write_state(self) -> None:
        """The state file in the form that others rely on."""
        state: dict[str, Any] = {}
        for name in NAMES:
            part = self.parts[name]
            state[name] = {"pid": part.pid, "port": part.ports[0], "log": str(log_of(self.data, name))}
            if name == "azurite":
                state[name]["ports"] = dict(zip(("blob", "queue", "table"), part.ports, strict=True))
        processes.write_json(self.state_file, {**state, "settings": self.settings}, mode=0o600)


class Cloud:
    """One `up`: its choices, and the record of what it started."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.data: Path = args.data.resolve()
        self.env_file: Path = (args.env or self.data / "env").resolve()
        self.state_file: Path = (args.state or self.data / "state.json").resolve()
        self.ports = ports.Ports.chosen(args.ports, dict(args.port))
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._record = Record(self.data, self.state_file, os.getpid(), processes.began(os.getpid()), {})
        self._subscriptions: list[dict[str, Any]] = []  # of events, from `check` on
        self._guard: subprocess.Popen[bytes] | None = None  # None: nothing was started yet
        self._held: IO[bytes] | None = None  # None: the data folder is not ours

    def check(self) -> None:
        """Refuse what cannot work before anything is started; clear away what a killed `up` left."""
        self._subscriptions = subscribed(self.args.subscriptions, self.ports)
        try:
            earlier = Record.read(self.data)
        except (OSError, ValueError, KeyError, TypeError):
            earlier = None
        self._held = processes.hold(self.data / LOCK)
        if self._held is None or (earlier and processes.alive(earlier.supervisor, earlier.supervisor_began)):
            who = f"pid {earlier.supervisor}" if earlier else "it is only starting, or it is Azurite alone"
            raise StartFailed(f"A local cloud already runs on {self.data} ({who}). Stop it, or use another --data.", PORT_BUSY_EXIT)
        for part in reversed(list(earlier.parts.values())) if earlier else []:
            if processes.alive(part.pid, part.began):
                _say(f"Stopping {part.name} (pid {part.pid}), left behind by a local cloud that was killed.")
                processes.stop(part.pid, part.began)
        ports.refuse_taken(self.ports.titled(), others=ports.OTHERS_OF_UP)

    def start(self) -> None:
        """Each part when the one before answers; then the env file; then the state file."""
        self._set_guard()
        for old in (self.state_file, *(log_of(self.data, name) for name in NAMES)):
            old.unlink(missing_ok=True)
        self._begin(self._azurite())
        _make_storage(azurite.connection_string(self.ports.azurite))
        self._begin(self._azureml())
        exported, unset = read_env(self.data / "azureml.env")
        self._record.settings = {**exported, **self._relocated(), **_assignments(self.args.set)}
        self._begin(self._functions(unset))
        write_env(self.env_file, {**exported, **self._relocated()}, unset)
        self._record.write_state()

    def stay(self) -> NoReturn:
        """Wait for a signal; say when a process ends; start the host again whose worker died too often, as Azure does."""
        told: set[int] = set()
        while True:
            time.sleep(LOOK_EVERY_S)
            self._keep_guard()
            for name in NAMES:
                part = self._recorded(name)
                if part is None or part.pid in told or processes.alive(part.pid, part.began):
                    continue
                if part.restarted_by and processes.alive(part.restarted_by):  # it ended on request and is on its way back
                    continue
                told.add(part.pid)
                code = self._exit_code(part)
                lost = f" {FORGETFUL}" if name == "azurite" and code else ""
                again = f"Start it again with: python -m localcloud restart {name} --data {self.data}"
                _say(f"{name} {_how_it_ended(code)}.{lost} {again}")
                if name == "functions" and code == WORKER_LOST_EXIT:
                    _say("Its worker died too often; starting it again, as Azure does.")
                    self._children[name] = start_part(part, self.data, self._record.replace)

    def _exit_code(self, part: Part) -> int | None:
        """None: it cannot be known, because `restart` started it."""
        child = self._children.get(part.name)
        return child.wait() if child and child.pid == part.pid else None

    def _keep_guard(self) -> None:
        """Start another guard when somebody ended it."""
        assert self._guard is not None
        code = self._guard.poll()
        if code is not None:
            _say(f"The guard, which clears away if `up` is killed, {_how_it_ended(code)}. Another one is started.")
            self._guard.communicate()
            self._set_guard()

    def stop(self) -> None:
        """Every process of the record, last started first, also those that `restart` started."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        if self._guard is not None:
            clear_away(self.data, os.getpid())
            for child in reversed(self._children.values()):  # the record may be gone: somebody cleared the data folder
                processes.stop(child.pid)
            self.state_file.unlink(missing_ok=True)
            self._guard.communicate()
        if self._held is not None:
            self._held.close()

    def _set_guard(self) -> None:
        """Start the process that clears away after us if we are killed."""
        command = [sys.executable, "-m", "localcloud.guard", str(self.data)]
        self._guard = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT, start_new_session=True)
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{os.getpid()}\n".encode())
        self._guard.stdin.flush()

    def _recorded(self, name: str) -> Part | None:
        try:
            return Record.read(self.data).parts[name]
        except (OSError, ValueError, KeyError, TypeError):  # somebody cleared the data folder
            return None

    def _begin(self, part: Part) -> None:
        _say(f"Starting {part.name}.")
        self._record.parts[part.name] = part

        def started(_: Part) -> None:  # recorded before it is ready, so that an interrupted start leaves nothing behind
            self._record.write()

        self._children[part.name] = start_part(part, self.data, started)

    def _azurite(self) -> Part:
        command = azurite.command(self.data, self.ports.azurite)
        return Part(name="azurite", command=command, ports=self.ports.azurite.all(), cwd=str(ROOT))

    def _azureml(self) -> Part:
        processes.write_json(self.data / "subscriptions.json", self._subscriptions, mode=0o600)  # an endpoint may hold a key
        command = [
            *(sys.executable, "-P", "-m", "localcloud", "azureml", "--data", str(self.data), "--port", str(self.ports.azureml)),
            *("--env", str(self.data / "azureml.env"), "--storage", azurite.connection_string(self.ports.azurite)),
            *("--events", "--subscriptions", str(self.data / "subscriptions.json"), "--pace", str(self.args.pace)),
            *self.args.handed_on,
        ]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        here = str(Path.cwd())  # files that are handed on are named from where `up` was started; -P keeps its modules out
        return Part(name="azureml", command=command, ports=[self.ports.azureml], cwd=here, environment={"PYTHONPATH": path})

    def _functions(self, unset: list[str]) -> Part:
        app, port = self.args.app.resolve(), str(self.ports.functions)
        command = [
            *(sys.executable, "-m", "localcloud", "functions", "--app", str(app), "--port", port, "--data", str(self.data)),
            *("--settings", str(self._settings_file()), "--message-lease", str(self.args.message_lease)),
        ]
        if self.args.func:
            func = shutil.which("func")
            if func is None:
                raise StartFailed("Core Tools (`func`) is not on the PATH. Install it, or leave --func out to use our own host.")
            command = [func, "start", "--port", port]
        return Part(
            name="functions",
            command=command,
            ports=[self.ports.functions],
            cwd=str(app if self.args.func else ROOT),
            environment=self._record.settings,
            unset=unset,
        )

    def _settings_file(self) -> Path:
        given: Path | None = self.args.settings
        app: Path = self.args.app.resolve()
        own = app / "local.settings.json"
        return given.resolve() if given else own if own.exists() else app / "local.settings.json.example"

    def _relocated(self) -> dict[str, str]:
        """The settings that name an address of the local cloud, with today's ports."""
        storage = azurite.connection_string(self.ports.azurite)
        values = settings.load_values(self._settings_file(), {})
        moved = {name: relocate(value, self.ports) for name, value in values.items()}
        told = {} if ANNOUNCE_SETTING in values else {ANNOUNCE_SETTING: f"https://localhost:{self.ports.azureml}{ANNOUNCE_PATH}"}
        return {name: value for name, value in moved.items() if value != values[name]} | dict.fromkeys(STORAGE_SETTINGS, storage) | told


def clear_away(data: Path, supervisor: int) -> None:
    """Stop every process of the record that this supervisor wrote, last started first; then the record goes."""
    try:
        record = Record.read(data)
    except (OSError, ValueError, KeyError, TypeError):
        return
    if record.supervisor != supervisor:
        return
    for name in reversed(NAMES):
        if name in record.parts:
            processes.stop(record.parts[name].pid, record.parts[name].began)
    record.state_file.unlink(missing_ok=True)
    (data / "processes.json").unlink(missing_ok=True)


def start_part(part: Part, data: Path, started: Callable[[Part], None] = lambda _: None) -> subprocess.Popen[bytes]:
    """Start one process and wait until it, and nobody else, answers; one that does not is ended."""
    log = log_of(data, part.name)
    environment = {name: value for name, value in os.environ.items() if name not in part.unset} | part.environment
    child = processes.start(part.command, log=log, environment=environment, cwd=Path(part.cwd))
    try:
        part.pid, part.began = child.pid, processes.began(child.pid)
        started(part)
        processes.wait_ready(part.name, child, lambda: _answers(part, data), within_s=READY_WITHIN_S[part.name], log=log)
    except StartFailed:
        _end(child)
        ports.refuse_taken(_titled(part.name, part.ports), others=ports.OTHERS_OF_UP)  # somebody was quicker
        raise
    except BaseException:
        _end(child)
        raise
    return child


def _end(child: subprocess.Popen[bytes]) -> None:
    processes.stop(child.pid)
    child.wait()


def _answers(part: Part, data: Path) -> bool:
    """True if the part answers itself: another program at its port, even a local cloud, is not it."""
    return _READY[part.name](part, data) and listeners.ours(part.ports, part.pid)


def log_of(data: Path, name: str) -> Path:
    return data / "logs" / f"{name}.log"


def subscribed(file: Path | None, used: ports.Ports) -> list[dict[str, Any]]:
    """
    Return the event subscriptions, written for the fixed ports and aimed at those in use; None: what the app subscribes to.

    Raise StartFailed for a file that cannot be read, or for a subscription that cannot be.
    """
    if file is None:
        return subscriptions.default_subscriptions(f"http://127.0.0.1:{used.functions}")
    try:
        subscriptions.read(file)
    except subscriptions.WrongSubscription as error:
        raise StartFailed(str(error)) from None
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return [{**one, "endpoint": relocate(one["endpoint"], used)} for one in found]


def relocate(value: str, used: ports.Ports) -> str:
    """Aim a setting that was written for the fixed ports at the ports in use."""
    if value == "UseDevelopmentStorage=true" or f"AccountName={azurite.ACCOUNT};" in value:
        return azurite.connection_string(used.azurite)
    fixed = ports.Ports()
    for old, new in zip(fixed.by_name().values(), used.by_name().values(), strict=True):
        value = re.sub(rf"\b(localhost|127\.0\.0\.1):{old}\b", rf"\g<1>:{new}", value)
    return value


def read_env(file: Path) -> tuple[dict[str, str], list[str]]:
    """`export NAME='value'` and `unset NAME` lines; a missing file has none."""
    exported: dict[str, str] = {}
    unset: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        if match := re.fullmatch(r"export (\w+)='(.*)'", line):
            exported[match.group(1)] = match.group(2).replace("'\\''", "'")
        elif match := re.fullmatch(r"unset (\w+)", line):
            unset.append(match.group(1))
    return exported, unset


def write_env(file: Path, exported: Mapping[str, str], unset: list[str]) -> None:
    lines = [f"unset {name}" for name in unset]
    for name, value in exported.items():
        quoted = value.replace("'", "'\\''")
        lines.append(f"export {name}='{quoted}'")
    processes.write_atomically(file, "\n".join(lines) + "\n", mode=0o600)


def _how_it_ended(code: int | None) -> str:
    """`code` as subprocess tells it; None: nobody knows."""
    if code is None:
        return "ended"
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _unusable(error: OSError) -> str:
    return f"{error.filename or 'A file'} cannot be used ({error.strerror or error}). Use another --data."


def _assignments(given: list[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    wrong = [name for name, equals, _ in pairs if not name or not equals]
    if wrong:
        raise StartFailed(f"--set {wrong[0]!r} names no value; write it as --set NAME=VALUE.")
    return {name: value for name, _, value in pairs}


def _titled(name: str, numbers: Sequence[int]) -> dict[str, int]:
    """The ports of one part, by what a person calls them."""
    titles = [title for short, title in ports.TITLES.items() if short == name or (name == "azurite" and short not in NAMES)]
    return dict(zip(titles, numbers, strict=True))


def _make_storage(connection_string: str) -> None:
    """Containers and queues that a deployment would have created."""
    from azure.core.exceptions import ResourceExistsError
    from azure.storage.blob import BlobServiceClient
    from azure.storage.queue import QueueServiceClient

    with (
        BlobServiceClient.from_connection_string(connection_string) as blobs,
        QueueServiceClient.from_connection_string(connection_string) as queues,
    ):
        makers: list[Callable[[], object]] = [lambda name=name: blobs.create_container(name) for name in CONTAINERS]  # type: ignore[misc]
        makers += [lambda name=name: queues.create_queue(name) for name in QUEUES]  # type: ignore[misc]
        for make in makers:
            try:
                make()
            except ResourceExistsError:  # an earlier `up` on the same folder made it
                continue


def _azureml_ready(part: Part, data: Path) -> bool:
    if not (data / "azureml.env").exists():  # it goes when the emulator starts and comes when events are delivered
        return False
    try:
        context = ssl.create_default_context(cafile=str(data / "ca.pem"))
        _get(f"https://localhost:{part.ports[0]}/_localcloud/state", context)
    except (OSError, ValueError):
        return False
    return True


def _functions_ready(part: Part, data: Path) -> bool:
    try:
        status = json.loads(_get(f"http://127.0.0.1:{part.ports[0]}/admin/host/status"))
    except (OSError, ValueError):
        return False
    if status.get("state") == "Error":
        errors = "\n".join(status.get("errors", []))
        raise StartFailed(f"The app has no functions: {errors}\nThe whole story is in {log_of(data, part.name)}.")
    return bool(status.get("state") == "Running")


_READY: dict[str, Callable[[Part, Path], bool]] = {
    "azurite": lambda part, _: all(map(processes.accepts, part.ports)),
    "azureml": _azureml_ready,
    "functions": _functions_ready,
}


def _get(url: str, context: ssl.SSLContext | None = None) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with opener.open(url, timeout=5) as response:
        answer: bytes = response.read()
    return answer


def _interrupt_on_signals() -> None:
    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
