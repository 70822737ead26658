"""What inspect measures of pairs: shifts, repetitions, pictures of one colour, the direction."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from pix2pix.commands.inspect_dataset import pair_checks
from pix2pix.commands.inspect_dataset.pair_checks import (
    describe_findings,
    find_repeated,
    looks_turned_round,
    measure_pair,
)
from pix2pix.pairs.synthetic import draw_facade

MARGIN = 24  # of drawn facades, from which shifted windows are cut


def draw(number: int, down: int = 0, right: int = 0) -> list[np.ndarray]:
    """A made-up label map and photo, 256×256, the photo shifted."""
    photo, labels = draw_facade(0, number, (256 + 2 * MARGIN, 256 + 2 * MARGIN))
    labels = labels[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return [labels, np.roll(photo, (down, right), (0, 1))[MARGIN:-MARGIN, MARGIN:-MARGIN]]


def measure_facades(numbers: range) -> list[pair_checks.PairMeasures]:
    """The measures of made-up pairs, each called by its number."""
    return [measure_pair(str(k), draw(k)) for k in numbers]


def as_jpeg(pixels: np.ndarray) -> np.ndarray:
    """A picture after it was saved with loss."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=40)
    return np.asarray(Image.open(file))


def as_half(pixels: np.ndarray) -> np.ndarray:
    """A picture at half its size."""
    return np.asarray(Image.fromarray(pixels).resize((128, 128)))


def as_darker(pixels: np.ndarray) -> np.ndarray:
    """A picture that lost some brightness."""
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(pixels)).enhance(0.7))


def noise(*shape: int) -> np.ndarray:
    """A picture of noise in 8 bits."""
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


# --- Shifted ---


@pytest.mark.parametrize(("down", "right"), [(9, 0), (-8, 4), (0, -12), (20, 20)])
def test_a_shift_is_found(down, right):
    shifts = np.array([measure_pair("", draw(k, down, right)).shift for k in range(8)])
    certain = shifts[shifts.any(axis=1)]
    assert len(certain) >= 5
    np.testing.assert_allclose(certain, [[down, right]] * len(certain), atol=2)


def test_nobody_is_accused_of_a_shift():
    assert not any(any(pair.shift) for pair in measure_facades(range(25)))
    (labels, _), (_, photo) = draw(0), draw(1)
    assert not any(measure_pair("", [labels, photo]).shift)  # have nothing in common
    assert not any(measure_pair("", [noise(64, 64, 3), noise(64, 65, 3)[:, 1:]]).shift)


def test_a_shift_is_in_pixels_of_the_picture():
    labels, photo = draw(3, down=8)
    large = [pixels.repeat(4, axis=0).repeat(2, axis=1) for pixels in (labels, photo)]
    np.testing.assert_allclose(measure_pair("", large).shift, (32, 0), atol=4)


def test_a_shift_in_words():
    pairs = {"train": [*measure_facades(range(2)), measure_pair("17.png", draw(3, 8, -4))]}
    assert list(describe_findings(pairs, "pairs")) == [
        ("Shifted", "1 of 3 train pairs, worst 17.png by 9 pixels (target 8 down, 4 left)")
    ]


# --- Repeated ---


def test_repeated_pairs_are_found_and_different_ones_are_not():
    training = measure_facades(range(30))
    others = measure_facades(range(100, 115))
    assert find_repeated(training, others) == []
    copies = [[f(side) for side in draw(7)] for f in (np.copy, as_jpeg, as_half, as_darker)]
    others += [measure_pair("copy", copy) for copy in copies]
    found = find_repeated(training, others)
    assert [(pair.title, twin.title) for pair, twin in found] == [("copy", "7")] * 4
    told = [*describe_findings({"train": training, "val": others, "test": []}, "pairs")]
    assert told == [("Repeated", "4 of 19 val pairs are in train too, or almost: copy as 7")]


def test_a_pair_is_repeated_only_if_both_sides_are(monkeypatch):
    monkeypatch.setattr(pair_checks, "PAIRS_AT_ONCE", 2)
    (labels, photo), (_, other) = draw(0), draw(1)
    black = np.zeros_like(labels)
    training = [measure_pair("whole", [labels, photo]), measure_pair("blank", [photo, black])]
    pairs = {
        "other photo": [labels, other],
        "other blank": [other, black],
        "nothing": [black, black],
        "same": [labels, photo],
        "same blank": [photo, black],
    }
    found = find_repeated(training, [measure_pair(*pair) for pair in pairs.items()])
    twins = [(pair.title, twin.title) for pair, twin in found]
    assert twins == [("same", "whole"), ("same blank", "blank")]
    assert find_repeated([], training) == find_repeated(training, []) == []


