"""The judge of evaluate: the colours of classes, its scores, and whom it may judge."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import copying, make_run
from helpers import evaluate, read_page

from pix2pix.commands.evaluate.judge import open_judge, read_sound
from pix2pix.commands.open_run import open_run
from pix2pix.pairs.file_pairs import read_pair
from pix2pix.pairs.splits import Split
from pix2pix.pairs.synthetic import synthetic_splits
from pix2pix.talk.errors import UserError


def test_a_broken_label_map_does_not_stop_the_judge(small):
    facades = synthetic_splits(0, (32, 32))["train"].pairs[:3]
    broken = SimpleNamespace(read=lambda: read_pair((Path("gone.png"),), side_by_side=True))
    split = Split([broken, *facades], (1, 0), ())
    assert len(list(read_sound(split, range(4)))) == 3


def test_photos_are_no_label_maps(small, tmp_path):
    run = make_run(tmp_path / "run", dataclasses.replace(small, direction="AtoB"))
    judge = make_run(tmp_path / "judge", dataclasses.replace(small, direction="BtoA"))
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    photo = SimpleNamespace(read=lambda: [noise, noise])
    photos, trained = Split([photo], (0, 1), ()), open_run(run)
    with pytest.raises(UserError, match="--judge needs label maps"):
        open_judge(judge, trained, photos)


def test_a_judge_that_sees_everything_finds_what_is_there(small, tmp_path, capsys):
    run = make_run(tmp_path / "run", small, copying())  # its "photos" are the labels themselves
    judge = make_run(tmp_path / "judge", dataclasses.replace(small, direction="AtoB"), copying())
    summary = evaluate(run, split="val", judge=judge)
    assert set(summary["judge"]["generated"].values()) == {1.0}
    assert 0 < summary["judge"]["real"]["per_pixel_accuracy"] < 0.9
    said = capsys.readouterr().out
    assert "Judge     generated photos, per-pixel accuracy 1.000" in said
    (table,) = read_page(run / "results")[1]["tables"]
    assert table["rows"][0] == ["generated photos", "1.000", "1.000", "1.000"]


def test_a_judge_of_the_same_direction_or_another_size_is_refused(small, tmp_path):
    run = make_run(tmp_path / "run", small)
    with pytest.raises(UserError, match="in the other direction"):
        evaluate(run, judge=run)
    other = dataclasses.replace(small, direction="AtoB", image_size=64)
    with pytest.raises(UserError, match="same --image-size"):
        evaluate(run, judge=make_run(tmp_path / "large", other))
