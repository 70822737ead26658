"""DICOM series, folders of files with a slice each: read with pydicom, which is asked for only
where there is one."""

import logging
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pix2pix.pictures.volumes.geometry import find_fault
from pix2pix.pictures.volumes.volume import (
    MissingPackageError,
    Volume,
    VolumeMemory,
    check_memory_of,
    layer,
)
from pix2pix.talk.errors import UserError, first_line, shorten

ENDINGS = (".dcm", ".ima")
MARK_PLACE, MARK = 128, b"DICM"  # in every DICOM file
CONTENTS = "DICOMDIR"  # a list of files, which holds no picture
TRIED = 20  # files of a folder that are opened, to find out whether it holds a series
DEFLATED = "1.2.840.10008.1.2.1.99"  # a whole file that is packed
MOST_PIXELS = 2**26  # of a slice
TO_NIFTI = np.array([-1, -1, 1])  # DICOM counts to the left, the back and the top of a patient
UNEVEN = 0.1  # share of the usual distance by which that of two slices may differ
SAME_DIRECTION = 1e-3
DECODERS = "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
HEAD = [  # what is read of each file to put a series together
    "SeriesInstanceUID",
    "PatientID",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
]


def load_pydicom() -> ModuleType:
    """Return pydicom; where it is not installed, say how to install it."""
    try:
        import pydicom
        import pydicom.pixels  # since version 3
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "DICOM files need pydicom, 3 or later: pip install pydicom"
        ) from error
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)  # what matters is raised
    warnings.filterwarnings("ignore", module=r"pydicom\.")
    return pydicom


# --- Finding a series -----------------------------------------------------------------------------


def is_dicom(path: Path) -> bool:
    """Tell whether a file is DICOM, by its name or how it begins."""
    if path.name == CONTENTS or path.name.startswith(".") or not path.is_file():
        return False
    if path.suffix.lower() in ENDINGS:
        return True
    with suppress(OSError), path.open("rb") as file:
        return file.read(MARK_PLACE + len(MARK))[MARK_PLACE:] == MARK
    return False


def list_files(folder: Path) -> list[Path]:
    """List the DICOM files of a folder."""
    return [path for path in sorted(folder.iterdir()) if is_dicom(path)]


def holds_series(folder: Path) -> bool:
    """Tell whether a folder itself holds DICOM files."""
    with suppress(OSError):
        return any(map(is_dicom, sorted(folder.iterdir())[:TRIED]))
    return False


def read_patient(folder: Path) -> str:
    """Read the PatientID of a series in its first file; nothing if there is none."""
    first = list_files(folder)[0]
    dataset = read_dataset(first, pixels=False)
    with suppress(
        Exception
    ):  # pydicom raises several kinds, and more is said of it when it is read
        return str(dataset.get("PatientID") or "")
    return ""


# --- One file -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SliceHead:
    """What a DICOM file says of its slice."""

    file: Path
    series: str
    size: tuple[int, int]  # rows and columns
    position: np.ndarray  # of the middle of its first pixel, in millimetres as NIfTI has them
    directions: np.ndarray  # [2, 3]: along a row, and down a column
    spacing: tuple[float, float]  # millimetres between rows, and between columns
    thickness: float


def read_dataset(file: Path, pixels: bool) -> Any:
    """Read what a DICOM file says of its slice, or with `pixels` all of it."""
    pydicom = load_pydicom()
    try:
        syntax = pydicom.filereader.read_file_meta_info(file).get("TransferSyntaxUID")
        if syntax == DEFLATED:
            raise ValueError("packed as a whole; unpack it (dcmconv, gdcmconv --raw)")
        tags = None if pixels else HEAD
        return pydicom.dcmread(file, stop_before_pixels=not pixels, specific_tags=tags)
    except Exception as error:  # pydicom raises several kinds for damaged files
        raise UserError(f"{file}: not a readable DICOM file ({first_line(error)})") from error


def read_head(file: Path) -> SliceHead:
    """Read what a DICOM file says of its slice; refuse what is no slice of a volume."""
    dataset = read_dataset(file, pixels=False)
    try:
        check_decodable(dataset, file)
        frames = int(dataset.get("NumberOfFrames") or 1)
        samples = int(dataset.get("SamplesPerPixel") or 1)
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        position = np.array(dataset.ImagePositionPatient, float) * TO_NIFTI
        directions = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3) * TO_NIFTI
        down, across = map(float, dataset.PixelSpacing)
        thickness = dataset.get("SpacingBetweenSlices") or dataset.get("SliceThickness") or 1
        head = SliceHead(
            file,
            str(dataset.SeriesInstanceUID),
            (rows, columns),
            position,
            directions,
            (down, across),
            abs(float(thickness)),
        )
    except UserError:
        raise
    except Exception as error:  # pydicom reads a number when it is asked for, and raises many kinds
        what = f"no slice of a volume ({first_line(error)}); move it out of the folder"
        raise UserError(f"{file}: {what}") from error
    if frames > 1:
        what = f"holds {frames:,} frames; convert it to NIfTI (dcm2niix), one volume each"
        raise UserError(f"{file}: {what}")
    if samples > 1 or not 0 < rows * columns <= MOST_PIXELS or position.shape != (3,):
        what = f"{rows:,}×{columns:,} pixels of {samples} samples are no slice of a volume"
        raise UserError(f"{file}: {what}; move it out of the folder")
    return head


