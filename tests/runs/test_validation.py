"""What a training measures on held-out pairs, and which generator it keeps."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import assert_same_weights, make_training, settled, weights

import image_to_image_translation as script
from pix2pix import preparation
from pix2pix.command_line import parse
from pix2pix.commands.evaluate.command import evaluate
from pix2pix.commands.open_run import open_run
from pix2pix.options.commands import Evaluate
from pix2pix.options.saved import write_run
from pix2pix.runs.tables import read_columns
from pix2pix.runs.validation import Validation
from pix2pix.talk.errors import UsageError
from pix2pix.watch import Watch


@pytest.fixture
def _time_enough(monkeypatch) -> None:
    """So that a validation at each of few small steps is not too much."""
    monkeypatch.setattr("pix2pix.runs.validation.VALIDATION_TIME", 1000)


def validation(folder) -> dict[str, list[float]]:
    return read_columns(folder / "validation.csv")


@pytest.mark.usefixtures("_time_enough")
def test_validation_is_what_evaluate_finds(small, pair_folder):
    config = dataclasses.replace(small, dataset=str(pair_folder), preview_every=2)
    folder = script.train(config).folder
    columns = validation(folder)
    assert columns["step"] == [2, 4]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)
        found = evaluate(Evaluate(folder, split="val")).metrics
    for name in ("l1", "psnr", "ssim"):
        assert columns[name][-1] == pytest.approx(found[name], rel=1e-4)


def test_the_average_and_the_generator_are_both_measured(small, capsys):
    config = dataclasses.replace(small, average_weights=0.9, validate=2)
    folder = script.train(config).folder
    columns = validation(folder)
    measures = ["l1", "psnr", "ssim"]
    of_pairs = [*measures, *(f"generator_{name}" for name in measures)]
    assert list(columns) == ["step", *of_pairs, "variety", "grid", "spot"]
    training = make_training(config)
    training.restore()
    split = script.find_splits(config)["val"]
    sources, targets = script.load_examples(split, range(2), config, training.found)
    for prefix, network in (("", training.average), ("generator_", training.generator)):
        l1 = np.abs(script.generate(network, sources) - targets).mean() / 2
        assert columns[f"{prefix}l1"] == [pytest.approx(l1, rel=1e-3)]
    assert f"Validated L1 ↓ {columns['l1'][0]:.4g}, PSNR ↑" in capsys.readouterr().out


def test_no_validation_where_none_is_wanted_or_there_is_nothing_held_out(
    small, pair_folder, capsys
):
    folder = script.train(dataclasses.replace(small, validate=0)).folder
    assert not (folder / "validation.csv").exists()
    pairs = str(pair_folder / "train")
    config = dataclasses.replace(small, dataset=pairs, holdout=0.0, name="all", keep_best="l1")
    folder = script.train(config).folder
    assert not (folder / "validation.csv").exists()
    assert "Careful   --keep-best keeps nothing" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--validate must be from 0 to"):
        script.train(dataclasses.replace(small, validate=-1))


@pytest.mark.parametrize(
    ("options", "pairs"),
    [
        ({"preview_every": 1000}, 100),
        ({"preview_every": 1000, "validate": 7}, 7),
        ({"preview_every": 100}, 12),
        ({"preview_every": 100, "average_weights": 0.9}, 6),
        ({"preview_every": 100, "average_weights": 0.9, "batch_size": 4}, 24),
        ({"preview_every": 5}, 0),
    ],
)
def test_no_more_pairs_are_measured_than_there_is_time_for(small, options, pairs):
    config = dataclasses.replace(small, direction="BtoA", **options)
    split = preparation.check_split(script.find_splits(config)["val"], "val", config)
    held_out = script.HeldOut(make_training(config), "val", split)
    watch = Watch(held_out.training, held_out, script.generate, script.LOSSES)
    assert watch.validation.count == pairs


@pytest.mark.usefixtures("_time_enough")
def test_with_a_critic_features_are_measured_and_the_best_is_kept_by_them(
    small, pair_folder, capsys
):
    options = {"critic": "features", "keep_best": "features", "preview_every": 1, "steps": 3}
    config = dataclasses.replace(small, dataset=str(pair_folder), **options)
    folder = script.train(config).folder
    columns = validation(folder)
    assert list(columns)[:5] == ["step", "l1", "psnr", "ssim", "features"]
    assert f", features ↓ {columns['features'][-1]:.4g}, " in capsys.readouterr().out
    assert open_run(folder / "best.keras").step == 1 + np.argmin(columns["features"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)
        found = evaluate(Evaluate(folder, split="val")).metrics
    assert columns["features"][-1] == pytest.approx(found["features"], rel=1e-4)
    with pytest.raises(UsageError, match="--keep-best features needs --critic features"):
        preparation.check_options(dataclasses.replace(config, critic="none"))


def test_rows_from_before_a_measure_was_taken_do_not_count(tmp_path):
    table = tmp_path / "validation.csv"
    held = Validation(
        {},
        generate=None,
        load=None,
        load_aligned=None,
        count=1,
        table=table,
        feature_network=keras.Model(),
    )
    for rows, is_best in (("1,\n2,0.5\n", True), ("1,\n2,0.5\n3,0.6\n", False)):
        table.write_text(f"step,features\n{rows}")
        assert held.is_best("features") == is_best


@pytest.mark.usefixtures("_time_enough")
@pytest.mark.parametrize("measure", ["l1", "ssim"])
def test_the_best_generator_is_kept(small, measure):
    options = {"steps": 5, "preview_every": 1, "checkpoint_every": 1, "keep_checkpoints": 5}
    config = dataclasses.replace(small, **options, keep_best=measure, validate=5)
    folder = script.train(config).folder
    columns = validation(folder)
    best = np.argmin(columns["l1"]) if measure == "l1" else np.argmax(columns["ssim"])
    trained = open_run(folder / "best.keras")
    assert trained.step == columns["step"][best]
    training = make_training(config)
    training.checkpoint.restore(str(folder / f"ckpt-{trained.step}"))
    for ours, theirs in zip(trained.generator.weights, training.generator.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_without_validation_there_is_nothing_to_choose_the_best_by(small):
    with pytest.raises(UsageError, match="--keep-best chooses by what --validate measures"):
        preparation.check_options(dataclasses.replace(small, keep_best="l1", validate=0))
    begun = dataclasses.replace(small, keep_best="l1", validate=1)
    folder = begun.run_folder
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(write_run(begun, settled(begun)))
    typed = ["train", f"--output={folder.parent}", f"--name={folder.name}", "--validate=0"]
    assert parse(typed)[1].keep_best is None


@pytest.mark.usefixtures("_time_enough")
def test_validation_goes_on_where_it_stopped(small):
    config = dataclasses.replace(small, preview_every=2, keep_best="psnr", validate=3)
    whole = script.train(dataclasses.replace(config, name="whole")).folder
    script.train(dataclasses.replace(config, steps=2))
    parts = config.run_folder
    with open(parts / "validation.csv", "a") as file:
        file.write("3,0,100,1\n4,0.1")  # of steps that were lost, and half a row
    script.train(config)
    assert validation(parts) == validation(whole)
    assert open_run(parts / "best.keras").step == open_run(whole / "best.keras").step


def test_a_run_from_before_the_verdicts_were_logged_goes_on(small):
    older_losses = ["generator_total", "generator_gan", "generator_l1", "discriminator"]
    config = dataclasses.replace(small, log_every=3, checkpoint_every=4, validate=0)
    whole = script.train(dataclasses.replace(config, steps=6, name="whole")).folder
    folder = script.train(config).folder
    training = make_training(config)
    training.restore()
    sums = {name: training.loss_sums[name] for name in older_losses}
    parts = training.parts | {"loss_sums": sums}
    for file in folder.glob("ckpt-*"):
        file.unlink()
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(**parts), str(folder), 1)
    written = manager.save(4)
    assert not any("right" in name for name, _ in tf.train.list_variables(written))
    columns = read_columns(folder / "metrics.csv")
    kept = ["step", *older_losses, "steps_per_second"]
    rows = [",".join(kept), *(",".join(f"{columns[n][k]:.6g}" for n in kept) for k in (0, 1))]
    (folder / "metrics.csv").write_text("\n".join(rows) + "\n")

    script.train(dataclasses.replace(config, steps=6))
    ours, theirs = weights(folder, 6), weights(whole, 6)
    assert_same_weights(ours, theirs)
    columns = read_columns(folder / "metrics.csv")
    assert columns["step"] == [3, 4, 6]
    assert np.isnan(columns["discriminator_right"][:2]).all()
    assert 0 <= columns["discriminator_right"][2] <= 1
