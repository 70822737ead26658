"""What the tests share: a small configuration, made pairs, a way to run the script for real."""

import dataclasses
import re
import signal
import subprocess
import sys
import threading
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pix2pix  # noqa: F401  # isort: skip  # tells TensorFlow what to be loaded with

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import image_to_image_translation as script
from pix2pix.commands.draw.command import DrawServer
from pix2pix.commands.draw.drawings import find_drawings
from pix2pix.commands.export.page import find_browser
from pix2pix.commands.open_run import open_run
from pix2pix.options.commands import Draw
from pix2pix.options.found import Found
from pix2pix.options.saved import write_run
from pix2pix.options.train import Train
from pix2pix.pictures.pixels import Kind
from pix2pix.pictures.sides import PHOTOS
from pix2pix.preparation import conclude
from pix2pix.runs.generator_file import save_generator

SCRIPT = Path(script.__file__)


SMALL = Train(
    dataset="synthetic",
    image_size=32,
    source_channels=3,
    target_channels=3,
    generator_filters=4,
    discriminator_filters=4,
    steps=4,
    checkpoint_every=2,
    log_every=2,
    preview_every=100,
    average_weights=0.0,
    precision="float32",  # the same on every machine
)


@pytest.fixture
def small(tmp_path, monkeypatch) -> Train:
    """The real program at 32×32 with few filters, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return dataclasses.replace(SMALL, output=tmp_path / "runs", data_dir=tmp_path / "cache")


@pytest.fixture(autouse=True, scope="session")
def _heeded_ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a terminal, even if the tests run in the background of a shell, without it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def _in_notebook(monkeypatch) -> None:
    """As if the test were a cell of a notebook."""
    shell = types.SimpleNamespace(kernel="there is one")
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)


def settled(config: Train, **found) -> Found:
    """What pictures of 8 bits in RGB decide for a configuration."""
    pictures = 2 if config.task == "pairs" else 1
    kinds = [(Kind(channels=3, bits=8),) * pictures]
    return dataclasses.replace(conclude(config, kinds, [PHOTOS] * pictures), **found)


def make_training(config: Train, **found) -> script.Training:
    """A training at step 0."""
    return script.Training(config, settled(config, **found))


def flags(config: Train) -> list[str]:
    """A configuration as the command-line flags that differ from the defaults."""
    typed = []
    for name, value in dataclasses.asdict(config).items():
        if value == getattr(Train(), name):
            continue
        name = name.replace("_", "-")
        if isinstance(value, bool):
            typed.append(f"--{name}" if value else f"--no-{name}")
        else:
            typed.append(f"--{name}={value}")
    return typed


def start(*arguments: str, shell: str = "") -> subprocess.Popen:
    """The script in a process of its own; `shell` is run first, in the same process."""
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.Popen(
        ["bash", "-c", f'{shell}\nexec "$@"', "bash", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def errors(stderr: str) -> list[str]:
    """The lines on standard error that are not TensorFlow's own log."""
    theirs = r"WARNING: All log|WARNING:tensorflow|To enable|[IWE]\d{4} |\d{4}-\d\d-\d\d "
    return [line for line in stderr.splitlines() if line and not re.match(theirs, line)]


def weights(run_folder: Path, step: int) -> dict[str, np.ndarray]:
    """Everything a checkpoint holds, by name."""
    reader = tf.train.load_checkpoint(str(run_folder / f"ckpt-{step}"))
    names = set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    return {name: reader.get_tensor(name) for name in names}


def assert_same_weights(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    """Bit for bit."""
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not np.array_equal(ours[name], theirs[name])] == []


def small_task(small: Train, task: str, **options) -> Train:
    """The small configuration for a task made from photos; its channels follow from that."""
    return dataclasses.replace(
        small, task=task, source_channels=None, target_channels=None, **options
    )


def make_pair(path: Path, size: int = 40, height: int = 0, seed: int = 0) -> np.ndarray:
    """Write a side-by-side picture of noise, without loss where the format allows it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height or size, 2 * size, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def pair_folder(tmp_path) -> Path:
    """A dataset folder with six training pairs, two for validation and one for testing."""
    folder = tmp_path / "pairs"
    for split, count in (("train", 6), ("val", 2), ("test", 1)):
        for k in range(count):
            make_pair(folder / split / f"{k}.png", seed=k)
    return folder


def make_run(
    folder: Path,
    config: Train,
    generator: keras.Model | None = None,
    kinds: Counter | None = None,
    step: int = 7,
    **found,
) -> Path:
    """A run folder with nothing but a generator.keras, of a generator that was not trained."""
    config = dataclasses.replace(config, name=folder.name, output=folder.parent)
    pictures = 2 if config.task == "pairs" else 1
    kinds = kinds or Counter([(Kind(channels=3, bits=8),) * pictures])
    usual = "BtoA" if config.task == "pairs" else "AtoB"
    settled = dataclasses.replace(config, direction=config.direction or usual)
    decided = dataclasses.replace(conclude(settled, kinds, [PHOTOS] * pictures), **found)
    keras.utils.set_random_seed(0)
    if generator is None:
        generator = script.build_generator(config, decided)
    else:
        BY_HAND[folder] = generator
    example = np.random.default_rng(0).uniform(-1, 1, (1, *generator.input_shape[1:]))
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(write_run(config, decided))
    run, path = write_run(config, decided, step), folder / "generator.keras"
    save_generator(generator, run, example.astype(np.float32), path)
    return folder


BY_HAND: dict[Path, keras.Model] = {}  # networks that no options make, by their run folders


@pytest.fixture(autouse=True)
def _built_by_hand(monkeypatch) -> None:
    """Let open_run build a network that a test has made by hand."""
    monkeypatch.setattr(
        "pix2pix.commands.open_run.build_generator",
        lambda options, found: (
            BY_HAND.get(options.run_folder) or script.build_generator(options, found)
        ),
    )


def copying(size: int = 32, channels: int = 3) -> keras.Model:
    """A generator that gives back its source."""
    source = keras.Input((size, size, channels), name="source")
    return keras.Model(source, keras.layers.Identity(name="generated")(source))


def make_picture(path: Path, height: int, width: int, channels: int = 3, seed: int = 0):
    """Write a picture of noise; its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width, channels)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(path)
    return pixels


def pixels_of(path: Path) -> np.ndarray:
    """The pixels of a picture file."""
    return np.asarray(Image.open(path))


@pytest.fixture
def serve() -> Iterator[Callable[..., DrawServer]]:
    """Serve the page of a run to draw on; end that after the test."""
    servers = []

    def start(run: Path, **options) -> DrawServer:
        trained = open_run(run)
        drawings = find_drawings(trained, Draw(run, **options))
        servers.append(DrawServer(("127.0.0.1", 0), trained, drawings))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Chromium, driven by playwright, where there are both."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = find_browser()
    if path is None:
        pytest.skip("there is no Chromium here")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_tab(browser) -> Iterator[Callable[..., object]]:
    """Open an address in a tab of its own; nothing may go wrong on its page."""
    contexts, complaints = [], []

    def open_address(address: str, **options) -> object:
        context = browser.new_context(bypass_csp=True, **options)  # so that tests may look inside
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(address)
        return tab

    yield open_address
    for context in contexts:
        context.close()
    assert complaints == []
