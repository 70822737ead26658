"""Groups of pairs: how they are named, that none is divided, and what of it is told."""

import dataclasses
import json

import numpy as np
import pytest
from conftest import make_pair, make_run

import image_to_image_translation as script
from pix2pix import preparation
from pix2pix.commands.evaluate.command import evaluate
from pix2pix.commands.evaluate.metrics import means_over_groups
from pix2pix.commands.inspect_dataset import inspect_dataset
from pix2pix.options.commands import Evaluate
from pix2pix.options.train import Inspect
from pix2pix.pairs import groups
from pix2pix.pairs.groups import find_groups, suggest_groups
from pix2pix.talk.errors import UsageError, UserError

CASES = "case[0-9]+"


@pytest.fixture
def cases(tmp_path):
    """A folder of 24 pairs of eight cases, three of each."""
    for k in range(24):
        make_pair(tmp_path / f"cases/case{k % 8}_{k // 8}.png", seed=k)
    return tmp_path / "cases"


def groups_in(split) -> set[str]:
    return {pair.group for pair in split.pairs}


def test_a_group_is_what_the_brackets_match_or_the_folder():
    paths = ["case1_2.png", "old/case12_3.png", "old/slides/case1_b.png"]
    assert find_groups(paths, CASES) == ["case1", "case12", "case1"]
    assert find_groups(paths, "(case[0-9]+)_") == ["case1", "case12", "case1"]
    assert find_groups(paths[1:], "folder") == ["old", "old/slides"]
    with pytest.raises(UserError, match="--group folder: case1_2.png lies in no folder of its own"):
        find_groups(paths, "folder")
    with pytest.raises(UserError, match=r"^--group \(b\): case1_2.png does not match, and 1 more"):
        find_groups(paths, "(b)")
    assert find_groups(["\udcff1_a.png"], "(.+)_") == ["\udcff1"]  # a name from elsewhere


def test_a_pattern_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(groups, "SECONDS", 1)
    with pytest.raises(UserError, match="takes more than 1 seconds for 1 paths"):
        find_groups(["a" * 60 + ".png"], "((a|aa)+)$")


@pytest.mark.parametrize("group", ["(a)(b)", "(", "(a", "(a{1,99999999999})"])
def test_what_names_no_group_is_refused(small, cases, group):
    config = dataclasses.replace(small, dataset=str(cases), group=group)
    with pytest.raises(UsageError, match="--group must be folder, or a pattern"):
        preparation.check_options(config)


def test_made_up_pairs_have_no_groups(small):
    with pytest.raises(UsageError, match="--group must be left out with made-up pairs"):
        preparation.check_options(dataclasses.replace(small, group="folder"))


def test_whole_groups_are_held_out(small, cases, capsys):
    config = dataclasses.replace(small, dataset=str(cases), holdout=0.2)
    divided = script.find_splits(config)
    assert len({pair.title[:5] for pair in divided["val"].pairs}) > 2
    config = dataclasses.replace(config, group=CASES)
    splits = script.find_splits(config)
    assert [len(split) for split in splits.values()] == [21, 3]
    assert groups_in(splits["train"]) | groups_in(splits["val"]) == {f"case{k}" for k in range(8)}
    assert not groups_in(splits["train"]) & groups_in(splits["val"])
    assert "Held out  3 of 24" in capsys.readouterr().out
    seeds = [script.find_splits(dataclasses.replace(config, seed=seed)) for seed in range(4)]
    assert len({frozenset(groups_in(each["val"])) for each in seeds}) > 1
    most = script.find_splits(dataclasses.replace(config, holdout=0.99))
    assert len(groups_in(most["train"])) == 1


def test_a_large_group_is_not_held_out_while_small_ones_do(small, tmp_path):
    names = ["big"] * 14 + list("abcdef")
    for k, name in enumerate(names):
        make_pair(tmp_path / f"data/{name}_{k}.png", seed=k)
    config = dataclasses.replace(
        small, dataset=str(tmp_path / "data"), group="^[a-z]+", holdout=0.2
    )
    for seed in range(5):
        splits = script.find_splits(dataclasses.replace(config, seed=seed))
        assert len(splits["val"]) == 4
        assert "big" not in groups_in(splits["val"])


def test_one_group_alone_is_not_held_out_and_that_is_told(small, cases, capsys):
    config = dataclasses.replace(small, dataset=str(cases), group="case")
    assert len(script.find_splits(config)["val"]) == 0
    assert "Careful   nothing is held out, as all pairs are of one" in capsys.readouterr().out


def test_a_run_goes_on_only_with_the_same_groups(small, cases):
    config = dataclasses.replace(small, dataset=str(cases), group=CASES, steps=1, direction="AtoB")
    script.train(config)
    with pytest.raises(UserError, match="--holdout or --group differ"):
        script.train(dataclasses.replace(config, group="_([0-9])", steps=2))
    assert script.train(dataclasses.replace(config, steps=2)).folder == config.run_folder


