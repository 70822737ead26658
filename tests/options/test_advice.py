"""Hints before and while one trains."""

import dataclasses
import re
from collections import Counter

import pytest
from conftest import make_pair, make_picture

import image_to_image_translation as script
from pix2pix.commands.inspect_dataset.command import inspect_dataset
from pix2pix.options import advice
from pix2pix.options.recipes import follow_recipe
from pix2pix.options.train import Inspect, Train
from pix2pix.talk.errors import UserError


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch):
    monkeypatch.setattr(advice, "has_gpu", lambda: False)


def test_a_long_run_is_told_what_an_hour_is_enough_for(capsys):
    advice.hint_at_less(Train(), "facades", 0, 1.0)
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "This will take about 11h06. An hour would do for one of these:"
    assert [line.strip() for line in others] == [
        "train facades --name facades-short --steps 4000",
        "train facades --name facades-128 --steps 9000 --image-size 128",
        "train facades --name facades-thin --steps 6000 --generator-filters 32",
    ]
    assert max(map(len, [first, *others])) <= 80


def test_what_is_recommended_gets_no_such_hint(capsys):
    advice.hint_at_less(Train(), "facades", 0, 7.0)
    steps = [int(n) for n in re.findall(r"--steps (\d+)", capsys.readouterr().out)]
    shares = [1.0, advice.HALF_SIZE_TIME, advice.HALF_FILTERS_TIME]
    for count, share in zip(steps, shares, strict=True):
        advice.hint_at_less(Train(steps=count), "again", 0, share * 7.0)
    assert capsys.readouterr().out == ""


def test_a_short_run_and_a_gpu_get_no_hint(capsys, monkeypatch):
    advice.hint_at_less(Train(), "facades", 33_000, 1.0)
    monkeypatch.setattr(advice, "has_gpu", lambda: True)
    advice.hint_at_less(Train(), "facades", 0, 7.0)
    assert capsys.readouterr().out == ""


def test_networks_that_are_small_already_are_made_no_smaller(capsys):
    long = Train(steps=400_000)
    small = dataclasses.replace(long, image_size=64, generator_filters=16)
    advice.hint_at_less(small, "x", 0, 1.0)
    assert len(capsys.readouterr().out.splitlines()) == 2
    advice.hint_at_less(dataclasses.replace(long, image_size="128x256"), "x", 0, 1.0)
    assert "--image-size 64x128" in capsys.readouterr().out


def test_the_options_in_force_are_listed():
    assert advice.describe_changes(Train(dataset="maps", steps=7, name="x", log_every=3)) == ""
    changed = Train(flip=False, crop=True, l1_weight=10.0, source_dir="a", target_dir="b")
    assert advice.describe_changes(changed) == "--crop --no-flip --l1-weight 10.0"
    assert advice.describe_changes(Train(from_run="a", keep_old=0.2)) == "--from a --keep-old 0.2"


def test_what_contradicts_the_recipe_is_listed_and_what_follows_it_is_not():
    crisp = follow_recipe(Train(recipe="crisp"), {"recipe"})
    assert advice.describe_changes(crisp) == "--recipe crisp"
    other = follow_recipe(Train(recipe="crisp", upsampling="transposed"), {"recipe", "upsampling"})
    assert advice.describe_changes(other) == "--upsampling transposed --recipe crisp"


@pytest.mark.parametrize(
    ("sizes", "single"),
    [
        ({(256, 256): 9}, False),
        ({(256, 128): 9}, True),  # squares
        ({(300, 200): 9}, True),  # four to three
        ({(300, 225): 9}, False),
        ({(256, 128): 4, (256, 256): 5}, False),
        ({(256, 128): 5, (256, 256): 4}, True),
    ],
)
def test_pictures_look_single_by_their_halves(sizes, single):
    if not single:
        advice.refuse_single_pictures(Counter(sizes), "mine")
        return
    with pytest.raises(UserError, match="--layout pairs.*--task colorize.*--source-dir"):
        advice.refuse_single_pictures(Counter(sizes), "mine")


def test_single_pictures_are_not_silently_cut_into_halves(small, tmp_path, capsys):
    for k in range(3):
        make_picture(tmp_path / f"photos/train/{k}.png", 40, 40)
    config = dataclasses.replace(small, dataset=str(tmp_path / "photos"), steps=1, holdout=0)
    with pytest.raises(UserError, match="40 wide and 40 high, look like single ones"):
        script.train(config)
    with pytest.raises(UserError, match="look like single ones"):
        inspect_dataset(Inspect(**vars(config)))
    assert (tmp_path / "runs/photos-inspect.png").exists()
    folder = script.train(dataclasses.replace(config, layout="pairs")).folder
    assert (folder / "ckpt-1.index").exists()
    script.train(dataclasses.replace(config, steps=2, layout="auto"))  # begun before the question
    sketch = dataclasses.replace(
        config, task="sketch", name="sketch", source_channels=None, target_channels=None
    )
    assert (script.train(sketch).folder / "ckpt-1.index").exists()


def test_pairs_in_two_folders_may_have_any_shape(small, tmp_path):
    for side in "AB":
        for k in range(2):
            make_pair(tmp_path / f"two/{side}/{k}.png", 20, 60)
    config = dataclasses.replace(small, dataset=str(tmp_path / "two"), steps=1, holdout=0)
    assert (script.train(config).folder / "ckpt-1.index").exists()
