"""export --formats page: the page of `draw` for any web host, with the generator in it.

Beside the page lie the generator as ONNX, with weights of 16 bits, and ONNX Runtime Web, which
computes it in the browser.
"""

import base64
import hashlib
import io
import json
import os
import queue
import shutil
import subprocess
import tarfile
import tempfile
import threading
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np
from PIL import Image

from image_to_image_translation import generate
from pix2pix.commands.draw.drawings import Drawings, describe_drawings, encode, find_drawings
from pix2pix.commands.open_run import TrainedRun, prepare_source
from pix2pix.options.commands import Draw, Export
from pix2pix.pictures.pixels import convert_channels, to_pixels
from pix2pix.runs.pages import PAGES, fill_page
from pix2pix.talk.errors import UserError
from pix2pix.talk.files import write_text
from pix2pix.talk.lines import say_row

PACKAGE = "onnxruntime-web@1.30.0"
CDN = f"https://cdn.jsdelivr.net/npm/{PACKAGE}/dist/"


class WebFile(NamedTuple):
    """A file that the page fetches: its name, how many bytes it has, and their hash."""

    name: str
    bytes: int
    integrity: str


RUNTIMES = {  # by what a browser computes with: the script, and what it compiles
    kind: {use: WebFile(**file) for use, file in files.items()}
    for kind, files in json.loads((PAGES / "onnx_runtime_web.json").read_text()).items()
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
)
BROWSER_TIMEOUT = 180  # seconds
MOST_LEVELS = 2  # of 255, by which the picture in a browser may differ
NPM_TIMEOUT = 300  # seconds
SMALL = 1024  # weights, which stay as they are
WEIGHTS = "weights-{}.bin"
MOST_OF_A_FILE = 50_000_000  # bytes of weights; web hosts refuse files from 100 MB on, or fewer


def complete_page(folder: Path, trained: TrainedRun, options: Export) -> None:
    """Make a page of a folder in which there is a generator.onnx."""
    target = trained.found.target
    if target.measured or target.ranges:
        raise UserError("page: results of this run are measurements. Choose another format.")
    drawings = find_drawings(trained, Draw(options.run, data_dir=options.data_dir))
    generator = folder / "generator.onnx"
    shrink_weights(generator)
    (folder / "examples").mkdir()
    for k, pixels in enumerate(drawings.examples):
        (folder / "examples" / f"{k}.png").write_bytes(encode(pixels))
    content = describe_drawings(trained, drawings) | {"samples": False}
    content["model"] = {
        "generator": describe(measure_file(generator), ""),
        "weights": [describe(measure_file(path), "") for path in folder.glob(WEIGHTS.format("*"))],
        "channels": trained.found.source_channels,
        "runtimes": add_runtimes(folder, options.runtime),
    }
    write_text(folder / "index.html", fill_page("draw.html", content))
    say_row("page", f"shows everybody the {len(drawings.examples)} sources in examples/", width=12)
    source = prepare_source(drawing_to_check(drawings), trained)
    made = generate(trained.generator, source[None])[0]
    say_row("page", check_in_browser(folder, to_pixels(made)), width=12)


def drawing_to_check(drawings: Drawings) -> np.ndarray:
    """Return what the page draws when it is checked: the first example, with a hole in a photo that
    is to have holes."""
    drawing = drawings.examples[0]
    if drawings.kind == "holes":
        height, width = drawing.shape[0] // 4, drawing.shape[1] // 4
        drawing = convert_channels(drawing, 4)
        drawing[height : 2 * height, width : 2 * width] = 0
    return drawing


