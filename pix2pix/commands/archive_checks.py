"""What an archive from anywhere holds, checked before it is used: its size, that its network only
computes, and that its weights are all there."""

import io
import json
import math
import zipfile
from collections.abc import Iterator

import h5py
import keras
import tensorflow as tf

from pix2pix.options.saved import MOST_BYTES
from pix2pix.talk.errors import UserError

NETWORK, WEIGHTS = "config.json", "model.weights.h5"  # within a generator.keras, by Keras
MOST_EXPANSION = 10  # bytes in an archive's members for each on disk; ours are not compressed
FREE_BYTES = 2**20  # bytes that an archive may hold whatever it expands to: JSON shrinks well
PLAIN_MODULES = ("keras", "keras.initializers", "keras.src.models.functional")  # what they hold
PLAIN_VALUES = ("__keras_tensor__", "__numpy__")  # what layers get from each other, or constants
PLAIN_OPERATIONS = "keras.src.ops."  # computes with numbers, as do the layers of these families:
PLAIN_LAYERS = tuple(
    f"keras.src.layers.{family}"
    for family in (
        *("activations", "attention", "convolutional", "merging", "normalization", "pooling"),
        *("regularization", "reshaping", "core.dense", "core.identity", "core.input_layer"),
    )
)


def check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse an archive, of so many bytes, that holds far more than that."""
    held = sum(member.file_size for member in archive.infolist())
    if held > MOST_EXPANSION * size + FREE_BYTES:
        raise UserError(f"its {size:,} bytes would become {held:,}")
    if len(set(archive.namelist())) < len(archive.namelist()):
        raise UserError("it holds two files of one name")


def check_network(archive: zipfile.ZipFile) -> None:
    """Refuse a network that does more than compute, or that its weights in the archive do not fill.

    It is described in a graph first, where nothing is computed and weights take no memory."""
    if archive.getinfo(NETWORK).file_size > MOST_BYTES:
        raise UserError(f"{NETWORK}: has more than {MOST_BYTES:,} bytes")
    described = json.loads(archive.read(NETWORK))
    for part in parts_of(described):
        if not is_plain(part):
            raise UserError(f"{NETWORK}: {part.get('class_name')} is no layer that only computes")
    content = io.BytesIO(archive.read(WEIGHTS))  # in which HDF5 jumps to and fro
    with h5py.File(content, "r") as weights:
        held = count_weights(weights)
    if held > archive.getinfo(WEIGHTS).file_size:  # a weight has 4 bytes, some state 1
        raise UserError(f"{WEIGHTS}: {held:,} weights do not fit into it")
    with tf.Graph().as_default():
        network = keras.saving.deserialize_keras_object(described, safe_mode=True)
        needed = sum(math.prod(weight.shape) for weight in network.weights)
    if needed > held:
        raise UserError(f"{NETWORK}: its network has {needed:,} weights, but {WEIGHTS} {held:,}")


def parts_of(described: object) -> Iterator[dict]:
    """List whatever the description of a network names by its class, however deep it lies."""
    waiting = [described]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def is_plain(part: dict) -> bool:
    """Tell whether a part of a network only computes: it runs no code and reads no file."""
    module, name = part.get("module"), str(part["class_name"])
    if not name.isidentifier():
        return False
    if module == "keras.layers":
        layer = getattr(keras.layers, name, None)
        return str(getattr(layer, "__module__", "")).startswith(PLAIN_LAYERS)
    if module is None:
        return name in PLAIN_VALUES
    return module in PLAIN_MODULES or str(module).startswith(PLAIN_OPERATIONS)


def count_weights(weights: h5py.File) -> int:
    """Count the weights in a file, and refuse any that lie in another one."""
    counts, elsewhere = [], []

    def note_link(name: str, link: object) -> None:
        if not isinstance(link, h5py.HardLink):
            elsewhere.append(name)

    def note_item(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            counts.append(math.prod(item.shape))
            if item.external or item.is_virtual:
                elsewhere.append(name)

    weights.visititems_links(note_link)
    weights.visititems(note_item)
    if elsewhere:
        raise UserError(f"{WEIGHTS}: {elsewhere[0]} lies elsewhere")
    return sum(counts)
