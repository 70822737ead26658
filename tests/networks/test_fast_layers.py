"""Layers that are computed otherwise compute what Keras's do."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import settled
from keras import layers

import image_to_image_translation as script
from pix2pix.networks.devices import compute_in
from pix2pix.networks.fast_layers import (
    DoubledConvolution,
    FastLayer,
    InstanceNormalization,
    StridedConvolution,
    Windows,
    WinogradConvolution,
    with_fast_layers,
)
from pix2pix.options.train import Train


def values_and_gradients(layer: layers.Layer, x: tf.Tensor, weights: list) -> list[np.ndarray]:
    """What a layer makes of x, and the gradients of x and of its weights."""
    towards = tf.random.stateless_normal(layer(x).shape, [2, 0], dtype=x.dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    gradients = tape.gradient(y, [x, *weights], towards)
    return [np.array(tf.cast(value, tf.float64)) for value in (y, *gradients)]


def compare(kind: type[FastLayer], layer: layers.Layer, x: tf.Tensor, tolerance: float) -> None:
    """A layer and its fast form give the same, within a share of the standard deviation."""
    layer(x)  # which builds it
    for k, weight in enumerate(layer.trainable_variables):
        weight.assign(keras.random.normal(weight.shape, seed=k))
    weights = [weight.value for weight in layer.trainable_variables]
    theirs, ours = (values_and_gradients(each, x, weights) for each in (layer, kind(layer)))
    assert len(theirs) == len(ours) == 2 + len(weights)
    for a, b in zip(theirs, ours, strict=True):
        assert a.shape == b.shape
        if a.ndim == 1 and x.dtype == tf.bfloat16:
            continue  # a sum over all pixels, in which bfloat16 leaves few digits of either
        assert np.sqrt(np.mean((a - b) ** 2)) <= tolerance * a.std()


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("size", [(2, 2), (4, 8), (16, 6), (32, 32), (64, 40)])
@pytest.mark.parametrize("kind", [layers.Conv2D, layers.Conv2DTranspose])
@pytest.mark.parametrize("use_bias", [False, True])
def test_a_convolution_of_stride_2_and_its_gradients(kind, size, batch, use_bias):
    layer = script.convolution(kind, 5, 2, use_bias)
    x = tf.random.stateless_normal([batch, *size, 3], [0, 0])
    compare(StridedConvolution, layer, x, 2e-5)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("size", [18, 34, 130])
def test_a_convolution_of_a_map_that_is_padded_already(size, batch):
    layer = script.convolution(layers.Conv2D, 5, 2, False, padding="valid")
    x = tf.random.stateless_normal([batch, size, size, 3], [0, 0])
    compare(StridedConvolution, layer, x, 2e-5)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (3, 4), (20, 18)])
@pytest.mark.parametrize("use_bias", [False, True])
def test_a_convolution_of_a_doubled_map_and_its_gradients(size, batch, use_bias):
    source = keras.Input((*size, 3))
    convolution = script.convolution(layers.Conv2D, 5, 1, use_bias, kernel_size=3)
    network = keras.Model(source, convolution(layers.UpSampling2D(2)(source)))
    fast = with_fast_layers(network)
    assert [type(each) for each in fast.layers[1:]] == [DoubledConvolution]
    x = tf.random.stateless_normal([batch, *size, 3], [0, 0])
    weights = [each.value for each in network.trainable_variables]
    theirs, ours = (values_and_gradients(each, x, weights) for each in (network, fast))
    for a, b in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(a).max())


@pytest.mark.parametrize(
    ("doubling", "convolution"),
    [
        (layers.UpSampling2D(2, interpolation="bilinear"), layers.Conv2D(4, 3, 1, "same")),
        (layers.UpSampling2D((2, 1)), layers.Conv2D(4, 3, 1, "same")),
        (layers.UpSampling2D(2), layers.Conv2D(4, 3, 1, "valid")),
        (layers.UpSampling2D(2), layers.Conv2D(4, 5, 1, "same")),
        (layers.UpSampling2D(2), layers.Conv2D(4, 3, 1, "same", activation="relu")),
    ],
)
def test_only_a_doubled_map_is_taken_for_one(doubling, convolution):
    source = keras.Input((6, 6, 3))
    network = keras.Model(source, convolution(doubling(source)))
    assert not any(isinstance(each, FastLayer) for each in with_fast_layers(network).layers)


@pytest.mark.parametrize("read", [layers.ReLU(), keras.ops.abs, lambda large: large])
def test_a_doubled_map_that_is_read_twice_stays(read):
    source = keras.Input((6, 6, 3))
    large = layers.UpSampling2D(2)(source)
    network = keras.Model(source, [read(large), layers.Conv2D(4, 3, 1, "same")(large)])
    x = tf.random.stateless_normal([1, 6, 6, 3], [0, 0])
    for a, b in zip(network(x), with_fast_layers(network)(x), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("size", [(4, 4), (7, 10), (18, 18), (34, 21)])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("use_bias", [False, True])
def test_a_convolution_of_stride_1_and_its_gradients(size, batch, use_bias):
    layer = script.convolution(layers.Conv2D, 6, 1, use_bias, padding="valid")
    x = tf.random.stateless_normal([batch, *size, 5], [0, 0])
    compare(WinogradConvolution, layer, x, 2e-5)


@pytest.mark.parametrize("options", [{}, {"center": False, "scale": False}])
@pytest.mark.parametrize("batch", [1, 3, 9])
def test_an_instance_normalisation_and_its_gradients(batch, options):
    layer = layers.GroupNormalization(groups=-1, epsilon=1e-5, **options)
    x = tf.random.stateless_normal([batch, 7, 9, 4], [0, 0]) * [1.0, 2.0, 3.0, 4.0] + 1
    compare(InstanceNormalization, layer, x, 2e-5)


@pytest.mark.parametrize(("computing_type", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.05)])
@pytest.mark.parametrize("size", ["32", "64", "256x512", "512"])
def test_every_layer_of_the_networks_at_the_sizes_people_use(size, computing_type, tolerance):
    config = Train(image_size=size, generator_filters=2, discriminator_filters=8)
    kinds = set()
    with compute_in(computing_type):
        for network in script.build_networks(config, settled(config)).values():
            for layer in with_fast_layers(network).layers:
                if isinstance(layer, FastLayer):
                    shape = [1, *layer.layer.input.shape[1:]]
                    x = tf.random.stateless_normal(shape, [0, 0], dtype=layer.compute_dtype)
                    compare(type(layer), layer.layer, x, tolerance)
                    kinds.add(type(layer))
    winograd = {WinogradConvolution} if len(size) > 2 else set()
    assert kinds == {StridedConvolution, InstanceNormalization} | winograd


@pytest.mark.parametrize("pixels_first", [False, True])
@pytest.mark.parametrize(("size", "stride"), [(4, 2), (3, 3), (6, 3)])
def test_adding_windows_is_the_transpose_of_cutting_them(size, stride, pixels_first):
    windows = Windows(2, 3, size, stride, pixels_first)
    height, width = stride * 1 + size - 1, stride * 2 + size - 1
    x = tf.random.stateless_normal([2, height, width, 3], [0, 0])
    cut = windows.cut(x, border=1)
    assert cut.shape == ((2, size**2, 6, 3) if pixels_first else (2, 6, size**2, 3))
    other = tf.random.stateless_normal(cut.shape, [1, 0])
    added = windows.add(other, height, width, border=1)
    np.testing.assert_allclose(tf.reduce_sum(cut * other), tf.reduce_sum(x * added), rtol=1e-4)


def kinds(network: keras.Model) -> list[type]:
    return [type(layer) for layer in network.layers]


def test_the_weights_are_the_networks():
    config = Train(image_size=128, generator_filters=2)
    network = script.build_generator(config, settled(config))
    fast = with_fast_layers(network)
    assert kinds(fast).count(StridedConvolution) == 14
    assert kinds(fast).count(InstanceNormalization) == 11
    assert StridedConvolution not in kinds(network)
    x = tf.random.stateless_uniform([1, 128, 128, 3], [0, 0], -1)
    before = fast(x)
    np.testing.assert_allclose(before, network(x), atol=1e-5)
    network.layers[-3].kernel.assign(network.layers[-3].kernel * 2)
    assert float(tf.reduce_max(abs(fast(x) - before))) > 1e-3
    np.testing.assert_allclose(fast(x), network(x), atol=1e-5)


@pytest.mark.parametrize(
    ("filters", "size", "is_faster"), [(64, 256, True), (4, 256, False), (64, 96, False)]
)
def test_few_channels_or_pixels_are_not_worth_winograds_method(filters, size, is_faster):
    config = Train(image_size=size, discriminator_filters=filters)
    fast = with_fast_layers(script.build_patch_discriminator(config, settled(config)))
    assert (WinogradConvolution in kinds(fast)) == is_faster


@pytest.mark.parametrize(
    "options",
    [
        *({"upsampling": "resize"}, {"upsampling": "resize", "padding": "reflect"}),
        *({"normalization": "none"}, {"normalization": "batch"}),
    ],
)
def test_other_layers_stay_as_they_are(small, options):
    config = dataclasses.replace(small, **options)
    network = script.build_generator(config, settled(config))
    fast = with_fast_layers(network)
    x = tf.random.stateless_uniform([2, 32, 32, 3], [0, 0], -1)
    np.testing.assert_allclose(fast(x), network(x), atol=1e-5)
    assert kinds(fast).count(StridedConvolution) == (5 if "upsampling" in options else 10)
    assert kinds(fast).count(DoubledConvolution) == (5 if "upsampling" in options else 0)
    assert (InstanceNormalization in kinds(fast)) == ("normalization" not in options)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(64, 4, 2, "same", activation="relu"),
        layers.Conv2D(64, 4, 2, "same", groups=2),
        layers.Conv2D(64, 4, 1, "valid", dilation_rate=2),
        layers.Conv2D(64, 4, 1, "same"),
        layers.Conv2DTranspose(64, 4, 2, "valid"),
        layers.Conv2DTranspose(64, 4, 2, "same", activation="tanh"),
        layers.GroupNormalization(groups=8),
        layers.GroupNormalization(groups=32, axis=1),
    ],
)
def test_a_strangers_layers_are_not_taken_for_ours(layer):
    source = keras.Input((32, 32, 32))
    network = keras.Model(source, layer(source))
    fast = with_fast_layers(network)
    assert not any(isinstance(each, FastLayer) for each in fast.layers)
    x = tf.random.stateless_uniform([1, 32, 32, 32], [0, 0], -1)
    np.testing.assert_allclose(fast(x), network(x), atol=1e-5)


@pytest.mark.parametrize("size", [(31, 31), (None, None)])
@pytest.mark.parametrize(
    "layer", [layers.Conv2D(64, 4, 2, "same"), layers.Conv2DTranspose(8, 4, 2, "same")]
)
def test_a_strangers_sizes_do_no_harm(layer, size):
    source = keras.Input((*size, 32))
    network = keras.Model(source, layers.Conv2D(64, 4)(layer(source)))
    x = tf.random.stateless_uniform([1, 31, 31, 32], [0, 0], -1)
    np.testing.assert_allclose(with_fast_layers(network)(x), network(x), atol=1e-5)


def test_on_a_gpu_the_network_itself_computes(small, monkeypatch):
    network = script.build_generator(small, settled(small))
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU:0"])
    assert with_fast_layers(network) is network


def test_bfloat16_is_computed_in_bfloat16(small):
    with compute_in("bfloat16"):
        network = script.build_generator(small, settled(small))
    fast = [layer for layer in with_fast_layers(network).layers if isinstance(layer, FastLayer)]
    assert {each.compute_dtype for each in fast} == {"bfloat16"}
    assert fast[3](tf.ones([1, *fast[3].layer.input.shape[1:]])).dtype == tf.bfloat16
