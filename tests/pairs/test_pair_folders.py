"""The layouts a dataset can have, and what cannot be paired."""

from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
from conftest import make_pair
from PIL import Image

import image_to_image_translation as script
from pix2pix import preparation
from pix2pix.options.train import Train
from pix2pix.pairs.file_pairs import FilePair, read_pair
from pix2pix.pairs.pair_folders import find_pairs, hold_out
from pix2pix.pairs.splits import Split
from pix2pix.talk.errors import UserError

TWO_FOLDERS = [
    *("A/{s}|B/{s}", "{s}/A|{s}/B", "{s}A|{s}B", "{s}_A|{s}_B", "input/{s}|target/{s}"),
    *("input/{s}|output/{s}", "{s}_input|{s}_output", "{s}/input|{s}/target"),
]


def write(path: Path, level: int, size: tuple[int, int] = (8, 6)) -> None:
    """A plain grey picture of (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(path)


def levels(split: Split) -> list[tuple[int, ...]]:
    """The brightness of source and target of every pair."""
    read = (split.read(k) for k in range(len(split)))
    return [tuple(int(picture[0, 0, 0]) for picture in pictures) for pictures in read]


def find(folder: Path, **options) -> dict[str, list[tuple[int, ...]]]:
    """The pairs of each split that is not empty."""
    config = Train(dataset=str(folder), **options)
    preparation.check_options(config)
    splits = script.find_splits(config)
    return {name: levels(split) for name, split in splits.items() if len(split)}


def turned(pairs: dict, direction: str | None) -> dict:
    """What AtoB finds, seen in another direction."""
    return {s: [p[::-1] if direction == "BtoA" else p for p in ps] for s, ps in pairs.items()}


@pytest.mark.parametrize("direction", ["AtoB", "BtoA", None])
@pytest.mark.parametrize("layout", TWO_FOLDERS)
def test_two_folders_with_splits(tmp_path, layout, direction):
    number = 0
    expected = {}
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        expected[split] = []
        for k in range(count):
            for side, folder in enumerate(layout.format(s=split).split("|")):
                write(tmp_path / folder / f"{k}.{('png', 'bmp')[side]}", number + side)
            expected[split].append((number, number + 1))
            number += 2
    assert find(tmp_path, direction=direction) == turned(expected, direction)


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
@pytest.mark.parametrize("names", ["A|B", "input|target", "input|output"])
def test_two_folders_without_splits_hold_out_a_tenth(tmp_path, names, direction, capsys):
    for k in range(20):
        for side, name in enumerate(names.split("|")):
            write(tmp_path / name / f"{k:02}.png", 2 * k + side)
    found = find(tmp_path, direction=direction)
    assert {split: len(pairs) for split, pairs in found.items()} == {"train": 18, "val": 2}
    everything = turned({"all": sorted(found["train"] + found["val"])}, direction)["all"]
    assert everything == [(2 * k, 2 * k + 1) for k in range(20)]
    said = "Held out  2 of 20: there is neither val/ nor test/ (--holdout)"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_source_dir_and_target_dir(tmp_path, monkeypatch, direction):
    monkeypatch.chdir(tmp_path)
    for k in range(4):
        write(tmp_path / "drawings" / f"{k}.png", k)
        write(tmp_path / "photos" / f"{k}.jpg", 100 + k)
    for root in (Path(), tmp_path):
        found = find(
            *("facades",),  # not looked at
            source_dir=root / "drawings",
            target_dir=root / "photos",
            direction=direction,
            holdout=0,
        )
        assert found == turned({"train": [(k, 100 + k) for k in range(4)]}, direction)


def test_source_dir_and_target_dir_may_have_splits(tmp_path):
    for split, level in (("train", 1), ("test", 2)):
        write(tmp_path / "x" / split / "1.png", level)
        write(tmp_path / "y" / split / "1.png", 10 * level)
    found = find("facades", source_dir=tmp_path / "x", target_dir=tmp_path / "y")
    assert found == {"train": [(1, 10)], "test": [(2, 20)]}


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
@pytest.mark.parametrize("split", ["", "train"])
def test_side_by_side_with_training_pairs_only(tmp_path, split, direction):
    for k in range(10):
        halves = np.repeat(np.uint8([[k, 50 + k]]), 4, axis=1)
        (tmp_path / split).mkdir(exist_ok=True)
        Image.fromarray(halves).save(tmp_path / split / f"{k}.png")
    found = find(tmp_path, direction=direction)
    assert [len(pairs) for pairs in found.values()] == [9, 1]
    assert sorted(found["train"] + found["val"]) == sorted(
        turned({"all": [(k, 50 + k) for k in range(10)]}, direction)["all"]
    )


def test_the_lot_of_a_pair_depends_on_its_name_and_the_seed_alone(tmp_path):
    pairs = [FilePair((tmp_path / f"{k}.png",), True, f"{k}.png") for k in range(200)]
    kept, held = hold_out(pairs, 0.1, seed=0)
    assert len(held) == 20
    by_files = attrgetter("files")
    assert sorted(kept + held, key=by_files) == sorted(pairs, key=by_files)
    assert hold_out(pairs[::-1], 0.1, seed=0)[1] == held[::-1]
    fewer = hold_out(pairs[:190], 0.1, seed=0)[1]
    assert len(set(fewer) & set(held)) >= 17  # ten files more or less change little
    other = hold_out(pairs, 0.1, seed=1)[1]
    assert len(set(other) & set(held)) < 10
    assert len(hold_out(pairs, 0.5, seed=0)[1]) == 100
    assert hold_out(pairs, 0, seed=0)[1] == []
    assert hold_out(pairs[:1], 0.1, seed=0) == (pairs[:1], [])
    assert len(hold_out(pairs[:2], 0.9, seed=0)[0]) == 1


def test_pairs_are_made_by_name_and_never_by_order(tmp_path):
    write(tmp_path / "A/1.png", 1)
    write(tmp_path / "A/2.png", 2)
    write(tmp_path / "A/3.png", 3)
    write(tmp_path / "B/2.png", 12)
    write(tmp_path / "B/3.jpg", 13)
    write(tmp_path / "B/3.png", 13)
    write(tmp_path / "B/4.png", 14)
    (tmp_path / "B/notes.txt").write_text("not a picture")
    write(tmp_path / "B/.hidden.png", 0)
    a, b = tmp_path / "A", tmp_path / "B"
    split = script.find_splits(Train(dataset=str(tmp_path)))["train"]
    assert levels(split) == [(2, 12)]
    assert split.problems == [
        f"{a}/1.png: no partner in {b}",
        f"{a}/3.png and {b}/3.jpg and {b}/3.png: too many for one pair",
        f"{b}/4.png: no partner in {a}",
    ]


def test_pictures_of_different_shapes_are_no_pair(tmp_path):
    write(tmp_path / "A/1.png", 1, (8, 6))
    write(tmp_path / "B/1.png", 1, (8, 7))
    (pair,) = find_pairs(tmp_path, None, photos=False, holdout=0.1, seed=0, group=None)[
        "train"
    ].pairs
    with pytest.raises(UserError) as refusal:
        pair.read()
    expected = f"{tmp_path}/A/1.png: differs in shape from {tmp_path}/B/1.png (6×8 and 7×8)"
    assert str(refusal.value) == expected


@pytest.mark.parametrize("places", [("train",), ("A", "B"), ("only_A",), ()])
def test_a_folder_without_pairs(tmp_path, places):
    for place in places:
        make_pair(tmp_path / place / ".hidden.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(UserError, match="no pictures. Put side-by-side pairs, or.*--dataset synth"):
        script.find_splits(Train(dataset=str(tmp_path)))
    with pytest.raises(UserError, match="no pictures. Put photos there"):
        script.find_splits(Train(dataset=str(tmp_path), task="sketch"))


def test_two_folders_of_other_names_are_pointed_out(tmp_path):
    for folder in ("labels", "photos"):
        write(tmp_path / folder / "1.png", 1)
    (tmp_path / "empty").mkdir()
    folders = f"--source-dir {tmp_path}/labels --target-dir {tmp_path}/photos"
    with pytest.raises(UserError, match=f"but in labels and photos.*{folders}"):
        find_pairs(tmp_path, None, photos=False, holdout=0.1, seed=0, group=None)


def test_folders_that_are_named_are_not_guessed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, level in (("A", 1), ("B", 2), ("trainA", 3), ("trainB", 4)):
        write(tmp_path / folder / "1.png", level)
    found = find("facades", source_dir=Path("A"), target_dir=Path("B"))
    assert found == {"train": [(1, 2)]}


def test_splits_beside_training_pairs_in_no_folder_of_theirs(tmp_path):
    for k in range(3):
        make_pair(tmp_path / f"flat/{k}.png", 4)
        write(tmp_path / f"two/A/{k}.png", k)
        write(tmp_path / f"two/B/{k}.png", 10 + k)
    make_pair(tmp_path / "flat/test/9.png", 4)
    write(tmp_path / "two/A/val/9.png", 5)
    write(tmp_path / "two/B/val/9.png", 15)
    flat = find_pairs(tmp_path / "flat", None, photos=False, holdout=0.1, seed=0, group=None)
    assert {split: len(found.pairs) for split, found in flat.items()} == {"train": 3, "test": 1}
    two = {"train": [(k, 10 + k) for k in range(3)], "val": [(5, 15)]}
    assert find(tmp_path / "two") == two


def test_what_is_wrong_with_val_is_not_hidden_by_a_hold_out(tmp_path):
    for k in range(4):
        write(tmp_path / f"train/A/{k}.png", k)
        write(tmp_path / f"train/B/{k}.png", k)
    write(tmp_path / "val/A/1_label.png", 1)
    write(tmp_path / "val/B/1_photo.png", 1)
    splits = find_pairs(tmp_path, None, photos=False, holdout=0.1, seed=0, group=None)
    assert {split: len(found.pairs) for split, found in splits.items()} == {"train": 4, "val": 0}
    assert len(splits["val"].problems) == 2


def test_photos_for_a_task_come_from_any_folder(tmp_path):
    for k in range(5):
        write(tmp_path / f"photos/{k}.jpg", k)
    found = find(tmp_path / "photos", task="colorize", holdout=0.2)
    assert sorted(found["train"] + found["val"]) == [(k,) for k in range(5)]
    for split in ("train", "val"):
        write(tmp_path / f"split/{split}/1.png", 7)
    assert find(tmp_path / "split", task="sketch") == {"train": [(7,)], "val": [(7,)]}
    write(tmp_path / "albums/2023/1.png", 1)
    write(tmp_path / "albums/2024/trip/1.png", 2)
    assert find(tmp_path / "albums", task="inpaint", holdout=0) == {"train": [(1,), (2,)]}


def test_alpha_that_hides_nothing_is_left_away(tmp_path):
    rng = np.random.default_rng(0)
    rgb, rgba = (rng.integers(0, 256, (6, 9, n), dtype=np.uint8) for n in (3, 4))
    opaque = np.concatenate([rgb, np.full((6, 9, 1), 255, np.uint8)], axis=-1)
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    Image.fromarray(opaque[..., 2:]).save(tmp_path / "grey.png")
    for name, kept in (("opaque.png", rgb), ("grey.png", rgb[..., 2:])):
        (read,) = read_pair((tmp_path / name,), side_by_side=False)
        np.testing.assert_array_equal(read, kept)
    both = np.concatenate([opaque, rgba], axis=1)
    Image.fromarray(both).save(tmp_path / "pair.png")
    halves = read_pair((tmp_path / "pair.png",), side_by_side=True)
    np.testing.assert_array_equal(halves[0], rgb)  # each half on its own
    np.testing.assert_array_equal(halves[1], rgba)


def test_a_broken_file_breaks_its_pair_of_two_folders_alone(tmp_path):
    for k in range(2):
        write(tmp_path / f"A/{k}.png", k)
        write(tmp_path / f"B/{k}.png", 10 + k)
    (tmp_path / "A/2.png").symlink_to("gone")
    write(tmp_path / "B/2.png", 12)
    split = script.find_splits(Train(dataset=str(tmp_path), holdout=0))["train"]
    assert split.names[2].startswith("2.png, 0 bytes, 2.png, ")
    checked = preparation.check_split(split, "train", Train())
    assert len(checked) == 2
    assert checked.problems == [f"{tmp_path}/A/2.png: is a link that leads to no file"]
