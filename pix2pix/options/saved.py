"""The options of a run on disk: its config.json, and options that are filled in from it.

Such a file may come from a stranger, so all of it is checked like a flag before it is used. Loads
neither TensorFlow nor Keras, as the command line needs it before them.
"""

import json
import math
import os
import sys
import zipfile
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pix2pix.options.checks import MOST, check_types, is_a
from pix2pix.options.found import Found, checked, read_found
from pix2pix.options.recipes import RECIPES, follow_recipe
from pix2pix.options.train import (
    DataOptions,
    NetworkOptions,
    Rule,
    Train,
    fields_with,
    flag,
    is_path,
    places_of_run,
    types_of,
)
from pix2pix.pictures.sides import PHOTOS, Side
from pix2pix.talk.errors import UsageError, UserError, first_line, on_one_line, shorten
from pix2pix.talk.lines import say_row

MOST_BYTES = 2**20  # of a config.json; it has one or two thousand
ELSEWHERE = {"data_dir", "mirror", "from_run"}  # places that no file of another run may name
RUN = "run.json"  # in a generator.keras, where a config.json stands beside one
LONGEST_NAME = 255  # bytes of a file or folder
OLDER_RUNS = {"average_weights": 0.0}  # what their config.json leaves out, if not the default

AnyTrain = TypeVar("AnyTrain", bound=Train)


# --- Reading and writing --------------------------------------------------------------------------


class SavedRun(NamedTuple):
    """What a config.json, or the run.json of a generator.keras, holds of a run."""

    options: Train
    found: Found
    step: int  # of the generator in the same file; 0 in a config.json


def read_run(path: Path | zipfile.Path) -> SavedRun:
    """Read the options of a run, and what its pictures have decided.

    The path may lie within an archive, as it does in generator.keras."""
    saved = read_json(path)
    try:
        options = from_saved(saved)
        step = saved["found"].get("step", None if path.name == RUN else 0)
        is_right = is_a(step, int) and 0 <= step <= MOST
        checked("step", step, is_right, "a number of steps")
        return SavedRun(options, read_found(saved["found"], options), step)
    except UsageError as error:
        raise UserError(f"{path}: {error}") from error


def read_options(path: Path) -> Train:
    """Read the options in a config.json; a person may have written it, with few of them."""
    saved = read_json(path)
    if saved["found"]:
        return read_run(path).options
    try:
        return from_saved(saved)
    except UsageError as error:
        raise UserError(f"{path}: {error}") from error


def read_json(path: Path | zipfile.Path) -> dict:
    """Read what a config.json holds, by the names of options, and all else under "found"."""
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
    return saved


def from_saved(saved: dict) -> Train:
    """Turn the content of a config.json into the options of its run; refuse what none can be."""
    values: dict[str, Any] = {}
    for name, kind in types_of(Train).items():
        value = saved.get(name, OLDER_RUNS.get(name))
        if value is None or name == "config":
            continue
        if kind is float and is_a(value, int):  # JSON knows no 1.0
            value = float(value) if abs(value) <= sys.float_info.max else math.inf
        values[name] = value
    options = Train(**values)
    check_types(options)
    check_places(saved)
    return options


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


def to_saved(options: Train) -> dict[str, object]:
    """Turn options into what config.json holds of them."""
    saved = {}
    for field in fields(Train):
        value = getattr(options, field.name)
        if isinstance(value, tuple):
            value = [str(each) for each in value]
        saved[field.name] = str(value) if isinstance(value, Path) else value
    return saved


def write_run(options: Train, found: Found, step: int | None = None) -> str:
    """Write a run as JSON: for its config.json or, with a step, for the one in generator.keras."""
    at_step = {} if step is None else {"step": step}
    saved = to_saved(options) | {"found": found.to_saved() | at_step}
    return json.dumps(saved, indent=2) + "\n"


def shared_settings(options: Train, found: Found) -> dict[str, object]:
    """Return all that has to be the same on all workers of a training: not where its files are."""
    places = {"dataset", "mirror", "name"}
    places |= {name for name, kind in types_of(Train).items() if is_path(kind)}
    asked = {name: value for name, value in to_saved(options).items() if name not in places}
    return asked | {"found": found.to_saved()}


# --- Options that are filled in -------------------------------------------------------------------


def changed_fields(options: Train) -> set[str]:
    """Name the fields that differ from their defaults."""
    return {f.name for f in fields(Train) if getattr(options, f.name) != f.default}


def fill_in(options: AnyTrain, given: set[str]) -> AnyTrain:
    """Take what was not given from --config or, without one, from the run that is there already.

    That run's folder is the user's own, but a --config may be a stranger's, so where to fetch from
    and where to is not taken from it."""
    check_types(options)
    path = options.config or options.run_folder / "config.json"
    not_taken = ELSEWHERE | {"keep_old"}  # which makes no sense without --from
    if not options.config:
        if not path.exists():
            taken = networks_of_older(options, given)
            return follow_recipe(replace(options, **taken), given | taken.keys())
        not_taken = {"output", "name"}  # the folder may have been moved since
    if "dataset" in given:
        not_taken |= {"source_dir", "target_dir", *(["group"] if options.config else [])}
    if "source_dir" in given:
        not_taken |= {"dataset"}
    saved = read_options(path)
    if "from_run" in given and not options.config:
        refuse_to_begin_anew(options, saved)
    names = {field.name for field in fields(Train)} - not_taken - given - {"config"}
    filled_in = replace(options, **{name: getattr(saved, name) for name in names})
    if not filled_in.validate and "keep_best" not in given:  # nothing to choose by any more
        filled_in = replace(filled_in, keep_best=None)
    if filled_in.recipe == saved.recipe:  # which the run has followed already
        return filled_in
    return follow_recipe(filled_in, given)


