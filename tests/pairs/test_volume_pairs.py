"""Pairs of volumes: slices that belong together, patients that are held out, a training on them."""

import dataclasses
import sys

import numpy as np
import pytest
from made_volumes import LEFT_TO_RIGHT, make_nifti, make_series, numbers

import image_to_image_translation as script
from pix2pix.commands.inspect_dataset import inspect_dataset
from pix2pix.options.train import Inspect
from pix2pix.preparation import check_splits, prepare
from pix2pix.runs.checkpoint_files import checkpoints
from pix2pix.talk.errors import UsageError, UserError

nibabel = pytest.importorskip("nibabel")


@pytest.fixture
def volumes(small, tmp_path):
    """Four patients; what is B is half of what is A."""
    for k in range(4):
        voxels = numbers((40, 36, 5), seed=k)
        make_nifti(tmp_path / "scans" / "A" / f"p{k}.nii.gz", voxels)
        make_nifti(tmp_path / "scans" / "B" / f"p{k}.nii", (voxels / 2).astype(np.float32))
    channels = {"source_channels": None, "target_channels": None}
    return dataclasses.replace(small, dataset=str(tmp_path / "scans"), seed=1, **channels)


def test_each_slice_is_a_pair_and_each_patient_a_group(volumes, capsys):
    splits = script.find_splits(volumes)
    assert "1 of 4: there is neither" in capsys.readouterr().out
    assert {name: len(split) for name, split in splits.items()} == {"train": 15, "val": 5}
    groups = {name: {pair.group for pair in split.pairs} for name, split in splits.items()}
    assert groups["train"] | groups["val"] == {"p0", "p1", "p2", "p3"}
    assert not groups["train"] & groups["val"]
    pair = splits["train"].pairs[3]
    sizes = [file.stat().st_size for file in pair.files]
    assert (pair.title, pair.path) == ("p0.nii.gz, slice 3", "p0.nii.gz, slice 3")
    assert pair.name == f"p0.nii.gz, slice 3, {sizes[0]} bytes, p0.nii, slice 3, {sizes[1]} bytes"
    source, target = splits["train"].read(3)
    assert source.shape == target.shape == (36, 40, 1)
    assert np.array_equal(source, target * 2)


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_neighbours_are_channels_of_the_source_alone(volumes, direction):
    options = dataclasses.replace(volumes, slices=3, direction=direction)
    split = script.find_splits(options)["train"]
    (before, _), (source, target) = split.read(1), split.read(2)
    assert (source.shape, target.shape) == ((36, 40, 3), (36, 40, 1))
    assert np.array_equal(source[..., 0], before[..., 1])
    factor = 2 if direction == "AtoB" else 0.5
    assert np.array_equal(source[..., 1:2], target * factor)


def test_other_slices(volumes):
    coronal = script.find_splits(dataclasses.replace(volumes, axis="coronal"))["train"]
    assert len(coronal) == 3 * 36
    assert coronal.read(0)[0].shape == (5, 40, 1)
    assert coronal.pairs[7].title == "p0.nii.gz, coronal slice 7"


def test_what_they_decide(volumes):
    checked, found = prepare(dataclasses.replace(volumes, slices=3), script.find_splits)
    assert (found.source_channels, found.target_channels, found.target_bits) == (3, 1, 32)
    assert found.source.measured
    ((low, high),) = found.target.ranges  # nearly all of -500 to 1000
    assert -501 < low < -490
    assert 990 < high < 1001
    assert checked["train"].sizes == {(36, 40): 15}


def test_a_training_on_volumes_goes_on(volumes):
    options = dataclasses.replace(volumes, slices=3, name="scans")
    folder = script.train(options).folder
    longer = dataclasses.replace(options, steps=6)
    script.train(longer)
    assert checkpoints(folder)[-1].name == "ckpt-6"
    names = (folder / "training_pairs.txt").read_text().splitlines()
    assert len(names) == 15
    assert names[0].startswith("p0.nii.gz, slice 0, ")
    with pytest.raises(UserError, match="with slices 3, not 5"):
        script.train(dataclasses.replace(longer, slices=5))
    with pytest.raises(UserError, match="with axis axial, not coronal"):
        script.train(dataclasses.replace(longer, axis="coronal"))


