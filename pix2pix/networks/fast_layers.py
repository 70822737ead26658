"""The same layers as Keras's, faster on a processor.

The layers stay Keras's own, with their weights; `with_fast_layers` only computes them otherwise:

- a convolution on a small map, little arithmetic with many weights, as one matrix product;
- a convolution of stride 1 on a large map by Winograd's method, with a quarter of the products;
- a doubled map with a 3×3 convolution after it as one transposed convolution of the map itself;
- a convolution of a single picture so that oneDNN may choose how the kernel lies in memory;
- an instance normalisation as one operation instead of twenty.

A GPU uses the layers as they are. docs/MEASURED.md tells what this is worth.
"""

from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import layers

SMALL_MAP = 16  # pixels: up to there, of the smaller of a layer's two maps, a product is faster
LARGE_MAP = 15  # pixels: from there, of the output, Winograd's method is faster …
MANY_CHANNELS = 32  # … if input and output have as many channels
FEW_PICTURES = 8  # up to there, a normalisation for each is faster than Keras's for all


def with_fast_layers(network: keras.Model) -> keras.Model:
    """Return a network that computes the same on the same weights; on a GPU the one given."""
    if tf.config.list_logical_devices("GPU"):
        return network
    doubled = doubled_convolutions(network)

    def call_layer(layer: keras.Operation, *inputs: object, **options: object) -> object:
        if layer in doubled.values():
            return inputs[0]  # the convolution after it doubles the map
        if layer in doubled:
            return DoubledConvolution(layer)(*inputs)
        for kind in (StridedConvolution, WinogradConvolution, InstanceNormalization):
            if kind.computes(layer):
                return kind(layer)(*inputs)
        return layer(*inputs, **options)

    return keras.models.clone_model(network, clone_function=keep_layer, call_function=call_layer)


def doubled_convolutions(network: keras.Model) -> dict[layers.Layer, layers.Layer]:
    """Find the convolutions that a DoubledConvolution can stand for, each with the layer before."""
    readers: dict[int, list] = {}  # of each map, by its identity: a KerasTensor cannot be compared
    maps = [(each, each.input) for each in network.operations] + [(network, network.outputs)]
    for reader, tensors in maps:
        for tensor in keras.tree.flatten(tensors):
            readers.setdefault(id(tensor), []).append(reader)
    doubled = {}
    for layer in filter(is_doubling, network.layers):
        first, *others = readers[id(layer.output)]
        if not others and DoubledConvolution.computes(first):
            doubled[first] = layer
    return doubled


def keep_layer(layer: keras.Operation) -> keras.Operation:
    """Return the layer itself, where clone_model would make a copy with new weights."""
    return layer


