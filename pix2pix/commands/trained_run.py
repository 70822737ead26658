"""A trained run, opened from its folder or its generator.keras; and pictures made ready for it."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from image_to_image_translation import dropout_layers, task_of
from pix2pix.options import SettledTrain, Train
from pix2pix.saved_options import from_saved, read_config, settle
from pix2pix.support.pictures import to_values
from pix2pix.support.tasks import Task
from pix2pix.support.terminal import UserError, first_line


@dataclass(frozen=True)
class TrainedRun:
    """A generator that is ready for work, and how it was trained."""

    folder: Path
    generator: keras.Model
    config: SettledTrain  # with what its pictures have decided
    settings: dict  # as in config.json
    example: np.ndarray  # a batch of one source

    @property
    def task(self) -> Task:
        """Return the task that it has learned."""
        return task_of(self.config)

    @property
    def step(self) -> int:
        """Return how many steps it was trained for."""
        return self.settings["found"]["step"]

    @property
    def target_bits(self) -> int:
        """Return how many bits its targets had, and its results get."""
        return self.settings["found"]["target_bits"]

    @property
    def pair_shape(self) -> list[int] | None:
        """Return height and width of its training pairs, if they were side by side."""
        return self.settings["found"].get("pair_shape")


def find_generator(run: Path) -> Path:
    """Return the generator.keras of a run, which may be named by its path or, where runs are
    usually kept, by its name alone."""
    places = (run, Train.output / run)
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
    """Open a run or a generator.keras; no option has to be given again."""
    file = find_generator(run)
    try:
        settings = read_config(zipfile.Path(file, "run.json"))
        with zipfile.ZipFile(file) as archive, archive.open("example.npy") as example:
            example = np.load(example)
        generator = keras.saving.load_model(file, compile=False)
    except Exception as error:  # Keras, HDF5 and zipfile raise a dozen kinds
        raise UserError(f"{file}: not a sound generator.keras ({first_line(error)}).") from error
    generator.trainable = False  # so that batch normalisation stays as it is even with dropout on
    config = settle(from_saved(settings), settings["found"])
    return TrainedRun(file.parent, generator, config, settings, example)


def prepare_source(pixels: np.ndarray, trained: TrainedRun) -> tf.Tensor:
    """Turn a picture [height, width, channels] into the source that the generator gets of it."""
    config = trained.config
    return trained.task.prepare(to_values(pixels, config.source_channels, config.source))


def set_noise(generator: keras.Model, seed: int, sample: int) -> None:
    """Make the next noise of a generator a function of these numbers alone."""
    for level, layer in enumerate(dropout_layers(generator)):
        state = np.random.SeedSequence((seed, sample, level)).generate_state(2)
        layer.seed_generator.state.assign(state)
