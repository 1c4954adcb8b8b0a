"""A recipe is what the component declares, the base model suggests, the app prefers and the owner wishes, in rising precedence."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import recipe
from shared.domain.recipe import Catalogue, Declared, Recipe
from shared.errors import Rejected, Stop, TuneloopError

pytestmark = pytest.mark.light

INPUTS = {
    "train_file_path": Declared(type="uri_file"),
    "num_nodes_finetune": Declared(type="integer", minimum=1, default="1"),
    "number_of_gpu_to_use_finetuning": Declared(type="integer", minimum=1, default="1"),
    "num_train_epochs": Declared(type="integer", minimum=1, default="1"),
    "per_device_train_batch_size": Declared(type="integer", minimum=1, default="1"),
    "max_seq_length": Declared(type="integer", default="-1"),
    "learning_rate": Declared(type="number", minimum=0, default="2e-05"),
    "warmup_ratio": Declared(type="number"),
    "lr_scheduler_type": Declared(type="string", enum=("linear", "cosine"), default="linear"),
    "apply_lora": Declared(type="string", enum=("true", "false"), default="false"),
    "apply_deepspeed": Declared(type="string", enum=("true", "false"), default="true"),
    "deepspeed_stage": Declared(type="string", enum=("2", "3"), default="2"),
    "report_to": Declared(type="string"),
}
PHI3 = {"num_train_epochs": 1, "max_seq_length": 2048, "learning_rate_min": 5e-7, "learning_rate_max": 5e-5, "warmup_ratio": 0.2}
CATALOGUE = Catalogue(
    component_id="azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82",
    component_inputs=INPUTS,
    model_name="Phi-3-mini-4k-instruct",
    model_id="azureml://registries/azureml/models/Phi-3-mini-4k-instruct/versions/15",
    model_archived=False,
    model_suggestions=str(PHI3),
    compute="gpu-cluster",
    instance_type="Standard_NC24ads_A100_v4",
    gpus=1,
)


def resolved(catalogue: Catalogue = CATALOGUE, /, **wishes: Any) -> Recipe:
    return recipe.resolve(catalogue, wishes=wishes, service="support-bot", experiment_name="tuneloop")


def suggesting(suggestions: object) -> Catalogue:
    text = suggestions if isinstance(suggestions, str) else json.dumps(suggestions)
    return msgspec.structs.replace(CATALOGUE, model_suggestions=text)


def refusal(**wishes: Any) -> str:
    with pytest.raises(Rejected) as refused:
        resolved(**wishes)
    return str(refused.value)


# ----------------------------------------------------------------------------------------------------------- precedence


def test_the_app_goes_before_the_base_model_and_the_owner_before_both() -> None:
    assert resolved(suggesting({"warmup_ratio": 0.2})).parameters["warmup_ratio"] == "0.2"
    assert resolved(suggesting({"num_train_epochs": 9})).parameters["num_train_epochs"] == recipe.SEED_PARAMETERS["num_train_epochs"]
    assert resolved(suggesting({"num_train_epochs": 9}), num_train_epochs=2).parameters["num_train_epochs"] == "2"


def test_what_the_component_does_not_declare_is_never_passed_whoever_suggests_it() -> None:
    found = resolved()

    assert set(found.parameters) <= set(INPUTS)
    assert "learning_rate_min" not in found.parameters
    assert any("learning_rate_max, learning_rate_min" in note for note in found.notes)


def test_a_preference_of_the_app_that_an_older_component_lacks_is_left_out() -> None:
    without = {name: declared for name, declared in INPUTS.items() if name != "deepspeed_stage"}

    assert "deepspeed_stage" not in resolved(msgspec.structs.replace(CATALOGUE, component_inputs=without)).parameters


@given(st.dictionaries(st.sampled_from([*INPUTS, "learning_rate_min", "surprise"]) | st.text(), st.integers(1, 3) | st.text(), max_size=8))
def test_whatever_a_model_suggests_a_recipe_passes_only_declared_values_that_fit(suggestions: dict[str, object]) -> None:
    try:
        found = resolved(suggesting(suggestions))
    except TuneloopError:
        return

    assert set(found.parameters) <= set(INPUTS)
    assert all(recipe.fault_of(name, value, INPUTS[name]) == "" for name, value in found.parameters.items())


@pytest.mark.parametrize("name", sorted(recipe.NOT_WISHED))
def test_what_the_app_decides_no_base_model_decides_even_if_the_component_declares_it(name: str) -> None:
    """A tag that says how many nodes are paid for, which weights are read, or that code of theirs may run."""
    declared = msgspec.structs.replace(CATALOGUE, component_inputs={**INPUTS, name: Declared(type="string")})
    catalogue = msgspec.structs.replace(declared, model_suggestions=json.dumps({name: "64", "warmup_ratio": 0.2}))
    found = resolved(catalogue)

    assert name not in found.parameters
    assert found.parameters["warmup_ratio"] == "0.2"
    assert any(name in note and "this app decides" in note for note in found.notes)


def test_an_archived_base_model_is_used_and_said() -> None:
    assert any("archived" in note for note in resolved(msgspec.structs.replace(CATALOGUE, model_archived=True)).notes)


# --------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_train_epochs", "1"), ("learning_rate", "0"), ("learning_rate", "5e-06"), ("apply_lora", "true"), ("report_to", "anything"),
     ("max_seq_length", "-1"), ("train_file_path", "azureml://x")],
)  # fmt: skip
def test_a_value_of_the_declared_type_has_no_fault(name: str, value: str) -> None:
    assert recipe.fault_of(name, value, INPUTS[name]) == ""


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("num_train_epochs", "0", "at least 1"),
        ("num_train_epochs", "-3", "at least 1"),
        ("num_train_epochs", "1.5", "a whole number"),
        ("num_train_epochs", "3.0", "a whole number"),
        ("num_train_epochs", "true", "a whole number"),
        ("num_train_epochs", "2147483648", "at most 2147483647"),
        ("max_seq_length", "-" + "9" * 30, "at most 2147483647"),
        ("num_train_epochs", "", "a whole number"),
        ("learning_rate", "fast", "a number"),
        ("learning_rate", "nan", "a finite number"),
        ("learning_rate", "inf", "a finite number"),
        ("learning_rate", "1e999", "a finite number"),
        ("learning_rate", "-1e-9", "at least 0"),
        ("apply_lora", "True", "one of true, false"),
        ("apply_lora", "", "one of true, false"),
        ("deepspeed_stage", "1", "one of 2, 3"),
    ],
)
def test_a_value_that_would_fail_inside_the_paid_job_is_named_before(name: str, value: str, wanted: str) -> None:
    fault = recipe.fault_of(name, value, INPUTS[name])

    assert fault.startswith(f"{name} is ")
    assert wanted in fault


@pytest.mark.parametrize("value", ["1_000", " 3", "3\n", "٣", "0x10"])
def test_a_number_that_only_python_reads_is_no_number_for_the_service(value: str) -> None:
    assert recipe.fault_of("num_train_epochs", value, INPUTS["num_train_epochs"])
    assert recipe.fault_of("learning_rate", value, INPUTS["learning_rate"])


def test_a_number_too_large_for_any_computer_is_a_fault_and_no_crash() -> None:
    assert recipe.fault_of("num_train_epochs", "1" + "0" * 400, INPUTS["num_train_epochs"])


@given(st.text(), st.sampled_from(list(INPUTS)))
def test_no_text_makes_the_check_of_a_value_fail(value: str, name: str) -> None:
    fault = recipe.fault_of(name, value, INPUTS[name])

    assert not fault or value in fault


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (False, "false"), (2, "2"), (5e-6, "5e-06"), (0.5, "0.5"), ("x", "x")])
def test_a_value_travels_as_the_shortest_text(value: object, text: str) -> None:
    assert recipe.as_input(value) == text


# --------------------------------------------------------------------------------------------------------------- wishes


def test_a_wish_that_can_be_met_is_met() -> None:
    found = resolved(num_train_epochs=2, apply_lora=False, learning_rate=1e-5, lr_scheduler_type="linear")

    assert found.parameters | {"num_train_epochs": "2", "apply_lora": "false", "learning_rate": "1e-05"} == found.parameters


@pytest.mark.parametrize("name", sorted(recipe.NOT_WISHED))
def test_a_wish_for_what_the_app_decides_is_refused_by_name(name: str) -> None:
    assert f"'{name}' is decided by the app" in refusal(**{name: "x"})


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"epochs": 3}, "'epochs' is no input of the component"),
        ({"learning_rate_min": 1e-6}, "'learning_rate_min' is no input of the component"),
        ({"num_train_epochs": [1]}, "'num_train_epochs' must be a text, a number, true or false"),
        ({"num_train_epochs": None}, "'num_train_epochs' must be a text, a number, true or false"),
        ({"num_train_epochs": {"x": 1}}, "'num_train_epochs' must be"),
        ({"num_train_epochs": 0}, "num_train_epochs is 0; it must be at least 1."),
        ({"num_train_epochs": True}, "num_train_epochs is 'true'; it must be a whole number."),
        ({"learning_rate": math.nan}, "learning_rate is 'nan'; it must be a finite number."),
        ({"learning_rate": 1.0}, "learning_rate is 1; this base model is fine-tuned with at most 5e-05."),
        ({"learning_rate": 1e-9}, "learning_rate is 1e-09; this base model is fine-tuned with at least 5e-07."),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused_with_a_sentence_for_its_owner(wishes: dict[str, Any], said: str) -> None:
    assert said in refusal(**wishes)


def test_all_wishes_that_cannot_be_met_are_named_at_once() -> None:
    said = refusal(epochs=1, seed=2, task_name="x")

    assert all(name in said for name in ("'epochs'", "'seed'", "'task_name'"))
    assert "upload the dataset again" in said


# --------------------------------------------------------------------------------------------------------- hostile tags


@pytest.mark.parametrize(
    "text",
    ['{"num_train_epochs": 1, "apply_lora": true}', "{'num_train_epochs': 1, 'apply_lora': True}"],
    ids=["JSON", "Python literal"],
)
def test_the_tag_is_read_in_both_forms_that_the_registry_has(text: str) -> None:
    assert recipe.suggestions_of(text) == ({"num_train_epochs": "1", "apply_lora": "true"}, "")


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "{'a': open('/etc/passwd').read()}",
        "[1, 2]",
        "3",
        "not a table",
        "{'a': 1",
        "{" * 500,
        "x" * (recipe.SUGGESTIONS_LENGTH_MAX + 1),
        "(" * recipe.SUGGESTIONS_LENGTH_MAX,
        "-" * (recipe.SUGGESTIONS_LENGTH_MAX - 1) + "1",
        "[" * recipe.SUGGESTIONS_LENGTH_MAX,
        "{'n': 1" + "0" * 5000 + "}",
        "\0",
    ],
    ids=lambda text: f"{text[:24]!r} {len(text)}",
)
def test_a_tag_that_is_no_table_is_ignored_and_said(text: str) -> None:
    values, note = recipe.suggestions_of(text)

    assert values == {}
    assert note.endswith("ignored.")


def test_a_missing_tag_is_nothing_to_tell() -> None:
    assert recipe.suggestions_of("") == ({}, "")


def test_of_a_tag_only_plain_values_are_taken() -> None:
    assert recipe.suggestions_of("{'a': 1, 'b': [1], 'c': {'d': 2}, 'e': None, 4: 'x'}") == ({"a": "1", "4": "x"}, "")


@given(st.text() | st.text(alphabet="{}[]()'\":,0123456789-ab \\", max_size=60))
def test_no_tag_makes_the_reader_fail(text: str) -> None:
    values, note = recipe.suggestions_of(text)

    assert all(isinstance(value, str) for value in values.values())
    assert not (values and note)


@pytest.mark.parametrize(
    "text",
    [
        "{'a': 1, 'b': 0x" + "f" * 9_000 + "}",
        '{"a": 1, "b": "\\ud800"}',
        '{"a": 1, "\\ud800": 2}',
        '{"a": 1, "b": "x\\ny"}',
        "{'a': 1, 'b\\x1b': 2}",
    ],
    ids=["thousands of digits", "half a pair", "half a pair in a name", "two lines", "a terminal's code"],
)
def test_a_suggestion_that_no_job_can_be_given_is_left_out(text: str) -> None:
    assert recipe.suggestions_of(text) == ({"a": "1"}, "")


HOSTILE_TAGS = """
import resource, sys, time, warnings
warnings.simplefilter("ignore")
from shared.domain.recipe import SUGGESTIONS_LENGTH_MAX, suggestions_of
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pairs = [("-", ""), ("~", ""), ("not ", ""), ("(", ")"), ("[", "]"), ("{1:", "}"), ("1+1j+", ""), ("1**", ""), ("a.", ""), ("x[", "]"),
         ("x(", ")"), ("lambda:", ""), ("1 if 1 else ", ""), ("f'{", "}'"), ("'a' ", "'b' "), ("{**", "}"), ("*", ""),
         ("1<", ""), ("(yield ", ")")]
