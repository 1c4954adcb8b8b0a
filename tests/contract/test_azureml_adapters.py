"""
The adapters over azure-ai-ml, against the emulator as a process of its own: HTTPS, our certificate, tokens and all.

The trainer is a stand-in that obeys the first message of its data, so a job takes as long as a process needs to start.
One emulator and one trained model for the whole file; each test that changes something has names of its own.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from azure.core.exceptions import ResourceExistsError, ServiceRequestError
from azure.core.rest import HttpRequest
from azure.storage.blob import BlobServiceClient, ContainerClient

import dev
from localcloud import processes
from shared import prepare
from shared import settings as app_settings
from shared.cloud import clients, preparations
from shared.cloud.datasets import BlobDatasets
from shared.cloud.endpoints import AzureMlEndpoints
from shared.cloud.jobs import Jobs
from shared.cloud.metrics import MonitorMetrics
from shared.cloud.preparations import AzureMlPreparations
from shared.cloud.trainings import AzureMlTrainings
from shared.domain import artefacts, names, preflight, recipe, smoke
from shared.domain.jobs import JOB_COMPLETED, JOB_ENDED_BADLY
from shared.domain.recipe import Recipe
from shared.domain.service import Deployment, EndpointView
from shared.domain.training import Job
from shared.domain.tuning import PreparationJob
from shared.errors import Stop, TryLater
from shared.place import MANIFEST
from shared.prepare import ordered
from shared.prepare.folder import FolderPlace
from tests.contract.preparing import AzurePreparing, FakePreparing, Preparing, ask
from tests.journeys import fakes

pytestmark = pytest.mark.filterwarnings(  # azure-ai-ml 1.35.2 uses what marshmallow 4 and Python 3.12 will drop
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::PendingDeprecationWarning"
)
APP = Path(dev.__file__).resolve().parent
FAKE_TRAINER = APP / "tests/contract/azureml/fake_trainer.py"
DEADLINE_SECONDS = 40.0
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
OWNER, TRAINING = "00000000-0000-0000-0000-00000000000a", "0123456789ab"
TAGS = {names.OWNER_TAG: OWNER, names.TRAINING_TAG: TRAINING}
SERVICE_TAGS = {names.OWNER_TAG: OWNER, names.SERVICE_TAG: "5e5e5e5e5e5e"}
QUESTION = smoke.request([{"role": "user", "content": "Where is order 3?"}])
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Azure:
    """The three adapters, and what they share."""

    settings: app_settings.Settings
    trainings: AzureMlTrainings
    endpoints: AzureMlEndpoints
    metrics: MonitorMetrics
    uris: Callable[[str], dict[str, str]]  # what the trainer shall do -> the URIs of data that tell it so


def until(look: Callable[[], T], happened: Callable[[T], object]) -> T:
    """Look until it has happened, and return what was seen then."""
    last = time.monotonic() + DEADLINE_SECONDS
    while not happened(seen := look()):
        assert time.monotonic() < last, f"it did not happen in time; last seen: {seen}"
        time.sleep(0.05)
    return seen


@pytest.fixture(scope="module")
def azure(
    storage: str, blobs: BlobServiceClient, tmp_path_factory: pytest.TempPathFactory, recording: Callable[[str], Path]
) -> Iterator[Azure]:
    folder = tmp_path_factory.mktemp("azureml")
    environment, log = folder / "env", folder / "log"
    trainer = shlex.join([sys.executable, str(FAKE_TRAINER)])
    command = [sys.executable, "-m", "localcloud", "azureml", "--data", str(folder), "--port", "0", "--env", str(environment)]
    command += ["--storage", storage, "--trainer", trainer, "--nodes", "4", "--metric-grain", "1", "--traffic", str(recording("adapters"))]
    process = processes.start(command, log=log, environment=os.environ, cwd=APP)
    try:
        processes.wait_ready("Azure ML", process, environment.exists, within_s=DEADLINE_SECONDS, log=log)
        with pytest.MonkeyPatch.context() as patch:
            _steer(patch, environment.read_text(encoding="utf-8"))
            yield _adapters(blobs)
            os.environ.pop("AZUREML_CURRENT_CLOUD", None)  # the SDK leaves its choice of cloud there
    finally:
        processes.stop(process.pid)
        process.wait()


def _steer(patch: pytest.MonkeyPatch, lines: str) -> None:
    """Set what the emulator's environment file sets, and nothing else of Azure."""
    for line in lines.splitlines():
        verb, _, rest = line.partition(" ")
        name, _, value = rest.partition("=")
        if verb == "export":
            patch.setenv(name, shlex.split(value)[0])
        else:
            patch.delenv(name, raising=False)


