"""pix2pix: learn to turn one kind of picture into another from pairs of examples.

One TensorFlow file for "Image-to-Image Translation with Conditional Adversarial Networks" by Isola,
Zhu, Zhou and Efros (CVPR 2017, arXiv 1611.07004), cited below as "paper". It reads from top to
bottom in the order the data flows; `grep "^# --- "` prints its table of contents.

    python image_to_image_translation.py                    facades, from label maps to photos
    python image_to_image_translation.py --help             every option and its default
    python image_to_image_translation.py train --dataset maps --steps 100000
    python image_to_image_translation.py inspect my_pairs   what is in a folder, before training
    python image_to_image_translation.py train --dataset my_pairs --direction AtoB
    python image_to_image_translation.py train --dataset my_photos --task colorize
    python image_to_image_translation.py train --dataset synthetic --image-size 64 --steps 1000
    python image_to_image_translation.py translate training_checkpoints/facades my_labels
    python image_to_image_translation.py evaluate training_checkpoints/facades
    python image_to_image_translation.py export training_checkpoints/facades --formats onnx litert
    python image_to_image_translation.py import-weights latest_net_G.pth --name theirs

The first command downloads 31 MB and trains for 40,000 steps: hours on a processor, so try
`--steps 500` there first. `--dataset synthetic` needs no download: two minutes on two cores.
Everything a run makes is in `training_checkpoints/NAME`. Stop it at any moment and give the same
command again: it goes on from its last checkpoint exactly as if it had never stopped.

In a notebook, `import image_to_image_translation as pix2pix`, then
`pix2pix.train(pix2pix.Train(dataset="synthetic", image_size=64, steps=1000))`.
"""

# --- 2. Imports, constants and small tools --------------------------------------------------------

import base64
import csv
import fcntl
import glob
import gzip
import hashlib
import http.client
import io
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta
from functools import cache
from itertools import chain, groupby, islice, product
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's C++ chatter; 0 brings it back
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # leave others what is not needed

import keras
import matplotlib.figure
import numpy as np
import tensorflow as tf
import tyro
from keras import layers, ops
from PIL import Image
from tyro.conf import Positional

