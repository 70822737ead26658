"""pix2pix: learn to turn one kind of picture into another from pairs of examples.

One TensorFlow file for "Image-to-Image Translation with Conditional Adversarial Networks" by Isola,
Zhu, Zhou and Efros (CVPR 2017, arXiv 1611.07004), cited below as "paper". It reads from top to
bottom in the order the data flows; `grep "^# --- "` prints its table of contents.

    python image_to_image_translation.py                    facades, from label maps to photos
    python image_to_image_translation.py --help             every option and its default
    python image_to_image_translation.py train --dataset maps --steps 100000
    python image_to_image_translation.py train --dataset my_pairs --direction AtoB
    python image_to_image_translation.py train --dataset synthetic --image-size 64 --steps 1000

The first command downloads 31 MB and trains for 40,000 steps: hours on a processor, so try
`--steps 500` there first. The last one needs no download and takes two minutes on two cores.
Everything a run makes is in `training_checkpoints/NAME`. Stop it at any moment and give the same
command again: it goes on from its last checkpoint exactly as if it had never stopped.

In a notebook, `import image_to_image_translation as pix2pix`, then
`pix2pix.train(pix2pix.Train(dataset="synthetic", image_size=64, steps=1000))`.
"""

# --- 2. Imports, constants and small tools --------------------------------------------------------

import fcntl
import gzip
import hashlib
import http.client
import json
import math
import os
import re
import shlex
import shutil
import signal
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's C++ chatter; 0 brings it back

import keras
import matplotlib.figure
import numpy as np
import tensorflow as tf
import tyro
from keras import layers
from PIL import Image

CACHE_BYTES = 2 * 2**30  # decoded pairs are kept in memory up to this size
NETWORK_TIMEOUT = 60  # seconds without a byte before a download is given up
CLASHES = (FileExistsError, IsADirectoryError, NotADirectoryError)  # of an archive with itself
IMAGE_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
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
    return re.sub(r"\{\{.*?\}\} | \[Op:.*?\]", "", str(error).splitlines()[0])


def flag(field: str) -> str:
    """The command-line spelling of a field of Train."""
    return "--" + field.replace("_", "-")


def due(step: int, every: int, total: int) -> bool:
    """Whether something that happens every so many steps, and at the end, happens now."""
    return step % every == 0 or step == total


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write to; the file takes its final name only when it is complete."""
    temporary = path.with_name(f".partial-{path.name}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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


def show(text: str, keep: bool = True) -> None:
    """Say something; what need not be kept is one line, written over by whatever comes next."""
    live = sys.stdout.isatty() or "ipykernel" in sys.modules
    width = shutil.get_terminal_size().columns - 1 if live else 0
    with suppress(OSError):  # a terminal that was closed is no reason to stop
        if keep:
            print(f"{text:<{width}}", flush=True)
        elif live:
            print(f"{text[:width]:<{width}}", end="\r", flush=True)


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


@dataclass(frozen=True)
class Train:
    """Train a generator on pairs of pictures; started again, go on where it stopped."""

    dataset: str = "facades"
    """facades, maps, cityscapes, edges2shoes, edges2handbags or night2day (downloaded once); a
    folder with train/ and val/ or test/ of side-by-side pairs; or synthetic, drawn on the spot."""
    direction: Literal["AtoB", "BtoA"] | None = None
    """A is the left half of a pair, B the right one; the first is turned into the second.
    Default: the dataset's own (BtoA for facades, cityscapes, night2day, synthetic), else AtoB."""
    image_size: int = 256
    """Height and width the networks work at: a power of two from 32 on."""
    steps: int = 40_000
    """Train until this many steps are done, counted from the very first one."""
    batch_size: int = 1
    """Pairs per step."""
    learning_rate: float = 2e-4
    """Adam's step size, for both networks."""
    beta_1: float = 0.5
    """Adam's momentum, for both networks."""
    l1_weight: float = 100.0
    """How much the L1 distance to the ground truth counts against deceiving the discriminator."""
    generator_filters: int = 64
    """Filters of the generator's first layer; the others follow."""
    discriminator_filters: int = 64
    """Filters of the discriminator's first layer; the others follow."""
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
    """The run folder is output/name. Default: the dataset's name."""
    data_dir: Path = Path("~/.keras/datasets/pix2pix")
    """Where archives are kept and unpacked."""
    mirror: str = "http://efrosgans.eecs.berkeley.edu/pix2pix/datasets/"
    """Where archives are fetched from."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the networks compute in; weights, statistics and losses stay float32. auto: float32."""
    xla: Literal["auto", "on", "off"] = "auto"
    """Compile the train step with XLA. auto: on a GPU (on a processor it is slower)."""
    config: Path | None = None
    """A config.json to start from; flags beat it. Only on the command line."""


