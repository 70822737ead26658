"""Volumes in NIfTI files: their slices as pictures, whatever way round they are stored."""

import gzip
import sys

import numpy as np
import pytest
from made_volumes import LEFT_TO_RIGHT, make_nifti, numbers

from pix2pix.pictures.picture_files import holds_measurements, read_picture
from pix2pix.pictures.volumes import volume
from pix2pix.pictures.volumes.geometry import find_fault, place_of_slice, scale_affine
from pix2pix.pictures.volumes.nifti import NiftiVolume
from pix2pix.pictures.volumes.volume import VolumeMemory, VolumeSlice
from pix2pix.pictures.volumes.volume_files import is_volume, open_volume, without_ending
from pix2pix.talk.errors import UserError

nibabel = pytest.importorskip("nibabel")

DIMENSIONS, DATA_TYPE, SLOPE_AND_OFFSET, ROWS_OF_SFORM, MAGIC = 40, 70, 112, 280, 344  # in a header


def damage(path, place: int, content: bytes) -> None:
    """Change bytes of a NIfTI file, packed or not."""
    packed = path.suffix == ".gz"
    data = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    data[place : place + len(content)] = content
    path.write_bytes(gzip.compress(bytes(data)) if packed else bytes(data))


def read_slice(path, axis="axial", index=0, **options) -> np.ndarray:
    return read_picture(VolumeSlice(open_volume(path, VolumeMemory()), axis, index, **options))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_slices_are_seen_as_is_usual(tmp_path, ending):
    voxels = numbers()
    path = make_nifti(tmp_path / f"scan{ending}", voxels)
    # axis 0 runs to the right, 1 to the front, 2 to the top: what is right is on the left
    axial = read_slice(path, "axial", 4)
    assert (axial.shape, axial.dtype) == ((16, 20, 1), np.float32)
    assert np.array_equal(axial[..., 0], voxels[::-1, ::-1, 4].T)
    assert np.array_equal(read_slice(path, "coronal", 3)[..., 0], voxels[::-1, 3, ::-1].T)
    assert np.array_equal(read_slice(path, "sagittal", 5)[..., 0], voxels[5, ::-1, ::-1].T)


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("codes", ["LAS", "RPI", "PIR", "SAL"])
def test_the_way_in_which_voxels_are_stored_changes_nothing(tmp_path, axis, codes):
    """nibabel turns the array round and says so in the affine; the pictures stay."""
    straight = make_nifti(tmp_path / "straight.nii", numbers())
    wanted = nibabel.orientations.axcodes2ornt(codes)
    here = nibabel.io_orientation(LEFT_TO_RIGHT)
    way = nibabel.orientations.ornt_transform(here, wanted)
    turned = nibabel.load(straight).as_reoriented(way)
    nibabel.save(turned, tmp_path / "turned.nii.gz")
    assert nibabel.aff2axcodes(turned.affine) == tuple(codes)
    for index in (0, 5):
        assert np.array_equal(
            read_slice(tmp_path / "turned.nii.gz", axis, index), read_slice(straight, axis, index)
        )


def test_neighbours_are_channels_and_the_ends_are_repeated(tmp_path):
    path = make_nifti(tmp_path / "scan.nii.gz", numbers())
    alone = [read_slice(path, "axial", k)[..., 0] for k in range(6)]
    for index, beside in ((0, (0, 0, 1)), (3, (2, 3, 4)), (5, (4, 5, 5))):
        slices = read_slice(path, "axial", index, channels=3)
        assert np.array_equal(slices, np.stack([alone[k] for k in beside], axis=-1))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_numbers_are_in_the_units_of_the_file(tmp_path, ending):
    stored = numbers()
    path = make_nifti(tmp_path / f"scan{ending}", stored)
    damage(path, SLOPE_AND_OFFSET, np.array([0.5, -100], "<f4").tobytes())
    wanted = stored[::-1, ::-1, 2].T * 0.5 - 100
    assert np.array_equal(nibabel.load(path).get_fdata()[::-1, ::-1, 2].T, wanted)
    assert np.array_equal(read_slice(path, "axial", 2)[..., 0], wanted)


