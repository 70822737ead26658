"""inspect: look at a dataset before training. What is in it, what is broken, what would be seen."""

import math
from collections import Counter
from pathlib import Path

import tensorflow as tf
from PIL import Image

from image_to_image_translation import (
    CheckedSplit,
    check_layout,
    check_options,
    check_splits,
    concatenate_pair,
    draw_panel,
    examples,
    find_splits,
    jitter,
    load_for_jitter,
    refuse_broken,
    settle_channels_and_depth,
    task_of,
)
from pix2pix.advice import describe_changes, describe_direction, warn_of_stretching
from pix2pix.options import Inspect, Train, dataset_name, run_folder
from pix2pix.support.notebook import live_output
from pix2pix.support.pictures import CHANNEL_NAMES, Kind
from pix2pix.support.terminal import UserError, say_row

DRAWS = (1, 2, 3)  # of the jitter of each pair, on the contact sheet
ROWS = 3  # pairs on the contact sheet, at most


@live_output()
def inspect_dataset(options: Inspect) -> Path:
    """Print what a dataset holds and what is broken; draw what the network would see of it.

    Return the path of that contact sheet."""
    check_options(options)
    unchecked, direction = find_splits(options)
    splits = check_splits(unchecked, options)
    task = task_of(options)
    for name, split in splits.items():
        about = f": {describe_pictures(split)}" if split.pairs else ""
        say_row(name, f"{len(split):,} {task.unit}{about}")
    problems = [problem for split in splits.values() for problem in split.problems]
    for problem in problems:
        say_row("Broken", problem)
    pairs = splits["train"]
    if not pairs.pairs:
        refuse_broken(splits, options)

    if flags := describe_changes(options):
        say_row("Options", flags)
    config, _ = settle_channels_and_depth(options, direction, pairs.kinds)
    say_row("Direction", describe_direction(pairs.pairs[0].files, task, config))
    warn_of_stretching(pairs.sizes, task.unit, config)
    sheet = run_folder(config).with_name(f"{run_folder(config).name}-inspect.png")
    sheet.parent.mkdir(parents=True, exist_ok=True)
    draw_panel(sheet, contact_sheet(pairs, config))
    say_row("Saved", f"{sheet}, what the network sees")
    if problems and not config.skip_broken:
        raise UserError(
            f"{dataset_name(config)}: {len(problems):,} broken, see above. Mend or remove them, or "
            "train without them with --skip-broken."
        )
    check_layout(pairs, config)
    return sheet


def describe_pictures(split: CheckedSplit) -> str:
    """Say what the sound pairs of a split are like: sizes, channels, bits and file formats."""
    sizes = sorted(split.sizes, key=math.prod)
    texts = [" to ".join("×".join(map(str, size)) for size in dict.fromkeys((sizes[0], sizes[-1])))]
    sides = list(zip(*split.kinds, strict=True))
    titles = ["source", "target"] if len(sides) == 2 else ["photo"]
    for title, side in zip(titles, sides, strict=True):
        kinds = [describe_kind(kind) for kind in sorted(set(side))]
        texts.append(f"{title} {' and '.join(kinds)}")
    formats = Counter()
    for pair in split.pairs:
        for file in pair.files:
            with Image.open(file) as image:
                formats[image.format] += 1
    return ", ".join([*texts, *(f"{count:,} {name}" for name, count in formats.items())])


def describe_kind(kind: Kind) -> str:
    """Name channels and depth of a picture: `RGB`, or `grey 16-bit`."""
    name = CHANNEL_NAMES[kind.channels]
    return f"{name} 16-bit" if kind.bits == 16 else name


def contact_sheet(split: CheckedSplit, config: Train) -> dict[str, tf.Tensor]:
    """Return the columns of the sheet: the first pairs as they are, and several draws of each."""
    numbers = range(min(ROWS, len(split)))
    sources, targets = examples(split, numbers, config)
    columns = {"Source": sources, "Target": targets}
    for draw in DRAWS:
        stacked = [concatenate_pair(load_for_jitter(split, k, config), config) for k in numbers]
        drawn = [jitter(pair, config, [draw, k]) for k, pair in zip(numbers, stacked, strict=True)]
        sources, targets = zip(*drawn, strict=True)
        columns |= {f"Draw {draw}, source": sources, f"Draw {draw}, target": targets}
    return columns
