"""The page for any web host: weights of 16 bits, a runtime, and what a browser makes of it."""

import dataclasses
import json
import re
import shutil
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import make_run, small_task
from helpers import export

import image_to_image_translation as script
from pix2pix.commands.export import page as page_export
from pix2pix.commands.export.page import (
    CDN,
    RUNTIMES,
    CheckServer,
    add_runtimes,
    check_in_browser,
    complete_page,
    fetch_package,
    shrink_weights,
)
from pix2pix.commands.open_run import open_run
from pix2pix.options.commands import Export
from pix2pix.talk.errors import UserError

CHROMIUM = page_export.find_browser()

# In place of ONNX Runtime Web: it gives back the colours of the source, as `showing` does.
SHOWING_RUNTIME = """
export const env = { wasm: {} };
export class Tensor { constructor(type, data, dims) { Object.assign(this, { type, data, dims }); } }
const count = COUNT;  // channels of the result; the fourth shows the first
const show = ({ data, dims: [, height, width, channels] }) => Float32Array.from(
  { length: count * height * width },
  (_, k) => data[Math.floor(k / count) * channels + (channels === 1 ? 0 : k % count % 3)]);
const run = async ({ source }) => ({ generated: { getData: async () => show(source) } });
export const InferenceSession = { create: async () => ({ run }) };
"""


def showing(channels: int, count: int = 3) -> keras.Model:
    """A generator that gives back the colours of its source, as the runtime does."""
    source = keras.Input((32, 32, channels), name="source")
    layer = keras.layers.Conv2D(count, 1, use_bias=False, name="generated")
    model = keras.Model(source, layer(source))
    weights = np.eye(channels, 3)[:, [0, 1, 2, 0]] if channels > 1 else np.ones((1, 4))
    layer.set_weights([weights[None, None, :, :count]])
    return model


@pytest.fixture
def runtime(tmp_path) -> Path:
    """A folder that has files of the names of ONNX Runtime Web."""
    folder = tmp_path / "runtime" / "dist"
    folder.mkdir(parents=True)
    for files in RUNTIMES.values():
        (folder / files["script"].name).write_text(SHOWING_RUNTIME.replace("COUNT", "3"))
        (folder / files["wasm"].name).write_bytes(b"\0asm")
    return folder.parent


def content_of(page: Path) -> dict:
    """What a page is told."""
    return json.loads(re.search(r"const run = (.*);", (page / "index.html").read_text())[1])


