"""What the values of options may be: each by itself, and all together.

Loads neither TensorFlow nor Keras, so that a mistyped flag is answered at once.
"""

import math
import os
import re
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pix2pix.options.train import DATASETS, Train, flag, is_path, types_of
from pix2pix.pictures.sides import LARGEST, parse_colour
from pix2pix.talk.errors import UsageError, shorten

MOST = 10**12  # that a whole number may be: products of two still fit into 64 bits
MOST_OF = {
    "generator_filters": 1024,
    "discriminator_filters": 1024,
    "batch_size": 4096,
    "slices": 99,
}
MAY_BE_ZERO = ("seed", "validate")
LONGEST = 8192  # pixels, in height or width of the networks


def require(condition: bool, options: Train, field: str, rule: str) -> None:
    """Refuse the value of a field unless the condition holds; `rule` says what it must be."""
    if not condition:
        value = getattr(options, field)
        words = value if isinstance(value, tuple) else [value]
        value = shorten(" ".join(map(str, words)))
        raise UsageError(f"{flag(field)} must be {rule}, not {value}.")


def check_train(options: Train) -> None:
    """Refuse values that make no sense, before anything is read or written."""
    check_types(options)
    check_data(options)
    check_meanings(options)
    check_sizes(options)
    check_learning(options)
    is_plain = options.name is None or options.name == Path(options.name).name not in ("", "..")
    require(is_plain, options, "name", "a plain name")
    folder = str(options.run_folder)
    if folder.encode(errors="ignore").decode() != folder:
        why = "TensorFlow writes only where all names are Unicode"
        raise UsageError(f"{folder}: {why}. Choose another --name or --output.")


def check_types(options: Train) -> None:
    """Refuse values of another type than their field, as a config.json or a notebook may give."""
    for name, kind in types_of(Train).items():
        value = getattr(options, name)
        kinds = list(get_args(kind)) if get_origin(kind) in (Union, UnionType) else [kind]
        if value is None and NoneType in kinds:
            continue
        kinds = [each for each in kinds if each is not NoneType]
        if get_origin(kinds[-1]) is Literal:
            choices = get_args(kinds[-1])
            same = [choice for choice in choices if is_a(value, type(choice)) and value == choice]
            rule, is_right = "one of " + ", ".join(map(str, choices)), bool(same)
            if kinds[0] is float:
                rule, is_right = f"a number, or {rule}", is_right or is_a(value, int | float)
        elif get_origin(kinds[0]) is tuple and get_origin(get_args(kinds[0])[0]) is Literal:
            choices = get_args(get_args(kinds[0])[0])
            is_right = is_a(value, tuple) and all(each in choices for each in value)
            rule = "any of " + ", ".join(choices)
        elif kind is int and name not in MAY_BE_ZERO:
            most = MOST_OF.get(name, MOST)
            rule = f"a whole number from 1 to {most:,}"
            is_right = is_a(value, int) and 1 <= value <= most
        elif kind is float:
            rule, is_right = "a number", is_a(value, int | float)
        elif name == "dataset" or is_path(kind):
            several = value if isinstance(value, tuple) and name == "source_dir" else [value]
            is_right = bool(several) and all(is_a(each, str | Path) for each in several)
            rule = "a path"
        elif name == "range":
            words = value if isinstance(value, tuple) else ()
            is_right = bool(words) and all(is_a(each, str | int | float) for each in words)
            rule = "LOW HIGH, auto or each"
        else:
            names = [each.__name__ for each in kinds]
            rule, is_right = "of type " + " or ".join(names), is_a(value, kind)
        require(is_right, options, name, rule)


def is_a(value: object, kind: Any) -> bool:
    """Tell whether a value has a type; unlike in Python, true and false are no numbers."""
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def check_data(options: Train) -> None:
    """Refuse a dataset or folders that do not exist, or that contradict each other."""
    source, target = options.source_dir, options.target_dir
    if source:
        sound_dataset = options.dataset == Train.dataset
    else:
        sound_dataset = options.dataset in DATASETS or os.path.isdir(options.dataset)
    if not options.dataset and not source:
        raise UsageError("What an imported run was trained on is not known. Name it: --dataset.")
    rule = f"{', '.join(DATASETS)} or an existing folder, and left out where there is --source-dir"
    require(sound_dataset, options, "dataset", rule)
    folders = all(os.path.isdir(folder) for folder in options.source_folders)
    require(folders, options, "source_dir", "existing folders")
    require(os.path.isdir(target or "."), options, "target_dir", "an existing folder")
    if bool(source) != bool(target):
        raise UsageError("--source-dir and --target-dir must be given together.")
    require(0 <= options.keep_old < 1, options, "keep_old", "at least 0 and below 1")
    if options.keep_old and not options.from_run:
        raise UsageError("--keep-old needs --from, the run that the old pairs are of.")
    require(0 <= options.holdout < 1, options, "holdout", "at least 0 and below 1")
    if options.group:
        require(
            names_group(options.group), options, "group", 'folder, or a pattern like "case[0-9]+"'
        )
        has_files = options.dataset != "synthetic"
        require(has_files, options, "group", "left out with made-up pairs, which have no files")
    if options.keep_old and (options.align or options.ignore):
        raise UsageError(
            "--keep-old goes with neither --align nor --ignore: old pairs may be unlike."
        )
    if options.ignore is not None:
        known = names_what_to_ignore(options.ignore)
        require(known, options, "ignore", "alpha, nodata, a colour or an existing folder")
        has_files = options.dataset != "synthetic"
        require(has_files, options, "ignore", "left out with made-up pairs, which have no files")


