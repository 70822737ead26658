"""Section 13: metrics, the judge, the page of results."""

import csv
import dataclasses
import io
import json
import os
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import copying, make_pair, make_run
from PIL import Image

import image_to_image_translation as pix2pix


def evaluate(run, **options):
    folder = pix2pix.evaluate(pix2pix.Evaluate(run, **options))
    return json.loads((folder / "metrics.json").read_text())


def page_of(folder):
    html = (folder / "index.html").read_text()
    return html, json.loads(re.search(r"const results = (.*);\n", html)[1])


def test_l1_and_psnr_are_what_they_are_defined_as():
    target = np.zeros((2, 32, 32, 3), np.float32)
    generated = np.stack([target[0] + 0.2, target[1]])  # 0.1 when values are in [0, 1]
    values = pix2pix.measure(tf.constant(target), tf.constant(generated))
    np.testing.assert_allclose(values["l1"], [0.1, 0], atol=1e-6)
    np.testing.assert_allclose(values["psnr"], [20, 100], rtol=1e-5)
    np.testing.assert_allclose(values["ssim"][1], 1, rtol=1e-5)
    np.testing.assert_allclose(values["ms_ssim"][1], 1, rtol=1e-5)


def test_ssim_is_tensorflows_and_ms_ssim_has_all_scales_where_they_fit():
    a, b = np.random.default_rng(0).uniform(-1, 1, (2, 1, 192, 176, 3)).astype(np.float32)
    b = a + 0.3 * b
    values = pix2pix.measure(tf.constant(a), tf.constant(b))
    a, b = (a + 1) / 2, (b + 1) / 2
    np.testing.assert_allclose(values["ssim"], tf.image.ssim(a, b, 1.0), rtol=1e-5)
    expected = tf.image.ssim_multiscale(a, b, 1.0)
    np.testing.assert_allclose(values["ms_ssim"], expected, rtol=1e-4)
    a, b = a[:, :32, :40], b[:, :32, :40]
    expected = tf.image.ssim_multiscale(a, b, 1.0, (0.0448 / 0.3304, 0.2856 / 0.3304))
    small = pix2pix.measure(tf.constant(2 * a - 1), tf.constant(2 * b - 1))["ms_ssim"]
    np.testing.assert_allclose(small, expected, rtol=1e-4)


def test_fid_of_normal_distributions_has_a_closed_form():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(500, 4))
    base = (base - base.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(base.T))).T  # exactly
    a, b = base * [1, 2, 3, 4], base * [2, 2, 1, 0.5] + [1, 0, 0, 2]
    expected = (1 + 4) + (1 - 2) ** 2 + 0 + (3 - 1) ** 2 + (4 - 0.5) ** 2
    assert pix2pix.frechet_distance(a, b) == pytest.approx(expected)
    assert pix2pix.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))  # a rotation of both changes nothing
    assert pix2pix.frechet_distance(a @ turn, b @ turn) == pytest.approx(expected)


