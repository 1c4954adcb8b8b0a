"""The worker's indexing rules as a table: what an app may look like, and what leaves it without functions."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from localcloud.functions import indexing, worker

pytestmark = pytest.mark.light
HEAD = """
from __future__ import annotations
import functools
import typing
import azure.functions as func
import azurefunctions.extensions.bindings.blob as blob
app = func.FunctionApp()

@app.queue_trigger(arg_name="message", queue_name="q", connection="C")
def good(message: func.QueueMessage) -> None: ...
"""
EVENT = '@app.event_grid_trigger(arg_name="event")\n'
BLOB = '@app.blob_trigger(arg_name="client", path="c/{name}", connection="C", source=func.BlobSource.EVENT_GRID)\n'
ROUTE = '@app.route("fine")\n'
WRAP = """
def wrap(call):
    @functools.wraps(call)
    def wrapped(event): return "wrapped"
    return wrapped
"""
BELOW = WRAP + EVENT + '@wrap\ndef fine(event: func.EventGridEvent): return "plain"'
ABOVE = WRAP + "@wrap\n" + EVENT + 'def fine(event: func.EventGridEvent): return "plain"'
RUNTIME = Path(__file__).with_name("runtime_indexing.py")
OUT = EVENT + '@app.queue_output(arg_name="out", queue_name="q", connection="C")\n'
_numbers = itertools.count()


@pytest.fixture(autouse=True)
def _own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


def index(folder: Path, source: str) -> list[indexing.Indexed]:
    """Index a file of a name that no other test uses, because modules are imported once."""
    name = f"indexed_app_{next(_numbers)}.py"
    (folder / name).write_text(source)
    return indexing.index(folder, name)


# What leaves the whole app, with its good function, without any; and the text by which an operator finds out.
FAULTS: dict[str, tuple[str, str]] = {
    "a parameter of another name": (
        EVENT + "def bad(evnt: func.EventGridEvent): ...",
        "declared in Python but not in the function definition",
    ),
    "no parameter": (EVENT + "def bad(): ...", "declared as bindings but are not present in Python: {'event'}"),
    "a parameter too many": (EVENT + "def bad(event: func.EventGridEvent, extra: int = 1): ...", "function decorators):  {'extra'}"),
    "another trigger's type": (EVENT + "def bad(event: func.QueueMessage): ...", "Python type annotation QueueMessage"),
    "Optional": (EVENT + "def bad(event: typing.Optional[func.EventGridEvent]): ...", "invalid non-type annotation"),
    "Union": (EVENT + "def bad(event: func.EventGridEvent | None): ...", "invalid non-type annotation"),
    "a list of events": (EVENT + "def bad(event: typing.List[func.EventGridEvent]): ...", "Python type annotation List"),
    "a number": (EVENT + "def bad(event: int): ...", "Python type annotation int"),
    "Out for what comes in": (EVENT + "def bad(event: func.Out[str]): ...", "its annotation is azure.functions.Out in Python"),
    "str for what goes out": (OUT + "def bad(event: func.EventGridEvent, out: str): ...", "is not a subclass of azure.functions.Out"),
    "Out of a wrong type": (OUT + "def bad(event: func.EventGridEvent, out: func.Out[int]): ...", "Python type annotation int"),
    "a wrong context": (EVENT + "def bad(event: func.EventGridEvent, context: str): ...", 'the "context" parameter is expected'),
    "a return of a wrong type": (ROUTE + "def bad(req: func.HttpRequest) -> int: ...", 'return annotation "int" does not match'),
    "an optional return": (
        ROUTE + "def bad(req: func.HttpRequest) -> typing.Optional[str]: ...",
        "has invalid non-type return annotation",
    ),
    "two functions of one name": (EVENT + "def good(event: func.EventGridEvent): ...", "unique function name"),
    "two apps": ("other = func.FunctionApp()", "More than one FunctionApp"),
    "an app beside a blueprint": ("other = func.Blueprint()\n" + EVENT + "def bad(evnt): ...", "bad"),
    "a module that is missing": ("import a_module_that_is_missing", "No module named 'a_module_that_is_missing'"),
    "a setting that is missing": ("import os; os.environ['NOT_SET_ANYWHERE']", "NOT_SET_ANYWHERE"),
    "a syntax error": ("def (", "invalid syntax"),
    "sys.exit while it is imported": ("raise SystemExit(3)", "3"),
    "a retry policy without a time": (
        '@app.retry(strategy="fixed_delay", max_retry_count="3", delay_interval="soon")\n' + EVENT + "def bad(event): ...",
        "soon",
    ),
}
HARMLESS = {
    "no annotation": EVENT + "def fine(event): ...",
    "the other schema": EVENT + "def fine(event: func.CloudEvent): ...",
    "text": EVENT + "def fine(event: str): ...",
    "a context": EVENT + "def fine(event: func.EventGridEvent, context: func.Context): ...",
    "async": EVENT + "async def fine(event: func.EventGridEvent): ...",
    "Out of text": OUT + "def fine(event: func.EventGridEvent, out: func.Out[str]): ...",
    "Out of a list": OUT + "def fine(event: func.EventGridEvent, out: func.Out[typing.List[str]]): ...",
    "a blob as a stream": BLOB + "def fine(client: func.InputStream): ...",
    "a blob as a client": BLOB + "def fine(client: blob.BlobClient): ...",
    "a decorator below the trigger": BELOW,
    "a decorator above the trigger": ABOVE,
    "a route": ROUTE + "def fine(req: func.HttpRequest) -> func.HttpResponse: ...",
    "a route that returns text": ROUTE + "def fine(req: func.HttpRequest) -> str: ...",
}


@pytest.mark.parametrize(("source", "why"), FAULTS.values(), ids=FAULTS)
def test_one_fault_leaves_the_app_without_functions(tmp_path: Path, source: str, why: str) -> None:
    with pytest.raises(worker.IndexingFailed, match=re.escape(why)):
        index(tmp_path, HEAD + source)


@pytest.mark.parametrize("source", HARMLESS.values(), ids=HARMLESS)
def test_what_the_worker_takes_is_indexed(tmp_path: Path, source: str) -> None:
    assert [one.function.name for one in index(tmp_path, HEAD + source)] == ["good", "fine"]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="azure-functions-runtime exists for Python 3.13 and later only")
def test_microsofts_worker_refuses_the_same_apps_with_the_same_words(tmp_path: Path) -> None:
    """Goal: the table above is true. Method: each app through azure-functions-runtime, which is what Azure runs on Python 3.13."""
    sources = {**{name: source for name, (source, _) in FAULTS.items()}, **HARMLESS}
    files = {name: f"app_{number}.py" for number, name in enumerate(sources)}
    for name, file in files.items():
        (tmp_path / file).write_text(HEAD + sources[name])
    command = [sys.executable, str(RUNTIME), str(tmp_path)]
    answered = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    theirs, ours = json.loads(answered.stdout), {file: _refusal(tmp_path, file) for file in files.values()}
    assert {name: theirs[file] for name, file in files.items() if not _same(theirs[file], ours[file])} == {}


def _refusal(folder: Path, file: str) -> str | None:
    try:
        indexing.index(folder, file)
    except worker.IndexingFailed as error:
        return str(error)
    return None


def _same(theirs: str | None, ours: str | None) -> bool:
    """What is about one function must have the same words; what Python itself says is quoted in ours."""
    return theirs == ours if theirs is None or theirs.startswith("cannot load") else ours is not None


def test_an_app_without_functions_is_no_error(tmp_path: Path) -> None:
    assert index(tmp_path, "import azure.functions as func\napp = func.FunctionApp()\n") == []


def test_a_decorator_above_the_trigger_is_never_called(tmp_path: Path) -> None:
    """A trap of Azure's that is a trap here too: the wrapper is dropped without a word."""
    _, above = index(tmp_path, HEAD + ABOVE)
    _, below = index(tmp_path, HEAD + BELOW)

    assert (above.call("event"), below.call("event")) == ("plain", "wrapped")


