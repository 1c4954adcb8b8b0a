"""What Azure offers is chosen: the tutorial's time, today, or a file; and whatever a file can say wrongly is said back."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localcloud.azureml import component, sizes, worlds
from localcloud.switches import Switches

PHI_3, PHI_4 = ("Phi-3-mini-4k-instruct", "15"), ("Phi-4", "8")
REGISTRY = (
    "/mferp/managementfrontend/subscriptions/22222222-2222-2222-2222-222222222222/resourceGroups/registry-rg"
    "/providers/Microsoft.MachineLearningServices/registries/azureml"
)
VERSION = "2021-10-01-dataplanepreview"
A100 = "Standard_NC24ads_A100_v4"


def get(world: Any, path: str, status: int = 200) -> Any:
    answered = world.ask("GET", f"{REGISTRY}/{path}", version=VERSION)
    assert answered.status == status, answered.body
    return json.loads(answered.body)


def phi_3(world: Any) -> Any:
    return get(world, "models/Phi-3-mini-4k-instruct/versions/15")["properties"]


@pytest.mark.parametrize("name", list(worlds.NAMED))
def test_a_named_world_can_exist(name: str) -> None:
    world = worlds.load(name)

    assert world.models
    assert world.size(world.cluster_size)
    for model in world.models.values():
        assert set(worlds.PLACES) >= set(model.allow_lists)
        assert all(sizes.KNOWN.get(size.lower()) for size in model.finetune + model.inference)


def test_in_the_tutorials_time_the_defaults_name_declared_inputs_only(make_world: Callable[..., Any]) -> None:
    model = phi_3(make_world(place=worlds.SEED))
    defaults = ast.literal_eval(model["tags"]["model_specific_defaults"])

    assert set(defaults) <= set(component.INPUTS)
    assert not model["isArchived"]


def test_in_the_tutorials_time_allow_lists_are_tags_that_python_can_read(make_world: Callable[..., Any]) -> None:
    model = phi_3(make_world(place=worlds.SEED))

    assert A100 in ast.literal_eval(model["tags"]["finetune_compute_allow_list"])
    assert "Standard_NC6s_v3" in ast.literal_eval(model["tags"]["inference_compute_allow_list"])
    assert model["properties"]["finetune-min-sku-spec"] == "24|1|220|64"
    assert model["system_metadata"] == {}


def test_today_the_lists_are_in_the_system_metadata_and_the_defaults_name_undeclared_inputs(make_world: Callable[..., Any]) -> None:
    model = phi_3(make_world())
    undeclared = set(ast.literal_eval(model["tags"]["model_specific_defaults"])) - set(component.INPUTS)

    assert undeclared == {"learning_rate_min", "learning_rate_max"}
    assert model["isArchived"]
    assert "finetune_compute_allow_list" not in model["tags"]
    assert A100 in model["system_metadata"]["supportedComputes"]["finetuneComputes"]
    assert model["tags"]["FinetuneRetirementDate"] == "2025-08-30"


@pytest.mark.parametrize(("place", "accepted"), [(worlds.SEED, True), (worlds.TODAY, False)])
def test_v100_sizes_are_of_the_tutorials_time(make_world: Callable[..., Any], place: worlds.World, accepted: bool) -> None:
    world = make_world(place=place)
    cluster = {"properties": {"computeType": "AmlCompute", "properties": {"vmSize": "STANDARD_ND40RS_V2"}}, "location": "eastus2"}
    answered = world.ask("PUT", "computes/big", cluster, version="2023-08-01-preview")

    assert answered.status == (201 if accepted else 400)
    assert accepted or b"is not available in eastus2 or is retired" in answered.body


def test_a_deployment_on_a_v100_is_taken_in_the_tutorials_time_only(make_world: Callable[..., Any], kit: Any) -> None:
    for place, status in ((worlds.SEED, 201), (worlds.TODAY, 400)):
        world = make_world(place=place)
        model = world.registered(world.trained())
        world.endpoint()
        answered = world.ask("PUT", "onlineEndpoints/bot-1/deployments/demo", kit.deployment(model, instanceType="Standard_NC6s_v3"))
        assert answered.status == status, answered.body


def test_the_component_has_the_version_of_its_world(make_world: Callable[..., Any]) -> None:
    world = make_world(place=worlds.SEED)
    latest = get(world, "components/chat_completion_pipeline/versions?$orderBy=createdtime desc&$top=1")["value"][0]

    assert latest["name"] == worlds.SEED.component_version
    assert latest["properties"]["componentSpec"]["version"] == worlds.SEED.component_version
    get(world, "components/chat_completion_pipeline/versions/0.0.82", status=404)


def test_a_list_shows_what_its_view_asks_for(world: Any) -> None:
    versions = "models/Phi-3-mini-4k-instruct/versions"

    assert [one["name"] for one in get(world, versions)["value"]] == ["15"]
    assert get(world, versions + "?listViewType=ActiveOnly")["value"] == []
    assert [one["name"] for one in get(world, versions + "?listViewType=ArchivedOnly")["value"]] == ["15"]
    assert "Maybe" in get(world, versions + "?listViewType=Maybe", status=400)["error"]["message"]


def test_a_world_may_hide_what_is_archived_from_the_newest_version(make_world: Callable[..., Any]) -> None:
    world = make_world(place=worlds.changed({"archived_is_listed": False}))

    assert get(world, "models/Phi-3-mini-4k-instruct/versions?$top=1")["value"] == []
    assert [one["name"] for one in get(world, "models")["value"]] == ["Phi-4"]
    assert get(world, "models/Phi-3-mini-4k-instruct/versions/15")["name"] == "15"


def test_the_newest_version_is_the_greatest_number(make_world: Callable[..., Any]) -> None:
    world = make_world(place=worlds.changed({"models": {"Phi-4:9": {}, "Phi-4:10": {}}}))

    assert [one["name"] for one in get(world, "models/Phi-4/versions")["value"]] == ["10", "9", "8"]
    assert {one["name"]: one["properties"]["latestVersion"] for one in get(world, "models")["value"]}["Phi-4"] == "10"


def test_a_job_on_a_retired_model_is_refused(make_world: Callable[..., Any], kit: Any) -> None:
    world = make_world(place=worlds.changed({"models": {"Phi-3-mini-4k-instruct:15": {"retired": True}}}))
    answered = world.ask("PUT", "jobs/ft-a1", kit.job())

    assert answered.status == 400
    assert "is retired; choose another one" in kit.error(answered)["message"]


def planned(make_world: Callable[..., Any], kind: str, **given: Any) -> Any:
    """Return today's world in which one fault of the base model Phi-4 is planned."""
    return make_world(plan={"faults": [{"fault": kind, "match": {"name": "Phi-4"}, **given}]})