def _adapters(blobs: BlobServiceClient) -> Azure:
    prepared = blobs.get_container_client("prepared")
    with contextlib.suppress(ResourceExistsError):  # another file's tests may have come first
        prepared.create_container()

    def uris(wish: str) -> dict[str, str]:
        row = f'{{"messages":[{{"role":"user","content":"{wish}"}},{{"role":"assistant","content":"yes"}}]}}\n'
        for split in ("train", "validation", "test"):
            prepared.upload_blob(f"{wish}/{split}.jsonl", row.encode(), overwrite=True)
        return {s: f"azureml://datastores/tuneloop_prepared/paths/{wish}/{s}.jsonl" for s in ("train", "validation", "test")}

    settings = app_settings.read({**os.environ, "TUNELOOP_LOCAL": "1", "COMPUTE": "gpu-cluster", "METRIC_GRAIN": "00:00:01"})
    credential = clients.credential()
    return Azure(
        settings=settings,
        trainings=AzureMlTrainings(settings, credential),
        endpoints=AzureMlEndpoints(settings, credential),
        metrics=MonitorMetrics(settings, credential),
        uris=uris,
    )


# ------------------------------------------------------------------------------------------------------------ catalogue


def with_settings(azure: Azure, **values: str) -> AzureMlTrainings:
    return AzureMlTrainings(azure.settings.model_copy(update=values), clients.credential())


@pytest.fixture(scope="module")
def the_recipe(azure: Azure) -> Recipe:
    return recipe.resolve(azure.trainings.catalogue(), wishes={"num_train_epochs": 1}, service="shop", experiment_name="tuneloop")


def test_the_catalogue_resolves_names_to_versions_and_a_recipe_follows_from_it(azure: Azure, the_recipe: Recipe) -> None:
    catalogue = azure.trainings.catalogue()

    assert catalogue.component_id.startswith("azureml://registries/azureml/components/chat_completion_pipeline/versions/0.")
    assert catalogue.model_id == "azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/15"
    assert (catalogue.compute, catalogue.instance_type, catalogue.gpus) == ("gpu-cluster", "Standard_NC24ads_A100_v4", 1)
    assert catalogue.component_inputs["apply_lora"].enum == ("true", "false")
    assert catalogue.component_inputs["num_train_epochs"].type == "integer"
    assert preflight.faults(catalogue, serving_instance_type=azure.settings.SERVING_INSTANCE_TYPE) == ()
    assert set(the_recipe.parameters) <= set(catalogue.component_inputs)


def test_without_a_cluster_the_size_of_the_settings_is_used(azure: Azure) -> None:
    catalogue = with_settings(azure, COMPUTE="", FINETUNE_INSTANCE_TYPE="Standard_NC96ads_A100_v4").catalogue()

    assert (catalogue.compute, catalogue.instance_type, catalogue.gpus) == (None, "Standard_NC96ads_A100_v4", 4)


@pytest.mark.parametrize(
    ("values", "next_action"),
    [
        ({"COMPUTE": "no-such-cluster"}, "Create it, or empty COMPUTE"),
        ({"FINETUNE_COMPONENT": "no_such_component"}, "Check FINETUNE_COMPONENT."),
        ({"FINETUNE_COMPONENT_VERSION": "9.9.9"}, "Check FINETUNE_COMPONENT."),
        ({"BASE_MODEL": "no-such-model"}, "Check BASE_MODEL."),
        ({"BASE_MODEL_VERSION": "999"}, "Check BASE_MODEL."),
    ],
    ids=lambda value: next(iter(value.values())) if isinstance(value, dict) else "",
)
def test_a_name_that_azure_does_not_know_stops_with_the_setting_to_check(azure: Azure, values: dict[str, str], next_action: str) -> None:
    with pytest.raises(Stop) as stopped:
        with_settings(azure, **values).catalogue()

    assert stopped.value.next_action.startswith(next_action)


