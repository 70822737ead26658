"""A run that begins with the networks of another: what it takes, what it refuses, what it mixes."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from conftest import assert_same_weights, make_pair, small_task, weights
from PIL import Image

import image_to_image_translation as script
from pix2pix import preparation
from pix2pix.command_line import parse
from pix2pix.networks.devices import choose_strategy
from pix2pix.options.recipes import RECIPES
from pix2pix.options.saved import (
    find_run,
    older_options,
    read_options,
    read_run,
    sides_of_older,
    to_saved,
)
from pix2pix.options.train import Train
from pix2pix.pictures.sides import PHOTOS
from pix2pix.talk.errors import UsageError, UserError


@pytest.fixture
def older(small):
    """A finished run with an average, on made-up facades."""
    config = dataclasses.replace(small, name="older", average_weights=0.9, generator_filters=5)
    return script.train(config).folder


def begin(small, older, **options):
    """Options of a run that begins with the networks of an older one, as parsed from flags."""
    typed = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    where = [f"--output={small.output}", f"--data-dir={small.data_dir}", "--precision=float32"]
    rest = ["--steps=2", "--checkpoint-every=2", "--discriminator-filters=4", "--log-every=1"]
    return parse(["train", *where, *rest, f"--from={older}", *typed])[1]


def prepare(options):
    """The sound pairs of a run, and what they decide."""
    return preparation.prepare(options, script.find_splits)


def begun(options) -> script.Training:
    """A training that is about to take its first step."""
    _, found = prepare(options)
    return script.start_or_resume(options, found, choose_strategy(1))


def restored(folder) -> script.Training:
    """A training as the newest checkpoint of a run has it."""
    options, found, _ = read_run(folder / "config.json")
    training = script.Training(options, found)
    training.restore()
    return training


def test_it_begins_with_both_networks_and_their_average(small, older, pair_folder):
    options = begin(small, older, dataset=pair_folder, name="new")
    assert (options.image_size, options.generator_filters, options.average_weights) == (32, 5, 0.9)
    training, old = begun(options), restored(older)
    networks = [*zip(training.networks.values(), old.networks.values(), strict=True)]
    for new, former in [*networks, (training.average, old.average)]:
        for ours, theirs in zip(new.weights, former.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    for weight in training.generator.weights:
        weight.assign(weight + 1)
    script.update_average(training)  # which keeps 0.9 of itself, unlike one of a new run
    networks = training.average.weights, old.average.weights, training.generator.weights
    for ours, theirs, now in zip(*networks, strict=True):
        expected = 0.9 * np.asarray(theirs) + 0.1 * np.asarray(now)
        np.testing.assert_allclose(ours, expected, atol=1e-5)
    assert training.step == 0
    for optimizer in training.optimizers.values():
        assert int(optimizer.iterations) == 0
        assert not any(np.any(each) for each in optimizer._momentums)


def test_a_run_is_found_by_its_name_in_the_same_output(small, older):
    assert find_run(dataclasses.replace(small, from_run="older")) == older
    with pytest.raises(UserError, match="--from nosuch: no such run"):
        find_run(dataclasses.replace(small, from_run="nosuch"))


def test_it_stops_and_goes_on_without_the_older_run(small, older, pair_folder):
    options = begin(small, older, dataset=pair_folder, name="whole", steps=4)
    whole = script.train_as_told(options).folder
    script.train_as_told(begin(small, older, dataset=pair_folder, name="parts", steps=2))
    shutil.rmtree(older)
    _, again = parse(["train", f"--output={small.output}", "--name=parts", "--steps=4"])
    parts = script.train_as_told(again).folder
    assert_same_weights(weights(parts, 4), weights(whole, 4))
    assert read_options(parts / "config.json").from_run == older


def test_size_and_direction_may_change(small, older):
    options = begin(small, older, dataset="synthetic", name="wide", image_size="32x64")
    assert script.train_as_told(options).exit_status == 0
    options = begin(small, older, dataset="synthetic", name="back", direction="AtoB")
    assert script.train_as_told(options).exit_status == 0


def test_its_recipe_comes_with_it(small, pair_folder):
    crisp = dataclasses.replace(small, **RECIPES["crisp"], recipe="crisp", name="older")
    older = script.train(crisp).folder
    options = begin(small, older, dataset=pair_folder)
    assert (options.recipe, options.upsampling) == ("crisp", "resize")


def test_an_older_run_without_an_average_gives_one_its_weights(small):
    older = script.train(dataclasses.replace(small, name="older")).folder
    options = begin(small, older, dataset="synthetic", name="new")
    assert options.average_weights == 0.0
    options = begin(small, older, dataset="synthetic", name="new", average_weights=0.9)
    training, old = begun(options), restored(older)
    assert training.average is not training.generator
    for network in (training.generator, training.average):
        for ours, theirs in zip(network.weights, old.generator.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def save_maps(folder, colours) -> None:
    """Write pairs of noise and a label map, whose colours come in falling frequency."""
    for split, count in (("train", 2), ("val", 1)):
        for k in range(count):
            pair = make_pair(folder / split / f"{k}.png", seed=k)
            pair[:, :40] = np.repeat(np.uint8(colours), (18, 14, 8), axis=0)
            Image.fromarray(pair).save(folder / split / f"{k}.png")


def classes_of_source(options) -> list[str]:
    """The classes of the sources that a run keeps which is begun, or goes on."""
    splits, found = prepare(options)
    options.run_folder.mkdir(parents=True, exist_ok=True)
    preparation.write_config(options, found, splits)
    (options.run_folder / "ckpt-1.index").touch()
    return found.to_saved()["source"]["classes"]


def test_classes_keep_the_channels_they_had(small, tmp_path):
    red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    save_maps(tmp_path / "first", (red, green, blue))
    save_maps(tmp_path / "second", (blue, red, (0, 250, 3)))
    config = dataclasses.replace(small, labels="source", name="older")
    classes = classes_of_source(dataclasses.replace(config, dataset=str(tmp_path / "first")))
    assert [line.split()[-1] for line in classes] == ["#ff0000", "#00ff00", "#0000ff"]
    options = begin(small, small.output / "older", dataset=tmp_path / "second", name="new")
    assert classes_of_source(options) == classes
    shutil.rmtree(small.output / "older")
    assert classes_of_source(options) == classes
    listed = tmp_path / "classes.txt"
    listed.write_text("".join(f"{r} {g} {b}\n" for r, g, b in (blue, red, green)))
    assert sides_of_older(dataclasses.replace(options, classes=listed)) == (PHOTOS, PHOTOS)


@pytest.mark.parametrize(
    "other", [{"generator_filters": 6}, {"discriminator_filters": 5}, {"upsampling": "resize"}]
)
def test_networks_that_do_not_fit_are_refused_in_a_line(small, older, other):
    options = begin(small, older, dataset="synthetic", name="new", **other)
    what = next(iter(other)).replace("_", " ")
    with pytest.raises(UserError, match=f"--from .*older: its networks cannot .* have {what} "):
        script.train_as_told(options)
    assert not list(options.run_folder.glob("ckpt-*"))


def test_another_number_of_classes_is_refused_in_words(small, older):
    options = begin(small, older, dataset="synthetic", name="new", labels="source")
    with pytest.raises(UserError, match="They have source classes 0, not 9"):
        script.train_as_told(options)


def test_a_recipe_that_is_given_counts(small, older):
    options = begin(small, older, dataset="synthetic", name="new", recipe="crisp-labels")
    assert (options.upsampling, options.labels) == ("resize", "source")
    assert options.generator_filters == 5
    with pytest.raises(UserError, match="its networks cannot be used"):
        script.train_as_told(options)


def test_runs_that_are_not_there(small, tmp_path):
    with pytest.raises(UserError, match="--from nowhere: no such run"):
        begin(small, "nowhere", dataset="synthetic")
    with pytest.raises(UsageError, match="--keep-old needs --from"):
        preparation.check_options(dataclasses.replace(small, keep_old=0.2))


def test_a_run_that_is_there_does_not_begin_anew(small, older):
    options = begin(small, older, dataset="synthetic", name="new")
    script.train_as_told(options)
    assert begin(small, older, dataset="synthetic", name="new") == options  # the same command
    for name, run in (("older", options.run_folder), ("new", older.with_name("other"))):
        with pytest.raises(UsageError, match=f"{name} holds a run already, and --from .*--name"):
            begin(small, run, dataset="synthetic", name=name)


def test_a_config_of_such_a_run_does_for_one_from_scratch(tmp_path):
    file = tmp_path / "config.json"
    saved = to_saved(Train(from_run="older", keep_old=0.2, dataset="synthetic", steps=7))
    file.write_text(json.dumps(saved))
    _, options = parse(["train", "--config", str(file)])
    assert (options.from_run, options.keep_old, options.steps) == (None, 0.0, 7)


def test_older_photos_are_not_mixed_with_pairs(small, pair_folder):
    photos = small_task(small, "colorize", name="older")
    options = begin(small, script.train(photos).folder, dataset=pair_folder, keep_old=0.5)
    with pytest.raises(UserError, match="--keep-old: pairs and photos without partners cannot be"):
        script.train_as_told(options)


def test_older_pairs_are_mixed_in_and_read_their_own_way(small, older, pair_folder):
    options = begin(small, older, dataset=pair_folder, name="mixed", keep_old=0.25)
    assert older_options(options).direction == "BtoA"
    splits, _ = prepare(options)
    mixed = splits["train"]
    assert (len(mixed), mixed.own) == (8, 6)  # two of eight are the older run's
    drawn = script.find_splits(older_options(options))["train"]
    for k, place in ((6, 0), (7, 200)):  # evenly among its 400
        for ours, theirs in zip(mixed.read(k), drawn.read(place), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    own = script.find_splits(options)["train"]
    np.testing.assert_array_equal(mixed.read(5)[0], own.read(5)[0])
    folder = script.train_as_told(options).folder
    assert len((folder / "training_pairs.txt").read_text().splitlines()) == 8
    assert len(splits["val"]) == 2
