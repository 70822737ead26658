"""The loop, and that nothing stops it for good. Real processes, really killed."""

import contextlib
import dataclasses
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import (
    SCRIPT,
    assert_same_weights,
    errors,
    flags,
    make_pair,
    make_training,
    settled,
    small_task,
    start,
    weights,
)

import image_to_image_translation as script
from pix2pix.options.train import Train
from pix2pix.runs import checkpoint_files
from pix2pix.talk.errors import UsageError, UserError
from pix2pix.talk.files import lock_folder


def test_training_learns(small):
    config = dataclasses.replace(
        small, generator_filters=16, discriminator_filters=8, batch_size=4, learning_rate=2e-3
    )
    config = dataclasses.replace(config, steps=300, log_every=100, checkpoint_every=300)
    held_out = script.find_splits(config)["val"]
    sources, targets = script.load_examples(held_out, range(50), config, settled(config))

    def l1(generator) -> float:
        return float(tf.reduce_mean(tf.abs(generator(sources) - targets)))

    script.train(config)
    untrained, trained = make_training(config), make_training(config)
    trained.restore()
    assert l1(trained.generator) < l1(untrained.generator) / 2


def rows(folder) -> list[str]:
    """The rows of metrics.csv without the time they took."""
    return [row.rsplit(",", 1)[0] for row in (folder / "metrics.csv").read_text().splitlines()]


def test_kill_and_resume_equals_never_stopped_bit_for_bit(small):
    options = {"batch_size": 2, "image_size": "32x64", "depth": 3, "learning_rate_decay_from": 10}
    options |= {"average_weights": 0.9, "gan_loss": "least-squares"}
    config = dataclasses.replace(small, steps=60, log_every=7, checkpoint_every=20, **options)
    straight = script.train(dataclasses.replace(config, name="straight")).folder
    killed = dataclasses.replace(config, name="killed")
    folder = killed.run_folder
    process = start("train", *flags(killed))
    while not (folder / "ckpt-20.index").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "ckpt-60.index").exists()
    script.train(killed)
    assert_same_weights(weights(folder, 60), weights(straight, 60))
    assert rows(folder) == rows(straight)
    assert [row.split(",")[0] for row in rows(folder)[1:]] == [*map(str, range(7, 60, 7)), "60"]


def test_rows_after_the_checkpoint_are_written_again_not_twice(small):
    folder = script.train(small).folder
    with open(folder / "metrics.csv", "a") as file:
        file.write("6,1,1,1,1,1\n8,1,1,1,1")  # a kill came here
    script.train(dataclasses.replace(small, steps=8))
    assert [row.split(",")[0] for row in rows(folder)[1:]] == ["2", "4", "6", "8"]
    assert "6,1,1,1,1" not in rows(folder)


def test_a_stop_request_saves_and_says_how_to_go_on(small):
    which = signal.SIGTERM
    config = dataclasses.replace(small, steps=100_000, checkpoint_every=100_000, name="stopped")
    folder = config.run_folder
    process = start("train", *flags(config))
    assert select.select([process.stdout], [], [], 30)[0], "nothing was said before the first step"
    while not (folder / "metrics.csv").exists() or len(rows(folder)) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(which)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + which
    assert errors(stderr) == []
    (checkpoint,) = checkpoint_files.checkpoints(folder)
    step = int(checkpoint.name.removeprefix("ckpt-"))
    assert stdout.splitlines()[-1] == (
        f"Stopped at step {step:,}. To go on: python image_to_image_translation.py train "
        f"--name stopped --output {small.output}"
    )
    training = make_training(config)
    training.restore()
    assert training.step == step


def test_a_run_goes_on_by_its_name_alone_as_on_the_command_line(small):
    first = script.train(dataclasses.replace(small, name="mine", l1_weight=10.0))
    again = script.train(Train(name="mine", output=str(small.output), steps=6))
    assert again.folder == first.folder
    assert checkpoint_files.checkpoints(again.folder)[-1].name == "ckpt-6"
    settings = json.loads((again.folder / "config.json").read_text())
    assert (settings["l1_weight"], settings["image_size"]) == (10.0, 32)
    assert again.losses["step"] == [2, 4, 6]
    assert again.preview.size[0] > 0


def test_what_is_no_path_is_refused_before_the_run_is_looked_for():
    with pytest.raises(UsageError, match="--dataset must be a path, not 3"):
        script.train(Train(dataset=3))