CACHE_BYTES = 2 * 2**30  # pictures are kept in memory, at the size they are used at, up to this
NETWORK_TIMEOUT = 60  # seconds without a byte before a download is given up
CLASHES = (FileExistsError, IsADirectoryError, NotADirectoryError)  # of an archive with itself
IMAGE_SUFFIXES = {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
SPLITS = ("train", "val", "test")
CHANNELS = {1: "grey", 2: "grey with transparency", 3: "RGB", 4: "RGBA"}
LUMA = (0.299, 0.587, 0.114)  # how bright red, green and blue are (ITU-R BT.601)
CPU_INFO = Path("/proc/cpuinfo")  # where Linux tells what a processor can do
PAGES = Path(__file__).with_name("pages")  # what is not Python: templates of what is written
COMMAND = "python image_to_image_translation.py train"
LOSSES = ("generator_total", "generator_gan", "generator_l1", "discriminator")


class UserError(Exception):
    """Something the user can put right: shown as one line, without a traceback."""

    exit_status = 1


class UsageError(UserError):
    """A flag whose value makes no sense."""

    exit_status = 2


def reason(error: Exception) -> str:
    """The first line of an error, without TensorFlow's names for its own parts."""
    return re.sub(r"\{\{.*?\}\} | \[Op:.*?\]", "", (str(error) or repr(error)).splitlines()[0])


def flag(field: str) -> str:
    """The command-line spelling of a field of Train."""
    return "--" + field.replace("_", "-")


def due(step: int, every: int, total: int) -> bool:
    """Whether something that happens every so many steps, and at the end, happens now."""
    return step % every == 0 or step == total


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write to; the file or folder takes its final name only when it is complete."""
    temporary = path.with_name(f".partial-{path.name}")
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():  # a file never takes the place of a folder
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole file, or nothing."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")  # any file name


@contextmanager
def locked(folder: Path, refusal: str) -> Iterator[None]:
    """Keep other processes out of a folder; the system lifts the lock however this one ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(refusal) from None
        yield


def ahead(function: Callable, items: Iterable, count: int = 32) -> Iterator:
    """Like map, in threads, with up to `count` results made before they are asked for."""
    pool, waiting = ThreadPoolExecutor(), deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def show(text: str, keep: bool = True) -> None:
    """Say something; what need not be kept is one line, written over by whatever comes next."""
    live = sys.stdout.isatty() or "ipykernel" in sys.modules
    width = shutil.get_terminal_size().columns - 1 if live else 0
    with suppress(OSError):  # a terminal that was closed is no reason to stop
        if keep:
            print(f"{text:<{width}}", flush=True)
        elif live:
            print(f"{text[:width]:<{width}}", end="\r", flush=True)


def show_bar(what: str, done: int, total: int, amount: str) -> None:
    """A line that shows how far something is."""
    show(f"{what} [{'#' * (20 * done // max(done, total)):<20}] {amount}", keep=False)


# --- 3. Configuration -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Dataset:
    """What can be asked for by name: its download, and which half is usually the source."""

    megabytes: int
    direction: Literal["AtoB", "BtoA"]


DATASETS = {
    "facades": Dataset(31, "BtoA"),  # label map → photo of a building
    "cityscapes": Dataset(113, "BtoA"),  # label map → street scene
    "maps": Dataset(246, "AtoB"),  # aerial photo → map
    "edges2shoes": Dataset(2_200, "AtoB"),  # outline → shoe
    "edges2handbags": Dataset(8_600, "AtoB"),  # outline → handbag
    "night2day": Dataset(2_000, "BtoA"),  # the same view by day → by night
    "synthetic": Dataset(0, "BtoA"),  # made-up facades, drawn by this script
}

TASKS = {  # what each makes a photo from, and the channels of that; None: those of the photo
    "colorize": ("photo without colour", 1),
    "super-resolve": ("small photo", None),
    "sketch": ("sketch", 1),
    "inpaint": ("photo with holes", 4),
}


@dataclass(frozen=True)
class Train:
    """Train a generator on pairs of pictures; started again, go on where it stopped.

    The other commands, each with a --help: inspect, which shows what a dataset holds, translate,
    evaluate, export and import-weights."""

    dataset: str = "facades"
    """facades, maps, cityscapes, edges2shoes, edges2handbags or night2day (downloaded once), your
    own folder, or synthetic, drawn on the spot. Coming first, it needs no --dataset before it."""
    source_dir: Path | None = None
    """Instead of a dataset: the folder of the sources, A, paired by file name with target_dir."""
    target_dir: Path | None = None
    """The folder of the targets, B."""
    direction: Literal["AtoB", "BtoA", None] = None
    """A is the left half of a pair (or the folder A, the sketch, …), B the right one. Default: the
    dataset's own (BtoA for facades, cityscapes, night2day, synthetic), else AtoB."""
    holdout: float = 0.1
    """Share of the pairs kept out of the training where there is neither val/ nor test/."""
    skip_broken: bool = False
    """Go on without the pairs that are broken or lack their partner."""
    image_size: int | str = 256
    """What the networks work at: 256, or 256x512 for height×width; multiples of 32."""
    fit: Literal["stretch", "crop"] = "stretch"
    """How pictures of another shape get there: stretched, or cut to the shape around the middle."""
    crop: bool = False
    """Cut pictures to the image size at full resolution instead of resizing them."""
    jitter: bool = True
    """Enlarge and cut at random; without it, the whole picture (with --crop, its middle)."""
    flip: bool = True
    """Mirror every other pair, at random."""
    task: Literal["pairs", "colorize", "super-resolve", "sketch", "inpaint"] = "pairs"
    """All but pairs make the source from plain photos: any folder, or the targets of a dataset."""
    scale: int = 4
    """super-resolve: how many times larger."""
    source_channels: Literal[1, 3, 4, None] = None
    """1 is grey, 3 RGB, 4 RGB with transparency. Default: what the pictures have."""
    target_channels: Literal[1, 3, 4, None] = None
    """The same for the targets."""
    steps: int = 40_000
    """Train until this many steps are done, counted from the very first one."""
    batch_size: int = 1
    """Pairs per step."""
    learning_rate: float = 2e-4
    """Adam's step size, for both networks."""
    learning_rate_decay_from: int | None = None
    """From this step on the learning rate falls linearly, to zero at the end. Default: never."""
    beta_1: float = 0.5
    """Adam's momentum, for both networks."""
    l1_weight: float = 100.0
    """How much the L1 distance to the ground truth counts against deceiving the discriminator."""
    gan_loss: Literal["vanilla", "least-squares", "hinge"] = "vanilla"
    """What the discriminator's verdict costs both networks."""
    generator_filters: int = 64
    """Filters of the generator's first layer; the others follow."""
    discriminator_filters: int = 64
    """Filters of the discriminator's first layer; the others follow."""
    depth: int | None = None
    """How often the generator halves the picture. Default: as often as both sides can be halved."""
    normalization: Literal["instance", "batch", "none", "plain-instance"] = "instance"
    """instance: each picture on its own. batch: all of a batch together, moving averages after the
    training; for batches well above 1. plain-instance: without learning to scale, like the authors'
    PyTorch code."""
    upsampling: Literal["transposed", "resize"] = "transposed"
    """resize: double the pixels and convolve, against checkerboard patterns."""
    average_weights: float = 0.0
    """0.999, say: previews and generator.keras use a moving average of the generator's weights."""
    seed: int = 0
    """Decides the initial weights, the order of the pairs, jitter and dropout."""
    log_every: int = 100
    """Steps between two log lines (screen, metrics.csv, TensorBoard)."""
    preview_every: int = 1_000
    """Steps between two previews."""
    checkpoint_every: int = 5_000
    """Steps between two checkpoints."""
    keep_checkpoints: int = 3
    """Only this many of the newest checkpoints are kept; one is about 690 MB at the defaults."""
    output: Path = Path("training_checkpoints")
    """Where run folders live."""
    name: str | None = None
    """The run folder is output/name. Default: the dataset's name, and the task's."""
    data_dir: Path = Path("~/.keras/datasets/pix2pix")
    """Where archives are kept and unpacked."""
    mirror: str = "http://efrosgans.eecs.berkeley.edu/pix2pix/datasets/"
    """Where archives are fetched from."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """What training computes in; weights, statistics and losses stay float32. auto: bfloat16 where
    the hardware has it, else float32. float16: for GPUs without bfloat16, with scaled losses."""
    xla: Literal["auto", "on", "off"] = "auto"
    """Compile the train step with XLA. auto: on a GPU (on a processor it is slower)."""
    config: Path | None = None
    """A config.json to start from; flags beat it. Only on the command line."""


@dataclass(frozen=True)
class Inspect(Train):
    """Look at a dataset before training: what is in it, what is broken, and, as a picture, what
    the network would see. All options are those of train."""


# --- 3a. Configuration: what values may be --------------------------------------------------------


def picture_size(config: Train) -> tuple[int, int]:
    """--image-size as (height, width)."""
    height, _, width = str(config.image_size).partition("x")
    return int(height), int(width or height)


def halvings(config: Train) -> int:
    """How often both sides of the image size can be halved."""
    common = math.gcd(*picture_size(config))
    return (common & -common).bit_length() - 1


def enlargement(config: Train) -> int:
    """How many times larger than its input a result is."""
    return config.scale if config.task == "super-resolve" else 1


# What a value must be: a test of the configuration, and its words in "--flag must be ...".
RULES = {
    "dataset": (
        lambda c: (
            c.dataset == Train.dataset
            if c.source_dir
            else c.dataset in DATASETS or os.path.isdir(c.dataset)
        ),
        f"{', '.join(DATASETS)} or an existing folder, and left out where there is --source-dir",
    ),
    "source_dir": (
        lambda c: bool(c.source_dir) == bool(c.target_dir) and Path(c.source_dir or ".").is_dir(),
        "an existing folder, together with --target-dir",
    ),
    "target_dir": (lambda c: Path(c.target_dir or ".").is_dir(), "an existing folder"),
    "direction": (
        lambda c: c.direction != "BtoA" or c.task in ("pairs", "sketch"),
        "AtoB with this --task",
    ),
    "image_size": (
        lambda c: (
            re.fullmatch(r"[1-9]\d*(x[1-9]\d*)?", str(c.image_size))
            and min(picture_size(c)) >= 32
            and (c.depth or halvings(c) >= 5)
        ),
        "SIZE or HEIGHTxWIDTH, from 32 on and multiples of 32 (unless there is a --depth below 5)",
    ),
    "depth": (
        lambda c: c.depth in (None, *range(2, halvings(c) + 1)),
        "at least 2 and at most how often the image size can be halved",
    ),
    "scale": (
        lambda c: (
            c.scale > 1 and (c.task != "super-resolve" or math.gcd(*picture_size(c)) % c.scale == 0)
        ),
        "at least 2 and divide the image size",
    ),
    "holdout": (lambda c: 0 <= c.holdout < 1, "at least 0 and below 1"),
    "source_channels": (lambda c: c.task == "pairs" or not c.source_channels, "left to --task"),
    "target_channels": (lambda c: c.task == "pairs" or not c.target_channels, "left to --task"),
    "normalization": (
        lambda c: c.normalization != "batch" or c.batch_size > 1,
        "instance or none at a --batch-size of 1",
    ),
    "learning_rate": (lambda c: 0 < c.learning_rate < math.inf, "above 0"),
    "learning_rate_decay_from": (
        lambda c: c.learning_rate_decay_from is None or 0 <= c.learning_rate_decay_from < c.steps,
        "a step before the last",
    ),
    "average_weights": (lambda c: 0 <= c.average_weights < 1, "at least 0 and below 1"),
    "beta_1": (lambda c: 0 <= c.beta_1 < 1, "at least 0 and below 1"),
    "l1_weight": (lambda c: 0 <= c.l1_weight < math.inf, "at least 0"),
    "seed": (lambda c: 0 <= c.seed < 2**32, "from 0 to 4294967295"),
    "name": (
        lambda c: c.name is None or c.name == Path(c.name).name not in ("", ".."),
        "a plain name",
    ),
}


def check_config(config: Train) -> None:
    """Refuse values that make no sense, before anything is read or written."""
    for field in fields(Train):
        value, choices = getattr(config, field.name), get_args(field.type)
        holds, rule = True, ""
        if field.type is int and field.name != "seed":
            holds, rule = isinstance(value, int) and value >= 1, "a whole number above 0"
        elif get_origin(field.type) is Literal:
            holds, rule = value in choices, "one of " + ", ".join(map(str, choices))
        if holds and field.name in RULES:
            test, rule = RULES[field.name]
            holds = test(config)
        if not holds:
            raise UsageError(f"{flag(field.name)} must be {rule}, not {value}.")


def read_config(path: Path) -> dict:
    """The content of a config.json."""
    try:
        saved = json.loads(path.read_text())
        strange = saved.keys() - {field.name for field in fields(Train)} - {"found"}
        saved["found"] = dict(saved.get("found", {}))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: cannot be read as a configuration ({error}). Mend it, or name another one."
        ) from error
    if strange:
        raise UserError(f"{path}: {', '.join(sorted(strange))} is no option of this program.")
    return saved


# --- 4. Data --------------------------------------------------------------------------------------
#
# fetch → find → read → check → fit → jitter → (for a task) make the source → batches. A is the left
# half of a pair on disk, or the first of two folders, B the other; from here on they are called
# source (what the generator gets) and target (the ground truth).


@dataclass(frozen=True)
class Pairs:
    """One split of a dataset. `read(k)` gives the pictures of pair k, [height, width, channels] in
    8 or 16 bits: source and target, or the photo alone that a task makes both from."""

    names: tuple[str, ...]  # what tells each pair from others, without reading it
    read: Callable[[int], list[np.ndarray]]
    files: tuple[tuple[Path, ...], ...] = ()
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def __str__(self) -> str:
        """What tells these pairs from others, in a few letters."""
        digest = hashlib.sha256(os.fsencode("\n".join(self.names))).hexdigest()
        return f"{len(self):,} pairs with fingerprint {digest[:8]}"


# --- 4a. Data: known datasets ---------------------------------------------------------------------


def download(url: str, archive: Path) -> None:
    """Fetch an archive, going on with what an earlier try has left."""
    part = archive.with_name(f"{archive.name}.part")
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        response = urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        os.replace(part, archive)  # nothing comes after what we have: it is complete
        return
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        done = done if resumed else 0
        total = done + int(response.headers.get("Content-Length") or 0)
        with open(part, "ab" if resumed else "wb") as file:
            while chunk := response.read(2**20):
                file.write(chunk)
                done += len(chunk)
                amount = f"{done / 1e6:.1f} of {total / 1e6:.1f} MB"
                show_bar(f"Downloading {archive.name}", done, total, amount)
    if done < total:
        raise OSError(f"the connection broke off after {done:,} of {total:,} bytes")
    os.replace(part, archive)
    show(f"Downloaded {archive.name}: {done / 1e6:.1f} MB")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive; its folder takes its name only when everything is there."""
    show(f"Unpacking {archive.name}", keep=False)
    temporary = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(temporary, filter="data")  # nothing outside the folder, no devices
            while tar.fileobj.read(2**20):  # to the very end, where gzip keeps the checksum
                pass
        if not any((temporary / folder.name / "train").glob("*")):
            raise tarfile.ReadError(f"there is nothing in {folder.name}/train")
        os.replace(temporary / folder.name, folder)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, *CLASHES) as error:
        archive.unlink()
        raise UserError(
            f"{archive}: not a sound archive of {folder.name} ({error}), so it was deleted. "
            "Try again, or take another server with --mirror URL."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    show(f"Unpacked into {folder}")


def fetch(name: str, mirror: str, data_dir: Path) -> Path:
    """The folder of a known dataset, downloaded and unpacked unless it is there already."""
    folder, archive = data_dir / name, data_dir / f"{name}.tar.gz"
    if folder.is_dir():
        return folder
    url = f"{mirror.rstrip('/')}/{archive.name}"
    with locked(data_dir, f"{data_dir}: another process is fetching a dataset; wait for it."):
        try:
            if folder.is_dir():  # another process was quicker
                return folder
            if not archive.exists():
                show(f"Fetching {url} (about {DATASETS[name].megabytes:,} MB) to {data_dir}")
                download(url, archive)
            unpack(archive, folder)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise UserError(
                f"{url} to {data_dir}: {error}. Try again, or use --data-dir FOLDER, --mirror URL, "
                "--dataset FOLDER or --dataset synthetic."
            ) from error
    return folder


# --- 4b. Data: made-up facades --------------------------------------------------------------------

# Classes of the CMP facade database in the colours the facades archive has them in, and the colour
# the synthetic photos are painted with.
CMP = {
    "background": ((0, 0, 222), (168, 200, 232)),
    "facade": ((0, 48, 255), (196, 164, 132)),
    "window": ((0, 128, 255), (58, 74, 96)),
    "door": ((0, 207, 255), (96, 62, 40)),
    "cornice": ((32, 255, 224), (226, 214, 190)),
    "sill": ((112, 255, 143), (208, 202, 190)),
    "balcony": ((192, 255, 63), (72, 72, 76)),
    "blind": ((255, 239, 0), (150, 170, 140)),
    "molding": ((255, 80, 0), (214, 196, 166)),
}


def plan_facade(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A made-up building as a map of class numbers [height, width]."""
    plan = np.zeros(size, int)

    def paint(label: str, left: float, top: float, right: float, bottom: float) -> None:
        edges = np.array([[top, bottom], [left, right]]) * np.array(size)[:, None]
        rows, columns = np.rint(edges).astype(int)
        plan[slice(*rows), slice(*columns)] = list(CMP).index(label)

    left, right, roof = rng.uniform(0, 0.1), rng.uniform(0.9, 1), rng.uniform(0.05, 0.2)
    floors, bays = rng.integers(2, 5), rng.integers(2, 6)
    width, height, door = (right - left) / bays, (1 - roof) / floors, rng.integers(bays)
    w, h = width * rng.uniform(0.4, 0.65), height * rng.uniform(0.5, 0.65)
    blinds, balconies = rng.random(2) < 0.5
    paint("facade", left, roof, right, 1)
    for floor, bay in np.ndindex(floors, bays):
        top = roof + floor * height
        x, y = left + (bay + 0.5) * width - w / 2, top + 0.25 * height
        paint("molding" if floor else "cornice", left, top, right, top + 0.12 * height)
        if floor == floors - 1 and bay == door:
            paint("door", x, y, x + w, 1)
            continue
        paint("window", x, y, x + w, y + h)
        if blinds:
            paint("blind", x, y, x + w, y + rng.uniform(0.1, 0.5) * h)
        below, depth = ("balcony", 0.2) if balconies and floor < floors - 1 else ("sill", 0.08)
        paint(below, x - w / 8, y + h * (1 - depth), x + 1.125 * w, y + h)
    return plan


def draw_facade(seed: int, number: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Photo and label map of a made-up building, the same for the same seed and number."""
    rng = np.random.default_rng((seed, number))
    plan = plan_facade(rng, size)
    label_colours, paints = np.array(list(CMP.values()), np.uint8).swapaxes(0, 1)
    photo = paints[plan] * rng.uniform(0.85, 1.1) * rng.uniform(0.94, 1.06, 3)  # stone and weather
    row, column = np.indices(size) * 256 // min(size)
    bricks = (row % 8 == 0) | ((column + row // 8 % 2 * 8) % 16 == 0)
    photo[bricks & (plan == list(CMP).index("facade"))] *= 0.86
    mirrored_sky = (row + column) % 96 < 40
    photo[mirrored_sky & (plan == list(CMP).index("window"))] += 70
    photo[1:][plan[1:] != plan[:-1]] *= 0.6  # shadows where one thing meets another
    photo[:, 1:][plan[:, 1:] != plan[:, :-1]] *= 0.6
    photo = photo * (1.1 - 0.2 * row / 256)[..., None] + rng.normal(0, 5, photo.shape)
    return [np.clip(np.rint(photo), 0, 255).astype(np.uint8), label_colours[plan]]


def synthetic_pairs(seed: int, size: tuple[int, int]) -> dict[str, Pairs]:
    """The splits of the synthetic dataset, with as many pairs as facades has."""
    splits, first = {}, 0
    for split, count in zip(SPLITS, (400, 100, 106), strict=True):
        names = tuple(f"facade {first + k} of seed {seed}" for k in range(count))
        splits[split] = Pairs(names, lambda k, first=first: draw_facade(seed, first + k, size))
        first += count
    return splits


# --- 4c. Data: finding pairs ----------------------------------------------------------------------

SIDES = (("A", "B"), ("input", "target"), ("input", "output"))
LAYOUTS = ("{side}/{split}", "{split}/{side}", "{split}{side}", "{split}_{side}", "{side}")


def dataset_name(config: Train) -> str:
    """What the pairs are called."""
    both = (config.source_dir, config.target_dir)
    return " and ".join(map(str, both)) if config.source_dir else config.dataset


def pairs_or_photos(config: Train) -> str:
    """What a dataset is made of."""
    return "pairs" if config.task == "pairs" else "photos"


def find_folders(config: Train, folder: Path) -> dict[str, tuple[Path, ...]]:
    """The folders of each split: two with a side each, or one of side-by-side pairs or photos."""
    two = [(layout, pair) for pair in SIDES for layout in LAYOUTS]
    if config.source_dir:
        told = (str(config.source_dir), str(config.target_dir))
        two = [("{side}/{split}", told), ("{side}", told)]
    for layout, names in (*two, ("{split}", ("",)), (".", ("",))):
        found = {}
        for split in SPLITS:  # where training pairs lie in no folder of theirs, others may
            place = layout if "{split}" in layout or split == "train" else f"{layout}/{{split}}"
            found[split] = tuple(folder / place.format(side=name, split=split) for name in names)
        if all(each.is_dir() for each in found["train"]):
            break
    return {split: each for split, each in found.items() if any(map(Path.is_dir, each))}


def find_files(folders: tuple[Path, ...], deep: bool) -> tuple[list[tuple[Path, ...]], list[str]]:
    """The files of each pair, those of two folders matched by their stem; and what has no match."""
    sides = defaultdict(lambda: [[] for _ in folders])
    for number, folder in enumerate(folders):
        for file in sorted(folder.glob("**/[!.]*" if deep else "[!.]*")):
            if file.suffix.lower() in IMAGE_SUFFIXES:
                sides[file.stem if len(folders) == 2 else str(file)][number].append(file)
    pairs, problems = [], []
    for found in sides.values():
        files = [file for side in found for file in side]
        missing = [str(folder) for folder, side in zip(folders, found, strict=True) if not side]
        if missing or len(files) > len(folders):
            what = f"no partner in {missing[0]}" if missing else "too many for one pair"
            problems.append(f"{' and '.join(map(str, files))}: {what}")
        else:
            pairs.append(tuple(files))
    return pairs, problems


def hold_out(files: list, config: Train) -> tuple[list, list]:
    """Divide the files of a dataset that has only training pairs, always alike for a seed."""

    def lot(pair: tuple[Path, ...]) -> bytes:  # drawn by name: more files do not change it
        return hashlib.sha256(os.fsencode(f"{config.seed} {pair[0].stem}")).digest()

    count = min(len(files) - 1, max(1, round(len(files) * config.holdout)))
    held = set(sorted(files, key=lot)[: count if config.holdout else 0])
    if held:
        show(f"Held out  {count:,} of {len(files):,}: there is neither val/ nor test/ (--holdout)")
    return [pair for pair in files if pair not in held], [pair for pair in files if pair in held]


def file_pairs(files: list, problems: list[str], side_by_side: bool) -> Pairs:
    """Files as Pairs."""
    names = (", ".join(f"{f.name}, {f.stat().st_size} bytes" for f in pair) for pair in files)
    read = lambda k: read_pair(files[k], side_by_side)  # noqa: E731
    return Pairs(tuple(names), read, tuple(files), tuple(problems))


def folder_pairs(config: Train, folder: Path, photos: bool) -> dict[str, Pairs]:
    """The splits of a folder of pairs, or of photos, each in the order of its file names."""
    folders = find_folders(config, folder)
    if photos:  # of two folders that of the targets
        folders = {split: each[-1:] for split, each in folders.items()}
    deep = photos and len(folders) == 1
    found = {split: find_files(each, deep) for split, each in folders.items()}
    files, problems = found["train"]
    if not files and not problems:
        where = " and ".join(map(str, folders["train"]))
        what = "photos" if photos else "side-by-side pairs, or A/ and B/ with the same file names,"
        raise UserError(
            f"{where}: no pictures. Put {what} there, or use --dataset synthetic. "
            'See README, "Your own pictures".'
        )
    if not any(any(each) for split, each in found.items() if split != "train"):
        files, held = hold_out(files, config)
        found = {"train": (files, problems), "val": (held, [])}
    side_by_side = len(folders["train"]) == 1 and not photos
    return {split: file_pairs(*each, side_by_side) for split, each in found.items()}


def find_pairs(config: Train) -> tuple[dict[str, Pairs], str]:
    """The splits of the configured dataset by name, and the direction they are read in."""
    known = DATASETS.get(config.dataset) if not config.source_dir else None
    if known and config.dataset == "synthetic":
        splits = synthetic_pairs(config.seed, picture_size(config))
    elif known:
        folder = fetch(config.dataset, config.mirror, Path(config.data_dir).expanduser())
        splits = folder_pairs(config, folder, photos=False)
    else:
        folder = Path() if config.source_dir else Path(config.dataset)
        splits = folder_pairs(config, folder, photos=config.task != "pairs")
    usual = known.direction if known else "AtoB"
    direction = config.direction or (usual if config.task == "pairs" else "AtoB")

    def choose(pictures: list[np.ndarray]) -> list[np.ndarray]:
        """Source and target, or for a task what is usually the target."""
        if config.task == "pairs":
            return pictures[::-1] if direction == "BtoA" else pictures
        return pictures[:1] if usual == "BtoA" else pictures[-1:]

    for name, pairs in splits.items():
        read = lambda k, read=pairs.read: choose(read(k))  # noqa: E731
        splits[name] = replace(pairs, read=read)
    return splits, direction


# --- 4d. Data: reading ----------------------------------------------------------------------------


def decode(path: Path) -> np.ndarray:
    """The pixels of a picture as they are stored: 1 to 4 channels of 8 or 16 bits."""
    with Image.open(path) as image:
        encoded = path.read_bytes() if image.format in ("PNG", "JPEG") else b""
        deep = image.format == "PNG" and encoded[24] == 16
        keyed = "transparency" in image.info and image.mode in ("1", "L", "RGB")  # as one colour
        if image.format == "PNG" and (deep or not keyed):  # faster, minds checksums, knows 16 bits
            pixels = tf.io.decode_png(encoded, dtype=tf.uint16 if deep else tf.uint8).numpy()
        elif image.format == "JPEG" and image.mode in ("L", "RGB"):
            pixels = tf.io.decode_jpeg(encoded, dct_method="INTEGER_ACCURATE").numpy()
        elif image.mode in ("I", "F"):
            raise ValueError("32 bits a channel; convert it to 16")
        elif image.format == "TIFF" and max(image.tag_v2.get(258, (8,))) == 16:
            pixels = decode_deep_tiff(path, image)
        else:
            mode = "RGBA" if "transparency" in image.info or image.mode[-1] in "Aa" else "RGB"
            kept = {} if keyed else {"1": "L", "L": "L", "LA": "LA"}
            pixels = np.asarray(image.convert(kept.get(image.mode, mode)))
        has_exif = image.format != "PNG" or b"eXIf" in encoded  # Pillow decodes a PNG to know
        turned = image.getexif().get(0x0112, 1) if has_exif else 1  # how the camera was held
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    pixels = pixels.swapaxes(0, 1) if turned >= 5 else pixels
    pixels = pixels[::-1] if turned in (3, 4, 7, 8) else pixels
    return pixels[:, ::-1] if turned in (2, 3, 6, 7) else pixels


def decode_deep_tiff(path: Path, image: Image.Image) -> np.ndarray:
    """The 16 bits of a TIFF; where there are several channels, Pillow would cut them to 8."""
    if image.mode.startswith("I;16"):
        pixels = np.asarray(image).astype(np.uint16)
    else:
        import tifffile

        pixels = tifffile.imread(path, key=0)
        pixels = np.moveaxis(pixels, 0, -1) if image.tag_v2.get(284) == 2 else pixels  # planes
    return 65535 - pixels if image.tag_v2.get(262) == 0 else pixels  # 0 is white


def read_picture(path: Path) -> np.ndarray:
    """A picture the right way up, [height, width, 1 to 4 channels].

    Palettes, CMYK and the like become RGB; of an animation, the first picture is taken.
    """
    try:
        pixels = decode(path)
        if pixels.ndim != 3 or pixels.shape[2] > 4:
            raise ValueError(f"its shape is {pixels.shape}")
    except ModuleNotFoundError as error:
        raise UserError(f"{path}: pip install tifffile imagecodecs to read it") from error
    except Exception as error:  # decoders raise a dozen kinds for damaged files
        raise UserError(f"{path}: not a readable picture ({reason(error)})") from error
    return pixels


def without_idle_alpha(pixels: np.ndarray) -> np.ndarray:
    """Alpha that is opaque everywhere says nothing."""
    has_alpha = pixels.shape[2] in (2, 4)
    idle = has_alpha and (pixels[..., -1] == np.iinfo(pixels.dtype).max).all()
    return pixels[..., :-1] if idle else pixels


def read_pair(files: tuple[Path, ...], side_by_side: bool) -> list[np.ndarray]:
    """A and B, or the photo alone if there is only one."""
    pictures = [read_picture(file) for file in files]
    height, width = pictures[0].shape[:2]
    if side_by_side:
        if width % 2:
            raise UserError(f"{files[0]}: is {width} pixels wide, so it has no exact middle")
        pictures = [pictures[0][:, : width // 2], pictures[0][:, width // 2 :]]
    elif pictures[-1].shape[:2] != (height, width):
        sizes = " and ".join(f"{p.shape[0]}×{p.shape[1]}" for p in pictures)
        raise UserError(f"{files[0]}: differs in size from {files[1]} ({sizes})")
    return [without_idle_alpha(picture) for picture in pictures]


def with_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Grey, RGB or RGBA: what was transparent becomes white, and added alpha is opaque."""
    if pixels.shape[2] == channels < 4:
        return pixels
    full = np.iinfo(pixels.dtype).max
    colour, alpha = pixels[..., :3], np.full_like(pixels[..., :1], full)
    if pixels.shape[2] in (2, 4):
        colour, alpha = pixels[..., :-1], pixels[..., -1:]
    if channels < 4:
        colour = full - (full - colour.astype(float)) * (alpha / full)
    if channels == 1 and colour.shape[2] == 3:
        colour = colour @ np.array(LUMA)[:, None]
    if channels >= 3:
        colour = np.broadcast_to(colour, (*colour.shape[:2], 3))
    if channels == 4:  # a colour that cannot be seen is none: resizing would forget it, too
        return np.concatenate([colour * (alpha > 0), alpha], axis=-1)
    return np.rint(colour).astype(alpha.dtype)


def loaded_size(config: Train) -> tuple[int, int] | None:
    """The size that training pictures are loaded at, for jitter to cut from; None is their own."""
    if config.crop and config.jitter:
        return None
    scale = 286 / 256 if config.jitter and not config.crop else 1  # paper: 286×286, for 256×256
    return tuple(round(side * scale) for side in picture_size(config))


def fit(pixels: np.ndarray, size: tuple[int, int], config: Train) -> np.ndarray:
    """Bring a picture to (height, width), as --crop and --fit say."""
    height, width = pixels.shape[:2]
    shape = size if config.crop else (height, width)
    if config.fit == "crop" and not config.crop:
        scale = min(height / size[0], width / size[1])
        shape = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    top, left = (height - shape[0]) // 2, (width - shape[1]) // 2
    pixels = pixels[top : top + shape[0], left : left + shape[1]]
    return resized(pixels, size)


def resized(
    pixels: np.ndarray, size: tuple[int, int], kind: int = Image.Resampling.BILINEAR
) -> np.ndarray:
    """A picture at (height, width); a colour weighs as much as it is opaque."""
    if pixels.shape[:2] == size:
        return pixels

    def resize(part: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(part).resize(size[::-1], kind))

    channels, full = pixels.shape[2], np.float32(np.iinfo(pixels.dtype).max)
    if pixels.dtype == np.uint8:  # Pillow weights colours by their alpha
        pixels = pixels[..., 0] if channels == 1 else np.ascontiguousarray(pixels)
        return resize(pixels).reshape(*size, channels)
    alpha = pixels[..., -1:] / full if channels in (2, 4) else np.ones_like(pixels[..., :1], "f4")
    planes = [resize(plane) for plane in np.moveaxis(pixels * alpha, -1, 0)]
    alpha = resize(alpha[..., 0])[..., None]
    pixels = np.stack(planes, axis=-1) / np.maximum(alpha, 1 / full)
    if channels in (2, 4):
        pixels[..., -1:] = alpha * full
    return np.rint(pixels).clip(0, full).astype(np.uint16)


# --- 4e. Data: checking ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """What reading a whole split has shown."""

    pairs: Pairs  # the sound ones, at the size they are loaded at
    sound: tuple[int, ...]  # their numbers in the split
    problems: tuple[str, ...]
    sizes: Counter[tuple[int, int]]  # height and width
    kinds: Counter[tuple[tuple[int, int], ...]]  # of each picture of a pair: channels and bits


def look(pairs: Pairs, k: int, size: tuple[int, int] | None, config: Train) -> tuple:
    """Pair k as (its shape, channels and bits of each picture, the pictures fitted to the size)."""
    pictures = pairs.read(k)
    shape, least = pictures[0].shape[:2], picture_size(config)
    if config.crop and (shape[0] < least[0] or shape[1] < least[1]):
        shape, least = ("×".join(map(str, each)) for each in (shape, least))
        raise UserError(f"{pairs.files[k][0]}: {shape} is too small to cut {least} from it")
    kind = tuple((picture.shape[2], 8 * picture.itemsize) for picture in pictures)
    return shape, kind, [fit(each, size, config) if size else each for each in pictures]


def check_pairs(pairs: Pairs, config: Train, split: str, memory: int = 0) -> Report:
    """Read every pair once, so that a broken file is found now and not at step 7,213; keep them
    if they fit into so many bytes of memory, so that they need not be read again."""
    size = loaded_size(config)
    problems, sizes, kinds = list(pairs.problems), Counter(), Counter()
    sound, kept, kept_bytes = [], [], 0

    def attempt(k: int) -> tuple | UserError:
        try:
            return look(pairs, k, size if kept_bytes <= memory else None, config)
        except UserError as error:
            return error

    for k, outcome in enumerate(ahead(attempt, range(len(pairs)))):
        if due(k + 1, 100, len(pairs)):
            show_bar(f"Checking {split}", k + 1, len(pairs), f"{k + 1:,} of {len(pairs):,}")
        if isinstance(outcome, UserError):
            problems.append(str(outcome))
            continue
        shape, kind, pictures = outcome
        sound.append(k)
        sizes[shape] += 1
        kinds[kind] += 1
        kept_bytes += sum(picture.nbytes for picture in pictures)
        if kept_bytes <= memory:
            kept.append([picture.copy() for picture in pictures])  # not a view of a larger one
        else:
            kept.clear()
    in_memory = len(kept) == len(sound)
    read = kept.__getitem__ if in_memory else lambda k: look(pairs, sound[k], size, config)[2]
    checked = Pairs(tuple(pairs.names[k] for k in sound), read)
    return Report(checked, tuple(sound), tuple(problems), sizes, kinds)


def check_splits(splits: dict[str, Pairs], config: Train, memory: int) -> dict[str, Report]:
    """Check all splits; training pairs are kept in memory if they fit."""
    return {
        split: check_pairs(pairs, config, split, memory if split == "train" else 0)
        for split, pairs in splits.items()
    }


def refuse_broken(reports: dict[str, Report], config: Train) -> None:
    """Train on nothing that is broken, unless told to leave it out."""
    problems = [problem for report in reports.values() for problem in report.problems]
    if problems and not config.skip_broken:
        more = f"; and {len(problems) - 10:,} more" if len(problems) > 10 else ""
        raise UserError(
            f"{'; '.join(problems[:10])}{more}. Mend or remove them, or go on without them with "
            "--skip-broken."
        )
    if not next(iter(reports.values())).sound:
        raise UserError(
            f"{dataset_name(config)}: all {len(problems):,} {pairs_or_photos(config)} are broken."
        )
    if problems:
        show(f"Skipped   {len(problems):,} broken or without partner")


def decide(config: Train, direction: str, kinds: Counter) -> tuple[Train, dict]:
    """The configuration with what the pictures have decided, and that as config.json keeps it."""
    channels, bits = [], []
    for side in zip(*kinds, strict=True):
        has = {count for count, _ in side}
        channels.append(4 if has & {2, 4} else max(has))  # one with transparency is enough
        bits.append(max(bit for _, bit in side))
    if config.task != "pairs":
        photo = 3 if config.task in ("colorize", "inpaint") else channels[0]
        made = TASKS[config.task][1] or photo
        channels, bits = [made, photo], [8, bits[0]]
        if direction == "BtoA":
            channels, bits = channels[::-1], bits[::-1]
    found = {
        "direction": direction,
        "source_channels": config.source_channels or channels[0],
        "target_channels": config.target_channels or channels[1],
        "depth": config.depth or halvings(config),
    }
    return replace(config, **found), found | {"target_bits": bits[1]}


def pair_shape(pairs: Pairs, report: Report, config: Train) -> list[int] | None:
    """Height and width of most pictures, if each of them holds both halves of a pair."""
    if config.task != "pairs" or {len(files) for files in pairs.files} != {1}:
        return None
    height, width = report.sizes.most_common(1)[0][0]
    return [height, 2 * width]


def describe(config: Train, pairs: Pairs) -> str:
    """What is turned into what."""
    sides = ["left half", "right half"]
    if pairs.files and len(pairs.files[0]) == 2:
        sides = [str(file.parent) for file in pairs.files[0]]
    if config.task != "pairs":
        sides = [TASKS[config.task][0], "photo"]
    source, target = sides[:: -1 if config.direction == "BtoA" else 1]
    source += f" ({CHANNELS[config.source_channels]})"
    target += f" ({CHANNELS[config.target_channels]})"
    return f"{config.direction}: {source} → {target} at {'×'.join(map(str, picture_size(config)))}"


def warn_of_stretching(report: Report, config: Train) -> None:
    """Tell of pictures whose shape changes by more than a tenth on the way to the networks."""
    height, width = picture_size(config)
    ratios = {size: size[0] * width / (size[1] * height) for size in report.sizes}
    count = sum(n for size, n in report.sizes.items() if not 1 / 1.1 <= ratios[size] <= 1.1)
    if count and config.fit == "stretch" and not config.crop:
        show(
            f"Stretched {count:,} of {len(report.pairs):,} {pairs_or_photos(config)} by more than "
            f"10% to fit {height}×{width}; --fit crop cuts them instead"
        )


# --- 4f. Data: tasks ------------------------------------------------------------------------------


def luminance(photo: tf.Tensor) -> tf.Tensor:
    """A photo in grey."""
    colours = photo[..., :3]
    return tf.reduce_sum(colours * LUMA, -1, keepdims=True) if photo.shape[-1] > 2 else colours


def holes(height: int, width: int, seed: tf.Tensor) -> tf.Tensor:
    """Four rectangles anywhere, of 1/10 to 1/2 of the height and width: 1 where a hole is."""
    y, x, tall, wide = tf.unstack(tf.random.stateless_uniform([4, 4], seed)[..., None])
    row, column = (tf.range(count, dtype=tf.float32) / count for count in (height, width))
    rows = tf.abs(row - y) < 0.05 + 0.2 * tall  # [4, height]
    columns = tf.abs(column - x) < 0.05 + 0.2 * wide  # [4, width]
    inside = tf.reduce_any(rows[:, :, None] & columns[:, None, :], axis=0)
    return tf.cast(inside, tf.float32)[..., None]


def enlarged(small: tf.Tensor, config: Train) -> tf.Tensor:
    """A small photo at the size of the networks, for super-resolve."""
    return tf.clip_by_value(tf.image.resize(small, picture_size(config), "bicubic"), -1, 1)


def erased(photo: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    """A photo that is transparent where it is not known, as an image editor would erase."""
    return tf.concat([photo * known, 2 * known - 1], axis=-1)


def make_source(photo: tf.Tensor, config: Train, seed: tf.Tensor) -> tf.Tensor:
    """What is left of a photo [height, width, channels] when a task has taken something away."""
    height, width = picture_size(config)
    if config.task == "colorize":
        return luminance(photo)
    if config.task == "super-resolve":
        small = height // config.scale, width // config.scale
        return enlarged(tf.image.resize(photo, small, "bicubic", antialias=True), config)
    if config.task == "sketch":  # a line where it is darker than around
        near, around = (tf.nn.avg_pool2d(luminance(photo)[None], n, 1, "SAME")[0] for n in (3, 5))
        return 1 - 2 * tf.clip_by_value(20 * (around - near) - 0.3, 0, 1)
    return erased(photo, 1 - holes(height, width, seed))  # inpaint


# --- 4g. Data: jitter and batches -----------------------------------------------------------------


def normalise(pixels: np.ndarray) -> np.ndarray:
    """Whole numbers to -1…1, the range of the generator's tanh."""
    return pixels / np.float32(np.iinfo(pixels.dtype).max / 2) - 1


def source_alone(pixels: np.ndarray, config: Train) -> tf.Tensor:
    """The source, in [-1, 1], of a picture that has no target: of one that is to be translated."""
    source = normalise(with_channels(pixels, config.source_channels))
    if config.task == "super-resolve":
        return enlarged(source, config)
    if config.task == "inpaint":
        return erased(source[..., :3], (source[..., 3:] + 1) / 2)
    return tf.constant(source)


def stack(pictures: list[np.ndarray], config: Train) -> np.ndarray:
    """The pictures of a pair as one, channel upon channel, in [-1, 1]: all that happens to it from
    here on happens to both."""
    channels = [config.source_channels, config.target_channels]
    if config.task != "pairs":  # the photo alone
        channels = channels[:1] if config.direction == "BtoA" else channels[1:]
    pairs = zip(pictures, channels, strict=True)
    return np.concatenate([normalise(with_channels(p, count)) for p, count in pairs], axis=-1)


def source_and_target(both: tf.Tensor, config: Train, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Part what was stacked; for a task, make the source."""
    if config.task == "pairs":
        return tuple(tf.split(both, [config.source_channels, config.target_channels], axis=-1))
    made = make_source(both, config, seed)
    return (both, made) if config.direction == "BtoA" else (made, both)


def jittered(both: tf.Tensor, config: Train, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Cut source and target out of a larger picture at random, and mirror them at random."""
    size = picture_size(config)
    *corner, mirrored = tf.unstack(tf.random.stateless_uniform([3], seed))
    top, left = (
        tf.cast(draw * tf.cast(have - need + 1, tf.float32), tf.int32)
        for draw, have, need in zip(corner, tf.unstack(tf.shape(both)[:2]), size, strict=True)
    )
    channels = both.shape[-1]
    both = both[top : top + size[0], left : left + size[1]]
    if config.flip:
        both = tf.cond(mirrored < 0.5, lambda: tf.reverse(both, axis=[1]), lambda: both)
    both = tf.ensure_shape(both, [*size, channels])
    return source_and_target(both, config, tf.random.experimental.stateless_fold_in(seed, 1))


def batches(
    pairs: Pairs,
    config: Train,
    first_step: int,
    shard: tf.distribute.InputContext = tf.distribute.InputContext(),  # noqa: B008
) -> tf.data.Dataset:
    """The batches of all steps from `first_step` on, as a pure function of (seed, step).

    Example number k is pair k mod n of a permutation that is new in every epoch, so a run that
    goes on at some step sees what it would have seen without the stop, and nothing about the
    iterator has to be saved. Of several workers each makes its share of every batch, and of that,
    one part after the other, those of its devices.
    """
    count = len(pairs)
    share = config.batch_size // shard.num_input_pipelines
    channels = stack(pairs.read(0), config).shape[-1]

    @tf.autograph.experimental.do_not_convert
    def example(made: tf.Tensor) -> tuple:
        step, which = made // share, shard.input_pipeline_id * share + made % share
        number = step * config.batch_size + which
        epoch, position = number // count, number % count
        k = tf.random.experimental.index_shuffle(position, [config.seed, epoch], count - 1)
        read = lambda k: stack(pairs.read(k), config)  # noqa: E731
        both = tf.numpy_function(read, [k], tf.float32, stateful=False)
        seed = tf.stack([tf.constant(config.seed, tf.int64), number])
        return jittered(tf.ensure_shape(both, [None, None, channels]), config, seed)

    made = tf.data.Dataset.range(first_step * share, config.steps * share)
    examples = made.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    size = shard.get_per_replica_batch_size(config.batch_size)
    return examples.batch(size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def examples(pairs: Pairs, numbers: tuple[int, ...], config: Train) -> tuple[tf.Tensor, tf.Tensor]:
    """Some pairs as they are, without jitter: (sources, targets)."""
    both = (stack(look(pairs, k, picture_size(config), config)[2], config) for k in numbers)
    parted = (
        source_and_target(tf.constant(each), config, [config.seed, k])
        for k, each in zip(numbers, both, strict=True)
    )
    sources, targets = zip(*parted, strict=True)
    return tf.stack(sources), tf.stack(targets)


# --- 5. Generator ---------------------------------------------------------------------------------
#
# paper: section 6.1.1. Normalisation is per image, which at batch size 1 is the paper's batch
# normalisation with batch statistics. Unlike that, a picture's result does not depend on the others
# of its batch, and training, preview and every later use compute the same function.


def convolution(
    layer: type[layers.Layer], filters: int, stride: int, use_bias: bool, **options: int | str
) -> layers.Layer:
    """A 4×4 convolution, or with layers.Conv2DTranspose its transpose."""
    initial = keras.initializers.RandomNormal(0, 0.02)  # paper: all weights from N(0, 0.02)
    options = {"kernel_size": 4, "padding": "same"} | options
    return layer(filters, strides=stride, use_bias=use_bias, kernel_initializer=initial, **options)


def normalised(x: keras.KerasTensor, config: Train) -> keras.KerasTensor:
    """Each channel brought to mean 0 and variance 1, over a picture or a batch, then scaled."""
    options = {"epsilon": 1e-5, "gamma_initializer": keras.initializers.RandomNormal(1, 0.02)}
    if config.normalization == "instance":
        return layers.GroupNormalization(groups=-1, **options)(x)
    if config.normalization == "plain-instance":
        return layers.GroupNormalization(groups=-1, epsilon=1e-5, center=False, scale=False)(x)
    if config.normalization == "batch":
        together = tf.distribute.has_strategy()  # over the parts of a batch on several devices
        return layers.BatchNormalization(momentum=0.9, synchronized=together, **options)(x)
    return x


def upsampled(
    x: keras.KerasTensor, filters: int, use_bias: bool, config: Train
) -> keras.KerasTensor:
    """Twice as high and wide."""
    if config.upsampling == "resize":  # every pixel is made from equally many, so no checkerboard
        x = layers.UpSampling2D(2)(x)
        return convolution(layers.Conv2D, filters, 1, use_bias, kernel_size=3)(x)
    return convolution(layers.Conv2DTranspose, filters, 2, use_bias)(x)


def finished(x: keras.KerasTensor, source: keras.KerasTensor, task: str) -> keras.KerasTensor:
    """The generated picture in [-1, 1]; what a task's source already tells of it is kept."""
    x = layers.Activation("tanh", dtype="float32")(x)
    if task == "colorize":  # x is chroma, blue and red: what they are more than the luminance
        (r, g, b), (blue, red) = LUMA, ops.split(x, 2, axis=-1)
        blue, red = 2 * (1 - b) * blue, 2 * (1 - r) * red
        colour = ops.concatenate([red, -(r * red + b * blue) / g, blue], axis=-1)
        room = 1 - ops.sign(colour) * source  # up to white, or down to black
        x = source + colour * ops.minimum(
            1.0, ops.min(room / (ops.abs(colour) + 1e-6), axis=-1, keepdims=True)
        )
    elif task == "super-resolve":  # x is the detail
        x = ops.clip(source + x, -1.0, 1.0)
    elif task == "inpaint":  # source is RGB and what is known of it, 1 or -1
        known, where = ops.split(source, [3], axis=-1)
        x = x + (where + 1) / 2 * (known - x)
    return layers.Identity(dtype="float32", name="generated")(x)


def build_generator(config: Train) -> keras.Model:
    """The U-Net: `source` [batch, height, width, channels] in [-1, 1] to a picture of that size."""
    depth = config.depth or halvings(config)  # by default the innermost map ends 1 high or wide
    filters = [config.generator_filters * min(2**level, 8) for level in range(depth)]
    x = source = keras.Input((*picture_size(config), config.source_channels or 3), name="source")
    bare = config.normalization in ("none", "plain-instance")  # otherwise it has the biases

    skips = []
    for level, count in enumerate(filters):  # C64-C128-C256-C512-C512-C512-C512-C512
        if level > 0:
            x = layers.LeakyReLU(0.2)(x)
        x = convolution(layers.Conv2D, count, 2, use_bias=bare)(x)
        if 0 < level < depth - 1:  # paper: not the first. Nor a 1×1 map: it would become zero
            x = normalised(x, config)
        skips.append(x)  # [batch, height / 2^(level+1), width / 2^(level+1), count]

    for level in reversed(range(depth - 1)):  # CD512-CD512-CD512-C512-C256-C128-C64
        x = layers.ReLU()(x)
        x = upsampled(x, filters[level], bare, config)
        x = normalised(x, config)
        if level >= depth - 4:  # paper: dropout is the noise, in the first three
            x = layers.Dropout(0.5)(x)
        x = layers.Concatenate()([x, skips[level]])  # [batch, height / 2^(level+1), …, 2 · count]

    x = layers.ReLU()(x)
    channels = 2 if config.task == "colorize" else config.target_channels or 3
    x = upsampled(x, channels, True, config)
    return keras.Model(source, finished(x, source, config.task), name="generator")


def dropouts(generator: keras.Model) -> list[layers.Dropout]:
    """The layers that are noise; what each draws next is its `seed_generator.state`."""
    return [layer for layer in generator.layers if isinstance(layer, layers.Dropout)]


# --- 6. Discriminator -----------------------------------------------------------------------------


def build_discriminator(config: Train) -> keras.Model:
    """The 70×70 PatchGAN: (source, image) to logits, one for each overlapping patch."""
    size, bare = picture_size(config), config.normalization in ("none", "plain-instance")
    source = keras.Input((*size, config.source_channels or 3), name="source")
    image = keras.Input((*size, config.target_channels or 3), name="image")
    x = layers.Concatenate()([source, image])  # paper: conditional, so it sees the source too
    for level, (multiple, stride) in enumerate([(1, 2), (2, 2), (4, 2), (8, 1)]):
        x = layers.ZeroPadding2D(1)(x)
        count = config.discriminator_filters * multiple
        x = convolution(layers.Conv2D, count, stride, bare or level == 0, padding="valid")(x)
        if level > 0:
            x = normalised(x, config)
        x = layers.LeakyReLU(0.2)(x)  # 128, 64, 32, 31 pixels wide for 256 at the input
    x = layers.ZeroPadding2D(1)(x)
    x = convolution(layers.Conv2D, 1, stride=1, use_bias=True, padding="valid")(x)
    logits = layers.Activation("linear", dtype="float32", name="logits")(x)  # [batch, 30, 30, 1]
    return keras.Model([source, image], logits, name="discriminator")


# --- 6a. The same networks, faster on a processor -------------------------------------------------
#
# On small maps a layer is little arithmetic with many weights, which the convolutions of processors
# are not made for. With one matrix product for each of these the generator takes a third less time,
# a train step a sixth. The layers stay Keras's own, and a GPU uses them as they are.

SMALL_MAP = 16  # pixels, of the smaller of a layer's two maps


def gathered(large: tf.Tensor) -> tf.Tensor:
    """All 4×4 windows of stride 2, with zeros around: [batch, 2 · height, 2 · width, channels] to
    [batch, height, width, 4, 4, channels]."""
    _, height, width, channels = large.shape
    rows, columns = (2 * np.arange(side // 2)[:, None] + np.arange(4) for side in (height, width))
    where = rows[:, None, :, None] * (width + 2) + columns[None, :, None, :]
    bordered = tf.pad(large, [[0, 0], [1, 1], [1, 1], [0, 0]])
    flat = tf.reshape(bordered, [-1, (height + 2) * (width + 2), channels])
    return tf.gather(flat, where, axis=1)


def overlapped(patches: tf.Tensor) -> tf.Tensor:
    """The way back: each pixel is the sum of what the four windows that see it have there."""
    _, height, width, _, _, channels = patches.shape
    bordered = tf.pad(patches, [[0, 0], [1, 1], [1, 1], [0, 0], [0, 0], [0, 0]])
    flat = tf.reshape(bordered, [-1, (height + 2) * (width + 2) * 16, channels])
    y, x = np.arange(1, 2 * height + 1)[:, None], np.arange(1, 2 * width + 1)

    def seen(down: int, right: int) -> tf.Tensor:
        window = (y // 2 + down) * (width + 2) + x // 2 + right
        row, column = y % 2 + 2 - 2 * down, x % 2 + 2 - 2 * right  # within that window
        return tf.gather(flat, (4 * window + row) * 4 + column, axis=1)

    return (seen(0, 0) + seen(0, 1)) + (seen(1, 0) + seen(1, 1))


def kernel_gradient(large: tf.Tensor, small: tf.Tensor) -> tf.Tensor:
    """Of both that follow; `large` and `small` are a layer's maps, or their gradients."""
    return tf.einsum("bhwijc,bhwn->ijcn", gathered(large), small)


@tf.custom_gradient
def strided(large: tf.Tensor, kernel: tf.Tensor) -> tuple:
    """What layers.Conv2D computes; the other's gradient."""
    gradient = lambda small: (transposed(small, kernel), kernel_gradient(large, small))  # noqa: E731
    return tf.einsum("bhwijc,ijcn->bhwn", gathered(large), kernel), gradient


@tf.custom_gradient
def transposed(small: tf.Tensor, kernel: tf.Tensor) -> tuple:
    """What layers.Conv2DTranspose computes; the other's gradient."""
    gradient = lambda large: (strided(large, kernel), kernel_gradient(large, small))  # noqa: E731
    return overlapped(tf.einsum("bhwn,ijcn->bhwijc", small, kernel)), gradient


class Product(layers.Layer):
    """A convolution as one matrix product, on the weights of Keras's layer."""

    def __init__(self, layer: layers.Layer) -> None:
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self.layer = layer

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """What the layer computes."""
        compute = transposed if isinstance(self.layer, layers.Conv2DTranspose) else strided
        x = compute(x, tf.convert_to_tensor(self.layer.kernel))
        return x if self.layer.bias is None else x + tf.convert_to_tensor(self.layer.bias)


def quick(network: keras.Model) -> keras.Model:
    """The network to compute with, on the weights of the one given; on a GPU that one itself."""
    if tf.config.list_logical_devices("GPU"):
        return network

    def call(layer: keras.Operation, *inputs: object, **options: object) -> keras.KerasTensor:
        convolves = isinstance(layer, layers.Conv2D | layers.Conv2DTranspose)
        if convolves and (layer.kernel_size, layer.strides, layer.padding) == (
            (4, 4),
            (2, 2),
            "same",
        ):
            smallest = SMALL_MAP * (2 if isinstance(layer, layers.Conv2D) else 1)
            if min(inputs[0].shape[1:3]) <= smallest:
                return Product(layer)(*inputs)
        return layer(*inputs, **options)

    return keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=call)


# --- 7. Losses ------------------------------------------------------------------------------------


# What the logits of real and of generated patches cost the discriminator, and what the latter cost
# the generator. vanilla is the paper's cross-entropy with the sigmoid taken into the logarithm. Its
# gradient is one operation; that of TensorFlow's own adds four terms in the order in which memory
# becomes free, so that no two runs would agree to the last bit.
GAN_LOSSES = {
    "vanilla": (
        lambda real: tf.nn.softplus(-real),  # -log D
        lambda generated: tf.nn.softplus(generated),  # -log(1 - D)
        lambda generated: tf.nn.softplus(-generated),  # paper: maximise log D, see 3.3
    ),
    "least-squares": (
        lambda real: (real - 1) ** 2,
        lambda generated: generated**2,
        lambda generated: (generated - 1) ** 2,
    ),
    "hinge": (
        lambda real: tf.nn.relu(1 - real),
        lambda generated: tf.nn.relu(1 + generated),
        lambda generated: -generated,
    ),
}


def generator_losses(
    target: tf.Tensor, generated: tf.Tensor, generated_logits: tf.Tensor, config: Train
) -> dict[str, tf.Tensor]:
    """Deceive the discriminator and stay near the ground truth (paper: equation 4, λ = 100)."""
    gan = tf.reduce_mean(GAN_LOSSES[config.gan_loss][2](generated_logits))
    l1 = tf.reduce_mean(tf.abs(target - generated))
    return {
        "generator_total": gan + config.l1_weight * l1,
        "generator_gan": gan,
        "generator_l1": l1,
    }


def discriminator_loss(
    real_logits: tf.Tensor, generated_logits: tf.Tensor, config: Train
) -> tf.Tensor:
    """Tell real from generated."""
    of_real, of_generated, _ = GAN_LOSSES[config.gan_loss]
    both = tf.reduce_mean(of_real(real_logits)) + tf.reduce_mean(of_generated(generated_logits))
    return both / 2  # paper: halved, so that it learns slower than the generator


# --- 8. Train step --------------------------------------------------------------------------------
#
# Without AutoGraph, which none of this needs: it reads functions from the file anew, and computes
# something else if that has been edited since the program was started.


class Adam(keras.optimizers.Adam):
    """Keras's Adam with its update as one pass over each weight: TensorFlow's fused operation.

    On a processor the dozen separate passes of the plain one are a fifth of the whole step.
    """

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update one weight and its two moments in place."""
        k = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[k].value.handle,
            v=self._velocities[k].value.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


@tf.function(autograph=False)
def train_step(
    run: tf.train.Checkpoint, source: tf.Tensor, target: tf.Tensor, config: Train
) -> dict[str, tf.Tensor]:
    """Update both networks on one batch; the losses are those before the update.

    On several devices each calls this with its part of the batch; the optimizers add up gradients.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    optimizers = run.generator_optimizer, run.discriminator_optimizer
    generator, discriminator = quick(run.generator), quick(run.discriminator)
    with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
        generated = generator(source, training=True)
        real_logits = discriminator([source, target], training=True)
        generated_logits = discriminator([source, generated], training=True)
        losses = generator_losses(target, generated, generated_logits, config)
        losses["discriminator"] = discriminator_loss(real_logits, generated_logits, config)
        goals = losses["generator_total"] / replicas, losses["discriminator"] / replicas
        goals = [each.scale_loss(goal) for each, goal in zip(optimizers, goals, strict=True)]

    weights = run.generator.trainable_variables
    optimizers[0].apply(generator_tape.gradient(goals[0], weights))
    weights = run.discriminator.trainable_variables
    optimizers[1].apply(discriminator_tape.gradient(goals[1], weights))
    run.step.assign_add(1)
    if run.average is not run.generator:
        done = tf.cast(run.step, tf.float32)  # the average is short at first, to forget the start
        share = 1 - tf.minimum(config.average_weights, (1 + done) / (10 + done))
        for average, weight in zip(run.average.weights, run.generator.weights, strict=True):
            average.assign_add(share * (weight - average))
    for name, loss in losses.items():
        run.loss_sums[name].assign_add(loss)
    return losses


@tf.function(autograph=False)
def generate(generator: keras.Model, source: tf.Tensor, noise: bool = False) -> tf.Tensor:
    """What the generator makes of a batch, with dropout only if noise is wanted."""
    return quick(generator)(source, training=noise)


# --- 8a. Several devices --------------------------------------------------------------------------
#
# A worker is a machine, or rather a process; TensorFlow's own environment variable TF_CONFIG names
# all. Each has one or several devices, a replica on each: all weights, and a part of every batch.
# As gradients are added up, the number of replicas does not change what a run computes.


@cache  # two of the same devices would take each other's sums for their own
def strategy_of(*devices: str) -> tf.distribute.Strategy:
    """Of these devices of this machine, or without any of all workers."""
    if not devices:
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.MirroredStrategy(devices)


def strategy_for(config: Train) -> tf.distribute.Strategy:
    """What trains: one device, those of this machine, or those of all workers."""
    try:
        cluster = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        workers = sum(map(len, cluster.cluster_spec().as_dict().values()))
        if workers > 1:
            show(f"Worker    {cluster.task_type} {cluster.task_id}; waits for all {workers}")
            strategy = strategy_of()
    except (ValueError, TypeError, KeyError, AttributeError, tf.errors.OpError) as error:
        raise UserError(f"TF_CONFIG: cannot be used ({reason(error)}).") from error
    if workers > 1 and config.batch_size % strategy.num_replicas_in_sync:
        devices = f"{strategy.num_replicas_in_sync}, the number of devices of all workers"
        raise UsageError(f"--batch-size must be a multiple of {devices}, not {config.batch_size}.")
    if workers > 1:
        return strategy
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    count = max(n for n in range(1, len(devices) + 1) if config.batch_size % n == 0)
    if count == 1:
        return tf.distribute.get_strategy()
    return strategy_of(*(device.name for device in devices[:count]))


def writes(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes: the first worker."""
    return strategy.extended.should_checkpoint


@contextmanager
def working_in(folder: Path, strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Keep other runs out of a folder, and end in a line if the run loses a worker."""
    refusal = f"{folder}: another process trains here. Use --name for a second run."
    try:
        with locked(folder, refusal) if writes(strategy) else nullcontext():
            yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        raise UserError(
            f"{folder}: lost the connection to another worker. Start all of them again with the "
            "same commands: they go on from the last checkpoint."
        ) from error


def sum_of_all(value: tf.Tensor) -> tf.Tensor:
    """On a replica: what all replicas have, added up."""
    on_device = tf.identity(value)
    return tf.distribute.get_replica_context().all_reduce("SUM", on_device)


@tf.function(autograph=False)
def total_of_all(strategy: tf.distribute.Strategy, value: tf.Tensor) -> tf.Tensor:
    """What all replicas of all workers have, added up."""
    return strategy.experimental_local_results(strategy.run(sum_of_all, (value,)))[0]


def asked_to_stop(strategy: tf.distribute.Strategy, requests: list[int], now: bool) -> int:
    """The signal by which this worker, or `now` any other, was asked to stop; or 0."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return requests[0] if requests else 0
    # all have to stop at the same step, so each has to know of the others
    asked = now and int(total_of_all(strategy, tf.constant(len(requests))))
    return (requests or [signal.SIGTERM])[0] if asked else 0


@tf.function(autograph=False)
def share_state(strategy: tf.distribute.Strategy, run: tf.train.Checkpoint) -> None:
    """Give all replicas the state of the first one, but each a dropout of its own."""
    networks = run.generator, run.discriminator, run.average
    parts = dict.fromkeys([*networks, run.generator_optimizer, run.discriminator_optimizer])
    variables = [variable.value for part in parts for variable in part.variables]
    variables += [run.step, run.logged, *run.loss_sums.values()]

    def on_replica() -> None:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        for variable in variables:
            value = variable if variable.dtype.is_floating else tf.cast(variable, tf.int64)
            value = sum_of_all(tf.where(replica == 0, value, tf.zeros_like(value)))
            variable.assign(tf.cast(value, variable.dtype))
        for seed in run.noise:
            seed.assign_add(tf.cast([replica, 0], seed.dtype))

    strategy.run(on_replica)


def begin_together(strategy: tf.distribute.Strategy, run: tf.train.Checkpoint, told: dict) -> None:
    """Let all replicas start from the first one's state, if all were told the same."""
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return
    places = ("source_dir", "target_dir", "output", "data_dir", "mirror", "config")
    same = {k: v for k, v in told.items() if k not in ("dataset", "name", *places)}
    mark = zlib.crc32(json.dumps(same, sort_keys=True).encode())
    if int(total_of_all(strategy, tf.constant(mark, tf.int64))) != mark * replicas:
        raise UserError("The workers have other options or other pictures. Give all the same.")
    share_state(strategy, run)


# --- 9. Pictures ----------------------------------------------------------------------------------


def to_pixels(image: tf.Tensor, bits: int = 8) -> np.ndarray:
    """-1…1 to whole numbers of 8 or 16 bits, rounded."""
    full = 2**bits - 1
    return np.rint((np.asarray(image) + 1) * (full / 2)).clip(0, full).astype(f"uint{bits}")


def draw_panel(path: Path, columns: dict[str, tf.Tensor]) -> None:
    """Save a table of pictures as PNG: titled columns, pixel for pixel, small ones enlarged."""
    arrays = {title: to_pixels(images) for title, images in columns.items()}
    count, *size = next(iter(arrays.values())).shape[:3]
    zoom, gap, head = max(1, 256 // max(size)), 8, 28  # the last two in pixels
    dpi = 128  # a power of two divides without a remainder, so that no row of pixels is lost
    tall, wide = (side * zoom + gap for side in size)
    width, height = len(arrays) * wide + gap, count * tall + head
    figure = matplotlib.figure.Figure((width / dpi, height / dpi), dpi=dpi, facecolor="white")
    for column, (title, images) in enumerate(arrays.items()):
        x, y = gap + column * wide, height - head
        middle = (x + (wide - gap) / 2) / width, 1 - head / 2 / height
        figure.text(*middle, title, ha="center", va="center", fontsize=8)
        for row, image in enumerate(images.repeat(zoom, axis=1).repeat(zoom, axis=2)):
            image = image.repeat(3, axis=-1) if image.shape[-1] == 1 else image
            figure.figimage(image, x, y - (row + 1) * tall + gap)
    with replacing(path) as temporary:
        figure.savefig(temporary)


def show_inline(path: Path, shown: object) -> object:
    """In a notebook, show a picture in place of the one shown before; elsewhere do nothing."""
    if "ipykernel" not in sys.modules:
        return None
    from IPython import display

    picture = display.Image(filename=path)
    if shown is None:
        return display.display(picture, display_id=True)
    shown.update(picture)
    return shown


# --- 10. Run folder -------------------------------------------------------------------------------
#
# config.json, ckpt-*, generator.keras, metrics.csv, previews/ and logs/. A run in memory is a
# tf.train.Checkpoint, so that what is saved is exactly what is trained.


def run_folder(config: Train) -> Path:
    """Where a run lives."""
    told = (config.source_dir, config.target_dir) if config.source_dir else (config.dataset,)
    name = "_to_".join(os.path.basename(os.path.abspath(each)) for each in told if each)
    task = "" if config.task == "pairs" else f"-{config.task}"
    return Path(config.output).expanduser() / (config.name or name + task)


def computing_type(config: Train) -> str:
    """What the networks compute in while they are trained."""
    if config.precision != "auto":
        return config.precision
    if gpus := tf.config.list_physical_devices("GPU"):
        details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
        able = all(each.get("compute_capability", (0, 0)) >= (8, 0) for each in details)
    else:
        known = CPU_INFO.read_text() if CPU_INFO.exists() else ""
        able = re.search(r"\b(avx512|amx)_bf16\b", known)
    return "bfloat16" if able else "float32"


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """What networks that are built meanwhile compute in."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def new_run(config: Train) -> tf.train.Checkpoint:
    """Everything that training changes, at step 0."""
    keras.utils.set_random_seed(config.seed)
    computing = computing_type(config)
    with dtype_policy("float32" if computing == "float32" else f"mixed_{computing}"):
        networks = build_generator(config), build_discriminator(config)
        average = networks[0]
        if config.average_weights:
            average = build_generator(config)
            average.set_weights(networks[0].get_weights())
    optimizers = [Adam(config.learning_rate, config.beta_1) for _ in networks]  # paper: β₁ = 0.5
    if computing == "float16":  # small gradients would be zero
        optimizers = [keras.optimizers.LossScaleOptimizer(each) for each in optimizers]
    for network, optimizer in zip(networks, optimizers, strict=True):
        optimizer.build(network.trainable_variables)
    return tf.train.Checkpoint(
        generator=networks[0],
        discriminator=networks[1],
        average=average,  # what is shown and saved: the generator, or its --average-weights
        generator_optimizer=optimizers[0],
        discriminator_optimizer=optimizers[1],
        noise=[each.seed_generator.state.value for each in dropouts(networks[0])],
        step=tf.Variable(0, dtype=tf.int64, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA),
        logged=tf.Variable(0, dtype=tf.int64),  # the step of the last log line
        loss_sums={  # of the steps since then
            name: tf.Variable(0.0, aggregation=tf.VariableAggregation.MEAN) for name in LOSSES
        },
    )


def refuse_another_run(new: dict, folder: Path) -> None:
    """Let only the same run go on in a folder; `new` is what config.json would become."""
    if not checkpoints(folder) or not (folder / "config.json").exists():
        return
    old = read_config(folder / "config.json")
    same = ("task", "image_size", "generator_filters", "discriminator_filters", "normalization")
    for name in (*same, "upsampling", "average_weights", *new["found"]):
        now = {**new, **new["found"]}[name]
        before = {**old, **old["found"]}.get(name, now)
        if before not in (now, None):  # None: imported, and not known
            if name == "pairs":
                name = "other pictures (--dataset, --seed or --holdout differ, or files):"
            raise UserError(
                f"{folder} holds a run with {name.replace('_', ' ')} {before}, not {now}. "
                "Give the new run a folder of its own with --name."
            )


def write_config(new: dict, folder: Path) -> None:
    """Save what the run was told and what it found out; say what is not as it was."""
    path = folder / "config.json"
    old = read_config(path) if checkpoints(folder) and path.exists() else new
    data = ("scale", "fit", "crop", "jitter", "flip", "seed")
    losses = ("learning_rate", "learning_rate_decay_from", "beta_1", "l1_weight", "gan_loss")
    for field in (*data, "batch_size", *losses, "precision"):
        if old.get(field, new[field]) != new[field]:
            show(f"Changed   {flag(field)} {old[field]} → {new[field]}, from here on")
    write_text(path, json.dumps(new, indent=2) + "\n")


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run without their suffixes, oldest first."""
    found = [path.with_suffix("") for path in folder.glob("ckpt-*.index")]
    return sorted(found, key=lambda path: int(path.name.removeprefix("ckpt-")))


def last_good(folder: Path) -> str:
    """What a run goes on from."""
    return checkpoints(folder)[-1].name if checkpoints(folder) else "step 0"


def sweep(folder: Path) -> None:
    """Remove what a killed or failed save has left half-written."""
    complete = {path.name for path in checkpoints(folder)}
    for path in [*folder.glob("ckpt-*"), *folder.glob(".partial-*")]:
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name.split(".")[0] not in complete:
            path.unlink()


def restore(run: tf.train.Checkpoint, folder: Path) -> None:
    """Bring a run to its newest good checkpoint, if it has any."""
    damaged = []
    for path in reversed(checkpoints(folder)):
        try:
            run.restore(str(path)).assert_consumed()
            break
        except (tf.errors.OpError, IndexError, ValueError, AssertionError):
            show(f"{path} is damaged and put aside as damaged-{path.name}: going back one.")
            damaged.append(path)
    else:
        if damaged:
            raise UserError(f"{folder}: no checkpoint can be read. Start a new run with --name.")
    for path in damaged:
        for part in folder.glob(f"{path.name}.*"):
            part.rename(part.with_name(f"damaged-{part.name}"))


def in_float32(network: keras.Model) -> keras.Model:
    """The network with its weights, to compute in float32 as everything after the training does."""
    if all(layer.compute_dtype == "float32" for layer in network.layers):
        return network
    copy = lambda layer: type(layer).from_config(layer.get_config() | {"dtype": "float32"})  # noqa: E731
    network, weights = keras.models.clone_model(network, clone_function=copy), network.get_weights()
    network.set_weights(weights)
    return network


def save_generator(generator: keras.Model, settings: dict, example: np.ndarray, path: Path) -> None:
    """Write a generator.keras that carries its config.json and an example of a source in itself."""
    in_float32(generator).save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("run.json", json.dumps(settings))
        with archive.open("example.npy", "w") as file:
            np.save(file, example)


@dataclass(frozen=True)
class Trained:
    """A generator that is ready for work, and how it was trained."""

    folder: Path
    generator: keras.Model
    config: Train
    settings: dict  # as in config.json
    example: np.ndarray  # a batch of one source

    @property
    def found(self) -> dict:
        """What its training found out."""
        return self.settings["found"]


def load_run(path: Path) -> Trained:
    """Open a run folder or a generator.keras; nothing has to be told again."""
    file = path / "generator.keras" if path.is_dir() else path
    if not file.exists():
        what = "it comes with the first checkpoint" if path.is_dir() else "name a run folder"
        raise UserError(f"{file}: there is no such file; {what}.")
    try:
        settings = read_config(zipfile.Path(file, "run.json"))
        with zipfile.ZipFile(file) as archive, archive.open("example.npy") as example:
            example = np.load(example)
        generator = keras.saving.load_model(file, compile=False)
    except Exception as error:  # Keras, HDF5 and zipfile raise a dozen kinds
        raise UserError(f"{file}: not a sound generator.keras ({reason(error)}).") from error
    generator.trainable = False  # so that batch normalisation stays as it is even with dropout on
    told = from_saved(settings)
    decided = {k: v for k, v in settings["found"].items() if k in asdict(told)}
    return Trained(file.parent, generator, replace(told, **decided), settings, example)


def save(run: tf.train.Checkpoint, source: tf.Tensor, folder: Path, keep: int) -> None:
    """Write generator.keras and then, complete only with its last file, a checkpoint."""
    step = int(run.step.numpy())
    logits = run.discriminator([source, generate(run.average, source)], training=False)
    if not np.isfinite(logits).all():  # the losses are from before the last update
        raise not_finite(run, folder)
    try:
        with replacing(folder / "generator.keras") as temporary:
            settings = read_config(folder / "config.json")
            settings["found"]["step"] = step
            save_generator(run.average, settings, source.numpy(), temporary)
        partial = folder / ".partial-checkpoint"
        tf.train.CheckpointManager(run, partial, 1, checkpoint_name="ckpt").save(step)
        for part in (*sorted(partial.glob("ckpt-*")), partial / "checkpoint"):  # data, index, list
            os.replace(part, folder / part.name)
        partial.rmdir()
    except (OSError, tf.errors.OpError) as error:
        sweep(folder)
        raise UserError(
            f"{folder}: step {step:,} could not be saved ({reason(error)}). "
            f"Free some space and start again; it goes on from {last_good(folder)}."
        ) from error
    for old in checkpoints(folder)[:-keep]:
        for part in folder.glob(f"{old.name}.*"):
            part.unlink()
    show(f"Saved {folder / f'ckpt-{step}'} and generator.keras")


def keep_rows(path: Path, step: int) -> None:
    """Drop the rows of metrics.csv that were written after the checkpoint a run goes on from."""
    rows = re.findall(r"(?m)^((\d+),.*\n)", path.read_text()) if path.exists() else []
    header = ",".join(["step", *LOSSES, "steps_per_second"]) + "\n"
    write_text(path, header + "".join(row for row, number in rows if int(number) <= step))


def summarise(writer: tf.summary.SummaryWriter, step: int, values: dict | Path) -> None:
    """Give TensorBoard scalars or a picture; it has to be installed only to look at them."""
    summary = tf.compat.v1.Summary()
    if isinstance(values, Path):
        image = tf.compat.v1.Summary.Image(encoded_image_string=values.read_bytes())
        summary.value.add(tag="preview", image=image)
    else:
        for name, value in values.items():
            summary.value.add(tag=name, simple_value=value)
    with writer.as_default():
        tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step)
    writer.flush()


def not_finite(run: tf.train.Checkpoint, folder: Path) -> UserError:
    """What to say when numbers have run away."""
    step, since = int(run.step.numpy()), int(run.logged.numpy()) + 1
    return UserError(
        f"{folder}: a loss stopped being finite between steps {min(since, step):,} and {step:,}; "
        f"nothing was overwritten, the last good checkpoint is {last_good(folder)}. "
        "Try a smaller --learning-rate."
    )


def mean_losses(run: tf.train.Checkpoint, folder: Path) -> dict[str, float]:
    """The mean losses since the last log line; one that is not finite is the end of the run."""
    count = max(1, int(run.step.numpy()) - int(run.logged.numpy()))
    means = {name: float(total.numpy()) / count for name, total in run.loss_sums.items()}
    if not all(math.isfinite(mean) for mean in means.values()):
        raise not_finite(run, folder)
    return means


def preview(run: tf.train.Checkpoint, held_out: tuple, folder: Path, writer) -> Path:
    """Save the panel input · ground truth · prediction of the held-out examples."""
    sources, targets = held_out
    path = folder / "previews" / f"step-{int(run.step.numpy()):06}.png"
    path.parent.mkdir(exist_ok=True)
    generated = tf.concat([generate(run.average, source[None]) for source in sources], axis=0)
    draw_panel(path, {"Input": sources, "Ground truth": targets, "Prediction": generated})
    summarise(writer, int(run.step.numpy()), path)
    return path


def log(run: tf.train.Checkpoint, folder: Path, writer, losses: dict, clock) -> None:
    """Add a line to the screen, to metrics.csv and to TensorBoard, and begin new means."""
    step = int(run.step.numpy())
    row = {**losses, "steps_per_second": clock.rate(step)}
    show("  ".join([clock.progress(step), *(f"{k} {v:.4g}" for k, v in losses.items())]))
    with open(folder / "metrics.csv", "a") as file:
        file.write(",".join([str(step), *(f"{value:.6g}" for value in row.values())]) + "\n")
    summarise(writer, step, row)
    run.logged.assign(step)
    for total in run.loss_sums.values():
        total.assign(0.0)


# --- 11. Train ------------------------------------------------------------------------------------


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Put the first Ctrl-C, SIGTERM or SIGHUP into the yielded list; the next one ends at once."""
    requests, signals = [], (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heeded = [each for each in signals if signal.getsignal(each) != signal.SIG_IGN]  # see nohup

    def request(number: int, _frame: object) -> None:
        requests.append(number)  # and nothing else: it may come in the middle of anything
        for each in heeded:
            signal.signal(each, signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():
        yield requests  # only the main thread may handle signals
        return
    before = [signal.signal(each, request) for each in heeded]
    try:
        yield requests
    finally:
        for each, handler in zip(heeded, before, strict=True):
            signal.signal(each, handler)


def seconds_per_step(run: tf.train.Checkpoint, source: tf.Tensor) -> float:
    """A guess from the generator alone, which is about a fifth of a step."""
    times = []
    for _ in range(5):  # the first ones also trace and allocate, others may be disturbed
        start = time.monotonic()
        generate(run.average, source).numpy()
        times.append(time.monotonic() - start)
    return 5 * min(times)


def announce(
    config: Train, replicas: int, counts: str, direction: str, first: int, seconds: float
) -> None:
    """Say what is about to happen, how long it will take, and what to do if that is too long."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus[:1]]
    device = details[0].get("device_name", "GPU") if gpus else f"CPU with {os.cpu_count()} cores"
    if replicas > 1:
        device = f"{replicas} × {device}"
    elif len(gpus) > 1:
        device += f", 1 of {len(gpus)}: --batch-size {len(gpus)} takes all"
    steps = config.steps - first
    show(f"Dataset   {dataset_name(config)}: {counts}")
    show(f"Direction {direction}")
    show(f"Device    {device}, {computing_type(config)}")
    show(f"Run       {run_folder(config)}, steps {first + 1:,} to {config.steps:,}")
    show(f"Time      about {timedelta(seconds=round(steps * seconds))}, {seconds:.2g} s a step")
    if not gpus and steps * seconds > 3600:
        show(f"No GPU found: {steps:,} steps take hours. For a short try: --steps 500 --name try")


class Clock:
    """How fast the steps go from `step` on, and how long the rest will take."""

    def __init__(self, step: int, total: int) -> None:
        self.step, self.total, self.start = step, total, time.monotonic()

    def rate(self, step: int) -> float:
        """Steps a second."""
        return (step - self.step) / (time.monotonic() - self.start)

    def progress(self, step: int) -> str:
        """The line that is on the screen while steps are made."""
        rate = self.rate(step)
        left = timedelta(seconds=round((self.total - step) / rate))
        return f"step {step:,}/{self.total:,}  {rate:.3g} steps/s  {left} left"


def learning_rate(config: Train, step: int) -> float:
    """What it is when so many steps are done: a function of that alone, so it survives a stop."""
    start = config.learning_rate_decay_from
    left = 1.0 if start is None else min(1.0, (config.steps - step) / (config.steps - start))
    return config.learning_rate * left


def all_steps(
    config: Train, strategy: tf.distribute.Strategy, run: tf.train.Checkpoint, pairs: Pairs
) -> Iterator[int]:
    """Make the steps that are left, on all devices; the numbers of those that are done."""
    first, alone = int(run.step.numpy()), strategy.num_replicas_in_sync == 1
    compiled = config.xla == "on" or (
        config.xla == "auto" and tf.config.list_physical_devices("GPU")
    )

    @tf.function(autograph=False, jit_compile=alone and bool(compiled))
    def step_function(source: tf.Tensor, target: tf.Tensor) -> None:
        strategy.run(train_step.python_function, (run, source, target, config))

    shards = strategy.distribute_datasets_from_function(
        lambda shard: batches(pairs, config, first, shard)
    )
    for step, (source, target) in enumerate(shards, first + 1):
        for optimizer in (run.generator_optimizer, run.discriminator_optimizer):
            optimizer.learning_rate = learning_rate(config, step - 1)
        step_function(source, target)
        yield step


def train_steps(
    config: Train,
    strategy: tf.distribute.Strategy,
    run: tf.train.Checkpoint,
    pairs: Pairs,
    held_out: tuple,
    folder: Path,
) -> None:
    """The loop: step, log, preview, save."""
    first, total, shown = int(run.step.numpy()), config.steps, None
    here = writes(strategy)
    if here:
        writer = tf.summary.create_file_writer(str(folder / "logs"))
        keep_rows(folder / "metrics.csv", first)

    clock = Clock(first, total)
    with stop_requests() as requests:
        for step in all_steps(config, strategy, run, pairs):
            log_due = due(step, config.log_every, total)
            preview_due = due(step, config.preview_every, total)
            show_due = due(step, max(1, config.log_every // 20), total)
            stopping = asked_to_stop(strategy, requests, log_due or show_due)
            save_due = stopping or due(step, config.checkpoint_every, total)
            pause = log_due or preview_due or save_due
            if pause:
                losses = mean_losses(run, folder)  # waits for the device, and stops at a NaN
            if log_due and here:
                log(run, folder, writer, losses, clock)
            elif show_due and here:
                show(clock.progress(step), keep=False)
            if preview_due and here:
                shown = show_inline(preview(run, held_out, folder, writer), shown)
            if save_due and here:
                save(run, held_out[0][:1], folder, config.keep_checkpoints)
            if stopping and step < total:
                where = ["--name", folder.name, "--output", str(folder.parent)]
                where = shlex.join(where[: 2 if config.output == Train.output else 4])
                show(f"Stopped at step {step:,}. To go on: {COMMAND} {where}")
                raise SystemExit(128 + stopping)
            if pause or step == first + 1:  # the first step compiles
                clock = Clock(step, total)
    show(f"Finished. The generator: {folder / 'generator.keras'}, pictures: {folder / 'previews'}")


def train(config: Train) -> Path:
    """Train until `config.steps` steps are done, from wherever the run stopped; its folder."""
    check_config(config)
    folder = run_folder(config)
    told = to_saved(config)
    strategy = strategy_for(config)
    with working_in(folder, strategy):
        splits, direction = find_pairs(config)
        reports = check_splits(splits, config, CACHE_BYTES)
        refuse_broken(reports, config)
        config, found = decide(config, direction, reports["train"].kinds)
        shape = pair_shape(splits["train"], reports["train"], config)
        new = told | {"found": {"pairs": str(splits["train"]), **found, "pair_shape": shape}}
        refuse_another_run(new, folder)
        with strategy.scope():
            run = new_run(config)
        if writes(strategy):
            sweep(folder)
            restore(run, folder)
        begin_together(strategy, run, new)
        first = int(run.step.numpy())
        if first >= config.steps:
            show(f"{folder} is finished: {first:,} steps. To train longer: --steps {2 * first}")
            return folder

        held_out = next(s for s in ("val", "test", "train") if s in reports and reports[s].sound)
        held = examples(splits[held_out], reports[held_out].sound[:3], config)
        replicas = strategy.num_replicas_in_sync
        seconds = seconds_per_step(run, tf.repeat(held[0][:1], config.batch_size // replicas, 0))
        pairs, what = reports["train"].pairs, pairs_or_photos(config)
        counts = f"{len(pairs):,} training {what}; previews of {held_out} {what}"
        announce(config, replicas, counts, describe(config, splits["train"]), first, seconds)
        warn_of_stretching(reports["train"], config)
        if writes(strategy):
            write_config(new, folder)
            write_text(folder / "training_pairs.txt", "\n".join(pairs.names) + "\n")
        train_steps(config, strategy, run, pairs, held, folder)
    return folder


# --- 11a. Before training: inspect ----------------------------------------------------------------


def summarise_split(pairs: Pairs, report: Report) -> str:
    """What the sound pairs of a split are like."""
    sizes = sorted(report.sizes, key=math.prod)
    sizes = ["×".join(map(str, size)) for size in dict.fromkeys((sizes[0], sizes[-1]))]
    texts, sides = [" to ".join(sizes)], list(zip(*report.kinds, strict=True))
    for title, side in zip(("source", "target")[: len(sides)], sides, strict=True):
        kinds = [CHANNELS[count] + " 16-bit" * (bits == 16) for count, bits in sorted(set(side))]
        texts.append(f"{title if len(sides) == 2 else 'photo'} {' and '.join(kinds)}")
    formats = Counter()
    for file in (file for k in report.sound if pairs.files for file in pairs.files[k]):
        with Image.open(file) as image:
            formats[image.format] += 1
    return ", ".join([*texts, *(f"{count:,} {name}" for name, count in formats.items())])


def inspect(config: Train) -> Path:
    """Print what a dataset holds and what is broken, and draw what the network would see of it."""
    check_config(config)
    splits, direction = find_pairs(config)
    reports = check_splits(splits, config, memory=0)
    for split, report in reports.items():
        about = f": {summarise_split(splits[split], report)}" if report.sound else ""
        show(f"{split:<9} {len(report.pairs):,} {pairs_or_photos(config)}{about}")
    problems = [problem for report in reports.values() for problem in report.problems]
    for problem in problems:
        show(f"Broken    {problem}")
    train = reports["train"]
    if not train.sound:
        refuse_broken(reports, config)

    config, _ = decide(config, direction, train.kinds)
    show(f"Direction {describe(config, splits['train'])}")
    warn_of_stretching(train, config)
    first = train.sound[:3]
    sources, targets = examples(splits["train"], first, config)
    columns = {"Source": sources, "Target": targets}
    for draw in (1, 2, 3):
        drawn = (
            jittered(stack(train.pairs.read(k), config), config, [draw, k])
            for k in range(len(first))
        )
        sources, targets = zip(*drawn, strict=True)
        columns |= {f"Draw {draw}, source": sources, f"Draw {draw}, target": targets}
    sheet = run_folder(config).with_name(f"{run_folder(config).name}-inspect.png")
    sheet.parent.mkdir(parents=True, exist_ok=True)
    draw_panel(sheet, columns)
    show(f"Saved     {sheet}, what the network sees")
    if problems and not config.skip_broken:
        raise UserError(
            f"{dataset_name(config)}: {len(problems):,} broken, see above. Mend or remove them, or "
            "train without them with --skip-broken."
        )
    return sheet


# --- 12. Translate --------------------------------------------------------------------------------
#
# read → resize or pad → windows → generator → blend → full size → write. Reading and writing go on
# in threads while the generator works. A picture is one window, unless its resolution is kept.


@dataclass(frozen=True)
class Translate:
    """Let a trained generator translate pictures; there is no need for targets."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """A run folder, or a generator.keras."""
    inputs: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="INPUT…")]
    """Pictures, videos, folders with all that is below them, or patterns like "photos/*.jpg"."""
    output: Path = Path("translated")
    """The folder for the results; they are named like the inputs."""
    format: Literal["png", "jpg", "webp", "same"] = "png"
    """same: each as its input. Where the targets had 16 bits, png has them too."""
    overwrite: bool = False
    """Replace results that are there already."""
    native: bool = False
    """Keep the resolution, in windows of the training size. Otherwise pictures are resized to that
    size, and the results back."""
    pairs: bool = False
    """The inputs are side-by-side pairs: translate the source half."""
    side_by_side: bool = False
    """Put each input to the left of its result."""
    samples: int = 0
    """Make so many different results of each picture, with dropout as noise."""
    seed: int = 0
    """Decides the samples."""
    batch_size: int = 8
    """Windows that the generator gets at once; the results do not depend on it."""


@dataclass(frozen=True, eq=False)
class Job:
    """A picture on its way through the generator; what is not known yet is None."""

    path: Path
    results: list[Path]
    problem: UserError | None = None
    pixels: np.ndarray | None = None
    seen: np.ndarray | None = None  # the pixels as the generator sees them, resized or padded
    rows: dict[int, np.ndarray] | None = None  # where windows begin, and their shares: see below
    columns: dict[int, np.ndarray] | None = None


def find_inputs(names: tuple[str, ...], output: Path) -> dict[Path, Path]:
    """The pictures and videos to translate, and what each is called inside its folder; results of
    before are none, should they be in there."""
    if not names:
        raise UsageError("translate wants to know what: name pictures, folders or patterns.")
    found = {}
    for name in names:
        matches = [name] if os.path.exists(name) else sorted(glob.glob(name, recursive=True))
        here = {path: Path(path.name) for path in map(Path, matches) if path.is_file()}
        for folder in map(Path, matches):
            before = output.resolve() if folder.resolve() in output.resolve().parents else None
            for path in sorted(folder.glob("**/[!.]*")):
                known = path.suffix.lower() in IMAGE_SUFFIXES or is_video(path)
                if known and before not in path.resolve().parents:
                    here[path] = path.relative_to(folder)
        if not here:
            raise UserError(f"{name}: no pictures there. Name pictures, folders or patterns.")
        found |= here
    return found


def find_jobs(options: Translate) -> list[Job]:
    """The inputs and where their results go, no two to the same place."""
    jobs, owners, inputs = [], {}, find_inputs(options.inputs, options.output)
    originals = {path.resolve() for path in inputs}
    for path, name in inputs.items():
        if is_video(path) and options.samples:
            raise UsageError(f"--samples is for pictures, and {path} is a video.")
        result = options.output / name
        if options.format != "same" and not is_video(path):
            result = result.with_suffix(f".{options.format}")
        numbers = range(1, options.samples + 1) if not options.side_by_side else ()
        results = [result.with_stem(f"{result.stem}-{k}") for k in numbers] or [result]
        for result in results:
            other = owners.setdefault(result.resolve(), path)
            if other != path:
                raise UserError(
                    f"{other} and {path} would both become {result}. Translate them one after the "
                    "other, or use --format same."
                )
            if result.resolve() in originals:
                raise UserError(f"{result} is one of the inputs. Choose another --output.")
        jobs.append(Job(path, results))
    return jobs


def window_size(config: Train) -> tuple[int, int]:
    """How much of a picture one source is made of."""
    return tuple(side // enlargement(config) for side in picture_size(config))


def keeps_resolution(config: Train, options: Translate) -> bool:
    """Whether pictures are translated at their own resolution, which some trainings have seen."""
    return options.native or config.crop or config.task == "super-resolve"


def load(job: Job, pixels: np.ndarray, trained: Trained, options: Translate) -> Job:
    """Bring a picture to the size it is translated at, and decide on its windows."""
    config, (height, width) = trained.config, pixels.shape[:2]
    size = window = window_size(config)
    if keeps_resolution(config, options):
        lacking = [(0, max(0, window[0] - height)), (0, max(0, window[1] - width)), (0, 0)]
        seen = np.pad(pixels, lacking, "symmetric")
    else:
        if config.fit == "crop":  # windows cover also what the training would have cut off
            scale = max(window[0] / height, window[1] / width)
            size = max(window[0], round(scale * height)), max(window[1], round(scale * width))
        seen = resized(pixels, size)
    rows = windows(seen.shape[0], window[0], enlargement(config))
    columns = windows(seen.shape[1], window[1], enlargement(config))
    return replace(job, pixels=pixels, seen=seen, rows=rows, columns=columns)


def load_file(job: Job, trained: Trained, options: Translate) -> Job:
    """Read a picture; one that cannot be read is no reason to give up the others."""
    try:
        pictures = read_pair((job.path,), side_by_side=options.pairs)
        pixels = pictures[-1 if trained.config.direction == "BtoA" else 0]
        if trained.config.task == "inpaint" and pixels.shape[2] % 2:
            raise UserError(f"{job.path}: nothing is transparent, so there is nothing to fill")
        return load(job, pixels, trained, options)
    except UserError as error:
        return replace(job, problem=error)


def is_pair(pixels: np.ndarray, trained: Trained) -> bool:
    """Whether a picture has the shape of the side-by-side pairs that the run was trained on."""
    height, width = trained.found.get("pair_shape") or (1, math.inf)
    return abs(pixels.shape[1] / pixels.shape[0] * height / width - 1) < 0.02


def set_noise(generator: keras.Model, seed: int, sample: int) -> None:
    """Make the next noise of the generator a function of these numbers alone."""
    for level, layer in enumerate(dropouts(generator)):
        state = np.random.SeedSequence((seed, sample, level)).generate_state(2)
        layer.seed_generator.state.assign(state)


def translated(
    jobs: Iterable[Job], trained: Trained, options: Translate
) -> Iterator[tuple[Job, list[np.ndarray]]]:
    """Each job with its results, one or as many as samples are asked for."""
    for job, parts in groupby(generated_windows(jobs, trained, options), key=itemgetter(0)):
        yield job, [blended(each, job, trained) for _, each in groupby(parts, key=itemgetter(1))]


def side_by_side(pictures: list[np.ndarray]) -> np.ndarray:
    """Pictures in a row, as high as the last one, in 8 bits."""
    channels = max(3 if each.shape[2] == 2 else each.shape[2] for each in pictures)
    size = pictures[-1].shape[:2]
    row = (to_pixels(normalise(resized(with_channels(each, channels), size))) for each in pictures)
    return np.concatenate(list(row), axis=1)


def finish(
    job: Job, images: list[np.ndarray], trained: Trained, options: Translate
) -> list[np.ndarray]:
    """The pictures to write for a job."""
    images = [at_full_size(image, job, trained, options) for image in images]
    return [side_by_side([job.pixels, *images])] if options.side_by_side else images


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Save a picture in the format its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        if path.suffix.lower() == ".png":  # twice as fast as compressed in full, and 9% larger
            temporary.write_bytes(tf.io.encode_png(pixels, compression=1).numpy())
            return
        pixels = to_pixels(normalise(pixels))
        if path.suffix.lower() not in (".webp", ".tif", ".tiff"):
            pixels = with_channels(pixels, min(3, pixels.shape[2]))
        pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
        Image.fromarray(pixels).save(temporary, quality=95)


def translate_pictures(jobs: list[Job], trained: Trained, options: Translate) -> list[UserError]:
    """Translate all pictures that can be read; what is wrong with the others."""
    problems, pairs = [], []

    def sound(loaded: Iterable[Job]) -> Iterator[Job]:
        for job in loaded:
            if job.problem:
                problems.append(job.problem)
                show(f"Skipped   {job.problem}")
                continue
            if not options.pairs and is_pair(job.pixels, trained):
                pairs.append(job.path)
                what = "looks like a pair of the training; --pairs translates its source half"
                show(f"Careful   {job.path} {what}", keep=len(pairs) == 1)
            yield job

    def write(made: tuple[Job, list[np.ndarray]]) -> None:
        for path, pixels in zip(made[0].results, finish(*made, trained, options), strict=True):
            write_picture(path, pixels)

    loaded = ahead(lambda job: load_file(job, trained, options), jobs, options.batch_size)
    written = ahead(write, translated(sound(loaded), trained, options), options.batch_size)
    for count, _ in enumerate(written, 1):
        show_bar("Translating", count, len(jobs), f"{count:,} of {len(jobs):,}")
    return problems


def translate(options: Translate) -> Path:
    """Translate pictures and videos; the folder of the results."""
    if options.batch_size < 1 or options.samples < 0:
        raise UsageError("--batch-size must be above 0, and --samples not below.")
    trained, found = load_run(options.run), find_jobs(options)
    jobs = [j for j in found if options.overwrite or not any(map(Path.exists, j.results))]
    pictures = [job for job in jobs if not is_video(job.path)]
    problems = translate_pictures(pictures, trained, options)
    for job in jobs:
        if is_video(job.path):
            try:
                translate_video(job, trained, options)
            except UserError as error:
                problems.append(error)
                show(f"Skipped   {error}")
    if left := len(found) - len(jobs):
        show(f"Left      {left:,} that exist already; --overwrite makes them anew")
    show(f"Wrote     {len(jobs) - len(problems):,} of {len(jobs):,} to {options.output}")
    if problems:
        raise UserError(f"{len(problems):,} could not be translated, see above.")
    return options.output


# --- 12a. Translate: windows ----------------------------------------------------------------------


def windows(length: int, size: int, zoom: int) -> dict[int, np.ndarray]:
    """Where windows begin that overlap by half, and how much each of their pixels counts in the
    result: less towards the ends of a window, and 1 in all windows together."""
    count = math.ceil(2 * (length - size) / size) + 1
    begins = np.linspace(0, length - size, count).round().astype(int).tolist()
    bump = np.sin(np.pi * (np.arange(size * zoom) + 0.5) / (size * zoom)) ** 2
    total = np.zeros(length * zoom)
    places = {begin: slice(begin * zoom, (begin + size) * zoom) for begin in begins}
    for place in places.values():
        total[place] += bump
    return {begin: bump / total[place] for begin, place in places.items()}


def generated_windows(
    jobs: Iterable[Job], trained: Trained, options: Translate
) -> Iterator[tuple[Job, int, int, int, np.ndarray]]:
    """The windows of all jobs as (job, sample, top, left, generated), in this order."""
    height, width = window_size(trained.config)
    noise = options.samples > 0
    count = 1 if noise else options.batch_size
    parts = (
        (job, sample, top, left)
        for job in jobs
        for sample, top, left in product(range(options.samples or 1), job.rows, job.columns)
    )
    while group := list(islice(parts, count)):
        sources = [
            source_alone(job.seen[top : top + height, left : left + width], trained.config)
            for job, _, top, left in group
        ]
        sources += sources[:1] * (count - len(group))  # always as many: always the same rounding
        if noise:
            set_noise(trained.generator, options.seed, group[0][1])
        images = generate(trained.generator, tf.stack(sources), noise).numpy()
        yield from ((*part, image) for part, image in zip(group, images, strict=False))


def blended(parts: Iterable[tuple], job: Job, trained: Trained) -> np.ndarray:
    """One picture of its windows. They come row by row, and a strip of one row is kept in full."""
    zoom, bits = enlargement(trained.config), trained.found["target_bits"]
    height, wide = picture_size(trained.config)[0], job.seen.shape[1] * zoom
    strip = np.zeros((height, wide, trained.config.target_channels), np.float32)
    whole = np.empty((job.seen.shape[0] * zoom, *strip.shape[1:]), f"uint{bits}")
    begin = 0
    for *_, top, left, image in parts:
        done = top * zoom - begin  # what no later window reaches
        if done:
            whole[begin : begin + done] = to_pixels(strip[:done], bits)
            strip = np.concatenate([strip[done:], np.zeros_like(strip[:done])])
            begin += done
        down, across = job.rows[top][:, None, None], job.columns[left][:, None]
        strip[:, left * zoom : left * zoom + image.shape[1]] += image * down * across
    whole[begin:] = to_pixels(strip, bits)
    return whole


def at_full_size(image: np.ndarray, job: Job, trained: Trained, options: Translate) -> np.ndarray:
    """A result at the size of its input. What a task keeps of that is kept at full resolution."""
    config = trained.config
    height, width = (side * enlargement(config) for side in job.pixels.shape[:2])
    if keeps_resolution(config, options) or image.shape[:2] == (height, width):
        return image[:height, :width]
    image = resized(image, (height, width), Image.Resampling.BICUBIC)
    if config.task not in ("colorize", "inpaint"):
        return image
    whole = source_alone(job.pixels, config)
    whole = kept(tf.constant(normalise(image)), whole, config.task)
    return to_pixels(whole, 8 * image.itemsize)


def kept(image: tf.Tensor, source: tf.Tensor, task: str) -> tf.Tensor:
    """A result at full size with what its task keeps of the source, both in [-1, 1]."""
    if task == "colorize":
        return image + source - luminance(image)
    if task == "inpaint":
        photo, known = tf.split(source, [3, 1], axis=-1)
        return photo + (1 - known) / 2 * image
    return image


# --- 12b. Translate: video ------------------------------------------------------------------------

VIDEO_SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"}


def is_video(path: Path) -> bool:
    """Whether its name says so."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def ffmpeg(program: str, *arguments: object, **pipes: int) -> subprocess.Popen:
    """Start ffmpeg or ffprobe."""
    try:
        command = [program, "-v", "fatal", *map(str, arguments)]
        return subprocess.Popen(command, **pipes)
    except FileNotFoundError as error:
        raise UserError(f"{program}: not found; install ffmpeg, or give frames.") from error


def frame_rate(path: Path) -> str:
    """Frames per second, as a fraction."""
    which = ("-select_streams", "v:0", "-show_entries", "stream=r_frame_rate", "-of", "csv=p=0")
    with ffmpeg("ffprobe", *which, path, stdout=subprocess.PIPE, text=True) as process:
        rate = process.stdout.read().split(",")[0].strip()
    if not rate:
        raise UserError(f"{path}: not a readable video.")
    return rate


def read_frames(path: Path, rate: str) -> Iterator[np.ndarray]:
    """The pictures of a video, the right way up."""
    arguments = ("-i", path, "-r", rate, "-f", "image2pipe", "-c:v", "ppm", "-")
    with ffmpeg("ffmpeg", *arguments, stdout=subprocess.PIPE) as process:
        while process.stdout.readline():  # of each picture: P6, width and height, 255, the pixels
            width, height = map(int, process.stdout.readline().split())
            process.stdout.readline()
            pixels = np.frombuffer(process.stdout.read(3 * width * height), np.uint8)
            yield pixels.reshape(height, width, 3)
    if process.returncode:
        raise UserError(f"{path}: ffmpeg could not read it.")


def write_frames(frames: Iterable[np.ndarray], rate: str, original: Path, path: Path) -> None:
    """A video of these frames with the sound of the original."""
    frames = iter(frames)
    if (first := next(frames, None)) is None:
        raise UserError(f"{original}: not a readable video.")
    size = f"{first.shape[1]}x{first.shape[0]}"
    pixels = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", rate, "-i", "-")
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # most players want even sides, and this format
    coded = ("-vf", even, "-pix_fmt", "yuv420p", "-crf", "18", "-c:a", "copy")
    sound = ("-i", original, "-map", "0:v", "-map", "1:a?")
    process = ffmpeg("ffmpeg", "-y", *pixels, *sound, *coded, path, stdin=subprocess.PIPE)
    with suppress(BrokenPipeError), process:
        for count, frame in enumerate(chain([first], frames), 1):
            process.stdin.write(with_channels(frame, 3).tobytes())
            show(f"Translating {original.name}: frame {count:,}", keep=False)
    if process.returncode:
        raise UserError(f"{original}: ffmpeg could not write its translation.")


def translate_video(job: Job, trained: Trained, options: Translate) -> None:
    """Translate a video frame by frame."""
    rate = frame_rate(job.path)
    frames = read_frames(job.path, rate)
    loaded = ahead(lambda pixels: load(job, pixels, trained, options), frames, options.batch_size)
    results = translated(loaded, trained, options)
    made = ahead(lambda made: finish(*made, trained, options)[0], results, options.batch_size)
    job.results[0].parent.mkdir(parents=True, exist_ok=True)
    with replacing(job.results[0]) as temporary:
        write_frames(made, rate, job.path, temporary)


# --- 13. Evaluate ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluate:
    """Measure a generator on pairs it was not trained on, and make a web page of the results."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """A run folder, or a generator.keras."""
    split: Literal["train", "val", "test", None] = None
    """Which pairs. Default: test, or where there is none val."""
    checkpoint: str | None = None
    """The step of a kept checkpoint, or all of them. Default: generator.keras, the newest."""
    judge: Path | None = None
    """A run trained in the other direction, from photos to labels: can it read the labels back?"""
    fid: bool = False
    """Also FID and KID on InceptionV3 (downloads 88 MB); not comparable with those of papers."""
    dataset: str | None = None
    """Other pairs than the run's own."""
    skip_broken: bool = False
    """Go on without broken pairs."""
    output: Path | None = None
    """Default: results, in the run folder."""


METRICS = {"l1": "L1 ↓", "psnr": "PSNR ↑", "ssim": "SSIM ↑", "ms_ssim": "MS-SSIM ↑"}
NOT_THE_PAPERS_FID = (
    "On the InceptionV3 that comes with Keras (ImageNet weights), not on the network of 2015 that "
    "papers use: compare these figures only with each other."
)


@tf.function(autograph=False)
def measure(target: tf.Tensor, generated: tf.Tensor) -> dict[str, tf.Tensor]:
    """How near each generated picture of a batch is to its target, values taken in [0, 1]."""
    target, generated = (target + 1) / 2, (generated + 1) / 2
    error = target - generated
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales: Wang et al., 2003
    scales = int(math.log2(min(target.shape[1:3]) / 11)) + 1  # as many as the window of 11 fits in
    weights = [weight / sum(weights[:scales]) for weight in weights[:scales]]
    return {
        "l1": tf.reduce_mean(tf.abs(error), [1, 2, 3]),
        "psnr": -10
        * tf.experimental.numpy.log10(
            tf.maximum(tf.reduce_mean(error**2, [1, 2, 3]), 1e-10)  # of equal pictures 100, not ∞
        ),
        "ssim": tf.image.ssim(target, generated, 1.0),
        "ms_ssim": tf.image.ssim_multiscale(target, generated, 1.0, weights),
    }


def translations(
    trained: Trained, pairs: Pairs, numbers: Iterable[int]
) -> Iterator[tuple[tuple[int, ...], tf.Tensor, tf.Tensor, tf.Tensor]]:
    """Some pairs in batches of (numbers, sources, targets, generated)."""
    numbers = iter(numbers)
    groups = iter(lambda: tuple(islice(numbers, 8)), ())
    read = lambda group: (group, *examples(pairs, group, trained.config))  # noqa: E731
    for group, sources, targets in ahead(read, groups, 4):
        yield group, sources, targets, generate(trained.generator, sources)


def measure_pairs(trained: Trained, pairs: Pairs, numbers: tuple[int, ...]) -> list[dict]:
    """The name and the metrics of each pair."""
    rows = []
    for group, _, targets, generated in translations(trained, pairs, numbers):
        table = {metric: values.numpy() for metric, values in measure(targets, generated).items()}
        for row, k in enumerate(group):
            name = pairs.files[k][0].name if pairs.files else pairs.names[k]
            values = {metric: float(values[row]) for metric, values in table.items()}
            rows.append({"number": k, "name": name, **values})
        show_bar("Evaluating", len(rows), len(numbers), f"{len(rows):,} of {len(numbers):,}")
    return rows


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """FID: the distance of two sets of features [n, d], each taken as a normal distribution."""
    of_a, of_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(of_a)
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    mixed = np.sqrt(np.linalg.eigvalsh(root @ of_b @ root).clip(0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(of_a) + np.trace(of_b) - 2 * mixed)


def kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    """KID: the squared maximum mean discrepancy under a cubic kernel, without bias."""

    def similarity(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: np.ndarray) -> float:
        of_pairs = similarity(x, x)
        return (of_pairs.sum() - np.trace(of_pairs)) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * similarity(a, b).mean())


def inception() -> keras.Model:
    """What FID and KID look at pictures with."""
    try:
        return keras.applications.InceptionV3(include_top=False, pooling="avg")
    except Exception as error:  # Keras raises a plain Exception when the network is away
        raise UserError(
            f"--fid needs InceptionV3's weights once, and they could not be fetched "
            f"({reason(error)}). Go on line, or leave --fid out."
        ) from error


def feature_scores(
    model: keras.Model, trained: Trained, pairs: Pairs, numbers: tuple[int, ...]
) -> dict[str, float]:
    """FID and KID of the generated pictures against the real ones."""

    def features(pictures: tf.Tensor) -> np.ndarray:
        grey = pictures.shape[-1] == 1
        colour = tf.image.grayscale_to_rgb(pictures) if grey else pictures[..., :3]
        return generate(model, tf.image.resize(colour, (299, 299), antialias=True)).numpy()

    real, made = [], []
    for *_, targets, generated in translations(trained, pairs, numbers):
        real.append(features(targets))
        made.append(features(generated))
        show(f"FID and KID: {8 * len(real):,} pairs", keep=False)
    real, made = np.concatenate(real), np.concatenate(made)
    return {"fid": frechet_distance(real, made), "kid": kernel_distance(real, made)}


# --- 13a. Evaluate: the judge ---------------------------------------------------------------------
#
# paper: section 3.3, the FCN-score. A network that reads labels from photos finds more of them the
# more a generated photo looks like a real one. The paper takes a foreign network; here it is our
# own, trained in the other direction, and what it reads in the real photos is the best to hope for.


def find_palette(labels: Iterable[np.ndarray]) -> np.ndarray:
    """The colours of the classes in label maps, most frequent first: [classes, 3].

    They are counted where neighbours agree: at edges JPEG makes colours that mean nothing."""
    bins, counts = np.array([1024, 32, 1]), np.zeros(32**3, int)  # 5 bits of each colour
    for picture in labels:
        pixels = with_channels(picture, 3).astype(int)
        steps = np.abs(pixels[1:, 1:] - pixels[:-1, 1:]), np.abs(pixels[1:, 1:] - pixels[1:, :-1])
        even = np.maximum(*steps).max(axis=-1) <= 8
        counts += np.bincount((pixels[1:, 1:][even] >> 3) @ bins, minlength=32**3)
    colours = (np.indices((32, 32, 32)).reshape(3, -1).T << 3) + 4
    palette, least = [], 0.001 * counts.sum()
    while counts.sum() and len(palette) <= 64:
        colour = colours[counts.argmax()]
        same = np.abs(colours - colour).max(axis=-1) <= 32
        if counts[same].sum() < least:
            break
        palette.append(colour)
        counts[same] = 0
    return np.array(palette)


def open_judge(path: Path, trained: Trained, labels: Pairs) -> tuple[Trained, np.ndarray]:
    """The judge, and the colours of the classes it shall find."""
    judge, size = load_run(path), picture_size(trained.config)
    channels = trained.config.target_channels, trained.config.source_channels
    theirs = judge.config.source_channels, judge.config.target_channels
    if judge.config.direction == trained.config.direction or theirs != channels:
        raise UserError(
            f"{path}: --judge must be trained on the same pairs in the other direction."
        )
    if picture_size(judge.config) != size:
        raise UserError(f"{path}: --judge must be trained at the same --image-size.")
    every = max(1, len(labels) // 100)
    palette = find_palette(labels.read(k)[0] for k in range(0, len(labels), every))
    if not 2 <= len(palette) <= 64:
        raise UserError(
            f"--judge needs label maps; these sources have {len(palette)} even colours."
        )
    return judge, palette


def to_classes(labels: tf.Tensor, palette: np.ndarray) -> np.ndarray:
    """The number of the nearest colour for each pixel of some label maps."""
    pixels = np.stack([with_channels(each, 3) for each in to_pixels(labels)]).astype(np.float32)
    return np.argmin([((pixels - colour) ** 2).sum(axis=-1) for colour in palette], axis=0)


def read_back(
    labels: tf.Tensor, photos: tf.Tensor, judge: Trained, palette: np.ndarray
) -> np.ndarray:
    """How many pixels of each true class the judge reads as which: [true, read]."""
    true, read = (to_classes(each, palette) for each in (labels, generate(judge.generator, photos)))
    count = len(palette)
    return np.bincount((true * count + read).ravel(), minlength=count**2).reshape(count, count)


def label_scores(confusion: np.ndarray) -> dict[str, float]:
    """The three scores of the paper."""
    right, true, read = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    there = true > 0
    return {
        "per_pixel_accuracy": float(right.sum() / confusion.sum()),
        "per_class_accuracy": float((right[there] / true[there]).mean()),
        "class_iou": float((right[there] / (true + read - right)[there]).mean()),
    }


def judge_scores(
    judge: Trained, palette: np.ndarray, trained: Trained, pairs: Pairs, numbers: tuple[int, ...]
) -> dict[str, dict[str, float]]:
    """How well the judge reads the labels back from the generated and from the real photos."""
    confusion = {"generated": 0, "real": 0}
    for _, labels, real, generated in translations(trained, pairs, numbers):
        confusion["generated"] += read_back(labels, generated, judge, palette)
        confusion["real"] += read_back(labels, real, judge, palette)
        show("Asking the judge", keep=False)
    return {name: label_scores(counts) for name, counts in confusion.items()}


# --- 13b. Evaluate: the report --------------------------------------------------------------------


def to_uri(picture: tf.Tensor | Path) -> str:
    """A picture, or an image file, as text in a web page."""
    if isinstance(picture, Path):
        kind, data = picture.suffix[1:], picture.read_bytes()
    else:
        pixels, encoded, kind = to_pixels(picture), io.BytesIO(), "webp"
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        Image.fromarray(pixels).save(encoded, kind, quality=90)
        data = encoded.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def plot_metrics(path: Path, over_steps: dict[int, dict[str, float]]) -> None:
    """Draw the mean metrics over the steps."""
    figure = matplotlib.figure.Figure((10, 2.6), layout="constrained")
    for axes, (metric, title) in zip(
        figure.subplots(1, len(METRICS)), METRICS.items(), strict=True
    ):
        axes.plot(list(over_steps), [means[metric] for means in over_steps.values()], marker="o")
        axes.set(title=title, xlabel="steps")
        axes.locator_params("x", nbins=4)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=128)


def extra_tables(summary: dict) -> list[dict]:
    """The scores of --judge and --fid as tables of text."""
    tables = []
    if "judge" in summary:
        columns = ["per-pixel accuracy", "per-class accuracy", "class IoU"]
        rows = [
            [f"{kind} photos", *(f"{value:.3f}" for value in scores.values())]
            for kind, scores in summary["judge"].items()
        ]
        note = (
            f"How well {summary['judged_by']} reads the labels back; real photos are the ceiling."
        )
        tables.append({"title": "Judge", "note": note, "columns": ["", *columns], "rows": rows})
    if "fid" in summary:
        row = [f"{summary['fid']:.1f}", f"{summary['kid']:.4f}"]
        table = {"title": "Features", "note": NOT_THE_PAPERS_FID, "columns": ["FID ↓", "KID ↓"]}
        tables.append({**table, "rows": [row]})
    return tables


def page_of(summary: dict, rows: list[dict], plot: str) -> dict:
    """What the web page shows."""
    count, size = len(summary["pairs"]), "×".join(map(str, summary["size"]))
    left_out = f"Only the {len(rows)} worst and best of {count:,} by SSIM are here."
    return {
        "title": f"{summary['run']}: {count:,} {summary['split']} pairs",
        "notes": [
            f"After {summary['step']:,} steps, at {size}, values from 0 to 1. "
            "↓ less is better, ↑ more is better."
        ],
        "warnings": summary["warnings"],
        "metrics": METRICS,
        "mean": summary["mean"],
        "tables": extra_tables(summary),
        "plot": plot,
        "left_out": left_out if len(rows) < count else "",
        "rows": rows,
    }


def page_rows(rows: list[dict], trained: Trained, pairs: Pairs) -> list[dict]:
    """The worst and best pairs with their pictures, as many as a browser shows with ease."""
    ranked = sorted(rows, key=itemgetter("ssim"))
    chosen = ranked if len(rows) <= 200 else ranked[:100] + ranked[-100:]
    numbers, pictures = [row["number"] for row in chosen], []
    for _, *three in translations(trained, pairs, numbers):
        pictures += [[to_uri(each) for each in pair] for pair in zip(*three, strict=True)]
    return [row | {"pictures": uris} for row, uris in zip(chosen, pictures, strict=True)]


def write_report(folder: Path, summary: dict, trained: Trained, pairs: Pairs) -> None:
    """metrics.json, metrics.csv, and index.html, which holds all it shows."""
    folder.mkdir(parents=True, exist_ok=True)
    plot, table = "", io.StringIO()
    if len(summary["steps"]) > 1:
        plot_metrics(folder / "metrics.png", summary["steps"])
        plot = to_uri(folder / "metrics.png")
    writer = csv.DictWriter(table, ["name", *METRICS], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(summary["pairs"])
    rows = page_rows(summary["pairs"], trained, pairs)
    page = json.dumps(page_of(summary, rows, plot)).replace("</", "<\\/")
    template = (PAGES / "results.html").read_text(encoding="utf-8")
    write_text(folder / "metrics.json", json.dumps(summary, indent=2) + "\n")
    write_text(folder / "metrics.csv", table.getvalue())
    write_text(folder / "index.html", template.replace("/*RESULTS*/null", page))


# --- 13c. Evaluate: the command -------------------------------------------------------------------


def choose_pairs(config: Train, options: Evaluate) -> tuple[dict[str, Pairs], str, Report]:
    """All pairs, the split to evaluate, not one that was trained on unless it was asked for, and
    which of that are sound."""
    splits, _ = find_pairs(config)
    there = [split for split, pairs in splits.items() if len(pairs)]
    wanted = [options.split] if options.split else ["test", "val"]
    split = next((split for split in wanted if split in there), None)
    if not split:
        wanted, there = " or ".join(wanted), ", ".join(there)
        raise UserError(f"{dataset_name(config)}: no {wanted} pairs; --split can be {there}.")
    report = check_pairs(splits[split], config, split)
    refuse_broken({split: report}, config)
    return splits, split, report


def trained_on(pairs: Pairs, report: Report, folder: Path) -> int:
    """How many of these pairs the run was trained on, by their names and sizes."""
    path = folder / "training_pairs.txt"
    text = path.read_text("utf-8", "surrogateescape") if path.exists() else ""
    known = set(text.split("\n"))
    return sum(pairs.names[k] in known for k in report.sound)


def chosen_steps(options: Evaluate, trained: Trained) -> Iterator[int]:
    """Bring the generator to each checkpoint that is to be evaluated, the newest last."""
    if not options.checkpoint:
        yield trained.found["step"]
        return
    kept = {path.name.removeprefix("ckpt-"): path for path in checkpoints(options.run)}
    if not kept or options.checkpoint not in (*kept, "all"):
        there = f"all or one of {', '.join(kept)}" if kept else "left out: there are none here"
        raise UsageError(f"--checkpoint must be {there}, not {options.checkpoint}.")
    for step in kept if options.checkpoint == "all" else [options.checkpoint]:
        try:
            status = tf.train.Checkpoint(average=trained.generator).restore(str(kept[step]))
            status.expect_partial().assert_existing_objects_matched()
        except (tf.errors.OpError, IndexError, ValueError, AssertionError) as error:
            raise UserError(f"{kept[step]}: cannot be read ({reason(error)}).") from error
        yield int(step)


def extra_scores(
    options: Evaluate, trained: Trained, labels: Pairs, pairs: Pairs, numbers: tuple[int, ...]
) -> Callable[[], dict]:
    """What computes the scores of --judge and --fid; what these need is looked for right now."""
    judge = open_judge(options.judge, trained, labels) if options.judge else None
    model = inception() if options.fid else None

    def scores() -> dict:
        found = {}
        if judge:
            judged = judge_scores(*judge, trained, pairs, numbers)
            found |= {"judged_by": str(options.judge), "judge": judged}
        if model:
            found |= feature_scores(model, trained, pairs, numbers)
        return found

    return scores


def evaluate(options: Evaluate) -> Path:
    """Measure a generator and write the report; its folder."""
    trained = load_run(options.run)
    folder, config = options.output or trained.folder / "results", trained.config
    if options.dataset:
        config = replace(config, dataset=options.dataset, source_dir=None, target_dir=None)
    config = replace(config, skip_broken=config.skip_broken or options.skip_broken)
    check_config(replace(config, source_channels=None, target_channels=None))
    splits, split, report = choose_pairs(config, options)
    pairs, numbers, steps, warnings = splits[split], report.sound, {}, []
    if known := trained_on(pairs, report, trained.folder):
        warnings = [f"{known:,} of these {len(numbers):,} pairs were trained on: this is no test."]
    extras = extra_scores(options, trained, splits["train"], pairs, numbers)
    show(f"Dataset   {dataset_name(config)}: {len(numbers):,} {split} pairs")
    for step in chosen_steps(options, trained):
        rows = measure_pairs(trained, pairs, numbers)
        steps[step] = {metric: float(np.mean([row[metric] for row in rows])) for metric in METRICS}
        means = ", ".join(f"{METRICS[metric]} {mean:.4g}" for metric, mean in steps[step].items())
        show(f"Step {step:,}: {means}")
    summary = {
        "run": str(options.run),
        "split": split,
        "warnings": warnings,
        "size": picture_size(config),
        "step": step,
        "mean": steps[step],
        **extras(),
        "steps": steps,
        "pairs": rows,
    }
    for line in warnings:
        show(f"Careful   {line}")
    for table in extra_tables(summary):
        for row in table["rows"]:
            cells = zip(table["columns"], row, strict=True)
            show(f"{table['title']:<9} " + ", ".join(" ".join(cell).strip() for cell in cells))
    write_report(folder, summary, trained, pairs)
    show(f"Saved     {folder / 'index.html'}, with metrics.json and metrics.csv beside it")
    return folder


# --- 14. Export -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Export:
    """Write a generator in formats for other programs, and check that each computes the same."""

    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """A run folder, or a generator.keras."""
    formats: tuple[Literal["keras", "saved_model", "onnx", "litert", "pytorch"], ...] = (
        "keras",
        "saved_model",
    )
    """Any of these."""
    half: bool = False
    """onnx and litert: weights of 16 bits, half as large."""
    int8: bool = False
    """onnx and litert: weights of 8 bits where these formats have them, and less exact."""
    output: Path | None = None
    """Default: export, in the run folder."""


def takes_pictures(config: Train) -> bool:
    """Whether a picture is translated whole, so that a plain function can do it."""
    return config.fit == "stretch" and not config.crop and config.task != "super-resolve"


def picture_function(generator: keras.Model, trained: Trained) -> Callable:
    """translate in TensorFlow: encoded pictures of any size to PNGs of the same."""
    config, bits = trained.config, trained.found["target_bits"]

    def to_source(colour: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
        if config.source_channels < 4:
            colour = 2 * (colour + 1 - alpha) - 1  # on white
            return luminance(colour) if config.source_channels == 1 else colour
        if config.task == "inpaint":
            return erased(2 * tf.math.divide_no_nan(colour, alpha) - 1, alpha)
        return 2 * tf.concat([tf.math.divide_no_nan(colour, alpha), alpha], axis=-1) - 1

    def translate_one(encoded: tf.Tensor) -> tf.Tensor:
        picture = tf.cond(
            tf.io.is_jpeg(encoded),
            lambda: tf.io.decode_jpeg(encoded, dct_method="INTEGER_ACCURATE") / 255,
            lambda: tf.io.decode_image(encoded, dtype=tf.float32, expand_animations=False),
        )
        picture = tf.ensure_shape(picture, [None, None, None])
        size, channels = tf.shape(picture)[:2], tf.shape(picture)[2]
        opaque = tf.ones_like(picture[..., :1])
        alpha = tf.cond(channels % 2 == 0, lambda: picture[..., -1:], lambda: opaque)
        colour = tf.cond(channels < 3, lambda: picture[..., :1], lambda: picture[..., :3])
        whole = tf.concat([colour * alpha * tf.ones(3), alpha], axis=-1)  # weighed by alpha
        whole = tf.ensure_shape(whole, [None, None, 4])
        small = tf.image.resize(whole, picture_size(config), antialias=True)
        image = generator(to_source(small[..., :3], small[..., 3:])[None], training=False)[0]
        image = tf.image.resize(image, size, "bicubic", antialias=True)
        image = kept(image, to_source(whole[..., :3], whole[..., 3:]), config.task)
        full = 2**bits - 1
        pixels = tf.clip_by_value(tf.round((image + 1) * (full / 2)), 0, full)
        return tf.io.encode_png(tf.cast(pixels, f"uint{bits}"))

    return lambda picture_bytes: {
        "generated_bytes": tf.map_fn(translate_one, picture_bytes, fn_output_signature=tf.string)
    }


def write_keras(generator: keras.Model, trained: Trained, path: Path, options: Export) -> None:
    """Another generator.keras."""
    save_generator(generator, trained.settings, trained.example, path)


def as_function(generator: keras.Model) -> Callable:
    """The signature that all formats have: `source` to `generated`, in batches of any size."""
    source = tf.TensorSpec(generator.input_shape, tf.float32, name="source")
    forward = lambda source: {"generated": generator(source, training=False)}  # noqa: E731
    return tf.function(forward, input_signature=[source], autograph=False)


def write_saved_model(
    generator: keras.Model, trained: Trained, path: Path, options: Export
) -> None:
    """A SavedModel with signatures for batches of sources and for encoded pictures."""
    module = tf.Module()
    module.weights = [variable.value for variable in generator.variables]
    signatures = {"serving_default": as_function(generator)}
    if takes_pictures(trained.config):
        encoded = tf.TensorSpec([None], tf.string, name="picture_bytes")
        signatures["picture"] = tf.function(picture_function(generator, trained), [encoded])
    tf.saved_model.save(module, path, signatures)


def write_onnx(generator: keras.Model, trained: Trained, path: Path, options: Export) -> None:
    """An ONNX file."""
    import onnx
    import tf2onnx
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.transformers.float16 import convert_float_to_float16

    function = as_function(generator)
    model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=17)
    if options.half:
        model = convert_float_to_float16(model, keep_io_types=True)
    onnx.save(model, path)
    if options.int8:
        quantize_dynamic(path, path)


def write_litert(generator: keras.Model, trained: Trained, path: Path, options: Export) -> None:
    """A LiteRT (TensorFlow Lite) file."""
    with tempfile.TemporaryDirectory() as folder:
        write_saved_model(generator, trained, folder, options)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, ["serving_default"])
        if options.half or options.int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if options.half:
            converter.target_spec.supported_types = [tf.float16]
        path.write_bytes(converter.convert())


def write_pytorch(generator: keras.Model, trained: Trained, path: Path, options: Export) -> None:
    """The weights as the authors' PyTorch code saves them."""
    import torch

    weights = to_pytorch(generator, trained.config)
    torch.save({name: torch.tensor(value) for name, value in weights.items()}, path)


@dataclass(frozen=True)
class Format:
    """One of the formats of export."""

    file: str
    write: Callable
    packages: str = "keras"
    shrinks: bool = False  # has --half and --int8


FORMATS = {
    "keras": Format("generator.keras", write_keras),
    "saved_model": Format("saved_model", write_saved_model),
    "onnx": Format("generator.onnx", write_onnx, "onnx onnxruntime tf2onnx", True),
    "litert": Format("generator.tflite", write_litert, "ai-edge-litert", True),
    "pytorch": Format("latest_net_G.pth", write_pytorch, "torch"),
}


@contextmanager
def packages_for(what: str) -> Iterator[None]:
    """Where something is needed that is not installed, say how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        packages = FORMATS[what].packages
        raise UserError(f"{what} needs {error.name}: pip install {packages}") from error


# --- 14a. Export: check and model card ------------------------------------------------------------


def card_sections(trained: Trained) -> dict[str, str]:
    """The model card of this generator by its headings; what comes before them is ""."""
    config, (height, width) = trained.config, picture_size(trained.config)
    norm, running = "F.instance_norm(x, weight=scale, bias=shift)", config.normalization == "batch"
    if running:
        mean, variance = (f'weights[f"{{name}}.running_{each}"]' for each in ("mean", "var"))
        norm = f"F.batch_norm(x, {mean}, {variance}, scale, shift)"
    kind = "instance" if config.normalization == "plain-instance" else "batch"
    notes = {
        "colorize": "It is the brightness of a photo: 0.299 red + 0.587 green + 0.114 blue.",
        "super-resolve": f"It is a picture enlarged {config.scale} times, bicubically.",
        "inpaint": "The fourth channel is -1 in holes, where the others are 0, and 1 elsewhere.",
    }
    values = {
        "run": config.name or run_folder(config).name,
        "step": f"{trained.found['step']:,}",
        "height": height,
        "width": width,
        "source_channels": config.source_channels,
        "target_channels": config.target_channels,
        "mode": {1: "L", 3: "RGB", 4: "RGBA"}[config.source_channels],
        "source_note": notes.get(config.task, ""),
        "normalise": norm,
        "authors": f"unet_{2**config.depth} --norm {kind}" + " --eval" * running,
    }
    template = (PAGES / "model_card.md").read_text(encoding="utf-8")
    parts = re.split(r"(?m)^## (.+)\n", template)
    sections = dict(zip(["", *parts[1::2]], parts[::2], strict=True))
    for name, value in values.items():
        sections = {k: text.replace(f"<{name}>", str(value)) for k, text in sections.items()}
    return sections


def run_snippet(section: str, file: str, path: Path, source: np.ndarray) -> np.ndarray:
    """What the code in a section of the model card makes of a batch."""
    code = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    scope = {"source": source}
    exec(code.replace(f'"{file}"', repr(str(path))), scope)
    return scope["generated"]


def compare(generated: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """The largest difference of two batches in [-1, 1], and their PSNR."""
    error = np.abs(generated - expected)
    return float(error.max()), float(-10 * np.log10((error**2).mean() / 4 + 1e-16))


def write_checked(
    what: str, generator: keras.Model, trained: Trained, folder: Path, options: Export
) -> dict[str, str]:
    """Write a format, and open it as its users will; what computes something else is not kept."""
    form, section = FORMATS[what], card_sections(trained)[what]
    sources = np.concatenate([trained.example, trained.example[:, :, ::-1]])
    expected = generate(generator, sources).numpy()
    noise = np.random.default_rng(0).normal(0, 1e-6, sources.shape).astype(np.float32)
    shaken = generate(generator, sources + noise).numpy()
    limit = max(1e-5, 10 * compare(shaken, expected)[0])  # some networks enlarge all rounding
    small = ("half" if options.half else "int8" if options.int8 else "") * form.shrinks
    file = Path(form.file).stem + f"-{small}" * bool(small) + Path(form.file).suffix
    with packages_for(what), replacing(folder / file) as temporary:
        form.write(generator, trained, temporary, options)
        generated = run_snippet(section, form.file, temporary, sources)
        difference, psnr = compare(generated, expected)
        if not (difference <= limit or (small and psnr > 20)):
            raise UserError(
                f"{what}: computes something else than the run, by {difference:.2g}; not written."
            )
    size = sum(each.stat().st_size for each in [folder / file, *(folder / file).rglob("*")])
    values = [file, f"{size / 1e6:.1f} MB", f"{difference:.2g}", f"{psnr:.0f} dB"]
    show(f"{what:<12}{values[0]}, {values[1]}, largest difference {values[2]}, PSNR {values[3]}")
    return {"row": " | ".join(values), "section": section.replace(form.file, file)}


def export(options: Export) -> Path:
    """Write the formats and their model card; the folder they are in."""
    trained = load_run(options.run)
    folder = options.output or trained.folder / "export"
    if options.half and options.int8:
        raise UsageError("--half and --int8: one of them at a time.")
    if (options.half or options.int8) and not any(FORMATS[f].shrinks for f in options.formats):
        raise UsageError("--half and --int8 are for onnx and litert; name one with --formats.")
    folder.mkdir(parents=True, exist_ok=True)
    with dtype_policy("float32"):
        generator = build_generator(trained.config)
    generator.set_weights(trained.generator.get_weights())
    rows = {
        what: write_checked(what, generator, trained, folder, options) for what in options.formats
    }
    sections = card_sections(trained)
    card = sections.pop("").replace("<table>", "\n".join(f"| {r['row']} |" for r in rows.values()))
    for heading, section in sections.items():
        section = rows[heading]["section"] if heading in rows else section
        wanted = heading not in FORMATS or heading in rows
        if heading == "picture":
            wanted = "saved_model" in rows and takes_pictures(trained.config)
        card += f"## {heading}\n{section}" * wanted
    write_text(folder / "README.md", card)
    show(f"Saved     {folder}, with a README.md that says how to use them")
    return folder


# --- 14b. Import ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImportWeights:
    """Make a run of a generator that was trained with the authors' PyTorch code."""

    file: Annotated[Positional[Path], tyro.conf.arg(metavar="FILE")]
    """A latest_net_G.pth of unet_256 or unet_128, with batch or instance norm."""
    name: str
    """The run folder is output/name."""
    output: Path = Path("training_checkpoints")
    """Where run folders live."""
    dataset: str | None = None
    """What it was trained on, for evaluate and to train it further."""
    direction: Literal["AtoB", "BtoA", None] = None
    """How it was. Default: the dataset's own."""
    statistics: Literal["picture", "running"] = "picture"
    """Of batch norm. picture: each one's own, as the authors' test.py has it; running: those in the
    file, as with its --eval."""


def pytorch_names(generator: keras.Model) -> Iterator[tuple[layers.Layer, str, bool]]:
    """Our layers with weights, what the authors' code calls them, and whether its inputs are a skip
    connection and what comes from below: there they are joined in the other order.

    Their network is one block within another, each numbered as a list of layers: convolution down,
    normalisation, the block inside, convolution up, normalisation, and activations between them.
    """
    kinds = (layers.Conv2D, layers.Conv2DTranspose)
    convolutions = [layer for layer in generator.layers if isinstance(layer, kinds)]
    kinds = (layers.GroupNormalization, layers.BatchNormalization)
    norms = iter([layer for layer in generator.layers if isinstance(layer, kinds)])
    depth = len(convolutions) // 2
    blocks = ["model.model"] + [f"model.model.1{'.model.3' * k}.model" for k in range(depth - 1)]
    for level, block in enumerate(blocks):
        yield convolutions[level], f"{block}.{1 if level else 0}", False
        if 0 < level < depth - 1:
            yield next(norms), f"{block}.2", False
    for level, block in reversed(list(enumerate(blocks))):
        place = 3 if level in (0, depth - 1) else 5
        yield convolutions[2 * depth - 1 - level], f"{block}.{place}", level < depth - 1
        if level:
            yield next(norms), f"{block}.{place + 1}", False


PYTORCH_WEIGHTS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def to_pytorch(generator: keras.Model, config: Train) -> dict[str, np.ndarray]:
    """The weights of a generator by the names and in the layout of the authors' code."""
    plain = config.task in ("pairs", "sketch") and config.upsampling == "transposed"
    if not plain or config.normalization == "none" or config.depth < 5:
        raise UserError(
            "pytorch: the authors' code has no such network. It wants --task pairs or sketch, "
            "--upsampling transposed, any --normalization but none, and a --depth from 5 on."
        )
    weights = {}
    for layer, name, joined in pytorch_names(generator):
        for weight in layer.weights:
            value = weight.numpy()
            if weight.name == "kernel":
                value = np.roll(value, value.shape[3] // 2, axis=3) if joined else value
                value = value.transpose(3, 2, 0, 1)
            weights[f"{name}.{PYTORCH_WEIGHTS[weight.name]}"] = value
        if config.normalization == "instance" and "gamma" in {each.name for each in layer.weights}:
            # to the authors' code a batch norm, which looks at a picture alone in batches of one
            weights |= {f"{name}.running_mean": 0 * value, f"{name}.running_var": 0 * value + 1}
    return weights


def from_pytorch(generator: keras.Model, weights: dict[str, np.ndarray]) -> None:
    """Fill a generator with weights of the authors' code."""
    for layer, name, joined in pytorch_names(generator):
        for weight in layer.weights:
            value = weights[f"{name}.{PYTORCH_WEIGHTS[weight.name]}"]
            if weight.name == "kernel":
                value = value.transpose(2, 3, 1, 0)
                value = np.roll(value, value.shape[3] // 2, axis=3) if joined else value
            weight.assign(value)


def read_pytorch(path: Path) -> dict[str, np.ndarray]:
    """The weights in a file of the authors' code."""
    try:
        import torch

        weights = torch.load(path, map_location="cpu", weights_only=True)
        return {name.removeprefix("module."): each.numpy() for name, each in weights.items()}
    except ModuleNotFoundError as error:
        raise UserError("import-weights needs torch: pip install torch") from error
    except Exception as error:  # pickle, zipfile and torch raise a dozen kinds
        raise UserError(f"{path}: not a file of PyTorch weights ({reason(error)}).") from error


def configuration_of(weights: dict[str, np.ndarray], options: ImportWeights) -> Train:
    """What the network of such weights is called here."""
    first, last = weights["model.model.0.weight"], weights["model.model.3.weight"]
    inner = [f"model.model.1{'.model.3' * k}.model.1.weight" for k in range(20)]
    depth = 1 + sum(name in weights for name in inner)
    normalization = "instance" if options.statistics == "picture" else "batch"
    if "model.model.1.model.2.weight" not in weights:
        normalization = "plain-instance"
    return Train(
        dataset=options.dataset or "",
        direction=options.direction,
        image_size=2**depth,
        depth=depth,
        generator_filters=first.shape[0],
        source_channels=first.shape[1],
        target_channels=last.shape[1],
        normalization=normalization,
        batch_size=4 if normalization == "batch" else 1,
        output=options.output,
        name=options.name,
    )


def import_weights(options: ImportWeights) -> Path:
    """Make a run folder of foreign weights: its step is 0, and its discriminator is new."""
    weights = read_pytorch(options.file)
    try:
        config = configuration_of(weights, options)
        check_config(replace(config, dataset=options.dataset or Train.dataset))
        run, folder = new_run(config), run_folder(config)
        from_pytorch(run.generator, weights)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{options.file}: not a unet_256 or unet_128 of the authors' code ({reason(error)})."
        ) from error
    with locked(folder, f"{folder}: another process trains here."):
        if (folder / "config.json").exists():
            raise UserError(f"{folder}: there is a run already. Choose another --name.")
        write_config(to_saved(config) | {"found": {"target_bits": 8}}, folder)
        picture = draw_facade(0, 0, picture_size(config))[1]
        example = normalise(with_channels(picture, config.source_channels))
        save(run, tf.constant(example[None]), folder, keep=1)
    about = f"{config.generator_filters} filters, {config.normalization} normalization"
    show(f"Imported  a U-Net of {config.depth} levels, {about}")
    return folder


# --- 15. Command line -----------------------------------------------------------------------------


COMMANDS = {
    "train": (Train, train),
    "inspect": (Inspect, inspect),
    "translate": (Translate, translate),
    "evaluate": (Evaluate, evaluate),
    "export": (Export, export),
    "import-weights": (ImportWeights, import_weights),
}


def parse(arguments: list[str]) -> Train | Translate | Evaluate | Export | ImportWeights:
    """Flags to a configuration: they beat those of --config, or of the run that is gone on with."""
    name, arguments = "train", list(arguments)
    if arguments and arguments[0] in COMMANDS:  # train may be left out
        name = arguments.pop(0)
    kind = COMMANDS[name][0]
    if not issubclass(kind, Train):
        return tyro.cli(kind, args=arguments, prog=f"{COMMAND.removesuffix('train')}{name}")
    if arguments and not arguments[0].startswith("-"):
        arguments = ["--dataset", *arguments]
    config = tyro.cli(kind, args=arguments)
    path = config.config or run_folder(config) / "config.json"
    if not config.config and not path.exists():
        return config
    saved = read_config(path)
    told_anew = {"found", "config"} | ({"output", "name"} if not config.config else set())
    flags = {argument.split("=")[0] for argument in arguments}
    if "--dataset" in flags:
        told_anew |= {"source_dir", "target_dir"}
    if "--source-dir" in flags:
        told_anew |= {"dataset"}
    given = {k: v for k, v in saved.items() if v is not None and k not in told_anew}
    return tyro.cli(kind, args=[*to_flags(given), *arguments])


def to_saved(config: Train) -> dict:
    """A configuration as config.json has it."""
    return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()}


def from_saved(saved: dict) -> Train:
    """What was told to the run that a config.json belongs to."""
    told = {k: v for k, v in saved.items() if v is not None and k not in ("found", "config")}
    return tyro.cli(Train, args=to_flags(told))


def to_flags(values: dict) -> list[str]:
    """Fields of Train as on the command line."""
    switches = {True: "--", False: "--no-"}
    return [
        flag(k).replace("--", switches[v], 1) if isinstance(v, bool) else f"{flag(k)}={v}"
        for k, v in values.items()
    ]


def main(arguments: list[str] | None = None) -> None:
    """Run a command; whatever a user can put right ends in one line."""
    try:
        config = parse(sys.argv[1:] if arguments is None else arguments)
        next(run for kind, run in COMMANDS.values() if kind is type(config))(config)
    except (UserError, OSError, tf.errors.OpError) as error:
        message = reason(error)
        if "No space left" in message and not isinstance(error, UserError):
            message += ". Free some space and start again; it goes on from the last checkpoint."
        elif isinstance(error, tf.errors.ResourceExhaustedError):
            message = f"out of memory ({message}). Try a smaller --batch-size or --image-size."
        elif isinstance(error, tf.errors.OpError):  # a pair that went bad during training
            ours = re.search(r"UserError: (.+)", str(error))
            if not ours:
                raise
            message = ours[1]
        show("", keep=False)
        print(f"error: {message}", file=sys.stderr)
        sys.exit(getattr(error, "exit_status", 1))
    except KeyboardInterrupt:
        show("", keep=False)
        print("Stopped. The same command starts again.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