def check_config(config: Train) -> None:
    """Refuse values that make no sense, before anything is read or written."""
    size, name, dataset = config.image_size, config.name, config.dataset
    floats = ("auto", "float32", "bfloat16")
    rules = {
        "dataset": (
            dataset in DATASETS or Path(dataset).is_dir(),
            f"{', '.join(DATASETS)} or an existing folder",
        ),
        "direction": (config.direction in (None, "AtoB", "BtoA"), "AtoB or BtoA"),
        "image_size": (size >= 32 and size.bit_count() == 1, "a power of two from 32 on"),
        "learning_rate": (0 < config.learning_rate < math.inf, "above 0"),
        "beta_1": (0 <= config.beta_1 < 1, "at least 0 and below 1"),
        "l1_weight": (0 <= config.l1_weight < math.inf, "at least 0"),
        "seed": (0 <= config.seed < 2**32, "from 0 to 4294967295"),
        "name": (name is None or name == Path(name).name not in ("", ".."), "a plain name"),
        "precision": (config.precision in floats, "auto, float32 or bfloat16"),
        "xla": (config.xla in ("auto", "on", "off"), "auto, on or off"),
    }
    for field in fields(Train):
        if field.type is int and field.name not in rules:
            value = getattr(config, field.name)
            rules[field.name] = (isinstance(value, int) and value >= 1, "a whole number above 0")
    for field, (holds, rule) in rules.items():
        if not holds:
            raise UsageError(f"{flag(field)} must be {rule}, not {getattr(config, field)}.")


def read_config(path: Path) -> dict:
    """The content of a config.json."""
    try:
        saved = json.loads(path.read_text())
        strange = saved.keys() - {field.name for field in fields(Train)} - {"found"}
        saved["found"] = dict(saved.get("found", {}))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: cannot be read as a configuration ({error}). Mend it, or use another --name."
        ) from error
    if strange:
        raise UserError(f"{path}: {', '.join(sorted(strange))} is no option of this program.")
    return saved


# --- 4. Data --------------------------------------------------------------------------------------
#
# fetch → find pairs → check → jitter → batches. A is the left half of a pair on disk, B the right
# one; from here on they are called source (what the generator gets) and target (the ground truth).


@dataclass(frozen=True)
class Pairs:
    """One split of a dataset: `read(k)` gives pair k as two uint8 pictures [height, width, 3]."""

    identities: tuple[str, ...]  # what tells each pair from others, without reading it
    read: Callable[[int], tuple[np.ndarray, np.ndarray]]

    def __len__(self) -> int:
        return len(self.identities)

    def __str__(self) -> str:
        """What tells these pairs from others, in a few letters."""
        digest = hashlib.sha256(os.fsencode("\n".join(self.identities))).hexdigest()
        return f"{len(self):,} pairs with fingerprint {digest[:8]}"


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
                bar = f"[{'#' * (20 * done // max(done, total)):<20}]" if total else ""
                line = f"Downloading {archive.name} {bar} {done / 1e6:.1f} of {total / 1e6:.1f} MB"
                show(line, keep=False)
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


