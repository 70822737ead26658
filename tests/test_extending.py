"""What docs/ARCHITECTURE.md shows under "Where do I add a … ?", done from outside."""

import dataclasses
from pathlib import Path

import pytest
import tensorflow as tf
from conftest import assert_same_weights, weights

import image_to_image_translation as script
from pix2pix.options.train import Train
from pix2pix.runs.tables import read_columns
from pix2pix.talk.errors import UserError


def add_second(patch: pytest.MonkeyPatch) -> None:
    """A second discriminator with a loss of its own, as docs/ARCHITECTURE.md shows it: in four
    places of the script."""
    build_networks, compute_losses = script.build_networks, script.compute_losses

    def build_three(options, found):
        second = script.build_patch_discriminator(options, found)
        return {**build_networks(options, found), "second": second}

    def add_losses(training, networks, source, target, generated):
        losses = compute_losses(training, networks, source, target, generated)
        real, fooled = (networks["second"]([source, x], training=True) for x in (target, generated))
        losses["second"] = tf.reduce_mean(tf.nn.relu(1 - real) + tf.nn.relu(1 + fooled))
        return losses | {"generator_total": losses["generator_total"] - tf.reduce_mean(fooled)}

    patch.setattr(script, "build_networks", build_three)
    patch.setattr(script, "compute_losses", add_losses)
    patch.setitem(script.LOSSES, "second", "second")


def test_a_second_discriminator_is_trained_logged_saved_and_goes_on_exactly(
    small, monkeypatch, capsys
):
    """As docs/ARCHITECTURE.md promises of what it shows."""
    add_second(monkeypatch)
    straight = script.train(dataclasses.replace(small, name="straight", steps=4)).folder
    for steps in (2, 4):
        halves = script.train(dataclasses.replace(small, name="halves", steps=steps)).folder
    saved, before = weights(halves, 4), weights(straight, 2)
    assert_same_weights(saved, weights(straight, 4))
    for part in ("_trainable_variables/0", "_variables/2"):  # a weight, and a moment of it
        (name,) = [key for key in saved if key.startswith(f"second_optimizer/{part}/")]
        assert (saved[name] != before[name]).any()  # it learns
    columns = [read_columns(run / "metrics.csv")["second"] for run in (halves, straight)]
    assert columns[0] == columns[1]
    assert all(0 < loss < 10 for loss in columns[0])
    assert " second " in capsys.readouterr().out


def refuse(options: Train, folder: Path) -> str:
    """What is said of a run that cannot go on; all is left as it is."""
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(UserError) as refusal:
        script.train(options)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert "\n" not in str(refusal.value)
    assert "--name" in str(refusal.value)
    return str(refusal.value)


def test_a_run_does_not_go_on_with_more_networks_or_with_fewer(small):
    without = dataclasses.replace(small, name="without", steps=2)
    ours = dataclasses.replace(small, name="with", steps=2)
    folder = script.train(without).folder
    with pytest.MonkeyPatch.context() as patch:
        add_second(patch)
        folder_of_ours = script.train(ours).folder
        said = refuse(dataclasses.replace(without, steps=4), folder)
    assert "ckpt-2 is of other networks than the script's: it lacks the second, of 13 wei" in said
    said = refuse(dataclasses.replace(ours, steps=4), folder_of_ours)
    assert "ckpt-2 is of other networks than the script's: it has a second, of 13 weights" in said
