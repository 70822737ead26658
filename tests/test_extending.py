"""What docs/ARCHITECTURE.md shows under "Where do I add a … ?", done from outside."""

import dataclasses

import pytest
import tensorflow as tf
from conftest import assert_same_weights, weights

import image_to_image_translation as script
from pix2pix.runs.tables import read_columns
from pix2pix.talk.errors import UserError


@pytest.fixture
def _second_discriminator(monkeypatch):
    """A second discriminator with a loss of its own, in the four places of the script."""
    build_networks, compute_losses = script.build_networks, script.compute_losses

    def build_three(options, found):
        critic = script.build_patch_discriminator(options, found)
        return {**build_networks(options, found), "critic": critic}

    def add_losses(networks, source, target, generated, options):
        losses = compute_losses(networks, source, target, generated, options)
        real, fooled = (networks["critic"]([source, x], training=True) for x in (target, generated))
        losses["critic"] = tf.reduce_mean(tf.nn.relu(1 - real) + tf.nn.relu(1 + fooled))
        return losses | {"generator_total": losses["generator_total"] - tf.reduce_mean(fooled)}

    monkeypatch.setattr(script, "build_networks", build_three)
    monkeypatch.setattr(script, "compute_losses", add_losses)
    monkeypatch.setitem(script.LOSSES, "critic", "C")


@pytest.mark.usefixtures("_second_discriminator")
def test_a_second_discriminator_is_trained_logged_saved_and_goes_on_exactly(small, capsys):
    straight = script.train(dataclasses.replace(small, name="straight", steps=4)).folder
    for steps in (2, 4):
        halves = script.train(dataclasses.replace(small, name="halves", steps=steps)).folder
    saved = weights(halves, 4)
    assert_same_weights(saved, weights(straight, 4))
    before, kernel = weights(straight, 2), "critic_optimizer/_trainable_variables/0"
    (name,) = [key for key in saved if key.startswith(f"{kernel}/")]
    assert (saved[name] != before[name]).any()  # it learns
    assert all(0 < loss < 10 for loss in read_columns(halves / "metrics.csv")["critic"])
    assert " C " in capsys.readouterr().out


def test_a_run_without_it_does_not_go_on_with_it(small, request):
    folder = script.train(dataclasses.replace(small, steps=2)).folder
    files = sorted(path.name for path in folder.iterdir())
    request.getfixturevalue("_second_discriminator")
    with pytest.raises(UserError, match=r"ckpt-2: .*critic.*--name") as refusal:
        script.train(dataclasses.replace(small, steps=4))
    assert "\n" not in str(refusal.value)
    assert sorted(path.name for path in folder.iterdir()) == files  # nothing is put aside
