"""Section 14: other formats out, other people's weights in."""

import base64
import dataclasses
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import make_picture, make_run, pixels_of, small_task
from PIL import Image

import image_to_image_translation as pix2pix


@pytest.fixture
def run(small, tmp_path):
    return make_run(tmp_path / "run", small)


def export(run, *formats, **options):
    return pix2pix.export(pix2pix.Export(run, formats, **options))


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


def translated(run, picture, folder):
    pix2pix.translate(pix2pix.Translate(run, (str(picture),), output=folder))
    return pixels_of(folder / f"{picture.stem}.png")


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
    assert np.abs(pix2pix.to_pixels(generated[0]).astype(int) - expected).max() <= 1
    assert np.abs(saved.astype(int) - expected).max() <= 1
    card = (folder / "README.md").read_text()
    assert "<" not in card.replace("<batch>", "")  # everything is filled in
    if form == "saved_model":
        exec(code_of(card, "picture"), scope := {})
        png = tf.io.decode_png(scope["png"]).numpy()
        assert np.abs(png.astype(int) - expected).max() <= 1
    headings = re.findall(r"(?m)^## (.+)", card)
    assert headings == [form, *["picture"] * (form == "saved_model"), "Saving the result"]


@pytest.mark.parametrize(
    ("task", "channels"),
    [("pairs", 3), ("pairs", 1), ("pairs", 4), ("colorize", 1), ("inpaint", 4)],
)
def test_the_picture_signature_is_translate(small, tmp_path, task, channels):
    config = dataclasses.replace(small, source_channels=channels)
    config = config if task == "pairs" else small_task(small, task)
    run = make_run(tmp_path / "run", config)
    folder = export(run, "saved_model", output=tmp_path / "export")
    assert "## picture" in (folder / "README.md").read_text()
    serve = tf.saved_model.load(folder / "saved_model").signatures["picture"]
    smooth = np.indices((64, 50))[..., None].sum(axis=0).astype(np.uint8) * 2
    kinds = {"grey": smooth, "colour": np.concatenate([smooth, smooth // 2, 255 - smooth], -1)}
    kinds["holes"] = np.concatenate([kinds["colour"], np.full_like(smooth, 255)], -1)
    kinds["holes"][20:40, 10:30, 3] = 0
    kinds = {name: kinds[name] for name in (["holes"] if task == "inpaint" else kinds)}
    (tmp_path / "in").mkdir()
    for name, pixels in kinds.items():
        for height, width in ((32, 32), (64, 50)):
            image = Image.fromarray(pixels[:height, :width].squeeze())
            image.save(tmp_path / f"in/{name}{height}.png")
    pix2pix.translate(pix2pix.Translate(run, (str(tmp_path / "in"),), output=tmp_path / "out"))
    for path in (tmp_path / "in").iterdir():
        expected = pixels_of(tmp_path / "out" / path.name).astype(int)
        encoded = tf.constant([path.read_bytes()])
        served = tf.io.decode_png(serve(picture_bytes=encoded)["generated_bytes"][0]).numpy()
        difference = np.abs(served.astype(int) - expected.reshape(served.shape))
        assert served.shape == (*expected.shape[:2], 3)
        assert difference.mean() < 1, path
        assert difference.max() <= (4 if "32" in path.name else 12), path


class Serving(http.server.BaseHTTPRequestHandler):
    """What TensorFlow Serving's documentation says of its REST interface, for one signature."""

    def do_POST(self):
        assert self.path == "/v1/models/facades:predict"
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert request["signature_name"] == "picture"
        encoded = [base64.b64decode(each["b64"]) for each in request["instances"]]
        pictures = self.server.signature(picture_bytes=tf.constant(encoded))["generated_bytes"]
        answers = [{"b64": base64.b64encode(each.numpy()).decode()} for each in pictures]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"predictions": answers}).encode())

    def log_message(self, *_):
        pass


