"""DICOM series as volumes: Hounsfield units, geometry, and what is refused."""

import sys

import numpy as np
import pytest
from made_volumes import change_file, make_series, numbers

from pix2pix.pictures.picture_files import read_picture
from pix2pix.pictures.volumes import volume
from pix2pix.pictures.volumes.volume import VolumeMemory, VolumeSlice
from pix2pix.pictures.volumes.volume_files import find_patient, is_volume, open_volume
from pix2pix.talk.errors import UserError

pydicom = pytest.importorskip("pydicom")

STORED = numbers((5, 12, 10))  # slices, rows, columns


@pytest.fixture
def series(tmp_path):
    return make_series(tmp_path / "patient1", STORED, "P-17")


def read_slice(folder, axis="axial", index=0) -> np.ndarray:
    return read_picture(VolumeSlice(open_volume(folder, VolumeMemory()), axis, index))[..., 0]


def refusal(folder) -> str:
    with pytest.raises(UserError) as refused:
        open_volume(folder, VolumeMemory())
    text = str(refused.value)
    assert text.startswith(str(folder))
    assert "\n" not in text
    return text.removeprefix(str(folder))


def test_slices_are_hounsfield_units_from_the_feet_on(series):
    assert is_volume(series)
    assert not is_volume(series.parent)
    hounsfield = STORED.astype(np.float32) * 2 - 1024
    for index in (0, 3, 4):
        assert np.array_equal(read_slice(series, "axial", index), hounsfield[index])
    # the front of a patient is the first row, and what is right the first column
    assert np.array_equal(read_slice(series, "coronal", 0), hounsfield[::-1, -1])
    assert np.array_equal(read_slice(series, "sagittal", 0), hounsfield[::-1, :, -1])
    assert find_patient(series, "patient1") == "P-17"


def test_the_geometry_is_that_which_another_reader_finds(series):
    sitk = pytest.importorskip("SimpleITK")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    theirs = reader.Execute()
    opened = open_volume(series, VolumeMemory())
    assert opened.shape == theirs.GetSize() == (10, 12, 5)
    for voxel in ((0, 0, 0), (9, 0, 0), (2, 7, 4)):
        left, back, top = theirs.TransformIndexToPhysicalPoint(voxel)
        assert np.allclose(opened.affine @ [*voxel, 1], [-left, -back, top, 1])
    assert np.array_equal(sitk.GetArrayFromImage(theirs)[3], read_slice(series, "axial", 3))


