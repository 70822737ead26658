"""Pairs of volumes become pairs of slices, all slices of a patient in one group."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from pix2pix.pairs.file_pairs import FilePair, FoundPairs
from pix2pix.pairs.packs.packed_pairs import PackedPairs
from pix2pix.pictures.picture_files import SUFFIXES
from pix2pix.pictures.volumes.geometry import place_of_slice
from pix2pix.pictures.volumes.volume import MissingPackageError, Volume, VolumeMemory, VolumeSlice
from pix2pix.pictures.volumes.volume_files import (
    find_patient,
    is_volume,
    open_volume,
    without_ending,
)
from pix2pix.talk.errors import UserError

MOST_APART = 0.5  # of the distance of two slices, by which those of partners may lie apart


def volumes_of(pair: FilePair) -> list[Path]:
    """List the files and folders of a pair that are volumes."""
    paths = [file for file in pair.files if isinstance(file, Path)]
    return [path for path in paths if path.suffix.lower() not in SUFFIXES and is_volume(path)]


def put_volumes_into_groups(found: FoundPairs[FilePair]) -> None:
    """Make a group of the volumes of each patient, where pairs have no other groups."""
    pairs = []
    for pair in found.pairs:
        volumes = volumes_of(pair)
        if volumes and not pair.group:
            name = without_ending(volumes[0]).name
            folder = pair.path.rpartition("/")[0]
            own = f"{folder}/{name}" if folder else name
            pair = replace(pair, group=find_patient(volumes[0], own))
        pairs.append(pair)
    found.pairs = pairs


def slice_volumes(
    by_split: Mapping[str, FoundPairs], order: Sequence[int], axis: str, channels: int
) -> dict[str, FoundPairs]:
    """Turn each pair of volumes into pairs of slices across an axis; leave other pairs as they are.

    Slices of sources, which `order` says are A or B, have so many channels: themselves and their
    neighbours. Volumes that are not sound are among the problems."""
    memory, sliced = VolumeMemory(), {}
    for split, found in by_split.items():
        pairs, problems = [], list(found.problems)
        if isinstance(found.pairs, PackedPairs):  # in which there are no volumes
            sliced[split] = found
            continue
        for pair in found.pairs:
            if not isinstance(pair, FilePair) or not volumes_of(pair):
                pairs.append(pair)
                continue
            try:
                pairs += slice_pair(pair, order, axis, channels, memory)
            except MissingPackageError:
                raise
            except UserError as error:
                problems.append(str(error))
        sliced[split] = FoundPairs(pairs, problems)
    return sliced


def slice_pair(
    pair: FilePair, order: Sequence[int], axis: str, channels: int, memory: VolumeMemory
) -> list[FilePair]:
    """Make the pairs of slices of a pair of volumes."""
    if pair.side_by_side:
        what = "a volume without partner. Put pairs into A/ and B/, or choose a --task"
        raise UserError(f"{pair.files[0]}: {what}.")
    paths = volumes_of(pair)
    others = [str(file) for file in pair.files if file not in paths]
    if others:
        raise UserError(f"{others[0]}: is no volume, and its partner is one. Use two volumes.")
    volumes = [open_volume(path, memory) for path in paths]
    check_same_place(volumes, axis)
    is_source = [(place < len(volumes) - 1) == (order[0] == 0) for place in range(len(volumes))]
    counts = [channels if source and len(order) > 1 else 1 for source in is_source]
    pairs = []
    for index in range(volumes[0].count_slices(axis)):
        slices = [
            VolumeSlice(volume, axis, index, count)
            for volume, count in zip(volumes, counts, strict=True)
        ]
        path = str(PurePosixPath(pair.path).parent / slices[0].name)
        pairs.append(replace(pair, files=tuple(slices), path=path))
    return pairs


def check_same_place(volumes: Sequence[Volume], axis: str) -> None:
    """Refuse volumes whose slices do not show the same places."""
    last = volumes[-1]
    count = last.count_slices(axis)
    for volume in volumes[:-1]:
        if volume.count_slices(axis) != count:
            counts = f"{volume.count_slices(axis):,} and {count:,} {axis} slices"
            way_out = "Resample one to the grid of the other"
            raise UserError(f"{volume.path} and {last.path}: have {counts}. {way_out}.")
        for index in (0, count - 1):
            place, other = (
                place_of_slice(each.affine, each.shape, axis, index) for each in (volume, last)
            )
            if abs(place - other) > MOST_APART * distance_of_slices(last, axis):
                where = f"their {axis} slices {index} lie {abs(place - other):.4g} mm apart"
                way_out = "Resample one to the grid of the other; or, if only its header is wrong"
                raise UserError(
                    f"{volume.path} and {last.path}: {where}. {way_out}, copy that of the other."
                )


def distance_of_slices(volume: Volume, axis: str) -> float:
    """Return how many millimetres two neighbouring slices are apart; of a single one, its own
    extent."""
    two = [place_of_slice(volume.affine, volume.shape, axis, index) for index in (0, 1)]
    return abs(two[1] - two[0])
