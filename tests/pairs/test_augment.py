"""Pairs changed at random: both sides alike, what must not change does not, exact after a stop."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_same_weights, small_task, weights

import image_to_image_translation as script
from pix2pix.pairs.augment import augment, check_augment, recolour, warp
from pix2pix.pictures.sides import PHOTOS, LabelClass, Side
from pix2pix.talk.errors import UsageError

LABELS = Side(classes=(LabelClass(0, (255, 0, 0), "red"), LabelClass(1, (0, 0, 255), "blue")))
MEASURED = Side(measured=True)


def smooth(height: int = 24, width: int = 36) -> tf.Tensor:
    """A picture of slow waves."""
    y, x = np.mgrid[:height, :width]
    channels = [np.sin(x / 7), np.cos(y / 5), np.sin((x + y) / 9)]
    return tf.constant(0.8 * np.stack(channels, -1), tf.float32)


def test_nothing_is_changed_unless_named():
    picture = smooth()
    (unchanged,) = augment([picture], [PHOTOS], (), tf.constant([1, 2]))
    assert unchanged is picture
    same = warp(picture, tf.constant(0.0), tf.constant(1.0), "BILINEAR")
    np.testing.assert_allclose(same, picture, atol=1e-6)
    zero = tf.constant(0.0)
    np.testing.assert_allclose(recolour(picture, zero, zero, zero), picture, atol=1e-6)


@pytest.mark.parametrize("names", [("rotate",), ("scale",), ("rotate", "scale")])
def test_both_sides_move_alike(names):
    picture = smooth()
    both = [picture, 0.5 * picture]
    moved, half = augment(both, [PHOTOS, PHOTOS], names, tf.constant([3, 4]))
    np.testing.assert_allclose(half, 0.5 * moved, atol=1e-6)
    assert np.abs(moved - picture).max() > 0.05
    again = augment(both, [PHOTOS, PHOTOS], names, tf.constant([3, 4]))
    np.testing.assert_array_equal(again, [moved, half])
    other, _ = augment(both, [PHOTOS, PHOTOS], names, tf.constant([3, 5]))
    assert np.abs(other - moved).max() > 0.01


def test_a_turn_and_a_scale_by_hand():
    picture = smooth(33, 33)
    quarter = warp(picture, tf.constant(np.pi / 2, tf.float32), tf.constant(1.0), "BILINEAR")
    turned = [tf.image.rot90(picture, k) for k in (1, 3)]
    assert min(np.abs(quarter - each)[2:-2, 2:-2].max() for each in turned) < 1e-3
    larger = warp(picture, tf.constant(0.0), tf.constant(2.0), "BILINEAR")
    np.testing.assert_allclose(larger[::2, ::2], picture[8:25, 8:25], atol=1e-5)


def test_label_maps_keep_their_exact_colours():
    red_or_blue = np.random.default_rng(0).random((24, 24, 1)) < 0.5
    label_map = np.where(red_or_blue, np.float32([1, -1, -1]), np.float32([-1, -1, 1]))
    pair, names = [tf.constant(label_map), smooth(24, 24)], ("rotate", "scale", "colour")
    changed, _ = augment(pair, [LABELS, PHOTOS], names, tf.constant([0, 1]))
    assert {tuple(pixel) for pixel in changed.numpy().reshape(-1, 3)} == {(1, -1, -1), (-1, -1, 1)}
    same, recoloured = augment(pair, [LABELS, PHOTOS], ("colour",), tf.constant([0, 1]))
    np.testing.assert_array_equal(same, label_map)
    assert np.abs(recoloured - smooth(24, 24)).mean() > 0.02


def test_colours_by_hand():
    picture = tf.constant([[[0.5, 0.1, 0.0, 0.3], [-0.5, -0.1, 0.0, 1.0]]])
    brighter = recolour(picture, *map(tf.constant, (1.0, 0.0, 0.0))).numpy()
    np.testing.assert_allclose(brighter[..., :3], picture[..., :3] + 0.2, atol=1e-6)
    np.testing.assert_array_equal(brighter[..., 3], picture[..., 3])  # transparency stays
    contrast = recolour(picture, *map(tf.constant, (0.0, 1.0, 0.0))).numpy()
    np.testing.assert_allclose(contrast[..., :3], 1.2 * picture[..., :3], atol=1e-6)
    grey = picture[..., :1]
    same = recolour(grey, *map(tf.constant, (0.0, 0.0, 1.0)))
    np.testing.assert_allclose(same, grey, atol=1e-6)  # which has no saturation
    assert np.abs(recolour(picture, *map(tf.constant, (1.0, 1.0, 1.0)))).max() <= 1


def test_colours_that_mean_something_are_left_alone():
    check_augment(("colour",), [PHOTOS, LABELS])
    check_augment(("rotate", "scale"), [LABELS, PHOTOS])
    with pytest.raises(UsageError, match="label maps as sources"):
        check_augment(("colour",), [LABELS, PHOTOS])
    with pytest.raises(UsageError, match="measured"):
        check_augment(("colour",), [PHOTOS, MEASURED])


def test_a_run_with_it_goes_on_exactly(small):
    names = ("rotate", "colour", "scale")
    config = small_task(small, "colorize", augment=names)
    whole = script.train(dataclasses.replace(config, name="whole")).folder
    script.train(dataclasses.replace(config, steps=2))
    script.train(config)
    assert_same_weights(weights(config.run_folder, 4), weights(whole, 4))
    plain = script.train(dataclasses.replace(config, name="plain", augment=())).folder
    ours, theirs = weights(whole, 4), weights(plain, 4)
    assert any(not np.array_equal(ours[name], theirs[name]) for name in ours)


def test_only_known_words(small):
    with pytest.raises(UsageError, match="--augment must be any of rotate, scale, colour"):
        script.train(dataclasses.replace(small, augment=("shear",)))