def test_a_group_on_both_sides_is_told(small, tmp_path, capsys):
    for split, name in [("train", "a"), ("train", "b"), ("val", "b"), ("val", "c")]:
        make_pair(tmp_path / f"data/{split}/{name}_1.png", seed=ord(name))
    told = "Careful   1 of 2 groups of val are in train, too, such as b: what is measured on them"
    config = dataclasses.replace(small, dataset=str(tmp_path / "data"), group="(.)_", steps=1)
    config = dataclasses.replace(config, direction="AtoB")
    script.train(config)
    assert told in capsys.readouterr().out
    evaluate(Evaluate(config.run_folder, output=tmp_path / "results"))
    assert told in capsys.readouterr().out
    shared = {"dataset": config.dataset, "group": "(.)_", "output": tmp_path}
    inspect_dataset(Inspect(**shared))
    said = capsys.readouterr().out
    assert told in said
    assert "Groups    2 in train, 2 in val" in said


@pytest.mark.parametrize(
    ("paths", "suggested"),
    [
        ([f"{name}/{k}.png" for name in "abc" for k in range(4)], "folder"),
        ([f"case{k % 3}_{k}.png" for k in range(12)], groups.PREFIX),
        ([f"{k}.png" for k in range(12)], None),
        ([f"photo_{k}.png" for k in range(12)], None),  # all of one
        ([f"{k}_photo.png" for k in range(12)], None),  # each for itself
        ([*(f"case{k % 3}_{k}.png" for k in range(12)), "odd.png"], None),
    ],
)
def test_folders_and_names_suggest_groups(paths, suggested):
    found = suggest_groups(paths)
    assert (found and found[0]) == suggested
    if suggested:
        assert set(found[1].values()) == {4}
        assert len(set(find_groups(paths, suggested))) == 3


def test_inspect_proposes_groups(cases, tmp_path, capsys):
    inspect_dataset(Inspect(dataset=str(cases), output=tmp_path))
    said = capsys.readouterr().out
    assert "Groups    names suggest 8, such as case" in said
    assert '--group "([^/]+)[_-]"' in said


def test_means_over_groups_by_hand():
    metrics = {"psnr": 1.0, "ssim": 1.0, "ms_ssim": 1.0}
    pairs = [("a", 0.0), ("a", 0.2), ("a", 0.4), ("b", 0.8), ("c", 0.2)]
    found = means_over_groups([metrics | {"group": name, "l1": l1} for name, l1 in pairs])
    assert found["count"] == 3
    assert found["scores"]["l1"] == {"mean": pytest.approx((0.2 + 0.8 + 0.2) / 3)}
    many = [(str(k), k % 2) for k in range(100) for _ in range(3)]
    found = means_over_groups([metrics | {"group": name, "l1": l1} for name, l1 in many])
    l1 = found["scores"]["l1"]
    assert l1["mean"] == 0.5
    np.testing.assert_allclose([l1["from"], l1["to"]], [0.5 - 0.098, 0.5 + 0.098], atol=0.015)
    assert found["scores"]["ssim"] == {"mean": 1, "from": 1, "to": 1}


def test_evaluate_gives_figures_over_groups(small, cases, tmp_path, capsys):
    config = dataclasses.replace(small, dataset=str(cases), group=CASES, holdout=0.4)
    config = dataclasses.replace(config, direction="AtoB")
    run = make_run(tmp_path / "run", config)
    evaluate(Evaluate(run))
    assert "Groups    mean of 3, L1 ↓ " in capsys.readouterr().out
    summary = json.loads((run / "results/metrics.json").read_text())
    rows = summary["pairs"]
    by_case = [np.mean([r["l1"] for r in rows if r["group"] == name]) for name in
               sorted({row["group"] for row in rows})]  # fmt: skip
    assert summary["groups"]["count"] == 3
    assert summary["groups"]["scores"]["l1"]["mean"] == pytest.approx(np.mean(by_case))
    lines = (run / "results/metrics.csv").read_text().splitlines()
    assert lines[0].startswith("name,group,l1,")
    assert lines[1].startswith(f"{rows[0]['name']},{rows[0]['group']},")
    evaluate(Evaluate(run, dataset=str(cases), split="val"))  # other pairs, as far as it knows
    assert "groups" not in json.loads((run / "results/metrics.json").read_text())
    evaluate(Evaluate(run, group="_([0-9])"))  # of the same pairs
    again = json.loads((run / "results/metrics.json").read_text())
    assert [row["name"] for row in again["pairs"]] == [row["name"] for row in rows]
    assert {row["group"] for row in again["pairs"]} == set("012")
