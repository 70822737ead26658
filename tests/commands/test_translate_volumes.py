"""Translating volumes: one of the same geometry comes out, as another reader finds, too."""

import dataclasses

import keras
import numpy as np
import pytest
from conftest import copying, make_picture, make_run
from helpers import translate, written
from made_volumes import make_nifti, make_series, numbers

from pix2pix import command_line
from pix2pix.pictures.pixels import Kind
from pix2pix.pictures.sides import LabelClass, Part, Side
from pix2pix.talk.errors import UsageError, UserError

nibabel = pytest.importorskip("nibabel")
RANGE = ((-1024.0, 3072.0),)  # 4096 numbers, so that values are exact
MEASURED = Side(measured=True, ranges=RANGE)
TILTED = np.array([[0, -1.9, 0.4, 7], [2, 0, 0, -18], [0, -0.3, -2.9, 40], [0, 0, 0, 1.0]])


def middle_channel(channels: int) -> keras.Model:
    """A generator that gives back the middle channel of its source."""
    source = keras.Input((32, 32, channels), name="source")
    kernel = np.zeros((1, 1, channels, 1), np.float32)
    kernel[0, 0, channels // 2] = 1
    convolution = keras.layers.Conv2D(1, 1, use_bias=False, name="generated")
    model = keras.Model(source, convolution(source))
    convolution.set_weights([kernel])
    return model


def run_for_volumes(folder, small, channels=1, generator=None, target=MEASURED, **options):
    """A run whose sources are slices, and whose generator gives back the middle one."""
    options = {"slices": channels, "crop": True} | options
    config = dataclasses.replace(
        small, source_channels=None, target_channels=None, direction="AtoB", **options
    )
    kinds = [(Kind(channels, 32), Kind(1, 32))]
    ranges = {"source": Side(measured=True, ranges=RANGE), "target": target}
    channels = {"target_channels": 3 if target.classes else 1}
    generator = generator or middle_channel(kinds[0][0].channels)
    return make_run(folder, config, generator, kinds, **ranges, **channels, target_bits=32)


def read(path) -> np.ndarray:
    return np.asanyarray(nibabel.load(path).dataobj)


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("name", ["scan.nii.gz", "scan.nii"])
def test_a_volume_of_the_same_geometry_comes_out(small, tmp_path, axis, name):
    run = run_for_volumes(tmp_path / "run", small, channels=3, axis=axis)
    path = make_nifti(tmp_path / name, numbers((40, 36, 7)), TILTED)
    translate(run, path, output=tmp_path / "out")
    assert written(tmp_path / "out") == {name}
    original, result = nibabel.load(path), nibabel.load(tmp_path / "out" / name)
    assert result.get_data_dtype() == np.float32
    assert np.array_equal(result.affine, original.affine)
    for field in ("pixdim", "sform_code", "qform_code", "xyzt_units"):
        assert np.array_equal(result.header[field], original.header[field])
    assert np.abs(read(path) - read(tmp_path / "out" / name)).max() < 1e-3  # of 4096


def test_another_reader_finds_the_same_geometry(small, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    run = run_for_volumes(tmp_path / "run", small)
    path = make_nifti(tmp_path / "scan.nii.gz", numbers((40, 36, 7)))
    translate(run, path, output=tmp_path / "out")
    original, result = (sitk.ReadImage(p) for p in (path, tmp_path / "out" / "scan.nii.gz"))
    assert result.GetSize() == (40, 36, 7)
    assert result.GetSpacing() == original.GetSpacing() == (2, 2, 3)
    assert result.GetOrigin() == original.GetOrigin()
    assert result.GetDirection() == original.GetDirection()
    arrays = [sitk.GetArrayFromImage(each).astype(float) for each in (original, result)]
    assert np.abs(arrays[0] - arrays[1]).max() < 1e-3


def test_a_series_becomes_a_nifti_file_in_its_place(small, tmp_path):
    pytest.importorskip("pydicom")
    sitk = pytest.importorskip("SimpleITK")
    run = run_for_volumes(tmp_path / "run", small)
    stored = numbers((5, 34, 40)) // 2 + 500
    series = make_series(tmp_path / "in" / "patient1", stored)
    translate(run, tmp_path / "in", output=tmp_path / "out")
    assert written(tmp_path / "out") == {"patient1.nii.gz"}
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    theirs, result = reader.Execute(), sitk.ReadImage(tmp_path / "out" / "patient1.nii.gz")
    assert result.GetSize() == theirs.GetSize() == (40, 34, 5)
    assert np.allclose(result.GetSpacing(), theirs.GetSpacing())
    assert np.allclose(result.GetSpacing(), (0.75, 0.5, 2.5))
    assert np.allclose(result.GetOrigin(), theirs.GetOrigin())
    assert np.allclose(result.GetDirection(), theirs.GetDirection())
    hounsfield = stored.astype(float) * 2 - 1024
    assert np.array_equal(sitk.GetArrayFromImage(theirs), hounsfield)
    assert np.abs(sitk.GetArrayFromImage(result) - hounsfield).max() < 1e-3
    # the folder of one series can be named, too
    translate(run, series, output=tmp_path / "one.nii")
    assert np.array_equal(read(tmp_path / "one.nii"), read(tmp_path / "out" / "patient1.nii.gz"))


def test_resized_slices_come_back_at_their_size(small, tmp_path):
    run = run_for_volumes(tmp_path / "run", small, crop=False)
    path = make_nifti(tmp_path / "scan.nii.gz", np.full((50, 20, 4), 700, np.int16))
    translate(run, path, output=tmp_path / "out")
    result = read(tmp_path / "out" / "scan.nii.gz")
    assert result.shape == (50, 20, 4)
    assert np.abs(result - 700).max() < 1e-2


def test_super_resolution_makes_more_voxels_in_the_same_place(small, tmp_path):
    source = keras.Input((32, 32, 1), name="source")
    same = keras.Model(source, keras.layers.Identity(name="generated")(source))
    config = dataclasses.replace(
        small, source_channels=None, target_channels=None, task="super-resolve", scale=2
    )
    sides = {"source": MEASURED, "target": MEASURED, "target_bits": 32}
    run = make_run(tmp_path / "run", config, same, [(Kind(1, 32),)], **sides)
    path = make_nifti(tmp_path / "scan.nii.gz", np.full((40, 36, 3), 700, np.int16))
    translate(run, path, output=tmp_path / "out")
    original, result = nibabel.load(path), nibabel.load(tmp_path / "out" / "scan.nii.gz")
    assert result.shape == (80, 72, 3)
    assert np.allclose(result.header.get_zooms(), [1, 1, 3])
    corner = [-0.5, -0.5, -0.5, 1]  # of the first voxel: it stays
    assert np.allclose(result.affine @ corner, original.affine @ corner)


def test_segmentations_have_the_numbers_of_their_classes(small, tmp_path):
    classes = (LabelClass(0, (0, 0, 0), "air"), LabelClass(300, (255, 255, 255), "bone"))
    source = keras.Input((32, 32, 1), name="source")
    grey = keras.layers.Concatenate(name="generated")([source] * 3)
    target = Side(classes=classes)
    generator = keras.Model(source, grey)
    run = run_for_volumes(tmp_path / "run", small, generator=generator, target=target)
    is_bone = numbers((40, 36, 3)) > 500
    path = make_nifti(tmp_path / "scan.nii.gz", np.where(is_bone, 3000, -1000).astype(np.int16))
    translate(run, path, output=tmp_path / "out")
    result = nibabel.load(tmp_path / "out" / "scan.nii.gz")
    assert result.get_data_dtype() == np.int16
    assert np.array_equal(read(tmp_path / "out" / "scan.nii.gz"), 300 * is_bone)


def test_several_volumes_make_a_source(small, tmp_path):
    config = dataclasses.replace(
        small, source_channels=None, target_channels=None, direction="AtoB", crop=True
    )
    source = keras.Input((32, 32, 2), name="source")
    kernel = np.array([0.5, 0.5], np.float32).reshape(1, 1, 2, 1)
    mean = keras.layers.Conv2D(1, 1, use_bias=False, name="generated")
    generator = keras.Model(source, mean(source))
    mean.set_weights([kernel])
    parts = (Part("A1", 1), Part("A2", 1))
    sides = {"source": dataclasses.replace(MEASURED, parts=parts), "target": MEASURED}
    kinds = [(Kind(2, 32), Kind(1, 32))]
    sides |= {"source_channels": 2, "target_bits": 32}
    run = make_run(tmp_path / "run", config, generator, kinds, **sides)
    one, two = numbers((40, 36, 3)), numbers((40, 36, 3), seed=1)
    make_nifti(tmp_path / "A1" / "p.nii.gz", one)
    make_nifti(tmp_path / "A2" / "p.nii", two)
    translate(run, tmp_path / "A1", tmp_path / "A2", output=tmp_path / "out")
    made = read(tmp_path / "out" / "p.nii.gz")
    assert np.abs(made - (one.astype(float) + two) / 2).max() < 1e-3
    make_nifti(tmp_path / "A2" / "p.nii", two[..., :2])
    with pytest.raises(UserError, match="1 could not be translated"):
        translate(run, tmp_path / "A1", tmp_path / "A2", output=tmp_path / "other")


# --- What is refused ---


def test_what_cannot_be_read_stops_no_other(small, tmp_path, capsys):
    run = run_for_volumes(tmp_path / "run", small)
    good = make_nifti(tmp_path / "in" / "good.nii.gz", numbers((40, 36, 3)))
    bad = make_nifti(tmp_path / "in" / "bad.nii.gz", numbers((40, 36, 3)))
    bad.write_bytes(bad.read_bytes()[:-100])
    with pytest.raises(SystemExit) as ended:
        command_line.main(["translate", str(run), str(good.parent), "--output", "out"])
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert f"Skipped   {bad}: does not unpack to the 8,992 bytes it claims." in said.out
    assert said.err.splitlines()[-1] == "error: 1 could not be translated, see above."
    assert written(tmp_path / "out") == {"good.nii.gz"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"samples": 2}, "--samples is for pictures, and .*scan.nii.gz is a volume"),
        ({"side_by_side": True}, "--side-by-side is for pictures"),
        ({"pairs": True}, "--pairs is for pictures"),
    ],
)
def test_what_is_for_pictures_alone(small, tmp_path, options, said):
    run = run_for_volumes(tmp_path / "run", small)
    path = make_nifti(tmp_path / "scan.nii.gz", numbers())
    with pytest.raises(UsageError, match=said):
        translate(run, path, output=tmp_path / "out", **options)