slowest = 0.0
for left, right in pairs:
    times = (SUGGESTIONS_LENGTH_MAX - 20) // len(left + right)
    for text in (left * times + "1" + right * times, "{'a': " + left * times + "1" + right * times + "}", left * times):
        began = time.perf_counter()
        suggestions_of(text)
        slowest = max(slowest, time.perf_counter() - began)
print(slowest, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="memory is measured with the module resource")
def test_the_worst_tags_cost_neither_the_process_nor_a_second_nor_much_memory() -> None:
    """In a process of its own: what overflows the C stack would end this one."""
    done = subprocess.run([sys.executable, "-c", HOSTILE_TAGS], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    seconds, megabytes = map(float, done.stdout.split())

    assert seconds < 2
    assert megabytes < 300


@pytest.mark.parametrize("value", ["\ud800", "linear\n", "a\x1b[31m", "\u2028"], ids=ascii)
def test_a_wish_that_cannot_be_printed_is_refused_by_its_name(value: str) -> None:
    assert "report_to must hold printable" in refusal(report_to=value)


@pytest.mark.parametrize("end", ["learning_rate_min", "learning_rate_max"])
@pytest.mark.parametrize("value", ["low", "", "1e-6 to 1e-5", True])
def test_a_range_that_is_no_number_is_no_range(end: str, value: object) -> None:
    assert resolved(suggesting({end: value})).parameters["learning_rate"] == recipe.SEED_PARAMETERS["learning_rate"]


def test_half_a_range_is_held_and_the_sentence_does_not_say_nan() -> None:
    with pytest.raises(Rejected) as refused:
        resolved(suggesting({"learning_rate_max": 1e-7}))

    assert "nan" not in str(refused.value)


def test_a_suggestion_that_cannot_be_passed_stops_with_what_to_do() -> None:
    with pytest.raises(Stop) as stopped:
        resolved(suggesting({"warmup_ratio": "some"}))

    assert "warmup_ratio" in str(stopped.value)
    assert stopped.value.next_action


# ------------------------------------------------------------------------------------------------------------- identity


def test_compute_and_display_name_are_no_part_of_what_a_training_is() -> None:
    moved = resolved(msgspec.structs.replace(CATALOGUE, compute=None, instance_type="Standard_ND96asr_v4", gpus=8))

    assert moved.frozen == resolved().frozen
    assert moved.display_name != resolved().display_name


@pytest.mark.parametrize("field", ["component_id", "model_id"])
def test_another_version_of_component_or_base_model_is_another_training(field: str) -> None:
    newer = msgspec.structs.replace(CATALOGUE, **{field: "azureml://registries/azureml/x/versions/99"})

    assert resolved(newer).frozen != resolved().frozen


@pytest.mark.parametrize(
    ("parameters", "gpus", "name"),
    [
        (recipe.SEED_PARAMETERS, 1, "Phi-3-shop-bs1-cosine-ds2-lora-save_limit-1-seqlen-1"),
        (recipe.SEED_PARAMETERS, 8, "Phi-3-shop-bs8-cosine-ds2-lora-save_limit-1-seqlen-1"),
        ({"per_device_train_batch_size": "4", "gradient_accumulation_steps": "2", "num_nodes_finetune": "2"}, 2,
         "Phi-3-shop-bs32-linear-nods-nolora-save_limit-1-seqlen-1"),
        ({"apply_deepspeed": "true", "deepspeed_stage": "3", "save_total_limit": "1", "max_seq_length": "2048"}, 1,
         "Phi-3-shop-bs1-linear-ds3-nolora-save_limit1-seqlen2048"),
    ],
    ids=["seed example", "eight GPUs", "every factor of the batch", "stage 3 and limits"],
)  # fmt: skip
def test_the_display_name_has_the_form_of_the_seed_example(parameters: dict[str, str], gpus: int, name: str) -> None:
    assert recipe.display_name("Phi-3", "shop", parameters, gpus=gpus) == name


def test_a_recipe_survives_the_ledger() -> None:
    found: Any = msgspec.convert(json.loads(json.dumps(msgspec.to_builtins(resolved()))), Recipe)

    assert found == resolved()
