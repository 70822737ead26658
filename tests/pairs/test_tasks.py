"""What each task makes of a photo, and what the generator keeps of it."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_training, settled, small_task

import image_to_image_translation as script
from pix2pix import preparation
from pix2pix.options.found import Found
from pix2pix.options.train import Train
from pix2pix.pairs.synthetic import draw_facade
from pix2pix.pairs.tasks import draw_holes
from pix2pix.pictures.pixels import from_pixels

LUMA = np.array([0.299, 0.587, 0.114])


def examples(config: Train, count: int = 4) -> tuple[Found, np.ndarray, np.ndarray]:
    """What the pictures decide, and sources and targets of a few pairs as they are."""
    split = script.find_splits(config)["train"]
    first = dataclasses.replace(split, pairs=split.pairs[:count])
    sound = preparation.check_split(first, "train", config)
    found = preparation.settle(config, sound)
    return found, *map(np.asarray, script.load_examples(sound, range(len(sound)), config, found))


def photos(config: Train) -> np.ndarray:
    """The photos that these pairs are made from."""
    drawn = [draw_facade(0, k, config.picture_size)[0] for k in range(4)]
    return np.stack([from_pixels(photo) for photo in drawn])


def test_colorize_gives_the_luminance(small):
    config = small_task(small, "colorize")
    _, sources, targets = examples(config)
    np.testing.assert_array_equal(targets, photos(config))
    np.testing.assert_allclose(sources[..., 0], targets @ LUMA, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_colorize_keeps_the_luminance_whatever_the_weights(small, precision):
    config = small_task(small, "colorize", precision=precision)
    _, sources, _ = examples(config)
    generator = make_training(config).generator
    for weight in generator.trainable_variables:  # far from grey, so that limits are met
        weight.assign(weight * 30)
    sources = sources.copy()
    sources[0, :8], sources[0, 8:16] = -1, 1  # black and white have no colour
    generated = np.asarray(script.generate(generator, sources))
    assert generated.shape == (4, 32, 32, 3)
    np.testing.assert_allclose(generated @ LUMA, sources[..., 0], atol=2e-6)
    assert np.abs(generated).max() <= 1 + 1e-6
    assert (np.ptp(generated, axis=-1) > 0.2).mean() > 0.3
    np.testing.assert_allclose(generated[0, :8], -1, atol=1e-6)
    np.testing.assert_allclose(generated[0, 8:16], 1, atol=1e-6)


def test_colorize_can_make_every_colour(small):
    config = small_task(small, "colorize")
    target = photos(config)
    target[0, :2, :6] = np.array(  # pure colours, at the limits
        [[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]]
    )
    grey = (target @ LUMA)[..., None].astype(np.float32)
    blue, red = (target[..., 2:] - grey) / 1.772, (target[..., :1] - grey) / 1.402
    source, chroma = keras.Input((32, 32, 1)), keras.Input((32, 32, 2))
    colour = preparation.task_of(config, "AtoB").finish(keras.ops.tanh(chroma), source)
    model = keras.Model([source, chroma], colour)
    limit = 1 - 1e-6
    wanted = np.arctanh(np.clip(np.concatenate([blue, red], -1), -limit, limit))
    made = model([grey, wanted.astype(np.float32)])
    np.testing.assert_allclose(made, target, atol=1e-4)


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_super_resolve_gives_what_a_small_picture_holds(small, scale):
    config = small_task(small, "super-resolve", scale=scale)
    _, sources, targets = examples(config)
    np.testing.assert_array_equal(targets, photos(config))
    assert sources.shape == targets.shape
    side = 32 // scale
    small_picture = tf.image.resize(targets, [side, side], "bicubic", antialias=True)
    expected = np.clip(tf.image.resize(small_picture, [32, 32], "bicubic"), -1, 1)
    np.testing.assert_allclose(sources, expected, atol=1e-6)
    lost = np.abs(sources - targets).mean()
    assert 0.05 < lost < 0.5
    means = [x.reshape(4, side, scale, side, scale, 3).mean((2, 4)) for x in (sources, targets)]
    assert np.abs(means[0] - means[1]).mean() < lost / 2  # it is the detail that is lost


def test_sketch_draws_dark_lines_where_things_meet(small):
    config = small_task(small, "sketch", image_size=64)
    _, sources, targets = examples(config)
    np.testing.assert_array_equal(targets, photos(config))
    assert sources.shape == (4, 64, 64, 1)
    assert sources.min() >= -1
    assert sources.max() == 1
    assert 0.02 < (sources < 0).mean() < 0.4
    step = np.full((64, 64, 3), 0.5, np.float32)
    step[:, 32:] = -0.5
    task = preparation.task_of(config, "AtoB")
    line = np.asarray(task.make_source(tf.constant(step), [0, 0]))[..., 0]
    assert (line[:, 32:34] == -1).all()  # on the dark side of the edge
    assert (np.delete(line, [32, 33], axis=1) == 1).all()  # and nowhere else, borders included
    grey = np.asarray(task.make_source(tf.constant(step[..., :1]), [0, 0]))[..., 0]
    np.testing.assert_allclose(grey, line, atol=1e-5)


def test_photo_to_sketch_is_sketch_to_photo_turned_round(small):
    config = small_task(small, "sketch", direction="BtoA")
    found, sources, targets = examples(small_task(small, "sketch"))
    turned, photo_sources, sketches = examples(config)
    np.testing.assert_array_equal(sources, sketches)
    np.testing.assert_array_equal(targets, photo_sources)
    assert (found.source_channels, found.target_channels) == (1, 3)
    assert (turned.source_channels, turned.target_channels) == (3, 1)
    assert script.build_generator(config, turned).output_shape == (None, 32, 32, 1)


def test_inpaint_gives_a_photo_with_transparent_holes(small):
    config = small_task(small, "inpaint", image_size=64)
    _, sources, targets = examples(config)
    np.testing.assert_array_equal(targets, photos(config))
    known = sources[..., 3] == 1
    assert set(np.unique(sources[..., 3])) == {-1, 1}
    np.testing.assert_array_equal(sources[known][:, :3], targets[known])
    np.testing.assert_array_equal(sources[~known][:, :3], 0)
    shares = 1 - known.mean((1, 2))
    assert len(set(shares)) == 4
    many = [np.asarray(draw_holes((64, 64), [0, k])) for k in range(200)]
    assert 0.15 < np.mean(many) < 0.35
    everywhere = np.mean(many, axis=0)
    assert everywhere.min() > 0.03  # corners too
    assert everywhere.max() < 0.6


def test_inpaint_keeps_what_is_known_whatever_the_weights(small):
    config = small_task(small, "inpaint")
    _, sources, _ = examples(config)
    generated = np.asarray(script.generate(make_training(config).generator, sources))
    known = sources[..., 3] == 1
    np.testing.assert_allclose(generated[known], sources[known][:, :3], atol=1e-6)
    assert np.abs(generated[~known]).max() > 0.001
    assert generated.shape == (4, 32, 32, 3)


@pytest.mark.parametrize("task", ["colorize", "super-resolve", "sketch", "inpaint"])
def test_tasks_are_a_function_of_seed_and_step(small, task):
    config = small_task(small, task, batch_size=2, steps=6)
    split = preparation.check_split(script.find_splits(config)["train"], "train", config)
    found, alone = settled(config), tf.distribute.InputContext()
    straight, resumed = (
        list(script.batches(split, config, found, first, alone)) for first in (0, 4)
    )
    for ours, theirs in zip(straight[4:], resumed, strict=True):
        for side in (0, 1):
            np.testing.assert_array_equal(ours[side], theirs[side])
    sources = {np.asarray(source).tobytes() for source, _ in straight}
    assert len(sources) == 6
    source, target = (np.asarray(side) for side in straight[0])
    learned = preparation.task_of(config, found.direction)
    # from what jitter has cut, as it will be when the training is over
    made = [learned.make_source(tf.constant(photo), [0, 0]) for photo in target]
    if task != "inpaint":
        np.testing.assert_allclose(source, np.stack(made), atol=1e-5)
