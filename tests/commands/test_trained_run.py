"""Opening a trained run, from its folder or from its generator.keras alone."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import copying, make_picture, make_run, pixels_of
from helpers import translate

import image_to_image_translation as script
from pix2pix.commands.trained_run import open_run
from pix2pix.support.terminal import UserError


@pytest.fixture
def copy(small, tmp_path):
    return make_run(tmp_path / "copy", small, copying())


def test_a_generator_alone_is_as_good_as_its_run(copy, tmp_path):
    pixels = make_picture(tmp_path / "1.png", 32, 32)
    shutil.move(copy / "generator.keras", tmp_path / "mine.keras")
    translate(tmp_path / "mine.keras", tmp_path / "1.png", output=tmp_path / "out")
    np.testing.assert_array_equal(pixels_of(tmp_path / "out/1.png"), pixels)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "none.keras",
            None,
            "no such run. In training_checkpoints there are none yet",
        ),
        ("folder", None, "there is no such file; it comes with the first checkpoint"),
        ("photo.keras", b"not a zip", "not a sound generator.keras"),
    ],
)
def test_what_is_no_run_is_one_line(tmp_path, monkeypatch, name, content, said):
    monkeypatch.chdir(tmp_path)  # where no runs are
    (tmp_path / "folder").mkdir()
    if content:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        open_run(tmp_path / name)


def test_a_run_can_be_named_as_it_was_for_train(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(copy, tmp_path / "training_checkpoints/try")
    (tmp_path / "photos").mkdir()
    assert open_run(Path("try")).folder == Path("training_checkpoints/try")
    (tmp_path / "try").mkdir()  # a folder of the same name that is no run
    assert open_run(Path("try")).folder == Path("training_checkpoints/try")
    shutil.copytree(copy, tmp_path / "try", dirs_exist_ok=True)  # a path comes first
    assert open_run(Path("try")).folder == Path("try")
    with pytest.raises(UserError, match="tri: no such run. In training_checkpoints there are try;"):
        open_run(Path("tri"))


def test_a_generator_of_another_program_or_cut_short_is_one_line(copy, tmp_path):
    copying().save(tmp_path / "theirs.keras")
    with pytest.raises(UserError, match=r"theirs\.keras"):
        open_run(tmp_path / "theirs.keras")
    whole = (copy / "generator.keras").read_bytes()
    (copy / "generator.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not a sound generator.keras"):
        open_run(copy)


def test_samples_leave_batch_statistics_alone(small, tmp_path):
    config = dataclasses.replace(small, normalization="batch", batch_size=2)
    trained = open_run(make_run(tmp_path / "run", config))
    before = [weight.numpy() for weight in trained.generator.weights]
    first = script.generate(trained.generator, tf.zeros([1, 32, 32, 3]), False)
    script.generate(trained.generator, tf.ones([1, 32, 32, 3]), True)
    for old, weight in zip(before, trained.generator.weights, strict=True):
        np.testing.assert_array_equal(old, weight)
    again = script.generate(trained.generator, tf.zeros([1, 32, 32, 3]), False)
    np.testing.assert_array_equal(first, again)
