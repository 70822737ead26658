"""From tensors to what a person sees."""

import numpy as np
import tensorflow as tf
from conftest import make_training
from PIL import Image

import image_to_image_translation as script
from pix2pix import preparation
from pix2pix.pictures.pixels import from_pixels


def test_a_panel_shows_every_picture_pixel_for_pixel(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 2, 256, 256, 3), dtype=np.uint8)
    columns = dict(zip("abc", from_pixels(pictures), strict=True))
    script.draw_panel(tmp_path / "panel.png", columns)
    panel = np.asarray(Image.open(tmp_path / "panel.png").convert("RGB"))
    assert panel.shape == (2 * 264 + 28, 3 * 264 + 8, 3)
    for column, row in np.ndindex(3, 2):
        cell = panel[28 + row * 264 :, 8 + column * 264 :][:256, :256]
        np.testing.assert_array_equal(cell, pictures[column, row])
    for column in range(3):  # a title above each column
        assert (panel[:28, 8 + column * 264 :][:, :256] < 100).any()


def test_small_pictures_are_enlarged(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    script.draw_panel(tmp_path / "panel.png", {"a": from_pixels(picture)})
    panel = np.asarray(Image.open(tmp_path / "panel.png").convert("RGB"))
    np.testing.assert_array_equal(panel[28:284:4, 8:264:4], picture[0])


def test_panels_of_rectangles_grey_and_transparent_pictures(tmp_path):
    rng = np.random.default_rng(0)
    shapes = {"grey": (1, 32, 96, 1), "RGB": (1, 32, 96, 3), "RGBA": (1, 32, 96, 4)}
    pictures = {k: rng.integers(0, 256, shape, dtype=np.uint8) for k, shape in shapes.items()}
    pictures["RGBA"][..., 3] = np.where(pictures["RGBA"][..., 3] > 127, 255, 0)
    columns = {title: from_pixels(images) for title, images in pictures.items()}
    script.draw_panel(tmp_path / "panel.png", columns)
    panel = np.asarray(Image.open(tmp_path / "panel.png").convert("RGB"))
    assert panel.shape == (28 + 2 * 32 + 8, 8 + 3 * (2 * 96 + 8), 3)
    cells = [panel[28:92:2, 8 + k * 200 :][:, :192:2] for k in range(3)]
    np.testing.assert_array_equal(cells[0], pictures["grey"][0].repeat(3, axis=-1))
    np.testing.assert_array_equal(cells[1], pictures["RGB"][0])
    seen = pictures["RGBA"][0][..., 3:] == 255  # elsewhere the white paper
    np.testing.assert_array_equal(cells[2], np.where(seen, pictures["RGBA"][0][..., :3], 255))


def test_a_preview_is_what_the_generator_makes(small, monkeypatch):
    drawn = {}
    monkeypatch.setattr(script, "draw_panel", lambda path, columns: drawn.update(columns))
    training = make_training(small)
    split = preparation.check_split(script.find_splits(small)["val"], "val", small)
    held_out = script.HeldOut(training, "val", split)
    training.folder.mkdir(parents=True)
    held_out.save_preview()
    assert list(drawn) == ["Input", "Ground truth"]  # of no use before the first step
    training.steps_done.assign(3)
    assert held_out.save_preview() == training.folder / "previews" / "step-000003.png"
    assert list(drawn) == ["Input", "Ground truth", "Prediction"]
    sources, targets = script.load_examples(split, (0, 1, 2), small, training.found)
    np.testing.assert_array_equal(drawn["Input"], sources)
    np.testing.assert_array_equal(drawn["Ground truth"], targets)
    expected = training.generator(sources, training=False)
    np.testing.assert_allclose(drawn["Prediction"], expected, atol=1e-5)
    assert tf.reduce_max(tf.abs(expected)) <= 1
