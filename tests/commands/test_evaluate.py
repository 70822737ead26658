"""Evaluating: which pairs are measured, and the figures, the table and the page that come of it."""

import csv
import dataclasses
import os
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import make_pair, make_run
from helpers import evaluate, inception_stand_in, read_page
from PIL import Image
from server import make_archive, serving

import image_to_image_translation as script
from pix2pix import command_line
from pix2pix.commands.evaluate.command import choose_dataset
from pix2pix.commands.evaluate.metrics import AS_THEY_ARE, measure_all, open_feature_network
from pix2pix.commands.open_run import open_run
from pix2pix.networks import imagenet_features
from pix2pix.options.commands import Evaluate
from pix2pix.options.train import Train
from pix2pix.talk.errors import UsageError, UserError


def test_evaluate_writes_figures_a_table_and_a_page(small, tmp_path):
    run = make_run(tmp_path / "run", small)
    summary = evaluate(run, split="val")
    with open(run / "results/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(summary["pairs"]) == 100
    for metric in AS_THEY_ARE:
        mean = np.mean([float(row[metric]) for row in rows])
        assert summary["mean"][metric] == pytest.approx(mean)
    trained = open_run(run)
    pairs = script.find_splits(small)["val"]
    source, target = script.load_examples(pairs, (5,), trained.options, trained.found)
    generated = script.generate(trained.generator, source)
    alone = measure_all(target, generated, open_feature_network(trained))
    assert list(rows[5]) == ["name", *AS_THEY_ARE]
    assert rows[5]["name"] == pairs.names[5]
    for metric, value in alone.items():
        assert float(rows[5][metric]) == pytest.approx(float(value[0]), rel=1e-4)

    html, page = read_page(run / "results")
    assert not re.search(r"(src|href)=|https?://|@import", html)  # all it shows is in itself
    ranked = [row["ssim"] for row in page["rows"]]
    assert (len(ranked), ranked) == (100, sorted(ranked))
    picture = page["rows"][0]["pictures"][1]
    assert picture.startswith("data:image/webp;base64,")
    number = page["rows"][0]["number"]
    with tf.io.gfile.GFile(tmp_path / "x.webp", "wb") as file:
        file.write(tf.io.decode_base64(
            picture.split(",")[1].replace("+", "-").replace("/", "_").rstrip("=")
        ).numpy())  # fmt: skip
    shown = np.asarray(Image.open(tmp_path / "x.webp").convert("RGB")).astype(int)
    assert np.abs(shown - pairs.read(number)[1]).mean() < 12


def test_features_are_left_out_where_nothing_sees_them(small, tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", small)
    monkeypatch.setattr(imagenet_features, "PACKAGE", "no-such-package")
    mean = evaluate(run, split="val")["mean"]
    assert list(mean) == ["l1", "psnr", "ssim", "ms_ssim"]
    assert (run / "results/metrics.csv").read_text().startswith("name,l1,psnr,ssim,ms_ssim\n")
    assert list(read_page(run / "results")[1]["metrics"]) == list(mean)


def test_the_default_split_is_test_and_else_val(small, pair_folder, tmp_path, capsys):
    config = dataclasses.replace(small, dataset=str(pair_folder), direction="AtoB")
    run = make_run(tmp_path / "run", config)
    assert evaluate(run)["split"] == "test"
    for path in (pair_folder / "test").iterdir():
        path.unlink()
    assert evaluate(run)["split"] == "val"
    for path in (pair_folder / "val").iterdir():
        path.unlink()
    alone = dataclasses.replace(config, holdout=0.0)
    run = make_run(tmp_path / "another", alone)
    with pytest.raises(UserError, match="no test or val pairs; --split can be train"):
        evaluate(run)


def test_what_was_trained_on_is_no_test(small, tmp_path, capsys):
    config = dataclasses.replace(small, steps=1)
    for k in range(3):
        make_pair(tmp_path / f"data/train/{k}.png", seed=k)
    make_pair(tmp_path / "data/train" / os.fsdecode(b"\xff.png"), seed=3)  # a name from elsewhere
    for k in range(2, 6):
        make_pair(tmp_path / f"data/val/{k}.png", seed=k, size=40)
    config = dataclasses.replace(config, dataset=str(tmp_path / "data"))
    run = script.train(config).folder
    capsys.readouterr()
    summary = evaluate(run, split="train")
    warning = "4 of these 4 pairs were trained on: this is no test."
    assert summary["warnings"] == [warning]
    assert f"Careful   {warning}" in capsys.readouterr().out
    assert read_page(run / "results")[1]["warnings"] == [warning]
    assert evaluate(run)["warnings"] == ["1 of these 4 pairs were trained on: this is no test."]
    make_pair(tmp_path / "fresh/val/9.png", seed=9)
    make_pair(tmp_path / "fresh/train/8.png", seed=8)
    assert evaluate(run, dataset=str(tmp_path / "fresh"))["warnings"] == []


def test_checkpoints_can_be_evaluated_one_by_one_or_all(small, pair_folder, tmp_path):
    config = dataclasses.replace(small, dataset=str(pair_folder), keep_checkpoints=2)
    run = script.train(config).folder
    pixels = (run / "generator.keras").read_bytes()
    newest = evaluate(run)
    assert newest["step"] == 4
    summary = evaluate(run, checkpoint="all", output=tmp_path / "all")
    assert list(summary["steps"]) == ["2", "4"]
    assert summary["mean"] == pytest.approx(newest["mean"])
    assert summary["steps"]["2"] != summary["steps"]["4"]
    assert Image.open(tmp_path / "all/metrics.png").width > 600
    assert read_page(tmp_path / "all")[1]["plot"].startswith("data:image/png;base64,")
    early = evaluate(run, checkpoint="2", output=tmp_path / "early")
    assert early["mean"] == pytest.approx(summary["steps"]["2"])
    broken = pair_folder / "test/broken.png"
    broken.touch()  # before which the checkpoint is refused
    with pytest.raises(UsageError, match="--checkpoint must be all or one of 2, 4, not 3"):
        evaluate(run, checkpoint="3")
    broken.unlink()
    (run / "ckpt-2.index").write_bytes(b"damaged")
    with pytest.raises(UserError, match="ckpt-2: cannot be read"):
        evaluate(run, checkpoint="2")
    assert (run / "generator.keras").read_bytes() == pixels


def test_a_broken_pair_is_named_or_left_out(small, pair_folder, tmp_path):
    run = make_run(tmp_path / "run", dataclasses.replace(small, dataset=str(pair_folder)))
    (pair_folder / "val/0.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"val/0\.png: not a readable picture"):
        evaluate(run, split="val")
    summary = evaluate(run, split="val", skip_broken=True)
    assert [row["name"] for row in summary["pairs"]] == ["1.png"]


def test_the_user_alone_says_where_archives_come_from_and_go(small, tmp_path, capsys):
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    places = {"dataset": "facades", "data_dir": theirs, "mirror": "http://127.0.0.1:1/theirs"}
    run = make_run(tmp_path / "run", dataclasses.replace(small, **places))
    with serving(make_archive()) as (mirror, asked):
        summary = evaluate(run, data_dir=mine, mirror=mirror)
    assert (len(summary["pairs"]), len(asked)) == (3, 1)
    assert (mine / "facades/val/0.png").exists()
    assert not theirs.exists()
    assert choose_dataset(open_run(run), Evaluate(run)).mirror == Train.mirror
    assert f"trained with --data-dir {theirs}; not used here" in capsys.readouterr().out


def test_where_the_pairs_have_gone_is_asked_for(small, pair_folder, tmp_path):
    run = make_run(tmp_path / "run", dataclasses.replace(small, dataset=str(pair_folder)))
    moved = pair_folder.rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="--dataset must be"):
        evaluate(run)
    assert len(evaluate(run, dataset=str(moved), split="val")["pairs"]) == 2


def test_fid_is_shown_as_what_it_is(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(keras.applications, "InceptionV3", inception_stand_in)
    config = dataclasses.replace(small, source_channels=1, target_channels=1)
    run = make_run(tmp_path / "run", config)
    summary = evaluate(run, split="val", fid=True)
    (table,) = read_page(run / "results")[1]["tables"]
    assert table["rows"] == [[f"{summary['fid']:.1f}", f"{summary['kid']:.4f}"]]
    assert "not on the network of 2015 that papers use" in table["note"]
    assert f"FID ↓ {summary['fid']:.1f}" in capsys.readouterr().out


def test_fid_without_a_network_is_one_line_before_anything_is_computed(
    small, tmp_path, monkeypatch, capsys
):
    def unreachable(**_):
        raise Exception("URL fetch failure on https://example.org: None -- unreachable")

    monkeypatch.setattr(keras.applications, "InceptionV3", unreachable)
    run = make_run(tmp_path / "run", small)
    with pytest.raises(SystemExit) as exit:
        command_line.main(["evaluate", str(run), "--split", "val", "--fid"])
    said = capsys.readouterr()
    assert exit.value.code == 1
    assert said.err.count("\n") == 1
    assert "could not be fetched (URL fetch failure" in said.err
    assert "Step" not in said.out
    assert not (run / "results").exists()
