"""A volume that is read slice by slice, and what is kept of volumes in memory."""

import io
import math
import os
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np

from pix2pix.pictures.volumes.geometry import VIEWS, axes_of_slices, match_axes, to_pictures
from pix2pix.talk.errors import UserError

MOST_IN_MEMORY = 2**30  # bytes of one volume
MOST_TOGETHER = 2**31  # bytes of several


class MissingPackageError(UserError):
    """A package that volumes need is not installed."""


class VolumeMemory:
    """Keeps the voxels of the volumes that were asked for last, in so many bytes."""

    def __init__(self, most: int = MOST_TOGETHER) -> None:
        self.most, self.lock = most, Lock()
        self.kept: OrderedDict[Path, np.ndarray] = OrderedDict()

    def recall(self, path: Path, load: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the voxels of a volume; load them if they are not kept."""
        with self.lock:  # so that threads which want slices of one volume load it once
            if path not in self.kept:
                voxels = load()
                while self.kept and voxels.nbytes + self.count_bytes() > self.most:
                    self.kept.popitem(last=False)
                self.kept[path] = voxels
            self.kept.move_to_end(path)
            return self.kept[path]

    def count_bytes(self) -> int:
        """Return how many bytes are kept."""
        return sum(voxels.nbytes for voxels in self.kept.values())


@dataclass(frozen=True, eq=False)
class Volume(ABC):
    """A volume whose head was read, and found sound."""

    path: Path  # of its file, or of the folder of its series
    first_file: Path  # that file, or the first of its series
    shape: tuple[int, int, int]  # voxels along each axis of its array
    affine: np.ndarray  # see geometry.py
    memory: VolumeMemory = field(repr=False)

    @abstractmethod
    def read_part(self, own_axis: int, index: int) -> np.ndarray:
        """Read one layer across an axis of its array, as an array of three axes of float32."""

    def count_slices(self, axis: str) -> int:
        """Return how many slices there are across axial, coronal or sagittal."""
        return self.shape[axes_of_slices(self.affine, axis)[0]]

    def read_slice(self, axis: str, index: int) -> np.ndarray:
        """Read a slice as a picture [height, width] of float32."""
        own, reversals = match_axes(self.affine)
        direction = VIEWS[axis][0]
        own_axis = own[direction]
        if reversals[direction]:
            index = self.shape[own_axis] - 1 - index
        return to_pictures(self.read_part(own_axis, index), self.affine, axis)[0]


def layer(axis: int, index: int) -> tuple[slice, ...]:
    """Return what cuts one layer across an axis out of an array of three, and keeps all three."""
    return tuple(slice(index, index + 1) if k == axis else slice(None) for k in range(3))


def check_memory_of(path: Path, shape: tuple[int, ...], bytes_per_voxel: int, way_out: str) -> None:
    """Refuse a volume that takes too much memory to be held as a whole."""
    needed = math.prod(shape) * bytes_per_voxel
    if needed > MOST_IN_MEMORY:
        size = "×".join(map(str, shape))
        what = f"{size} voxels take {needed / 1e9:,.1f} GB, more than {MOST_IN_MEMORY / 1e9:.1f}"
        raise UserError(f"{path}: {what}. {way_out}.")


@dataclass(frozen=True)
class VolumeSlice:
    """A slice of a volume in the place of the path of a picture, perhaps with its neighbours as
    channels: what reads a picture by its path reads a slice as well, as an array of NumPy."""

    volume: Volume
    axis: str
    index: int
    channels: int = 1  # an odd number of slices, of which it is the middle one

    @property
    def name(self) -> str:
        """Return the name of the volume and the number of the slice."""
        return f"{self.volume.path.name}, {self.describe()}"

    @property
    def stem(self) -> str:
        """Return the same, as there is no suffix to leave out at its end."""
        return self.name

    @property
    def suffix(self) -> str:
        """Return what kind of file the volume is: .nii, .nii.gz or .dcm."""
        endings = "".join(self.volume.first_file.suffixes[-2:]).lower()
        if endings.endswith(".nii.gz"):
            return ".nii.gz"
        return ".nii" if endings.endswith(".nii") else ".dcm"

    @property
    def parent(self) -> Path:
        """Return the folder that the volume lies in."""
        return self.volume.path.parent

    def __str__(self) -> str:
        return f"{self.volume.path}, {self.describe()}"

    def __fspath__(self) -> str:
        return os.fspath(self.volume.first_file)

    def describe(self) -> str:
        """Say which slice it is: `slice 17`, of axial ones, or `coronal slice 17`."""
        axis = "" if self.axis == "axial" else f"{self.axis} "
        return f"{axis}slice {self.index}"

    def absolute(self) -> Path:
        """Return its whole path; there is no file of that name."""
        return self.parent.absolute() / self.name

    def relative_to(self, folder: str | Path) -> Path:
        """Return the path of the volume from a folder."""
        return self.volume.path.relative_to(folder)

    def exists(self) -> bool:
        """Tell whether the volume is still there."""
        return self.volume.first_file.exists()

    def stat(self) -> os.stat_result:
        """Return what the system knows of the file of the volume, or the first of its series."""
        return self.volume.first_file.stat()

    def open(self, mode: str = "rb") -> io.BytesIO:
        """Read the slice, and return a file of it: an array [height, width, channels] of float32,
        as .npy. Beyond the first and the last slice, these are repeated."""
        last, beside = self.volume.count_slices(self.axis) - 1, self.channels // 2
        numbers = range(self.index - beside, self.index + beside + 1)
        slices = [
            self.volume.read_slice(self.axis, min(max(number, 0), last)) for number in numbers
        ]
        file = io.BytesIO()
        np.save(file, np.stack(slices, axis=-1))
        file.seek(0)
        return file
