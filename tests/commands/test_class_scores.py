"""Scores of label maps, class by class."""

import dataclasses

import numpy as np
import pytest
from conftest import copying, make_run
from helpers import evaluate, read_page

from pix2pix.commands.evaluate.class_scores import class_scores, label_scores
from pix2pix.pairs.synthetic import CLASSES
from pix2pix.pictures.sides import LabelClass, Side

CONFUSION = np.array([[6, 2, 0], [1, 1, 0], [0, 0, 0]])  # the last class is nowhere


def test_label_scores_are_the_papers():
    scores = label_scores(CONFUSION)
    assert scores["per_pixel_accuracy"] == pytest.approx(7 / 10)
    assert scores["per_class_accuracy"] == pytest.approx((6 / 8 + 1 / 2) / 2)
    assert scores["class_iou"] == pytest.approx((6 / 9 + 1 / 4) / 2)


def test_each_class_has_scores_of_its_own():
    classes = tuple(LabelClass(k, (k, k, k), name) for k, name in enumerate("abc"))
    first, _, last = class_scores(CONFUSION, classes)
    expected = {"name": "a", "share": 0.8, "accuracy": 6 / 8, "iou": 6 / 9}
    assert first == {k: v if k == "name" else pytest.approx(v) for k, v in expected.items()}
    assert last == {"name": "c", "share": 0, "accuracy": 0, "iou": 0}


def test_generated_labels_are_scored_with_names(small, tmp_path, capsys):
    classes = [LabelClass(k, (r, g, b), n) for k, (n, ((r, g, b), _)) in enumerate(CLASSES.items())]
    config = dataclasses.replace(small, direction="AtoB", labels="target")
    target = Side(classes=tuple(classes))
    run = make_run(tmp_path / "run", config, copying(), target=target)
    labels = evaluate(run, split="val")["labels"]  # its "labels" are the photos themselves
    assert [row["name"] for row in labels["classes"]] == list(CLASSES)
    assert np.sum(labels["confusion"]) == 100 * 32 * 32
    assert 0 < labels["per_pixel_accuracy"] < 0.9
    assert "Labels    generated labels, per-pixel accuracy 0." in capsys.readouterr().out
    titles = [table["title"] for table in read_page(run / "results")[1]["tables"]]
    assert titles == ["Labels", "Classes", "Confusion"]
