"""The pairs of a pack, made one by one when they are asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from pix2pix.pairs.file_pairs import SPLITS, FilePair, FoundPairs, name_pair
from pix2pix.pairs.packs.pack_index import PackIndex, read_index
from pix2pix.pairs.packs.packed_file import PackedFile
from pix2pix.talk.errors import UserError


@dataclass(frozen=True, eq=False)
class PackedPairs(Sequence[FilePair]):
    """Some pairs of a pack. Each is made of its row of the index when it is asked for: a million of
    them would fill the memory."""

    folder: Path
    table: PackIndex
    rows: Sequence[int]  # of the table
    changes: Mapping[str, Any] = field(default_factory=dict)  # of all pairs

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, k):
        table, row = self.table, self.rows[k]
        count, shard = table.offset.shape[1], self.folder / table.shards[int(table.shard[row])]
        files = []
        for number in range(count):
            offset, length = int(table.offset[row, number]), int(table.length[row, number])
            path = PurePosixPath(table.paths[row * count + number])
            checksum = int(table.checksum[row, number])
            files.append(PackedFile(shard, offset, length, checksum, path))
        pair = FilePair(
            files=tuple(files),
            side_by_side=table.layout == "side by side",
            path=table.below[row],
            group=table.groups[int(table.group[row])],
            weight=float(table.weight[row]),
        )
        return replace(pair, **self.changes)

    @property
    def shapes(self) -> np.ndarray:
        """Return what the pictures A and B of each pair, or its photo, are like: [pairs, pictures,
        4], with height, width, channels and bits."""
        return self.table.shapes[self.rows]

    def list_attribute(self, name: str) -> list:
        """List one attribute of all pairs without making these."""
        table = self.table
        if name in self.changes:
            return [self.changes[name]] * len(self)
        if name == "name":
            return self.list_names()
        if name == "weight":
            return table.weight[self.rows].tolist()
        if name == "group":
            return [table.groups[number] for number in table.group[self.rows].tolist()]
        if name == "path":
            return [table.below[row] for row in self.rows]
        return [getattr(pair, name) for pair in self]

    def list_names(self) -> list[str]:
        """List what tells each pair from others: the same as before they were packed."""
        table, names = self.table, []
        count = table.offset.shape[1]
        for row, lengths in zip(self.rows, table.length[self.rows].tolist(), strict=True):
            paths = [PurePosixPath(table.paths[row * count + number]) for number in range(count)]
            names.append(name_pair([path.name for path in paths], lengths))
        return names


# --- All pairs, packed or not ---------------------------------------------------------------------


def list_attribute(pairs: Sequence, name: str) -> list:
    """List one attribute of all pairs."""
    if isinstance(pairs, PackedPairs):
        return pairs.list_attribute(name)
    return [getattr(pair, name) for pair in pairs]


def replace_in_all(pairs: Sequence, **changes: Any) -> Sequence:
    """Return pairs with other attributes, all alike."""
    if isinstance(pairs, PackedPairs):
        return replace(pairs, changes={**pairs.changes, **changes})
    return [replace(pair, **changes) for pair in pairs]


def select(pairs: Sequence, numbers: Sequence[int]) -> Sequence:
    """Return some of the pairs, by their numbers."""
    if isinstance(pairs, PackedPairs):
        return replace(pairs, rows=[pairs.rows[k] for k in numbers])
    return [pairs[k] for k in numbers]


# --- Finding --------------------------------------------------------------------------------------


def find_packed_pairs(
    folder: Path, photos: bool, group: str | None
) -> dict[str, FoundPairs[FilePair]]:
    """Find the pairs of a pack by split, or with `photos` single photos: of pairs the targets."""
    if group:
        raise UserError(f"{folder}: is a pack, which is divided already; give --group to `pack`.")
    table = read_index(folder)
    if table.layout == "photos" and not photos:
        raise UserError(f"{folder}: holds photos, not pairs. Train with --task colorize, say.")
    found, first = {}, 0
    for split, count in zip(SPLITS, table.counts.tolist(), strict=True):
        rows = range(first, first + count)
        if count:
            found[split] = FoundPairs(PackedPairs(folder, table, rows))
        first += count
    return found
