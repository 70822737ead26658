"""Channels, sizes and values as they are wanted."""

import numpy as np
import pytest
import tensorflow as tf

from pix2pix.pictures.pixels import convert_channels, from_pixels, resize, to_pixels

rng = np.random.default_rng(0)
GREY = rng.integers(0, 256, (6, 9, 1), dtype=np.uint8)
RGB = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)
RGBA = rng.integers(0, 256, (6, 9, 4), dtype=np.uint8)


# --- channels ---


def test_channels_are_converted_as_stated():
    ways = {(n, m): None for n in (1, 2, 3, 4) for m in (1, 3, 4)}
    pixels = {1: GREY, 2: RGBA[..., 2:], 3: RGB, 4: RGBA}
    for n, m in ways:
        ways[n, m] = convert_channels(pixels[n], m)
        assert ways[n, m].shape == (6, 9, m)
        assert ways[n, m].dtype == np.uint8
    np.testing.assert_array_equal(ways[1, 3], GREY.repeat(3, -1))
    luma = np.rint(RGB @ np.array([0.299, 0.587, 0.114]))
    np.testing.assert_array_equal(ways[3, 1][..., 0], luma)
    for n in (1, 3):  # added alpha is opaque
        np.testing.assert_array_equal(ways[n, 4][..., :3], ways[n, 3])
        assert (ways[n, 4][..., 3] == 255).all()
    opacity = RGBA[..., 3:] / 255  # what was transparent becomes white
    over_white = np.rint(RGBA[..., :3] * opacity + 255 * (1 - opacity))
    np.testing.assert_array_equal(ways[4, 3], over_white)
    assert np.abs(ways[4, 1][..., 0] - over_white @ np.array([0.299, 0.587, 0.114])).max() <= 1
    np.testing.assert_array_equal(ways[2, 4][..., 3], RGBA[..., 3])
    np.testing.assert_array_equal(ways[2, 4][..., 0], RGBA[..., 2])
    for n in (1, 3, 4):
        np.testing.assert_array_equal(ways[n, n], pixels[n])
    unseen = convert_channels(np.uint8([[[90, 80, 70, 0], [90, 80, 70, 1]]]), 4)
    np.testing.assert_array_equal(unseen, [[[0, 0, 0, 0], [90, 80, 70, 1]]])
    deep = convert_channels(np.uint16([[[0, 1000, 40000, 2**15]]]), 3)
    np.testing.assert_allclose(deep[0, 0], [32767, 33267, 52767], atol=1)


# --- sizes ---


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_8_and_16_bits_are_resized_alike(channels):
    eight = rng.integers(0, 256, (40, 50, channels), dtype=np.uint8)
    small, deep = (resize(pixels, (32, 32)) for pixels in (eight, eight * np.uint16(257)))
    assert small.shape == deep.shape == (32, 32, channels)
    assert (small.dtype, deep.dtype) == (np.uint8, np.uint16)
    visible = small[..., -1:] > 64 if channels in (2, 4) else True  # else rounded away in 8 bits
    assert (np.abs(deep / 257 - small) * visible).max() <= (6 if channels in (2, 4) else 1)
    if channels in (1, 3):
        theirs = tf.image.resize(eight, [32, 32], antialias=True)
        assert np.abs(theirs - small).max() <= 1


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_what_is_transparent_does_not_colour_what_is_visible(kind):
    full = np.iinfo(kind).max
    square = np.zeros((64, 64, 4), kind)  # white on transparent black
    square[21:43, 21:43] = full
    small = resize(square, (32, 32))
    assert set(np.unique(small[..., 3])) > {0, full}  # soft edges
    assert small[..., :3][small[..., 3] > full // 8].min() >= full * 0.97
    assert convert_channels(small, 3).min() >= full * 0.99


# --- values ---


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_values_fill_minus_one_to_one(kind):
    full = np.iinfo(kind).max
    values = from_pixels(np.array([0, full // 2 + 1, full], kind))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [-1, 1 / full, 1], atol=1e-7)


def test_back_to_bytes_rounds_and_every_byte_survives():
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_pixels(from_pixels(every)), every)
    np.testing.assert_array_equal(to_pixels([-1.2, 0.0, 0.999, 1.1]), [0, 128, 255, 255])