def test_a_slice_answers_like_a_path(tmp_path):
    path = make_nifti(tmp_path / "A" / "scan.nii.gz", numbers())
    opened = open_volume(path, VolumeMemory())
    one = VolumeSlice(opened, "axial", 4)
    assert (one.name, one.stem, one.suffix) == (
        "scan.nii.gz, slice 4",
        "scan.nii.gz, slice 4",
        ".nii.gz",
    )
    assert (one.parent, str(one)) == (tmp_path / "A", f"{path}, slice 4")
    assert VolumeSlice(opened, "coronal", 4).name == "scan.nii.gz, coronal slice 4"
    assert one.stat().st_size == path.stat().st_size
    assert one.relative_to(tmp_path) == path.relative_to(tmp_path)
    assert holds_measurements(one)
    assert without_ending(tmp_path / "scan.v2.nii.gz") == tmp_path / "scan.v2"
    assert (is_volume(path), is_volume(tmp_path / "A"), is_volume(tmp_path / "a.png")) == (
        True,
        False,
        False,
    )


def test_where_slices_lie_and_what_another_size_makes_of_it():
    assert place_of_slice(LEFT_TO_RIGHT, (20, 16, 6), "axial", 4) == -9 + 4 * 3
    assert place_of_slice(LEFT_TO_RIGHT, (20, 16, 6), "sagittal", 0) == -20
    finer = scale_affine(LEFT_TO_RIGHT, (20, 16, 6), (80, 64, 6))
    assert np.allclose(np.diag(finer), [0.5, 0.5, 3, 1])
    # the left border of the first voxel stays where it was: half a voxel before its middle
    assert np.isclose(finer[0, 3] - 0.25, -20 - 1)


# --- What is kept in memory ---


def test_a_packed_volume_is_unpacked_once(tmp_path, monkeypatch):
    path, memory = make_nifti(tmp_path / "scan.nii.gz", numbers()), VolumeMemory()
    opened, loads = open_volume(path, memory), []
    unpack = NiftiVolume.unpack
    monkeypatch.setattr(NiftiVolume, "unpack", lambda self: loads.append(1) or unpack(self))
    for index in (0, 3, 3, 5):
        read_picture(VolumeSlice(opened, "axial", index))
    assert len(loads) == 1
    assert memory.count_bytes() == 20 * 16 * 6 * 2


def test_memory_keeps_what_was_asked_for_last(tmp_path):
    memory = VolumeMemory(most=250)
    loads = []

    def recall(name):
        return memory.recall(tmp_path / name, lambda: loads.append(name) or np.zeros(100, np.uint8))

    for name in "abacab":
        recall(name)
    assert loads == ["a", "b", "c", "b"]  # c took the place of b, and b that of c
    assert memory.count_bytes() == 200


# --- What is refused ---


def refusal(path) -> str:
    with pytest.raises(UserError) as refused:
        open_volume(path, VolumeMemory())
    text = str(refused.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_forged_size_takes_no_memory(tmp_path, ending):
    path = make_nifti(tmp_path / f"scan{ending}", numbers())
    dimensions = np.array([3, 32767, 32767, 9000, 1, 1, 1, 1], "<i2")  # 19 TB
    damage(path, DIMENSIONS, dimensions.tobytes())
    size = path.stat().st_size
    said = refusal(path)
    assert said.startswith(
        f"claims {352 + 2 * 32767**2 * 9000:,} bytes and has {size:,}. It is cut"
    )


def test_a_packed_volume_that_fills_the_memory_is_to_be_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(volume, "MOST_IN_MEMORY", 3000)
    path = make_nifti(tmp_path / "scan.nii.gz", numbers())
    assert "20×16×6 voxels take 0.0 GB" in refusal(path)
    assert "gunzip" in refusal(path)
    assert read_slice(make_nifti(tmp_path / "scan.nii", numbers())).shape == (16, 20, 1)


def test_files_that_are_cut_short(tmp_path):
    packed = make_nifti(tmp_path / "scan.nii.gz", numbers())
    packed.write_bytes(packed.read_bytes()[:-900])
    assert refusal(packed) == (
        "does not unpack to the 4,192 bytes it claims. It is cut short or damaged: copy it anew."
    )
    plain = make_nifti(tmp_path / "scan.nii", numbers())
    plain.write_bytes(plain.read_bytes()[:-900])
    assert "claims 4,192 bytes and has 3,292" in refusal(plain)
    packed.write_bytes(packed.read_bytes()[:100])
    assert "not a readable NIfTI file" in refusal(packed)
    packed.write_bytes(b"")
    assert "not a readable NIfTI file" in refusal(packed)
    packed.write_bytes(b"no gzip at all, but some text")
    assert "not a readable NIfTI file" in refusal(packed)


def test_a_packed_file_in_several_parts_is_sound(tmp_path):
    """bgzip writes such; the last four bytes tell the length of the last part alone."""
    path = make_nifti(tmp_path / "scan.nii.gz", numbers())
    whole, content = read_slice(path, "axial", 5), gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:1000]) + gzip.compress(content[1000:]))
    assert np.array_equal(read_slice(path, "axial", 5), whole)


