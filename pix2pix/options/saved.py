"""The options of a run on disk: its config.json, and options that are filled in from it.

Such a file may come from a stranger, so all of it is checked like a flag before it is used. Loads
neither TensorFlow nor Keras, as the command line needs it before them.
"""

import json
import math
import os
import sys
from dataclasses import fields, replace
from pathlib import Path

from pix2pix.options.checks import MOST, check_types, is_a
from pix2pix.options.recipes import RECIPES, follow_recipe
from pix2pix.options.train import (
    DataOptions,
    NetworkOptions,
    SettledTrain,
    Train,
    flag,
    places_of_run,
    run_folder,
    types_of,
)
from pix2pix.pictures.sides import PHOTOS, Side, side_from_saved
from pix2pix.talk.errors import UsageError, UserError, first_line, on_one_line, shorten
from pix2pix.talk.lines import say_row

MOST_BYTES = 2**20  # of a config.json; it has one or two thousand
MOST_CHANNELS = 1024  # of a picture
DECIDED = ("direction", "source_channels", "target_channels", "depth")  # options, by the pictures
ELSEWHERE = {"data_dir", "mirror", "from_run"}  # places that no file of another run may name
LONGEST_NAME = 255  # bytes of a file or folder
OLDER_RUNS = {  # what their config.json leaves out
    "labels": "none",
    "padding": "zeros",
    "discriminator": "patches",
    "source": {},
    "target": {},
    "average_weights": 0.0,
}
DEPTHS = (8, 16, 32)  # bits of the targets


