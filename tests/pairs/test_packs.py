"""Packs: the same pairs as before they were packed, found in an index and read by offset."""

import dataclasses
import json
import os
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_same_weights, make_pair, make_picture, weights
from PIL import Image

import image_to_image_translation as script
from pix2pix import command_line, preparation
from pix2pix.commands import pack as packing
from pix2pix.commands.inspect_dataset.command import inspect_dataset
from pix2pix.options.commands import Pack
from pix2pix.options.train import Inspect, Train
from pix2pix.pairs.file_pairs import FilePair
from pix2pix.pairs.packs.pack_index import INDEX, read_index
from pix2pix.talk.errors import UsageError, UserError

ALONE = tf.distribute.InputContext()


def pack(dataset: Path, **options) -> Path:
    """Pack a folder beside it."""
    return packing.pack(Pack(str(dataset), **options))


@pytest.fixture
def in_two_folders(tmp_path) -> Path:
    """Ten pairs of files in A and B, of two formats; the table says their groups and weights."""
    folder = tmp_path / "two"
    rows = ["source,target,group,weight,split"]
    for k in range(10):
        make_picture(folder / f"A/{k}.png", 40, 40, channels=1, seed=k)
        make_picture(folder / f"B/{k}.bmp", 40, 40, seed=50 + k)
        rows.append(f"A/{k}.png,B/{k}.bmp,house {k // 2},{1 + k % 2},{'val' if k > 7 else 'train'}")
    (folder / "pairs.csv").write_text("\n".join(rows))
    return folder


def drawn(config: Train) -> tuple[dict, str, list]:
    """What is decided of the pairs of a dataset, and its first batches."""
    splits, found = preparation.prepare(config, script.find_splits)
    about = {
        name: (len(split), split.fingerprint, split.groups, split.sizes, split.kinds)
        for name, split in splits.items()
    }
    batches = list(script.batches(splits["train"], config, found, 0, ALONE))
    return about, found.pairs, batches


def assert_same_batches(ours: list, theirs: list) -> None:
    """Sources and targets, bit for bit."""
    for one, other in zip(ours, theirs, strict=True):
        for mine, yours in zip(one, other, strict=True):
            np.testing.assert_array_equal(mine, yours)


@pytest.mark.parametrize(
    "options", [{}, {"crop": True}, {"augment": ("rotate",)}, {"ignore": "red"}]
)
def test_a_pack_is_the_same_dataset_as_its_folder(small, pair_folder, options):
    config = dataclasses.replace(small, source_channels=None, target_channels=None, **options)
    pack(pair_folder)
    of_folder, of_pack = (
        drawn(dataclasses.replace(config, dataset=str(dataset), steps=9))
        for dataset in (pair_folder, pair_folder.with_suffix(".pack"))
    )
    assert of_folder[1] == of_pack[1]
    assert_same_batches(of_folder[2], of_pack[2])
    assert of_folder[0] == of_pack[0]


def test_groups_weights_and_files_of_two_folders(small, in_two_folders):
    config = dataclasses.replace(small, source_channels=None, target_channels=None, steps=20)
    ours = drawn(dataclasses.replace(config, dataset=str(pack(in_two_folders))))
    theirs = drawn(dataclasses.replace(config, dataset=str(in_two_folders)))
    assert ours[:2] == theirs[:2]
    assert ours[0]["val"][2] == {"house 4"}
    assert_same_batches(ours[2], theirs[2])


def test_folders_anywhere_are_packed_by_their_flags(small, in_two_folders):
    places = {"source_dir": in_two_folders / "A", "target_dir": in_two_folders / "B"}
    config = dataclasses.replace(small, source_channels=None, target_channels=None, steps=12)
    ours = drawn(dataclasses.replace(config, dataset=str(pack("", **places))))
    theirs = drawn(dataclasses.replace(config, dataset="facades", **places))
    assert ours[:2] == theirs[:2]
    assert_same_batches(ours[2], theirs[2])


def test_a_run_goes_on_with_the_pack_of_its_folder(small, pair_folder):
    config = dataclasses.replace(small, dataset=str(pair_folder), steps=4)
    script.train(dataclasses.replace(config, name="whole"))
    script.train(dataclasses.replace(config, name="moved", steps=2))
    moved = dataclasses.replace(config, name="moved", dataset=str(pack(pair_folder)))
    script.train(moved)
    assert_same_weights(weights(config.output / "whole", 4), weights(moved.run_folder, 4))


