"""How fast training is, next to the recipe that one writes first.

    python benchmarks/train_step.py
    python benchmarks/train_step.py --image-size 512 --batch-size 4 --steps 10 --json results.json

Four variants: the plain recipe, written from the paper with nothing but Keras in float32; the same
networks and update in PyTorch, where that is installed; this program in float32; and with
--precision auto. Each is a process of its own, and they take turns step by step, so that all see
the same machine. Compare only figures of one run.
"""

import importlib.util
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tyro
from keras import layers
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
import image_to_image_translation as script
from pix2pix.networks.devices import choose_computing_type
from pix2pix.networks.fast_layers import TILE, TILE_OUTPUT, WinogradConvolution, with_fast_layers
from pix2pix.options.train import Train
from pix2pix.pairs.synthetic import draw_facade
from pix2pix.pictures.pixels import Kind
from pix2pix.pictures.sides import PHOTOS
from pix2pix.preparation import check_split, conclude, settle

OURS = {"ours float32": "float32", "ours auto": "auto"}  # --precision
PEERS = ["plain recipe"] + ["PyTorch"] * (importlib.util.find_spec("torch") is not None)
VARIANTS = [*PEERS, *OURS]
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"  # which this program sets; the plain recipe leaves the default
SCRIPT = Path(script.__file__)


@dataclass(frozen=True)
class Options:
    """Measure training against the plain Keras recipe, and against PyTorch."""

    batch_size: int = 1
    """Pairs per step."""
    image_size: int = 256
    """A power of two."""
    steps: int = 25
    """Steps measured of each variant, after three to warm up."""
    json: Path | None = None
    """Also write the figures to this file."""


# The plain recipe: paper, sections 6.1 and 3, word for word.


def plain_generator(size: int) -> keras.Model:
    """C64-…-C512 and CD512-…-C64 with batch normalisation."""
    filters = [min(64 * 2**level, 512) for level in range(size.bit_length() - 1)]
    x = source = keras.Input((size, size, 3))
    skips = []
    for level, count in enumerate(filters):
        x = layers.Conv2D(count, 4, 2, "same", kernel_initializer=normal(), use_bias=level == 0)(x)
        x = x if level == 0 else layers.BatchNormalization()(x)
        x = layers.LeakyReLU(0.2)(x)
        skips.append(x)
    for place, (count, skip) in enumerate(zip(filters[-2::-1], skips[-2::-1], strict=True)):
        options = {"padding": "same", "kernel_initializer": normal(), "use_bias": False}
        x = layers.BatchNormalization()(layers.Conv2DTranspose(count, 4, 2, **options)(x))
        x = layers.Dropout(0.5)(x) if place < 3 else x
        x = layers.ReLU()(layers.Concatenate()([x, skip]))
    x = layers.Conv2DTranspose(3, 4, 2, "same", activation="tanh", kernel_initializer=normal())(x)
    return keras.Model(source, x)


def plain_discriminator(size: int) -> keras.Model:
    """C64-C128-C256-C512, and one channel of logits."""
    source, image = keras.Input((size, size, 3)), keras.Input((size, size, 3))
    x = layers.Concatenate()([source, image])
    for count, stride in ((64, 2), (128, 2), (256, 2), (512, 1)):
        x = layers.ZeroPadding2D()(x)
        x = layers.Conv2D(count, 4, stride, kernel_initializer=normal(), use_bias=count == 64)(x)
        x = layers.LeakyReLU(0.2)(x if count == 64 else layers.BatchNormalization()(x))
    x = layers.Conv2D(1, 4, kernel_initializer=normal())(layers.ZeroPadding2D()(x))
    return keras.Model([source, image], x)


def normal() -> keras.initializers.Initializer:
    """N(0, 0.02)."""
    return keras.initializers.RandomNormal(0, 0.02)


