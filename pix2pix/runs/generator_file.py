"""generator.keras: a generator that Keras alone can open, with what made it in the same file."""

import io
import math
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import layers

from pix2pix.talk.errors import UserError
from pix2pix.talk.files import replace_when_complete

Shape = tuple[int, ...]

RUN, EXAMPLE = "run.json", "example.npy"  # within a generator.keras, by this program …
WEIGHTS = "model.weights.h5"  # … and by Keras
MOST_EXPANSION = 10  # bytes in an archive's members for each on disk; ours are not compressed
FREE_BYTES = 2**20  # bytes that an archive may hold whatever it expands to: JSON shrinks well
NPY_HEADER = 1024  # bytes before the values, at most


def in_float32(network: keras.Model) -> keras.Model:
    """Return a copy that computes in float32, as everything after the training does."""

    def copy_in_float32(operation: keras.Operation) -> keras.Operation:
        config = operation.get_config()
        # Operations of keras.ops take what they get, but for the casts that Keras before 3.10 puts
        # before a layer: left as they are, they would round the source.
        if isinstance(operation, layers.Layer) or config.get("dtype") in ("bfloat16", "float16"):
            config["dtype"] = "float32"
        return type(operation).from_config(config)

    if all(layer.compute_dtype == "float32" for layer in network.layers):
        return network
    copy = keras.models.clone_model(network, clone_function=copy_in_float32)
    copy.set_weights(network.get_weights())
    return copy


def save_generator(generator: keras.Model, run: str, example: np.ndarray, path: Path) -> None:
    """Write a generator.keras that carries its run, as JSON, and an example of a source in it."""
    with replace_when_complete(path) as temporary:
        in_float32(generator).save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(RUN, run)
            with archive.open(EXAMPLE, "w") as file:
                np.save(file, example)


# --- Reading --------------------------------------------------------------------------------------
#
# A generator.keras may come from anywhere. All of it is checked before it is used, and before it
# takes memory or time: nothing in it runs, opens other files, or is larger than it looks on disk.


def check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse an archive, of so many bytes, that holds far more than that."""
    held = sum(member.file_size for member in archive.infolist())
    if held > MOST_EXPANSION * size + FREE_BYTES:
        raise UserError(f"its {size:,} bytes would become {held:,}")
    if len(set(archive.namelist())) < len(archive.namelist()):
        raise UserError("it holds two files of one name")


def check_weights(archive: zipfile.ZipFile, network: keras.Model) -> None:
    """Refuse weights of which an archive holds others than a network has; the network may be one
    that was only built in a graph."""
    content = io.BytesIO(archive.read(WEIGHTS))  # in which HDF5 jumps to and fro
    with h5py.File(content, "r") as weights:
        held = shapes_of(weights)
    needed = Counter(tuple(weight.shape) for weight in network.weights)
    noise = Counter(tuple(state.shape) for state in network.variables) - needed
    if held not in (needed, needed + noise):  # some versions of Keras save the noise, too
        lacks, more = needed - held, held - needed - noise
        wrong = f"{count_numbers(lacks)} are missing, and {count_numbers(more)} are too many"
        raise UserError(f"{WEIGHTS}: of the weights that the options make, {wrong}")


def count_numbers(shapes: Counter[Shape]) -> str:
    """Say how many arrays of these shapes there are, and how many numbers in them."""
    numbers = sum(math.prod(shape) * count for shape, count in shapes.items())
    return f"{shapes.total():,} ({numbers:,} numbers)"


def shapes_of(weights: h5py.File) -> Counter[Shape]:
    """Count the shapes of the weights in a file, and refuse any that lie in another one."""
    shapes: Counter[Shape] = Counter()
    elsewhere = []

    def note_link(name: str, link: object) -> None:
        if not isinstance(link, h5py.HardLink):
            elsewhere.append(name)

    def note_item(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            shapes[tuple(item.shape)] += 1
            if item.external or item.is_virtual:
                elsewhere.append(name)

    weights.visititems_links(note_link)
    weights.visititems(note_item)
    if elsewhere:
        raise UserError(f"{WEIGHTS}: {elsewhere[0]} lies elsewhere")
    return shapes


def read_weights(archive: zipfile.ZipFile, network: keras.Model) -> None:
    """Give a network the weights in an archive, which are checked already."""
    with tempfile.TemporaryDirectory() as folder:
        network.load_weights(archive.extract(WEIGHTS, folder))
    for weight in network.weights:
        if not np.isfinite(weight.numpy()).all():
            raise UserError(f"{WEIGHTS}: {weight.path} has infinite numbers, or none")


def read_example(archive: zipfile.ZipFile, shape: Shape) -> np.ndarray:
    """Read the example of a source, a batch of one, of a shape."""
    size = archive.getinfo(EXAMPLE).file_size
    if size > math.prod(shape) * np.float32().itemsize + NPY_HEADER:
        raise UserError(f"{EXAMPLE}: {size:,} bytes are too many for {shape}")
    with archive.open(EXAMPLE) as file:
        example = np.load(file, allow_pickle=False)
    is_array = isinstance(example, np.ndarray) and example.dtype == np.float32
    if not is_array or example.shape != shape or not np.isfinite(example).all():
        raise UserError(f"{EXAMPLE}: is no float32 array of {shape} with finite values")
    return example
