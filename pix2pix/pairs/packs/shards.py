"""Writing a pack: shard by shard, in one process or several, and at last the index.

A shard is a tar file named and laid out as WebDataset has it. Beside it, hidden, lies its part of
the index until that is written; so whoever comes next knows which shards are there already.
"""

import hashlib
import io
import json
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

import numpy as np

from pix2pix.pairs.file_pairs import SPLITS, FilePair, size_of
from pix2pix.pairs.packs.pack_index import Layout, PackIndex
from pix2pix.pairs.packs.texts import Texts
from pix2pix.talk.errors import UserError
from pix2pix.talk.files import map_ahead, replace_when_complete

SHARD_BYTES = 512 * 2**20  # of the pictures of a shard, about
ROLES = {"side by side": ["pair"], "photos": ["photo"]}  # of the files of a pair, in their names

# what the pictures of a pair are like, [pictures, 4], or what is wrong with them
Check = Callable[[FilePair], np.ndarray | UserError]


@dataclass(frozen=True)
class Shard:
    """The pairs that go into one tar file."""

    path: Path
    pairs: Sequence[FilePair]
    first: int  # number of the first of them in its split
    layout: Layout

    @cached_property
    def key(self) -> str:
        """Return what tells whether a shard that is there is of the same files."""
        states = "\n".join(f"{pair.state} {pair.group} {pair.weight}" for pair in self.pairs)
        return hashlib.sha256(os.fsencode(f"{self.first} {self.layout} {states}")).hexdigest()

    @property
    def part(self) -> Path:
        """Name the file with its part of the index."""
        return self.path.with_name(f".{self.path.name}.npz")

    @property
    def lock(self) -> Path:
        """Name the file that a process locks while it writes the shard."""
        return self.path.with_name(f".{self.path.name}.lock")

    def read_part(self) -> "Part | None":
        """Return what was written of these pairs; None where they are still to be packed."""
        try:
            with np.load(self.part, allow_pickle=False) as arrays:
                is_ours = str(arrays["key"]) == self.key and self.path.exists()
                return Part(**{name: arrays[name] for name in PART}) if is_ours else None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None


@dataclass(frozen=True)
class Part:
    """What the index will say of the pairs of a shard that are sound, and what is wrong with the
    others."""

    kept: np.ndarray  # [pairs] whether each is in the shard
    offset: np.ndarray  # [kept, files]
    length: np.ndarray
    checksum: np.ndarray
    shapes: np.ndarray  # [kept, pictures, 4]
    problems: np.ndarray  # texts


PART = tuple(Part.__annotations__)


def layout_of(pair: FilePair) -> Layout:
    """Tell whether a pair is in one file, in several, or a photo alone."""
    if pair.side_by_side:
        return "side by side"
    return "pairs" if len(pair.files) > 1 else "photos"


def plan_shards(
    folder: Path, pairs: Mapping[str, Sequence[FilePair]], count: int | None
) -> list[Shard]:
    """Divide the pairs of each split into shards of about the same size: the training pairs into
    `count` of them, or all into shards of 512 MB."""
    shards = []
    for split, of_split in pairs.items():
        if not of_split:
            continue
        ends = np.cumsum([sum(map(size_of, pair.files)) for pair in of_split])
        number = count if count and split == "train" else 1 + int(ends[-1]) // SHARD_BYTES
        number = min(number, len(of_split))
        limits = np.searchsorted(ends, ends[-1] * np.arange(1, number) / number, side="right")
        borders = [0, *np.maximum(limits, np.arange(1, number)).tolist(), len(of_split)]
        for k, (first, end) in enumerate(zip(borders[:-1], borders[1:], strict=True)):
            path = folder / f"{split}-{k:06}.tar"
            shards.append(Shard(path, of_split[first:end], first, layout_of(of_split[0])))
    return shards


# --- One shard ------------------------------------------------------------------------------------


