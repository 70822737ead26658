"""Adam in one pass computes what Keras's does."""

import keras
import numpy as np
import tensorflow as tf

from pix2pix.networks.fused_adam import FusedAdam


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
