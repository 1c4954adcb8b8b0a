"""What would fail after the money is spent is said before."""

from __future__ import annotations

import msgspec
import pytest

from shared.domain import preflight
from shared.domain.recipe import Catalogue, Declared

pytestmark = pytest.mark.light

A100 = "Standard_NC24ads_A100_v4"
CATALOGUE = Catalogue(
    component_id="c",
    component_inputs={"train_file_path": Declared(type="uri_file")},
    model_name="Phi-3-mini-4k-instruct",
    model_id="m",
    model_archived=False,
    model_suggestions="",
    compute=None,
    instance_type=A100,
    gpus=1,
)


def test_a_gpu_and_a_chat_component_are_all_that_is_asked_for() -> None:
    assert preflight.faults(CATALOGUE, serving_instance_type=A100) == ()


@pytest.mark.parametrize(
    ("changed", "serving", "said"),
    [
        ({"gpus": 0, "instance_type": "Standard_DS3_v2"}, A100, "Standard_DS3_v2 has no GPU"),
        ({"instance_type": "Standard_NC6s_v3"}, A100, "Standard_NC6s_v3 is retired in Azure: choose another size with COMPUTE"),
        ({"instance_type": "STANDARD_NC24RS_V3"}, A100, "is retired"),
        ({}, "Standard_NC6s_v3", "choose another size with SERVING_INSTANCE_TYPE"),
        ({"component_inputs": {}}, A100, "check FINETUNE_COMPONENT"),
    ],
    ids=["no GPU", "retired", "retired in capitals", "retired for serving", "no chat component"],
)
def test_a_fault_names_what_was_seen_and_the_setting_to_change(changed: dict[str, object], serving: str, said: str) -> None:
    faults = preflight.faults(msgspec.structs.replace(CATALOGUE, **changed), serving_instance_type=serving)

    assert len(faults) == 1
    assert said in faults[0]


def test_all_faults_are_named_at_once() -> None:
    broken = msgspec.structs.replace(CATALOGUE, gpus=0, instance_type="Standard_NC6s_v3", component_inputs={})

    assert len(preflight.faults(broken, serving_instance_type="Standard_NC6s_v3")) == 4
