"""Options that a task refuses, jitter, batches as a pure function of (seed, step), examples."""

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import settled

import image_to_image_translation as script
from pix2pix import preparation
from pix2pix.command_line import parse
from pix2pix.options.checks import check_train
from pix2pix.options.found import Found
from pix2pix.options.train import Train
from pix2pix.pairs.augment import choose_window
from pix2pix.pairs.file_pairs import FilePair
from pix2pix.pairs.splits import CheckedSplit, Split
from pix2pix.pairs.synthetic import draw_facade
from pix2pix.pictures.pixels import to_pixels
from pix2pix.pictures.sides import PHOTOS
from pix2pix.talk.errors import UsageError

ALONE = tf.distribute.InputContext()  # one worker with one device


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"image_size": "big", "task": "super-resolve"}, "--image-size must"),
        ({"image_size": 160, "task": "super-resolve", "scale": 3}, "--scale must"),
        ({"task": "colorize", "direction": "BtoA"}, "--direction must be AtoB with this --task"),
        ({"task": "sketch", "source_channels": 3}, "--source-channels must be left to --task"),
        ({"task": "sketch", "target_channels": 1}, "--target-channels must be left to --task"),
    ],
)
def test_options_that_contradict_the_task(options, named):
    with pytest.raises(UsageError, match=named):
        preparation.check_options(dataclasses.replace(Train(), **options))


@pytest.fixture
def loaded(small, pair_folder):
    """What `train` makes of a folder of pairs before its first step: options, what the pictures
    decide, and pairs."""

    def load(**options) -> tuple[Train, Found, CheckedSplit]:
        config = dataclasses.replace(small, dataset=str(pair_folder), **options)
        split = preparation.check_split(script.find_splits(config)["train"], "train", config)
        return config, preparation.settle(config, split), split

    return load


