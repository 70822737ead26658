"""Recipes: which values count when flags, a recipe and an older run name different ones."""

import dataclasses

import pytest
import tensorflow as tf
from conftest import small_task

import image_to_image_translation as script
from pix2pix import preparation
from pix2pix.command_line import parse
from pix2pix.options.recipes import RECIPES, follow_recipe
from pix2pix.options.saved import read_options, read_run
from pix2pix.options.train import Train
from pix2pix.pictures.pixels import Kind
from pix2pix.pictures.sides import PHOTOS, LabelClass, Side
from pix2pix.talk.errors import UserError

CRISP, VIVID = RECIPES["crisp-labels"], RECIPES["vivid"]


def test_recipes_are_made_of_options():
    assert RECIPES["paper"] == {}
    for recipe in RECIPES.values():
        for name, value in recipe.items():
            assert getattr(Train, name) != value, name
        preparation.check_options(dataclasses.replace(Train(), **recipe))


def test_vivid_is_for_whatever_the_pictures_are(small):
    vivid = dataclasses.replace(small, recipe="vivid", steps=2)
    maps = script.train(dataclasses.replace(vivid, name="maps")).folder
    photos = script.train(small_task(vivid, "colorize", name="photos")).folder
    for folder, discriminator, classes in ((maps, "classes", 9), (photos, "patches", 0)):
        options, found, _ = read_run(folder / "config.json")
        assert {name: getattr(options, name) for name in VIVID} == VIVID
        assert (found.discriminator, len(found.source.classes)) == (discriminator, classes)
        assert (folder / "ckpt-2.index").exists()
    _, asked = parse(["train", "synthetic", "--recipe", "vivid", "--labels", "none"])
    assert preparation.conclude(asked, [(Kind(3, 8),) * 2], [PHOTOS] * 2).discriminator == "patches"


def test_how_much_l1_counts_follows_the_discriminator(small):
    judging = dataclasses.replace(small, labels="source", discriminator="auto")
    kinds, maps = [(Kind(3, 8),) * 2], Side(classes=(LabelClass(0, (0, 0, 0), "a"),))
    batch = tf.random.stateless_uniform([2, 1, 32, 32, 3], [1, 2], -1)
    for source, asked, weight in ((PHOTOS, "auto", 100), (maps, "auto", 3), (maps, 7.0, 7)):
        options = dataclasses.replace(judging, l1_weight=asked)
        found = preparation.conclude(options, kinds, [source, PHOTOS])
        losses = script.train_step(script.Training(options, found), *batch)
        total = float(losses["generator_gan"]) + weight * float(losses["generator_l1"])
        assert float(losses["generator_total"]) == pytest.approx(total, rel=1e-4)
    for wrong in (-1.0, "much", True):
        with pytest.raises(UserError, match="--l1-weight must be "):
            preparation.check_options(dataclasses.replace(small, l1_weight=wrong))
    assert parse(["train", "synthetic", "--l1-weight", "5"])[1].l1_weight == 5.0
    assert parse(["train", "synthetic", "--l1-weight", "auto"])[1].l1_weight == "auto"


def test_how_much_features_count_follows_the_discriminator(small):
    judging = dataclasses.replace(small, labels="source", discriminator="auto", critic="features")
    kinds, maps = [(Kind(3, 8),) * 2], Side(classes=(LabelClass(0, (0, 0, 0), "a"),))
    batch = tf.random.stateless_uniform([2, 1, 32, 32, 3], [1, 2], -1)
    for source, asked, weight in ((PHOTOS, "auto", 10), (maps, "auto", 3), (PHOTOS, 4.0, 4)):
        options = dataclasses.replace(judging, feature_weight=asked, l1_weight=0.0)
        found = preparation.conclude(options, kinds, [source, PHOTOS])
        losses = script.train_step(script.Training(options, found), *batch)
        total = float(losses["generator_gan"]) + float(losses["generator_critic"])
        total += weight * float(losses["generator_features"])
        assert float(losses["generator_total"]) == pytest.approx(total, rel=1e-4)