def write_shard(shard: Shard, base: Path, check: Check) -> Iterator[None]:
    """Write a shard and its part of the index; yield after each pair. Files are named from `base`
    on."""
    places, shapes, problems, kept = [], [], [], []

    def load(pair: FilePair) -> tuple[list[bytes], np.ndarray | UserError]:
        try:
            return [Path(str(file)).read_bytes() for file in pair.files], check(pair)
        except OSError as error:
            return [], UserError(f"{pair.files[0]}: cannot be read ({error.strerror})")

    with (
        replace_when_complete(shard.path) as temporary,
        tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        loaded = zip(shard.pairs, map_ahead(load, shard.pairs), strict=True)
        for number, (pair, (contents, outcome)) in enumerate(loaded, shard.first):
            kept.append(not isinstance(outcome, UserError))
            if isinstance(outcome, UserError):
                problems.append(str(outcome))
            else:
                places.append(add_pair(tar, f"{number:06}", pair, contents, base))
                shapes.append(outcome)
            yield
    count, pictures = len(shard.pairs[0].files), 1 if shard.layout == "photos" else 2
    table = np.array(places, np.int64).reshape(-1, 3, count)  # offset, length, checksum
    part = Part(
        kept=np.array(kept),
        offset=table[:, 0],
        length=table[:, 1],
        checksum=table[:, 2].astype(np.uint32),
        shapes=np.array(shapes, np.int32).reshape(-1, pictures, 4),
        problems=np.array(problems, str),
    )
    with replace_when_complete(shard.part) as temporary:
        np.savez(temporary, key=np.array(shard.key), **vars(part))


def add_pair(
    tar: tarfile.TarFile, key: str, pair: FilePair, contents: Sequence[bytes], base: Path
) -> tuple[list[int], ...]:
    """Add the files of a pair to a shard, and what is said of it; return where each begins, its
    bytes, and its checksum."""
    offsets = []
    for role, file, content in zip(roles_of(pair), pair.files, contents, strict=True):
        offsets.append(add_member(tar, f"{key}.{role}{file.suffix.lower()}", content))
    names = [name_from(base, str(file)) for file in pair.files]
    about = {"files": names, "group": pair.group, "weight": pair.weight}
    add_member(tar, f"{key}.json", json.dumps(about).encode())
    return offsets, list(map(len, contents)), list(map(zlib.crc32, contents))


def add_member(tar: tarfile.TarFile, name: str, content: bytes) -> int:
    """Add a file to an archive; return where its bytes begin."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    tar.addfile(member, io.BytesIO(content))
    whole_blocks = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return tar.offset - whole_blocks


def roles_of(pair: FilePair) -> list[str]:
    """Name the files of a pair: source, source_2, …, target; or pair, or photo."""
    layout, count = layout_of(pair), len(pair.files) - 1
    if layout in ROLES:
        return ROLES[layout]
    return ["source", *(f"source_{number}" for number in range(2, count + 1)), "target"]


def name_from(base: Path, file: str) -> str:
    """Return the path of a file from a folder on."""
    return PurePath(os.path.relpath(file, base)).as_posix()


# --- The index ------------------------------------------------------------------------------------


def write_index(folder: Path, shards: Sequence[Shard], base: Path) -> list[str]:
    """Write the index of shards that are all there, after which their parts are not needed; return
    what is wrong with the pairs that were left out."""
    parts = [part for shard in shards if (part := shard.read_part())]
    pairs, counts = [], dict.fromkeys(SPLITS, 0)
    for shard, part in zip(shards, parts, strict=True):
        pairs += [shard.pairs[k] for k in np.flatnonzero(part.kept).tolist()]
        counts[shard.path.name.partition("-")[0]] += int(part.kept.sum())
    numbers = [np.full(len(part.offset), k, np.uint32) for k, part in enumerate(parts)]
    groups = dict.fromkeys(["", *(pair.group for pair in pairs)])
    number_of = {group: number for number, group in enumerate(groups)}
    index = PackIndex(
        layout=shards[0].layout,
        counts=np.array(list(counts.values()), np.int64),
        shards=Texts.of(shard.path.name for shard in shards),
        shard_bytes=np.array([shard.path.stat().st_size for shard in shards], np.int64),
        shard=np.concatenate(numbers),
        offset=np.concatenate([part.offset for part in parts]),
        length=np.concatenate([part.length for part in parts]),
        checksum=np.concatenate([part.checksum for part in parts]),
        shapes=np.concatenate([part.shapes for part in parts]),
        weight=np.array([pair.weight for pair in pairs], np.float64),
        group=np.array([number_of[pair.group] for pair in pairs], np.uint32),
        groups=Texts.of(groups),
        paths=Texts.of(name_from(base, str(file)) for pair in pairs for file in pair.files),
        below=Texts.of(pair.path for pair in pairs),
    )
    index.write(folder)
    for shard in shards:
        shard.part.unlink()
    return [problem for part in parts for problem in part.problems.tolist()]
