"""Checkpoints as files: written whole, read in spite of damage, and those of older versions too."""

import logging
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from pix2pix.talk.errors import UserError, first_line
from pix2pix.talk.lines import say

Shape = tuple[int, ...]
Parts = dict[str, Any]  # of a training, by their names in a checkpoint
FAILED = (tf.errors.OpError, IndexError, ValueError, AssertionError)  # by what cannot be restored
SAVED_WEIGHT = re.compile(r"(\w+)_optimizer/_trainable_variables/\d+/")  # where a checkpoint has it
SCALED = "/dynamic_scale/"  # in the names of what scales losses in float16
SHAPES_SHOWN = 3
LEFT = ("Detecting that an object or model", "Value in checkpoint could not be found")


def checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints of a run without their suffixes, oldest first."""
    found = [path.with_suffix("") for path in folder.glob("ckpt-*.index")]
    return sorted(found, key=lambda path: int(path.name.removeprefix("ckpt-")))


def name_of_last_good(folder: Path) -> str:
    """Name the checkpoint that a run goes on from."""
    return checkpoints(folder)[-1].name if checkpoints(folder) else "step 0"


# --- Writing --------------------------------------------------------------------------------------


def write_checkpoint(checkpoint: tf.train.Checkpoint, folder: Path, step: int) -> None:
    """Write a checkpoint, which counts once its index is there."""
    partial = folder / ".partial-checkpoint"
    tf.train.CheckpointManager(checkpoint, partial, 1, checkpoint_name="ckpt").save(step)
    files = sorted(partial.glob("ckpt-*"))  # the index last
    for file in (*files, partial / "checkpoint"):
        os.replace(file, folder / file.name)
    partial.rmdir()


def keep_newest(folder: Path, count: int) -> None:
    """Remove all checkpoints of a run but so many of the newest."""
    for path in checkpoints(folder)[:-count]:
        for file in folder.glob(f"{path.name}.*"):
            file.unlink()


def remove_half_written(folder: Path) -> None:
    """Remove what a killed or failed save has left."""
    complete = {path.name for path in checkpoints(folder)}
    for path in [*folder.glob("ckpt-*"), *folder.glob(".partial-*")]:
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name.split(".")[0] not in complete:
            path.unlink()


@contextmanager
def explain_unsaved(folder: Path, step: int) -> Iterator[None]:
    """Say why what the block writes of a step could not be saved, and what to do."""
    try:
        yield
    except (OSError, tf.errors.OpError) as error:
        remove_half_written(folder)
        raise UserError(
            f"{folder}: step {step:,} could not be saved ({first_line(error)}). "
            f"Free some space and start again; it goes on from {name_of_last_good(folder)}."
        ) from error


def not_finite_error(folder: Path, first: int, last: int) -> UserError:
    """Return the error for a loss that became infinite or no number between two steps."""
    return UserError(
        f"{folder}: a loss stopped being finite between steps {first:,} and {last:,}; "
        f"nothing was overwritten, the last good checkpoint is {name_of_last_good(folder)}. "
        "Try a smaller --learning-rate."
    )


# --- Reading --------------------------------------------------------------------------------------


def restore(checkpoint: tf.train.Checkpoint, parts: Parts, folder: Path) -> None:
    """Bring the parts of a training to the newest good checkpoint in a folder."""
    damaged = []
    for path in reversed(checkpoints(folder)):
        try:
            known = known_parts(parts, path)
            known.restore(str(path)).assert_consumed()
            checkpoint.save_counter.assign(known.save_counter)
            break
        except FAILED as error:
            tf.get_logger().addFilter(is_no_list_of_leftovers)
            if is_sound(path):
                raise another_training_error(parts, path) from error
            damaged.append(path)
    else:
        raise UserError(f"{folder}: no checkpoint can be read. Start a new run with --name.")
    for path in damaged:
        say(f"{path} is damaged and put aside as damaged-{path.name}: going back one.")
        for file in folder.glob(f"{path.name}.*"):
            file.rename(file.with_name(f"damaged-{file.name}"))


def is_no_list_of_leftovers(record: logging.LogRecord) -> bool:
    """Let through all that TensorFlow says but the lines that list, at the very end, what was not
    restored from a checkpoint; that is said here in one."""
    return not record.getMessage().startswith(LEFT)


def known_parts(parts: Parts, path: Path) -> tf.train.Checkpoint:
    """Return what a checkpoint has of a training: an older one has fewer means of the losses."""
    saved = {name for name, _ in tf.train.list_variables(str(path))}
    known = {
        name: total
        for name, total in parts["loss_sums"].items()
        if any(key.startswith(f"loss_sums/{name}/") for key in saved)
    }
    return tf.train.Checkpoint(**parts | {"loss_sums": known})


def is_sound(path: Path) -> bool:
    """Tell whether every number in a checkpoint can be read."""
    try:
        reader = tf.train.load_checkpoint(str(path))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except FAILED:
        return False
    return True


def another_training_error(parts: Parts, path: Path) -> UserError:
    """Return the error for a checkpoint that is sound, but not of what is trained now."""
    saved = {name: tuple(shape) for name, shape in tf.train.list_variables(str(path))}
    if differences := "; ".join(compare_networks(parts, saved)):
        what = f"is of other networks than the script's: {differences}"
    else:
        what = compare_others(parts, list(saved))
    return UserError(
        f"{path} {what}. It is left as it is: undo what has changed since, or begin a new run with "
        "--name."
    )


def compare_networks(parts: Parts, saved: dict[str, Shape]) -> list[str]:
    """Say how the weights of networks in a checkpoint, by names and shapes, differ from ours."""
    counts = {name: Counter[Shape]() for name in parts if f"{name}_optimizer" in parts}
    for key, shape in saved.items():
        if match := SAVED_WEIGHT.match(key):
            counts.setdefault(match[1], Counter())[shape] += 1
    differences = []
    for name, theirs in counts.items():
        weights = parts[name].trainable_variables if name in parts else []
        own = Counter(tuple(weight.shape) for weight in weights)
        if not own:
            differences.append(f"it has a {name}, of {describe_shapes(theirs)}")
        elif not theirs:
            differences.append(f"it lacks the {name}, of {describe_shapes(own)}")
        elif theirs != own:
            more, fewer = theirs - own, own - theirs
            has = [f"has {describe_shapes(more)} that the script's lacks"] if more else []
            lacks = [f"lacks {describe_shapes(fewer)} that the script's has"] if fewer else []
            differences.append(f"its {name} {', and '.join(has + lacks)}")
    return differences


def compare_others(parts: Parts, saved: list[str]) -> str:
    """Say what other than weights is different in a checkpoint from what is trained now."""
    was_scaled = any(SCALED in name for name in saved)
    is_scaled = isinstance(parts["generator_optimizer"], keras.optimizers.LossScaleOptimizer)
    if was_scaled != is_scaled:
        return f"was {'' if was_scaled else 'not '}trained with --precision float16"
    losses = {name.split("/")[1] for name in saved if name.startswith("loss_sums/")}
    if dropped := losses - set(parts["loss_sums"]):
        return f"has losses that LOSSES lacks: {', '.join(sorted(dropped))}"
    noise = sum(name.startswith("noise/") for name in saved)
    if noise != len(parts["noise"]):
        return f"has a generator with {noise} layers of dropout, not {len(parts['noise'])}"
    return "has the same weights, but other optimizers, or layers in another order"


def describe_shapes(shapes: Counter[Shape]) -> str:
    """List the shapes of some weights: `2 weights (4×4×3×64, 64)`."""
    texts = ["×".join(map(str, shape)) for shape in shapes]
    more = ", …" if len(texts) > SHAPES_SHOWN else ""
    count = "1 weight" if shapes.total() == 1 else f"{shapes.total()} weights"
    return f"{count} ({', '.join(texts[:SHAPES_SHOWN])}{more})"


def restore_network(name: str, network: keras.Model, path: Path) -> None:
    """Give a network the weights that it has in a checkpoint under a name."""
    status = tf.train.Checkpoint(**{name: network}).restore(str(path))
    status.expect_partial().assert_existing_objects_matched()


def carry_over(networks: dict[str, keras.Model], folder: Path) -> None:
    """Give networks the weights that they have in the newest checkpoint of another run.

    If it has no average, its generator is taken for that; what it does not have stays new."""
    try:
        path = checkpoints(folder)[-1]
        saved = {name.partition("/")[0] for name, _ in tf.train.list_variables(str(path))}
        for name, network in networks.items():
            if name == "average" or {name, f"{name}_optimizer"} & saved:
                restore_network(name, network, path)
    except FAILED as error:
        tf.get_logger().addFilter(is_no_list_of_leftovers)
        raise UserError(
            f"--from {folder}: its networks cannot be used for these pictures with these options "
            f"({first_line(error)}). Channels, classes, filters and depth must be the same."
        ) from error