def test_a_gan_loss_is_refused_where_the_discriminator_names_classes(small):
    with pytest.raises(UserError, match="--gan-loss must be left out where the discriminator nam"):
        script.train(dataclasses.replace(small, recipe="vivid", gan_loss="hinge"))


def test_help_offers_two_recipes(capsys):
    with pytest.raises(SystemExit):
        parse(["train", "--help"])
    said = capsys.readouterr().out
    assert "--recipe {paper,vivid}" in said
    assert "crisp" not in said


def test_flags_beat_a_recipe(small):
    _, options = parse(["train", "synthetic", "--recipe", "crisp-labels"])
    assert {name: getattr(options, name) for name in CRISP} == CRISP
    _, options = parse(
        ["train", "synthetic", "--recipe", "crisp-labels", "--upsampling", "transposed"]
    )
    assert options.upsampling == "transposed"
    assert options.labels == CRISP["labels"]
    _, options = parse(["train", "synthetic"])
    assert options.upsampling == "transposed"


def test_a_run_remembers_what_its_recipe_was(small, capsys):
    crisp = dataclasses.replace(small, recipe="crisp-labels", generator_filters=5)
    folder = script.train(crisp).folder
    assert "Recipe    crisp-labels (paper and vivid: docs/QUALITY.md)" in capsys.readouterr().out
    saved = read_options(folder / "config.json")
    assert {name: getattr(saved, name) for name in CRISP} == CRISP
    where = ["--output", str(small.output), "--name", "synthetic"]
    _, options = parse(["train", *where])
    assert options.recipe == "crisp-labels"
    assert {name: getattr(options, name) for name in CRISP} == CRISP
    _, options = parse(["train", *where, "--recipe", "crisp-labels", "--steps", "6"])
    assert options.run_folder == folder
    script.train_as_told(options)
    _, options = parse(["train", *where, "--recipe", "paper", "--steps", "8"])
    assert options.upsampling == "transposed"
    with pytest.raises(UserError, match="begun with --recipe crisp-labels"):
        script.train_as_told(options)


def test_a_recipe_that_has_changed_leaves_its_older_runs_as_they_are(small):
    older = {name: value for name, value in CRISP.items() if name != "padding"}  # as it was once
    config = dataclasses.replace(small, name="older", recipe="crisp-labels", **older)
    script.train_as_told(config)
    where = ["--output", str(small.output), "--name", "older", "--recipe", "crisp-labels"]
    _, options = parse(["train", *where, "--steps", "6"])
    assert options.padding == "zeros"
    assert script.train_as_told(options).folder == config.output / "older"


def test_what_a_run_changed_of_its_recipe_stays_changed(small):
    where = ["--output", str(small.output), "--name", "odd", "--recipe", "crisp-labels"]
    _, options = parse(["train", "synthetic", *where, "--upsampling", "transposed"])
    assert options.upsampling == "transposed"
    odd = CRISP | {"name": "odd", "recipe": "crisp-labels", "upsampling": "transposed"}
    script.train_as_told(dataclasses.replace(small, **odd))
    _, options = parse(["train", *where])
    assert options.upsampling == "transposed"
    assert options.discriminator == "classes"


def test_another_recipe_takes_back_what_the_first_one_set():
    config = follow_recipe(Train(recipe="crisp-labels", steps=7), {"steps"})
    back = follow_recipe(dataclasses.replace(config, recipe="paper"), {"recipe"})
    assert back == Train(steps=7)


def test_runs_from_before_the_average_was_the_default_go_on_without(small):
    folder = script.train(small).folder
    content = (folder / "config.json").read_text()
    for line in ('  "average_weights": 0.0,\n', '  "recipe": "paper",\n'):
        assert line in content
        content = content.replace(line, "")
    (folder / "config.json").write_text(content)
    _, options = parse(["train", "--output", str(small.output), "--name", "synthetic", "--steps=6"])
    assert (options.average_weights, options.recipe) == (0.0, "paper")
    script.train_as_told(options)
    assert (folder / "ckpt-6.index").exists()