class FastLayer(layers.Layer):
    """Base of the layers that compute what one of Keras's computes, with its weights."""

    def __init__(self, layer: layers.Layer) -> None:
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self.layer = layer

    def compute_output_spec(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Tell the shape of the result without tracing `call`, which takes time."""
        return self.layer.compute_output_spec(x)

    def add_bias(self, x: tf.Tensor) -> tf.Tensor:
        """Add the bias, if the layer has one."""
        return x if self.layer.bias is None else x + tf.convert_to_tensor(self.layer.bias)


def is_plain_convolution(layer: keras.Operation, stride: int, size: int = 4) -> bool:
    """Tell whether a layer is a convolution of such a stride and size, or its transpose, and no
    more, of a map that the stride divides."""
    if not isinstance(layer, layers.Conv2D | layers.Conv2DTranspose):
        return False
    shape = (layer.kernel_size, layer.strides, layer.dilation_rate)
    if shape != ((size, size), (stride, stride), (1, 1)) or getattr(layer, "groups", 1) != 1:
        return False
    if layer.activation is not keras.activations.linear or layer.data_format != "channels_last":
        return False
    large = layer.output if isinstance(layer, layers.Conv2DTranspose) else layer.input
    return all(length is not None and length % stride == 0 for length in large.shape[1:3])


def squared(matrix: np.ndarray) -> np.ndarray:
    """Return the matrix that does the same to rows and columns of a flattened square."""
    return np.kron(matrix, matrix).astype(np.float32)


# --- Windows --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Windows:
    """Square windows of a map, `down` times `right` of them, each `stride` pixels from the next.

    Their size is the stride, so that a pixel lies in one window, or twice the stride, so that it
    lies in four. As a tensor they are [batch, down · right, size · size, channels], with
    `pixels_first` [batch, size · size, down · right, channels]."""

    down: int
    right: int
    size: int
    stride: int
    pixels_first: bool = False

    def cut(self, x: tf.Tensor, border: int = 0) -> tf.Tensor:
        """Cut a map [batch, height, width, channels], zero outside, into its windows.

        The first window begins `border` pixels above and left of the map."""
        _, height, width, channels = x.shape
        tall, wide = (self.stride * (n - 1) + self.size for n in (self.down, self.right))
        borders = [[border, tall - border - height], [border, wide - border - width]]
        x = tf.pad(x, [[0, 0], *borders, [0, 0]])
        rows, columns = (
            self.stride * np.arange(n)[:, None] + np.arange(self.size)
            for n in (self.down, self.right)
        )
        pixels = rows[:, None, :, None] * wide + columns[None, :, None, :]
        pixels = pixels.reshape(self.down * self.right, self.size**2)
        if self.pixels_first:
            pixels = pixels.T
        return tf.gather(tf.reshape(x, [-1, tall * wide, channels]), pixels, axis=1)

    def add(self, windows: tf.Tensor, height: int, width: int, border: int = 0) -> tf.Tensor:
        """Add windows up where they overlap, to a map: the transpose of `cut`."""
        count, channels = self.down * self.right * self.size**2, windows.shape[-1]
        flat = tf.reshape(windows, [-1, count, channels])
        flat = tf.pad(flat, [[0, 0], [0, 1], [0, 0]])  # a zero, for windows that do not exist
        y, x = np.arange(height)[:, None] + border, np.arange(width) + border
        overlapping = []
        for above, left in np.ndindex(self.size // self.stride, self.size // self.stride):
            row, column = y // self.stride - above, x // self.stride - left  # of the window
            window = row * self.right + column
            pixel = (y - row * self.stride) * self.size + x - column * self.stride
            if self.pixels_first:
                index = pixel * self.down * self.right + window
            else:
                index = window * self.size**2 + pixel
            exists = (row >= 0) & (row < self.down) & (column >= 0) & (column < self.right)
            overlapping.append(tf.gather(flat, np.where(exists, index, count), axis=1))
        return sum(overlapping[1:], overlapping[0])


# --- Convolutions of stride 2 ---------------------------------------------------------------------
#
# A convolution takes a large map [batch, height, width, c] to a small one [batch, height / 2,
# width / 2, n]; its transpose goes the other way. Each is the other's gradient. Their kernel is
# [4, 4, c, n].


class StridedConvolution(FastLayer):
    """A 4×4 convolution of stride 2, or its transpose."""

    @staticmethod
    def computes(layer: keras.Operation) -> bool:
        """Tell whether this can stand for a layer."""
        if isinstance(layer, layers.Conv2DTranspose) and layer.padding != "same":
            return False
        return is_plain_convolution(layer, stride=2)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Compute what the layer computes."""
        kernel = tf.convert_to_tensor(self.layer.kernel)
        if isinstance(self.layer, layers.Conv2DTranspose):
            return self.add_bias(transposed_convolution(x, kernel))
        return self.add_bias(strided_convolution(x, kernel, self.layer.padding.upper()))


def strided_convolution(large: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
    """Compute what layers.Conv2D does, from the large map to the small one."""

    @tf.custom_gradient
    def convolve(large: tf.Tensor, kernel: tf.Tensor) -> tuple:
        def gradients(small: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            to_large = to_large_map(small, kernel, tf.shape(large), padding)
            return to_large, kernel_gradient(large, small, kernel.shape, padding)

        return to_small_map(large, kernel, padding), gradients

    return convolve(large, kernel)


@tf.custom_gradient
def transposed_convolution(small: tf.Tensor, kernel: tf.Tensor) -> tuple:
    """Compute what layers.Conv2DTranspose does, from the small map to the large one."""

    def gradients(large: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        to_small = to_small_map(large, kernel, "SAME")
        return to_small, kernel_gradient(large, small, kernel.shape, "SAME")

    _, height, width, _ = small.shape
    large_shape = [tf.shape(small)[0], 2 * height, 2 * width, kernel.shape[2]]
    return to_large_map(small, kernel, large_shape, "SAME"), gradients


def to_small_map(large: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
    """Convolve the large map."""
    _, height, width, _ = large.shape
    is_single = large.shape[0] == 1 and large.dtype == tf.float32
    small_map = SMALL_MAP // 2 if is_single else SMALL_MAP
    if padding == "SAME" and min(height, width) <= 2 * small_map:
        windows = Windows(height // 2, width // 2, size=4, stride=2).cut(large, border=1)
        small = tf.einsum("btpc,pcn->btn", windows, list_of_pixels(kernel))
        return tf.reshape(small, [-1, height // 2, width // 2, kernel.shape[3]])
    if is_single:
        # For one picture in float32 tf.nn.conv2d leaves the kernel as it lies, for which oneDNN has
        # only a slow way (tensorflow/core/kernels/mkl/mkl_conv_ops.cc). As one slice of a volume,
        # the same convolution is no exception.
        return tf.nn.conv3d(large[:, None], kernel[None], [1, 1, 2, 2, 1], padding)[:, 0]
    return tf.nn.conv2d(large, kernel, 2, padding)


def to_large_map(
    small: tf.Tensor, kernel: tf.Tensor, large_shape: tf.Tensor | list, padding: str
) -> tf.Tensor:
    """Convolve the small map with the transposed kernel."""
    _, height, width, channels = small.shape
    if padding == "SAME" and min(height, width) <= SMALL_MAP:
        pixels = tf.reshape(small, [-1, height * width, channels])
        windows = tf.einsum("btn,pcn->btpc", pixels, list_of_pixels(kernel))
        windows_of_map = Windows(height, width, size=4, stride=2)
        return windows_of_map.add(windows, 2 * height, 2 * width, border=1)
    return tf.nn.conv2d_transpose(small, kernel, large_shape, 2, padding)


def kernel_gradient(
    large: tf.Tensor, small: tf.Tensor, kernel_shape: tf.TensorShape, padding: str
) -> tf.Tensor:
    """Return the gradient of the kernel of either; one map is the gradient of its output."""
    _, height, width, channels = small.shape
    if padding == "SAME" and min(height, width) <= SMALL_MAP:
        windows = Windows(height, width, size=4, stride=2).cut(large, border=1)
        pixels = tf.reshape(small, [-1, height * width, channels])
        return tf.reshape(tf.einsum("btpc,btn->pcn", windows, pixels), kernel_shape)
    return tf.raw_ops.Conv2DBackpropFilter(
        input=large,
        filter_sizes=kernel_shape,
        out_backprop=small,
        strides=[1, 2, 2, 1],
        padding=padding,
    )


def list_of_pixels(kernel: tf.Tensor) -> tf.Tensor:
    """Bring a kernel [4, 4, c, n] to [16, c, n]."""
    return tf.reshape(kernel, [16, *kernel.shape[2:]])


# --- Convolutions of a doubled map ----------------------------------------------------------------
#
# Where each pixel has become 2 × 2 equal ones, neighbours under a 3×3 kernel are often the same
# number, whose weights can be added first. What is left is a transposed convolution of stride 2 of
# the map before it was doubled, of less than half the products. Along one direction a pixel reaches
# four of the large map, through the weights a, b, c of the kernel as c, b + c, a + b and a.

OF_DOUBLED = squared(np.array([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]]))  # [16, 9]


def is_doubling(layer: keras.Operation) -> bool:
    """Tell whether a layer makes 2 × 2 pixels of each, and no more."""
    if not isinstance(layer, layers.UpSampling2D) or layer.interpolation != "nearest":
        return False
    return tuple(layer.size) == (2, 2) and layer.data_format == "channels_last"


class DoubledConvolution(FastLayer):
    """A 3×3 convolution of a map that UpSampling2D has doubled; it gets the map from before."""

    @staticmethod
    def computes(layer: keras.Operation) -> bool:
        """Tell whether this can stand for a layer after an UpSampling2D, and for that."""
        if not isinstance(layer, layers.Conv2D) or layer.padding != "same":
            return False
        return is_plain_convolution(layer, stride=1, size=3)

    def compute_output_spec(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Tell the shape of the result without tracing `call`, which takes time."""
        batch, height, width, _ = x.shape
        shape = (batch, 2 * height, 2 * width, self.layer.filters)
        return keras.KerasTensor(shape, self.compute_dtype)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Compute what both layers compute."""
        kernel = tf.convert_to_tensor(self.layer.kernel)
        if min(x.shape[1:3]) <= SMALL_MAP:
            return self.add_bias(doubled_convolution(x, kernel))
        _, _, c, n = kernel.shape
        sums = tf.cast(OF_DOUBLED, kernel.dtype) @ tf.reshape(kernel, [9, c * n])
        kernel = tf.transpose(tf.reshape(sums, [4, 4, c, n]), [0, 1, 3, 2])
        return self.add_bias(transposed_convolution(x, kernel))


@tf.custom_gradient
def doubled_convolution(small: tf.Tensor, kernel: tf.Tensor) -> tuple:
    """Double a map [batch, height, width, c] and convolve it with a kernel [3, 3, c, n].

    On a small map it is cheaper to add up products of the nine weights than the weights."""
    _, height, width, channels = small.shape
    windows = Windows(height, width, size=4, stride=2)
    pixels = tf.reshape(small, [-1, height * width, channels])
    weights = tf.reshape(kernel, [9, *kernel.shape[2:]])
    sums = tf.cast(OF_DOUBLED, small.dtype)

    # b: batch, t: pixels of the small map, q: pixels of a window, p: pixels of the kernel
    products = tf.einsum("btc,pcn->btpn", pixels, weights)
    large = windows.add(tf.einsum("qp,btpn->btqn", sums, products), 2 * height, 2 * width, border=1)

    def gradients(of_large: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_products = tf.einsum("qp,btqn->btpn", sums, windows.cut(of_large, border=1))
        of_pixels = tf.einsum("btpn,pcn->btc", of_products, weights)
        of_weights = tf.einsum("btc,btpn->pcn", pixels, of_products)
        return tf.reshape(of_pixels, tf.shape(small)), tf.reshape(of_weights, kernel.shape)

    return large, gradients


# --- Convolutions of stride 1 ---------------------------------------------------------------------
#
# Winograd's method, as Lavin and Gray use it for networks (arXiv 1509.09308): 3 × 3 pixels of the
# output come from a tile of 6 × 6 pixels, with 36 products for each pair of channels, not 9 · 16.
#
# In one direction the gradient of a tile, 6 numbers, is the product of two polynomials: the kernel,
# of 4 coefficients, and the gradient of the output, of 3. A product of polynomials has 6 values at
# 6 points, each the product of theirs. With E(n) for the matrix that evaluates n coefficients at
# the points, gradient of tile = E(6)⁻¹ (E(4) kernel · E(3) gradient of output), so, transposed,
# output = E(3)ᵀ (E(4) kernel · E(6)⁻ᵀ tile). In two directions: the matrices' Kronecker squares.

TILE, TILE_OUTPUT = 6, 3
POINTS = (0, 1, -1, 1 / 2, -2)  # and infinity, where only the highest coefficient counts


def evaluation(coefficients: int) -> np.ndarray:
    """Return E(coefficients), [6, coefficients]."""
    at_infinity = np.eye(coefficients)[-1:]
    return np.concatenate([np.vander(POINTS, coefficients, increasing=True), at_infinity])


OF_KERNEL = squared(evaluation(4))  # [36, 16]
OF_OUTPUT = squared(evaluation(TILE_OUTPUT))  # [36, 9]
OF_TILE = squared(np.linalg.inv(evaluation(TILE)).T)  # [36, 36]


class WinogradConvolution(FastLayer):
    """A 4×4 convolution of stride 1."""

    @staticmethod
    def computes(layer: keras.Operation) -> bool:
        """Tell whether this can stand for a layer, and is faster."""
        if not isinstance(layer, layers.Conv2D) or layer.padding != "valid":
            return False
        if not is_plain_convolution(layer, stride=1):
            return False
        has_many_channels = min(layer.kernel.shape[2:]) >= MANY_CHANNELS
        return has_many_channels and min(layer.output.shape[1:3]) >= LARGE_MAP

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Compute what the layer computes, with float32 inside: sums lose digits here."""
        kernel = tf.convert_to_tensor(self.layer.kernel)
        y = winograd_convolution(tf.cast(x, tf.float32), tf.cast(kernel, tf.float32))
        return self.add_bias(tf.cast(y, x.dtype))


@tf.custom_gradient
def winograd_convolution(x: tf.Tensor, kernel: tf.Tensor) -> tuple:
    """Convolve [batch, height + 3, width + 3, c] with [4, 4, c, n] to [batch, height, width, n]."""
    height, width = x.shape[1] - 3, x.shape[2] - 3
    down, right = -(-height // TILE_OUTPUT), -(-width // TILE_OUTPUT)
    tiles = Windows(down, right, TILE, TILE_OUTPUT, pixels_first=True)
    outputs = Windows(down, right, TILE_OUTPUT, TILE_OUTPUT, pixels_first=True)

    # b: batch, t: tiles, q: points, p: pixels of a tile, of its output or of the kernel
    kernel_values = tf.einsum("qp,pcn->qcn", OF_KERNEL, list_of_pixels(kernel))
    tile_values = tf.einsum("qp,bptc->qbtc", OF_TILE, tiles.cut(x))
    products = tf.einsum("qbtc,qcn->qbtn", tile_values, kernel_values)
    y = outputs.add(tf.einsum("qp,qbtn->bptn", OF_OUTPUT, products), height, width)

    def gradients(of_y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_products = tf.einsum("qp,bptn->qbtn", OF_OUTPUT, outputs.cut(of_y))
        of_tile_values = tf.einsum("qbtn,qcn->qbtc", of_products, kernel_values)
        of_kernel_values = tf.einsum("qbtc,qbtn->qcn", tile_values, of_products)
        of_tiles = tf.einsum("qp,qbtc->bptc", OF_TILE, of_tile_values)
        of_kernel = tf.einsum("qp,qcn->pcn", OF_KERNEL, of_kernel_values)
        of_x = tiles.add(of_tiles, x.shape[1], x.shape[2])
        return of_x, tf.reshape(of_kernel, kernel.shape)

    return y, gradients


# --- Normalisation --------------------------------------------------------------------------------


class InstanceNormalization(FastLayer):
    """A GroupNormalization with as many groups as channels."""

    def __init__(self, layer: layers.Layer) -> None:
        super().__init__(layer)
        # Asked for in `call`, Keras before 3.15 rounds both to the type in which networks compute.
        self.scale = layer.gamma.value if layer.scale else 1.0
        self.shift = layer.beta.value if layer.center else 0.0

    @staticmethod
    def computes(layer: keras.Operation) -> bool:
        """Tell whether this can stand for a layer."""
        if not isinstance(layer, layers.GroupNormalization) or layer.axis != -1:
            return False
        return len(layer.input.shape) == 4 and layer.groups == layer.input.shape[-1]

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Compute what the layer computes: batch normalisation, of one picture at a time."""
        count, channels = x.shape[0], x.shape[-1]
        if count is None or count > FEW_PICTURES:
            return self.layer(x)
        # One row for each picture: their gradients come together in one sum, of a fixed order.
        scales, shifts = (
            tf.unstack(tf.broadcast_to(value, [count, channels]))
            for value in (self.scale, self.shift)
        )
        options = {"epsilon": self.layer.epsilon, "mean": [], "variance": []}  # none of the past
        pictures = [
            tf.raw_ops.FusedBatchNormV3(x=picture, scale=scale, offset=shift, **options).y
            for picture, scale, shift in zip(tf.split(x, count), scales, shifts, strict=True)
        ]
        return tf.concat(pictures, axis=0)
