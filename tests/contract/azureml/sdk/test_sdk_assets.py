"""Models, components, clusters, quota, workspaces and datastores as a person asks for them with the unmodified azure-ai-ml."""

from __future__ import annotations

from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::PendingDeprecationWarning")


def test_a_registered_model_is_found_by_its_version_and_by_its_label(sdk: Any) -> None:
    made = sdk.model()
    found = sdk.ml.models.get("bot", version="v1")

    assert (found.name, found.version, found.type, found.job_name) == ("bot", "v1", "mlflow_model", "ft-a1")
    assert found.path == "azureml://jobs/ft-a1/outputs/trained_model"
    assert set(found.flavors) == {"hftransformersv2", "python_function"}
    assert sdk.ml.models.get("bot", label="latest").id == found.id == made.id


def test_the_same_model_again_is_no_error_and_takes_other_tags(sdk: Any) -> None:
    from azure.ai.ml.entities import Model

    made = sdk.model()
    again = Model(name="bot", version="v1", type="mlflow_model", path=made.path, tags={"kind": "trial"})
    sdk.ml.models.create_or_update(again)

    assert sdk.ml.models.get("bot", version="v1").tags == {"kind": "trial"}


def test_a_version_keeps_its_path_for_ever(sdk: Any) -> None:
    sdk.model()
    with pytest.raises(HttpResponseError, match="Asset paths cannot be updated"):
        sdk.model(job=sdk.world.trained("ft-b1"))


def test_a_job_that_has_not_completed_has_no_model(sdk: Any) -> None:
    sdk.world.submit("ft-w1", wish="wait")
    with pytest.raises(HttpResponseError) as refused:
        sdk.model(job="ft-w1")

    assert refused.value.error is not None
    assert refused.value.error.details[0].code == "ModelAssetPathNotFoundInStorage"


def test_a_model_that_is_not_there_is_named_in_its_error(sdk: Any) -> None:
    from azure.ai.ml.exceptions import ValidationException

    with pytest.raises(ResourceNotFoundError, match="bot:v9") as missing:
        sdk.ml.models.get("bot", version="v9")
    assert missing.value.error is not None
    assert missing.value.error.details[0].code == "ModelNotFound"
    with pytest.raises(ValidationException):
        sdk.ml.models.get("bot")


def test_versions_are_listed_over_pages_and_an_archived_one_leaves(sdk: Any) -> None:
    from azure.ai.ml.constants import ListViewType

    job = sdk.world.trained()
    for version in ("v1", "v2", "v3"):
        sdk.world.registered(job, version)
    assert [one.version for one in sdk.ml.models.list(name="bot")] == ["v3", "v2", "v1"]
    sdk.ml.models.archive("bot", version="v2")
    assert [one.version for one in sdk.ml.models.list(name="bot")] == ["v3", "v1"]
    assert [one.version for one in sdk.ml.models.list(name="bot", list_view_type=ListViewType.ARCHIVED_ONLY)] == ["v2"]
    sdk.ml.models.restore("bot", version="v2")
    assert len(list(sdk.ml.models.list(name="bot"))) == 3


def test_a_model_is_archived_with_all_its_versions(sdk: Any) -> None:
    sdk.world.registered()
    assert [one.name for one in sdk.ml.models.list()] == ["bot"]
    sdk.ml.models.archive("bot")
    assert list(sdk.ml.models.list()) == []
    sdk.ml.models.restore("bot")
    assert [one.latest_version for one in sdk.ml.models.list()] == ["v1"]


# -------------------------------------------------------------------------------------------------------------- registries


def test_the_public_registry_shows_base_models_and_the_component(sdk: Any) -> None:
    model = sdk.registry.models.get("Phi-3-mini-4k-instruct", label="latest")
    component = sdk.registry.components.get("chat_completion_pipeline", version="0.0.82")

    assert (model.version, model.tags["task"]) == ("15", "chat-completion")
    assert {"Phi-4", "Phi-3-mini-4k-instruct"} >= {one.name for one in sdk.registry.models.list()} != set()
    assert [one.version for one in sdk.registry.models.list(name="Phi-4")] == ["8"]
    assert [one.name for one in sdk.registry.components.list()] == ["chat_completion_pipeline"]
    assert [one.version for one in sdk.registry.components.list(name="chat_completion_pipeline")] == ["0.0.82"]
    assert component.inputs["learning_rate"].default == 2e-5


def test_what_the_registry_lacks_is_not_found(sdk: Any) -> None:
    for ask in (sdk.registry.models.get, sdk.registry.components.get):
        with pytest.raises(ResourceNotFoundError):
            ask("nothing", version="1")


def test_a_registry_that_is_not_there_is_named(sdk: Any) -> None:
    with pytest.raises(ResourceNotFoundError, match="Registry nowhere not found"):
        sdk.client(registry_name="nowhere")


