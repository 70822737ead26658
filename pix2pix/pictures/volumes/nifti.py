"""NIfTI files (.nii, .nii.gz): read with nibabel, which is asked for only where there is one."""

import gzip
import logging
import math
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
from pix2pix.talk.errors import UserError, first_line
from pix2pix.talk.files import replace_when_complete

ENDINGS = (".nii", ".nii.gz")
NIFTI_1, NIFTI_2 = 348, 540  # bytes of a header; also the first number in it
IN_ONE_FILE = (b"n+1", b"n+2")  # what a header says if the voxels follow it
MOST_PACKED = 1032  # bytes that gzip can pack into one
COPY_ANEW = "It is cut short or damaged: copy it anew"


def load_nibabel() -> ModuleType:
    """Return nibabel; where it is not installed, say how to install it."""
    try:
        import nibabel
    except ModuleNotFoundError as error:
        raise MissingPackageError("NIfTI files need nibabel: pip install nibabel") from error
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)  # what matters is raised
    return nibabel


@dataclass(frozen=True, eq=False)
class NiftiVolume(Volume):
    """A volume in a NIfTI file. One that is packed is unpacked as a whole, and kept for a while;
    of others no more is read than a slice."""

    header: Any  # nibabel's
    voxels: Any  # nibabel's, which reads what is cut out of it

    @property
    def is_packed(self) -> bool:
        """Tell whether the file is compressed."""
        return self.path.suffix.lower() == ".gz"

    def read_part(self, own_axis: int, index: int) -> np.ndarray:
        """Read one layer across an axis of its array, as an array of three axes of float32."""
        try:
            if not self.is_packed:
                return self.voxels[layer(own_axis, index)].astype(np.float32)
            stored = self.memory.recall(self.path, self.unpack)
        except Exception as error:  # zlib, gzip and nibabel raise several kinds
            raise UserError(f"not a readable volume ({first_line(error)})") from error
        part, slope, offset = stored[layer(own_axis, index)], self.voxels.slope, self.voxels.inter
        if (slope, offset) == (1, 0):
            return part.astype(np.float32)
        return (part * np.float64(slope) + offset).astype(np.float32)

    def unpack(self) -> np.ndarray:
        """Read the numbers of a packed file, as they are stored."""
        count = math.prod(self.shape) * self.voxels.dtype.itemsize
        with gzip.open(self.path) as file:
            file.seek(self.voxels.offset)
            content = file.read(count)
            while file.read(2**20):  # only at its end gzip finds out whether the file is damaged
                pass
        numbers = np.frombuffer(content, self.voxels.dtype)
        return numbers.reshape(self.shape, order="F")  # the first axis runs fastest


def open_nifti(path: Path, memory: VolumeMemory) -> NiftiVolume:
    """Open a NIfTI file that holds one volume of numbers; refuse all others in a line."""
    nibabel = load_nibabel()
    if not path.is_file():  # reading from a pipe would wait for ever
        raise UserError(f"{path}: is no file that can be read")
    try:
        header = read_header(path, nibabel)
        shape, dtype = shape_of(header, path), header.get_data_dtype()
        slope, offset = header.get_slope_inter()
        begin = header.get_data_offset()
        affine = np.array(header.get_best_affine(), float)
    except UserError:
        raise
    except Exception as error:  # nibabel and gzip raise several kinds
        raise UserError(f"{path}: not a readable NIfTI file ({first_line(error)})") from error
    if dtype.kind not in "iuf":
        raise UserError(f"{path}: has voxels of {dtype}, not numbers. Convert it to numbers.")
    check_bytes(path, begin, shape, dtype.itemsize)
    if fault := find_fault(affine):
        way_out = "Correct it (nibabel: set_sform), or convert the volume anew"
        raise UserError(f"{path}: its affine, which places the voxels, {fault}. {way_out}.")
    stored = (shape, dtype, begin, 1.0 if slope is None else slope, offset or 0.0)
    voxels = nibabel.arrayproxy.ArrayProxy(str(path), stored, mmap=False)
    return NiftiVolume(path, path, shape, affine, memory, header, voxels)


