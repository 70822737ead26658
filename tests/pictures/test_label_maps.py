"""Label maps: which pictures are some, their classes, and what becomes of each pixel."""

import io

import keras
import numpy as np
import pytest
from PIL import Image

from pix2pix.pairs.synthetic import CLASSES, synthetic_splits
from pix2pix.pictures.label_maps import (
    classify,
    find_classes,
    one_channel_per_class,
    palette_of,
    read_classes,
    snap_to_classes,
)
from pix2pix.pictures.pixels import from_pixels
from pix2pix.pictures.sides import LabelClass
from pix2pix.talk.errors import UserError

TRUE = np.array([label for label, _ in CLASSES.values()], np.uint8)
FACADES = [facade.read() for facade in synthetic_splits(0, (128, 128))["train"].pairs[:12]]
RED_AND_BLUE = (LabelClass(0, (255, 0, 0), "red"), LabelClass(1, (0, 0, 255), "blue"))


def as_jpeg(pixels: np.ndarray, quality: int = 75) -> np.ndarray:
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "jpeg", quality=quality)
    return np.asarray(Image.open(encoded))


# --- finding ---


def test_label_maps_without_loss_have_exactly_their_colours():
    classes = find_classes(labels for _, labels in FACADES)
    assert {label.colour for label in classes} == {tuple(map(int, colour)) for colour in TRUE}
    assert classes[0].name == "facade"  # which is most of it
    assert all(CLASSES[label.name][0] == label.colour for label in classes)
    assert [label.number for label in classes] == list(range(len(TRUE)))


def test_the_colours_are_found_though_jpeg_blurs_them():
    facades = synthetic_splits(0, (256, 256))["train"].pairs[:12]
    palette = palette_of(find_classes(as_jpeg(facade.read()[1]) for facade in facades))
    distances = np.abs(TRUE[:, None].astype(int) - palette).max(-1)
    assert len(palette) <= len(TRUE)
    assert distances.min(axis=0).max() <= 8  # nothing that is no class
    large = [list(CLASSES).index(name) for name in ("background", "facade", "window", "door")]
    assert distances.min(axis=1)[large].max() <= 8


def test_photos_drawings_and_deep_pictures_are_no_label_maps():
    assert find_classes(photo for photo, _ in FACADES) == ()
    assert find_classes(as_jpeg(photo, 20) for photo, _ in FACADES) == ()
    grey = [photo[..., :1] for photo, _ in FACADES]
    assert find_classes(grey) == ()
    drawing = [np.where(photo[..., :1] > 128, photo[..., :1], 255) for photo, _ in FACADES]
    assert find_classes(drawing) == ()
    assert find_classes([np.full((9, 9, 1), 40_000, np.uint16)]) == ()
    assert find_classes([np.zeros((9, 9, 3), np.float32)]) == ()
    assert find_classes([]) == ()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_pictures_of_class_numbers_get_colours_to_look_at(kind):
    numbers = np.repeat(np.arange(8, dtype=kind), 64).reshape(16, 32, 1)
    classes = find_classes([numbers])
    assert [label.number for label in classes] == list(range(8))
    palette = palette_of(classes).astype(int)
    apart = np.abs(palette[:, None] - palette).max(-1)
    assert apart[~np.eye(8, dtype=bool)].min() > 40
    np.testing.assert_array_equal(classify(numbers, classes), numbers[..., 0])


def test_two_classes_are_enough_where_nearly_all_is_even():
    mask = np.zeros((64, 64, 1), np.uint8)
    mask[16:48, 16:48] = 255
    assert [label.number for label in find_classes([mask])] == [0, 255]


# --- from a file ---


def test_classes_are_read_with_and_without_numbers(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("# Cityscapes\n7 128 64 128 road\n\n-1 0 0 142 license plate\n")
    road, plate = read_classes(path)
    assert road == LabelClass(7, (128, 64, 128), "road")
    assert plate == LabelClass(-1, (0, 0, 142), "license plate")
    path.write_text("128 64 128 road\n0 0 142\n1 2 3 2nd floor\n")
    assert read_classes(path) == (
        LabelClass(0, (128, 64, 128), "road"),
        LabelClass(1, (0, 0, 142), "class 1"),
        LabelClass(2, (1, 2, 3), "2nd floor"),
    )


@pytest.mark.parametrize("text", ["road", "1 2 3 a", "1 2 999 a\n1 2 3 b", "", "\0", "1 2\n3 4"])
def test_a_file_of_something_else_is_named(tmp_path, text):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(UserError, match=r"classes\.txt: .*--classes"):
        read_classes(tmp_path / "classes.txt")


# --- pixels ---


def test_what_jpeg_makes_of_an_edge_is_one_of_both_sides():
    labels = np.full((32, 32, 3), (255, 0, 0), np.uint8)
    labels[:, 16:] = (0, 0, 255)
    between = LabelClass(2, (128, 0, 128), "purple")  # as an edge of red and blue looks in JPEG
    snapped = snap_to_classes(as_jpeg(labels, 30), (*RED_AND_BLUE, between))
    assert {tuple(colour) for colour in snapped.reshape(-1, 3)} == {(255, 0, 0), (0, 0, 255)}
    assert (snapped == labels).all(axis=-1).mean() > 0.9


def test_numbers_become_colours_and_photos_are_left_alone():
    numbers = np.uint8([[[0], [1]], [[1], [9]]])  # the nearest of what is no class
    colours = snap_to_classes(numbers, RED_AND_BLUE)
    assert colours[0].tolist() == [[255, 0, 0], [0, 0, 255]]
    assert colours[1, 1].tolist() == [0, 0, 255]
    photo = FACADES[0][0]
    assert snap_to_classes(photo, ()) is photo


def test_the_networks_see_one_channel_for_each_class():
    labels, classes = FACADES[0][1], find_classes(labels for _, labels in FACADES)
    source = keras.Input((128, 128, 3))
    network = keras.Model(source, one_channel_per_class(source, classes))
    seen = network(from_pixels(labels)[None])[0].numpy()
    assert seen.shape == (128, 128, len(classes))
    np.testing.assert_array_equal(seen.argmax(-1), classify(labels, classes))
    assert (seen.sum(-1) == 1).all()
    assert one_channel_per_class(source, ()) is source


def test_numbers_above_a_byte_and_deep_colours_are_classes_too():
    far = (LabelClass(3, (255, 0, 0), "near"), LabelClass(1000, (0, 0, 255), "far"))
    for kind in (np.uint16, np.float32):
        assert classify(np.array([[[3], [1000], [900]]], kind), far).tolist() == [[0, 1, 1]]
    deep = np.uint16([[[65535, 0, 0], [0, 0, 65535]]])
    assert classify(deep, RED_AND_BLUE).tolist() == [[0, 1]]