def test_no_picture_is_read_before_a_training(small, pair_folder, monkeypatch):
    config = dataclasses.replace(small, dataset=str(pack(pair_folder)))
    monkeypatch.setattr(FilePair, "read", lambda pair: pytest.fail(f"{pair.title} was read"))
    splits = preparation.check_splits(script.find_splits(config), config)
    assert {name: len(split) for name, split in splits.items()} == {"train": 6, "val": 2, "test": 1}
    asked = dataclasses.replace(config, crop=True, image_size="64x32")
    (problem, *_) = preparation.check_splits(script.find_splits(asked), asked)["train"].problems
    assert "train-000000.tar (train/0.png): 40×40 is too small to cut 64×32 from it" in problem


def test_a_shard_is_what_webdataset_reads(in_two_folders):
    webdataset = pytest.importorskip("webdataset")
    folder = pack(in_two_folders, shards=2)
    names = sorted(path.name for path in folder.glob("*.tar"))
    assert names == ["train-000000.tar", "train-000001.tar", "val-000000.tar"]
    read = []
    for name in names[:2]:
        read += list(webdataset.WebDataset(str(folder / name), shardshuffle=False))
    assert [sample["__key__"] for sample in read] == [f"{k:06}" for k in range(8)]
    for k, sample in enumerate(read):
        assert sample["source.png"] == (in_two_folders / f"A/{k}.png").read_bytes()
        assert sample["target.bmp"] == (in_two_folders / f"B/{k}.bmp").read_bytes()
        files = [f"A/{k}.png", f"B/{k}.bmp"]
        about = {"files": files, "group": f"house {k // 2}", "weight": 1 + k % 2}
        assert json.loads(sample["json"]) == about


def test_broken_pairs_are_told_and_left_out(pair_folder, capsys):
    (pair_folder / "train/2.png").write_bytes(b"no picture")
    make_pair(pair_folder / "val/9.png").tofile(pair_folder / "val/1.png")
    index = read_index(pack(pair_folder))
    assert index.counts.tolist() == [5, 2, 1]
    assert [index.paths[k] for k in range(6)] == [
        *(f"train/{k}.png" for k in (0, 1, 3, 4, 5)),
        "val/0.png",
    ]
    said = capsys.readouterr().out
    assert "Left out  " in said
    assert f"{pair_folder / 'train/2.png'}: not a readable picture" in said
    assert "Packed    8 pairs in 3 shards of 0.00 GB" in said


def test_photos_are_for_tasks_that_make_their_sources(small, tmp_path):
    for k in range(4):
        make_picture(tmp_path / f"photos/deep/{k}.png", 40, 40, seed=k)
    folder = pack(tmp_path / "photos", photos=True)
    config = dataclasses.replace(small, dataset=str(folder), task="sketch", direction=None)
    splits = script.find_splits(config)
    (photo,) = splits["train"].read(0)
    originals = [np.asarray(Image.open(path)) for path in tmp_path.glob("photos/deep/*")]
    assert any(np.array_equal(photo, original) for original in originals)
    with pytest.raises(UserError, match="holds photos, not pairs. Train with --task colorize"):
        script.find_splits(dataclasses.replace(small, dataset=str(folder)))


def test_the_targets_of_packed_pairs_serve_a_task(small, in_two_folders):
    config = dataclasses.replace(small, dataset=str(pack(in_two_folders)), task="sketch")
    (photo,) = script.find_splits(config)["train"].read(3)
    np.testing.assert_array_equal(photo, np.asarray(Image.open(in_two_folders / "B/3.bmp")))


# --- Writing --------------------------------------------------------------------------------------