# ----------------------------------------------------------------------------------------------------------------- jobs


def out_of(job: str) -> str:
    return f"azureml://datastores/tuneloop_prepared/paths/{names.model_folder(OWNER, 'shop', job)}/"


def submitted(azure: Azure, the_recipe: Recipe, wish: str, *, tags: dict[str, str] | None = None) -> str:
    name = names.job(TRAINING, {"train": 1, "fail": 2, "wait": 3, "twice": 4, "foreign": 5}[wish])
    azure.trainings.submit(name, recipe=the_recipe, uris=azure.uris(wish), out=out_of(name), tags=TAGS if tags is None else tags)
    return name


def ended(azure: Azure, name: str) -> Job:
    job = until(lambda: azure.trainings.job(name), lambda j: j and j.status.lower() in {JOB_COMPLETED, *JOB_ENDED_BADLY})
    assert job is not None
    return job


@pytest.fixture(scope="module")
def completed(azure: Azure, the_recipe: Recipe) -> Job:
    job = ended(azure, submitted(azure, the_recipe, "train"))
    assert job.status == "Completed", job.failure
    return job


def test_a_job_that_nobody_asked_for_is_none(azure: Azure) -> None:
    assert azure.trainings.job(names.job("ffffffffffff", 1)) is None


def test_a_job_is_seen_with_the_tags_that_prove_whose_it_is(completed: Job) -> None:
    assert completed == Job(name=names.job(TRAINING, 1), status="Completed", owner=OWNER, training=TRAINING)


def test_a_completed_job_has_its_model_where_it_was_told_to_and_the_files_can_be_listed(
    azure: Azure, completed: Job, blobs: BlobServiceClient
) -> None:
    places = BlobDatasets(blobs.get_container_client("datasets"), blobs.get_container_client("prepared"), datastore="tuneloop_prepared")
    found = places.files(names.model_folder(OWNER, "shop", completed.name), hashed_bytes_max=-1)

    assert places.uri(names.model_folder(OWNER, "shop", completed.name), "") == out_of(completed.name)
    assert {"MLmodel", "data/model/model.safetensors", "data/model/config.json"} <= found.keys()
    assert artefacts.remark(found) == ""


def test_a_job_without_our_tags_is_seen_as_nobodys(azure: Azure, the_recipe: Recipe) -> None:
    job = azure.trainings.job(submitted(azure, the_recipe, "foreign", tags={"team": "x"}))

    assert job is not None
    assert (job.owner, job.training) == (None, None)


def test_asking_for_a_job_twice_is_asking_once_even_with_other_content(azure: Azure, the_recipe: Recipe) -> None:
    import msgspec

    name = submitted(azure, the_recipe, "twice")
    other = msgspec.structs.replace(the_recipe, parameters=the_recipe.parameters | {"num_train_epochs": "9"})

    azure.trainings.submit(name, recipe=other, uris=azure.uris("wait"), out=out_of(name), tags=TAGS)

    assert ended(azure, name).status == "Completed"  # with the other content it would wait for ever


def test_jobs_that_are_asked_for_at_the_same_time_each_get_their_own_data(azure: Azure, the_recipe: Recipe) -> None:
    """The host runs several turns in one process, and azure-ai-ml keeps the pipeline that is being written in a global."""
    numbers = range(10, 22)
    start = threading.Barrier(len(numbers))

    def submit(number: int) -> None:
        uris = {
            split: f"azureml://datastores/tuneloop_prepared/paths/at-once-{number}/{split}.jsonl"
            for split in ("train", "validation", "test")
        }
        start.wait()
        name = names.job(TRAINING, number)
        azure.trainings.submit(name, recipe=the_recipe, uris=uris, out=out_of(name), tags=TAGS)
        azure.trainings.job(name)  # reading a job makes nodes too

    with ThreadPoolExecutor(len(numbers)) as pool:
        list(pool.map(submit, numbers))

    for number in numbers:
        job = azure.trainings._workspace.jobs.get(names.job(TRAINING, number))
        assert [node.inputs["train_file_path"].path.split("/")[-2] for node in job.jobs.values()] == [f"at-once-{number}"]