def plain(options: Options) -> dict[str, Callable]:
    """What the plain recipe can be asked for."""
    generator, discriminator = (
        build(options.image_size) for build in (plain_generator, plain_discriminator)
    )
    optimizers = [keras.optimizers.Adam(2e-4, 0.5) for _ in range(2)]
    entropy = keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function
    def step(source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            generated = generator(source, training=True)
            real = discriminator([source, target], training=True)
            fake = discriminator([source, generated], training=True)
            l1 = tf.reduce_mean(tf.abs(target - generated))
            generator_loss = entropy(tf.ones_like(fake), fake) + 100 * l1
            truth = entropy(tf.ones_like(real), real)
            discriminator_loss = (truth + entropy(tf.zeros_like(fake), fake)) / 2
        networks = (
            (generator, generator_tape, generator_loss),
            (
                discriminator,
                discriminator_tape,
                discriminator_loss,
            ),
        )
        for optimizer, (network, tape, loss) in zip(optimizers, networks, strict=True):
            weights = network.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return discriminator_loss

    generate = tf.function(lambda source: generator(source, training=False))
    return parts(options, step, generate, (generator, discriminator), optimizers)


def ours(options: Options, precision: str) -> dict[str, Callable]:
    """What this program can be asked for."""
    config = Train(
        batch_size=options.batch_size,
        image_size=options.image_size,
        precision=precision,
    )
    found = conclude(config, [(Kind(channels=3, bits=8),) * 2], [PHOTOS] * 2)
    training = script.Training(config, found)
    networks = tuple(training.networks.values())
    optimizers = tuple(training.optimizers.values())

    def step(source: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        return script.train_step(training, source, target)["discriminator"]

    def generate(source: tf.Tensor) -> tf.Tensor:
        return script.generate(training.generator, source)

    asked = parts(options, step, generate, networks, optimizers)
    computing = choose_computing_type(config.precision)
    return asked | {
        "computing": lambda: computing,
        "pipeline": lambda: pairs_per_second(config),
        "checkpoint": lambda: save_and_restore(training),
        "matmul": lambda: matmul_rate(computing),
        "arithmetic": lambda: arithmetic(*networks) * options.batch_size,
        "arithmetic done": lambda: (
            arithmetic(*map(with_fast_layers, networks)) * options.batch_size
        ),
    }


def parts(options: Options, step, generate, networks, optimizers) -> dict[str, Callable]:
    """What all variants can be asked for; times in seconds."""
    shape = (options.image_size, options.image_size, 3)
    counts = (options.batch_size, options.batch_size, 8)
    source, target, eight = (
        tf.random.stateless_uniform([count, *shape], [count, 0], -1) for count in counts
    )

    def optimiser() -> float:
        weights = [network.trainable_variables for network in networks]
        gradients = [[tf.fill(w.shape, 1e-3) for w in each] for each in weights]

        @tf.function
        def update() -> None:
            for each in zip(optimizers, gradients, weights, strict=True):
                each[0].apply(*each[1:])

        return float(np.median([timed(update) for _ in range(3 + options.steps)][3:]))

    return {
        "train step": lambda: timed(lambda: step(source, target).numpy()),
        "inference, batch 1": lambda: timed(lambda: generate(source[:1]).numpy()),
        "inference, batch 8": lambda: timed(lambda: generate(eight).numpy()),
        "optimiser update": optimiser,
        "peak memory": lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def timed(function: Callable) -> float:
    """How long it takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def worker(variant: str, options: Options, pipe) -> None:
    """A process that does what it is asked for, until it is asked for nothing."""
    keras.utils.set_random_seed(0)
    asked = ours(options, OURS[variant]) if variant in OURS else plain(options)
    while (what := pipe.recv()) is not None:
        pipe.send(asked[what]())


class PyTorchProcess:
    """The process of pytorch_peer.py, asked like the others."""

    def __init__(self, options: Options) -> None:
        sizes = map(str, (options.image_size, options.batch_size))
        command = [sys.executable, str(Path(__file__).with_name("pytorch_peer.py")), *sizes]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, **pipes, text=True)

    def send(self, what: str | None) -> None:
        """Ask for a figure; None ends the process."""
        if what is None:
            self.process.communicate()
        else:
            print(what, file=self.process.stdin, flush=True)

    def recv(self) -> float:
        """Wait for the figure."""
        return float(self.process.stdout.readline())


# What only this program has.


def make_pairs(folder: Path, count: int) -> None:
    """Pairs like those of facades: 512×256 JPEG."""
    (folder / "train").mkdir(parents=True)
    for k in range(count):
        halves = draw_facade(0, k, (256, 256))
        Image.fromarray(np.concatenate(halves, axis=1)).save(folder / "train" / f"{k}.jpg")


def pairs_per_second(config: Train) -> float:
    """The input pipeline alone: 400 pairs, after the first of five passes, from memory."""
    with tempfile.TemporaryDirectory() as folder:
        make_pairs(Path(folder), 400)
        config = replace(config, dataset=folder, holdout=0.0, steps=2000, direction="AtoB")
        split = check_split(script.find_splits(config)["train"], "train", config)
        alone = tf.distribute.InputContext()
        batches = iter(script.batches(split, config, settle(config, split), 0, alone))
        for _ in range(400 // config.batch_size):
            next(batches)
        count = 1600 // config.batch_size
        return count * config.batch_size / timed(lambda: [next(batches) for _ in range(count)])


def save_and_restore(training: script.Training) -> tuple[float, float]:
    """Seconds for a checkpoint and generator.keras, and for going on from it."""
    with tempfile.TemporaryDirectory() as folder:
        training.folder = Path(folder)
        source = tf.zeros([1, *training.options.picture_size, 3])
        saving = timed(lambda: training.save(source))
        return saving, timed(training.restore)


def matmul_rate(computing: str) -> float:
    """The floating point operations a second that this machine makes in one large product."""
    size = 2048
    a = tf.cast(tf.random.stateless_normal([size, size], [0, 0]), computing)
    product = tf.function(lambda: tf.matmul(a, a))
    seconds = np.median([timed(lambda: product()[0, 0].numpy()) for _ in range(23)][3:])
    return 2 * size**3 / float(seconds)


def arithmetic(generator: keras.Model, discriminator: keras.Model) -> float:
    """Floating point operations of the convolutions in one step on one pair."""
    (first, forward), (first_of_d, forward_of_d) = (
        (costs[0], sum(costs)) for costs in map(costs_of_layers, (generator, discriminator))
    )
    of_generator = 3 * forward - first  # forward, both gradients; the source needs none
    through = 2 * forward_of_d  # real and generated
    its_gradients = 2 * (2 * forward_of_d - first_of_d)
    return of_generator + through + its_gradients + forward_of_d  # the last on to the generator


def costs_of_layers(network: keras.Model) -> list[float]:
    """What each convolution costs forward; its gradients cost the same again, each."""
    costs = []
    for fast in network.layers:
        layer = getattr(fast, "layer", fast)  # of Keras's
        if isinstance(layer, layers.Conv2D | layers.Conv2DTranspose):
            smaller = layer.input if isinstance(layer, layers.Conv2DTranspose) else layer.output
            height, width, pixels = *smaller.shape[1:3], np.prod(layer.kernel_size)
            if isinstance(fast, WinogradConvolution):  # its products; the sums around are left out
                height, width = (-(-side // TILE_OUTPUT) for side in (height, width))
                pixels = TILE**2
            costs.append(2.0 * pixels * np.prod(layer.kernel.shape[2:]) * height * width)
    return costs


def first_step() -> tuple[float, float]:
    """Seconds from the command to the first finished step, and how many of them are imports."""
    imports = f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r})"
    command = [sys.executable, "-c", f"{imports}; import image_to_image_translation"]
    quiet = {"stderr": subprocess.DEVNULL}
    imported = timed(lambda: subprocess.run(command, check=True, **quiet))
    with tempfile.TemporaryDirectory() as folder:
        make_pairs(Path(folder) / "pairs", 400)
        flags = ["--dataset", f"{folder}/pairs", "--output", f"{folder}/runs", "--log-every", "1"]
        command = [sys.executable, str(SCRIPT), "train", *flags, "--steps", "2"]
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **quiet) as process:
            next(line for line in process.stdout if line.startswith("1/"))
            seconds = time.perf_counter() - start
            process.kill()
    return seconds, imported


def measure(options: Options) -> dict[str, dict]:
    """The figures of all variants."""
    context = multiprocessing.get_context("spawn")
    figures, pipes = {name: {} for name in VARIANTS}, {}
    for name in VARIANTS:
        if name == "PyTorch":
            pipes[name] = PyTorchProcess(options)
            continue
        os.environ.pop(ONEDNN, None)
        if name in OURS:
            os.environ[ONEDNN] = "1"
        pipes[name], other = context.Pipe()
        context.Process(target=worker, args=(name, options, other), daemon=True).start()

    def ask(name: str, what: str):
        pipes[name].send(what)
        return pipes[name].recv()

    def take_turns(what: str, count: int) -> None:
        times = {name: [] for name in VARIANTS}
        for _ in range(3 + count):
            for name in VARIANTS:
                times[name].append(ask(name, what))
        for name in VARIANTS:
            figures[name][what] = float(np.median(times[name][3:]))

    take_turns("train step", options.steps)
    for name in VARIANTS:
        figures[name]["peak memory"] = ask(name, "peak memory")
    take_turns("inference, batch 1", options.steps)
    take_turns("inference, batch 8", max(3, options.steps // 4))
    for name in VARIANTS:
        figures[name]["optimiser update"] = ask(name, "optimiser update")
    for name in OURS:
        for what in ("computing", "matmul", "arithmetic", "arithmetic done"):
            figures[name][what] = ask(name, what)
    for what in ("pipeline", "checkpoint"):
        figures["ours auto"][what] = ask("ours auto", what)
    for pipe in pipes.values():
        pipe.send(None)
    figures["ours auto"]["first step"] = first_step()
    return figures


def show(figures: dict[str, dict], options: Options) -> None:
    """Print the table."""
    base, float32, auto = (figures[name] for name in ("plain recipe", *OURS))
    print(f"\nbatch {options.batch_size}, {options.image_size}×{options.image_size}; ", end="")
    print(f"TensorFlow {tf.__version__}, {os.cpu_count()} cores; auto is {auto['computing']}\n")
    print(f"{'':<26}" + "".join(f"{name:>18}" for name in figures))
    for what, unit in (
        ("train step", "ms"),
        ("optimiser update", "ms"),
        ("inference, batch 1", "ms"),
        ("inference, batch 8", "ms"),
        ("peak memory", "MB"),
    ):
        scale = 1e3 if unit == "ms" else 1e-6
        cells = (
            f"{f[what] * scale:.0f} {unit}  {f[what] / base[what]:.2f}" for f in figures.values()
        )
        print(f"{what:<26}" + "".join(f"{cell:>18}" for cell in cells))
    print(f"{'steps/s':<26}" + "".join(f"{1 / f['train step']:>18.2f}" for f in figures.values()))
    direct, done = float32["arithmetic"], float32["arithmetic done"]
    for title, of_ours in (
        ("direct arithmetic, of rate", direct),
        ("arithmetic done, of rate", done),
    ):
        shares = []
        for name, each in figures.items():
            rate = each.get("matmul", float32["matmul"])
            shares.append((of_ours if name in OURS else direct) / each["train step"] / rate)
        print(f"{title:<26}" + "".join(f"{share:>18.0%}" for share in shares))
    print(f"\nA step is {direct / 1e9:.1f} GFLOP of convolutions, of which ours does ", end="")
    print(f"{done / 1e9:.1f}. One large product runs at {float32['matmul'] / 1e9:.0f} GFLOP/s")
    computing, possible = auto["computing"], [direct / f["matmul"] * 1e3 for f in (float32, auto)]
    print(
        f"in float32, {auto['matmul'] / 1e9:.0f} in {computing}: with nothing else to do, ", end=""
    )
    print(f"direct ones\nwould take {possible[0]:.0f} and {possible[1]:.0f} ms.")
    seconds, imports = auto["first step"]
    saving, restoring = auto["checkpoint"]
    needed = options.batch_size / auto["train step"]
    print(f"Input pipeline: {auto['pipeline']:.0f} pairs/s, ", end="")
    print(f"{auto['pipeline'] / needed:.0f} times what the steps of auto take")
    print(f"Checkpoint: {saving:.1f} s to save, {restoring:.1f} s to restore")
    print(f"From the command to the first step: {seconds:.1f} s, of which imports {imports:.1f} s")


def main() -> None:
    """Measure, print, and write."""
    options = tyro.cli(Options)
    figures = measure(options)
    show(figures, options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