def test_weights_of_16_bits_are_half_as_large_and_exact(small, tmp_path, monkeypatch):
    pytest.importorskip("tf2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    run = make_run(tmp_path / "run", small)
    path = export(run, "onnx") / "generator.onnx"
    before = path.stat().st_size
    source = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    expected = script.generate(open_run(run).generator, source).numpy()
    monkeypatch.setattr(page_export, "MOST_OF_A_FILE", before // 8)
    shrink_weights(path)
    sizes = [path.stat().st_size, *(part.stat().st_size for part in path.parent.glob("*.bin"))]
    assert sum(sizes) < 0.6 * before
    assert len(sizes) > 4
    assert max(sizes[1:]) <= before // 8
    session = onnxruntime.InferenceSession(path)
    (generated,) = session.run(["generated"], {"source": source})
    difference = np.abs(generated - expected).max()
    assert 0 < difference < 1e-3


def test_a_runtime_in_a_folder_is_copied_and_named_by_its_content(tmp_path, runtime):
    (tmp_path / "page").mkdir()
    found = add_runtimes(tmp_path / "page", runtime)
    wasm = found["wasm"]["wasm"]
    assert wasm["bytes"] == 4
    assert re.fullmatch(r"runtime/ort-wasm-simd-threaded\.wasm\?v=\w+", wasm["url"])
    assert wasm["integrity"].startswith("sha384-")
    script = "dist/ort.wasm.bundle.min.mjs"
    copied = (tmp_path / "page" / script.replace("dist", "runtime")).read_text()
    assert copied == (runtime / script).read_text()
    (runtime / "dist" / "ort-wasm-simd-threaded.wasm").unlink()
    shutil.rmtree(tmp_path / "page" / "runtime")
    with pytest.raises(UserError, match=r"--runtime .*no ort-wasm-simd-threaded\.wasm"):
        add_runtimes(tmp_path / "page", runtime)


def test_without_npm_the_page_loads_the_runtime_from_a_public_server(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = add_runtimes(tmp_path, None)
    assert found["wasm"]["script"]["url"].startswith(f"{CDN}ort.wasm.bundle.min.mjs")
    assert found["wasm"]["script"]["integrity"] == RUNTIMES["wasm"]["script"].integrity
    assert f"loads {page_export.PACKAGE} from {CDN}" in " ".join(capsys.readouterr().out.split())
    assert list(tmp_path.iterdir()) == []


def make_npm(folder: Path, packed: Path) -> None:
    """Make a command npm that gives out a made package."""
    with tarfile.open(folder / "packed.tgz", "w:gz") as archive:
        archive.add(packed, "package")
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n/bin/cp {folder}/packed.tgz onnxruntime-web-1.tgz\n")
    npm.chmod(0o755)


def test_npm_is_trusted_by_hash_alone(tmp_path, runtime, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "fetched").mkdir()
    make_npm(tmp_path / "bin", runtime)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(
        LookupError, match="another one"
    ):  # these files are not those that are known
        fetch_package(tmp_path / "fetched")
    files = {
        kind: {use: page_export.measure_file(runtime / "dist" / file.name)
               for use, file in uses.items()}
        for kind, uses in RUNTIMES.items()
    }  # fmt: skip
    monkeypatch.setattr(page_export, "RUNTIMES", files)
    shutil.rmtree(tmp_path / "fetched")
    (tmp_path / "fetched").mkdir()
    assert fetch_package(tmp_path / "fetched") == tmp_path / "fetched"


def test_without_chromium_the_page_is_kept_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no Chromium" in check_in_browser(tmp_path, np.zeros((1, 1, 3)))
    (tmp_path / "chromium").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "chromium").chmod(0o755)
    assert "ended at once" in check_in_browser(tmp_path, np.zeros((1, 1, 3)))


@pytest.fixture
def make_page(tmp_path, runtime, monkeypatch) -> Callable[[Path], Path]:
    """Make the page of a run, with a file in place of its generator."""

    def make(run: Path) -> Path:
        monkeypatch.setattr(page_export, "shrink_weights", lambda path: None)
        page = tmp_path / "page"
        page.mkdir()
        (page / "generator.onnx").write_bytes(b"of a generator")
        (page / "weights-0.bin").write_bytes(b"its weights")
        complete_page(page, open_run(run), Export(run, runtime=runtime))
        return page

    return make


@pytest.mark.parametrize("task", ["pairs", "colorize", "super-resolve", "inpaint"])
@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
def test_what_the_page_gives_to_the_generator_is_the_source(
    small, tmp_path, make_page, capsys, task
):
    config = small if task == "pairs" else small_task(small, task)
    run = make_run(tmp_path / "run", config, showing({"colorize": 1, "inpaint": 4}.get(task, 3)))
    page = make_page(run)
    assert "first picture in Chromium after" in capsys.readouterr().out  # and it is the right one
    content = content_of(page)
    assert content["model"]["generator"]["bytes"] == len(b"of a generator")
    assert content["model"]["weights"][0]["url"].startswith("weights-0.bin?")
    assert len(list((page / "examples").iterdir())) == len(content["examples"]) > 0


@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
def test_a_transparent_result_is_shown_as_such(small, tmp_path, runtime, make_page, capsys):
    for files in RUNTIMES.values():
        script = runtime / "dist" / files["script"].name
        script.write_text(SHOWING_RUNTIME.replace("COUNT", "4"))
    config = dataclasses.replace(small, target_channels=4)
    make_page(make_run(tmp_path / "run", config, showing(3, 4)))
    assert "first picture in Chromium after" in capsys.readouterr().out


def test_a_page_falls_back_where_the_gpu_fails(small, tmp_path, runtime, make_page, browser):
    gone = "export const InferenceSession = { create: async () => { throw new Error('gone'); } };"
    script = runtime / "dist" / RUNTIMES["webgpu"]["script"].name
    script.write_text(f"export const env = {{ wasm: {{}} }};\n{gone}\n")
    page = make_page(make_run(tmp_path / "run", small, showing(3)))
    server = CheckServer(page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tab = browser.new_page()
    tab.add_init_script(
        "Object.defineProperty(navigator, 'gpu', { value: { requestAdapter: async () => ({}) } })"
    )
    tab.goto(f"http://127.0.0.1:{server.server_address[1]}/")
    tab.wait_for_function("made && !working")
    assert tab.evaluate("kinds") == ["wasm"]
    assert tab.evaluate("get('#status').textContent") == ""
    tab.close()
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
def test_a_page_that_makes_another_picture_is_refused(small, tmp_path, runtime):
    for package in ("onnxruntime", "tf2onnx"):
        pytest.importorskip(package)
    run = make_run(tmp_path / "run", small)  # whose generator is no such one
    with pytest.raises(UserError, match="makes another picture"):
        export(run, "page", runtime=runtime)
    assert not (run / "export" / "page").exists()