def test_a_retry_policy_is_read_with_its_times(tmp_path: Path) -> None:
    fixed = '@app.retry(strategy="fixed_delay", max_retry_count="3", delay_interval="00:00:10")\n'
    growing = '@app.retry(strategy="exponential_backoff", max_retry_count="-1", minimum_interval="00:00:01", maximum_interval="00:15:00")\n'
    policies = [index(tmp_path, HEAD + policy + EVENT + "def fine(event): ...")[1].function.retry for policy in (fixed, growing)]

    assert policies == [
        worker.Retry(strategy="fixed_delay", max_retry_count=3, first_delay_s=10, last_delay_s=10),
        worker.Retry(strategy="exponential_backoff", max_retry_count=-1, first_delay_s=1, last_delay_s=900),
    ]


def test_only_an_sdk_type_is_bound_by_reference(tmp_path: Path) -> None:
    _, sdk = index(tmp_path, HEAD + BLOB + "def fine(client: blob.BlobClient): ...")
    _, stream = index(tmp_path, HEAD + BLOB + "def fine(client: func.InputStream): ...")

    assert (sdk.function.deferred, stream.function.deferred) == (True, False)
    assert sdk.function.trigger["properties"] == {"SupportsDeferredBinding": True}


def test_the_app_comes_last_on_the_path_as_in_the_worker(tmp_path: Path) -> None:
    index(tmp_path, HEAD)

    assert sys.path[-2] == str(tmp_path)


def test_a_folder_without_an_app_is_named(tmp_path: Path) -> None:
    with pytest.raises(worker.IndexingFailed, match="There is no function_app"):
        indexing.index(tmp_path)
