"""generator.keras: a generator that Keras alone can open, with what made it in the same file."""

import math
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
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
MOST_NAMES = 10_000  # characters in the names of an archive's members; ours have a hundred
COMPRESSIONS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
MOST_ITEMS = 10_000  # groups and arrays in a file of weights; ours have hundreds
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
# A generator.keras may come from anywhere. What it says of its network is never read: that is built
# of the options in run.json. The rest is numbers. They are checked before they are used, and before
# they take memory or time: they lie in this file alone, and are not larger than they look on disk.


def check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse an archive, of so many bytes, that holds far more than that, or is slow to read."""
    held = sum(member.file_size for member in archive.infolist())
    if held > MOST_EXPANSION * size + FREE_BYTES:
        raise UserError(f"its {size:,} bytes would become {held:,}")
    if len(set(archive.namelist())) < len(archive.namelist()):
        raise UserError("it holds two files of one name")
    names = sum(map(len, archive.namelist()))
    if names > MOST_NAMES:  # zipfile.Path takes time and memory by the square of that
        raise UserError(f"the names of the files in it have {names:,} characters")
    if not {member.compress_type for member in archive.infolist()} <= COMPRESSIONS:
        raise UserError("it is compressed by neither deflate nor nothing")


@contextmanager
def extract_weights(archive: zipfile.ZipFile) -> Iterator[Path]:
    """Unpack the weights in an archive, as a file that is there for as long as the block takes."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield Path(archive.extract(WEIGHTS, folder))


def check_weights(path: Path, network: keras.Model) -> None:
    """Refuse a file that holds other weights than a network has; the network may be one that was
    only built in a graph."""
    with h5py.File(path, "r") as weights:
        arrays = list(arrays_in(weights))
        for array in arrays:
            check_array(array)
        held = Counter(array.shape for array in arrays)
        size = sum(array.nbytes for array in arrays)
    needed = Counter(tuple(weight.shape) for weight in network.weights)
    noise = Counter(tuple(state.shape) for state in network.variables) - needed
    if held not in (needed, needed + noise):  # some versions of Keras save the noise, too
        lacks, more = needed - held, held - needed - noise
        wrong = f"{count_numbers(lacks)} are missing, and {count_numbers(more)} are too many"
        raise UserError(f"{WEIGHTS}: of the weights that the options make, {wrong}")
    if size > path.stat().st_size:  # many in one place, or beyond its end
        raise UserError(f"{WEIGHTS}: its arrays have {size:,} bytes, more than it has itself")


def arrays_in(weights: h5py.File) -> Iterator[h5py.Dataset]:
    """List the arrays in a file, and refuse whatever leads out of it, or in circles."""
    waiting, found = [weights], 1
    while waiting:
        item = waiting.pop()
        if isinstance(item, h5py.Dataset):
            yield item
            continue
        found += len(item)
        if found > MOST_ITEMS:
            raise UserError(f"{WEIGHTS}: there are more than {MOST_ITEMS:,} groups and arrays")
        for name in item:
            if not isinstance(item.get(name, getlink=True), h5py.HardLink):
                raise UserError(f"{WEIGHTS}: {name} lies elsewhere")
            waiting.append(item[name])


def check_array(array: h5py.Dataset) -> None:
    """Refuse an array that lies in another file, or that takes more memory than it has bytes."""
    if array.external or array.is_virtual:
        raise UserError(f"{WEIGHTS}: {array.name} lies elsewhere")
    is_plain = array.dtype.kind in "fiu" and array.chunks is None
    if not is_plain or array.id.get_storage_size() != array.nbytes:
        raise UserError(f"{WEIGHTS}: {array.name} does not lie there number by number")


def count_numbers(shapes: Counter[Shape]) -> str:
    """Say how many arrays of these shapes there are, and how many numbers in them."""
    numbers = sum(math.prod(shape) * count for shape, count in shapes.items())
    return f"{shapes.total():,} ({numbers:,} numbers)"


def read_weights(path: Path, network: keras.Model) -> None:
    """Give a network the weights in a file, which are checked already."""
    for weight in network.weights:  # some versions of Keras leave those as they are that they miss
        weight.assign(np.full(weight.shape, np.nan, np.float32))
    with warnings.catch_warnings(action="ignore"):
        network.load_weights(path)
    for weight in network.weights:
        if not np.isfinite(weight.numpy()).all():
            raise UserError(f"{WEIGHTS}: {weight.path} is not where it should be, or not finite")


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