def read_pair(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a side-by-side picture and cut it exactly in the middle: (A, B)."""
    try:
        with Image.open(path) as image:
            deep = image.mode[0] in "IF" or re.search(r";16[BLN]", str(image.tile))
            pixels = np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow raises a dozen kinds for damaged files
        raise UserError(f"{path}: not a readable picture ({error}). Mend or remove it.") from error
    if deep:
        raise UserError(f"{path}: has more than 8 bits a channel. Convert it to 8 bits first.")
    middle, odd = divmod(pixels.shape[1], 2)
    if odd:
        raise UserError(f"{path}: is {pixels.shape[1]} pixels wide, so it has no exact middle.")
    return pixels[:, :middle], pixels[:, middle:]


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


def plan_facade(rng: np.random.Generator, size: int) -> np.ndarray:
    """A made-up building as a map of class numbers [size, size]."""
    plan = np.zeros((size, size), int)

    def paint(label: str, left: float, top: float, right: float, bottom: float) -> None:
        rows, columns = np.rint(np.array([[top, bottom], [left, right]]) * size).astype(int)
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


def draw_facade(seed: int, number: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Photo and label map of a made-up building, the same for the same seed and number."""
    rng = np.random.default_rng((seed, number))
    plan = plan_facade(rng, size)
    label_colours, paints = np.array(list(CMP.values()), np.uint8).swapaxes(0, 1)
    photo = paints[plan] * rng.uniform(0.85, 1.1) * rng.uniform(0.94, 1.06, 3)  # stone and weather
    row, column = np.mgrid[:size, :size] * 256 // size
    bricks = (row % 8 == 0) | ((column + row // 8 % 2 * 8) % 16 == 0)
    photo[bricks & (plan == list(CMP).index("facade"))] *= 0.86
    mirrored_sky = (row + column) % 96 < 40
    photo[mirrored_sky & (plan == list(CMP).index("window"))] += 70
    photo[1:][plan[1:] != plan[:-1]] *= 0.6  # shadows where one thing meets another
    photo[:, 1:][plan[:, 1:] != plan[:, :-1]] *= 0.6
    photo = photo * (1.1 - 0.2 * row / 256)[..., None] + rng.normal(0, 5, photo.shape)
    return np.clip(np.rint(photo), 0, 255).astype(np.uint8), label_colours[plan]


def folder_pairs(folder: Path) -> dict[str, Pairs]:
    """The splits of a folder of side-by-side pairs, each in the order of its file names."""
    splits = {}
    for split in ("train", "val", "test"):
        visible = sorted((folder / split).glob("[!.]*"))
        files = [file for file in visible if file.suffix.lower() in IMAGE_SUFFIXES]
        identities = tuple(f"{file.name}, {file.stat().st_size} bytes" for file in files)
        splits[split] = Pairs(identities, lambda k, files=files: read_pair(files[k]))
    if not splits["train"]:
        raise UserError(
            f"{folder}: no pairs in {folder / 'train'}. Put side-by-side pictures there (source "
            "and target in one file, left and right), or use --dataset synthetic."
        )
    return splits


def synthetic_pairs(seed: int, size: int) -> dict[str, Pairs]:
    """The splits of the synthetic dataset, with as many pairs as facades has."""
    splits, first = {}, 0
    for split, count in (("train", 400), ("val", 100), ("test", 106)):
        identities = tuple(f"facade {first + k} of seed {seed}" for k in range(count))
        splits[split] = Pairs(identities, lambda k, first=first: draw_facade(seed, first + k, size))
        first += count
    return splits


def find_pairs(config: Train) -> tuple[dict[str, Pairs], str]:
    """The splits of the configured dataset by name, and the direction they are read in."""
    if config.dataset == "synthetic":
        splits = synthetic_pairs(config.seed, config.image_size)
    elif config.dataset in DATASETS:
        data_dir = Path(config.data_dir).expanduser()
        splits = folder_pairs(fetch(config.dataset, config.mirror, data_dir))
    else:
        splits = folder_pairs(Path(config.dataset))
    usual = DATASETS[config.dataset].direction if config.dataset in DATASETS else "AtoB"
    direction = config.direction or usual
    if direction == "BtoA":
        for name, pairs in splits.items():
            splits[name] = Pairs(pairs.identities, lambda k, read=pairs.read: read(k)[::-1])
    return splits, direction


def check_pairs(pairs: Pairs, what: str) -> Pairs:
    """Read every pair once, so that a broken file is found now and not at step 7,213; keep them
    in memory if they fit, so that they need not be read again."""
    kept, size = [], 0
    pool = ThreadPoolExecutor()
    try:
        for number, pair in enumerate(pool.map(pairs.read, range(len(pairs))), 1):
            size += sum(half.nbytes for half in pair)
            if size <= CACHE_BYTES:
                kept.append(pair)
            elif kept:
                kept.clear()
            if due(number, 100, len(pairs)):
                show(f"Checking the {what} pairs: {number:,} of {len(pairs):,}", keep=False)
    finally:
        pool.shutdown(cancel_futures=True)
    return Pairs(pairs.identities, kept.__getitem__) if len(kept) == len(pairs) else pairs


def normalise(image: tf.Tensor) -> tf.Tensor:
    """0…255 to -1…1, the range of the generator's tanh."""
    return image / 127.5 - 1


def jitter(
    source: tf.Tensor, target: tf.Tensor, size: int, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Random jitter, the same for both pictures: enlarge, crop, mirror; in [-1, 1]."""
    both = tf.concat([source, target], axis=-1)
    enlarged = round(size * 286 / 256)  # paper: resize to 286×286, then crop back to 256×256
    both = tf.image.resize(both, [enlarged, enlarged], antialias=True)
    top, left, mirrored = tf.unstack(tf.random.stateless_uniform([3], seed))
    top, left = (tf.cast(draw * (enlarged - size + 1), tf.int32) for draw in (top, left))
    both = both[top : top + size, left : left + size]
    both = tf.cond(mirrored < 0.5, lambda: tf.reverse(both, axis=[1]), lambda: both)
    source, target = tf.split(normalise(tf.ensure_shape(both, [size, size, 6])), 2, axis=-1)
    return source, target


def batches(pairs: Pairs, config: Train, first_step: int) -> tf.data.Dataset:
    """The batches of all steps from `first_step` on, as a pure function of (seed, step).

    Example number k is pair k mod n of a permutation that is new in every epoch, so a run that
    goes on at some step sees what it would have seen without the stop, and nothing about the
    iterator has to be saved.
    """
    count = len(pairs)

    def example(number: tf.Tensor) -> tuple:
        epoch, position = number // count, number % count
        k = tf.random.experimental.index_shuffle(position, [config.seed, epoch], count - 1)
        pair = tf.numpy_function(pairs.read, [k], [tf.uint8, tf.uint8], stateful=False)
        pair = [tf.ensure_shape(half, [None, None, 3]) for half in pair]
        return jitter(*pair, config.image_size, seed=[config.seed, number])

    numbers = tf.data.Dataset.range(
        first_step * config.batch_size, config.steps * config.batch_size
    )
    examples = numbers.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    return examples.batch(config.batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def held_out_examples(pairs: Pairs, size: int, count: int = 3) -> tuple[tf.Tensor, tf.Tensor]:
    """The first few pairs without jitter, for the previews: (sources, targets)."""
    sources, targets = zip(*(pairs.read(k) for k in range(min(count, len(pairs)))), strict=True)

    def prepare(images: tuple[np.ndarray, ...]) -> tf.Tensor:
        resized = [tf.image.resize(image, [size, size], antialias=True) for image in images]
        return normalise(tf.stack(resized))

    return prepare(sources), prepare(targets)


# --- 5. Generator ---------------------------------------------------------------------------------
#
# paper: section 6.1.1. Normalisation is per image, which at batch size 1 is the paper's batch
# normalisation with batch statistics. Unlike that, a picture's result does not depend on the others
# of its batch, and training, preview and every later use compute the same function.


def convolution(
    layer: type[layers.Layer], filters: int, stride: int, use_bias: bool, padding: str = "same"
) -> layers.Layer:
    """A 4×4 convolution, or with layers.Conv2DTranspose its transpose."""
    initial = keras.initializers.RandomNormal(0, 0.02)  # paper: all weights from N(0, 0.02)
    return layer(filters, 4, stride, padding, use_bias=use_bias, kernel_initializer=initial)


def normalisation() -> layers.Layer:
    """Instance normalisation: each channel of each picture on its own, then scaled."""
    scale = keras.initializers.RandomNormal(1, 0.02)
    return layers.GroupNormalization(groups=-1, epsilon=1e-5, gamma_initializer=scale)


def build_generator(config: Train) -> keras.Model:
    """The U-Net: `source` [batch, size, size, 3] in [-1, 1] to a picture of the same shape."""
    depth = config.image_size.bit_length() - 1  # each level halves; the innermost map is 1×1
    filters = [config.generator_filters * min(2**level, 8) for level in range(depth)]
    x = source = keras.Input((config.image_size, config.image_size, 3), name="source")

    skips = []
    for level, count in enumerate(filters):  # C64-C128-C256-C512-C512-C512-C512-C512
        if level > 0:
            x = layers.LeakyReLU(0.2)(x)
        x = convolution(layers.Conv2D, count, stride=2, use_bias=False)(x)
        if 0 < level < depth - 1:  # paper: not the first. Nor a 1×1 map: it would become zero
            x = normalisation()(x)
        skips.append(x)  # [batch, size / 2^(level+1), size / 2^(level+1), count]

    for level in reversed(range(depth - 1)):  # CD512-CD512-CD512-C512-C256-C128-C64
        x = layers.ReLU()(x)
        x = convolution(layers.Conv2DTranspose, filters[level], stride=2, use_bias=False)(x)
        x = normalisation()(x)
        if level >= depth - 4:  # paper: dropout is the noise, in the first three
            x = layers.Dropout(0.5)(x)
        x = layers.Concatenate()([x, skips[level]])  # [batch, size / 2^(level+1), …, 2 · count]

    x = layers.ReLU()(x)
    x = convolution(layers.Conv2DTranspose, 3, stride=2, use_bias=True)(x)
    generated = layers.Activation("tanh", dtype="float32", name="generated")(x)
    return keras.Model(source, generated, name="generator")


# --- 6. Discriminator -----------------------------------------------------------------------------


def build_discriminator(config: Train) -> keras.Model:
    """The 70×70 PatchGAN: (source, image) to logits, one for each overlapping patch."""
    shape = (config.image_size, config.image_size, 3)
    source, image = keras.Input(shape, name="source"), keras.Input(shape, name="image")
    x = layers.Concatenate()([source, image])  # paper: conditional, so it sees the source too
    for level, (multiple, stride) in enumerate([(1, 2), (2, 2), (4, 2), (8, 1)]):
        x = layers.ZeroPadding2D(1)(x)
        count = config.discriminator_filters * multiple
        x = convolution(layers.Conv2D, count, stride, use_bias=level == 0, padding="valid")(x)
        if level > 0:
            x = normalisation()(x)
        x = layers.LeakyReLU(0.2)(x)  # 128, 64, 32, 31 pixels wide for 256 at the input
    x = layers.ZeroPadding2D(1)(x)
    x = convolution(layers.Conv2D, 1, stride=1, use_bias=True, padding="valid")(x)
    logits = layers.Activation("linear", dtype="float32", name="logits")(x)  # [batch, 30, 30, 1]
    return keras.Model([source, image], logits, name="discriminator")


# --- 7. Losses ------------------------------------------------------------------------------------


def cross_entropy(logits: tf.Tensor, real: bool) -> tf.Tensor:
    """Mean of -log D for patches that should be found real, of -log(1 - D) for others.

    With the sigmoid of D taken into the logarithm, both are a softplus. Its gradient is one
    operation; that of TensorFlow's general cross-entropy adds four terms in the order in which
    memory becomes free, so that no two runs would agree to the last bit.
    """
    return tf.reduce_mean(tf.nn.softplus(-logits if real else logits))


def generator_losses(
    target: tf.Tensor, generated: tf.Tensor, generated_logits: tf.Tensor, l1_weight: float
) -> dict[str, tf.Tensor]:
    """Deceive the discriminator and stay near the ground truth (paper: equation 4, λ = 100)."""
    gan = cross_entropy(generated_logits, real=True)  # paper: maximise log D, see 3.3
    l1 = tf.reduce_mean(tf.abs(target - generated))
    return {"generator_total": gan + l1_weight * l1, "generator_gan": gan, "generator_l1": l1}


def discriminator_loss(real_logits: tf.Tensor, generated_logits: tf.Tensor) -> tf.Tensor:
    """Tell real from generated."""
    both = cross_entropy(real_logits, real=True) + cross_entropy(generated_logits, real=False)
    return both / 2  # paper: halved, so that it learns slower than the generator


# --- 8. Train step --------------------------------------------------------------------------------


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


@tf.function
def train_step(
    run: tf.train.Checkpoint, source: tf.Tensor, target: tf.Tensor, l1_weight: float
) -> dict[str, tf.Tensor]:
    """Update both networks on one batch; the losses are those before the update."""
    with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
        generated = run.generator(source, training=True)
        real_logits = run.discriminator([source, target], training=True)
        generated_logits = run.discriminator([source, generated], training=True)
        losses = generator_losses(target, generated, generated_logits, l1_weight)
        losses["discriminator"] = discriminator_loss(real_logits, generated_logits)

    weights = run.generator.trainable_variables
    run.generator_optimizer.apply(generator_tape.gradient(losses["generator_total"], weights))
    weights = run.discriminator.trainable_variables
    run.discriminator_optimizer.apply(discriminator_tape.gradient(losses["discriminator"], weights))
    run.step.assign_add(1)
    for name, loss in losses.items():
        run.loss_sums[name].assign_add(loss)
    return losses


@tf.function
def generate(generator: keras.Model, source: tf.Tensor) -> tf.Tensor:
    """What the generator makes of a batch, without dropout."""
    return generator(source, training=False)


# --- 9. Pictures ----------------------------------------------------------------------------------


def to_uint8(image: tf.Tensor) -> np.ndarray:
    """-1…1 to 0…255, rounded."""
    return np.clip(np.rint((np.asarray(image) + 1) * 127.5), 0, 255).astype(np.uint8)


def draw_panel(path: Path, columns: dict[str, tf.Tensor]) -> None:
    """Save a table of pictures as PNG: titled columns, pixel for pixel, small ones enlarged."""
    arrays = {title: to_uint8(images) for title, images in columns.items()}
    count, size = next(iter(arrays.values())).shape[:2]
    zoom, dpi, gap, head = max(1, 256 // size), 100, 8, 28  # the last two in pixels
    cell = size * zoom + gap
    width, height = len(arrays) * cell + gap, count * cell + head
    figure = matplotlib.figure.Figure((width / dpi, height / dpi), dpi=dpi, facecolor="white")
    for column, (title, images) in enumerate(arrays.items()):
        x, y = gap + column * cell, height - head
        figure.text(
            (x + size * zoom / 2) / width, 1 - head / 2 / height, title, ha="center", va="center"
        )
        for row, image in enumerate(images.repeat(zoom, axis=1).repeat(zoom, axis=2)):
            figure.figimage(image, x, y - row * cell - size * zoom)
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
    name = config.name or os.path.basename(os.path.abspath(config.dataset))
    return Path(config.output).expanduser() / name


def new_run(config: Train) -> tf.train.Checkpoint:
    """Everything that training changes, at step 0."""
    keras.utils.set_random_seed(config.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if config.precision == "bfloat16" else "float32")
    networks = build_generator(config), build_discriminator(config)
    keras.config.set_dtype_policy(before)
    optimizers = [Adam(config.learning_rate, config.beta_1) for _ in networks]  # paper: β₁ = 0.5
    for network, optimizer in zip(networks, optimizers, strict=True):
        optimizer.build(network.trainable_variables)
    return tf.train.Checkpoint(
        generator=networks[0],
        discriminator=networks[1],
        generator_optimizer=optimizers[0],
        discriminator_optimizer=optimizers[1],
        noise=[state.value for state in networks[0].non_trainable_variables],  # dropout's
        step=tf.Variable(0, dtype=tf.int64),
        logged=tf.Variable(0, dtype=tf.int64),  # the step of the last log line
        loss_sums={name: tf.Variable(0.0) for name in LOSSES},  # of the steps since then
    )


def refuse_another_run(new: dict, folder: Path) -> None:
    """Let only the same run go on in a folder; `new` is what config.json would become."""
    if not checkpoints(folder) or not (folder / "config.json").exists():
        return
    old = read_config(folder / "config.json")
    for name in (*new["found"], "image_size", "generator_filters", "discriminator_filters"):
        before, now = ({**saved, **saved["found"]}.get(name) for saved in (old, new))
        if before != now:
            if name == "pairs":
                name, before, now = (
                    "dataset",
                    f"{old['dataset']} ({before})",
                    f"{new['dataset']} ({now})",
                )
            raise UserError(
                f"{folder} holds a run with {name.replace('_', ' ')} {before}, not {now}. "
                "Give the new run a folder of its own with --name."
            )


def write_config(new: dict, folder: Path) -> None:
    """Save what the run was told and what it found out; say what is not as it was."""
    path = folder / "config.json"
    old = read_config(path) if checkpoints(folder) and path.exists() else new
    for field in ("batch_size", "learning_rate", "beta_1", "l1_weight", "seed", "precision"):
        if old.get(field) != new[field]:
            show(f"Changed   {flag(field)} {old.get(field)} → {new[field]}, from here on")
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(new, indent=2) + "\n")


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


def save(run: tf.train.Checkpoint, source: tf.Tensor, folder: Path, keep: int) -> None:
    """Write generator.keras and then, complete only with its last file, a checkpoint."""
    step = int(run.step)
    logits = run.discriminator([source, generate(run.generator, source)], training=False)
    if not np.isfinite(logits).all():  # the losses are from before the last update
        raise not_finite(run, folder)
    try:
        with replacing(folder / "generator.keras") as temporary:
            run.generator.save(temporary)
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
    with replacing(path) as temporary:
        temporary.write_text(header + "".join(row for row, number in rows if int(number) <= step))


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
    step, since = int(run.step), int(run.logged) + 1
    return UserError(
        f"{folder}: a loss stopped being finite between steps {min(since, step):,} and {step:,}; "
        f"nothing was overwritten, the last good checkpoint is {last_good(folder)}. "
        "Try a smaller --learning-rate."
    )


def mean_losses(run: tf.train.Checkpoint, folder: Path) -> dict[str, float]:
    """The mean losses since the last log line; one that is not finite is the end of the run."""
    count = max(1, int(run.step) - int(run.logged))
    means = {name: float(total) / count for name, total in run.loss_sums.items()}
    if not all(math.isfinite(mean) for mean in means.values()):
        raise not_finite(run, folder)
    return means


def preview(run: tf.train.Checkpoint, examples: tuple, folder: Path, writer) -> Path:
    """Save the panel input · ground truth · prediction of the held-out examples."""
    sources, targets = examples
    path = folder / "previews" / f"step-{int(run.step):06}.png"
    path.parent.mkdir(exist_ok=True)
    generated = tf.concat([generate(run.generator, source[None]) for source in sources], axis=0)
    draw_panel(path, {"Input": sources, "Ground truth": targets, "Prediction": generated})
    summarise(writer, int(run.step), path)
    return path


def log(run: tf.train.Checkpoint, folder: Path, writer, losses: dict, clock) -> None:
    """Add a line to the screen, to metrics.csv and to TensorBoard, and begin new means."""
    step = int(run.step)
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
    for _ in range(20):  # the first ones also trace and allocate, others may be disturbed
        start = time.monotonic()
        generate(run.generator, source).numpy()
        times.append(time.monotonic() - start)
    return 5 * min(times)


def announce(config: Train, pairs: str, direction: str, first: int, seconds: float) -> None:
    """Say what is about to happen, how long it will take, and what to do if that is too long."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus[:1]]
    device = details[0].get("device_name", "GPU") if gpus else f"CPU with {os.cpu_count()} cores"
    halves = "left half → right half" if direction == "AtoB" else "right half → left half"
    steps = config.steps - first
    show(f"Dataset   {config.dataset}: {pairs}")
    show(f"Direction {direction} ({halves}) at {config.image_size}×{config.image_size}")
    show(f"Device    {device}, {'float32' if config.precision == 'auto' else config.precision}")
    show(f"Run       {run_folder(config)}, steps {first + 1:,} to {config.steps:,}")
    show(f"Time      about {timedelta(seconds=round(steps * seconds))}, {seconds:.2g} s a step")
    if not gpus and steps * seconds > 3600:
        short = f"{COMMAND} --dataset {shlex.quote(config.dataset)} --steps 500 --name try"
        show(f"No GPU found, so {steps:,} steps will take hours. For a short try: {short}")


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


def train_steps(
    config: Train, run: tf.train.Checkpoint, pairs: Pairs, examples: tuple, folder: Path
) -> None:
    """The loop: step, log, preview, save."""
    first, total, shown = int(run.step), config.steps, None
    writer = tf.summary.create_file_writer(str(folder / "logs"))
    keep_rows(folder / "metrics.csv", first)
    step_function = train_step
    if config.xla == "on" or (config.xla == "auto" and tf.config.list_physical_devices("GPU")):
        step_function = tf.function(train_step.python_function, jit_compile=True)

    clock = Clock(first, total)
    with stop_requests() as requests:
        for step, (source, target) in enumerate(batches(pairs, config, first), first + 1):
            step_function(run, source, target, config.l1_weight)
            log_due = due(step, config.log_every, total)
            preview_due = due(step, config.preview_every, total)
            stopping = bool(requests)
            save_due = stopping or due(step, config.checkpoint_every, total)
            pause = log_due or preview_due or save_due
            if pause:
                losses = mean_losses(run, folder)  # waits for the device, and stops at a NaN
            if log_due:
                log(run, folder, writer, losses, clock)
            elif due(step, max(1, config.log_every // 20), total):
                show(clock.progress(step), keep=False)
            if preview_due:
                shown = show_inline(preview(run, examples, folder, writer), shown)
            if save_due:
                save(run, examples[0][:1], folder, config.keep_checkpoints)
            if stopping and step < total:
                where = ["--name", folder.name, "--output", str(folder.parent)]
                where = shlex.join(where[: 2 if config.output == Train.output else 4])
                show(f"Stopped at step {step:,}. To go on: {COMMAND} {where}")
                raise SystemExit(128 + requests[0])
            if pause or step == first + 1:  # the first step compiles
                clock = Clock(step, total)
    show(f"Finished. The generator: {folder / 'generator.keras'}, pictures: {folder / 'previews'}")


def train(config: Train) -> Path:
    """Train until `config.steps` steps are done, from wherever the run stopped; its folder."""
    check_config(config)
    folder = run_folder(config)
    with locked(folder, f"{folder}: another process trains here. Use --name for a second run."):
        splits, direction = find_pairs(config)
        pairs, held_out = splits["train"], next(s for s in ("val", "test", "train") if splits[s])
        told = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()}
        found = {"pairs": str(pairs), "direction": direction}
        found |= {"source_channels": 3, "target_channels": 3}
        refuse_another_run(told | {"found": found}, folder)
        run = new_run(config)
        sweep(folder)
        restore(run, folder)
        first = int(run.step)
        if first >= config.steps:
            show(f"{folder} is finished: {first:,} steps. To train longer: --steps {2 * first}")
            return folder
        for optimizer in (run.generator_optimizer, run.discriminator_optimizer):
            optimizer.learning_rate = config.learning_rate  # a flag beats the checkpoint

        pairs = check_pairs(pairs, "training")
        examples = held_out_examples(check_pairs(splits[held_out], "held-out"), config.image_size)
        seconds = seconds_per_step(run, tf.repeat(examples[0][:1], config.batch_size, axis=0))
        counts = f"{len(pairs):,} training pairs; previews of {held_out} pairs"
        announce(config, counts, direction, first, seconds)
        write_config(told | {"found": found}, folder)
        train_steps(config, run, pairs, examples, folder)
    return folder


# --- 12. Command line -----------------------------------------------------------------------------


def parse(arguments: list[str]) -> Train:
    """Flags to a configuration: they beat those of --config, or of the run that is gone on with."""
    if arguments[:1] == ["train"]:  # the command that may be left out
        arguments = arguments[1:]
    config = tyro.cli(Train, args=arguments)
    path = config.config or run_folder(config) / "config.json"
    if not config.config and not path.exists():
        return config
    saved = read_config(path)
    del saved["found"]
    told_anew = {"config"} if config.config else {"config", "output", "name"}
    flags = [f"{flag(k)}={v}" for k, v in saved.items() if v is not None and k not in told_anew]
    return tyro.cli(Train, args=[*flags, *arguments])


def main(arguments: list[str] | None = None) -> None:
    """Run a command; whatever a user can put right ends in one line."""
    try:
        train(parse(sys.argv[1:] if arguments is None else arguments))
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
        print("Stopped before any step. The same command starts again.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