def test_inspect_says_what_is_there_and_writes_the_table(volumes, tmp_path, capsys):
    fields = {field.name: getattr(volumes, field.name) for field in dataclasses.fields(volumes)}
    inspect_dataset(Inspect(**fields, write_csv=True))
    said = capsys.readouterr().out
    assert "15 pairs: 36×40, source grey 32-bit, target grey 32-bit, 15 NII.GZ, 15 NII" in said
    assert "3 in train, 1 in val" in said
    rows = (tmp_path / "scans" / "pairs.csv").read_text().splitlines()
    assert rows[0] == "source,target,group,weight,split"
    assert sorted(rows[1:])[0] == "A/p0.nii.gz,B/p0.nii,p0,1,train"
    assert len(rows) == 5
    as_before = script.find_splits(volumes)
    assert {name: len(split) for name, split in as_before.items()} == {"train": 15, "val": 5}


def test_series_of_one_patient_are_one_group(small, tmp_path):
    pytest.importorskip("pydicom")
    for name, patient in (("ct1", "P-17"), ("ct2", "P-17"), ("ct3", "P-18"), ("ct4", "")):
        for side in ("A", "B"):
            stored = numbers((3, 12, 10))
            make_series(tmp_path / "scans" / side / name, stored, patient)
    splits = script.find_splits(dataclasses.replace(small, dataset=str(tmp_path / "scans")))
    groups = [pair.group for split in splits.values() for pair in split.pairs]
    assert {group: groups.count(group) for group in set(groups)} == {"P-17": 6, "P-18": 3, "ct4": 3}
    assert len({pair.group for pair in splits["val"].pairs}) == 1


def test_a_series_and_a_nifti_file_are_a_pair(small, tmp_path):
    pytest.importorskip("pydicom")
    stored = numbers((3, 12, 10))
    make_series(tmp_path / "scans" / "A" / "one.2", stored)
    affine = np.diag([-0.75, -0.5, 2.5, 1])
    affine[:3, 3] = 20, 30, 100
    voxels = np.moveaxis(stored, 0, -1).swapaxes(0, 1)
    make_nifti(tmp_path / "scans" / "B" / "one.2.nii.gz", voxels, affine)
    split = script.find_splits(dataclasses.replace(small, dataset=str(tmp_path / "scans")))["train"]
    for k in range(3):
        source, target = split.read(k)
        assert np.array_equal(source, target * 2 - 1024)
        assert np.array_equal(target[..., 0], stored[k])


def test_groups_that_are_asked_for_come_first(volumes):
    splits = script.find_splits(dataclasses.replace(volumes, group="p[01]|."))
    groups = {pair.group for split in splits.values() for pair in split.pairs}
    assert groups == {"p0", "p1", "p"}


def test_volumes_beside_pictures_are_passed_over(small, pair_folder):
    make_nifti(pair_folder / "train" / "scan.nii.gz", numbers())
    splits = script.find_splits(dataclasses.replace(small, dataset=str(pair_folder)))
    assert (len(splits["train"]), splits["train"].problems) == (6, [])


def test_several_volumes_make_a_source(volumes, tmp_path):
    (tmp_path / "scans" / "A").rename(tmp_path / "scans" / "A1")
    for k in range(4):
        make_nifti(tmp_path / "scans" / "A2" / f"p{k}.nii", numbers((40, 36, 5), seed=10 + k))
    split = script.find_splits(dataclasses.replace(volumes, slices=3))["train"]
    source, target = split.read(2)
    assert (source.shape, target.shape) == ((36, 40, 6), (36, 40, 1))
    assert np.array_equal(source[..., 1:2], target * 2)
    parts = split.describe()[0].parts
    assert [(part.name, part.channels) for part in parts] == [("A1", 3), ("A2", 3)]


# --- What is wrong with them ---


def problems(options) -> list[str]:
    splits = check_splits(script.find_splits(options), options)
    return [problem for split in splits.values() for problem in split.problems]