def test_the_numbers_that_a_job_logged_are_read_the_last_of_each(azure: Azure, completed: Job) -> None:
    assert azure.trainings.metrics(completed.name)["eval_loss"] == pytest.approx(1.25)
    assert azure.trainings.metrics("no-such-job") == {}


def test_a_failed_job_tells_why(azure: Azure, the_recipe: Recipe) -> None:
    job = ended(azure, submitted(azure, the_recipe, "fail"))

    assert job.status == "Failed"
    assert "No assistant tokens found" in job.failure


def test_a_cancelled_job_ends_canceled(azure: Azure, the_recipe: Recipe) -> None:
    name = submitted(azure, the_recipe, "wait")
    azure.trainings.cancel(name)

    assert ended(azure, name).status == "Canceled"


# --------------------------------------------------------------------------------------------------------- preparations

STRANGE = "contract/a $(touch x) `y` \" ' Ä & b.jsonl"  # what a shell or a URL must not take for its own


@pytest.fixture(params=[pytest.param("fake", marks=pytest.mark.light), "azureml"])
def at(request: pytest.FixtureRequest) -> Preparing:
    if request.param == "fake":
        return FakePreparing()
    return over_azure(request.getfixturevalue("azure"), request.getfixturevalue("blobs"))


def over_azure(azure: Azure, blobs: BlobServiceClient) -> AzurePreparing:
    containers = [blobs.get_container_client(name) for name in ("datasets", "prepared")]
    for container in containers:
        with contextlib.suppress(ResourceExistsError):
            container.create_container()
    return AzurePreparing(AzureMlPreparations(azure.settings, Jobs(azure.settings, clients.credential())), *containers)


def prepared_here(folder: Path, content: bytes, etag: str) -> tuple[prepare.Prepared | prepare.Refused, ordered.Order]:
    """Prepare on this machine what a job is asked to prepare; return what came of it and the order."""
    source = prepare.Source(name=STRANGE, size=len(content), etag=etag, open=lambda: iter([content]))
    options = prepare.Options(salt="s")
    result = prepare.prepare([source], FolderPlace(folder), options=options, workdir=folder)
    return result, ordered.order([source], options)


def test_a_preparation_that_nobody_asked_for_is_none(at: Preparing) -> None:
    assert at.preparations.job(names.preparation("ffffffffffff", 1)) is None


def test_a_job_leaves_the_files_that_would_be_made_here_and_says_so_under_our_tags(at: Preparing, tmp_path: Path) -> None:
    content = fakes.ROWS + fakes.ROWS[: fakes.ROWS.index(b"\n")]  # one row twice: something for the quarantine
    here, order = prepared_here(tmp_path, content, at.upload(STRANGE, content))
    name = names.preparation(TRAINING, 1)
    folder = ask(at, name, [STRANGE], order)
    ask(at, name, ["contract/not-there.jsonl"], order)  # asked for twice: the first one holds

    assert at.ended(name) == PreparationJob(name=name, status="Completed", owner="o", tuning=TRAINING)
    written = at.written(folder)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != MANIFEST}
    assert {file: written[file] for file in made} == made
    assert set(written) - set(made) == {ordered.ORDER, ordered.OUTCOME}
    outcome = ordered.read_outcome(at.datasets.read(f"{folder}/{ordered.OUTCOME}"))
    assert isinstance(here, prepare.Prepared)
    assert {**(outcome.manifest or {}), "folder": "."} == here.manifest
    ordered.check(outcome, at.datasets.files(folder, hashed_bytes_max=1_000_000))