def test_kid_is_the_unbiased_estimate_of_its_definition():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)) + 0.5
    kernel = lambda x, y: (x @ y / 3 + 1) ** 3  # noqa: E731
    within = [np.mean([kernel(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j])
              for s in (a, b)]  # fmt: skip
    between = np.mean([kernel(x, y) for x in a for y in b])
    assert pix2pix.kernel_distance(a, b) == pytest.approx(sum(within) - 2 * between)


def test_evaluate_writes_figures_a_table_and_a_page(small, tmp_path):
    run = make_run(tmp_path / "run", small)
    summary = evaluate(run, split="val")
    with open(run / "results/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(summary["pairs"]) == 100
    for metric in pix2pix.METRICS:
        mean = np.mean([float(row[metric]) for row in rows])
        assert summary["mean"][metric] == pytest.approx(mean)
    trained = pix2pix.load_run(run)
    pairs = pix2pix.find_pairs(small)[0]["val"]
    source, target = pix2pix.examples(pairs, (5,), trained.config)
    alone = pix2pix.measure(target, pix2pix.generate(trained.generator, source))
    assert rows[5]["name"] == pairs.names[5]
    for metric, value in alone.items():
        assert float(rows[5][metric]) == pytest.approx(float(value[0]), rel=1e-4)

    html, page = page_of(run / "results")
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
    with pytest.raises(pix2pix.UserError, match="no test or val pairs; --split can be train"):
        evaluate(run)


def test_what_was_trained_on_is_no_test(small, tmp_path, capsys):
    config = dataclasses.replace(small, steps=1)
    for k in range(3):
        make_pair(tmp_path / f"data/train/{k}.png", seed=k)
    make_pair(tmp_path / "data/train" / os.fsdecode(b"\xff.png"), seed=3)  # a name from elsewhere
    for k in range(2, 6):
        make_pair(tmp_path / f"data/val/{k}.png", seed=k, size=40)
    config = dataclasses.replace(config, dataset=str(tmp_path / "data"))
    run = pix2pix.train(config)
    capsys.readouterr()
    summary = evaluate(run, split="train")
    warning = "4 of these 4 pairs were trained on: this is no test."
    assert summary["warnings"] == [warning]
    assert f"Careful   {warning}" in capsys.readouterr().out
    assert page_of(run / "results")[1]["warnings"] == [warning]
    assert evaluate(run)["warnings"] == ["1 of these 4 pairs were trained on: this is no test."]
    make_pair(tmp_path / "fresh/val/9.png", seed=9)
    make_pair(tmp_path / "fresh/train/8.png", seed=8)
    assert evaluate(run, dataset=str(tmp_path / "fresh"))["warnings"] == []


def test_checkpoints_can_be_evaluated_one_by_one_or_all(small, pair_folder, tmp_path):
    config = dataclasses.replace(small, dataset=str(pair_folder), keep_checkpoints=2)
    run = pix2pix.train(config)
    pixels = (run / "generator.keras").read_bytes()
    newest = evaluate(run)
    assert newest["step"] == 4
    summary = evaluate(run, checkpoint="all", output=tmp_path / "all")
    assert list(summary["steps"]) == ["2", "4"]
    assert summary["mean"] == pytest.approx(newest["mean"])
    assert summary["steps"]["2"] != summary["steps"]["4"]
    assert Image.open(tmp_path / "all/metrics.png").width > 600
    assert page_of(tmp_path / "all")[1]["plot"].startswith("data:image/png;base64,")
    early = evaluate(run, checkpoint="2", output=tmp_path / "early")
    assert early["mean"] == pytest.approx(summary["steps"]["2"])
    with pytest.raises(pix2pix.UsageError, match="--checkpoint must be all or one of 2, 4, not 3"):
        evaluate(run, checkpoint="3")
    (run / "ckpt-2.index").write_bytes(b"damaged")
    with pytest.raises(pix2pix.UserError, match="ckpt-2: cannot be read"):
        evaluate(run, checkpoint="2")
    assert (run / "generator.keras").read_bytes() == pixels


def test_a_broken_pair_is_named_or_left_out(small, pair_folder, tmp_path):
    run = make_run(tmp_path / "run", dataclasses.replace(small, dataset=str(pair_folder)))
    (pair_folder / "val/0.png").write_bytes(b"")
    with pytest.raises(pix2pix.UserError, match=r"val/0\.png: not a readable picture"):
        evaluate(run, split="val")
    summary = evaluate(run, split="val", skip_broken=True)
    assert [row["name"] for row in summary["pairs"]] == ["1.png"]


def test_where_the_pairs_have_gone_is_asked_for(small, pair_folder, tmp_path):
    run = make_run(tmp_path / "run", dataclasses.replace(small, dataset=str(pair_folder)))
    moved = pair_folder.rename(tmp_path / "moved")
    with pytest.raises(pix2pix.UsageError, match="--dataset must be"):
        evaluate(run)
    assert len(evaluate(run, dataset=str(moved), split="val")["pairs"]) == 2


def test_a_page_of_many_pairs_shows_the_worst_and_the_best(small, tmp_path, monkeypatch):
    trained = pix2pix.load_run(make_run(tmp_path / "run", small))
    splits, _ = pix2pix.find_pairs(small)
    rows = [{"number": k, "name": str(k), "ssim": (k * 7 % 230) / 230} for k in range(230)]
    shown = pix2pix.page_rows(rows, trained, splits["train"])
    ranks = [round(230 * row["ssim"]) for row in shown]
    assert ranks == [*range(100), *range(130, 230)]
    summary = {"pairs": rows, "size": (32, 32), "run": "r", "split": "val", "step": 1}
    page = pix2pix.page_of(summary | {"warnings": [], "mean": {}}, shown, "")
    assert page["left_out"] == "Only the 200 worst and best of 230 by SSIM are here."


def test_the_palette_is_found_in_label_maps_though_jpeg_blurs_them(small):
    splits = pix2pix.synthetic_pairs(0, (256, 256))
    blurred = []
    for k in range(12):
        encoded = io.BytesIO()
        Image.fromarray(splits["train"].read(k)[1]).save(encoded, "jpeg", quality=75)
        blurred.append(np.asarray(Image.open(encoded)))
    palette = pix2pix.find_palette(blurred)
    true = np.array([label for label, _ in pix2pix.CMP.values()])
    distances = np.abs(true[:, None] - palette).max(-1)
    assert len(palette) <= len(true)
    assert distances.min(axis=0).max() <= 8  # nothing that is no class
    large = [list(pix2pix.CMP).index(name) for name in ("background", "facade", "window", "door")]
    assert distances.min(axis=1)[large].max() <= 8


def test_photos_are_no_label_maps(small, tmp_path):
    run = make_run(tmp_path / "run", dataclasses.replace(small, direction="AtoB"))
    judge = make_run(tmp_path / "judge", dataclasses.replace(small, direction="BtoA"))
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    photos, trained = pix2pix.Pairs(("x",), lambda k: [noise, noise]), pix2pix.load_run(run)
    with pytest.raises(pix2pix.UserError, match="--judge needs label maps"):
        pix2pix.open_judge(judge, trained, photos)


def test_label_scores_are_the_papers():
    confusion = np.array([[6, 2, 0], [1, 1, 0], [0, 0, 0]])  # the last class is nowhere
    scores = pix2pix.label_scores(confusion)
    assert scores["per_pixel_accuracy"] == pytest.approx(7 / 10)
    assert scores["per_class_accuracy"] == pytest.approx((6 / 8 + 1 / 2) / 2)
    assert scores["class_iou"] == pytest.approx((6 / 9 + 1 / 4) / 2)


def test_a_judge_that_sees_everything_finds_what_is_there(small, tmp_path, capsys):
    run = make_run(tmp_path / "run", small, copying())  # its "photos" are the labels themselves
    judge = make_run(tmp_path / "judge", dataclasses.replace(small, direction="AtoB"), copying())
    summary = evaluate(run, split="val", judge=judge)
    assert set(summary["judge"]["generated"].values()) == {1.0}
    assert 0 < summary["judge"]["real"]["per_pixel_accuracy"] < 0.9
    said = capsys.readouterr().out
    assert "Judge     generated photos, per-pixel accuracy 1.000" in said
    (table,) = page_of(run / "results")[1]["tables"]
    assert table["rows"][0] == ["generated photos", "1.000", "1.000", "1.000"]


def test_a_judge_of_the_same_direction_or_another_size_is_refused(small, tmp_path):
    run = make_run(tmp_path / "run", small)
    with pytest.raises(pix2pix.UserError, match="in the other direction"):
        evaluate(run, judge=run)
    other = dataclasses.replace(small, direction="AtoB", image_size=64)
    with pytest.raises(pix2pix.UserError, match="same --image-size"):
        evaluate(run, judge=make_run(tmp_path / "large", other))


def stand_in(**options):
    """As quick as InceptionV3 is not: the mean of each colour."""
    assert options == {"include_top": False, "pooling": "avg"}
    picture = keras.Input((299, 299, 3))
    return keras.Model(picture, keras.layers.GlobalAveragePooling2D()(picture))


def test_fid_and_kid_compare_generated_with_real_pictures(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(keras.applications, "InceptionV3", stand_in)
    monkeypatch.setattr(
        pix2pix,
        "translations",
        lambda *_: [(0, 0, *batch) for batch in zip(real, made, strict=True)],
    )
    real, made = np.random.default_rng(0).uniform(-1, 1, (2, 3, 8, 32, 32, 3)).astype(np.float32)
    trained = pix2pix.load_run(make_run(tmp_path / "run", small))
    scores = pix2pix.feature_scores(pix2pix.inception(), trained, None, ())
    means = [each.reshape(24, -1, 3).mean(axis=1) for each in (real, made)]
    assert scores["fid"] == pytest.approx(pix2pix.frechet_distance(*means), rel=0.01)
    assert scores["kid"] == pytest.approx(pix2pix.kernel_distance(*means), rel=0.01)


def test_fid_is_shown_as_what_it_is(small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(keras.applications, "InceptionV3", stand_in)
    config = dataclasses.replace(small, source_channels=1, target_channels=1)
    run = make_run(tmp_path / "run", config)
    summary = evaluate(run, split="val", fid=True)
    (table,) = page_of(run / "results")[1]["tables"]
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
        pix2pix.main(["evaluate", str(run), "--split", "val", "--fid"])
    said = capsys.readouterr()
    assert exit.value.code == 1
    assert said.err.count("\n") == 1
    assert "could not be fetched (URL fetch failure" in said.err
    assert "Step" not in said.out
    assert not (run / "results").exists()
