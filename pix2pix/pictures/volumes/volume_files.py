"""Which files and folders are volumes, and how one is opened."""

from pathlib import Path

from pix2pix.pictures.volumes.dicom import holds_series, open_series, read_patient
from pix2pix.pictures.volumes.nifti import ENDINGS, open_nifti
from pix2pix.pictures.volumes.volume import MissingPackageError, Volume, VolumeMemory
from pix2pix.talk.errors import UserError

SUFFIXES = {*ENDINGS, ".dcm"}  # of slices of volumes


def is_nifti(path: Path) -> bool:
    """Tell by its name whether a file is NIfTI."""
    return path.name.lower().endswith(ENDINGS)


def is_volume(path: Path) -> bool:
    """Tell whether a path is a NIfTI file or a folder with a DICOM series."""
    return holds_series(path) if path.is_dir() else is_nifti(path)


def open_volume(path: Path, memory: VolumeMemory) -> Volume:
    """Open a NIfTI file, or the folder of a DICOM series."""
    return open_series(path, memory) if path.is_dir() else open_nifti(path, memory)


def without_ending(path: Path) -> Path:
    """Return a path without what its name says of its format; all of the name of a folder."""
    if path.is_dir():
        return path
    packed = is_nifti(path) and path.suffix.lower() == ".gz"
    return path.with_suffix("").with_suffix("") if packed else path.with_suffix("")


def find_patient(path: Path, name: str) -> str:
    """Return whose volume it is: as a DICOM series says, else its name below its folder."""
    if not path.is_dir():
        return name
    try:
        return read_patient(path) or name
    except MissingPackageError:
        raise
    except UserError:  # what is wrong with it is said when it is opened
        return name
