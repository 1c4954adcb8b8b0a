"""Names that Azure accepts, for any text; the same for ever, and different for different things."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.domain import names

pytestmark = pytest.mark.light

OWNER = "0d9e4a7e-6c5f-4f0e-9f0a-2f6f6f0a0001"
TRAINING = "0123456789ab"
# Azure ML, resource-name rules: endpoint and deployment names, 3 to 32 characters; job and model names, up to 255
ENDPOINT = re.compile(r"[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?", re.ASCII)
DEPLOYMENT = ENDPOINT
ASSET = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,254}", re.ASCII)
CONTAINER_PATH = re.compile(r"[a-z0-9/.-]+", re.ASCII)
SERVICES = st.text(alphabet=st.characters(), max_size=60) | st.from_regex(r"[-_. A-Za-z0-9ßäŻ文]{0,40}", fullmatch=True)
HEX12 = st.text("0123456789abcdef", min_size=12, max_size=12)


@pytest.mark.parametrize(
    ("service", "slug"),
    [
        ("support-bot", "support-bot"),
        ("Support Bot", "support-bot"),
        ("rows.jsonl", "rows"),
        ("rows.parquet", "rows"),
        ("Größe & Maß", "groe-ma"),
        ("2026", "s-2026"),
        ("文", "s"),
        ("--", "s"),
        ("a" * 40, "a" * 20),
        ("abcdefghijklmnopqrs-tuvw", "abcdefghijklmnopqrs"),
    ],
)
def test_a_slug_is_the_readable_part_of_a_services_text(service: str, slug: str) -> None:
    assert names.slug(service) == slug


@given(SERVICES)
@example("")
@example("-")
@example("\ud800")
@example("9" * 30)
@example("a" * 19 + "-b")
def test_any_service_gets_an_endpoint_name_that_azure_accepts(service: str) -> None:
    name = names.endpoint(OWNER, service)

    assert ENDPOINT.fullmatch(name)
    assert 3 <= len(name) <= 32
    assert name == names.endpoint(OWNER, service)


@given(SERVICES, SERVICES)
@example("Shop", "shop")
@example("shop", "shop.jsonl")
@example("é", "e\u0301")
@example("a" * 30, "a" * 31)
def test_services_that_differ_in_a_single_character_have_endpoints_of_their_own(one: str, other: str) -> None:
    assert (names.endpoint(OWNER, one) == names.endpoint(OWNER, other)) == (one == other)


def test_two_installations_never_ask_for_the_same_endpoint() -> None:
    assert names.endpoint(OWNER, "shop") != names.endpoint(OWNER[:-1] + "2", "shop")


def test_names_are_what_they_were_in_the_first_release() -> None:
    """Callers hold the endpoint's URL, and a job's name is the lock against paying twice: neither may ever change."""
    assert names.endpoint(OWNER, "support-bot") == "support-bot-81c33808"
    assert names.job(TRAINING, 1) == "ft-0123456789ab-a1"
    assert names.deployment(1, TRAINING) == "d1-01234567"
    assert names.preparation(TRAINING, 1) == "prep-0123456789ab-a1"


@given(st.integers(1, 10**9 - 1), HEX12)
def test_a_deployment_name_is_accepted_up_to_the_billionth(number: int, training: str) -> None:
    name = names.deployment(number, training)

    assert DEPLOYMENT.fullmatch(name)
    assert 3 <= len(name) <= 32


@given(st.integers(1, 999_999), HEX12)
def test_a_job_name_is_accepted_and_tells_its_training(number: int, training: str) -> None:
    name = names.job(training, number)

    assert ASSET.fullmatch(name)
    assert names.training_of_job(name) == training
    assert names.tuning_of_preparation(name) is None


@given(st.integers(1, 999_999), HEX12)
def test_the_name_of_a_job_that_prepares_is_accepted_and_tells_its_tuning(number: int, tuning: str) -> None:
    name = names.preparation(tuning, number)

    assert ASSET.fullmatch(name)
    assert names.tuning_of_preparation(name) == tuning
    assert names.training_of_job(name) is None


@pytest.mark.parametrize(
    "name",
    ["", "ft-0123456789ab", "ft-0123456789ab-a0", "ft-0123456789ab-a01", "ft-0123456789AB-a1", "ft-0123456789ab-a1\n",
     "xft-0123456789ab-a1", "ft-0123456789ab-a1-child", "azureml_0a1b2c", "ft-0123456789ab-a-1", "ft-0123456789ab-a１"],
)  # fmt: skip
def test_a_job_of_any_other_name_is_nobodys(name: str) -> None:
    assert names.training_of_job(name) is None
    assert names.tuning_of_preparation(name.replace("ft-", "prep-")) is None


@given(st.text(alphabet=st.characters()))
def test_no_text_makes_the_parser_of_job_names_fail(text: str) -> None:
    training = names.training_of_job(text)

    assert training is None or text.startswith(f"ft-{training}-a")


@given(SERVICES)
def test_a_model_and_its_folders_have_names_that_azure_accepts(service: str) -> None:
    assert ASSET.fullmatch(names.model("Phi-3-mini-4k-instruct", service))
    for path in (
        names.prepared_folder(OWNER, service, TRAINING, "ab" * 32),
        names.manifests(OWNER, service),
        names.smoke_path(OWNER, service, "d1-01234567"),
    ):
        assert CONTAINER_PATH.fullmatch(path)


@pytest.mark.parametrize(
    ("name", "parts", "others"),
    [
        (names.service_id, (OWNER, "shop"), ("o", "bot")),
        (names.endpoint, (OWNER, "shop"), ("o", "bot")),
        (names.deployment, (1, TRAINING), (2, "ffffffffffff")),
        (names.job, (TRAINING, 1), ("ffffffffffff", 2)),
        (names.preparation, (TRAINING, 1), ("ffffffffffff", 2)),
        (names.model, ("Phi-3-mini-4k-instruct", "shop"), ("Phi-4", "bot")),
        (names.prepared_folder, (OWNER, "shop", TRAINING, "ab"), ("o", "bot", "ffffffffffff", "ac")),
        (names.prepared_by_a_job, ("shop-1/uploads/a", 1), ("shop-1/uploads/b", 2)),
        (names.manifests, (OWNER, "shop"), ("o", "bot")),
        (names.model_folder, (OWNER, "shop", "ft-0123456789ab-a1"), ("o", "bot", "ft-0123456789ab-a2")),
        (names.smoke_path, (OWNER, "shop", "d1-01234567"), ("o", "bot", "d2-01234567")),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_each_thing_has_a_name_of_its_own(name: Callable[..., str], parts: tuple[Any, ...], others: tuple[Any, ...]) -> None:
    """Goal: nothing is written over what belongs to something else. Method: every part of a name is changed alone."""
    changed = [(*parts[:at], other, *parts[at + 1 :]) for at, other in enumerate(others)]

    assert len({name(*given) for given in (parts, *changed)}) == 1 + len(parts)


def test_what_one_service_keeps_lies_in_folders_that_hold_nothing_else() -> None:
    kept = {
        names.prepared_folder(OWNER, "shop", TRAINING, "ab").rpartition("/")[0],
        names.manifests(OWNER, "shop"),
        names.model_folder(OWNER, "shop", TRAINING).rpartition("/")[0],
        names.smoke_path(OWNER, "shop", "d1").rpartition("/")[0],
    }

    assert len(kept) == 4


def test_other_options_rules_or_versions_of_a_sets_files_go_to_another_folder() -> None:
    """Else two versions of a set would be staged into each other, and a new rule would find the files of the old one."""
    given = [("ab", "2"), ("ac", "2"), ("ab", "3"), ("ab", "2", "0x1"), ("ab", "2", "0x1", "0x2"), ("ab", "2", "0x2", "0x1")]

    assert len({names.prepared_folder(OWNER, "shop", TRAINING, *one) for one in given}) == len(given)


FROZEN = {"learning_rate": "5e-06", "component": "azureml://c/versions/1", "model": "azureml://m/versions/2"}


def test_a_training_is_the_same_for_the_same_owner_bytes_and_values_in_any_order() -> None:
    assert names.training_id(OWNER, "abc", FROZEN) == names.training_id(OWNER, "abc", dict(reversed(FROZEN.items())))


@pytest.mark.parametrize(
    ("owner", "dataset", "frozen"),
    [
        (OWNER + "x", "abc", FROZEN),
        (OWNER, "abd", FROZEN),
        (OWNER, "abc", FROZEN | {"learning_rate": "6e-06"}),
        (OWNER, "abc", FROZEN | {"component": "azureml://c/versions/3"}),
        (OWNER, "abc", FROZEN | {"num_train_epochs": "1"}),
        (OWNER, "abc", {}),
    ],
    ids=["owner", "bytes", "value", "component version", "one more input", "no input"],
)
def test_whatever_alters_the_weights_is_another_training(owner: str, dataset: str, frozen: dict[str, str]) -> None:
    assert names.training_id(owner, dataset, frozen) != names.training_id(OWNER, "abc", FROZEN)


def test_a_service_id_is_no_training_id_and_no_upload_id_of_the_same_words() -> None:
    assert len({names.service_id(OWNER, "shop"), names.endpoint(OWNER, "shop"), names.training_id(OWNER, "shop", {})}) == 3
