"""The metrics: pair by pair, and of two sets of pictures."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_run
from helpers import inception_stand_in

from pix2pix.commands.evaluate import metrics
from pix2pix.commands.evaluate.metrics import (
    GeneratedBatch,
    feature_scores,
    frechet_distance,
    kernel_distance,
    load_inception,
    measure_all,
)
from pix2pix.commands.open_run import open_run
from pix2pix.networks.imagenet_features import build_feature_network


def test_l1_and_psnr_are_what_they_are_defined_as():
    target = np.zeros((2, 32, 32, 3), np.float32)
    generated = np.stack([target[0] + 0.2, target[1]])  # 0.1 when values are in [0, 1]
    values = measure_all(tf.constant(target), tf.constant(generated))
    np.testing.assert_allclose(values["l1"], [0.1, 0], atol=1e-6)
    np.testing.assert_allclose(values["psnr"], [20, 100], rtol=1e-5)
    np.testing.assert_allclose(values["ssim"][1], 1, rtol=1e-5)
    np.testing.assert_allclose(values["ms_ssim"][1], 1, rtol=1e-5)


def test_ssim_is_tensorflows_and_ms_ssim_has_all_scales_where_they_fit():
    a, b = np.random.default_rng(0).uniform(-1, 1, (2, 1, 192, 176, 3)).astype(np.float32)
    b = a + 0.3 * b
    values = measure_all(tf.constant(a), tf.constant(b))
    a, b = (a + 1) / 2, (b + 1) / 2
    np.testing.assert_allclose(values["ssim"], tf.image.ssim(a, b, 1.0), rtol=1e-5)
    expected = tf.image.ssim_multiscale(a, b, 1.0)
    np.testing.assert_allclose(values["ms_ssim"], expected, rtol=1e-4)
    a, b = a[:, :32, :40], b[:, :32, :40]
    expected = tf.image.ssim_multiscale(a, b, 1.0, (0.0448 / 0.3304, 0.2856 / 0.3304))
    small = measure_all(tf.constant(2 * a - 1), tf.constant(2 * b - 1))["ms_ssim"]
    np.testing.assert_allclose(small, expected, rtol=1e-4)


def test_the_distance_of_features_is_larger_for_what_looks_more_unlike():
    row, column = np.indices((64, 64))
    stripes = np.sin((row + column) / 3)[..., None].repeat(3, axis=-1).astype(np.float32)
    shifted, flat = np.roll(stripes, 1, axis=1), np.zeros_like(stripes)
    target = tf.constant(np.stack([stripes] * 3))
    generated = tf.constant(np.stack([stripes, shifted, flat]))
    feature_network = build_feature_network(64, 64, 3)
    same, near, far = measure_all(target, generated, feature_network)["features"].numpy()
    assert same == 0
    assert 0.1 < near < far / 2
    alone = measure_all(target[1:2], generated[1:2], feature_network)["features"]
    np.testing.assert_allclose(alone, [near], rtol=1e-4)
    grey = measure_all(target[..., :1], generated[..., :1], build_feature_network(64, 64, 1))[
        "features"
    ]
    np.testing.assert_allclose(grey, [same, near, far], rtol=1e-4)


def test_fid_of_normal_distributions_has_a_closed_form():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(500, 4))
    base = (base - base.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(base.T))).T  # exactly
    a, b = base * [1, 2, 3, 4], base * [2, 2, 1, 0.5] + [1, 0, 0, 2]
    expected = (1 + 4) + (1 - 2) ** 2 + 0 + (3 - 1) ** 2 + (4 - 0.5) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))  # a rotation of both changes nothing
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(expected)


def test_kid_is_the_unbiased_estimate_of_its_definition():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)) + 0.5

    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    def mean_within(features):
        pairs = itertools.permutations(features, 2)  # of each with every other
        return np.mean([kernel(x, y) for x, y in pairs])

    between = np.mean([kernel(x, y) for x in a for y in b])
    expected = mean_within(a) + mean_within(b) - 2 * between
    assert kernel_distance(a, b) == pytest.approx(expected)


def test_fid_and_kid_compare_generated_with_real_pictures(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(keras.applications, "InceptionV3", inception_stand_in)
    real, made = np.random.default_rng(0).uniform(-1, 1, (2, 3, 8, 32, 32, 3)).astype(np.float32)

    def generate_batches(*_):
        for targets, generated in zip(real, made, strict=True):
            yield GeneratedBatch(range(8), None, targets, None, generated)

    monkeypatch.setattr(metrics, "generate_batches", generate_batches)
    trained = open_run(make_run(tmp_path / "run", small))
    scores = feature_scores(load_inception(), trained, ())
    means = [each.reshape(24, -1, 3).mean(axis=1) for each in (real, made)]
    assert scores["fid"] == pytest.approx(frechet_distance(*means), rel=0.01)
    assert scores["kid"] == pytest.approx(kernel_distance(*means), rel=0.01)
