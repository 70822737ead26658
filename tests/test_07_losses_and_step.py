"""Sections 7 and 8: losses by hand, the fused Adam, and what one step does."""

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import image_to_image_translation as pix2pix


def test_cross_entropy_by_hand():
    logits = tf.constant([[0.0, 2.0]])
    real = (math.log(2) + math.log(1 + math.exp(-2))) / 2
    fake = (math.log(2) + math.log(1 + math.exp(2))) / 2
    assert float(pix2pix.cross_entropy(logits, real=True)) == pytest.approx(real, abs=1e-6)
    assert float(pix2pix.cross_entropy(logits, real=False)) == pytest.approx(fake, abs=1e-6)


def test_losses_by_hand():
    target = tf.constant([1.0, -1.0, 0.5, 0.0])
    generated = tf.constant([0.5, -1.0, 1.0, 1.0])  # |differences| 0.5, 0, 0.5, 1: mean 0.5
    losses = pix2pix.generator_losses(target, generated, tf.zeros([1, 2, 2, 1]), 100.0)
    values = {name: float(loss) for name, loss in losses.items()}
    assert values == pytest.approx(
        {"generator_total": math.log(2) + 50, "generator_gan": math.log(2), "generator_l1": 0.5}
    )
    large = tf.fill([1, 30, 30, 1], 50.0)
    assert float(pix2pix.discriminator_loss(large, -large)) == pytest.approx(0, abs=1e-6)
    assert float(pix2pix.discriminator_loss(-large, large)) == pytest.approx(50)
    assert float(pix2pix.discriminator_loss(large, large)) == pytest.approx(25)  # half of the sum


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
    losses = pix2pix.train_step(run, *batch, 100.0)
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
    graph = pix2pix.train_step.get_concrete_function(run, *batch, 100.0).graph
    assert [operation.type for operation in graph.get_operations()].count("Tanh") == 1
    sums = [len(op.inputs) for op in graph.get_operations() if op.type == "AddN"]
    assert max(sums) <= 3  # the four of the general cross-entropy came in an order of their own
    traces = pix2pix.train_step.experimental_get_tracing_count()
    for _ in range(3):
        pix2pix.train_step(run, *batch, 100.0)
    assert pix2pix.train_step.experimental_get_tracing_count() == traces


def test_xla_computes_the_same(small, batch):
    compiled = tf.function(pix2pix.train_step.python_function, jit_compile=True)
    plain, xla = (pix2pix.new_run(small) for _ in range(2))
    for layer in [*plain.generator.layers, *xla.generator.layers]:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0  # XLA draws its random numbers in its own way
    for _ in range(3):
        ours, theirs = pix2pix.train_step(plain, *batch, 100.0), compiled(xla, *batch, 100.0)
    for name in ours:
        assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-3), name