def fill_in_changed(options: AnyTrain) -> AnyTrain:
    """Fill in options that were made in Python, where those at their defaults were not given."""
    return fill_in(options, changed_fields(options))


# --- A run that begins with the networks of another -----------------------------------------------


def refuse_to_begin_anew(options: Train, saved: Train) -> None:
    """Refuse a --from that names another run than the one this run has begun with, if any."""
    if saved.from_run == options.from_run:
        return
    with suppress(UserError):  # one of them may be there no more
        if saved.from_run and find_run(saved) == find_run(options):
            return
    raise UsageError(
        f"{options.run_folder} holds a run already, and --from {options.from_run} begins a "
        "new one. Give that a folder of its own with --name."
    )


def find_run(options: Train) -> Path:
    """Return the folder of the run that --from names, by its path or its name."""
    output, named = Path(options.output).expanduser(), Path(options.from_run or "")
    for folder in (*places_of_run(named), output / named):
        if (folder / "config.json").exists():
            return folder
    raise UserError(
        f"--from {options.from_run}: no such run; name its folder, or a run in {output}."
    )


def read_older(options: Train) -> SavedRun:
    """Read the run that --from names."""
    return read_run(find_run(options) / "config.json")


def networks_of_older(options: Train, given: set[str]) -> dict[str, Any]:
    """Return what the networks of the run that --from names are like, but for what is given."""
    if not options.from_run:
        return {}
    older = read_older(options)
    values = vars(older.options) | {"depth": older.found.depth}
    of_networks = [field.name for field in fields(NetworkOptions)]
    names = {"recipe", "image_size", "labels", *of_networks} - given
    if "recipe" in given:  # then what it names is not the older run's
        names -= {name for recipe in RECIPES.values() for name in recipe}
    return {name: values[name] for name in names}


def refuse_other_networks(options: Train, found: Found) -> None:
    """Let a run begin only with networks of --from that are built as its own."""
    older = read_older(options)
    before, now = describe_networks(older.options, older.found), describe_networks(options, found)
    for what, value in now.items():
        if before[what] != value:
            raise UserError(
                f"--from {options.from_run}: its networks cannot be used for these pictures with "
                f"these options. They have {what} {before[what]}, not {value}."
            )


def describe_networks(options: Train, found: Found) -> dict[str, object]:
    """Return what decides which weights the networks of a run have, named in words."""
    classes = {
        "source classes": len(found.source.classes),
        "target classes": len(found.target.classes),
    }
    values = vars(options) | vars(found)
    return classes | {name.replace("_", " "): values[name] for name in fields_with(Rule.NETWORK)}


def older_options(options: Train) -> Train:
    """Return options for the pairs of the run that --from names."""
    older = read_older(options)
    of_data = [field.name for field in fields(DataOptions)]
    taken = {name: getattr(older.options, name) for name in of_data}
    return replace(options, **taken | {"direction": older.found.direction})


def sides_of_older(options: Train) -> tuple[Side, Side]:
    """Return what source and target mean in the run that --from names; without one they are photos,
    as they are where --classes has the last word.

    A run that goes on has taken that over, and no longer needs the older one."""
    if not options.from_run or options.classes:
        return PHOTOS, PHOTOS
    own = options.run_folder / "config.json"
    found = read_run(own).found if own.exists() else read_older(options).found
    return found.source, found.target


# --- A run that goes on ---------------------------------------------------------------------------


def refuse_another_run(options: Train, found: Found, folder: Path) -> None:
    """Let only the same run go on in a folder that holds one."""
    old = read_run(folder / "config.json")
    before = vars(old.options) | vars(old.found.without_names())
    now = vars(options) | vars(found.without_names())
    asked = [name for name in fields_with(Rule.NETWORK, Rule.RUN) if name not in vars(found)]
    for name in [*asked, *vars(found)]:  # what is asked first, as much that is found follows
        if before[name] in (now[name], None):  # None: imported, and not known
            continue
        what = name.replace("_", " ")
        values = f"{before[name]}, not {now[name]}"
        if name == "pairs":
            what = "other pictures (--dataset, --seed, --holdout or --group differ, or files):"
        if name in ("source", "target"):
            what = f"{name}s that mean something else (--classes, --range, or files):"
            values = f"{before[name].to_saved()}, not {now[name].to_saved()}"
        recipe = old.options.recipe
        begun = "" if recipe == options.recipe else f" It was begun with --recipe {recipe}."
        raise UserError(
            f"{folder} holds a run with {what} {values}.{begun} "
            "Give the new run a folder of its own with --name."
        )


def report_changes(old: Train, new: Train) -> None:
    """Say which options that a run may change have changed."""
    for name in fields_with(Rule.TOLD):
        before, now = getattr(old, name), getattr(new, name)
        if before != now:
            say_row("Changed", f"{flag(name)} {before} → {now}, from here on")
