"""Which files of some folders belong together: pairs side by side in one picture, pairs of two
files or more, or photos alone."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from pix2pix.pairs.file_pairs import SPLITS, FilePair, FoundPairs
from pix2pix.pairs.groups import put_into_groups
from pix2pix.pairs.packs.pack_index import is_pack
from pix2pix.pairs.packs.packed_pairs import find_packed_pairs
from pix2pix.pairs.pair_table import find_table, read_table
from pix2pix.pairs.volumes.volume_pairs import put_volumes_into_groups
from pix2pix.pictures.picture_files import SUFFIXES
from pix2pix.pictures.volumes.volume_files import is_volume, without_ending
from pix2pix.talk.errors import UserError, on_one_line
from pix2pix.talk.lines import say_row

SIDES = (("A", "B"), ("input", "target"), ("input", "output"))
LAYOUTS = ("{side}/{split}", "{split}/{side}", "{split}{side}", "{split}_{side}", "{side}")
ONE_FOLDER = [("{split}", ("",)), (".", ("",))]  # of side-by-side pairs, or of photos

Folders = tuple[Path, ...]  # of one split: those of A, and that of B; or one that holds both


def find_pairs(
    root: Path,
    sides: tuple[str, ...] | None,
    photos: bool,
    holdout: float,
    seed: int,
    group: str | None,
) -> dict[str, FoundPairs[FilePair]]:
    """Find the pairs below a folder, or of the folders named as `sides` (B the last), by split: as
    pairs.csv says, or as the folders do.

    With `photos`, find single photos instead; of two folders, those in the one of the targets. A
    pack has them divided already; a pair of volumes is still one, in the group of its patient."""
    if not sides and is_pack(root):
        return find_packed_pairs(root, photos, group)
    table = None if sides else find_table(root)
    found = read_table(table, photos) if table else find_in_folders(root, sides, photos)
    if group:
        for there in found.values():
            there.pairs = put_into_groups(there.pairs, group)
    for there in found.values():
        put_volumes_into_groups(there)
    others = [there for split, there in found.items() if split != "train"]
    if not any(others):
        found["train"].pairs, held_out = hold_out(found["train"].pairs, holdout, seed)
        found = {"train": found["train"], "val": FoundPairs(held_out)}
    return found


def find_in_folders(
    root: Path, sides: tuple[str, ...] | None, photos: bool
) -> dict[str, FoundPairs[FilePair]]:
    """Find pairs, or with `photos` single photos, by the names of folders and files."""
    folders = find_folders(root, sides)
    if photos:
        folders = {split: places[-1:] for split, places in folders.items()}
    side_by_side = len(folders["train"]) == 1 and not photos
    deep = photos and len(folders) == 1  # else what lies below is another split
    for is_wanted in (is_picture, is_volume):  # volumes beside pictures are passed over
        for below in (True,) if deep else (False, True):
            if below and not deep and not sides:
                refuse_two_subfolders(root)
            found = {
                split: find_files(places, below, side_by_side, is_wanted)
                for split, places in folders.items()
            }
            if found["train"]:
                return found
    for folder in folders["train"]:
        if is_volume(folder):
            raise UserError(
                f"{folder}: holds DICOM files itself. Put each series into a folder of its own "
                f"there, such as {folder / 'patient1'}."
            )
    where = " and ".join(map(str, folders["train"]))
    what = "photos" if photos else "side-by-side pairs, or A/ and B/ with the same file names,"
    raise UserError(
        f"{where}: no pictures. Put {what} there, or use --dataset synthetic. "
        'See README, "Your own pictures".'
    )


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


def is_picture(path: Path) -> bool:
    """Tell by its name whether a file is a picture; a folder is none."""
    return path.suffix.lower() in SUFFIXES and not os.path.isdir(path)


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


def find_files(
    folders: Folders, deep: bool, side_by_side: bool, is_wanted: Callable[[Path], bool]
) -> FoundPairs[FilePair]:
    """Find the pairs in the folders of a split; those of several are matched by their names.

    With `deep`, also in whatever lies below, matched by the path there; but not in other splits."""
    # for each pair, the files of each folder
    matches: dict[str, list[list[Path]]] = defaultdict(lambda: [[] for _ in folders])
    for index, folder in enumerate(folders):
        for file in sorted(folder.glob("**/[!.]*" if deep else "[!.]*")):
            if file.relative_to(folder).parts[0] not in SPLITS and is_wanted(file):
                key = str(without_ending(file).relative_to(folder) if len(folders) > 1 else file)
                matches[key][index].append(file)
    pairs, problems = [], []
    for match in matches.values():
        files = tuple(file for there in match for file in there)
        lacking = [str(folder) for folder, there in zip(folders, match, strict=True) if not there]
        if not lacking and len(files) == len(folders):
            path = files[0].relative_to(folders[0]).as_posix()
            pairs.append(FilePair(files, side_by_side, path))
        else:
            problem = f"no partner in {lacking[0]}" if lacking else "too many for one pair"
            problems.append(on_one_line(f"{' and '.join(map(str, files))}: {problem}"))
    return FoundPairs(pairs, problems)


def hold_out(
    pairs: Sequence[FilePair], holdout: float, seed: int
) -> tuple[list[FilePair], list[FilePair]]:
    """Divide the pairs of a dataset that has only training pairs, always alike for a seed. No group
    is divided, and no pairs that share their first file."""

    def draw_lot(unit: list[FilePair]) -> bytes:  # by name, so that more files do not change it
        name = unit[0].group or unit[0].files[0].stem
        return hashlib.sha256(os.fsencode(f"{seed} {name}")).digest()

    units: dict[object, list[FilePair]] = defaultdict(list)
    for pair in pairs:
        units[pair.group or pair.files[0]].append(pair)
    lots = sorted(units.values(), key=draw_lot)
    wanted, held = max(1, round(len(pairs) * holdout)) if holdout else 0, set[FilePair]()
    for unit in lots[:-1]:  # one is left to train on
        if len(held) + len(unit) <= wanted:
            held.update(unit)
    if wanted and not held and len(lots) > 1:
        smallest = min(lots, key=len)  # all are larger than what is wanted
        held.update(smallest)
    if held:
        there_is = "there is neither val/ nor test/ (--holdout)"
        say_row("Held out", f"{len(held):,} of {len(pairs):,}: {there_is}")
    elif wanted and len(pairs) > 1:
        say_row("Careful", "nothing is held out, as all pairs are of one group")
    kept = [pair for pair in pairs if pair not in held]
    return kept, [pair for pair in pairs if pair in held]
