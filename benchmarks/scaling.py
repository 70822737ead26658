"""How training grows with devices, picture size, batch and dataset.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --devices 1 2 4 8 --image-sizes 256 512 1024 --steps 50

Each figure comes from a process of its own. Without GPUs, devices are parts of one processor: that
shows what sharing costs, and cannot be faster. Compare only figures of one run.
"""

import multiprocessing
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tyro
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
import image_to_image_translation as script
from pix2pix.networks.devices import strategy_of
from pix2pix.options.train import Train
from pix2pix.pairs.splits import Split
from pix2pix.pairs.synthetic import SyntheticPair, draw_facade
from pix2pix.preparation import check_split, settle


@dataclass(frozen=True)
class Options:
    """Measure how training grows."""

    devices: tuple[int, ...] = (1, 2)
    """Numbers of devices, each with one pair of a batch."""
    image_sizes: tuple[int, ...] = (64, 128, 256, 512)
    """At batch size 1."""
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8)
    """At 256×256."""
    pairs: tuple[int, ...] = (1_000, 10_000, 100_000)
    """Sizes of the dataset; pairs are small, 128×64 pixels, and trained on at 64×64."""
    steps: int = 10
    """Steps measured each time, after three to warm up."""


def measure(pipe, devices: int, image_size: int, batch_size: int, steps: int) -> None:
    """Seconds a step, and bytes, in a process of its own."""
    if not tf.config.list_physical_devices("GPU"):
        parts = [tf.config.LogicalDeviceConfiguration()] * devices
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, parts)
    config = Train(
        dataset="synthetic",
        direction="BtoA",
        image_size=image_size,
        batch_size=batch_size,
        steps=3 + steps,
    )
    one = SyntheticPair(seed=0, number=0, size=(image_size, image_size))
    split = check_split(Split([one], (1, 0), []), "train", config)
    with strategy_of(*device_names()[:devices]).scope():
        training = script.Training(config, settle(config, split))
    times = [time.perf_counter()]
    for _ in script.take_steps(training, split):
        training.loss_sums["discriminator"].numpy()
        times.append(time.perf_counter())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    pipe.send((float(np.median(np.diff(times)[3:])), memory))


def device_names() -> list[str]:
    """What there is to train on."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


def measured(*arguments: int) -> tuple[float, float]:
    """What `measure` sends."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=measure, args=(theirs, *arguments))
    process.start()
    theirs.close()
    result = ours.recv()
    process.join()
    return result


def start_up(count: int, folder: Path) -> tuple[float, int, int]:
    """Seconds from the command to the first step on so many pairs, and bytes then and later."""
    pairs = folder / f"{count}" / "train"
    pairs.mkdir(parents=True)
    for k in range(count):
        if k < 100:
            halves = np.concatenate(draw_facade(0, k, (64, 64)), axis=1)
            Image.fromarray(halves).save(pairs / f"{k}.jpg")
        else:  # another name of one of those
            (pairs / f"{k}.jpg").hardlink_to(pairs / f"{k % 100}.jpg")
    flags = ["--dataset", str(pairs.parent), "--output", str(folder / "runs"), "--image-size", "64"]
    flags += ["--generator-filters", "16", "--discriminator-filters", "16", "--log-every", "1"]
    command = [sys.executable, script.__file__, "train", *flags, "--steps", "2000"]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    start = time.perf_counter()
    with subprocess.Popen(command, **quiet) as process:
        next(line for line in process.stdout if line.startswith("1/"))
        seconds = time.perf_counter() - start
        at_first = memory_of(process.pid)
        next(line for line in process.stdout if line.startswith("1,000/"))
        later = memory_of(process.pid)
        process.kill()
    return seconds, at_first, later


def memory_of(process: int) -> int:
    """What a process has in memory, in bytes."""
    status = Path(f"/proc/{process}/status").read_text()
    return 1024 * int(re.search(r"VmRSS:\s+(\d+)", status)[1])


def main() -> None:
    """Measure and print."""
    options = tyro.cli(Options)
    print(f"{'devices':<16}{'pairs/s':>12}{'efficiency':>12}{'memory':>12}", flush=True)
    alone = None
    for count in options.devices:
        seconds, memory = measured(count, 256, count, options.steps)
        alone = alone or count / seconds / count
        share = count / seconds / count / alone
        print(
            f"{count:<16}{count / seconds:>12.2f}{share:>12.0%}{memory / 1e6:>9.0f} MB", flush=True
        )
    print(f"\n{'image size':<16}{'ms/step':>12}{'ms/megapixel':>14}{'memory':>12}")
    for size in options.image_sizes:
        seconds, memory = measured(1, size, 1, options.steps)
        dear = seconds * 1e3 / (size**2 / 1e6)
        print(f"{size:<16}{seconds * 1e3:>12.0f}{dear:>14.0f}{memory / 1e6:>9.0f} MB", flush=True)
    print(f"\n{'batch size':<16}{'ms/step':>12}{'ms/pair':>12}{'memory':>12}")
    for size in options.batch_sizes:
        seconds, memory = measured(1, 256, size, options.steps)
        each = seconds * 1e3 / size
        print(f"{size:<16}{seconds * 1e3:>12.0f}{each:>12.0f}{memory / 1e6:>9.0f} MB", flush=True)
    print(f"\n{'pairs':<16}{'to step 1':>12}{'memory':>12}{'at step 1,000':>16}")
    for count in options.pairs:
        with tempfile.TemporaryDirectory() as folder:
            seconds, first, later = start_up(count, Path(folder))
        print(
            f"{count:<16,}{seconds:>10.1f} s{first / 1e6:>9.0f} MB{later / 1e6:>13.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