def ask_as_the_readme_does(signature, folder):
    """Type its commands in a folder with labels.png; the answer is photo.png there."""
    readme = (Path(pix2pix.__file__).parent / "README.md").read_text()
    commands = re.search(r"(?m)^printf '\{\"signature_name(.|\n)*?(?=\n```)", readme)[0]
    with http.server.HTTPServer(("127.0.0.1", 0), Serving) as server:
        server.signature = signature
        threading.Thread(target=server.serve_forever, daemon=True).start()
        commands = commands.replace("localhost:8501", f"127.0.0.1:{server.server_port}")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "no_proxy": "127.0.0.1"}
        subprocess.run(["bash", "-ec", commands], cwd=folder, env=environment, check=True)
        server.shutdown()


def test_the_picture_signature_takes_jpeg_and_batches(run, tmp_path):
    folder = export(run, "saved_model")
    serve = tf.saved_model.load(folder / "saved_model").signatures["picture"]
    for name in ("a.jpg", "b.png"):
        make_picture(tmp_path / name, 32, 32)
    encoded = tf.constant([(tmp_path / name).read_bytes() for name in ("a.jpg", "b.png")])
    for k, png in enumerate(serve(picture_bytes=encoded)["generated_bytes"]):
        path = tmp_path / ("a.jpg", "b.png")[k]
        expected = translated(run, path, tmp_path / f"out{k}").astype(int)
        assert np.abs(tf.io.decode_png(png).numpy() - expected).max() <= 1
    if shutil.which("curl"):
        (tmp_path / "labels.png").write_bytes((tmp_path / "b.png").read_bytes())
        ask_as_the_readme_does(serve, tmp_path)
        assert np.abs(pixels_of(tmp_path / "photo.png") - expected).max() <= 1


def test_where_translate_uses_windows_there_is_no_picture_signature(small, tmp_path):
    run = make_run(tmp_path / "run", dataclasses.replace(small, crop=True))
    folder = export(run, "saved_model")
    assert "## picture" not in (folder / "README.md").read_text()
    loaded = tf.saved_model.load(folder / "saved_model")
    assert list(loaded.signatures) == ["serving_default"]


def test_an_exported_generator_is_another_run(run, tmp_path):
    folder = export(run, "keras")
    make_picture(tmp_path / "x.png", 50, 40)
    expected = translated(run, tmp_path / "x.png", tmp_path / "1")
    ours = translated(folder / "generator.keras", tmp_path / "x.png", tmp_path / "2")
    np.testing.assert_array_equal(ours, expected)


def test_an_export_that_computes_something_else_fails_and_is_removed(run, monkeypatch, capsys):
    wrong = dataclasses.replace(
        pix2pix.FORMATS["saved_model"],
        write=lambda generator, trained, path, options: pix2pix.write_saved_model(
            pix2pix.build_generator(trained.config), trained, path, options
        ),
    )
    monkeypatch.setitem(pix2pix.FORMATS, "saved_model", wrong)
    with pytest.raises(SystemExit) as exit:
        pix2pix.main(["export", str(run), "--formats", "keras", "saved_model"])
    assert exit.value.code == 1
    assert "saved_model: computes something else than the run" in capsys.readouterr().err
    assert [path.name for path in (run / "export").iterdir()] == ["generator.keras"]


def test_bfloat16_runs_are_exported_in_float32(small, tmp_path):
    with pix2pix.dtype_policy("mixed_bfloat16"):
        generator = pix2pix.build_generator(small)
    run = make_run(tmp_path / "run", small, generator)
    folder = export(run, "keras")
    exported = pix2pix.load_run(folder / "generator.keras")
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
    weights = sum(w.numpy().nbytes for w in pix2pix.load_run(run).generator.weights)
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
    with pytest.raises(pix2pix.UsageError, match=said):
        export(run, "keras", **options)


