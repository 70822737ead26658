"""The generator and the discriminator are the paper's."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import settled

import image_to_image_translation as script
from pix2pix.options.checks import check_train
from pix2pix.options.train import Train


def build(options: Train) -> tuple[keras.Model, keras.Model]:
    """The generator and the discriminator for pictures in RGB."""
    return tuple(script.build_networks(options, settled(options)).values())


def build_generator(options: Train) -> keras.Model:
    """The generator alone."""
    return script.build_generator(options, settled(options))


def count(weights: list) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)


def test_the_full_size_networks():
    generator, discriminator = build(Train())
    assert count(generator.trainable_variables) == 54_413_955
    assert generator.input_shape == generator.output_shape == (None, 256, 256, 3)
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


def kinds(network: keras.Model) -> list[type]:
    return [type(layer) for layer in network.layers]


@pytest.mark.parametrize(
    ("options", "depth", "innermost"),
    [
        ({"image_size": 32}, 5, (1, 1)),
        ({"image_size": 64}, 6, (1, 1)),
        ({"image_size": "96x160"}, 5, (3, 5)),
        ({"image_size": "256x512"}, 8, (1, 2)),
        ({"image_size": 512}, 9, (1, 1)),
        ({"image_size": 256, "depth": 6}, 6, (4, 4)),
        ({"image_size": "36x40", "depth": 2}, 2, (9, 10)),
    ],
)
def test_depth_follows_the_image_size(options, depth, innermost):
    config = Train(generator_filters=2, discriminator_filters=2, **options)
    check_train(config)
    height, width = config.picture_size
    generator, discriminator = build(config)
    assert generator.output_shape == (None, height, width, 3)
    down = [layer for layer in generator.layers if type(layer) is keras.layers.Conv2D]
    assert len(down) == depth
    assert down[-1].output.shape[1:3] == innermost
    assert kinds(generator).count(keras.layers.Dropout) == min(3, depth - 1)
    assert discriminator.output_shape == (None, height // 8 - 2, width // 8 - 2, 1)


@pytest.mark.parametrize(("source", "target"), [(1, 3), (3, 1), (4, 4), (1, 4)])
def test_channels_on_both_sides(small, source, target):
    config = dataclasses.replace(small, source_channels=source, target_channels=target)
    generator, discriminator = build(config)
    assert generator.input_shape == (None, 32, 32, source)
    assert generator.output_shape == (None, 32, 32, target)
    assert [tuple(shape) for shape in discriminator.input_shape] == [
        (None, 32, 32, source),
        (None, 32, 32, target),
    ]


@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_upsampling(small, upsampling):
    generator = build_generator(dataclasses.replace(small, upsampling=upsampling))
    assert generator.output_shape == (None, 32, 32, 3)
    resized = kinds(generator).count(keras.layers.UpSampling2D)
    transposed = kinds(generator).count(keras.layers.Conv2DTranspose)
    assert (resized, transposed) == ((5, 0) if upsampling == "resize" else (0, 5))


def test_resizing_makes_no_checkerboard(small):
    # Where every weight and every input is 1, any difference comes from uneven overlap.
    steepness = {}
    for upsampling in ("transposed", "resize"):
        source = keras.Input((8, 8, 1))
        config = dataclasses.replace(small, upsampling=upsampling)
        model = keras.Model(source, script.upsample(source, 1, False, config))
        rng = np.random.default_rng(0)
        model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
        made = np.asarray(model(np.ones((1, 8, 8, 1))))[0, 4:-4, 4:-4, 0]
        steepness[upsampling] = np.ptp(made)
    assert steepness["resize"] < 1e-5 < 0.1 < steepness["transposed"]


@pytest.mark.parametrize("build", [script.downsample, script.upsample])
@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_a_mirrored_border_is_like_the_middle(small, build, upsampling):
    made = {}
    for padding in ("zeros", "reflect"):
        config = dataclasses.replace(small, upsampling=upsampling, padding=padding)
        source = keras.Input((32, 32, 2))
        model = keras.Model(source, build(source, 3, True, config))
        rng = np.random.default_rng(0)
        model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
        pictures = np.stack([np.ones((32, 32, 2)), rng.normal(size=(32, 32, 2))])
        made[padding] = np.asarray(model(pictures))
    inner = np.s_[:, 2:-2, 2:-2]
    np.testing.assert_allclose(made["reflect"][inner], made["zeros"][inner], atol=1e-5)
    (even, _), (dark, _) = made["reflect"], made["zeros"]  # of a picture of one value
    period = 2 if (build, upsampling) == (script.upsample, "transposed") else 1
    np.testing.assert_allclose(even[:-period], even[period:], atol=1e-5)
    assert np.ptp(dark[:-period] - dark[period:]) > 0.1


def test_maps_too_small_to_be_mirrored_keep_their_zeros(small):
    config = dataclasses.replace(small, image_size="128x64", depth=5)  # to 4×2
    for padding, mirrored in (("zeros", 0), ("reflect", 4)):  # at 64×32 and 32×16, on both ways
        generator = build_generator(dataclasses.replace(config, padding=padding))
        names = [type(operation).__name__ for operation in generator.operations]
        assert (names.count("Pad"), names.count("Cropping2D")) == (mirrored, mirrored // 2)
        assert generator.output_shape == (None, 128, 64, 3)


def test_normalization(small):
    def network(kind: str, place: int) -> keras.Model:
        return build(dataclasses.replace(small, normalization=kind))[place]

    for place, count in enumerate((7, 3)):  # of the generator, and of the discriminator
        own = {
            "instance": keras.layers.GroupNormalization,
            "batch": keras.layers.BatchNormalization,
        }
        for kind, layer in own.items():
            used = kinds(network(kind, place))
            assert {each: used.count(each) for each in own.values()} == {
                each: count if each is layer else 0 for each in own.values()
            }
        bare = network("none", place)
        assert not set(kinds(bare)) & set(own.values())
        convolutions = (keras.layers.Conv2D, keras.layers.Conv2DTranspose)
        assert all(layer.use_bias for layer in bare.layers if isinstance(layer, convolutions))


def test_batch_normalisation_uses_the_batch_and_later_its_moving_averages(small):
    config = dataclasses.replace(small, normalization="batch", batch_size=4)
    generator = build_generator(config)
    for layer in generator.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0
    sources = tf.random.stateless_uniform([4, 32, 32, 3], [5, 6], minval=-1)
    alone = [generator(source[None], training=True) for source in sources]
    together = generator(sources, training=True)
    assert np.abs(tf.concat(alone, 0) - together).max() > 1e-3
    step = tf.function(lambda: generator(sources, training=True))
    for _ in range(300):  # so many that nothing is left of the start
        step()
    later = script.generate(generator, sources)
    of_batch = np.asarray(generator(sources, training=True))
    assert np.abs(later - of_batch).mean() < 0.1 * of_batch.std()  # averages of variances differ
    np.testing.assert_allclose(script.generate(generator, sources[:1]), later[:1], atol=1e-6)


def test_a_patch_sees_70_by_70_pixels():
    # Instance statistics see the whole picture, so they are left out for this look at the wiring.
    config = Train(discriminator_filters=4, normalization="none")
    _, discriminator = build(config)
    image = tf.Variable(tf.random.stateless_normal([1, 256, 256, 3], [0, 0]))
    with tf.GradientTape() as tape:
        logit = discriminator([tf.zeros_like(image), image])[0, 15, 12, 0]
    rows, columns = np.nonzero(np.abs(tape.gradient(logit, image)[0]).sum(-1))
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (70, 70)


def test_every_weight_learns(small):
    generator, discriminator = build(dataclasses.replace(small, image_size=64))
    source, target = tf.random.stateless_uniform([2, 1, 64, 64, 3], [1, 2], minval=-1)
    loss = script.GAN_LOSSES["vanilla"]
    with tf.GradientTape(persistent=True) as tape:
        generated = generator(source, training=True)
        logits = discriminator([source, generated], training=True)
        losses = script.generator_losses(target, generated, logits, loss, 100.0)
        real_logits = discriminator([source, target])
        losses |= script.discriminator_losses(real_logits, logits, loss)
    for network, loss in (
        (generator, losses["generator_total"]),
        (discriminator, losses["discriminator"]),
    ):
        gradients = tape.gradient(loss, [weight.value for weight in network.trainable_variables])
        learning = [np.any(np.abs(gradient) > 0) for gradient in gradients]
        assert len(learning) > 8
        assert all(learning), network.name


def test_a_result_does_not_depend_on_the_others_of_its_batch(small):
    generator = build_generator(small)
    sources = tf.random.stateless_uniform([4, 32, 32, 3], [5, 6], minval=-1)
    together = script.generate(generator, sources)
    alone = tf.concat([script.generate(generator, source[None]) for source in sources], axis=0)
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_array_equal(together, script.generate(generator, sources))  # no dropout


def test_dropout_is_noise_only_in_training(small):
    generator = build_generator(small)
    source = tf.random.stateless_uniform([1, 32, 32, 3], [5, 6], minval=-1)
    first, second = (generator(source, training=True) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
