"""Sections 5 and 6: the generator and the discriminator are the paper's."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import image_to_image_translation as pix2pix


def count(weights: list) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)


def test_the_full_size_networks():
    generator = pix2pix.build_generator(pix2pix.Train())
    assert count(generator.trainable_variables) == 54_413_955
    assert generator.input_shape == generator.output_shape == (None, 256, 256, 3)
    discriminator = pix2pix.build_discriminator(pix2pix.Train())
    assert count(discriminator.trainable_variables) == 2_768_705
    assert discriminator.output_shape == (None, 30, 30, 1)

    down = [layer for layer in generator.layers if type(layer) is keras.layers.Conv2D]
    up = [layer for layer in generator.layers if type(layer) is keras.layers.Conv2DTranspose]
    assert [layer.filters for layer in down] == [64, 128, 256, 512, 512, 512, 512, 512]
    assert [layer.filters for layer in up] == [512, 512, 512, 512, 256, 128, 64, 3]
    assert [layer.use_bias for layer in [*down, *up]] == [False] * 15 + [True]
    assert down[-1].output.shape == (None, 1, 1, 512)
    kernels = np.concatenate([layer.kernel.numpy().ravel() for layer in [*down, *up]])
    assert abs(kernels.mean()) < 1e-4
    assert abs(kernels.std() - 0.02) < 1e-4


@pytest.mark.parametrize(("size", "depth"), [(32, 5), (64, 6), (512, 9)])
def test_depth_follows_the_image_size(size, depth):
    config = pix2pix.Train(image_size=size, generator_filters=2, discriminator_filters=2)
    generator = pix2pix.build_generator(config)
    assert generator.output_shape == (None, size, size, 3)
    assert sum(type(layer) is keras.layers.Conv2D for layer in generator.layers) == depth
    assert sum(type(layer) is keras.layers.Dropout for layer in generator.layers) == 3
    assert pix2pix.build_discriminator(config).output_shape == (
        None,
        size // 8 - 2,
        size // 8 - 2,
        1,
    )


def test_a_patch_sees_70_by_70_pixels(monkeypatch):
    # Instance statistics see the whole picture, so they are left out for this look at the wiring.
    monkeypatch.setattr(pix2pix, "normalisation", keras.layers.Identity)
    discriminator = pix2pix.build_discriminator(pix2pix.Train(discriminator_filters=4))
    image = tf.Variable(tf.random.stateless_normal([1, 256, 256, 3], [0, 0]))
    with tf.GradientTape() as tape:
        logit = discriminator([tf.zeros_like(image), image])[0, 15, 12, 0]
    rows, columns = np.nonzero(np.abs(tape.gradient(logit, image)[0]).sum(-1))
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (70, 70)


def test_every_weight_learns(small):
    run = pix2pix.new_run(dataclasses.replace(small, image_size=64))
    source, target = tf.random.stateless_uniform([2, 1, 64, 64, 3], [1, 2], minval=-1)
    with tf.GradientTape(persistent=True) as tape:
        generated = run.generator(source, training=True)
        logits = run.discriminator([source, generated], training=True)
        losses = pix2pix.generator_losses(target, generated, logits, 100.0)
        discriminator = pix2pix.discriminator_loss(run.discriminator([source, target]), logits)
    for network, loss in (
        (run.generator, losses["generator_total"]),
        (run.discriminator, discriminator),
    ):
        gradients = tape.gradient(loss, [weight.value for weight in network.trainable_variables])
        learning = [np.any(np.abs(gradient) > 0) for gradient in gradients]
        assert len(learning) > 8
        assert all(learning), network.name


def test_a_result_does_not_depend_on_the_others_of_its_batch(small):
    generator = pix2pix.build_generator(small)
    sources = tf.random.stateless_uniform([4, 32, 32, 3], [5, 6], minval=-1)
    together = pix2pix.generate(generator, sources)
    alone = tf.concat([pix2pix.generate(generator, source[None]) for source in sources], axis=0)
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_array_equal(together, pix2pix.generate(generator, sources))  # no dropout


def test_dropout_is_noise_only_in_training(small):
    generator = pix2pix.build_generator(small)
    source = tf.random.stateless_uniform([1, 32, 32, 3], [5, 6], minval=-1)
    first, second = (generator(source, training=True) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
