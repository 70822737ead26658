"""Several pictures that make a source, measurements of any depth, label maps: from end to end."""

import dataclasses
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import copying, make_picture, make_run, pixels_of
from PIL import Image

import image_to_image_translation as script
from pix2pix import preparation
from pix2pix.commands.evaluate.command import evaluate
from pix2pix.commands.export.command import export
from pix2pix.commands.open_run import open_run
from pix2pix.commands.translate.command import translate
from pix2pix.options.commands import Evaluate, Export, Translate
from pix2pix.options.train import Train
from pix2pix.pairs.pair_folders import find_pairs
from pix2pix.pairs.synthetic import synthetic_splits
from pix2pix.pictures.label_maps import palette_of
from pix2pix.pictures.picture_files import read_picture
from pix2pix.pictures.pixels import shown_parts, to_pixels
from pix2pix.pictures.sides import LabelClass, Part, Side
from pix2pix.runs import checkpoint_files
from pix2pix.talk.errors import UserError

tifffile = pytest.importorskip("tifffile")
rng = np.random.default_rng(0)


SHOWN = ["Input: dapi", "Input: light", "Input: phase"]


def write_deep(path: Path, channels: int, kind: type, size: int = 40) -> np.ndarray:
    """Write a TIFF of measurements, from 0 to 4095."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = rng.uniform(0, 4095, (channels, size, size)).astype(kind)
    tifffile.imwrite(path, pixels if channels > 1 else pixels[0], photometric="minisblack")
    return np.moveaxis(pixels, 0, -1)


@pytest.fixture
def cells(tmp_path, small) -> Train:
    """Options for pairs of 5 channels from three folders, and a target of 32 bits."""
    for k in range(6):
        write_deep(tmp_path / f"dapi/{k}.tif", 1, np.uint16)
        make_picture(tmp_path / f"light/{k}.png", 40, 40, channels=1, seed=k)
        write_deep(tmp_path / f"phase/{k}.tif", 3, np.uint16)
        write_deep(tmp_path / f"cells/{k}.tif", 1, np.float32)
    folders = [tmp_path / name for name in ("dapi", "light", "phase")]
    return dataclasses.replace(
        small,
        dataset="facades",
        source_dir=tuple(folders),
        target_dir=tmp_path / "cells",
        source_channels=None,
        target_channels=None,
        name="cells",
    )


def test_five_channels_go_through_everything(cells, tmp_path):
    folder = script.train(cells).folder
    trained = open_run(folder)
    assert trained.found.source.parts == (Part("dapi", 1), Part("light", 1), Part("phase", 3))
    assert trained.found.source.ranges == ((0, 65535),)
    ((low, high),) = trained.found.target.ranges
    assert 0 <= low < 50
    assert 4000 < high <= 4095
    assert trained.generator.input_shape == (None, 32, 32, 5)

    folders = tuple(str(path) for path in cells.source_dir)
    results = translate(Translate(folder, folders, output=tmp_path / "results"))
    assert [path.suffix for path in results] == [".tif"] * 6
    result = read_picture(results[0])
    assert (result.dtype, result.shape) == (np.float32, (40, 40, 1))
    assert low <= result.min() < result.max() <= high

    assert 0 < evaluate(Evaluate(folder)).metrics["l1"] < 1
    text = (export(Export(folder, formats=("keras",))) / "README.md").read_text()
    assert "The channels of a source are dapi (1), light (1), phase (3)." in text
    assert 'np.load("picture.npy")  # [32, 32, 5]' in text
    assert 'np.save("generated.npy"' in text


def test_previews_show_each_source_by_itself(cells, monkeypatch):
    drawn, draw_panel = {}, script.draw_panel
    monkeypatch.setattr(
        script,
        "draw_panel",
        lambda path, columns: draw_panel(path, drawn.update(columns) or columns),
    )
    script.train(dataclasses.replace(cells, steps=2))
    assert list(drawn) == [*SHOWN, "Ground truth", "Prediction"]
    assert [images.shape[-1] for images in drawn.values()] == [1, 1, 3, 1, 1]


def test_no_picture_hides_another_of_its_name(cells, tmp_path):
    values = np.zeros((1, 4, 4, 2), np.float32)
    side = Side(measured=True, parts=(Part("a", 1), Part("b", 1)))
    columns = shown_parts("Ground truth", values, side) | shown_parts("Prediction", values, side)
    assert len(columns) == 4
    (tmp_path / "other").mkdir()
    (tmp_path / "dapi").rename(tmp_path / "other" / "light")
    folders = (tmp_path / "other" / "light", *cells.source_dir[1:])
    found = script.find_splits(dataclasses.replace(cells, source_dir=folders))
    names = [part.name for part in found["train"].describe()[0].parts]
    assert names == list(map(str, folders))


def test_both_halves_of_a_measured_pair_keep_all_channels(tmp_path):
    (tmp_path / "pairs").mkdir()
    numbers = np.ones((8, 16, 4), np.float32)
    np.save(tmp_path / "pairs/1.npy", numbers)
    found = find_pairs(tmp_path / "pairs", None, photos=False, holdout=0.0, seed=0, group=None)[
        "train"
    ]
    assert [half.shape for half in found.pairs[0].read()] == [(8, 8, 4)] * 2


def test_a_source_that_lacks_a_partner_is_named(cells, tmp_path):
    folder = script.train(dataclasses.replace(cells, steps=2)).folder
    (tmp_path / "light" / "3.png").unlink()
    folders = tuple(str(path) for path in cells.source_dir)
    with pytest.raises(UserError, match=r"dapi/3\.tif: no partner in .*light"):
        translate(Translate(folder, folders, output=tmp_path / "results"))
    one = Translate(folder, (str(tmp_path / "dapi"),), output=tmp_path / "results")
    with pytest.raises(UserError, match="could not be translated"):
        translate(one)


def test_sources_beside_each_other_in_one_folder(tmp_path):
    for name in ("A1", "A2", "B"):
        make_picture(tmp_path / "numbered" / name / "x.png", 4, 4)
    for name in ("input_dapi", "input_depth", "target"):
        make_picture(tmp_path / "named" / "train" / name / "x.png", 4, 4)
    for dataset, names in (("numbered", ["A1", "A2", "B"]), ("named", ["input_dapi"])):
        found = find_pairs(tmp_path / dataset, None, photos=False, holdout=0.0, seed=0, group=None)
        (pair,) = found["train"].pairs
        assert [file.parent.name for file in pair.files][: len(names)] == names
        assert [picture.shape for picture in pair.read()] == [(4, 4, 6), (4, 4, 3)]


def test_pairs_in_folders_of_folders_are_matched_by_their_place(tmp_path):
    for place in ("paris/1", "rome/1", "rome/2"):
        for side in ("A", "B"):
            make_picture(tmp_path / f"{side}/{place}.png", 4, 4)
    found = find_pairs(tmp_path, None, photos=False, holdout=0.0, seed=0, group=None)["train"]
    assert [pair.files[1].relative_to(tmp_path / "B") for pair in found.pairs] == [
        Path("paris/1.png"),
        Path("rome/1.png"),
        Path("rome/2.png"),
    ]


def test_a_partner_of_another_size_is_brought_to_that_of_the_target(tmp_path, small, capsys):
    make_picture(tmp_path / "A/1.png", 20, 30)
    make_picture(tmp_path / "B/1.png", 40, 60)
    options = dataclasses.replace(small, dataset=str(tmp_path), crop=True, holdout=0.0, steps=2)
    split = preparation.check_splits(script.find_splits(options), options)["train"]
    loaded = script.load_pair(split, 0, options, preparation.settle(options, split))
    assert [pixels.shape for pixels, _ in loaded] == [(40, 60, 3)] * 2
    script.train(options)
    assert "Brought 1 of 1 sources to the size of their targets" in capsys.readouterr().out


# --- label maps ---


@pytest.fixture
def facades(tmp_path) -> Path:
    """Label maps beside photos, as PNG."""
    for facade in synthetic_splits(0, (40, 40))["train"].pairs[:6]:
        photo, labels = facade.read()
        (tmp_path / "pairs").mkdir(exist_ok=True)
        both = np.concatenate([photo, labels], axis=1)
        Image.fromarray(both).save(tmp_path / "pairs" / f"{facade.number}.png")
    return tmp_path / "pairs"


def test_labels_of_a_source_are_jittered_without_new_colours(facades, small):
    options = dataclasses.replace(small, dataset=str(facades), labels="source", direction="BtoA")
    split = preparation.check_splits(script.find_splits(options), options)["train"]
    found = preparation.settle(options, split)
    classes = found.source.classes
    assert 5 <= len(classes) <= 9
    assert found.to_saved()["source"]["classes"][0] == str(classes[0])
    palette = {tuple(colour) for colour in palette_of(classes).tolist()}
    alone = tf.distribute.InputContext()
    source, target = next(iter(script.batches(split, options, found, 0, alone)))
    colours = to_pixels(source[0]).reshape(-1, 3)
    assert {tuple(colour) for colour in colours.tolist()} <= palette
    assert len(np.unique(to_pixels(target[0]).reshape(-1, 3), axis=0)) > 200
    networks = script.build_networks(options, found)
    first = next(layer for layer in networks["generator"].layers if layer.weights)
    assert first.kernel.shape[2] == len(classes)
    assert networks["discriminator"].input_shape[0] == (None, 32, 32, 3)


def test_a_run_on_labels_goes_on_and_refuses_to_become_another(facades, small):
    options = dataclasses.replace(small, dataset=str(facades), labels="source", direction="BtoA")
    script.train_as_told(dataclasses.replace(options, steps=2))
    folder = script.train_as_told(options).folder
    assert len(checkpoint_files.checkpoints(folder)) == 2
    assert open_run(folder).options.labels == "source"
    needs = {"onnx": ("onnxruntime", "tf2onnx"), "litert": ("ai_edge_litert",)}
    formats = [name for name, packages in needs.items() if all(map(find_spec, packages))]
    written = export(Export(folder, formats=("keras", "saved_model", *formats)))
    assert "A source is a label map in the colours facade (" in (written / "README.md").read_text()
    with pytest.raises(UserError, match="with labels source, not none"):
        script.train_as_told(dataclasses.replace(options, labels="none"))


RED_AND_BLUE = (LabelClass(0, (255, 0, 0), "red"), LabelClass(1, (0, 0, 255), "blue"))


@pytest.mark.parametrize(("labels", "count"), [("exact", 2), ("soft", 1000)])
def test_generated_labels_get_exact_colours(small, tmp_path, labels, count):
    config = dataclasses.replace(small, labels="target")
    run = make_run(tmp_path / "run", config, copying(), target=Side(classes=RED_AND_BLUE))
    make_picture(tmp_path / "noise.png", 32, 32)
    options = Translate(run, ("noise.png",), output=tmp_path / "results", labels=labels)
    translate(options)
    colours = np.unique(pixels_of(tmp_path / "results/noise.png").reshape(-1, 3), axis=0)
    assert len(colours) >= count if labels == "soft" else len(colours) == count