def test_the_public_registry_takes_nothing(sdk: Any) -> None:
    with pytest.raises(HttpResponseError) as refused:
        sdk.registry.models.archive("Phi-4", version="8")

    assert refused.value.status_code == 403


def test_a_shared_model_is_found_in_a_registry_of_ones_own_and_archived_there(sdk: Any) -> None:
    sdk.shared("bot-for-all")
    registry = sdk.client(registry_name="local-registry")

    assert registry.models.get("bot-for-all", version="1").path.startswith("azureml://registries/local-registry/models/bot-for-all/")
    assert [one.name for one in registry.models.list()] == ["bot-for-all"]
    registry.models.archive("bot-for-all", version="1")
    assert list(registry.models.list()) == []
    registry.models.restore("bot-for-all")
    assert registry.models.get("bot-for-all", label="latest").version == "1"


def test_the_workspace_has_no_component_of_its_own(sdk: Any) -> None:
    from azure.ai.ml.exceptions import ValidationException

    assert list(sdk.ml.components.list()) == []
    with pytest.raises(ResourceNotFoundError, match="registry azureml only"):
        sdk.ml.components.get("chat_completion_pipeline", version="0.0.82")
    with pytest.raises(ValidationException):
        sdk.ml.components.get("chat_completion_pipeline", label="latest")


# ---------------------------------------------------------------------------------------------- computes, quota, workspace


def test_clusters_are_made_listed_over_pages_and_deleted(sdk: Any) -> None:
    from azure.ai.ml.entities import AmlCompute

    for name in ("cpu-one", "cpu-two"):
        cluster = AmlCompute(name=name, size="Standard_DS3_v2", min_instances=0, max_instances=2)
        made = sdk.ml.compute.begin_create_or_update(cluster).result()
        assert (made.size, made.max_instances) == ("Standard_DS3_v2", 2)
    assert [one.name for one in sdk.ml.compute.list()] == ["gpu-cluster", "cpu-one", "cpu-two"]
    assert sdk.ml.compute.get("cpu-one").provisioning_state == "Succeeded"
    sdk.ml.compute.begin_delete("cpu-one").wait()
    with pytest.raises(ResourceNotFoundError, match="cpu-one"):
        sdk.ml.compute.get("cpu-one")


def test_a_cluster_of_a_retired_size_is_refused(sdk: Any) -> None:
    from azure.ai.ml.entities import AmlCompute

    with pytest.raises(HttpResponseError, match="Standard_NC6s_v3"):
        sdk.ml.compute.begin_create_or_update(AmlCompute(name="old-gpu", size="Standard_NC6s_v3"))


def test_sizes_and_usages_are_those_of_the_region(sdk: Any) -> None:
    sdk.world.submit("ft-w1", wish="wait")
    sdk.world.until(lambda: sdk.world.status("ft-w1") == "Running")
    usages = {vars(one)["name"]["value"]: vars(one) for one in sdk.ml.compute.list_usage()}  # the SDK's entity keeps Azure's own names
    used = usages["StandardNCADSA100v4Family"]

    assert {size.name: size.gpus for size in sdk.ml.compute.list_sizes()}["Standard_NC24ads_A100_v4"] == 1
    assert (used["currentValue"], used["unit"], used["limit"] > 24) == (24, "Count", True)
    assert usages["Total Cluster Dedicated Regional vCPUs"]["currentValue"] == 24


def test_the_workspace_is_found_by_name_and_in_lists(sdk: Any) -> None:
    from azure.ai.ml.constants import Scope

    assert sdk.ml.workspaces.get("local-workspace").location == "eastus2"
    assert [one.name for one in sdk.ml.workspaces.list()] == ["local-workspace"]
    assert [one.name for one in sdk.ml.workspaces.list(scope=Scope.SUBSCRIPTION)] == ["local-workspace"]
    with pytest.raises(ResourceNotFoundError):
        sdk.ml.workspaces.get("elsewhere")


def test_datastores_are_listed_and_one_is_the_default(sdk: Any) -> None:
    assert [one.name for one in sdk.ml.datastores.list()] == ["workspaceblobstore", "tuneloop_datasets", "tuneloop_prepared"]
    assert sdk.ml.datastores.get_default().name == "workspaceblobstore"
    assert sdk.ml.datastores.get("tuneloop_prepared").container_name == "prepared"
    with pytest.raises(ResourceNotFoundError, match="nothing"):
        sdk.ml.datastores.get("nothing")


@pytest.mark.parametrize("ask", ["data", "batch_endpoints", "schedules", "connections"])
def test_what_this_cloud_does_not_have_is_refused_by_method_and_path(sdk: Any, ask: str) -> None:
    with pytest.raises(HttpResponseError, match=r"does not know GET /subscriptions/") as refused:
        list(getattr(sdk.ml, ask).list())

    assert refused.value.status_code == 501