def read_config(path: Path) -> dict:
    """Read a config.json: the options of a run, and under "found" what its pictures have decided.

    The path may lie within an archive, as it does in generator.keras."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        saved = json.loads(content)
        unknown = saved.keys() - {field.name for field in fields(Train)} - {"found"}
        saved["found"] = dict(saved.get("found", {}))
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        what = f"cannot be read as a configuration ({first_line(error)})"
        raise UserError(f"{path}: {what}. Mend it, or name another one.") from error
    if unknown:
        names = shorten(", ".join(sorted(unknown)))
        raise UserError(f"{path}: {names} is no option of this program.")
    try:
        options, found = from_saved(saved), saved["found"]
        check_types(options)
        check_found(found)
        check_types(replace(options, direction=found.get("direction"), depth=found.get("depth")))
        settle(options, found)
        check_places(saved)
    except UsageError as error:
        raise UserError(f"{path}: {error}") from error
    return saved


def check_found(found: dict) -> None:
    """Refuse what no training can have found out about its pictures."""
    bits, step, shape = (found.get(name) for name in ("target_bits", "step", "pair_shape"))
    sides = shape if is_a(shape, list) and len(shape) == 2 else [None]
    channels = {name: found.get(name) for name in ("source_channels", "target_channels")}
    rules = {
        name: (is_a(count, int) and 1 <= count <= MOST_CHANNELS, "a number of channels")
        for name, count in channels.items()
    } | {
        "target_bits": (is_a(bits, int) and bits in DEPTHS, "8, 16 or 32"),
        "step": (is_a(step, int) and 0 <= step <= MOST, "a number of steps"),
        "pair_shape": (all(is_a(side, int) and 1 <= side <= MOST for side in sides), "two sides"),
        "pairs": (is_a(found.get("pairs"), str), "text"),
    }
    for name, (is_right, rule) in rules.items():
        if found.get(name) is not None and not is_right:
            value = shorten(str(found[name]))
            raise UsageError(f"{name} must be {rule}, not {value}.")


def check_places(saved: dict) -> None:
    """Refuse places and names that no system could have."""
    for name in ("output", "name", "data_dir"):
        place = saved.get(name) or ""
        if not can_be_path(place) or on_one_line(place) != place:
            raise UsageError(f"{flag(name)} must be a path, not {shorten(place)}.")


def can_be_path(text: str) -> bool:
    """Tell whether a system could have a file or folder of that name."""
    try:
        longest = max(len(os.fsencode(part)) for part in ("", *Path(text).parts))
    except ValueError:  # half a character of UTF-16, which JSON can spell
        return False
    return longest <= LONGEST_NAME


def to_saved(options: Train) -> dict:
    """Turn options into what config.json holds of them."""
    saved = {}
    for field in fields(Train):
        value = getattr(options, field.name)
        if isinstance(value, tuple):
            value = [str(each) for each in value]
        saved[field.name] = str(value) if isinstance(value, Path) else value
    return saved


def saved_options(saved: dict) -> dict[str, object]:
    """Pick the options that are set out of the content of a config.json."""
    values = {}
    for name, kind in types_of(Train).items():
        value = saved.get(name, OLDER_RUNS.get(name))
        if value is None or name == "config":
            continue
        if kind is float and is_a(value, int):  # JSON knows no 1.0
            value = float(value) if abs(value) <= sys.float_info.max else math.inf
        values[name] = value
    return values


def from_saved(saved: dict) -> Train:
    """Turn the content of a config.json into the options of its run."""
    return Train(**saved_options(saved))


def settle(options: Train, found: dict) -> SettledTrain:
    """Complete options with what the pictures have decided, as config.json holds it."""
    values = {field.name: getattr(options, field.name) for field in fields(Train)}
    values |= {name: found[name] for name in DECIDED if name in found}
    return SettledTrain(
        **values,
        source=read_side(found, "source", values["source_channels"]),
        target=read_side(found, "target", values["target_channels"]),
    )


def read_side(found: dict, name: str, channels: int) -> Side:
    """Return what the pictures of a side mean, as config.json holds it."""
    try:
        return side_from_saved(found.get(name, {}), channels)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        rule = f"{name} must say what its pictures of {channels} channels mean"
        raise UsageError(f"{rule}, not {shorten(str(found[name]))}.") from error


def changed_fields(options: Train) -> set[str]:
    """Name the fields that differ from their defaults."""
    return {f.name for f in fields(Train) if getattr(options, f.name) != f.default}


def fill_in(options: Train, given: set[str]) -> Train:
    """Take what was not given from --config or, without one, from the run that is there already.

    That run's folder is the user's own, but a --config may be a stranger's, so where to fetch from
    and where to is not taken from it."""
    check_types(options)
    path = options.config or run_folder(options) / "config.json"
    not_taken = ELSEWHERE | {"keep_old"}  # which makes no sense without --from
    if not options.config:
        if not path.exists():
            taken = networks_of_older(options, given)
            return follow_recipe(replace(options, **taken), given | taken.keys())
        not_taken = {"output", "name"}  # the folder may have been moved since
    if "dataset" in given:
        not_taken |= {"source_dir", "target_dir"}
    if "source_dir" in given:
        not_taken |= {"dataset"}
    saved = saved_options(read_config(path))
    if "from_run" in given and not options.config:
        refuse_to_begin_anew(options, saved.get("from_run"))
    values = {name: value for name, value in saved.items() if name not in not_taken}
    values |= {name: getattr(options, name) for name in given}
    filled_in = type(options)(**values)
    if not filled_in.validate and "keep_best" not in given:  # nothing to choose by any more
        filled_in = replace(filled_in, keep_best=None)
    if filled_in.recipe == saved.get("recipe", Train.recipe):  # which the run has followed already
        return filled_in
    return follow_recipe(filled_in, given)


# --- A run that begins with the networks of another -----------------------------------------------


def refuse_to_begin_anew(options: Train, begun_with: str | None) -> None:
    """Refuse a --from that names another run than the one this run has begun with, if any."""
    if begun_with is None or Path(begun_with) != options.from_run:
        raise UsageError(
            f"{run_folder(options)} holds a run already, and --from {options.from_run} begins a "
            "new one. Give that a folder of its own with --name."
        )


def find_run(options: Train) -> Path:
    """Return the folder of the run that --from names, by its path or its name."""
    output = Path(options.output).expanduser()
    for folder in (*places_of_run(options.from_run), output / options.from_run):
        if (folder / "config.json").exists():
            return folder
    raise UserError(
        f"--from {options.from_run}: no such run; name its folder, or a run in {output}."
    )


def networks_of_older(options: Train, given: set[str]) -> dict[str, object]:
    """Return what the networks of the run that --from names are like, but for what is given."""
    if not options.from_run:
        return {}
    saved = read_config(find_run(options) / "config.json")
    values = saved_options(saved) | {"depth": saved["found"].get("depth") or saved.get("depth")}
    of_networks = [field.name for field in fields(NetworkOptions)]
    names = {"recipe", "image_size", "labels", *of_networks} - given
    if "recipe" in given:  # then what it names is not the older run's
        names -= {name for recipe in RECIPES.values() for name in recipe}
    return {name: values[name] for name in names if name in values}


def refuse_other_networks(new: dict, folder: Path) -> None:
    """Let a run begin only with networks that are built as its own; `new` is what its config.json
    would become, and `folder` the older run's."""
    old = parts_of_networks(read_config(folder / "config.json"))
    for what, now in parts_of_networks(new).items():
        before = old[what]
        if before not in (now, None):  # None: older than the option, or imported, and not known
            raise UserError(
                f"--from {folder}: its networks cannot be used for these pictures with these "
                f"options. They have {what} {before}, not {now}."
            )