def read_header(path: Path, nibabel: ModuleType) -> Any:
    """Read the header of a NIfTI file, and nothing else of it."""
    packed = path.suffix.lower() == ".gz"
    with gzip.open(path) if packed else path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        sizes = {int.from_bytes(start, "little"), int.from_bytes(start, "big")}
        if not sizes & {NIFTI_1, NIFTI_2}:
            raise ValueError("it does not begin like one")
        kind = nibabel.Nifti2Header if NIFTI_2 in sizes else nibabel.Nifti1Header
        header = kind.from_fileobj(file)
    if bytes(header["magic"])[:3] not in IN_ONE_FILE:
        raise ValueError("its voxels are in another file; convert both to one .nii")
    return header


def shape_of(header: Any, path: Path) -> tuple[int, int, int]:
    """Return how many voxels there are along three axes; refuse series of volumes."""
    shape = [int(length) for length in header.get_data_shape()]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) == 2:
        shape.append(1)
    size = "×".join(map(str, shape))
    if len(shape) != 3:
        way_out = "Split it into files of one volume each (fslsplit, nibabel.four_to_three)"
        raise UserError(f"{path}: has {len(shape)} axes ({size}), not 3. {way_out}.")
    if min(shape) < 1:
        raise ValueError(f"a volume of {size} voxels")
    return shape[0], shape[1], shape[2]


def check_bytes(path: Path, begin: int, shape: tuple[int, ...], bytes_per_voxel: int) -> None:
    """Refuse a file that cannot hold what its header claims, before memory is taken for it."""
    needed, size = begin + math.prod(shape) * bytes_per_voxel, path.stat().st_size
    most = size * MOST_PACKED if path.suffix.lower() == ".gz" else size
    if needed > most:
        claim = f"claims {needed:,} bytes and has {size:,}"
        raise UserError(f"{path}: {claim}. {COPY_ANEW}.")
    if path.suffix.lower() != ".gz":
        return
    way_out = "Unpack it (gunzip): of a .nii only single slices are read"
    check_memory_of(path, shape, bytes_per_voxel, way_out)
    with path.open("rb") as file:
        file.seek(-4, 2)
        said = int.from_bytes(file.read(4), "little")  # how long it is unpacked, modulo 2**32
    if said != needed and not unpacks_to(path, needed):
        raise UserError(f"{path}: does not unpack to the {needed:,} bytes it claims. {COPY_ANEW}.")


def unpacks_to(path: Path, needed: int) -> bool:
    """Tell whether a packed file holds so many bytes; it may be of several parts, or hold more."""
    with suppress(Exception), gzip.open(path) as file:  # what is wrong is said by the caller
        while needed > 0 and (block := file.read(min(needed, 2**20))):
            needed -= len(block)
    return needed <= 0


def write_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray, like: Volume) -> None:
    """Save an array of three axes as a NIfTI file with the geometry of its affine, and with what
    else the header of another says if that is a NIfTI file, too."""
    nibabel = load_nibabel()
    header = like.header.copy() if isinstance(like, NiftiVolume) else None
    is_2 = header is not None and int(header["sizeof_hdr"]) == NIFTI_2
    kind = nibabel.Nifti2Image if is_2 else nibabel.Nifti1Image
    image = kind(voxels, affine, header)
    image.set_data_dtype(voxels.dtype)
    image.header.set_slope_inter(1, 0)
    image.header["cal_min"] = image.header["cal_max"] = 0  # how dark and bright it was shown
    if header is None:
        image.header.set_xyzt_units("mm")
        image.set_sform(affine, code=1)  # as the scanner places it
        image.set_qform(affine, code=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_when_complete(path) as temporary:
        image.to_filename(temporary)