@pytest.mark.parametrize("form", ["onnx", "litert", "pytorch"])
def test_a_missing_package_is_one_line(run, form, monkeypatch):
    pix2pix.parse([])  # tyro looks once whether there is torch
    for module in ("onnx", "ai_edge_litert", "ai_edge_litert.interpreter", "torch"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(pix2pix.UserError, match=f"{form} needs .*: pip install"):
        export(run, form)
    assert list((run / "export").iterdir()) == []


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_the_generator_opens_without_this_program_in_other_backends(small, tmp_path, backend):
    pytest.importorskip(backend)
    runs = {}
    tasks = ("colorize", "super-resolve", "inpaint") if backend == "torch" else ()  # JAX compiles
    for task in ("pairs", *tasks):
        config = small if task == "pairs" else small_task(small, task)
        runs[task] = pix2pix.load_run(make_run(tmp_path / task, config))
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
        expected = pix2pix.generate(trained.generator, tf.constant(trained.example))
        np.testing.assert_allclose(np.load(tmp_path / f"{task}-made.npy"), expected, atol=1e-4)


# What follows rebuilds the published network: blocks within blocks, each of which adds what it made
# to what it was given, in the order of layers from which the names of the weights come.


def their_network(torch, depth, filters, norm, dropout):
    nn = torch.nn
    bias = norm == "instance"
    new_norm = nn.BatchNorm2d if norm == "batch" else nn.InstanceNorm2d

    class Block(nn.Module):
        def __init__(self, outer, inner, channels, inside=None, outermost=False):
            super().__init__()
            self.outermost = outermost
            down = nn.Conv2d(channels, inner, 4, 2, 1, bias=bias)
            wide = inner if inside is None else 2 * inner
            up = nn.ConvTranspose2d(wide, outer, 4, 2, 1, bias=bias or outermost)
            layers = [nn.LeakyReLU(0.2, True), down, new_norm(inner)]
            layers += [inside, nn.ReLU(True), up, new_norm(outer)]
            if outermost:
                layers = [down, inside, nn.ReLU(True), up, nn.Tanh()]
            elif inside is None:
                layers = [nn.LeakyReLU(0.2, True), down, nn.ReLU(True), up, new_norm(outer)]
            elif dropout and inner == outer:
                layers.append(nn.Dropout(0.5))
            self.model = nn.Sequential(*layers)

        def forward(self, x):
            made = self.model(x)
            return made if self.outermost else torch.cat([x, made], 1)

    counts = [filters * min(2**level, 8) for level in range(depth)]
    block = None
    for level in reversed(range(1, depth)):
        block = Block(counts[level - 1], counts[level], counts[level - 1], block)
    network = nn.Module()
    network.model = Block(3, counts[0], 3, block, outermost=True)
    return network


def theirs(torch, tmp_path, depth, norm, dropout=False):
    """Such a network with random weights, saved; and one to load weights into."""
    torch.manual_seed(0)
    network = their_network(torch, depth, 2, norm, dropout)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            positive = "var" in name or (value.ndim == 1 and name.endswith("weight"))
            new = torch.rand_like(value) + 0.5 if positive else 0.1 * torch.randn_like(value)
            value.copy_(new)
    torch.save(network.state_dict(), tmp_path / "latest_net_G.pth")
    return network


def run_theirs(torch, network, source, training):
    network.train(training)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.eval()
    with torch.no_grad():
        return network.model(torch.tensor(source).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()


def load(tmp_path, **options):
    options = {"name": "theirs", "output": tmp_path / "runs", **options}
    path = tmp_path / "latest_net_G.pth"
    return pix2pix.import_weights(pix2pix.ImportWeights(path, **options))


@pytest.mark.parametrize(
    ("depth", "norm", "statistics", "dropout"),
    [
        (8, "batch", "picture", True),
        (7, "batch", "running", False),
        (7, "instance", "picture", True),
        (8, "instance", "running", False),
    ],
)
def test_weights_of_the_authors_code_compute_the_same_here_and_back(
    tmp_path, monkeypatch, depth, norm, statistics, dropout
):
    torch = pytest.importorskip("torch")
    network = theirs(torch, tmp_path, depth, norm, dropout)
    run = load(tmp_path, statistics=statistics)
    trained = pix2pix.load_run(run)
    assert trained.generator.input_shape == (None, 2**depth, 2**depth, 3)
    source = np.random.default_rng(0).uniform(-1, 1, (1, 2**depth, 2**depth, 3)).astype("f4")
    expected = run_theirs(torch, network, source, training=statistics == "picture")
    ours = pix2pix.generate(trained.generator, tf.constant(source))
    assert expected.std() > 0.1
    np.testing.assert_allclose(ours, expected, atol=1e-4)

    folder = export(run, "pytorch")
    again = their_network(torch, depth, 2, norm, dropout)
    again.load_state_dict(torch.load(folder / "latest_net_G.pth", weights_only=True))
    back = run_theirs(torch, again, source, training=statistics == "picture")
    np.testing.assert_allclose(back, expected, atol=1e-6)
    card = (folder / "README.md").read_text()
    running = norm == "batch" and statistics == "running"
    assert f"`unet_{2**depth} --norm {norm}{' --eval' * running}`" in card


def test_a_run_of_ours_computes_the_same_in_the_authors_code(small, tmp_path):
    torch = pytest.importorskip("torch")
    run = make_run(tmp_path / "run", dataclasses.replace(small, generator_filters=2))
    trained, folder = pix2pix.load_run(run), export(run, "pytorch")
    network = their_network(torch, 5, 2, "batch", True)
    network.load_state_dict(torch.load(folder / "latest_net_G.pth", weights_only=True))
    expected = pix2pix.generate(trained.generator, tf.constant(trained.example))
    made = run_theirs(torch, network, trained.example, training=True)
    np.testing.assert_allclose(made, expected, atol=1e-4)


def test_an_imported_run_is_translated_evaluated_and_trained_further(tmp_path, small, capsys):
    torch = pytest.importorskip("torch")
    theirs(torch, tmp_path, 5, "instance")
    run = load(tmp_path, dataset="synthetic")
    assert "a U-Net of 5 levels, 2 filters, plain-instance" in capsys.readouterr().out
    make_picture(tmp_path / "x.png", 40, 30)
    assert translated(run, tmp_path / "x.png", tmp_path / "out").shape == (40, 30, 3)
    pix2pix.evaluate(pix2pix.Evaluate(run, split="val"))
    assert json.loads((run / "results/metrics.json").read_text())["step"] == 0
    before = pix2pix.load_run(run).generator.get_weights()
    flags = ["--name", "theirs", "--output", str(tmp_path / "runs"), "--steps", "1"]
    pix2pix.main(["train", *flags])
    after = pix2pix.load_run(run)
    assert after.found["step"] == 1
    changes = [
        np.abs(a - b).max() for a, b in zip(before, after.generator.get_weights(), strict=True)
    ]
    assert 0 < max(changes) < 1e-3  # one step on from their weights, not from new ones


def test_without_a_dataset_an_imported_run_asks_for_one(tmp_path):
    torch = pytest.importorskip("torch")
    theirs(torch, tmp_path, 5, "batch")
    run = load(tmp_path)
    with pytest.raises(pix2pix.UsageError, match="--dataset must be"):
        pix2pix.evaluate(pix2pix.Evaluate(run))
    with pytest.raises(pix2pix.UserError, match="there is a run already. Choose another --name"):
        load(tmp_path)


def test_a_file_that_is_no_such_network_is_one_line(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "latest_net_G.pth"
    with pytest.raises(pix2pix.UserError, match="No such file"):
        load(tmp_path)
    path.write_bytes(b"nonsense")
    with pytest.raises(pix2pix.UserError, match="not a file of PyTorch weights"):
        load(tmp_path)
    torch.save({"model.1.weight": torch.zeros(64, 3, 7, 7)}, path)  # as in a resnet_9blocks
    with pytest.raises(pix2pix.UserError, match="not a unet_256 or unet_128"):
        load(tmp_path)
    weights = theirs(torch, tmp_path, 5, "batch").state_dict()
    weights["model.model.1.model.1.weight"] = torch.zeros(5, 5, 4, 4)
    torch.save(weights, path)
    with pytest.raises(pix2pix.UserError, match="not a unet_256 or unet_128"):
        load(tmp_path)
    torch.save({"x": os.system}, path)  # what could run a program is not read
    with pytest.raises(pix2pix.UserError, match="not a file of PyTorch weights"):
        load(tmp_path)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "options",
    [{"upsampling": "resize"}, {"normalization": "none"}, {"task": "colorize"}, {"depth": 4}],
)
def test_what_the_authors_code_has_no_network_for_is_refused(small, tmp_path, options):
    pytest.importorskip("torch")
    config = dataclasses.replace(small_task(small, options.get("task", "pairs")), **options)
    run = make_run(tmp_path / "run", config)
    with pytest.raises(pix2pix.UserError, match="the authors' code has no such network"):
        export(run, "pytorch")
    assert list((run / "export").iterdir()) == []
