"""The index of a pack: in which shard each file lies and where, and what its pair is like.

It may be a stranger's: nothing in it is executed, and no file outside of the pack is opened.
"""

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from pix2pix.pairs.packs.texts import Texts
from pix2pix.talk.errors import UserError, first_line
from pix2pix.talk.files import replace_when_complete

INDEX = "index.npz"
VERSION = 1
SHARD_NAME = re.compile(r"[a-z]+-[0-9]{6,}\.tar")
SPLIT_COUNT = 3  # train, val and test, in this order
Layout = Literal["pairs", "side by side", "photos"]


@dataclass(frozen=True, eq=False)
class PackIndex:
    """Where the files of all pairs are: a row for each pair, those of train first."""

    layout: Layout  # of each pair: two files or more, one with both halves, or one alone
    counts: np.ndarray  # [3] pairs in train, val and test
    shards: Texts  # names
    shard_bytes: np.ndarray  # [shards]
    shard: np.ndarray  # [pairs] its number
    offset: np.ndarray  # [pairs, files] bytes from the beginning of the shard
    length: np.ndarray  # [pairs, files] bytes
    checksum: np.ndarray  # [pairs, files] CRC-32
    shapes: np.ndarray  # [pairs, pictures, 4] height, width, channels, bits
    weight: np.ndarray  # [pairs] how often it is drawn, next to the others
    group: np.ndarray  # [pairs] number of its group
    groups: Texts  # names; the first is none
    paths: Texts  # [pairs · files] where each file was, below the folder that was packed
    below: Texts  # [pairs] where the first was, below the folder of its split

    def write(self, folder: Path) -> None:
        """Write the index of a pack; with it, the pack is complete."""
        arrays = {"version": np.array(VERSION)}
        for name, value in vars(self).items():
            if isinstance(value, Texts):
                arrays[f"{name}_ends"], arrays[name] = value.arrays
            else:
                arrays[name] = np.asarray(value)
        with replace_when_complete(folder / INDEX) as temporary:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]

    def find_problem(self) -> str:
        """Say in what the arrays do not fit together; nothing if they do."""
        pairs, files = self.offset.shape
        rows = [self.shard, self.length, self.checksum, self.shapes, self.weight, self.group]
        are_sound = [text.is_sound for text in (self.shards, self.groups, self.paths, self.below)]
        if not all(are_sound) or {len(array) for array in rows} != {pairs}:
            return "columns of different lengths"
        if {self.shard.ndim, self.weight.ndim, self.group.ndim, self.shard_bytes.ndim} != {1}:
            return "columns that are tables"
        if self.length.shape != (pairs, files) or self.checksum.shape != (pairs, files):
            return "columns of different widths"
        if (len(self.paths), len(self.below)) != (pairs * files, pairs):
            return "not a name for each file"
        if self.layout not in get_args(Layout) or (files > 1) != (self.layout == "pairs"):
            return "no such layout"
        pictures = 1 if self.layout == "photos" else 2
        if self.shapes.shape != (pairs, pictures, 4) or (self.shapes < 1).any():
            return "pictures without pixels"
        if self.counts.shape != (SPLIT_COUNT,) or (self.counts < 0).any():
            return "no counts of pairs"
        if self.counts.sum() != pairs or not self.counts[0]:
            return "not as many pairs as it counts"
        if not all(map(SHARD_NAME.fullmatch, self.shards)):
            return "shards that are not in its folder"
        if (self.shard >= len(self.shards)).any() or (self.group >= len(self.groups)).any():
            return "a shard or a group that is not there"
        room = self.shard_bytes[self.shard][:, None] - self.offset
        if (self.offset < 0).any() or (self.length < 0).any() or (self.length > room).any():
            return "files beyond the end of their shard"
        if not (np.isfinite(self.weight).all() and (self.weight > 0).all()):
            return "weights that are none"
        return ""


KINDS = {  # of numbers in the arrays
    **dict.fromkeys(("counts", "shard_bytes", "offset", "length"), np.int64),
    **dict.fromkeys(("shard", "group", "checksum"), np.uint32),
    "shapes": np.int32,
    "weight": np.float64,
}
TEXTS = ("shards", "groups", "paths", "below")


def is_pack(folder: Path) -> bool:
    """Tell whether a folder is a pack, or is called one."""
    return (folder / INDEX).is_file() or (folder.is_dir() and folder.suffix == ".pack")


def read_index(folder: Path) -> PackIndex:
    """Read the index of a pack, and refuse one that is damaged, forged or of other shards."""
    path = folder / INDEX
    if not path.exists():
        raise UserError(f"{folder}: is no complete pack, without {INDEX}. Give `pack` again.")
    try:
        index = read_arrays(path)
        problem = index.find_problem()
    except Exception as error:  # whatever NumPy makes of bytes that are no arrays
        problem = first_line(error)
    if problem:
        raise UserError(f"{path}: is no sound index ({problem}). Copy or make the pack anew.")
    for name, size in zip(index.shards, index.shard_bytes.tolist(), strict=True):
        there = (folder / name).stat().st_size if (folder / name).is_file() else None
        if there != size:
            what = "is missing" if there is None else f"has {there:,} bytes, not {size:,}"
            raise UserError(f"{folder / name}: {what}, so it is not of {path}. Copy it anew.")
    return index


def read_arrays(path: Path) -> PackIndex:
    """Read an index that may be anything; what it holds is not compared."""
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("compressed arrays, which could grow without end")
    with np.load(path, allow_pickle=False) as arrays:
        if arrays["version"] != VERSION:
            raise ValueError(f"version {arrays['version']}, not {VERSION}")
        columns: dict[str, Any] = {"layout": str(arrays["layout"])}
        for name, kind in KINDS.items():
            columns[name] = typed(arrays[name], kind)
        for name in TEXTS:
            ends = typed(arrays[f"{name}_ends"], np.int64)
            columns[name] = Texts(ends, typed(arrays[name], np.uint8))
    return PackIndex(**columns)


def typed(array: np.ndarray, kind: type) -> np.ndarray:
    """Return an array if its numbers are of a kind."""
    if array.dtype != kind:
        raise ValueError(f"numbers of type {array.dtype}, not {np.dtype(kind)}")
    return array
