"""Section 4g: jitter, batches as a pure function of (seed, step), and pictures held out."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

import image_to_image_translation as pix2pix


@pytest.fixture
def loaded(small, pair_folder):
    """What `train` makes of a folder of pairs before its first step: configuration and pairs."""

    def load(memory: int = 10**9, **options) -> tuple[pix2pix.Train, pix2pix.Pairs]:
        config = dataclasses.replace(small, dataset=str(pair_folder), **options)
        pairs = pix2pix.find_pairs(config)[0]["train"]
        return config, pix2pix.check_pairs(pairs, config, "train", memory).pairs

    return load


@pytest.mark.parametrize("options", [{}, {"crop": True}, {"fit": "crop"}])
def test_pairs_in_memory_and_pairs_read_on_the_fly_are_the_same(loaded, pair_folder, options):
    config, kept = loaded(**options)
    side = 40 if "crop" in options else 36
    _, not_kept = loaded(memory=side * 2 * side * 3 * 6 - 1, **options)  # a byte short
    both = zip(pix2pix.batches(kept, config, 0), pix2pix.batches(not_kept, config, 0), strict=True)
    for ours, theirs in both:
        np.testing.assert_array_equal(ours, theirs)
    shutil.rmtree(pair_folder)
    assert len(kept.read(5)) == 2  # needs no file any more
    with pytest.raises(pix2pix.UserError, match="not a readable picture"):
        not_kept.read(5)


def ramp(height: int, width: int) -> np.ndarray:
    """A picture that tells every position: red grows to the right, green downwards."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, 0 * rows], axis=-1).astype(np.float32)


def places(config: pix2pix.Train, picture: np.ndarray) -> tuple[set, set, int, list]:
    """Tops, lefts, how many of 200 are mirrored, and shapes of what jitter cuts."""
    tops, lefts, mirrored, shapes = set(), set(), 0, set()
    for number in range(200):
        both = np.concatenate([picture, picture], axis=-1)
        cut, target = map(np.asarray, pix2pix.jittered(both, config, [0, number]))
        np.testing.assert_array_equal(cut, target)
        shapes.add(cut.shape)
        mirrored += cut[0, 0, 0] > cut[0, -1, 0]
        tops.add(cut[..., 1].min())
        lefts.add(cut[..., 0].min())
        np.testing.assert_array_equal(np.abs(np.diff(cut[..., 0], axis=1)), 1)  # nothing else
        np.testing.assert_array_equal(np.diff(cut[..., 1], axis=0), 1)
    return tops, lefts, mirrored, shapes


def test_jitter_cuts_anywhere_and_mirrors_half(small):
    config = dataclasses.replace(small, image_size=64)
    assert pix2pix.loaded_size(config) == (72, 72)  # 286 / 256 of it
    tops, lefts, mirrored, shapes = places(config, ramp(72, 72))
    assert tops == lefts == set(range(9))
    assert 70 < mirrored < 130
    assert shapes == {(64, 64, 3)}
    assert pix2pix.loaded_size(pix2pix.Train()) == (286, 286)


def test_jitter_of_rectangles(small):
    config = dataclasses.replace(small, image_size="32x96")
    assert pix2pix.loaded_size(config) == (36, 107)
    tops, lefts, _, shapes = places(config, ramp(36, 107))
    assert tops == set(range(5))
    assert lefts == set(range(12))
    assert shapes == {(32, 96, 3)}


def test_without_jitter_and_flip_the_whole_picture_comes_as_it_is(small):
    config = dataclasses.replace(small, jitter=False, flip=False)
    assert pix2pix.loaded_size(config) == (32, 32)
    assert places(config, ramp(32, 32)) == ({0}, {0}, 0, {(32, 32, 3)})
    assert places(dataclasses.replace(config, flip=True), ramp(32, 32))[2] > 70
    assert places(dataclasses.replace(small, flip=False), ramp(36, 36))[2] == 0


