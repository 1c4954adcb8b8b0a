"""Jobs as a person asks for them with the unmodified azure-ai-ml: submit, look, list, change, watch, cancel, put away."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::PendingDeprecationWarning")


def test_a_submitted_job_is_shown_as_it_was_asked_for(sdk: Any) -> None:
    made = sdk.ml.jobs.create_or_update(sdk.pipeline())
    found = sdk.ml.jobs.get("ft-sdk-a1")

    assert made.status == "NotStarted"
    assert (found.name, found.display_name, found.experiment_name) == ("ft-sdk-a1", "a tuning", "chat")
    assert found.tags == {"tuneloop-owner": "o"}
    assert list(found.jobs) == ["node"]
    assert found.services["Studio"].endpoint.startswith("https://")


def test_a_job_that_is_not_there_is_a_resource_not_found(sdk: Any) -> None:
    for ask in (sdk.ml.jobs.get, sdk.ml.jobs.stream, sdk.ml.jobs.archive, sdk.ml.jobs.begin_cancel):
        with pytest.raises(ResourceNotFoundError, match="ft-none"):
            ask("ft-none")


def test_the_same_name_with_another_content_is_refused_in_azures_words(sdk: Any) -> None:
    sdk.world.submit("ft-sdk-a1")

    with pytest.raises(HttpResponseError, match="A job with this name already exists") as refused:
        sdk.ml.jobs.create_or_update(sdk.pipeline(num_train_epochs=2))
    assert refused.value.status_code == 400
    assert refused.value.error is not None
    assert (refused.value.error.code, refused.value.error.details[0].code) == ("UserError", "JobPropertyImmutable")


def test_an_input_that_the_component_refuses_is_named(sdk: Any) -> None:
    with pytest.raises(HttpResponseError, match="num_train_epochs"):
        sdk.ml.jobs.create_or_update(sdk.pipeline(num_train_epochs=0))


def test_more_jobs_than_a_page_holds_are_listed_whole_and_newest_first(sdk: Any) -> None:
    """Method: the page holds two; the client follows nextLink."""
    for number in range(5):
        sdk.world.submit(f"ft-{number}", wish="wait")

    assert [job.name for job in sdk.ml.jobs.list()] == ["ft-4", "ft-3", "ft-2", "ft-1", "ft-0"]


def test_jobs_are_listed_by_tag(sdk: Any) -> None:
    for name in ("ft-1", "ft-2"):
        sdk.world.submit(name, wish="wait")
    sdk.ml.jobs.update("ft-2", tags={"kind": "trial"})

    assert [job.name for job in sdk.ml.jobs.list(tag="kind=trial")] == ["ft-2"]
    assert len(list(sdk.ml.jobs.list(tag="tuneloop-owner=o"))) == 2


def test_the_steps_of_a_job_are_listed_and_one_is_fetched_by_its_name(sdk: Any) -> None:
    job = sdk.world.trained()
    steps = list(sdk.ml.jobs.list(parent_job_name=job))
    one = sdk.ml.jobs.get(steps[3].name)

    assert [step.display_name for step in steps] == [
        "ft_nlp_common_validation",
        "chat_completion_model_import",
        "chat_completion_datapreprocess",
        "chat_completion_finetune",
        "ft_nlp_model_converter",
    ]
    assert (one.name, one.display_name, one.status) == (steps[3].name, "chat_completion_finetune", "Completed")


def test_a_step_cannot_be_watched_by_itself(sdk: Any) -> None:
    from azure.ai.ml.exceptions import PipelineChildJobError

    step = next(iter(sdk.ml.jobs.list(parent_job_name=sdk.world.trained())))
    with pytest.raises(PipelineChildJobError):
        sdk.ml.jobs.stream(step.name)


def test_tags_and_words_are_changed_and_no_tag_is_lost(sdk: Any) -> None:
    sdk.world.submit("ft-sdk-a1", wish="wait")
    changed = sdk.ml.jobs.update("ft-sdk-a1", display_name="another", description="words", tags={"kind": "trial"})

    assert (changed.display_name, changed.description) == ("another", "words")
    assert changed.tags == {"tuneloop-owner": "o", "kind": "trial"}
    assert sdk.ml.jobs.get("ft-sdk-a1").tags == changed.tags


def test_a_job_that_was_fetched_and_changed_is_sent_back(sdk: Any) -> None:
    """The SDK then changes the run, and submits nothing."""
    sdk.world.submit("ft-sdk-a1", wish="wait")
    job = sdk.ml.jobs.get("ft-sdk-a1")
    job.tags["kind"] = "trial"

    assert sdk.ml.jobs.create_or_update(job).tags["kind"] == "trial"


def test_an_archived_job_leaves_the_list_and_comes_back(sdk: Any) -> None:
    from azure.ai.ml.constants import ListViewType

    sdk.world.submit("ft-sdk-a1", wish="wait")
    sdk.ml.jobs.archive("ft-sdk-a1")
    assert list(sdk.ml.jobs.list()) == []
    assert [job.name for job in sdk.ml.jobs.list(list_view_type=ListViewType.ARCHIVED_ONLY)] == ["ft-sdk-a1"]
    sdk.ml.jobs.restore("ft-sdk-a1")
    assert [job.name for job in sdk.ml.jobs.list()] == ["ft-sdk-a1"]


def test_watching_a_job_prints_its_log_until_it_has_completed(sdk: Any, capsys: pytest.CaptureFixture[str]) -> None:
    sdk.ml.jobs.stream(sdk.world.submit("ft-sdk-a1"))

    printed = capsys.readouterr().out
    assert sdk.ml.jobs.get("ft-sdk-a1").status == "Completed"
    assert "training with" in printed
    assert "Execution Summary" in printed


def test_watching_a_job_that_fails_raises_its_reason(sdk: Any) -> None:
    from azure.ai.ml.exceptions import JobException

    with pytest.raises(JobException, match="No assistant tokens found after preprocessing"):
        sdk.ml.jobs.stream(sdk.world.submit("ft-sdk-a1", wish="fail"))


def test_a_canceled_job_says_so_and_watching_it_returns_in_peace(sdk: Any) -> None:
    sdk.world.submit("ft-sdk-a1", wish="wait")
    sdk.world.until(lambda: sdk.ml.jobs.get("ft-sdk-a1").status == "Running")
    sdk.ml.jobs.begin_cancel("ft-sdk-a1").result()
    sdk.ml.jobs.stream("ft-sdk-a1")

    assert sdk.ml.jobs.get("ft-sdk-a1").status == "Canceled"
    assert sdk.ml.jobs.begin_cancel("ft-sdk-a1").result() is None


def test_a_command_with_code_in_the_account_runs_and_is_watched(sdk: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder of this machine is uploaded over HTTPS alone (test_sdk_command_jobs.py); an address is taken everywhere."""
    from azure.ai.ml import Input, Output, command

    blobs = sdk.world.storage.blobs
    blobs["azureml-blobstore", "code/v1/work.py"] = b"import sys; print(open(sys.argv[1]).read().upper())"
    blobs["datasets", "a.txt"] = b"some words"
    job = command(
        name="prep-1",
        code="https://devstoreaccount1.blob.core.windows.net/azureml-blobstore/code/v1",
        command="python work.py ${{inputs.data}} | tee ${{outputs.out}}/b.txt",
        environment="azureml://registries/azureml/environments/sklearn-1.5/versions/1",
        inputs={"data": Input(type="uri_file", path="azureml://datastores/tuneloop_datasets/paths/a.txt")},
        outputs={"out": Output(type="uri_folder", path="azureml://datastores/tuneloop_prepared/paths/b")},
        compute="gpu-cluster",
    )
    sdk.ml.jobs.create_or_update(job)
    sdk.ml.jobs.stream("prep-1")

    assert blobs["prepared", "b/b.txt"] == b"SOME WORDS\n"
    assert "SOME WORDS" in capsys.readouterr().out


def test_a_job_that_has_completed_cannot_be_downloaded_here_and_says_which_address_is_missing(sdk: Any) -> None:
    job = sdk.world.trained()
    with pytest.raises(HttpResponseError, match=r"does not know POST /history/v1.0/.*/rundata"):
        sdk.ml.jobs.download(job)
