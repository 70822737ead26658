"""Section 4c: the layouts a dataset can have, and what cannot be paired."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import make_pair
from PIL import Image

import image_to_image_translation as pix2pix

TWO_FOLDERS = [
    *("A/{s}|B/{s}", "{s}/A|{s}/B", "{s}A|{s}B", "{s}_A|{s}_B", "input/{s}|target/{s}"),
    *("input/{s}|output/{s}", "{s}_input|{s}_output", "{s}/input|{s}/target"),
]


def write(path: Path, level: int, size: tuple[int, int] = (8, 6)) -> None:
    """A plain grey picture of (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(path)


def levels(pairs: pix2pix.Pairs) -> list[tuple[int, ...]]:
    """The brightness of source and target of every pair."""
    read = (pairs.read(k) for k in range(len(pairs)))
    return [tuple(int(picture[0, 0, 0]) for picture in pictures) for pictures in read]


def find(folder: Path, **options) -> dict[str, list[tuple[int, ...]]]:
    """The pairs of each split that is not empty."""
    config = pix2pix.Train(dataset=str(folder), **options)
    pix2pix.check_config(config)
    return {split: levels(p) for split, p in pix2pix.find_pairs(config)[0].items() if len(p)}


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


def test_pairs_are_cut_in_the_middle_and_turned_by_direction(pair_folder):
    whole = np.asarray(Image.open(pair_folder / "train/3.png"))
    for direction in ("AtoB", "BtoA"):
        config = pix2pix.Train(dataset=str(pair_folder), direction=direction)
        splits, found = pix2pix.find_pairs(config)
        halves = splits["train"].read(3)
        assert found == direction
        np.testing.assert_array_equal(halves[direction == "BtoA"], whole[:, :40])
        np.testing.assert_array_equal(halves[direction == "AtoB"], whole[:, 40:])
    assert {name: len(pairs) for name, pairs in splits.items()} == {"train": 6, "val": 2, "test": 1}
    assert pix2pix.find_pairs(pix2pix.Train(dataset=str(pair_folder)))[1] == "AtoB"


def test_the_lot_of_a_pair_depends_on_its_name_and_the_seed_alone(tmp_path):
    files = [(tmp_path / f"{k}.png",) for k in range(200)]
    config = pix2pix.Train()
    kept, held = pix2pix.hold_out(files, config)
    assert len(held) == 20
    assert sorted(kept + held) == sorted(files)
    assert pix2pix.hold_out(files[::-1], config)[1] == held[::-1]
    fewer = pix2pix.hold_out(files[:190], config)[1]
    assert len(set(fewer) & set(held)) >= 17  # ten files more or less change little
    other = pix2pix.hold_out(files, dataclasses.replace(config, seed=1))[1]
    assert len(set(other) & set(held)) < 10
    assert len(pix2pix.hold_out(files, dataclasses.replace(config, holdout=0.5))[1]) == 100
    assert pix2pix.hold_out(files, dataclasses.replace(config, holdout=0))[1] == []
    assert pix2pix.hold_out(files[:1], config) == (files[:1], [])
    assert len(pix2pix.hold_out(files[:2], dataclasses.replace(config, holdout=0.9))[0]) == 1


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
    pairs = pix2pix.find_pairs(pix2pix.Train(dataset=str(tmp_path)))[0]["train"]
    assert levels(pairs) == [(2, 12)]
    assert pairs.problems == (
        f"{a}/1.png: no partner in {b}",
        f"{a}/3.png and {b}/3.jpg and {b}/3.png: too many for one pair",
        f"{b}/4.png: no partner in {a}",
    )


def test_what_cannot_be_paired_is_named_up_to_ten_files(small, tmp_path, capsys):
    for k in range(16):
        write(tmp_path / f"d/A/{k:02}.png", k, (32, 32))
        if k > 12:
            write(tmp_path / f"d/B/{k:02}.png", k, (32, 32))
    write(tmp_path / "d/B/15.png", 0, (32, 40))
    config = dataclasses.replace(small, dataset=str(tmp_path / "d"))
    with pytest.raises(pix2pix.UserError) as refusal:
        pix2pix.train(config)
    message = str(refusal.value)
    assert message.startswith(f"{tmp_path}/d/A/00.png: no partner in {tmp_path}/d/B; ")
    assert message.count("no partner") == 10
    assert "; and 4 more. Mend" in message
    assert "--skip-broken" in message
    assert "\n" not in message
    pix2pix.train(dataclasses.replace(config, skip_broken=True, holdout=0.4))
    said = capsys.readouterr().out
    assert "Skipped   14 broken or without partner" in said
    assert "1 training pairs" in said


def test_pictures_of_different_size_are_no_pair(tmp_path):
    write(tmp_path / "A/1.png", 1, (8, 6))
    write(tmp_path / "B/1.png", 1, (8, 7))
    pairs = pix2pix.find_pairs(pix2pix.Train(dataset=str(tmp_path)))[0]["train"]
    with pytest.raises(pix2pix.UserError) as refusal:
        pairs.read(0)
    expected = f"{tmp_path}/A/1.png: differs in size from {tmp_path}/B/1.png (6×8 and 7×8)"
    assert str(refusal.value) == expected


@pytest.mark.parametrize("places", [("train",), ("A", "B"), ("only_A",), ()])
def test_a_folder_without_pairs(tmp_path, places):
    for place in places:
        make_pair(tmp_path / place / ".hidden.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    with pytest.raises(
        pix2pix.UserError, match="no pictures. Put side-by-side pairs, or.*--dataset synth"
    ):
        pix2pix.find_pairs(pix2pix.Train(dataset=str(tmp_path)))
    with pytest.raises(pix2pix.UserError, match="no pictures. Put photos there"):
        pix2pix.find_pairs(pix2pix.Train(dataset=str(tmp_path), task="sketch"))


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
    flat = pix2pix.find_pairs(pix2pix.Train(dataset=str(tmp_path / "flat")))[0]
    assert {split: len(pairs) for split, pairs in flat.items()} == {"train": 3, "test": 1}
    two = {"train": [(k, 10 + k) for k in range(3)], "val": [(5, 15)]}
    assert find(tmp_path / "two") == two


def test_what_is_wrong_with_val_is_not_hidden_by_a_hold_out(tmp_path):
    for k in range(4):
        write(tmp_path / f"train/A/{k}.png", k)
        write(tmp_path / f"train/B/{k}.png", k)
    write(tmp_path / "val/A/1_label.png", 1)
    write(tmp_path / "val/B/1_photo.png", 1)
    splits = pix2pix.find_pairs(pix2pix.Train(dataset=str(tmp_path)))[0]
    assert {split: len(pairs) for split, pairs in splits.items()} == {"train": 4, "val": 0}
    assert len(splits["val"].problems) == 2


@pytest.mark.parametrize("skip_broken", [True, False])
@pytest.mark.parametrize("command", [pix2pix.train, pix2pix.inspect])
def test_folders_in_which_no_names_match(small, tmp_path, command, skip_broken):
    write(tmp_path / "d/A/1_label.png", 1)
    write(tmp_path / "d/B/1_photo.png", 1)
    config = dataclasses.replace(small, dataset=str(tmp_path / "d"), skip_broken=skip_broken)
    with pytest.raises(pix2pix.UserError) as refusal:
        command(config)
    if skip_broken:
        assert str(refusal.value) == f"{tmp_path}/d: all 2 pairs are broken."
    else:
        assert "1_label.png: no partner in" in str(refusal.value)


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


@pytest.mark.parametrize("direction", [None, "BtoA"])
def test_photos_for_a_task_are_the_targets_of_pairs(tmp_path, small, direction):
    for k in range(3):
        write(tmp_path / f"A/{k}.png", k)
        write(tmp_path / f"B/{k}.png", 10 + k)
    write(tmp_path / "A/without-target.png", 99)  # sources do not matter
    found = find(tmp_path, task="sketch", direction=direction, holdout=0)
    assert found == {"train": [(10,), (11,), (12,)]}
    config = dataclasses.replace(small, task="sketch", direction=direction)  # synthetic
    (photo,) = pix2pix.find_pairs(config)[0]["test"].read(2)
    np.testing.assert_array_equal(photo, pix2pix.draw_facade(0, 502, (32, 32))[0])


def test_known_datasets_give_their_targets_to_a_task(tmp_path, pair_folder, small):
    shutil.copytree(pair_folder, tmp_path / "cache/facades")
    for dataset, half in (("facades", slice(40)), ("maps", slice(40, 80))):
        shutil.copytree(pair_folder, tmp_path / f"cache/{dataset}", dirs_exist_ok=True)
        config = dataclasses.replace(small, dataset=dataset, task="inpaint")
        (photo,) = pix2pix.find_pairs(config)[0]["val"].read(1)
        whole = np.asarray(Image.open(pair_folder / "val/1.png"))
        np.testing.assert_array_equal(photo, whole[:, half])
