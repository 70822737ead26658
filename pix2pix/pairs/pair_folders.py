"""Which files of some folders belong together: pairs side by side in one picture, pairs of two
files or more, or photos alone."""

import hashlib
import os
from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from pix2pix.pairs.groups import find_groups
from pix2pix.pictures.picture_files import MAX_PIXELS, SUFFIXES, holds_measurements, read_picture
from pix2pix.pictures.pixels import drop_opaque_alpha, has_alpha
from pix2pix.pictures.sides import Part, Side
from pix2pix.talk.errors import UserError, on_one_line
from pix2pix.talk.lines import say_row

SPLITS = ("train", "val", "test")
SIDES = (("A", "B"), ("input", "target"), ("input", "output"))
LAYOUTS = ("{side}/{split}", "{split}/{side}", "{split}{side}", "{split}_{side}", "{side}")
ONE_FOLDER = [("{split}", ("",)), (".", ("",))]  # of side-by-side pairs, or of photos

SAME_SHAPE = 0.01  # by which the shapes of partners may differ, as rounded sizes do

Folders = tuple[Path, ...]  # of one split: those of A, and that of B; or one that holds both
Files = tuple[Path, ...]  # of one pair: those of A, and that of B; or one that holds both


@dataclass(frozen=True)
class FilePair:
    """A pair in one file or several (or a photo alone), and how to read it."""

    files: Files
    side_by_side: bool
    group: str = ""  # that it belongs to, if --group says so

    @cached_property
    def name(self) -> str:
        """Return what tells this pair from others without reading it: file names and sizes."""
        return ", ".join(f"{on_one_line(f.name)}, {size_of(f)} bytes" for f in self.files)

    @property
    def title(self) -> str:
        """Return what the pair is called in reports."""
        return self.files[0].name

    def read(self) -> list[np.ndarray]:
        """Read the pictures A and B, or the photo alone."""
        return read_pair(self.files, self.side_by_side)

    def describe(self) -> list[Side]:
        """Say what A and B, or the photo alone, are made of, as far as the files tell."""
        sides = [Side(measured=holds_measurements(file)) for file in self.files]
        if len(self.files) > 2:
            folders = [file.parent for file in self.files[:-1]]
            names = [folder.name for folder in folders]
            if len(set(names)) < len(names):
                names = list(map(str, folders))
            counts = [read_whole(file).shape[2] for file in self.files[:-1]]
            sides = [Side(measured=True, parts=tuple(map(Part, names, counts))), sides[-1]]
        return sides * 2 if self.side_by_side else sides


P = TypeVar("P")


@dataclass
class FoundPairs(Generic[P]):
    """The pairs found in the folders of one split, and what is wrong with the other files."""

    pairs: list[P] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.pairs or self.problems)


def size_of(file: Path) -> int:
    """Return the bytes of a file; none if it cannot be reached, as behind a link to nowhere."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def check_is_file(path: Path) -> None:
    """Refuse what only has the name of a picture: reading from a pipe would wait for ever."""
    if os.path.isfile(path):
        return
    if os.path.isdir(path):
        what = "a folder"
    elif os.path.islink(path):
        what = "a link that leads to no file"
    else:
        what = "no file but a pipe, a socket or a device" if path.exists() else "not there any more"
    raise UserError(f"{path}: is {what}")


def read_pair(files: Files, side_by_side: bool, max_pixels: int = MAX_PIXELS) -> list[np.ndarray]:
    """Read A and B, or the photo alone if there is only one, as [height, width, channels].

    All files but the last make A together, channel upon channel."""
    pictures = [read_whole(file, max_pixels) for file in files]
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


def read_whole(file: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a picture of a pair; transparency that is none is left away."""
    check_is_file(file)
    return drop_needless_alpha(read_picture(file, max_pixels), file)


def drop_needless_alpha(pixels: np.ndarray, file: Path) -> np.ndarray:
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


# --- Finding --------------------------------------------------------------------------------------


def find_pairs(
    root: Path,
    sides: tuple[str, ...] | None,
    photos: bool,
    holdout: float,
    seed: int,
    group: str | None,
) -> dict[str, FoundPairs[FilePair]]:
    """Find the pairs below a folder, or of the folders named as `sides` (B the last), by split.

    With `photos`, find single photos instead; of two folders, those in the one of the targets."""
    folders = find_folders(root, sides)
    if photos:
        folders = {split: places[-1:] for split, places in folders.items()}
    side_by_side = len(folders["train"]) == 1 and not photos
    deep = photos and len(folders) == 1  # else what lies below is another split
    found = {split: find_files(places, deep, side_by_side) for split, places in folders.items()}
    if not found["train"] and not deep:
        if not sides:
            refuse_two_subfolders(root)
        found = {split: find_files(places, True, side_by_side) for split, places in folders.items()}
    if not found["train"]:
        where = " and ".join(map(str, folders["train"]))
        what = "photos" if photos else "side-by-side pairs, or A/ and B/ with the same file names,"
        raise UserError(
            f"{where}: no pictures. Put {what} there, or use --dataset synthetic. "
            'See README, "Your own pictures".'
        )
    if group:
        put_into_groups(found, folders, group)
    others = [there for split, there in found.items() if split != "train"]
    if not any(others):
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