def parts_of_networks(saved: dict) -> dict[str, object]:
    """Return what decides which weights the networks of a config.json have, named in words."""
    names = ("depth", "generator_filters", "discriminator_filters", "normalization")
    names += ("upsampling", "discriminator", "source_channels", "target_channels")
    values = {**OLDER_RUNS, **saved, **saved["found"]}
    parts = {name.replace("_", " "): values.get(name) for name in names}
    sides = {side: saved["found"].get(side) or {} for side in ("source", "target")}
    classes = {f"{name} classes": len(side.get("classes", ())) for name, side in sides.items()}
    return classes | parts


def older_options(options: Train) -> Train:
    """Return options for the pairs of the run that --from names."""
    saved = read_config(find_run(options) / "config.json")
    values, of_data = from_saved(saved), [field.name for field in fields(DataOptions)]
    older = replace(options, **{name: getattr(values, name) for name in of_data})
    return replace(older, direction=saved["found"].get("direction") or older.direction)


def sides_of_older(options: Train) -> tuple[Side, Side]:
    """Return what source and target mean in the run that --from names; without one they are photos,
    as they are where --classes has the last word.

    A run that goes on has taken that over, and no longer needs the older one."""
    if not options.from_run or options.classes:
        return PHOTOS, PHOTOS
    own = run_folder(options) / "config.json"
    saved = read_config(own if own.exists() else find_run(options) / "config.json")
    older = settle(from_saved(saved), saved["found"])
    return older.source, older.target


# --- A run that goes on ---------------------------------------------------------------------------


def refuse_another_run(new: dict, folder: Path) -> None:
    """Let only the same run go on in a folder that holds one; `new` is what its config.json would
    become."""
    old = read_config(folder / "config.json")
    old_values, new_values = {**old, **old["found"]}, {**new, **new["found"]}
    same = ("task", "image_size", "generator_filters", "discriminator_filters", "normalization")
    same += ("upsampling", "padding", "discriminator", "average_weights", "labels", *new["found"])
    for name in same:
        now = new_values[name]
        before = old_values.get(name, OLDER_RUNS.get(name, now))
        if before in (now, None):  # None: imported, and not known
            continue
        what = name.replace("_", " ")
        if name == "pairs":
            what = "other pictures (--dataset, --seed or --holdout differ, or files):"
        if name in ("source", "target"):
            if without_names(before) == without_names(now):
                continue
            what = f"{name}s that mean something else (--classes, --range, or files):"
        recipe = old.get("recipe", Train.recipe)
        begun = "" if recipe == new["recipe"] else f" It was begun with --recipe {recipe}."
        raise UserError(
            f"{folder} holds a run with {what} {before}, not {now}.{begun} "
            "Give the new run a folder of its own with --name."
        )


def without_names(side: dict) -> dict:
    """Return what config.json holds of a side, with classes that have no names, as these do not
    change what a class means."""
    classes = [line.split()[:4] for line in side.get("classes", [])]
    return {**side, "classes": classes}


def report_changes(old: dict, new: dict) -> None:
    """Say which options that a run may change have changed."""
    data = ("scale", "fit", "crop", "jitter", "flip", "augment", "keep_old", "seed")
    losses = ("learning_rate", "learning_rate_decay_from", "beta_1", "l1_weight", "gan_loss")
    for field in (*data, "batch_size", *losses, "precision"):
        if old.get(field, new[field]) != new[field]:
            say_row("Changed", f"{flag(field)} {old[field]} → {new[field]}, from here on")
