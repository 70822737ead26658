"""The discriminator that names classes: its shape, and what its verdicts are, by hand."""

import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import image_to_image_translation as script
from pix2pix import preparation
from pix2pix.networks.class_discriminator import weigh_classes
from pix2pix.options.found import Found
from pix2pix.options.train import Train
from pix2pix.pictures.pixels import Kind
from pix2pix.pictures.sides import PHOTOS, LabelClass, Side
from pix2pix.talk.errors import UsageError

RED_AND_BLUE = (LabelClass(0, (255, 0, 0), "red"), LabelClass(1, (0, 0, 255), "blue"))


MAPS = Side(classes=RED_AND_BLUE)


@pytest.fixture
def judging(small) -> Train:
    """The small configuration with this discriminator."""
    return dataclasses.replace(small, labels="source", discriminator="classes")


def found_for(options: Train) -> Found:
    """What label maps of two classes, and photos for them, decide."""
    kinds = [(Kind(channels=3, bits=8),) * 2]
    return preparation.conclude(options, kinds, [MAPS, PHOTOS])


def labels(shares: np.ndarray) -> tf.Tensor:
    """A label map of one row: red, then blue."""
    pixels = np.where(shares[:, None], [1.0, -1.0, -1.0], [-1.0, -1.0, 1.0])
    return tf.constant(pixels[None, None], tf.float32)


def test_every_class_weighs_the_same_however_small():
    classes = np.zeros((2, 1, 4, 3), np.float32)
    classes[0, 0, :3, 0] = classes[0, 0, 3, 1] = 1  # three pixels of one class, one of another
    classes[1, ..., 2] = 1  # all of the third
    logits = np.random.default_rng(0).normal(size=(2, 1, 4, 4)).astype(np.float32)
    verdicts = keras.ops.convert_to_numpy(weigh_classes(logits, classes))
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    weights = np.array([[2 / 3, 2 / 3, 2 / 3, 2], [1, 1, 1, 1]])[:, None]
    np.testing.assert_allclose(weights.mean(axis=2), 1)
    expected = weights * (log_p[..., :3] * classes).sum(-1)
    np.testing.assert_allclose(verdicts[..., 0], expected, rtol=1e-5)
    np.testing.assert_allclose(verdicts[..., 1], log_p[..., 3], rtol=1e-5)


def test_what_it_costs_by_hand():
    loss = script.DISCRIMINATORS["classes"].loss
    verdicts = tf.math.log(tf.constant([[[[0.5, 0.25], [0.125, 0.75]]]]))
    losses = script.discriminator_losses(verdicts, verdicts, loss)
    real, generated = math.log(16) / 2, math.log(16 / 3) / 2
    assert float(losses["discriminator_real"]) == pytest.approx(real)
    assert float(losses["discriminator_generated"]) == pytest.approx(generated)
    assert float(losses["discriminator"]) == pytest.approx((real + generated) / 2)
    assert float(losses["discriminator_right"]) == 0.5  # one of two is taken for generated
    nothing = tf.zeros([3])
    of_generator = script.generator_losses(nothing, nothing, verdicts, loss, 100.0)
    assert float(of_generator["generator_gan"]) == pytest.approx(real)


@pytest.mark.parametrize(("size", "halvings"), [(32, 5), ("64x96", 5), (48, 4), (256, 5)])
def test_it_judges_every_pixel_at_any_size(judging, size, halvings):
    config = dataclasses.replace(judging, image_size=size, depth=4)
    networks = script.build_networks(config, found_for(config))
    discriminator = networks["discriminator"]
    height, width = config.picture_size
    assert discriminator.output_shape == (None, height, width, 2)
    convolutions = [each for each in discriminator.layers if isinstance(each, keras.layers.Conv2D)]
    assert [each.strides for each in convolutions].count((2, 2)) == halvings
    source = tf.random.stateless_uniform([2, height, width, 3], [0, 0], -1)
    image = tf.random.stateless_uniform([2, height, width, 3], [1, 0], -1)
    verdicts = discriminator([source, image])
    assert np.isfinite(verdicts).all()
    assert (np.exp(verdicts[..., 1]) < 1).all()


def test_both_networks_learn_from_it(judging):
    training = script.Training(judging, found_for(judging))
    networks = training.networks.values()
    before = [[weight.numpy() for weight in network.trainable_variables] for network in networks]
    source = tf.tile(labels(np.arange(32) < 16), [1, 32, 1, 1])
    target = tf.random.stateless_normal([1, 32, 32, 3], [0, 0])
    for _ in range(2):
        losses = script.train_step(training, source, target)
        assert all(np.isfinite(float(loss)) for loss in losses.values())
    for network, old in zip(networks, before, strict=True):
        for weight, value in zip(network.trainable_variables, old, strict=True):
            assert not np.array_equal(weight.numpy(), value), weight.path


def test_a_run_with_it_resumes_exactly_and_must_keep_it(judging):
    whole = script.train(dataclasses.replace(judging, name="whole")).folder
    script.train(dataclasses.replace(judging, steps=2))
    parts = script.train(judging).folder
    ours, theirs = (tf.train.load_checkpoint(str(folder / "ckpt-4")) for folder in (parts, whole))
    names = [name for name in ours.get_variable_to_shape_map() if "GRAPH" not in name]
    assert len(names) > 50
    for name in names:
        np.testing.assert_array_equal(ours.get_tensor(name), theirs.get_tensor(name))
    other = dataclasses.replace(judging, discriminator="patches", steps=6)
    with pytest.raises(Exception, match="discriminator classes, not patches"):
        script.train_as_told(other)


def test_it_is_for_label_maps_alone(small):
    with pytest.raises(UsageError, match="--labels source"):
        script.train(dataclasses.replace(small, discriminator="classes"))


def test_it_has_a_loss_of_its_own(judging):
    config = dataclasses.replace(judging, gan_loss="hinge")
    with pytest.raises(UsageError, match="--gan-loss must be left out with --discriminator cl"):
        preparation.check_options(config)
