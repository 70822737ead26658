"""A trained run, opened from its folder or its generator.keras; and pictures made ready for it."""

import math
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from image_to_image_translation import check_options, dropout_layers, task_of
from pix2pix.commands.archive_checks import NETWORK, check_archive, check_network
from pix2pix.options.saved import from_saved, read_config, settle
from pix2pix.options.train import SettledTrain, Train, places_of_run
from pix2pix.pairs.tasks import Task
from pix2pix.pictures.pixels import Kind, to_values
from pix2pix.talk.errors import UserError, first_line

MOST_FEATURES = 8  # values for each pixel and generator filter, in any layer; ours have 2
NPY_HEADER = 1024  # bytes before the values, at most


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
    """Open a run or a generator.keras; no option has to be given again."""
    file = find_generator(run)
    try:
        with zipfile.ZipFile(file) as archive:
            check_archive(archive, file.stat().st_size)
            settings = read_config(zipfile.Path(archive, "run.json"))
            config = settle(from_saved(settings), settings["found"])
            check_settings(config, settings["found"])
            check_network(archive)
        generator = keras.saving.load_model(file, compile=False, safe_mode=True)
        check_shapes(generator, config)
        with zipfile.ZipFile(file) as archive:
            example = read_example(archive, generator)
    except Exception as error:  # Keras, HDF5 and zipfile raise a dozen kinds
        raise UserError(f"{file}: not a sound generator.keras ({first_line(error)}).") from error
    generator.trainable = False  # so that batch normalisation stays as it is even with dropout on
    return TrainedRun(file.parent, generator, config, settings, example)


# --- A stranger's file ----------------------------------------------------------------------------
#
# A generator.keras may come from anywhere. All of it is checked before it is used, and before it
# takes memory or time: nothing in it runs, opens other files, or is larger than it looks on disk.


def check_settings(config: Train, found: dict) -> None:
    """Refuse options that no run can have had, wherever its pictures are now."""
    anywhere = replace(config, dataset=Train.dataset, source_dir=None, target_dir=None)
    check_options(replace(anywhere, source_channels=None, target_channels=None))
    for name in ("step", "target_bits"):
        if found.get(name) is None:
            raise UserError(f"run.json: {name} is missing")
    channels = [config.source_channels, config.target_channels]
    if None in channels:
        raise UserError("run.json: source_channels or target_channels are missing")
    learned = task_of(config)
    stored = [Kind(count, found["target_bits"]) for count in learned.stored(*channels)]
    made = [kind.channels for kind in learned.settle(stored)]
    if made != channels:
        wrong = f"source_channels and target_channels are {channels}, but {made} with this --task"
        raise UserError(f"run.json: {wrong}")


def check_shapes(generator: keras.Model, config: Train) -> None:
    """Refuse a generator that does not do what the options say: from such sources such targets."""
    size = task_of(config).size
    for name, shape, channels in (
        ("source_channels", generator.input_shape, config.source_channels),
        ("target_channels", generator.output_shape, config.target_channels),
    ):
        expected = (None, *size, channels)
        if shape != expected:
            wrong = f"{expected[1:]}, but its network has {shape[1:]}"
            raise UserError(f"run.json: with image_size and {name} it should be {wrong}")
    wide = len(config.source.classes) + config.source_channels + config.target_channels
    most = (MOST_FEATURES * config.generator_filters + wide) * math.prod(size)
    for operation in generator.operations:
        for output in keras.tree.flatten(operation.output):
            if math.prod(output.shape[1:]) > most:
                raise UserError(f"{NETWORK}: {operation.name} makes {output.shape[1:]} of {size}")


def read_example(archive: zipfile.ZipFile, generator: keras.Model) -> np.ndarray:
    """Read the example of a source, a batch of one, as the generator takes it."""
    shape = (1, *generator.input_shape[1:])
    size = archive.getinfo("example.npy").file_size
    if size > math.prod(shape) * np.float32().itemsize + NPY_HEADER:
        raise UserError(f"example.npy: {size:,} bytes are too many for {shape}")
    with archive.open("example.npy") as file:
        example = np.load(file, allow_pickle=False)
    is_array = isinstance(example, np.ndarray) and example.dtype == np.float32
    if not is_array or example.shape != shape or not np.isfinite(example).all():
        raise UserError(f"example.npy: is no float32 array of {shape} with finite values")
    return example


# --- At work --------------------------------------------------------------------------------------


def prepare_source(pixels: np.ndarray, trained: TrainedRun) -> tf.Tensor:
    """Turn a picture [height, width, channels] into the source that the generator gets of it."""
    config = trained.config
    return trained.task.prepare(to_values(pixels, config.source_channels, config.source))


def set_noise(generator: keras.Model, seed: int, sample: int) -> None:
    """Make the next noise of a generator a function of these numbers alone."""
    for level, layer in enumerate(dropout_layers(generator)):
        state = np.random.SeedSequence((seed, sample, level)).generate_state(2)
        layer.seed_generator.state.assign(state)