def test_a_volume_damaged_in_its_middle_names_the_slice(tmp_path):
    path = make_nifti(tmp_path / "scan.nii.gz", numbers())
    content = bytearray(path.read_bytes())
    content[-600:-500] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"scan.nii.gz, slice 0: not a readable volume \("):
        read_slice(path)


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ([np.nan, 0, 0, 0], "has numbers that are none"),
        ([0, 0, 0, 0], "has axes that lie in one plane"),
    ],
)
def test_affines_that_place_nothing(tmp_path, row, fault):
    path = make_nifti(tmp_path / "scan.nii", numbers())
    damage(path, ROWS_OF_SFORM, np.array(row, "<f4").tobytes())
    said = "voxels without extent" if not any(row) else fault
    assert said in refusal(path)
    assert "set_sform" in refusal(path)


def test_axes_in_one_plane():
    flat = LEFT_TO_RIGHT.copy()
    flat[:3, 2] = flat[:3, 0] + 1e-3 * flat[:3, 1]
    assert find_fault(flat) == "has axes that lie in one plane"
    assert find_fault(LEFT_TO_RIGHT) == ""


def test_other_things_in_nifti_files(tmp_path):
    moving = make_nifti(tmp_path / "moving.nii.gz", numbers((8, 8, 4, 5)))
    assert refusal(moving).startswith("has 4 axes (8×8×4×5), not 3. Split it")
    single = make_nifti(tmp_path / "single.nii.gz", numbers((8, 8, 4, 1)))
    assert read_slice(single, "axial", 3).shape == (8, 8, 1)
    complex_numbers = make_nifti(tmp_path / "complex.nii", np.ones((4, 4, 4), np.complex64))
    assert "has voxels of complex64, not numbers" in refusal(complex_numbers)
    apart = make_nifti(tmp_path / "apart.nii", numbers())
    damage(apart, MAGIC, b"ni1\0")
    assert "its voxels are in another file" in refusal(apart)
    unknown = make_nifti(tmp_path / "unknown.nii", numbers())
    damage(unknown, DATA_TYPE, b"\x77\x77")
    assert "not a readable NIfTI file" in refusal(unknown)
    assert refusal(tmp_path / "nowhere.nii") == "is no file that can be read"


def test_numbers_that_are_none_are_refused_as_in_pictures(tmp_path):
    voxels = numbers().astype(np.float32)
    voxels[0, 0, 0] = np.nan
    path = make_nifti(tmp_path / "scan.nii.gz", voxels)
    with pytest.raises(UserError, match=r"scan.nii.gz, slice 0: .*--ignore nodata"):
        read_slice(path)
    assert read_slice(path, "axial", 1).shape == (16, 20, 1)


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    path = make_nifti(tmp_path / "scan.nii.gz", numbers())
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(UserError, match=r"^NIfTI files need nibabel: pip install nibabel$"):
        open_volume(path, VolumeMemory())