def test_a_plan_may_archive_a_base_model(make_world: Callable[..., Any]) -> None:
    world = planned(make_world, "base_model_archived")

    assert get(world, "models/Phi-4/versions")["value"] == []
    assert get(world, "models/Phi-4/versions/8")["properties"]["isArchived"]
    assert [one["name"] for one in get(world, "models/Phi-4/versions?listViewType=ArchivedOnly")["value"]] == ["8"]
    assert not world.cloud.site.world.models[PHI_4].archived


def test_a_plan_may_retire_a_base_model(make_world: Callable[..., Any], kit: Any) -> None:
    world = planned(make_world, "base_model_retired")
    of_phi_4 = {"uri": "azureml://registries/azureml/models/Phi-4/versions/8", "job_input_type": "mlflow_model"}

    get(world, "models/Phi-4/versions/8", status=404)
    assert b"is retired" in world.ask("PUT", "jobs/ft-a1", kit.job(mlflow_model_path=of_phi_4)).body
    get(world, "models/Phi-3-mini-4k-instruct/versions/15")


def test_a_plan_may_add_defaults_that_no_input_is_called_by(make_world: Callable[..., Any]) -> None:
    tags = get(planned(make_world, "base_model_undeclared_defaults"), "models/Phi-4/versions/8")["properties"]["tags"]

    assert ast.literal_eval(tags["model_specific_defaults"])["learning_rate_min"] == "5e-7"


@pytest.mark.parametrize("place", ["tags", "properties", "system_metadata", "nowhere"])
def test_a_plan_may_move_the_lists_of_sizes(make_world: Callable[..., Any], place: str) -> None:
    model = get(planned(make_world, "base_model_allow_lists", place=place), "models/Phi-4/versions/8")["properties"]
    places = {
        "tags": "finetune_compute_allow_list" in model["tags"],
        "properties": "finetune-recommended-sku" in model["properties"],
        "system_metadata": "supportedComputes" in model["system_metadata"],
    }

    assert [name for name, there in places.items() if there] == ([] if place == "nowhere" else [place])