def test_a_job_whose_code_cannot_be_uploaded_whole_fails_at_once_and_can_be_asked_for_again(azure, blobs, tmp_path, monkeypatch):
    """Method: storage answers for one file of the app that it cannot be reached."""

    def ship(app: Path, folder: Path) -> None:
        shipped(app, folder)
        with (folder / "shared" / "errors.py").open("a") as file:
            file.write("# no other test has uploaded it like this\n")

    at, shipped = over_azure(azure, blobs), preparations.ship
    monkeypatch.setattr(preparations, "ship", ship)
    _, order = prepared_here(tmp_path, fakes.ROWS, at.upload(STRANGE, fakes.ROWS))
    name, asked, upload = names.preparation(TRAINING, 9), [], ContainerClient.upload_blob

    def lost(container: ContainerClient, name: str, data: Any, **given: Any) -> Any:
        if name.endswith("shared/errors.py"):
            raise ServiceRequestError("cut")
        return upload(container, name, data, **given)

    def one() -> None:
        with pytest.raises(TryLater) as caught:
            ask(at, name, [STRANGE], order)
        asked.append(str(caught.value))

    with monkeypatch.context() as patched:
        patched.setattr(ContainerClient, "upload_blob", lost)
        thread = threading.Thread(target=one, daemon=True)
        thread.start()
        thread.join(60)

    assert asked == [f"Submitting job {name}: AssetException."]
    assert at.preparations.job(name) is None
    ask(at, name, [STRANGE], order)
    assert at.ended(name).status == "Completed"


def test_a_dataset_that_is_rejected_is_a_completed_job_with_the_sentence(at: Preparing, tmp_path: Path) -> None:
    content = b"these are my notes\n" * 30
    here, order = prepared_here(tmp_path, content, at.upload(STRANGE, content))
    name = names.preparation(TRAINING, 2)
    folder = ask(at, name, [STRANGE], order)

    assert at.ended(name).status == "Completed"
    outcome = ordered.read_outcome(at.datasets.read(f"{folder}/{ordered.OUTCOME}"))
    assert isinstance(here, prepare.Refused)
    assert (outcome.sentence, outcome.manifest) == (here.sentence, None)
    assert at.written(folder)[prepare.REPORT] == (tmp_path / prepare.REPORT).read_bytes()


def test_an_upload_of_another_size_than_ordered_fails_the_job_and_leaves_nothing(at: Preparing, tmp_path: Path) -> None:
    _, order = prepared_here(tmp_path, fakes.ROWS, at.upload(STRANGE, fakes.ROWS))
    at.upload(STRANGE, fakes.ROWS[:-1])
    name = names.preparation(TRAINING, 3)
    folder = ask(at, name, [STRANGE], order, tags={"team": "x"})

    job = at.ended(name)
    assert (job.status, job.owner, job.tuning) == ("Failed", None, None)
    assert job.failure
    assert set(at.written(folder)) == {ordered.ORDER}


def test_a_preparation_that_is_cancelled_ends_canceled(at: Preparing, tmp_path: Path) -> None:
    _, order = prepared_here(tmp_path, fakes.ROWS, at.upload(STRANGE, fakes.ROWS))
    name = names.preparation(TRAINING, 4)
    folder = ask(at, name, [STRANGE], order)
    at.preparations.cancel(name)

    assert at.ended(name).status == "Canceled"
    assert set(at.written(folder)) == {ordered.ORDER}


def test_jobs_of_one_version_of_the_app_share_one_code_and_one_environment(azure: Azure) -> None:
    """What is uploaded follows from the modules and the pins alone."""
    jobs = [azure.trainings._workspace.jobs.get(names.preparation(TRAINING, number)) for number in (1, 2, 3)]

    assert len({job.code for job in jobs}) == len({str(job.environment) for job in jobs}) == 1
    assert all(STRANGE[9:20] not in f"{job.command}{job.name}{job.display_name}" for job in jobs)


# --------------------------------------------------------------------------------------------------------------- models


