"""What the sound pairs of a dataset are like and mean; together with the options, a `Found`."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from pix2pix.networks.imagenet_features import can_see, find_weights
from pix2pix.options.advice import (
    refuse_broken,
    refuse_single_pictures,
    warn_of_shared_groups,
)
from pix2pix.options.checks import check_train, require
from pix2pix.options.found import Found
from pix2pix.options.saved import (
    older_options,
    read_run,
    refuse_another_run,
    refuse_other_networks,
    report_changes,
    sides_of_older,
    write_run,
)
from pix2pix.options.train import DATASETS, Train
from pix2pix.pairs.alignment import find_misfit
from pix2pix.pairs.augment import check_augment
from pix2pix.pairs.file_pairs import FilePair, FoundPairs
from pix2pix.pairs.packs.packed_pairs import replace_in_all
from pix2pix.pairs.splits import CheckedSplit, Split, mix
from pix2pix.pairs.tasks import TASKS, Task
from pix2pix.pairs.volumes.volume_pairs import slice_volumes
from pix2pix.pictures.georeference import read_no_data
from pix2pix.pictures.ignored import ALPHA, NODATA, has_no_data, set_apart
from pix2pix.pictures.label_maps import are_among, find_classes, read_classes
from pix2pix.pictures.pixels import Kind, convert_channels, find_ranges, to_values
from pix2pix.pictures.sides import Misfit, Side
from pix2pix.preparation.checking import (
    check_split,
    check_splits,
    read_remembered,
    remember,
)
from pix2pix.runs.checkpoint_files import checkpoints
from pix2pix.talk.errors import UsageError, UserError
from pix2pix.talk.files import map_ahead, write_text

PICTURES_ASKED = 100  # about classes and ranges: at least, or all where there are fewer


# --- Options, task and order ----------------------------------------------------------------------


def task_of(options: Train, direction: str | None) -> Task:
    """Return the task of a training: it knows how source and target are made."""
    return TASKS[options.task](options.picture_size, options.scale, direction == "BtoA")


def check_options(options: Train) -> None:
    """Refuse options that make no sense, by themselves or for the task."""
    check_train(options)
    task = task_of(options, options.direction)
    if not task.can_turn_round:
        require(options.direction != "BtoA", options, "direction", "AtoB with this --task")
    if task.divides_size:
        divides = math.gcd(*task.size) % options.scale == 0
        require(divides, options, "scale", "at least 2 and divide the image size")
    if task.from_photos:
        require(not options.source_channels, options, "source_channels", "left to --task")
        require(not options.target_channels, options, "target_channels", "left to --task")
        require(
            not options.align, options, "align", "left out with this --task, which has no pairs"
        )
        if options.ignore and options.direction == "BtoA":
            raise UsageError("--ignore is for photos as targets, not with --direction BtoA.")
        require(options.labels in ("none", "auto"), options, "labels", "none with this --task")
        require(options.slices == 1, options, "slices", "1 with this --task")
        require(options.range != ("each",), options, "range", "auto or LOW HIGH with this --task")


def usual_direction(options: Train) -> Literal["AtoB", "BtoA"]:
    """Return the direction of a dataset known by name; of all others, AtoB."""
    return options.known_dataset.direction if options.known_dataset else "AtoB"


def choose_direction(options: Train) -> Literal["AtoB", "BtoA"]:
    """Return which half of a pair becomes which: as asked, or as is usual."""
    if options.direction:
        return options.direction
    return "AtoB" if TASKS[options.task].from_photos else usual_direction(options)


def choose_order(options: Train) -> tuple[int, ...]:
    """Choose which of the pictures A and B of a pair are read: the source and then the target, or
    of a task the photo alone."""
    if TASKS[options.task].from_photos:  # the usual target of a pair is the photo
        return (0,) if usual_direction(options) == "BtoA" else (-1,)
    return (1, 0) if choose_direction(options) == "BtoA" else (0, 1)


def in_order(by_split: Mapping[str, FoundPairs], options: Train) -> dict[str, Split]:
    """Turn the pairs that were found into splits, which know in what order to read a pair."""
    order, splits = choose_order(options), {}
    for name, each in slice_volumes(by_split, order, options.axis, options.slices).items():
        pairs = each.pairs
        if options.ignore == NODATA:
            pairs = replace_in_all(pairs, may_lack_numbers=True)
        splits[name] = Split(pairs, order, each.problems)
    return splits


def check_layout(split: CheckedSplit, options: Train) -> None:
    """Refuse to cut pictures into halves that do not look like pairs, unless told to."""
    pair = split.pairs[0]
    in_halves = isinstance(pair, FilePair) and pair.side_by_side
    if in_halves and options.layout == "auto" and options.dataset not in DATASETS:
        refuse_single_pictures(split.sizes, options.dataset)


# --- What pictures mean ---------------------------------------------------------------------------


def some_pictures(split: CheckedSplit, index: int) -> Iterator[np.ndarray]:
    """Read some pictures of a split: the sources at index 0 and the targets at 1, or the photos."""
    for pictures in map_ahead(split.read, split.spread(PICTURES_ASKED), count=4):
        yield pictures[index]


def counted_pixels(split: CheckedSplit, index: int, options: Train) -> Iterator[np.ndarray]:
    """Read some pictures of a split as rows of pixels, without those that mean no data."""
    numbers = split.spread(PICTURES_ASKED)
    for k, pictures in zip(numbers, map_ahead(split.read, numbers, count=4), strict=True):
        pixels = pictures[index]
        if options.ignore == NODATA:
            pixels = pixels[~has_no_data(pixels, read_no_data(split.file_of(k, index)))][None]
        yield pixels


def find_sides(split: CheckedSplit, options: Train) -> list[Side]:
    """Find out what the pictures of a split mean: which colours are classes, and which numbers
    are black and white."""
    titles, sides = ("source", "target"), []
    from_photos, older = TASKS[options.task].from_photos, sides_of_older(options)
    for index, (title, side) in enumerate(zip(titles, split.describe(), strict=False)):
        some = partial(some_pictures, split, index)
        if not from_photos:
            side = with_classes(side, some(), options.classes, title, options.labels)
        side = with_older_classes(side, older[index])
        bits = max(kinds[index].bits for kinds in split.kinds)
        words = options.range or (("auto",) if bits == 32 and from_photos else ())
        sides.append(with_ranges(side, counted_pixels(split, index, options), words, title, bits))
    return sides


def with_classes(
    side: Side, pictures: Iterable[np.ndarray], file: Path | None, title: str, labels: str
) -> Side:
    """Return a side with classes if `labels` says that it has some or, at auto, it looks so."""
    if labels not in (title, "both", "auto") or (labels == "auto" and side.parts):
        return side
    if side.parts:
        raise UserError(f"--labels {labels}: {title}s of several pictures cannot be label maps.")
    found = find_classes(pictures) if labels == "auto" or not file else ()
    classes = read_classes(file) if file and (found or labels != "auto") else found
    if not classes and labels != "auto":
        raise UserError(
            f"--labels {labels}: the {title}s have no few even colours that could be classes. "
            "List them in a file for --classes, or train with --labels none."
        )
    return replace(side, classes=classes, measured=False) if classes else side


def with_older_classes(side: Side, older: Side) -> Side:
    """Return a side with the classes of an older run, in their order, if it has no others.

    The order in which classes are found is another in other pictures, and each is a channel of the
    networks."""
    return replace(side, classes=older.classes) if are_among(side.classes, older.classes) else side


def with_ranges(
    side: Side, pictures: Iterable[np.ndarray], words: tuple[str, ...], title: str, bits: int
) -> Side:
    """Return a side with the numbers that are black and white, as the words of --range say.

    Photos of 8 bits, and of 16 without such words, have their whole range."""
    if side.classes or (bits == 8 and not side.measured):
        return side
    if not words and side.measured:
        words = ("each",) if bits == 32 else ("0", str(2**bits - 1))
    if not words:
        return side
    if words[0] in ("auto", "each"):
        return replace(side, ranges=find_ranges(pictures, words[0] == "each"))
    numbers = [float(word) for word in words]
    low, high = numbers[-2:] if title == "target" else numbers[:2]
    return replace(side, ranges=((low, high),))


# --- Settling -------------------------------------------------------------------------------------


def settle_kind(kinds: Sequence[Kind], side: Side) -> Kind:
    """Return the kind that all pictures of a side are brought to: the most that any of them has."""
    channels, bits = {kind.channels for kind in kinds}, max(kind.bits for kind in kinds)
    if side.classes:
        return Kind(3, 8)  # colours stand for the classes
    if side.measured and len(channels) > 1:
        counts = " or ".join(map(str, sorted(channels)))
        raise UserError(f"Measured pictures have {counts} channels: all must have equally many.")
    if channels & {2, 4} and not side.measured:  # one transparent picture is enough
        return Kind(4, bits)
    return Kind(max(channels), bits)


def settle(options: Train, split: CheckedSplit) -> Found:
    """Return what the sound pairs of a split decide for a training."""
    found = conclude(options, split.kinds, find_sides(split, options))
    from_photos = TASKS[options.task].from_photos
    shape = None if from_photos else split.pair_shape
    misfit = find_common_misfit(split, options) if options.align else None
    return replace(found, pairs=split.fingerprint_of_all, pair_shape=shape, misfit=misfit)


def find_common_misfit(split: CheckedSplit, options: Train) -> Misfit:
    """Find how all targets of a split are out of place alike."""

    def read(k: int) -> list[np.ndarray]:
        pictures = split.read(k)
        if options.ignore:
            pictures[-1], _ = set_apart(options.ignore, split.file_of(k, -1), pictures[-1])
        return pictures

    return find_misfit(map_ahead(read, split.spread(PICTURES_ASKED), count=4))


def conclude(options: Train, kinds: Iterable[tuple[Kind, ...]], sides: Sequence[Side]) -> Found:
    """Return what follows from the kinds of pictures, and from what they mean.

    Each pair has the kinds of source and target, or of a task that of the photo alone."""
    direction = choose_direction(options)
    task = task_of(options, direction)
    by_side = list(zip(*kinds, strict=True))
    sides = sides[: len(by_side)]
    stored = [settle_kind(*each) for each in zip(by_side, sides, strict=True)]
    if options.ignore == ALPHA and stored[-1].channels == 4:  # what alpha says is in the mask
        stored[-1] = Kind(3, stored[-1].bits)
    source, target = task.settle_kinds(stored)
    source_side, target_side = task.settle_sides(sides)
    if options.ignore == ALPHA and target_side.measured:
        raise UsageError("--ignore alpha is for colours, not for measurements: nodata, say.")
    target_channels = options.target_channels or target.channels
    check_augment(options.augment, sides)
    check_critic(options, target_channels, target_side)
    return Found(
        pairs=None,
        direction=direction,
        source_channels=options.source_channels or source.channels,
        target_channels=target_channels,
        depth=options.depth or options.possible_halvings,
        target_bits=target.bits,
        discriminator=choose_discriminator(options, source_side),
        source=source_side,
        target=target_side,
    )


def choose_discriminator(options: Train, source: Side) -> Literal["patches", "classes"]:
    """Return the kind of discriminator: as asked, or as the sources allow."""
    if options.discriminator == "classes" and not source.classes:
        raise UsageError("--discriminator classes is for label maps: add --labels source.")
    if options.discriminator == "patches" or not source.classes:
        return "patches"
    rule = "left out where the discriminator names classes, which has a loss of its own"
    require(options.gan_loss == Train.gan_loss, options, "gan_loss", rule)
    return "classes"


def check_critic(options: Train, channels: int, target: Side) -> None:
    """Refuse to show the critic what it cannot see."""
    if options.critic == "features" and not can_see(channels, target.measured):
        raise UsageError(
            f"--critic features sees grey, RGB and RGBA, not {channels} channels of measurements. "
            "Train with --critic none."
        )


def prepare(
    options: Train, find_splits: Callable[[Train], dict[str, Split]]
) -> tuple[dict[str, CheckedSplit], Found]:
    """Find and check the splits of a dataset, and mix pairs of the older run of --from into the
    training ones if --keep-old wants some. Return the sound pairs, and what they decide."""
    if options.critic == "features":
        find_weights()  # only a training needs them
    splits, older = find_splits(options), None
    if options.keep_old:
        of_older = older_options(options)
        check_options(of_older)
        older = find_splits(of_older)["train"]
    checked = check_splits(splits, options, read_remembered(options.run_folder))
    refuse_broken(checked, options)
    warn_of_shared_groups(checked)
    if not checkpoints(options.run_folder):  # a run that goes on may be older than this question
        check_layout(checked["train"], options)
    if older is not None:
        older_pairs = check_split(
            older, "older pairs", of_older, read_remembered(options.run_folder)
        )
        refuse_broken({"train": older_pairs}, of_older)
        checked["train"] = mix(checked["train"], older_pairs, options.keep_old)
    found, folder = settle(options, checked["train"]), options.run_folder
    if holds_run(folder):
        if options.align:  # as found on the machine where the run began, to the last bit
            found = replace(found, misfit=read_run(folder / "config.json").found.misfit)
        refuse_another_run(options, found, folder)
    elif options.from_run:
        refuse_other_networks(options, found)
    return checked, found


def holds_run(folder: Path) -> bool:
    """Tell whether there is a run that can be gone on with."""
    return bool(checkpoints(folder)) and (folder / "config.json").exists()


def write_config(options: Train, found: Found, splits: Mapping[str, CheckedSplit]) -> None:
    """Save the options of a run, what its pictures decided, the names of its training pairs, and
    what all pairs are like; report what has changed."""
    folder = options.run_folder
    path = folder / "config.json"
    if holds_run(folder):
        report_changes(read_run(path).options, options)
    write_text(path, write_run(options, found))
    write_text(folder / "training_pairs.txt", "\n".join(splits["train"].names) + "\n")
    remember(folder, splits.values())


# --- What is read, by side ------------------------------------------------------------------------


def stored_sides(options: Train, found: Found) -> tuple[Sequence[int], Sequence[Side]]:
    """Return the channels to which the pictures of a pair are brought, and what they mean."""
    task = task_of(options, found.direction)
    counts = task.stored(found.source_channels, found.target_channels)
    return counts, task.stored(found.source, found.target)


def pair_to_values(
    pictures: Sequence[np.ndarray], options: Train, found: Found, as_bytes: bool = False
) -> list[np.ndarray]:
    """Turn the pictures of a pair into values from -1 to 1, each with the channels of its side; or
    leave colours of 8 bits to `in_values`, which does not keep other threads waiting."""
    counts, sides = stored_sides(options, found)
    if as_bytes:
        return list(map(convert_channels, pictures, counts))
    values = list(map(to_values, pictures, counts, sides))
    if options.ignore:  # behind the others, a mask of what does not count in the target
        values[-1] = np.where(pictures[-1], np.float32(np.nan), values[-1])
    return values
