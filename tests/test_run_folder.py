"""What a run leaves on disk, and what it survives there."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import (
    SMALL,
    assert_same_weights,
    errors,
    flags,
    make_training,
    small_task,
    start,
    weights,
)

import image_to_image_translation as script
from pix2pix import preparation
from pix2pix.commands.open_run import open_run
from pix2pix.pictures.sides import to_hex
from pix2pix.runs import checkpoint_files
from pix2pix.talk.errors import UserError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of four steps with checkpoints at 2 and 4."""
    return script.train(dataclasses.replace(SMALL, output=tmp_path_factory.mktemp("runs"))).folder


@pytest.fixture
def finished(small, trained):
    """A copy of that run, for one test to spoil."""
    return shutil.copytree(trained, small.run_folder)


def restored(config) -> script.Training:
    """A training as its newest checkpoint has it."""
    training = make_training(config)
    training.restore()
    return training


def test_what_a_run_leaves_behind(small, finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {  # and nothing half-written
        *(".lock", "config.json", "metrics.csv", "generator.keras", "previews", "logs"),
        *("validation.csv", "index.html", "progress.js"),
        *("training_pairs.txt", "checkpoint", "ckpt-2.index", "ckpt-2.data-00000-of-00001"),
        *("ckpt-4.index", "ckpt-4.data-00000-of-00001"),
    }
    assert tf.train.latest_checkpoint(str(finished)) == str(finished / "ckpt-4")
    saved = json.loads((finished / "config.json").read_text())
    assert saved["image_size"] == 32
    assert saved["found"]["direction"] == "BtoA"
    assert saved["found"]["pairs"].startswith("400 pairs with fingerprint ")
    header, *rows = (finished / "metrics.csv").read_text().splitlines()
    assert header == (
        "step,generator_total,generator_gan,generator_l1,discriminator,discriminator_real,"
        "discriminator_generated,discriminator_right,steps_per_second"
    )
    assert [row.split(",")[0] for row in rows] == ["2", "4"]
    previews = {path.name for path in (finished / "previews").iterdir()}
    assert previews == {"step-000000.png", "step-000004.png"}


def test_the_saved_generator_is_the_trained_one_and_needs_only_keras(small, finished):
    training = restored(small)
    source = tf.random.stateless_uniform([1, 32, 32, 3], [1, 2], minval=-1)
    alone = keras.saving.load_model(finished / "generator.keras", safe_mode=True)
    np.testing.assert_array_equal(alone(source), training.generator(source))
    modules = {type(layer).__module__.split(".")[0] for layer in alone.layers}
    assert modules == {"keras"}


def test_metrics_are_means_and_tensorboard_has_them_at_true_steps(small, finished):
    rows = np.loadtxt(finished / "metrics.csv", delimiter=",", skiprows=1)
    training, by_hand = make_training(small), []
    split = script.find_splits(small)["train"]
    checked = preparation.check_split(split, "train", small)
    alone = tf.distribute.InputContext()
    for source, target in script.batches(checked, small, training.found, 0, alone):
        losses = script.train_step(training, source, target)
        by_hand.append([float(losses[name]) for name in script.LOSSES])
    means = np.reshape(by_hand, [2, 2, len(script.LOSSES)]).mean(axis=1)
    np.testing.assert_allclose(rows[:, 1:-1], means, rtol=1e-4)

    seen = {}
    for file in (finished / "logs").iterdir():
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                seen.setdefault(value.tag, []).append((event.step, value))
    tags = {f"loss/{name}" for name in script.LOSSES}
    named = {tag for tag in seen if not tag.startswith("_hparams_")}  # if TensorBoard is there
    measures = ("l1", "psnr", "ssim", "variety", "grid", "spot")
    tags |= {f"validation/{name}" for name in measures}
    assert named == tags | {"steps_per_second", "preview", "options/text_summary"}
    l1 = [(step, value.simple_value) for step, value in seen["loss/generator_l1"]]
    np.testing.assert_allclose(l1, rows[:, [0, 3]], rtol=1e-4)
    (step, picture), *_ = seen["preview"]
    png = (finished / "previews/step-000004.png").read_bytes()
    assert (step, picture.image.encoded_image_string) == (4, png)
    ((step, text),) = seen["options/text_summary"]
    assert text.metadata.plugin_data.plugin_name == "text"
    assert b"| batch_size | 1 |" in tf.make_ndarray(text.tensor).item()


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped"])
def test_a_damaged_checkpoint_is_passed_over(small, finished, capsys, suffix, damage):
    file = finished / f"ckpt-4.{suffix}"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    whole = bytes(content)
    file.write_bytes({"cut": whole[: len(whole) // 3], "emptied": b"", "flipped": whole}[damage])
    capsys.readouterr()
    assert restored(small).step == 2
    assert f"{finished / 'ckpt-4'} is damaged" in capsys.readouterr().out
    assert (finished / f"damaged-ckpt-4.{suffix}").exists()  # put aside, not thrown away
    assert [path.name for path in checkpoint_files.checkpoints(finished)] == ["ckpt-2"]


def test_a_run_goes_on_from_before_the_damage_as_if_nothing_had_been(small, finished, tmp_path):
    straight = script.train(dataclasses.replace(small, name="straight", steps=6)).folder
    (finished / "ckpt-4.index").write_bytes(b"")
    script.train(dataclasses.replace(small, steps=6))
    assert_same_weights(weights(finished, 6), weights(straight, 6))
    metrics = [(run / "metrics.csv").read_text().splitlines() for run in (finished, straight)]
    ours, theirs = ([row.rsplit(",", 1)[0] for row in rows] for rows in metrics)
    assert ours == theirs


def contents(folder) -> dict[str, bytes]:
    """The files of a folder, and what is in them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
def test_when_every_checkpoint_is_damaged_nothing_is_changed(small, finished, capsys, suffix):
    for file in finished.glob(f"*.{suffix}"):
        file.write_bytes(b"")
    before = contents(finished)
    capsys.readouterr()
    with pytest.raises(UserError, match="no checkpoint can be read.*--name"):
        script.train(dataclasses.replace(small, steps=6))
    assert contents(finished) == before
    assert "damaged" not in capsys.readouterr().out


def more_filters(x, filters, use_bias, options, downsample=script.downsample):
    return downsample(x, filters + 1, use_bias, options)


def one_more_layer(x, filters, use_bias, options, downsample=script.downsample):
    return keras.layers.Dense(filters)(downsample(x, filters, use_bias, options))


def more_noise(x, filters, use_bias, options, downsample=script.downsample):
    return keras.layers.Dropout(0.1)(downsample(x, filters, use_bias, options))


OF_OTHER_NETWORKS = "ckpt-4 is of other networks than the script's: its generator "


@pytest.mark.parametrize(
    ("edited", "edit", "said"),
    [
        (
            "downsample",
            more_filters,
            f"{OF_OTHER_NETWORKS}has 16 weights (4×4×3×4, 4×4×4×8, 4×4×32×32, …) that the "
            "script's lacks, and lacks 16 weights (4×4×3×5, 4×4×5×9, 9, …) that the script's has",
        ),
        (
            "downsample",
            one_more_layer,
            f"{OF_OTHER_NETWORKS}lacks 10 weights (4×4, 4, 8×8, …) that the script's has",
        ),
        (
            "normalize",
            lambda x, options: x,
            f"{OF_OTHER_NETWORKS}has 14 weights (32, 16, 8, …) that the script's lacks; its "
            "discriminator has 6 weights (32, 8, 16) that the script's lacks",
        ),
        ("downsample", more_noise, "ckpt-4 has a generator with 3 layers of dropout, not 8"),
        ("LOSSES", {}, "ckpt-4 has losses that LOSSES lacks: discriminator, discriminator_gen"),
    ],
)
def test_a_checkpoint_of_other_networks_is_left_as_it_is(
    small, finished, monkeypatch, capsys, edited, edit, said
):
    before = contents(finished)
    monkeypatch.setattr(script, edited, edit)
    with pytest.raises(UserError) as refusal:
        script.train(dataclasses.replace(small, steps=6))
    assert f"{finished}/{said}" in str(refusal.value)
    assert str(refusal.value).endswith(
        "undo what has changed since, or begin a new run with --name."
    )
    assert "\n" not in str(refusal.value)
    assert contents(finished) == before
    assert "damaged" not in capsys.readouterr().out
    monkeypatch.undo()
    script.train(dataclasses.replace(small, steps=6))  # once the edit is taken back


def test_a_damaged_checkpoint_stays_where_the_one_before_is_of_other_networks(
    small, finished, monkeypatch, capsys
):
    (finished / "ckpt-4.index").write_bytes(b"")
    before = contents(finished)
    monkeypatch.setattr(script, "downsample", more_filters)
    with pytest.raises(UserError, match="ckpt-2 is of other networks"):
        script.train(dataclasses.replace(small, steps=6))
    assert contents(finished) == before
    assert "damaged" not in capsys.readouterr().out


def test_a_run_goes_on_with_scaled_losses_only_if_it_had_them(small, finished):
    before = contents(finished)
    scaled = dataclasses.replace(small, precision="float16", steps=6)
    _, stderr = (process := start("train", *flags(scaled))).communicate(timeout=100)
    assert process.returncode == 1
    (line,) = errors(stderr)
    assert f"{finished}/ckpt-4 was not trained with --precision float16. It is left" in line
    assert "checkpoint" not in stderr  # as in TensorFlow's lists of what it could not restore
    assert contents(finished) == before


def test_a_garbled_list_of_checkpoints_does_not_matter(small, finished):
    (finished / "checkpoint").write_bytes(b"\xff\xfe garbage")
    script.train(dataclasses.replace(small, steps=6))
    assert tf.train.latest_checkpoint(str(finished)) == str(finished / "ckpt-6")


def test_what_a_killed_save_left_is_swept_away(small, finished):
    (finished / "ckpt-6_temp").mkdir()
    (finished / "ckpt-6_temp/part-00000-of-00001.data-00000-of-00001").write_bytes(b"half")
    (finished / "ckpt-6.data-00000-of-00001").write_bytes(b"without an index")
    (finished / ".partial-generator.keras").write_bytes(b"half")
    checkpoint_files.remove_half_written(finished)
    left = {path.name for path in finished.iterdir()}
    assert not any("6" in name or "partial" in name for name in left)
    assert restored(small).step == 4


def test_only_the_newest_checkpoints_are_kept(small):
    folder = script.train(dataclasses.replace(small, steps=10, keep_checkpoints=2)).folder
    assert [path.name for path in checkpoint_files.checkpoints(folder)] == ["ckpt-8", "ckpt-10"]
    assert not list(folder.glob("ckpt-2.*"))


def test_a_failed_save_keeps_what_was_there(small, finished):
    generator = (finished / "generator.keras").read_bytes()
    longer = flags(dataclasses.replace(small, steps=6))
    process = start("train", *longer, shell="ulimit -f 200")  # no file above 200 KiB
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    (line,) = errors(stderr)
    assert "step 6 could not be saved" in line
    assert line.endswith("it goes on from ckpt-4.")
    assert (finished / "generator.keras").read_bytes() == generator
    assert not list(finished.glob("ckpt-6*"))
    assert restored(small).step == 4


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"image_size": 64}, "image size 32, not 64"),
        ({"generator_filters": 8}, "generator filters 4, not 8"),
        ({"discriminator_filters": 8}, "discriminator filters 4, not 8"),
        ({"direction": "AtoB"}, "direction BtoA, not AtoB"),
        ({"source_channels": 1}, "source channels 3, not 1"),
        ({"target_channels": 4}, "target channels 3, not 4"),
        ({"depth": 3}, "depth 5, not 3"),
        ({"normalization": "none"}, "normalization instance, not none"),
        ({"upsampling": "resize"}, "upsampling transposed, not resize"),
        ({"padding": "reflect"}, "padding zeros, not reflect"),
        ({"average_weights": 0.9}, "average weights 0.0, not 0.9"),
        ({"seed": 1}, "other pictures (--dataset, --seed, --holdout or"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(small, finished, change, named):
    before = (finished / "config.json").read_text()
    with pytest.raises(UserError) as refusal:
        script.train(dataclasses.replace(small, **change))
    assert named in str(refusal.value)
    assert "--name" in str(refusal.value)
    assert (finished / "config.json").read_text() == before


def test_another_task_in_the_same_folder_is_refused(small, finished):
    config = small_task(small, "super-resolve", name=finished.name)
    with pytest.raises(UserError, match="task pairs, not super-resolve"):
        script.train_as_told(dataclasses.replace(config, direction="AtoB"))


def test_another_dataset_of_the_same_name_is_refused_but_a_moved_one_is_not(
    small, pair_folder, tmp_path
):
    config = dataclasses.replace(small, dataset=str(pair_folder), name="mine")
    script.train(config)
    moved = shutil.move(pair_folder, tmp_path / "elsewhere")
    script.train(dataclasses.replace(config, dataset=str(moved), steps=6))
    (moved / "train/0.png").unlink()
    with pytest.raises(UserError, match="or files.*: 6 pairs .*, not 5 pairs"):
        script.train(dataclasses.replace(config, dataset=str(moved), steps=8))


def test_classes_of_an_older_run_get_their_names_and_it_goes_on(small):
    labelled = dataclasses.replace(small, labels="source")
    folder = script.train(labelled).folder
    path = folder / "config.json"
    saved = json.loads(path.read_text())
    side = saved["found"]["source"]
    named = open_run(folder).found.source.classes
    assert named[0].name == "facade"
    side["classes"] = [str(label._replace(name=to_hex(label.colour))) for label in named]
    path.write_text(json.dumps(saved))
    assert open_run(folder).found.source.classes == named
    script.train(dataclasses.replace(labelled, steps=6))
    assert json.loads(path.read_text())["found"]["source"]["classes"] == list(map(str, named))
    side["classes"][0] = "0 1 2 3 facade"
    path.write_text(json.dumps(saved))
    with pytest.raises(UserError, match="sources that mean something else"):
        script.train(dataclasses.replace(labelled, steps=8))


def test_a_start_that_trains_nothing_changes_nothing_but_the_page(small, finished):
    before = (finished / "config.json").read_text()
    (finished / "index.html").unlink()  # as in a run of an earlier version
    script.train(dataclasses.replace(small, steps=3, learning_rate=1e-3))  # it has 4 already
    assert (finished / "config.json").read_text() == before
    assert '"state": "finished", ' in (finished / "index.html").read_text()


def test_a_changed_learning_rate_is_said_and_used(small, finished, capsys):
    script.train(dataclasses.replace(small, steps=6, learning_rate=1e-3))
    assert "--learning-rate 0.0002 → 0.001, from here on" in capsys.readouterr().out
    rate = weights(finished, 6)["generator_optimizer/_learning_rate/.ATTRIBUTES/VARIABLE_VALUE"]
    assert rate == pytest.approx(1e-3)


def test_what_is_saved_and_shown_is_the_average(small, monkeypatch):
    shown = {}
    config = dataclasses.replace(small, average_weights=0.9)
    draw = script.draw_panel
    monkeypatch.setattr(
        script, "draw_panel", lambda path, columns: draw(path, shown.update(columns) or columns)
    )
    folder = script.train(config).folder
    training = restored(config)
    saved = keras.saving.load_model(folder / "generator.keras")
    for ours, average in zip(saved.weights, training.average.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), average.numpy())
    assert np.any(saved.weights[0].numpy() != training.generator.weights[0].numpy())
    np.testing.assert_allclose(shown["Prediction"], saved(shown["Input"]), atol=1e-5)


def test_float16_resumes_exactly_and_leaves_a_float32_generator(small):
    config = dataclasses.replace(small, precision="float16", depth=2, steps=8, checkpoint_every=4)
    straight = script.train(dataclasses.replace(config, name="straight")).folder
    stopped = dataclasses.replace(config, name="stopped", steps=4)
    script.train(stopped)
    folder = script.train(dataclasses.replace(stopped, steps=8)).folder
    assert_same_weights(weights(folder, 8), weights(straight, 8))
    scales = [name for name in weights(folder, 8) if "dynamic_scale" in name]
    assert len(scales) == 2

    training = restored(stopped)
    assert {layer.compute_dtype for layer in training.generator.layers} > {"float16"}
    saved = open_run(folder).generator
    assert {layer.compute_dtype for layer in saved.layers} == {"float32"}
    for ours, theirs in zip(training.generator.weights, saved.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    source = tf.random.stateless_uniform([1, 32, 32, 3], [1, 2], minval=-1)
    np.testing.assert_allclose(saved(source), training.generator(source), atol=0.05)
