"""Checkpoints as files: written whole, read in spite of damage, and those of older versions too."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

from pix2pix.talk.errors import UserError
from pix2pix.talk.lines import say

PARTS = (  # of a training
    *("generator", "discriminator", "average", "generator_optimizer", "discriminator_optimizer"),
    *("noise", "step", "logged", "loss_sums"),
)


def checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints of a run without their suffixes, oldest first."""
    found = [path.with_suffix("") for path in folder.glob("ckpt-*.index")]
    return sorted(found, key=lambda path: int(path.name.removeprefix("ckpt-")))


def write_checkpoint(state: tf.train.Checkpoint, folder: Path, step: int) -> None:
    """Write a checkpoint, which counts once its index is there."""
    partial = folder / ".partial-checkpoint"
    tf.train.CheckpointManager(state, partial, 1, checkpoint_name="ckpt").save(step)
    parts = sorted(partial.glob("ckpt-*"))  # the index last
    for part in (*parts, partial / "checkpoint"):
        os.replace(part, folder / part.name)
    partial.rmdir()


def remove_checkpoints(paths: Iterable[Path]) -> None:
    """Remove all files of some checkpoints."""
    for path in paths:
        for part in path.parent.glob(f"{path.name}.*"):
            part.unlink()


def remove_half_written(folder: Path) -> None:
    """Remove what a killed or failed save has left."""
    complete = {path.name for path in checkpoints(folder)}
    for path in [*folder.glob("ckpt-*"), *folder.glob(".partial-*")]:
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name.split(".")[0] not in complete:
            path.unlink()


def saved_part(state: tf.train.Checkpoint, path: Path) -> tf.train.Checkpoint:
    """Return what a checkpoint has of a training: an older one has fewer means of the losses."""
    saved = {name for name, _ in tf.train.list_variables(str(path))}
    parts = {name: getattr(state, name) for name in PARTS}
    parts["loss_sums"] = {
        name: total
        for name, total in state.loss_sums.items()
        if any(key.startswith(f"loss_sums/{name}/") for key in saved)
    }
    return tf.train.Checkpoint(**parts)


def restore(state: tf.train.Checkpoint, folder: Path) -> None:
    """Bring a training to the newest good checkpoint in a folder, if there is any."""
    damaged = []
    for path in reversed(checkpoints(folder)):
        try:
            part = saved_part(state, path)
            part.restore(str(path)).assert_consumed()
            state.save_counter.assign(part.save_counter)
            break
        except (tf.errors.OpError, IndexError, ValueError, AssertionError):
            say(f"{path} is damaged and put aside as damaged-{path.name}: going back one.")
            damaged.append(path)
    else:
        if damaged:
            raise UserError(f"{folder}: no checkpoint can be read. Start a new run with --name.")
    for path in damaged:
        for part in folder.glob(f"{path.name}.*"):
            part.rename(part.with_name(f"damaged-{part.name}"))
