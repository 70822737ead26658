"""A pair in files: side by side in one, in two or more, or a photo alone; and how it is read."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from pix2pix.pairs.packs.packed_file import PackedFile
from pix2pix.pictures.picture_files import MAX_PIXELS, holds_measurements, read_picture
from pix2pix.pictures.pixels import drop_opaque_alpha, has_alpha
from pix2pix.pictures.sides import Part, Side
from pix2pix.pictures.volumes.volume import VolumeSlice
from pix2pix.talk.errors import UserError, on_one_line
from pix2pix.talk.files import File

SPLITS = ("train", "val", "test")
SAME_SHAPE = 0.01  # by which the shapes of partners may differ, as rounded sizes do

AnyFile = Path | PackedFile | VolumeSlice
Files = tuple[AnyFile, ...]  # of one pair: those of A, and that of B; or one that holds both


@dataclass(frozen=True)
class FilePair:
    """A pair in one file or several (or a photo alone), and how to read it."""

    files: Files
    side_by_side: bool
    path: str  # of the first file, below the folder of the split or of pairs.csv
    group: str = ""  # that it belongs to, if --group or pairs.csv says so
    weight: float = 1.0  # how often it is drawn, next to the others
    may_lack_numbers: bool = False  # with --ignore nodata: NaN is no error

    @cached_property
    def name(self) -> str:
        """Return what tells this pair from others without reading it: file names and sizes."""
        return name_pair([file.name for file in self.files], map(size_of, self.files))

    @property
    def state(self) -> str:
        """Return what changes when a file does: its path, bytes and time of change. Of parts of
        larger files, that is nothing."""
        paths = [file for file in self.files if isinstance(file, Path)]
        return "; ".join(map(state_of, paths)) if len(paths) == len(self.files) else ""

    @property
    def title(self) -> str:
        """Return what the pair is called in reports."""
        return self.files[0].name

    def read(self) -> list[np.ndarray]:
        """Read the pictures A and B, or the photo alone."""
        return read_pair(self.files, self.side_by_side, may_lack_numbers=self.may_lack_numbers)

    def describe(self) -> list[Side]:
        """Say what A and B, or the photo alone, are made of, as far as the files tell."""
        sides = [Side(measured=holds_measurements(file)) for file in self.files]
        if len(self.files) > 2:
            folders = [file.parent for file in self.files[:-1]]
            names = [folder.name for folder in folders]
            if len(set(names)) < len(names):
                names = list(map(str, folders))
            if len(set(names)) < len(names):  # all in one folder, as pairs.csv allows
                names = [f"source {number}" for number in range(1, len(names) + 1)]
            wholes = [
                read_whole(file, may_lack_numbers=self.may_lack_numbers) for file in self.files[:-1]
            ]
            counts = [whole.shape[2] for whole in wholes]
            sides = [Side(measured=True, parts=tuple(map(Part, names, counts))), sides[-1]]
        return sides * 2 if self.side_by_side else sides


P = TypeVar("P")


@dataclass
class FoundPairs(Generic[P]):
    """The pairs found in the folders of one split, and what is wrong with the other files."""

    pairs: Sequence[P] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.pairs or self.problems)


def name_pair(names: Iterable[str], sizes: Iterable[int]) -> str:
    """Return what tells a pair from others: `1.png, 1234 bytes, 1.jpg, 567 bytes`."""
    files = zip(map(on_one_line, names), sizes, strict=True)
    return ", ".join(f"{name}, {size} bytes" for name, size in files)


def size_of(file: AnyFile) -> int:
    """Return the bytes of a file; none if it cannot be reached, as behind a link to nowhere."""
    if isinstance(file, PackedFile):
        return file.length
    try:
        return file.stat().st_size
    except OSError:
        return 0


def state_of(file: Path) -> str:
    """Return what changes when a file does: its path, its bytes, the time of its last change."""
    try:
        stat = file.stat()
    except OSError:
        return f"{file} cannot be reached"
    return f"{file}, {stat.st_size} bytes, changed at {stat.st_mtime_ns} ns"


def check_is_file(path: AnyFile) -> None:
    """Refuse what only has the name of a picture: reading from a pipe would wait for ever."""
    if isinstance(path, PackedFile) or os.path.isfile(path):
        return
    if os.path.isdir(path):
        what = "a folder"
    elif os.path.islink(path):
        what = "a link that leads to no file"
    else:
        what = "no file but a pipe, a socket or a device" if path.exists() else "not there any more"
    raise UserError(f"{path}: is {what}")


def read_pair(
    files: Files,
    side_by_side: bool,
    max_pixels: int = MAX_PIXELS,
    may_lack_numbers: bool = False,
) -> list[np.ndarray]:
    """Read A and B, or the photo alone if there is only one, as [height, width, channels].

    All files but the last make A together, channel upon channel."""
    pictures = [read_whole(file, max_pixels, may_lack_numbers) for file in files]
    height, width = pictures[-1].shape[:2]
    if side_by_side:
        if width % 2:
            raise UserError(f"{files[0]}: is {width} pixels wide, so it has no exact middle")
        halves = pictures[0][:, : width // 2], pictures[0][:, width // 2 :]
        return [drop_needless_alpha(half, files[0]) for half in halves]
    for file, picture in zip(files, pictures, strict=True):
        ratio = picture.shape[0] * width / (picture.shape[1] * height)
        if not 1 - SAME_SHAPE < ratio < 1 + SAME_SHAPE:
            shapes = f"{picture.shape[0]}×{picture.shape[1]} and {height}×{width}"
            raise UserError(f"{file}: differs in shape from {files[-1]} ({shapes})")
    if len(files) > 2:
        return [stack_channels(files[:-1], pictures[:-1]), pictures[-1]]
    return pictures


def read_whole(
    file: AnyFile, max_pixels: int = MAX_PIXELS, may_lack_numbers: bool = False
) -> np.ndarray:
    """Read a picture of a pair; transparency that is none is left away."""
    check_is_file(file)
    return drop_needless_alpha(read_picture(file, max_pixels, may_lack_numbers), file)


def drop_needless_alpha(pixels: np.ndarray, file: File) -> np.ndarray:
    """Leave away transparency that is none, unless the channels of the file are measurements."""
    if has_alpha(pixels) and not holds_measurements(file):
        return drop_opaque_alpha(pixels)
    return pixels


def stack_channels(files: Files, pictures: list[np.ndarray]) -> np.ndarray:
    """Stack pictures channel upon channel, each with its own depth: what has fewer bits is scaled.

    Beside a picture of 32 bits all keep their plain numbers."""
    if len({picture.shape[:2] for picture in pictures}) > 1:
        raise UserError(f"{files[0]}: differs in size from {' or '.join(map(str, files[1:]))}")
    kinds = {picture.dtype for picture in pictures}
    if kinds == {np.dtype(np.uint8), np.dtype(np.uint16)}:  # 255 becomes 65535
        scales = [257 if picture.dtype == np.uint8 else 1 for picture in pictures]
        pictures = [p.astype(np.uint16) * scale for p, scale in zip(pictures, scales, strict=True)]
    return np.concatenate(pictures, axis=-1)
