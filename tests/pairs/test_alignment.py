"""Targets that are out of place: how that is found, and what becomes of them."""

import dataclasses

import numpy as np
import pytest
from conftest import settled
from PIL import Image

import image_to_image_translation as script
from pix2pix.options.saved import read_run
from pix2pix.pairs.alignment import (
    GREY_SIDE,
    TILES,
    describe_misfit,
    field_of,
    find_field,
    find_misfit,
    move,
    move_to_source,
    shrink,
)
from pix2pix.pairs.synthetic import draw_facade
from pix2pix.pictures.label_maps import find_classes
from pix2pix.pictures.sides import PHOTOS, Side
from pix2pix.runs.tables import read_columns
from pix2pix.talk.errors import UsageError

MARGIN = 32  # of drawn facades, from which windows that are out of place are cut
NOWHERE = np.zeros((TILES, TILES, 2))


def draw(number: int, down: int = 0, right: int = 0, turn: float = 0.0) -> list[np.ndarray]:
    """A made-up label map and photo, 192×192, the photo turned to the left and shifted."""
    photo, labels = draw_facade(0, number, (192 + 2 * MARGIN, 192 + 2 * MARGIN))
    turned = Image.fromarray(photo).rotate(turn, Image.Resampling.BILINEAR)
    photo = np.roll(np.asarray(turned), (down, right), (0, 1))
    return [picture[MARGIN:-MARGIN, MARGIN:-MARGIN] for picture in (labels, photo)]


def moved_to(source: np.ndarray, target: np.ndarray, side: Side = PHOTOS) -> np.ndarray:
    """A target, moved to where its source says that it belongs."""
    _, (moved, _) = move_to_source([(source, PHOTOS), (target, side)], None)
    return moved


def inner(picture: np.ndarray) -> np.ndarray:
    """The middle of a picture, where nothing has come in from beyond the border."""
    return picture[24:-24, 24:-24].astype(float)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (9, -6), (-12, 12)])
def test_a_target_is_moved_to_where_its_source_says(down, right):
    before, after = [], []
    for number in range(6):
        _, true = draw(number)
        source, target = draw(number, down, right)
        moved = moved_to(source, target)
        assert (moved.shape, moved.dtype) == (target.shape, target.dtype)
        before.append(np.abs(inner(target) - inner(true)).mean())
        after.append(np.abs(inner(moved) - inner(true)).mean())
    if down == right == 0:
        assert np.median(after) < 10  # of 255: what fits stays, but for parts of a pixel
    else:
        assert np.median(after) < np.median(before) / 3


def test_a_target_that_is_turned_is_turned_back():
    before, after = [], []
    for number in range(6):
        _, true = draw(number)
        source, target = draw(number, turn=2)
        before.append(np.abs(inner(target) - inner(true)).mean())
        after.append(np.abs(inner(moved_to(source, target)) - inner(true)).mean())
    assert np.median(after) < 0.7 * np.median(before)


def test_what_has_nothing_in_common_stays_about_where_it_is():
    noise = np.random.default_rng(0).integers(0, 256, (8, 192, 192, 3), np.uint8)
    pairs = [shrink(draw(number)[0], noise[number]) for number in range(8)]
    moved = [np.abs(find_field([pair], NOWHERE)).max() for pair in pairs]
    assert np.median(moved) * GREY_SIDE < 4  # of 16 that are looked for
    assert not find_field(pairs, NOWHERE).any()
    flat = np.full((64, 64, 3), 7, np.uint8)
    assert not find_field([shrink(flat, flat)], NOWHERE).any()


def test_what_all_pairs_have_in_common_is_found():
    pairs = [draw(number, down=6, right=-4, turn=1.5) for number in range(8)]
    misfit = find_misfit(pairs)
    np.testing.assert_allclose(np.multiply(misfit[:2], 192), (6, -4), atol=1)
    assert describe_misfit(misfit, (192, 192)).startswith(
        "6 pixels down, 4 left, turned left by 1."
    )
    moved = move(pairs[0][1], field_of(misfit))
    error = np.abs(inner(moved) - inner(draw(0)[1])).mean()
    assert error < np.abs(inner(pairs[0][1]) - inner(draw(0)[1])).mean() / 2