def check_decodable(dataset: Any, file: Path) -> None:
    """Refuse pixels that are compressed in a way for which nothing is installed."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None or not syntax.is_compressed:
        return
    try:
        is_decodable = load_pydicom().pixels.get_decoder(syntax).is_available
    except NotImplementedError:
        is_decodable = False
    if not is_decodable:
        way_out = f"{DECODERS}, or unpack it (gdcmconv --raw)"
        raise UserError(f"{file}: is compressed ({shorten(syntax.name)}). {way_out}.")


def read_pixels(head: SliceHead) -> np.ndarray:
    """Read the numbers of a slice, [rows, columns] of float32, in the units of its file: those of
    a CT are Hounsfield units."""
    dataset = read_dataset(head.file, pixels=True)
    try:
        if (dataset.Rows, dataset.Columns) != head.size:
            raise ValueError("it has changed meanwhile")
        numbers = load_pydicom().pixels.apply_modality_lut(dataset.pixel_array, dataset)
        return numbers.reshape(head.size).astype(np.float32)
    except Exception as error:  # decoders raise several kinds for damaged files
        raise UserError(f"{head.file}: not a readable slice ({first_line(error)})") from error


# --- A series -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class DicomSeries(Volume):
    """A volume in a folder of DICOM files. Its array has the axes columns, rows and slices; across
    the slices it is read file by file, across others as a whole, which is kept for a while."""

    heads: tuple[SliceHead, ...]

    def read_part(self, own_axis: int, index: int) -> np.ndarray:
        """Read one layer across an axis of its array, as an array of three axes of float32."""
        if own_axis == 2:
            return read_pixels(self.heads[index]).T[..., None]
        way_out = "Convert it to NIfTI without gzip (dcm2niix -z n), or use --axis axial"
        check_memory_of(self.path, self.shape, np.dtype(np.float32).itemsize, way_out)
        return self.memory.recall(self.path, self.read_all)[layer(own_axis, index)]

    def read_all(self) -> np.ndarray:
        """Read the numbers of all slices, [columns, rows, slices]."""
        return np.stack([read_pixels(head).T for head in self.heads], axis=-1)


def open_series(folder: Path, memory: VolumeMemory) -> DicomSeries:
    """Open the only series in a folder; refuse one of which slices are missing, or are unlike."""
    heads = [read_head(file) for file in list_files(folder)]
    series = {head.series for head in heads}
    if len(series) != 1:
        what = f"holds {len(series)} series; put each into a folder of its own"
        raise UserError(f"{folder}: {what}")
    check_alike(folder, heads)
    normal = np.cross(*heads[0].directions)
    heads.sort(key=lambda head: float(head.position @ normal))
    affine = place_series(heads, normal)
    if fault := find_fault(affine):
        raise UserError(f"{folder}: what its files say of their place {fault}; export it anew")
    check_distances(folder, heads, normal)
    rows, columns = heads[0].size
    shape = (columns, rows, len(heads))
    return DicomSeries(folder, heads[0].file, shape, affine, memory, tuple(heads))


def check_alike(folder: Path, heads: Sequence[SliceHead]) -> None:
    """Refuse slices of different sizes or directions in one series, such as a localizer."""
    first = heads[0]
    for head in heads:
        is_turned = np.abs(head.directions - first.directions).max() > SAME_DIRECTION
        if is_turned or head.size != first.size or head.spacing != first.spacing:
            what = f"{head.file.name} is unlike {first.file.name} in size, spacing or direction"
            raise UserError(f"{folder}: {what}; move what is no slice of the volume elsewhere")


def check_distances(folder: Path, heads: Sequence[SliceHead], normal: np.ndarray) -> None:
    """Refuse slices, in order, that do not lie evenly."""
    distances = np.diff([float(head.position @ normal) for head in heads])
    if not len(distances):
        return
    usual = float(np.median(distances))
    for before, after, distance in zip(heads, heads[1:], distances, strict=False):
        names = f"{before.file.name} and {after.file.name}"
        if distance <= UNEVEN * usual:
            raise UserError(f"{folder}: {names} are at the same place; keep one of them")
        if abs(distance - usual) > UNEVEN * usual:
            lie = f"lie {distance:.4g} mm apart, and others {usual:.4g}"
            way_out = "Are slices missing? Copy the series anew, or resample it"
            raise UserError(f"{folder}: {names} {lie}. {way_out}.")


def place_series(heads: Sequence[SliceHead], normal: np.ndarray) -> np.ndarray:
    """Return the affine of a series whose slices are in order."""
    first, last = heads[0], heads[-1]
    affine = np.eye(4)
    affine[:3, 0] = first.directions[0] * first.spacing[1]
    affine[:3, 1] = first.directions[1] * first.spacing[0]
    affine[:3, 2] = normal * first.thickness
    if len(heads) > 1:
        affine[:3, 2] = (last.position - first.position) / (len(heads) - 1)
    affine[:3, 3] = first.position
    return affine