def test_repeated_photos():
    photos = [measure_pair(str(k), draw(k)[1:]) for k in range(3)]
    told = [*describe_findings({"train": photos, "val": photos[1:2]}, "photos")]
    assert told == [("Repeated", "1 of 1 val photos are in train too, or almost: 1 as 1")]


# --- Of one colour ---


def test_pictures_of_one_colour():
    labels, photo = draw(0)
    almost = np.full_like(labels, 200)
    almost[::2, ::3] += 2
    line = np.full_like(labels, 255)
    line[100:102, 20:220] = 0
    pairs = [("0", draw(1)), ("5.png", [almost, photo]), ("6.png", [labels, line])]
    measures = [measure_pair(*pair) for pair in pairs]
    assert [[side.is_flat for side in pair.sides] for pair in measures] == [
        [False, False],
        [True, False],
        [False, False],
    ]
    told = [*describe_findings({"train": measures}, "pairs")]
    told = [row for row in told if row[0] != "Blank"]
    assert told == [("Flat", "1 of 3 train sources have one colour only, e.g. 5.png")]
    told = [*describe_findings({"train": [measure_pair("1.png", [almost])]}, "photos")]
    assert told == [("Flat", "1 of 1 train photos have one colour only, e.g. 1.png")]


# --- Blank ---


def test_blanks_that_no_source_tells_of():
    label_map, photo = draw(1)
    wedge = np.add.outer(np.arange(photo.shape[0]), np.arange(photo.shape[1])) < 70
    filled = photo.copy()
    filled[wedge] = 0
    measures = [measure_pair("a", [label_map, photo]), measure_pair("b", [label_map, filled])]
    assert measures[1].blank == pytest.approx(wedge.mean(), abs=0.01)
    told = dict(describe_findings({"train": measures}, "pairs"))
    text = "1 of 2 train targets have a blank corner that no source tells of, e.g. b"
    assert told["Blank"] == text
    both = label_map.copy()
    both[wedge] = 255
    assert measure_pair("c", [both, filled]).blank == 0
    drawings = [measure_pair("d", [photo, label_map])]
    assert not list(describe_findings({"train": drawings}, "pairs"))


# --- Turned round ---


def test_the_direction():
    measures = measure_facades(range(20))
    assert not looks_turned_round(measures)  # from label maps to photos
    turned = [pair._replace(sides=pair.sides[::-1]) for pair in measures]
    assert looks_turned_round(turned)
    assert not looks_turned_round([])
    assert not looks_turned_round([pair._replace(sides=pair.sides[:1]) for pair in measures])
    noisy = [measure_pair("", [noise(64, 64, 3), draw(k)[1]]) for k in range(5)]
    assert not looks_turned_round(noisy)  # a photo that is less noisy is no drawing


# --- Any pixels ---


@pytest.mark.parametrize("shape", [(8, 8), (1, 1), (2, 900), (3000, 4), (257, 511)])
@pytest.mark.parametrize("channels", [(1, 3), (2, 4), (4, 1), (5, 7)])
@pytest.mark.filterwarnings("error")
def test_any_size_and_channels(shape, channels):
    pair = measure_pair("", [noise(*shape, count) for count in channels])
    assert [side.thumbnail.shape for side in pair.sides] == [(24, 24)] * 2
    assert pair.shift == (0, 0)


@pytest.mark.filterwarnings("error")
def test_any_type_means_the_same():
    labels, photo = draw(3, down=9)
    expected = measure_pair("", [labels, photo])
    for factor, dtype in ((257, np.uint16), (1000, np.float32), (1e-3, np.float64)):
        pair = measure_pair("", [side.astype(dtype) * dtype(factor) for side in (labels, photo)])
        assert pair.shift == pytest.approx(expected.shift, rel=1e-3)
        assert pair.shift == pytest.approx((9, 0), abs=2)
        for side, like in zip(pair.sides, expected.sides, strict=True):
            np.testing.assert_allclose(side.thumbnail.astype(int), like.thumbnail, atol=1)


@pytest.mark.filterwarnings("error")
def test_floats_that_are_no_numbers():
    photo = draw(0)[1].astype(np.float32)
    photo[3, 4], photo[9, 9] = np.nan, np.inf
    empty = np.full((40, 40, 1), np.nan, np.float32)
    assert [side.is_flat for side in measure_pair("", [photo, empty]).sides] == [False, True]
