"""Parts of targets that do not count: how they are found, and that nothing sees them."""

import dataclasses

import numpy as np
import pytest
import tifffile
from PIL import Image

import image_to_image_translation as script
from pix2pix.commands.evaluate import evaluate
from pix2pix.options.commands import Evaluate
from pix2pix.options.saved import read_run
from pix2pix.pairs.synthetic import draw_facade
from pix2pix.pictures.ignored import find_ignored, has_colour, set_apart
from pix2pix.pictures.pixels import stripe
from pix2pix.pictures.sides import parse_colour
from pix2pix.runs.tables import read_columns
from pix2pix.runs.validation import measure
from pix2pix.talk.errors import UsageError, UserError

SIZE = 64


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("black", (0, 0, 0)),
        ("ff00Ff", (255, 0, 255)),
        ("#0030ff", (0, 48, 255)),
        ("fff", (255, 255, 255)),
        ("nothing", None),
        ("", None),
    ],
)
def test_colours_have_names(text, colour):
    assert parse_colour(text) == colour


def test_a_colour_is_found_exactly_and_from_the_border_nearly():
    pixels = np.full((10, 12, 3), 200, np.uint8)
    pixels[:3, :4] = 5  # a wedge with noise
    pixels[5, 6] = 0  # a pixel of just that colour
    pixels[7, 8] = 5  # one of nearly that colour
    expected = np.zeros((10, 12), bool)
    expected[:3, :4] = expected[5, 6] = True
    np.testing.assert_array_equal(has_colour(pixels, (0, 0, 0)), expected)
    deep = pixels.astype(np.uint16) * 257
    np.testing.assert_array_equal(has_colour(deep, (0, 0, 0)), expected)
    np.testing.assert_array_equal(has_colour(pixels[..., :1], (0, 0, 0)), expected)
    with pytest.raises(UserError, match="8 or 16 bits"):
        has_colour(pixels.astype(np.float32), (0, 0, 0))


def test_transparency_is_found(tmp_path):
    pixels = np.full((4, 4, 4), 255, np.uint8)
    pixels[0, :, 3] = 100
    mask = find_ignored("alpha", tmp_path, pixels)
    np.testing.assert_array_equal(mask[..., 0] > 0, [[True] * 4] + [[False] * 4] * 3)
    assert not find_ignored("alpha", tmp_path, pixels[..., :3]).any()


def test_no_data_is_what_a_file_says(tmp_path):
    pixels = np.arange(16, dtype=np.float32).reshape(4, 4, 1)
    pixels[3, 3] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", pixels, extratags=[(42113, 2, 0, "5", True)])
    tifffile.imwrite(tmp_path / "b.tif", pixels)
    marked = find_ignored("nodata", tmp_path / "a.tif", pixels)[..., 0] > 0
    assert np.argwhere(marked).tolist() == [[1, 1], [3, 3]]
    plain = find_ignored("nodata", tmp_path / "b.tif", pixels)[..., 0] > 0
    assert np.argwhere(plain).tolist() == [[3, 3]]


def test_masks_have_the_names_of_pictures(tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    bright = np.zeros((4, 4), np.uint8)
    bright[:2] = 255
    (tmp_path / "masks/train").mkdir(parents=True)
    Image.fromarray(bright).save(tmp_path / "masks/1.png")
    mask = find_ignored(str(tmp_path / "masks"), tmp_path / "train/1.jpg", pixels)
    np.testing.assert_array_equal(mask[:, 0, 0] > 0, [True] * 4 + [False] * 4)
    Image.fromarray(255 - bright).save(tmp_path / "masks/train/1.png")  # of that folder
    for target in ("train/1.jpg", "train/B/1.jpg"):
        mask = find_ignored(str(tmp_path / "masks"), tmp_path / target, pixels)
        np.testing.assert_array_equal(mask[:, 0, 0] > 0, [False] * 4 + [True] * 4)
    (tmp_path / "masks/1.png.aux.xml").write_text("of GDAL")
    np.save(tmp_path / "masks/3.npy", bright > 0)  # numbers 0 and 1
    mask = find_ignored(str(tmp_path / "masks"), tmp_path / "3.jpg", pixels)
    np.testing.assert_array_equal(mask[:, 0, 0] > 0, [True] * 4 + [False] * 4)
    Image.fromarray(bright).save(tmp_path / "masks/3.png")
    with pytest.raises(UserError, match="one of several masks"):
        find_ignored(str(tmp_path / "masks"), tmp_path / "3.jpg", pixels)
    with pytest.raises(UserError, match="2.jpg: no mask of its name"):
        find_ignored(str(tmp_path / "masks"), tmp_path / "train/2.jpg", pixels)


def test_what_does_not_count_is_evened_out(tmp_path):
    pixels = np.full((4, 4, 3), 100, np.uint8)
    pixels[0] = 0
    evened, mask = set_apart("black", tmp_path, pixels)
    assert (evened == 100).all()
    assert (mask[..., 0] > 0).tolist() == [[True] * 4] + [[False] * 4] * 3
    with pytest.raises(UserError, match="nothing in it counts"):
        set_apart("black", tmp_path, np.zeros((4, 4, 3), np.uint8))


def test_what_does_not_count_is_striped():
    values = np.zeros((1, 8, 8, 3), np.float32)
    values[0, :4] = np.nan
    striped = stripe(values)
    assert np.isfinite(striped).all()
    assert len(np.unique(striped[0, :4])) == 2
    assert not striped[0, 4:].any()


def test_measures_are_of_what_counts():
    rng = np.random.default_rng(0)
    target, generated = rng.uniform(-1, 1, (2, 1, 32, 32, 3)).astype(np.float32)
    whole = measure(target[:, :, :20], generated[:, :, :20])
    target[:, :, 20:] = np.nan
    part = measure(target, generated)
    for name in ("l1", "psnr", "ssim"):
        np.testing.assert_allclose(part[name], whole[name], rtol=1e-4)


# --- In a training --------------------------------------------------------------------------------


def write_pairs(folder, wedge: int) -> None:
    """Pairs, side by side, whose photos have a wedge of a grey; and masks that cover it."""
    for split, numbers in {"train": range(4), "val": range(4, 6)}.items():
        (folder / split).mkdir(parents=True)
        (folder.parent / "masks" / split).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            photo, labels = draw_facade(0, number, (SIZE, SIZE))
            photo[:20, :20] = wedge
            pair = np.concatenate([photo, labels], axis=1)
            Image.fromarray(pair).save(folder / split / f"{number}.png")
            mask = np.zeros((SIZE, SIZE), np.uint8)
            mask[:24, :24] = 255
            Image.fromarray(mask).save(folder.parent / "masks" / split / f"{number}.png")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"augment": ("rotate", "colour"), "labels": "none"},
        {"precision": "bfloat16", "align": True},
        {"recipe": "vivid", "critic": "features", "feature_weight": 1.0},
    ],
)
def test_what_is_masked_changes_nothing(small, tmp_path, options):
    runs = []
    for name, wedge in (("dark", 0), ("bright", 255)):
        write_pairs(tmp_path / name, wedge)
        config = dataclasses.replace(
            small,
            dataset=str(tmp_path / name),
            direction="BtoA",
            name=name,
            ignore=str(tmp_path / "masks"),
            steps=2,
        )
        runs.append(script.train(dataclasses.replace(config, **options)).folder)
    dark, bright = (read_columns(run / "metrics.csv") for run in runs)
    losses = [name for name in dark if name != "steps_per_second"]
    assert {name: dark[name] for name in losses} == {name: bright[name] for name in losses}
    dark, bright = (read_columns(run / "validation.csv") for run in runs)
    assert dark == bright
    assert np.isfinite([*dark.values()]).all()