def test_what_each_pair_has_for_itself_is_not_in_common():
    shifts = [(9, 0), (-9, 3), (0, -9), (4, 9), (-7, -7), (8, 8), (-3, 9), (9, -9)]
    pairs = [draw(number, *shift) for number, shift in enumerate(shifts)]
    assert find_misfit(pairs) == (0,) * 6
    assert describe_misfit((0,) * 6, (192, 192)) == ""


def test_a_misfit_in_words():
    assert describe_misfit((0, -0.04, 0.02, 0, 0, 0.02), (100, 200)) == "8 pixels left, 2.0% larger"
    assert describe_misfit((0.05, 0, 0, -0.02, 0.02, 0), (100, 100)) == (
        "5 pixels down, turned right by 1.1°"
    )


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_any_type_is_moved_alike(dtype):
    source, target = draw(2, down=7)
    expected = moved_to(source, target)
    factor = dtype(257 if dtype == np.uint16 else 1)
    moved = moved_to(source, target.astype(dtype) * factor)
    assert moved.dtype == dtype
    assert np.abs(moved / factor - expected).max() <= 2


def test_label_maps_keep_their_colours():
    labels, photo = draw(1, right=5)
    classes = find_classes([labels])
    moved = moved_to(photo, labels, Side(classes=classes))
    assert {tuple(colour) for colour in moved.reshape(-1, 3)} <= {
        tuple(colour) for colour in labels.reshape(-1, 3)
    }


# --- In a training --------------------------------------------------------------------------------


@pytest.fixture
def shifted(small, tmp_path):
    """Options of a training on pairs whose targets all lie 6 pixels below where they belong."""
    for split, numbers in {"train": range(6), "val": range(6, 8)}.items():
        (tmp_path / "shifted" / split).mkdir(parents=True)
        for number in numbers:
            pair = np.concatenate(draw(number, down=6), axis=1)
            Image.fromarray(pair).save(tmp_path / "shifted" / split / f"{number}.png")
    return dataclasses.replace(
        small, dataset=str(tmp_path / "shifted"), direction="AtoB", name="shifted", align=True
    )


def test_a_training_takes_out_what_is_out_of_place(shifted, capsys):
    run = script.train(shifted)
    assert "all alike: 6 pixels down" in capsys.readouterr().out
    options, found, _ = read_run(run.folder / "config.json")
    assert found.misfit[0] == pytest.approx(6 / 192, abs=0.005)
    columns = read_columns(run.folder / "validation.csv")
    assert columns["aligned_l1"] != columns["l1"]

    split = script.find_splits(options)["val"]
    _, moved = script.load_examples(split, [0], options, found)
    as_they_are = dataclasses.replace(options, align=False)
    _, target = script.load_examples(split, [0], as_they_are, found)
    _, true = draw(6)
    small_true = np.asarray(Image.fromarray(true).resize((32, 32), Image.Resampling.BILINEAR))
    error, before = (
        np.abs((np.asarray(t[0]) + 1) * 127.5 - small_true)[6:-6] for t in (moved, target)
    )
    assert error.mean() < before.mean() / 2


def test_aligned_runs_resume_exactly(shifted):
    whole = script.train(dataclasses.replace(shifted, name="whole"))
    half = dataclasses.replace(shifted, name="halves", steps=1)
    script.train(half)
    halves = script.train(dataclasses.replace(half, steps=shifted.steps))
    files = [run.folder / "metrics.csv" for run in (whole, halves)]
    first, second = (read_columns(file)["generator_l1"] for file in files)
    assert first[-1] == second[-1]


def test_photos_without_partners_are_not_aligned(small):
    options = dataclasses.replace(
        small, task="colorize", align=True, source_channels=None, target_channels=None
    )
    with pytest.raises(UsageError, match="--align must be left out with this --task"):
        script.train_as_told(options)


def test_settled_pairs_that_fit_have_no_misfit(small):
    assert settled(small).misfit is None
