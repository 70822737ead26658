"""How training grows with devices, picture size, batch and dataset.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --devices 1 2 4 8 --image-sizes 256 512 1024 --steps 50
    python benchmarks/scaling.py --devices --image-sizes --batch-sizes --folders 20000

The second command is for several GPUs, the third is of data alone.

Each figure comes from a process of its own. Without GPUs, devices are parts of one processor: that
shows what sharing costs, and cannot be faster. Compare only figures of one run.
"""

import multiprocessing
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tyro
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
import image_to_image_translation as script
from pix2pix.networks.devices import strategy_of
from pix2pix.options.train import Train
from pix2pix.pairs.packs.pack_index import read_index
from pix2pix.pairs.packs.texts import Texts
from pix2pix.pairs.splits import Split
from pix2pix.pairs.synthetic import SyntheticPair, draw_facade
from pix2pix.preparation import check_split, settle

PAIRS_TIMED = 1000  # of each source


@dataclass(frozen=True)
class Options:
    """Measure how training grows."""

    devices: tuple[int, ...] = (1, 2)
    """Numbers of devices, each with one pair of a batch."""
    image_sizes: tuple[int, ...] = (64, 128, 256, 512)
    """At batch size 1."""
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8)
    """At 256×256."""
    cores: tuple[int, ...] = (1, 2)
    """That make pairs of 256×256 ready."""
    folders: tuple[int, ...] = (20_000, 200_000)
    """Sizes of datasets, packed too; pairs are small, 128×64 pixels, and trained on at 64×64."""
    packs: tuple[int, ...] = (1_000_000,)
    """Sizes of packs with the pictures of the last of these again and again."""
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


def in_process(function: Callable, *arguments: object) -> Any:
    """What a function sends, in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=function, args=(theirs, *arguments))
    process.start()
    theirs.close()
    result = ours.recv()
    process.join()
    return result


def make_folder(count: int, place: Path) -> Path:
    """A dataset of so many pairs: a hundred pictures under many names."""
    pairs = place / f"{count}" / "train"
    pairs.mkdir(parents=True)
    for k in range(count):
        if k < 100:
            halves = np.concatenate(draw_facade(0, k, (64, 64)), axis=1)
            Image.fromarray(halves).save(pairs / f"{k}.jpg")
        else:
            (pairs / f"{k}.jpg").hardlink_to(pairs / f"{k % 100}.jpg")
    return pairs.parent


def pack(dataset: Path) -> float:
    """Pack a folder beside it; the seconds that takes."""
    start = time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([sys.executable, script.__file__, "pack", str(dataset)], check=True, **quiet)
    return time.perf_counter() - start


def start_up(dataset: Path) -> tuple[float, int, float]:
    """Seconds from the command to the first step on a dataset, bytes then, and seconds to the next
    step where the run goes on."""
    with tempfile.TemporaryDirectory() as output:
        flags = ["--dataset", str(dataset), "--output", output, "--image-size", "64"]
        flags += ["--generator-filters", "16", "--discriminator-filters", "16", "--log-every", "1"]
        first, memory = seconds_to_step(1, [*flags, "--steps", "2"], stops=False)
        again, _ = seconds_to_step(3, [*flags, "--steps", "2000"], stops=True)
    return first, memory, again


def seconds_to_step(step: int, flags: list[str], stops: bool) -> tuple[float, int]:
    """Seconds that a training takes from the command to a step, and bytes in memory then."""
    command = [sys.executable, script.__file__, "train", *flags]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    start = time.perf_counter()
    with subprocess.Popen(command, **quiet) as process:
        next(line for line in process.stdout if line.startswith(f"{step}/"))
        seconds, memory = time.perf_counter() - start, memory_of(process.pid)
        if stops:
            process.kill()
        process.stdout.read()
    return seconds, memory


SOURCES = {  # of pairs for `measure_pairs`: a suffix of the dataset's name, bytes kept in memory
    "memory": ("", script.CACHE_BYTES),
    "JPEG on disk": ("", 0),
    "pack": (".pack", 0),
}


def measure_pairs(pipe, dataset: Path, source: str, cores: int) -> None:
    """Pairs of 256×256, with jitter, that some cores make ready in a second."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    os.cpu_count = lambda: cores
    suffix, script.CACHE_BYTES = SOURCES[source]
    config = Train(dataset=f"{dataset}{suffix}", direction="BtoA", steps=10_000)
    split = check_split(script.find_splits(config)["train"], "train", config)
    found = settle(config, split)
    batches = iter(script.batches(split, config, found, 0, tf.distribute.InputContext()))
    for _ in range(2 * len(split)):
        next(batches)
    start = time.perf_counter()
    for _ in range(PAIRS_TIMED):
        next(batches)
    pipe.send(PAIRS_TIMED / (time.perf_counter() - start))


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
        seconds, memory = in_process(measure, count, 256, count, options.steps)
        alone = alone or count / seconds / count
        share = count / seconds / count / alone
        print(
            f"{count:<16}{count / seconds:>12.2f}{share:>12.0%}{memory / 1e6:>9.0f} MB", flush=True
        )
    print(f"\n{'image size':<16}{'ms/step':>12}{'ms/megapixel':>14}{'memory':>12}")
    for size in options.image_sizes:
        seconds, memory = in_process(measure, 1, size, 1, options.steps)
        dear = seconds * 1e3 / (size**2 / 1e6)
        print(f"{size:<16}{seconds * 1e3:>12.0f}{dear:>14.0f}{memory / 1e6:>9.0f} MB", flush=True)
    print(f"\n{'batch size':<16}{'ms/step':>12}{'ms/pair':>12}{'memory':>12}")
    for size in options.batch_sizes:
        seconds, memory = in_process(measure, 1, 256, size, options.steps)
        each = seconds * 1e3 / size
        print(f"{size:<16}{seconds * 1e3:>12.0f}{each:>12.0f}{memory / 1e6:>9.0f} MB", flush=True)
    compare_sources(options)
    compare_starts(options)


