"""The worker's indexing rules as a table: what an app may look like, and what leaves it without functions."""

from __future__ import annotations

import itertools
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


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (EVENT + "def bad(evnt: func.EventGridEvent): ...", "declared in Python but are no bindings"),
        (EVENT + "def bad(): ...", "are not parameters in Python"),
        (EVENT + "def bad(event: func.EventGridEvent, extra: int = 1): ...", "declared in Python but are no bindings"),
        (EVENT + "def bad(event: func.QueueMessage): ...", "does not match its Python annotation"),
        (EVENT + "def bad(event: typing.Optional[func.EventGridEvent]): ...", "invalid non-type annotation"),
        (EVENT + "def bad(event: func.EventGridEvent | None): ...", "invalid non-type annotation"),
        (EVENT + "def bad(event: list[func.EventGridEvent]): ...", "does not match its Python annotation"),
        (EVENT + "def bad(event: func.Out[str]): ...", "annotation is azure.functions.Out"),
        (OUT + "def bad(event: func.EventGridEvent, out: str): ...", "annotation is not azure.functions.Out"),
        (OUT + "def bad(event: func.EventGridEvent, out: func.Out[int]): ...", "does not match its Python annotation"),
        (EVENT + "def bad(event: func.EventGridEvent, context: str): ...", "is not a Context"),
        (EVENT + "def good(event: func.EventGridEvent): ...", "unique function name"),
        ("other = func.FunctionApp()", "More than one FunctionApp"),
        ("import a_module_that_is_missing", "No module named 'a_module_that_is_missing'"),
        ("import os; os.environ['NOT_SET_ANYWHERE']", "KeyError"),
        ("def (", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_one_fault_leaves_the_app_without_functions(tmp_path: Path, source: str, why: str) -> None:
    with pytest.raises(worker.IndexingFailed, match=why):
        index(tmp_path, HEAD + source)


@pytest.mark.parametrize(
    "source",
    [
        EVENT + "def fine(event): ...",
        EVENT + "def fine(event: func.CloudEvent): ...",
        EVENT + "def fine(event: str): ...",
        EVENT + "def fine(event: func.EventGridEvent, context: func.Context): ...",
        EVENT + "async def fine(event: func.EventGridEvent): ...",
        OUT + "def fine(event: func.EventGridEvent, out: func.Out[str]): ...",
        OUT + "def fine(event: func.EventGridEvent, out: func.Out[typing.List[str]]): ...",
        BLOB + "def fine(client: func.InputStream): ...",
        BLOB + "def fine(client: blob.BlobClient): ...",
    ],
)
def test_what_the_worker_takes_is_indexed(tmp_path: Path, source: str) -> None:
    assert [one.function.name for one in index(tmp_path, HEAD + source)] == ["good", "fine"]


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
