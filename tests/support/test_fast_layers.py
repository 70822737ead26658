"""Convolutions as matrix products, and Adam in one pass, compute what Keras's do."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import image_to_image_translation as script
from pix2pix.options import Train
from pix2pix.support.devices import compute_in
from pix2pix.support.fast_layers import ConvolutionAsProduct, FusedAdam, with_fast_layers


@pytest.mark.parametrize("size", [(2, 2), (4, 8), (16, 6)])
@pytest.mark.parametrize("kind", [layers.Conv2D, layers.Conv2DTranspose])
@pytest.mark.parametrize("use_bias", [False, True])
def test_a_product_and_its_gradients_are_those_of_the_layer(kind, size, use_bias):
    keras.utils.set_random_seed(0)
    layer = script.convolution(kind, 5, 2, use_bias)
    layer.build((None, *size, 3))
    layer.kernel.assign(keras.random.normal(layer.kernel.shape))
    if use_bias:
        layer.bias.assign(keras.random.normal(layer.bias.shape))
    x = tf.Variable(tf.random.normal([2, *size, 3]))
    weights = [x, *(weight.value for weight in layer.trainable_variables)]
    results = []
    for compute in (layer, ConvolutionAsProduct(layer)):
        with tf.GradientTape() as tape:
            y = compute(x)
            loss = tf.reduce_sum(tf.sin(y))
        results.append([y, *tape.gradient(loss, weights)])
    assert len(results[0]) == 3 + use_bias
    for theirs, ours in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def kinds(network: keras.Model) -> list[type]:
    return [type(layer) for layer in network.layers]


def test_only_small_maps_are_products_and_the_weights_are_the_networks():
    config = Train(image_size=128, generator_filters=2)
    network = script.build_generator(config)
    fast = with_fast_layers(network)
    # maps of 64, 32, 16, …: of seven layers each way five are products
    assert kinds(fast).count(ConvolutionAsProduct) == 10
    assert kinds(fast).count(layers.Conv2D) == kinds(fast).count(layers.Conv2DTranspose) == 2
    assert ConvolutionAsProduct not in kinds(network)
    x = tf.random.stateless_uniform([1, 128, 128, 3], [0, 0], -1)
    before = fast(x)
    np.testing.assert_allclose(before, network(x), atol=1e-5)
    network.layers[-3].kernel.assign(network.layers[-3].kernel * 2)
    assert float(tf.reduce_max(abs(fast(x) - before))) > 1e-3
    np.testing.assert_allclose(fast(x), network(x), atol=1e-5)


@pytest.mark.parametrize("options", [{"upsampling": "resize"}, {"normalization": "none"}])
def test_other_layers_stay_as_they_are(small, options):
    network = script.build_generator(dataclasses.replace(small, **options))
    fast = with_fast_layers(network)
    x = tf.random.stateless_uniform([2, 32, 32, 3], [0, 0], -1)
    np.testing.assert_allclose(fast(x), network(x), atol=1e-5)
    products = 5 if "upsampling" in options else 10
    assert kinds(fast).count(ConvolutionAsProduct) == products
    biases = [layer.use_bias for layer in network.layers if hasattr(layer, "use_bias")]
    assert any(biases)


def test_on_a_gpu_the_network_itself_computes(small, monkeypatch):
    network = script.build_generator(small)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU:0"])
    assert with_fast_layers(network) is network


def test_bfloat16_is_computed_in_bfloat16(small):
    with compute_in("bfloat16"):
        network = script.build_generator(small)
    products = [
        each for each in with_fast_layers(network).layers if isinstance(each, ConvolutionAsProduct)
    ]
    assert {each.compute_dtype for each in products} == {"bfloat16"}
    assert products[3](tf.ones([1, *products[3].layer.input.shape[1:]])).dtype == tf.bfloat16


def test_the_fused_adam_is_adam():
    start = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    ours, keras_own = keras.Variable(start), keras.Variable(start)
    optimizers = FusedAdam(1e-2, 0.5), keras.optimizers.Adam(1e-2, 0.5)
    for weight, optimizer in zip((ours, keras_own), optimizers, strict=True):
        optimizer.build([weight])
    for step in range(20):
        gradient = np.random.default_rng(step + 1).normal(size=(5, 3)).astype(np.float32)
        optimizers[0].apply([tf.constant(gradient)])
        optimizers[1].apply([tf.constant(gradient)])
    assert np.abs(ours.numpy() - start).max() > 0.01
    np.testing.assert_allclose(ours.numpy(), keras_own.numpy(), atol=1e-6)
