"""Sections 7 and 8: losses by hand, the fused Adam, and what one step does."""

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import image_to_image_translation as pix2pix


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
    config = pix2pix.Train(gan_loss=kind)
    real, generated = tf.constant([[2.0, 2.0]]), tf.constant([[0.5, 0.5]])
    of_discriminator = pix2pix.discriminator_loss(real, generated, config)
    assert float(of_discriminator) == pytest.approx((of_real + of_generated) / 2, abs=1e-6)
    nothing = tf.zeros([3])
    losses = pix2pix.generator_losses(nothing, nothing, generated, config)
    assert float(losses["generator_gan"]) == pytest.approx(of_generator, abs=1e-6)


def test_losses_by_hand():
    config = pix2pix.Train()
    target = tf.constant([1.0, -1.0, 0.5, 0.0])
    generated = tf.constant([0.5, -1.0, 1.0, 1.0])  # |differences| 0.5, 0, 0.5, 1: mean 0.5
    losses = pix2pix.generator_losses(target, generated, tf.zeros([1, 2, 2, 1]), config)
    values = {name: float(loss) for name, loss in losses.items()}
    assert values == pytest.approx(
        {"generator_total": math.log(2) + 50, "generator_gan": math.log(2), "generator_l1": 0.5}
    )
    large = tf.fill([1, 30, 30, 1], 50.0)
    assert float(pix2pix.discriminator_loss(large, -large, config)) == pytest.approx(0, abs=1e-6)
    assert float(pix2pix.discriminator_loss(-large, large, config)) == pytest.approx(50)
    both = pix2pix.discriminator_loss(large, large, config)
    assert float(both) == pytest.approx(25)  # half of the sum


def test_the_fused_adam_is_adam():
    start = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    ours, keras_own = keras.Variable(start), keras.Variable(start)
    optimizers = pix2pix.Adam(1e-2, 0.5), keras.optimizers.Adam(1e-2, 0.5)
    for weight, optimizer in zip((ours, keras_own), optimizers, strict=True):
        optimizer.build([weight])
    for step in range(20):
        gradient = np.random.default_rng(step + 1).normal(size=(5, 3)).astype(np.float32)
        optimizers[0].apply([tf.constant(gradient)])
        optimizers[1].apply([tf.constant(gradient)])
    assert np.abs(ours.numpy() - start).max() > 0.01
    np.testing.assert_allclose(ours.numpy(), keras_own.numpy(), atol=1e-6)


@pytest.fixture
def batch() -> tuple[tf.Tensor, tf.Tensor]:
    return tuple(tf.random.stateless_uniform([2, 2, 32, 32, 3], [1, 2], minval=-1))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_updates_both_networks_and_returns_the_losses(small, batch, precision):
    run = pix2pix.new_run(dataclasses.replace(small, precision=precision))
    networks = run.generator, run.discriminator
    before = [[weight.numpy() for weight in network.trainable_variables] for network in networks]
    losses = pix2pix.train_step(run, *batch, small)
    assert tuple(losses) == pix2pix.LOSSES
    assert all(loss.shape == () and loss.dtype == tf.float32 for loss in losses.values())
    assert float(losses["generator_total"]) == pytest.approx(
        float(losses["generator_gan"]) + 100 * float(losses["generator_l1"]), rel=1e-5
    )
    for network, old in zip(networks, before, strict=True):
        for weight, value in zip(network.trainable_variables, old, strict=True):
            assert weight.dtype == "float32"
            assert not np.array_equal(weight.numpy(), value), weight.path
    assert int(run.step) == int(run.generator_optimizer.iterations) == 1
    assert {name: float(total) for name, total in run.loss_sums.items()} == pytest.approx(
        {name: float(loss) for name, loss in losses.items()}
    )


def test_a_step_runs_the_generator_once_and_is_traced_once(small, batch):
    run = pix2pix.new_run(small)
    graph = pix2pix.train_step.get_concrete_function(run, *batch, small).graph
    assert [operation.type for operation in graph.get_operations()].count("Tanh") == 1
    sums = [len(op.inputs) for op in graph.get_operations() if op.type == "AddN"]
    assert max(sums) <= 3  # the four of the general cross-entropy came in an order of their own
    traces = pix2pix.train_step.experimental_get_tracing_count()
    for _ in range(3):
        pix2pix.train_step(run, *batch, small)
    assert pix2pix.train_step.experimental_get_tracing_count() == traces


def test_xla_computes_the_same(small, batch):
    compiled = tf.function(pix2pix.train_step.python_function, jit_compile=True)
    plain, xla = (pix2pix.new_run(small) for _ in range(2))
    for layer in [*plain.generator.layers, *xla.generator.layers]:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0  # XLA draws its random numbers in its own way
    for _ in range(3):
        ours, theirs = pix2pix.train_step(plain, *batch, small), compiled(xla, *batch, small)
    for name in ours:
        assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-3), name


def test_average_weights_follow_the_generator(small, batch):
    config = dataclasses.replace(small, average_weights=0.9)
    run = pix2pix.new_run(config)
    assert run.average is not run.generator
    expected = [weight.numpy() for weight in run.generator.weights]
    for step in range(1, 21):
        pix2pix.train_step(run, *batch, config)
        decay = min(0.9, (1 + step) / (10 + step))
        for k, weight in enumerate(run.generator.weights):
            expected[k] = decay * expected[k] + (1 - decay) * weight.numpy()
    for ours, theirs in zip(run.average.weights, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)
    differ = np.abs(run.average.weights[0].numpy() - run.generator.weights[0].numpy()).max()
    assert differ > 1e-4
    assert pix2pix.new_run(small).average is not None
    without = pix2pix.new_run(small)
    assert without.average is without.generator


def test_averaging_does_not_change_the_training(small, batch):
    config = dataclasses.replace(small, average_weights=0.9)
    plain, averaged = pix2pix.new_run(small), pix2pix.new_run(config)
    for _ in range(3):
        ours = pix2pix.train_step(plain, *batch, small)
        theirs = pix2pix.train_step(averaged, *batch, config)
    assert {k: float(v) for k, v in ours.items()} == {k: float(v) for k, v in theirs.items()}


@pytest.mark.parametrize("kind", ["least-squares", "hinge"])
def test_the_other_losses_train_both_networks(small, batch, kind):
    config = dataclasses.replace(small, gan_loss=kind)
    run = pix2pix.new_run(config)
    kernels = [w for w in [*run.generator.weights, *run.discriminator.weights] if w.ndim == 4]
    before = [kernel.numpy() for kernel in kernels]
    for _ in range(2):
        losses = pix2pix.train_step(run, *batch, config)
    assert all(np.isfinite(float(loss)) for loss in losses.values())
    assert all(np.any(k.numpy() != b) for k, b in zip(kernels, before, strict=True))


def test_the_learning_rate_falls_to_zero_in_a_line():
    config = pix2pix.Train(steps=100, learning_rate=0.2, learning_rate_decay_from=60)
    rates = {step: pix2pix.learning_rate(config, step) for step in (0, 59, 60, 70, 80, 99, 100)}
    assert rates == pytest.approx(
        {0: 0.2, 59: 0.2, 60: 0.2, 70: 0.15, 80: 0.1, 99: 0.005, 100: 0.0}
    )
    assert pix2pix.learning_rate(pix2pix.Train(), 39_999) == 2e-4
