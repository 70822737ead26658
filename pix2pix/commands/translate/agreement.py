"""What the windows of a picture have in common, so that they agree where they overlap.

A window that is translated by itself is normalised by itself, and its deepest layers know nothing
else, so of one part of a picture two windows make two things. Here all windows are seen twice:

- first each by itself, to measure mean and variance before each normalisation and to take a map
  from within the decoder. The maps are blended into one of the whole picture;
- then each goes on from its part of that map, normalised as all windows are on average.

docs/BIGGER.md tells what each of the two is worth.
"""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from pix2pix.networks.fast_layers import (
    FastLayer,
    InstanceNormalization,
    keep_layer,
    with_fast_layers,
)

SHARED_MAP = 16  # pixels of the smaller side; the last map of the decoder up to there is shared
SMALLEST_VARIANCE = 1e-5  # as in the generator's normalisations


@dataclass(frozen=True, eq=False)
class Common:
    """What the windows of a picture have in common."""

    map: np.ndarray  # [height, width, channels] of the whole picture, of mean 0 and variance 1
    statistics: np.ndarray  # [2, channels] mean and variance, of all normalisations in a row


def find_common(blended: np.ndarray, moments: np.ndarray) -> Common:
    """Make it of the blended map, and of mean and mean square [2, channels] over all windows."""
    mean, mean_square = moments
    variance = np.maximum(mean_square - mean**2, 0)
    spread = np.sqrt(blended.var((0, 1)) + SMALLEST_VARIANCE)
    return Common((blended - blended.mean((0, 1))) / spread, np.stack([mean, variance]))


# --- Inside the generator -------------------------------------------------------------------------


def normalizations(network: keras.Model) -> list[layers.Layer]:
    """List the instance normalisations of a generator, with fast layers or not, in their order."""
    return [
        layer
        for layer in network.layers
        if isinstance(layer, InstanceNormalization) or InstanceNormalization.computes(layer)
    ]


def choose_shared(network: keras.Model) -> layers.Layer:
    """Choose the normalisation whose input is shared: the last one of a small map."""
    sizes = {layer: min(layer.input.shape[1:3]) for layer in normalizations(network)}
    small = max(SHARED_MAP, min(sizes.values()))
    return [layer for layer, size in sizes.items() if size <= small][-1]


class GivenNormalization(InstanceNormalization):
    """A normalisation by given mean and variance [batch, channels], in place of the map's own."""

    def __init__(self, layer: layers.Layer, mean: tf.Tensor, variance: tf.Tensor) -> None:
        super().__init__(layer.layer if isinstance(layer, FastLayer) else layer)
        self.mean, self.variance = mean[:, None, None], variance[:, None, None]

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Normalise, then scale and shift as the layer does."""
        spread = tf.sqrt(self.variance + self.layer.epsilon)
        return (x - self.mean) / spread * self.scale + self.shift


class SharedMap(InstanceNormalization):
    """A normalisation whose input is replaced by a map [batch, height, width, channels] that is
    normalised already."""

    def __init__(self, layer: layers.Layer, shared: tf.Tensor) -> None:
        super().__init__(layer.layer if isinstance(layer, FastLayer) else layer)
        self.shared = shared

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Scale and shift the map as the layer does."""
        return self.shared * self.scale + self.shift


@tf.function(autograph=False)
def measure_windows(
    generator: keras.Model, source: tf.Tensor, noise: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the map to be shared of each window, and mean and mean square [batch, 2, channels]
    before all normalisations, one after another."""
    network = with_fast_layers(generator)
    inputs = {layer.name: layer.input for layer in normalizations(network)}
    maps = keras.Model(network.inputs, inputs)(source, training=noise)
    moments = [
        tf.stack([tf.reduce_mean(maps[name], [1, 2]), tf.reduce_mean(maps[name] ** 2, [1, 2])], 1)
        for name in inputs
    ]
    return maps[choose_shared(network).name], tf.concat(moments, axis=-1)


@tf.function(autograph=False)
def generate_together(
    generator: keras.Model, source: tf.Tensor, shared: tf.Tensor, statistics: tf.Tensor, noise: bool
) -> tf.Tensor:
    """Return what the generator makes of windows with a part of the shared map each, and with
    statistics [batch, 2, channels]. TensorFlow leaves out what is computed for the map alone."""
    network = with_fast_layers(generator)
    found = normalizations(network)
    parts = tf.split(statistics, [layer.input.shape[-1] for layer in found], axis=-1)
    replaced = {
        layer: GivenNormalization(layer, part[:, 0], part[:, 1])
        for layer, part in zip(found, parts, strict=True)
    }
    replaced[choose_shared(network)] = SharedMap(choose_shared(network), shared)

    def call_layer(layer: keras.Operation, *inputs: object, **options: object) -> object:
        if layer in replaced:
            return replaced[layer](*inputs)
        return layer(*inputs, **options)

    together = keras.models.clone_model(
        network, clone_function=keep_layer, call_function=call_layer
    )
    return together(source, training=noise)
