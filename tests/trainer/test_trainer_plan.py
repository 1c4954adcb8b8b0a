"""What is asked in Azure's words becomes a plan that a tiny model can learn by, and the same plan each time."""

from __future__ import annotations

import numpy as np
import pytest

from localcloud.trainer import chat, errors, plan, training


def rows(count: int, length: int) -> list[chat.Row]:
    ids = np.arange(length) + 7
    return [chat.Row(inputs=ids, targets=ids, truncated=False) for _ in range(count)]


def dataset(count: int, length: int) -> chat.Dataset:
    return chat.Dataset(rows=rows(count, length), dropped=0, truncated=0)


def schedule(inputs: plan.Inputs, data: chat.Dataset) -> training.Schedule:
    return training.Schedule(plan.resolve(inputs, data), data.rows, np.random.default_rng(1))


def test_azures_strings_become_values() -> None:
    inputs = plan.read({"apply_lora": "true", "learning_rate": "5e-06", "num_train_epochs": "3", "precision": "16"})

    assert (inputs.apply_lora, inputs.learning_rate, inputs.num_train_epochs) == (True, 5e-6, 3)


@pytest.mark.parametrize(
    "given",
    [
        {"learning_rate": "nan"},
        {"learning_rate": "-1"},
        {"num_train_epochs": "0"},
        {"num_train_epochs": "1.5"},
        {"apply_lora": "yes"},
        {"lr_scheduler_type": "bogus"},
        {"max_steps": "inf"},
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(given: dict[str, str]) -> None:
    with pytest.raises(errors.UserError, match=next(iter(given))):
        plan.read(given)


def test_every_factor_of_the_stand_in_is_a_parameter() -> None:
    factors = dict(plan.resolve(plan.Inputs(apply_lora=True), dataset(50, 40)).params())

    assert all(name.startswith("standin") for name in factors)
    assert {"standin_learning_rate_scale", "standin_epochs", "standin_modules_to_save", "standin_tokens_max"} <= set(factors)


def test_a_small_dataset_is_repeated_a_bounded_number_of_times() -> None:
    planned = plan.resolve(plan.Inputs(num_train_epochs=3), dataset(50, 40))

    assert planned.repeats == plan.PASSES_MAX // 3


def test_a_large_dataset_ends_at_the_budget_of_tokens() -> None:
    data = dataset(8_000, 200)
    batches = schedule(plan.Inputs(num_train_epochs=3), data).batches

    assert sum(200 * len(batch) for batch in batches) <= plan.TOKENS_BUDGET


def test_max_steps_are_obeyed_exactly() -> None:
    assert len(schedule(plan.Inputs(max_steps=5), dataset(500, 40)).batches) == 5
    assert len(schedule(plan.Inputs(max_steps=700), dataset(12, 10)).batches) == 700


def test_every_row_is_read_in_every_repeat() -> None:
    data = dataset(50, 40)
    planned = plan.resolve(plan.Inputs(num_train_epochs=2), data)
    read = [place for batch in schedule(plan.Inputs(num_train_epochs=2), data).batches for place in batch]

    assert sorted(read) == sorted([*range(50)] * planned.repeats * 2)


def test_epochs_count_as_they_were_asked() -> None:
    inputs = plan.Inputs(num_train_epochs=3)
    made = schedule(inputs, dataset(50, 40))

    assert made.epoch(0) == 0
    assert made.epoch(len(made.batches)) == pytest.approx(3)
    assert len(made.evaluations(inputs)) == 3