def test_packing_goes_on_where_it_was_stopped(pair_folder, tmp_path, monkeypatch):
    whole = pack(pair_folder, shards=3, output=tmp_path / "whole.pack")
    checked = []

    def stop_at_third(split, k, options):
        checked.append(split.pairs[0].title)
        if len(checked) == 3:
            raise KeyboardInterrupt
        return preparation.check_pair(split, k, options)

    stopped = tmp_path / "stopped.pack"
    monkeypatch.setattr(packing, "check_pair", stop_at_third)
    monkeypatch.setattr("pix2pix.pairs.packs.shards.map_ahead", map)  # one after the other
    with pytest.raises(KeyboardInterrupt):
        pack(pair_folder, shards=3, output=stopped)
    assert [path.name for path in stopped.glob("*.tar")] == ["train-000000.tar"]
    with pytest.raises(UserError, match=r"stopped.pack: is no complete pack, without index.npz"):
        read_index(stopped)
    before = (stopped / "train-000000.tar").stat().st_mtime_ns
    pack(pair_folder, shards=3, output=stopped)
    assert (stopped / "train-000000.tar").stat().st_mtime_ns == before
    assert len(checked) == 3 + 7  # of nine pairs, two were packed
    assert sorted(os.listdir(stopped)) == sorted(os.listdir(whole))
    for path in whole.glob("*.tar"):
        assert path.read_bytes() == (stopped / path.name).read_bytes()


def test_a_shard_of_other_files_is_written_anew(pair_folder, tmp_path):
    output = tmp_path / "p.pack"
    pack(pair_folder, shards=2, output=output)
    (output / INDEX).unlink()  # as if it had been stopped just before
    make_pair(pair_folder / "train/5.png", seed=77)
    pack(pair_folder, shards=2, output=output)
    content = (pair_folder / "train/5.png").read_bytes()
    assert content in (output / "train-000001.tar").read_bytes()


def test_several_processes_share_the_work(pair_folder, tmp_path, monkeypatch):
    written, write_shard = [], packing.write_shard

    def count(shard, *others):
        written.append(shard.path.name)
        yield from write_shard(shard, *others)

    monkeypatch.setattr(packing, "write_shard", count)
    output = tmp_path / "p.pack"
    both = [
        threading.Thread(target=pack, args=(pair_folder,), kwargs={"shards": 4, "output": output})
        for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join()
    shards = [f"train-{k:06}.tar" for k in range(4)]
    assert sorted(written) == sorted([*shards, "test-000000.tar", "val-000000.tar"])
    assert read_index(output).counts.tolist() == [6, 2, 1]
    assert [path.name for path in output.glob(".train*")] == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"shards": 0}, "--shards must be at least 1"),
        ({"output": Path("full")}, "full: holds mine.txt. Choose an --output that is not there"),
        ({"output": Path("done.pack")}, "done.pack: is packed already. Delete it first"),
        ({"dataset": "synthetic"}, "synthetic: has no files to pack"),
        ({"dataset": "done.pack"}, "done.pack is a pack already: train --dataset takes it"),
        ({"dataset": ""}, "pack wants to know what: name a folder, or a --source-dir"),
        (
            {"dataset": "nowhere"},
            "an existing folder, and left out where there is --source-dir, not nowhere",
        ),
    ],
)
def test_what_cannot_be_packed_is_told_in_a_line(small, pair_folder, options, error):
    pack(pair_folder, output=Path("done.pack"))
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    with pytest.raises(UserError, match=error):
        packing.pack(Pack(**{"dataset": str(pair_folder), **options}))


def test_the_command_line_packs_and_trains(small, pair_folder, capsys):
    assert command_line.main(["pack", str(pair_folder), "--output", "p.pack"]) == 0
    config = dataclasses.replace(small, dataset="p.pack", direction="BtoA")
    assert inspect_dataset(config).name.endswith("-inspect.png")
    assert "train     6 pairs: 40×40, source RGB, target RGB, 6 PNG" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--write-csv is for a folder of your own"):
        inspect_dataset(Inspect(**vars(config), write_csv=True))
    with pytest.raises(UserError, match="p.pack: is a pack, which is divided already"):
        script.find_splits(dataclasses.replace(config, group="folder"))


# --- Damaged, forged or mixed up ------------------------------------------------------------------


