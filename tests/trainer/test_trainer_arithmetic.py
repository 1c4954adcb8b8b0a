"""The hand-written backward pass and the cached reply agree with the plain forward pass."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from localcloud.trainer import batches, calibration, chat, generation, model, optimizer, tuning
from localcloud.trainer.shape import Shape

SMALL = Shape(vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=24)
RNG_SEED = 7

Array = npt.NDArray[np.float32]


def small_weights() -> dict[str, Array]:
    rng = np.random.default_rng(RNG_SEED)
    return {name: (rng.standard_normal(size) * 0.4 + (len(size) == 1)).astype(np.float32) for name, size in SMALL.tensor_shapes().items()}


def small_batch() -> tuple[chat.Ids, chat.Ids]:
    rng = np.random.default_rng(RNG_SEED)
    inputs = rng.integers(0, 40, (3, 9))
    targets = rng.integers(0, 40, (3, 9))
    targets[:, :3] = chat.NOT_LEARNED
    targets[1, 6:] = chat.NOT_LEARNED
    return inputs, targets


def slope(weights: dict[str, Array], name: str, direction: Array) -> float:
    """Numerical derivative of the loss along a direction."""
    size = 2e-3
    ahead = model.evaluate({**weights, name: weights[name] + np.float32(size) * direction}, SMALL, *small_batch()).loss
    behind = model.evaluate({**weights, name: weights[name] - np.float32(size) * direction}, SMALL, *small_batch()).loss
    return (ahead - behind) / (2 * size)


@pytest.mark.parametrize("name", SMALL.tensor_shapes())
def test_each_gradient_is_the_slope_of_the_loss(name: str) -> None:
    weights = small_weights()
    full = tuning.FullTuning(weights)
    model.learn(weights, SMALL, small_batch(), full)
    gradient = full.gradients[name]
    direction = (gradient / np.linalg.norm(gradient)).astype(np.float32)

    assert slope(weights, name, direction) == pytest.approx(float(np.linalg.norm(gradient)), rel=0.02)


def test_an_adapter_gets_the_gradient_of_the_matrix_that_it_changes() -> None:
    """By the chain rule from the full gradient G: dB = s * G @ A.T and dA = s * B.T @ G."""
    lora = tuning.LoraTuning(small_weights(), rank=3, alpha=6, also=(), rng=np.random.default_rng(1))
    for name, values in lora.trained.items():
        if name.endswith("lora_B"):
            values[:] = np.random.default_rng(2).standard_normal(values.shape).astype(np.float32)
    weights = lora.weights()
    full = tuning.FullTuning(weights)
    model.learn(weights, SMALL, small_batch(), full)
    model.learn(weights, SMALL, small_batch(), lora)
    name = "model.layers.0.mlp.gate_up_proj.weight"

    down, up = lora.trained[name + ".lora_A"], lora.trained[name + ".lora_B"]
    np.testing.assert_allclose(lora.gradients[name + ".lora_B"], 2 * full.gradients[name] @ down.T, rtol=2e-3, atol=1e-5)
    np.testing.assert_allclose(lora.gradients[name + ".lora_A"], 2 * up.T @ full.gradients[name], rtol=2e-3, atol=1e-5)


def test_adapters_change_nothing_before_the_first_step() -> None:
    weights = small_weights()
    lora = tuning.LoraTuning(weights, rank=3, alpha=6, also=[model.EMBEDDING], rng=np.random.default_rng(1))

    assert all(np.array_equal(lora.weights()[name], values) for name, values in weights.items())


def test_frozen_weights_stay_as_they_are() -> None:
    weights = small_weights()
    lora = tuning.LoraTuning(weights, rank=3, alpha=6, also=[model.EMBEDDING], rng=np.random.default_rng(1))
    model.learn(lora.weights(), SMALL, small_batch(), lora)
    adam = optimizer.AdamW(lora.trained, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0)
    adam.step(lora.gradients, 0.01)
    after = lora.weights()

    assert np.array_equal(after[model.FINAL_NORM], weights[model.FINAL_NORM])
    assert not np.array_equal(after[model.EMBEDDING], weights[model.EMBEDDING])


def test_padding_changes_no_loss() -> None:
    rng = np.random.default_rng(3)
    rows = [chat.Row(inputs=rng.integers(7, 40, n), targets=rng.integers(7, 40, n), truncated=False) for n in (4, 9, 6)]
    together = model.evaluate(small_weights(), SMALL, *batches.padded(rows, [0, 1, 2]))
    alone = [model.evaluate(small_weights(), SMALL, *batches.padded(rows, [place])) for place in range(3)]

    assert together.loss == pytest.approx(sum(one.loss * one.tokens for one in alone) / 19, rel=1e-5)


def test_a_reply_with_kept_keys_is_the_reply_of_reading_everything_again() -> None:
    weights = small_weights()
    prompt = [9, 12, 30, 8]
    reply = generation.reply(weights, SMALL, prompt, generation.Wish(tokens_max=10))
    assert reply
    for length, token in enumerate(reply):
        ids = np.array([prompt + reply[:length]])
        targets = np.full_like(ids, chat.NOT_LEARNED)
        targets[0, -1] = token
        assert model.evaluate(weights, SMALL, ids, targets).correct == 1


def test_a_conversation_longer_than_the_positions_still_gets_a_reply() -> None:
    reply = generation.reply(small_weights(), SMALL, [9, 12, 30] * 20, generation.Wish(tokens_max=5))

    assert len(reply) <= 5


def test_a_sampled_reply_is_the_same_for_the_same_seed() -> None:
    wish = generation.Wish(tokens_max=12, sampled=True, temperature=2.0, top_p=0.95, seed=4)

    assert generation.reply(small_weights(), SMALL, [9, 12], wish) == generation.reply(small_weights(), SMALL, [9, 12], wish)


def test_the_first_adam_step_has_the_size_of_the_rate() -> None:
    parameters = {"matrix": np.zeros((2, 2), np.float32)}
    adam = optimizer.AdamW(parameters, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0)
    adam.step({"matrix": np.array([[3.0, -0.5], [1e-3, 7.0]], np.float32)}, 0.1)

    np.testing.assert_allclose(parameters["matrix"], [[-0.1, 0.1], [-0.1, -0.1]], rtol=1e-3)


def test_clipping_shortens_all_gradients_together() -> None:
    gradients = {"a": np.array([3.0], np.float32), "b": np.array([4.0], np.float32)}

    assert optimizer.clip(gradients, 1.0) == pytest.approx(5.0)
    assert [float(gradients[name][0]) for name in "ab"] == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize(
    ("kind", "step", "expected"),
    [("cosine", 50, 0.5), ("cosine", 100, 0.0), ("linear", 25, 0.75), ("constant", 99, 1.0), ("polynomial", 0, 1.0)],
)
def test_a_schedule_gives_its_part_of_the_rate(kind: str, step: int, expected: float) -> None:
    assert optimizer.scheduled(kind, step, 100, 0) == pytest.approx(expected)


def test_warmup_rises_to_the_whole_rate() -> None:
    assert [optimizer.scheduled("constant_with_warmup", step, 100, 4) for step in (0, 2, 4)] == [0.0, 0.5, 1.0]


def test_the_best_temperature_is_found_where_the_loss_has_its_valley() -> None:
    found = calibration.best_temperature(lambda temperature: (1 / temperature - 1 / 2.2) ** 2)

    assert found == pytest.approx(2.2, rel=0.06)
    assert math.isfinite(found)