def shrink_weights(path: Path) -> None:
    """Store the large weights of an ONNX file in files beside it: as numbers of 16 bits, with a
    scale for each of their first dimension; when it is opened, they become float32 again."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(path)
    stored, restoring = [], []
    for tensor in model.graph.initializer:
        weights, name = numpy_helper.to_array(tensor), tensor.name
        if weights.dtype != np.float32 or weights.size < SMALL:
            stored.append(tensor)
            continue
        others = tuple(range(1, weights.ndim))
        scale = np.abs(weights).max(axis=others, keepdims=True) / np.iinfo(np.int16).max
        numbers = np.rint(weights / np.maximum(scale, np.finfo(np.float32).tiny)).astype(np.int16)
        parts = [f"{name}/{part}" for part in ("numbers", "scale", "float")]
        stored += [
            numpy_helper.from_array(numbers, parts[0]),
            numpy_helper.from_array(scale, parts[1]),
        ]
        restoring += [
            helper.make_node("Cast", [parts[0]], [parts[2]], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [parts[2], parts[1]], [name]),
        ]
    nodes = [*restoring, *model.graph.node]
    for field, values in ((model.graph.initializer, stored), (model.graph.node, nodes)):
        del field[:]
        field.extend(values)
    onnx.checker.check_model(model)
    place_outside([each for each in model.graph.initializer if each.data_type == each.INT16])
    onnx.save(model, path)


def place_outside(tensors: list) -> None:
    """Let tensors of an ONNX model be saved in files beside it, none of which is large."""
    from onnx import external_data_helper

    part, size = 0, 0
    for tensor in tensors:
        size += len(tensor.raw_data)
        if size > MOST_OF_A_FILE:
            part, size = part + 1, len(tensor.raw_data)
        external_data_helper.set_external_data(tensor, WEIGHTS.format(part))


# --- ONNX Runtime Web -----------------------------------------------------------------------------


def add_runtimes(folder: Path, given: Path | None) -> dict[str, dict[str, dict]]:
    """Put ONNX Runtime Web beside a page, or leave it on the web; return where it is then."""
    with tempfile.TemporaryDirectory() as temporary:
        try:
            source = given or fetch_package(Path(temporary))
        except LookupError as error:
            say_row("Careful", f"{error}, so the page loads {PACKAGE} from {CDN}")
            return {
                kind: {use: describe(file, CDN) for use, file in files.items()}
                for kind, files in RUNTIMES.items()
            }
        (folder / "runtime").mkdir()
        return {
            kind: {use: copy_file(file, source, folder / "runtime") for use, file in files.items()}
            for kind, files in RUNTIMES.items()
        }


def fetch_package(folder: Path) -> Path:
    """Fetch ONNX Runtime Web with npm, and return where its files are."""
    npm = shutil.which("npm")
    if not npm:
        raise LookupError("there is no npm")
    command = [npm, "pack", "--silent", PACKAGE]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=NPM_TIMEOUT)
        (archive,) = folder.glob("*.tgz")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (OSError, ValueError, subprocess.SubprocessError, tarfile.TarError):
        raise LookupError("npm has not fetched it") from None
    found = {path.name: path for path in folder.rglob("dist/*")}
    files = [file for kind in RUNTIMES.values() for file in kind.values()]
    is_sound = all(file.name in found and measure_file(found[file.name]) == file for file in files)
    if not is_sound:
        raise LookupError("what npm has fetched is another one")
    return folder


def copy_file(file: WebFile, source: Path, folder: Path) -> dict[str, object]:
    """Copy a file that lies somewhere in a folder, and return how the page fetches it."""
    places = sorted(source.rglob(file.name))
    if not places:
        raise UserError(f"--runtime {source}: there is no {file.name} of {PACKAGE} in it.")
    shutil.copyfile(places[0], folder / file.name)
    return describe(measure_file(folder / file.name), "runtime/")


def measure_file(path: Path) -> WebFile:
    """Return what a page is to know of a file."""
    digest = base64.b64encode(hashlib.sha384(path.read_bytes()).digest()).decode()
    return WebFile(path.name, path.stat().st_size, f"sha384-{digest}")


def describe(file: WebFile, place: str) -> dict[str, object]:
    """Return how a page fetches a file; its address changes with its content."""
    version = urlencode({"v": file.integrity[-8:]})
    return {
        "url": f"{place}{file.name}?{version}",
        "bytes": file.bytes,
        "integrity": file.integrity,
    }


# --- In a browser ---------------------------------------------------------------------------------


class CheckServer(ThreadingHTTPServer):
    """Serves the folder of a page to a browser, and takes what the page has made of an example."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(CheckHandler, directory=str(folder)))
        # the query and the body of what the page sends
        self.answers: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()


class CheckHandler(SimpleHTTPRequestHandler):
    """Answers the page; lets it compute in threads."""

    server: CheckServer

    def end_headers(self) -> None:
        """Add what threads need."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def do_POST(self) -> None:
        """Take a result."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.answers.put(
            (dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True)), body)
        )
        self.send_response(HTTPStatus.NO_CONTENT)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


def find_browser() -> str | None:
    """Return where Chromium is, if there is one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def wait_for_answer(
    server: CheckServer, browser: subprocess.Popen
) -> tuple[dict[str, str], bytes] | None:
    """Wait for what the page sends; None if the browser ends before."""
    for _ in range(BROWSER_TIMEOUT):
        try:
            return server.answers.get(timeout=1)
        except queue.Empty:
            if browser.poll() is not None:
                return None
    raise UserError(f"page: the browser showed no picture in {BROWSER_TIMEOUT} s.")


def check_in_browser(folder: Path, expected: np.ndarray) -> str:
    """Open a page in Chromium, if there is one, and refuse it if it makes another picture of its
    first example than expected, [height, width, channels] of 8 bits. Say how long it took."""
    browser = find_browser()
    if browser is None:
        return "not opened, as there is no Chromium here"
    server = CheckServer(folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}/index.html?check"
    with tempfile.TemporaryDirectory() as profile, ExitStack() as stack:
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        flags = [*BROWSER_FLAGS, f"--user-data-dir={profile}"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            flags.append("--no-sandbox")  # which Chromium wants of root
        command, quiet = [browser, *flags, address], subprocess.DEVNULL
        process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        answer = wait_for_answer(server, process)
        if answer is None:
            return f"not opened, as {browser} ended at once"
        took, png = answer
    if took["said"].endswith("cannot be loaded."):  # from the public server
        return f"not checked in a browser: {took['said']}"
    made, expected = (  # before white, where they are transparent
        convert_channels(pixels, 3).astype(int)
        for pixels in (np.asarray(Image.open(io.BytesIO(png)).convert("RGBA")), expected)
    )
    if made.shape != expected.shape or np.abs(made - expected).max() > MOST_LEVELS:
        raise UserError(f"page: in {browser} it makes another picture ({took['said']}).")
    first, again = (float(took[name]) / 1000 for name in ("first", "again"))
    return f"first picture in Chromium after {first:.1f} s, then {again:.2g} s each"