def test_a_plan_that_moves_the_lists_to_no_known_place_is_refused(world: Any, kit: Any) -> None:
    plan = {"faults": [{"fault": "base_model_allow_lists", "place": "labels"}]}
    refused = world.ask("POST", "/_localcloud/faults", plan, version=None)

    assert refused.status == 400
    assert "'labels'; it is one of tags, properties, system_metadata, nowhere" in kit.error(refused)["message"]


def test_an_archived_base_model_cannot_be_had_on_the_other_side_of_the_switch(make_world: Callable[..., Any], kit: Any) -> None:
    world = make_world(switches=Switches(archived_model="refused"))

    get(world, "models/Phi-3-mini-4k-instruct/versions/15", status=404)
    assert get(world, "models/Phi-3-mini-4k-instruct/versions")["value"] == []
    assert world.ask("PUT", "jobs/ft-a1", kit.job()).status == 400


def test_a_file_changes_a_named_world(tmp_path: Path) -> None:
    changes = {
        "world": "seed",
        "component_version": "0.0.70",
        "sizes": ["standard_nc6s_v3", "Standard_NC24ads_A100_v4"],
        "models": {"Phi-3-mini-4k-instruct:15": {"allow_lists": [], "defaults": {"seed": 1}, "archived": True}, "Phi-4:8": {}},
    }
    file = tmp_path / "world.json"
    file.write_text(json.dumps(changes))
    world = worlds.load(str(file))

    assert [size.name for size in world.sizes] == ["Standard_NC6s_v3", "Standard_NC24ads_A100_v4"]
    assert world.component_version == "0.0.70"
    assert world.models[PHI_3].allow_lists == ()
    assert world.models[PHI_3].inference == worlds.SEED.models[PHI_3].inference
    assert world.models[PHI_4] == worlds.TODAY.models[PHI_4]


def test_null_takes_a_model_away() -> None:
    assert PHI_4 not in worlds.changed({"models": {"Phi-4:8": None}}).models


def test_defaults_may_be_json_which_a_python_literal_is_not(make_world: Callable[..., Any]) -> None:
    changes = {"defaults_spelling": "json", "defaults": {"resume": True}, "allow_lists": ["tags", "system_metadata"]}
    tags = phi_3(make_world(place=worlds.changed({"models": {"Phi-3-mini-4k-instruct:15": changes}})))["tags"]

    assert tags["model_specific_defaults"] == '{"resume": true}'
    assert A100 in json.loads(tags["finetune_compute_allow_list"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], "A world is a JSON object"),
        ({"world": "tomorrow"}, "builds on today or seed"),
        ({"modles": {}}, "has no field modles"),
        ({"sizes": "Standard_NC6s_v3"}, "sizes must be a list of texts"),
        ({"sizes": ["Standard_Z1"]}, "the size Standard_Z1 is not known"),
        ({"sizes": ["Standard_NC6s_v3"]}, "cluster_size is Standard_NC24ads_A100_v4, which its sizes lack"),
        ({"component_version": 82}, "component_version must be text"),
        ({"any_last_role": "yes"}, "any_last_role must be true or false"),
        ({"models": []}, 'from "name:version"'),
        ({"models": {"Phi-4": {}}}, "has no version"),
        ({"models": {"Phi-4:8": 3}}, "write an object of its fields"),
        ({"models": {"Phi-4:8": {"archive": True}}}, "has no field archive"),
        ({"models": {"Phi-4:8": {"archived": "no"}}}, "archived must be true or false"),
        ({"models": {"Phi-4:8": {"allow_lists": ["labels"]}}}, "and not in 'labels'"),
        ({"models": {"Phi-4:8": {"defaults_spelling": "yaml"}}}, "is python or json"),
    ],
)
def test_a_world_that_cannot_exist_is_refused_with_the_field(content: object, says: str) -> None:
    with pytest.raises(worlds.WrongWorld, match=says):
        worlds.changed(content)


def test_an_unknown_world_says_which_there_are(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")

    with pytest.raises(worlds.WrongWorld, match="write today or seed, or the path of a JSON file"):
        worlds.load("yesterday")
    with pytest.raises(worlds.WrongWorld, match=r"broken\.json is not JSON"):
        worlds.load(str(tmp_path / "broken.json"))
