"""From a dataset by name to checked pairs: which, in what direction, and what is broken."""

import dataclasses
import shutil
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import make_pair, settled, small_task
from PIL import Image
from server import make_archive, serving

import image_to_image_translation as script
from pix2pix import preparation
from pix2pix.commands.inspect_dataset.command import inspect_dataset
from pix2pix.options.train import Train
from pix2pix.pairs.synthetic import draw_facade
from pix2pix.pictures.pixels import Kind
from pix2pix.pictures.sides import PHOTOS
from pix2pix.talk.errors import UserError


def write(path: Path, level: int, size: tuple[int, int] = (8, 6)) -> None:
    """A plain grey picture of (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(path)


# --- finding ---


def test_pairs_are_cut_in_the_middle_and_turned_by_direction(pair_folder):
    whole = np.asarray(Image.open(pair_folder / "train/3.png"))
    for direction in ("AtoB", "BtoA"):
        config = Train(dataset=str(pair_folder), direction=direction)
        splits = script.find_splits(config)
        halves = splits["train"].read(3)
        assert preparation.choose_direction(config) == direction
        np.testing.assert_array_equal(halves[direction == "BtoA"], whole[:, :40])
        np.testing.assert_array_equal(halves[direction == "AtoB"], whole[:, 40:])
    assert {name: len(split) for name, split in splits.items()} == {"train": 6, "val": 2, "test": 1}
    assert preparation.choose_direction(Train(dataset=str(pair_folder))) == "AtoB"


def test_synthetic_splits_share_no_picture(small):
    splits = script.find_splits(small)
    assert preparation.choose_direction(small) == "BtoA"
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 400,
        "val": 100,
        "test": 106,
    }
    names = [name for split in splits.values() for name in split.names]
    assert len(set(names)) == len(names) == 606
    first, drawn = splits["val"].read(0), draw_facade(0, 400, (32, 32))
    np.testing.assert_array_equal(first, drawn[::-1])


def test_a_known_dataset_is_fetched_from_the_mirror(small, capsys):
    with serving(make_archive()) as (mirror, _):
        config = dataclasses.replace(small, dataset="facades", mirror=mirror)
        splits = script.find_splits(config)
    assert preparation.choose_direction(config) == "BtoA"
    assert {name: len(split) for name, split in splits.items()} == {"train": 3, "val": 3}
    assert splits["train"].pairs[0].files == (small.data_dir / "facades/train/0.png",)
    said = f"Fetching {mirror}/facades.tar.gz (about 31 MB) to {small.data_dir}"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("direction", [None, "BtoA"])
def test_photos_for_a_task_are_the_targets_of_pairs(tmp_path, small, direction):
    for k in range(3):
        write(tmp_path / f"A/{k}.png", k)
        write(tmp_path / f"B/{k}.png", 10 + k)
    write(tmp_path / "A/without-target.png", 99)  # sources do not matter
    config = Train(dataset=str(tmp_path), task="sketch", direction=direction, holdout=0)
    preparation.check_options(config)
    splits = script.find_splits(config)
    assert list(splits) == ["train", "val"]
    assert len(splits["val"]) == 0
    photos = [splits["train"].read(k) for k in range(len(splits["train"]))]
    assert [[int(photo[0, 0, 0]) for photo in each] for each in photos] == [[10], [11], [12]]
    config = dataclasses.replace(small, task="sketch", direction=direction)  # synthetic
    (photo,) = script.find_splits(config)["test"].read(2)
    np.testing.assert_array_equal(photo, draw_facade(0, 502, (32, 32))[0])


def test_known_datasets_give_their_targets_to_a_task(tmp_path, pair_folder, small):
    shutil.copytree(pair_folder, tmp_path / "cache/facades")
    for dataset, half in (("facades", slice(40)), ("maps", slice(40, 80))):
        shutil.copytree(pair_folder, tmp_path / f"cache/{dataset}", dirs_exist_ok=True)
        config = dataclasses.replace(small, dataset=dataset, task="inpaint")
        (photo,) = script.find_splits(config)["val"].read(1)
        whole = np.asarray(Image.open(pair_folder / "val/1.png"))
        np.testing.assert_array_equal(photo, whole[:, half])


# --- checking ---


def test_a_check_reports_what_is_there_and_what_is_broken(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    for k in range(4):
        make_pair(tmp_path / f"train/{k}.png", size=40, seed=k)
    make_pair(tmp_path / "train/4.png", size=50)
    grey = np.random.default_rng(0).integers(0, 256, (6, 8), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "train/5.png")
    Image.new("RGB", (63, 32)).save(tmp_path / "train/6.png")
    (tmp_path / "train/7.png").write_bytes(b"")
    options = Train(dataset=str(tmp_path), holdout=0, image_size=32, jitter=False)
    splits = script.find_splits(options)
    checked = preparation.check_split(splits["train"], "train", options)
    assert [pair.title for pair in checked.pairs] == [f"{k}.png" for k in range(6)]
    assert checked.pairs == splits["train"].pairs[:6]
    assert checked.numbers == list(range(6))
    assert checked.sizes == {(40, 40): 4, (50, 50): 1, (6, 4): 1}
    assert checked.kinds == {((3, 8), (3, 8)): 5, ((1, 8), (1, 8)): 1}
    odd, empty = checked.problems
    assert odd == f"{tmp_path}/train/6.png: is 63 pixels wide, so it has no exact middle"
    assert empty.startswith(f"{tmp_path}/train/7.png: not a readable picture")
    assert len(checked) == 6
    found = preparation.settle(options, checked)
    for k in range(6):
        pictures = splits["train"].read(k)
        fitted = [script.fit_to_size(whole, (32, 32), options, PHOTOS) for whole in pictures]
        loaded = script.load_for_jitter(checked, k, options, found)
        for ours, expected in zip(loaded, fitted, strict=True):
            np.testing.assert_array_equal(ours, expected)
    assert f"Checking train {'━' * 30} 8 of 8" in capsys.readouterr().out


@pytest.mark.parametrize("options", [{}, {"crop": True}, {"crop": True, "jitter": False}])
def test_the_memory_that_pictures_would_take_is_known(tmp_path, options):
    make_pair(tmp_path / "train/1.png", size=500)
    config = Train(dataset=str(tmp_path), image_size=32, **options)
    split = script.find_splits(config)["train"]
    checked = preparation.check_split(split, "train", config)
    pictures = script.load_for_jitter(checked, 0, config, settled(config))
    needed = checked.bytes_at(partial(script.size_for_jitter, options=config))
    assert needed == sum(picture.nbytes for picture in pictures)


def test_pairs_keep_their_numbers_whatever_is_broken_before_them(small, tmp_path):
    for k in range(4):
        make_pair(tmp_path / f"train/{k}.png", size=40, seed=k)
    config = small_task(small, "inpaint", dataset=str(tmp_path), holdout=0)
    whole, found = script.find_splits(config)["train"], settled(config)
    expected, _ = script.load_examples(whole, [2, 3], config, found)
    (tmp_path / "train/1.png").write_bytes(b"")
    checked = preparation.check_split(script.find_splits(config)["train"], "train", config)
    assert checked.numbers == [0, 2, 3]
    holes, _ = script.load_examples(checked, [1, 2], config, found)
    np.testing.assert_array_equal(holes, expected)  # drawn by the same numbers


def test_pictures_too_small_to_cut_are_broken(tmp_path):
    make_pair(tmp_path / "train/1.png", size=40)
    config = Train(dataset=str(tmp_path), crop=True, image_size=64)
    split = script.find_splits(config)["train"]
    checked = preparation.check_split(split, "train", config)
    expected = f"{tmp_path}/train/1.png: 40×40 is too small to cut 64×64 from it"
    assert checked.problems == [expected]


@pytest.mark.parametrize("kind", ["odd", "cut", "empty", "text"])
def test_a_picture_that_is_no_pair_is_found_before_training(small, pair_folder, kind):
    broken = pair_folder / "train/2.png"
    whole = broken.read_bytes()
    if kind == "odd":
        Image.new("RGB", (63, 32)).save(broken)
    else:
        broken.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"hello"}[kind])
    config = dataclasses.replace(small, dataset=str(pair_folder))
    with pytest.raises(UserError) as refusal:
        script.train(config)
    assert str(refusal.value).startswith(f"{broken}: ")
    assert "\n" not in str(refusal.value)
    assert not (small.output / "pairs/config.json").exists()


def test_what_cannot_be_paired_is_named_up_to_ten_files(small, tmp_path, capsys):
    for k in range(16):
        write(tmp_path / f"d/A/{k:02}.png", k, (32, 32))
        if k > 12:
            write(tmp_path / f"d/B/{k:02}.png", k, (32, 32))
    write(tmp_path / "d/B/15.png", 0, (32, 40))
    config = dataclasses.replace(small, dataset=str(tmp_path / "d"))
    with pytest.raises(UserError) as refusal:
        script.train(config)
    message = str(refusal.value)
    assert message.startswith(f"{tmp_path}/d/A/00.png: no partner in {tmp_path}/d/B; ")
    assert message.count("no partner") == 10
    assert "; and 4 more. Mend" in message
    assert "--skip-broken" in message
    assert "\n" not in message
    script.train(dataclasses.replace(config, skip_broken=True, holdout=0.4))
    said = capsys.readouterr().out
    assert "Skipped   14 broken or without partner" in said
    assert "1 training pairs" in said


@pytest.mark.parametrize("skip_broken", [True, False])
@pytest.mark.parametrize("command", [script.train, inspect_dataset])
def test_folders_in_which_no_names_match(small, tmp_path, command, skip_broken):
    write(tmp_path / "d/A/1_label.png", 1)
    write(tmp_path / "d/B/1_photo.png", 1)
    config = dataclasses.replace(small, dataset=str(tmp_path / "d"), skip_broken=skip_broken)
    with pytest.raises(UserError) as refusal:
        command(config)
    if skip_broken:
        assert str(refusal.value) == f"{tmp_path}/d: all 2 pairs are broken."
    else:
        assert "1_label.png: no partner in" in str(refusal.value)


# --- what the pictures decide ---


def counted(*pairs: str) -> Counter[tuple[Kind, ...]]:
    """Kinds of pairs as check_split counts them, from "RGB grey" or "RGB16 RGBA"."""
    channels = {"grey": 1, "LA": 2, "RGB": 3, "RGBA": 4}

    def kind(side: str) -> Kind:
        return Kind(channels[side.removesuffix("16")], 16 if side.endswith("16") else 8)

    return Counter(tuple(map(kind, pair.split())) for pair in pairs)


@pytest.mark.parametrize(
    ("options", "seen", "expected"),
    [
        ({}, ["RGB RGB"], (3, 3, 8)),
        ({}, ["grey RGBA"], (1, 4, 8)),
        ({}, ["grey RGB", "RGB grey"], (3, 3, 8)),  # the most that any has
        ({}, ["RGB RGB16", "RGB RGB"], (3, 3, 16)),
        ({}, ["RGB16 RGB"], (3, 3, 8)),  # of the targets
        ({}, ["LA grey"], (4, 1, 8)),
        ({"source_channels": 1}, ["RGB RGB"], (1, 3, 8)),
        ({"target_channels": 4}, ["RGB RGB"], (3, 4, 8)),
        ({"task": "colorize"}, ["RGB"], (1, 3, 8)),
        ({"task": "colorize"}, ["grey"], (1, 3, 8)),
        ({"task": "sketch"}, ["RGBA"], (1, 4, 8)),
        ({"task": "sketch", "direction": "BtoA"}, ["RGB16"], (3, 1, 8)),
        ({"task": "super-resolve"}, ["grey16"], (1, 1, 16)),
        ({"task": "inpaint"}, ["RGBA"], (4, 3, 8)),
    ],
)
def test_the_pictures_decide_the_channels(options, seen, expected):
    found = preparation.conclude(Train(**options), counted(*seen), [PHOTOS, PHOTOS])
    assert (found.source_channels, found.target_channels, found.target_bits) == expected
    assert found.depth == 8


# --- sizes ---


def ramp(height: int, width: int) -> np.ndarray:
    """A picture that tells every position, in 16 bits: red grows to the right, green downwards."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, 0 * rows], axis=-1).astype(np.uint16) * 100


def test_stretching_keeps_the_corners_and_cropping_the_shape():
    picture = ramp(60, 120)
    stretched = script.fit_to_size(picture, (30, 30), Train(), PHOTOS)
    assert stretched.shape == (30, 30, 3)
    assert stretched[0, 0, 0] < 400
    assert stretched[-1, -1, 0] > 11_500
    cropped = script.fit_to_size(picture, (30, 30), Train(fit="crop"), PHOTOS)
    assert cropped.shape == (30, 30, 3)
    assert 3000 <= cropped[..., 0].min() < 3300  # the middle 60 of 120 columns
    assert 8700 <= cropped[..., 0].max() < 9000
    assert cropped[..., 1].max() > 5700  # and all rows
    tall = script.fit_to_size(ramp(90, 30), (32, 64), Train(fit="crop"), PHOTOS)
    assert tall.shape == (32, 64, 3)
    assert 3600 <= tall[..., 1].min() < tall[..., 1].max() <= 5300


def test_cutting_at_full_resolution_takes_the_middle():
    picture = ramp(60, 120)
    cut = script.fit_to_size(picture, (32, 64), Train(crop=True), PHOTOS)
    np.testing.assert_array_equal(cut, picture[14:46, 28:92])