@pytest.mark.parametrize("options", [{}, {"crop": True}, {"fit": "crop"}])
def test_pairs_in_memory_and_pairs_read_on_the_fly_are_the_same(loaded, monkeypatch, options):
    side = 40 if "crop" in options else 36
    config, found, split = loaded(steps=14, **options)
    nbytes = split.bytes_at(partial(script.size_for_jitter, options=config))
    assert nbytes == side * 2 * side * 3 * 6

    def drawn(limit: float) -> tuple[list, int]:
        reads = []
        monkeypatch.setattr(script, "CACHE_BYTES", limit)
        pairs = [CountedPair(pair, reads) for pair in split.pairs]
        counted = dataclasses.replace(split, pairs=pairs)
        return list(script.batches(counted, config, found, 0, ALONE)), len(reads)

    kept, few_reads = drawn(nbytes)
    not_kept, many_reads = drawn(nbytes - 1)  # a byte short
    assert many_reads >= 14
    assert 6 <= few_reads <= 6 + os.cpu_count()  # two threads may want the same one at once
    for ours, theirs in zip(kept, not_kept, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_nothing_tunes_the_pipeline_as_the_end_of_a_run_would_wait_for_it(loaded):
    config, found, split = loaded()
    batches = script.batches(split, config, found, 0, ALONE)
    assert batches.options().autotune.enabled is False


@dataclass(frozen=True)
class CountedPair:
    """A pair that notes when it is read."""

    pair: FilePair
    reads: list
    weight: float = 1.0

    def read(self) -> list[np.ndarray]:
        self.reads.append(self.pair.name)
        return self.pair.read()


@dataclass(frozen=True)
class MadePair:
    """A pair that is in memory already, of the same picture twice."""

    name: str
    picture: np.ndarray
    files: tuple[Path, ...] = ()
    group: str = ""
    weight: float = 1.0

    @property
    def title(self) -> str:
        return self.name

    def read(self) -> list[np.ndarray]:
        return [self.picture] * 2


def split_of(pictures: Iterable[np.ndarray]) -> CheckedSplit:
    """A pair of each of these pictures."""
    pairs = [MadePair(str(k), picture) for k, picture in enumerate(pictures)]
    return preparation.check_split(Split(pairs, (0, 1), ()), "train", Train())


def loaded_size(config: Train) -> tuple[int, int]:
    """The size that jitter gets a picture of 400×600 at."""
    return script.size_for_jitter((400, 600), config)


def ramp(height: int, width: int) -> np.ndarray:
    """A picture that tells every position: red grows to the right, green downwards."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, 0 * rows], axis=-1).astype(np.float32)


def places(config: Train, picture: np.ndarray) -> tuple[set, set, int, list]:
    """Tops, lefts, how many of 200 are mirrored, and shapes of what jitter cuts."""
    tops, lefts, mirrored, shapes = set(), set(), 0, set()
    found = settled(config)
    for number in range(200):
        both = [tf.constant(picture), tf.constant(picture)]
        cut, target = map(np.asarray, script.jitter(both, config, found, [0, number]))
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
    assert loaded_size(config) == (72, 72)  # 286 / 256 of it
    tops, lefts, mirrored, shapes = places(config, ramp(72, 72))
    assert tops == lefts == set(range(9))
    assert 70 < mirrored < 130
    assert shapes == {(64, 64, 3)}
    assert loaded_size(Train()) == (286, 286)


def test_jitter_of_rectangles(small):
    config = dataclasses.replace(small, image_size="32x96")
    assert loaded_size(config) == (36, 107)
    tops, lefts, _, shapes = places(config, ramp(36, 107))
    assert tops == set(range(5))
    assert lefts == set(range(12))
    assert shapes == {(32, 96, 3)}


def test_without_jitter_and_flip_the_whole_picture_comes_as_it_is(small):
    config = dataclasses.replace(small, jitter=False, flip=False)
    assert loaded_size(config) == (32, 32)
    assert places(config, ramp(32, 32)) == ({0}, {0}, 0, {(32, 32, 3)})
    assert places(dataclasses.replace(config, flip=True), ramp(32, 32))[2] > 70
    assert places(dataclasses.replace(small, flip=False), ramp(36, 36))[2] == 0


def test_with_crop_the_cuts_are_at_full_resolution(small):
    config = dataclasses.replace(small, crop=True)
    assert loaded_size(config) == (400, 600)  # as they are
    tops, lefts, _, shapes = places(config, ramp(40, 100))
    assert tops == set(range(9))
    assert min(lefts) < 5
    assert max(lefts) > 63
    assert shapes == {(32, 32, 3)}
    assert loaded_size(dataclasses.replace(config, jitter=False)) == (32, 32)


def test_pictures_of_a_pair_have_their_own_channels_and_bits():
    grey, deep = np.full((4, 4, 1), 51, np.uint8), np.full((4, 4, 3), 13107, np.uint16)
    config = Train(source_channels=1, target_channels=4)
    found = settled(config)
    source, target = preparation.pair_to_values([grey, deep], config, found)
    assert (source.shape, target.shape) == ((4, 4, 1), (4, 4, 4))
    np.testing.assert_allclose(source[0, 0], [-0.6], atol=1e-6)
    np.testing.assert_allclose(target[0, 0], [-0.6, -0.6, -0.6, 1], atol=1e-6)


def numbered(count: int) -> Split:
    """Pairs that can be told apart after jitter: pair k is a plain picture of brightness k."""
    return split_of(np.full((36, 36, 3), k, np.uint8) for k in range(count))


def order(split: Split, config: Train) -> np.ndarray:
    """Which pairs the steps get: [steps, batch]."""
    found = settled(config)
    sources = [source for source, _ in script.batches(split, config, found, 0, ALONE)]
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
    config, found, split = loaded(batch_size=2, steps=8)
    straight, resumed = (
        [np.array(batch) for batch in script.batches(split, config, found, first, ALONE)]
        for first in (0, 5)
    )
    np.testing.assert_array_equal(straight[5:], resumed)
    assert straight[0].shape == (2, 2, 32, 32, 3)
    flat = {batch.tobytes() for batch in straight}
    assert len(flat) == 8  # no two steps alike


@pytest.mark.parametrize("workers", [2, 4])
def test_the_shares_of_the_workers_are_the_batch(small, workers):
    config = dataclasses.replace(small, batch_size=8, steps=3)
    split = preparation.check_split(script.find_splits(config)["train"], "train", config)
    found = preparation.settle(config, split)
    whole = list(script.batches(split, config, found, 1, ALONE))
    contexts = [tf.distribute.InputContext(workers, k, 4) for k in range(workers)]
    shards = [list(script.batches(split, config, found, 1, each)) for each in contexts]
    assert [len(shard) for shard in shards] == [2 * 4 // workers] * workers
    for step, (sources, _) in enumerate(whole):
        replicas = 4 // workers  # of each worker; each batch is a part of the share
        parts = [
            shard[step * replicas + replica][0] for shard in shards for replica in range(replicas)
        ]
        np.testing.assert_array_equal(tf.concat(parts, axis=0), sources)


def test_the_same_pair_is_jittered_anew_in_every_epoch(small):
    photo = draw_facade(0, 0, (286, 286))[0]
    one = split_of([photo])
    config = dataclasses.replace(small, image_size=256, steps=20)
    batches = script.batches(one, config, settled(config), 0, ALONE)
    sources = {np.array(source).tobytes() for source, _ in batches}
    assert len(sources) == 20


def test_previews_are_not_jittered(small, pair_folder):
    config = dataclasses.replace(small, dataset=str(pair_folder))
    split = script.find_splits(config)["val"]
    sources, targets = script.load_examples(split, (0, 1), config, settled(config))
    assert sources.shape == targets.shape == (2, 32, 32, 3)
    expected = script.fit_to_size(split.read(1)[0], (32, 32), config, PHOTOS)
    np.testing.assert_array_equal(to_pixels(sources[1]), expected)


# --- Windows --------------------------------------------------------------------------------------


def places_of_windows(target: np.ndarray, count: int = 300) -> np.ndarray:
    """Where windows of 32×32 are cut out of a target: rows and columns of their corners."""
    shares = [choose_window(tf.constant(target), (32, 32), [5, draw]) for draw in range(count)]
    places = np.array(target.shape[:2]) - 32 + 1
    return (np.array(shares) * places).astype(int)


def test_informative_windows_are_where_something_is():
    rng = np.random.default_rng(0)
    target = np.ones((200, 260, 3), np.float32)
    target[120:160, 40:90] = rng.uniform(-1, 1, (40, 50, 3))
    corners = places_of_windows(target)
    assert (corners >= 0).all()
    assert (corners <= np.array([168, 228])).all()
    rows, columns = corners.T
    overlaps = (rows > 120 - 32) & (rows < 160) & (columns > 40 - 32) & (columns < 90)
    assert overlaps.mean() > 0.7
    assert not overlaps.all()  # sometimes elsewhere, too
    assert len(np.unique(corners, axis=0)) > 200
    ignored = np.where(target != 1, np.float32(np.nan), target)
    rows, columns = places_of_windows(ignored).T
    overlaps = (rows > 120 - 32) & (rows < 160) & (columns > 40 - 32) & (columns < 90)
    assert overlaps.mean() < 0.5  # what does not count is nothing


def test_windows_of_even_pictures_are_everywhere():
    target = np.zeros((64, 96, 1), np.float32)
    rows, columns = places_of_windows(target, 600).T
    assert (rows.min(), columns.min()) == (0, 0)
    assert rows.max() >= 31
    assert columns.max() >= 62
    assert abs(rows.mean() - 16) < 3
    assert (rows == 32).mean() < 0.1  # the last place is no more often taken than others
    assert abs(columns.mean() - 32) < 4
    assert (places_of_windows(target[:32, :32], 5) == 0).all()


def test_informative_windows_are_a_function_of_seed_and_step(loaded):
    config, found, split = loaded(steps=3, crop=True, windows="informative")
    shard = tf.distribute.InputContext()
    first, again = (list(script.batches(split, config, found, 0, shard)) for _ in range(2))
    (later,) = script.batches(split, config, found, 2, shard)
    for ours, theirs in zip(first[2] + later, again[2] + again[2], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_crop_informative_is_one_flag():
    _, options = parse(["train", "synthetic", "--crop", "informative", "--steps", "7"])
    assert (options.crop, options.windows, options.steps) == (True, "informative", 7)
    _, options = parse(["train", "--crop", "--dataset", "informative-slides"])
    assert (options.crop, options.windows) == (True, "anywhere")
    with pytest.raises(UsageError, match="--windows informative needs --crop"):
        check_train(Train(dataset="synthetic", windows="informative"))