@pytest.fixture(scope="module")
def model(azure: Azure, completed: Job) -> tuple[str, str]:
    azure.trainings.register("Phi-3-shop", TRAINING, job=completed.name, tags=TAGS)
    return "Phi-3-shop", TRAINING


def test_a_model_is_registered_once_however_often_it_is_asked_for(azure: Azure, model: tuple[str, str], completed: Job) -> None:
    azure.trainings.register(*model, job=completed.name, tags=TAGS)

    assert azure.trainings.registered(*model)
    assert not azure.trainings.registered(model[0], "ffffffffffff")
    assert not azure.trainings.registered("no-such-model", TRAINING)


# ------------------------------------------------------------------------------------------------------------ endpoints


def looked(azure: Azure, name: str) -> Callable[[], EndpointView | None]:
    return lambda: azure.endpoints.endpoint(name)


def created(azure: Azure, name: str) -> EndpointView:
    azure.endpoints.create_endpoint(name, tags=SERVICE_TAGS)
    view = until(looked(azure, name), lambda v: v and v.state == "Succeeded")
    assert view is not None
    return view


def of(model: tuple[str, str], number: int = 1) -> Deployment:
    return Deployment(
        name=names.deployment(number, TRAINING),
        tuning="t",
        training=TRAINING,
        model=model[0],
        model_version=model[1],
        sample="s",
        asked_at=NOON,
    )


@pytest.fixture(scope="module")
def deployed(azure: Azure, model: tuple[str, str]) -> tuple[str, Deployment, datetime]:
    """An endpoint, its deployment that answers, and since when."""
    created(azure, "shop-1")
    deployment = of(model)
    azure.endpoints.create_deployment("shop-1", deployment, tags=SERVICE_TAGS)
    view = until(looked(azure, "shop-1"), lambda v: v and v.deployments and v.deployments[0].state in ("Succeeded", "Failed"))
    assert view is not None
    assert view.deployments[0].state == "Succeeded", azure.endpoints.log_tail("shop-1", deployment.name)
    return "shop-1", deployment, datetime.now(UTC)


def test_an_endpoint_that_nobody_made_is_none(azure: Azure) -> None:
    assert azure.endpoints.endpoint("nobody-1") is None


def test_a_new_endpoint_is_ours_empty_and_has_an_address_on_this_machine(azure: Azure) -> None:
    view = created(azure, "shop-2")

    assert (view.owner, view.service, view.traffic, view.deployments) == (OWNER, SERVICE_TAGS[names.SERVICE_TAG], {}, ())
    assert view.scoring_uri.startswith("https://localhost:")


def test_the_endpoints_that_carry_our_tag_are_found_and_no_others(azure: Azure) -> None:
    created(azure, "ep-swept")

    assert ("ep-swept", SERVICE_TAGS[names.SERVICE_TAG]) in {(found.name, found.service) for found in azure.endpoints.owned(OWNER)}
    assert list(azure.endpoints.owned("somebody else")) == []


def test_creating_an_endpoint_twice_leaves_one(azure: Azure) -> None:
    created(azure, "shop-3")

    assert created(azure, "shop-3").owner == OWNER


def test_a_deleted_endpoint_is_gone_and_deleting_it_again_is_no_fault(azure: Azure) -> None:
    created(azure, "shop-4")
    azure.endpoints.delete_endpoint("shop-4")
    until(looked(azure, "shop-4"), lambda view: view is None)

    azure.endpoints.delete_endpoint("shop-4")

    assert azure.endpoints.endpoint("shop-4") is None


def test_a_deployment_answers_before_it_has_any_traffic(azure: Azure, deployed: tuple[str, Deployment, datetime]) -> None:
    endpoint, deployment, _ = deployed
    view = azure.endpoints.endpoint(endpoint)
    assert view is not None
    found = view.deployment(deployment.name)
    assert found is not None
    assert found.owner == OWNER

    reply = azure.endpoints.ask(endpoint, view.scoring_uri, deployment=deployment.name, body=QUESTION)

    assert smoke.answer_in(reply)