def test_evaluate_leaves_out_what_does_not_count(small, tmp_path, capsys):
    write_pairs(tmp_path / "pairs", 0)
    config = dataclasses.replace(
        small, dataset=str(tmp_path / "pairs"), direction="BtoA", name="run", ignore="black"
    )
    run = script.train(config).folder
    options, found, _ = read_run(run / "config.json")
    split = script.find_splits(options)["val"]
    _, target = script.load_examples(split, [0], options, found)
    missing = np.isnan(np.asarray(target[0])).all(axis=-1)
    assert missing[:10, :10].all()
    assert missing.mean() < 0.2
    report = evaluate(Evaluate(run=run))
    assert "ms_ssim" not in report.metrics
    assert np.isfinite([*report.metrics.values()]).all()


def test_transparent_targets_become_rgb(small, tmp_path):
    (tmp_path / "pairs").mkdir()
    for number in range(3):
        photo, labels = draw_facade(0, number, (SIZE, SIZE))
        alpha = np.full((SIZE, SIZE, 1), 255, np.uint8)
        opaque = np.concatenate([labels, alpha], axis=-1)
        alpha[:9] = 0
        pair = np.concatenate([np.concatenate([photo, alpha], axis=-1), opaque], axis=1)
        Image.fromarray(pair).save(tmp_path / f"pairs/{number}.png")
    config = dataclasses.replace(
        small,
        dataset=str(tmp_path / "pairs"),
        direction="BtoA",
        source_channels=None,
        target_channels=None,
        ignore="alpha",
    )
    run = script.train(config).folder
    assert read_run(run / "config.json").found.target_channels == 3


def test_numbers_may_be_missing(small, tmp_path):
    rng = np.random.default_rng(0)
    for side in "AB":
        (tmp_path / side).mkdir()
        for number in range(3):
            pixels = rng.uniform(0, 100, (40, 40)).astype(np.float32)
            pixels[:8] = np.nan if side == "B" else -9999
            tags = [(42113, 2, 0, "-9999", True)]
            tifffile.imwrite(tmp_path / side / f"{number}.tif", pixels, extratags=tags)
    config = dataclasses.replace(
        small,
        source_dir=tmp_path / "A",
        target_dir=tmp_path / "B",
        dataset="facades",
        source_channels=None,
        target_channels=None,
        name="numbers",
    )
    with pytest.raises(UserError, match="--ignore nodata"):
        script.train_as_told(config)
    run = script.train(dataclasses.replace(config, ignore="nodata")).folder
    _, found, _ = read_run(run / "config.json")
    assert all(0 <= low < high <= 100 for low, high in (*found.source.ranges, *found.target.ranges))
    assert np.isfinite([*read_columns(run / "metrics.csv").values()]).all()


@pytest.mark.parametrize("rule", ["nothing", "", "no_such_folder"])
def test_what_says_nothing_is_refused(small, tmp_path, rule):
    (tmp_path / "pairs").mkdir()
    config = dataclasses.replace(small, dataset=str(tmp_path / "pairs"), ignore=rule)
    with pytest.raises(UsageError, match="--ignore must be alpha, nodata, a colour"):
        script.train_as_told(config)