def compare_sources(options: Options) -> None:
    """Print how many pairs a second come from where, and how long a GPU would wait for them."""
    print(
        f"\n{'pairs from':<16}{'cores':>8}{'pairs/s':>10}{'waits at 100':>14}{'at 500 steps/s':>16}"
    )
    with tempfile.TemporaryDirectory() as place:
        dataset = Path(place) / "pairs"
        (dataset / "train").mkdir(parents=True)
        for k in range(100):
            halves = np.concatenate(draw_facade(0, k, (256, 256)), axis=1)
            Image.fromarray(halves).save(dataset / f"train/{k}.jpg")
        pack(dataset)
        for source in SOURCES:
            for cores in options.cores:
                rate = in_process(measure_pairs, dataset, source, cores)
                waits = [max(0.0, 1 - rate / steps) for steps in (100, 500)]
                shares = f"{waits[0]:>14.0%}{waits[1]:>16.0%}"
                print(f"{source:<16}{cores:>8}{rate:>10.0f}{shares}", flush=True)


def compare_starts(options: Options) -> None:
    """Print how long trainings on folders and packs take to their first step."""
    print(f"\n{'pairs':<20}{'to step 1':>12}{'memory':>12}{'going on':>12}{'packing':>12}")

    def print_start(dataset: Path, count: int, note: str) -> None:
        first, memory, again = start_up(dataset)
        start = f"{first:>10.1f} s{memory / 1e6:>9.0f} MB{again:>10.1f} s"
        print(f"{count:<10,}{dataset.suffix:<10}{start}{note}", flush=True)

    with tempfile.TemporaryDirectory() as place:
        for count in options.folders:
            folder = make_folder(count, Path(place))
            print_start(folder, count, "")
            print_start(folder.with_suffix(".pack"), count, f"{pack(folder):>10.1f} s")
        for count in options.packs:
            print_start(repeat_pack(folder.with_suffix(".pack"), count), count, "")


def repeat_pack(packed: Path, count: int) -> Path:
    """A pack of so many pairs: those of another, again and again, under other names."""
    index, larger = read_index(packed), packed.with_name(f"{count}.pack")
    held_out = int(index.counts[1])
    rows = np.resize(np.arange(int(index.counts[0])), count - held_out)
    rows = np.concatenate([rows, int(index.counts[0]) + np.arange(held_out)])
    columns = ("shard", "offset", "length", "checksum", "shapes", "weight", "group")
    names = Texts.of(f"train/{k}.jpg" for k in range(count))
    repeated = {name: getattr(index, name)[rows] for name in columns}
    counts = np.array([count - held_out, held_out, 0], np.int64)
    larger.mkdir()
    for name in index.shards:
        (larger / name).hardlink_to(packed / name)
    replace(index, counts=counts, paths=names, below=names, **repeated).write(larger)
    return larger


if __name__ == "__main__":
    main()
