"""What a person is told about a dataset and a training. Nothing here decides what is learned."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from pix2pix.networks.devices import choose_computing_type, describe_device, has_gpu
from pix2pix.options.found import Found
from pix2pix.options.recipes import CHOICE, RECIPES
from pix2pix.options.train import RunOptions, Train, dataset_name, flag
from pix2pix.pairs.alignment import describe_misfit
from pix2pix.pairs.groups import shared_groups
from pix2pix.pairs.splits import CheckedSplit, Split
from pix2pix.pairs.tasks import TASKS
from pix2pix.pictures.pixels import describe_channels
from pix2pix.pictures.sides import Side
from pix2pix.talk.errors import UserError, on_one_line, shorten
from pix2pix.talk.files import File
from pix2pix.talk.lines import in_notebook, program_name, say, say_row
from pix2pix.talk.progress import describe_time

Sizes = Counter[tuple[int, int]]  # how many pictures have such a height and width

NARROW = 0.7  # width by height: single pictures up to 4:3 would have such halves
STRETCHED = 1.1  # a change of shape that is told
HOUR = 3600  # seconds
SAID_ELSEWHERE = {"dataset", "source_dir", "target_dir", "direction", "steps", "data_dir", "mirror"}
HALF_SIZE_TIME, HALF_FILTERS_TIME = 0.4, 0.65  # of a step at the defaults, on a processor: measured


def refuse_broken(splits: dict[str, CheckedSplit], options: Train) -> None:
    """Train on nothing that is broken, unless told to leave it out."""
    problems = [problem for split in splits.values() for problem in split.problems]
    if problems and not options.skip_broken:
        more = f"; and {len(problems) - 10:,} more" if len(problems) > 10 else ""
        raise UserError(
            f"{'; '.join(problems[:10])}{more}. Mend or remove them, or go on without them with "
            "--skip-broken."
        )
    first = next(iter(splits.values()))
    if not first.pairs:
        raise UserError(
            f"{dataset_name(options)}: all {len(problems):,} {TASKS[options.task].unit} are broken."
        )
    if problems:
        say_row("Skipped", f"{len(problems):,} broken or without partner")


def warn_of_shared_groups(splits: Mapping[str, Split]) -> None:
    """Tell of groups of held-out pairs of which others are trained on."""
    groups = {name: split.groups for name, split in splits.items()}
    for name, shared in shared_groups(groups):
        of_all = f"{len(shared):,} of {len(groups[name]):,} groups of {name}"
        what = f"{of_all} are in train, too, such as {shorten(on_one_line(shared[0]))}"
        say_row("Careful", f"{what}: what is measured on them flatters")


def announce(
    options: Train, found: Found, pairs: CheckedSplit, held_out: str, replicas: int
) -> None:
    """Say what a training is about to do."""
    unit = TASKS[options.task].unit
    counts = f"{len(pairs.pairs):,} training {unit}; previews of {held_out} {unit}"
    say_row("Dataset", f"{dataset_name(options)}: {counts}")
    say_row("Direction", describe_direction(pairs.pairs[0].files, options, found))
    computing_type = choose_computing_type(options.precision)
    say_row("Device", f"{describe_device(replicas)}, {computing_type}")
    say_row("Recipe", describe_recipe(options.recipe))
    if flags := describe_changes(options):
        say_row("Options", flags)
    if found.misfit:
        size, _ = pairs.sizes.most_common(1)[0]
        common = describe_misfit(found.misfit, size) or "nothing"
        say_row("Aligned", f"targets are moved to fit their sources; all alike: {common}")
    warn_of_resizing(pairs.sizes, pairs.resized, options)


def describe_recipe(name: str) -> str:
    """Name a recipe, and say where to read about another one."""
    others = " and ".join(other for other in CHOICE if other != name)
    return f"{name} ({others}: docs/QUALITY.md)"


def describe_direction(files: Sequence[File], options: Train, found: Found) -> str:
    """Say what becomes what: `BtoA: right half (RGB) → left half (RGB) at 256×256`."""
    task = TASKS[options.task]
    if task.from_photos:
        sides = [task.source_name, "photo"]
    elif len(files) > 1:
        folders = [str(file.parent) for file in files]
        sides = [" + ".join(folders[:-1]), folders[-1]]
    else:
        sides = ["left half", "right half"]
    source, target = reversed(sides) if found.direction == "BtoA" else sides
    source += f" ({describe_side(found.source_channels, found.source)})"
    target += f" ({describe_side(found.target_channels, found.target)})"
    return f"{found.direction}: {source} → {target} at {'×'.join(map(str, options.picture_size))}"


def describe_side(channels: int, side: Side) -> str:
    """Say what the pictures of a side are: `RGB`, `a label map of 12 classes`, or with a range."""
    if side.classes:
        return f"a label map of {len(side.classes)} classes"
    ranges = dict.fromkeys(f"{low:.6g} to {high:.6g}" for low, high in side.ranges)
    return ", ".join([describe_channels(channels), *ranges])


def describe_changes(options: Train) -> str:
    """List the flags that are not at their defaults, or their recipe's, but for those that other
    lines speak of."""
    said = SAID_ELSEWHERE | {field.name for field in fields(RunOptions)} - {"from_run", "keep_old"}
    recipe = RECIPES[options.recipe]
    flags = []
    for field in fields(Train):
        value = getattr(options, field.name)
        if value == recipe.get(field.name, field.default) or field.name in said:
            continue
        if value is True:
            flags.append(flag(field.name))
        elif value is False:
            flags.append(flag(f"no_{field.name}"))
        else:
            words = value if isinstance(value, tuple) else [value]
            flags.append(shlex.join([flag(field.name), *map(str, words)]))
    return " ".join(flags)


def refuse_single_pictures(halves: Sizes, folder: str) -> None:
    """Refuse to cut pictures into halves if most of them do not look like pairs side by side."""
    narrow = sum(count for (height, width), count in halves.items() if width < NARROW * height)
    if 2 * narrow <= halves.total():
        return
    (height, width), _ = halves.most_common(1)[0]
    raise UserError(
        f"{folder}: most pictures, such as {2 * width} wide and {height} high, look like single "
        "ones, not like two side by side. If each does hold a pair: --layout pairs. If they are "
        "photos without partners: --task colorize, say. If the partners are in another folder: "
        "--source-dir and --target-dir."
    )


def warn_of_resizing(sizes: Sizes, resized: int, options: Train) -> None:
    """Tell of sources that are brought to the size of their targets, and of pictures whose shape
    changes by more than a tenth on the way to the networks."""
    if resized:
        say(f"Brought {resized:,} of {sizes.total():,} sources to the size of their targets")
    height, width = options.picture_size
    ratios = {size: size[0] * width / (size[1] * height) for size in sizes}
    count = sum(n for size, n in sizes.items() if not 1 / STRETCHED <= ratios[size] <= STRETCHED)
    if count and options.fit == "stretch" and not options.crop:
        of_all = f"{count:,} of {sizes.total():,} {TASKS[options.task].unit}"
        what = f"Stretched {of_all} by more than 10% to fit {height}×{width}"
        say(f"{what}; --fit crop cuts them instead")


def hint_at_less(options: Train, name: str, step: int, seconds_per_step: float) -> None:
    """If the steps that are left take long, say what could be trained in an hour instead."""
    seconds = (options.steps - step) * seconds_per_step
    if has_gpu() or seconds <= 2 * HOUR:
        return
    height, width = (length // 2 for length in options.picture_size)
    half_size = replace(options, image_size=height if height == width else f"{height}x{width}")
    thin = replace(options, generator_filters=options.generator_filters // 2)
    # the end of a name, options, and the share of the time of a step
    choices: list[tuple[int | str, Train, float]] = [("short", options, 1.0)]
    if half_size.possible_halvings >= 5 and min(height, width) >= 64:
        choices.append((half_size.image_size, half_size, HALF_SIZE_TIME))
    if thin.generator_filters >= 16:
        choices.append(("thin", thin, HALF_FILTERS_TIME))
    say(f"This will take about {describe_time(seconds)}. An hour would do for one of these:")
    words = [options.dataset]
    if options.source_dir:
        folders = map(str, options.source_folders)
        words = ["--source-dir", *folders, "--target-dir", str(options.target_dir)]
    if options.direction:
        words += ["--direction", options.direction]
    for ending, smaller, share in choices:
        steps = float(f"{HOUR / (share * seconds_per_step):.0e}")  # rounded to one digit
        of_run = ["--name", f"{name}-{ending}", "--steps", f"{steps:.0f}"]
        say(
            " ".join(["  train", shlex.join([*words, *of_run]), describe_changes(smaller)]).rstrip()
        )


def how_to_go_on(folder: Path, options: Train) -> str:
    """Say how a run that was stopped goes on."""
    if in_notebook():
        return "run this cell again"
    command = f"{program_name()} train --name {shlex.quote(folder.name)}"
    if options.output != Train.output:
        command += f" --output {shlex.quote(str(folder.parent))}"
    return command