@pytest.mark.usefixtures("_in_notebook")
def test_a_cell_that_is_interrupted_ends_quietly(small, monkeypatch, capsys):
    monkeypatch.setattr(script, "live_output", contextlib.nullcontext)  # no display here
    steps = script.take_steps

    def interrupted(*arguments):
        for step in steps(*arguments):
            if step == 2:
                signal.raise_signal(signal.SIGINT)
            yield step

    monkeypatch.setattr(script, "take_steps", interrupted)
    run = script.train(dataclasses.replace(small, steps=100))
    assert run.stopped_by == signal.SIGINT
    assert checkpoint_files.checkpoints(run.folder)[-1].name == "ckpt-2"
    assert (
        capsys.readouterr()
        .out.rstrip()
        .endswith("Stopped at step 2. To go on: run this cell again")
    )
    monkeypatch.setattr(script, "find_splits", interrupt)
    run = script.train(small)  # before anything was trained
    assert run.stopped_by == signal.SIGINT
    said = capsys.readouterr().out
    assert said.rstrip().endswith("Interrupted. Run this cell again to go on.")


def interrupt(_) -> None:
    raise KeyboardInterrupt


def test_a_program_that_is_interrupted_before_its_training_is_interrupted(small, monkeypatch):
    monkeypatch.setattr(script, "find_splits", interrupt)
    with pytest.raises(KeyboardInterrupt):
        script.train(small)


def test_two_processes_on_one_run_folder(small):
    folder = small.run_folder
    with (
        lock_folder(folder, "busy"),
        pytest.raises(UserError, match="another process trains here.*--name"),
    ):
        script.train(small)
    assert not folder.exists()  # nothing came of it
    script.train(small)  # and once the other one has ended


def test_a_finished_run_says_so_and_can_be_trained_longer(small, capsys):
    folder = script.train(small).folder
    before = (folder / "metrics.csv").read_text()
    capsys.readouterr()
    script.train(small)
    assert capsys.readouterr().out == (
        f"{folder} is finished: 4 steps. To train longer: --steps 8\n"
    )
    assert (folder / "metrics.csv").read_text() == before
    script.train(dataclasses.replace(small, steps=8))
    assert [path.name for path in checkpoint_files.checkpoints(folder)][-1] == "ckpt-8"


def test_a_loss_that_is_not_finite_stops_the_run_and_overwrites_nothing(small):
    folder = script.train(small).folder
    patterns = ("ckpt-*", "generator.keras", "previews/*")
    files = {path: path.read_bytes() for pattern in patterns for path in folder.glob(pattern)}
    assert len(files) == 7
    config = dataclasses.replace(small, steps=20, log_every=5, checkpoint_every=100)
    with pytest.raises(UserError) as refusal:
        script.train(dataclasses.replace(config, learning_rate=1e30))
    assert "stopped being finite between steps 6 and 10;" in str(refusal.value)
    assert "the last good checkpoint is ckpt-4." in str(refusal.value)
    assert {path: path.read_bytes() for path in files} == files
    assert len(checkpoint_files.checkpoints(folder)) == 2


def test_weights_that_have_run_away_are_not_saved(small):
    config = dataclasses.replace(small, checkpoint_every=1, log_every=1, learning_rate=1e30)
    with pytest.raises(UserError, match="between steps 1 and 1.*good checkpoint is step 0"):
        script.train(config)  # the loss of step 1 is still that of the first weights
    assert checkpoint_files.checkpoints(config.run_folder) == []


def test_it_says_what_it_is_about_to_do(small, monkeypatch, capsys):
    monkeypatch.setattr(script, "train_steps", lambda *_: 0)
    script.train(dataclasses.replace(small, steps=40_000))
    said = capsys.readouterr().out
    assert "synthetic: 400 training pairs; previews of val pairs" in said
    assert "BtoA: right half (RGB) → left half (RGB) at 32×32" in said
    assert "float32" in said
    assert "steps 1 to 40,000" in said


def test_previews_come_from_training_pairs_only_if_there_is_nothing_else(
    small, pair_folder, monkeypatch, capsys
):
    monkeypatch.setattr(script, "train_steps", lambda *_: 0)
    for split in ("val", "test"):
        for file in (pair_folder / split).iterdir():
            file.unlink()
    config = dataclasses.replace(small, dataset=str(pair_folder), holdout=0)
    script.train(config)
    assert "6 training pairs; previews of train pairs" in capsys.readouterr().out
    script.train(dataclasses.replace(config, holdout=0.1, name="held-out"))
    assert "5 training pairs; previews of val pairs" in capsys.readouterr().out