def test_a_question_to_a_deployment_that_is_not_there_says_try_later_and_why(
    azure: Azure, deployed: tuple[str, Deployment, datetime]
) -> None:
    view = azure.endpoints.endpoint(deployed[0])
    assert view is not None

    with pytest.raises(TryLater, match="it answered with status 4"):
        azure.endpoints.ask(deployed[0], view.scoring_uri, deployment="d9-nobody", body=QUESTION)


def test_the_log_of_a_deployment_has_lines_and_that_of_nobody_has_none(azure: Azure, deployed: tuple[str, Deployment, datetime]) -> None:
    assert isinstance(azure.endpoints.log_tail(deployed[0], deployed[1].name), str)
    assert azure.endpoints.log_tail(deployed[0], "d9-nobody") == ""


def test_a_deployment_of_a_model_that_is_not_there_is_refused(azure: Azure, deployed: tuple[str, Deployment, datetime]) -> None:
    with pytest.raises(Stop) as stopped:
        azure.endpoints.create_deployment(deployed[0], of(("no-such-model", "1"), 7), tags=SERVICE_TAGS)

    assert stopped.value.next_action


@pytest.fixture(params=["both", "total", "average"])
def counted_in(request: pytest.FixtureRequest, azure: Azure) -> Iterator[str]:
    """The aggregation in which this cloud shows how many requests came."""

    def turn(side: str) -> None:
        change = HttpRequest("POST", f"{azure.metrics._address}/_localcloud/state", json={"switches": {"count_in": side}})
        azure.metrics._arm.send_request(change).raise_for_status()

    turn(request.param)
    yield request.param
    turn("both")


@pytest.mark.usefixtures("counted_in")
def test_usage_counts_our_requests_and_the_heartbeats_of_what_lives(azure: Azure, deployed: tuple[str, Deployment, datetime]) -> None:
    endpoint, deployment, since = deployed
    view = azure.endpoints.endpoint(endpoint)
    assert view is not None
    for _ in range(3):
        azure.endpoints.ask(endpoint, view.scoring_uri, deployment=deployment.name, body=QUESTION)
    start = since.replace(microsecond=0)
    usage = until(
        lambda: azure.metrics.usage(endpoint, deployment.name, start=start, end=start + timedelta(seconds=DEADLINE_SECONDS)),
        lambda seen: seen and seen.requests >= 3,
    )
    assert usage is not None
    assert usage.heartbeats >= 1
    assert usage.last_request_at is not None
    assert start <= usage.last_request_at <= datetime.now(UTC)


def test_a_deployment_that_never_lived_has_no_heartbeat_and_no_requests(azure: Azure, deployed: tuple[str, Deployment, datetime]) -> None:
    end = datetime.now(UTC)
    usage = azure.metrics.usage(deployed[0], "d9-nobody", start=deployed[2] - timedelta(hours=2), end=deployed[2] - timedelta(hours=1))

    assert usage is None or (usage.heartbeats, usage.requests, usage.end < end) == (0, 0, True)


def test_traffic_is_given_taken_and_then_the_deployment_can_be_deleted(azure: Azure, model: tuple[str, str]) -> None:
    """The whole way down in one test, because each step needs the one before it."""
    created(azure, "shop-5")
    deployment = of(model)
    azure.endpoints.create_deployment("shop-5", deployment, tags=SERVICE_TAGS)
    look = looked(azure, "shop-5")
    until(look, lambda v: v and v.deployments and v.deployments[0].state == "Succeeded")

    azure.endpoints.set_traffic("shop-5", {deployment.name: 100})
    view = until(look, lambda v: v and v.traffic and v.state == "Succeeded")
    assert view is not None
    assert view.traffic == {deployment.name: 100}
    assert (view.owner, view.service) == (OWNER, SERVICE_TAGS[names.SERVICE_TAG])  # a change of the traffic keeps the tags

    azure.endpoints.set_traffic("shop-5", {})
    until(look, lambda v: v and not v.traffic and v.state == "Succeeded")
    azure.endpoints.delete_deployment("shop-5", deployment.name)
    until(look, lambda v: v and not v.deployments)
    azure.endpoints.delete_deployment("shop-5", deployment.name)
