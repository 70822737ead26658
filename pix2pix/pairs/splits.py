"""The splits of a dataset: its pairs in order, before and after they were checked."""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import tensorflow as tf

from pix2pix.pairs.file_pairs import FilePair
from pix2pix.pairs.packs.packed_pairs import list_attribute
from pix2pix.pairs.synthetic import SyntheticPair
from pix2pix.pictures.pixels import Kind
from pix2pix.pictures.sides import Side
from pix2pix.talk.errors import UserError
from pix2pix.talk.files import File

Pair = FilePair | SyntheticPair


@dataclass(frozen=True)
class Split:
    """One split of a dataset: its pairs in order, and how to read one.

    A pair has two pictures, A and B (a photo alone has one). `order` says which are used: (0, 1)
    takes A as source and B as target, (1, 0) the reverse, and (0,) or (-1,) one as the photo."""

    pairs: Sequence[Pair]
    order: tuple[int, ...]
    problems: Sequence[str]  # a sentence for each file without a partner, or that cannot be read

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def names(self) -> list[str]:
        """List what tells each pair from others, without reading it."""
        return list_attribute(self.pairs, "name")

    @property
    def paths(self) -> list[str]:
        """List where the pairs that are files lie, below the folder of the split."""
        are_files = self.pairs and isinstance(self.pairs[0], FilePair)
        return list_attribute(self.pairs, "path") if are_files else []

    @property
    def file_pairs(self) -> list[FilePair]:
        """List the pairs that are files."""
        return [pair for pair in self.pairs if isinstance(pair, FilePair)]

    @property
    def groups(self) -> set[str]:
        """Return the groups that its pairs belong to, if there are any."""
        return set(list_attribute(self.pairs, "group")) - {""}

    @property
    def weights(self) -> list[float]:
        """List how often each pair is drawn, next to the others."""
        return list_attribute(self.pairs, "weight")

    @property
    def is_weighted(self) -> bool:
        """Tell whether some pairs are drawn more often than others."""
        return len(set(self.weights)) > 1

    @property
    def fingerprint(self) -> str:
        """Return what tells this split from others: `400 pairs with fingerprint 1a2b3c4d`."""
        lines = self.names
        if self.is_weighted:
            lines = lines + [f"weight {weight!r}" for weight in self.weights]
        digest = hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()
        return f"{len(self):,} pairs with fingerprint {digest[:8]}"

    def number_of(self, k: int) -> int:
        """Return the number of pair k among all pairs that were found, broken ones included."""
        return k

    def spread(self, count: int) -> range:
        """Number about so many pairs, or all, evenly chosen."""
        return range(0, len(self), max(1, len(self) // count))

    def read(self, k: int) -> list[np.ndarray]:
        """Read the pixels of pair k: source and target, or the photo."""
        pictures = self.pairs[k].read()
        return [pictures[index] for index in self.order]

    def file_of(self, k: int, index: int) -> File:
        """Return the file that the source (0) or target (-1) of pair k is in, or the photo."""
        return self.pairs[k].files[0 if self.order[index] == 0 else -1]

    def describe(self) -> list[Side]:
        """Say what the files of source and target, or of the photo, are made of."""
        sides = self.pairs[0].describe()
        return [sides[index] for index in self.order]


@dataclass(frozen=True)
class CheckedSplit(Split):
    """The sound pairs of a split, what they are like, and what is wrong with the others."""

    fingerprint_of_all: str  # the fingerprint of all that were found, broken ones included
    numbers: Sequence[int]  # of the sound pairs, among all
    shapes: np.ndarray  # [pairs, pictures, 4] height, width, channels and bits of the pictures
    keys: np.ndarray  # [pairs] by which a run remembers the shapes

    @cached_property
    def sizes(self) -> Counter[tuple[int, int]]:
        """Count heights and widths of the targets, or of the photos."""
        rows = count_rows(self.shapes[: len(self.own_pairs), -1, :2])
        return Counter({(height, width): count for (height, width), count in rows.items()})

    @cached_property
    def kinds(self) -> Counter[tuple[Kind, ...]]:
        """Count what kinds of pixels the pictures of a pair have."""
        rows = count_rows(self.shapes[:, :, 2:].reshape(len(self.shapes), -1))
        counts: Counter[tuple[Kind, ...]] = Counter()
        for row, count in rows.items():
            counts[tuple(map(Kind, row[::2], row[1::2]))] = count
        return counts

    @property
    def resized(self) -> int:
        """Count the sources that are brought to the size of their targets."""
        sizes = self.shapes[: len(self.own_pairs), :, :2]
        return int((sizes[:, 0] != sizes[:, -1]).any(axis=-1).sum())

    def number_of(self, k: int) -> int:
        """Return the number of pair k among all pairs that were found, broken ones included."""
        return int(self.numbers[k])

    def choose_pair(self, number: tf.Tensor, seed: int) -> tf.Tensor:
        """Return the pair that is example `number` of a training: the next of a permutation that is
        new in every epoch."""
        count = len(self)
        epoch, position = number // count, number % count
        k = tf.random.experimental.index_shuffle(position, [seed, epoch], count - 1)
        return self.weigh(k, [seed, epoch]) if self.is_weighted else k

    def weigh(self, k: tf.Tensor, seed: Sequence[tf.Tensor | int]) -> tf.Tensor:
        """Return the pair to take in place of pair k of an epoch: some are taken several times and
        others not at all, as their weights and the seed of the epoch decide."""
        ends = np.cumsum(self.weights)  # each is as long as it weighs
        offset = tf.random.stateless_uniform([], seed, dtype=tf.float64)
        at = (tf.cast(k, tf.float64) + offset) * (ends[-1] / len(self))
        return tf.searchsorted(ends, [at], side="right", out_type=tf.int64)[0]

    def bytes_at(self, size_of: Callable[[tuple[int, int]], tuple[int, int]]) -> float:
        """Estimate how much memory all pictures take at the sizes to which they are brought."""
        areas = [math.prod(size_of(size)) * count for size, count in self.sizes.items()]
        depths = [sum(kind.nbytes for kind in kinds) * n for kinds, n in self.kinds.items()]
        return len(self) * sum(areas) / self.sizes.total() * sum(depths) / self.kinds.total()

    def holds_bytes(self, sides: Sequence[Side]) -> bool:
        """Tell whether all pictures are colours, or grey, of 8 bits."""
        bits = {kind.bits for kinds in self.kinds for kind in kinds}
        return bits == {8} and not any(side.measured or side.ranges for side in sides)

    @property
    def own_pairs(self) -> Sequence[Pair]:
        """List the pairs of the dataset itself."""
        return self.pairs

    @property
    def pair_shape(self) -> tuple[int, int] | None:
        """Return height and width of most pictures, if each of them holds both halves of a pair."""
        first = self.own_pairs[0]  # as are all others
        if len(first.files) != 1:
            return None
        height, width = self.sizes.most_common(1)[0][0]
        return height, 2 * width


@dataclass(frozen=True)
class MixedSplit(CheckedSplit):
    """The sound pairs of a split, and after them some of an older dataset; `shapes` are of all."""

    own: int  # how many come first
    older_order: tuple[int, ...]

    @property
    def own_pairs(self) -> Sequence[Pair]:
        """List the pairs of the dataset itself, without the older ones."""
        return self.pairs[: self.own]

    def read(self, k: int) -> list[np.ndarray]:
        """Read the pixels of pair k: source and target, or the photo."""
        pictures = self.pairs[k].read()
        return [pictures[index] for index in self.order_of(k)]

    def file_of(self, k: int, index: int) -> File:
        """Return the file that the source (0) or target (-1) of pair k is in, or the photo."""
        return self.pairs[k].files[0 if self.order_of(k)[index] == 0 else -1]

    def order_of(self, k: int) -> tuple[int, ...]:
        """Return which pictures of pair k are used, in which order."""
        return self.order if k < self.own else self.older_order


AnySplit = TypeVar("AnySplit", bound=Split)


def count_rows(rows: np.ndarray) -> Counter[tuple[int, ...]]:
    """Count the different rows of an array, in the order in which they come first."""
    different, first, counts = np.unique(rows, axis=0, return_index=True, return_counts=True)
    order = np.argsort(first)
    pairs = zip(different[order].tolist(), counts[order].tolist(), strict=True)
    return Counter({tuple(row): count for row, count in pairs})


def choose_shown(splits: dict[str, AnySplit]) -> str:
    """Name the split that shows how well a generator does: held-out pairs, if there are any."""
    return next(name for name in ("val", "test", "train") if splits.get(name))


def mix(split: CheckedSplit, older: CheckedSplit, share: float) -> MixedSplit:
    """Mix evenly chosen pairs of an older split into one, so that they are such a share of all."""
    if len(older.order) != len(split.order):
        why = "pairs and photos without partners cannot be mixed"
        raise UserError(f"--keep-old: {why}. Use --keep-old with the --task of the older run.")
    count = round(len(split) * share / (1 - share))
    chosen = [k * len(older) // count for k in range(count)]
    older_pairs = [older.pairs[k] for k in chosen]
    if chosen and (split.is_weighted or older.is_weighted):  # both weigh alike in the mean
        own, others = split.weights, [pair.weight for pair in older_pairs]
        scale = float(np.mean(own) / np.mean(others))
        older_pairs = [replace(pair, weight=pair.weight * scale) for pair in older_pairs]
    return MixedSplit(
        pairs=[*split.pairs, *older_pairs],
        order=split.order,
        problems=split.problems,
        fingerprint_of_all=split.fingerprint_of_all,
        numbers=[*split.numbers, *(older.numbers[k] for k in chosen)],
        shapes=np.concatenate([split.shapes, older.shapes]),
        keys=np.concatenate([split.keys, older.keys]),
        own=len(split),
        older_order=older.order,
    )