def test_outputs_of_another_kind(small, tmp_path):
    run = run_for_volumes(tmp_path / "run", small)
    path = make_nifti(tmp_path / "scan.nii.gz", numbers())
    make_picture(tmp_path / "picture.png", 32, 32)
    with pytest.raises(UsageError, match=r"picture.png is no volume. Name a picture or a folder"):
        translate(run, tmp_path / "picture.png", output=tmp_path / "out.nii.gz")
    pytest.importorskip("pydicom")
    series = make_series(tmp_path / "patient1", numbers((3, 12, 10)))
    with pytest.raises(UsageError, match=r"patient1 is a volume. Name a .nii.gz or a folder"):
        translate(run, series, output=tmp_path / "out.png")
    with pytest.raises(UsageError, match=r"--format same: .*patient1 is DICOM, and results are N"):
        translate(run, series, output=tmp_path / "out", format="same")
    translate(run, path, output=tmp_path / "out", format="same")
    assert written(tmp_path / "out") == {"scan.nii.gz"}


def test_runs_that_were_not_trained_on_volumes(small, tmp_path, capsys):
    run = make_run(tmp_path / "run", small, copying())
    path = make_nifti(tmp_path / "scan.nii.gz", numbers())
    with pytest.raises(UserError, match="1 could not be translated"):
        translate(run, path, output=tmp_path / "out")
    said = capsys.readouterr().out
    assert "scan.nii.gz, slice 0: has 32 bits, and those of the training have 8 or 16" in said
    assert written(tmp_path / "out") == set()


def test_results_that_are_larger_than_the_memory(small, tmp_path, capsys, monkeypatch):
    run = run_for_volumes(tmp_path / "run", small)
    path = make_nifti(tmp_path / "scan.nii.gz", numbers())
    monkeypatch.setattr("pix2pix.commands.translate.volumes.memory_size", lambda: 1e4)
    with pytest.raises(UserError, match="1 could not be translated"):
        translate(run, path, output=tmp_path / "out")
    assert "scan.nii.gz: translating it takes about 0.0 GB, and this machine" in (
        capsys.readouterr().out
    )