def test_oblique_slices_are_placed_as_another_reader_does(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    down = [0, np.cos(0.3), np.sin(0.3)]
    series = make_series(tmp_path / "tilted", STORED)
    for k, file in enumerate(sorted(series.iterdir(), reverse=True)):
        place = np.array([-20, -30, 100]) + 2.5 * k * np.array([0, -np.sin(0.3), np.cos(0.3)])
        texts = [f"{number:.6f}" for number in place]
        turned = [f"{number:.8f}" for number in [1, 0, 0, *down]]
        change_file(file, ImagePositionPatient=texts, ImageOrientationPatient=turned)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    theirs, opened = reader.Execute(), open_volume(series, VolumeMemory())
    left, back, top = theirs.TransformIndexToPhysicalPoint((2, 7, 4))
    assert np.allclose(opened.affine @ [2, 7, 4, 1], [-left, -back, top, 1], atol=1e-3)


def test_each_slice_may_have_a_scale_of_its_own(series):
    """As those of PET have."""
    change_file(series / "005.dcm", RescaleSlope=0.5, RescaleIntercept=3)
    assert np.array_equal(read_slice(series, "axial", 0), STORED[0] * np.float32(0.5) + 3)
    assert np.array_equal(read_slice(series, "axial", 1), STORED[1] * np.float32(2) - 1024)


def test_files_without_an_ending_are_known_by_their_content(series):
    for file in series.iterdir():
        file.rename(series / f"1.2.840.{file.stem}")
    (series / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (series / "notes.txt").write_text("no DICOM")
    assert is_volume(series)
    assert open_volume(series, VolumeMemory()).shape == (10, 12, 5)


# --- What is refused ---


def test_slices_that_are_missing(series):
    (series / "003.dcm").unlink()
    said = refusal(series)
    assert said.startswith(": 004.dcm and 002.dcm lie 5 mm apart, and others 2.5. Are slices miss")


def test_slices_at_one_place(series):
    (series / "copy.dcm").write_bytes((series / "002.dcm").read_bytes())
    assert refusal(series) == ": 002.dcm and copy.dcm are at the same place; keep one of them"


def test_mixed_series(series, tmp_path):
    other = make_series(tmp_path / "other", STORED)
    (other / "001.dcm").rename(series / "from_other.dcm")
    assert refusal(series) == ": holds 2 series; put each into a folder of its own"


def test_a_slice_that_is_unlike_the_others(series):
    change_file(series / "003.dcm", PixelSpacing=[0.5, 0.8])
    assert ": 003.dcm is unlike 001.dcm in size, spacing or direction; move" in refusal(series)


def test_a_compression_without_a_decoder(series):
    for file in series.iterdir():
        change_file(file, TransferSyntaxUID=pydicom.uid.JPEGLSLossless)
    if pydicom.pixels.get_decoder(pydicom.uid.JPEGLSLossless).is_available:
        pytest.skip("there is a decoder here")
    said = refusal(series)
    assert said.startswith("/001.dcm: is compressed (JPEG-LS Lossless Image Compression). pip inst")
    assert said.endswith("gdcmconv --raw).")


def test_a_forged_size_takes_no_memory(series):
    change_file(series / "005.dcm", Rows=65535, Columns=65535)
    assert refusal(series).startswith("/005.dcm: 65,535×65,535 pixels of 1 samples are no slice")


def test_a_size_that_is_larger_than_the_pixels(series):
    for file in series.iterdir():
        change_file(file, Rows=4000, Columns=4000)
    with pytest.raises(UserError, match=r"patient1, slice 0: .*005.dcm: not a readable slice \("):
        read_slice(series)


def test_a_file_that_is_packed_as_a_whole_is_not_unpacked(series):
    change_file(series / "005.dcm", TransferSyntaxUID=pydicom.uid.DeflatedExplicitVRLittleEndian)
    assert "/005.dcm: not a readable DICOM file (packed as a whole; unpack it" in refusal(series)


def test_files_that_are_damaged(series):
    content = (series / "005.dcm").read_bytes()
    (series / "005.dcm").write_bytes(content[:-50])
    with pytest.raises(UserError, match=r"patient1, slice 0: .*005.dcm: not a readable slice \("):
        read_slice(series)
    (series / "005.dcm").write_bytes(content[:200])
    assert refusal(series).startswith("/005.dcm: ")
    (series / "005.dcm").write_text("not DICOM at all")
    assert refusal(series).startswith("/005.dcm: not a readable DICOM file (")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"NumberOfFrames": 30}, "/001.dcm: holds 30 frames; convert it to NIfTI (dcm2niix)"),
        ({"SamplesPerPixel": 3}, "12×10 pixels of 3 samples are no slice of a volume"),
        ({"PixelSpacing": None}, "/001.dcm: no slice of a volume ("),
        ({"ImagePositionPatient": [1, 2]}, "/001.dcm: no slice of a volume ("),
        (
            {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
            "of their place has axes that lie in one",
        ),
        ({"PixelSpacing": [0, 0]}, ": what its files say of their place has voxels without ext"),
    ],
)
def test_what_is_no_volume(series, changes, said):
    for file in series.iterdir():
        change_file(file, **changes)
    assert said in refusal(series)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.7\0"),  # no transfer syntax at all
        (b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.5.1.1\0"),
        (b"-20.0\\-30.0\\100.0", b"-20.0\\-3x.0\\100.0"),
        (b"-20.0\\-30.0\\100.0", b"-20.0\\-nan \\100.0"),
    ],
)
def test_bytes_that_are_wrong(series, old, new):
    """pydicom raises an error of another kind for each, some only when a number is asked for."""
    content = (series / "005.dcm").read_bytes()
    assert content.count(old) == 1
    (series / "005.dcm").write_bytes(content.replace(old, new))
    assert refusal(series)
    assert find_patient(series, "patient1") == "P-17"


def test_a_series_that_fills_the_memory_is_read_slice_by_slice(series, monkeypatch):
    monkeypatch.setattr(volume, "MOST_IN_MEMORY", 2000)
    assert read_slice(series, "axial", 2).shape == (12, 10)
    with pytest.raises(UserError, match=r"10×12×5 voxels .*dcm2niix -z n"):
        read_slice(series, "coronal", 2)


def test_what_is_not_installed_is_named(series, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"^DICOM files need pydicom.*: pip install pydicom$"):
        open_volume(series, VolumeMemory())