def names_what_to_ignore(rule: str) -> bool:
    """Tell whether --ignore is a word, a colour or a folder."""
    return rule in ("alpha", "nodata") or os.path.isdir(rule) or parse_colour(rule) is not None


def names_group(group: str) -> bool:
    """Tell whether --group is a word or pattern by which pairs can be put into groups."""
    try:
        return group == "folder" or re.compile(group).groups <= 1
    except (re.error, OverflowError, RecursionError):
        return False


def check_meanings(options: Train) -> None:
    """Refuse classes of what is no label map, and ranges that are none."""
    require(
        options.slices % 2 == 1, options, "slices", "odd: the middle one, and as many beside it"
    )
    if options.classes and options.labels == "none":
        raise UsageError("--classes is for label maps: which side is one? --labels source, say.")
    if options.range in (None, ("auto",), ("each",)):
        return
    rule = "LOW HIGH (of both sides, or of sources and targets), auto or each"
    try:
        limits = [float(word) for word in options.range]
    except (ValueError, OverflowError):
        limits = []
    require(len(limits) in (2, 4), options, "range", rule)
    for low, high in zip(limits[::2], limits[1::2], strict=True):
        require(-LARGEST < low < high < LARGEST, options, "range", rule)


def check_sizes(options: Train) -> None:
    """Refuse an image size that the networks do not divide, and impossible depths and scales."""
    readable = re.fullmatch(r"[1-9]\d{0,5}(x[1-9]\d{0,5})?", str(options.image_size))
    small_enough = not readable or max(options.picture_size) <= LONGEST
    require(small_enough, options, "image_size", f"at most {LONGEST} in height and width")
    large_enough = bool(readable) and min(options.picture_size) >= 32
    divisible = large_enough and (bool(options.depth) or options.possible_halvings >= 5)
    require(
        divisible,
        options,
        "image_size",
        "SIZE or HEIGHTxWIDTH, from 32 on and multiples of 32 (unless there is a --depth below 5)",
    )
    depths = (None, *range(2, options.possible_halvings + 1))
    rule = "at least 2 and at most how often the image size can be halved"
    require(options.depth in depths, options, "depth", rule)
    if options.windows == "informative" and not (options.crop and options.jitter):
        raise UsageError("--windows informative needs --crop, which cuts windows, and jitter.")
    require(options.scale > 1, options, "scale", "at least 2 and divide the image size")


def check_learning(options: Train) -> None:
    """Refuse numbers that no training can learn with."""
    many = options.normalization != "batch" or options.batch_size > 1
    require(many, options, "normalization", "instance or none at a --batch-size of 1")
    require(0 < options.learning_rate < math.inf, options, "learning_rate", "above 0")
    start = options.learning_rate_decay_from
    before_the_last = start is None or 0 <= start < options.steps
    require(before_the_last, options, "learning_rate_decay_from", "a step before the last")
    for share in ("average_weights", "beta_1"):
        require(0 <= getattr(options, share) < 1, options, share, "at least 0 and below 1")
    has_choice = options.discriminator != "classes" or options.gan_loss == Train.gan_loss
    rule = "left out with --discriminator classes, which has a loss of its own"
    require(has_choice, options, "gan_loss", rule)
    for weight in ("l1_weight", "feature_weight"):
        value = getattr(options, weight)
        require(value == "auto" or 0 <= value < math.inf, options, weight, "at least 0")
    if options.feature_weight and options.critic == "none":
        raise UsageError("--feature-weight needs --critic features, which has the features.")
    if options.keep_best == "features" and options.critic == "none":
        raise UsageError("--keep-best features needs --critic features, which has the features.")
    require(0 <= options.validate <= MOST, options, "validate", f"from 0 to {MOST:,}")
    if options.keep_best and not options.validate:
        raise UsageError("--keep-best chooses by what --validate measures, so that cannot be 0.")
    require(0 <= options.seed < 2**32, options, "seed", "from 0 to 4294967295")
