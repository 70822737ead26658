"""The signature `picture` of a SavedModel, which is translate, and what the README does with it."""

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
from conftest import SCRIPT, make_picture, make_run, pixels_of, small_task
from helpers import export, translate, translated
from PIL import Image


@pytest.fixture
def run(small, tmp_path):
    return make_run(tmp_path / "run", small)


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
    readme = (SCRIPT.parent / "docs" / "EXPORT.md").read_text()
    commands = re.search(r"(?m)^printf '\{\"signature_name(.|\n)*?(?=\n```)", readme)[0]
    with http.server.HTTPServer(("127.0.0.1", 0), Serving) as server:
        server.signature = signature
        threading.Thread(target=server.serve_forever, daemon=True).start()
        commands = commands.replace("localhost:8501", f"127.0.0.1:{server.server_port}")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "no_proxy": "127.0.0.1"}
        subprocess.run(["bash", "-ec", commands], cwd=folder, env=environment, check=True)
        server.shutdown()


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
    translate(run, tmp_path / "in", output=tmp_path / "out")
    for path in (tmp_path / "in").iterdir():
        expected = pixels_of(tmp_path / "out" / path.name).astype(int)
        encoded = tf.constant([path.read_bytes()])
        served = tf.io.decode_png(serve(picture_bytes=encoded)["generated_bytes"][0]).numpy()
        difference = np.abs(served.astype(int) - expected.reshape(served.shape))
        assert served.shape == (*expected.shape[:2], 3)
        assert difference.mean() < 1, path
        assert difference.max() <= (4 if "32" in path.name else 12), path


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