def test_a_damaged_volume_is_one_problem(volumes, tmp_path):
    path = tmp_path / "scans" / "A" / "p2.nii.gz"
    path.write_bytes(path.read_bytes()[:-100])
    (said,) = problems(volumes)
    assert said.startswith(f"{path}: does not unpack to the 14,752 bytes it claims.")
    splits, _ = prepare(dataclasses.replace(volumes, skip_broken=True), script.find_splits)
    assert sum(len(split) for split in splits.values()) == 15


def test_a_damaged_series_is_one_problem(small, tmp_path):
    pytest.importorskip("pydicom")
    for side in ("A", "B"):
        for name in ("p1", "p2", "p3"):
            make_series(tmp_path / "scans" / side / name, numbers((3, 12, 10)))
    (tmp_path / "scans" / "A" / "p2" / "001.dcm").write_bytes(b"no DICOM")
    options = dataclasses.replace(small, dataset=str(tmp_path / "scans"))
    (said,) = problems(options)
    assert "001.dcm: not a readable DICOM file (" in said
    splits, _ = prepare(
        dataclasses.replace(options, skip_broken=True, target_channels=None, source_channels=None),
        script.find_splits,
    )
    assert sum(len(split) for split in splits.values()) == 6


def test_partners_of_which_one_is_missing(volumes, tmp_path):
    (tmp_path / "scans" / "B" / "p2.nii").unlink()
    (said,) = problems(volumes)
    assert said.endswith(f"p2.nii.gz: no partner in {tmp_path / 'scans' / 'B'}")


@pytest.mark.parametrize(
    ("shape", "move", "said"),
    [
        ((40, 36, 4), 0, "have 5 and 4 axial slices. Resample one to the grid of the other."),
        ((40, 36, 5), 2.0, "their axial slices 0 lie 2 mm apart. Resample one"),
    ],
)
def test_partners_on_different_grids(volumes, tmp_path, shape, move, said):
    affine = LEFT_TO_RIGHT.copy()
    affine[2, 3] += move
    make_nifti(tmp_path / "scans" / "B" / "p2.nii", numbers(shape), affine)
    (problem,) = problems(volumes)
    assert said in problem
    assert "p2.nii.gz and " in problem


def test_a_target_of_other_resolution_is_a_pair(volumes, tmp_path):
    finer = LEFT_TO_RIGHT @ np.diag([0.5, 0.5, 1, 1])
    make_nifti(tmp_path / "scans" / "B" / "p2.nii", numbers((80, 72, 5)), finer)
    assert problems(volumes) == []


def test_a_series_that_lies_in_the_folder_of_a_side(small, tmp_path):
    pytest.importorskip("pydicom")
    for side in ("A", "B"):
        make_series(tmp_path / "scans" / side, numbers((3, 12, 10)))
    options = dataclasses.replace(small, dataset=str(tmp_path / "scans"))
    with pytest.raises(UserError, match=r"A: holds DICOM files itself\. .*such as .*A/patient1\."):
        script.find_splits(options)
    photos = dataclasses.replace(options, task="super-resolve", scale=2)
    photos = dataclasses.replace(photos, dataset=str(tmp_path), source_dir=None)
    assert len(script.find_splits(photos)["train"]) == 3


def test_volumes_without_partners(volumes, tmp_path):
    alone = dataclasses.replace(volumes, dataset=str(tmp_path / "scans" / "A"))
    said = problems(alone)
    assert len(said) == 4
    assert all("a volume without partner. Put pairs into A/ and B/" in each for each in said)
    photos = dataclasses.replace(alone, task="super-resolve", scale=2)
    assert len(script.find_splits(photos)["train"]) == 15


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"slices": 2}, "--slices must be odd"),
        ({"slices": 101}, "--slices must be a whole number from 1 to 99"),
        ({"axis": "oblique"}, "--axis must be one of axial, coronal, sagittal"),
        ({"slices": 3, "task": "colorize"}, "--slices must be 1 with this --task"),
    ],
)
def test_options_that_make_no_sense(volumes, options, said):
    with pytest.raises(UsageError, match=said):
        script.train(dataclasses.replace(volumes, **options))


def test_a_missing_package_is_said_once(volumes, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(UserError, match=r"^NIfTI files need nibabel: pip install nibabel$"):
        script.find_splits(volumes)