def test_with_crop_the_cuts_are_at_full_resolution(small):
    config = dataclasses.replace(small, crop=True)
    assert pix2pix.loaded_size(config) is None
    tops, lefts, _, shapes = places(config, ramp(40, 100))
    assert tops == set(range(9))
    assert min(lefts) < 5
    assert max(lefts) > 63
    assert shapes == {(32, 32, 3)}
    assert pix2pix.loaded_size(dataclasses.replace(config, jitter=False)) == (32, 32)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_values_fill_minus_one_to_one(kind):
    full = np.iinfo(kind).max
    values = pix2pix.normalise(np.array([0, full // 2 + 1, full], kind))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [-1, 1 / full, 1], atol=1e-7)


def test_pictures_of_a_pair_are_stacked_with_their_own_channels_and_bits():
    grey, deep = np.full((4, 4, 1), 51, np.uint8), np.full((4, 4, 3), 13107, np.uint16)
    config = pix2pix.Train(source_channels=1, target_channels=4)
    stacked = pix2pix.stack([grey, deep], config)
    assert stacked.shape == (4, 4, 5)
    np.testing.assert_allclose(stacked[0, 0], [-0.6, -0.6, -0.6, -0.6, 1], atol=1e-6)
    source, target = pix2pix.source_and_target(tf.constant(stacked), config, [0, 0])
    assert (source.shape[-1], target.shape[-1]) == (1, 4)


def numbered(count: int) -> pix2pix.Pairs:
    """Pairs that can be told apart after jitter: pair k is a plain picture of brightness k."""

    def read(k: int) -> list[np.ndarray]:
        return [np.full((36, 36, 3), k, np.uint8)] * 2

    return pix2pix.Pairs(tuple(str(k) for k in range(count)), read)


def order(pairs: pix2pix.Pairs, config: pix2pix.Train, first_step: int = 0) -> np.ndarray:
    """Which pairs the steps get: [steps, batch]."""
    sources = [source for source, _ in pix2pix.batches(pairs, config, first_step)]
    return np.rint((np.array(sources)[:, :, 0, 0, 0] + 1) * 127.5).astype(int)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_every_pair_comes_once_per_epoch_in_a_new_order(small, batch_size):
    config = dataclasses.replace(small, batch_size=batch_size, steps=30 // batch_size)
    epochs = order(numbered(10), config).reshape(3, 10)
    for epoch in epochs:
        assert sorted(epoch) == list(range(10))
    assert len({tuple(epoch) for epoch in epochs}) == 3
    other = order(numbered(10), dataclasses.replace(config, seed=1)).reshape(3, 10)
    assert not np.array_equal(epochs, other)


def test_a_single_pair_is_enough(small):
    assert order(numbered(1), small).tolist() == [[0]] * small.steps


def test_data_is_a_function_of_seed_and_step(loaded):
    config, pairs = loaded(batch_size=2, steps=8)
    straight = [np.array(batch) for batch in pix2pix.batches(pairs, config, 0)]
    resumed = [np.array(batch) for batch in pix2pix.batches(pairs, config, 5)]
    np.testing.assert_array_equal(straight[5:], resumed)
    assert straight[0].shape == (2, 2, 32, 32, 3)
    flat = {batch.tobytes() for batch in straight}
    assert len(flat) == 8  # no two steps alike


def test_the_same_pair_is_jittered_anew_in_every_epoch(small):
    photo = pix2pix.draw_facade(0, 0, (286, 286))[0]
    one = pix2pix.Pairs(("one",), lambda k: [photo] * 2)
    config = dataclasses.replace(small, image_size=256, steps=20)
    sources = {np.array(source).tobytes() for source, _ in pix2pix.batches(one, config, 0)}
    assert len(sources) == 20


def test_previews_are_not_jittered(small, pair_folder):
    config = dataclasses.replace(small, dataset=str(pair_folder))
    pairs = pix2pix.find_pairs(config)[0]["val"]
    sources, targets = pix2pix.examples(pairs, (0, 1), config)
    assert sources.shape == targets.shape == (2, 32, 32, 3)
    expected = pix2pix.fit(pairs.read(1)[0], (32, 32), config)
    np.testing.assert_array_equal(pix2pix.to_pixels(sources[1]), expected)
