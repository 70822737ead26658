"""Exporting: other formats, which compute the same, and their model card."""

import dataclasses
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import BY_HAND, make_picture, make_run, pixels_of, settled, small_task
from helpers import export, translated

import image_to_image_translation as script
from pix2pix import command_line
from pix2pix.commands.export.command import FORMATS, write_saved_model
from pix2pix.commands.open_run import open_run
from pix2pix.networks.devices import compute_in
from pix2pix.pictures.pixels import to_pixels
from pix2pix.talk.errors import UsageError, UserError


@pytest.fixture
def run(small, tmp_path):
    return make_run(tmp_path / "run", small)


def code_of(card, heading):
    """The Python under a heading of the model card; under "" that of its beginning."""
    section = card.split(f"\n## {heading}\n")[1] if heading else card
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


def follow(folder, heading, picture, monkeypatch):
    """Do what the model card says, in the export's folder; what comes of it."""
    monkeypatch.chdir(folder)
    picture.rename("picture.png")
    card, scope = (folder / "README.md").read_text(), {}
    for part in ("", heading, "Saving the result"):
        exec(code_of(card, part), scope)
    return scope["generated"], pixels_of(folder / "generated.png")


@pytest.mark.parametrize(
    ("form", "file", "packages"),
    [
        ("keras", "generator.keras", []),
        ("saved_model", "saved_model", []),
        ("onnx", "generator.onnx", ["onnxruntime", "tf2onnx"]),
        ("litert", "generator.tflite", ["ai_edge_litert"]),
        ("pytorch", "latest_net_G.pth", ["torch"]),
    ],
)
def test_the_model_card_gives_the_picture_of_translate(
    run, tmp_path, monkeypatch, capsys, form, file, packages
):
    for package in packages:
        pytest.importorskip(package)
    make_picture(tmp_path / "x.png", 32, 32)
    expected = translated(run, tmp_path / "x.png", tmp_path / "out")
    folder = export(run, form)
    assert folder == run / "export"
    assert {path.name for path in folder.iterdir()} == {file, "README.md"}
    assert re.search(rf"(?m)^{form} +{re.escape(file)}, 1?\d\.\d MB, ", capsys.readouterr().out)
    generated, saved = follow(folder, form, tmp_path / "x.png", monkeypatch)
    assert np.abs(to_pixels(generated[0]).astype(int) - expected).max() <= 1
    assert np.abs(saved.astype(int) - expected).max() <= 1
    card = (folder / "README.md").read_text()
    assert "<" not in card.replace("<batch>", "")  # everything is filled in
    if form == "saved_model":
        exec(code_of(card, "picture"), scope := {})
        png = tf.io.decode_png(scope["png"]).numpy()
        assert np.abs(png.astype(int) - expected).max() <= 1
    headings = re.findall(r"(?m)^## (.+)", card)
    assert headings == [form, *["picture"] * (form == "saved_model"), "Saving the result"]


def test_an_exported_generator_is_another_run(run, tmp_path):
    folder = export(run, "keras")
    make_picture(tmp_path / "x.png", 50, 40)
    expected = translated(run, tmp_path / "x.png", tmp_path / "1")
    ours = translated(folder / "generator.keras", tmp_path / "x.png", tmp_path / "2")
    np.testing.assert_array_equal(ours, expected)


def test_an_export_that_computes_something_else_fails_and_is_removed(run, monkeypatch, capsys):
    def write_another(generator, trained, path, options):
        another = script.build_generator(trained.options, trained.found)
        write_saved_model(another, trained, path, options)

    wrong = dataclasses.replace(FORMATS["saved_model"], write=write_another)
    monkeypatch.setitem(FORMATS, "saved_model", wrong)
    with pytest.raises(SystemExit) as exit:
        command_line.main(["export", str(run), "--formats", "keras", "saved_model"])
    assert exit.value.code == 1
    assert "saved_model: computes something else than the run" in capsys.readouterr().err
    assert [path.name for path in (run / "export").iterdir()] == ["generator.keras"]


def test_bfloat16_runs_are_exported_in_float32(small, tmp_path):
    with compute_in("bfloat16"):
        generator = script.build_generator(small, settled(small))
    run = make_run(tmp_path / "run", small, generator)
    del BY_HAND[run]
    folder = export(run, "keras")
    exported = open_run(folder / "generator.keras")
    assert {layer.compute_dtype for layer in exported.generator.layers} == {"float32"}
    for ours, theirs in zip(generator.weights, exported.generator.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("form", "file"), [("onnx", "generator"), ("litert", "generator")])
@pytest.mark.parametrize("small_as", ["half", "int8"])
def test_smaller_files_are_smaller_and_nearly_the_same(
    small, tmp_path, monkeypatch, capsys, form, file, small_as
):
    for package in {"onnx": ["onnxruntime", "tf2onnx"], "litert": ["ai_edge_litert"]}[form]:
        pytest.importorskip(package)
    run = make_run(tmp_path / "run", dataclasses.replace(small, generator_filters=16))
    folder = export(run, form, **{small_as: True})
    suffix = {"onnx": "onnx", "litert": "tflite"}[form]
    path = folder / f"{file}-{small_as}.{suffix}"
    weights = sum(w.numpy().nbytes for w in open_run(run).generator.weights)
    assert path.stat().st_size < {"half": 0.6, "int8": 0.85}[small_as] * weights
    decibel = int(re.search(r"PSNR (\d+) dB", capsys.readouterr().out)[1])
    assert 30 < decibel < 110
    make_picture(tmp_path / "x.png", 32, 32)
    expected = translated(run, tmp_path / "x.png", tmp_path / "out")
    _, saved = follow(folder, form, tmp_path / "x.png", monkeypatch)
    assert np.abs(saved.astype(int) - expected).mean() < 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"half": True, "int8": True}, "one of them at a time"),
        ({"half": True}, "for onnx and litert"),
    ],
)
def test_smaller_files_of_other_formats_are_refused(run, options, said):
    with pytest.raises(UsageError, match=said):
        export(run, "keras", **options)


@pytest.mark.parametrize("form", ["onnx", "litert", "pytorch"])
def test_a_missing_package_is_one_line(run, form, monkeypatch):
    command_line.parse([])  # tyro looks once whether there is torch
    for module in ("onnx", "ai_edge_litert", "ai_edge_litert.interpreter", "torch"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=f"{form} needs .*: pip install"):
        export(run, form)
    assert list((run / "export").iterdir()) == []


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_the_generator_opens_without_this_program_in_other_backends(small, tmp_path, backend):
    pytest.importorskip(backend)
    runs = {}
    tasks = ("colorize", "super-resolve", "inpaint") if backend == "torch" else ()  # JAX compiles
    for task in ("pairs", *tasks):
        config = small if task == "pairs" else small_task(small, task)
        runs[task] = open_run(make_run(tmp_path / task, config))
        np.save(tmp_path / f"{task}.npy", runs[task].example)
    (tmp_path / "alone.py").write_text(
        """import sys, keras, numpy
for task in sys.argv[1:]:
    generator = keras.saving.load_model(f"{task}/generator.keras")
    made = generator(numpy.load(f"{task}.npy"), training=False)
    numpy.save(f"{task}-made.npy", keras.ops.convert_to_numpy(made))
assert "tensorflow" not in sys.modules"""
    )
    environment = os.environ | {"KERAS_BACKEND": backend}
    command = [sys.executable, "alone.py", *runs]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for task, trained in runs.items():
        expected = script.generate(trained.generator, tf.constant(trained.example))
        np.testing.assert_allclose(np.load(tmp_path / f"{task}-made.npy"), expected, atol=1e-4)
