"""Which files of some folders belong together: pairs side by side in one picture, pairs of two
files, or photos alone."""

import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from pix2pix.support.huge_pictures import MAX_PIXELS
from pix2pix.support.picture_files import SUFFIXES, read_picture
from pix2pix.support.pictures import drop_opaque_alpha
from pix2pix.support.terminal import UserError, say_row

SPLITS = ("train", "val", "test")
SIDES = (("A", "B"), ("input", "target"), ("input", "output"))
LAYOUTS = ("{side}/{split}", "{split}/{side}", "{split}{side}", "{split}_{side}", "{side}")
ONE_FOLDER = [("{split}", ("",)), (".", ("",))]  # of side-by-side pairs, or of photos

Folders = tuple[Path, ...]  # of one split: one for each side, or one that holds both
Files = tuple[Path, ...]  # of one pair: one for each side, or one that holds both


@dataclass(frozen=True)
class FilePair:
    """A pair in one file or two (or a photo alone), and how to read it."""

    files: Files
    side_by_side: bool

    @cached_property
    def name(self) -> str:
        """Return what tells this pair from others without reading it: file names and sizes."""
        return ", ".join(f"{file.name}, {file.stat().st_size} bytes" for file in self.files)

    @property
    def title(self) -> str:
        """Return what the pair is called in reports."""
        return self.files[0].name

    def read(self) -> list[np.ndarray]:
        """Read the pictures A and B, or the photo alone."""
        return read_pair(self.files, self.side_by_side)


@dataclass
class FoundPairs:
    """The pairs found in the folders of one split, and what is wrong with the other files."""

    pairs: list[FilePair] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_pair(files: Files, side_by_side: bool, max_pixels: int = MAX_PIXELS) -> list[np.ndarray]:
    """Read A and B, or the photo alone if there is only one, as [height, width, channels]."""
    pictures = [read_picture(file, max_pixels) for file in files]
    height, width = pictures[0].shape[:2]
    if side_by_side:
        if width % 2:
            raise UserError(f"{files[0]}: is {width} pixels wide, so it has no exact middle")
        pictures = [pictures[0][:, : width // 2], pictures[0][:, width // 2 :]]
    elif pictures[-1].shape[:2] != (height, width):
        sizes = " and ".join(f"{p.shape[0]}×{p.shape[1]}" for p in pictures)
        raise UserError(f"{files[0]}: differs in size from {files[1]} ({sizes})")
    return [drop_opaque_alpha(picture) for picture in pictures]


# --- Finding --------------------------------------------------------------------------------------


def find_pairs(
    root: Path, sides: tuple[str, str] | None, photos: bool, holdout: float, seed: int
) -> dict[str, FoundPairs]:
    """Find the pairs below a folder, or of the two folders named as `sides`, by split.

    With `photos`, find single photos instead; of two folders, those in the one of the targets."""
    folders = find_folders(root, sides)
    if photos:
        folders = {split: places[-1:] for split, places in folders.items()}
    side_by_side = len(folders["train"]) == 1 and not photos
    deep = photos and len(folders) == 1  # else what lies below is another split
    found = {split: find_files(places, deep, side_by_side) for split, places in folders.items()}
    if not found["train"].pairs and not found["train"].problems:
        where = " and ".join(map(str, folders["train"]))
        if not sides:
            refuse_two_subfolders(root)
        what = "photos" if photos else "side-by-side pairs, or A/ and B/ with the same file names,"
        raise UserError(
            f"{where}: no pictures. Put {what} there, or use --dataset synthetic. "
            'See README, "Your own pictures".'
        )
    others = [there for split, there in found.items() if split != "train"]
    if not any(there.pairs or there.problems for there in others):
        found["train"].pairs, held_out = hold_out(found["train"].pairs, holdout, seed)
        found = {"train": found["train"], "val": FoundPairs(held_out)}
    return found


def refuse_two_subfolders(root: Path) -> None:
    """Say how to train on two folders of pictures, if it is these that are below a folder."""
    holding = []
    for folder in sorted(root.glob("*/")):
        if any(file.suffix.lower() in SUFFIXES for file in folder.glob("[!.]*")):
            holding.append(folder)
    if len(holding) == 2:
        first, second = holding
        raise UserError(
            f"{root}: no pictures, but in {first.name} and {second.name}. To turn those of the "
            f"first into those of the second: --source-dir {first} --target-dir {second}"
        )


def find_folders(root: Path, sides: tuple[str, str] | None) -> dict[str, Folders]:
    """Find the folders of each split that has any: the first layout with training pairs counts."""
    if sides:
        candidates = [("{side}/{split}", sides), ("{side}", sides)]
    else:
        candidates = [(layout, names) for names in SIDES for layout in LAYOUTS]
    for layout, names in [*candidates, *ONE_FOLDER]:
        folders = place_folders(root, layout, names)
        if all(folder.is_dir() for folder in folders["train"]):
            return {
                split: places
                for split, places in folders.items()
                if any(place.is_dir() for place in places)
            }
    raise UserError(f"{root}: there is no such folder.")


def place_folders(root: Path, layout: str, sides: tuple[str, ...]) -> dict[str, Folders]:
    """Name the folders that each split has in a layout, whether they exist or not."""
    folders = {}
    for split in SPLITS:
        pattern = layout
        if "{split}" not in layout and split != "train":
            pattern = f"{layout}/{{split}}"  # training pairs may lie beside val/ and test/
        folders[split] = tuple(root / pattern.format(side=side, split=split) for side in sides)
    return folders


def find_files(folders: Folders, deep: bool, side_by_side: bool) -> FoundPairs:
    """Find the pairs in the folders of a split, those of two folders matched by their stem.

    With `deep`, also in whatever lies below."""
    matches = defaultdict(lambda: [[] for _ in folders])  # for each pair, the files of each side
    for side, folder in enumerate(folders):
        for file in sorted(folder.glob("**/[!.]*" if deep else "[!.]*")):
            if file.suffix.lower() in SUFFIXES:
                key = file.stem if len(folders) == 2 else str(file)
                matches[key][side].append(file)
    found = FoundPairs()
    for match in matches.values():
        files = tuple(file for side in match for file in side)
        lacking = [str(folder) for folder, side in zip(folders, match, strict=True) if not side]
        if not lacking and len(files) == len(folders):
            found.pairs.append(FilePair(files, side_by_side))
        else:
            problem = f"no partner in {lacking[0]}" if lacking else "too many for one pair"
            found.problems.append(f"{' and '.join(map(str, files))}: {problem}")
    return found


def hold_out(
    pairs: list[FilePair], holdout: float, seed: int
) -> tuple[list[FilePair], list[FilePair]]:
    """Divide the pairs of a dataset that has only training pairs, always alike for a seed."""

    def draw_lot(pair: FilePair) -> bytes:  # by name, so that more files do not change it
        return hashlib.sha256(os.fsencode(f"{seed} {pair.files[0].stem}")).digest()

    count = min(len(pairs) - 1, max(1, round(len(pairs) * holdout))) if holdout else 0
    held = set(sorted(pairs, key=draw_lot)[: max(0, count)])
    if held:
        there_is = "there is neither val/ nor test/ (--holdout)"
        say_row("Held out", f"{len(held):,} of {len(pairs):,}: {there_is}")
    kept = [pair for pair in pairs if pair not in held]
    return kept, [pair for pair in pairs if pair in held]
