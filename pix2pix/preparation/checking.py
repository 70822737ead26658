"""The check of every pair: each is read once, so that a broken file is found now and not at step
7,213. What it was like is remembered by a pack, and by a run: then only what is new is read.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from pix2pix.options.train import Train
from pix2pix.pairs.file_pairs import FilePair
from pix2pix.pairs.packs.packed_pairs import PackedPairs, select
from pix2pix.pairs.splits import CheckedSplit, Split
from pix2pix.pictures.ignored import set_apart
from pix2pix.pictures.pixels import kind_of
from pix2pix.talk.errors import UserError
from pix2pix.talk.files import map_ahead, replace_when_complete
from pix2pix.talk.progress import is_due, say_progress

REMEMBERED = "checked_pairs.npz"  # in a run folder
NOT_READ = 0  # as height and width of a picture
NO_KEY = 0  # of a pair that is not remembered


def check_pair(split: Split, k: int, options: Train) -> np.ndarray | UserError:
    """Read pair k of a split; return height, width, channels and bits of each picture, or what is
    wrong with one."""
    try:
        pictures = split.read(k)
        if options.ignore:
            set_apart(options.ignore, split.file_of(k, -1), pictures[-1])
    except UserError as error:
        return error
    return np.array([(*picture.shape[:2], *kind_of(picture)) for picture in pictures])


def check_split(
    split: Split, name: str, options: Train, remembered: "Remembered | None" = None
) -> CheckedSplit:
    """Read every pair of a split that is not remembered; return the sound ones, and what they are
    like."""
    keys = keys_of(split, options) if remembered else np.full(len(split), NO_KEY, np.uint64)
    shapes = known_shapes(split, options, keys, remembered)
    unknown, problems = np.flatnonzero(shapes[:, -1, 0] == NOT_READ).tolist(), {}
    outcomes = map_ahead(lambda k: check_pair(split, k, options), unknown)
    for count, (k, outcome) in enumerate(zip(unknown, outcomes, strict=True), 1):
        if is_due(count, 100, len(unknown)):
            amount = f"{count:,} of {len(unknown):,}"
            say_progress(f"Checking {name}", count, len(unknown), amount)
        if isinstance(outcome, UserError):
            problems[k] = str(outcome)
        else:
            shapes[k] = outcome
    problems |= find_too_small(split, shapes, options)
    numbers = np.setdiff1d(np.arange(len(split)), list(problems)).tolist()
    return CheckedSplit(
        pairs=select(split.pairs, numbers) if problems else split.pairs,
        order=split.order,
        problems=[*split.problems, *(problems[k] for k in sorted(problems))],
        fingerprint_of_all=split.fingerprint,
        numbers=numbers,
        shapes=shapes[numbers],
        keys=keys[numbers],
    )


def find_too_small(split: Split, shapes: np.ndarray, options: Train) -> dict[int, str]:
    """Find the pairs from whose pictures --crop cannot cut the image size."""
    if not options.crop:
        return {}
    height, width = options.picture_size
    sizes, problems = shapes[:, -1, :2], {}
    is_small = (sizes[:, 0] != NOT_READ) & (sizes < (height, width)).any(axis=1)
    for k in np.flatnonzero(is_small).tolist():
        shape, file = "×".join(map(str, sizes[k])), split.pairs[k].files[0]
        problems[k] = f"{file}: {shape} is too small to cut {height}×{width} from it"
    return problems


def check_splits(
    splits: Mapping[str, Split], options: Train, remembered: "Remembered | None" = None
) -> dict[str, CheckedSplit]:
    """Check all splits of a dataset."""
    return {name: check_split(split, name, options, remembered) for name, split in splits.items()}


# --- What is known without reading ----------------------------------------------------------------


def known_shapes(
    split: Split, options: Train, keys: np.ndarray, remembered: "Remembered | None"
) -> np.ndarray:
    """Return what the pictures of each pair are known to be like, [pairs, pictures, 4]: by the
    pack that they are in, or as the run remembers; zeros of those that have to be read."""
    shapes = np.full((len(split), len(split.order), 4), NOT_READ, np.int32)
    if isinstance(split.pairs, PackedPairs) and not options.ignore:
        return split.pairs.shapes[:, list(split.order)]
    if remembered:
        remembered.fill_in(shapes, keys)
    return shapes


def keys_of(split: Split, options: Train) -> np.ndarray:
    """Return a number for each pair that is another one if its files change, or what is asked of
    them; of pairs that are not to be remembered, NO_KEY."""
    keys = np.full(len(split), NO_KEY, np.uint64)
    if isinstance(split.pairs, PackedPairs) or os.path.isdir(options.ignore or ""):
        return keys
    for k, pair in enumerate(split.pairs):
        if isinstance(pair, FilePair) and pair.state:
            text = f"{split.order} {options.ignore} {pair.state}"
            digest = hashlib.blake2b(os.fsencode(text), digest_size=8).digest()
            keys[k] = int.from_bytes(digest, "little")
    return keys


class Remembered:
    """What pictures were like when they were last read, by the keys of their pairs."""

    def __init__(self, keys: np.ndarray, shapes: np.ndarray) -> None:
        order = np.argsort(keys)
        self.keys, self.shapes = keys[order], shapes[order]

    def fill_in(self, shapes: np.ndarray, keys: np.ndarray) -> None:
        """Fill in what the pictures of pairs with these keys are like, where that is known."""
        if not len(self.keys) or self.shapes.shape[1:] != shapes.shape[1:]:
            return
        places = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        is_known = (self.keys[places] == keys) & (keys != NO_KEY)
        shapes[is_known] = self.shapes[places[is_known]]


def read_remembered(folder: Path) -> Remembered:
    """Read what a run remembers of its pairs; nothing where that cannot be read."""
    try:
        with np.load(folder / REMEMBERED, allow_pickle=False) as arrays:
            keys, shapes = arrays["keys"], arrays["shapes"]
        are_sound = keys.dtype == np.uint64 and keys.shape == shapes.shape[:1]
        if are_sound and shapes.dtype == np.int32 and shapes.ndim == 3 and (shapes > 0).all():
            return Remembered(keys, shapes)
    except Exception:  # whatever NumPy makes of bytes that are no arrays: then all pairs are read
        pass
    return Remembered(np.zeros(0, np.uint64), np.zeros((0, 0, 4), np.int32))


def remember(folder: Path, splits: Iterable[CheckedSplit]) -> None:
    """Keep with a run what its sound pairs are like."""
    keys = np.concatenate([split.keys for split in splits])
    shapes = np.concatenate([split.shapes for split in splits])
    is_kept = keys != NO_KEY
    if is_kept.any():
        with replace_when_complete(folder / REMEMBERED) as temporary:
            np.savez(temporary, keys=keys[is_kept], shapes=shapes[is_kept])
