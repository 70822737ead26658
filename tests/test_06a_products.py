"""Section 6a: convolutions as matrix products compute what Keras's layers do."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import image_to_image_translation as pix2pix


@pytest.mark.parametrize("size", [(2, 2), (4, 8), (16, 6)])
@pytest.mark.parametrize("kind", [layers.Conv2D, layers.Conv2DTranspose])
@pytest.mark.parametrize("use_bias", [False, True])
def test_a_product_and_its_gradients_are_those_of_the_layer(kind, size, use_bias):
    keras.utils.set_random_seed(0)
    layer = pix2pix.convolution(kind, 5, 2, use_bias)
    layer.build((None, *size, 3))
    layer.kernel.assign(keras.random.normal(layer.kernel.shape))
    if use_bias:
        layer.bias.assign(keras.random.normal(layer.bias.shape))
    x = tf.Variable(tf.random.normal([2, *size, 3]))
    weights = [x, *(weight.value for weight in layer.trainable_variables)]
    results = []
    for compute in (layer, pix2pix.Product(layer)):
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
    config = pix2pix.Train(image_size=128, generator_filters=2)
    network = pix2pix.build_generator(config)
    quick = pix2pix.quick(network)
    # maps of 64, 32, 16, …: of seven layers each way five are products
    assert kinds(quick).count(pix2pix.Product) == 10
    assert kinds(quick).count(layers.Conv2D) == kinds(quick).count(layers.Conv2DTranspose) == 2
    assert pix2pix.Product not in kinds(network)
    x = tf.random.stateless_uniform([1, 128, 128, 3], [0, 0], -1)
    before = quick(x)
    np.testing.assert_allclose(before, network(x), atol=1e-5)
    network.layers[-3].kernel.assign(network.layers[-3].kernel * 2)
    assert float(tf.reduce_max(abs(quick(x) - before))) > 1e-3
    np.testing.assert_allclose(quick(x), network(x), atol=1e-5)


@pytest.mark.parametrize("options", [{"upsampling": "resize"}, {"normalization": "none"}])
def test_other_layers_stay_as_they_are(small, options):
    network = pix2pix.build_generator(dataclasses.replace(small, **options))
    quick = pix2pix.quick(network)
    x = tf.random.stateless_uniform([2, 32, 32, 3], [0, 0], -1)
    np.testing.assert_allclose(quick(x), network(x), atol=1e-5)
    products = 5 if "upsampling" in options else 10
    assert kinds(quick).count(pix2pix.Product) == products
    biases = [layer.use_bias for layer in network.layers if hasattr(layer, "use_bias")]
    assert any(biases)


def test_on_a_gpu_the_network_itself_computes(small, monkeypatch):
    network = pix2pix.build_generator(small)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["GPU:0"])
    assert pix2pix.quick(network) is network


def test_bfloat16_is_computed_in_bfloat16(small):
    with pix2pix.dtype_policy("mixed_bfloat16"):
        network = pix2pix.build_generator(small)
    products = [each for each in pix2pix.quick(network).layers if isinstance(each, pix2pix.Product)]
    assert {each.compute_dtype for each in products} == {"bfloat16"}
    assert products[3](tf.ones([1, *products[3].layer.input.shape[1:]])).dtype == tf.bfloat16
