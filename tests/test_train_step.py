"""Losses by hand, the fused Adam, and what one step does."""

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_training

import image_to_image_translation as script


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


@pytest.mark.parametrize(
    ("kind", "of_real", "of_generated", "of_generator"),
    [
        ("vanilla", softplus(-2), softplus(0.5), softplus(-0.5)),
        ("least-squares", 1.0, 0.25, 0.25),
        ("hinge", 0.0, 1.5, -0.5),
    ],
)
def test_what_verdicts_cost_by_hand(kind, of_real, of_generated, of_generator):
    loss = script.GAN_LOSSES[kind]
    real, generated = tf.constant([[2.0, 2.0]]), tf.constant([[0.5, 0.5]])
    losses = script.discriminator_losses(real, generated, loss)
    assert float(losses["discriminator"]) == pytest.approx((of_real + of_generated) / 2, abs=1e-6)
    assert float(losses["discriminator_real"]) == pytest.approx(of_real, abs=1e-6)
    assert float(losses["discriminator_generated"]) == pytest.approx(of_generated, abs=1e-6)
    nothing = tf.zeros([3])
    losses = script.generator_losses(nothing, nothing, generated, loss, 100.0)
    assert float(losses["generator_gan"]) == pytest.approx(of_generator, abs=1e-6)


def test_losses_by_hand():
    loss = script.GAN_LOSSES["vanilla"]
    target = tf.constant([1.0, -1.0, 0.5, 0.0])
    generated = tf.constant([0.5, -1.0, 1.0, 1.0])  # |differences| 0.5, 0, 0.5, 1: mean 0.5
    losses = script.generator_losses(target, generated, tf.zeros([1, 2, 2, 1]), loss, 100.0)
    values = {name: float(loss) for name, loss in losses.items()}
    assert values == pytest.approx(
        {"generator_total": math.log(2) + 50, "generator_gan": math.log(2), "generator_l1": 0.5}
    )
    large = tf.fill([1, 30, 30, 1], 50.0)
    for real, made, half in ((large, -large, 0), (-large, large, 50), (large, large, 25)):
        losses = script.discriminator_losses(real, made, loss)
        assert float(losses["discriminator"]) == pytest.approx(half, abs=1e-6)  # half of the sum


def test_how_often_the_discriminator_is_right():
    real, generated = tf.constant([[[[3.0], [0.4]]]]), tf.constant([[[[-1.0], [0.2]]]])
    for kind, share in (("vanilla", 3 / 4), ("hinge", 3 / 4), ("least-squares", 3 / 4)):
        losses = script.discriminator_losses(real, generated, script.GAN_LOSSES[kind])
        assert float(losses["discriminator_right"]) == share


@pytest.fixture
def batch() -> tuple[tf.Tensor, tf.Tensor]:
    return tuple(tf.random.stateless_uniform([2, 2, 32, 32, 3], [1, 2], minval=-1))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_updates_both_networks_and_returns_the_losses(small, batch, precision):
    training = make_training(dataclasses.replace(small, precision=precision))
    networks = training.networks.values()
    before = [[weight.numpy() for weight in network.trainable_variables] for network in networks]
    losses = script.train_step(training, *batch)
    assert list(losses) == list(script.LOSSES)
    assert all(loss.shape == () and loss.dtype == tf.float32 for loss in losses.values())
    assert float(losses["generator_total"]) == pytest.approx(
        float(losses["generator_gan"]) + 100 * float(losses["generator_l1"]), rel=1e-5
    )
    for network, old in zip(networks, before, strict=True):
        for weight, value in zip(network.trainable_variables, old, strict=True):
            assert weight.dtype == "float32"
            assert not np.array_equal(weight.numpy(), value), weight.path
    assert training.step == 1
    assert [int(each.iterations) for each in training.optimizers.values()] == [1, 1]
    assert training.mean_losses() == pytest.approx(
        {name: float(loss) for name, loss in losses.items()}
    )


def test_a_step_runs_the_generator_once_and_is_compiled_once(small, batch):
    training = make_training(small)
    script.train_step(training, *batch)
    compiled = script.train_step.experimental_get_tracing_count()
    drawn = [seed.numpy() for seed in training.noise]
    training.generator(batch[0], training=True)
    once = [seed.numpy() - before for seed, before in zip(training.noise, drawn, strict=True)]
    for _ in range(3):
        drawn = [seed.numpy() for seed in training.noise]
        script.train_step(training, *batch)
        ours = [seed.numpy() - before for seed, before in zip(training.noise, drawn, strict=True)]
        np.testing.assert_array_equal(ours, once)
    assert script.train_step.experimental_get_tracing_count() == compiled


def test_no_sum_is_added_up_in_an_order_of_its_own(small, batch):
    # TensorFlow adds up more than three terms as they come: two runs would differ in the last bit.
    graph = script.train_step.get_concrete_function(make_training(small), *batch).graph
    sums = [len(each.inputs) for each in graph.get_operations() if each.type == "AddN"]
    assert sums
    assert max(sums) <= 3


def test_xla_computes_the_same(small, batch):
    compiled = tf.function(script.train_step.python_function, jit_compile=True)
    plain, xla = make_training(small), make_training(small)
    for layer in [*plain.generator.layers, *xla.generator.layers]:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0  # XLA draws its random numbers in its own way
    for _ in range(3):
        ours, theirs = script.train_step(plain, *batch), compiled(xla, *batch)
    for name in ours:
        assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-3), name


def test_average_weights_follow_the_generator(small, batch):
    config = dataclasses.replace(small, average_weights=0.9)
    training = make_training(config)
    assert training.average is not training.generator
    expected = [weight.numpy() for weight in training.generator.weights]
    for step in range(1, 21):
        script.train_step(training, *batch)
        decay = min(0.9, (1 + step) / (10 + step))
        for k, weight in enumerate(training.generator.weights):
            expected[k] = decay * expected[k] + (1 - decay) * weight.numpy()
    for ours, theirs in zip(training.average.weights, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)
    differ = np.abs(
        training.average.weights[0].numpy() - training.generator.weights[0].numpy()
    ).max()
    assert differ > 1e-4
    without = make_training(small)
    assert without.average is not None
    assert without.average is without.generator


def test_averaging_does_not_change_the_training(small, batch):
    config = dataclasses.replace(small, average_weights=0.9)
    plain, averaged = make_training(small), make_training(config)
    for _ in range(3):
        ours = script.train_step(plain, *batch)
        theirs = script.train_step(averaged, *batch)
    assert {k: float(v) for k, v in ours.items()} == {k: float(v) for k, v in theirs.items()}


@pytest.mark.parametrize("kind", ["least-squares", "hinge"])
def test_the_other_losses_train_both_networks(small, batch, kind):
    config = dataclasses.replace(small, gan_loss=kind)
    training = make_training(config)
    weights = [each for network in training.networks.values() for each in network.weights]
    kernels = [weight for weight in weights if weight.ndim == 4]
    before = [kernel.numpy() for kernel in kernels]
    for _ in range(2):
        losses = script.train_step(training, *batch)
    assert all(np.isfinite(float(loss)) for loss in losses.values())
    assert all(np.any(k.numpy() != b) for k, b in zip(kernels, before, strict=True))