def find_folders(root: Path, sides: tuple[str, ...] | None) -> dict[str, Folders]:
    """Find the folders of each split that has any: the first layout with training pairs counts."""
    if sides:
        candidates = [("{side}/{split}", sides), ("{side}", sides)]
    else:
        candidates = [
            (layout, name_sources(root, layout, names)) for names in SIDES for layout in LAYOUTS
        ]
    for layout, names in [*candidates, *ONE_FOLDER]:
        folders = place_folders(root, layout, names)
        if all(folder.is_dir() for folder in folders["train"]):
            return {
                split: places
                for split, places in folders.items()
                if any(place.is_dir() for place in places)
            }
    raise UserError(f"{root}: there is no such folder.")


def name_sources(root: Path, layout: str, sides: tuple[str, str]) -> tuple[str, ...]:
    """Name the sides of a layout: A and B, or where there is no A, all of A1, A2, A_more, and B."""
    source, target = sides
    if root.joinpath(layout.format(side=source, split="train")).is_dir():
        return sides
    before, after = layout.format(side="*", split="train").split("*")
    names = []
    for folder in sorted(root.glob(f"{before}{source}[0-9_]*{after}")):
        names.append(folder.relative_to(root).as_posix().removeprefix(before).removesuffix(after))
    return (*names, target) if names else sides


def place_folders(root: Path, layout: str, sides: tuple[str, ...]) -> dict[str, Folders]:
    """Name the folders that each split has in a layout, whether they exist or not."""
    folders = {}
    for split in SPLITS:
        pattern = layout
        if "{split}" not in layout and split != "train":
            pattern = f"{layout}/{{split}}"  # training pairs may lie beside val/ and test/
        folders[split] = tuple(root / pattern.format(side=side, split=split) for side in sides)
    return folders


def find_files(folders: Folders, deep: bool, side_by_side: bool) -> FoundPairs[FilePair]:
    """Find the pairs in the folders of a split; those of several are matched by their names.

    With `deep`, also in whatever lies below, matched by the path there; but not in other splits."""
    # for each pair, the files of each folder
    matches: dict[str, list[list[Path]]] = defaultdict(lambda: [[] for _ in folders])
    for index, folder in enumerate(folders):
        for file in sorted(folder.glob("**/[!.]*" if deep else "[!.]*")):
            below, known = file.relative_to(folder), file.suffix.lower() in SUFFIXES
            if known and below.parts[0] not in SPLITS and not os.path.isdir(file):
                key = str(below.with_suffix("") if len(folders) > 1 else file)
                matches[key][index].append(file)
    found = FoundPairs[FilePair]()
    for match in matches.values():
        files = tuple(file for there in match for file in there)
        lacking = [str(folder) for folder, there in zip(folders, match, strict=True) if not there]
        if not lacking and len(files) == len(folders):
            found.pairs.append(FilePair(files, side_by_side))
        else:
            problem = f"no partner in {lacking[0]}" if lacking else "too many for one pair"
            found.problems.append(on_one_line(f"{' and '.join(map(str, files))}: {problem}"))
    return found


def put_into_groups(
    found: dict[str, FoundPairs[FilePair]], folders: dict[str, Folders], group: str
) -> None:
    """Tell all pairs which group they belong to."""
    paths = [
        pair.files[0].relative_to(folders[split][0]).as_posix()
        for split, there in found.items()
        for pair in there.pairs
    ]
    groups = iter(find_groups(paths, group))
    for there in found.values():
        there.pairs = [replace(pair, group=next(groups)) for pair in there.pairs]


def hold_out(
    pairs: list[FilePair], holdout: float, seed: int
) -> tuple[list[FilePair], list[FilePair]]:
    """Divide the pairs of a dataset that has only training pairs, always alike for a seed; no
    group is divided."""

    def draw_lot(unit: list[FilePair]) -> bytes:  # by name, so that more files do not change it
        name = unit[0].group or unit[0].files[0].stem
        return hashlib.sha256(os.fsencode(f"{seed} {name}")).digest()

    units: dict[str | int, list[FilePair]] = defaultdict(list)
    for k, pair in enumerate(pairs):
        units[pair.group or k].append(pair)
    count = max(1, round(len(pairs) * holdout)) if holdout else 0
    held = set[FilePair]()
    for unit in sorted(units.values(), key=draw_lot)[:-1]:  # one is left to train on
        if len(held) < count:
            held.update(unit)
    if held:
        there_is = "there is neither val/ nor test/ (--holdout)"
        say_row("Held out", f"{len(held):,} of {len(pairs):,}: {there_is}")
    kept = [pair for pair in pairs if pair not in held]
    return kept, [pair for pair in pairs if pair in held]
