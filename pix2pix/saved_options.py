"""The options of a run on disk: its config.json, and options that are filled in from it.

Loads neither TensorFlow nor Keras, as the command line needs it before them.
"""

import json
from dataclasses import fields, replace
from pathlib import Path

from pix2pix.options import SettledTrain, Train, check_types, is_a, run_folder, types_of
from pix2pix.support.sides import side_from_saved
from pix2pix.support.terminal import UsageError, UserError


def read_config(path: Path) -> dict:
    """Read a config.json: the options of a run, and under "found" what its pictures have decided.

    The path may lie within an archive, as it does in generator.keras."""
    try:
        saved = json.loads(path.read_text())
        unknown = saved.keys() - {field.name for field in fields(Train)} - {"found"}
        saved["found"] = dict(saved.get("found", {}))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: cannot be read as a configuration ({error}). Mend it, or name another one."
        ) from error
    if unknown:
        raise UserError(f"{path}: {', '.join(sorted(unknown))} is no option of this program.")
    try:
        check_types(from_saved(saved))
    except UsageError as error:
        raise UserError(f"{path}: {error}") from error
    return saved


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
        value = saved.get(name)
        if value is None or name == "config":
            continue
        if kind is float and is_a(value, int):  # JSON knows no 1.0
            value = float(value)
        values[name] = value
    return values


def from_saved(saved: dict) -> Train:
    """Turn the content of a config.json into the options of its run."""
    return Train(**saved_options(saved))


def settle(options: Train, found: dict) -> SettledTrain:
    """Complete options with what the pictures have decided, as config.json holds it."""
    values = {field.name: getattr(options, field.name) for field in fields(Train)}
    values |= {name: value for name, value in found.items() if name in values}
    settled = SettledTrain(**values)
    source = side_from_saved(found.get("source", {}), settled.source_channels)
    target = side_from_saved(found.get("target", {}), settled.target_channels)
    return replace(settled, source=source, target=target)


def changed_fields(options: Train) -> set[str]:
    """Name the fields that differ from their defaults."""
    return {f.name for f in fields(Train) if getattr(options, f.name) != f.default}


def fill_in(options: Train, given: set[str]) -> Train:
    """Take what was not given from --config or, without one, from the run that is there already."""
    check_types(options)
    path = options.config or run_folder(options) / "config.json"
    not_taken = set()
    if not options.config:
        if not path.exists():
            return options
        not_taken = {"output", "name"}  # the folder may have been moved since
    if "dataset" in given:
        not_taken |= {"source_dir", "target_dir"}
    if "source_dir" in given:
        not_taken |= {"dataset"}
    saved = saved_options(read_config(path))
    values = {name: value for name, value in saved.items() if name not in not_taken}
    return type(options)(**values | {name: getattr(options, name) for name in given})
