"""
Command jobs as a person asks for them with the unmodified azure-ai-ml, over HTTPS alone: the SDK uploads code by azure-storage-blob.

The storage is Azurite. The SDK uploads the code there; the job reads one container and writes another.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.storage.blob import BlobServiceClient

from localcloud import processes
from localcloud.azureml.datastores import BlobStorage

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::PendingDeprecationWarning")
DATA = "azureml://datastores/tuneloop_datasets/paths/a/data.txt"
OUT = "azureml://datastores/tuneloop_prepared/paths/prepared/of-a"
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"
CURATED = "azureml://registries/azureml/environments/sklearn-1.5/versions/1"
SCRIPT = """\
import os, pathlib, sys, time
from package import words

source, target, wish = sys.argv[1:]
print("run", os.environ["AZUREML_RUN_ID"], "reads", pathlib.Path(source).name)
pathlib.Path(target, "below").mkdir()
pathlib.Path(target, "below", "out.txt").write_text(words.louder(pathlib.Path(source).read_text()))
pathlib.Path(target, "pid").write_text(str(os.getpid()))
if wish == "fail":
    sys.exit("the data are not good enough")
if wish == "wait":
    time.sleep(60)
"""


@pytest.fixture(scope="module", params=["https"])
def skin(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Storage(BlobStorage):
    """Azurite, with the dict that the other storages of this folder have."""

    def __init__(self, connection_string: str) -> None:
        super().__init__(connection_string)
        self.blobs: dict[tuple[str, str], bytes] = {}


@pytest.fixture(scope="module")
def emulator_storage(storage: str) -> Storage:
    return Storage(storage)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """Return a folder with a script and a package that it imports."""
    folder = tmp_path / "code"
    (folder / "package").mkdir(parents=True)
    (folder / "work.py").write_text(SCRIPT)
    (folder / "package" / "words.py").write_text("def louder(text):\n    return text.upper()\n")
    return folder


@pytest.fixture
def written(blobs: BlobServiceClient) -> Callable[[], dict[str, bytes]]:
    """Upload the data, empty the place of the output, and return what reads it: name -> content."""
    for container in ("datasets", "prepared"):
        with contextlib.suppress(ResourceExistsError):
            blobs.create_container(container)
    blobs.get_blob_client("datasets", "a/data.txt").upload_blob(b"some words", overwrite=True)
    prepared = blobs.get_container_client("prepared")
    for name in prepared.list_blob_names(name_starts_with="prepared/of-a/"):
        prepared.delete_blob(name)

    def read() -> dict[str, bytes]:
        names = list(prepared.list_blob_names(name_starts_with="prepared/of-a/"))
        return {name.removeprefix("prepared/of-a/"): prepared.download_blob(name).readall() for name in names}

    return read


def prepare(code: Path, wish: str = "work", /, *, name: str = "prep-1", mode: str = "upload", **given: Any) -> Any:
    """Return a job that was not asked for yet: it writes the data in capitals."""
    from azure.ai.ml import Input, Output, command
    from azure.ai.ml.entities import Environment

    conda = code.parent / "conda.yml"
    conda.write_text("name: prepare\nchannels: [conda-forge]\ndependencies: [python=3.11]\n")
    asked: dict[str, Any] = {
        "display_name": "a preparation",
        "experiment_name": "data",
        "code": str(code),
        "command": "python work.py ${{inputs.data}} ${{ outputs.out }} ${{inputs.wish}}",
        "environment": Environment(image=IMAGE, conda_file=str(conda)),
        "inputs": {"data": Input(type="uri_file", path=DATA, mode="download"), "wish": wish},
        "outputs": {"out": Output(type="uri_folder", path=OUT, mode=mode)},
        "compute": "gpu-cluster",
        "tags": {"tuneloop-owner": "o"},
    }
    return command(name=name, **(asked | given))


def ended(sdk: Any, name: str = "prep-1") -> str:
    """Wait until the job has ended; return its status as the SDK says it."""
    sdk.world.until(lambda: sdk.world.status(name) in {"Completed", "Failed", "Canceled"})
    return sdk.ml.jobs.get(name).status  # type: ignore[no-any-return]


def running(sdk: Any) -> None:
    """Wait until the job has written what it writes."""
    job = sdk.cloud.jobs.folder(sdk.cloud.jobs.find("prep-1"))
    sdk.world.until(lambda: (job / "outputs" / "out" / "pid").exists())


def test_a_folder_of_code_turns_a_file_of_one_datastore_into_files_of_another(
    sdk: Any, code: Path, written: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    made = sdk.ml.jobs.create_or_update(prepare(code))
    sdk.ml.jobs.stream("prep-1")

    assert (made.status, sdk.ml.jobs.get("prep-1").status) == ("NotStarted", "Completed")
    assert written()["below/out.txt"] == b"SOME WORDS"
    assert "run prep-1 reads data.txt" in capsys.readouterr().out


def test_a_command_job_is_shown_as_it_was_asked_for(sdk: Any, code: Path, written: Any) -> None:
    from azure.ai.ml.entities import ManagedIdentityConfiguration

    own = {"identity": ManagedIdentityConfiguration(), "environment_variables": {"A": "b"}}
    sdk.ml.jobs.create_or_update(prepare(code, "wait", **own))
    found = sdk.ml.jobs.get("prep-1")

    assert (found.name, found.display_name, found.experiment_name) == ("prep-1", "a preparation", "data")
    assert found.command == "python work.py ${{inputs.data}} ${{ outputs.out }} ${{inputs.wish}}"
    assert (found.inputs["data"].path, found.inputs["data"].mode) == (DATA, "download")
    assert (found.outputs["out"].path, found.outputs["out"].mode) == (OUT, "upload")
    assert (found.tags, found.environment_variables) == ({"tuneloop-owner": "o"}, {"A": "b"})
    assert found.identity.type == "managed_identity"
    assert [job.name for job in sdk.ml.jobs.list()] == ["prep-1"]


def test_the_same_code_is_uploaded_once_and_a_changed_one_again(sdk: Any, code: Path, written: Any) -> None:
    def ids(*names: str) -> list[str]:
        return [sdk.ml.jobs.create_or_update(prepare(code, "wait", name=name, compute=None)).code for name in names]

    first, second = ids("prep-1", "prep-2")
    (code / "work.py").write_text("print('another')\n")
    assert first == second
    assert ids("prep-3") != [first]


def test_code_that_lies_in_the_account_already_is_named_by_its_address(
    sdk: Any, code: Path, written: Any, blobs: BlobServiceClient
) -> None:
    for file in (found for found in code.rglob("*.py") if found.is_file()):
        blobs.get_blob_client("datasets", f"code/v1/{file.relative_to(code)}").upload_blob(file.read_bytes(), overwrite=True)
    sdk.ml.jobs.create_or_update(prepare(code, code=f"{blobs.url.rstrip('/')}/datasets/code/v1"))

    assert ended(sdk) == "Completed"
    assert written()["below/out.txt"] == b"SOME WORDS"


def test_a_serverless_machine_and_an_environment_of_the_registry_are_taken(sdk: Any, code: Path, written: Any) -> None:
    job = prepare(code, compute=None, instance_type="Standard_D12_v2", environment=CURATED)
    sdk.ml.jobs.create_or_update(job)

    assert ended(sdk) == "Completed"
    assert sdk.ml.jobs.get("prep-1").resources.instance_type == "Standard_D12_v2"
    assert written()["below/out.txt"] == b"SOME WORDS"


def test_a_local_file_is_an_input_and_a_single_file_an_output(sdk: Any, code: Path, written: Any) -> None:
    from azure.ai.ml import Input, Output

    (code.parent / "settings.json").write_text("{}")
    job = prepare(
        code,
        command="cat ${{inputs.settings}} ${{inputs.all}}/data.txt > ${{outputs.one}}",
        inputs={
            "settings": Input(type="uri_file", path=str(code.parent / "settings.json")),
            "all": Input(type="uri_folder", path="azureml://datastores/tuneloop_datasets/paths/a/", mode="ro_mount"),
        },
        outputs={"one": Output(type="uri_file", path=f"{OUT}/one.txt", mode="rw_mount")},
    )
    sdk.ml.jobs.create_or_update(job)

    assert ended(sdk) == "Completed"
    assert written() == {"one.txt": b"{}some words"}


@pytest.mark.parametrize(("mode", "left"), [("upload", set()), ("rw_mount", {"below/out.txt", "pid"})])
def test_a_job_that_fails_says_its_last_lines_and_keeps_what_it_wrote_to_a_mount_alone(
    sdk: Any, code: Path, written: Any, mode: str, left: set[str]
) -> None:
    from azure.ai.ml.exceptions import JobException

    sdk.ml.jobs.create_or_update(prepare(code, "fail", mode=mode))
    with pytest.raises(JobException, match=r"exited with status code 1(.|\n)*the data are not good enough"):
        sdk.ml.jobs.stream("prep-1")
    assert sdk.ml.jobs.get("prep-1").status == "Failed"
    assert set(written()) == left


def test_a_canceled_job_leaves_no_process(sdk: Any, code: Path, written: Any) -> None:
    """Method: the shell of the line stays between the job and its script, because something follows."""
    line = "python work.py ${{inputs.data}} ${{outputs.out}} ${{inputs.wish}}; echo over"
    sdk.ml.jobs.create_or_update(prepare(code, "wait", mode="rw_mount", command=line))
    running(sdk)
    sdk.ml.jobs.begin_cancel("prep-1").result()

    assert sdk.ml.jobs.get("prep-1").status == "Canceled"
    sdk.world.until(lambda: not processes.alive(int(written()["pid"])))


def test_a_job_is_canceled_when_it_has_run_for_as_long_as_it_may(sdk: Any, code: Path, written: Any) -> None:
    from azure.ai.ml.entities import CommandJobLimits

    sdk.ml.jobs.create_or_update(prepare(code, "wait", limits=CommandJobLimits(timeout=1)))

    assert ended(sdk) == "Canceled"
    assert sdk.ml.jobs.get("prep-1").limits.timeout == 1
    assert written() == {}


def test_an_input_that_is_not_there_fails_the_job_in_azures_words(sdk: Any, code: Path, written: Any) -> None:
    from azure.ai.ml import Input
    from azure.ai.ml.exceptions import JobException

    inputs = {"data": Input(type="uri_file", path=DATA.replace("data.txt", "none.txt")), "wish": "work"}
    sdk.ml.jobs.create_or_update(prepare(code, inputs=inputs))
    with pytest.raises(JobException, match=r"DataAccessError\(NotFound\)(.|\n)*container datasets has no blob a/none.txt"):
        sdk.ml.jobs.stream("prep-1")


def test_the_same_name_with_another_command_is_refused_in_azures_words(sdk: Any, code: Path, written: Any) -> None:
    sdk.ml.jobs.create_or_update(prepare(code, "wait"))

    with pytest.raises(HttpResponseError, match="A job with this name already exists"):
        sdk.ml.jobs.create_or_update(prepare(code, "work"))


def test_an_environment_is_registered_found_and_not_overwritten(sdk: Any) -> None:
    from azure.ai.ml.entities import Environment

    made = sdk.ml.environments.create_or_update(Environment(name="prep", version="1", image=IMAGE, description="words"))
    again = sdk.ml.environments.create_or_update(Environment(name="prep", image="other:1"))

    assert (made.name, made.version, made.image) == ("prep", "1", IMAGE)
    assert sdk.ml.environments.get("prep", version="1").description == "words"
    assert (again.version, sdk.ml.environments.get("prep", label="latest").image) == ("2", "other:1")
    assert [one.version for one in sdk.ml.environments.list("prep")] == ["2", "1"]
    sdk.ml.environments.archive("prep", version="1")
    assert [one.version for one in sdk.ml.environments.list("prep")] == ["2"]


def test_what_was_uploaded_is_signed_and_no_signature_is_in_the_record(sdk: Any, code: Path, written: Any) -> None:
    sdk.ml.jobs.create_or_update(prepare(code, "wait"))

    said = json.dumps(sdk.cloud.traffic.shown(0)["lines"])
    assert "startPendingUpload" in said
    assert "sig=" not in said