def rewrite(folder: Path, **changes) -> None:
    """Write an index anew with other arrays."""
    with np.load(folder / INDEX) as arrays:
        values = dict(arrays) | changes
    np.savez(folder / INDEX, **values)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"version": np.array(2)}, "version 2, not 1"),
        ({"offset": np.full((9, 1), 10**13)}, "files beyond the end of their shard"),
        ({"offset": np.full((9, 1), -512)}, "files beyond the end of their shard"),
        ({"length": np.full((9, 1), 10**13)}, "files beyond the end of their shard"),
        ({"length": np.full((9, 1), 2**63 - 1)}, "files beyond the end of their shard"),
        ({"length": np.full((8, 1), 9)}, "columns of different lengths"),
        ({"checksum": np.zeros((9, 2), np.uint32)}, "columns of different widths"),
        ({"shard": np.full(9, 7, np.uint32)}, "a shard or a group that is not there"),
        ({"shapes": np.zeros((9, 2, 4), np.int32)}, "pictures without pixels"),
        ({"counts": np.array([9, 9, 9])}, "not as many pairs as it counts"),
        ({"weight": np.full(9, np.nan)}, "weights that are none"),
        ({"weight": np.array(["x"] * 9)}, "numbers of type <U1, not float64"),
        ({"weight": np.array([print] * 9)}, "Object arrays cannot be loaded"),
        ({"layout": np.array("triples")}, "no such layout"),
        ({"paths_ends": np.full(9, 10**12)}, "columns of different lengths"),
    ],
)
def test_a_forged_index_is_refused(pair_folder, changes, problem):
    folder = pack(pair_folder)
    rewrite(folder, **changes)
    with pytest.raises(UserError, match=f"is no sound index .{problem}.*Copy or make the pack"):
        read_index(folder)


def test_no_shard_lies_outside_of_its_pack(pair_folder):
    folder = pack(pair_folder)
    with np.load(folder / INDEX) as arrays:
        content = arrays["shards"].tobytes().replace(b"val-000000.tar", b"../pairs/x.tar")
    rewrite(folder, shards=np.frombuffer(content, np.uint8))
    with pytest.raises(UserError, match="shards that are not in its folder"):
        read_index(folder)


def test_an_index_that_could_grow_or_is_none(pair_folder):
    folder = pack(pair_folder)
    with np.load(folder / INDEX) as arrays:
        np.savez_compressed(folder / INDEX, **arrays)
    with pytest.raises(UserError, match="compressed arrays, which could grow"):
        read_index(folder)
    for content in (b"", b"PK\x03\x04 and no more", b"\x93NUMPY"):
        (folder / INDEX).write_bytes(content)
        with pytest.raises(UserError, match="is no sound index"):
            read_index(folder)
    with zipfile.ZipFile(folder / INDEX, "w") as archive:  # ten terabytes, says its head
        head = "{'descr': '<i8', 'fortran_order': False, 'shape': (1250000000000,), }"
        archive.writestr("version.npy", b"\x93NUMPY\x01\x00\x76\x00" + f"{head:<117}\n".encode())
    with pytest.raises(UserError, match="is no sound index"):
        read_index(folder)


def test_shards_that_are_missing_short_or_of_another_pack(pair_folder, tmp_path):
    folder = pack(pair_folder)
    shard = folder / "train-000000.tar"
    content = shard.read_bytes()
    shard.write_bytes(content[:-512])
    with pytest.raises(UserError, match=r"train-000000.tar: has [\d,]+ bytes, not [\d,]+, so it"):
        read_index(folder)
    shard.unlink()
    with pytest.raises(UserError, match="train-000000.tar: is missing, so it is not of"):
        read_index(folder)


def test_a_damaged_file_is_named_with_its_shard(small, pair_folder):
    folder = pack(pair_folder)
    index = read_index(folder)
    shard = folder / "train-000000.tar"
    content = bytearray(shard.read_bytes())
    content[int(index.offset[3, 0]) + 100] ^= 1
    shard.write_bytes(content)
    split = script.find_splits(dataclasses.replace(small, dataset=str(folder)))["train"]
    split.read(2)
    said = r"train-000000.tar \(train/3.png\): is not in its shard as it was packed"
    with pytest.raises(UserError, match=said):
        split.read(3)


def test_members_have_plain_names(pair_folder):
    folder = pack(pair_folder)
    with tarfile.open(folder / "val-000000.tar") as tar:
        names = tar.getnames()
    assert names == ["000000.pair.png", "000000.json", "000001.pair.png", "000001.json"]
