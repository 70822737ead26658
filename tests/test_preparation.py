"""What the pictures of a side mean: labels, ranges, and the kind that they are brought to."""

import numpy as np
import pytest

from pix2pix.pictures.pixels import Kind, to_results, to_values
from pix2pix.pictures.sides import PHOTOS, LabelClass, Part, Side, side_from_saved
from pix2pix.preparation.settling import settle_kind, with_classes, with_ranges
from pix2pix.talk.errors import UserError

rng = np.random.default_rng(0)
LABELS = [np.repeat(np.uint8([[[9, 9, 9]], [[99, 0, 0]], [[0, 200, 0]]]), 12, axis=1)]
NOISE = [rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)]


@pytest.mark.parametrize(
    ("labels", "title", "pictures", "count"),
    [
        ("none", "source", LABELS, 0),
        ("source", "source", LABELS, 3),
        ("source", "target", LABELS, 0),
        ("both", "target", LABELS, 3),
        ("auto", "target", LABELS, 3),
        ("auto", "source", NOISE, 0),
    ],
)
def test_labels_are_where_they_are_wanted_or_found(labels, title, pictures, count):
    assert len(with_classes(PHOTOS, pictures, None, title, labels).classes) == count


def test_photos_are_not_taken_for_labels_on_demand():
    with pytest.raises(UserError, match="--labels both: the targets have no few even colours"):
        with_classes(PHOTOS, NOISE, None, "target", "both")


def test_what_is_measured_is_no_label_map():
    measured, stacked = Side(measured=True), Side(parts=(Part("a", 1), Part("b", 1)))
    deep = [rng.uniform(0, 1, (9, 9, 5)).astype(np.float32)]
    assert with_classes(measured, deep, None, "source", "auto") == measured
    assert (
        with_classes(measured, [np.zeros((9, 9, 5), np.uint8)], None, "source", "auto") == measured
    )
    assert with_classes(stacked, LABELS, None, "source", "auto") == stacked
    with pytest.raises(UserError, match="several pictures cannot be label maps"):
        with_classes(stacked, LABELS, None, "source", "source")


def test_a_file_says_what_the_classes_are(tmp_path):
    file = tmp_path / "classes.txt"
    file.write_text("9 9 9 sky\n99 0 0 house\n")
    side = with_classes(PHOTOS, NOISE, file, "source", "source")
    assert [label.name for label in side.classes] == ["sky", "house"]
    assert with_classes(PHOTOS, NOISE, file, "source", "auto").classes == ()


def test_ranges_are_told_or_found():
    assert with_ranges(PHOTOS, [], ("0", "9"), "source", bits=8) == PHOTOS
    assert with_ranges(PHOTOS, [], (), "source", bits=16) == PHOTOS
    assert with_ranges(Side(measured=True), [], (), "source", bits=16).ranges == ((0, 65535),)
    told = with_ranges(PHOTOS, [], ("0", "4095"), "target", bits=16)
    assert told.ranges == ((0, 4095),)
    both = ("0", "1", "-5", "5")
    assert with_ranges(PHOTOS, [], both, "source", 32).ranges == ((0, 1),)
    assert with_ranges(PHOTOS, [], both, "target", 32).ranges == ((-5, 5),)
    ramp = np.linspace([0, 100], [1000, 300], 40_000, dtype=np.float32).reshape(200, 200, 2)
    (low, high), (low2, high2) = with_ranges(PHOTOS, [ramp], ("each",), "source", 32).ranges
    np.testing.assert_allclose([low, high, low2, high2], [1, 999, 100.2, 299.8], atol=0.2)
    ((low, high),) = with_ranges(PHOTOS, [ramp], ("auto",), "source", 32).ranges
    np.testing.assert_allclose([low, high], [2, 998], atol=0.5)
    flat = with_ranges(PHOTOS, [np.full((4, 4, 1), 7, np.float32)], ("auto",), "source", 32)
    assert flat.ranges == ((7, 8),)


@pytest.mark.parametrize(("kind", "bits"), [(np.uint16, 16), (np.float32, 32)])
def test_numbers_in_a_range_come_back(kind, bits):
    side = Side(measured=True, ranges=((0, 4095), (-100, 100)))
    pixels = np.stack([[np.linspace(0, 4095, 50)], [np.linspace(0, 100, 50)]], -1).astype(kind)
    values = to_values(pixels, 2, side)
    assert values[0, 0].tolist() == [-1, 0]
    assert values[0, -1].tolist() == [1, 1]
    back = to_results(values, bits, side)
    assert back.dtype == kind
    np.testing.assert_allclose(back, pixels, atol=1e-3)
    outside = to_values(np.array([[[9000, 500]]], kind), 2, side)
    assert outside.tolist() == [[[1, 1]]]


def test_the_kind_of_a_side_is_the_most_that_any_picture_has():
    assert settle_kind([Kind(1, 16), Kind(3, 8)], PHOTOS) == Kind(3, 16)
    assert settle_kind([Kind(2, 8), Kind(3, 8)], PHOTOS) == Kind(4, 8)
    assert settle_kind([Kind(1, 16)], Side(classes=(LabelClass(0, (0, 0, 0), "a"),))) == Kind(3, 8)
    assert settle_kind([Kind(2, 16)], Side(measured=True)) == Kind(2, 16)
    with pytest.raises(UserError, match="2 or 5 channels"):
        settle_kind([Kind(5, 16), Kind(2, 16)], Side(measured=True))


def test_what_is_saved_of_a_side_comes_back():
    classes = (LabelClass(7, (1, 2, 3), "a road"), LabelClass(-1, (0, 0, 0), "#000000"))
    side = Side(classes, True, ((0.0, 1.0), (-2.5, 4.0)), (Part("dapi", 1), Part("depth", 1)))
    assert side_from_saved(side.to_saved(), 2) == side
    assert side_from_saved({}, 3) == PHOTOS
    assert PHOTOS.to_saved() == {}


@pytest.mark.parametrize(
    "saved",
    [
        {"classes": ["1 2 300 a"]},
        {"classes": 5},
        {"classes": [["a"]]},
        {"ranges": [[0, 1], [0, 1]]},
        {"ranges": [[1, 0]]},
        {"ranges": [[0, 1e39]]},
        {"ranges": [[float("nan"), 1]]},
        {"parts": [["dapi", 1]]},
        {"parts": [["dapi", 10**30], ["b", 1]]},
        {"colours": 3},
    ],
)
def test_nonsense_about_a_side_is_refused(saved):
    with pytest.raises((ValueError, TypeError, AttributeError)):
        side_from_saved(saved, 3)