def test_stretching_is_told(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "train_steps", lambda *_: 0)
    for k, height in enumerate((40, 43, 50, 60)):
        make_pair(tmp_path / f"wide/train/{k}.png", 40, height)
    config = dataclasses.replace(small, dataset=str(tmp_path / "wide"), holdout=0)
    script.train(config)
    said = "Stretched 2 of 4 pairs by more than 10% to fit 32×32; --fit crop cuts them instead"
    assert said in capsys.readouterr().out
    script.train(dataclasses.replace(config, fit="crop", name="cropped"))
    assert "Stretched" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "options",
    [
        {"fit": "crop", "image_size": "96x160"},
        {"crop": True, "depth": 3, "normalization": "none"},
        {"crop": True, "jitter": False, "flip": False, "image_size": 64},
        {"image_size": 512, "source_channels": 1, "target_channels": 4},
    ],
)
def test_every_size_and_option_trains_saves_and_resumes(small, tmp_path, options):
    for k in range(3):
        make_pair(tmp_path / f"data/train/{k}.png", 70, 90, seed=k)
    config = dataclasses.replace(small, dataset=str(tmp_path / "data"), steps=1, **options)
    script.train(config)
    folder = script.train(dataclasses.replace(config, steps=2)).folder
    assert [path.name for path in checkpoint_files.checkpoints(folder)] == ["ckpt-1", "ckpt-2"]
    height, width = config.picture_size
    generator = keras.saving.load_model(folder / "generator.keras")
    assert generator.input_shape == (None, height, width, config.source_channels)
    assert generator.output_shape == (None, height, width, config.target_channels)


def test_pictures_of_16_bits_and_of_one_channel_train(small, tmp_path):
    rng = np.random.default_rng(0)
    for k in range(3):
        for side, shape, kind in (("A", (40, 40, 1), np.uint8), ("B", (40, 40, 4), np.uint16)):
            pixels = tf.constant(rng.integers(0, np.iinfo(kind).max, shape, kind))
            (tmp_path / "deep" / side).mkdir(parents=True, exist_ok=True)
            path = tmp_path / "deep" / side / f"{k}.png"
            path.write_bytes(tf.io.encode_png(pixels).numpy())
    config = small_task(small, "pairs", dataset=str(tmp_path / "deep"))
    folder = script.train(config).folder
    found = json.loads((folder / "config.json").read_text())["found"]
    assert (found["source_channels"], found["target_channels"]) == (1, 4)
    assert found["target_bits"] == 16
    generator = keras.saving.load_model(folder / "generator.keras")
    assert generator.output_shape == (None, 32, 32, 4)


def test_the_learning_rate_falls_to_zero_in_a_line():
    config = Train(steps=100, learning_rate=0.2, learning_rate_decay_from=60)
    rates = {step: script.learning_rate(config, step) for step in (0, 59, 60, 70, 80, 99, 100)}
    assert rates == pytest.approx(
        {0: 0.2, 59: 0.2, 60: 0.2, 70: 0.15, 80: 0.1, 99: 0.005, 100: 0.0}
    )
    assert script.learning_rate(Train(), 39_999) == 2e-4


EDITED_AFTER_THE_START = """
import sys
import image_to_image_translation as script
from pix2pix.networks import fast_layers
for module in (script, fast_layers):
    lines = open(module.__file__).readlines()
    open(module.__file__, "w").writelines(lines[:1] + lines[2:])
script.main(sys.argv[1:])
"""


def test_editing_the_files_does_not_change_a_run_that_has_started(small, tmp_path):
    config = dataclasses.replace(small, gan_loss="least-squares", depth=2, output=tmp_path / "runs")
    straight = script.train(dataclasses.replace(config, name="straight")).folder
    shutil.copy(SCRIPT, tmp_path)
    shutil.copytree(SCRIPT.parent / "pix2pix", tmp_path / "pix2pix")
    edited = flags(dataclasses.replace(config, name="edited"))
    command = [sys.executable, "-c", EDITED_AFTER_THE_START, *edited]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    for name in (SCRIPT.name, "pix2pix/networks/fast_layers.py"):
        lines = (SCRIPT.parent / name).read_text().splitlines()
        assert (tmp_path / name).read_text().splitlines() == lines[:1] + lines[2:]
    folder = config.output / "edited"
    assert_same_weights(weights(folder, 4), weights(straight, 4))


@pytest.mark.parametrize("task", ["colorize", "super-resolve", "sketch", "inpaint"])
def test_a_task_is_trained(small, task, tmp_path):
    folder = script.train(small_task(small, task, steps=1)).folder
    assert folder == tmp_path / f"runs/synthetic-{task}"
    generator = keras.saving.load_model(folder / "generator.keras")
    source = tf.zeros([1, 32, 32, {"sketch": 1, "colorize": 1, "inpaint": 4}.get(task, 3)])
    assert generator(source).shape == (1, 32, 32, 3)
