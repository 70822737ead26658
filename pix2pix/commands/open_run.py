"""A trained run, opened from its folder or its generator.keras; and pictures made ready for it."""

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from image_to_image_translation import build_generator, dropout_layers
from pix2pix.networks.devices import compute_in
from pix2pix.options.found import Found
from pix2pix.options.saved import read_run
from pix2pix.options.train import Train, places_of_run
from pix2pix.pairs.tasks import Task
from pix2pix.pictures.pixels import Kind, to_values
from pix2pix.preparation import check_options, task_of
from pix2pix.runs.generator_file import (
    check_archive,
    check_weights,
    extract_weights,
    read_example,
    read_weights,
)
from pix2pix.talk.errors import UserError, first_line


@dataclass(frozen=True)
class TrainedRun:
    """A generator that is ready for work, and how it was trained."""

    folder: Path
    generator: keras.Model
    options: Train
    found: Found
    step: int  # how many steps it was trained for
    example: np.ndarray  # a batch of one source

    @property
    def task(self) -> Task:
        """Return the task that it has learned."""
        return task_of(self.options, self.found.direction)

    @property
    def window(self) -> tuple[int, int]:
        """Return height and width of the part of a picture that one source is made of."""
        height, width = self.task.size
        return height // self.task.zoom, width // self.task.zoom

    def data_options(self, dataset: str | None, **others: Any) -> Train:
        """Return options for its own pairs, or in its direction for those of another dataset; with
        other values of some."""
        of_data = replace(self.options, direction=self.found.direction, **others)
        if dataset:
            of_data = replace(of_data, dataset=dataset, source_dir=None, target_dir=None)
            of_data = replace(of_data, group=None)
        return of_data


def find_generator(run: Path) -> Path:
    """Return the generator.keras of a run, which may be named by its path or its name."""
    places = places_of_run(run)
    for place in places:
        file = place / "generator.keras" if place.is_dir() else place
        if file.is_file():
            return file
    for folder in filter(Path.is_dir, places):
        file = folder / "generator.keras"
        raise UserError(f"{file}: there is no such file; it comes with the first checkpoint.")
    names = sorted(file.parent.name for file in Train.output.glob("*/generator.keras"))
    there_are = f"there are {', '.join(names)}" if names else "there are none yet"
    raise UserError(f"{run}: no such run. In {Train.output} {there_are}; or name its path.")


def open_run(run: Path) -> TrainedRun:
    """Open a run or a generator.keras; no option has to be given again.

    The file may be a stranger's. So its network is built here, of its options, and nothing but
    numbers comes from the file: what it says of a network is not read."""
    file = find_generator(run)
    try:
        with zipfile.ZipFile(file) as archive:
            check_archive(archive, file.stat().st_size)
            options, found, step = read_run(zipfile.Path(archive, "run.json"))
            check_settings(options, found)
            example = read_example(archive, (1, *options.picture_size, found.source_channels))
            with extract_weights(archive) as weights, compute_in("float32"):
                with tf.Graph().as_default():  # where weights take no memory, however many
                    check_weights(weights, build_generator(options, found))
                generator = build_generator(options, found)
                read_weights(weights, generator)
    except Exception as error:  # Keras, HDF5 and zipfile raise a dozen kinds
        raise UserError(f"{file}: not a sound generator.keras ({first_line(error)}).") from error
    generator.trainable = False  # so that batch normalisation stays as it is even with dropout on
    return TrainedRun(file.parent, generator, options, found, step, example)


def check_settings(options: Train, found: Found) -> None:
    """Refuse options that no run can have had, wherever its pictures are now."""
    anywhere = replace(options, dataset=Train.dataset, source_dir=None, target_dir=None)
    settled = replace(anywhere, direction=found.direction, depth=found.depth)
    check_options(replace(settled, source_channels=None, target_channels=None))
    channels = [found.source_channels, found.target_channels]
    task = task_of(options, found.direction)
    stored = [Kind(count, found.target_bits) for count in task.stored(*channels)]
    made = [kind.channels for kind in task.settle_kinds(stored)]
    if made != channels:
        wrong = f"source_channels and target_channels are {channels}, but {made} with this --task"
        raise UserError(f"run.json: {wrong}")


# --- At work --------------------------------------------------------------------------------------


def prepare_source(pixels: np.ndarray, trained: TrainedRun) -> tf.Tensor:
    """Turn a picture [height, width, channels] into the source that the generator gets of it."""
    found = trained.found
    values = to_values(pixels, found.source_channels, found.source)
    return trained.task.prepare(np.nan_to_num(values, copy=False))  # with --ignore nodata


def set_noise(generator: keras.Model, seed: int, sample: int) -> None:
    """Make the next noise of a generator a function of these numbers alone."""
    for level, layer in enumerate(dropout_layers(generator)):
        state = np.random.SeedSequence((seed, sample, level)).generate_state(2)
        layer.seed_generator.state.assign(state)
